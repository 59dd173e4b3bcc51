"""How well decoded embeddings tell images and captions apart, and what chance and people reach.

Ranks count from 0, the best: the number of rivals that are more similar (by Pearson's correlation over dimensions) to
what was decoded than the right one is, and half of those that are as similar.

`centre` is an embedding that is taken off everything first, in general the mean over the training images. Without it,
as in the study, captions of any two scenes correlate, by what all captions share; with it the correlation is of what
sets an image apart.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from brainalign._checks import alike, finite, shaped, whole

Groups = Sequence[Hashable] | None

_TIE = 1e-12  # similarities that differ by less are equal


def correlations(decoded: ArrayLike, targets: ArrayLike, centre: ArrayLike | None = None) -> np.ndarray:
    """Pearson correlation over dimensions of each decoded embedding with its target, of shape (image,).

    `decoded` and `targets` are of shape (image, dimension), `centre` of shape (dimension,).
    """
    one, other = _pair(decoded, targets, centre)
    return (one * other).sum(1)


def caption_ceiling(embeddings: ArrayLike, images: Sequence[Hashable], centre: ArrayLike | None = None) -> xr.DataArray:
    """How well people's captions of an image predict each other: each one with the mean of the others.

    This is the score of a further person who writes one sentence and no bound: a mean over several captions can be
    closer to another such mean. The study's text describes this measure; its code as published keeps only the last
    caption of each image.

    `embeddings` (caption, dimension) are of single captions, and `images` has the image of each; every image needs at
    least two. Means over an image's captions (image), in the order of first appearance.
    """
    values = finite("embeddings", shaped("embeddings", embeddings, "caption", "dimension"))
    alike(embeddings=values, images=images)
    rows = pd.Series(range(len(values)), index=list(images)).groupby(level=0, sort=False).agg(list)
    for name, own in rows.items():
        whole(f"captions of image {name!r}", len(own), 2)
    others = [(values[own].sum(0) - values[own]) / (len(own) - 1) for own in rows]
    found = [correlations(values[own], rest, centre).mean() for own, rest in zip(rows, others, strict=True)]
    return xr.DataArray(np.array(found), {"image": rows.index.tolist()}, ("image",))


def image_ranks(decoded: ArrayLike, targets: ArrayLike, centre: ArrayLike | None = None) -> np.ndarray:
    """Rank of the right image among all of a set, of shape (image,); parameters as in `correlations`.

    0 (best) to the number of rivals; half that number on average where nothing is decoded.
    """
    one, other = _pair(decoded, targets, centre)
    beaten = _beaten((one * other).sum(1, keepdims=True), one @ other.T)
    return len(one) - 0.5 - beaten  # the right one is as similar as itself


def caption_ranks(decoded: ArrayLike, captions: ArrayLike, images: Sequence[int], distractors: ArrayLike) -> np.ndarray:
    """Rank of each right caption among captions of other images: 0 (best) to the number of distractors.

    `decoded` is of shape (image, dimension), `captions` and `distractors` of (caption, dimension), and `images` has the
    row in `decoded` of each right caption's image.
    """
    query = _directions("decoded", decoded)
    own = _directions("captions", shaped("captions", captions, "caption", query.shape[1]))
    others = _directions("distractors", shaped("distractors", distractors, "distractor", query.shape[1]))
    images = shaped("images", images, len(own))
    for row in set(images.tolist()):
        whole("images", row, 0, len(query) - 1)
    right, scores = (query[images] * own).sum(1), query @ others.T
    return np.array([len(others) - _beaten(one, scores[row]) for one, row in zip(right, images, strict=True)])


def identify_by_embeddings(decoded: ArrayLike, targets: ArrayLike, groups: Groups = None) -> np.ndarray:
    """Share of the rival images that are less similar to what was decoded than the right one, of shape (image,).

    Half a win for a tie: 0.5 is chance. Embeddings (image, dimension) less what all images share; `groups` as in
    `identify_by_distances`.
    """
    one, other = _pair(decoded, targets)
    return _shares((one * other).sum(1, keepdims=True), one @ other.T, _labels(groups, len(one)))


def identify_by_distances(brain: ArrayLike, captions: ArrayLike, groups: Groups = None) -> np.ndarray:
    """Find an image's caption from nothing but distances, where no responses are known.

    Image i has a row of distances in the brain to all other images; every caption j has a row of distances to the other
    captions. The right caption, i, is compared with one rival j at a time: which of the two rows correlates more
    (Spearman) with the brain's, over the images other than i and j?

    `brain` and `captions` are of shape (pair,), as in ``numpy.triu_indices(n_images, 1)``, of four images or more.
    With `groups` (image,) only rivals of the same group count, for example both animate: a brain that tells groups
    apart, and nothing else, is then at chance. Share (image,) of the rivals that the right caption beats, half a win
    for a tie: 0.5 is chance. NaN for an image that is alone in its group.
    """
    right, scores = _row_correlations(_ranks("brain", brain), _ranks("captions", captions))
    return _shares(right, scores, _labels(groups, len(scores)))


def chance_by_distances(
    brain: ArrayLike, captions: ArrayLike, groups: Groups = None, *, n_permutations: int = 999, seed: int = 0
) -> np.ndarray:
    """Mean share of rivals beaten (see `identify_by_distances`) when the images of the brain are exchanged.

    Of shape (permutation,), mean over people: `brain` may be of shape (subject, pair), and all have their images
    exchanged in the same way, within groups where there are groups.
    """
    brains, aims = [_ranks("brain", one) for one in np.atleast_2d(brain)], _ranks("captions", captions)
    labels, rng, draws = _labels(groups, len(aims)), np.random.default_rng(seed), []
    for _ in range(n_permutations):
        order = np.arange(len(aims))
        for label in range(labels.max() + 1):
            order[labels == label] = rng.permutation(order[labels == label])
        shares = [_shares(*_row_correlations(one[np.ix_(order, order)], aims), labels) for one in brains]
        draws.append(np.nanmean(shares, axis=1).mean())
    return np.array(draws)


def _ranks(name: str, pairs: ArrayLike) -> np.ndarray:
    """Ranks of distances within each image's row (image, image); an image itself comes first."""
    values = finite(name, shaped(name, pairs, "pair"))
    n = round((1 + np.sqrt(1 + 8 * len(values))) / 2)
    if n * (n - 1) // 2 != len(values) or n < 4:
        raise ValueError(f"{name}: expected the distances of all pairs of four images or more, got {len(values)}.")
    rows = squareform(values)
    np.fill_diagonal(rows, -np.inf)
    return rankdata(rows, axis=1)


