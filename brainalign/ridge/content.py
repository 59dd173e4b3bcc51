"""Descriptions of words as regressors, and what chance gives: descriptions that belong to other words."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import xarray as xr
from threadpoolctl import threadpool_limits

from brainalign._checks import whole
from brainalign.ridge.encoding import cross_validate
from brainalign.stats import Shifts

MOVED_BYTES = 2**28
"""Bound on the copies of responses, moved to other words, that are fitted at once."""


def word_sweep(values: xr.DataArray, design: xr.DataArray, *, retained: float = 0.95) -> xr.DataArray:
    """Regressors made of word values by a linear design, in as few columns as the design lets through.

    Ridge regression with one penalty depends on regressors only by their products, sample by sample. A design that
    smooths, as the haemodynamic response does, lets few directions through well, in which hundreds of features have the
    same products as a few columns. With ``retained=1`` the fits are those of all features; with the largest directions
    they are all but those, and several times faster. To be fitted with ``standardize=False``: every feature is given
    the same weight here, by its standard deviation over words.

    Parameters
    ----------
    values : DataArray of shape (..., word, feature)
        Such as a model's layers.
    design : DataArray of shape (time, word)
        As from `signals.word_to_volume`, with whatever leaves the responses taken out of it (`signals.detrend_blocks`).
        Where each sample is one word, a 1 in the place of the word: its values are then taken as they are.
    retained : float
        Share of the design's variance that is kept, from its largest directions on.

    Returns
    -------
    DataArray of shape (..., time, feature)
        float32.

    Raises
    ------
    ValueError
        For words that differ in number, values that never vary, or a share not above 0 and at most 1.
    """
    rolls = RolledSweeps(values, design, n_rolls=0, retained=retained)
    sample = rolls.dims[-2]
    return rolls.rolled().assign_coords({sample: design[sample]})


class RolledSweeps(Sequence[xr.DataArray]):
    """Regressors of descriptions that belong to other words: `word_sweep` of rolled values, roll by roll.

    When words come, and how their descriptions follow each other, stays; which word is described does not. Each item is
    a float32 DataArray of shape (..., time, feature), made when it is asked for. Where each sample is one word and the
    design says its `passage`, passages move as in `stats.Shifts`: short ones, such as sentences, are exchanged whole.

    Parameters
    ----------
    values, design, retained
        As in `word_sweep`.
    n_rolls, min_roll, seed
        As in `content_null`.

    Raises
    ------
    ValueError
        As `word_sweep` and `stats.Shifts`.
    """

    def __init__(
        self,
        values: xr.DataArray,
        design: xr.DataArray,
        *,
        n_rolls: int = 200,
        min_roll: int = 50,
        retained: float = 0.95,
        seed: int = 0,
    ) -> None:
        if not 0 < retained <= 1:
            raise ValueError(f"retained: expected a share above 0 and at most 1, got {retained!r}.")
        values, design = values.transpose(..., "word", "feature"), design.transpose(..., "word")
        n = values.sizes["word"]
        if n != design.sizes["word"]:
            raise ValueError(f"values: expected one row for each of {design.sizes['word']} words, got {n}.")
        self.shape, self.dims = values.shape[:-2], (*values.dims[:-2], design.dims[0], "feature")
        self.coords = {name: c for name, c in values.coords.items() if not {"word", "feature"} & set(c.dims)}
        self.scores = [_standard_scores(layer) for layer in values.to_numpy().reshape(-1, *values.shape[-2:])]
        weights, rolls = design.to_numpy(), Shifts(n_rolls, min_roll, seed=seed)
        # Responses to words: each sample is one word, and no direction is larger than another.
        self.picked = weights.argmax(1) if (weights.sum(1) == 1).all() and weights.max() == 1 else None
        if self.picked is not None:
            passages = design["passage"].to_numpy() if "passage" in design.coords else None
            self.orders = rolls.orders(len(self.picked), passages) if n_rolls else ()
        else:
            # The first entry of an order is the word that comes to stand first.
            self.orders = (n - rolls.orders(n)[:, 0]) % n if n_rolls else ()
            left, sizes, right = np.linalg.svd(weights.astype(float), full_matrices=False)
            share = np.cumsum(sizes**2) / (sizes**2).sum()
            kept = slice(int(np.searchsorted(share, retained - 1e-9)) + 1)
            self.left, self.right = left[:, kept], (sizes[kept, None] * right[kept]).astype("float32")

    def __len__(self) -> int:
        return len(self.orders)

    def __getitem__(self, number: Any) -> Any:
        with threadpool_limits(1):  # decompositions this small lose by a second thread
            return self.rolled(self.orders[number])

    def rolled(self, order: Any = None) -> xr.DataArray:
        """Regressors of the values in another order of words: a roll by so many or, of single words, the samples'."""
        made = np.stack([self._columns(scores, order) for scores in self.scores])
        return xr.DataArray(made.reshape(*self.shape, *made.shape[1:]), self.coords, self.dims)

    def _columns(self, scores: np.ndarray, order: Any) -> np.ndarray:
        if self.picked is not None:
            return scores[self.picked if order is None else self.picked[order]]
        # rolling the design back moves less than the scores
        through = (self.right if order is None else np.roll(self.right, -int(order), axis=1)) @ scores
        if through.shape[1] > len(through):  # as many columns, with the same products
            through = np.linalg.qr(through.T.astype(float), mode="r").T  # type: ignore[attr-defined]
        return (self.left @ through).astype("float32")


