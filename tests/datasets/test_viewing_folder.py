"""Folders of one's own viewing data: what is written comes back, and whatever is wrong is listed, all of it at once."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from brainalign.book import cli
from brainalign.datasets import Viewing, check, load_viewing
from brainalign.datasets.folder import load_stimuli

IMAGES = ["dog", "null", "3", "a, b", "über"]


def make(**changes) -> Viewing:
    rng = np.random.default_rng(0)
    vertices = np.array([7, 8, 10_300])

    def responses(images: list[str], dtype: str) -> xr.DataArray:
        values = rng.standard_normal((2, len(images), 3)).astype(dtype)
        return xr.DataArray(
            values, dims=("repeat", "image", "vertex"), coords={"image": np.array(images), "vertex": vertices}
        )

    captions = pd.DataFrame(
        {
            "image": ["dog", "null", "dog", "3", "a, b", "über"],
            "caption": ["A dog.", 'It says "no", twice.', "null", "Três cães; dois gatos", "nan", "7"],
            "caption_id": range(6),
        }
    )
    fields = {
        "name": "mine",
        "space": "fsaverage5",
        "captions": captions,
        "test_images": ["dog", "3", "null"],
        "images": rng.integers(0, 256, (5, 8, 6, 3), dtype=np.uint8),
        "categories": pd.DataFrame({"animal": [True, False, True, False, True]}, index=pd.Index(IMAGES, name="image")),
        "responses": {"p1": responses(IMAGES[::-1], "float32"), "p2": responses(IMAGES[:4], "float16")},
        "rois": pd.DataFrame({"early": [True, True, False]}, index=pd.Index(vertices, name="vertex")),
    }
    return Viewing(**{**fields, **changes})


@pytest.fixture
def folder(tmp_path) -> Path:
    return make().save(tmp_path / "mine")


def assert_problems(folder: Path, *expected: str) -> None:
    """Each expected text is in a line of its own, and nothing else is wrong; loading says the same."""
    found = check(folder)
    assert len(found) == len(expected), found
    for text in expected:
        assert sum(text in line for line in found) == 1, (text, found)
    with pytest.raises(ValueError, match=f"{len(expected)} problem"):
        load_viewing(folder)


# ----------------------------------------------------------------------------------------------------------- round trip


def test_what_is_written_comes_back(folder):
    data, wanted = load_viewing(folder), make()
    assert check(folder) == []
    assert (data.name, data.space, data.test_images) == (wanted.name, wanted.space, wanted.test_images)
    pd.testing.assert_frame_equal(data.captions, wanted.captions, check_dtype=False)
    pd.testing.assert_frame_equal(data.rois, wanted.rois)
    assert data.categories.equals(wanted.categories)
    np.testing.assert_array_equal(data.images, wanted.images)
    assert data.subjects == ["p1", "p2"]
    for person in data.subjects:
        assert data.responses[person].dtype == wanted.responses[person].dtype
        xr.testing.assert_equal(data.responses[person], wanted.responses[person])
        assert list(data.images_of(person)) == list(wanted.images_of(person))


def test_responses_stay_on_disk_until_they_are_read(folder):
    array = load_viewing(folder).responses["p1"]
    assert isinstance(array.data, np.memmap) or isinstance(array.data.base, np.memmap)
    np.testing.assert_array_equal(
        load_viewing(folder).mean_responses("p1", ["3"]), make().responses["p1"].sel(image=["3"]).mean("repeat")
    )


def test_dissimilarities_alone(tmp_path):
    values = np.random.default_rng(1).uniform(size=(2, 2, 10))
    rdms = xr.DataArray(values, dims=("subject", "session", "pair"), coords={"subject": ["a", "b"]})
    saved = make(responses=None, rois=None, rdms=rdms, space="").save(tmp_path / "mine")
    data = load_viewing(saved)
    xr.testing.assert_identical(data.rdms, rdms)
    np.save(saved / "rdms" / "b.npy", np.ones((2, 9)))
    assert_problems(saved, "rdms: expected NAME.npy of shape (session, pair), the same in everybody")


def test_the_least_that_is_needed(tmp_path):
    (tmp_path / "responses").mkdir()
    (tmp_path / "dataset.json").write_text('{"name": "small"}')
    # as a spreadsheet with decimal commas writes it
    (tmp_path / "captions.csv").write_bytes("image;caption\r\n1;one, two\r\n2;three\r\n3;four\r\n".encode("utf-8-sig"))
    values = np.random.default_rng(2).standard_normal((3, 4))
    np.save(tmp_path / "responses" / "me.npy", values)
    data = load_viewing(tmp_path)
    assert data.test_images == ["1", "2", "3"] and data.captions["caption"][0] == "one, two"
    np.testing.assert_array_equal(data.mean_responses("me"), values)
    assert list(data.responses["me"]["vertex"].values) == [0, 1, 2, 3]


def test_a_data_set_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="no space"):
        make().save(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(folder):
    with pytest.raises(FileExistsError, match="not an empty folder"):
        make().save(folder)


def test_names_that_are_no_file_names_are_refused(tmp_path):
    data = make()
    with pytest.raises(ValueError, match="cannot be names of files"):
        make(responses={"../p1": data.responses["p1"]}).save(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------- what can be wrong


def test_every_problem_is_listed_at_once(folder):
    settings = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**settings, "spaec": "x"}))
    (folder / "rois.csv").write_text("vertex,early\n7,1\n8,maybe\n10300,0\n")
    (folder / "pictures" / "dog.png").unlink()
    (folder / "pictures" / "3.png").write_bytes(b"no picture")
    Image.new("RGB", (6, 8)).save(folder / "pictures" / "stranger.png")
    values = np.load(folder / "responses" / "p1.npy")
    values[1, 2, 0] = np.nan
    np.save(folder / "responses" / "p1.npy", values)
    np.save(folder / "responses" / "p2.npy", np.load(folder / "responses" / "p2.npy")[:1])
    found = "\n".join(check(folder))
    for text in (
        "unknown key 'spaec' (did you mean 'space'?); expected some of ['name', 'space']",
        "rois.csv: expected 1 or 0, or True or False, got 1 other cells, first 'maybe' in row 3",
        "pictures: 1 of 5 captioned images have no picture: dog",
        "pictures/3.png: cannot be read",
        "pictures: 1 of 5 pictures have no caption: stranger",
        "responses['p1'], repeat 2: 1 values are not finite, in 1 of 3 vertices: 7",
        "as many repeats in everybody, got {'p1': 2, 'p2': 1}",
    ):
        assert text in found, (text, found)
    assert len(found.splitlines()) == 7


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("captions.csv", "image,caption\ndog,\n", "1 row(s) have no text, first row 2"),
        ("captions.csv", "image,text\ndog,A dog\n", "missing the column(s) ['caption']"),
        ("captions.csv", "image,caption\n,A dog\n", "1 row(s) name no image, first row 2"),
        ("test_images.csv", "image\ndog\n3\nnobody\n", "1 of 3 are not in captions: nobody"),
        ("test_images.csv", "image\ndog\n3\n", "expected three images or more"),
        ("seen.csv", "subject,image\np1,dog\n", "with 1 images and 3 vertices, got (2, 5, 3)"),
        ("seen.csv", "subject,image\nwho,dog\n", "seen.csv: 1 of 1 people have no file in responses: who"),
        ("categories.csv", "image,animal\ndog,1\n", "its index must be the images of captions"),
        ("rois.csv", "vertex,early\n1,1\n2,0\n", "3 of 3 vertices of 'p1' are not in its index"),
        ("rois.csv", "vertex,early\n7,1\n8,0\n99999,1\n", "whole numbers from 0 to 20483"),
        ("dataset.json", "{", "expected a JSON object"),
        ("dataset.json", '{"space": 5, "name": "x"}', "space: expected a text, got 5"),
    ],
)
def test_what_is_wrong_is_named(folder, file, text, expected):
    (folder / file).write_text(text, encoding="utf-8")
    assert expected in "\n".join(check(folder))
    with pytest.raises(ValueError, match="problem"):
        load_viewing(folder)


def test_arrays_that_do_not_fit(folder):
    np.save(folder / "vertices" / "p1.npy", np.arange(2))
    assert_problems(
        folder, "responses/p1.npy: expected shape ([repeat,] image, vertex) with 5 images and 2 vertices, got (2, 5, 3)"
    )
    (folder / "vertices" / "p1.npy").unlink()
    (folder / "responses" / "p1.npy").write_bytes((folder / "responses" / "p1.npy").read_bytes()[:100])
    assert any("p1.npy: cannot be read as an array" in line for line in check(folder))
    for path in (folder / "responses").iterdir():
        path.unlink()
    assert any("expected those of one person or more, got none" in line for line in check(folder))
    (folder / "responses").rmdir()
    assert any("responses, rdms: expected at least one of the two" in line for line in check(folder))


def test_pictures_of_two_sizes(folder):
    Image.new("RGB", (5, 5)).save(folder / "pictures" / "dog.png")
    assert_problems(folder, "pictures: expected all of one size, got [(5, 5, 3), (8, 6, 3)]")


def test_the_command_tells_what_is_there_and_what_is_wrong(folder, capsys):
    assert cli.main(["check", str(folder)]) == 0
    assert "is sound" in capsys.readouterr().out
    (folder / "dataset.json").unlink()
    assert cli.main(["check", str(folder)]) == 1
    assert "dataset.json: expected a JSON object such as" in capsys.readouterr().out


def test_nothing_is_written_outside_the_folder(tmp_path):
    rdms = xr.DataArray(np.ones((1, 1, 10)) * np.arange(10), dims=("subject", "session", "pair"))
    data = make(rdms=rdms.assign_coords(subject=["../../evil"]))
    with pytest.raises(ValueError, match="cannot be names of files"):
        data.save(tmp_path / "deep" / "mine")
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    data = make(space="", rois=None)
    named = {p: array.assign_coords(vertex=["a", "b", "c"]) for p, array in data.responses.items()}
    with pytest.raises(ValueError, match="could not be read back"):
        make(space="", rois=None, responses=named).save(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_files_that_would_be_passed_over_are_named(folder):
    (folder / "responses" / "p3.csv").write_text("1,2\n")
    Image.new("RGB", (6, 8)).save(folder / "pictures" / "dog.jpg")
    (folder / "rois.csv").write_text("vertex\n7\n8\n10300\n")
    assert_problems(
        folder,
        "responses: expected NAME.npy and nothing else, got ['p3.csv']",
        "pictures: 1 image(s) have two files",
        "rois.csv: has no column beside vertex",
    )


def test_stimuli_need_no_responses_and_all_that_is_wrong_is_listed(tmp_path):
    (tmp_path / "captions.csv").write_text("image,caption\nb,One.\na,None\n")
    with pytest.raises(
        ValueError, match=r"(?s)categories\.csv: missing.*pictures: 2 of 2 captioned images have no picture"
    ):
        load_stimuli(tmp_path)
    (tmp_path / "pictures").mkdir()
    for name in "ab":
        Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / f"{name}.png")
    (tmp_path / "categories.csv").write_text("image,dog\na,1\n")
    with pytest.raises(ValueError, match="1 of 2 captioned images have no row: b"):
        load_stimuli(tmp_path)
    (tmp_path / "categories.csv").write_text("image,dog\na,1\nb,0\n")
    found = load_stimuli(tmp_path, lambda picture: picture[:2, :2] + np.uint8(1))
    assert found.images.shape == (2, 2, 2, 3) and (found.images == 1).all()
    assert found.categories["dog"].tolist() == [False, True] and found.captions["caption"].tolist() == ["One.", "None"]
