"""Which layer, and how much context, fits a channel best, and whether either follows the cortical hierarchy.

Channels of one person are no independent samples. With the eight to twenty people of intracranial studies, intervals
(95 %) use Student's t with one degree of freedom less than there are people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline
from scipy.stats import rankdata
from scipy.stats import t as student_t

from brainalign._checks import finite, labelled, one_of, shaped, varying, whole
from brainalign.stats import Estimate, pearson


def peak_layer(score: xr.DataArray) -> xr.DataArray:
    """The layer with the highest `score` (layer, channel) in each channel, the lowest of those that tie."""
    finite("score", score)
    found: Any = score.idxmax("layer") if "layer" in score.coords else score.argmax("layer")
    return found


def alignment(
    peak: ArrayLike,
    distance: ArrayLike,
    *,
    subjects: ArrayLike | None = None,
    method: Literal["jackknife", "bootstrap"] = "jackknife",
    n_resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Do peak layers grow with distance along the cortex?

    Spearman correlation over channels. Its Fisher transform gets a standard error over people (Efron & Tibshirani 1993,
    An Introduction to the Bootstrap, chapter 11) and an interval by the quantiles of Student's t, where the plain
    quantiles of a bootstrap over so few are too narrow. The interval is for the rank correlation of *estimated* peaks
    with distance: noise scatters peaks and shrinks it (``book/simulations/layer_order.csv``). See `layer_gradient`.

    Parameters
    ----------
    peak, distance : array of shape (channel)
        Peak layer and distance in mm, geodesic or Euclidean, or any other two measures.
    subjects : array of shape (channel), optional
        The person each channel belongs to. Without it every channel counts as a person of its own.
    method : {"jackknife", "bootstrap"}
        Leave out one whole person at a time, or draw whole people with replacement.
    n_resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    Estimate
        `n` is the number of people.
    """
    one_of("method", method, ("jackknife", "bootstrap"))
    peak, distance, subjects = _checked(peak, distance, subjects)

    def fisher(kept: np.ndarray) -> float:
        return _fisher(peak[kept], distance[kept])

    z, error, n = _jackknife(fisher, subjects)
    if method == "bootstrap":
        members, rng = [np.flatnonzero(subjects == name) for name in np.unique(subjects)], np.random.default_rng(seed)
        drawn = (rng.integers(n, size=n) for _ in range(n_resamples))
        copies = [fisher(np.concatenate([members[k] for k in draw])) for draw in drawn]
        error = np.std(copies) * np.sqrt(n / (n - 1))
    return _interval(z, error, n, np.tanh)


def alignment_difference(
    peak: ArrayLike, distance: ArrayLike, other: ArrayLike, *, subjects: ArrayLike | None = None
) -> Estimate:
    """Does `distance` order the peak layers better than `other` does, another measure of shape (channel)?

    Arguments as in `alignment`; of the difference of both Spearman correlations, with a jackknife over people.
    """
    _, other, _ = _checked(peak, other, subjects)
    peak, distance, subjects = _checked(peak, distance, subjects)

    def difference(kept: np.ndarray) -> float:
        return np.tanh(_fisher(peak[kept], distance[kept])) - np.tanh(_fisher(peak[kept], other[kept]))

    return _interval(*_jackknife(difference, subjects))


