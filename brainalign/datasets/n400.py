"""Single-trial N400 amplitudes of 334 people at the nouns of 158 sentences (Nieuwland et al. 2018)."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainalign import assets
from brainalign._io import placed
from brainalign.datasets.types import Listening

DOUBLED_ITEM = 29
"""A merge error of the packaged table: each trial of this item appears twice, with the same voltage and both nouns."""

TEXT = ("subj", "lab", "sentence", "article", "noun", "end")
"""Columns of the packaged table that hold text; the others hold numbers."""


def n400() -> Listening:
    """EEG of 334 people in nine laboratories who read sentences word by word: the N400 at one noun of each.

    Each of 79 items is a sentence that goes on with an expected or a less expected noun and its article ("an affair"
    or "a fight"); a person read one of the two. Rows of the packaged table that cannot be used are dropped: all of
    item 29, whose trials are doubled by a merge error, and the trials at nouns whose text the table lacks (items 77 and
    78 in five laboratories). The counts are in ``responses.attrs``: ``dropped_doubled`` and ``dropped_without_text``.

    Returns
    -------
    Listening
        `words` [word, onset, offset, passage, item, is_noun, cloze]: every word of the 158 sentences with its
        punctuation; passages are named "15/education", after item and noun; `cloze` is the share of 44 other people
        who completed the sentence with this noun, NaN at other words; the times are unknown (NaN). `responses`
        (word, channel): microvolts, mean of the N400's window and electrodes, one channel a person; NaN but at nouns
        that the person read. `channels` holds also the `lab`.

    Raises
    ------
    brainalign.assets.AssetError
        If the file cannot be had.

    References
    ----------
    Nieuwland et al. (2018). Large-scale replication study reveals a limit on probabilistic prediction in language
    comprehension. eLife 7, e33468. Packaged by Nicenboim, Schad & Vasishth in bcogsci, MIT licence.
    """
    table = _read_table()
    doubled = table["item"] == DOUBLED_ITEM
    without_text = ~doubled & table[["sentence", "article", "noun", "end"]].isna().any(axis=1)
    trials = table[~doubled & ~without_text].astype({"item": int})
    trials["passage"] = trials["item"].astype(str) + "/" + trials["noun"]

    sentences = trials.drop_duplicates("passage").sort_values(["item", "noun"])
    words = pd.concat([_words(sentence) for sentence in sentences.itertuples()], ignore_index=True)
    people = trials.drop_duplicates("subj").sort_values("subj")
    channels = pd.DataFrame(index=pd.Index(people["subj"].astype(str), name="channel"))
    channels["subject"], channels["region"], channels["hemisphere"] = channels.index, "", ""
    channels[["x", "y", "z", "distance_pmc"]] = np.nan
    channels["lab"] = people["lab"].to_numpy(str)

    nouns = pd.Series(np.flatnonzero(words["is_noun"]), index=words.loc[words["is_noun"], "passage"])
    values = np.full((len(words), len(channels)), np.nan, dtype="float32")
    values[nouns[trials["passage"]], channels.index.get_indexer(trials["subj"])] = trials["n400"]
    responses = xr.DataArray(
        values,
        dims=("word", "channel"),
        coords={"channel": channels.index.to_numpy()},
        attrs={
            "units": "microvolt",
            "dropped_doubled": int(doubled.sum()),
            "dropped_without_text": int(without_text.sum()),
        },
    )
    return Listening(name="N400", modality="erp", words=words, channels=channels, responses=responses)


def n400_trials(data: Listening) -> pd.DataFrame:
    """The trials as a table, one row for each noun that a person read.

    Parameters
    ----------
    data : Listening
        As `n400` gives it, or people selected from it.

    Returns
    -------
    DataFrame [word, subject, lab, item, passage, cloze, n400]
        `word` is the noun's row in ``data.words``, so that ``surprisal.values[trials["word"]]`` joins a predictor;
        `n400` in microvolts.

    Raises
    ------
    ValueError
        For data without nouns, items or cloze.
    """
    _check_nouns(data.words, ("item", "cloze"))
    if data.responses is None:
        raise ValueError("data: expected responses at the nouns, got none; pass load_listening('n400').")
    nouns = np.flatnonzero(data.words["is_noun"])
    values = data.responses.to_numpy()[nouns]
    noun, person = np.nonzero(np.isfinite(values))
    trials = data.words.iloc[nouns[noun]][["item", "passage", "cloze"]].reset_index(drop=True)
    for column in ("lab", "subject"):
        trials.insert(0, column, data.channels[column].to_numpy()[person] if column in data.channels else "")
    trials.insert(0, "word", nouns[noun])
    return trials.assign(n400=values[noun, person].astype(float))


def before_noun(words: pd.DataFrame, context: int | None = None) -> pd.DataFrame:
    """Each sentence up to its noun: the noun and the words before it, and nothing of what follows.

    Language models then read only what decides the noun's features, and no more than `context` words of it.

    Parameters
    ----------
    words : DataFrame [word, passage, is_noun]
        One noun a passage.
    context : int, optional
        Keep the last so many words, the noun included, or all where a sentence has fewer. Default: all.

    Returns
    -------
    DataFrame
        The rows that are kept, with their index and columns. The last row of each passage is its noun.

    Raises
    ------
    ValueError
        For missing columns, a passage without exactly one noun, or a context that is not a whole number from 1.
    """
    if context is not None and (int(context) != context or context < 1):
        raise ValueError(f"context: expected a number of words from 1, the noun included, or None, got {context!r}.")
    _check_nouns(words)
    position = words.groupby("passage", sort=False).cumcount()
    noun = position.where(words["is_noun"]).groupby(words["passage"]).transform("max")
    keep = position <= noun
    if context is not None:
        keep &= position > noun - context
    return words[keep]


def _read_table() -> pd.DataFrame:
    """The packaged table. Reading it takes seconds; a copy of its text and numbers that does not is kept beside it."""
    path = assets.fetch("n400")
    copy = assets.cache_dir() / "tables" / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}.csv"
    if copy.exists():
        types = dict.fromkeys(TEXT, "string")
        return pd.read_csv(copy, index_col=0, keep_default_na=False, na_values=[""], dtype=types)
    import rdata  # here, since nothing else needs it

    # A tibble is a data frame with two more class names, which the reader would warn of.
    classes = rdata.conversion.DEFAULT_CLASS_MAP
    classes = {**classes, "tbl_df": classes["data.frame"], "tbl": classes["data.frame"]}
    table = rdata.read_rda(path, constructor_dict=classes)["df_eeg_complete"]
    with placed(copy) as part:
        table.to_csv(part)
    return table


def _words(sentence: Any) -> pd.DataFrame:
    before = [*sentence.sentence.split(), *sentence.article.split()]
    words = pd.DataFrame({"word": [*before, sentence.noun, *sentence.end.split()]})
    words[["onset", "offset"]] = np.nan
    words["passage"], words["item"] = sentence.passage, sentence.item
    words["is_noun"] = words.index == len(before)
    words["cloze"] = np.where(words["is_noun"], sentence.cloze, np.nan)
    return words


def _check_nouns(words: pd.DataFrame, more: tuple[str, ...] = ()) -> None:
    missing = [column for column in ("word", "passage", "is_noun", *more) if column not in words]
    if missing:
        raise ValueError(f"words: missing the column(s) {missing}; pass the words of load_listening('n400').")
    counts = words["is_noun"].astype(bool).groupby(words["passage"]).sum()
    if (counts != 1).any():
        passage = counts.index[counts != 1][0]
        raise ValueError(f"words: expected one noun in each passage, got {counts[passage]} in {passage!r}.")
