"""Notebook runs: a profile of parameters in, executed notebooks out.

A notebook runs again only when something it depends on has changed: its source, its parameters, the code of this
package or the pinned versions. The executed copy carries the key of its run and what the run cost.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
import psutil
import yaml
from joblib import Parallel, cpu_count, delayed, parallel_config
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError

from brainalign._checks import one_of

PACKAGE = Path(__file__).parents[1]
CODE_SUFFIXES = {".py", ".toml", ".tsv", ".csv", ".html"}
MEMORY_BAR_GB = 3.0


class NotebookError(RuntimeError):
    """A notebook failed; the message names the cell and the error, and `name` the type of the error."""

    name = ""


@dataclass(frozen=True)
class Run:
    """What one notebook run cost: wall time, and the largest resident memory (1e9 bytes) of its kernel and children.

    Where an earlier run was still valid and is reused, the costs are those of that run. `claims` are those of the
    notebook's `book.Report`, and whether its run bore them.
    """

    notebook: str
    seconds: float
    peak_gb: float
    reused: bool = False
    claims: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """Parameters of every notebook, by its name, for one kind of run; read one with `load_profile`.

    `assets` are fetched before any notebook starts; if one cannot be had, the build stops where files are at hand
    (`assets.mirrors`), and has notices elsewhere. `optional` is what notebooks use if it can be had, and say so if not.
    Where `claims_hold`, a claim of a report that its run does not bear fails the build.
    """

    name: str
    notebooks: dict[str, dict[str, Any]] = field(default_factory=dict)
    assets: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)
    claims_hold: bool = False


def find_notebooks(folder: Path) -> dict[str, Path]:
    """Notebooks of a folder (``NN_name.ipynb``), in reading order; FileNotFoundError if there is none."""
    found = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise FileNotFoundError(f"folder: expected notebooks named NN_name.ipynb in {folder}, found none.")
    return found


def out_of_step(notebooks: Mapping[str, Path]) -> list[str]:
    """Names of the notebooks whose ``.ipynb`` differs from its ``.py`` script, or that lack one."""

    def cells(path: Path) -> list[tuple[str, str, Any]]:
        return [(cell.cell_type, cell.source, cell.metadata) for cell in jupytext.read(path).cells]

    scripts = {name: path.with_suffix(".py") for name, path in notebooks.items()}
    return [name for name, script in scripts.items() if not script.is_file() or cells(script) != cells(notebooks[name])]


def load_profile(path: Path, notebooks: Mapping[str, Path]) -> Profile:
    """Read ``NAME.yml`` (else FileNotFoundError), fields as of `Profile`, and check it against the notebooks."""
    if not path.is_file():
        others = sorted(other.stem for other in path.parent.glob("*.yml"))
        raise FileNotFoundError(f"profile {path.stem!r}: no file {path}; profiles here: {', '.join(others) or 'none'}.")
    kinds = {"assets": list, "optional": list, "claims_hold": bool, "notebooks": dict}

    def checked(what: str, value: Any, kind: type) -> Any:
        if not isinstance(value, kind):
            raise ValueError(f"{path}: {what}: expected a {kind.__name__}, got {value!r}.")
        return value

    content = checked("profile", yaml.safe_load(path.read_text(encoding="utf-8")) or {}, dict)
    fields = {key: value for key, value in content.items() if value is not None}
    for key, value in fields.items():
        checked(key, value, kinds[one_of(f"{path}: key", key, kinds)])
    chosen = {name: parameters or {} for name, parameters in fields.get("notebooks", {}).items()}
    for name, parameters in chosen.items():
        known = papermill.inspect_notebook(str(notebooks[one_of(f"{path}: notebook", name, notebooks)]))
        for parameter in checked(name, parameters, dict):
            one_of(f"{path}: {name}: parameter", parameter, known)
    return Profile(path.stem, **fields | {"notebooks": chosen})


def execute_all(
    profile: Profile,
    notebooks: Mapping[str, Path],
    folder: Path,
    *,
    constraints: Path | None = None,
    missing: Collection[str] = (),
    only: str | None = None,
    force: bool = False,
    jobs: int = 1,
    cwd: Path | None = None,
) -> list[Run]:
    """Run all notebooks under a profile, reuse what is still valid, and print what each one cost.

    Those of `notebooks` (of `find_notebooks`) that the profile does not name run with their own defaults. Executed ones
    go to the folder, from which those without a source are removed. A change of `constraints`, the file of pinned
    versions, makes every run invalid. A notebook that asks for one of the `missing` assets, which could not be had, has
    a page that says so, until it is there. `only` is one notebook to bring up to date, `force` runs again what is still
    valid, and `jobs` run side by side, each in its share of the cores (`fitting_jobs`), with `cwd` as working folder.
    If some fail, or claims that have to hold do not, a `NotebookError` says so after the others have run.
    """
    wanted = [one_of("only", only, notebooks)] if only else list(notebooks)
    for stray in folder.glob("*.ipynb"):
        if stray.name.removesuffix(".failed.ipynb").removesuffix(".ipynb") not in notebooks:
            stray.unlink()
    files = sorted(path for path in PACKAGE.rglob("*") if path.suffix in CODE_SUFFIXES)
    files += [constraints] if constraints else []
    code = _digest(sorted(missing), [(path.name, path.read_text(encoding="utf-8")) for path in files])
    labels = {name: f"[{number}/{len(wanted)}] {name}" for number, name in enumerate(wanted, start=1)}
    runs: dict[str, Run | None] = {}
    failures, due = {}, []
    for name, label in labels.items():
        parameters, output = profile.notebooks.get(name, {}), folder / f"{name}.ipynb"
        key = _digest(notebooks[name].read_text(encoding="utf-8"), parameters, code)
        runs[name] = None if force else _previous(output, key)
        if runs[name]:
            print(f"{label}: still valid, reused", flush=True)
        else:
            due.append((label, notebooks[name], parameters, output, cwd, key))
    for name, outcome in _side_by_side(_far_apart(due, jobs), jobs):
        if isinstance(outcome, Run):
            runs[name] = outcome
            print(f"{labels[name]}: {outcome.seconds:.0f} s, {outcome.peak_gb:.1f} GB", flush=True)
        elif outcome.name == "AssetError" and missing:
            _write_stub(notebooks[name], folder / f"{name}.ipynb", missing)
            print(f"{labels[name]}: a stub, as data are missing", flush=True)
        else:
            failures[name] = str(outcome)
            print(f"{labels[name]}: failed\n{outcome}", flush=True)
    done = [run for run in runs.values() if run]
    for run in done if profile.claims_hold else ():
        if untrue := [text for text, holds in run.claims.items() if not holds]:
            failures[run.notebook] = f"{run.notebook}: claims that its run does not bear: {'; '.join(untrue)}"
    print(summary(done), flush=True)
    if failures:
        raise NotebookError(f"{len(failures)} of {len(wanted)} notebooks failed:\n" + "\n".join(failures.values()))
    return done


def fitting_jobs() -> int:
    """How many notebooks this machine runs side by side: one a core, as far as memory goes."""
    return max(1, min(cpu_count(), int(psutil.virtual_memory().available / 1e9 // MEMORY_BAR_GB)))


def _far_apart(due: list[Any], jobs: int) -> list[Any]:
    """An order in which those that run side by side are far apart in the book.

    Neighbours read the same models and would wait for one another's features. Each part goes from its last page on:
    pages grow longer, and the longest would run alone at the end.
    """
    size = -(-len(due) // jobs) or 1
    backwards = due[::-1] if jobs > 1 else due
    parts = [backwards[start : start + size] for start in range(0, len(due), size)]
    return [one for row in zip_longest(*parts) for one in row if one is not None]


def _side_by_side(due: Sequence[tuple], jobs: int) -> Iterator[tuple[str, Run | NotebookError]]:
    """Outcomes by name, as they come."""
    jobs = max(1, min(jobs, len(due)))
    # Where there are several, each run in a process of its own, which measures the memory of its own kernel.
    with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=max(1, cpu_count() // jobs)):
        yield from Parallel(return_as="generator_unordered", batch_size=1)(delayed(_outcome)(run) for run in due)


def _outcome(run: tuple) -> tuple[str, Run | NotebookError]:
    label, notebook, *how = run
    print(f"{label}: running", flush=True)
    try:
        return notebook.stem, _execute(notebook, *how)
    except NotebookError as error:
        return notebook.stem, error


def summary(runs: Iterable[Run]) -> str:
    """A table of wall time and peak memory, and the line "N notebooks executed, M reused"."""
    runs = list(runs)
    width = max([len(run.notebook) for run in runs], default=8)
    lines = [f"{'notebook':<{width}}  {'wall time':>9}  {'peak memory':>11}"]
    for run in runs:
        notes = ["reused"] * run.reused + [f"above {MEMORY_BAR_GB:.0f} GB"] * (run.peak_gb > MEMORY_BAR_GB)
        cost = f"{run.seconds:>7.1f} s  {run.peak_gb:>8.2f} GB"
        lines.append(f"{run.notebook:<{width}}  {cost}  {', '.join(notes)}".rstrip())
    reused = sum(run.reused for run in runs)
    return "\n".join([*lines, f"{len(runs) - reused} notebooks executed, {reused} reused"])


def _execute(notebook: Path, parameters: dict[str, Any], output: Path, cwd: Path | None, key: str | None) -> Run:
    """Run one notebook headlessly with this very Python; its output appears only when the whole of it has run.

    After a failure, what ran so far is beside it as ``NAME.failed.ipynb``.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    failed = output.with_suffix(".failed.ipynb")
    claims = Path(cwd or ".") / "results" / notebook.stem / "claims.json"
    claims.unlink(missing_ok=True)
    # In a log file each refresh of the bar is a line of its own: fewer of them.
    bar = {"desc": output.stem, "mininterval": 0.1 if sys.stderr.isatty() else 15, "ncols": 100}
    with (
        tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}-") as work,
        tempfile.TemporaryDirectory() as sockets,
    ):
        partial = Path(work) / output.name
        started = time.perf_counter()
        try:
            with _peak_memory() as peak:
                kernel = {"start_timeout": 300, "kernel_manager_class": _own_kernel_manager(sockets)}
                papermill.execute_notebook(notebook, partial, parameters, cwd=cwd, progress_bar=bar, **kernel)
        except Exception as error:
            name, reason = "", f"the run broke off with {type(error).__name__}: {error}"
            if isinstance(error, PapermillExecutionError):
                name, source = error.ename, textwrap.indent(error.source, "    ")
                reason = f"cell {error.cell_index + 1} failed with {name}: {error.evalue}\n{source}"
            if partial.is_file():
                os.replace(partial, failed)
                reason += f"\nThe notebook as far as it ran: {failed}"
            failure = NotebookError(f"{notebook.stem}: {reason}")
            failure.name = name
            raise failure from error
        cost = round(time.perf_counter() - started, 1), round(peak[0] / 1e9, 2)
        run = Run(notebook.stem, *cost, claims=json.loads(claims.read_text()) if claims.is_file() else {})
        executed = nbformat.read(partial, as_version=4)
        # Readers can download this file: papermill's record names folders of this machine, ours does not.
        executed.metadata.pop("papermill", None)
        executed.metadata["brainalign"] = {"key": key, "parameters": parameters, "run": asdict(run)}
        nbformat.write(executed, partial)
        os.replace(partial, output)
    failed.unlink(missing_ok=True)
    return run


