"""Fractional ridge: its definition, scikit-learn's ridge at the penalties it finds, and what one fraction costs."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from brainalign.ridge.encoding import RidgeSweepCV
from brainalign.ridge.fractional import FractionalRidgeCV


def made_up(rng, n=120, p=30, t=6, noise=1.0):
    x = rng.standard_normal((n, p)) * np.linspace(3, 0.3, p) + 2
    return x, x @ rng.standard_normal((p, t)) / 4 + noise * rng.standard_normal((n, t)) + 1


@pytest.mark.parametrize("shape", [(120, 30), (25, 40)])
@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.7, 0.95, 1.0])
def test_the_weights_are_so_long(rng, shape, fraction):
    x, y = made_up(rng, *shape)
    model = FractionalRidgeCV([fraction]).fit(x, y)
    plain = np.linalg.pinv(x - x.mean(0)) @ (y - y.mean(0))
    lengths = np.linalg.norm(model.coef_, axis=1) / np.linalg.norm(plain, axis=0)
    np.testing.assert_allclose(lengths, fraction, rtol=2e-3)
    for target, length in enumerate(np.linalg.norm(model.coef_, axis=1)):  # some ridge of that length is the same model
        low, high = 1e-9, 1e9
        for _ in range(80):
            alpha = np.sqrt(low * high)
            ridge = Ridge(alpha, solver="svd").fit(x, y[:, target])
            low, high = (alpha, high) if np.linalg.norm(ridge.coef_) > length else (low, alpha)
        np.testing.assert_allclose(model.predict(x)[:, target], ridge.predict(x), atol=1e-3)


def test_a_fraction_of_one_is_least_squares(rng):
    x, y = made_up(rng)
    expected = LinearRegression().fit(x, y)
    model = FractionalRidgeCV([1.0]).fit(x, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, atol=1e-8)


def test_the_fraction_is_that_of_a_grid_search(rng):
    x, y = made_up(rng, noise=4.0)
    fractions = [0.1, 0.4, 0.8]
    slow = [
        np.mean([
            r2_score(y[test], FractionalRidgeCV([f]).fit(x[train], y[train]).predict(x[test]))
            for train, test in KFold(5).split(x)
        ])
        for f in fractions
    ]  # fmt: skip
    model = FractionalRidgeCV(fractions).fit(x, y)
    np.testing.assert_allclose(model.cv_score_, slow)
    assert model.fraction_ == fractions[int(np.argmax(slow))]


def test_noise_is_shrunk_and_drags_the_others_along(rng):
    x, y = made_up(rng, noise=0.5)
    noise = rng.standard_normal((len(x), 60))
    assert FractionalRidgeCV().fit(x, noise).fraction_ == 0.05
    alone, among = FractionalRidgeCV().fit(x, y), FractionalRidgeCV().fit(x, np.column_stack([y, noise]))
    assert among.fraction_ < alone.fraction_
    own = RidgeSweepCV(np.logspace(-3, 5, 17), standardize=False).fit(x, np.column_stack([y, noise])).alpha_
    assert (own[:6] < np.median(own[6:])).all()  # each has its own there


@pytest.mark.parametrize("fractions", [[0.0], [1.1], [], [[0.5]], [np.nan]])
def test_bad_fractions(rng, fractions):
    with pytest.raises(ValueError, match="fractions must be a list of numbers above 0, to 1"):
        FractionalRidgeCV(fractions).fit(*made_up(rng))


def test_constant_columns_are_named(rng):
    x, y = made_up(rng)
    with pytest.raises(ValueError, match="y: 1 targets are constant"):
        FractionalRidgeCV().fit(x, np.column_stack([y, np.ones(len(y))]))
    with pytest.raises(ValueError, match="X: all 30 features are constant"):
        FractionalRidgeCV().fit(np.ones_like(x), y)
    dead = FractionalRidgeCV().fit(np.column_stack([x, np.ones(len(x))]), y)
    np.testing.assert_allclose(dead.coef_[:, :-1], FractionalRidgeCV().fit(x, y).coef_, atol=1e-10)
