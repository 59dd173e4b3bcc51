"""Designs of passages long and short: folds, chance and averages in which passages are what is independent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import binom, binomtest, spearmanr, ttest_1samp

from brainalign import stats
from brainalign.datasets import Listening
from brainalign.layers import peak_layer
from brainalign.ridge import RolledSweeps, content_null, cross_validate, variance_partition, word_sweep
from brainalign.story import AVERAGE, PEOPLE, story

ALPHAS = {"alphas": np.logspace(0, 4, 5)}
LEVELS = {
    "long passages": [PEOPLE],
    **dict.fromkeys(["sentences", "mixture", "one value a sentence"], [AVERAGE, PEOPLE]),
}
DESIGNS = list(LEVELS)


def words_of(design: str, rng: np.random.Generator) -> pd.DataFrame:
    sentences = rng.integers(5, 16, 205)
    lengths = {
        "long passages": [150] * 4,
        "sentences": sentences,
        "mixture": [160, *sentences[:60], 140],
        "one value a sentence": sentences[:120],
    }[design]
    words = pd.DataFrame({"word": "word", "passage": np.repeat(np.arange(len(lengths)), lengths).astype(str)})
    place = words.groupby("passage").cumcount()
    last = words["passage"] != words["passage"].shift(-1)
    answered = last if design == "one value a sentence" else (place > 0) & ~last
    letters = rng.integers(2, 9, len(words))
    return words.assign(onset=np.nan, offset=np.nan, word=[k * "a" for k in letters], place=place, answered=answered)


def slow(words: pd.DataFrame, n: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers (word, n) that are alike within a passage and in neighbouring words, and drift with the position."""
    noise = rng.standard_normal((len(words), n))
    for row in range(1, len(noise)):
        noise[row] = 0.6 * noise[row - 1] + 0.8 * noise[row]
    passage = pd.factorize(words["passage"])[0]
    drift = rng.standard_normal(n) * np.minimum(words["place"].to_numpy()[:, None], 15) / 10
    return noise + rng.standard_normal((passage.max() + 1, n))[passage] + drift


def readers(words: pd.DataFrame, shared: np.ndarray, rng: np.random.Generator, n: int = 6) -> Listening:
    """People who share a response, each with noise of their own and a tenth of the trials rejected."""
    values = shared[:, None] + 2 * rng.standard_normal((len(words), n))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[~words["answered"].to_numpy()] = np.nan
    names = [f"r{k}" for k in range(n)]
    table = pd.DataFrame({"subject": names, "region": "Pz", "hemisphere": ""}, index=pd.Index(names, name="channel"))
    table[["x", "y", "z", "distance_pmc"]] = np.nan
    return Listening(
        "mine", "erp", words, table, responses=xr.DataArray(values, {"channel": names}, ("word", "channel"))
    )


def layers_of(words: pd.DataFrame, rng: np.random.Generator, n: int = 2) -> xr.DataArray:
    return xr.DataArray(np.stack([slow(words, 6, rng) for _ in range(n)]), dims=("layer", "word", "feature"))


def p_on_nothing(design: str, n_cohorts: int) -> pd.DataFrame:
    """p values in cohorts whose responses are as alike within passages, and drift as much, as the descriptions do.

    Six people share a response that no description explains. The better of two layers, beyond word length and position.
    """
    rng, rows = np.random.default_rng(DESIGNS.index(design)), []
    for cohort in range(n_cohorts):
        words = words_of(design, rng)
        told = story(readers(words, slow(words, 1, rng)[:, 0], rng), 4, gap=5, confounds="rate")
        values = layers_of(words, rng)
        fit = cross_validate(word_sweep(values, told.design), told.heads, standardize=False, **ALPHAS, **told.options)
        chance = content_null(values, told.design, told.heads, n_rolls=39, seed=cohort, **ALPHAS, **told.options)
        best, rolled = (told.summary(part).max("layer") for part in (fit["partial"], chance))
        own = told.of_subjects(fit["partial"].max("layer"))
        p = dict(zip(told.levels, stats.p_values(best, rolled).to_numpy(), strict=True))
        rows.append(p | {"t over people": ttest_1samp(own, 0, alternative="greater").pvalue})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("design", DESIGNS)
def test_a_layer_that_holds_nothing_adds_beyond_chance_at_the_nominal_rate(design):
    n, found = 40, p_on_nothing(design, 40)
    for level in (0.05, 0.2):
        low, high = binom.ppf([0.001, 0.999], n, level)
        assert (found[[*LEVELS[design]]] <= level).sum().between(low, high).all()


@pytest.mark.simulation
def test_designs_on_four_hundred_cohorts(project):
    rows, n = [], 400
    for design in DESIGNS:
        for name, p in p_on_nothing(design, n).items():
            called, nominal = int((p <= 0.05).sum()), 0.05
            low, high = binomtest(called, n).proportion_ci()
            note = "six people share a response; the better of two layers; null of 39 exchanges or shifts"
            rows.append([f"{design}: {name}", n, called, called / n, low, high, nominal, note])
            assert name == "t over people" or low <= nominal <= high, rows[-1]
    columns = ["simulation", "n", "called", "rate", "low", "high", "nominal", "note"]
    table = pd.DataFrame(rows, columns=columns)
    file = project / "book" / "simulations" / "sentences.csv"
    table.to_csv(file, index=False, float_format="%.4f")


