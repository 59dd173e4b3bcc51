"""The Natural Scenes Dataset: 7T fMRI of eight people who saw thousands of photographs (Allen et al. 2022).

The reader's own copy is used, in its official layout; nothing is downloaded. What the loader relies on, from the NSD
Data Manual (https://naturalscenesdataset.org):

- A session has 750 trials. The eight people completed 40, 40, 32, 30, 40, 32, 40 and 30 sessions.
- ``nsd_expdesign.mat``: `masterordering` (1 x 30000) has for each trial the place of its image, the same for everybody,
  in the row of `subjectim` (8 x 10000) that belongs to the person, where the image's number in the whole set of 73,000
  is; `sharedix` has the numbers of the 1,000 images meant for everybody. All three count from 1.
- ``nsd_stim_info_merged.csv``: the image's `nsdId`, which counts from 0, and its `cocoId` and `cocoSplit`.
- ``betas_fithrf_GLMdenoise_RR`` in func1pt8mm: int16, percent signal change times 300, as HDF5 (dataset `betas`,
  x, y, z, trial in MATLAB's order, which h5py gives reversed) or NIfTI; voxels outside the brain mask are 0.
- The same in fsaverage: float32, percent signal change, one MGH file of 163,842 vertices a hemisphere and session.
  The format that the manual has for native surfaces, whole numbers as HDF5 (vertex, trial), is read too.
- `streams`, the ROIs: 1 early, 2 midventral, 3 midlateral, 4 midparietal, 5 ventral, 6 lateral, 7 parietal.
- ``nsd_stimuli.hdf5``: dataset `imgBrick`, in h5py (73000, 425, 425, 3), uint8.

Captions are COCO's (captions_train2017.json and captions_val2017.json), of which NSD's images are square crops.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import nibabel
import numpy as np
import pandas as pd
import xarray as xr
from filelock import FileLock
from nibabel.filebasedimages import ImageFileError
from PIL import Image
from scipy.io import loadmat
from tqdm import tqdm

from brainalign import assets
from brainalign.datasets.types import Viewing

SUBJECTS = tuple(f"subj{number:02d}" for number in range(1, 9))
SESSIONS = dict(zip(SUBJECTS, (40, 40, 32, 30, 40, 32, 40, 30), strict=True))
TRIALS = 750
"""Trials of a session."""

REPEATS = 3
"""Times that an image must have been seen to be used."""

HEMISPHERE = {"fsaverage": 163_842, "fsaverage5": 10_242}
"""Vertices of a hemisphere. Those of fsaverage5 are the first ones of fsaverage."""

VOXELS = 10_000_000
"""More than any volume has: what tells the voxels of different people apart."""

STREAMS = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal")
SCALE = 300.0
"""What percent signal change was multiplied by before it was stored as whole numbers."""

PLAUSIBLE = (0.03, 30.0)
"""Range of the median standard deviation of betas over a session, in percent signal change; about 1 to 2 in NSD."""

BETAS = "betas_fithrf_GLMdenoise_RR"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
STIMULI = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
ANNOTATIONS = "nsddata_stimuli/stimuli/nsd/annotations"
SPLITS = ("train2017", "val2017")
FORMAT = 1  # raise when the meaning of cached numbers changes


def nsd(
    root: str | os.PathLike[str] | None = None,
    *,
    subjects: Sequence[str | int] | None = None,
    space: str = "fsaverage",
    roi: str | Sequence[str] | None = None,
    repeats: str = "mean",
    sessions: int | None = None,
    images: int | None = None,
    categories: bool = False,
    annotations: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    cache: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Viewing:
    """Betas of people who saw photographs, with COCO's captions.

    Betas are z-scored per vertex within each session, and the images that a person saw three times are kept, as in
    Doerig et al. (2025). A session is read at a time and written to a file in the cache; of what is returned nothing is
    in memory before it is asked for. A run that breaks off goes on with the session it was at. The cache of one person
    takes 3 x images x vertices numbers while it is made, and a third of that afterwards with the mean of the repeats.

    Parameters
    ----------
    root : path
        Your copy of NSD: the folder that holds nsddata, nsddata_betas and, for pictures, nsddata_stimuli.
    subjects : sequence of str or int, optional
        Such as ["subj01", "subj02"] or [1, 2]; all eight by default.
    space : {"fsaverage", "fsaverage5", "func1pt8mm"}
        Surface of both hemispheres; the same without its finer vertices (the first 10,242 of a hemisphere; nothing is
        smoothed); or each person's own volume, where `vertex` is the person's number times ten million plus the place
        of the voxel in the volume (C order), and the coordinates i, j and k of the responses are its indices from 0.
    roi : str or sequence of str, optional
        Keep only these of `STREAMS`, or "streams" for all of them. Default: the whole surface or brain mask.
    repeats : {"mean", "all"}
        The mean of the three repeats (one repeat in the result), or each of them in the order seen.
    sessions : int, optional
        Use only the first sessions, for a first look or a part of the data. Default: all that the person completed.
    images : int, optional
        Load the pictures too, scaled to this many pixels. Default: none.
    categories : bool
        Load COCO's object categories too (instances_*2017.json, up to 3 GB of memory while they are read). They are of
        the whole photograph: an object may lie outside the crop that was shown.
    annotations : path, optional
        Folder of COCO's annotation files. Default: nsddata_stimuli/stimuli/nsd/annotations in `root`.
    dtype : {"float32", "float16"}
        Precision of the cache. float16 halves it; z-scores keep three digits.
    cache : path, optional
        Default: ``nsd`` in the cache folder of the package.
    progress : bool
        Show which session is being read.

    Returns
    -------
    Viewing
        `responses` (repeat, image, vertex) in standard deviations, memory-mapped; images are named by their nsdId and
        sorted by it. Vertices that are flat or not finite in any session are left out, person by person; their number
        is in ``attrs["dropped"]``. `test_images` are the shared images that all eight people saw three times in their
        sessions (515 in the whole data set), whoever is loaded.

    Raises
    ------
    brainalign.assets.AssetError
        If files are missing; all are listed, with how to get them.
    ValueError
        For options that are unknown, and files that are damaged, do not fit each other or hold implausible numbers.
    OSError
        If the cache has too little room.

    References
    ----------
    Allen et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence. Nature
    Neuroscience 25, 116-126. Data access: https://naturalscenesdataset.org.
    """
    people = _check_subjects(subjects)
    for name, value, known in [
        ("space", space, (*HEMISPHERE, "func1pt8mm")),
        ("repeats", repeats, ("mean", "all")),
        ("dtype", dtype, ("float32", "float16")),
    ]:
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}.")
    for name, number in [("sessions", sessions), ("images", images)]:
        if number is not None and (not isinstance(number, int) or number < 1):
            raise ValueError(f"{name}: expected a whole number of 1 or more, or None, got {number!r}.")
    wanted = _check_roi(roi)
    copy = _Copy(root, annotations)
    counts = {person: min(n, sessions or n) for person, n in SESSIONS.items()}
    copy.require(people, space, counts, pictures=images is not None, categories=categories)

    design = _Design(copy.path(DESIGN), counts)
    regions = [_regions(copy, person, space, wanted) for person in people]
    seen = sorted(set().union(*(design.images(person) for person in people)))
    info = _stimuli(copy.path(STIMULI), seen)
    captions = _captions(copy, info)
    folder = assets.cache_dir() / "nsd" if cache is None else Path(cache).expanduser()
    responses = {
        person: _responses(copy, design, person, space, region, repeats, np.dtype(dtype), folder, progress)
        for person, region in zip(people, regions, strict=True)
    }
    rois = pd.concat([region.rois for region in regions])
    return Viewing(
        name="nsd",
        captions=captions,
        test_images=design.shared(),
        space=space,
        images=None if images is None else _pictures(copy.path(PICTURES), seen, images, progress),
        categories=_categories(copy, info) if categories else None,
        responses=responses,
        rois=rois[~rois.index.duplicated()],
    )


def _check_subjects(subjects: Sequence[str | int] | None) -> list[str]:
    if subjects is None:
        return list(SUBJECTS)
    given = [subjects] if isinstance(subjects, str | int) else list(subjects)
    people = [f"subj{person:02d}" if isinstance(person, int) else person for person in given]
    if not people or len(set(people)) < len(people) or not set(people) <= set(SUBJECTS):
        raise ValueError(f"subjects: expected different ones of {', '.join(SUBJECTS)} (or 1 to 8), got {subjects!r}.")
    return people


def _check_roi(roi: str | Sequence[str] | None) -> list[int] | None:
    """Labels of the regions wanted."""
    if roi is None:
        return None
    names = list(STREAMS) if roi == "streams" else [roi] if isinstance(roi, str) else list(roi)
    unknown = [name for name in names if name not in STREAMS]
    if unknown or not names:
        raise ValueError(f"roi: expected 'streams' or some of {', '.join(STREAMS)}, got {roi!r}.")
    return [STREAMS.index(name) + 1 for name in names]


class _Copy:
    """The reader's copy of NSD, and COCO's annotations."""

    def __init__(self, root: str | os.PathLike[str] | None, annotations: str | os.PathLike[str] | None) -> None:
        self.root = None if root is None else Path(root).expanduser().absolute()
        self.annotations = None if annotations is None else Path(annotations).expanduser().absolute()

    def path(self, name: str) -> Path:
        if self.annotations is not None and name.startswith(ANNOTATIONS):
            return self.annotations / Path(name).name
        assert self.root is not None  # `require` comes first
        return self.root / name

    def betas(self, person: str, space: str, session: int) -> list[str]:
        """Names of the files of one session; where there is another format, the one that is there."""
        folder = f"nsddata_betas/ppdata/{person}/{'func1pt8mm' if space == 'func1pt8mm' else 'fsaverage'}/{BETAS}"
        stems = ["betas"] if space == "func1pt8mm" else ["lh.betas", "rh.betas"]
        formats = [".hdf5", ".nii.gz"] if space == "func1pt8mm" else [".mgh", ".hdf5"]
        names = [[f"{folder}/{stem}_session{session:02d}{ending}" for ending in formats] for stem in stems]
        return [next((name for name in same if self.path(name).is_file()), same[0]) for same in names]

    def require(
        self, people: list[str], space: str, counts: Mapping[str, int], *, pictures: bool, categories: bool
    ) -> None:
        """Say all at once which files are not there."""
        kinds = ["captions"] + ["instances"] * categories
        names = [DESIGN, STIMULI, *(f"{ANNOTATIONS}/{kind}_{split}.json" for kind in kinds for split in SPLITS)]
        names += [PICTURES] * pictures
        names += [name for person in people for name in _region_files(person, space)]
        if self.root is None or not self.root.is_dir():
            where = "no folder was given" if self.root is None else f"there is no folder {self.root}"
            raise assets.AssetError(f"nsd: root: {where}.\n{_HOW_TO_GET}")
        names += [
            name
            for person in people
            for session in range(1, counts[person] + 1)
            for name in self.betas(person, space, session)
        ]
        names = list(dict.fromkeys(names))
        missing = [name for name in names if not self.path(name).is_file()]
        if missing:
            lines = [f"  - {line}" for line in _sessions_joined(missing)]
            raise assets.AssetError(
                "\n".join(
                    [f"nsd: {len(missing)} of {len(names)} files are missing in {self.root}:", *lines, _HOW_TO_GET]
                )
            )


_HOW_TO_GET = f"""\
The Natural Scenes Dataset is for those who have accepted its data access agreement and its terms; nothing is
downloaded for you. Accept them at https://naturalscenesdataset.org, then fetch what you need, for example
  aws s3 cp --no-sign-request s3://natural-scenes-dataset/PATH ROOT/PATH
