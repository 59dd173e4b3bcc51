"""Peak layers, response lags, and their alignment with distance."""

import mne
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from mne.decoding import ReceptiveField
from scipy.ndimage import gaussian_filter1d
from scipy.stats import binomtest, linregress, spearmanr, ttest_1samp

from brainalign import stats
from brainalign.layers import alignment, alignment_difference, crossed_order, layer_gradient, peak_layer, place_order
from brainalign.mixed import mixed_model
from brainalign.ridge import response_lag
from brainalign.signals import word_drive


def test_peak_layer_reads_the_coordinate():
    score = xr.DataArray([[0.1, 0.5], [0.3, 0.2], [0.3, 0.1]], dims=("layer", "channel"), coords={"layer": [4, 8, 12]})
    np.testing.assert_array_equal(peak_layer(score), [8, 4])
    with pytest.raises(ValueError, match="score: 3 of 6 values are not finite"):
        peak_layer(score.where(score > 0.2))
    with pytest.raises(ValueError, match="'layer' not found"):
        peak_layer(score.rename(layer="depth"))


# -------------------------------------------------------------------------------------------------- layers and distance


def test_place_is_distance_where_known_and_else_region(rng):
    channels = pd.DataFrame({"subject": ["b", "b", "a", "a", "a"], "region": ["S", "F", "S", "S", "F"]})
    channels["distance_pmc"] = [10.0, 30.0, np.nan, 20.0, 5.0]
    order = [2, 3, 4, 0, 1]  # told person by person
    peak = xr.DataArray(rng.permuted(np.arange(20).reshape(4, 5), axis=1), dims=("draw", "channel"))
    labels = {name: ("channel", channels[name].to_numpy()[order]) for name in ("subject", "region")}
    told = peak[:, order].assign_coords(labels)
    expected = [spearmanr(row[[0, 1, 3, 4]], [10, 30, 20, 5]).statistic for row in peak.to_numpy()]
    np.testing.assert_allclose(place_order(told, channels), expected)
    nowhere = channels.assign(distance_pmc=np.nan)
    means = [[row[[0, 2, 3]].mean(), row[[1, 4]].mean()] for row in peak.to_numpy()]
    between = [np.var([s, s, s, f, f]) / np.var(row) for (s, f), row in zip(means, peak.to_numpy(), strict=True)]
    np.testing.assert_allclose(place_order(told, nowhere), between)
    assert (place_order(told * 0, channels) == 0).all()
    with pytest.raises(ValueError, match="the same subjects"):
        place_order(told, channels.iloc[::-1].assign(region="S"))


def people(n_people: int, n_each: int, slope: float, rng, shared: float = 1.0, own_slope: float = 0.0):
    """Peaks with an offset, and a slope, of their own in each person, on top of a common slope."""
    distance = rng.uniform(0, 100, (n_people, n_each)) + shared * 30 * rng.standard_normal((n_people, 1))
    peak = (
        slope * distance
        + own_slope * rng.standard_normal((n_people, 1)) * (distance - 50)
        + 10 * shared * rng.standard_normal((n_people, 1))
        + 5 * rng.standard_normal((n_people, n_each))
    )
    return peak.ravel(), distance.ravel(), np.repeat(np.arange(n_people), n_each)


@pytest.mark.parametrize("method", ["jackknife", "bootstrap"])
def test_alignment_recovers_a_planted_order(method):
    peak, distance, subjects = people(8, 20, 0.25, np.random.default_rng(0), shared=0)
    found = alignment(peak, distance, subjects=subjects, method=method)
    assert found.value == pytest.approx(spearmanr(peak, distance).statistic)
    assert found.low > 0.6 and found.high > found.value > found.low and found.n == 8
    assert found == alignment(peak, distance, subjects=subjects, method=method)


def test_interval_over_people_is_honest_where_one_over_electrodes_is_not():
    rng = np.random.default_rng(1)
    misses = {"people": 0, "electrodes": 0}
    for cohort in range(400):
        peak, distance, subjects = people(10, 15, 0.0, rng)
        found = alignment(peak, distance, subjects=subjects)
        misses["people"] += not found.low <= 0 <= found.high
        if cohort < 50:
            found = alignment(peak, distance)
            misses["electrodes"] += not found.low <= 0 <= found.high
    assert binomtest(misses["people"], 400, 0.05).pvalue > 0.001
    assert misses["electrodes"] > 15


def slope_over_distance(peak, distance, subjects):
    """The slope over distance, with an intercept and a slope for each person."""
    trials = pd.DataFrame({"peak": peak, "distance": distance, "person": subjects})
    found = mixed_model(trials, "peak", ["distance"], random_effects={"person": ["distance"]})
    return found.coefficients.loc["distance"]


