"""How much context a channel needs: the length at which a model that sees only so many words predicts it best."""

from __future__ import annotations

import numpy as np
import scipy.stats
import xarray as xr

__all__ = ["context_horizon"]


def context_horizon(
    predictions: xr.DataArray,
    responses: xr.DataArray,
    *,
    n_splits: int,
    n_blocks: int = 20,
    level: float = 0.95,
    n_draws: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Find the context length at which each channel is predicted best, and how sure that is.

    The score of a context is that of its best layer. Its uncertainty, and that of the difference between two contexts,
    comes from leaving out one block of samples after the other, with the choice of the layer repeated each time (a
    jackknife of Fisher-transformed correlations). Predictions of one fold were fitted to the responses of the others,
    so that the folds' scores are not independent and a plain jackknife is too sure: on noise it calls one difference in
    eight significant at 5 %. Its variance is therefore multiplied by 1 + n_splits / (n_splits - 1).

    Parameters
    ----------
    predictions : DataArray of shape (context, layer, word, channel) or (context, word, channel)
        Held-out predictions of `encoding.cross_validate`, from features with different context lengths in words (inf
        for all). The sample and channel dimensions have the names they have in `responses`.
    responses : DataArray of shape (word, channel)
        What was predicted.
    n_splits : int
        Number of outer folds from which the predictions come.
    n_blocks : int
        Number of contiguous blocks of the jackknife. Blocks must be long beside the responses' autocorrelation.
    level : float
        Coverage of the intervals.
    n_draws : int
        Number of sets of scores that are drawn around the observed ones for the interval of the best context.
    seed : int

    Returns
    -------
    Dataset
        ``score`` and its standard ``error`` (context, channel), Pearson r of the best layer; and, for each channel,
        ``best``, the context with the highest score, with its interval from ``low`` to ``high``: the central share
        `level` of the best contexts over the draws; ``enough``, the shortest context that is no more than one standard
        error (of the difference) below the best, which suits responses that a longer context does not predict worse;
        ``p``, one-sided: does any longer context predict better than the shortest one? It takes the number of contexts
        into account (Simes 1986) and says nothing about whether the channel is predicted at all.

    Raises
    ------
    ValueError
        Mismatched or missing dimensions, fewer than two contexts, non-finite or flat values, too few blocks.

    References
    ----------
    Nadeau & Bengio (2003), Machine Learning 52, section 3, for the variance of cross-validated scores. Simes (1986),
    Biometrika 73. The rule of one standard error: Breiman, Friedman, Olshen & Stone (1984), Classification and
    Regression Trees, section 3.4.3.
    """
    predictions, y = _checked(predictions, responses)
    if int(n_splits) != n_splits or n_splits < 2:
        raise ValueError(f"n_splits must be the number of outer folds, at least 2, got {n_splits!r}.")
    if not 0 < level < 1 or n_draws < 1:
        raise ValueError(f"level must lie between 0 and 1 and n_draws be positive, got {level!r} and {n_draws!r}.")
    if not 5 <= n_blocks <= len(y) // 5:
        raise ValueError(f"n_blocks must be from 5 to {len(y) // 5} for {len(y)} samples, got {n_blocks!r}.")
    starts = np.linspace(0, len(y), int(n_blocks), endpoint=False).astype(int)
    contexts = predictions["context"].to_numpy().astype(float)

    y = y - y.mean(0)
    z, without = zip(*(_jackknife(part.to_numpy(), y, starts) for part in predictions), strict=True)
    z, without = np.stack(z), np.stack(without, axis=1)  # (context, channel), (block, context, channel)
    spread = without - without.mean(0)
    spread *= np.sqrt((n_blocks - 1) / n_blocks * (1 + n_splits / (n_splits - 1)))

    gain, gain_error = z[1:] - z[0], _length(spread[:, 1:] - spread[:, :1])
    # A layer that holds no context, such as the input embedding, gives no difference and no error.
    t = np.divide(gain, gain_error, out=np.zeros_like(gain), where=gain_error > 0)
    p = np.sort(scipy.stats.t.sf(t, n_blocks - 1), axis=0)
    p = (p * len(p) / np.arange(1, len(p) + 1)[:, None]).min(0)

    best = z.argmax(0)
    to_best = np.take_along_axis(spread, best[None, None], axis=1) - spread
    enough = (z.max(0) - z <= _length(to_best)).argmax(0)
    steps = np.random.default_rng(seed).standard_normal((n_draws, n_blocks))
    drawn = (z + np.tensordot(steps, spread, axes=1)).argmax(1)
    reach = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf").astype(int)

    channel_dim = responses.dims[1]
    channel = {name: coord for name, coord in responses.coords.items() if coord.dims == (channel_dim,)}
    dims = ("context", channel_dim)
    found = {
        "score": (dims, np.tanh(z)),
        "error": (dims, _length(spread) * (1 - np.tanh(z) ** 2)),
        "best": (channel_dim, contexts[best]),
        "low": (channel_dim, contexts[reach[0]]),
        "high": (channel_dim, contexts[reach[1]]),
        "enough": (channel_dim, contexts[enough]),
        "p": (channel_dim, p),
    }
    return xr.Dataset(found, coords={"context": contexts} | channel)


def _length(spread: np.ndarray) -> np.ndarray:
    return np.sqrt((spread**2).sum(0))


def _jackknife(predicted: np.ndarray, y: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's z of the best layer, of shape (channel), and the same without each block, (block, channel)."""
    predicted = predicted.astype(float)
    predicted -= predicted.mean(1, keepdims=True)
    count = np.diff(np.append(starts, len(y)))[:, None]

    def blocks(values: np.ndarray, axis: int) -> np.ndarray:
        """The total, and what is left of it without each block, along a new first axis."""
        parts = np.moveaxis(np.add.reduceat(values, starts, axis=axis), axis, 0)
        total = parts.sum(0, keepdims=True)
        return np.concatenate([total, total - parts])

    n = np.concatenate([[[len(y)]], len(y) - count])
    y1, y2 = blocks(y, 0), blocks(y * y, 0)
    best = np.full_like(y1, -np.inf)
    for layer in predicted:
        x1, x2, xy = blocks(layer, 0), blocks(layer * layer, 0), blocks(layer * y, 0)
        x_left, y_left = x2 - x1 * x1 / n, y2 - y1 * y1 / n
        still = (x_left <= 1e-9 * x2[0]) | (y_left <= 1e-9 * y2[0])
        if still.any():
            raise ValueError(
                f"predictions, responses: {int(still.any(0).sum())} channels vary in one block only, so that none is "
                "left without it; leave them out."
            )
        np.maximum(best, (xy - x1 * y1 / n) / np.sqrt(x_left * y_left), out=best)
    z = np.arctanh(best.clip(-1 + 1e-9, 1 - 1e-9))
    return z[0], z[1:]


def _checked(predictions: xr.DataArray, responses: xr.DataArray) -> tuple[xr.DataArray, np.ndarray]:
    """Predictions as (context, layer, word, channel) in ascending order of context, and responses."""
    if not isinstance(responses, xr.DataArray) or responses.ndim != 2:
        raise ValueError(f"responses must be a DataArray of shape (word, channel), got {np.shape(responses)}.")
    if not isinstance(predictions, xr.DataArray) or set(predictions.dims) - {"layer"} != {"context", *responses.dims}:
        raise ValueError(
            f"predictions must be a DataArray with the dimensions {('context', 'layer', *responses.dims)}, got "
            f"{getattr(predictions, 'dims', type(predictions))}."
        )
    if "layer" not in predictions.dims:
        predictions = predictions.expand_dims("layer")
    predictions = predictions.transpose("context", "layer", *responses.dims)
    if predictions.shape[2:] != responses.shape:
        raise ValueError(
            f"predictions and responses must have as many samples and channels, got {predictions.shape[2:]} and "
            f"{responses.shape}."
        )
    for dim in responses.dims:
        labels = [a.indexes[dim] for a in (predictions, responses) if dim in a.indexes]
        if len(labels) == 2 and not labels[0].equals(labels[1]):
            raise ValueError(f"predictions and responses label their {dim} differently; align them.")
    contexts = predictions["context"].to_numpy().astype(float) if "context" in predictions.coords else np.array([])
    if len(contexts) < 2 or not (contexts >= 1).all() or len(set(contexts)) < len(contexts):
        raise ValueError(
            f"predictions must hold at least two different context lengths in words, got {contexts.tolist()}."
        )
    for name, array in (("predictions", predictions), ("responses", responses)):
        bad = ~np.isfinite(array)
        if bad.any():
            raise ValueError(
                f"{name} has {int(bad.sum())} non-finite values; leave out samples that were not tested, and channels "
                "with missing responses."
            )
        sample = responses.dims[:1]
        flat = (array.max(sample) == array.min(sample)).any(set(array.dims) - set(responses.dims))
        if flat.any():
            raise ValueError(f"{name} is flat (constant) in {int(flat.sum())} channels; leave them out.")
    return predictions.sortby("context"), responses.to_numpy().astype(float)
