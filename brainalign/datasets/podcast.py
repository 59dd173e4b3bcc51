"""A half-hour podcast: intracranial recordings of nine people (OpenNeuro ds005574, Zada et al. 2025)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import xarray as xr
from mne_bids import BIDSPath
from scipy.io import wavfile
from tqdm import tqdm

from brainalign import assets, cortex
from brainalign.datasets.types import Audio, Listening
from brainalign.signals import word_responses

SUBJECTS = tuple(f"sub-{number:02d}" for number in range(1, 10))

RATE = 100.0
"""Hz, of the signal that is returned; the recordings have 512."""

MARGIN = 0.6
"""s of signal kept after the last word of a shortened recording: room for windows and lags, as the full one has."""

SPACE = "MNI152NLin2009aSym"
TRANSCRIPT = "stimuli/spectral/transcript.tsv"
SOUND = "stimuli/podcast.wav"
SOUND_RATE = 16000


def podcast(
    *,
    root: str | os.PathLike[str] | None = None,
    subjects: Sequence[str] | None = None,
    max_duration: float | None = None,
    audio: bool = False,
    download: bool = False,
    progress: bool = False,
) -> Listening:
    """High gamma of nine people with 1,268 usable electrodes who listened to a story of thirty minutes.

    The authors' own high-gamma derivative (512 Hz) is resampled to 100 Hz and z-scored, person by person. Kept are
    channels of type ECOG or SEEG with status "good" that the recording holds. What the files need:

    - The tables of some people begin with a byte-order mark.
    - Electrodes that could not be localised have no row, or "n/a", in the table of electrodes, and one has coordinates
      105 mm outside the brain (DAMT4 of sub-08). Where they are of use at all, they are kept without coordinates.
    - Coordinates are in MNI152 space; they are moved to fsaverage's, where region (Desikan-Killiany atlas) and geodesic
      distance are those of the nearest point of the pial surface.
    - Of the transcripts, the one with a row for every spoken word is used. Where two people talk at once it keeps each
      one's sentence together, so that 19 of its onsets lie before the one above. Words are sorted by onset: no time
      is changed, and the text is in the order in which its words began (which also swaps a few pairs, such as "a
      little", whose annotated times overlap). Words are left as written; five at the start and the end have
      punctuation, the others none.

    Parameters
    ----------
    root : path, optional
        Your copy of the data set, or a part of it, in its own layout; its files are read as they are. What it lacks
        comes from the asset "podcast", each file verified. A person's sidecars are taken from one place, never mixed.
    subjects : sequence of str, optional
        Such as ["sub-01", "sub-03"]; all nine by default.
    max_duration : float, optional
        Use only the first seconds of the recording.
    audio : bool
        Load the sound too (a file of 318 MB), as one channel at 16 kHz.
    download : bool
        Fetch recordings (0.3 to 0.9 GB a person) and sound that are neither under `root` nor in a mirror nor in the
        cache. A download that breaks off is gone on with by the next call.
    progress : bool
        Show which person is being read.

    Returns
    -------
    Listening
        `signal` (time, channel) at 100 Hz, z-scored; `responses` (word, channel), its mean in 100 ms around the centre
        of each word; `words` have also their `row` in the transcript; `channels`, named "sub-01/G2", have also
        `group` (G grid, EG grid of small contacts, S strip, D depth), `distance_pmc_euclidean`, `vertex` and
        `off_surface` (see `cortex.locate`). ``signal.attrs["notes"]`` says what was dropped, sorted or left unlocated.

    Raises
    ------
    ValueError
        For unknown people, tables that lack columns, or recordings that hold no usable channel or end before the words.
    brainalign.assets.AssetError
        If files cannot be had; the message says which, how large they are and how to get them.

    References
    ----------
    Zada et al. (2025). The "Podcast" ECoG dataset for modeling neural activity during natural language comprehension.
    Scientific Data. OpenNeuro ds005574, CC0.
    """
    people = _check_subjects(subjects)
    if max_duration is not None and not (np.isfinite(max_duration) and max_duration > 0):
        raise ValueError(f"max_duration: expected a positive number of seconds or None, got {max_duration!r}.")
    files = _Files(root, download)
    notes: list[str] = []
    # Tables and headers first: what is missing or wrong shows before the long work begins.
    tables = {subject: _channels(files, subject, notes) for subject in people}
    words = _words(files.get(TRANSCRIPT), notes)
    files.require([*map(_recording_path, people), *([SOUND] if audio else [])])
    raws = {subject: _open(files.get(_recording_path(subject))) for subject in people}
    recorded = [_recorded(table, raws[subject], subject, notes) for subject, table in tables.items()]
    channels = _located(pd.concat(recorded, keys=people), notes)
    duration = min(raw.n_times / raw.info["sfreq"] for raw in raws.values())
    words, duration = _cut(words, duration, max_duration)
    time = np.arange(round(duration * RATE)) / RATE
    values = np.empty((len(time), len(channels)), dtype="float32")
    responses, alive = [], np.ones(len(channels), dtype=bool)
    for subject in tqdm(people, desc="podcast", unit="person", disable=not progress):
        rows = np.flatnonzero(channels["subject"] == subject)
        here = slice(rows[0], rows[-1] + 1)
        names = channels.index[here].str.partition("/").get_level_values(2)
        alive[here] = _read(raws[subject], list(names), values[:, here])
        _note(notes, subject, "channels that are flat or not finite, dropped", names[~alive[here]])
        part = _array(values[:, here], time, channels.index[here])
        responses.append(word_responses(part, words))  # one person at a time: it works on doubles
    if not alive.all():
        channels, values = channels[alive], values[:, alive]
    signal = _array(values, time, channels.index)
    signal.attrs = {"units": "s.d.", "notes": notes}
    return Listening(
        name="podcast",
        modality="high-gamma",
        words=words,
        channels=channels,
        signal=signal,
        responses=xr.concat(responses, "channel").sel(channel=channels.index.to_numpy()),
        audio=_sound(files.get(SOUND), duration) if audio else None,
    )


class _Files:
    """Where each file of the data set is: under the user's folder, else in the asset."""

    def __init__(self, root: str | os.PathLike[str] | None, download: bool) -> None:
        self.root = None if root is None else Path(root).expanduser()
        self.download = download
        if self.root is not None and not self.root.is_dir():
            raise ValueError(f"root: expected a folder in the layout of OpenNeuro ds005574, got {self.root}.")

    def own(self, path: str) -> Path | None:
        """The file in the user's folder, if it is there."""
        return self.root / path if self.root is not None and (self.root / path).is_file() else None

    def get(self, path: str) -> Path:
        return self.own(path) or self.published(path)

    def published(self, path: str) -> Path:
        if path.endswith(".tsv"):  # the tables are small: all at once, unasked
            tables = [name for name in assets.sizes("podcast") if name.endswith(".tsv")]
            return assets.fetch("podcast", tables) / path
        return assets.fetch("podcast", [path], download=self.download) / path

    def require(self, paths: Sequence[str]) -> None:
        """Fetch files, one by one, or say all at once which cannot be had and how to get them."""
        if self.download:
            for path in paths:
                self.get(path)
            return
        missing = [path for path in paths if not self._there(path)]
        if missing:
            there = [path.split("/")[2] for path in paths if path not in missing and path != SOUND]
            raise assets.AssetError(_how_to_get(missing, there))

    def _there(self, path: str) -> bool:
        with suppress(assets.AssetError):
            return self.get(path).is_file()
        return False


def _how_to_get(missing: list[str], there: list[str]) -> str:
    sizes = assets.sizes("podcast")
    total = sum(sizes[path] for path in missing) / 1e9
    lines = [f"podcast: {len(missing)} large file(s) are missing, {total:.1f} GB together:"]
    lines += [f"  - {path} ({sizes[path] / 1e6:.0f} MB)" for path in missing]
    lines += [
        "Files of this size are not fetched unasked. One of these gets them:",
        "  - load_listening('podcast', ..., download=True): fetched into the cache, verified; can be broken off and "
        "gone on with",
        "  - aws s3 cp --no-sign-request s3://openneuro.org/ds005574/PATH FOLDER/PATH for each PATH above, then "
        "load_listening('podcast', root='FOLDER', ...)",
    ]
    if there and missing != [SOUND]:
        lines.append(f"  - subjects={there} to use only the people whose recordings are here")
    return "\n".join(lines)


def _check_subjects(subjects: Sequence[str] | None) -> list[str]:
    if subjects is None:
        return list(SUBJECTS)
    wanted = [subjects] if isinstance(subjects, str) else list(subjects)
    unknown = [subject for subject in wanted if subject not in SUBJECTS]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"subjects: expected different ones of {list(SUBJECTS)}, got {subjects!r}.")
    return wanted


