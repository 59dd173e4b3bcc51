"""The Natural Scenes Dataset: 7T fMRI of eight people who saw thousands of photographs (Allen et al. 2022).

The reader's own copy is used, in its official layout; nothing is downloaded. What the loader relies on, from the NSD
Data Manual (https://naturalscenesdataset.org):

- ``nsd_expdesign.mat``: `masterordering` (1 x 30000) has for each trial the place of its image, the same for everybody,
  in the row of `subjectim` (8 x 10000) that belongs to the person, where the image's number in the whole set of 73,000
  is; `sharedix` has the numbers of the 1,000 images meant for everybody. All three count from 1.
- ``nsd_stim_info_merged.csv``: the image's `nsdId`, which counts from 0, and its `cocoId` and `cocoSplit`.
- ``betas_fithrf_GLMdenoise_RR`` in func1pt8mm: int16, percent signal change times 300, as HDF5 (dataset `betas`,
  x, y, z, trial in MATLAB's order, which h5py gives reversed) or NIfTI; voxels outside the brain mask are 0.
- The same in fsaverage: float32, percent signal change, one MGH file of 163,842 vertices a hemisphere and session.
- `streams`, the ROIs, are numbered as in `STREAMS`, from 1.
- ``nsd_stimuli.hdf5``: dataset `imgBrick`, in h5py (73000, 425, 425, 3), uint8.

Captions are COCO's (captions_train2017.json and captions_val2017.json), of which NSD's images are square crops.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import nibabel
import numpy as np
import pandas as pd
import xarray as xr
from filelock import FileLock
from PIL import Image
from scipy.io import loadmat
from tqdm import tqdm

from brainalign import assets
from brainalign._checks import listed, one_of, shaped, whole
from brainalign._io import placed
from brainalign.datasets._files import reading, some_subjects
from brainalign.datasets.types import Viewing

SUBJECTS = tuple(f"subj{number:02d}" for number in range(1, 9))
SESSIONS = dict(zip(SUBJECTS, (40, 40, 32, 30, 40, 32, 40, 30), strict=True))  # that each person completed
TRIALS = 750  # of a session
REPEATS = 3  # times that an image must have been seen to be used
HEMISPHERE = {"fsaverage": 163_842, "fsaverage5": 10_242}  # vertices; those of fsaverage5 are the first of fsaverage
VOXELS = 10_000_000  # more than any volume has: what tells the voxels of different people apart
STREAMS = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal")
PLAUSIBLE = (0.03, 30.0)  # median s.d. of betas over a session, in percent signal change; about 1 to 2 in NSD

DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
STIMULI = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
ANNOTATIONS = "nsddata_stimuli/stimuli/nsd/annotations"
FORMAT = 2  # raise when the meaning of cached numbers changes

HOW_TO_GET = f"""\
The Natural Scenes Dataset is for those who have accepted its data access agreement and its terms; nothing is
downloaded for you. Accept them at https://naturalscenesdataset.org, then fetch what you need, for example
  aws s3 cp --no-sign-request s3://natural-scenes-dataset/PATH ROOT/PATH
