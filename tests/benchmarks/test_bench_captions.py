"""The dictionary of captions at the size of the study's, and the decoder beside scikit-learn's ridge.

Rates are per second of processor time, of the search and of plain matrix products in the same process, in turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
from sklearn.linear_model import RidgeCV

from brainalign.decoding import CaptionDecoder, dictionary

N_CAPTIONS, N_DIMENSIONS, N_QUERIES, K = 3_100_000, 768, 1000, 10

SEARCH = """
import json, resource, sys, threading, time
import numpy as np
import torch
from brainalign.decoding import CaptionIndex, dictionary

folder, n_queries, k = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1e6

peak, over = [0.0], threading.Event()

def watch():
    while not over.wait(0.1):
        peak[0] = max(peak[0], anonymous())

def timed(function):
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    return time.process_time() - cpu, time.perf_counter() - wall, result

start = time.process_time()
embeddings = np.load(folder + "/embeddings.npy", mmap_mode="r")
index = CaptionIndex([f"caption {i}" for i in range(len(embeddings))], embeddings)
load = time.process_time() - start
rng = np.random.default_rng(1)
queries = rng.standard_normal((n_queries, index.embeddings.shape[1]))
a, b = torch.randn(n_queries, queries.shape[1]), torch.randn(dictionary._ROWS, queries.shape[1])
per_caption = []
def products():
    a @ b.T
    cpu, wall, _ = timed(lambda: [float((a @ b.T)[0, 0]) for _ in range(20)])
    per_caption.append((cpu / 20 / len(b), wall / 20 / len(b)))

if sys.platform == "linux":
    threading.Thread(target=watch, daemon=True).start()
found = {}
products()
for metric in dictionary.METRICS:
    cpu, wall, matches = timed(lambda: index.search(queries, k, metric=metric))
    products()
    found[metric] = cpu, wall
over.set()
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9

some, best = queries[:4] / np.linalg.norm(queries[:4], axis=1)[:, None], []
for start in range(0, len(index), 50_000):  # cosine, the last metric, in double precision
    rows = index.embeddings[start : start + 50_000].astype(float)
    scores = (rows @ some.T / np.linalg.norm(rows, axis=1)[:, None]).T
    order = np.argpartition(-scores, k, axis=1)[:, :k]
    best.append(np.stack([np.take_along_axis(scores, order, 1), order + start]))
scores, places = np.concatenate(best, axis=2)
order = np.lexsort((places, -scores), axis=1)[:, :k]
same = bool((np.take_along_axis(places, order, 1) == matches.indices[:4]).all())
cpu, wall = np.median(per_caption, axis=0) * len(index)
flops = 2 * n_queries * len(index) * queries.shape[1]
print(json.dumps({
    "load_and_check_cpu_s": load,
    "products_alone_cpu_s": cpu,
    "products_gflops_per_cpu_s": flops / cpu / 1e9,
    **{f"search_{m}_cpu_s": c for m, (c, _) in found.items()},
    **{f"search_{m}_wall_s": w for m, (_, w) in found.items()},
    **{f"share_of_rate_{m}": cpu / c for m, (c, _) in found.items()},
    **{f"share_of_rate_{m}_wall": wall / w for m, (_, w) in found.items()},
    "peak_rss_gb": rss,
    "peak_anonymous_gb": peak[0],
    "same_as_brute_force": same,
}))
"""


def generate(folder, n):
    """A dictionary of random numbers in half precision."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(folder / "embeddings.npy", "w+", np.float16, (n, N_DIMENSIONS))
    for start in range(0, n, 50_000):
        rows = array[start : start + 50_000]
        bits = np.frombuffer(rng.bytes(2 * rows.size), dtype=np.uint16)
        rows[:] = ((bits & 0x03FF) | 0x3C00).view(np.float16).reshape(rows.shape) - np.float16(1.5)
    array.flush()


def test_three_million_captions(benchmark, capsys, tmp_path):
    """1,000 queries, the ten best of each, in a process of its own; 4.8 GB in a temporary folder."""
    folder = tmp_path / "captions"
    generate(folder, N_CAPTIONS)
    command = [sys.executable, "-c", SEARCH, str(folder), str(N_QUERIES), str(K)]
    try:
        done = benchmark.pedantic(
            subprocess.run, args=(command,), kwargs={"capture_output": True, "text": True, "check": True}, rounds=1
        )
    finally:
        (folder / "embeddings.npy").unlink()
    figures = json.loads(done.stdout)
    benchmark.extra_info.update(figures)
    with capsys.disabled():
        print(f"\n{N_QUERIES} queries, {N_CAPTIONS} captions of {N_DIMENSIONS} dimensions, the {K} best")
        for name, value in figures.items():
            print(f"  {name:36s}{value:10.4g}")
    assert figures["same_as_brute_force"]
    assert figures["peak_rss_gb"] < 6
    assert min(figures[f"share_of_rate_{metric}"] for metric in dictionary.METRICS) >= 0.6


def test_decoder_beside_scikit_learn(benchmark, capsys):
    """Wide data, leave-one-out and a penalty for each dimension in both; interleaved, processor time."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, 12_000), dtype=np.float32)
    y = x[:, :300] @ rng.standard_normal((300, N_DIMENSIONS), dtype=np.float32) / 17
    y += rng.standard_normal(y.shape, dtype=np.float32)
    unit = ((x - x.mean(0)) ** 2).sum(1).mean()
    alphas = np.logspace(-4, 3, 15)
    ours, theirs = [], []
    for _ in range(3):
        start = time.process_time()
        found = CaptionDecoder(alphas).fit(x, y)
        middle = time.process_time()
        expected = RidgeCV(alphas * unit, alpha_per_target=True).fit(x, y)
        ours.append(middle - start)
        theirs.append(time.process_time() - middle)
    difference = np.abs(found.coef_ - expected.coef_).max() / np.abs(expected.coef_).max()
    figures = {
        "decoder_cpu_s": np.median(ours),
        "ridgecv_cpu_s": np.median(theirs),
        "ratio": np.median(np.array(theirs) / np.array(ours)),
        "largest_relative_difference": difference,
    }
    benchmark.extra_info.update({name: float(value) for name, value in figures.items()})
    with capsys.disabled():
        print("\n1,500 images, 12,000 vertices, 768 dimensions, 15 penalties")
        for name, value in figures.items():
            print(f"  {name:36s}{value:10.4g}")
    benchmark.pedantic(CaptionDecoder(alphas).fit, args=(x, y), rounds=1)
    assert difference < 1e-4
