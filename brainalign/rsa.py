"""Representational similarity analysis: scores of model RDMs, their noise ceiling, bootstrap and tests.

RDMs are condensed vectors as `similarity.rdm` makes them. Model RDMs come as a mapping of names to RDMs over all
images, or, with batches, over each batch of images: ``{"mpnet": rdm(embeddings[batches])}`` never holds the distances
of all pairs of ten thousand images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.stats
import xarray as xr
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from brainalign import stats
from brainalign.similarity import compare_rdms, rdm

ModelRDMs = Mapping[str, ArrayLike] | Sequence[ArrayLike]


class SubjectTests(NamedTuple):
    """Tests over subjects: of each model's score, and of the difference of each pair of models."""

    models: pd.DataFrame
    pairs: pd.DataFrame


def image_batches(n_images: int, size: int = 100, seed: int = 0) -> np.ndarray:
    """Split images at random into batches that share none.

    Draw them once and use them for every model and region: the scores then differ by nothing else.

    Parameters
    ----------
    n_images : int
    size : int
        Images in a batch; 100 in Doerig et al. (2025), Nat. Mach. Intell. 7. What is left over is in no batch.
    seed : int

    Returns
    -------
    int array of shape (batch, size)

    Raises
    ------
    ValueError
        Batches of fewer than three images or of more than there are.
    """
    if not 3 <= size <= n_images:
        raise ValueError(f"size must lie between 3 and the {n_images} images, got {size!r}.")
    n_batches = n_images // size
    return np.random.default_rng(seed).permutation(n_images)[: n_batches * size].reshape(n_batches, size)


