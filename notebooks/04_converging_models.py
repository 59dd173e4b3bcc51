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
# # Do better models converge?
#
# Two language models may come from different teams, texts and architectures. If there is one good way to describe language, the
# better they get, the more alike their descriptions should become. {cite:t}`mischler2024` report just that for twelve models, and that
# the better ones share their hierarchy with the brain. To ask such a question we have to compare descriptions that have
# different axes, different widths, and no parts in common. That is the subject of this chapter: how to compare them, how such
# comparisons mislead, and what it takes to show convergence.
#
# :::{admonition} In this chapter
# **You will learn**
# how centred kernel alignment (CKA) and Procrustes analysis compare two sets of features, and why both see similarity in pure noise
# when words are few; how one large feature can rule a comparison; how to test whether high performers are more alike than low ones with
# *models*, not pairs of models, as the samples; and how to ask which layer of a model resembles which stretch of cortex without
# fitting anything.
#
# **You need** the layers and electrodes of chapter 2, and the damaged models of chapter 3.
#
# **It takes** about 40 minutes to read, and one minute to run on two cores once the features are computed.
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = "virtual"  # "virtual", "podcast" or a folder of your own recordings
dataset_options: dict = {}  # passed to datasets.load_listening
base: str = "smollm2-135m"  # the intact model, an asset, a folder or a hub name
family: list = []  # models of graded performance; empty: the base and its damages
outsiders: list = ["all-minilm-l6-v2", "all-mpnet-base-v2"]  # bidirectional models
outsider_context: int = 16  # words that a bidirectional model sees, the word included
n_depths: int = 9  # layers of each model, evenly spaced
n_stretches: int = 10  # stretches of text: minibatches of CKA, and intervals
n_groups: int = 5  # groups of electrodes by distance
q: float = 0.05  # false discovery rate
n_permutations: int = 9999  # of the models' performances
n_shifts: int = 200  # circular shifts of the responses
seed: int = 0  # of minibatches, permutations and shifts
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
real_data: bool = True  # end with the fMRI of 27 real people
bold_shifts: int = 200  # circular shifts of the fMRI responses
bold_random: int = 20  # layers of random numbers to compare with
bold_skip: int = 10  # volumes left out at the start: the onset of the story

# %% tags=["hide-input", "remove-stderr"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from myst_nb import glue
from scipy.stats import PermutationMethod, pearsonr, rankdata, spearmanr, ttest_ind
from scipy.stats import t as student_t

from brainalign import assets, datasets, plotting, signals, stats
from brainalign.features.language import layer_features, n_layers, surprisal
from brainalign.features.models import graded_family, parse
from brainalign.similarity import (
    cka_jackknife,
    cka_matrix,
    cka_null,
    convergence,
    linear_cka,
    procrustes,
    standardise,
)

plotting.use_style()
_ = xr.set_options(display_expand_data=False, display_expand_attrs=False)
BLUE, ORANGE, GREEN, GRAY = (
    plotting.COLORS[name] for name in ("blue", "orange", "green", "gray")
)


def plain(value, digits=2):
    """Rounded, without a sign for zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def p_text(p):
    """Three decimals, or the first digit of a smaller one."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"


# %% tags=["hide-output"]
data = datasets.load_listening(dataset, **dataset_options)
words = data.words
data

# %% [markdown]
# ## When are two descriptions alike?
#
# Take two layers of SmolLM2, half and three quarters of the way up. Each describes every word of the speech by a list of numbers, but
# feature 17 of one layer has nothing to do with feature 17 of the other. What can be compared is the *geometry*: which words are
# close to each other, and which are far apart. A rotation of all features leaves it as it is, so a measure of similarity should not
# care about rotations either {cite:p}`kornblith2019`.
#
# **CKA** ({term}`centred kernel alignment`) compares inner products. For $n$ words, let $K_{ij}$ be the inner product of words $i$ and $j$ in one
# layer (its {term}`Gram matrix`) and $L_{ij}$ that in the other, each from features whose mean over words was subtracted. With HSIC, the {term}`Hilbert-Schmidt independence criterion`,
# a measure of dependence,
#
# $$\mathrm{CKA} = \frac{\mathrm{HSIC}(K, L)}{\sqrt{\mathrm{HSIC}(K, K)\,\mathrm{HSIC}(L, L)}}, \qquad
# \mathrm{HSIC}(K, L) = \frac{1}{(n-1)^2} \sum_{ij} K_{ij} L_{ij},$$
#
# a kind of correlation between the two matrices. It is 1 if one layer is a rotated and scaled copy of the other.
#
# **Procrustes** rotates one layer onto the other as well as it goes and asks what is left ({term}`Procrustes similarity`). With both layers centred and scaled to a
# Frobenius norm (the root of the sum of all squares) of 1, and $d$ the remaining distance, we use
# $1 - d^2/2$ {cite:p}`ding2021`; it is 1 for rotated copies as well. (The arccosine of the same number is the angular distance of
# {cite:t}`williams2021`.)
#
# ### Both see similarity in noise
#
# What do they say about two layers whose words are *shuffled* against each other, so that nothing is shared? We try with few and
# with many words:

# %%
first, second = n_layers(base) // 2, 3 * n_layers(base) // 4
pair = layer_features(
    words, base, layers=[first, second], start_token=True, device=device
)
rng = np.random.default_rng(seed)
sizes = [n for n in (25, 50, 100, 200, 400, 800, 1600) if n <= len(words)]
rows = []
for n in np.repeat(sizes, 3):  # three draws of each size
    chosen = rng.permutation(len(words))[:n]
    for kind, order in {
        "same words": chosen,
        "shuffled": rng.permutation(chosen),
    }.items():
        x, y = pair.values[0][chosen], pair.values[1][order]
        rows.append((n, kind, "debiased CKA", linear_cka(x, y)))
        rows.append((n, kind, "CKA", linear_cka(x, y, debiased=False)))
        rows.append((n, kind, "Procrustes", procrustes(x, y)))
by_size = pd.DataFrame(rows, columns=["n", "words", "measure", "similarity"])

# %% tags=["hide-input"] mystnb={"image": {"alt": "Similarity of two layers against the number of words, for debiased CKA, plain CKA and Procrustes; with shuffled words only debiased CKA stays at zero, the other two rise steeply as words get fewer."}}
figure, axes = plt.subplots(1, 3, sharex=True, sharey=True, figsize=(8.8, 3.2))
for axis, (measure, part) in zip(
    axes, by_size.groupby("measure", sort=False), strict=True
):
    for kind, color, style in (("same words", BLUE, "-"), ("shuffled", GRAY, "--")):
        found = part[part["words"] == kind].groupby("n")["similarity"]
        plotting.with_band(
            axis,
            sizes,
            found.mean(),
            found.min(),
            found.max(),
            color=color,
            ls=style,
            marker="o",
            ms=3,
            label=kind,
        )
    axis.axvline(pair.sizes["feature"], color="k", ls=":", lw=0.8)
    axis.set_title(measure, fontsize=10)
    axis.set_xscale("log")
    axis.set_xticks([25, 100, 400, 1600], ["25", "100", "400", "1600"])
    axis.minorticks_off()
