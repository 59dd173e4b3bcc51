"""Layer order and window order told apart: the crossed plants, at the word level, many times over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import binomtest

from brainalign.features.acoustics import mel_spectrogram, word_acoustics
from brainalign.features.language import LanguageModel, context_features, layer_features
from brainalign.layers import alignment, crossed_order, layer_gradient, peak_layer
from brainalign.ridge import ContiguousKFold, cross_validate
from brainalign.simulated.listening import FIXED, HORIZONS, N_COMPONENTS, REACH, _components, _place
from brainalign.simulated.speech import naplib_speech

TABLE = Path(__file__).parents[2] / "book" / "simulations" / "layer_order.csv"
MODEL, N_LAYERS = "smollm2-135m", 30
CONTEXTS = [1, 2, 4, 8, 16, None]
LAYERS = [2, 5, 8, 11, 14, 17, 20, 23, 26, 29]  # not the constant one, 16, nor most of those that drive channels
FIXED_AT = {"layer": [4, 8, 16, np.inf], "context": LAYERS[1:]}  # where layers, or contexts, can be told apart
PEOPLE, EACH = 8, 20
PLANTED = (N_LAYERS - 1) / REACH  # layers a mm
HIGH_SNR, SNR, LOW_SNR = 1.5, 0.12, 0.05  # best r about 0.70, 0.25 and 0.12
ALPHA, FOLDS = 1000.0, {"cv": ContiguousKFold(5, gap=5)}


def leading(features: np.ndarray, n: int) -> np.ndarray:
    """Principal components (word, n) of standardized features, each with variance 1."""
    scaled = (features - features.mean(0)) / features.std(0)
    components = scaled @ np.linalg.eigh(scaled.T @ scaled)[1][:, : -n - 1 : -1]
    return (components / components.std(0)).astype("float32")


@pytest.fixture(scope="module")
def text():
    """Words; what drives channels, by (layer, window); what predicts them, by (context, layer); and sound."""
    speech = naplib_speech()
    wanted = {(layer, window) for layer in range(1, N_LAYERS + 1) for window in HORIZONS}
    drive = _components(speech.words, LanguageModel(MODEL, start_token=True, device="cpu"), wanted)
    states = context_features(speech.words, MODEL, CONTEXTS, layers=LAYERS, start_token=True, device="cpu")
    grid = np.stack([[leading(x.to_numpy(), N_COMPONENTS) for x in part] for part in states])
    coords = {"context": states["context"].to_numpy(), "layer": LAYERS}
    sound = word_acoustics(mel_spectrogram(speech.audio.samples, speech.audio.rate), speech.words)
    grid = xr.DataArray(grid, coords, ("context", "layer", "word", "feature"))
    return speech.words, drive, grid, leading(sound.to_numpy(), 10)


@pytest.fixture(scope="module")
def whole(text):
    """Every layer at full context, with more components than drive a channel."""
    layers = np.arange(1, N_LAYERS + 1)
    states = layer_features(text[0], MODEL, layers=layers, start_token=True, device="cpu")
    grid = np.stack([leading(x.to_numpy(), 2 * N_COMPONENTS) for x in states])[None]
    return xr.DataArray(grid, {"context": [np.inf], "layer": layers}, ("context", "layer", "word", "feature"))


def cohorts(text, order: str, n: int, snr: float, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Channels [cohort, subject, distance_pmc, layer] and word responses (word, channel); `order` is joined by "+"."""
    words, drive, _, sound = text
    rng = np.random.default_rng([seed, *order.encode()])
    channels = pd.concat([_place(PEOPLE, EACH, rng).assign(cohort=k) for k in range(n)], ignore_index=True)
    distance = np.minimum(channels["distance_pmc"].to_numpy() / REACH, 1)
    depth = {name: distance if name in order else np.full(len(distance), at) for name, at in FIXED.items()}
    jitter = rng.standard_normal(len(distance)) * ("layer" in order)
    channels["layer"] = np.clip(np.round(1 + depth["layer"] * (N_LAYERS - 1) + jitter), 1, N_LAYERS).astype(int)
    channels["window"] = np.minimum(depth["window"] * len(HORIZONS), len(HORIZONS) - 1).astype(int)
    share = (0.6 * (1 - depth["sound"]) ** 2).astype("float32")

    def scaled(part: np.ndarray) -> np.ndarray:
        values = part @ rng.standard_normal((part.shape[1], len(at)), dtype="float32")
        return values / values.std(0)

    responses = rng.standard_normal((len(words), len(channels)), dtype="float32") / np.float32(np.sqrt(snr))
    for (layer, window), at in channels.groupby(["layer", "window"]).indices.items():
        language = scaled(drive[layer, HORIZONS[window]])
        responses[:, at] += np.sqrt(1 - share[at]) * language + np.sqrt(share[at]) * scaled(sound)
    return channels, responses


