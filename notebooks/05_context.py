# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How much context?
#
# A word means little by itself. Language models describe it in the light of the words before it, up to thousands of them, and
# {cite:t}`mischler2024` report that this is what makes them resemble the brain: with little context both the models' performance and
# their match with the cortex suffer, and the order of the cortex shows best with long contexts. In this chapter we take the
# context away, word by word, and watch what goes with it.
#
# :::{admonition} In this chapter
# **You will learn**
# how to give a model exactly so many words of context, for all lengths at once; what context does for its predictions, its features,
# and its fit to responses; how to estimate the context that an electrode needs, with its uncertainty, and how not to find one in noise;
# and how much context two real responses ask for: the N400 of 334 readers, and the blood response of 27 listeners.
#
# **You need** scores, peak layers and chance levels of chapter 2.
#
# **It takes** about 45 minutes to read, and two minutes to run on two cores once the features are computed (some ten more before).
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = "virtual"  # "virtual", "podcast" or a folder of your own recordings
dataset_options: dict = {}  # passed to datasets.load_listening
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
contexts: list = [1, 2, 4, 8, 16, None]  # words, the word included; None: all so far
n_depths: int = 4  # layers: the middles of so many equal parts of the model
n_splits: int = 5  # contiguous folds of the outer cross-validation
inner_splits: int = 2  # folds inside each training set that choose the penalty
gap: int = 5  # words left out between training and test words
n_shifts: int = 2  # refitted circular shifts of every electrode, for chance
n_stretches: int = 20  # contiguous stretches of words, for intervals
q: float = 0.05  # false discovery rate
seed: int = 0  # of shifts, draws and random layers
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
real_data: bool = True  # end with the EEG of 334 and the fMRI of 27 real people
n_boot: int = 1000  # bootstrap draws of readers and of sentences
bold_splits: int = 6  # folds of the fMRI analysis: blocks of two minutes
bold_gap: int = 10  # volumes (2 s each) left out between training and test
bold_skip: int = 10  # volumes left out at the start: the onset of the story
bold_shifts: int = 100  # refitted circular shifts of every region, for chance
bold_boot: int = 50  # bootstrap averages of people
bold_random: int = 4  # sets of random layers to compare with

# %% tags=["hide-input", "remove-stderr"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from myst_nb import glue

from brainalign import datasets, plotting, signals, stats
from brainalign.assets import AssetError
from brainalign.context import context_horizon
from brainalign.datasets.alice import by_person, split_averages, with_averages
from brainalign.datasets.n400 import before_noun, n400_trials
from brainalign.encoding import cross_validate, shift_null
from brainalign.features.language import (
    context_features,
    n_layers,
    surprisal,
    word_predictions,
)
from brainalign.hierarchy import alignment, mean_over_people, peak_layer
from brainalign.similarity import cka_matrix

plotting.use_style()
_ = xr.set_options(display_expand_data=False, display_expand_attrs=False)
BLUE, ORANGE, GREEN, GRAY = (
    plotting.COLORS[name] for name in ("blue", "orange", "green", "gray")
)
SHADES = plt.get_cmap(plotting.SEQUENTIAL)(np.linspace(0, 0.85, n_depths))

# %% tags=["hide-output"]
data = datasets.load_listening(dataset, **dataset_options)
words, title = data.words, data.name.capitalize()
data

# %% [markdown]
# ## Exactly so many words
#
# *Context* ({term}`context`) is counted in words here, not in tokens ({term}`token`), and includes the word itself: with a context of 1 the model sees the word
# and nothing else, with 4 the word and the three before it, with "all" everything since the passage began. To get the features of
# every word with a context of 4, one would run the model on four words at a time, once for every word of the text; for other lengths again.
#
# There is a shortcut, and it is exact. A {term}`causal language model` never looks ahead, so in a window of 16 words the first word is
# described with a context of 1, the second with a context of 2, and so on. One window of 16 words that starts at each word of
# the text therefore gives *all* context lengths up to 16. `context_features` does this. As in chapter 2, every window begins
# with the "new text" token ({term}`attention sink`), which matters more the shorter the window is.
#
# The same windows tell how well the model predicts each word: its {term}`surprisal`. With a context of 4 a word is predicted from the
# three words before it, with a context of 1 from nothing. A stretch of the transcript:

# %%
# `None`, all words so far, is the longest; results call it inf
contexts = sorted(contexts, key=lambda c: np.inf if c is None else c)
labels = ["all" if c is None else str(c) for c in contexts]
steps = np.arange(len(contexts))
predicted = word_predictions(
    words, model, context=contexts, start_token=True, device=device
)
bits = predicted["bits"]
shown = slice(20, 32)
stretch_bits = bits[:, shown].T.values.astype(float)
pd.DataFrame(stretch_bits, index=words["word"][shown].to_numpy(), columns=labels).round(
    1
)

# %% [markdown]
# Each row is a word, each column a context length, each number the surprisal in bits. The first number, {glue:text}`bits_first` bits, means that
# the model gave the word one chance in 2 to the power of {glue:text}`bits_first`.
#
# ## What context does for the model
#
# Averaged over all words, surprisal measures a model's performance: the bits it needs to write down the text, word by word. Fewer are
# better. A second measure is how often the word that came is among the ten that the model held most likely. To see how far
# other words would have changed the means, we cut the text into {glue:text}`n_stretches` stretches and draw stretches with
# replacement ({term}`bootstrap`).

# %%
stretch = np.arange(len(words)) * n_stretches // len(words)
among_ten = 100 * (predicted["rank"] <= 10)
performance = {
    "surprisal (bits per word)": bits.T.values,
    "top ten (% of words)": among_ten.T.values,
}
performance = {
    name: stats.bootstrap_ci(values, n_resamples=500, clusters=stretch, seed=seed)
    for name, values in performance.items()
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels over context length: surprisal falls, and the share of words among the ten most likely rises, steeply for the first few words of context and more slowly after."}}
figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.2))
for axis, (name, interval) in zip(axes, performance.items(), strict=True):
    plotting.with_band(axis, steps, *interval, color=BLUE, marker="o")
    axis.set(xlabel="context (words)", ylabel=name)
    axis.set_xticks(steps, labels)
