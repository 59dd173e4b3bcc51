"""What was presented and what was recorded, as labelled and validated tables and arrays."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

__all__ = ["Audio", "Listening", "Stimuli", "Viewing"]

Modality = Literal["high-gamma", "bold", "erp"]

WORD_COLUMNS = ("word", "onset", "offset", "passage")
CHANNEL_COLUMNS = ("subject", "region", "hemisphere", "x", "y", "z", "distance_pmc")
CAPTION_COLUMNS = ("image", "caption", "caption_id")

SURFACES = {"fsaverage5": 2 * 10_242, "fsaverage": 2 * 163_842}
"""Vertices of the surfaces on which labels are numbers: both hemispheres, the left one first."""


class Audio(NamedTuple):
    """A sound: `samples` of shape (sample,), full scale +-1, and its `rate` in Hz."""

    samples: np.ndarray
    rate: float


class Stimuli(NamedTuple):
    """Pictures (image, height, width, 3) uint8, captions [image, caption, caption_id], categories (image x label)."""

    images: np.ndarray
    captions: pd.DataFrame
    categories: pd.DataFrame


@dataclass(frozen=True)
class Listening:
    """Speech that people heard, word by word, and their responses to it.

    Everything shares one clock in seconds. Construction validates each field.

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

    Raises
    ------
    ValueError
        Names the field, what was expected and what came.
    """

    name: str
    modality: Modality
    words: pd.DataFrame
    channels: pd.DataFrame
    responses: xr.DataArray | None = None
    signal: xr.DataArray | None = None
    audio: Audio | None = None
    truth: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(problem)

    def _problems(self) -> Iterator[str]:
        """What is wrong, the first thing first: later checks rely on what earlier ones have found sound."""
        if self.modality not in get_args(Modality):
            yield f"modality: expected one of {get_args(Modality)}, got {self.modality!r}."
        untimed = self.modality == "erp" and self.signal is None and self.audio is None
        yield from (f"words: {problem}" for problem in word_problems(self.words, untimed=untimed))
        yield from (f"channels: {problem}" for problem in channel_problems(self.channels))
        if self.audio is not None:
            yield from (f"audio: {problem}" for problem in audio_problems(self.audio, self.words))
        if self.responses is None and self.signal is None:
            yield "responses, signal: at least one of the two is needed; both are None."
        names = self.channels.index
        if self.responses is not None:
            yield from _array_problems("responses", self.responses, ("word", "channel"), names, self.modality == "erp")
            if self.responses.sizes["word"] != len(self.words):
                yield (
                    f"responses: expected one row for each of the {len(self.words)} words, "
                    f"got {self.responses.sizes['word']}; give a row (NaN for an ERP) to every word."
                )
        if self.signal is not None:
            dims = ("repeat", "time", "channel") if "repeat" in self.signal.dims else ("time", "channel")
            yield from _array_problems("signal", self.signal, dims, names)
            if "time" not in self.signal.coords:
                yield "signal: needs a 'time' coordinate in s."
            yield from (f"signal: {problem}" for problem in time_problems(self.signal["time"].to_numpy(), self.words))
        if self.truth is not None and not self.truth.index.equals(names):
            yield "truth: its index must equal the index of channels, name by name and in order."

    @property
    def sampling_rate(self) -> float:
        """Samples of `signal` per second (Hz)."""
        if self.signal is None:
            raise ValueError("signal: this data set has none, so it has no sampling rate.")
        return 1 / float(np.median(np.diff(self.signal["time"].to_numpy())))

    def select(self, channels: ArrayLike) -> Listening:
        """The same data set with only some channels (a boolean mask over channels or a list of names)."""
        index = self.channels.index
        keep = index[np.asarray(channels)] if np.asarray(channels).dtype == bool else pd.Index(channels)
        missing = keep.difference(index)
        if len(missing):
            raise ValueError(f"channels: not in this data set: {list(missing[:5])}.")
        return replace(
            self,
            channels=self.channels.loc[keep],
            responses=None if self.responses is None else self.responses.sel(channel=keep.to_numpy()),
            signal=None if self.signal is None else self.signal.sel(channel=keep.to_numpy()),
            truth=None if self.truth is None else self.truth.loc[keep],
        )

    def __repr__(self) -> str:
        n_subjects = len(set(self.channels["subject"]) - {""})
        onset = self.words["onset"].min()
        parts = [
            f"Listening {self.name!r} ({self.modality})",
            f"  words      {len(self.words)} in {self.words['passage'].nunique()} passage(s), "
            + (f"{onset:.1f} to {self.words['offset'].max():.1f} s" if np.isfinite(onset) else "times unknown"),
            f"  channels   {len(self.channels)} from {n_subjects} subject(s)",
        ]
        for field in ("responses", "signal"):
            array = getattr(self, field)
            if array is not None:
                shape = ", ".join(f"{dim} {size}" for dim, size in array.sizes.items())
                parts.append(
                    f"  {field:<10} ({shape})" + (f" at {self.sampling_rate:.4g} Hz" if field == "signal" else "")
                )
        if self.audio is not None:
            parts.append(f"  audio      {len(self.audio.samples) / self.audio.rate:.1f} s at {self.audio.rate:.0f} Hz")
        if self.truth is not None:
            parts.append("  truth      planted: a virtual cohort")
        return "\n".join(parts)


@dataclass(frozen=True)
class Viewing:
    """Images that people saw, sentences that describe them, and the people's responses.

    Construction validates each field. Numbers that are still on disk (memory-mapped) are checked when
    `mean_responses` reads them.

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
    responses : mapping of person to DataArray of shape (repeat, image, vertex), optional
        With coordinates `image` and `vertex`. Each person has their own images and vertices, all the same repeats.
    rdms : DataArray of shape (subject, session, pair), optional
        Where only dissimilarities are known; pairs as in ``numpy.triu_indices(n, 1)`` over the order of images.
    rois : DataFrame of shape (vertex, ROI), bool, optional
        Its index holds vertex labels, at least those of everybody's responses.
    truth : DataFrame, optional
        What was planted in each vertex (virtual viewers only), index as in `rois`.

    Raises
    ------
    ValueError
        Names the field, what was expected and what came.
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

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(problem)

    @classmethod
    def problems(cls, **fields: Any) -> list[str]:
        """All that is wrong with fields of the right types, each problem a line; empty for a sound data set."""
        draft = object.__new__(cls)
        for field in cls.__dataclass_fields__.values():
            object.__setattr__(draft, field.name, fields.get(field.name, field.default))
        return list(draft._problems())

    def _problems(self) -> Iterator[str]:
        yield from (f"captions: {problem}" for problem in caption_problems(self.captions))
        names = self.image_names
        if self.images is not None:
            yield from (f"images: {problem}" for problem in picture_problems(self.images, names))
        if self.categories is not None:
            yield from _mask_problems("categories", self.categories)
            if not self.categories.index.equals(names):
                yield "categories: its index must be the images of captions, in their order of first appearance."
        if self.responses is None and self.rdms is None:
            yield "responses, rdms: at least one of the two is needed; both are None."
        for person, array in (self.responses or {}).items():
            yield from (f"responses[{person!r}]: {problem}" for problem in response_problems(array, self.space))
        if self.responses is not None:
            yield from self._people_problems(names)
        if self.rdms is not None:
            yield from (f"rdms: {problem}" for problem in rdm_problems(self.rdms, len(names)))
        yield from self._test_problems(names)
        yield from self._vertex_problems()

    def _people_problems(self, names: pd.Index) -> Iterator[str]:
        """Whether the people's responses fit each other and the captions."""
        if not self.responses:
            yield "responses: the mapping is empty; give at least one person."
            return
        repeats = {person: array.sizes["repeat"] for person, array in self.responses.items()}
        if len(set(repeats.values())) > 1:
            yield f"responses: expected as many repeats in everybody, got {repeats}; keep what all have."
        seen = pd.Index([])
        for person, array in self.responses.items():
            shown = pd.Index(array["image"].to_numpy())
            bare = shown.difference(names)
            if len(bare):
                yield (
                    f"responses[{person!r}]: {len(bare)} image(s) have no caption, first {bare[:5].tolist()}; write "
                    "them one or leave them out."
                )
            seen = seen.union(shown)
        unseen = names.difference(seen)
        if self.images is None and self.rdms is None and len(unseen):
            yield (
                f"captions: {len(unseen)} of their images were seen by nobody and have no picture, first "
                f"{unseen[:5].tolist()}; drop these captions."
            )

    def _test_problems(self, names: pd.Index) -> Iterator[str]:
        test = pd.Index(self.test_images)
        if len(test) < 3 or test.has_duplicates:
            yield f"test_images: expected three images or more, each once, got {len(test)}, {test.nunique()} different."
        for person, shown in [("captions", names), *((p, self.images_of(p)) for p in self.responses or {})]:
            missing = test.difference(shown)
            if len(missing):
                where = "captions" if person == "captions" else f"the responses of {person!r}"
                yield f"test_images: {len(missing)} image(s) are not in {where}, first {missing[:5].tolist()}."

    def _vertex_problems(self) -> Iterator[str]:
        """Whether the tables of vertices are those of the responses."""
        for field in ("rois", "truth"):
            table = getattr(self, field)
            if table is None:
                continue
            if field == "rois":
                yield from _mask_problems(field, table)
            if table.index.has_duplicates:
                yield f"{field}: {int(table.index.duplicated().sum())} vertices appear more than once in its index."
            yield from (f"{field}: {problem}" for problem in label_problems(table.index.to_numpy(), self.space))
            for person, array in (self.responses or {}).items():
                absent = ~np.isin(array["vertex"].to_numpy(), table.index.to_numpy())
                if absent.any():
                    yield (
                        f"{field}: {int(absent.sum())} of the {len(absent)} vertices of {person!r} are not in its "
                        f"index ({len(table)} rows); is it a table of another surface or person?"
                    )

    @property
    def image_names(self) -> pd.Index:
        """Names of all images, in order of first appearance in `captions`."""
        return pd.Index(self.captions["image"].unique(), name="image")

    @property
    def subjects(self) -> list[str]:
        """Names of the people."""
        return list(self.responses) if self.responses is not None else [str(s) for s in self.rdms["subject"].to_numpy()]  # type: ignore[index]

    def images_of(self, person: str) -> pd.Index:
        """Names of the images that a person saw, in the order of the responses."""
        return pd.Index(self._array_of(person)["image"].to_numpy(), name="image")

    def train_images(self, person: str) -> pd.Index:
        """Names of the images that a person saw and that are not in the shared test set, in order."""
        shown = self.images_of(person)
        return shown[~shown.isin(self.test_images)]

    def mean_responses(self, person: str, images: Sequence[Hashable] | None = None) -> xr.DataArray:
        """A person's mean response over repeats.

        Parameters
        ----------
        person : str
        images : sequence, optional
            Names of the images wanted, in that order; default all.

        Returns
        -------
        DataArray of shape (image, vertex)
            In memory.

        Raises
        ------
        ValueError
            For a person or images that are not there, or numbers on disk that are not finite.
        """
        array = self._array_of(person)
        if images is not None:
            missing = pd.Index(images).difference(self.images_of(person))
            if len(missing):
                raise ValueError(f"images: {person!r} did not see {missing[:5].tolist()} ({len(missing)} in all).")
            array = array.sel(image=np.asarray(images))
        mean = array.mean("repeat", skipna=False)
        for problem in number_problems(mean):
            raise ValueError(f"responses[{person!r}]: {problem}")
        return mean

    def require(
        self, *, people: int = 1, repeats: int = 1, rois: bool = True, images: bool = False, training: int = 0
    ) -> None:
        """Refuse data that an analysis cannot use, sound as they may be.

        Parameters
        ----------
        people, repeats : int
            How many of them, at least, with responses.
        rois, images : bool
            Whether regions of interest, or the pictures, are needed.
        training : int
            Images of each person outside of the test set, at least.

        Raises
        ------
        ValueError
            Lists all that is lacking.
        """
        lacking = []
        arrays = self.responses or {}
        if len(arrays) < people:
            lacking.append(f"responses of {people} people or more, here of {len(arrays)}")
        for person, array in arrays.items():
            if array.sizes["repeat"] < repeats:
                lacking.append(f"{repeats} repeats or more, {person!r} has {array.sizes['repeat']}")
            n_training = len(self.train_images(person))
            if n_training < training:
                lacking.append(f"{training} images or more outside of the test set, {person!r} has {n_training}")
        if rois and (self.rois is None or not self.rois.any(axis=None)):
            lacking.append("regions of interest, a table of vertex x ROI that marks some vertex")
        if images and self.images is None:
            lacking.append("the pictures")
        if lacking:
            raise ValueError(f"{self.name!r} cannot be used here. Needed: {'; '.join(lacking)}.")

    def select(self, *, people: Sequence[str] | None = None, vertices: Any = None) -> Viewing:
        """The same data set with only some people, or some vertices.

        Parameters
        ----------
        people : sequence of str, optional
        vertices : sequence of labels, or bool Series over vertices (such as a column of `rois`), optional
            Each person keeps those that they have, in their own order.

        Returns
        -------
        Viewing

        Raises
        ------
        ValueError
            For data without responses, unknown people, or vertices none of which everybody has.
        """
        if self.responses is None:
            raise ValueError("responses: this data set has none, so nothing can be selected from them.")
        responses = {person: self._array_of(person) for person in (self.responses if people is None else people)}
        rois, truth = self.rois, self.truth
        if vertices is not None:
            if isinstance(vertices, pd.Series) and vertices.dtype == bool:
                vertices = vertices.index[vertices]
            wanted = pd.Index(vertices)
            masks = {p: np.isin(array["vertex"].to_numpy(), wanted.to_numpy()) for p, array in responses.items()}
            if not all(mask.any() for mask in masks.values()):
                raise ValueError(f"vertices: none of the {len(wanted)} wanted is there in everybody's responses.")
            responses = {p: array[:, :, masks[p]] for p, array in responses.items()}
            rois, truth = (None if table is None else table[table.index.isin(wanted)] for table in (rois, truth))
        return replace(self, responses=responses, rois=rois, truth=truth)

    def _array_of(self, person: str) -> xr.DataArray:
        if self.responses is None:
            raise ValueError("responses: this data set has none; only rdms are known.")
        if person not in self.responses:
            raise ValueError(f"person: expected one of {list(self.responses)}, got {person!r}.")
        return self.responses[person]

    def __repr__(self) -> str:
        parts = [
            f"Viewing {self.name!r}" + (f" ({self.space})" if self.space else ""),
            f"  captions   {len(self.captions)} of {len(self.image_names)} images, {len(self.test_images)} for testing",
        ]
        if self.images is not None:
            parts.append(f"  images     {' x '.join(map(str, self.images.shape[1:]))}")
        for person, array in (self.responses or {}).items():
            parts.append(f"  {person:<10} (" + ", ".join(f"{dim} {size}" for dim, size in array.sizes.items()) + ")")
        if self.rdms is not None:
            parts.append("  rdms       (" + ", ".join(f"{dim} {size}" for dim, size in self.rdms.sizes.items()) + ")")
        if self.rois is not None:
            parts.append(f"  rois       {', '.join(map(str, self.rois.columns))}")
        if self.truth is not None:
            parts.append("  truth      planted: virtual viewers")
        return "\n".join(parts)


