# %% [markdown]
# # What does an order of peak layers say?
#
# The best layer of each electrode, plotted against its distance from auditory cortex, rises: by this finding models and cortex are said to share a hierarchy
# {cite:p}`mischler2024`. In virtual people the order is known. How well is it found, how does noise bend it, and what else than layers could make it?
#
# :::{admonition} In this chapter
# **You will learn** what a *peak layer* is and how well it recovers the layer that was planted; how to relate it to a place in cortex, with people as the
# samples; how to measure the order without choosing peaks; and why a rising order need not be one of layers.
#
# **You need** [the page before](02_layer_alignment). **It takes** about 15 minutes to read, and some three to run on two cores, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
n_subjects: int = 8  # virtual people
snr: float = 0.1  # planted variance over that of one repeat's noise, at words
n_splits: int = 5  # contiguous folds of the outer cross-validation
inner_splits: int = 3  # folds inside each training set that choose the penalty
gap: int = 5  # words left out between training and test words
device: str = "auto"  # where the model runs: "auto", "cpu" or "cuda"
results: str = "results/02_layer_order"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting
from brainalign.book import Report
from brainalign.features.language import layer_features
from brainalign.layers import alignment, alignment_difference, layer_gradient, peak_layer
from brainalign.ridge import ContiguousKFold, cross_validate

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Peak layers
#
# The {term}`peak layer` of an electrode is the layer with the highest score. We take the virtual cohort of [the page before](02_layer_alignment), and of it
# the electrodes that hold language, near ones early layers and far ones late layers.

# %%
cohort = {"n_subjects": n_subjects, "snr": snr, "model": model, "device": device, "n_empty": 0, "controls": False}
everyone = datasets.load_listening("virtual", **(cohort | {"n_empty": 8, "controls": True}))
language = (everyone.truth["kind"] == "language").to_numpy()
electrodes, planted = everyone.channels[language], everyone.truth["layer"][language]
distance, person = electrodes["distance_pmc"], electrodes["subject"]
features = layer_features(everyone.words, model, start_token=True, device=device)
folds = {"cv": ContiguousKFold(n_splits, gap=gap), "inner_cv": inner_splits, "device": device}
folds |= {"groups": everyone.words["passage"].to_numpy(), "alphas": np.logspace(0, 7, 8)}
score = cross_validate(features, everyone.responses[:, language], **folds)["score"]
peak = peak_layer(score).to_series()

# %% mystnb={"image": {"alt": "Heat map of scores, one row an electrode ordered by distance from Heschl's gyrus, one column a layer, each row divided by its highest value."}}
relative = (score / score.max("layer")).to_pandas().T.loc[distance.sort_values().index]
report.add(n_near_best=(relative >= 0.95).sum(axis=1).median())
relative.index = distance.sort_values().round().astype(int)
text = {"label": "score / best score", "xlabel": "layer", "ylabel": "electrodes by distance (mm)"}
report.figure("scores", plotting.heatmaps({"": relative}, title="Scores of every electrode, virtual cohort", **text))

# %% [markdown]
# *What to see:* a row an electrode, divided by its best score, the nearest at the bottom. The bright ridge moves to later layers with distance. In half of the
# electrodes {glue:text}`n_near_best:.0f` layers or more, the best included, reach 95 % of the best score. On the surface, from dark (early) to yellow (late):

# %% mystnb={"image": {"alt": "Two rows of inflated brains with electrodes as dots, coloured by layer: peak layers recovered from the scores above, planted layers below."}}
layers, title = {"recovered": peak, "planted": planted}, "Peak layer of each electrode, virtual cohort"
report.figure("brains", plotting.electrodes(electrodes, layers, label="layer", title=title))

# %% [markdown]
# ## How well is the order found?
#
# Two rank correlations ({term}`Spearman correlation`) tell: of recovered with planted layers, and of recovered layers with distance. Electrodes of one
# person are not independent; the interval therefore comes from leaving out one person at a time, with all electrodes ({term}`jackknife`).

# %%
recovery, aligned = (alignment(peak, other, subjects=person) for other in (planted, distance))
true_order = alignment(planted, distance, subjects=person)
report.add(recovery=recovery, aligned=aligned, aligned_people=aligned.n, planted_order=true_order.value)
report.claim("peak layers recover the planted layers (rank correlation above 0.8)", recovery.value > 0.8)
report.claim("peak layers rise with distance", aligned.low > 0)
report.claim("the interval of the rank correlation misses the planted one", aligned.high < true_order.value)
report

# %% mystnb={"image": {"alt": "Layer against geodesic distance from Heschl's gyrus, dots for recovered and for planted layers of each electrode."}}
along = pd.concat([pd.DataFrame({"distance": distance, "layer": v, "kind": name}) for name, v in layers.items()])
text = {"xlabel": "geodesic distance from Heschl's gyrus (mm)", "ylabel": "layer", "title": "Layers, virtual cohort"}
report.figure("distance", plotting.points(along, "distance", "layer", hue="kind", **text))

# %% [markdown]
# *What to see:* layers over distance, recovered and planted ones in two colours. Recovered layers rise as planted ones do, with more scatter; their rank
# correlation is {glue:text}`recovery`. With distance, that of recovered layers is {glue:text}`aligned`, of *planted* ones {glue:text}`planted_order:.2f`.
#
# ## An order without peaks
#
# The interval ({glue:text}`aligned`) misses the planted {glue:text}`planted_order:.2f`, as it says only how {glue:text}`aligned_people` other people would
# vary. Noise makes peaks scatter, and scatter shrinks any correlation of peaks, in other people too. A model that predicts worse would therefore seem to have
# less order. `layer_gradient` chooses no peaks: it seeks the straight line of layers over distance along which all electrodes together are predicted best.
# Noise widens its interval but does not shrink its slope.

