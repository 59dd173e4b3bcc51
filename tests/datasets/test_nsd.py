"""The Natural Scenes Dataset, from a tiny one in the official layout in which everything is known."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import h5py
import nibabel
import nsd_layout
import numpy as np
import pandas as pd
import pytest
from nsd_layout import ANIMALS, TRIALS, Layout
from scipy.stats import zscore

from brainalign import assets
from brainalign.datasets import load_viewing
from brainalign.datasets.nsd import STREAMS, SUBJECTS, nsd

module = importlib.import_module("brainalign.datasets.nsd")  # the package has the function under this name
OPTIONS = {"subjects": [1, 2], "sessions": 2}


@pytest.fixture(scope="module")
def surface(tmp_path_factory) -> Layout:
    return nsd_layout.write(tmp_path_factory.mktemp("surface"))


@pytest.fixture(scope="module")
def volume(tmp_path_factory) -> Layout:
    return nsd_layout.write(tmp_path_factory.mktemp("volume"), space="func1pt8mm")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nsd"


@pytest.fixture
def own(volume, tmp_path) -> Layout:
    """A copy of the small volumes that a test may damage."""
    shutil.copytree(volume.root, tmp_path / "own")
    return volume._replace(root=tmp_path / "own")


def betas(layout: Layout, name: str = "betas_session01.hdf5", subject: str = "subj01", space="func1pt8mm") -> Path:
    return layout.root / f"nsddata_betas/ppdata/{subject}/{space}/betas_fithrf_GLMdenoise_RR/{name}"


def load(layout: Layout, **options):
    space = "func1pt8mm" if layout.mask.size == np.prod(nsd_layout.VOLUME) else "fsaverage"
    options = {"space": space, "roi": None if space == "func1pt8mm" else "streams", **OPTIONS, **options}
    return nsd(layout.root, **options)


# what comes out


@pytest.mark.parametrize(
    ("space", "ending"), [("fsaverage", ".mgh"), ("func1pt8mm", ".hdf5"), ("func1pt8mm", ".nii.gz")]
)
def test_every_response_is_the_z_score_of_its_trial(tmp_path, space, ending):
    layout = nsd_layout.write(tmp_path / "nsd", subjects=[2], space=space, ending=ending)
    data = load(layout, subjects=["subj02"])
    array = data.responses["subj02"]
    kept = layout.mask if space == "func1pt8mm" else layout.streams > 0
    stored = layout.percent["subj02"][:, kept]
    expected = np.concatenate([zscore(stored[start : start + TRIALS]) for start in (0, TRIALS)])
    shown = layout.shown["subj02"]
    seen = [image for image in np.unique(shown) if (shown == image).sum() == 3]
    assert array.dims == ("repeat", "image", "vertex") and array["image"].to_numpy().tolist() == seen
    for image in seen:
        np.testing.assert_allclose(array.sel(image=image), expected[shown == image], atol=2e-4)


@pytest.mark.parametrize("layout", ["surface", "volume"])
def test_the_planted_code_of_images_is_found(layout, request):
    layout = request.getfixturevalue(layout)
    data = load(layout)
    for person in data.subjects:
        array = data.mean_responses(person)
        gain = layout.gain[person][layout.mask if "i" in array.coords else layout.streams > 0]
        code = layout.code[array["image"]]
        r = [np.corrcoef(column, np.sign(g) * code)[0, 1] for column, g in zip(array.T.to_numpy(), gain, strict=True)]
        assert min(r) > 0.8, person
        wrong = np.corrcoef(array[:, 0], np.roll(code, 1))[0, 1]
        assert abs(wrong) < 0.3


def test_only_images_seen_three_times_are_kept(surface):
    data = load(surface, roi="early")
    for person, shown in surface.shown.items():
        counts = pd.Series(shown).value_counts()
        assert set(counts) == {1, 2, 3}
        assert data.images_of(person).tolist() == sorted(counts.index[counts == 3])


def test_half_precision_keeps_three_digits(volume):
    half = load(volume, dtype="float16").responses["subj01"]
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, load(volume).responses["subj01"], atol=4e-3)


@pytest.mark.parametrize("subjects", [[1], [2, 1], "subj02"])
def test_shared_images_are_those_of_all_eight_people(surface, subjects):
    data = load(surface, subjects=subjects, roi="ventral")
    assert list(data.test_images) == surface.shared and len(surface.shared) == 20
    assert data.subjects == ([subjects] if isinstance(subjects, str) else [f"subj{n:02d}" for n in subjects])


def test_who_completed_fewer_sessions_limits_the_shared_images(volume, monkeypatch):
    fewer = {**module.SESSIONS, "subj08": 1}
    monkeypatch.setattr(module, "SESSIONS", fewer)
    data = load(volume, subjects=[1])
    first = volume.shown["subj01"][:TRIALS]  # the order of images is the same for everybody
    assert list(data.test_images) == [image for image in volume.shared if (first == image).sum() == 3]
    assert 3 <= len(data.test_images) < 20


def test_captions_are_those_of_the_image(surface):
    data = load(surface, roi="early")
    assert list(data.image_names) == sorted(data.image_names)
    seen = set(data.images_of("subj01")) | set(data.images_of("subj02"))
    assert set(data.image_names) == seen
    for image, rows in data.captions.groupby("image"):
        assert rows["caption"].tolist() == [nsd_layout.caption(image, which) for which in range(5)]


def test_categories_and_pictures_are_those_of_the_image(own):
    nsd_layout.pictures(own)
    data = load(own, images=8, categories=True)
    assert list(data.categories.columns) == ANIMALS
    for place, image in enumerate(data.image_names):
        expected = [ANIMALS[image % len(ANIMALS)]] if image % 10 else []
        assert list(data.categories.columns[data.categories.loc[image]]) == expected
        assert (data.images[place] == image % 256).all()
    assert data.images.shape == (len(data.image_names), 8, 8, 3)


def test_it_is_one_of_the_viewing_data_sets(volume):
    data = load_viewing("nsd", root=volume.root, space="func1pt8mm", **OPTIONS)
    assert data.name == "nsd" and data.subjects == ["subj01", "subj02"] and data.space == "func1pt8mm"
    # of the responses nothing is in memory before it is asked for
    assert all(isinstance(array.data, np.memmap) for array in data.responses.values())


def test_regions_of_the_surface(surface):
    whole = load(surface)
    labels = np.concatenate([surface.vertices, surface.vertices + 163_842])
    for number, name in enumerate(STREAMS, start=1):
        assert whole.rois.index[whole.rois[name]].tolist() == labels[surface.streams == number].tolist()
    part = load(surface, roi=["ventral", "lateral"])
    chosen = np.isin(surface.streams, [5, 6])
    assert part.responses["subj01"]["vertex"].to_numpy().tolist() == labels[chosen].tolist()
    np.testing.assert_array_equal(part.responses["subj01"], whole.responses["subj01"].sel(vertex=labels[chosen]))


def test_fsaverage5_is_the_first_vertices_of_fsaverage(surface):
    fine, coarse = load(surface), load(surface, space="fsaverage5")
    right = fine.responses["subj01"]["vertex"].to_numpy() >= 163_842
    expected = fine.responses["subj01"]["vertex"].to_numpy() - np.where(right, 163_842 - 10_242, 0)
    assert coarse.responses["subj01"]["vertex"].to_numpy().tolist() == expected.tolist()
    np.testing.assert_array_equal(coarse.responses["subj01"], fine.responses["subj01"])


def test_voxels_know_their_places(volume):
    data = load(volume, roi=None)
    array = data.responses["subj02"]
    places = np.argwhere(volume.mask.reshape(nsd_layout.VOLUME))
    assert np.stack([array["i"], array["j"], array["k"]], axis=1).tolist() == places.tolist()
    assert array["vertex"].to_numpy().tolist() == (20_000_000 + np.flatnonzero(volume.mask)).tolist()
    assert len(data.rois) == 2 * volume.mask.sum()
    ventral = load(volume, roi="ventral").responses["subj02"]
    assert ventral.sizes["vertex"] == ((volume.streams == 5) & volume.mask).sum()


# the cache


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files of betas that are read."""
    names: list[str] = []
    read = module._read_betas

    def count(path, *others):
        names.append(f"{path.parts[-4]} {path.name}")
        read(path, *others)

    monkeypatch.setattr(module, "_read_betas", count)
    return names


