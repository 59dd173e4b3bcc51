"""A reader's own folder of sentences runs through the people pages, or is refused before anything slow."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainalign.book import cli, runs
from brainalign.datasets import Listening
from brainalign.features.lesions import graded_family

SMALL = {
    "02_layer_alignment_in_people": {"step": 15, "n_rolls": 9, "n_twins": 1, "n_blocks": 4},
    "02_layer_alignment_in_readers": {"step": 15, "n_exchanges": 9, "n_folds": 4},
    "03_better_models_in_people": {
        "family": graded_family()[:5],
        "outsiders": ["all-minilm-l6-v2"],
        "n_rolls": 19,
        "n_pairs": 2,
    },
    "05_context_in_people": {"contexts": [1, 2, None], "n_depths": 2, "n_rolls": 9},
    "06_beyond_acoustics_in_people": {"n_components": 5, "n_draws": 2, "n_rolls": 5},
}


@pytest.fixture
def sentences(rng) -> Listening:
    """Five people read 60 sentences of eight or nine words; a tenth of trials are rejected, and all first words."""
    subjects = ["a child", "the old cat", "her brother", "my teacher", "one farmer", "the nurse"]
    verbs = ["carried", "found", "painted", "wanted", "lost"]
    objects = ["a small red boat", "the broken garden chair"]
    text = [f"{s} {v} {o} today" for s in subjects for v in verbs for o in objects]
    words = pd.DataFrame({"word": [sentence.split() for sentence in text], "passage": np.arange(60).astype(str)})
    words = words.explode("word", ignore_index=True).assign(onset=np.nan, offset=np.nan)
    values = rng.standard_normal((len(words), 5)) + rng.standard_normal((len(words), 1))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[~words["passage"].duplicated()] = np.nan
    names = [f"r{k}" for k in range(5)]
    table = pd.DataFrame({"subject": names, "region": "Pz", "hemisphere": ""}, index=pd.Index(names, name="channel"))
    table[["x", "y", "z", "distance_pmc"]] = np.nan
    responses = xr.DataArray(values, {"channel": names}, ("word", "channel"))
    return Listening("mine", "erp", words, table, responses=responses)


def test_a_folder_of_sentences_runs_through_the_pages(project, sentences, tmp_path, capsys):
    folder = sentences.save(tmp_path / "mine")
    assert cli.main(["check", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "60 passages that stay whole" in told and "01_listening_data_in_people: not with these data" in told
    notebooks = runs.find_notebooks(project / "notebooks")
    given = {name: {"dataset": str(folder), "results": str(tmp_path / name)} | own for name, own in SMALL.items()}
    chapters = {name: notebooks[name] for name in SMALL}
    done = runs.execute_all(runs.Profile("mine", given), chapters, tmp_path / "executed", cwd=project)
    assert [run.notebook for run in done] == list(SMALL)
    for name in SMALL:
        assert json.loads((tmp_path / name / "numbers.json").read_text())["n_people"] == 5


def test_a_folder_that_cannot_be_used_says_why_at_once(sentences, tmp_path, capsys):
    lengths = np.repeat(np.arange(9), [20, 30, 40, 50, 60, 70, 80, 90, 50])
    odd = Listening("odd", "erp", sentences.words.assign(passage=lengths.astype(str)), sentences.channels,
                    responses=sentences.responses)  # fmt: skip
    assert cli.main(["check", str(odd.save(tmp_path / "odd"))]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "join passages that were one recording" in told[-2] and "missing the column(s) ['is_noun'" in told[-1]
