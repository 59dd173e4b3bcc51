"""A dictionary of captions with their embeddings, in which the closest ones to a query are found exactly.

A dictionary is a folder:

embeddings.npy
    float16, one row a caption; it is memory-mapped, so that millions of captions need no memory of their own.
captions.txt
    The captions, UTF-8, one a line.
lines.npy
    Where in captions.txt each caption begins, in bytes, and where the last one ends; uint64.
index.json
    Number of captions and of dimensions, the model, and the bytes and SHA-256 of the other three.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike
from tqdm import tqdm

from brainalign.crossvalidation import torch_device
from brainalign.features import captions as sentence

FORMAT = 1
METRICS = ("correlation", "cosine")

_ROWS = 8192  # captions that are compared at once
_QUERIES = 4096  # queries that are compared at once
_PAIRS = 8192  # candidates whose similarity is computed in double precision at once
_DATA, _TEXT, _LINES, _TABLE = "embeddings.npy", "captions.txt", "lines.npy", "index.json"


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
        if model is None:
            model = embeddings.attrs.get("model", "") if isinstance(embeddings, xr.DataArray) else ""
        values = np.asarray(embeddings)
        if values.ndim != 2 or len(values) != len(captions) or values.shape[1] < 2:
            raise ValueError(
                f"embeddings: expected one row of two dimensions or more for each of the {len(captions)} captions, got "
                f"shape {values.shape}."
            )
        self.captions, self.model = captions, str(model)
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
            search = _Search(self.embeddings, vectors[part], k, metric, centre, torch_device(device))
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

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the dictionary into a folder that is not there yet; it appears when it is whole.

        Raises
        ------
        ValueError
            If there is something at that place; nothing is overwritten.
        """
        folder = _free(folder)
        work = folder.with_name(f".{folder.name}.{os.getpid()}")
        work.mkdir(parents=True)
        try:
            _write_text(work, self.captions)
            np.save(work / _DATA, self.embeddings)
            _finish(work, folder, model=self.model, captions=len(self), dimensions=self.embeddings.shape[1])
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, model: str | None = None, verify: bool = True) -> CaptionIndex:
        """Open a dictionary; its embeddings stay on disk.

        Parameters
        ----------
        folder : path
        model : str, optional
            The model that the dictionary must be of.
        verify : bool
            Compare the SHA-256 of every file, which reads them once (some seconds for millions of captions). The size
            is compared in any case.

        Raises
        ------
        ValueError
            If the folder is no dictionary, a file of it was cut or changed, or it is of another model.
        """
        folder = Path(folder)
        try:
            table = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
            version, files, made_by = table["format"], table["files"], table["model"]
            shape = table["captions"], table["dimensions"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"folder: {folder} is no finished dictionary of captions ({type(error).__name__}: {error}); make one "
                "with CaptionIndex.build, which also goes on with one that was begun."
            ) from error
        if version != FORMAT:
            raise ValueError(f"folder: {folder} has format {version!r}, this version reads {FORMAT}; build it again.")
        if model is not None and made_by != model:
            raise ValueError(f"model: {folder} holds embeddings of {made_by!r}, not of {model!r}; build another one.")
        for name, (size, digest) in files.items():
            path = folder / name
            found = path.stat().st_size if path.is_file() else 0
            if found != size:
                raise ValueError(f"folder: {path} has {found} bytes, expected {size}; was it cut? Copy it again.")
            if verify and _sha256(path) != digest:
                raise ValueError(f"folder: {path} is damaged: its SHA-256 is not the recorded one. Copy it again.")
        index = cls.__new__(cls)
        index.captions, index.model = _Lines(folder), made_by
        index.embeddings = np.load(folder / _DATA, mmap_mode="r", allow_pickle=False)
        if index.embeddings.shape != tuple(shape) or index.embeddings.dtype != np.float16:
            raise ValueError(f"folder: {folder / _DATA} does not hold the float16 array of shape {tuple(shape)}.")
        return index

    @classmethod
    def build(
        cls,
        source: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        model: str = "all-mpnet-base-v2",
        *,
        shard: int = 8192,
        batch_size: int = 64,
        device: str = "auto",
        progress: bool = False,
    ) -> CaptionIndex:
        """Embed all captions of a text file, in shards, and open the result.

        What is finished stays when the process is killed, in a folder beside the final one that ends in ".partial":
        call it again with the same arguments to go on.

        Parameters
        ----------
        source : path
            UTF-8, one caption a line, what follows a tab is ignored; so the files of Conceptual Captions (caption, tab,
            address) can be read as they come. Empty lines are left out, and of equal captions all but the first.
        folder : path
            Where the dictionary is to be; not there yet.
        model : str
            Sentence model, see `features.captions.embed`.
        shard : int
            Captions that are embedded and kept together: what a kill can cost.
        batch_size, device
            As in `features.captions.embed`.
        progress : bool
            Show a progress bar.

        Raises
        ------
        ValueError
            If the source cannot be read or holds no caption, the folder is there already, or what was begun there is
            another dictionary or being built by another process.
        """
        source, folder = Path(source), _free(folder)
        if int(shard) != shard or shard < 1:
            raise ValueError(f"shard: expected a number of captions, 1 or more, got {shard!r}.")
        if not source.is_file():
            raise ValueError(f"source: {source} is no file; expected a text file with one caption a line.")
        encode, fingerprint = _sentence_encoder(model, device, batch_size)
        work = folder.with_name(f"{folder.name}.partial")
        job = {"format": FORMAT, "model": model, "weights": fingerprint, "source": _sha256(source), "shard": shard}
        with _alone(work):
            _begin(work, job, source)
            captions = _Lines(work)
            dimensions = _embed_all(work, captions, encode, shard, progress)
            _finish(work, folder, model=model, weights=fingerprint, captions=len(captions), dimensions=dimensions)
        return cls.load(folder, verify=False)


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
        with warnings.catch_warnings():  # the map is read only, and nothing is written to it
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


