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
# # Is it more than sound and word rate?
#
# Chapter 2 ended its first half with a warning: the best layer of a language model predicts even channels that hold nothing but sound.
# Words that are rare are also long; stretches that are fast are also loud; a model that knows which word was said knows much of its sound. So
# when a layer predicts the brain, *what* about the word is it that predicts? This chapter describes each word in five ways, from its
# sound to its meaning in context, and asks what each description explains that the others do not.
#
# :::{admonition} In this chapter
# **You will learn**
# how to fit several descriptions at once without the largest swamping the others; how to split what they explain into unique and shared
# parts, and how not to read too much into either; how finite data bias such shares, and what to do about it; and how to use the time at
# which an electrode responds as a second measure of its depth.
#
# **You need** scores, noise ceilings and peak layers of chapter 2.
#
# **It takes** about 45 minutes to read, and a minute and a half to run on two cores once the features are computed.
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = "virtual"  # "virtual", "podcast" or a folder of your own recordings
dataset_options: dict = {}  # passed to datasets.load_listening
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
n_depths: int = 9  # layers, evenly spaced, among which peak layers are looked for
n_components: int = 50  # principal components of every larger feature space
n_context: int = 150  # and of the contextual one
n_draws: int = 12  # directions of the penalties that are tried
n_splits: int = 5  # contiguous folds of the outer cross-validation
inner_splits: int = 3  # folds inside each training set that choose the penalties
gap: int = 5  # words left out between training and test words
n_bands: int = 4  # bands of distance, with as many electrodes each
q: float = 0.05  # false discovery rate of the selection of electrodes
seed: int = 0  # of penalties, random features and the bootstrap
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
real_data: bool = True  # end with the fMRI of 27 real people
bold_splits: int = 6  # folds of the fMRI analysis: blocks of two minutes
bold_gap: int = 10  # volumes (2 s each) left out between training and test
bold_skip: int = 10  # volumes left out at the start: the onset of the story
bold_boot: int = 20  # bootstrap averages of people
bold_random: int = 8  # random descriptions to compare with

# %% tags=["hide-input", "remove-stderr"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from myst_nb import glue
from scipy.ndimage import gaussian_filter1d

from brainalign import datasets, plotting, signals, stats
from brainalign.assets import AssetError
from brainalign.datasets.alice import (
    by_person,
    sound_power,
    split_averages,
    with_averages,
)
from brainalign.encoding import cross_validate
from brainalign.features import acoustics
from brainalign.features.language import layer_features, n_layers, surprisal
from brainalign.hierarchy import (
    alignment,
    alignment_difference,
    mean_over_people,
    mixed_model,
    peak_layer,
    response_lag,
    word_drive,
)
from brainalign.partition import variance_partition

plotting.use_style()
_ = xr.set_options(display_expand_data=False, display_expand_attrs=False)
BLUE, GRAY = plotting.COLORS["blue"], plotting.COLORS["gray"]
NOT_PLANTED = "(unknown: nothing was planted here)"

# %% tags=["hide-output"]
data = datasets.load_listening(dataset, **dataset_options)
words, title = data.words, data.name.capitalize()
data

# %% [markdown]
# Electrodes are selected as they would be in a real recording, without any model: those that respond to speech more, or less, than to silence
# (`speech_responsive`, chapter 1), at a known distance from Heschl's gyrus.

# %%
try:
    responsive = signals.speech_responsive(data.signal, words, q=q)["responsive"]
except ValueError as error:
    responsive = pd.Series(True, index=data.channels.index)
    print(f"All channels are kept: {error}")
located = data.channels["distance_pmc"].notna()
chosen = data.select(responsive.to_numpy() & located.to_numpy())
electrodes, responses = chosen.channels, chosen.responses
people = electrodes["subject"].to_numpy()
distance = electrodes["distance_pmc"].to_numpy()
print(f"{len(electrodes)} of {len(data.channels)} channels, {len(set(people))} people")

# %% [markdown]
# ## Five descriptions of a word
#
# We call a set of features that belong together a {term}`feature space`. From the ear upwards:
#
# - **acoustics**: the spectrogram in six steps of 50 ms up to the word's centre, as in chapter 2, and with it the sound's {term}`envelope` and its
#   *onsets*, the steepness with which the envelope rises;
# - **rate**: how long the word took, how many letters it has, and how long ago the previous word began;
# - **frequency**: how rare the word is, and how unexpected in its place. {term}`surprisal` given all words so far is the latter. For the former we take the
#   surprisal with a context of one word: a rough stand-in, as it reflects how texts begin (chapter 5). Counts from a corpus would be better,
#   and a share of zero here may be its fault;
# - **static**: layer 0 of the language model, the input embedding. It knows *which* word was said and, however often the word comes back, says the same;
# - **context**: layers at a quarter, half and three quarters of the model's depth, which have seen the words before.
#
# And a sixth as a control: **random**, {glue:text}`n_components` random numbers for each word. It explains nothing; we shall see
# whether our method says so.

# %%
depth = n_layers(model)
depths = np.unique(np.linspace(0, depth, n_depths).round().astype(int))
middle = np.unique(np.round(depth * np.array([0.25, 0.5, 0.75])).astype(int))
layers = np.union1d(depths, middle)
states = layer_features(words, model, layers=layers, start_token=True, device=device)
bits = [
    surprisal(words, model, context=c, start_token=True, device=device)
    for c in (1, None)
]