# -------------------------------------------------------------------------------------------- what is wrong: listening


def word_problems(words: pd.DataFrame, *, untimed: bool = False) -> Iterator[str]:
    """What keeps `words` from being a table of timed words in order (see `Listening`).

    Rows are named by their index, here and below. With `untimed`, all times may be NaN.
    """
    if not isinstance(words, pd.DataFrame):
        yield f"expected a DataFrame, got {type(words).__name__}."
        return
    missing = [column for column in WORD_COLUMNS if column not in words]
    if missing:
        yield f"missing the column(s) {missing}; expected {list(WORD_COLUMNS)}."
        return
    if not len(words):
        yield "the table is empty."
        return
    yield from text_problems(words)
    yield from timing_problems(words, untimed=untimed)


def text_problems(words: pd.DataFrame) -> Iterator[str]:
    """What is wrong with the text and the passages of `words`."""
    empty = words["word"].isna() | (words["word"].astype(str).str.strip() == "")
    if empty.any():
        first = words.index[int(np.argmax(empty))]
        yield f"{int(empty.sum())} rows have no text, the first is row {first}; drop them."
    padded = ~empty & (words["word"].astype(str) != words["word"].astype(str).str.strip())
    if padded.any():
        first = words.index[int(np.argmax(padded))]
        yield f"{int(padded.sum())} words have spaces around them, the first is row {first}; strip them."
    passages = words["passage"].to_numpy()
    unnamed = words["passage"].isna() | (words["passage"].astype(str).str.strip() == "")
    if unnamed.any() and not unnamed.all():
        yield f"{int(unnamed.sum())} rows have no passage, but others have; name it for every word."
    if int((passages[1:] != passages[:-1]).sum()) + 1 != words["passage"].nunique(dropna=False):
        yield "the rows of each passage must be contiguous; a passage label comes back after another."