axes[1].axhline(0, color="k", ls="--", lw=0.8)
axes[1].text(steps[-1], 0.4, "chance", ha="right", fontsize=8)
figure.suptitle(
    f"How well {model} predicts the words, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["remove-cell"]
surprise, hits = performance.values()
glue("bits_first", f"{float(bits[0, shown][0]):.1f}", display=False)
glue("n_stretches", n_stretches, display=False)
for name, interval in (("bits", surprise), ("hits", hits)):
    for end, at in (("one", 0), ("all", -1)):
        for part in ("estimate", "low", "high"):
            value = f"{getattr(interval, part)[at]:.1f}"
            glue(f"{name}_{end}_{part}", value, display=False)
hits_alone = int((predicted["rank"][0] <= 10).sum())
glue("n_hits_one", hits_alone or "none", display=False)
glue("n_words", f"{len(words):,}", display=False)
saved = surprise.estimate[0] - surprise.estimate
glue("half_context", labels[int(np.argmax(saved >= saved[-1] / 2))], display=False)

# %% [markdown]
# *What to see:* mean and 95 % interval over stretches of the text. From a context of one word to all of them, surprisal goes from
# {glue:text}`bits_one_estimate` ({glue:text}`bits_one_low` to {glue:text}`bits_one_high`) to {glue:text}`bits_all_estimate` bits per word
# ({glue:text}`bits_all_low` to {glue:text}`bits_all_high`), and the share of words among the ten most likely from
# {glue:text}`hits_one_estimate` ({glue:text}`hits_one_low` to {glue:text}`hits_one_high`) to {glue:text}`hits_all_estimate` %
# ({glue:text}`hits_all_low` to {glue:text}`hits_all_high`). Half of the saving is there with a context of {glue:text}`half_context`.
# (Chance, ten tokens at random out of tens of thousands, is all but zero.) Without any words before it, the model expects what documents begin with:
# of the {glue:text}`n_words` words, {glue:text}`n_hits_one` are among its ten.
#
# ## What context does for the features
#
# If early layers describe the word and late layers its context, then taking context away should change late layers more. We
# compare the features of each layer with limited and with full context by {term}`centred kernel alignment` (chapter 4): 1 where the
# geometry of the words is the same, 0 where nothing is shared. The debiased version is used, in every stretch of the text by
# itself, and features are z-scored first, so that a few large ones do not rule. We take {glue:text}`n_depths` layers here, the middles
# of as many equal parts of the model, to keep the chapter quick.

# %%
depth = n_layers(model)
layers = np.unique(np.round((np.arange(n_depths) + 0.5) / n_depths * depth).astype(int))
states = context_features(
    words, model, contexts, layers=layers, start_token=True, device=device
)

# %%
same = np.empty((n_stretches, len(layers), len(contexts)))
for k in range(len(layers)):
    at_layer = states[:, k]
    scaled = ((at_layer - at_layer.mean("word")) / at_layer.std("word")).values
    for part in range(n_stretches):
        within = scaled[:, stretch == part]
        same[part, k] = cka_matrix(within, within[-1:]).values[:, 0]
likeness = stats.bootstrap_ci(same, n_resamples=500, method="percentile", seed=seed)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Similarity of limited-context to full-context features by context length, one line a layer: all lines rise to one; later layers start lower."}}
figure, axis = plt.subplots(figsize=(6.4, 3.4))
for k, (layer, color) in enumerate(zip(layers, SHADES, strict=True)):
    line = [part[k] for part in likeness]
    plotting.with_band(
        axis, steps, *line, color=color, marker="o", ms=4, label=f"layer {layer}"
    )
axis.axhline(0, color="k", ls="--", lw=0.8)
axis.text(steps[0], 0.02, "nothing shared", fontsize=8)
axis.set(xlabel="context (words)", ylabel="CKA with full context", ylim=(-0.05, 1.02))
axis.set_xticks(steps, labels)
axis.set_title(f"Features with limited and with full context, {data.name}", fontsize=10)
axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.06))
plt.show()

# %% tags=["remove-cell"]
glue("n_depths", len(layers), display=False)
glue("first_layer", int(layers[0]), display=False)
glue("last_layer", int(layers[-1]), display=False)
glue("cka_first", f"{likeness.estimate[0, 0]:.2f}", display=False)
glue("cka_last", f"{likeness.estimate[-1, 0]:.2f}", display=False)
alone = likeness.estimate[:, 0]
glue("cka_least_layer", int(layers[alone.argmin()]), display=False)
glue("cka_least", f"{alone.min():.2f}", display=False)
in_order = "" if (np.diff(alone) < 0).all() else "not "
glue("cka_in_order", f"is {in_order}in the order of the layers", display=False)

# %% [markdown]
# *What to see:* mean and 95 % interval over stretches. With a context of one word, the first of our layers, {glue:text}`first_layer`, keeps
# {glue:text}`cka_first` of its geometry, the last, {glue:text}`last_layer`, {glue:text}`cka_last`. Layer {glue:text}`cka_least_layer` keeps least,
# {glue:text}`cka_least`: how much a layer changes {glue:text}`cka_in_order`. Any statement that an electrode "needs context" is therefore tied to the
# layers we look at.
#
# ## What context does for the score
#
# Now to the responses. Every layer with every context length predicts every electrode, as in chapter 2, and the score of a context is
# that of its best layer. For chance, {glue:text}`n_shifts` circular shifts of each electrode ({term}`circular shift`) go through the same fits, with
# full context. Electrodes are selected by their answer to speech as such (chapter 1), which looks at no model.

# %% tags=["remove-stderr"]
try:
    responsive = signals.speech_responsive(data.signal, words, q=q)["responsive"]
except (ValueError, AttributeError) as error:
    responsive = pd.Series(True, index=data.channels.index)
    print("All channels are taken:", error)
chosen = responsive.to_numpy() & data.channels["distance_pmc"].notna().to_numpy()
electrodes = data.channels[chosen]
fitted = pd.Series(chosen, index=data.channels.index)
if data.truth is not None:  # empty ones are kept to see what noise gives
    fitted |= data.truth["kind"] == "empty"
people = electrodes["subject"]
if people.nunique() < 3:
    print("Fewer than three people: intervals are over electrodes, not people.")
    people = electrodes.index.to_series()
print(f"{len(electrodes)} electrodes, {int(fitted.sum())} channels fitted")

# %%
responses = data.responses.sel(channel=fitted.to_numpy())
folds = {
    "groups": words["passage"].to_numpy(),
    "n_splits": n_splits,
    "inner_splits": inner_splits,
    "gap": gap,
    "alphas": np.logspace(0, 7, 8),
    "device": device,
}
sweep = states.stack(sweep=("context", "layer"))
fit = cross_validate(sweep, responses, return_predictions=True, **folds)
fit = fit.unstack("sweep")
null = shift_null(
    states[-1], responses, n_shifts=n_shifts, min_shift=10, seed=seed, **folds
)
chance = float(null.quantile(0.95))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Score by context length for three bands of distance: near electrodes are predicted best with one or two words, far electrodes better the longer the context; chance is far below."}}
by_context = fit["score"].max("layer").transpose("channel", "context")
edges = [-1, 35, 70, np.inf]
bands = pd.cut(
    electrodes["distance_pmc"],
    edges,
    labels=["0 to 35 mm", "35 to 70 mm", "beyond 70 mm"],
)
figure, axis = plt.subplots(figsize=(6.4, 3.6))
band_scores = {}
for band, color in zip(bands.cat.categories, (BLUE, ORANGE, GREEN), strict=True):
    inside = bands.index[bands == band]
    if people[inside].nunique() < 3:
        continue
    values = by_context.sel(channel=inside).values
    found = mean_over_people(values, people[inside])
    band_scores[band] = found.mean
    label = f"{band} ({len(inside)})"
    line = found.mean, found.low, found.high
    plotting.with_band(axis, steps, *line, color=color, marker="o", ms=4, label=label)
