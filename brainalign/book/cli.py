"""The ``brainalign`` command: assets, the book, and checks of its pages and of your own recordings."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

from brainalign.book import runs

__all__ = ["main"]

# What a browser loads by itself; a plain <a href> is only followed when the reader clicks.
_FETCHING = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("image", "href"), ("image", "xlink:href"),
    ("img", "src"), ("input", "src"), ("object", "data"), ("script", "src"), ("source", "src"),
    ("track", "src"), ("use", "href"), ("use", "xlink:href"), ("video", "poster"), ("video", "src"),
}  # fmt: skip
_FETCHING_LINKS = {
    "apple-touch-icon", "dns-prefetch", "icon", "manifest", "mask-icon", "modulepreload", "preconnect", "prefetch",
    "preload", "stylesheet",
}  # fmt: skip
_OUTSIDE = re.compile(r"(?:https?:)?//[\w.-]+", re.IGNORECASE)
_CSS_FETCH = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
_JS_FETCH = re.compile(
    r"""(?:\b(?:fetch|import|importScripts|require)\(\s*|\bfrom\s+|\.(?:src|href)\s*=\s*)["'`]((?:https?:)?//[^"'`\s]+)"""
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="brainalign", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("assets", help="list every asset with its size, licence and source")
    command.set_defaults(run=_assets)

    command = commands.add_parser("fetch", help="fetch and verify assets")
    command.add_argument("names", nargs="*", metavar="NAME", help="names that `brainalign assets` lists")
    command.add_argument("--all-needed", action="store_true", help="everything that the profile needs")
    _add_project_options(command)
    command.set_defaults(run=_fetch)

    command = commands.add_parser("book", help="fetch what is needed, run the notebooks, build and check the pages")
    _add_project_options(command)
    command.add_argument("--only", metavar="NN_name", help="bring this notebook alone up to date")
    command.add_argument("--force", action="store_true", help="run notebooks again even when nothing has changed")
    command.add_argument("--jobs", type=int, metavar="N", help="notebooks side by side (as cores and memory allow)")
    command.set_defaults(run=_book)

    command = commands.add_parser("check", help="check a folder of your own data and list every problem")
    command.add_argument("folder", type=Path, metavar="FOLDER")
    command.set_defaults(run=_check)

    command = commands.add_parser("check-pages", help="check that built pages fetch nothing from another host")
    command.add_argument("directory", type=Path, metavar="DIR")
    command.set_defaults(run=_check_pages)

    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (OSError, RuntimeError, ValueError) as error:  # what bad input, a full disk or a missing asset raise
        print(f"brainalign: {error}", file=sys.stderr, flush=True)
        return 1


def outside_fetches(directory: Path) -> list[str]:
    """What the pages, style sheets and scripts of a folder would load from another host.

    Parameters
    ----------
    directory : Path
        Folder with a built site. Scripts are searched for literal addresses only.

    Returns
    -------
    list of str
        One line, ``file: address``, for each; empty when the site works offline.

    Raises
    ------
    FileNotFoundError
        If the folder holds no HTML page.
    """
    directory = Path(directory)
    files = sorted(path for path in directory.rglob("*") if path.suffix in {".html", ".css", ".js"})
    if not any(path.suffix == ".html" for path in files):
        raise FileNotFoundError(f"directory: expected a folder with HTML pages, found none in {directory}")
    return [
        f"{path.relative_to(directory)}: {address}"
        for path in files
        for address in _fetches(path.read_text(encoding="utf-8", errors="replace"), path.suffix)
    ]


def _fetches(text: str, suffix: str) -> Iterator[str]:
    if suffix == ".html":
        page = _Page()
        page.feed(text)
        yield from page.fetches
    else:
        yield from (_CSS_FETCH if suffix == ".css" else _JS_FETCH).findall(text)


class _Page(HTMLParser):
    """Collects the addresses that a page loads from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.fetches: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        values = {name: value or "" for name, value in attrs}
        loads = [values[name] for name in values if (tag, name) in _FETCHING]
        # A srcset holds several addresses, each followed by a size.
        loads += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]
        if tag == "link" and _FETCHING_LINKS & set(values.get("rel", "").lower().split()):
            loads.append(values.get("href", ""))
        self.fetches += [value.strip() for value in loads if _OUTSIDE.match(value.strip())]
        self.fetches += _CSS_FETCH.findall(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.fetches += _CSS_FETCH.findall(data)
        elif self._inside == "script":
            self.fetches += _JS_FETCH.findall(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def _add_project_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", default="default", metavar="NAME", help="the parameters: book/profiles/NAME.yml")
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="the project's folder (here)")


def _load(options: argparse.Namespace) -> tuple[Path, dict[str, Path], runs.Profile]:
    root = options.root.resolve()
    if not (root / "_toc.yml").is_file():
        raise FileNotFoundError(f"--root: expected the project's folder, with _toc.yml in it, got {root}")
    notebooks = runs.find_notebooks(root / "notebooks")
    return root, notebooks, runs.load_profile(root / "book" / "profiles" / f"{options.profile}.yml", notebooks)


def _assets(options: argparse.Namespace) -> int:
    from brainalign import assets

    print(assets.table().to_string())
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from brainalign import assets

    if not options.names and not options.all_needed:
        raise ValueError("fetch: expected names of assets, or --all-needed; `brainalign assets` lists them")
    profile = _load(options)[2] if options.all_needed else runs.Profile("none")
    needed = [*profile.assets, *profile.optional]
    for name in [*options.names, *needed]:
        print(f"{name}: {assets.fetch(name)}", flush=True)
    return 0


def _book(options: argparse.Namespace) -> int:
    from brainalign import assets

    root, notebooks, profile = _load(options)
    differing = runs.out_of_step(notebooks)
    if differing:
        raise RuntimeError(f"script and notebook differ: {', '.join(differing)}; run `make sync`")
    missing = []
    for name in (*profile.assets, *profile.optional):
        print(f"Asset {name}", flush=True)
        try:
            assets.fetch(name)
        except assets.AssetError as error:
            if name in profile.assets and assets.mirrors():
                raise  # where files are at hand, the book is not built without what all of it rests on
            missing.append(name)
            print(f"{error}\nThe book is built without {name}: pages that need it say so.", flush=True)
    executed = root / "book" / "executed"
    runs.execute_all(
        profile,
        notebooks,
        executed,
        constraints=root / "constraints.txt",
        missing=missing,
        only=options.only,
        force=options.force,
        jobs=options.jobs or runs.fitting_jobs(),
        cwd=root,
    )
    absent = [name for name in notebooks if not (executed / f"{name}.ipynb").is_file()]
    if absent:
        raise RuntimeError(f"never executed: {', '.join(absent)}; leave out --only once")

    pages = root / "_build" / "html"
    # Every page anew: a page that Sphinx keeps from an earlier build would not repeat its warnings.
    shutil.rmtree(pages, ignore_errors=True)
    jupyter_book = Path(sysconfig.get_path("scripts")) / "jupyter-book"
    build = [str(jupyter_book), "build", str(root), "--all", "-W", "--keep-going"]
    if subprocess.run(build, check=False).returncode:
        raise RuntimeError("the book was not built: see the warnings above, which count as errors")
    outside = outside_fetches(pages)
    if outside:
        raise RuntimeError("pages load from another host, so the book would not work offline:\n" + "\n".join(outside))
    print(f"The book is at {pages / 'index.html'}", flush=True)
    return 0


def _check(options: argparse.Namespace) -> int:
    from brainalign.datasets.folder import read_folder
    from brainalign.datasets.viewing_folder import is_viewing_folder, read_viewing_folder

    viewing = is_viewing_folder(options.folder)
    read: Callable = read_viewing_folder if viewing else read_folder
    data, problems = read(options.folder)
    if data is None:
        print("\n".join(problems))
        return 1
    if viewing:
        print(f"{options.folder} is sound:\n{data}")
        return 0
    arrays = {"responses": data.responses, "signal": data.signal}
    shapes = [f"{field} {array.shape}" for field, array in arrays.items() if array is not None]
    print(
        f"{options.folder} is sound: {data.name!r} ({data.modality}), {len(data.words)} words in "
        f"{data.words['passage'].nunique()} passage(s), {len(data.channels)} channels of "
        f"{data.channels['subject'].nunique()} subject(s), {data.channels['distance_pmc'].notna().sum()} of them with "
        f"a distance, {', '.join(shapes)}"
    )
    return 0


def _check_pages(options: argparse.Namespace) -> int:
    outside = outside_fetches(options.directory)
    print("\n".join(outside) or f"Nothing in {options.directory} loads from another host")
    return 1 if outside else 0
