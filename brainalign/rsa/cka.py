"""How alike two representations of the same samples are, whatever their axes: CKA and Procrustes.

A representation is an array of shape (sample, feature): a model's layer at every word, or a group of electrodes. None
of the measures changes when features are rotated, shifted, or scaled all by one factor. They do change when single
features are scaled: `standardize` them first where a few have most of the variance.

Both classical measures are far above zero for unrelated representations with more features than samples. Debiased CKA
is not: independent samples of unrelated representations give 0 on average. Procrustes similarity has no such estimator
and has to be read against its value for shuffled samples. Samples that follow each other, as words do, are no
independent samples; chance then comes from shifted samples (`cka_null` with `stats.circular_shifts`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from threadpoolctl import ThreadpoolController

from brainalign import stats

Representations = Mapping[str, ArrayLike] | Sequence[ArrayLike]

BLOCK = 2**22  # numbers of Gram matrices held at once: 32 MB, which is fastest


class Jackknife(NamedTuple):
    """CKA of all pairs, and the same without each minibatch in turn."""

    estimate: xr.DataArray
    without: xr.DataArray


class Convergence(NamedTuple):
    """Are high performers more alike than low ones, and does the similarity of a pair rise with its performance?"""

    high: float
    low: float
    difference: float
    difference_pvalue: float
    correlation: float
    correlation_pvalue: float


def standardize(features: ArrayLike) -> xr.DataArray | np.ndarray:
    """Bring every feature to mean 0 and standard deviation 1 over samples.

    In most language models a few features of some layers have most of the variance, and would decide every comparison
    (Timkey & van Schijndel 2021, EMNLP). Others never change but for rounding, which must not be blown up: features
    whose standard deviation is below a ten-thousandth of the median one become 0.

    Parameters
    ----------
    features : array of shape (..., sample, feature)

    Returns
    -------
    DataArray or array of the same shape and precision

    Raises
    ------
    ValueError
        Non-finite values.
    """
    values = np.asarray(features)
    if values.dtype.kind != "f":
        values = values.astype(float)
    if not np.isfinite(values).all():
        raise ValueError(f"features: {int((~np.isfinite(values)).sum())} non-finite values; leave those samples out.")
    centred = values - values.mean(-2, keepdims=True, dtype=float).astype(values.dtype)
    spread = centred.std(-2, keepdims=True, dtype=float).astype(centred.dtype)
    still = spread <= 1e-4 * np.median(spread, axis=-1, keepdims=True)
    scaled = np.where(still, 0, centred / np.where(still, 1, spread))
    return features.copy(data=scaled) if isinstance(features, xr.DataArray) else scaled


def linear_cka(
    x: ArrayLike, y: ArrayLike, *, debiased: bool = True, batch_size: int | None = None, seed: int | None = None
) -> float:
    """Linear centred kernel alignment (CKA) of two representations.

    HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)), where HSIC, the Hilbert-Schmidt independence criterion, compares the inner
    products of all pairs of samples in x with those in y.

    Parameters
    ----------
    x, y : array of shape (sample, feature)
        The features may differ in number.
    debiased : bool
        Use the unbiased estimator of HSIC, whose expectation is 0 for unrelated representations however few the samples
        and many the features; the result may be below 0. Otherwise the plain estimator, which is never below 0.
    batch_size : int, optional
        Largest number of samples in a minibatch. Each HSIC is then the mean over minibatches of nearly equal size that
        use every sample once; unbiased for every batch size if `debiased`. Default: all samples at once.
    seed : int, optional
        Draw the minibatches at random. Default: contiguous samples.

    Returns
    -------
    float
        1 for representations that differ by a rotation, a shift and one factor.

    Raises
    ------
    ValueError
        Non-finite or constant values, numbers of samples that differ, too few samples or too small a batch (4 if
        `debiased`, else 2), or samples that are all equally far apart (`debiased`).

    References
    ----------
    Kornblith, Norouzi, Lee & Hinton (2019), ICML, for linear CKA. Song, Smola, Gretton, Bedo & Borgwardt (2012), JMLR
    13, for the unbiased HSIC. Nguyen, Raghu & Kornblith (2021), ICLR, for its mean over minibatches.
    """
    return float(cka_matrix([x], [y], debiased=debiased, batch_size=batch_size, seed=seed)[0, 0])


def cka_matrix(
    xs: Representations,
    ys: Representations | None = None,
    *,
    debiased: bool = True,
    batch_size: int | None = None,
    seed: int | None = None,
) -> xr.DataArray:
    """Linear CKA of every representation with every other, or of one set with another.

    Each representation's Gram matrix is made once; all pairs are one matrix product.

    Parameters
    ----------
    xs, ys : mapping of str to, or sequence of, arrays of shape (sample, feature)
        Without `ys` each of `xs` is compared with each of `xs`.
    debiased, batch_size, seed
        As in `linear_cka`.

    Returns
    -------
    DataArray of shape (representation, other)
        With the keys, or positions, as coordinates.

    Raises
    ------
    ValueError
        As in `linear_cka`.

    Notes
    -----
    Memory is a copy of the representations and blocks of Gram matrices, whatever the number of samples.
    """
    return cka_jackknife(xs, ys, debiased=debiased, batch_size=batch_size, seed=seed).estimate


def cka_jackknife(
    xs: Representations,
    ys: Representations | None = None,
    *,
    debiased: bool = True,
    batch_size: int | None = None,
    seed: int | None = None,
) -> Jackknife:
    """`cka_matrix`, and the same without each minibatch in turn, for no more work.

    With contiguous minibatches (no `seed`) each is a stretch of its own, and their jackknife says how much CKA would
    vary over other stretches of the kind.

    Parameters
    ----------
    xs, ys, debiased, batch_size, seed
        As in `cka_matrix`.

    Returns
    -------
    Jackknife
        ``estimate`` of shape (representation, other) and ``without`` of shape (batch, representation, other); of no
        batches if there is only one.

    Raises
    ------
    ValueError
        As in `linear_cka`.
    """
    x_names, x_arrays = _prepare(xs, "xs")
    y_names, y_arrays = (x_names, x_arrays) if ys is None else _prepare(ys, "ys")
    batches = _batches(x_arrays, y_arrays, debiased, batch_size, seed)
    cross = np.zeros((len(batches), len(x_arrays), len(y_arrays)))
    own_x, own_y = np.zeros((len(batches), len(x_arrays))), np.zeros((len(batches), len(y_arrays)))
    for index, batch in enumerate(batches):
        # Both sets in the same rows of their Gram matrices, so that a block of them is enough at a time.
        x_batch, y_batch = _centred(x_arrays, batch), None if ys is None else _centred(y_arrays, batch)
        for rows in _row_blocks(len(batch), len(x_arrays) + len(y_arrays)):
            x_gram = _gram(x_batch, rows, debiased)
            y_gram = x_gram if y_batch is None else _gram(y_batch, rows, debiased)
            cross[index] += x_gram @ y_gram.T / _pairs(batch, debiased)
            own_x[index] += np.einsum("ij,ij->i", x_gram, x_gram) / _pairs(batch, debiased)
            own_y[index] += np.einsum("ij,ij->i", y_gram, y_gram) / _pairs(batch, debiased)
    coords = {"representation": x_names, "other": y_names}

    def ratio(keep: np.ndarray) -> xr.DataArray:
        _check_spread(own_x[keep].mean(0), x_names, "xs")
        _check_spread(own_y[keep].mean(0), y_names, "ys")
        scale = np.sqrt(np.outer(own_x[keep].sum(0), own_y[keep].sum(0)))
        return xr.DataArray(np.clip(cross[keep].sum(0) / scale, -1, 1), coords, ("representation", "other"))

    estimate = ratio(np.ones(len(batches), dtype=bool))
    without = np.zeros((0, *estimate.shape))
    if len(batches) > 1:
        without = np.stack([ratio(np.arange(len(batches)) != index) for index in range(len(batches))])
    return Jackknife(estimate, xr.DataArray(without, coords, ("batch", "representation", "other")))


def cka_models(
    models: Mapping[str, np.ndarray], *, match: str = "depth", batch_size: int | None = None, seed: int | None = None
) -> Jackknife:
    """Debiased CKA of models: one number for each pair, from the layers of both.

    Parameters
    ----------
    models : mapping of str to array of shape (layer, sample, feature)
        Features may differ in number.
    match : {"depth", "best"}
        The mean over layers of each one's CKA with the layer at the same place of the other model (which must have as
        many), or with the most similar layer of the other model; the latter is not symmetric.
    batch_size, seed
        As in `linear_cka`.

    Returns
    -------
    Jackknife
        As of `cka_jackknife`: ``estimate`` of shape (model, other) and ``without`` of shape (batch, model, other).

    Raises
    ------
    ValueError
        As in `linear_cka`, for another `match`, and for numbers of layers that differ where depths are matched.
    """
    lengths = [len(layers) for layers in models.values()]
    if match not in ("depth", "best") or (match == "depth" and len(set(lengths)) > 1):
        raise ValueError(
            f'match: expected "depth", for as many layers in each model, or "best"; got {match!r}, {lengths}.'
        )
    found = cka_jackknife([layer for layers in models.values() for layer in layers], batch_size=batch_size, seed=seed)
    ends, names = np.cumsum(lengths)[:-1], list(models)

    def of_models(matrix: xr.DataArray) -> xr.DataArray:
        blocks = [np.split(row, ends, axis=-1) for row in np.split(matrix.to_numpy(), ends, axis=-2)]
        of_layers = [
            [np.diagonal(b, axis1=-2, axis2=-1) if match == "depth" else b.max(-1) for b in row] for row in blocks
        ]
        values = np.stack([np.stack([b.mean(-1) for b in row], -1) for row in of_layers], -2)
        return xr.DataArray(values, {"model": names, "other": names}, (*matrix.dims[:-2], "model", "other"))

    return Jackknife(of_models(found.estimate), of_models(found.without))


def cka_null(
    xs: Representations,
    ys: Representations,
    orders: ArrayLike,
    *,
    debiased: bool = True,
    batch_size: int | None = None,
    seed: int | None = None,
) -> xr.DataArray:
    """Linear CKA with the samples of `ys` in other orders: what chance gives.

    Parameters
    ----------
    xs, ys : mapping of str to, or sequence of, arrays of shape (sample, feature)
    orders : int array of shape (shift, sample)
        The sample of `ys` that stands at each place: `stats.circular_shifts` for samples that follow each other in
        time, random permutations for independent ones.
    debiased, batch_size, seed
        As in `linear_cka`.

    Returns
    -------
    DataArray of shape (shift, representation, other)
        For `stats.p_values`, with the result of `cka_matrix`.

    Raises
    ------
    ValueError
        As in `linear_cka`, and for rows of `orders` that do not hold every sample once.
    """
    x_names, x_arrays = _prepare(xs, "xs")
    y_names, y_arrays = _prepare(ys, "ys")
    orders = np.asarray(orders)
    n_samples = len(x_arrays[0])
    if orders.ndim != 2 or not np.array_equal(np.sort(orders), np.tile(np.arange(n_samples), (len(orders), 1))):
        raise ValueError(
            f"orders must hold each of the {n_samples} samples once in every row, got an array of shape {orders.shape} "
            "that does not; see stats.circular_shifts."
        )
    batches = _batches(x_arrays, y_arrays, debiased, batch_size, seed)
    cross = np.zeros((len(orders), len(x_arrays), len(y_arrays)))
    own_x, own_y = np.zeros((len(x_arrays), 1)), np.zeros((len(orders), 1, len(y_arrays)))
    for batch in batches:
        x_batch = _centred(x_arrays, batch)
        for rows in _row_blocks(len(batch), len(x_arrays) + len(y_arrays)):
            x_gram = _gram(x_batch, rows, debiased)
            own_x[:, 0] += np.einsum("ij,ij->i", x_gram, x_gram) / _pairs(batch, debiased)
            chunk = max(1, BLOCK // (x_gram.shape[1] * len(y_arrays)))
            for first in range(0, len(orders), chunk):
                some = slice(first, first + chunk)
                y_batch = [part for order in orders[some] for part in _centred(y_arrays, order[batch])]
                y_gram = _gram(y_batch, rows, debiased)
                shape = (len(x_arrays), -1, len(y_arrays))
                cross[some] += (x_gram @ y_gram.T).reshape(shape).swapaxes(0, 1) / _pairs(batch, debiased)
                own_y[some, 0] += np.einsum("ij,ij->i", y_gram, y_gram).reshape(shape[1:]) / _pairs(batch, debiased)
    _check_spread(own_x[:, 0] / len(batches), x_names, "xs")
    _check_spread(own_y.min((0, 1)) / len(batches), y_names, "ys")
    values = np.clip(cross / np.sqrt(own_x * own_y), -1, 1)
    return xr.DataArray(
        values, {"representation": x_names, "other": y_names}, dims=("shift", "representation", "other")
    )


def procrustes(x: ArrayLike, y: ArrayLike) -> float:
    """Procrustes similarity: how well one representation can be rotated onto another.

    1 - d^2 / 2, where d is the orthogonal Procrustes distance of the two after each is centred and scaled to a
    Frobenius norm of 1. This is the nuclear norm (the sum of the singular values) of x.T @ y.

    Parameters
    ----------
    x, y : array of shape (sample, feature)
        The features may differ in number; the smaller set counts as filled up with zeros.

    Returns
    -------
    float
        From 0 to 1. Unrelated representations give much more than 0, close to 1 if features outnumber samples: compare
        with ``procrustes(x, y[shuffled])``.

    Raises
    ------
    ValueError
        Non-finite or constant values, numbers of samples that differ, or fewer than two samples.

    References
    ----------
    Ding, Denain & Steinhardt (2021), NeurIPS, section 2, for the distance of normalised representations; Williams,
    Kunz, Kornblith & Linderman (2021), NeurIPS, whose angular distance is the arccosine of this similarity.
    """
    (x,), (y,) = _prepare([x], "x")[1], _prepare([y], "y")[1]
    _batches([x], [y], False, None, None)
    x, y = (a.astype(float) / np.linalg.norm(a) for a in (x, y))
    # With more features than samples, rotate the features into as many as there are samples.
    x, y = (np.linalg.qr(a.T, mode="r").T if a.shape[1] > a.shape[0] else a for a in (x, y))  # type: ignore[attr-defined]
    return float(min(np.linalg.svd(x.T @ y, compute_uv=False).sum(), 1.0))


def convergence(
    similarity: xr.DataArray | np.ndarray, performance: ArrayLike, *, n_permutations: int = 9999, seed: int = 0
) -> Convergence:
    """Are models more alike the better they perform?

    Two statistics, whose p values come from exchanging the performances of whole models. The pairs of models share
    models and are no independent samples; the models are the unit.

    - The mean similarity among the better half of the models less that among the worse half (of an odd number the
      middle one belongs to neither), over all ways to choose the halves where there are no more than `n_permutations`.
    - The Spearman correlation over pairs of their similarity with their mean performance (a Mantel test).

    Parameters
    ----------
    similarity : array of shape (model, model)
        Symmetric; the diagonal is not used.
    performance : array of shape (model,)
        Higher is better.
    n_permutations : int
    seed : int

    Returns
    -------
    Convergence
        Mean similarity among the ``high`` and the ``low`` performers, their ``difference``, the ``correlation``, and
        one-sided p values (greater).

    Raises
    ------
    ValueError
        A matrix that is not square, symmetric and finite, performances of another length, non-finite, all the same or
        tied in the middle, or fewer than four models. With fewer than six the halves give no p value below 0.05.

    Notes
    -----
    The null hypothesis is that performances are exchangeable between models. Models that descend from each other, or
    share training data, may be alike for that reason; a small p value does not tell these reasons apart.

    References
    ----------
    Mantel (1967), Cancer Research 27, for permutations of a distance matrix.
    """
    matrix, performance = np.asarray(similarity, dtype=float), np.asarray(performance, dtype=float)
    n = len(performance) if performance.ndim == 1 else 0
    if n < 4 or matrix.shape != (n, n):
        raise ValueError(
            f"similarity must be of shape (model, model) and performance of shape (model,) for at least 4 models, got "
            f"{matrix.shape} and {performance.shape}."
        )
    pairs = np.triu_indices(n, 1)
    if not (np.isfinite(matrix[pairs]).all() and np.isfinite(performance).all()):
        raise ValueError("similarity and performance must be finite; leave out the models without them.")
    if not np.allclose(matrix[pairs], matrix.T[pairs]):
        raise ValueError("similarity must be symmetric; take the mean of it and its transpose.")
    if np.ptp(performance) == 0:
        raise ValueError("performance must differ between models, got the same value for all.")

    order = np.argsort(performance, kind="stable")
    low, high = order[: n // 2], order[-(n // 2) :]
    if performance[low[-1]] == performance[high[0]]:
        raise ValueError(
            f"performance: {(performance == performance[high[0]]).sum()} models are tied where the halves part; leave "
            "some of them out, or use a finer measure."
        )

    def mean_within(models: np.ndarray) -> np.ndarray:
        models = models.astype(int)
        first, second = np.triu_indices(models.shape[-1], 1)
        return matrix[models[..., first], models[..., second]].mean(-1)

    def difference(high: np.ndarray, low: np.ndarray, axis: int) -> np.ndarray:
        return mean_within(np.moveaxis(high, axis, -1)) - mean_within(np.moveaxis(low, axis, -1))

    halves = stats.permutation_test(
        high, low, statistic=difference, alternative="greater", n_resamples=n_permutations, seed=seed
    )

    rng = np.random.default_rng(seed)
    orders = np.vstack([np.arange(n), rng.permuted(np.tile(np.arange(n), (n_permutations, 1)), axis=1)])
    permuted = performance[orders]
    of_pairs = rankdata(permuted[:, pairs[0]] + permuted[:, pairs[1]], axis=1)
    of_pairs -= of_pairs.mean(1, keepdims=True)
    alike = rankdata(matrix[pairs])
    alike -= alike.mean()
    spread = np.linalg.norm(of_pairs, axis=1) * np.linalg.norm(alike)
    if not (spread > 0).all():
        raise ValueError(
            "similarity and performance must differ between pairs of models, got values that are all tied."
        )
    correlations = of_pairs @ alike / spread
    return Convergence(
        float(mean_within(high)),
        float(mean_within(low)),
        float(halves.statistic),
        float(halves.pvalue),
        float(correlations[0]),
        float(stats.p_values(correlations[0], correlations[1:])),
    )


# ------------------------------------------------------------------------------------------------------ Gram matrices


def _prepare(arrays: Representations, name: str) -> tuple[list, list[np.ndarray]]:
    """Names and checked arrays, centred and with samples of length 1 on average; float32 stays float32 (memory)."""
    names, values = (list(arrays), list(arrays.values())) if isinstance(arrays, Mapping) else (None, list(arrays))
    names = list(range(len(values))) if names is None else names
    if not values:
        raise ValueError(f"{name} must hold at least one representation, got none.")
    prepared = []
    for key, value in zip(names, values, strict=True):
        value = np.asarray(value)
        array = value.astype(float)
        if array.ndim != 2 or not array.size:
            raise ValueError(f"{name}, {key!r}: expected shape (sample, feature), got {array.shape}.")
        if not np.isfinite(array).all():
            bad = array.size - np.isfinite(array).sum()
            raise ValueError(f"{name}, {key!r}: {bad} non-finite values of {array.size}; leave these samples out.")
        array -= array[0]
        if not array.any():
            raise ValueError(f"{name}, {key!r}: the same in all samples (constant); nothing to compare.")
        array /= np.abs(array).max()  # squares could overflow
        array -= array.mean(0)
        array /= np.sqrt(np.square(array).sum() / len(array))
        prepared.append(array.astype("float32") if value.dtype == np.float32 else array)
    return names, prepared


def _batches(
    xs: list[np.ndarray], ys: list[np.ndarray], debiased: bool, batch_size: int | None, seed: int | None
) -> list[np.ndarray]:
    """Samples of each minibatch, nearly equally many."""
    lengths = {len(array) for array in (*xs, *ys)}
    if len(lengths) > 1:
        raise ValueError(f"Representations must be of the same samples, got {sorted(lengths)} samples.")
    n, least = lengths.pop(), 4 if debiased else 2
    if n < least:
        raise ValueError(f"At least {least} samples are needed{' for the debiased estimator' * debiased}, got {n}.")
    samples = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    if batch_size is None:
        return [samples]
    n_batches = -(-n // batch_size) if batch_size >= least else 0
    if not n_batches or n // n_batches < least:
        raise ValueError(
            f"batch_size: expected batches of at least {least} samples, got {batch_size!r} for {n} samples."
        )
    return np.array_split(samples, n_batches)


def _row_blocks(n: int, n_arrays: int) -> list[slice]:
    step = max(1, BLOCK // (n * n_arrays))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _centred(arrays: list[np.ndarray], batch: np.ndarray) -> list[np.ndarray]:
    parts = (array[batch].astype(float) for array in arrays)
    return [part - part.mean(0) for part in parts]


def _pairs(batch: np.ndarray, debiased: bool) -> int:
    n = len(batch)
    return n * (n - 3) if debiased else (n - 1) ** 2


def _gram(parts: list[np.ndarray], rows: slice, debiased: bool) -> np.ndarray:
    """Rows of the Gram matrices, of shape (representation, row * sample), whose inner products are HSIC.

    For the unbiased HSIC the matrices lose their diagonal and are then centred to sums of zero (U-centring, Szekely &
    Rizzo 2014, Annals of Statistics 42). As samples are centred already, the sums of rows without the diagonal are the
    negative diagonal.
    """

    n_rows = len(range(*rows.indices(len(parts[0]))))
    grams = np.empty((len(parts), n_rows, len(parts[0])))

    def fill(gram: np.ndarray, part: np.ndarray) -> None:
        np.matmul(part[rows], part.T, out=gram)
        if debiased:
            n, diagonal = len(part), np.einsum("ij,ij->i", part, part)
            gram += (diagonal[rows, None] + diagonal) / (n - 2) - diagonal.sum() / ((n - 1) * (n - 2))
            gram[np.arange(len(gram)), np.arange(n)[rows]] = 0

    # One thread a matrix: two threads at a small one mostly wait for each other.
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, grams, parts))
    return grams.reshape(len(parts), -1)


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _check_spread(own: np.ndarray, names: list, label: str) -> None:
    # Rounding leaves some 1e-32 where the exact value is zero.
    flat = [name for name, value in zip(names, own, strict=True) if value < 1e-26]
    if flat:
        raise ValueError(f"{label}, {flat}: all samples are equally far apart (in every batch); nothing to compare.")
