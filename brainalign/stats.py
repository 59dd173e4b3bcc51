"""Statistics of alignment: noise ceilings, permutation nulls, multiple comparisons, intervals, and mixed models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.linalg
import scipy.optimize
import scipy.sparse
import scipy.stats
import xarray as xr
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

__all__ = [
    "Estimate",
    "Interval",
    "MixedModel",
    "PermutationResult",
    "bootstrap_ci",
    "fdr",
    "group_permutations",
    "jackknife_interval",
    "mean_over_subjects",
    "mixed_model",
    "noise_ceiling",
    "normalize",
    "one_sample_t",
    "p_values",
    "pearson",
    "permutation_test",
    "t_interval",
]


class PermutationResult(NamedTuple):
    """Observed statistic, its p value, and the statistic's null distribution, of shape (n_resamples, ...)."""

    statistic: Any
    pvalue: Any
    null: np.ndarray


class Interval(NamedTuple):
    """A statistic of the data with the lower and upper end of its confidence interval."""

    estimate: Any
    low: Any
    high: Any


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; prints as "0.25 (0.18 to 0.31)".

    Parameters
    ----------
    value, low, high : float or array of any shape
        The value and the interval's two ends; arrays have one shape, and an index takes one estimate out.
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
        value, low, high = (f"{float(part):{spec}}" for part in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"

    def __str__(self) -> str:
        return repr(self) if np.ndim(self.value) else format(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


# ------------------------------------------------------------------------------------------------ multiple comparisons


def fdr(p: ArrayLike, q: float = 0.05) -> tuple[Any, Any]:
    """Control the false discovery rate over all values of `p` together.

    Parameters
    ----------
    p : array or DataArray of any shape
        p values.
    q : float
        False discovery rate that is tolerated.

    Returns
    -------
    rejected, p_adjusted : arrays or DataArrays of the shape of `p`
        Which hypotheses are rejected at `q`, and the smallest `q` at which each would be.

    Raises
    ------
    ValueError
        p values that are missing or not within 0 to 1, or `q` not between 0 and 1.

    References
    ----------
    Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57, the procedure of equation 1.
    """
    values = np.asarray(p, dtype=float)
    bad = ~((values >= 0) & (values <= 1))
    if values.size == 0 or bad.any():
        raise ValueError(f"p must hold p values from 0 to 1, got {bad.sum()} of {values.size} that are not; drop them.")
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, got {q!r}.")
    adjusted = scipy.stats.false_discovery_control(values.ravel()).reshape(values.shape)
    if isinstance(p, xr.DataArray):
        return p.copy(data=adjusted <= q), p.copy(data=adjusted)
    return adjusted <= q, adjusted


# ------------------------------------------------------------------------------------------------------ noise ceilings


def noise_ceiling(repeats: xr.DataArray, dim: str = "repeat", *, over: str | None = None) -> xr.Dataset:
    """Find how well the mean over repeats could be predicted at best.

    Parameters
    ----------
    repeats : DataArray of shape (repeat, word, channel) or (repeat, word)
        Responses to the same stimuli again and again. After `dim`, the first dimension holds the samples.
    dim : str
        The dimension of the repeats.
    over : str, optional
        Of channels whose mean score is to be held against one ceiling, such as the vertices of a region: their
        reliabilities are averaged first.

    Returns
    -------
    Dataset
        For each channel, or one `over` all of them: ``reliability``, the mean correlation of two repeats;
        ``reliability_of_mean``, that of the mean over all repeats by the Spearman-Brown formula; and ``ceiling``, its
        square root: the correlation with that mean that a noiseless prediction has. Where the reliability is not
        positive, the latter two are 0.

    Raises
    ------
    ValueError
        Fewer than two repeats or three samples, unknown dimensions, non-finite values or flat channels.

    Notes
    -----
    The ceiling of one channel is never negative, and a root: channels of mere noise have 0.16 on average (3 repeats of
    100 samples), and channels of little signal too little (0.30 where 0.36 is right, at a signal-to-noise ratio of
    0.05). `over` takes the mean before either step, and gives the mean ceiling of channels that are *alike*. For those
    that are not it is too high, by half where half of them hold no signal, so that shares of it are lower bounds.

    References
    ----------
    Spearman (1910) and Brown (1910), Br. J. Psychol. 3. The ceiling is classical attenuation: Spearman (1904), Am. J.
    Psychol. 15.
    """
    if not isinstance(repeats, xr.DataArray) or dim not in repeats.dims:
        raise ValueError(
            f"repeats must be a DataArray with the dimension {dim!r}, got {getattr(repeats, 'dims', type(repeats))}."
        )
    others: list[Any] = [d for d in repeats.dims if d != dim]
    if not others or repeats.sizes[dim] < 2 or repeats.sizes[others[0]] < 3:
        raise ValueError(f"repeats must hold at least 2 repeats of at least 3 samples, got {dict(repeats.sizes)}.")
    sample_dim, n = others[0], repeats.sizes[dim]
    if over is not None and over not in others[1:]:
        raise ValueError(f"over must be one of the dimensions of channels {tuple(others[1:])}, got {over!r}.")
    _check_finite(repeats, "repeats")
    flat = (repeats.max(sample_dim) == repeats.min(sample_dim)).any(dim)
    if flat.any():
        names = flat[flat.dims[0]].values[flat.values] if flat.ndim == 1 else int(flat.sum())
        raise ValueError(f"repeats has flat (constant) channels: {names}; leave them out.")
    z = (repeats - repeats.mean(sample_dim)) / repeats.std(sample_dim)
    # The variance of the sum of n standard scores is n plus the sum of their n (n - 1) correlations.
    reliability = ((z.sum(dim) ** 2).mean(sample_dim) - n) / (n * (n - 1))
    reliability = reliability if over is None else reliability.mean(over)
    positive = reliability.clip(min=0)
    of_mean = n * positive / (1 + (n - 1) * positive)
    return xr.Dataset({"reliability": reliability, "reliability_of_mean": of_mean, "ceiling": np.sqrt(of_mean)})


def normalize(score: Any, ceiling: Any, min_ceiling: float = 0.1) -> Any:
    """Divide scores by the noise ceiling.

    Parameters
    ----------
    score : DataArray of shape (layer, channel) or array
        Pearson correlations with the mean over repeats.
    ceiling : DataArray of shape (channel,) or array
        As from `noise_ceiling`.
    min_ceiling : float
        Channels with a lower ceiling hold too little signal for a ratio to mean anything.

    Returns
    -------
    DataArray or array of the shape of `score`
        The share of the attainable correlation; NaN where the ceiling is below `min_ceiling`. Estimates may exceed 1.

    Raises
    ------
    ValueError
        For a `min_ceiling` that is not above 0.
    """
    if not min_ceiling > 0:
        raise ValueError(f"min_ceiling must be positive, got {min_ceiling!r}.")
    if isinstance(ceiling, xr.DataArray):
        return score / ceiling.where(ceiling >= min_ceiling)
    ceiling = np.asarray(ceiling, dtype=float)
    return score / np.where(ceiling >= min_ceiling, ceiling, np.nan)


# --------------------------------------------------------------------------------------------------- shifted responses


def circular_shifts(
    n_samples: int, n_shifts: int, *, groups: ArrayLike | None = None, min_shift: int = 1, seed: int = 0
) -> np.ndarray:
    """Draw circular shifts of a series of samples, each passage by its own random amount.

    Parameters
    ----------
    n_samples : int
    n_shifts : int
        Number of draws. Where the passages allow no more different shifts, each is taken once.
    groups : array-like of shape (n_samples,), optional
        Passage of each sample, in contiguous runs. One passage unless given.
    min_shift : int
        Least shift in samples, forwards and backwards. Take it longer than the autocorrelation of the responses.
    seed : int

    Returns
    -------
    ndarray of shape (shift, sample)
        For each shift, the sample that stands at each place: ``responses[shifts[i]]``.

    Raises
    ------
    ValueError
        Fewer than one shift, non-contiguous groups, or a passage shorter than two least shifts.
    """
    passages = _passages(groups, n_samples)
    amounts = _draw_shifts([p.stop - p.start for p in passages], n_shifts, min_shift, seed)
    return np.concatenate(
        [
            p.start + (np.arange(p.stop - p.start) - amounts[:, k, None]) % (p.stop - p.start)
            for k, p in enumerate(passages)
        ],
        axis=1,
    )


def group_permutations(groups: ArrayLike, n_permutations: int, *, seed: int = 0) -> np.ndarray:
    """Draw exchanges of whole groups of samples, such as the items of an experiment with sentences.

    Where samples come in short groups that are independent of each other, chance is what another order of the groups
    gives: what belongs together stays together. Groups change places with groups of their own size.

    Parameters
    ----------
    groups : array-like of shape (n_samples,)
        Group (item, sentence) of each sample, in any order.
    n_permutations : int
    seed : int

    Returns
    -------
    ndarray of shape (permutation, sample)
        For each permutation the sample that stands at each place: ``values[permutations[i]]``.

    Raises
    ------
    ValueError
        Fewer than one permutation, missing labels, or no two groups of one size.
    """
    codes = pd.factorize(np.asarray(groups))[0]
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)] if len(codes) else []
    sizes = np.array([len(rows) for rows in members])
    if n_permutations < 1 or (codes < 0).any() or not (np.bincount(sizes) > 1).any():
        raise ValueError(
            f"groups, n_permutations: expected a label for every sample, two groups or more of one size and at least "
            f"one permutation, got {(codes < 0).sum()} without a label, sizes {sorted(set(sizes.tolist()))} and "
            f"{n_permutations!r}."
        )
    rng, orders = np.random.default_rng(seed), np.tile(np.arange(len(codes)), (n_permutations, 1))
    for size in np.unique(sizes):
        rows = np.stack([members[k] for k in np.flatnonzero(sizes == size)])
        for order in orders:
            order[rows] = rows[rng.permutation(len(rows))]
    return orders


