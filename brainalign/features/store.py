"""A store on disk for extracted features, so that nothing is computed twice.

Features are addressed by what they were computed from: an *entry* is one combination of weights, text and settings,
and lives in a folder named after the hash of that combination, beside a readable ``key.json``. The words of an entry
are cut into *shards*, each kept as one or more zarr arrays of shape (layer, word, feature) in zip files of their own,
one chunk a layer: a few layers are read without touching the others, and layers can be added later.

A file is complete the moment it exists. Every layer carries its SHA-256, and a file that fails the check is removed and
counts as missing. To free space, delete the folder or any part of it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import zarr
from filelock import FileLock
from zarr.storage import ZipStore

from brainalign import assets
from brainalign._checks import alike
from brainalign._io import placed

__all__ = ["FeatureStore"]

Name = TypeVar("Name", bound=Hashable)

log = logging.getLogger(__name__)

_HASHES = "layers.json"  # in each zip file: [layer, SHA-256 of its numbers], in the order of the array


class FeatureStore:
    """Features on disk, found again by what they were computed from.

    Parameters
    ----------
    root : path, optional
        Folder of the store, made when first written to. Default: ``features`` in the cache folder of the package.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root) if root is not None else assets.cache_dir() / "features"

    def entry(self, key: Mapping[str, object], **label: object) -> Entry:
        """The entry of one combination of weights, text and settings.

        `key` is all that the numbers depend on, in values that can be written as JSON; `label` helps a reader of
        ``key.json`` and changes no number, such as the model's name.
        """
        digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
        return Entry(self.root / digest[:2] / digest[2:32], {**label, **key})


def open_store(store: FeatureStore | str | os.PathLike[str] | bool | None) -> FeatureStore | None:
    """The store that is asked for: the default one for None, none for False."""
    if store is False:
        return None
    return store if isinstance(store, FeatureStore) else FeatureStore(None if store is True else store)


class Entry:
    """The shards of one combination of weights, text and settings; made by `FeatureStore.entry`."""

    def __init__(self, folder: Path, description: dict[str, object]) -> None:
        self.folder, self._description = folder, description

    def read(self, shard: int, layers: Iterable[int]) -> dict[int, np.ndarray]:
        """Those of the asked layers that are stored and undamaged, each an array of shape (word, feature)."""
        found: dict[int, np.ndarray] = {}
        wanted = set(layers)
        for path in sorted(self.folder.glob(f"{shard:05d}-*.zarr.zip")):
            if wanted <= found.keys():
                break
            try:
                found.update(_read_part(path, wanted - found.keys()))
            except (FileNotFoundError, PermissionError) as error:
                log.warning("cannot read stored features: %s", error)
            except Exception as error:  # a damaged file can fail anywhere between the zip's directory and the numbers
                log.warning("stored features in %s are damaged (%s) and will be computed again", path, error)
                path.unlink(missing_ok=True)
        return found

    def write(self, shard: int, layers: Sequence[int], states: np.ndarray) -> None:
        """Store states (layer, word, feature) of one shard, under the lock; all are there afterwards or none."""
        alike(layers=layers, states=states)
        name = hashlib.sha256(repr(list(layers)).encode()).hexdigest()[:8]
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            key = self.folder / "key.json"
            if not key.exists():
                with placed(key) as temporary:
                    temporary.write_text(json.dumps(self._description, indent=1, sort_keys=True))
            with placed(self.folder / f"{shard:05d}-{name}.zarr.zip") as temporary:
                _write_part(temporary, layers, states)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the entry against other processes, which would otherwise compute the same shard."""
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            held = FileLock(self.folder / ".lock").acquire()
        with held:
            for stale in self.folder.glob(".*.zip"):  # of a process that was killed while it held the lock
                stale.unlink(missing_ok=True)
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot store features in {self.folder}: {error.strerror or error}. Make room there, or pass store="
                "<another folder> or store=False. What is stored will be used when the extraction is started again",
            ) from error


@contextmanager
def locked(entries: Iterable[Entry]) -> Iterator[None]:
    """Hold several entries, always taken in the same order so that two processes cannot block each other."""
    with ExitStack() as stack:
        for entry in sorted(entries, key=lambda entry: entry.folder):
            stack.enter_context(entry.lock())
        yield


def kept(
    entries: Mapping[Name, Entry | None], shard: int, layers: Sequence[int], compute: Callable[[list[Name]], dict]
) -> dict[Name, np.ndarray]:
    """Numbers of one shard (layer, word, feature), by the names of their entries: stored, or computed and then stored.

    `compute` gets the names of those that are not in the store, and gives a dict; entries that are None keep nothing.
    """
    found: dict[Name, np.ndarray] = {}
    if None in entries.values():
        return compute(list(entries))

    def missing() -> list[Name]:
        for name in [name for name in entries if name not in found]:
            stored = entries[name].read(shard, layers)  # type: ignore[union-attr]
            if stored.keys() >= set(layers):
                found[name] = np.stack([stored[layer] for layer in layers])
        return [name for name in entries if name not in found]

    if some := missing():
        with locked(entries[name] for name in some):  # type: ignore[misc]
            if some := missing():  # else another process was at it while this one waited
                for name, values in compute(some).items():
                    entries[name].write(shard, layers, values)  # type: ignore[union-attr]
                    found[name] = values
    return found


def digest_files(paths: Iterable[Path]) -> str:
    """One hash over the names and the contents of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        stat = path.stat()
        total.update(f"{path.name}:{_digest_file(path, stat.st_size, stat.st_mtime_ns)};".encode())
    return total.hexdigest()


@functools.lru_cache(maxsize=256)
def _digest_file(path: Path, size: int, mtime_ns: int) -> str:
    """Hash one file; a file of the same size and time is not read again in this process."""
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _write_part(path: Path, layers: Sequence[int], states: np.ndarray) -> None:
    # only calls that zarr 2 and 3 have in common; the hashes are a file of their own because attributes cannot be
    # written with the array in both
    with ZipStore(path, mode="w") as file:
        array = zarr.open_array(file, mode="w", shape=states.shape, chunks=(1, *states.shape[1:]), dtype=states.dtype)
        array[:] = states
    hashes = [[int(layer), _digest(state)] for layer, state in zip(layers, states, strict=True)]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_HASHES, json.dumps(hashes))


def _read_part(path: Path, wanted: set[int]) -> dict[int, np.ndarray]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        hashes = json.loads(archive.read(_HASHES))
    with ZipStore(path, mode="r") as file:
        array = zarr.open_array(file, mode="r")
        for index, (layer, digest) in enumerate(hashes):
            if layer in wanted:
                found[layer] = np.asarray(array[index])
                if _digest(found[layer]) != digest:
                    raise ValueError(f"layer {layer} does not have its recorded SHA-256")
    return found


def _digest(state: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(state).data).hexdigest()
