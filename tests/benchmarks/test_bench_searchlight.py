"""The RSA searchlight beside rsatoolbox's: same neighbourhoods, images and model, interleaved runs, process time."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
from rsatoolbox.inference import eval_fixed
from rsatoolbox.model import ModelFixed
from rsatoolbox.util.searchlight import evaluate_models_searchlight, get_searchlight_RDMs
from threadpoolctl import threadpool_limits

from brainalign.rsa.searchlight import rsa_map, spheres

N_VOXELS, RADIUS, N_IMAGES, ROUNDS, EVERY = 15_408, 5, 100, 3, 12


def brain(n_voxels: int) -> np.ndarray:
    """The voxels closest to the middle of a volume, all but a ball."""
    grid = np.indices((41, 41, 41)) - 20
    order = np.argsort((grid**2).sum(0), axis=None, kind="stable")
    mask = np.zeros(grid.shape[1:], dtype=bool)
    mask.flat[order[:n_voxels]] = True
    return mask


def seconds(function, *arguments):
    """Processor time of all threads, so that waiting for other processes does not count."""
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def rsatoolbox(responses, model, centres, voxels):
    rdms = get_searchlight_RDMs(responses, centres, voxels, np.arange(len(responses)), method="correlation")
    results = evaluate_models_searchlight(rdms, ModelFixed("model", model), eval_fixed, method="corr", n_jobs=1)
    return np.array([result.evaluations.item() for result in results])


def test_searchlight_beside_rsatoolbox(benchmark, capsys):
    """All centres of ours; of rsatoolbox's every twelfth is run, and its time is multiplied by the ratio of centres."""
    rng = np.random.default_rng(0)
    neighbours = spheres(brain(N_VOXELS), RADIUS)
    responses = rng.standard_normal((N_IMAGES, N_VOXELS))
    model = rng.random(N_IMAGES * (N_IMAGES - 1) // 2)
    some = np.arange(0, len(neighbours.centres), EVERY)
    voxels = [neighbours.members[[k]].indices for k in some]
    assert len(some) > 1000  # with more, rsatoolbox works in chunks, as it would on all

    ours, theirs = [], []
    with threadpool_limits(1):  # threads that wait for each other would count for either
        for _ in range(ROUNDS):  # in turn, so that a busy machine slows both
            duration, found = seconds(rsa_map, responses, [model], neighbours)
            ours.append(duration)
            duration, expected = seconds(rsatoolbox, responses, model, neighbours.centres[some], voxels)
            theirs.append(duration * len(neighbours.centres) / len(some))
        several = seconds(rsa_map, responses, [model, *rng.random((9, len(model)))], neighbours)[0]
    difference = np.abs(found.values[0, some] - expected).max()
    ratios = np.array(theirs) / np.array(ours)
    figures = {
        "centres": len(neighbours.centres),
        "voxels_a_sphere": np.diff(neighbours.members.indptr).mean(),
        "searchlight_s": np.median(ours),
        "searchlight_ten_models_s": several,
        "rsatoolbox_s_extrapolated": np.median(theirs),
        "ratio_median": np.median(ratios),
        "ratio_of_best": min(theirs) / min(ours),
        "largest_difference_in_r": difference,
    }
    benchmark.extra_info.update({name: float(value) for name, value in figures.items()})
    with capsys.disabled():
        print(f"\n{N_VOXELS} voxels, radius {RADIUS}, {N_IMAGES} images, one model")
        for name, value in figures.items():
            print(f"  {name:45s}{value:10.4g}")
    benchmark.pedantic(rsa_map, args=(responses, [model], neighbours), rounds=1)
    assert difference <= 1e-6
    assert np.median(ratios) >= 30


MANY = """
import json, resource, sys
import numpy as np
from brainalign.rsa.searchlight import rsa_map, spheres

mask = (((np.indices((61, 61, 61)) - 30) ** 2).sum(0) < 29.4**2)
neighbours = spheres(mask, 6)
rng = np.random.default_rng(0)
responses = rng.standard_normal((100, mask.sum()), dtype=np.float32)
scores = rsa_map(responses, rng.random((2, 4950)), neighbours)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"centres": scores.sizes["centre"], "finite": bool(np.isfinite(scores).all()), "peak_gb": peak / 1e9}))
"""


def test_a_hundred_thousand_centres_within_three_gigabytes(capsys):
    """Spheres of radius 6 and 100 images, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\n{found['centres']} centres, radius 6, 100 images: peak memory {found['peak_gb']:.2f} GB")
    assert found["centres"] >= 100_000 and found["finite"] and found["peak_gb"] < 3
