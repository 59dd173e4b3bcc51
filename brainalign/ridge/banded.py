"""Variance partitioning: what each of several feature spaces explains alone, beyond the others, and together.

Banded ridge regression gives every feature space a penalty of its own; with one penalty for all, large spaces would
swamp small ones. Every model (all spaces, all but one part, one part alone) chooses its own penalties, and is scored on
responses that had no part in that. Each space's second moments (or, where samples are fewer than features, its kernel)
are computed once a fold and serve every model and every draw of penalties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike

from brainalign._checks import shaped, torch_device, whole
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

__all__ = ["variance_partition"]

DEFAULT_ALPHAS = np.logspace(-1, 6, 8)
"""Decades of noise over signal: a space is scaled so that its features' variances sum to 1."""

ESTIMATES = ("cross-validated", "adjusted")
"""What this many samples predict, and what unlimited data would give; see the notes of `variance_partition`."""

_ERROR_BYTES = 2**28  # bound on the trial errors that are kept until penalties are chosen
_RIVALS = 8  # fitted at a time
_LEAST_ALPHA = 1e-2  # rounding of single precision, some 1e-4 of noise over signal, is nothing beside such penalties

Model = tuple[int, ...]


def variance_partition(
    feature_spaces: Mapping[str, xr.DataArray | np.ndarray],
    responses: xr.DataArray | np.ndarray,
    *,
    parts: Mapping[str, Sequence[str]] | None = None,
    rivals: Mapping[str, Sequence[xr.DataArray | np.ndarray]] | None = None,
    cv: Any = 5,
    inner_cv: Any = 3,
    groups: ArrayLike | None = None,
    alphas: ArrayLike | None = None,
    n_components: int | Mapping[str, int] | None = None,
    standardize: bool = True,
    n_draws: int = 20,
    seed: int = 0,
    device: str = "auto",
) -> xr.Dataset:
    """Partition the variance of responses among feature spaces, by nested cross-validated banded ridge regression.

    Models of all parts, of all parts but one, and of one part alone are fitted; differences of their R2 are the shares.
    For each model, random directions of the penalties (from Dirichlet distributions) times `alphas` are tried in the
    inner folds, for every channel at once, and each channel takes the best.

    Parameters
    ----------
    feature_spaces : mapping of str to array of shape (word, feature)
        Feature spaces by name.
    responses : DataArray or array of shape (word, channel)
    parts : mapping of str to sequence of str, optional
        Spaces that count as one part, each still with a penalty of its own. Default: every space is a part.
    rivals : mapping of str to sequence of arrays of shape (word, feature), optional
        For one space that is a part by itself, other descriptions to put in its place one after the other, such as
        its own contents at other words (`ridge.RolledSweeps`), to see what its unique share would be by luck.
    cv, inner_cv, groups, device
        As in `ridge.cross_validate`.
    alphas : array-like of shape (n_alphas,), optional
        Penalties to choose from, `DEFAULT_ALPHAS` unless given, on the scale of noise variance over signal variance.
    n_components : int or mapping of str to int, optional
        Reduce spaces with more features to so many principal components, computed within each training fold: all of
        them, or those that are named.
    standardize : bool
        Divide features by their standard deviation within each training fold. They are centred in any case, and a
        space's penalty is on the scale of all its variance.
    n_draws : int
        Directions of the penalties, the first of them equal for all spaces. Take about eight times as many as there are
        spaces: too few miss good penalties, and shares come out too small (with 12 directions for six spaces, responses
        to sound alone gave a space of 150 features a unique share of -0.02, with 48 of +0.001).
    seed : int
        Of the draws.

    Returns
    -------
    Dataset
        ``r2`` (estimate, channel), of all parts together; ``unique`` (estimate, part, channel), r2 less that without
        the part; ``alone`` (estimate, part, channel), that of the part alone; ``shared`` (estimate, channel), r2 less
        all unique shares: what at least two parts explain equally well. For two or three parts also ``common``
        (estimate, overlap, channel), by commonality analysis: an overlap such as "a & b" is shared by exactly these
        parts, and all of them sum to r2. With rivals also ``rivals`` (estimate, draw, channel), the unique share of
        each. Nothing is clipped: a share of zero scatters around zero.

    Raises
    ------
    ValueError
        Non-finite values, flat channels, mismatched lengths, unknown or missing spaces in `parts`, fewer than two
        parts, rivals of what is no part by itself, non-contiguous groups, too few samples for the
        folds, penalties that are not positive.

    Notes
    -----
    R2 is 1 less the squared held-out errors of a model over those of the training folds' means. It is not the square of
    a correlation, which forgives errors of scale and so favours models that shrink.

    Two estimates are given. "cross-validated" is what a model of this many samples predicts. It is less than what the
    space holds, most of all for large spaces, as part of it is lost to finite training data. "adjusted" estimates what
    unlimited data would give, as the adjusted R2 of least squares does. Of the held-out error of a ridge fit with
    penalty a, the part x' (X'X + a I)^-1 x, times the noise, comes from weights that the training data leave uncertain
    (the predictive variance of Bayesian linear regression: Rasmussen & Williams 2006, equation 2.9); the error is
    divided by 1 plus its mean. Planted shares come back within 0.03 of R2 (1,800 samples, spaces of 2 to 300 features).
    Where there is nothing to explain the adjustment adds some thousandths: whether a share is more than nothing is for
    the cross-validated estimate to say.

    A unique share above zero does not say that responses follow that space. A space takes over what the others describe
    badly, and even an empty one gives the search more penalties to choose from: in 160 channels that followed sound
    alone, contextual layers of a language model had a cross-validated unique share of +0.0006 on average, above zero in
    72 %, and random numbers had one, too. Hold a share against that of responses known to lack it, or against rivals.

    References
    ----------
    Banded ridge with random search: Nunez-Elizalde, Huth & Gallant (2019), NeuroImage 197; Dupre la Tour, Eickenberg,
    Nunez-Elizalde & Gallant (2022), NeuroImage 264. Commonality analysis: Newton & Spurrell (1967), Applied Statistics
    16.
    """
    x, y, labels = _checked(feature_spaces, responses)
    names = list(feature_spaces)
    parts = {name: [name] for name in names} if parts is None else {name: list(part) for name, part in parts.items()}
    members = [space for part in parts.values() for space in part]
    if len(parts) < 2 or sorted(members) != sorted(names) or not all(parts.values()):
        raise ValueError(f"parts: expected to share out {names} among at least two parts, each once, got {parts}.")
    replaced = list(rivals or ())
    if rivals is not None and (replaced not in parts.values() or len(replaced) != 1 or not len(rivals[replaced[0]])):
        raise ValueError(f"rivals: expected arrays for one space that is a part by itself, got {rivals!r:.80}.")
    whole("n_draws", n_draws)
    sizes = n_components if isinstance(n_components, Mapping) else dict.fromkeys(names, n_components)
    if set(sizes) - set(names):
        raise ValueError(f"n_components: expected a number, or one for some of {names}, got {n_components!r}.")
    codes, device = group_codes(groups, len(y)), torch_device(device, double=True)
    alphas = check_alphas(DEFAULT_ALPHAS if alphas is None else alphas)
    outer = folds_of(cv, np.arange(len(y)), codes, groups)
    inner = nested(inner_cv, cv, outer, codes, groups)
    smallest = min(len(train) for folds in (outer, *inner) for train, _ in folds)
    for k in set(sizes.values()) - {None}:
        whole(f"n_components ({smallest} samples in the smallest training fold)", k, 1, smallest - 1)

    whole_set = tuple(parts)
    chosen = [whole_set, *(tuple(p for p in parts if p != part) for part in parts), *((part,) for part in parts)]
    chosen = list(dict.fromkeys(chosen))
    models: list[Model] = [tuple(sorted(names.index(s) for part in some for s in parts[part])) for some in chosen]
    drawn = _draws(len(names), n_draws, seed)
    # Models share the draws as far as they share spaces: their differences are not those of luck in the search.
    weights = {m: drawn[:, m] / drawn[:, m].sum(1, keepdims=True) if len(m) > 1 else np.ones((1, 1)) for m in models}
    limits = [sizes.get(name) for name in names]

    def fit(x: list[np.ndarray], models: list[Model], weights: Any, limits: list[int | None]) -> np.ndarray:
        """R2 of shape (estimate, model, channel); some channels at a time."""
        search = _Search(x, models, weights, torch.as_tensor(alphas, device=device), limits, standardize)
        n_trials = max(len(weights[m]) for m in models) * len(alphas)
        size = max(1, _ERROR_BYTES // (8 * len(models) * sum(map(len, inner)) * n_trials))
        columns = np.split(np.arange(y.shape[1]), range(size, y.shape[1], size))
        with fold_map(len(y), sum(a.shape[1] for a in x), device) as run:
            return np.concatenate([search(y[:, some], outer, inner, run) for some in columns], axis=2)

    r2 = fit(x, models, weights, limits)
    of = {some: r2[:, k] for k, some in enumerate(chosen)}
    without = np.stack([of[tuple(p for p in parts if p != part)] for part in parts], axis=1)
    unique, total = of[whole_set][:, None] - without, of[whole_set]
    by_part = "estimate", "part", "channel"
    result = xr.Dataset(
        {
            "r2": (("estimate", "channel"), total),
            "unique": (by_part, unique),
            "alone": (by_part, np.stack([of[(part,)] for part in parts], axis=1)),
            "shared": (("estimate", "channel"), total - unique.sum(1)),
        },
        coords={"estimate": list(ESTIMATES), "part": list(parts)} | labels,
        attrs={"n_splits": len(outer), "n_inner_splits": len(inner[0]), "n_draws": n_draws, "seed": seed},
    )
    for name, alike in (rivals or {}).items():
        at, found = names.index(name), []
        for first in range(0, len(alike), _RIVALS):  # what makes its arrays on demand holds few at a time
            numbers = range(first, min(first + _RIVALS, len(alike)))
            some, _, _ = _checked({f"{name}, rival {k}": alike[k] for k in numbers}, responses)
            models = [tuple(len(names) + k if m == at else m for m in range(len(names))) for k in range(len(some))]
            found.append(fit([*x, *some], models, dict.fromkeys(models, drawn), limits + [limits[at]] * len(some)))
        of_others = without[:, [list(parts.values()).index(replaced)]]
        result["rivals"] = ("estimate", "draw", "channel"), np.concatenate(found, axis=1) - of_others
    if len(parts) <= 3:
        overlaps = [overlap for k in range(1, len(parts) + 1) for overlap in combinations(parts, k)]
        common = np.stack([_commonality(of, overlap, whole_set) for overlap in overlaps], axis=1)
        result = result.assign_coords(overlap=[" & ".join(overlap) for overlap in overlaps])
        result["common"] = ("estimate", "overlap", "channel"), common
    return result


def _commonality(of: dict[tuple[str, ...], np.ndarray], overlap: tuple[str, ...], every: tuple[str, ...]) -> np.ndarray:
    """What exactly the parts of an overlap share: inclusion and exclusion over the models that hold some of them."""
    total: Any = 0.0
    for size in range(len(overlap) + 1):
        for some in combinations(overlap, size):
            held = tuple(part for part in every if part not in overlap or part in some)
            if held:
                total = total - (-1) ** size * of[held]
    return total


def _draws(n_spaces: int, n_draws: int, seed: int) -> np.ndarray:
    """Relative weights (draw, space) of the spaces' kernels, the first equal; each draw sums to 1."""
    # In turns draws that favour single spaces and draws that favour none (Dupre la Tour et al. 2022), as himalaya makes
    # them, down to the numbers.
    rng = np.random.RandomState(seed)
    few, all_alike = (rng.dirichlet(np.full(n_spaces, c), -(-n_draws // 2)) for c in (0.1, 1.0))
    drawn = np.stack([few, all_alike], axis=1).reshape(-1, n_spaces)
    drawn = np.concatenate([np.full((1, n_spaces), 1 / n_spaces), drawn])[:n_draws]
    return np.maximum(drawn, 1e-9)


@dataclass(frozen=True)
class _Search:
    """Fits models to folds: errors of every draw of penalties, then scores of the best ones."""

    x: list[np.ndarray]
    models: list[Model]
    weights: dict[Model, np.ndarray]
    alphas: torch.Tensor
    limits: list[int | None]
    standardize: bool

    def __call__(self, y: np.ndarray, outer: Folds, inner: list[Folds], run: Callable) -> np.ndarray:
        """R2 of shape (estimate, model, channel)."""
        total = over_folds(inner, lambda train, tests: self.errors(y, train, tests), run)
        best = [[errors.flatten(0, 1).argmin(0).cpu().numpy() for errors in of_fold] for of_fold in total]
        scored = run(lambda fold, chosen: self.scores(y, fold[0], fold[1], chosen), outer, best)
        null, plain, adjusted = (sum(terms) for terms in zip(*scored, strict=True))
        return np.stack([1 - plain / null, 1 - adjusted / null])

    def errors(self, y: np.ndarray, train: np.ndarray, tests: list[np.ndarray]) -> list[np.ndarray]:
        """For each test set, the squared errors (draw, alpha, channel) of each model, less a constant."""
        # Inner folds rank penalties and give no scores: single precision is twice as quick.
        fold = _Fold(self, y, train, tests, torch.float32 if self.alphas.min() >= _LEAST_ALPHA else torch.float64)
        lengths = [len(fold.y_test)] if len(tests) == 1 else [len(test) for test in tests]
        found = [np.empty(len(self.models), dtype=object) for _ in tests]
        for k, model in enumerate(self.models):
            trials: list[list[torch.Tensor]] = [[] for _ in tests]
            for weights in self.weights[model]:
                path, scores = fold.decompose(model, weights)
                of_tests = zip(trials, scores.split(lengths), fold.y_test.split(lengths), strict=True)
                for errors, some, observed in of_tests:
                    errors.append(_path.trial_errors(path.values, path.targets, some, observed, self.alphas))
            for of_test, errors in zip(found, trials, strict=True):
                of_test[k] = torch.stack(errors)
        return found

    def scores(
        self, y: np.ndarray, train: np.ndarray, test: np.ndarray, best: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Squared held-out errors of the training mean (channel), of the models, and adjusted ones (model, channel)."""
        fold = _Fold(self, y, train, [test], torch.float64)
        plain, adjusted = np.empty((2, len(self.models), y.shape[1]))
        n_alphas, mean_noise = len(self.alphas), 1 / len(train)  # the training mean is an estimate, too
        for k, model in enumerate(self.models):
            for draw in np.unique(best[k] // n_alphas):
                channels = np.flatnonzero(best[k] // n_alphas == draw)
                path, scores = fold.decompose(model, self.weights[model][draw])
                alpha = self.alphas[best[k][channels] % n_alphas]
                inverse = 1 / (path.values[:, None] + alpha)
                observed = fold.y_test[:, channels]
                error = (observed - scores @ (inverse * path.targets[:, channels])).square().sum(0)
                power = scores.square().sum(0)
                beyond = fold.test_power(model, self.weights[model][draw]) - power.sum()  # what training never saw
                uncertainty = (power @ inverse + beyond / alpha) / len(test)
                plain[k, channels] = (error + fold.unreachable[channels]).cpu().numpy()
                adjusted[k, channels] = plain[k, channels] / (1 + uncertainty.cpu().numpy() / (1 + mean_noise))
        return fold.null.cpu().numpy(), plain, adjusted


class _Fold:
    """Scaled features and centred responses of a training set and its test sets, and what all models share of them."""

    def __init__(
        self, search: _Search, y: np.ndarray, train: np.ndarray, tests: list[np.ndarray], dtype: torch.dtype
    ) -> None:
        test = np.concatenate(tests)

        def on_device(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array, dtype=torch.float64, device=search.alphas.device)

        self.spaces = [
            _scaled(on_device(a[train]), on_device(a[test]), k, search.standardize, dtype)
            for a, k in zip(search.x, search.limits, strict=True)
        ]
        self.y, y_test = on_device(y[train]), on_device(y[test])
        mean = self.y.mean(0)
        self.y, self.y_test = (self.y - mean).to(dtype), (y_test - mean).to(dtype)
        self.null = self.y_test.square().sum(0)
        self.unreachable = torch.zeros_like(self.null)
        sizes = [z.shape[1] for z, _ in self.spaces]
        self.ends = np.cumsum([0, *sizes])
        if len(tests) == 1 and self.ends[-1] < len(test):
            # Sums of squares over the test set are all that is needed: fewer rows hold the same ones.
            q, r = torch.linalg.qr(torch.cat([t for _, t in self.spaces], 1))
            self.spaces = [(z, t) for (z, _), t in zip(self.spaces, r.split(sizes, 1), strict=True)]
            self.y_test = q.T @ self.y_test
            self.unreachable = self.null - self.y_test.square().sum(0)

    @cached_property
    def moments(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        z = torch.cat([z for z, _ in self.spaces], 1)
        return z.T @ z, z.T @ self.y, torch.cat([t for _, t in self.spaces], 1)

    @cached_property
    def kernels(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(z @ z.T, t @ z.T) for z, t in self.spaces]

    def decompose(self, model: Model, weights: np.ndarray) -> tuple[_path.Path, torch.Tensor]:
        """The path of a weighted sum of spaces, and the test samples' scores (row, component)."""
        columns = np.concatenate([np.arange(self.ends[k], self.ends[k + 1]) for k in model])
        if len(columns) < len(self.y):
            gram, cross, test = self.moments
            sizes = torch.as_tensor([self.ends[k + 1] - self.ends[k] for k in model], device=gram.device)
            root = torch.as_tensor(weights, dtype=gram.dtype, device=gram.device).sqrt().repeat_interleave(sizes)
            path = _path.of_moments(gram[columns][:, columns] * root * root[:, None], cross[columns] * root[:, None])
            return path, test[:, columns] @ (path.to_scores * root[:, None])
        kernel, test = (sum(w * self.kernels[k][i] for k, w in zip(model, weights, strict=True)) for i in (0, 1))
        path = _path.of_kernel(kernel, self.y)
        return path, test @ path.to_scores

    def test_power(self, model: Model, weights: np.ndarray) -> torch.Tensor:
        return sum(w * self.spaces[k][1].square().sum() for k, w in zip(model, weights, strict=True))


def _scaled(
    train: torch.Tensor, test: torch.Tensor, n_components: int | None, standardize: bool, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centred or standardized by the training set, reduced to its principal components if asked; total variance 1."""
    mean, scale = train.mean(0), train.std(0, correction=0)
    varies = scale > 1e-10 * train.abs().amax(0).clamp(min=1e-300)
    inverse = torch.where(varies, 1 / scale if standardize else 1.0, 0.0)
    train, test = (((a - mean) * inverse).to(dtype) for a in (train, test))
    if n_components is not None and n_components < train.shape[1]:
        none = train[:, :0]
        if len(train) < train.shape[1]:
            axes = train.T @ _path.of_kernel(train @ train.T, none, n_components).to_scores
        else:
            axes = _path.of_moments(train.T @ train, train.T @ none, n_components).to_scores
        train, test = train @ axes, test @ axes
    # zero for a space that is constant here
    size = (train.square().sum() / len(train)).sqrt().clamp(min=torch.finfo(dtype).tiny)
    return train / size, test / size


def _checked(feature_spaces: Any, responses: Any) -> tuple[list[np.ndarray], np.ndarray, dict]:
    if not isinstance(feature_spaces, Mapping) or not feature_spaces:
        raise ValueError(f"feature_spaces: expected arrays by name, got {type(feature_spaces).__name__}.")
    labelled = isinstance(responses, xr.DataArray)
    coords = {k: c for k, c in responses.coords.items() if c.dims == responses.dims[1:]} if labelled else {}
    y = shaped("responses", responses, "word", "channel").astype(float)
    check_responses(y, responses[responses.dims[1]].to_numpy() if labelled else range(y.shape[1]))
    arrays = []
    for name, space in feature_spaces.items():
        if labelled and isinstance(space, xr.DataArray) and responses.dims[0] in space.dims:
            space = space.transpose(responses.dims[0], ...)
        arrays.append(shaped(f"feature_spaces: {name!r}", space, len(y), "feature").astype(float))
        check_features(arrays[-1], f"in {name!r}")
    return arrays, y, coords
