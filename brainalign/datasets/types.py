"""What was presented and what was recorded, as labelled and validated tables and arrays."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from brainalign._checks import listed, one_of

__all__ = ["Audio", "Listening", "Stimuli", "Viewing"]

Modality = Literal["high-gamma", "bold", "erp"]

WORD_COLUMNS = ("word", "onset", "offset", "passage")
CHANNEL_COLUMNS = ("subject", "region", "hemisphere", "x", "y", "z", "distance_pmc")
CAPTION_COLUMNS = ("image", "caption", "caption_id")
SURFACES = {"fsaverage5": 2 * 10_242, "fsaverage": 2 * 163_842}  # vertices, where their labels are numbers
ONE_CLOCK = "; check the rate and that both use one clock in seconds."


class Audio(NamedTuple):
    """A sound: `samples` of shape (sample,), full scale +-1, and its `rate` in Hz."""

    samples: np.ndarray
    rate: float


class Stimuli(NamedTuple):
    """Pictures (image, height, width, 3) uint8, captions [image, caption, caption_id], categories (image x label)."""

    images: np.ndarray
    captions: pd.DataFrame
    categories: pd.DataFrame


class _DataSet:
    """What both kinds of data set share."""

    name: str

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise ValueError("\n".join(problems))

    def _problems(self) -> Iterator[str]:
        """All that is wrong, one line each; what depends on a field that cannot be used is left out."""
        if not (isinstance(self.name, str) and self.name.strip()):
            yield f"name: expected a text, got {self.name!r}."

    def require(self, *fields: str) -> None:
        """Refuse, with a ValueError, data without these fields (such as "images"), which an analysis needs."""
        if lacking := [field for field in fields if getattr(self, field) is None]:
            raise ValueError(f"{self.name!r} cannot be used here, for it has no {' and no '.join(lacking)}.")

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the data set, less what was planted (`truth`), as a folder that `datasets.folder` describes.

        The folder must not exist yet, or be empty; it appears when all of it has been written.
        """
        from brainalign.datasets.folder import write

        return write(self, folder)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Listening(_DataSet):
    """Speech that people heard, word by word, and their responses to it.

    Everything shares one clock in seconds. Construction lists all that is wrong in one ValueError.

    Parameters
    ----------
    name : str
        Data set name, shown in figure titles.
    modality : {"high-gamma", "bold", "erp"}
        What the responses are.
    words : DataFrame [word, onset, offset, passage]
        One row a word, in the order spoken; times in s; the rows of a passage are contiguous. For an ERP without signal
        and audio all times may be NaN, unknown.
    channels : DataFrame [subject, region, hemisphere, x, y, z, distance_pmc]
        One row a channel, its index the channel names; coordinates in MNI mm, distance from posteromedial Heschl's
        gyrus in mm; NaN (or "" for text) where unknown.
    responses : DataArray of shape (word, channel), optional
        Z-scored high gamma around each word, or one ERP value at the words that have one (NaN elsewhere).
    signal : DataArray of shape (time, channel) or (repeat, time, channel), optional
        The continuous recording with its times in s. For BOLD one sample a volume.
    audio : Audio, optional
        The sound, on the same clock.
    truth : DataFrame, optional
        What was planted in each channel (virtual cohorts only), same index as `channels`.
    """

    name: str
    modality: Modality
    words: pd.DataFrame
    channels: pd.DataFrame
    responses: xr.DataArray | None = None
    signal: xr.DataArray | None = None
    audio: Audio | None = None
    truth: pd.DataFrame | None = None

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.modality not in get_args(Modality):
            yield f"modality: expected one of {listed(get_args(Modality))}, got {self.modality!r}."
        untimed = self.modality == "erp" and self.signal is None and self.audio is None
        first, last = yield from word_problems(self.words, untimed=untimed)
        tabled = yield from _table("channels", self.channels, CHANNEL_COLUMNS)
        if tabled:
            yield from _repeated("channels: names", self.channels.index)
            for column in ("x", "y", "z", "distance_pmc"):
                values = self.channels[column]
                if not pd.api.types.is_numeric_dtype(values) or np.isinf(values.to_numpy(float)).any():
                    yield f"channels: {column}: expected numbers in mm, NaN where unknown, and nothing else."
        if self.audio is not None:
            samples, rate = np.asarray(self.audio.samples), self.audio.rate
            if samples.ndim != 1 or not np.isfinite(samples).all() or not 0 < rate < np.inf:
                yield f"audio: expected finite samples (sample,) and a rate in Hz, got {samples.shape} at {rate} Hz."
            elif last > len(samples) / rate + 0.1:
                yield f"audio: it lasts {len(samples) / rate:.2f} s, but words run to {last:.2f} s{ONE_CLOCK}"
        if self.responses is None and self.signal is None:
            yield "responses, signal: expected at least one of the two, got neither."
        repeat = ("repeat",) if "repeat" in getattr(self.signal, "dims", ()) else ()
        for field, dims in {"responses": ("word", "channel"), "signal": (*repeat, "time", "channel")}.items():
            array, named = getattr(self, field), [dim for dim in dims if dim in ("time", "channel")]
            if array is None or not (yield from _array(field, array, dims, named)):
                continue
            labels = pd.Index(array["channel"].to_numpy())
            if tabled and not labels.equals(self.channels.index):
                yield f"{field}: its 'channel' coordinate must equal the index of channels, in order."
            missing = field == "responses" and self.modality == "erp"
            yield from number_problems(field, array.to_numpy(), labels, "channels", missing)
            if field == "signal":
                yield from _time_problems(array["time"].to_numpy(), first, last)
            elif isinstance(self.words, pd.DataFrame) and len(array) != len(self.words):
                wanted = f"one row (NaN for an ERP without value) for each of the {len(self.words)} words"
                yield f"responses: expected {wanted}, got {len(array)}."
        if self.truth is not None and tabled and not self.truth.index.equals(self.channels.index):
            yield "truth: its index must equal the index of channels, name by name and in order."

    @property
    def subjects(self) -> list[str]:
        """Names of the people."""
        return [subject for subject in self.channels["subject"].unique() if subject]

    def select(self, channels: ArrayLike) -> Listening:
        """The same data set with only some channels (a boolean mask over channels or a list of names)."""
        keep = pd.Index(np.asarray(channels))
        rows = np.flatnonzero(keep) if keep.dtype == bool else self.channels.index.get_indexer(keep)
        if (rows < 0).any():
            raise ValueError(f"channels: not in this data set: {listed(keep[rows < 0])}.")
        return replace(
            self,
            channels=self.channels.iloc[rows],
            responses=None if self.responses is None else self.responses.isel(channel=rows),
            signal=None if self.signal is None else self.signal.isel(channel=rows),
            truth=None if self.truth is None else self.truth.iloc[rows],
        )

    def __repr__(self) -> str:
        onset, n_located = self.words["onset"].min(), self.channels["distance_pmc"].notna().sum()
        times = f"{onset:.1f} to {self.words['offset'].max():.1f} s" if np.isfinite(onset) else "times unknown"
        rate = np.nan if self.signal is None else 1 / np.median(np.diff(self.signal["time"]))
        parts = {
            "words": f"{len(self.words)} in {self.words['passage'].nunique()} passage(s), {times}",
            "channels": f"{len(self.channels)} from {len(self.subjects)} subject(s), {n_located} with a distance",
            "responses": self.responses is not None and _sizes(self.responses),
            "signal": self.signal is not None and f"{_sizes(self.signal)} at {rate:.4g} Hz",
            "audio": self.audio and f"{len(self.audio.samples) / self.audio.rate:.1f} s at {self.audio.rate:.0f} Hz",
            "truth": self.truth is not None and "planted: a virtual cohort",
        }
        return _described(f"Listening {self.name!r} ({self.modality})", parts)