def crossed_order(
    score: xr.DataArray,
    distance: ArrayLike,
    *,
    subjects: ArrayLike | None = None,
    along: Literal["layer", "context"] = "layer",
    fixed: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Do peak layers follow distance whatever the context, or best contexts whatever the layer?

    Channels that all follow one layer of the model, but more and more words, have peak layers that grow with distance
    at any fixed longer context. Here the order has to show at *every* fixed context, and where each channel has the
    context that suits it best (the peak of its layer-by-context grid). That is an intersection-union test (Berger & Hsu
    1996, Statistical Science 11): the row with the largest p decides, without correction for their number. Name in
    `fixed` those at which an order can show, such as contexts of four words or more, or nothing is ever called.

    Parameters
    ----------
    score : DataArray of shape (context, layer, channel), in any order of dimensions
    distance, subjects : array of shape (channel)
        As in `alignment`.
    along : {"layer", "context"}
        What is ordered; the other is held fixed.
    fixed : sequence of float, optional
        Values of the other dimension at which the order has to show; default all. "free" takes them all in any case.

    Returns
    -------
    DataFrame
        One row for each fixed value, and the row "free", with `r`, the Spearman correlation of the place of the best
        score with distance (NaN where all peaks are the same); its interval from `low` to `high` over people; and `p`,
        one-sided against no order or a falling one. The order is called at 5 % if no p exceeds 0.05.
    """
    one_of("along", along, ("layer", "context"))
    finite("score", shaped("score", score.transpose("context", "layer", ...), "context", "layer", "channel"))
    (other,) = {"context", "layer"} - {along}
    score = score.sortby(along)
    known = score[other].values.tolist()
    values = known if fixed is None else [one_of("fixed", value, known) for value in fixed]
    rows: dict[Any, Any] = {value: score.sel({other: value}) for value in values}
    rows["free"] = score.max(other)
    peaks = {name: part.argmax(along).to_numpy() for name, part in rows.items()}
    _, distance, subjects = _checked(peaks["free"], distance, subjects)

    def order(place: np.ndarray) -> list[float]:
        if any(np.ptp(place[subjects != name]) == 0 for name in np.unique(subjects)):
            return [np.nan, np.nan, np.nan, 1.0]
        z, error, n = _jackknife(lambda kept: _fisher(place[kept], distance[kept]), subjects)
        found = _interval(z, error, n, np.tanh)
        return [found.value, found.low, found.high, student_t.sf(z / error, n - 1)]

    table = {name: order(place) for name, place in peaks.items()}
    return pd.DataFrame(table, index=["r", "low", "high", "p"]).T.rename_axis(other)


def layer_gradient(score: xr.DataArray, distance: ArrayLike, *, subjects: ArrayLike | None = None) -> Estimate:
    """By how many layers a mm does the best layer grow with distance, without choosing a layer in any channel?

    The best layer of a noisy channel scatters over all layers, so that any correlation or slope of *peaks* shrinks with
    noise. Here the layer is a straight line over distance, cut at the first and the last layer, and that line is sought
    along which the channels' scores have the highest sum: noise widens the interval and does not shrink the slope. A
    bias of 1.6 % leaves 95 % intervals a coverage of 81 to 91 % (``book/simulations/layer_order.csv``). At one fixed
    context a growing window gives a gradient, too, as it gives an order of peaks (see `crossed_order`).

    The line is sought on a grid of layers at the distances' first and ninth tenth, three times as wide as the model,
    and refined by a parabola through the 49 lines around the best. Between layers, scores follow a cubic spline.

    Parameters
    ----------
    score : DataArray of shape (layer, channel) or (context, layer, channel), in any order of dimensions
        With a context dimension each channel has, at each layer, the context that suits it best.
    distance, subjects : array of shape (channel)
        As in `alignment`, by jackknife; with another unit than mm the slope is one of that unit.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        For scores without layer numbers in ascending order, or distances that hardly differ.
    """
    score = score.max("context") if "context" in score.dims else score
    layers = np.asarray(score["layer"], dtype=float) if "layer" in score.coords and score.ndim == 2 else np.array([])
    if len(layers) < 3 or (np.diff(layers) <= 0).any():
        raise ValueError(f"score: expected (layer, channel) with three ascending layers or more, got {score.sizes}.")
    values = finite("score", score.transpose("layer", ...))
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

    return _interval(*_jackknife(slope, subjects))


def place_order(peak: xr.DataArray, channels: pd.DataFrame) -> xr.DataArray:
    """How well do channels' places tell their peak layers?

    Where distances from auditory cortex are known, Spearman's correlation with them over the channels that have one;
    where no distance is known, the share of the peaks' variance that lies between regions. Both are descriptions: take
    the same of every roll of the content (`ridge.content_null`) to know what chance gives.

    `peak`, of shape (..., channel), has the coordinates `subject` and `region`, such as `Story.responses` has;
    `channels` [subject, region, distance_pmc] are the same channels, those of one person and region in the same order.
    Gives shape (...), 0 where all peaks are the same.
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
        told = pearson(rankdata(values[..., known], axis=-1), rankdata(distance[known]), axis=-1)
    else:
        region = pd.get_dummies(place["region"]).to_numpy(float)
        told = pearson(values, values @ region / region.sum(0) @ region.T, axis=-1) ** 2
    others = {name: c for name, c in peak.coords.items() if "channel" not in c.dims}
    return xr.DataArray(np.nan_to_num(told), others, peak.dims[:-1])


def context_horizon(
    predictions: xr.DataArray, responses: xr.DataArray, *, n_splits: int, n_blocks: int = 20, seed: int = 0
) -> xr.Dataset:
    """Find the context length at which each channel is predicted best, and how sure that is.

    The score of a context is that of its best layer. Its uncertainty, and that of the difference between two contexts,
    comes from leaving out one block of samples after the other, with the choice of the layer repeated each time (a
    jackknife of Fisher-transformed correlations). Predictions of one fold were fitted to the responses of the others,
    so that a plain jackknife is too sure: on noise it calls one difference in eight significant at 5 %. Its variance is
    multiplied by 1 + n_splits / (n_splits - 1) (Nadeau & Bengio 2003, Machine Learning 52, section 3).

    Parameters
    ----------
    predictions : DataArray of shape (context, layer, word, channel) or (context, word, channel)
        Held-out predictions of `ridge.cross_validate`, from features with different context lengths in words (inf
        for all). The sample and channel dimensions have the names they have in `responses`.
    responses : DataArray of shape (word, channel)
    n_splits : int
        Number of outer folds from which the predictions come.
    n_blocks : int
        Number of contiguous blocks of the jackknife. Blocks must be long beside the responses' autocorrelation.
    seed : int

    Returns
    -------
    Dataset
        ``score`` and its standard ``error`` (context, channel), Pearson r of the best layer; and, for each channel,
        ``best``, the context with the highest score, with its interval from ``low`` to ``high``: the central 95 % of
        the best contexts over 1000 sets of scores drawn around the observed ones; ``enough``, the shortest context no
        more than one standard error of the difference below the best (Breiman et al. 1984, section 3.4.3), which suits
        responses that a longer context does not predict worse; ``p``, one-sided: does any longer context predict better
        than the shortest one? It takes the number of contexts into account (Simes 1986, Biometrika 73) and says nothing
        about whether the channel is predicted at all.
    """
    predictions, y = _checked_predictions(predictions, responses)
    whole("n_splits", n_splits, 2)
    starts = np.linspace(0, len(y), whole("n_blocks", n_blocks, 5, len(y) // 5), endpoint=False).astype(int)
    contexts = predictions["context"].to_numpy().astype(float)

    y = y - y.mean(0)
    z, without = zip(*(_without_blocks(part.to_numpy(), y, starts) for part in predictions), strict=True)
    z, without = np.stack(z), np.stack(without, axis=1)  # (context, channel), (block, context, channel)
    spread = without - without.mean(0)
    spread *= np.sqrt((n_blocks - 1) / n_blocks * (1 + n_splits / (n_splits - 1)))

    gain, gain_error = z[1:] - z[0], np.linalg.norm(spread[:, 1:] - spread[:, :1], axis=0)
    # A layer that holds no context, such as the input embedding, gives no difference and no error.
    t = np.divide(gain, gain_error, out=np.zeros_like(gain), where=gain_error > 0)
    p = np.sort(student_t.sf(t, n_blocks - 1), axis=0)
    p = (p * len(p) / np.arange(1, len(p) + 1)[:, None]).min(0)

    best = z.argmax(0)
    to_best = np.take_along_axis(spread, best[None, None], axis=1) - spread
    enough = (z.max(0) - z <= np.linalg.norm(to_best, axis=0)).argmax(0)
    steps = np.random.default_rng(seed).standard_normal((1000, n_blocks))
    drawn = (z + np.tensordot(steps, spread, axes=1)).argmax(1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0, method="inverted_cdf").astype(int)

    channel_dim = responses.dims[1]
    channel = {name: coord for name, coord in responses.coords.items() if coord.dims == (channel_dim,)}
    error = np.linalg.norm(spread, axis=0) * (1 - np.tanh(z) ** 2)
    both = ("context", channel_dim)
    found = {"score": (both, np.tanh(z)), "error": (both, error), "p": (channel_dim, p)}
    for name, place in (("best", best), ("low", low), ("high", high), ("enough", enough)):
        found[name] = channel_dim, contexts[place]
    return xr.Dataset(found, coords={"context": contexts} | channel)


def _without_blocks(predicted: np.ndarray, y: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's z of the best layer, of shape (channel), and the same without each block, (block, channel)."""
    predicted = predicted.astype(float)
    predicted -= predicted.mean(1, keepdims=True)
    count = np.diff(np.append(starts, len(y)))[:, None]

    def blocks(values: np.ndarray) -> np.ndarray:
        """The total, and what is left of it without each block, along a new first axis."""
        parts = np.add.reduceat(values, starts)
        total = parts.sum(0, keepdims=True)
        return np.concatenate([total, total - parts])

    n = np.concatenate([[[len(y)]], len(y) - count])
    y1, y2 = blocks(y), blocks(y * y)
    best = np.full_like(y1, -np.inf)
    for layer in predicted:
        x1, x2, xy = blocks(layer), blocks(layer * layer), blocks(layer * y)
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
    shaped("responses", responses, "word", "channel")
    if set(predictions.dims) - {"layer"} != {"context", *responses.dims}:
        raise ValueError(
            f"predictions: expected the dimensions {('context', 'layer', *responses.dims)}, got {predictions.dims}."
        )
    if "layer" not in predictions.dims:
        predictions = predictions.expand_dims("layer")
    predictions = predictions.transpose("context", "layer", *responses.dims).sortby("context")
    xr.align(predictions, responses, join="exact")
    contexts = predictions["context"].to_numpy().tolist()
    if len(set(contexts)) < max(2, len(contexts)) or min(contexts) < 1:
        raise ValueError(f"predictions: expected two context lengths in words or more, all different, got {contexts}.")
    for name, array in (("predictions", predictions), ("responses", responses)):
        varying(name, finite(name, array, dtype=None), "channels")
    return predictions, responses.to_numpy().astype(float)


def _checked(peak: ArrayLike, distance: ArrayLike, subjects: ArrayLike | None) -> tuple[np.ndarray, ...]:
    peak = finite("peak", shaped("peak", peak, "channel"))
    n = whole("channels", len(peak), 4)
    subjects = np.arange(n) if subjects is None else labelled("subjects", subjects, n, least=3)
    return peak, finite("distance", shaped("distance", distance, n)), subjects


def _fisher(a: np.ndarray, b: np.ndarray) -> float:
    """Fisher transform of the Spearman correlation."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("peak, distance: values are all the same, with or without one of the people; no correlation.")
    r = np.corrcoef(rankdata(a), rankdata(b))[0, 1]
    return np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))  # a perfect order would be infinite


def _jackknife(statistic: Callable[[np.ndarray], float], subjects: np.ndarray) -> tuple[float, float, int]:
    """A function of a mask over channels, its standard error over people by leaving out one each, and their number."""
    names = np.unique(subjects)
    without = np.array([statistic(subjects != name) for name in names])
    return statistic(np.full(len(subjects), True)), np.sqrt((len(names) - 1) * without.var()), len(names)


def _interval(value: float, error: float, n: int, back: Callable[[np.ndarray], np.ndarray] = np.asarray) -> Estimate:
    """Student's t over people, brought back from the scale of the error."""
    value, low, high = back(value + student_t.ppf(0.975, n - 1) * error * np.array([0, -1, 1])).tolist()
    return Estimate(value, low, high, n)
