"""RDMs and their statistics against rsatoolbox, slow formulas, planted truth and noise."""

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from rsatoolbox.data import Dataset
from rsatoolbox.inference import boot_noise_ceiling
from rsatoolbox.rdm import RDMs, calc_rdm, compare
from scipy.optimize import nnls
from scipy.spatial.distance import pdist, squareform
from scipy.stats import binomtest, ttest_1samp, ttest_rel
from sklearn.decomposition import PCA

from brainalign import rsa
from brainalign.datasets import Viewing
from brainalign.rsa.rdms import COMPARISONS, METRICS, compare_rdms, rdm

PEER = {"pearson": "corr", "spearman": "spearman"}


# ------------------------------------------------------------------------------------------------------ dissimilarities


@pytest.mark.parametrize("metric", METRICS)
def test_rdm_is_scipys_for_each_leading_index(rng, metric):
    x = rng.standard_normal((2, 3, 7, 5)) + rng.standard_normal((7, 1)) + 100
    found = rdm(x, metric)
    assert found.shape == (2, 3, 21)
    for place in np.ndindex(2, 3):
        np.testing.assert_allclose(found[place], pdist(x[place], metric), atol=1e-9)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # within rsatoolbox
def test_rdm_is_rsatoolboxs(rng):
    x = rng.standard_normal((12, 30)) + rng.standard_normal((12, 1))
    for metric, peer, factor in (("correlation", "correlation", 1), ("sqeuclidean", "euclidean", 30)):
        expected = calc_rdm(Dataset(x), method=peer).dissimilarities[0]
        np.testing.assert_allclose(rdm(x, metric) / factor, expected, atol=1e-10)


def test_patterns_without_spread_are_compared_by_distance(rng):
    x = rng.standard_normal((6, 7))
    np.testing.assert_array_equal(rsa.feature_rdm(x), rdm(x))
    np.testing.assert_allclose(rdm(1e200 * x), rdm(x))
    x[4] = 0.1
    np.testing.assert_array_equal(rsa.feature_rdm(x), rdm(x, "euclidean"))


@pytest.mark.parametrize(
    ("change", "metric", "message"),
    [
        (lambda x: x[:2], "correlation", "at least three images"),
        (lambda x: np.where(x == x.max(), np.nan, x), "euclidean", "x: 1 of 42 values are not finite"),
        (lambda x: np.where(np.arange(6)[:, None] == 4, 0.1, x), "correlation", "x: 1 images are constant: 4;"),
        (lambda x: x, "mahalanobis", "metric: expected one of 'correlation'"),
    ],
)
def test_rdm_refuses(rng, change, metric, message):
    with pytest.raises(ValueError, match=message):
        rdm(change(rng.standard_normal((6, 7))), metric)


# ----------------------------------------------------------------------------------------------------------- comparison


@pytest.mark.parametrize("method", COMPARISONS)
def test_comparison_is_rsatoolboxs(rng, method):
    a, b = rng.random((3, 66)), rng.random((2, 66))
    b[0] += a[0]
    b[1] = np.round(4 * b[1])  # with ties
    found = compare_rdms(a, b, method)
    np.testing.assert_allclose(found, compare(RDMs(a), RDMs(b), PEER[method]), atol=1e-10)
    assert found[0, 0] > 0.4
    assert compare_rdms(a[1], b[1], method) == pytest.approx(found[1, 1])
    assert compare_rdms(a[None], b[1], method).shape == (1, 3)


def test_rounding_makes_no_ranks(rng):
    """Category models have ties; computed from features, their dissimilarities differ in the last digit."""
    category = rng.integers(4, size=12)
    ties = pdist(category[:, None], "hamming")
    rounded = ties + 1e-15 * rng.standard_normal(len(ties))
    assert len(set(rounded)) > 30
    brain = rng.random(len(ties))
    assert compare_rdms(brain, rounded) == pytest.approx(compare_rdms(brain, ties), abs=1e-12)


