"""Linear mixed models with crossed random effects, such as those of people and of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.linalg
import scipy.optimize
import scipy.sparse
import scipy.stats
from threadpoolctl import threadpool_limits

from brainalign._checks import finite, labelled, varying, within


class MixedModel(NamedTuple):
    """A fitted linear mixed model.

    `coefficients` [estimate, se, df, t, p, low, high] have a row for each predictor, "intercept" first; `variances` are
    those of the random intercepts ("subject"), of the slopes ("subject: surprisal") and of the residual.
    """

    coefficients: pd.DataFrame
    variances: pd.Series


@threadpool_limits.wrap(limits=1)  # hundreds of small factorisations: more threads would only wait for each other
def mixed_model(
    trials: pd.DataFrame,
    response: str,
    predictors: Sequence[str],
    *,
    random_effects: Mapping[str, Sequence[str]],
    confidence_level: float = 0.95,
) -> MixedModel:
    """Fit a linear mixed model with crossed random effects by restricted maximum likelihood.

    Trials of one person are alike, and so are trials at one item. Where items are few and a predictor belongs to the
    item (its surprisal), a test that counts trials, or looks at people only, calls chance an effect; random effects of
    both keep the error rate (Baayen, Davidson & Bates 2008, J. Mem. Lang. 59). The likelihood is profiled as in Bates,
    Maechler, Bolker & Walker (2015, J. Stat. Softw. 67, section 3); degrees of freedom of t are Satterthwaite's, as in
    Kuznetsova, Brockhoff & Christensen (2017, J. Stat. Softw. 82).

    Parameters
    ----------
    trials : DataFrame
        One row a trial.
    response, predictors : str, sequence of str
        Its columns of numbers, not collinear. An intercept is added.
    random_effects : mapping of str to sequence of str
        For each grouping column, the predictors whose effect differs from group to group: ``{"subject":
        ["surprisal"], "item": []}`` gives people a random intercept and a random slope, and items an intercept. Slopes
        are taken about the predictor's mean and are uncorrelated with intercepts.
    confidence_level : float

    Returns
    -------
    MixedModel

    Raises
    ------
    RuntimeError
        If the fit does not converge.
    """
    from statsmodels.tools.numdiff import approx_fprime, approx_hess  # here: it is slow to load

    level = within("confidence_level", confidence_level)
    y, x = _columns(trials, response, list(predictors), random_effects)
    n, names = len(y), ["intercept", *predictors]
    # The fit sees standard scores, so that neither units nor offsets disturb the search.
    centre, scale = np.append(x.mean(0), y.mean()), np.append(x.std(0), y.std())
    x, y = (x - centre[:-1]) / scale[:-1], (y - centre[-1]) / scale[-1]
    terms, blocks, squares = [], [], []
    # The people (the group with most labels) come first: the likelihood eliminates them one by one.
    for group, slopes in sorted(random_effects.items(), key=lambda item: -trials[item[0]].nunique()):
        columns = [names.index(slope) - 1 for slope in slopes]
        codes, values = pd.factorize(trials[group])[0], [np.ones(n), *x[:, columns].T]
        blocks.append([scipy.sparse.csr_array((value, (np.arange(n), codes))) for value in values])
        terms += [group, *(f"{group}: {slope}" for slope in slopes)]
        squares += [1.0, *scale[columns] ** 2]
    likelihood = _Profiled(y, np.column_stack([np.ones(n), x]), blocks)
    deviance = likelihood.deviance
    # It is an even function of each ratio, smooth through zero: no bounds are needed.
    start, options = np.full(len(terms), 0.3), {"gtol": 1e-3}
    fit = scipy.optimize.minimize(deviance, start, jac="3-point", method="BFGS", options=options)
    ratios = np.abs(fit.x)
    if not np.abs(approx_fprime(ratios, deviance, centered=True)).max() < 0.05:
        raise RuntimeError(f"the fit of {response!r} did not converge ({fit.message}); leave out a random slope.")
    for k in range(len(terms)):
        without = np.where(np.arange(len(terms)) == k, 0.0, ratios)
        if deviance(without) <= deviance(ratios) + 1e-6:  # found as a number next to zero
            ratios = without
    _, beta, _, variance = likelihood(ratios)

    # Back from standard scores.
    back = np.diag(np.append(1.0, 1 / scale[:-1]))
    back[0, 1:] = -centre[:-1] / scale[:-1]
    back *= scale[-1]
    estimate = back @ beta
    estimate[0] += centre[-1]
    needed = np.flatnonzero(ratios)

    def at(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Deviance and squared standard errors at the logarithms of the ratios and of the residual variance."""
        varied, residual = ratios.copy(), np.exp(parameters[-1])
        varied[needed] = np.exp(parameters[:-1])
        logs, _, covariance, best = likelihood(varied)
        errors = np.diag(back @ covariance @ back.T) * residual
        return logs + likelihood.df * (parameters[-1] + best / residual), errors

    optimum = np.append(np.log(ratios[needed]), np.log(variance))
    uncertainty = 2 * np.linalg.inv(approx_hess(optimum, lambda parameters: at(parameters)[0]))
    gradient = approx_fprime(optimum, lambda parameters: at(parameters)[1], centered=True)
    squared = at(optimum)[1]
    df = 2 * squared**2 / np.einsum("ij,jk,ik->i", gradient, uncertainty, gradient)
    error = np.sqrt(squared)
    t, reach = estimate / error, scipy.stats.t.ppf((1 + level) / 2, df) * error
    table = {"estimate": estimate, "se": error, "df": df, "t": t, "p": 2 * scipy.stats.t.sf(np.abs(t), df)}
    table |= {"low": estimate - reach, "high": estimate + reach}
    variances = pd.Series(np.append(ratios**2 / squares, 1.0), index=[*terms, "residual"]) * variance * scale[-1] ** 2
    return MixedModel(pd.DataFrame(table, index=pd.Index(names, name="predictor")), variances)


