"""What was presented and what was recorded, as labelled and validated tables and arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from brainalign.datasets.viewing import Viewing

__all__ = ["Audio", "Listening", "Viewing"]

Modality = Literal["high-gamma", "bold", "erp"]

WORD_COLUMNS = ("word", "onset", "offset", "passage")
CHANNEL_COLUMNS = ("subject", "region", "hemisphere", "x", "y", "z", "distance_pmc")


class Audio(NamedTuple):
    """A sound: `samples` of shape (sample,), full scale +-1, and its `rate` in Hz."""

    samples: np.ndarray
    rate: float


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