axes[0].set(ylim=(-0.1, 1), ylabel="similarity")
axes[0].legend(fontsize=8, loc="center left", bbox_to_anchor=(0, 0.42))
figure.supxlabel("words", fontsize=10)
figure.suptitle(
    f"Layers {first} and {second} of {base}, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["remove-cell"]
few = (
    by_size[by_size["n"] == sizes[0]].groupby(["measure", "words"])["similarity"].mean()
)
many = (
    by_size[by_size["n"] == sizes[-1]]
    .groupby(["measure", "words"])["similarity"]
    .mean()
)
for measure, label in (
    ("CKA", "plain"),
    ("Procrustes", "procrustes"),
    ("debiased CKA", "debiased"),
):
    glue(f"{label}_few", plain(few[measure, "shuffled"]), display=False)
    glue(f"{label}_many", plain(many[measure, "shuffled"]), display=False)
glue("n_few", sizes[0], display=False)
glue("n_most", sizes[-1], display=False)
glue("n_stretches", n_stretches, display=False)
glue("batch_size", -(-len(words) // n_stretches), display=False)

# %% [markdown]
# *What to see:* mean and range of three draws of words; the dotted line marks as many words as features. With {glue:text}`n_few` *shuffled*
# words the plain CKA of {cite:t}`kornblith2019` is {glue:text}`plain_few` and Procrustes {glue:text}`procrustes_few`: with fewer words than
# features, almost anything can be rotated almost onto anything. Even with {glue:text}`n_most` words Procrustes says {glue:text}`procrustes_many` where nothing is
# shared.
#
# The remedy for CKA is an unbiased estimate of HSIC {cite:p}`song2012`. The plain sum contains each word's product with itself, which is large
# in both layers whatever they hold; the unbiased one leaves it out and corrects the means accordingly. Shuffled words then give
# {glue:text}`debiased_few` with {glue:text}`n_few` words and {glue:text}`debiased_many` with {glue:text}`n_most`: **on average debiased CKA is zero for unrelated
# descriptions, whatever the number of words** (and may fall below zero by chance). The remedy has a second use. Since each HSIC is
# unbiased for any number of words, it can be computed in minibatches and averaged {cite:p}`nguyen2021`, in memory that does not grow with the text.
# Procrustes similarity knows no such remedy: we will always show it beside its value for shuffled words.
#
# From here on, "CKA" means debiased CKA, each HSIC averaged over {glue:text}`n_stretches` {term}`minibatches <minibatch>`. Where we
# compare models, a minibatch is a *stretch*: some {glue:text}`batch_size` words in a row. That has a use beyond saving
# memory. How much would the result vary with other text? Leave out one stretch at a time ({term}`jackknife`) and see how far it moves; words are no
# independent samples, long stretches nearly are.

# %%
batch_size = -(-len(words) // n_stretches)


def half_width(without, level=0.95):
    """Of the jackknife interval; what was left out comes first."""
    n = len(without)
    error = np.sqrt((n - 1) / n * ((without - without.mean(0)) ** 2).sum(0))
    return student_t.ppf((1 + level) / 2, n - 1) * error


# %% [markdown]
# ### One feature can rule
#
# CKA and Procrustes forgive rotations, but not everything: multiply one feature by a hundred, and it alone decides which words are close. Language
# models do this to themselves. A few of their features vary far more than all others {cite:p}`timkey2021`:

# %%
depths = np.linspace(0, 1, n_depths)
layers_of = {
    name: np.round(depths * n_layers(name)).astype(int) for name in [base, *outsiders]
}
own = layer_features(
    words, base, layers=np.unique(layers_of[base]), start_token=True, device=device
)
keys = own["layer"].values
raw = cka_matrix(dict(zip(keys, own.values, strict=True)), batch_size=batch_size)
scaled = cka_matrix(
    dict(zip(keys, standardise(own).values, strict=True)), batch_size=batch_size
)
variance = own.var("word")
largest = (variance.max("feature") / variance.sum("feature")).to_series()

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels: the share of the largest feature in the variance of each layer, over half in some early layers; a heat map of CKA between all layers from raw features with a bright block at those layers and dark bands around it; a smooth heat map from standardised features."}}
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(8.8, 3.1), width_ratios=(0.85, 1, 1.18)
)
left.bar(np.arange(len(keys)), largest, color=BLUE)
left.set_xticks(np.arange(len(keys)), keys, fontsize=7)
left.set(xlabel="layer", ylabel="largest feature's share\nof the variance", ylim=(0, 1))
left.set_title("One feature", fontsize=10)
for axis, matrix, title in (
    (middle, raw, "CKA, raw features"),
    (right, scaled, "CKA, standardised"),
):
    shown = axis.imshow(
        matrix, vmin=0, vmax=1, origin="lower", cmap=plotting.SEQUENTIAL
    )
    axis.set_xticks(np.arange(len(keys)), keys)
    axis.set_yticks(np.arange(len(keys)), keys)
    axis.set(xlabel="layer", ylabel="layer")
    axis.set_title(title, fontsize=10)
figure.colorbar(shown, ax=right, label="CKA (chance: 0)")
figure.suptitle(f"{base}, {data.name}", fontweight="bold", x=0.01, ha="left")
plt.show()

# %% tags=["remove-cell"]
ruled = largest.iloc[1:].idxmax()
at_ruled = list(keys).index(ruled)
glue("ruled_layer", int(ruled), display=False)
glue("ruled_share", f"{100 * largest[ruled]:.0f}", display=False)
glue("even_share", f"{100 / own.sizes['feature']:.1f}", display=False)
off = ~np.eye(len(keys), dtype=bool)
near = np.abs(np.subtract.outer(np.arange(len(keys)), np.arange(len(keys)))) == 1
glue("raw_low", f"{float(raw.values[off].min()):.2f}", display=False)
glue("raw_high", f"{float(raw.values[off].max()):.2f}", display=False)
glue("scaled_near", f"{float(scaled.values[near].mean()):.2f}", display=False)
glue("scaled_far", f"{float(scaled.values[0, -1]):.2f}", display=False)

# %% [markdown]
# *What to see:* left, the share of a layer's variance that its largest feature has (an even share would be
# {glue:text}`even_share` %). In layer {glue:text}`ruled_layer` a single feature has {glue:text}`ruled_share` %. Middle, raw features: layers that share such
# a feature look the same, and unlike all others, which says how *that feature* behaves and nothing about the rest.
# Off the diagonal, CKA runs from {glue:text}`raw_low` to {glue:text}`raw_high`. Right, after each feature is brought to a
# standard deviation of 1: a smooth picture in which neighbouring depths are alike ({glue:text}`scaled_near` on average) and the first and the last layer
# little ({glue:text}`scaled_far`). From here on we standardise all features. This is a choice, not a truth: it asks about all
# features alike, and a rotation would give other features to standardise.
#
# ## A family of models, and two outsiders
#
# To ask whether *better* models are more alike we need models of different quality. As in the previous chapter, we take one model and
# damage it in several ways and degrees: noise on its weights, coarse weights, blocks left out, a short attention span. Beside them
# stand two {term}`outsiders <outsider>`, models that were trained independently of SmolLM2: MiniLM {cite:p}`wang2020` and MPNet {cite:p}`song2020`, in versions made to embed sentences {cite:p}`reimers2019`. They are
# *bidirectional* ({term}`bidirectional model`): they see the words after a word as well as those before it. To keep later words out, they are given
# {glue:text}`outsider_context` words up to and including each word, and no more.
#
# Performance is {term}`surprisal`: the mean number of bits by which each word of the speech surprises the model; the fewer the better. The outsiders do
# not predict next words and have none. The family spans {glue:text}`best_bits` to {glue:text}`worst_bits` bits per word.

# %%
specs = family or graded_family(base)
intact = specs[0]
layers_of |= {spec: np.round(depths * n_layers(spec)).astype(int) for spec in specs}
bits = pd.Series(
    {
        spec: float(surprisal(words, spec, start_token=True, device=device).mean())
        for spec in specs
    },
    name="bits per word",
)
specs = list(bits.sort_values().index)
names = {spec: spec.partition("@")[2] or "intact" for spec in specs}
names |= {spec: spec.removeprefix("all-") for spec in outsiders}
table = bits[specs].round(2).to_frame()
table["layers"] = [n_layers(spec) for spec in specs]
table.rename(names).rename_axis("model")

# %%
features = {}
for spec in [*specs, *outsiders]:
    context = outsider_context if spec in outsiders else None
    chosen = np.unique(layers_of[spec])
    found = layer_features(
        words, spec, context=context, layers=chosen, start_token=True, device=device
    )
    for layer, values in zip(chosen, standardise(found).values, strict=True):
        features[f"{spec} {layer}"] = values
cka, cka_without = cka_jackknife(features, batch_size=batch_size)
models = [*specs, *outsiders]
places = np.array([[f"{spec} {layer}" for layer in layers_of[spec]] for spec in models])


def by_model(matrix):
    """From (..., representation, other) to (..., model, depth, other, other_depth)."""
    chosen = matrix.sel(representation=places.ravel(), other=places.ravel())
    dims = ("model", "depth", "other", "other_depth")
    values = chosen.values.reshape(*matrix.shape[:-2], *places.shape, *places.shape)
    return xr.DataArray(values, dims=(*matrix.dims[:-2], *dims))


between, between_without = by_model(cka), by_model(cka_without)
cka.sizes

# %% tags=["remove-cell"]
glue("n_models", len(specs), display=False)
glue("outsider_context", outsider_context, display=False)
glue("n_representations", cka.sizes["other"], display=False)
glue("best_bits", f"{bits.min():.1f}", display=False)
glue("worst_bits", f"{bits.max():.1f}", display=False)

# %% [markdown]
# These are all {glue:text}`n_representations` layers against all others. Each layer's Gram matrix was made once, and all pairs came out of one product of
# matrices. Here are the intact model's layers against those of four models: itself, the one in which single words rule most (of which below), the worst performer, and an outsider.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four heat maps of CKA between the layers of the intact model and those of four models by relative depth: a bright diagonal for the intact model itself; dark columns from the middle layers on in a model in which a few words rule; weak, flat pictures for the worst performer and the outsider."}}
middle_layers = {
    spec: features[places[k, n_depths // 2]] for k, spec in enumerate(models)
}
sinks = pd.Series(
    {
        spec: np.sort((x**2).sum(1))[::-1][: len(words) // 100].sum() / (x**2).sum()
        for spec, x in middle_layers.items()
    }
)
compared = list(dict.fromkeys([intact, sinks.idxmax(), specs[-1], *outsiders[-1:]]))
figure, axes = plt.subplots(
    1, len(compared), sharex=True, sharey=True, figsize=(8.8, 2.9), squeeze=False
)
for axis, spec in zip(axes.flat, compared, strict=True):
    shown = axis.imshow(
        between[models.index(intact), :, models.index(spec)],
        vmin=0,
        vmax=1,
        origin="lower",
        extent=(0, 1, 0, 1),
        cmap=plotting.SEQUENTIAL,
        aspect="auto",
    )
    label = f"{bits[spec]:.1f} bits per word" if spec in bits else "outsider"
    axis.set_title(f"{names[spec]}\n{label}", fontsize=9, fontweight="normal")
figure.supxlabel("relative depth in the model named above", fontsize=10)
figure.supylabel("relative depth, intact", fontsize=10)
figure.colorbar(shown, ax=axes, label="CKA (chance: 0)", shrink=0.8)
figure.suptitle(
    f"Intact {base} against itself and other models, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# *What to see:* relative depth runs from 0, the input embedding, to 1, the last layer. The first panel is the intact model with itself. Layer 0
# stays as it is in the whole family, because damage leaves the input embedding alone; above it the bright diagonal fades with damage. The outsider's
# layers resemble those of the intact model less sharply: any middle layer is about as like any other.
#
# A short attention span does something of its own. Once the text's first token is out of reach, the model finds new places to rest its attention: a few words become
# sinks ({term}`attention sink`), far from all others, and rule the comparison as single features did before. In the middle layer of
# {glue:text}`sink_model`, one word in a hundred has {glue:text}`sink_share` % of the squares of all (standardised) features; in the intact model {glue:text}`sink_intact` %. Standardising
# features does not help against single *words*.

# %% tags=["remove-cell"]
glue("sink_model", names[sinks.idxmax()], display=False)
glue("sink_share", f"{100 * sinks.max():.0f}", display=False)
glue("sink_intact", f"{100 * sinks[intact]:.0f}", display=False)

# %% [markdown]
# ### CKA and Procrustes side by side
#
# Do both measures agree? We compare each model with the intact one, layer by layer at three matched depths, and average. Intervals come
# from leaving out one stretch of text at a time.

# %%
thirds = np.linspace(0, n_depths - 1, 4).round().astype(int)[1:]
shuffle = np.random.default_rng(seed).permutation(len(words))
origin = [features[key] for key in places[models.index(intact), thirds]]
target = {
    spec: [features[key] for key in places[k, thirds]] for k, spec in enumerate(models)
}
home = models.index(intact)


def at_thirds(between):
    """Mean CKA of each model with the intact one, over three matched depths."""
    chosen = between.isel(model=home, depth=thirds, other_depth=thirds).values
    return np.einsum("...dmd->...m", chosen) / len(thirds)


agree = pd.DataFrame(index=models, columns=["procrustes", "shuffled"], dtype=float)
for spec in models:
    pairs = list(zip(origin, target[spec], strict=True))
    agree.loc[spec, "procrustes"] = np.mean([procrustes(x, y) for x, y in pairs])
    agree.loc[spec, "shuffled"] = procrustes(pairs[-1][0], pairs[-1][1][shuffle])
agree["cka"] = at_thirds(between)
shuffled_cka = cka_matrix(
    [origin[-1]],
    {spec: target[spec][-1][shuffle] for spec in models},
    batch_size=batch_size,
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each model, ordered by performance, its CKA and its Procrustes similarity with the intact model: both fall with damage. Procrustes with shuffled words is well above zero, CKA with shuffled words at zero."}}
figure, axis = plt.subplots(figsize=(8.8, 3.8))
height = np.arange(len(models))[::-1]
axis.plot(
    agree["procrustes"], height + 0.12, "s", ms=5, color=ORANGE, label="Procrustes"
)
axis.plot(
    agree["shuffled"],
    height + 0.12,
    "|",
    ms=9,
    color=ORANGE,
    label="Procrustes, shuffled words",
)
half = half_width(at_thirds(between_without))
axis.errorbar(
    agree["cka"], height - 0.12, xerr=half, fmt="o", ms=5, color=BLUE, label="CKA"
)
axis.plot(
    shuffled_cka[0],
    height - 0.12,
    "|",
    ms=9,
    color=BLUE,
    label="CKA, shuffled words",
)
axis.set_yticks(
    height,
    [f"{names[s]} ({bits[s]:.1f} bits)" if s in bits else names[s] for s in models],
)
axis.set(xlabel="similarity with the intact model", xlim=(-0.05, 1.02))
axis.set_title(f"Two measures, {data.name}")
figure.legend(fontsize=8, loc="outside lower center", ncol=4)
plt.show()

# %% tags=["remove-cell"]
others = [spec for spec in specs if spec != intact]
measures_agree = spearmanr(agree.loc[others, "cka"], agree.loc[others, "procrustes"])
glue("measures_agree", f"{measures_agree.statistic:.2f}", display=False)
glue("procrustes_floor_low", f"{agree['shuffled'].min():.2f}", display=False)
glue("procrustes_floor_high", f"{agree['shuffled'].max():.2f}", display=False)
glue("family_floor_low", f"{agree.loc[specs, 'shuffled'].min():.2f}", display=False)
glue("family_floor_high", f"{agree.loc[specs, 'shuffled'].max():.2f}", display=False)
widest = int(np.argmax(half))
glue("widest_model", names[models[widest]], display=False)
for label, sign in (("low", -1), ("high", 1)):
    bound = agree["cka"].iloc[widest] + sign * half[widest]
    glue(f"widest_{label}", f"{bound:.2f}", display=False)
for number in range(2):
    spec = outsiders[number] if number < len(outsiders) else None
    glue(f"outsider_{number}", names.get(spec, "(none)"), display=False)

# %% [markdown]
# *What to see:* both measures put the models in much the same order (rank correlation {glue:text}`measures_agree` over the damaged ones), but on other scales. Vertical
# ticks are chance, from the last layers with shuffled words: at zero for CKA, from {glue:text}`procrustes_floor_low` to
# {glue:text}`procrustes_floor_high` for Procrustes: it differs from model to model, within the family from {glue:text}`family_floor_low` to {glue:text}`family_floor_high`. A Procrustes similarity
# without its chance level says little. CKA's intervals (95 %) are over stretches of text; the widest, {glue:text}`widest_low` to {glue:text}`widest_high`, is that of {glue:text}`widest_model`.
#
# ## Are high performers more alike?
#
# Convergence is a statement about *pairs* of models: the better two models are, the more alike. **By construction the answer must be yes here:** all these models are *one* model under
# damage, and the less damaged two of them are, the closer both are to their common origin, and so to each other. Nobody converged on anything. We use the family to see how the test behaves.
#
# For one number per pair we match layers by relative depth and average. The input embedding is left out, since the family shares it. Two statistics then say whether similarity
# grows with performance. The simple one: the mean similarity among the better half of the models less that among the worse half. The second uses all pairs: the rank correlation
# ({term}`Spearman <Spearman correlation>`) of a pair's similarity with its mean performance (a {term}`Mantel test`, after {cite:t}`mantel1967`).
#
# Their p-values must not take pairs for independent samples: {glue:text}`n_models` models make {glue:text}`n_pairs` pairs, but each model is in {glue:text}`n_pairs_each`
# of them, and one odd model bends them all. We exchange the performances of whole *models* instead, in all or in {glue:text}`n_permutations` ways: if
# performance had nothing to do with similarity, it would not matter who is called good. The p-values are one-sided.

# %%
size = len(specs)


def of_pairs(between, match):
    """Similarity (model, model) of the family, without the input embedding."""
    inner = between.isel(model=slice(size), other=slice(size))
    inner = inner.isel(depth=slice(1, None), other_depth=slice(1, None)).values
    if match == "depth":
        return np.einsum("idjd->ij", inner) / inner.shape[1]
    best = inner.max(3).mean(1)
    return (best + best.T) / 2


performance = -bits[specs].to_numpy()
ask = {"n_permutations": n_permutations, "seed": seed}
matrix = of_pairs(between, "depth")
tested = convergence(matrix, performance, **ask)

# %% [markdown]
# Other ways to ask are folded: each layer with its best match in the other model, averaged both ways; and without the intact model.

# %% tags=["hide-cell"]
damaged = [k for k, spec in enumerate(specs) if spec != intact]
variants = {
    "matched depth": tested,
    "best match": convergence(of_pairs(between, "best"), performance, **ask),
    "matched depth, without the intact model": convergence(
        matrix[np.ix_(damaged, damaged)], performance[damaged], **ask
    ),
}
variants = pd.DataFrame(variants).T
variants.columns = [
    "better half",
    "worse half",
    "difference",
    "p of difference",
    "rank correlation",
    "p of correlation",
]
p_columns = ["p of difference", "p of correlation"]
variants.style.format("{:.2f}").format(p_text, subset=p_columns)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: heat map of the similarity of every pair of models, ordered by performance, brightest among the best. Right: similarity of each pair against its mean performance, rising; pairs with a short attention span lie low."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.9), width_ratios=(1.1, 1))
shown = left.imshow(
    np.where(np.eye(size), np.nan, matrix), vmin=0, vmax=1, cmap=plotting.SEQUENTIAL
)
labels = [names[spec] for spec in specs]
left.set_xticks(np.arange(size), labels, rotation=90, fontsize=8)
left.set_yticks(np.arange(size), labels, fontsize=8)
left.set_title("Pairs, by performance", fontsize=10)
figure.colorbar(shown, ax=left, label="CKA, matched depth", shrink=0.8)
first_of, second_of = np.triu_indices(size, 1)
with_intact = (first_of == specs.index(intact)) | (second_of == specs.index(intact))
mean_bits = -(performance[first_of] + performance[second_of]) / 2
short_span = 24  # tokens
is_short = [parse(spec)[1].get("span", np.inf) <= short_span for spec in specs]
with_short = np.isin(first_of, np.flatnonzero(is_short))
with_short |= np.isin(second_of, np.flatnonzero(is_short))
for chosen, color, label in (
    (~with_intact & ~with_short, BLUE, "two damaged models"),
    (with_intact & ~with_short, ORANGE, "one of them intact"),
    (with_short, GREEN, "one of a short attention span"),
):
    values = matrix[first_of, second_of][chosen]
    right.scatter(mean_bits[chosen], values, s=16, color=color, alpha=0.7, label=label)
right.axhline(0, color="k", ls="--", lw=0.8)
right.set(
    ylim=(-0.03, 1.25),
    xlabel="mean surprisal of the pair (bits per word)",
    ylabel="CKA, matched depth",
)
right.invert_xaxis()
right.set_title("Better models to the right", fontsize=10)
right.legend(fontsize=8, loc="upper left")
figure.suptitle(
    f"Similarity of models, {data.name}", fontweight="bold", x=0.01, ha="left"
)
plt.show()

# %% tags=["remove-cell"]
text_half = half_width(
    np.array(
        [
            convergence(
                of_pairs(one, "depth"), performance, n_permutations=1
            ).difference
            for one in between_without
        ]
    )
)
for field, value in tested._asdict().items():
    text = p_text(value) if field.endswith("pvalue") else f"{value:.2f}"
    glue(f"depth_{field}", text, display=False)
for label, sign in (("low", -1), ("high", 1)):
    bound = tested.difference + sign * text_half
    glue(f"text_{label}", f"{bound:.2f}", display=False)
glue("n_permutations", n_permutations, display=False)
glue("n_pairs", size * (size - 1) // 2, display=False)
glue("short_span", short_span, display=False)
pair_cka = matrix[first_of, second_of]
for label, chosen in (("span_cka", with_short), ("other_cka", ~with_short)):
    value = f"{pair_cka[chosen].mean():.2f}" if chosen.any() else "(none)"
    glue(label, value, display=False)
glue("n_pairs_each", size - 1, display=False)

# %% [markdown]
# *What to see:* left, all pairs of the family, best performers at the top left. Right, the same pairs against their mean surprisal, zero being
# chance. High performers are alike by {glue:text}`depth_high` on average and low performers by {glue:text}`depth_low`: a difference of
# {glue:text}`depth_difference` (p = {glue:text}`depth_difference_pvalue` with models as samples). With these {glue:text}`n_models` models and other text it would lie between {glue:text}`text_low` and
# {glue:text}`text_high` (95 % interval over stretches of text); that says nothing about other models. The rank correlation over pairs is {glue:text}`depth_correlation`
# (p = {glue:text}`depth_correlation_pvalue`).
#
# These p-values belong to an effect that we built in. Similarity depends on the kind of damage as well as
# on its degree: pairs with an attention span of at most {glue:text}`short_span` tokens reach {glue:text}`span_cka` on average, all others {glue:text}`other_cka`;
# and weight noise is the same noise at every strength, so that two noisy models are alike for that reason. With {glue:text}`n_models` models as the samples, not {glue:text}`n_pairs` pairs, such
# things make the p-values as large as they are. A t-test on pairs would not see this (exercise 1).
#
# The claim of the study needs models that were *trained independently*, and even those share much of their text. The p-values have the same limit: they
# ask whether performances are exchangeable between models, not why they are not.
#
# ## What the outsiders say
#
# MiniLM and MPNet are the only models here that were trained apart from SmolLM2 (not from each other: both were trained further on the same pairs of
# sentences). If damage took a model away from something that any model of language must find, then the outsiders
# should be closer to the intact model than to its damaged relatives. That is not so by construction. Depths of such different models do not
# correspond, so we take best matches: for each layer of the outsider, the most similar layer of the other model.

# %%
inner = {"depth": slice(1, None), "other_depth": slice(1, None)}
inner |= {"model": slice(size, None), "other": slice(size)}
closest, closest_without = (
    array.isel(inner).max("other_depth").mean("depth").values
    for array in (between, between_without)
)
resampling = PermutationMethod(
    n_resamples=n_permutations, rng=np.random.default_rng(seed)
)
order_tests = [
    pearsonr(
        rankdata(performance), rankdata(row), alternative="greater", method=resampling
    )
    for row in closest
]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Similarity of each of the two bidirectional outsiders to every member of the family against the member's surprisal, with intervals over stretches of text; it falls with surprisal."}}
figure, axis = plt.subplots(figsize=(6.4, 3.8))
for k, (spec, color) in enumerate(zip(outsiders, (GREEN, ORANGE), strict=False)):
    half = half_width(closest_without[:, k])
    axis.errorbar(
        bits[specs],
        closest[k],
        yerr=half,
        fmt="o",
        ms=5,
        color=color,
        label=names[spec],
    )
axis.axhline(0, color="k", ls="--", lw=0.8)
axis.invert_xaxis()
axis.set(
    xlabel="surprisal of the family member (bits per word)",
    ylabel="CKA, best-matching layers",
)
axis.set_title(f"Two outsiders and the family, {data.name}")
axis.legend()
plt.show()

# %% tags=["remove-cell"]
away = [k for k in range(size) if k != home]
labels = ["home", "away", "gap", "gap_low", "gap_high", "nearer", "order", "order_p"]
for k in range(2):
    values = ["(none)"] * len(labels)
    if k < len(outsiders):
        gap = closest[k, home] - closest[k, away].mean()
        gap_half = half_width(
            closest_without[:, k, home] - closest_without[:, k, away].mean(1)
        )
        values = [
            f"{closest[k, home]:.2f}",
            f"{closest[k, away].mean():.2f}",
            f"{gap:.2f}",
            f"{gap - gap_half:.2f}",
            f"{gap + gap_half:.2f}",
            int((closest[k, away] > closest[k, home]).sum()),
            f"{order_tests[k].statistic:.2f}",
            p_text(order_tests[k].pvalue),
        ]
    for label, value in zip(labels, values, strict=True):
        glue(f"{label}_{k}", value, display=False)
glue("n_damaged", len(away), display=False)

# %% [markdown]
# *What to see:* each point compares one outsider with one member of the family (95 % intervals over stretches of text).
#
# | | {glue:text}`outsider_0` | {glue:text}`outsider_1` |
# | --- | --- | --- |
# | CKA with the intact model | {glue:text}`home_0` | {glue:text}`home_1` |
# | mean CKA with the {glue:text}`n_damaged` damaged ones | {glue:text}`away_0` | {glue:text}`away_1` |
# | difference (95 % interval, over stretches) | {glue:text}`gap_0` ({glue:text}`gap_low_0` to {glue:text}`gap_high_0`) | {glue:text}`gap_1` ({glue:text}`gap_low_1` to {glue:text}`gap_high_1`) |
# | damaged models nearer to it than the intact one | {glue:text}`nearer_0` | {glue:text}`nearer_1` |
# | rank correlation of CKA with performance | {glue:text}`order_0` (p = {glue:text}`order_p_0`) | {glue:text}`order_1` (p = {glue:text}`order_p_1`) |
#
# This is as much of the question as our models allow. The first row says how alike a working model and an independently trained one are ({glue:text}`home_0`, {glue:text}`home_1`);
# of that, damage takes away {glue:text}`gap_0` and {glue:text}`gap_1` on average. That a *broken* model resembles
# others less is a far weaker statement than that *better* models converge: it would follow if damage did no more than
# add noise. Two outsiders, alike in training, are a sample of one or two. The hypothesis itself, that models of growing quality approach a
# common description of the world, has been argued from many independently trained ones {cite:p}`huh2024`.
#
# ## Layers and electrodes, without fitting
#
# CKA can compare a layer with *electrodes* just as well: both describe the same words, one by features, the other by
# responses. Nothing is fitted, so there is nothing to cross-validate; the price is that no feature can be left out or
# weighted up, as a regression would. We take the electrodes that answer to speech at all (chapter 1), cut
# them into {glue:text}`n_groups` groups of equal size by their distance from {term}`Heschl's gyrus`, and compare each group with every layer of the intact
# model.
#
# **Chance.** Debiased CKA is zero for unrelated descriptions if words are independent samples. They are not: neighbouring
# words share context in the model and time in the brain. So we shift the responses in a circle ({term}`circular shift`) within each passage, as in chapter 2. There, shifting
# was not enough and everything had to be refitted; here it is, because CKA fits nothing. The p-value compares the best layer's CKA with the best
# layer's in each of {glue:text}`n_shifts_text` shifts.
#
# **Uncertainty** comes from leaving out one person at a time. Minibatches are drawn at random from all words here, which
# keeps neighbouring words apart and so chance low.

# %%
answers = pd.Series(True, index=data.channels.index)
if data.signal is not None:
    try:
        answers = signals.speech_responsive(data.signal, words, q=q)["responsive"]
    except ValueError as error:
        print("All electrodes are kept:", error)
electrodes = data.channels[answers & data.channels["distance_pmc"].notna()]
responses = data.responses.sel(channel=electrodes.index)
responses = ((responses - responses.mean("word")) / responses.std("word")).to_numpy()
group = pd.qcut(electrodes["distance_pmc"], n_groups, labels=False).to_numpy()
person = electrodes["subject"].to_numpy()
people = np.unique(person)
place = electrodes["distance_pmc"].groupby(group).median().to_numpy()
states = standardise(layer_features(words, base, start_token=True, device=device))
stack = dict(zip(states["layer"].values.tolist(), states.values, strict=True))
sides = {f"group {k}": responses[:, group == k] for k in range(n_groups)}
sides_without = {
    f"{k} without {name}": responses[:, (group == k) & (person != name)]
    for name in people
    for k in range(n_groups)
}
settings = {"batch_size": batch_size, "seed": seed}
shifts = stats.circular_shifts(
    len(words), n_shifts, groups=words["passage"], min_shift=10, seed=seed
)
null = cka_null(stack, sides, shifts, **settings)
both = cka_matrix(stack, {**sides, **sides_without}, **settings).values
profile = both[:, :n_groups]
profile_without = both[:, n_groups:].reshape(len(stack), len(people), n_groups)
p = stats.p_values(profile.max(0), null.max("representation").values)

# %% [markdown]
# Where in the model does a group sit? Its best layer (its {term}`peak layer`) is one answer, but neighbouring layers are nearly tied, and the best one jumps when a person is left
# out. A steadier one is the *centre* of its profile: the mean layer, each weighted by what its CKA has over chance (the mean of the shifts).


# %%
def centre(profile):
    """Mean layer, weighted by CKA above chance; layers come first."""
    chance = null.mean("shift").values.reshape(
        len(stack), *[1] * (profile.ndim - 2), -1
    )
    excess = (profile - chance).clip(min=0)
    layers = np.array(list(stack)).reshape(-1, *[1] * (profile.ndim - 1))
    return (layers * excess).sum(0) / excess.sum(0)


centres, centres_without = centre(profile), centre(profile_without)
step, step_half = (
    centres[-1] - centres[0],
    half_width(centres_without[:, -1] - centres_without[:, 0]),
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: CKA by layer for groups of electrodes, with bands over people for the nearest and the farthest; near groups are highest at early layers, far groups at late ones, all above chance. Right: centre and best layer of each group against its distance, rising."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.8), width_ratios=(1.25, 1))
colors = plt.get_cmap(plotting.SEQUENTIAL)(np.linspace(0, 0.9, n_groups))
reach = half_width(profile_without.swapaxes(0, 1))
bound = float(null.max("representation").quantile(0.95, "shift").max())
for k, color in enumerate(colors):
    middle, label = profile[:, k], f"{place[k]:.0f} mm ({(group == k).sum()})"
    if k in (0, n_groups - 1):
        low, high = middle - reach[:, k], middle + reach[:, k]
        plotting.with_band(
            left, list(stack), middle, low, high, color=color, label=label
        )
    else:
        left.plot(list(stack), middle, color=color, label=label)
left.axhline(bound, color="k", ls="--", lw=0.8)
left.text(0, bound, " chance (95 %)", va="bottom", fontsize=8)
top = 1.5 * float((profile + reach).max())
left.set(xlabel="layer", ylabel="CKA", ylim=(0, top))
left.set_title("By layer", fontsize=10)
left.legend(
    title="distance (electrodes)",
    fontsize=8,
    title_fontsize=8,
    ncol=2,
    loc="upper left",
)
right.errorbar(
    place,
    centres,
    yerr=half_width(centres_without),
    fmt="o-",
    ms=3,
    capsize=4,
    color=BLUE,
    label="centre, 95 % interval over people",
)
best_layer = np.array(list(stack))[profile.argmax(0)]
right.plot(place, best_layer, "s", color=ORANGE, ms=5, label="best layer")
if data.truth is not None:
    planted = data.truth.loc[electrodes.index, "layer"].groupby(group).mean()
    right.plot(place, planted, "x", color=GRAY, label="planted (mean)")
all_centre = centre(np.ones_like(profile)).mean()
right.axhline(all_centre, color="k", ls="--", lw=0.8)
right.text(place[0], all_centre, "flat profile", va="bottom", fontsize=8)
right.set(
    xlabel="distance from Heschl's gyrus (mm)", ylabel="layer", ylim=(0, len(stack) - 1)
)
right.set_title("By distance", fontsize=10)
right.legend(fontsize=8)
figure.suptitle(
    f"Layers and groups of electrodes, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["remove-cell"]
glue("n_groups", n_groups, display=False)
glue("n_shifts_text", n_shifts, display=False)
glue("n_electrodes", len(electrodes), display=False)
glue("n_people", len(people), display=False)
glue("n_groups_found", int((p <= 0.05).sum()), display=False)
glue("largest_p", p_text(p.max()), display=False)
planted_step = "(nothing was planted here)"
if data.truth is not None:
    planted_step = f"{planted.iloc[-1] - planted.iloc[0]:.0f}"
glue("planted_step", planted_step, display=False)
glue("near_centre", f"{centres[0]:.1f}", display=False)
glue("far_centre", f"{centres[-1]:.1f}", display=False)
glue("near_best", int(best_layer[0]), display=False)
glue("far_best", int(best_layer[-1]), display=False)
glue("step", f"{step:.1f}", display=False)
glue("step_low", f"{step - step_half:.1f}", display=False)
glue("step_high", f"{step + step_half:.1f}", display=False)
glue("top_cka", f"{profile.max():.2f}", display=False)
glue("null_mean_high", f"{float(null.mean('shift').max()):.3f}", display=False)

# %% [markdown]
# *What to see:* {glue:text}`n_electrodes` electrodes of {glue:text}`n_people` people in groups by distance (the median is given). In
# {glue:text}`n_groups_found` of {glue:text}`n_groups` groups the best layer is beyond chance at 5 % (largest p = {glue:text}`largest_p`). The shifts
# themselves average up to {glue:text}`null_mean_high`, not zero: this is what dependent words do, and why we shift. Best layers
# run from {glue:text}`near_best` in the nearest group to {glue:text}`far_best` in the farthest, centres from {glue:text}`near_centre` to
# {glue:text}`far_centre`: a difference of {glue:text}`step` layers (95 % interval over people {glue:text}`step_low` to
# {glue:text}`step_high`).
#
# In the {term}`virtual cohort` this order was planted, with this model: {glue:text}`planted_step` layers lie between the nearest and the farthest group. CKA sees an order without a single fitted weight, but centres shrink it, because
# profiles are broad: layers are alike. Heights are another matter. No CKA here exceeds {glue:text}`top_cka`: noise in the
# responses lowers it, in each group by another factor, and no ceiling corrects for it. **Compare layers within a group, not groups with each other.**
#
# ## Real people: *Alice* again
#
# The same without fitting, in the six fMRI regions of {cite:t}`brennan2016`: each region gives 27 responses, one a person, at every volume; each layer is brought to
# volumes by the {term}`haemodynamic response`. Slow drift was removed on both sides. Word rate and length are in every layer and in every region, and
# would make all of them alike, so their least-squares fit is subtracted from layers and responses first. No other choice was made. Chance: {glue:text}`bold_shifts_text` circular shifts of the responses in time.

# %%
del features, middle_layers, origin, target  # a gigabyte that nothing below needs
try:
    alice = datasets.load_listening("alice") if real_data else None
except assets.AssetError as error:
    alice = None
    print("This section has no results: the data could not be had.")
    print(error)

# %% tags=["hide-input"]
if alice is not None:
    letters = alice.words["word"].str.len().to_numpy(float)
    counted = np.column_stack([np.ones(len(letters)), letters])
    heard = layer_features(alice.words, base, start_token=True, device=device)
    random_layers = xr.DataArray(
        np.random.default_rng(seed).standard_normal(
            (bold_random, *heard.shape[1:]), dtype="float32"
        ),
        dims=heard.dims,
        coords={"layer": np.arange(-bold_random, 0)},
    )
    described = xr.concat([standardise(heard), random_layers], "layer")
    regressors, nuisance = (
        signals.word_regressors(values, alice.words, alice.signal["time"])
        .isel(time=slice(bold_skip, None))
        .values
        for values in (described, counted)
    )
    nuisance = np.linalg.qr(np.column_stack([np.ones(len(nuisance)), nuisance]))[0]

    def cleaned(values):
        """Without the fit of word rate and length; each column standardised."""
        rest = values - nuisance @ (nuisance.T @ values)
        return rest / rest.std(0)

    every = {
        k: cleaned(x)
        for k, x in zip(described["layer"].values, regressors, strict=True)
    }
    bold_stack = {k: x for k, x in every.items() if k >= 0}
    bold = cleaned(alice.signal.values[bold_skip:])
    region = alice.channels["region"].to_numpy()
    regions = list(alice.channels["region"].unique())
    listener = alice.channels["subject"].to_numpy()
    bold_sides = {name: bold[:, region == name] for name in regions}
    bold_without = {
        f"{name} without {who}": bold[:, (region == name) & (listener != who)]
        for who in np.unique(listener)
        for name in regions
    }
    bold_orders = stats.circular_shifts(len(bold), bold_shifts, min_shift=10, seed=seed)
    bold_null = cka_null(bold_stack, bold_sides, bold_orders)
    found = cka_matrix(bold_stack, {**bold_sides, **bold_without}).values
    lucky = cka_matrix({k: every[k] for k in every if k < 0}, bold_sides).values
    bold_profile = found[:, : len(regions)]
    found_without = found[:, len(regions) :].reshape(len(found), -1, len(regions))
    bold_reach = half_width(found_without.swapaxes(0, 1))
    bold_p = stats.p_values(bold_profile.max(0), bold_null.max("representation").values)
    bold_found = stats.fdr(bold_p, q)[0]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six panels, one a region: CKA of the region's 27 responses with each layer, its interval over people, and a gray band for shifted responses."}}
if alice is not None:
    figure, axes = plt.subplots(2, 3, sharex=True, sharey=True, figsize=(8.8, 4.6))
    low, high = bold_null.quantile([0.025, 0.975], "shift").values
    top = bold_null.max("representation").quantile(0.95, "shift").values
    for k, axis in enumerate(axes.flat):
        axis.fill_between(
            range(len(low)),
            low[:, k],
            high[:, k],
            color=GRAY,
            alpha=0.3,
            lw=0,
            label="shifted (95 %)",
        )
        axis.axhline(
            top[k], color="k", ls="--", lw=0.8, label="best of all, shifted (95 %)"
        )
        axis.axhspan(
            lucky[:, k].min(),
            lucky[:, k].max(),
            color=ORANGE,
            alpha=0.4,
            lw=0,
            label="range of random layers",
        )
        middle, reach = bold_profile[:, k], bold_reach[:, k]
        plotting.with_band(
            axis,
            range(len(middle)),
            middle,
            middle - reach,
            middle + reach,
            color=BLUE,
            label="layers, 95 % interval over people",
        )
        axis.set_title(f"{regions[k]} (p = {bold_p[k]:.3f})", fontsize=10)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, ncol=2, loc="outside lower center", fontsize=8)
    axes[1, 1].set_xlabel("layer")
    figure.supylabel("CKA", fontsize=10)
    figure.suptitle(
        "Real fMRI (alice), 27 people", fontweight="bold", x=0.01, ha="left"
    )
    plt.show()

# %% tags=["remove-cell"]
glue("bold_shifts_text", bold_shifts, display=False)
labels = ["n_bold_found", "bold_regions", "bold_chance", "bold_smallest_p"]
labels += ["bold_lucky", "bold_most", "bold_rest", "bold_clear"]
if alice is not None:
    beyond = (bold_profile > np.maximum(lucky.max(0), top)).sum(0)
    clear = (bold_profile - bold_reach > np.maximum(lucky.max(0), top)).sum(0)

    def counts(layers, chosen):
        """Regions with their numbers of layers, in words."""
        found = zip(np.array(regions)[chosen], layers[chosen], strict=True)
        return ", ".join(f"{name} {number}" for name, number in found) or "none"

    values = [
        int(bold_found.sum()),
        ", ".join(np.array(regions)[bold_found]) or "none",
        f"{float(bold_null.mean()):.3f}",
        p_text(bold_p.min()),
        f"{lucky.mean():.2f}",
        counts(beyond, beyond > len(stack) / 2),
        counts(beyond, beyond <= len(stack) / 2),
        counts(clear, beyond > len(stack) / 2),
    ]
else:
    values = ["(no data in this build)"] * len(labels)
for label, value in zip(labels, values, strict=True):
    glue(label, value, display=False)

# %% [markdown]
# *What to see:* the gray band holds 95 % of the shifts of each layer, the dashed line 95 % of the best layers of shifts; the orange band is the range of
# {glue:text}`bold_random` *random layers*, in which each word is described by random numbers and which then go the same way as
# the real ones. Layers above both the dashed line and the orange band, of {glue:text}`n_layers_all`:
#
# - more than half of the layers: {glue:text}`bold_most`; so many that the blue band, the interval over people, lies above both as a whole: {glue:text}`bold_clear`;
# - fewer: {glue:text}`bold_rest`.
#
# Beyond the regions of the first line we claim nothing, and little where few layers' intervals are clear. (Lying above all {glue:text}`bold_random` random layers is a p of {glue:text}`bold_random_p` at best: a rough guide, not a test.)
#
# Against shifts alone, at a {term}`false discovery rate` of {glue:text}`q_percent` %, {glue:text}`n_bold_found` of the six regions would count: {glue:text}`bold_regions` (smallest p = {glue:text}`bold_smallest_p`). Note where chance
# lies: shifts average {glue:text}`bold_chance` and random layers {glue:text}`bold_lucky`, although this is *debiased* CKA, which is zero for unrelated
# descriptions of independent samples. Neighbouring volumes share most of their blood response, on both sides; a dozen minutes hold few independent
# samples. And random layers know nothing of what a word is, but they know *when* words come: where they lie above the dashed line, a small p-value
# against shifts shows that a region follows the timing of speech, beyond what its linear removal took out, and no more.
#
# Chapter 2, which fits weights, asks whether some combination of features predicts a region; CKA weighs everything that the 27 responses hold, and is the blunter tool. A region without a clear CKA may well be predicted. The responses of 27 people in a region
# hold what they share and what is each one's own; regression can look at the part that the layer predicts, CKA cannot. Six regions without coordinates cannot show an order along cortex, and no layer's lead over its neighbours was tested.

# %% tags=["remove-cell"]
glue("q_percent", f"{100 * q:g}", display=False)
glue("bold_random", bold_random, display=False)
glue("bold_random_p", f"{1 / (1 + bold_random):.2f}", display=False)
glue("n_layers_all", len(stack), display=False)

# %% [markdown]
# ## Exercises
#
# 1. Take the pairs of models for independent samples: compare pairs among the better half with pairs among the worse half by a t-test. How often
#    does it reject when performances are shuffled over models, at a nominal 5 %?
# 2. Repeat the comparison with electrodes using raw features. What happens to the best layers?
# 3. Use plain instead of debiased CKA between layers and electrodes, on 100 and on 800 words drawn at random. Then take the *first* 100 words. What changes, and why?
#
# :::{admonition} Solution 1
# :class: dropdown
# One model that is unlike all others pulls down all pairs that it is in, and the t-test counts each of them as new evidence. The
# permutation of models keeps its rate.
# :::

# %% tags=["hide-cell"]
draws = np.random.default_rng(seed)
alarms = []
for _ in range(200):
    random_order = draws.permutation(size)
    low, high = random_order[: size // 2], random_order[-(size // 2) :]
    within = np.triu_indices(size // 2, 1)
    test = ttest_ind(
        matrix[np.ix_(high, high)][within],
        matrix[np.ix_(low, low)][within],
        alternative="greater",
    )
    proper = convergence(matrix, np.argsort(random_order), n_permutations=199)
    alarms.append((test.pvalue <= 0.05, proper.difference_pvalue <= 0.05))
tests = ["t-test on pairs", "permutation of models"]
(100 * pd.Series(np.mean(alarms, axis=0), tests, name="rejects (%)")).round().astype(
    int
).to_frame()

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# Layers that are ruled by one feature say nothing about most words, and drop out for all groups, whatever else they hold.
# :::

# %% tags=["hide-cell"]
unscaled = dict(zip(own["layer"].values.tolist(), own.values, strict=True))
raw_profile = cka_matrix(unscaled, sides, **settings).values
distances = [f"{value:.0f} mm" for value in place]
rows = {"raw": raw_profile, "standardised": profile[own["layer"].values]}
best_layers = {k: own["layer"].values[v.argmax(0)] for k, v in rows.items()}
at_layer = {k: v[at_ruled].round(2) for k, v in rows.items()}
pd.concat(
    {
        "best layer": pd.DataFrame(best_layers, distances).T,
        f"CKA at layer {int(ruled)}": pd.DataFrame(at_layer, distances).T,
    },
    axis=1,
)

# %% [markdown]
# :::{admonition} Solution 3
# :class: dropdown
# With few words plain CKA rises in all groups: bias, not brains. Debiased values vary by sampling error only. But the first words are one stretch of
# speech, in which neighbours depend on each other and slow changes on both sides can agree by chance: no estimator corrects that; shifts show it.
# :::

# %% tags=["hide-cell"]
at_random = np.random.default_rng(seed).permutation(len(words))
best_cka = {}
for label, some in {
    "100 at random": at_random[:100],
    "800 at random": at_random[:800],
    "the first 100": np.arange(min(100, len(words))),
}.items():
    part = {layer: stack[layer][some] for layer in own["layer"].values.tolist()}
    sides_part = {name: y[some] for name, y in sides.items()}
    for measure, debiased in (("plain", False), ("debiased", True)):
        values = cka_matrix(part, sides_part, debiased=debiased).max("representation")
        best_cka[label, measure] = values.values.round(2)
pd.DataFrame(best_cka, distances).T

# %% [markdown]
# ## Run it on your own data
#
# The test of convergence becomes a claim when the models were trained independently. Name your own, best with ten or more of them, and a
# recording in the layout of chapter 1 (or `podcast`):
#
# ```bash
# papermill notebooks/04_converging_models.ipynb my_convergence.ipynb \
#   -p dataset /path/to/recording -p device cuda \
#   -p base EleutherAI/pythia-410m -y "family: [EleutherAI/pythia-410m, EleutherAI/pythia-160m, facebook/opt-350m, facebook/opt-125m, gpt2, gpt2-medium, EleutherAI/gpt-neo-125m, cerebras/Cerebras-GPT-256M]"
# ```
#
# Eight models can be halved in 70 ways; with four, six ways would not let any difference be significant.
#
# ## What the papers found
#
# {cite:t}`mischler2024` report that high-performing models share their processing hierarchy, with each other and with the brain, and converge
# on similar strategies. How their models were compared, on which matrices, and with which numbers, is not said in the sources that are open, and
# so cannot be set against this chapter. Three of its lessons bear on any such claim. A similarity needs its chance level, because the popular
# measures are high for unrelated descriptions. Models, not pairs, are the samples: twelve of them are a small number. And models that share their text, their
# architecture or an ancestor may be alike for that reason; performance then comes along without being the cause. The family of this chapter shares all three.