def test_a_second_call_reads_no_betas(volume, reads, cache):
    first = load(volume)
    assert len(reads) == 4
    again = load(volume, subjects=[2])
    assert len(reads) == 4
    np.testing.assert_array_equal(first.responses["subj02"], again.responses["subj02"])
    assert not list(cache.rglob("*so-far*")) and not list(cache.rglob(".*.np?"))


@pytest.mark.parametrize("options", [{"roi": "early"}, {"dtype": "float16"}, {"sessions": 1}])
def test_other_options_are_not_mistaken(volume, reads, options):
    load(volume, subjects=[1])
    load(volume, subjects=[1], **options)
    assert len(reads) == (3 if options == {"sessions": 1} else 4)


def test_changed_betas_are_read_again(own, reads):
    before = load(own, subjects=[1])
    with h5py.File(betas(own), "r+") as file:
        file["betas"][:] = -file["betas"][:]
    after = load(own, subjects=[1])
    assert len(reads) == 4 and not np.allclose(before.responses["subj01"], after.responses["subj01"])


@pytest.mark.parametrize("moment", ["reading", "writing", "counting", "condensing"])
def test_a_killed_run_goes_on_and_ends_the_same(volume, reads, monkeypatch, cache, moment, tmp_path):
    expected = load(volume, subjects=[1], cache=tmp_path / "undisturbed")
    reads.clear()
    with monkeypatch.context() as patch:
        read, place, fill = module._read_betas, module.placed, module._fill

        def broken_read(path, *others):
            read(path, *others)
            if "session02" in path.name and moment == "reading":
                raise KeyboardInterrupt

        class Row(np.ndarray):
            """Betas of which some trials are written before the process is killed."""

            n_read = 0

            def __getitem__(self, trial):
                Row.n_read += not isinstance(trial, tuple)
                if Row.n_read > 100:
                    raise KeyboardInterrupt
                return super().__getitem__(trial)

        def torn_fill(*arguments):
            *others, read_session = arguments

            def torn_read(session):
                values, *more = read_session(session)
                return values.view(Row) if session == 2 else values, *more

            fill(*others, torn_read if moment == "writing" else read_session)

        @contextmanager
        def broken_place(target):
            if moment == "counting" and target.exists():
                raise KeyboardInterrupt
            with place(target) as part:
                yield part
                if moment == "condensing" and target.name == "responses.npy":
                    part.rename(part.with_name(".responses.killed.npy"))  # which cannot clean up behind itself
                    raise KeyboardInterrupt

        patch.setattr(module, "_read_betas", broken_read)
        patch.setattr(module, "_fill", torn_fill)
        patch.setattr(module, "placed", broken_place)
        with pytest.raises(KeyboardInterrupt):
            load(volume, subjects=[1])
    assert not list(cache.rglob("responses.npy"))
    reads.clear()
    found = load(volume, subjects=[1])
    assert reads == ([] if moment == "condensing" else ["subj01 betas_session02.hdf5"])
    np.testing.assert_array_equal(found.responses["subj01"], expected.responses["subj01"])
    assert {path.name for path in cache.rglob("*.np?")} == {"responses.npy", "vertices.npy"}


