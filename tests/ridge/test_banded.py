"""Variance partitioning: against a plain grid search, himalaya, planted shares, and noise."""

import numpy as np
import pytest
import xarray as xr
from himalaya.kernel_ridge import generate_dirichlet_samples
from himalaya.ridge import GroupRidgeCV
from scipy.stats import binomtest, ttest_1samp
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from brainalign.ridge import ContiguousKFold, RolledSweeps, _path, banded, cross_validate, word_sweep
from brainalign.ridge.banded import variance_partition
from brainalign.ridge.folds import nested
from brainalign.stats import Shifts

ALPHAS = np.logspace(-1, 4, 6)


def world(sizes, rng, overlap=0.3):
    """Loadings of correlated feature spaces on independent sources: features are sources @ loadings."""
    own = np.zeros((sum(sizes), sum(sizes)))
    ends = np.cumsum([0, *sizes])
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        own[a:b, a:b] = np.eye(b - a)
    common = rng.standard_normal((4, sum(sizes))) / 2
    return np.concatenate([np.sqrt(1 - overlap) * own, np.sqrt(overlap) * common]), [
        slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)
    ]


def planted(sizes, strength, n, n_channels, rng, r2=0.5):
    """Spaces, responses, and the true R2 and unique shares of population variance, from the spaces' covariance."""
    loadings, blocks = world(sizes, rng)
    covariance = loadings.T @ loadings
    weights = np.zeros((sum(sizes), n_channels))
    for block, amount in zip(blocks, strength, strict=True):
        direction = rng.standard_normal((block.stop - block.start, n_channels))
        power = np.einsum("pc,pq,qc->c", direction, covariance[block, block], direction)
        weights[block] = direction * np.sqrt(amount / power)
    signal = np.einsum("pc,pq,qc->c", weights, covariance, weights)
    noise = np.where(signal > 0, signal * (1 - r2) / r2, 1.0)
    unique = []
    for block in blocks:
        rest = np.setdiff1d(np.arange(len(covariance)), np.arange(block.start, block.stop))
        explained = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest, block])
        residual = covariance[block, block] - covariance[block, rest] @ explained
        unique.append(np.einsum("pc,pq,qc->c", weights[block], residual, weights[block]) / (signal + noise))
    x = rng.standard_normal((n, len(loadings))) @ loadings
    y = x @ weights + np.sqrt(noise) * rng.standard_normal((n, n_channels))
    spaces = {f"s{size}": x[:, block] for size, block in zip(sizes, blocks, strict=True)}
    return spaces, y, signal / (signal + noise), np.array(unique)


def scaled(x, train, size=None, standardize=True):
    z = (x - x[train].mean(0)) / (x[train].std(0) if standardize else 1)
    if size is not None and size < x.shape[1]:
        z = z @ np.linalg.svd(z[train], full_matrices=False)[2][:size].T
    return z / np.sqrt((z[train] ** 2).sum() / len(train))


def plain_r2(spaces, y, pairs, n_components=None, other_folds=False, standardize=True):
    """Nested search over (weights of spaces, alpha) with scikit-learn's Ridge on stacked, scaled features."""

    def errors(train, test):
        parts = [scaled(x, train, n_components, standardize) for x in spaces.values()]
        out = []
        for weights, alpha in pairs:
            stacked = np.hstack([np.sqrt(w) * z for w, z in zip(weights, parts, strict=True)])
            out.append((Ridge(alpha=alpha).fit(stacked[train], y[train]).predict(stacked[test]) - y[test]) ** 2)
        return np.stack(out).sum(1)

    error, null = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    outer = list(ContiguousKFold(4).split(range(len(y))))
    for (train, test), others in zip(outer, nested(None, 4, outer, None), strict=True):
        own = [(train[a], train[b]) for a, b in list(ContiguousKFold(3).split(range(len(train))))]
        inner = sum(errors(*fold) for fold in (others if other_folds else own))
        error += errors(train, test)[inner.argmin(0), np.arange(y.shape[1])]
        null += ((y[test] - y[train].mean(0)) ** 2).sum(0)
    return 1 - error / null