(betas of func1pt8mm may also be .nii.gz). COCO's annotations (CC BY 4.0) are not part of it: unpack
http://images.cocodataset.org/annotations/annotations_trainval2017.zip into ROOT/{ANNOTATIONS}. To use a
part of the data, pass subjects=[...] or sessions=N."""

_reading = partial(reading, what="the file of that name in NSD or COCO")


def nsd(
    root: str | os.PathLike[str] | None = None,
    *,
    subjects: Sequence[str | int] | None = None,
    space: str = "fsaverage",
    roi: str | Sequence[str] | None = None,
    sessions: int | None = None,
    images: int | None = None,
    categories: bool = False,
    dtype: str = "float32",
    cache: str | os.PathLike[str] | None = None,
) -> Viewing:
    """Betas of people who saw photographs, with COCO's captions.

    Betas are z-scored per vertex within each session, and the images that a person saw three times are kept, as in
    Doerig et al. (2025). A session at a time is written to a file in the cache, where a run that breaks off goes on; of
    what is returned nothing is in memory before it is asked for. The cache of one person takes 3 x images x vertices
    numbers, and twice that while it is made.

    Parameters
    ----------
    root : path
        Your copy of NSD: the folder that holds nsddata, nsddata_betas and, for pictures, nsddata_stimuli.
    subjects : sequence of str or int, optional
        Such as ["subj01", "subj02"] or [1, 2]; all eight by default.
    space : {"fsaverage", "fsaverage5", "func1pt8mm"}
        Surface of both hemispheres; the first 10,242 vertices of each hemisphere, nothing smoothed; or each person's
        own volume, where `vertex` is the person's number times ten million plus the place of the voxel in the volume
        (C order), and the coordinates i, j and k of the responses are its indices from 0.
    roi : str or sequence of str, optional
        Keep only these of `STREAMS`, or "streams" for all of them. Default: the whole surface or brain mask.
    sessions : int, optional
        Use only the first sessions. Default: all that the person completed.
    images : int, optional
        Load the pictures too, scaled to this many pixels. Default: none.
    categories : bool
        Load COCO's object categories too (up to 3 GB of memory while they are read). They are of the whole photograph:
        an object may lie outside the crop that was shown.
    dtype : {"float32", "float16"}
        Precision of the cache. float16 halves it; z-scores keep three digits.
    cache : path, optional
        Default: ``nsd`` in the cache folder of the package.

    Returns
    -------
    Viewing
        `responses` (repeat, image, vertex) in standard deviations, memory-mapped, repeats in the order seen. Images are
        named by their nsdId and sorted by it. Vertices that are flat or not finite in any session are left out, person
        by person; their number is in ``attrs["dropped"]``. `test_images` are the shared images that all eight people
        saw three times in their sessions (515 in the whole data set), whoever is loaded.

    Raises
    ------
    brainalign.assets.AssetError
        Lists all files that are missing, and how to get them.

    References
    ----------
    Allen et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence. Nature
    Neuroscience 25, 116-126. Data access: https://naturalscenesdataset.org.
    """
    chosen = some_subjects(subjects, SUBJECTS, "subj")
    one_of("space", space, (*HEMISPHERE, "func1pt8mm"))
    one_of("dtype", dtype, ("float32", "float16"))
    sessions = None if sessions is None else whole("sessions", sessions)
    images = None if images is None else whole("images", images)
    streams = STREAMS if roi is None or roi == "streams" else (roi,) if isinstance(roi, str) else tuple(roi)
    for name in streams or [None]:
        one_of("roi", name, STREAMS)
    counts = {subject: min(n, sessions or n) for subject, n in SESSIONS.items()}
    copy = _Copy(root, space)
    more = [copy.root / PICTURES] * (images is not None) + [*copy.annotations("instances").values()] * categories
    copy.require({subject: counts[subject] for subject in chosen}, more)

    trials, shared = _design(copy.root / DESIGN, counts)
    regions = {subject: _region(copy, subject, space, streams, everywhere=roi is None) for subject in chosen}
    seen = np.unique(np.concatenate([trials[subject]["image"] for subject in chosen])).tolist()
    info = _stimuli(copy.root / STIMULI, seen)
    folder = assets.cache_dir() / "nsd" if cache is None else Path(cache).expanduser()
    stored = {s: _responses(copy, s, trials[s], regions[s], counts[s], np.dtype(dtype), folder) for s in chosen}
    rois = pd.concat([region.rois for region in regions.values()])
    return Viewing(
        name="nsd",
        captions=_captions(copy, info),
        test_images=shared,
        space=space,
        images=None if images is None else _pictures(copy.root / PICTURES, seen, images),
        categories=_categories(copy, info) if categories else None,
        responses=stored,
        rois=rois[~rois.index.duplicated()],
    )


class _Copy:
    """The reader's copy of NSD, and COCO's annotations."""

    def __init__(self, root: str | os.PathLike[str] | None, space: str) -> None:
        if root is None or not Path(root).expanduser().is_dir():
            where = "no folder was given" if root is None else f"there is no folder {root}"
            raise assets.AssetError(f"nsd: root: {where}.\n{HOW_TO_GET}")
        self.root, self.volume = Path(root).expanduser().absolute(), space == "func1pt8mm"

    def betas(self, subject: str, session: int) -> list[Path]:
        """Files of one session: hemispheres, or a volume in the format that is there."""
        space, end = "func1pt8mm" if self.volume else "fsaverage", f"betas_session{session:02d}"
        folder = self.root / f"nsddata_betas/ppdata/{subject}/{space}/betas_fithrf_GLMdenoise_RR"
        if not self.volume:
            return [folder / f"{side}.{end}.mgh" for side in ("lh", "rh")]
        plain, zipped = folder / f"{end}.hdf5", folder / f"{end}.nii.gz"
        return [zipped if zipped.is_file() and not plain.is_file() else plain]

    def regions(self, subject: str) -> list[Path]:
        """Files that say where vertices are."""
        if self.volume:
            folder = self.root / f"nsddata/ppdata/{subject}/func1pt8mm"
            return [folder / "roi/streams.nii.gz", folder / "brainmask.nii.gz"]
        return [self.root / f"nsddata/freesurfer/fsaverage/label/{side}.streams.mgz" for side in ("lh", "rh")]

    def annotations(self, kind: str) -> dict[str, Path]:
        return {split: self.root / ANNOTATIONS / f"{kind}_{split}.json" for split in ("train2017", "val2017")}

    def require(self, counts: Mapping[str, int], more: list[Path]) -> None:
        """Say all at once which files are not there."""
        paths = [self.root / DESIGN, self.root / STIMULI, *self.annotations("captions").values(), *more]
        for subject, count in counts.items():
            paths += [*self.regions(subject), *(path for k in range(count) for path in self.betas(subject, k + 1))]
        paths = list(dict.fromkeys(paths))
        missing = pd.Series([path.relative_to(self.root).as_posix() for path in paths if not path.is_file()], dtype=str)
        if len(missing):  # a line for the files that differ only in the session
            same = missing.str.replace(r"_session\d\d", "_session*", regex=True)
            numbers = missing.str.extract(r"_session(\d\d)", expand=False).groupby(same, sort=False)
            lines = [f"  - {name}" + f" ({listed(some, 40)})" * bool(some.notna().all()) for name, some in numbers]
            title = f"nsd: {len(missing)} of {len(paths)} files are missing in {self.root}:"
            raise assets.AssetError("\n".join([title, *lines, HOW_TO_GET]))


def _design(path: Path, counts: Mapping[str, int]) -> tuple[dict[str, pd.DataFrame], list[int]]:
    """Image, by nsdId, and which repeat of it, of each person's trials, but for images not seen often enough.

    Also the images meant for everybody that all eight people saw often enough, sorted.
    """
    with _reading(path):
        table = loadmat(path, variable_names=["masterordering", "subjectim", "sharedix"])
        order, meant = (table[name].ravel().astype(int) - 1 for name in ("masterordering", "sharedix"))
        numbers = shaped("subjectim", table["subjectim"], len(SUBJECTS), "image").astype(int) - 1
        n_trials, n_images = max(counts.values()) * TRIALS, numbers.shape[1]
        if len(order) < n_trials or order.min() < 0 or order.max() >= n_images:
            raise ValueError(f"masterordering: expected {n_trials} places or more, from 1 to {n_images}")
    trials = {}
    for subject, row in zip(SUBJECTS, numbers, strict=True):
        seen = pd.DataFrame({"image": row[order[: counts[subject] * TRIALS]]})
        seen["repeat"] = seen.groupby("image").cumcount()
        trials[subject] = seen[seen.groupby("image")["repeat"].transform("size") == REPEATS]
    return trials, sorted(set(meant.tolist()).intersection(*(seen["image"] for seen in trials.values())))


def _stimuli(path: Path, seen: list[int]) -> pd.DataFrame:
    """cocoId and cocoSplit of images, indexed by nsdId."""
    with _reading(path):
        table = pd.read_csv(path, usecols=["nsdId", "cocoId", "cocoSplit"]).set_index("nsdId")
        lacking = pd.Index(seen).difference(table.index)
        if len(lacking) or table.index.has_duplicates:
            raise ValueError(f"expected one row for each image; {len(lacking)} have none: nsdId {listed(lacking, 5)}")
        return table.loc[seen]


def _annotations(copy: _Copy, kind: str, info: pd.DataFrame, field: str) -> tuple[pd.DataFrame, dict[int, str]]:
    """COCO's annotations [image, id, field] of images, one row each, by image; and the names of categories."""
    rows: list[tuple] = []
    categories: dict[int, str] = {}
    for split, path in copy.annotations(kind).items():
        images = info[info["cocoSplit"] == split]
        numbers = dict(zip(images["cocoId"], images.index, strict=True))
        with _reading(path):
            content = json.loads(path.read_bytes())
            found = [entry for entry in content["annotations"] if entry["image_id"] in numbers]
            rows += [(numbers[entry["image_id"]], entry["id"], entry[field]) for entry in found]
            categories |= {entry["id"]: entry["name"] for entry in content.get("categories", [])}
    table = pd.DataFrame(rows, columns=["image", "id", field])
    return table.sort_values(["image", "id"], ignore_index=True), categories


