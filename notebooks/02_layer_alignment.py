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
# # Which layer predicts which electrode?
#
# A language model turns words into numbers in steps, its layers. The brain turns sound into meaning in steps, along the
# temporal lobe and beyond. Do the steps match? {cite:t}`mischler2024` asked this by predicting every electrode from every layer.
# This chapter does the same where the answer is known, and then asks a coarser question of six fMRI regions in real people.
#
# :::{admonition} In this chapter
# **You will learn**
# what the layers of a language model hold; how ridge regression with nested cross-validation turns a layer into a *score* for an
# electrode; how to tell a score from chance; what a *peak layer* is and how to relate it to a place in cortex; how to check
# that a language model's fit is more than acoustics; and how to ask whether a layer says more than the mere rate of words.
#
# **You need** the word responses of the previous chapter.
#
# **It takes** about 45 minutes to read, and five minutes to run on two cores once the features are computed (two more before).
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
dataset: str = "virtual"  # "virtual", "podcast" or a folder of your own recordings
dataset_options: dict = {}  # passed to datasets.load_listening
n_splits: int = 5  # contiguous folds of the outer cross-validation
inner_splits: int = 3  # folds inside each training set that choose the penalty
gap: int = 5  # words left out between training and test words
n_shifts: int = 10  # refitted circular shifts of every electrode, for chance
q: float = 0.05  # false discovery rate
seed: int = 0  # of the shifts and the bootstrap
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
real_data: bool = True  # end with the fMRI of 27 real people
bold_splits: int = 6  # folds of the fMRI analysis: blocks of two minutes
bold_gap: int = 10  # volumes (2 s each) left out between training and test
bold_skip: int = 10  # volumes left out at the start: the onset of the story
bold_shifts: int = 200  # refitted circular shifts of every region, for chance
bold_boot: int = 100  # bootstrap averages of people
bold_random: int = 20  # layers of random numbers to compare with

# %% tags=["hide-input", "remove-stderr"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from myst_nb import glue
from scipy.stats import binomtest
from sklearn.model_selection import KFold

from brainalign import datasets, plotting, signals, stats
from brainalign.assets import AssetError
from brainalign.datasets.alice import (
    by_person,
    sound_power,
    split_averages,
    with_averages,
)
from brainalign.encoding import cross_validate, shift_null
from brainalign.features.acoustics import mel_spectrogram, word_acoustics
from brainalign.features.language import layer_features
from brainalign.hierarchy import alignment, peak_layer

plotting.use_style()
_ = xr.set_options(display_expand_data=False, display_expand_attrs=False)
BLUE, ORANGE, GRAY = (plotting.COLORS[name] for name in ("blue", "orange", "gray"))

# %% tags=["hide-output"]
data = datasets.load_listening(dataset, **dataset_options)
planted_here = data.truth is not None
NOT_PLANTED = "(unknown: nothing was planted here)"
NO_SOUND = "(no sound in this data set)"
data

# %% [markdown]
# ## What a layer holds
#
# By default the model is SmolLM2 with 135 million parameters {cite:p}`allal2025`: the version that was further trained to follow
# instructions, with weights stored in four bits each, small enough for a laptop. It reads text in *tokens*: words, or pieces of longer words. Like its larger relatives it is a stack of layers ({term}`layer`). A word enters as
# a list of numbers that depends on nothing but the word (layer 0, the *input embedding*). Every layer reads the current lists
# of this word and of all words before it, and adds to them. After the last layer, the list serves to guess the next word. So
# each layer offers its own description of each word, and later layers have had more chances to take the context in.
#
# `layer_features` runs the model over each passage and returns these descriptions, aligned to our words:

# %%
features = layer_features(data.words, model, start_token=True, device=device)
features

# %% tags=["remove-cell"]
bare = layer_features(data.words, model, start_token=False, device=device)
first = ~data.words["passage"].duplicated().to_numpy()
norm = np.sqrt((bare**2).sum("feature"))
ratio = norm.sel(word=first).mean("word") / norm.sel(word=~first).median("word")
glue("n_layers", features.sizes["layer"], display=False)
glue("last_layer", features.sizes["layer"] - 1, display=False)
glue("n_features", features.sizes["feature"], display=False)
glue("n_words", len(data.words), display=False)
glue("sink_ratio", f"{float(ratio.max()):.0f}", display=False)
glue("sink_layer", int(ratio.idxmax()), display=False)
del bare, norm