(betas of func1pt8mm may also be .nii.gz). COCO's annotations (CC BY 4.0) are not part of it: unpack
http://images.cocodataset.org/annotations/annotations_trainval2017.zip into ROOT/{ANNOTATIONS}, or name the folder that
has them with annotations=FOLDER. To use a part of the data, pass subjects=[...] or sessions=N."""


def _sessions_joined(names: list[str]) -> list[str]:
    """One line for the files that differ only in the session."""
    sessions: dict[tuple[str, ...], list[int]] = {}
    for name in names:
        before, session, after = re.fullmatch(r"(.*?)(?:_session(\d\d))?(\.[a-z0-9.]+)", name).groups()  # type: ignore[union-attr]
        sessions.setdefault((before, after), []).extend([int(session)] if session else [])
    lines = []
    for (before, after), numbers in sessions.items():
        spans = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1) if numbers else []
        text = ", ".join(f"{span[0]:02d}" + (f"-{span[-1]:02d}" if len(span) > 1 else "") for span in spans)
        lines.append(f"{before}{after}" if not numbers else f"{before}_session[{text}]{after} ({len(numbers)} files)")
    return lines


class _Design:
    """Who saw which image when. Images are named by nsdId, which counts from 0."""

    def __init__(self, path: Path, counts: Mapping[str, int]) -> None:
        with _reading(path):
            table = loadmat(path, variable_names=["masterordering", "subjectim", "sharedix"])
            self.order = table["masterordering"].ravel().astype(int) - 1
            self.numbers = table["subjectim"].astype(int) - 1
            self.meant = table["sharedix"].ravel().astype(int) - 1
            n_images = self.numbers.shape[1] if self.numbers.ndim == 2 else 0
            if len(self.numbers) != len(SUBJECTS) or not ((self.order >= 0) & (self.order < n_images)).all():
                raise ValueError(
                    f"expected subjectim (8, images) and masterordering from 1 to images, got {self.numbers.shape} and "
                    f"{self.order.min() + 1} to {self.order.max() + 1}"
                )
            if len(self.order) < max(counts.values()) * TRIALS:
                raise ValueError(
                    f"expected {TRIALS} trials for each of {max(counts.values())} sessions, got {len(self.order)}"
                )
        self.counts = counts

    def trials(self, person: str) -> pd.DataFrame:
        """Image, and which repeat of it, of every trial in the sessions used; only images seen often enough."""
        shown = self.numbers[SUBJECTS.index(person), self.order[: self.counts[person] * TRIALS]]
        table = pd.DataFrame({"image": shown})
        table["repeat"] = table.groupby("image").cumcount()
        return table[table.groupby("image")["repeat"].transform("size") == REPEATS]

    def images(self, person: str) -> list[int]:
        """Images that a person saw three times, sorted."""
        return sorted(self.trials(person)["image"].unique().tolist())

    def shared(self) -> list[int]:
        """Of the images meant for everybody, those that all eight people saw three times, sorted."""
        return sorted(set(self.meant.tolist()).intersection(*(self.images(person) for person in SUBJECTS)))


def _stimuli(path: Path, seen: list[int]) -> pd.DataFrame:
    """cocoId and cocoSplit of images, indexed by nsdId."""
    with _reading(path):
        table = pd.read_csv(path, usecols=["nsdId", "cocoId", "cocoSplit"]).set_index("nsdId")
        absent = pd.Index(seen).difference(table.index)
        if len(absent) or table.index.has_duplicates:
            raise ValueError(
                f"expected one row for each image; {len(absent)} have none, first nsdId {list(absent[:5])}"
            )
        table = table.loc[seen]
        odd = set(table["cocoSplit"]) - set(SPLITS)
        if odd:
            raise ValueError(f"cocoSplit: expected {' or '.join(SPLITS)}, got {sorted(map(str, odd))}")
    return table


def _annotations(copy: _Copy, kind: str, info: pd.DataFrame, field: str) -> tuple[pd.DataFrame, dict[int, str]]:
    """COCO's annotations [image, id, field] of images, one row each, by image; and the names of categories."""
    rows: list[tuple] = []
    categories: dict[int, str] = {}
    for split, images in info.groupby("cocoSplit"):
        numbers = dict(zip(images["cocoId"], images.index, strict=True))
        path = copy.path(f"{ANNOTATIONS}/{kind}_{split}.json")
        with _reading(path):
            content = json.loads(path.read_bytes())
            rows += [
                (numbers[entry["image_id"]], entry["id"], entry[field])
                for entry in content["annotations"]
                if entry["image_id"] in numbers
            ]
            categories |= {entry["id"]: entry["name"] for entry in content.get("categories", [])}
    return pd.DataFrame(rows, columns=["image", "id", field]).sort_values(
        ["image", "id"], ignore_index=True
    ), categories