@dataclass(frozen=True)
class Viewing(_DataSet):
    """Images that people saw, sentences that describe them, and the people's responses.

    Construction lists all that is wrong in one ValueError. Numbers that are still on disk (memory-mapped) are checked
    when `mean_responses` reads them.

    Parameters
    ----------
    name : str
        Data set name, shown in figure titles.
    captions : DataFrame [image, caption, caption_id]
        One row a caption; an image has one or more. Their order of first appearance is the order of images.
    test_images : sequence
        Names of at least three images that every person saw: the shared test set.
    space : str
        Where vertices lie: "fsaverage5" or "fsaverage" (labels count the left, then the right hemisphere), "func1pt8mm"
        or another name (any labels).
    images : array of shape (image, height, width, 3), uint8, optional
        The pictures. A DataArray's `image` coordinate must have the order of images.
    categories : DataFrame of shape (image, label), bool, optional
        What is in each image.
    responses : mapping of subject to DataArray of shape (repeat, image, vertex), optional
        With coordinates `image` and `vertex`. Each person has their own images and vertices, all the same repeats.
    rdms : DataArray of shape (subject, session, pair), optional
        Where only dissimilarities are known; pairs as in ``numpy.triu_indices(n, 1)`` over the order of images.
    rois : DataFrame of shape (vertex, ROI), bool, optional
        Its index holds vertex labels, at least those of everybody's responses.
    truth : DataFrame, optional
        What was planted in each vertex (virtual viewers only), index as in `rois`.
    """

    name: str
    captions: pd.DataFrame
    test_images: Sequence[Hashable]
    space: str = ""
    images: np.ndarray | xr.DataArray | None = None
    categories: pd.DataFrame | None = None
    responses: Mapping[str, xr.DataArray] | None = None
    rdms: xr.DataArray | None = None
    rois: pd.DataFrame | None = None
    truth: pd.DataFrame | None = None

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if not isinstance(self.space, str):
            yield f"space: expected a text, got {self.space!r}."
        if not (yield from _table("captions", self.captions, CAPTION_COLUMNS)):
            return
        captions, names = self.captions, self.image_names
        yield from bad_rows("captions", captions, captions["image"].isna(), "name no image; name it")
        yield from bad_rows("captions", captions, _blank(captions["caption"]), "have no text; caption every image")
        yield from _repeated("captions: caption_id", pd.Index(captions["caption_id"]))
        if self.images is not None:
            yield from _picture_problems(self.images, names)
        labelled = self.categories
        if labelled is not None and (yield from _masks("categories", labelled)) and not labelled.index.equals(names):
            yield "categories: its index must be the images of captions, in their order of first appearance."
        if self.responses is None and self.rdms is None:
            yield "responses, rdms: expected at least one of the two, got neither."
        usable = yield from self._response_problems(names)
        if self.rdms is not None:
            yield from _rdm_problems(self.rdms, len(names))
        test = pd.Index(self.test_images)
        if len(test) < 3 or test.has_duplicates:
            yield f"test_images: expected three images or more, each once, got {len(test)}, {test.nunique()} different."
        yield from absent("test_images", test, names, "are not in captions")
        for subject, array in usable.items():
            yield from absent("test_images", test, array["image"].to_numpy(), f"were not seen by {subject!r}")
        for field, table in (("rois", self.rois), ("truth", self.truth)):
            if table is None or (field == "rois" and not (yield from _masks(field, table))):
                continue
            yield from _label_problems(field, table.index, self.space)
            for subject, array in usable.items():
                what = f"vertices of {subject!r} are not in its index; it may be a table of another surface or person"
                yield from absent(field, pd.Index(array["vertex"].to_numpy()), table.index, what)

    def _response_problems(self, names: pd.Index) -> Generator[str, None, dict[str, xr.DataArray]]:
        """What is wrong with responses; gives back those that other fields can be held against."""
        usable, seen = {}, set()
        if self.responses is not None and not self.responses:
            yield "responses: expected those of one person or more, got none."
        for subject, array in (self.responses or {}).items():
            field = f"responses[{subject!r}]"
            if not (yield from _array(field, array, ("repeat", "image", "vertex"), ("image", "vertex"))):
                continue
            usable[subject] = array
            images, vertices = (pd.Index(array[dim].to_numpy()) for dim in ("image", "vertex"))
            seen |= set(images)
            if array.dtype.kind != "f":
                yield f"{field}: expected floating-point numbers, got {array.dtype}."
            yield from _repeated(f"{field}: image", images)
            yield from absent(field, images, names, "images have no caption; write them one or leave them out")
            yield from _label_problems(field, vertices, self.space)
            if not _on_disk(array):
                yield from repeat_problems(subject, array)
        repeats = {subject: array.sizes["repeat"] for subject, array in usable.items()}
        if len(set(repeats.values())) > 1:
            yield f"responses: expected as many repeats in everybody, got {repeats}; keep what all have."
        if usable and self.images is None and self.rdms is None:
            yield from absent(
                "captions", names, list(seen), "images were seen by nobody and have no picture; drop them"
            )
        return usable

    @property
    def image_names(self) -> pd.Index:
        """Names of all images, in order of first appearance in `captions`."""
        return pd.Index(self.captions["image"].unique(), name="image")

    @property
    def subjects(self) -> list[str]:
        """Names of the people."""
        return list(self.responses) if self.responses is not None else [str(s) for s in self.rdms["subject"].to_numpy()]  # type: ignore[index]

    def images_of(self, subject: str) -> pd.Index:
        """Names of the images that a person saw, in the order of the responses."""
        return pd.Index(self._array_of(subject)["image"].to_numpy(), name="image")

    def train_images(self, subject: str) -> pd.Index:
        """Names of the images that a person saw and that are not in the shared test set, in order."""
        shown = self.images_of(subject)
        return shown[~shown.isin(self.test_images)]

    def mean_responses(self, subject: str, images: Sequence[Hashable] | None = None) -> xr.DataArray:
        """A person's mean response over repeats (image, vertex), in memory; to some images only, in the order given."""
        array = self._array_of(subject)
        if images is not None:
            for problem in absent("images", pd.Index(images), self.images_of(subject), f"were not seen by {subject!r}"):
                raise ValueError(problem)
            array = array.sel(image=np.asarray(images))
        mean = array.mean("repeat", skipna=False)
        labels = pd.Index(mean["vertex"].to_numpy())
        for problem in number_problems(f"responses[{subject!r}]", mean.to_numpy(), labels, "vertices"):
            raise ValueError(problem)
        return mean

    def select(self, *, subjects: Sequence[str] | None = None, vertices: Any = None) -> Viewing:
        """The same data set with only some people, or some vertices, of which each keeps those that they have.

        Vertices are labels, or a bool Series over labels such as a column of `rois`.
        """
        responses = {subject: self._array_of(subject) for subject in (self.subjects if subjects is None else subjects)}
        rois, truth = self.rois, self.truth
        if vertices is not None:
            if isinstance(vertices, pd.Series) and vertices.dtype == bool:
                vertices = vertices.index[vertices]
            wanted = pd.Index(vertices)
            responses = {s: a[:, :, np.isin(a["vertex"].to_numpy(), wanted.to_numpy())] for s, a in responses.items()}
            if not all(array.size for array in responses.values()):
                raise ValueError(f"vertices: none of the {len(wanted)} wanted is there in everybody's responses.")
            rois, truth = (None if table is None else table[table.index.isin(wanted)] for table in (rois, truth))
        return replace(self, responses=responses, rois=rois, truth=truth)

    def _array_of(self, subject: str) -> xr.DataArray:
        self.require("responses")
        return self.responses[one_of("subject", subject, self.subjects)]  # type: ignore[index]

    def __repr__(self) -> str:
        parts = {
            "captions": f"{len(self.captions)} of {len(self.image_names)} images, {len(self.test_images)} for testing",
            "images": self.images is not None and " x ".join(map(str, self.images.shape[1:])),
            **{subject: _sizes(array) for subject, array in (self.responses or {}).items()},
            "rdms": self.rdms is not None and _sizes(self.rdms),
            "rois": self.rois is not None and ", ".join(map(str, self.rois.columns)),
            "truth": self.truth is not None and "planted: virtual viewers",
        }
        return _described(f"Viewing {self.name!r}" + f" ({self.space})" * bool(self.space), parts)