# %% [markdown]
# That is {glue:text}`n_layers` layers (the input embedding and {glue:text}`last_layer` blocks) with {glue:text}`n_features`
# numbers for each word. Two choices are hidden in the call:
#
# - A word that the model splits into several tokens ({term}`token`) is described by its last token, which has seen them all.
# - `start_token=True` puts the model's "new text" token before each passage. Without it, the first token of a text becomes an
#   {term}`attention sink` {cite:p}`xiao2024`: its numbers grow out of all proportion. In this text, the first words of passages would
#   have features {glue:text}`sink_ratio` times as long as those of other words (layer {glue:text}`sink_layer`), and would
#   dominate any regression.
#
# ## From features to a score
#
# Can the {glue:text}`n_features` numbers of a layer predict an electrode's response to each word? A linear model gives each
# feature a weight. With {glue:text}`n_features` features and {glue:text}`n_words` words, plain least squares would fit noise, so we use {term}`ridge regression` {cite:p}`hoerl1970`, which punishes large weights by a penalty $\alpha$:
#
# $$\hat{w} = \arg\min_w \; \lVert y - Xw \rVert^2 + \alpha \lVert w \rVert^2 .$$
#
# How well the weights predict must be measured on words that had no part in choosing them:
#
# - **Cross-validation** ({term}`cross-validation`). The words are cut into contiguous blocks. Each block is predicted from weights fitted on the others.
#   Contiguous, because neighbouring words share context and their responses overlap: had we shuffled words into folds, the
#   neighbours of each test word would be in the training set and the score would be inflated. For the same reason a `gap` of
#   words on either side of a test block goes unused.
# - **Nested.** The penalty is chosen for each electrode by a second cross-validation inside the training words. Means and standard
#   deviations for scaling features also come from training words alone. The study appears to have reduced features to 500
#   principal components computed from *all* words; here no weight, penalty or scaling is learned from a test word.
# - **Score.** The Pearson correlation between the responses and the predictions of all blocks together.
#
# `cross_validate` does all of this for every layer and electrode at once.

# %%
responses = data.responses
passages = data.words["passage"].to_numpy()
folds = {
    "groups": passages,
    "n_splits": n_splits,
    "inner_splits": inner_splits,
    "gap": gap,
}
folds |= {"alphas": np.logspace(0, 7, 8), "device": device}
fit = cross_validate(features, responses, **folds)
fit

# %% [markdown]
# ## Is a score more than chance?
#
# For each electrode we will report its *best* layer. The best of many is high even when there is nothing to find, and
# neighbouring words are not independent, so textbook p-values for a correlation would be wrong twice. We need scores that the same
# procedure gives without a relation between text and response: {term}`circular shift`. Within each passage the responses are moved
# along the words by a random amount (what falls off the end comes back at the start), which keeps their rhythm and destroys
# their match with the text.
#
# `shift_null` puts {glue:text}`n_shifts_text` shifted copies of every electrode through the *whole* procedure, from fitting to
# picking the best layer. A shortcut that is often taken, shifting the responses against predictions that are already there, is
# not valid: cross-validated predictions of one fold were made from the responses of the others, so that their scores scatter
# more than such shifts show, and too much pure noise passes. The p-value is the share of shifts that do at least as well {cite:p}`phipson2010`. Few shifts give no small p-values, so each
# electrode's score and shifts are first standardised by the mean and standard deviation of its shifts, and then all shifts are
# pooled. P-values are corrected to a false discovery rate of {glue:text}`q_percent` %.

# %%
best = fit["score"].max("layer")
null = shift_null(
    features, responses, n_shifts=n_shifts, min_shift=10, seed=seed, **folds
)
p = stats.p_values(best, null, pool=True)
significant, p_adjusted = stats.fdr(p, q)
chance = float(null.quantile(0.95))
kind = pd.Series("recorded", index=data.channels.index, name="kind")
if planted_here:
    kind = data.truth["kind"]
pd.crosstab(kind, significant.to_series().rename("significant"))

# %% tags=["remove-cell"]
located = data.channels["distance_pmc"].notna().to_numpy()
language = kind.isin(["language", "recorded"]).to_numpy() & significant.to_numpy()
language &= located
empty = (kind == "empty").to_numpy()
glue("n_shifts_text", n_shifts, display=False)
glue("q_percent", f"{100 * q:g}", display=False)
glue("n_language", int(language.sum()), display=False)
glue("n_language_all", int(kind.isin(["language", "recorded"]).sum()), display=False)
glue("n_significant", int(significant.sum()), display=False)
names = ["n_empty_significant", "n_empty", "false_share", "empty_low", "empty_high"]
values = [NOT_PLANTED] * len(names)
if empty.any():
    n_false = int(significant.to_numpy()[empty].sum())
    share = binomtest(n_false, int(empty.sum())).proportion_ci(method="wilson")
    false_share = f"{100 * n_false / int(significant.sum()):.1f}"
    values = [n_false, int(empty.sum()), false_share]
    values += [f"{100 * bound:.0f}" for bound in share]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)
glue("chance", f"{chance:.2f}", display=False)
glue("median_best", f"{float(best[language].median()):.2f}", display=False)

