"""Real speech with its transcript, aligned word by word."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import h5py
import numpy as np
import pandas as pd
import xarray as xr
from scipy.signal import resample_poly

from brainalign import assets
from brainalign._io import placed
from brainalign.datasets.types import Audio

ALIGNER_RATE = 16_000
"""Hz. The rate of the aligner's acoustic model."""

PRONUNCIATIONS = {
    "jingling": "JH IH NG G AH L IH NG",
    "quills": "K W IH L Z",
    "squalled": "S K W AO L D",
    "squinted": "S K W IH N T IH D",
    "yapped": "Y AE P T",
    "yapping": "Y AE P IH NG",
}
"""ARPAbet pronunciations of the sample's words that the aligner's dictionary lacks."""


@dataclass(frozen=True)
class Speech:
    """Speech passages laid end to end on one clock.

    Parameters
    ----------
    words : DataFrame [word, onset, offset, passage]
        Times in s.
    audio : Audio
        The sound.
    passages : DataFrame [passage, start, end, speech_start, speech_end]
        Where each passage lies, with its leading and trailing silence (s).
    spectrogram : DataArray of shape (time, band)
        Auditory spectrogram as the sample carries it, 100 Hz, `passage` beside time.
    strf : DataArray of shape (time, channel)
        The ten simulated channels that come with the sample: sound through spectro-temporal receptive fields.
    """

    words: pd.DataFrame
    audio: Audio
    passages: pd.DataFrame
    spectrogram: xr.DataArray
    strf: xr.DataArray


def naplib_speech() -> Speech:
    """naplib's speech sample: ten passages of an audiobook, 10.7 min, 1,821 words, with ten simulated channels.

    The transcript is in capitals without punctuation; words are lower-cased, but for the pronoun I.

    Returns
    -------
    Speech

    References
    ----------
    Mischler, Raghavan, Keshishian & Mesgarani (2023). naplib-python. Software Impacts 17, 100541.
    """
    with h5py.File(assets.fetch("naplib-speech")) as file:
        read = {
            field: [file[ref][:] for ref in file["out"][field][:].ravel()] for field in file["out"] if field != "chname"
        }
        names = [_text(file[ref][:]) for ref in file[file["out"]["chname"][0, 0]][:].ravel()]
    rate = float(read["soundf"][0].item())
    frame_rate = round(float(read["dataf"][0].item()))
    words, passages, start = [], [], 0.0
    for label, script, sound, frames, pads in zip(
        map(_text, read["name"]), read["script"], read["sound"], read["resp"], read["befaft"], strict=True
    ):
        sound = sound.ravel()
        aligned = align_words(Audio(sound, rate), _text(script).lower().split(), PRONUNCIATIONS)
        words.append(aligned.assign(onset=aligned["onset"] + start, offset=aligned["offset"] + start, passage=label))
        end = start + len(frames) / frame_rate
        before, after = map(float, pads.ravel())
        passages.append((label, start, end, start + before, start + len(sound) / rate - after))
        start = end
    words = pd.concat(words, ignore_index=True)
    words["word"] = words["word"].where(words["word"] != "i", "I")
    passages = pd.DataFrame(passages, columns=["passage", "start", "end", "speech_start", "speech_end"])
    lengths = [len(frames) for frames in read["resp"]]
    time = np.arange(sum(lengths)) / frame_rate
    # text of fixed length: xarray copies Python strings one by one
    beside = ("time", np.repeat(passages["passage"].to_numpy(dtype=str), lengths))
    strf = np.concatenate(read["resp"]).astype("float32")
    return Speech(
        words=words,
        audio=_end_to_end(read["sound"], rate, passages),
        passages=passages,
        spectrogram=xr.DataArray(
            np.concatenate(read["aud"]).astype("float32"),
            dims=("time", "band"),
            coords={"time": time, "passage": beside},
        ),
        strf=xr.DataArray(
            strf,
            dims=("time", "channel"),
            coords={"time": time, "channel": [f"strf-{n}" for n in names], "passage": beside},
        ),
    )


def align_words(
    audio: Audio, transcript: Sequence[str], pronunciations: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """When each word of a transcript was spoken, by forced alignment (pocketsphinx). Cached on disk.

    Parameters
    ----------
    audio : Audio
        One passage.
    transcript : sequence of str
        Its words in order, lower case.
    pronunciations : mapping of str to str, optional
        ARPAbet phones, separated by spaces, for words that the aligner's dictionary lacks.

    Returns
    -------
    DataFrame [word, onset, offset]
        One row for each word of `transcript`; s from the start of the audio, to 10 ms.

    Raises
    ------
    ValueError
        For words without a pronunciation (all are named), or when transcript and sound cannot be matched.
    """
    from pocketsphinx import Decoder

    samples = np.asarray(audio.samples, dtype=float)
    if samples.ndim != 1 or not np.isfinite(samples).all() or not samples.any():
        raise ValueError("audio: expected one channel of finite samples that are not all zero.")
    transcript = [str(word) for word in transcript]
    pronunciations = dict(pronunciations or {})
    key = hashlib.sha256(samples.tobytes() + repr((audio.rate, transcript, sorted(pronunciations.items()))).encode())
    cached = assets.cache_dir() / "alignments" / f"{key.hexdigest()[:32]}.csv"
    if cached.exists():
        return pd.read_csv(cached, keep_default_na=False)

    decoder = Decoder(lm=None, samprate=ALIGNER_RATE, loglevel="FATAL")
    for word in sorted(set(transcript) & set(pronunciations)):
        if decoder.lookup_word(word) is None:
            decoder.add_word(word, pronunciations[word], True)
    unknown = sorted({word for word in transcript if decoder.lookup_word(word) is None})
    if unknown:
        raise ValueError(
            f"transcript: no pronunciation for {unknown}; give ARPAbet phones for them in `pronunciations`."
        )
    sound = resample_poly(samples, ALIGNER_RATE, round(audio.rate))
    pcm = np.round(sound / np.abs(sound).max() * 0.9 * 32767).astype("<i2").tobytes()
    decoder.set_align_text(" ".join(transcript))
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    frame = 1 / decoder.config["frate"]
    rows = [
        (re.sub(r"\(\d+\)$", "", segment.word), segment.start_frame * frame, (segment.end_frame + 1) * frame)
        for segment in decoder.seg() or ()
        if segment.word[0] not in "<[("
    ]
    aligned = pd.DataFrame(rows, columns=["word", "onset", "offset"]).round(3)
    if aligned["word"].tolist() != transcript:
        raise ValueError(
            f"transcript: its {len(transcript)} words could not be aligned with {len(samples) / audio.rate:.1f} s of "
            f"audio ({len(aligned)} found); check that the sound holds exactly these words."
        )
    with placed(cached) as part:
        aligned.to_csv(part, index=False)
    return aligned


def _text(codes: np.ndarray) -> str:
    return "".join(map(chr, codes.ravel()))


def _end_to_end(sounds: list[np.ndarray], rate: float, passages: pd.DataFrame) -> Audio:
    # A passage's responses run a few ms past its sound: each sound is put at its passage's own start.
    samples = np.zeros(int(np.ceil(passages["end"].iloc[-1] * rate)), dtype="float32")
    for sound, start in zip(sounds, passages["start"], strict=True):
        first = round(start * rate)
        sound = sound.ravel()[: len(samples) - first]
        samples[first : first + len(sound)] = sound
    return Audio(samples, rate)