@pytest.mark.parametrize(("wide", "n_components"), [(40, None), (200, None), (40, 6), (200, 6)])
def test_agrees_with_scikit_learn(wide, n_components):
    rng = np.random.default_rng(0)
    spaces, y, *_ = planted((8, wide), (1, 1), 120, 3, rng)
    found = variance_partition(spaces, y, alphas=ALPHAS[::2], cv=4, inner_cv=3, n_components=n_components, n_draws=3)
    pairs = [(w, alpha) for w in banded._draws(2, 3, 0) for alpha in ALPHAS[::2]]
    alone = [((1.0,), alpha) for alpha in ALPHAS[::2]]
    cv = found.sel(estimate="cross-validated")
    np.testing.assert_allclose(cv.r2, plain_r2(spaces, y, pairs, n_components), atol=1e-4)
    for name, space in spaces.items():
        r2 = plain_r2({name: space}, y, alone, n_components)
        np.testing.assert_allclose(cv.alone.sel(part=name), r2, atol=1e-4)


@pytest.mark.parametrize("wide", [40, 200])
def test_inner_folds_that_are_the_other_outer_ones_and_features_as_they_are(wide):
    rng = np.random.default_rng(12)
    spaces, y, *_ = planted((8, wide), (1, 1), 120, 3, rng)
    spaces = {name: space * np.exp(rng.standard_normal(space.shape[1])) for name, space in spaces.items()}
    found = variance_partition(
        spaces, y, alphas=ALPHAS, cv=4, inner_cv=None, n_components=6, n_draws=3, standardize=False
    )
    pairs = [(w, alpha) for w in banded._draws(2, 3, 0) for alpha in ALPHAS]
    expected = plain_r2(spaces, y, pairs, 6, other_folds=True, standardize=False)
    np.testing.assert_allclose(found.r2.sel(estimate="cross-validated"), expected, atol=1e-4)
    with pytest.raises(ValueError, match="inner_cv=None takes the other outer folds"):
        variance_partition(spaces, y, cv=2, inner_cv=None)


def test_rolled_sweeps_are_sweeps_of_rolled_words():
    rng = np.random.default_rng(13)
    values = xr.DataArray(rng.standard_normal((2, 150, 7)), dims=("layer", "word", "feature"))
    design = xr.DataArray(rng.standard_normal((30, 150)), dims=("time", "word"))
    orders = Shifts(5, min_shift=50, seed=4).orders(150)
    for order, rolled in zip(orders, RolledSweeps(values, design, n_rolls=5, seed=4), strict=True):
        expected = word_sweep(values.isel(word=order), design)
        assert rolled.dims == expected.dims == ("layer", "time", "feature")
        products = [made.to_numpy() @ made.to_numpy().swapaxes(1, 2) for made in (rolled, expected)]
        np.testing.assert_allclose(*products, atol=1e-2)


def test_rolled_rivals_are_a_nominal_test_where_responses_share_everything_but_content():
    """People who follow one story's timing and a common slow signal, and no description of its words."""
    rng, smallest = np.random.default_rng(14), []
    design = xr.DataArray(np.abs(np.subtract.outer(np.arange(120) * 4, np.arange(480))) < 8.0, dims=("time", "word"))
    for _ in range(40):
        words = xr.DataArray(rng.standard_normal((480, 6)).cumsum(0) % 5, dims=("word", "feature"))
        common = np.cumsum(rng.standard_normal((120, 1)), 0) * 0.3
        y = common + rng.standard_normal((120, 4))
        spaces = {"rate": rng.standard_normal((120, 2)), "context": word_sweep(words, design.astype(float))}
        rivals = list(RolledSweeps(words, design.astype(float), n_rolls=9, seed=int(rng.integers(1000))))
        options = {"cv": 4, "inner_cv": None, "n_draws": 3, "standardize": False}
        found = variance_partition(spaces, y, rivals={"context": rivals}, **options)
        found = found.sel(estimate="cross-validated").mean("channel")
        smallest.append(bool((found["rivals"] < found["unique"].sel(part="context")).all()))
    assert binomtest(sum(smallest), 40, 0.1, alternative="greater").pvalue > 0.01


