"""The podcast data set: real sidecars with made-up recordings, and a small tree of our own with the same quirks."""

from __future__ import annotations

import shutil
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile
from scipy.ndimage import gaussian_filter1d
from scipy.stats import zscore
from sklearn.decomposition import PCA

from brainalign import assets, cortex
from brainalign.book import runs
from brainalign.datasets import load_listening
from brainalign.datasets.podcast import MARGIN, SUBJECTS, _channels, _Files
from brainalign.features.language import layer_features
from brainalign.features.lesions import graded_family
from brainalign.signals import word_responses

RATE = 512.0


def recording(root: Path, subject: str) -> Path:
    return root / f"derivatives/ecogprep/{subject}/ieeg/{subject}_task-podcast_desc-highgamma_ieeg.fif"


def record(root: Path, subject: str, names: list[str], values: np.ndarray, rate: float = RATE, bads=()) -> None:
    """Write a recording of shape (channel, time), as the authors' derivative has it: single precision."""
    info = mne.create_info(names, rate, "ecog")
    info["bads"] = list(bads)
    path = recording(root, subject)
    path.parent.mkdir(parents=True, exist_ok=True)
    mne.io.RawArray(values, info, verbose="error").save(path, verbose="error", overwrite=True)


def envelopes(n: int, seconds: float, rng: np.random.Generator, rate: float = RATE) -> np.ndarray:
    """Smooth positive noise, a stand-in for high gamma."""
    noise = rng.standard_normal((n, int(seconds * rate)))
    return 3 + mne.filter.filter_data(noise, rate, None, 8.0, verbose="error")


# a small tree with the quirks of the real one

WORDS = [  # two people talk at once at "Well"; then a word without duration, one without times and one without text
    ("Once,", 0.5, 0.8), ("upon", 0.9, 1.1), ("a", 1.15, 1.2), ("time", 1.3, 1.9), ("Well", 1.25, 1.6),
    ("go", 2.0, 2.3), ("on", 2.4, 2.4), ("lost", "n/a", "n/a"), ("", 2.5, 2.6), ("end.", 17.0, 17.4),
]  # fmt: skip

CHANNELS = [  # name, type, status
    ("G1", "ECOG", "bad"), ("G2", "ECOG", "good"), (" G3 ", "ECOG", "good"), ("D1", "SEEG", "good"),
    ("D2", "SEEG", "good"), ("EKG L", "ECG", "good"), ("Pulse Rate", "MISC", "good"), ("D3", "ecog", "good"),
    ("D4", "ECOG", "good"), ("D5", "ECOG", "good"),
]  # fmt: skip

ELECTRODES = [  # in another order, with rows of no channel; D1 far off, D2 "n/a", D3 without a row
    ("D5", -40.0, -20.0, 10.0, "D"), ("D4", -38.0, -31.0, 12.0, "D"), ("D2", "n/a", "n/a", "n/a", "D"),
    ("X9", 1.0, 2.0, 3.0, "S"), ("D1", -90.0, 126.0, 72.0, "D"), ("G3", 62.0, -38.0, 10.0, "G"),
    ("G2", -60.0, -20.0, 5.0, "G"),
]  # fmt: skip


def table(path: Path, columns: str, rows, bom: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in [columns.split(), *rows]]
    path.write_text("\n".join(lines) + "\n" * bom, encoding="utf-8-sig" if bom else "utf-8")