def scores(text, responses: np.ndarray, grid: xr.DataArray | None = None) -> xr.DataArray:
    """What `cross_validate` gives with one penalty and sound as its baseline, (context, layer, channel), in moments."""
    words, _, contexts_and_layers, sound = text
    grid = contexts_and_layers if grid is None else grid
    y, n = responses - responses.mean(0), len(words)
    free = np.column_stack([np.ones(n, "float32"), sound])
    penalty = np.diag(np.repeat([0.0, ALPHA], [free.shape[1], grid.sizes["feature"]]))
    folds = list(FOLDS["cv"].split(range(n), groups=words["passage"].to_numpy()))
    gaps = [np.setdiff1d(np.arange(n), np.concatenate(fold)) for fold in folds]
    found = np.empty((*grid.shape[:2], y.shape[1]))
    for part in np.array_split(np.arange(y.shape[1]), -(-y.shape[1] // 2000)):
        some = np.ascontiguousarray(y[:, part])
        tests, near = [some[test] for _, test in folds], [some[gap] for gap in gaps]
        length = np.sqrt((some.astype("float64") ** 2).sum(0))
        for cell in np.ndindex(grid.shape[:2]):
            own = np.column_stack([free, grid.to_numpy()[cell]])
            xy = [own[test].T @ values for (_, test), values in zip(folds, tests, strict=True)]
            total = sum(xy)
            sums = np.zeros((3, len(part)))  # of predictions, their squares, and their products with responses
            for k, (train, test) in enumerate(folds):
                inverse = np.linalg.inv((own[train].T @ own[train]).astype("float64") + penalty).astype("float32")
                w = inverse @ (total - xy[k] - own[gaps[k]].T @ near[k])
                sums[0] += own[test].sum(0) @ w
                sums[1] += np.einsum("fc,fc->c", w, own[test].T @ own[test] @ w)
                sums[2] += np.einsum("fc,fc->c", w, xy[k])
            found[cell][part] = sums[2] / np.sqrt(sums[1] - sums[0] ** 2 / n) / length
    return xr.DataArray(found, {"context": grid["context"], "layer": grid["layer"]}, ("context", "layer", "channel"))


def each(channels: pd.DataFrame, score: xr.DataArray):
    """Score, distance and people of one cohort after the other."""
    for rows in channels.groupby("cohort").indices.values():
        yield score[..., rows], channels["distance_pmc"].to_numpy()[rows], channels["subject"].to_numpy()[rows]


def orders(text, order: str, n: int, snr: float = SNR) -> pd.DataFrame:
    """For each cohort: is an order called at 5 %, of peaks at full context alone, of layers, of windows; and best r."""
    channels, responses = cohorts(text, order, n, snr)
    score, found = scores(text, responses), []
    for part, distance, people in each(channels, score):
        tables = {
            along: crossed_order(part, distance, subjects=people, along=along, fixed=fixed)
            for along, fixed in FIXED_AT.items()
        }
        called = {along: table["p"].max() <= 0.05 for along, table in tables.items()}
        whole = tables["layer"].loc[np.inf]
        found.append(
            called | {"naive": whole["p"] <= 0.05, "rho": whole["r"], "best": float(part.max(score.dims[:2]).median())}
        )
    return pd.DataFrame(found)


def estimates(text, whole, n: int, snr: float) -> pd.DataFrame:
    """Of planted layers, from all layers at full context: Spearman of peaks, and the gradient, with intervals."""
    channels, responses = cohorts(text, "layer", n, snr, seed=1)
    score, found = scores(text, responses, whole)[0], []
    for (part, distance, people), (_, true) in zip(each(channels, score), channels.groupby("cohort"), strict=True):
        aligned, slope = (
            f(x, distance, subjects=people) for f, x in ((alignment, peak_layer(part)), (layer_gradient, part))
        )
        planted = alignment(true["layer"], distance, subjects=people).value
        found.append(
            {
                "best": float(part.max("layer").median()),
                "planted": planted,
                "rho": aligned.value,
                "slope": slope.value,
                "rho covers": aligned.low <= planted <= aligned.high,
                "slope covers": slope.low <= PLANTED <= slope.high,
            }
        )
    return pd.DataFrame(found)


def test_scores_are_those_of_cross_validate(text):
    responses = cohorts(text, "layer+window+sound", 1, SNR)[1][:, ::16]
    words, _, grid, sound = text
    few = grid[[0, -1]][:, [0, -1]]
    fit = cross_validate(
        few.stack(cell=("context", "layer")).transpose("cell", "word", "feature"),
        xr.DataArray(responses, dims=("word", "channel")),
        groups=words["passage"].to_numpy(),
        confounds=sound,
        alphas=[ALPHA],
        standardize=False,
        **FOLDS,
    )["score"].unstack("cell")
    expected = fit.transpose("context", "layer", "channel").sortby("context")
    np.testing.assert_allclose(scores(text, responses, few), expected, atol=1e-5)


def test_a_growing_window_looks_like_an_order_of_layers_and_is_not_called_one(text):
    found = orders(text, "window", 10)
    assert found["naive"].sum() >= 9 and found["layer"].sum() <= 2 and found["context"].sum() >= 8


def test_an_order_of_layers_is_called_and_no_order_of_windows(text):
    found = orders(text, "layer", 10)
    assert found["layer"].sum() >= 8 and found["context"].sum() <= 2


def test_the_gradient_does_not_shrink_where_the_correlation_of_peaks_does(text, whole):
    found = estimates(text, whole, 10, LOW_SNR)
    assert (found["rho"] < found["planted"] - 0.05).all()
    assert abs(found["slope"].mean() - PLANTED) < 0.02 and found["slope covers"].sum() >= 8


@pytest.mark.simulation
def test_rates_over_many_cohorts(text, whole):
    """Writes ``book/simulations/layer_order.csv``; ``pytest -m simulation`` runs it."""
    n, rows, slopes = 200, [], []

    def count(simulation: str, called, target, note: str = "") -> None:
        k, low_high = int(np.sum(called)), binomtest(int(np.sum(called)), n).proportion_ci()
        rows.append([simulation, n, k, k / n, low_high.low, low_high.high, target, note])

    called = {"layer": "layer order called", "context": "window order called"}
    planted = {"layer": "layer", "context": "window"}
    for order in ("", "window", "sound", "layer", "layer+window"):
        found = orders(text, order, n)
        note = f"best r {found['best'].median():.2f}"
        for along, name in called.items():
            count(
                f"{name}; grows: {order or 'nothing'}", found[along], "power" if planted[along] in order else 0.05, note
            )
        name = f"peaks at full context rise with distance; grows: {order or 'nothing'}"
        count(name, found["naive"], "", f"{note}; mean rho {found['rho'].mean():.2f}")
    for snr in (HIGH_SNR, SNR, LOW_SNR):
        found = estimates(text, whole, n, snr)
        note = f"best r {found['best'].median():.2f}; "
        rho = f"mean rho {found['rho'].mean():.3f}, planted {found['planted'].mean():.3f}"
        slope = f"mean {found['slope'].mean():.4f}, planted {PLANTED:.4f} layers a mm"
        count("interval of rho covers the planted rho; grows: layer", found["rho covers"], 0.95, note + rho)
        slopes.append(found["slope"].mean())
        count(
            "interval of the gradient covers the planted one; grows: layer", found["slope covers"], 0.95, note + slope
        )
    columns = ["simulation", "n", "called", "rate", "low", "high", "nominal or planted", "note"]
    table = pd.DataFrame(rows, columns=columns).round(4)
    TABLE.parent.mkdir(exist_ok=True)
    table.to_csv(TABLE, index=False)
    crossed = table[table["simulation"].str.contains("order called")]
    for _, row in crossed.iterrows():
        if row["nominal or planted"] == "power":
            assert row["rate"] >= 0.9, row.to_dict()
        else:
            assert binomtest(row["called"], n, 0.05, alternative="greater").pvalue > 0.01, row.to_dict()
    # The gradient's intervals cover in 80 to 91 % of cohorts, not in 95: a bias of 1.6 % remains, whatever the noise.
    np.testing.assert_allclose(slopes, PLANTED, rtol=0.02)
    np.testing.assert_allclose(slopes, slopes[0], rtol=0.01)
