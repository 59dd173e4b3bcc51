"""The project as a whole: pins, paired notebooks, the table of contents, import floors, docstrings, paths."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from test_language import gpt2
from test_lesions import save

import brainalign
from brainalign.book import runs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# Imports point down; this is where the floors are said. Within a floor, modules may use one another.
FLOORS = {
    1: {"_checks", "_io", "assets", "cortex", "mixed", "signals", "stats"},
    2: {"datasets"},
    3: {"features"},
    4: {"layers", "ridge", "rsa", "story"},
    5: {"decoding", "models", "simulated"},
    6: {"plotting"},
    7: {"book"},
}
FLOOR = {module: number for number, modules in FLOORS.items() for module in modules}
PINNED_BY_TORCH = ("nvidia-", "cuda-", "triton")


@pytest.fixture(scope="module")
def pyproject(project) -> dict:
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def core(pyproject) -> list[Requirement]:
    return [Requirement(line) for line in pyproject["dependencies"]]


@pytest.fixture(scope="module")
def extras(pyproject) -> dict[str, list[Requirement]]:
    return {name: [Requirement(line) for line in lines] for name, lines in pyproject["optional-dependencies"].items()}


@pytest.fixture(scope="module")
def pins(project) -> list[Requirement]:
    lines = (project / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def notebooks(project) -> dict[str, Path]:
    return runs.find_notebooks(project / "notebooks")


def pinned_version(pins: list[Requirement], name: str, python: str) -> str:
    name = canonicalize_name(name)
    found = [pin for pin in pins if canonicalize_name(pin.name) == name and applies(pin, python)]
    assert len(found) == 1, f"{name} on Python {python}: expected one pin, found {[str(pin) for pin in found]}"
    (specifier,) = found[0].specifier
    assert specifier.operator == "==", f"{found[0]}: expected an exact version"
    return specifier.version


def applies(requirement: Requirement, python: str, extra: str = "") -> bool:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_within_its_range(core, extras, pins, python):
    for requirement in [*core, *(requirement for group in extras.values() for requirement in group)]:
        if applies(requirement, python):
            version = pinned_version(pins, requirement.name, python)
            assert requirement.specifier.contains(version), f"{requirement} does not allow the pinned {version}"


def installed_with(requirements: Iterable[Requirement]) -> Iterator[Requirement]:
    """The requirements and all that they require, once each, without what comes with torch's own build."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    to_do, seen = list(requirements), set()
    while to_do:
        requirement = to_do.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen or key[0].startswith(PINNED_BY_TORCH) or not applies(requirement, python):
            continue
        seen.add(key)
        yield requirement
        for inner in [Requirement(line) for line in metadata.requires(requirement.name) or []]:
            if any(applies(inner, python, extra) for extra in ("", *requirement.extras)):
                inner.marker = None
                to_do.append(inner)


def test_what_the_dependencies_install_is_pinned_too(core, extras, pins):
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = list(installed_with([*core, *(requirement for group in extras.values() for requirement in group)]))
    for requirement in found:
        version = pinned_version(pins, requirement.name, python)
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, but {version} is pinned"
    assert len(found) > 100


def test_conda_environment_gives_the_same_versions(project, pyproject, pins):
    environment = yaml.safe_load((project / "environment.yml").read_text(encoding="utf-8"))
    python, pip, rest = environment["dependencies"]
    python = python.removeprefix("python=")
    assert python in SpecifierSet(pyproject["requires-python"]) and python in PYTHONS
    assert pip == f"pip={pinned_version(pins, 'pip', python)}"
    assert rest == {"pip": ["-c constraints.txt", "-e .[data,captions,book,test]"]}
    assert set(pyproject["optional-dependencies"]) == {"data", "captions", "book", "test"}


def test_every_import_is_declared(project, core, extras):
    owners = metadata.packages_distributions()
    ours = {"brainalign", "tests", "tomli", *(path.stem for path in (project / "tests").rglob("*.py"))}

    def names(*groups: list[Requirement]) -> set[str]:
        return {canonicalize_name(requirement.name) for group in groups for requirement in group}

    def undeclared(paths: Iterator[Path], allowed: set[str]) -> list[str]:
        found = []
        for path in paths:
            for node, module in imports(ast.parse(path.read_text(encoding="utf-8"))):
                top = module.split(".")[0]
                if top in sys.stdlib_module_names or top in ours:
                    continue
                if not allowed & {canonicalize_name(name) for name in owners.get(top, [])}:
                    found.append(f"{path.relative_to(project)}:{node.lineno}: {top}")
        return found

    own = names(core, *(group for name, group in extras.items() if name != "test"))
    assert undeclared((project / "brainalign").rglob("*.py"), own) == []
    assert undeclared((project / "notebooks").glob("*.py"), own) == []
    assert undeclared((project / "tests").rglob("*.py"), own | names(extras["test"])) == []