axis.axhline(chance, color="k", ls="--", lw=0.8)
axis.text(0, chance, "chance (95 %)", va="bottom", fontsize=8)
axis.set(xlabel="context (words)", ylabel="score of the best layer (Pearson r)")
axis.set(ylim=(min(0, chance), None))
axis.set_xticks(steps, labels)
axis.set_title(f"Score and context by distance, {data.name}")
axis.legend(title="distance (electrodes)", fontsize=8, loc=(0.66, 0.1))
plt.show()

# %% tags=["remove-cell"]
NOTHING = "(no such electrodes in this data set)"
glue("n_shifts", n_shifts, display=False)
glue("n_electrodes", len(electrodes), display=False)
glue("chance", f"{chance:.2f}", display=False)
for name, band in (("near", "0 to 35 mm"), ("far", "beyond 70 mm")):
    line = band_scores.get(band)
    for end, at in (("one", 0), ("all", -1)):
        value = NOTHING if line is None else f"{line[at]:.2f}"
        glue(f"{name}_{end}", value, display=False)
    value = NOTHING if line is None else labels[int(np.argmax(line))]
    glue(f"{name}_best", value, display=False)

# %% [markdown]
# *What to see:* mean over {glue:text}`n_electrodes` electrodes that answer to speech, with 95 % intervals over people. Within 35 mm of Heschl's
# gyrus the score goes from {glue:text}`near_one` with one word to {glue:text}`near_all` with all, and is highest at a context of
# {glue:text}`near_best`; beyond 70 mm it goes from {glue:text}`far_one` to {glue:text}`far_all` and is highest at {glue:text}`far_best`.
# Chance stays below {glue:text}`chance` in 95 of 100 shifts.
#
# In the {term}`virtual cohort` this is so by construction: near electrodes were {term}`planted` with the features of one word, far ones with those of all
# words so far, and the steps between in fifths of the hierarchy (1, 2, 4, 8, all). A context that is longer than the planted one
# predicts *worse* there, because it changes the features. In a real brain the fall on the right need not exist: a longer context
# might simply stop helping.
#
# ## The context an electrode needs
#
# So there are two readings of the context an electrode needs, its {term}`context horizon`. `best` is the context with the highest score. `enough` is the shortest context that is not clearly
# worse than the best, the right question where scores level off. Both are noisy, and whether an electrode needs context *at all* has to
# be tested.
#
# `context_horizon` answers with one tool, the {term}`jackknife`: leave out one of {glue:text}`n_stretches` stretches of words at a time, choose the best
# layer again for each context, and see how much the scores and their differences vary. "Not clearly worse" is no more than one {term}`standard error` below the best, a rule of thumb from statistics {cite:p}`breiman1984`. The interval of `best` comes from drawing scores around the observed ones and noting the
# best context each time. And the test asks whether any longer context predicts better than one word, corrected for the number
# of contexts tried {cite:p}`simes1986`.
#
# There is a trap. Each fold is predicted from weights that were fitted to the *other* folds, so that folds share their data and their
# scores vary together. A plain jackknife does not see this and is too sure: in pure noise it calls one difference in eight significant
# instead of one in twenty. `context_horizon` multiplies its variance by $1 + k/(k-1)$ for $k$ folds
# {cite:p}`nadeau2003`; whether that is enough, the empty electrodes below will show.

# %%
horizon = context_horizon(
    fit["prediction"], responses, n_splits=n_splits, n_blocks=n_stretches, seed=seed
)
needs = horizon.sel(channel=electrodes.index)
helped, _ = stats.fdr(needs["p"], q)
# no claim without evidence: one word, unless more is shown to help
needed = needs["best"].where(helped, float(needs["context"][0]))
order = np.searchsorted(horizon["context"], needed)
by_distance = alignment(order, electrodes["distance_pmc"], clusters=people)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: heat map of scores by context, one line an electrode ordered by distance; the brightest cell moves to longer contexts with distance. Right: the context each electrode needs with its interval against distance, rising, with planted values behind."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.9), width_ratios=(1, 1.2))
relative = (needs["score"] / needs["score"].max("context")).T.values.clip(0.4, 1)
plotting.layer_heatmap(
    left,
    relative,
    electrodes["distance_pmc"],
    label="score / best (cut at 0.4)",
    row_label="electrodes by distance (mm)",
)
left.set_xlabel("context (words)")
left.set_xticks(steps, labels)
left.set_title("Score by context")
reach = [np.searchsorted(horizon["context"], needs[end]) for end in ("low", "high")]
nudge = 0.25 * np.random.default_rng(seed).uniform(-1, 1, len(order))
right.vlines(
    electrodes["distance_pmc"], *(end + nudge for end in reach), color=BLUE, lw=0.6
)
right.scatter(
    electrodes["distance_pmc"],
    order + nudge,
    s=16,
    c=np.where(helped, BLUE, "white"),
    edgecolor=BLUE,
    label="recovered (open: no gain shown)",
)
if data.truth is not None:
    planted = data.truth.loc[electrodes.index, "context"]
    placed = planted.notna().to_numpy()
    right.scatter(
        electrodes["distance_pmc"][placed],
        np.searchsorted(horizon["context"], planted[placed]),
        s=10,
        color=ORANGE,
        zorder=3,
        label="planted",
    )
right.set(xlabel="geodesic distance from Heschl's gyrus (mm)", ylim=(-0.6, None))
right.set(ylabel="context needed (words)")
right.set_yticks(steps, labels)
right.set_title(f"Context and distance (Spearman {by_distance.r:.2f})")
right.legend(fontsize=8, loc="upper left")
right.set_ylim(-0.6, len(steps) + 0.3)
figure.suptitle(title, fontweight="bold", x=0.01, ha="left")
plt.show()

