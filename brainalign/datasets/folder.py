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

import csv
import io
import json
import os
import shutil
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from scipy.io import wavfile

from brainalign import cortex
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
from brainalign.signals import word_responses

KEYS = ("name", "modality", "sampling_rate", "start", "space")
SPACES = ("MNI152", "fsaverage")
COORDINATES = ["x", "y", "z"]
UNKNOWN = ("", "nan", "na", "n/a")
"""What a cell that holds no number may say, in any case."""

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
        If anything is wrong; the message lists every problem, as `check_folder` does.
    """
    data, problems = read_folder(folder)
    if problems:
        raise ValueError(f"{folder}: {len(problems)} problem(s)\n" + "\n".join(problems))
    return data


def check_folder(folder: str | os.PathLike[str]) -> list[str]:
    """Everything that keeps a folder from being loaded by `load_folder`.

    Parameters
    ----------
    folder : path

    Returns
    -------
    list of str
        One line a problem: the file, the column or row (as a spreadsheet numbers rows, the header being row 1), what
        was expected, what came and what to do. Empty when the folder is sound.
    """
    return read_folder(folder)[1]


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
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"folder: {folder} exists and is not an empty folder; remove it or choose another name.")
    if data.audio is not None and data.audio.rate != round(data.audio.rate):
        raise ValueError(f"audio: expected a whole number of Hz, got {data.audio.rate}; resample it.")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
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
        if folder.exists():
            folder.rmdir()  # empty: not everywhere can it be replaced
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


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
    return data, [" ".join(problem.split()).rstrip(".") + "." for problem in problems]


def _files(folder: Path, field: str) -> list[Path]:
    """The files that hold responses or signal: one, if all is well."""
    return [folder / f"{field}{suffix}" for suffix in SUFFIXES[field] if (folder / f"{field}{suffix}").exists()]


def _listening(settings: dict, words, channels, responses, signal, times, audio) -> Listening:
    coords = {"channel": channels.index.to_numpy()}
    if responses is not None:
        responses = xr.DataArray(responses, dims=("word", "channel"), coords=coords)
    if signal is not None:
        dims = ("repeat", "time", "channel")[-signal.ndim :]
        signal = xr.DataArray(signal, dims=dims, coords={"time": times, **coords})
        if responses is None and settings["modality"] == "high-gamma":
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
    file = "dataset.json"
    example = '{"name": "mine", "modality": "high-gamma"}'
    try:
        settings = json.loads((folder / file).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        problems.append(f"{file}: missing; write one such as {example}")
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{file}: cannot be read as JSON ({error}); expected something like {example}")
        return {}
    if not isinstance(settings, dict):
        problems.append(f"{file}: expected an object such as {example}, got {settings!r}")
        return {}
    for key in settings:
        if key not in KEYS:
            close = get_close_matches(key, KEYS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"{file}: unknown key {key!r}; expected some of {list(KEYS)}{hint}")
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


def _table(folder: Path, file: str, needed: tuple[str, ...], problems: list[str]) -> pd.DataFrame | None:
    """A CSV file as text, its index the row numbers of a spreadsheet; None if it cannot be used at all."""
    try:
        text = (folder / file).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        problems.append(f"{file}: missing; expected a table with the columns {', '.join(needed)}")
        return None
    except UnicodeDecodeError as error:
        problems.append(f"{file}: not UTF-8 at byte {error.start}; save it as CSV in UTF-8")
        return None
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows, numbers = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                numbers.append(reader.line_num)
    except csv.Error as error:
        problems.append(f"{file}: row {reader.line_num} cannot be read ({error}); check its quotation marks")
        return None
    if not rows:
        problems.append(f"{file}: empty; expected a table with the columns {', '.join(needed)}")
        return None
    columns = [cell.strip() for cell in rows[0]]
    uneven = [(number, len(row)) for number, row in zip(numbers[1:], rows[1:], strict=True) if len(row) != len(columns)]
    if uneven:
        problems.append(
            f"{file}: {len(uneven)} row(s) do not have {len(columns)} cells as the header has, first row "
            f"{uneven[0][0]} with {uneven[0][1]}; put text that holds a {delimiter!r} in quotation marks"
        )
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    missing = [column for column in needed if column not in columns]
    if repeated:
        problems.append(f"{file}: the header repeats {repeated}; give every column a name of its own")
    if missing:
        problems.append(f"{file}: missing the column(s) {missing}; the header has {columns}")
    if len(rows) == 1:
        problems.append(f"{file}: has a header and no rows")
    even = [(number, row) for number, row in zip(numbers[1:], rows[1:], strict=True) if len(row) == len(columns)]
    if repeated or missing or not even:
        return None
    table = pd.DataFrame([row for _, row in even], columns=columns, index=[number for number, _ in even], dtype=object)
    if delimiter == ";":  # a spreadsheet set to a language with decimal commas
        table.attrs["decimal"] = ","
    return table


def _numbers(table: pd.DataFrame, column: str, file: str, problems: list[str]) -> np.ndarray:
    """A column as numbers; unknown ones are NaN. Other text is a problem, and NaN too."""
    values, wrong, comma = np.full(len(table), np.nan), [], table.attrs.get("decimal") == ","
    for place, cell in enumerate(table[column]):
        cell = cell.strip()
        if cell.lower() in UNKNOWN:
            continue
        try:
            # Python would read 1_000 as a number, which in a table is a name.
            values[place] = float((cell.replace(",", ".") if comma else cell).replace("_", "?"))
        except ValueError:
            wrong.append(f"{cell!r} in row {table.index[place]}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        problems.append(
            f"{file}, column {column}: expected numbers, got {', '.join(wrong[:3])}{more}; leave unknown cells empty"
        )
    return values


def _as_is(table: pd.DataFrame, column: str) -> pd.Series:
    """A further column: truth values or numbers where all its cells are, else text."""
    cells = table[column].str.strip()
    if cells.isin(["True", "False"]).all():
        return cells == "True"
    wrong: list[str] = []
    values = _numbers(table, column, "", wrong)
    if wrong or np.isnan(values).all():
        return table[column].astype(str)
    whole = np.isfinite(values).all() and (values == np.round(values)).all() and not cells.str.contains(r"[.,e]").any()
    return pd.Series(values.astype(int) if whole else values, index=table.index)


def _words(folder: Path, settings: dict, problems: list[str]) -> pd.DataFrame | None:
    file = "words.csv"
    table = _table(folder, file, WORD_COLUMNS, problems)
    if table is None:
        return None
    words = table[["word", "passage"]].astype(str)
    readable = np.ones(len(table), dtype=bool)
    for place, column in enumerate(("onset", "offset"), start=1):
        words.insert(place, column, _numbers(table, column, file, problems))
        readable &= words[column].notna() | table[column].str.strip().str.lower().isin(UNKNOWN)
    for column in table.columns.difference(WORD_COLUMNS, sort=False):
        words[column] = _as_is(table, column)
    untimed = settings.get("modality") == "erp" and not _files(folder, "signal") and not (folder / "audio.wav").exists()
    # Times that are no numbers have been named: the other checks of times see the table without them.
    found = [*text_problems(words), *timing_problems(words[readable], untimed=untimed)]
    problems += [f"{file}: {problem}" for problem in found]
    return words


def _channels(folder: Path, settings: dict, problems: list[str]) -> pd.DataFrame | None:
    file = "channels.csv"
    table = _table(folder, file, ("channel", "subject"), problems)
    if table is None:
        return None
    channels = pd.DataFrame(index=table.index)
    for column in ("subject", "region", "hemisphere"):
        channels[column] = table[column].str.strip().astype(str) if column in table else ""
    for column in (*COORDINATES, "distance_pmc"):
        channels[column] = _numbers(table, column, file, problems) if column in table else np.nan
    for column in table.columns.difference(["channel", *CHANNEL_COLUMNS], sort=False):
        channels[column] = _as_is(table, column)
    names = table["channel"].str.strip()

    def report(which, what: str) -> None:
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
            channels[COORDINATES] = cortex.mni152_to_fsaverage(channels[COORDINATES])
        _locate(channels, complete, report)
    return channels


def _locate(channels: pd.DataFrame, complete: np.ndarray, report) -> None:
    """Fill in what coordinates tell, in place."""
    lacking = (
        complete & ((channels[["region", "hemisphere"]] == "").any(axis=1) | channels["distance_pmc"].isna()).to_numpy()
    )
    if not lacking.any():
        return
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
    values = _csv_responses(folder, names, problems) if path.suffix == ".csv" else _numeric(path, problems)
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


def _numeric(path: Path, problems: list[str]) -> np.ndarray | None:
    """Floating-point numbers of a .npy file or zarr array. Pickled objects, which could run code, are never opened."""
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            described = [path / name for name in (".zarray", "zarr.json") if (path / name).exists()]
            # Read as JSON, where a codec's name cannot hide behind escapes.
            if any("pickle" in str(json.loads(file.read_text(encoding="utf-8"))) for file in described):
                raise ValueError("it holds pickled objects")
            array = zarr.open_array(str(path), mode="r")
        if not isinstance(array, np.ndarray | zarr.Array) or array.dtype.kind not in "fiu":
            raise ValueError(f"it holds {getattr(array, 'dtype', 'several arrays')}")
        array = np.asarray(array[...])
    except Exception as error:  # a damaged file can make its reader raise anything
        problems.append(
            f"{path.name}: cannot be read as an array of numbers ({type(error).__name__}: {error}); write it with "
            f"{'numpy.save' if path.suffix == '.npy' else 'zarr.save_array'}"
        )
        return None
    return array if array.dtype.kind == "f" else array.astype("float64")


def _csv_responses(folder: Path, names: pd.Index | None, problems: list[str]) -> np.ndarray | None:
    file = "responses.csv"
    table = _table(folder, file, () if names is None else tuple(names), problems)
    if table is None:
        return None
    columns = list(table.columns if names is None else names)
    more = [column for column in table.columns if column not in columns]
    if more:
        problems.append(f"{file}: columns that channels.csv does not name: {more[:5]}; every column is one channel")
    wrong: list[str] = []
    values = np.column_stack([_numbers(table, column, file, wrong) for column in columns])
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
        return np.arange(n_times) / rate + settings.get("start", 0.0)
    times = _numeric(path, problems)
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
