"""How good a language model is, published or computed here, and whether that goes with how it predicts the brain.

Published scores depend on the protocol (prompts, shots, metric, harness) as much as on the model: a table holds one
protocol, and no average is taken over two. What is computed here needs nothing but the model: predicting the words of
a text, and telling grammatical from ungrammatical sentences.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata, spearmanr
from scipy.stats import t as student_t

from brainalign.features import language
from brainalign.ridge.encoding import cross_validate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = Path(__file__).with_name("data")

PROTOCOLS = ("leaderboard", "zero-shot", "zero-shot-lighteval")

LEFT_OUT = ("mmlu", "truthfulqa", "gsm8k")
"""Benchmarks that `average` takes only when named. Among base models of up to some 7 billion parameters most answer
MMLU at chance (25 %) and GSM8K near 0; TruthfulQA falls as models of one family grow."""

RULES = ("z", "z-available", "mean")


# ---------------------------------------------------------------------------------------------------------- published


def published(protocol: str = "leaderboard") -> pd.DataFrame:
    """Published benchmark scores of open language models, all of one protocol.

    Parameters
    ----------
    protocol : {"leaderboard", "zero-shot", "zero-shot-lighteval"}
        The Open LLM Leaderboard v1 (lm-evaluation-harness; ARC 25-shot, HellaSwag 10, MMLU 5, TruthfulQA 0, WinoGrande
        5, GSM8K 5); one zero-shot run of lm-evaluation-harness over 24 models; or lighteval's zero-shot numbers on the
        cards of SmolLM2. Scores of the same benchmark differ between them by several points.

    Returns
    -------
    DataFrame, index model (Hugging Face name)
        `protocol`; `in_study`: among the twelve models of 7 billion parameters taken for those of Mischler et al.
        (2024), of which `features.lesions.registry` says which are confirmed; `kin`: the model of this table that it
        was fine-tuned from or shares most of its training with, and so is no independent observation of ("" for none
        known); `parameters_millions`, `n_layers`, `width`; one column a benchmark, in percent, NaN where nothing was
        found; `source` and `url` of the row's scores.

    Raises
    ------
    ValueError
        For an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {PROTOCOLS}, got {protocol!r}.")
    sources = pd.read_csv(FILES / "leaderboard_sources.csv")
    table = pd.read_csv(FILES / "leaderboard.csv").merge(sources, on="source", how="left")
    table = table.assign(in_study=table["in_study"].eq("yes"), kin=table["kin"].fillna("")).drop(columns="what")
    return table[table["protocol"] == protocol].dropna(axis="columns", how="all").set_index("model")


def average(table: pd.DataFrame, columns: Sequence[str] | None = None, *, rule: str = "z") -> pd.Series:
    """One number of performance for each model.

    Parameters
    ----------
    table : DataFrame
        As `published` gives it, or rows of it.
    columns : sequence of str, optional
        Benchmarks. Default: all but those in `LEFT_OUT`.
    rule : {"z", "z-available", "mean"}
        "z": the mean of the benchmarks' z-scores, over models that have all of them. "z-available": the mean of the
        z-scores a model has, if it has at least half. "mean": the mean of the percentages, for models that have all;
        benchmarks that spread more then weigh more.

    Returns
    -------
    Series of shape (model,)
        NaN for models with too few scores.

    Raises
    ------
    ValueError
        For rows of more than one protocol, benchmarks that the table does not hold, an unknown rule, a benchmark that
        does not vary, or fewer than three models with all scores.
    """
    if rule not in RULES:
        raise ValueError(f"rule: expected one of {RULES}, got {rule!r}.")
    if "protocol" not in table or table["protocol"].nunique() != 1:
        found = sorted(table["protocol"].unique()) if "protocol" in table else "no column 'protocol'"
        raise ValueError(f"table: expected rows of one protocol, as published() gives them, got {found}.")
    present = list(table.columns[table.columns.get_loc("width") + 1 : table.columns.get_loc("source")])
    columns = [name for name in present if name not in LEFT_OUT] if columns is None else list(columns)
    unknown = [name for name in columns if name not in present]
    if unknown or not columns:
        raise ValueError(f"columns: expected some of {present}, which this protocol has, got {unknown or columns}.")
    scores = table[columns]
    complete = scores.dropna()
    if len(complete) < 3:
        raise ValueError(f"table: only {len(complete)} models have all of {columns}; ask for fewer columns.")
    if rule == "mean":
        return complete.mean(axis=1).reindex(table.index)
    spread = complete.std(ddof=0)
    if (spread == 0).any():
        raise ValueError(f"columns: {list(spread.index[spread == 0])} do not vary; leave them out.")
    z = (scores - complete.mean()) / spread
    needed = len(columns) if rule == "z" else (len(columns) + 1) // 2
    return z.mean(axis=1).where(scores.notna().sum(axis=1) >= needed)


