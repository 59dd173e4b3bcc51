"""People who met one text: responses cleaned block by block, and the design that makes regressors of its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainalign import stats
from brainalign.datasets.alice import motion, published_predictors, sound_power, strong_baseline
from brainalign.datasets.types import Listening
from brainalign.features.acoustics import sound_components
from brainalign.features.words import word_spaces
from brainalign.signals import detrend_blocks, word_regressors, word_to_volume

AVERAGE, PEOPLE = "average brain", "mean of people"
"""The two levels at which a story's results are told."""


@dataclass(frozen=True, eq=False)
class Story:
    """Responses to one text, ready for `ridge.word_sweep`, `cross_validate` and `content_null`; made by `story`.

    Parameters
    ----------
    name : str
        Of the data set.
    words : DataFrame [word, onset, offset, passage]
    responses : DataArray of shape (sample, channel)
        Samples are volumes or words. Coordinates of the channels: `group` ("average", "without" or "people"), `subject`
        (with "without", the one who is left out) and `region`. "average" is there where all people have the same
        regions; averages without one person each say how far its results would change with other people.
    design : DataArray of shape (sample, word)
        From values of words to regressors.
    confounds : DataArray of shape (sample, confound)
        What is known of the words without a language model.
    options : dict
        For `ridge.cross_validate` and `content_null`: blocks, gap and confounds.
    """

    name: str
    words: pd.DataFrame
    responses: xr.DataArray
    design: xr.DataArray
    confounds: xr.DataArray
    options: dict[str, Any]

    @property
    def levels(self) -> list[str]:
        """The levels that the data have, of "average brain" and "mean of people"."""
        return [AVERAGE, PEOPLE] if "average" in self.responses["group"] else [PEOPLE]

    @property
    def subjects(self) -> np.ndarray:
        """Names of the people, in order."""
        return pd.unique(self._labels("people")["subject"])

    @property
    def regions(self) -> np.ndarray:
        """Names of the regions, in order."""
        return pd.unique(self._labels("people")["region"])

    @property
    def heads(self) -> xr.DataArray:
        """The responses less the averages without one person: what a null has to be computed for."""
        return self.responses[:, self.responses["group"].to_numpy() != "without"]

    def of_subjects(self, values: xr.DataArray) -> xr.DataArray:
        """Each person's mean over channels.

        Parameters
        ----------
        values : DataArray of shape (..., channel)
            Computed for the channels of `responses` or `heads`.

        Returns
        -------
        DataArray of shape (..., subject)
        """
        return self._means(values, "people", "subject")

    def by_region(self, values: xr.DataArray) -> xr.DataArray:
        """Of each region: its value in the average brain, and the mean over the people who have it.

        Parameters
        ----------
        values : DataArray of shape (..., channel)

        Returns
        -------
        DataArray of shape (level, ..., region)
        """
        parts = [self._means(values, "average", "region")] if AVERAGE in self.levels else []
        pairs = pd.MultiIndex.from_frame(self._labels("people"))
        people = values[..., values["group"].to_numpy() == "people"].assign_coords(
            pair=("channel", pairs.to_flat_index())
        )
        once = self._mean_by(people, "pair")  # a person with many channels in a region counts as one
        once = once.rename(pair="channel").assign_coords(region=("channel", [r for _, r in once["pair"].to_numpy()]))
        parts.append(self._mean_by(once, "region"))
        return xr.concat(parts, pd.Index(self.levels, name="level"))

    def summary(self, values: xr.DataArray) -> xr.DataArray:
        """Over regions in the average brain, and over people of each one's mean.

        Parameters
        ----------
        values : DataArray of shape (..., channel)

        Returns
        -------
        DataArray of shape (level, ...)
        """
        parts = [self._means(values, "average", "region").mean("region")] if AVERAGE in self.levels else []
        return xr.concat([*parts, self.of_subjects(values).mean("subject")], pd.Index(self.levels, name="level"))

    def interval(self, values: xr.DataArray) -> stats.Estimate:
        """`summary` with intervals over people *for this story*: precision, and no evidence.

        Student's t over people; of the average brain by the jackknife.

        Parameters
        ----------
        values : DataArray of shape (..., channel)
            With the channels "without" where there is an average.

        Returns
        -------
        Estimate of arrays of shape (level, ...)

        Raises
        ------
        ValueError
            For fewer than three people.
        """
        people = self.of_subjects(values).transpose("subject", ...).to_numpy()
        n = len(people)
        if n < 3:
            raise ValueError(f"values: an interval over people takes three of them, got {n}.")
        found = [stats.t_interval(people)]
        if AVERAGE in self.levels:
            average = self._means(values, "average", "region").mean("region")
            without = self._means(values, "without", "subject").transpose("subject", ...)
            found.insert(0, stats.jackknife_interval(average.to_numpy(), without.to_numpy()))
        value, low, high = (np.stack(parts) for parts in zip(*found, strict=True))
        return stats.Estimate(value, low, high, n)

    def ceilings(self) -> xr.DataArray:
        """The highest correlation that any description of the words could reach beyond the confounds.

        From how alike people are in what the confounds leave of their responses (`stats.noise_ceiling`).

        Returns
        -------
        DataArray of shape (level)
            NaN where people do not have the same regions.
        """
        if AVERAGE not in self.levels:
            return xr.DataArray([np.nan], {"level": self.levels}, ("level",))
        people = self.responses[:, self.responses["group"].to_numpy() == "people"].to_numpy()
        known = np.column_stack([np.ones(len(people)), self.confounds])
        left = people - known @ np.linalg.lstsq(known, people, rcond=None)[0]
        left = left.reshape(len(left), len(self.subjects), -1)
        agreement = stats.noise_ceiling(xr.DataArray(left, dims=("time", "subject", "region")), dim="subject")
        reached = [np.sqrt(agreement[name].mean()) for name in ("reliability_of_mean", "reliability")]
        return xr.DataArray(np.array(reached), {"level": self.levels}, ("level",))

    def _labels(self, group: str) -> pd.DataFrame:
        here = self.responses[:, self.responses["group"].to_numpy() == group]
        return pd.DataFrame({name: here[name].to_numpy() for name in ("subject", "region")})

    def _means(self, values: xr.DataArray, group: str, by: str) -> xr.DataArray:
        return self._mean_by(values[..., values["group"].to_numpy() == group], by)

    @staticmethod
    def _mean_by(values: xr.DataArray, by: str) -> xr.DataArray:
        """Means of channels that share a label, in the order in which labels come."""
        codes, labels = pd.factorize(values[by].to_numpy())
        weights = (codes[:, None] == np.arange(len(labels))) / np.bincount(codes)
        others = {name: c for name, c in values.coords.items() if "channel" not in c.dims}
        dims = (*values.dims[:-1], by)
        return xr.DataArray(values.to_numpy() @ weights, others | {by: labels}, dims)


