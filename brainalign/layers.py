"""Which layer, and how much context, fits a channel best, and whether either follows the cortical hierarchy.

Channels of one person are no independent samples. With the eight to twenty people of intracranial studies, intervals
use Student's t with one degree of freedom less than there are people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.fft
import xarray as xr
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline
from scipy.stats import rankdata
from scipy.stats import t as student_t


class Alignment(NamedTuple):
    """Spearman correlation `r` of two measures over channels, and its interval from `low` to `high` over people."""

    r: float
    low: float
    high: float
    n_channels: int
    n_subjects: int


class Gradient(NamedTuple):
    """Layers a mm, `slope`, with its interval from `low` to `high` over people."""

    slope: float
    low: float
    high: float
    n_channels: int
    n_subjects: int


def peak_layer(score: xr.DataArray) -> xr.DataArray:
    """The layer with the highest score in each channel.

    Parameters
    ----------
    score : DataArray of shape (layer, channel)
        Such as `ridge.cross_validate(...).score`.

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
    found: Any = score.idxmax("layer") if "layer" in score.coords else score.argmax("layer")
    return found


def alignment(
    peak: ArrayLike,
    distance: ArrayLike,
    *,
    subjects: ArrayLike | None = None,
    confidence_level: float = 0.95,
    method: Literal["jackknife", "bootstrap"] = "jackknife",
    n_resamples: int = 1000,
    seed: int = 0,
) -> Alignment:
    """Do peak layers grow with distance along the cortex?

    Spearman correlation over channels. Its Fisher transform gets a standard error over people and an interval by the
    quantiles of Student's t. Either standard error covers as it should with the eight to twenty people of intracranial
    studies, where the plain quantiles of a bootstrap over people are too narrow. The interval is for the rank
    correlation of *estimated* peaks with distance, in other people measured as well as these. Noise scatters peaks and
    shrinks it: where the planted layers had 0.986, cohorts with a median best r of 0.72, 0.25 and 0.14 had 0.986, 0.966
    and 0.758 on average, and 95 % intervals held the planted value in 100, 24 and 0 % of 200 cohorts
    (``book/simulations/layer_order.csv``). See `layer_gradient`.

    Parameters
    ----------
    peak, distance : array of shape (channel)
        Peak layer, or any other measure; distance in mm, geodesic or Euclidean, or any other measure.
    subjects : array of shape (channel), optional
        The person each channel belongs to. Without it every channel counts as a person of its own.
    confidence_level : float
        Coverage of the interval.
    method : {"jackknife", "bootstrap"}
        Leave out one whole person at a time, or draw whole people with replacement.
    n_resamples, seed : int
        Of the bootstrap.

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
    if method not in ("jackknife", "bootstrap"):
        raise ValueError(f"method: expected 'jackknife' or 'bootstrap', got {method!r}.")
    peak, distance, subjects = _checked(peak, distance, subjects)
    names = np.unique(subjects)
    z = _fisher(peak, distance)
    if method == "jackknife":
        error = _jackknife_error(lambda kept: _fisher(peak[kept], distance[kept]), subjects)
    else:
        members, rng = [np.flatnonzero(subjects == name) for name in names], np.random.default_rng(seed)
        drawn = (rng.integers(len(names), size=len(names)) for _ in range(n_resamples))
        rows = (np.concatenate([members[k] for k in draw]) for draw in drawn)
        copies = [_fisher(peak[row], distance[row]) for row in rows]
        error = np.std(copies) * np.sqrt(len(names) / (len(names) - 1))
    reach = _quantile(confidence_level, len(names) - 1) * error
    r, low, high = np.tanh([z, z - reach, z + reach]).tolist()
    return Alignment(r, low, high, len(peak), len(names))


def alignment_difference(
    peak: ArrayLike,
    distance: ArrayLike,
    other: ArrayLike,
    *,
    subjects: ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Alignment:
    """Does one distance order the peak layers better than another does?

    Parameters
    ----------
    peak, distance, other : array of shape (channel)
        Peak layer, and two measures such as geodesic and Euclidean distance (mm).
    subjects, confidence_level
        As in `alignment`.

    Returns
    -------
    Alignment
        `r` is the Spearman correlation with `distance` less that with `other`; its interval by jackknife over people.

    Raises
    ------
    ValueError
        As in `alignment`.
    """
    _, other, _ = _checked(peak, other, subjects)
    peak, distance, subjects = _checked(peak, distance, subjects)

    def difference(kept: np.ndarray) -> float:
        return np.tanh(_fisher(peak[kept], distance[kept])) - np.tanh(_fisher(peak[kept], other[kept]))

    n = len(np.unique(subjects))
    found = difference(np.ones(len(peak), dtype=bool))
    reach = _quantile(confidence_level, n - 1) * _jackknife_error(difference, subjects)
    return Alignment(float(found), float(found - reach), float(found + reach), len(peak), n)


def crossed_order(
    score: xr.DataArray,
    distance: ArrayLike,
    *,
    subjects: ArrayLike | None = None,
    along: Literal["layer", "context"] = "layer",
    fixed: Sequence[float] | None = None,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Do peak layers follow distance whatever the context, or best contexts whatever the layer?

    Layers and contexts are not independent: channels that all follow one layer of the model, but more and more words,
    have peak layers that grow with distance at any fixed longer context. Here the order has to show at *every* fixed
    context, and where each channel has the context that suits it best (the peak of its layer-by-context grid). That is
    an intersection-union test: the row with the largest p decides, without correction for their number, and the rate
    of false calls is at most that of the row in which there is no order. With a context of a word or two little is left
    by which to tell layers apart, and in the first layers little by which to tell contexts apart: name in `fixed` those
    at which an order can show, such as contexts of four words or more, or nothing is ever called.

    Parameters
    ----------
    score : DataArray of shape (context, layer, channel), in any order of dimensions
        Such as the unstacked `score` of `ridge.cross_validate`.
    distance : array of shape (channel)
        mm, or any other measure.
    subjects, confidence_level
        As in `alignment`.
    along : {"layer", "context"}
        What is ordered; the other is held fixed.
    fixed : sequence of float, optional
        Values of the other dimension at which the order has to show; default all. "free" takes them all in any case.

    Returns
    -------
    DataFrame
        One row for each fixed value, and the row "free", with `r`, the Spearman correlation of the
        place of the best score with distance (NaN where all peaks are the same); its interval from `low` to `high` over
        people; and `p`, one-sided against no order or a falling one. The order is called at 5 % if no p exceeds 0.05.

    Raises
    ------
    ValueError
        For other dimensions, scores that are not finite, fixed values that `score` lacks, and as in `alignment`.

    References
    ----------
    Berger & Hsu (1996), Statistical Science 11, for intersection-union tests.
    """
    if score.ndim != 3 or not {"context", "layer"} <= {*score.dims} or along not in ("layer", "context"):
        raise ValueError(
            f"score, along: expected dimensions 'context', 'layer' and a channel, and one of the two, got {score.dims} "
            f"and {along!r}; unstack the sweep."
        )
    (other,) = {"context", "layer"} - {along}
    if not np.isfinite(score.to_numpy()).all():
        raise ValueError("score: non-finite values; drop those channels first.")
    score = score.sortby(along)
    values = score[other].values.tolist() if fixed is None else list(fixed)
    if not set(values) <= set(score[other].values.tolist()):
        raise ValueError(f"fixed: expected values of {other!r}, {score[other].values.tolist()}, got {values}.")
    rows: dict[Any, Any] = {value: score.sel({other: value}) for value in values}
    rows["free"] = score.max(other)
    peaks = {name: part.argmax(along).to_numpy() for name, part in rows.items()}
    _, distance, subjects = _checked(peaks["free"], distance, subjects)

    def order(place: np.ndarray) -> list[float]:
        names = np.unique(subjects)
        if any(np.ptp(place[subjects != name]) == 0 for name in names):
            return [np.nan, np.nan, np.nan, 1.0]
        z = _fisher(place, distance)
        error = _jackknife_error(lambda kept: _fisher(place[kept], distance[kept]), subjects)
        reach = _quantile(confidence_level, len(names) - 1) * error
        return [*np.tanh([z, z - reach, z + reach]), student_t.sf(z / error, len(names) - 1)]

    table = {name: order(place) for name, place in peaks.items()}
    return pd.DataFrame(table, index=["r", "low", "high", "p"]).T.rename_axis(other)


