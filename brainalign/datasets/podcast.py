"""A half-hour podcast: intracranial recordings of nine people (OpenNeuro ds005574, Zada et al. 2025)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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
from brainalign._checks import listed, within
from brainalign.datasets._files import read_table, reading, some_subjects
from brainalign.datasets.types import Audio, Listening
from brainalign.signals import word_responses

SUBJECTS = tuple(f"sub-{number:02d}" for number in range(1, 10))

RATE = 100.0  # Hz, of the signal that is returned; the recordings have 512
MARGIN = 0.6  # s kept after the last word of a shortened recording: room for windows and lags, as the full one has
SPACE = "MNI152NLin2009aSym"
TRANSCRIPT = "stimuli/spectral/transcript.tsv"
SOUND = "stimuli/podcast.wav"
SOUND_RATE = 16000

HOW_TO_GET = """
Files of this size are not fetched unasked. One of these gets them:
  - load_listening('podcast', ..., download=True): into the cache, verified; what breaks off is gone on with
  - aws s3 cp --no-sign-request s3://openneuro.org/ds005574/PATH FOLDER/PATH for each PATH above, and
    load_listening('podcast', root='FOLDER', ...)"""


def podcast(
    *,
    root: str | os.PathLike[str] | None = None,
    subjects: Sequence[str] | None = None,
    max_duration: float | None = None,
    audio: bool = False,
    download: bool = False,
) -> Listening:
    """High gamma of nine people with 1,268 usable electrodes who listened to a story of thirty minutes.

    The authors' own high-gamma derivative (512 Hz) is resampled to 100 Hz and z-scored, person by person. Kept are
    channels of type ECOG or SEEG with status "good" that the recording holds. Coordinates are moved from MNI152 space
    to fsaverage's. Electrodes that could not be localised have no row, or "n/a", in their table, and one has
    coordinates 105 mm outside the brain (DAMT4 of sub-08): they are kept without coordinates. The transcript with a row
    for every spoken word is used; where two people talk at once it keeps each one's sentence together, so that 19
    onsets lie before the one above. Words are sorted by onset, and no time is changed (which also swaps a few pairs,
    such as "a little", whose annotated times overlap).

    Parameters
    ----------
    root : path, optional
        Your copy of the data set, or a part of it, in its own layout. What it lacks comes from the asset "podcast",
        each file verified. A person's sidecars are taken from one place, never mixed.
    subjects : sequence of str, optional
        Such as ["sub-01", "sub-03"]; all nine by default.
    max_duration : float, optional
        Use only the first seconds of the recording.
    audio : bool
        Load the sound too (a file of 318 MB), as one channel at 16 kHz.
    download : bool
        Fetch recordings (0.3 to 0.9 GB a person) and sound that are not there. What breaks off is gone on with later.

    Returns
    -------
    Listening
        `signal` (time, channel) at 100 Hz, z-scored; `responses` (word, channel), its mean in 100 ms around the centre
        of each word; `words` have also their `row` in the transcript; `channels`, named "sub-01/G2", have also
        `group` (G grid, EG grid of small contacts, S strip, D depth) and what else `cortex.locate` finds.
        ``signal.attrs["dropped"]`` names good channels that the recording lacks, marks bad or holds flat or not finite.

    Raises
    ------
    brainalign.assets.AssetError
        If files cannot be had; the message says which, how large they are and how to get them.

    References
    ----------
    Zada et al. (2025). The "Podcast" ECoG dataset for modeling neural activity during natural language comprehension.
    Scientific Data. OpenNeuro ds005574, CC0.
    """
    chosen = some_subjects(subjects, SUBJECTS, "sub-")
    if max_duration is not None:
        within("max_duration", max_duration, 0, np.inf)
    files = _Files(root, download)
    # Tables and headers first: what is missing or wrong shows before the long work begins.
    tables = {subject: _channels(files, subject) for subject in chosen}
    words = _words(files.get(TRANSCRIPT))
    recording = {"root": "derivatives/ecogprep", "description": "highgamma", "suffix": "ieeg", "extension": ".fif"}
    paths = {subject: _path(subject, task="podcast", **recording) for subject in chosen}
    files.require([*paths.values(), *[SOUND] * audio])
    raws = {subject: _open(files.get(path)) for subject, path in paths.items()}
    channels = _located(pd.concat([_recorded(tables[s], raws[s], s) for s in chosen], keys=chosen))
    duration = min(raw.n_times / raw.info["sfreq"] for raw in raws.values())
    words, duration = _cut(words, duration, max_duration)
    times = np.arange(round(duration * RATE)) / RATE
    values = np.empty((len(times), len(channels)), dtype="float32")
    signal = xr.DataArray(values, {"time": times, "channel": channels.index.to_numpy()}, ("time", "channel"))
    responses, alive = [], np.ones(len(channels), dtype=bool)
    for subject in tqdm(chosen, desc="podcast", unit="person", disable=None):
        rows = np.flatnonzero(channels["subject"] == subject)
        here = slice(rows[0], rows[-1] + 1)
        names = channels.index[here].str.removeprefix(f"{subject}/")
        alive[here] = _read(raws[subject], list(names), values[:, here])
        responses.append(word_responses(signal[:, here], words))  # one person at a time: it works on doubles
    if not alive.all():
        channels, signal = channels[alive], signal[:, alive]
    good = pd.Index([f"{subject}/{name}" for subject, table in tables.items() for name in table.index])
    signal.attrs = {"units": "s.d.", "dropped": good[~good.isin(channels.index)].tolist()}
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
    """Where each file is: under the user's folder, else in the asset."""

    def __init__(self, root: str | os.PathLike[str] | None, download: bool) -> None:
        self.root, self.download = None if root is None else Path(root).expanduser(), download
        if self.root is not None and not self.root.is_dir():
            raise ValueError(f"root: expected a folder in the layout of OpenNeuro ds005574, got {self.root}.")

    def own(self, path: str) -> Path | None:
        return self.root / path if self.root is not None and (self.root / path).is_file() else None

    def get(self, path: str) -> Path:
        return self.own(path) or self.published(path)

    def published(self, path: str) -> Path:
        unasked = path.endswith(".tsv")  # tables are small
        return assets.fetch("podcast", [path], download=self.download or unasked) / path

    def require(self, paths: Sequence[str]) -> None:
        """Fetch files, one by one, or say all at once which cannot be had and how to get them."""
        sizes, missing = assets.sizes("podcast"), []
        for path in paths:
            try:
                self.get(path)
            except assets.AssetError:
                if self.download:
                    raise
                missing.append(path)
        there = [path.split("/")[2] for path in paths if path not in missing and path != SOUND]
        fewer = f"\n  - subjects={there} to use only the people whose recordings are here"
        if missing:
            raise assets.AssetError(
                f"podcast: {len(missing)} large file(s) are missing, {sum(sizes[p] for p in missing) / 1e9:.1f} GB:\n"
                + "\n".join(f"  - {path} ({sizes[path] / 1e6:.0f} MB)" for path in missing)
                + HOW_TO_GET
                + fewer * (bool(there) and missing != [SOUND])
            )


