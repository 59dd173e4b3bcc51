"""Ridge regression from responses to sentence embeddings, one penalty a dimension, from one decomposition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from brainalign import stats
from brainalign._checks import finite, torch_device
from brainalign.ridge import _path
from brainalign.ridge.folds import check_alphas

DEFAULT_ALPHAS = np.logspace(-4, 3, 15)
"""Half decades, in units of the mean square norm of a training pattern."""

_CHUNK = 2048  # vertices that are held in double precision at once
_NEGLIGIBLE = 1e-12  # of the largest eigenvalue: below it, a direction is rounding error


class CaptionDecoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Decode sentence embeddings from response patterns.

    Every dimension of the embedding is predicted from all vertices by ridge regression with its own penalty, the one
    with the smallest leave-one-out error. These errors need no refits: one symmetric eigendecomposition, of images by
    images where there are more vertices, gives those of every penalty and dimension (Golub, Heath & Wahba 1979,
    Technometrics 21). Vertices are not standardized: after averaging repeats, one that responds reliably varies more,
    and so has the weight that it should have.

    Responses and embeddings are centred on their means over the training images, and the mean embedding is added to
    what is predicted. Ridge regression shrinks: what is predicted lies closer to that mean than the truth does. So
    compare by correlation or cosine, which ignore length; and note that captions of any two scenes correlate because of
    what all captions share, the mean. `identification` takes it out where asked to (`centre`).

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), optional
        Penalties to choose from, in units of the mean square norm of a centred training pattern, so that the same grid
        serves any number of vertices and any unit of response. `DEFAULT_ALPHAS` unless given.
    device : {"auto", "cpu", "cuda"}

    Attributes
    ----------
    coef_ : ndarray of shape (n_dimensions, n_vertices)
    intercept_ : ndarray of shape (n_dimensions,)
    alpha_ : ndarray of shape (n_dimensions,)
        Penalties chosen, in the units of `alphas`.
    loo_mse_ : ndarray of shape (n_alphas, n_dimensions)
        Mean squared leave-one-out error of each penalty, in ascending order.
    mean_ : ndarray of shape (n_dimensions,)
        Mean embedding of the training images.
    """

    def __init__(self, alphas: ArrayLike | None = None, *, device: str = "auto") -> None:
        self.alphas = alphas
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> CaptionDecoder:
        """Choose the penalties and fit responses (image, vertex) to embeddings (image, dimension).

        Labels of vertices are remembered, and must be the same in `predict`; if both are labelled by image, the labels
        must agree.
        """
        _check_finite("X (responses)", X)
        _check_finite("y (embeddings)", y)
        _check_same_images(X, y)
        responses, embeddings = validate_data(
            self, _values(X), _values(y), multi_output=True, y_numeric=True, dtype="numeric", ensure_min_samples=3
        )
        alphas = check_alphas(DEFAULT_ALPHAS if self.alphas is None else self.alphas)
        one, self._vertices, self._template = embeddings.ndim == 1, _labels(X, 1), _template(y)
        device = torch_device(self.device, double=True)
        targets = torch.tensor(embeddings.reshape(len(embeddings), -1), dtype=torch.float64, device=device)
        mean, means = targets.mean(0), torch.tensor(responses.mean(0, dtype=np.float64), device=device)
        targets -= mean
        n, p = responses.shape

        def parts() -> Iterator[torch.Tensor]:
            """Centred responses, some vertices at a time."""
            for here in (slice(start, start + _CHUNK) for start in range(0, p, _CHUNK)):
                yield torch.tensor(responses[:, here], dtype=torch.float64, device=device) - means[here]

        if n <= p:
            rows: Any = sum(part @ part.T for part in parts())
            path = _path.of_kernel(rows, targets)
        else:
            rows = torch.cat(list(parts()), 1)
            path = _path.of_moments(rows.T @ rows, rows.T @ targets)
        unit = path.values.sum() / n
        if not unit > 0:
            raise ValueError(
                f"X (responses): all {p} vertices are constant over the {n} images; nothing can be decoded."
            )
        penalties, real = torch.tensor(alphas, device=device) * unit, path.values > _NEGLIGIBLE * path.values[-1]
        basis = rows @ path.to_scores[:, real] / path.values[real].sqrt()
        errors = _leave_one_out(basis, path.values[real], targets, penalties)
        best = errors.argmin(0)
        coef = path.to_scores @ path.weights(penalties[best])
        if n <= p:  # those are weights of images
            coef = torch.cat([part.T @ coef for part in parts()])
        self.coef_ = coef.T.cpu().numpy()
        self.intercept_: Any = (mean - means @ coef).cpu().numpy()
        self.alpha_, self.loo_mse_ = alphas[best.cpu().numpy()], errors.cpu().numpy()
        self.mean_ = mean.cpu().numpy()
        if one:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        return self

    def predict(self, X: ArrayLike) -> Any:
        """Decode embeddings (image, dimension) from responses (image, vertex) at the vertices of the training.

        A DataArray if the decoder was fitted to one: it keeps the attributes of the embeddings, such as the name of
        their model, and the labels of the images.
        """
        check_is_fitted(self)
        _check_finite("X (responses)", X)
        vertices = _labels(X, 1)
        if vertices is not None and self._vertices is not None and not np.array_equal(vertices, self._vertices):
            raise ValueError(
                f"X (responses): expected the {len(self._vertices)} vertices of the training in their order, got "
                f"{len(vertices)} of which {np.isin(vertices, self._vertices).sum()} are among them; select the same."
            )
        decoded = validate_data(self, _values(X), reset=False, dtype="numeric") @ self.coef_.T + self.intercept_
        if self._template is None:
            return decoded
        template, images = self._template, _labels(X, 0)
        coords = dict(template.coords) | ({} if images is None else {template.dims[0]: images})
        return xr.DataArray(decoded, coords, template.dims, attrs=template.attrs)

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Mean over images of the correlation over dimensions of decoded and true embedding, as in the study.

        Of a single dimension, which has no correlation, the coefficient of determination over images instead.
        """
        _check_same_images(X, y)
        decoded = self.predict(X)
        if np.ndim(decoded) < 2 or decoded.shape[1] < 2:
            return super().score(_values(X), _values(y))
        return float(stats.pearson(decoded, y, axis=1).mean())

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")


def _leave_one_out(basis: torch.Tensor, values: torch.Tensor, y: torch.Tensor, penalties: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each penalty and dimension when each image is predicted from all others.

    An image's error, had it been left out, is its residual over one less its leverage. The intercept is refitted too:
    hence the 1 / n. The basis (image, direction) is orthonormal.
    """
    rotated, squares = basis.T @ y, basis.square()
    beyond = y - basis @ rotated  # of the embeddings and of the unit vectors, what lies outside of the responses' span
    outside = 1 - 1 / len(y) - squares.sum(1)
    errors = []
    for penalty in penalties:
        kept = penalty / (values + penalty)
        residuals = beyond + basis @ (kept[:, None] * rotated)
        errors.append((residuals / (outside + squares @ kept)[:, None]).square_().mean(0))
    return torch.stack(errors)