# %% tags=["remove-cell"]
NOT_PLANTED = "(unknown: nothing was planted here)"
names = ["recovery", "enough_recovery", "covered"]
names += ["n_language", "n_empty", "empty_rate", "n_empty_helped", "empty_width"]
names += ["n_right", "n_enough", "one_context", "how_easy", "n_unmarked"]
values = [NOT_PLANTED] * len(names)
if data.truth is not None:
    kind = data.truth["kind"]
    language = (kind[electrodes.index] == "language").to_numpy()
    planted_step = np.searchsorted(horizon["context"], planted[language])
if data.truth is not None and language.any():
    rank = {
        name: np.searchsorted(horizon["context"], needs[name].values[language])
        for name in ("best", "enough", "low", "high")
    }
    truth_people = people[language]
    recovery = alignment(order[language], planted_step, clusters=truth_people)
    enough = alignment(rank["enough"], planted_step, clusters=truth_people)
    inside = (rank["low"] <= planted_step) & (planted_step <= rank["high"])
    empty = horizon.sel(channel=kind.index[kind == "empty"])
    wide = (empty["high"] > empty["low"]).mean()
    values = [f"{recovery.r:.2f}", f"{enough.r:.2f}"]
    values += [f"{100 * inside.mean():.0f}", int(language.sum())]
    values += [empty.sizes["channel"], f"{100 * float((empty['p'] <= q).mean()):.0f}"]
    values += [int(stats.fdr(empty["p"], q)[0].sum()), f"{100 * float(wide):.0f}"]
    right_best, right_enough = (
        int((rank[name] == planted_step).sum()) for name in ("best", "enough")
    )
    values += [right_best, right_enough]
    values += [f"{100 * np.mean(rank['low'] == rank['high']):.0f}"]
    easy = right_best > 0.95 * language.sum()
    values += ["easy" if easy else "not easy", int((~placed).sum())]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)
glue("q_percent", f"{100 * q:g}", display=False)
glue("n_helped", int(helped.sum()), display=False)
for part in ("r", "low", "high"):
    glue(f"distance_{part}", f"{getattr(by_distance, part):.2f}", display=False)
glue("n_people", by_distance.n_clusters, display=False)

# %% [markdown]
# *What to see:* left, each electrode's scores divided by its best one. Right, the context that each electrode needs, with its 95 % interval (a
# vertical line, unless the interval is a single context) and a little vertical scatter so that points do not hide each other; open circles are electrodes for which no context
# beyond one word is shown to help ({term}`false discovery rate` {glue:text}`q_percent` %). More than one word is shown to help in
# {glue:text}`n_helped` of {glue:text}`n_electrodes` electrodes, and the context needed grows with distance: rank correlation
# {glue:text}`distance_r`, 95 % interval over {glue:text}`n_people` people {glue:text}`distance_low` to {glue:text}`distance_high`.
#
# **Against the truth.** `best` is the planted context in {glue:text}`n_right` of {glue:text}`n_language` language electrodes (rank correlation
# {glue:text}`recovery`), `enough` in {glue:text}`n_enough` ({glue:text}`enough_recovery`); {glue:text}`covered` % of the intervals of `best` hold the truth, and
# {glue:text}`one_context` % are a single context. With responses this clean the task is {glue:text}`how_easy`. Exercise 1 makes it harder, with
# rank correlations of {glue:text}`noisy_best` and {glue:text}`noisy_enough`; what the intervals and the two readings are worth shows there. Electrodes without an orange mark
# ({glue:text}`n_unmarked`; the odd rows on the left) hold nothing and passed the selection by chance.
#
# And noise? Of the {glue:text}`n_empty` electrodes that hold nothing, {glue:text}`empty_rate` % have a p-value of {glue:text}`q_percent` % or less,
# {glue:text}`n_empty_helped` of them after the correction for their number, and in {glue:text}`empty_width` % the interval spans more than one context:
# no horizon is claimed where there is none.
#
# ## Context and the order of layers
#
# Chapter 2 found that peak layers grow with distance. Does that need context? We take the {term}`peak layer` of each electrode again, for each
# context length, and correlate it with distance.

# %%
orders = []
for context in horizon["context"].values:
    score = fit["score"].sel(context=context, channel=electrodes.index)
    peak = peak_layer(score.transpose("layer", "channel"))
    orders.append(alignment(peak, electrodes["distance_pmc"], clusters=people))
orders = pd.DataFrame(orders, index=labels)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Spearman correlation of peak layer with distance for each context length, with 95 percent intervals over people and a dashed line at zero."}}
figure, axis = plt.subplots(figsize=(5.6, 3.2))
line = orders["r"], orders["low"], orders["high"]
plotting.with_band(axis, steps, *line, color=BLUE, marker="o")
axis.axhline(0, color="k", ls="--", lw=0.8)
axis.text(steps[-1], 0.02, "no order", ha="right", fontsize=8)
axis.set(xlabel="context (words)", ylabel="peak layer and distance\n(Spearman)")
axis.set_xticks(steps, labels)
axis.set_title(f"Order of layers by context, {data.name}")
plt.show()

# %% tags=["remove-cell"]
glue("order_one", f"{orders['r'].iloc[0]:.2f}", display=False)
glue("order_all", f"{orders['r'].iloc[-1]:.2f}", display=False)
outside = ~orders["r"].between(orders["low"].iloc[-1], orders["high"].iloc[-1])
settled = np.flatnonzero(outside)[-1] + 1 if outside.any() else 0
glue("order_settled", labels[settled], display=False)
for end, at in (("one", 0), ("all", -1)):
    low, high = orders["low"].iloc[at], orders["high"].iloc[at]
    glue(f"order_{end}_interval", f"{low:.2f} to {high:.2f}", display=False)

# %% [markdown]
# *What to see:* the correlation of peak layer and distance with its 95 % interval over people; {glue:text}`order_one`
# ({glue:text}`order_one_interval`) with one word, {glue:text}`order_all` ({glue:text}`order_all_interval`) with all, and within the latter interval from a context of
# {glue:text}`order_settled` on. With only {glue:text}`n_depths` layers the peak is coarse. In the virtual cohort layer and context were planted
# along the same distance, so that an order of layers is there to find with every context that still tells layers apart. The cohort
# therefore cannot say whether *brains* show their order with long contexts only, as the study reports; it shows that the curve can be
# measured, and what its uncertainty is.
#
# ## Real people: one noun, 334 readers
#
# A word that comes unexpectedly evokes a larger {term}`N400`: a dip of the voltage at the scalp about 400 ms after its onset {cite:p}`kutas1980`.
# {cite:t}`nieuwland2018` recorded it in 334 people who read sentences word by word, at one noun in each sentence. Other people had completed
# the sentences, and the share who chose the noun is its {term}`cloze probability`, the classical measure of expectation.
#
# How many words before the noun does a model need, for its surprisal to follow the N400? Mind the sign: the N400 is a *negative* voltage. A larger
# N400 is a lower number, so surprisal should correlate *negatively* with the voltage, and cloze positively.

