"""The one spectral core of ridge regression: one decomposition of a training set serves every penalty and target.

With as many samples as features the second moments are decomposed, otherwise the kernel (samples by samples). Either
way the prediction with penalty a is ``scores @ (targets / (values + a))`` (Hastie, Tibshirani & Friedman, *The Elements
of Statistical Learning*, 2nd edition, section 3.4.1), and principal components are the same decomposition cut short.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

TRIAL_BYTES = 2**24  # bound on one fold's trial predictions
_DOUBLE = 3  # what a product in double precision costs, in products in single precision
_NEAR = 1e-4  # eigenvalues that are this close share their mean square: an error of half its square


@dataclass(frozen=True)
class Path:
    """Solutions of one training set for every penalty, in the basis of its principal components."""

    values: torch.Tensor  # (component,): eigenvalues, ascending
    targets: torch.Tensor  # (component, target): component scores times targets
    to_scores: torch.Tensor  # (feature, component); of a kernel (sample, component), for its rows instead of features

    def weights(self, alpha: torch.Tensor, part: slice = slice(None)) -> torch.Tensor:
        """Weights of some targets on the component scores, of shape (component, target), for one alpha a target."""
        return self.targets[:, part] / (self.values[:, None] + alpha[part])


def of_moments(gram: torch.Tensor, cross: torch.Tensor, n_components: int | None = None) -> Path:
    """From second moments of shape (..., feature, feature) and (..., feature, target)."""
    values, vectors = _leading(gram, n_components)
    return Path(values, vectors.mT @ cross, vectors)


def of_kernel(kernel: torch.Tensor, y: torch.Tensor, n_components: int | None = None) -> Path:
    """From products of samples (sample, sample) and targets (sample, target); what is rounding error has no weight."""
    values, vectors = _leading(kernel, n_components)
    real = values > values[-1] * len(kernel) * torch.finfo(values.dtype).eps
    root = values.sqrt()
    targets = torch.where(real, root, 0.0)[:, None] * (vectors.T @ y)
    return Path(torch.where(real, values, 0.0), targets, vectors * torch.where(real, 1 / root, 0.0))


def _leading(symmetric: torch.Tensor, n_components: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        values, vectors = torch.linalg.eigh(symmetric)  # ascending
    except torch.linalg.LinAlgError:  # single precision may not converge where many features are constant
        values, vectors = (part.to(symmetric.dtype) for part in torch.linalg.eigh(symmetric.double()))
    k = n_components or values.shape[-1]
    return values[..., -k:].clamp(min=0), vectors[..., -k:]


def trial_errors(
    values: torch.Tensor, targets: torch.Tensor, scores: torch.Tensor, observed: torch.Tensor, alphas: torch.Tensor
) -> torch.Tensor:
    """What the predictions of every penalty take off the sums of squares of test samples (or add to them).

    Of shape (alpha, target), in double precision: small for targets that are hardly predicted, so that rounding is too.
    `scores` are those of the test samples (sample, component), `observed` their targets (sample, target).
    """
    values, alphas = values.double(), alphas.double()
    shrink = 1 / (values[:, None] + alphas)  # (component, alpha)
    if many := _DOUBLE * len(values) < len(scores) * len(alphas):
        gram, apart = scores.double().T @ scores.double(), values - values[:, None]
        near = apart.abs() <= _NEAR * (torch.maximum(values, values[:, None]) + alphas.min())
        far, near = torch.where(near, 0.0, gram / apart), torch.where(near, gram, 0.0).to_sparse()
    batch = max(1, TRIAL_BYTES // (scores.itemsize * len(alphas) * sum(scores.shape)))
    errors = []
    for y, c in zip(observed.split(batch, 1), targets.split(batch, 1), strict=True):
        if many:  # 1 / (v + a) / (w + a) is (1 / (v + a) - 1 / (w + a)) / (w - v): one product serves every penalty
            c, correlated = c.double(), (scores.T @ y).double()
            errors.append(shrink.T @ (2 * c * (far @ c - correlated)) + shrink.square().T @ (c * (near @ c)))
        else:
            predicted = scores @ (shrink.to(scores.dtype)[:, :, None] * c[:, None]).flatten(1)
            predicted = predicted.unflatten(1, (len(alphas), -1))
            errors.append((predicted - 2 * y[:, None]).mul_(predicted).sum(0).double())
    return torch.cat(errors, 1)
