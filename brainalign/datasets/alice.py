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
from brainalign.signals import clean_bold, remove_drift

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


def alice(*, radius: str = "6mm", denoise: bool = True, merge_clitics: bool = True) -> Listening:
    """fMRI time courses of 27 people who listened to chapter 1 of Alice in Wonderland.

    Parameters
    ----------
    radius : {"6mm", "10mm"}
        Radius of the spheres over which the time courses were averaged.
    denoise : bool
        Remove slow drift (below 1/128 Hz) and the six motion parameters, then z-score.
    merge_clitics : bool
        Join "n't", "'s", "'ll" and their like, which the annotation times apart, to the word they belong to.

    Returns
    -------
    Listening
        `signal` (time, channel): 362 volumes, 27 x 6 channels named "s18/LATL"; `words` 2,127 as annotated, fewer when
        clitics are merged. Channels have no coordinates: the files name regions only.

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
        course = np.loadtxt(path)
        if denoise:
            motion = np.loadtxt(folder / f"{subject}-rp.txt")[-len(course) :]
            course = clean_bold(course, T_R, confounds=motion)
        courses.append(course)
        rows += [(f"{subject}/{region}", subject, region, side) for region, (_, side) in REGIONS.items()]
    channels = pd.DataFrame(rows, columns=["channel", "subject", "region", "hemisphere"]).set_index("channel")
    channels[["x", "y", "z", "distance_pmc"]] = np.nan
    values = np.hstack(courses).astype("float32")
    signal = xr.DataArray(
        values,
        dims=("time", "channel"),
        coords={"time": (np.arange(len(values)) + DROPPED) * T_R, "channel": channels.index.to_numpy()},
        attrs={"units": "s.d." if denoise else "scanner units"},
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
    """Results for the average brain, for averages of people drawn with replacement, and for each person."""

    average: xr.DataArray  # (..., region)
    bootstrap: xr.DataArray  # (..., copy, region)
    people: xr.DataArray  # (..., copy, region), one copy a person


def by_person(data: Listening) -> xr.DataArray:
    """The signal of a data set in which every person has the same regions, as an array (subject, time, region).

    Raises
    ------
    ValueError
        If a person lacks a region, or has two channels in one.
    """
    subjects, regions = (data.channels[name].unique() for name in ("subject", "region"))
    if data.channels.duplicated(["subject", "region"]).any() or len(data.channels) != len(subjects) * len(regions):
        raise ValueError("data: every person must have one channel in each region.")
    place = {name: ("channel", data.channels[name].to_numpy()) for name in ("subject", "region")}
    signal = data.signal.drop_vars("channel").assign_coords(place).set_index(channel=["subject", "region"])
    return signal.unstack("channel").sel(subject=subjects, region=regions).transpose("subject", "time", "region")


def with_averages(people: xr.DataArray, n_bootstrap: int, *, seed: int = 0) -> xr.DataArray:
    """The average brain, bootstrap averages and the people as channels of one array, to be fitted together.

    A bootstrap average is the mean of as many people as there are, drawn with replacement: what it gives tells how far
    the result for the average would change with other people.

    Parameters
    ----------
    people : DataArray of shape (subject, time, region)
    n_bootstrap, seed : int

    Returns
    -------
    DataArray of shape (time, channel)
        For `split_averages`, which takes apart what was computed for each channel.
    """
    n, regions = people.sizes["subject"], people["region"].to_numpy()
    draws = np.random.default_rng(seed).integers(n, size=(n_bootstrap, n))
    values = people.to_numpy()
    copies = [values.mean(0), *(values[draw].mean(0) for draw in draws), *values]
    kind = np.repeat(Group._fields, np.array([1, n_bootstrap, n]) * len(regions))
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
        part = values.to_numpy()[..., group == name].reshape(*values.shape[:-1], -1, len(regions))
        dims = (*values.dims[:-1], "copy", "region")
        parts.append(xr.DataArray(part, dims=dims, coords=others | {"region": regions}))
    return Group(parts[0].isel(copy=0), *parts[1:])


def sound_power(data: Listening) -> xr.DataArray:
    """Power of the story's sound at the volumes, as its authors supply it, without slow drift; (time, feature)."""
    power = np.loadtxt(assets.fetch("alice") / "s18-sndpwr.txt")
    return remove_drift(xr.DataArray(power[:, None], {"time": data.signal["time"]}, ("time", "feature")), T_R)
