"""How good a language model is, published or computed here, and whether that goes with how it predicts the brain.

Published scores depend on the protocol (prompts, shots, metric, harness) as much as on the model: a table holds one
protocol, and no average is taken over two. What is computed here needs nothing but the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.stats import norm, spearmanr
from scipy.stats import t as student_t

from brainalign._checks import finite, labelled, listed, one_of, shaped, varying, whole
from brainalign.assets import read_toml
from brainalign.features import language
from brainalign.ridge.encoding import cross_validate
from brainalign.stats import Estimate, pearson

FILES = Path(__file__).with_name("data")
LEAST_MODELS = 5  # for a correlation over them

LEFT_OUT = ("mmlu", "truthfulqa", "gsm8k")
"""Benchmarks that `average` takes only when named. Among base models of up to some 7 billion parameters most answer
MMLU at chance (25 %) and GSM8K near 0; TruthfulQA falls as models of one family grow."""


def published(protocol: str = "leaderboard") -> pd.DataFrame:
    """Published benchmark scores of open language models, all of one protocol.

    Parameters
    ----------
    protocol : {"leaderboard", "zero-shot", "zero-shot-lighteval"}
        The Open LLM Leaderboard v1 (lm-evaluation-harness; ARC 25-shot, HellaSwag 10, MMLU 5, TruthfulQA 0, WinoGrande
        5, GSM8K 5); one zero-shot run of lm-evaluation-harness; or lighteval's zero-shot numbers on the cards of
        SmolLM2. Scores of the same benchmark differ between them by several points.

    Returns
    -------
    DataFrame, index model (Hugging Face name)
        `protocol`; `in_study`: among the twelve models taken for those of Mischler et al. (2024), of which
        `features.lesions.registry` says which are confirmed; `kin`: the model of this table that it was fine-tuned from
        or shares most of its training with, and so is no independent observation of ("" for none known);
        `parameters_millions`, `n_layers`, `width`; one column a benchmark, in percent, NaN where nothing was found;
        `source` and `url` of the row's scores.
    """
    sources = pd.read_csv(FILES / "leaderboard_sources.csv")
    table = pd.read_csv(FILES / "leaderboard.csv").merge(sources, on="source", how="left")
    table = table.assign(in_study=table["in_study"].eq("yes"), kin=table["kin"].fillna("")).drop(columns="what")
    one_of("protocol", protocol, table["protocol"].unique())
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
        For rows of more than one protocol.
    """
    one_of("rule", rule, ("z", "z-available", "mean"))
    if table["protocol"].nunique() != 1:
        raise ValueError(f"table: expected rows of one protocol, got {listed(table['protocol'].unique())}.")
    present = list(table.columns[table.columns.get_loc("width") + 1 : table.columns.get_loc("source")])
    columns = [name for name in present if name not in LEFT_OUT] if columns is None else columns
    scores = table[[one_of("columns", name, present) for name in columns]]
    complete = scores.dropna()
    whole("models with all columns", len(complete), 3)
    if rule == "mean":
        return complete.mean(axis=1).reindex(table.index)
    varying("table", complete.to_numpy(), "benchmarks", columns)
    z = (scores - complete.mean()) / complete.std(ddof=0)
    needed = len(columns) if rule == "z" else (len(columns) + 1) // 2
    return z.mean(axis=1).where(scores.notna().sum(axis=1) >= needed)


class NextWord(NamedTuple):
    """Bits a word (lower is better), and shares of words that were the first guess or among the first ten."""

    bits: float
    top1: float
    top10: float


def next_word(words: pd.DataFrame, model: language.Model, *, context: int | None = None, **settings: Any) -> NextWord:
    """How well a causal language model predicts each word of a text from those before it.

    A word of several tokens counts as guessed if each of them was, given those before it. Bits are a word's rather than
    a token's, so that models with other tokens compare. `words` and `context` as in
    `features.language.LanguageModel.predictions`, the others as in `LanguageModel`; a start token is put before each
    passage unless they say otherwise, so that first words count too.
    """
    reader = language.LanguageModel(model, **{"start_token": True, **settings})
    found = reader.predictions(words, context=context)
    bits, rank = (found[name].to_numpy()[found["bits"].notnull().to_numpy()] for name in ("bits", "rank"))
    return NextWord(float(bits.mean()), float((rank <= 1).mean()), float((rank <= 10).mean()))


@cache
def _grammar() -> dict[str, Any]:
    return read_toml(FILES / "minimal_pairs.toml")


_SLOT = re.compile(r"\{([a-z]+)(\d?)(?::(\d+))?\}")
_CHOICE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")


