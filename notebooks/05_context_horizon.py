# %% [markdown]
# # The context an electrode needs
#
# Far from auditory cortex a model predicts better the more words it has seen. Can we say of a *single electrode* how many words it needs? And if that number
# grows along the cortex, does it mean that *windows* grow, or could *layers* do the same?
#
# :::{admonition} In this chapter
# **You will learn** two readings of the context that an electrode needs, not to find one in noise, and to tell an order of windows from one of layers.
#
# **You need** [exact windows](05_context) and [peak layers](02_layer_order). **It takes** about 18 minutes to read, and two to run, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
model: str = "smollm2-135m"  # language model, which also drives the virtual cohorts: an asset, a folder or a hub name
contexts: list = [1, 2, 4, 8, 16, None]  # words, the word included; None: all so far
n_depths: int = 4  # layers: the middles of so many equal parts of the model
n_splits: int = 5  # contiguous folds of the outer cross-validation
inner_splits: int = 2  # folds inside each training set that choose the penalty
gap: int = 5  # words left out between training and test words
n_stretches: int = 20  # contiguous stretches of words, left out one at a time
q: float = 0.05  # false discovery rate
seed: int = 0  # of draws and of the points' scatter
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/05_context_horizon"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.features.language import context_features, n_layers
from brainalign.layers import alignment, context_horizon, crossed_order
from brainalign.ridge import ContiguousKFold, cross_validate

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Two readings
#
# Which context does an electrode need, what is its {term}`context horizon`? Of its two readings, `best` is the context with the highest score, `enough` the
# shortest that is not clearly worse, the right question where scores level off. Whether an electrode needs context *at all* has to be tested.
#
# `context_horizon` answers with the {term}`jackknife`: leave out one of {glue:text}`n_stretches` stretches of words at a time, choose the best layer of each
# context again, and see how scores and their differences vary. "Not clearly worse" is no more than one {term}`standard error` below the best
# {cite:p}`breiman1984`. The interval of `best` comes from drawing scores around the observed ones and noting the best context each time. The test asks
# whether any longer context predicts better than one word, corrected for their number {cite:p}`simes1986`; if none is shown to, we say "one word".
#
# A trap: each fold is predicted from weights that were fitted to the *other* folds, so that scores vary together. A plain jackknife does not see this and is
# too sure, so that `context_horizon` multiplies its variance by $1 + k/(k-1)$ for $k$ folds {cite:p}`nadeau2003`. Is that enough? Next to the
# {glue:text}`n_electrodes` electrodes that answer to speech we fit {glue:text}`n_empty` that hold nothing.

# %%
data = datasets.load_listening("virtual", model=model, device=device)
words, kind = data.words, data.truth["kind"]
chosen = signals.speech_responsive(data.signal, words, q=q)["responsive"] & data.channels["distance_pmc"].notna()
electrodes, responses = data.channels[chosen], data.responses.sel(channel=(chosen | (kind == "empty")).to_numpy())
contexts = sorted(contexts, key=lambda c: np.inf if c is None else c)
layers = np.unique(np.round((np.arange(n_depths) + 0.5) / n_depths * n_layers(model)).astype(int))
states = context_features(words, model, contexts, layers=layers, start_token=True, device=device)
sweep = states.stack(sweep=("context", "layer"))
folds = {"groups": words["passage"].to_numpy(), "cv": ContiguousKFold(n_splits, gap=gap), "inner_cv": inner_splits}
folds |= {"alphas": np.logspace(0, 7, 8), "device": device}
fit = cross_validate(sweep, responses, return_predictions=True, **folds).unstack("sweep")