# ----------------------------------------------------------------------------------------------------------- computed


class NextWord(NamedTuple):
    """Bits a word (lower is better), and shares of words that were the first guess or among the first ten."""

    bits: float
    top1: float
    top10: float
    n_words: int


def next_word(words: pd.DataFrame, model: language.Model, *, context: int | None = None, **settings: Any) -> NextWord:
    """How well a causal language model predicts each word of a text from those before it.

    A word of several tokens counts as guessed if each of them was, given those before it.

    Parameters
    ----------
    words, context
        As in `features.language.LanguageModel.predictions`.
    model, **settings
        As in `features.language.LanguageModel`. A start token is put before each passage unless they say otherwise, so
        that first words count too.

    Returns
    -------
    NextWord
        Bits rather than bits a token, so that models with other tokens compare.
    """
    reader = language.LanguageModel(model, **{"start_token": True, **settings})
    found = reader.predictions(words, context=context)
    bits, rank = (found[name].to_numpy()[found["bits"].notnull().to_numpy()] for name in ("bits", "rank"))
    return NextWord(float(bits.mean()), float((rank <= 1).mean()), float((rank <= 10).mean()), len(bits))


@cache
def _grammar() -> dict[str, Any]:
    return tomllib.loads((FILES / "minimal_pairs.toml").read_text(encoding="utf-8"))


_SLOT = re.compile(r"\{([a-z]+)(\d?)(?::(\d+))?\}")
_CHOICE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")


def minimal_pairs(n_per_phenomenon: int = 70, *, seed: int = 0) -> pd.DataFrame:
    """Pairs of sentences that differ in one point of grammar, only the first of them grammatical.

    Generated from the templates and word lists of ``data/minimal_pairs.toml``. Both sentences of a pair
    have about as many words, so that neither is more probable for its length.

    Parameters
    ----------
    n_per_phenomenon : int
        Pairs of each phenomenon, spread evenly over its templates; no pair comes twice.
    seed : int

    Returns
    -------
    DataFrame [phenomenon, paradigm, good, bad]
        `paradigm` is the number of the template.

    Raises
    ------
    ValueError
        If n_per_phenomenon is not a positive whole number, or more than the templates can give.

    References
    ----------
    The idea and the scoring are those of BLiMP: Warstadt et al. (2020), Transactions of the ACL 8. Templates and words
    are the project's own.
    """
    if int(n_per_phenomenon) != n_per_phenomenon or n_per_phenomenon < 1:
        raise ValueError(f"n_per_phenomenon: expected a whole number of pairs from 1, got {n_per_phenomenon!r}.")
    rows = []
    for number, (phenomenon, templates) in enumerate(_grammar()["phenomena"].items()):
        rng = np.random.default_rng([seed, number])  # phenomena do not depend on each other
        found: dict[tuple[str, str], int] = {}
        for paradigm, template in enumerate(templates):
            wanted = len(found) + len(range(paradigm, n_per_phenomenon, len(templates)))
            in_vain = 0
            while len(found) < wanted:
                before = len(found)
                found.setdefault(_fill(template, rng), paradigm)
                in_vain = 0 if len(found) > before else in_vain + 1
                if in_vain == 500:
                    raise ValueError(
                        f"n_per_phenomenon: {phenomenon} has no {n_per_phenomenon} different pairs; ask for fewer."
                    )
        rows += [(phenomenon, paradigm, *pair) for pair, paradigm in found.items()]
    return pd.DataFrame(rows, columns=["phenomenon", "paradigm", "good", "bad"])