def test_comparison_keeps_labels(rng):
    brains = xr.DataArray(rng.random((2, 2, 10)), {"subject": ["a", "b"]}, ("subject", "session", "pair"))
    models = xr.DataArray(rng.random((3, 10)), {"model": ["x", "y", "z"]}, ("model", "pair"))
    found = compare_rdms(models, brains, "pearson")
    assert found.dims == ("model", "subject", "session") and set(found.coords) == {"model", "subject"}
    expected = np.corrcoef(models[2], brains[1, 0])[0, 1]
    assert float(found.sel(model="z", subject="b", session=0)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="rename one"):
        compare_rdms(brains, brains)


@pytest.mark.parametrize(
    ("b", "method", "message"),
    [
        (np.arange(9.0), "pearson", r"same pairs of images, at least three, got \[10, 9\]"),
        (np.r_[np.nan, np.arange(9.0)], "spearman", "b: 1 of 10 values are not finite"),
        (np.full(10, 0.3), "pearson", "b: 1 RDM"),
        (0.3 + 1e-16 * np.arange(10), "spearman", "b: 1 RDM"),
        (np.arange(10.0), "rho", "method: expected one of 'pearson', 'spearman', got 'rho'"),
    ],
)
def test_comparison_refuses(b, method, message):
    with pytest.raises(ValueError, match=message):
        compare_rdms(np.arange(10.0) ** 2, b, method)


# -------------------------------------------------------------------------------------------------------------- batches


def test_image_batches_share_no_image_and_are_seeded():
    batches = rsa.image_batches(1050, 100, seed=3)
    assert batches.shape == (10, 100) and len(np.unique(batches)) == 1000
    assert batches.min() >= 0 and batches.max() < 1050
    np.testing.assert_array_equal(batches, rsa.image_batches(1050, 100, seed=3))
    assert (batches != rsa.image_batches(1050, 100, seed=4)).any()
    for size in (2, 1051):
        with pytest.raises(ValueError, match="size: expected a whole number from 3 to 1050"):
            rsa.image_batches(1050, size)


def test_model_rdms_of_batches_are_parts_of_the_whole(rng):
    features, batches = rng.standard_normal((23, 6)), rsa.image_batches(23, 5)
    whole = rdm(features)
    found = rsa.batch_rdms({"whole": whole, "batches": rdm(features[batches])}, 23, batches)
    assert found.dims == ("model", "batch", "pair") and found["model"].values.tolist() == ["whole", "batches"]
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)
    square = squareform(whole)
    np.testing.assert_allclose(found[0, 2], squareform(square[np.ix_(batches[2], batches[2])]))
    np.testing.assert_array_equal(rsa.batch_rdms([whole], 23)[0, 0], whole)


def test_scores_are_means_over_batches(rng):
    responses, features = rng.standard_normal((24, 15)), rng.standard_normal((24, 6))
    responses[:, :6] += 2 * features
    batches = rsa.image_batches(24, 8)
    models = {"features": rdm(features), "noise": rng.random(276)}
    found = rsa.score(responses, models, batches=batches)
    assert found.dims == ("model",) and found.sel(model="features") > 0.3
    for name, model in models.items():
        slow = [
            np.corrcoef(pdist(responses[b], "correlation"), squareform(squareform(model)[np.ix_(b, b)]))[0, 1]
            for b in batches
        ]
        assert float(found.sel(model=name)) == pytest.approx(np.mean(slow))


