"""How often is surprisal called "beyond cloze" where predictability alone drives the N400, and cloze is its estimate?

A covariate that is measured with error leaves part of its effect to whatever goes along with it (Westfall & Yarkoni
2016, PLoS One 11). Run as a script with a number of draws, this file writes `book/simulations/cloze_error.csv`.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from brainalign.datasets import load_listening
from brainalign.datasets.n400 import before_noun, n400_trials
from brainalign.features.language import surprisal
from brainalign.mixed import mixed_model

N_RATERS = 44
TABLE = Path(__file__).resolve().parent.parent / "book" / "simulations" / "cloze_error.csv"
GROUPS = {"subject": ["cloze", "bits"], "item": [], "passage": []}
KINDS = {"cloze of 44 raters": N_RATERS, "true predictability": None}


@cache
def study():
    """The real trials, and what a simulation takes from them: sentences, effects, variances, and correlations."""
    data = load_listening("n400")
    part = before_noun(data.words)
    bits = surprisal(part, "smollm2-135m", start_token=True).values[part["is_noun"]]
    nouns = data.words[data.words["is_noun"]]
    table = pd.DataFrame({"cloze": nouns["cloze"].to_numpy(), "bits": bits}, index=nouns["passage"].to_numpy())
    trials = n400_trials(data).drop(columns="cloze").join(table, on="passage")
    effects = {"subject": ["cloze"], "item": [], "passage": []}
    fitted = mixed_model(trials, "n400", ["cloze"], random_effects=effects)
    return trials[["subject", "item", "passage"]], table, fitted


def true_predictability(cloze, rng):
    """Probabilities whose estimates by 44 raters are spread like `cloze`: a beta distribution for either noun."""
    likely = cloze >= 0.5
    drawn = np.empty(len(cloze))
    for group in (likely, ~likely):
        mean, variance = cloze[group].mean(), cloze[group].var(ddof=1)
        spread = (variance - mean * (1 - mean) / N_RATERS) / (1 - 1 / N_RATERS)  # without the raters' error
        total = max(mean * (1 - mean) / max(spread, 1e-4) - 1, 1.0)
        drawn[group] = rng.beta(mean * total, (1 - mean) * total, group.sum())
    return drawn


def simulated(rng):
    """Trials of the real design whose N400 depends on true predictability alone, and both nouns' tables."""
    rows, table, fitted = study()
    truth = true_predictability(table["cloze"].to_numpy(), rng)
    rated = rng.binomial(N_RATERS, truth) / N_RATERS
    r = np.corrcoef(table["cloze"], table["bits"])[0, 1]
    r = r / np.corrcoef(truth, rated)[0, 1]  # as close to the truth as its correlation with cloze implies
    z = (truth - truth.mean()) / truth.std()
    bits = r * z + np.sqrt(1 - r**2) * rng.standard_normal(len(z))
    effect, variance = fitted.coefficients.loc["cloze", "estimate"], fitted.variances
    voltage = pd.Series(effect * truth, table.index)[rows["passage"]].to_numpy()
    for group in ("subject", "item", "passage"):
        codes, labels = pd.factorize(rows[group])
        voltage = voltage + np.sqrt(variance[group]) * rng.standard_normal(len(labels))[codes]
    codes, labels = pd.factorize(rows["subject"])
    slopes = np.sqrt(variance["subject: cloze"]) * rng.standard_normal(len(labels))
    voltage = voltage + slopes[codes] * pd.Series(truth - truth.mean(), table.index)[rows["passage"]].to_numpy()
    voltage = voltage + np.sqrt(variance["residual"]) * rng.standard_normal(len(rows))
    predictors = pd.DataFrame({"truth": truth, "rated": rated, "bits": bits}, table.index)
    return rows.assign(n400=voltage).join(predictors, on="passage")


def called_beyond(seed):
    """For either kind of cloze: does the interval of surprisal's slope exclude zero, and on the expected side?"""
    trials, found = simulated(np.random.default_rng(seed)), {}
    for kind, raters in KINDS.items():
        rows = trials.assign(cloze=trials["truth" if raters is None else "rated"])
        row = mixed_model(rows, "n400", ["cloze", "bits"], random_effects=GROUPS).coefficients.loc["bits"]
        found[kind] = row["low"] > 0 or row["high"] < 0, row["high"] < 0
    return found


def counted(draws):
    rows = []
    for kind in KINDS:
        for column, side, nominal in ((0, "interval excludes zero", 0.05), (1, "interval below zero", 0.025)):
            called = sum(bool(draw[kind][column]) for draw in draws)
            interval = binomtest(called, len(draws)).proportion_ci()
            note = "N400 follows true predictability alone; real trials, 158 sentences, 334 people"
            rows.append(
                (f"{kind}, {side}", len(draws), called, called / len(draws), interval.low, interval.high, nominal, note)
            )
    return pd.DataFrame(rows, columns=["simulation", "n", "called", "rate", "low", "high", "nominal", "note"])


def test_table():
    table = pd.read_csv(TABLE)
    for row in table.itertuples():
        interval = binomtest(row.called, row.n).proportion_ci()
        np.testing.assert_allclose([row.rate, row.low, row.high], [row.called / row.n, *interval], atol=6e-4)
    known = table[table["simulation"].str.startswith("true")]
    assert all(binomtest(row.called, row.n, row.nominal).pvalue > 0.01 for row in known.itertuples())


@pytest.mark.simulation
def test_rates_are_those_of_the_table():
    table, again = pd.read_csv(TABLE), counted([called_beyond(10_000 + k) for k in range(20)])
    for row, new in zip(table.itertuples(), again.itertuples(), strict=True):
        assert binomtest(new.called, new.n, row.rate).pvalue > 0.001


if __name__ == "__main__":
    counted([called_beyond(k) for k in range(int(sys.argv[1]))]).round(4).to_csv(TABLE, index=False)