def sidecars(root: Path, subject: str, channels=CHANNELS, electrodes=ELECTRODES, bom: bool = False) -> None:
    stem = root / subject / "ieeg" / subject
    table(Path(f"{stem}_task-podcast_channels.tsv"), "name type status", channels, bom)
    if electrodes is not None:
        table(Path(f"{stem}_space-MNI152NLin2009aSym_electrodes.tsv"), "name x y z group", electrodes, bom)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No mirror, an empty cache but for the atlas, and no network: only the folder of the test."""
    atlas = assets.fetch("desikan-killiany")
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "cache"))
    shutil.copytree(atlas, tmp_path / "cache" / "assets" / atlas.name)
    monkeypatch.delenv("BRAINALIGN_MIRROR", raising=False)
    monkeypatch.setattr(assets, "BESIDE", tmp_path / "beside")

    def refuse(*args, **kwargs):
        raise ConnectionError("the test has no network")

    monkeypatch.setattr(assets, "_transfer", refuse)


@pytest.fixture
def tree(tmp_path, alone, rng):
    """Two people: one as above, one with two channels and no electrodes file."""
    root = tmp_path / "own"
    sidecars(root, "sub-01", bom=True)
    sidecars(root, "sub-04", [("G2", "ECOG", "good"), ("G4", "ECOG", "good")], None)
    table(root / "stimuli/spectral/transcript.tsv", "index word start end", [(i, *row) for i, row in enumerate(WORDS)])
    values = envelopes(7, 18.0, rng)
    values[5] = 7.0
    record(root, "sub-01", ["D4", "D2", "D1", "G3", "G2", "D5", "D3"], values, bads=["D4"])
    record(root, "sub-04", ["G2", "G4"], envelopes(2, 18.0, rng))
    return root


PEOPLE = {"subjects": ["sub-01", "sub-04"]}


def test_the_quirks_of_the_tables(tree):
    data = load_listening("podcast", root=tree, **PEOPLE)
    channels = data.channels
    assert data.modality == "high-gamma" and data.name == "podcast"
    assert channels.index.tolist() == ["sub-01/G2", "sub-01/G3", "sub-01/D1", "sub-01/D2", "sub-01/D3",
                                       "sub-04/G2", "sub-04/G4"]  # fmt: skip
    assert channels["subject"].tolist() == ["sub-01"] * 5 + ["sub-04"] * 2
    assert channels["hemisphere"].tolist() == ["left", "right", "", "", "", "", ""]
    assert channels["x"].notna().tolist() == [True, True, False, False, False, False, False]
    assert channels["group"].tolist() == ["G", "G", "D", "D", "", "", ""]
    np.testing.assert_allclose(channels.loc["sub-01/G2", ["x", "y", "z"]].astype(float),
                               cortex.mni152_to_fsaverage([-60.0, -20.0, 5.0]))  # fmt: skip
    assert channels.loc["sub-01/G3", "region"] in ("superiortemporal", "bankssts", "supramarginal")
    assert data.signal.attrs["dropped"] == ["sub-01/D4", "sub-01/D5"]  # marked bad in the recording, and flat


def test_words_are_sorted_and_never_retimed(tree):
    words = load_listening("podcast", root=tree, **PEOPLE).words
    assert words["word"].tolist() == ["Once,", "upon", "a", "Well", "time", "go", "end."]
    assert words["row"].tolist() == [0, 1, 2, 4, 3, 5, 9] and words["passage"].nunique() == 1
    for row in words.itertuples():
        assert (row.word, row.onset, row.offset) == WORDS[row.row]


def test_signals_are_those_recorded(tree, rng):
    # a sum of slow waves is known at every rate: resampling and z-scoring must give back the waves themselves
    def waves(time):
        return np.array([np.sin(2 * np.pi * f * time + f) for f in (0.5, 3.0, 11.0)])

    names = ["G2", "G3", "D1", "D2", "D3"]
    mixing = rng.standard_normal((len(names), 3))
    record(tree, "sub-01", names[::-1], (500 + mixing @ waves(np.arange(18 * RATE) / RATE))[::-1])
    data = load_listening("podcast", root=tree, subjects="sub-01")
    assert data.signal.dtype == np.float32
    time = data.signal["time"].to_numpy()
    np.testing.assert_allclose(time, np.arange(1800) / 100)
    expected = mixing @ waves(time)
    expected = ((expected - expected.mean(1, keepdims=True)) / expected.std(1, keepdims=True)).T
    inside = slice(30, -30)  # the filter needs some samples at either end
    np.testing.assert_allclose(data.signal.to_numpy()[inside], expected[inside], atol=0.02)
    np.testing.assert_allclose(data.signal.std("time"), 1, atol=1e-4)
    np.testing.assert_allclose(data.responses, word_responses(data.signal, data.words), atol=1e-6)


def test_a_persons_sidecars_come_from_one_place(tmp_path, monkeypatch):
    """An electrodes table of one's own without channels is not mixed with the published channels."""
    own, published = tmp_path / "own", tmp_path / "published"
    sidecars(published, "sub-01")
    sidecars(own, "sub-01", electrodes=[("G2", 1.0, 2.0, 3.0, "G")])
    next(own.rglob("*_channels.tsv")).unlink()
    monkeypatch.setattr(assets, "fetch", lambda name, files=None, download=True: published)
    mixed, plain = (_channels(_Files(root, False), "sub-01") for root in (own, None))
    pd.testing.assert_frame_equal(mixed, plain)