@pytest.mark.parametrize(
    ("models", "batches", "message"),
    [
        ([], None, "number of model_rdms: expected a whole number of at least 1, got 0"),
        (np.arange(45.0), None, r"model_rdms, 0: expected shape \(1, 45\), got \(\)"),
        ([np.arange(44.0)], None, r"model_rdms, 0: expected shape \(45,\)"),
        ({"m": np.arange(45.0)[None]}, [[0, 1, 2], [3, 4, 5]], r"'m': expected shape \(2, 3\), got \(1, 45\)"),
        ({"m": np.r_[np.nan, np.arange(44.0)]}, None, "'m': 1 of 45 values are not finite"),
        ([np.arange(45.0)], [[0, 1, 1]], "batches: expected numbers of at least three different images"),
        ([np.arange(45.0)], [[0, 1, 10]], "images from 0 to 9"),
        ([np.arange(45.0)], [[0, 1]], "at least three"),
        ([np.arange(45.0)], [[0.0, 1.0, 2.0]], "batches: expected numbers .* got float64"),
    ],
)
def test_scores_refuse(rng, models, batches, message):
    with pytest.raises(ValueError, match=message):
        rsa.score(rng.standard_normal((10, 5)), models, batches=batches)


def test_scores_refuse_repeats(rng):
    with pytest.raises(ValueError, match=r"\(image, vertex\)"):
        rsa.score(rng.standard_normal((2, 10, 5)), [np.arange(45.0)])


# -------------------------------------------------------------------------------------------------------- noise ceiling


@pytest.mark.parametrize("method", COMPARISONS)
def test_noise_ceiling_is_rsatoolboxs(rng, method):
    rdms = rng.random((5, 45)) + rng.random(45)
    rdms *= [[1], [5], [1], [2], [0.1]]
    found = rsa.noise_ceiling(rdms, method)
    lower, upper = boot_noise_ceiling(RDMs(rdms), method=PEER[method])
    assert float(found["lower"].mean()) == pytest.approx(lower, abs=1e-10)
    assert float(found["upper"].mean()) == pytest.approx(upper, abs=1e-10)
    assert lower < upper


def test_plain_ceiling_is_each_subject_against_the_mean_of_the_others(rng):
    rdms = xr.DataArray(rng.random((4, 45)) + rng.random(45), {"subject": list("abcd")}, ("subject", "pair"))
    rdms *= xr.DataArray([1, 5, 1, 0.2], dims="subject")
    found = rsa.noise_ceiling(rdms, pooling="plain")["lower"]
    for subject in "abcd":
        others = rdms.drop_sel(subject=subject).mean("subject")
        assert float(found.sel(subject=subject)) == pytest.approx(np.corrcoef(rdms.sel(subject=subject), others)[0, 1])
    assert (np.abs(found - rsa.noise_ceiling(rdms)["lower"]) > 1e-4).any()


def test_no_model_passes_the_upper_bound_and_the_true_one_passes_the_lower():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = rng.random(190)
        rdms = truth + 0.5 * rng.random((6, 190))
        found = rsa.noise_ceiling(rdms).mean()
        models = np.vstack([truth, rdms, rdms.mean(0), truth + 0.1 * rng.standard_normal((50, 190))])
        scores = compare_rdms(models, rdms, "pearson").mean(1)
        assert (scores <= found["upper"].item() + 1e-12).all() and scores[0] >= found["lower"].item()


@pytest.mark.parametrize(
    ("rdms", "options", "message"),
    [
        (np.arange(10.0)[None], {}, "subjects: expected a whole number of at least 2"),
        (np.arange(20.0).reshape(2, 10), {"pooling": "median"}, "pooling: expected one of"),
        (np.vstack([np.arange(10.0), np.ones(10)]), {}, "all the same"),
        (np.vstack([np.arange(10.0), np.full(10, np.nan)]), {}, "not finite"),
    ],
)
def test_noise_ceiling_refuses(rdms, options, message):
    with pytest.raises(ValueError, match=message):
        rsa.noise_ceiling(rdms, **options)


# ------------------------------------------------------------------------------------------------------------ bootstrap