# %% [markdown]
# {glue:text}`n_language` of {glue:text}`n_language_all` electrodes that hold language are found. Of all
# {glue:text}`n_significant` significant channels {glue:text}`n_empty_significant` are empty, which is
# {glue:text}`false_share` %, where {glue:text}`q_percent` % are allowed; of the {glue:text}`n_empty` empty ones that is a share
# with a 95 % interval from {glue:text}`empty_low` to {glue:text}`empty_high` %. A typical best score is
# {glue:text}`median_best`, where chance stays below {glue:text}`chance` in 95 of 100 shifts.
#
# From here on we keep the language electrodes that are significant. In real recordings the truth is not known, and electrodes are
# selected by `speech_responsive` of the previous chapter. Selection by the model's own score is harmless for the question of
# *which* layer is best, but it would inflate *how high* scores are.
#
# ## Layer profiles and peak layers

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: score by layer for three electrodes, each peaking at a different layer near its planted layer. Right: heat map of scores, one line an electrode ordered by distance, with the band of high scores moving to later layers with distance."}}
electrodes = data.channels[language]
score = fit["score"].sel(channel=electrodes.index)
order = electrodes["distance_pmc"].sort_values().index
examples = order[[len(order) // 10, len(order) // 2, -len(order) // 10]]
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.6), width_ratios=(1, 1.25))
for name, color in zip(
    examples, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False
):
    left.plot(
        score["layer"],
        score.sel(channel=name),
        color=color,
        label=f"{name}, {electrodes.loc[name, 'distance_pmc']:.0f} mm",
    )
    if planted_here:
        left.axvline(data.truth.loc[name, "layer"], color=color, ls=":")
left.axhline(chance, color="k", ls="--", lw=0.8)
left.text(0, chance, " chance (95 %)", va="bottom", fontsize=8)
left.set(xlabel="layer", ylabel="score (Pearson r)", ylim=(0, None))
left.set_title("Three electrodes")
left.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.12))
relative = (score / score.max("layer")).transpose("channel", "layer").to_numpy()
plotting.layer_heatmap(
    right,
    relative,
    electrodes["distance_pmc"],
    label="score / best score",
    row_label="electrodes by distance (mm)",
)
right.set_title("All significant language electrodes")
figure.suptitle(data.name.capitalize(), fontweight="bold", x=0.01, ha="left")
plt.show()

# %% [markdown]
# *What to see:* left, the score of each layer for three electrodes; dotted lines mark the layer that was planted. Neighbouring layers
# score nearly alike, because each layer only adds a little to the one before. Right, all significant language electrodes as lines, each
# divided by its own best score: the bright band moves to later layers as distance grows.
#
# The {term}`peak layer` of an electrode is the layer with the highest score. On the cortical surface, beside the planted truth:

# %%
peak = peak_layer(score).to_series()
panels = {"recovered": peak}
if planted_here:
    planted = data.truth.loc[electrodes.index, "layer"]
    panels["planted"] = planted

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of inflated brains: peak layers recovered from the data above, planted layers below; both run from early layers near Heschl's gyrus to late layers in frontal and anterior temporal cortex."}}
figure = plotting.electrodes(
    electrodes,
    panels,
    label="layer",
    title=f"Peak layer of each electrode, {data.name}",
)
plt.show()

# %%
aligned = alignment(peak, electrodes["distance_pmc"], clusters=electrodes["subject"])
if planted_here:
    recovery = alignment(peak, planted, clusters=electrodes["subject"])

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: recovered against planted layer, points along the diagonal. Right: recovered and planted layer against distance, both rising."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.6))
if planted_here:
    left.plot([0, planted.max()], [0, planted.max()], color="k", ls="--", lw=0.8)
    left.scatter(planted, peak, s=18, color=BLUE, alpha=0.6)
    left.set(xlabel="planted layer", ylabel="recovered peak layer")
    left.set_title(f"Truth and estimate (Spearman {recovery.r:.2f})")
    right.scatter(
        electrodes["distance_pmc"], planted, s=14, color=GRAY, label="planted"
    )
else:
    left.set_visible(False)
right.scatter(
    electrodes["distance_pmc"], peak, s=18, color=BLUE, alpha=0.6, label="recovered"
)
right.set(xlabel="geodesic distance from Heschl's gyrus (mm)", ylabel="layer")
right.set_title(f"Layers follow distance (Spearman {aligned.r:.2f})")
right.legend()
figure.suptitle(data.name.capitalize(), fontweight="bold", x=0.01, ha="left")
plt.show()

# %% tags=["remove-cell"]
for name, part in {"": "r", "_low": "low", "_high": "high"}.items():
    value = f"{getattr(recovery, part):.3f}" if planted_here else NOT_PLANTED
    glue(f"recovery{name}", value, display=False)
glue("aligned", f"{aligned.r:.2f}", display=False)
glue("aligned_low", f"{aligned.low:.2f}", display=False)
glue("aligned_high", f"{aligned.high:.2f}", display=False)
glue("aligned_people", aligned.n_clusters, display=False)

