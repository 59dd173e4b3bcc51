"""Real fMRI: what the files say of themselves must hold of what is loaded, and the captions must be captions."""

import shutil

import numpy as np
import pytest
from scipy.io import loadmat
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from brainalign import assets
from brainalign.datasets.objects92 import model_rdms, objects92

FIRST, SECOND = np.triu_indices(92, 1)
SUPPLEMENT = "Kriegeskorte_Neuron2008_supplementalData.mat"


@pytest.fixture(scope="module")
def data():
    return objects92()


@pytest.fixture(scope="module")
def models():
    return model_rdms()


@pytest.fixture(scope="module")
def supplement():
    return loadmat(assets.fetch("objects92", [SUPPLEMENT]) / SUPPLEMENT, squeeze_me=True)


# captions


def test_every_image_has_captions_of_its_own(data):
    captions = data.captions
    assert list(captions.columns) == ["image", "caption_id", "caption"] and captions["image"].is_monotonic_increasing
    assert captions["image"].value_counts().reindex(range(92), fill_value=0).ge(2).all()
    assert captions["caption"].str.lower().is_unique


def test_captions_are_plain_english_sentences_of_cocos_length(data):
    for caption in data.captions["caption"]:
        assert caption.isascii() and caption[0].isupper() and caption.endswith("."), caption
        words = caption.rstrip(".").replace(",", "").split(" ")
        assert 6 <= len(words) <= 14, caption
        assert all(word.replace("'", "").replace("-", "").isalpha() for word in words), caption


def test_captions_of_an_image_are_worded_differently(data):
    for image, captions in data.captions.groupby("image")["caption"]:
        words = [set(caption.lower().rstrip(".").split()) for caption in captions]
        for i in range(len(words)):
            for other in words[:i]:
                assert len(words[i] & other) < 0.75 * len(words[i] | other), image


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("monkeyape", "monkey|baboon|chimp|chimpanzee|macaque"),
        ("face", "face|head|portrait|man|woman|boy|child|close-up"),
        ("human", "hand|ear|head|hair|eye|fist|finger|arm|man|woman|lady|dancer|boy|child|chef|cook|person"),
    ],
)
def test_captions_fit_the_published_labels(data, label, names):
    """A caption that has slipped to another image would name something of another category."""
    named = data.captions["caption"].str.contains(rf"\b(?:{names})(?:'s)?\b", case=False)
    named = named.groupby(data.captions["image"]).any()
    labelled = data.categories[label]
    assert named[labelled].all(), f"no caption of these says what they are: {list(named[labelled & ~named].index)}"
    if label == "monkeyape":
        assert not named[~labelled].any()


# images, categories


def test_images_and_categories(data):
    assert data.images.dtype == np.uint8 and data.images.shape == (92, 175, 175, 3)
    assert (data.images[:, 0, 0] == 128).all()
    counts = {"animate": 48, "inanim": 44, "human": 24, "nonhumani": 24, "body": 24, "face": 24, "natObj": 23}
    counts |= {"artiObj": 21, "rand24": 22, "rand48": 46, "other48": 46, "monkeyape": 7}
    assert data.categories.sum().to_dict() == counts
    assert (data.categories["rand48"] != data.categories["other48"]).all()


def test_images_are_in_four_dozens_then_natural_then_artificial(data):
    labels = data.categories
    for first, column, other in [(0, "human", "body"), (12, "human", "face")]:
        assert labels.index[labels[column] & labels[other]].tolist() == list(range(first, first + 12))
        assert labels.index[labels["nonhumani"] & labels[other]].tolist() == list(range(first + 24, first + 36))
    assert labels.index[labels["natObj"]].tolist() == list(range(48, 71))
    assert labels.index[labels["artiObj"]].tolist() == list(range(71, 92))


def test_the_labels_of_the_pictures_are_those_of_the_table(data, supplement):
    each = supplement["stimuli_92objs"]
    labels = data.categories
    expected = {"human": labels["human"], "face": labels["face"], "animal": labels["animate"]}
    expected["natural"] = labels["animate"] | labels["natObj"]
    for field, column in expected.items():
        assert each[field].astype(bool).tolist() == column.tolist(), field


# RDMs


def test_rdms_are_of_four_people_in_two_sessions(data):
    assert data.rdms.dims == ("subject", "session", "pair") and data.rdms.shape == (4, 2, 4186)
    assert data.rdms["subject"].values.tolist() == ["BE", "KO", "SN", "TI"]
    assert data.rdms["session"].values.tolist() == [1, 2]
    assert ((data.rdms > 0) & (data.rdms < 2)).all()
    assert len(np.unique(data.rdms.values.reshape(8, -1), axis=0)) == 8


