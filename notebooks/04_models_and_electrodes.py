# %% [markdown]
# # Layers and electrodes, without fitting
#
# Which layer of a model resembles which stretch of cortex? [Chapter 2](02_layer_alignment) fitted weights from layers to electrodes. CKA, which [the page
# before](04_converging_models) used for models, can compare a layer with *electrodes* just as well: both describe the same words, one by features, the other by
# responses. Here we see on the {term}`virtual cohort`, whose order was {term}`planted`, what it finds, and what chance is.
#
# :::{admonition} In this chapter
# **You will learn** how to compare layers with groups of electrodes without fitting anything; why the chance level of a *debiased* measure is not zero for
# words that follow each other; what the centre of a profile of layers adds to its peak; and what CKA can say about an order along cortex, and what not.
#
# **You need** [the page before](04_converging_models) and the electrodes of [chapter 1](01_listening_data). **It takes** about 12 minutes to read, two to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "virtual-clean"  # a virtual cohort with little noise; "virtual" has as much as people have
base: str = "smollm2-135m"  # the language model; it also drives the cohort
n_groups: int = 5  # groups of electrodes by distance
n_batches: int = 10  # minibatches of CKA
q: float = 0.05  # false discovery rate of the choice of electrodes
n_shifts: int = 200  # circular shifts of the responses
seed: int = 0  # of minibatches and shifts
device: str = "auto"  # where the model runs: "auto", "cpu" or "cuda"
results: str = "results/04_models_and_electrodes"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.features.language import layer_features
from brainalign.rsa import cka_matrix, cka_null, standardize

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Two sides
#
# One side of the comparison: every layer of the intact model, each feature brought to a standard deviation of 1, as on the page before. The other side: the
# electrodes that answer to speech at all, cut into {glue:text}`n_groups` groups of equal size by their distance from {term}`Heschl's gyrus`. A group's responses describe
# {glue:text}`n_words` words with one feature an electrode. Nothing is fitted, so there is nothing to cross-validate; the price is that no feature can be left out or
# weighted up. Minibatches are drawn from all words here, so that few are neighbours. Intervals come from leaving out one person at a time ({term}`jackknife`).

# %%
data = datasets.load_listening(dataset)
words = data.words
states = standardize(layer_features(words, base, start_token=True, device=device))
layers = states["layer"].values
stack = dict(zip(layers.tolist(), states.values, strict=True))
responsive = signals.speech_responsive(data.signal, words, q=q)["responsive"]
electrodes = data.channels[responsive & data.channels["distance_pmc"].notna()]
group = pd.qcut(electrodes["distance_pmc"], n_groups, labels=False).to_numpy()
person, people = electrodes["subject"].to_numpy(), electrodes["subject"].unique()
responses = standardize(data.responses.sel(channel=electrodes.index).to_numpy())
planted = data.truth.loc[electrodes.index, "layer"].groupby(group).mean()
report.add(n_groups=n_groups, n_words=len(words), n_electrodes=len(electrodes), n_people=len(people))
by_group = electrodes["distance_pmc"].groupby(group)
at, place = by_group.median(), by_group.median().round().astype(int)
groups = pd.DataFrame({"median distance (mm)": at, "electrodes": by_group.size(), "planted layer": planted})
groups.rename_axis("group").round(1)