# %%
try:
    readers = datasets.load_listening("n400") if real_data else None
except AssetError as error:
    readers = None
    print("This section has no results: the data could not be had.")
    print(error)

# %% [markdown]
# Each sentence is cut to the last words up to its noun, so that the model sees exactly that. Two words, for instance, are the
# article and the noun.

# %%
if readers is not None:
    at_noun = {}
    for context, label in zip(contexts, labels, strict=True):
        part = before_noun(readers.words, context)
        part_bits = surprisal(part, model, start_token=True, device=device).values
        at_noun[label] = part_bits[part["is_noun"]]
    nouns = readers.words[readers.words["is_noun"]]
    predictors = pd.DataFrame(at_noun).set_index(nouns["passage"])
    predictors["cloze"] = nouns["cloze"].to_numpy()
    trials = n400_trials(readers)
predictors.corr().round(2) if readers is not None else None

# %% [markdown]
# The table shows how the predictors correlate with each other over the sentences; the columns are context lengths. We relate them to the voltage in two ways.
#
# **Sentence means.** Voltages are centred within each person and averaged over the people who read the sentence. A correlation over
# sentences then has two kinds of uncertainty, which people happened to read and which sentences were written. We bootstrap both:
# people; and items ({term}`item`), each of which has two sentences that differ in the noun. From how well two random halves of the people agree we
# compute the highest correlation that any predictor could reach, the {term}`noise ceiling` {cite:p}`spearman1910,brown1910`.
#
# **Single trials.** A {term}`mixed model` predicts every trial from the surprisal, with a slope of its own for each
# person, and with offsets of their own for each person, each item and each sentence {cite:p}`baayen2008`. Sentences are few, and surprisal belongs to
# the sentence: without those offsets, thousands of trials would pretend to be thousands of observations.

# %%
if readers is not None:
    centred = trials["n400"] - trials.groupby("subject")["n400"].transform("mean")
    table = trials.assign(voltage=centred).pivot(
        index="passage", columns="subject", values="voltage"
    )
    table = table.loc[predictors.index]
    read, voltage = table.notna().to_numpy(float), table.fillna(0).to_numpy()
    items = nouns["item"].to_numpy()
    rng = np.random.default_rng(seed)

    def correlations(weights, rows=slice(None)):
        """Of each predictor with the sentence means over people with these weights."""
        means = (voltage[rows] @ weights) / (read[rows] @ weights)
        columns = np.column_stack([means, predictors.to_numpy()[rows]])
        return np.corrcoef(columns.T)[0, 1:]

    everyone = np.ones(table.shape[1])
    sentence_r = correlations(everyone)
    over_people = [
        correlations(
            np.bincount(
                rng.integers(len(everyone), size=len(everyone)), minlength=len(everyone)
            )
        )
        for _ in range(n_boot)
    ]
    of_item = [np.flatnonzero(items == item) for item in np.unique(items)]
    over_items = [
        correlations(
            everyone,
            np.concatenate(
                [of_item[k] for k in rng.integers(len(of_item), size=len(of_item))]
            ),
        )
        for _ in range(n_boot)
    ]
    halves = []
    for _ in range(50):
        half = rng.permutation(len(everyone)) % 2
        halves.append([voltage @ part / (read @ part) for part in (half, 1 - half)])
    halves = xr.DataArray(np.array(halves), dims=("split", "repeat", "word"))
    agreement = stats.noise_ceiling(halves.transpose("repeat", "word", "split"))
    ceiling = float(agreement["ceiling"].mean())

# %%
if readers is not None:
    scaled = predictors / predictors.std()
    rows = trials.drop(columns="cloze").join(scaled, on="passage")
    slopes = []
    for name in predictors:
        groups = {"subject": [name], "item": [], "passage": []}
        single = stats.mixed_model(rows, "n400", [name], groups=groups)
        slopes.append(single.coefficients.loc[name])
    slopes = pd.DataFrame(slopes)
    groups = {"subject": ["cloze", labels[-1]], "item": [], "passage": []}
    both = stats.mixed_model(rows, "n400", ["cloze", labels[-1]], groups=groups)
    both = both.coefficients.drop("intercept")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: correlation of surprisal with the N400 over sentence means by context length, with intervals over people and over items, falling from above zero at one word to below zero at full context; cloze at the right, and the noise ceiling. Right: slopes of the mixed model with intervals, the same picture."}}