def _path(subject: str, **entities: str) -> str:
    path = BIDSPath(subject=subject.removeprefix("sub-"), datatype="ieeg", check=False, **entities)
    return f"{subject}/ieeg/{path.basename}"


def _recording_path(subject: str) -> str:
    path = _path(subject, task="podcast", description="highgamma", suffix="ieeg", extension=".fif")
    return f"derivatives/ecogprep/{path}"


def _note(notes: list[str], subject: str, what: str, names: Sequence[str]) -> None:
    if len(names):
        notes.append(f"{subject}: {what} ({len(names)}): {', '.join(names)}")


def _read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A BIDS table; some of these begin with a byte-order mark, and some names have spaces around them."""
    table = pd.read_csv(path, sep="\t", encoding="utf-8-sig", dtype=str, keep_default_na=False)
    table = table.rename(columns=str.strip)
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{path}: missing the column(s) {missing}; it has {list(table.columns)}.")
    return table.apply(lambda column: column.str.strip())


def _channels(files: _Files, subject: str, notes: list[str]) -> pd.DataFrame:
    """Good channels of a person with MNI152 coordinates, NaN where the electrode is not localised."""
    channels_path = _path(subject, task="podcast", suffix="channels", extension=".tsv")
    electrodes_path = _path(subject, space=SPACE, suffix="electrodes", extension=".tsv")
    place: Callable[[str], Any] = files.own if files.own(channels_path) else files.published  # one place for both
    electrodes_file = place(electrodes_path)
    channels = _read_table(place(channels_path), ["name", "type", "status"])
    neural = channels["type"].str.upper().isin(["ECOG", "SEEG"])
    good = neural & (channels["status"].str.lower() == "good")
    _note(notes, subject, "ECOG and SEEG channels with bad status, dropped", channels.loc[neural & ~good, "name"])
    names = _unique(channels.loc[good, "name"], channels_path)
    table = pd.DataFrame({"x": np.nan, "y": np.nan, "z": np.nan, "group": ""}, index=pd.Index(names, name="name"))
    if electrodes_file is not None:
        electrodes = _read_table(electrodes_file, ["name", "x", "y", "z"])
        electrodes = electrodes.set_index(_unique(electrodes["name"], electrodes_path)).reindex(table.index)
        table[["x", "y", "z"]] = electrodes[["x", "y", "z"]].apply(pd.to_numeric, errors="coerce")
        if "group" in electrodes:
            table["group"] = electrodes["group"].fillna("")
    return table


def _unique(names: pd.Series, path: str) -> pd.Series:
    if names.duplicated().any():
        raise ValueError(f"{path}: names repeat: {sorted(set(names[names.duplicated()]))}; each must occur once.")
    return names


def _located(tables: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Channels of all people, indexed (subject, name), as `Listening` wants them."""
    found = cortex.locate(cortex.mni152_to_fsaverage(tables[["x", "y", "z"]]))
    subjects, names = tables.index.get_level_values(0), tables.index.get_level_values(1)
    found.index = pd.Index(subjects + "/" + names, name="channel")
    found.insert(0, "subject", subjects)
    found["group"] = tables["group"].to_numpy()
    absent = tables[["x", "y", "z"]].isna().any(axis=1).to_numpy()
    outside = found["x"].isna().to_numpy() & ~absent
    for subject in dict.fromkeys(subjects):
        here = subjects == subject
        _note(notes, subject, "electrodes without localisation, kept without coordinates", names[here & absent])
        _note(notes, subject, "electrodes outside the brain, kept without coordinates", names[here & outside])
    return found


