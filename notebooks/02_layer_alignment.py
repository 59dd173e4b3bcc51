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
# This chapter does the same, first where the answer is known, then in real people.
#
# :::{admonition} In this chapter
# **You will learn**
# what the layers of a language model hold; how ridge regression with nested cross-validation turns a layer into a *score* for an
# electrode; how to tell a score from chance; what a *peak layer* is and how to relate it to a place in cortex; how to check
# that a language model's fit is more than acoustics; and how to ask whether a layer says more than the mere rate of words.
#
# **You need** the word responses of the previous chapter.
#
# **It takes** about 45 minutes to read, and some minutes to run on two cores once features are in the store.
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = (
    "virtual"  # listening data set: "virtual" (real speech, planted responses)
)
model: str = (
    "smollm2-135m"  # language model: an asset, a folder, or a Hugging Face name
)
n_subjects: int = 8  # virtual people
snr: float = (
    1.0  # variance of the planted response over the noise of one repeat, at the words
)
n_splits: int = 5  # contiguous folds of the outer cross-validation
inner_splits: int = 3  # folds inside each training set that choose the penalty
gap: int = 5  # words left out between training and test words
n_shifts: int = (
    10  # circular shifts of every electrode for the chance level, each refitted
)
q: float = 0.05  # false discovery rate over electrodes
seed: int = 0  # seed of the virtual cohort, the shifts and the bootstrap
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
real_data: bool = True  # end with the fMRI of 27 real people
bold_splits: int = 6  # folds of the fMRI analysis: blocks of two minutes
bold_gap: int = 10  # volumes (2 s each) left out between training and test: the length of the blood response
bold_shifts: int = (
    200  # circular shifts of every region for the chance level, each refitted
)

# %% tags=["hide-input", "remove-stderr"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from myst_nb import glue
from scipy.stats import spearmanr
from sklearn.model_selection import KFold

from brainalign import datasets, plotting, signals, stats
from brainalign.assets import AssetError
from brainalign.encoding import cross_validate, shift_null
from brainalign.features.acoustics import mel_spectrogram, word_acoustics
from brainalign.features.language import layer_features
from brainalign.hierarchy import alignment, peak_layer

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
BLUE, ORANGE, GRAY = (plotting.COLORS[name] for name in ("blue", "orange", "gray"))

# %% tags=["hide-output"]
data = datasets.load_listening(
    dataset, n_subjects=n_subjects, snr=snr, model=model, seed=seed, device=device
)
data

# %% [markdown]
# ## What a layer holds
#
# The model here is SmolLM2 with 135 million parameters {cite:p}`allal2025`, in its instruction-tuned version and with weights
# rounded to four bits, which is small enough for a laptop. Like its larger relatives it is a stack of **layers**. A word enters as
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
glue("sink_ratio", f"{float(ratio.max()):.0f}", display=False)
glue("sink_layer", int(ratio.idxmax()), display=False)
del bare, norm

