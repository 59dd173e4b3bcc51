"""What was presented and what was recorded, as labelled and validated tables and arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import xarray as xr

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
        One row a word, in the order spoken; times in s; the rows of a passage are contiguous.
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
        if self.modality not in get_args(Modality):
            raise ValueError(f"modality: expected one of {get_args(Modality)}, got {self.modality!r}.")
        check_words(self.words)
        _check_channels(self.channels)
        self._check_audio()
        if self.responses is None and self.signal is None:
            raise ValueError("responses, signal: at least one of the two is needed; both are None.")
        if self.responses is not None:
            _check_array("responses", self.responses, ("word", "channel"), self.channels, nan_ok=self.modality == "erp")
            if self.responses.sizes["word"] != len(self.words):
                raise ValueError(
                    f"responses: expected one row for each of the {len(self.words)} words, "
                    f"got {self.responses.sizes['word']}; give a row (NaN for an ERP) to every word."
                )
        if self.signal is not None:
            dims = ("repeat", "time", "channel") if "repeat" in self.signal.dims else ("time", "channel")
            _check_array("signal", self.signal, dims, self.channels)
            self._check_times()
        if self.truth is not None and not self.truth.index.equals(self.channels.index):
            raise ValueError("truth: its index must equal the index of channels, name by name and in order.")

    def _check_audio(self) -> None:
        if self.audio is None:
            return
        samples, rate = np.asarray(self.audio.samples), self.audio.rate
        if samples.ndim != 1 or not np.isfinite(samples).all() or not (np.isfinite(rate) and rate > 0):
            raise ValueError(
                f"audio: expected finite samples of one channel and a positive rate in Hz, got shape {samples.shape} "
                f"at {rate} Hz."
            )
        if self.words["offset"].max() > len(samples) / rate + 0.1:
            raise ValueError(
                f"audio: it lasts {len(samples) / rate:.2f} s, but words run to {self.words['offset'].max():.2f} s; "
                "check the rate and that both use one clock in seconds."
            )

    def _check_times(self) -> None:
        if "time" not in self.signal.coords:
            raise ValueError("signal: needs a 'time' coordinate in s.")
        times = self.signal["time"].to_numpy()
        if len(times) < 2 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise ValueError(
                "signal: its 'time' coordinate must hold at least two finite, strictly increasing times in s."
            )
        step = float(np.median(np.diff(times)))
        last = self.words["offset"].max()
        if self.words["onset"].min() < times[0] - step or last > times[-1] + step:
            raise ValueError(
                f"words: they run from {self.words['onset'].min():.2f} to {last:.2f} s, beyond the recording, which "
                f"runs from {times[0]:.2f} to {times[-1]:.2f} s; check that both use one clock in seconds."
            )

    @property
    def sampling_rate(self) -> float:
        """Samples of `signal` per second (Hz)."""
        if self.signal is None:
            raise ValueError("signal: this data set has none, so it has no sampling rate.")
        return 1 / float(np.median(np.diff(self.signal["time"].to_numpy())))

    def select(self, channels) -> Listening:
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
        parts = [
            f"Listening {self.name!r} ({self.modality})",
            f"  words      {len(self.words)} in {self.words['passage'].nunique()} passage(s), "
            f"{self.words['onset'].min():.1f} to {self.words['offset'].max():.1f} s",
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


def check_words(words: pd.DataFrame) -> None:
    """Raise a ValueError unless `words` is a table of timed words in order (see `Listening`)."""
    if not isinstance(words, pd.DataFrame):
        raise ValueError(f"words: expected a DataFrame, got {type(words).__name__}.")
    missing = [column for column in WORD_COLUMNS if column not in words]
    if missing:
        raise ValueError(f"words: missing the column(s) {missing}; expected {list(WORD_COLUMNS)}.")
    if not len(words):
        raise ValueError("words: the table is empty.")
    empty = words["word"].isna() | (words["word"].astype(str).str.strip() == "")
    if empty.any():
        raise ValueError(
            f"words: {int(empty.sum())} rows have no text, the first is row {int(np.argmax(empty))}; drop them."
        )
    times = words[["onset", "offset"]].to_numpy(float)
    if not np.isfinite(times).all():
        row = int(np.argmax(~np.isfinite(times).all(1)))
        raise ValueError(
            f"words: onset and offset must be finite seconds; row {row} ({words['word'].iloc[row]!r}) is not."
        )
    if (times[:, 1] <= times[:, 0]).any():
        row = int(np.argmax(times[:, 1] <= times[:, 0]))
        raise ValueError(
            f"words: offset must come after onset; row {row} ({words['word'].iloc[row]!r}) has {times[row]}."
        )
    if (np.diff(times[:, 0]) < 0).any():
        row = int(np.argmax(np.diff(times[:, 0]) < 0)) + 1
        raise ValueError(
            f"words: onsets must not decrease; row {row} ({words['word'].iloc[row]!r}) starts at {times[row, 0]:.3f} "
            f"s, before the word above it; sort the table by onset."
        )
    passages = words["passage"].to_numpy()
    if int((passages[1:] != passages[:-1]).sum()) + 1 != words["passage"].nunique(dropna=False):
        raise ValueError(
            "words: the rows of each passage must be contiguous; a passage label comes back after another."
        )


def _check_channels(channels: pd.DataFrame) -> None:
    if not isinstance(channels, pd.DataFrame):
        raise ValueError(f"channels: expected a DataFrame, got {type(channels).__name__}.")
    missing = [column for column in CHANNEL_COLUMNS if column not in channels]
    if missing:
        raise ValueError(f"channels: missing the column(s) {missing}; fill unknown numbers with NaN and text with ''.")
    for column in ("x", "y", "z", "distance_pmc"):
        if not pd.api.types.is_numeric_dtype(channels[column]) or np.isinf(channels[column].to_numpy(float)).any():
            raise ValueError(f"channels: {column} must hold numbers in mm, NaN where unknown, and nothing else.")
    if channels.index.has_duplicates:
        raise ValueError(
            f"channels: names must be unique; repeated: {list(channels.index[channels.index.duplicated()][:5])}."
        )


def _check_array(field: str, array: xr.DataArray, dims: tuple, channels: pd.DataFrame, nan_ok: bool = False) -> None:
    if not isinstance(array, xr.DataArray):
        raise ValueError(f"{field}: expected an xarray DataArray, got {type(array).__name__}.")
    if array.dims != dims:
        raise ValueError(f"{field}: expected dimensions {dims}, got {array.dims}.")
    if "channel" not in array.coords or not pd.Index(array["channel"].to_numpy()).equals(channels.index):
        raise ValueError(
            f"{field}: its 'channel' coordinate ({array.sizes['channel']} names) must equal the index of channels "
            f"({len(channels)} names), in order."
        )
    values = array.to_numpy()
    bad = ~np.isfinite(values) if not nan_ok else np.isinf(values)
    if bad.any():
        names = channels.index[bad.any(tuple(range(values.ndim - 1)))]
        raise ValueError(
            f"{field}: {int(bad.sum())} non-finite values in {len(names)} channel(s), first {list(names[:5])}; "
            "drop or repair these channels."
        )
    if nan_ok and np.isnan(values).all(axis=0).any():
        names = channels.index[np.isnan(values).all(axis=0)]
        raise ValueError(f"{field}: {len(names)} channel(s) have no value at all: {list(names[:5])}; drop them.")
    span = np.nanmax(values, axis=-2) - np.nanmin(values, axis=-2)
    flat = (span == 0).any(axis=0) if span.ndim > 1 else span == 0
    if flat.any():
        names = channels.index[flat]
        raise ValueError(f"{field}: {len(names)} channel(s) never change: {list(names[:5])}; drop them.")