def _open(path: Path) -> mne.io.BaseRaw:
    with _reading(path):
        return mne.io.read_raw_fif(path, verbose="error")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # MNE has no error of its own for a file that breaks off
        sizes = {published.rpartition("/")[2]: size for published, size in assets.sizes("podcast").items()}
        raise ValueError(
            f"{path}: cannot be read as a FIF recording ({type(error).__name__}: {error}). An incomplete download? It "
            f"has {path.stat().st_size} bytes, the published one {sizes.get(path.name, 'unknown')}."
        ) from error


def _recorded(table: pd.DataFrame, raw: mne.io.BaseRaw, subject: str, notes: list[str]) -> pd.DataFrame:
    """Those of a person's good channels that the recording holds."""
    absent = [name for name in table.index if name not in raw.ch_names or name in raw.info["bads"]]
    _note(notes, subject, "good channels that the recording lacks or marks bad, dropped", absent)
    if len(absent) == len(table):
        raise ValueError(
            f"{subject}: none of its good channels is in the recording, which holds {raw.ch_names[:5]}...; do the "
            "sidecars belong to it?"
        )
    return table.drop(absent)


def _cut(words: pd.DataFrame, duration: float, max_duration: float | None) -> tuple[pd.DataFrame, float]:
    """Words and duration (s) that are used."""
    if max_duration is not None and max_duration < duration + 1:
        duration = min(max_duration, duration)
        words = words[words["offset"] <= duration - MARGIN].reset_index(drop=True)
        if words.empty:
            raise ValueError(f"max_duration: no word of the story ends {MARGIN} s before {max_duration} s; raise it.")
    if words["offset"].max() > duration:
        raise ValueError(
            f"the recordings end at {duration:.1f} s, the words at {words['offset'].max():.1f} s: an incomplete file? "
            f"To use only the beginning, pass max_duration={duration:.0f}."
        )
    return words, duration