def test_people_load_alone_as_together(tree):
    both = load_listening("podcast", root=tree, **PEOPLE)
    for subject in PEOPLE["subjects"]:
        one = load_listening("podcast", root=tree, subjects=[subject])
        np.testing.assert_array_equal(one.signal, both.signal.sel(channel=one.channels.index.to_numpy()))
        np.testing.assert_array_equal(one.responses, both.responses.sel(channel=one.channels.index.to_numpy()))


@pytest.mark.parametrize("rate", [100.0, 500.0, 512.0, 2048.0])
@pytest.mark.parametrize("samples", [0, 1, 3])
def test_any_rate_and_length(tree, rng, rate, samples):
    values = envelopes(2, 18.0, rng, rate)[:, : int(17.9 * rate) - samples]
    record(tree, "sub-04", ["G2", "G4"], values, rate)
    data = load_listening("podcast", root=tree, subjects=["sub-04"])
    assert data.signal.sizes["time"] == round(values.shape[1] / rate * 100)
    assert np.isfinite(data.signal).all()


def test_max_duration_uses_the_beginning_alone(tree):
    data = load_listening("podcast", root=tree, max_duration=10, **PEOPLE)
    assert data.signal.sizes["time"] == 1000 and data.words["word"].iloc[-1] == "go"
    word_responses(data.signal, data.words, lag=MARGIN - 0.1)  # there is room for lags
    spoilt = np.full((2, int(18 * RATE)), 1e9)
    spoilt[:, : int(10 * RATE)] = mne.io.read_raw_fif(recording(tree, "sub-04"), verbose="error").get_data()[
        :, : int(10 * RATE)
    ]
    record(tree, "sub-04", ["G2", "G4"], spoilt)
    again = load_listening("podcast", root=tree, max_duration=10, **PEOPLE)
    np.testing.assert_array_equal(again.signal, data.signal)  # what follows is not looked at
    with pytest.raises(ValueError, match="no word of the story ends 0.6 s before 1 s"):
        load_listening("podcast", root=tree, max_duration=1, **PEOPLE)


def test_a_recording_that_ends_before_the_words(tree, rng):
    record(tree, "sub-04", ["G2", "G4"], envelopes(2, 9.0, rng))
    for options in ({}, {"max_duration": 18}):
        with pytest.raises(ValueError, match=r"end at 9.0 s, the words at 17.4 s.*max_duration=9"):
            load_listening("podcast", root=tree, **PEOPLE, **options)
    assert len(load_listening("podcast", root=tree, max_duration=9, **PEOPLE).words) == 6


@pytest.mark.parametrize("share", [0.0, 0.01, 0.7])
def test_a_recording_that_breaks_off(tree, share):
    path = recording(tree, "sub-04")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        ValueError, match=r"an incomplete download\? The published one has 527206969 bytes|an incomplete file\?"
    ):
        load_listening("podcast", root=tree, **PEOPLE)
    if share == 0.7:  # the broken end is only met when it is read
        end = mne.io.read_raw_fif(path, verbose="error").times[-1]
        with pytest.raises(ValueError, match=f"cannot be read as a FIF recording.* has {len(whole) * 7 // 10} bytes"):
            load_listening("podcast", root=tree, max_duration=end, **PEOPLE)


