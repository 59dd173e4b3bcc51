"""Virtual viewers: people who see rendered scenes and whose responses are planted, so that the truth is known."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.stats import zscore

from brainalign import cortex
from brainalign._checks import one_of, whole, within
from brainalign.datasets.types import Viewing
from brainalign.features import captions
from brainalign.features.images import GRID, N_ORIENTATIONS, N_SCALES, gabor_energies
from brainalign.simulated.scenes import SUPERCATEGORIES, render_scenes

STREAMS = {
    "early": ("pericalcarine", "cuneus", "lingual"),
    "ventral": ("fusiform", "parahippocampal"),
    "lateral": ("lateraloccipital", "bankssts"),
    "parietal": ("inferiorparietal", "superiorparietal"),
}
"""Regions of the Desikan-Killiany annotation that make up each ROI: stand-ins for the streams of the Natural Scenes
Dataset, which are drawn by hand."""

ZONES = pd.read_csv(Path(__file__).parents[1] / "data" / "zones.csv")
"""Planted zones: centre (mm, MNI152, right hemisphere; mirrored in the left) and radius (mm along the edges of the
mesh). Where two overlap, the first keeps the vertex.

The centres are points of our own choice where the literature describes these areas, and no atlas: Kanwisher, McDermott
& Chun (1997) and Gauthier et al. (2000) faces, Downing et al. (2001) bodies, Epstein & Kanwisher (1998) and Dilks et
al. (2013) places, Jain et al. (2023) and Khosla et al. (2022) food."""

PATCHES = {"ventral": 1, "lateral": 2, "parietal": 4}  #: Patches of noise within each ROI and hemisphere.
PATCH_RADIUS = 8.0  #: mm along the edges of the mesh.
SHARED = 0.6  #: Share of the tuning's variance that subjects have in common.
OF_CATEGORY = 0.5  #: Share of the variance in a zone that follows the category.


def virtual_viewing(
    *,
    n_subjects: int = 4,
    n_train: int = 225,
    n_test: int = 100,
    n_repeats: int = 3,
    snr: float = 0.35,
    roi: str | Sequence[str] | None = None,
    embeddings: str = "all-mpnet-base-v2",
    seed: int = 0,
    device: str = "auto",
) -> Viewing:
    """Virtual people who look at rendered scenes.

    Each subject sees `n_train` scenes of their own and the `n_test` scenes of the shared test set, in `n_repeats`
    presentations. What a vertex of fsaverage5 responds to, before noise:

    - early ROI: Gabor energies of the pixels (`gabor_energies`) at one place, orientation and scale. The place follows
      the vertex: eccentricity grows from the occipital pole forwards, the upper field lies below the calcarine sulcus,
      the left hemisphere sees the right field. Orientation is random, scale grows with eccentricity;
    - ventral, lateral and parietal ROIs: a Gaussian direction through the space of caption embeddings, each image
      represented by the mean over its five captions;
    - zones for people, places and food (`ZONES`): half of the variance is the projection on the category's direction
      (what it adds to the embedding of a scene, by least squares over `SUPERCATEGORIES`), the rest as around it but
      without what goes along with the category;
    - noise patches within these ROIs (`PATCHES`), and all of the cortex around them: nothing.

    Tuning has a part that subjects share (0.6 of its variance) and one of each subject's own. Each part is Gaussian
    noise smoothed along the mesh, so tuning of neighbours is alike **by construction** (r 0.6 at 6 mm, 0.1 at 14 mm),
    as is that of different subjects; zones lie at the same vertices in all. Noise is independent of vertex, image,
    repeat and subject, which real noise is not: neighbourhoods average it away more than they would in real data.

    Parameters
    ----------
    n_subjects, n_train, n_test, n_repeats : int
        Subjects, scenes of each alone, scenes of all, presentations of each scene.
    snr : float
        Median over the vertices that respond of the variance of the planted response over that of the noise of one
        repeat; up to twice as much or half in a vertex, in all subjects alike.
    roi : str or sequence of str, optional
        Keep only these of `STREAMS`, or "streams" for all of them. Default: the cortex without the medial wall. What
        is planted in a vertex is the same, its noise is not.
    embeddings, device
        As `model` and `device` in `features.captions.embed`.
    seed : int

    Returns
    -------
    Viewing
        On "fsaverage5"; responses with variance 1 in each repeat. `truth` [drive, zone, area, region, snr, ceiling]:
        drive "pixels", "caption" or "none"; zone the category or ""; ceiling, the correlation of the noiseless
        response with the mean over repeats.
    """
    names = list(STREAMS) if roi is None or roi == "streams" else [roi] if isinstance(roi, str) else list(roi)
    for name in names:
        one_of("roi", name, STREAMS)
    whole("number of roi", len(names))
    whole("n_subjects", n_subjects)
    whole("n_repeats", n_repeats)
    whole("n_train", n_train, 0)
    whole("n_test", n_test, 3)
    within("snr", snr, 0, np.inf)
    scenes = render_scenes(n_test + n_subjects * n_train, seed=seed)
    embedded = captions.embed(scenes.captions, embeddings, device=device).to_numpy()
    energies = zscore(gabor_energies(scenes.images), axis=0).astype("float32")
    rng = np.random.default_rng([seed, 1])
    layout = _layout(snr, n_repeats, rng)
    driven = layout[layout["drive"] != "none"]
    truth = layout if roi is None else layout[layout["region"].isin(sum((STREAMS[name] for name in names), ()))]
    toward = _toward(embedded, scenes.categories)
    embedded = embedded - embedded.mean(0)

    step = _neighbour_means(driven.index.to_numpy())
    common = _draw_tuning(embedded.shape[1], step, rng)
    ratio = truth["snr"].to_numpy("float32")
    gain, filled = np.sqrt(ratio / (1 + ratio)), truth.index.isin(driven.index)
    test, responses = np.arange(n_test), {}
    for subject in range(n_subjects):
        rng = np.random.default_rng([seed, 2, subject])
        tuning = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * _draw_tuning(embedded.shape[1], step, rng)
        shown = np.r_[test, n_test + subject * n_train + np.arange(n_train)]
        planted = _planted(driven, tuning, embedded, energies, toward)[shown][:, driven.index.isin(truth.index)]
        values = rng.standard_normal((n_repeats, len(shown), len(truth)), dtype="float32") * (1 / np.sqrt(1 + ratio))
        values[..., filled] += planted * gain[filled]
        coords = {"image": shown, "vertex": truth.index.to_numpy()}
        responses[f"v{subject + 1:02d}"] = xr.DataArray(values, coords, ("repeat", "image", "vertex"))
    rois = pd.DataFrame({name: truth["region"].isin(STREAMS[name]) for name in STREAMS if name in names})
    return Viewing(
        name="virtual viewers",
        captions=scenes.captions,
        test_images=test.tolist(),
        space="fsaverage5",
        images=scenes.images,
        categories=scenes.categories,
        responses=responses,
        rois=rois,
        truth=truth,
    )


def _layout(snr: float, n_repeats: int, rng: np.random.Generator) -> pd.DataFrame:
    """What is planted where: the truth, one row a vertex, in the order of vertex numbers."""
    parts = []
    for side, hemisphere in enumerate(cortex.HEMISPHERES):
        region = cortex.regions(hemisphere)
        stream = pd.Series(region).map({name: stream for stream, names in STREAMS.items() for name in names}).to_numpy()
        drive = np.where(stream == "early", "pixels", np.where(pd.isna(stream), "none", "caption"))
        zone, area = np.full((2, len(region)), "", dtype=object)
        for planted in ZONES.itertuples():
            centre = cortex.mni152_to_fsaverage((planted.x, planted.y, planted.z)) * [1 if side else -1, 1, 1]
            near = _within(planted.radius, int(cortex.nearest_vertex(centre, hemisphere)), hemisphere)
            free = near & (drive == "caption") & (zone == "")
            zone[free], area[free] = planted.category, planted.area
        for name in (name for name, n_patches in PATCHES.items() for _ in range(n_patches)):
            # away from zones and other patches as far as there is room
            here = (stream == name) & (drive == "caption") & (zone == "")
            drive[here & _within(PATCH_RADIUS, int(rng.choice(np.flatnonzero(here))), hemisphere)] = "none"
        parts.append(pd.DataFrame({"drive": drive, "zone": zone, "area": area, "region": region}))
    truth = pd.concat(parts, ignore_index=True).query("region != ''").rename_axis("vertex")
    truth["snr"] = np.where(truth["drive"] == "none", 0.0, snr * 2 ** rng.uniform(-1, 1, len(truth)))
    truth["ceiling"] = np.sqrt(truth["snr"] / (truth["snr"] + 1 / n_repeats))
    return truth


def _draw_tuning(n_dimensions: int, step: sparse.csr_matrix, rng: np.random.Generator) -> np.ndarray:
    """Smooth random numbers over the cortex: a direction (vertex, dimension), and a phase in the last two columns."""
    white = rng.standard_normal((step.shape[0], n_dimensions + 2), dtype="float32")
    return np.hstack([_smooth(white[:, :-2], step, 8), _smooth(white[:, -2:], step, 2)])


def _smooth(white: np.ndarray, step: sparse.csr_matrix, n_steps: int) -> np.ndarray:
    """Noise (vertex, dimension) averaged with its neighbours so many times, then with variance 1 in each vertex."""
    power = sparse.identity(step.shape[0], format="csr", dtype="float32")
    for _ in range(n_steps):
        white, power = step @ white, step @ power
    scale = np.sqrt(np.asarray(power.multiply(power).sum(1)).ravel())  # of a sum of independent numbers
    return white / scale[:, None]


def _neighbour_means(vertices: np.ndarray) -> sparse.csr_matrix:
    """The matrix that replaces a vertex by the mean of itself and those of its neighbours that are in `vertices`."""
    near = sparse.block_diag([_edges(hemisphere) for hemisphere in cortex.HEMISPHERES], format="csr")
    near = (near + sparse.identity(near.shape[0]))[vertices][:, vertices] > 0
    return (sparse.diags(1 / np.asarray(near.sum(1)).ravel()) @ near).tocsr().astype("float32")


def _within(radius: float, source: int, hemisphere: str) -> np.ndarray:
    """Whether a vertex lies within so many mm of `source` along the edges of the mesh."""
    return np.isfinite(dijkstra(_edges(hemisphere), indices=source, limit=radius))


@functools.cache
def _edges(hemisphere: str) -> sparse.csr_matrix:
    """Lengths of the edges of a hemisphere's mesh (mm), both ways."""
    points, faces = cortex.mesh(hemisphere)
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    lengths = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    return sparse.csr_matrix((lengths, pairs.T), shape=(len(points),) * 2)