# %%
since = words["onset"].diff()
since = since.where(~words["passage"].ne(words["passage"].shift()), since.median())
rate = [words["offset"] - words["onset"], words["word"].str.len(), since]
spaces = {
    "rate": np.column_stack(rate),
    "frequency": np.column_stack(bits),
    "static": states.sel(layer=0).values,
    "context": np.hstack([states.sel(layer=layer) for layer in middle]),
    "random": np.random.default_rng(seed).standard_normal((len(words), n_components)),
}
if data.audio is not None:
    sound = [
        make(data.audio.samples, data.audio.rate).drop_vars("feature")
        for make in (acoustics.mel_spectrogram, acoustics.envelope)
    ]
    heard = acoustics.word_acoustics(xr.concat(sound, "feature"), words)
    spaces = {"acoustics": heard.values} | spaces
pd.Series({name: space.shape[1] for name, space in spaces.items()}, name="features")

# %% [markdown]
# ## One model, many penalties
#
# Put side by side, these are more than two thousand features, of which two are about frequency. {term}`ridge regression` with one penalty for all
# would treat every feature alike: a penalty strong enough to keep hundreds of embedding features in check all but silences the
# two. {term}`banded ridge regression` {cite:p}`nunez2019` gives every space $k$ a penalty of its own:
#
# $$\hat{w} = \arg\min_w \; \lVert y - \textstyle\sum_k X_k w_k \rVert^2 + \sum_k \alpha_k \lVert w_k \rVert^2 .$$
#
# The penalties, one for each space and electrode, are chosen by inner folds as in chapter 2. With six spaces a full grid would be
# astronomical, so we try random ratios of the penalties ({glue:text}`n_draws` here), each with eight overall strengths
# {cite:p}`dupre2022`, for all electrodes at once. Spaces with more than {glue:text}`n_components` features enter by as many {term}`principal components`,
# computed within each training fold; the context space, in which several layers lie side by side, by {glue:text}`n_context`.
#
# ## Unique and shared
#
# How much a model explains is measured by $R^2$ ({term}`R²`): one minus its squared errors on held-out words over those of predicting the mean. We fit
# the model with all spaces, then once without each of them:
#
# $$\mathrm{unique}_k = R^2(\text{all}) - R^2(\text{all but } k), \qquad
# \mathrm{shared} = R^2(\text{all}) - \textstyle\sum_k \mathrm{unique}_k .$$
#
# The *unique* share ({term}`unique variance`) is what no other space can stand in for. The *shared* variance is what at least two spaces explain equally well; no
# regression can say to which of them it belongs. Every model chooses its own penalties, and nothing is clipped: the share of a space
# that explains nothing scatters around zero and is often a little below, because a useless space costs some accuracy.
#
# This is also the catch. A model with hundreds of weights learns only part of what its features hold from {glue:text}`n_words` words, so that
# the shares of large spaces come out too small. `variance_partition` therefore gives two estimates. *Cross-validated* is what is
# predicted, and errs downwards: with it we ask whether a share is more than nothing. *Adjusted* estimates what unlimited data would give: the part of the held-out error
# that comes from uncertain weights, $x^\top (X^\top X + \alpha I)^{-1} x$ times the noise for a word $x$ {cite:p}`rasmussen2006`, is taken out. With it we ask how large a share is.
# Where the two differ much, data are short.

# %%
options = {"groups": words["passage"].to_numpy(), "gap": gap, "seed": seed}
options |= {"n_splits": n_splits, "inner_splits": inner_splits, "device": device}
sizes = dict.fromkeys(spaces, n_components) | {"context": n_context}
shares = variance_partition(
    spaces, responses, n_components=sizes, n_draws=n_draws, **options
)
shares

# %% [markdown]
# Half of an electrode's variance may be noise. Where the recording has repeats, we divide all shares by the {term}`explainable variance`, the square of the
# {term}`noise ceiling`; 1 then means everything that is not noise.

# %%
best_possible = xr.ones_like(responses[0], dtype=float)
unit = "R²"
if chosen.signal is not None and "repeat" in chosen.signal.dims:
    repeats = signals.word_responses(chosen.signal, words)
    best_possible = stats.noise_ceiling(repeats)["reliability_of_mean"]
    unit = "share of explainable variance"
relative = shares[["r2", "unique", "alone", "shared"]]
relative = stats.normalise(relative, best_possible.drop_vars("channel"))
kept = relative["r2"].notnull().all("estimate").to_numpy()
bands = pd.qcut(distance, n_bands, precision=0)
labels = [f"{max(b.left, 0):.0f} to {b.right:.0f}" for b in bands.categories]


def by_band(values):
    """Mean over people and its interval for each band of distance: (band, ...)."""
    rows = [kept & (bands == band) for band in bands.categories]
    means = [mean_over_people(values.T[row], people[row]) for row in rows]
    return [np.stack([getattr(m, part) for m in means]) for part in m_parts]


m_parts = ("mean", "low", "high")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: unique share of each feature space in bands of distance with intervals over people; acoustics fade with distance, context grows, random features stay at zero. Right: stacked bars of adjusted unique shares, shared variance, and the rest."}}
names = list(spaces)
colors = ("blue", "sky", "green", "orange", "red", "black")
tints = dict(
    zip(names, (plotting.COLORS[c] for c in colors[-len(names) :]), strict=True)
)
figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.0), width_ratios=(1.25, 1))
for k, name in enumerate(names):
    at = np.arange(n_bands) + 0.12 * (k - (len(names) - 1) / 2)
    for estimate, style in (("cross-validated", "o"), ("adjusted", "_")):
        mean, low, high = by_band(
            relative["unique"].sel(estimate=estimate, part=name).to_numpy()
        )
        if style == "o":
            left.errorbar(
                at, mean, [mean - low, high - mean], fmt="o", ms=5, color=tints[name]
            )
        else:
            left.plot(at, mean, "_", ms=9, mew=2, color=tints[name])
