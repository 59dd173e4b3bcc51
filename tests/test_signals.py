"""From recordings to model input: each step against a slow obvious version, a library, or a known truth."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nilearn.glm.first_level import compute_regressor
from scipy.stats import binomtest

from brainalign.signals import (
    detrend_blocks,
    high_gamma,
    speech_responsive,
    word_regressors,
    word_responses,
    word_to_volume,
)

RATE = 100.0


def series(values: np.ndarray, rate: float = RATE) -> xr.DataArray:
    return xr.DataArray(values, dims=("time", "channel"), coords={"time": np.arange(len(values)) / rate})


def timed(onset, offset) -> pd.DataFrame:
    return pd.DataFrame({"onset": np.asarray(onset, float), "offset": np.asarray(offset, float)})


# high gamma


def test_high_gamma_recovers_a_known_envelope():
    rate, seconds = 1000.0, 30
    time = np.arange(int(rate * seconds)) / rate
    rng = np.random.default_rng(0)
    envelope = 1 + 0.8 * np.sin(2 * np.pi * 0.7 * time)
    frequency = np.fft.rfftfreq(len(time), 1 / rate)
    inside_band = (frequency >= 75) & (frequency <= 145)
    carrier = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(time))) * inside_band)
    slow = 20 * np.sin(2 * np.pi * 8 * time) + 30 * np.sin(2 * np.pi * 60 * time)
    found = high_gamma((envelope * carrier / carrier.std() + slow)[None], rate)[0]
    assert len(found) == seconds * 100
    inside = slice(100, -100)
    # The carrier is noise with an envelope of its own, which fades over 0.3 s while the planted one stays.
    smooth = np.convolve(found, np.ones(30) / 30, "same")[inside]
    assert np.corrcoef(smooth, envelope[::10][inside])[0, 1] > 0.95


def test_high_gamma_ignores_power_outside_the_band():
    rate = 1000.0
    time = np.arange(20_000) / rate
    rng = np.random.default_rng(1)
    noise = 0.05 * rng.standard_normal((2, len(time)))
    outside = (1 + np.sin(2 * np.pi * 0.5 * time)) * np.sin(2 * np.pi * 30 * time)
    plain, with_beta = high_gamma(np.stack([noise[0], noise[0] + outside]), rate)
    assert np.corrcoef(plain[100:-100], with_beta[100:-100])[0, 1] > 0.99


def band_noise(low: float, high: float, rng, n: int = 20_000, rate: float = 1000.0) -> np.ndarray:
    frequency = np.fft.rfftfreq(n, 1 / rate)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * ((frequency >= low) & (frequency <= high)), n)
    return noise / noise.std()


@pytest.mark.parametrize("hum", [60.0, 165.0])
def test_high_gamma_keeps_modulated_hum_out(hum):
    rng = np.random.default_rng(3)
    time = np.arange(20_000) / 1000
    swell = 1 + np.sin(2 * np.pi * 0.5 * time)
    noise = band_noise(70, 150, rng)
    plain, with_hum = high_gamma(np.stack([noise, noise + 10 * swell * np.sin(2 * np.pi * hum * time)]), 1000.0)
    assert np.corrcoef(plain[100:-100], with_hum[100:-100])[0, 1] > 0.99


def test_high_gamma_sub_bands_count_alike_however_steep_the_spectrum():
    rng = np.random.default_rng(2)
    time = np.arange(20_000) / 1000
    swell = 1 + 0.9 * np.sin(2 * np.pi * 0.5 * time)
    # Only the weak upper band is modulated: were amplitudes just added up, the strong lower one would hide it.
    voltage = 10 * band_noise(70, 105, rng) + swell * band_noise(107, 150, rng)
    found = high_gamma(voltage[None], 1000.0)[0]
    smooth = np.convolve(found, np.ones(50) / 50, "same")
    assert np.corrcoef(smooth[100:-100], swell[::10][100:-100])[0, 1] > 0.8
    np.testing.assert_allclose([found.mean(), found.std()], [0, 1], atol=1e-9)


@pytest.mark.parametrize(
    ("voltage", "rate", "message"),
    [
        (np.ones((1, 2000)), 1000, "voltage: 1 channels are constant"),
        (np.full((1, 2000), np.nan), 1000, "voltage: 2000 of 2000 values are not finite"),
        (np.random.default_rng(0).normal(size=(1, 900)), 1000, "at least 2 s"),
        (np.zeros(2000), 1000, r"voltage: expected shape \(channel, time\)"),
        (np.random.default_rng(0).normal(size=(1, 2000)), 256, "does not fit"),
    ],
)
def test_high_gamma_refuses(voltage, rate, message):
    with pytest.raises(ValueError, match=message):
        high_gamma(voltage, rate)


# word responses


@pytest.mark.parametrize(
    ("anchor", "window", "lag"), [("center", 0.1, 0.0), ("onset", 0.2, 0.15), ("center", 0.05, -0.1)]
)
def test_word_responses_equal_a_loop(anchor, window, lag):
    rng = np.random.default_rng(0)
    signal = series(rng.standard_normal((1000, 3)))
    onset = np.sort(rng.uniform(0.5, 9, 40))
    words = timed(onset, onset + rng.uniform(0.05, 0.4, 40))
    found = word_responses(signal, words, anchor=anchor, window=window, lag=lag)
    for row, (start, end) in enumerate(words.to_numpy()):
        centre = (start if anchor == "onset" else (start + end) / 2) + lag
        inside = (signal.time.values >= centre - window / 2) & (signal.time.values < centre + window / 2)
        np.testing.assert_allclose(found.values[row], signal.values[inside].mean(0), atol=1e-6)


def test_word_responses_keep_repeats_and_lags():
    signal = xr.concat([series(np.random.default_rng(i).standard_normal((500, 2))) for i in range(2)], "repeat")
    words = timed([1.0, 2.0], [1.3, 2.2])
    found = word_responses(signal, words, lag=[0.0, 0.1])
    assert found.dims == ("lag", "repeat", "word", "channel")
    one = word_responses(signal.isel(repeat=1), words, lag=0.1)
    np.testing.assert_allclose(found.sel(lag=0.1).isel(repeat=1), one)


def test_word_responses_refuse_words_beyond_the_recording_and_empty_windows():
    signal = series(np.random.default_rng(0).standard_normal((100, 1)))
    with pytest.raises(ValueError, match=r"windows of 1 words reach beyond the recording .* \(row 1\)"):
        word_responses(signal, timed([0.3, 1.5], [0.5, 1.7]))
    with pytest.raises(ValueError, match="holds no sample"):
        word_responses(signal, timed([0.301], [0.303]), window=1e-3)
    with pytest.raises(ValueError, match="anchor"):
        word_responses(signal, timed([0.3], [0.5]), anchor="offset")
    with pytest.raises(ValueError, match=r"signal: 1 of 100 values are not finite .*, the first at \(10, 0\)"):
        word_responses(signal.where(signal["time"] != 0.1), timed([0.3], [0.5]))


# silence against speech


def speech_words(n_pauses: int = 12) -> pd.DataFrame:
    onset = np.concatenate([np.arange(0, 8, 0.4) + 10 * block + 1.5 for block in range(n_pauses)])
    return timed(onset, onset + 0.35)


def coloured(n_times: int, n_channels: int, rng) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal((n_times, n_channels)), axis=0)
    return np.fft.irfft(spectrum / np.sqrt(np.fft.rfftfreq(n_times, 1 / RATE) + 0.1)[:, None], n_times, axis=0)


def test_speech_responsive_finds_planted_channels():
    words, rng = speech_words(), np.random.default_rng(0)
    noise = coloured(12_200, 40, rng)
    noise /= noise.std(0)
    time = np.arange(12_200) / RATE
    speaking = ((time % 10 > 1.5) & (time % 10 < 9.6))[:, None]
    noise[:, :20] += speaking
    found = speech_responsive(series(noise), words)["responsive"].to_numpy()
    assert found[:20].all() and found[20:].sum() <= 3


def test_speech_responsive_keeps_the_nominal_rate_on_autocorrelated_noise():
    words = speech_words()
    table = speech_responsive(series(coloured(12_200, 2000, np.random.default_rng(1))), words)
    assert binomtest(int((table["p"] < 0.05).sum()), 2000, 0.05).pvalue > 0.001
    assert table["responsive"].sum() <= 5


def test_speech_responsive_needs_pauses():
    with pytest.raises(ValueError, match="expected five pauses, got 3"):
        speech_responsive(series(np.random.default_rng(0).standard_normal((3000, 1))), speech_words(3))


# BOLD


def test_word_to_volume_equals_nilearn():
    rng = np.random.default_rng(0)
    onset = np.sort(rng.uniform(0, 100, 30))
    words = timed(onset, onset + rng.uniform(0.1, 0.6, 30))
    values, frames = rng.standard_normal(30), np.arange(60) * 2.0
    found = word_to_volume(words, frames).values @ values
    duration = (words.offset - words.onset).to_numpy()
    expected, _ = compute_regressor(
        np.stack([onset, duration, values / duration]), "spm", frames, oversampling=200, min_onset=-40
    )
    np.testing.assert_allclose(found, expected[:, 0], atol=0.06 * np.abs(expected).max())


def test_word_to_volume_without_response_counts_words():
    words = timed([0.5, 1.5, 2.5], [0.6, 1.6, 2.6])
    np.testing.assert_allclose(
        word_to_volume(words, np.arange(4) * 2.0, hrf="none").sum("word"), [0, 2, 1, 0], atol=1e-5
    )


def test_word_to_volume_refuses():
    words = timed([500.0], [501.0])
    with pytest.raises(ValueError, match="none of them reaches a volume"):
        word_to_volume(words, np.arange(10) * 2.0)
    with pytest.raises(ValueError, match="evenly spaced"):
        word_to_volume(words, [0, 1, 5])
    with pytest.raises(ValueError, match="hrf: expected"):
        word_to_volume(words, np.arange(10) * 2.0, hrf="box")


def in_time(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("time", "channel"))


def test_detrend_blocks_is_a_least_squares_fit_in_each_block():
    rng = np.random.default_rng(0)
    x, motion = rng.standard_normal((101, 3)), rng.standard_normal((101, 2))
    found = detrend_blocks(in_time(x), 3, confounds=motion)
    for rows in np.array_split(np.arange(101), 3):
        at = np.arange(len(rows))
        free = np.column_stack([at**0, at, at**2, motion[rows]])
        np.testing.assert_allclose(
            found[rows], x[rows] - free @ np.linalg.lstsq(free, x[rows], rcond=None)[0], atol=1e-9
        )
    layers = xr.DataArray(np.stack([x, 2 * x]), dims=("layer", "time", "channel"))
    plain = detrend_blocks(in_time(x), 3)
    np.testing.assert_allclose(detrend_blocks(layers, 3)[1], 2 * plain, atol=1e-9)
    assert detrend_blocks(layers, 3).dims == layers.dims


def test_what_one_block_loses_does_not_depend_on_another():
    x = np.random.default_rng(1).standard_normal((90, 2))
    other = x.copy()
    other[60:] += 100
    np.testing.assert_array_equal(detrend_blocks(in_time(x), 3)[:60], detrend_blocks(in_time(other), 3)[:60])


def test_detrend_blocks_takes_confounds_that_are_a_trend_in_one_block():
    x = np.random.default_rng(2).standard_normal((60, 1))
    motion = np.r_[np.arange(30.0), np.random.default_rng(3).standard_normal(30)][:, None]
    np.testing.assert_allclose(detrend_blocks(in_time(x), 2, confounds=motion)[:30], detrend_blocks(in_time(x), 2)[:30])


def test_detrend_blocks_refuses():
    x = in_time(np.zeros((60, 1)))
    with pytest.raises(ValueError, match="n_blocks: expected a whole number from 1 to 10, got 11"):
        detrend_blocks(x, 11)
    with pytest.raises(ValueError, match=r"confounds: expected shape \(60, confound\), got \(50, 1\)"):
        detrend_blocks(x, 2, confounds=np.zeros((50, 1)))
    with pytest.raises(ValueError, match="confounds: 60 of 60 values are not finite"):
        detrend_blocks(x, 2, confounds=np.full((60, 1), np.nan))


def test_word_regressors_are_the_two_steps():
    rng = np.random.default_rng(3)
    onset = np.sort(rng.uniform(0, 180, 300))
    words = pd.DataFrame({"onset": onset, "offset": onset + 0.3})
    times = np.arange(100) * 2.0
    values = xr.DataArray(rng.standard_normal((2, 300, 5)), dims=("layer", "word", "feature"), coords={"layer": [3, 7]})
    found = word_regressors(values, words, times, n_blocks=4)
    expected = (word_to_volume(words, times) @ values).transpose("layer", "time", "feature")
    np.testing.assert_allclose(word_regressors(values, words, times), expected, atol=1e-4)
    expected = detrend_blocks(expected, 4)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.dims == expected.dims and list(found["layer"].values) == [3, 7]
    np.testing.assert_allclose(word_regressors(values[0].values, words, times, n_blocks=4), found[0], atol=1e-6)
    with pytest.raises(ValueError, match="values, words: expected the same length, got 299, 300"):
        word_regressors(values[:, 1:], words, times)
