"""People who met one text: responses cleaned block by block, and the design that makes regressors of its words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from sklearn.model_selection import GroupKFold

from brainalign import stats
from brainalign._checks import listed, one_of
from brainalign.datasets.alice import motion, published_predictors, sound_power, strong_confounds
from brainalign.datasets.types import Listening
from brainalign.features.acoustics import sound_components
from brainalign.features.words import word_spaces
from brainalign.ridge.folds import ContiguousKFold
from brainalign.signals import detrend_blocks, word_regressors, word_to_volume

AVERAGE, PEOPLE = "average brain", "mean of people"
"""The two levels at which a story's results are told."""

SHORT = 100
"""Words in a passage below which it is a unit of its own, such as a sentence of an experiment, and stays whole."""


@dataclass(frozen=True, eq=False)
class Story:
    """Responses to one text, ready for `ridge.word_sweep`, `cross_validate` and `content_null`; made by `story`.

    Samples of `responses` (sample, channel), `design` (sample, word), which makes regressors of what words have, and
    `confounds` (sample, confound) are volumes or words. `words` are [word, onset, offset, passage]; `options` are folds
    and confounds for the functions above. Channels have a `region`, a `subject`, and a `group`: "people"; "average",
    where all people have the same regions; and "without", the average without that subject, which says how far results
    would change with other people.
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
        return pd.unique(_only(self.responses, "people")["subject"].to_numpy())

    @property
    def regions(self) -> np.ndarray:
        """Names of the regions, in order."""
        return pd.unique(_only(self.responses, "people")["region"].to_numpy())

    @property
    def heads(self) -> xr.DataArray:
        """The responses less the averages without one person: what a null has to be computed for."""
        return self.responses[:, self.responses["group"].to_numpy() != "without"]

    def of_subjects(self, values: xr.DataArray) -> xr.DataArray:
        """Each person's mean over channels: from values (..., channel) of `responses` or `heads` to (..., subject)."""
        return _mean_by(_only(values, "people"), "subject")

    def by_region(self, values: xr.DataArray) -> xr.DataArray:
        """Regions in the average brain, and over people who have them, from (..., channel) to (level, ..., region).

        A person with many channels in a region counts as one.
        """
        return self._by_level(values, lambda own: _mean_by(own, "region", once=True))

    def summary(self, values: xr.DataArray) -> xr.DataArray:
        """Means over regions in the average brain, and over people of each one's: (..., channel) to (level, ...)."""
        return self._by_level(values, lambda own: _mean_by(own, "subject").mean("subject"))

    def interval(self, values: xr.DataArray) -> stats.Estimate:
        """`summary` with intervals over people *for this story*: precision, and no evidence.

        Student's t over people, three at least; of the average brain by the jackknife. `values` (..., channel) have the
        channels "without" where there is an average; the estimate's arrays are (level, ...).
        """
        people = self.of_subjects(values).transpose("subject", ...).to_numpy()
        if len(people) < 3:
            raise ValueError(f"values: an interval over people takes three of them, got {len(people)}.")
        found = [stats.t_interval(people)]
        if AVERAGE in self.levels:
            without = _mean_by(_only(values, "without"), "subject").transpose("subject", ...)
            found.insert(0, stats.jackknife_interval(self.summary(values)[0].to_numpy(), without.to_numpy()))
        value, low, high = (np.stack([getattr(part, end) for part in found]) for end in ("value", "low", "high"))
        return stats.Estimate(value, low, high, len(people))

    def ceilings(self) -> xr.DataArray:
        """The highest correlation that any description of the words could reach beyond the confounds, by level.

        From how alike people are in what the confounds leave of their responses (`stats.noise_ceiling`); NaN where they
        do not have the same regions.
        """
        reached = [np.nan]
        if AVERAGE in self.levels:
            people = _only(self.responses, "people").to_numpy()
            known = np.column_stack([np.ones(len(people)), self.confounds])
            left = people - known @ np.linalg.lstsq(known, people, rcond=None)[0]
            left = left.reshape(len(left), len(self.subjects), -1)
            agreement = stats.noise_ceiling(xr.DataArray(left, dims=("time", "subject", "region")), dim="subject")
            reached = [np.sqrt(agreement[name].mean()) for name in ("reliability_of_mean", "reliability")]
        return xr.DataArray(np.array(reached), {"level": self.levels}, ("level",))

    def _by_level(self, values: xr.DataArray, mean: Callable[[xr.DataArray], xr.DataArray]) -> xr.DataArray:
        groups = {AVERAGE: "average", PEOPLE: "people"}
        parts = [mean(_only(values, groups[level])) for level in self.levels]
        return xr.concat(parts, pd.Index(self.levels, name="level"))