# %% [markdown]
# That is {glue:text}`n_layers` layers (the input embedding and {glue:text}`last_layer` blocks) with {glue:text}`n_features`
# numbers for each word. Two choices are hidden in the call:
#
# - A word that the model splits into several **tokens** is described by its last token, which has seen them all.
# - `start_token=True` puts the model's "new text" token before each passage. Without it, the first token of a text becomes an
#   *attention sink* {cite:p}`xiao2024`: its numbers grow out of all proportion. In this text, the first words of passages would
#   have features {glue:text}`sink_ratio` times as long as those of other words (layer {glue:text}`sink_layer`), and would
#   dominate any regression.
#
# ## From features to a score
#
# Can the {glue:text}`n_features` numbers of a layer predict an electrode's response to each word? A linear model gives each
# feature a weight. With hundreds of features and not many more words, plain least squares would fit noise, so we use **ridge
# regression** {cite:p}`hoerl1970`, which punishes large weights by a penalty $\alpha$:
#
# $$\hat{w} = \arg\min_w \; \lVert y - Xw \rVert^2 + \alpha \lVert w \rVert^2 .$$
#
# How well the weights predict must be measured on words that had no part in choosing them:
#
# - **Cross-validation.** The words are cut into contiguous blocks. Each block is predicted from weights fitted on the others.
#   Contiguous, because neighbouring words share context and their responses overlap: had we shuffled words into folds, the
#   neighbours of each test word would be in the training set and the score would be inflated. For the same reason a `gap` of
#   words on either side of a test block goes unused.
# - **Nested.** The penalty is chosen for each electrode by a second cross-validation inside the training words. Means and standard
#   deviations for scaling features also come from training words alone. The study appears to have reduced features to 500
#   principal components computed from *all* words; here nothing ever sees a test word.
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
# procedure gives without a relation between text and response: **circular shifts**. Within each passage the responses are moved
# along the words by a random amount (what falls off the end comes back at the start), which keeps their rhythm and destroys
# their match with the text.
#
# `shift_null` puts {glue:text}`n_shifts_text` shifted copies of every electrode through the *whole* procedure, from fitting to
# picking the best layer. A shortcut that is often taken, shifting the responses against predictions that are already there, is
# not valid: cross-validated predictions of one fold were made from the responses of the others, so that their scores scatter
# more than such shifts show, and too much pure noise passes. The p-value is the share of shifts that do at least as well {cite:p}`phipson2010`, pooled over electrodes in units of
# each electrode's own shifts, and corrected to a false discovery rate of {glue:text}`q_percent` %.

# %%
best = fit["score"].max("layer")
null = shift_null(
    features, responses, n_shifts=n_shifts, min_shift=10, seed=seed, **folds
)
p = stats.p_values(best, null, pool=True)
significant, p_adjusted = stats.fdr(p, q)
chance = float(null.quantile(0.95))
kind = data.truth["kind"]
pd.crosstab(kind, significant.to_series().rename("significant"))

# %% tags=["remove-cell"]
language = (kind == "language").to_numpy() & significant.to_numpy()
empty = (kind == "empty").to_numpy()
glue("n_shifts_text", n_shifts, display=False)
glue("q_percent", f"{100 * q:g}", display=False)
glue("n_language", int(language.sum()), display=False)
glue("n_language_all", int((kind == "language").sum()), display=False)
glue("n_empty_significant", int(significant.to_numpy()[empty].sum()), display=False)
glue("n_empty", int(empty.sum()), display=False)
glue("chance", f"{chance:.2f}", display=False)
glue("median_best", f"{float(best[language].median()):.2f}", display=False)

# %% [markdown]
# {glue:text}`n_language` of {glue:text}`n_language_all` electrodes that hold language are found;
# {glue:text}`n_empty_significant` of the {glue:text}`n_empty` empty ones are called significant. A typical best score is
# {glue:text}`median_best`, where chance stays below {glue:text}`chance` in 95 of 100 shifts.
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
    row_label="distance from Heschl's gyrus (mm)",
)
right.set_title("All significant electrodes")
figure.suptitle("Virtual cohort", fontweight="bold", x=0.01, ha="left")
plt.show()

# %% [markdown]
# *What to see:* left, the score of each layer for three electrodes; dotted lines mark the layer that was planted. Neighbouring layers
# score nearly alike, because each layer only adds a little to the one before. Right, all significant electrodes as lines, each
# divided by its own best score: the bright band moves to later layers as distance grows.
#
# The **peak layer** of an electrode is the layer with the highest score. On the cortical surface, beside the planted truth:

# %%
peak = peak_layer(score).to_series()
planted = data.truth.loc[electrodes.index, "layer"]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of inflated brains: peak layers recovered from the data above, planted layers below; both run from early layers near Heschl's gyrus to late layers in frontal and anterior temporal cortex."}}
figure = plotting.electrodes(
    electrodes,
    {"recovered": peak, "planted": planted},
    label="layer",
    title="Peak layer of each electrode, virtual cohort",
)
plt.show()