def _captions(copy: _Copy, info: pd.DataFrame) -> pd.DataFrame:
    found, _ = _annotations(copy, "captions", info, "caption")
    found["caption"] = found["caption"].str.split().str.join(" ")  # some hold line breaks
    return found.rename(columns={"id": "caption_id"})[["image", "caption", "caption_id"]]


def _categories(copy: _Copy, info: pd.DataFrame) -> pd.DataFrame:
    found, names = _annotations(copy, "instances", info, "category_id")
    table = pd.crosstab(found["image"], found["category_id"].map(names)) > 0
    # an image may hold no object of any category
    return table.reindex(index=info.index, columns=list(names.values()), fill_value=False)


def _pictures(path: Path, seen: list[int], size: int) -> xr.DataArray:
    pictures = np.empty((len(seen), size, size, 3), dtype="uint8")
    with _reading(path), h5py.File(path) as file:
        for place, number in enumerate(tqdm(seen, desc="pictures", disable=None)):
            picture = Image.fromarray(file["imgBrick"][number])
            pictures[place] = picture.resize((size, size), Image.Resampling.LANCZOS)
    return xr.DataArray(pictures, {"image": seen}, ("image", "height", "width", "channel"))


class _Region(NamedTuple):
    """The vertices of a person: places in each file of a session, whose shape is `grid`; and ROIs, by vertex."""

    grid: tuple[int, ...]
    places: list[tuple[np.ndarray, ...]]
    rois: pd.DataFrame