TWO_CALLS = """
import sys
sys.modules |= dict.fromkeys({blocked})
import numpy as np, pandas as pd, xarray as xr
from brainalign.datasets import Listening, load_viewing
from brainalign.ridge import ContiguousKFold, cross_validate
from brainalign.stats import Shifts
from brainalign.features.language import layer_features

words = pd.DataFrame({{"word": 60 * ["river", "boat", "old"], "onset": range(180), "passage": np.arange(180) // 20}})
words["offset"] = words["onset"] + 0.5
channels = pd.DataFrame({{"subject": ["s", "s"], "region": "", "hemisphere": ""}}, index=["a", "b"])
channels = channels.assign(**dict.fromkeys(["x", "y", "z", "distance_pmc"], np.nan))
values = np.random.default_rng(0).standard_normal((180, 2))
responses = xr.DataArray(values, {{"channel": ["a", "b"]}}, ("word", "channel"))
data = Listening(name="mine", modality="high-gamma", words=words, channels=channels, responses=responses)
features = layer_features(data.words, {model!r}, store=False)
folds = {{"cv": ContiguousKFold(10, gap=5), "groups": data.words["passage"]}}
fit = cross_validate(features, data.responses, null=Shifts(2, min_shift=5), **folds)
assert fit["score"].shape == (3, 2) and fit["null"].shape == (2, 3, 2)
try:
    load_viewing("nsd")
except ImportError as error:
    print(error)
"""


def test_the_core_alone_serves_what_the_readme_shows(core, extras):
    owners = metadata.packages_distributions()
    heavy = {canonicalize_name(r.name) for name, group in extras.items() if name != "test" for r in group}
    heavy -= {canonicalize_name(r.name) for r in installed_with(core)}
    assert len(heavy) > 15
    blocked = [top for top, own in owners.items() if heavy & {canonicalize_name(name) for name in own}]
    script = TWO_CALLS.format(blocked=sorted(blocked), model=save(gpt2()))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "needs h5py, which is not installed: pip install 'brainalign[data]'" in result.stdout


