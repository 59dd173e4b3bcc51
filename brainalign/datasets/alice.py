"""Alice in Wonderland, chapter 1: fMRI of 27 people in six regions (Brennan et al. 2016)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from brainalign import assets
from brainalign.datasets.types import Listening
from brainalign.signals import delay, detrend_blocks, word_regressors, word_to_volume

T_R = 2.0
"""s, repetition time."""

DROPPED = 10
"""Volumes discarded at the start: row k of a time course was taken at (k + 10) x 2 s on the words' clock."""

REGIONS = {
    "LATL": ("left anterior temporal lobe", "left"),
    "RATL": ("right anterior temporal lobe", "right"),
    "LPTL": ("left posterior temporal lobe", "left"),
    "LIPL": ("left inferior parietal lobe", "left"),
    "LPreM": ("left premotor cortex", "left"),
    "LIFG": ("left inferior frontal gyrus", "left"),
}
"""The columns of a time-course file, in order: name and hemisphere."""

EMPTY_SUBJECTS = ("s33",)
"""People whose file holds only zeros."""


def alice(*, radius: str = "6mm", merge_clitics: bool = True) -> Listening:
    """fMRI time courses of 27 people who listened to chapter 1 of Alice in Wonderland.

    Parameters
    ----------
    radius : {"6mm", "10mm"}
        Radius of the spheres over which the time courses were averaged.
    merge_clitics : bool
        Join "n't", "'s", "'ll" and their like, which the annotation times apart, to the word they belong to.

    Returns
    -------
    Listening
        `signal` (time, channel): 362 volumes, 27 x 6 channels named "s18/LATL", in scanner units, with drift and head
        motion still in it (`by_person` takes them out); `words` 2,127 as annotated, fewer when clitics are merged.
        Channels have no coordinates: the files name regions only. People up to s37 were recorded with one echo, from
        s39 on with several. Some pairs of person and region that the study excluded are in the files and not named.

    Raises
    ------
    ValueError
        For an unknown radius.
    brainalign.assets.AssetError
        If the files cannot be had.

    References
    ----------
    Brennan, Stabler, Van Wagenen, Luh & Hale (2016). Abstract linguistic structure correlates with temporal activity
    during naturalistic comprehension. Brain and Language 157-158, 81-94. Data: CC BY 4.0.
    """
    if radius not in ("6mm", "10mm"):
        raise ValueError(f"radius: expected '6mm' or '10mm', got {radius!r}.")
    folder = assets.fetch("alice")
    courses, rows = [], []
    for path in sorted((folder / radius).glob("s*-timecourses.txt")):
        subject = path.name.split("-")[0]
        if subject in EMPTY_SUBJECTS:
            continue
        courses.append(np.loadtxt(path))
        rows += [(f"{subject}/{region}", subject, region, side) for region, (_, side) in REGIONS.items()]
    channels = pd.DataFrame(rows, columns=["channel", "subject", "region", "hemisphere"]).set_index("channel")
    channels[["x", "y", "z", "distance_pmc"]] = np.nan
    values = np.hstack(courses).astype("float32")
    signal = xr.DataArray(
        values,
        dims=("time", "channel"),
        coords={"time": (np.arange(len(values)) + DROPPED) * T_R, "channel": channels.index.to_numpy()},
        attrs={"units": "scanner units"},
    )
    words = _read_words(folder / "DownTheRabbitHoleFinal_exp120_pad_1.TextGrid")
    if merge_clitics:
        words = _merge_clitics(words)
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


# ------------------------------------------------------------------------------------------- people and their averages


class Group(NamedTuple):
    """Results for the average brain, for averages without one person each, and for each person."""

    average: xr.DataArray  # (..., region)
    without: xr.DataArray  # (..., copy, region), one copy a person who is left out
    people: xr.DataArray  # (..., copy, region), one copy a person


def by_person(data: Listening, n_blocks: int, *, skip: int = 0, confounds: xr.DataArray | None = None) -> xr.DataArray:
    """The signal of each person and region, every block cleaned by itself, as an array (subject, time, region).

    Mean, slope and curvature in time, and the person's confounds, leave each block (`signals.detrend_blocks`); what is
    left is divided by its standard deviation in the block. Nothing is learned from one block for another.

    Parameters
    ----------
    data : Listening
        With a signal of shape (time, channel), and in every person the same regions.
    n_blocks : int
        Blocks of the cross-validation, ``n_splits`` of `encoding.cross_validate`.
    skip : int
        Volumes left out at the start: the response to the onset of the story.
    confounds : DataArray of shape (subject, time, confound), optional
        Such as `motion`.

    Returns
    -------
    DataArray of shape (subject, time, region)

    Raises
    ------
    ValueError
        If a person lacks a region, or has two channels in one, for values that are not finite or never change in a
        block, and as `signals.detrend_blocks`.
    """
    subjects, regions = (data.channels[name].unique() for name in ("subject", "region"))
    if data.channels.duplicated(["subject", "region"]).any() or len(data.channels) != len(subjects) * len(regions):
        raise ValueError("data: every person must have one channel in each region.")
    signal = data.signal[skip:].astype(float)  # type: ignore[index]
    people = []
    for subject in subjects:
        own = data.channels[data.channels["subject"] == subject]
        channels = own.index[[list(own["region"]).index(region) for region in regions]]
        own_confounds = None if confounds is None else confounds.sel(subject=subject)[skip:].to_numpy()
        cleaned = detrend_blocks(signal.sel(channel=channels), n_blocks, confounds=own_confounds).to_numpy()
        scale = [part.std(0) for part in np.array_split(cleaned, n_blocks)]
        raw = [np.abs(part).max(0) for part in np.array_split(signal.sel(channel=channels).to_numpy(), n_blocks)]
        bad = ~(np.array(scale) > 1e-9 * np.array(raw)).all(0)  # true of NaN, too
        if bad.any():
            raise ValueError(
                f"data: {', '.join(map(str, channels[bad]))}: values that are not finite, or that never change in one "
                f"of {n_blocks} blocks; leave this person out, or use fewer blocks."
            )
        parts = zip(np.array_split(cleaned, n_blocks), scale, strict=True)
        people.append(np.concatenate([part / own_scale for part, own_scale in parts]))
    coords = {"subject": subjects, "time": signal["time"].to_numpy(), "region": regions}
    return xr.DataArray(np.stack(people), coords, ("subject", "time", "region"))


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