def _region(copy: _Copy, subject: str, space: str, streams: Sequence[str], everywhere: bool) -> _Region:
    size, wanted = HEMISPHERE.get(space), [STREAMS.index(name) + 1 for name in streams]
    maps = []
    for path in copy.regions(subject):
        with _reading(path):
            found = np.asarray(nibabel.load(path).dataobj)
            maps.append(found.reshape(HEMISPHERE["fsaverage"]) if size else found)
    grid = maps[0].shape
    if size is None:
        labels, mask = maps
        if mask.shape != grid:
            raise ValueError(f"nsd: {subject}: streams has the shape {grid}, the brain mask {mask.shape}.")
        places, maps = [np.nonzero((mask > 0) & (everywhere | np.isin(labels, wanted)))], [labels]
        names = (SUBJECTS.index(subject) + 1) * VOXELS + np.ravel_multi_index(places[0], grid)
    else:
        places = [np.nonzero(everywhere | np.isin(labels[:size], wanted)) for labels in maps]
        names = np.concatenate([places[0][0], places[1][0] + size])
    if not len(names):
        raise ValueError(f"roi: {subject} has no vertex in it; do the ROI files belong to this data set?")
    labels = np.concatenate([labels[rows] for labels, rows in zip(maps, places, strict=True)])
    rois = {name: labels == number for number, name in enumerate(STREAMS, start=1) if name in streams}
    return _Region(grid, places, pd.DataFrame(rois, index=pd.Index(names, name="vertex")))