def _fill(template: str, rng: np.random.Generator) -> tuple[str, str]:
    words = _grammar()["words"]
    drawn: dict[tuple[str, str], str] = {}

    def entry(name: str, number: str) -> str:
        if (name, number) not in drawn:
            left = [word for word in words[name] if word not in drawn.values()]
            drawn[name, number] = left[rng.integers(len(left))]
        return drawn[name, number]

    def slot(match: re.Match) -> str:
        forms = entry(match[1], match[2]).split("|")
        chosen = [forms[int(digit) - 1] for digit in match[3] or "1"]
        return chosen[0] if len(chosen) == 1 else f"[{chosen[0]}|{chosen[1]}]"

    filled = _SLOT.sub(slot, template)
    good, bad = (_CHOICE.sub(rf"\{side}", filled) for side in (1, 2))
    return good[0].upper() + good[1:], bad[0].upper() + bad[1:]


def minimal_pair_accuracy(pairs: pd.DataFrame, model: language.Model, **options: Any) -> pd.Series:
    """Share of pairs in which a language model finds the good sentence more probable than the bad one.

    The probability of a sentence is that of all its words; ties count half. Guessing gives 0.5.

    Parameters
    ----------
    pairs : DataFrame [phenomenon, good, bad]
        As `minimal_pairs` gives them.
    model, **options
        As in `features.language.surprisal`. A start token is put before each sentence unless options say otherwise.

    Returns
    -------
    Series of shape (phenomenon,)
        In the order of `pairs`.

    Raises
    ------
    ValueError
        For missing columns, no pairs, or pairs of two equal sentences.
    """
    missing = [column for column in ("phenomenon", "good", "bad") if column not in pairs]
    if missing or not len(pairs):
        raise ValueError(f"pairs: expected rows with phenomenon, good and bad, got {len(pairs)} without {missing}.")
    if (pairs["good"] == pairs["bad"]).any():
        raise ValueError(f"pairs: two equal sentences, {pairs['good'][pairs['good'] == pairs['bad']].iloc[0]!r}.")
    sentences = pd.unique(pairs[["good", "bad"]].to_numpy().ravel())
    words = pd.DataFrame({"word": [s.split() for s in sentences], "passage": np.arange(len(sentences))})
    words = words.explode("word", ignore_index=True)
    bits = language.surprisal(words, model, **{"start_token": True, **options}).to_numpy()
    total = pd.Series(np.bincount(words["passage"].to_numpy(int), np.nan_to_num(bits)), index=sentences)
    margin = total[pairs["bad"]].to_numpy() - total[pairs["good"]].to_numpy()
    right = pd.Series(np.where(margin == 0, 0.5, margin > 0).astype(float), name="accuracy")
    return right.groupby(pairs["phenomenon"].to_numpy(), sort=False).mean().rename_axis("phenomenon")


# -------------------------------------------------------------------------------------------------------- brain score


def brain_score(
    features: xr.DataArray,
    responses: xr.DataArray,
    *,
    orders: ArrayLike | None = None,
    confounds: ArrayLike | None = None,
    **options: Any,
) -> xr.Dataset:
    """Score each layer of a model, and what chance gives it, in one pass.

    For chance the responses are brought into other orders; these copies are further channels of the same
    decompositions. An order is the same for all channels, so that what channels share stays shared, and should be the
    same for all models.

    Parameters
    ----------
    features : DataArray of shape (layer, word, feature)
    responses : DataArray of shape (word, channel)
        Or volumes, or any other samples.
    orders : array-like of shape (copy, word), optional
        The sample that stands at each place: `stats.circular_shifts` for a series, `stats.group_permutations` for items
        without an order.
    confounds : array-like of shape (word, column), optional
        As in `ridge.cross_validate`. Scores are then its ``partial``; what is brought into another order is the
        residual of the confounds' least-squares fit, and the fit is added back (Freedman & Lane 1983).
    **options
        Of `ridge.cross_validate`.

    Returns
    -------
    Dataset
        ``score`` (layer, channel) and ``null`` (copy, layer, channel).

    Raises
    ------
    ValueError
        As `ridge.cross_validate`, or for orders that are none of the samples.
    """
    sample, channel = responses.dims
    y = responses.to_numpy().astype(float)
    orders = np.empty((0, len(y)), dtype=int) if orders is None else np.asarray(orders)
    if orders.shape[1:] != (len(y),) or not (np.sort(orders, axis=1) == np.arange(len(y))).all():
        raise ValueError(f"orders: expected rows that hold each of {len(y)} samples once, got shape {orders.shape}.")
    free = np.ones((len(y), 1)) if confounds is None else np.column_stack([np.ones(len(y)), confounds])
    kept = free @ np.linalg.lstsq(free, y, rcond=None)[0]
    copies = np.concatenate([y[None], kept + (y - kept)[orders]])
    every = xr.DataArray(np.concatenate(copies, axis=1), dims=(sample, channel))
    score = cross_validate(features, every, confounds=confounds, **options)["score" if confounds is None else "partial"]
    values = score.to_numpy().reshape(len(score), len(copies), -1)
    layer = score.dims[0]
    coords = {name: c for name, c in responses.coords.items() if c.dims == (channel,)}
    coords |= {name: c for name, c in score.coords.items() if c.dims == (layer,)}
    return xr.Dataset(
        {
            "score": ((layer, channel), values[:, 0]),
            "null": (("copy", layer, channel), values[:, 1:].swapaxes(0, 1)),
        },
        coords,
    )