# %%
recovery = spearmanr(peak, planted).statistic
aligned = alignment(peak, electrodes["distance_pmc"], clusters=electrodes["subject"])

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: recovered against planted layer, points along the diagonal. Right: recovered and planted layer against distance, both rising."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.6))
left.plot([0, planted.max()], [0, planted.max()], color="k", ls="--", lw=0.8)
left.scatter(planted, peak, s=18, color=BLUE, alpha=0.6)
left.set(xlabel="planted layer", ylabel="recovered peak layer")
left.set_title(f"Truth and estimate (Spearman {recovery:.2f})")
right.scatter(electrodes["distance_pmc"], planted, s=14, color=GRAY, label="planted")
right.scatter(
    electrodes["distance_pmc"], peak, s=18, color=BLUE, alpha=0.6, label="recovered"
)
right.set(xlabel="geodesic distance from Heschl's gyrus (mm)", ylabel="layer")
right.set_title(f"Layers follow distance (Spearman {aligned.r:.2f})")
right.legend()
figure.suptitle("Virtual cohort", fontweight="bold", x=0.01, ha="left")
plt.show()

# %% tags=["remove-cell"]
glue("recovery", f"{recovery:.3f}", display=False)
glue("aligned", f"{aligned.r:.2f}", display=False)
glue("aligned_low", f"{aligned.low:.2f}", display=False)
glue("aligned_high", f"{aligned.high:.2f}", display=False)
glue("aligned_people", aligned.n_clusters, display=False)

# %% [markdown]
# *What to see:* left, recovered layers lie on the dashed line of perfect recovery, rank correlation {glue:text}`recovery`, but for
# electrodes whose planted layer saw only one or two words of context: the earliest layers, which hold little context anyway,
# describe those nearly as well. Right, peak layers grow with distance: rank correlation {glue:text}`aligned`, 95 % interval
# {glue:text}`aligned_low` to {glue:text}`aligned_high`. Electrodes of one person are not independent samples of mankind; the
# interval therefore comes from leaving out one of the {glue:text}`aligned_people` people at a time, with all electrodes.
#
# None of this says anything about brains yet. We planted an order, with the very model that we then used to look for it, and got
# it back: **the method works**.
#
# ## Is it language, or just sound?
#
# Words and sounds go together, so a language model can predict an electrode that cares for sound alone. Ten channels in this
# data set are of that kind by construction: they come with the speech sample, simulated by its authors from the sound. We
# compare the best layer with purely acoustic features: the spectrogram in six steps of 50 ms up to each word's centre.

# %%
sound = mel_spectrogram(data.audio.samples, data.audio.rate)
acoustics = word_acoustics(sound, data.words)
by_sound = cross_validate(acoustics, responses, **folds)["score"].isel(layer=0)
control = (kind == "control").to_numpy()

# %% tags=["hide-input"] mystnb={"image": {"alt": "Best layer score against acoustic score for each channel; the ten acoustic control channels lie far below the diagonal, language electrodes far above, near electrodes in between."}}
figure, axis = plt.subplots(figsize=(5.6, 4.2))
shown = axis.scatter(
    by_sound[language],
    best[language],
    c=electrodes["distance_pmc"],
    s=18,
    cmap=plotting.SEQUENTIAL,
)
axis.scatter(
    by_sound[control],
    best[control],
    color=plotting.COLORS["red"],
    marker="^",
    s=36,
    label="acoustic control channels",
)
axis.scatter(by_sound[empty], best[empty], color=GRAY, s=8, label="empty electrodes")
axis.axline((0, 0), slope=1, color="k", ls="--", lw=0.8)
axis.set(xlabel="score of acoustic features (r)", ylabel="score of the best layer (r)")
axis.set_title("Language model against sound, virtual cohort")
axis.legend(fontsize=8, loc="upper right")
figure.colorbar(shown, label="geodesic distance (mm)")
plt.show()