def story(
    data: Listening, n_blocks: int, *, gap: int = 10, skip: int = 0, confounds: str = "strong", remove: bool = False
) -> Story:
    """Responses to one text, every block cleaned by itself, with the design and the confounds that go with them.

    Mean, slope and curvature leave each block (`signals.detrend_blocks`), head motion where it is known, and each
    response is divided by its standard deviation in the block. Words reach volumes by the haemodynamic response;
    responses to words are taken as they are.

    Parameters
    ----------
    data : Listening
        With a BOLD signal, or with responses to words.
    n_blocks : int
        Blocks of the cross-validation.
    gap : int
        Samples left out on both sides of a test block.
    skip : int
        Samples left out at the start: the onset of the story.
    confounds : {"strong", "rate"}
        All that is known of the words without a language model (`datasets.alice.strong_baseline`), or word rate and
        length alone.
    remove : bool
        Take the confounds out of each block, too, together with the drift: for comparisons that fit nothing, where
        they cannot be a baseline. They leave the responses and the design of volumes; a design of words stays.

    Returns
    -------
    Story

    Raises
    ------
    ValueError
        For an unknown set of confounds, or what `by_subject` and `signals.detrend_blocks` refuse.
    """
    if confounds not in ("strong", "rate"):
        raise ValueError(f'confounds: expected "strong" or "rate", got {confounds!r}.')
    if data.modality == "bold" and data.signal is not None:
        times = data.signal["time"].to_numpy()[skip:]
        if confounds == "strong":
            known = strong_baseline(data, n_blocks, skip=skip)
        else:
            counted = np.column_stack([np.ones(len(data.words)), data.words["word"].str.len()])
            known = word_regressors(counted, data.words, times, n_blocks=n_blocks)
        gone = known.to_numpy() if remove else None
        moved = motion(data) if gone is None else _with_motion(data, np.pad(gone, ((skip, 0), (0, 0))))
        responses = _with_averages(by_subject(data, n_blocks, skip=skip, confounds=moved))
        design = detrend_blocks(word_to_volume(data.words, times), n_blocks, confounds=gone)
    elif data.responses is not None:
        heard = np.flatnonzero(np.isfinite(data.responses.to_numpy()).all(1))[skip:]
        known = _known_of_words(data, sound=confounds == "strong")[heard]
        responses = _of_words(data.responses[heard], data.channels, n_blocks, known.to_numpy() if remove else None)
        design = xr.DataArray(np.eye(len(data.words), dtype="float32")[heard], dims=("time", "word"))
    else:
        raise ValueError(
            "data: expected responses to words, or a BOLD signal; signals.word_responses makes the former."
        )
    options = {"n_splits": n_blocks, "inner_splits": None, "gap": gap, "confounds": known}
    return Story(data.name, data.words, responses, design, known, options)


