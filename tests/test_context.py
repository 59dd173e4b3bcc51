"""The context a channel needs: the jackknife against an obvious one, planted horizons, and noise."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter1d
from scipy.stats import binomtest, spearmanr, t

from brainalign.layers import context_horizon
from brainalign.ridge import ContiguousKFold, cross_validate

CONTEXTS = [1, 2, 4, np.inf]
N_SPLITS = 5


def features(rng, n_words=400, n_features=24, contexts=(1, 2, 4, 8)) -> xr.DataArray:
    """Two layers a context: what the word itself says, and more and more of the words before it."""
    words = rng.standard_normal((n_words, n_features))
    maps = rng.standard_normal((max(contexts), n_features, n_features)) / np.sqrt(n_features)
    seen = [sum(np.roll(words, k, 0) @ maps[k] for k in range(c)) for c in contexts]
    layers = np.stack([np.stack([words + 0.3 * part, part]) for part in seen])
    return xr.DataArray(layers, {"context": CONTEXTS}, ("context", "layer", "word", "feature"))


def predictions(of: xr.DataArray, responses: xr.DataArray) -> xr.DataArray:
    swept = of.stack(sweep=("context", "layer"))
    options = {"cv": ContiguousKFold(N_SPLITS, gap=5), "inner_cv": 2, "alphas": np.logspace(0, 5, 4)}
    return cross_validate(swept, responses, return_predictions=True, **options)["prediction"].unstack("sweep")


def as_responses(values) -> xr.DataArray:
    return xr.DataArray(values, dims=("word", "channel"))


@pytest.fixture(scope="module")
def planted():
    """Predictions, responses and the context that drives each of 40 channels."""
    rng = np.random.default_rng(0)
    states = features(rng)
    truth = np.tile(np.arange(len(CONTEXTS)), 10)
    signal = np.stack([states[c, 1].to_numpy() @ rng.standard_normal(states.shape[-1]) for c in truth], axis=1)
    responses = as_responses(signal / signal.std(0) + rng.standard_normal(signal.shape))
    return predictions(states, responses), responses, np.array(CONTEXTS)[truth]


@pytest.fixture(scope="module")
def noise():
    """200 channels of noise as slow as word responses are."""
    rng = np.random.default_rng(1)
    responses = as_responses(gaussian_filter1d(rng.standard_normal((400, 200)), 1.0, axis=0))
    return predictions(features(rng), responses), responses


def test_scores_and_errors_equal_an_obvious_jackknife(planted):
    predicted, responses, _ = planted
    found = context_horizon(predicted, responses, n_splits=N_SPLITS, n_blocks=10)
    y, shape = responses.to_numpy(), (len(CONTEXTS), responses.sizes["channel"])

    def scores(kept):
        r = np.empty(shape)
        for c, channel in np.ndindex(shape):
            layers = predicted.isel(context=c, channel=channel).transpose("layer", "word").to_numpy()
            r[c, channel] = max(np.corrcoef(layer[kept], y[kept, channel])[0, 1] for layer in layers)
        return r

    everything = np.arange(len(y))
    score = scores(everything)
    np.testing.assert_allclose(found["score"].transpose("context", "channel"), score, atol=1e-6)
    without = np.stack([np.arctanh(scores(np.setdiff1d(everything, b))) for b in np.array_split(everything, 10)])
    correction = 1 + N_SPLITS / (N_SPLITS - 1)
    error = np.sqrt(0.9 * ((without - without.mean(0)) ** 2).sum(0) * correction) * (1 - score**2)
    np.testing.assert_allclose(found["error"], error, rtol=1e-4)
    difference = without - np.take_along_axis(without, score.argmax(0)[None, None], axis=1)
    bound = np.sqrt(0.9 * ((difference - difference.mean(0)) ** 2).sum(0) * correction)
    within = np.arctanh(score.max(0)) - np.arctanh(score) <= bound + 1e-12
    np.testing.assert_array_equal(found["enough"], np.array(CONTEXTS)[within.argmax(0)])


def test_planted_horizons_come_back_with_intervals_that_cover_them(planted):
    predicted, responses, truth = planted
    found = context_horizon(predicted, responses, n_splits=N_SPLITS)
    assert spearmanr(found["best"], truth).statistic >= 0.9
    covered = (found["low"] <= truth) & (truth <= found["high"])
    assert binomtest(int(covered.sum()), len(truth), 0.95, alternative="less").pvalue > 0.01
    assert (found["low"] <= found["best"]).all() and (found["best"] <= found["high"]).all()
    assert (found["enough"] <= found["best"]).all()
    assert (found["p"][truth > 1] < 0.05).mean() > 0.9 and (found["p"][truth == 1] > 0.05).all()


def test_context_helps_noise_no_more_often_than_stated(noise):
    predicted, responses = noise
    p = context_horizon(predicted, responses, n_splits=N_SPLITS)["p"]
    for level in (0.05, 0.2):
        assert binomtest(int((p <= level).sum()), 200, level, alternative="greater").pvalue > 0.01
    # The correction for dependent folds is what does it: its factor is 2.25 here.
    p = context_horizon(predicted.isel(context=[0, 3]), responses, n_splits=N_SPLITS)["p"]
    for factor, is_nominal in ((1.0, True), (1.5, False)):
        n_rejected = int((2 * t.sf(np.abs(factor * t.isf(p, 19)), 19) <= 0.05).sum())
        assert (binomtest(n_rejected, 200, 0.05, alternative="greater").pvalue > 0.01) == is_nominal
    found = context_horizon(predicted, responses, n_splits=N_SPLITS)
    assert (found["low"] < found["high"]).mean() > 0.9  # and no horizon is claimed with certainty


def test_order_of_contexts_and_dimensions_does_not_matter(planted):
    predicted, responses, _ = planted
    found = context_horizon(predicted, responses, n_splits=N_SPLITS)
    other = predicted.isel(context=[2, 0, 3, 1]).transpose("word", "channel", "layer", "context")
    xr.testing.assert_allclose(found, context_horizon(other, responses, n_splits=N_SPLITS))


def test_a_layer_without_context_gives_no_evidence(planted):
    predicted, responses, _ = planted
    same = xr.concat([predicted.isel(context=0, drop=True)] * 2, xr.IndexVariable("context", [1, 8]))
    found = context_horizon(same, responses, n_splits=N_SPLITS)
    assert (found["p"] == 0.5).all() and (found["best"] == 1).all() and (found["enough"] == 1).all()


def test_errors(planted):
    predicted, responses, _ = planted
    with pytest.raises(ValueError, match="predictions: expected the dimensions"):
        context_horizon(predicted.rename(context="window"), responses, n_splits=5)
    with pytest.raises(ValueError, match="word"):
        context_horizon(predicted.isel(word=slice(100)), responses, n_splits=5)
    with pytest.raises(ValueError, match="channel"):
        names = {"channel": np.arange(40)}
        context_horizon(predicted.assign_coords(channel=np.arange(1, 41)), responses.assign_coords(names), n_splits=5)
    with pytest.raises(ValueError, match="two context lengths in words or more"):
        context_horizon(predicted.isel(context=[0]), responses, n_splits=5)
    with pytest.raises(ValueError, match="predictions: 3200 of .* values are not finite"):
        context_horizon(predicted.where(predicted["channel"] > 0, drop=False), responses, n_splits=5)
    with pytest.raises(ValueError, match="responses: 1 channels are constant"):
        context_horizon(predicted, responses.where(responses["channel"] > 0, 1.0), n_splits=5)
    with pytest.raises(ValueError, match="n_splits: expected a whole number of at least 2"):
        context_horizon(predicted, responses, n_splits=1)
    with pytest.raises(ValueError, match="n_blocks: expected a whole number from 5 to 80"):
        context_horizon(predicted, responses, n_splits=5, n_blocks=200)