def test_pairs_are_in_the_order_of_the_published_figure(data, models, supplement):
    """Figure 1 of the paper: the mean human RDM and the monkeys', condensed by the authors."""
    monkey, human = (np.asarray(rdm, dtype=float) for rdm in supplement["RDMs_mIT_hIT_fig1"]["RDM"])
    np.testing.assert_allclose(data.rdms.mean(("subject", "session")), human, atol=1e-6)
    np.testing.assert_allclose(models.sel(model="monkeyIT"), monkey, atol=1e-6)


def test_images_and_model_rdms_are_in_one_order(data, models):
    """The silhouettes' RDM is computed anew from the images."""
    shapes = (data.images != 128).any("colour").values.reshape(92, -1).astype(float)
    np.testing.assert_allclose(models.sel(model="Silhouette"), pdist(shapes, "correlation"), atol=1e-9)


def test_categories_and_model_rdms_are_in_one_order(data, models):
    labels = data.categories
    for model, columns in {
        "animacy": ["animate", "inanim"],
        "FaceBodyManmadeNatobj": ["face", "body", "artiObj", "natObj"],
    }.items():
        group = labels[columns].to_numpy().argmax(1)
        assert (labels[columns].sum(axis=1) == 1).all()
        np.testing.assert_array_equal(models.sel(model=model), group[FIRST] != group[SECOND])


@pytest.mark.parametrize("source", ["people", "monkeys"])
def test_responses_part_where_animate_images_end(data, models, source):
    rdm = data.rdms.mean(("subject", "session")) if source == "people" else models.sel(model="monkeyIT")
    gaps = {}
    for boundary in range(4, 89):
        animate = np.arange(92) < boundary
        apart = animate[FIRST] != animate[SECOND]
        gaps[boundary] = float(rdm[apart].mean() - rdm[~apart].mean())
    assert max(gaps, key=gaps.get) == 48 and gaps[48] > 0.05


def test_order_of_images_is_that_of_monkeys_within_categories_too(data, models):
    """Beyond the blocks: images that are alike to monkeys are alike to people, if, and only if, they are the same."""
    human = data.rdms.mean(("subject", "session")).values
    group = np.repeat(np.arange(6), [12, 12, 12, 12, 23, 21])
    square = np.zeros((92, 92))
    square[FIRST, SECOND] = square[SECOND, FIRST] = models.sel(model="monkeyIT")
    within = group[FIRST] == group[SECOND]

    def agreement(order):
        return spearmanr(human[within], square[np.ix_(order, order)][FIRST, SECOND][within])[0]

    rng = np.random.default_rng(0)
    shuffled = [
        agreement(np.concatenate([rng.permutation(np.flatnonzero(group == g)) for g in range(6)])) for _ in range(99)
    ]
    assert agreement(np.arange(92)) > max(shuffled)


def test_sessions_of_a_person_agree(data):
    documented = {"BE": 0.28, "KO": 0.10, "SN": 0.38, "TI": 0.12}
    rng = np.random.default_rng(0)
    for subject in data.rdms["subject"].values:
        first, second = data.rdms.sel(subject=subject).values
        square = np.zeros((92, 92))
        square[FIRST, SECOND] = square[SECOND, FIRST] = second
        orders = [rng.permutation(92) for _ in range(99)]
        shuffled = [spearmanr(first, square[np.ix_(order, order)][FIRST, SECOND])[0] for order in orders]
        agreement = spearmanr(first, second)[0]
        assert agreement == pytest.approx(documented[subject], abs=0.005)
        assert np.mean(np.array(shuffled) >= agreement) < 0.05, subject


def test_models_are_all_there(models):
    assert models.dims == ("model", "pair") and models.shape == (8, 4186)
    assert (models >= 0).all() and (models.max("pair") <= 2).all()


# what goes wrong


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty cache, no mirror and no network."""

    def refuse(*args, **kwargs):
        raise ConnectionError("the test has no network")

    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BRAINALIGN_MIRROR", raising=False)
    monkeypatch.setattr(assets, "BESIDE", tmp_path / "beside")
    monkeypatch.setattr(assets, "_transfer", refuse)


@pytest.mark.parametrize(("load", "file"), [(objects92, SUPPLEMENT), (model_rdms, "92_modelRDMs.mat")])
def test_files_that_cannot_be_had_are_named(alone, load, file):
    with pytest.raises(assets.AssetError, match=f"'objects92' could not be fetched(.|\n)*{file}"):
        load()


def test_damaged_files_are_refused(tmp_path, monkeypatch, request):
    good = assets.fetch("objects92", ["92_modelRDMs.mat"]) / "92_modelRDMs.mat"
    mirror = tmp_path / "mirror" / "objects92"
    mirror.mkdir(parents=True)
    shutil.copyfile(good, mirror / good.name)
    with (mirror / good.name).open("r+b") as file:
        file.seek(1000)
        file.write(b"damaged")
    request.getfixturevalue("alone")
    monkeypatch.setenv("BRAINALIGN_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(assets.AssetError, match="92_modelRDMs.mat.*SHA-256"):
        model_rdms()
