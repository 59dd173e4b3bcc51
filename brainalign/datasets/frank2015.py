"""EEG of 24 people who read 205 sentences word by word: the N400 at every word (Frank et al. 2015)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from brainalign import assets
from brainalign.datasets.types import Listening


def frank2015() -> Listening:
    """The N400 of 24 people at the words of 205 English sentences of 5 to 15 words, which they read one by one.

    Trials that the authors reject (artefacts) and words that they reject (first and last of a sentence, clitics, and
    words with punctuation) have no response: 1,487 words have one in somebody. The amplitudes are not corrected for
    their baseline, the mean of the 100 ms before the word: it is regressed out, in each person over all trials kept.
    (Slopes are small; to subtract it would add its noise.)

    Returns
    -------
    Listening
        `words` have also frequency: the logarithm of how often it occurs in a corpus, NaN where punctuation is
        attached; passages are the sentences, named by their number; times are unknown (NaN). `responses` (word,
        channel): microvolts, mean of 300 to 500 ms at centro-parietal electrodes less what its baseline predicts, one
        channel a person, NaN where there is none.

    References
    ----------
    Frank, Otten, Galli & Vigliocco (2015). The ERP response to the amount of information conveyed by words in
    sentences. Brain and Language 140, 1-11. Prepared by Aurnhammer & Frank (2019), Apache-2.0 licence.
    """
    # Tabs under the name .csv; one word is "None", and numbers that are missing are empty.
    missing = dict.fromkeys(("baseline", "N400", "log_freq"), "")
    table = pd.read_csv(assets.fetch("frank2015"), sep="\t", keep_default_na=False, na_values=missing)
    table = table.sort_values(["sent_nr", "word_pos", "subj_nr"], kind="stable", ignore_index=True)
    first = table.drop_duplicates("item")
    words = pd.DataFrame({"word": first["word"], "onset": np.nan, "offset": np.nan, "passage": first["sent_nr"]})
    # The table's log_freq is low for frequent words.
    words = words.astype({"passage": str}).assign(frequency=-first["log_freq"]).reset_index(drop=True)
    kept = table[~(table["reject_data"] | table["reject_word"])].dropna(subset=["baseline", "N400"])
    values = np.full((len(words), table["subj_nr"].nunique()), np.nan, dtype="float32")
    row, people = pd.Index(first["item"]), np.sort(table["subj_nr"].unique())
    for column, (_, own) in zip(values.T, kept.groupby("subj_nr"), strict=True):
        slope, mean = np.polyfit(own["baseline"], own["N400"], 1)
        column[row.get_indexer(own["item"])] = own["N400"] - mean - slope * own["baseline"]
    names = pd.Index([f"p{person:02d}" for person in people], name="channel")
    channels = pd.DataFrame({"subject": names, "region": "centro-parietal", "hemisphere": ""}, index=names)
    channels[["x", "y", "z", "distance_pmc"]] = np.nan
    responses = xr.DataArray(values, {"channel": names.to_numpy()}, ("word", "channel"), attrs={"units": "microvolt"})
    return Listening(name="frank2015", modality="erp", words=words, channels=channels, responses=responses)
