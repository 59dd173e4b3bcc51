"""Encoding models of every vertex: scores against a plain reference, across people, by chance and by region."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import pearsonr

from brainalign import rsa, stats
from brainalign.datasets.types import Viewing
from brainalign.ridge.encoding import RidgeSweepCV
from brainalign.ridge.vertexwise import encode, held_out_scores, region_ceilings, region_means
from brainalign.rsa.rdms import compare_rdms, rdm

N_TRAIN, N_TEST = 60, 30


@pytest.fixture
def features(rng):
    return rng.standard_normal((3 * N_TRAIN + N_TEST, 5))


@pytest.fixture
def data(rng, features) -> Viewing:
    """Three people; half of the 20 vertices follow the features in the same way in all, half are noise."""
    weights = rng.standard_normal((5, 20)) * (np.arange(20) < 10)
    responses = {}
    for person in range(3):
        shown = np.r_[np.arange(N_TEST), N_TEST + person * N_TRAIN + np.arange(N_TRAIN)]
        values = features[shown] @ weights + 2 * rng.standard_normal((2, len(shown), 20))
        coords = {"image": shown, "vertex": np.arange(20) + person}
        responses[f"p{person}"] = xr.DataArray(values.astype("float32"), coords, ("repeat", "image", "vertex"))
    captions = pd.DataFrame({"image": range(len(features)), "caption": "a thing", "caption_id": range(len(features))})
    rois = pd.DataFrame({"driven": np.arange(22) < 12, "idle": np.arange(22) >= 12})
    return Viewing("small", captions, list(range(N_TEST)), "fsaverage5", responses=responses, rois=rois)


def test_scores_are_those_of_a_regression_by_hand(data, features):
    fitted = encode(data, features, cv=3)
    vertices = np.arange(2, 20)  # what the three have in common
    assert fitted.scores.dims == ("subject", "vertex")
    assert (fitted.scores["vertex"] == vertices).all()
    train, test = data.train_images("p1"), list(data.test_images)
    answers, observed = (data.mean_responses("p1", images).sel(vertex=vertices) for images in (train, test))
    predicted = RidgeSweepCV(cv=3).fit(features[train], answers.values).predict(features[test])
    wanted = [pearsonr(a, b).statistic for a, b in zip(predicted.T, observed.values.T, strict=True)]
    np.testing.assert_allclose(fitted.scores.sel(subject="p1"), wanted, atol=1e-5)
    others = [data.mean_responses(p, test).sel(vertex=5) for p in ("p0", "p2")]
    wanted = pearsonr(np.mean(others, axis=0), observed.sel(vertex=5)).statistic
    assert float(fitted.agreement().sel(subject="p1", vertex=5)) == pytest.approx(wanted, abs=1e-5)
    repeats = data.responses["p1"].sel(image=test, vertex=[5])
    ceiling = float(stats.noise_ceiling(repeats)["ceiling"][0])
    assert float(fitted.ceiling.sel(subject="p1", vertex=5)) == pytest.approx(ceiling, abs=1e-5)


def test_models_across_people_and_chance(data, features):
    fitted = encode(data, features, cv=3)
    across = fitted.across()
    assert across.dims == ("trained", "subject", "vertex")
    np.testing.assert_allclose(across.sel(trained="p2", subject="p2"), fitted.scores.sel(subject="p2"))
    wanted = pearsonr(fitted.predicted.sel(subject="p0", vertex=3), fitted.observed.sel(subject="p2", vertex=3))
    assert float(across.sel(trained="p0", subject="p2", vertex=3)) == pytest.approx(wanted.statistic, abs=1e-5)
    null = fitted.null(99)
    assert null.dims == ("draw", "subject", "vertex")
    assert abs(float(null.mean())) < 0.02
    p = stats.p_values(fitted.scores, null)
    assert float(p.sel(vertex=slice(2, 9)).max()) <= 0.05  # shifted by person: vertices 2 to 9 are driven in all
    np.testing.assert_allclose(fitted.respond(features[:N_TEST]), fitted.predicted, atol=1e-5)


def test_regions(data, features):
    scores = encode(data, features, cv=3).scores
    means = region_means(scores, data.rois)
    np.testing.assert_allclose(means.sel(region="driven"), scores.sel(vertex=slice(2, 11)).mean("vertex"))
    assert (region_ceilings(data) > means).sel(region="driven").all()
    places = means.transpose("subject", "region").rename(region="centre")
    assert (region_means(places, data.rois)["region"] == ["driven", "idle"]).all()  # regions stay as they are


def test_held_out_scores_of_vertices_or_of_regions(data, features):
    on_cortex = held_out_scores(data, {"features": features}, cv=3)
    np.testing.assert_allclose(on_cortex.sel(model="features"), encode(data, features, cv=3).scores)
    elsewhere = Viewing("voxels", data.captions, data.test_images, "own", responses=data.responses, rois=data.rois)
    scores = held_out_scores(elsewhere, {"features": features}, n_partitions=2)
    assert scores.sizes == {"subject": 3, "model": 1, "centre": 2}
    brains = rsa.brain_rdms(elsewhere).sel(region="driven", subject="p1")
    predicted = rsa.reweighted_rdms(brains, features[:N_TEST], n_partitions=2)
    wanted = compare_rdms(predicted, brains.values, "spearman")
    assert float(scores.sel(subject="p1", centre="driven", model="features")) == pytest.approx(wanted)
    assert (scores.sel(centre="driven") > scores.sel(centre="idle")).all()


def test_chance_of_reweighted_rdms_fits_again(rng):
    features = rng.standard_normal((40, 4))
    brains = np.stack([rdm(features * [3, 1, 0, 0] + rng.standard_normal((40, 4)), "sqeuclidean") for _ in range(3)])
    null = rsa.reweighted_null(brains, features, n_permutations=20, n_components=4)
    assert null.shape == (20,)
    assert np.abs(null.mean()) < 0.1 < compare_rdms(rsa.reweighted_rdms(brains.mean(0), features), brains).mean()
    assert (null == rsa.reweighted_null(brains, features, n_permutations=20, n_components=4)).all()