# %% [markdown]
# *What to see:* left, recovered layers lie on the dashed line of perfect recovery, rank correlation {glue:text}`recovery` (95 % interval
# {glue:text}`recovery_low` to {glue:text}`recovery_high`), but for
# electrodes whose planted layer saw only one or two words of context: the earliest layers, which hold little context anyway,
# describe those nearly as well. Right, peak layers grow with distance: rank correlation {glue:text}`aligned`, 95 % interval
# {glue:text}`aligned_low` to {glue:text}`aligned_high`. Electrodes of one person are not independent samples of mankind; the
# interval therefore comes from leaving out one of the {glue:text}`aligned_people` people at a time, with all electrodes.
#
# None of this says anything about brains yet. We planted an order, with the very model that we then used to look for it, and got
# it back: **the method finds the order when it is there**. How it behaves when the brain's code is in no layer of the model,
# this cohort does not tell.
#
# ## Is it language, or just sound?
#
# Words and sounds go together, so a language model can predict an electrode that cares for sound alone. Ten channels in this
# data set are of that kind by construction: they come with the speech sample, simulated by its authors from the sound. We
# compare the best layer with purely acoustic features: the spectrogram in six steps of 50 ms up to each word's centre.

# %%
control = (kind == "control").to_numpy()
if data.audio is not None:
    sound = mel_spectrogram(data.audio.samples, data.audio.rate)
    acoustics = word_acoustics(sound, data.words)
    by_sound = cross_validate(acoustics, responses, **folds)["score"].isel(layer=0)
else:
    print(NO_SOUND)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Best layer score against acoustic score for each channel; the ten acoustic control channels lie far below the diagonal, language electrodes far above, near electrodes in between."}}
if data.audio is not None:
    figure, axis = plt.subplots(figsize=(5.6, 4.2))
    shown = axis.scatter(
        by_sound[language],
        best[language],
        c=electrodes["distance_pmc"],
        s=18,
        cmap=plotting.SEQUENTIAL,
    )
    if control.any():
        axis.scatter(
            by_sound[control],
            best[control],
            color=plotting.COLORS["red"],
            marker="^",
            s=36,
            label="acoustic control channels",
        )
        axis.scatter(
            by_sound[empty], best[empty], color=GRAY, s=8, label="empty electrodes"
        )
        axis.legend(fontsize=8, loc="lower right")
    axis.axline((0, 0), slope=1, color="k", ls="--", lw=0.8)
    axis.set(
        xlabel="score of acoustic features (r)", ylabel="score of the best layer (r)"
    )
    axis.set_title(f"Language model against sound, {data.name}")
    figure.colorbar(shown, label="geodesic distance (mm)")
    plt.show()

# %% tags=["remove-cell"]
names = ["control_sound", "control_language", "n_control_sound", "n_control"]
names += ["far_sound", "far_language"]
values = [NO_SOUND] * len(names)
if data.audio is not None:
    far = language & (data.channels["distance_pmc"] > 60).to_numpy()
    means = [
        f"{float(v[m].mean()):.2f}" for m in (control, far) for v in (by_sound, best)
    ]
    wins = [int((by_sound[control] > best[control]).sum()), int(control.sum())]
    values = means[:2] + wins + means[2:]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* above the dashed line of equal scores the language model wins, below it the sound. {glue:text}`n_control_sound` of the
# {glue:text}`n_control` control channels (triangles) show what they are: sound predicts them with {glue:text}`control_sound` on
# average. But the best layer still reaches {glue:text}`control_language` there (chance: {glue:text}`chance`), with no language in them at
# all: probably because some words are louder and longer than others, and the model knows the words. **A significant score alone is no evidence
# of language processing.** Electrodes beyond 60 mm are another matter: {glue:text}`far_language` from language,
# {glue:text}`far_sound` from sound. (Scores below zero mean that nothing was predicted: the prediction is then little more than
# the mean of the training words, which is high where that of the test words is low.)
#
# ## How close to the noise ceiling?
#
# The highest score a perfect model could reach is the noise ceiling of the previous chapter. A score divided by it has 1 as its
# best; its square is the share of the explainable variance that is explained.

# %%
share, ceiling = score, 1.0
repeated = data.signal is not None and "repeat" in data.signal.dims
if repeated:
    signal = data.signal.sel(channel=electrodes.index)
    repeats = signals.word_responses(signal, data.words)
    ceiling = stats.noise_ceiling(repeats)["ceiling"]
    share = stats.normalise(score, ceiling)
else:
    print("Without repeats there is no noise ceiling: scores are shown as they are.")
