"""Word features beside a language model's layers: what is heard of a word, random ones, and components of any."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from scipy.signal import lfilter
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from brainalign.features.acoustics import envelope, mel_spectrogram, word_acoustics

SMOOTHNESS = 0.95
"""Correlation of a smooth random feature between neighbouring words: it fades over some twenty words."""


def word_spaces(
    words: pd.DataFrame, audio: tuple[np.ndarray, float] | None, bits: np.ndarray, *, pause: float = 0.2
) -> dict[str, np.ndarray]:
    """What is known of a word before its content in context: feature spaces for a partition of variance.

    Parameters
    ----------
    words : DataFrame [word, onset, offset, passage]
    audio : (array of shape (sample,), float), optional
        Sound and rate (Hz).
    bits : array of shape (word, k)
        How rare and how unexpected a word is, such as its surprisal in short and long contexts.
    pause : float
        Silence (s) before the first word of a phrase.

    Returns
    -------
    dict of str to array of shape (word, feature)
        "acoustics", where there is sound: spectrogram, envelope and its onsets in six steps of 50 ms up to the word's
        centre; "rate": duration, letters, the time since the previous word began, and the words since the phrase and
        the passage began; "frequency": `bits`.
    """
    starts = words["passage"].ne(words["passage"].shift())
    phrase = ((words["onset"] - words["offset"].shift() >= pause) | starts).cumsum()
    position = [words.groupby(by).cumcount() for by in (phrase, words["passage"])]
    since = words["onset"].diff().mask(starts)
    timing = [words["offset"] - words["onset"], words["word"].str.len(), since.fillna(since.median())]
    spaces = {"rate": np.column_stack([*timing, *position]), "frequency": np.asarray(bits)}
    if audio is None:
        return spaces
    sound = [make(*audio).drop_vars("feature") for make in (mel_spectrogram, envelope)]
    return {"acoustics": word_acoustics(xr.concat(sound, "feature"), words).to_numpy()} | spaces


def random_features(
    words: pd.DataFrame,
    n_features: int,
    n_draws: int,
    *,
    kind: Literal["occurrence", "type", "smooth"] = "occurrence",
    seed: int = 0,
) -> xr.DataArray:
    """Descriptions that hold no meaning: what any description gains by luck, by identity, or by being slow.

    Parameters
    ----------
    words : DataFrame [word]
    n_features, n_draws : int
        Numbers for each word, and sets of them.
    kind : {"occurrence", "type", "smooth"}
        New numbers for each occurrence; the same numbers for a word whenever it comes (capitals ignored); or numbers
        that change slowly from word to word, without any text: a first-order autoregression with the correlation
        `SMOOTHNESS`.
    seed : int

    Returns
    -------
    DataArray of shape (layer, word, feature)
        float32, one layer a draw.

    Raises
    ------
    ValueError
        For an unknown kind.

    References
    ----------
    Smooth random features as a control for autocorrelation: Hadidi, Feghhi, Song, Blank & Kao (2025), Illusions of
    Alignment Between Large Language Models and Brains Emerge From Fragile Methods and Overlooked Confounds; Feghhi,
    Hadidi, Song, Blank & Kao (2024), What Are Large Language Models Mapping to in the Brain?
    """
    if kind not in ("occurrence", "type", "smooth"):
        raise ValueError(f"kind: expected 'occurrence', 'type' or 'smooth', got {kind!r}.")
    rng = np.random.default_rng(seed)
    codes, types = pd.factorize(words["word"].str.lower())
    n_rows = len(types) if kind == "type" else len(words)
    values = rng.standard_normal((n_draws, n_rows, n_features), dtype="float32")
    if kind == "type":
        values = values[:, codes]
    elif kind == "smooth":
        fresh = np.sqrt(1 - SMOOTHNESS**2)
        values[:, 1:] *= fresh
        values = lfilter([1.0], [1.0, -SMOOTHNESS], values, axis=1).astype("float32")
    return xr.DataArray(values, dims=("layer", "word", "feature"))


def leading_components(features: xr.DataArray, n_components: int) -> xr.DataArray:
    """The leading principal components of each layer's standardized features.

    They are those of the words as they stand, whatever responses they are to predict, and the same however the words
    are rolled (`ridge.content_null`).

    Parameters
    ----------
    features : DataArray of shape (..., word, feature)
    n_components : int
        As many are kept as there are, if fewer.

    Returns
    -------
    DataArray of shape (..., word, feature)
        float32; the variance of each component as it was.
    """
    features = features.transpose(..., "word", "feature").drop_vars("feature", errors="ignore")
    n = min(n_components, *features.shape[-2:])
    values = features.to_numpy().reshape(-1, *features.shape[-2:])
    parts = [
        PCA(n, svd_solver="covariance_eigh").fit_transform(StandardScaler().fit_transform(layer)) for layer in values
    ]
    found = np.stack(parts).astype("float32").reshape(*features.shape[:-1], n)
    return features.isel(feature=slice(n)).copy(data=found)