def batch_rdms(model_rdms: ModelRDMs, n_images: int, batches: ArrayLike | None = None) -> xr.DataArray:
    """Bring model RDMs to the pairs of images within each batch.

    Parameters
    ----------
    model_rdms : mapping of str to, or sequence of, arrays of shape (pair,) or (batch, pair)
        Over all images, or over those of each batch.
    n_images : int
    batches : int array of shape (batch, size), optional
        Images of each batch (`image_batches`); one batch of all images unless given.

    Returns
    -------
    DataArray of shape (model, batch, pair)

    Raises
    ------
    ValueError
        No model, an RDM of another length, non-finite values, or batches that name images twice or that are not there.
    """
    batches = check_batches(batches, n_images)
    if isinstance(model_rdms, xr.DataArray) and "model" in model_rdms.coords:
        model_rdms = dict(zip(model_rdms["model"].values.tolist(), model_rdms.values, strict=True))
    if isinstance(model_rdms, Mapping):
        names, arrays = list(model_rdms), list(model_rdms.values())
    else:
        names, arrays = list(range(len(model_rdms))), list(model_rdms)
    if not arrays or any(np.ndim(array) == 0 for array in arrays):
        raise ValueError("model_rdms must map names to RDMs (or list them), at least one; put a single one in a list.")
    first, second = np.triu_indices(batches.shape[1], 1)
    a, b = batches[:, first], batches[:, second]
    a, b = np.minimum(a, b), np.maximum(a, b)
    place = a * (2 * n_images - a - 1) // 2 + b - a - 1  # of the pair (a, b) in the order of triu_indices
    n_pairs, found = n_images * (n_images - 1) // 2, []
    for name, array in zip(names, arrays, strict=True):
        array = np.asarray(array, dtype=float)
        if array.shape == (n_pairs,):
            array = array[place]
        elif array.shape != place.shape:
            raise ValueError(
                f"model_rdms, {name!r}: expected shape ({n_pairs},), the pairs of all {n_images} images, or "
                f"{place.shape}, those of each batch, got {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"model_rdms, {name!r}: {(~np.isfinite(array)).sum()} non-finite values.")
        found.append(array)
    return xr.DataArray(np.stack(found), {"model": names}, ("model", "batch", "pair"))


def score(
    responses: ArrayLike,
    model_rdms: ModelRDMs,
    *,
    batches: ArrayLike | None = None,
    metric: str = "correlation",
    method: str = "pearson",
) -> xr.DataArray:
    """Score models against one region of one brain: the mean over batches of how alike their RDMs are.

    Parameters
    ----------
    responses : array of shape (image, vertex), or (repeat, image, vertex) for `metric` "crossnobis"
    model_rdms, batches
        As in `batch_rdms`.
    metric : str
        Of the brain's RDM, see `similarity.rdm`.
    method : str
        See `similarity.compare_rdms`.

    Returns
    -------
    DataArray of shape (model,)

    Raises
    ------
    ValueError
        As in `similarity.rdm`, `similarity.compare_rdms` and `batch_rdms`.
    """
    responses = np.asarray(responses)
    if responses.ndim != 2 + (metric == "crossnobis"):
        raise ValueError(
            f"responses must have shape ({'repeat, ' * (metric == 'crossnobis')}image, vertex) for metric={metric!r}, "
            f"got {responses.shape}."
        )
    models = batch_rdms(model_rdms, responses.shape[-2], batches)
    scores = [
        compare_rdms(models.values[:, k], rdm(responses[..., batch, :], metric), method)
        for k, batch in enumerate(check_batches(batches, responses.shape[-2]))
    ]
    return xr.DataArray(np.mean(scores, axis=0), models["model"].coords)


def noise_ceiling(rdms: ArrayLike, method: str = "pearson", *, pooling: str = "standardised") -> xr.Dataset:
    """How well the best model could match the RDM of each subject.

    Parameters
    ----------
    rdms : array of shape (subject, pair)
    method : str
        See `similarity.compare_rdms`.
    pooling : {"standardised", "plain"}
        What the mean RDM is of: RDMs brought to the form in which `method` compares them (ranks, z scores, or length 1;
        Nili et al. 2014), which makes `upper` a bound or, for rank correlations, nearly one; or the RDMs as they are,
        as in Doerig et al. (2025), who divide scores by such a `lower`.

    Returns
    -------
    Dataset of shape (subject,)
        ``lower``, the score of the mean RDM of the other subjects, and ``upper``, that of the mean of all of them.
        Their means over subjects are the bounds of Nili et al.

    Raises
    ------
    ValueError
        Fewer than two subjects, an unknown pooling, or as in `similarity.compare_rdms`.

    References
    ----------
    Nili et al. (2014), PLoS Comput. Biol. 10(4): e1003553, "Noise ceiling". Doerig et al. (2025), Nat. Mach. Intell. 7.
    """
    values = np.asarray(rdms, dtype=float)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"rdms must have shape (subject, pair) with at least two subjects, got {values.shape}.")
    if pooling not in ("standardised", "plain"):
        raise ValueError(f"pooling must be 'standardised' or 'plain', got {pooling!r}.")
    compare_rdms(values, values[0], method)  # checks them
    pooled = values
    if pooling == "standardised":
        if method in ("spearman", "kendall"):
            pooled = scipy.stats.rankdata(values, axis=1)
        else:
            pooled = values - (0 if method.endswith("cosine") else values.mean(1, keepdims=True))
            pooled = pooled / np.sqrt((pooled**2).mean(1, keepdims=True))
    total = pooled.sum(0)
    lower = [compare_rdms(own, total - part, method) for own, part in zip(values, pooled, strict=True)]
    coords = {"subject": rdms["subject"]} if isinstance(rdms, xr.DataArray) and "subject" in rdms.coords else {}
    upper = compare_rdms(values, total, method)
    return xr.Dataset({"lower": ("subject", lower), "upper": ("subject", upper)}, coords)