# On disk -------------------------------------------------------------------------------------------------------------


class _Lines(Sequence):
    """Captions of a dictionary's folder, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.bounds = np.load(folder / _LINES, mmap_mode="r", allow_pickle=False)
        self.text = np.memmap(folder / _TEXT, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < len(self):
            raise IndexError(number)
        start, stop = int(self.bounds[number]), int(self.bounds[number + 1])
        return bytes(self.text[start : stop - 1]).decode("utf-8")


def _free(folder: str | os.PathLike[str]) -> Path:
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"folder: {folder} is there already and nothing is overwritten; take another or delete it.")
    return folder


def _write_text(folder: Path, captions: Sequence[str]) -> None:
    bounds = [0]
    with (folder / _TEXT).open("wb") as file:
        for caption in captions:
            bounds.append(bounds[-1] + file.write(caption.encode("utf-8") + b"\n"))
    np.save(folder / _LINES, np.array(bounds, dtype=np.uint64))


def _read_captions(source: Path) -> Iterator[str]:
    """Captions of a text file, each once."""
    seen = set()
    try:
        with source.open(encoding="utf-8-sig", newline="\n") as file:
            for line in file:
                caption = " ".join(line.split("\t")[0].split())
                key = hashlib.blake2b(caption.encode(), digest_size=12).digest()  # less memory than the text
                if caption and key not in seen:
                    seen.add(key)
                    yield caption
    except UnicodeDecodeError as error:
        raise ValueError(f"source: {source} is not UTF-8 text ({error}); convert it.") from error
    if not seen:
        raise ValueError(f"source: {source} holds no caption; expected one a line.")


def _begin(work: Path, job: dict[str, Any], source: Path) -> None:
    """Write what is to be embedded, or check that what is there already is of the same job."""
    if (work / "job.json").is_file():
        begun = json.loads((work / "job.json").read_text(encoding="utf-8"))
        if begun != job:
            differs = [key for key in job if begun.get(key) != job[key]]
            raise ValueError(
                f"folder: {work} holds another dictionary that was begun, which differs in {', '.join(differs)}; go on "
                "with that one, or delete it."
            )
        return
    _write_text(work, _read_captions(source))
    _place(work / "job.json", json.dumps(job))


def _embed_all(work: Path, captions: Sequence[str], encode: Callable, shard: int, progress: bool) -> int:
    """Fill the array of embeddings shard by shard; returns the number of dimensions."""
    done = []  # SHA-256 of the shards that are on disk
    if (work / "done.json").is_file():
        done = json.loads((work / "done.json").read_text(encoding="utf-8"))
    array = np.lib.format.open_memmap(work / _DATA, mode="r+") if done else None
    for number, start in enumerate(tqdm(range(0, len(captions), shard), disable=not progress, desc="shards")):
        stop = min(start + shard, len(captions))
        if number < len(done):
            if hashlib.sha256(array[start:stop]).hexdigest() == done[number]:
                continue
            done = done[:number]  # the disk lost what came after
        texts = [captions[place] for place in range(start, stop)]
        try:
            rows = _half(encode(texts), "embeddings")
        except ValueError as error:
            raise ValueError(f"source: the captions {start + 1} to {stop} of {work / _TEXT}: {error}") from error
        if array is None:
            shape = len(captions), rows.shape[1]
            array = np.lib.format.open_memmap(work / _DATA, mode="w+", dtype=np.float16, shape=shape)
        array[start:stop] = rows
        array.flush()  # the numbers first, then the word that they are there
        done.append(hashlib.sha256(rows).hexdigest())
        _place(work / "done.json", json.dumps(done))
    return array.shape[1]


def _finish(work: Path, folder: Path, **facts: Any) -> None:
    files = {name: [(work / name).stat().st_size, _sha256(work / name)] for name in (_DATA, _TEXT, _LINES)}
    _place(work / _TABLE, json.dumps({"format": FORMAT, **facts, "files": files}, indent=1))
    os.replace(work, _free(folder))
    for name in ("job.json", "done.json"):
        (folder / name).unlink(missing_ok=True)


def _place(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold a folder against other processes."""
    work.mkdir(parents=True, exist_ok=True)
    path = work.with_name(f".{work.name}.lock")
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout as error:
        raise ValueError(f"folder: another process is building {work}; wait for it.") from error
    path.unlink(missing_ok=True)


def _sentence_encoder(model: str, device: str, batch_size: int) -> tuple[Callable[[list[str]], np.ndarray], str]:
    """A function from texts to embeddings, which loads the model when it is first called; and the weights' hash."""
    encoder = sentence._open_model(model, device, batch_size, None, False)
    if encoder.static:
        raise ValueError(f"model: static word vectors know no sentences, got {model!r}; name a sentence model.")
    loaded: list[Any] = []

    def encode(texts: list[str]) -> np.ndarray:
        if not loaded:
            loaded.append(encoder.load())
        limit = loaded[0].max_seq_length
        for text in texts:
            if len(text) > limit - 2 and len(loaded[0].tokenizer(text)["input_ids"]) > limit:
                raise ValueError(f"{text[:60]!r}... is longer than the {limit} tokens that {model} takes; cut it")
        return loaded[0].encode(texts, batch_size=batch_size, show_progress_bar=False)

    return encode, sentence._fingerprint(encoder.folder)