def _described(title: str, parts: Mapping[str, Any]) -> str:
    return "\n".join([title, *(f"  {label:<10} {text}" for label, text in parts.items() if text)])


def _sizes(array: xr.DataArray) -> str:
    return "(" + ", ".join(f"{dim} {size}" for dim, size in array.sizes.items()) + ")"


# What is wrong, a line for each problem. Some also give back whether a field can be held against others.


def _table(field: str, table: Any, columns: Sequence[str]) -> Generator[str, None, bool]:
    """A table that has these columns, and rows."""
    if not isinstance(table, pd.DataFrame):
        yield f"{field}: expected a DataFrame, got {type(table).__name__}."
    elif missing := [column for column in columns if column not in table]:
        yield f"{field}: missing the column(s) {missing}; expected {list(columns)}."
    elif table.empty:
        yield f"{field}: the table is empty."
    else:
        return True
    return False


def _array(field: str, array: Any, dims: tuple[str, ...], named: Collection[str]) -> Generator[str, None, bool]:
    """An array of these dimensions, some of them with coordinates."""
    if not isinstance(array, xr.DataArray) or array.dims != dims:
        yield f"{field}: expected a DataArray of shape {dims}, got {getattr(array, 'dims', type(array).__name__)}."
        return False
    bare = [dim for dim in named if dim not in array.coords]
    for dim in bare:
        yield f"{field}: needs a {dim!r} coordinate that names its {array.sizes[dim]} entries."
    if 0 in array.shape:
        yield f"{field}: expected no empty dimension, got shape {array.shape}."
    return not bare and 0 not in array.shape


