"""Encoding models: how well each layer predicts each channel, by nested cross-validated ridge regression.

One pass does the work of many. Every training fold's second moments are the total's less those of the samples left out,
and one symmetric eigendecomposition of them gives the ridge solution for every penalty and every channel; principal
components are the same decomposition cut short. Where a fold has fewer samples than features, its kernel (samples by
samples) is decomposed instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from brainalign._checks import torch_device
from brainalign.ridge.folds import (
    Folds,
    blocks,
    check_alphas,
    check_features,
    check_responses,
    contiguous_folds,
    custom_folds,
    fold_map,
    group_codes,
)
from brainalign.stats import circular_shifts, pearson

__all__ = [
    "DEFAULT_ALPHAS",
    "RidgeSweepCV",
    "content_null",
    "contiguous_folds",
    "cross_validate",
    "rolled_sweeps",
    "shift_null",
    "shifted_responses",
    "word_sweep",
]

DEFAULT_ALPHAS = np.logspace(0, 7, 15)
"""Half decades that bracket the eigenvalues of some hundreds to thousands of standardized features and samples."""

_BATCH_BYTES = 2**24  # bound on one fold's trial predictions, and on a part of the final weights
_SHARED_BYTES = 2**28  # bound on shared moments, on a chunk of channels, and on the folds worked on at once
_ROUNDING = 1e-6  # of a sum of eigenvalues: an error in single precision that is nothing beside larger penalties
_NEGLIGIBLE = 1e-10  # of a feature's whole sum of squares: below it, what a fold retains is rounding error
_SIGNAL_R, _EDGE_SHARE = 0.1, 0.25
_NO_PENALTY = 0.01  # of a standardized feature's sum of squares, the number of samples: a penalty without effect

# ------------------------------------------------------------------------------------------------------------ engine


@dataclass(frozen=True)
class _Fit:
    """Ridge solutions of one training set for every penalty, in the basis of its principal components."""

    free_x: torch.Tensor  # (free, feature): weights by which the free columns (ones, confounds) account for features
    free_y: torch.Tensor  # (free, channel): and for responses; with the ones alone both are means
    maps: tuple[torch.Tensor, ...]  # their product takes what is left of the features to component scores
    eigenvalues: torch.Tensor  # (component,)
    targets: torch.Tensor  # (component, channel): component scores times responses

    def weights(self, alpha: torch.Tensor, part: slice = slice(None)) -> torch.Tensor:
        """Weights of some channels on the component scores, of shape (component, channel), for one alpha a channel."""
        return self.targets[:, part] / (self.eigenvalues[:, None] + alpha[part])

    def coef(self, alpha: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Weights on the features (feature, channel), some channels at a time: all at once are large."""
        size = max(32, _BATCH_BYTES // (8 * self.free_x.shape[1]))
        for part in (slice(start, start + size) for start in range(0, len(alpha), size)):
            w = self.weights(alpha, part)
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
        dtype: torch.dtype,
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
        self.standardize, self.n_components, self.dtype = standardize, n_components, dtype
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
        scale = self._scale(gram.diagonal(), n)
        gram.mul_(scale).mul_(scale[:, None])
        dtype = torch.float64 if self.alphas.min() < _ROUNDING * gram.trace() else dtype
        values, vectors = self._leading(gram.to(dtype))
        to_scores = vectors.mul_(scale.to(dtype)[:, None])
        targets = to_scores.T @ m[:p, q:].addmm_(shared, free_y, alpha=-1).to(dtype)
        return _Fit(free_x, free_y, (to_scores,), values, targets)

    def _fit_kernel(self, train: np.ndarray) -> _Fit:
        x, free, y = self.x[train], self.free[train], self.y[train]
        free_x, free_y = torch.linalg.lstsq(free, x).solution, torch.linalg.lstsq(free, y).solution
        x = x - free @ free_x
        scale = self._scale(x.square().sum(0), len(train))
        x = x * scale
        values, vectors = self._leading(x @ x.T)
        root = values.sqrt()
        # Each free column leaves a null direction.
        real = values > values[-1] * len(train) * torch.finfo(torch.float64).eps
        targets = (torch.where(real, root, 0.0) * vectors).T @ (y - free @ free_y)
        to_scores = vectors * torch.where(real, 1 / root, 0.0)
        return _Fit(free_x, free_y, (scale[:, None] * x.T, to_scores), values, targets)

    def _scale(self, sum_of_squares: torch.Tensor, n: torch.Tensor | int) -> torch.Tensor:
        """Inverse standard deviations, zero for features that are constant in the training set."""
        varies = sum_of_squares > self.least_square
        scale = (n / sum_of_squares).sqrt() if self.standardize else torch.ones_like(sum_of_squares)
        return torch.where(varies, scale, 0.0)

    def _leading(self, symmetric: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            values, vectors = torch.linalg.eigh(symmetric)  # ascending
        except torch.linalg.LinAlgError:  # single precision may not converge where many features are constant
            values, vectors = (part.to(symmetric.dtype) for part in torch.linalg.eigh(symmetric.double()))
        k = self.n_components or len(values)
        return values[-k:].clamp(min=0), vectors[:, -k:]

    def squared_errors(self, train: np.ndarray, tests: list[np.ndarray]) -> list[torch.Tensor]:
        """Sums of squared errors of one training set's model on each test set, of shape (alpha, channel)."""
        fit = self.fit(train, self.dtype)
        return [self._squared_errors(fit, test) for test in tests]

    def _squared_errors(self, fit: _Fit, test: np.ndarray) -> torch.Tensor:
        x = self.x[test] - self.free[test] @ fit.free_x
        if len(fit.maps) == 1:
            scores = x.to(self.dtype) @ fit.maps[0].to(self.dtype)
        else:  # a kernel's entries are large beside the small components taken from them: double precision
            scores = (x @ fit.maps[0] @ fit.maps[1]).to(self.dtype)
        targets = fit.targets.to(self.dtype)
        shrink = (1 / (fit.eigenvalues[:, None] + self.alphas)).to(self.dtype)[:, :, None]  # (component, alpha, 1)
        observed = self.y[test] - self.free[test] @ fit.free_y
        squares, observed = observed.square().sum(0), observed.to(self.dtype)
        if 2 * scores.shape[1] < len(test):
            # Sums over the test samples are all that is needed: fewer rows hold the same ones.
            q, scores = torch.linalg.qr(scores)
            observed = q.T @ observed
        n_alphas = len(self.alphas)
        batch = max(1, _BATCH_BYTES // (self.dtype.itemsize * n_alphas * sum(scores.shape)))
        errors = []
        for y, c in zip(observed.split(batch, 1), targets.split(batch, 1), strict=True):
            # The product that the sweep spends its arithmetic on: all alphas and channels at once.
            predicted = (scores @ (shrink * c[:, None]).flatten(1)).unflatten(1, (n_alphas, -1))
            # What the predictions take off y's own sum of squares: small for weak channels, so that rounding is too.
            errors.append((predicted - 2 * y[:, None]).mul_(predicted).sum(0).to(torch.float64))
        return torch.cat(errors, 1) + squares

    def predict(self, train: np.ndarray, test: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Predictions (sample, channel) of the model of `train` with the penalties `best` (positions in alphas)."""
        fit = self.fit(train)
        scores = self.x[test] - self.free[test] @ fit.free_x
        for m in fit.maps:
            scores = scores @ m
        predicted = scores @ fit.weights(self.alphas[best]) + self.free[test] @ fit.free_y
        return (predicted + self.offset_y).cpu().numpy()


def _choose_alphas(sweep: _Sweep, inner: list[Folds], run: Callable) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each list of folds, each channel's best alpha (its position) and the mean squared errors (alpha, channel)."""
    tasks: dict[bytes, tuple[np.ndarray, list, list]] = {}  # lists of folds may share training sets: one fit for each
    for number, folds in enumerate(inner):
        for train, test in folds:
            _, tests, numbers = tasks.setdefault(train.tobytes(), (train, [], []))
            tests.append(test)
            numbers.append(number)
    total: list[Any] = [0] * len(inner)
    trains, tests, numbers = zip(*tasks.values(), strict=True)
    for errors, users in zip(run(sweep.squared_errors, trains, tests), numbers, strict=True):
        for number, error in zip(users, errors, strict=True):
            total[number] = total[number] + error
    chosen = []
    for folds, error in zip(inner, total, strict=True):
        mse = error.cpu().numpy() / sum(len(test) for _, test in folds)
        chosen.append((mse.argmin(0), mse))
    return chosen


def _dtype(dtype: str) -> torch.dtype:
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    return getattr(torch, dtype)


def _check_components(n_components: int | None, n_features: int, smallest: int) -> None:
    allowed = min(n_features, smallest - 1)  # centring takes one dimension
    if n_components is not None and not (int(n_components) == n_components and 1 <= n_components <= allowed):
        raise ValueError(
            f"n_components must be an integer from 1 to {allowed} ({n_features} features; {smallest} samples in the "
            f"smallest training fold), got {n_components!r}."
        )


def _check_confounds(confounds: Any, n_samples: int, training_sets: list[np.ndarray]) -> Any:
    if confounds is None:
        return None
    confounds = np.asarray(confounds, dtype=np.float64)
    if confounds.ndim != 2 or len(confounds) != n_samples:
        raise ValueError(f"confounds must have shape ({n_samples}, column), got {confounds.shape}.")
    if not np.isfinite(confounds).all():
        raise ValueError(
            f"confounds have {int((~np.isfinite(confounds)).sum())} non-finite values; remove or replace them."
        )
    for train in training_sets:
        free = np.column_stack([np.ones(len(train)), confounds[train]])
        if np.linalg.matrix_rank(free / np.maximum(np.abs(free).max(0), 1e-300)) < free.shape[1]:
            raise ValueError(
                f"confounds have columns that are constant or depend on each other among the {len(train)} samples of a "
                "training fold (an intercept is there already); drop them."
            )
    return confounds


# ------------------------------------------------------------------------------------------------------- public face


class RidgeSweepCV(RegressorMixin, MultiOutputMixin, BaseEstimator):
    """Ridge regression of many targets, each with its own penalty chosen by cross-validation.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), optional
        Penalties to choose from, `DEFAULT_ALPHAS` unless given.
    cv : int, scikit-learn splitter or iterable of (train, test)
        Folds that choose the penalty by their pooled mean squared error; an integer means that many contiguous blocks.
    n_components : int, optional
        Reduce the features to so many principal components, computed within each training fold.
    gap : int
        Samples left out on either side of a contiguous block (see `contiguous_folds`).
    standardize : bool
        Divide features by their standard deviation within each training fold. They are centred in any case.
    device : {"auto", "cpu", "cuda"}
    dtype : {"float32", "float64"}
        Precision of the folds that choose penalties; the final fit is in double precision.

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
        gap: int = 0,
        standardize: bool = True,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.n_components = n_components
        self.gap = gap
        self.standardize = standardize
        self.device = device
        self.dtype = dtype

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> RidgeSweepCV:
        """Choose the penalties and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        groups : array-like of shape (n_samples,), optional
            Passage of each sample.

        Returns
        -------
        RidgeSweepCV
            Itself.
        """
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype="numeric", ensure_min_samples=2)
        alphas, codes = (
            check_alphas(DEFAULT_ALPHAS if self.alphas is None else self.alphas),
            group_codes(groups, len(X)),
        )
        one, everything = y.ndim == 1, np.arange(len(X))
        y = y.reshape(len(y), -1)
        check_responses(y, range(y.shape[1]))
        if isinstance(self.cv, int):
            folds = blocks(everything, self.cv, codes, self.gap, "cv")
        else:
            folds = custom_folds(self.cv, len(X), None if groups is None else codes)
        _check_components(self.n_components, X.shape[1], min(len(train) for train, _ in folds))
        device, parts = torch_device(self.device, double=True), []
        weights = np.empty((y.shape[1], X.shape[1]))
        with fold_map(len(X), X.shape[1], device) as run:
            for columns in _channel_chunks(len(X), X.shape[1], y.shape[1]):
                sweep = _Sweep(
                    X,
                    y[:, columns],
                    alphas,
                    [everything, *(train for train, _ in folds)],
                    standardize=self.standardize,
                    n_components=self.n_components,
                    device=device,
                    dtype=_dtype(self.dtype),
                )
                [(best, mse)] = _choose_alphas(sweep, [folds], run)
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
    groups: ArrayLike | None = None,
    confounds: ArrayLike | None = None,
    alphas: ArrayLike | None = None,
    n_splits: int = 10,
    inner_splits: int | None = 5,
    n_components: int | None = None,
    gap: int = 0,
    standardize: bool = True,
    cv: Any = None,
    return_predictions: bool = False,
    device: str = "auto",
    dtype: str = "float32",
) -> xr.Dataset:
    """Score how well each layer predicts each channel, by ridge regression with nested cross-validation.

    Each outer fold's model is fitted on its training samples alone: feature means and standard deviations, principal
    components, and the penalty, which inner folds choose for each layer, outer split and channel by their pooled mean
    squared error. The score is Pearson's correlation of the responses with the held-out predictions of all folds
    pooled. Where nothing is predictable its expectation lies below zero, because a training mean moves against the mean
    of its test block: down to the ratio of the standard deviations of block means and responses, about
    ``-sqrt(n_splits / n_samples)`` for independent samples, where nothing but the mean is left of the prediction. Tests
    against zero are conservative for that.

    Parameters
    ----------
    features : DataArray or array of shape (layer, word, feature) or (word, feature)
        Predictors. May be lazily loaded (zarr, dask): one layer is in memory at a time. The sample dimension has the
        name of the responses' first one; the swept dimension may have any name and keeps it.
    responses : DataArray or array of shape (word, channel)
        What to predict. The sample dimension (words, volumes, ...) comes first.
    groups : array-like of shape (word,), optional
        Passage of each sample, in contiguous runs. Gaps do not reach into another passage.
    confounds : DataArray or array of shape (word, column), optional
        Predictors of no interest, such as word rate. They enter every model beside the layer and without a penalty, so
        that the layer explains what they leave; predictions and scores are those of both together.
    alphas : array-like of shape (n_alphas,), optional
        Penalties to choose from, `DEFAULT_ALPHAS` unless given. They are on the scale of the sum of squares of a
        feature (the number of samples, if standardized).
    n_splits, inner_splits : int
        Number of contiguous outer and inner test blocks (see `contiguous_folds`). With ``inner_splits=None`` the inner
        folds of an outer one are the other outer folds: blocks that were cleaned apart stay whole, and a fit that two
        outer folds need is made once.
    n_components : int, optional
        Reduce the features to so many principal components, computed within each training fold, outer and inner.
    gap : int
        Samples on either side of each test block left out of its training set. With `cv`, in the inner folds only.
    standardize : bool
        Divide features by their standard deviation in the training fold. A feature that is constant there has weight
        zero.
    cv : scikit-learn splitter or iterable of (train, test), optional
        Outer folds instead of `n_splits` blocks. A splitter is given the groups. Each sample is tested at most once.
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
        its least-squares fit in the same folds, and ``partial`` (layer, channel): the correlation of what that fit
        leaves of the responses with what the layer adds to its prediction. A layer that only shrinks bad
        confounds raises ``score`` over ``confounds_score``; its ``partial`` stays at chance. With `return_predictions`,
        ``prediction`` (layer, word, channel), NaN for samples that `cv` never tests. Coordinates are carried over, the
        settings are attributes.

    Raises
    ------
    ValueError
        Non-finite values, flat channels, mismatched lengths or labels, unknown dimensions, non-contiguous groups, too
        few samples for the folds, more components than a fold allows, penalties that are not positive.

    Warns
    -----
    UserWarning
        More than a quarter of the penalties chosen where there is signal (r above 0.1) lie at an end of `alphas`.

    Notes
    -----
    Memory, beside inputs and outputs: one layer in double precision, a few times over; the folds' shared moments, a
    chunk of channels, and the folds worked on at once, each bounded to 256 MiB unless a single fold needs more (five
    matrices of the square of the number of features or, where these are fewer, of samples); and some 32 MiB of trial
    predictions a thread.

    The ridge path by decomposition: Hastie, Tibshirani & Friedman, *The Elements of Statistical Learning*, 2nd edition,
    section 3.4.1.
    """
    features, responses = _labelled(features, responses)
    layer_dim, sample_dim, _ = features.dims
    channel_dim = responses.dims[1]
    n, n_layers, p = len(responses), features.sizes[layer_dim], features.shape[-1]
    y = np.asarray(responses.to_numpy(), dtype=np.float64)
    check_responses(y, _names(responses, channel_dim))
    alphas, codes = check_alphas(DEFAULT_ALPHAS if alphas is None else alphas), group_codes(groups, n)
    if cv is None:
        outer = blocks(np.arange(n), n_splits, codes, gap, "n_splits")
    else:
        outer = custom_folds(cv, n, None if groups is None else codes)
    if inner_splits is None:
        inner = _other_folds(outer)
    else:
        inner = [blocks(train, inner_splits, codes, gap, "inner_splits") for train, _ in outer]
    training_sets = [train for folds in [outer, *inner] for train, _ in folds]
    confounds = _check_confounds(confounds, n, training_sets)
    n_free = 0 if confounds is None else confounds.shape[1]
    _check_components(n_components, p, min(map(len, training_sets)) - n_free)
    options: dict[str, Any] = {
        "confounds": confounds,
        "standardize": standardize,
        "n_components": n_components,
        "device": torch_device(device, double=True),
        "dtype": _dtype(dtype),
    }

    free = np.ones((n, 1)) if confounds is None else np.column_stack([np.ones(n), confounds])
    by_confounds = np.full_like(y, np.nan)  # held-out prediction without any layer
    for train, test in outer:
        by_confounds[test] = free[test] @ np.linalg.lstsq(free[train], y[train], rcond=None)[0]
    score, partial = np.empty((2, n_layers, y.shape[1]))
    alpha = np.empty((n_layers, len(outer), y.shape[1]))
    predictions = np.full((n_layers, *y.shape), np.nan, dtype=np.float32) if return_predictions else None
    tested = np.sort(np.concatenate([test for _, test in outer]))
    labels = _names(features, layer_dim)
    with fold_map(n, p, options["device"]) as run:
        for i in range(n_layers):
            x = features.isel({layer_dim: i}).to_numpy()
            check_features(x, f"in {layer_dim} {labels[i]}")
            for columns in _channel_chunks(n, p, y.shape[1]):
                sweep = _Sweep(x, y[:, columns], alphas, training_sets, **options)
                best = [b for b, _ in _choose_alphas(sweep, inner, run)]
                alpha[i][:, columns] = alphas[np.stack(best)]
                held_out = np.empty((n, len(columns)))
                fitted = run(sweep.predict, *zip(*outer, strict=True), best)
                for (_, test), predicted in zip(outer, fitted, strict=True):
                    held_out[test] = predicted
                here = np.ix_(tested, columns)
                score[i, columns] = pearson(held_out[tested], y[here])
                partial[i, columns] = pearson(held_out[tested] - by_confounds[here], y[here] - by_confounds[here])
                if predictions is not None:
                    predictions[i][here] = held_out[tested]
    _warn_about_edges(score, alpha, alphas, n, confounds is not None)

    sweep_coords = {k: c for k, c in features.coords.items() if c.dims == (layer_dim,)}
    channel_coords = {k: c for k, c in responses.coords.items() if c.dims == (channel_dim,)}
    result = xr.Dataset(
        {"score": ((layer_dim, channel_dim), score), "alpha": ((layer_dim, "split", channel_dim), alpha)},
        coords=sweep_coords | channel_coords,
        attrs={
            "n_splits": len(outer),
            "inner_splits": "outer" if inner_splits is None else inner_splits,
            "gap": gap,
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
        result["partial"] = (layer_dim, channel_dim), partial
        result["confounds_score"] = channel_dim, pearson(by_confounds[tested], y[tested])
    if predictions is not None:
        result["prediction"] = (layer_dim, sample_dim, channel_dim), predictions
        result = result.assign_coords({k: c for k, c in responses.coords.items() if c.dims == (sample_dim,)})
    return result


def _other_folds(outer: Folds) -> list[Folds]:
    """For each outer fold the others, without its test and gap samples."""
    inner = [
        [(np.intersect1d(train, other), np.intersect1d(train, test)) for k, (other, test) in enumerate(outer) if k != i]
        for i, (train, _) in enumerate(outer)
    ]
    if len(outer) < 3 or any(len(part) < 2 for folds in inner for fold in folds for part in fold):
        raise ValueError(
            f"inner_splits=None takes the other outer folds as inner ones, but {len(outer)} outer folds leave too few "
            "samples; use more of them, a smaller gap, or a number of inner_splits."
        )
    return inner


def word_sweep(values: xr.DataArray, design: xr.DataArray, *, retained: float = 0.95) -> xr.DataArray:
    """Regressors made of word values by a linear design, in as few columns as the design lets through.

    Ridge regression with one penalty depends on regressors only by their products, sample by sample. A design that
    smooths, as the haemodynamic response does, lets few directions through well: in these, hundreds of features have
    the same products as a few columns. With all directions (``retained=1``) the fits are those of all features; with
    the largest ones they are all but those, and several times faster. To be fitted with ``standardize=False``: every
    feature is given the same weight here, by its standard deviation over words.

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
    return _WordSweep(design, retained)(values)


class _WordSweep:
    """A design's directions, found once for many values."""

    def __init__(self, design: xr.DataArray, retained: float) -> None:
        if not 0 < retained <= 1:
            raise ValueError(f"retained: expected a share above 0 and at most 1, got {retained!r}.")
        self.design = design.transpose(..., "word")
        weights = self.design.to_numpy()
        # Responses to words: each sample is one word, and no direction is larger than another.
        self.picked = weights.argmax(1) if (weights.sum(1) == 1).all() and weights.max() == 1 else None
        if self.picked is not None:
            return
        left, sizes, right = np.linalg.svd(weights.astype(float), full_matrices=False)
        share = np.cumsum(sizes**2) / (sizes**2).sum()
        kept = slice(int(np.searchsorted(share, retained - 1e-9)) + 1)
        self.left, self.right = left[:, kept], (sizes[kept, None] * right[kept]).astype("float32")

    def __call__(self, values: xr.DataArray) -> xr.DataArray:
        values = values.transpose(..., "word", "feature")
        sample_dim, n_words = self.design.dims[0], self.design.sizes["word"]
        if values.sizes["word"] != n_words:
            raise ValueError(f"values: expected one row for each of {n_words} words, got {values.sizes['word']}.")
        flat = values.to_numpy().reshape(-1, *values.shape[-2:])
        made = np.stack([self.columns(_standard_scores(layer)) for layer in flat])
        dims = (*values.dims[:-2], sample_dim, "feature")
        coords = {name: c for name, c in values.coords.items() if not {"word", "feature"} & set(c.dims)}
        made = made.reshape(*values.shape[:-2], *made.shape[1:])
        return xr.DataArray(made, coords | {sample_dim: self.design[sample_dim]}, dims)

    def columns(self, scores: np.ndarray, roll: int = 0) -> np.ndarray:
        """Regressors (time, column) of standard scores (word, feature), rolled along the words."""
        if self.picked is not None:
            return scores[(self.picked - roll) % len(scores)].astype("float32")
        through = np.roll(self.right, -roll, axis=1) @ scores  # rolling the design back moves less than the scores
        if through.shape[1] > len(through):  # as many columns, with the same products
            through = np.linalg.qr(through.T.astype(float), mode="r").T  # type: ignore[attr-defined]
        return (self.left @ through).astype("float32")


def _standard_scores(layer: np.ndarray) -> np.ndarray:
    centred = layer - layer.mean(0, dtype=float)
    spread = centred.std(0)
    if not np.isfinite(spread).all() or not spread.any():
        raise ValueError("values: every layer must be finite and have features that vary over words.")
    return (centred / np.where(spread > 0, spread, 1.0)).astype("float32")


def rolled_sweeps(
    values: xr.DataArray,
    design: xr.DataArray,
    *,
    n_rolls: int = 200,
    min_roll: int = 50,
    retained: float = 0.95,
    seed: int = 0,
) -> Sequence[xr.DataArray]:
    """Regressors of descriptions that belong to other words: `word_sweep` of rolled values, roll by roll.

    When words come, and how their descriptions follow each other, stays; which word is described does not.

    Parameters
    ----------
    values, design, n_rolls, min_roll, retained, seed
        As in `content_null`.

    Returns
    -------
    sequence of DataArrays of shape (..., time, feature)
        float32, each made when it is asked for.

    Raises
    ------
    ValueError
        As `word_sweep` and `stats.circular_shifts`.
    """
    return _RolledSweeps(values, design, n_rolls, min_roll, retained, seed)


class _RolledSweeps(Sequence[xr.DataArray]):
    def __init__(
        self, values: xr.DataArray, design: xr.DataArray, n_rolls: int, min_roll: int, retained: float, seed: int
    ) -> None:
        self.sweep = _WordSweep(design, retained)
        values, n = values.transpose(..., "word", "feature"), values.sizes["word"]
        if n != self.sweep.design.sizes["word"]:
            raise ValueError(f"values: expected one row for each of {self.sweep.design.sizes['word']} words, got {n}.")
        self.shape, self.dims = values.shape[:-2], (*values.dims[:-2], self.sweep.design.dims[0], "feature")
        self.coords = {name: c for name, c in values.coords.items() if not {"word", "feature"} & set(c.dims)}
        self.scores = [_standard_scores(layer) for layer in values.to_numpy().reshape(-1, *values.shape[-2:])]
        orders = circular_shifts(n, n_rolls, min_shift=min_roll, seed=seed)
        self.amounts = (n - orders[:, 0]) % n  # the first entry of an order is the word that comes to stand first

    def __len__(self) -> int:
        return len(self.amounts)

    def __getitem__(self, number: Any) -> Any:
        with threadpool_limits(1):  # decompositions this small lose by a second thread
            made = np.stack([self.sweep.columns(scores, int(self.amounts[number])) for scores in self.scores])
        return xr.DataArray(made.reshape(*self.shape, *made.shape[1:]), self.coords, self.dims)


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

    The descriptions are rolled along the words, regressors are built from them anew, and all is fitted again. When the
    words came, the responses with their rhythm, what subjects share, the confounds and every step of the analysis stay
    as they are: whatever the timing of the words, slow drifts or one story's luck give, they give here too. It is the
    chance level for statements about subjects who heard one story. An interval over them is none: a description which
    fits the story by luck fits everyone.

    Parameters
    ----------
    values : DataArray of shape (..., word, feature)
        Descriptions of the words, such as a model's layers; all are rolled alike.
    design, retained
        As in `word_sweep`, which makes the regressors. For responses to words, the identity.
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
    DataArray of shape (roll, ..., channel)
        ``score`` or, with confounds, ``partial`` of `cross_validate`, for the dimensions of the values. Any statistic
        of the observed scores, a choice of the best layer included, is to be taken of every roll as well, then compared
        (`stats.p_values`).

    Raises
    ------
    ValueError
        As `cross_validate`, `word_sweep` and `stats.circular_shifts`.
    """
    rolls = _RolledSweeps(values, design, n_rolls, min_roll, retained, seed)
    observed = np.asarray(responses)

    def fit(number: int) -> np.ndarray:
        features = rolls[number].to_numpy()
        features = xr.DataArray(features.reshape(-1, *features.shape[-2:]), dims=("layer", "time", "feature"))
        found = cross_validate(features, observed, confounds=confounds, standardize=False, **options)
        return found["score" if confounds is None else "partial"].to_numpy()

    # Decompositions this small gain nothing from a second thread; two rolls at a time do.
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        null = np.stack(list(pool.map(fit, range(len(rolls)))))
    coords, channel_dim, swept = dict(rolls.coords), "channel", rolls.dims[:-2] or ("layer",)
    if isinstance(responses, xr.DataArray):
        channel_dim = responses.dims[1]
        coords |= {name: c for name, c in responses.coords.items() if c.dims == (channel_dim,)}
    shape = len(null), *(rolls.shape or (1,)), null.shape[-1]
    return xr.DataArray(null.reshape(shape), coords, ("roll", *swept, channel_dim))


def shifted_responses(
    responses: xr.DataArray,
    n_shifts: int,
    *,
    min_shift: int = 1,
    groups: ArrayLike | None = None,
    confounds: xr.DataArray | np.ndarray | None = None,
    together: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """Circularly shifted copies of responses, which keep their own rhythm and lose their relation to the text.

    Parameters
    ----------
    responses : DataArray of shape (word, channel)
        Or volumes, or any other samples in order.
    n_shifts, min_shift, groups, seed
        As in `stats.circular_shifts`; shifts stay within passages.
    confounds : DataArray or array of shape (word, column), optional
        What is shifted is then the residual of its least-squares fit, and the fit is added back (Freedman & Lane 1983),
        so that the confounds keep their share.
    together : bool
        One shift for all channels, so that what channels share stays shared: for channels that are averaged, or that
        share more than their response to language. Otherwise each channel has its own, so that channels that are alike
        do not share their draws.

    Returns
    -------
    array of shape (shift, word, channel)
        As many shifts as asked for, or each possible one once where there are fewer.

    Raises
    ------
    ValueError
        As `cross_validate` and `stats.circular_shifts`.
    """
    y = responses.to_numpy().astype(float)
    check_responses(y, _names(responses, responses.dims[1]))
    kept = np.zeros_like(y)
    if confounds is not None:
        confounds = _check_confounds(confounds, len(y), [np.arange(len(y))])
        free = np.column_stack([np.ones(len(y)), confounds])
        kept = free @ np.linalg.lstsq(free, y, rcond=None)[0]
    ask: dict[str, Any] = {"groups": groups, "min_shift": min_shift}
    if together:
        return kept + (y - kept)[circular_shifts(len(y), n_shifts, seed=seed, **ask)]
    copies = []
    for channel, own_seed in enumerate(np.random.SeedSequence(seed).generate_state(y.shape[1])):
        shifts = circular_shifts(len(y), n_shifts, seed=int(own_seed), **ask)
        copies.append(kept[:, channel] + (y - kept)[shifts, channel])
    return np.stack(copies, axis=-1)


def shift_null(
    features: xr.DataArray | np.ndarray,
    responses: xr.DataArray | np.ndarray,
    *,
    n_shifts: int = 100,
    min_shift: int = 1,
    groups: ArrayLike | None = None,
    confounds: xr.DataArray | np.ndarray | None = None,
    together: bool = False,
    seed: int = 0,
    **options: Any,
) -> xr.DataArray:
    """Find what chance gives: the best layer's score when responses are circularly shifted and everything is refitted.

    Each shift goes through the whole of `cross_validate`, the choice of penalties and of the best layer included. It
    costs far less than as many calls, because shifted responses are further channels of the same decompositions.

    Parameters
    ----------
    features, responses
        As in `cross_validate`.
    n_shifts, min_shift, groups, confounds, together, seed
        As in `shifted_responses`. With confounds, the null is that of the gain over it.
    **options
        Of `cross_validate`: the same as for the scores that are compared.

    Returns
    -------
    DataArray of shape (shift, channel)
        Maximum over layers of the score or, with confounds, of its gain over the confounds' score. For few shifts see
        `stats.p_values` with ``pool=True``.

    Raises
    ------
    ValueError
        As `cross_validate` and `stats.circular_shifts`.

    Notes
    -----
    Shifts within passages also destroy a word's place in its phrase and passage: a response that follows position alone
    lies beyond this chance level, so position belongs in the confounds. Responses and predictors that lost the same
    slow components over the whole run are tied in a way that shifts break: see `signals.detrend_blocks`.

    Memory, beside that of `cross_validate`: a few arrays of (shift, word, channel) in double precision.
    """
    features, responses = _labelled(features, responses)
    sample_dim, channel_dim = responses.dims
    copies = shifted_responses(
        responses, n_shifts, min_shift=min_shift, groups=groups, confounds=confounds, together=together, seed=seed
    )
    shape = len(copies), copies.shape[2]
    copies = xr.DataArray(np.swapaxes(copies, 0, 1).reshape(len(responses), -1), dims=(sample_dim, channel_dim))
    fit = cross_validate(features, copies, groups=groups, confounds=confounds, **options)
    null = fit["score"].max(fit["score"].dims[:1])
    if confounds is not None:
        null = null - fit["confounds_score"]
    coords = {name: coord for name, coord in responses.coords.items() if coord.dims == (channel_dim,)}
    return xr.DataArray(null.to_numpy().reshape(shape), coords, ("shift", channel_dim))


def _labelled(features: Any, responses: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """Both as DataArrays, features as (layer, sample, feature), checked against each other."""
    if not isinstance(responses, xr.DataArray):
        responses = np.asarray(responses)
        if responses.ndim != 2:
            raise ValueError(f"responses must have shape (word, channel), got {responses.shape}.")
        sample_dim = features.dims[-2] if isinstance(features, xr.DataArray) and features.ndim > 1 else "word"
        responses = xr.DataArray(responses, dims=(sample_dim, "channel"))
    if responses.ndim != 2:
        raise ValueError(f"responses must have two dimensions, (word, channel), got {responses.dims}.")
    sample_dim, channel_dim = responses.dims
    if not isinstance(features, xr.DataArray):
        features = np.asarray(features)
        if features.ndim not in (2, 3):
            raise ValueError(f"features must have 2 or 3 dimensions, (layer, word, feature), got {features.shape}.")
        features = xr.DataArray(features, dims=("layer", sample_dim, "feature")[-features.ndim :])
    if sample_dim not in features.dims:
        raise ValueError(
            f"features must have the dimension {sample_dim!r}, the first of responses, got {features.dims}; rename it."
        )
    if features.ndim not in (2, 3) or channel_dim in features.dims:
        raise ValueError(
            f"features must have the dimensions (layer, {sample_dim}, feature) or ({sample_dim}, feature) and none "
            f"called {channel_dim!r}, got {features.dims}."
        )
    if features.ndim == 2:
        features = features.expand_dims("layer")
    others = [d for d in features.dims if d != sample_dim]
    layer_dim, feature_dim = others[::-1] if others[0] == "feature" else others
    features = features.transpose(layer_dim, sample_dim, feature_dim)
    n, m = features.sizes[sample_dim], responses.sizes[sample_dim]
    if n != m:
        raise ValueError(f"features and responses must have as many samples ({sample_dim}), got {n} and {m}.")
    if 0 in features.shape or 0 in responses.shape:
        raise ValueError(f"features and responses must not be empty, got shapes {features.shape}, {responses.shape}.")
    labels = [a.indexes[sample_dim] for a in (features, responses) if sample_dim in a.indexes]
    if len(labels) == 2 and not labels[0].equals(labels[1]):
        raise ValueError(
            f"features and responses label their samples ({sample_dim}) differently; align them, or drop the labels."
        )
    return features, responses


def _names(array: xr.DataArray, dim: Hashable) -> np.ndarray:
    return array[dim].to_numpy()  # positions where there are no labels


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