bands = pd.cut(
    electrodes["distance_pmc"],
    [-1, 35, 70, np.inf],
    labels=["0 to 35 mm", "35 to 70 mm", "beyond 70 mm"],
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Score divided by noise ceiling by layer, averaged over electrodes in three bands of distance; the profile of near electrodes falls with layer, that of far electrodes rises."}}
figure, axis = plt.subplots(figsize=(6.4, 3.6))
for band, color in zip(
    bands.cat.categories, (BLUE, ORANGE, plotting.COLORS["green"]), strict=True
):
    inside = (bands == band).to_numpy()
    if inside.sum() < 2:
        continue
    interval = stats.bootstrap_ci(
        share[:, inside].T.to_numpy(),
        n_resamples=1000,
        clusters=electrodes["subject"][inside].to_numpy(),
        seed=seed,
    )
    plotting.with_band(
        axis, score["layer"], *interval, color=color, label=f"{band} ({inside.sum()})"
    )
ylabel = "score / noise ceiling" if repeated else "score (Pearson r)"
axis.set(xlabel="layer", ylabel=ylabel, ylim=(0, 1 if repeated else None))
axis.set_title(f"Explained share by distance, {data.name}")
axis.axhline(chance / float(np.median(ceiling)), color="k", ls=":", lw=0.8)
axis.legend(title="distance (electrodes)", loc=(0.02, 0.12))
plt.show()

# %% tags=["remove-cell"]
for name, band in {"near": "0 to 35 mm", "far": "beyond 70 mm"}.items():
    mean = share[:, (bands == band).to_numpy()].mean("channel").max()
    glue(f"{name}_share", f"{float(mean):.2f}", display=False)

# %% [markdown]
# *What to see:* mean over electrodes and 95 % interval over people. Near Heschl's gyrus early layers are best
# ({glue:text}`near_share` of the ceiling), beyond 70 mm late ones ({glue:text}`far_share`). The dotted line is chance. No curve reaches 1: near electrodes follow sound as well, and
# ten minutes of speech are not enough to estimate hundreds of weights perfectly.
#
# ## Real people: six regions that heard *Alice*
#
# Does any of this hold in people? The functional MRI of {cite:t}`brennan2016` has six language regions, 27 people and one story
# of twelve minutes. Word features are brought to the volumes' time by the {term}`haemodynamic response` (previous chapter), then
# the same `cross_validate` runs, on volumes instead of words. No setting was chosen by its result:
#
# - blocks of about two minutes are predicted in turn; {glue:text}`bold_gap_s` s beside them go unused, in which most of the
#   blood's response to a word is over;
# - the first {glue:text}`bold_skip_s` s are left out, because the large response to the onset of the story says nothing about its
#   words;
# - slow drift was removed from the responses, over the whole run, as is usual; the same slow components are removed from all
#   regressors, or the model would have to predict what is no longer there;
# - no people, regions or layers are selected. The test for chance below was chosen by its rate of false alarms on noise.
#
# The competitor is not chance but a {term}`baseline` of two columns: *word rate* and *word length* (letters). A layer is only
# interesting if it adds to them. `cross_validate` takes such columns as `baseline`: they enter every model without a
# penalty, the layer has to explain what they leave, and the score of the baseline's own fit comes back beside the others.

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
    states = layer_features(alice.words, model, start_token=True, device=device)
    random_words = np.random.default_rng(seed).standard_normal(
        (bold_random, *states.shape[1:]), dtype="float32"
    )
    random_layers = xr.DataArray(
        random_words, dims=states.dims, coords={"layer": np.arange(-bold_random, 0)}
    )

    baseline, layers = (
        signals.word_regressors(values, alice.words, alice.signal["time"]).isel(
            time=slice(bold_skip, None)
        )
        for values in (counted, xr.concat([states, random_layers], "layer"))
    )
    people = by_person(alice).isel(time=slice(bold_skip, None))
    regions = list(people["region"].values)

# %% [markdown]
# ### The average brain
#
# Averaging the 27 people removes much of the noise that is each person's own. How far would the result change with other
# people? We draw 27 people with replacement, average them, and treat {glue:text}`bold_boot` such averages as further channels: a
# {term}`bootstrap` over people, for the price of some columns. The people themselves are channels, too, for the next section. And
# beside the model's layers we run {glue:text}`bold_random` *random layers*, in which every word is described by as many random
# numbers: what any description of the words gains by luck, in this one story. Each occurrence of a word gets new numbers, while
# real layers change more slowly from word to word: random layers are a lenient comparison, and the surrogates below, which
# keep the real layers, are the stricter one.

# %%
if alice is not None:
    n_people = len(people)
    bold = with_averages(people, bold_boot, seed=seed)
    bold_folds = {"n_splits": bold_splits, "gap": bold_gap, "device": device}
    fit_alone = cross_validate(layers, bold, **bold_folds)
    fit_both = cross_validate(layers, bold, baseline=baseline, **bold_folds)

# %% [markdown]
# Chance for the *gain* over the baseline comes from surrogate responses ({term}`surrogate`): the baseline's least-squares fit plus what it leaves,
# circularly shifted in time. These have the baseline's share in the response and the rhythm of the rest, but no relation
# between the rest and the text {cite:p}`freedman1983`. Given a baseline, `shift_null` makes them and refits everything, so that
# picking the best of all layers is accounted for. All regions get the same shift, since all heard the same story.

# %%
if alice is not None:
    model_layers = layers.sel(layer=states["layer"])
    gain_null = shift_null(
        model_layers,
        people.mean("subject"),
        baseline=baseline,
        n_shifts=bold_shifts,
        min_shift=bold_gap,
        together=True,
        seed=seed,
        **bold_folds,
    )

# %% tags=["hide-input"]
if alice is not None:
    depth = states["layer"].values

    def by_group(score):
        """The average brain (..., region), its bootstrap copies and the people, (..., copy, region)."""
        return [part.values for part in split_averages(score)]

    base, base_boot, base_people = by_group(fit_both["baseline_score"])
    both, both_boot, both_people = by_group(fit_both["score"].sel(layer=depth))
    alone, _, _ = by_group(fit_alone["score"].sel(layer=depth))
    both_random, _, random_people = by_group(
        fit_both["score"].sel(layer=random_layers["layer"])
    )
    group_gain = both - base
    gain_error = (both_boot - base_boot).std(1)
    group_p = stats.p_values(group_gain.max(0), gain_null.values)
    found = stats.fdr(group_p, q)[0]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six panels, one a region: cross-validated correlation by layer for layers alone and for layers with the baseline, the latter with an interval over people, with the baseline as a line and the chance level of the gain shaded."}}
if alice is not None:
    figure, axes = plt.subplots(2, 3, sharex=True, sharey=True, figsize=(8.8, 4.8))
    bounds = gain_null.quantile(0.95, "shift").values
    for k, axis in enumerate(axes.flat):
        level = base[k]
        axis.axhspan(level, level + bounds[k], color=GRAY, alpha=0.25, lw=0)
        axis.axhline(level, color="k", lw=1, ls="--", label="word rate and length")
        axis.plot(depth, alone[:, k], color=ORANGE, label="layer alone")
        reach = 1.96 * gain_error[:, k]
        middle = both[:, k]
        plotting.with_band(
            axis,
            depth,
            middle,
            middle - reach,
            middle + reach,
            color=BLUE,
            label="both together",
        )
        axis.set_title(f"{regions[k]} (p = {group_p[k]:.3f})", fontsize=10)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, ncol=3, loc="outside upper right", fontsize=8)
    figure.supxlabel("layer", fontsize=10)
    figure.supylabel("score (Pearson r)", fontsize=10)
    figure.suptitle(
        "Real fMRI (alice), mean of 27 people", fontweight="bold", x=0.01, ha="left"
    )
    plt.show()

