"""Dissimilarities: what is left of a representation when only the distances between its samples are kept.

A representational dissimilarity matrix (RDM) says how far apart the samples, here images, are. It is held as a
condensed vector, the pairs in the order of ``numpy.triu_indices(n_images, 1)``. `inference` has the statistics of RDMs,
`searchlight` makes and compares them all over the brain.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.spatial.distance import squareform
from scipy.stats import kendalltau, rankdata

METRICS = ("correlation", "euclidean", "sqeuclidean", "cosine", "crossnobis")
COMPARISONS = ("pearson", "spearman", "kendall", "cosine", "whitened-pearson", "whitened-cosine")

_TIE = 1e-10  # of the largest dissimilarity: smaller differences are rounding


def feature_rdm(x: ArrayLike) -> xr.DataArray | np.ndarray:
    """`rdm` by correlation or, where some image has a pattern without spread (one number, no label), by distance.

    Parameters
    ----------
    x : array of shape (..., image, feature)

    Returns
    -------
    DataArray or array of shape (..., pair)
    """
    has_spread = (np.ptp(np.asarray(x), axis=-1) > 0).all()
    return rdm(x, "correlation" if has_spread else "euclidean")


def rdm(x: ArrayLike, metric: str = "correlation", *, precision: ArrayLike | None = None) -> xr.DataArray | np.ndarray:
    """Representational dissimilarity matrix: how far apart the patterns of all pairs of images are.

    Parameters
    ----------
    x : array of shape (..., image, feature)
        At least three images. For "crossnobis" (..., repeat, image, feature), at least two repeats.
    metric : {"correlation", "euclidean", "sqeuclidean", "cosine", "crossnobis"}
        "correlation" is one less Pearson's r over features, "cosine" one less the cosine. "sqeuclidean" is the sum of
        squared differences over features. "crossnobis" multiplies the differences found in one repeat with those found
        in another, mean over features and pairs of repeats: noise that is independent between repeats has no part in
        its expectation, which is 0 for equal patterns. Single values can be negative.
    precision : array of shape (feature,) or (feature, feature), optional
        For "crossnobis", the inverse of the noise variance of each feature or of their covariance matrix; all 1 unless
        given.

    Returns
    -------
    DataArray or array of shape (..., pair)
        Pairs in the order of ``numpy.triu_indices(n_images, 1)``. A DataArray if `x` is one.

    Raises
    ------
    ValueError
        Non-finite values, fewer than three images or two repeats, a pattern that has no direction (all features equal
        for "correlation", all zero for "cosine"), an unknown metric, or a precision that does not fit.

    References
    ----------
    Kriegeskorte, Mur & Bandettini (2008), Front. Syst. Neurosci. 2, for RDMs. Walther et al. (2016), NeuroImage 137,
    188-200, for crossnobis.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {METRICS}, got {metric!r}.")
    values, least = np.asarray(x, dtype=float), 3 if metric == "crossnobis" else 2
    if values.ndim < least or values.shape[-2] < 3 or not values.size or (least == 3 and values.shape[-3] < 2):
        raise ValueError(
            f"x must have shape (..., {'repeat, ' * (least == 3)}image, feature) with at least three images"
            f"{' and two repeats' * (least == 3)}, got {values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"x: {(~np.isfinite(values)).sum()} non-finite values of {values.size}; leave them out.")
    if precision is not None and metric != "crossnobis":
        raise ValueError(f"precision belongs to metric='crossnobis', got it with {metric!r}; whiten x beforehand.")

    first, second = np.triu_indices(values.shape[-2], 1)
    if metric in ("correlation", "cosine"):
        similar = _directions(values, centre=metric == "correlation")
        # Rounding may leave a value just below zero for equal patterns.
        found = np.clip(1 - (similar @ similar.swapaxes(-1, -2))[..., first, second], 0, 2)
    elif metric == "crossnobis":
        values = _whiten(values - values.mean(-2, keepdims=True), precision)
        # The products of different repeats are all products less those of each repeat with itself.
        n = values.shape[-3]
        found = _squared_distances(values.sum(-3)) - _squared_distances(values).sum(-2)
        found /= n * (n - 1) * values.shape[-1]
    else:
        found = _squared_distances(values - values.mean(-2, keepdims=True))
        found = np.sqrt(found) if metric == "euclidean" else found
    if not isinstance(x, xr.DataArray):
        return found
    dims = x.dims[:-least]
    coords = {name: c for name, c in x.coords.items() if set(c.dims) <= set(dims)}
    return xr.DataArray(found, coords, (*dims, "pair"))


def compare_rdms(a: ArrayLike, b: ArrayLike, method: str = "spearman") -> xr.DataArray | np.ndarray | float:
    """Compare each RDM of one set with each of another.

    Parameters
    ----------
    a : array of shape (..., pair)
    b : array of shape (..., pair)
        Of the same pairs.
    method : {"spearman", "pearson", "kendall", "cosine", "whitened-pearson", "whitened-cosine"}
        "kendall" is tau-a, which does not favour models with ties. The distances of one image to all others share its
        noise, and the whitened methods undo their covariance (of noise that is independent between images and equal in
        all); they take RDMs of squared distances, best of all crossnobis.

    Returns
    -------
    float, array of shape (..., ...), or DataArray
        The leading dimensions of `a`, then those of `b`. A DataArray if both are, their dimensions by other names.

    Raises
    ------
    ValueError
        Non-finite values, RDMs of different length or of fewer than three pairs, one whose values are all the same (for
        cosines: all zero), an unknown method, or, for the whitened ones, lengths of no full set of pairs.

    Notes
    -----
    For ranks, dissimilarities that differ by less than 1e-10 of the largest one count as ties, as those of category
    models do that differ by rounding.

    References
    ----------
    Nili et al. (2014), PLoS Comput. Biol. 10, for rank correlations and tau-a. Diedrichsen et al. (2021), Neurons,
    Behavior, Data Analysis, and Theory 5(3), for whitening. With this covariance it is the same as a comparison of the
    centred matrices of inner products, which is how it is computed here.
    """
    if method not in COMPARISONS:
        raise ValueError(f"method must be one of {COMPARISONS}, got {method!r}.")
    arrays = {"a": np.asarray(a, dtype=float), "b": np.asarray(b, dtype=float)}
    lengths = [array.shape[-1] if array.ndim else 0 for array in arrays.values()]
    if len(set(lengths)) > 1 or lengths[0] < 3:
        raise ValueError(f"a and b must hold the same pairs of images, at least three, got {lengths} pairs.")
    rows = [_comparable(array.reshape(-1, lengths[0]), method, name) for name, array in arrays.items()]
    if method == "kendall":
        scores = np.array([[_tau_a(one, other) for other in rows[1]] for one in rows[0]])
    else:
        scores = np.clip(rows[0] @ rows[1].T, -1, 1)
    scores = scores.reshape(arrays["a"].shape[:-1] + arrays["b"].shape[:-1])
    if not (isinstance(a, xr.DataArray) and isinstance(b, xr.DataArray)):
        return scores if scores.ndim else float(scores)
    shared = set(a.dims[:-1]) & set(b.dims[:-1])
    if shared:
        raise ValueError(f"a and b must have other names for their leading dimensions, both have {shared}; rename one.")
    coords = {n: c for array in (a, b) for n, c in array.coords.items() if set(c.dims) <= set(array.dims[:-1])}
    return xr.DataArray(scores, coords, (*a.dims[:-1], *b.dims[:-1]))


def _directions(values: np.ndarray, *, centre: bool) -> np.ndarray:
    """Patterns of length one."""
    size = np.abs(values).max(-1, keepdims=True)
    values = values / np.where(size > 0, size, 1)  # squares could overflow
    if centre:
        values = values - values.mean(-1, keepdims=True)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    # The mean of equal numbers may differ from them by rounding.
    still = length[..., 0] <= 4 * np.finfo(float).eps * np.sqrt(values.shape[-1])
    if still.any():
        where = np.unique(np.nonzero(still)[-1])
        raise ValueError(
            f"x: image(s) {where[:8].tolist()} have the same value in all features (or none but zero): such a pattern "
            "has no direction; leave these images out, or take another metric."
        )
    return values / length


def _squared_distances(values: np.ndarray) -> np.ndarray:
    """Between all pairs of images, of shape (..., pair)."""
    first, second = np.triu_indices(values.shape[-2], 1)
    inner = values @ values.swapaxes(-1, -2)
    own = np.diagonal(inner, axis1=-2, axis2=-1)
    return np.maximum(own[..., first] + own[..., second] - 2 * inner[..., first, second], 0)


def _whiten(values: np.ndarray, precision: ArrayLike | None) -> np.ndarray:
    if precision is None:
        return values
    precision, n = np.asarray(precision, dtype=float), values.shape[-1]
    if precision.shape not in ((n,), (n, n)) or not np.isfinite(precision).all():
        raise ValueError(f"precision must be finite and of shape ({n},) or ({n}, {n}), got shape {precision.shape}.")
    matrix = np.diag(precision) if precision.ndim == 1 else precision
    if not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix)[0] <= 0:
        raise ValueError("precision must be symmetric with positive eigenvalues; see sklearn.covariance.LedoitWolf.")
    return values * np.sqrt(precision) if precision.ndim == 1 else values @ np.linalg.cholesky(precision)