def image_bootstrap(
    rdms: ArrayLike,
    model_rdms: ModelRDMs,
    *,
    method: str = "pearson",
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """How much the scores of models would vary over other images of the kind.

    Images are drawn with replacement; pairs of an image with itself are left out. All models see the same draws:
    differences of ``draws`` between two models give the interval of their difference.

    Parameters
    ----------
    rdms : array of shape (subject, pair) or (pair,)
    model_rdms : mapping of str to, or sequence of, arrays of shape (pair,)
    method : {"pearson", "spearman", "kendall", "cosine"}
        Whitening needs every pair once and cannot be used.
    n_resamples : int
    level : float
        Coverage of the interval between the quantiles of the draws. It holds for these subjects.
    seed : int

    Returns
    -------
    Dataset of shape (model,)
        ``score``, the mean over subjects; ``low`` and ``high``; ``draws`` of shape (resample, model).

    Raises
    ------
    ValueError
        A number of pairs of no number of images, fewer than three images, a whitened method, a level not between 0 and
        1, or as in `similarity.compare_rdms`, also where a draw leaves an RDM without differences.

    References
    ----------
    Nili et al. (2014), PLoS Comput. Biol. 10(4): e1003553, for the bootstrap of conditions.
    """
    values = np.atleast_2d(np.asarray(rdms, dtype=float))
    n = round((1 + np.sqrt(1 + 8 * values.shape[-1])) / 2)
    if values.ndim != 2 or n < 3 or n * (n - 1) // 2 != values.shape[-1]:
        raise ValueError(
            f"rdms must have shape (subject, pair), all pairs of at least three images, got {values.shape}."
        )
    if method.startswith("whitened"):
        raise ValueError(f"method={method!r} needs every pair of images once; use 'pearson' or 'cosine'.")
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"n_resamples must be at least 1 and level between 0 and 1, got {n_resamples!r}, {level!r}.")
    models = batch_rdms(model_rdms, n).isel(batch=0)
    place = np.zeros((n, n), dtype=int)
    first, second = np.triu_indices(n, 1)
    place[first, second] = place[second, first] = np.arange(len(first))
    rng, draws = np.random.default_rng(seed), []
    while len(draws) < n_resamples:
        drawn = rng.integers(n, size=n)
        if len(set(drawn)) < 3:
            continue
        a, b = drawn[first], drawn[second]
        pairs = place[a, b][a != b]
        draws.append(np.mean(compare_rdms(models.values[:, pairs], values[:, pairs], method), axis=1))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    estimate = np.mean(compare_rdms(models.values, values, method), axis=1)
    return xr.Dataset(
        {
            "score": ("model", estimate),
            "low": ("model", low),
            "high": ("model", high),
            "draws": (("resample", "model"), np.array(draws)),
        },
        {"model": models["model"]},
    )


