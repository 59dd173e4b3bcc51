"""The ridge sweep beside himalaya's RidgeCV: same folds, penalties and threads, interleaved runs."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from himalaya.backend import set_backend
from himalaya.ridge import RidgeCV
from sklearn.model_selection import KFold

from brainalign.ridge import ContiguousKFold, cross_validate

N_SAMPLES, N_FEATURES, N_CHANNELS, N_SPLITS, ROUNDS = 5000, 500, 200, 5, 3
ALPHAS = np.logspace(1, 5, 10)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((N_FEATURES, N_FEATURES)) / np.sqrt(N_FEATURES)
    x = rng.standard_normal((N_SAMPLES, N_FEATURES)) @ mixing
    x /= x.std(0)
    signal = x @ rng.standard_normal((N_FEATURES, N_CHANNELS)) / np.sqrt(N_FEATURES)
    y = signal * np.linspace(0, 1, N_CHANNELS) + rng.standard_normal(signal.shape)
    return x.astype(np.float32), y.astype(np.float32)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def sweep(x, y):
    # himalaya does not standardize within folds, so neither does the sweep here.
    result = cross_validate(x, y, alphas=ALPHAS, cv=N_SPLITS, inner_cv=N_SPLITS, standardize=False, device="cpu")
    return result.score.values[0]


def himalaya(x, y):
    set_backend("torch")
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    held_out = torch.empty_like(y)
    for train, test in list(ContiguousKFold(N_SPLITS).split(range(len(x)))):
        model = RidgeCV(
            ALPHAS.astype(x.numpy().dtype),
            fit_intercept=True,
            cv=KFold(N_SPLITS),
            solver_params={"local_alpha": True, "warn": False},
        )
        held_out[test] = model.fit(x[train], y[train]).predict(x[test])
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(held_out.numpy().T, y.numpy().T, strict=True)])


def product_rate(dtype, size=2000):
    """Floating point operations a second of a large matrix product, the best of three."""
    a = torch.randn(size, size, dtype=dtype)
    return 2 * size**3 / min(seconds(torch.matmul, a, a)[0] for _ in range(3))


def seconds(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def arithmetic():
    """Operations of the sweep's matrix products in double and single precision, and of its eigendecompositions."""
    n, p, c, k = N_SAMPLES, N_FEATURES, N_CHANNELS, N_SPLITS
    inner_test = n * (k - 1) / k  # summed over an outer fold's inner folds
    moments = 2 * n * (p + 1) * (p + 1 + c)
    refit = 2 * n * p * (p + c)
    targets = k * (k + 1) * 2 * p * p * c
    trials = k * 2 * inner_test * p * (p + c * len(ALPHAS))
    # Tridiagonal reduction 4/3, divide and conquer up to 4/3 after deflation, back-transformation 2 (LAPACK's counts).
    decompositions = k * (k + 1) * 14 / 3 * p**3
    return moments + refit + targets, trials, decompositions


def test_ridge_sweep_beside_himalaya(data, two_threads, benchmark, capsys):
    ours, theirs, rates = [], [], []
    for _ in range(ROUNDS):  # interleaved, so that a busy machine slows both
        duration, scores = seconds(sweep, *data)
        ours.append(duration)
        theirs.append(seconds(himalaya, *data)[0])
        rates.append((product_rate(torch.float64), product_rate(torch.float32)))
    # On channels of little signal some penalties are equally good up to himalaya's rounding in single precision.
    difference = np.abs(scores - himalaya(*(a.astype(np.float64) for a in data))).max()

    double, single, decompositions = arithmetic()
    rate64, rate32 = np.max(rates, axis=0)
    products = (double / rate64 + single / rate32) / min(ours)
    everything = products + decompositions / rate64 / min(ours)
    ratios = np.array(theirs) / np.array(ours)
    figures = {
        "sweep_s": np.median(ours),
        "himalaya_s": np.median(theirs),
        "ratio_median": np.median(ratios),
        "ratio_of_best": min(theirs) / min(ours),
        "largest_difference_in_r": difference,
        "product_gflops_float64": rate64 / 1e9,
        "product_gflops_float32": rate32 / 1e9,
        "share_of_product_rate_products": products,
        "share_of_product_rate_with_decompositions": everything,
    }
    benchmark.extra_info.update({name: float(value) for name, value in figures.items()})
    with capsys.disabled():
        print(f"\n{N_SAMPLES} words, {N_FEATURES} features, {N_CHANNELS} channels, {len(ALPHAS)} alphas, 5 x 5 folds")
        for name, value in figures.items():
            print(f"  {name:45s}{value:10.4g}")
    benchmark.pedantic(sweep, args=data, rounds=1)
    assert difference <= 1e-3
