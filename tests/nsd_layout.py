"""Writes a tiny Natural Scenes Dataset in the official layout, with responses that are known.

The folders, file names, shapes, data types and counts from 1 are those of the NSD Data Manual
(https://naturalscenesdataset.org); the surfaces have their full 163,842 vertices a hemisphere, of which all but a few
are holes in the file that take no room. Only the number of sessions, of images shown and of voxels is small.

A trial's response at a vertex is ``gain[vertex] * code[image] + noise``, then scaled and moved session by session.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import nibabel
import numpy as np
import pandas as pd
from nibabel.freesurfer.mghformat import MGHHeader
from scipy.io import savemat

TRIALS, IMAGES, SHARED, ALL = 750, 10_000, 1_000, 73_000
BETAS = "betas_fithrf_GLMdenoise_RR"
VOLUME = (5, 6, 4)
LEFT = 163_842
STREAMS = ["Unknown", "early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"]
ANIMALS = ["cat", "dog", "horse", "zebra", "giraffe", "bear", "cow", "sheep"]


class Layout(NamedTuple):
    """Where the data set is, and what is in it; images are named by nsdId, which counts from 0."""

    root: Path
    shown: dict[str, np.ndarray]  # subject: image of each trial
    shared: list[int]  # images that all eight people saw three times
    code: np.ndarray  # (image of the 73,000)
    gain: dict[str, np.ndarray]  # subject: (vertex), those with data: left, then right; or voxels in C order
    vertices: np.ndarray  # (side, vertex): those with data, the same numbers in both hemispheres
    streams: np.ndarray  # labels of vertices with data, left then right, or of voxels in C order
    percent: dict[str, np.ndarray]  # subject: percent signal change (trial, vertex)
    mask: np.ndarray  # voxels in the brain, in C order
    stimuli: pd.DataFrame


def write(
    root: Path,
    subjects: Sequence[int] = (1, 2),
    sessions: int = 2,
    space: str = "fsaverage",
    ending: str = ".hdf5",
    n_vertices: int = 16,
    first_vertex: int = 5_000,
    noise: float = 0.5,
    patch: np.ndarray | None = None,
    code: np.ndarray | None = None,
    text: Callable[[int, int], str] | None = None,
    seed: int = 0,
) -> Layout:
    """Write the data of some people (1 to 8) in one space; betas of volumes end in ".hdf5" or ".nii.gz".

    ``first_vertex=0, n_vertices=10_242`` gives data to all of fsaverage5, 31 MB a hemisphere and session; with `patch`,
    all but these places (of both hemispheres, the left one's first) are flat. `code` (image of the 73,000) and `text`
    (caption by nsdId and number) stand in for random codes and `caption`.
    """
    rng = np.random.default_rng(seed)
    root = Path(root)
    order, numbers, shared = _design(rng, sessions)
    experiment = root / "nsddata/experiments/nsd"
    experiment.mkdir(parents=True, exist_ok=True)
    savemat(
        experiment / "nsd_expdesign.mat",
        {"masterordering": order[None] + 1, "subjectim": numbers + 1, "sharedix": numbers[:1, :SHARED] + 1},
    )
    shown = {f"subj{n:02d}": numbers[n - 1, order[: sessions * TRIALS]] for n in subjects}
    stimuli = _stimuli(rng, np.unique(np.concatenate(list(shown.values()))))
    stimuli.to_csv(experiment / "nsd_stim_info_merged.csv")
    _annotations(root / "nsddata_stimuli/stimuli/nsd/annotations", stimuli, text or caption)
    drawn = rng.standard_normal(ALL)
    code = drawn if code is None else code
    vertices = first_vertex + np.arange(n_vertices)  # side by side, so that a file takes little room
    size = int(np.prod(VOLUME)) if space == "func1pt8mm" else 2 * n_vertices
    streams = np.arange(size) % 8
    mask = rng.random(size) < 0.8 if space == "func1pt8mm" else np.ones(size, dtype=bool)
    if space == "fsaverage":
        _surface_labels(root, vertices, streams)
    gain, percent = {}, {}
    for subject, images in shown.items():
        gain[subject] = rng.uniform(0.5, 2, size) * rng.choice([-1, 1], size)
        values = gain[subject] * code[images][:, None] + noise * rng.standard_normal((len(images), size))
        flat = np.zeros(size, dtype=bool) if patch is None else ~np.isin(np.arange(size), patch)
        for session in range(sessions):
            here = slice(session * TRIALS, (session + 1) * TRIALS)
            values[here] = values[here] * rng.uniform(0.7, 1.4) + rng.uniform(-2, 2, size)
            values[here, flat] = 0
            folder = root / f"nsddata_betas/ppdata/{subject}/{space}/{BETAS}"
            folder.mkdir(parents=True, exist_ok=True)
            if space == "fsaverage":
                for side, part in zip(("lh", "rh"), np.split(values[here], 2, axis=1), strict=True):
                    surface_betas(folder / f"{side}.betas_session{session + 1:02d}.mgh", part, vertices)
            else:
                values[here] = np.round(values[here] * 300) / 300  # int16 in the file
                path = folder / f"betas_session{session + 1:02d}{ending}"
                volume_betas(path, np.where(mask, values[here], 0))
        percent[subject] = values
        if space == "func1pt8mm":
            _volume_labels(root / f"nsddata/ppdata/{subject}/func1pt8mm", streams, mask)
    return Layout(root, shown, shared, code, gain, vertices, streams, percent, mask, stimuli)


def _design(rng: np.random.Generator, sessions: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Places of images in a person's row, for 30,000 trials, and the rows; both counted from 0."""
    numbers = np.empty((8, IMAGES), dtype=int)
    everybody = np.sort(rng.choice(ALL, SHARED, replace=False))
    rest = rng.permutation(np.setdiff1d(np.arange(ALL), everybody))
    numbers[:, :SHARED] = everybody
    numbers[:, SHARED:] = rest[: 8 * (IMAGES - SHARED)].reshape(8, -1)
    n_trials = sessions * TRIALS
    # in the sessions written: 20 shared and many own images three times, a few of both twice or once
    thrice = np.concatenate([np.arange(20), np.arange(SHARED, SHARED + (n_trials - 3 * 20 - 30) // 3)])
    fewer = np.concatenate([np.repeat([500, 501, 9000, 9001, 9002], 2), np.arange(600, 610), np.arange(9500, 9510)])
    first = rng.permutation(np.concatenate([np.repeat(thrice, 3), fewer]))
    first = np.append(first, np.arange(8000, 8000 + n_trials - len(first)))
    later = rng.permutation(np.setdiff1d(np.arange(IMAGES), first))
    return np.append(first, np.resize(later, 30_000 - n_trials)), numbers, everybody[:20].tolist()


def _stimuli(rng: np.random.Generator, images: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cocoId": rng.permutation(500_000)[: len(images)],
            "cocoSplit": rng.choice(["train2017", "val2017"], len(images), p=[0.8, 0.2]),
            "cropBox": "(0, 0, 0.1, 0.1)",
            "loss": 0.1,
            "nsdId": images,
            "flagged": False,
            "BOLD5000": False,
            "shared1000": False,
        }
    )


def caption(number: int, which: int) -> str:
    """The text of a caption of an image, by nsdId."""
    return f"Caption {which} of a photograph with the number {number}, which shows a {ANIMALS[number % len(ANIMALS)]}."


def _annotations(folder: Path, stimuli: pd.DataFrame, text: Callable[[int, int], str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = [{"id": 10 * n + 1, "name": name} for n, name in enumerate(ANIMALS)]
    for split, rows in stimuli.groupby("cocoSplit"):
        pairs = list(zip(rows["cocoId"].tolist(), rows["nsdId"].tolist(), strict=True))
        texts = [
            {"image_id": coco, "id": 10 * coco + which, "caption": text(number, which) + "\n" * (which == 2)}
            for which in range(5)  # COCO does not list an image's captions together
            for coco, number in pairs
        ]
        texts.append({"image_id": 999_999, "id": 9_999_990, "caption": "Of an image that is not in NSD."})
        objects = [{"image_id": c, "id": c, "category_id": 10 * (n % len(ANIMALS)) + 1} for c, n in pairs if n % 10]
        (folder / f"captions_{split}.json").write_text(json.dumps({"images": [], "annotations": texts}))
        (folder / f"instances_{split}.json").write_text(json.dumps({"annotations": objects, "categories": names}))


def pictures(layout: Layout) -> None:
    """Write the pictures of the images shown: 425 x 425 pixels, grey by nsdId."""
    with h5py.File(layout.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "w") as file:
        brick = file.create_dataset("imgBrick", (ALL, 425, 425, 3), "uint8", chunks=(1, 425, 425, 3), compression="lzf")
        for number in layout.stimuli["nsdId"]:
            brick[number] = number % 256


def surface_betas(path: Path, values: np.ndarray, vertices: np.ndarray) -> None:
    """Write betas (trial, vertex) of a hemisphere at vertices that lie side by side; the others are 0."""
    header = MGHHeader()
    header.set_data_shape((LEFT, 1, 1, len(values)))
    header.set_data_dtype(">f4")
    with path.open("wb") as file:
        header.writehdr_to(file)
        for trial, row in enumerate(values):
            file.seek(header.get_data_offset() + 4 * (trial * LEFT + vertices[0]))
            file.write(row.astype(">f4").tobytes())
        file.truncate(header.get_footer_offset())


def volume_betas(path: Path, values: np.ndarray) -> None:
    """Write betas (trial, voxel in C order) of a volume, as whole numbers."""
    whole = np.round(values * 300).astype("int16").T.reshape(*VOLUME, len(values))
    if path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            file.create_dataset("betas", data=whole.T, chunks=(len(values), 1, 1, 1))
    else:
        nibabel.save(nibabel.Nifti1Image(whole, np.eye(4)), path)


def _surface_labels(root: Path, vertices: np.ndarray, streams: np.ndarray) -> None:
    folder = root / "nsddata/freesurfer/fsaverage/label"
    folder.mkdir(parents=True, exist_ok=True)
    for side, part in zip(("lh", "rh"), np.split(streams, 2), strict=True):
        labels = np.zeros((LEFT, 1, 1), dtype="int32")
        labels[vertices, 0, 0] = part
        nibabel.save(nibabel.MGHImage(labels, np.eye(4)), folder / f"{side}.streams.mgz")
    (folder / "streams.mgz.ctab").write_text("".join(f"{number} {name}\n" for number, name in enumerate(STREAMS)))


def _volume_labels(folder: Path, streams: np.ndarray, mask: np.ndarray) -> None:
    (folder / "roi").mkdir(parents=True, exist_ok=True)
    for name, values in [("roi/streams", streams), ("brainmask", mask)]:
        image = nibabel.Nifti1Image(values.reshape(VOLUME).astype("int16"), np.eye(4))
        nibabel.save(image, folder / f"{name}.nii.gz")
