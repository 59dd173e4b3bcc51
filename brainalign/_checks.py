"""What many rooms ask of an argument; each error names it, what was expected and what came.

Every function gives back what it was given, as an array or a number where it made one of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import torch


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """One of some values."""
    if value not in (allowed := list(allowed)):
        raise ValueError(f"{name}: expected one of {listed(map(repr, allowed), 40)}, got {value!r}.")
    return value


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A whole number within bounds that are allowed themselves."""
    try:
        good = int(value) == value and least <= value and (most is None or value <= most)
    except (TypeError, ValueError):
        good = False
    if not good:
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: expected a whole number {bounds}, got {value!r}.")
    return int(value)


def within(name: str, value: Any, low: float = 0.0, high: float = 1.0) -> float:
    """A number between bounds that are not allowed themselves, such as a confidence level."""
    if not (isinstance(value, (int, float, np.number)) and low < value < high):
        bounds = f"above {low:g}" if high == np.inf else f"between {low:g} and {high:g}"
        raise ValueError(f"{name}: expected a number {bounds}, got {value!r}.")
    return float(value)


def shaped(name: str, values: Any, *dims: int | str) -> np.ndarray:
    """An array with these dimensions: a number is a size that is needed, a word names a dimension of any size."""
    values = np.asarray(values)
    if values.ndim != len(dims) or any(
        isinstance(d, int) and d != size for d, size in zip(dims, values.shape, strict=True)
    ):
        wanted = ", ".join(map(str, dims)) + ("," if len(dims) == 1 else "")
        raise ValueError(f"{name}: expected shape ({wanted}), got {values.shape}.")
    return values


def finite(name: str, values: Any, dtype: Any = float) -> np.ndarray:
    """Numbers, none of them NaN or infinite."""
    values = np.asarray(values, dtype=dtype)
    bad = ~np.isfinite(values)
    if bad.any():
        first = tuple(np.argwhere(bad)[0].tolist())
        raise ValueError(
            f"{name}: {int(bad.sum())} of {bad.size} values are not finite (NaN or inf), the first at {first}; repair "
            "them or leave them out."
        )
    return values


def varying(name: str, values: np.ndarray, what: str = "columns", labels: Iterable[Any] | None = None) -> np.ndarray:
    """Values of which no column (the last dimension) is constant over the rows (the last but one)."""
    flat = (np.ptp(values, axis=-2) == 0).reshape(-1, values.shape[-1]).any(0)
    if flat.any():
        names = np.arange(len(flat)) if labels is None else np.asarray(list(labels), dtype=object)
        raise ValueError(f"{name}: {int(flat.sum())} {what} are constant: {listed(names[flat])}; leave them out.")
    return values


def alike(**arrays: Any) -> None:
    """Arguments of one length."""
    lengths = [len(array) for array in arrays.values()]
    if len(set(lengths)) > 1:
        raise ValueError(f"{', '.join(arrays)}: expected the same length, got {', '.join(map(str, lengths))}.")


def labelled(name: str, labels: Any, n: int, least: int = 1) -> np.ndarray:
    """A label for each of so many items, none missing, and at least so many different ones."""
    labels = shaped(name, labels, n)
    missing, found = int(pd.isna(labels).sum()), len(pd.unique(labels))
    if missing or found < least:
        raise ValueError(
            f"{name}: expected {n} labels, none missing and at least {least} different ones, got {missing} missing and "
            f"{found} different ones."
        )
    return labels


def listed(names: Iterable[Any], most: int = 8) -> str:
    """Names for a message, the first of them where they are many."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def torch_device(device: str | torch.device, *, double: bool = False) -> torch.device:
    """The device of that name; "auto" is CUDA where torch finds it. With `double`, only what computes in float64."""
    import torch  # seconds, which rooms that read files only should not wait for

    name = str(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device: {name!r} was asked for, but torch finds no CUDA device; use 'auto' or 'cpu'.")
    try:
        found = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: expected 'auto' or a device that is there, such as 'cpu', got {name!r}.") from error
    if double and found.type not in ("cpu", "cuda"):
        raise ValueError(f"device: expected 'auto', 'cpu' or 'cuda' (double precision is needed), got {name!r}.")
    return found
