"""Notebook runs: profiles, keys, failures, the kernel and its memory."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from joblib import cpu_count

from brainalign.book import cli, runs

PARAMETERS = "size: int = 3  # how many\nname: str = 'a'  # what"
# What a run depends on and what it was given, as one JSON line of output.
REPORT = (
    "import json, os, sys\n"
    "seed = os.environ['PYTHONHASHSEED']\n"
    "print(json.dumps({'python': sys.executable, 'seed': seed, 'cwd': os.getcwd(), 'size': size}))"
)


def write_notebook(path: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def execute(notebook: Path, parameters: dict, output: Path, cwd: Path | None = None) -> runs.Run:
    """One notebook, as `runs.execute_all` runs each."""
    return runs._execute(notebook, parameters, output, cwd, key=None)


def report(path: Path) -> dict:
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    return json.loads(outputs[-1]["text"])


@pytest.fixture
def notebooks(tmp_path: Path) -> dict[str, Path]:
    for name in ("01_one", "02_two"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", REPORT)
    return runs.find_notebooks(tmp_path / "notebooks")


def write_profile(folder: Path, text: str) -> Path:
    path = folder / "some.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_notebooks_are_found_in_reading_order(notebooks, tmp_path):
    write_notebook(tmp_path / "notebooks" / "draft.ipynb")
    assert list(runs.find_notebooks(tmp_path / "notebooks")) == ["01_one", "02_two"]
    with pytest.raises(FileNotFoundError, match="NN_name.ipynb"):
        runs.find_notebooks(tmp_path)


def test_profile_is_read(notebooks, tmp_path):
    text = "assets: [speech]\noptional: [alice]\nnotebooks:\n  01_one: {size: 5}\n  02_two:\n"
    chosen = {"01_one": {"size": 5}, "02_two": {}}
    profile = runs.load_profile(write_profile(tmp_path, text), notebooks)
    assert profile == runs.Profile("some", chosen, ["speech"], ["alice"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("notebook: {}", "key: expected one of 'assets', 'optional', 'claims_hold', 'notebooks', got 'notebook'"),
        ("notebooks: {03_three: {}}", "notebook: expected one of '01_one', '02_two', got '03_three'"),
        ("notebooks: {01_one: {sizes: 5}}", "01_one: parameter: expected one of 'size', 'name', got 'sizes'"),
        ("notebooks: {01_one: 5}", "01_one: expected a dict, got 5"),
        ("notebooks: [01_one]", "notebooks: expected a dict, got"),
        ("assets: alice", "assets: expected a list, got 'alice'"),
        ("claims_hold: 1", "claims_hold: expected a bool, got 1"),
        ("- 01_one", "profile: expected a dict, got"),
    ],
)
def test_bad_profile_is_refused(notebooks, tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        runs.load_profile(write_profile(tmp_path, text), notebooks)


def test_absent_profile_lists_those_that_exist(notebooks, tmp_path):
    write_profile(tmp_path, "")
    with pytest.raises(FileNotFoundError, match="profiles here: some"):
        runs.load_profile(tmp_path / "other.yml", notebooks)


def test_kernel_is_this_python_whatever_the_user_installed(notebooks, tmp_path, monkeypatch):
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/absent/python"], "display_name": "theirs", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    run = execute(notebooks["01_one"], {"size": 7}, tmp_path / "out" / "01_one.ipynb", cwd=tmp_path)
    assert report(tmp_path / "out" / "01_one.ipynb") == {
        "python": sys.executable,
        "seed": "0",
        "cwd": str(tmp_path),
        "size": 7,
    }
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["01_one.ipynb"]
    assert not run.reused


def test_runs_are_reused_until_what_they_depend_on_changes(notebooks, tmp_path, monkeypatch, capsys):
    folder, pins, package = tmp_path / "executed", tmp_path / "constraints.txt", tmp_path / "package"
    pins.write_text("numpy==1\n")
    package.mkdir()
    (package / "code.py").write_text("x = 1\n")
    monkeypatch.setattr(runs, "PACKAGE", package)
    executed = []

    def stand_in(notebook: Path, output: Path, parameters: dict, **options) -> None:
        executed.append((notebook.stem, parameters))
        shutil.copy(notebook, output)

    monkeypatch.setattr("papermill.execute_notebook", stand_in)

    def reused(size: int = 4, **options) -> list[bool]:
        profile = runs.Profile("p", {"01_one": {"size": size}})
        return [run.reused for run in runs.execute_all(profile, notebooks, folder, constraints=pins, **options)]

    assert reused(size=3) == [False, False]
    assert "2 notebooks executed, 0 reused" in capsys.readouterr().out
    assert reused(size=3) == [True, True]
    assert "0 notebooks executed, 2 reused" in capsys.readouterr().out
    assert reused() == [False, True]  # a parameter of the first
    write_notebook(notebooks["02_two"], "print('changed')")
    assert reused() == [True, False]  # the source of the second
    (package / "code.py").write_text("x = 2\n")
    assert reused(only="01_one") == [False]  # the package, as far as the first goes
    assert reused() == [True, False]
    pins.write_text("numpy==2\n")
    assert reused() == [False, False]  # the pinned versions
    assert reused(force=True) == [False, False]
    (folder / "01_one.ipynb").write_text('{"cells": [')
    assert reused() == [False, True]  # a damaged output
    assert executed[:3] == [("01_one", {"size": 3}), ("02_two", {}), ("01_one", {"size": 4})]
    assert len(executed) == 11


def test_failed_notebook_stops_no_other_and_keeps_what_ran(notebooks, tmp_path):
    folder = tmp_path / "executed"
    execute(notebooks["01_one"], {}, folder / "01_one.ipynb")
    before = (folder / "01_one.ipynb").read_bytes()
    write_notebook(notebooks["01_one"], REPORT, "raise KeyError('absent electrode')")
    with pytest.raises(runs.NotebookError, match="1 of 2 notebooks failed") as failure:
        runs.execute_all(runs.Profile("p"), notebooks, folder)
    message = str(failure.value)
    assert "01_one: cell 3 failed with KeyError: 'absent electrode'" in message
    assert "    raise KeyError('absent electrode')" in message
    assert report_before_failure(folder / "01_one.failed.ipynb")["size"] == 3
    assert (folder / "01_one.ipynb").read_bytes() == before
    assert report(folder / "02_two.ipynb")["size"] == 3

    write_notebook(notebooks["01_one"], REPORT)
    runs.execute_all(runs.Profile("p"), notebooks, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["01_one.ipynb", "02_two.ipynb"]


def test_notebooks_run_side_by_side_in_their_share_of_the_cores(notebooks, tmp_path):
    folder, met = tmp_path / "executed", "import os, pathlib, time\nprint(os.environ['OMP_NUM_THREADS'])"
    for name, other in (("01_one", "02_two"), ("02_two", "01_one")):  # each waits for the other to have begun
        waits = f"while not pathlib.Path('{tmp_path}/{other}').exists(): time.sleep(0.1)"
        write_notebook(notebooks[name], met, f"pathlib.Path('{tmp_path}/{name}').touch()\n{waits}")
    write_notebook(tmp_path / "notebooks" / "03_three.ipynb", "raise KeyError('absent electrode')")
    notebooks = runs.find_notebooks(tmp_path / "notebooks")
    with pytest.raises(runs.NotebookError, match="1 of 3 notebooks failed") as failure:
        runs.execute_all(runs.Profile("p"), notebooks, folder, jobs=2)
    assert "03_three: cell 2 failed with KeyError: 'absent electrode'" in str(failure.value)
    threads = max(1, cpu_count() // 2)
    assert [report_before_failure(folder / f"{name}.ipynb") for name in ("01_one", "02_two")] == [threads, threads]


def report_before_failure(path: Path) -> dict:
    texts = [
        output["text"]
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    ]
    return json.loads(texts[0])


def test_dead_kernel_is_a_clear_failure(notebooks, tmp_path):
    write_notebook(notebooks["01_one"], "import os", "os._exit(1)")
    with pytest.raises(runs.NotebookError, match="01_one: the run broke off with DeadKernelError"):
        execute(notebooks["01_one"], {}, tmp_path / "out" / "01_one.ipynb")
    assert not (tmp_path / "out" / "01_one.ipynb").exists()


def test_run_without_optional_data_is_redone_once_they_are_there(notebooks, tmp_path):
    profile, folder = runs.Profile("p", optional=["alice"]), tmp_path / "executed"

    def reused(missing):
        return runs.execute_all(profile, notebooks, folder, only="01_one", missing=missing)[0].reused

    assert [reused(["alice"]), reused(["alice"]), reused([]), reused([])] == [False, True, False, True]


def test_a_notebook_whose_data_are_missing_has_a_page_that_says_so(tmp_path, capsys):
    source = "from brainalign.assets import AssetError\nraise AssetError('no alice')"
    path = write_notebook(tmp_path / "notebooks/01_people.ipynb", source)
    written = nbformat.read(path, as_version=4)
    written.cells.insert(0, nbformat.v4.new_markdown_cell("# People\n\nWhat they heard."))
    nbformat.write(written, path)
    notebooks, folder = {"01_people": path}, tmp_path / "executed"
    assert runs.execute_all(runs.Profile("p"), notebooks, folder, missing=["alice"]) == []
    first, notice = nbformat.read(folder / "01_people.ipynb", as_version=4).cells
    assert first.source.startswith("# People") and "alice" in notice.source
    assert [file.name for file in folder.iterdir()] == ["01_people.ipynb"]
    with pytest.raises(runs.NotebookError, match="no alice"):  # nothing is known to be missing: a failure
        runs.execute_all(runs.Profile("p"), notebooks, folder)


def test_outputs_without_a_source_are_removed(notebooks, tmp_path):
    folder = tmp_path / "executed"
    folder.mkdir()
    for name in ("07_gone.ipynb", "08_gone.failed.ipynb"):
        (folder / name).write_text("{}")
    runs.execute_all(runs.Profile("p"), notebooks, folder, only="01_one")
    assert [path.name for path in folder.iterdir()] == ["01_one.ipynb"]


def test_unknown_only_lists_the_notebooks(notebooks, tmp_path):
    with pytest.raises(ValueError, match="only: expected one of '01_one', '02_two', got '01_on'"):
        runs.execute_all(runs.Profile("p"), notebooks, tmp_path / "executed", only="01_on")


def test_peak_memory_counts_the_kernel_and_its_children(notebooks, tmp_path):
    block = "x = bytearray(300_000_000); x[::4096] = b'1' * len(x[::4096])"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', \"{block}; import time; time.sleep(1)\"])"
    empty = execute(notebooks["02_two"], {}, tmp_path / "out" / "02_two.ipynb")
    for source in (f"{block}; import time; time.sleep(1)", child):
        write_notebook(notebooks["01_one"], source)
        run = execute(notebooks["01_one"], {}, tmp_path / "out" / "01_one.ipynb")
        assert 0.25 < run.peak_gb - empty.peak_gb < 0.45


def test_summary_marks_what_is_above_the_bar():
    lines = runs.summary([runs.Run("01_one", 12.34, 1.5), runs.Run("02_two", 1.0, 3.2, reused=True)]).splitlines()
    assert "12.3 s" in lines[1] and "1.50 GB" in lines[1] and "above" not in lines[1]
    assert lines[2].endswith("reused, above 3 GB")
    assert lines[3] == "1 notebooks executed, 1 reused"


def test_out_of_step_finds_changed_and_missing_scripts(notebooks):
    notebooks["01_one"].with_suffix(".py").write_text(f'# %% tags=["parameters"]\n{PARAMETERS}\n\n# %%\n{REPORT}\n')
    assert runs.out_of_step(notebooks) == ["02_two"]
    write_notebook(notebooks["01_one"], REPORT + "  # changed")
    assert runs.out_of_step(notebooks) == ["01_one", "02_two"]


def test_commands_tell_what_is_wrong(tmp_path, capsys):
    assert cli.main(["book", "--root", str(tmp_path)]) == 1
    assert "expected the project's folder" in capsys.readouterr().err


def test_notebooks_that_run_side_by_side_are_far_apart():
    assert runs._far_apart([1, 2, 3, 4, 5], 1) == [1, 2, 3, 4, 5] and runs._far_apart([], 2) == []
    assert runs._far_apart([1, 2, 3, 4, 5], 2) == [5, 2, 4, 1, 3]
    assert sorted(runs._far_apart(list(range(34)), 4)) == list(range(34))