def layer_gradient(
    score: xr.DataArray, distance: ArrayLike, *, subjects: ArrayLike | None = None, confidence_level: float = 0.95
) -> Gradient:
    """By how many layers a mm does the best layer grow with distance, without choosing a layer in any channel?

    The best layer of a noisy channel scatters over all layers, so that any correlation or slope of *peaks* shrinks with
    noise. Here the layer is a straight line over distance, cut at the first and the last layer, and that line is sought
    along which the channels' scores have the highest sum. Noise adds as much to one line as to another: it widens the
    interval and does not shrink the slope. Where 0.290 was planted, cohorts with a median best r of 0.72, 0.25 and 0.14
    gave 0.295, 0.295 and 0.294 on average: a bias of 1.6 %, whatever the noise, probably because layers are unlike
    their neighbours to different degrees. Because of it 95 % intervals held the planted slope in 81, 90 and 91 % of
    200 cohorts (``book/simulations/layer_order.csv``). At one fixed context a growing window gives a gradient,
    too, as it gives an order of peaks (see `crossed_order`).

    Parameters
    ----------
    score : DataArray of shape (layer, channel) or (context, layer, channel), in any order of dimensions
        With a context dimension each channel has, at each layer, the context that suits it best.
    distance : array of shape (channel)
        mm.
    subjects, confidence_level
        As in `alignment`; the interval by jackknife over people.

    Returns
    -------
    Gradient

    Raises
    ------
    ValueError
        For scores without layer numbers in ascending order, or that are not finite, and as in `alignment`.

    Notes
    -----
    The line is sought on a grid of layers at the distances' first and ninth tenth, three times as wide as the model,
    and refined by a parabola through the 49 lines around the best. Between layers, scores follow a cubic spline.
    """
    score = score.max("context") if "context" in score.dims else score
    layers = np.asarray(score["layer"], dtype=float) if "layer" in score.coords and score.ndim == 2 else np.array([])
    if len(layers) < 3 or (np.diff(layers) <= 0).any() or not np.isfinite(score.to_numpy()).all():
        raise ValueError(f"score: expected finite values with three ascending layers or more, got {score.sizes}.")
    values = score.transpose("layer", ...).to_numpy()
    _, distance, subjects = _checked(values[0], distance, subjects)
    near, far = np.quantile(distance, [0.1, 0.9])
    if near == far:
        raise ValueError("distance: most values are all the same; no slope.")
    ends = np.linspace(2 * layers[0] - layers[-1], 2 * layers[-1] - layers[0], 73)
    rise = (ends - ends[:, None])[..., None] * (distance - near) / (far - near)
    fine = np.linspace(layers[0], layers[-1], 200)
    line = (ends[:, None, None] + rise - fine[0]) / (fine[1] - fine[0])  # (layer near, layer far, channel)
    height = CubicSpline(layers, values)(fine)[np.rint(line).clip(0, 199).astype(int), np.arange(len(distance))]
    i, j = np.mgrid[-3:4, -3:4].reshape(2, -1)
    parabola = np.linalg.pinv(np.stack([i**0, i, j, i * i / 2, i * j, j * j / 2], axis=1))

    def slope(kept: np.ndarray) -> float:
        total = height[..., kept].sum(-1)
        top = np.clip(np.unravel_index(total.argmax(), total.shape), 3, len(ends) - 4)
        _, *first, a, b, c = parabola @ total[top[0] + i, top[1] + j]
        curve = np.array([[a, b], [b, c]])
        is_peak = a < 0 and np.linalg.det(curve) > 0
        step = np.clip(np.linalg.solve(curve, np.negative(first)), -3, 3) if is_peak else np.zeros(2)
        return float(np.diff(ends[top] + step * (ends[1] - ends[0]))[0] / (far - near))

    n = len(np.unique(subjects))
    found = slope(np.ones(len(distance), dtype=bool))
    reach = _quantile(confidence_level, n - 1) * _jackknife_error(slope, subjects)
    return Gradient(found, float(found - reach), float(found + reach), len(distance), n)