def _captions(copy: _Copy, info: pd.DataFrame) -> pd.DataFrame:
    found, _ = _annotations(copy, "captions", info, "caption")
    found["caption"] = found["caption"].str.split().str.join(" ")  # some hold line breaks
    bare = info.index.difference(found["image"])
    if len(bare):
        raise ValueError(
            f"captions: COCO's files have none for {len(bare)} images, first nsdId {list(bare[:5])} (cocoId "
            f"{info['cocoId'].loc[bare[:5]].tolist()}); are they captions_train2017.json and captions_val2017.json?"
        )
    return found.rename(columns={"id": "caption_id"})[["image", "caption", "caption_id"]]


def _categories(copy: _Copy, info: pd.DataFrame) -> pd.DataFrame:
    found, names = _annotations(copy, "instances", info, "category_id")
    table = pd.crosstab(found["image"], found["category_id"].map(names)) > 0
    # an image may hold no object of any category
    return table.reindex(index=info.index, columns=list(names.values()), fill_value=False)


def _pictures(path: Path, seen: list[int], size: int, progress: bool) -> xr.DataArray:
    pictures = np.empty((len(seen), size, size, 3), dtype="uint8")
    with _reading(path), h5py.File(path) as file:
        brick = file["imgBrick"]
        for place, number in enumerate(tqdm(seen, desc="pictures", disable=not progress)):
            picture = Image.fromarray(brick[number])
            pictures[place] = picture.resize((size, size), Image.Resampling.LANCZOS)
    return xr.DataArray(pictures, dims=("image", "height", "width", "channel"), coords={"image": seen})


