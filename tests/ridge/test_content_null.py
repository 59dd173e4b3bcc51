"""Chance by rolled content, and what preprocessing inside the folds is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from joblib import Parallel, delayed
from scipy.stats import binomtest, pearsonr, permutation_test
from scipy.stats import t as student_t

from brainalign import signals, stats
from brainalign.datasets import load_listening
from brainalign.features.language import context_features, layer_features
from brainalign.features.words import SMOOTHNESS, leading_components, random_features
from brainalign.ridge import ContiguousKFold, RolledSweeps, content_null, cross_validate, word_sweep
from brainalign.ridge.banded import variance_partition
from brainalign.story import by_subject

N_WORDS, N_VOLUMES, N_BLOCKS = 300, 120, 4
FOLDS = {"cv": ContiguousKFold(N_BLOCKS, gap=3), "inner_cv": None, "alphas": np.logspace(-1, 4, 6)}


def made(n_words: int, n_volumes: int) -> tuple[pd.DataFrame, np.ndarray, xr.DataArray]:
    """Words without text, volumes of 2 s, and what takes the one to the other."""
    onset = np.sort(np.random.default_rng(0).uniform(0, 2 * n_volumes - 8, n_words))
    story = pd.DataFrame({"word": "word", "onset": onset, "offset": onset + 0.3})
    times = np.arange(n_volumes) * 2.0
    return story, times, signals.detrend_blocks(signals.word_to_volume(story, times), N_BLOCKS)


SHORT = made(N_WORDS, N_VOLUMES)


@pytest.fixture
def story() -> pd.DataFrame:
    return SHORT[0]


@pytest.fixture
def times() -> np.ndarray:
    return SHORT[1]


@pytest.fixture
def design() -> xr.DataArray:
    return SHORT[2]


def values_of(story: pd.DataFrame, n_layers: int = 2, n_features: int = 150, seed: int = 1) -> xr.DataArray:
    return random_features(story, n_features, n_layers, kind="smooth", seed=seed)


# ---------------------------------------------------------------------------------------------------- against slow ways


def test_inner_folds_of_outer_blocks_equal_a_loop():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((90, 8)), rng.standard_normal((90, 3))
    y += x[:, :3]
    outer, alphas = list(ContiguousKFold(5, gap=2).split(range(90))), np.logspace(0, 3, 4)
    found = cross_validate(x, y, cv=ContiguousKFold(5, gap=2), inner_cv=None, alphas=alphas)
    for i, (train, _) in enumerate(outer):
        errors = []
        for alpha in alphas:
            total = 0.0
            for k, (other, test) in enumerate(outer):
                if k == i:
                    continue
                fit, held = np.intersect1d(train, other), np.intersect1d(train, test)
                centre, scale = x[fit].mean(0), x[fit].std(0)
                z, left = (x[fit] - centre) / scale, y[fit] - y[fit].mean(0)
                w = np.linalg.solve(z.T @ z + alpha * np.eye(8), z.T @ left)
                total = total + ((y[held] - y[fit].mean(0) - (x[held] - centre) / scale @ w) ** 2).sum(0)
            errors.append(total)
        np.testing.assert_array_equal(found["alpha"][0, i], alphas[np.argmin(errors, axis=0)])
    with pytest.raises(ValueError, match="inner_cv=None takes the other outer folds.*2 outer folds"):
        cross_validate(x, y, cv=2, inner_cv=None)


def test_partial_is_what_the_layer_adds_and_diluting_a_bad_baseline_is_nothing():
    rng = np.random.default_rng(1)
    confounds, x = rng.standard_normal((200, 1)), rng.standard_normal((10, 200, 40))
    turned = np.repeat([1.0, -1.0, 1.0, -1.0], 50)[:, None] * confounds  # other blocks predict the wrong sign
    y = turned + rng.standard_normal((200, 60))
    options = {"cv": 4, "inner_cv": None, "alphas": [0.1, 1.0]}
    fit = cross_validate(x, y, confounds=confounds, return_predictions=True, **options)
    free = np.column_stack([np.ones(200), confounds])
    alone = np.empty_like(y)
    for train, test in list(ContiguousKFold(4).split(range(200))):
        alone[test] = free[test] @ np.linalg.lstsq(free[train], y[train], rcond=None)[0]
    added = fit["prediction"][0].to_numpy() - alone
    expected = [pearsonr(a, b).statistic for a, b in zip((y - alone).T, added.T, strict=True)]
    np.testing.assert_allclose(fit["partial"][0], expected, atol=1e-5)
    gain = (fit["score"] - fit["confounds_score"]).to_numpy()
    assert gain.mean() > 0.05 > 3 * abs(float(fit["partial"].mean()))
    found = cross_validate(x[0], y + 2 * x[0, :, :1], confounds=confounds, **options)
    assert float(found["partial"].mean()) > 0.7


def test_word_sweep_has_the_products_of_all_features(story, design):
    values = values_of(story)
    whole = word_sweep(values, design, retained=1.0)
    scaled = ((values - values.mean("word")) / values.std("word")).to_numpy()
    made = design.to_numpy() @ scaled
    for few, many in zip(whole.to_numpy(), made, strict=True):
        np.testing.assert_allclose(few @ few.T, many @ many.T, atol=1e-3 * np.abs(many @ many.T).max())
    assert word_sweep(values, design).sizes["feature"] < 60 < values.sizes["feature"]
    few = word_sweep(values[..., :7], design)
    assert few.sizes == {"layer": 2, "time": N_VOLUMES, "feature": 7}


def test_content_null_equals_a_loop_over_rolled_words(story, times, design):
    values = values_of(story).assign_coords(layer=[3, 9])
    rng = np.random.default_rng(2)
    y = xr.DataArray(rng.standard_normal((N_VOLUMES, 3)), dims=("time", "region"), coords={"region": list("abc")})
    confounds = signals.word_regressors(np.ones((N_WORDS, 1)), story, times, n_blocks=N_BLOCKS).values
    null = content_null(values, design, y, n_rolls=3, confounds=confounds, retained=1.0, seed=4, **FOLDS)
    assert null.dims == ("draw", "layer", "region") and null["layer"].values.tolist() == [3, 9]
    for roll, order in zip(null, stats.Shifts(3, min_shift=50, seed=4).orders(N_WORDS), strict=True):
        features = word_sweep(values.isel(word=order), design, retained=1.0)
        fit = cross_validate(features, y.values, confounds=confounds, standardize=False, **FOLDS)
        np.testing.assert_allclose(roll, fit["partial"], atol=2e-3)
    without = content_null(values, design, y.values, n_rolls=2, **FOLDS)
    assert without.shape == (2, 2, 3) and list(without["channel"].values) == [0, 1, 2]


def test_what_content_null_refuses(story, design):
    y = np.random.default_rng(0).standard_normal((N_VOLUMES, 2))
    with pytest.raises(ValueError, match="min_shift: expected passages of at least 400"):
        content_null(values_of(story), design, y, min_roll=200, **FOLDS)
    with pytest.raises(ValueError, match="one row for each of 300 words, got 299"):
        word_sweep(values_of(story)[:, 1:], design)
    with pytest.raises(ValueError, match="finite and have features that vary"):
        content_null(values_of(story) * 0, design, y, **FOLDS)
    with pytest.raises(ValueError, match="retained"):
        word_sweep(values_of(story), design, retained=0)


def test_random_features_are_what_their_names_say():
    words = pd.DataFrame({"word": ["The", "cat", "the", "dog"] * 500})
    smooth = random_features(words, 20, 2, kind="smooth").to_numpy()
    lagged = [np.corrcoef(x[:-1], x[1:])[0, 1] for x in smooth.reshape(-1, 2000, 20)[..., 0]]
    np.testing.assert_allclose(lagged, SMOOTHNESS, atol=0.03)
    np.testing.assert_allclose(smooth.std(1).mean(), 1, atol=0.15)
    by_type = random_features(words, 5, 1, kind="type")[0]
    np.testing.assert_array_equal(by_type[0], by_type[2])
    assert np.abs(by_type[0] - by_type[1]).min() > 0
    each = random_features(words, 5, 1)[0]
    assert np.abs(each[0] - each[2]).min() > 0
    with pytest.raises(ValueError, match="kind: expected one of 'occurrence', 'type', 'smooth', got 'rough'"):
        random_features(words, 5, 1, kind="rough")


def test_leading_components():
    x = np.random.default_rng(0).standard_normal((2, 100, 30))
    found = leading_components(xr.DataArray(x, dims=("layer", "word", "feature")), 10)
    scaled = (x[1] - x[1].mean(0)) / x[1].std(0)
    values = np.linalg.svd(scaled)[1][:10] ** 2
    np.testing.assert_allclose((found[1].to_numpy() ** 2).sum(0), values, rtol=1e-4)
    assert leading_components(xr.DataArray(x, dims=("layer", "word", "feature")), 99).sizes["feature"] == 30


# -------------------------------------------------------------------------------------------------------- nominal rates


def one_story(rng: np.random.Generator, design: xr.DataArray, signal: float = 0.0, values: np.ndarray | None = None):
    """Twelve people who share a slow response to the story, which no description of its words explains."""
    n_volumes, n_words = design.shape
    drive = design.to_numpy() @ np.repeat(rng.standard_normal(n_words // 10), 10)
    if signal:
        described = design.to_numpy() @ values @ rng.standard_normal(values.shape[1])
        drive = drive / drive.std() + signal * described / described.std()
    own = rng.standard_normal((n_volumes, 12))
    for t in range(1, n_volumes):
        own[t] += 0.5 * own[t - 1]
    people = xr.DataArray(drive[:, None] / drive.std() + own, dims=("time", "channel"))
    return signals.detrend_blocks(people, N_BLOCKS)


def over_people(scores: np.ndarray) -> bool:
    """Whether the t interval over people of the best layer lies above zero; (layer, channel)."""
    best = scores[scores.mean(1).argmax()]
    return best.mean() > student_t.ppf(0.975, len(best) - 1) * best.std(ddof=1) / np.sqrt(len(best))


CHAPTERS = {  # what chapters 2, 5 and 3 ask of the scores (layer, channel) of four descriptions
    "best of four layers": lambda scores: scores.mean(1).max(),
    "two layers less two others": lambda scores: scores[2:].mean(1).max() - scores[:2].mean(1).max(),
    "slope of four models over performance": lambda scores: scores.mean(1) @ [-1.5, -0.5, 0.5, 1.5],
}
UNIQUE = "unique share"  # and chapter 6
INTERVAL = "interval over 12 people above 0, best of four layers"


def asked(story, times, design, seed: int, n_rolls: int, signal: float = 0.0, unique: bool = True) -> pd.Series:
    """What the content null calls at 5 %, by statistic, and an interval over people calls, in one cohort."""
    confounds = signals.word_regressors(np.ones((len(story), 1)), story, times, n_blocks=N_BLOCKS).values
    options, rng = {"confounds": confounds, **FOLDS}, np.random.default_rng([5, seed])
    values = values_of(story, 4, 12, seed=1000 + seed)
    alike = values[:1].values * np.sqrt([0.3, 0.5, 0.7, 0.9])[:, None, None]  # as copies of one model are
    values = values.copy(data=values.values * np.sqrt([0.7, 0.5, 0.3, 0.1])[:, None, None] + alike)
    people = one_story(rng, design, signal, values[3].to_numpy())
    found = cross_validate(word_sweep(values, design), people.values, standardize=False, **options)["partial"].values
    null = content_null(values, design, people.values, n_rolls=n_rolls, seed=seed, **options).values
    p = {name: stats.p_values(ask(found), np.array([ask(roll) for roll in null])) for name, ask in CHAPTERS.items()}
    if unique:
        rival = word_sweep(values_of(story, 1, 12, seed=5000 + seed), design)[0]
        shares = variance_partition(
            {"rate": confounds, "rival": rival.values, "context": word_sweep(values, design)[3].values},
            people.values,
            rivals={"context": list(RolledSweeps(values[3], design, n_rolls=n_rolls, seed=seed))},
            n_draws=8,
            standardize=False,
            **FOLDS,
        ).sel(estimate="cross-validated")
        own, rolled = shares["unique"].sel(part="context").mean(), shares["rivals"].mean("channel")
        p[UNIQUE] = stats.p_values(float(own), rolled.values)
    called = {name: bool(value <= 0.05) for name, value in p.items()}
    return pd.Series(called | {INTERVAL: over_people(found)})


def test_one_story_is_called_at_the_nominal_rate_where_an_interval_over_people_is_not():
    called = sum(asked(*SHORT, seed, 19, unique=False).astype(int) for seed in range(40))
    assert binomtest(called.pop(INTERVAL), 40, 0.025, alternative="greater").pvalue < 0.01
    assert all(binomtest(k, 40, 0.05).pvalue > 1e-3 for k in called)


def test_a_planted_description_is_found():
    called = sum(asked(*SHORT, seed, 19, signal=5.0).astype(int) for seed in range(8))
    for name in ("best of four layers", UNIQUE):
        assert binomtest(called[name], 8, 0.05, alternative="greater").pvalue < 1e-3


# ----------------------------------------------------------------------------------------------- real people, one story


class Alice:
    """What the chapters do with the fMRI, with blocks cleaned apart or, as is usual, drift removed over the run."""

    def __init__(self, apart: bool) -> None:
        self.data, self.apart, n_blocks, skip = load_listening("alice"), apart, 6, 10
        times = self.data.signal["time"][skip:]
        people = by_subject(self.data, n_blocks if apart else 1, skip=skip)
        to_volume = signals.word_to_volume(self.data.words, times)
        letters = self.data.words["word"].str.len().to_numpy(float)
        counted = np.column_stack([np.ones(len(letters)), letters])
        rate = signals.word_regressors(counted, self.data.words, times)
        self.subjects, self.design, self.rate = (self.clean(x) for x in (people, to_volume, rate))
        self.responses = self.subjects.transpose("time", ...).to_numpy().reshape(len(times), -1)
        self.options = {"cv": ContiguousKFold(n_blocks, gap=10), "inner_cv": None, "alphas": np.logspace(0, 6, 7)}

    def clean(self, values: xr.DataArray) -> xr.DataArray:
        blocks = {"n_blocks": 6} if self.apart else {"n_blocks": 1, "degree": 11}
        return signals.detrend_blocks(values, **blocks)

    def gains(self, values: xr.DataArray) -> np.ndarray:
        """Of each layer and person, the mean over regions: partial correlations, or differences of correlations."""
        features = word_sweep(values, self.design)
        fit = cross_validate(features, self.responses, confounds=self.rate.values, standardize=False, **self.options)
        gain = fit["partial"] if self.apart else fit["score"] - fit["confounds_score"]
        return gain.to_numpy().reshape(len(values), len(self.subjects), -1).mean(2)


def reversed_scores(story: Alice, n_draws: int) -> np.ndarray:
    """Mean score of smooth random features, as many as the model has, on BOLD that runs backwards."""
    values = random_features(story.data.words, 576, n_draws, kind="smooth")
    features = word_sweep(values, story.design)
    fit = cross_validate(features, story.responses[::-1].copy(), standardize=False, **story.options)
    return fit["score"].mean("channel").to_numpy()


def test_slow_features_do_not_predict_reversed_bold_when_blocks_are_cleaned_apart():
    """Drift that is removed over the run ties blocks together: what no text can do, random features then do."""
    apart, tied = (reversed_scores(Alice(apart), 8) for apart in (True, False))
    low = [x.mean() - student_t.ppf(0.975, 7) * x.std(ddof=1) / np.sqrt(8) for x in (apart, tied)]
    assert low[0] <= 0 < low[1] and apart.max() < tied.min()


def row(name: str, called: int, n: int, nominal: float, note: str) -> dict:
    interval = binomtest(int(called), n).proportion_ci(method="exact")
    rate = {"rate": called / n, "low": interval.low, "high": interval.high, "nominal": nominal}
    return {"simulation": name, "n": n, "called": int(called)} | rate | {"note": note}


def of_content_null(rows: list[dict], path: Path) -> pd.DataFrame:
    """Write the table, and return the content null's rows with whether they call at the nominal rate."""
    table = pd.DataFrame(rows)
    table.round(3).to_csv(path, index=False)
    own = table[table["simulation"].str.contains("content null")]
    return own.assign(nominal=own["low"].le(0.05) & own["high"].ge(0.05))