def place_order(peak: xr.DataArray, channels: pd.DataFrame) -> xr.DataArray:
    """How well do channels' places tell their peak layers?

    Where distances from auditory cortex are known, Spearman's correlation with them over the channels that have one;
    where no distance is known, the share of the peaks' variance that lies between regions. Both are descriptions: take
    the same of every roll of the content (`ridge.content_null`) to know what chance gives.

    Parameters
    ----------
    peak : DataArray of shape (..., channel)
        Peak layers, with the coordinates `subject` and `region` of the channels, such as `Story.responses` has.
    channels : DataFrame [subject, region, distance_pmc]
        Of the data set: the same channels; those of one person and region in the same order.

    Returns
    -------
    DataArray of shape (...)
        0 where all peaks are the same.

    Raises
    ------
    ValueError
        If the channels differ.
    """
    by = ["subject", "region"]
    place = channels[[*by, "distance_pmc"]].astype(dict.fromkeys(by, str)).sort_values(by, kind="stable")
    here = pd.DataFrame({name: peak[name].to_numpy() for name in by}).astype(str).sort_values(by, kind="stable")
    if not np.array_equal(here[by], place[by]):
        raise ValueError("peak, channels: expected the same subjects and regions in both.")
    peak = peak.transpose(..., "channel")
    values, distance = peak.to_numpy()[..., here.index].astype(float), place["distance_pmc"].to_numpy(float)
    known = np.isfinite(distance)
    if known.any():
        values, place_of = rankdata(values[..., known], axis=-1), rankdata(distance[known])[:, None]
    else:
        place_of = pd.get_dummies(place["region"]).to_numpy(float)
    values, place_of = values - values.mean(-1, keepdims=True), place_of - place_of.mean(0)
    total = (values**2).sum(-1)
    if known.any():
        told = values @ place_of[:, 0] / np.sqrt((place_of**2).sum())
        scale = np.sqrt(total)
    else:
        told = ((values @ place_of @ np.linalg.pinv(place_of)) ** 2).sum(-1)
        scale = total
    others = {name: c for name, c in peak.coords.items() if "channel" not in c.dims}
    return xr.DataArray(np.where(total > 0, told / np.where(total > 0, scale, 1), 0.0), others, peak.dims[:-1])


