"""The ridge sweep against scikit-learn, on planted truth, on noise, and on bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from brainalign.ridge import ContiguousKFold, RidgeSweepCV, _path, cross_validate, encoding
from brainalign.stats import PermuteGroups, Shifts, p_values

ALPHAS = np.logspace(-1, 4, 6)


def simulate(n, p, n_channels=6, noise=2.0, seed=0):
    """Correlated features of unequal scale and offset; responses with less and less signal, the last with none."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p)) @ rng.standard_normal((p, p)) / np.sqrt(p)
    x = x * np.exp(rng.standard_normal(p)) + 10 * rng.standard_normal(p)
    strength = np.linspace(1, 0, n_channels)
    signal = (x - x.mean(0)) / x.std(0) @ rng.standard_normal((p, n_channels)) / np.sqrt(p)
    return x, strength * signal + noise * rng.standard_normal((n, n_channels)) + 5


def columns_r(a, b):
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


def model(alpha, n_components, standardize=True):
    steps = [StandardScaler(with_std=standardize)]
    if n_components is not None:
        steps.append(PCA(n_components, svd_solver="full"))
    return make_pipeline(*steps, Ridge(alpha))


def choose_alphas(x, y, alphas, folds, n_components, standardize=True):
    """Each channel's best penalty by the folds' pooled squared error, one scikit-learn fit at a time."""
    errors = np.zeros((len(alphas), y.shape[1]))
    for i, alpha in enumerate(alphas):
        for train, test in folds:
            predicted = model(alpha, n_components, standardize).fit(x[train], y[train]).predict(x[test])
            errors[i] += ((predicted - y[test]) ** 2).sum(0)
    return alphas[errors.argmin(0)]


def nested_grid_search(x, y, outer, inner_splits, alphas, n_components=None, standardize=True):
    prediction, chosen = np.full(y.shape, np.nan), []
    for train, test in outer:
        folds = list(ContiguousKFold(inner_splits).split(train))
        best = choose_alphas(x[train], y[train], alphas, folds, n_components, standardize)
        prediction[test] = model(best, n_components, standardize).fit(x[train], y[train]).predict(x[test])
        chosen.append(best)
    return prediction, np.array(chosen)


# ------------------------------------------------------------------------------------------ agreement with scikit-learn


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("n_components", [None, 8])
@pytest.mark.parametrize(("n", "p"), [(150, 20), (60, 90), (80, 58)], ids=["n>p", "n<p", "inner n<p"])
def test_agrees_with_scikit_learn(n, p, n_components, standardize):
    x, y = simulate(n, p)
    outer = list(ContiguousKFold(5).split(range(n)))
    prediction, chosen = nested_grid_search(x, y, outer, 4, ALPHAS, n_components, standardize)
    result = cross_validate(
        x,
        y,
        alphas=ALPHAS,
        cv=5,
        inner_cv=4,
        n_components=n_components,
        standardize=standardize,
        return_predictions=True,
    )
    np.testing.assert_allclose(result.score[0], columns_r(prediction, y), atol=1e-3)
    np.testing.assert_array_equal(result.alpha[0], chosen)
    np.testing.assert_allclose(result.prediction[0], prediction, rtol=1e-5, atol=1e-5)


def test_agrees_without_shared_moments_and_in_small_chunks(monkeypatch):
    x, y = simulate(120, 15)
    settings = {"alphas": ALPHAS, "cv": 4, "inner_cv": 3, "return_predictions": True}
    shared = cross_validate(x, y, **settings)
    monkeypatch.setattr(encoding, "_SHARED_BYTES", 8 * (120 + 15) * 2)  # two channels at a time, moments not kept
    monkeypatch.setattr(_path, "TRIAL_BYTES", 1)
    xr.testing.assert_allclose(cross_validate(x, y, **settings), shared)


@pytest.mark.parametrize("n_components", [None, 5])
@pytest.mark.parametrize(("n_samples", "n_features"), [(120, 15), (40, 70)])
def test_many_targets_are_fitted_in_chunks_and_parts(monkeypatch, n_samples, n_features, n_components):
    x = np.random.default_rng(0).standard_normal((n_samples, n_features))
    y = x @ np.random.default_rng(1).standard_normal((n_features, 150))
    y += 5 * np.random.default_rng(2).standard_normal(y.shape) + 3
    model = RidgeSweepCV(ALPHAS, cv=4, n_components=n_components, dtype="float64")
    whole = clone(model).fit(x, y)
    monkeypatch.setattr(encoding, "_SHARED_BYTES", 8 * (n_samples + min(n_samples, n_features)) * 70)
    monkeypatch.setattr(_path, "TRIAL_BYTES", 1)
    chunks = encoding._channel_chunks(n_samples, n_features, 150)
    assert [len(chunk) for chunk in chunks] == [70, 70, 10]  # of parts of 32
    small = clone(model).fit(x, y)
    np.testing.assert_array_equal(small.alpha_, whole.alpha_)
    for name in ("coef_", "intercept_", "cv_mse_"):
        np.testing.assert_allclose(getattr(small, name), getattr(whole, name), rtol=1e-7, atol=1e-9)


