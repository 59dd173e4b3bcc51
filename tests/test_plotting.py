"""Figures: what is handed in is what is drawn."""

import base64
import json
import re

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainalign import cortex, plotting
from brainalign.datasets import Audio
from brainalign.stats import Estimate


@pytest.fixture(autouse=True)
def close_figures():
    plotting.use_style()
    yield
    plt.close("all")


def test_speech_labels_every_word_of_the_stretch():
    words = pd.DataFrame({"word": ["none", "one", "two"], "onset": [0.0, 1.1, 1.5], "offset": [0.2, 1.4, 1.9]})
    bands = xr.DataArray(np.random.default_rng(0).random((20, 4)), {"time": np.arange(20) / 10}, ("time", "feature"))
    audio = Audio(np.sin(np.arange(200)), 100)
    top, bottom = plotting.speech(audio, bands, words, 1.0, 2.0, title="sound").axes[:2]
    assert [text.get_text() for text in top.texts] == ["one", "two"]
    assert "(s)" in bottom.get_xlabel() and top.get_title(loc="left") == "sound"


def test_traces_are_one_below_the_other_or_together():
    lines = pd.DataFrame({"a": [0.0, 1.0], "b": [2.0, 3.0]}, index=[10.0, 20.0])
    apart = plotting.traces(lines, ylabel="s.d.", title="t", windows=[[11, 12], [13, 14]])
    assert [axis.get_title(loc="left") for axis in apart.axes] == ["a", "b"]
    assert all(len(axis.patches) == 2 for axis in apart.axes)
    (together,) = plotting.traces(lines, ylabel="s.d.", title="t", marks=[15], together=True).axes
    assert [text.get_text() for text in together.get_legend().get_texts()] == ["a", "b"] and len(together.lines) == 3


def test_histogram_counts_each_kind():
    values = pd.DataFrame({"value": [0.0, 0.1, 1.0], "kind": ["a", "a", "b"]})
    axis = plotting.histogram(values, label="r", counted="electrodes", title="t", planted=0.5).axes[0]
    assert sum(bar.get_height() for bar in axis.patches) == 3 and list(axis.lines[0].get_xdata()) == [0.5, 0.5]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("r", "electrodes")


def test_by_region_draws_people_means_and_chance():
    people = pd.DataFrame({"LATL": [0.1, 0.3], "LIFG": [0.2, np.nan]})
    means = Estimate(np.array([0.2, 0.2]), np.array([0.1, 0.0]), np.array([0.3, 0.4]), 2)
    axis = plotting.by_region(people, means, [0.05, 0.06], ylabel="r", title="t").axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["LATL", "LIFG"]
    heights = [part[0, 1] for line in axis.collections if hasattr(line, "get_segments") for part in line.get_segments()]
    assert {0.05, 0.06} <= set(np.round(heights, 6))


def test_electrodes_are_drawn_on_their_own_hemisphere_and_nan_is_left_out():
    channels = pd.DataFrame({"hemisphere": ["left", "left", "right", "right"], "vertex": [10.0, 20.0, 30.0, 40.0]})
    figure = plotting.electrodes(channels, {"a": [1, 2, 3, np.nan], "b": [4, 5, 6, 7]}, label="layer")
    drawn = [axis.collections[-1] for axis in figure.axes if axis.name == "3d"]
    assert [len(points.get_array()) for points in drawn] == [2, 1, 2, 2]
    assert all(points.get_clim() == (1, 7) for points in drawn)
    x, y, z = (np.asarray(part) for part in drawn[1]._offsets3d)
    np.testing.assert_allclose(np.column_stack([x, y, z])[0], cortex.mesh("right", "infl").vertices[30])


def test_surface_maps_colour_one_hemisphere_and_leave_out_nan():
    inflated = cortex.mesh("right", "infl")
    first = len(inflated.vertices)
    around = np.unique(inflated.faces[(inflated.faces == 30).any(1)])
    mapped = pd.Series(2.0, index=first + around)
    empty = pd.Series([1.0, 3.0, np.nan], index=[first, first + 1, first + 2])  # lone vertices fill no face
    figure = plotting.surface_maps({"a": mapped, "b": empty}, label="r", cmap="autumn")
    shown, bare = (figure.axes[row].collections[0].get_facecolors() for row in (0, 3))
    coloured = shown[np.ptp(shown[:, :3], axis=1) > 0.1]  # drawn by depth, so in another order than the mesh's
    assert len(coloured) == (np.isin(inflated.faces, around).sum(1) >= 2).sum()
    np.testing.assert_allclose(coloured, np.tile(plt.get_cmap("autumn")(0.5), (len(coloured), 1)), atol=0.01)
    assert np.ptp(bare[:, :3], axis=1).max() < 0.1
    assert figure.axes[-1].get_ylim() == (1, 3)  # the range of both maps