# where vertices are


class _Region(NamedTuple):
    """The vertices wanted of one person: their names, their places in the files, and the ROIs they belong to."""

    places: list[np.ndarray]  # surfaces: for each hemisphere its vertices; volumes: i, j and k
    rois: pd.DataFrame

    @property
    def labels(self) -> np.ndarray:
        return self.rois.index.to_numpy()


def _region_files(person: str, space: str) -> list[str]:
    if space == "func1pt8mm":
        folder = f"nsddata/ppdata/{person}/func1pt8mm"
        return [f"{folder}/roi/streams.nii.gz", f"{folder}/brainmask.nii.gz"]
    return [f"nsddata/freesurfer/fsaverage/label/{side}.streams.mgz" for side in ("lh", "rh")]


def _regions(copy: _Copy, person: str, space: str, wanted: list[int] | None) -> _Region:
    maps = []
    for path in map(copy.path, _region_files(person, space)):
        with _reading(path):
            maps.append(np.asarray(nibabel.load(path).dataobj))
            if space != "func1pt8mm" and maps[-1].size != HEMISPHERE["fsaverage"]:
                raise ValueError(f"expected {HEMISPHERE['fsaverage']} vertices, got {maps[-1].size}")
    if space == "func1pt8mm":
        streams, mask = maps
        if streams.shape != mask.shape:
            raise ValueError(f"nsd: {person}: streams has the shape {streams.shape}, the brain mask {mask.shape}.")
        places = list(np.nonzero((mask > 0) if wanted is None else (mask > 0) & np.isin(streams, wanted)))
        names = (SUBJECTS.index(person) + 1) * VOXELS + np.ravel_multi_index(places, mask.shape)
        found = streams[tuple(places)]
    else:
        size = HEMISPHERE[space]
        maps = [labels.ravel()[:size] for labels in maps]
        places = [np.arange(size) if wanted is None else np.flatnonzero(np.isin(labels, wanted)) for labels in maps]
        names = np.concatenate([places[0], places[1] + size])
        found = np.concatenate([labels[rows] for labels, rows in zip(maps, places, strict=True)])
    if not len(names):
        raise ValueError(f"roi: {person} has no vertex in it; do the ROI files belong to this data set?")
    kept = range(1, len(STREAMS) + 1) if wanted is None else sorted(wanted)
    rois = pd.DataFrame({STREAMS[label - 1]: found == label for label in kept}, index=names)
    return _Region(places, rois.rename_axis("vertex"))


