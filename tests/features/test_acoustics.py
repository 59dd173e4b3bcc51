"""Loudness of the sound and its onsets."""

import numpy as np
import pytest

from brainalign.features.acoustics import envelope, mel_spectrogram

RATE = 8000


def test_envelope_follows_loudness_and_onsets_mark_its_rises():
    time = np.arange(4 * RATE) / RATE
    gain = np.where((time >= 1) & (time < 2), 1.0, 0.1)  # ten times louder for a second
    samples = gain * np.random.default_rng(0).standard_normal(len(time))
    found = envelope(samples, RATE)
    assert found.dims == ("time", "feature") and found.feature.values.tolist() == ["envelope", "onset"]
    np.testing.assert_allclose(found.mean("time"), 0, atol=1e-4)
    np.testing.assert_allclose(found.std("time"), 1, atol=1e-4)
    np.testing.assert_array_equal(found.time, mel_spectrogram(samples, RATE).time)
    loud, onset = found.sel(feature="envelope"), found.sel(feature="onset")
    assert loud.sel(time=slice(1.05, 1.95)).min() > loud.sel(time=slice(2.05, None)).max()
    assert float(onset.idxmax()) == pytest.approx(1.0, abs=0.03)
    assert onset.sel(time=slice(1.98, 2.02)).max() < onset.max() / 4


def test_envelope_grows_as_loudness_does():
    time = np.arange(2 * RATE) / RATE
    gain = np.repeat([1.0, 2, 4, 8], len(time) // 4)
    loud = envelope(gain * np.sin(2 * np.pi * 440 * time), RATE).sel(feature="envelope")
    steps = loud.sel(time=[0.25, 0.75, 1.25, 1.75], method="nearest").values
    np.testing.assert_allclose(np.diff(steps)[1:] / np.diff(steps)[:-1], 2**0.6, rtol=0.02)


def test_envelope_refuses_silence():
    with pytest.raises(ValueError, match="samples"):
        envelope(np.zeros(RATE), RATE)
