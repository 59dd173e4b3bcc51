"""Acoustic features of speech: what the ear gets before any word is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy.signal.windows import hann
from sklearn.decomposition import PCA
from transformers.audio_utils import mel_filter_bank

from brainalign._checks import finite, shaped
from brainalign.signals import word_responses

FRAME_RATE = 100.0  # Hz
WINDOW = 0.025  # s


def mel_spectrogram(samples: np.ndarray, rate: float, *, n_bands: int = 32) -> xr.DataArray:
    """Log-mel spectrogram, 100 frames a second of 25 ms each, z-scored in each band.

    Parameters
    ----------
    samples : array of shape (sample,)
        Sound pressure, any unit.
    rate : float
        Samples a second (Hz).
    n_bands : int
        Mel bands from 60 Hz to the Nyquist frequency.

    Returns
    -------
    DataArray of shape (time, feature)
        `time` in s, at the centre of each frame; `feature` holds the bands' centre frequencies (Hz).

    Raises
    ------
    ValueError
        For samples that are not one finite channel, or all zero.
    """
    frames = _frames(samples, rate)
    n_fft = 1 << (frames.shape[1] - 1).bit_length()
    filters = mel_filter_bank(n_fft // 2 + 1, n_bands, 60.0, rate / 2, round(rate), norm="slaney", mel_scale="slaney")
    power = np.abs(np.fft.rfft(frames, n_fft)) ** 2 @ filters
    centres = (np.linspace(0, rate / 2, len(filters)) @ filters) / filters.sum(0)
    return _scored(np.log(np.maximum(power, power.max() * 1e-8)), centres.round(1))


def envelope(samples: np.ndarray, rate: float) -> xr.DataArray:
    """How loud the sound is, and how steeply it rises, both z-scored, in the frames of `mel_spectrogram`.

    Of shape (time, feature): "envelope" is the root mean square of each window to the power of 0.6, as loudness grows
    with pressure (Biesmans et al. 2017, IEEE Trans. Neural Syst. Rehabil. Eng. 25); "onset" its rise since the frame
    before, zero where it falls.
    """
    loudness = np.sqrt((_frames(samples, rate) ** 2).mean(1)) ** 0.6
    rise = np.maximum(np.diff(loudness, prepend=loudness[0]), 0)
    return _scored(np.column_stack([loudness, rise]), ["envelope", "onset"])


def _frames(samples: np.ndarray, rate: float) -> np.ndarray:
    """Hann-windowed stretches of sound around every frame, of shape (frame, sample)."""
    samples = finite("samples", shaped("samples", samples, "sample"))
    if not samples.any():
        raise ValueError("samples: expected sound, got zeros alone.")
    # Windows are cut at whole samples, so that frames keep exactly to FRAME_RATE over minutes.
    length = round(WINDOW * rate)
    starts = np.round(np.arange(int(len(samples) / rate * FRAME_RATE)) / FRAME_RATE * rate).astype(int)
    padded = np.pad(samples, (length // 2, length))
    return np.lib.stride_tricks.sliding_window_view(padded, length)[starts] * hann(length, sym=False)


def _scored(values: np.ndarray, names: Sequence | np.ndarray) -> xr.DataArray:
    values = ((values - values.mean(0)) / values.std(0)).astype("float32")
    return xr.DataArray(values, {"time": np.arange(len(values)) / FRAME_RATE, "feature": names}, ("time", "feature"))


def word_acoustics(
    sound: xr.DataArray, words: pd.DataFrame, *, lags: Sequence[float] = (-0.25, -0.2, -0.15, -0.1, -0.05, 0.0)
) -> xr.DataArray:
    """The sound (time, feature) around each word at several lags, side by side, of shape (word, lag * feature).

    `words` has the columns onset and offset (s); `lags` are from the centre of the word (s), negative before it, and
    each is averaged over 50 ms.
    """
    parts = word_responses(sound, words, window=0.05, lag=lags).transpose("word", "lag", "feature")
    return xr.DataArray(parts.to_numpy().reshape(len(words), -1), dims=("word", "feature"))


def sound_components(audio: tuple[np.ndarray, float], words: pd.DataFrame, n: int = 100) -> np.ndarray:
    """The `n` leading components (word, component) of the sound around each word, on two scales: level and energy.

    Responses may follow a logarithm or not, and what confounds do not cover is left to the language model. `audio` is
    sound and rate (Hz), `words` has the columns onset and offset (s).
    """
    level = mel_spectrogram(*audio, n_bands=16)
    scales = level, level.copy(data=np.exp(level.to_numpy()))
    around = np.concatenate([word_acoustics(scale, words) for scale in scales], axis=1)
    return PCA(n, svd_solver="full").fit_transform((around - around.mean(0)) / around.std(0))