def test_planted_layers_are_recovered_in_people_who_read_sentences():
    """Each of twelve people follows a layer of her own; layers resemble their neighbours, as those of models do."""
    rng = np.random.default_rng(0)
    words = words_of("sentences", rng)
    steps = layers_of(words, rng, 12)
    values = steps.copy(data=np.stack([steps[k : k + 3].sum("layer") for k in range(12)]))
    planted = np.arange(12)
    signal = np.stack([values[k].to_numpy() @ rng.standard_normal(6) for k in planted], axis=1)
    data = readers(words, np.zeros(len(words)), rng, n=12)
    data.responses[:] += 2 * signal / signal.std(0)
    told = story(data, 5)
    fit = cross_validate(word_sweep(values, told.design), told.responses, standardize=False, **ALPHAS, **told.options)
    own = fit["partial"][:, told.responses["group"].to_numpy() == "people"]
    assert spearmanr(peak_layer(own), planted).statistic >= 0.9


def test_sentences_stay_whole_and_words_without_a_response_are_no_samples():
    rng = np.random.default_rng(1)
    words = words_of("sentences", rng)
    data = readers(words, np.zeros(len(words)), rng)
    told = story(data, 5, skip=10)
    heard = np.flatnonzero(np.isfinite(data.responses).sum("channel") >= 3)  # half of six people
    assert words["answered"][heard].all() and len(heard) > 0.95 * words["answered"].sum()
    np.testing.assert_array_equal(told.design.argmax("word"), heard)
    assert told.levels == [AVERAGE, PEOPLE] and told.confounds.shape == (len(heard), 3)  # letters, and position twice
    groups = told.options["groups"]
    tested = []
    for train, test in told.options["cv"].split(groups, None, groups):
        assert not set(groups[train]) & set(groups[test])
        tested += [*test]
    assert sorted(tested) == list(range(len(heard)))
    values = data.responses.to_numpy()[heard]
    z = (values - np.nanmean(values, 0)) / np.nanstd(values, 0)
    group = told.responses["group"].to_numpy()
    np.testing.assert_allclose(told.responses[:, group == "average"][:, 0], np.nanmean(z, 1))
    np.testing.assert_allclose(told.responses[:, group == "people"], np.nan_to_num(z))
    without = [np.nanmean(np.delete(z, k, axis=1), 1) for k in range(6)]
    np.testing.assert_allclose(told.responses[:, group == "without"], np.stack(without, axis=1))
    removed = story(data, 5, remove=True).responses[:, group == "people"].to_numpy()
    here = np.isfinite(values[:, 0])
    assert np.abs(told.confounds.to_numpy()[here].T @ removed[here, 0]).max() < 1e-8 and (removed[~here, 0] == 0).all()


def test_chance_moves_responses_as_the_sweeps_move_descriptions():
    rng = np.random.default_rng(2)
    words = words_of("mixture", rng)
    told = story(readers(words, np.zeros(len(words)), rng), 4)
    values = layers_of(words, rng)
    rolls = RolledSweeps(values, told.design, n_rolls=5, seed=3)
    orders = stats.Shifts(5, 50, seed=3).orders(len(told.design), told.options["groups"])
    plain = word_sweep(values, told.design)
    for rolled, order in zip(rolls, orders, strict=True):
        np.testing.assert_array_equal(rolled, plain[:, order])
    options = {name: told.options[name] for name in ("cv", "inner_cv", "groups")} | ALPHAS
    null = content_null(values, told.design, told.heads, n_rolls=5, seed=3, **options)
    back = np.argsort(orders, axis=1)
    expected = cross_validate(plain, told.heads, standardize=False, null=back, **options)["null"]
    np.testing.assert_allclose(null, expected)
    spaces = {"a": plain[0].to_numpy(), "b": plain[1].to_numpy()}
    shares = variance_partition(spaces, told.heads, rivals={"b": [rolled[1].to_numpy() for rolled in rolls]}, **options)
    assert shares["rivals"].sizes["draw"] == 5


@pytest.mark.parametrize("together", [False, True])
def test_what_sentences_hold_is_found_beyond_chance(together):
    """Planted in words, or in one value a sentence."""
    rng = np.random.default_rng(4)
    words = words_of("one value a sentence" if together else "sentences", rng)
    values = layers_of(words, rng)
    told = story(readers(words, values[0].sum("feature").to_numpy() / 2, rng), 4)
    fit = cross_validate(word_sweep(values, told.design), told.heads, standardize=False, **ALPHAS, **told.options)
    chance = content_null(values, told.design, told.heads, n_rolls=39, **ALPHAS, **told.options)
    found = told.summary(fit["partial"])
    assert (stats.p_values(found, told.summary(chance))[:, 0] == 1 / 40).all()
    assert (found[:, 0] < told.ceilings() + 0.1).all() and (found[:, 0] > 0.6 * told.ceilings()).all()


def test_passages_that_nothing_can_be_exchanged_with_are_refused_at_once():
    rng = np.random.default_rng(5)
    words = pd.DataFrame({"word": "word", "passage": np.repeat(list("abc"), [40, 50, 60]), "onset": np.nan})
    words = words.assign(offset=np.nan, place=0, answered=True)
    with pytest.raises(ValueError, match="at least 100 samples for 50, or several of one length.*join passages"):
        story(readers(words, np.zeros(150), rng), 3)