def alignment_under_noise(
    features: Mapping[str, xr.DataArray],
    responses: xr.DataArray | np.ndarray,
    distance: ArrayLike,
    *,
    levels: Sequence[float] = (0.5, 1, 2, 4, 8),
    n_draws: int = 2,
    seed: int = 0,
    **options: Any,
) -> xr.Dataset:
    """Do models order their peak layers along the cortex, and what of it is left where all predict equally well?

    Noisy peaks have no order, so that a model which predicts worse follows a hierarchy less for that alone. Noise, the
    same for all models, is added to the responses, everything is fitted again, and models are compared at the score of
    the worst.

    Parameters
    ----------
    features : mapping of str to DataArray of shape (layer, word, feature)
        By model.
    responses : DataArray or array of shape (word, channel)
    distance : array-like of shape (channel,)
        Such as that from primary auditory cortex (mm).
    levels : sequence of float
        Noise (standard deviations of the response), rising.
    n_draws, seed : int
        Draws of each level, whose results are averaged.
    **options
        Of `brain_score`.

    Returns
    -------
    Dataset
        Of (model, noise), without noise first: ``score``, mean over channels of the best layer's score, and ``rho``,
        rank correlation of peak layer with distance. Of (model): ``equal``, rho at the noise where the model's score is
        that of the worst model without noise, between levels linearly.
    """
    plain = np.asarray(responses, dtype=float)
    draws = np.random.default_rng(seed).standard_normal((n_draws, *plain.shape))
    noisy = [plain + level * plain.std(0) * draw for level in levels for draw in draws]
    noisy = xr.DataArray(np.concatenate([plain, *noisy], axis=1), dims=("word", "channel"))
    found = np.empty((2, len(features), 1 + len(levels)))
    for k, values in enumerate(features.values()):
        fit = brain_score(values, noisy, **options)["score"].to_numpy().reshape(values.shape[0], -1, plain.shape[1])
        of_copies = fit.max(0).mean(1), [spearmanr(peak, distance).statistic for peak in fit.argmax(0)]
        for own, copies in zip(found[:, k], np.array(of_copies), strict=True):
            own[:] = copies[0], *copies[1:].reshape(-1, n_draws).mean(1)
    score, rho = found
    equal = [np.interp(score[:, 0].min(), s[::-1], r[::-1]) for s, r in zip(score, rho, strict=True)]
    coords = {"model": list(features), "noise": [0.0, *levels]}
    both = ("model", "noise")
    return xr.Dataset({"score": (both, score), "rho": (both, rho), "equal": ("model", equal)}, coords)


# -------------------------------------------------------------------------------------------------------- correlation


class PerformanceCorrelation(NamedTuple):
    """Correlation `r` over models of performance with a brain measure.

    Interval from `low` to `high` over people and models; `p` of the slope against the null, NaN without one;
    `without_low` and `without_high`, the range of r when one model is left out.
    """

    r: float
    low: float
    high: float
    p: float
    without_low: float
    without_high: float
    n_models: int
    n_people: int