# %% mystnb={"image": {"alt": "Context needed against distance from Heschl's gyrus, a dot an electrode with its interval: those for which more than one word is shown to help, those for which it is not, and what was planted."}}
horizon = context_horizon(fit["prediction"], responses, n_splits=n_splits, n_blocks=n_stretches, seed=seed)
needs, planted = horizon.sel(channel=electrodes.index), data.truth.loc[electrodes.index, "context"]
helped, _ = stats.fdr(needs["p"], q)
place = {name: np.searchsorted(horizon["context"], needs[name]) for name in ("best", "enough", "low", "high")}
needed = np.where(helped, place["best"], 0)
by_distance = alignment(needed, electrodes["distance_pmc"], subjects=electrodes["subject"])
report.add(n_electrodes=len(electrodes), n_empty=(kind == "empty").sum(), n_stretches=n_stretches, q_percent=100 * q)
report.add(n_helped=helped.sum(), distance=by_distance, n_people=by_distance.n)
report.claim("the context needed grows with distance", by_distance.low > 0)
ends = {"low": np.minimum(place["low"], needed), "high": np.maximum(place["high"], needed)}
drawn = pd.DataFrame({"mm": electrodes["distance_pmc"], "needed": needed} | ends)
drawn["what"] = np.where(helped, "best", "no gain shown")
true = drawn.assign(needed=np.searchsorted(horizon["context"], planted), low=np.nan, high=np.nan, what="planted")
drawn[["needed", "low", "high"]] += 0.25 * np.random.default_rng(seed).uniform(-1, 1, (len(drawn), 1))
points = pd.concat([drawn.sort_values("what"), true[planted.notna()]])
names = ["all" if c is None else c for c in contexts]
text = {"xlabel": "geodesic distance from Heschl's gyrus (mm)", "ylabel": "context needed (words)"}
figure = plotting.points(points, "mm", "needed", hue="what", title="Virtual cohort: context and distance", **text)
figure.axes[0].set_yticks(np.arange(len(contexts)), names)
report.figure("horizons", figure)

# %% [markdown]
# *What to see:* two dots an electrode: green, what was planted; blue, `best`, or orange, one word if more is not shown to help, both moved a little up or down,
# with the 95 % interval of `best`. More than one word is shown to help in {glue:text}`n_helped` of {glue:text}`n_electrodes` ({term}`false discovery rate`
# {glue:text}`q_percent:g` %). The rank correlation of the context needed with distance is {glue:text}`distance`, over {glue:text}`n_people` people.
#
# ## Against the truth
#
# How often is either reading the planted context, how well do both order the electrodes, and how often does the interval of `best` hold the truth?

# %%
language = (kind[electrodes.index] == "language").to_numpy()
step = np.searchsorted(horizon["context"], planted[language])
readings = {"best": place["best"][language], "best, where shown": needed[language], "enough": place["enough"][language]}
right = {name: (found == step).sum() for name, found in readings.items()}
ranks = {name: alignment(found, step).value for name, found in readings.items()}
held = (place["low"][language] <= step) & (step <= place["high"][language])
report.add(n_language=language.sum(), n_unmarked=planted.isna().sum(), n_right=right["best"], n_enough=right["enough"])
report.add(held_percent=100 * held.mean(), single_percent=100 * (place["low"] == place["high"]).mean())
empty = horizon.sel(channel=kind.index[kind == "empty"])
report.add(empty_called=100 * (empty["p"] <= q).mean(), empty_helped=stats.fdr(empty["p"], q)[0].sum())
report.add(empty_wide=100 * (empty["high"] > empty["low"]).mean())
report.claim("in noise, a gain by context is called no more often than it should be", report["empty_called"] <= 100 * q)
report.claim("the interval of best holds the truth at least as often as it says", report["held_percent"] >= 95)
report.claim("saying one word unless more is shown makes fewer right", right["best, where shown"] < right["best"])
pd.DataFrame({"right": right, "Spearman": ranks}).round(2)

