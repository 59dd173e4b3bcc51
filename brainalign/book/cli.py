"""The ``brainalign`` command: assets, the book, and checks of your own recordings. Each part imports what it needs."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brainalign.datasets import Listening

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="brainalign", description="Assets, the book, and checks of your own recordings."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    commands.add_parser("assets", help="list every asset with its size, licence and source").set_defaults(run=_assets)

    command = commands.add_parser("book", help="fetch what is needed, run the notebooks and build the pages")
    command.add_argument("--profile", default="default", metavar="NAME", help="the parameters: book/profiles/NAME.yml")
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="the project's folder (here)")
    command.add_argument("--only", metavar="NN_name", help="bring this notebook alone up to date")
    command.add_argument("--force", action="store_true", help="run notebooks again even when nothing has changed")
    command.add_argument("--jobs", type=int, metavar="N", help="notebooks side by side (as cores and memory allow)")
    command.set_defaults(run=_book)

    command = commands.add_parser("check", help="check a folder of your own data and list every problem")
    command.add_argument("folder", type=Path, metavar="FOLDER")
    command.set_defaults(run=_check)

    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (OSError, RuntimeError, ValueError) as error:  # what bad input, a full disk or a missing asset raise
        print(f"brainalign: {error}", file=sys.stderr, flush=True)
        return 1


def _assets(options: argparse.Namespace) -> int:
    from brainalign import assets

    print(assets.table().to_string())
    return 0


def _book(options: argparse.Namespace) -> int:
    from brainalign import assets
    from brainalign.book import runs

    root = options.root.resolve()
    if not (root / "_toc.yml").is_file():
        raise FileNotFoundError(f"--root: expected the project's folder, with _toc.yml in it, got {root}")
    notebooks = runs.find_notebooks(root / "notebooks")
    profile = runs.load_profile(root / "book" / "profiles" / f"{options.profile}.yml", notebooks)
    if differing := runs.out_of_step(notebooks):
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
    jobs = options.jobs or runs.fitting_jobs()
    how = {"constraints": root / "constraints.txt", "missing": missing, "jobs": jobs, "cwd": root}
    runs.execute_all(profile, notebooks, executed, only=options.only, force=options.force, **how)
    if absent := [name for name in notebooks if not (executed / f"{name}.ipynb").is_file()]:
        raise RuntimeError(f"never executed: {', '.join(absent)}; leave out --only once")

    pages = root / "_build" / "html"
    # Every page anew: a page that Sphinx keeps from an earlier build would not repeat its warnings.
    shutil.rmtree(pages, ignore_errors=True)
    jupyter_book = Path(sysconfig.get_path("scripts")) / "jupyter-book"
    build = [str(jupyter_book), "build", str(root), "--all", "-W", "--keep-going"]
    if subprocess.run(build, check=False).returncode:
        raise RuntimeError("the book was not built: see the warnings above, which count as errors")
    print(f"The book is at {pages / 'index.html'}", flush=True)
    return 0


def _check(options: argparse.Namespace) -> int:
    from brainalign.datasets import Listening, read

    data, problems = read(options.folder)
    print("\n".join(problems) if data is None else f"{options.folder} is sound:\n{data}")
    if isinstance(data, Listening):
        print(*_pages(data), sep="\n")
    return int(data is None)


def _pages(data: Listening) -> Iterator[str]:
    """What the pages about people who listen or read can do with a data set, or what they lack; nothing slow."""
    from brainalign.datasets.n400 import n400_trials
    from brainalign.story import by_subject, story

    def told() -> str:
        made = story(data, 6, confounds="rate")
        groups = made.options.get("groups", ())
        apart = f", {len(set(groups))} passages that stay whole in folds and are exchanged for chance" * bool(
            len(groups)
        )
        return f"{len(made.responses)} samples, {len(made.subjects)} people, {len(made.regions)} region(s){apart}"

    for pages, attempt in {
        "01_listening_data_in_people": lambda: f"{by_subject(data, 6).sizes['time']} volumes",
        "02 to 06, *_in_people (-p confounds rate)": told,
        "03 and 05, *_in_readers": lambda: f"{len(n400_trials(data))} trials at one noun of each passage",
    }.items():
        try:
            yield f"{pages}: {attempt()}"
        except ValueError as error:
            yield f"{pages}: not with these data: {error}"