# %% tags=["remove-cell"]
names = [
    "base_r",
    "alone_r",
    "alone_layer",
    "both_r",
    "both_layer",
    "gain_r",
    "gain_low",
    "gain_high",
    "smallest_p",
    "input_r",
    "n_regions_gain",
    "regions_gain",
]
names += ["random_gain", "random_high"]
if alice is not None:
    by_layer, alone_by_layer = both.mean(1), alone.mean(1)
    winners = [
        region for region, is_found in zip(regions, found, strict=True) if is_found
    ]
    mean_error, gain_mean = (both_boot - base_boot).mean(2).std(1), group_gain.mean(1)
    at_best = by_layer.argmax()
    values = [
        f"{base.mean():.2f}",
        f"{alone_by_layer.max():.2f}",
        int(depth[alone_by_layer.argmax()]),
        f"{by_layer.max():.2f}",
        int(depth[by_layer.argmax()]),
        f"{gain_mean[at_best]:.2f}",
        f"{gain_mean[at_best] - 1.96 * mean_error[at_best]:.2f}",
        f"{gain_mean[at_best] + 1.96 * mean_error[at_best]:.2f}",
        f"{1 / (1 + gain_null.sizes['shift']):.3f}",
        f"{by_layer[0]:.2f}",
        len(winners),
        ", ".join(winners) or "none",
        f"{(both_random - base).mean():+.2f}",
        f"{(both_random - base).mean(1).max():+.2f}",
    ]
else:
    values = ["(no data in this build)"] * len(names)
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)
glue("bold_gap_s", f"{2 * bold_gap}", display=False)
glue("bold_skip_s", f"{2 * bold_skip}", display=False)
glue("bold_boot", bold_boot, display=False)
glue("bold_random", bold_random, display=False)

