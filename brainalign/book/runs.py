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
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

PACKAGE = Path(__file__).parents[1]
CODE_SUFFIXES = {".py", ".toml", ".tsv", ".csv", ".js"}
MEMORY_BAR_GB = 3.0


class NotebookError(RuntimeError):
    """A notebook failed; the message names the cell and the error, and `name` the type of the error."""

    name = ""


@dataclass(frozen=True)
class Run:
    """What one notebook run cost.

    Parameters
    ----------
    notebook : str
        Name, without suffix.
    seconds : float
        Wall time.
    peak_gb : float
        Largest resident memory (GB, 1e9 bytes) of the kernel and its children, sampled ten times a second.
    reused : bool
        True when an earlier run was still valid; the costs are then those of that run.
    claims : dict of str to bool
        What the notebook's `book.Report` claimed, and whether its run bore it.
    """

    notebook: str
    seconds: float
    peak_gb: float
    reused: bool = False
    claims: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """Parameters of every notebook for one kind of run; read one with `load_profile`.

    Parameters
    ----------
    name : str
    notebooks : dict of str to dict
        Notebook name to its parameters.
    assets : tuple of str
        What is fetched before any notebook starts. If it cannot be had, the build stops where files are at hand
        (`assets.mirrors`), and has notices elsewhere.
    optional : tuple of str
        What notebooks use if it can be had, and say so if not.
    claims_hold : bool
        A claim of a notebook's report that its run does not bear fails the build.
    """

    name: str
    notebooks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    assets: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    claims_hold: bool = False


