"""The RSA searchlight: which models match the responses around each place of the brain.

Around each centre lies a neighbourhood, a sphere of voxels or a disc of the surface. Its RDM over images is compared
with those of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy.linalg.blas import dspr, dsyrk
from scipy.linalg.lapack import dtrttp
from scipy.sparse import coo_array, csr_array, vstack
from scipy.sparse.csgraph import dijkstra
from scipy.stats import false_discovery_control, rankdata
from sklearn.neighbors import NearestNeighbors

from brainalign import cortex, stats
from brainalign._checks import finite, listed, shaped, within
from brainalign.cortex import Mesh
from brainalign.datasets import Viewing
from brainalign.rsa.cka import _blas
from brainalign.rsa.inference import ModelRDMs, _check_batches, _with_dims, batch_rdms, brain_rdms, image_batches
from brainalign.rsa.rdms import _TIE, _comparable, compare_rdms, rdm

BLOCK = 2**20  # numbers of RDMs held at once by a worker: 8 MB, which stays in the processor's cache


class Neighbours(NamedTuple):
    """Neighbourhoods of a searchlight: the location that each is around, and 1 (int8) for each that belongs to it."""

    centres: np.ndarray  # (centre,)
    members: csr_array  # (centre, location)


def spheres(mask: ArrayLike, radius: float = 6, minimum: float = 0.5) -> Neighbours:
    """Spheres of voxels around the voxels of a mask (x, y, z), by the rule of Doerig et al. (2025).

    A sphere holds what is strictly closer to its centre than `radius` (voxels, above 1); at least a share `minimum` of
    the whole sphere, also of what would lie outside the volume, must be in the mask. Locations are the voxels of the
    mask: to see a map, fill ``volume.flat[numpy.flatnonzero(mask)[centres]]``.
    """
    voxels = np.argwhere(shaped("mask", mask, "x", "y", "z"))
    if not len(voxels) or not np.isin(mask, (0, 1)).all():
        raise ValueError("mask: expected truth values, some of them true.")
    near = NearestNeighbors(radius=np.nextafter(within("radius", radius, 1, np.inf), 0)).fit(voxels)
    step = np.arange(-int(radius), int(radius) + 1) ** 2
    whole = (step[:, None, None] + step[:, None] + step < radius**2).sum()
    centres, parts = [], []
    for start in range(0, len(voxels), 4096):  # bounds memory
        graph = csr_array(near.radius_neighbors_graph(voxels[start : start + 4096]), dtype=np.int8)
        full = np.flatnonzero(np.diff(graph.indptr) >= minimum * whole)
        centres.append(start + full)
        parts.append(graph[full])
    return _neighbours(centres, parts, f"radius={radius}, minimum={minimum}")


def geodesic_discs(
    meshes: Mesh | Sequence[Mesh], radius: float, minimum: float = 0.5, *, vertices: ArrayLike | None = None
) -> Neighbours:
    """Discs of a surface around its vertices, of what is strictly closer to each than `radius` (mm along the surface).

    Distances are shortest paths (Dijkstra) along the edges of the mesh and across each pair of neighbouring triangles,
    laid flat. Within 20 mm on fsaverage5 they exceed the exact ones of `cortex.geodesic_distance`, which take too long
    for every vertex, by 2 % on average, for 95 % of vertices by less than 8 %.

    Of several `meshes`, such as both hemispheres (`cortex.mesh`), the vertices count on; no disc crosses over. Only the
    `vertices` that have responses, numbered in the order of the responses, are centres and members; all unless given.
    At least a share `minimum` of a disc's vertices must be among them. Locations are places in `vertices`.
    """
    meshes = [meshes] if isinstance(meshes, Mesh) else list(meshes)
    ends = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    vertices = np.arange(ends[-1]) if vertices is None else shaped("vertices", vertices, "location")
    if len(np.unique(vertices)) < len(vertices) or not np.isin(vertices, np.arange(ends[-1])).all():
        raise ValueError(f"vertices: expected different numbers from 0 to {ends[-1] - 1}; are they of another surface?")
    within("radius", radius, 0, np.inf)
    centres, parts = [], []
    for first, end, mesh in zip(ends, ends[1:], meshes, strict=False):
        here = np.flatnonzero((vertices >= first) & (vertices < end))
        own, graph = vertices[here] - first, _graph(mesh)
        for some in np.array_split(np.arange(len(here)), -(-len(here) * (end - first) // 2**23) or 1):  # bounds memory
            inside = dijkstra(graph, directed=False, indices=own[some], limit=radius) < radius
            known = inside[:, own]
            full = np.flatnonzero((known.sum(1) >= minimum * inside.sum(1)) & (known.sum(1) > 1))
            row, column = np.nonzero(known[full])
            ones = np.ones(len(row), dtype=np.int8)
            parts.append(csr_array((ones, (row, here[column])), shape=(len(full), len(vertices))))
            centres.append(here[some[full]])
    return _neighbours(centres, parts, f"radius={radius}, minimum={minimum}")


def rsa_map(
    responses: ArrayLike,
    model_rdms: ModelRDMs,
    neighbours: Neighbours,
    *,
    batches: ArrayLike | None = None,
    method: str = "pearson",
) -> xr.DataArray:
    """Compare the RDM of every neighbourhood with those of models.

    Neighbourhoods have RDMs of correlation distances; scores are the mean over batches. Blocks of centres run in
    threads as `joblib.parallel_config` says, each in some tens of MB.

    Parameters
    ----------
    responses : array of shape (image, location)
        Of one brain; may be memory-mapped, one batch is read at a time.
    model_rdms, batches
        As in `rsa.batch_rdms`. More models cost little.
    neighbours : Neighbours
        From `spheres` or `geodesic_discs`.
    method : {"pearson", "spearman"}
        Ranking the RDM of every neighbourhood makes "spearman" several times slower.

    Returns
    -------
    DataArray of shape (model, centre)
        The coordinate `centre` holds locations, or what `responses` as a DataArray calls them.

    Raises
    ------
    ValueError
        Neighbourhoods of other locations or of fewer than two, an image or an RDM that is flat in one.
    """
    values = shaped("responses", responses, "image", "location")  # of a memory-mapped file still a view
    centres, members = neighbours
    if members.shape != (len(centres), values.shape[1]):
        wanted = (len(centres), values.shape[1])
        raise ValueError(f"neighbours.members: expected shape {wanted}, as of responses, got {members.shape}.")
    if members.dtype != np.int8 or (members.data != 1).any() or not members.has_canonical_format:
        raise ValueError("neighbours.members: expected an int8 csr_array of 1 for each member, once and in order.")
    if len(few := np.flatnonzero(np.diff(members.indptr) < 2)):
        raise ValueError(f"neighbours: {len(few)} hold fewer than 2 locations, around {listed(centres[few])}.")
    models = batch_rdms(model_rdms, len(values), batches)
    batches = _check_batches(batches, len(values))
    step = max(1, BLOCK // models.sizes["pair"])
    blocks = [slice(start, start + step) for start in range(0, len(centres), step)]
    total = np.zeros((models.sizes["model"], len(centres)))
    # The products are too small to share among threads, which would wait for each other most of the time.
    with _blas().limit(limits=1, user_api="blas"):
        for k, batch in enumerate(batches):
            patterns = _patterns(values[batch])
            # Of an image's variance over the brain; of less, left over from large products, too much would be rounding.
            least = 1e-3 * patterns[:, 1:].var(0)
            # Correlations, not distances, of the brain are compared with them, hence the sign.
            weights = -_comparable(models.values[:, k], method, "model_rdms")
            scores = Parallel(prefer="threads")(
                delayed(_block_scores)(patterns, least, members[block], weights, method, centres[block])
                for block in blocks
            )
            total += np.concatenate(scores, axis=1)
    centre = centres
    if isinstance(responses, xr.DataArray) and responses.dims[1] in responses.coords:
        centre = responses[responses.dims[1]].values[centres]
    total = np.clip(total / len(batches), -1, 1)
    return xr.DataArray(total, {"model": models["model"].values, "centre": centre}, ("model", "centre"))


def place_map(
    data: Viewing, model_rdms: ModelRDMs, *, radius: float = 10.0, method: str = "pearson", seed: int = 0
) -> xr.DataArray:
    """Scores (subject, model, centre) of models at the places of a data set: discs of the cortex, elsewhere regions.

    Models are RDMs over ``data.test_images``. On fsaverage5 centres are the vertices that everybody has, with discs of
    `radius` (mm) scored over three batches of 100 images at most, drawn by `seed`; elsewhere the names of regions.
    """
    n_test = len(data.test_images)
    if data.responses is None or data.space != "fsaverage5":
        brains = brain_rdms(data).rename(region="centre")
        models = batch_rdms(model_rdms, n_test)[:, 0]
        return xr.DataArray(compare_rdms(brains, models, method)).transpose("subject", "model", "centre")
    vertices = reduce(np.intersect1d, [array["vertex"].values for array in data.responses.values()])
    discs = geodesic_discs([cortex.mesh(side) for side in cortex.HEMISPHERES], radius, vertices=vertices)
    batches = image_batches(n_test, min(100, n_test), seed)[:3]
    seen = (data.mean_responses(subject, data.test_images).sel(vertex=vertices) for subject in data.subjects)
    maps = [rsa_map(responses, model_rdms, discs, batches=batches, method=method) for responses in seen]
    return xr.concat(maps, pd.Index(data.subjects, name="subject"))


def group_map(maps: xr.DataArray, q: float = 0.05) -> xr.Dataset:
    """Test maps (subject, ..., centre) over subjects at each place, two-tailed; of two models pass the difference.

    A Dataset (..., centre) of the ``mean``, Student's ``t`` against 0, ``p``, ``p_fdr`` (adjusted p) and ``rejected``,
    at a false discovery rate of `q` over the places of each map, that is for each model by itself.
    """
    maps = _with_dims("maps", maps, "subject", "centre").transpose("subject", ..., "centre")
    t, p = stats.one_sample_t(maps.to_numpy().astype(float))
    adjusted, mean = false_discovery_control(p, axis=-1), maps.mean("subject")
    found = {"t": t, "p": p, "p_fdr": adjusted, "rejected": adjusted <= within("q", q)}
    return xr.Dataset({"mean": mean} | {name: mean.copy(data=values) for name, values in found.items()})


def _patterns(responses: np.ndarray) -> np.ndarray:
    """One batch's responses (location, 1 + image), around 0, behind ones, with which sums come along with products."""
    values = np.ones((responses.shape[1], len(responses) + 1))
    values[:, 1:] = finite("responses", responses).T
    # Correlations over locations do not change; products round less.
    values[:, 1:] -= values[:, 1:].mean(0)
    return values


