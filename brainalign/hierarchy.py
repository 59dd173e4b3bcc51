"""Which layer fits a channel best, and whether layers follow the cortical hierarchy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import spearmanr
from scipy.stats import t as student_t


class Alignment(NamedTuple):
    """Spearman correlation `r` of peak layers with distance, and its interval from `low` to `high` over people."""

    r: float
    low: float
    high: float
    n_channels: int
    n_clusters: int


def peak_layer(score: xr.DataArray) -> xr.DataArray:
    """The layer with the highest score in each channel.

    Parameters
    ----------
    score : DataArray of shape (layer, channel)
        Such as `encoding.cross_validate(...).score`.

    Returns
    -------
    DataArray of shape (channel)
        Values of the `layer` coordinate; the lowest layer of those that tie.

    Raises
    ------
    ValueError
        For scores that are not finite.
    """
    if "layer" not in score.dims:
        raise ValueError(f"score: expected a 'layer' dimension, got {score.dims}.")
    if not np.isfinite(score.to_numpy()).all():
        raise ValueError("score: non-finite values; drop those channels first.")
    return score.idxmax("layer") if "layer" in score.coords else score.argmax("layer")


def alignment(peak, distance, *, clusters=None, level: float = 0.95) -> Alignment:
    """Do peak layers grow with distance along the cortex?

    Spearman correlation over channels. Channels of one person are no independent samples: the interval comes from
    leaving out one whole person (`clusters`) at a time, a jackknife of the Fisher-transformed correlation with
    quantiles of Student's t. With the eight to twenty people of intracranial studies it covers as it should where a
    percentile bootstrap over people is too narrow.

    Parameters
    ----------
    peak, distance : array of shape (channel)
        Peak layer; distance in mm.
    clusters : array of shape (channel), optional
        The person each channel belongs to. Without it every channel counts as a person of its own.
    level : float
        Coverage of the interval.

    Returns
    -------
    Alignment

    Raises
    ------
    ValueError
        For lengths that differ, non-finite values, fewer than four channels or three people, or values that are all
        the same.

    References
    ----------
    Mischler et al. (2024) correlate peak layers with distance over binned electrodes; bins are not used here.
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 11, for the jackknife.
    """
    peak, distance = np.asarray(peak, dtype=float), np.asarray(distance, dtype=float)
    clusters = np.arange(len(peak)) if clusters is None else np.asarray(clusters)
    if not len(peak) == len(distance) == len(clusters):
        raise ValueError(f"peak, distance, clusters: lengths differ, {len(peak)}, {len(distance)} and {len(clusters)}.")
    if not (np.isfinite(peak).all() and np.isfinite(distance).all()):
        raise ValueError("peak, distance: non-finite values; drop the channels without a distance or a peak.")
    names = np.unique(clusters)
    if len(peak) < 4 or len(names) < 3:
        raise ValueError(f"peak: expected at least four channels of three people, got {len(peak)} of {len(names)}.")

    def fisher(rows: np.ndarray) -> float:
        if np.ptp(peak[rows]) == 0 or np.ptp(distance[rows]) == 0:
            raise ValueError(
                "peak, distance: values are all the same, with or without one of the people; no correlation."
            )
        # A perfect order would be infinite.
        return np.arctanh(np.clip(spearmanr(peak[rows], distance[rows]).statistic, -1 + 1e-9, 1 - 1e-9))

    z = fisher(np.ones(len(peak), dtype=bool))
    without = np.array([fisher(clusters != name) for name in names])
    error = np.sqrt((len(names) - 1) / len(names) * ((without - without.mean()) ** 2).sum())
    reach = student_t.ppf((1 + level) / 2, len(names) - 1) * error
    r, low, high = np.tanh([z, z - reach, z + reach]).tolist()
    return Alignment(r, low, high, len(peak), len(names))