def test_sound(tree):
    rate, time = 8000, np.arange(18 * 8000) / 8000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    (tree / "stimuli").mkdir(exist_ok=True)
    wavfile.write(tree / "stimuli/podcast.wav", rate, (np.column_stack([tone, tone / 2]) * 2**15).astype("int16"))
    assert load_listening("podcast", root=tree, **PEOPLE).audio is None
    audio = load_listening("podcast", root=tree, audio=True, max_duration=12, **PEOPLE).audio
    assert audio.rate == 16000 and audio.samples.dtype == np.float32 and len(audio.samples) == 12 * 16000
    expected = 0.375 * np.sin(2 * np.pi * 440 * np.arange(12 * 16000) / 16000)
    np.testing.assert_allclose(audio.samples[200:-200], expected[200:-200], atol=2e-3)
    wavfile.write(tree / "stimuli/podcast.wav", 16000, expected.astype("float32"))
    audio = load_listening("podcast", root=tree, audio=True, max_duration=12, **PEOPLE).audio
    np.testing.assert_allclose(audio.samples, expected, atol=1e-6)


# what goes wrong


def test_missing_recordings_are_named_with_ways_to_get_them(tree, monkeypatch):
    with pytest.raises(assets.AssetError) as caught:
        load_listening("podcast", root=tree, subjects=["sub-01"], audio=True)
    message = str(caught.value)
    assert "1 large file(s) are missing, 0.3 GB" in message and "subjects=" not in message
    recording(tree, "sub-04").unlink()
    with pytest.raises(assets.AssetError) as caught:
        load_listening("podcast", root=tree, audio=True, **PEOPLE)
    message = str(caught.value)
    for part in ["2 large file(s) are missing, 0.8 GB", "sub-04_task-podcast_desc-highgamma_ieeg.fif (527 MB)",
                 "stimuli/podcast.wav (318 MB)", "download=True", "aws s3 cp --no-sign-request s3://openneuro.org/ds005574",
                 "subjects=['sub-01'] to use only"]:  # fmt: skip
        assert part in message
    monkeypatch.setattr(assets, "_transfer", lambda address, part, file: pytest.fail(f"asked for {address}"))
    with pytest.raises(assets.AssetError):
        load_listening("podcast", root=tree, **PEOPLE)  # nothing is fetched unasked


def test_with_download_only_what_is_missing_is_fetched(tree, monkeypatch):
    asked = []
    monkeypatch.setattr(assets, "_transfer", lambda address, part, file: asked.append(address))
    recording(tree, "sub-04").unlink()
    with pytest.raises(assets.AssetError, match="could not be fetched"):
        load_listening("podcast", root=tree, download=True, **PEOPLE)
    assert asked == [
        "https://s3.amazonaws.com/openneuro.org/ds005574/derivatives/ecogprep/sub-04/ieeg/"
        "sub-04_task-podcast_desc-highgamma_ieeg.fif"
    ]


def test_arguments_and_tables_that_are_wrong(tree, rng):
    for subjects in (["sub-10"], ["01"], [], ["sub-01", "sub-01"]):
        with pytest.raises(ValueError, match="subjects: expected different ones of"):
            load_listening("podcast", root=tree, subjects=subjects)
    with pytest.raises(ValueError, match="root: expected a folder"):
        load_listening("podcast", root=tree / "nowhere")
    for max_duration in (0, -1, np.nan):
        with pytest.raises(ValueError, match="max_duration: expected a number above 0"):
            load_listening("podcast", root=tree, max_duration=max_duration)
    record(tree, "sub-04", ["A1", "A2"], envelopes(2, 18.0, rng))
    with pytest.raises(ValueError, match=r"sub-04: none of its good channels is in the recording.*A1"):
        load_listening("podcast", root=tree, **PEOPLE)
    sidecars(tree, "sub-04", [("G2", "ECOG", "good"), ("G2", "ECOG", "good")], None)
    with pytest.raises(ValueError, match=r"channels.tsv: names repeat: \['G2'\]"):
        load_listening("podcast", root=tree, **PEOPLE)
    sidecars(tree, "sub-04", CHANNELS, [*ELECTRODES, ELECTRODES[0]])
    with pytest.raises(ValueError, match=r"electrodes.tsv: names repeat: \['D5'\]"):
        load_listening("podcast", root=tree, **PEOPLE)
    table(tree / "sub-04/ieeg/sub-04_task-podcast_channels.tsv", "name type", [("G2", "ECOG")])
    with pytest.raises(ValueError, match=r"sub-04_task-podcast_channels.tsv: missing the column\(s\) \['status'\]"):
        load_listening("podcast", root=tree, **PEOPLE)


