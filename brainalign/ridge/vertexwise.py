"""Encoding models of people who saw images: one for every vertex of every person, scored on the shared test images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.stats import zscore

from brainalign import rsa, stats
from brainalign.datasets.types import Viewing
from brainalign.ridge.encoding import RidgeSweepCV
from brainalign.rsa.rdms import compare_rdms


@dataclass(frozen=True)
class Encoded:
    """What `encode` finds.

    Parameters
    ----------
    models : mapping of str to RidgeSweepCV
        By subject; targets are the vertices that all subjects have.
    predicted, observed : DataArray of shape (subject, image, vertex)
        Of the test images; observed is the mean over repeats.
    ceiling : DataArray of shape (subject, vertex)
        Noise ceiling on the test images; NaN where there is one repeat only.
    """

    models: Mapping[str, RidgeSweepCV]
    predicted: xr.DataArray
    observed: xr.DataArray
    ceiling: xr.DataArray

    @property
    def scores(self) -> xr.DataArray:
        """Pearson r of predicted and observed over test images, of shape (subject, vertex)."""
        return _pearson(self.predicted, self.observed)

    def agreement(self) -> xr.DataArray:
        """Each subject's observed responses against the mean of the others', of shape (subject, vertex)."""
        return _pearson(_of_others(self.observed), self.observed)

    def across(self) -> xr.DataArray:
        """The score of each subject's models on each other subject, of shape (trained, subject, vertex)."""
        trained = self.predicted.rename(subject="trained")
        return xr.concat([_pearson(one, self.observed) for one in trained], trained["trained"])

    def of_others(self) -> xr.DataArray:
        """The score of the mean prediction of the other subjects' models, of shape (subject, vertex)."""
        return _pearson(_of_others(self.predicted), self.observed)

    def respond(self, features: ArrayLike) -> xr.DataArray:
        """Responses (subject, item, vertex) to something new of shape (item, feature), as sentences that nobody saw."""
        values = np.stack([model.predict(np.asarray(features)) for model in self.models.values()])
        coords = {"subject": list(self.models), "vertex": self.predicted["vertex"]}
        return xr.DataArray(values, coords, ("subject", "item", "vertex"))

    def null(self, n_permutations: int, *, seed: int = 0) -> xr.DataArray:
        """Scores (draw, subject, vertex) with the test images exchanged, in one order for all subjects and vertices."""
        rng, n = np.random.default_rng(seed), self.observed.sizes["image"]
        orders = [rng.permutation(n) for _ in range(n_permutations)]
        predicted, observed = (zscore(a.to_numpy().astype(float), axis=1) for a in (self.predicted, self.observed))
        values = [np.einsum("siv,siv->sv", predicted[:, order], observed) / n for order in orders]
        coords = {name: self.observed[name] for name in ("subject", "vertex")}
        return xr.DataArray(np.stack(values), coords, ("draw", "subject", "vertex"))


def encode(data: Viewing, features: ArrayLike, *, cv: Any = 5, device: str = "auto") -> Encoded:
    """Fit an encoding model of every vertex of every subject, each with its own penalty.

    Parameters
    ----------
    data : Viewing
        With responses of two subjects or more.
    features : array of shape (image, feature)
        In the order of ``data.image_names``.
    cv, device
        As in `RidgeSweepCV`; folds are those of the training images.

    Returns
    -------
    Encoded

    Raises
    ------
    ValueError
        For subjects who share no vertex.
    """
    values, place = np.asarray(features), data.image_names.get_indexer
    vertices, test = shared_vertices(data), list(data.test_images)
    models, parts = {}, []
    for subject, array in (data.responses or {}).items():
        shown = data.train_images(subject)
        model = RidgeSweepCV(cv=cv, device=device).fit(values[place(shown)], responses_of(data, subject, shown))
        model.coef_ = model.coef_.astype("float32")  # half the memory
        repeats = array.sel(image=test, vertex=vertices).astype("float32")
        none = xr.full_like(repeats[0, 0], np.nan).drop_vars(("image", "repeat"), errors="ignore")
        ceiling = stats.noise_ceiling(repeats)["ceiling"] if repeats.sizes["repeat"] > 1 else none
        models[subject] = model
        parts.append((model.predict(values[place(test)]), responses_of(data, subject, test), ceiling))
    predicted, observed, ceiling = (np.stack(part) for part in zip(*parts, strict=True))
    coords = {"subject": data.subjects, "image": test, "vertex": vertices}
    said, heard = (xr.DataArray(part, coords, ("subject", "image", "vertex")) for part in (predicted, observed))
    return Encoded(models, said, heard, said[:, 0].drop_vars("image").copy(data=ceiling))


