"""Encoding of many vertices beside himalaya's RidgeCV: same folds and penalties, one thread, in turn, process time."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import torch
from himalaya.backend import set_backend
from himalaya.ridge import RidgeCV
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from brainalign.ridge.encoding import DEFAULT_ALPHAS, RidgeSweepCV

N_IMAGES, N_FEATURES, N_VERTICES, N_TEST, ROUNDS = 2000, 768, 2000, 500, 3


def made_up(n_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features, and vertices from mere noise to half signal."""
    rng = np.random.default_rng(0)
    n = N_IMAGES + N_TEST
    x = rng.standard_normal((n, 100), dtype="float32") @ rng.standard_normal((100, N_FEATURES), dtype="float32") / 10
    x += rng.standard_normal(x.shape, dtype="float32")
    y = x @ rng.standard_normal((N_FEATURES, n_vertices), dtype="float32") / np.float32(np.sqrt(2 * N_FEATURES))
    y *= np.linspace(0, 1, n_vertices, dtype="float32")
    return x, y + rng.standard_normal(y.shape, dtype="float32")


def ours(x, y):
    # himalaya does not standardize within folds, so neither does the sweep here.
    return RidgeSweepCV(standardize=False, device="cpu").fit(x[:N_IMAGES], y[:N_IMAGES]).predict(x[N_IMAGES:])


def theirs(x, y, dtype=torch.float32):
    set_backend("torch")
    x, y = (torch.tensor(a, dtype=dtype) for a in (x, y))
    model = RidgeCV(
        torch.tensor(DEFAULT_ALPHAS, dtype=dtype),
        fit_intercept=True,
        cv=KFold(5),
        solver_params={"local_alpha": True, "warn": False},
    )
    return model.fit(x[:N_IMAGES], y[:N_IMAGES]).predict(x[N_IMAGES:]).numpy()


def seconds(function, *arguments):
    """Processor time of all threads, so that waiting for other processes does not count."""
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def scores(predicted, observed):
    a, b = (v - v.mean(0) for v in (np.asarray(predicted, dtype=float), observed))
    spread = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return (a * b).sum(0) / np.where(spread > 0, spread, np.inf)


def test_encoding_beside_himalaya(benchmark, capsys):
    x, y = made_up(N_VERTICES)
    spent = {"ours": [], "theirs": []}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            for _ in range(ROUNDS):  # in turn, so that a busy machine slows both
                duration, predicted = seconds(ours, x, y)
                spent["ours"].append(duration)
                spent["theirs"].append(seconds(theirs, x, y)[0])
            expected = theirs(x, y, torch.float64)
            benchmark.pedantic(ours, args=(x, y), rounds=1)
    finally:
        torch.set_num_threads(before)
    difference = np.abs(scores(predicted, y[N_IMAGES:]) - scores(expected, y[N_IMAGES:]))
    ratios = np.array(spent["theirs"]) / np.array(spent["ours"])
    figures = {
        "sweep_s": np.median(spent["ours"]),
        "himalaya_s": np.median(spent["theirs"]),
        "ratio_median": np.median(ratios),
        "ratio_of_best": min(spent["theirs"]) / min(spent["ours"]),
        "largest_difference_in_r": difference.max(),
        "share_of_vertices_within_0.001": (difference < 1e-3).mean(),
    }
    benchmark.extra_info.update({name: float(value) for name, value in figures.items()})
    with capsys.disabled():
        print(f"\n{N_IMAGES} images, {N_FEATURES} features, {N_VERTICES} vertices, {len(DEFAULT_ALPHAS)} penalties")
        for name, value in figures.items():
            print(f"  {name:45s}{value:10.4g}")
    # where there is hardly any signal, two penalties can be equally good up to rounding
    assert (difference < 1e-3).mean() > 0.99


WHOLE = """
import json, resource, sys, time
import numpy as np
import torch
from test_bench_viewing_encoding import made_up, N_IMAGES
from brainalign.ridge.encoding import RidgeSweepCV

torch.set_num_threads(2)
x, y = (values[:N_IMAGES] for values in made_up(20_484))
start, wall = time.process_time(), time.perf_counter()
model = RidgeSweepCV(device="cpu").fit(x, y)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
if sys.platform == "linux":  # where the number above is at least that of the process which started this one
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
spent = {"process_s": time.process_time() - start, "wall_s": time.perf_counter() - wall, "peak_gb": peak / 1e9}
print(json.dumps(spent | {"vertices": len(model.alpha_), "penalties": len(np.unique(model.alpha_))}))
"""


def test_a_whole_surface_within_three_gigabytes(capsys):
    """20,484 vertices, 2,000 images and 768 features, a penalty each, on two threads in a process of its own."""
    folder = str(__file__).rsplit("/", 1)[0]
    done = subprocess.run([sys.executable, "-c", WHOLE], capture_output=True, text=True, check=True, cwd=folder)
    found = json.loads(done.stdout)
    text = "\n{vertices} vertices: processor time {process_s:.0f} s, wall {wall_s:.0f} s, peak memory {peak_gb:.2f} GB"
    with capsys.disabled():
        print(text.format(**found))
    assert found["vertices"] == 20_484 and found["penalties"] > 3 and found["peak_gb"] < 3