def timing_problems(words: pd.DataFrame, *, untimed: bool = False) -> Iterator[str]:
    """What is wrong with the onsets and offsets of `words`; with `untimed`, all may be NaN."""
    times = words[["onset", "offset"]].to_numpy(float)
    if untimed and np.isnan(times).all():
        return
    finite = np.isfinite(times).all(1)
    if not finite.all():
        yield f"onset and offset must be finite seconds; {_rows(words, ~finite)} is not."
    words, times = words[finite], times[finite]
    reverse = times[:, 1] <= times[:, 0]
    if reverse.any():
        row = int(np.argmax(reverse))
        yield f"offset must come after onset; {_rows(words, reverse)} has {times[row]}."
    earlier = np.append(False, np.diff(times[:, 0]) < 0)
    if earlier.any():
        row = int(np.argmax(earlier))
        yield (
            f"onsets must not decrease; {_rows(words, earlier)} starts at {times[row, 0]:.3f} s, before the word above "
            "it; sort the table by onset."
        )


def _rows(words: pd.DataFrame, which: np.ndarray) -> str:
    """The first of some rows, and how many more there are."""
    row, more = int(np.argmax(which)), int(which.sum()) - 1
    return f"row {words.index[row]} ({words['word'].iloc[row]!r})" + (f", as {more} more," if more else "")


