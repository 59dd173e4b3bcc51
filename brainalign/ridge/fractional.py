"""Fractional ridge regression with one fraction for all targets: the second study's regression, to compare with.

Its authors' package, fracridge, does not run with current scikit-learn: its version 2.0 calls what has been removed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_is_fitted, validate_data

from brainalign._checks import varying
from brainalign.ridge import _path

FRACTIONS = np.linspace(0.05, 1, 20)
"""Those that Doerig et al. (2025) name."""


class FractionalRidgeCV(RegressorMixin, MultiOutputMixin, BaseEstimator):
    """Ridge regression whose penalty is given by how far it shrinks the weights; one such fraction serves all targets.

    For each target the penalty is that at which the weights are so long, in relation to those of least squares (of
    least length, where there are more features than samples). Features are centred and not scaled. The fraction is the
    one with the highest R², mean over targets and folds, as a grid search does it that knows one parameter: so in the
    published code of the study. `ridge.RidgeSweepCV` chooses for each target.

    Parameters
    ----------
    fractions : array-like of shape (n_fractions,), optional
        From above 0 to 1; `FRACTIONS` unless given.
    cv : int, scikit-learn splitter or iterable of (train, test)
        An integer means that many contiguous blocks.

    Attributes
    ----------
    coef_ : ndarray of shape (n_targets, n_features)
    intercept_ : ndarray of shape (n_targets,)
    fraction_ : float
    cv_score_ : ndarray of shape (n_fractions,)
        Mean R² of each fraction.

    References
    ----------
    Rokem & Kay (2020). Fractional ridge regression: a fast, interpretable reparameterization of ridge regression.
    GigaScience 9(12).
    """

    def __init__(self, fractions: ArrayLike | None = None, *, cv: Any = 5) -> None:
        self.fractions = fractions
        self.cv = cv

    def fit(self, X: ArrayLike, y: ArrayLike) -> FractionalRidgeCV:
        """Choose the fraction and fit; X of shape (n_samples, n_features), y of shape (n_samples, n_targets)."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=4)
        if y.ndim != 2:
            raise ValueError(f"y must have shape (n_samples, n_targets), got {y.shape}.")
        varying("y", y, "targets")
        if (np.ptp(X, axis=0) == 0).all():
            raise ValueError(f"X: all {X.shape[1]} features are constant; nothing can be fitted.")
        fractions = np.asarray(FRACTIONS if self.fractions is None else self.fractions, dtype=float)
        if fractions.ndim != 1 or not fractions.size or not ((fractions > 0) & (fractions <= 1)).all():
            raise ValueError(f"fractions must be a list of numbers above 0, to 1, got {fractions.tolist()}.")
        scores = []
        for train, test in check_cv(self.cv).split(X):
            path = _Fractions(X[train], y[train])
            shown = (X[test] - path.mean_x) @ path.basis
            scores.append([r2_score(y[test], shown @ path.weights(f) + path.mean_y) for f in fractions])
        self.cv_score_ = np.mean(scores, axis=0)
        self.fraction_ = float(fractions[self.cv_score_.argmax()])
        path = _Fractions(X, y)
        self.coef_ = (path.basis @ path.weights(self.fraction_)).T
        self.intercept_ = path.mean_y - self.coef_ @ path.mean_x
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the targets, of shape (n_samples, n_targets)."""
        check_is_fitted(self)
        return validate_data(self, X, reset=False) @ self.coef_.T + self.intercept_


class _Fractions:
    """Solutions for all fractions, in the basis (feature, component) of the features' principal components."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        x, y = (torch.tensor(part, dtype=torch.float64) for part in (x, y))
        self.mean_x, self.mean_y = x.mean(0).numpy(), y.mean(0).numpy()
        x, y = x - x.mean(0), y - y.mean(0)
        few = len(x) < x.shape[1]
        path = _path.of_kernel(x @ x.T, y) if few else _path.of_moments(x.T @ x, x.T @ y)
        real = path.values > path.values[-1] * max(x.shape) * np.finfo(float).eps
        basis = path.to_scores[:, real]
        self.basis, self.squares = (x.T @ basis if few else basis).numpy(), path.values[real].numpy()
        self.plain = (path.targets[real] / path.values[real, None]).numpy()  # least squares
        self.alphas = np.append(0, np.geomspace(self.squares[0] / 1e4, self.squares[-1] * 1e4, 200))
        lengths = (self.plain**2).sum(0)
        parts = self.plain**2 / np.where(lengths > 0, lengths, 1)  # a target may be constant in a fold
        self.lengths = np.sqrt((self.squares / (self.squares + self.alphas[:, None])) ** 2 @ parts)  # falling from 1

    def weights(self, fraction: float) -> np.ndarray:
        """Weights (component, target) that are this fraction as long as those of least squares."""
        if fraction == 1:
            return self.plain
        # between two penalties of the grid, on a logarithmic scale; its first step, from 0, stands for a tenth
        grid = np.log(np.append(self.alphas[1] / 10, self.alphas[1:]))
        above, columns = (self.lengths > fraction).sum(0) - 1, np.arange(self.plain.shape[1])
        above = np.clip(above, 0, len(grid) - 2)
        high, low = self.lengths[above, columns], self.lengths[above + 1, columns]
        part = np.clip((high - fraction) / np.maximum(high - low, 1e-300), 0, 1)
        alpha = np.exp((1 - part) * grid[above] + part * grid[above + 1])
        return self.plain * self.squares[:, None] / (self.squares[:, None] + alpha)
