"""Representational similarity analysis: scores of model RDMs, their noise ceiling, bootstrap and tests.

RDMs are condensed vectors as `rsa.rdm` makes them. Model RDMs come as a mapping of names to RDMs over all images, or,
with batches, over each batch of images: ``{"mpnet": rdm(embeddings[batches])}`` never holds the distances of all pairs
of ten thousand images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.optimize
import xarray as xr
from numpy.typing import ArrayLike
from scipy.spatial.distance import squareform
from scipy.stats import permutation_test, rankdata, zscore
from threadpoolctl import threadpool_limits

from brainalign import stats
from brainalign._checks import finite, one_of, shaped, whole, within
from brainalign.datasets import Viewing
from brainalign.rsa.rdms import _TIE, _comparable, compare_rdms, rdm

ModelRDMs = Mapping[str, ArrayLike] | Sequence[ArrayLike]

N_FOLDS = 5  #: Parts of the images of which weights of dimensions leave out one or two.
#: Names in words for the RDMs that came with objects92.
PUBLISHED = {
    "animacy": "animate or not", "FaceBodyManmadeNatobj": "four categories", "monkeyIT": "monkey IT (data)",
    "EVA": "human early visual (data)", "HMAX": "HMAX", "V1": "V1 model", "Silhouette": "silhouette", "RADON": "RADON",
}  # fmt: skip


class SubjectTests(NamedTuple):
    """Tests over subjects: of each model's score, and of the difference of each pair of models."""

    models: pd.DataFrame
    pairs: pd.DataFrame


