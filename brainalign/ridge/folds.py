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
from sklearn.model_selection import check_cv

__all__ = ["contiguous_folds"]

FOLD_BYTES = 2**28
"""Bound on the memory of the folds worked on at once."""

Folds = list[tuple[np.ndarray, np.ndarray]]


def contiguous_folds(
    n_samples: int, n_splits: int = 10, groups: ArrayLike | None = None, gap: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut the samples, in order, into `n_splits` test blocks of (almost) equal length.

    Neighbouring samples are alike, so shuffled folds would leak; a `gap` keeps training samples off the test block.

    Parameters
    ----------
    n_samples : int
    n_splits : int
        Number of blocks, at least 2.
    groups : array-like of shape (n_samples,), optional
        Passage of each sample, each passage one contiguous run. A gap does not reach into another passage.
    gap : int
        Number of samples on either side of a test block that are left out of its training set.

    Returns
    -------
    list of (train, test)
        Sorted integer indices, one pair a block.

    Raises
    ------
    ValueError
        Too few samples for the blocks and gaps, or `groups` of another length or not contiguous.
    """
    return blocks(np.arange(n_samples), n_splits, group_codes(groups, n_samples), gap, "n_splits")


def blocks(index: np.ndarray, n_splits: int, codes: np.ndarray, gap: int, name: str) -> Folds:
    """Contiguous folds over the samples `index` (sorted); distances for the gap are counted in the original samples."""
    if int(n_splits) != n_splits or n_splits < 2:
        raise ValueError(f"{name} must be an integer of at least 2, got {n_splits!r}.")
    if int(gap) != gap or gap < 0:
        raise ValueError(f"gap must be a non-negative number of samples, got {gap!r}.")
    if len(index) < n_splits:
        raise ValueError(f"{len(index)} samples cannot be cut into {name}={n_splits} blocks; use fewer splits.")
    folds = []
    for test in np.array_split(index, int(n_splits)):
        first, last = test[0], test[-1]
        near = (index >= first - gap) & (index < first) & (codes[index] == codes[first])
        near |= (index <= last + gap) & (index > last) & (codes[index] == codes[last])
        train = index[~near & ((index < first) | (index > last))]
        if len(train) < 2:
            raise ValueError(
                f"{name}={n_splits} with gap={gap} leaves {len(train)} of {len(index)} samples to train on for the "
                f"test block of samples {first} to {last}; use a smaller gap or other splits."
            )
        folds.append((train, test))
    return folds


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


def custom_folds(cv: Any, n_samples: int, codes: np.ndarray | None) -> Folds:
    """Folds of a scikit-learn splitter or an iterable of (train, test), checked."""
    folds: Folds = []
    tested = np.zeros(n_samples, dtype=bool)
    for train, test in check_cv(cv).split(np.zeros((n_samples, 1)), None, codes):
        train, test = np.asarray(train), np.asarray(test)
        for name, index in (("train", train), ("test", test)):
            if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer) or len(index) == 0:
                raise ValueError(f"cv must give integer indices, got {name} indices {index!r} in split {len(folds)}.")
            if index.min() < 0 or index.max() >= n_samples or len(np.unique(index)) < len(index):
                raise ValueError(
                    f"cv must give {name} indices within 0 to {n_samples - 1}, each once; split {len(folds)} does not."
                )
        if len(np.intersect1d(train, test)):
            raise ValueError(f"cv puts samples in both the training and the test set of split {len(folds)}.")
        if tested[test].any():
            raise ValueError("cv tests a sample more than once, but held-out predictions are pooled; test each once.")
        tested[test] = True
        folds.append((np.sort(train), np.sort(test)))
    if tested.sum() < 3:
        raise ValueError(f"cv tests {int(tested.sum())} samples; a correlation needs at least 3.")
    return folds


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
        raise ValueError(f"alphas must be a list of positive, finite penalties, got {alphas.tolist()}.")
    return np.sort(alphas)


def check_responses(y: np.ndarray, names: Iterable[Any]) -> None:
    """ValueError for channels (columns of y) that are not finite or flat, by their names."""
    names = np.asarray(list(names), dtype=object)
    bad = ~np.isfinite(y)
    if bad.any():
        columns = np.flatnonzero(bad.any(0))
        raise ValueError(
            f"responses has {int(bad.sum())} non-finite values, in {len(columns)} channels: {_listed(names[columns])}; "
            "remove or interpolate them."
        )
    flat = np.flatnonzero(np.ptp(y, axis=0) == 0)
    if len(flat):
        raise ValueError(f"responses has {len(flat)} flat (constant) channels: {_listed(names[flat])}; leave them out.")


def check_features(x: np.ndarray, label: str) -> None:
    """ValueError where a layer (sample, feature) is not finite or does not vary; the label says which layer."""
    bad = ~np.isfinite(x)
    if bad.any():
        raise ValueError(
            f"features has {int(bad.sum())} non-finite values {label} (first at sample {np.argwhere(bad)[0][0]}); "
            "remove or replace them."
        )
    if (np.ptp(x, axis=0) == 0).all():
        raise ValueError(f"features does not vary {label}: all {x.shape[1]} features are constant.")


def _listed(names: np.ndarray, most: int = 8) -> str:
    text = ", ".join(str(n) for n in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")
