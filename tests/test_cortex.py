"""Surfaces and distances, against plain geometry and a graph search."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from brainalign import cortex


def test_meshes_are_fsaverage5():
    for hemisphere in cortex.HEMISPHERES:
        vertices, faces = cortex.mesh(hemisphere)
        assert vertices.shape == (10_242, 3) and faces.shape == (20_480, 3)
        assert np.sign(np.median(vertices[:, 0])) == (-1 if hemisphere == "left" else 1)


def test_geodesic_distance_on_a_sphere_is_the_great_circle():
    vertices = cortex.mesh("left", "sphere").vertices
    centred = vertices - (vertices.max(0) + vertices.min(0)) / 2
    radius = np.linalg.norm(centred, axis=1).mean()
    cosine = np.clip(centred @ centred[0] / np.linalg.norm(centred, axis=1) / np.linalg.norm(centred[0]), -1, 1)
    found = cortex.geodesic_distance(0, "left", "sphere")
    np.testing.assert_allclose(found, np.arccos(cosine) * radius, atol=0.01 * radius)


def test_geodesic_distance_lies_between_the_straight_line_and_the_path_along_edges():
    vertices, faces = cortex.mesh("right")
    edges = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    graph = coo_matrix((lengths, edges.T), shape=(len(vertices),) * 2).tocsr()
    along_edges = dijkstra(graph, directed=False, indices=500)
    found = cortex.geodesic_distance(500, "right")
    straight = np.linalg.norm(vertices - vertices[500], axis=1)
    assert (found >= straight - 1e-3).all() and (found <= along_edges + 1e-3).all()
    assert found[500] == 0


def test_distance_from_landmark_grows_along_the_temporal_lobe():
    for hemisphere in cortex.HEMISPHERES:
        table = cortex.distance_from("pmHG", hemisphere)
        order = [
            table["geodesic"][cortex.landmark_vertex(name, hemisphere)] for name in ("pmHG", "HG", "mSTG", "aSTG", "TP")
        ]
        assert order[0] == 0 and (np.diff(order) > 0).all()
        assert (table["geodesic"] >= table["euclidean"] - 1e-3).all()


def test_landmarks_lie_on_the_surface():
    for hemisphere, sign in (("left", -1), ("right", 1)):
        points = cortex.LANDMARKS.to_numpy() * [sign, 1, 1]
        vertices = cortex.mesh(hemisphere).vertices[cortex.nearest_vertex(points, hemisphere)]
        assert np.linalg.norm(vertices - points, axis=1).max() < 6


def test_errors():
    with pytest.raises(ValueError, match="hemisphere: expected one of 'left', 'right', got 'lh'"):
        cortex.mesh("lh")
    with pytest.raises(ValueError, match="xyz: 1 of 3 values are not finite"):
        cortex.nearest_vertex([[np.nan, 0, 0]], "left")
    with pytest.raises(ValueError, match="name: expected one of 'pmHG', .*, got 'A1'"):
        cortex.landmark_vertex("A1", "left")
    with pytest.raises(ValueError, match="source: expected a whole number from 0 to 10241, got 99999"):
        cortex.geodesic_distance(99_999, "left")


# places of electrodes


def test_mni152_to_fsaverage_on_the_documented_example():
    # FreeSurfer's page on coordinate systems: (10, -20, 35) on fsaverage is (10.695, -18.409, 36.137) in MNI152
    np.testing.assert_allclose(cortex.mni152_to_fsaverage([10.695, -18.409, 36.137]), [10, -20, 35], atol=0.005)
    points = np.array([[[0.0, 0, 0], [np.nan, 1, 2]]])
    moved = cortex.mni152_to_fsaverage(points)
    assert moved.shape == points.shape and np.isfinite(moved[0, 0]).all() and np.isnan(moved[0, 1]).all()


@pytest.mark.parametrize("hemisphere", cortex.HEMISPHERES)
def test_regions_are_where_anatomy_has_them(hemisphere):
    regions = cortex.regions(hemisphere)
    vertices = cortex.mesh(hemisphere).vertices
    assert len(regions) == len(vertices) and len(set(regions)) == 35 and 0.05 < (regions == "").mean() < 0.15
    centre = pd.DataFrame(vertices).groupby(regions).mean()
    assert (np.sign(centre[0]) == (-1 if hemisphere == "left" else 1)).all()
    assert centre.loc["lateraloccipital", 1] < centre.loc["superiortemporal", 1] < centre.loc["parstriangularis", 1]
    assert centre.loc["inferiortemporal", 2] < centre.loc["superiortemporal", 2] < centre.loc["supramarginal", 2]
    assert regions[cortex.landmark_vertex("HG", hemisphere)] == "transversetemporal"
    assert regions[cortex.landmark_vertex("IFGop", hemisphere)] == "parsopercularis"


def test_locate_on_known_vertices_and_unknown_points(monkeypatch):
    rows = []
    for hemisphere in cortex.HEMISPHERES:
        for name in ("pmHG", "mSTG", "IFGtri"):
            rows.append((hemisphere, cortex.landmark_vertex(name, hemisphere)))
    on_surface = np.array([cortex.mesh(hemisphere).vertices[vertex] for hemisphere, vertex in rows])
    points = np.vstack([on_surface, [[np.nan, 0, 0], [-90, 126, 72]], on_surface[1] + [[-6.0, 0, 0]]])
    found = cortex.locate(points)
    assert found["hemisphere"].tolist() == [side for side, _ in rows] + ["", "", "left"]
    assert found["vertex"][:6].astype(int).tolist() == [vertex for _, vertex in rows]
    np.testing.assert_allclose(found[["x", "y", "z"]][:6], on_surface)
    for row, (hemisphere, vertex) in enumerate(rows):
        distance = cortex.distance_from("pmHG", hemisphere).loc[vertex]
        assert found.loc[row, "distance_pmc"] == distance["geodesic"] >= distance["euclidean"]
        assert found.loc[row, "region"] == cortex.regions(hemisphere)[vertex]
    assert found["distance_pmc"][0] == found["distance_pmc"][3] == 0
    numbers = found.select_dtypes("number")
    assert numbers[6:8].isna().all(axis=None) and (found["region"][6:8] == "").all()
    assert 0 < found["off_surface"][8] <= 6 and (found["off_surface"][:6] == 0).all()
    with monkeypatch.context() as changed:
        changed.setattr(cortex, "MAX_DISTANCE", 200)
        assert cortex.locate(points)["hemisphere"][7] == "left"
    assert cortex.locate(np.full((2, 3), np.nan))["x"].isna().all()
    for bad, message in (
        ([1.0, 2.0, 3.0], r"xyz: expected shape \(channel, 3\)"),
        ([[np.inf, 0, 0]], "xyz: 1 of 3 values are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            cortex.locate(bad)