def _draw_shifts(lengths: list[int], n_shifts: int, min_shift: int, seed: int) -> np.ndarray:
    """Shifts (shift, passage) of at least `min_shift` samples both ways, without repetition where that could happen."""
    if n_shifts < 1 or min_shift < 1:
        raise ValueError(f"n_shifts and min_shift must be at least 1, got {n_shifts!r} and {min_shift!r}.")
    short = [length for length in lengths if length < 2 * min_shift]
    if short:
        raise ValueError(
            f"min_shift={min_shift} needs passages of at least {2 * min_shift} samples, but {len(short)} of "
            f"{len(lengths)} are shorter (the shortest has {min(short)}); lower min_shift or leave these passages out."
        )
    choices = np.array([length - 2 * min_shift + 1 for length in lengths])
    rng = np.random.default_rng(seed)
    if np.log(choices).sum() > np.log(1e9):
        return min_shift + rng.integers(choices, size=(n_shifts, len(choices)))
    total = int(np.prod(choices))
    drawn = rng.choice(total, size=min(n_shifts, total), replace=False)
    return min_shift + np.stack(np.unravel_index(drawn, choices), axis=1)


def _passages(groups: ArrayLike | None, n_samples: int) -> list[slice]:
    groups = np.zeros(n_samples) if groups is None else np.asarray(groups)
    if groups.shape != (n_samples,):
        raise ValueError(f"groups must hold one label for each of the {n_samples} samples, got shape {groups.shape}.")
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    labels = groups[starts].tolist()
    if len(set(labels)) < len(labels):
        again = next(label for i, label in enumerate(labels) if label in labels[:i])
        raise ValueError(f"groups must be contiguous runs (passages), but {again!r} comes back; sort by passage.")
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], n_samples], strict=True)]


