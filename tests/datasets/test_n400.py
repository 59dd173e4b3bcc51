"""Real EEG: what the source says of the table must hold of what is loaded."""

import warnings

import numpy as np
import pandas as pd
import pytest

from brainalign import assets
from brainalign.datasets import load_listening
from brainalign.datasets.n400 import _read_table, before_noun, n400_trials


@pytest.fixture(scope="module")
def data():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_listening("n400")


@pytest.fixture(scope="module")
def trials(data):
    return n400_trials(data)


def test_the_copy_that_is_kept_equals_the_table(monkeypatch, tmp_path):
    path = assets.fetch("n400")
    monkeypatch.setattr(assets, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(assets, "fetch", lambda name: path)
    read, again = _read_table(), _read_table()
    assert len(list((tmp_path / "tables").iterdir())) == 1
    pd.testing.assert_frame_equal(read, again, check_column_type=False, check_index_type=False, check_exact=True)


def test_sentences_people_and_dropped_rows(data, trials):
    assert data.modality == "erp" and data.words["passage"].nunique() == 158 and data.words["is_noun"].sum() == 158
    assert data.words["item"].nunique() == 79 and 29 not in set(data.words["item"])
    assert len(data.channels) == 334 and data.channels["lab"].nunique() == 9
    assert data.responses.attrs["dropped_doubled"] == 656 and data.responses.attrs["dropped_without_text"] == 198
    assert len(trials) == 26176 - 656 - 198 == 25322
    assert not trials.duplicated(["subject", "item"]).any(), "a person reads one of the two nouns of an item"


def test_words_make_the_sentences(data):
    text = data.words.groupby("passage", sort=False)["word"].agg(" ".join)
    assert text["10/echo"] == "The tweeting in the treetops sounded like an echo to Melissa."
    nouns = data.words[data.words["is_noun"]]
    assert (nouns["word"] == nouns["passage"].str.split("/").str[1]).all()
    assert data.words["cloze"].notna().equals(data.words["is_noun"]) and nouns["cloze"].between(0, 1).all()
    before = data.words["word"].shift()[nouns.index]
    assert set(before) == {"a", "an"}


def test_responses_are_at_nouns_only(data):
    there = np.isfinite(data.responses.to_numpy())
    assert not there[~data.words["is_noun"]].any() and there.sum() == 25322


def test_trials_equal_the_table_as_csv(trials):
    copies = [
        path for mirror in assets.mirrors() for path in mirror.glob("nieuwland2018_n400_text/df_eeg_complete.csv.gz")
    ]
    if not copies:
        pytest.skip("the table's copy as CSV comes with a mirror only; no address publishes it")
    table = pd.read_csv(copies[0]).dropna(subset="noun").query("item != 29")
    table = table.assign(passage=table["item"].astype(int).astype(str) + "/" + table["noun"])
    both = table.merge(trials, left_on=["subj", "passage"], right_on=["subject", "passage"], validate="1:1")
    assert len(both) == len(table) == len(trials)
    np.testing.assert_allclose(both["n400_x"], both["n400_y"], rtol=1e-6)
    assert (both["cloze_x"] == both["cloze_y"]).all() and (both["lab_x"] == both["lab_y"]).all()


def test_published_effect_of_cloze_is_there(trials):
    """Slopes within people, and the correlation over sentences, as measured independently on the same trials."""
    centred = trials["n400"] - trials.groupby("subject")["n400"].transform("mean")
    slopes = (
        trials.assign(n400=centred)
        .groupby("subject")[["cloze", "n400"]]
        .apply(lambda person: np.polyfit(person["cloze"], person["n400"], 1)[0])
    )
    assert slopes.mean() == pytest.approx(2.06, abs=0.005) and (slopes > 0).mean() == pytest.approx(0.75, abs=0.01)
    sentences = trials.assign(n400=centred).groupby("passage")[["cloze", "n400"]].mean()
    assert sentences.corr().iloc[0, 1] == pytest.approx(0.50, abs=0.005)


def test_a_folder_holds_all_of_it(data, trials, tmp_path):
    back = load_listening(data.save(tmp_path / "n400"))
    pd.testing.assert_frame_equal(back.words, data.words, check_dtype=False)
    pd.testing.assert_frame_equal(back.channels, data.channels, check_dtype=False)
    pd.testing.assert_frame_equal(n400_trials(back), trials, check_dtype=False)


def test_trials_of_selected_people(data, trials):
    some = data.select(data.channels["lab"] == "bris")
    assert n400_trials(some).equals(trials[trials["lab"] == "bris"].reset_index(drop=True))


@pytest.mark.parametrize("context", [1, 3, None])
def test_contexts_end_at_the_noun(data, context):
    cut = before_noun(data.words, context)
    last = cut.groupby("passage").tail(1)
    assert last["is_noun"].all() and len(last) == 158
    for passage, kept in cut.groupby("passage"):
        whole = data.words[data.words["passage"] == passage].reset_index(drop=True)
        stop = int(whole["is_noun"].idxmax()) + 1
        start = 0 if context is None else max(0, stop - context)
        assert kept["word"].tolist() == whole["word"][start:stop].tolist()
        assert data.words.loc[kept.index, "word"].tolist() == kept["word"].tolist()


def test_bad_requests_are_named(data):
    with pytest.raises(ValueError, match="context: expected a whole number of at least 1, got 0"):
        before_noun(data.words, 0)
    with pytest.raises(ValueError, match=r"missing the column\(s\) \['is_noun'\]"):
        before_noun(data.words.drop(columns="is_noun"))
    with pytest.raises(ValueError, match="one noun in each passage, got 0 in '10/echo'"):
        before_noun(data.words[~(data.words["is_noun"] & (data.words["passage"] == "10/echo"))])
    with pytest.raises(ValueError, match=r"missing the column\(s\) \['item', 'cloze'\]"):
        n400_trials(type(data)(**{**vars(data), "words": data.words.drop(columns=["item", "cloze"])}))