def test_bootstrap_draws_images_and_leaves_out_pairs_of_the_same(rng):
    rdms, models = rng.random((2, 28)), {"a": rng.random(28), "b": rng.random(28)}
    found = rsa.image_bootstrap(rdms, models, method="spearman", n_resamples=30, seed=5)
    generator, squares = np.random.default_rng(5), [squareform(row) for row in (*rdms, *models.values())]
    for draw in found["draws"].values:
        drawn = generator.integers(8, size=8)
        keep = [(i, j) for i, j in itertools.combinations(range(8), 2) if drawn[i] != drawn[j]]
        rows = [[square[drawn[i], drawn[j]] for i, j in keep] for square in squares]
        expected = pd.DataFrame(rows).T.corr("spearman").to_numpy()[2:, :2].mean(1)
        np.testing.assert_allclose(draw, expected, atol=1e-12)
    np.testing.assert_allclose(found["low"], np.quantile(found["draws"], 0.025, axis=0))
    expected = compare_rdms(models["b"], rdms, "spearman").mean()
    assert float(found["score"].sel(model="b")) == pytest.approx(expected)


def test_bootstrap_interval_covers_chance_and_finds_what_is_planted():
    outside, above, n_simulations = 0, 0, 150
    for seed in range(n_simulations):
        rng = np.random.default_rng(seed)
        brain, other = rng.standard_normal((2, 24, 10))
        models = [rdm(other), rdm(brain + rng.standard_normal(brain.shape))]
        found = rsa.image_bootstrap(rdm(brain), models, n_resamples=100, seed=seed)
        outside += not found["low"][0] <= 0 <= found["high"][0]
        above += bool(found["low"][1] > 0)
    # The bootstrap of images is known to err on the wide side (Schuett et al. 2023, eLife 12).
    assert binomtest(outside, n_simulations, 0.05, "greater").pvalue > 0.01
    assert above > 0.9 * n_simulations


@pytest.mark.parametrize(
    ("rdms", "options", "message"),
    [
        (np.arange(9.0), {}, "all pairs of 3 images or more"),
        (np.arange(10.0), {"method": "kendall"}, "method: expected one of"),
        (np.arange(10.0), {"n_resamples": 0}, "n_resamples: expected a whole number"),
        (np.arange(15.0), {}, r"expected shape \(15,\)"),
    ],
)
def test_bootstrap_refuses(rdms, options, message):
    with pytest.raises(ValueError, match=message):
        rsa.image_bootstrap(rdms, [np.arange(10.0)], **options)


# ------------------------------------------------------------------------------------------------------- subject tests


def labelled(values):
    names = [f"m{k}" for k in range(len(values))]
    return xr.DataArray(values, {"model": names}, ("model", "subject"))


def test_subject_tests_are_students_with_fdr(rng):
    values = rng.standard_normal((3, 8)) + rng.standard_normal(8) + [[0], [0.5], [2]]
    models, pairs = rsa.subject_tests(labelled(values).T)
    for row, name in zip(values, models.index, strict=True):
        expected = ttest_1samp(row, 0)
        assert (models.loc[name, "t"], models.loc[name, "p"]) == pytest.approx((expected.statistic, expected.pvalue))
        assert models.loc[name, ["low", "high"]].tolist() == pytest.approx(expected.confidence_interval(0.95))
    assert pairs.index.tolist() == [("m0", "m1"), ("m0", "m2"), ("m1", "m2")]
    expected = ttest_rel(values[0], values[2])
    assert pairs.loc[("m0", "m2"), ["t", "p"]].tolist() == pytest.approx([expected.statistic, expected.pvalue])
    assert pairs.loc[("m0", "m2"), "mean"] == pytest.approx((values[0] - values[2]).mean())
    ordered = pairs["p"].sort_values()
    expected = np.minimum.accumulate((ordered * 3 / [1, 2, 3]).to_numpy()[::-1])[::-1]
    np.testing.assert_allclose(pairs.loc[ordered.index, "p_fdr"], expected)