left.axhline(0, color="k", ls="--", lw=0.8)
left.set_xticks(np.arange(n_bands), labels)
left.set(
    xlabel="geodesic distance from Heschl's gyrus (mm)",
    ylabel=f"unique variance\n({unit})",
)
left.set_title("dots: cross-validated, 95 % interval; dashes: adjusted", fontsize=9)
floor, ceiling = np.zeros(n_bands), np.zeros(n_bands)
stack = {name: relative["unique"].sel(part=name) for name in names}
stack |= {"shared": relative["shared"]}
tints["shared"] = "#cccccc"
for name, values in stack.items():
    mean = by_band(values.sel(estimate="adjusted").to_numpy())[0]
    base = np.where(mean > 0, ceiling, floor)
    right.bar(np.arange(n_bands), mean, 0.7, bottom=base, color=tints[name], label=name)
    ceiling, floor = ceiling + mean.clip(min=0), floor + mean.clip(max=0)
right.axhline(0, color="k", lw=0.8)
right.axhline(1, color="k", ls=":", lw=0.8)
right.text(-0.35, 1.01, "all that is not noise", fontsize=8, va="bottom")
right.set_xticks(np.arange(n_bands), labels, fontsize=8)
right.set(xlabel="distance (mm)", ylabel=unit, ylim=(None, 1.12))
right.set_title("adjusted", fontsize=9)
handles, shown = right.get_legend_handles_labels()
figure.legend(handles, shown, ncol=7, loc="outside lower center", fontsize=8)
figure.suptitle(
    f"What each description explains, {data.name}", fontweight="bold", x=0.01, ha="left"
)
plt.show()

# %% tags=["remove-cell"]
plain, adjusted = (relative.sel(estimate=e) for e in shares["estimate"].values)
glue("n_draws", n_draws, display=False)
glue("n_components", n_components, display=False)
glue("n_context", n_context, display=False)
glue("n_words", len(words), display=False)
for name in ("acoustics", "static", "context"):
    for end, at in (("near", 0), ("far", -1)):
        for short, source in (("cv", plain), ("adj", adjusted)):
            text = "(no sound in these data)"
            if name in names:
                interval = by_band(source["unique"].sel(part=name).to_numpy())
                low, high = (part[at] for part in interval[1:])
                text = f"{interval[0][at]:.2f} ({low:.2f} to {high:.2f})"
            text = text.replace("-0.00", "0.00")
            glue(f"{name}_{end}_{short}", text, display=False)
small = [n for n in ("rate", "frequency", "random") if n in names]
means = np.abs([by_band(plain["unique"].sel(part=n).values)[0] for n in small])
glue("small_bound", f"{means.max():.2f}", display=False)
over_all = mean_over_people(plain["unique"].values.T[kept], people[kept])
beyond = [n for n, low in zip(names, over_all.low, strict=True) if low > 0]
glue("beyond_zero", ", ".join(beyond) or "none", display=False)
for short, source in (("cv", plain), ("adj", adjusted)):
    total = mean_over_people(source["r2"].values[kept], people[kept])
    glue(
        f"total_{short}",
        f"{total.mean:.2f} ({total.low:.2f} to {total.high:.2f})",
        display=False,
    )
    rest = mean_over_people(source["shared"].values[kept], people[kept])
    glue(f"shared_{short}", f"{rest.mean:.2f}", display=False)
    glue(f"shared_part_{short}", f"{100 * rest.mean / total.mean:.0f}", display=False)
glue("near_band", labels[0], display=False)
glue("far_band", labels[-1], display=False)
glue("n_people", len(set(people)), display=False)

# %% [markdown]
# *What to see:* left, the unique share of each space, averaged over each person's electrodes in a band of distance and then over {glue:text}`n_people` people, with its
# 95 % interval over people. The dashed line is chance: what a space without anything of its own has. Right, the adjusted shares stacked, with what is shared in gray; the gap up to 1 is explained by none of our spaces.
# In numbers (interval over people):
#
# | unique share of | {glue:text}`near_band` mm, cross-validated | {glue:text}`near_band` mm, adjusted | {glue:text}`far_band` mm, cross-validated | {glue:text}`far_band` mm, adjusted |
# | --- | --- | --- | --- | --- |
# | acoustics | {glue:text}`acoustics_near_cv` | {glue:text}`acoustics_near_adj` | {glue:text}`acoustics_far_cv` | {glue:text}`acoustics_far_adj` |
# | static | {glue:text}`static_near_cv` | {glue:text}`static_near_adj` | {glue:text}`static_far_cv` | {glue:text}`static_far_adj` |
# | context | {glue:text}`context_near_cv` | {glue:text}`context_near_adj` | {glue:text}`context_far_cv` | {glue:text}`context_far_adj` |
#
# The cross-validated means of rate, frequency and random lie within {glue:text}`small_bound` of zero in every band.
# Over all electrodes, the spaces whose cross-validated unique share has an interval above zero are: {glue:text}`beyond_zero`. All spaces together
# explain {glue:text}`total_cv` ({glue:text}`total_adj` adjusted). {glue:text}`shared_cv`, or {glue:text}`shared_part_cv` % of what is explained, is shared by at least
# two spaces ({glue:text}`shared_adj`, or {glue:text}`shared_part_adj` %, adjusted): which of them it belongs to cannot be said.
#
# ## The truth beside the estimate
#
# In the {term}`virtual cohort` we know what drives an electrode: a share of sound that fades with distance, and language for the rest. But sound and words go
# together, in all speech, so that the {term}`planted` share is *not* the unique share, even with unlimited data. If our spaces held all that was planted, the truth would lie
# between two bounds: what acoustics explain uniquely, and what they explain alone. For words the bounds would be all that is explained, less the one or the other.
#
# Shares were planted in the continuous signal, and we look at words. Sampled there, sound keeps {glue:text}`sound_left` of its variance, because its quick
# ups and downs are averaged over 100 ms; responses to words have {glue:text}`words_left` times theirs, because every sample is taken at a peak. The folded cell
# translates the planted shares accordingly.

