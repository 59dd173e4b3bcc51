"""Decoding every person of a data set, whether their responses are known or only distances between them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy.spatial.distance import squareform
from sklearn.model_selection import KFold

from brainalign.datasets import Viewing
from brainalign.decoding.identification import identify_by_embeddings
from brainalign.ridge.decoder import CaptionDecoder
from brainalign.rsa import brain_rdms

_TOGETHER = 4  # exchanges that are decoded at once


def decode_subjects(data: Viewing, embeddings: xr.DataArray, *, device: str = "auto") -> xr.DataArray:
    """What each person's brain tells of the embeddings of the test images, of shape (subject, image, feature).

    A `CaptionDecoder` is fitted to each person's images outside of the test set, from all vertices of the regions of
    interest. Where only RDMs are known there are no vertices and, in objects92, no other images. But ridge regression
    needs of patterns only their products, and 1 - the distance, a correlation, is one. So patterns are made that have
    these correlations (classical scaling, mean RDM over sessions), and each fifth of the test images is decoded from
    the other four. Chance then lies below what guessing gives, for the images learned from lack what the image left out
    is like: compare with `chance_for_subjects`.

    `embeddings` (item, feature) are of all images, from `features.captions.embed`; several side by side cost little
    more than one, as each dimension is decoded by itself. Their mean over the images that the decoder was fitted to is
    taken off what is decoded, so that an image is compared by what sets it apart (`identification`).
    """
    test, found = list(data.test_images), []

    def decode(patterns: np.ndarray, aims: np.ndarray, left: np.ndarray) -> np.ndarray:
        decoder = CaptionDecoder(device=device).fit(patterns, aims)
        return (decoder.predict(left) - decoder.mean_).astype("float32")

    if data.responses is None:
        aims = embeddings.sel(item=test).values
        for pairs in brain_rdms(data).mean("region").values:
            lengths, axes = np.linalg.eigh(1 - squareform(pairs))
            patterns, decoded = axes * np.sqrt(lengths.clip(min=0)), np.empty(aims.shape, dtype="float32")
            for train, left in KFold(5, shuffle=True, random_state=0).split(test):
                decoded[left] = decode(patterns[train], aims[train], patterns[left])
            found.append(decoded)
    else:
        seen = data if data.rois is None else data.select(vertices=data.rois.any(axis=1))
        for subject in data.subjects:
            responses, train = seen.mean_responses(subject).astype("float32"), list(data.train_images(subject))
            aims = embeddings.sel(item=train).values
            found.append(decode(responses.sel(image=train).values, aims, responses.sel(image=test).values))
    return xr.DataArray(np.array(found), {"subject": data.subjects, "image": test}, ("subject", "image", "feature"))


def chance_for_subjects(
    data: Viewing,
    embeddings: xr.DataArray,
    groups: Sequence[Hashable] | None = None,
    *,
    n_refits: int = 49,
    seed: int = 0,
    device: str = "auto",
) -> np.ndarray:
    """Mean share of rivals beaten by what `decode_subjects` makes of embeddings that were exchanged between images.

    Of shape (refit,), over subjects and images. Images exchange their embeddings within `groups`, of shape (item,), and
    only rivals of the same group count; the other parameters are as in `decode_subjects`.
    """
    rng, places = np.random.default_rng(seed), pd.Series(np.arange(len(embeddings)))
    labels = pd.Series(0, places.index) if groups is None else pd.Series(list(groups))
    of_test = pd.Index(embeddings["item"]).get_indexer(list(data.test_images))
    orders = [places.groupby(labels).transform(rng.permutation).to_numpy() for _ in range(n_refits)]
    shares = []
    for start in range(0, n_refits, _TOGETHER):
        some = [embeddings.copy(data=embeddings.values[order]) for order in orders[start : start + _TOGETHER]]
        decoded = decode_subjects(data, xr.concat(some, "feature"), device=device).values
        for given, each in zip(some, np.split(decoded, len(some), axis=2), strict=True):
            aims = given.values[of_test] - given.values.mean(0)
            shares.append(np.nanmean([identify_by_embeddings(one, aims, labels[of_test]) for one in each]))
    return np.array(shares)