def with_averages(people: xr.DataArray) -> xr.DataArray:
    """The average brain, averages without one person each, and the people as channels of one array, fitted together.

    Averages without one person tell how far the result for the average would change with other people
    (`stats.jackknife_interval`).

    Parameters
    ----------
    people : DataArray of shape (subject, time, region)

    Returns
    -------
    DataArray of shape (time, channel)
        For `split_averages`, which takes apart what was computed for each channel.
    """
    n, regions = people.sizes["subject"], people["region"].to_numpy()
    values = people.to_numpy()
    total = values.sum(0)
    copies = [total / n, *((total - one) / (n - 1) for one in values), *values]
    kind = np.repeat(Group._fields, np.array([1, n, n]) * len(regions))
    labels = {"group": ("channel", kind), "region": ("channel", np.tile(regions, len(copies)))}
    return xr.DataArray(np.concatenate(copies, axis=1), {"time": people["time"], **labels}, dims=("time", "channel"))


def split_averages(values: xr.DataArray) -> Group:
    """Take apart results (..., channel) for the channels of `with_averages`."""
    values = values.transpose(..., "channel")
    group, region = values["group"].to_numpy(), values["region"].to_numpy()
    regions = region[group == "average"]
    others = {name: c for name, c in values.coords.items() if "channel" not in c.dims}
    parts = []
    for name in Group._fields:
        here = group == name  # none where a group was left out
        part = values.to_numpy()[..., here].reshape(*values.shape[:-1], here.sum() // len(regions), len(regions))
        dims = (*values.dims[:-1], "copy", "region")
        parts.append(xr.DataArray(part, dims=dims, coords=others | {"region": regions}))
    return Group(parts[0].isel(copy=0), *parts[1:])


# ------------------------------------------------------------------------------------------ what ships with the story

PREDICTORS = ["rate", "frequency", "pause", "top_down", "top_down_x", "bottom_up", "bottom_up_x", "grammar"]
PREDICTORS += ["word_bigram", "word_trigram", "class_bigram", "class_trigram"]
"""The columns of the authors' table, in order: word rate; the word's log frequency in a corpus (HAL); pauses; node
counts of parsers; surprisal under a grammar, and under two- and three-word sequences of words and of word classes."""


def sound_power(data: Listening) -> xr.DataArray:
    """Power of the story's sound at the volumes, as its authors supply it; (time, feature)."""
    power = np.loadtxt(assets.fetch("alice") / "s18-sndpwr.txt")
    return xr.DataArray(power[:, None], {"time": data.signal["time"]}, ("time", "feature"))  # type: ignore[index]


def strong_baseline(data: Listening, n_blocks: int, *, skip: int = 0) -> xr.DataArray:
    """What is known of the words without a language model, at the volumes, every block detrended by itself.

    Word rate at six delays of one to six volumes, so that no shape of the haemodynamic response is presumed; letters;
    the place of a word in its phrase, since the last pause of 0.2 s; the power of the sound; and of what ships with the
    story the word's frequency, pauses, and surprisal from two- and three-word sequences of words and of word classes.

    Parameters
    ----------
    data : Listening
    n_blocks, skip : int
        As in `by_person`.

    Returns
    -------
    DataArray of shape (time, feature)
        15 columns.
    """
    words, times = data.words, data.signal["time"]  # type: ignore[index]
    phrase = (words["onset"] - words["offset"].shift() > 0.2).cumsum()
    counted = np.column_stack([words["word"].str.len(), words.groupby(phrase).cumcount()])
    rate = word_to_volume(words, times, hrf="none").sum("word").to_numpy()[:, None]
    delayed = delay(xr.DataArray(rate, dims=("time", "feature")), range(1, 7))
    supplied = published_predictors(data).sel(feature=["frequency", "pause", *PREDICTORS[-4:]])
    columns = [delayed, word_regressors(counted, words, times), sound_power(data), supplied]
    values = np.hstack([np.asarray(column)[skip:] for column in columns]).astype(float)
    return detrend_blocks(xr.DataArray(values / values.std(0), dims=("time", "feature")), n_blocks)


def published_predictors(data: Listening) -> xr.DataArray:
    """The study's own predictors at the volumes, under its haemodynamic response; (time, feature), see `PREDICTORS`."""
    times = data.signal["time"]  # type: ignore[index]
    table = np.loadtxt(next(assets.fetch("alice").glob("*logfrqhal.txt")))[-len(times) :]
    return xr.DataArray(table, {"time": times, "feature": PREDICTORS}, ("time", "feature"))