# %% tags=["hide-input"]
truth = chosen.truth
bounded = truth is not None and "acoustics" in spaces
if bounded:
    control = (data.truth["kind"] == "control").to_numpy()
    # control channels are nothing but sound
    sound_left = float(data.responses[:, control].var("word").mean())
    values = xr.DataArray(spaces["random"][:, 0], dims="word")
    impulses = word_drive(values, words, data.signal["time"])
    steps, left_over = np.linspace(0, 1, 6), []
    for step in steps:  # random values at words, as wide and as late as planted
        bump = gaussian_filter1d(impulses, 100 * (0.05 + 0.05 * step))
        bump = impulses.copy(data=bump / bump.std()).expand_dims(channel=1, axis=1)
        at_words = signals.word_responses(bump, words, lag=-0.08 * step)
        left_over.append(float(at_words.var()))
    words_left = np.interp(truth["lag"] / 0.08, steps, left_over)
    weight = truth["acoustic"] * sound_left
    planted = (weight / (weight + truth["language"] * words_left)).to_numpy()
    of_language = kept & (truth["kind"] == "language").to_numpy()
    bounds = {}
    for estimate in ("cross-validated", "adjusted"):
        now = relative.sel(estimate=estimate)
        low = now["unique"].sel(part="acoustics").to_numpy()
        high = now["alone"].sel(part="acoustics").to_numpy()
        bounds["sound", estimate] = low, high
        bounds["words", estimate] = now["r2"].values - high, now["r2"].values - low

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each electrode the adjusted unique share of sound and its share alone against the planted share, joined by a line, with the diagonal of perfect recovery."}}
if bounded:
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    x = planted[of_language]
    low, high = (b[of_language] for b in bounds["sound", "adjusted"])
    axis.vlines(x, low, high, color=GRAY, lw=0.5, alpha=0.5)
    for y, kind, color in ((high, "alone", "sky"), (low, "unique", "blue")):
        color = plotting.COLORS[color]
        axis.scatter(x, y, s=12, color=color, label=kind, zorder=3)
    axis.axline((0, 0), slope=1, color="k", ls="--", lw=0.8, label="planted")
    axis.axhline(0, color="k", lw=0.5)
    axis.set(xlabel="planted share of sound, at words")
    axis.set_ylabel(f"adjusted estimate\n({unit})")
    axis.legend(fontsize=8, loc="upper left")
    axis.set_title(f"Planted and estimated share of sound, {data.name}")
    plt.show()

# %% tags=["remove-cell"]
keys = [f"{n}_{what}" for n in ("sound", "words") for what in ("planted", "bounds")]
keys += [f"{n}_verdict" for n in ("sound", "words")]
keys += ["sound_ranks", "sound_left", "words_left"]
values = [NOT_PLANTED] * len(keys)
if bounded:
    values, verdicts = [], []
    for name in ("sound", "words"):
        x = (planted if name == "sound" else 1 - planted)[of_language].mean()
        both = [b[of_language].mean() for b in bounds[name, "adjusted"]]
        values += [f"{x:.2f}", " to ".join(f"{b:.2f}" for b in both)]
        verdicts.append(
            "so that both fall short of the truth"
            if both[1] < x
            else "so that both are above the truth"
            if both[0] > x
            else "with the truth between them"
        )
    x = planted[of_language]
    low, high = (b[of_language] for b in bounds["sound", "adjusted"])
    ranks = alignment(low, x, clusters=people[of_language])
    values += verdicts
    values += [f"{ranks.r:.2f} ({ranks.low:.2f} to {ranks.high:.2f})"]
    values += [f"{sound_left:.2f}", f"{words_left[of_language].mean():.2f}"]