def test_random_search_is_as_good_as_a_grid_over_both_penalties():
    spaces, y, *_ = planted((4, 30), (1, 1), 200, 8, np.random.default_rng(1))
    grid = 10.0 ** np.mgrid[-1:4:11j, -1:4:11j].reshape(2, -1)
    pairs = [((1 / a, 1 / b), 1.0) for a, b in grid.T]
    found = variance_partition(spaces, y, cv=4).sel(estimate="cross-validated").r2
    assert float(found.mean()) > plain_r2(spaces, y, pairs).mean() - 0.005


def test_draws_are_himalayas():
    theirs = generate_dirichlet_samples(9, 4, concentration=[0.1, 1.0], random_state=3)
    np.testing.assert_allclose(banded._draws(4, 10, 3)[1:], np.maximum(theirs, 1e-9))


def test_agrees_with_himalaya():
    rng = np.random.default_rng(2)
    spaces, y, *_ = planted((6, 2, 25), (1, 1, 1), 150, 4, rng)
    gammas = banded._draws(3, 8, 0)
    found = variance_partition(spaces, y, alphas=ALPHAS, cv=3, inner_cv=3, n_draws=8)
    error, null = 0, 0
    for train, test in list(ContiguousKFold(3).split(range(150))):
        parts = [scaled(x, train) for x in spaces.values()]
        model = GroupRidgeCV(
            groups="input",
            cv=KFold(3),
            fit_intercept=True,
            solver_params={"n_iter": gammas, "alphas": ALPHAS, "progress_bar": False},
        ).fit([z[train] for z in parts], y[train])
        error = error + ((model.predict([z[test] for z in parts]) - y[test]) ** 2).sum(0)
        null = null + ((y[test] - y[train].mean(0)) ** 2).sum(0)
    # himalaya scales features once for all inner folds.
    np.testing.assert_allclose(found.r2.sel(estimate="cross-validated"), 1 - error / null, atol=0.01)


def test_recovers_planted_shares_and_gives_noise_none():
    sizes = (32, 2, 3, 100, 300, 50)
    spaces, y, r2, unique = planted(sizes, (1, 0.5, 0.5, 1, 1, 0), 1800, 20, np.random.default_rng(3))
    found = variance_partition(spaces, y, cv=4, n_draws=12, alphas=np.logspace(-1, 5, 7))
    adjusted = found.sel(estimate="adjusted")
    assert abs(float(adjusted.r2.mean()) - r2.mean()) < 0.03
    np.testing.assert_allclose(adjusted.unique.mean("channel"), unique.mean(1), atol=0.03)
    assert (np.abs(adjusted.unique - unique).mean("channel") < 0.03).all()
    plain = found.sel(estimate="cross-validated")
    assert float(plain.r2.mean()) < r2.mean() - 0.03  # what the adjustment is for
    assert float(plain.unique.sel(part="s50").mean()) < 0
    assert abs(float(adjusted.unique.sel(part="s50").mean())) < 0.02


def test_noise_gets_no_share_more_often_than_it_may():
    """People with responses of their own, tested by their mean unique shares: 200 cohorts of 8."""
    rejected, shares = 0, []
    for draw in range(8):
        rng = np.random.default_rng(100 + draw)
        spaces, y, *_ = planted((10, 20, 15), (1, 1, 0), 250, 200, rng, r2=0.3)
        found = variance_partition(spaces, y, alphas=ALPHAS, cv=4, inner_cv=2, n_draws=6)
        noise = found.unique.sel(part="s15")
        people = noise.sel(estimate="cross-validated").to_numpy().reshape(25, 8)
        rejected += int((ttest_1samp(people, 0, axis=1, alternative="greater").pvalue < 0.05).sum())
        shares.append(noise.mean("channel"))
    assert binomtest(rejected, 200, 0.05, alternative="greater").pvalue > 0.01
    assert (np.mean(shares, axis=0) < 0.002).all()