# %% tags=["remove-cell"]
glue("control_sound", f"{float(by_sound[control].mean()):.2f}", display=False)
glue("control_language", f"{float(best[control].mean()):.2f}", display=False)
glue("n_control_sound", int((by_sound[control] > best[control]).sum()), display=False)
glue("n_control", int(control.sum()), display=False)
glue(
    "far_sound",
    f"{float(by_sound[language][(electrodes['distance_pmc'] > 60).to_numpy()].mean()):.2f}",
    display=False,
)
glue(
    "far_language",
    f"{float(best[language][(electrodes['distance_pmc'] > 60).to_numpy()].mean()):.2f}",
    display=False,
)

# %% [markdown]
# *What to see:* above the dashed line the language model wins, below it the sound. {glue:text}`n_control_sound` of the
# {glue:text}`n_control` control channels (red) show what they are: sound predicts them with {glue:text}`control_sound` on
# average. But the best layer still reaches {glue:text}`control_language` there, far above chance, with no language in them at
# all: some words are louder and longer than others, and the model knows the words. **A significant score alone is no evidence
# of language processing.** Electrodes beyond 60 mm are another matter: {glue:text}`far_language` from language,
# {glue:text}`far_sound` from sound. (Scores below zero mean that nothing was predicted: the prediction is then little more than
# the mean of the training words, which is high where that of the test words is low.)
#
# ## How much of what can be explained?
#
# The highest score a perfect model could reach is the noise ceiling of the previous chapter. Scores divided by it tell how much
# of the explainable response is explained.

