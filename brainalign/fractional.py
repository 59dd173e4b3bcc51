"""Fractional ridge regression with one fraction for all targets: the second study's regression, to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_is_fitted, validate_data

FRACTIONS = np.linspace(0.05, 1, 20)
"""Those that Doerig et al. (2025) name."""


class FractionalRidgeCV(RegressorMixin, MultiOutputMixin, BaseEstimator):
    """Ridge regression whose penalty is given by how far it shrinks the weights; one such fraction serves all targets.

    For each target the penalty is that at which the weights are so long, in relation to those of least squares (of
    least length, where there are more features than samples). Features are centred and not scaled. The fraction is the
    one with the highest R², mean over targets and folds, as a grid search does it that knows one parameter: so in the
    published code of the study. `encoding.RidgeSweepCV` chooses for each target.

    Parameters
    ----------
    fractions : array-like, optional
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
        fractions = np.asarray(FRACTIONS if self.fractions is None else self.fractions, dtype=float)
        if fractions.ndim != 1 or not fractions.size or not ((fractions > 0) & (fractions <= 1)).all():
            raise ValueError(f"fractions must be a list of numbers above 0, to 1, got {fractions.tolist()}.")
        scores = []
        for train, test in check_cv(self.cv).split(X):
            fitted = _fit(X[train], y[train], fractions)
            scores.append([r2_score(y[test], X[test] @ coef + intercept) for coef, intercept in fitted])
        self.cv_score_ = np.mean(scores, axis=0)
        self.fraction_ = float(fractions[self.cv_score_.argmax()])
        ((coef, self.intercept_),) = _fit(X, y, [self.fraction_])
        self.coef_ = coef.T
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the targets, of shape (n_samples, n_targets)."""
        check_is_fitted(self)
        return validate_data(self, X, reset=False) @ self.coef_.T + self.intercept_


def _fit(x: np.ndarray, y: np.ndarray, fractions: ArrayLike):
    """Yield weights (feature, target) and intercepts for each fraction."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    mean_x, mean_y = x.mean(0), y.mean(0)
    u, s, vt = np.linalg.svd(x - mean_x, full_matrices=False)
    real = s > s[0] * max(x.shape) * np.finfo(float).eps
    u, s, vt = u[:, real], s[real], vt[real]
    plain = u.T @ (y - mean_y) / s[:, None]  # least squares, in the basis of the right singular vectors
    squares = plain**2 / (plain**2).sum(0)
    alphas = np.append(0, np.logspace(np.log10(s[-1] ** 2) - 4, np.log10(s[0] ** 2) + 4, 200))
    lengths = np.sqrt((s**2 / (s**2 + alphas[:, None])) ** 2 @ squares)  # (alpha, target), falling from 1
    for fraction in fractions:
        # between two penalties of the grid, on a logarithmic scale: the grid's first step is from 0
        above = np.clip((lengths > fraction).sum(0) - 1, 0, len(alphas) - 2)
        columns = np.arange(y.shape[1])
        high, low = lengths[above, columns], lengths[above + 1, columns]
        part = np.clip((high - fraction) / np.maximum(high - low, 1e-300), 0, 1)
        grid = np.log(np.append(alphas[1] / 10, alphas[1:]))
        alpha = np.exp((1 - part) * grid[above] + part * grid[above + 1]) if fraction < 1 else 0.0
        coef = vt.T @ (plain * (s**2)[:, None] / ((s**2)[:, None] + alpha))
        yield coef, mean_y - mean_x @ coef