@pytest.mark.simulation
def test_error_rates_on_rolls_of_alice(project):
    """Which tests call rolled content; writes book/simulations/one_story.csv. An hour on two cores."""
    n_rolls, rows = 200, []
    words = load_listening("alice").words
    contexts = context_features(words, "smollm2-135m", [1, None], layers=[4, 11, 19, 26], start_token=True)
    # (one word and all context) x layers; layer 0 and the last of the whole context beside them
    ends = layer_features(words, "smollm2-135m", layers=[0, 30], start_token=True)
    plain = [part.reset_coords(drop=True).drop_vars("layer") for part in (*contexts, ends)]
    values = xr.concat(plain, "layer")
    for apart in (False, True):
        people = Alice(apart)
        orders = stats.Shifts(n_rolls, min_shift=50).orders(len(words))
        null = np.stack([people.gains(values.isel(word=order)) for order in orders])  # (roll, layer, person)
        note = "blocks cleaned apart, partial r" if apart else "drift removed over the run, difference of r"
        whole = null[:, [8, *range(4, 8), 9]]
        reach = student_t.ppf(0.975, null.shape[2] - 1) / np.sqrt(null.shape[2])
        best = np.stack([roll[roll.mean(1).argmax()] for roll in whole])
        for name, each in {"last layer": whole[:, -1], "best of six layers": best}.items():
            above = each.mean(1) - reach * each.std(1, ddof=1) > 0
            rows.append(row(f"interval over 27 people above 0, {name}", above.sum(), n_rolls, 0.025, note))
        more = null[:, 4:8].max(1) - null[:, :4].max(1)
        ask = {"permutation_type": "samples", "vectorized": True, "n_resamples": 999}
        flips = [permutation_test((x,), np.mean, rng=np.random.default_rng(0), **ask).pvalue <= 0.05 for x in more]
        name = "signs of 27 people flipped: all context against one word"
        rows.append(row(name, sum(flips), n_rolls, 0.05, note))
        for name, each in {"best of six layers": best, "all context less one word": more}.items():
            means = each.mean(1)
            ranks = np.array([stats.p_values(m, np.delete(means, k)) for k, m in enumerate(means)])
            rows.append(row(f"content null, {name}", (ranks <= 0.05).sum(), n_rolls, 0.05, note))
    assert of_content_null(rows, project / "book" / "simulations" / "one_story.csv")["nominal"].all()


@pytest.mark.simulation
def test_error_rates_on_simulated_stories(project):
    """What chapters 2, 3, 5 and 6 ask, of stories without an answer; writes simulated_story.csv. An hour."""
    n, n_rolls, rows = 200, 39, []
    # as long as Alice, and a third of it
    for minutes, story in ((12, made(3 * N_WORDS, 3 * N_VOLUMES)), (4, SHORT)):
        each = Parallel(2)(delayed(asked)(*story, seed, n_rolls) for seed in range(n))
        note = f"{minutes} minutes, {len(story[0])} words; 12 people who share a response; {n_rolls} rolls"
        for name, k in sum(called.astype(int) for called in each).items():
            nominal, test = (0.025, "") if name == INTERVAL else (0.05, "content null, ")
            rows.append(row(test + name, k, n, nominal, note))
    table = of_content_null(rows, project / "book" / "simulations" / "simulated_story.csv")
    short = table["note"].str.startswith("4 minutes")  # too few independent contents to promise anything
    assert table["nominal"][~short].all() and table["low"].max() < 0.06