def _write_stub(notebook: Path, output: Path, missing: Collection[str]) -> None:
    """A page in place of a notebook whose data are missing: its title and introduction, and how to provide them."""
    source = nbformat.read(notebook, as_version=4)
    texts = [cell.source for cell in source.cells if cell.cell_type == "markdown"]
    notice = (
        "```{admonition} No results in this build\nThis page needs files that could not be had, of one of "
        f"{', '.join(sorted(missing))}. `brainalign assets` lists where each comes from; put the files into a folder "
        "that `BRAINALIGN_MIRROR` names, or build where the network is, and this page fills.\n```"
    )
    cells = [nbformat.v4.new_markdown_cell(text) for text in (*texts[:1], notice)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=source.metadata), output)
    output.with_suffix(".failed.ipynb").unlink(missing_ok=True)


def _own_kernel_manager(sockets: str) -> type:
    """A kernel manager that starts this interpreter, whichever kernelspecs the user has installed."""
    # Sockets in a folder of our own, where the system has such: no network port that others could listen to.
    local = {"transport": "ipc", "ip": f"{sockets}/kernel"} if os.name == "posix" else {}

    class OwnKernelManager(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, **local})

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(
                # What is written past the notebook, such as bars of progress, goes to the terminal and not on the page.
                argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
                + ["--IPKernelApp.capture_fd_output=False"],
                display_name="brainalign",
                language="python",
                # Sets and dicts of strings iterate alike in every run. The warning is of progress bars that are not
                # shown, and names folders of this machine.
                env={"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore:IProgress not found"},
            )

    return OwnKernelManager


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Largest resident memory, in bytes, of the processes started inside the ``with`` block: the list's one item."""
    peak, parent, done = [0], psutil.Process(), threading.Event()
    before = set(parent.children(recursive=True))

    def watch() -> None:
        while not done.wait(0.1):
            total = 0
            for process in set(parent.children(recursive=True)) - before:
                with suppress(psutil.Error):  # it ended between the two calls
                    total += process.memory_info().rss
            peak[0] = max(peak[0], total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _previous(output: Path, key: str) -> Run | None:
    """The run that made `output`, if it is still valid."""
    try:
        record = json.loads(output.read_text(encoding="utf-8"))["metadata"]["brainalign"]
        return replace(Run(**record["run"]), reused=True) if record["key"] == key else None
    except (FileNotFoundError, ValueError, KeyError):
        return None
