"""The RSA searchlight: which models match the responses around each place of the brain.

Around each centre lies a neighbourhood, a sphere of voxels or a disc of the surface. Its RDM over images is compared
with those of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
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
from scipy.stats import rankdata
from threadpoolctl import ThreadpoolController

from brainalign import cortex, stats
from brainalign.cortex import Mesh
from brainalign.datasets import Viewing
from brainalign.rsa.inference import ModelRDMs, batch_rdms, brain_rdms, check_batches, image_batches
from brainalign.rsa.rdms import _TIE, _comparable, compare_rdms, rdm

__all__ = ["Neighbours", "geodesic_discs", "group_map", "place_map", "rsa_map", "spheres"]

BLOCK = 2**20  # numbers of RDMs held at once by a worker: 8 MB, which stays in the processor's cache


class Neighbours(NamedTuple):
    """Neighbourhoods of a searchlight.

    Parameters
    ----------
    centres : int array of shape (centre,)
        The location that each is around.
    members : sparse array of shape (centre, location), int8
        1 where a location belongs to the neighbourhood.
    """

    centres: np.ndarray
    members: csr_array


def spheres(mask: ArrayLike, radius: float = 6, minimum: float = 0.5) -> Neighbours:
    """Spheres of voxels around the voxels of a mask.

    Parameters
    ----------
    mask : bool array of shape (x, y, z)
        The brain.
    radius : float
        In voxels. The sphere holds what is strictly closer to its centre.
    minimum : float
        Least share of the whole sphere, also of what would lie outside the volume, that must be in the mask.

    Returns
    -------
    Neighbours
        Locations are the voxels of the mask in the order of ``numpy.flatnonzero(mask)``, of which the sphere's others
        are left out. To see a map, fill ``volume.flat[numpy.flatnonzero(mask)[centres]]``.

    Raises
    ------
    ValueError
        A mask that is not three-dimensional or holds anything but truth values, a radius that reaches no neighbour, a
        minimum not within 0 to 1, or no sphere that is full enough.

    References
    ----------
    Kriegeskorte, Goebel & Bandettini (2006), PNAS 103. The rule and its defaults: Doerig et al. (2025), Nat. Mach.
    Intell. 7.
    """
    mask = np.asarray(mask)
    if mask.ndim != 3 or not np.isin(mask, (0, 1)).all():
        raise ValueError(f"mask must be a volume (x, y, z) of truth values, got {mask.dtype} of shape {mask.shape}.")
    if not radius > 1 or not 0 <= minimum <= 1:
        raise ValueError(f"radius must exceed 1 voxel and minimum lie within 0 to 1, got {radius!r} and {minimum!r}.")
    reach = int(np.ceil(radius)) - 1
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    offsets = offsets[(offsets**2).sum(1) < radius**2]
    padded = np.pad(mask.astype(bool), reach)
    number = np.full(padded.shape, -1, dtype=np.int32)
    number[padded] = np.arange(padded.sum())
    places = np.flatnonzero(padded)
    steps = offsets @ [padded.shape[1] * padded.shape[2], padded.shape[2], 1]
    number, centres, parts = number.ravel(), [], []
    for start in range(0, len(places), 4096):  # bounds memory
        found = number[places[start : start + 4096, None] + steps]
        full = np.flatnonzero((found >= 0).mean(1) >= minimum)
        row, column = np.nonzero(found[full] >= 0)
        centres.append(start + full)
        parts.append(_rows(row, found[full][row, column], len(full), len(places)))
    return _neighbours(np.concatenate([[], *centres]), parts, f"radius={radius}, minimum={minimum}")


def geodesic_discs(
    meshes: Mesh | Sequence[Mesh], radius: float, minimum: float = 0.5, *, vertices: ArrayLike | None = None
) -> Neighbours:
    """Discs of a surface around its vertices.

    Parameters
    ----------
    meshes : Mesh or sequence of Mesh
        See `cortex.mesh`. Of several meshes, such as both hemispheres, the vertices count on; no disc crosses over.
    radius : float
        In mm along the surface. The disc holds what is strictly closer to its centre.
    minimum : float
        Least share of the disc's vertices that must be among `vertices`.
    vertices : int array of shape (location,), optional
        The vertices that have responses, such as those off the medial wall, in the order of the responses. All unless
        given. Only they are centres.

    Returns
    -------
    Neighbours
        Locations are places in `vertices`.

    Raises
    ------
    ValueError
        Vertices that are not there or named twice, a radius that is not positive, a minimum not within 0 to 1, or no
        disc of more than one vertex that is full enough.

    Notes
    -----
    Distances are shortest paths (Dijkstra) along the edges of the mesh and across each pair of neighbouring triangles,
    laid flat. They are never shorter than the exact ones of `cortex.geodesic_distance`, which take too long for every
    vertex; within 20 mm on fsaverage5 they exceed them by 2 % on average, for 95 % of vertices by less than 8 %.
    """
    meshes = [meshes] if isinstance(meshes, Mesh) else list(meshes)
    ends = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    vertices = np.arange(ends[-1]) if vertices is None else np.asarray(vertices)
    if vertices.ndim != 1 or not vertices.size or vertices.dtype.kind not in "iu" or len(set(vertices)) < len(vertices):
        raise ValueError("vertices must be a list of different vertex numbers.")
    if vertices.min() < 0 or vertices.max() >= ends[-1]:
        raise ValueError(
            f"vertices: expected numbers from 0 to {ends[-1] - 1}, got {vertices.min()} to {vertices.max()}; are they "
            "of another surface?"
        )
    if not radius > 0 or not 0 <= minimum <= 1:
        raise ValueError(f"radius must be positive and minimum lie within 0 to 1, got {radius!r} and {minimum!r}.")
    location = np.full(ends[-1], -1)
    location[vertices] = np.arange(len(vertices))
    centres, parts = [], []
    for first, mesh in zip(ends, meshes, strict=False):
        graph, here = _graph(mesh), location[first : first + len(mesh.vertices)]
        sources = np.flatnonzero(here >= 0)
        for some in np.array_split(sources, -(-len(sources) * len(here) // 2**23) or 1):  # bounds memory
            distance = dijkstra(graph, directed=False, indices=some, limit=radius)
            inside = distance < radius
            known = inside & (here >= 0)
            full = np.flatnonzero((known.sum(1) >= minimum * inside.sum(1)) & (known.sum(1) > 1))
            row, column = np.nonzero(known[full])
            centres.append(here[some[full]])
            parts.append(_rows(row, here[column], len(full), len(vertices)))
    found = _neighbours(np.concatenate([[], *centres]), parts, f"radius={radius}, minimum={minimum}")
    order = np.argsort(found.centres)
    return Neighbours(found.centres[order], found.members[order])


def rsa_map(
    responses: ArrayLike,
    model_rdms: ModelRDMs,
    neighbours: Neighbours,
    *,
    batches: ArrayLike | None = None,
    method: str = "pearson",
    n_jobs: int | None = None,
) -> xr.DataArray:
    """Compare the RDM of every neighbourhood with those of models.

    Neighbourhoods have RDMs of correlation distances; scores are the mean over batches.

    Parameters
    ----------
    responses : array of shape (image, location)
        Of one brain; may be memory-mapped, one batch is read at a time.
    model_rdms, batches
        As in `rsa.batch_rdms`. More models cost little.
    neighbours : Neighbours
        From `spheres` or `geodesic_discs`.
    method : {"pearson", "spearman"}
        See `rsa.compare_rdms`. Ranking the RDM of every neighbourhood makes "spearman" several times slower.
    n_jobs : int, optional
        Threads; as `joblib.parallel_config` says unless given, which may also name processes or a cluster.

    Returns
    -------
    DataArray of shape (model, centre)
        The coordinate `centre` holds locations, or what `responses` as a DataArray calls them.

    Raises
    ------
    ValueError
        Non-finite responses, neighbourhoods of other locations or of fewer than two of them, an image or an RDM that is
        flat in a neighbourhood, another method, or as in `rsa.batch_rdms`.

    Notes
    -----
    An RDM of correlation distances comes from sums over the neighbourhood of the products of all pairs of images.
    Neighbours in space share most of their members, so where that is less work the sums of the last centre are
    corrected by what came and what went. Sums start anew with each block of centres and, where little variance is left
    of much, are made from scratch, so rounding stays small.

    Memory beyond the responses is a batch of them, the neighbourhoods and some tens of MB a worker.
    """
    values = np.asarray(responses)  # of a memory-mapped file still a view
    if values.ndim != 2:
        raise ValueError(f"responses must have shape (image, location), got {values.shape}.")
    if method not in ("pearson", "spearman"):
        raise ValueError(f"method must be 'pearson' or 'spearman', got {method!r}.")
    centres, members = neighbours
    if members.shape != (len(centres), values.shape[1]):
        raise ValueError(
            f"neighbours must be of the {values.shape[1]} locations of responses, got {members.shape[1]} locations and "
            f"{members.shape[0]} neighbourhoods for {len(centres)} centres."
        )
    if members.dtype != np.int8 or (members.data != 1).any() or not members.has_canonical_format:
        raise ValueError(
            "neighbours: members must be an int8 csr_array that holds 1 for each member, once and in order."
        )
    few = np.flatnonzero(np.diff(members.indptr) < 2)
    if len(few):
        raise ValueError(f"neighbours: {len(few)} hold fewer than 2 locations, around {centres[few[:5]].tolist()}.")
    models = batch_rdms(model_rdms, len(values), batches)
    batches = check_batches(batches, len(values))
    step = max(1, BLOCK // models.sizes["pair"])
    blocks = [slice(start, start + step) for start in range(0, len(centres), step)]
    total = np.zeros((models.sizes["model"], len(centres)))
    # The products are too small to share among threads, which would wait for each other most of the time.
    with _libraries().limit(limits=1, user_api="blas"):
        for k, batch in enumerate(batches):
            patterns = _patterns(values[batch])
            # Of an image's variance over the brain; of less, left over from large products, too much would be rounding.
            least = 1e-3 * patterns[:, 1:].var(0)
            # Correlations, not distances, of the brain are compared with them, hence the sign.
            weights = -_comparable(models.values[:, k], method, "model_rdms")
            scores = Parallel(n_jobs=n_jobs, prefer="threads")(
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
    data: Viewing,
    model_rdms: ModelRDMs,
    *,
    radius: float = 10.0,
    batch_size: int = 100,
    n_batches: int = 3,
    method: str = "pearson",
    seed: int = 0,
) -> xr.DataArray:
    """Scores of models at the places of a data set, in every person: discs of the cortex or, elsewhere, regions.

    Parameters
    ----------
    data : Viewing
    model_rdms : mapping of str to array of shape (pair,)
        Over ``data.test_images``.
    radius : float
        Of the discs around the vertices that everybody has, where these lie on fsaverage5 (mm).
    batch_size, n_batches : int
        Images that are compared with each other at once, and batches of them, at most; for discs, which are many.
        Regions are scored over all pairs.
    method : {"pearson", "spearman"}
    seed : int
        Of the batches.

    Returns
    -------
    DataArray of shape (subject, model, centre)
        The coordinate `centre` holds numbers of vertices or names of regions.
    """
    if data.responses is None or data.space != "fsaverage5":
        brains = brain_rdms(data).rename(region="centre")
        models = batch_rdms(model_rdms, len(data.test_images))[:, 0]
        return xr.DataArray(compare_rdms(brains, models, method)).transpose("subject", "model", "centre")
    vertices = reduce(np.intersect1d, [array["vertex"].values for array in data.responses.values()])
    discs = geodesic_discs([cortex.mesh(side) for side in cortex.HEMISPHERES], radius, vertices=vertices)
    n_test = len(data.test_images)
    batches = image_batches(n_test, min(batch_size, n_test), seed)[:n_batches]
    maps = []
    for person in data.subjects:
        responses = data.mean_responses(person, data.test_images).sel(vertex=vertices)
        maps.append(rsa_map(responses, model_rdms, discs, batches=batches, method=method))
    return xr.concat(maps, pd.Index(data.subjects, name="subject"))


def group_map(maps: xr.DataArray, q: float = 0.05) -> xr.Dataset:
    """Test maps over subjects at each place, two-tailed, and control the false discovery rate over places.

    Parameters
    ----------
    maps : DataArray of shape (subject, ..., centre)
        Of the same places in all subjects. To compare two models, pass the difference of their maps.
    q : float
        False discovery rate that is tolerated in each map, that is for each model by itself.

    Returns
    -------
    Dataset of shape (..., centre)
        ``mean``, Student's ``t`` against 0, ``p``, ``p_fdr`` (adjusted p) and ``rejected``.

    Raises
    ------
    ValueError
        Dimensions without subject or centre, fewer than two subjects, non-finite values or places that are the same in
        all subjects.

    References
    ----------
    Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57; used so by Doerig et al. (2025), Nat. Mach. Intell. 7.
    """
    if not isinstance(maps, xr.DataArray) or not {"subject", "centre"} <= set(maps.dims):
        raise ValueError(
            f"maps must be a DataArray (subject, ..., centre), got {getattr(maps, 'dims', type(maps).__name__)}."
        )
    maps = maps.transpose("subject", ..., "centre")
    t, p = stats.one_sample_t(maps.to_numpy().astype(float))
    rejected, adjusted = np.empty(p.shape, dtype=bool), np.empty(p.shape)
    for place in np.ndindex(p.shape[:-1]):
        rejected[place], adjusted[place] = stats.fdr(p[place], q)
    mean = maps.mean("subject")
    return xr.Dataset(
        {
            "mean": mean,
            "t": mean.copy(data=t),
            "p": mean.copy(data=p),
            "p_fdr": mean.copy(data=adjusted),
            "rejected": mean.copy(data=rejected),
        }
    )


# -------------------------------------------------------------------------------------------------------------- scores


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all that is loaded, so once is enough


def _patterns(responses: np.ndarray) -> np.ndarray:
    """One batch's responses of shape (location, 1 + image), around 0, the first column of ones.

    With the ones, sums and numbers of locations come along with the products.
    """
    values = np.ones((responses.shape[1], len(responses) + 1))
    values[:, 1:] = responses.T
    if not np.isfinite(values).all():
        raise ValueError(f"responses: {(~np.isfinite(values)).sum()} non-finite values; leave those locations out.")
    # Correlations over locations do not change; products round less.
    values[:, 1:] -= values[:, 1:].mean(0)
    return values


def _block_scores(
    patterns: np.ndarray, least: np.ndarray, members: csr_array, weights: np.ndarray, method: str, centres: np.ndarray
) -> np.ndarray:
    """Scores of shape (model, centre) of one block."""
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
            f"responses around location(s) {centres[flat][:5].tolist()}: all images are equally far apart; where "
            "locations have baselines far above their responses, z-score each location over images."
        )
    full = np.zeros((len(weights), found.shape[1]))
    full[:, pairs] = weights
    return full @ found.T / length


def _add_products(inner: np.ndarray, part: np.ndarray, sign: float) -> None:
    """Add the products of all pairs of images, summed over the locations of a part, to the upper triangle of `inner`.

    A symmetric update (BLAS syrk) does half the work of a matrix product, and does it in place.
    """
    if len(part):
        dsyrk(sign, part.T, 1.0, inner.T, lower=1, overwrite_c=1)


def _row(matrix: csr_array, k: int) -> np.ndarray:
    return matrix.indices[matrix.indptr[k] : matrix.indptr[k + 1]]


# ------------------------------------------------------------------------------------------------------ neighbourhoods


def _rows(row: np.ndarray, column: np.ndarray, n_rows: int, n_columns: int) -> csr_array:
    ones = np.ones(len(row), dtype=np.int8)
    found = csr_array((ones, (row.astype(np.int32), column.astype(np.int32))), shape=(n_rows, n_columns))
    found.sort_indices()
    return found


def _neighbours(centres: np.ndarray, parts: list[csr_array], asked: str) -> Neighbours:
    if not len(centres):
        raise ValueError(f"no neighbourhood is full enough with {asked}; enlarge the mask or lower the minimum.")
    return Neighbours(centres.astype(int), csr_array(vstack(parts, format="csr")))


def _graph(mesh: Mesh) -> csr_array:
    """Lengths of the edges, and of the straight lines across two neighbouring triangles laid flat (mm)."""
    vertices, faces = np.asarray(mesh.vertices, dtype=float), np.asarray(mesh.faces)
    # Each edge (a, b) beside the corner c that its triangle has opposite.
    a, b, c = np.concatenate([faces, faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]]).T
    a, b = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((b, a))
    a, b, c = a[order], b[order], c[order]
    twins = np.flatnonzero((a[1:] == a[:-1]) & (b[1:] == b[:-1]))
    base = vertices[b] - vertices[a]
    length = np.linalg.norm(base, axis=1)
    along = ((vertices[c] - vertices[a]) * base).sum(1) / length
    height = np.sqrt(np.maximum(((vertices[c] - vertices[a]) ** 2).sum(1) - along**2, 0))
    # Laid flat, the corners lie on both sides of the edge; the line between them has to cross it.
    h1, h2 = height[twins], height[twins + 1]
    crossing = (along[twins] * h2 + along[twins + 1] * h1) / np.maximum(h1 + h2, np.finfo(float).tiny)
    crosses = (crossing > 0) & (crossing < length[twins])
    across = np.hypot(along[twins] - along[twins + 1], h1 + h2)
    keep = np.append(True, (a[1:] != a[:-1]) | (b[1:] != b[:-1]))
    ends = np.sort(np.c_[np.r_[a[keep], c[twins][crosses]], np.r_[b[keep], c[twins + 1][crosses]]], axis=1)
    lengths = np.r_[length[keep], across[crosses]]
    # Where several lines join two vertices, the shortest counts (a sparse array would add them up).
    order = np.lexsort((lengths, *ends.T))
    ends, lengths = ends[order], lengths[order]
    first = np.append(True, (ends[1:] != ends[:-1]).any(1))
    return coo_array((lengths[first], tuple(ends[first].T)), shape=(len(vertices),) * 2).tocsr()
