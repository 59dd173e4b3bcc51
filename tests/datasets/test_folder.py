"""Folders of one's own recordings: what is written comes back, and whatever is wrong is listed, all of it at once."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.io import wavfile

from brainalign import cortex
from brainalign.book import cli
from brainalign.datasets import Audio, Listening, check, load_listening
from brainalign.signals import word_responses

WORDS = ["word", "onset", "offset", "passage"]
NAMES = ["s1/a", "s1/b", "s2/a"]


def make(modality="high-gamma", repeats=False, **changes) -> Listening:
    rng = np.random.default_rng(0)
    times = np.arange(500) / 100 + 0.25
    shape = (2, 500, 3) if repeats else (500, 3)
    signal = xr.DataArray(
        rng.standard_normal(shape).astype("float32"),
        dims=("repeat", "time", "channel")[-len(shape) :],
        coords={"time": times, "channel": NAMES},
    )
    onsets = np.array([0.5, 1.0, 1.5, 3.0, 3.7])
    fields = {
        "name": "mine",
        "modality": modality,
        "words": pd.DataFrame(
            {
                "word": ["null", 'say "no",', "NA", "¿qué?", "nan"],
                "onset": onsets,
                "offset": onsets + 0.31,
                "passage": ["01", "01", "01", "two; three", "two; three"],
                "item": [3, 3, 3, 4, 4],
                "is_noun": [False, True, False, False, True],
                "cloze": [np.nan, 0.1, np.nan, np.nan, 1.0],
            }
        ),
        "channels": pd.DataFrame(
            {
                "subject": ["01", "01", "02"],
                "region": ["HG", "", "STG"],
                "hemisphere": ["left", "", "right"],
                "x": [-45.123456789, np.nan, 60.0],
                "y": [-20.0, np.nan, -20.0],
                "z": [8.0, np.nan, 3.0],
                "distance_pmc": [1 / 3, np.nan, 31.0],
                "lab": ["x", "y", "x"],
            },
            index=pd.Index(NAMES, name="channel"),
        ),
        "signal": signal,
        "responses": xr.DataArray(rng.standard_normal((5, 3)), dims=("word", "channel"), coords={"channel": NAMES}),
        "audio": Audio(rng.uniform(-1, 1, 6 * 8000).astype("float32"), 8000.0),
    }
    return Listening(**{**fields, **changes})


@pytest.fixture
def folder(tmp_path) -> Path:
    return make().save(tmp_path / "mine")


def edit(path: Path, *replacements: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def settings(folder: Path, **changes) -> None:
    path = folder / "dataset.json"
    both = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in both.items() if value is not None}), encoding="utf-8")


def assert_same(one: Listening, other: Listening) -> None:
    assert (one.name, one.modality) == (other.name, other.modality)
    pd.testing.assert_frame_equal(one.words, other.words, check_dtype=False)
    pd.testing.assert_frame_equal(one.channels, other.channels, check_dtype=False)
    for field in ("responses", "signal"):
        left, right = getattr(one, field), getattr(other, field)
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            xr.testing.assert_identical(left, right)
    assert (one.audio is None) == (other.audio is None)
    if one.audio is not None:
        assert one.audio.rate == other.audio.rate
        np.testing.assert_array_equal(one.audio.samples, other.audio.samples)


# ----------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"repeats": True},
        {"signal": None, "audio": None},
        {"modality": "bold", "responses": None},
        {"modality": "erp", "signal": None, "audio": None, "words": make().words.assign(onset=np.nan, offset=np.nan)},
    ],
)
def test_what_is_written_comes_back_bit_by_bit(tmp_path, changes):
    data = make(**changes)
    assert check(data.save(tmp_path / "deep" / "mine")) == []
    assert_same(load_listening(tmp_path / "deep" / "mine"), data)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["mine"]


def test_other_formats_give_the_same(folder):
    data = load_listening(folder)
    responses, times = (np.load(folder / f"{name}.npy") for name in ("responses", "times"))
    for name in ("responses", "times"):
        (folder / f"{name}.npy").unlink()
    # Columns in another order, decimal commas, a byte-order mark, Windows line ends: what a spreadsheet may write.
    table = pd.DataFrame(responses, columns=NAMES)[NAMES[::-1]]
    table.to_csv(
        folder / "responses.csv", index=False, sep=";", decimal=",", encoding="utf-8-sig", lineterminator="\r\n"
    )
    for name in ("words", "channels"):
        table = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, dtype={"subject": str, "passage": str})
        table["x" if name == "channels" else "cloze"] = pd.to_numeric(table["x" if name == "channels" else "cloze"])
        table.to_csv(folder / f"{name}.csv", index=False, sep=";", decimal=",", encoding="utf-8-sig")
    assert "-45,123456789" in (folder / "channels.csv").read_text(encoding="utf-8-sig")
    settings(folder, sampling_rate=100, start=0.25)
    assert check(folder) == []
    again = load_listening(folder)
    np.testing.assert_allclose(again.signal["time"], times, atol=1e-12)
    again = Listening(**{**vars(again), "signal": again.signal.assign_coords(time=times)})
    assert_same(again, data)


def test_what_is_missing_is_found_from_the_rest(folder):
    (folder / "responses.npy").unlink()
    settings(folder, space=None)  # MNI152, then
    table = pd.read_csv(folder / "channels.csv", dtype=str)
    table[["channel", "subject", "x", "y", "z"]].to_csv(folder / "channels.csv", index=False)
    data = load_listening(folder)
    np.testing.assert_array_equal(data.responses, word_responses(data.signal, data.words).transpose("word", "channel"))
    moved = cortex.mni152_to_fsaverage(table[["x", "y", "z"]].astype(float))
    found = cortex.locate(moved)
    np.testing.assert_allclose(data.channels[["x", "y", "z"]], moved)
    np.testing.assert_allclose(data.channels["distance_pmc"], found["distance_pmc"])
    assert data.channels["hemisphere"].tolist() == ["left", "", "right"]
    assert data.channels["region"].tolist() == found["region"].tolist()


def test_what_is_given_is_not_replaced(folder):
    edit(folder / "channels.csv", (",31.0,", ",,"))
    channels = load_listening(folder).channels
    assert channels["region"].tolist() == ["HG", "", "STG"] and channels["distance_pmc"].iloc[0] == 1 / 3
    expected = cortex.locate(np.array([[60.0, -20.0, 3.0]]))["distance_pmc"].item()
    assert channels["distance_pmc"].iloc[2] == pytest.approx(expected)


def test_repeats_are_averaged_for_responses(tmp_path):
    data = make(repeats=True)
    folder = data.save(tmp_path / "mine")
    (folder / "responses.npy").unlink()
    expected = word_responses(data.signal.mean("repeat"), data.words)
    np.testing.assert_array_equal(load_listening(folder).responses, expected)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8"])
def test_sound_is_scaled(folder, dtype):
    wave = np.sin(np.arange(48000) / 10)
    top = np.iinfo(dtype).max
    samples = (wave * 127 + 128 if dtype == "uint8" else wave * top).astype(dtype)
    wavfile.write(folder / "audio.wav", 8000, samples)
    np.testing.assert_allclose(load_listening(folder).audio.samples, wave, atol=0.02)  # 8 bits are no finer


def test_saving_never_overwrites_and_leaves_nothing_half_done(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    folder = make().save(tmp_path / "empty")
    with pytest.raises(FileExistsError, match="exists and is not an empty folder"):
        make().save(folder)
    with pytest.raises(ValueError, match="rate in Hz: expected a whole number of at least 1, got 8000.5"):
        make(audio=Audio(np.ones(60000), 8000.5)).save(tmp_path / "other")

    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space"):
        make().save(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


# ------------------------------------------------------------------------------------------------------------- problems


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


def save(folder: Path, name: str, array) -> None:
    np.save(folder / name, array)


def remove(folder: Path, name: str) -> None:
    (folder / name).unlink()


def noise(*shape) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape)


def with_value(folder: Path, name: str, value: float, *place) -> None:
    array = np.load(folder / name)
    array[place] = value
    np.save(folder / name, array)


DEFECTS = {
    "no settings": (lambda f: remove(f, "dataset.json"), r"dataset.json: expected a JSON object such as \{"),
    "broken settings": (lambda f: edit(f / "dataset.json", ("{", "")), "dataset.json: expected a JSON object"),
    "settings are a list": (
        lambda f: (f / "dataset.json").write_text("[1]"),
        r"dataset.json: expected a JSON object .*got \[1\]",
    ),
    "unknown modality": (lambda f: settings(f, modality="meg"), "modality: expected one of high-gamma, .*got 'meg'"),
    "no modality": (lambda f: settings(f, modality=None), "modality: expected one of .*got None"),
    "empty name": (lambda f: settings(f, name=" "), "name: expected a text, got ' '"),
    "misspelt key": (
        lambda f: settings(f, samplingrate=100),
        "unknown key 'samplingrate'.*did you mean 'sampling_rate'",
    ),
    "unknown space": (
        lambda f: settings(f, space="tal"),
        "dataset.json: space: expected one of 'MNI152', 'fsaverage', got 'tal'",
    ),
    "negative rate": (lambda f: settings(f, sampling_rate=-1), "sampling_rate: expected a number above 0, got -1"),
    "start is text": (lambda f: settings(f, start="0"), "start: expected a number .*, got '0'"),
    "no words": (lambda f: remove(f, "words.csv"), "words.csv: missing; expected a table with the columns word, onset"),
    "empty words": (lambda f: (f / "words.csv").write_text(""), "words.csv: has no rows; expected a table"),
    "header alone": (lambda f: (f / "words.csv").write_text("word,onset,offset,passage\n"), "words.csv: has no rows"),
    "not UTF-8": (lambda f: (f / "words.csv").write_bytes(b"word,on\xe9"), "words.csv: not UTF-8 at byte 7"),
    "missing columns": (
        lambda f: edit(f / "words.csv", ("onset", "start"), ("passage", "text")),
        r"words.csv: missing the column\(s\) \['onset', 'passage'\]; the header has \['word', 'start'",
    ),
    "repeated column": (lambda f: edit(f / "words.csv", ("cloze", "onset")), r"the header repeats \['onset'\]"),
    "uneven row": (lambda f: edit(f / "words.csv", ("NA,", "NA,,")), r"1 row\(s\) do not have 7 cells.*row 4 with 8"),
    "all rows uneven": (
        lambda f: (f / "words.csv").write_text(",".join(WORDS) + "\na,0,1\n"),
        "1 row.s. do not have 4 c",
    ),
    "open quotation": (lambda f: edit(f / "words.csv", ("nan,", '"nan,')), "words.csv: row 6 cannot be read"),
    "time is text": (lambda f: edit(f / "words.csv", (",1.5,", ",later,")), "column onset: .*got 'later' in row 4"),
    "thousands": (lambda f: edit(f / "words.csv", (",1.5,", ",1_5,")), "column onset: .*got '1_5' in row 4"),
    "decimal comma": (lambda f: edit(f / "words.csv", (",1.5,", ',"1,5",')), "column onset: .*got '1,5' in row 4"),
    "no time": (lambda f: edit(f / "words.csv", (",1.5,", ",,")), r"no finite number of s, first row 4 \(NA, nan"),
    "no text": (lambda f: edit(f / "words.csv", ("NA,", ",")), r"words: 1 row\(s\) have no text, first row 4"),
    "times reversed": (
        lambda f: edit(f / "words.csv", (",1.5,", ",1.9,")),
        "an offset that is not after onset, first row 4",
    ),
    "order": (
        lambda f: edit(f / "words.csv", (",1.5,", ",0.9,")),
        r"start before the word above, first row 4 \(NA, 0.9,",
    ),
    "passage returns": (lambda f: edit(f / "words.csv", ("1.31,01", "1.31,02")), "passage must be contiguous"),
    "words too late": (
        lambda f: edit(f / "words.csv", (",4.01,", ",9.0,")),
        "signal: words run from .* beyond the rec",
    ),
    "words past sound": (lambda f: edit(f / "words.csv", (",4.01,", ",9.0,")), "audio: it lasts 6.00 s, but words"),
    "no channels": (
        lambda f: remove(f, "channels.csv"),
        "channels.csv: missing; expected a table with the columns chan",
    ),
    "no subject": (
        lambda f: edit(f / "channels.csv", ("subject", "who")),
        r"channels.csv: missing the column\(s\) \['su",
    ),
    "blank subject": (
        lambda f: edit(f / "channels.csv", (",02,", ",,")),
        r"have no subject, first row 4 \(s2/a,",
    ),
    "blank name": (lambda f: edit(f / "channels.csv", ("s2/a", "")), "have no channel name, first row 4"),
    "names repeat": (
        lambda f: edit(f / "channels.csv", ("s1/b", "s1/a")),
        "channels: names: expected each once, got s1/a",
    ),
    "hemisphere": (
        lambda f: edit(f / "channels.csv", ("left", "L")),
        r"other hemisphere than left, right or nothing, first row 2 \(s1/a, 01, HG, L",
    ),
    "sides disagree": (
        lambda f: edit(f / "channels.csv", ("left", "right")),
        "hemisphere that disagrees with the sign of x, first row 2",
    ),
    "half a place": (
        lambda f: edit(f / "channels.csv", (",8.0,", ",,")),
        r"have some of x, y and z, first row 2 \(s1/a",
    ),
    "infinite place": (
        lambda f: edit(f / "channels.csv", (",8.0,", ",inf,")),
        "channels: z: expected numbers in mm",
    ),
    "place is text": (
        lambda f: edit(f / "channels.csv", (",8.0,", ",deep,")),
        "column z: expected numbers, got 'deep'",
    ),
    "negative distance": (
        lambda f: edit(f / "channels.csv", (",31.0,", ",-3,")),
        "have a negative distance_pmc, first row 4",
    ),
    "metres": (
        lambda f: edit(f / "channels.csv", ("-45.123456789,-20.0,8.0", "-0.045,-0.02,0.008")),
        "within 1 mm of the origin, first row 2.*give mm, not metres",
    ),
    "outside": (
        lambda f: edit(f / "channels.csv", (",60.0,", ",600.0,"), (",31.0,", ",,")),
        "more than 20 mm outside the brain, first row 4",
    ),
    "no arrays": (
        lambda f: [remove(f, n) for n in ("signal.npy", "responses.npy")],
        "responses, signal: expected at least one of the two, got neither",
    ),
    "two arrays": (
        lambda f: shutil.copy(f / "responses.npy", f / "responses.csv"),
        "responses.npy and responses.csv are both here",
    ),
    "few rows": (
        lambda f: save(f, "responses.npy", noise(4, 3)),
        "responses: expected one row .* for each of the 5 words, got 4",
    ),
    "few columns": (
        lambda f: save(f, "responses.npy", noise(5, 2)),
        r"with the 3 channels of channels.csv in their order, got \(5, 2\)",
    ),
    "transposed": (
        lambda f: save(f, "signal.npy", noise(3, 500)),
        r"\(\[repeat,\] time, channel\) with the 3 channels.*got \(3, 500\)",
    ),
    "one dimension": (
        lambda f: save(f, "responses.npy", noise(5)),
        r"responses.npy: expected shape \(word, channel\) .*got \(5,\)",
    ),
    "nothing in it": (lambda f: save(f, "responses.npy", noise(0, 3)), r"shape \(word, channel\) .*got \(0, 3\)"),
    "NaN": (
        lambda f: with_value(f, "signal.npy", np.nan, 3, 1),
        "signal: 1 values are not finite, in 1 of 3 channels: s1/b",
    ),
    "NaN in responses": (lambda f: with_value(f, "responses.npy", np.nan, 3, 1), "responses: 1 values are not finite"),
    "flat": (
        lambda f: with_value(f, "signal.npy", 1, slice(None), 1),
        "signal: 1 of 3 channels never change: s1/b",
    ),
    "text array": (
        lambda f: save(f, "signal.npy", np.array([["a"]])),
        "signal.npy: cannot be read as an array of numbers",
    ),
    "complex": (
        lambda f: save(f, "signal.npy", noise(500, 3) * 1j),
        "cannot be read as an array of numbers.*complex128",
    ),
    "pickled": (
        lambda f: np.save(f / "signal.npy", np.array([Bomb()], dtype=object), allow_pickle=True),
        "signal.npy: cannot be read as an array of numbers.*numpy.save",
    ),
    "not an array": (lambda f: (f / "signal.npy").write_bytes(b"\x80\x04N."), "signal.npy: cannot be read as an array"),
    "cut short": (
        lambda f: (f / "signal.npy").write_bytes((f / "signal.npy").read_bytes()[:900]),
        "signal.npy: cannot",
    ),
    "no clock": (lambda f: remove(f, "times.npy"), "sampling_rate .Hz. is missing, which the signal needs"),
    "other clock": (
        lambda f: save(f, "times.npy", np.arange(400.0)),
        r"times.npy: expected shape \(500,\).*got \(400,\)",
    ),
    "backwards": (
        lambda f: save(f, "times.npy", -np.arange(500.0)),
        "signal: its times must be .* strictly increasing",
    ),
    "two clocks": (
        lambda f: settings(f, sampling_rate=512),
        "samples are 0.01 s apart, dataset.json says 512.0 Hz",
    ),
    "stereo": (lambda f: wavfile.write(f / "audio.wav", 8000, noise(48000, 2)), r"one channel, got shape \(48000, 2\)"),
    "no sound": (lambda f: (f / "audio.wav").write_bytes(b"RIFF"), "audio.wav: cannot be read"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_named(folder, defect, monkeypatch):
    monkeypatch.chdir(folder.parent)
    damage, message = DEFECTS[defect]
    assert check(folder) == []
    damage(folder)
    problems = check(folder)
    with pytest.raises(ValueError, match=message) as error:
        load_listening(folder)
    assert str(error.value) == f"{folder}: {len(problems)} problem(s)\n" + "\n".join(problems)
    assert all("\n" not in problem and problem.endswith(".") for problem in problems)
    # What else is listed follows from the same defect: sound and signal both end before the words, and the like.
    assert len(problems) <= 2, problems
    assert [path.name for path in folder.parent.iterdir()] == ["mine"], "reading ran code from the file"


def test_defects_are_all_listed_at_once(folder):
    chosen = [
        "unknown modality", "misspelt key", "time is text", "passage returns", "times reversed", "words past sound",
        "words too late", "names repeat", "hemisphere", "place is text", "few rows", "NaN", "two clocks",
    ]  # fmt: skip
    messages = {defect: DEFECTS[defect][1] for defect in chosen}
    edit(folder / "words.csv", (",1.0,", ",soon,"))  # a row that the others do not change
    messages |= {"time is text": "column onset: .*got 'soon' in row 3", "NaN": "signal: 1 values are not finite"}
    for defect in chosen:
        if defect not in ("time is text", "words too late"):  # the sound ends early and so does the recording
            DEFECTS[defect][0](folder)
    problems = check(folder)
    for defect in chosen:
        assert any(re.search(messages[defect], problem) for problem in problems), defect
    assert len(problems) == len(chosen) + 2  # a gap is left by each of the two texts in place of numbers


def test_responses_as_csv_are_checked(folder):
    (folder / "responses.npy").unlink()
    table = pd.DataFrame(noise(5, 3).round(3).astype(str), columns=["s1/a", "s1/b", "other"])
    table.loc[1, "s1/a"] = "high"
    table.to_csv(folder / "responses.csv", index=False)
    assert any("missing the column(s) ['s2/a']" in problem for problem in check(folder))
    table.insert(0, "s2/a", table["s1/b"])
    table.to_csv(folder / "responses.csv", index=False)
    problems = check(folder)
    assert any("responses.csv: 1 of 4 columns are not in channels.csv: other" in problem for problem in problems)
    assert any("responses.csv, column s1/a: expected numbers, got 'high' in row 3" in problem for problem in problems)


def test_windows_beyond_the_recording_are_a_problem(folder):
    (folder / "responses.npy").unlink()
    edit(folder / "words.csv", (",3.7,4.01,", ",5.2,5.25,"))
    (problem,) = check(folder)
    assert "windows of 1 words reach beyond the recording" in problem


def test_erp_may_miss_at_words_but_not_everywhere(tmp_path):
    data = make("erp", signal=None, audio=None)
    folder = data.save(tmp_path / "mine")
    with_value(folder, "responses.npy", np.nan, 2, slice(None))
    assert check(folder) == []
    with_value(folder, "responses.npy", np.nan, slice(None), 1)
    (problem,) = check(folder)
    assert "1 of 3 channels never change, or have no value at all: s1/b" in problem


def test_command_lists_problems_or_sums_up(folder, capsys):
    assert cli.main(["check", str(folder)]) == 0
    assert f"is sound:\n{load_listening(folder)}" in capsys.readouterr().out
    DEFECTS["hemisphere"][0](folder)
    DEFECTS["few rows"][0](folder)
    assert cli.main(["check", str(folder)]) == 1
    assert capsys.readouterr().out.splitlines() == check(folder) and len(check(folder)) == 2
    assert cli.main(["check", str(folder / "nowhere")]) == 1
    assert "no such folder" in capsys.readouterr().out


def test_a_name_that_is_no_folder_is_refused():
    with pytest.raises(
        ValueError, match="no listening data set 'not/here'; choose from .*'n400'.*or give a folder that"
    ):
        load_listening("not/here")