def channel_problems(channels: pd.DataFrame) -> Iterator[str]:
    """What keeps `channels` from being a table of channels (see `Listening`)."""
    if not isinstance(channels, pd.DataFrame):
        yield f"expected a DataFrame, got {type(channels).__name__}."
        return
    missing = [column for column in CHANNEL_COLUMNS if column not in channels]
    if missing:
        yield f"missing the column(s) {missing}; fill unknown numbers with NaN and text with ''."
    for column in ("x", "y", "z", "distance_pmc"):
        if column not in channels:
            continue
        if not pd.api.types.is_numeric_dtype(channels[column]) or np.isinf(channels[column].to_numpy(float)).any():
            yield f"{column} must hold numbers in mm, NaN where unknown, and nothing else."
    if channels.index.has_duplicates:
        yield f"names must be unique; repeated: {list(channels.index[channels.index.duplicated()].unique()[:5])}."


def audio_problems(audio: Audio, words: pd.DataFrame) -> Iterator[str]:
    """What keeps a sound from being that of `words`."""
    samples, rate = np.asarray(audio.samples), audio.rate
    if samples.ndim != 1 or not np.isfinite(samples).all() or not (np.isfinite(rate) and rate > 0):
        yield (
            f"expected finite samples of one channel and a positive rate in Hz, got shape {samples.shape} at {rate} Hz."
        )
    elif words["offset"].max() > len(samples) / rate + 0.1:
        yield (
            f"it lasts {len(samples) / rate:.2f} s, but words run to {words['offset'].max():.2f} s; check the rate and "
            "that both use one clock in seconds."
        )