# %%
steep = layer_gradient(score, distance / 100, subjects=person)  # in 100 mm
report.add(gradient=steep, planted_gradient=np.ptp(score["layer"].values[1:]))
report.claim("layers rise with distance without choosing peaks", steep.low > 0)
report

# %% [markdown]
# Here, where windows grow as well, it gives {glue:text}`gradient` layers in 100 mm; planted: {glue:text}`planted_gradient`. In [simulations](../how_tested.md)
# in which only layers grow its intervals hold the planted value in most cohorts (a small bias remains), those of the rank correlation, at such scores, in few.
#
# ## Is it an order of layers?
#
# More than layers was planted: with distance, the window of words that an electrode follows grows too, and its share of sound falls. Would peak layers rise if
# only one of these changed? `order` of the virtual cohort says what changes along the hierarchy; all else is the same in every electrode (one layer in the
# middle of the model, all words, one share of sound). Of each cohort, the order of its peak layers and its gradient:

# %%
ORDERS = {"layer": ["layer"], "window": ["window"], "sound": ["sound"], "nothing": []}
cohorts = {name: datasets.load_listening("virtual", order=grows, **cohort) for name, grows in ORDERS.items()}
plants = xr.concat([made.responses for made in cohorts.values()], "channel")
plants["channel"] = np.arange(plants.sizes["channel"])
crossed = cross_validate(features, plants, **folds)["score"]
places, orders, gradients = cohorts["nothing"].channels, {}, {}
away = places["distance_pmc"]
for k, name in enumerate(cohorts):
    part = crossed[:, k * len(places) : (k + 1) * len(places)]
    orders[name] = alignment(peak_layer(part), away, subjects=places["subject"])
    gradients[name] = layer_gradient(part, away / 100, subjects=places["subject"])
pd.DataFrame({"rank correlation of peak layer and distance": orders, "layers in 100 mm": gradients}).astype(str)

# %%
report.add(**{f"{name}_order": found for name, found in orders.items()}, window_gradient=gradients["window"])
report.claim("a growing window alone orders peak layers", orders["window"].low > 0 and gradients["window"].low > 0)
report.claim("fading sound alone does not", orders["sound"].low < 0 < orders["sound"].high)
report.claim("nothing orders nothing", orders["nothing"].low < 0 < orders["nothing"].high)
report

# %% mystnb={"image": {"alt": "Four rank correlations of peak layer and distance with their intervals, one a row for what changes with distance in the cohort: layer, window, sound, nothing; a dashed line at zero."}}
frame = pd.DataFrame([*map(vars, orders.values())], ["layer grows", "window grows", "sound fades", "nothing changes"])
text = {"xlabel": "rank correlation of peak layer and distance", "title": "What changes with distance, virtual cohorts"}
report.figure("orders", plotting.forest(frame, **text))

# %% [markdown]
# *What to see:* each row is a cohort, with its rank correlation and 95 % interval over people; dashed: none. Where layers grow it is {glue:text}`layer_order`;
# where only sound fades, {glue:text}`sound_order`; with nothing, {glue:text}`nothing_order`. But where one layer drives every electrode and only the window
# grows, it still is {glue:text}`window_order`: probably as the earliest layers hold little context, so that they describe an electrode that follows one word
# nearly as well as the layer that drives it, once that layer has seen all words. There is a gradient, too ({glue:text}`window_gradient` layers in 100 mm); in
# the first cohort of this page, where both grow, the slope need not be that of the layers alone.
#
# ## What we have shown, and what not
#
# Peak layers recover a planted order, and understate it. **Peak layers at full context that rise with distance show that something rises; layers, or the words
# that an electrode keeps in mind.** With the context fixed at one value the two cannot be told apart; [chapter 5](05_context_horizon) does so, with a grid of
# layers and contexts. And we planted with the very model with which we then looked: what happens when the brain's code is in none of its layers is not shown.
#
# ## Exercises
#
# 1. Measure the order again, with Euclidean instead of geodesic distance. Which correlation is higher, and does that tell you which distance is right?
# 2. What would the interval be if electrodes were taken for independent samples?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The geodesic one, by {glue:text}`distance_gain` (Euclidean: {glue:text}`euclidean`); the interval excludes 0. The cohort was planted along geodesic
#    distance, so it wins by construction. In real data a higher correlation would favour one measure only if the interval of the *difference* excluded 0.
# 2. {glue:text}`over_electrodes`, beside {glue:text}`aligned` over people. These virtual people differ in nothing but noise and the places of electrodes. Real
#    people differ, and the electrodes of each lie together; then such an interval is too narrow.
# :::

# %% tags=["hide-cell"]
straight = electrodes["distance_pmc_euclidean"]
difference = alignment_difference(peak, distance, straight, subjects=person)
report.add(euclidean=alignment(peak, straight, subjects=person), distance_gain=difference)
report.add(over_electrodes=alignment(peak, distance))
report.claim("peak layers follow geodesic distance better than Euclidean distance", difference.low > 0)
report

# %% [markdown]
# ## What the paper found
#
# {cite:t}`mischler2024` report that peak layers grow with distance from Heschl's gyrus. In their analysis, as far as open sources tell, distance was Euclidean,
# electrodes were binned by distance and treated as independent, and principal components were computed from all words. Here distance is geodesic, people and
# not electrodes are the samples, and all weights, penalties and scalings are learned inside training folds.