def test_permutations_flip_all_signs(rng):
    values = rng.standard_normal((2, 6)) + 0.7
    models, pairs = rsa.subject_tests(labelled(values), test="permutation")
    signs = np.array(list(itertools.product([-1, 1], repeat=6)))
    for row, p in zip((*values, values[0] - values[1]), (*models["p"], *pairs["p"]), strict=True):
        assert p == pytest.approx((np.abs(signs @ row) >= abs(row.sum()) - 1e-12).mean())


@pytest.mark.parametrize("test", ["t", "permutation"])
def test_subject_tests_hold_their_level_on_noise(test):
    scores = np.random.default_rng(1).standard_normal((400, 9))
    rejected = sum(
        rsa.subject_tests(labelled(scores[k : k + 2]), test=test).pairs["p"].iloc[0] <= 0.05 for k in range(0, 400, 2)
    )
    assert binomtest(rejected, 200, 0.05).pvalue > 0.01


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (np.ones((2, 3)), {}, "scores: expected a DataArray of dimensions model, subject, got ndarray"),
        (labelled(np.arange(6.0).reshape(2, 3)).rename(model="layer"), {}, "got .*layer"),
        (labelled(np.arange(2.0)[:, None]), {}, "subjects: expected a whole number of at least 2"),
        (labelled(np.array([[1.0, np.nan], [2.0, 3.0]])), {}, "finite"),
        (labelled(np.array([[1.0, 2.0], [1.1, 2.1]])), {}, "1 scores or differences are the same"),
        (labelled(np.arange(6.0).reshape(2, 3) ** 2), {"test": "sign"}, "test: expected one of"),
    ],
)
def test_subject_tests_refuse(scores, options, message):
    with pytest.raises(ValueError, match=message):
        rsa.subject_tests(scores, **options)


# ---------------------------------------------------------------------------------------------- reweighted dimensions


def weighted_distances(rng, weights, n_images: int = 30):
    """Features of shape (image, dimension) of falling variance, and the RDM in which the dimensions weigh so much."""
    features = rng.standard_normal((n_images, len(weights))) * np.geomspace(8, 1, len(weights))
    return features, sum(w * rdm(column[:, None], "sqeuclidean") for w, column in zip(weights, features.T, strict=True))


def slowly_reweighted(target, x, n_components, alphas, seed, n_folds=5):
    """Pair by pair, with scikit-learn's components and least squares on the pairs themselves."""
    n, pairs = len(x), list(itertools.combinations(range(len(x)), 2))
    fold = np.random.default_rng(seed).permutation(np.arange(n) % n_folds)

    def predict(train, wanted, alpha):
        components = PCA(n_components).fit(x[train])
        z = components.transform(x)

        def parts(some):
            each = np.array([(z[i] - z[j]) ** 2 for i, j in some])
            return np.column_stack([each.sum(1), each])

        some = [(i, j) for i, j in pairs if i in train and j in train]
        y = np.array([target[pairs.index(pair)] for pair in some])
        d, new = parts(some), parts(wanted)
        mean, scale = d.mean(0), d[:, 0].std()
        d, new = (d - mean) / scale, (new - mean) / scale
        rows = np.sqrt(alpha * len(some)) * np.eye(d.shape[1])[1:]
        weights = nnls(np.vstack([d, rows]), np.append((y - y.mean()) / y.std(), np.zeros(len(rows))))[0]
        return new @ weights / (d @ weights).std()

    found = []
    for i, j in pairs:
        rest = [k for k in range(n_folds) if k not in (fold[i], fold[j])]
        scores = []
        for alpha in alphas:
            r = []
            for k in rest:
                train = [m for m in range(n) if fold[m] in rest and fold[m] != k]
                held = [pair for pair in pairs if fold[pair[0]] == fold[pair[1]] == k]
                y = np.array([target[pairs.index(pair)] for pair in held])
                r.append(np.corrcoef(predict(train, held, alpha), y)[0, 1])
            scores.append(np.mean(r))
        train = [m for m in range(n) if fold[m] in rest]
        found.append(predict(train, [(i, j)], alphas[int(np.argmax(scores))])[0])
    return np.array(found)


