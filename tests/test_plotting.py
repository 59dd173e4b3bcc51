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

from brainalign import cortex, plotting


@pytest.fixture(autouse=True)
def close_figures():
    plotting.use_style()
    yield
    plt.close("all")


def test_speech_labels_every_word():
    words = pd.DataFrame({"word": ["one", "two"], "onset": [0.1, 0.5], "offset": [0.4, 0.9]})
    time = np.linspace(0, 1, 100)
    figure = plotting.speech(
        time, np.sin(time), np.random.default_rng(0).random((10, 4)), np.arange(10) / 10, words, "sound"
    )
    top, bottom = figure.axes[:2]
    assert [text.get_text() for text in top.texts] == ["one", "two"]
    assert "(s)" in bottom.get_xlabel() and top.get_title(loc="left") == "sound"


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
    figure = plotting.surface_maps({"a": mapped, "b": empty}, label="r", views=("lateral",), cmap="autumn")
    shown, bare = (axis.collections[0].get_facecolors() for axis in figure.axes[:2])
    coloured = shown[np.ptp(shown[:, :3], axis=1) > 0.1]  # drawn by depth, so in another order than the mesh's
    assert len(coloured) == (np.isin(inflated.faces, around).sum(1) >= 2).sum()
    np.testing.assert_allclose(coloured, np.tile(plt.get_cmap("autumn")(0.5), (len(coloured), 1)), atol=0.01)
    assert np.ptp(bare[:, :3], axis=1).max() < 0.1
    assert figure.axes[-1].get_ylim() == (1, 3)  # the range of both maps


def test_heatmap_orders_channels_by_the_given_value():
    figure, axis = plt.subplots()
    plotting.layer_heatmap(
        axis, np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), [30, 10, 20], label="r", row_label="mm"
    )
    np.testing.assert_array_equal(axis.images[0].get_array()[:, 0], [2, 3, 1])
    assert [label.get_text() for label in axis.get_yticklabels()][0] == "10"


def test_band_spans_the_interval():
    _, axis = plt.subplots()
    plotting.with_band(axis, [0, 1], [1, 2], [0, 1], [2, 4], color="k", label="mean")
    low, high = axis.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == (0, 4) and axis.lines[0].get_label() == "mean"


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
    assert plotting.surface_view({"a": values, "b > c": -values}, label="r", alt="a ramp", limits=(-1, 1)).html == page