def story_spaces(data: Listening, told: Story, bits: np.ndarray) -> dict[str, np.ndarray]:
    """What is known of a story's words before their content in context, at the samples of the responses.

    Parameters
    ----------
    data : Listening
    told : Story
        Made of `data`.
    bits : array of shape (word, 2)
        Surprisal of each word by itself, a stand-in for its frequency, and given all words so far.

    Returns
    -------
    dict of str to array of shape (sample, feature)
        The spaces of `features.words.word_spaces`, standardized. At volumes, rate is word rate, letters and position,
        and drift leaves each block. *Alice* supplies "acoustics", the power of the sound, and for "frequency" that in a
        corpus, in place of the first column of `bits`, pauses, and surprisal from two- and three-word sequences.
    """
    words = data.words
    spaces = word_spaces(words, data.audio, bits)
    if data.modality != "bold":
        heard = told.design.to_numpy().argmax(1)
        known = {name: np.nan_to_num(space) for name, space in spaces.items()}  # written sentences have no times
        return {name: ((space - space.mean(0)) / space.std(0).clip(1e-9))[heard] for name, space in known.items()}
    spaces["rate"] = np.column_stack([np.ones(len(words)), words["word"].str.len(), spaces["rate"][:, -2:]])
    times = told.responses["time"].to_numpy()

    def cleaned(columns: xr.DataArray) -> np.ndarray:
        columns = detrend_blocks(columns, told.options["n_splits"])
        return (columns / columns.std("time")).to_numpy()

    made = {name: cleaned(word_regressors(space, words, times)) for name, space in spaces.items()}
    if data.name == "alice":
        names = ["frequency", "pause", "word_bigram", "word_trigram", "class_bigram", "class_trigram"]
        corpus = cleaned(published_predictors(data).sel(time=times, feature=names))
        made |= {"frequency": np.hstack([made["frequency"][:, 1:], corpus])}
        made = {"acoustics": cleaned(sound_power(data).sel(time=times))} | made
    return made