def p_values(observed: Any, null: Any, *, alternative: str = "greater", dim: str = "shift", pool: bool = False) -> Any:
    """Compare observed scores with draws from their null distribution.

    Parameters
    ----------
    observed : DataArray or array of shape (...)
    null : DataArray or array of shape (shift, ...)
        For DataArrays `dim` names the draws; for arrays it is the first axis.
    alternative : {"greater", "two-sided"}
        Two-sided p values are twice the smaller of both one-sided ones.
    dim : str
        The dimension of a DataArray that counts the draws.
    pool : bool
        Compare with the draws of all channels, each draw brought to units of its channel's other draws (their mean and
        standard deviation). This takes few draws a channel where each is dear, such as refitted models, and assumes
        that null distributions differ between channels in location and scale only.

    Returns
    -------
    DataArray or array of shape (...)
        (1 + number of draws at least as large as the observed score) / (1 + number of draws), which is never zero
        (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9).

    Raises
    ------
    ValueError
        Non-finite values, mismatched shapes or dimensions, or an unknown alternative.
    """
    if alternative not in ("greater", "two-sided"):
        raise ValueError(f"alternative must be 'greater' or 'two-sided', got {alternative!r}.")
    _check_finite(observed, "observed")
    _check_finite(null, "null")
    labelled = isinstance(null, xr.DataArray) and isinstance(observed, xr.DataArray)
    if labelled:
        if set(null.dims) != {dim, *observed.dims}:
            raise ValueError(f"null must have the dimensions {(dim, *observed.dims)}, got {null.dims}.")
        observed, null = xr.align(observed, null, join="exact")
        axis, n = {"dim": dim}, null.sizes[dim]
    else:
        observed, null = np.asarray(observed), np.asarray(null)
        if null.shape[1:] != observed.shape:
            raise ValueError(f"null must be of shape (shift, *{observed.shape}), got {null.shape}.")
        axis, n = {"axis": 0}, len(null)
    if pool:
        return _pooled_p_values(observed, null, alternative, dim)
    greater = (1 + (null >= observed).sum(**axis)) / (1 + n)
    if alternative == "greater":
        return greater
    less = (1 + (null <= observed).sum(**axis)) / (1 + n)
    return (2 * np.minimum(greater, less)).clip(max=1)


