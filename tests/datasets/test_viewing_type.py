"""The Viewing type: what it refuses, and that it says why."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainalign.datasets import Viewing
from brainalign.datasets.types import Viewing as same_type

IMAGES = ["a", "b", "c", "d", "e"]


def captions(**columns) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "image": np.repeat(IMAGES, 2),
            "caption": [f"Sentence {i} on a picture." for i in range(10)],
            "caption_id": range(10),
        }
    )
    return table.assign(**columns)


def responses(images=("a", "b", "c", "d"), vertices=(3, 5, 20_000), n_repeats=2, seed=0) -> xr.DataArray:
    values = np.random.default_rng(seed).standard_normal((n_repeats, len(images), len(vertices)), dtype="float32")
    return xr.DataArray(
        values, dims=("repeat", "image", "vertex"), coords={"image": list(images), "vertex": list(vertices)}
    )


def rdms(n_images=5, **coords) -> xr.DataArray:
    values = np.random.default_rng(0).random((2, 2, n_images * (n_images - 1) // 2))
    return xr.DataArray(values, dims=("subject", "session", "pair"), coords={"subject": ["p", "q"], **coords})


def table(index=(3, 5, 7, 20_000), value=True) -> pd.DataFrame:
    return pd.DataFrame({"early": value, "late": [i % 2 == 0 for i in range(len(index))]}, index=list(index))


def make(**changes) -> Viewing:
    fields = {
        "name": "test",
        "captions": captions(),
        "test_images": ["a", "b", "c"],
        "space": "fsaverage5",
        "images": np.zeros((5, 8, 8, 3), dtype=np.uint8),
        "categories": pd.DataFrame({"cat": [True, False, True, False, False]}, index=IMAGES),
        "responses": {"p": responses(), "q": responses(("e", "c", "b", "a"), (5, 7), seed=1)},
        "rois": table(),
        "truth": pd.DataFrame({"drive": "none"}, index=[3, 5, 7, 20_000]),
    }
    return Viewing(**{**fields, **changes})


def changed(value: float, where=(0, 1, 2)) -> dict:
    array = responses()
    array[where] = value
    return {"responses": {"p": array}}


def test_valid_data_are_accepted_and_described():
    data = make()
    assert same_type is Viewing
    assert data.subjects == ["p", "q"]
    assert list(data.image_names) == IMAGES
    assert list(data.images_of("q")) == ["e", "c", "b", "a"]
    assert list(data.train_images("p")) == ["d"]
    assert list(data.train_images("q")) == ["e"]
    assert "10 of 5 images, 3 for testing" in repr(data)
    assert "vertex 3" in repr(data)
    only_rdms = make(responses=None, rdms=rdms(), images=None, rois=None, truth=None)
    assert only_rdms.subjects == ["p", "q"]
    assert "pair 10" in repr(only_rdms)
    with pytest.raises(ValueError, match="has no responses"):
        only_rdms.images_of("p")


def test_mean_over_repeats_is_in_the_order_asked_for():
    data = make()
    mean = data.mean_responses("q", ["a", "e"])
    assert mean.dims == ("image", "vertex")
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean[1], np.mean([data.responses["q"][r, 0] for r in (0, 1)], axis=0), rtol=1e-6)
    assert data.mean_responses("p").shape == (4, 3)
    with pytest.raises(ValueError, match="images: 1 of 2 were not seen by 'q': d"):
        data.mean_responses("q", ["a", "d"])
    with pytest.raises(ValueError, match="subject: expected one of 'p', 'q', got 'z'"):
        data.mean_responses("z")


def test_select_keeps_every_table_in_step():
    data = make()
    assert data.select(subjects=["q"]).subjects == ["q"]
    late = data.select(vertices=data.rois["late"])
    assert list(late.responses["p"]["vertex"].values) == [3]
    assert list(late.responses["q"]["vertex"].values) == [7]
    assert list(late.rois.index) == [3, 7] == list(late.truth.index)
    assert list(data.select(vertices=[7, 5]).responses["q"]["vertex"].values) == [5, 7]
    with pytest.raises(ValueError, match="vertices: none of the 1 wanted"):
        data.select(vertices=[20_000])


def test_numbers_on_disk_are_checked_when_they_are_read(tmp_path):
    array = responses()
    array[0, 0, 1] = np.nan
    np.save(tmp_path / "betas.npy", array.values)
    mapped = array.copy(data=np.load(tmp_path / "betas.npy", mmap_mode="r"))
    data = make(responses={"p": mapped})
    with pytest.raises(ValueError, match=r"responses\['p'\]: 1 values are not finite, in 1 of 3 vertices: 5"):
        data.mean_responses("p")
    assert np.isfinite(data.mean_responses("p", ["b", "c"])).all()
    assert isinstance(data.select(vertices=[3, 20_000]).mean_responses("p").data, np.ndarray)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captions": captions().drop(columns="caption_id")}, r"captions: missing the column\(s\) \['caption_id'\]"),
        ({"captions": captions().iloc[:0]}, "captions: the table is empty"),
        ({"captions": captions(caption=["x"] * 9 + [" "])}, r"captions: 1 row\(s\) have no text, first row 9 \(e,"),
        (
            {"captions": captions(caption_id=[0, 0, *range(2, 10)])},
            "caption_id: expected each once, got 0 more than once",
        ),
        ({"captions": captions(image=["a", None] * 5)}, r"5 row\(s\) name no image"),
        # images without captions
        (
            {"captions": captions()[:6], "images": None, "categories": None},
            r"responses\['p'\]: 1 of 4 images have no caption: d",
        ),
        (
            {"captions": captions()[:8], "categories": None},
            "expected one picture for each of the 4 captioned images, got 5",
        ),
        # captions without images
        (
            {"images": np.zeros((4, 8, 8, 3), np.uint8)},
            "expected one picture for each of the 5 captioned images, got 4",
        ),
        ({"images": None, "responses": {"p": responses()}}, "captions: 1 of 5 images were seen by nobody.*: e"),
        # pictures
        ({"images": np.zeros((5, 8, 8, 3))}, r"images: expected a uint8 array .* got float64"),
        ({"images": np.zeros((5, 8, 8), np.uint8)}, r"images: expected a uint8 array .* of shape \(5, 8, 8\)"),
        ({"images": [1, 2]}, "images: expected a uint8 array"),
        (
            {"categories": pd.DataFrame({"cat": [True] * 5}, index=IMAGES[::-1])},
            "categories: its index must be the images",
        ),
        (
            {"categories": pd.DataFrame({"cat": [1] * 5}, index=IMAGES)},
            "categories: expected a DataFrame whose columns are all bool",
        ),
        # responses
        ({"responses": None}, "expected at least one of the two, got neither"),
        ({"responses": {}}, "responses: expected those of one person or more, got none"),
        ({"responses": {"p": responses()[0]}}, r"responses\['p'\]: expected a DataArray of shape"),
        ({"responses": {"p": responses().astype(int)}}, "expected floating-point numbers"),
        ({"responses": {"p": responses().drop_vars("image")}}, "needs a 'image' coordinate"),
        (
            {"responses": {"p": responses(images=("a", "b", "c", "c"))}},
            "image: expected each once, got c more than once",
        ),
        ({"responses": {"p": responses(vertices=(3, 3, 5))}}, "vertex: expected each once, got 3 more than once"),
        (changed(np.nan), r"responses\['p'\], repeat 1: 1 values are not finite, in 1 of 3 vertices: 20000"),
        (changed(1.0, (0, slice(None), 1)), "1 of 3 vertices never change: 5"),
        (
            {"responses": {"p": responses(), "q": responses(n_repeats=3)}},
            r"as many repeats in everybody, got {'p': 2, 'q': 3}",
        ),
        # test set
        ({"test_images": ["a", "b"]}, "test_images: expected three images or more, each once, got 2"),
        ({"test_images": ["a", "b", "b"]}, r"got 3, 2 different"),
        ({"test_images": ["a", "b", "d"]}, "test_images: 1 of 3 were not seen by 'q': d"),
        ({"test_images": ["a", "b", "z"]}, "test_images: 1 of 3 are not in captions: z"),
        # surfaces
        ({"rois": table((3, 5, 7))}, "rois: 1 of 3 vertices of 'p' are not in its index: 20000; .* another surface"),
        ({"rois": table((3, 5, 7, 200_000))}, "rois: vertex labels of fsaverage5 are whole numbers from 0 to 20483"),
        ({"rois": table((3, 5, 7, 7, 20_000))}, "rois: vertex: expected each once, got 7 more than once"),
        ({"rois": table(value="V1")}, "rois: expected a DataFrame whose columns are all bool"),
        ({"truth": pd.DataFrame({"drive": "none"}, index=[3, 5, 7])}, "truth: 1 of 3 vertices of 'p'"),
        ({"responses": {"p": responses(vertices=("x", "y", "z"))}}, "vertex labels of fsaverage5 are whole numbers"),
        # RDMs
        ({"rdms": rdms(4)}, "rdms: expected 10 pairs for the 5 captioned images, got 6"),
        ({"rdms": rdms()[0]}, "rdms: expected a DataArray of shape"),
        ({"rdms": rdms() * np.nan}, "rdms: 40 values are not finite"),
        ({"rdms": rdms().drop_vars("subject")}, "rdms: needs a 'subject' coordinate"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_pictures_with_names_must_have_the_order_of_the_captions():
    pictures = xr.DataArray(np.zeros((5, 8, 8, 3), np.uint8), dims=("image", "y", "x", "rgb"), coords={"image": IMAGES})
    assert make(images=pictures).images is pictures
    with pytest.raises(ValueError, match="must have the order in which captions name the images"):
        make(images=pictures[::-1])
    with pytest.raises(ValueError, match="images: 1 of 5 have no caption: z"):
        make(images=pictures.assign_coords(image=[*IMAGES[:4], "z"]))
    with pytest.raises(ValueError, match="expected one picture for each of the 5 captioned images, got 4"):
        make(images=pictures[:4])


def test_what_an_analysis_needs_is_listed():
    make().require("images", "responses")
    with pytest.raises(ValueError, match="'test' cannot be used here, for it has no rdms and no rois"):
        make(rois=None, truth=None).require("images", "rdms", "rois")


def test_all_that_is_wrong_is_listed_at_once():
    with pytest.raises(ValueError) as error:
        make(space=5, categories=[1], responses={"p": [2]}, rois=[3], test_images=["a"])
    fields = [line.split(":")[0] for line in str(error.value).splitlines()]
    assert fields == ["space", "categories", "responses['p']", "test_images", "rois"]
