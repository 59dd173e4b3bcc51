"""From recordings to the numbers that are modelled: high gamma, word responses, responsive channels, BOLD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import scipy.fft
import xarray as xr
from numpy.typing import ArrayLike
from scipy.integrate import cumulative_trapezoid
from scipy.signal import hilbert
from scipy.stats import ttest_1samp

from brainalign._checks import alike, finite, one_of, shaped, varying, whole
from brainalign.stats import fdr

BAND, N_BANDS, TRANSITION, OUT_RATE = (70.0, 150.0), 8, 4.0, 100.0
"""High gamma: its edges (Hz), number of sub-bands, Hz from full to no response at their edges, samples a second."""


def high_gamma(voltage: np.ndarray, rate: float) -> np.ndarray:
    """High-gamma envelope of raw voltage (70 to 150 Hz, as Mischler et al. 2024), z-scored, at 100 Hz.

    The band is cut into sub-bands of equal width on a log scale, because voltage falls steeply with frequency: the
    Hilbert envelope of each is divided by its own mean before they are averaged, so that no sub-band dominates.
    `voltage` of shape (channel, time), in any unit and two seconds at least, becomes (channel, out_time); `rate` is its
    number of samples a second (Hz), at least 330.
    """
    voltage = finite("voltage", shaped("voltage", voltage, "channel", "time"))
    varying("voltage", voltage.T, "channels")
    if BAND[1] * 2.2 > rate:
        raise ValueError(f"rate: {BAND} Hz does not fit below 1/2.2 of {rate} Hz; record faster.")
    if voltage.shape[1] < rate * 2:
        raise ValueError(f"voltage: expected at least 2 s for the filters, got {voltage.shape[1] / rate:.2f} s.")
    from mne.filter import filter_data, resample  # here: it is slow to load

    n = scipy.fft.next_fast_len(voltage.shape[1], real=True)
    envelope = np.zeros_like(voltage)
    edges = np.geomspace(*BAND, N_BANDS + 1)
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        # Steep edges: MNE's default ones are a quarter of the frequency wide and would let mains hum at 60 Hz in.
        steep = {"l_trans_bandwidth": TRANSITION, "h_trans_bandwidth": TRANSITION, "verbose": "error"}
        part = np.abs(hilbert(filter_data(voltage, rate, low, high, **steep), n))[:, : voltage.shape[1]]
        envelope += part / part.mean(-1, keepdims=True)
    if rate != OUT_RATE:
        envelope = resample(envelope, up=OUT_RATE, down=rate, verbose="error")
    return (envelope - envelope.mean(-1, keepdims=True)) / envelope.std(-1, keepdims=True)


def word_responses(
    signal: xr.DataArray,
    words: pd.DataFrame,
    *,
    anchor: Literal["center", "onset"] = "center",
    window: float = 0.1,
    lag: float | Sequence[float] = 0.0,
) -> xr.DataArray:
    """Mean of a continuous signal in a window around each word (Mischler et al. 2024: 100 ms around its centre).

    Parameters
    ----------
    signal : DataArray of shape (..., time, channel)
        Times in s; further dimensions, such as `repeat`, are kept.
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
    """
    if np.ndim(lag):
        parts = [word_responses(signal, words, anchor=anchor, window=window, lag=value) for value in np.asarray(lag)]
        return xr.concat(parts, pd.Index(np.asarray(lag, float), name="lag"))
    centred = one_of("anchor", anchor, ("center", "onset")) == "center"
    anchors = (words["onset"] + words["offset"]) / 2 if centred else words["onset"]
    centres = anchors.to_numpy(float) + float(lag)  # type: ignore[arg-type]
    recorded, times = finite("signal", signal, None), signal["time"].to_numpy()
    step = float(np.median(np.diff(times)))
    beyond = (centres - window / 2 < times[0] - step) | (centres + window / 2 > times[-1] + step)
    if beyond.any():
        row = int(np.argmax(beyond))
        raise ValueError(
            f"words: windows of {int(beyond.sum())} words reach beyond the recording ({times[0]:.2f} to "
            f"{times[-1]:.2f} s), the first at {centres[row]:.2f} s (row {row}); drop these words."
        )
    # Half a microsecond keeps a sample that lies on a window's edge on the same side whatever the rounding of its time.
    first, last = (np.searchsorted(times, centres + sign * window / 2 - 5e-7) for sign in (-1, 1))
    counts = last - first
    if (counts <= 0).any():
        raise ValueError(f"window: {window} s holds no sample at {1 / step:.4g} Hz; widen it to at least {step:.3g} s.")
    axis = signal.dims.index("time")
    values = np.moveaxis(recorded, axis, 0)
    total = np.zeros((len(words), *values.shape[1:]))
    for k in range(counts.max()):  # the samples of windows are few beside those of the recording
        inside = np.flatnonzero(k < counts)
        total[inside] += values[first[inside] + k]
    means = np.moveaxis(total / counts.reshape(-1, *[1] * (values.ndim - 1)), 0, axis).astype("float32")
    dims = tuple("word" if dim == "time" else dim for dim in signal.dims)
    return xr.DataArray(means, signal.isel(time=0, drop=True).coords, dims, "response")


def speech_responsive(signal: xr.DataArray, words: pd.DataFrame, *, q: float = 0.05) -> pd.DataFrame:
    """Which channels answer to speech at all: silence against speech, with false-discovery control.

    Each pause of at least a second (five are needed) is paired with as long a stretch of speech next to it. One paired
    t-test a channel over these pairs (repeats give pairs of their own) respects the autocorrelation of the signal
    within a stretch and slow drifts, and looks at no model, so that selection cannot favour a later score. `signal`
    has shape (time, channel) or (repeat, time, channel); `words` are [onset, offset (s)]. Gives a table of channels [t,
    p, p_adjusted, responsive]: two-sided, and `responsive` where p_adjusted (`stats.fdr`) is at most `q`.
    """
    pause, margin = 1.0, 0.15  # s; the margin leaves a response time to fade after the last word, and to rise
    channels = signal["channel"].to_numpy()
    varying("signal", finite("signal", signal.transpose(..., "time", "channel"), None), "channels", channels)
    times = signal["time"].to_numpy()
    onsets, ends = words["onset"].to_numpy(float), np.maximum.accumulate(words["offset"].to_numpy(float))
    pauses = np.column_stack([np.append(times[0], ends), np.append(onsets, times[-1])])
    pauses = pauses[pauses[:, 1] - pauses[:, 0] >= pause]
    differences = []
    for number, (start, end) in enumerate(pauses):
        silence = (start + margin if start > times[0] else start, end)
        length = silence[1] - silence[0]
        if end < times[-1]:  # the speech that follows, as far as it goes
            until = pauses[number + 1, 0] if number + 1 < len(pauses) else ends[-1]
            speech = (end + margin, min(end + margin + length, until))
        else:
            speech = (max(ends[-1] - length, pauses[number - 1, 1] + margin if number else times[0]), ends[-1])
        if speech[1] - speech[0] >= pause / 2:
            heard, still = (signal.sel(time=slice(*stretch)).mean("time") for stretch in (speech, silence))
            differences.append(heard - still)
    if len(differences) < 5:
        found = f"{len(differences)} of at least {pause:g} s with speech beside them"
        raise ValueError(f"words: expected five pauses, got {found}; select channels in another way.")
    samples = xr.concat(differences, "pair").transpose(..., "channel").to_numpy().reshape(-1, len(channels))
    test = ttest_1samp(samples, 0.0)
    rejected, adjusted = fdr(test.pvalue, q)
    return pd.DataFrame(
        {"t": test.statistic, "p": test.pvalue, "p_adjusted": adjusted, "responsive": rejected},
        index=pd.Index(channels, name="channel"),
    )


def word_to_volume(words: pd.DataFrame, frame_times: ArrayLike, *, hrf: Literal["spm", "none"] = "spm") -> xr.DataArray:
    """Linear map from values at words to values at fMRI volumes.

    A word (`words` [onset, offset (s)]) is a unit of input spread evenly over its duration, convolved with SPM's
    canonical haemodynamic response; `hrf` "none" sums the words of each repetition time, for finite impulse responses.
    `frame_times`, shape (time,), tell when each volume was taken (s), evenly spaced, on the clock of the words. The map
    has shape (time, word).
    """
    frame_times = np.asarray(frame_times, dtype=float)
    steps = np.diff(frame_times)
    if frame_times.ndim != 1 or len(frame_times) < 2 or not np.allclose(steps, steps[0]) or steps[0] <= 0:
        raise ValueError("frame_times: expected at least two evenly spaced, increasing times in s.")
    if one_of("hrf", hrf, ("spm", "none")) == "none":
        # A word belongs to the volume that ends the repetition time in which it is heard, in parts if it spans two.
        grid, kernel = np.array([0.0, steps[0]]), np.ones(2)
    else:
        from nilearn.glm.first_level import spm_hrf  # here: it is slow to load

        step = 0.05
        kernel = spm_hrf(step, oversampling=1, time_length=32.0) / step
        grid = np.arange(len(kernel)) * step
    integral = cumulative_trapezoid(kernel, grid, initial=0)
    onset, offset = words["onset"].to_numpy(float), words["offset"].to_numpy(float)
    since_onset, since_offset = (np.interp(frame_times[:, None] - moment, grid, integral) for moment in (onset, offset))
    weights = (since_onset - since_offset) / (offset - onset)
    if not weights.any():
        raise ValueError("words: none of them reaches a volume; words and frame_times must share one clock in seconds.")
    return xr.DataArray(weights.astype("float32"), {"time": frame_times}, ("time", "word"))


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
        Number of contiguous blocks: those of the cross-validation.
    confounds : array of shape (time, confound), optional
        Such as six motion parameters; fitted to each block together with the drift.
    degree : int
        Of the polynomial in time: 0 takes the mean, 1 the slope, 2 the curvature as well.

    Returns
    -------
    DataArray of the same shape
    """
    n, at = values.sizes["time"], values.get_axis_num("time")
    columns = finite(
        "confounds", shaped("confounds", np.empty((n, 0)) if confounds is None else confounds, n, "confound")
    )
    whole("n_blocks", n_blocks, 1, n // (2 * (degree + 1 + columns.shape[1])))  # two samples for each that is fitted
    cleaned = []
    parts = np.array_split(np.moveaxis(values.to_numpy(), at, -1), n_blocks, axis=-1)
    for part, nuisance in zip(parts, np.array_split(columns, n_blocks), strict=True):
        drift = np.polynomial.legendre.legvander(np.linspace(-1, 1, part.shape[-1]), degree)
        basis, sizes, _ = np.linalg.svd(np.column_stack([drift, nuisance - nuisance.mean(0)]), full_matrices=False)
        basis = basis[:, sizes > 1e-9 * sizes[0]].astype(part.dtype)  # a confound may be a trend in one block
        cleaned.append(part - part @ basis @ basis.T)  # numpy's products run on BLAS, which xarray's do not
    return values.copy(data=np.moveaxis(np.concatenate(cleaned, axis=-1), -1, at))


def word_regressors(
    values: xr.DataArray | np.ndarray, words: pd.DataFrame, frame_times: ArrayLike, *, n_blocks: int | None = None
) -> xr.DataArray:
    """Regressors (..., time, feature) of an fMRI signal from values at words (..., word, feature), such as layers.

    Words become volumes (`word_to_volume`), which lose their drift (`detrend_blocks`) where `n_blocks` are given.
    """
    if not isinstance(values, xr.DataArray):
        values = xr.DataArray(np.asarray(values), dims=("word", "feature"))
    values = values.transpose(..., "word", "feature")
    alike(values=values["word"], words=words)
    to_volume = word_to_volume(words, frame_times)
    # numpy's product runs on BLAS, which xarray's (an einsum) does not
    moved = xr.DataArray(
        to_volume.to_numpy() @ values.to_numpy().astype("float32", copy=False),
        values.isel(word=0, drop=True).coords | {"time": to_volume["time"]},
        (*values.dims[:-2], "time", "feature"),
    )
    return moved if n_blocks is None else detrend_blocks(moved, n_blocks)


def word_drive(values: xr.DataArray, words: pd.DataFrame, time: ArrayLike) -> xr.DataArray:
    """One impulse a word, at its centre, as high as the word's value: what drives a response to words.

    `values` (word,) or (word, channel), such as held-out predictions of word responses, lose their mean over words and
    become (time,) or (time, channel) at `time` (s, evenly spaced), zero between the `words` [onset, offset (s)].
    """
    time, values = np.asarray(time, dtype=float), values.transpose("word", ...)
    alike(values=values, words=words)
    centres = (words["onset"] + words["offset"]).to_numpy(float) / 2
    steps = np.diff(time)
    if len(time) < 2 or (np.abs(steps - np.median(steps)) > 0.75 * np.median(steps)).any():  # times may be rounded
        raise ValueError("time: expected evenly spaced times without gaps; fill or cut the gaps.")
    if centres.min() < time[0] or centres.max() > time[-1]:
        raise ValueError("words: some lie beyond the times; both must share one clock in seconds.")
    frames = np.round(np.interp(centres, time, np.arange(len(time)))).astype(int)
    impulses = np.zeros((len(time), *values.shape[1:]))
    np.add.at(impulses, frames, (values - values.mean("word")).to_numpy())
    coords = values.isel(word=0, drop=True).coords | {"time": time}
    return xr.DataArray(impulses, coords, ("time", *values.dims[1:]))
