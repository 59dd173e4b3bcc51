"""Surfaces and distances, against plain geometry and a graph search."""

import numpy as np
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
    with pytest.raises(ValueError, match="hemisphere"):
        cortex.mesh("lh")
    with pytest.raises(ValueError, match=r"finite points of shape \(..., 3\)"):
        cortex.nearest_vertex([[np.nan, 0, 0]], "left")
    with pytest.raises(ValueError, match="unknown landmark 'A1'"):
        cortex.landmark_vertex("A1", "left")
    with pytest.raises(ValueError, match="vertex number"):
        cortex.geodesic_distance(99_999, "left")