# responses


def _responses(
    copy: _Copy,
    design: _Design,
    person: str,
    space: str,
    region: _Region,
    repeats: str,
    dtype: np.dtype,
    root: Path,
    progress: bool,
) -> xr.DataArray:
    """One person's responses, memory-mapped from the cache, which is filled where it is not."""
    trials, names = design.trials(person), design.images(person)
    files = {
        session: [copy.path(name) for name in copy.betas(person, space, session)]
        for session in range(1, design.counts[person] + 1)
    }
    key = {
        "format": FORMAT,
        "person": person,
        "space": space,
        "dtype": dtype.name,
        "images": _digest(np.array(names)),
        "trials": _digest(trials.to_numpy(), trials.index.to_numpy()),
        "vertices": _digest(*region.places),
        "files": [
            [path.name, path.stat().st_size, path.stat().st_mtime_ns] for paths in files.values() for path in paths
        ],
    }
    folder = root / f"{person}-{space}-{_digest(json.dumps(key).encode())[:16]}"
    store = _Store(folder, repeats, (REPEATS, len(names), len(region.labels)), dtype)

    def read(session: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
        values = _READERS[space](files[session], region.places)
        sound = _zscore(values, files[session][0])
        used = trials[trials.index // TRIALS == session - 1]
        places = zip(used.index % TRIALS, used["repeat"], np.searchsorted(names, used["image"]), strict=True)
        return values, sound, list(places)

    bar = tqdm(files, desc=person, unit="session", disable=not progress)
    array, sound = store.get(bar, read)
    coords: dict[str, Any] = {"image": names, "vertex": region.labels[sound]}
    if space == "func1pt8mm":
        coords |= {axis: ("vertex", rows[sound]) for axis, rows in zip("ijk", region.places, strict=True)}
    attrs = {"units": "s.d.", "dropped": int((~sound).sum()), "sessions": len(files)}
    return xr.DataArray(array, dims=("repeat", "image", "vertex"), coords=coords, attrs=attrs)


class _Store:
    """The responses of one person on disk: filled session by session, and complete once they have their final name."""

    def __init__(self, folder: Path, kind: str, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        self.folder, self.kind, self.shape, self.dtype = folder, kind, shape, dtype
        self.final, self.vertices = folder / f"{kind}.npy", folder / "vertices.npy"
        self.trials, self.state = folder / f"{kind}-trials.npy", folder / f"{kind}-sessions.npz"

    def get(self, sessions: Iterable[int], read: Callable) -> tuple[np.ndarray, np.ndarray]:
        """Responses (repeat, image, vertex) and which vertices they are of."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            if not self.final.exists():
                sound = self._fill(sessions, read)
                if not sound.any():
                    raise ValueError(
                        f"nsd: no vertex has finite, changing betas in every session; see {self.folder.name} and the "
                        "files of betas."
                    )
                _save(self.vertices, lambda path: np.save(path, sound))
                _save(self.final, lambda path: self._condense(path, sound))
            self.trials.unlink(missing_ok=True)
            self.state.unlink(missing_ok=True)
        return np.load(self.final, mmap_mode="r"), np.load(self.vertices)

    def _fill(self, sessions: Iterable[int], read: Callable) -> np.ndarray:
        """Write all trials; return which vertices are sound."""
        if self.state.exists() and self.trials.exists():
            with np.load(self.state) as file:
                done, sound = file["done"].tolist(), file["sound"]
        else:
            self._check_room()
            np.lib.format.open_memmap(self.trials, mode="w+", dtype=self.dtype, shape=self.shape)
            done, sound = [], np.ones(self.shape[2], dtype=bool)
        for session in sessions:
            if session in done:
                continue
            values, usable, places = read(session)
            array = np.lib.format.open_memmap(self.trials, mode="r+")
            for trial, repeat, image in places:
                array[repeat, image] = values[trial]
            array.flush()
            del array  # gives the pages of the map back
            # only now does the session count; a run that is killed before writes it again
            done, sound = [*done, session], sound & usable
            _save(self.state, functools.partial(np.savez, done=done, sound=sound))
        return sound

    def _check_room(self) -> None:
        """A memory map on a full disk would kill the process."""
        needed = 2 * int(np.prod(self.shape)) * self.dtype.itemsize
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(
                f"nsd: {self.folder} needs up to {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free; make room "
                "or pass cache=<another folder>, roi='streams', dtype='float16' or fewer sessions."
            )

    def _condense(self, path: Path, sound: np.ndarray) -> None:
        """Write the array without bad vertices, and with the mean of the repeats where that is wanted."""
        trials = np.load(self.trials, mmap_mode="r")
        shape = (1 if self.kind == "mean" else REPEATS, self.shape[1], int(sound.sum()))
        array = np.lib.format.open_memmap(path, mode="w+", dtype=self.dtype, shape=shape)
        for image in range(self.shape[1]):
            values = trials[:, image][:, sound]
            array[:, image] = values.mean(0, dtype=float) if self.kind == "mean" else values
        array.flush()


def _save(target: Path, write: Callable[[Path], None]) -> None:
    temporary = target.with_name(f".{target.stem}.part{target.suffix}")  # under the lock: nobody else writes it
    write(temporary)
    os.replace(temporary, target)


def _digest(*arrays: np.ndarray | bytes) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).data if isinstance(array, np.ndarray) else array)
    return total.hexdigest()


def _zscore(values: np.ndarray, path: Path) -> np.ndarray:
    """Z-score (trial, vertex) in place; say which vertices could be. The others are set to 0."""
    sound = np.empty(values.shape[1], dtype=bool)
    spread = np.empty(values.shape[1])
    for start in range(0, values.shape[1], 8192):  # in doubles, hence a part at a time
        few = slice(start, start + 8192)
        block = values[:, few].astype(float)
        sound[few] = np.isfinite(block).all(0)
        block[:, ~sound[few]] = 0
        sound[few] &= np.ptp(block, axis=0) > 0
        block -= block.mean(0)
        spread[few] = block.std(0)
        values[:, few] = np.where(sound[few], block / np.where(sound[few], spread[few], 1), 0)
    if sound.any() and not PLAUSIBLE[0] < np.median(spread[sound]) < PLAUSIBLE[1]:
        raise ValueError(
            f"{path}: the betas of a vertex have a median standard deviation of {np.median(spread[sound]):.3g} percent "
            "signal change, where about 1 is expected. Whole numbers are divided by 300, others are not: is this a "
            "file of NSD as it was published?"
        )
    return sound


def _read_surface(paths: list[Path], places: list[np.ndarray]) -> np.ndarray:
    """Betas of a session (trial, vertex), left hemisphere first."""
    values = np.empty((TRIALS, sum(map(len, places))), dtype="float32")
    start = 0
    for path, rows in zip(paths, places, strict=True):
        few = slice(start, start + len(rows))
        with _reading(path):
            if path.suffix == ".hdf5":
                with h5py.File(path) as file:
                    _check_shape(file["betas"].shape, (TRIALS, HEMISPHERE["fsaverage"]))
                    for trial in range(TRIALS):
                        values[trial, few] = file["betas"][trial][rows]
                    whole = file["betas"].dtype.kind in "iu"
            else:
                data = np.asanyarray(nibabel.load(path).dataobj)  # memory-mapped
                _check_shape(data.shape, (HEMISPHERE["fsaverage"], 1, 1, TRIALS))
                for trial in range(TRIALS):  # as they lie in the file
                    values[trial, few] = data[rows, 0, 0, trial]
                whole = data.dtype.kind in "iu"
        if whole:
            values[:, few] /= SCALE
        start = few.stop
    return values


def _read_volume(paths: list[Path], places: list[np.ndarray]) -> np.ndarray:
    """Betas of a session (trial, voxel)."""
    (path,) = paths
    i, j, k = places
    values = np.empty((TRIALS, len(i)), dtype="float32")
    with _reading(path):
        if path.suffix == ".hdf5":
            with h5py.File(path) as file:
                betas = file["betas"]  # trial, z, y, x
                _check_shape(betas.shape[:1], (TRIALS,))
                for plane in np.unique(k):
                    here = k == plane
                    values[:, here] = betas[:, plane][:, j[here], i[here]]
                whole = betas.dtype.kind in "iu"
        else:
            data = np.asanyarray(nibabel.load(path).dataobj)
            _check_shape(data.shape[3:], (TRIALS,))
            for trial in range(TRIALS):
                values[trial] = data[i, j, k, trial]
            whole = data.dtype.kind in "iu"
    if whole:
        values /= SCALE
    return values


_READERS = {"fsaverage": _read_surface, "fsaverage5": _read_surface, "func1pt8mm": _read_volume}


def _check_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(found) != expected:
        raise ValueError(f"expected the shape {expected}, got {tuple(map(int, found))}")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file in errors about its content; the libraries do not."""
    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        EOFError,
        ImageFileError,
        NotImplementedError,
    ) as error:
        raise ValueError(
            f"{path}: cannot be read as the file of that name in NSD or COCO ({type(error).__name__}: {error}). Is it "
            f"complete? It has {path.stat().st_size} bytes."
        ) from error