def _comparable(rdms: np.ndarray, method: str, name: str) -> np.ndarray:
    """RDMs (row, pair) as vectors of length one whose inner products are the scores; for Kendall's tau, their ranks."""
    if not np.isfinite(rdms).all():
        raise ValueError(f"{name}: {(~np.isfinite(rdms)).sum()} non-finite dissimilarities; leave these images out.")
    size = np.abs(rdms).max(-1)
    flat = size == 0 if method.endswith("cosine") else np.ptp(rdms, axis=-1) <= _TIE * size
    if flat.any():
        raise ValueError(f"{name}: {flat.sum()} RDM(s) whose dissimilarities are all the same; nothing to compare.")
    if method in ("spearman", "kendall"):
        rdms = rankdata(np.round(rdms / np.abs(rdms).max(-1, keepdims=True) / _TIE), axis=-1)
    if method == "kendall":
        return rdms
    if not method.endswith("cosine"):
        rdms = rdms - rdms.mean(-1, keepdims=True)
    if method.startswith("whitened"):
        n = round((1 + np.sqrt(1 + 8 * rdms.shape[-1])) / 2)
        if n * (n - 1) // 2 != rdms.shape[-1]:
            raise ValueError(f"{method} needs the RDM of all pairs of images; {rdms.shape[-1]} pairs are of no number.")
        inner = np.stack([squareform(row, checks=False) for row in rdms])
        inner = inner - inner.mean(-1, keepdims=True)
        rdms = (inner - inner.mean(-2, keepdims=True)).reshape(len(rdms), -1)
    return rdms / np.linalg.norm(rdms, axis=-1, keepdims=True)


def _tau_a(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-a from tau-b: the same difference of concordant and discordant pairs, over all pairs."""
    total = len(x) * (len(x) - 1) / 2
    counts = (np.unique(values, return_counts=True)[1] for values in (x, y))
    untied = [total - (count * (count - 1)).sum() / 2 for count in counts]
    return float(kendalltau(x, y).statistic * np.sqrt(untied[0] * untied[1]) / total)
