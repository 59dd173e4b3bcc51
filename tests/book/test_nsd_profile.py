"""The viewing chapters on the Natural Scenes Dataset, from end to end, on a small one in the official layout."""

import h5py
import nsd_layout
import numpy as np
import pytest
from nsd_layout import ANIMALS, LEFT

from brainalign import assets, cortex
from brainalign.book import runs
from brainalign.datasets.nsd import SUBJECTS

SMALL = {  # what makes each chapter quick
    "07_captions_and_visual_cortex_in_people": {
        "coarse": ["cat"], "fine": ["cat", "dog"], "n_permutations": 49, "n_resamples": 20,
    },
    "08_encoding_and_selectivity_in_people": {
        "n_permutations": 5, "n_partitions": 1, "n_resamples": 20, "animate": ["cat", "dog", "horse", "zebra"],
    },
    "09_what_in_a_caption_matters_in_people": {"divide": "cat", "n_boot": 20, "n_permutations": 49},
    "10_reading_captions_in_people": {
        "n_orders": 9, "n_refits": 2, "n_resamples": 50, "broad": ANIMALS[:1], "fine": ANIMALS[:2],
    },
    "11_a_network_that_sees_in_sentences_in_people": {
        "n_scenes": 60, "n_held_out": 20, "n_seeds": 2, "n_jobs": 1, "n_permutations": 19,
        "n_resamples": 20, "changes": {"channels": [4, 4, 4], "epochs": 2, "warm_up": 1},
    },
}  # fmt: skip


def sentence(number: int, which: int) -> str:
    """A caption by nsdId; there are few different ones, so that they are soon embedded."""
    color = ["black", "white", "brown", "spotted"][number // 8 % 4]
    doing = ["stands", "slowly walks", "is sleeping", "looks up", "waits"][which if number // 8 % 3 else 0]
    return f"A {color} {ANIMALS[number % 8]} {doing} {['in the grass', 'on a street'][number // 32 % 2]}."


def stripes(layout: nsd_layout.Layout) -> None:
    """Pictures that the networks of chapter 11 can tell apart, and pixels too: stripes whose width goes with nsdId."""
    nsd_layout.pictures(layout)
    with h5py.File(layout.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "r+") as file:
        for number in layout.stimuli["nsdId"]:
            light = np.arange(425) // (20 + 10 * (number % 8)) % 2 == 1
            file["imgBrick"][number] = np.where(light, 255, number % 256)[None, :, None]


@pytest.fixture
def profile(project) -> runs.Profile:
    return runs.load_profile(project / "book/profiles/nsd.yml", runs.find_notebooks(project / "notebooks"))


def test_the_profile_runs_every_viewing_chapter_on_all_people(profile):
    assert [name[:2] for name in profile.notebooks] == ["07", "08", "09", "10", "11"]
    for parameters in profile.notebooks.values():
        assert parameters["dataset"] == "nsd"
        options = parameters["dataset_options"]
        assert [f"subj{number:02d}" for number in options["subjects"]] == list(SUBJECTS)


def test_the_nsd_profile_runs_from_end_to_end(project, profile, tmp_path, rng):
    for name in profile.assets:
        assets.fetch(name)
    near = [cortex.geodesic_distance(cortex.nearest_vertex([x, -85, 0], side), side) < 35
            for x, side in ((-25, "left"), (25, "right"))]  # fmt: skip
    code = rng.standard_normal(8)[np.arange(nsd_layout.ALL) % 8] + 0.5 * rng.standard_normal(nsd_layout.ALL)
    layout = nsd_layout.write(
        tmp_path / "nsd",
        subjects=[1, 2, 3],
        sessions=1,
        first_vertex=0,
        n_vertices=len(near[0]),
        patch=np.flatnonzero(np.concatenate(near)),
        code=code,
        text=sentence,
    )
    stripes(layout)
    assert LEFT > len(near[0]) == 10_242
    notebooks = runs.find_notebooks(project / "notebooks")
    chapters = {name: notebooks[name] for name in profile.notebooks}
    light = {"embeddings": "all-minilm-l6-v2"}
    own = {"root": str(tmp_path / "nsd"), "cache": str(tmp_path / "cache"), "subjects": [1, 2, 3], "sessions": 1}
    small = {
        name: {
            **given,
            **light,
            "results": str(tmp_path / name),
            **SMALL[name],
            "dataset_options": {**given["dataset_options"], **own},
        }
        for name, given in profile.notebooks.items()
    }
    small["11_a_network_that_sees_in_sentences_in_people"]["checkpoints"] = str(tmp_path / "checkpoints")
    done = runs.execute_all(runs.Profile("nsd", small), chapters, tmp_path / "executed", cwd=project)
    assert [run.notebook[:2] for run in done] == ["07", "08", "09", "10", "11"]
