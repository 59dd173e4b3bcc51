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
# # Do better models predict the brain better?
#
# Language models differ in how well they predict text, answer questions and tell grammatical from ungrammatical sentences.
# {cite:t}`mischler2024` report that over twelve models the better ones also predict the brain better, and reach their best
# prediction in earlier layers. One point per model, a dozen points: how is "better" measured, what does such a correlation show,
# and when does it mislead? This chapter measures both sides, with intervals that have been tested on data that hold nothing.
#
# :::{admonition} In this chapter
# **You will learn**
# what benchmark scores can and cannot say; how to measure a model's performance without anyone's benchmark; how to relate
# performance to brain score over models that are alike; why electrodes that hold no language can still have a brain score; and
# what fMRI and EEG of real people say.
#
# **You need** brain scores and peak layers from the previous chapter.
#
# **It takes** about 45 minutes to read, and two minutes to run on two cores once the features are computed.
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
n_components: int = 100  # principal components kept of each layer, for electrodes
n_acoustic: int = 100  # components of the sound in the baseline
n_pairs: int = 10  # minimal pairs of each phenomenon
n_splits: int = 3  # contiguous folds of the outer cross-validation
inner_splits: int = 2  # folds inside each training set that choose the penalty
gap: int = 5  # words left out between training and test words
n_shifts: int = 1  # shifted copies of every electrode, for chance
q: float = 0.05  # false discovery rate of responsive electrodes
seed: int = 0  # of the pairs, the shifts and the intervals
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
real_data: bool = True  # end with fMRI and EEG of real people
real_depths: int = 5  # layers of each model in the sections on real people
bold_splits: int = 4  # folds of the fMRI analysis
bold_gap: int = 10  # volumes (2 s each) left out between training and test
bold_skip: int = 10  # volumes left out at the start: the onset of the story
bold_shifts: int = 100  # shifted copies of the average brain, for chance
erp_splits: int = 5  # folds of the EEG analysis, over items
erp_shifts: int = 100  # shifted copies of the EEG responses, for chance

# %% tags=["hide-input", "remove-stderr"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from IPython.display import display
from myst_nb import glue
from scipy.stats import binom, pearsonr, spearmanr, zscore
from scipy.stats import t as student_t
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from brainalign import datasets, plotting, signals, stats
from brainalign.assets import AssetError
from brainalign.benchmarks import (
    average,
    brain_score,
    minimal_pair_accuracy,
    minimal_pairs,
    next_word,
    performance_correlation,
    published,
)
from brainalign.datasets.alice import by_person
from brainalign.datasets.n400 import before_noun
from brainalign.encoding import cross_validate, shifted_responses
from brainalign.features import models
from brainalign.features.acoustics import mel_spectrogram, word_acoustics
from brainalign.features.language import layer_features, n_layers, surprisal

plotting.use_style()
_ = xr.set_options(display_expand_data=False, display_expand_attrs=False)
BLUE, ORANGE, GREEN, RED, GRAY = (
    plotting.COLORS[name] for name in ("blue", "orange", "green", "red", "gray")
)

# %% [markdown]
# ## What the benchmarks say
#
# A {term}`benchmark` is a set of questions with known answers. For models of the study's size, about seven billion parameters, the
# *Open LLM Leaderboard* {cite:p}`beeching2023` ran six of them in one and the same way:
#
# | benchmark | what is asked | guessing (%) | examples given |
# | --- | --- | --- | --- |
# | ARC, challenge set {cite:p}`clark2018` | school science, several answers to choose from | about 25 | 25 |
# | HellaSwag {cite:p}`zellers2019` | which of four sentences continues the story | 25 | 10 |
# | WinoGrande {cite:p}`sakaguchi2019` | which of two names fills the blank | 50 | 5 |
# | MMLU {cite:p}`hendrycks2021` | exam questions of 57 subjects, four answers | 25 | 5 |
# | GSM8K {cite:p}`cobbe2021` | school arithmetic in words; the answer is a number | 0 | 5 |
# | TruthfulQA {cite:p}`lin2022` | truth, or a common misconception? | not fixed | none |
#
# `published` holds these scores with the source of every row: mostly an
# [archive of the leaderboard](https://github.com/felipemaiapolo/sloth/blob/6dc6bb3efeefc7c1db01d60cba1f4b73e5d260d1/data/open-llm-leaderboard_old.csv),
# for the rest the column `url`. The twelve models below are those that are taken for the study's: {glue:text}`n_confirmed` are named in public accounts of
# it (a news summary and a reading note), the other {glue:text}`n_unconfirmed` are guesses from models of that size and time. Where nothing was published, the place stays empty.

# %%
table = published("leaderboard")
study = table[table["in_study"]]
status = models.registry()["study"]
performance_published = average(table)


def listed(names):
    """Names without their makers, "(?)" after unconfirmed ones."""
    shown = [
        name.split("/")[1] + ("" if status.get(name) == "confirmed" else " (?)")
        for name in names
    ]
    return ", ".join(shown) or "none"


# %% tags=["hide-input"] mystnb={"image": {"alt": "Six panels, one a benchmark, with the published scores of the study's models as points, models ordered by average; dashed lines mark guessing. Most models guess at MMLU and fail at GSM8K."}}
benchmarks = {  # and what guessing gives
    "arc_challenge": ("ARC", 25),
    "hellaswag": ("HellaSwag", 25),
    "winogrande": ("WinoGrande", 50),
    "mmlu": ("MMLU", 25),
    "gsm8k": ("GSM8K", 0),
    "truthfulqa": ("TruthfulQA", None),
}
order = performance_published[study.index].sort_values(na_position="first").index
labels = [listed([name]) for name in order]
figure, axes = plt.subplots(1, 6, sharey=True, figsize=(8.8, 3.6))
for axis, (name, (title, guess)) in zip(axes, benchmarks.items(), strict=True):
    used = name in list(benchmarks)[:3]
    axis.scatter(study.loc[order, name], labels, s=22, color=BLUE if used else ORANGE)
    if guess is not None:
        axis.axvline(guess, color="k", ls="--", lw=0.8)
    axis.set_title(title, fontsize=9)
    axis.set(xlim=(-4, 95), xticks=(0, 40, 80))
    axis.grid(axis="y", lw=0.3)
axes[0].tick_params(axis="y", labelsize=8)
figure.supxlabel("correct (%); dashed: guessing", fontsize=9)
figure.suptitle(
    "Published scores, Open LLM Leaderboard v1", fontweight="bold", x=0.01, ha="left"
)
plt.show()

# %% tags=["remove-cell"]
complete = study.index[performance_published[study.index].notna()]
unscored = study.index[study[list(benchmarks)].isna().all(axis=1)]
further = study[study["kin"].ne("")]
small = table[(table["parameters_millions"] < 15000) & table["kin"].eq("")]
pythia = table[
    table.index.str.contains("pythia")
    & table.index.str.contains("deduped")
    & table["truthfulqa"].notna()
]
fisher_reach = 1.96 / np.sqrt(12 - 3)
glue("n_confirmed", int(status.eq("confirmed").sum()), display=False)
glue("n_unconfirmed", int(status.eq("unconfirmed").sum()), display=False)
glue("n_mmlu_chance", int((study["mmlu"] < 30).sum()), display=False)
glue("n_mmlu", int(study["mmlu"].notna().sum()), display=False)
glue("n_gsm_floor", int((study["gsm8k"] < 10).sum()), display=False)
glue("n_gsm", int(study["gsm8k"].notna().sum()), display=False)
glue(
    "truthful_size",
    f"{spearmanr(pythia['parameters_millions'], pythia['truthfulqa']).statistic:.2f}",
    display=False,
)
glue("n_pythia", len(pythia), display=False)
glue("reported_low", f"{np.tanh(np.arctanh(0.92) - fisher_reach):.2f}", display=False)
glue("reported_high", f"{np.tanh(np.arctanh(0.92) + fisher_reach):.2f}", display=False)
glue("n_kin", len(further), display=False)
glue("kin_names", listed(further.index), display=False)
glue("kin_of", listed(further["kin"].unique()), display=False)
glue("unscored", listed(unscored), display=False)

