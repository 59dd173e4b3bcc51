"""Virtual viewers: what is planted, that simple methods find it again, and that nothing is where nothing was put."""

import numpy as np
import pytest
from scipy.stats import binomtest, mannwhitneyu, pearsonr
from sklearn.linear_model import RidgeCV

from brainalign import cortex, stats
from brainalign.datasets import load_viewing
from brainalign.features import captions
from brainalign.rsa import rdm, searchlight
from brainalign.simulated.viewing import (
    GRID,
    N_ORIENTATIONS,
    N_SCALES,
    STREAMS,
    _draw_tuning,
    _neighbour_means,
    gabor_energies,
)

LIGHT = "all-minilm-l6-v2"
HIGH = ("ventral", "lateral", "parietal")


@pytest.fixture(scope="module")
def data():
    return load_viewing("virtual", n_subjects=2, n_train=100, embeddings=LIGHT)


@pytest.fixture(scope="module")
def sentences(data):
    return captions.embed(data.captions, LIGHT).to_numpy()


def mask(data, roi: str, drive: str) -> np.ndarray:
    return (data.rois[roi] & (data.truth["drive"] == drive)).to_numpy()


def columns(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


def scores(data, features: np.ndarray, subject: str) -> np.ndarray:
    """Correlation of each vertex with a plain ridge prediction on the test images."""
    train, test = data.train_images(subject), list(data.test_images)
    responses = data.mean_responses(subject)
    features = (features - features.mean(0)) / features.std()
    ridge = RidgeCV(np.logspace(1, 6, 6)).fit(features[train], responses.sel(image=train))
    return (columns(ridge.predict(features[test])) * columns(responses.sel(image=test).to_numpy())).mean(0)


def test_layout(data):
    assert data.subjects == ["v01", "v02"]
    assert data.images.shape == (300, 128, 128, 3)
    assert data.responses["v01"].dtype == np.float32
    assert data.responses["v01"].sizes == {"repeat": 3, "image": 200, "vertex": len(data.truth)}
    assert not set(data.train_images("v01")) & set(data.train_images("v02"))
    assert list(data.rois) == list(STREAMS)
    assert (data.rois.sum(axis=1) <= 1).all()
    drives = data.truth["drive"].value_counts()
    assert set(drives.index) == {"pixels", "caption", "none"}
    assert drives.min() > 500
    assert (data.truth.loc[mask(data, "early", "pixels")]["zone"] == "").all()
    # the cortex of both hemispheres, noise both within the high-level ROIs and outside of all
    region = np.concatenate([cortex.regions(side) for side in cortex.HEMISPHERES])
    np.testing.assert_array_equal(data.truth.index, np.flatnonzero(region != ""))
    outside = data.truth[~data.rois.any(axis=1)]
    assert (outside["drive"] == "none").all() and (outside["snr"] == 0).all() and len(outside) > 10_000
    assert min(mask(data, roi, "none").sum() for roi in HIGH) > 10


def test_zones_lie_on_both_sides_of_the_brain(data):
    found = data.truth.assign(left=data.truth.index < 10_242).query("zone != ''").groupby(["area", "left"]).size()
    assert len(found) == 14
    assert found.min() >= 5
    assert (data.truth.query("zone != ''")["drive"] == "caption").all()


def test_same_seed_same_numbers():
    small = {"n_subjects": 1, "n_train": 20, "n_test": 40, "embeddings": LIGHT}
    one, again, other = (load_viewing("virtual", seed=seed, **small) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.responses["v01"], again.responses["v01"])
    assert one.truth.equals(again.truth)
    assert one.captions.equals(again.captions)
    assert not one.captions.equals(other.captions)


def test_some_regions_hold_what_they_hold_in_the_whole_cortex():
    clean = {"n_subjects": 1, "n_train": 5, "n_test": 20, "n_repeats": 1, "snr": 1e6, "embeddings": LIGHT}
    whole = load_viewing("virtual", **clean)
    for roi, names in (("ventral", ["ventral"]), (["early", "parietal"], ["early", "parietal"]), ("streams", STREAMS)):
        part = load_viewing("virtual", roi=roi, **clean)
        wanted = whole.rois.index[whole.rois[list(names)].any(axis=1)]
        assert part.truth.equals(whole.truth.loc[wanted])
        assert part.rois.equals(whole.rois.loc[wanted, list(names)])
        driven = wanted[part.truth["drive"] != "none"]
        one, other = (found.responses["v01"].sel(vertex=driven) for found in (part, whole))
        np.testing.assert_allclose(one, other, atol=0.02)


def test_the_searchlight_finds_the_zones_in_the_cortex(data, sentences):
    """Against all of noise, in the mean map and in each person's; what lies near shares in it, what is far does not."""
    meshes = [cortex.mesh(side) for side in cortex.HEMISPHERES]
    discs = searchlight.geodesic_discs(meshes, 10, vertices=data.truth.index)
    maps = []
    for subject in data.subjects:
        images = data.images_of(subject)
        batches = np.arange(len(images)).reshape(-1, 100)
        models = {"sentence": rdm(sentences[images][batches])}
        maps.append(searchlight.rsa_map(data.mean_responses(subject, images), models, discs, batches=batches)[0])
    truth = data.truth.loc[maps[0]["centre"].to_numpy()]
    zones, noise = (truth["zone"] != "").to_numpy(), (truth["drive"] == "none").to_numpy()
    patches = noise & data.rois.loc[truth.index, list(HIGH)].any(axis=1).to_numpy()
    far = noise & (discs.members @ (data.truth["drive"] != "none").to_numpy().astype(int) == 0)
    for found in (np.mean(maps, axis=0), *maps):
        assert area(found[zones], found[noise]) > 0.95
        assert area(found[patches], found[far]) > 0.9
        assert abs(found[far].mean()) < 0.01


def area(found: np.ndarray, others: np.ndarray) -> float:
    """The share of pairs in which the first is larger: the area under the curve."""
    return mannwhitneyu(found, others).statistic / (len(found) * len(others))


def test_noise_ceiling_estimates_the_planted_one(data):
    for subject in data.subjects:
        ceiling = stats.noise_ceiling(data.responses[subject])["ceiling"].to_numpy()
        driven = (data.truth["drive"] != "none").to_numpy()
        np.testing.assert_allclose(ceiling[driven].mean(), data.truth["ceiling"][driven].mean(), atol=0.02)
        assert pearsonr(ceiling[driven], data.truth["ceiling"][driven]).statistic > 0.6
        assert ceiling[~driven].mean() < 0.25


def test_early_vertices_follow_pixels_and_the_others_captions(data, sentences):
    pixels = gabor_energies(data.images)
    for subject in data.subjects:
        by_pixels, by_captions = scores(data, pixels, subject), scores(data, sentences, subject)
        early = mask(data, "early", "pixels")
        assert by_pixels[early].mean() > by_captions[early].mean() + 0.1
        for roi in HIGH:
            here = mask(data, roi, "caption")
            assert by_captions[here].mean() > by_pixels[here].mean() + 0.1
            assert by_captions[here].mean() > 0.4


def test_nothing_is_found_in_noise_beyond_the_nominal_rate(data, sentences):
    nothing = (data.truth["drive"] == "none").to_numpy()
    for subject in data.subjects:
        responses = data.responses[subject].to_numpy()[:, :, nothing]
        r = scores(data, sentences, subject)[nothing]
        t = r * np.sqrt((len(data.test_images) - 2) / (1 - r**2))
        called = int((np.abs(t) > 1.984).sum())  # p < 0.05 with 98 degrees of freedom
        assert binomtest(called, len(t), 0.05).pvalue > 0.01
        one, two = columns(responses[0]), columns(responses[1])
        assert abs((one * two).mean()) < 0.01


def test_the_whole_sentence_counts(data, sentences):
    """Words alone and categories lie farther from the responses than sentences do, in every person and ROI."""
    test = list(data.test_images)
    rows = data.captions[data.captions["image"].isin(test)]
    shown = {
        "sentence": sentences[test],
        "words": captions.embed(rows, LIGHT, kind="words").to_numpy(),
        "categories": data.categories.loc[test].to_numpy(float),
    }
    models = {level: rdm(features) for level, features in shown.items()}
    for subject in data.subjects:
        responses = data.mean_responses(subject, test).to_numpy()
        for roi in HIGH:
            brain = rdm(responses[:, mask(data, roi, "caption")])
            match = {level: pearsonr(model, brain).statistic for level, model in models.items()}
            assert match["sentence"] > 0.5
            assert match["sentence"] > match["words"] + 0.1
            assert match["sentence"] > match["categories"] + 0.1


def test_zones_prefer_their_category(data):
    for subject in data.subjects:
        images = data.images_of(subject)
        responses = data.mean_responses(subject).to_numpy()
        shows = data.categories.loc[images]
        for category, against in (("person", "place"), ("place", "person"), ("food", "person")):
            yes, no = shows[category] & ~shows[against], shows[against] & ~shows[category]
            contrast = responses[yes].mean(0) - responses[no].mean(0)
            zone = (data.truth["zone"] == category).to_numpy()
            nothing = (data.truth["drive"] == "none").to_numpy()
            assert area(contrast[zone], contrast[nothing]) > 0.95, (subject, category)


def test_people_share_some_of_their_tuning_and_no_noise(data):
    one, two = (data.mean_responses(subject, data.test_images).to_numpy() for subject in data.subjects)
    together = (columns(one) * columns(two)).mean(0)
    told = ((data.truth["drive"] == "caption") & (data.truth["zone"] == "")).to_numpy()
    # the correlation of two people is the share of tuning in common, weakened by the noise of both
    expected = 0.6 * data.truth["ceiling"][told] ** 2
    assert together[told].mean() == pytest.approx(expected.mean(), abs=0.05)
    assert abs(together[(data.truth["drive"] == "none").to_numpy()].mean()) < 0.01


def test_tuning_is_smooth_and_of_even_variance(rng):
    here = [np.flatnonzero(np.isin(cortex.regions(side), STREAMS["lateral"])) for side in cortex.HEMISPHERES]
    vertices = np.r_[here[0], here[1] + 10_242]
    tuning = _draw_tuning(400, _neighbour_means(vertices), rng)[:, :-2]
    assert tuning.var(1).mean() == pytest.approx(1, abs=0.02)
    assert np.abs(tuning.var(1) - 1).max() < 0.4
    neighbours = _neighbour_means(vertices).tocoo()
    apart = neighbours.row != neighbours.col
    alike = (tuning[neighbours.row[apart]] * tuning[neighbours.col[apart]]).mean()
    assert 0.7 < alike < 0.97
    # one hemisphere does not reach the other
    assert np.abs(tuning[: len(here[0])] @ tuning[len(here[0]) :].T / 400).max() < 0.3


def grating(frequency: float, angle: float, side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    wave = np.cos(2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y))
    return np.repeat((127 + 100 * wave).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("scale", range(N_SCALES))
@pytest.mark.parametrize("orientation", range(N_ORIENTATIONS))
def test_a_grating_drives_the_filter_of_its_scale_and_orientation(scale, orientation):
    image = grating(1 / (4 * 2**scale), orientation * np.pi / N_ORIENTATIONS)
    found = gabor_energies(image[None]).reshape(N_SCALES, N_ORIENTATIONS, GRID, GRID).mean((2, 3))
    assert np.unravel_index(found.argmax(), found.shape) == (scale, orientation)


def test_gabor_energies_know_the_place_and_turn_with_the_picture(rng):
    image = np.full((128, 128, 3), 128, np.uint8)
    image[:32, 96:] = rng.integers(0, 255, (32, 32, 3))
    found, turned, doubled = (
        gabor_energies(picture[None]).reshape(N_SCALES, N_ORIENTATIONS, GRID, GRID)
        for picture in (image, image[:, ::-1], np.concatenate([image, image]).repeat(1, 1)[:128])
    )
    np.testing.assert_array_equal(found, doubled)
    assert found[..., :2, 6:].mean() > 5 * found[..., 4:, :4].mean()
    # mirrored left to right: 45 and 135 degrees change places
    np.testing.assert_allclose(turned[0, [0, 3, 2, 1]], found[0][..., ::-1], rtol=0.2, atol=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_test": 2}, "n_test: expected a whole number of at least 3, got 2"),
        ({"snr": 0.0}, "snr: expected a number above 0"),
        ({"roi": ["ventral", "FFA"]}, "roi: expected one of 'early', .* got 'FFA'"),
        ({"roi": []}, "number of roi: expected a whole number of at least 1"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        load_viewing("virtual", **options)


def test_pictures_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"images: expected \(image, height, height, 3\), height a multiple of 64"):
        gabor_energies(np.zeros((2, 100, 100, 3), np.uint8))


def test_unknown_data_set_is_named():
    with pytest.raises(ValueError, match="no viewing data set 'virtuel'.*Did you mean 'virtual'"):
        load_viewing("virtuel")