def _toward(embedded: np.ndarray, categories: pd.DataFrame) -> dict[str, np.ndarray]:
    """How far each image lies along what a category adds to the embeddings, variance 1."""
    found = {}
    shows = categories[list(SUPERCATEGORIES)].to_numpy(float)
    adds = np.linalg.lstsq(np.column_stack([shows, np.ones(len(shows))]), embedded, rcond=None)[0]
    for category in ZONES["category"].unique():
        if categories[category].nunique() < 2:
            raise ValueError(f"n_train, n_test: all or none of {len(shows)} scenes show a {category}; take more.")
        found[category] = zscore(embedded @ adds[SUPERCATEGORIES.index(category)])
    return found


def _planted(
    truth: pd.DataFrame, tuning: np.ndarray, embedded: np.ndarray, energies: np.ndarray, toward: dict
) -> np.ndarray:
    """Responses of the vertices in `truth` to all images without noise, shape (image, vertex), variance 1."""
    planted = np.empty((len(embedded), len(truth)), dtype="float32")
    drive, vertices = truth["drive"].to_numpy(), truth.index.to_numpy()
    seen = drive == "pixels"
    planted[:, seen] = zscore(energies @ _receptive_fields(vertices[seen], tuning[seen][:, -2:]), axis=0)
    told = drive == "caption"
    planted[:, told] = zscore(embedded @ tuning[told][:, :-2].T, axis=0)
    for category, projection in toward.items():
        inside = (truth["zone"] == category).to_numpy()
        along = planted[:, inside].T @ projection / len(projection)
        rest = zscore(planted[:, inside] - projection[:, None] * along, axis=0)
        planted[:, inside] = np.sqrt(1 - OF_CATEGORY) * rest + np.sqrt(OF_CATEGORY) * projection[:, None]
    return planted