def held_out_scores(
    data: Viewing,
    features: Mapping[str, ArrayLike],
    *,
    cv: Any = 5,
    n_components: int = 10,
    n_partitions: int = 5,
    seed: int = 0,
    device: str = "auto",
) -> xr.DataArray:
    """Score descriptions with weights of their own in every subject and place, on images that had no part in the fit.

    On fsaverage5 the places are vertices, and an encoding model is fitted to each (`encode`). Elsewhere, and where only
    dissimilarities are known, they are regions, whose RDMs over the test images are predicted from weighted components
    (`rsa.reweighted_rdms`) and scored by rank correlation.

    Parameters
    ----------
    data : Viewing
    features : mapping of str to array of shape (image, feature)
        In the order of ``data.image_names``.
    cv, device
        As in `encode`.
    n_components, n_partitions, seed
        As in `rsa.reweighted_rdms`.

    Returns
    -------
    DataArray of shape (subject, model, centre)
        The coordinate `centre` holds numbers of vertices or names of regions.
    """
    names = pd.Index(list(features), name="model")
    if data.responses is not None and data.space == "fsaverage5":
        found = [encode(data, x, cv=cv, device=device).scores.rename(vertex="centre") for x in features.values()]
        return xr.concat(found, names).transpose("subject", "model", "centre")
    brains, found = rsa.brain_rdms(data).transpose("subject", "region", "pair"), []
    place = data.image_names.get_indexer(data.test_images)
    for values in features.values():
        weights = {"n_components": n_components, "n_partitions": n_partitions, "seed": seed}
        predicted = rsa.reweighted_rdms(brains, np.asarray(values)[place], **weights)
        scores = brains[..., 0].copy(data=np.empty(brains.shape[:2]))
        for at in np.ndindex(scores.shape):
            scores[at] = compare_rdms(predicted[at], brains.values[at], "spearman")
        found.append(scores.rename(region="centre"))
    return xr.concat(found, names).transpose("subject", "model", "centre")


def region_means(maps: xr.DataArray, rois: pd.DataFrame | None) -> xr.DataArray:
    """Means of maps over the vertices of each region.

    Parameters
    ----------
    maps : DataArray of shape (..., vertex)
        The last dimension may have any name; maps whose places are regions stay as they are.
    rois : DataFrame of shape (vertex, ROI), bool, or None
        Those without a vertex in the maps are left out.

    Returns
    -------
    DataArray of shape (region, ...)
    """
    dim = maps.dims[-1]
    if rois is None or set(maps[dim].values) <= set(rois):
        return maps.rename({dim: "region"}).transpose("region", ...)
    inside = members(rois, maps[dim].to_numpy())
    means = [maps[..., mask.to_numpy()].mean(dim) for _, mask in inside.items()]
    return xr.concat(means, pd.Index(list(inside), name="region"))


def members(rois: pd.DataFrame, vertices: ArrayLike) -> pd.DataFrame:
    """Which of the vertices lie in which region, bool of shape (vertex, ROI), of the regions that have any."""
    inside = rois.loc[np.asarray(vertices)]
    return inside.loc[:, inside.any()]


def region_ceilings(data: Viewing) -> xr.DataArray:
    """Noise ceiling of the mean score of each region, on the test images: over its vertices' mean reliability.

    Parameters
    ----------
    data : Viewing
        With two repeats or more.

    Returns
    -------
    DataArray of shape (region, subject)
    """
    vertices, found = shared_vertices(data), []
    inside = members(data.rois, vertices)
    for array in (data.responses or {}).values():
        repeats = array.sel(image=list(data.test_images), vertex=vertices).astype("float32")
        parts = [repeats.sel(vertex=mask.to_numpy()) for _, mask in inside.items()]
        found.append([float(stats.noise_ceiling(part, over="vertex")["ceiling"]) for part in parts])
    return xr.DataArray(np.transpose(found), {"region": list(inside), "subject": data.subjects}, ("region", "subject"))


def shared_vertices(data: Viewing) -> np.ndarray:
    """The vertices that all subjects have, of shape (vertex,)."""
    labels = [array["vertex"].values for array in (data.responses or {}).values()]
    vertices = reduce(np.intersect1d, labels) if labels else np.array([])
    if not len(vertices):
        raise ValueError("data: expected a vertex that all subjects share, got none; take a surface space.")
    return vertices


def responses_of(data: Viewing, subject: str, images: Sequence[Hashable]) -> np.ndarray:
    """Mean responses over repeats, float32 of shape (image, vertex), of the vertices that all subjects have."""
    return data.mean_responses(subject, images).sel(vertex=shared_vertices(data)).values.astype("float32")


def _pearson(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Pearson r over images, of the shape of the second array without them."""
    b, a = (part.transpose("image", ...) for part in xr.broadcast(b, a))
    return b.isel(image=0, drop=True).copy(data=stats.pearson(a.to_numpy().astype(float), b.to_numpy().astype(float)))


def _of_others(values: xr.DataArray) -> xr.DataArray:
    """The mean over all other subjects, for each."""
    parts = [values.drop_sel(subject=subject).mean("subject") for subject in values["subject"].values]
    return xr.concat(parts, values["subject"]).transpose(*values.dims)