# %% [markdown]
# *What to see:* the rows are ordered by the average of the three blue benchmarks; "(?)" marks the unconfirmed ones; models without all three stand at
# the bottom (without any published score: {glue:text}`unscored`). TruthfulQA has no fixed guessing level. The orange ones are left out of the average by default, each for a reason that shows in the figure or the table:
#
# - MMLU: {glue:text}`n_mmlu_chance` of {glue:text}`n_mmlu` models are below 30 %, where guessing gives 25 %. Such scores hold noise rather than rank.
# - GSM8K: {glue:text}`n_gsm_floor` of {glue:text}`n_gsm` models solve fewer than 10 %: a floor.
# - TruthfulQA: in the Pythia family, where only size differs, its {term}`rank correlation <Spearman correlation>` with size is {glue:text}`truthful_size` ({glue:text}`n_pythia`
#   models). An average would pull in two directions.
#
# The choice of benchmarks and the rule of averaging are degrees of freedom. `average` has three rules: the mean of {term}`z-scores <z-score>` over models
# that have all benchmarks, the mean of those that are there, and the mean of the percentages. And the {term}`protocol` matters as
# much: the same benchmark asked without examples, or with another prompt, gives other numbers. `average` therefore refuses a
# table of mixed protocols. Here are two protocols side by side, and what performance mostly follows:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: average leaderboard score against number of parameters, rising. Right: average score under the zero-shot protocol against the leaderboard average for the models that have both, close to a line."}}
zero_shot = average(published("zero-shot"))
both = pd.concat([performance_published, zero_shot], axis=1, keys=["few", "zero"])
both = both.dropna()
sized = small.index[performance_published[small.index].notna()]
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.4))
left.scatter(
    small.loc[sized, "parameters_millions"],
    performance_published[sized],
    s=14,
    color=GRAY,
    label="other models",
)
left.scatter(
    table.loc[complete, "parameters_millions"],
    performance_published[complete],
    s=24,
    color=BLUE,
    label="the study's",
)
left.set(xscale="log", xlabel="parameters (millions)", ylabel="benchmark average (z)")
left.set_title("Size")
left.legend(fontsize=8, loc="lower right")
right.scatter(both["few"], both["zero"], s=18, color=GRAY)
right.scatter(
    *both[table["in_study"].reindex(both.index)].to_numpy().T, s=24, color=BLUE
)
right.set(xlabel="leaderboard, benchmark average (z)", ylabel="zero-shot, average (z)")
right.set_title("Protocol")
figure.suptitle("Published scores", fontweight="bold", x=0.01, ha="left")
plt.show()

# %% tags=["remove-cell"]
by_rule = pd.DataFrame(
    {rule: average(study, rule=rule) for rule in ("z", "z-available", "mean")}
)
with_all = average(study, benchmarks)
glue(
    "size_r",
    f"{spearmanr(small.loc[sized, 'parameters_millions'], performance_published[sized]).statistic:.2f}",
    display=False,
)
glue("n_sized", len(sized), display=False)
glue(
    "protocol_r", f"{spearmanr(both['few'], both['zero']).statistic:.2f}", display=False
)
glue("n_both", len(both), display=False)
glue(
    "rule_r",
    f"{spearmanr(by_rule['z'], by_rule['mean'], nan_policy='omit').statistic:.2f}",
    display=False,
)
glue(
    "all_six_r",
    f"{spearmanr(by_rule['z'], with_all, nan_policy='omit').statistic:.2f}",
    display=False,
)

# %% [markdown]
# *What to see:* left, performance goes with size over all models (rank correlation {glue:text}`size_r`, {glue:text}`n_sized` models), so a
# correlation of brain score with performance over models of all sizes may be one with size; the study compared models of one size.
# Right, two protocols rank the {glue:text}`n_both` models that have both alike ({glue:text}`protocol_r`), though not the same. Among the study's models the order by z-scores and that by
# percentages have a rank correlation of {glue:text}`rule_r`, those by three benchmarks and by all six {glue:text}`all_six_r`.
#
# The study is said to report a correlation of .92 between performance and brain score (in a signed public review of an earlier version). If twelve models were twelve
# independent samples, its 95 % interval would run from {glue:text}`reported_low` to {glue:text}`reported_high`. Are they? {glue:text}`n_kin` of the twelve
# ({glue:text}`kin_names`) are {glue:text}`kin_of`, itself one of the twelve, trained further. Models that share weights, text or recipe are not independent, and what they share may
# be what the brain score is sensitive to.
#
# ## Performance that we can measure ourselves
#
# None of the twelve fits into a laptop, and this book has to run without the network. We measure performance in two ways that need only the model:
#
# - **Next word.** How well does it predict each word of speech from the words before it? In bits per word ({term}`surprisal`, lower is
#   better), and as the share of words that were its first guess (top 1) or among its first ten (top 10).
# - **Minimal pairs** ({term}`minimal pair`). Of two sentences that differ in one point of grammar, does it find the grammatical one more probable? The idea and the
#   scoring are those of BLiMP {cite:p}`warstadt2020`; our sentences are generated from templates.

# %%
pairs = minimal_pairs(n_pairs, seed=seed)
examples = pairs.groupby("phenomenon", sort=False).head(1)[
    ["phenomenon", "good", "bad"]
]
examples["phenomenon"] = examples["phenomenon"].str.replace("_", " ")
examples = examples.rename(columns={"good": "grammatical", "bad": "ungrammatical"})
examples.head(6).style.hide(axis="index")

# %% tags=["hide-cell"]
examples.iloc[6:].style.hide(axis="index")

# %% [markdown]
# ### A graded family
#
# Which models? We take one that is small enough, SmolLM2, and **damage** it in graded ways ({term}`graded family`). Let us be plain about what this is: **one model and damaged
# copies of it, not independent models.** They share their text, architecture and input embedding. Along such a family we can learn whether losing
# the ability to predict words costs brain score; we cannot learn whether training better models buys it.
#
# | name | damage |
# | --- | --- |
# | `noise=0.2` | random numbers are added to every weight matrix of the blocks, with 0.2 of that matrix's standard deviation |
# | `bits=4` | every weight is rounded to one of 15 evenly spaced values; `bits=3` leaves 7 |
# | `skip=0.2` | a fifth of the blocks is left out |
# | `span=24` | the attention of each block reaches back 24 tokens |
# | `noise=0.15@bits=4` | both |
#
# (The intact model is stored with four bits a weight, too, but with a scale for each small block of weights; `bits=4` has one scale for a whole row and is far coarser.)
# Strengths were chosen beforehand, so that surprisal on the speech of the {term}`virtual cohort` rises in about even steps.

# %%
family = list(family) or models.graded_family(base)
data = datasets.load_listening(dataset, **dataset_options)
words, passages = data.words, data.words["passage"].to_numpy()
rows, by_phenomenon = {}, {}
for spec in family:
    rows[spec] = next_word(words, spec, device=device)
    by_phenomenon[spec] = minimal_pair_accuracy(pairs, spec, device=device)
