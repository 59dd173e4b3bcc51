"""From recordings to the numbers that are modelled: high gamma, word responses, responsive channels, BOLD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import scipy.fft
import xarray as xr
from numpy.typing import ArrayLike
from scipy.linalg import toeplitz
from scipy.ndimage import gaussian_filter1d
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp

from brainalign.stats import fdr

TRANSITION = 4.0
"""Hz, from full to no response at either edge of a high-gamma sub-band."""


def high_gamma(
    voltage: np.ndarray,
    rate: float,
    *,
    band: tuple[float, float] = (70.0, 150.0),
    n_bands: int = 8,
    out_rate: float = 100.0,
) -> np.ndarray:
    """High-gamma envelope of raw voltage, z-scored.

    The band is cut into sub-bands of equal width on a log scale, because voltage falls steeply with frequency: the
    Hilbert envelope of each is divided by its own mean before they are averaged, so that no sub-band dominates.

    Parameters
    ----------
    voltage : array of shape (channel, time)
        Any unit.
    rate : float
        Samples a second (Hz), at least 2.2 times the upper edge of the band.
    band : (float, float)
        Hz.
    n_bands : int
        Number of sub-bands.
    out_rate : float
        Sampling rate of the result (Hz).

    Returns
    -------
    array of shape (channel, out_time)
        Mean 0 and standard deviation 1 in each channel.

    Raises
    ------
    ValueError
        For non-finite or flat channels, or a band that the sampling rate cannot hold.

    References
    ----------
    The band, and the Hilbert transform, are those of Mischler et al. (2024).
    """
    voltage = np.asarray(voltage, dtype=float)
    if voltage.ndim != 2:
        raise ValueError(f"voltage: expected shape (channel, time), got {voltage.shape}.")
    _check_signal("voltage", voltage.T)
    low, high = band
    if not 0 < low < high or high * 2.2 > rate:
        raise ValueError(f"band: {band} Hz does not fit below 1/2.2 of the sampling rate, {rate} Hz; record faster.")
    if not 0 < out_rate <= rate:
        raise ValueError(f"out_rate: expected at most the sampling rate, {rate} Hz, got {out_rate}.")
    if voltage.shape[1] < rate * 2:
        raise ValueError(
            f"voltage: expected at least 2 s of samples for the filters, got {voltage.shape[1] / rate:.2f} s."
        )
    import mne  # here: it is slow to load

    raw = mne.io.RawArray(voltage, mne.create_info(len(voltage), rate, "ecog"), verbose="error")
    envelope = np.zeros_like(voltage)
    edges = np.geomspace(low, high, n_bands + 1)
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        # Steep edges: MNE's default ones are a quarter of the frequency wide and would let mains hum at 60 Hz in.
        steep = {"l_trans_bandwidth": TRANSITION, "h_trans_bandwidth": TRANSITION, "verbose": "error"}
        part = raw.copy().filter(first, last, picks="all", **steep).apply_hilbert(picks="all", envelope=True).get_data()
        envelope += part / part.mean(-1, keepdims=True)
    if out_rate != rate:
        envelope = mne.filter.resample(envelope, up=out_rate, down=rate, verbose="error")
    return (envelope - envelope.mean(-1, keepdims=True)) / envelope.std(-1, keepdims=True)


def word_responses(
    signal: xr.DataArray,
    words: pd.DataFrame,
    *,
    anchor: Literal["center", "onset"] = "center",
    window: float = 0.1,
    lag: float | Sequence[float] = 0.0,
) -> xr.DataArray:
    """Mean of a continuous signal in a window around each word.

    Parameters
    ----------
    signal : DataArray of shape (..., time, channel)
        Continuous recording, times in s; further dimensions, such as `repeat`, are kept.
    words : DataFrame [onset, offset]
        s, on the clock of the signal.
    anchor : {"center", "onset"}
        The point of the word at which the window is centred.
    window : float
        Width of the window (s).
    lag : float or sequence of float
        Added to the anchor (s). A sequence gives the result a leading `lag` dimension.

    Returns
    -------
    DataArray of shape ([lag,] ..., word, channel)

    Raises
    ------
    ValueError
        If a window reaches beyond the recording or holds no sample.

    References
    ----------
    Mischler et al. (2024): 100 ms around the centre of the word.
    """
    if anchor not in ("center", "onset"):
        raise ValueError(f"anchor: expected 'center' or 'onset', got {anchor!r}.")
    if np.ndim(lag):
        parts = [word_responses(signal, words, anchor=anchor, window=window, lag=value) for value in np.asarray(lag)]
        return xr.concat(parts, pd.Index(np.asarray(lag, float), name="lag"))
    centres = words["onset"].to_numpy(float)
    if anchor == "center":
        centres = (centres + words["offset"].to_numpy(float)) / 2
    centres = centres + float(lag)  # type: ignore[arg-type]
    _check_finite("signal", signal.to_numpy())
    times = signal["time"].to_numpy()
    step = float(np.median(np.diff(times)))
    beyond = (centres - window / 2 < times[0] - step) | (centres + window / 2 > times[-1] + step)
    if beyond.any():
        row = int(np.argmax(beyond))
        raise ValueError(
            f"words: the windows of {int(beyond.sum())} words reach beyond the recording ({times[0]:.2f} to "
            f"{times[-1]:.2f} s), the first at {centres[row]:.2f} s (row {row}); drop these words or change lag or "
            "window."
        )
    # Half a microsecond keeps a sample that lies on a window's edge on the same side whatever the rounding of its time.
    first = np.searchsorted(times, centres - window / 2 - 5e-7)
    last = np.searchsorted(times, centres + window / 2 - 5e-7)
    if (last <= first).any():
        raise ValueError(f"window: {window} s holds no sample at {1 / step:.4g} Hz; widen it to at least {step:.3g} s.")
    axis = signal.dims.index("time")
    values, counts = np.moveaxis(signal.to_numpy(), axis, 0), last - first
    total = np.zeros((len(words), *values.shape[1:]))
    for step in range(counts.max()):  # the samples of windows are few beside those of the recording
        inside = np.flatnonzero(step < counts)
        total[inside] += values[first[inside] + step]
    means = np.moveaxis(total / counts.reshape(-1, *[1] * (values.ndim - 1)), 0, axis).astype("float32")
    dims = tuple("word" if dim == "time" else dim for dim in signal.dims)
    kept = {name: coord for name, coord in signal.coords.items() if "time" not in coord.dims}
    return xr.DataArray(means, dims=dims, coords=kept, name="response")


def speech_responsive(
    signal: xr.DataArray, words: pd.DataFrame, *, q: float = 0.05, min_silence: float = 1.0, margin: float = 0.15
) -> pd.DataFrame:
    """Which channels answer to speech at all: silence against speech, with false-discovery control.

    Each pause in the speech of at least `min_silence` is paired with an equally long stretch of speech next to it. One
    paired t-test a channel over these pairs (repeats give pairs of their own) respects the autocorrelation of the
    signal within a stretch and slow drifts, and looks at no model, so that selection cannot favour a later score.

    Parameters
    ----------
    signal : DataArray of shape (time, channel) or (repeat, time, channel)
    words : DataFrame [onset, offset]
        s.
    q : float
        False discovery rate (Benjamini & Hochberg 1995).
    min_silence : float
        Shortest pause that counts as silence (s).
    margin : float
        Time left out after the last word, for its response to fade, and after the first, for it to rise (s).

    Returns
    -------
    DataFrame [t, p, p_adjusted, responsive], index channel
        Two-sided; `responsive` says p_adjusted <= q.

    Raises
    ------
    ValueError
        For fewer than five such pauses, non-finite or flat channels.
    """
    _check_signal("signal", signal.to_numpy())
    times = signal["time"].to_numpy()
    onsets, ends = words["onset"].to_numpy(float), np.maximum.accumulate(words["offset"].to_numpy(float))
    pauses = np.column_stack([np.append(times[0], ends), np.append(onsets, times[-1])])
    pauses = pauses[pauses[:, 1] - pauses[:, 0] >= min_silence]
    pairs = []
    for number, (start, end) in enumerate(pauses):
        silence = (start + margin if start > times[0] else start, end)
        length = silence[1] - silence[0]
        if end < times[-1]:  # the speech that follows, as far as it goes
            until = pauses[number + 1, 0] if number + 1 < len(pauses) else ends[-1]
            speech = (end + margin, min(end + margin + length, until))
        else:
            speech = (max(ends[-1] - length, pauses[number - 1, 1] + margin if number else times[0]), ends[-1])
        if speech[1] - speech[0] >= min_silence / 2:
            pairs.append((silence, speech))
    if len(pairs) < 5:
        raise ValueError(
            f"words: only {len(pairs)} pauses of at least {min_silence} s with speech beside them; five are needed. "
            "Lower min_silence, or select channels in another way."
        )
    differences = xr.concat(
        [
            signal.sel(time=slice(*speech)).mean("time") - signal.sel(time=slice(*silence)).mean("time")
            for silence, speech in pairs
        ],
        "pair",
    )
    samples = differences.transpose(..., "channel").to_numpy().reshape(-1, signal.sizes["channel"])
    test = ttest_1samp(samples, 0.0)
    rejected, adjusted = fdr(test.pvalue, q)
    return pd.DataFrame(
        {"t": test.statistic, "p": test.pvalue, "p_adjusted": adjusted, "responsive": rejected},
        index=pd.Index(signal["channel"].to_numpy(), name="channel"),
    )


HRFS = ("spm", "glover")


def word_to_volume(
    words: pd.DataFrame, frame_times: ArrayLike, *, hrf: Literal["spm", "glover", "none"] = "spm"
) -> xr.DataArray:
    """Linear map from values at words to values at fMRI volumes.

    Multiply it with word features to get regressors: `(word_to_volume(...) @ features)`. A word is a unit of input
    spread evenly over its duration, convolved with the haemodynamic response.

    Parameters
    ----------
    words : DataFrame [onset, offset]
        s.
    frame_times : array of shape (time,)
        When each volume was taken (s), on the clock of the words, evenly spaced.
    hrf : {"spm", "glover", "none"}
        Canonical haemodynamic response (nilearn); "none" sums the words of each repetition time, the input of a
        finite-impulse-response model (see `delay`).

    Returns
    -------
    DataArray of shape (time, word)

    Raises
    ------
    ValueError
        For an unknown response, uneven volumes, or words of which none reaches a volume.
    """
    frame_times = np.asarray(frame_times, dtype=float)
    steps = np.diff(frame_times)
    if frame_times.ndim != 1 or len(frame_times) < 2 or not np.allclose(steps, steps[0]) or steps[0] <= 0:
        raise ValueError("frame_times: expected at least two evenly spaced, increasing times in s.")
    if hrf not in (*HRFS, "none"):
        raise ValueError(f"hrf: expected one of {(*HRFS, 'none')}, got {hrf!r}.")
    if hrf == "none":
        # A word belongs to the volume that ends the repetition time in which it is heard, in parts if it spans two.
        grid, kernel = np.array([0.0, steps[0]]), np.ones(2)
    else:
        from nilearn.glm import first_level  # here: it is slow to load

        step = 0.05
        kernel = getattr(first_level, f"{hrf}_hrf")(step, oversampling=1, time_length=32.0) / step
        grid = np.arange(len(kernel)) * step
    integral = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (kernel[1:] + kernel[:-1]) / 2)])

    def since(moment: np.ndarray) -> np.ndarray:
        return np.interp(frame_times[:, None] - moment[None, :], grid, integral)

    onset, offset = words["onset"].to_numpy(float), words["offset"].to_numpy(float)
    weights = (since(onset) - since(offset)) / (offset - onset)
    if not weights.any():
        raise ValueError("words: none of them reaches a volume; words and frame_times must share one clock in seconds.")
    return xr.DataArray(weights.astype("float32"), dims=("time", "word"), coords={"time": frame_times})


def delay(regressors: xr.DataArray, delays: Sequence[int]) -> xr.DataArray:
    """Lagged copies of regressors, side by side: a finite-impulse-response model.

    Parameters
    ----------
    regressors : DataArray of shape (..., time, feature)
    delays : sequence of int
        In samples (volumes), each at least 0; the first samples of a delayed copy are 0.

    Returns
    -------
    DataArray of shape (..., time, feature * delay)

    Raises
    ------
    ValueError
        For no delays, negative ones, or one that reaches beyond the recording.
    """
    delays = [int(value) for value in delays]
    if not delays or min(delays) < 0 or max(delays) >= regressors.sizes["time"]:
        raise ValueError(f"delays: expected lags from 0 to below {regressors.sizes['time']} samples, got {delays}.")
    plain = regressors.drop_vars("feature", errors="ignore")
    return xr.concat([plain.shift(time=value, fill_value=0) for value in delays], "feature")


def detrend_blocks(
    values: xr.DataArray, n_blocks: int, *, confounds: np.ndarray | None = None, degree: int = 2
) -> xr.DataArray:
    """Take slow drift, and confounds, out of each block of a series by itself.

    Drift that is removed over a whole run ties its parts together: what training volumes lose depends on the test
    volumes, and a model whose regressors lost the same components can predict a test block from its neighbours, without
    any text. Here every block of the cross-validation is treated like a run of its own, responses and regressors alike.

    Parameters
    ----------
    values : DataArray of shape (..., time, ...)
        Responses or regressors, evenly sampled.
    n_blocks : int
        Number of contiguous blocks: those of ``cross_validate(..., n_splits=n_blocks)``.
    confounds : array of shape (time, confound), optional
        Such as six motion parameters; fitted to each block together with the drift.
    degree : int
        Of the polynomial in time: 0 takes the mean, 1 the slope, 2 the curvature as well.

    Returns
    -------
    DataArray of the same shape

    Raises
    ------
    ValueError
        For blocks with too few samples to fit, or confounds of another length or not finite.
    """
    n = values.sizes["time"]
    columns = np.empty((n, 0)) if confounds is None else np.asarray(confounds, dtype=float)
    if columns.ndim != 2 or len(columns) != n or not np.isfinite(columns).all():
        raise ValueError(f"confounds: expected {n} rows of finite numbers, one a sample, got shape {columns.shape}.")
    needed = 2 * (degree + 1 + columns.shape[1])
    if not 1 <= n_blocks <= n // needed:
        raise ValueError(
            f"n_blocks: expected 1 to {n // needed}, so that each block of {n} samples has {needed} or more, got "
            f"{n_blocks}."
        )
    at, cleaned = values.get_axis_num("time"), []
    parts = np.array_split(np.moveaxis(values.to_numpy(), at, -1), n_blocks, axis=-1)
    for part, nuisance in zip(parts, np.array_split(columns, n_blocks), strict=True):
        drift = np.polynomial.legendre.legvander(np.linspace(-1, 1, part.shape[-1]), degree)
        basis, sizes, _ = np.linalg.svd(np.column_stack([drift, nuisance - nuisance.mean(0)]), full_matrices=False)
        basis = basis[:, sizes > 1e-9 * sizes[0]].astype(part.dtype)  # a confound may be a trend in one block
        cleaned.append(part - part @ basis @ basis.T)  # numpy's products run on BLAS, which xarray's do not
    return values.copy(data=np.moveaxis(np.concatenate(cleaned, axis=-1), -1, at))


def word_regressors(
    values: xr.DataArray | np.ndarray,
    words: pd.DataFrame,
    frame_times: ArrayLike,
    *,
    hrf: Literal["spm", "glover", "none"] = "spm",
    n_blocks: int | None = None,
) -> xr.DataArray:
    """Turn values at words into regressors of an fMRI signal: `word_to_volume`, then `detrend_blocks`.

    Parameters
    ----------
    values : DataArray of shape (..., word, feature), or array of shape (word, feature)
        Such as a model's layers.
    words, frame_times, hrf
        As in `word_to_volume`.
    n_blocks : int, optional
        As in `detrend_blocks`; without it the drift stays in.

    Returns
    -------
    DataArray of shape (..., time, feature), float32

    Raises
    ------
    ValueError
        As `word_to_volume`, or where values and words differ in number.
    """
    if not isinstance(values, xr.DataArray):
        values = xr.DataArray(np.asarray(values), dims=("word", "feature"))
    if values.sizes["word"] != len(words):
        raise ValueError(f"values: expected one row for each of {len(words)} words, got {values.sizes['word']}.")
    to_volume = word_to_volume(words, frame_times, hrf=hrf)
    values = values.drop_vars("word", errors="ignore").transpose(..., "word", "feature")
    # numpy's product runs on BLAS, which xarray's (an einsum) does not
    coords = {name: c for name, c in values.coords.items() if "word" not in c.dims}
    moved = xr.DataArray(
        to_volume.to_numpy() @ values.to_numpy().astype("float32", copy=False),
        dims=(*values.dims[:-2], "time", "feature"),
        coords=coords | {"time": to_volume["time"]},
    )
    return moved if n_blocks is None else detrend_blocks(moved, n_blocks)


def word_drive(values: xr.DataArray, words: pd.DataFrame, time: ArrayLike) -> xr.DataArray:
    """One impulse a word, at its centre, as high as the word's value: what drives a response to words.

    Parameters
    ----------
    values : DataArray of shape (word,) or (word, channel)
        Such as held-out predictions of the word responses.
    words : DataFrame [onset, offset]
        s.
    time : array of shape (time,)
        s, evenly spaced.

    Returns
    -------
    DataArray of shape (time,) or (time, channel)
        Zero between words. The mean over words is taken off the values.

    Raises
    ------
    ValueError
        For lengths that differ, or words beyond the times.
    """
    time = np.asarray(time, dtype=float)
    if values.sizes["word"] != len(words):
        raise ValueError(f"values, words: lengths differ, {values.sizes['word']} and {len(words)}.")
    centres = (words["onset"] + words["offset"]).to_numpy(float) / 2
    steps = np.diff(time)
    if len(time) < 2 or (np.abs(steps - np.median(steps)) > 0.75 * np.median(steps)).any():  # times may be rounded
        raise ValueError("time: expected evenly spaced times without gaps; fill or cut the gaps.")
    if centres.min() < time[0] or centres.max() > time[-1]:
        raise ValueError("words: some lie beyond the times; both must share one clock in seconds.")
    frames = np.round(np.interp(centres, time, np.arange(len(time)))).astype(int)
    values = values.transpose("word", ...)
    impulses = np.zeros((len(time), *values.shape[1:]))
    np.add.at(impulses, frames, (values - values.mean("word")).to_numpy())
    coords = {"time": time} | {name: values[name] for name in values.coords if name in values.dims[1:]}
    return xr.DataArray(impulses, coords, ("time", *values.dims[1:]))


LAG_PENALTIES = np.logspace(-5, 0, 6)
"""Ridge penalties of a temporal receptive field, as shares of the drive's sum of squares."""