def _receptive_fields(vertices: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Weights of Gabor energies for early vertices, shape (feature, vertex)."""
    left = vertices < 10_242
    places = np.concatenate([cortex.mesh(hemisphere).vertices for hemisphere in cortex.HEMISPHERES])[vertices]
    eccentricity, height = pd.DataFrame(places[:, 1:]).groupby(left).rank(pct=True).to_numpy().T
    column = GRID / 2 + np.where(left, 1, -1) * eccentricity * GRID / 2 - 0.5
    row = height * GRID - 0.5  # dorsal cortex sees the lower field, and rows are counted from above
    cells = np.arange(GRID)
    across = np.exp(-0.5 * (cells[:, None] - column) ** 2)
    down = np.exp(-0.5 * (cells[:, None] - row) ** 2)
    preferred = np.arctan2(phase[:, 1], phase[:, 0]) / 2
    angles = np.arange(N_ORIENTATIONS) * np.pi / N_ORIENTATIONS
    turned = np.exp(2 * (np.cos(2 * (angles[:, None] - preferred)) - 1))
    scales = np.arange(N_SCALES)[:, None] == np.minimum((eccentricity * N_SCALES).astype(int), N_SCALES - 1)
    weights = np.einsum("sv,ov,rv,cv->sorcv", scales.astype(float), turned, down, across)
    return weights.reshape(-1, len(vertices)).astype("float32")
