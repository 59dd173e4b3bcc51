"""Single-trial N400 amplitudes of 334 people at the nouns of 158 sentences (Nieuwland et al. 2018)."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainalign import assets
from brainalign._checks import whole
from brainalign._io import placed
from brainalign.datasets.types import Listening

DOUBLED_ITEM = 29  # by a merge error, each of its trials appears twice, with the same voltage and both nouns
TEXT = ("subj", "lab", "sentence", "article", "noun", "end")  # columns of text; the others hold numbers


def n400() -> Listening:
    """EEG of 334 people in nine laboratories who read sentences word by word: the N400 at one noun of each.

    Each of 79 items is a sentence that goes on with an expected or a less expected noun and its article ("an affair"
    or "a fight"); a person read one of the two. Rows of the packaged table that cannot be used are dropped: all of
    item 29, whose trials are doubled by a merge error, and the trials at nouns whose text the table lacks (items 77 and
    78 in five laboratories). The counts are in ``responses.attrs``: ``dropped_doubled`` and ``dropped_without_text``.

    Returns
    -------
    Listening
        `words` have also item, is_noun and cloze: the share of 44 other people who completed the sentence with this
        noun, NaN at other words; passages are named "15/education", after item and noun; times are unknown (NaN).
        `responses` (word, channel): microvolts, mean of the N400's window and electrodes, one channel a person; NaN but
        at nouns that the person read. `channels` have also the `lab`.

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
    labs = trials.drop_duplicates("subj").set_index("subj")["lab"].sort_index().astype(str)
    channels = pd.DataFrame({"subject": labs.index.astype(str), "region": "", "hemisphere": ""})
    channels[["x", "y", "z", "distance_pmc"]] = np.nan
    channels = channels.assign(lab=labs.to_numpy()).set_index(pd.Index(channels["subject"], name="channel"))

    nouns = pd.Series(np.flatnonzero(words["is_noun"]), index=words.loc[words["is_noun"], "passage"])
    values = np.full((len(words), len(channels)), np.nan, dtype="float32")
    values[nouns[trials["passage"]], channels.index.get_indexer(trials["subj"])] = trials["n400"]
    dropped = {"dropped_doubled": int(doubled.sum()), "dropped_without_text": int(without_text.sum())}
    coords, attrs = {"channel": channels.index.to_numpy()}, {"units": "microvolt", **dropped}
    responses = xr.DataArray(values, coords, ("word", "channel"), attrs=attrs)
    return Listening(name="N400", modality="erp", words=words, channels=channels, responses=responses)


def n400_trials(data: Listening) -> pd.DataFrame:
    """The trials of `n400`, or of people selected from it, one row for each noun that a person read.

    Columns are word, subject, lab, item, passage, cloze and n400 (microvolts). `word` is the noun's row in
    ``data.words``, so that ``surprisal.values[trials["word"]]`` joins a predictor.
    """
    _check_nouns(data.words, "item", "cloze")
    data.require("responses")
    nouns = np.flatnonzero(data.words["is_noun"])
    values = data.responses.to_numpy()[nouns]  # type: ignore[union-attr]
    noun, subject = np.nonzero(np.isfinite(values))
    of_noun = data.words.iloc[nouns[noun]][["item", "passage", "cloze"]].reset_index(drop=True)
    of_subject = data.channels.iloc[subject].reindex(columns=["subject", "lab"]).reset_index(drop=True)
    trials = pd.concat([pd.Series(nouns[noun], name="word"), of_subject, of_noun], axis=1)
    return trials.assign(n400=values[noun, subject].astype(float))


def before_noun(words: pd.DataFrame, context: int | None = None) -> pd.DataFrame:
    """Each sentence up to its noun: the noun and the words before it, and nothing of what follows.

    Language models then read only what decides the noun's features, and no more than `context` words of it, the noun
    included; None: all. Each passage of `words` has one row with `is_noun`, which is the last that is kept.
    """
    _check_nouns(words)
    position = words.groupby("passage", sort=False).cumcount()
    noun = position.where(words["is_noun"]).groupby(words["passage"]).transform("max")
    return words[(position <= noun) & (position > noun - (np.inf if context is None else whole("context", context)))]


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


def _check_nouns(words: pd.DataFrame, *more: str) -> None:
    missing = [column for column in ("word", "passage", "is_noun", *more) if column not in words]
    if missing:
        raise ValueError(f"words: missing the column(s) {missing}; pass the words of load_listening('n400').")
    counts = words["is_noun"].astype(bool).groupby(words["passage"]).sum()
    if (counts != 1).any():
        passage = counts.index[counts != 1][0]
        raise ValueError(f"words: expected one noun in each passage, got {counts[passage]} in {passage!r}.")
