"""A dictionary of captions with their embeddings, in which the closest ones to a query are found exactly."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from tqdm import tqdm

from brainalign._checks import torch_device
from brainalign.features.captions import embed

METRICS = ("correlation", "cosine")

_PART = 8192  # captions of a file that are embedded and stored together
_ROWS = 8192  # captions that are compared at once
_QUERIES = 4096  # queries that are compared at once
_PAIRS = 1024  # candidates whose similarity is computed in double precision at once


class Matches(NamedTuple):
    """The captions closest to each query: row numbers and similarities (query, k), and texts, best first."""

    indices: np.ndarray
    scores: np.ndarray
    captions: list[list[str]]


class CaptionIndex:
    """Captions and their embeddings.

    Parameters
    ----------
    captions : sequence of str
    embeddings : array or DataArray of shape (caption, dimension)
        Kept as float16, which costs about 0.0003 of a similarity.
    model : str, optional
        Name of the model that made the embeddings; default the DataArray's attribute of that name. Queries that name
        another model are refused.

    Raises
    ------
    ValueError
        No captions, as many embeddings as captions are not there, or embeddings that are not finite or beyond float16.
    """

    def __init__(self, captions: Sequence[str], embeddings: ArrayLike, *, model: str | None = None) -> None:
        if isinstance(captions, str) or not len(captions):
            raise ValueError(f"captions: expected a list of at least one sentence, got {captions!r}.")
        captions = list(captions)  # by place, whatever labels a Series has
        strange = [caption for caption in captions if not isinstance(caption, str)]
        if strange:
            raise ValueError(f"captions: expected texts, {len(strange)} are something else, first {strange[0]!r}.")
        if model is None:
            model = embeddings.attrs.get("model", "") if isinstance(embeddings, xr.DataArray) else ""
        values = np.asarray(embeddings)
        if values.ndim != 2 or len(values) != len(captions) or values.shape[1] < 2:
            raise ValueError(
                f"embeddings: expected one row of two dimensions or more for each of the {len(captions)} captions, got "
                f"shape {values.shape}."
            )
        self.captions: Sequence[str] = captions
        self.model = str(model)
        self.embeddings = _half(values, "embeddings")

    def __len__(self) -> int:
        return len(self.embeddings)

    def __repr__(self) -> str:
        made_by = f" of {self.model}" if self.model else ""
        return f"CaptionIndex({len(self):,} captions, {self.embeddings.shape[1]} dimensions{made_by})"

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        metric: str = "correlation",
        centre: ArrayLike | None = None,
        device: str = "auto",
        progress: bool = False,
    ) -> Matches:
        """Find the k captions closest to each query.

        Parameters
        ----------
        queries : array or DataArray of shape (query, dimension)
        k : int
        metric : {"correlation", "cosine"}
            Over dimensions.
        centre : array of shape (dimension,), optional
            An embedding that is taken off queries and captions first, such as the mean over the training images.
        device : {"auto", "cpu", "cuda"}
        progress : bool
            Show a progress bar.

        Returns
        -------
        Matches
            By falling similarity; of captions that are equally similar, the one that comes first in the dictionary.

        Raises
        ------
        ValueError
            Queries of another dimension or model, that are not finite or have no direction; an unknown metric; more
            neighbours than there are captions; a caption whose embedding has no direction.

        Notes
        -----
        Similarities are matrix products in single precision. Their error is below d + 16 units of rounding for d
        dimensions (Higham 2002, Accuracy and Stability of Numerical Algorithms, chapter 3), so every caption that could
        belong to the k best is computed again in double precision: the result is exact for the stored numbers.
        """
        vectors = self._check_queries(queries, k, metric)
        if centre is not None:
            centre = np.asarray(centre, dtype=np.float32).astype(np.float64)  # as it is in the products
            if centre.shape != vectors.shape[1:] or not np.isfinite(centre).all():
                raise ValueError(f"centre: expected {vectors.shape[1]} finite numbers, got shape {centre.shape}.")
        vectors = _unit(vectors, metric, centre, "queries")
        indices, scores = np.empty((len(vectors), k), dtype=np.int64), np.empty((len(vectors), k))
        for start in range(0, len(vectors), _QUERIES):
            part = slice(start, start + _QUERIES)
            search = _Search(self.embeddings, vectors[part], k, metric, centre, torch_device(device, double=True))
            indices[part], scores[part] = search.run(progress)
        return Matches(indices, scores, [[self.captions[i] for i in row] for row in indices.tolist()])

    def _check_queries(self, queries: ArrayLike, k: int, metric: str) -> np.ndarray:
        if metric not in METRICS:
            raise ValueError(f"metric: expected one of {METRICS}, got {metric!r}.")
        if int(k) != k or not 1 <= k <= len(self):
            raise ValueError(f"k: expected a number from 1 to the {len(self)} captions of this dictionary, got {k!r}.")
        made_by = queries.attrs.get("model", "") if isinstance(queries, xr.DataArray) else ""
        if made_by and self.model and made_by != self.model:
            raise ValueError(
                f"queries: embeddings of {made_by!r}, but this dictionary is of {self.model!r}, and embeddings of "
                "different models cannot be compared; build a dictionary with that model, or decode this one's."
            )
        values = np.asarray(queries, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.embeddings.shape[1]:
            raise ValueError(
                f"queries: expected shape (query, {self.embeddings.shape[1]}), the dimensions of this dictionary, got "
                f"{values.shape}; are they of another model?"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"queries: {int((~np.isfinite(values)).sum())} values are NaN or inf; leave them out.")
        return values

    @classmethod
    def read(
        cls, source: str | os.PathLike[str], model: str = "all-mpnet-base-v2", *, progress: bool = False, **options: Any
    ) -> CaptionIndex:
        """A dictionary of all captions of a text file, which are embedded in parts and kept in the store.

        An interrupted run loses a part at most (unless ``store=False``): call it again. In memory each caption takes
        two bytes a dimension, five gigabytes for the three million of Conceptual Captions, and twice that while parts
        are joined.

        Parameters
        ----------
        source : path
            UTF-8, one caption a line, what follows a tab is ignored; so the files of Conceptual Captions (caption, tab,
            address) can be read as they come. Empty lines are left out, and of equal captions all but the first.
        model : str
            Sentence model, see `features.captions.embed`.
        progress : bool
            Show a progress bar.
        **options
            Of `features.captions.embed`: device, batch_size, store.

        Returns
        -------
        CaptionIndex

        Raises
        ------
        ValueError
            If the source cannot be read or holds no caption.
        """
        captions = _read_captions(Path(source))
        starts = tqdm(range(0, len(captions), _PART), disable=not progress, desc="captions", unit_scale=_PART)
        parts = [_half(embed(captions[i : i + _PART], model, **options).values, "embeddings") for i in starts]
        return cls(captions, np.concatenate(parts), model=model)


class _Search:
    """The k best of some queries, kept up to date while the dictionary passes by."""

    def __init__(self, embeddings, queries: np.ndarray, k: int, metric: str, centre, device: torch.device) -> None:
        self.embeddings, self.queries, self.k = embeddings, queries, k
        self.metric, self.centre, self.device = metric, centre, device
        self.fast = torch.tensor(queries, dtype=torch.float32, device=device)
        self.shift = None if centre is None else torch.tensor(centre, dtype=torch.float32, device=device)
        self.scores = np.full((len(queries), k), -np.inf)
        self.indices = np.full((len(queries), k), len(embeddings))
        # the error of a product of single precision, of vectors of length 1 that were rounded themselves
        self.margin = (queries.shape[1] + 16) * torch.finfo(torch.float32).eps

    def run(self, progress: bool) -> tuple[np.ndarray, np.ndarray]:
        starts = range(0, len(self.embeddings), _ROWS)
        for start in tqdm(starts, disable=not progress, desc="captions", unit_scale=_ROWS):
            similar = self.fast @ self._directions(start).T
            # a candidate reaches what the k-th best has so far; before there are k of them, that of this block
            least = torch.tensor(self.scores[:, -1], dtype=torch.float32, device=self.device)
            if start < self.k <= similar.shape[1]:
                least = similar.topk(self.k).values[:, -1] - self.margin
            least = least - self.margin
            some = torch.nonzero(similar.amax(1) >= least)[:, 0]  # few queries have a candidate in a block
            if len(some):
                hits = torch.nonzero(similar[some] >= least[some, None])
                self._take(some[hits[:, 0]].cpu().numpy(), hits[:, 1].cpu().numpy() + start)
        return self.indices, self.scores

    def _directions(self, start: int) -> torch.Tensor:
        """A block of the dictionary in single precision, rows of length 1."""
        with warnings.catch_warnings():  # embeddings may be a read-only map, and nothing is written to it
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            rows = torch.from_numpy(self.embeddings[start : start + _ROWS])
        rows = rows.to(self.device).float()
        if self.shift is not None:
            rows -= self.shift
        if self.metric == "correlation":
            rows -= rows.mean(1, keepdim=True)
        length = rows.norm(dim=1, keepdim=True)
        if not bool(length.min() > 0):
            row = start + int(length.argmin())
            raise ValueError(f"embeddings: row {row} has no direction for the metric {self.metric!r}; leave it out.")
        return rows.div_(length)

    def _take(self, queries: np.ndarray, indices: np.ndarray) -> None:
        """Rank candidates, pairs of a query and a caption, among what was found so far."""
        scores = np.concatenate(
            [self._exact(queries[i : i + _PAIRS], indices[i : i + _PAIRS]) for i in range(0, len(queries), _PAIRS)]
        )
        touched = np.unique(queries)
        queries = np.concatenate([np.repeat(touched, self.k), queries])
        indices = np.concatenate([self.indices[touched].ravel(), indices])
        scores = np.concatenate([self.scores[touched].ravel(), scores])
        order = np.lexsort((indices, -scores, queries))
        first = np.searchsorted(queries[order], touched)
        best = order[first[:, None] + np.arange(self.k)]
        self.indices[touched], self.scores[touched] = indices[best], scores[best]

    def _exact(self, queries: np.ndarray, indices: np.ndarray) -> np.ndarray:
        rows = _unit(self.embeddings[indices].astype(np.float64), self.metric, self.centre, "embeddings", indices)
        return (rows * self.queries[queries]).sum(1)


def _unit(values: np.ndarray, metric: str, centre, name: str, labels: np.ndarray | None = None) -> np.ndarray:
    """Rows of length 1 (and for correlations, of mean 0), double precision."""
    if centre is not None:
        values = values - centre
    if metric == "correlation":
        values = values - values.mean(1, keepdims=True)
    length = np.sqrt((values * values).sum(1, keepdims=True))
    if not (length > 0).all():
        row = int(np.argmin(length)) if labels is None else int(labels[np.argmin(length)])
        raise ValueError(f"{name}: row {row} has no direction for the metric {metric!r}; leave it out.")
    return values / length


def _half(values: np.ndarray, name: str) -> np.ndarray:
    """Numbers as float16, if they are finite and not beyond it and every row has a direction."""
    if values.dtype.kind != "f":
        raise ValueError(f"{name}: expected floating-point numbers, got {values.dtype}.")
    with np.errstate(over="ignore"):
        half = values.astype(np.float16, copy=False)
    bad = ~np.isfinite(half).all(1)
    if bad.any():
        raise ValueError(
            f"{name}: {int(bad.sum())} rows hold NaN, inf or numbers beyond float16 (65504), the first is row "
            f"{int(np.argmax(bad))}; leave these captions out."
        )
    flat = half.min(1) == half.max(1)
    if flat.any():
        raise ValueError(f"{name}: row {int(np.argmax(flat))} has no direction: all its numbers are equal.")
    return half


def _read_captions(source: Path) -> list[str]:
    """Captions of a text file, each once."""
    if not source.is_file():
        raise ValueError(f"source: {source} is no file; expected a text file with one caption a line.")
    try:
        with source.open(encoding="utf-8-sig", newline="\n") as file:
            captions = dict.fromkeys(" ".join(line.split("\t")[0].split()) for line in file)
    except UnicodeDecodeError as error:
        raise ValueError(f"source: {source} is not UTF-8 text ({error}); convert it.") from error
    found = [caption for caption in captions if caption]
    if not found:
        raise ValueError(f"source: {source} holds no caption; expected one a line.")
    return found