def test_bootstrap_and_mixed_model_reject_at_their_nominal_rate():
    """200 cohorts of 8 people without a common slope, each person with an offset and a slope of their own."""
    rng, rejected = np.random.default_rng(2), {"bootstrap": 0, "mixed": 0}
    for cohort in range(200):
        peak, distance, subjects = people(8, 12, 0.0, rng, own_slope=0.15)
        found = alignment(peak, distance, subjects=subjects, method="bootstrap", n_resamples=100, seed=cohort)
        rejected["bootstrap"] += not found.low <= 0 <= found.high
        rejected["mixed"] += slope_over_distance(peak, distance, subjects).p < 0.05
    for name, count in rejected.items():
        assert binomtest(count, 200, 0.05).pvalue > 0.01, (name, count)


def test_mixed_model_is_not_fooled_by_people_who_do_not_differ():
    """Offsets but no slopes of people's own: their variance may be estimated at zero, the test only be conservative."""
    rng = np.random.default_rng(3)
    rejected = sum(slope_over_distance(*people(8, 8, 0.0, rng)).p < 0.05 for _ in range(40))
    assert binomtest(rejected, 40, 0.05, alternative="greater").pvalue > 0.01


def test_mixed_model_recovers_a_planted_slope():
    peak, distance, subjects = people(12, 30, 0.25, np.random.default_rng(4), own_slope=0.05)
    found = slope_over_distance(peak, distance, subjects)
    assert found.low < 0.25 < found.high and found.p < 1e-3
    # In balanced data it is, but for weights, the mean of people's own slopes with a t-test over them.
    own = [linregress(distance[subjects == k], peak[subjects == k]).slope for k in range(12)]
    plain = ttest_1samp(own, 0).confidence_interval()
    assert found.estimate == pytest.approx(np.mean(own), abs=0.01)
    assert found.high - found.low == pytest.approx(plain.high - plain.low, rel=0.2)


def test_two_distances_are_compared_within_people():
    rng = np.random.default_rng(5)
    peak, distance, subjects = people(8, 20, 0.25, rng, shared=0)
    worse = distance + 40 * rng.standard_normal(len(distance))
    found = alignment_difference(peak, distance, worse, subjects=subjects)
    plain = [alignment(peak, d, subjects=subjects).value for d in (distance, worse)]
    assert found.value == pytest.approx(plain[0] - plain[1]) and found.low > 0
    misses = 0
    for _ in range(200):  # both are the same truth with as much error
        peak, distance, subjects = people(8, 12, 0.25, rng)
        one, other = (distance + 20 * rng.standard_normal(len(distance)) for _ in range(2))
        found = alignment_difference(peak, one, other, subjects=subjects)
        misses += not found.low <= 0 <= found.high
    assert binomtest(misses, 200, 0.05).pvalue > 0.01


def test_mean_over_people_counts_people():
    rng = np.random.default_rng(6)
    subjects = np.repeat(np.arange(8), 10)
    misses = 0
    for _ in range(200):
        values = rng.standard_normal((8, 1)).repeat(10, 1).ravel() + 0.3 * rng.standard_normal(80)
        found = stats.mean_over_subjects(values, subjects)
        misses += not found.low <= 0 <= found.high
    assert binomtest(misses, 200, 0.05).pvalue > 0.01
    uneven = stats.mean_over_subjects([[1.0, 2], [3, 4], [8, 6], [6, 2]], ["a", "a", "b", "c"])
    np.testing.assert_allclose(uneven.value, [16 / 3, 11 / 3])
    for values, labels, match in [
        ([1.0, 2], ["a"], "subjects: expected shape"),
        ([1.0, np.nan, 3], ["a", "b", "c"], "values: 1 of 3 values are not finite"),
        ([1.0, 2, 3], ["a", "a", "b"], "at least 3 different ones, got 0 missing and 2"),
    ]:
        with pytest.raises(ValueError, match=match):
            stats.mean_over_subjects(values, labels)


# ---------------------------------------------------------------------------------------------------------------- lags


def recording(lags, rng, n_times=12_000, noise=1.0, rate=100.0):
    """Channels that answer to a drive of their own, `lags` s later, with a bump 60 ms wide (standard deviation)."""
    time = np.arange(n_times) / rate
    words = pd.DataFrame({"onset": np.arange(0.5, time[-1] - 1, 0.35)})
    words["onset"] += rng.uniform(-0.05, 0.05, len(words))
    words["offset"] = words["onset"] + 0.2
    values = xr.DataArray(rng.standard_normal((len(words), len(lags))), dims=("word", "channel"))
    values = values.assign_coords(channel=[f"c{k}" for k in range(len(lags))])
    drive = word_drive(values, words, time)
    signal = np.zeros(drive.shape)
    for k, lag in enumerate(lags):
        bump = gaussian_filter1d(drive.values[:, k], 0.06 * rate)
        signal[:, k] = np.roll(bump / bump.std(), round(lag * rate)) + noise * rng.standard_normal(n_times)
    return xr.DataArray(signal, drive.coords, drive.dims), drive, words