performance = pd.DataFrame(rows, index=["bits", "top1", "top10", "n_words"]).T
by_phenomenon = pd.DataFrame(by_phenomenon)
performance["pairs"] = by_phenomenon.mean()
performance["blocks"] = [n_layers(spec) for spec in family]
short = [spec.replace(base, "").lstrip("@") or "intact" for spec in family]
shown = 100 * performance[["top1", "top10", "pairs"]]
shown.insert(0, "bits", performance["bits"])
shown.columns = [
    "surprisal (bits per word)",
    "first guess (% of words)",
    "among first ten (%)",
    "minimal pairs right (%)",
]
shown["blocks"] = performance["blocks"]
shown.set_axis(short).style.format("{:.0f}").format("{:.1f}", subset=shown.columns[0])

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: share of minimal pairs right against bits per word for each family member, coloured by kind of damage, with guessing at one half. Right: heat map of accuracy by phenomenon and member."}}
kinds = [name.split("=")[0] if "@" not in name else "noise + bits" for name in short]
colors = dict(
    zip(
        ["intact", "noise", "bits", "skip", "span", "noise + bits"],
        ["k", BLUE, ORANGE, GREEN, RED, plotting.COLORS["purple"]],
        strict=True,
    )
)
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 4.8), width_ratios=(1, 1.15))
for kind in dict.fromkeys(kinds):
    rows_of = performance[np.array(kinds) == kind]
    left.scatter(
        rows_of["bits"], rows_of["pairs"], color=colors.get(kind, GRAY), label=kind
    )
