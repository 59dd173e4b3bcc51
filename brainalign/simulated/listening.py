"""Virtual cohorts: people whose responses are planted, so that every method can be held against the truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter1d
from scipy.signal import oaconvolve
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainalign import cortex
from brainalign._checks import one_of, whole, within
from brainalign.datasets.types import Listening
from brainalign.features.language import FORMAT, LanguageModel
from brainalign.features.store import FeatureStore
from brainalign.signals import word_responses
from brainalign.simulated.speech import naplib_speech

HORIZONS = (1, 2, 4, 8, None)  #: Words of context that drive an electrode, from the nearest to the farthest fifth.
REACH = 100.0  #: mm along the surface at which the planted hierarchy ends.
#: What can grow along the hierarchy, and the depth at which all electrodes have it where it does not.
FIXED = {"layer": 0.5, "window": 1.0, "sound": 0.5, "lag": 0.5}
N_COMPONENTS = 50  #: Principal components of a layer over which a planted response spreads evenly.


def virtual_listening(
    *,
    n_subjects: int = 8,
    n_language: int = 20,
    n_empty: int = 8,
    n_repeats: int = 2,
    snr: float = 0.1,
    order: Sequence[str] = tuple(FIXED),
    model: str = "smollm2-135m",
    language: bool = True,
    controls: bool = True,
    seed: int = 0,
    device: str = "auto",
) -> Listening:
    """Virtual patients who listen to naplib's speech sample.

    An electrode at geodesic distance d from posteromedial Heschl's gyrus has depth D = min(d / 100 mm, 1). What `order`
    names follows D; the rest is the same in all electrodes, as at D = 0.5, and the window is then the whole passage so
    far. An electrode's signal:

    - language, with variance share 1 - a: one random direction through the 50 leading principal components of
      layer 1 + D (L - 1) of the model, give or take a layer ("layer"), every component with equal weight, given only
      the last few words (`HORIZONS`, longer with D in equal steps: "window"). Each word's value rides on a Gaussian
      bump at its centre, later (0 to 80 ms) and wider (50 to 100 ms) with D ("lag");
    - sound, with variance share a = 0.6 (1 - D)^2 ("sound"): the sample's spectrogram through a random
      spectro-temporal field;
    - a rise during speech by one standard deviation of language and sound together, or of the noise if that is more;
    - noise of its own in each repeat, its power falling with frequency f as 1 / (f + 0.5 Hz).

    Without `language` the same electrodes follow sound alone (a = 1). An empty electrode is noise alone. The sample's
    ten third-party acoustic channels are added as controls, the same in every repeat. Hemispheres alternate.

    Parameters
    ----------
    n_subjects, n_language, n_empty : int
        Subjects, and electrodes of either kind in each.
    n_repeats : int
        Presentations of the whole stimulus.
    snr : float
        Variance of the planted response over that of the noise of one repeat, both in 100 ms around the words' centres.
        By default the best layer's cross-validated r is 0.1 to 0.3, as in intracranial recordings word by word.
    order : sequence of str
        What grows along the hierarchy: any of "layer", "window", "sound" and "lag".
    model, device
        As in `features.language.LanguageModel`.
    language, controls : bool
        Plant language (False leaves sound); add the ten acoustic channels.
    seed : int

    Returns
    -------
    Listening
        `signal` (repeat, time, channel) at 100 Hz, z-scored; `responses` (word, channel), their mean over repeats in
        100 ms around the centre of each word; `truth` [kind, layer, context, language, acoustic, lag, ceiling]: kind
        "language" ("sound" without it), "empty" or "control"; context in words (inf for the whole passage); variance
        shares; lag in s; ceiling, the correlation of the noiseless response with the mean over repeats.
    """
    for name, size in (("n_subjects", n_subjects), ("n_language", n_language), ("n_repeats", n_repeats)):
        whole(name, size)
    whole("n_empty", n_empty, 0)
    within("snr", snr, 0, np.inf)
    for name in order:
        one_of("order", name, FIXED)
    speech = naplib_speech()
    rng = np.random.default_rng(seed)
    channels = _place(n_subjects, n_language + n_empty, rng)
    distance = np.minimum(channels["distance_pmc"].to_numpy() / REACH, 1.0)
    depth = {name: distance if name in order else np.full(len(distance), fixed) for name, fixed in FIXED.items()}
    empty = np.tile(np.arange(n_language + n_empty) >= n_language, n_subjects)

    wobble = rng.standard_normal(len(distance)) * ("layer" in order)
    step = np.minimum(depth["window"] * len(HORIZONS), len(HORIZONS) - 1).astype(int)
    horizon = np.array(HORIZONS, dtype=object)[step]
    acoustic = 0.6 * (1 - depth["sound"]) ** 2 if language else np.ones(len(distance))
    lag, layer = 0.08 * depth["lag"], np.zeros(len(distance), dtype=int)
    if language:
        reader = LanguageModel(model, start_token=True, device=device, progress=False)
        layer = np.round(1 + depth["layer"] * (reader.n_layers - 1) + wobble).clip(1, reader.n_layers).astype(int)
        components = _components(speech.words, reader, {(int(layer[k]), horizon[k]) for k in np.flatnonzero(~empty)})

    n_times, n_channels = speech.spectrogram.sizes["time"], len(channels)
    time = speech.spectrogram["time"].to_numpy()
    planted = np.zeros((n_times, n_channels), dtype="float32")
    starts, ends = speech.passages[["speech_start", "speech_end"]].to_numpy().T
    frames = ((time[:, None] >= starts) & (time[:, None] < ends)).any(1)
    during_speech = gaussian_filter1d(frames.astype(float), 10.0) * max(1.0, snr**-0.5)
    driven, n_bands = np.flatnonzero(~empty), speech.spectrogram.sizes["band"]
    drawn = [(rng.standard_normal(N_COMPONENTS), *_field(n_bands, rng)) for _ in driven]
    sounds = speech.spectrogram.to_numpy() @ np.stack([tuning for _, tuning, _ in drawn], axis=1)
    for index, (direction, _, kernel), sound in zip(driven, drawn, sounds.T, strict=True):
        signal = np.sqrt(acoustic[index]) * _standard(oaconvolve(sound, kernel)[:n_times]) + during_speech
        if language:
            values = components[layer[index], horizon[index]] @ direction
            at_words = _at_words(values, speech.words, time, lag[index], 0.05 + 0.05 * depth["lag"][index])
            signal += np.sqrt(1 - acoustic[index]) * _standard(at_words)
        planted[:, index] = signal

    power = _at_centres(planted, time, speech.words).var("word").to_numpy()
    strf = speech.strf.to_numpy()[:, : None if controls else 0]
    signal = np.empty((n_repeats, n_times, n_channels + strf.shape[1]), dtype="float32")
    for repeat in signal:
        noise = _noise(n_times, n_channels, float(time[1] - time[0]), rng)
        scale = np.sqrt(np.where(empty, 1.0, power / snr) / _at_centres(noise, time, speech.words).var("word"))
        repeat[:, :n_channels] = planted + noise * np.asarray(scale).astype("float32")
        repeat[:, n_channels:] = strf
    signal -= signal.mean(1, keepdims=True)
    signal /= signal.std(1, keepdims=True)
    silent, context = empty | (not language), [words or np.inf for words in horizon]
    truth = pd.DataFrame(
        {
            "kind": np.where(empty, "empty", "language" if language else "sound"),
            "layer": np.where(silent, np.nan, layer),
            "context": np.where(silent, np.nan, context),
            "language": np.where(empty, 0.0, 1 - acoustic),
            "acoustic": np.where(empty, 0.0, acoustic),
            "lag": np.where(silent, np.nan, lag),
            "ceiling": np.where(empty, 0.0, np.sqrt(snr / (snr + 1 / n_repeats))),
        },
        index=channels.index,
    )
    if controls:
        names = pd.Index(speech.strf["channel"].to_numpy(), name="channel")
        control = pd.DataFrame({"subject": "", "region": "acoustic control", "hemisphere": ""}, index=names)
        channels = pd.concat([channels, control])
        truth = pd.concat([truth, pd.DataFrame({"kind": "control"}, index=names)])
    labels = channels.index.to_numpy()
    coords = {"time": time, "channel": labels, "passage": speech.spectrogram["passage"].variable}
    return Listening(
        name="virtual cohort",
        modality="high-gamma",
        words=speech.words,
        channels=channels,
        signal=xr.DataArray(signal, coords, ("repeat", "time", "channel"), attrs={"units": "s.d."}),
        responses=_at_centres(signal.mean(0), time, speech.words).assign_coords(channel=labels),
        audio=speech.audio,
        truth=truth,
    )


def _place(n_subjects: int, n_electrodes: int, rng: np.random.Generator) -> pd.DataFrame:
    """Electrodes around the landmarks, one hemisphere a subject."""
    rows = []
    for subject in range(n_subjects):
        name, hemisphere = f"v{subject + 1:02d}", cortex.HEMISPHERES[subject % 2]
        points, distance = cortex.mesh(hemisphere).vertices, cortex.distance_from("pmHG", hemisphere)
        for electrode in range(n_electrodes):
            region = str(rng.choice(cortex.LANDMARKS.index))
            centre = points[cortex.landmark_vertex(region, hemisphere)]
            vertex = int(rng.choice(np.flatnonzero(np.linalg.norm(points - centre, axis=1) <= 8.0)))
            place = (*points[vertex].astype(float), distance["geodesic"][vertex], distance["euclidean"][vertex], vertex)
            rows.append((f"{name}-{electrode + 1:02d}", name, region, hemisphere, *place))
    columns = ["channel", "subject", "region", "hemisphere", *"xyz", "distance_pmc", "distance_pmc_euclidean", "vertex"]
    return pd.DataFrame(rows, columns=columns).set_index("channel")


def _components(words: pd.DataFrame, reader: LanguageModel, wanted: set[tuple]) -> dict[tuple, np.ndarray]:
    """Leading principal components of layers (word, component) of variance 1, by (layer, horizon), from the store."""
    text = json.dumps([words["word"].tolist(), words["passage"].astype(str).tolist()])
    key = {
        "kind": "principal components",
        "format": [FORMAT, N_COMPONENTS],
        "model": reader.fingerprint,
        "text": hashlib.sha256(text.encode()).hexdigest(),
        "horizons": HORIZONS,
    }
    entry = FeatureStore().entry(key, name=reader.name)  # small, where states are large and slow to read
    needed = [sorted(layer for layer, horizon in wanted if horizon == one) for one in HORIZONS]
    with entry.lock():
        found = [entry.read(shard, layers) for shard, layers in enumerate(needed)]
        if any(set(layers) - parts.keys() for layers, parts in zip(needed, found, strict=True)):
            states = reader.states(words, context=list(HORIZONS))
            whiten = make_pipeline(StandardScaler(), PCA(N_COMPONENTS, whiten=True, svd_solver="covariance_eigh"))
            for shard, one in enumerate(HORIZONS):
                chosen = states.sel(context=one or np.inf).to_numpy()
                parts = [whiten.fit_transform(features).astype("float32") for features in chosen]
                found[shard] = dict(zip(states["layer"].values.tolist(), parts, strict=True))
                entry.write(shard, list(found[shard]), np.stack(parts))
    return {(layer, one): found[shard][layer] for shard, one in enumerate(HORIZONS) for layer in needed[shard]}


def _at_words(values: np.ndarray, words: pd.DataFrame, time: np.ndarray, lag: float, width: float) -> np.ndarray:
    """A Gaussian bump (standard deviation `width`, s) for every word, `lag` s after its centre."""
    rate = 1 / (time[1] - time[0])
    centres = (words["onset"] + words["offset"]).to_numpy() / 2 + lag
    impulses = np.zeros(len(time))
    np.add.at(impulses, np.round(centres * rate).astype(int), _standard(values))
    return gaussian_filter1d(impulses, width * rate, mode="constant")


def _at_centres(signal: np.ndarray, time: np.ndarray, words: pd.DataFrame) -> xr.DataArray:
    """Word responses (word, channel) to a signal (time, channel)."""
    return word_responses(xr.DataArray(signal, {"time": time}, dims=("time", "channel")), words)


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def _field(n_bands: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A field at a random frequency, as weights over bands and over frames; it answers twice, up and then down."""
    band, width = rng.uniform(0.1, 0.9) * n_bands, rng.uniform(4, 16)
    tuning = np.exp(-0.5 * ((np.arange(n_bands) - band) / width) ** 2)
    frames, latency = np.arange(40), rng.uniform(3, 12)
    kernel = np.exp(-0.5 * ((frames - latency) / 2.5) ** 2) - 0.5 * np.exp(-0.5 * ((frames - latency - 6) / 4) ** 2)
    return tuning.astype("float32"), kernel


def _noise(n_times: int, n_channels: int, step: float, rng: np.random.Generator) -> np.ndarray:
    """Noise with power 1 / (f + 0.5 Hz), as field potentials' envelopes have, variance 1."""
    white = torch.from_numpy(rng.standard_normal((n_times, n_channels), dtype="float32"))
    # torch's transform: scipy's takes twice as long where the number of samples has a large prime factor
    spectrum = torch.fft.rfft(white, dim=0)
    spectrum /= (torch.fft.rfftfreq(n_times, step) + 0.5).sqrt_()[:, None]
    noise = torch.fft.irfft(spectrum, n_times, dim=0)
    return noise.div_(noise.std(0, correction=0)).numpy()