def context_horizon(
    predictions: xr.DataArray,
    responses: xr.DataArray,
    *,
    n_splits: int,
    n_blocks: int = 20,
    confidence_level: float = 0.95,
    n_draws: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Find the context length at which each channel is predicted best, and how sure that is.

    The score of a context is that of its best layer. Its uncertainty, and that of the difference between two contexts,
    comes from leaving out one block of samples after the other, with the choice of the layer repeated each time (a
    jackknife of Fisher-transformed correlations). Predictions of one fold were fitted to the responses of the others,
    so that the folds' scores are not independent and a plain jackknife is too sure: on noise it calls one difference in
    eight significant at 5 %. Its variance is therefore multiplied by 1 + n_splits / (n_splits - 1).

    Parameters
    ----------
    predictions : DataArray of shape (context, layer, word, channel) or (context, word, channel)
        Held-out predictions of `ridge.cross_validate`, from features with different context lengths in words (inf
        for all). The sample and channel dimensions have the names they have in `responses`.
    responses : DataArray of shape (word, channel)
        What was predicted.
    n_splits : int
        Number of outer folds from which the predictions come.
    n_blocks : int
        Number of contiguous blocks of the jackknife. Blocks must be long beside the responses' autocorrelation.
    confidence_level : float
        Coverage of the intervals.
    n_draws : int
        Number of sets of scores that are drawn around the observed ones for the interval of the best context.
    seed : int

    Returns
    -------
    Dataset
        ``score`` and its standard ``error`` (context, channel), Pearson r of the best layer; and, for each channel,
        ``best``, the context with the highest score, with its interval from ``low`` to ``high``: the central share
        `confidence_level` of the best contexts over the draws; ``enough``, the shortest context that is no more than
        one standard error (of the difference) below the best, which suits responses that a longer context does not
        predict worse;
        ``p``, one-sided: does any longer context predict better than the shortest one? It takes the number of contexts
        into account (Simes 1986) and says nothing about whether the channel is predicted at all.

    Raises
    ------
    ValueError
        Mismatched or missing dimensions, fewer than two contexts, non-finite or flat values, too few blocks.

    References
    ----------
    Nadeau & Bengio (2003), Machine Learning 52, section 3, for the variance of cross-validated scores. Simes (1986),
    Biometrika 73. The rule of one standard error: Breiman, Friedman, Olshen & Stone (1984), Classification and
    Regression Trees, section 3.4.3.
    """
    predictions, y = _checked_predictions(predictions, responses)
    if int(n_splits) != n_splits or n_splits < 2:
        raise ValueError(f"n_splits must be the number of outer folds, at least 2, got {n_splits!r}.")
    if not 0 < confidence_level < 1 or n_draws < 1:
        raise ValueError(
            f"confidence_level must lie between 0 and 1 and n_draws be positive, got {confidence_level!r}, {n_draws!r}."
        )
    if not 5 <= n_blocks <= len(y) // 5:
        raise ValueError(f"n_blocks must be from 5 to {len(y) // 5} for {len(y)} samples, got {n_blocks!r}.")
    starts = np.linspace(0, len(y), int(n_blocks), endpoint=False).astype(int)
    contexts = predictions["context"].to_numpy().astype(float)

    y = y - y.mean(0)
    z, without = zip(*(_without_blocks(part.to_numpy(), y, starts) for part in predictions), strict=True)
    z, without = np.stack(z), np.stack(without, axis=1)  # (context, channel), (block, context, channel)
    spread = without - without.mean(0)
    spread *= np.sqrt((n_blocks - 1) / n_blocks * (1 + n_splits / (n_splits - 1)))

    gain, gain_error = z[1:] - z[0], _length(spread[:, 1:] - spread[:, :1])
    # A layer that holds no context, such as the input embedding, gives no difference and no error.
    t = np.divide(gain, gain_error, out=np.zeros_like(gain), where=gain_error > 0)
    p = np.sort(scipy.stats.t.sf(t, n_blocks - 1), axis=0)
    p = (p * len(p) / np.arange(1, len(p) + 1)[:, None]).min(0)

    best = z.argmax(0)
    to_best = np.take_along_axis(spread, best[None, None], axis=1) - spread
    enough = (z.max(0) - z <= _length(to_best)).argmax(0)
    steps = np.random.default_rng(seed).standard_normal((n_draws, n_blocks))
    drawn = (z + np.tensordot(steps, spread, axes=1)).argmax(1)
    reach = np.quantile(
        drawn, [(1 - confidence_level) / 2, (1 + confidence_level) / 2], axis=0, method="inverted_cdf"
    ).astype(int)

    channel_dim = responses.dims[1]
    channel = {name: coord for name, coord in responses.coords.items() if coord.dims == (channel_dim,)}
    dims = ("context", channel_dim)
    found = {
        "score": (dims, np.tanh(z)),
        "error": (dims, _length(spread) * (1 - np.tanh(z) ** 2)),
        "best": (channel_dim, contexts[best]),
        "low": (channel_dim, contexts[reach[0]]),
        "high": (channel_dim, contexts[reach[1]]),
        "enough": (channel_dim, contexts[enough]),
        "p": (channel_dim, p),
    }
    return xr.Dataset(found, coords={"context": contexts} | channel)


def _length(spread: np.ndarray) -> np.ndarray:
    return np.sqrt((spread**2).sum(0))


def _without_blocks(predicted: np.ndarray, y: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's z of the best layer, of shape (channel), and the same without each block, (block, channel)."""
    predicted = predicted.astype(float)
    predicted -= predicted.mean(1, keepdims=True)
    count = np.diff(np.append(starts, len(y)))[:, None]

    def blocks(values: np.ndarray, axis: int) -> np.ndarray:
        """The total, and what is left of it without each block, along a new first axis."""
        parts = np.moveaxis(np.add.reduceat(values, starts, axis=axis), axis, 0)
        total = parts.sum(0, keepdims=True)
        return np.concatenate([total, total - parts])

    n = np.concatenate([[[len(y)]], len(y) - count])
    y1, y2 = blocks(y, 0), blocks(y * y, 0)
    best = np.full_like(y1, -np.inf)
    for layer in predicted:
        x1, x2, xy = blocks(layer, 0), blocks(layer * layer, 0), blocks(layer * y, 0)
        x_left, y_left = x2 - x1 * x1 / n, y2 - y1 * y1 / n
        still = (x_left <= 1e-9 * x2[0]) | (y_left <= 1e-9 * y2[0])
        if still.any():
            raise ValueError(
                f"predictions, responses: {int(still.any(0).sum())} channels vary in one block only, so that none is "
                "left without it; leave them out."
            )
        np.maximum(best, (xy - x1 * y1 / n) / np.sqrt(x_left * y_left), out=best)
    z = np.arctanh(best.clip(-1 + 1e-9, 1 - 1e-9))
    return z[0], z[1:]


def _checked_predictions(predictions: xr.DataArray, responses: xr.DataArray) -> tuple[xr.DataArray, np.ndarray]:
    """Predictions as (context, layer, word, channel) in ascending order of context, and responses."""
    if not isinstance(responses, xr.DataArray) or responses.ndim != 2:
        raise ValueError(f"responses must be a DataArray of shape (word, channel), got {np.shape(responses)}.")
    if not isinstance(predictions, xr.DataArray) or set(predictions.dims) - {"layer"} != {"context", *responses.dims}:
        raise ValueError(
            f"predictions must be a DataArray with the dimensions {('context', 'layer', *responses.dims)}, got "
            f"{getattr(predictions, 'dims', type(predictions))}."
        )
    if "layer" not in predictions.dims:
        predictions = predictions.expand_dims("layer")
    predictions = predictions.transpose("context", "layer", *responses.dims)
    if predictions.shape[2:] != responses.shape:
        raise ValueError(
            f"predictions and responses must have as many samples and channels, got {predictions.shape[2:]} and "
            f"{responses.shape}."
        )
    for dim in responses.dims:
        labels = [a.indexes[dim] for a in (predictions, responses) if dim in a.indexes]
        if len(labels) == 2 and not labels[0].equals(labels[1]):
            raise ValueError(f"predictions and responses label their {dim} differently; align them.")
    contexts = predictions["context"].to_numpy().astype(float) if "context" in predictions.coords else np.array([])
    if len(contexts) < 2 or not (contexts >= 1).all() or len(set(contexts)) < len(contexts):
        raise ValueError(
            f"predictions must hold at least two different context lengths in words, got {contexts.tolist()}."
        )
    for name, array in (("predictions", predictions), ("responses", responses)):
        bad = ~np.isfinite(array)
        if bad.any():
            raise ValueError(
                f"{name} has {int(bad.sum())} non-finite values; leave out samples that were not tested, and channels "
                "with missing responses."
            )
        sample = responses.dims[:1]
        flat = (array.max(sample) == array.min(sample)).any(set(array.dims) - set(responses.dims))
        if flat.any():
            raise ValueError(f"{name} is flat (constant) in {int(flat.sum())} channels; leave them out.")
    return predictions.sortby("context"), responses.to_numpy().astype(float)


def _checked(peak: ArrayLike, distance: ArrayLike, subjects: ArrayLike | None) -> tuple[np.ndarray, ...]:
    peak, distance = np.asarray(peak, dtype=float), np.asarray(distance, dtype=float)
    subjects = np.arange(len(peak)) if subjects is None else np.asarray(subjects)
    if not len(peak) == len(distance) == len(subjects):
        raise ValueError(f"peak, distance, subjects: lengths differ, {len(peak)}, {len(distance)} and {len(subjects)}.")
    if not (np.isfinite(peak).all() and np.isfinite(distance).all()):
        raise ValueError("peak, distance: non-finite values; drop the channels without a distance or a peak.")
    _check_named(subjects)
    n_people = len(np.unique(subjects))
    if len(peak) < 4 or n_people < 3:
        raise ValueError(f"peak: expected at least four channels of three people, got {len(peak)} of {n_people}.")
    return peak, distance, subjects


def _quantile(confidence_level: float, degrees: int) -> float:
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level: expected a number between 0 and 1, such as 0.95, got {confidence_level!r}."
        )
    return float(student_t.ppf((1 + confidence_level) / 2, degrees))


def _check_named(subjects: np.ndarray) -> None:
    if pd.isna(subjects).any():
        raise ValueError(f"subjects: {int(pd.isna(subjects).sum())} channels have no person; name one for each.")


def _fisher(a: np.ndarray, b: np.ndarray) -> float:
    """Fisher transform of the Spearman correlation."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("peak, distance: values are all the same, with or without one of the people; no correlation.")
    r = np.corrcoef(rankdata(a), rankdata(b))[0, 1]
    return np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))  # a perfect order would be infinite


def _jackknife_error(statistic: Callable[[np.ndarray], float], subjects: np.ndarray) -> float:
    """Standard error of a function of a mask over channels, from leaving out one person at a time."""
    names = np.unique(subjects)
    without = np.array([statistic(subjects != name) for name in names])
    return np.sqrt((len(names) - 1) * without.var())
