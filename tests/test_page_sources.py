"""What a page of the book looks like in its source: short, most of its code to be seen, numbers through its report."""

from __future__ import annotations

import ast
import re

import nbformat
import pandas as pd
import pytest

LINES, CELL_LINES, VISIBLE = 350, 25, 2 / 3
FOLDED = {"hide-input", "hide-cell", "remove-cell", "remove-input"}
DATA = re.compile(r"\btruth\b.* is (not )?None|\bif [\w.]*truth\b|AssetError|\breal_data\b|\bno data\b", re.IGNORECASE)


def code_lines(source: str) -> int:
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in source.splitlines())


def glue_calls(source: str) -> int:
    tree = ast.parse("\n".join(line for line in source.splitlines() if not line.startswith(("%", "!"))))
    return sum(isinstance(node, ast.Call) and getattr(node.func, "id", "") == "glue" for node in ast.walk(tree))


@pytest.fixture(scope="module")
def pages(project) -> pd.DataFrame:
    rows = {}
    for path in sorted((project / "notebooks").glob("*.ipynb")):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        sources = [cell.source for cell in cells]
        sizes = [code_lines(source) for source in sources]
        folded = [bool(FOLDED & set(cell.metadata.get("tags", []))) for cell in cells]
        shown = sum(size for size, hidden in zip(sizes, folded, strict=True) if not hidden)
        code = "\n".join(sources)
        rows[path.stem] = {
            "lines": len(path.with_suffix(".py").read_text(encoding="utf-8").splitlines()),
            "code": sum(sizes),
            "visible": shown / sum(sizes),
            "longest cell": max(sizes),
            "removed": sum("remove-cell" in cell.metadata.get("tags", []) for cell in cells),
            "glue": sum(map(glue_calls, sources)),
            "branches": len(DATA.findall(code)),
            "claims": len(re.findall(r"\breport\.claim\(", code)),
        }
    table = pd.DataFrame(rows).T
    print(table.round(2).to_string())
    print(table[["lines", "code", "glue", "branches", "claims"]].sum().to_string())
    return table


def test_pages_are_short_and_most_of_their_code_is_seen(pages):
    assert (pages["lines"] <= LINES).all(), pages.index[pages["lines"] > LINES].tolist()
    assert (pages["visible"] >= VISIBLE).all(), pages.index[pages["visible"] < VISIBLE].tolist()
    assert (pages["longest cell"] <= CELL_LINES).all(), pages.index[pages["longest cell"] > CELL_LINES].tolist()
    assert (pages["removed"] <= 1).all()


def test_numbers_come_through_the_report_and_claims_stand_behind_the_text(pages):
    assert (pages["glue"] == 0).all(), pages.index[pages["glue"] > 0].tolist()
    assert (pages["claims"] > 0).all(), pages.index[pages["claims"] == 0].tolist()


def test_no_page_asks_whether_there_are_data_or_truth(pages):
    assert (pages["branches"] == 0).all(), pages.index[pages["branches"] > 0].tolist()