def test_nothing_to_explain():
    rng = np.random.default_rng(5)
    spaces, y, *_ = planted((10, 40), (0, 0), 300, 200, rng)
    found = variance_partition(spaces, y, cv=4, inner_cv=2, n_draws=6)
    plain = found.sel(estimate="cross-validated")
    assert float(plain.r2.mean()) < 0 and (plain.unique.mean("channel") < 0.001).all()
    assert (np.abs(found.unique.mean("channel")) < 0.01).all()


def test_overlaps_of_parts():
    """The second space is the first in other coordinates: nothing is unique to either, all is shared."""
    rng = np.random.default_rng(6)
    a, c = rng.standard_normal((400, 6)), rng.standard_normal((400, 3))
    y = a @ rng.standard_normal((6, 10)) + 1.5 * c @ rng.standard_normal((3, 10)) + rng.standard_normal((400, 10))
    y = xr.DataArray(y, dims=("word", "channel"), coords={"channel": [f"e{k}" for k in range(10)]})
    spaces = {"a": a, "b": a @ np.linalg.qr(rng.standard_normal((6, 6)))[0], "c": c}
    found = variance_partition(spaces, y)
    assert found.channel.to_numpy().tolist() == y.channel.to_numpy().tolist()
    assert found.overlap.to_numpy().tolist() == ["a", "b", "c", "a & b", "a & c", "b & c", "a & b & c"]
    np.testing.assert_allclose(found.common.sum("overlap"), found.r2)
    common = found.common.mean("channel")
    assert (np.abs(common.sel(overlap=["a", "b", "a & c", "b & c"])) < 0.02).all()
    assert (np.abs(common.sel(overlap="a & b & c")) < 0.05).all()  # a and c go together by chance
    np.testing.assert_allclose(common.sel(overlap="a & b"), found.alone.sel(part="a").mean("channel"), atol=0.05)
    np.testing.assert_allclose(found.unique.sel(part="c"), found.common.sel(overlap="c"))
    joined = variance_partition(spaces, y, parts={"both": ["a", "b"], "c": ["c"]})
    np.testing.assert_allclose(joined.alone.sel(part="both"), found.alone.sel(part="a"), atol=0.02)
    np.testing.assert_allclose(joined.shared, joined.common.sel(overlap="both & c"))


def test_a_large_space_of_noise_does_not_swamp_a_small_one():
    rng = np.random.default_rng(7)
    small, noise = rng.standard_normal((300, 2)), rng.standard_normal((300, 250))
    y = small @ rng.standard_normal((2, 12)) + rng.standard_normal((300, 12))
    found = variance_partition({"small": small, "noise": noise}, y).sel(estimate="cross-validated")
    one_penalty = cross_validate(np.hstack([small, noise]), y, cv=5).score[0] ** 2
    alone = float(found.alone.sel(part="small").mean())
    assert float(found.r2.mean()) > alone - 0.05
    assert float(one_penalty.mean()) < alone - 0.1


def test_chunks_of_channels_and_seeds_give_the_same_numbers(monkeypatch):
    spaces, y, *_ = planted((5, 9), (1, 1), 80, 5, np.random.default_rng(8))
    found = variance_partition(spaces, y, n_draws=4)
    xr.testing.assert_identical(found, variance_partition(spaces, y, n_draws=4))
    by_name = variance_partition(spaces, y, n_draws=4, n_components={"s9": 4})
    xr.testing.assert_identical(by_name, variance_partition(spaces, y, n_draws=4, n_components={"s5": 5, "s9": 4}))
    assert float(abs(by_name.r2 - found.r2).max()) > 1e-3
    monkeypatch.setattr(banded, "_ERROR_BYTES", 1)
    monkeypatch.setattr(_path, "TRIAL_BYTES", 1)
    xr.testing.assert_allclose(found, variance_partition(spaces, y, n_draws=4), atol=1e-5)


