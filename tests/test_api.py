"""The API pages list every public name once, and docstrings hold what numpydoc and the project ask of them."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections import Counter
from collections.abc import Iterator

from numpydoc.validate import validate

import brainalign

SECTIONS = re.compile(r"^ *(Parameters|Returns|Yields|Raises|Attributes)\n *-+$", re.MULTILINE)
# Of every docstring: there is one, with a summary that ends (SS03; a question may, too); no blank lines in pairs, tabs,
# or sections that are unknown or out of order.
FORM = {"GL03", "GL05", "GL06", "GL07", "GL08", "SS01", "SS03", "SS04"}
# Of those with sections (a short one may say it all in its text): the parameters are the signature's, with types that
# end in no period and go by Python's names; what is returned or yielded has a section.
CONTENT = {"PR01", "PR02", "PR05", "PR06", "PR09", "PR10", "RT01", "RT05", "YD01"}
ARRAY = re.compile(r"\b(array|array-like|ndarray|tensor|DataArray)\b")


def public_names() -> dict[str, object]:
    """Every public object under one address: where an ``__all__`` exports it, else where it is defined."""
    homes: dict[int, tuple[bool, int, str]] = {}
    objects = {}
    for found in pkgutil.walk_packages(brainalign.__path__, "brainalign."):
        if "._" in found.name:  # private modules, __main__
            continue
        module = importlib.import_module(found.name)
        exported = getattr(module, "__all__", None)
        names = [name for name, value in vars(module).items() if is_own(name, value, module.__name__)]
        for name in names if exported is None else exported:
            value = getattr(module, name)
            address = f"{module.__name__}.{name}"
            objects[address] = value
            homes[id(value)] = min((exported is None, len(address), address), homes.get(id(value), (True, 999, "")))
    return {address: objects[address] for *_, address in homes.values()}


def is_own(name: str, value: object, module: str) -> bool:
    kinds = inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value))
    return kinds and not name.startswith("_") and value.__module__ == module


def documented() -> Iterator[tuple[str, object]]:
    """Public functions, classes and their public methods, with their addresses."""
    for address, value in public_names().items():
        if callable(value):
            yield address, inspect.unwrap(value)
        for name, member in vars(value).items() if inspect.isclass(value) else ():
            kinds = inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))
            if kinds and not re.match("_|set_.*_request", name):
                yield f"{address}.{name}", getattr(member, "__func__", member)


def test_api_pages_list_every_public_name_once(project):
    pages = sorted((project / "book" / "api").glob("*.md"))
    tables, bodies, left_out = [], [], []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```\{eval-rst\}\n(.*?)```", text, re.DOTALL):
            (module,) = re.findall(r"currentmodule:: (\S+)", block)
            tables += [f"{module}.{name}" for name in re.findall(r"^   (\w+)$", block, re.MULTILINE)]
            bodies += re.findall(r"automodule:: (\S+)", block)
            left_out += [
                f"{module}.{name}"
                for names in re.findall(r"exclude-members: (.+)", block)
                for name in names.split(", ")
            ]
    assert [name for name, count in Counter(tables).items() if count > 1] == []
    assert set(tables) == set(public_names())
    # Each table's module is documented in full, less what has its home in another.
    assert sorted(bodies) == sorted({name.rpartition(".")[0] for name in tables})
    assert not set(left_out) & set(tables)
    for module in map(importlib.import_module, bodies):
        names = getattr(module, "__all__", [n for n, v in vars(module).items() if is_own(n, v, module.__name__)])
        assert {f"{module.__name__}.{name}" for name in names} <= {*tables, *left_out}, module.__name__


def test_docstrings_are_complete():
    found = {address: problems for address, value in documented() if (problems := docstring_problems(address, value))}
    assert found == {}


def docstring_problems(address: str, value: object) -> list[str]:
    text = inspect.getdoc(value) or ""
    sections = SECTIONS.search(text)
    codes = FORM | (CONTENT if sections else set())
    codes -= {"SS03"} if text.partition("\n\n")[0].endswith("?") else set()
    problems = [f"{code}: {what}" for code, what in validate(address)["errors"] if code in codes]
    return problems + unnamed_errors(value, text) + (shapeless_arrays(text) if sections else [])


def unnamed_errors(value: object, text: str) -> list[str]:
    """Errors that a function raises in its own body and its docstring does not name.

    That bad input is a ValueError is said once, for all functions without a section on errors.
    """
    if not inspect.isfunction(value):
        return []
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    raised = {
        ast.unparse(node.exc.func).rpartition(".")[2]
        for node in ast.walk(function)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    }
    _, section, stated = text.partition("Raises\n------\n")
    raised -= set() if section or SECTIONS.search(text) else {"ValueError"}
    return [f"raises {name}, which is not named" for name in raised if not re.search(rf"\b{name}\b", stated or text)]


def shapeless_arrays(text: str) -> list[str]:
    """Types of parameters and results that are arrays of no stated shape."""
    types = re.findall(r"^(?:[\w*, ]+ : )?(\w.*)\n(?=    )", text, re.MULTILINE)
    return [f"no shape: {line}" for line in types if ARRAY.search(line) and not re.search("shape|[Ss]calar", line)]
