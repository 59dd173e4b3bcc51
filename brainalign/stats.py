"""Statistics of alignment: noise ceilings, chance levels, multiple comparisons, and intervals."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
import xarray as xr
from numpy.typing import ArrayLike

from brainalign._checks import finite, labelled, one_of, shaped, varying, whole, within


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; prints as "0.25 (0.18 to 0.31)".

    Parameters
    ----------
    value, low, high : float or array of any shape
        Arrays have one shape, and an index takes one estimate out.
    n : int, optional
        How many independent units (people, items, stretches) the interval is over.
    """

    value: Any
    low: Any
    high: Any
    n: int | None = None

    def __getitem__(self, index: Any) -> Estimate:
        value, low, high = (np.asarray(part)[index] for part in (self.value, self.low, self.high))
        return Estimate(value, low, high, self.n)

    def __format__(self, spec: str) -> str:
        if np.ndim(self.value):
            raise ValueError("An Estimate of arrays has no text; take one out by its index.")
        if not spec:  # as many decimals as half the interval has to say
            half = abs(float(self.high) - float(self.low)) / 4
            spec = f".{max(0, -int(np.floor(np.log10(half)))) if 0 < half < np.inf else 2}f"
        texts = [f"{float(part):{spec}}" for part in (self.value, self.low, self.high)]
        value, low, high = (text if text.strip("-0.") else text.lstrip("-") for text in texts)  # no "-0.00"
        return f"{value} ({low} to {high})"

    def __str__(self) -> str:
        return repr(self) if np.ndim(self.value) else format(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def fdr(p: ArrayLike, q: float = 0.05) -> tuple[Any, Any]:
    """Control the false discovery rate over all values of `p` together (Benjamini & Hochberg 1995, equation 1).

    Gives, in the shape of `p` and as DataArrays for a DataArray, which hypotheses are rejected at `q`, and the smallest
    `q` at which each would be.
    """
    values = finite("p", p)
    adjusted = scipy.stats.false_discovery_control(values.ravel()).reshape(values.shape)
    rejected = adjusted <= within("q", q)
    return (p.copy(data=rejected), p.copy(data=adjusted)) if isinstance(p, xr.DataArray) else (rejected, adjusted)


def noise_ceiling(repeats: xr.DataArray, dim: str = "repeat", *, over: str | None = None) -> xr.Dataset:
    """Find how well the mean over repeats could be predicted at best.

    The ceiling of one channel is a root and never negative: mere noise has 0.16 on average (3 repeats of 100 samples),
    and channels of little signal too little (0.30 where 0.36 is right, at a signal-to-noise ratio of 0.05). `over`
    takes the mean before, and gives the mean ceiling of channels that are *alike*; for others it is too high, by half
    where half of them hold no signal, so that shares of it are lower bounds.

    Parameters
    ----------
    repeats : DataArray of shape (repeat, word, channel) or (repeat, word)
        Responses to the same stimuli again and again. After `dim`, the first dimension holds the samples.
    dim : str
    over : str, optional
        Of channels, such as the vertices of a region: their reliabilities are averaged first, to one ceiling.

    Returns
    -------
    Dataset
        For each channel, or one `over` all of them: ``reliability``, the mean correlation of two repeats;
        ``reliability_of_mean``, that of the mean over all repeats (Spearman 1910, Brown 1910); and ``ceiling``, its
        square root: the correlation with that mean that a noiseless prediction has (Spearman 1904). The latter two are
        0 where the reliability is not positive.
    """
    n = whole("repeats", repeats.sizes[one_of("dim", dim, repeats.dims)], 2)
    others: list[Any] = [name for name in repeats.dims if name != dim]
    sample, *channels = others
    n_samples = whole("samples", repeats.sizes[sample], 3)
    if over is not None:
        one_of("over", over, channels)
    values = finite("repeats", repeats.transpose(dim, sample, ...), dtype=None).reshape(n, n_samples, -1)
    varying("repeats", values, "channels", repeats.get_index(channels[0]) if len(channels) == 1 else None)
    z = (repeats - repeats.mean(sample)) / repeats.std(sample)
    # The variance of the sum of n standard scores is n plus the sum of their n (n - 1) correlations.
    reliability = ((z.sum(dim) ** 2).mean(sample) - n) / (n * (n - 1))
    reliability = reliability if over is None else reliability.mean(over)
    positive = reliability.clip(min=0)
    of_mean = n * positive / (1 + (n - 1) * positive)
    return xr.Dataset({"reliability": reliability, "reliability_of_mean": of_mean, "ceiling": np.sqrt(of_mean)})


@dataclass(frozen=True)
class Shifts:
    """Chance by circular shifts, each passage by its own random amount: samples keep their rhythm and lose their text.

    Passages too short to be shifted, such as the sentences of an experiment, are exchanged whole with others of the
    same length (`PermuteGroups`), and stay in place where there is none, which makes a test careful.

    Parameters
    ----------
    n, seed : int
        How many; where long passages alone allow no more than `n` different shifts, each is taken once.
    min_shift : int
        Least shift in samples, forwards and backwards. Take it longer than the autocorrelation of the responses.
    together : bool
        In `ridge.cross_validate`, one shift for all channels, so that what channels share stays shared: for channels
        that are averaged, or that share more than their response to language. Otherwise each channel has its own.
    """

    n: int = 100
    min_shift: int = 1
    together: bool = False
    seed: int = 0

    def orders(self, n_samples: int, groups: ArrayLike | None = None) -> np.ndarray:
        """The sample that stands at each place, of shape (draw, sample): ``responses[orders[i]]``.

        `groups` (sample,) names the passage of each sample, in contiguous runs; one passage unless given. ValueError if
        more than half of the samples would stay in place.
        """
        labels = np.zeros(n_samples) if groups is None else shaped("groups", groups, n_samples)
        lengths, least = _passage_lengths(labels), 2 * whole("min_shift", self.min_shift)
        short = lengths < least
        alone = short & (np.bincount(lengths)[lengths] == 1)
        if lengths[alone].sum() > n_samples / 2:
            raise ValueError(
                f"min_shift: expected passages of at least {least} samples for {self.min_shift}, or several of one "
                f"length, got {alone.sum()} of {len(alone)} that are shorter and have a length of their own (the "
                f"longest has {lengths[alone].max()} samples); lower it, or join passages that were one recording."
            )
        amounts = np.zeros((whole("n", self.n), len(lengths)), dtype=int)
        if not short.all():
            drawn = _draw_shifts(lengths[~short], self.n, self.min_shift, self.seed)
            amounts = amounts if short.any() else amounts[: len(drawn)]
            amounts[:, ~short] = np.resize(drawn, (len(amounts), drawn.shape[1]))
        start, length = (np.repeat(part, lengths) for part in (np.cumsum(lengths) - lengths, lengths))
        orders = start + (np.arange(n_samples) - start - np.repeat(amounts, lengths, axis=1)) % length
        rows = np.flatnonzero(np.repeat(short & ~alone, lengths))
        if len(rows):
            orders[:, rows] = rows[PermuteGroups(self.n, self.seed).orders(len(rows), labels[rows])]
        return orders


def _passage_lengths(groups: np.ndarray) -> np.ndarray:
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    if len(again := groups[starts][pd.Series(groups[starts]).duplicated()]):
        raise ValueError(f"groups: expected contiguous runs (passages), got {again[0]!r} again; sort by passage.")
    return np.diff([*starts, len(groups)])


def _draw_shifts(lengths: ArrayLike, n_shifts: int, min_shift: int, seed: int) -> np.ndarray:
    """Shifts (shift, passage) of at least `min_shift` samples both ways, without repetition where that could happen."""
    choices = np.asarray(lengths) - 2 * min_shift + 1
    rng = np.random.default_rng(seed)
    if np.log(choices).sum() > np.log(1e9):
        return min_shift + rng.integers(choices, size=(n_shifts, len(choices)))
    total = int(np.prod(choices))
    drawn = rng.choice(total, size=min(n_shifts, total), replace=False)
    return min_shift + np.stack(np.unravel_index(drawn, choices), axis=1)


@dataclass(frozen=True)
class PermuteGroups:
    """Chance by exchanging whole groups of samples `n` times, such as the items of an experiment with sentences.

    What belongs together stays together; groups change places with groups of their own size.
    """

    n: int = 100
    seed: int = 0

    def orders(self, n_samples: int, groups: ArrayLike | None = None) -> np.ndarray:
        """The sample that stands at each place, of shape (draw, sample): ``values[orders[i]]``.

        `groups` (sample,) names the group of each sample, in any order; each is its own unless given.
        """
        labels = np.arange(n_samples) if groups is None else labelled("groups", groups, n_samples)
        codes = pd.factorize(labels)[0]
        members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
        sizes = np.array([len(rows) for rows in members])
        whole("groups of one size", int(np.bincount(sizes).max()), 2)
        rng = np.random.default_rng(self.seed)
        orders = np.tile(np.arange(n_samples), (whole("n", self.n), 1))
        for size in np.unique(sizes):
            rows = np.stack([members[k] for k in np.flatnonzero(sizes == size)])
            for order in orders:
                order[rows] = rows[rng.permutation(len(rows))]
        return orders


def p_values(observed: Any, null: Any, *, alternative: str = "greater", pool: bool = False) -> Any:
    """Compare observed scores with draws from their null distribution.

    Parameters
    ----------
    observed : DataArray or array of shape (...)
    null : DataArray or array of shape (draw, ...)
        Of arrays without names the first axis counts the draws.
    alternative : {"greater", "two-sided"}
        Two-sided p values are twice the smaller of both one-sided ones.
    pool : bool
        Compare with the draws of all channels, each draw brought to units of its channel's other draws (their mean and
        standard deviation). This takes few draws a channel where each is dear, such as refitted models, and assumes
        that null distributions differ between channels in location and scale only.

    Returns
    -------
    DataArray or array of shape (...)
        (1 + number of draws at least as large as the observed score) / (1 + number of draws), which is never zero
        (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9).
    """
    one_of("alternative", alternative, ("greater", "two-sided"))
    named = isinstance(observed, xr.DataArray) and isinstance(null, xr.DataArray)
    if named:
        observed, null = xr.align(observed, null.transpose("draw", *observed.dims), join="exact")
    scores, draws = finite("observed", observed, dtype=None), finite("null", null, dtype=None)
    shaped("null", draws, len(draws), *scores.shape)
    if pool:
        scores, pooled = _pooled(scores, draws)
        n = pooled.size
        above, below = n - np.searchsorted(pooled, scores, "left"), np.searchsorted(pooled, scores, "right")
    else:
        n, above, below = len(draws), (draws >= scores).sum(0), (draws <= scores).sum(0)
    p = (1 + above) / (1 + n)
    if alternative == "two-sided":
        p = (2 * np.minimum(p, (1 + below) / (1 + n))).clip(max=1)
    return observed.copy(data=p) if named else p


def _pooled(scores: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and all draws in ascending order, in units of the other draws of their channel."""
    n = whole("draws to be pooled", len(draws), 5)
    mean, squares = draws.mean(0), ((draws - draws.mean(0)) ** 2).sum(0)
    # Each draw against the mean and standard deviation of the others, as the observed score is against all of them.
    deviation = (draws - mean) * n / (n - 1)
    others = np.sqrt((squares - deviation**2 * (n - 1) / n) / (n - 2) * (1 + 1 / (n - 1)))
    return (scores - mean) / np.sqrt(squares / (n - 1) * (1 + 1 / n)), np.sort((deviation / others).ravel())


def bootstrap_ci(
    x: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    method: str = "BCa",
    n_resamples: int = 9999,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean over observations with its bootstrap interval.

    Parameters
    ----------
    x : array-like of shape (n, ...)
    clusters : array-like of shape (n,), optional
        Cluster (subject, passage) of each observation. Whole clusters are drawn, for observations that are alike within
        them; the interval is then of the plain quantiles.
    method : {"BCa", "percentile"}
        Bias-corrected and accelerated (Efron 1987, J. Am. Stat. Assoc. 82), or the plain quantiles.
    n_resamples, confidence_level, seed : int, float, int

    Returns
    -------
    Estimate
        Of values of shape (...), of no width where all observations are equal; `n` counts observations or clusters.

    Raises
    ------
    ValueError
        Where the BCa interval is undefined.
    """
    data = finite("x", x)
    units = np.arange(len(data)) if clusters is None else labelled("clusters", clusters, len(data))
    names, codes = np.unique(units, return_inverse=True)
    sums = np.zeros((whole("observations or clusters", len(names), 2), *data.shape[1:]))
    np.add.at(sums, codes, data)
    sizes = np.broadcast_to(np.bincount(codes), sums.T.shape).T
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
        low, high = scipy.stats.bootstrap(
            (sums, sizes),
            lambda total, size, axis: total.sum(axis) / size.sum(axis),
            paired=True,
            vectorized=True,
            n_resamples=n_resamples,
            batch=max(1, 10_000_000 // sums.size),
            confidence_level=within("confidence_level", confidence_level),
            method=one_of("method", method, ("BCa", "percentile")) if clusters is None else "percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    mean, equal = data.mean(0), np.ptp(data, axis=0) == 0  # BCa is undefined there
    low, high = np.where(equal, mean, low), np.where(equal, mean, high)
    if np.isnan(low).any():
        raise ValueError("x: the BCa interval of its mean is undefined; use method='percentile'.")
    return Estimate(mean[()], low[()], high[()], len(names))


def t_interval(values: ArrayLike, *, confidence_level: float = 0.95) -> Estimate:
    """Mean over independent units, such as people, with Student's t interval; `values` are of shape (unit, ...)."""
    values = finite("values", values)
    n = whole("units", len(values), 2)
    return _student(values.mean(0), values.std(0, ddof=1) / np.sqrt(n), n, confidence_level)


def mean_over_subjects(values: ArrayLike, subjects: ArrayLike) -> Estimate:
    """Mean of each person's mean over channels, with Student's t interval (95 %) over three people or more.

    `values` are of shape (channel, ...), and `subjects`, of shape (channel), names the person of each channel.
    """
    values = finite("values", values)
    subjects = labelled("subjects", subjects, len(values), least=3)
    return t_interval([values[subjects == name].mean(0) for name in np.unique(subjects)])


def jackknife_interval(estimate: ArrayLike, without: ArrayLike, *, confidence_level: float = 0.95) -> Estimate:
    """Interval of any statistic of subjects, from what it is without each of them (Efron & Tibshirani 1993, ch. 11).

    `estimate`, of shape (...), is the statistic of all subjects, `without`, of shape (subject, ...), with one of them
    left out. Student's t. Of subjects who met the same stimuli: what other people would give, not another story.
    """
    without = finite("without", without)
    n = whole("subjects", len(without), 3)
    return _student(np.asarray(estimate, dtype=float), np.sqrt((n - 1) * without.var(0)), n, confidence_level)


def _student(value: np.ndarray, error: np.ndarray, n: int, confidence_level: float) -> Estimate:
    reach = scipy.stats.t.ppf((1 + within("confidence_level", confidence_level)) / 2, n - 1) * error
    return Estimate(value[()], (value - reach)[()], (value + reach)[()], n)


def one_sample_t(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's t and its two-sided p for the mean over subjects, of shape (subject, ...), against zero."""
    whole("subjects", len(finite("values", values)), 2)
    if flat := int((np.ptp(values, axis=0) <= 1e-12 * np.abs(values).max(0)).sum()):
        raise ValueError(f"values: {flat} scores or differences are the same in all subjects; nothing to test.")
    result = scipy.stats.ttest_1samp(values, 0)
    return result.statistic, result.pvalue


def pearson(a: ArrayLike, b: ArrayLike, axis: int = 0) -> np.ndarray:
    """Pearson correlation of two arrays along one axis.

    NaN where one of the two is the same throughout, up to rounding of its mean; check such columns before.
    """
    a, b = (values - values.mean(axis, keepdims=True) for values in (np.asarray(a), np.asarray(b)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))