def image_batches(n_images: int, size: int = 100, seed: int = 0) -> np.ndarray:
    """Images (batch, size), split at random into batches that share none; what is left over is in no batch."""
    n_batches = n_images // whole("size", size, 3, n_images)
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
    """
    batches = _check_batches(batches, n_images)
    if isinstance(model_rdms, xr.DataArray) and "model" in model_rdms.coords:
        model_rdms = dict(zip(model_rdms["model"].values.tolist(), model_rdms.values, strict=True))
    named = model_rdms if isinstance(model_rdms, Mapping) else dict(enumerate(model_rdms))
    whole("number of model_rdms", len(named))
    first, second = np.triu_indices(batches.shape[1], 1)
    a, b = np.sort([batches[:, first], batches[:, second]], axis=0)
    place = a * (2 * n_images - a - 1) // 2 + b - a - 1  # of the pair (a, b) in the order of triu_indices
    n_pairs, found = n_images * (n_images - 1) // 2, []
    for name, values in named.items():
        label, shape = f"model_rdms, {name!r}", (n_pairs,) if np.ndim(values) == 1 else place.shape
        array = shaped(label, finite(label, values), *shape)
        found.append(array[place] if array.ndim == 1 else array)
    return xr.DataArray(np.stack(found), {"model": list(named)}, ("model", "batch", "pair"))


def brain_rdms(data: Viewing, part: int | None = None) -> xr.DataArray:
    """RDMs (region, subject, pair) of the test images, which all people saw, in the order of ``data.test_images``.

    Of mean responses over repeats or, where only RDMs are known, their mean over sessions; of one `part` alone if given
    (from 0). Data without regions have one, by the name of their space.
    """
    everywhere = data.space or "all"
    if data.responses is None and data.rdms is not None:
        rdms = data.rdms.mean("session", dtype=float) if part is None else data.rdms.isel(session=part)
        test = data.image_names.get_indexer(data.test_images)[None]
        known = batch_rdms(list(rdms.values), len(data.image_names), test)[:, 0].rename(model="subject")
        return known.assign_coords(subject=data.subjects).expand_dims(region=[everywhere])
    if part is not None:
        responses = data.responses or {}
        data = replace(data, responses={subject: array[part : part + 1] for subject, array in responses.items()})
    regions = {everywhere: None} if data.rois is None else data.rois
    found = [
        [rdm(some.mean_responses(subject, data.test_images).values) for subject in data.subjects]
        for some in (data.select(vertices=regions[name]) for name in regions)
    ]
    return xr.DataArray(found, {"region": list(regions), "subject": data.subjects}, ("region", "subject", "pair"))


def rival_rdms(data: Viewing) -> dict[str, np.ndarray]:
    """RDMs of the test images without a language model: published with objects92, else Gabor energies of pictures."""
    from brainalign.datasets import objects92
    from brainalign.features.images import gabor_energies

    if data.name == "objects92":
        return dict(zip(PUBLISHED.values(), objects92.model_rdms().sel(model=list(PUBLISHED)).values, strict=True))
    if data.images is None:
        return {}
    energies = gabor_energies(np.asarray(data.images[data.image_names.get_indexer(data.test_images)]))
    return {"pixels": rdm(zscore(energies[:, energies.std(0) > 0], axis=0))}


def score(responses: ArrayLike, model_rdms: ModelRDMs, *, batches: ArrayLike | None = None) -> xr.DataArray:
    """Scores (model) against one region's responses (image, vertex): the mean over batches of Pearson's r of RDMs."""
    values = shaped("responses", responses, "image", "vertex")
    models = batch_rdms(model_rdms, len(values), batches)
    brains = [rdm(values[batch]) for batch in _check_batches(batches, len(values))]
    scores = [compare_rdms(models.values[:, k], brain, "pearson") for k, brain in enumerate(brains)]
    return xr.DataArray(np.mean(np.stack(scores), axis=0), models["model"].coords)


def noise_ceiling(rdms: ArrayLike, method: str = "pearson", *, pooling: str = "standardized") -> xr.Dataset:
    """How well the best model could match the RDM of each subject (Nili et al. 2014, PLoS Comput. Biol. 10(4)).

    Parameters
    ----------
    rdms : array of shape (subject, pair)
        Of two subjects or more.
    method : {"pearson", "spearman"}
    pooling : {"standardized", "plain"}
        What the mean RDM is of: RDMs brought to the form in which `method` compares them (ranks or z scores), which
        makes `upper` a bound or, for ranks, nearly one; or the RDMs as they are, as in Doerig et al. (2025).

    Returns
    -------
    Dataset of shape (subject,)
        ``lower``, the score of the mean RDM of the other subjects, and ``upper``, that of the mean of all of them.
    """
    values = shaped("rdms", rdms, "subject", "pair").astype(float)
    whole("subjects", len(values), 2)
    compare_rdms(values, values[0], method)  # checks them
    pooled = values
    if one_of("pooling", pooling, ("standardized", "plain")) == "standardized":
        pooled = rankdata(values, axis=1) if method == "spearman" else zscore(values, axis=1)
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
    """Scores of models whose images have exchanged their names at random (Mantel 1967, Cancer Research 27).

    Pairs share images, so they are no independent observations; images are. All models and subjects see the same
    exchanges.

    Parameters
    ----------
    model_rdms : mapping of str to, or sequence of, arrays of shape (pair,)
    rdms : array of shape (subject, pair)
    groups : array of shape (image,), optional
        Labels. Images change names within their group only, so that what the groups tell stays, and the rest goes.
    method : {"pearson", "spearman"}
    n_permutations, seed : int

    Returns
    -------
    DataArray of shape (draw, model, subject)
    """
    brains, place = _with_places(rdms)
    n, models = len(place), batch_rdms(model_rdms, len(place))[:, 0]
    brains, rows = _comparable(brains, method, "rdms"), _comparable(models.values, method, "model_rdms")
    rng, orders = np.random.default_rng(seed), np.tile(np.arange(n), (n_permutations, 1))
    codes = np.zeros(n, dtype=int) if groups is None else pd.factorize(np.asarray(groups))[0]
    for code in range(codes.max() + 1):
        members = np.flatnonzero(codes == code)
        orders[:, members] = rng.permuted(orders[:, members], axis=1)
    first, second = np.triu_indices(n, 1)
    null = [rows[:, place[order[first], order[second]]] @ brains.T for order in orders]
    return xr.DataArray(np.array(null), {"model": models["model"].values}, ("draw", "model", "subject"))


def image_bootstrap(
    rdms: ArrayLike, model_rdms: ModelRDMs, *, method: str = "pearson", n_resamples: int = 1000, seed: int = 0
) -> xr.Dataset:
    """How much the scores of models would vary over other images of the kind (Nili et al. 2014).

    Images are drawn with replacement, the same for all models; pairs of an image with itself are left out, and so are
    draws in which all images are alike to some model. `rdms` are of shape (subject, pair) or (pair,), and all else is
    as in `mantel_null`. A Dataset (model) of the ``score``, the mean over these subjects, ``low`` and ``high``, between
    which 95 % of the draws lie, and the ``draws`` (resample, model) themselves.
    """
    whole("n_resamples", n_resamples)
    values, place = _with_places(rdms)
    n, models = len(place), batch_rdms(model_rdms, len(place))[:, 0]
    first, second = np.triu_indices(n, 1)
    rng = np.random.default_rng(seed)
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
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    estimate = np.mean(compare_rdms(models.values, values, method), axis=1)
    found = {"score": ("model", estimate), "low": ("model", low), "high": ("model", high)}
    return xr.Dataset(found | {"draws": (("resample", "model"), np.array(draws))}, {"model": models["model"]})


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

    Of RDMs (subject, pair), to whose mean `reweighted_rdms` (which has the `options`) fits features (image, feature);
    an array of one mean score over subjects for each permutation.
    """
    values, place = _with_places(rdms)
    first, second = np.triu_indices(len(place), 1)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(place)) for _ in range(n_permutations)]
    exchanged = [values[:, place[order[first], order[second]]] for order in orders]
    refitted = reweighted_rdms(np.mean(exchanged, axis=1), features, seed=seed, **options)
    return np.array([np.mean(compare_rdms(*two, method)) for two in zip(refitted, exchanged, strict=True)])


