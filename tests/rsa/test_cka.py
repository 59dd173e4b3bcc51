"""CKA and Procrustes against slow formulas, known cases and noise; the test of convergence on planted families."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter
from scipy.stats import binomtest, kstest, ortho_group, spearmanr, ttest_ind
from scipy.stats import t as student_t

from brainalign import stats
from brainalign.rsa import cka_matrix, cka_models, cka_null, convergence, linear_cka, procrustes, standardize


def unbiased_hsic(x, y):
    """Song et al. (2012): averages of k(i,j) l(i,j), k(i,j) l(q,r) and k(i,j) l(i,q) over all different samples."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    two = np.mean([k[i, j] * m[i, j] for i, j in itertools.permutations(range(n), 2)])
    three = np.mean([k[i, j] * m[i, q] for i, j, q in itertools.permutations(range(n), 3)])
    four = np.mean([k[i, j] * m[q, r] for i, j, q, r in itertools.permutations(range(n), 4)])
    return two + four - 2 * three


def slow_debiased(x, y):
    return unbiased_hsic(x, y) / np.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y))


def slow_plain(x, y):
    """In feature space: Kornblith et al. (2019), equation 5."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def rotate(x, rng):
    return 3.5 * x @ ortho_group.rvs(x.shape[1], random_state=rng) + rng.standard_normal(x.shape[1])


# ----------------------------------------------------------------------------------------------------- the estimators


@pytest.mark.parametrize("n, p, q", [(4, 2, 3), (9, 3, 5), (8, 20, 1)])
def test_cka_matches_slow_formulas(rng, n, p, q):
    x = rng.standard_normal((n, p)) + 2
    y = rng.standard_normal((n, q)) + x[:, :1]
    assert linear_cka(x, y) == pytest.approx(slow_debiased(x, y), abs=1e-10)
    assert linear_cka(x, y, debiased=False) == pytest.approx(slow_plain(x, y), abs=1e-10)


def test_minibatches_average_each_hsic(rng):
    x = rng.standard_normal((14, 3))
    y = rng.standard_normal((14, 4)) + x[:, :1]
    parts = [slice(0, 5), slice(5, 10), slice(10, 14)]

    def mean(a, b):
        return np.mean([unbiased_hsic(a[part], b[part]) for part in parts])

    expected = mean(x, y) / np.sqrt(mean(x, x) * mean(y, y))
    assert linear_cka(x, y, batch_size=5) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("debiased", [True, False])
def test_same_up_to_rotation_shift_and_scale_is_one(rng, debiased):
    x = rng.standard_normal((40, 12)) @ rng.standard_normal((12, 12))
    for batch_size in (None, 11):
        assert linear_cka(x, rotate(x, rng), debiased=debiased, batch_size=batch_size) == pytest.approx(1)
    assert procrustes(x, rotate(x, rng)) == pytest.approx(1)


def test_invariances_and_their_limit(rng):
    x, y = rng.standard_normal((30, 6)), rng.standard_normal((30, 9))
    y[:, :6] += x
    for measure in (linear_cka, procrustes):
        expected = measure(x, y)
        assert 0.1 < expected < 0.95
        assert measure(y, x) == pytest.approx(expected)
        assert measure(rotate(x, rng), rotate(y, rng)) == pytest.approx(expected)
        assert measure(1e200 * x, 1e-200 * y) == pytest.approx(expected)
        assert measure(x.astype("float32"), y + 50) == pytest.approx(expected, abs=1e-5)
        # Scaling one feature is no rotation.
        assert abs(measure(x * np.r_[20, np.ones(5)], y) - expected) > 0.05


def test_unrelated_representations_give_zero_only_when_debiased():
    debiased, plain, rotations = [], [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((50, 2000)), rng.standard_normal((50, 2000))
        debiased.append(linear_cka(x, y))
        plain.append(linear_cka(x, y, debiased=False))
        rotations.append(procrustes(x, y) if seed < 5 else np.nan)
    error = np.std(debiased, ddof=1) / np.sqrt(len(debiased))
    assert error < 0.02 and abs(np.mean(debiased)) < 4 * error
    assert min(plain) > 0.9 and np.nanmin(rotations) > 0.9


def test_debiased_hsic_estimates_the_population_from_few_samples():
    """Two features shared by spaces of 100: the known value at any n, where the plain estimator depends on n."""
    n_features, shared = 100, 50
    values = {n: [] for n in (12, 60)}
    for n, seed in itertools.product(values, range(150)):
        x = np.random.default_rng(seed).standard_normal((n, 2 * n_features - shared))
        values[n].append((unbiased(x[:, :n_features], x[:, -n_features:]), unbiased(x[:, :n_features])))
    for found in values.values():
        found = np.array(found)
        error = found.std(0, ddof=1) / np.sqrt(len(found))
        # HSIC of two linear kernels is the squared norm of the cross-covariance, here one for each shared feature.
        assert (np.abs(found.mean(0) - [shared, n_features]) < 4 * error).all()


def unbiased(x, y=None):
    """HSIC_1 as Song et al. (2012) compute it, with traces."""
    k, m = (a @ a.T * (1 - np.eye(len(a))) for a in (x, x if y is None else y))
    n = len(x)
    tail = k.sum() * m.sum() / (n - 1) / (n - 2) - 2 * (k @ m).sum() / (n - 2)
    return (np.trace(k @ m) + tail) / n / (n - 3)


def test_minibatches_agree_with_all_samples_at_once(rng):
    x = rng.standard_normal((600, 10))
    y = np.hstack([x[:, :4], rng.standard_normal((600, 6))])
    whole = linear_cka(x, y)
    draws = np.array([linear_cka(x, y, batch_size=40, seed=seed) for seed in range(60)])
    error = draws.std(ddof=1) / np.sqrt(len(draws))
    # What is left beside the error: a ratio of means is itself unbiased only up to 1 / n.
    assert abs(draws.mean() - whole) < 4 * error + 1 / len(x)
    plain = np.mean([linear_cka(x, y, debiased=False, batch_size=12, seed=seed) for seed in range(10)])
    assert plain > whole + 0.1
    assert linear_cka(x, y, batch_size=40, seed=3) == draws[3] != linear_cka(x, y, batch_size=40)


def test_matrix_holds_every_pair_also_in_blocks(rng, monkeypatch):
    xs = {name: rng.standard_normal((41, p)) for name, p in (("a", 3), ("b", 60), ("c", 8))}
    xs["c"][:, :3] += xs["a"]
    ys = [rng.standard_normal((41, 5)), xs["b"] + rng.standard_normal((41, 60))]
    settings = {"batch_size": 15, "seed": 1}
    square, cross = cka_matrix(xs, **settings), cka_matrix(xs, ys, **settings)
    assert square.dims == ("representation", "other") and list(square["other"].values) == ["a", "b", "c"]
    for (name, x), (other, y) in itertools.product(xs.items(), xs.items()):
        assert float(square.sel(representation=name, other=other)) == pytest.approx(linear_cka(x, y, **settings))
    for (name, x), (other, y) in itertools.product(xs.items(), enumerate(ys)):
        assert float(cross.sel(representation=name, other=other)) == pytest.approx(linear_cka(x, y, **settings))
    orders = np.array([rng.permutation(41) for _ in range(5)])
    null = cka_null(xs, ys, orders, **settings)
    for shift in range(5):
        expected = cka_matrix(xs, [y[orders[shift]] for y in ys], **settings)
        np.testing.assert_allclose(null[shift], expected, atol=1e-12)
    monkeypatch.setattr("brainalign.rsa.cka.BLOCK", 100)
    np.testing.assert_allclose(cka_matrix(xs, **settings), square, atol=1e-12)
    np.testing.assert_allclose(cka_null(xs, ys, orders, **settings), null, atol=1e-12)


def test_jackknife_leaves_out_whole_batches_and_its_interval_covers(rng):
    x = rng.standard_normal((40, 5))
    y = np.hstack([x[:, :2], rng.standard_normal((40, 4))])
    estimate, without = cka_models({"x": x[None], "y": y[None]}, batch_size=10)
    assert float(estimate[0, 1]) == pytest.approx(linear_cka(x, y, batch_size=10))
    rest = np.r_[0:20, 30:40]  # equal batches: what is left out of the middle makes no other batches
    assert float(without[2, 0, 1]) == pytest.approx(linear_cka(x[rest], y[rest], batch_size=10))
    assert cka_models({"x": x[None]})[1].shape == (0, 1, 1)
    misses = 0
    for seed in range(200):
        z = np.random.default_rng(seed).standard_normal((400, 12))
        halves = {"first": z[None, :, :8], "last": z[None, :, 4:]}
        estimate, without = (part.values[..., 0, 1] for part in cka_models(halves, batch_size=40))
        error = np.sqrt(0.9 * ((without - without.mean()) ** 2).sum())
        misses += abs(estimate - 0.5) > student_t.ppf(0.975, 9) * error  # four of eight features are shared
    assert binomtest(misses, 200, 0.05).pvalue > 0.001


def test_procrustes_is_the_distance_after_the_best_rotation(rng):
    x, y = rng.standard_normal((25, 4)), rng.standard_normal((25, 4))
    y += x
    a, b = (z - z.mean(0) for z in (x, y))
    a, b = (z / np.linalg.norm(z) for z in (a, b))
    distances = [np.sum((a @ ortho_group.rvs(4, random_state=rng) - b) ** 2) for _ in range(3000)]
    u, _, v = np.linalg.svd(a.T @ b)
    best = np.sum((a @ u @ v - b) ** 2)
    assert procrustes(x, y) == pytest.approx(1 - best / 2)
    assert best <= min(distances) < best + 0.2
    wide = np.hstack([x, np.zeros((25, 40))])
    assert procrustes(wide, y) == pytest.approx(procrustes(x, y))


def test_standardise_scales_features_but_not_rounding(rng):
    x = (rng.standard_normal((2, 50, 6)) * [1, 1, 1, 1e6, 1e-9, 0] + 3e6).astype("float64")
    scaled = standardize(xr.DataArray(x, dims=("layer", "word", "feature"), coords={"layer": [3, 7]}))
    assert list(scaled["layer"].values) == [3, 7]
    np.testing.assert_allclose(scaled.std("word")[:, :4], 1, rtol=1e-6)
    np.testing.assert_allclose(scaled.mean("word"), 0, atol=1e-6)
    assert (scaled[..., 4:] == 0).all()
    z = (x[0, :, :4] - x[0, :, :4].mean(0)) / x[0, :, :4].std(0)
    np.testing.assert_allclose(standardize(x[0])[:, :4], z, atol=1e-6)
    assert standardize(x.astype("float32")).dtype == np.float32


# ------------------------------------------------------------------------------------------------------------- chance


def test_permutation_p_values_are_uniform_on_noise():
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((2, 25, 60))
        orders = np.array([rng.permutation(25) for _ in range(99)])
        p.append(float(stats.p_values(cka_matrix([x], [y]), cka_null([x], [y], orders))[0, 0]))
    assert binomtest(int(np.sum(np.array(p) <= 0.05)), 200, 0.05).pvalue > 0.01
    assert kstest(p, "uniform").pvalue > 0.01


def test_series_need_shifts_where_permutations_raise_false_alarms():
    alarms = {"shifts": 0, "permutations": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = lfilter([1], [1, -0.7], rng.standard_normal((2, 200, 3)), axis=1)[:, 50:]  # the start is not stationary
        orders = {
            "shifts": stats.Shifts(39, min_shift=10, seed=seed).orders(150),
            "permutations": np.array([rng.permutation(150) for _ in range(39)]),
        }
        for name, order in orders.items():
            null = cka_null([x], [y], order)
            alarms[name] += float(stats.p_values(cka_matrix([x], [y]), null)[0, 0]) <= 0.05
    assert binomtest(alarms["shifts"], 200, 0.05).pvalue > 0.01, alarms
    assert alarms["permutations"] > 60


def test_models_are_compared_layer_by_layer(rng):
    models = {"a": rng.standard_normal((3, 40, 5)), "b": rng.standard_normal((3, 40, 7))}
    models["b"][2, :, :5] = models["a"][0]
    for match in ("depth", "best"):
        found = cka_models(models, match=match, batch_size=10)
        for one, other in [("a", "b"), ("b", "a"), ("a", "a")]:
            layers = cka_matrix(models[one], models[other], batch_size=10).to_numpy()
            expected = np.diag(layers).mean() if match == "depth" else layers.max(1).mean()
            assert float(found.estimate.sel(model=one, other=other)) == pytest.approx(expected)
        assert found.without.shape == (4, 2, 2)
    cka_models({"a": models["a"], "b": models["b"][:2]}, match="best")
    with pytest.raises(ValueError, match="a, b: expected the same length, got 3, 2"):
        cka_models({"a": models["a"], "b": models["b"][:2]})


# -------------------------------------------------------------------------------------------------------- convergence


def family(seed, effect, n_models=12):
    """Models that share a code under noise of their own; the noise falls with performance if there is an effect."""
    rng = np.random.default_rng(seed)
    performance = rng.standard_normal(n_models)
    noise = np.exp(0.5 * rng.standard_normal(n_models) - effect * performance)
    code = rng.standard_normal((80, 10))
    models = [code @ rng.standard_normal((10, 15)) / 3 + level * rng.standard_normal((80, 15)) for level in noise]
    return cka_matrix(models), performance


def test_convergence_finds_a_planted_effect():
    found = [convergence(*family(seed, 0.7), n_permutations=999) for seed in range(10)]
    assert np.median([test.difference_pvalue for test in found]) < 0.01
    assert np.median([test.correlation_pvalue for test in found]) < 0.01
    assert all(test.high > test.low and test.correlation > 0 for test in found)
    reverse = [convergence(*family(seed, -0.7), n_permutations=999) for seed in range(10)]
    assert min(test.difference_pvalue for test in reverse) > 0.5


def test_convergence_is_silent_without_an_effect_where_pairs_as_samples_are_not():
    alarms = {"difference": 0, "correlation": 0, "pairs": 0}
    for seed in range(200):
        similarity, performance = family(seed, 0.0)
        found = convergence(similarity, performance, n_permutations=399, seed=seed)
        alarms["difference"] += found.difference_pvalue <= 0.05
        alarms["correlation"] += found.correlation_pvalue <= 0.05
        order, within = np.argsort(performance), np.triu_indices(6, 1)
        low, high = (similarity.values[np.ix_(half, half)][within] for half in (order[:6], order[6:]))
        alarms["pairs"] += ttest_ind(high, low, alternative="greater").pvalue <= 0.05
    for name in ("difference", "correlation"):
        assert binomtest(alarms[name], 200, 0.05).pvalue > 0.01, alarms
    assert alarms["pairs"] > 30


def test_convergence_counts_what_it_says():
    """Five models by hand: the middle one is left out, all six halvings are taken."""
    performance = np.array([3.0, 1.0, 5.0, 2.0, 4.0])
    similarity = np.eye(5)
    upper = np.triu_indices(5, 1)
    similarity[upper] = similarity.T[upper] = np.random.default_rng(0).uniform(size=10)
    found = convergence(similarity, performance, n_permutations=2000)
    assert (found.high, found.low) == (similarity[2, 4], similarity[1, 3])
    differences = [
        similarity[a, b] - similarity[tuple({1, 2, 3, 4} - {a, b})] for a, b in itertools.combinations([1, 2, 3, 4], 2)
    ]
    assert found.difference_pvalue == pytest.approx(np.mean(np.array(differences) >= found.difference))
    mean = performance[upper[0]] + performance[upper[1]]
    assert found.correlation == pytest.approx(spearmanr(mean, similarity[upper]).statistic)
    everyone = [
        spearmanr(performance[list(o)][upper[0]] + performance[list(o)][upper[1]], similarity[upper]).statistic
        for o in itertools.permutations(range(5))
    ]
    assert found.correlation_pvalue == pytest.approx(np.mean(np.array(everyone) >= found.correlation - 1e-12), abs=0.04)


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("measure", [linear_cka, procrustes])
def test_bad_representations(rng, measure):
    x = rng.standard_normal((10, 4))
    with pytest.raises(ValueError, match="2 of 40 values are not finite"):
        measure(np.where(x > np.sort(x, axis=None)[-3], np.nan, x), x)
    with pytest.raises(ValueError, match="constant"):
        measure(x, np.full((10, 3), 0.1))
    with pytest.raises(ValueError, match=r"same (samples, got \[9, 10\]|length, got 10, 9)"):
        measure(x, x[:9])
    with pytest.raises(ValueError, match=r"shape \(sample, feature\), got \(10,\)"):
        measure(x, x[:, 0])


def test_bad_settings(rng):
    x = rng.standard_normal((10, 4))
    assert np.isfinite(linear_cka(x[:4], x[:4] ** 2)) and np.isfinite(linear_cka(x[:2], x[:2] ** 2, debiased=False))
    with pytest.raises(ValueError, match="batches of at least 4 of 3 samples, got None"):
        linear_cka(x[:3], x[:3])
    for batch_size in (3, 0, -5):
        with pytest.raises(ValueError, match="batches of at least 4 of 10 samples"):
            linear_cka(x, x, batch_size=batch_size)
    with pytest.raises(ValueError, match="batches of at least 4 of 10 samples"):
        linear_cka(x, x, batch_size=4)  # three batches: 4, 3, 3
    with pytest.raises(ValueError, match="equally far apart"):
        linear_cka(np.eye(10), x)
    with pytest.raises(ValueError, match="at least one representation"):
        cka_matrix({})
    for orders in (np.zeros((3, 10), int), np.arange(10), np.arange(9)[None]):
        with pytest.raises(ValueError, match=r"orders: expected (each of the 10 samples|shape \(draw, 10\))"):
            cka_null([x], [x], orders)


def test_bad_families():
    similarity, performance = family(0, 0.0, n_models=6)
    with pytest.raises(ValueError, match="models: expected a whole number of at least 4, got 3"):
        convergence(similarity[:3, :3], performance[:3])
    with pytest.raises(ValueError, match=r"similarity: expected shape \(5, 5\)"):
        convergence(similarity, performance[:5])
    with pytest.raises(ValueError, match="performance: 1 of 6 values are not finite"):
        convergence(similarity, np.r_[np.nan, performance[1:]])
    with pytest.raises(ValueError, match="symmetric"):
        convergence(np.triu(similarity), performance)
    with pytest.raises(ValueError, match="performance: 6 models are tied"):
        convergence(similarity, np.ones(6))
    with pytest.raises(ValueError, match="all tied"):
        convergence(np.ones((6, 6)), performance)


def test_standardise_takes_whole_numbers_and_refuses_what_is_not_finite():
    counts = np.random.default_rng(0).poisson(3, size=(30, 6))
    assert np.allclose(standardize(counts), standardize(counts.astype(float)))
    with pytest.raises(ValueError, match="features: 1 of 12 values are not finite"):
        standardize(np.where(np.arange(12).reshape(4, 3) == 5, np.nan, 1.0))


def test_models_tied_where_the_halves_part_are_refused():
    rng = np.random.default_rng(0)
    matrix = rng.random((8, 8))
    with pytest.raises(ValueError, match="performance: 5 models are tied"):
        convergence((matrix + matrix.T) / 2, np.array([0.0, 0, 0, 1, 1, 1, 1, 1]))