def test_too_little_room_is_said_before_anything_is_written(volume, cache, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(OSError, match="needs up to .* GB .*cache=<another folder>"):
        load(volume)
    assert not list(cache.rglob("*.np[yz]"))


# betas that cannot be used


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_vertices_without_data_in_a_session_are_left_out(tmp_path, bad):
    layout = nsd_layout.write(tmp_path / "nsd", subjects=[1, 2], n_vertices=8)
    values = layout.percent["subj01"][TRIALS:, :8].copy()
    values[:, 3] = bad if bad == 0 else values[:, 3]
    values[17, 3] = bad  # one trial is enough
    path = betas(layout, "lh.betas_session02.mgh", space="fsaverage")
    path.unlink()
    nsd_layout.surface_betas(path, values, layout.vertices)
    data = load(layout)
    assert data.responses["subj01"].attrs["dropped"] == 1 and data.responses["subj02"].attrs["dropped"] == 0
    full = data.responses["subj02"]["vertex"].to_numpy()
    assert data.responses["subj01"]["vertex"].to_numpy().tolist() == [v for v in full if v != layout.vertices[3]]
    assert np.isfinite(data.mean_responses("subj01")).all()
    # the vertex beside it is untouched
    r = np.corrcoef(data.mean_responses("subj01").sel(vertex=layout.vertices[4]), layout.code[data.images_of("subj01")])
    assert abs(r[0, 1]) > 0.85


def test_no_usable_vertex_at_all(own):
    with h5py.File(betas(own), "r+") as file:
        file["betas"][:] = 7
    with pytest.raises(ValueError, match="no vertex has finite, changing betas"):
        load(own)


@pytest.mark.parametrize("factor", [300, 1 / 300])
def test_betas_on_another_scale_are_refused(tmp_path, factor):
    layout = nsd_layout.write(tmp_path / "nsd", subjects=[1], n_vertices=8)
    path = betas(layout, "rh.betas_session01.mgh", space="fsaverage")
    left = betas(layout, "lh.betas_session01.mgh", space="fsaverage")
    for name, part in [(left, slice(0, 8)), (path, slice(8, 16))]:
        name.unlink()
        nsd_layout.surface_betas(name, factor * layout.percent["subj01"][:TRIALS, part], layout.vertices)
    with pytest.raises(ValueError, match="median standard deviation of about 1 percent signal change, got"):
        load(layout, subjects=[1])


# files that are missing or damaged


@pytest.mark.parametrize("root", [None, "nowhere"])
def test_without_a_copy_the_agreement_is_named(root):
    with pytest.raises(assets.AssetError, match="accepted its data access agreement") as caught:
        nsd(root)
    assert "https://naturalscenesdataset.org" in str(caught.value) and "aws s3 cp" in str(caught.value)


def test_all_missing_files_are_listed_at_once(own):
    for path in [
        betas(own, "betas_session02.hdf5"),
        own.root / module.DESIGN,
        *own.root.rglob("captions_val2017.json"),
    ]:
        path.unlink()
    with pytest.raises(assets.AssetError) as caught:
        nsd(own.root, space="func1pt8mm", sessions=4, images=64)
    text = str(caught.value)
    # subj01 misses sessions 2 to 4, subj02 3 and 4, six people all and two ROI files; the design, pictures, captions
    assert f"{3 + 2 + 6 * (4 + 2) + 3} of {2 + 2 + 1 + 8 * 6} files are missing" in text
    for line in [
        "nsd_expdesign.mat",
        "captions_val2017.json",
        "nsd_stimuli.hdf5",
        "subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session*.hdf5 (02, 03, 04)",
        "subj02/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session*.hdf5 (03, 04)",
        "subj08/func1pt8mm/roi/streams.nii.gz",
        "https://naturalscenesdataset.org",
    ]:
        assert line in text
    assert "captions_train2017.json" not in text


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(b"no such format" * 50)


def no_column(path: Path) -> None:
    pd.read_csv(path, index_col=0).drop(columns="cocoId").to_csv(path)


def no_caption(path: Path) -> None:
    content = json.loads(path.read_text())
    first = content["annotations"][0]["image_id"]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != first]
    path.write_text(json.dumps(content))


