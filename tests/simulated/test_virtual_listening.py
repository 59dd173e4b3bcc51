"""The virtual cohort: what it plants, and that the whole chain finds it again and finds nothing where nothing is."""

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr

from brainalign import signals, stats
from brainalign.datasets import load_listening
from brainalign.features.acoustics import mel_spectrogram, word_acoustics
from brainalign.features.language import context_features, layer_features
from brainalign.layers import alignment, peak_layer
from brainalign.ridge import ContiguousKFold, cross_validate


@pytest.fixture(scope="module")
def cohort():
    return load_listening("virtual-clean", n_language=10, n_empty=2)


@pytest.fixture(scope="module")
def features(cohort):
    return layer_features(cohort.words, start_token=True)


@pytest.fixture(scope="module")
def fit(cohort, features):
    return cross_validate(
        features, cohort.responses, groups=cohort.words["passage"], cv=ContiguousKFold(5, gap=5), inner_cv=3
    )["score"]


def is_kind(cohort, kind: str) -> np.ndarray:
    return (cohort.truth["kind"] == kind).to_numpy()


def test_layout(cohort):
    assert cohort.signal.sizes == {"repeat": 2, "time": 64_441, "channel": 8 * 12 + 10}
    assert cohort.truth["kind"].value_counts().to_dict() == {"language": 80, "empty": 16, "control": 10}
    electrodes = cohort.channels[cohort.channels["hemisphere"] != ""]
    assert set(electrodes["hemisphere"]) == {"left", "right"}
    assert (electrodes["distance_pmc"] >= electrodes["distance_pmc_euclidean"] - 1e-3).all()


def test_layer_context_and_sound_follow_distance(cohort):
    language = is_kind(cohort, "language")
    truth, distance = cohort.truth[language], cohort.channels.loc[language, "distance_pmc"]
    assert spearmanr(distance, truth["layer"]).statistic > 0.95
    assert spearmanr(distance, truth["context"]).statistic > 0.9
    assert spearmanr(distance, truth["acoustic"]).statistic < -0.99
    assert {1.0, 2.0, 4.0, 8.0, np.inf} >= set(truth["context"]) > {1.0, 8.0}


def test_planted_layers_and_their_order_are_recovered(cohort, fit):
    language = is_kind(cohort, "language")
    peak = peak_layer(fit[:, language])
    assert spearmanr(peak, cohort.truth["layer"][language]).statistic >= 0.95
    channels = cohort.channels[language]
    assert alignment(peak, channels["distance_pmc"], subjects=channels["subject"]).low >= 0.8


def test_by_default_scores_are_as_low_as_in_recordings_of_words(features):
    data = load_listening("virtual", n_language=6, n_empty=0, controls=False)
    folds = {"groups": data.words["passage"], "cv": ContiguousKFold(5, gap=5), "inner_cv": 3}
    best = cross_validate(features[::5], data.responses, **folds)["score"].max("layer")
    assert ((best > 0.1) & (best < 0.3)).mean() > 0.75 and 0.15 < best.median() < 0.3
    assert signals.speech_responsive(data.signal, data.words)["responsive"].mean() > 0.7


CONSTANT = {"layer": 16, "context": np.inf, "acoustic": 0.15, "lag": 0.04}


@pytest.mark.parametrize("order", [(), ("layer",), ("window",), ("sound",), ("lag",), ("layer", "window")])
def test_what_is_not_in_order_is_the_same_in_all_electrodes(order):
    small = {"n_subjects": 2, "n_language": 12, "n_empty": 1, "controls": False}
    data, usual = (load_listening("virtual", **options, **small) for options in ({"order": order}, {}))
    assert data.channels.equals(usual.channels)
    language = is_kind(data, "language")
    for name, column in {"layer": "layer", "window": "context", "sound": "acoustic", "lag": "lag"}.items():
        expected = usual.truth[column][language] if name in order else CONSTANT[column]
        np.testing.assert_allclose(data.truth[column][language], expected)
    np.testing.assert_allclose(data.truth["language"] + data.truth["acoustic"], language)


def test_one_layer_everywhere_is_what_drives_a_cohort_without_order(features):
    data = load_listening("virtual", n_subjects=2, n_language=20, n_empty=0, controls=False, order=(), snr=1.0)
    folds = {"groups": data.words["passage"], "cv": ContiguousKFold(5, gap=5), "inner_cv": 3}
    peak = peak_layer(cross_validate(features[::4], data.responses, **folds)["score"])
    assert (peak == 16).mean() > 0.9


def test_control_channels_are_better_explained_by_sound(cohort, fit):
    sound = word_acoustics(mel_spectrogram(cohort.audio.samples, cohort.audio.rate), cohort.words)
    control = cohort.responses[:, is_kind(cohort, "control")]
    by_sound = cross_validate(sound, control, groups=cohort.words["passage"], cv=ContiguousKFold(5, gap=5), inner_cv=3)
    assert (by_sound["score"].isel(layer=0) > fit.sel(channel=control["channel"]).max("layer") + 0.1).all()


def test_noise_ceiling_estimates_the_planted_one(cohort):
    language = is_kind(cohort, "language")
    repeats = signals.word_responses(cohort.signal[:, :, language], cohort.words)
    ceiling = stats.noise_ceiling(repeats)["ceiling"]
    np.testing.assert_allclose(ceiling.mean(), cohort.truth["ceiling"][language].mean(), atol=0.01)


def test_every_language_electrode_answers_to_speech_and_few_empty_ones_do(cohort):
    responsive = signals.speech_responsive(cohort.signal, cohort.words)["responsive"].to_numpy()
    assert responsive[is_kind(cohort, "language")].mean() > 0.7 and responsive[is_kind(cohort, "control")].all()
    assert responsive[is_kind(cohort, "empty")].sum() <= 3


