"""Representational similarity analysis: scores of model RDMs, their noise ceiling, bootstrap and tests.

RDMs are condensed vectors as `rsa.rdm` makes them. Model RDMs come as a mapping of names to RDMs over all
images, or, with batches, over each batch of images: ``{"mpnet": rdm(embeddings[batches])}`` never holds the distances
of all pairs of ten thousand images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.stats
import xarray as xr
from numpy.typing import ArrayLike
from scipy.spatial.distance import squareform
from scipy.stats import zscore
from threadpoolctl import threadpool_limits

from brainalign import stats
from brainalign.datasets import Viewing
from brainalign.rsa.rdms import _TIE, _comparable, compare_rdms, rdm

__all__ = [
    "SubjectTests",
    "batch_rdms",
    "brain_rdms",
    "image_batches",
    "image_bootstrap",
    "mantel_null",
    "noise_ceiling",
    "reweighted_null",
    "reweighted_rdms",
    "rival_rdms",
    "score",
    "subject_tests",
]

ModelRDMs = Mapping[str, ArrayLike] | Sequence[ArrayLike]

PUBLISHED = {
    "animacy": "animate or not",
    "FaceBodyManmadeNatobj": "four categories",
    "monkeyIT": "monkey IT (data)",
    "EVA": "human early visual (data)",
    "HMAX": "HMAX",
    "V1": "V1 model",
    "Silhouette": "silhouette",
    "RADON": "RADON",
}
"""Names in words for the RDMs that came with objects92."""


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


def brain_rdms(data: Viewing, part: int | None = None) -> xr.DataArray:
    """RDMs of the test images, which all people saw, for each region of interest.

    Parameters
    ----------
    data : Viewing
    part : int, optional
        Take this repeat alone or, where only RDMs are known, this session. Default: mean responses over repeats, or
        mean RDMs over sessions.

    Returns
    -------
    DataArray of shape (region, subject, pair)
        Pairs in the order of ``data.test_images``. Data without regions have one, by the name of their space.
    """
    whole = data.space or "all"
    if data.responses is None and data.rdms is not None:
        rdms = data.rdms.mean("session") if part is None else data.rdms.isel(session=part)
        test = data.image_names.get_indexer(data.test_images)[None]
        known = batch_rdms(list(rdms.values), len(data.image_names), test)[:, 0].rename(model="subject")
        return known.assign_coords(subject=data.subjects).expand_dims(region=[whole])
    if part is not None:
        once = {person: array[part : part + 1] for person, array in (data.responses or {}).items()}
        data = replace(data, responses=once)
    regions = {whole: None} if data.rois is None else data.rois
    found = []
    for name in regions:
        some = data.select(vertices=regions[name])
        found.append([rdm(some.mean_responses(person, data.test_images).values) for person in data.subjects])
    return xr.DataArray(found, {"region": list(regions), "subject": data.subjects}, ("region", "subject", "pair"))


def rival_rdms(data: Viewing) -> dict[str, np.ndarray]:
    """RDMs of the test images that no language model has a part in, to hold captions against.

    Parameters
    ----------
    data : Viewing

    Returns
    -------
    dict of str to array of shape (pair,)
        For objects92 what was published with it (`datasets.objects92.model_rdms`), else Gabor energies where there are
        pictures.
    """
    from brainalign.datasets import objects92
    from brainalign.features.images import gabor_energies

    if data.name == "objects92":
        return dict(zip(PUBLISHED.values(), objects92.model_rdms().sel(model=list(PUBLISHED)).values, strict=True))
    if data.images is None:
        return {}
    shown = np.asarray(data.images[data.image_names.get_indexer(data.test_images)])
    energies = gabor_energies(shown)
    return {"pixels": np.asarray(rdm(zscore(energies[:, energies.std(0) > 0], axis=0)))}


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
        Of the brain's RDM, see `rsa.rdm`.
    method : str
        See `rsa.compare_rdms`.

    Returns
    -------
    DataArray of shape (model,)

    Raises
    ------
    ValueError
        As in `rsa.rdm`, `rsa.compare_rdms` and `batch_rdms`.
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
    return xr.DataArray(np.mean(np.stack(scores), axis=0), models["model"].coords)


def noise_ceiling(rdms: ArrayLike, method: str = "pearson", *, pooling: str = "standardized") -> xr.Dataset:
    """How well the best model could match the RDM of each subject.

    Parameters
    ----------
    rdms : array of shape (subject, pair)
    method : str
        See `rsa.compare_rdms`.
    pooling : {"standardized", "plain"}
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
        Fewer than two subjects, an unknown pooling, or as in `rsa.compare_rdms`.

    References
    ----------
    Nili et al. (2014), PLoS Comput. Biol. 10(4): e1003553, "Noise ceiling". Doerig et al. (2025), Nat. Mach. Intell. 7.
    """
    values = np.asarray(rdms, dtype=float)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"rdms must have shape (subject, pair) with at least two subjects, got {values.shape}.")
    if pooling not in ("standardized", "plain"):
        raise ValueError(f"pooling must be 'standardised' or 'plain', got {pooling!r}.")
    compare_rdms(values, values[0], method)  # checks them
    pooled = values
    if pooling == "standardized":
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


def mantel_null(
    model_rdms: ModelRDMs,
    rdms: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    n_permutations: int = 999,
    method: str = "pearson",
    seed: int = 0,
) -> xr.DataArray:
    """Scores of models whose images have exchanged their names at random.

    Pairs share images, so they are no independent observations; images are. All models and subjects see the same
    exchanges.

    Parameters
    ----------
    model_rdms : mapping of str to, or sequence of, arrays of shape (pair,)
    rdms : array of shape (subject, pair)
    groups : array of shape (image,), optional
        Labels. Images change names within their group only, so that what the groups tell stays, and the rest goes.
    n_permutations : int
    method : {"pearson", "spearman", "cosine"}
        See `rsa.compare_rdms`.
    seed : int

    Returns
    -------
    DataArray of shape (permutation, model, subject)

    Raises
    ------
    ValueError
        Another method, or as in `batch_rdms` and `rsa.compare_rdms`.

    References
    ----------
    Mantel (1967), Cancer Research 27, 209-220.
    """
    if method not in ("pearson", "spearman", "cosine"):
        raise ValueError(f"method must be 'pearson', 'spearman' or 'cosine', got {method!r}.")
    brains = _comparable(np.atleast_2d(np.asarray(rdms, dtype=float)), method, "rdms")
    place = squareform(np.arange(brains.shape[1]))
    n = len(place)
    models = batch_rdms(model_rdms, n)[:, 0]
    rows = _comparable(models.values, method, "model_rdms")
    rng, orders = np.random.default_rng(seed), np.tile(np.arange(n), (n_permutations, 1))
    codes = np.zeros(n, dtype=int) if groups is None else pd.factorize(np.asarray(groups))[0]
    for code in range(codes.max() + 1):
        members = np.flatnonzero(codes == code)
        orders[:, members] = rng.permuted(orders[:, members], axis=1)
    first, second = np.triu_indices(n, 1)
    null = [rows[:, place[order[first], order[second]]] @ brains.T for order in orders]
    return xr.DataArray(np.array(null), {"model": models["model"].values}, ("permutation", "model", "subject"))


def image_bootstrap(
    rdms: ArrayLike,
    model_rdms: ModelRDMs,
    *,
    method: str = "pearson",
    n_resamples: int = 1000,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """How much the scores of models would vary over other images of the kind.

    Images are drawn with replacement; pairs of an image with itself are left out, and so are draws in which all images
    are alike to some model. All models see the same draws: differences of ``draws`` between two models give the
    interval of their difference.

    Parameters
    ----------
    rdms : array of shape (subject, pair) or (pair,)
    model_rdms : mapping of str to, or sequence of, arrays of shape (pair,)
    method : {"pearson", "spearman", "kendall", "cosine"}
        Whitening needs every pair once and cannot be used.
    n_resamples : int
    confidence_level : float
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
        1, a model to which the images of almost every draw are alike, or as in `rsa.compare_rdms`.

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
    if n_resamples < 1 or not 0 < confidence_level < 1:
        raise ValueError(
            f"n_resamples must be at least 1, confidence_level in (0, 1), got {n_resamples!r}, {confidence_level!r}."
        )
    models = batch_rdms(model_rdms, n).isel(batch=0)
    place = np.zeros((n, n), dtype=int)
    first, second = np.triu_indices(n, 1)
    place[first, second] = place[second, first] = np.arange(len(first))
    rng = np.random.default_rng(seed)
    estimate = np.mean(compare_rdms(models.values, values, method), axis=1)
    draws: list[np.ndarray] = []
    for _ in range(100 * n_resamples):
        drawn = rng.integers(n, size=n)
        a, b = drawn[first], drawn[second]
        pairs = place[a, b][a != b]
        if len(set(drawn)) < 3 or any(np.ptp(rdm[pairs]) <= _TIE * np.ptp(rdm) for rdm in (*models.values, *values)):
            continue
        draws.append(np.mean(compare_rdms(models.values[:, pairs], values[:, pairs], method), axis=1))
        if len(draws) == n_resamples:
            break
    else:
        raise ValueError("model_rdms: almost every draw of images leaves some model without differences; drop it.")
    low, high = np.quantile(draws, [(1 - confidence_level) / 2, (1 + confidence_level) / 2], axis=0)
    return xr.Dataset(
        {
            "score": ("model", estimate),
            "low": ("model", low),
            "high": ("model", high),
            "draws": (("resample", "model"), np.array(draws)),
        },
        {"model": models["model"]},
    )


