"""The cortical surface: meshes, landmarks and distances."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from nilearn import datasets, surface
from pygeodesic.geodesic import PyGeodesicAlgorithmExact
from scipy.spatial import cKDTree

HEMISPHERES = ("left", "right")

LANDMARKS = pd.DataFrame(
    {
        "pmHG": (38, -31, 12),
        "HG": (52, -18, 5),
        "PT": (56, -34, 14),
        "pSTG": (62, -38, 10),
        "mSTG": (61, -18, 1),
        "aSTG": (56, 2, -10),
        "TP": (44, 16, -28),
        "pMTG": (60, -48, 2),
        "mMTG": (60, -24, -10),
        "aMTG": (56, -4, -22),
        "IFGop": (52, 14, 14),
        "IFGtri": (50, 28, 8),
        "IFGorb": (42, 32, -10),
    },
    index=["x", "y", "z"],
).T
"""Points of our own choice on fsaverage (mm, right hemisphere; mirror x for the left).

Posteromedial and lateral Heschl's gyrus, planum temporale, superior and middle temporal gyri from back to front,
temporal pole, three parts of the inferior frontal gyrus. They name regions of the virtual cohort and are no atlas."""


class Mesh(NamedTuple):
    """A triangle mesh: `vertices` of shape (vertex, 3) in mm, `faces` of shape (face, 3), vertex numbers."""

    vertices: np.ndarray
    faces: np.ndarray


@cache
def mesh(hemisphere: str, kind: str = "pial") -> Mesh:
    """A hemisphere of fsaverage5 (10,242 vertices), as nilearn carries it.

    Parameters
    ----------
    hemisphere : {"left", "right"}
    kind : {"pial", "white", "infl", "sphere", "flat"}
        Which surface.

    Returns
    -------
    Mesh
    """
    _check_hemisphere(hemisphere)
    return Mesh(*(np.asarray(part) for part in surface.load_surf_mesh(_fsaverage5()[f"{kind}_{hemisphere}"])))


@cache
def sulcal_depth(hemisphere: str) -> np.ndarray:
    """Sulcal depth of fsaverage5, shape (vertex,): positive in sulci."""
    _check_hemisphere(hemisphere)
    return np.asarray(surface.load_surf_data(_fsaverage5()[f"sulc_{hemisphere}"]))


def nearest_vertex(xyz, hemisphere: str, kind: str = "pial") -> np.ndarray:
    """The vertex closest to each point.

    Parameters
    ----------
    xyz : array of shape (..., 3)
        Points in mm.
    hemisphere : {"left", "right"}
    kind : str
        Surface, see `mesh`.

    Returns
    -------
    array of shape (...)
        Vertex numbers.
    """
    xyz = np.asarray(xyz, dtype=float)
    if xyz.shape[-1:] != (3,) or not np.isfinite(xyz).all():
        raise ValueError(f"xyz: expected finite points of shape (..., 3) in mm, got shape {xyz.shape}; drop NaN rows.")
    return cKDTree(mesh(hemisphere, kind).vertices).query(xyz)[1]


@cache
def landmark_vertex(name: str, hemisphere: str) -> int:
    """The pial vertex of a landmark (a row of `LANDMARKS`)."""
    _check_hemisphere(hemisphere)
    if name not in LANDMARKS.index:
        raise ValueError(f"name: unknown landmark {name!r}; choose from {list(LANDMARKS.index)}.")
    sign = -1 if hemisphere == "left" else 1
    return int(nearest_vertex(LANDMARKS.loc[name].to_numpy() * [sign, 1, 1], hemisphere))


def geodesic_distance(source: int, hemisphere: str, kind: str = "pial") -> np.ndarray:
    """Distance along the surface from one vertex to all, exact on the mesh (Mitchell, Mount & Papadimitriou 1987).

    Parameters
    ----------
    source : int
        Vertex number.
    hemisphere : {"left", "right"}
    kind : str
        Surface, see `mesh`.

    Returns
    -------
    array of shape (vertex,)
        mm.
    """
    vertices, faces = mesh(hemisphere, kind)
    if not 0 <= source < len(vertices):
        raise ValueError(f"source: expected a vertex number from 0 to {len(vertices) - 1}, got {source}.")
    algorithm = PyGeodesicAlgorithmExact(vertices.astype(float), faces.astype(int))
    return algorithm.geodesicDistances(np.array([source]), None)[0]


@cache
def distance_from(landmark: str, hemisphere: str) -> pd.DataFrame:
    """Distance of every pial vertex of fsaverage5 from a landmark.

    Parameters
    ----------
    landmark : str
        A row of `LANDMARKS`, such as "pmHG", posteromedial Heschl's gyrus.
    hemisphere : {"left", "right"}

    Returns
    -------
    DataFrame [geodesic, euclidean]
        One row a vertex, mm.
    """
    source = landmark_vertex(landmark, hemisphere)
    vertices = mesh(hemisphere).vertices
    return pd.DataFrame(
        {
            "geodesic": geodesic_distance(source, hemisphere),
            "euclidean": np.linalg.norm(vertices - vertices[source], axis=1),
        }
    )


@cache
def _fsaverage5():
    return datasets.fetch_surf_fsaverage("fsaverage5")


def _check_hemisphere(hemisphere: str) -> None:
    if hemisphere not in HEMISPHERES:
        raise ValueError(f"hemisphere: expected one of {HEMISPHERES}, got {hemisphere!r}.")
