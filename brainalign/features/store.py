"""A store on disk for extracted features, so that nothing is computed twice.

Features are addressed by what they were computed from: an *entry* is one combination of weights, text and settings,
and lives in a folder named after the hash of that combination, beside a readable ``key.json``. The words of an entry
are cut into *shards*. A shard is kept as one or more zarr arrays of shape (layer, word, feature), each in a zip file
of its own, one chunk a layer, so that a few layers are read without touching the others and layers can be added
later.

A file is complete the moment it exists, because it is renamed into place after it was written; what a killed process
leaves behind is a temporary file that nobody reads. Every layer carries its SHA-256, and a file that fails the check is
removed and counts as missing. To free space, delete the folder or any part of it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import zarr
from filelock import FileLock
from zarr.storage import ZipStore

from brainalign import assets
from brainalign._io import placed

__all__ = ["FeatureStore"]

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

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.root)!r})"

    def entry(self, key: Mapping[str, object], **label: object) -> Entry:
        """Return the entry of one combination of weights, text and settings.

        Parameters
        ----------
        key : mapping
            All that the numbers depend on; its values can be written as JSON.
        **label
            What helps a reader of ``key.json`` and does not change the numbers, such as the model's name.

        Returns
        -------
        Entry
        """
        canonical = json.dumps(dict(key), sort_keys=True)
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return Entry(self.root / digest[:2] / digest[2:32], {**label, **key})


class Entry:
    """The shards of one combination of weights, text and settings; made by `FeatureStore.entry`."""

    def __init__(self, folder: Path, description: Mapping[str, object]) -> None:
        self.folder = folder
        self._description = dict(description)

    def read(self, shard: int, layers: Iterable[int]) -> dict[int, np.ndarray]:
        """Return those of the asked layers that are stored and undamaged, each an array of shape (word, feature)."""
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
        """Store the layers of one shard, to be called under the lock; either all are there afterwards or none.

        Parameters
        ----------
        shard : int
            Number of the shard.
        layers : sequence of int
            The layers in `states`, in order.
        states : array of shape (layer, word, feature)
            The numbers, stored in their own precision.

        Raises
        ------
        ValueError
            If `states` has another number of layers than `layers`.
        OSError
            If the disk is full or the folder cannot be written to. What was stored before stays valid.
        """
        if len(layers) != len(states):
            raise ValueError(f"states: expected one array for each of the {len(layers)} layers, got {len(states)}")
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
            lock = FileLock(self.folder / ".lock")
            lock.acquire()
        for stale in self.folder.glob(".*.zip"):  # of a process that was killed while it held the lock
            stale.unlink(missing_ok=True)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(
                error.errno,
                f"cannot store features in {self.folder}: {reason}. Make room there, or pass store=<another folder> or "
                "store=False. Shards that are already stored will be used when the extraction is started again",
            ) from error


@contextmanager
def locked(entries: Iterable[Entry]) -> Iterator[None]:
    """Hold several entries, always taken in the same order so that two processes cannot block each other."""
    with ExitStack() as stack:
        for entry in sorted(entries, key=lambda entry: entry.folder):
            stack.enter_context(entry.lock())
        yield


def digest_files(paths: Iterable[Path]) -> str:
    """Return one hash over the names and the contents of files."""
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
    file = ZipStore(path, mode="w")
    array = zarr.open_array(file, mode="w", shape=states.shape, chunks=(1, *states.shape[1:]), dtype=states.dtype)
    array[:] = states
    file.close()
    hashes = [[int(layer), _digest(state)] for layer, state in zip(layers, states, strict=True)]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_HASHES, json.dumps(hashes))


def _read_part(path: Path, wanted: set[int]) -> dict[int, np.ndarray]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        hashes = json.loads(archive.read(_HASHES))
    file = ZipStore(path, mode="r")
    try:
        array = zarr.open_array(file, mode="r")
        for index, (layer, digest) in enumerate(hashes):
            if layer in wanted:
                state = np.asarray(array[index])
                if _digest(state) != digest:
                    raise ValueError(f"layer {layer} does not have its recorded SHA-256")
                found[layer] = state
    finally:
        file.close()
    return found


def _digest(state: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(state).data).hexdigest()