def _standard_scores(layer: np.ndarray) -> np.ndarray:
    centred = layer - layer.mean(0, dtype=float)
    spread = centred.std(0)
    if not np.isfinite(spread).all() or not spread.any():
        raise ValueError("values: every layer must be finite and have features that vary over words.")
    return (centred / np.where(spread > 0, spread, 1.0)).astype("float32")


def content_null(
    values: xr.DataArray,
    design: xr.DataArray,
    responses: xr.DataArray | np.ndarray,
    *,
    n_rolls: int = 200,
    min_roll: int = 50,
    confounds: xr.DataArray | np.ndarray | None = None,
    retained: float = 0.95,
    seed: int = 0,
    **options: Any,
) -> xr.DataArray:
    """Find what chance gives when everything stays real but *which* word each description belongs to.

    The descriptions are rolled along the words, regressors are built from them anew, and all is fitted again. Whatever
    the timing of the words, slow drifts or one story's luck give, they give here too. It is the chance level for
    statements about subjects who heard one story. An interval over them is none: a description which fits the story by
    luck fits everyone.

    Parameters
    ----------
    values : DataArray of shape (..., word, feature)
        Descriptions of the words, such as a model's layers; all are rolled alike.
    design, retained
        As in `word_sweep`, which makes the regressors. Where each sample is one word, passages move as `RolledSweeps`
        says, and what moves is what confounds leave of the responses (the `null` of `cross_validate`), which is fast.
    responses : DataArray or array of shape (time, channel)
    n_rolls : int
        Number of rolls; as many as there are, if fewer.
    min_roll : int
        Least roll (words), forwards and backwards. Take it longer than the response to a word and the reach of a topic.
    confounds, **options
        As in `cross_validate`, the same as for the scores that are compared.
    seed : int
        The same seed gives the same rolls, so that models or contexts can be compared roll by roll.

    Returns
    -------
    DataArray of shape (draw, ..., channel)
        ``score`` or, with confounds, ``partial`` of `cross_validate`, for the dimensions of the values. As with its
        ``null``, any statistic of the observed scores is to be taken of every roll as well.

    Raises
    ------
    ValueError
        As `cross_validate`, `word_sweep` and `stats.Shifts`.
    """
    rolls = RolledSweeps(
        values, design, n_rolls=whole("n_rolls", n_rolls), min_roll=min_roll, retained=retained, seed=seed
    )
    observed = np.asarray(responses)
    options |= {"confounds": confounds, "standardize": False}

    def fit(made: xr.DataArray, **more: Any) -> xr.Dataset:
        features = made.to_numpy().reshape(-1, *made.shape[-2:])
        features = xr.DataArray(features, dims=("layer", "time", "feature"))
        return cross_validate(features, observed, **options, **more)

    if rolls.picked is not None:  # moving the responses back is the same, and one decomposition serves many rolls
        made, back = rolls.rolled(), np.argsort(rolls.orders, axis=1)
        size = max(1, MOVED_BYTES // (8 * observed.size))
        null = np.concatenate([fit(made, null=back[k : k + size])["null"] for k in range(0, len(back), size)])
    else:
        score = "score" if confounds is None else "partial"
        # Decompositions this small gain nothing from a second thread; two rolls at a time do.
        with (
            threadpool_limits(1),
            ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            null = np.stack(list(pool.map(lambda number: fit(rolls[number])[score].to_numpy(), range(len(rolls)))))
    coords, channel_dim, swept = dict(rolls.coords), "channel", rolls.dims[:-2] or ("layer",)
    if isinstance(responses, xr.DataArray):
        channel_dim = responses.dims[1]
        coords |= {name: c for name, c in responses.coords.items() if c.dims == (channel_dim,)}
    shape = len(null), *(rolls.shape or (1,)), null.shape[-1]
    return xr.DataArray(null.reshape(shape), coords, ("draw", *swept, channel_dim))
