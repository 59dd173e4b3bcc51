"""Word features beside a language model's layers: what is heard of a word, random ones, and components of any."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from scipy.signal import lfilter
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainalign._checks import one_of
from brainalign.features.acoustics import envelope, mel_spectrogram, word_acoustics

SMOOTHNESS = 0.95
"""Correlation of a smooth random feature between neighbouring words: it fades over some twenty words."""

PAUSE = 0.2  # s, between phrases


def word_spaces(words: pd.DataFrame, audio: tuple[np.ndarray, float] | None, bits: np.ndarray) -> dict[str, np.ndarray]:
    """What is known of a word before its content in context: feature spaces for a partition of variance.

    Parameters
    ----------
    words : DataFrame [word, onset, offset, passage]
    audio : (array of shape (sample,), float), optional
        Sound and rate (Hz).
    bits : array of shape (word, k)
        How rare and how unexpected a word is, such as its surprisal in short and long contexts.

    Returns
    -------
    dict of str to array of shape (word, feature)
        "acoustics", where there is sound: spectrogram, envelope and its onsets in six steps of 50 ms up to the word's
        centre; "rate": duration, letters, the time since the previous word began, and the words since the phrase (what
        follows 0.2 s of silence) and the passage began; "frequency": `bits`.
    """
    starts = words["passage"].ne(words["passage"].shift())
    phrase = ((words["onset"] - words["offset"].shift() >= PAUSE) | starts).cumsum()
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

    Of shape (layer, word, feature), float32, each of the `n_draws` sets a layer, with `n_features` numbers a word: new
    for each "occurrence"; the same for a word "type" whenever it comes (capitals ignored); or "smooth", without any
    text, a first-order autoregression with the correlation `SMOOTHNESS`, as a control for autocorrelation (Feghhi et
    al. 2024, arXiv:2406.01538; Hadidi et al. 2025, bioRxiv).
    """
    one_of("kind", kind, ("occurrence", "type", "smooth"))
    rng = np.random.default_rng(seed)
    codes, types = pd.factorize(words["word"].str.lower())
    n_rows = len(types) if kind == "type" else len(words)
    values = rng.standard_normal((n_draws, n_rows, n_features), dtype="float32")
    if kind == "type":
        values = values[:, codes]
    elif kind == "smooth":
        values[:, 1:] *= np.sqrt(1 - SMOOTHNESS**2)
        values = lfilter([1.0], [1.0, -SMOOTHNESS], values, axis=1).astype("float32")
    return xr.DataArray(values, dims=("layer", "word", "feature"))


def leading_components(features: xr.DataArray, n_components: int) -> xr.DataArray:
    """The leading principal components of each layer's standardized features, of shape (..., word, feature).

    All there are if fewer, in float32, each with the variance it has. They are the same whatever responses they are to
    predict, and however the words are rolled (`ridge.content_null`).
    """
    features = features.transpose(..., "word", "feature").drop_vars("feature", errors="ignore")
    n = min(n_components, *features.shape[-2:])
    layers = features.to_numpy().reshape(-1, *features.shape[-2:])
    reduce = make_pipeline(StandardScaler(), PCA(n, svd_solver="covariance_eigh"))
    found = np.stack([reduce.fit_transform(layer) for layer in layers]).astype("float32")
    return features.isel(feature=slice(n)).copy(data=found.reshape(*features.shape[:-1], n))