def _values(array: Any) -> Any:
    return array.to_numpy() if isinstance(array, xr.DataArray) else array


def _template(embeddings: Any) -> xr.DataArray | None:
    """A DataArray without images that has all that predictions are to keep."""
    if not isinstance(embeddings, xr.DataArray) or embeddings.ndim != 2:
        return None
    none = embeddings[:0]
    return none.drop_vars([name for name, coord in none.coords.items() if none.dims[0] in coord.dims])


def _labels(array: Any, axis: int) -> np.ndarray | None:
    """Labels along an axis of a DataArray, if it has any."""
    if not isinstance(array, xr.DataArray) or array.ndim <= axis or array.dims[axis] not in array.coords:
        return None
    return array[array.dims[axis]].to_numpy()


def _check_finite(name: str, array: Any) -> None:
    values = _values(array)
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":  # scikit-learn judges everything else
        finite(name, values, values.dtype)


def _check_same_images(x: Any, y: Any) -> None:
    n, m = (getattr(array, "shape", (None,))[:1] for array in (x, y))
    if None not in (*n, *m) and n != m:
        raise ValueError(
            "X, y (responses, embeddings): expected as many images in both, got inconsistent numbers of samples, "
            f"{n[0]} and {m[0]}."
        )
    labels: list[Any] = [_labels(x, 0), _labels(y, 0)]
    if all(some is not None for some in labels) and not np.array_equal(*labels):
        raise ValueError(
            "X, y (responses, embeddings): both name their images, but not the same ones in the same order; select the "
            "same from both, or drop the labels."
        )
