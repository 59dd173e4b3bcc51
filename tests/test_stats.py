"""Statistics against statsmodels and closed forms, on planted effects, and on noise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import xarray as xr
from statsmodels.stats.multitest import multipletests

from brainalign import stats


def autocorrelated(rng, *shape, axis=-2, memory=0.9):
    """Noise whose samples along `axis` remember their neighbours."""
    return scipy.signal.lfilter([1], [1, -memory], rng.standard_normal(shape), axis=axis)


def pearson(a, b):
    return np.array([scipy.stats.pearsonr(x, y).statistic for x, y in zip(a.T, b.T, strict=True)])


# ------------------------------------------------------------------------------------------------ multiple comparisons


def test_fdr_agrees_with_statsmodels():
    p = np.random.default_rng(0).beta(0.3, 2, size=(7, 30))
    rejected, adjusted = stats.fdr(p, q=0.1)
    expected = multipletests(p.ravel(), alpha=0.1, method="fdr_bh")
    np.testing.assert_array_equal(rejected.ravel(), expected[0])
    np.testing.assert_allclose(adjusted.ravel(), expected[1])
    assert 0 < rejected.sum() < rejected.size


def test_fdr_keeps_labels():
    p = xr.DataArray([0.001, 0.5], dims="channel", coords={"channel": ["a", "b"]})
    rejected, adjusted = stats.fdr(p)
    assert rejected.sel(channel="a") and not rejected.sel(channel="b")
    assert adjusted.dims == ("channel",)


@pytest.mark.parametrize(
    ("p", "message"), [([0.1, np.nan], "p: 1 of 2 values"), ([1.2], "0 and 1"), ([-0.1], "0 and 1")]
)
def test_fdr_refuses_what_is_no_p_value(p, message):
    with pytest.raises(ValueError, match=message):
        stats.fdr(p)
    with pytest.raises(ValueError, match="q: expected a number between 0 and 1, got 5"):
        stats.fdr([0.1], q=5)


# ------------------------------------------------------------------------------------------------------ noise ceilings


@pytest.mark.parametrize("n_repeats", [2, 5])
def test_ceiling_recovers_planted_signal_to_noise(n_repeats):
    rng = np.random.default_rng(1)
    noise_sd = np.array([0.5, 1.0, 2.0])
    signal = rng.standard_normal((20_000, 3))
    repeats = signal + noise_sd * rng.standard_normal((n_repeats, 20_000, 3))
    found = stats.noise_ceiling(xr.DataArray(repeats, dims=("repeat", "word", "channel")))
    np.testing.assert_allclose(found.reliability, 1 / (1 + noise_sd**2), atol=0.02)
    np.testing.assert_allclose(found.reliability_of_mean, 1 / (1 + noise_sd**2 / n_repeats), atol=0.02)
    # What the ceiling means: the correlation that the noiseless signal has with the mean.
    expected = pearson(signal, repeats.mean(0))
    np.testing.assert_allclose(found.ceiling, expected, atol=0.02)
    np.testing.assert_allclose(stats.pearson(signal, repeats.mean(0)), expected)


def test_reliability_is_the_mean_correlation_of_pairs():
    repeats = autocorrelated(np.random.default_rng(2), 4, 50, 1) + np.linspace(0, 3, 50)[:, None]
    pairs = [np.corrcoef(repeats[i, :, 0], repeats[j, :, 0])[0, 1] for i in range(4) for j in range(i)]
    found = stats.noise_ceiling(xr.DataArray(repeats, dims=("run", "time", "voxel")), dim="run")
    np.testing.assert_allclose(found.reliability, [np.mean(pairs)])
    assert found.ceiling.dims == ("voxel",)


def test_negative_reliability_has_ceiling_zero():
    x = np.random.default_rng(3).standard_normal(100)
    repeats = xr.DataArray(np.stack([x, -x])[..., None], dims=("repeat", "word", "channel"))
    found = stats.noise_ceiling(repeats)
    assert found.reliability.item() == pytest.approx(-1)
    assert found.ceiling.item() == 0 and found.reliability_of_mean.item() == 0


@pytest.mark.parametrize(("snr", "n_images"), [(0.0, 100), (0.05, 100), (0.05, 515), (0.35, 100)])
def test_a_region_of_weak_channels_has_an_unbiased_ceiling(snr, n_images):
    """Mere noise gets about 0 and a perfect model about 1, where a mean of ceilings fails."""
    rng = np.random.default_rng(3)
    signal = np.sqrt(snr) * rng.standard_normal((n_images, 2000))
    repeats = xr.DataArray(signal + rng.standard_normal((3, n_images, 2000)), dims=("repeat", "image", "vertex"))
    together = float(stats.noise_ceiling(repeats, over="vertex")["ceiling"])
    each = float(stats.noise_ceiling(repeats)["ceiling"].mean())
    if snr == 0:
        assert together < 0.06 and each > 0.15
        return
    perfect = float(xr.corr(repeats.mean("repeat"), repeats[0].copy(data=signal), "image").mean())
    assert perfect / together == pytest.approx(1, abs=0.03)
    assert perfect / each > 1.15 or (snr, n_images) != (0.05, 100)


def test_one_ceiling_over_channels_that_differ_is_an_upper_bound():
    rng = np.random.default_rng(4)
    signal = np.sqrt(np.repeat([0.0, 0.35], 1000)) * rng.standard_normal((100, 2000))
    repeats = xr.DataArray(signal + rng.standard_normal((3, 100, 2000)), dims=("repeat", "image", "vertex"))
    told = repeats.isel(vertex=slice(1000, None))
    perfect = float(xr.corr(told.mean("repeat"), told[0].copy(data=signal[:, 1000:]), "image").sum()) / 2000
    assert 1.4 < float(stats.noise_ceiling(repeats, over="vertex")["ceiling"]) / perfect < 1.6


def test_noise_ceiling_errors():
    good = xr.DataArray(np.random.default_rng(4).standard_normal((2, 10, 2)), dims=("repeat", "word", "channel"))
    good = good.assign_coords(channel=["a", "b"])
    holes = good.where((good.repeat != 0) | (good.word != 0) | (good.channel != "a"))
    for repeats, options, message in [
        (good, {"dim": "run"}, "dim: expected one of 'repeat', 'word', 'channel', got 'run'"),
        (good, {"over": "word"}, "over: expected one of 'channel', got 'word'"),
        (good[:1], {}, "repeats: expected a whole number of at least 2, got 1"),
        (good[:, :2], {}, "samples: expected a whole number of at least 3, got 2"),
        (holes, {}, "repeats: 1 of 40 values are not finite"),
        (good.where(good.channel == "a", 1.0), {}, "repeats: 1 channels are constant: b"),
    ]:
        with pytest.raises(ValueError, match=message):
            stats.noise_ceiling(repeats, **options)


# --------------------------------------------------------------------------------------------------- shifted responses


def shifted(predictions, responses, groups=None, **options) -> np.ndarray:
    """Correlations with responses shifted in a circle, (shift, channel)."""
    shifts = stats.Shifts(**options).orders(len(responses), groups)
    return np.stack([stats.pearson(predictions, responses[order]) for order in shifts])


def test_shifts_are_never_too_small_and_cover_the_rest():
    shifts = stats._draw_shifts([10, 12, 50, 60, 70, 80], 4000, 3, seed=0)
    assert len(shifts) == 4000
    assert shifts.min(0).tolist() == [3] * 6
    assert shifts.max(0).tolist() == [7, 9, 47, 57, 67, 77]
    few = stats._draw_shifts([100], 20, 1, seed=0)
    assert len(np.unique(few)) == 20  # without repetition


def test_shifted_p_values_are_nominal_for_autocorrelated_noise():
    rng = np.random.default_rng(7)
    n_channels, groups = 600, np.repeat(np.arange(5), 80)
    predictions, responses = (autocorrelated(rng, 400, n_channels) for _ in range(2))
    null = shifted(predictions, responses, groups, n=200)
    p = stats.p_values(pearson(predictions, responses), null)
    low, high = scipy.stats.binom.interval(0.999, n_channels, 0.05)
    assert low <= (p <= 0.05).sum() <= high
    # The test can fail: samples taken as independent call far too many of the same channels significant.
    independent = [
        scipy.stats.pearsonr(a, b, alternative="greater").pvalue
        for a, b in zip(predictions.T, responses.T, strict=True)
    ]
    assert (np.array(independent) <= 0.05).sum() > high


def test_shifted_p_values_find_a_planted_match():
    rng = np.random.default_rng(8)
    responses = autocorrelated(rng, 400, 20)
    predictions = responses + autocorrelated(rng, 400, 20)
    null = shifted(predictions, responses, n=199, min_shift=20)
    assert (stats.p_values(pearson(predictions, responses), null) == 1 / 200).mean() >= 0.95


def test_p_values():
    null = np.array([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]])
    np.testing.assert_allclose(stats.p_values(np.array([0.25, 0.4]), null), [2 / 4, 1 / 4])
    np.testing.assert_allclose(stats.p_values(np.array([0.2, 0.0]), null), [3 / 4, 4 / 4])  # ties count against
    np.testing.assert_allclose(stats.p_values(np.array([0.2, 0.0]), null, alternative="two-sided"), [1, 0.5])
    labelled = stats.p_values(
        xr.DataArray([0.25, 0.4], dims="channel", coords={"channel": ["a", "b"]}),
        xr.DataArray(null[:, ::-1], dims=("draw", "channel"), coords={"channel": ["a", "b"]}),
    )
    assert labelled.sel(channel="b") == 1 / 4


def test_p_value_errors():
    null = np.zeros((10, 3))
    with pytest.raises(ValueError, match=r"null: expected shape \(10, 2\), got \(10, 3\)"):
        stats.p_values(np.zeros(2), null)
    with pytest.raises(ValueError, match="observed: 1 of 3 values are not finite"):
        stats.p_values(np.array([0, 0, np.nan]), null)
    with pytest.raises(ValueError, match="alternative"):
        stats.p_values(np.zeros(3), null, alternative="less")
    with pytest.raises(ValueError, match="draw"):
        stats.p_values(xr.DataArray(np.zeros(3), dims="channel"), xr.DataArray(null, dims=("roll", "channel")))


@pytest.mark.parametrize(
    ("groups", "change", "message"),
    [
        ([0, 1] * 10, {}, "contiguous"),
        ([0] * 5, {}, r"groups: expected shape \(20,\)"),
        (np.repeat([0, 1], [13, 7]), {"min_shift": 7}, "at least 14 samples for 7, or several .* got 2 of 2"),
        (None, {"min_shift": 0}, "min_shift: expected a whole number of at least 1"),
        (None, {"n": 0}, "n: expected a whole number of at least 1"),
    ],
)
def test_circular_shift_errors(groups, change, message):
    with pytest.raises(ValueError, match=message):
        stats.Shifts(**{"n": 5} | change).orders(20, groups)


# ----------------------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_interval_covers_the_truth_as_often_as_it_says(method):
    samples = np.random.default_rng(13).gamma(4, size=(40, 400))
    interval = stats.bootstrap_ci(samples, n_resamples=999, confidence_level=0.9, method=method)
    covered = ((interval.low <= 4) & (interval.high >= 4)).mean()
    assert 0.84 <= covered <= 0.95
    np.testing.assert_allclose(interval.value, samples.mean(0))
    assert interval.n == 40


def test_cluster_bootstrap_covers_where_the_plain_one_does_not():
    rng = np.random.default_rng(14)
    clusters = np.repeat(np.arange(20), 5)
    hits = {"plain": 0, "clustered": 0}
    for _ in range(100):
        x = rng.standard_normal(20)[clusters] + 0.3 * rng.standard_normal(100)
        for name, labels in (("plain", None), ("clustered", clusters)):
            interval = stats.bootstrap_ci(x, n_resamples=300, clusters=labels, method="percentile")
            hits[name] += interval.low <= 0 <= interval.high
    assert hits["clustered"] >= 86
    assert hits["plain"] <= 75


def test_bootstrap_of_single_clusters_is_the_plain_one_and_repeats():
    x = np.random.default_rng(15).standard_normal((30, 2))
    plain = stats.bootstrap_ci(x, method="percentile", n_resamples=200)
    again = stats.bootstrap_ci(x, clusters=np.arange(30), n_resamples=200)
    np.testing.assert_array_equal([plain.low, plain.high], [again.low, again.high])


def test_bootstrap_of_clusters_of_unequal_size_is_the_obvious_one():
    rng = np.random.default_rng(17)
    x, clusters = rng.standard_normal(40), rng.choice(list("abcdef"), 40)
    found = stats.bootstrap_ci(x, clusters=clusters, n_resamples=300, seed=3)
    names, rng = np.unique(clusters), np.random.default_rng(3)
    drawn = [
        np.concatenate([x[clusters == name] for name in names[rng.integers(6, size=6)]]).mean() for _ in range(300)
    ]
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975]))
    assert found.value == pytest.approx(x.mean()) and found.n == 6


def test_bootstrap_of_equal_observations_has_no_width():
    assert stats.bootstrap_ci(np.ones(5)) == stats.Estimate(1, 1, 1, 5)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        ([1, np.inf, 2], {}, "x: 1 of 3 values are not finite"),
        ([1.0], {}, "observations or clusters: expected a whole number of at least 2, got 1"),
        ([1.0, 2.0], {"clusters": [0, 0]}, "observations or clusters: expected a whole number of at least 2, got 1"),
        ([1.0, 2.0], {"clusters": [0]}, r"clusters: expected shape \(2,\), got \(1,\)"),
        ([1.0, 2.0], {"confidence_level": 95}, "confidence_level: expected a number between 0 and 1, got 95"),
        ([1.0, 2.0], {"method": "basic"}, "method: expected one of 'BCa', 'percentile', got 'basic'"),
    ],
)
def test_bootstrap_errors(x, options, message):
    with pytest.raises(ValueError, match=message):
        stats.bootstrap_ci(x, **options)


# ------------------------------------------------------------------------------------------- shifts and pooled nulls


def test_circular_shifts_stay_in_their_passages_and_shift_them_whole():
    groups = np.repeat(["a", "b"], [30, 50])
    shifts = stats.Shifts(20, min_shift=4, seed=1).orders(80, groups)
    assert shifts.shape == (20, 80)
    for shift in shifts:
        for start, stop in ((0, 30), (30, 80)):
            amount = (start - shift[start]) % (stop - start)
            assert 4 <= amount <= stop - start - 4
            np.testing.assert_array_equal(
                shift[start:stop], start + (np.arange(stop - start) - amount) % (stop - start)
            )
    assert len({tuple(shift) for shift in shifts}) == 20


def test_short_passages_are_exchanged_whole_and_stay_where_there_is_no_other_of_their_length():
    groups = np.repeat(list("abcdef"), [30, 4, 6, 4, 5, 6])
    orders = stats.Shifts(200, min_shift=8, seed=2).orders(55, groups)
    blocks = {"b": np.arange(30, 34), "c": np.arange(34, 40), "d": np.arange(40, 44), "f": np.arange(49, 55)}
    for order in orders:
        assert sorted(order) == list(range(55))
        amount = -order[0] % 30
        assert 8 <= amount <= 22
        np.testing.assert_array_equal(order[:30], (np.arange(30) - amount) % 30)
        np.testing.assert_array_equal(order[44:49], np.arange(44, 49))  # alone with its length
        for one, other in (("b", "d"), ("c", "f")):
            assert any(np.array_equal(order[blocks[one]], blocks[name]) for name in (one, other))
    moved = (orders[:, 30] != 30).mean()
    assert 0.35 < moved < 0.65
    assert len(stats.Shifts(99, min_shift=10).orders(24, np.repeat([0, 1, 2], [20, 2, 2]))) == 99
    sentences = np.arange(12) // 3  # nothing to shift: as PermuteGroups
    found, expected = stats.Shifts(20, 2, seed=1), stats.PermuteGroups(20, seed=1)
    np.testing.assert_array_equal(found.orders(12, sentences), expected.orders(12, sentences))


def test_pooled_p_values_are_uniform_where_channels_differ_in_location_and_scale():
    rng = np.random.default_rng(3)
    location, scale = rng.uniform(-5, 5, 4000), rng.uniform(0.1, 10, 4000)
    draws = location + scale * rng.gumbel(size=(9, 4000))
    p = stats.p_values(draws[0], draws[1:], pool=True)
    for level in (0.01, 0.05, 0.2):
        assert scipy.stats.binomtest(int((p < level).sum()), 4000, level).pvalue > 1e-3
    both = stats.p_values(draws[0], draws[1:], pool=True, alternative="two-sided")
    assert scipy.stats.binomtest(int((both < 0.05).sum()), 4000, 0.05).pvalue > 1e-3


def test_pooled_p_values_find_what_is_there():
    rng = np.random.default_rng(4)
    null = xr.DataArray(rng.standard_normal((8, 500)), dims=("draw", "channel"))
    observed = xr.DataArray(rng.standard_normal(500), dims="channel") + 15 * (np.arange(500) < 100)
    p = stats.p_values(observed, null, pool=True)
    assert p.dims == ("channel",) and stats.fdr(p)[0][:100].mean() > 0.95
    with pytest.raises(ValueError, match="draws to be pooled: expected a whole number of at least 5, got 4"):
        stats.p_values(observed, null[:4], pool=True)


def test_jackknife_interval_of_a_mean_is_that_of_student():
    x = np.random.default_rng(0).standard_normal((12, 3))
    without = [np.delete(x, k, axis=0).mean(0) for k in range(12)]
    expected = scipy.stats.ttest_1samp(x, 0.0).confidence_interval(0.9)
    options = {"confidence_level": 0.9}
    for found in (stats.jackknife_interval(x.mean(0), without, **options), stats.t_interval(x, **options)):
        np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high])
        assert found.n == 12
    with pytest.raises(ValueError, match="subjects: expected a whole number of at least 3, got 2"):
        stats.jackknife_interval(0.0, [0.0, 1.0])
    with pytest.raises(ValueError, match="without: 1 of 3 values are not finite"):
        stats.jackknife_interval(0.0, [0.0, 1.0, np.nan])
    with pytest.raises(ValueError, match="confidence_level: expected a number between 0 and 1, got 95"):
        stats.t_interval(x, confidence_level=95)


def test_permuted_groups_keep_groups_together():
    groups = ["a", "b", "b", "c", "d", "d", "a", "e"]  # two of size 1, three of size 2, one at two places
    orders = stats.PermuteGroups(400, seed=1).orders(8, groups)
    pairs = {(0, 6), (1, 2), (4, 5)}
    for order in orders:
        assert sorted(order) == list(range(8))
        assert {tuple(order[[0, 6]]), tuple(order[[1, 2]]), tuple(order[[4, 5]])} == pairs
        assert {order[3], order[7]} == {3, 7}
    assert len(np.unique(orders, axis=0)) == 12
    alone = (orders[:, 0] == 0).mean()
    assert abs(alone - 1 / 3) < 0.1
    for bad, message in ((["a", "a", "b"], "groups of one size: expected .* got 1"), ([None, "a", "b"], "1 missing")):
        with pytest.raises(ValueError, match=message):
            stats.PermuteGroups(5).orders(3, bad)
