"""How well decoded embeddings tell images and captions apart, and what chance and people reach.

Ranks count from 0, the best: the number of rivals that are more similar to what was decoded than the right one is, and
half of those that are as similar. Similarity is Pearson's correlation over dimensions.

`centre` is an embedding that is taken off everything first, in general the mean over the training images. Without it
captions of any two scenes correlate, by what all captions share; with it the correlation is of what sets an image
apart. The study correlates embeddings as they are.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

_BLOCK = 256  # decoded embeddings that are compared at once


def correlations(decoded: ArrayLike, targets: ArrayLike, centre: ArrayLike | None = None) -> np.ndarray:
    """Pearson correlation over dimensions of each decoded embedding with its target.

    Parameters
    ----------
    decoded, targets : array of shape (image, dimension)
    centre : array of shape (dimension,), optional
        Taken off both first.

    Returns
    -------
    array of shape (image,)

    Raises
    ------
    ValueError
        Arrays that do not fit each other, that are not finite, or embeddings of no direction (all numbers equal).
    """
    decoded, targets = _matrix(decoded, "decoded"), _matrix(targets, "targets")
    if decoded.shape != targets.shape:
        raise ValueError(
            f"decoded, targets: expected the same shape (image, dimension), got {decoded.shape} and {targets.shape}."
        )
    one, other = (_directions(a, centre, name) for a, name in ((decoded, "decoded"), (targets, "targets")))
    return (one * other).sum(1)


def caption_ceiling(embeddings: ArrayLike, images: Sequence[Hashable], centre: ArrayLike | None = None) -> xr.DataArray:
    """How well people's captions of an image predict each other: each one with the mean of the others.

    Parameters
    ----------
    embeddings : array of shape (caption, dimension)
        Of single captions.
    images : sequence
        The image of each caption; every image needs at least two.
    centre : array of shape (dimension,), optional

    Returns
    -------
    DataArray of shape (image,)
        In the order of first appearance; mean over all captions of the correlation of a caption with the mean of the
        others. One caption is a noisy description, so this is the score of a further person who writes one sentence
        and no bound: a mean over several captions can be closer to another such mean.

    Raises
    ------
    ValueError
        An image with one caption, or as `correlations`.

    Notes
    -----
    The study's text describes this measure; its code as published keeps only the last caption of each image.
    """
    values, names = _matrix(embeddings, "embeddings"), list(images)
    if len(names) != len(values):
        raise ValueError(f"images: expected one name for each of the {len(values)} captions, got {len(names)}.")
    rows: dict[Hashable, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    alone = [name for name, own in rows.items() if len(own) < 2]
    if alone:
        raise ValueError(f"images: {len(alone)} have one caption only, first {alone[:5]}; a ceiling needs two or more.")
    found = []
    for own in rows.values():
        some = values[own]
        others = (some.sum(0) - some) / (len(own) - 1)
        found.append(correlations(some, others, centre).mean())
    return xr.DataArray(np.array(found), {"image": list(rows)}, ("image",))


def image_ranks(
    decoded: ArrayLike,
    targets: ArrayLike,
    centre: ArrayLike | None = None,
    groups: Sequence[Hashable] | None = None,
) -> np.ndarray:
    """Rank of the right image among all of a set.

    Parameters
    ----------
    decoded, targets : array of shape (image, dimension)
    centre : array of shape (dimension,), optional
    groups : sequence of shape (image,), optional
        Only rivals of the same group count.

    Returns
    -------
    array of shape (image,)
        0 (best) to the number of rivals; half that number on average where nothing is decoded.

    Raises
    ------
    ValueError
        As `correlations`, or for fewer than two images.
    """
    decoded, targets = _matrix(decoded, "decoded"), _matrix(targets, "targets")
    if decoded.shape != targets.shape or len(decoded) < 2:
        raise ValueError(
            f"decoded, targets: expected the same shape (image, dimension) with two images or more, got "
            f"{decoded.shape} and {targets.shape}."
        )
    scores = _directions(decoded, centre, "decoded") @ _directions(targets, centre, "targets").T
    right = np.diagonal(scores)[:, None]
    if groups is not None:
        labels = np.asarray(list(groups))
        scores = np.where(labels[:, None] == labels, scores, -np.inf)
    return _beaten_by(scores, right)[:, 0] - 0.5  # the right one is as similar as itself


def caption_ranks(
    decoded: ArrayLike,
    captions: ArrayLike,
    images: Sequence[int],
    distractors: ArrayLike,
    centre: ArrayLike | None = None,
) -> np.ndarray:
    """Rank of each right caption among captions of other images.

    Parameters
    ----------
    decoded : array of shape (image, dimension)
    captions : array of shape (caption, dimension)
        Right captions of these images.
    images : sequence of int
        The row in `decoded` of each caption's image.
    distractors : array of shape (distractor, dimension)
    centre : array of shape (dimension,), optional

    Returns
    -------
    array of shape (caption,)
        0 (best) to the number of distractors.

    Raises
    ------
    ValueError
        As `correlations`, and for no distractors or images that are not there.
    """
    decoded, captions = _matrix(decoded, "decoded"), _matrix(captions, "captions")
    distractors, images = _matrix(distractors, "distractors"), np.asarray(images)
    widths = {"decoded": decoded.shape[1], "captions": captions.shape[1], "distractors": distractors.shape[1]}
    if len(set(widths.values())) > 1:
        raise ValueError(f"decoded, captions, distractors: expected the same number of dimensions, got {widths}.")
    if images.shape != (len(captions),) or images.dtype.kind not in "iu":
        raise ValueError(
            f"images: expected the row in decoded of each of the {len(captions)} captions, got {images.dtype} of shape "
            f"{images.shape}."
        )
    if len(images) and not (images.min() >= 0 and images.max() < len(decoded)):
        raise ValueError(f"images: expected rows from 0 to {len(decoded) - 1}, got {images.min()} to {images.max()}.")
    query = _directions(decoded, centre, "decoded")
    own = (query[images] * _directions(captions, centre, "captions")).sum(1)
    others = _directions(distractors, centre, "distractors")
    found = np.empty(len(captions))
    for start in range(0, len(query), _BLOCK):
        scores = query[start : start + _BLOCK] @ others.T
        for row in range(len(scores)):
            here = images == start + row
            found[here] = _beaten_by(scores[row], own[here])
    return found


def identify_by_embeddings(
    decoded: ArrayLike, targets: ArrayLike, groups: Sequence[Hashable] | None = None
) -> np.ndarray:
    """Share of the rival images that are less similar to what was decoded than the right one, see `image_ranks`.

    Parameters
    ----------
    decoded, targets : array of shape (image, dimension)
        Less what all images share.
    groups : sequence of shape (image,), optional
        Only rivals of the same group count.

    Returns
    -------
    array of shape (image,)
        0.5 is chance. NaN for an image that is alone in its group.
    """
    labels = np.zeros(len(np.asarray(decoded))) if groups is None else np.asarray(list(groups))
    rivals = (labels[:, None] == labels).sum(1) - 1.0
    return 1 - image_ranks(decoded, targets, groups=labels.tolist()) / np.where(rivals, rivals, np.nan)


def identify_by_distances(
    brain: ArrayLike, captions: ArrayLike, groups: Sequence[Hashable] | None = None, method: str = "spearman"
) -> np.ndarray:
    """Find an image's caption from nothing but distances, where no responses are known.

    Image i has a row of distances in the brain to all other images; every caption j has a row of distances to the other
    captions. The right caption, i, is compared with one rival j at a time: which of the two rows correlates more with
    the brain's, over the images other than i and j?

    Parameters
    ----------
    brain, captions : array of shape (pair,)
        Distances, pairs as in ``numpy.triu_indices(n_images, 1)``.
    groups : sequence of shape (image,), optional
        Only rivals of the same group count, for example both animate: a brain that tells groups apart, and nothing
        else, is then at chance.
    method : {"spearman", "pearson"}
        For "spearman", distances of a row are replaced by their ranks among the row's distances.

    Returns
    -------
    array of shape (image,)
        Share of the rivals that the right caption beats, half a win for a tie: 0.5 is chance. The number of rivals
        times (1 - share) is the rank. NaN for an image that is alone in its group.

    Raises
    ------
    ValueError
        Distances that are no full set of pairs of four images or more, not finite, or of another number of images;
        an unknown method.
    """
    first, second, allowed = _distance_rows(brain, captions, groups, method)
    return _distance_wins(first, second, allowed)


def chance_by_distances(
    brain: ArrayLike,
    captions: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    method: str = "spearman",
    *,
    n_permutations: int = 999,
    seed: int = 0,
) -> np.ndarray:
    """Mean share of rivals beaten (see `identify_by_distances`) when the images of the brain are exchanged.

    Images are exchanged within groups where there are groups.

    Parameters
    ----------
    brain : array of shape (pair,) or (person, pair)
        With several people, all have their images exchanged in the same way, and the mean over people is returned.
    captions, groups, method
        As in `identify_by_distances`.
    n_permutations, seed : int

    Returns
    -------
    array of shape (permutation,)
    """
    people = np.atleast_2d(np.asarray(brain, dtype=float))
    prepared = [_distance_rows(one, captions, groups, method) for one in people]
    allowed, rng, draws = prepared[0][2], np.random.default_rng(seed), []
    labels = np.zeros(len(allowed), dtype=int) if groups is None else np.unique(list(groups), return_inverse=True)[1]
    members = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    for _ in range(n_permutations):
        order = np.arange(len(allowed))
        for own in members:
            order[own] = rng.permutation(own)
        shares = [np.nanmean(_distance_wins(b[np.ix_(order, order)], c, allowed)) for b, c, _ in prepared]
        draws.append(np.mean(shares))
    return np.array(draws)


def _distance_rows(brain, captions, groups, method) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both sets of distances as (image, image), or their ranks in each row, and which rivals count."""
    if method not in ("spearman", "pearson"):
        raise ValueError(f"method: expected 'spearman' or 'pearson', got {method!r}.")
    found = []
    for name, pairs in (("brain", brain), ("captions", captions)):
        values = np.asarray(pairs, dtype=float)
        n = round((1 + np.sqrt(1 + 8 * values.size)) / 2)
        if values.ndim != 1 or n * (n - 1) // 2 != values.size or n < 4:
            raise ValueError(
                f"{name}: expected the distances of all pairs of four images or more, got shape {values.shape}."
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: {int((~np.isfinite(values)).sum())} distances are not finite; leave them out.")
        rows = squareform(values)
        if method == "spearman":
            np.fill_diagonal(rows, -np.inf)  # an image itself comes first and is left out later
            rows = rankdata(rows, axis=1)
        found.append(rows)
    if len(found[0]) != len(found[1]):
        raise ValueError(f"brain, captions: expected as many images in both, got {len(found[0])} and {len(found[1])}.")
    allowed = ~np.eye(len(found[0]), dtype=bool)
    if groups is not None:
        labels = np.asarray(list(groups))
        if labels.shape != (len(allowed),):
            raise ValueError(f"groups: expected one for each of the {len(allowed)} images, got shape {labels.shape}.")
        allowed &= labels[:, None] == labels
    return found[0], found[1], allowed


def _distance_wins(brain: np.ndarray, captions: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Share of rivals beaten by each image's own caption, of shape (image,)."""
    own, rival = _row_correlations(brain, captions)
    with np.errstate(invalid="ignore"):
        equal = np.isclose(own, rival, rtol=0, atol=1e-12)
        wins = ((own > rival) & ~equal) + 0.5 * equal
        return (wins * allowed).sum(1) / allowed.sum(1)


def _row_correlations(brain: np.ndarray, captions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the brain's row i with caption row i, and with caption row j, both without images i and j.

    Returns two arrays of shape (i, j). All sums over the other images are sums over all, less two terms.
    """
    n = len(brain) - 2
    b, c = (rows - rows.mean() for rows in (brain, captions))  # for precision; correlations do not see it
    b_i, c_i, c_j = np.diagonal(b)[:, None], np.diagonal(c)[:, None], np.diagonal(c)[None]

    def less_two(total, at_i, at_j):
        return total - at_i - at_j

    def correlate(xy, x, y, xx, yy):
        with np.errstate(invalid="ignore", divide="ignore"):
            return (xy - x * y / n) / np.sqrt((xx - x**2 / n) * (yy - y**2 / n))

    sum_b = less_two(b.sum(1)[:, None], b_i, b)
    sum_bb = less_two((b**2).sum(1)[:, None], b_i**2, b**2)
    sum_own = less_two(c.sum(1)[:, None], c_i, c)
    own = correlate(
        less_two((b * c).sum(1)[:, None], b_i * c_i, b * c),
        sum_b,
        sum_own,
        sum_bb,
        less_two((c**2).sum(1)[:, None], c_i**2, c**2),
    )
    other = c.T  # [i, j]: the entry of caption row j at image i
    rival = correlate(
        less_two(b @ c.T, b_i * other, b * c_j),
        sum_b,
        less_two(c.sum(1)[None], other, c_j),
        sum_bb,
        less_two((c**2).sum(1)[None], other**2, c_j**2),
    )
    return own, rival


def _matrix(array: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(array, dtype=float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{name}: expected an array of two dimensions, none of them empty, got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {int((~np.isfinite(values)).sum())} values are NaN or inf; leave them out.")
    return values


def _directions(values: np.ndarray, centre: ArrayLike | None, name: str) -> np.ndarray:
    """Rows of mean 0 and length 1."""
    if centre is not None:
        centre = np.asarray(centre, dtype=float)
        if centre.shape != values.shape[1:] or not np.isfinite(centre).all():
            raise ValueError(f"centre: expected {values.shape[1]} finite numbers, got shape {centre.shape}.")
        values = values - centre
    values = values - values.mean(1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    if not (length > 0).all():
        raise ValueError(f"{name}: row {int(np.argmin(length))} has no direction: all its numbers are equal.")
    return values / length


def _beaten_by(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many scores (..., rival) are above each right one (..., one), half of those that are equal."""
    rivals, right = scores[..., None, :], right[..., :, None]
    equal = np.isclose(rivals, right, rtol=0, atol=1e-12)
    return ((rivals > right) & ~equal).sum(-1) + 0.5 * equal.sum(-1)
