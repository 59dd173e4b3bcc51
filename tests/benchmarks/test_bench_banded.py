"""A partition of variance beside himalaya's banded ridge: same folds, draws and penalties, interleaved runs."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import torch
from himalaya.backend import set_backend
from himalaya.ridge import GroupRidgeCV
from sklearn.model_selection import KFold

from brainalign.ridge import ContiguousKFold, banded, variance_partition

N_SAMPLES, SIZES, N_CHANNELS, N_SPLITS, N_INNER, N_DRAWS, ROUNDS = 1800, (50, 50, 100), 200, 4, 3, 12, 3
ALPHAS = np.logspace(-1, 5, 7)


def data():
    rng = np.random.default_rng(0)
    spaces = {f"s{size}_{k}": rng.standard_normal((N_SAMPLES, size)) for k, size in enumerate(SIZES)}
    signal = sum(x @ rng.standard_normal((x.shape[1], N_CHANNELS)) / np.sqrt(x.shape[1]) for x in spaces.values())
    return spaces, signal + 3 * rng.standard_normal(signal.shape)


def ours(spaces, y):
    options = {"cv": N_SPLITS, "inner_cv": N_INNER, "n_draws": N_DRAWS, "device": "cpu"}
    found = variance_partition(spaces, y, alphas=ALPHAS, **options).sel(estimate="cross-validated")
    return found["r2"].to_numpy(), found["unique"].to_numpy()


def himalaya(spaces, y):
    """R2 of all spaces, and what each adds to the others: seven models, as a partition of three spaces has."""
    set_backend("numpy")
    names, of = list(spaces), {}
    drawn = banded._draws(len(names), N_DRAWS, 0)
    for members in (m for size in (1, 2, 3) for m in combinations(range(len(names)), size)):
        gammas = drawn[:, members] / drawn[:, members].sum(1, keepdims=True) if len(members) > 1 else np.ones((1, 1))
        solver = {"n_iter": gammas, "alphas": ALPHAS, "progress_bar": False, "warn": False}
        error, null = 0.0, 0.0
        for train, test in list(ContiguousKFold(N_SPLITS).split(range(len(y)))):
            parts = []
            for k in members:  # standardized, of total variance 1
                x = spaces[names[k]]
                x = (x - x[train].mean(0)) / x[train].std(0)
                parts.append(x / np.sqrt(x.shape[1]))
            model = GroupRidgeCV(groups="input", cv=KFold(N_INNER), fit_intercept=True, solver_params=solver)
            predicted = model.fit([x[train] for x in parts], y[train]).predict([x[test] for x in parts])
            error = error + ((predicted - y[test]) ** 2).sum(0)
            null = null + ((y[test] - y[train].mean(0)) ** 2).sum(0)
        of[members] = 1 - error / null
    every = tuple(range(len(names)))
    return of[every], np.stack([of[every] - of[tuple(m for m in every if m != k)] for k in every])


def test_variance_partition_beside_himalaya(benchmark, capsys):
    spaces, y = data()
    torch.set_num_threads(2)
    times = {ours: [], himalaya: []}
    for _ in range(ROUNDS):  # interleaved, so that a busy machine slows both
        for function, taken in times.items():
            start = time.perf_counter()
            found = function(spaces, y)
            taken.append(time.perf_counter() - start)
            if function is ours:
                r2, unique = found
    expected_r2, expected_unique = found
    # himalaya scales features once for all inner folds, so that a channel may take another penalty.
    difference = max(np.abs(r2 - expected_r2).max(), np.abs(unique - expected_unique).max())
    figures = {
        "partition_s": np.median(times[ours]),
        "himalaya_s": np.median(times[himalaya]),
        "ratio_median": np.median(np.array(times[himalaya]) / np.array(times[ours])),
        "largest_difference_in_r2": difference,
    }
    benchmark.extra_info.update({name: float(value) for name, value in figures.items()})
    with capsys.disabled():
        print(f"\n{N_SAMPLES} words, spaces of {SIZES} features, {N_CHANNELS} channels, {N_DRAWS} draws, 7 models")
        for name, value in figures.items():
            print(f"  {name:30s}{value:10.4g}")
    benchmark.pedantic(ours, args=(spaces, y), rounds=1)
    assert difference <= 0.01