if readers is not None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.8))
    places = np.append(steps, len(steps) + 0.5)
    for draws, shift, color, label in (
        (over_people, -0.1, BLUE, "95 % over people"),
        (over_items, 0.1, ORANGE, "95 % over items"),
    ):
        reach = 1.96 * np.std(draws, axis=0)
        style = {"fmt": "o", "ms": 4, "color": color, "label": label}
        left.errorbar(places + shift, sentence_r, reach, **style)
    for sign in (-1, 1):
        left.axhline(sign * ceiling, color=GRAY, ls=":", lw=1)
    left.text(0, ceiling - 0.02, "noise ceiling", va="top", fontsize=8)
    left.set(ylabel="correlation over sentences (r)", ylim=(-1, 1))
    left.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.06))
    left.set_title("Sentence means")
    reach = slopes[["low", "high"]].sub(slopes["estimate"], axis=0).abs().T.to_numpy()
    style = {"fmt": "o", "ms": 4, "color": GREEN}
    right.errorbar(places, slopes["estimate"], reach, **style)
    right.set(ylabel="slope (microvolt per s.d. of the predictor)")
    right.set_title("Single trials, mixed model")
    for axis in (left, right):
        axis.axhline(0, color="k", ls="--", lw=0.8)
        axis.axvline(len(steps) - 0.25, color=GRAY, lw=0.6)
        axis.set_xticks(places, [*labels, "cloze"])
        axis.set_xlabel("surprisal, by context (words)")
    figure.suptitle(
        f"Real EEG (N400), {len(everyone)} people, {len(table)} sentences",
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    plt.show()

# %% tags=["remove-cell"]
NO_DATA = "(no data in this build)"
names = ["n_readers", "n_sentences", "n_trials", "n_dropped", "n400_ceiling"]
names += ["n400_first", "beyond_bits", "beyond_bits_interval", "beyond_cloze"]
names += ["beyond_cloze_interval", "beyond_verdict", "cloze_verdict", "one_verdict"]
names += ["one_reading", "n400_wider"]
values = [NO_DATA] * len(names)


def clearly(low, high):
    """What an interval says about the sign."""
    return (
        "above zero" if low > 0 else "below zero" if high < 0 else "not clear of zero"
    )


if readers is not None:
    dropped = readers.responses.attrs
    n_dropped = dropped["dropped_doubled"] + dropped["dropped_without_text"]
    values = [len(everyone), len(table), f"{len(trials):,}"]
    values += [f"{n_dropped:,}", f"{ceiling:.2f}"]
    errors = [1.96 * np.std(draws, axis=0) for draws in (over_people, over_items)]
    widest = np.maximum(*errors)
    below = np.flatnonzero((sentence_r + widest)[: len(contexts)] < 0)
    values.append(labels[below[0]] if len(below) else "none of them")
    for name in (labels[-1], "cloze"):
        row = both.loc[name]
        values += [
            f"{row['estimate']:+.2f}",
            f"{row['low']:+.2f} to {row['high']:+.2f}",
        ]
    for name in (labels[-1], "cloze"):
        values.append(clearly(*both.loc[name, ["low", "high"]]))
    verdict = clearly(sentence_r[0] - widest[0], sentence_r[0] + widest[0])
    expected = "A larger N400, a lower voltage, would be expected of rare nouns:"
    readings = {
        "above zero": "here the sign is the reverse, and neither interval includes zero. "
        "We have no explanation and draw no conclusion from it.",
        "below zero": "this is what we see.",
    }
    neither = "whether they have is not clear here."
    values.append(verdict)
    values.append(f"{expected} {readings.get(verdict, neither)}")
    values.append("people" if errors[0].mean() > errors[1].mean() else "items")
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* left, correlations over {glue:text}`n_sentences` sentence means of {glue:text}`n_readers` people; right, slopes of the mixed models over
# {glue:text}`n_trials` single trials ({glue:text}`n_dropped` rows of the packaged table are defective and were left out). Dashed: no relation. The shortest
# context at which both intervals on the left lie below zero is {glue:text}`n400_first`; {glue:text}`n400_ceiling` is the highest correlation possible.

# %% tags=["hide-input"]
if readers is not None:
    ends = {"surprisal, one word": 0, "surprisal, all context": len(contexts) - 1}
    summary = {}
    for name, at in (ends | {"cloze": len(contexts)}).items():
        middle, row = sentence_r[at], slopes.iloc[at]
        summary[name] = [f"{middle:+.2f}"]
        summary[name] += [
            f"{middle - e[at]:+.2f} to {middle + e[at]:+.2f}" for e in errors
        ]
        reach = f"({row['low']:+.2f} to {row['high']:+.2f})"
        summary[name].append(f"{row['estimate']:+.2f} {reach}")
    summary = pd.DataFrame(summary).T
    summary.columns = [
        "r",
        "95 % over people",
        "95 % over items",
        "slope (µV per s.d.)",
    ]
summary if readers is not None else None

# %% [markdown]
# The wider intervals are those over {glue:text}`n400_wider`: more of these would help most. Given the noun alone, the correlation is {glue:text}`one_verdict`. Such surprisal says little else than
# how rare and how long the noun is. {glue:text}`one_reading`
#
# **Beyond cloze.** With both in one model, surprisal with all context has a slope of {glue:text}`beyond_bits`
# ({glue:text}`beyond_bits_interval`), {glue:text}`beyond_verdict`, and cloze of {glue:text}`beyond_cloze` ({glue:text}`beyond_cloze_interval`),
# {glue:text}`cloze_verdict`. A small model sets no bound here: for three larger ones {cite:t}`michaelov2023` report a closer match with the N400 than
# that of people's own predictions.
#
# ## Real people: a story, 27 listeners
#
# The N400 is about one noun and a sentence. For longer contexts we turn to the listeners of chapter 2: the gain of a layer over word rate and
# word length in six regions, now with limited context. Settings are as in chapter 2, only coarser to be quick: {glue:text}`n_depths` layers, penalties
# in steps of ten, {glue:text}`bold_random` sets of as many *random layers*, and {glue:text}`bold_shifts` shifted surrogates ({term}`surrogate`), the same ones for each
# context, so that they also tell how far two contexts differ by chance.
#
# The score of a context is again that of its best layer, picked in each person and region. Luck in the picking lifts all of these gains, unlike those of
# chapter 2, where one layer was taken for all. Zero is therefore no reference; random layers, picked in the same way, are. As they are independent, they profit
# more from picking than layers of one model, which are alike: the comparison is strict. With {glue:text}`bold_random` draws, lying beyond all of them is a p of
# {glue:text}`random_least_p` at best: a rough guide, not a test.

# %%
try:
    alice = datasets.load_listening("alice") if real_data else None
except AssetError as error:
    alice = None
    print("This section has no results: the data could not be had.")
    print(error)

# %% tags=["hide-input"]
if alice is not None:
    letters = alice.words["word"].str.len().to_numpy(float)
    counted = np.column_stack([np.ones(len(letters)), letters])
    heard = context_features(
        alice.words, model, contexts, layers=layers, start_token=True, device=device
    )
    random_words = np.random.default_rng(seed).standard_normal(
        (bold_random, *heard.shape[1:]), dtype="float32"
    )
    random_sets = xr.DataArray(
        random_words,
        dims=heard.dims,
        coords={"context": -np.arange(1.0, bold_random + 1), "layer": layers},
    )

    rate, described = (
        signals.word_regressors(values, alice.words, alice.signal["time"]).isel(
            time=slice(bold_skip, None)
        )
        for values in (counted, xr.concat([heard, random_sets], "context"))
    )
    listeners = by_person(alice).isel(time=slice(bold_skip, None))
    regions = list(listeners["region"].values)

# %%
if alice is not None:
    n_listeners = len(listeners)
    bold = with_averages(listeners, bold_boot, seed=seed)
    bold_folds = {"n_splits": bold_splits, "gap": bold_gap, "device": device}
    bold_folds["alphas"] = np.logspace(0, 7, 8)
    bold_fit = cross_validate(
        described.stack(sweep=("context", "layer")), bold, baseline=rate, **bold_folds
    )
    bold_null = [
        shift_null(
            described.sel(context=context),
            listeners.mean("subject"),
            baseline=rate,
            n_shifts=bold_shifts,
            min_shift=bold_gap,
            together=True,
            seed=seed,
            **bold_folds,
        ).values
        for context in horizon["context"].values
    ]

# %% tags=["hide-input"]
if alice is not None:
    gain = bold_fit["score"].unstack("sweep").max("layer") - bold_fit["baseline_score"]
    n_real = len(contexts)
    group, boot, person = (part.values for part in split_averages(gain))
    group, random_group = group[:n_real], group[n_real:]
    boot = boot[:n_real]
    person, random_person = person[:n_real], person[n_real:]
    bold_null = np.stack(bold_null)  # (context, shift, region)
    bound = np.quantile(bold_null, 0.95, axis=1)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six panels, one a region: gain of the average brain over word rate and length by context length with an interval over people, beside the chance level and the range of random layers."}}
if alice is not None:
    figure, axes = plt.subplots(2, 3, sharex=True, sharey=True, figsize=(8.8, 4.8))
    for k, axis in enumerate(axes.flat):
        reach = 1.96 * boot[:, :, k].std(1)
        middle = group[:, k]
        axis.fill_between(
            steps, 0, bound[:, k], color=GRAY, alpha=0.3, lw=0, label="chance (95 %)"
        )
        plotting.with_band(
            axis,
            steps,
            middle,
            middle - reach,
            middle + reach,
            color=BLUE,
            marker="o",
            ms=4,
            label="95 % over people",
        )
        lucky = random_group[:, k]
        style = {"color": ORANGE, "alpha": 0.3, "lw": 0, "label": "random layers"}
        axis.axhspan(lucky.min(), lucky.max(), **style)
        axis.axhline(0, color="k", ls="--", lw=0.8)
        axis.set_title(regions[k], fontsize=10)
        axis.set_xticks(steps, labels)
    handles, names = axes[0, 0].get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    figure.legend(
        unique.values(), unique, ncol=3, loc="outside upper right", fontsize=8
    )
    figure.supxlabel("context (words)", fontsize=10)
    figure.supylabel("gain over word rate and length (r)", fontsize=10)
    figure.suptitle(
        f"Real fMRI (alice), mean of {n_listeners} people",
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    plt.show()

# %% [markdown]
# *What to see:* the gain of the average brain with its interval over people (blue), the range of random layers (orange), and what 95 % of surrogates stay below (gray).
# Averaged over the six regions, the gain is {glue:text}`bold_group_one` with one word and {glue:text}`bold_group_all` with all.
#
# The question of this chapter is a difference: is all context better than one word? Both sides of it had the luck of picking. We ask it of the
# average brain, against the surrogates, and of the people, paired.

# %%
if alice is not None:
    more, people_more = group[-1] - group[0], person[-1] - person[0]
    more_null = bold_null[-1] - bold_null[0]
    two = {"alternative": "two-sided"}
    region_p = {"surrogates": stats.p_values(more, more_null, **two)}
    region_p["people"] = stats.permutation_test(people_more, seed=seed).pvalue

# %% tags=["hide-input"]
if alice is not None:
    table = {}
    for k, region in enumerate(regions):
        texts = [
            "< 0.001" if p[k] < 0.001 else f"{p[k]:.3f}" for p in region_p.values()
        ]
        table[region] = [f"{more[k]:+.3f}", texts[0]]
        table[region] += [f"{people_more[:, k].mean():+.3f}", texts[1]]
    table = pd.DataFrame(table).T
    table.columns = ["average brain", "p (surrogates)", "mean of people", "p (people)"]
table if alice is not None else None

# %% [markdown]
# *What to see:* the gain with all context less that with one word. Over regions, it is {glue:text}`bold_more` in the average brain (95 % interval over people
# {glue:text}`bold_more_interval`), {glue:text}`bold_group_verdict` (p = {glue:text}`bold_more_p`, where {glue:text}`bold_least_p` is the smallest that so many
# surrogates can give). Corrected for the number of regions (false discovery rate {glue:text}`q_percent` %), it holds against surrogates in {glue:text}`bold_regions`; over people in
# {glue:text}`bold_people_regions`. The two columns differ in sign in {glue:text}`bold_disagree`; there we claim nothing.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: gain averaged over six regions and 27 people by context length, with its interval over people and the range of random layers. Right: each person's gain with all context against that with one word, around the diagonal."}}
if alice is not None:
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.8, 3.6), width_ratios=(1.3, 1)
    )
    over_regions = person.mean(2)
    interval = stats.bootstrap_ci(over_regions.T, n_resamples=2000, seed=seed)
    plotting.with_band(
        left, steps, *interval, color=BLUE, marker="o", label="95 % over people"
    )
    lucky = random_person.mean((1, 2))
    left.axhspan(
        lucky.min(), lucky.max(), color=ORANGE, alpha=0.3, lw=0, label="random layers"
    )
    left.set(xlabel="context (words)", ylabel="gain over word rate and length (r)")
    left.set_xticks(steps, labels)
    left.legend(fontsize=8)
    left.set_title("Mean over regions and people")
    right.scatter(over_regions[0], over_regions[-1], s=18, color=BLUE)
    right.axline((0, 0), slope=1, color="k", ls="--", lw=0.8)
    right.text(
        0.03, 0.95, "dashed: no difference", transform=right.transAxes, fontsize=8
    )
    right.set(xlabel="gain with one word (r)", ylabel="gain with all context (r)")
    right.set_title("Each person")
    figure.suptitle(
        f"Real fMRI (alice), {n_listeners} people", fontweight="bold", x=0.01, ha="left"
    )
    plt.show()

