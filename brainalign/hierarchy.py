"""Which layer fits a channel best, when it answers, and whether either follows the cortical hierarchy.

Channels of one person are no independent samples. With the eight to twenty people of intracranial studies, intervals
use Student's t with one degree of freedom less than there are people.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.fft
import xarray as xr
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline
from scipy.linalg import toeplitz
from scipy.ndimage import gaussian_filter1d
from scipy.stats import rankdata
from scipy.stats import t as student_t
from statsmodels.regression.mixed_linear_model import MixedLM

from brainalign.stats import t_interval

LAG_PENALTIES = np.logspace(-5, 0, 6)
"""Ridge penalties of a temporal receptive field, as shares of the drive's sum of squares."""


class Alignment(NamedTuple):
    """Spearman correlation `r` of two measures over channels, and its interval from `low` to `high` over people."""

    r: float
    low: float
    high: float
    n_channels: int
    n_clusters: int


class Gradient(NamedTuple):
    """Layers a mm, `slope`, with its interval from `low` to `high` over people."""

    slope: float
    low: float
    high: float
    n_channels: int
    n_clusters: int


class MixedFit(NamedTuple):
    """Slope of a mixed model, its interval from `low` to `high`, and its p-value (two-sided)."""

    slope: float
    low: float
    high: float
    p: float
    random_slopes: bool
    n_channels: int
    n_clusters: int


class PeopleMean(NamedTuple):
    """Mean over people, and its interval from `low` to `high`."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_clusters: int


def peak_layer(score: xr.DataArray) -> xr.DataArray:
    """The layer with the highest score in each channel.

    Parameters
    ----------
    score : DataArray of shape (layer, channel)
        Such as `encoding.cross_validate(...).score`.

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
    clusters: ArrayLike | None = None,
    level: float = 0.95,
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
    clusters : array of shape (channel), optional
        The person each channel belongs to. Without it every channel counts as a person of its own.
    level : float
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
    peak, distance, clusters = _checked(peak, distance, clusters)
    names = np.unique(clusters)
    z = _fisher(peak, distance)
    if method == "jackknife":
        error = _jackknife_error(lambda kept: _fisher(peak[kept], distance[kept]), clusters)
    else:
        members, rng = [np.flatnonzero(clusters == name) for name in names], np.random.default_rng(seed)
        drawn = (rng.integers(len(names), size=len(names)) for _ in range(n_resamples))
        rows = (np.concatenate([members[k] for k in draw]) for draw in drawn)
        copies = [_fisher(peak[row], distance[row]) for row in rows]
        error = np.std(copies) * np.sqrt(len(names) / (len(names) - 1))
    reach = _quantile(level, len(names) - 1) * error
    r, low, high = np.tanh([z, z - reach, z + reach]).tolist()
    return Alignment(r, low, high, len(peak), len(names))


def alignment_difference(
    peak: ArrayLike, distance: ArrayLike, other: ArrayLike, *, clusters: ArrayLike | None = None, level: float = 0.95
) -> Alignment:
    """Does one distance order the peak layers better than another does?

    Parameters
    ----------
    peak, distance, other : array of shape (channel)
        Peak layer, and two measures such as geodesic and Euclidean distance (mm).
    clusters, level
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
    _, other, _ = _checked(peak, other, clusters)
    peak, distance, clusters = _checked(peak, distance, clusters)

    def difference(kept: np.ndarray) -> float:
        return np.tanh(_fisher(peak[kept], distance[kept])) - np.tanh(_fisher(peak[kept], other[kept]))

    n = len(np.unique(clusters))
    found = difference(np.ones(len(peak), dtype=bool))
    reach = _quantile(level, n - 1) * _jackknife_error(difference, clusters)
    return Alignment(float(found), float(found - reach), float(found + reach), len(peak), n)


def crossed_order(
    score: xr.DataArray,
    distance: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    along: Literal["layer", "context"] = "layer",
    fixed: Sequence[float] | None = None,
    level: float = 0.95,
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
        Such as the unstacked `score` of `encoding.cross_validate`.
    distance : array of shape (channel)
        mm, or any other measure.
    clusters, level
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
    _, distance, clusters = _checked(peaks["free"], distance, clusters)

    def order(place: np.ndarray) -> list[float]:
        names = np.unique(clusters)
        if any(np.ptp(place[clusters != name]) == 0 for name in names):
            return [np.nan, np.nan, np.nan, 1.0]
        z = _fisher(place, distance)
        error = _jackknife_error(lambda kept: _fisher(place[kept], distance[kept]), clusters)
        reach = _quantile(level, len(names) - 1) * error
        return [*np.tanh([z, z - reach, z + reach]), student_t.sf(z / error, len(names) - 1)]

    table = {name: order(place) for name, place in peaks.items()}
    return pd.DataFrame(table, index=["r", "low", "high", "p"]).T.rename_axis(other)


def layer_gradient(
    score: xr.DataArray, distance: ArrayLike, *, clusters: ArrayLike | None = None, level: float = 0.95
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
    clusters, level
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
    _, distance, clusters = _checked(values[0], distance, clusters)
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

    n = len(np.unique(clusters))
    found = slope(np.ones(len(distance), dtype=bool))
    reach = _quantile(level, n - 1) * _jackknife_error(slope, clusters)
    return Gradient(found, float(found - reach), float(found + reach), len(distance), n)


def place_order(peak: xr.DataArray, channels: pd.DataFrame) -> xr.DataArray:
    """How well do channels' places tell their peak layers?

    Where distances from auditory cortex are known, Spearman's correlation with them over the channels that have one;
    where no distance is known, the share of the peaks' variance that lies between regions. Both are descriptions: take
    the same of every roll of the content (`encoding.content_null`) to know what chance gives.

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