def performance_correlation(
    performance: ArrayLike,
    score: xr.DataArray | np.ndarray,
    people: ArrayLike | None = None,
    *,
    null: xr.DataArray | np.ndarray | None = None,
    covariates: ArrayLike | None = None,
    method: str = "pearson",
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> PerformanceCorrelation:
    """Do models that perform better predict the brain better?

    The channels of a person are averaged, then the people, and the result is correlated with performance over models.

    Three things would give an interval that is too narrow, or a correlation out of nothing:

    - Models that are alike share their luck with a channel's noise, so that scores of noise vary smoothly over a family
      and may correlate with anything that does. People are therefore drawn whole, with all models at once: draws of the
      mean over people come from the multivariate t distribution around it with the people's own covariance.
    - Another dozen models would give another correlation. Models are drawn with replacement, and fewer than there are:
      as many as make the spread of a mean that of Student's t interval, where a plain bootstrap is too narrow.
    - Features of more dimensions give noise other scores, at the best of several layers in particular. `null`, scores
      of the same responses to descriptions of other words, measures it: its mean is taken away.

    People who met the same words share luck as well: what fits the story fits all of them, and no spread between people
    shows it. The interval is their precision for these words; evidence that the relation is one with the *text* is `p`.

    Parameters
    ----------
    performance : array-like of shape (model,)
        Higher is better.
    score : DataArray or array of shape (model, channel)
        Brain score, or peak layer as a fraction of depth.
    people : array-like of shape (channel,), optional
        Person of each channel; without it each channel is one.
    null : DataArray or array of shape (copy, model, channel), optional
        The same measure, every choice such as that of the best layer included, where chance alone is at work: contents
        rolled along the words (`ridge.content_null`), shifted responses or exchanged items (`brain_score`), each
        copy the same for all models and all people. To be given for scores, not for peak layers. The two-sided p value
        compares the slope of the mean score over performance with that of each copy: the correlation itself is large
        under the null, too, where models are alike. Its least value is 1 / (1 + number of copies).
    covariates : array-like of shape (model,) or (model, covariate), optional
        Such as width or size: partial correlation, given these.
    method : {"pearson", "spearman"}
        Spearman's is Pearson's of the ranks, covariates ranked too.
    level : float
        Coverage.
    n_resamples, seed : int

    Returns
    -------
    PerformanceCorrelation

    Raises
    ------
    ValueError
        For lengths that differ, non-finite values, performance or covariates that are constant or tell the same, fewer
        than three people, or too few models: five, and one more for each covariate.

    References
    ----------
    Multivariate t draws: the posterior of a normal mean under Jeffreys' prior, Gelman et al. (2013), Bayesian Data
    Analysis, section 3.6. Narrow bootstraps of small samples: Hesterberg (2015), The American Statistician 69.
    """
    performance, score = np.asarray(performance, dtype=float), np.asarray(score, dtype=float)
    if score.ndim != 2 or performance.shape != score.shape[:1]:
        raise ValueError(f"score: expected shape (model, channel) for {performance.shape} models, got {score.shape}.")
    n_models, n_channels = score.shape
    people = np.arange(n_channels) if people is None else np.asarray(people)
    if pd.isna(people).any():
        raise ValueError(f"people: {int(pd.isna(people).sum())} channels have no person; name one for each.")
    if people.shape != (n_channels,):
        raise ValueError(f"people: expected one label for each of {n_channels} channels, got shape {people.shape}.")
    given = np.empty((n_models, 0)) if covariates is None else np.asarray(covariates, dtype=float)
    given = given.reshape(len(given), -1)
    if len(given) != n_models:
        raise ValueError(f"covariates: expected one row for each of {n_models} models, got {len(given)}.")
    null = np.empty((0, *score.shape)) if null is None else np.asarray(null, dtype=float)
    if null.ndim != 3 or null.shape[1:] != score.shape:
        raise ValueError(f"null: expected shape (copy, {n_models}, {n_channels}), got {null.shape}.")
    for name, values in {"performance": performance, "score": score, "covariates": given, "null": null}.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: {int((~np.isfinite(values)).sum())} non-finite values; leave those out.")
    if method not in ("pearson", "spearman") or not 0 < level < 1:
        raise ValueError(f"method, level: expected 'pearson' or 'spearman' and 0 to 1, got {method!r} and {level!r}.")
    names, person = np.unique(people, return_inverse=True)
    n_people, smallest = len(names), 5 + given.shape[1]
    if n_models < smallest or n_people < 3:
        raise ValueError(
            f"score: expected at least {smallest} models and 3 people, got {n_models} and {n_people}; use more, or "
            "fewer covariates."
        )
    free = np.column_stack([np.ones(n_models), given, performance])
    if method == "spearman":
        free[:, 1:] = rankdata(free[:, 1:], axis=0)
    if np.linalg.matrix_rank((free - free.mean(0))[:, 1:] / np.ptp(free, axis=0)[1:].clip(1e-300)) < free.shape[1] - 1:
        raise ValueError("performance, covariates: constant over models, or one follows from the others; drop it.")

    membership = np.eye(n_people)[person] / np.bincount(person)[person][:, None]  # (channel, person)
    copies = null @ membership  # (copy, model, person)
    by_subject = score @ membership - (copies.mean(0) if len(copies) else 0.0)
    mean = by_subject.mean(1)
    if np.ptp(mean) <= 1e-12 * max(1.0, np.abs(mean).max()):
        raise ValueError("score: all models have the same mean; no correlation.")

    def correlation(rows: np.ndarray, means: np.ndarray) -> np.ndarray:
        return _partial(performance[rows], means, given[rows], method)

    everyone = np.arange(n_models)
    without = [correlation(np.delete(everyone, i)[None], np.delete(mean, i)[None])[0] for i in everyone]

    rng = np.random.default_rng(seed)
    error = (by_subject - mean[:, None]) / np.sqrt(n_people * (n_people - 1))
    heavy = np.sqrt((n_people - 1) / rng.chisquare(n_people - 1, n_resamples))
    means = mean + heavy[:, None] * (rng.standard_normal((n_resamples, n_people)) @ error.T)
    wider = (student_t.ppf((1 + level) / 2, n_models - 1) / norm.ppf((1 + level) / 2)) ** 2 * n_models
    size = max(smallest - 1, round((n_models - 1) * n_models / wider))
    rows = _draw_models(n_models, size, smallest - 1, n_resamples, rng)
    draws = correlation(rows, np.take_along_axis(means, rows, axis=1))
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])

    p = np.nan
    if len(copies):
        alone = np.column_stack([np.ones(n_models), given])
        measure = performance - given @ np.linalg.lstsq(alone, performance, rcond=None)[0][1:]
        weights = (measure - measure.mean()) / n_people
        own, slopes = weights @ (score @ membership).sum(1), np.einsum("m,cmp->c", weights, copies)
        centre = (own + slopes.sum()) / (1 + len(slopes))  # of all, or the observed slope would be the odd one out
        p = (1 + (np.abs(slopes - centre) >= abs(own - centre)).sum()) / (1 + len(slopes))
    r = correlation(everyone[None], mean[None])[0]
    numbers = map(float, (r, low, high, p, min(without), max(without)))
    return PerformanceCorrelation._make([*numbers, n_models, n_people])


def _draw_models(n: int, size: int, n_different: int, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draws (draw, size) of models with replacement, at least `n_different` different ones in each."""
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < n_draws:
        rows = np.sort(rng.integers(n, size=(n_draws, size)), axis=1)
        kept.append(rows[(np.diff(rows, axis=1) > 0).sum(1) + 1 >= n_different])
    return np.concatenate(kept)[:n_draws]


def _partial(x: np.ndarray, y: np.ndarray, given: np.ndarray, method: str) -> np.ndarray:
    """Correlation over the last axis of x and y (draw, model), given covariates (draw, model, covariate)."""
    if method == "spearman":
        x, y, given = rankdata(x, axis=1), rankdata(y, axis=1), rankdata(given, axis=1) if given.size else given
    x, y = (a - a.mean(1, keepdims=True) for a in (x, y))
    if given.size:
        given = given - given.mean(1, keepdims=True)
        both = np.stack([x, y], axis=-1)
        x, y = np.moveaxis(both - given @ (np.linalg.pinv(given, rcond=1e-9) @ both), -1, 0)
    lengths = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw that leaves nothing to correlate is NaN
        return np.where(lengths > 1e-12, (x * y).sum(1) / lengths, np.nan)
