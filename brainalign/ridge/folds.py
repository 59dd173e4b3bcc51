"""Folds of samples in order, work on several of them at once, and checks of what goes into a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.model_selection import BaseCrossValidator, check_cv

from brainalign._checks import finite, listed, varying, whole

__all__ = ["ContiguousKFold"]

FOLD_BYTES = 2**28
"""Bound on the memory of the folds worked on at once."""

Folds = list[tuple[np.ndarray, np.ndarray]]


class ContiguousKFold(BaseCrossValidator):
    """Cut the samples, in order, into test blocks of (almost) equal length, wherever scikit-learn takes a splitter.

    Neighbouring samples are alike, so shuffled folds would leak; a gap keeps training samples off the test block.

    Parameters
    ----------
    n_splits : int
        Number of blocks, at least 2.
    gap : int
        Samples on either side of a test block that are left out of its training set. With groups (passages, each one
        contiguous run) a gap does not reach into another passage.

    Raises
    ------
    ValueError
        From `split`: too few samples for the blocks and gaps, or groups of another length or not contiguous.
    """

    def __init__(self, n_splits: int = 5, gap: int = 0) -> None:
        self.n_splits = whole("n_splits", n_splits, 2)
        self.gap = whole("gap", gap, 0)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: ArrayLike | None = None) -> int:
        """Return the number of blocks."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield sorted training and test indices, one pair a block."""
        yield from self.blocks(np.arange(len(X)), group_codes(groups, len(X)))

    def blocks(self, index: np.ndarray, codes: np.ndarray) -> Folds:
        """Folds of some samples (sorted); gaps are counted in the original ones."""
        if len(index) < self.n_splits:
            raise ValueError(f"cv: {len(index)} samples cannot be cut into {self.n_splits} blocks; use fewer splits.")
        folds = []
        for test in np.array_split(index, self.n_splits):
            first, last = test[0], test[-1]
            near = (index >= first - self.gap) & (index < first) & (codes[index] == codes[first])
            near |= (index <= last + self.gap) & (index > last) & (codes[index] == codes[last])
            train = index[~near & ((index < first) | (index > last))]
            if len(train) < 2:
                raise ValueError(
                    f"cv: {self} leaves {len(train)} of {len(index)} samples to train on for the test block of samples "
                    f"{first} to {last}; use a smaller gap or other splits."
                )
            folds.append((train, test))
        return folds


def folds_of(cv: Any, index: np.ndarray, codes: np.ndarray, groups: Any = None) -> Folds:
    """Folds of some samples by a number of contiguous blocks, a splitter or (train, test) pairs, checked."""
    cv = ContiguousKFold(int(cv)) if isinstance(cv, (int, np.integer)) else cv
    if isinstance(cv, ContiguousKFold):
        return cv.blocks(index, codes)
    folds: Folds = []
    n, tested = len(index), np.zeros(len(index), dtype=bool)
    for train, test in check_cv(cv).split(np.zeros((n, 1)), None, None if groups is None else codes[index]):
        train, test = np.asarray(train), np.asarray(test)
        for name, some in (("train", train), ("test", test)):
            if some.ndim != 1 or not np.issubdtype(some.dtype, np.integer) or len(some) == 0:
                raise ValueError(f"cv must give integer indices, got {name} indices {some!r} in split {len(folds)}.")
            if some.min() < 0 or some.max() >= n or len(np.unique(some)) < len(some):
                raise ValueError(
                    f"cv must give {name} indices from 0 to {n - 1}, each once; split {len(folds)} does not."
                )
        if len(np.intersect1d(train, test)):
            raise ValueError(f"cv puts samples in both the training and the test set of split {len(folds)}.")
        if tested[test].any():
            raise ValueError("cv tests a sample more than once, but held-out predictions are pooled; test each once.")
        tested[test] = True
        folds.append((index[np.sort(train)], index[np.sort(test)]))
    if tested.sum() < 3:
        raise ValueError(f"cv tests {int(tested.sum())} samples; a correlation needs at least 3.")
    return folds