def test_hooks_run_the_pinned_versions(project, pins):
    config = yaml.safe_load((project / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = config["repos"]
    for line in {line for hook in repository["hooks"] for line in hook["additional_dependencies"]}:
        name, version = line.split("==")
        assert pinned_version(pins, name, PYTHONS[0]) == version


def test_versions_agree(project, pyproject):
    citation = yaml.safe_load((project / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == pyproject["version"] == brainalign.__version__
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in pyproject["authors"]]
    papers = [f"https://doi.org/{reference['doi']}" for reference in citation["references"]]
    assert list(pyproject["urls"].values()) == papers


def test_notebooks_equal_their_scripts(notebooks):
    assert runs.out_of_step(notebooks) == [], "run `make sync`"


def test_notebooks_hold_no_outputs_and_name_their_language(notebooks):
    for name, path in notebooks.items():
        notebook = nbformat.read(path, as_version=4)
        assert notebook.metadata.kernelspec.language == "python", name
        for number, cell in enumerate(notebook.cells, start=1):
            if cell.cell_type == "code":
                assert cell.outputs == [] and cell.execution_count is None, f"{name}: cell {number} holds outputs"


def test_parameters_document_themselves(notebooks):
    """`papermill --help-notebook` shows each parameter with its type and what it means."""
    for name, path in notebooks.items():
        cells = nbformat.read(path, as_version=4).cells
        cells = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        assert len(cells) == 1, f"{name}: expected one cell tagged 'parameters', found {len(cells)}"
        statements = ast.parse(cells[0].source).body
        assert statements and all(isinstance(node, ast.AnnAssign) for node in statements), f"{name}: annotate each one"
        shown = papermill.inspect_notebook(str(path))
        assert list(shown) == [node.target.id for node in statements], f"{name}: one parameter a line"
        for parameter in shown.values():
            assert parameter["inferred_type_name"] != "None" and parameter["help"], f"{name}: comment on {parameter}"


def test_book_holds_every_notebook(project, notebooks):
    toc = yaml.safe_load((project / "_toc.yml").read_text(encoding="utf-8"))
    pages = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    executed = "book/executed/"
    chapters = [page.removeprefix(executed) for page in pages if page.startswith(executed)]
    assert sorted(chapters) == sorted(notebooks) and [name[:2] for name in chapters] == sorted(c[:2] for c in chapters)
    for page in pages:
        assert page.startswith(executed) or (project / f"{page}.md").is_file(), page


def test_profiles_fit_the_notebooks(project, notebooks):
    profiles = sorted((project / "book" / "profiles").glob("*.yml"))
    assert "default" in [path.stem for path in profiles]
    for path in profiles:
        runs.load_profile(path, notebooks)


def modules(project: Path) -> list[tuple[str, ast.Module]]:
    """Dotted name below the package, and syntax tree, of every module."""
    package = project / "brainalign"
    paths = sorted(package.rglob("*.py"))
    names = [".".join(path.relative_to(package).with_suffix("").parts) for path in paths]
    return [(name, ast.parse(path.read_text(encoding="utf-8"))) for name, path in zip(names, paths, strict=True)]


def imports(tree: ast.AST, name: str = "") -> Iterator[tuple[ast.stmt, str]]:
    """Every import of a module, at its top and inside functions, as absolute dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ["brainalign", *name.split(".")][: -node.level] if node.level else []
            base += [node.module] if node.module else []
            yield from ((node, ".".join([*base, alias.name])) for alias in node.names)


def own_imports(tree: ast.AST, name: str) -> set[str]:
    """Modules and subpackages of ours, directly below the package, that a module imports."""
    found = [module.split(".") for _, module in imports(tree, name)]
    return {parts[1] for parts in found if parts[0] == "brainalign" and len(parts) > 1 and not parts[1].startswith("_")}


def test_imports_only_point_down(project):
    for name, tree in modules(project):
        top = name.split(".")[0]
        if top in ("__init__", "__main__"):
            continue
        assert top in FLOOR, f"brainalign/{name}: give the module a floor"
        for other in own_imports(tree, name):
            assert FLOOR[other] <= FLOOR[top], f"{name} (floor {FLOOR[top]}) imports {other} (floor {FLOOR[other]})"
            assert name.startswith(other) or other not in ("plotting", "book"), (
                f"{name} imports {other}: nothing in the package does"
            )


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("brainalign.datasets", "torch transformers sentence_transformers mne mne_bids nilearn statsmodels zarr h5py"),
        ("brainalign.book.cli", "torch numpy pandas xarray papermill"),
    ],
)
def test_what_a_quick_import_leaves_out(module, slow):
    code = f"import sys, {module}; print(*set({slow.split()}) & set(sys.modules))"
    assert not subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_import_finder_sees_every_form():
    source = "import brainalign.cli\ndef f():\n from . import runs\n from .. import plotting\n from ..stats import fdr"
    assert own_imports(ast.parse(source), "features.language") == {"cli", "features", "plotting", "stats"}


def test_public_names_have_docstrings(project):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    missing = []
    for name, tree in modules(project):
        missing += [name] * (ast.get_docstring(tree) is None)
        public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
        missing += [f"{name}.{node.name}" for node in public if ast.get_docstring(node) is None]
    assert missing == []


def test_files_name_no_place_on_one_machine(project):
    absolute = re.compile(r"(?<![\w.:/~*])/(?:home|root|Users|tmp|work|mnt|opt|var)/\w")
    suffixes = {".py", ".ipynb", ".md", ".yml", ".toml", ".txt", ".cff", ".bib", ".css", ".tsv"}
    generated = {".venv", ".git", "_build", "executed", ".hypothesis", ".cache", "build"}
    found = []
    for path in [*project.rglob("*"), project / "Makefile", project / ".ci" / "run"]:
        parts = path.relative_to(project).parts
        if generated & set(parts) or not (path.suffix in suffixes or path.name in ("Makefile", "run")):
            continue
        if path.is_file():
            lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
            found += [f"{'/'.join(parts)}:{number}: {line[:80]}" for number, line in lines if absolute.search(line)]
    assert found == []


def test_readme_names_only_files_that_exist(project):
    text = (project / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert any(target.endswith(".png") for target in targets)
    assert [target for target in targets if not (project / target).exists()] == []
