"""The searchlight against rsatoolbox, one RDM at a time, planted zones and noise."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from joblib import parallel_config
from rsatoolbox.inference import eval_fixed
from rsatoolbox.model import ModelFixed
from rsatoolbox.util.searchlight import evaluate_models_searchlight, get_searchlight_RDMs, get_volume_searchlight
from scipy.sparse import csr_array
from scipy.stats import binomtest, ttest_1samp
from sklearn.metrics import roc_auc_score

from brainalign import cortex, stats
from brainalign.datasets import Viewing
from brainalign.rsa import image_batches, searchlight
from brainalign.rsa.rdms import compare_rdms, rdm
from brainalign.rsa.searchlight import Neighbours, geodesic_discs, group_map, place_map, rsa_map, spheres


def members(neighbours, k):
    return neighbours.members[[k]].indices


def slow_map(responses, models, neighbours, method, batches=None):
    batches = [np.arange(len(responses))] if batches is None else batches
    scores = np.zeros((len(batches), len(models), len(neighbours.centres)))
    for b, batch in enumerate(batches):
        chosen = rdm(models[:, batch])
        for k in range(len(neighbours.centres)):
            scores[b, :, k] = compare_rdms(chosen, rdm(responses[batch][:, members(neighbours, k)]), method)
    return scores.mean(0)


def ball(radius, size):
    grid = np.indices((size, size, size)) - size // 2
    return (grid**2).sum(0) < radius**2


@pytest.fixture
def brain():
    """A mask with a hollow and a spur, and spheres in it."""
    mask = ball(5.2, 13)
    mask[6:8, 6:8, 5:8] = False
    mask[6, 6, 11] = True
    return mask, spheres(mask, 3, 0.4)


# ------------------------------------------------------------------------------------------------------ neighbourhoods


@pytest.mark.parametrize(("radius", "minimum"), [(2, 0.0), (2.5, 0.5), (3, 0.8), (3, 1.0)])
def test_spheres_follow_the_rule(rng, radius, minimum):
    mask = rng.random((6, 7, 8)) < 0.8
    voxels, inside = np.argwhere(mask), {}
    whole = sum(np.linalg.norm(np.array(step) - 3) < radius for step in np.ndindex(7, 7, 7))
    for centre, voxel in enumerate(voxels):
        near = np.flatnonzero(np.linalg.norm(voxels - voxel, axis=1) < radius)
        if len(near) >= minimum * whole:
            inside[centre] = near.tolist()
    if not inside:
        with pytest.raises(ValueError, match="no neighbourhood is full enough"):
            spheres(mask, radius, minimum)
        return
    found = spheres(mask, radius, minimum)
    assert found.centres.tolist() == list(inside) and found.members.shape == (len(inside), len(voxels))
    assert [members(found, k).tolist() for k in range(len(inside))] == list(inside.values())


def test_spheres_are_rsatoolboxs_within_the_mask():
    mask = ball(6.2, 19)  # far from the border of the volume
    places = np.flatnonzero(mask)
    centres, neighbours = get_volume_searchlight(mask, radius=4, threshold=0.5)
    found = spheres(mask, 4, 0.5)
    np.testing.assert_array_equal(places[found.centres], centres)
    for k, expected in enumerate(neighbours):
        np.testing.assert_array_equal(places[members(found, k)], np.sort(expected[mask.ravel()[expected]]))


def test_discs_hold_what_is_near_along_the_surface():
    radius, both = 12, [cortex.mesh(side) for side in cortex.HEMISPHERES]
    discs = geodesic_discs(both, radius)
    assert discs.members.shape == (20_484, 20_484) and np.array_equal(discs.centres, np.arange(20_484))
    left = discs.members[:10_242].indices
    assert left.max() < 10_242 <= discs.members[10_242:].indices.min()
    shares = []
    for source in (50, 5000):
        exact = cortex.geodesic_distance(source, "right")
        disc = members(discs, 10_242 + source) - 10_242
        assert source in disc and exact[disc].max() < radius
        assert np.isin(np.flatnonzero(exact < 0.75 * radius), disc).all()
        shares.append(len(disc) / (exact < radius).sum())
    assert np.mean(shares) > 0.9
    # A vertex across a sulcus is near in space and far along the surface.
    straight = np.linalg.norm(both[0].vertices - both[0].vertices[5000], axis=1) < radius
    assert straight.sum() > len(members(discs, 5000))


def test_paths_across_triangles_are_shorter_than_edges():
    """A flat grid of squares, cut along one diagonal: the other diagonal is a straight line too."""
    x, y = np.meshgrid(np.arange(5.0), np.arange(5.0), indexing="ij")
    corner = np.arange(25).reshape(5, 5)
    a, b, c, d = (part.ravel() for part in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]))
    mesh = cortex.Mesh(np.c_[x.ravel(), y.ravel(), np.zeros(25)], np.r_[np.c_[a, b, c], np.c_[a, c, d]])
    disc = members(geodesic_discs(mesh, 1.5), 12)
    assert disc.tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    # Folded at a right angle along the middle line, the surface keeps its distances.
    folded = cortex.Mesh(np.c_[np.minimum(x.ravel(), 2), y.ravel(), np.maximum(x.ravel() - 2, 0)], mesh.faces)
    assert (geodesic_discs(mesh, 2.5).members != geodesic_discs(folded, 2.5).members).nnz == 0


def test_two_paths_between_the_same_vertices_count_as_the_shorter():
    """On a tetrahedron each edge also lies across two triangles."""
    mesh = cortex.Mesh(
        np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]]),
        np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]),
    )
    edge = np.sqrt(8)
    assert geodesic_discs(mesh, 1.01 * edge).members.toarray().all()
    with pytest.raises(ValueError, match="no neighbourhood is full enough"):
        geodesic_discs(mesh, 0.99 * edge)


def test_discs_of_some_vertices():
    mesh = cortex.mesh("left")
    chosen = np.flatnonzero(mesh.vertices[:, 1] < -60)[::-1]
    whole, found = geodesic_discs(mesh, 8), geodesic_discs(mesh, 8, 0.7, vertices=chosen)
    assert 0 < len(found.centres) < len(chosen) == found.members.shape[1]
    for k in range(0, len(found.centres), 40):
        disc = members(whole, chosen[found.centres[k]])
        here = np.intersect1d(disc, chosen)
        assert set(chosen[members(found, k)]) == set(here) and len(here) >= 0.7 * len(disc)
    dropped = np.setdiff1d(np.arange(len(chosen)), found.centres)
    shares = [np.isin(members(whole, vertex), chosen).mean() for vertex in chosen[dropped]]
    assert len(shares) and max(shares) < 0.7


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: spheres(np.ones((4, 4)), 2), r"mask: expected shape \(x, y, z\), got \(4, 4\)"),
        (lambda: spheres(np.full((4, 4, 4), 0.5), 2), "mask: expected truth values"),
        (lambda: spheres(np.zeros((4, 4, 4)), 2), "mask: expected truth values, some of them true"),
        (lambda: spheres(np.ones((4, 4, 4)), 1), "radius: expected a number above 1, got 1"),
        (lambda: spheres(np.ones((4, 4, 4)), 2, 50), "no neighbourhood is full enough with radius=2, minimum=50"),
        (lambda: geodesic_discs(cortex.mesh("left"), 0), "radius: expected a number above 0, got 0"),
        (lambda: geodesic_discs(cortex.mesh("left"), 5, vertices=[0, 20_000]), "0 to 10241; are they of another surf"),
        (lambda: geodesic_discs(cortex.mesh("left"), 5, vertices=[3, 3]), "vertices: expected different numbers"),
        (lambda: geodesic_discs(cortex.mesh("left"), 0.01), "no neighbourhood is full enough with radius=0.01"),
    ],
)
def test_neighbourhoods_refuse(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# ---------------------------------------------------------------------------------------------------------------- maps


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("block", [7 * 66, 2**20])
def test_map_is_one_rdm_after_the_other(rng, brain, monkeypatch, method, block):
    monkeypatch.setattr(searchlight, "BLOCK", block)
    mask, neighbours = brain
    models = rng.standard_normal((3, 40, 4))
    responses = 5 + rng.standard_normal((40, mask.sum()))
    responses[:, : mask.sum() // 2] += models[0] @ rng.standard_normal((4, mask.sum() // 2))
    batches = image_batches(40, 12)
    expected = slow_map(responses, models, neighbours, method, batches)
    found = rsa_map(
        responses, {f"m{k}": rdm(m) for k, m in enumerate(models)}, neighbours, batches=batches, method=method
    )
    assert found.dims == ("model", "centre") and found["model"].values.tolist() == ["m0", "m1", "m2"]
    np.testing.assert_array_equal(found["centre"], neighbours.centres)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert found[0].max() > 0.3
    with parallel_config(n_jobs=2):
        again = rsa_map(responses, rdm(models[:, batches]), neighbours, batches=batches, method=method)
    np.testing.assert_allclose(again, expected, atol=1e-10)


def test_map_is_rsatoolboxs(rng, brain):
    mask, neighbours = brain
    responses, model = rng.standard_normal((30, mask.sum())), rng.random(435)
    voxels = [members(neighbours, k) for k in range(len(neighbours.centres))]
    rdms = get_searchlight_RDMs(responses, neighbours.centres, voxels, np.arange(30), verbose=False)
    for method, peer in (("pearson", "corr"), ("spearman", "spearman")):
        results = evaluate_models_searchlight(rdms, ModelFixed("model", model), eval_fixed, method=peer)
        expected = [result.evaluations.item() for result in results]
        np.testing.assert_allclose(rsa_map(responses, [model], neighbours, method=method)[0], expected, atol=1e-10)
    single = rsa_map(responses.astype("float32"), [model], neighbours)
    np.testing.assert_allclose(single, rsa_map(responses, [model], neighbours), atol=1e-6)


def test_rounding_stays_small_where_the_brain_is_uneven(rng):
    """Voxels with huge or shared baselines beside quiet ones: sums that are corrected step by step keep up."""
    mask = np.ones((3, 3, 60), dtype=bool)
    neighbours = spheres(mask, 2.5, 0.2)
    responses = rng.standard_normal((12, mask.sum())) + 3 * rng.standard_normal(mask.sum())
    z = np.argwhere(mask)[:, 2]
    responses[:, z < 15] *= 1e4
    responses[:, (z > 20) & (z < 25)] += 300
    responses[:, z > 45] *= 1e-4
    models = rng.standard_normal((1, 12, 4))
    expected = slow_map(responses, models, neighbours, "pearson")
    np.testing.assert_allclose(rsa_map(responses, rdm(models), neighbours), expected, atol=1e-6)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_neighbourhoods_in_any_order_and_of_any_size(rng, method):
    """Among two locations all correlations are 1 or -1: ties, whatever rounding says."""
    locations = [rng.choice(50, size, replace=False) for size in (2, 30, 3, 50, 12, 49, 2)]
    own = csr_array(np.stack([np.isin(np.arange(50), some) for some in locations]).astype(np.int8))
    neighbours = Neighbours(np.arange(7), own)
    responses, models = rng.standard_normal((9, 50)), rng.standard_normal((2, 9, 4))
    expected = slow_map(responses, models, neighbours, method)
    np.testing.assert_allclose(rsa_map(responses, rdm(models), neighbours, method=method), expected, atol=1e-10)
    single = Neighbours(neighbours.centres[1:2], neighbours.members[1:2])
    np.testing.assert_allclose(rsa_map(responses, rdm(models), single, method=method), expected[:, 1:2], atol=1e-10)


def test_map_keeps_the_names_of_vertices(rng):
    discs = geodesic_discs(cortex.mesh("left"), 8, vertices=np.arange(100, 9000, 2))
    labels = np.arange(100, 9000, 2)
    responses = xr.DataArray(rng.standard_normal((6, len(labels))), {"vertex": labels}, ("image", "vertex"))
    found = rsa_map(responses, {"m": rng.random(15)}, discs)
    np.testing.assert_array_equal(found["centre"], labels[discs.centres])


def test_map_finds_planted_zones():
    rng = np.random.default_rng(0)
    mask = np.ones((12, 12, 12), dtype=bool)
    features = rng.standard_normal((2, 80, 20))
    voxels = np.argwhere(mask)
    zones = [np.linalg.norm(voxels - centre, axis=1) < 3 for centre in ([3, 3, 3], [8, 8, 8])]
    neighbours = spheres(mask, 3)
    centred = voxels[neighbours.centres]
    maps = []
    for _ in range(4):
        responses = rng.standard_normal((80, mask.sum()))
        for feature, zone in zip(features, zones, strict=True):
            responses[:, zone] += feature @ rng.standard_normal((20, zone.sum())) / 10
        models = {"one": rdm(features[0]), "other": rdm(features[1])}
        maps.append(rsa_map(responses, models, neighbours, batches=image_batches(80, 40)))
    mean = xr.concat(maps, "subject").mean("subject")
    for model, zone, away in (("one", zones[0], [3, 3, 3]), ("other", zones[1], [8, 8, 8])):
        far = np.linalg.norm(centred - away, axis=1) > 6  # no sphere there holds a voxel of the zone
        keep = zone[neighbours.centres] | far
        assert roc_auc_score(zone[neighbours.centres][keep], mean.sel(model=model).values[keep]) >= 0.95


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"responses": np.ones((8, 50))}, {}, "around location 0: x: 8 images are constant: 0, 1, 2, 3, 4, 5, 6, 7;"),
        ({"flat": True}, {}, "around location 24: x: 1 images are constant: 2;"),
        ({"nan": True}, {}, "responses: 1 of 400 values are not finite"),
        ({"responses": np.eye(8).repeat(7, 1)[:, :50]}, {}, "responses around location"),
        ({}, {"method": "kendall"}, "method: expected one of 'pearson', 'spearman', got 'kendall'"),
        ({"images": 7}, {}, r"expected shape \(21,\)"),
        ({"images": 2}, {}, "at least three"),
        ({"locations": 49}, {}, r"expected shape \(50, 49\), as of responses, got \(50, 50\)"),
        ({"model": np.ones(28)}, {}, "model_rdms: 1 RDM"),
        ({"data": 2}, {}, "an int8 csr_array of 1 for each member"),
        ({"single": True}, {}, "1 hold fewer than 2 locations, around 4"),
    ],
)
def test_map_refuses(rng, change, options, message):
    inside = np.abs(np.subtract.outer(np.arange(50), np.arange(50))) < 5
    if "single" in change:
        inside[4] = np.arange(50) == 4
    own = csr_array(inside.astype(np.int8) * np.int8(change.get("data", 1)))
    responses = rng.standard_normal((change.get("images", 8), change.get("locations", 50)))
    if "flat" in change:
        responses[2, 20:30] = 0.7
    if "nan" in change:
        responses[5, 20] = np.nan
    responses = change.get("responses", responses)
    with pytest.raises(ValueError, match=message):
        rsa_map(responses, [change.get("model", rng.random(28))], Neighbours(np.arange(50), own), **options)


def test_map_refuses_images_that_are_all_equally_far_apart():
    own = csr_array(np.ones((2, 6), dtype=np.int8))
    with pytest.raises(ValueError, match=r"location\(s\) 0, 1: all images are equally far apart"):
        rsa_map(np.eye(6), [np.arange(15.0)], Neighbours(np.arange(2), own))


# --------------------------------------------------------------------------------------------------------------- group


def test_group_map_is_students_with_fdr_within_each_map(rng):
    values = rng.standard_normal((8, 2, 60))
    values[:, 0, :20] += 1.5
    maps = xr.DataArray(values, {"model": ["a", "b"], "centre": np.arange(60) + 7}, ("subject", "model", "centre"))
    found = group_map(maps.transpose("centre", "model", "subject"))
    expected = ttest_1samp(values, 0)
    np.testing.assert_allclose(found["t"], expected.statistic)
    np.testing.assert_allclose(found["p"], expected.pvalue)
    np.testing.assert_allclose(found["mean"], values.mean(0))
    for k, model in enumerate("ab"):
        np.testing.assert_array_equal(found["rejected"].sel(model=model), stats.fdr(expected.pvalue[k])[0])
    assert found["rejected"].sel(model="a").values[:20].sum() > 10
    np.testing.assert_array_equal(found["centre"], maps["centre"])


def test_group_map_finds_anything_in_noise_at_the_nominal_rate():
    rng = np.random.default_rng(2)
    maps = xr.DataArray(rng.standard_normal((8, 1000, 100)), dims=("subject", "simulation", "centre"))
    any_found = int(group_map(maps)["rejected"].any("centre").sum())
    assert binomtest(any_found, 1000, 0.05).pvalue > 0.01


def test_searchlights_on_noise_leave_nothing_after_fdr_at_the_nominal_rate():
    neighbours, n_locations = spheres(ball(2.6, 9), 2, 0.5), int(ball(2.6, 9).sum())
    rng, any_found, raw = np.random.default_rng(3), 0, []
    for _ in range(100):
        model = [rdm(rng.standard_normal((12, 5)))]
        maps = [rsa_map(rng.standard_normal((12, n_locations)), model, neighbours) for _ in range(8)]
        found = group_map(xr.concat(maps, "subject"))
        any_found += bool(found["rejected"].any())
        raw.append(float((found["p"] <= 0.05).mean()))
    # Overlapping spheres depend on each other positively, which can only make the procedure stricter.
    assert binomtest(any_found, 100, 0.05, "greater").pvalue > 0.01
    assert 0.03 < np.mean(raw) < 0.07


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.ones((3, 4)), "maps: expected a DataArray of dimensions subject, centre, got ndarray"),
        (xr.DataArray(np.ones((3, 4)), dims=("subject", "vertex")), "got .*vertex"),
        (xr.DataArray(np.ones((3, 4)), dims=("subject", "centre")), "4 scores or differences are the same"),
        (xr.DataArray(np.ones((1, 4)), dims=("subject", "centre")), "subjects: expected a whole number of at least 2"),
        (xr.DataArray([[1.0, np.nan], [2, 3]], dims=("subject", "centre")), "finite"),
    ],
)
def test_group_map_refuses(maps, message):
    with pytest.raises(ValueError, match=message):
        group_map(maps)


# ------------------------------------------------------------------------------------------------- places of a data set


@pytest.mark.parametrize("space", ["fsaverage5", "volume"])
def test_places_are_discs_of_the_cortex_or_regions(rng, space):
    vertices = np.flatnonzero(cortex.geodesic_distance(0, "left") < 20)
    responses = {
        subject: xr.DataArray(
            rng.standard_normal((1, 9, len(vertices))),
            {"image": np.arange(9), "vertex": vertices},
            ("repeat", "image", "vertex"),
        )
        for subject in "pq"
    }
    captions = pd.DataFrame({"image": np.arange(9), "caption": "A sentence.", "caption_id": np.arange(9)})
    rois = pd.DataFrame({"near": np.arange(len(vertices)) < 20}, index=vertices)
    data = Viewing(
        name="t", captions=captions, test_images=[5, 3, 1, 0, 8], space=space, responses=responses, rois=rois
    )
    models = {"a": rng.random(10), "b": rng.random(10)}
    found = place_map(data, models, radius=8)
    assert found.dims == ("subject", "model", "centre") and list(found["subject"].values) == ["p", "q"]
    if space == "volume":
        shown = responses["q"][0].sel(image=data.test_images, vertex=vertices[:20]).values
        np.testing.assert_allclose(found[1, 0], [compare_rdms(models["a"], rdm(shown), "pearson")])
        return
    discs = geodesic_discs([cortex.mesh(side) for side in cortex.HEMISPHERES], 8, vertices=vertices)
    shown = responses["q"][0].sel(image=data.test_images)
    np.testing.assert_allclose(found[1], rsa_map(shown, models, discs))
    assert set(found["centre"].values) <= set(vertices)