def test_noise_is_autocorrelated_and_independent_between_repeats(cohort):
    empty = cohort.signal[:, :, is_kind(cohort, "empty")].values
    assert np.mean([np.corrcoef(x[:-5], x[5:])[0, 1] for x in empty[0].T]) > 0.1
    assert np.abs([np.corrcoef(*empty[:, :, index])[0, 1] for index in range(empty.shape[2])]).max() < 0.1


def test_the_planted_context_is_the_one_that_counts(cohort):
    language = is_kind(cohort, "language")
    truth = cohort.truth[language]
    folds = {"groups": cohort.words["passage"], "cv": ContiguousKFold(5, gap=5), "inner_cv": 3}
    middle = context_features(cohort.words, "smollm2-135m", [1, None], layers=[1, 26], start_token=True)
    one, whole = (
        cross_validate(part, cohort.responses[:, language], **folds)["score"].max("layer").values for part in middle
    )
    short, long = (truth["context"] == 1).to_numpy(), np.isinf(truth["context"]).to_numpy()
    assert short.sum() > 5 and long.sum() > 5
    assert (one > whole)[short].mean() > 0.9 and (whole > one + 0.1)[long].all()


def test_sound_fades_with_distance(cohort):
    language = is_kind(cohort, "language")
    sound = word_acoustics(mel_spectrogram(cohort.audio.samples, cohort.audio.rate), cohort.words)
    folds = {"groups": cohort.words["passage"], "cv": ContiguousKFold(5, gap=5), "inner_cv": 3}
    score = cross_validate(sound, cohort.responses[:, language], **folds)["score"][0]
    assert spearmanr(score, cohort.channels.loc[language, "distance_pmc"]).statistic < -0.8


def test_signals_rise_during_speech_by_the_stated_amount():
    # Without noise to speak of, and in units of the signal during speech.
    cohort = load_listening("virtual", n_subjects=2, n_language=8, n_empty=0, n_repeats=1, snr=1e4, controls=False)
    time, words = cohort.signal["time"].values, cohort.words
    inside = ((time[:, None] >= words["onset"].values) & (time[:, None] < words["offset"].values)).any(1)
    pause = np.ones(len(time), dtype=bool)
    for onset, offset in words[["onset", "offset"]].values:
        pause[(time > onset - 0.4) & (time < offset + 0.6)] = False
    values = cohort.signal[0].values
    rise = (values[inside].mean(0) - values[pause].mean(0)) / values[inside].std(0)
    assert 0.7 < np.median(rise) < 1.8


def test_empty_electrodes_are_called_significant_at_most_at_the_nominal_rate(features):
    cohort = load_listening("virtual", n_subjects=8, n_language=1, n_empty=55, controls=False, seed=1)
    empty, passages = is_kind(cohort, "empty"), cohort.words["passage"]
    assert empty.sum() == 440
    responses = cohort.responses[:, empty]
    some = features.isel(layer=slice(0, None, 6))
    folds = {"groups": passages, "cv": ContiguousKFold(5, gap=5), "inner_cv": 3, "alphas": np.logspace(0, 7, 8)}
    fit = cross_validate(some, responses, null=stats.Shifts(8, min_shift=10), **folds).max("layer")
    p = stats.p_values(fit["score"], fit["null"], pool=True)
    assert binomtest(int((p < 0.05).sum()), 440, 0.05).pvalue > 0.01
    # Beside electrodes that are found, as many as there are empty ones, the rate allows some false ones, and no more.
    called = stats.fdr(np.concatenate([p.values, np.full(440, 1e-6)]))[0][:440].sum()
    assert binomtest(int(called), 440, 0.05, alternative="greater").pvalue > 0.01


def test_same_seed_same_numbers():
    small = {"n_subjects": 2, "n_language": 2, "n_empty": 1, "controls": False}
    one, again, other = (load_listening("virtual", seed=seed, **small).signal.values for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"snr": 0.0}, "snr: expected a number above 0"),
        ({"n_subjects": 0}, "n_subjects: expected a whole number of at least 1"),
        ({"order": ["layers"]}, "order: expected one of 'layer', .* got 'layers'"),
        ({"order": "layer"}, "order: expected one of 'layer', .* got 'l'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        load_listening("virtual", **options)


def test_a_cohort_without_language_holds_sound_alone():
    silent = load_listening("virtual", n_subjects=2, n_language=6, n_empty=2, language=False)
    truth = silent.truth
    assert truth["kind"].value_counts().to_dict() == {"sound": 12, "empty": 4, "control": 10}
    sound = is_kind(silent, "sound")
    assert (truth["acoustic"][sound] == 1).all() and (truth["language"][sound] == 0).all()
    assert truth.loc[sound, ["layer", "context", "lag"]].isna().all(axis=None)
    # The same electrodes, once with and once without language, share places and sound.
    spoken = load_listening("virtual", n_subjects=2, n_language=6, n_empty=2)
    assert silent.channels["vertex"].equals(spoken.channels["vertex"])
    folds = {"groups": silent.words["passage"], "cv": ContiguousKFold(5, gap=5), "inner_cv": 3}
    acoustics = word_acoustics(mel_spectrogram(silent.audio.samples, silent.audio.rate), silent.words)
    by_sound = cross_validate(acoustics, silent.responses[:, sound], **folds)["score"].isel(layer=0)
    layer = layer_features(silent.words, layers=[15], start_token=True)
    by_word = cross_validate(layer, silent.responses[:, sound], **folds)["score"].isel(layer=0)
    assert (by_sound > by_word).all()