def _responses(
    copy: _Copy,
    subject: str,
    trials: pd.DataFrame,
    region: _Region,
    n_sessions: int,
    dtype: np.dtype,
    root: Path,
) -> xr.DataArray:
    """One person's responses, memory-mapped from the cache, which is filled where it is not."""
    images = np.unique(trials["image"])
    files = {session: copy.betas(subject, session) for session in range(1, n_sessions + 1)}
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for paths in files.values() for path in paths]
    arrays = [trials.to_numpy(), trials.index.to_numpy(), *(axis for rows in region.places for axis in rows)]
    key = hashlib.sha256(json.dumps([FORMAT, dtype.name, stats, [len(array) for array in arrays]]).encode())
    for array in arrays:
        key.update(np.ascontiguousarray(array).data)
    folder = root / f"{subject}-{key.hexdigest()[:16]}"

    def read(session: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
        values = np.empty((TRIALS, len(region.rois)), dtype="float32")
        ends = np.cumsum([len(rows[0]) for rows in region.places])
        for path, rows, end in zip(files[session], region.places, ends, strict=True):
            _read_betas(path, region.grid, rows, values[:, end - len(rows[0]) : end])
        sound = _zscore(values, files[session][0])
        used = trials[trials.index // TRIALS == session - 1]
        where = zip(used.index % TRIALS, used["repeat"], np.searchsorted(images, used["image"]), strict=True)
        return values, sound, list(where)

    final = folder / "responses.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not final.exists():
            bar = tqdm(files, desc=subject, unit="session", disable=None)
            _fill(final, (REPEATS, len(images), len(region.rois)), dtype, bar, read)
        for leftover in (*folder.glob("*-so-far.np?"), *folder.glob(".*.np?")):  # the latter of a run that was killed
            leftover.unlink()
    sound = np.load(folder / "vertices.npy")
    coords: dict[str, Any] = {"image": images, "vertex": region.rois.index[sound]}
    if copy.volume:
        coords |= {axis: ("vertex", rows[sound]) for axis, rows in zip("ijk", region.places[0], strict=True)}
    attrs = {"units": "s.d.", "dropped": int((~sound).sum()), "sessions": len(files)}
    return xr.DataArray(np.load(final, mmap_mode="r"), coords, ("repeat", "image", "vertex"), attrs=attrs)


def _fill(final: Path, shape: tuple[int, int, int], dtype: np.dtype, sessions: Iterable[int], read: Callable) -> None:
    """Write all trials (repeat, image, vertex), session by session, then what is kept of them, under its final name."""
    folder = final.parent
    trials, state = folder / "trials-so-far.npy", folder / "sessions-so-far.npz"
    if state.exists() and trials.exists():
        with np.load(state) as file:
            done, sound = file["done"].tolist(), file["sound"]
    else:
        needed, free = 2 * int(np.prod(shape)) * dtype.itemsize, shutil.disk_usage(folder).free
        if free < needed:  # a memory map on a full disk would kill the process
            advice = "make room or pass cache=<another folder>, roi='streams', dtype='float16' or fewer sessions"
            raise OSError(f"nsd: {folder} needs up to {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; {advice}.")
        np.lib.format.open_memmap(trials, mode="w+", dtype=dtype, shape=shape)
        done, sound = [], np.ones(shape[2], dtype=bool)
    for session in sessions:
        if session in done:
            continue
        values, usable, places = read(session)
        array = np.lib.format.open_memmap(trials, mode="r+")
        for trial, repeat, image in places:
            array[repeat, image] = values[trial]
        array.flush()
        del array  # gives the pages of the map back
        # only now does the session count; a run that is killed before writes it again
        done, sound = [*done, session], sound & usable
        with placed(state) as part:
            np.savez(part, done=done, sound=sound)
    if not sound.any():
        raise ValueError(f"nsd: no vertex has finite, changing betas in every session of {folder.name}.")
    with placed(folder / "vertices.npy") as part:
        np.save(part, sound)
    everything = np.load(trials, mmap_mode="r")
    with placed(final) as part:
        array = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=(*shape[:2], int(sound.sum())))
        for image in range(shape[1]):
            array[:, image] = everything[:, image][:, sound]
        array.flush()


def _zscore(values: np.ndarray, path: Path) -> np.ndarray:
    """Z-score (trial, vertex) in place; say which vertices could be. The others are set to 0."""
    sound, spread = np.empty(values.shape[1], dtype=bool), np.empty(values.shape[1])
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
            f"{path}: expected betas with a median standard deviation of about 1 percent signal change, got "
            f"{np.median(spread[sound]):.3g}; whole numbers are divided by 300: is this a file of NSD as published?"
        )
    return sound


def _read_betas(path: Path, grid: tuple[int, ...], places: tuple[np.ndarray, ...], out: np.ndarray) -> None:
    """Fill `out` with the percent signal change (trial, vertex) of a hemisphere or volume in one session."""
    with _reading(path):
        if path.suffix == ".hdf5":
            i, j, k = places
            with h5py.File(path) as file:
                betas, kind = file["betas"], file["betas"].dtype.kind
                one_of("shape", betas.shape, [(TRIALS, *grid[::-1])])
                for plane in np.unique(k):
                    here = k == plane
                    out[:, here] = betas[:, plane][:, j[here], i[here]]
        else:
            data = np.asanyarray(nibabel.load(path).dataobj)  # of surfaces, memory-mapped
            data, kind = data[:, 0, 0] if len(grid) == 1 else data, data.dtype.kind
            one_of("shape", data.shape, [(*grid, TRIALS)])
            for trial in range(TRIALS):  # as they lie in the file
                out[trial] = data[..., trial][places]
    if kind in "iu":
        out /= 300