# the real sidecars

MIRRORS = [folder / "ds005574" for folder in assets.mirrors()]
REAL = next((folder for folder in MIRRORS if (folder / "sub-01" / "ieeg").is_dir()), None)
needs_sidecars = pytest.mark.skipif(REAL is None, reason="the sidecars of ds005574 are in no local folder of assets")

GOOD = dict(zip(SUBJECTS, (99, 90, 235, 143, 159, 166, 116, 72, 188), strict=True))
"""Good channels of each person. The published recordings have 4 bytes x 512 Hz x 1800 s for each of these."""


def good_names(subject: str) -> list[str]:
    path = REAL / subject / "ieeg" / f"{subject}_task-podcast_channels.tsv"
    channels = pd.read_csv(path, sep="\t", encoding="utf-8-sig", keep_default_na=False)
    return channels.loc[(channels["type"] == "ECOG") & (channels["status"] == "good"), "name"].tolist()


@needs_sidecars
def test_all_nine_people_load(tmp_path, rng):
    for subject in SUBJECTS:
        names = good_names(subject)
        record(tmp_path, subject, names, envelopes(len(names), 12.0, rng))
    data = load_listening("podcast", root=tmp_path, max_duration=12)
    channels = data.channels
    assert channels["subject"].value_counts(sort=False).to_dict() == GOOD and len(channels) == 1268
    assert channels.index[channels["x"].isna()].tolist() == ["sub-08/DAMT4"]
    assert channels["off_surface"].max() < 14
    # one person has electrodes on the right, two on both sides, one a contact beyond the midline
    right = channels[channels["hemisphere"] == "right"]["subject"].value_counts().to_dict()
    assert right == {"sub-01": 99, "sub-03": 44, "sub-04": 66, "sub-05": 1}
    assert (channels["region"] == "superiortemporal").sum() > 100 and channels["region"].nunique() > 25
    near = channels["distance_pmc"] < 25
    assert set(channels.loc[near, "region"]) <= {"superiortemporal", "transversetemporal", "insula", "supramarginal",
                                                "bankssts", "postcentral", ""}  # fmt: skip
    assert data.signal.sizes == {"time": 1200, "channel": 1268} and len(data.words) == 20


@needs_sidecars
def test_published_sizes_agree_with_the_good_channels():
    sizes = assets.sizes("podcast")
    for subject, n in GOOD.items():
        path = recording(Path(), subject).as_posix()
        assert 0 <= sizes[path] - n * 4 * 512 * 1800 < 100_000
    published = pd.read_csv(REAL / "annexed_files.tsv", sep="\t").set_index("path")
    table = {file.path: file for file in assets._registry()["podcast"].files}
    large = published.index.intersection(list(table))
    assert len(large) == 10
    for path in large:
        assert (table[path].bytes, table[path].sha256) == tuple(published.loc[path, ["bytes", "sha256"]])


@needs_sidecars
def test_the_real_transcript(tmp_path, rng):
    names = ["G2", "G3"]
    record(tmp_path, "sub-01", names, envelopes(2, 1800.0, rng, 64.0), rate=64.0)
    data = load_listening("podcast", root=tmp_path, subjects=["sub-01"])
    words = data.words
    assert len(words) == 5136 and sorted(words["row"]) == list(range(5136))
    assert " ".join(words["word"][:6]) == "Act one, monkey in the middle." and words["word"].iloc[-1] == "it."
    assert (words["onset"].diff().dropna() >= 0).all() and (words["row"].diff() < 0).sum() == 29
    assert (words.sort_values("row")["onset"].diff() < 0).sum() == 19
    assert data.signal.sizes["time"] == 180_000 and data.responses.sizes == {"word": 5136, "channel": 2}
    assert (words["row"] != np.arange(5136)).sum() < 100  # else the text is as it was


# the whole book on it

BRIEF = {"subjects": ["sub-03", "sub-05", "sub-08"], "max_duration": 150, "audio": True}

FAMILY = [graded_family()[k] for k in (0, 2, 3, 4, 6)]
MODELS = {"family": FAMILY, "n_depths": 5}