def by_subject(data: Listening, n_blocks: int, *, skip: int = 0, confounds: xr.DataArray | None = None) -> xr.DataArray:
    """The signal of each person and region, every block cleaned by itself, as an array (subject, time, region).

    Mean, slope and curvature in time, and the person's confounds, leave each block (`signals.detrend_blocks`); what is
    left is divided by its standard deviation in the block. Nothing is learned from one block for another.

    Parameters
    ----------
    data : Listening
        With a signal of shape (time, channel), and in every person the same regions.
    n_blocks : int
        Blocks of the cross-validation, ``n_splits`` of `ridge.cross_validate`.
    skip : int
        Volumes left out at the start: the response to the onset of the story.
    confounds : DataArray of shape (subject, time, confound), optional
        Such as `datasets.alice.motion`.

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


def _with_motion(data: Listening, known: np.ndarray) -> xr.DataArray:
    """What is known of the words (time, confound) as confounds of each person, next to head motion."""
    subjects, moved = data.channels["subject"].unique(), motion(data)
    each = xr.DataArray(np.stack([known] * len(subjects)), {"subject": subjects}, ("subject", "time", "confound"))
    return each if moved is None else xr.concat([moved.drop_vars("time"), each], "confound")


def _of_words(
    responses: xr.DataArray, channels: pd.DataFrame, n_blocks: int, confounds: np.ndarray | None
) -> xr.DataArray:
    if not len(responses):
        raise ValueError("data: no word has a response in every channel; select channels that met the same words.")
    values = responses.to_numpy().astype(float)
    cleaned = detrend_blocks(xr.DataArray(values, dims=("time", "channel")), n_blocks, confounds=confounds).to_numpy()
    scale = np.stack([part.std(0) for part in np.array_split(cleaned, n_blocks)])
    flat = (scale < 1e-9 * np.abs(values).max()).any(0)
    if flat.any():
        names = ", ".join(map(str, channels.index[flat]))
        raise ValueError(f"data: {names}: values that never change in one of {n_blocks} blocks; leave them out.")
    parts = zip(np.array_split(cleaned, n_blocks), scale, strict=True)
    labels = {name: ("channel", channels[name].to_numpy(str)) for name in ("subject", "region")}
    labels["group"] = ("channel", np.full(len(channels), "people"))
    return xr.DataArray(np.concatenate([part / own for part, own in parts]), labels, ("time", "channel"))


def _known_of_words(data: Listening, *, sound: bool) -> xr.DataArray:
    """Length, duration and the pause before of each word and, on request, the leading components of its sound."""
    words = data.words
    first = words["passage"] != words["passage"].shift()
    pause = (words["onset"] - words["offset"].shift()).mask(first).clip(0, 5)
    columns = [words["word"].str.len(), words["offset"] - words["onset"], pause.fillna(pause.median())]
    known = np.nan_to_num(np.column_stack(columns).astype(float))  # written sentences have no times
    if sound and data.audio is not None:
        known = np.column_stack([known, sound_components(data.audio, words)])
    return xr.DataArray(known[:, known.std(0) > 1e-9], dims=("time", "confound"))


def _with_averages(people: xr.DataArray) -> xr.DataArray:
    """The average brain, averages without one person each, and the people, as channels (time, channel)."""
    n, (subjects, regions) = people.sizes["subject"], (people[name].to_numpy() for name in ("subject", "region"))
    values = people.to_numpy().astype(float)
    total = values.sum(0)
    copies = [total / n, *((total - one) / (n - 1) for one in values), *values]
    each = len(regions)
    labels = {
        "group": np.repeat(["average", "without", "people"], np.array([1, n, n]) * each),
        "subject": np.repeat(["", *subjects, *subjects], each),
        "region": np.tile(regions, len(copies)),
    }
    coords = {"time": people["time"], **{name: ("channel", values) for name, values in labels.items()}}
    return xr.DataArray(np.concatenate(copies, axis=1), coords, ("time", "channel"))