def _path(subject: str, **entities: str) -> str:
    path = BIDSPath(subject=subject.removeprefix("sub-"), datatype="ieeg", check=False, **entities)
    return path.fpath.as_posix()


def _by_name(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A BIDS table, whose names may have spaces around them, by name."""
    table = read_table(path, ["name", *columns]).apply(lambda column: column.str.strip()).set_index("name")
    if table.index.has_duplicates:
        repeated = sorted(set(table.index[table.index.duplicated()]))
        raise ValueError(f"{path}: names repeat: {repeated}; each must occur once.")
    return table


def _channels(files: _Files, subject: str) -> pd.DataFrame:
    """Good channels of a person with MNI152 coordinates, NaN where the electrode is not localised."""
    sidecar = _path(subject, task="podcast", suffix="channels", extension=".tsv")
    place: Callable[[str], Any] = files.own if files.own(sidecar) else files.published  # one place for both
    electrodes = place(_path(subject, space=SPACE, suffix="electrodes", extension=".tsv"))
    channels = _by_name(place(sidecar), ["type", "status"])
    good = channels["type"].str.upper().isin(["ECOG", "SEEG"]) & (channels["status"].str.lower() == "good")
    table = pd.DataFrame({"x": np.nan, "y": np.nan, "z": np.nan, "group": ""}, index=channels.index[good])
    if electrodes is not None:
        known = _by_name(electrodes, ["x", "y", "z"]).reindex(table.index)
        table[["x", "y", "z"]] = known[["x", "y", "z"]].apply(pd.to_numeric, errors="coerce")
        table["group"] = known["group"].fillna("") if "group" in known else ""
    return table


def _located(tables: pd.DataFrame) -> pd.DataFrame:
    """Channels of all people, indexed (subject, name), as `Listening` wants them."""
    found = cortex.locate(cortex.mni152_to_fsaverage(tables[["x", "y", "z"]]))
    found.index = pd.Index(tables.index.map("/".join), name="channel")
    found.insert(0, "subject", tables.index.get_level_values(0))
    return found.assign(group=tables["group"].to_numpy())


def _reading(path: Path) -> Any:
    """MNE has no error of its own for a file that breaks off."""
    published = {name.rpartition("/")[2]: size for name, size in assets.sizes("podcast").items()}.get(path.name)
    return reading(path, "a FIF recording", f"an incomplete download? The published one has {published} bytes.")


def _open(path: Path) -> mne.io.BaseRaw:
    with _reading(path):
        return mne.io.read_raw_fif(path, verbose="error")


def _recorded(table: pd.DataFrame, raw: mne.io.BaseRaw, subject: str) -> pd.DataFrame:
    """Those of a person's good channels that the recording holds."""
    there = [name for name in table.index if name in raw.ch_names and name not in raw.info["bads"]]
    if not there:
        held = listed(raw.ch_names)
        raise ValueError(
            f"{subject}: none of its good channels is in the recording, which holds {held}; is it another?"
        )
    return table.loc[there]


def _cut(words: pd.DataFrame, duration: float, max_duration: float | None) -> tuple[pd.DataFrame, float]:
    """Words and duration (s) that are used."""
    if max_duration is not None and max_duration < duration + 1:
        duration = min(max_duration, duration)
        words = words[words["offset"] <= duration - MARGIN].reset_index(drop=True)
        if words.empty:
            raise ValueError(f"max_duration: no word of the story ends {MARGIN} s before {max_duration} s; raise it.")
    if words["offset"].max() > duration:
        ends = f"the recordings end at {duration:.1f} s, the words at {words['offset'].max():.1f} s"
        raise ValueError(f"{ends}: an incomplete file? For the beginning alone, pass max_duration={duration:.0f}.")
    return words, duration


def _words(path: Path) -> pd.DataFrame:
    """One row a spoken word, in the order of onsets; those without text, times or duration are dropped."""
    table = read_table(path, ["word", "start", "end"])
    onset, offset = (pd.to_numeric(table[column], errors="coerce") for column in ("start", "end"))
    words = pd.DataFrame({"word": table["word"].str.strip(), "onset": onset, "offset": offset, "passage": "podcast"})
    words["row"] = np.arange(len(words))
    unusable = (words["word"] == "") | ~(offset > onset)  # also true where a time is missing
    return words[~unusable].sort_values("onset", kind="stable", ignore_index=True)


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