def test_a_space_that_is_constant_in_a_training_fold():
    spaces, y, *_ = planted((5, 3), (1, 1), 80, 4, np.random.default_rng(9))
    spaces["s3"] = np.where(np.arange(80)[:, None] < 16, spaces["s3"], 0.5)
    assert np.isfinite(variance_partition(spaces, y, cv=5, n_draws=3).to_array()).all()


def test_rivals_take_the_place_of_a_part():
    rng = np.random.default_rng(11)
    spaces, y, *_ = planted((5, 9, 3), (1, 1, 0.5), 90, 4, rng)
    rivals = [rng.standard_normal((90, 12)), np.column_stack([spaces["s9"], rng.standard_normal((90, 3))])]
    options = {"n_draws": 5, "cv": 4, "n_components": {"s9": 6}}
    parts = {"rest": ["s5", "s3"], "s9": ["s9"]}
    for some in (None, parts):
        found = variance_partition(spaces, y, parts=some, rivals={"s9": rivals}, **options)
        for k, rival in enumerate(rivals):
            alone = variance_partition(spaces | {"s9": rival}, y, parts=parts, **options)["unique"]
            np.testing.assert_allclose(found["rivals"].sel(draw=k), alone.sel(part="s9"), atol=1e-9)
        xr.testing.assert_allclose(found.drop_vars("rivals"), variance_partition(spaces, y, parts=some, **options))


def test_errors():
    rng = np.random.default_rng(0)
    y, a, b = rng.standard_normal((40, 2)), rng.standard_normal((40, 3)), rng.standard_normal((40, 2))
    for spaces, match in [
        ([a, b], "feature_spaces: expected arrays by name"),
        ({"a": a, "b": b[:-1]}, r"'b': expected shape \(40, feature\), got \(39, 2\)"),
        ({"a": a, "b": np.where(b > 1, np.nan, b)}, "features in 'b': .* not finite"),
        ({"a": a, "b": np.ones((40, 2))}, "features in 'b': all 2 features are constant"),
        ({"a": a}, "at least two parts"),
    ]:
        with pytest.raises(ValueError, match=match):
            variance_partition(spaces, y)
    for options, match in [
        ({"parts": {"x": ["a"], "y": ["c"]}}, "parts: expected to share out"),
        ({"parts": {"x": ["a", "b"]}}, "at least two parts"),
        ({"rivals": {"c": [a]}}, "rivals: expected arrays for one space"),
        ({"rivals": {"b": []}}, "rivals: expected arrays for one space"),
        ({"rivals": {"b": [b[:-1]]}}, r"'b, rival 0': expected shape \(40, feature\)"),
        ({"n_draws": 0}, "n_draws"),
        ({"n_components": 0}, "n_components .*: expected a whole number from 1"),
        ({"n_components": {"c": 2}}, "n_components: expected a number, or one for some of"),
        ({"alphas": [0.0]}, "alphas: expected"),
        ({"cv": 1}, "n_splits"),
        ({"groups": np.arange(39)}, "groups must hold"),
    ]:
        with pytest.raises(ValueError, match=match):
            variance_partition({"a": a, "b": b}, y, **options)
    with pytest.raises(ValueError, match="constant"):
        variance_partition({"a": a, "b": b}, np.ones((40, 2)))
    with pytest.raises(ValueError, match=r"shape \(word, channel\)"):
        variance_partition({"a": a, "b": b}, y[:, 0])


def test_components_beyond_the_rank_of_a_wide_space_change_nothing():
    rng = np.random.default_rng(0)
    low = rng.standard_normal((120, 4))
    y = low @ rng.standard_normal((4, 3)) + rng.standard_normal((120, 3))
    wide = {"wide": low @ rng.standard_normal((4, 200)), "other": rng.standard_normal((120, 3))}
    options = {"cv": 4, "inner_cv": 3, "alphas": ALPHAS[::2]}
    many, enough = (variance_partition(wide, y, n_components=k, **options)["r2"] for k in (20, 4))
    np.testing.assert_allclose(many, enough, atol=1e-6)
    with pytest.raises(ValueError, match="expected a whole number from 1 to 59"):
        variance_partition(wide, y, n_components=60, **options)