class _Profiled:
    """The restricted likelihood of y = x b + z u + e with b and the residual variance at their best.

    One Cholesky factor of the cross-products of z, x and y holds all of it (Bates et al. 2015, section 3.4). Labels of
    the first group share no trial: a small factor each, and what is left is as wide as the other groups have labels.
    """

    def __init__(self, y: np.ndarray, x: np.ndarray, blocks: list[list]) -> None:
        first, others = blocks[0], [block for group in blocks[1:] for block in group]
        rest = scipy.sparse.hstack([*others, scipy.sparse.csr_array(np.column_stack([x, y]))], format="csr")
        # Of the first group: terms by terms, and terms by the rest, for each label.
        self.within = np.moveaxis(np.array([[(a * b).sum(0) for b in first] for a in first]), 2, 0)
        self.across = np.stack([(a.T @ rest).toarray() for a in first], 1)
        self.rest = (rest.T @ rest).toarray()
        self.n_terms, self.widths, self.df = len(first), [block.shape[1] for block in others], len(y) - x.shape[1]

    def __call__(self, ratios: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
        """Log determinants, b, the covariance of b over the residual variance, and the residual variance.

        `ratios` are the standard deviations of each term's effects over that of the residual.
        """
        inner, outer, n_random = ratios[: self.n_terms], np.ones(len(self.rest)), sum(self.widths)
        outer[:n_random] = np.repeat(ratios[self.n_terms :], self.widths)
        small = np.linalg.cholesky(inner[:, None] * self.within * inner + np.eye(self.n_terms))
        half = (np.linalg.inv(small) * inner @ self.across).reshape(-1, len(outer)) * outer
        left = outer[:, None] * self.rest * outer - half.T @ half
        left[np.arange(n_random), np.arange(n_random)] += 1
        root = scipy.linalg.cholesky(left, lower=True, overwrite_a=True, check_finite=False)
        fixed = np.linalg.inv(root[n_random:-1, n_random:-1]).T
        logs = 2 * np.log(np.diagonal(small, axis1=1, axis2=2)).sum() + 2 * np.log(np.diag(root)[:-1]).sum()
        return logs, fixed @ root[-1, n_random:-1], fixed @ fixed.T, root[-1, -1] ** 2 / self.df

    def deviance(self, ratios: np.ndarray) -> float:
        logs, _, _, variance = self(ratios)
        return logs + self.df * (np.log(variance) + 1)


def _columns(
    trials: pd.DataFrame, response: str, predictors: list[str], random_effects: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Response and predictors as numbers, after every check."""
    columns = [response, *predictors, *random_effects]
    missing = [column for column in columns if column not in trials]
    if missing or not predictors or not random_effects or len(set(columns)) < len(columns):
        raise ValueError(
            f"response, predictors, random_effects: expected different columns of trials, at least one of each, got "
            f"{columns}; trials has {list(trials.columns)}, not {missing}."
        )
    for column in [response, *predictors]:
        if not pd.api.types.is_numeric_dtype(trials[column]):
            raise ValueError(f"trials[{column!r}]: expected numbers, got {trials[column].dtype}.")
        finite(f"trials[{column!r}]", trials[column])
    numbers = varying("trials", trials[[response, *predictors]].to_numpy(float), labels=[response, *predictors])
    for group, slopes in random_effects.items():
        labels = labelled(f"trials[{group!r}]", trials[group], len(trials), least=2)
        if len(pd.unique(labels)) == len(trials):
            raise ValueError(f"trials[{group!r}]: expected fewer labels than trials, got {len(trials)} of each.")
        if isinstance(slopes, str) or set(slopes) - set(predictors):
            raise ValueError(f"random_effects[{group!r}]: expected some of {predictors}, got {slopes!r}.")
    for a, b in combinations(random_effects, 2):
        if len(trials[[a, b]].drop_duplicates()) == trials[a].nunique() == trials[b].nunique():
            raise ValueError(f"random_effects: {a!r} and {b!r} divide the trials alike; leave one out.")
    y, x = numbers[:, 0], numbers[:, 1:]
    z = np.column_stack([np.ones(len(x)), (x - x.mean(0)) / x.std(0)])
    if len(x) <= z.shape[1] or np.linalg.matrix_rank(z) < z.shape[1]:
        raise ValueError(f"predictors: {predictors} are collinear or too many for {len(x)} trials; leave one out.")
    if (y - z @ np.linalg.lstsq(z, y, rcond=None)[0]).std() <= 1e-9 * y.std():
        raise ValueError(f"trials[{response!r}]: follows from {predictors} exactly; nothing is left to fit.")
    return y, x
