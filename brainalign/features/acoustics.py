"""Acoustic features of speech: what the ear gets before any word is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy.signal.windows import hann
from transformers.audio_utils import mel_filter_bank

from brainalign.signals import word_responses


def mel_spectrogram(
    samples: np.ndarray, rate: float, *, frame_rate: float = 100.0, n_bands: int = 32, window: float = 0.025
) -> xr.DataArray:
    """Log-mel spectrogram, z-scored in each band.

    Parameters
    ----------
    samples : array of shape (sample,)
        Sound pressure, any unit.
    rate : float
        Samples a second (Hz).
    frame_rate : float
        Frames a second (Hz).
    n_bands : int
        Mel bands from 60 Hz to the Nyquist frequency.
    window : float
        Length of the Hann window (s).

    Returns
    -------
    DataArray of shape (time, feature)
        `time` in s, at the centre of each frame; `feature` holds the bands' centre frequencies (Hz).

    Raises
    ------
    ValueError
        For samples that are not one finite channel, or not louder than silence.
    """
    frames = _frames(samples, rate, frame_rate, window)
    n_fft = 1 << (frames.shape[1] - 1).bit_length()
    filters = mel_filter_bank(n_fft // 2 + 1, n_bands, 60.0, rate / 2, round(rate), norm="slaney", mel_scale="slaney")
    power = np.abs(np.fft.rfft(frames, n_fft)) ** 2 @ filters
    level = np.log(np.maximum(power, power.max() * 1e-8))
    level = (level - level.mean(0)) / level.std(0)
    centres = (np.linspace(0, rate / 2, len(filters)) @ filters) / filters.sum(0)
    return xr.DataArray(
        level.astype("float32"),
        dims=("time", "feature"),
        coords={"time": np.arange(len(frames)) / frame_rate, "feature": centres.round(1)},
    )


def envelope(samples: np.ndarray, rate: float, *, frame_rate: float = 100.0, window: float = 0.025) -> xr.DataArray:
    """How loud the sound is, and how steeply it rises, both z-scored.

    Parameters
    ----------
    samples, rate, frame_rate, window
        As in `mel_spectrogram`, whose frames these are.

    Returns
    -------
    DataArray of shape (time, feature)
        `feature` "envelope": the root mean square of each window to the power of 0.6, as loudness grows with pressure;
        "onset": its rise since the frame before, zero where it falls. `time` in s.

    Raises
    ------
    ValueError
        As in `mel_spectrogram`.

    References
    ----------
    The exponent: Biesmans et al. (2017), IEEE Trans. Neural Syst. Rehabil. Eng. 25.
    """
    frames = _frames(samples, rate, frame_rate, window)
    loudness = np.sqrt((frames**2).mean(1)) ** 0.6
    both = np.column_stack([loudness, np.maximum(np.diff(loudness, prepend=loudness[0]), 0)])
    return xr.DataArray(
        ((both - both.mean(0)) / both.std(0)).astype("float32"),
        dims=("time", "feature"),
        coords={"time": np.arange(len(frames)) / frame_rate, "feature": ["envelope", "onset"]},
    )


def _frames(samples: np.ndarray, rate: float, frame_rate: float, window: float) -> np.ndarray:
    """Hann-windowed stretches of sound around every frame, of shape (frame, sample)."""
    samples = np.asarray(samples, dtype=float)
    if samples.ndim != 1 or not np.isfinite(samples).all() or not samples.any():
        raise ValueError("samples: expected one channel of finite samples that are not all zero.")
    # Windows are cut at whole samples, so that frames keep exactly to frame_rate over minutes.
    length = round(window * rate)
    starts = np.round(np.arange(int(len(samples) / rate * frame_rate)) / frame_rate * rate).astype(int)
    padded = np.pad(samples, (length // 2, length))
    return np.lib.stride_tricks.sliding_window_view(padded, length)[starts] * hann(length, sym=False)


def word_acoustics(
    sound: xr.DataArray, words: pd.DataFrame, *, lags: Sequence[float] = (-0.25, -0.2, -0.15, -0.1, -0.05, 0.0)
) -> xr.DataArray:
    """The sound around each word: a spectrogram at several lags, side by side.

    Parameters
    ----------
    sound : DataArray of shape (time, feature)
        Such as from `mel_spectrogram`.
    words : DataFrame [onset, offset]
        s.
    lags : sequence of float
        From the centre of the word (s); negative is before it. Each is averaged over 50 ms.

    Returns
    -------
    DataArray of shape (word, feature * lag)
    """
    parts = word_responses(sound, words, window=0.05, lag=lags)
    return xr.DataArray(
        parts.transpose("word", "lag", "feature").to_numpy().reshape(len(words), -1), dims=("word", "feature")
    )


def sound_components(audio: tuple[np.ndarray, float], words: pd.DataFrame, n: int = 100) -> np.ndarray:
    """Leading components of the sound around each word, on two scales: level (a logarithm) and energy.

    Responses may follow either scale, and what a set of confounds does not cover is left to the language model.

    Parameters
    ----------
    audio : (array of shape (sample,), float)
        Sound and rate (Hz).
    words : DataFrame [onset, offset, passage]
    n : int
        Number of components.

    Returns
    -------
    array of shape (word, component)
    """
    from sklearn.decomposition import PCA

    level = mel_spectrogram(*audio, n_bands=16)
    around = np.concatenate(
        [word_acoustics(scale, words) for scale in (level, level.copy(data=np.exp(level.to_numpy())))], axis=1
    )
    around = (around - around.mean(0)) / around.std(0)
    return PCA(n, svd_solver="full").fit_transform(around)