def _pooled_p_values(observed: Any, null: Any, alternative: str, dim: str) -> Any:
    draws = null.transpose(dim, ...).to_numpy() if isinstance(null, xr.DataArray) else null
    n = len(draws)
    if n < 5:
        raise ValueError(f"null must hold at least 5 draws a channel to be pooled, got {n}.")
    mean, squares = draws.mean(0), ((draws - draws.mean(0)) ** 2).sum(0)
    # Each draw against the mean and standard deviation of the others, as the observed score is against all of them.
    deviation = (draws - mean) * n / (n - 1)
    others = np.sqrt((squares - deviation**2 * (n - 1) / n) / (n - 2) * (1 + 1 / (n - 1)))
    pooled = np.sort((deviation / others).ravel())
    units = (np.asarray(observed) - mean) / np.sqrt(squares / (n - 1) * (1 + 1 / n))
    greater = (1 + pooled.size - np.searchsorted(pooled, units, "left")) / (1 + pooled.size)
    if alternative == "two-sided":
        less = (1 + np.searchsorted(pooled, units, "right")) / (1 + pooled.size)
        greater = (2 * np.minimum(greater, less)).clip(max=1)
    return observed.copy(data=greater) if isinstance(observed, xr.DataArray) else greater


# ------------------------------------------------------------------------------------------- permutations and bootstrap