@threadpool_limits.wrap(limits=1)  # many small products: more threads would only wait for each other
def reweighted_rdms(
    rdms: ArrayLike,
    features: ArrayLike,
    *,
    n_components: int = 10,
    alphas: ArrayLike = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    n_partitions: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Predict RDMs from weighted dimensions of a description, each pair from images that are not in it.

    The squared Euclidean RDM of the features is the sum of those of their principal components. Here each component has
    a weight of its own, none of them negative (Khaligh-Razavi & Kriegeskorte 2014, PLoS Comput. Biol. 10(11); Kaniuth &
    Hebart 2022, NeuroImage 257), that is fitted to the pairs among training images. A penalty, chosen for each RDM
    within the training images, draws the weights towards equal ones (our choice): the RDM as it comes is a special
    case. Of five folds of the images, the one or two that the images of a pair are in are left out together.

    Parameters
    ----------
    rdms : array of shape (..., pair)
        To be predicted, each by weights of its own.
    features : array of shape (image, feature)
        Of 15 images or more.
    n_components : int
        How many components are weighted, at most; fewer where there are fewer.
    alphas : array-like of shape (n_alphas,)
        Penalties to choose from, as a share of the variance of the unweighted RDM.
    n_partitions, seed : int
        Ways to draw the folds, whose predictions are averaged, and the seed of the first.

    Returns
    -------
    array of shape (..., pair)
        In standard deviations of each training set's own predictions, around their mean: made to be correlated.
    """
    if n_partitions > 1:
        options: dict[str, Any] = {"n_components": n_components, "alphas": alphas}
        return np.mean([reweighted_rdms(rdms, features, seed=seed + k, **options) for k in range(n_partitions)], axis=0)
    x = shaped("features", finite("features", features), "image", "feature")
    targets, penalties = finite("rdms", rdms), finite("alphas", alphas)
    n = whole("images", len(x), 3 * N_FOLDS)
    flat = shaped("rdms", targets.reshape(-1, targets.shape[-1]), "rdm", n * (n - 1) // 2)
    within("alphas", float(penalties.min()), 0, np.inf)
    whole("n_components", n_components)
    fold = np.random.default_rng(seed).permutation(np.arange(n) % N_FOLDS)
    a, b = (fold[images] for images in np.triu_indices(n, 1))
    found = np.empty_like(flat)
    for left_out in [{k} for k in range(N_FOLDS)] + [set(two) for two in combinations(range(N_FOLDS), 2)]:
        rest = [k for k in range(N_FOLDS) if k not in left_out]
        scores: Any = 0.0
        for k in rest:
            held = (a == k) & (b == k)
            inner = _weighted(flat, x, ~np.isin(fold, [*left_out, k]), held, n_components, penalties)
            inner, observed = (v - v.mean(-1, keepdims=True) for v in (inner, flat[:, held]))
            lengths = np.sqrt((inner**2).sum(-1) * (observed**2).sum(-1))
            scores = scores + (inner * observed).sum(-1) / np.where(lengths > 0, lengths, np.inf)
        here = (np.minimum(a, b) == min(left_out)) & (np.maximum(a, b) == max(left_out))
        outer = _weighted(flat, x, np.isin(fold, rest), here, n_components, penalties)
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
        raise ValueError(f"features: alike in all {int(train.sum())} training images of a fold; take more images.")
    if not (np.ptp(targets[:, inside], axis=1) > 0).all():
        raise ValueError(f"rdms: all distances among the {int(train.sum())} training images of a fold are the same.")
    parts = (parts - parts[inside].mean(0)) / parts[inside, 0].std()
    gram = parts[inside].T @ parts[inside] / inside.sum()
    wanted = parts[inside].T @ zscore(targets[:, inside], axis=1).T / inside.sum()
    found = []
    for alpha in alphas:
        root = np.linalg.cholesky(gram + np.diag([0.0] + [alpha] * (len(gram) - 1)))
        goals = np.linalg.solve(root, wanted)
        weights = np.array([scipy.optimize.nnls(root.T, goal)[0] for goal in goals.T])
        spread = np.sqrt(np.einsum("ti,ij,tj->t", weights, gram, weights))[:, None]
        found.append(weights @ parts[test].T / np.where(spread > 0, spread, 1))
    return np.array(found)


def subject_tests(scores: xr.DataArray, *, test: str = "t") -> SubjectTests:
    """Test the scores (model, subject) of models over subjects, and their differences within subjects, two-tailed.

    By Student's t or, with `test` "permutation", by flips of signs: exact for up to 13 subjects, but of n the smallest
    p is ``2 ** (1 - n)``. The tables ``models``, indexed by model, and ``pairs``, by (model, other), the mean that of
    model less other, have columns [mean, low, high, t, p, p_fdr]: the 95 % interval of the mean (Student's t), and p
    values adjusted for the false discovery rate over the rows of each table.
    """
    one_of("test", test, ("t", "permutation"))
    values = _with_dims("scores", scores, "model", "subject").transpose("model", "subject").to_numpy().astype(float)
    names = scores["model"].values.tolist()
    models = _one_sample(values, pd.Index(names, name="model"), test)
    if len(names) == 1:
        return SubjectTests(models, models.iloc[:0])
    pairs = pd.MultiIndex.from_tuples(list(combinations(names, 2)), names=["model", "other"])
    differences = np.array([a - b for a, b in combinations(values, 2)])
    return SubjectTests(models, _one_sample(differences, pairs, test))


def _one_sample(values: np.ndarray, index: pd.Index, test: str) -> pd.DataFrame:
    t, p = stats.one_sample_t(values.T)
    if test == "permutation":
        batch, rng = max(1, 10_000_000 // values.size), np.random.default_rng(0)
        flips = {"permutation_type": "samples", "vectorized": True, "axis": 1, "batch": batch, "rng": rng}
        p = permutation_test((values,), np.mean, **flips).pvalue
    ends = stats.t_interval(values.T)
    columns = {"mean": values.mean(1), "low": ends.low, "high": ends.high, "t": t, "p": p, "p_fdr": stats.fdr(p)[1]}
    return pd.DataFrame(columns, index=index)


def _with_dims(name: str, array: xr.DataArray, *dims: str) -> xr.DataArray:
    """A DataArray with at least these dimensions."""
    if not isinstance(array, xr.DataArray) or not set(dims) <= set(array.dims):
        got = getattr(array, "dims", type(array).__name__)
        raise ValueError(f"{name}: expected a DataArray of dimensions {', '.join(dims)}, got {got}.")
    return array


def _with_places(rdms: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """RDMs (row, pair), and at which pair the distance of two images stands (image, image)."""
    values = np.atleast_2d(np.asarray(rdms, dtype=float))
    n_pairs = values.shape[-1]
    n = round((1 + np.sqrt(1 + 8 * n_pairs)) / 2)
    if values.ndim != 2 or n < 3 or n * (n - 1) // 2 != n_pairs:
        raise ValueError(f"rdms: expected shape (subject, pair), all pairs of 3 images or more, got {values.shape}.")
    return values, squareform(np.arange(n_pairs))


def _check_batches(batches: ArrayLike | None, n_images: int) -> np.ndarray:
    """Batches of images as an array of shape (batch, size); one of all images for None."""
    batches = np.arange(n_images)[None] if batches is None else shaped("batches", batches, "batch", "size")
    good = len(batches) and batches.shape[1] >= 3 and batches.dtype.kind in "iu"
    if not good or batches.min() < 0 or batches.max() >= n_images or (np.diff(np.sort(batches)) == 0).any():
        wanted = f"numbers of at least three different images from 0 to {n_images - 1} in each"
        raise ValueError(f"batches: expected {wanted}, got {batches.dtype} in shape {batches.shape}.")
    return batches