# %% [markdown]
# *What to see:* of {glue:text}`n_language` language electrodes ({glue:text}`n_unmarked` chosen ones are empty) `best` is right in {glue:text}`n_right`,
# `enough` in {glue:text}`n_enough`. The interval of `best` holds the truth at least as often as it says (95 %), in {glue:text}`held_percent:.0f` %, but is
# wide: a single context in only {glue:text}`single_percent:.0f` %. Saying "one word" unless more is shown to help makes fewer right, the price of asking for
# evidence. In noise a gain is called no more often than it should be: of {glue:text}`n_empty` empty ones, {glue:text}`empty_called:.0f` % have p-values up to
# {glue:text}`q_percent:g` % ({glue:text}`empty_helped` after correction), {glue:text}`empty_wide:.0f` % intervals wider than one context.
#
# ## Layers or windows? A grid tells
#
# Peak layers that rise with distance need not mean an order of layers, nor rising contexts one of windows: a layer with little context stands in for an
# electrode that keeps few words. So we plant one order at a time (*sound*: less of it, more language far away) and score each layer and context.

# %%
orders = {"layer": ["layer"], "window": ["window"], "sound": ["sound"], "nothing": []}
options = {"model": model, "device": device, "n_empty": 0, "controls": False}
cohorts = {name: datasets.load_listening("virtual", order=grows, **options) for name, grows in orders.items()}
places = cohorts["nothing"].channels  # the same in all of them
plants = xr.concat([cohort.responses.drop_vars("channel") for cohort in cohorts.values()], "channel")
crossed = cross_validate(sweep, plants, **folds)["score"].unstack("sweep").transpose("context", "layer", "channel")
grids = {name: crossed[..., k * len(places) : (k + 1) * len(places)] for k, name in enumerate(orders)}

# %% mystnb={"image": {"alt": "Eight heat maps of mean score by layer and context: the third of electrodes that is nearest to Heschl's gyrus above and the farthest third below, for cohorts in which layers, windows, sound or nothing grow."}}
third, panels = pd.qcut(places["distance_pmc"], 3, labels=False).to_numpy(), {}
for side, at in {"near": 0, "far": 2}.items():
    for name, grid in grids.items():
        mean = grid[..., third == at].mean("channel")
        panels[f"{side}; grows: {name}"] = pd.DataFrame((mean / mean.max()).T.values, index=layers, columns=names)
text = {"xlabel": "context (words)", "ylabel": "layer", "title": "Virtual cohorts: score by layer and context"}
planted_orders = {"layer": [1, 0], "window": [0, 1], "sound": [0, 0], "nothing": [0, 0]}  # of layers, of windows
best = {name: np.unravel_index(panel.to_numpy().argmax(), panel.shape) for name, panel in panels.items()}
moves = {k: np.sign(np.subtract(best[f"far; grows: {k}"], best[f"near; grows: {k}"])).tolist() for k in grids}
report.claim("the brightest cell moves up where layers grow, right where windows do", moves == planted_orders)
report.figure("grids", plotting.heatmaps(panels, label="score / best", **text))

# %% [markdown]
# *What to see:* mean scores by context (to the right) and layer (upwards) of the nearest third of electrodes (top) and of the farthest (bottom), each panel
# divided by its highest. From near to far the brightest cell moves up where layers grow, to the right where windows do; else it stays.
#
# `crossed_order` asks for an order that does not depend on the other choice. Peak layers must rise with distance at *every* fixed context, and also where
# each electrode may take the context that suits it best ("free"): one that looks early only because it keeps few words stops doing so there. The largest
# p-value decides. The same goes for contexts at fixed layers. (`fixed` leaves out contexts and layers too low to tell the other apart.)

# %%
fixed = {"layer": [c for c in horizon["context"].values if c >= 4], "context": [n for n in layers if n >= 4]}
sets, tests = {name: (grid, places) for name, grid in grids.items()}, {}
sets["all of them"] = fit["score"].sel(channel=electrodes.index), electrodes
for name, (scores, where) in sets.items():
    at = {"distance": where["distance_pmc"], "subjects": where["subject"]}
    both = [crossed_order(scores, **at, along=along, fixed=values) for along, values in fixed.items()]
    naive = both[0].iloc[-2], both[1].loc["free"]  # peak layers at the longest context, and the context needed
    tests[name] = [stats.Estimate(*row[["r", "low", "high"]]) for row in naive] + [one["p"].max() for one in both]