n_all = len(pairs)
left.axhline(0.5, color="k", ls="--", lw=0.8)
left.axhspan(
    0.5 - 0.98 / np.sqrt(n_all),
    0.5 + 0.98 / np.sqrt(n_all),
    color=GRAY,
    alpha=0.2,
    lw=0,
)
left.set(xlabel="bits per word (lower is better)", ylabel="minimal pairs right (share)")
left.set_ylim(0.2, 1)
left.legend(fontsize=8, loc="lower left", ncol=2)
left.set_title("Two measures of performance")
shown = right.imshow(
    by_phenomenon, vmin=0, vmax=1, cmap="RdBu", aspect="auto", interpolation="nearest"
)
right.set_title("By phenomenon")
right.set_xticks(range(len(short)), short, rotation=90, fontsize=8)
right.set_yticks(
    range(len(by_phenomenon)), by_phenomenon.index.str.replace("_", " "), fontsize=8
)
figure.colorbar(shown, label="share right (white: guessing)")
figure.suptitle(
    f"{base} and its damaged copies, words of the {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["remove-cell"]
glue("n_members", len(family), display=False)
glue("base_bits", f"{performance['bits'].iloc[0]:.1f}", display=False)
glue("worst_bits", f"{performance['bits'].max():.1f}", display=False)
glue("base_top1", f"{100 * performance['top1'].iloc[0]:.0f}", display=False)
glue("base_top10", f"{100 * performance['top10'].iloc[0]:.0f}", display=False)
glue("base_pairs", f"{100 * performance['pairs'].iloc[0]:.0f}", display=False)
glue("worst_pairs", f"{100 * performance['pairs'].min():.0f}", display=False)
glue("n_phenomena", len(by_phenomenon), display=False)
glue("n_all_pairs", n_all, display=False)
glue("n_cell_pairs", n_pairs, display=False)
lucky_low, lucky_high = binom.interval(0.95, n_pairs, 0.5)
glue("cell_low", f"{100 * lucky_low / n_pairs:.0f}", display=False)
glue("cell_high", f"{100 * lucky_high / n_pairs:.0f}", display=False)
glue("data_name", data.name, display=False)
glue("n_passages", len(np.unique(passages)), display=False)
measure_r = spearmanr(-performance["bits"], performance["pairs"]).statistic
glue("measure_r", f"{measure_r:.2f}", display=False)
span = performance[np.array(kinds) == "span"]
values = ["(none here)"] * 2
if len(span):
    values = [f"{100 * span['pairs'].min():.0f}", f"{span['bits'].max():.1f}"]
for name, value in zip(["span_pairs", "span_bits"], values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* left, {glue:text}`n_members` members from {glue:text}`base_bits` to {glue:text}`worst_bits` bits per word. The intact model has {glue:text}`base_top1` % of the words
# as its first guess and {glue:text}`base_top10` % among its first ten, and gets {glue:text}`base_pairs` % of the {glue:text}`n_all_pairs` pairs right; the worst gets
# {glue:text}`worst_pairs` % (the gray band is where guessing would fall in 95 of 100 cases). The two measures rank the members alike, but not the same (rank correlation
# {glue:text}`measure_r`): a shorter reach of attention hardly touches short sentences (down to {glue:text}`span_pairs` %), while running speech becomes
# harder to predict (up to {glue:text}`span_bits` bits). **"Better" depends on the test.** Right, the {glue:text}`n_phenomena` phenomena by member. A cell holds only {glue:text}`n_cell_pairs`
# pairs: guessing alone gives anything from {glue:text}`cell_low` to {glue:text}`cell_high` %.
#
# From here on performance is minus the bits per word on the {glue:text}`n_passages` passages of the {glue:text}`data_name`, also in the sections on fMRI and EEG, where people heard or read other text; the
# pairs come as a second opinion.
#
# ## Brain scores over the family
#
# Each member's layers predict each electrode as in the previous chapter, with four changes that let one chapter hold so many models. They are the same for all members:
#
# - {glue:text}`n_depths_text` layers of each model, evenly spaced from the input embedding to the last;
# - of each layer the {glue:text}`n_components_text` leading {term}`principal components`, so that models do not differ in their number of features. They are learned from the
#   features of all words, as in the study. No response has a part in them (exercise 1 asks what that changes);
# - fewer folds;
# - a baseline that enters every model without a penalty: the {glue:text}`n_acoustic_text` leading components of the spectrogram around the word, its duration and its number of
#   letters. The spectrogram enters on two scales, level (a logarithm) and energy: responses may follow either, and what a baseline of sound does not cover is left to the language model. A brain score
#   here is the **gain** over it: what the layer tells *beyond sound*. Why that matters comes below.
#
# Electrodes were selected as in the first chapter, by silence against speech, without looking at any model.

# %%
try:
    table_responsive = signals.speech_responsive(data.signal, words, q=q)
    responsive = table_responsive["responsive"].to_numpy()
except (ValueError, AttributeError) as error:
    responsive = np.ones(len(data.channels), dtype=bool)
    print(f"All channels are kept: {error}")
if data.truth is not None:  # the simulated acoustic channels belong to nobody
    responsive = responsive & (data.channels["subject"] != "").to_numpy()
responses = data.responses[:, responsive]
people = data.channels["subject"].to_numpy()[responsive]

baseline = np.column_stack(
    [words["offset"] - words["onset"], words["word"].str.len()]
).astype(float)
if data.audio is not None:
    level = mel_spectrogram(data.audio.samples, data.audio.rate, n_bands=16)
    around = [word_acoustics(scale, words) for scale in (level, np.exp(level))]
    around = zscore(np.concatenate(around, axis=1))
    sound = PCA(n_acoustic, svd_solver="full").fit_transform(around)
    baseline = np.column_stack([baseline, sound])

# %% [markdown]
# With the virtual cohort comes a second one, **without language**: the same people and places, every electrode driven by sound alone. It has no part in the claim; it
# tells whether our claims can be trusted. Both go through the same fits, the second as further channels.

# %%
with_silent = data.truth is not None
if with_silent:
    silent = datasets.load_listening(
        dataset, **{**dataset_options, "language": False, "controls": False}
    )
    keep = (silent.truth["kind"] == "sound").to_numpy()
    silent_people = silent.channels["subject"].to_numpy()[keep]
    more = silent.responses[:, keep]
    both_cohorts = xr.concat([responses, more], "channel", coords="minimal")
    del silent  # its signal is large
else:
    both_cohorts = responses
both_cohorts = xr.DataArray(both_cohorts.to_numpy(), dims=("word", "channel"))

# %%
folds = {"groups": passages, "n_splits": n_splits, "inner_splits": inner_splits}
folds |= {"gap": gap, "alphas": np.logspace(1, 5, 5), "device": device}
options = {"n_shifts": n_shifts, "min_shift": 10, "seed": seed}


def evenly(spec, n=n_depths):
    """Layers of a model at evenly spaced depths."""
    return np.unique(np.linspace(0, n_layers(spec), n).round().astype(int))


def leading(features):
    """The leading principal components of each layer, as many for every model."""
    n = min(n_components, *features.shape[1:])
    pca = PCA(n, svd_solver="covariance_eigh")
    scaled = (StandardScaler().fit_transform(layer) for layer in features.to_numpy())
    parts = [pca.fit_transform(layer) for layer in scaled]
    return features[:, :, :n].copy(data=np.stack(parts))


components, scores = {}, {}
for spec in family:
    features = layer_features(
        words, spec, layers=evenly(spec), start_token=True, device=device
    )
    components[spec] = leading(features)
    scores[spec] = brain_score(
        components[spec],
        both_cohorts,
        baseline=baseline,
        standardize=False,
        **folds,
        **options,
    )

# %% [markdown]
# From the scores of a member (layer by electrode) we take three numbers for each electrode: the score of its best layer; the score at the one
# relative depth that is best on average over all members and electrodes (*best common layer*), which leaves nothing to choose for a member; and the relative depth of its best
# layer, 0 for the input embedding and 1 for the last.

# %%
depths = np.linspace(0, 1, min(s.sizes["layer"] for s in scores.values()))


def stacked(name, scores=scores):
    """Scores of all models at the same relative depths, (model, ..., depth, channel)."""
    parts = []
    for fit in scores.values():
        at = np.rint(depths * (fit.sizes["layer"] - 1)).astype(int)
        parts.append(fit[name].isel(layer=at).to_numpy())
    return np.stack(parts)


score, null = stacked("score"), stacked("null")
common = score[:, :, : len(people)].mean((0, 2)).argmax()
measures = {
    "best layer": (score.max(1), null.max(2).swapaxes(0, 1)),
    "best common layer": (score[:, common], null[:, :, common].swapaxes(0, 1)),
    "peak depth": (depths[score.argmax(1)], None),
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Gain over the baseline by relative depth, one line a family member coloured by its bits per word; better members lie higher from the first layers on, all end lower than their peak, and chance is near zero."}}
profile = score[:, :, : len(people)].mean(2)
bits = performance["bits"].to_numpy()
norm = plt.Normalize(bits.min(), bits.max())
cmap = plt.get_cmap(plotting.SEQUENTIAL + "_r")
figure, axis = plt.subplots(figsize=(6.4, 3.6))
for line, value in zip(profile, bits, strict=True):
    axis.plot(depths, line, color=cmap(norm(value)), marker="o", ms=3)
chance = null[..., : len(people)].mean((0, 3)).mean(0)
axis.plot(
    depths, chance, color="k", ls="--", lw=0.8, label="chance (shifted responses)"
)
axis.set(xlabel="relative depth of the layer", ylabel="gain over sound (r)")
axis.set_title(f"Brain score by layer, {data.name}")
axis.legend(fontsize=8)
figure.colorbar(
    plt.cm.ScalarMappable(norm, cmap), ax=axis, label="bits per word (lower is better)"
)
plt.show()

# %% [markdown]
# *What to see:* the mean over electrodes, one line a member. At depth 0 all lines meet, because damage spares the input embedding. The line of the best member is highest at depth {glue:text}`best_depth`
# and ends at {glue:text}`best_end` in the last layer; that of the worst is highest at {glue:text}`worst_depth` and ends at {glue:text}`worst_end`.
#
# ### A correlation over models that are alike
#
# Now the correlation over members of performance with the mean score. Three things would give too narrow an interval, or a correlation out of nothing:
#
# - **Shared luck.** Members are alike, so the noise of an electrode favours or harms them together. A textbook p-value takes the points for independent; how often it errs is
#   unknown. `performance_correlation` therefore draws *people*, each with all members.
# - **Another dozen models.** Members are drawn as well. With so few a plain {term}`bootstrap` gives intervals that are too narrow {cite:p}`hesterberg2015`. We draw somewhat fewer
#   than there are each time, which widens them to what a t interval for a mean would be.
# - **Features that score by themselves.** The best of several layers is above zero by luck, more so when layers differ more. The score that each
#   model gets on {term}`circular shifts <circular shift>` of the responses is subtracted.

# %% tags=["remove-cell"]
for label, k in {"best": bits.argmin(), "worst": bits.argmax()}.items():
    glue(f"{label}_depth", f"{depths[profile[k].argmax()]:.2f}", display=False)
    glue(f"{label}_end", f"{profile[k, -1]:.2f}", display=False)


# %%
def signed(value):
    """Two decimals with a sign, none for zero."""
    text = f"{value:+.2f}"
    return text.lstrip("+-") if float(text) == 0 else text


def over_models(score, people, null=None, performance=-bits, **more):
    """A row of results: r, its intervals, and its range when a model is left out."""
    ask = {"null": null, "seed": seed, **more}
    found = performance_correlation(performance, score, people, **ask)
    these = performance_correlation(performance, score, people, models=False, **ask)
    return {
        "r": found.r,
        "95 % interval": f"{signed(found.low)} to {signed(found.high)}",
        "these models": f"{signed(these.low)} to {signed(these.high)}",
        "one model left out": (
            f"{signed(found.without_low)} to {signed(found.without_high)}"
        ),
        "low": found.low,
        "high": found.high,
        "p": found.p,
    }


heard = slice(None, len(people))
results = {}
for name, (value, chance) in measures.items():
    chance = None if chance is None else chance[..., heard]
    ask = (value[:, heard], people, chance)
    results[name, "bits (Pearson)"] = over_models(*ask)
    results[name, "bits (Spearman)"] = over_models(*ask, method="spearman")
    results[name, "minimal pairs (Pearson)"] = over_models(
        *ask, performance=performance["pairs"]
    )
if performance["blocks"].nunique() > 1:
    results["best layer", "bits, blocks held constant"] = over_models(
        measures["best layer"][0][:, heard],
        people,
        measures["best layer"][1][..., heard],
        covariates=performance["blocks"],
    )
shown_columns = ["r", "95 % interval", "these models", "one model left out"]
main_rows = {name: results[name, "bits (Pearson)"] for name in measures}
pd.DataFrame(main_rows).T[shown_columns].style.format({"r": signed})

# %% [markdown]
# *95 % interval*: other people and other models. *These models*: other people only. *One model left out*: lowest and highest r. With minimal pairs as performance, r of the best layer
# is {glue:text}`pairs_r`. All combinations, ranks (Spearman) included, are folded:

# %% tags=["hide-cell"]
pd.DataFrame(results).T[shown_columns].style.format({"r": signed})


# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels against minus bits per word, one point a member with an interval over people: score of the best layer and of the best common layer, both rising, and relative depth of the peak layer."}}
def of_people(values, people):
    """Means over each person's channels, less chance, (model, person)."""
    return np.stack([values[:, people == p].mean(1) for p in np.unique(people)], 1)


def scatter(axis, values, people, color, marker="o", label=None):
    """Each model's mean over people with its 95 % interval."""
    each = of_people(values, people)
    n = each.shape[1]
    reach = student_t.ppf(0.975, n - 1) * each.std(1, ddof=1) / np.sqrt(n)
    axis.errorbar(
        -bits, each.mean(1), reach, fmt=marker, ms=4, lw=0.8, color=color, label=label
    )


figure, axes = plt.subplots(1, 3, figsize=(8.8, 3.4))
names = ["gain over sound (r)", "gain over sound (r)", "relative depth of the peak"]
for axis, (name, (value, chance)), label in zip(
    axes, measures.items(), names, strict=True
):
    above = value if chance is None else value - chance.mean(0)
    scatter(axis, above[:, heard], people, BLUE)
    found = results[name, "bits (Pearson)"]
    axis.set_title(
        f"{name.capitalize()}\nr = {signed(found['r'])} ({found['95 % interval']})",
        fontsize=9,
    )
    axis.set(xlabel="performance (minus bits per word)", ylabel=label)
    axis.axhline(0.5 if chance is None else 0, color="k", ls="--", lw=0.8)
figure.suptitle(
    f"{len(family)} members of one family, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["remove-cell"]
glue("n_depths_text", len(depths), display=False)
glue("n_components_text", n_components, display=False)
glue("n_acoustic_text", n_acoustic, display=False)
glue("n_used_electrodes", len(people), display=False)
glue("n_used_people", len(np.unique(people)), display=False)


def verdict(found):
    """Whether an interval excludes 0, in words."""
    return "excludes 0" if found["low"] > 0 or found["high"] < 0 else "covers 0"


main = results["best layer", "bits (Pearson)"]
peaked = results["peak depth", "bits (Pearson)"]
glue("main_r", signed(main["r"]), display=False)
pairs_row = results["best layer", "minimal pairs (Pearson)"]
glue("pairs_r", signed(pairs_row["r"]), display=False)
glue("main_interval", main["95 % interval"], display=False)
glue("main_verdict", verdict(main), display=False)
glue("main_without", main["one model left out"], display=False)
glue("peak_r", signed(peaked["r"]), display=False)
glue("peak_interval", peaked["95 % interval"], display=False)
glue("peak_verdict", verdict(peaked), display=False)
glue("peak_direction", "earlier" if peaked["r"] < 0 else "later", display=False)
agrees = "the direction" if peaked["r"] < 0 else "the opposite"
glue("peak_agrees", agrees, display=False)
glue("common_depth", f"{depths[common]:.2f}", display=False)
best_gain = measures["best layer"][0][:, heard].mean(1)
glue("gain_base", f"{best_gain[0]:.2f}", display=False)
glue("gain_worst", f"{best_gain[bits.argmax()]:.2f}", display=False)

# %% [markdown]
# *What to see:* {glue:text}`n_used_electrodes` responsive electrodes of {glue:text}`n_used_people` people; bars are 95 % intervals over people. The gain of the best layer falls from {glue:text}`gain_base` for the intact model to
# {glue:text}`gain_worst` for the worst; its correlation with performance is {glue:text}`main_r`, interval {glue:text}`main_interval`, which {glue:text}`main_verdict`. It stays within
# {glue:text}`main_without` whichever member is left out. Peaks of better members lie {glue:text}`peak_direction` ({glue:text}`peak_r`, interval {glue:text}`peak_interval`, which
# {glue:text}`peak_verdict`), {glue:text}`peak_agrees` of what the study reports for separate models. The best common layer lies at depth {glue:text}`common_depth`, a compromise between members whose best layers differ. Beware of the last panel: where a model predicts little, its "best" layer is drawn by chance and lies anywhere, in the middle on average (dashed), or at the input that damage has spared.
#
# ### What is true by construction
#
# The virtual cohort was planted from layers of the intact model. A copy with less of that model in it must predict it less well: **this correlation was put in.** That it comes out
# shows that the method can see such a relation through noise, with an interval that knows how alike the members are. It shows nothing about brains, nor that *performance* is what counts: had we
# planted from a damaged member, that one would win (exercise 2). Nor is a family of damaged copies a test of whether better training makes models more brain-like.
#
# ## The same people without language
#
# If our method is sound, the second cohort must show nothing. First the score a careless analyst would take, **without** the acoustic baseline, of the best, the middle and the worst member; then the gain over sound, for all of them.

# %%
careless, ranked = {}, np.argsort(bits)
few = {family[ranked[k]] for k in (0, len(family) // 2, -1)}
if with_silent:
    for spec in sorted(few):
        sound_only = xr.DataArray(more.to_numpy(), dims=("word", "channel"))
        some = components[spec][::4]
        fit = brain_score(some, sound_only, standardize=False, **folds)
        careless[spec] = float(fit["score"].max("layer").mean())
    apart = slice(len(people), None)
    nothing = {}
    for name, (value, chance) in measures.items():
        chance = None if chance is None else chance[..., apart]
        nothing[name] = over_models(value[:, apart], silent_people, chance)
    display(pd.DataFrame(nothing).T[shown_columns].style.format({"r": signed}))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Gain over sound of the best layer against performance for the cohort with and the cohort without language; the latter lies flat at zero."}}
if with_silent:
    figure, axis = plt.subplots(figsize=(6.4, 3.4))
    value, chance = measures["best layer"]
    above = value - chance.mean(0)
    scatter(axis, above[:, heard], people, BLUE, label="language and sound")
    scatter(axis, above[:, apart], silent_people, RED, "^", "sound only")
    axis.axhline(0, color="k", ls="--", lw=0.8)
    axis.set(xlabel="performance (minus bits per word)", ylabel="gain over sound (r)")
    axis.set_title("Best layer, virtual cohorts with and without language")
    axis.legend(fontsize=8)
    plt.show()

# %% tags=["remove-cell"]
names = ["careless", "nothing_r", "nothing_interval"]
names += ["nothing_verdict", "nothing_gain", "nothing_peak", "nothing_peak_verdict"]
values = ["(nothing was planted here)"] * len(names)
if with_silent:
    found, peak_found = nothing["best layer"], nothing["peak depth"]
    values = [
        " to ".join(sorted({f"{ends(careless.values()):.2f}" for ends in (min, max)})),
        signed(found["r"]),
        found["95 % interval"],
        verdict(found),
        f"{np.abs(above[:, apart].mean(1)).max():.3f}",
        peak_found["95 % interval"],
        verdict(peak_found),
    ]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* electrodes without any language have a "brain score" of {glue:text}`careless` if sound is not accounted for: words have sounds, and a model that
# knows the word knows much of its sound. Beyond sound the gain is at most {glue:text}`nothing_gain`, and its correlation with performance, {glue:text}`nothing_r`, has an interval of
# {glue:text}`nothing_interval`, which {glue:text}`nothing_verdict`. This cohort is a single draw. The interval for these models should miss 0 in about five of 100 cohorts without language; the wider one, which also
# draws models, in fewer (exercise 3). (The peak's interval is {glue:text}`nothing_peak`, and {glue:text}`nothing_peak_verdict`; a peak among scores that are all zero means nothing.)
#
# ## Real people: fMRI
#
# Do people follow? The fMRI of chapter 2: 27 people, one story, six regions; score is the gain of the best of {glue:text}`n_real_depths` layers over word rate and word length, with as many components for every model as above.
# First the average brain, in which noise is low. Its chance level comes from
# shifted responses, the same shift for all regions, fitted for every model: `p` is the share of shifts with a slope at least as steep. It asks whether another text-like rhythm would have done as well, since all people heard one story. Then person by
# person, which gives an interval over people. The two {term}`bidirectional models <bidirectional model>` predict no next word, hence have no performance on our scale; their scores are drawn as lines, from the {glue:text}`outsider_text` words up to each word.

# %%
try:
    alice = datasets.load_listening("alice") if real_data else None
    erp = datasets.load_listening("n400") if real_data else None
except AssetError as error:
    alice = erp = None
    print("The sections on real people have no results: data could not be had.")
    print(error)

# %%
if alice is not None:

    def regressors(of_words):
        """Word values at the volumes, without slow drift and the story's onset."""
        moved = signals.word_regressors(of_words, alice.words, alice.signal["time"])
        return moved.isel(time=slice(bold_skip, None))

    letters = alice.words["word"].str.len().to_numpy(float)
    rate = regressors(np.column_stack([np.ones(len(letters)), letters]))
    bold = alice.signal.drop_vars("channel").isel(time=slice(bold_skip, None))
    brain = by_person(alice).mean("subject").isel(time=slice(bold_skip, None))
    regions = list(brain["region"].values)
    ask = {"min_shift": bold_gap, "baseline": rate, "together": True, "seed": seed}
    bold_copies = np.concatenate(  # the average brain, its shifts, people, a shift
        [
            brain.to_numpy(),
            *shifted_responses(brain, bold_shifts, **ask),
            bold.to_numpy(),
            *shifted_responses(bold, 1, **ask),
        ],
        axis=1,
    )
    bold_folds = {"n_splits": bold_splits, "inner_splits": 2, "gap": bold_gap}
    bold_folds |= {"alphas": np.logspace(0, 6, 7), "device": device}
    bold_folds |= {"baseline": rate, "standardize": False}
    bold_fit = {}
    for spec in [*family, *outsiders]:
        states = layer_features(
            alice.words,
            spec,
            context=outsider_context if spec in outsiders else None,
            layers=evenly(spec, real_depths),
            start_token=True,
            device=device,
        )
        fit = cross_validate(leading(regressors(states)), bold_copies, **bold_folds)
        bold_fit[spec] = (fit["score"] - fit["baseline_score"]).to_numpy()

# %%
if alice is not None:
    bold_people = alice.channels["subject"].to_numpy()
    # copies of each kind: (model, copy, channel), the first one not shifted
    n_average = (1 + bold_shifts) * len(regions)
    best_bold = np.stack([gain.max(0) for gain in bold_fit.values()])
    average_all = best_bold[:, :n_average].reshape(len(best_bold), -1, len(regions))
    person_all = best_bold[:, n_average:].reshape(len(best_bold), 2, -1)
    n = len(family)
    group_score, group_null = average_all[:n, 0], average_all[:n, 1:].swapaxes(0, 1)
    person_score, person_null = person_all[:n, 0], person_all[:n, 1:].swapaxes(0, 1)
    bold_results = {
        "average brain": over_models(group_score, regions, group_null),
        "person by person": over_models(person_score, bold_people, person_null),
        "person by person, minimal pairs": over_models(
            person_score, bold_people, person_null, performance=performance["pairs"]
        ),
    }
    bold_table = pd.DataFrame(bold_results).T
    # an interval over six regions of one brain is none over people
    bold_table.loc["average brain", shown_columns[1:3]] = "-"
    # one shift gives a mean to subtract, no p-value
    bold_table.loc[bold_table.index[1:], "p"] = np.nan
    display(
        bold_table[[*shown_columns, "p"]].style.format(
            {"r": signed, "p": "{:.3f}"}, na_rep="-"
        )
    )

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: gain of the best layer in the average brain against performance, far above the chance band, with the two bidirectional models as lines. Right: the same, mean over people with intervals."}}
if alice is not None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.6))
    left.fill_between(
        -np.sort(bits),
        np.quantile(group_null.mean(2), 0.95, axis=0)[np.argsort(bits)],
        group_null.mean((0, 2))[np.argsort(bits)],
        color=GRAY,
        alpha=0.3,
        lw=0,
        label="chance (mean to 95 %)",
    )
    left.scatter(-bits, group_score.mean(1), color=BLUE, s=20, label="family")
    scatter(
        right, person_score - person_null.mean(0), bold_people, BLUE, label="family"
    )
    for k, (spec, style) in enumerate(zip(outsiders, ("-", ":"), strict=False), n):
        left.axhline(average_all[k, 0].mean(), color=ORANGE, ls=style, label=spec)
        right.axhline(
            (person_all[k, 0] - person_all[k, 1]).mean(), color=ORANGE, ls=style
        )
    left.set_title("Average brain (six regions)")
    right.set_title("Person by person, chance subtracted")
    right.axhline(0, color="k", ls="--", lw=0.8)
    for axis in (left, right):
        axis.set(xlabel=f"performance (minus bits per word, {data.name})")
        axis.set_ylabel("gain over word rate and length (r)")
    left.set_ylim(0, 1.4 * average_all[:, 0].mean(1).max())
    right.set_ylim(-0.01, None)
    left.legend(fontsize=7, ncol=2, loc="upper left")
    figure.suptitle("Real fMRI (alice)", fontweight="bold", x=0.01, ha="left")
    plt.show()

# %% tags=["remove-cell"]
names = ["bold_r", "bold_p", "bold_group_word", "bold_person_r", "bold_person_interval"]
names += ["bold_person_verdict", "bold_person_these", "bold_input", "bold_base"]
names += ["bold_outsiders", "n_bold_people", "bold_chance", "bold_chance_high"]
names += ["bold_worst", "bold_best", "bold_best_name", "bold_least_p"]
values = ["(no data in this build)"] * len(names)
if alice is not None:
    group, person = bold_results["average brain"], bold_results["person by person"]
    group_mean, lucky = average_all[:, 0].mean(1), group_null.mean(2)
    values = [
        signed(group["r"]),
        f"{group['p']:.3f}",
        "beyond" if group["p"] < 0.05 else "within",
        signed(person["r"]),
        person["95 % interval"],
        verdict(person),
        person["these models"],
        f"{bold_fit[family[0]][0, : len(regions)].mean():.2f}",
        f"{group_mean[0]:.2f}",
        ", ".join(
            f"{spec} {group_mean[k]:.2f} (more than {lower} of the {n} members)"
            for k, spec in enumerate(outsiders, n)
            for lower in [(group_mean[:n] < group_mean[k]).sum()]
        ),
        len(np.unique(bold_people)),
        f"{lucky.mean():.2f}",
        f"{np.quantile(lucky, 0.95, axis=0).max():.2f}",
        f"{group_mean[bits.argmax()]:.2f}",
        f"{group_mean[:n].max():.2f}",
        short[group_mean[:n].argmax()],
        f"{1 / (1 + bold_shifts):.3f}",
    ]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)
glue("outsider_text", outsider_context, display=False)
glue("n_real_depths", real_depths, display=False)

# %% [markdown]
# *What to see:* in the average brain the intact model gains {glue:text}`bold_base`, the input embedding alone, common to the whole family, {glue:text}`bold_input`. Chance averages {glue:text}`bold_chance`
# and stays below {glue:text}`bold_chance_high` in 95 of 100 shifts. The member that predicts words worst gains {glue:text}`bold_worst`; the highest gain is that of {glue:text}`bold_best_name`, {glue:text}`bold_best`.
# Gain and performance correlate with {glue:text}`bold_r`; against shifted responses this is {glue:text}`bold_group_word` what chance gives (p = {glue:text}`bold_p`; the least that so many shifts can give is {glue:text}`bold_least_p`).
# Person by person, with {glue:text}`n_bold_people` people, the correlation is {glue:text}`bold_person_r`, interval {glue:text}`bold_person_interval`, which {glue:text}`bold_person_verdict`
# (for these models alone: {glue:text}`bold_person_these`).
#
# The bidirectional models gain: {glue:text}`bold_outsiders`. They were trained to embed sentences and predict no next word; as far as they lie above members of the family, predicting words well is not
# needed for such a score.
#
# Two limits: the story lasts twelve minutes, and damage spares layer 0, so that the best layer of a broken model can fall back on it, which narrows the range over members.
#
# ## Real people: EEG
#
# The {term}`N400` is a deflection of the EEG some 400 ms after a word, larger (more negative) for unexpected words {cite:p}`kutas1980`. In the data of {cite:t}`nieuwland2018`, people in several laboratories read sentences whose noun was more or less
# expected. We average people within each laboratory and take *laboratories* as the samples. Two questions for each model:
#
# - **Surprisal.** How strongly does the noun's {term}`surprisal` go with a larger N400, over sentences? (Here the sign is turned so that a positive number means the expected direction; chapter 5 keeps the sign of the voltage.) This needs next-word predictions, so only the {term}`causal <causal language model>` family has it.
# - **Layers.** How well do the features of the sentence up to the noun predict the N400 of sentences held out? Contiguous folds, so that the two versions of a sentence are not split between training and test (a gap of one sentence). The
#   bidirectional models can take part: they read the sentence up to its noun and no further.

# %%
if erp is not None:
    nouns = np.flatnonzero(erp.words["is_noun"])
    labs = erp.channels["lab"].to_numpy()
    trials = pd.DataFrame(erp.responses.to_numpy()[nouns].T)
    lab_names = np.unique(labs)
    by_lab = trials.groupby(labs).mean().loc[lab_names].T.to_numpy()
    read = np.isfinite(by_lab).all(1)  # by people of every laboratory
    by_lab = xr.DataArray(by_lab[read], dims=("word", "channel"))
    everyone = xr.DataArray(
        by_lab.mean("channel").to_numpy()[:, None], dims=("word", "channel")
    )
    beginnings = before_noun(erp.words)
    is_noun = beginnings["is_noun"].to_numpy()
    texts = beginnings.groupby("passage", sort=False)["word"].agg(" ".join)
    texts = texts.reset_index()
    cloze = beginnings["cloze"].to_numpy()[is_noun][read]

    erp_options = {
        "n_splits": erp_splits,
        "inner_splits": 2,
        "gap": 1,
        "device": device,
    }
    erp_options |= {
        "alphas": np.logspace(0, 5, 6),
        "n_shifts": erp_shifts,
        "min_shift": 2,
        "seed": seed,
    }
    both_erp = xr.concat([by_lab, everyone], "channel")
    bits_of, erp_fit = {}, {}
    for spec in [*family, *outsiders]:
        if spec in family:
            found = surprisal(beginnings, spec, start_token=True, device=device)
            bits_of[spec] = found.to_numpy()[is_noun][read]
        features = layer_features(
            texts,
            spec,
            context=1 if spec in outsiders else None,
            layers=evenly(spec, real_depths),
            start_token=True,
            device=device,
        )
        erp_fit[spec] = brain_score(features[:, read], both_erp, **erp_options)

# %%
if erp is not None:
    surprising = zscore(np.stack([bits_of[spec] for spec in family]), axis=1)
    observed = zscore(by_lab.to_numpy())
    relation = -surprising @ observed / len(observed)  # (model, laboratory)
    order = stats.circular_shifts(len(observed), erp_shifts, min_shift=2, seed=seed)
    relation_null = np.stack([-surprising @ observed[o] / len(observed) for o in order])
    best_layers = [erp_fit[spec].max("layer") for spec in family]
    erp_score = np.stack([fit["score"] for fit in best_layers])
    erp_null = np.stack([fit["null"] for fit in best_layers], axis=1)
    erp_results = {
        "surprisal": over_models(relation, lab_names, relation_null),
        "layers": over_models(erp_score[:, :-1], lab_names, erp_null[..., :-1]),
        "layers, minimal pairs": over_models(
            erp_score[:, :-1],
            lab_names,
            erp_null[..., :-1],
            performance=performance["pairs"],
        ),
    }
    erp_table = pd.DataFrame(erp_results).T[[*shown_columns, "p"]]
    display(erp_table.style.format({"r": signed, "p": "{:.3f}"}))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: strength of the relation of surprisal with the N400 against performance, rising, below cloze probability as a line. Right: cross-validated prediction of the N400 from the best layer, with a band of chance for all people and one for laboratories, and the bidirectional models as lines."}}
if erp is not None:
    cloze_r = float(pearsonr(cloze, everyone.to_numpy()[:, 0]).statistic)
    mean_relation = -surprising @ zscore(everyone.to_numpy()[:, 0]) / len(observed)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.6))
    scatter(left, relation, lab_names, BLUE, label="each laboratory (mean)")
    left.scatter(-bits, mean_relation, s=16, color=RED, marker="^", label="all people")
    left.axhline(cloze_r, color=GREEN, label="cloze, all people")
    left.axhline(0, color="k", ls="--", lw=0.8)
    left.set(
        ylabel="relation (r; sign turned for surprisal)", ylim=(None, cloze_r + 0.2)
    )
    left.set_title("Surprisal of the noun")
    scatter(right, erp_score[:, :-1], lab_names, BLUE, label="each laboratory (mean)")
    right.scatter(
        -bits, erp_score[:, -1], s=16, color=RED, marker="^", label="all people"
    )
    for lucky, color, who in (
        (erp_null[..., -1], RED, "all people"),
        (erp_null[..., :-1].mean(2), BLUE, "laboratories"),
    ):
        right.fill_between(
            -bits[ranked],
            lucky.mean(0)[ranked],
            np.quantile(lucky, 0.95, axis=0)[ranked],
            color=color,
            alpha=0.2,
            lw=0,
            label=f"chance, {who} (mean to 95 %)",
        )
    for spec, style in zip(outsiders, ("-", ":"), strict=False):
        right.axhline(
            float(erp_fit[spec]["score"].max("layer")[-1]),
            color=ORANGE,
            ls=style,
            label=f"{spec}, all people",
        )
    right.set(ylabel="cross-validated prediction (r)", ylim=(None, 0.95))
    right.set_title("Best layer")
    for axis in (left, right):
        axis.set_xlabel(f"performance (minus bits per word, {data.name})")
    left.legend(fontsize=7)
    right.legend(fontsize=7)
    figure.suptitle(
        f"Real EEG ({erp.name}), {len(lab_names)} laboratories",
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    plt.show()

# %% tags=["remove-cell"]
names = ["erp_sentences", "erp_people", "erp_labs", "erp_dropped"]
names += ["erp_base_r", "erp_worst_r", "erp_cloze_r"]
names += ["erp_r", "erp_interval", "erp_verdict", "erp_p"]
names += ["erp_layer_r", "erp_layer_interval", "erp_layer_verdict", "erp_layer_p"]
names += ["erp_layer_base", "erp_layer_chance", "erp_outsiders", "erp_least_p"]
values = ["(no data in this build)"] * len(names)
if erp is not None:
    by_bits, by_layer = erp_results["surprisal"], erp_results["layers"]
    values = [
        int(read.sum()),
        len(erp.channels),
        len(lab_names),
        int((~read).sum()),
        signed(mean_relation[0]),
        signed(mean_relation[bits.argmax()]),
        f"{cloze_r:.2f}",
        signed(by_bits["r"]),
        by_bits["95 % interval"],
        verdict(by_bits),
        f"{by_bits['p']:.3f}",
        signed(by_layer["r"]),
        by_layer["95 % interval"],
        verdict(by_layer),
        f"{by_layer['p']:.3f}",
        f"{erp_score[0, -1]:.2f}",
        f"{np.quantile(erp_null[:, 0, -1], 0.95):.2f}",
        ", ".join(
            f"{spec} {float(erp_fit[spec]['score'].max('layer')[-1]):.2f}"
            for spec in outsiders
        ),
        f"{1 / (1 + erp_shifts):.3f}",
    ]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* {glue:text}`erp_sentences` sentences, {glue:text}`erp_people` people in {glue:text}`erp_labs` laboratories ({glue:text}`erp_dropped` sentences that some laboratory lacks are left out). Left, for all people
# together the intact model's surprisal goes with the N400 by {glue:text}`erp_base_r`, that of the worst member by {glue:text}`erp_worst_r`; {term}`cloze probability`, what other people would have said, by
# {glue:text}`erp_cloze_r`. Over members the relation correlates with performance at {glue:text}`erp_r`, interval over laboratories and members {glue:text}`erp_interval`, which {glue:text}`erp_verdict`
# (p against shifted sentences {glue:text}`erp_p`; the least that so many shifts can give is {glue:text}`erp_least_p`). Right, each band of chance belongs to the points of its colour. For all people the best layer of the intact model predicts held-out sentences with {glue:text}`erp_layer_base`, where chance stays below {glue:text}`erp_layer_chance` in 95 of 100 shifts; over
# members: {glue:text}`erp_layer_r`, interval {glue:text}`erp_layer_interval`, which {glue:text}`erp_layer_verdict` (p = {glue:text}`erp_layer_p`). The bidirectional models: {glue:text}`erp_outsiders`.
#
# Here performance and measure are close relatives: a model that cannot predict words has surprisals that mean nothing, and so cannot go with anything that follows predictability. That people's N400 does follow it is the finding; that damage destroys
# the relation is what one would expect.
#
# ## Exercises
#
# 1. Components were learned from all words. How much does that change? Learn them inside each training fold instead (`n_components` of `cross_validate`), for the intact model.
# 2. Plant responses from a *damaged* member and see which member predicts them best. What does that say about the correlation above?
# 3. How often would a textbook p-value call noise significant in this family? Draw cohorts of pure noise and count, beside the interval of `performance_correlation`.
#
# :::{admonition} Solution 1
# :class: dropdown
# The features of the test words have a say in which directions are kept, the responses have none; scores differ little.
# :::

# %% tags=["hide-cell"]
outside = components[family[0]][[len(depths) // 2]]
middle = int(outside["layer"][0])
features = layer_features(
    words, family[0], layers=[middle], start_token=True, device=device
)
heard_only = xr.DataArray(responses.to_numpy(), dims=("word", "channel"))
inside = brain_score(
    features, heard_only, baseline=baseline, n_components=n_components, **folds
)
outside = brain_score(
    outside, heard_only, baseline=baseline, standardize=False, **folds
)
print(
    f"gain of layer {middle}, components from all words "
    f"{float(outside['score'].mean()):.3f}, from training words "
    f"{float(inside['score'].mean()):.3f}"
)

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# The member that the responses were planted from predicts them best, or one close to it, though others perform better. Over the family, performance then no longer orders the
# scores. A correlation of performance with brain score in a planted cohort tells what was planted.
# :::

# %% tags=["hide-cell"]
rng = np.random.default_rng(seed)
source = family[2 * len(family) // 3]
tested = sorted({0, len(family) // 3, family.index(source), len(family) - 1})
driving = components[source][-3, :, :50].to_numpy()
signal = zscore(driving) @ rng.standard_normal((50, 40))
planted = zscore(signal) + rng.standard_normal(signal.shape)
planted = xr.DataArray(planted, dims=("word", "channel"))
for k in tested:
    deep = components[family[k]][[-3]]
    fit = brain_score(deep, planted, standardize=False, **folds)
    mark = "  <- planted from this one" if family[k] == source else ""
    print(f"{bits[k]:5.1f} bits: {float(fit['score'].mean()):.3f}{mark}")

# %% [markdown]
# :::{admonition} Solution 3
# :class: dropdown
# Each promises 5 in 100; by luck {glue:text}`rate_low` to {glue:text}`rate_high` of {glue:text}`n_noise` cohorts are to be expected.
#
# | test | significant | that is |
# | --- | --- | --- |
# | textbook p-value | {glue:text}`rate_textbook` | {glue:text}`rate_textbook_word` |
# | interval for these models | {glue:text}`rate_ours` | {glue:text}`rate_ours_word` |
# | interval for other models, too | {glue:text}`rate_wider` | {glue:text}`rate_wider_word` |
#
# The textbook test takes members for independent; which way the luck that they share bends it depends on how it runs along the family, which nobody
# knows beforehand. The last interval also speaks about other models and is wider for it: on noise it errs on the safe side.
# :::

# %% tags=["hide-cell"]
n_cohorts, n_each = 100, 5
noise = np.random.default_rng(seed).standard_normal((len(words), n_cohorts * n_each))
noise = xr.DataArray(noise, dims=("word", "channel"))
lucky = []
for spec in family:
    middle_layer = components[spec][[len(depths) // 2]]
    fit = brain_score(middle_layer, noise, standardize=False, **folds)
    lucky.append(fit["score"].values[0])
lucky = np.stack(lucky).reshape(len(family), n_cohorts, n_each)
textbook, ours, wider = 0, 0, 0
for k in range(n_cohorts):
    cohort = lucky[:, k]
    textbook += pearsonr(-bits, cohort.mean(1)).pvalue < 0.05
    found = performance_correlation(-bits, cohort, models=False, seed=seed)
    ours += not found.low <= 0 <= found.high
    found = performance_correlation(-bits, cohort, seed=seed)
    wider += not found.low <= 0 <= found.high
pd.Series(
    {
        "textbook p-value": textbook,
        "interval for these models": ours,
        "interval for other models, too": wider,
    },
    name=f"significant, of {n_cohorts}",
).to_frame()

# %% tags=["remove-cell"]
usual = binom.interval(0.95, n_cohorts, 0.05)
glue("n_noise", n_cohorts, display=False)
for label, count in zip(("low", "high"), usual, strict=True):
    glue(f"rate_{label}", int(count), display=False)
for label, count in {"textbook": textbook, "ours": ours, "wider": wider}.items():
    word = "more often than promised" if count > usual[1] else "as promised"
    word = "less often than promised" if count < usual[0] else word
    glue(f"rate_{label}", int(count), display=False)
    glue(f"rate_{label}_word", word, display=False)

# %% [markdown]
# ## Run it on your own data
#
# Other models are a list; they need not be relatives, and the more independent they are, the more the correlation says. With the
# study's recordings, or your own, and models from the hub:
#
# ```bash
# papermill notebooks/03_better_models.ipynb my_models.ipynb -p dataset podcast -p device cuda \
#   -y 'family: [mistralai/Mistral-7B-v0.1, EleutherAI/pythia-6.9b, facebook/opt-6.7b, tiiuae/falcon-7b, mosaicml/mpt-7b]'
# ```
#
# With independent models, use the published averages as a second performance (`average(published())`) and hold width and size
# constant (`covariates` of `performance_correlation`, from `models.registry()`); over one family of one size they say nothing.
#
# ## What the papers found
#
# {cite:t}`mischler2024` report that over twelve models of about seven billion parameters performance on language benchmarks
# correlates with brain score (r = .92, as given in a signed public review of an earlier version), and that better models reach their best prediction in earlier layers. This account rests on the abstract, a signed
# open review and reports: the article is behind a paywall, and a preprint exists (arXiv:2401.17671) that could not be opened here. Which benchmarks, how they were averaged, and
# where the scores came from is in none of these sources. Their electrodes were intracranial, ours are planted; their models were separate models, ours are damaged copies of one. This chapter
# neither repeats nor contradicts their finding: it shows how to ask the question so that the answer can be trusted, that a brain score must be held against sound, and how far real fMRI and EEG of people follow a model's loss of skill. Whether
# better-trained models are more brain-like takes models that were trained separately; give the notebook a list of them.