def test_agrees_for_large_offsets_and_outlying_features():
    """Hidden states hold features thousands of times larger than others: differences of moments must not cancel."""
    x, y = simulate(150, 20)
    x[:, 3] = 1e6 + 1e-2 * x[:, 3]
    x[:, 4] *= 1e4
    x[7, 5] = 1e5
    prediction, _ = nested_grid_search(x, y, list(ContiguousKFold(5).split(range(150))), 5, ALPHAS)
    result = cross_validate(x, y, alphas=ALPHAS, cv=5)
    np.testing.assert_allclose(result.score[0], columns_r(prediction, y), atol=1e-3)


def test_constant_features_change_nothing():
    x, y = simulate(100, 10)
    half = np.where(np.arange(100) < 20, np.random.default_rng(1).standard_normal(100), 0.3)  # varies in one fold only
    padded = np.column_stack([x, np.full(100, 0.1), half])
    result = cross_validate(padded, y, alphas=ALPHAS, cv=5, return_predictions=True)
    assert np.isfinite(result.score).all()
    prediction, _ = nested_grid_search(padded, y, list(ContiguousKFold(5).split(range(100))), 5, ALPHAS)
    np.testing.assert_allclose(result.prediction[0], prediction, atol=1e-4)


def test_any_scikit_learn_splitter():
    x, y = simulate(90, 12)
    groups = np.repeat(np.arange(9), 10)
    by_group = cross_validate(x, y, alphas=ALPHAS, cv=GroupKFold(3), groups=groups)
    by_pairs = cross_validate(x, y, alphas=ALPHAS, cv=list(GroupKFold(3).split(x, y, groups)), groups=groups)
    xr.testing.assert_identical(by_group, by_pairs)
    assert by_group.sizes["split"] == 3
    shuffled = KFold(3, shuffle=True, random_state=0)
    outer = [(np.sort(train), np.sort(test)) for train, test in shuffled.split(x)]
    prediction, chosen = nested_grid_search(x, y, outer, 5, ALPHAS)
    result = cross_validate(x, y, alphas=ALPHAS, cv=shuffled, return_predictions=True)
    np.testing.assert_array_equal(result.alpha[0], chosen)
    np.testing.assert_allclose(result.prediction[0], prediction, atol=1e-4)


def test_samples_that_are_never_tested_do_not_count():
    x, y = simulate(60, 5)
    train, test = np.arange(40), np.arange(40, 50)
    result = cross_validate(x, y, alphas=ALPHAS, cv=[(train, test)], return_predictions=True)
    prediction, _ = nested_grid_search(x, y, [(train, test)], 5, ALPHAS)
    np.testing.assert_allclose(result.score[0], columns_r(prediction[test], y[test]), atol=1e-3)
    assert np.isnan(result.prediction[0, np.r_[:40, 50:60]]).all()


# ------------------------------------------------------------------------------------------------------------- folds


