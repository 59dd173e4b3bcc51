"""Real fMRI: what the source says of the files must hold of what is loaded."""

import numpy as np
import pytest
import xarray as xr

from brainalign import assets
from brainalign.datasets import load_listening
from brainalign.datasets.alice import by_person, sound_power, split_averages, with_averages
from brainalign.signals import word_to_volume


@pytest.fixture(scope="module")
def data():
    return load_listening("alice")


def test_people_regions_and_volumes(data):
    assert data.modality == "bold" and data.signal.sizes == {"time": 362, "channel": 162}
    assert data.channels["subject"].nunique() == 27 and "s33" not in set(data.channels["subject"])
    assert list(data.channels["region"].unique()) == ["LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG"]
    assert data.signal["time"].values[[0, -1]].tolist() == [20.0, 742.0]
    np.testing.assert_allclose(data.signal.std("time"), 1, atol=0.01)


def test_words(data):
    assert len(load_listening("alice", merge_clitics=False).words) == 2127
    words = data.words["word"]
    assert not words.str.match(r"^('|n't)").any() and not words.isin(["sp", ""]).any()
    assert words.iloc[:4].tolist() == ["Alice", "was", "beginning", "to"] and {"don't", "wouldn't"} & set(words)


def test_word_rate_matches_the_authors_own_regressor(data):
    folder = assets.fetch("alice")
    theirs = np.loadtxt(folder / "s18-rate.txt")
    unmerged = load_listening("alice", merge_clitics=False).words
    ours = word_to_volume(unmerged, data.signal["time"].values).sum("word").values
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97


def test_the_timing_is_the_best_of_its_neighbours(data):
    group = data.signal.mean("channel")
    fits = {}
    for shift in (-4.0, -2.0, 0.0, 2.0, 4.0):
        rate = word_to_volume(data.words, data.signal["time"].values + shift).sum("word")
        fits[shift] = np.corrcoef(rate, group)[0, 1]
    assert max(fits, key=fits.get) == 0.0 and fits[0.0] > 0.3


def test_motion_and_drift_are_gone(data):
    folder = assets.fetch("alice")
    raw = load_listening("alice", denoise=False)
    for subject in ("s18", "s42"):
        motion = np.loadtxt(folder / f"{subject}-rp.txt")[-362:]
        r = np.corrcoef(np.column_stack([data.signal.sel(channel=f"{subject}/LIFG"), motion]).T)[0, 1:]
        assert np.abs(r).max() < 1e-5
        np.testing.assert_allclose(
            raw.signal.sel(channel=f"{subject}/LIFG"),
            np.loadtxt(folder / "6mm" / f"{subject}-timecourses.txt")[:, 5],
            rtol=1e-6,
        )


def test_unknown_radius():
    with pytest.raises(ValueError, match="'6mm' or '10mm', got '8mm'"):
        load_listening("alice", radius="8mm")


def test_people_and_their_averages_come_apart_again():
    rng = np.random.default_rng(0)
    people = xr.DataArray(
        rng.standard_normal((4, 10, 3)),
        dims=("subject", "time", "region"),
        coords={"time": np.arange(10), "region": ["a", "b", "c"]},
    )
    together = with_averages(people, 5, seed=1)
    assert together.shape == (10, (1 + 5 + 4) * 3)
    found = split_averages(together)
    np.testing.assert_allclose(found.average, people.mean("subject"))
    np.testing.assert_allclose(found.people.transpose("copy", "time", "region"), people)
    draw = np.random.default_rng(1).integers(4, size=(5, 4))[3]
    np.testing.assert_allclose(found.bootstrap.isel(copy=3), people.values[draw].mean(0))
    assert list(found.people["region"].values) == ["a", "b", "c"]


def test_by_person(data):
    people = by_person(data)
    assert people.dims == ("subject", "time", "region")
    np.testing.assert_array_equal(people.sel(subject="s22", region="LIPL"), data.signal.sel(channel="s22/LIPL"))
    with pytest.raises(ValueError, match="one channel in each region"):
        by_person(data.select(np.arange(len(data.channels)) > 0))
    assert sound_power(data).sizes["time"] == data.signal.sizes["time"]