def mixed_model(peak: ArrayLike, distance: ArrayLike, clusters: ArrayLike, *, level: float = 0.95) -> MixedFit:
    """By how much does the peak layer grow with distance, with people as random effects?

    peak ~ distance, with an intercept and a slope for each person (statsmodels' MixedLM, restricted maximum
    likelihood); with the intercept alone where the slopes' variance cannot be estimated. The slope's standard error is
    held against Student's t with one degree of freedom less than there are people: statsmodels' normal quantiles are
    too narrow where slopes differ between few people. Where they do not differ, the test is conservative.

    Parameters
    ----------
    peak, distance : array of shape (channel)
        Peak layer; distance in mm.
    clusters : array of shape (channel)
        The person each channel belongs to.
    level : float
        Coverage of the interval.

    Returns
    -------
    MixedFit
        `slope` in layers a mm.

    Raises
    ------
    ValueError
        As in `alignment`, and where neither model converges.
    """
    peak, distance, clusters = _checked(peak, distance, clusters)
    if np.ptp(peak) == 0 or np.ptp(distance) == 0:
        raise ValueError("peak, distance: values are all the same; no slope.")
    scale = distance.std() / peak.std()
    design = np.column_stack([np.ones(len(peak)), (distance - distance.mean()) / distance.std()])
    for random, methods in ((design, ["lbfgs"]), (design[:, :1], ["powell"])):
        with warnings.catch_warnings():
            # What the warnings say (no convergence, a variance at zero) is checked below.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                fit = MixedLM(peak / peak.std(), design, clusters, exog_re=random).fit(reml=True, method=methods)
            except np.linalg.LinAlgError:
                continue
            error = fit.bse_fe[1]
        if fit.converged and np.isfinite(error) and error > 0:
            break
    else:
        raise ValueError("peak: the mixed model does not converge; use `alignment`.")
    n = len(np.unique(clusters))
    slope, error = fit.fe_params[1] / scale, error / scale
    reach = _quantile(level, n - 1) * error
    p = 2 * student_t.sf(abs(slope / error), n - 1)
    return MixedFit(
        float(slope), float(slope - reach), float(slope + reach), float(p), random.shape[1] == 2, len(peak), n
    )


def mean_over_people(values: ArrayLike, clusters: ArrayLike, *, level: float = 0.95) -> PeopleMean:
    """Mean of each person's mean over channels, with Student's t interval over people.

    Parameters
    ----------
    values : array of shape (channel, ...)
    clusters : array of shape (channel)
        The person each channel belongs to.
    level : float
        Coverage of the interval.

    Returns
    -------
    PeopleMean

    Raises
    ------
    ValueError
        For lengths that differ, non-finite values, or fewer than three people.
    """
    values, clusters = np.asarray(values, dtype=float), np.asarray(clusters)
    if len(values) != len(clusters):
        raise ValueError(f"values, clusters: lengths differ, {len(values)} and {len(clusters)}.")
    if not np.isfinite(values).all():
        raise ValueError(f"values: {int((~np.isfinite(values)).sum())} are not finite; drop those channels.")
    _check_named(clusters)
    names = np.unique(clusters)
    if len(names) < 3:
        raise ValueError(f"clusters: expected at least three people, got {len(names)}.")
    people = np.stack([values[clusters == name].mean(0) for name in names])
    return PeopleMean(*t_interval(people, level=level), len(names))