def _row_correlations(brain: np.ndarray, captions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the brain's row i with caption row i, and with caption row j, both without images i and j.

    Returns two arrays of shape (i, j). All sums over the other images are sums over all, less two terms.
    """
    alike(brain=brain, captions=captions)
    n = len(brain) - 2
    b, c = (rows - rows.mean() for rows in (brain, captions))  # for precision; correlations do not see it
    b_i, c_i = np.diagonal(b)[:, None], np.diagonal(c)[:, None]
    sum_b, sum_bb = b.sum(1, keepdims=True) - b_i - b, (b**2).sum(1, keepdims=True) - b_i**2 - b**2

    def correlate(products, row, squares, at_i, at_j):
        """From sums over all images, and what the row of captions has at images i and j."""
        xy, y, yy = products - b_i * at_i - b * at_j, row - at_i - at_j, squares - at_i**2 - at_j**2
        with np.errstate(invalid="ignore", divide="ignore"):
            return (xy - sum_b * y / n) / np.sqrt((sum_bb - sum_b**2 / n) * (yy - y**2 / n))

    row, squares = c.sum(1, keepdims=True), (c**2).sum(1, keepdims=True)
    own = correlate((b * c).sum(1, keepdims=True), row, squares, c_i, c)
    return own, correlate(b @ c.T, row.T, squares.T, c.T, c_i.T)


def _shares(right: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of the other images of its group (image, image) that each image beats."""
    rivals = (labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool)
    return _beaten(right, np.where(rivals, scores, np.inf)) / np.where(rivals.any(1), rivals.sum(1), np.nan)


def _beaten(right: Any, rivals: np.ndarray) -> Any:
    """How many rivals (along the last dimension) are below the right one, and half of those that are equal to it."""
    lead = right - rivals
    return ((lead > _TIE).sum(-1) + (lead >= -_TIE).sum(-1)) / 2


def _labels(groups: Groups, n_images: int) -> np.ndarray:
    """The number of each image's group."""
    groups = shaped("groups", np.zeros(n_images) if groups is None else list(groups), n_images)
    return np.unique(groups, return_inverse=True)[1]


def _pair(decoded: ArrayLike, targets: ArrayLike, centre: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    one = _directions("decoded", decoded, centre)
    return one, _directions("targets", shaped("targets", targets, *one.shape), centre)


def _directions(name: str, values: ArrayLike, centre: ArrayLike | None = None) -> np.ndarray:
    """Rows less `centre`, brought to mean 0 and length 1."""
    values = finite(name, shaped(name, values, "row", "dimension"))
    whole(f"rows of {name}", len(values))
    centre = np.zeros(values.shape[1]) if centre is None else shaped("centre", centre, values.shape[1])
    return _unit(name, values - finite("centre", centre))


def _unit(name: str, values: Any, metric: str = "correlation", *, first: int = 0) -> Any:
    """Bring the rows of an array or tensor to length 1, for correlations to mean 0 before, in place."""
    if metric == "correlation":
        values -= values.mean(1, keepdims=True)
    length = (values * values).sum(1, keepdims=True) ** 0.5
    if not length.min() > 0:
        row = first + int(length.argmin())
        raise ValueError(f"{name}: row {row} has no direction for the metric {metric!r}; leave it out.")
    values /= length
    return values
