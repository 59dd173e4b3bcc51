"""Real fMRI: what the source says of the files must hold of what is loaded."""

import numpy as np
import pytest

from brainalign import assets
from brainalign.datasets import load_listening
from brainalign.datasets.alice import _read_words, published_predictors, sound_power, strong_confounds
from brainalign.signals import word_to_volume
from brainalign.story import by_subject


@pytest.fixture(scope="module")
def data():
    return load_listening("alice")


def annotated():
    """The words with clitics apart, as the authors count them."""
    return _read_words(assets.fetch("alice") / "DownTheRabbitHoleFinal_exp120_pad_1.TextGrid")


def test_people_regions_and_volumes(data):
    assert data.modality == "bold" and data.signal.sizes == {"time": 362, "channel": 162}
    assert data.channels["subject"].nunique() == 27 and "s33" not in set(data.channels["subject"])
    assert list(data.channels["region"].unique()) == ["LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG"]
    assert data.signal["time"].values[[0, -1]].tolist() == [20.0, 742.0]
    theirs = np.loadtxt(assets.fetch("alice") / "6mm" / "s42-timecourses.txt")
    np.testing.assert_allclose(data.signal.sel(channel="s42/LIFG"), theirs[:, 5], rtol=1e-6)


def test_words(data):
    assert len(annotated()) == 2127 and len(data.words) < 2127
    words = data.words["word"]
    assert not words.str.match(r"^('|n't)").any() and not words.isin(["sp", ""]).any()
    assert words.iloc[:4].tolist() == ["Alice", "was", "beginning", "to"] and {"don't", "wouldn't"} & set(words)


def test_word_rate_matches_the_authors_own_regressor(data):
    folder = assets.fetch("alice")
    theirs = np.loadtxt(folder / "s18-rate.txt")
    ours = word_to_volume(annotated(), data.signal["time"].values).sum("word").values
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97


def test_the_timing_is_the_best_of_its_neighbours(data):
    group = by_subject(data, 6).mean(("subject", "region"))
    fits = {}
    for shift in (-4.0, -2.0, 0.0, 2.0, 4.0):
        rate = word_to_volume(data.words, data.signal["time"].values + shift).sum("word")
        fits[shift] = np.corrcoef(rate, group)[0, 1]
    assert max(fits, key=fits.get) == 0.0 and fits[0.0] > 0.3


def test_motion_and_drift_leave_every_block(data):
    people = by_subject(data, 6, skip=10)
    for subject in ("s18", "s42"):
        moved = np.loadtxt(assets.fetch("alice") / f"{subject}-rp.txt")[-352:]
        signal = people.sel(subject=subject, region="LIFG").to_numpy()
        for rows in np.array_split(np.arange(352), 6):
            r = np.corrcoef(np.column_stack([signal[rows], moved[rows], np.arange(len(rows))]).T)[0, 1:]
            assert np.abs(r).max() < 1e-5
            np.testing.assert_allclose(signal[rows].std(), 1)


def test_by_person(data):
    people = by_subject(data, 6)
    assert people.dims == ("subject", "time", "region")
    raw = data.signal.sel(channel="s22/LIPL")
    assert np.corrcoef(people.sel(subject="s22", region="LIPL")[:60], raw[:60])[0, 1] > 0.5
    with pytest.raises(ValueError, match="one channel in each region"):
        by_subject(data.select(np.arange(len(data.channels)) > 0), 6)
    for bad in (np.nan, float(raw[0])):
        damaged = load_listening("alice")
        damaged.signal[:70, list(damaged.channels.index).index("s22/LIPL")] = bad
        with pytest.raises(ValueError, match="data: s22/LIPL: values that are not finite, or that never change"):
            by_subject(damaged, 6)


def test_what_ships_with_the_story(data):
    assert sound_power(data).sizes["time"] == data.signal.sizes["time"]
    table = published_predictors(data)
    rate = word_to_volume(annotated(), data.signal["time"].values).sum("word")
    assert np.corrcoef(rate, table.sel(feature="rate"))[0, 1] > 0.97 and table.shape == (362, 12)


def test_the_strong_confounds_holds_fifteen_columns_and_each_block_is_its_own(data):
    baseline = strong_confounds(data, 6, skip=10).to_numpy()
    assert baseline.shape == (352, 15) and np.isfinite(baseline).all()
    rows = np.array_split(np.arange(352), 6)
    for block in rows:
        free = np.column_stack([baseline[block], np.arange(len(block)), np.ones(len(block))])
        assert np.linalg.matrix_rank(free / np.abs(free).max(0)) == 17
        np.testing.assert_allclose(baseline[block].mean(0), 0, atol=1e-6)