def another_shape(path: Path) -> None:
    if path.suffix == ".hdf5":
        with h5py.File(path, "r+") as file:
            values = file["betas"][:700]
            del file["betas"]
            file["betas"] = values
    else:
        nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), "int16"), np.eye(4)), path)


MASK, INFO = "nsddata/ppdata/subj01/func1pt8mm/brainmask.nii.gz", module.STIMULI
CAPTIONS = f"{module.ANNOTATIONS}/captions_train2017.json"
BETAS = "nsddata_betas/ppdata/subj02/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session02.hdf5"


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        (BETAS, cut, "cannot be read"),
        (BETAS, garbage, "cannot be read"),
        (BETAS, another_shape, r"shape: expected one of \(750, 4, 6, 5\), got \(700, 4, 6, 5\)"),
        (module.DESIGN, garbage, "cannot be read"),
        (INFO, None, "1 have none: nsdId"),
        (INFO, no_column, "cocoId"),
        (CAPTIONS, cut, "cannot be read"),
        (CAPTIONS, no_caption, r"1 of \d+ images have no caption"),
        (MASK, cut, "cannot be read"),
        (MASK, another_shape, r"the brain mask \(3, 3, 3\)"),
    ],
)
def test_damaged_files_are_named(own, name, damage, problem):
    path = own.root / name
    if damage:
        damage(path)
    else:  # it lacks an image that is used
        table = pd.read_csv(path, index_col=0)
        table[table["nsdId"] != own.shared[0]].to_csv(path)
    with pytest.raises(ValueError, match=problem) as caught:
        load(own)
    assert damage is no_caption or path.name in str(caught.value) or "brain mask" in str(caught.value)


@pytest.mark.parametrize("change", [cut, garbage])
def test_damaged_surfaces_are_named(tmp_path, change):
    layout = nsd_layout.write(tmp_path / "nsd", subjects=[1], n_vertices=8)
    path = betas(layout, "rh.betas_session02.mgh", space="fsaverage")
    change(path)
    with pytest.raises(ValueError, match=r"rh\.betas_session02\.mgh: cannot be read"):
        load(layout, subjects=[1])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"subjects": [9]}, "subjects: expected different ones of subj01"),
        ({"subjects": []}, "subjects: expected"),
        ({"subjects": [1, "subj01"]}, "subjects: expected"),
        ({"space": "MNI"}, "space: expected one of 'fsaverage', 'fsaverage5', 'func1pt8mm'"),
        ({"roi": "V1"}, "roi: expected one of 'early'"),
        ({"roi": []}, "roi: expected"),
        ({"dtype": "int16"}, "dtype: expected"),
        ({"sessions": 0}, "sessions: expected a whole number"),
        ({"images": 64.5}, "images: expected a whole number"),
    ],
)
def test_bad_options(volume, options, problem):
    with pytest.raises(ValueError, match=problem):
        nsd(volume.root, **options)


def test_the_layout_has_the_official_numbers(surface):
    """The generator writes what the manual says, so that the loader is not tested on its own mistakes."""
    assert [module.SESSIONS[person] for person in SUBJECTS] == [40, 40, 32, 30, 40, 32, 40, 30]
    path = betas(surface, "lh.betas_session01.mgh", space="fsaverage")
    image = nibabel.load(path)
    assert image.shape == (163_842, 1, 1, 750) and image.get_data_dtype() == np.dtype(">f4")
    assert path.stat().st_size >= 163_842 * 750 * 4