def test_response_lag_recovers_planted_lags():
    lags = np.tile([0.05, 0.1, 0.2, 0.35], 50)
    signal, drive, _ = recording(lags, np.random.default_rng(7))
    found = response_lag(signal, drive)
    assert list(found.index) == list(signal.channel.values) and (found["score"] > 0.5).all()
    np.testing.assert_allclose(found["lag"], lags, atol=0.03)
    missed = int((~((found["low"] <= lags) & (lags <= found["high"]))).sum())
    assert binomtest(missed, len(lags), 0.05).pvalue > 0.01


def test_response_lag_agrees_with_mne():
    signal, drive, _ = recording([0.05, 0.12, 0.3], np.random.default_rng(8), noise=0.5)
    shared = drive.isel(channel=0).rename("drive") + gaussian_filter1d(signal.values[:, 1], 3)
    found = response_lag(signal, shared)
    x = ((shared - shared.mean()) / shared.std()).values
    y = ((signal - signal.mean("time")) / signal.std("time")).values
    with mne.utils.use_log_level("error"):
        field = ReceptiveField(0.0, 0.5, 100.0, estimator=1e-3 * len(x), fit_intercept=False).fit(x[:, None], y)
    peak = np.argmax(field.coef_[:, 0], axis=-1) / 100
    np.testing.assert_allclose(found["lag"][:2], peak[:2], atol=0.015)


def test_response_lag_says_that_noise_holds_none():
    rng = np.random.default_rng(9)
    signal, drive, _ = recording([0.1] * 200, rng)
    noise = signal.copy(data=rng.standard_normal(signal.shape))
    found = response_lag(noise, drive)
    assert abs(found["score"].mean()) < 0.01
    assert (found["high"] - found["low"]).median() > 0.2


def test_word_drive_puts_centred_values_at_words():
    words = pd.DataFrame({"onset": [0.1, 0.5], "offset": [0.3, 0.7]})
    drive = word_drive(xr.DataArray([3.0, 1.0], dims="word"), words, np.arange(100) / 100)
    assert drive.dims == ("time",) and drive.values[[20, 60]].tolist() == [1, -1] and np.abs(drive.values).sum() == 2
    with pytest.raises(ValueError, match="values, words: expected the same length, got 3, 2"):
        word_drive(xr.DataArray([3.0, 1.0, 2.0], dims="word"), words, np.arange(100) / 100)
    with pytest.raises(ValueError, match="beyond the times"):
        word_drive(xr.DataArray([3.0, 1.0], dims="word"), words, np.arange(50) / 100)


# -------------------------------------------------------------------------------------------------------------- errors


def test_errors():
    with pytest.raises(ValueError, match=r"distance: expected shape \(4,\), got \(3,\)"):
        alignment([1, 2, 3, 4], [1, 2, 3])
    with pytest.raises(ValueError, match="peak: 1 of 4 values are not finite"):
        alignment([1, 2, 3, np.nan], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="subjects: .* at least 3 different ones, got 0 missing and 2"):
        alignment([1, 2, 3, 4], [1, 2, 3, 4], subjects=["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="channels: expected a whole number of at least 4, got 3"):
        alignment([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="all the same"):
        alignment([1, 1, 1, 1], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="method"):
        alignment([1, 2, 3, 4], [1, 2, 3, 4], method="percentile")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s, d: (s, d[:-1]), "drive: expected shape"),
        (lambda s, d: (s.where(s < 2), d), r"signal: \d+ of 6000 values are not finite"),
        (lambda s, d: (s, d * 0), "drive: 2 channels are constant"),
        (lambda s, d: (s[:900], d[:900]), "cannot be cut"),
    ],
)
def test_response_lag_refuses(change, match):
    signal, drive, _ = recording([0.1, 0.2], np.random.default_rng(10), n_times=3000)
    with pytest.raises(ValueError, match=match):
        response_lag(*change(signal, drive))


def test_channels_without_a_person_and_uneven_times_are_refused():
    people = np.array(["a", "a", "b", "b", "c", None], dtype=object)
    with pytest.raises(ValueError, match="subjects: .* got 1 missing"):
        alignment(np.arange(6.0), np.arange(6.0), subjects=people)
    with pytest.raises(ValueError, match="subjects: .* got 1 missing"):
        stats.mean_over_subjects(np.arange(6.0), people)
    words = pd.DataFrame({"onset": [0.1, 0.5], "offset": [0.2, 0.6]})
    values = xr.DataArray([1.0, 2.0], dims="word")
    time = np.concatenate([np.arange(30), np.arange(60, 90)]) / 100
    with pytest.raises(ValueError, match="time: expected evenly spaced"):
        word_drive(values, words, time)
    # Times rounded to a millisecond drift by no frame, however long the recording.
    late = pd.DataFrame({"onset": [600.0, 600.4], "offset": [600.2, 600.6]})
    rounded = np.round(np.arange(512 * 610) / 512, 3)
    placed = word_drive(values, late, rounded)["time"][np.flatnonzero(word_drive(values, late, rounded))]
    np.testing.assert_allclose(placed, [600.1, 600.5], atol=0.002)