# %%
repeats = signals.word_responses(data.signal.sel(channel=electrodes.index), data.words)
ceiling = stats.noise_ceiling(repeats)["ceiling"]
share = stats.normalise(score, ceiling)
bands = pd.cut(
    electrodes["distance_pmc"],
    [0, 35, 70, np.inf],
    labels=["0 to 35 mm", "35 to 70 mm", "beyond 70 mm"],
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Score divided by noise ceiling by layer, averaged over electrodes in three bands of distance; the profile of near electrodes falls with layer, that of far electrodes rises."}}
figure, axis = plt.subplots(figsize=(6.4, 3.6))
for band, color in zip(
    bands.cat.categories, (BLUE, ORANGE, plotting.COLORS["green"]), strict=True
):
    inside = (bands == band).to_numpy()
    interval = stats.bootstrap_ci(
        share[:, inside].T.to_numpy(),
        n_resamples=1000,
        clusters=electrodes["subject"][inside].to_numpy(),
        seed=seed,
    )
    plotting.with_band(
        axis, score["layer"], *interval, color=color, label=f"{band} ({inside.sum()})"
    )
axis.set(xlabel="layer", ylabel="score / noise ceiling", ylim=(0, 1))
axis.set_title("Explained share by distance, virtual cohort")
axis.legend(title="distance (electrodes)")
plt.show()

# %% [markdown]
# *What to see:* mean over electrodes and 95 % interval over people. Near Heschl's gyrus early layers are best and much stays
# unexplained, since part of the response is sound. Far away late layers are best. No curve reaches 1: ten minutes of
# speech are not enough to estimate hundreds of weights perfectly.
#
# ## Real people: six regions that heard *Alice*
#
# Does any of this hold in people? The functional MRI of {cite:t}`brennan2016` has six language regions, 27 people and twelve
# minutes of a story. Word features are brought to the volumes' time by the haemodynamic response (previous chapter), then the
# same `cross_validate` runs, on volumes instead of words. The settings were fixed before the first result was seen: blocks of
# two minutes, 20 s of gap, no selection of people, regions or layers; the surrogates of the test below were chosen by their
# rate of false alarms on noise. The first 20 s are left out, because the large
# response to the onset of the story says nothing about its words.
#
# The competitor is not chance but a **baseline** of two columns: *word rate* and *word length* (letters). A layer is only
# interesting if it adds to them. `cross_validate` takes such columns as `baseline`: they enter every model without a
# penalty, and the layer has to explain what they leave.

# %%
try:
    alice = datasets.load_listening("alice") if real_data else None
except AssetError as error:
    alice = None
    print(
        f"This section has no results in this build, because the data could not be had.\n\n{error}"
    )

# %% tags=["hide-input"]
if alice is not None:
    regions = list(alice.channels["region"].unique())
    to_volume = signals.word_to_volume(alice.words, alice.signal["time"])[bold_gap:]
    bold = alice.signal[bold_gap:]
    group = xr.concat(
        [
            bold[:, (alice.channels["region"] == region).to_numpy()].mean("channel")
            for region in regions
        ],
        "channel",
    )
    group = group.assign_coords(channel=[f"mean/{region}" for region in regions])
    bold = xr.concat([group.transpose("time", "channel"), bold], "channel")

    letters = alice.words["word"].str.len().to_numpy(float)
    counted = xr.DataArray(
        np.column_stack([np.ones(len(letters)), letters]), dims=("word", "feature")
    )
    baseline = to_volume @ counted
    layers = (
        to_volume @ layer_features(alice.words, model, start_token=True, device=device)
    ).transpose("layer", ...)

# %%
if alice is not None:
    folds = {
        "n_splits": bold_splits,
        "inner_splits": bold_splits - 1,
        "gap": bold_gap,
        "device": device,
    }
    base = cross_validate(baseline, bold, **folds)["score"].isel(layer=0, drop=True)
    alone = cross_validate(layers, bold, **folds)["score"]
    both = cross_validate(layers, bold, baseline=baseline, **folds)["score"]
    gain = both - base

# %% [markdown]
# ### The average brain
#
# Averaging the 27 people removes much of the noise that is each person's own. Chance for the *gain* over the baseline comes from
# surrogate responses: the baseline's least-squares fit plus what it leaves, circularly shifted in time. These have the baseline's share in
# the response and the rhythm of the rest, but no relation between the rest and the text {cite:p}`freedman1983`. Given a
# baseline, `shift_null` makes them and refits everything.

# %%
if alice is not None:
    average = group["channel"].to_numpy()
    gain_null = shift_null(
        layers,
        bold.sel(channel=average),
        baseline=baseline,
        n_shifts=bold_shifts,
        min_shift=bold_gap,
        seed=seed,
        **folds,
    )
    group_p = stats.p_values(
        gain.sel(channel=average).max("layer"), gain_null
    ).to_numpy()

# %% mystnb={"image": {"alt": "Six panels, one a region: cross-validated correlation by layer for layers alone and for layers with the baseline, with the baseline as a line and the chance level of the gain shaded."}} tags=["hide-input"]
if alice is not None:
    figure, axes = plt.subplots(2, 3, sharex=True, sharey=True, figsize=(8.8, 4.8))
    for axis, region, bound, p_region in zip(
        axes.flat,
        regions,
        gain_null.quantile(0.95, "shift").values,
        group_p,
        strict=True,
    ):
        name = f"mean/{region}"
        level = float(base.sel(channel=name))
        axis.axhspan(level, level + bound, color=GRAY, alpha=0.25, lw=0)
        axis.axhline(level, color="k", lw=1, ls="--", label="word rate and length")
        axis.plot(
            alone["layer"], alone.sel(channel=name), color=ORANGE, label="layer alone"
        )
        axis.plot(
            both["layer"],
            both.sel(channel=name),
            color=BLUE,
            label="word rate and length, and layer",
        )
        axis.set_title(f"{region} (p = {p_region:.3f})", fontsize=10)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        ncol=3,
        loc="outside upper right",
        fontsize=8,
    )
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
    "n_regions_gain",
    "regions_gain",
]
if alice is not None:
    by_layer, alone_by_layer = (
        both.sel(channel=average).mean("channel"),
        alone.sel(channel=average).mean("channel"),
    )
    winners = [
        region
        for region, value in zip(regions, stats.fdr(group_p)[0], strict=True)
        if value
    ]
    values = [
        f"{float(base.sel(channel=average).mean()):.2f}",
        f"{float(alone_by_layer.max()):.2f}",
        int(alone_by_layer.idxmax()),
        f"{float(by_layer.max()):.2f}",
        int(by_layer.idxmax()),
        len(winners),
        ", ".join(winners) or "none",
    ]