def bad_rows(field: str, table: pd.DataFrame, bad: ArrayLike, what: str) -> Iterator[str]:
    """Where some rows of a table are bad: how many, what ails them, the first one, and what to do."""
    bad = np.asarray(bad, dtype=bool)
    if bad.any():
        fault, _, advice = what.partition("; ")
        row = int(np.argmax(bad))
        cells = " ".join(listed(table.iloc[row], 12).split())
        yield f"{field}: {bad.sum()} row(s) {fault}, first row {table.index[row]} ({cells}); {advice}."


def absent(field: str, wanted: pd.Index, there: ArrayLike, what: str) -> Iterator[str]:
    """Labels that are not among others."""
    lacking = wanted[~wanted.isin(there)]
    if len(lacking):
        fault, _, advice = what.partition("; ")
        yield f"{field}: {len(lacking)} of {len(wanted)} {fault}: {listed(lacking, 5)}{advice and '; '}{advice}."


def _repeated(field: str, labels: pd.Index) -> Iterator[str]:
    if labels.has_duplicates:
        yield f"{field}: expected each once, got {listed(labels[labels.duplicated()].unique(), 5)} more than once."


def _blank(cells: pd.Series) -> pd.Series:
    return cells.isna() | (cells.astype(str).str.strip() == "")