def time_problems(times: np.ndarray, words: pd.DataFrame) -> Iterator[str]:
    """What keeps `times` (time,) from being those of a recording of `words`."""
    if len(times) < 2 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        yield "its times must be at least two finite, strictly increasing times in s."
        return
    step = float(np.median(np.diff(times)))
    first, last = words["onset"].min(), words["offset"].max()
    if first < times[0] - step or last > times[-1] + step:
        yield (
            f"words run from {first:.2f} to {last:.2f} s, beyond the recording, which runs from {times[0]:.2f} to "
            f"{times[-1]:.2f} s; check that both use one clock in seconds."
        )


def value_problems(values: np.ndarray, names: pd.Index, *, nan_ok: bool = False) -> Iterator[str]:
    """What is wrong with the numbers of an array of shape (..., sample, channel)."""
    bad = ~np.isfinite(values) if not nan_ok else np.isinf(values)
    if bad.any():
        found = names[bad.any(tuple(range(values.ndim - 1)))]
        yield (
            f"{int(bad.sum())} non-finite values in {len(found)} channel(s), first {list(found[:5])}; drop or repair "
            "these channels."
        )
        values = np.where(bad, np.nan, values)
    void = np.isnan(values).all(axis=-2)
    void = void.any(axis=0) if void.ndim > 1 else void
    if void.any():
        if nan_ok:
            yield f"{int(void.sum())} channel(s) have no value at all: {list(names[void][:5])}; drop them."
        values, names = values[..., ~void], names[~void]
    if not len(names):
        return
    highest, lowest = (np.nanmax, np.nanmin) if np.isnan(values).any() else (np.max, np.min)  # quicker, and no copies
    span = highest(values, axis=-2) - lowest(values, axis=-2)
    flat = (span == 0).any(axis=0) if span.ndim > 1 else span == 0
    if flat.any():
        yield f"{int(flat.sum())} channel(s) never change: {list(names[flat][:5])}; drop them."