# %% tags=["remove-cell"]
names = ["bold_group_one", "bold_group_all", "bold_more", "bold_more_interval"]
names += ["bold_more_p", "bold_person_one", "bold_person_one_interval"]
names += ["bold_person_all", "bold_person_all_interval", "bold_person_more"]
names += ["bold_person_more_interval", "bold_person_p", "bold_up", "n_listeners"]
names += ["bold_random_range", "bold_verdict", "bold_group_verdict", "bold_regions"]
names += ["bold_people_regions", "bold_disagree", "bold_lucky_one", "bold_lucky_all"]
values = [NO_DATA] * len(names)
if alice is not None:
    mean_more = more.mean()
    reach = 1.96 * (boot[-1] - boot[0]).mean(1).std()
    low, high = mean_more - reach, mean_more + reach
    group_p = float(stats.p_values(mean_more, more_null.mean(1), **two))
    change = over_regions[-1] - over_regions[0]
    paired = stats.bootstrap_ci(change, n_resamples=2000, seed=seed)
    person_p = stats.permutation_test(change, seed=seed).pvalue
    found = [stats.fdr(p, q)[0] for p in region_p.values()]
    found.append(more * people_more.mean(0) < 0)
    values = [f"{group[0].mean():+.2f}", f"{group[-1].mean():+.2f}"]
    values += [f"{mean_more:+.2f}", f"{low:+.2f} to {high:+.2f}", f"{group_p:.3f}"]
    for at in (0, -1):
        values.append(f"{interval.estimate[at]:+.3f}")
        values.append(f"{interval.low[at]:+.3f} to {interval.high[at]:+.3f}")
    values += [f"{paired.estimate:+.3f}", f"{paired.low:+.3f} to {paired.high:+.3f}"]
    values += [f"{person_p:.4f}", int((change > 0).sum()), n_listeners]
    values.append(f"{lucky.min():+.3f} to {lucky.max():+.3f}")
    verdicts = {"above zero": "better than", "below zero": "worse than"}
    neither = "not clearly different from"
    values.append(verdicts.get(clearly(paired.low, paired.high), neither))
    values.append("beyond chance" if group_p <= q else "within what chance gives")
    values += [", ".join(np.array(regions)[which]) or "none" for which in found]
    for at in (0, -1):
        beyond = np.sign(interval.estimate[at] - lucky)
        places = {1.0: "above", -1.0: "below"}
        values.append(places[beyond[0]] if len(set(beyond)) == 1 else "within")
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)
glue("bold_random", bold_random, display=False)
glue("bold_shifts", bold_shifts, display=False)
glue("random_least_p", f"{1 / (1 + bold_random):.2f}", display=False)
glue("bold_least_p", f"{2 / (1 + bold_shifts):.3f}", display=False)

