"""The spectral core against predictions that are made one penalty at a time."""

import numpy as np
import pytest
import torch

from brainalign.ridge import _path

ALPHAS = torch.logspace(0, 7, 8, dtype=torch.float64)


def split(kind, n_features, n_samples=400, n_test=150):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n_samples + n_test, n_features))
    if kind == "falling":
        x = x * np.logspace(0, -3, n_features) @ np.linalg.qr(rng.standard_normal((n_features, n_features)))[0]
    elif kind == "equal":  # the training samples' eigenvalues are all the same, or nearly
        x[:n_samples] = np.linalg.qr(x[:n_samples])[0][:, :n_features] * 20
    elif kind == "twice":
        x[:, n_features // 2 :] = x[:, : n_features - n_features // 2]
    elif kind == "constant":
        x[:, ::3] = 0
    y = x @ rng.standard_normal((n_features, 30)) * 0.05 + rng.standard_normal((len(x), 30))
    return (torch.from_numpy(part) for part in (x[:n_samples], y[:n_samples], x[n_samples:], y[n_samples:]))


@pytest.mark.parametrize("kind", ["plain", "falling", "equal", "twice", "constant"])
@pytest.mark.parametrize("few", [False, True], ids=["one product", "a product for each penalty"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_trial_errors_are_those_of_the_predictions_of_each_penalty(kind, few, dtype):
    x, y, x_test, y_test = split(kind, 120)
    x_test, y_test = (x_test[:20], y_test[:20]) if few else (x_test, y_test)
    path = _path.of_moments(x.T @ x, x.T @ y)
    scores = x_test @ path.to_scores
    found = _path.trial_errors(path.values, path.targets.to(dtype), scores.to(dtype), y_test.to(dtype), ALPHAS)
    predicted = [scores @ path.weights(alpha.expand(30)) for alpha in ALPHAS]
    expected = torch.stack([(y_test - p).square().sum(0) - y_test.square().sum(0) for p in predicted])
    tolerance = 1e-10 if dtype is torch.float64 else 2e-5
    assert (found - expected).abs().max() < tolerance * y_test.square().sum(0).min()
    assert found.dtype is torch.float64


def test_trial_errors_of_a_kernel_with_directions_of_rounding_error():
    x, y, x_test, y_test = split("twice", 300, n_samples=100)
    path = _path.of_kernel(x @ x.T, y)
    scores = x_test @ x.T @ path.to_scores
    found = _path.trial_errors(path.values, path.targets, scores, y_test, ALPHAS)
    predicted = [scores @ path.weights(alpha.expand(30)) for alpha in ALPHAS]
    expected = torch.stack([(y_test - p).square().sum(0) - y_test.square().sum(0) for p in predicted])
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
