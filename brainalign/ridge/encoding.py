"""Encoding models: how well each layer predicts each channel, by nested cross-validated ridge regression.

Every training fold's second moments are the total's less those of the samples left out; one decomposition of them
(`_path`) serves every penalty, channel and copy of a channel that shows what chance gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from brainalign._checks import finite, one_of, shaped, torch_device, whole
from brainalign.ridge import _path
from brainalign.ridge.folds import (
    Folds,
    check_alphas,
    check_features,
    check_responses,
    fold_map,
    folds_of,
    group_codes,
    nested,
    over_folds,
)
from brainalign.stats import PermuteGroups, Shifts, pearson

__all__ = ["DEFAULT_ALPHAS", "RidgeSweepCV", "cross_validate"]

DEFAULT_ALPHAS = np.logspace(0, 7, 15)
"""Half decades that bracket the eigenvalues of some hundreds to thousands of standardized features and samples."""

_SHARED_BYTES = 2**28  # bound on shared moments, on a chunk of channels, and on the folds worked on at once
_ROUNDING = 1e-6  # of a sum of eigenvalues: an error in single precision that is nothing beside larger penalties
_NEGLIGIBLE = 1e-10  # of a feature's whole sum of squares: below it, what a fold retains is rounding error
_SIGNAL_R, _EDGE_SHARE = 0.1, 0.25
_DTYPES = ("float32", "float64")
_NO_PENALTY = 0.01  # of a standardized feature's sum of squares, the number of samples: a penalty without effect


@dataclass(frozen=True)
class _Fit:
    """Ridge solutions of one training set, and the way from features to the scores of its components."""

    free_x: torch.Tensor  # (free, feature): weights by which the free columns (ones, confounds) account for features
    free_y: torch.Tensor  # (free, channel): and for responses; with the ones alone both are means
    maps: tuple[torch.Tensor, ...]  # their product takes what is left of the features to component scores
    path: _path.Path

    def coef(self, alpha: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Weights on the features (feature, channel), some channels at a time: all at once are large."""
        size = max(32, _path.TRIAL_BYTES // (8 * self.free_x.shape[1]))
        for part in (slice(start, start + size) for start in range(0, len(alpha), size)):
            w = self.path.weights(alpha, part)
            for m in reversed(self.maps):
                w = m @ w
            yield part, w


class _Sweep:
    """One layer's features and some channels' responses, and the moments that all training sets share.

    Parameters
    ----------
    training_sets : list of arrays
        Sample indices of every training set that will be fitted.
    confounds : array of shape (sample, column), optional
        Enters without a penalty, as the intercept does: both are partialled out of features and responses within each
        training set, which gives the same solution as free weights in one joint fit (Frisch & Waugh 1933).
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        alphas: np.ndarray,
        training_sets: list[np.ndarray],
        *,
        standardize: bool,
        n_components: int | None,
        device: torch.device,
        dtype: str,
        confounds: np.ndarray | None = None,
    ) -> None:
        # Differences of moments cancel: work in double precision around the overall mean.
        x, y = (torch.tensor(a, dtype=torch.float64, device=device) for a in (x, y))
        self.offset_x, self.offset_y = x.mean(0), y.mean(0)
        rounding = len(x) * (10 * torch.finfo(torch.float64).eps * x.abs().amax(0)) ** 2
        free = torch.ones(len(x), 1, dtype=torch.float64, device=device)
        if confounds is not None:
            scaled = (confounds - confounds.mean(0)) / confounds.std(0)
            free = torch.cat([free, torch.tensor(scaled, dtype=torch.float64, device=device)], dim=1)
        self.data = torch.cat([x - self.offset_x, free, y - self.offset_y], dim=1)
        self.p = x.shape[1]
        self.q = self.p + free.shape[1]  # where the responses begin
        self.x, self.free, self.y = self.data[:, : self.p], self.data[:, self.p : self.q], self.data[:, self.q :]
        self.least_square = torch.maximum(_NEGLIGIBLE * self.x.square().sum(0), rounding)
        self.alphas = torch.as_tensor(alphas, dtype=torch.float64, device=device)
        self.standardize, self.n_components, self.dtype = standardize, n_components, getattr(torch, dtype)
        self._share_moments(training_sets)

    def _share_moments(self, training_sets: list[np.ndarray]) -> None:
        self.cells: torch.Tensor | None = None
        self.total: Any = None  # a tensor, unless every training set has a kernel
        if max(len(train) for train in training_sets) < self.p:
            return
        # Samples that belong to the same training sets form a cell; its moments are computed once, where memory allows.
        member = np.zeros((len(training_sets), len(self.data)), dtype=bool)
        for row, train in zip(member, training_sets, strict=True):
            row[train] = True
        _, self.cell_of = np.unique(np.packbits(member, axis=0), axis=1, return_inverse=True)
        n_cells, size = self.cell_of.max() + 1, self.q * self.data.shape[1]
        if n_cells * size * 8 <= _SHARED_BYTES:
            self.cells = torch.stack([self._products(np.flatnonzero(self.cell_of == c)) for c in range(n_cells)])
            self.total = self.cells.sum(0)
        else:
            self.total = self._products(np.arange(len(self.data)))

    def _products(self, index: np.ndarray) -> torch.Tensor:
        """Second moments (feature + free, feature + free + channel); the column of ones adds the sums and the count."""
        rows = self.data[index]
        return rows[:, : self.q].T @ rows

    def _moments(self, train: np.ndarray) -> torch.Tensor:
        kept = np.zeros(len(self.data), dtype=bool)
        kept[train] = True
        fewer = ~kept if 2 * len(train) > len(kept) else kept
        if not fewer.any():
            return self.total.clone()
        if self.cells is None:
            moments = self._products(np.flatnonzero(fewer))
        else:
            first, *others = np.unique(self.cell_of[fewer])
            moments = self.cells[first].clone()
            for cell in others:
                moments += self.cells[cell]
        return moments if fewer is kept else moments.neg_().add_(self.total)

    def fit(self, train: np.ndarray, dtype: torch.dtype = torch.float64) -> _Fit:
        """`dtype` is that of the decomposition of moments, unless a penalty is too small for it."""
        return self._fit_kernel(train) if len(train) < self.p else self._fit_moments(self._moments(train), dtype)

    def _fit_moments(self, m: torch.Tensor, dtype: torch.dtype) -> _Fit:
        p, q = self.p, self.q
        n, shared = m[p, p].clone(), m[:p, p:q].clone()
        free_x, free_y = torch.linalg.solve(m[p:q, p:q], m[p:q, :p]), torch.linalg.solve(m[p:q, p:q], m[p:q, q:])
        gram = m[:p, :p].addmm_(shared, free_x, alpha=-1)
        scale = self._scale(gram.diagonal(), n)[:, None]
        gram.mul_(scale).mul_(scale.T)
        dtype = torch.float64 if self.alphas.min() < _ROUNDING * gram.trace() else dtype
        cross = m[:p, q:].addmm_(shared, free_y, alpha=-1).mul_(scale)
        path = _path.of_moments(gram.to(dtype), cross.to(dtype), self.n_components)
        return _Fit(free_x, free_y, (path.to_scores.mul_(scale.to(dtype)),), path)

    def _fit_kernel(self, train: np.ndarray) -> _Fit:
        x, free, y = self.x[train], self.free[train], self.y[train]
        free_x, free_y = torch.linalg.lstsq(free, x).solution, torch.linalg.lstsq(free, y).solution
        x = x - free @ free_x
        scale = self._scale(x.square().sum(0), len(train))
        x = x * scale
        path = _path.of_kernel(x @ x.T, y - free @ free_y, self.n_components)
        return _Fit(free_x, free_y, (scale[:, None] * x.T, path.to_scores), path)

    def _scale(self, sum_of_squares: torch.Tensor, n: torch.Tensor | int) -> torch.Tensor:
        """Inverse standard deviations, zero for features that are constant in the training set."""
        varies = sum_of_squares > self.least_square
        scale = (n / sum_of_squares).sqrt() if self.standardize else torch.ones_like(sum_of_squares)
        return torch.where(varies, scale, 0.0)

    def squared_errors(self, train: np.ndarray, tests: list[np.ndarray]) -> list[torch.Tensor]:
        """Sums of squared errors of one training set's model on each test set, of shape (alpha, channel)."""
        fit, found = self.fit(train, self.dtype), []
        for test in tests:
            x = self.x[test] - self.free[test] @ fit.free_x
            if len(fit.maps) == 1:
                scores = x.to(self.dtype) @ fit.maps[0].to(self.dtype)
            else:  # a kernel's entries are large beside the small components taken from them: double precision
                scores = (x @ fit.maps[0] @ fit.maps[1]).to(self.dtype)
            y = self.y[test] - self.free[test] @ fit.free_y
            errors = _path.trial_errors(
                fit.path.values, fit.path.targets.to(self.dtype), scores, y.to(self.dtype), self.alphas
            )
            found.append(errors + y.square().sum(0))
        return found

    def predict(self, train: np.ndarray, test: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Predictions (sample, channel) of the model of `train` with the penalties `best` (positions in alphas)."""
        fit = self.fit(train)
        scores = self.x[test] - self.free[test] @ fit.free_x
        for m in fit.maps:
            scores = scores @ m
        predicted = scores @ fit.path.weights(self.alphas[best]) + self.free[test] @ fit.free_y
        return (predicted + self.offset_y).cpu().numpy()

    def choose(self, inner: list[Folds], run: Callable) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each list of folds, each channel's best alpha (its position) and the mean squared errors."""
        total = [error.cpu().numpy() for error in over_folds(inner, self.squared_errors, run)]
        mse = [error / sum(len(test) for _, test in folds) for folds, error in zip(inner, total, strict=True)]
        return [(error.argmin(0), error) for error in mse]


def _check_components(n_components: int | None, n_features: int, smallest: int) -> None:
    if n_components is not None:  # centring takes one dimension
        whole(
            f"n_components ({n_features} features; {smallest} samples in the smallest training fold)",
            n_components,
            1,
            min(n_features, smallest - 1),
        )


def _check_confounds(confounds: Any, n_samples: int, training_sets: list[np.ndarray]) -> Any:
    if confounds is None:
        return None
    confounds = finite("confounds", shaped("confounds", confounds, n_samples, "column"))
    for train in training_sets:
        free = np.column_stack([np.ones(len(train)), confounds[train]])
        if np.linalg.matrix_rank(free / np.maximum(np.abs(free).max(0), 1e-300)) < free.shape[1]:
            raise ValueError(
                f"confounds: columns that are constant or depend on each other among the {len(train)} samples of a "
                "training fold (an intercept is there already); drop them."
            )
    return confounds


class RidgeSweepCV(RegressorMixin, MultiOutputMixin, BaseEstimator):
    """Ridge regression of many targets, each with its own penalty chosen by cross-validation.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), optional
        Penalties to choose from, `DEFAULT_ALPHAS` unless given.
    cv : int, scikit-learn splitter or iterable of (train, test)
        Folds that choose the penalty by their pooled mean squared error; an integer means that many contiguous blocks.
    n_components, standardize, device, dtype
        As in `cross_validate`; the final fit is in double precision.

    Attributes
    ----------
    coef_ : ndarray of shape (n_targets, n_features) or (n_features,)
        Weights on the features as given (not standardized).
    intercept_ : ndarray of shape (n_targets,) or float
    alpha_ : ndarray of shape (n_targets,) or float
    cv_mse_ : ndarray of shape (n_alphas, n_targets) or (n_alphas,)
        Pooled mean squared error of each penalty, in ascending order.
    """

    def __init__(
        self,
        alphas: ArrayLike | None = None,
        *,
        cv: Any = 5,
        n_components: int | None = None,
        standardize: bool = True,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.n_components = n_components
        self.standardize = standardize
        self.device = device
        self.dtype = dtype

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> RidgeSweepCV:
        """Choose the penalties and fit; shapes (n_samples, n_features), (n_samples,) or (n_samples, n_targets)."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype="numeric", ensure_min_samples=2)
        alphas = check_alphas(DEFAULT_ALPHAS if self.alphas is None else self.alphas)
        one, everything = y.ndim == 1, np.arange(len(X))
        y = y.reshape(len(y), -1)
        check_responses(y, range(y.shape[1]))
        folds = folds_of(self.cv, everything, group_codes(groups, len(X)), groups)
        _check_components(self.n_components, X.shape[1], min(len(train) for train, _ in folds))
        options: dict[str, Any] = {
            "standardize": self.standardize,
            "n_components": self.n_components,
            "device": torch_device(self.device, double=True),
            "dtype": one_of("dtype", self.dtype, _DTYPES),
        }
        parts, weights = [], np.empty((y.shape[1], X.shape[1]))
        with fold_map(len(X), X.shape[1], options["device"]) as run:
            for columns in _channel_chunks(len(X), X.shape[1], y.shape[1]):
                sweep = _Sweep(X, y[:, columns], alphas, [everything, *(train for train, _ in folds)], **options)
                [(best, mse)] = sweep.choose([folds], run)
                fit = sweep.fit(everything)
                here = weights[columns[0] : columns[-1] + 1]
                for part, coef in fit.coef(sweep.alphas[best]):
                    here[part] = coef.T.cpu().numpy()
                taken = here @ (fit.free_x[0] + sweep.offset_x).cpu().numpy()
                parts.append(((fit.free_y[0] + sweep.offset_y).cpu().numpy() - taken, best, mse))
        intercept, best, mse = (np.concatenate(a, axis=-1) for a in zip(*parts, strict=True))
        self.coef_ = weights[0] if one else weights
        self.intercept_ = intercept[0] if one else intercept
        self.alpha_ = alphas[best[0]] if one else alphas[best]
        self.cv_mse_ = mse[:, 0] if one else mse
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the targets, of shape (n_samples,) or (n_samples, n_targets)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype="numeric")
        return X @ self.coef_.T + self.intercept_


def cross_validate(
    features: xr.DataArray | np.ndarray,
    responses: xr.DataArray | np.ndarray,
    *,
    cv: Any = 10,
    inner_cv: Any = 5,
    groups: ArrayLike | None = None,
    alphas: ArrayLike | None = None,
    n_components: int | None = None,
    confounds: ArrayLike | None = None,
    null: Shifts | PermuteGroups | ArrayLike | None = None,
    standardize: bool = True,
    return_predictions: bool = False,
    device: str = "auto",
    dtype: str = "float32",
) -> xr.Dataset:
    """Score how well each layer predicts each channel, by ridge regression with nested cross-validation.

    Each outer fold's model is fitted on its training samples alone: feature means and standard deviations, principal
    components, and the penalty, which inner folds choose for each layer, outer split and channel by their pooled mean
    squared error. The score is Pearson's correlation of the responses with the held-out predictions of all folds
    pooled. Where nothing is predictable it lies below zero on average, because a training mean moves against the mean
    of its test block: down to about ``-sqrt(n_splits / n_samples)`` for independent samples.

    Parameters
    ----------
    features : DataArray or array of shape (layer, word, feature) or (word, feature)
        Predictors. May be lazily loaded (zarr, dask): one layer is in memory at a time. The sample dimension has the
        name of the responses' first one; the swept dimension may have any name and keeps it.
    responses : DataArray or array of shape (word, channel)
        What to predict. The sample dimension (words, volumes, ...) comes first.
    cv : int, ContiguousKFold, scikit-learn splitter or iterable of (train, test)
        Outer folds; an integer means that many contiguous blocks. Each sample is tested at most once.
    inner_cv : int, ContiguousKFold, scikit-learn splitter or None
        Inner folds, of each outer training set; an integer means that many contiguous blocks with the gap of `cv`. None
        takes the other outer folds: blocks that were cleaned apart stay whole, and a fit that two outer folds need is
        made once.
    groups : array-like of shape (word,), optional
        Passage of each sample, in contiguous runs, for splitters and `null`.
    alphas : array-like of shape (n_alphas,), optional
        Penalties to choose from, `DEFAULT_ALPHAS` unless given. They are on the scale of the sum of squares of a
        feature (the number of samples, if standardized).
    n_components : int, optional
        Reduce the features to so many principal components, computed within each training fold, outer and inner.
    confounds : DataArray or array of shape (word, column), optional
        Predictors of no interest, such as word rate. They enter every model beside the layer and without a penalty, so
        that the layer explains what they leave; predictions and scores are those of both together.
    null : Shifts, PermuteGroups or array of shape (draw, word), optional
        Chance in the same pass: the responses in other orders (`stats.Shifts`, `stats.PermuteGroups`, or the sample at
        each place) are further channels of the same decompositions, and go through every choice. With confounds, what
        is brought into another order is what they leave, and their fit is added back (Freedman & Lane 1983).
    standardize : bool
        Divide features by their standard deviation in the training fold. A feature that is constant there has weight
        zero.
    return_predictions : bool
        Return the held-out predictions too.
    device : {"auto", "cpu", "cuda"}
        "auto" is CUDA where torch sees it.
    dtype : {"float32", "float64"}
        Precision of the inner folds, which choose penalties; everything else is in double precision.

    Returns
    -------
    Dataset
        ``score`` (layer, channel); ``alpha`` (layer, split, channel). With confounds, ``confounds_score`` (channel), of
        their least-squares fit in the same folds, and ``partial`` (layer, channel): the correlation of what that fit
        leaves of the responses with what the layer adds to its prediction. A layer that only shrinks bad confounds
        raises ``score`` above ``confounds_score``; its ``partial`` stays at chance. With `null`, ``null`` (draw, layer,
        channel): ``score`` or, with confounds, ``partial`` of every draw; any statistic of the observed scores, a
        choice of the best layer included, is to be taken of every draw as well (`stats.p_values`). With
        `return_predictions`, ``prediction`` (layer, word, channel), NaN for samples that `cv` never tests. Coordinates
        are carried over, the settings are attributes.

    Raises
    ------
    ValueError
        Non-finite values, flat channels, mismatched shapes or labels, non-contiguous groups, too few samples for the
        folds or components, penalties that are not positive, orders that do not hold each sample once.

    Warns
    -----
    UserWarning
        More than a quarter of the penalties chosen where there is signal (r above 0.1) lie at an end of `alphas`.

    Notes
    -----
    Shifts within passages also destroy a word's place in its phrase and passage: a response that follows position alone
    lies beyond this chance level, so position belongs in the confounds. Responses and predictors that lost the same
    slow components over the whole run are tied in a way that shifts break: see `signals.detrend_blocks`.

    Memory, beside inputs and outputs: one layer in double precision, a few times over; shared moments, a chunk of
    channels, and the folds worked on at once, each bounded to 256 MiB unless a single fold needs more (five matrices of
    the square of the number of features or, if fewer, samples); and a few arrays of (draw, word, channel).
    """
    features, responses = _labelled(features, responses)
    layer_dim, sample_dim, _ = features.dims
    channel_dim = responses.dims[1]
    (n, n_channels), n_layers, p = responses.shape, features.sizes[layer_dim], features.shape[-1]
    y = np.asarray(responses.to_numpy(), dtype=np.float64)
    check_responses(y, responses[channel_dim].to_numpy())  # positions where there are no labels
    alphas, codes = check_alphas(DEFAULT_ALPHAS if alphas is None else alphas), group_codes(groups, n)
    outer = folds_of(cv, np.arange(n), codes, groups)
    inner = nested(inner_cv, cv, outer, codes, groups)
    training_sets = [train for folds in [outer, *inner] for train, _ in folds]
    confounds = _check_confounds(confounds, n, training_sets)
    n_free = 0 if confounds is None else confounds.shape[1]
    _check_components(n_components, p, min(map(len, training_sets)) - n_free)
    options: dict[str, Any] = {
        "confounds": confounds,
        "standardize": standardize,
        "n_components": n_components,
        "device": torch_device(device, double=True),
        "dtype": one_of("dtype", dtype, _DTYPES),
    }

    free = np.ones((n, 1)) if confounds is None else np.column_stack([np.ones(n), confounds])
    if null is not None:
        y = np.concatenate([y, _reordered(y, null, groups, free)], axis=1)
    by_confounds = np.full_like(y, np.nan)  # held-out prediction without any layer
    for train, test in outer if confounds is not None else ():
        by_confounds[test] = free[test] @ np.linalg.lstsq(free[train], y[train], rcond=None)[0]
    score, partial = np.empty((2, n_layers, y.shape[1]))
    alpha = np.empty((n_layers, len(outer), n_channels))
    predictions = np.full((n_layers, n, n_channels), np.nan, dtype=np.float32) if return_predictions else None
    tested = np.sort(np.concatenate([test for _, test in outer]))
    labels = features[layer_dim].to_numpy()
    with fold_map(n, p, options["device"]) as run:
        for i in range(n_layers):
            x = features.isel({layer_dim: i}).to_numpy()
            check_features(x, f"in {layer_dim} {labels[i]}")
            for columns in _channel_chunks(n, p, y.shape[1]):
                sweep = _Sweep(x, y[:, columns], alphas, training_sets, **options)
                best = [b for b, _ in sweep.choose(inner, run)]
                held_out = np.empty((n, len(columns)))
                fitted = run(sweep.predict, *zip(*outer, strict=True), best)
                for (_, test), predicted in zip(outer, fitted, strict=True):
                    held_out[test] = predicted
                here = np.ix_(tested, columns)
                score[i, columns] = pearson(held_out[tested], y[here])
                if confounds is not None:
                    left = y[here] - by_confounds[here]
                    partial[i, columns] = pearson(held_out[tested] - by_confounds[here], left)
                real = columns[columns < n_channels]
                alpha[i][:, real] = alphas[np.stack(best)[:, : len(real)]]
                if predictions is not None:
                    predictions[i][np.ix_(tested, real)] = held_out[tested][:, : len(real)]
    _warn_about_edges(score[:, :n_channels], alpha, alphas, n, confounds is not None)

    coords = {k: c for k, c in features.coords.items() if c.dims == (layer_dim,)}
    coords |= {k: c for k, c in responses.coords.items() if c.dims == (channel_dim,)}
    both = layer_dim, channel_dim
    result = xr.Dataset(
        {"score": (both, score[:, :n_channels]), "alpha": ((layer_dim, "split", channel_dim), alpha)},
        coords,
        attrs={
            "n_splits": len(outer),
            "n_inner_splits": len(inner[0]),
            "gap": getattr(cv, "gap", 0),
            "standardize": int(standardize),
            "confounds": n_free,
            "n_components": "all" if n_components is None else int(n_components),
            "alphas": alphas.tolist(),
            "device": str(options["device"]),
            "dtype": dtype,
        },
    )
    result["score"].attrs["long_name"] = "Pearson correlation of responses with held-out predictions"
    if confounds is not None:
        result["partial"] = both, partial[:, :n_channels]
        result["confounds_score"] = channel_dim, pearson(by_confounds[tested], y[tested])[:n_channels]
    if null is not None:
        drawn = (score if confounds is None else partial)[:, n_channels:].reshape(n_layers, -1, n_channels)
        result["null"] = ("draw", *both), drawn.swapaxes(0, 1)
    if predictions is not None:
        result["prediction"] = (layer_dim, sample_dim, channel_dim), predictions
        result = result.assign_coords({k: c for k, c in responses.coords.items() if c.dims == (sample_dim,)})
    return result


def _reordered(y: np.ndarray, null: Any, groups: ArrayLike | None, free: np.ndarray) -> np.ndarray:
    """Copies of responses (sample, draw * channel), of which what the free columns leave is in other orders."""
    n, n_channels = y.shape
    draws = [null]
    if isinstance(null, Shifts) and not null.together:  # each channel has its own
        seeds = np.random.SeedSequence(null.seed).generate_state(n_channels)
        draws = [replace(null, seed=int(seed)) for seed in seeds]
    each = [draw.orders(n, groups) if hasattr(draw, "orders") else np.asarray(draw) for draw in draws]
    orders = np.stack(each, axis=-1)
    if orders.ndim != 3 or orders.shape[1] != n or not (np.sort(orders, axis=1) == np.arange(n)[:, None]).all():
        raise ValueError(f"null: expected rows that hold each of {n} samples once, got shape {orders.shape[:2]}.")
    kept = free @ np.linalg.lstsq(free, y, rcond=None)[0]
    copies = kept + np.take_along_axis((y - kept)[None], orders, axis=1)
    return copies.swapaxes(0, 1).reshape(n, -1)


def _labelled(features: Any, responses: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """Both as DataArrays, features as (layer, sample, feature), checked against each other."""
    if not isinstance(responses, xr.DataArray):
        sample = features.dims[-2] if isinstance(features, xr.DataArray) and features.ndim > 1 else "word"
        responses = xr.DataArray(shaped("responses", responses, "word", "channel"), dims=(sample, "channel"))
    if responses.ndim != 2:
        raise ValueError(f"responses: expected two dimensions, (word, channel), got {responses.dims}.")
    sample, channel = responses.dims
    if not isinstance(features, xr.DataArray):
        features = np.asarray(features)
        features = features[None] if features.ndim == 2 else shaped("features", features, "layer", "word", "feature")
        features = xr.DataArray(features, dims=("layer", sample, "feature"))
    if sample not in features.dims or features.ndim not in (2, 3) or channel in features.dims:
        raise ValueError(
            f"features: expected the dimensions (layer, {sample}, feature) or ({sample}, feature), named like those of "
            f"the responses and none of them {channel!r}, got {features.dims}."
        )
    features = features.expand_dims("layer") if features.ndim == 2 else features
    others = [d for d in features.dims if d != sample]
    layer, feature = others[::-1] if others[0] == "feature" else others
    features = features.transpose(layer, sample, feature)
    if 0 in features.shape or 0 in responses.shape or features.sizes[sample] != responses.sizes[sample]:
        raise ValueError(
            f"features, responses: expected as many samples ({sample}) in both and at least one of everything, got "
            f"shapes {features.shape} and {responses.shape}."
        )
    labels = [a.indexes[sample] for a in (features, responses) if sample in a.indexes]
    if len(labels) == 2 and not labels[0].equals(labels[1]):
        raise ValueError(
            f"features, responses: they label their samples ({sample}) differently; align them, or drop the labels."
        )
    return features, responses


def _channel_chunks(n_samples: int, n_features: int, n_channels: int) -> list[np.ndarray]:
    rank = min(n_samples, n_features)
    most = max(1, _SHARED_BYTES // (8 * (n_samples + rank)))
    # Every chunk decomposes the training sets anew, which costs little beside so many channels.
    size = min(most, max(8 * rank, most // 16))
    return np.split(np.arange(n_channels), range(size, n_channels, size))


def _warn_about_edges(
    score: np.ndarray, alpha: np.ndarray, alphas: np.ndarray, n_samples: int, has_confounds: bool
) -> None:
    predicted = score > _SIGNAL_R
    if len(alphas) < 3 or not predicted.any():
        return
    chosen = np.moveaxis(alpha, 1, -1)[predicted]  # without signal the largest penalty is the right one
    lowest, highest = (chosen == alphas[0]).mean(), (chosen == alphas[-1]).mean()
    if has_confounds:  # the score may be the confounds' alone: then, too, the largest penalty is the right one
        highest = 0.0
    if alphas[0] <= _NO_PENALTY * n_samples:  # nothing would change below it
        lowest = 0.0
    if lowest + highest > _EDGE_SHARE:
        warnings.warn(
            f"Of the penalties chosen where a layer predicts a channel (r > {_SIGNAL_R}), {lowest:.0%} are the "
            f"smallest alpha ({alphas[0]:g}) and {highest:.0%} the largest ({alphas[-1]:g}); widen alphas.",
            UserWarning,
            stacklevel=3,
        )
