"""The Listening type: what it refuses, and that it says why."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainalign.datasets import Audio, Listening, load_listening


def make(**changes) -> Listening:
    names = ["a", "b"]
    rng = np.random.default_rng(0)
    fields = {
        "name": "test",
        "modality": "high-gamma",
        "words": pd.DataFrame(
            {
                "word": ["one", "two", "three"],
                "onset": [0.1, 0.5, 1.0],
                "offset": [0.4, 0.9, 1.4],
                "passage": ["p", "p", "q"],
            }
        ),
        "channels": pd.DataFrame(
            {
                "subject": "s1",
                "region": "",
                "hemisphere": "",
                "x": np.nan,
                "y": np.nan,
                "z": np.nan,
                "distance_pmc": np.nan,
            },
            index=pd.Index(names, name="channel"),
        ),
        "responses": xr.DataArray(rng.standard_normal((3, 2)), dims=("word", "channel"), coords={"channel": names}),
        "signal": xr.DataArray(
            rng.standard_normal((200, 2)),
            dims=("time", "channel"),
            coords={"time": np.arange(200) / 100, "channel": names},
        ),
    }
    return Listening(**{**fields, **changes})


def words(**columns) -> pd.DataFrame:
    return make().words.assign(**columns)


def test_valid_data_are_accepted_and_described():
    data = make()
    assert "3 in 2 passage(s)" in repr(data) and "(time 200, channel 2) at 100 Hz" in repr(data)
    assert data.subjects == ["s1"]
    assert make(responses=None).responses is None


def test_select_keeps_every_field_in_step():
    data = make(truth=pd.DataFrame({"layer": [1, 2]}, index=["a", "b"]))
    one = data.select(np.array([False, True]))
    assert list(one.channels.index) == ["b"] == list(one.truth.index) == list(one.signal.channel.values)
    np.testing.assert_array_equal(one.responses.values[:, 0], data.responses.sel(channel="b").values)
    assert list(data.select(["b", "a"]).responses.channel.values) == ["b", "a"]
    with pytest.raises(ValueError, match="not in this data set: z"):
        data.select(["z"])


def test_all_that_is_wrong_is_listed_at_once():
    with pytest.raises(ValueError) as error:
        make(name="", modality="meg", words=words(word=["", "two", "three"]), **with_value("signal", np.nan))
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["name", "modality", "words", "signal"]
    with pytest.raises(ValueError) as error:
        make(words=None, channels=None, signal=[1.0])
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["words", "channels", "signal"]


def with_value(field: str, value: float, row: slice | int = 0) -> dict:
    array = getattr(make(), field).copy()
    array[row, 1] = value
    return {field: array}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": "meg"}, r"modality: expected one of .* got 'meg'"),
        ({"words": pd.DataFrame({"word": ["a"]})}, r"words: missing the column\(s\) \['onset', 'offset', 'passage'\]"),
        ({"words": words(word=["one", " ", "three"])}, r"words: 1 row\(s\) have no text, first row 1 "),
        ({"words": words(onset=[0.1, np.nan, 1.0])}, r"words: .* no finite number of s, first row 1 \(two, nan"),
        ({"words": words(offset=[0.4, 0.5, 1.4])}, "words: .* have an offset that is not after onset, first row 1"),
        ({"words": words(onset=[0.1, 0.05, 1.0])}, "words: .* start before the word above, first row 1"),
        ({"words": words(passage=["p", "q", "p"])}, "words: the rows of each passage must be contiguous"),
        ({"words": words(offset=[0.4, 0.9, 9.0])}, "beyond the recording"),
        ({"words": words(onset=[-5, 0.5, 1.0])}, "beyond the recording"),
        ({"words": make().words.iloc[:2]}, "responses: expected one row .* for each of the 2 words, got 3"),
        ({"modality": "bold", "words": words(offset=[0.4, 0.9, 9.0])}, "beyond the recording"),
        ({"audio": Audio(np.ones(50), 100.0)}, "audio: it lasts 0.50 s, but words run to 1.40 s"),
        ({"audio": Audio(np.ones(500), -100.0)}, "audio: expected finite samples"),
        ({"audio": Audio(np.full(500, np.nan), 100.0)}, "audio: expected finite samples"),
        ({"channels": make().channels.assign(x=np.inf)}, "channels: x: expected numbers in mm"),
        ({"channels": make().channels.assign(distance_pmc="far")}, "channels: distance_pmc: expected numbers in mm"),
        ({"modality": "erp", **with_value("responses", np.nan, slice(None))}, "have no value at all"),
        ({"responses": None, "signal": None}, "at least one of the two"),
        (with_value("signal", np.nan), "signal: 1 values are not finite, in 1 of 2 channels: b"),
        (with_value("responses", np.inf), "responses: 1 values are not finite"),
        (with_value("signal", 3.0, slice(None)), "signal: 1 of 2 channels never change: b"),
        (
            {"signal": make().signal.transpose("channel", "time")},
            r"signal: expected a DataArray of shape \('time', 'channel'\), got \('channel', 'time'\)",
        ),
        ({"signal": make().signal.drop_vars("time")}, "signal: needs a 'time' coordinate"),
        ({"signal": make().signal.assign_coords(channel=["a", "c"])}, "must equal the index of channels"),
        ({"signal": make().signal.assign_coords(time=np.zeros(200))}, "strictly increasing times"),
        ({"channels": make().channels.drop(columns="x")}, r"channels: missing the column\(s\) \['x'\]"),
        (
            {"channels": make().channels.set_axis(["a", "a"])},
            "channels: names: expected each once, got a more than once",
        ),
        ({"truth": pd.DataFrame(index=["b", "a"])}, "truth: its index must equal"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_channel_that_is_flat_in_one_repeat_only_is_refused():
    signal = xr.concat([make().signal, make().signal * [1.0, 0.0]], "repeat")
    with pytest.raises(ValueError, match="never change: b"):
        make(signal=signal)


def test_erp_responses_may_miss_at_words():
    assert make(modality="erp", **with_value("responses", np.nan)).responses.isnull().sum() == 1


UNTIMED = {"onset": np.nan, "offset": np.nan}


def test_erp_words_may_have_no_times():
    data = make(modality="erp", words=words(**UNTIMED), signal=None)
    assert "3 in 2 passage(s), times unknown" in repr(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": "high-gamma", "signal": None}, r"no finite number of s, first row 0 \(one"),
        ({"modality": "erp"}, "no finite number of s, first row 0"),  # it has a signal to be aligned with
        (
            {"modality": "erp", "signal": None, "audio": Audio(np.ones(500), 100.0)},
            "no finite number of s, first row 0",
        ),
        ({"modality": "erp", "signal": None, "words": words(onset=np.nan)}, "no finite number of s, first row 0"),
        (
            {"modality": "erp", "signal": None, "words": words(onset=[np.nan, 0.5, 1.0], offset=[np.nan, 0.9, 1.4])},
            "no finite number of s, first row 0",
        ),
        ({"modality": "erp", "signal": None, "words": words(**UNTIMED, passage=["p", "q", "p"])}, "be contiguous"),
        ({"modality": "erp", "signal": None, "words": words(**UNTIMED, word=["a", "", "b"])}, "have no text"),
    ],
)
def test_times_are_needed_everywhere_else(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**{"words": words(**UNTIMED), **changes})


def test_unknown_data_set_is_named():
    with pytest.raises(ValueError, match="no listening data set 'alise'.*Did you mean 'alice'"):
        load_listening("alise")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("word", " three", "have spaces around the word"), ("passage", "", "have no passage, but others have")],
)
def test_text_that_no_model_would_read_is_refused(column, value, message):
    words = make().words
    words.loc[2, column] = value
    with pytest.raises(ValueError, match=message):
        make(words=words)
