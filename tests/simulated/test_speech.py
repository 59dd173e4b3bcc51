"""The speech sample and its alignment."""

import numpy as np
import pandas as pd
import pytest

from brainalign import assets
from brainalign.datasets.types import Audio, word_problems
from brainalign.features.acoustics import mel_spectrogram, word_acoustics
from brainalign.simulated.speech import PRONUNCIATIONS, align_words, naplib_speech


@pytest.fixture(scope="module")
def speech():
    return naplib_speech()


def test_every_word_is_timed_inside_its_passage(speech):
    assert len(speech.words) == 1821 and speech.words["passage"].nunique() == 10
    assert not list(word_problems(speech.words))
    spans = speech.passages.set_index("passage").loc[speech.words["passage"]]
    # The silence at either end is 1 s by the sample's own account; the aligner may stray over it by a few frames.
    assert (speech.words["onset"].to_numpy() > spans["speech_start"] - 0.05).all()
    assert (speech.words["offset"].to_numpy() < spans["end"]).all()
    durations = speech.words["offset"] - speech.words["onset"]
    assert 0.2 < durations.mean() < 0.35 and durations.max() < 1.5
    assert {"I", "yapping"} <= set(speech.words["word"]) and "i" not in set(speech.words["word"])


def test_aligned_words_are_louder_than_the_pauses(speech):
    rate = speech.audio.rate
    samples = np.arange(len(speech.audio.samples)) / rate
    inside = np.zeros(len(samples), dtype=bool)
    for onset, offset in speech.words[["onset", "offset"]].to_numpy():
        inside[int(onset * rate) : int(offset * rate)] = True
    power = speech.audio.samples**2
    assert power[inside].mean() > 50 * power[~inside].mean()


def test_tracks_share_one_clock(speech):
    assert speech.spectrogram.sizes["time"] == speech.strf.sizes["time"]
    envelope = mel_spectrogram(speech.audio.samples, speech.audio.rate).mean("feature")
    theirs = speech.spectrogram.mean("band")
    n = min(len(envelope), len(theirs))
    lags = range(-20, 21)
    fits = [np.corrcoef(np.roll(envelope.values[:n], lag), theirs.values[:n])[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(fits))]) <= 2 and max(fits) > 0.6


def first_words(speech):
    """The first sentences, up to a pause: 20 words, then more than 0.2 s of silence."""
    pauses = speech.words["onset"].to_numpy()[1:] - speech.words["offset"].to_numpy()[:-1]
    n = 20 + int(np.argmax(pauses[19:] > 0.2))
    end = speech.words["offset"].iloc[n - 1] + 0.15
    audio = Audio(speech.audio.samples[: int(end * speech.audio.rate)], speech.audio.rate)
    return audio, speech.words["word"][:n].str.lower().tolist()


def test_alignment_is_cached(speech, monkeypatch, tmp_path):
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path))
    audio, text = first_words(speech)
    fresh = align_words(audio, text)
    stored = list((assets.cache_dir() / "alignments").iterdir())
    assert [path.suffix for path in stored] == [".csv"]
    marked = pd.read_csv(stored[0])
    marked.loc[0, "onset"] = 0.125
    marked.to_csv(stored[0], index=False)
    assert align_words(audio, text)["onset"][0] == 0.125
    assert fresh["word"].tolist() == text


def test_alignment_follows_a_shift_of_the_sound(speech, monkeypatch, tmp_path):
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path))
    audio, text = first_words(speech)
    later = Audio(np.concatenate([np.zeros(int(audio.rate / 2)), audio.samples]), audio.rate)
    shift = align_words(later, text)["onset"] - align_words(audio, text)["onset"]
    assert abs(shift.median() - 0.5) <= 0.02


def test_alignment_errors(speech):
    audio, text = first_words(speech)
    with pytest.raises(ValueError, match=r"no pronunciation for \['brillig', 'zzyzx'\]"):
        align_words(audio, [*text, "zzyzx", "brillig"])
    with pytest.raises(ValueError, match="could not be aligned"):
        align_words(Audio(audio.samples[:20_000], audio.rate), text * 20)
    with pytest.raises(ValueError, match="audio: expected samples that are not all zero"):
        align_words(Audio(np.zeros(1000), 11025.0), text)


def test_added_pronunciations_are_only_those_that_are_needed(speech):
    from pocketsphinx import Decoder

    decoder = Decoder(lm=None, loglevel="FATAL")
    lacking = {word for word in speech.words["word"].str.lower() if decoder.lookup_word(word) is None}
    assert lacking == set(PRONUNCIATIONS)


def test_mel_spectrogram_puts_a_tone_in_its_band_and_time():
    rate = 11025.0
    time = np.arange(int(2 * rate)) / rate
    tone = np.where(time > 1, np.sin(2 * np.pi * 1000 * time), 0) + 1e-3 * np.random.default_rng(0).standard_normal(
        len(time)
    )
    found = mel_spectrogram(tone, rate)
    assert found.sizes["time"] == 200
    rise = found.sel(time=slice(1.1, 1.9)).mean("time") - found.sel(time=slice(0.1, 0.9)).mean("time")
    band = rise.sizes["feature"] - 1 - int(np.argmin(np.abs(found["feature"].values[::-1] - 1000)))
    level = found.isel(feature=band)
    onset = float(level["time"][int(np.argmax(level.values > (level.values.max() + level.values.min()) / 2))])
    assert abs(onset - 1) <= 0.02
    with pytest.raises(ValueError, match="samples: expected sound, got zeros"):
        mel_spectrogram(np.zeros(1000), rate)


def test_word_acoustics_stacks_lags(speech):
    sound = mel_spectrogram(speech.audio.samples, speech.audio.rate, n_bands=8)
    found = word_acoustics(sound, speech.words[:50], lags=(-0.1, 0.0))
    assert found.shape == (50, 16)
    # A sound that is nothing but time: the first columns must hold the earlier moment.
    clock = sound.copy(data=np.repeat(sound["time"].values[:, None], 8, axis=1))
    centres = speech.words[:50][["onset", "offset"]].mean(axis=1).to_numpy()
    when = word_acoustics(clock, speech.words[:50], lags=(-0.1, 0.0)).values
    np.testing.assert_allclose(when[:, 0], centres - 0.1, atol=0.011)
    np.testing.assert_allclose(when[:, 8], centres, atol=0.011)