def minimal_pairs(n_per_phenomenon: int = 70, *, seed: int = 0) -> pd.DataFrame:
    """Pairs of sentences that differ in one point of grammar, only the first of them grammatical.

    Generated from the project's own templates and words (``data/minimal_pairs.toml``); idea and scoring are those of
    BLiMP (Warstadt et al. 2020, Transactions of the ACL 8). Both sentences of a pair have about as many words, so that
    neither is more probable for its length. Gives a table [phenomenon, paradigm, good, bad], in which the pairs of a
    phenomenon are spread evenly over its templates (`paradigm` is the template's number) and none comes twice.
    """
    whole("n_per_phenomenon", n_per_phenomenon)
    rows = []
    for number, (phenomenon, templates) in enumerate(_grammar()["phenomena"].items()):
        rng = np.random.default_rng([seed, number])  # phenomena do not depend on each other
        found: dict[tuple[str, str], int] = {}
        for paradigm, template in enumerate(templates):
            wanted, in_vain = len(found) + len(range(paradigm, n_per_phenomenon, len(templates))), 0
            while len(found) < wanted:
                pair = _fill(template, rng)
                in_vain = in_vain + 1 if pair in found else 0
                found.setdefault(pair, paradigm)
                if in_vain == 500:
                    raise ValueError(f"n_per_phenomenon: {phenomenon} has no {n_per_phenomenon} pairs; ask for fewer.")
        rows += [(phenomenon, paradigm, *pair) for pair, paradigm in found.items()]
    return pd.DataFrame(rows, columns=["phenomenon", "paradigm", "good", "bad"])


def _fill(template: str, rng: np.random.Generator) -> tuple[str, str]:
    words = _grammar()["words"]
    drawn: dict[tuple[str, str], str] = {}

    def slot(match: re.Match) -> str:
        name, number, digits = match.groups()
        if (name, number) not in drawn:
            left = [word for word in words[name] if word not in drawn.values()]
            drawn[name, number] = left[rng.integers(len(left))]
        forms = drawn[name, number].split("|")
        chosen = [forms[int(digit) - 1] for digit in digits or "1"]
        return chosen[0] if len(chosen) == 1 else f"[{chosen[0]}|{chosen[1]}]"

    filled = _SLOT.sub(slot, template)
    good, bad = (_CHOICE.sub(rf"\{side}", filled) for side in (1, 2))
    return good[0].upper() + good[1:], bad[0].upper() + bad[1:]