def reweighted_null(
    rdms: ArrayLike,
    features: ArrayLike,
    *,
    n_permutations: int = 200,
    method: str = "spearman",
    seed: int = 0,
    **options: Any,
) -> np.ndarray:
    """Scores of reweighted RDMs by chance: the images of the brains are exchanged, and weights fitted again.

    Parameters
    ----------
    rdms : array of shape (subject, pair)
        Weights are fitted to their mean.
    features : array of shape (image, feature)
    n_permutations : int
    method : str
        See `rsa.compare_rdms`.
    seed : int
        Of the exchanges and the folds.
    **options
        As in `reweighted_rdms`.

    Returns
    -------
    array of shape (n_permutations,)
        Mean scores over subjects.
    """
    square = np.stack([squareform(own) for own in np.asarray(rdms)])
    n = square.shape[-1]
    first, second = np.triu_indices(n, 1)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(n) for _ in range(n_permutations)]
    means = np.stack([square[:, order[first], order[second]].mean(0) for order in orders])
    refitted = reweighted_rdms(means, features, seed=seed, **options)
    pairs = [(model, square[:, order[first], order[second]]) for model, order in zip(refitted, orders, strict=True)]
    return np.array([np.mean(compare_rdms(model, own, method)) for model, own in pairs])


@threadpool_limits.wrap(limits=1)  # many small products: more threads would only wait for each other
def reweighted_rdms(
    rdms: ArrayLike,
    features: ArrayLike,
    *,
    n_components: int = 10,
    n_folds: int = 5,
    alphas: ArrayLike = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    n_partitions: int = 1,
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
    alphas : array-like of shape (n_alphas,)
        Penalties to choose from, as a share of the variance of the unweighted RDM.
    n_partitions : int
        Ways to draw the folds, whose predictions are averaged.
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
    if n_partitions > 1:
        options = {"n_components": n_components, "n_folds": n_folds, "alphas": alphas}
        return np.mean([reweighted_rdms(rdms, features, seed=seed + k, **options) for k in range(n_partitions)], axis=0)
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
        rest = [k for k in range(n_folds) if k not in left_out]
        scores: Any = 0.0
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


def _weighted(
    targets: np.ndarray, x: np.ndarray, train: np.ndarray, test: np.ndarray, n_components: int, alphas: np.ndarray
) -> np.ndarray:
    """Predictions (alpha, target, pair) of the `test` pairs by weights fitted to the pairs among the `train` images."""
    first, second = np.triu_indices(len(x), 1)
    centred = x - x[train].mean(0)
    axes = np.linalg.svd(centred[train], full_matrices=False)[2][:n_components]
    along = centred @ axes.T
    parts = (along[first] - along[second]) ** 2
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
    scores: xr.DataArray, *, test: str = "t", alternative: str = "two-sided", confidence_level: float = 0.95
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
    confidence_level : float
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
    if test not in ("t", "permutation") or not 0 < confidence_level < 1:
        raise ValueError(
            f"test must be 't' or 'permutation', confidence_level between 0 and 1, got {test!r}, {confidence_level!r}."
        )
    values = scores.transpose("model", "subject").to_numpy().astype(float)
    names = scores["model"].values.tolist() if "model" in scores.coords else list(range(len(values)))
    index = pd.Index(names, name="model")
    tables = [_one_sample(values, index, test, alternative, confidence_level)]
    if len(names) > 1:
        pairs = list(combinations(range(len(names)), 2))
        index = pd.MultiIndex.from_tuples([(names[a], names[b]) for a, b in pairs], names=["model", "other"])
        differences = np.stack([values[a] - values[b] for a, b in pairs])
        tables.append(_one_sample(differences, index, test, alternative, confidence_level))
    else:
        tables.append(tables[0].iloc[:0])
    return SubjectTests(*tables)


def _one_sample(
    values: np.ndarray, index: pd.Index, test: str, alternative: str, confidence_level: float
) -> pd.DataFrame:
    t, p = stats.one_sample_t(values.T, alternative)
    if test == "permutation":
        p = stats.permutation_test(values, axis=1, alternative=alternative).pvalue
    n, mean, spread = values.shape[1], values.mean(1), values.std(1, ddof=1)
    reach = scipy.stats.t.ppf((1 + confidence_level) / 2, n - 1) * spread / np.sqrt(n)
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