def _array_problems(
    field: str, array: xr.DataArray, dims: tuple[str, ...], names: pd.Index, nan_ok: bool = False
) -> Iterator[str]:
    if not isinstance(array, xr.DataArray):
        yield f"{field}: expected an xarray DataArray, got {type(array).__name__}."
    if array.dims != dims:
        yield f"{field}: expected dimensions {dims}, got {array.dims}."
    if "channel" not in array.coords or not pd.Index(array["channel"].to_numpy()).equals(names):
        yield (
            f"{field}: its 'channel' coordinate ({array.sizes['channel']} names) must equal the index of channels "
            f"({len(names)} names), in order."
        )
    yield from (f"{field}: {problem}" for problem in value_problems(array.to_numpy(), names, nan_ok=nan_ok))


# ---------------------------------------------------------------------------------------------- what is wrong: viewing


def caption_problems(captions: pd.DataFrame) -> Iterator[str]:
    """What keeps `captions` from being a table of captions (see `Viewing`)."""
    if not isinstance(captions, pd.DataFrame):
        yield f"expected a DataFrame, got {type(captions).__name__}."
        return
    missing = [column for column in CAPTION_COLUMNS if column not in captions]
    if missing:
        yield f"missing the column(s) {missing}; expected {list(CAPTION_COLUMNS)}."
        return
    if not len(captions):
        yield "the table is empty."
    text = captions["caption"]
    empty = text.isna() | (text.astype(str).str.strip() == "")
    if empty.any():
        row = int(np.argmax(empty))
        yield (
            f"{int(empty.sum())} rows have no text, the first is row {captions.index[row]} "
            f"(image {captions['image'].iloc[row]!r}); every image needs a caption."
        )
    if captions["image"].isna().any():
        yield f"{int(captions['image'].isna().sum())} rows name no image."
    repeated = captions["caption_id"].duplicated() | captions["caption_id"].isna()
    if repeated.any():
        yield f"caption_id must be there and unique; see {captions['caption_id'][repeated].unique()[:5].tolist()}."


def picture_problems(images: np.ndarray | xr.DataArray, names: pd.Index) -> Iterator[str]:
    """What keeps `images` from being pictures of the captioned images `names`."""
    shape: Any = getattr(images, "shape", ())
    dtype = getattr(images, "dtype", type(images).__name__)
    if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8:
        yield f"expected a uint8 array of shape (image, height, width, 3), got {dtype} of shape {shape}."
    elif isinstance(images, xr.DataArray) and "image" in images.coords:
        shown = pd.Index(images["image"].to_numpy())
        bare, absent = shown.difference(names), names.difference(shown)
        if len(bare):
            yield f"{len(bare)} image(s) have no caption, first {bare[:5].tolist()}."
        elif len(absent):
            yield f"captions describe {len(absent)} image(s) that are not there, first {absent[:5].tolist()}."
        elif not shown.equals(names):
            yield "its 'image' coordinate must have the order in which captions name the images, each once."
    elif shape[0] != len(names):
        yield f"expected one picture for each of the {len(names)} captioned images, got {shape[0]}."