def _mean_difference(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


def permutation_test(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    paired: bool = False,
    statistic: Callable | None = None,
    alternative: str = "two-sided",
    n_resamples: int = 9999,
    axis: int = 0,
    seed: int = 0,
) -> PermutationResult:
    """Test a mean, or a difference, by permutation.

    Parameters
    ----------
    x : array-like of shape (n, ...)
    y : array-like of shape (m, ...), optional
        Without it, signs are flipped: the null is symmetry about zero. With it, labels are permuted, or, if `paired`,
        exchanged within pairs.
    paired : bool
    statistic : callable, optional
        Function of (x, axis) or (x, y, axis); the mean, or the difference of means, unless given.
    alternative : {"two-sided", "greater", "less"}
    n_resamples : int
        Number of permutations; where there are no more than that, all are taken and the test is exact.
    axis : int
        Axis of the observations.
    seed : int

    Returns
    -------
    PermutationResult
        ``statistic``, ``pvalue`` and ``null``.

    Raises
    ------
    ValueError
        Non-finite values, fewer than two observations, or paired samples of different shape.
    """
    samples = [np.asarray(a, dtype=float) for a in ((x,) if y is None else (x, y))]
    for name, sample in zip("xy", samples, strict=False):
        _check_finite(sample, name)
        if sample.ndim == 0 or sample.shape[axis] < 2:
            raise ValueError(f"{name} must hold at least 2 observations along axis {axis}, got shape {sample.shape}.")
    if paired and (y is None or samples[0].shape != samples[1].shape):
        raise ValueError(f"paired=True needs x and y of the same shape, got {[s.shape for s in samples]}.")
    if statistic is None:
        statistic = np.mean if y is None else _mean_difference
    result = scipy.stats.permutation_test(
        samples,
        statistic,
        permutation_type="samples" if y is None or paired else "independent",
        vectorized=True,
        n_resamples=n_resamples,
        alternative=alternative,
        axis=axis,
        batch=max(1, 10_000_000 // sum(s.size for s in samples)),
        rng=np.random.default_rng(seed),
    )
    return PermutationResult(result.statistic, result.pvalue, result.null_distribution)


def bootstrap_ci(
    x: ArrayLike,
    statistic: Callable = np.mean,
    *,
    dim: int | str = 0,
    n_resamples: int = 9999,
    confidence_level: float = 0.95,
    method: str = "BCa",
    clusters: ArrayLike | None = None,
    seed: int = 0,
) -> Interval:
    """Bootstrap confidence interval of a statistic.

    Parameters
    ----------
    x : array-like or DataArray of shape (n, ...)
    statistic : callable
        Function of (x, axis), such as `numpy.mean` or `numpy.median`.
    dim : int or str
        Axis, or for a DataArray the name of the dimension, of the observations.
    n_resamples : int
    confidence_level : float
        Coverage.
    method : {"BCa", "percentile"}
        Bias-corrected and accelerated (Efron 1987, J. Am. Stat. Assoc. 82), or the plain quantiles.
    clusters : array-like of shape (n,), optional
        Cluster (subject, passage) of each observation. Whole clusters are drawn, for observations that are alike within
        them; the interval is then of the plain quantiles.
    seed : int

    Returns
    -------
    Interval
        ``estimate``, ``low`` and ``high``; of no width where all observations are equal.

    Raises
    ------
    ValueError
        Non-finite values, fewer than two observations or clusters, a level not between 0 and 1, an unknown method.
    """
    if isinstance(dim, str) and not (isinstance(x, xr.DataArray) and dim in x.dims):
        raise ValueError(f"x must be a DataArray with the dimension {dim!r}, got {getattr(x, 'dims', type(x))}.")
    axis = x.get_axis_num(dim) if isinstance(dim, str) else dim  # type: ignore[union-attr]
    data = np.moveaxis(np.asarray(x, dtype=float), axis, 0)
    _check_finite(data, "x")
    if len(data) < 2:
        raise ValueError(f"x must hold at least 2 observations along {dim!r}, got {len(data)}.")
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level must lie between 0 and 1, got {confidence_level!r}.")
    if method not in ("BCa", "percentile"):
        raise ValueError(f"method must be 'BCa' or 'percentile', got {method!r}.")
    rng = np.random.default_rng(seed)
    estimate = np.asarray(statistic(data, axis=0))
    if clusters is not None:
        draws = _cluster_draws(data, np.asarray(clusters), statistic, n_resamples, rng)
        low, high = np.quantile(draws, [(1 - confidence_level) / 2, (1 + confidence_level) / 2], axis=0)
    else:
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
            low, high = scipy.stats.bootstrap(
                (data,),
                statistic,
                axis=0,
                vectorized=True,
                n_resamples=n_resamples,
                batch=max(1, 10_000_000 // data.size),
                confidence_level=confidence_level,
                method=method,
                rng=rng,
            ).confidence_interval
        equal = np.ptp(data, axis=0) == 0  # BCa is undefined there
        low, high = np.where(equal, estimate, low), np.where(equal, estimate, high)
        if np.isnan(low).any():
            raise ValueError("x gives a statistic whose BCa interval is undefined; use method='percentile'.")
    if isinstance(x, xr.DataArray):
        template = x.isel({x.dims[axis]: 0}, drop=True)
        if template.shape == estimate.shape:
            return Interval(*(template.copy(data=a) for a in (estimate, low, high)))
    return Interval(estimate[()], low[()], high[()])


def one_sample_t(values: np.ndarray, alternative: str = "two-sided") -> tuple[np.ndarray, np.ndarray]:
    """Student's t test of a mean over subjects against zero.

    Parameters
    ----------
    values : array of shape (subject, ...)
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    t, p : arrays of shape (...)

    Raises
    ------
    ValueError
        For fewer than two subjects, values that are not finite, or the same in all subjects.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"values: expected finite scores of at least two subjects (subject, ...), got shape {values.shape}."
        )
    flat = np.ptp(values, axis=0) <= 1e-12 * np.abs(values).max(0)
    if flat.any():
        raise ValueError(f"{int(flat.sum())} scores or differences are the same in all subjects; nothing to test.")
    result = scipy.stats.ttest_1samp(values, 0, alternative=alternative)
    return result.statistic, result.pvalue


def pearson(a: ArrayLike, b: ArrayLike, axis: int = 0) -> np.ndarray:
    """Pearson correlation of two arrays along one axis.

    Parameters
    ----------
    a, b : array of the same shape
    axis : int

    Returns
    -------
    array of their shape without the axis
        NaN where one of the two is the same throughout, up to rounding of its mean; check such columns before.
    """
    a, b = (values - values.mean(axis, keepdims=True) for values in (np.asarray(a), np.asarray(b)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))


def t_interval(values: ArrayLike, *, confidence_level: float = 0.95) -> Interval:
    """Mean over independent units, such as people, with the interval of Student's t.

    Parameters
    ----------
    values : array-like of shape (unit, ...)
    confidence_level : float
        Coverage of the interval.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        Non-finite values, fewer than two units, a level not between 0 and 1.
    """
    values = np.asarray(values, dtype=float)
    _check_finite(values, "values")
    n = len(values)
    if n < 2:
        raise ValueError(f"values: expected 2 units or more, got {n}.")
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level: expected a number between 0 and 1, got {confidence_level!r}.")
    mean = values.mean(0)
    reach = scipy.stats.t.ppf((1 + confidence_level) / 2, n - 1) * values.std(0, ddof=1) / np.sqrt(n)
    return Interval(mean[()], (mean - reach)[()], (mean + reach)[()])


def mean_over_subjects(values: ArrayLike, subjects: ArrayLike, *, confidence_level: float = 0.95) -> Estimate:
    """Mean of each person's mean over channels, with Student's t interval over people.

    Parameters
    ----------
    values : array of shape (channel, ...)
    subjects : array of shape (channel)
        The person each channel belongs to.
    confidence_level : float
        Coverage of the interval.

    Returns
    -------
    Estimate
        Of values of shape (...); `n` is the number of people.

    Raises
    ------
    ValueError
        For lengths that differ, non-finite values, channels without a person, fewer than three people, or a level that
        is not between 0 and 1.
    """
    values, subjects = np.asarray(values, dtype=float), np.asarray(subjects)
    if len(values) != len(subjects):
        raise ValueError(f"values, subjects: lengths differ, {len(values)} and {len(subjects)}.")
    if not np.isfinite(values).all():
        raise ValueError(f"values: {int((~np.isfinite(values)).sum())} are not finite; drop those channels.")
    if pd.isna(subjects).any():
        raise ValueError(f"subjects: {int(pd.isna(subjects).sum())} channels have no person; name one for each.")
    names = np.unique(subjects)
    if len(names) < 3:
        raise ValueError(f"subjects: expected at least three people, got {len(names)}.")
    each = np.stack([values[subjects == name].mean(0) for name in names])
    return Estimate(*t_interval(each, confidence_level=confidence_level), len(names))


def jackknife_interval(
    estimate: ArrayLike, without: ArrayLike, *, axis: int = 0, confidence_level: float = 0.95
) -> Interval:
    """Confidence interval of any statistic of subjects, from what it is without each of them.

    Parameters
    ----------
    estimate : array-like of shape (...)
        The statistic of all subjects.
    without : array-like of shape (subject, ...)
        The same with one subject left out.
    axis : int
        Of the subjects in `without`.
    confidence_level : float
        Coverage, by the quantiles of Student's t.

    Returns
    -------
    Interval
        Over subjects who met the same stimuli: what other people would give, not what another story would.

    Raises
    ------
    ValueError
        Non-finite values, fewer than three subjects, a level not between 0 and 1.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 11.
    """
    without = np.moveaxis(np.asarray(without, dtype=float), axis, 0)
    _check_finite(without, "without")
    n = len(without)
    if n < 3 or not 0 < confidence_level < 1:
        raise ValueError(
            f"expected 3 subjects or more and confidence_level between 0 and 1, got {n}, {confidence_level!r}."
        )
    error = np.sqrt((n - 1) / n * ((without - without.mean(0)) ** 2).sum(0))
    reach = scipy.stats.t.ppf((1 + confidence_level) / 2, n - 1) * error
    estimate = np.asarray(estimate, dtype=float)
    return Interval(estimate[()], (estimate - reach)[()], (estimate + reach)[()])


def _cluster_draws(
    data: np.ndarray, clusters: np.ndarray, statistic: Callable, n_resamples: int, rng: np.random.Generator
) -> np.ndarray:
    if clusters.shape != (len(data),):
        raise ValueError(
            f"clusters must hold one label for each of the {len(data)} observations, got shape {clusters.shape}."
        )
    members = [np.flatnonzero(clusters == c) for c in np.unique(clusters)]
    if len(members) < 2:
        raise ValueError(f"clusters must hold at least 2 different labels, got {len(members)}.")
    draws = (rng.integers(len(members), size=len(members)) for _ in range(n_resamples))
    return np.stack([statistic(data[np.concatenate([members[i] for i in draw])], axis=0) for draw in draws])


# -------------------------------------------------------------------------------------------------------- mixed models


class MixedModel(NamedTuple):
    """A fitted linear mixed model.

    Parameters
    ----------
    coefficients : DataFrame [estimate, se, df, t, p, low, high]
        One row a predictor, "intercept" first; two-sided p, interval from `low` to `high`.
    variances : Series
        Variance of the random intercepts ("subject"), of the slopes ("subject: surprisal") and of the residual.
    log_likelihood : float
        Restricted for REML. Compare models with other predictors by that of maximum likelihood only.
    n : int
        Number of trials.
    """

    coefficients: pd.DataFrame
    variances: pd.Series
    log_likelihood: float
    n: int


@threadpool_limits.wrap(limits=1)  # hundreds of small factorisations: more threads would only wait for each other
def mixed_model(
    trials: pd.DataFrame,
    response: str,
    predictors: Sequence[str],
    *,
    random_effects: Mapping[str, Sequence[str]],
    reml: bool = True,
    confidence_level: float = 0.95,
) -> MixedModel:
    """Fit a linear mixed model with crossed random effects, such as those of people and of items.

    Trials of one person are alike, and so are trials at one item. Where items are few and a predictor belongs to the
    item (its surprisal), a test that counts trials, or looks at people only, calls chance an effect; random effects of
    both keep the error rate.

    Parameters
    ----------
    trials : DataFrame
        One row a trial.
    response : str
        Its column.
    predictors : sequence of str
        Columns of numbers. An intercept is added.
    random_effects : mapping of str to sequence of str
        For each grouping column, the predictors whose effect differs from group to group: ``{"subject":
        ["surprisal"], "item": []}`` gives people a random intercept and a random slope, and items an intercept. Slopes
        are taken about the predictor's mean and are uncorrelated with intercepts.
    reml : bool
        Restricted maximum likelihood; else maximum likelihood, for likelihood-ratio tests of predictors.
    confidence_level : float
        Coverage of the intervals.

    Returns
    -------
    MixedModel

    Raises
    ------
    ValueError
        Missing columns, values that are not finite numbers, missing labels, constant or collinear predictors, a
        response that they explain exactly, a group with one label or with a label of its own for each trial, two groups
        that divide the trials alike, or a slope that is no predictor.
    RuntimeError
        If the fit does not converge.

    References
    ----------
    Baayen, Davidson & Bates (2008), J. Mem. Lang. 59, for people and items; Bates, Maechler, Bolker & Walker (2015), J.
    Stat. Softw. 67, section 3, for the profiled likelihood; Satterthwaite (1946), Biometrics Bull. 2, for the degrees
    of freedom of t, as Kuznetsova, Brockhoff & Christensen (2017), J. Stat. Softw. 82, apply them to mixed models.
    """
    from statsmodels.tools.numdiff import approx_fprime, approx_hess  # here: it is slow to load

    y, x = _mixed_columns(trials, response, list(predictors), random_effects, confidence_level)
    n, names = len(y), ["intercept", *predictors]
    # The fit sees standard scores, so that neither units nor offsets disturb the search.
    centre, scale = np.append(x.mean(0), y.mean()), np.append(x.std(0), y.std())
    x, y = (x - centre[:-1]) / scale[:-1], (y - centre[-1]) / scale[-1]
    terms, blocks, squares = [], [], []
    # The people (the group with most labels) come first: the likelihood eliminates them one by one.
    for group, slopes in sorted(random_effects.items(), key=lambda item: -trials[item[0]].nunique()):
        columns = [names.index(slope) - 1 for slope in slopes]
        codes, values = pd.factorize(trials[group])[0], [np.ones(n), *x[:, columns].T]
        blocks.append([scipy.sparse.csr_array((value, (np.arange(n), codes))) for value in values])
        terms += [group, *(f"{group}: {slope}" for slope in slopes)]
        squares += [1.0, *scale[columns] ** 2]
    likelihood = _Profiled(y, np.column_stack([np.ones(n), x]), blocks, reml)

    def deviance(ratios: np.ndarray) -> float:
        logs, _, _, variance = likelihood(ratios)
        return logs + likelihood.df * (np.log(variance) + 1)

    # The deviance is an even function of each ratio, smooth through zero: no bounds are needed.
    fit = scipy.optimize.minimize(
        deviance, np.full(len(terms), 0.3), jac="3-point", method="BFGS", options={"gtol": 1e-3}
    )
    ratios = np.abs(fit.x)
    if not np.abs(approx_fprime(ratios, deviance, centered=True)).max() < 0.05:
        raise RuntimeError(f"the fit of {response!r} did not converge ({fit.message}); leave out a random slope.")
    for k in range(len(terms)):
        without = np.where(np.arange(len(terms)) == k, 0.0, ratios)
        if deviance(without) <= deviance(ratios) + 1e-6:  # found as a number next to zero
            ratios = without
    logs, beta, _, variance = likelihood(ratios)

    # Back from standard scores; the determinant of that map is part of the likelihood.
    back = np.diag(np.append(1.0, 1 / scale[:-1]))
    back[0, 1:] = -centre[:-1] / scale[:-1]
    back *= scale[-1]
    estimate = back @ beta
    estimate[0] += centre[-1]
    log_scale = likelihood.df * np.log(scale[-1] ** 2) + (2 * np.log(scale[:-1]).sum() if reml else 0.0)

    needed = np.flatnonzero(ratios)

    def at(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Deviance and squared standard errors at the logarithms of the ratios and of the residual variance."""
        varied, residual = ratios.copy(), np.exp(parameters[-1])
        varied[needed] = np.exp(parameters[:-1])
        logs, _, covariance, best = likelihood(varied)
        return (
            logs + likelihood.df * (parameters[-1] + best / residual),
            np.diag(back @ covariance @ back.T) * residual,
        )

    optimum = np.append(np.log(ratios[needed]), np.log(variance))
    uncertainty = 2 * np.linalg.inv(approx_hess(optimum, lambda parameters: at(parameters)[0]))
    gradient = approx_fprime(optimum, lambda parameters: at(parameters)[1], centered=True)
    squared = at(optimum)[1]
    df = 2 * squared**2 / np.einsum("ij,jk,ik->i", gradient, uncertainty, gradient)
    error = np.sqrt(squared)
    t, reach = estimate / error, scipy.stats.t.ppf((1 + confidence_level) / 2, df) * error
    coefficients = pd.DataFrame(
        {
            "estimate": estimate,
            "se": error,
            "df": df,
            "t": t,
            "p": 2 * scipy.stats.t.sf(np.abs(t), df),
            "low": estimate - reach,
            "high": estimate + reach,
        },
        index=pd.Index(names, name="predictor"),
    )
    variances = pd.Series(np.append(ratios**2 / squares, 1.0), index=[*terms, "residual"]) * variance * scale[-1] ** 2
    log_likelihood = -(logs + likelihood.df * (np.log(2 * np.pi * variance) + 1) + log_scale) / 2
    return MixedModel(coefficients, variances, float(log_likelihood), n)


class _Profiled:
    """The likelihood of y = x b + z u + e with b and the residual variance at their best.

    One Cholesky factor of the cross-products of z, x and y holds all of it (Bates et al. 2015, section 3.4). Labels of
    the first group share no trial, so their part of it is block diagonal: a small factor each, and what is left is as
    wide as the other groups have labels.
    """

    def __init__(self, y: np.ndarray, x: np.ndarray, blocks: list[list], reml: bool) -> None:
        first, others = blocks[0], [block for group in blocks[1:] for block in group]
        rest = scipy.sparse.hstack([*others, scipy.sparse.csr_array(np.column_stack([x, y]))], format="csr")
        # Of the first group: terms by terms, and terms by the rest, for each label.
        self.within = np.moveaxis(np.array([[(a * b).sum(0) for b in first] for a in first]), 2, 0)
        self.across = np.stack([(a.T @ rest).toarray() for a in first], 1)
        self.rest = (rest.T @ rest).toarray()
        self.n_terms, self.widths = len(first), [block.shape[1] for block in others]
        self.reml, self.df = reml, len(y) - reml * x.shape[1]

    def __call__(self, ratios: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
        """Log determinants, b, the covariance of b over the residual variance, and the residual variance.

        `ratios` are the standard deviations of each term's effects over that of the residual.
        """
        inner, outer, n_random = ratios[: self.n_terms], np.ones(len(self.rest)), sum(self.widths)
        outer[:n_random] = np.repeat(ratios[self.n_terms :], self.widths)
        small = np.linalg.cholesky(inner[:, None] * self.within * inner + np.eye(self.n_terms))
        half = (np.linalg.inv(small) * inner @ self.across).reshape(-1, len(outer)) * outer
        left = outer[:, None] * self.rest * outer - half.T @ half
        left[np.arange(n_random), np.arange(n_random)] += 1
        root = scipy.linalg.cholesky(left, lower=True, overwrite_a=True, check_finite=False)
        logs = 2 * np.log(np.diagonal(small, axis1=1, axis2=2)).sum() + 2 * np.log(np.diag(root)[:n_random]).sum()
        fixed = np.linalg.inv(root[n_random:-1, n_random:-1]).T
        if self.reml:
            logs -= 2 * np.log(np.diag(fixed)).sum()
        return logs, fixed @ root[-1, n_random:-1], fixed @ fixed.T, root[-1, -1] ** 2 / self.df


def _mixed_columns(
    trials: pd.DataFrame,
    response: str,
    predictors: list[str],
    random_effects: Mapping[str, Sequence[str]],
    confidence_level: float,
) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(random_effects, Mapping) or not random_effects:
        raise ValueError(
            f"random_effects must map columns to of predictors, such as {{'subject': []}}, got {random_effects!r}."
        )
    columns = [response, *predictors, *random_effects]
    missing = [column for column in columns if column not in trials]
    if missing or not predictors or len(set(columns)) < len(columns):
        raise ValueError(
            f"response, predictors and random_effects must be different columns of trials, at least one of each, got "
            f"{columns}; trials has {list(trials.columns)}, not {missing}."
        )
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level must lie between 0 and 1, got {confidence_level!r}.")
    for column in [response, *predictors]:
        if not pd.api.types.is_numeric_dtype(trials[column]):
            raise ValueError(f"trials[{column!r}] must hold numbers, got {trials[column].dtype}.")
        _check_finite(trials[column], f"trials[{column!r}]")
        if trials[column].nunique() < 2:
            raise ValueError(f"trials[{column!r}] is constant; leave it out.")
    for group, slopes in random_effects.items():
        n_labels, n_missing = trials[group].nunique(), int(trials[group].isna().sum())
        if n_missing or not 2 <= n_labels < len(trials):
            raise ValueError(
                f"trials[{group!r}] must label every trial, with at least 2 labels and fewer than the {len(trials)} "
                f"trials, got {n_labels} labels and {n_missing} trials without."
            )
        if isinstance(slopes, str) or set(slopes) - set(predictors):
            raise ValueError(
                f"random_effects[{group!r}] must list some of the predictors {predictors}, got {slopes!r}."
            )
    for a, b in combinations(random_effects, 2):
        n_pairs = len(trials[[a, b]].drop_duplicates())
        if n_pairs == trials[a].nunique() == trials[b].nunique():
            raise ValueError(f"random_effects {a!r} and {b!r} divide the trials alike; leave one out.")
    x, y = trials[predictors].to_numpy(float), trials[response].to_numpy(float)
    z = np.column_stack([np.ones(len(x)), (x - x.mean(0)) / x.std(0)])
    if len(x) <= z.shape[1] or np.linalg.matrix_rank(z) < z.shape[1]:
        raise ValueError(f"predictors {predictors} are collinear or too many for {len(x)} trials; leave one out.")
    left = y - z @ np.linalg.lstsq(z, y, rcond=None)[0]
    if left.std() <= 1e-9 * y.std():
        raise ValueError(f"trials[{response!r}] follows from {predictors} exactly; nothing is left to fit.")
    return y, x


# ------------------------------------------------------------------------------------------------------------- checks


def _check_finite(array: Any, name: str) -> None:
    bad = ~np.isfinite(np.asarray(array, dtype=float))
    if bad.any():
        raise ValueError(f"{name} has {int(bad.sum())} non-finite values of {bad.size}; remove or replace them.")
