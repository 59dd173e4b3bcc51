"""Stories: channels, designs and summaries for recordings of blood flow and of electrodes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainalign import stats
from brainalign.datasets import Audio, Listening
from brainalign.ridge import content_null, cross_validate, word_sweep
from brainalign.signals import detrend_blocks, word_regressors
from brainalign.story import AVERAGE, PEOPLE, story, story_spaces

N = 240


def heard(n: int = N) -> pd.DataFrame:
    onset = 1 + np.arange(n) * 0.4
    words = [f"{'ab' * (k % 3 + 1)}" for k in range(n)]
    return pd.DataFrame({"word": words, "onset": onset, "offset": onset + 0.3, "passage": "story"})


def channels(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    table = pd.DataFrame(pairs, columns=["subject", "region"], index=[f"{s}/{r}" for s, r in pairs])
    text = {"hemisphere": "left"}
    return table.assign(**text, **dict.fromkeys(("x", "y", "z", "distance_pmc"), np.nan))


def electrodes(rng, values=None) -> Listening:
    """Three people with one, two and three electrodes."""
    table = channels([("a", "STG"), ("b", "STG"), ("b", "IFG"), ("c", "STG"), ("c", "STG2"), ("c", "IFG")])
    values = rng.standard_normal((N, len(table))) if values is None else values
    responses = xr.DataArray(values, {"channel": table.index.to_numpy()}, ("word", "channel"))
    return Listening("mine", "high-gamma", heard(), table, responses=responses)


def blood(rng) -> Listening:
    table = channels([(s, r) for s in "abcd" for r in ("LATL", "LIFG")])
    times = np.arange(60) * 2.0
    coords = {"time": times, "channel": table.index.to_numpy()}
    signal = xr.DataArray(100 + rng.standard_normal((60, len(table))), coords, ("time", "channel"))
    return Listening("mine", "bold", heard(), table, signal=signal)


def test_electrodes_are_people_without_an_average(rng):
    told = story(electrodes(rng), 4, skip=5, gap=3, confounds="rate")
    assert told.levels == [PEOPLE] and list(told.subjects) == ["a", "b", "c"]
    assert list(told.regions) == ["STG", "IFG", "STG2"]
    assert told.responses.shape == (N - 5, 6) and told.design.shape == (N - 5, N)
    for block in np.array_split(told.responses.to_numpy(), 4):
        np.testing.assert_allclose(block.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(block.std(0), 1)
    value = told.responses[0] * 0 + np.array([1.0, 2, 4, 3, 6, 9])
    np.testing.assert_allclose(told.of_subjects(value), [1, 3, 6])
    np.testing.assert_allclose(told.summary(value), [10 / 3])
    np.testing.assert_allclose(told.by_region(value), [[2, 6.5, 6]])
    found = told.interval(value)
    assert str(found[0]) == str(stats.t_interval([1, 3, 6])) and found.n == 3


def test_ceilings_come_from_how_alike_people_are(rng):
    data = blood(rng)
    shared = rng.standard_normal((60, 2))
    data.signal[:] = 100 + np.tile(shared, 4) + rng.standard_normal((60, 8))
    average, one = story(data, 3, confounds="rate").ceilings().to_numpy()
    assert average == pytest.approx(np.sqrt(0.8), abs=0.08) and one == pytest.approx(np.sqrt(0.5), abs=0.12)
    assert np.isnan(story(electrodes(rng), 4).ceilings()).all()


def test_words_reach_their_own_samples(rng):
    data = electrodes(rng)
    data.responses[7, :4] = np.nan  # without a response in most electrodes: context, and no sample
    data.responses[9, 2] = np.nan  # in all but this one: a sample
    told = story(Listening("mine", "erp", data.words, data.channels, responses=data.responses), 4)
    assert told.responses.sizes["time"] == N - 1
    values = xr.DataArray(rng.standard_normal((2, N, 5)), dims=("layer", "word", "feature"))
    made = word_sweep(values, told.design)
    kept = np.delete(np.arange(N), 7)
    scaled = (values - values.mean("word")) / values.std("word")
    np.testing.assert_allclose(made, scaled[:, kept], atol=1e-5)


def test_blood_has_an_average_and_its_interval(rng):
    told = story(blood(rng), 3, skip=3, confounds="rate")
    assert told.levels == [AVERAGE, PEOPLE] and told.heads.sizes["channel"] == 2 + 8
    groups = told.responses["group"].to_numpy()
    people = told.responses.to_numpy()[:, groups == "people"].reshape(-1, 4, 2)
    np.testing.assert_allclose(told.responses[:, :2], people.mean(1))
    np.testing.assert_allclose(told.responses.to_numpy()[:, groups == "without"][:, :2], people[:, 1:].mean(1))
    each = told.responses[:5]
    summary, regions, interval = told.summary(each), told.by_region(each), told.interval(each)
    assert summary.dims == ("level", "time") and regions.dims == ("level", "time", "region")
    # a mean of responses: the average brain is the mean of people, and so are both intervals
    np.testing.assert_allclose(summary[0], summary[1])
    np.testing.assert_allclose(regions.mean("region"), summary)
    np.testing.assert_allclose(interval.low[0], interval.low[1])
    np.testing.assert_allclose(interval.value, summary)


@pytest.mark.parametrize("made", [electrodes, blood])
def test_confounds_leave_both_sides_of_a_comparison_that_fits_nothing(rng, made):
    told = story(made(rng), 3, skip=3, confounds="rate", remove=True)
    sides = [told.responses] if made is electrodes else [told.responses, told.design]  # a design of words stays
    for side in sides:
        blocks = zip(*(np.array_split(np.asarray(part, float), 3) for part in (told.confounds, side)), strict=True)
        np.testing.assert_allclose(
            [np.abs((known - known.mean(0)).T @ left).max() for known, left in blocks], 0, atol=1e-4
        )
    kept = story(made(rng), 3, skip=3, confounds="rate")
    assert np.abs(kept.confounds.to_numpy().T @ kept.responses.to_numpy()).max() > 1


def test_what_was_planted_in_electrodes_is_found_beyond_chance(rng):
    features = rng.standard_normal((N, 6))
    values = features @ rng.standard_normal((6, 6)) + 2 * rng.standard_normal((N, 6))
    told = story(electrodes(rng, values), 4, gap=3, confounds="rate")
    planted = xr.DataArray(features[None], dims=("layer", "word", "feature"))
    options = told.options | {"alphas": np.logspace(0, 4, 5)}
    fit = cross_validate(word_sweep(planted, told.design), told.responses, standardize=False, **options)
    rolled = content_null(planted, told.design, told.heads, n_rolls=39, **options)
    found, chance = told.summary(fit["partial"]).to_numpy().squeeze(), told.summary(rolled).to_numpy().squeeze()
    assert found > 0.3 and float(stats.p_values(found, chance)) == 1 / 40


def test_spaces_of_a_story(rng):
    bits, data = rng.uniform(1, 9, (N, 2)), electrodes(rng)
    data.responses[5] = np.nan
    told = story(data, 4, skip=2, confounds="rate")
    quiet = story_spaces(data, told, bits)
    assert list(quiet) == ["rate", "frequency"] and quiet["rate"].shape == (N - 3, 5)
    expected = np.delete((bits - bits.mean(0)) / bits.std(0), [0, 1, 5], axis=0)
    np.testing.assert_allclose(quiet["frequency"], expected)
    length = np.delete([len(word) for word in data.words["word"]], [0, 1, 5])
    assert np.corrcoef(quiet["rate"][:, 1], length)[0, 1] == pytest.approx(1)
    data = dataclasses.replace(blood(rng), audio=Audio(rng.standard_normal(8000 * 98), 8000))
    told = story(data, 3, skip=3, confounds="rate")
    spaces = story_spaces(data, told, bits)
    assert {name: space.shape for name, space in spaces.items()} == {
        "acoustics": (57, 204),
        "rate": (57, 4),
        "frequency": (57, 2),
    }
    by_hand = detrend_blocks(word_regressors(bits, data.words, data.signal["time"].to_numpy()[3:]), 3)
    np.testing.assert_allclose(spaces["frequency"], by_hand / by_hand.std("time"), rtol=1e-4, atol=1e-5)


def test_what_is_refused(rng):
    with pytest.raises(ValueError, match="confounds: expected one of 'strong', 'rate', got None"):
        story(electrodes(rng), 4, confounds=None)
    values = rng.standard_normal((N, 6))
    values[: N // 4, 1] = 3.0
    with pytest.raises(ValueError, match="data: b/STG: values that .* never change in one of 4 blocks"):
        story(electrodes(rng, values), 4)
    lonely = electrodes(rng)
    lonely.responses[: N // 2, 0] = lonely.responses[N // 2 :, 1] = np.nan
    with pytest.raises(ValueError, match="a/STG, b/STG: values .* that never change in one of 4 blocks"):
        story(Listening("mine", "erp", lonely.words, lonely.channels, responses=lonely.responses), 4)
    told = story(electrodes(rng), 4)
    with pytest.raises(ValueError, match="an interval over people takes three of them, got 2"):
        told.interval(told.responses[:, 1:])
