"""The cortical surface: meshes, landmarks and distances."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from brainalign import assets

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
    from nilearn import surface  # here and below: it is slow to load

    _check_hemisphere(hemisphere)
    return Mesh(*(np.asarray(part) for part in surface.load_surf_mesh(_fsaverage5()[f"{kind}_{hemisphere}"])))


@cache
def sulcal_depth(hemisphere: str) -> np.ndarray:
    """Sulcal depth of fsaverage5, shape (vertex,): positive in sulci."""
    from nilearn import surface

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

    Raises
    ------
    ValueError
        For points that are not finite or have no three coordinates, or another hemisphere.
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

    Raises
    ------
    ValueError
        For a source that is no vertex of the surface, or another hemisphere.
    """
    from pygeodesic.geodesic import PyGeodesicAlgorithmExact

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
def regions(hemisphere: str) -> np.ndarray:
    """Name of the gyrus or sulcus that each vertex of fsaverage5 lies in, shape (vertex,); "" on the medial wall.

    References
    ----------
    Desikan et al. (2006). An automated labeling system for subdividing the human cerebral cortex on MRI scans into
    gyral based regions of interest. NeuroImage 31, 968-980.
    """
    from nilearn import surface

    _check_hemisphere(hemisphere)
    folder = assets.fetch("desikan-killiany")
    numbers = surface.load_surf_data(str(folder / f"atlas-desikankilliany-{hemisphere[0]}h.label.gii.gz"))
    names = pd.read_csv(folder / "atlas-desikankilliany.csv", index_col="id")["label"]
    return names.reindex(np.asarray(numbers).astype(int)).fillna("").to_numpy(str)


def mni152_to_fsaverage(xyz) -> np.ndarray:
    """Points in MNI152 space, moved to fsaverage's (MNI305).

    Parameters
    ----------
    xyz : array of shape (..., 3)
        mm; NaN stays NaN. The several versions of MNI152 differ by a millimetre or two, which this map ignores.

    Returns
    -------
    array of shape (..., 3)
    """
    inverse = np.linalg.inv(MNI152_FROM_FSAVERAGE)
    return np.asarray(xyz, dtype=float) @ inverse[:3, :3].T + inverse[:3, 3]


def locate(xyz, *, max_distance: float = 20.0) -> pd.DataFrame:
    """What is known of electrodes from their coordinates: hemisphere, region, distance along the cortex.

    Each point is taken for its nearest vertex of the pial surface of fsaverage5. Deep electrodes thus get the name and
    the distance of the cortex above them.

    Parameters
    ----------
    xyz : array of shape (channel, 3)
        mm in fsaverage's space (see `mni152_to_fsaverage`), NaN where unknown.
    max_distance : float
        Points farther than this from the surface (mm) lie outside the brain: a wrong localisation, taken as unknown.

    Returns
    -------
    DataFrame [region, hemisphere, x, y, z, distance_pmc, distance_pmc_euclidean, vertex, off_surface]
        One row a point, numbers in mm: geodesic and straight distance of the nearest vertex from posteromedial
        Heschl's gyrus of its hemisphere, distance of the point from that vertex. NaN (and "") where unknown.

    Raises
    ------
    ValueError
        For infinite coordinates, or another shape.
    """
    xyz = np.asarray(xyz, dtype=float)
    if xyz.ndim != 2 or xyz.shape[1] != 3 or np.isinf(xyz).any():
        raise ValueError(f"xyz: expected points of shape (channel, 3) in mm, NaN where unknown, got shape {xyz.shape}.")
    known = np.flatnonzero(np.isfinite(xyz).all(axis=1))
    table = pd.DataFrame({"region": "", "hemisphere": ""}, index=range(len(xyz)))
    numbers = ["x", "y", "z", "distance_pmc", "distance_pmc_euclidean", "vertex", "off_surface"]
    table[numbers] = np.nan
    if not len(known):
        return table
    found = [cKDTree(mesh(hemisphere).vertices).query(xyz[known]) for hemisphere in HEMISPHERES]
    nearest = np.argmin([off for off, _ in found], axis=0)
    for side, (hemisphere, (off, vertex)) in enumerate(zip(HEMISPHERES, found, strict=True)):
        here = (nearest == side) & (off <= max_distance)
        rows, vertex = known[here], vertex[here]
        distance = distance_from("pmHG", hemisphere).to_numpy()[vertex]
        table.loc[rows, numbers] = np.column_stack([xyz[rows], distance, vertex, off[here]])
        table.loc[rows, "hemisphere"] = hemisphere
        table.loc[rows, "region"] = regions(hemisphere)[vertex]
    return table


@cache
def _fsaverage5():
    from nilearn import datasets

    return datasets.fetch_surf_fsaverage("fsaverage5")


def _check_hemisphere(hemisphere: str) -> None:
    if hemisphere not in HEMISPHERES:
        raise ValueError(f"hemisphere: expected one of {HEMISPHERES}, got {hemisphere!r}.")