def test_surface_view_holds_the_values_and_nothing_from_elsewhere():
    values = pd.Series(np.linspace(-1, 1, 2 * 10_242))
    values[:100] = np.nan
    view = plotting.surface_view({"a": values, "b > c": -values}, label="r", alt="a ramp", limits=(-1, 1))
    page = view._repr_html_()
    assert len(page) < 600_000 and "http" not in page and "<option>b &gt; c</option>" in page and "a ramp" in page
    data = json.loads(re.search(r"surfaceView\(.*?, (\{.*\})\);", page)[1])
    for sides, sign in zip(data["values"], (1, -1), strict=True):
        steps = np.concatenate([np.frombuffer(base64.b64decode(side), "u1") for side in sides])
        assert (steps[:100] == 255).all() and (steps[100:] < 255).all()
        np.testing.assert_allclose(steps[100:] / 127 - 1, sign * values[100:], atol=0.005)
    points = np.frombuffer(base64.b64decode(data["points"][1]), "<i2").reshape(-1, 3)
    vertices = cortex.mesh("right", "infl").vertices
    np.testing.assert_allclose(points / points.max() * vertices.max(), vertices, atol=0.01)
    assert plotting.surface_view({"a": values, "b > c": -values}, label="r", alt="a ramp", limits=(-1, 1)).data == page


def test_places_are_panels_of_regions_or_maps():
    scores = xr.DataArray(
        np.arange(12.0).reshape(3, 2, 2), {"model": ["a", "b"], "region": ["V1", "IT"]}, ("subject", "model", "region")
    )
    means = scores.mean("subject")
    ends = xr.concat([means - 1, means + 1], "end")
    extra = {"chance": means, "interval": ends, "ceiling": ends.isel(model=0)}
    drawn = plotting.places(scores, means > 4.5, label="r", title="t", **extra)
    assert [axis.get_title(loc="left") for axis in drawn.axes] == ["V1", "IT"]
    assert [text.get_text() for text in drawn.axes[0].get_yticklabels()] == ["a", "b"]
    legend = {text.get_text() for text in drawn.legends[0].get_texts()}
    assert legend == {"noise ceiling", "mean, not beyond chance", "chance (95 %)", "mean of people"}
    cortical = scores.rename(region="centre").assign_coords(centre=[3, 10_300])
    drawn = plotting.places(cortical, cortical.mean("subject") > 5, label="r", title="t")
    assert [axis.get_title() for axis in drawn.axes[::3]][:2] == ["a, lateral", "b, lateral"]


def test_pictures_have_their_text_beside_them():
    images = [np.full((4, 4, 3), value, dtype="uint8") for value in (0, 90, 180)]
    figure = plotting.pictures(images, ["one", "two\n" + 10 * "words ", "three"], title="t")
    shown = [axis.images[0].get_array().flat[0] for axis in figure.axes if axis.images]
    texts = [axis.texts[0].get_text() for axis in figure.axes if axis.texts]
    assert shown == [0, 90, 180] and [text.split()[0] for text in texts] == ["one", "two", "three"]
    assert max(map(len, texts[1].split("\n"))) <= 28


@pytest.mark.parametrize("draw", [plotting.lines, plotting.points])
def test_panels_share_a_scale_or_have_one_each(draw):
    frame = pd.DataFrame({"x": [0, 1, 0, 1], "y": [0.1, 0.2, 10, 20], "level": list("aabb")})
    text = {"xlabel": "layer", "ylabel": "r", "title": "t"}
    together, apart = (draw(frame, "x", "y", col="level", sharey=share, **text).axes for share in (True, False))
    assert together[0].get_ylim() == together[1].get_ylim()
    assert apart[0].get_ylim()[1] < 1 < apart[1].get_ylim()[1]