def _words(path: Path, notes: list[str]) -> pd.DataFrame:
    """One row a spoken word, in the order of onsets."""
    table = _read_table(path, ["word", "start", "end"])
    words = pd.DataFrame({"word": table["word"]})
    words["onset"] = pd.to_numeric(table["start"], errors="coerce")
    words["offset"] = pd.to_numeric(table["end"], errors="coerce")
    words["passage"] = "podcast"
    words["row"] = np.arange(len(words))
    unusable = (words["word"] == "") | ~(words["offset"] > words["onset"])  # also true where a time is missing
    if unusable.any():
        notes.append(f"words without text, times or duration, dropped: {int(unusable.sum())}")
    words = words[~unusable]
    early = int((words["onset"].diff() < 0).sum())
    if early:
        notes.append(f"words sorted by onset, as people talk at once: {early} onsets lay before the one above")
    return words.sort_values("onset", kind="stable", ignore_index=True)


def _array(values: np.ndarray, time: np.ndarray, names: pd.Index) -> xr.DataArray:
    return xr.DataArray(values, dims=("time", "channel"), coords={"time": time, "channel": names.to_numpy()})


def _read(raw: mne.io.BaseRaw, names: list[str], out: np.ndarray) -> np.ndarray:
    """Fill `out` (time, channel) with channels at 100 Hz, z-scored; say which are alive. Dead ones are set to 0."""
    rate = raw.info["sfreq"]
    n_times = min(raw.n_times, int(np.ceil(len(out) * rate / RATE)))
    picks = [raw.ch_names.index(name) for name in names]
    # One pass through the file, in single precision: MNE reads doubles, which for a large grid would be 1.7 GB.
    values = np.empty((len(names), n_times), dtype="float32")
    step = int(60 * rate)
    with _reading(Path(raw.filenames[0])):
        for start in range(0, n_times, step):
            stop = min(start + step, n_times)
            values[:, start:stop] = raw.get_data(picks, start, stop)
    alive = np.isfinite(values).all(axis=1)
    values[~alive] = 0
    alive &= np.ptp(values, axis=1) > 0
    for start in range(0, len(names), 16):  # in doubles, hence a few channels at a time
        few = slice(start, start + 16)
        fast = values[few].astype(float)
        fast -= fast.mean(1, keepdims=True)  # a large constant would leave ripples
        slow = _resample(fast, rate, RATE)[:, : len(out)]
        slow -= slow.mean(1, keepdims=True)
        out[:, few] = (slow / np.where(alive[few, None], slow.std(1, keepdims=True), 1)).T
    return alive


def _sound(path: Path, duration: float) -> Audio:
    rate, samples = wavfile.read(path, mmap=True)
    samples = samples[: round(duration * rate)]
    full_scale = np.iinfo(samples.dtype).max + 1.0 if samples.dtype.kind == "i" else 1.0
    mono = samples.mean(axis=1, dtype="float32") if samples.ndim > 1 else samples.astype("float32")
    resampled = _resample(mono.astype(float) / full_scale, rate, SOUND_RATE)
    return Audio(resampled.astype("float32"), SOUND_RATE)


def _resample(values: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    if rate == new_rate:  # MNE refuses that
        return values
    return mne.filter.resample(values, up=new_rate, down=rate, method="polyphase", verbose="error")