SMALL = {  # what makes each chapter quick
    "02_layer_alignment_in_people": {"n_rolls": 5, "n_twins": 1, "n_blocks": 3, "step": 15},
    "02_what_else_would_do_in_people": {"n_random": 2, "n_reversed": 3, "n_blocks": 3, "step": 15},
    "03_better_models_in_people": {
        "family": FAMILY,
        "outsiders": ["all-minilm-l6-v2"],
        "n_pairs": 1,
        "n_rolls": 9,
    },
    "04_converging_models_in_people": {"n_depths": 4, "n_rolls": 19, "n_blocks": 3},
    "05_context_in_people": {"contexts": [1, 4, None], "n_depths": 2, "n_blocks": 3, "n_rolls": 4},
    "06_beyond_acoustics_in_people": {"n_components": 10, "n_draws": 3, "n_rolls": 19, "n_blocks": 3},
}


def made_up_people(root: Path, n_channels: int, rng: np.random.Generator) -> None:
    """Recordings of a few channels of three people, a rise at each word after a layer of a language model; a sound."""
    seconds, rate = BRIEF["max_duration"], 128.0
    table = pd.read_csv(REAL / "stimuli/spectral/transcript.tsv", sep="\t", keep_default_na=False)
    words = table[table["end"] < seconds].rename(columns={"start": "onset", "end": "offset"}).assign(passage="story")
    layers = [5, 15, 25]
    states = layer_features(words, "smollm2-135m", layers=layers, start_token=True)
    scores = [PCA(20, whiten=True).fit_transform(zscore(states.sel(layer=layer).to_numpy())) for layer in layers]
    centres = np.round((words["onset"] + words["offset"]).to_numpy() / 2 * rate).astype(int)
    for subject in BRIEF["subjects"]:
        everyone = good_names(subject)
        names = [*everyone[:: len(everyone) // n_channels], *{"DAMT4"}.intersection(everyone)]  # one has no coordinates
        names = sorted(set(names), key=everyone.index)
        values = rng.standard_normal((len(names), int(seconds * rate)))
        for channel in range(len(names)):
            drive = scores[channel % 3] @ rng.standard_normal(20) / np.sqrt(20)
            np.add.at(values[channel], centres, 6 * (1 + drive))
        record(root, subject, names, 20 + gaussian_filter1d(values, 0.06 * rate), rate)
    loudness = np.interp(np.arange(seconds * 16000) / 16000, np.sort(centres) / rate, rng.uniform(0.1, 1, len(centres)))
    (root / "stimuli").mkdir()
    sound = 8000 * loudness * rng.uniform(-1, 1, len(loudness))
    wavfile.write(root / "stimuli/podcast.wav", 16000, sound.astype("int16"))


@pytest.fixture
def profile(project) -> runs.Profile:
    return runs.load_profile(project / "book/profiles/podcast.yml", runs.find_notebooks(project / "notebooks"))


def test_the_profile_runs_every_listening_chapter_on_the_podcast(profile):
    chapters = {name: parameters for name, parameters in profile.notebooks.items() if name[:2] != "01"}
    assert {name[:2] for name in chapters} == {"02", "03", "04", "05", "06"}
    for parameters in chapters.values():
        assert parameters["dataset"] == "podcast" and not parameters["dataset_options"].get("download")
        assert set(parameters["dataset_options"]["subjects"]) == set(SUBJECTS)


@needs_sidecars
def test_the_podcast_profile_runs_from_end_to_end(project, profile, tmp_path, rng):
    made_up_people(tmp_path / "own", 15, rng)
    notebooks = runs.find_notebooks(project / "notebooks")
    chapters = {name: notebooks[name] for name in profile.notebooks if name in SMALL}
    options = {"dataset_options": {**BRIEF, "root": str(tmp_path / "own")}}
    small = {name: {**profile.notebooks[name], **options, **SMALL[name]} for name in chapters}
    for name in small:
        small[name]["results"] = str(tmp_path / "results" / name)
    done = runs.execute_all(runs.Profile("podcast", small), chapters, tmp_path / "executed", cwd=project)
    assert {run.notebook for run in done} == set(SMALL)