def response_lag(
    signal: xr.DataArray,
    drive: xr.DataArray,
    *,
    lags: tuple[float, float] = (-0.1, 0.5),
    n_blocks: int = 10,
    smooth: float = 0.03,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """How long after its drive does a channel respond most?

    A temporal receptive field: ridge regression of the signal on the drive at every lag, whose highest weight marks the
    lag (a parabola through it and its neighbours gives fractions of a sample). The penalty is chosen, and the score
    measured, by leaving out one block of time at a time; the lag's interval is a jackknife over the blocks.

    Parameters
    ----------
    signal : DataArray of shape (time, channel)
        Evenly sampled; times in s.
    drive : DataArray of shape (time,) or (time, channel)
        The sound's envelope, onsets of words, or a drive for each channel (`word_drive`).
    lags : (float, float)
        First and last lag (s). The peak is only free to lie where it may if the range reaches beyond it on both sides.
    n_blocks : int
        Contiguous blocks of time of equal length.
    smooth : float
        The weights are smoothed over lags by a Gaussian of this standard deviation (s) before their peak is looked for:
        single weights are noisy, and the jackknife needs a peak that does not jump.
    confidence_level : float
        Coverage of the interval.

    Returns
    -------
    DataFrame [lag, low, high, score], index channel
        s; `score` is the Pearson correlation of held-out predictions. Where it is not above chance, or the interval is
        wide, the lag means nothing.

    Raises
    ------
    ValueError
        For lengths that differ, non-finite or flat channels, or blocks too short for the lags.

    References
    ----------
    Mischler et al. (2024) use the peak of a one-dimensional temporal receptive field as a second measure of depth.
    """
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level: expected a number between 0 and 1, such as 0.95, got {confidence_level!r}."
        )
    signal = signal.transpose("time", "channel")
    y, x = signal.to_numpy().astype(float), drive.transpose("time", ...).to_numpy().astype(float)
    x = x[:, None] if x.ndim == 1 else x
    if len(x) != len(y) or x.shape[1] not in (1, y.shape[1]):
        raise ValueError(f"drive: expected shape ({len(y)},) or {y.shape}, got {drive.shape}.")
    for name, values in (("signal", y), ("drive", x)):
        if not np.isfinite(values).all() or (np.ptp(values, axis=0) == 0).any():
            raise ValueError(f"{name}: channels that are not finite or never change; drop them.")
    step = float(np.median(np.diff(signal["time"].to_numpy())))
    shifts = np.arange(round(lags[0] / step), round(lags[1] / step) + 1)
    if len(shifts) < 3 or n_blocks < 3 or len(y) < 2 * n_blocks * len(shifts):
        raise ValueError(
            f"lags, n_blocks: {len(y)} samples cannot be cut into n_blocks={n_blocks} (at least 3) blocks of twice the "
            f"{len(shifts)} lags (at least 3)."
        )
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0)

    auto, cross, power = [], [], []
    for rows in np.array_split(np.arange(len(y)), n_blocks):
        n = scipy.fft.next_fast_len(len(rows) + np.abs(shifts).max() + len(shifts), real=True)
        fx, fy = (scipy.fft.rfft(a[rows], n, axis=0) for a in (x, y))
        auto.append(scipy.fft.irfft(np.abs(fx) ** 2, n, axis=0)[: len(shifts)])
        cross.append(scipy.fft.irfft(np.conj(fx) * fy, n, axis=0)[shifts])
        power.append((y[rows] ** 2).sum(0))
    # (block, channel, lag, lag), (block, channel, lag), (block, channel)
    auto = np.stack([[toeplitz(column) for column in block.T] for block in auto])
    cross, power = np.stack(cross).transpose(0, 2, 1), np.stack(power)

    def fields(block: int | None, penalty: np.ndarray) -> np.ndarray:
        """Weights (channel, lag) without one block."""
        a, b = (total.sum(0) - (0 if block is None else total[block]) for total in (auto, cross))
        ridge = penalty[:, None, None] * np.eye(len(shifts)) * a[:, :1, :1]
        return np.linalg.solve(a + ridge, b[..., None])[..., 0]

    def peaks(block: int | None) -> np.ndarray:
        return _peak(gaussian_filter1d(fields(block, LAG_PENALTIES[best]), smooth / step, axis=1), shifts) * step

    n_channels = y.shape[1]
    held_out = []  # for each penalty: covariance and variance of held-out predictions (channel)
    for penalty in LAG_PENALTIES:
        weights = np.stack([fields(block, np.full(n_channels, penalty)) for block in range(n_blocks)])
        variance = np.einsum("bci,bcij,bcj->c", weights, np.broadcast_to(auto, (*weights.shape, len(shifts))), weights)
        held_out.append((np.einsum("bci,bci->c", weights, cross), variance))
    covariance, variance = np.stack(held_out).transpose(1, 0, 2)
    best = (variance - 2 * covariance).argmin(0)
    at = best, np.arange(n_channels)
    score = covariance[at] / np.sqrt(variance[at] * power.sum(0))

    lag, without = peaks(None), np.stack([peaks(block) for block in range(n_blocks)])
    error = np.sqrt((n_blocks - 1) * without.var(0))
    reach = student_t.ppf((1 + confidence_level) / 2, n_blocks - 1) * error
    return pd.DataFrame(
        {"lag": lag, "low": lag - reach, "high": lag + reach, "score": score},
        index=pd.Index(signal["channel"].to_numpy(), name="channel"),
    )


def _peak(weights: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Where each row is highest, between samples."""
    top = weights.argmax(1)
    inside = top.clip(1, weights.shape[1] - 2)
    before, here, after = (weights[np.arange(len(weights)), inside + k] for k in (-1, 0, 1))
    curvature = before - 2 * here + after
    offset = np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature < 0, curvature, 1.0), 0.0)
    return np.where(top == inside, shifts[inside] + offset, shifts[top])


def _check_finite(field: str, values: np.ndarray) -> None:
    bad = ~np.isfinite(values).all(axis=tuple(range(values.ndim - 1)))
    if bad.any():
        raise ValueError(
            f"{field}: non-finite values in channel(s) {np.flatnonzero(bad)[:5].tolist()}; drop or repair them."
        )


def _check_signal(field: str, values: np.ndarray) -> None:
    """Every channel finite and not flat; shape (..., time, channel)."""
    _check_finite(field, values)
    flat = (np.ptp(values, axis=-2) == 0).reshape(-1, values.shape[-1]).any(axis=0)
    if flat.any():
        raise ValueError(f"{field}: channel(s) {np.flatnonzero(flat)[:5].tolist()} never change; drop them.")