def response_problems(array: xr.DataArray, space: str) -> Iterator[str]:
    """What keeps `array` from being one person's responses (see `Viewing`)."""
    dims = ("repeat", "image", "vertex")
    if not isinstance(array, xr.DataArray) or array.dims != dims:
        yield f"expected a DataArray with dimensions {dims}, got {getattr(array, 'dims', type(array).__name__)}."
        return
    if array.dtype.kind != "f" or 0 in array.shape:
        yield f"expected floating-point numbers and no empty dimension, got {array.dtype} of shape {array.shape}."
    for dim in ("image", "vertex"):
        if dim not in array.coords:
            yield f"needs a {dim!r} coordinate that names its {array.sizes[dim]} {dim} entries."
            return
        labels = pd.Index(array[dim].to_numpy())
        if labels.has_duplicates:
            yield f"{dim} labels must be unique; repeated: {labels[labels.duplicated()].unique()[:5].tolist()}."
    yield from label_problems(array["vertex"].to_numpy(), space)
    if not _on_disk(array):
        for repeat in range(array.sizes["repeat"]):  # one at a time: less memory
            yield from number_problems(array[repeat])


def label_problems(labels: np.ndarray, space: str) -> Iterator[str]:
    """What keeps vertex labels from being numbers of vertices of a surface; in other spaces, anything goes."""
    size = SURFACES.get(space)
    if size is None:
        return
    if labels.dtype.kind not in "iu" or (len(labels) and (labels.min() < 0 or labels.max() >= size)):
        span = f", from {labels.min()} to {labels.max()}" if labels.dtype.kind in "iu" else ""
        yield (
            f"vertex labels of {space} are whole numbers from 0 to {size - 1}, left hemisphere first; got "
            f"{labels.dtype}{span}. Is it another surface?"
        )


def rdm_problems(rdms: xr.DataArray, n_images: int) -> Iterator[str]:
    """What keeps `rdms` from being condensed dissimilarity matrices of `n_images` images."""
    dims = ("subject", "session", "pair")
    if not isinstance(rdms, xr.DataArray) or rdms.dims != dims:
        yield f"expected a DataArray with dimensions {dims}, got {getattr(rdms, 'dims', type(rdms).__name__)}."
        return
    if "subject" not in rdms.coords:
        yield "needs a 'subject' coordinate that names the people."
    if rdms.sizes["pair"] != n_images * (n_images - 1) // 2:
        yield (
            f"expected {n_images * (n_images - 1) // 2} pairs for the {n_images} captioned images, "
            f"got {rdms.sizes['pair']}."
        )
    yield from number_problems(rdms.transpose("pair", ...).rename(pair="image"))


def number_problems(array: xr.DataArray) -> Iterator[str]:
    """What is wrong with numbers of shape (image, ...)."""
    values = array.to_numpy()
    where = array.sizes.get("vertex", 0)
    bad = ~np.isfinite(values)
    if bad.any():
        found = f" in {int(bad.any(0).sum())} of {where} vertices" if where else ""
        labels = f", first {array['vertex'].to_numpy()[bad.any(0)][:5].tolist()}" if where else ""
        yield f"{int(bad.sum())} values are not finite{found}{labels}; leave out these vertices or repair them."
    elif len(values) > 1:
        flat = values.max(0) == values.min(0)
        if flat.any():
            labels = f", first {array['vertex'].to_numpy()[flat][:5].tolist()}" if where else ""
            yield f"{int(flat.sum())} vertices or RDMs never change{labels}; leave them out."


def _mask_problems(field: str, table: pd.DataFrame) -> Iterator[str]:
    if not isinstance(table, pd.DataFrame) or any(column.kind != "b" for column in table.dtypes):
        yield f"{field}: expected a DataFrame whose columns are all bool."


def _on_disk(array: xr.DataArray) -> bool:
    """Whether the numbers are yet to be read: a view of a memory map."""
    data = array.data
    while isinstance(data, np.ndarray) and not isinstance(data, np.memmap):
        data = data.base
    return isinstance(data, np.memmap)