# %%
whole = {f"group {k}": responses[:, group == k] for k in range(n_groups)}
reduced = {f"{k} less {one}": responses[:, (group == k) & (person != one)] for one in people for k in range(n_groups)}
settings = {"batch_size": -(-len(words) // n_batches), "seed": seed}
found = cka_matrix(stack, {**whole, **reduced}, **settings).values
profile, without = found[:, :n_groups], found[:, n_groups:].reshape(len(stack), len(people), n_groups)
without = without.swapaxes(0, 1)  # (person, layer, group)

# %% [markdown]
# ## Chance
#
# Debiased CKA is zero on average for unrelated descriptions if words are independent samples. They are not: neighbouring words share context in the model and
# time in the brain. So we shift the responses in a circle ({term}`circular shift`) within each passage, as in chapter 2. There everything had to be refitted;
# CKA fits nothing, so that shifting is enough. The p-value compares the best layer's CKA with the best layer's in each of {glue:text}`n_shifts` shifts.

# %%
shifts = stats.Shifts(n_shifts, min_shift=10, seed=seed).orders(len(words), words["passage"])
null = cka_null(stack, whole, shifts, **settings)
p, chance = stats.p_values(profile.max(0), null.max("representation").values), null.mean("draw").values
report.add(n_shifts=n_shifts, largest_p=p.max(), null_mean_high=chance.max(), top_cka=profile.max())
report.claim("in every group the best layer is beyond chance", p.max() <= 0.05)
report.claim("chance is above zero", chance.max() > 0)
report

# %% mystnb={"image": {"alt": "CKA by layer for five groups of electrodes, from the nearest to the farthest, bands over people for the nearest and the farthest, and a dashed line below which 95 percent of the best layers of shifts lie."}}
band, parts = stats.jackknife_interval(profile, without), []
for k, mm in enumerate(place):
    ends = {"low": band.low[:, k], "high": band.high[:, k]} if k in (0, n_groups - 1) else {}
    parts.append(pd.DataFrame({"layer": layers, "cka": profile[:, k], "distance": f"{mm} mm", **ends}))
bound = {"best layer of shifts (95 %)": float(null.max("representation").quantile(0.95, "draw").max())}
text = {"xlabel": "layer", "ylabel": "CKA", "title": f"Layers and groups of electrodes, {data.name}"}
report.figure("profiles", plotting.lines(pd.concat(parts), "layer", "cka", hue="distance", levels=bound, **text))

# %% [markdown]
# *What to see:* CKA by layer, a line a group ({glue:text}`n_electrodes` electrodes, {glue:text}`n_people` people in all), with 95 % intervals over people for
# the nearest and the farthest; dashed: what the best layer of shifts stays below in 95 %, in every group. In every group the best layer is beyond chance (p =
# {glue:text}`largest_p:.3f` at most). Shifts average up to {glue:text}`null_mean_high:.3f`, not zero: words are dependent.
#
# ## Where in the model does a group sit?
#
# Its best layer (its [peak layer](02_layer_order)) is one answer; where neighbouring layers nearly tie, it rests on little. Another, to which all layers add, is
# the *centre* of its profile: the mean layer, each weighted by what its CKA has over chance (the mean of the shifts).

# %%
excess = (np.stack([profile, *without]) - chance).clip(min=0)  # of everybody, and without each person
centre, best = (layers[:, None] * excess).sum(1) / excess.sum(1), layers[profile.argmax(0)]
centres = stats.jackknife_interval(centre[0], centre[1:])
step = stats.jackknife_interval(centre[0, -1] - centre[0, 0], centre[1:, -1] - centre[1:, 0])
report.add(near_centre=centres.value[0], far_centre=centres.value[-1], step=step, near_best=best[0], far_best=best[-1])
report.add(planted_step=planted.iloc[-1] - planted.iloc[0])
report.claim("farther groups sit in later layers", step.low > 0)
report.claim("centres shrink the planted order", step.high < report["planted_step"])
report

# %% mystnb={"image": {"alt": "Layer against distance from Heschl's gyrus for five groups of electrodes: the centre of each profile with its interval, the best layer, and the mean planted layer; a dashed line where a flat profile has its centre."}}
rows = {"centre of the profile": (centres.value, centres.low, centres.high)}
rows |= {"best layer": (best, best, best), "planted (mean)": (planted, planted, planted)}
flat, parts = {"flat profile": layers.mean()}, []
for k, (name, (value, low, high)) in enumerate(rows.items()):  # side by side, so that none hides another
    parts.append(pd.DataFrame({"mm": at + 1.2 * (k - 1), "layer": value, "low": low, "high": high, "which": name}))
text = {"xlabel": "distance from Heschl's gyrus (mm)", "ylabel": "layer", "title": f"Layer by distance, {data.name}"}
report.figure("centres", plotting.points(pd.concat(parts), "mm", "layer", hue="which", levels=flat, **text))

# %% [markdown]
# *What to see:* layer against distance (a group's points side by side); dashed: where a flat profile has its centre. Best layers run from
# {glue:text}`near_best` in the nearest group to {glue:text}`far_best` in the farthest, centres from {glue:text}`near_centre:.1f` to
# {glue:text}`far_centre:.1f`: a difference of {glue:text}`step` layers (95 % interval over people), where {glue:text}`planted_step:.0f` were planted. CKA sees
# an order without a single fitted weight, but centres shrink it, because profiles are broad.
#
# Heights are another matter. No CKA here exceeds {glue:text}`top_cka:.2f`: noise lowers it, and no ceiling corrects for it. **Compare layers within a group, not groups
# with each other.** And the cohort follows the very model that we compare it with: that CKA finds its order shows what the method can, nothing about people.
#
# ## Exercises
#
# 1. Repeat the comparison with raw features. What happens to the best layers?
# 2. Use plain instead of debiased CKA between layers and electrodes, on 100 and on 800 words drawn at random. Then take the *first* 100 words. What changes, and why?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. A layer that one feature rules (layer {glue:text}`ruled_layer`) falls behind in every group, whatever else it holds. The nearest group's best layer is
#    {glue:text}`raw_near` instead of {glue:text}`near_best`; those of the others move by {glue:text}`others_move` at most.
# 2. With few words plain CKA rises in every group: bias, not brains. Words in a row depend on each other: there debiased CKA is higher, too.
# :::

# %% tags=["hide-cell"]
raw_states, found = layer_features(words, base, start_token=True, device=device), {}
variance = raw_states.var("word")
ruled = int((variance.max("feature") / variance.sum("feature")).to_series().iloc[1:].idxmax())
raw = cka_matrix(list(raw_states.values), whole, **settings).values
report.claim("raw, a layer that one feature rules falls behind in every group", (raw[ruled] < profile[ruled]).all())
for kind, one in {"raw": raw, "standardized": profile}.items():
    found["best layer", kind], found[f"CKA at layer {ruled} (ruled)", kind] = layers[one.argmax(0)], one[ruled].round(2)
moved = abs(found["best layer", "raw"] - best)
report.add(ruled_layer=ruled, raw_near=found["best layer", "raw"][0], others_move=moved[1:].max())
at_random = np.random.default_rng(seed).permutation(len(words))
subsets = {"100 at random": at_random[:100], "800 at random": at_random[:800], "the first 100": np.arange(100)}
for label, some in subsets.items():
    xs, ys = [x[some] for x in stack.values()], {name: y[some] for name, y in whole.items()}
    for measure, debiased in (("plain", False), ("debiased", True)):
        found[label, measure] = cka_matrix(xs, ys, debiased=debiased).max("representation").values.round(2)
rises = found["100 at random", "plain"] > found["800 at random", "plain"]
report.claim("plain CKA of few words at random is higher in every group", rises.all())
debiased_higher = found["the first 100", "debiased"] > found["100 at random", "debiased"]
report.claim("debiased CKA is higher in one stretch of words than at random", debiased_higher.all())
pd.DataFrame(found, [f"{mm} mm" for mm in place]).astype(object).T
