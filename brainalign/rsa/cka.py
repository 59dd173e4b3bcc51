"""How alike two representations of the same samples are, whatever their axes: CKA and Procrustes.

A representation is an array of shape (sample, feature): a model's layer at every word, or a group of electrodes. None
of the measures changes when features are rotated, shifted, or scaled all by one factor. They do change when single
features are scaled: `standardize` them first where a few have most of the variance.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.stats import permutation_test, rankdata
from threadpoolctl import ThreadpoolController

from brainalign import stats
from brainalign._checks import alike, finite, listed, one_of, shaped, whole

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
    """Bring every feature (..., sample, feature) to mean 0 and standard deviation 1 over samples.

    A few features of some layers would decide every comparison (Timkey & van Schijndel 2021, EMNLP). Others never
    change but for rounding: those whose standard deviation is below a ten-thousandth of the median one become 0.
    """
    values = np.asarray(features)
    values = finite("features", values, values.dtype if values.dtype.kind == "f" else float)
    centred = values - values.mean(-2, keepdims=True, dtype=float).astype(values.dtype)
    spread = centred.std(-2, keepdims=True, dtype=float).astype(centred.dtype)
    still = spread <= 1e-4 * np.median(spread, axis=-1, keepdims=True)
    scaled = np.where(still, 0, centred / np.where(still, 1, spread))
    return features.copy(data=scaled) if isinstance(features, xr.DataArray) else scaled


def linear_cka(x: ArrayLike, y: ArrayLike, **options: Any) -> float:
    """`cka_matrix` of two arrays of shape (sample, feature): 1 if a rotation, a shift and a factor tell them apart."""
    return float(cka_matrix([x], [y], **options)[0, 0])


def cka_matrix(
    xs: Representations,
    ys: Representations | None = None,
    *,
    debiased: bool = True,
    batch_size: int | None = None,
    seed: int | None = None,
) -> xr.DataArray:
    """Linear CKA of every representation with every other, or of one set with another (Kornblith et al. 2019, ICML).

    HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)), where HSIC, the Hilbert-Schmidt independence criterion, compares the inner
    products of all pairs of samples in x with those in y.

    Parameters
    ----------
    xs, ys : mapping of str to, or sequence of, arrays of shape (sample, feature)
        Without `ys` each of `xs` is compared with each of `xs`.
    debiased : bool
        Use the unbiased estimator of HSIC (Song et al. 2012, JMLR 13), whose expectation is 0 for unrelated
        representations however few the samples and many the features. The plain estimator is never below 0.
    batch_size : int, optional
        Largest number of samples in a minibatch, at least 4 if `debiased`, else 2. Each HSIC is then the mean over
        minibatches of nearly equal size (Nguyen et al. 2021, ICLR). Default: all samples at once.
    seed : int, optional
        Draws minibatches at random; without it samples are contiguous.

    Returns
    -------
    DataArray of shape (representation, other)
        With the keys, or positions, as coordinates.
    """
    found = _hsic(xs, ys, None, debiased, batch_size, seed)
    return xr.DataArray(found.cka()[0], found.names, ("representation", "other"))


def cka_models(models: Mapping[str, np.ndarray], *, match: str = "depth", batch_size: int | None = None) -> Jackknife:
    """Debiased CKA of models, one number a pair, and the same without each minibatch in turn: stretches of a text.

    Models are of shape (layer, sample, feature). The number is the mean over layers of each one's CKA with the layer at
    the same place of the other model, which must have as many (`match` "depth"), or with the most similar layer of the
    other model ("best", which is not symmetric). The ``estimate`` is of shape (model, other), and ``without`` (batch,
    model, other), of no batches if there is only one. `batch_size` is as in `cka_matrix`.
    """
    lengths = [len(layers) for layers in models.values()]
    if one_of("match", match, ("depth", "best")) == "depth":
        alike(**models)
    layers = [layer for model in models.values() for layer in model]
    found, names = _hsic(layers, None, None, True, batch_size, None), list(models)
    kept = [np.arange(len(found.cross)) != index for index in range(len(found.cross))]
    values = np.concatenate([found.cka(), *map(found.cka, kept if len(kept) > 1 else [])])  # the first one of all
    if match == "depth":
        pairs = values.reshape(len(values), *(len(models), lengths[0]) * 2)
        values = np.einsum("kaibi->kab", pairs) / lengths[0]
    else:
        starts = np.cumsum([0, *lengths[:-1]])
        values = np.add.reduceat(np.maximum.reduceat(values, starts, -1), starts, -2) / np.array(lengths)[:, None]
    matched = xr.DataArray(values, {"model": names, "other": names}, ("batch", "model", "other"))
    return Jackknife(matched[0], matched[1:])


def cka_null(xs: Representations, ys: Representations, orders: ArrayLike, **options: Any) -> xr.DataArray:
    """Linear CKA (draw, representation, other) with the samples of `ys` in other orders: chance for `cka_matrix`.

    Each row of `orders` (draw, sample) says which sample of `ys` stands at each place: `stats.Shifts` for
    samples that follow each other in time, random permutations for independent ones. All else is as in `cka_matrix`.
    """
    found = _hsic(xs, ys, np.asarray(orders), **options)
    return xr.DataArray(found.cka(), found.names, ("draw", "representation", "other"))


def procrustes(x: ArrayLike, y: ArrayLike) -> float:
    """Procrustes similarity of two arrays of shape (sample, feature): how well one can be rotated onto the other.

    1 - d^2 / 2, where d is the orthogonal Procrustes distance of the two after each is centred and scaled to a
    Frobenius norm of 1 (Ding, Denain & Steinhardt 2021, NeurIPS, section 2): the nuclear norm of x.T @ y, 0 to 1.
    Unrelated representations give much more than 0: compare with ``procrustes(x, y[shuffled])``.
    """
    (x,), (y,) = _prepare({"x": x}).values(), _prepare({"y": y}).values()
    alike(x=x, y=y)
    x, y = (a.astype(float) / np.linalg.norm(a) for a in (x, y))
    # With more features than samples, rotate the features into as many as there are samples.
    x, y = (np.linalg.qr(a.T, mode="r").T if a.shape[1] > a.shape[0] else a for a in (x, y))  # type: ignore[attr-defined]
    return float(min(np.linalg.svd(x.T @ y, compute_uv=False).sum(), 1.0))


def convergence(
    similarity: xr.DataArray | np.ndarray, performance: ArrayLike, *, n_permutations: int = 9999, seed: int = 0
) -> Convergence:
    """Are models more alike the better they perform?

    Two statistics, whose p values (one-sided, greater) come from exchanging the performances of whole models (Mantel
    1967, Cancer Research 27): the mean similarity among the better half of the models less that among the worse half
    (of an odd number the middle one belongs to neither), and the Spearman correlation over pairs of their similarity
    with their mean performance. A small p value does not tell whether models are alike since they share training data
    or descent, and with fewer than six models the halves give none below 0.05.

    `similarity` (model, model) is symmetric, and its diagonal is not used; higher `performance` (model) is better.
    """
    performance = shaped("performance", finite("performance", performance), "model")
    n = whole("models", len(performance), 4)
    matrix, pairs = shaped("similarity", similarity, n, n).astype(float), np.triu_indices(n, 1)
    if not np.allclose(finite("similarity", matrix[pairs]), matrix.T[pairs]):
        raise ValueError("similarity: expected a symmetric matrix; take the mean of it and its transpose.")
    order = np.argsort(performance, kind="stable")
    low, high = order[: n // 2], order[-(n // 2) :]
    if performance[low[-1]] == performance[high[0]]:
        tied = f"{(performance == performance[high[0]]).sum()} models are tied where the halves part"
        raise ValueError(f"performance: {tied}; leave some of them out, or use a finer measure.")
    within = np.triu_indices(n // 2, 1)

    def mean_within(half: np.ndarray) -> float:
        return float(matrix[np.ix_(half.astype(int), half.astype(int))][within].mean())

    def difference(one: np.ndarray, other: np.ndarray) -> float:
        return mean_within(one) - mean_within(other)

    options = {"n_resamples": n_permutations, "vectorized": False, "rng": np.random.default_rng(seed)}
    halves = permutation_test((high, low), difference, alternative="greater", **options)
    rng = np.random.default_rng(seed)
    orders = np.vstack([np.arange(n), rng.permuted(np.tile(np.arange(n), (n_permutations, 1)), axis=1)])
    permuted = performance[orders]
    of_pairs, of_matrix = rankdata(permuted[:, pairs[0]] + permuted[:, pairs[1]], axis=1), rankdata(matrix[pairs])
    of_pairs, of_matrix = (ranks - ranks.mean(-1, keepdims=True) for ranks in (of_pairs, of_matrix))
    spread = np.linalg.norm(of_pairs, axis=1) * np.linalg.norm(of_matrix)
    if not (spread > 0).all():
        raise ValueError("similarity, performance: expected pairs of models that differ, got values that are all tied.")
    correlations = of_pairs @ of_matrix / spread
    found = (halves.statistic, halves.pvalue, correlations[0], stats.p_values(correlations[0], correlations[1:]))
    return Convergence(mean_within(high), mean_within(low), *map(float, found))


class _Hsic(NamedTuple):
    """HSIC in each minibatch: of pairs (batch, order, x, y), of xs (batch, 1, x, 1) and ys (batch, order, 1, y)."""

    names: dict[str, list]
    cross: np.ndarray
    own_x: np.ndarray
    own_y: np.ndarray

    def cka(self, keep: np.ndarray | slice = slice(None)) -> np.ndarray:
        """CKA (order, x, y) over some batches."""
        cross, own_x, own_y = (part[keep].mean(0) for part in (self.cross, self.own_x, self.own_y))
        for names, own in zip(self.names.values(), (own_x[0, :, 0], own_y[:, 0].min(0)), strict=True):
            # Rounding leaves some 1e-32 where the exact value is zero.
            if flat := [name for name, value in zip(names, own, strict=True) if value < 1e-26]:
                raise ValueError(f"{listed(flat)}: all samples are equally far apart in every batch; leave them out.")
        return np.clip(cross / np.sqrt(own_x * own_y), -1, 1)


def _hsic(
    xs: Representations,
    ys: Representations | None,
    orders: np.ndarray | None,
    debiased: bool = True,
    batch_size: int | None = None,
    seed: int | None = None,
) -> _Hsic:
    """HSIC of xs and ys, the samples of ys in each order; of xs among themselves without ys."""
    x_named = _prepare(xs)
    y_named = x_named if ys is None else _prepare(ys)
    x_arrays, y_arrays = list(x_named.values()), list(y_named.values())
    batches = _batches([len(array) for array in (*x_arrays, *y_arrays)], debiased, batch_size, seed)
    n_samples = len(x_arrays[0])
    orders = np.arange(n_samples)[None] if orders is None else shaped("orders", orders, "draw", n_samples)
    if (np.sort(orders) != np.arange(n_samples)).any():
        raise ValueError(f"orders: expected each of the {n_samples} samples once in every row.")
    cross = np.zeros((len(batches), len(orders), len(x_arrays), len(y_arrays)))
    own_x, own_y = np.zeros((len(batches), 1, len(x_arrays), 1)), np.zeros((*cross.shape[:2], 1, len(y_arrays)))
    for index, batch in enumerate(batches):
        n, x_batch = len(batch), _centred(x_arrays, batch)
        n_pairs = n * (n - 3) if debiased else (n - 1) ** 2
        # Both sets in the same rows of their Gram matrices, so that a block of them is enough at a time.
        step = max(1, BLOCK // (n * (len(x_arrays) + len(y_arrays))))
        for rows in (slice(start, min(start + step, n)) for start in range(0, n, step)):
            x_gram = _gram(x_batch, rows, debiased)
            own_x[index, 0, :, 0] += np.einsum("ij,ij->i", x_gram, x_gram) / n_pairs
            chunk = max(1, BLOCK // (x_gram.shape[1] * len(y_arrays)))
            for first in range(0, len(orders), chunk):
                some, y_gram = slice(first, first + chunk), x_gram
                if ys is not None:
                    y_batch = [part for order in orders[some] for part in _centred(y_arrays, order[batch])]
                    y_gram = _gram(y_batch, rows, debiased)
                products = (x_gram @ y_gram.T).reshape(len(x_arrays), -1, len(y_arrays)).swapaxes(0, 1)
                cross[index, some] += products / n_pairs
                squares = np.einsum("ij,ij->i", y_gram, y_gram).reshape(-1, len(y_arrays))
                own_y[index, some, 0] += squares / n_pairs
    return _Hsic({"representation": list(x_named), "other": list(y_named)}, cross, own_x, own_y)


def _prepare(arrays: Representations) -> dict[Any, np.ndarray]:
    """Checked arrays, centred and with samples of length 1 on average; float32 stays float32 (memory)."""
    named = arrays if isinstance(arrays, Mapping) else dict(enumerate(arrays))
    if not named:
        raise ValueError("xs, ys: expected at least one representation each, got none.")
    prepared = {}
    for key, value in named.items():
        array = finite(f"representation {key!r}", shaped(f"representation {key!r}", value, "sample", "feature"))
        array = array - array[:1]
        if not array.any():
            raise ValueError(f"representation {key!r}: the same in all samples (constant); nothing to compare.")
        array /= np.abs(array).max()  # squares could overflow
        array -= array.mean(0)
        array /= np.sqrt(np.square(array).sum() / len(array))
        prepared[key] = array.astype("float32") if np.asarray(value).dtype == np.float32 else array
    return prepared


def _batches(lengths: list[int], debiased: bool, batch_size: int | None, seed: int | None) -> list[np.ndarray]:
    """Samples of each minibatch, nearly equally many."""
    if len(set(lengths)) > 1:
        raise ValueError(f"xs, ys: expected representations of the same samples, got {sorted(set(lengths))} samples.")
    n, least = lengths[0], 4 if debiased else 2
    samples = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    size = n if batch_size is None else batch_size
    n_batches = -(-n // size) if size >= least else 0
    if not n_batches or n // n_batches < least:
        raise ValueError(f"batch_size: expected batches of at least {least} of {n} samples, got {batch_size!r}.")
    return np.array_split(samples, n_batches)


def _centred(arrays: list[np.ndarray], batch: np.ndarray) -> list[np.ndarray]:
    return [part - part.mean(0) for part in (array[batch].astype(float) for array in arrays)]


def _gram(parts: list[np.ndarray], rows: slice, debiased: bool) -> np.ndarray:
    """Rows of the Gram matrices, of shape (representation, row * sample), whose inner products are HSIC.

    For the unbiased HSIC they lose their diagonal and are centred to sums of zero (U-centring, Szekely & Rizzo 2014,
    Annals of Statistics 42); as samples are centred, the sums of rows without the diagonal are the negative diagonal.
    """
    grams = np.empty((len(parts), rows.stop - rows.start, len(parts[0])))

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
    return ThreadpoolController()  # looks through all that is loaded, so once is enough
