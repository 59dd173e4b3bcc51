"""Files of others, read so that nothing is guessed: what is wrong is raised as a ValueError, one line a problem."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign._checks import listed

SETTINGS = "dataset.json"
UNKNOWN = ("", "nan", "na", "n/a")  # what a cell that holds no number may say, in any case


def attempt(problems: list[str], read: Callable, *args: Any) -> Any:
    """What a function gives; None where it raises a ValueError, whose lines are added to the problems."""
    try:
        return read(*args)
    except ValueError as error:
        problems += str(error).splitlines()
        return None


@contextmanager
def reading(path: Path, what: str, advice: str = "is it complete?") -> Iterator[None]:
    """Name the file in whatever error its reader raises; the libraries do not."""
    try:
        yield
    except Exception as error:  # a damaged file can make its reader raise anything
        fault, size = f"{type(error).__name__}: {' '.join(str(error).split())}", path.stat().st_size
        raise ValueError(f"{path}: cannot be read as {what} ({fault}); {advice} It has {size} bytes.") from error


def some_subjects(given: str | int | Sequence[str | int] | None, known: Sequence[str], prefix: str) -> list[str]:
    """Names of people, who may be given by their numbers; all who are known where none are given."""
    if given is None:
        return list(known)
    each = [given] if isinstance(given, (str, int)) else list(given)
    names = [f"{prefix}{subject:02d}" if isinstance(subject, int) else subject for subject in each]
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise ValueError(f"subjects: expected different ones of {', '.join(known)} or their numbers, got {given!r}.")
    return names


def read_settings(folder: Path, keys: Sequence[str], problems: list[str]) -> dict[str, Any]:
    """The object in dataset.json; if it cannot be used, values of which there is nothing more to say."""
    example = '{"name": "mine", "' + keys[1] + '": "..."}'
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8-sig"))
        if not isinstance(settings, dict):
            raise ValueError(f"got {settings!r}")
    except (OSError, ValueError) as error:
        problems.append(f"{SETTINGS}: expected a JSON object such as {example}, but: {error}.")
        return {"name": SETTINGS, "modality": "erp"}
    for key in settings.keys() - set(keys):
        close = "".join(f" (did you mean {match!r}?)" for match in get_close_matches(key, keys, n=1))
        problems.append(f"{SETTINGS}: unknown key {key!r}{close}; expected some of {list(keys)}.")
    return settings


def read_table(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A CSV file (commas, semicolons or tabs) as text, its index the row numbers of a spreadsheet."""
    expected = f"expected a table with the columns {', '.join(needed)}"
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path.name}: missing; {expected}.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: not UTF-8 at byte {error.start}; save it as CSV in UTF-8.") from None
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        numbered = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise ValueError(f"{path.name}: row {reader.line_num} cannot be read ({error}); check its quotes.") from None
    columns, rows = [cell.strip() for cell in numbered[0][1]] if numbered else [], dict(numbered[1:])
    uneven = {number: len(row) for number, row in rows.items() if len(row) != len(columns)}
    problems = []
    if uneven:
        first = f"first row {min(uneven)} with {uneven[min(uneven)]}; put text that holds a {delimiter!r} in quotes"
        problems.append(f"{len(uneven)} row(s) do not have {len(columns)} cells as the header has, {first}.")
    if repeated := sorted({column for column in columns if columns.count(column) > 1}):
        problems.append(f"the header repeats {repeated}; give every column a name of its own.")
    if missing := [column for column in needed if column not in columns]:
        problems.append(f"missing the column(s) {missing}; the header has {columns}.")
    if not rows:
        problems.append(f"has no rows; {expected}.")
    if problems:
        raise ValueError("\n".join(f"{path.name}: {problem}" for problem in problems))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=object)
    table.attrs["decimal"] = "," if delimiter == ";" else "."  # a spreadsheet set to a language with decimal commas
    return table


def to_numbers(table: pd.DataFrame, column: str, file: str, problems: list[str]) -> np.ndarray:
    """A column as numbers; unknown ones are NaN. Other text is a problem, and NaN too."""
    cells = table[column].str.strip().str.lower().str.replace(table.attrs["decimal"], ".", regex=False)
    # Python would read 1_000 as a number, which in a table is a name.
    good = pd.to_numeric(cells, errors="coerce").notna() & ~cells.str.contains("_")
    wrong = table.loc[~good & ~cells.isin(UNKNOWN), column]
    if len(wrong):
        shown = listed([f"{cell!r} in row {row}" for row, cell in wrong.items()], 3)
        problems.append(f"{file}, column {column}: expected numbers, got {shown}; leave unknown cells empty.")
    return cells.where(good).to_numpy(float)


def as_is(table: pd.DataFrame, column: str) -> pd.Series:
    """A further column: truth values or numbers where all its cells are, else text."""
    wrong: list[str] = []
    cells = table[column].str.strip()
    if cells.isin(["True", "False"]).all():
        return cells == "True"
    values = to_numbers(table, column, "", wrong)
    if wrong or np.isnan(values).all():
        return table[column].astype(str)
    return pd.Series(values, table.index).astype(int if cells.str.fullmatch(r"[+-]?\d+").all() else float)


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Numbers of a .npy file, in floating-point; with `mapped`, as they are in the file, a memory map."""
    with reading(path, "an array of numbers", "write it with numpy.save."):
        # Pickled objects, which could run code, are never opened.
        array = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"it holds {array.dtype}")
    return array if mapped or array.dtype.kind == "f" else array.astype(float)
