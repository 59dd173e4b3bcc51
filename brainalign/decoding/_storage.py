"""A dictionary of captions on disk: a folder that is written once, checked when it is opened, and built in parts.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from brainalign._io import placed
from brainalign.features import captions as sentence

FORMAT = 1
DATA, TEXT, LINES, TABLE = "embeddings.npy", "captions.txt", "lines.npy", "index.json"


def half(values: np.ndarray, name: str) -> np.ndarray:
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


class Lines(Sequence):
    """Captions of a dictionary's folder, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.bounds = np.load(folder / LINES, mmap_mode="r", allow_pickle=False)
        self.text = np.memmap(folder / TEXT, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, number):
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        number = range(len(self))[number]  # counts from the end too, and refuses what is not there
        start, stop = int(self.bounds[number]), int(self.bounds[number + 1])
        return bytes(self.text[start : stop - 1]).decode("utf-8")


def free(folder: str | os.PathLike[str]) -> Path:
    """The path of a folder that is not there yet; ValueError if it is."""
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"folder: {folder} is there already and nothing is overwritten; take another or delete it.")
    return folder


def write_text(folder: Path, captions: Iterable[str]) -> None:
    """Write captions, and where each begins."""
    bounds = [0]
    with (folder / TEXT).open("wb") as file:
        for caption in captions:
            bounds.append(bounds[-1] + file.write(caption.encode("utf-8") + b"\n"))
    np.save(folder / LINES, np.array(bounds, dtype=np.uint64))


def read_captions(source: Path) -> Iterator[str]:
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


def begin(work: Path, job: dict[str, Any], source: Path) -> None:
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
    write_text(work, read_captions(source))
    _place(work / "job.json", json.dumps(job))


def embed_all(work: Path, captions: Sequence[str], encode: Callable, shard: int, progress: bool) -> int:
    """Fill the array of embeddings shard by shard; returns the number of dimensions."""
    done = []  # SHA-256 of the shards that are on disk
    if (work / "done.json").is_file():
        done = json.loads((work / "done.json").read_text(encoding="utf-8"))
    array: Any = np.lib.format.open_memmap(work / DATA, mode="r+") if done else None
    for number, start in enumerate(tqdm(range(0, len(captions), shard), disable=not progress, desc="shards")):
        stop = min(start + shard, len(captions))
        if number < len(done):
            if hashlib.sha256(array[start:stop]).hexdigest() == done[number]:
                continue
            done = done[:number]  # the disk lost what came after
        texts = [captions[place] for place in range(start, stop)]
        try:
            rows = half(encode(texts), "embeddings")
        except ValueError as error:
            raise ValueError(f"source: the captions {start + 1} to {stop} of {work / TEXT}: {error}") from error
        if array is None:
            shape = len(captions), rows.shape[1]
            array = np.lib.format.open_memmap(work / DATA, mode="w+", dtype=np.float16, shape=shape)
        array[start:stop] = rows
        array.flush()  # the numbers first, then the word that they are there
        done.append(hashlib.sha256(rows.data).hexdigest())
        _place(work / "done.json", json.dumps(done))
    return array.shape[1]


def finish(work: Path, folder: Path, **facts: Any) -> None:
    """Write down what the files are, and give the folder its name."""
    files = {name: [(work / name).stat().st_size, sha256(work / name)] for name in (DATA, TEXT, LINES)}
    _place(work / TABLE, json.dumps({"format": FORMAT, **facts, "files": files}, indent=1))
    os.replace(work, free(folder))
    for name in ("job.json", "done.json"):
        (folder / name).unlink(missing_ok=True)


def _place(path: Path, text: str) -> None:
    with placed(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold a folder against other processes."""
    work.mkdir(parents=True, exist_ok=True)
    path = work.with_name(f".{work.name}.lock")
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout as error:
        raise ValueError(f"folder: another process is building {work}; wait for it.") from error
    path.unlink(missing_ok=True)


def sentence_encoder(model: str, device: str, batch_size: int) -> tuple[Callable[[list[str]], np.ndarray], str]:
    """A function from texts to embeddings, which loads the model when it is first called; and the weights' hash."""
    encoder = sentence.open_encoder(model, device, batch_size, None, False)
    if encoder.static:
        raise ValueError(f"model: static word vectors know no sentences, got {model!r}; name a sentence model.")
    loaded: list[Any] = []

    def encode(texts: list[str]) -> np.ndarray:
        if not loaded:
            loaded.append(encoder.load())  # type: ignore[attr-defined]
        limit = loaded[0].max_seq_length
        for text in texts:
            if len(text) > limit - 2 and len(loaded[0].tokenizer(text)["input_ids"]) > limit:
                raise ValueError(f"{text[:60]!r}... is longer than the {limit} tokens that {model} takes; cut it")
        return loaded[0].encode(texts, batch_size=batch_size, show_progress_bar=False)

    return encode, sentence.fingerprint(encoder.folder)  # type: ignore[attr-defined]


def read_table(folder: Path, model: str | None, verify: bool) -> dict[str, Any]:
    """The content of index.json, once the files are what it says."""
    try:
        table = json.loads((folder / TABLE).read_text(encoding="utf-8"))
        version, files, made_by = table["format"], table["files"], table["model"]
        table["captions"], table["dimensions"] = int(table["captions"]), int(table["dimensions"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"folder: {folder} is no finished dictionary of captions ({type(error).__name__}: {error}); make one with "
            "CaptionIndex.build, which also goes on with one that was begun."
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
        if verify and sha256(path) != digest:
            raise ValueError(f"folder: {path} is damaged: its SHA-256 is not the recorded one. Copy it again.")
    return table
