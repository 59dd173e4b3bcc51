"""Files of a reader's own: settings, tables and arrays, read so that all that is wrong is listed and nothing guessed.

Each function that reads adds what it finds to a list of problems, one line each, and goes on as far as it can.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SETTINGS = "dataset.json"

UNKNOWN = ("", "nan", "na", "n/a")
"""What a cell that holds no number may say, in any case."""


def read_settings(folder: Path, keys: Sequence[str], example: str, problems: list[str]) -> dict | None:
    """The object in dataset.json; None if it cannot be used at all."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        problems.append(f"{SETTINGS}: missing; write one such as {example}")
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{SETTINGS}: cannot be read as JSON ({error}); expected something like {example}")
        return None
    if not isinstance(settings, dict):
        problems.append(f"{SETTINGS}: expected an object such as {example}, got {settings!r}")
        return None
    for key in settings:
        if key not in keys:
            close = get_close_matches(key, keys, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"{SETTINGS}: unknown key {key!r}; expected some of {list(keys)}{hint}")
    return settings


def read_table(folder: Path, file: str, needed: tuple[str, ...], problems: list[str]) -> pd.DataFrame | None:
    """A CSV file as text, its index the row numbers of a spreadsheet; None if it cannot be used at all."""
    try:
        text = (folder / file).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        problems.append(f"{file}: missing; expected a table with the columns {', '.join(needed)}")
        return None
    except UnicodeDecodeError as error:
        problems.append(f"{file}: not UTF-8 at byte {error.start}; save it as CSV in UTF-8")
        return None
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows, numbers = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                numbers.append(reader.line_num)
    except csv.Error as error:
        problems.append(f"{file}: row {reader.line_num} cannot be read ({error}); check its quotation marks")
        return None
    if not rows:
        problems.append(f"{file}: empty; expected a table with the columns {', '.join(needed)}")
        return None
    columns = [cell.strip() for cell in rows[0]]
    uneven = [(number, len(row)) for number, row in zip(numbers[1:], rows[1:], strict=True) if len(row) != len(columns)]
    if uneven:
        problems.append(
            f"{file}: {len(uneven)} row(s) do not have {len(columns)} cells as the header has, first row "
            f"{uneven[0][0]} with {uneven[0][1]}; put text that holds a {delimiter!r} in quotation marks"
        )
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    missing = [column for column in needed if column not in columns]
    if repeated:
        problems.append(f"{file}: the header repeats {repeated}; give every column a name of its own")
    if missing:
        problems.append(f"{file}: missing the column(s) {missing}; the header has {columns}")
    if len(rows) == 1:
        problems.append(f"{file}: has a header and no rows")
    even = [(number, row) for number, row in zip(numbers[1:], rows[1:], strict=True) if len(row) == len(columns)]
    if repeated or missing or not even:
        return None
    table = pd.DataFrame([row for _, row in even], columns=columns, index=[number for number, _ in even], dtype=object)
    if delimiter == ";":  # a spreadsheet set to a language with decimal commas
        table.attrs["decimal"] = ","
    return table


def to_numbers(table: pd.DataFrame, column: str, file: str, problems: list[str]) -> np.ndarray:
    """A column as numbers; unknown ones are NaN. Other text is a problem, and NaN too."""
    values, wrong, comma = np.full(len(table), np.nan), [], table.attrs.get("decimal") == ","
    for place, cell in enumerate(table[column]):
        cell = cell.strip()
        if cell.lower() in UNKNOWN:
            continue
        try:
            # Python would read 1_000 as a number, which in a table is a name.
            values[place] = float((cell.replace(",", ".") if comma else cell).replace("_", "?"))
        except ValueError:
            wrong.append(f"{cell!r} in row {table.index[place]}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        problems.append(
            f"{file}, column {column}: expected numbers, got {', '.join(wrong[:3])}{more}; leave unknown cells empty"
        )
    return values


def as_is(table: pd.DataFrame, column: str) -> pd.Series:
    """A further column: truth values or numbers where all its cells are, else text."""
    cells = table[column].str.strip()
    if cells.isin(["True", "False"]).all():
        return cells == "True"
    wrong: list[str] = []
    values = to_numbers(table, column, "", wrong)
    if wrong or np.isnan(values).all():
        return table[column].astype(str)
    whole = np.isfinite(values).all() and (values == np.round(values)).all() and not cells.str.contains(r"[.,e]").any()
    return pd.Series(values.astype(int) if whole else values, index=table.index)


def read_array(path: Path, problems: list[str], *, mapped: bool = False) -> np.ndarray | None:
    """Numbers of a .npy file or zarr array. Pickled objects, which could run code, are never opened.

    They come in floating-point; with `mapped`, as they are in the file, a memory map.
    """
    import zarr  # here: it is slow to load

    try:
        if path.suffix == ".npy":
            array: Any = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
        else:
            described = [path / name for name in (".zarray", "zarr.json") if (path / name).exists()]
            # Read as JSON, where a codec's name cannot hide behind escapes.
            if any("pickle" in str(json.loads(file.read_text(encoding="utf-8"))) for file in described):
                raise ValueError("it holds pickled objects")
            array = zarr.open_array(str(path), mode="r")
        if not isinstance(array, np.ndarray | zarr.Array) or array.dtype.kind not in "fiu":
            raise ValueError(f"it holds {getattr(array, 'dtype', 'several arrays')}")
        array = array if mapped else np.asarray(array[...])
    except Exception as error:  # a damaged file can make its reader raise anything
        problems.append(
            f"{path.name}: cannot be read as an array of numbers ({type(error).__name__}: {error}); write it with "
            f"{'numpy.save' if path.suffix == '.npy' else 'zarr.save_array'}"
        )
        return None
    return array if mapped or array.dtype.kind == "f" else array.astype("float64")


@contextmanager
def new_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder beside `folder` to write into, which takes its place when all went well and is removed otherwise.

    Parameters
    ----------
    folder : path
        Its final place; parents are made as needed.

    Yields
    ------
    Path
        The folder to write into.

    Raises
    ------
    FileExistsError
        If `folder` is there and not an empty folder.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"folder: {folder} exists and is not an empty folder; remove it or choose another name.")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        yield part
        if folder.exists():
            folder.rmdir()  # empty: not everywhere can it be replaced
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def listed(problems: Sequence[str]) -> list[str]:
    """Problems as lines, each of them a sentence."""
    return [" ".join(problem.split()).rstrip(".") + "." for problem in problems]