def test_reweighted_rdms_are_those_of_the_slow_way(rng):
    features, target = weighted_distances(rng, [0, 3, 1, 0, 0], n_images=16)
    target += 2 * rng.standard_normal(len(target))
    options = {"n_components": 3, "alphas": [1e-3, 0.1, 3.0], "seed": 5}
    fast = rsa.reweighted_rdms(np.stack([target, target[::-1]]), features, **options)
    np.testing.assert_allclose(fast[0], slowly_reweighted(target, features, **options), atol=1e-8)


def test_weights_are_found_that_the_rdm_as_it_comes_lacks(rng):
    features, truth = weighted_distances(rng, [0, 0, 5, 0, 1, 0], n_images=80)
    target = truth + truth.std() * rng.standard_normal(len(truth))
    plain = rdm(features, "sqeuclidean")
    found = rsa.reweighted_rdms(target, features)
    assert compare_rdms(plain, truth, "pearson") < 0.6
    assert compare_rdms(found, truth, "pearson") > 0.9
    equal = rsa.reweighted_rdms(target, features, alphas=[1e9])
    # each training set has its own mean and spread: nearly the RDM as it comes
    assert compare_rdms(equal, plain, "pearson") > 0.9


def test_images_that_are_left_out_have_no_part_in_their_prediction(rng):
    features, _ = weighted_distances(rng, np.ones(10), n_images=24)
    target = rng.standard_normal(24 * 23 // 2)
    fold = np.random.default_rng(0).permutation(np.arange(24) % 5)
    first, second = np.triu_indices(24, 1)
    before = rsa.reweighted_rdms(target, features)
    touched = (fold[first] == 0) | (fold[second] == 0)
    after = rsa.reweighted_rdms(np.where(touched, 9 * target, target), features)
    np.testing.assert_allclose(after[touched], before[touched])
    assert not np.allclose(after[~touched], before[~touched])


def test_reweighting_finds_nothing_in_noise(rng):
    """Held-out scores lie about 0 or below; weights fitted to the same pairs would reach far more."""
    features, _ = weighted_distances(rng, np.ones(10))
    noise = np.stack([rdm(rng.standard_normal((30, 12)), "correlation") for _ in range(60)])
    found = rsa.reweighted_rdms(noise, features)
    scores = np.array([np.corrcoef(one, other)[0, 1] for one, other in zip(found, noise, strict=True)])
    parts = np.stack([rdm(column[:, None], "sqeuclidean") for column in features.T])
    parts = np.column_stack([np.ones(parts.shape[1]), parts.T])
    fitted = [np.corrcoef(parts @ nnls(parts, one)[0], one)[0, 1] for one in noise]
    assert np.mean(scores) < 0.02 < 0.05 < np.mean(fitted)
    t = ttest_1samp(scores, 0, alternative="greater")
    assert t.pvalue > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.ones((14, 4))}, "images: expected a whole number of at least 15, got 14"),
        ({"features": np.ones((16, 4))}, r"rdms: expected shape \(rdm, 120\), got \(1, 105\)"),
        ({"features": np.full((15, 4), np.nan)}, "features: 60 of 60 values are not finite"),
        ({"rdms": np.full(105, np.inf)}, "rdms: 105 of 105 values are not finite"),
        ({"alphas": [0.0, 1.0]}, "alphas: expected a number above 0, got 0.0"),
        ({"n_components": 0}, "n_components: expected a whole number"),
        ({"n_components": 2.5}, "n_components: expected a whole number"),
        ({"features": np.ones((15, 4))}, "features: alike in all"),
        ({"rdms": np.ones(105)}, "rdms: all distances among"),
    ],
)
def test_bad_input_of_reweighting(rng, change, message):
    given = {"rdms": rng.random(105), "features": rng.random((15, 4))} | change
    with pytest.raises(ValueError, match=message):
        rsa.reweighted_rdms(**given)


# ------------------------------------------------------------------------------------------------------- data, chance