# ------------------------------------------------------------------------------------------- layers and windows at once


def hills(layer, context, rng, noise: float = 0.0) -> xr.DataArray:
    """Scores (context, layer, channel) that fall off around a layer and a context (its step) of each channel."""
    layers, contexts = np.arange(0, 31, 3), np.array([1, 2, 4, 8, np.inf])
    far = ((layers[:, None] - layer) / 12) ** 2 + ((np.arange(5)[:, None, None] - context) / 3) ** 2
    values = 0.2 * np.exp(-far) + noise * rng.standard_normal(far.shape)
    return xr.DataArray(values, {"context": contexts, "layer": layers}, ("context", "layer", "channel"))


def test_crossed_order_asks_for_an_order_at_every_fixed_value():
    rng = np.random.default_rng(0)
    distance, people = rng.uniform(0, 100, 160), np.repeat(np.arange(8), 20)
    layer, window = 0.3 * distance, 4 * distance / 100
    score = hills(layer, 2.0, rng, 0.02)
    by_layer, by_context = (crossed_order(score, distance, subjects=people, along=a) for a in ("layer", "context"))
    assert by_layer.index.tolist() == [1, 2, 4, 8, np.inf, "free"] and by_layer["p"].max() < 0.01
    assert by_context["p"].max() > 0.05 and len(by_context) == 12
    few = crossed_order(score, distance, subjects=people, fixed=[4, np.inf])
    np.testing.assert_array_equal(few, by_layer.loc[[4, np.inf, "free"]])
    fixed = alignment(score[2].argmax("layer"), distance, subjects=people)
    np.testing.assert_allclose(by_layer.loc[4, ["r", "low", "high"]], [fixed.value, fixed.low, fixed.high])
    score = hills(15.0, window, rng, 0.02)
    assert crossed_order(score, distance, subjects=people)["p"].max() > 0.05
    assert crossed_order(score.T, distance, subjects=people, along="context")["p"].max() < 0.01
    # Where all peaks are the same there is no order.
    assert crossed_order(hills(15.0, window, rng), distance, subjects=people)["p"].tolist() == [1] * 6


def test_layer_gradient_is_the_planted_slope_whatever_the_noise():
    rng = np.random.default_rng(1)
    distance, people = rng.uniform(0, 100, 160), np.repeat(np.arange(8), 20)
    for noise in (0.0, 0.02, 0.15):
        score = hills(3 + 0.24 * distance, 2.0, rng, noise)
        found = layer_gradient(score[2], distance, subjects=people)
        assert found.low <= 0.245 and found.high >= 0.235 and abs(found.value - 0.24) < 0.01 + noise, found
    peaks = peak_layer(score[2])
    assert linregress(distance, peaks).slope < 0.2
    for planted, score in (
        (0.24, hills(3 + 0.24 * distance, 4 * distance / 100, rng)),
        (0.0, hills(np.full(160, 15.0), 2.0, rng)[2]),
    ):
        assert layer_gradient(score, distance).value == pytest.approx(planted, abs=0.01)


def test_errors_of_layers_and_windows():
    score, distance = hills(np.linspace(0, 30, 12), 2.0, np.random.default_rng(2)), np.arange(12.0)
    with pytest.raises(ValueError, match="context"):
        crossed_order(score[0], distance)
    with pytest.raises(ValueError, match="along: expected one of 'layer', 'context', got 'word'"):
        crossed_order(score, distance, along="word")
    with pytest.raises(ValueError, match="score: .* values are not finite"):
        crossed_order(score.where(score > 0.01), distance)
    with pytest.raises(ValueError, match="fixed: expected one of .*, got 3"):
        crossed_order(score, distance, fixed=[3])
    with pytest.raises(ValueError, match="score: .* values are not finite"):
        layer_gradient(score.where(score > 0.01), distance)
    for part in (score[:, :2], score.isel(layer=slice(None, None, -1)), score.drop_vars("layer")):
        with pytest.raises(ValueError, match="score: expected .* with three ascending layers"):
            layer_gradient(part, distance)
    with pytest.raises(ValueError, match="distance: expected shape"):
        layer_gradient(score, distance[:5])
    with pytest.raises(ValueError, match="most values are all the same"):
        layer_gradient(score, np.r_[1.0, np.zeros(11)])
