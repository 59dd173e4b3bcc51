"""Your own data: a folder of tables and arrays, read, checked and written.

Tables are CSV in UTF-8, or as spreadsheets write them with semicolons and decimal commas. A folder of **listening**
data holds these files, of which the first three and one of responses and signal are needed:

==================  ==================================================================================================
dataset.json        {"name": "mine", "modality": "high-gamma"}, or "bold" or "erp". Also "sampling_rate" (Hz) and
                    "start" (s on the words' clock) of the signal; "space" of x, y, z: "MNI152" (default), "fsaverage".
words.csv           word, onset, offset (s), passage: one row a word, in the order spoken; further columns are kept.
                    Times may all be empty for "erp" without signal and audio.
channels.csv        channel, subject; where known region, hemisphere ("left" or "right"), x, y, z and distance_pmc (mm,
                    from posteromedial Heschl's gyrus), found from coordinates if missing; further columns are kept.
responses.npy       (word, channel), in the order of the tables: z-scored high gamma around each word, or one ERP value
                    or NaN. Or responses.csv with the channels' names as header, as also signal.csv.
signal.npy          (time, channel) or (repeat, time, channel), for BOLD one sample a volume.
times.npy           (time,), s: when each sample of the signal was taken, in place of "sampling_rate".
audio.wav           one channel, on the words' clock.
==================  ==================================================================================================

A folder of **viewing** data, told by its captions.csv, needs the first two and responses or rdms; NAME is a person's:

==================  ==================================================================================================
dataset.json        {"name": "mine", "space": "fsaverage5"}, or "fsaverage" (vertices count the left, then the right
                    hemisphere), or another name or nothing.
captions.csv        image, caption: one row a caption, one or more an image. Further columns are ignored.
responses/NAME.npy  (repeat, image, vertex) or (image, vertex), floating-point; as many repeats in everybody.
seen.csv            subject, image: the images of the person's responses, in order. Who is not in it saw all images, in
                    the order of captions.csv.
vertices/NAME.npy   (vertex,): labels of a person's vertices, or vertices.npy for everybody; else they count from 0.
rois.csv            vertex, then one column a region of interest: 1 or 0, True or False.
test_images.csv     image: the shared test set, at least three that everybody saw. Default: all that everybody saw;
                    encoding models need others to learn from.
categories.csv      image, then one column a category: 1 or 0, True or False.
pictures/IMAGE.png  one for every captioned image, or none at all; all of one size. Also .jpg and .jpeg.
rdms/NAME.npy       (session, pair) or (pair,): where only dissimilarities are known, for the pairs of
                    ``numpy.triu_indices(n, 1)`` over the images in the order of captions.csv.
==================  ==================================================================================================
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image
from scipy.io import wavfile

from brainalign._checks import one_of, whole, within
from brainalign.datasets._files import (
    SETTINGS,
    as_is,
    attempt,
    read_array,
    read_settings,
    read_table,
    reading,
    to_numbers,
)
from brainalign.datasets.types import (
    CHANNEL_COLUMNS,
    WORD_COLUMNS,
    Audio,
    Listening,
    Stimuli,
    Viewing,
    absent,
    bad_rows,
    repeat_problems,
)

__all__ = ["check", "load_stimuli", "read", "write"]

COORDINATES = ["x", "y", "z"]
PICTURES = (".png", ".jpg", ".jpeg")


def check(folder: str | os.PathLike[str]) -> list[str]:
    """Everything that keeps a folder of your own from being loaded by `load_listening` or `load_viewing`.

    A line a problem: the file or field, the column or row (as a spreadsheet numbers rows, the header being row 1), what
    was expected, what came and what to do. None for a sound folder.
    """
    return read(folder)[1]


def read(
    folder: str | os.PathLike[str], kind: type[Listening] | type[Viewing] | None = None, *, numbers: bool = True
) -> tuple[Listening | Viewing | None, list[str]]:
    """The data set in a folder, or None, and all that is wrong with it, as `check` gives it.

    Coordinates of channels are brought to fsaverage's space (mm); region, hemisphere and distance are filled in from
    them where the table lacks them (`cortex.locate`). High gamma given as a signal alone gets `responses`, the mean of
    its repeats in 100 ms around the centre of each word (`signals.word_responses`). Responses to images, whose names
    are texts, are memory maps; with `numbers`, they are read to find those that are not finite or never change.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return None, [f"{folder}: no such folder."]
    problems, found = list[str](), list[str]()
    kind = kind or (Viewing if (folder / "captions.csv").exists() else Listening)
    fields = _viewing(folder, problems) if kind is Viewing else _listening(folder, problems)
    data = attempt(found, lambda: kind(**fields))
    # What is there and could not be read has been named: what follows from that is no news.
    required = {"words", "channels", "captions"}
    unread = {f for f, value in fields.items() if value is None and (f in required or any(folder.glob(f"{f}*")))}
    problems += [line for line in found if not unread & set(line.partition(":")[0].split(", "))]
    if data is not None:
        table = fields["words" if kind is Listening else "captions"]
        table.index = pd.RangeIndex(len(table))  # in place: rows had the numbers that they have in the file
        data = attempt(problems, _with_responses, data) if kind is Listening else data
    for subject, array in (fields["responses"] or {}).items() if kind is Viewing and numbers else ():
        problems += repeat_problems(subject, array)
    problems = [" ".join(line.replace(f"{folder}{os.sep}", "").split()) for line in problems]
    return None if problems else data, problems