columns = ["peak layer at full context, r", "context needed, r", "layers ordered: p", "windows ordered: p"]
tests = pd.DataFrame(tests, index=columns).T.infer_objects().round(5)
pd.DataFrame({name: tests[name].map(f"{{:.2{form}}}".format) for name, form in zip(columns, "ffgg", strict=True)})

# %%
report.add(window_peaks=tests.loc["window", columns[0]], layer_horizon=tests.loc["layer", columns[1]])
report.add(window_p_layers=tests.loc["window", columns[2]], layer_p_windows=tests.loc["layer", columns[3]])
misled = report["window_peaks"].low > 0 and report["layer_horizon"].low > 0
report.claim("peak layers rise where only windows grow, and contexts where only layers do", misled)
called = tests[columns[2:]] <= 0.05
to_call = pd.DataFrame({**planted_orders, "all of them": [1, 1]}, index=called.columns).T.astype(bool)
report.claim("the crossed test calls what was planted, and nothing else", (called == to_call).all(axis=None))
report

# %% [markdown]
# *What to see:* by what grows, Spearman correlations with distance (r) and their 95 % intervals over people, and the one-sided p-values of `crossed_order`; in
# the last row all grow. Where only windows grow, peak layers at full context still follow distance ({glue:text}`window_peaks`); where only layers grow, the
# context needed does ({glue:text}`layer_horizon`). Neither alone says what grows. The crossed test calls what was planted, and nothing else: p =
# {glue:text}`window_p_layers:.2g` for layers where windows grow, {glue:text}`layer_p_windows:.2g` for windows where layers do. See [how often it
# errs](../how_tested.md). What we have shown: the context an electrode needs can be recovered, and a grid of layers and contexts tells an order of windows from
# one of layers. What we have not: that real electrodes have such an order, or need context. [The next page](05_context_in_people) asks people.
#
# ## Exercise
#
# Add noise of twice the responses' standard deviation and recover contexts again. Does `best` or `enough` hold up better, and what do intervals do?
#
# :::{admonition} Solution
# :class: dropdown
# Both order electrodes worse, `best` worst; and even more intervals are wider than one context (in every fourth electrode, with every second layer).
# :::

# %% tags=["hide-cell"]
few = electrodes.index[language][::4]
quiet = responses.sel(channel=few)
loud = quiet + 2 * quiet.std("word") * quiet.copy(data=np.random.default_rng(seed).standard_normal(quiet.shape))
again = cross_validate(states[:, 1::2].stack(sweep=("context", "layer")), loud, return_predictions=True, **folds)
noisy = context_horizon(again.unstack("sweep")["prediction"], loud, n_splits=n_splits, seed=seed)
true, noisy_ranks = np.searchsorted(horizon["context"], planted[few]), {}
for name in ("best", "enough"):
    noisy_ranks[name] = alignment(np.searchsorted(horizon["context"], noisy[name]), true).value
wide, holds = noisy["low"] < noisy["high"], (noisy["low"] <= planted[few]) & (planted[few] <= noisy["high"])
worse = noisy_ranks["best"] < noisy_ranks["enough"] < min(ranks["best"], ranks["enough"])
report.claim("in more noise both readings order electrodes worse, best worst", worse)
single, held = report["single_percent"], report["held_percent"]
report.claim("in more noise even more intervals are wider than one context", 100 * wide.mean().item() > 100 - single)
print(f"Intervals wider than one context: {wide.mean():.0%} (less noise: {100 - single:.0f}%),", end=" ")
print(f"intervals that hold the planted context: {holds.mean():.0%} ({held:.0f}%)")
pd.Series(noisy_ranks, name="Spearman with the planted context").to_frame().round(2)

# %% [markdown]
# `papermill notebooks/05_context_horizon.ipynb mine.ipynb -p n_depths 8 -y "contexts: [1, 2, 4, 8, 16, 32, null]" -p results mine` has a finer grid.