# %% [markdown]
# *What to see:* left, the gain of each person in each region, averaged: {glue:text}`bold_person_one` ({glue:text}`bold_person_one_interval`) with one word and
# {glue:text}`bold_person_all` ({glue:text}`bold_person_all_interval`) with all. Random layers reach {glue:text}`bold_random_range`: the mean with one word is
# {glue:text}`bold_lucky_one` that range, the mean with all context {glue:text}`bold_lucky_all` it. An interval over people does not see luck that all people share because
# they heard the same story; only what is above that range, or the chance level of the surrogates, is more.
#
# Right, the paired difference is {glue:text}`bold_person_more` ({glue:text}`bold_person_more_interval`; p = {glue:text}`bold_person_p`), upwards in
# {glue:text}`bold_up` of {glue:text}`n_listeners` people: in these people all context is {glue:text}`bold_verdict` one word.
#
# A caution on what the difference means. Blood answers slowly ({term}`haemodynamic response`) and mixes the words of many seconds, so that a word's neighbours are in each volume
# whether or not the model saw them. What context adds in fMRI is what it adds to *that* mixture, and a small gain does not show that the brain keeps
# little context.
#
# ## Exercises
#
# 1. Add noise to the electrodes, twice the responses' own standard deviation, and recover the contexts again (every fourth electrode and
#    every second layer will do). Which of `best` and `enough` holds up
#    better, and what happens to the intervals?
# 2. Compare the surprisal of one word with the number of letters of the word. What does a model without context know?
# 3. Fit the N400 with surprisal at full context, but with people as the only random effect. What happens to the interval of the slope, and which one
#    is right?
#
# :::{admonition} Solution 1
# :class: dropdown
# Both get worse. `enough` drifts to short contexts, because with noisy scores few contexts are clearly worse than the best; `best` errs in both directions. The
# intervals of `best` widen, as they should.
# :::

# %% tags=["hide-cell"]
harder = dict.fromkeys(("best", "enough"), NOT_PLANTED)
if data.truth is not None:
    few = electrodes.index[language][::4]
    quiet = responses.sel(channel=few)
    noise = np.random.default_rng(seed).standard_normal(quiet.shape)
    loud = quiet + 2 * quiet.std("word") * quiet.copy(data=noise)
    fewer = states[:, 1::2].stack(sweep=("context", "layer"))
    again = cross_validate(fewer, loud, return_predictions=True, **folds)
    noisy = context_horizon(
        again.unstack("sweep")["prediction"], loud, n_splits=n_splits, seed=seed
    )
    true = planted[few]
    for name in ("best", "enough"):
        r = alignment(
            np.searchsorted(horizon["context"], noisy[name]),
            np.searchsorted(horizon["context"], true),
        ).r
        print(f"{name:7s} Spearman with the planted context {r:.2f}")
        harder[name] = f"{r:.2f}"
    wide = float((noisy["low"] < noisy["high"]).mean())
    holds = ((noisy["low"] <= true) & (true <= noisy["high"])).mean()
    print(
        f"{wide:.0%} of the intervals are wider than one context; {holds:.0%} hold it"
    )
for name, value in harder.items():
    glue(f"noisy_{name}", value, display=False)

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# It has some idea of which words are common, and common words are short. But it was asked for the first word of a document, and documents begin otherwise than speech goes on:
# as a measure of a word's frequency its surprisal is rough, and counts from a corpus would be better.
# :::

# %% tags=["hide-cell"]
length = words["word"].str.len()
for label, row in zip(labels, bits.values, strict=True):
    r = length.corr(pd.Series(row, index=length.index), method="spearman")
    print(f"context {label:>3s}: Spearman of surprisal with length {r:.2f}")

# %% [markdown]
# :::{admonition} Solution 3
# :class: dropdown
# The interval gets narrower without any new data: the model now believes that the sentences are all the sentences there are. The slope itself changes, from {glue:text}`slope_crossed` to
# {glue:text}`slope_people`, because sentences are weighted otherwise. For a statement about *language*, and not about these sentences, they have to be random effects too.
# :::

# %% tags=["hide-cell"]
both_slopes = [NO_DATA] * 2
if readers is not None:
    name = labels[-1]
    careless = stats.mixed_model(rows, "n400", [name], groups={"subject": [name]})
    for label, row in (
        ("people, items, sentences", slopes.loc[name]),
        ("people only", careless.coefficients.loc[name]),
    ):
        print(
            f"{label:25s} {row['estimate']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        )
    tables = (slopes, careless.coefficients)
    both_slopes = [f"{table.loc[name, 'estimate']:+.2f}" for table in tables]
for key, value in zip(("slope_crossed", "slope_people"), both_slopes, strict=True):
    glue(key, value, display=False)

# %% [markdown]
# ## Run it on your own data
#
# The folder of chapter 2, and the context lengths you care for; `None` in Python is `null` here:
#
# ```bash
# papermill notebooks/05_context.ipynb my_context.ipynb \
#   -p dataset my_recordings -y "contexts: [1, 4, 16, 64, null]"
# ```
#
# A window of 64 words for each word of the text costs about four times as much as one of 16; the features are kept, so that a second run is quick.
#
# ## What the papers found
#
# {cite:t}`mischler2024` report that context matters for both the benchmark performance of models and their alignment with the brain. As far as open
# sources tell, the order of layers along the cortex was clearest with relatively long windows, and regions further from auditory cortex needed context
# for their likeness to the models. The lengths they used, how context was limited, and their tests were not in the sources open to us, so that numbers
# cannot be compared. Here windows are counted in words and are exact, each electrode's context comes with an interval and a test that stays quiet in noise, and people, not
# electrodes, are the samples. In the virtual cohort far electrodes need context because that was planted; that the model itself predicts better with
# context is a fact about the model; and whether the order of layers needs long windows the cohort cannot say. The evidence about people in this chapter is of
# another kind: one noun's N400, and the slow signal of six regions.
