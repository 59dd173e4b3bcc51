"""Mixed models against statsmodels, the written-out likelihood, exact t-tests, planted truth and chance."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf

from brainalign.mixed import mixed_model

BOTH = {"subject": [], "item": []}
SLOPES = {"subject": ["x"], "item": []}


def simulate(
    n_subjects, n_items, *, effect=0.5, subject=1.0, slope=0.5, item=1.0, noise=1.0, keep=1.0, of_item=True, seed=0
) -> pd.DataFrame:
    """Crossed trials; x belongs to the item or, not `of_item`, to the trial."""
    rng = np.random.default_rng(seed)
    trials = pd.MultiIndex.from_product([range(n_subjects), range(n_items)], names=["subject", "item"]).to_frame(False)
    x = rng.standard_normal(n_items)[trials["item"]] if of_item else rng.standard_normal(len(trials))
    trials["x"] = x
    of_person = subject * rng.standard_normal(n_subjects)
    slopes = effect + slope * rng.standard_normal(n_subjects)
    trials["y"] = (
        2
        + slopes[trials["subject"]] * x
        + of_person[trials["subject"]]
        + item * rng.standard_normal(n_items)[trials["item"]]
        + noise * rng.standard_normal(len(trials))
    )
    return trials[rng.random(len(trials)) < keep].reset_index(drop=True)


@pytest.mark.parametrize("groups", [BOTH, SLOPES])
def test_equals_statsmodels(groups):
    trials = simulate(16, 12, of_item=False, keep=0.9, seed=3).assign(one=1)
    trials["centred"] = trials["x"] - trials["x"].mean()
    components = {"subject": "0 + C(subject)", "item": "0 + C(item)"}
    if groups is SLOPES:
        components["subject: x"] = "0 + C(subject):centred"
    theirs = smf.mixedlm("y ~ x", trials, groups="one", re_formula="0", vc_formula=components).fit(
        method="powell", ftol=1e-12
    )
    ours = mixed_model(trials, "y", ["x"], random_effects=groups)
    np.testing.assert_allclose(ours.coefficients["estimate"], theirs.fe_params, atol=1e-3)
    np.testing.assert_allclose(ours.coefficients["se"], theirs.bse_fe, rtol=1e-3)
    variances = dict(zip(theirs.model.exog_vc.names, theirs.vcomp, strict=True), residual=theirs.scale)
    pd.testing.assert_series_equal(ours.variances, pd.Series(variances)[ours.variances.index], rtol=1e-3)


def test_likelihood_written_out_is_at_its_peak():
    trials = simulate(9, 7, keep=0.8, seed=1)
    model = mixed_model(trials, "y", ["x"], random_effects={"item": [], "subject": ["x"]})
    x, y = np.column_stack([np.ones(len(trials)), trials["x"]]), trials["y"].to_numpy()
    people, items = (pd.get_dummies(trials[name]).to_numpy(float) for name in ("subject", "item"))
    slopes = people * (trials["x"] - trials["x"].mean()).to_numpy()[:, None]
    parts = {"subject": people, "subject: x": slopes, "item": items, "residual": np.eye(len(y))}

    def log_likelihood(variances):
        v = sum(variances[name] * z @ z.T for name, z in parts.items())
        information = x.T @ np.linalg.solve(v, x)
        beta = np.linalg.solve(information, x.T @ np.linalg.solve(v, y))
        value = scipy.stats.multivariate_normal(x @ beta, v).logpdf(y) - np.linalg.slogdet(information)[1] / 2
        return value, beta, np.sqrt(np.diag(np.linalg.inv(information)))

    peak, beta, error = log_likelihood(model.variances)
    np.testing.assert_allclose(model.coefficients["estimate"], beta, rtol=1e-6)
    np.testing.assert_allclose(model.coefficients["se"], error, rtol=1e-6)
    for name in parts:
        for factor in (0.9, 1.1):
            assert log_likelihood({**model.variances, name: model.variances[name] * factor})[0] < peak


def test_balanced_designs_give_the_exact_t_tests():
    trials = simulate(10, 14, slope=0, seed=5)
    model = mixed_model(trials, "y", ["x"], random_effects=BOTH).coefficients.loc["x"]
    means = trials.groupby("item")[["x", "y"]].mean()
    exact = scipy.stats.linregress(means["x"], means["y"])
    found = model[["estimate", "se", "p"]].tolist()
    np.testing.assert_allclose(found, [exact.slope, exact.stderr, exact.pvalue], rtol=1e-3)
    assert model["df"] == pytest.approx(12, rel=1e-3)
    assert model["low"] == pytest.approx(exact.slope - scipy.stats.t.ppf(0.975, 12) * exact.stderr, rel=1e-3)


def test_slopes_of_people_give_the_one_sample_t_test():
    trials = simulate(12, 10, item=0, seed=2)
    model = mixed_model(trials, "y", ["x"], random_effects={"subject": ["x"]}).coefficients.loc["x"]
    slopes = [scipy.stats.linregress(person["x"], person["y"]).slope for _, person in trials.groupby("subject")]
    exact = scipy.stats.ttest_1samp(slopes, 0)
    np.testing.assert_allclose(model[["t", "p", "df"]].tolist(), [exact.statistic, exact.pvalue, 11], rtol=1e-3)


def test_planted_truth_at_full_size():
    trials = simulate(334, 79, effect=-0.4, subject=2, slope=1, item=0.7, noise=9, keep=0.96)
    model = mixed_model(trials, "y", ["x"], random_effects=SLOPES)
    assert model.coefficients.loc["x", "low"] < -0.4 < model.coefficients.loc["x", "high"] < 0
    planted = pd.Series({"subject": 4.0, "subject: x": 1.0, "item": 0.49, "residual": 81.0})
    assert (model.variances / planted).between(0.5, 2).all() and list(model.variances.index) == list(planted.index)
    assert model.variances["residual"] == pytest.approx(81, rel=0.03)


def test_units_and_offsets_change_nothing_but_units():
    trials = simulate(12, 10, seed=4)
    plain = mixed_model(trials, "y", ["x"], random_effects=SLOPES)
    other = mixed_model(
        trials.assign(x=1e4 + trials["x"] * 1e-3, y=trials["y"] * 1e6), "y", ["x"], random_effects=SLOPES
    )
    test = ("x", ["t", "p", "df"])
    np.testing.assert_allclose(other.coefficients.loc[test], plain.coefficients.loc[test], rtol=1e-3)
    assert other.coefficients.loc["x", "estimate"] == pytest.approx(plain.coefficients.loc["x", "estimate"] * 1e9)
    np.testing.assert_allclose(other.variances / plain.variances, [1e12, 1e18, 1e12, 1e12], rtol=1e-3)


def test_a_variance_that_is_not_there_is_zero():
    trials = simulate(20, 15, slope=0, item=0, of_item=False, seed=6)
    model = mixed_model(trials, "y", ["x"], random_effects=SLOPES)
    found = model.variances[["subject: x", "item"]]
    assert (found < 0.01).all() and (found == 0).any() and np.isfinite(model.coefficients.to_numpy()).all()


def test_chance_is_called_an_effect_at_the_nominal_rate():
    """A predictor of items that does nothing, people who differ in intercept and slope, items that differ."""
    ours, naive = [], []
    for seed in range(200):
        trials = simulate(20, 16, effect=0, slope=0.5, item=1, noise=2, keep=0.9, seed=seed)
        ours.append(mixed_model(trials, "y", ["x"], random_effects=SLOPES).coefficients.loc["x", "p"] < 0.05)
        naive.append(scipy.stats.linregress(trials["x"], trials["y"]).pvalue < 0.05)
    low, high = scipy.stats.binom.interval(0.99, 200, 0.05)
    assert low <= sum(ours) <= high
    assert sum(naive) > 2 * high, "the structure is strong enough to mislead a test that ignores it"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"predictors": ["z"]}, r"random_effects: expected different columns of trials.*not \['z'\]"),
        ({}, {"predictors": []}, "at least one of each"),
        ({}, {"predictors": ["x", "x"]}, "expected different columns"),
        ({}, {"random_effects": {}}, "at least one of each"),
        ({}, {"random_effects": {"subject": ["y"]}}, r"random_effects\['subject'\]: expected some of \['x'\], got"),
        ({}, {"random_effects": {"subject": "x"}}, r"random_effects\['subject'\]: expected some of"),
        ({}, {"confidence_level": 95}, "confidence_level: expected a number between 0 and 1"),
        ({"x": np.nan}, {}, r"trials\['x'\]: 48 of 48 values are not finite"),
        ({"x": 1.0}, {}, "trials: 1 columns are constant: x"),
        ({"y": 1.0}, {}, "trials: 1 columns are constant: y"),
        ({"x": "a"}, {}, r"trials\['x'\]: expected numbers"),
        ({"subject": None}, {}, r"trials\['subject'\]: expected 48 labels, none missing.*48 missing"),
        ({"subject": 1}, {}, r"trials\['subject'\].* 1 different"),
        ({"subject": range(48)}, {}, r"trials\['subject'\].*got 48 of each"),
        ({"z": lambda t: 2 * t["x"] + 1}, {"predictors": ["x", "z"]}, "are collinear"),
        ({"y": lambda t: 2 * t["x"] + 1}, {}, "follows from .* exactly"),
        (
            {"other": lambda t: "p" + t["subject"].astype(str)},
            {"random_effects": {"subject": [], "other": []}},
            "alike",
        ),
    ],
)
def test_bad_input_is_named(change, options, message):
    trials = simulate(8, 6, seed=7).assign(**change)
    with pytest.raises(ValueError, match=message):
        mixed_model(trials, "y", **{"predictors": ["x"], "random_effects": BOTH, **options})