def minimal_pair_accuracy(pairs: pd.DataFrame, model: language.Model, **options: Any) -> pd.Series:
    """Share of pairs, by phenomenon, in which a language model finds the good sentence more probable than the bad one.

    The probability of a sentence is that of all its words; ties count half. Guessing gives 0.5. `pairs` [phenomenon,
    good, bad] are as from `minimal_pairs`, the others as in `features.language.surprisal`; a start token is put before
    each sentence unless options say otherwise.
    """
    if (equal := pairs["good"] == pairs["bad"]).any():
        raise ValueError(f"pairs: expected two different sentences, got {pairs['good'][equal].iloc[0]!r} twice.")
    sentences = pd.unique(pairs[["good", "bad"]].to_numpy().ravel())
    words = pd.DataFrame({"word": [s.split() for s in sentences], "passage": np.arange(len(sentences))})
    words = words.explode("word", ignore_index=True)
    bits = language.surprisal(words, model, **{"start_token": True, **options}).to_numpy()
    total = pd.Series(np.bincount(words["passage"].to_numpy(int), np.nan_to_num(bits)), index=sentences)
    margin = total[pairs["bad"]].to_numpy() - total[pairs["good"]].to_numpy()
    right = pd.Series((np.sign(margin) + 1) / 2, name="accuracy")
    return right.groupby(pairs["phenomenon"].to_numpy(), sort=False).mean().rename_axis("phenomenon")


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
        Of `ridge.cross_validate`; with confounds, ``partial`` is the score.

    Returns
    -------
    Dataset
        ``score`` (model, noise), mean over channels of the best layer's score, without noise first; ``rho`` (model,
        noise), rank correlation of peak layer with distance; ``equal`` (model), rho at the noise where the score is
        that of the worst model without noise, between levels linearly.
    """
    plain = np.asarray(responses, dtype=float)
    draws = np.random.default_rng(seed).standard_normal((n_draws, *plain.shape))
    noisy = [plain + level * plain.std(0) * draw for level in levels for draw in draws]
    noisy = xr.DataArray(np.concatenate([plain, *noisy], axis=1), dims=("word", "channel"))
    name = "score" if options.get("confounds") is None else "partial"
    found = np.empty((2, len(features), 1 + len(levels)))
    for k, values in enumerate(features.values()):
        fit = cross_validate(values, noisy, **options)[name].to_numpy().reshape(values.shape[0], -1, plain.shape[1])
        of_copies = [fit.max(0).mean(1), [spearmanr(peak, distance).statistic for peak in fit.argmax(0)]]
        first, others = np.split(np.array(of_copies), [1], axis=1)
        found[:, k] = np.hstack([first, others.reshape(2, -1, n_draws).mean(2)])
    score, rho = found
    equal = [np.interp(score[:, 0].min(), s[::-1], r[::-1]) for s, r in zip(score, rho, strict=True)]
    both, coords = ("model", "noise"), {"model": list(features), "noise": [0.0, *levels]}
    return xr.Dataset({"score": (both, score), "rho": (both, rho), "equal": ("model", equal)}, coords)


class PerformanceCorrelation(NamedTuple):
    """Correlation `r` over models of performance with a brain measure.

    Its interval is over people and models; `p` is of the slope against the null, NaN without one; `without_low` and
    `without_high` are the range of r when one model is left out.
    """

    r: Estimate
    p: float
    without_low: float
    without_high: float


def performance_correlation(
    performance: ArrayLike,
    score: ArrayLike,
    subjects: ArrayLike | None = None,
    *,
    null: ArrayLike | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> PerformanceCorrelation:
    """Do models that perform better predict the brain better?

    The channels of a person are averaged, then the people, and the result is correlated with performance over models.
    For the interval (95 %) people are drawn whole, with all models at once, for models that are alike share their luck
    with a channel's noise: the mean over people has a multivariate t distribution (Gelman et al. 2013, Bayesian Data
    Analysis, section 3.6). Models are drawn with replacement, as many as make the spread of a mean that of Student's t
    interval, where a plain bootstrap is too narrow (Hesterberg 2015, The American Statistician 69). The interval is for
    the words that people met; evidence that the relation is one with the *text* is `p`.

    Parameters
    ----------
    performance : array-like of shape (model,)
        Higher is better.
    score : array-like or DataArray of shape (model, channel)
        Brain score, or peak layer as a fraction of depth.
    subjects : array-like of shape (channel,), optional
        Person of each channel; without it each channel is one.
    null : array-like or DataArray of shape (draw, model, channel), optional
        The same measure, every choice such as that of the best layer included, where chance alone is at work (`null` of
        `ridge.cross_validate`, `ridge.content_null`), each draw the same for all models and people. Its mean, what
        features give by themselves, is taken away. To be given for scores, not for peak layers. The two-sided p value
        compares the slope of the mean score over performance with that of each draw: the correlation itself is large
        under the null, too, where models are alike.
    n_resamples, seed : int

    Returns
    -------
    PerformanceCorrelation
        From three people or more, and five models or more. Of a single channel, such as an average brain's, the
        interval is over models alone.

    Raises
    ------
    ValueError
        For performance or scores that are the same for all models.
    """
    performance = finite("performance", shaped("performance", performance, "model"))
    score = finite("score", shaped("score", score, len(performance), "channel"))
    n_models, n_channels = score.shape
    null = finite("null", np.empty((0, *score.shape)) if null is None else null)
    shaped("null", null, "draw", *score.shape)
    subjects = np.arange(n_channels) if subjects is None else subjects
    least = 3 if n_channels > 1 else 1
    names, person = np.unique(labelled("subjects", subjects, n_channels, least=least), return_inverse=True)
    n = len(names)
    whole("models", n_models, LEAST_MODELS)
    varying("performance", performance[:, None])

    membership = np.eye(n)[person] / np.bincount(person)[person][:, None]  # (channel, person)
    draws = null @ membership  # (draw, model, person)
    by_subject = score @ membership - (draws.mean(0) if len(draws) else 0.0)
    mean = by_subject.mean(1)
    if np.ptp(mean) <= 1e-12 * max(1.0, np.abs(mean).max()):
        raise ValueError("score: all models have the same mean; no correlation.")

    r, everyone = pearson(performance, mean), np.arange(n_models)
    others = np.array([np.delete(everyone, i) for i in everyone])
    without = pearson(performance[others], mean[others], axis=1)

    rng = np.random.default_rng(seed)
    error = (by_subject - mean[:, None]) / np.sqrt(n * max(n - 1, 1))  # of a single channel 0
    heavy = np.sqrt((n - 1) / rng.chisquare(max(n - 1, 1), n_resamples))
    means = mean + heavy[:, None] * (rng.standard_normal((n_resamples, n)) @ error.T)
    wider = (student_t.ppf(0.975, n_models - 1) / norm.ppf(0.975)) ** 2 * n_models
    size = max(LEAST_MODELS - 1, round((n_models - 1) * n_models / wider))
    rows = _draw_models(n_models, size, LEAST_MODELS - 1, n_resamples, rng)
    drawn = pearson(performance[rows], np.take_along_axis(means, rows, axis=1), axis=1)
    low, high = np.nanquantile(drawn, [0.025, 0.975])  # a draw that leaves nothing to correlate is NaN

    p = np.nan
    if len(draws):
        weights = performance - performance.mean()
        own, slopes = weights @ (score @ membership).mean(1), draws.mean(2) @ weights
        centre = (own + slopes.sum()) / (1 + len(slopes))  # of all, or the observed slope would be the odd one out
        p = (1 + (np.abs(slopes - centre) >= abs(own - centre)).sum()) / (1 + len(slopes))
    estimate = Estimate(float(r), float(low), float(high), n)
    return PerformanceCorrelation(estimate, float(p), float(without.min()), float(without.max()))


def _draw_models(n: int, size: int, n_different: int, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draws (draw, size) of models with replacement, at least `n_different` different ones in each."""
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < n_draws:
        rows = np.sort(rng.integers(n, size=(n_draws, size)), axis=1)
        kept.append(rows[(np.diff(rows, axis=1) > 0).sum(1) + 1 >= n_different])
    return np.concatenate(kept)[:n_draws]
