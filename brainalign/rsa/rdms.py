"""Dissimilarities: what is left of a representation when only the distances between its samples are kept.

A representational dissimilarity matrix (RDM) says how far apart the samples, here images, are. It is held as a
condensed vector, the pairs in the order of ``numpy.triu_indices(n_images, 1)``.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from brainalign._checks import finite, one_of, varying

METRICS = ("correlation", "euclidean", "sqeuclidean")
COMPARISONS = ("pearson", "spearman")

_TIE = 1e-10  # of the largest dissimilarity: smaller differences are rounding


def feature_rdm(x: ArrayLike) -> np.ndarray:
    """`rdm` by correlation or, where some image has a pattern without spread (one number, no label), by distance."""
    return rdm(x, "correlation" if (np.ptp(np.asarray(x), axis=-1) > 0).all() else "euclidean")


def rdm(x: ArrayLike, metric: str = "correlation") -> np.ndarray:
    """Representational dissimilarity matrix (Kriegeskorte et al. 2008): how far apart the patterns of images are.

    From patterns (..., image, feature) of at least three images to distances (..., pair). The `metric` "correlation" is
    one less Pearson's r over features, which must not all be equal in an image; "sqeuclidean" is the sum of squared
    differences over features, and "euclidean" its root.
    """
    values = finite("x", x)
    if values.ndim < 2 or values.shape[-2] < 3 or not values.size:
        raise ValueError(f"x: expected shape (..., image, feature) with at least three images, got {values.shape}.")
    if one_of("metric", metric, METRICS) != "correlation":
        flat = values.reshape(-1, *values.shape[-2:])
        return np.array([pdist(one, metric) for one in flat]).reshape(*values.shape[:-2], -1)
    varying("x", values.swapaxes(-1, -2), "images")
    values = values / np.abs(values).max(-1, keepdims=True)  # squares could overflow
    values -= values.mean(-1, keepdims=True)
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    first, second = np.triu_indices(values.shape[-2], 1)
    # Rounding may leave a value just below zero for equal patterns.
    return np.clip(1 - (values @ values.swapaxes(-1, -2))[..., first, second], 0, 2)


def compare_rdms(a: ArrayLike, b: ArrayLike, method: str = "spearman") -> xr.DataArray | np.ndarray | float:
    """Compare each RDM of one set with each of another, by "spearman" or "pearson".

    Both are of shape (..., pair), of the same pairs, at least three. Scores have the leading dimensions of `a`, then
    those of `b`; they are a DataArray if both are, their dimensions by other names. For ranks, dissimilarities that
    differ by less than 1e-10 of the largest one count as ties, as those of category models do that differ by rounding.
    """
    one, other = (np.asarray(array, dtype=float) for array in (a, b))
    n_pairs = [array.shape[-1] if array.ndim else 0 for array in (one, other)]
    if len(set(n_pairs)) > 1 or n_pairs[0] < 3:
        raise ValueError(f"a, b: expected the same pairs of images, at least three, got {n_pairs} pairs.")
    rows = [_comparable(array.reshape(-1, n_pairs[0]), method, name) for name, array in (("a", one), ("b", other))]
    scores = np.clip(rows[0] @ rows[1].T, -1, 1).reshape(one.shape[:-1] + other.shape[:-1])
    if not (isinstance(a, xr.DataArray) and isinstance(b, xr.DataArray)):
        return scores if scores.ndim else float(scores)
    if shared := set(a.dims[:-1]) & set(b.dims[:-1]):
        raise ValueError(f"a, b: expected other names for leading dimensions, both have {shared}; rename one.")
    coords = {n: c for array in (a, b) for n, c in array.coords.items() if set(c.dims) <= set(array.dims[:-1])}
    return xr.DataArray(scores, coords, (*a.dims[:-1], *b.dims[:-1]))


def _comparable(rdms: np.ndarray, method: str, name: str) -> np.ndarray:
    """RDMs (row, pair) as vectors of length one whose inner products are the scores."""
    one_of("method", method, COMPARISONS)
    size = np.abs(finite(name, rdms)).max(-1, keepdims=True)
    if n_flat := (np.ptp(rdms, axis=-1) <= _TIE * size[:, 0]).sum():
        raise ValueError(f"{name}: {n_flat} RDM(s) whose dissimilarities are all the same; nothing to compare.")
    if method == "spearman":
        rdms = rankdata(np.round(rdms / size / _TIE), axis=-1)
    rdms = rdms - rdms.mean(-1, keepdims=True)
    return rdms / np.linalg.norm(rdms, axis=-1, keepdims=True)
