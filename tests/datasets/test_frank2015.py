"""Real EEG of reading: what the source says of the table must hold of what is loaded."""

import csv

import numpy as np
import pytest

from brainalign import assets, stats
from brainalign.datasets import load_listening
from brainalign.story import story


@pytest.fixture(scope="module")
def data():
    return load_listening("frank2015")


@pytest.fixture(scope="module")
def rows():
    """The table line by line, by the standard library."""
    with open(assets.fetch("frank2015"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_sentences_words_and_people(data):
    assert len(data.words) == 1931 and len(data.subjects) == 24
    lengths = data.words.groupby("passage").size()
    assert len(lengths) == 205 and lengths.min() == 5 and lengths.max() == 15
    text = data.words.groupby("passage", sort=False)["word"].agg(" ".join)
    assert text.iloc[0] == "Anne lost control and laughed." and not text.str.contains("nan", regex=False).all()
    assert (data.words["word"] == "None").sum() == 1, "a word, and not a missing value"
    frequency = data.words.groupby("word")["frequency"].first()
    assert frequency["the"] == frequency.max() and frequency["the"] > frequency["control"] + 4
    assert data.words["frequency"].isna().sum() == 252


def test_trials_and_words_that_the_authors_reject_have_no_response(data, rows):
    there = np.isfinite(data.responses.to_numpy())
    assert there.any(1).sum() == 1487
    word = {key: row for row, key in enumerate(sorted({(int(r["sent_nr"]), int(r["word_pos"])) for r in rows}))}
    for row in rows:
        rejected = "true" in (row["reject_data"], row["reject_word"]) or not row["baseline"] or not row["N400"]
        key = word[int(row["sent_nr"]), int(row["word_pos"])]
        assert there[key, int(row["subj_nr"]) - 1] != rejected
        assert data.words["word"][key] == row["word"]


def test_the_baseline_is_regressed_out_in_each_person(data, rows):
    of = [row for row in rows if row["subj_nr"] == "7" and "true" not in (row["reject_data"], row["reject_word"])]
    of = sorted((row for row in of if row["baseline"]), key=lambda row: (int(row["sent_nr"]), int(row["word_pos"])))
    baseline, n400 = (np.array([float(row[name]) for row in of]) for name in ("baseline", "N400"))
    left = data.responses.sel(channel="p07").to_numpy()
    left = left[np.isfinite(left)]
    slope = np.cov(baseline, n400)[0, 1] / baseline.var(ddof=1)
    np.testing.assert_allclose(left, n400 - n400.mean() - slope * (baseline - baseline.mean()), atol=1e-4)
    assert abs(np.corrcoef(left, baseline)[0, 1]) < 1e-6 < 0.1 < abs(np.corrcoef(n400, baseline)[0, 1])


def test_the_words_agree_between_people_as_the_source_says(data):
    told = story(data, 5)
    assert told.responses.sizes["time"] == 1487 and list(told.regions) == ["centro-parietal"]
    halves = [data.responses[:, k::2].mean("channel").to_numpy() for k in range(2)]
    here = np.isfinite(halves).all(0)
    r = np.corrcoef(halves[0][here], halves[1][here])[0, 1]
    assert 2 * r / (1 + r) == pytest.approx(0.36, abs=0.08)
    average, one = told.ceilings().to_numpy()
    assert average == pytest.approx(0.6, abs=0.08) and one < 0.25


def test_rare_words_have_more_negative_amplitudes(data):
    """The known effect, in each person: frequent words have less of an N400."""
    frequency = data.words["frequency"].to_numpy()
    own = []
    for values in data.responses.to_numpy().T:
        here = np.isfinite(values) & np.isfinite(frequency)
        own.append(np.corrcoef(values[here], frequency[here])[0, 1])
    assert stats.t_interval(own).low > 0 and np.mean(np.array(own) > 0) > 0.8


def test_a_folder_of_it_is_read_back(data, tmp_path):
    back = load_listening(data.save(tmp_path / "frank"))
    np.testing.assert_array_equal(back.responses, data.responses)
    np.testing.assert_allclose(back.words["frequency"], data.words["frequency"])
    assert back.words["word"].equals(data.words["word"])