def viewers(rng, n_images=8, n_repeats=2, **changes) -> Viewing:
    names = [f"i{k}" for k in range(n_images)]
    captions = pd.DataFrame({"image": names, "caption": "A sentence.", "caption_id": range(n_images)})
    responses = {
        subject: xr.DataArray(
            rng.standard_normal((n_repeats, n_images, 6)),
            {"image": names[::step], "vertex": np.arange(6)},
            ("repeat", "image", "vertex"),
        )
        for subject, step in (("p", 1), ("q", -1))
    }
    rois = pd.DataFrame({"early": np.arange(6) < 3, "late": np.arange(6) >= 3})
    fields = {"name": "t", "captions": captions, "test_images": names[::-2], "responses": responses, "rois": rois}
    return Viewing(**{**fields, **changes})


def test_brain_rdms_are_of_the_test_images_in_every_region(rng):
    data = viewers(rng)
    found = rsa.brain_rdms(data)
    assert found.dims == ("region", "subject", "pair") and found.shape == (2, 2, 6)
    late = data.responses["q"].sel(image=data.test_images, vertex=[3, 4, 5])
    np.testing.assert_allclose(found.sel(region="late", subject="q"), rdm(late.mean("repeat").values))
    np.testing.assert_allclose(rsa.brain_rdms(data, part=1).sel(region="late", subject="q"), rdm(late[1].values))
    assert list(rsa.brain_rdms(viewers(rng, rois=None, space="V1"))["region"].values) == ["V1"]


def test_brain_rdms_that_are_known_are_those_of_the_test_images(rng):
    known = xr.DataArray(rng.random((2, 3, 28)), {"subject": ["p", "q"]}, ("subject", "session", "pair"))
    data = viewers(rng, responses=None, rois=None, rdms=known, space="hIT")
    found, places = rsa.brain_rdms(data), data.image_names.get_indexer(data.test_images)
    whole = squareform(known.sel(subject="q").mean("session"))[np.ix_(places, places)]
    np.testing.assert_allclose(found.sel(region="hIT", subject="q"), squareform(whole))
    assert not np.allclose(found, rsa.brain_rdms(data, part=0))


def test_rivals_are_the_pixels_where_there_are_pictures(rng):
    pictures = rng.integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    assert rsa.rival_rdms(viewers(rng)) == {}
    (found,) = rsa.rival_rdms(viewers(rng, images=pictures)).values()
    assert found.shape == (6,) and np.isfinite(found).all()


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_mantel_null_renames_images_within_groups(rng, method):
    models, brains = {"a": rng.random(28), "b": rng.random(28)}, rng.random((3, 28))
    null = rsa.mantel_null(models, brains, n_permutations=400, method=method)
    assert null.shape == (400, 2, 3) and abs(float(null.mean())) < 0.05
    order = np.random.default_rng(0).permuted(np.tile(np.arange(8), (400, 1)), axis=1)[7]
    renamed = squareform(squareform(models["b"])[np.ix_(order, order)])
    np.testing.assert_allclose(null[7, 1], compare_rdms(renamed, brains, method))
    kept = rsa.mantel_null(models, brains, groups=list("aabcdefg"), n_permutations=20, method=method)
    assert len(np.unique(kept.sel(model="a").values.round(12), axis=0)) == 2  # two images may change places
    with pytest.raises(ValueError, match="method: expected one of"):
        rsa.mantel_null(models, brains, method="kendall")


def test_draws_that_leave_a_model_without_differences_are_drawn_again(rng):
    odd = np.zeros(8, dtype=bool)
    odd[0] = True  # one image of its own kind: a third of all draws do not hold it
    kind = (odd[:, None] != odd)[np.triu_indices(8, 1)].astype(float)
    found = rsa.image_bootstrap(rng.standard_normal((2, 28)), {"kind": kind}, n_resamples=40)
    assert found["draws"].shape == (40, 1) and np.isfinite(found["draws"]).all()