else:
    values = ["(no data in this build)"] * len(names)
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* the dashed line is the baseline; the gray band above it is what the best of all layers gains by chance (95 % of
# surrogates); the blue line has to leave it. Averaged over the six regions the baseline reaches r = {glue:text}`base_r`, the best
# single layer alone (layer {glue:text}`alone_layer`) {glue:text}`alone_r`, and the best layer with the baseline (layer
# {glue:text}`both_layer`) {glue:text}`both_r`. The gain is beyond chance in {glue:text}`n_regions_gain` of the six regions
# (false discovery rate 5 %): {glue:text}`regions_gain`. The p-value of each region stands in its title.
#
# ### Person by person
#
# One average brain is one sample, however many people are in it. Whether the gain holds *for people* is a question of its
# consistency over them, so we fit each person apart.

# %% mystnb={"image": {"alt": "Mean gain over the baseline by layer, over people, with its 95 percent interval, for six regions in thin lines and their mean in a thick one."}} tags=["hide-input"]
if alice is not None:
    people = alice.channels["subject"]
    each = gain.sel(channel=alice.channels.index).assign_coords(
        subject=("channel", people), region=("channel", alice.channels["region"])
    )
    per_person = each.groupby("subject").mean()
    interval = stats.bootstrap_ci(
        per_person.transpose("subject", "layer").to_numpy(), n_resamples=2000, seed=seed
    )
    figure, axis = plt.subplots(figsize=(6.8, 3.8))
    for region in regions:
        line = each[:, (each["region"] == region).to_numpy()].mean("channel")
        axis.plot(gain["layer"], line, lw=0.8, alpha=0.8, label=region)
    plotting.with_band(
        axis,
        gain["layer"],
        *interval,
        color="k",
        label="all regions, 95 % interval over people",
        lw=2,
    )
    axis.axhline(0, color="k", ls="--", lw=0.8)
    axis.set(xlabel="layer", ylabel="gain over word rate and length (r)")
    axis.set_title("Real fMRI (alice), 27 people fitted one by one")
    axis.legend(fontsize=7, ncol=4, loc="upper left")
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])
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
if alice is not None:
    at = int(np.argmax(interval.estimate))
    values = [
        f"{float(base.sel(channel=alice.channels.index).mean()):.3f}",
        f"{interval.estimate[at]:+.3f}",
        int(gain["layer"][at]),
        f"{interval.low[at]:+.3f}",
        f"{interval.high[at]:+.3f}",
        int((per_person.isel(layer=at) > 0).sum()),
        int((interval.low > 0).sum()),
    ]
