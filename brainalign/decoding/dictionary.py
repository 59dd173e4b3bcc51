"""A dictionary of captions with their embeddings, in which the closest ones to a query are found."""

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

from brainalign._checks import alike, finite, listed, one_of, shaped, torch_device, whole
from brainalign.decoding.identification import _unit
from brainalign.features.captions import embed

METRICS = ("correlation", "cosine")

_PART = 8192  # captions of a file that are embedded and stored together
_ROWS = 8192  # captions that are compared at once
_QUERIES = 4096  # queries that are compared at once


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
        Kept as float16, which costs about 0.0003 of a similarity. The attribute ``model`` names what made them.
    """

    def __init__(self, captions: Sequence[str], embeddings: ArrayLike) -> None:
        captions = list(captions)  # by place, whatever labels a Series has
        strange = [caption for caption in captions if not isinstance(caption, str)]
        if strange or not captions:
            raise ValueError(f"captions: expected texts, got {len(strange)} others of {len(captions)}: {strange[:1]}.")
        values = shaped("embeddings", embeddings, "caption", "dimension")
        alike(captions=captions, embeddings=values)
        self.captions: Sequence[str] = captions
        self.model = _model_of(embeddings)
        self.embeddings = _half(values)

    def __len__(self) -> int:
        return len(self.embeddings)

    def __repr__(self) -> str:
        made_by = f" of {self.model}" if self.model else ""
        return f"CaptionIndex({len(self):,} captions, {self.embeddings.shape[1]} dimensions{made_by})"

    def search(
        self, queries: ArrayLike, k: int = 10, *, metric: str = "correlation", centre: ArrayLike | None = None
    ) -> Matches:
        """Find the k captions closest to each query.

        All captions are compared, in single precision: what that rounds is little beside what float16 does.

        Parameters
        ----------
        queries : array or DataArray of shape (query, dimension)
            Not of another model than the captions' embeddings, if both name theirs.
        k : int
        metric : {"correlation", "cosine"}
            Over dimensions.
        centre : array of shape (dimension,), optional
            An embedding that is taken off queries and captions first, such as the mean over the training images.

        Returns
        -------
        Matches
            By falling similarity.
        """
        one_of("metric", metric, METRICS)
        k, size, made_by = whole("k", k, 1, len(self)), self.embeddings.shape[1], _model_of(queries)
        if made_by and self.model:  # embeddings of different models cannot be compared
            one_of("model of queries", made_by, [self.model])
        vectors = finite("queries", shaped("queries", queries, "query", size))
        centre = np.zeros(size) if centre is None else shaped("centre", centre, size)
        centre = finite("centre", centre)
        vectors = _unit("queries", vectors - centre, metric)
        found = [self._best(vectors[i : i + _QUERIES], k, metric, centre) for i in range(0, len(vectors), _QUERIES)]
        scores, indices = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Matches(indices, scores, [[self.captions[i] for i in row] for row in indices.tolist()])

    def _best(self, queries: np.ndarray, k: int, metric: str, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The k best of some queries (query, k), kept up to date while the dictionary passes by."""
        device = torch_device("auto")
        vectors, shift = (torch.tensor(part, dtype=torch.float32, device=device) for part in (queries, centre))
        scores, indices = vectors[:, :0], torch.empty((len(vectors), 0), dtype=torch.int64, device=device)
        for start in range(0, len(self), _ROWS):
            with warnings.catch_warnings():  # embeddings may be a read-only map, and nothing is written to it
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                rows = torch.from_numpy(self.embeddings[start : start + _ROWS])
            rows = rows.to(device).float() - shift
            here = vectors @ _unit("embeddings", rows, metric, first=start).T
            best = here.topk(min(k, len(rows)))
            scores, indices = torch.cat([scores, best.values], 1), torch.cat([indices, best.indices + start], 1)
            scores, order = scores.topk(min(k, scores.shape[1]))
            indices = indices.gather(1, order)
        return scores.cpu().numpy(), indices.cpu().numpy()

    @classmethod
    def read(cls, source: str | os.PathLike[str], model: str = "all-mpnet-base-v2", **options: Any) -> CaptionIndex:
        """A dictionary of all captions of a text file, which are embedded in parts and kept in the store.

        UTF-8, one caption a line, what follows a tab is ignored; so the files of Conceptual Captions (caption, tab,
        address) can be read as they come. Empty lines are left out, and of equal captions all but the first. An
        interrupted run loses a part at most (unless ``store=False``): call it again. In memory each caption takes two
        bytes a dimension, five gigabytes for the three million of Conceptual Captions, and twice that while parts are
        joined. The model and options (device, store) are those of `features.captions.embed`.
        """
        try:
            with Path(source).open(encoding="utf-8-sig", newline="\n") as file:
                lines = dict.fromkeys(" ".join(line.split("\t")[0].split()) for line in file)
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"source: expected a text file in UTF-8, one caption a line; {error}.") from error
        captions = [line for line in lines if line]
        if not captions:
            raise ValueError(f"source: {source} holds no caption; expected one a line.")
        parts = [_half(embed(captions[i : i + _PART], model, **options).values) for i in range(0, len(captions), _PART)]
        return cls(captions, xr.DataArray(np.concatenate(parts), attrs={"model": model}))


def _model_of(embeddings: Any) -> str:
    return embeddings.attrs.get("model", "") if isinstance(embeddings, xr.DataArray) else ""


def _half(values: np.ndarray) -> np.ndarray:
    """Embeddings as float16."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = values.astype(np.float16, copy=False)
        spread = half.max(1).astype(np.float32) - half.min(1)
    bad = np.flatnonzero(~(np.isfinite(spread) & (spread > 0)))
    if len(bad):
        raise ValueError(
            f"embeddings: expected finite numbers within float16 (65504), not all equal, but {len(bad)} rows are not "
            f"so: {listed(bad)}; leave these captions out."
        )
    return half
