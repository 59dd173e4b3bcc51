"""Real speech with its transcript, aligned word by word."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import xarray as xr
from scipy.signal import resample_poly

from brainalign import assets
from brainalign._checks import finite, shaped
from brainalign._io import placed
from brainalign.datasets.types import Audio

ALIGNER_RATE = 16_000  #: Hz, of the aligner's acoustic model.
#: ARPAbet pronunciations of the sample's words that the aligner's dictionary lacks.
PRONUNCIATIONS = dict(pd.read_csv(Path(__file__).parents[1] / "data" / "pronunciations.csv").values)


@dataclass(frozen=True)
class Speech:
    """Speech passages laid end to end on one clock (s)."""

    words: pd.DataFrame  # [word, onset, offset, passage]
    audio: Audio
    passages: pd.DataFrame  # [passage, start, end, speech_start, speech_end], with leading and trailing silence
    spectrogram: xr.DataArray  # (time, band), as the sample carries it, 100 Hz, `passage` beside time
    strf: xr.DataArray  # (time, channel), the sample's simulated channels: sound through receptive fields


def naplib_speech() -> Speech:
    """naplib's speech sample (Mischler et al. 2023, Software Impacts 17): ten passages of an audiobook, 1,821 words.

    The transcript is in capitals without punctuation; words are lower-cased, but for the pronoun I.
    """
    with h5py.File(assets.fetch("naplib-speech")) as file:
        fields = [field for field in file["out"] if field != "chname"]
        read = {field: [file[ref][:] for ref in file["out"][field][:].ravel()] for field in fields}
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
    # text of fixed length: xarray copies Python strings one by one
    beside = ("time", np.repeat(passages["passage"].to_numpy(dtype=str), lengths))
    coords = {"time": np.arange(sum(lengths)) / frame_rate, "passage": beside}
    spectrogram, strf = (np.concatenate(read[field]).astype("float32") for field in ("aud", "resp"))
    channels = {"channel": [f"strf-{name}" for name in names]}
    return Speech(
        words=words,
        audio=_end_to_end(read["sound"], rate, passages),
        passages=passages,
        spectrogram=xr.DataArray(spectrogram, coords, ("time", "band")),
        strf=xr.DataArray(strf, coords | channels, ("time", "channel")),
    )


def align_words(
    audio: Audio, transcript: Sequence[str], pronunciations: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """When each word of a transcript was spoken: [word, onset, offset] in s, to 10 ms.

    By forced alignment (pocketsphinx) of one passage with its words in order and lower case, cached on disk.
    `pronunciations` holds ARPAbet phones, separated by spaces, for words that the aligner's dictionary lacks.
    """
    from pocketsphinx import Decoder

    samples = finite("audio", shaped("audio", audio.samples, "sample"))
    if not samples.any():
        raise ValueError("audio: expected samples that are not all zero.")
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
    if unknown := sorted({word for word in transcript if decoder.lookup_word(word) is None}):
        raise ValueError(f"transcript: no pronunciation for {unknown}; give their ARPAbet phones in `pronunciations`.")
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
        seconds = f"{len(samples) / audio.rate:.1f} s of audio"
        raise ValueError(f"transcript: {len(transcript)} words could not be aligned with {seconds}; does it hold them?")
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