def write(data: Listening | Viewing, folder: str | os.PathLike[str]) -> Path:
    """The method `save`: in the layout above, in fsaverage's space; FileExistsError where the folder holds anything."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"folder: {folder} exists and is not an empty folder; remove it or choose another name.")
    files = _files_of_listening(data) if isinstance(data, Listening) else _files_of_viewing(data)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        part = Path(beside) / folder.name
        for name, content in files.items():
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict):
                path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            elif isinstance(content, pd.DataFrame):
                content.to_csv(path, index=False)
            elif isinstance(content, Audio):
                wavfile.write(path, whole("audio: rate in Hz", content.rate), content.samples.astype("float32"))
            elif path.suffix == ".png":
                Image.fromarray(content).save(path)
            else:
                np.save(path, content, allow_pickle=False)
        problems = read(part, numbers=False)[1] if isinstance(data, Viewing) else []
        if problems:
            raise ValueError("data: the folder could not be read back:\n" + "\n".join(problems))
        if folder.exists():
            folder.rmdir()  # empty: not everywhere can it be replaced
        os.replace(part, folder)
    return folder


# Listening.


def _listening(folder: Path, problems: list[str]) -> dict[str, Any]:
    settings = read_settings(folder, ("name", "modality", "sampling_rate", "start", "space"), problems)
    space = attempt(problems, one_of, f"{SETTINGS}: space", settings.get("space", "MNI152"), ("MNI152", "fsaverage"))
    rate, start = settings.get("sampling_rate"), settings.get("start", 0.0)
    if rate is not None:
        rate = attempt(problems, within, f"{SETTINGS}: sampling_rate", rate, 0, np.inf)
    start = attempt(problems, within, f"{SETTINGS}: start", start, -np.inf, np.inf)
    channels = attempt(problems, _channels, folder, space, problems)
    arrays = {"responses": ("word", "channel"), "signal": ("repeat", "time", "channel")}
    responses, signal = (attempt(problems, _array, folder / f, dims, channels, problems) for f, dims in arrays.items())
    if signal is not None:
        times = attempt(problems, _times, folder, signal.sizes["time"], rate, start, problems)
        signal = None if times is None else signal.assign_coords(time=times)
    return {
        "name": settings.get("name"),
        "modality": settings.get("modality"),
        "words": attempt(problems, _words, folder, problems),
        "channels": channels,
        "responses": responses,
        "signal": signal,
        "audio": _optional(problems, folder / "audio.wav", _audio),
    }


def _with_responses(data: Listening) -> Listening:
    """Where there is a signal alone, high gamma around each word too."""
    if data.modality != "high-gamma" or data.signal is None or data.responses is not None:
        return data
    from brainalign.signals import word_responses  # on use, as is `cortex`: scipy takes a second to load

    mean = data.signal.mean("repeat") if "repeat" in data.signal.dims else data.signal
    return replace(data, responses=word_responses(mean, data.words).transpose("word", "channel"))


def _files_of_listening(data: Listening) -> dict[str, Any]:
    files: dict[str, Any] = {
        SETTINGS: {"name": data.name, "modality": data.modality, "space": "fsaverage"},
        "words.csv": data.words,
        "channels.csv": data.channels.rename_axis("channel").reset_index(),
    }
    if data.responses is not None:
        files["responses.npy"] = data.responses.to_numpy()
    if data.signal is not None:
        files |= {"signal.npy": data.signal.to_numpy(), "times.npy": data.signal["time"].to_numpy()}
    return files | ({} if data.audio is None else {"audio.wav": data.audio})


def _words(folder: Path, problems: list[str]) -> pd.DataFrame:
    table = read_table(folder / "words.csv", WORD_COLUMNS)
    words = table[list(WORD_COLUMNS)].astype(str)
    for column in ("onset", "offset"):
        words[column] = to_numbers(table, column, "words.csv", problems)
    for column in table.columns.difference(WORD_COLUMNS, sort=False):
        words[column] = as_is(table, column)
    return words


def _channels(folder: Path, space: str | None, problems: list[str]) -> pd.DataFrame:
    table = read_table(folder / "channels.csv", ("channel", "subject"))
    channels = pd.DataFrame(index=table.index)
    for column in ("subject", "region", "hemisphere"):
        channels[column] = table[column].str.strip().astype(str) if column in table else ""
    for column in (*COORDINATES, "distance_pmc"):
        channels[column] = to_numbers(table, column, "channels.csv", problems) if column in table else np.nan
    for column in table.columns.difference(["channel", *CHANNEL_COLUMNS], sort=False):
        channels[column] = as_is(table, column)
    names, hemisphere, x = table["channel"].str.strip(), channels["hemisphere"], channels["x"]
    given = channels[COORDINATES].notna()
    tiny = (channels[COORDINATES].abs() < 1).all(axis=1)
    # A centimetre either way is the midline, where a depth electrode may cross.
    crossed = ((hemisphere == "left") & (x > 10)) | ((hemisphere == "right") & (x < -10))
    complete = np.isfinite(channels[COORDINATES].to_numpy()).all(1)
    outside = _locate(channels, complete, space) if complete.any() and space is not None else False
    for bad, what in (
        (names == "", "have no channel name; give each its own"),
        (channels["subject"] == "", "have no subject; name the person, who may be the same for all"),
        (~hemisphere.isin(["left", "right", ""]), "have another hemisphere than left, right or nothing; change it"),
        (channels["distance_pmc"] < 0, "have a negative distance_pmc; distances are not"),
        (given.any(axis=1) & ~given.all(axis=1), "have some of x, y and z; give all three, or leave all three empty"),
        (crossed, "have a hemisphere that disagrees with the sign of x; x is negative on the left"),
        (tiny, "lie within 1 mm of the origin; give mm, not metres, or leave unknown coordinates empty"),
        (outside, "lie more than 20 mm outside the brain; give mm, or leave unknown coordinates empty"),
    ):
        problems += bad_rows("channels.csv", table, bad, what)
    return channels.set_axis(pd.Index(names.astype(str), name="channel"))


def _locate(channels: pd.DataFrame, complete: np.ndarray, space: str) -> np.ndarray:
    """Move coordinates to fsaverage and fill in what they tell, in place; say which lie outside of the brain."""
    from brainalign import cortex

    if space == "MNI152":
        channels[COORDINATES] = cortex.mni152_to_fsaverage(channels[COORDINATES])
    empty = channels[["region", "hemisphere", "distance_pmc"]].isin(["", np.nan])
    lacking = complete & empty.any(axis=1).to_numpy()
    if not lacking.any():
        return lacking
    known = np.where(lacking[:, None], channels[COORDINATES], np.nan)
    found = cortex.locate(known).set_index(channels.index)
    for column in empty:
        channels[column] = channels[column].mask(empty[column] & lacking, found[column])
    return lacking & found["vertex"].isna().to_numpy()


def _array(
    stem: Path, allowed: tuple[str, ...], channels: pd.DataFrame | None, problems: list[str]
) -> xr.DataArray | None:
    """Responses or signal, the signal yet without times."""
    paths = [path for suffix in (".npy", ".csv") if (path := stem.with_suffix(suffix)).exists()]
    if len(paths) != 1:
        if paths:
            raise ValueError(f"{stem.name}: {' and '.join(path.name for path in paths)} are both here; keep one.")
        return None
    (path,) = paths
    names = None if channels is None else channels.index.to_numpy()
    values = read_array(path) if path.suffix == ".npy" else _csv_array(path, names, problems)
    dims = allowed[-max(values.ndim, 2) :]
    names = np.arange(values.shape[-1]) if names is None else names
    if values.ndim != len(dims) or 0 in values.shape or values.shape[-1] != len(names):
        shape = ", ".join(allowed).replace("repeat,", "[repeat,]")
        which = f"the {len(names)} channels of channels.csv in their order"
        raise ValueError(f"{path.name}: expected shape ({shape}) with {which}, got {values.shape}.")
    return xr.DataArray(values, dims=dims, coords={"channel": names})


def _csv_array(path: Path, names: np.ndarray | None, problems: list[str]) -> np.ndarray:
    table = read_table(path, () if names is None else list(names))
    columns = list(table if names is None else names)
    what = "columns are not in channels.csv; every column is one channel"
    problems += absent(path.name, table.columns, columns, what)
    return np.column_stack([to_numbers(table, column, path.name, problems) for column in columns])


def _times(folder: Path, n_times: int, rate: float | None, start: float | None, problems: list[str]) -> np.ndarray:
    path = folder / "times.npy"
    if not path.exists():
        if rate is None:
            raise ValueError(f"{SETTINGS}: sampling_rate (Hz) is missing, which the signal needs without times.npy.")
        return np.arange(n_times) / rate + (start or 0.0)
    times = read_array(path)
    if times.shape != (n_times,):
        raise ValueError(f"times.npy: expected shape ({n_times},), one time a sample of the signal, got {times.shape}.")
    step = np.median(np.diff(times)) if n_times > 1 else np.nan
    if rate is not None and abs(step * rate - 1) > 0.01:
        problems.append(f"times.npy: samples are {step:.6g} s apart, {SETTINGS} says {rate} Hz; remove one of both.")
    return times.astype(float)


def _audio(path: Path) -> Audio:
    with reading(path, "sound", "save it as uncompressed WAV."), warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of metadata
        rate, samples = wavfile.read(path)
        if samples.ndim != 1 or not len(samples):
            raise ValueError(f"expected one channel, got shape {samples.shape}; mix it down to mono")
    if samples.dtype.kind != "f":
        low, high = np.iinfo(samples.dtype).min, np.iinfo(samples.dtype).max
        samples = (samples.astype("float32") - (high + low + 1) / 2) / ((high - low + 1) / 2)
    return Audio(samples, float(rate))


# Viewing.


def load_stimuli(folder: str | os.PathLike[str], prepare: Callable[[np.ndarray], np.ndarray] = np.asarray) -> Stimuli:
    """What was shown, of a folder with captions.csv, categories.csv and pictures: to train networks on.

    Images and categories are in the order in which the captions name them. `prepare` is done to each picture (height,
    width, 3) when it is read, such as bringing it to one size. A ValueError lists all that is wrong with the folder.
    """
    folder, problems = Path(folder), list[str]()
    captions = attempt(problems, _captions, folder)
    categories = attempt(problems, _masks, folder / "categories.csv", "image")
    images = attempt(problems, _pictures, folder / "pictures", _names(captions), problems, prepare)
    if categories is not None:
        if categories.index.has_duplicates:
            problems.append("categories.csv: expected one row an image, got several of some.")
        what = "captioned images have no row; give them one"
        problems += absent("categories.csv", _names(captions), categories.index, what)
    if problems:
        raise ValueError(f"folder: {folder}\n" + "\n".join(problems))
    return Stimuli(images, captions, categories.loc[_names(captions)])


def _viewing(folder: Path, problems: list[str]) -> dict[str, Any]:
    settings = read_settings(folder, ("name", "space"), problems)
    captions = attempt(problems, _captions, folder)
    fields = {"name": settings.get("name"), "space": settings.get("space", ""), "captions": captions}
    if captions is None:  # everything else is told by the images that it names
        return fields | {"test_images": [], "responses": None}
    for name in ("responses", "rdms", "vertices"):
        stray = [path.name for path in sorted((folder / name).glob("[!.]*")) if path.suffix != ".npy"]
        if stray:
            problems.append(f"{name}: expected NAME.npy and nothing else, got {stray[:5]}; write it with numpy.save.")
    images = _names(captions)
    responses = _optional(problems, folder / "responses", _responses, images, problems)
    chosen = _optional(problems, folder / "test_images.csv", read_table, ["image"])
    shown = [set(array["image"].to_numpy()) for array in (responses or {}).values()]
    common = [image for image in images if all(image in names for names in shown)]
    return fields | {
        "responses": responses,
        "rdms": _optional(problems, folder / "rdms", _rdms),
        "rois": _optional(problems, folder / "rois.csv", _masks, "vertex"),
        "categories": _optional(problems, folder / "categories.csv", _masks, "image"),
        "images": _optional(problems, folder / "pictures", _pictures, images, problems),
        "test_images": common if chosen is None else chosen["image"].str.strip().tolist(),
    }


def _files_of_viewing(data: Viewing) -> dict[str, Any]:
    names = [*data.subjects, *(data.rdms["subject"].to_numpy() if data.rdms is not None else [])]
    names = [str(name) for name in [*names, *(data.image_names if data.images is not None else [])]]
    unfit = [n for n in names if not n or n != n.strip() or n[0] == "." or set(n) & set('/\\:*?"<>|\0')]
    if unfit:
        raise ValueError(f"data: {unfit[:5]} cannot be names of files; rename these people or images.")
    files: dict[str, Any] = {
        SETTINGS: {"name": data.name, "space": data.space},
        "captions.csv": data.captions[["image", "caption"]],
        "test_images.csv": pd.DataFrame({"image": list(data.test_images)}),
    }
    for field, label in (("rois", "vertex"), ("categories", "image")):
        if getattr(data, field) is not None:
            files[f"{field}.csv"] = getattr(data, field).astype(int).rename_axis(label).reset_index()
    if data.responses is not None:
        seen = [pd.DataFrame({"subject": subject, "image": data.images_of(subject)}) for subject in data.subjects]
        files["seen.csv"] = pd.concat(seen)
    for subject, array in (data.responses or {}).items():
        files[f"responses/{subject}.npy"] = array.to_numpy()
        files[f"vertices/{subject}.npy"] = array["vertex"].to_numpy()
    for array in data.rdms if data.rdms is not None else ():
        files[f"rdms/{array['subject'].item()}.npy"] = array.to_numpy()
    for name, picture in zip(data.image_names, np.asarray(data.images), strict=True) if data.images is not None else ():
        files[f"pictures/{name}.png"] = picture
    return files


def _names(captions: pd.DataFrame | None) -> pd.Index:
    return pd.Index([] if captions is None else captions["image"].unique(), name="image")


def _captions(folder: Path) -> pd.DataFrame:
    table = read_table(folder / "captions.csv", ("image", "caption"))
    captions = table[["image", "caption"]].astype(str).apply(lambda column: column.str.strip())
    return captions.assign(image=captions["image"].replace("", None), caption_id=range(len(captions)))


def _optional(problems: list[str], path: Path, read: Callable, *args: Any) -> Any:
    return attempt(problems, read, path, *args) if path.exists() else None


def _responses(folder: Path, images: pd.Index, problems: list[str]) -> dict[str, xr.DataArray] | None:
    paths, seen = {path.stem: path for path in sorted(folder.glob("*.npy"))}, {}
    table = _optional(problems, folder.parent / "seen.csv", read_table, ("subject", "image"))
    if table is not None:
        subject = table["subject"].str.strip()
        what = "people have no file in responses; write it or leave them out"
        problems += absent("seen.csv", pd.Index(subject.unique()), list(paths), what)
        seen = {name: rows.to_numpy(str) for name, rows in table["image"].str.strip().groupby(subject)}
    found = {name: attempt(problems, _of_subject, path, seen.get(name, images)) for name, path in paths.items()}
    found = {name: array for name, array in found.items() if array is not None}
    return found or (None if paths else {})


def _of_subject(path: Path, shown: pd.Index | np.ndarray) -> xr.DataArray:
    array = read_array(path, mapped=True)
    array = array if array.ndim == 3 else array[None]
    labels = np.arange(array.shape[-1])
    for place in (path.parents[1] / "vertices.npy", path.parents[1] / "vertices" / path.name):
        labels = np.ravel(read_array(place, mapped=True)) if place.exists() else labels
    if array.ndim != 3 or array.shape[1:] != (len(shown), len(labels)):
        which = f"{len(shown)} images and {len(labels)} vertices"
        raise ValueError(f"{path}: expected shape ([repeat,] image, vertex) with {which}, got {array.shape}.")
    return xr.DataArray(array, {"image": np.asarray(shown), "vertex": labels}, ("repeat", "image", "vertex"))


def _rdms(folder: Path) -> xr.DataArray:
    found = {path.stem: np.atleast_2d(read_array(path)) for path in sorted(folder.glob("*.npy"))}
    shapes = {name: array.shape for name, array in found.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"rdms: expected NAME.npy of shape (session, pair), the same in everybody, got {shapes}.")
    return xr.DataArray(np.stack(list(found.values())), {"subject": list(found)}, ("subject", "session", "pair"))


def _masks(path: Path, label: str) -> pd.DataFrame:
    """A table of truth values; its index holds texts for images, and numbers for vertices where all are."""
    table = read_table(path, (label,))
    cells = table.drop(columns=label).apply(lambda column: column.str.strip().str.lower())
    if not cells.shape[1]:
        raise ValueError(f"{path.name}: has no column beside {label}; give it one, or remove the file.")
    wrong = ~cells.isin(["0", "1", "true", "false"])
    if wrong.any(axis=None):
        row, column = wrong.stack().idxmax()
        found = f"{wrong.to_numpy().sum()} other cells, first {cells.loc[row, column]!r} in row {row}, column {column}"
        raise ValueError(f"{path.name}: expected 1 or 0, or True or False, got {found}.")
    index = as_is(table, label) if label == "vertex" else table[label].str.strip()
    return cells.isin(["1", "true"]).set_axis(pd.Index(index, name=label))


def _pictures(
    folder: Path, images: pd.Index, problems: list[str], prepare: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> np.ndarray | None:
    files = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in PICTURES]
    paths = {path.stem: path for path in files}
    if len(paths) < len(files):
        twice = sorted({path.stem for path in files if path not in paths.values()})
        problems.append(f"pictures: {len(files) - len(paths)} image(s) have two files, first {twice[0]!r}; keep one.")
    problems += absent("pictures", images, list(paths), "captioned images have no picture; add it")
    problems += absent("pictures", pd.Index(list(paths)), images, "pictures have no caption; caption or remove them")
    found = [attempt(problems, _picture, paths[name], prepare) for name in images if name in paths]
    sizes = {array.shape for array in found if array is not None}
    if len(sizes) > 1:
        problems.append(f"pictures: expected all of one size, got {sorted(sizes)[:4]} (height, width, colours).")
    complete = len(found) == len(images) and len(sizes) == 1 and not any(array is None for array in found)
    return np.stack(found) if complete else None


def _picture(path: Path, prepare: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    with reading(path, "a picture"), Image.open(path) as picture:
        return prepare(np.asarray(picture.convert("RGB")))