# %% [markdown]
# *What to see:* the dashed line is the baseline; the gray band above it is what the best of all layers gains by chance (95 % of
# surrogates); the blue line has to leave it. The blue band is the 95 % interval of the gain over other draws of people, drawn around the blue line.
# Averaged over the six regions the baseline reaches r = {glue:text}`base_r`; the best single layer alone (layer
# {glue:text}`alone_layer`) {glue:text}`alone_r`; the best layer with the baseline (layer {glue:text}`both_layer`)
# {glue:text}`both_r`, a gain of {glue:text}`gain_r` (95 % interval over people {glue:text}`gain_low` to {glue:text}`gain_high`).
# Random layers change the score by {glue:text}`random_gain` on average, the largest by {glue:text}`random_high`. The gain of the best
# layer is beyond chance in {glue:text}`n_regions_gain` of the six regions (false discovery rate {glue:text}`q_percent` %):
# {glue:text}`regions_gain`. (A p-value of {glue:text}`smallest_p` is the smallest that so many surrogates can give.)
#
# Two things temper this. The input embedding (layer 0), which knows no context, already lifts the score to
# {glue:text}`input_r`: much of the gain is *which* words were said, with all that comes with them, their sound included. And
# all 27 people heard the same story; the intervals say what other people would show, not what another text would.
#
# ### Person by person
#
# One average brain is one sample, however many people are in it. Whether the gain holds *for people* is a question of its
# consistency over them, so we fit each person apart.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six panels, one a region: mean gain over the baseline by layer over 27 people with its 95 percent interval, a dashed line at no gain and a gray band for random layers."}}
if alice is not None:
    person_gain = both_people - base_people
    person_random = (random_people - base_people).mean(1)
    lucky = np.stack([person_random.min(0), person_random.max(0)])
    figure, axes = plt.subplots(2, 3, sharex=True, sharey=True, figsize=(8.8, 4.6))
    for k, axis in enumerate(axes.flat):
        interval = stats.bootstrap_ci(
            person_gain[:, :, k].T, n_resamples=2000, seed=seed
        )
        plotting.with_band(
            axis,
            depth,
            *interval,
            color=BLUE,
            label="layers, 95 % interval over people",
        )
        axis.axhspan(
            *lucky[:, k], color=GRAY, alpha=0.25, lw=0, label="range of random layers"
        )
        axis.axhline(0, color="k", ls="--", lw=0.8, label="no gain")
        axis.set_title(regions[k], fontsize=10)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, ncol=3, loc="outside upper right", fontsize=8)
    figure.supxlabel("layer", fontsize=10)
    figure.supylabel("gain over word rate and length (r)", fontsize=10)
    figure.suptitle(
        "Real fMRI (alice), 27 people", fontweight="bold", x=0.01, ha="left"
    )
    plt.show()

# %% tags=["remove-cell"]
names = [
    "person_base",
    "person_gain",
    "person_layer",
    "person_low",
    "person_high",
    "person_share",
    "person_sign",
]
names += [
    "person_input",
    "person_input_low",
    "person_input_high",
    "person_random",
    "n_people",
    "person_lucky",
    "person_beyond",
    "beyond_regions",
]
if alice is not None:
    interval = stats.bootstrap_ci(person_gain.mean(2).T, n_resamples=2000, seed=seed)
    at = int(np.argmax(interval.estimate))
    values = [
        f"{base_people.mean():.3f}",
        f"{interval.estimate[at]:+.3f}",
        int(depth[at]),
        f"{interval.low[at]:+.3f}",
        f"{interval.high[at]:+.3f}",
        int((person_gain.mean(2)[at] > 0).sum()),
        int((interval.low > 0).sum()),
        f"{interval.estimate[0]:+.3f}",
        f"{interval.low[0]:+.3f}",
        f"{interval.high[0]:+.3f}",
        f"{person_random.mean():+.3f}",
        n_people,
        f"{person_random.mean(1).max():+.3f}",
        int((interval.estimate > person_random.mean(1).max()).sum()),
        ", ".join(
            f"{region} {int((person_gain[:, :, k].mean(1) > lucky[1, k]).sum())}"
            for k, region in enumerate(regions)
        ),
    ]
else:
    values = ["(no data in this build)"] * len(names)
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* the gain averaged over people, with its 95 % bootstrap interval over them, against no gain (dashed) and the
# range of random layers (gray). That range is wider than one might think, and it need not straddle zero: all people heard the
# same story, so that a description which fits it by luck fits in everyone. **An interval over people that excludes zero is
# therefore not enough; a layer has to leave the gray band.** One person's twelve minutes are noisy, so that all numbers are smaller than in the average brain: the baseline alone reaches a mean score of {glue:text}`person_base`. On top
# of it, averaged over regions, layer {glue:text}`person_layer`, the best on average, changes the score by
# {glue:text}`person_gain` (interval {glue:text}`person_low` to {glue:text}`person_high`), upwards in {glue:text}`person_share` of
# {glue:text}`n_people` people; the input embedding by {glue:text}`person_input` ({glue:text}`person_input_low` to
# {glue:text}`person_input_high`); random layers by {glue:text}`person_random` on average, the largest by
# {glue:text}`person_lucky`. The interval lies above zero in {glue:text}`person_sign` of {glue:text}`n_layers` layers, and the
# mean beyond the range of random layers in {glue:text}`person_beyond`. By region the picture is uneven: the mean leaves the gray band in
# {glue:text}`beyond_regions` of the layers. A caution: a layer that was picked because it is best looks better than it is; the
# whole curve, not its peak, is the result.
#
# ### Is it more than loudness?
#
# Loud stretches of speech may be rich in certain words. The authors of the data supply the sound's power as a regressor, at the
# volumes' times. With it as a third column of the baseline:

