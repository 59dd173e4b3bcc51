"""Temporal receptive fields: how long after what drives it does a channel respond most?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.fft
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from brainalign._checks import finite, varying
from brainalign.ridge import _path
from brainalign.stats import jackknife_interval

FIRST, LAST = -0.1, 0.5  # s after the drive
N_BLOCKS = 10
PENALTIES = np.logspace(-5, 0, 6)  # shares of the drive's sum of squares
SMOOTHING = 0.03  # s: single weights are noisy, and the jackknife must not jump


def response_lag(signal: xr.DataArray, drive: xr.DataArray) -> pd.DataFrame:
    """How long after its drive does a channel respond most, between 0.1 s before it and 0.5 s after?

    A temporal receptive field (Mischler et al. 2024 use its peak as a second measure of depth): ridge regression of the
    signal on the drive at every lag, whose highest weight marks the lag; a parabola through it and its neighbours gives
    fractions of a sample. The penalty is chosen, and the score measured, by leaving out one of ten blocks of time at a
    time.

    Parameters
    ----------
    signal : DataArray of shape (time, channel)
        Evenly sampled, times in s.
    drive : DataArray of shape (time,) or (time, channel)
        The sound's envelope, onsets of words, or a drive for each channel (`signals.word_drive`).

    Returns
    -------
    DataFrame, index channel
        ``lag`` (s) with its 95 % interval from ``low`` to ``high``, a jackknife over the blocks, and ``score``, the
        Pearson correlation of held-out predictions. Where it is not above chance, or the interval is wide, the lag
        means nothing.

    Raises
    ------
    ValueError
        For a drive of another shape, values that are not finite or never change, and too few samples for the blocks.
    """
    signal, drive = signal.transpose("time", "channel"), drive.transpose("time", ...)
    y, x = finite("signal", signal), finite("drive", drive)
    x = x[:, None] if x.ndim == 1 else x
    if len(x) != len(y) or x.shape[1] not in (1, y.shape[1]):
        raise ValueError(f"drive: expected shape ({len(y)},) or {y.shape}, got {drive.shape}.")
    varying("signal", y, "channels")
    varying("drive", x, "channels")
    step = float(np.median(np.diff(signal["time"].to_numpy())))
    shifts = np.arange(round(FIRST / step), round(LAST / step) + 1)
    if len(shifts) < 3 or len(y) < 2 * N_BLOCKS * len(shifts):
        raise ValueError(
            f"signal: {len(y)} samples cannot be cut into {N_BLOCKS} blocks of twice {len(shifts)} lags (at least 3)."
        )
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0)
    gram, cross, power = _block_moments(x, y, shifts)

    # One decomposition a training set and channel: all blocks, then all but each of them.
    grams, crosses = (torch.cat([part.sum(0, keepdim=True), part.sum(0) - part]) for part in (gram, cross))
    path = _path.of_moments(grams, crosses)
    shrunk = path.targets / (path.values[..., None] + torch.as_tensor(PENALTIES) * grams[..., :1, :1])
    weights = path.to_scores @ shrunk  # (training set, channel, lag, penalty)
    held_out = weights[1:]
    covariance = (held_out * cross).sum((0, 2))  # of predictions with the signal, (channel, penalty)
    variance = (gram @ held_out * held_out).sum((0, 2))
    best = (variance - 2 * covariance).argmin(1, keepdim=True)
    score = (covariance / variance.sqrt()).gather(1, best)[:, 0].numpy() / np.sqrt(power)
    fields = weights.take_along_dim(best[None, :, None], 3)[..., 0].numpy()
    smooth = gaussian_filter1d(fields, SMOOTHING / step, axis=2)
    lag, *without = (_peak(field, shifts) * step for field in smooth)
    interval = jackknife_interval(lag, without)
    return pd.DataFrame(
        {"lag": lag, "low": interval.low, "high": interval.high, "score": score},
        index=pd.Index(signal["channel"].to_numpy(), name="channel"),
    )


def _block_moments(x: np.ndarray, y: np.ndarray, shifts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Of each block: moments (block, channel, lag, lag) of the drive, (block, channel, lag, 1) with the signal.

    By Fourier transform. Also the sum of squares (channel) of the signal.
    """
    auto, cross = [], []
    for rows in np.array_split(np.arange(len(y)), N_BLOCKS):
        n = scipy.fft.next_fast_len(len(rows) + np.abs(shifts).max() + len(shifts), real=True)
        fx, fy = (scipy.fft.rfft(a[rows], n, axis=0) for a in (x, y))
        auto.append(scipy.fft.irfft(np.abs(fx) ** 2, n, axis=0)[: len(shifts)].T)
        cross.append(scipy.fft.irfft(np.conj(fx) * fy, n, axis=0)[shifts].T)
    apart = np.abs(shifts[:, None] - shifts)
    return torch.as_tensor(np.stack(auto)[..., apart]), torch.as_tensor(np.stack(cross)[..., None]), (y**2).sum(0)


def _peak(weights: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Where each row is highest, between samples."""
    top = weights.argmax(1)
    inside = top.clip(1, weights.shape[1] - 2)
    before, here, after = (weights[np.arange(len(weights)), inside + k] for k in (-1, 0, 1))
    curvature = before - 2 * here + after
    offset = np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature < 0, curvature, 1.0), 0.0)
    return np.where(top == inside, shifts[inside] + offset, shifts[top])