def test_folds_without_gap_are_scikit_learn_kfold():
    for (a, b), (c, d) in zip(list(ContiguousKFold(5).split(range(23))), KFold(5).split(np.zeros(23)), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


def test_gap_stays_within_the_passage():
    groups = ["a"] * 5 + ["b"] * 7
    folds = list(ContiguousKFold(3, gap=2).split(range(12), groups=groups))
    assert [test.tolist() for _, test in folds] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert folds[0][0].tolist() == [5, 6, 7, 8, 9, 10, 11]  # 4 is in the block's passage, 5 is not
    assert folds[1][0].tolist() == [0, 1, 10, 11]  # the block starts in "a" (drops 2, 3) and ends in "b" (drops 8, 9)
    assert folds[2][0].tolist() == [0, 1, 2, 3, 4, 5]


def test_inner_gap_counts_original_samples():
    """Training samples on the two sides of the outer test block are no neighbours."""
    train, _ = list(ContiguousKFold(3).split(range(30)))[1]
    inner = ContiguousKFold(2, gap=2).blocks(train, np.zeros(30, dtype=int))
    assert inner[0][1].tolist() == list(range(10)) and inner[0][0].tolist() == list(range(20, 30))


def test_gap_keeps_neighbours_out_of_training():
    """Random features that drift slowly predict drifting responses only through neighbouring samples."""
    rng = np.random.default_rng(2)
    drift = np.repeat(rng.standard_normal((60, 20)), 10, axis=0)  # constant for 10 samples
    x, y = np.repeat(rng.standard_normal((60, 40)), 10, axis=0), drift + 0.1 * rng.standard_normal((600, 20))
    folds = list(
        ContiguousKFold(119).split(range(600))
    )  # blocks of about 5 samples: the rest of the stretch is in the training set
    close = cross_validate(x, y, alphas=[1.0], cv=folds, inner_cv=2).score.mean()
    far = cross_validate(
        x, y, alphas=[1.0], cv=list(ContiguousKFold(119, gap=10).split(range(600))), inner_cv=2
    ).score.mean()
    assert close > 0.2 and far < 0.05


def test_scores_depend_on_gap_and_groups():
    x, y = simulate(80, 5)
    settings = {"alphas": [10.0], "cv": 4}
    gapped = settings | {"cv": ContiguousKFold(4, gap=5)}
    scores = [
        cross_validate(x, y, **settings).score,
        cross_validate(x, y, **gapped).score,
        cross_validate(x, y, groups=np.repeat([0, 1, 2, 3], 20), **gapped).score,
    ]
    assert not np.allclose(scores[0], scores[1], atol=1e-6)
    np.testing.assert_allclose(
        scores[0], scores[2]
    )  # each block is a passage of its own: there is nothing to leave out


# ------------------------------------------------------------------------------------------------- truth and noise


def test_recovers_the_planted_layer_and_signal():
    rng = np.random.default_rng(3)
    features = rng.standard_normal((4, 1500, 30))
    planted = np.array([0, 1, 2, 3, 2])
    weights = rng.standard_normal((5, 30)) / np.sqrt(30)
    signal = np.stack([features[k] @ w for k, w in zip(planted, weights, strict=True)], axis=1)
    responses = signal + rng.standard_normal(signal.shape)
    score = cross_validate(features, responses, cv=5).score
    np.testing.assert_array_equal(score.argmax("layer"), planted)
    np.testing.assert_allclose(score.max("layer"), np.sqrt(0.5), atol=0.05)  # signal and noise of equal variance


def test_noise_scores_are_about_zero():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((300, 20)), rng.standard_normal((300, 400))
    score = cross_validate(x, y, cv=10).score.values
    # Training means move against test means: a prediction that is nothing else scores -sqrt(n_splits / n_samples).
    assert -np.sqrt(10 / 300) < score.mean() < 0.01
    assert (score > 0.1).mean() < 0.05


def test_components_see_no_test_sample():
    """With few samples and many features, components of all samples give other predictions than each fold's own."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((40, 300)), rng.standard_normal((40, 30))
    leaking = PCA(10, svd_solver="full").fit_transform(StandardScaler().fit_transform(x))
    outer = list(ContiguousKFold(4).split(range(40)))
    honest = cross_validate(x, y, alphas=[1.0], cv=4, n_components=10, return_predictions=True).prediction[0]
    leaked = cross_validate(leaking, y, alphas=[1.0], cv=4, return_predictions=True, standardize=False).prediction[0]
    for train, test in outer:
        own = model(1.0, 10).fit(x[train], y[train]).predict(x[test])
        np.testing.assert_allclose(honest[test], own, atol=1e-4)
        assert np.abs(leaked[test] - own).max() > 0.1


def test_held_out_samples_cannot_change_their_model():
    """Whatever is written over a test block, predictions for the other samples of that block's model stay the same."""
    x, y = simulate(60, 80)
    settings = {"alphas": ALPHAS[-2:], "cv": 4, "n_components": 6, "return_predictions": True}
    before = cross_validate(x, y, **settings)
    x_changed, y_changed = x.copy(), y.copy()
    x_changed[0], y_changed[:15] = 100 * x[0] + 7, y[:15][::-1] * 3  # samples 0 to 14 are the first test block
    after = cross_validate(x_changed, y_changed, **settings)
    np.testing.assert_allclose(after.prediction[0, 1:15], before.prediction[0, 1:15], rtol=1e-5)
    np.testing.assert_array_equal(after.alpha[0, 0], before.alpha[0, 0])
    assert not np.allclose(after.prediction[0, 15:], before.prediction[0, 15:], rtol=1e-3)


# ------------------------------------------------------------------------------------------------- labels and settings


def labelled(n=50, n_layers=3, p=6, n_channels=4, sample="time", sweep="layer"):
    rng = np.random.default_rng(6)
    features = xr.DataArray(
        rng.standard_normal((n_layers, n, p)), dims=(sweep, sample, "feature"), coords={sweep: [0, 4, 8]}
    )
    responses = xr.DataArray(
        rng.standard_normal((n, n_channels)),
        dims=(sample, "channel"),
        coords={"channel": list("abcd"), sample: np.arange(n) * 2.0, "region": ("channel", list("xxyy"))},
    )
    return features, responses


def test_labels_are_carried_over():
    features, responses = labelled(sweep="context")
    result = cross_validate(features, responses, alphas=[1, 10], cv=5, return_predictions=True)
    assert result.score.dims == ("context", "channel")
    assert result.alpha.dims == ("context", "split", "channel")
    assert result.prediction.dims == ("context", "time", "channel")
    assert result.context.values.tolist() == [0, 4, 8]
    assert result.region.values.tolist() == list("xxyy")
    np.testing.assert_array_equal(result.time, responses.time)
    assert result.attrs["alphas"] == [1, 10] and result.attrs["n_splits"] == 5 and result.attrs["n_components"] == "all"
    assert "prediction" not in cross_validate(features, responses, alphas=[1], cv=5)


def test_order_of_dimensions_and_kind_of_array_do_not_matter():
    features, responses = labelled()
    settings = {"alphas": ALPHAS, "cv": 4}
    expected = cross_validate(features, responses, **settings)
    xr.testing.assert_identical(
        cross_validate(features.transpose("feature", "time", "layer"), responses, **settings), expected
    )
    plain = cross_validate(features.values, responses.values, **settings)
    np.testing.assert_array_equal(plain.score, expected.score)
    assert plain.score.dims == ("layer", "channel")
    single = cross_validate(features[1], responses, **settings)
    np.testing.assert_array_equal(single.score[0], expected.score[1])
    assert single.layer.values.tolist() == [4]


def test_lazy_features_are_read_a_layer_at_a_time(tmp_path):
    features, responses = labelled()
    features.to_dataset(name="x").to_zarr(tmp_path / "x.zarr", consolidated=False)
    lazy = xr.open_zarr(tmp_path / "x.zarr", chunks=None, consolidated=False).x
    expected = cross_validate(features, responses, alphas=ALPHAS, cv=4)
    xr.testing.assert_identical(cross_validate(lazy, responses, alphas=ALPHAS, cv=4), expected)
    assert not lazy.variable._in_memory


def test_same_numbers_again_and_for_any_number_of_threads():
    x, y = simulate(150, 40)
    settings = {"alphas": ALPHAS, "cv": 4, "return_predictions": True}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first, again = cross_validate(x, y, **settings), cross_validate(x, y, **settings)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        single = cross_validate(x, y, **settings)
    finally:
        torch.set_num_threads(threads)
    xr.testing.assert_identical(first, again)
    xr.testing.assert_allclose(first, single, rtol=1e-9)


def test_warns_when_penalties_reach_the_edge():
    x, y = simulate(300, 10, noise=0.05)
    with pytest.warns(UserWarning, match=r"100% are the smallest alpha \(1000\)"):
        cross_validate(x, y[:, :4], alphas=[1e3, 1e4, 1e5], cv=4)
    noise = np.random.default_rng(7).standard_normal((300, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_validate(x, noise, cv=4)  # the largest penalty is right for noise
        cross_validate(*simulate(300, 10), cv=4)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": [0, 1] * 25}, "groups must be contiguous runs.* 0 comes back at sample 2"),
        ({"groups": [0] * 49}, r"one label for each of the 50 samples, got shape \(49,\)"),
        ({"groups": [np.nan] * 50}, "50 missing labels"),
        ({"cv": 51}, "50 samples cannot be cut into 51"),
        ({"cv": 1}, "n_splits: expected a whole number of at least 2"),
        ({"inner_cv": 46}, "45 samples cannot be cut into 46"),
        ({"cv": ContiguousKFold(2, gap=24)}, "leaves 1 of 50 samples"),
        ({"n_components": 7}, r"n_components \(.*: expected a whole number from 1 to 6"),
        ({"n_components": 0}, "n_components"),
        ({"alphas": [1, 0]}, "alphas: expected .* positive"),
        ({"alphas": [1, np.nan]}, "alphas: expected .* positive"),
        ({"alphas": []}, "alphas: expected"),
        ({"device": "tpu"}, "device: expected 'auto' or a device that is there"),
        ({"dtype": "float16"}, "dtype: expected one of"),
        ({"cv": [(np.arange(10), np.arange(5, 20))]}, "both the training and the test set"),
        ({"cv": [(np.arange(10), np.arange(45, 51))]}, "from 0 to 49"),
        ({"cv": [(np.arange(10), np.arange(20, 30)), (np.arange(10), np.arange(29, 40))]}, "more than once"),
        ({"cv": [(np.arange(50) < 40, np.arange(50) >= 40)]}, "integer indices"),
        ({"cv": [(np.arange(40), np.array([45, 46]))]}, "tests 2 samples"),
    ],
)
def test_settings_that_cannot_work(change, message):
    features, responses = labelled()
    with pytest.raises(ValueError, match=message):
        cross_validate(features, responses, **change)


def test_components_are_bounded_by_the_smallest_fold():
    x, y = simulate(30, 40)
    # 20 samples train an outer fold, 10 of them an inner one; centring takes one dimension.
    cross_validate(x, y, alphas=[1.0], cv=3, inner_cv=2, n_components=9)
    with pytest.raises(ValueError, match=r"\(40 features; 10 samples .* from 1 to 9, got 10"):
        cross_validate(x, y, alphas=[1.0], cv=3, inner_cv=2, n_components=10)


def test_bad_values_are_named():
    features, responses = labelled()
    bad = features.copy()
    bad[1, 7, 2] = np.nan
    with pytest.raises(ValueError, match=r"features in layer 4: 1 of .* values are not finite .*, the first at \(7, "):
        cross_validate(bad, responses)
    with pytest.raises(ValueError, match="features in layer 8: all .* constant"):
        cross_validate(features.where(features.layer != 8, 1.0), responses)
    bad = responses.copy()
    bad[3, 2] = np.inf
    with pytest.raises(ValueError, match="responses: 1 non-finite values, in 1 channels: c;"):
        cross_validate(features, bad)
    with pytest.raises(ValueError, match="responses: 2 channels are constant: a, d;"):
        cross_validate(features, responses.where(responses.channel.isin(["b", "c"]), 2.0))


def test_shapes_and_dimensions_are_checked():
    features, responses = labelled()
    with pytest.raises(ValueError, match="as many samples .time."):
        cross_validate(features[:, 1:], responses)
    with pytest.raises(ValueError, match="features: expected the dimensions .layer, time, feature."):
        cross_validate(features.rename(time="word"), responses)
    with pytest.raises(ValueError, match="none of them .channel."):
        cross_validate(features.rename(layer="channel"), responses)
    with pytest.raises(ValueError, match="label their samples"):
        cross_validate(features.assign_coords(time=np.arange(50)), responses)
    with pytest.raises(ValueError, match="responses: expected shape"):
        cross_validate(features.values, responses.values[:, 0])
    with pytest.raises(ValueError, match="responses: expected two dimensions"):
        cross_validate(features, responses[:, 0])
    with pytest.raises(ValueError, match="features: expected shape"):
        cross_validate(features.values[0, 0], responses.values)
    with pytest.raises(ValueError, match="at least one of everything"):
        cross_validate(features[:0], responses)


@pytest.mark.parametrize("n_splits", [0, 2.5])
def test_number_of_folds_is_checked(n_splits):
    with pytest.raises(ValueError, match="n_splits: expected a whole number"):
        list(ContiguousKFold(n_splits).split(range(10)))


def test_a_decomposition_that_fails_in_single_precision_is_made_in_double(monkeypatch):
    x, y = simulate(60, 8)
    expected = cross_validate(x, y, cv=ContiguousKFold(10, gap=2))
    eigh, failed = torch.linalg.eigh, []

    def single_fails(symmetric):
        if symmetric.dtype == torch.float32:
            failed.append(symmetric)
            raise torch.linalg.LinAlgError("did not converge")
        return eigh(symmetric)

    monkeypatch.setattr(torch.linalg, "eigh", single_fails)
    np.testing.assert_allclose(
        cross_validate(x, y, cv=ContiguousKFold(10, gap=2))["score"], expected["score"], atol=1e-4
    )
    assert failed


# --------------------------------------------------------------------------------------------------------- estimator


CHECKS = [
    pytest.param(estimator, check, id=check.func.__name__)
    for estimator, check in estimator_checks_generator(RidgeSweepCV(alphas=[0.01, 0.1, 1.0], cv=3, device="cpu"))
    if "array_api" not in check.func.__name__  # inputs are numpy arrays
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_estimator_conventions(estimator, check):
    assert check(estimator) is None  # it raises where a convention is broken


@pytest.mark.parametrize("n_components", [None, 5])
@pytest.mark.parametrize(("n", "p"), [(100, 12), (40, 70)])
def test_estimator_agrees_with_scikit_learn(n, p, n_components):
    x, y = simulate(n, p)
    best = choose_alphas(x, y, ALPHAS, list(ContiguousKFold(5, gap=2).split(range(n))), n_components)
    expected = model(best, n_components).fit(x, y)
    ours = RidgeSweepCV(ALPHAS, cv=ContiguousKFold(5, gap=2), n_components=n_components).fit(x, y)
    np.testing.assert_array_equal(ours.alpha_, best)
    np.testing.assert_allclose(ours.predict(x), expected.predict(x), rtol=1e-6, atol=1e-6)
    assert ours.coef_.shape == (6, p) and ours.cv_mse_.shape == (len(ALPHAS), 6)
    assert ours.score(x, y) == pytest.approx(expected.score(x, y))
    one = RidgeSweepCV(ALPHAS, cv=ContiguousKFold(5, gap=2), n_components=n_components).fit(x, y[:, 0])
    np.testing.assert_allclose(one.coef_, ours.coef_[0], rtol=1e-6)
    assert np.ndim(one.intercept_) == 0 and one.alpha_ == best[0]


def test_estimator_is_what_cross_validate_fits():
    x, y = simulate(90, 10)
    result = cross_validate(x, y, alphas=ALPHAS, cv=ContiguousKFold(3, gap=3), return_predictions=True)
    for s, (train, test) in enumerate(list(ContiguousKFold(3, gap=3).split(range(90)))):
        passages = (train >= test[0]).astype(int)  # what lies before and after the test block is apart
        ours = RidgeSweepCV(ALPHAS, cv=ContiguousKFold(5, gap=3)).fit(x[train], y[train], groups=passages)
        np.testing.assert_array_equal(result.alpha[0, s], ours.alpha_)
        np.testing.assert_allclose(result.prediction[0, test], ours.predict(x[test]), rtol=1e-5)


def test_estimator_takes_a_splitter_and_refuses_flat_targets():
    x, y = simulate(90, 10)
    groups = np.repeat(np.arange(9), 10)
    ours = RidgeSweepCV(ALPHAS, cv=GroupKFold(3)).fit(x, y, groups=groups)
    np.testing.assert_array_equal(
        ours.alpha_, choose_alphas(x, y, ALPHAS, list(GroupKFold(3).split(x, y, groups)), None)
    )
    with pytest.raises(ValueError, match="constant"):
        RidgeSweepCV().fit(x, np.ones(90))


# ---------------------------------------------------------------------------------------------------------- confounds


@pytest.mark.parametrize(("n", "p"), [(300, 40), (120, 200)])
@pytest.mark.parametrize("standardize", [False, True])
def test_baseline_equals_a_joint_fit_with_free_weights(n, p, standardize, rng):
    confounds = rng.standard_normal((n, 2)) * [1, 50] + [0, 300]
    x = rng.standard_normal((n, p)) + confounds @ rng.standard_normal((2, p)) / 50
    y = (
        x @ rng.standard_normal((p, 4)) / np.sqrt(p)
        + confounds @ rng.standard_normal((2, 4))
        + rng.standard_normal((n, 4))
    )
    found = cross_validate(
        x,
        y,
        confounds=confounds,
        alphas=[30.0],
        cv=ContiguousKFold(4, gap=2),
        standardize=standardize,
        return_predictions=True,
    )
    expected = np.empty_like(y)
    for train, test in list(ContiguousKFold(4, gap=2).split(range(n))):
        free = np.column_stack([np.ones(n), confounds])
        left = x[train] - free[train] @ np.linalg.lstsq(free[train], x[train])[0]
        scale = left.std(0) if standardize else np.ones(p)
        both = np.column_stack([x / scale, free])
        penalty = np.diag([30.0] * p + [0.0] * 3)
        weights = np.linalg.solve(both[train].T @ both[train] + penalty, both[train].T @ y[train])
        expected[test] = both[test] @ weights
    np.testing.assert_allclose(found["prediction"][0], expected, atol=1e-4 * y.std())


def test_layer_of_noise_takes_little_from_a_baseline_and_a_true_one_adds(rng):
    n = 800
    confounds, truth, noise = rng.standard_normal((n, 1)), rng.standard_normal((n, 30)), rng.standard_normal((n, 30))
    y = confounds @ np.ones((1, 6)) + truth @ rng.standard_normal((30, 6)) / 5 + rng.standard_normal((n, 6))
    alone = cross_validate(confounds, y)["score"][0]
    with_noise = cross_validate(noise, y, confounds=confounds)["score"][0]
    with_truth = cross_validate(truth, y, confounds=confounds)["score"][0]
    assert (with_noise < alone + 0.01).all() and (with_noise > alone - 0.05).all()
    assert (with_truth > alone + 0.05).all()


def test_random_layers_gain_nothing_over_a_weak_baseline(rng):
    # Confounds must be compared as it enters: without a penalty. A penalised one would lose to anything added.
    n, channels = 300, 400
    confounds, x = rng.standard_normal((n, 2)), rng.standard_normal((n, 100))
    y = 0.1 * confounds @ rng.standard_normal((2, channels)) + rng.standard_normal((n, channels))
    fit = cross_validate(x, y, confounds=confounds, cv=6)
    gain = (fit["score"][0] - fit["confounds_score"]).values
    assert gain.mean() <= 2 * gain.std() / np.sqrt(channels)


def test_baseline_score_is_that_of_least_squares(rng):
    confounds, y = rng.standard_normal((90, 2)), rng.standard_normal((90, 3))
    y += confounds @ np.ones((2, 3))
    fit = cross_validate(rng.standard_normal((90, 4)), y, confounds=confounds, cv=3)
    held_out = np.empty_like(y)
    for train, test in list(ContiguousKFold(3).split(range(90))):
        held_out[test] = LinearRegression().fit(confounds[train], y[train]).predict(confounds[test])
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(held_out.T, y.T, strict=True)]
    np.testing.assert_allclose(fit["confounds_score"], expected)


@pytest.mark.parametrize(
    ("confounds", "message"),
    [
        (np.ones((50, 1)), "constant or depend on each other"),
        (np.ones((49, 1)), r"confounds: expected shape \(50, column\), got \(49, 1\)"),
        (np.full((50, 1), np.nan), "confounds: 50 of 50 values are not finite"),
        (np.repeat(np.arange(50.0)[:, None], 2, 1), "depend on each other"),
    ],
)
def test_errors_of_confounds(confounds, message, rng):
    with pytest.raises(ValueError, match=message):
        cross_validate(rng.standard_normal((50, 5)), rng.standard_normal((50, 2)), confounds=confounds, cv=5)


# ---------------------------------------------------------------------------------------------------------------- null


def coloured_noise(n, channels, rng):
    noise = rng.standard_normal((n, channels))
    for t in range(1, n):
        noise[t] += 0.6 * noise[t - 1]
    return noise


def test_null_equals_a_loop_over_refits(rng):
    x, y = rng.standard_normal((3, 120, 8)), rng.standard_normal((120, 2))
    groups = np.repeat([0, 1], 60)
    options = {"groups": groups, "cv": 4, "inner_cv": 3}
    fit = cross_validate(x, y, null=Shifts(4, min_shift=5, seed=2), return_predictions=True, **options)
    plain = cross_validate(x, y, return_predictions=True, **options)
    for name in plain:  # what is found does not depend on whether chance is asked for
        np.testing.assert_allclose(fit[name], plain[name], atol=1e-6)
    assert fit["null"].dims == ("draw", "layer", "channel")
    for channel, seed in enumerate(np.random.SeedSequence(2).generate_state(2)):
        orders = Shifts(4, min_shift=5, seed=int(seed)).orders(120, groups)
        expected = [cross_validate(x, y[order][:, [channel]], **options)["score"][:, 0] for order in orders]
        np.testing.assert_allclose(fit["null"][..., channel], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["groups", "orders"])
def test_null_by_whole_groups_or_by_given_orders(kind, rng):
    x, y, items = rng.standard_normal((2, 60, 5)), rng.standard_normal((60, 3)), np.repeat(np.arange(15), 4)
    orders = PermuteGroups(3, seed=4).orders(60, items)
    null = PermuteGroups(3, seed=4) if kind == "groups" else orders
    found = cross_validate(x, y, groups=items, null=null, cv=3, inner_cv=2)["null"]
    expected = [cross_validate(x, y[order], groups=items, cv=3, inner_cv=2)["score"] for order in orders]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_null_with_confounds_is_the_partial_of_what_they_leave_in_another_order(rng):
    x, confounds = rng.standard_normal((2, 80, 4)), rng.standard_normal((80, 2))
    y = rng.standard_normal((80, 3)) + 5 * confounds[:, :1]
    free = np.column_stack([np.ones(80), confounds])
    kept = free @ np.linalg.lstsq(free, y, rcond=None)[0]
    ask = {"confounds": confounds, "cv": 4, "alphas": [1, 10, 100]}
    found = cross_validate(x, y, null=Shifts(3, min_shift=5, together=True), **ask)["null"]
    orders = Shifts(3, min_shift=5).orders(80)
    expected = [cross_validate(x, kept + (y - kept)[order], **ask)["partial"] for order in orders]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_best_layer_of_noise_is_significant_at_the_nominal_rate(rng):
    n, channels = 240, 600
    x, y = coloured_noise(n, 80, rng).reshape(n, 4, 20).transpose(1, 0, 2), coloured_noise(n, channels, rng)
    options = {"cv": ContiguousKFold(5, gap=5), "inner_cv": 3, "alphas": np.logspace(0, 6, 7)}
    fit = cross_validate(x, y, null=Shifts(12, min_shift=10), **options).max("layer")
    p = p_values(fit["score"].values, fit["null"].values, pool=True)
    assert binomtest(int((p < 0.05).sum()), channels, 0.05).pvalue > 1e-3


def test_what_is_added_to_confounds_is_significant_at_the_nominal_rate_and_a_true_layer_is_found(rng):
    n, channels = 240, 300
    confounds, x = coloured_noise(n, 2, rng), coloured_noise(n, 40, rng).reshape(n, 2, 20).transpose(1, 0, 2)
    y = confounds @ rng.standard_normal((2, channels)) + coloured_noise(n, channels, rng)
    y[:, :50] += x[1] @ rng.standard_normal((20, 50)) / 2
    options = {"cv": ContiguousKFold(5, gap=5), "inner_cv": 3, "alphas": np.logspace(0, 6, 7)}
    fit = cross_validate(x, y, confounds=confounds, null=Shifts(12, min_shift=10), **options).max("layer")
    p = p_values(fit["partial"].values, fit["null"].values, pool=True)
    assert (p[:50] < 0.05).mean() > 0.9
    # The fit of the confounds takes some of the residual's rhythm along: surrogates are a little conservative.
    assert binomtest(int((p[50:] < 0.05).sum()), channels - 50, 0.05, alternative="greater").pvalue > 1e-3


def test_shifts_together_or_each_channel_its_own(rng):
    """One shift for all keeps what channels share; own shifts do not."""
    shared = rng.standard_normal((60, 1))
    y = shared + 0.1 * rng.standard_normal((60, 3))
    together, apart = Shifts(4, min_shift=5, together=True, seed=1), Shifts(4, min_shift=5, seed=1)
    copies = [encoding._reordered(y, null, None, np.ones((60, 1))).reshape(60, 4, 3) for null in (together, apart)]
    both = [made.swapaxes(0, 1) for made in copies]
    np.testing.assert_allclose(both[0], y[together.orders(60)])
    assert np.sort(both[1], axis=1) == pytest.approx(np.sort(both[0], axis=1))
    alike, unlike = ([np.corrcoef(copy.T)[0, 1:].min() for copy in copies] for copies in both)
    assert min(alike) > 0.9 > max(unlike)


def test_no_more_shifts_than_there_are():
    assert len(Shifts(99, min_shift=10).orders(20)) == 1
    assert len(Shifts(99, min_shift=3).orders(20)) == 15


@pytest.mark.parametrize(
    ("null", "message"),
    [
        (Shifts(3, min_shift=0), "min_shift"),
        (np.zeros((2, 60), dtype=int), "null: expected rows that hold each of 60 samples once"),
        (np.arange(59)[None], "null: expected rows that hold each of 60 samples once"),
    ],
)
def test_errors_of_the_null(null, message, rng):
    with pytest.raises(ValueError, match=message):
        cross_validate(rng.standard_normal((60, 20)), rng.standard_normal((60, 2)), null=null, cv=3)