def find_notebooks(folder: Path) -> dict[str, Path]:
    """Notebooks of a folder (``NN_name.ipynb``), by name and in reading order.

    Parameters
    ----------
    folder : path

    Returns
    -------
    dict of str to Path
        Names are without suffix.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = {path.stem: path for path in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise FileNotFoundError(f"folder: expected notebooks named NN_name.ipynb in {folder}, found none")
    return found


def out_of_step(notebooks: Mapping[str, Path]) -> list[str]:
    """Names of the notebooks whose ``.ipynb`` differs from its ``.py`` script, or that lack one.

    Parameters
    ----------
    notebooks : dict of str to Path
        From `find_notebooks`.

    Returns
    -------
    list of str
    """
    import jupytext

    def cells(path: Path) -> list[tuple[str, str, Any]]:
        return [(cell.cell_type, cell.source, cell.metadata) for cell in jupytext.read(path).cells]

    scripts = {name: path.with_suffix(".py") for name, path in notebooks.items()}
    return [name for name, script in scripts.items() if not script.is_file() or cells(script) != cells(notebooks[name])]


def load_profile(path: Path, notebooks: Mapping[str, Path]) -> Profile:
    """Read ``NAME.yml`` and check it against the notebooks.

    Parameters
    ----------
    path : Path
        A mapping with the keys ``assets`` and ``optional`` (lists of names), ``claims_hold`` (true or false) and
        ``notebooks`` (notebook name to parameters).
    notebooks : dict of str to Path
        From `find_notebooks`.

    Returns
    -------
    Profile

    Raises
    ------
    FileNotFoundError
        If there is no such profile; the message lists those that exist.
    ValueError
        If a key, a notebook or a parameter is unknown; the message lists the valid ones.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        others = sorted(other.stem for other in path.parent.glob("*.yml"))
        raise FileNotFoundError(f"profile {path.stem!r}: no file {path}; profiles here: {', '.join(others) or 'none'}")
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping, got {type(content).__name__}")
    _check_names(content, ["assets", "optional", "claims_hold", "notebooks"], f"{path}: key")
    chosen = content.get("notebooks") or {}
    if not isinstance(chosen, dict):
        raise ValueError(f"{path}: notebooks: expected notebook names with their parameters, got {chosen!r}")
    assets = {key: content.get(key) or [] for key in ("assets", "optional")}
    for key, names in assets.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: {key}: expected a list of names, got {names!r}")
    claims_hold = content.get("claims_hold", False)
    if not isinstance(claims_hold, bool):
        raise ValueError(f"{path}: claims_hold: expected true or false, got {claims_hold!r}")
    _check_names(chosen, notebooks, f"{path}: notebook")
    for name, parameters in chosen.items():
        if not isinstance(parameters or {}, dict):
            raise ValueError(f"{path}: {name}: expected a mapping of parameters, got {parameters!r}")
        _check_parameters(notebooks[name], parameters or {}, f"{path}: {name}: parameter")
    parameters = {name: dict(parameters or {}) for name, parameters in chosen.items()}
    return Profile(path.stem, parameters, tuple(assets["assets"]), tuple(assets["optional"]), claims_hold)


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

    Parameters
    ----------
    profile : Profile
    notebooks : dict of str to Path
        From `find_notebooks`; a notebook the profile does not name runs with its own defaults.
    folder : Path
        Where the executed notebooks go. Executed notebooks without a source are removed from it.
    constraints : Path, optional
        The file of pinned versions; a change of it makes every run invalid.
    missing : collection of str
        Assets that could not be had: a notebook that asks for one has a page that says so, and runs again once it is
        there.
    only : str, optional
        Bring this notebook alone up to date.
    force : bool
        Run again even what is still valid.
    jobs : int
        How many notebooks run side by side, each in its share of the cores (`fitting_jobs`).
    cwd : Path, optional
        Working folder of the kernels.

    Returns
    -------
    list of Run

    Raises
    ------
    ValueError
        If `only` is not a notebook.
    NotebookError
        If notebooks failed, or claims that have to hold do not. The others were run all the same.
    """
    folder = Path(folder)
    if only is not None:
        _check_names([only], notebooks, "only: notebook")
    for stray in folder.glob("*.ipynb"):
        if stray.name.removesuffix(".failed.ipynb").removesuffix(".ipynb") not in notebooks:
            stray.unlink()
    code = "\n".join([_code_hash(constraints), *sorted(missing)])
    wanted = [only] if only else list(notebooks)
    runs, failures, due = {}, {}, []
    for number, name in enumerate(wanted, start=1):
        parameters, output = profile.notebooks.get(name, {}), folder / f"{name}.ipynb"
        key = _key(notebooks[name], parameters, code)
        runs[name] = None if force else _previous(output, key)
        if runs[name]:
            print(f"[{number}/{len(wanted)}] {name}: still valid, reused", flush=True)
        else:
            due.append((f"[{number}/{len(wanted)}] {name}", notebooks[name], parameters, output, cwd, key))
    for name, outcome in _side_by_side(_far_apart(due, jobs), jobs):
        label = f"[{wanted.index(name) + 1}/{len(wanted)}] {name}"
        if isinstance(outcome, Run):
            runs[name] = outcome
            print(f"{label}: {outcome.seconds:.0f} s, {outcome.peak_gb:.1f} GB", flush=True)
        elif outcome.name == "AssetError" and missing:
            _write_stub(notebooks[name], folder / f"{name}.ipynb", missing)
            print(f"{label}: a stub, as data are missing", flush=True)
        else:
            failures[name] = str(outcome)
            print(f"{label}: failed\n{outcome}", flush=True)
    runs = [run for run in runs.values() if run]
    if profile.claims_hold:
        for run in runs:
            untrue = [text for text, holds in run.claims.items() if not holds]
            if untrue:
                failures[run.notebook] = f"{run.notebook}: claims that its run does not bear: {'; '.join(untrue)}"
    print(summary(runs), flush=True)
    if failures:
        raise NotebookError(f"{len(failures)} of {len(wanted)} notebooks failed:\n" + "\n".join(failures.values()))
    return runs


def fitting_jobs() -> int:
    """How many notebooks this machine runs side by side: one a core, as far as memory goes.

    Returns
    -------
    int
    """
    from joblib import cpu_count

    memory = psutil.virtual_memory().available / 1e9
    return max(1, min(cpu_count(), int(memory // MEMORY_BAR_GB)))


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
    jobs = min(jobs, len(due))
    if jobs < 2:
        yield from map(_outcome, due)
        return
    from joblib import cpu_count

    # Each run in a process of its own, which measures the memory of its own kernel.
    threads = str(max(1, cpu_count() // jobs))
    with ProcessPoolExecutor(jobs, get_context("spawn"), _set_threads, (threads,)) as pool:
        for done in as_completed([pool.submit(_outcome, run) for run in due]):
            yield done.result()


def _set_threads(threads: str) -> None:
    os.environ["OMP_NUM_THREADS"] = threads  # of the kernels to come


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
        line = f"{run.notebook:<{width}}  {run.seconds:>7.1f} s  {run.peak_gb:>8.2f} GB  {', '.join(notes)}"
        lines.append(line.rstrip())
    reused = sum(run.reused for run in runs)
    return "\n".join([*lines, f"{len(runs) - reused} notebooks executed, {reused} reused"])


def _execute(notebook: Path, parameters: Mapping[str, Any], output: Path, cwd: Path | None, key: str | None) -> Run:
    """Run one notebook headlessly with this very Python; its output appears only when the whole of it has run.

    After a failure, what ran so far is beside it as ``NAME.failed.ipynb``.
    """
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    _check_parameters(notebook, parameters, f"{notebook.name}: parameter")
    output.parent.mkdir(parents=True, exist_ok=True)
    failed = output.with_suffix(".failed.ipynb")
    on_terminal = sys.stderr.isatty()
    claims = Path(cwd or ".") / "results" / notebook.stem / "claims.json"
    claims.unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}-") as work,
        tempfile.TemporaryDirectory() as sockets,
    ):
        partial = Path(work) / output.name
        started = time.perf_counter()
        try:
            with _PeakMemory() as memory:
                papermill.execute_notebook(
                    notebook,
                    partial,
                    dict(parameters),
                    cwd=cwd,
                    # In a log file each refresh of the bar is a line of its own: fewer of them.
                    progress_bar={"desc": output.stem, "mininterval": 0.1 if on_terminal else 15, "ncols": 100},
                    start_timeout=300,
                    kernel_manager_class=_own_kernel_manager(sockets),
                )
        except PapermillExecutionError as error:
            os.replace(partial, failed)
            failure = NotebookError(
                f"{notebook.stem}: cell {error.cell_index + 1} failed with {error.ename}: {error.evalue}\n"
                f"{_indented(error.source)}\nThe notebook as far as it ran: {failed}"
            )
            failure.name = error.ename
            raise failure from error
        except Exception as error:
            kept = ""
            if partial.is_file():
                os.replace(partial, failed)
                kept = f"\nThe notebook as far as it ran: {failed}"
            reason = f"{type(error).__name__}: {error}"
            raise NotebookError(f"{notebook.stem}: the run broke off with {reason}{kept}") from error
        cost = round(time.perf_counter() - started, 1), round(memory.peak / 1e9, 2)
        run = Run(notebook.stem, *cost, claims=json.loads(claims.read_text()) if claims.is_file() else {})
        executed = nbformat.read(partial, as_version=4)
        # Readers can download this file: papermill's record names folders of this machine, ours does not.
        executed.metadata.pop("papermill", None)
        executed.metadata["brainalign"] = {
            "key": key,
            "parameters": dict(parameters),
            "seconds": run.seconds,
            "peak_gb": run.peak_gb,
            "claims": run.claims,
        }
        nbformat.write(executed, partial)
        os.replace(partial, output)
    failed.unlink(missing_ok=True)
    return run


def _write_stub(notebook: Path, output: Path, missing: Collection[str]) -> None:
    """A page in place of a notebook whose data are missing: its title and introduction, and how to provide them."""
    import nbformat

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
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    # Sockets in a folder of our own, where the system has such: no network port that others could listen to.
    local = {"transport": "ipc", "ip": f"{sockets}/kernel"} if os.name == "posix" else {}

    class OwnKernelManager(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, **local})

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(
                argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                display_name="brainalign",
                language="python",
                # Sets and dicts of strings iterate alike in every run. The warning is of progress bars that are not
                # shown, and names folders of this machine.
                env={"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore:IProgress not found"},
            )

    return OwnKernelManager


class _PeakMemory:
    """Largest resident memory, in bytes, of the processes started inside the ``with`` block."""

    def __enter__(self) -> _PeakMemory:
        self.peak = 0
        self._parent = psutil.Process()
        self._before = set(self._parent.children(recursive=True))
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            total = 0
            for process in set(self._parent.children(recursive=True)) - self._before:
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # it ended between the two calls
                    continue
            self.peak = max(self.peak, total)


def _code_hash(constraints: Path | None) -> str:
    files = sorted(path for path in PACKAGE.rglob("*") if path.suffix in CODE_SUFFIXES)
    digest = hashlib.sha256()
    for path in [*files, *([Path(constraints)] if constraints else [])]:
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _key(notebook: Path, parameters: Mapping[str, Any], code: str) -> str:
    source = hashlib.sha256(notebook.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps([source, parameters, code], sort_keys=True, default=str).encode()).hexdigest()


def _previous(output: Path, key: str) -> Run | None:
    """The run that made `output`, if it is still valid."""
    try:
        record = json.loads(output.read_text(encoding="utf-8"))["metadata"]["brainalign"]
        cost = record["seconds"], record["peak_gb"]
        return Run(output.stem, *cost, True, record["claims"]) if record["key"] == key else None
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _check_parameters(notebook: Path, parameters: Mapping[str, Any], what: str) -> None:
    from papermill import inspect_notebook

    if parameters:
        _check_names(parameters, inspect_notebook(str(notebook)), what)


def _check_names(names: Iterable[str], valid: Iterable[str], what: str) -> None:
    valid = list(valid)
    for name in names:
        if name not in valid:
            raise ValueError(f"{what} {name!r} is unknown; expected one of: {', '.join(valid) or 'none at all'}")


def _indented(source: str) -> str:
    return "\n".join(f"    {line}" for line in source.splitlines())