def _block_scores(
    patterns: np.ndarray, least: np.ndarray, members: csr_array, weights: np.ndarray, method: str, centres: np.ndarray
) -> np.ndarray:
    """Scores of shape (model, centre) of one block.

    An RDM of correlations comes from sums over the neighbourhood of the products of all pairs of images. Where that is
    less work, the sums of the last centre are corrected by what came and what went. They start anew with each block
    and, where little variance is left of much, are made from scratch, so rounding stays small.
    """
    n = len(least)
    # Pairs are packed: the upper triangle row by row with its diagonal, which is kept at 0.
    diagonal = np.r_[0, np.cumsum(np.arange(n, 1, -1))]
    pairs = np.delete(np.arange(n * (n + 1) // 2), diagonal)
    found = np.zeros((len(centres), n * (n + 1) // 2))
    changes = members[1:] - members[:-1]
    came, went = (changes > 0).tocsr(), (changes < 0).tocsr()
    sizes, n_changes = np.diff(members.indptr), np.append(members.indptr[1], np.diff(changes.indptr))
    inner = np.zeros((n + 1, n + 1))
    for k, size in enumerate(sizes):
        if n_changes[k] < size:
            _add_products(inner, patterns.take(_row(came, k - 1), 0), 1)
            _add_products(inner, patterns.take(_row(went, k - 1), 0), -1)
        else:
            inner[:] = 0
            _add_products(inner, patterns.take(_row(members, k), 0), 1)
        packed, _ = dtrttp(inner.T, uplo="L")
        # takes the means over locations out
        products = dspr(n, -1 / size, packed[1 : n + 1], packed[n + 1 :], lower=1, overwrite_ap=1)
        squares = products[diagonal]
        if (squares > least * size).all():
            found[k] = dspr(n, 1.0, 1 / np.sqrt(squares), found[k], lower=1, overwrite_ap=1)
            found[k] *= products
        else:
            try:
                found[k, pairs] = 1 - rdm(patterns[_row(members, k), 1:].T)
            except ValueError as error:
                raise ValueError(f"responses around location {centres[k]}: {error}") from error
    if method == "spearman":
        # Smaller differences are rounding, as in `rsa.compare_rdms`.
        found[:, pairs] = rankdata(np.round(found[:, pairs] / _TIE), axis=1)
    found[:, diagonal] = 0
    found -= found.sum(1, keepdims=True) / len(pairs)
    found[:, diagonal] = 0
    length = np.sqrt(np.einsum("ij,ij->i", found, found))
    flat = length <= 1e-8 * np.sqrt(len(pairs))
    if flat.any():
        raise ValueError(
            f"responses around location(s) {listed(centres[flat])}: all images are equally far apart; where locations "
            "have baselines far above their responses, z-score each location over images."
        )
    full = np.zeros((len(weights), found.shape[1]))
    full[:, pairs] = weights
    return full @ found.T / length


def _add_products(inner: np.ndarray, part: np.ndarray, sign: float) -> None:
    """Add the products of all pairs of images, summed over a part's locations, to the upper triangle, in place."""
    if len(part):
        dsyrk(sign, part.T, 1.0, inner.T, lower=1, overwrite_c=1)


def _row(matrix: csr_array, k: int) -> np.ndarray:
    return matrix.indices[matrix.indptr[k] : matrix.indptr[k + 1]]


def _neighbours(centres: list[np.ndarray], parts: list[csr_array], asked: str) -> Neighbours:
    """Neighbourhoods in the order of their centres."""
    numbers = np.concatenate(centres)
    if not len(numbers):
        raise ValueError(f"no neighbourhood is full enough with {asked}; enlarge the mask or lower the minimum.")
    order = np.argsort(numbers)
    members = csr_array(vstack(parts, format="csr"))[order]
    members.sort_indices()
    return Neighbours(numbers[order], members)


def _graph(mesh: Mesh) -> csr_array:
    """Lengths of the edges, and of the straight lines across two neighbouring triangles laid flat (mm)."""
    vertices, faces = np.asarray(mesh.vertices, dtype=float), np.asarray(mesh.faces)
    # Each edge (a, b) beside the corner c that its triangle has opposite.
    a, b, c = np.concatenate([faces, faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]]).T
    a, b = np.minimum(a, b), np.maximum(a, b)
    base, side = vertices[b] - vertices[a], vertices[c] - vertices[a]
    length = np.linalg.norm(base, axis=1)
    along = (side * base).sum(1) / length
    height = np.sqrt(np.maximum((side**2).sum(1) - along**2, 0))
    edges = pd.DataFrame({"a": a, "b": b, "c": c, "length": length, "along": along, "height": height})
    # Laid flat, the corners lie on both sides of the edge; the line between them has to cross it.
    twins = edges.merge(edges.drop(columns="length"), on=["a", "b"], suffixes=("", "2")).query("c < c2")
    total = np.maximum(twins["height"] + twins["height2"], np.finfo(float).tiny)
    crossing = (twins["along"] * twins["height2"] + twins["along2"] * twins["height"]) / total
    lines = twins[["c", "c2"]].set_axis(["a", "b"], axis=1)
    lines["length"] = np.hypot(twins["along"] - twins["along2"], total)
    lines = lines[(crossing > 0) & (crossing < twins["length"])]
    # Where several lines join two vertices, the shortest counts (a sparse array would add them up).
    shortest = pd.concat([edges[["a", "b", "length"]], lines]).groupby(["a", "b"], as_index=False).min()
    ends = (shortest["a"].to_numpy(), shortest["b"].to_numpy())
    return coo_array((shortest["length"].to_numpy(), ends), shape=(len(vertices),) * 2).tocsr()