@threadpool_limits.wrap(limits=1)  # many small products: more threads would only wait for each other
def reweighted_rdms(
    rdms: ArrayLike,
    features: ArrayLike,
    *,
    n_components: int = 10,
    n_folds: int = 5,
    alphas: ArrayLike = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    seed: int = 0,
) -> np.ndarray:
    """Predict RDMs from weighted dimensions of a description, each pair from images that are not in it.

    The squared Euclidean RDM of the features is the sum of those of their principal components. Here each component has
    a weight of its own, none of them negative, that is fitted to the pairs among training images. A penalty draws the
    weights towards equal ones, so that the RDM as it comes is a special case; it is chosen for each RDM within the
    training images. Components are of the training images, too. The fold or the two folds that the images of a pair are
    in are left out together, so that neither image has a part in its prediction.

    Parameters
    ----------
    rdms : array of shape (..., pair)
        To be predicted, each by weights of its own.
    features : array of shape (image, feature)
    n_components : int
        How many components are weighted, at most; fewer where there are fewer.
    n_folds : int
        Parts of the images, drawn at random; at least four, and three images in each.
    alphas : array-like
        Penalties to choose from, as a share of the variance of the unweighted RDM.
    seed : int

    Returns
    -------
    array of shape (..., pair)
        In standard deviations of each training set's own predictions, around their mean: made to be correlated.

    Raises
    ------
    ValueError
        RDMs of another number of images, non-finite values, too few images or folds, or penalties not above 0.

    References
    ----------
    Khaligh-Razavi & Kriegeskorte (2014), PLoS Comput. Biol. 10(11): e1003915. Kaniuth & Hebart (2022), NeuroImage 257:
    119294. Weights that are equal for a large penalty are this project's choice.
    """
    x, targets, alphas = (np.asarray(a, dtype=float) for a in (features, rdms, alphas))
    n = len(x)
    if x.ndim != 2 or targets.shape[-1:] != (n * (n - 1) // 2,) or not np.isfinite(x).all():
        raise ValueError(
            f"rdms and features must be of the same images, (..., pair) and (image, feature), all finite, got "
            f"{targets.shape} and {x.shape}."
        )
    if not np.isfinite(targets).all() or not (alphas.size and (alphas > 0).all()):
        raise ValueError("rdms must be finite and alphas positive.")
    if int(n_components) != n_components:
        raise ValueError(f"n_components must be a whole number, got {n_components!r}.")
    if not 4 <= n_folds <= n // 3 or n_components < 1:
        raise ValueError(f"n_folds must lie between 4 and {n // 3}, n_components above 0: {n_folds}, {n_components}.")
    fold = np.random.default_rng(seed).permutation(np.arange(n) % n_folds)
    a, b = (fold[images] for images in np.triu_indices(n, 1))
    flat = targets.reshape(-1, targets.shape[-1])
    found = np.empty_like(flat)
    for left_out in [{k} for k in range(n_folds)] + [set(two) for two in combinations(range(n_folds), 2)]:
        rest, scores = [k for k in range(n_folds) if k not in left_out], 0.0
        for k in rest:
            inner = _weighted(flat, x, ~np.isin(fold, [*left_out, k]), (a == k) & (b == k), n_components, alphas)
            observed = flat[:, (a == k) & (b == k)]
            inner, observed = (v - v.mean(-1, keepdims=True) for v in (inner, observed))
            lengths = np.sqrt((inner**2).sum(-1) * (observed**2).sum(-1))
            scores = scores + (inner * observed).sum(-1) / np.where(lengths > 0, lengths, np.inf)
        here = (np.minimum(a, b) == min(left_out)) & (np.maximum(a, b) == max(left_out))
        outer = _weighted(flat, x, np.isin(fold, rest), here, n_components, alphas)
        found[:, here] = np.take_along_axis(outer, scores.argmax(0)[None, :, None], 0)[0]
    return found.reshape(targets.shape)


def _weighted(targets, x, train, test, n_components, alphas) -> np.ndarray:
    """Predictions (alpha, target, pair) of the `test` pairs by weights fitted to the pairs among the `train` images."""
    first, second = np.triu_indices(len(x), 1)
    centred = x - x[train].mean(0)
    axes = np.linalg.svd(centred[train], full_matrices=False)[2][:n_components]
    parts = ((x[first] - x[second]) @ axes.T) ** 2
    parts = np.column_stack([parts.sum(1), parts])  # the first one alone is the RDM as it comes
    inside = train[first] & train[second]
    if not parts[inside, 0].std() > 0:
        raise ValueError(f"features: alike in all {int(train.sum())} training images of a fold; use fewer folds.")
    if not (np.ptp(targets[:, inside], axis=1) > 0).all():
        raise ValueError(f"rdms: all distances among the {int(train.sum())} training images of a fold are the same.")
    parts = (parts - parts[inside].mean(0)) / parts[inside, 0].std()
    gram = parts[inside].T @ parts[inside] / inside.sum()
    wanted = parts[inside].T @ scipy.stats.zscore(targets[:, inside], axis=1).T / inside.sum()
    found = []
    for alpha in alphas:
        root = np.linalg.cholesky(gram + np.diag([0.0] + [alpha] * (len(gram) - 1)))
        goals = np.linalg.solve(root, wanted)
        weights = np.array([scipy.optimize.nnls(root.T, goal)[0] for goal in goals.T])
        spread = np.sqrt(np.einsum("ti,ij,tj->t", weights, gram, weights))[:, None]
        found.append(weights @ parts[test].T / np.where(spread > 0, spread, 1))
    return np.array(found)


def subject_tests(
    scores: xr.DataArray, *, test: str = "t", alternative: str = "two-sided", level: float = 0.95
) -> SubjectTests:
    """Test the scores of models over subjects, and their differences within subjects.

    Parameters
    ----------
    scores : DataArray of shape (model, subject)
        Finite scores of the same subjects for every model.
    test : {"t", "permutation"}
        Student's t test, or flips of signs: exact for up to 13 subjects, but of n subjects the smallest two-sided p is
        ``2 ** (1 - n)``.
    alternative : {"two-sided", "greater", "less"}
    level : float
        Coverage of the interval of the mean (Student's t, two-sided).

    Returns
    -------
    SubjectTests
        ``models``, indexed by model, and ``pairs``, by (model, other), the mean that of model less other: DataFrames
        [n, mean, low, high, d, t, p, p_fdr] with Cohen's d (mean over standard deviation) and p values adjusted for the
        false discovery rate over the rows of each table.

    Raises
    ------
    ValueError
        Other dimensions, fewer than two subjects, non-finite scores, or scores or differences that are the same in all
        subjects.
    """
    if not isinstance(scores, xr.DataArray) or set(scores.dims) != {"model", "subject"}:
        raise ValueError(
            f"scores must be a DataArray (model, subject), got {getattr(scores, 'dims', type(scores).__name__)}."
        )
    if test not in ("t", "permutation") or not 0 < level < 1:
        raise ValueError(f"test must be 't' or 'permutation' and level between 0 and 1, got {test!r} and {level!r}.")
    values = scores.transpose("model", "subject").to_numpy().astype(float)
    names = scores["model"].values.tolist() if "model" in scores.coords else list(range(len(values)))
    index = pd.Index(names, name="model")
    tables = [_one_sample(values, index, test, alternative, level)]
    if len(names) > 1:
        pairs = list(combinations(range(len(names)), 2))
        index = pd.MultiIndex.from_tuples([(names[a], names[b]) for a, b in pairs], names=["model", "other"])
        differences = np.stack([values[a] - values[b] for a, b in pairs])
        tables.append(_one_sample(differences, index, test, alternative, level))
    else:
        tables.append(tables[0].iloc[:0])
    return SubjectTests(*tables)


def _one_sample(values: np.ndarray, index: pd.Index, test: str, alternative: str, level: float) -> pd.DataFrame:
    t, p = one_sample_t(values.T, alternative)
    if test == "permutation":
        p = stats.permutation_test(values, axis=1, alternative=alternative).pvalue
    n, mean, spread = values.shape[1], values.mean(1), values.std(1, ddof=1)
    reach = scipy.stats.t.ppf((1 + level) / 2, n - 1) * spread / np.sqrt(n)
    columns = {"n": n, "mean": mean, "low": mean - reach, "high": mean + reach, "d": mean / spread, "t": t, "p": p}
    return pd.DataFrame({**columns, "p_fdr": stats.fdr(p)[1]}, index=index)


# --------------------------------------------------------------------------------------------- shared with searchlight


def check_batches(batches: ArrayLike | None, n_images: int) -> np.ndarray:
    """Batches of images as an array of shape (batch, size); one of all images for None."""
    batches = np.arange(n_images)[None] if batches is None else np.asarray(batches)
    if batches.ndim != 2 or batches.shape[1] < 3 or not len(batches) or batches.dtype.kind not in "iu":
        raise ValueError(
            f"batches must hold numbers of images in shape (batch, size), at least three in each, got {batches.dtype} "
            f"in shape {batches.shape}."
        )
    if batches.min() < 0 or batches.max() >= n_images:
        raise ValueError(f"batches name images from {batches.min()} to {batches.max()}, but there are {n_images}.")
    if (np.diff(np.sort(batches, axis=1), axis=1) == 0).any():
        raise ValueError("batches hold an image twice in one batch; its distance from itself is no observation.")
    return batches


def one_sample_t(values: np.ndarray, alternative: str = "two-sided") -> tuple[np.ndarray, np.ndarray]:
    """Student's t and its p value of the mean over the first axis, at least two subjects whose values differ."""
    if len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"scores must be finite and of at least two subjects, got shape {values.shape} (first: subject)."
        )
    flat = np.ptp(values, axis=0) <= 1e-12 * np.abs(values).max(0)
    if flat.any():
        raise ValueError(f"{int(flat.sum())} scores or differences are the same in all subjects; nothing to test.")
    result = scipy.stats.ttest_1samp(values, 0, alternative=alternative)
    return result.statistic, result.pvalue