def number_problems(
    field: str, values: np.ndarray, labels: pd.Index, what: str, missing: bool = False
) -> Iterator[str]:
    """Numbers of shape (..., sample, column) that are not finite, or never change; `missing`: some may be NaN."""
    bad = np.isinf(values) if missing else ~np.isfinite(values)
    if bad.any():
        where = bad.reshape(-1, len(labels)).any(0)
        shown = f"in {where.sum()} of {len(labels)} {what}: {listed(labels[where], 5)}"
        yield f"{field}: {bad.sum()} values are not finite, {shown}; repair these {what} or leave them out."
        values, labels = values[..., ~where], labels[~where]
    if len(labels) and values.shape[-2] > 1:
        span = np.fmax.reduce(values, axis=-2) - np.fmin.reduce(values, axis=-2)  # NaN where all values are
        flat = ~(span > 0).reshape(-1, len(labels)).all(0)
        if flat.any():
            never = "never change, or have no value at all" if missing else "never change"
            yield f"{field}: {flat.sum()} of {len(labels)} {what} {never}: {listed(labels[flat], 5)}; leave them out."


def word_problems(words: pd.DataFrame, *, untimed: bool = False) -> Generator[str, None, tuple[float, float]]:
    """Also gives back when words begin and end, if that is known; with `untimed`, all their times may be NaN."""
    if not (yield from _table("words", words, WORD_COLUMNS)):
        return np.nan, np.nan
    yield from text_problems(words)
    shown, times = words[list(WORD_COLUMNS)], words[["onset", "offset"]].to_numpy(float)
    if untimed and np.isnan(times).all():
        return np.nan, np.nan
    finite = np.isfinite(times).all(1)
    yield from bad_rows("words", shown, ~finite, "have an onset or offset that is no finite number of s; mend them")
    shown, times = shown[finite], times[finite]
    yield from bad_rows("words", shown, times[:, 1] <= times[:, 0], "have an offset that is not after onset; mend them")
    earlier = np.diff(times[:, 0], prepend=-np.inf) < 0
    yield from bad_rows("words", shown, earlier, "start before the word above; sort the table by onset")
    return (times[:, 0].min(), times[:, 1].max()) if len(times) else (np.nan, np.nan)