# %%
if alice is not None:
    power = sound_power(alice).isel(time=slice(bold_skip, None))
    with_power = np.column_stack([baseline, power])
    fit_power = cross_validate(model_layers, bold, baseline=with_power, **bold_folds)
    power_people = by_group(fit_power["score"] - fit_power["baseline_score"])[2].mean(2)

# %% tags=["remove-cell"]
names = ["power_gain", "power_low", "power_high", "power_sign", "power_layer"]
if alice is not None:
    interval = stats.bootstrap_ci(power_people.T, n_resamples=2000, seed=seed)
    values = [f"{part[at]:+.3f}" for part in interval] + [
        int((interval.low > 0).sum()),
        int(depth[at]),
    ]
else:
    values = ["(no data in this build)"] * len(names)
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# Layer {glue:text}`power_layer` then adds {glue:text}`power_gain` per person ({glue:text}`power_low` to
# {glue:text}`power_high`), and the interval lies above zero in {glue:text}`power_sign` of {glue:text}`n_layers` layers.
#
# With six regions and no coordinates, these data cannot show a cortical *hierarchy* of layers. They show that
# layers carry something beyond word rate and length that the blood follows. Whether one layer carries more than another was not
# tested, so the curves name no best layer.
#
# ## Exercises
#
# 1. Measure the alignment with distance again, with Euclidean instead of geodesic distance. Which is higher, and does that tell
#    you which one is right?
# 2. Repeat the fMRI analysis of the average brain with *shuffled* folds, so that each test volume has its neighbours in the
#    training set. What happens to the scores?
# 3. Leave the slow drift in the regressors, as a hasty analyst might. What happens?
#
# :::{admonition} Solution 1
# :class: dropdown
# The cohort was planted along geodesic distance, so it wins by construction. In real data a higher correlation would favour one
# measure only if its interval for the *difference* excluded zero.
# :::

# %% tags=["hide-cell"]
measures = [name for name in electrodes if name.startswith("distance_pmc")]
for measure in measures:
    other = alignment(peak, electrodes[measure], clusters=electrodes["subject"])
    print(f"{measure:24s} Spearman {other.r:.2f} ({other.low:.2f} to {other.high:.2f})")

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# Nothing about the brain or the model changes, but the scores do: volumes 2 s apart share most of their blood response and most
# of their words, so the model is tested on what it has all but seen. Published scores are comparable only where folds are.
# :::

# %% tags=["hide-cell"]
if alice is not None:
    shuffled_folds = KFold(bold_splits, shuffle=True, random_state=seed)
    shuffled = cross_validate(
        model_layers, people.mean("subject"), cv=shuffled_folds, device=device
    )["score"]
    print("best layer alone, mean over regions:")
    print(
        f"contiguous {alone.mean(1).max():.2f}, shuffled {float(shuffled.mean('region').max()):.2f}"
    )

# %% [markdown]
# :::{admonition} Solution 3
# :class: dropdown
# The ridge spends weights on slow swings of the features that have no counterpart in the cleaned responses, and every prediction
# carries them.
# :::

# %% tags=["hide-cell"]
if alice is not None:
    drifting = signals.word_regressors(
        states, alice.words, alice.signal["time"], high_pass=None
    )
    drifting = drifting.isel(time=slice(bold_skip, None))
    careless = cross_validate(
        drifting, people.mean("subject"), baseline=baseline, **bold_folds
    )["score"]
    print("best layer with the baseline, mean over regions:")
    print(
        f"drift removed {both.mean(1).max():.2f}, drift left in {float(careless.mean('region').max()):.2f}"
    )

# %% [markdown]
# ## Run it on your own data
#
# Another model is one parameter. Any causal model in the layout of transformers will do, from a folder or by its name on the
# Hugging Face hub:
#
# ```bash
# papermill notebooks/02_layer_alignment.ipynb my_alignment.ipynb \
#   -p model /path/to/model -p device cuda
# ```
#
# Your own recordings go into a folder whose layout the README describes; `brainalign check FOLDER` lists what is wrong with it, and
# `-p dataset FOLDER` runs this chapter, or any of the next, on it. The podcast recordings of {cite:t}`zada2025` are a name away:
#
# ```bash
# papermill notebooks/02_layer_alignment.ipynb podcast.ipynb -p dataset podcast
# ```
#
# ## What the papers found
#
# {cite:t}`mischler2024` report, for twelve models of about seven billion parameters, that prediction is best in middle layers,
# that better models predict better and peak in earlier layers, and that peak layers grow with distance from Heschl's gyrus. In
# their analysis, as far as open sources tell, distance was Euclidean, electrodes were binned by distance and treated as
# independent, and principal components were computed from all words. Here distance is geodesic, people and not electrodes are
# the samples, and all weights, penalties and scalings are learned inside training folds. Whether better models are more brain-like needs
# more than one model, and is the subject of the next chapters. The virtual cohort of this chapter shows that the method finds a planted order; the fMRI
# section is evidence about people, of a coarser kind than theirs.
