"""Alice in Wonderland, chapter 1: fMRI of 27 people in six regions (Brennan et al. 2016)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from brainalign import assets
from brainalign.datasets.types import Listening
from brainalign.signals import detrend_blocks, word_regressors, word_to_volume

T_R, DROPPED = 2.0, 10  # s, and volumes: row k of a file was taken at (k + 10) x 2 s on the words' clock
EMPTY_SUBJECTS = ("s33",)  # whose file holds only zeros
# The columns of a time-course file: left and right anterior temporal, left posterior temporal and inferior parietal
# lobe, left premotor cortex and inferior frontal gyrus.
REGIONS = ("LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG")


def alice() -> Listening:
    """fMRI time courses of 27 people who listened to chapter 1 of Alice in Wonderland.

    Returns
    -------
    Listening
        `signal` (time, channel): 362 volumes, 27 x 6 channels named "s18/LATL", in scanner units, averages over spheres
        of 6 mm, with drift and head motion still in it (`story.by_subject` takes them out). "n't", "'s", "'ll" and
        their like, which the annotation times apart, are joined to the word they belong to. Channels have no
        coordinates: the files name regions only. People up to s37 were recorded with one echo, from s39 on with
        several. Some pairs of person and region that the study excluded are in the files, not named.

    References
    ----------
    Brennan, Stabler, Van Wagenen, Luh & Hale (2016). Abstract linguistic structure correlates with temporal activity
    during naturalistic comprehension. Brain and Language 157-158, 81-94. Data: CC BY 4.0.
    """
    folder = assets.fetch("alice")
    courses = {path.name.split("-")[0]: path for path in sorted((folder / "6mm").glob("s*-timecourses.txt"))}
    courses = {subject: np.loadtxt(path) for subject, path in courses.items() if subject not in EMPTY_SUBJECTS}
    rows = [
        (f"{s}/{region}", s, region, "left" if region[0] == "L" else "right") for s in courses for region in REGIONS
    ]
    channels = pd.DataFrame(rows, columns=["channel", "subject", "region", "hemisphere"]).set_index("channel")
    channels[["x", "y", "z", "distance_pmc"]] = np.nan
    values = np.hstack(list(courses.values())).astype("float32")
    coords = {"time": (np.arange(len(values)) + DROPPED) * T_R, "channel": channels.index.to_numpy()}
    signal = xr.DataArray(values, coords, ("time", "channel"), attrs={"units": "scanner units"})
    words = _merge_clitics(_read_words(folder / "DownTheRabbitHoleFinal_exp120_pad_1.TextGrid"))
    return Listening(name="alice", modality="bold", words=words, channels=channels, signal=signal)


def _read_words(path: Path) -> pd.DataFrame:
    """The words of a Praat TextGrid with one tier; pauses ("sp") and empty intervals are left out."""
    intervals = re.findall(r"xmin = (\S+)\s+xmax = (\S+)\s+text = \"(.*)\"", path.read_text(encoding="utf-8"))
    words = pd.DataFrame(
        [(text.strip(), float(start), float(end)) for start, end, text in intervals if text.strip() not in ("", "sp")],
        columns=["word", "onset", "offset"],
    )
    return words.assign(passage="chapter 1")


def _merge_clitics(words: pd.DataFrame) -> pd.DataFrame:
    clitic = words["word"].str.match(r"^(n't|'\w+)$")
    host = (~clitic).cumsum()
    return words.groupby(host, as_index=False).agg(
        word=("word", "".join), onset=("onset", "first"), offset=("offset", "last"), passage=("passage", "first")
    )


def motion(data: Listening) -> xr.DataArray | None:
    """Head motion (subject, time, confound) as SPM estimated it: three shifts (mm) and three turns (rad).

    None for other data than *Alice*, which come without it.
    """
    if data.name != "alice":
        return None
    subjects = data.channels["subject"].unique()
    times = data.signal["time"].to_numpy()  # type: ignore[index]  # the files begin with the volumes that were dropped
    values = [np.loadtxt(assets.fetch("alice") / f"{subject}-rp.txt")[-len(times) :] for subject in subjects]
    coords = {"subject": subjects, "time": times}
    return xr.DataArray(np.stack(values), coords, ("subject", "time", "confound"))


PREDICTORS = ["rate", "frequency", "pause", "top_down", "top_down_x", "bottom_up", "bottom_up_x", "grammar"]
PREDICTORS += ["word_bigram", "word_trigram", "class_bigram", "class_trigram"]
"""The columns of the authors' table, in order: word rate; the word's log frequency in a corpus (HAL); pauses; node
counts of parsers; surprisal under a grammar, and under two- and three-word sequences of words and of word classes."""


def sound_power(data: Listening) -> xr.DataArray:
    """Power of the story's sound at the volumes, as its authors supply it; (time, feature)."""
    power = np.loadtxt(assets.fetch("alice") / "s18-sndpwr.txt")
    return xr.DataArray(power[:, None], {"time": data.signal["time"]}, ("time", "feature"))  # type: ignore[index]


def strong_confounds(data: Listening, n_blocks: int, *, skip: int = 0) -> xr.DataArray:
    """What is known of the words without a language model, at the volumes, every block detrended by itself.

    Word rate at six delays of one to six volumes, so that no shape of the haemodynamic response is presumed; letters;
    the place of a word in its phrase, since the last pause of 0.2 s; the power of the sound; and of what ships with the
    story the word's frequency, pauses, and surprisal from two- and three-word sequences of words and of word classes:
    (time, feature), 15 columns. `n_blocks` and `skip` are those of `story.by_subject`.
    """
    words, times = data.words, data.signal["time"]  # type: ignore[index]
    phrase = (words["onset"] - words["offset"].shift() > 0.2).cumsum()
    counted = np.column_stack([words["word"].str.len(), words.groupby(phrase).cumcount()])
    rate = word_to_volume(words, times, hrf="none").sum("word")
    delayed = xr.concat([rate.shift(time=volumes, fill_value=0) for volumes in range(1, 7)], "feature").T
    supplied = published_predictors(data).sel(feature=["frequency", "pause", *PREDICTORS[-4:]])
    columns = [delayed, word_regressors(counted, words, times), sound_power(data), supplied]
    values = np.hstack([np.asarray(column)[skip:] for column in columns]).astype(float)
    return detrend_blocks(xr.DataArray(values / values.std(0), dims=("time", "feature")), n_blocks)


def published_predictors(data: Listening) -> xr.DataArray:
    """The study's own predictors at the volumes, under its haemodynamic response; (time, feature), see `PREDICTORS`."""
    times = data.signal["time"]  # type: ignore[index]
    table = np.loadtxt(next(assets.fetch("alice").glob("*logfrqhal.txt")))[-len(times) :]
    return xr.DataArray(table, {"time": times, "feature": PREDICTORS}, ("time", "feature"))