for name, value in zip(keys, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* for every electrode, dark, the unique share and, light, the share alone, joined by a line; the dashed line is the planted share. Averaged over
# electrodes that hold language, the planted share of sound is {glue:text}`sound_planted` and the adjusted bounds are {glue:text}`sound_bounds`,
# {glue:text}`sound_verdict`. The unique share follows the planted one with a rank correlation of {glue:text}`sound_ranks`.
#
# For words the planted share is {glue:text}`words_planted` and the bounds are {glue:text}`words_bounds`, {glue:text}`words_verdict`. No space of ours holds exactly
# what was planted there: each electrode follows one layer out of all, with a context of its own, and ours are others.
#
# ## When does an electrode respond?
#
# Distance from Heschl's gyrus is one measure of an electrode's place in the hierarchy. Another is time: what is farther up should respond later
# ({term}`response lag`). {cite:t}`mischler2024` take it from a {term}`temporal receptive field`: a regression of the signal on a drive at every lag, whose highest weight marks the lag.
#
# What is the drive? For sound it is the envelope. For words it cannot be the mere fact that a word occurred: an
# electrode that follows the *content* of words rises for one and falls for another, and its average response to a word is flat. So we put at the
# centre of each word an impulse as high as the response that the electrode's best layer predicts for it, held out as ever, and ask when the signal follows. The
# interval comes from leaving out tenths of the recording.

# %%
fit = cross_validate(
    states.sel(layer=depths),
    responses,
    groups=options["groups"],
    n_splits=n_splits,
    inner_splits=2,
    gap=gap,
    alphas=np.logspace(0, 7, 8),
    return_predictions=True,
    device=device,
)
peak = peak_layer(fit["score"])
predicted = fit["prediction"].sel(layer=peak)
signal = chosen.signal
signal = signal.mean("repeat") if "repeat" in signal.dims else signal
lag = response_lag(signal, word_drive(predicted, words, signal["time"]))
reliable = (lag["high"] - lag["low"] < 0.1).to_numpy() & (lag["score"] > 0).to_numpy()
print(f"{reliable.sum()} of {len(lag)} lags are known to within 50 ms either way")

# %%
if data.audio is not None:
    loudness = acoustics.envelope(data.audio.samples, data.audio.rate)[:, 0]
    loudness = loudness.interp(time=signal["time"], kwargs={"fill_value": 0.0})
    to_sound = response_lag(signal, loudness)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: response lag of each electrode against distance, with intervals and the planted lag as a line. Right: peak layer against response lag."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.7))
ms = 1000 * lag[reliable]
at = distance[reliable]
left.errorbar(
    at,
    ms["lag"],
    [ms["lag"] - ms["low"], ms["high"] - ms["lag"]],
    fmt="o",
    ms=4,
    lw=0.6,
    color=BLUE,
    label="estimate, 95 % interval",
)
if truth is not None:
    order = np.argsort(at)
    left.plot(
        at[order],
        1000 * truth["lag"].to_numpy()[reliable][order],
        color="k",
        ls=":",
        label="planted",
    )
left.legend(fontsize=8)
left.set(
    xlabel="geodesic distance from Heschl's gyrus (mm)", ylabel="response lag (ms)"
)
right.scatter(ms["lag"], peak.to_numpy()[reliable], s=18, color=BLUE, alpha=0.6)
right.set(xlabel="response lag (ms)", ylabel="peak layer")
figure.suptitle(
    f"Two measures of depth, {data.name}", fontweight="bold", x=0.01, ha="left"
)
plt.show()

# %% [markdown]
# How strongly do peak layers follow each measure? Electrodes of one person are no independent samples, so every interval counts people. We compare three ways:
# the rank correlation with the {term}`jackknife` of chapter 2, the same with a {term}`bootstrap` over people, and a {term}`mixed model`, a linear regression in which every person has an intercept and a
# slope of their own. (The bootstrap's standard error is held against Student's t, as the jackknife's is; its plain quantiles would be too narrow with so few people.)

# %%
measures = {"geodesic distance (mm)": distance}
if "distance_pmc_euclidean" in electrodes:
    measures["Euclidean distance (mm)"] = electrodes["distance_pmc_euclidean"].values
measures["response lag (ms)"] = 1000 * lag["lag"].to_numpy()
rows = {}
top, who = peak.to_numpy()[reliable], people[reliable]
for name, measure in measures.items():
    by_jackknife, by_bootstrap = (
        alignment(top, measure[reliable], clusters=who, method=method, seed=seed)
        for method in ("jackknife", "bootstrap")
    )
    mixed = mixed_model(top, measure[reliable] / 10, who)
    slope = f"{mixed.slope:.2f} ({mixed.low:.2f} to {mixed.high:.2f})"
    rows[name] = {
        "rank correlation": f"{by_jackknife.r:.2f}",
        "95 %, jackknife": f"{by_jackknife.low:.2f} to {by_jackknife.high:.2f}",
        "95 %, bootstrap": f"{by_bootstrap.low:.2f} to {by_bootstrap.high:.2f}",
        "layers per 10 mm or ms (95 %)": slope,
    }
pd.DataFrame(rows).T

# %% tags=["remove-cell"]
by_lag = alignment(ms["lag"], at, clusters=who)
glue("lag_r", f"{by_lag.r:.2f} ({by_lag.low:.2f} to {by_lag.high:.2f})", display=False)
keys = ["lag_error", "lag_bias", "lag_longest", "lag_halfway", "lag_below"]
values = [NOT_PLANTED] * len(keys)
if truth is not None:
    error = ms["lag"].to_numpy() - 1000 * truth["lag"].to_numpy()[reliable]
    beyond = np.isfinite(error) & (at > np.median(at))
    values = [f"{np.nanmean(np.abs(error)):.0f}", f"{np.nanmean(error):+.0f}"]
    values += [f"{1000 * truth['lag'].max():.0f}", f"{np.median(at):.0f}"]
    values += [f"{100 * np.mean(error[beyond] < 0):.0f}"]
for name, value in zip(keys, values, strict=True):
    glue(name, value, display=False)
glue("lag_step", f"{1000 * float(signal['time'].diff('time')[0]):.0f}", display=False)
value = "(no sound in these data)"
if data.audio is not None:
    by_sound = alignment(to_sound["lag"], distance, clusters=people)
    value = f"{by_sound.r:.2f} ({by_sound.low:.2f} to {by_sound.high:.2f})"
glue("sound_lag_r", value, display=False)
values = ["(one distance only)"] * 2
if "distance_pmc_euclidean" in electrodes:
    gain = alignment_difference(
        top, at, measures["Euclidean distance (mm)"][reliable], clusters=who
    )
    verdict = "excludes" if gain.low > 0 or gain.high < 0 else "does not exclude"
    values = [f"{gain.r:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})", verdict]
for name, value in zip(("metric_gain", "metric_verdict"), values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* the rank correlation of lag and distance is {glue:text}`lag_r`. Where lags were planted (0 to {glue:text}`lag_longest` ms, growing with distance), the estimate is off by
# {glue:text}`lag_error` ms on average, with a bias of {glue:text}`lag_bias` ms; the signal has one sample in {glue:text}`lag_step` ms. Beyond {glue:text}`lag_halfway` mm,
# {glue:text}`lag_below` % of the estimates lie below the planted line.
#
# The lag behind the *envelope*, which needs no language model, follows distance with a rank correlation of
# {glue:text}`sound_lag_r`: in the cohort the delay of the sound's share was drawn at random, and far electrodes hold hardly any sound, so there is nothing to find. In a real recording
# the two lags can be told apart in the same way.
#
# Peak layers follow distance, geodesic or Euclidean, and the response lag. The rank correlation with geodesic distance less that with Euclidean
# distance is {glue:text}`metric_gain`; the interval {glue:text}`metric_verdict` zero. That all of this agrees is by construction here: layer, context and lag were all planted to grow with distance.
# And the lag is measured with the help of the peak layer, so that these two are not independent measures.
#
# ## Real people: six regions that heard *Alice*
#
# We ask the same of the fMRI of {cite:t}`brennan2016`: what do contextual layers explain that sound, word rate, frequency and the mere identity of words do not?
# As in chapter 2, words become regressors by the {term}`haemodynamic response`, slow drift is removed from them as it was from the responses, and blocks of two minutes are
# predicted in turn. As above, every space has a penalty of its own, and every large space, context included, enters by {glue:text}`n_components` components. The description of sound is coarser: the data
# come with the sound's power over time, not with the sound.
#
# The reference is a random description in the place of context: as many random numbers for each word as the three layers have. All people heard one story, so what fits it by luck fits in
# everyone; the unique share of context has to be above what {glue:text}`bold_random` such descriptions get. With so few, lying beyond all of them is a p of {glue:text}`random_least_p` at
# best: a rough guide, not a test.

# %%
try:
    alice = datasets.load_listening("alice") if real_data else None
except AssetError as error:
    alice = None
    print("This section has no results: the data could not be had.")
    print(error)

# %% tags=["hide-input"]
if alice is not None:
    heard = alice.words
    story = layer_features(
        heard, model, layers=[0, *middle], start_token=True, device=device
    )
    bits = [
        surprisal(heard, model, context=c, start_token=True, device=device).values
        for c in (1, None)
    ]
    rng = np.random.default_rng(seed)
    wide = len(middle) * story.sizes["feature"]

    def at_volumes(of_words):
        moved = signals.word_regressors(
            np.asarray(of_words), heard, alice.signal["time"]
        )
        return moved.values[bold_skip:]

    simple = {
        "acoustics": sound_power(alice).values[bold_skip:],
        "rate": at_volumes(np.stack([np.ones(len(heard)), heard["word"].str.len()], 1)),
        "frequency": at_volumes(np.stack(bits, 1)),
        "static": at_volumes(story.sel(layer=0)),
    }
    contextual = at_volumes(np.hstack([story.sel(layer=k) for k in middle]))
    bold = by_person(alice).isel(time=slice(bold_skip, None))
    regions = list(bold["region"].values)

# %% [markdown]
# The average brain, {glue:text}`bold_boot` averages of people drawn with replacement, and the people themselves are channels of the same fits.

# %%
if alice is not None:
    n_heard = len(bold)
    everyone = with_averages(bold, bold_boot, seed=seed)
    bold_options = {"n_splits": bold_splits, "gap": bold_gap, "device": device}
    bold_options |= {"n_components": n_components, "n_draws": n_draws, "seed": seed}
    described = simple | {"context": contextual}
    chance = [
        at_volumes(rng.standard_normal((len(heard), wide))) for _ in range(bold_random)
    ]
    real = variance_partition(
        described, everyone, rivals={"context": chance}, **bold_options
    )
    lucky = real["rivals"]
    redrawn = [
        variance_partition(
            described,
            everyone[:, : len(regions)],
            parts={"simple": list(simple), "context": ["context"]},
            **bold_options | {"seed": other},
        )["unique"].sel(part="context", estimate="cross-validated")
        for other in (seed + 1, seed + 2)
    ]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of six panels, one a region: unique share of each feature space in the average brain, above, and averaged over people, below, with intervals over people; behind context, in gray, the range of random descriptions."}}
if alice is not None:

    def of_group(values, name):
        """The average brain (..., region), bootstrap copies or people (..., copy, region)."""
        return getattr(split_averages(values), name).values

    bold_names = [*simple, "context"]
    steps = np.arange(len(bold_names))
    figure, axes = plt.subplots(2, 6, figsize=(9.4, 5.0), sharex=True, sharey="row")
    for k, region in enumerate(regions):
        for row, (group, source) in enumerate(
            (("average", "bootstrap"), ("people", "people"))
        ):
            axis = axes[row, k]
            for e, estimate in enumerate(("cross-validated", "adjusted")):
                unique = real["unique"].sel(estimate=estimate)
                copies = of_group(unique, source)[..., k]
                if group == "average":
                    mean = of_group(unique, group)[:, k]
                    reach = 1.96 * copies.std(1)
                else:
                    people_mean = mean_over_people(copies.T, np.arange(n_heard))
                    mean, reach = people_mean.mean, people_mean.high - people_mean.mean
                style = {"color": BLUE, "label": estimate}
                if e == 0:
                    axis.errorbar(steps, mean, reach, fmt="o", ms=4, **style)
                else:
                    axis.plot(steps, mean, "_", ms=8, mew=2, **style)
            random = of_group(lucky.sel(estimate="cross-validated"), group)
            random = random[..., k].reshape(len(random), -1).mean(1)
            axis.fill_between(
                steps[-1] + np.array([-0.45, 0.45]),
                random.min(),
                random.max(),
                color=GRAY,
                alpha=0.45,
                lw=0,
                label="random in place of context",
            )
            axis.axhline(0, color="k", ls="--", lw=0.8)
            axis.set_xticks(steps, bold_names, rotation=90, fontsize=8)
        axes[0, k].set_title(region, fontsize=10)
    axes[0, 0].set_ylabel("average brain\nunique variance (R²)")
    axes[1, 0].set_ylabel("mean of people\nunique variance (R²)")
    handles, shown = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, shown, ncol=3, loc="outside lower center", fontsize=8)
    figure.suptitle(
        f"Real fMRI (alice), {n_heard} people", fontweight="bold", x=0.01, ha="left"
    )
    plt.show()

# %% tags=["remove-cell"]
keys = ["part_shared", "r2_people", "r2_zero", "r2_reading", "n_heard"]
for group in ("average", "people"):
    keys += [f"{what}_{group}" for what in ("place", "zero", "reading", "regions")]
keys += ["n_positive", "below_zero", "redrawn"]
values = ["(no data in this build)"] * len(keys)
if alice is not None:

    def over_people(values, source):
        """Mean of regions and its interval over people; of the average brain, or of people."""
        copies = of_group(values, source).mean(-1)
        if source == "people":
            return mean_over_people(copies, np.arange(n_heard))[:3]
        middle = of_group(values, "average").mean()
        return middle, middle - 1.96 * copies.std(), middle + 1.96 * copies.std()

    parts = {"all spaces": real["r2"], "shared": real["shared"]}
    for name in bold_names:
        parts[name] = real["unique"].sel(part=name)
    found = {
        (name, estimate, source): over_people(part.sel(estimate=estimate), source)
        for name, part in parts.items()
        for estimate in real["estimate"].values
        for source in ("bootstrap", "people")
    }
    basis = "cross-validated"
    explained, part_shared = (
        found[name, basis, "bootstrap"][0] for name in ("all spaces", "shared")
    )
    mean, low, high = found["all spaces", basis, "people"]
    nothing = low <= 0
    values = [f"{100 * part_shared / explained:.0f}"]
    values += [f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"]
    values += ["includes" if nothing else "excludes"]
    values += ["nothing can be split" if nothing else "there is something to split"]
    values += [n_heard]
    random_range = {}
    for group, source in (("average", "bootstrap"), ("people", "people")):
        mean, low, high = found["context", basis, source]
        here = of_group(parts["context"].sel(estimate=basis), group)
        luck = of_group(lucky.sel(estimate=basis), group)
        if group == "people":
            here, luck = here.mean(0), luck.mean(1)
        random_range[source] = luck.mean(-1).min(), luck.mean(-1).max()
        smallest, largest = random_range[source]
        above, clear = mean > largest, low > 0
        places = "above all" if above else "below all" if mean < smallest else "among"
        reading = "a sign of more than luck" if clear else "a hint at most"
        reading = reading if above else "no sign of more than luck"
        higher = ", ".join(np.array(regions)[here > luck.max(0)]) or "none"
        values += [places, "excludes" if low > 0 or high < 0 else "includes"]
        values += [reading, higher]
    each = of_group(parts["context"].sel(estimate=basis), "people").mean(-1)
    values.append(int((each > 0).sum()))
    below = [n for n in bold_names if found[n, basis, "people"][2] < 0]
    values.append(", ".join(below) or "none")
    values.append(" and ".join(f"{float(share.mean()):.3f}" for share in redrawn))
for name, value in zip(keys, values, strict=True):
    glue(name, value, display=False)
glue("bold_random", bold_random, display=False)
glue("bold_boot", bold_boot, display=False)
glue("random_least_p", f"{1 / (1 + bold_random):.2f}", display=False)

# %% [markdown]
# *What to see:* above, the average brain, with 95 % intervals over people drawn again; below, the shares of each person averaged, with intervals over people. The gray band behind context is the range of
# the cross-validated share of random descriptions in its place, the dashed line is zero. By region, the share of context is above that band in {glue:text}`regions_average` (average brain) and in
# {glue:text}`regions_people` (mean of people). Averaged over regions ($R^2$; static and context: unique share):

# %% tags=["hide-input"]
if alice is not None:
    columns = {
        "average brain, cross-validated": ("cross-validated", "bootstrap"),
        "average brain, adjusted": ("adjusted", "bootstrap"),
        "mean of people, cross-validated": ("cross-validated", "people"),
    }
    table = {
        head: {
            name: "{:.3f} ({:.3f} to {:.3f})".format(*found[(name, *column)])
            for name in ("all spaces", "context", "static", "shared")
        }
        for head, column in columns.items()
    }
    for head, (estimate, source) in columns.items():
        limits = "{:.3f} to {:.3f}".format(*random_range[source])
        table[head]["random, range"] = limits if estimate == basis else ""
    table = pd.DataFrame(table)
table if alice is not None else None

# %% [markdown]
# **The average brain.** Of what all spaces explain together, {glue:text}`part_shared` per cent is shared and cannot be given to any one description. The unique share of context lies {glue:text}`place_average` the {glue:text}`bold_random` random
# descriptions, and its interval over people {glue:text}`zero_average` zero: {glue:text}`reading_average`. With two other
# draws of penalties the share is {glue:text}`redrawn`.
#
# **Person by person** {glue:text}`r2_reading`: all spaces together explain {glue:text}`r2_people`, an interval that {glue:text}`r2_zero` zero. The unique share of context lies {glue:text}`place_people` the random
# descriptions, its interval {glue:text}`zero_people` zero, and it is above zero in {glue:text}`n_positive` of {glue:text}`n_heard` people: {glue:text}`reading_people`. Twelve minutes of one person's fMRI are little for such a
# question. A model of many spaces can predict *worse* than the mean, and a share below zero says that a space costs more than it brings (with the whole interval below zero: {glue:text}`below_zero`).
#
# Two more cautions. A {term}`unique variance` is a property of *descriptions*: give the sound a better description and less is left for the words. Our description of sound in these data is a single number. And
# what is unique to contextual layers need not be meaning: they also hold syntax, position in the sentence, and the surprise at what comes next.
#
# ### What each chapter may claim about context in *Alice*
#
# | chapter | asks | does not say |
# | --- | --- | --- |
# | 2 | does the best layer predict more than word rate and length? | that it is context: the input embedding, which knows none, is one of the layers |
# | 4 | are a layer and a region alike, with nothing fitted? | that nothing is there: what the responses do not share with the layer counts against it |
# | 5 | does all context predict better than one word? | what it is in the context: sound and timing of the words before come with it |
# | 6 | does context predict what no other description does? | that the rest is not context: what is shared is given to nobody |
#
# These are different questions, and their answers need not agree. From chapter 2 to 5 to 6 each takes away what the one before let pass, so that less is left to find in the same few minutes: a
# difference between two contexts can be consistent over people while the share of context that nothing else could explain stays small and uncertain. A claim about the brain's use of context needs the last of them, with
# random descriptions beaten and intervals over people clear of zero, and a second story.
#
# ## Exercises
#
# 1. Split the variance among three groups: sound and rate, words (frequency and static), and context. Which groups share most?
# 2. Describe the sound by its envelope alone. What happens to the unique shares of the other spaces near Heschl's gyrus?
#
# To be quick, both solutions take a single contextual layer and few penalties.
#
# :::{admonition} Solution 1
# :class: dropdown
# With three groups there are seven parts, and `variance_partition` returns them all as `common` ({term}`commonality analysis`). Most is shared by {glue:text}`most_shared`: an adjusted $R^2$ of {glue:text}`most_shared_r2`.
# The unit is $R^2$ here, not a share of the explainable variance. Parts that several groups share are differences of many noisy numbers, and can be negative.
# :::

# %% tags=["hide-cell"]
quick = {"n_components": 40, "n_draws": 4} | options
few = {name: space for name, space in spaces.items() if name != "random"}
few["context"] = states.sel(layer=middle[1]).values
groups = {"sound": ["acoustics", "rate"], "words": ["frequency", "static"]}
groups |= {"context": ["context"]}
groups = {n: [name for name in g if name in few] for n, g in groups.items()}
common = variance_partition(few, responses, parts=groups, **quick)["common"]
common = common.sel(estimate="adjusted").mean("channel").to_series()
of_several = common[common.index.str.contains("&")]
glue("most_shared", of_several.idxmax().replace("&", "and"), display=False)
glue("most_shared_r2", f"{of_several.max():.3f}", display=False)
common.rename_axis(None).rename("R²").to_frame().round(3)

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# What the poorer description of the sound leaves unexplained is open to whatever goes along with it. The envelope's own share is {glue:text}`acoustics_envelope` where the spectrogram's was
# {glue:text}`acoustics_spectrogram`; static goes from {glue:text}`static_spectrogram` to {glue:text}`static_envelope`, context from {glue:text}`context_spectrogram` to {glue:text}`context_envelope`. (These are
# $R^2$ with one contextual layer, not the values of the first figure.) Every unique share is relative to the rivals that were let in.
# :::

# %% tags=["hide-cell"]
rows = {}
if data.audio is not None:
    near = responses[:, np.asarray(bands == bands.categories[0])]
    envelope = acoustics.word_acoustics(sound[1][:, :1], words, lags=[0.0])
    for name, described in (("spectrogram", few["acoustics"]), ("envelope", envelope)):
        found = variance_partition(few | {"acoustics": described}, near, **quick)
        unique = found["unique"].sel(estimate="adjusted").mean("channel")
        rows[name] = unique.to_series()
    print(pd.DataFrame(rows).round(3))
for name in ("acoustics", "static", "context"):
    for described in ("spectrogram", "envelope"):
        value = "(no sound in these data)"
        if described in rows:
            value = f"{rows[described][name]:.3f}"
        glue(f"{name}_{described}", value, display=False)

# %% [markdown]
# ## Run it on your own data
#
# A folder in the documented layout, with the sound beside the responses, takes the place of the virtual cohort:
#
# ```bash
# papermill notebooks/06_beyond_acoustics.ipynb my_partition.ipynb \
#   -p dataset /path/to/folder -p real_data False
# ```
#
# Any spaces of your own go into `variance_partition` as arrays of words by features.
#
# ## What the papers found
#
# {cite:t}`mischler2024` report that models align with the cortical hierarchy, with depth measured by distance from Heschl's gyrus and, as a check, by the response lag of each electrode, which gives the
# same picture; and that context matters for the match of model and brain. As far as open sources tell, electrodes were treated as independent there, and how much of the
# match is owed to sound, word rate or word frequency we could not find out. Here every interval counts people. The virtual cohort shows that the method tells sound, words and context apart where they
# were planted; the fMRI section shows what is left of the question in twelve minutes of real brains.