def word_drive(values: xr.DataArray, words: pd.DataFrame, time: ArrayLike) -> xr.DataArray:
    """One impulse a word, at its centre, as high as the word's value: what drives a response to words.

    Parameters
    ----------
    values : DataArray of shape (word,) or (word, channel)
        Such as held-out predictions of the word responses.
    words : DataFrame [onset, offset]
        s.
    time : array of shape (time,)
        s, evenly spaced.

    Returns
    -------
    DataArray of shape (time,) or (time, channel)
        Zero between words. The mean over words is taken off the values.

    Raises
    ------
    ValueError
        For lengths that differ, or words beyond the times.
    """
    time = np.asarray(time, dtype=float)
    if values.sizes["word"] != len(words):
        raise ValueError(f"values, words: lengths differ, {values.sizes['word']} and {len(words)}.")
    centres = (words["onset"] + words["offset"]).to_numpy(float) / 2
    steps = np.diff(time)
    if len(time) < 2 or (np.abs(steps - np.median(steps)) > 0.75 * np.median(steps)).any():  # times may be rounded
        raise ValueError("time: expected evenly spaced times without gaps; fill or cut the gaps.")
    if centres.min() < time[0] or centres.max() > time[-1]:
        raise ValueError("words: some lie beyond the times; both must share one clock in seconds.")
    frames = np.round(np.interp(centres, time, np.arange(len(time)))).astype(int)
    values = values.transpose("word", ...)
    impulses = np.zeros((len(time), *values.shape[1:]))
    np.add.at(impulses, frames, (values - values.mean("word")).to_numpy())
    coords = {"time": time} | {name: values[name] for name in values.coords if name in values.dims[1:]}
    return xr.DataArray(impulses, coords, ("time", *values.dims[1:]))


def response_lag(
    signal: xr.DataArray,
    drive: xr.DataArray,
    *,
    lags: tuple[float, float] = (-0.1, 0.5),
    n_blocks: int = 10,
    smooth: float = 0.03,
    level: float = 0.95,
) -> pd.DataFrame:
    """How long after its drive does a channel respond most?

    A temporal receptive field: ridge regression of the signal on the drive at every lag, whose highest weight marks the
    lag (a parabola through it and its neighbours gives fractions of a sample). The penalty is chosen, and the score
    measured, by leaving out one block of time at a time; the lag's interval is a jackknife over the blocks.

    Parameters
    ----------
    signal : DataArray of shape (time, channel)
        Evenly sampled; times in s.
    drive : DataArray of shape (time,) or (time, channel)
        The sound's envelope, onsets of words, or a drive for each channel (`word_drive`).
    lags : (float, float)
        First and last lag (s). The peak is only free to lie where it may if the range reaches beyond it on both sides.
    n_blocks : int
        Contiguous blocks of time of equal length.
    smooth : float
        The weights are smoothed over lags by a Gaussian of this standard deviation (s) before their peak is looked for:
        single weights are noisy, and the jackknife needs a peak that does not jump.
    level : float
        Coverage of the interval.

    Returns
    -------
    DataFrame [lag, low, high, score], index channel
        s; `score` is the Pearson correlation of held-out predictions. Where it is not above chance, or the interval is
        wide, the lag means nothing.

    Raises
    ------
    ValueError
        For lengths that differ, non-finite or flat channels, or blocks too short for the lags.

    References
    ----------
    Mischler et al. (2024) use the peak of a one-dimensional temporal receptive field as a second measure of depth.
    """
    signal = signal.transpose("time", "channel")
    y, x = signal.to_numpy().astype(float), drive.transpose("time", ...).to_numpy().astype(float)
    x = x[:, None] if x.ndim == 1 else x
    if len(x) != len(y) or x.shape[1] not in (1, y.shape[1]):
        raise ValueError(f"drive: expected shape ({len(y)},) or {y.shape}, got {drive.shape}.")
    for name, values in (("signal", y), ("drive", x)):
        if not np.isfinite(values).all() or (np.ptp(values, axis=0) == 0).any():
            raise ValueError(f"{name}: channels that are not finite or never change; drop them.")
    step = float(np.median(np.diff(signal["time"].to_numpy())))
    shifts = np.arange(round(lags[0] / step), round(lags[1] / step) + 1)
    if len(shifts) < 3 or n_blocks < 3 or len(y) < 2 * n_blocks * len(shifts):
        raise ValueError(
            f"lags, n_blocks: {len(y)} samples cannot be cut into n_blocks={n_blocks} (at least 3) blocks of twice the "
            f"{len(shifts)} lags (at least 3)."
        )
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0)

    auto, cross, power = [], [], []
    for rows in np.array_split(np.arange(len(y)), n_blocks):
        n = scipy.fft.next_fast_len(len(rows) + np.abs(shifts).max() + len(shifts), real=True)
        fx, fy = (scipy.fft.rfft(a[rows], n, axis=0) for a in (x, y))
        auto.append(scipy.fft.irfft(np.abs(fx) ** 2, n, axis=0)[: len(shifts)])
        cross.append(scipy.fft.irfft(np.conj(fx) * fy, n, axis=0)[shifts])
        power.append((y[rows] ** 2).sum(0))
    # (block, channel, lag, lag), (block, channel, lag), (block, channel)
    auto = np.stack([[toeplitz(column) for column in block.T] for block in auto])
    cross, power = np.stack(cross).transpose(0, 2, 1), np.stack(power)

    def fields(block: int | None, penalty: np.ndarray) -> np.ndarray:
        """Weights (channel, lag) without one block."""
        a, b = (total.sum(0) - (0 if block is None else total[block]) for total in (auto, cross))
        ridge = penalty[:, None, None] * np.eye(len(shifts)) * a[:, :1, :1]
        return np.linalg.solve(a + ridge, b[..., None])[..., 0]

    def peaks(block: int | None) -> np.ndarray:
        return _peak(gaussian_filter1d(fields(block, LAG_PENALTIES[best]), smooth / step, axis=1), shifts) * step

    n_channels = y.shape[1]
    held_out = []  # for each penalty: covariance and variance of held-out predictions (channel)
    for penalty in LAG_PENALTIES:
        weights = np.stack([fields(block, np.full(n_channels, penalty)) for block in range(n_blocks)])
        variance = np.einsum("bci,bcij,bcj->c", weights, np.broadcast_to(auto, (*weights.shape, len(shifts))), weights)
        held_out.append((np.einsum("bci,bci->c", weights, cross), variance))
    covariance, variance = np.stack(held_out).transpose(1, 0, 2)
    best = (variance - 2 * covariance).argmin(0)
    at = best, np.arange(n_channels)
    score = covariance[at] / np.sqrt(variance[at] * power.sum(0))

    lag, without = peaks(None), np.stack([peaks(block) for block in range(n_blocks)])
    error = np.sqrt((n_blocks - 1) * without.var(0))
    reach = _quantile(level, n_blocks - 1) * error
    return pd.DataFrame(
        {"lag": lag, "low": lag - reach, "high": lag + reach, "score": score},
        index=pd.Index(signal["channel"].to_numpy(), name="channel"),
    )