def _only(values: xr.DataArray, group: str) -> xr.DataArray:
    return values[..., values["group"].to_numpy() == group]


def _mean_by(values: xr.DataArray, by: str, *, once: bool = False) -> xr.DataArray:
    """Means of channels that share a label, in the order in which labels come; people may count `once` for each."""
    labels = pd.DataFrame({name: values[name].to_numpy() for name in ("subject", "region")})
    codes, names = pd.factorize(labels[by])
    each = 1 / labels.groupby(["subject", "region"])[by].transform("size").to_numpy() if once else 1.0
    weights = (codes[:, None] == np.arange(len(names))) * np.reshape(each, (-1, 1))
    coords = values.isel(channel=0, drop=True).coords | {by: np.asarray(names)}
    return xr.DataArray(values.to_numpy() @ (weights / weights.sum(0)), coords, (*values.dims[:-1], by))


def story(
    data: Listening, n_blocks: int, *, gap: int = 10, skip: int = 0, confounds: str = "strong", remove: bool = False
) -> Story:
    """Responses to one text, every block cleaned by itself (`by_subject`), with design and confounds that go with them.

    Words reach volumes by the haemodynamic response; responses to words are taken as they are.

    Words without a response are context and no samples. A sample is what at least half as many channels respond to as
    to any word; a channel that misses it, such as by a rejected trial, has its mean there, which takes from its scores
    what it takes from its ceiling.

    **Sentences.** Where there are responses to words and some passages have fewer than `SHORT` words, passages are what
    is independent of each other: they stay whole in folds and are exchanged whole for chance (`design` has their names;
    see `stats.Shifts`), and nothing is cleaned by blocks. Where people have the same regions there is an average brain,
    over those who have a response.

    Parameters
    ----------
    data : Listening
        With a BOLD signal, or with responses to words.
    n_blocks, gap : int
        Blocks of the cross-validation, or folds of sentences; samples left out on both sides of a test block.
    skip : int
        Samples left out at the start: the onset of the story. Of sentences none is.
    confounds : {"strong", "rate"}
        All that is known of the words without a language model (`datasets.alice.strong_confounds`; the words' sound,
        or their column ``frequency``), or word rate and length alone; of words in sentences also their position.
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
    one_of("confounds", confounds, ("strong", "rate"))
    if data.modality == "bold" and data.signal is not None:
        times = data.signal["time"].to_numpy()[skip:]
        if confounds == "strong" and data.name != "alice":
            raise ValueError(f"confounds: strong ones are known of 'alice' alone, got data {data.name!r}; take 'rate'.")
        if confounds == "strong":
            known = strong_confounds(data, n_blocks, skip=skip)
        else:
            counted = np.column_stack([np.ones(len(data.words)), data.words["word"].str.len()])
            known = word_regressors(counted, data.words, times, n_blocks=n_blocks)
        gone = known.to_numpy() if remove else None
        responses = _with_averages(by_subject(data, n_blocks, skip=skip, confounds=gone))
        design = detrend_blocks(word_to_volume(data.words, times), n_blocks, confounds=gone)
    elif data.responses is not None:
        passages = data.words["passage"]
        in_sentences = passages.value_counts().min() < SHORT
        here = np.isfinite(data.responses.to_numpy()).sum(1)
        heard = np.flatnonzero((here > 0) & (here >= here.max() / 2))[0 if in_sentences else skip :]
        known = _known_of_words(data, heard, every=confounds == "strong", position=in_sentences)
        values, gone = data.responses[heard].rename(word="time").astype(float), known.to_numpy() if remove else None
        design = xr.DataArray(np.eye(len(data.words), dtype="float32")[heard], dims=("time", "word"))
        if in_sentences:
            groups = passages.to_numpy(str)[heard]
            stats.Shifts(1, SHORT // 2).orders(len(heard), groups)  # an error now, and not after all else
            responses = _of_sentences(values, data.channels, gone)
            design = design.assign_coords(passage=("time", groups))
            own = {"cv": GroupKFold(max(n_blocks, 2)), "inner_cv": None, "groups": groups, "confounds": known}
            return Story(data.name, data.words, responses, design, known, own)
        values = _cleaned(values.fillna(values.mean("time")), n_blocks, gone)
        responses = xr.DataArray(values, _labels(data.channels), ("time", "channel"))
    else:
        raise ValueError("data: expected responses to words (as of signals.word_responses), or a BOLD signal.")
    # A run that is cleaned as a whole has no blocks to leave out.
    options = {"cv": ContiguousKFold(max(n_blocks, 2), gap=gap), "inner_cv": None, "confounds": known}
    return Story(data.name, data.words, responses, design, known, options)


def story_spaces(data: Listening, told: Story, bits: np.ndarray) -> dict[str, np.ndarray]:
    """What is known of a story's words before their content in context, at the samples of the responses.

    `bits` (word, 2) is the surprisal of each word of `data` by itself, a stand-in for its frequency where the words
    have no such column, and given all words so far. Spaces (sample, feature), by name, are those of
    `features.words.word_spaces`, standardized. At volumes, rate is word rate, letters and position, and drift leaves
    each block. *Alice* supplies "acoustics", the power of the sound, and for "frequency" that in a corpus, in place of
    the first column of `bits`, pauses, and surprisal from two- and three-word sequences.
    """
    words = data.words
    if "frequency" in words:
        bits = np.column_stack([words["frequency"].fillna(words["frequency"].mean()), bits[:, 1:]])
    spaces = word_spaces(words, data.audio, bits)
    if data.modality != "bold":
        heard = told.design.to_numpy().argmax(1)
        known = {name: np.nan_to_num(space) for name, space in spaces.items()}  # written sentences have no times
        return {name: ((space - space.mean(0)) / space.std(0).clip(1e-9))[heard] for name, space in known.items()}
    spaces["rate"] = np.column_stack([np.ones(len(words)), words["word"].str.len(), spaces["rate"][:, -2:]])
    times = told.responses["time"].to_numpy()

    def cleaned(columns: xr.DataArray) -> np.ndarray:
        columns = detrend_blocks(columns, told.options["cv"].n_splits)
        return (columns / columns.std("time")).to_numpy()

    made = {name: cleaned(word_regressors(space, words, times)) for name, space in spaces.items()}
    if data.name == "alice":
        names = ["frequency", "pause", "word_bigram", "word_trigram", "class_bigram", "class_trigram"]
        corpus = cleaned(published_predictors(data).sel(time=times, feature=names))
        made |= {"frequency": np.hstack([made["frequency"][:, 1:], corpus])}
        made = {"acoustics": cleaned(sound_power(data).sel(time=times))} | made
    return made


def by_subject(data: Listening, n_blocks: int, *, skip: int = 0, confounds: ArrayLike | None = None) -> xr.DataArray:
    """The signal of each person and region (subject, time, region), every block cleaned by itself.

    Mean, slope and curvature in time, head motion where it is known (`datasets.alice.motion`), and confounds (time,
    confound), if given, leave each block (`signals.detrend_blocks`); what is left is divided by its standard deviation
    in the block. Nothing is learned from one block for another. `n_blocks` and `skip` are as in `story`; the data have
    a signal (time, channel), and in every person the same regions.
    """
    data.require("signal")
    subjects, regions = (data.channels[name].unique() for name in ("subject", "region"))
    if data.channels.duplicated(["subject", "region"]).any() or len(data.channels) != len(subjects) * len(regions):
        raise ValueError("data: every person must have one channel in each region.")
    signal = data.signal[skip:].astype(float)  # type: ignore[index]
    names = pd.Series(data.channels.index, pd.MultiIndex.from_frame(data.channels[["subject", "region"]]))
    moved, shared, people = motion(data), [] if confounds is None else [np.asarray(confounds)], []
    for subject in subjects:
        own = shared if moved is None else [moved.sel(subject=subject)[skip:], *shared]
        values = signal.sel(channel=names[subject][regions].to_numpy())
        people.append(_cleaned(values, n_blocks, np.hstack(own) if own else None))
    coords = {"subject": subjects, "time": signal["time"].to_numpy(), "region": regions}
    return xr.DataArray(np.stack(people), coords, ("subject", "time", "region"))


def _cleaned(values: xr.DataArray, n_blocks: int, confounds: np.ndarray | None) -> np.ndarray:
    """Values (time, channel) without drift and confounds, in units of their standard deviation, block by block."""
    blocks = np.array_split(detrend_blocks(values, n_blocks, confounds=confounds).to_numpy(), n_blocks)
    spread = np.stack([block.std(0) for block in blocks])
    size = np.stack([np.abs(block).max(0) for block in np.array_split(values.to_numpy(), n_blocks)])
    bad = ~(spread > 1e-9 * size).all(0)  # true of NaN, too
    if bad.any():
        raise ValueError(
            f"data: {listed(values['channel'].to_numpy()[bad])}: values that are not finite, or that never change in "
            f"one of {n_blocks} blocks; leave them out, or use fewer blocks."
        )
    return np.concatenate([block / own for block, own in zip(blocks, spread, strict=True)])


def _of_sentences(values: xr.DataArray, channels: pd.DataFrame, confounds: np.ndarray | None) -> xr.DataArray:
    """Standard scores of what channels (time, channel) have, 0 where one has nothing, with averages where there are."""
    found = values.to_numpy()
    if confounds is not None:
        free = np.column_stack([np.ones(len(found)), confounds])
        for column in found.T:  # a view
            some = np.isfinite(column)
            column[some] -= free[some] @ np.linalg.lstsq(free[some], column[some], rcond=None)[0]
    found = (found - np.nanmean(found, 0)) / np.nanstd(found, 0)
    labels = channels[["subject", "region"]].astype(str)
    regions, subjects = labels["region"].unique(), labels["subject"].unique()
    if len(subjects) > 2 and len(labels.drop_duplicates()) == len(labels) == len(regions) * len(subjects):
        at = pd.MultiIndex.from_frame(labels).get_indexer(pd.MultiIndex.from_product([subjects, regions]))
        people = np.moveaxis(found[:, at].reshape(len(found), len(subjects), -1), 1, 0)
        coords = {"subject": subjects, "time": np.arange(len(found)), "region": regions}
        return _with_averages(xr.DataArray(people, coords, ("subject", "time", "region")))
    return xr.DataArray(np.nan_to_num(found), _labels(channels), ("time", "channel"))


def _labels(channels: pd.DataFrame) -> dict[str, Any]:
    labels = {name: ("channel", channels[name].to_numpy(str)) for name in ("subject", "region")}
    return labels | {"group": ("channel", np.full(len(channels), "people"))}


def _known_of_words(data: Listening, heard: np.ndarray, *, every: bool, position: bool) -> xr.DataArray:
    """Length, duration, the pause before and, in sentences, position of words; on request also sound and frequency."""
    words = data.words
    first = words["passage"] != words["passage"].shift()
    pause = (words["onset"] - words["offset"].shift()).mask(first).clip(0, 5)
    columns = [words["word"].str.len(), words["offset"] - words["onset"], pause.fillna(pause.median())]
    lengths = words.groupby("passage")["word"].transform("size")
    # Beyond the longest sentence, where only the few long passages go, a slope would be theirs alone.
    place = words.groupby("passage").cumcount().clip(upper=lengths[lengths < SHORT].max())
    columns += [place, np.log2(1 + place)] if position else []  # steep at first
    columns += [words["frequency"].fillna(words["frequency"].mean())] if every and "frequency" in words else []
    known = np.nan_to_num(np.column_stack(columns).astype(float))[heard]  # written sentences have no times
    if every and data.audio is not None:
        known = np.column_stack([known, sound_components(data.audio, words)[heard]])
    return xr.DataArray(known[:, known.std(0) > 1e-9], dims=("time", "confound"))


def _with_averages(people: xr.DataArray) -> xr.DataArray:
    """The average brain, averages without one person each, and the people, as channels (time, channel)."""
    n, (subjects, regions) = people.sizes["subject"], (people[name].to_numpy() for name in ("subject", "region"))
    here, values = np.isfinite(people.to_numpy()), np.nan_to_num(people.to_numpy().astype(float))
    total, count = values.sum(0), here.sum(0)
    others = [(total - one) / (count - own).clip(1) for one, own in zip(values, here, strict=True)]
    copies = [total / count, *others, *values]
    groups = np.repeat(["average", "without", "people"], np.array([1, n, n]) * len(regions))
    owners = np.repeat(["", *subjects, *subjects], len(regions))
    labels = {"group": groups, "subject": owners, "region": np.tile(regions, len(copies))}
    coords = {"time": people["time"], **{name: ("channel", values) for name, values in labels.items()}}
    return xr.DataArray(np.concatenate(copies, axis=1), coords, ("time", "channel"))