def text_problems(words: pd.DataFrame) -> Iterator[str]:
    """What is wrong with the text and the passages of words."""
    text, passage = words["word"].astype(str), words["passage"]
    empty, unnamed = _blank(words["word"]), _blank(passage)
    yield from bad_rows("words", words, empty, "have no text; drop them")
    yield from bad_rows("words", words, ~empty & (text != text.str.strip()), "have spaces around the word; strip them")
    yield from bad_rows("words", words, unnamed & ~unnamed.all(), "have no passage, but others have; name it for all")
    if (passage.to_numpy()[1:] != passage.to_numpy()[:-1]).sum() + 1 != passage.nunique(dropna=False):
        yield "words: the rows of each passage must be contiguous; a passage label comes back after another."


def _time_problems(times: np.ndarray, first: float, last: float) -> Iterator[str]:
    if len(times) < 2 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        yield "signal: its times must be at least two finite, strictly increasing times in s."
        return
    step = float(np.median(np.diff(times)))
    if first < times[0] - step or last > times[-1] + step:
        recorded = f"beyond the recording, which runs from {times[0]:.2f} to {times[-1]:.2f} s"
        yield f"signal: words run from {first:.2f} to {last:.2f} s, {recorded}{ONE_CLOCK}"


def _picture_problems(images: np.ndarray | xr.DataArray, names: pd.Index) -> Iterator[str]:
    shape: Any = getattr(images, "shape", ())
    dtype = getattr(images, "dtype", type(images).__name__)
    if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8:
        yield f"images: expected a uint8 array of shape (image, height, width, 3), got {dtype} of shape {shape}."
    elif shape[0] != len(names):
        yield f"images: expected one picture for each of the {len(names)} captioned images, got {shape[0]}."
    elif isinstance(images, xr.DataArray) and "image" in images.coords:
        shown = pd.Index(images["image"].to_numpy())
        yield from absent("images", shown, names, "have no caption; caption them or leave them out")
        if set(shown) == set(names) and not shown.equals(names):
            yield "images: its 'image' coordinate must have the order in which captions name the images, each once."


def _rdm_problems(rdms: xr.DataArray, n_images: int) -> Iterator[str]:
    if (yield from _array("rdms", rdms, ("subject", "session", "pair"), ["subject"])):
        n_sessions, found, n_pairs = *rdms.shape[1:], n_images * (n_images - 1) // 2
        if found != n_pairs:
            yield f"rdms: expected {n_pairs} pairs for the {n_images} captioned images, got {found}."
        labels = pd.Index([f"{subject}/{k + 1}" for subject in rdms["subject"].to_numpy() for k in range(n_sessions)])
        yield from number_problems("rdms", rdms.to_numpy().reshape(-1, found).T, labels, "RDMs")


def repeat_problems(subject: str, array: xr.DataArray) -> Iterator[str]:
    """What is wrong with the numbers of a person's responses, read repeat by repeat to save memory."""
    for repeat, values in enumerate(array, start=1):
        field = f"responses[{subject!r}], repeat {repeat}"
        yield from number_problems(field, values.to_numpy(), pd.Index(array["vertex"].to_numpy()), "vertices")


def _label_problems(field: str, labels: pd.Index, space: str) -> Iterator[str]:
    """Whether labels of vertices are different and, on a surface, numbers of its vertices."""
    yield from _repeated(f"{field}: vertex", labels)
    size = SURFACES.get(space)
    if size and len(labels) and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= size):
        found = f"{labels.dtype}, from {labels.min()} to {labels.max()}; is it another surface?"
        yield f"{field}: vertex labels of {space} are whole numbers from 0 to {size - 1}, left side first; got {found}"


def _masks(field: str, table: pd.DataFrame) -> Generator[str, None, bool]:
    usable = isinstance(table, pd.DataFrame) and all(column.kind == "b" for column in table.dtypes)
    if not usable:
        yield f"{field}: expected a DataFrame whose columns are all bool."
    return usable


def _on_disk(array: xr.DataArray) -> bool:
    """Whether the numbers are yet to be read: a view of a memory map."""
    data = array.data
    while isinstance(data, np.ndarray) and not isinstance(data, np.memmap):
        data = data.base
    return isinstance(data, np.memmap)
