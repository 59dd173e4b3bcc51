"""The cortical surface: meshes, landmarks and distances."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from brainalign import assets
from brainalign._checks import finite, one_of, shaped, whole

HEMISPHERES = ("left", "right")
MAX_DISTANCE = 20.0
"""mm; points farther from the surface lie outside the brain: a wrong localisation, taken as unknown."""

LANDMARKS = pd.read_csv(Path(__file__).with_name("data") / "landmarks.csv", index_col="name")
"""Points of our own choice on fsaverage (mm, right hemisphere; mirror x for the left).

Posteromedial and lateral Heschl's gyrus, planum temporale, superior and middle temporal gyri from back to front,
temporal pole, three parts of the inferior frontal gyrus. They name regions of the virtual cohort and are no atlas."""

MNI152_FROM_FSAVERAGE = np.array(
    [
        [0.9975, -0.0073, 0.0176, -0.0429],
        [0.0146, 1.0009, -0.0024, 1.5496],
        [-0.0130, -0.0093, 0.9971, 1.1840],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
"""Affine map from fsaverage's space (MNI305) to MNI152, mm, as FreeSurfer documents it ("Coordinate Systems")."""


class Mesh(NamedTuple):
    """A triangle mesh: `vertices` of shape (vertex, 3) in mm, `faces` of shape (face, 3), vertex numbers."""

    vertices: np.ndarray
    faces: np.ndarray


@cache
def mesh(hemisphere: str, kind: str = "pial") -> Mesh:
    """A hemisphere of fsaverage5 (10,242 vertices), as nilearn has it: "pial", "white", "infl", "sphere" or "flat"."""
    from nilearn.surface import load_surf_mesh  # here and below: it is slow to load

    return Mesh(*(np.asarray(part) for part in load_surf_mesh(_fsaverage5(kind, hemisphere))))


@cache
def sulcal_depth(hemisphere: str) -> np.ndarray:
    """Sulcal depth of fsaverage5, shape (vertex,): positive in sulci."""
    from nilearn.surface import load_surf_data

    return np.asarray(load_surf_data(_fsaverage5("sulc", hemisphere)))


def nearest_vertex(xyz: ArrayLike, hemisphere: str) -> np.ndarray:
    """The pial vertex closest to each point in mm, from shape (..., 3) to (...)."""
    return cKDTree(mesh(hemisphere).vertices).query(finite("xyz", xyz))[1]


@cache
def landmark_vertex(name: str, hemisphere: str) -> int:
    """The pial vertex of a landmark (a row of `LANDMARKS`)."""
    sign = -1 if one_of("hemisphere", hemisphere, HEMISPHERES) == "left" else 1
    point = LANDMARKS.loc[one_of("name", name, LANDMARKS.index)].to_numpy() * [sign, 1, 1]
    return int(nearest_vertex(point, hemisphere))


def geodesic_distance(source: int, hemisphere: str, kind: str = "pial") -> np.ndarray:
    """Distance (mm) along the surface from one vertex to all, shape (vertex,).

    Exact on the mesh (Mitchell, Mount & Papadimitriou 1987); hemisphere and kind as in `mesh`.
    """
    from pygeodesic.geodesic import PyGeodesicAlgorithmExact

    vertices, faces = mesh(hemisphere, kind)
    start = np.array([whole("source", source, 0, len(vertices) - 1)])
    return PyGeodesicAlgorithmExact(vertices.astype(float), faces.astype(int)).geodesicDistances(start, None)[0]


@cache
def distance_from(landmark: str, hemisphere: str) -> pd.DataFrame:
    """Distance (mm) of every pial vertex from a row of `LANDMARKS`, such as "pmHG": columns geodesic and euclidean."""
    source = landmark_vertex(landmark, hemisphere)
    vertices = mesh(hemisphere).vertices
    straight = np.linalg.norm(vertices - vertices[source], axis=1)
    return pd.DataFrame({"geodesic": geodesic_distance(source, hemisphere), "euclidean": straight})


@cache
def regions(hemisphere: str) -> np.ndarray:
    """Name of the gyrus or sulcus of each vertex of fsaverage5, shape (vertex,); "" on the medial wall.

    The atlas is that of Desikan et al. (2006), NeuroImage 31, 968-980.
    """
    from nilearn.surface import load_surf_data

    side, folder = one_of("hemisphere", hemisphere, HEMISPHERES)[0], assets.fetch("desikan-killiany")
    numbers = load_surf_data(str(folder / f"atlas-desikankilliany-{side}h.label.gii.gz"))
    names = pd.read_csv(folder / "atlas-desikankilliany.csv", index_col="id")["label"]
    return names.reindex(np.asarray(numbers).astype(int)).fillna("").to_numpy(str)


def mni152_to_fsaverage(xyz: ArrayLike) -> np.ndarray:
    """Points (..., 3) in MNI152 space (mm; NaN stays NaN), moved to fsaverage's (MNI305).

    The several versions of MNI152 differ by a millimetre or two, which this map ignores.
    """
    inverse = np.linalg.inv(MNI152_FROM_FSAVERAGE)
    return np.asarray(xyz, dtype=float) @ inverse[:3, :3].T + inverse[:3, 3]


def locate(xyz: ArrayLike) -> pd.DataFrame:
    """What is known of electrodes from their coordinates: hemisphere, region, distance along the cortex.

    Each point is taken for its nearest vertex of the pial surface of fsaverage5, within `MAX_DISTANCE`. Deep electrodes
    thus get the name and the distance of the cortex above them.

    Parameters
    ----------
    xyz : array of shape (channel, 3)
        mm in fsaverage's space (see `mni152_to_fsaverage`), NaN where unknown.

    Returns
    -------
    DataFrame [region, hemisphere, x, y, z, distance_pmc, distance_pmc_euclidean, vertex, off_surface]
        One row a point, numbers in mm: geodesic and straight distance of the nearest vertex from posteromedial
        Heschl's gyrus of its hemisphere, distance of the point from that vertex. NaN (and "") where unknown.
    """
    xyz = np.asarray(shaped("xyz", xyz, "channel", 3), dtype=float)
    finite("xyz", np.where(np.isnan(xyz), 0.0, xyz))  # NaN is unknown, infinity an error
    known = np.flatnonzero(np.isfinite(xyz).all(axis=1))
    table = pd.DataFrame({"region": "", "hemisphere": ""}, index=range(len(xyz)))
    numbers = ["x", "y", "z", "distance_pmc", "distance_pmc_euclidean", "vertex", "off_surface"]
    table[numbers] = np.nan
    if not len(known):
        return table
    found = [cKDTree(mesh(hemisphere).vertices).query(xyz[known]) for hemisphere in HEMISPHERES]
    nearest = np.argmin([off for off, _ in found], axis=0)
    for side, (hemisphere, (off, vertex)) in enumerate(zip(HEMISPHERES, found, strict=True)):
        here = (nearest == side) & (off <= MAX_DISTANCE)
        rows, vertex = known[here], vertex[here]
        distance = distance_from("pmHG", hemisphere).to_numpy()[vertex]
        table.loc[rows, numbers] = np.column_stack([xyz[rows], distance, vertex, off[here]])
        table.loc[rows, "hemisphere"] = hemisphere
        table.loc[rows, "region"] = regions(hemisphere)[vertex]
    return table


@cache
def _fsaverage5(what: str, hemisphere: str) -> Any:
    from nilearn.datasets import fetch_surf_fsaverage

    return fetch_surf_fsaverage("fsaverage5")[f"{what}_{one_of('hemisphere', hemisphere, HEMISPHERES)}"]
