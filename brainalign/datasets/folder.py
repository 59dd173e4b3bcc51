"""Your own recordings: a folder of tables and arrays, read, checked and written.

A folder holds these files; only the first three and one of responses and signal are needed. Tables are CSV in UTF-8;
files of spreadsheets that separate by semicolons and write decimal commas are understood.

==================  ==================================================================================================
dataset.json        {"name": "mine", "modality": "high-gamma"}: the name for figure titles; "high-gamma", "bold" or
                    "erp". Further keys: "sampling_rate" (Hz) and "start" (s on the words' clock, 0 unless given) of the
                    signal; "space", "MNI152" (unless given) or "fsaverage", in which x, y and z are.
words.csv           word, onset, offset (s), passage: one row a word, in the order spoken. Further columns are kept.
                    Times may all be empty for "erp" without signal and audio.
channels.csv        channel, subject: one row a channel, its name and the person. Where known also region, hemisphere
                    ("left" or "right"), x, y, z (mm) and distance_pmc (mm, from posteromedial Heschl's gyrus). Further
                    columns are kept. Where there are coordinates, what else is missing is found from them.
responses.npy       (word, channel), in the order of the tables: z-scored high gamma around each word, or one ERP value,
                    NaN at words that have none. Or responses.zarr, or responses.csv with the channels' names as header.
signal.npy          (time, channel) or (repeat, time, channel): the continuous recording. Or signal.zarr. For BOLD one
                    sample a volume. High gamma without responses gets them from the signal.
times.npy           (time,), s: when each sample of the signal was taken, in place of "sampling_rate".
audio.wav           one channel, on the words' clock.
==================  ==================================================================================================
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr
from scipy.io import wavfile

from brainalign.datasets._tables import (
    SETTINGS,
    UNKNOWN,
    as_is,
    listed,
    new_folder,
    read_array,
    read_settings,
    read_table,
    to_numbers,
)
from brainalign.datasets.types import (
    CHANNEL_COLUMNS,
    WORD_COLUMNS,
    Audio,
    Listening,
    Modality,
    audio_problems,
    channel_problems,
    text_problems,
    time_problems,
    timing_problems,
    value_problems,
)

KEYS = ("name", "modality", "sampling_rate", "start", "space")
SPACES = ("MNI152", "fsaverage")
COORDINATES = ["x", "y", "z"]
SUFFIXES = {"responses": (".npy", ".zarr", ".csv"), "signal": (".npy", ".zarr")}


def load_folder(folder: str | os.PathLike[str]) -> Listening:
    """Your own recordings, from a folder with the layout above (see the module's description, or the README).

    Parameters
    ----------
    folder : path

    Returns
    -------
    Listening
        Coordinates are in fsaverage's space (mm). Region, hemisphere and distance are filled in from them where the
        table of channels lacks them (`cortex.locate`). High gamma given as a signal alone gets `responses`, the mean
        over repeats in 100 ms around the centre of each word (`signals.word_responses`).

    Raises
    ------
    ValueError
        If anything is wrong; the message lists every problem, as `check` does.
    """
    data, problems = read_folder(folder)
    if problems or data is None:
        raise ValueError(f"{folder}: {len(problems)} problem(s)\n" + "\n".join(problems))
    return data


def save_listening(data: Listening, folder: str | os.PathLike[str]) -> Path:
    """Write a data set in the layout that `load_folder` reads.

    The folder appears when all of it has been written. What was planted (`truth`) is not part of a recording and is
    left out.

    Parameters
    ----------
    data : Listening
        Its coordinates in fsaverage's space, as all loaders give them.
    folder : path
        Must not exist yet, or be empty.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder holds something.
    ValueError
        For a sound whose rate is not a whole number of Hz, which WAV files cannot hold.
    """
    if data.audio is not None and data.audio.rate != round(data.audio.rate):
        raise ValueError(f"audio: expected a whole number of Hz, got {data.audio.rate}; resample it.")
    with new_folder(folder) as part:
        settings = {"name": data.name, "modality": data.modality, "space": "fsaverage"}
        (part / "dataset.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        data.words.to_csv(part / "words.csv", index=False)
        data.channels.rename_axis("channel").to_csv(part / "channels.csv")
        for field in ("responses", "signal"):
            if getattr(data, field) is not None:
                np.save(part / f"{field}.npy", getattr(data, field).to_numpy(), allow_pickle=False)
        if data.signal is not None:
            np.save(part / "times.npy", data.signal["time"].to_numpy(), allow_pickle=False)
        if data.audio is not None:
            wavfile.write(part / "audio.wav", round(data.audio.rate), np.asarray(data.audio.samples, dtype="float32"))
    return Path(folder)


def read_folder(folder: str | os.PathLike[str]) -> tuple[Listening | None, list[str]]:
    """The data set, or None, and what is wrong with it: each part is checked as far as the others allow."""
    folder = Path(folder)
    if not folder.is_dir():
        return None, [f"{folder}: no such folder."]
    problems: list[str] = []
    settings = _settings(folder, problems)
    words = _words(folder, settings, problems)
    channels = _channels(folder, settings, problems)
    responses, signal = (_array(folder, field, channels, settings, problems) for field in SUFFIXES)
    times, audio = _times(folder, signal, settings, problems), _audio(folder, problems)
    if not _files(folder, "responses") and not _files(folder, "signal"):
        problems.append("responses, signal: neither is here; put responses.npy or signal.npy into the folder")
    if words is not None:
        if responses is not None and len(responses) != len(words):
            problems.append(
                f"responses: expected {len(words)} rows, one for each word of words.csv, got {len(responses)}; give "
                "every word a row, NaN for an ERP that was not measured"
            )
        timed = words[np.isfinite(words[["onset", "offset"]].to_numpy()).all(1)]
        if times is not None and len(timed):
            problems += [f"signal: {problem}" for problem in time_problems(times, timed)]
        if audio is not None and len(timed):
            problems += [f"audio.wav: {problem}" for problem in audio_problems(audio, timed)]
    data = None
    if not problems:
        try:
            data = _listening(settings, words, channels, responses, signal, times, audio)
        except ValueError as error:  # what only all parts together show
            problems.append(str(error))
    return data, listed(problems)


def _files(folder: Path, field: str) -> list[Path]:
    """The files that hold responses or signal: one, if all is well."""
    return [folder / f"{field}{suffix}" for suffix in SUFFIXES[field] if (folder / f"{field}{suffix}").exists()]


def _listening(
    settings: dict, words: pd.DataFrame, channels: pd.DataFrame, responses: Any, signal: Any, times: Any, audio: Any
) -> Listening:
    coords = {"channel": channels.index.to_numpy()}
    if responses is not None:
        responses = xr.DataArray(responses, dims=("word", "channel"), coords=coords)
    if signal is not None:
        dims = ("repeat", "time", "channel")[-signal.ndim :]
        signal = xr.DataArray(signal, dims=dims, coords={"time": times, **coords})
        if responses is None and settings["modality"] == "high-gamma":
            from brainalign.signals import word_responses  # on use, as is `cortex`: scipy takes a second to load

            mean = signal.mean("repeat") if "repeat" in dims else signal
            responses = word_responses(mean, words).transpose("word", "channel")
    return Listening(
        name=settings["name"],
        modality=settings["modality"],
        words=words.reset_index(drop=True),
        channels=channels,
        responses=responses,
        signal=signal,
        audio=audio,
    )


# ----------------------------------------------------------------------------------------------------- settings, tables


def _settings(folder: Path, problems: list[str]) -> dict:
    file, example = SETTINGS, '{"name": "mine", "modality": "high-gamma"}'
    settings = read_settings(folder, KEYS, example, problems)
    if settings is None:
        return {}
    for key in ("name", "modality"):
        if key not in settings:
            problems.append(f"{file}: {key!r} is missing; expected something like {example}")
    name, modality = settings.get("name", "mine"), settings.get("modality", "erp")
    if not (isinstance(name, str) and name.strip()):
        problems.append(f"{file}: 'name' must be a text, got {name!r}")
    if modality not in get_args(Modality):
        problems.append(f"{file}: 'modality' must be one of {list(get_args(Modality))}, got {modality!r}")
    if settings.get("space", SPACES[0]) not in SPACES:
        problems.append(f"{file}: 'space' must be one of {list(SPACES)}, got {settings['space']!r}")
    for key, least in (("sampling_rate", 0.0), ("start", -np.inf)):
        value = settings.get(key, 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least < value < np.inf:
            positive = "positive " if key == "sampling_rate" else ""
            problems.append(f"{file}: {key!r} must be a {positive}number, got {value!r}")
            settings.pop(key)
    return settings


def _words(folder: Path, settings: dict, problems: list[str]) -> pd.DataFrame | None:
    file = "words.csv"
    table = read_table(folder, file, WORD_COLUMNS, problems)
    if table is None:
        return None
    words = table[["word", "passage"]].astype(str)
    readable = np.ones(len(table), dtype=bool)
    for place, column in enumerate(("onset", "offset"), start=1):
        words.insert(place, column, to_numbers(table, column, file, problems))
        readable &= words[column].notna() | table[column].str.strip().str.lower().isin(UNKNOWN)
    for column in table.columns.difference(WORD_COLUMNS, sort=False):
        words[column] = as_is(table, column)
    untimed = settings.get("modality") == "erp" and not _files(folder, "signal") and not (folder / "audio.wav").exists()
    # Times that are no numbers have been named: the other checks of times see the table without them.
    found = [*text_problems(words), *timing_problems(words[readable], untimed=untimed)]
    problems += [f"{file}: {problem}" for problem in found]
    return words


def _channels(folder: Path, settings: dict, problems: list[str]) -> pd.DataFrame | None:
    file = "channels.csv"
    table = read_table(folder, file, ("channel", "subject"), problems)
    if table is None:
        return None
    channels = pd.DataFrame(index=table.index)
    for column in ("subject", "region", "hemisphere"):
        channels[column] = table[column].str.strip().astype(str) if column in table else ""
    for column in (*COORDINATES, "distance_pmc"):
        channels[column] = to_numbers(table, column, file, problems) if column in table else np.nan
    for column in table.columns.difference(["channel", *CHANNEL_COLUMNS], sort=False):
        channels[column] = as_is(table, column)
    names = table["channel"].str.strip()

    def report(which: Any, what: str) -> None:
        which = np.asarray(which)
        if which.any():
            rows = [f"{names.iloc[k]!r} in row {table.index[k]}" for k in np.flatnonzero(which)[:3]]
            more = f" and {which.sum() - 3} more" if which.sum() > 3 else ""
            problems.append(f"{file}: {what}: {', '.join(rows)}{more}")

    report(names == "", "channels without a name; give each its own")
    report(channels["subject"] == "", "channels without a subject; name the person, who may be the same for all")
    hemisphere = channels["hemisphere"]
    report(~hemisphere.isin(["left", "right", ""]), "hemisphere must be left, right or empty")
    report(channels["distance_pmc"] < 0, "distance_pmc must not be negative")
    cells = table.reindex(columns=COORDINATES, fill_value="").apply(lambda column: column.str.strip().str.lower())
    given = ~cells.isin(UNKNOWN).to_numpy()
    report(given.any(1) & ~given.all(1), "x, y and z must be given together, or all be left empty")
    # A centimetre either way is the midline, where a depth electrode may cross.
    report(
        ((hemisphere == "left") & (channels["x"] > 10)) | ((hemisphere == "right") & (channels["x"] < -10)),
        "hemisphere and the sign of x disagree; x is negative on the left",
    )
    channels.index = pd.Index(names.astype(str), name="channel")
    problems += [f"{file}: {problem}" for problem in channel_problems(channels)]
    complete = np.isfinite(channels[COORDINATES].to_numpy()).all(1)
    tiny = complete & (channels[COORDINATES].abs() < 1).all(axis=1).to_numpy()
    report(tiny, "x, y, z lie within 1 mm of the origin; give mm, not metres, or leave unknown coordinates empty")
    if complete.any() and settings.get("space", SPACES[0]) in SPACES:
        if settings.get("space", SPACES[0]) == "MNI152":
            from brainalign import cortex

            channels[COORDINATES] = cortex.mni152_to_fsaverage(channels[COORDINATES])
        _locate(channels, complete, report)
    return channels


def _locate(channels: pd.DataFrame, complete: np.ndarray, report: Callable) -> None:
    """Fill in what coordinates tell, in place."""
    lacking = (
        complete & ((channels[["region", "hemisphere"]] == "").any(axis=1) | channels["distance_pmc"].isna()).to_numpy()
    )
    if not lacking.any():
        return
    from brainalign import cortex

    found = cortex.locate(channels.loc[lacking, COORDINATES].to_numpy())
    outside = lacking.copy()
    outside[lacking] = found["vertex"].isna()
    report(outside, "x, y, z lie more than 20 mm outside the brain; give mm, or leave unknown coordinates empty")
    for column in ("region", "hemisphere", "distance_pmc"):
        empty = channels[column].isna() | (channels[column] == "")
        fill = lacking & empty.to_numpy()
        channels.loc[fill, column] = found[column].to_numpy()[fill[lacking]]


# -------------------------------------------------------------------------------------------------------------- arrays


def _array(
    folder: Path, field: str, channels: pd.DataFrame | None, settings: dict, problems: list[str]
) -> np.ndarray | None:
    """Responses or signal, None where they are not there or cannot be used."""
    paths, names = _files(folder, field), None if channels is None else channels.index
    if len(paths) > 1:
        problems.append(f"{field}: {' and '.join(path.name for path in paths)} are both here; keep one")
    if len(paths) != 1:
        return None
    (path,) = paths
    values = _csv_responses(folder, names, problems) if path.suffix == ".csv" else read_array(path, problems)
    if values is None:
        return None
    dims = "(word, channel)" if field == "responses" else "(time, channel) or (repeat, time, channel)"
    if values.ndim not in ((2,) if field == "responses" else (2, 3)) or 0 in values.shape:
        problems.append(f"{path.name}: expected an array of shape {dims}, got {values.shape}")
        return None
    if names is None:
        return values
    if values.shape[-1] != len(names):
        turned = "transpose it" if values.shape[-2] == len(names) else "give every channel its column, in that order"
        problems.append(
            f"{path.name}: expected an array of shape {dims} with the {len(names)} channels of channels.csv, got "
            f"{values.shape}; {turned}"
        )
        return None
    found = value_problems(values, names, nan_ok=field == "responses" and settings.get("modality") == "erp")
    problems += [f"{path.name}: {problem}" for problem in found]
    return values


def _csv_responses(folder: Path, names: pd.Index | None, problems: list[str]) -> np.ndarray | None:
    file = "responses.csv"
    table = read_table(folder, file, () if names is None else tuple(names), problems)
    if table is None:
        return None
    columns = list(table.columns if names is None else names)
    more = [column for column in table.columns if column not in columns]
    if more:
        problems.append(f"{file}: columns that channels.csv does not name: {more[:5]}; every column is one channel")
    wrong: list[str] = []
    values = np.column_stack([to_numbers(table, column, file, wrong) for column in columns])
    problems += wrong[:5] + [f"{file}: the same in {len(wrong) - 5} more columns"] * (len(wrong) > 5)
    return values


def _times(folder: Path, signal: np.ndarray | None, settings: dict, problems: list[str]) -> np.ndarray | None:
    path, rate = folder / "times.npy", settings.get("sampling_rate")
    if _files(folder, "signal") and not path.exists() and rate is None:
        problems.append("dataset.json: 'sampling_rate' (Hz) is missing, which the signal needs without times.npy")
        return None
    if signal is None:
        return None
    n_times = signal.shape[-2]
    if not path.exists():
        return np.arange(n_times) / settings["sampling_rate"] + settings.get("start", 0.0)
    times = read_array(path, problems)
    if times is None:
        return None
    if times.shape != (n_times,):
        problems.append(f"times.npy: expected shape ({n_times},), one time a sample of the signal, got {times.shape}")
        return None
    if rate is not None and n_times > 1 and abs(np.median(np.diff(times)) * rate - 1) > 0.01:
        problems.append(
            f"times.npy: its samples are {np.median(np.diff(times)):.6g} s apart, but dataset.json says {rate} Hz; "
            "remove one of the two"
        )
    return times.astype(float)


def _audio(folder: Path, problems: list[str]) -> Audio | None:
    path = folder / "audio.wav"
    if not path.exists():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of metadata
            rate, samples = wavfile.read(path)
    except Exception as error:  # a damaged file can make its reader raise anything
        problems.append(f"audio.wav: cannot be read ({error}); save it as uncompressed WAV")
        return None
    if samples.ndim != 1 or not len(samples):
        problems.append(f"audio.wav: expected one channel, got shape {samples.shape}; mix it down to mono")
        return None
    if samples.dtype.kind == "u":  # 8 bits
        samples = (samples.astype("float32") - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples.astype("float32") / np.iinfo(samples.dtype).max
    return Audio(samples, float(rate))