def _peak(weights: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Where each row is highest, between samples."""
    top = weights.argmax(1)
    inside = top.clip(1, weights.shape[1] - 2)
    before, here, after = (weights[np.arange(len(weights)), inside + k] for k in (-1, 0, 1))
    curvature = before - 2 * here + after
    offset = np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature < 0, curvature, 1.0), 0.0)
    return np.where(top == inside, shifts[inside] + offset, shifts[top])


def _checked(peak: ArrayLike, distance: ArrayLike, clusters: ArrayLike | None) -> tuple[np.ndarray, ...]:
    peak, distance = np.asarray(peak, dtype=float), np.asarray(distance, dtype=float)
    clusters = np.arange(len(peak)) if clusters is None else np.asarray(clusters)
    if not len(peak) == len(distance) == len(clusters):
        raise ValueError(f"peak, distance, clusters: lengths differ, {len(peak)}, {len(distance)} and {len(clusters)}.")
    if not (np.isfinite(peak).all() and np.isfinite(distance).all()):
        raise ValueError("peak, distance: non-finite values; drop the channels without a distance or a peak.")
    _check_named(clusters)
    n_people = len(np.unique(clusters))
    if len(peak) < 4 or n_people < 3:
        raise ValueError(f"peak: expected at least four channels of three people, got {len(peak)} of {n_people}.")
    return peak, distance, clusters


def _quantile(level: float, degrees: int) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, such as 0.95, got {level!r}.")
    return float(student_t.ppf((1 + level) / 2, degrees))


def _check_named(clusters: np.ndarray) -> None:
    if pd.isna(clusters).any():
        raise ValueError(f"clusters: {int(pd.isna(clusters).sum())} channels have no person; name one for each.")


def _fisher(a: np.ndarray, b: np.ndarray) -> float:
    """Fisher transform of the Spearman correlation."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("peak, distance: values are all the same, with or without one of the people; no correlation.")
    r = np.corrcoef(rankdata(a), rankdata(b))[0, 1]
    return np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))  # a perfect order would be infinite


def _jackknife_error(statistic: Callable[[np.ndarray], float], clusters: np.ndarray) -> float:
    """Standard error of a function of a mask over channels, from leaving out one person at a time."""
    names = np.unique(clusters)
    without = np.array([statistic(clusters != name) for name in names])
    return np.sqrt((len(names) - 1) * without.var())