def nested(cv: Any, outer_cv: Any, outer: Folds, codes: np.ndarray, groups: Any = None) -> list[Folds]:
    """Inner folds of each outer training set, a number of blocks with the gap of the outer ones.

    With None they are the other outer folds, without its test and gap samples.
    """
    if isinstance(cv, (int, np.integer)):
        cv = ContiguousKFold(int(cv), getattr(outer_cv, "gap", 0))
    if cv is not None:
        return [folds_of(cv, train, codes, groups) for train, _ in outer]
    inner = [
        [(np.intersect1d(train, other), np.intersect1d(train, test)) for k, (other, test) in enumerate(outer) if k != i]
        for i, (train, _) in enumerate(outer)
    ]
    if len(outer) < 3 or any(len(part) < 2 for folds in inner for fold in folds for part in fold):
        raise ValueError(
            f"inner_cv=None takes the other outer folds as inner ones, but {len(outer)} outer folds leave too few "
            "samples; use more of them, a smaller gap, or a number of inner folds."
        )
    return inner


def over_folds(inner: list[Folds], errors: Callable, run: Callable) -> list[Any]:
    """For each list of folds the sum over its folds of what `errors(train, tests)` gives for each of the tests.

    Lists of folds may share training sets: each is fitted once.
    """
    tasks: dict[bytes, tuple[np.ndarray, list, list]] = {}
    for number, folds in enumerate(inner):
        for train, test in folds:
            _, tests, numbers = tasks.setdefault(train.tobytes(), (train, [], []))
            tests.append(test)
            numbers.append(number)
    total: list[Any] = [0] * len(inner)
    trains, tests, users = zip(*tasks.values(), strict=True)
    for found, numbers in zip(run(errors, trains, tests), users, strict=True):
        for number, error in zip(numbers, found, strict=True):
            total[number] = total[number] + error
    return total


def group_codes(groups: ArrayLike | None, n_samples: int) -> np.ndarray:
    """Number of each sample's passage, 0 for all without groups; ValueError unless passages are contiguous."""
    if groups is None:
        return np.zeros(n_samples, dtype=int)
    groups = np.asarray(groups)
    if groups.shape != (n_samples,):
        raise ValueError(f"groups must hold one label for each of the {n_samples} samples, got shape {groups.shape}.")
    codes, labels = pd.factorize(groups)  # numbered by first appearance, -1 where missing
    if (codes < 0).any():
        raise ValueError(f"groups has {int((codes < 0).sum())} missing labels; give every sample its passage.")
    returns = np.flatnonzero(np.diff(codes) < 0)
    if len(returns):
        at = returns[0] + 1
        raise ValueError(
            f"groups must be contiguous runs (passages), but {labels.tolist()[codes[at]]!r} comes back at sample {at}; "
            "sort the samples by passage."
        )
    return codes


@contextmanager
def fold_map(n_samples: int, n_features: int, device: torch.device) -> Iterator[Callable]:
    """A `map` that works on as many folds at once as there are threads and memory.

    Decompositions of this size gain little from a second thread; two of them at a time do. Each fold on one thread also
    makes its numbers independent of the number of threads.
    """
    size = min(n_samples, n_features)
    workers = min(torch.get_num_threads(), FOLD_BYTES // (8 * 5 * size**2)) if device.type == "cpu" else 1
    if workers < 2:
        yield map
        return
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool.map


def check_alphas(alphas: ArrayLike) -> np.ndarray:
    """Penalties in ascending order; ValueError unless they are positive and finite."""
    alphas = np.atleast_1d(np.asarray(alphas, dtype=float))
    if alphas.ndim != 1 or len(alphas) == 0 or not np.all(np.isfinite(alphas) & (alphas > 0)):
        raise ValueError(f"alphas: expected a list of positive, finite penalties, got {alphas.tolist()}.")
    return np.sort(alphas)


def check_responses(y: np.ndarray, names: Iterable[Any]) -> None:
    """ValueError for channels (columns of y) that are not finite or flat, by their names."""
    names = np.asarray(list(names), dtype=object)
    bad = ~np.isfinite(y)
    if bad.any():
        columns = np.flatnonzero(bad.any(0))
        raise ValueError(
            f"responses: {int(bad.sum())} non-finite values, in {len(columns)} channels: {listed(names[columns])}; "
            "remove or interpolate them."
        )
    varying("responses", y, "channels", names)


def check_features(x: np.ndarray, label: str) -> None:
    """ValueError where a layer (sample, feature) is not finite or does not vary; the label says which layer."""
    if (np.ptp(finite(f"features {label}", x), axis=0) == 0).all():
        raise ValueError(f"features {label}: all {x.shape[1]} features are constant; nothing can be fitted.")