else:
    values = ["(no data in this build)"] * len(names)
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* the black line is the gain averaged over regions and people, the band its 95 % bootstrap interval over the 27
# people, the dashed line no gain. One person's twelve minutes are noisy: the baseline alone reaches a mean score of
# {glue:text}`person_base`. On top of it, layer {glue:text}`person_layer`, the best on average, changes the score by
# {glue:text}`person_gain` (interval {glue:text}`person_low` to {glue:text}`person_high`); it is a gain in
# {glue:text}`person_share` of 27 people. The interval lies above zero in {glue:text}`person_sign` of the
# {glue:text}`n_layers` layers. A caution: a layer that was picked because it is best looks better than it is; the whole curve,
# not its peak, is the result.
#
# With six regions and no coordinates, these data cannot show a cortical *hierarchy* of layers. They can show which layers carry
# something that the blood follows and that counting words does not.
#
# ## Exercises
#
# 1. Measure the alignment with distance again, with Euclidean instead of geodesic distance. Which is higher, and does that tell
#    you which one is right?
# 2. Repeat the fMRI analysis of the average brain with *shuffled* folds, so that each test volume has its neighbours in the
#    training set. What happens to the scores?
# 3. Keep the first 20 s of the fMRI. What happens to the baseline?
#
# :::{admonition} Solution 1
# :class: dropdown
# The cohort was planted along geodesic distance, so it wins by construction. In real data a higher correlation would favour one
# measure only if its interval for the *difference* excluded zero.
# :::

# %% tags=["hide-cell"]
for measure in ("distance_pmc", "distance_pmc_euclidean"):
    found = alignment(peak, electrodes[measure], clusters=electrodes["subject"])
    print(f"{measure:24s} Spearman {found.r:.2f} ({found.low:.2f} to {found.high:.2f})")

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# Scores rise although nothing about the brain or the model has changed: volumes 2 s apart share most of their blood response and
# most of their words, so the model is tested on what it has all but seen. Published scores are comparable only where folds
# are.
# :::

# %% tags=["hide-cell"]
if alice is not None:
    shuffled_folds = KFold(bold_splits, shuffle=True, random_state=seed)
    shuffled = cross_validate(
        layers, bold.sel(channel=average), cv=shuffled_folds, device=device
    )["score"]
    honest = alone.sel(channel=average)
    print(
        f"best layer alone, mean over regions: contiguous {float(honest.mean('channel').max()):.2f}, "
        f"shuffled {float(shuffled.mean('channel').max()):.2f}"
    )

# %% [markdown]
# :::{admonition} Solution 3
# :class: dropdown
# The baseline gains from the onset of the story, one event that every word count predicts. It says that regions respond to
# speech after silence, not how they follow words.
# :::

# %% tags=["hide-cell"]
if alice is not None:
    all_volumes = signals.word_to_volume(alice.words, alice.signal["time"])
    regional = [
        alice.signal[:, (alice.channels["region"] == region).to_numpy()].mean("channel")
        for region in regions
    ]
    kept = xr.concat(regional, "channel").transpose("time", "channel")
    with_onset = cross_validate(all_volumes @ counted, kept, **folds)["score"].mean()
    without = base.sel(channel=average).mean()
    print(
        f"word rate and length, mean over regions: with the onset {float(with_onset):.2f}, without {float(without):.2f}"
    )

# %% [markdown]
# ## Run it on your own data
#
# Another model is one parameter. Any causal model in the layout of transformers will do, from a folder or by its name on the
# Hugging Face hub:
#
# ```bash
# papermill notebooks/02_layer_alignment.ipynb my_alignment.ipynb -p model /path/to/model -p device cuda
# ```
#
# For a recording of your own, build a `datasets.Listening` and call `layer_features` and `cross_validate` as above; that is all
# this chapter does.
#
# ## What the papers found
#
# {cite:t}`mischler2024` report, for twelve models of about seven billion parameters, that prediction is best in middle layers,
# that better models predict better and peak in earlier layers, and that peak layers grow with distance from Heschl's gyrus. In
# their analysis, as far as open sources tell, distance was Euclidean, electrodes were binned by distance and treated as
# independent, and principal components were computed from all words. Here distance is geodesic, people and not electrodes are
# the samples, and everything is computed inside training folds. Whether better models are more brain-like needs more than
# one model, and is the subject of the next chapters. The virtual cohort of this chapter proves the method; the fMRI section
# is evidence about people, of a coarser kind than theirs.
