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
# # Sound, words and electrodes
#
# This chapter follows the data from the sound wave to one number for each word and each
# electrode. Every later chapter starts from that table.
#
# :::{admonition} In this chapter
# **You will learn**
# how speech gets word times by forced alignment; how raw voltage becomes *high gamma*; how a continuous recording becomes
# *word responses*; how to find electrodes that answer to speech, without looking at any model; what a *noise ceiling* is;
# and how the same table looks for functional MRI of real people.
#
# **You need** basic Python and the idea of a correlation. No knowledge of language models: one is used here only to make the
# responses of the virtual cohort.
#
# **It takes** about 30 minutes to read, and two minutes to run on two cores once the assets are in the cache.
# :::

# %% [markdown]
# ## Parameters
#
# A notebook of this book can be run again on other data without an edit: the cell below holds everything that may change,
# and `papermill --help-notebook` prints it as documentation.

# %% tags=["parameters"]
model: str = "smollm2-135m"  # language model that drives the virtual cohort
n_subjects: int = 8  # virtual people
snr: float = 1.0  # planted variance over that of one repeat's noise, at words
window: float = 0.1  # s, width of the window around the centre of each word
q: float = 0.05  # false discovery rate of the test for responsive electrodes
seed: int = 0  # of the virtual cohort and the bootstrap
device: str = "auto"  # where the model runs: "auto", "cpu" or "cuda"
real_data: bool = True  # end with the fMRI of 27 real people
bold_skip: int = 10  # volumes (2 s) left out at the start: the onset of the story

# %% tags=["hide-input", "remove-stderr"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from myst_nb import glue

from brainalign import datasets, plotting, signals, stats
from brainalign.assets import AssetError
from brainalign.features.acoustics import mel_spectrogram

plotting.use_style()
_ = xr.set_options(display_expand_data=False, display_expand_attrs=False)

# %% [markdown]
# ## What was played and what was recorded
#
# The study that this part of the book follows {cite:p}`mischler2024` recorded from electrodes inside the brains of
# neurosurgical patients while they listened to stories and conversations. Those recordings cannot be handed out with a book.
# What we use first is a {term}`virtual cohort`: the speech is real (ten passages of an audiobook that come with the toolbox
# naplib {cite:p}`mischler2023`), the brains are not. Each virtual electrode's response was *planted*: written into the
# signal by a rule that we know:
#
# - a *language electrode* follows one layer of a language model, a later layer the farther it lies from primary auditory cortex,
#   and a longer stretch of context: from the word alone to the whole passage so far; near electrodes also follow the sound.
#   Later electrodes also respond later (0 to 80 ms); the delay of their sound share is drawn at random.
#   All rise during speech, and noise is added;
# - an *empty electrode* is noise alone.
#
# The docstring of `datasets.virtual.virtual_listening` has the numbers. Recovering the rule shows that a method works. It cannot show anything about people;
# for that there is real data at the end of this chapter and of the next.
#
# One call loads everything:

# %%
data = datasets.load_listening(
    "virtual", n_subjects=n_subjects, snr=snr, model=model, seed=seed, device=device
)
data

# %% tags=["remove-cell"]
duration = data.words["offset"] - data.words["onset"]
glue("n_words", len(data.words), display=False)
glue("n_passages", int(data.words["passage"].nunique()), display=False)
glue("minutes", f"{len(data.audio.samples) / data.audio.rate / 60:.1f}", display=False)
glue("median_duration", f"{1000 * duration.median():.0f}", display=False)
glue(
    "words_per_second",
    f"{1 / np.median(np.diff(data.words['onset'])):.1f}",
    display=False,
)

# %% [markdown]
# Three tables share one clock in seconds: `words` (one row a word), `signal` (one row a time sample, one column a channel),
# and `channels` (one row a channel, with its place in the brain). `truth` holds what was planted; only a virtual cohort has it.
#
# ## From sound to word times
#
# The transcript says *what* was said, not *when*. Forced alignment ({term}`alignment, forced`) finds the times: a speech recogniser (here pocketsphinx
# {cite:p}`huggins2006`) is told the words and only has to decide which stretch of sound belongs to which. Six words of this
# text, such as *yapping*, are missing from its dictionary and were given a pronunciation by hand. The first words come out
# like this:

# %%
data.words.head(8)

# %% [markdown]
# The {glue:text}`n_words` words fill {glue:text}`minutes` minutes in {glue:text}`n_passages` passages; half of them are
# shorter than {glue:text}`median_duration` ms, and in mid-sentence {glue:text}`words_per_second` words pass each second. Brain
# responses to neighbouring words therefore overlap, which we will meet again.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Waveform of four seconds of speech with eleven or so word labels above it, and below it the spectrogram on the same time axis."}}
start, stop = 1.0, 5.0
sound = mel_spectrogram(data.audio.samples, data.audio.rate)
samples = slice(int(start * data.audio.rate), int(stop * data.audio.rate))
shown = data.words.query("@start <= onset and offset <= @stop")
figure = plotting.speech(
    np.arange(samples.start, samples.stop) / data.audio.rate,
    data.audio.samples[samples],
    sound.sel(time=slice(start, stop)).values,
    sound.sel(time=slice(start, stop))["time"].values,
    shown,
    title="Four seconds of the speech sample",
)
plt.show()

# %% [markdown]
# *What to see:* the top panel is air pressure, with each word over the time it takes. Below is the {term}`spectrogram`: how much
# energy the sound has in each band of pitch (*mel* bands, spaced as the ear spaces them). Vowels are bright stacks low in the
# picture, an *s* is a smear at the top. In a pause the wave is flat, the spectrogram dark, and there is
# no word.
#
# ## Where the electrodes are
#
# Sound reaches the cortex in {term}`Heschl's gyrus`, a ridge hidden in the fold above the temporal lobe. Its posteromedial end
# holds primary auditory cortex. From there, processing spreads along the superior and middle temporal gyri and on to the
# inferior frontal gyrus. A simple measure of an electrode's depth in that hierarchy is its **distance from posteromedial
# Heschl's gyrus**. The study, in the version that was reviewed in the open, measured it in a straight line; we measure it *along the cortical surface* (geodesic distance,
# {cite:t}`mitchell1987`), because two points can face each other across a fold and still be far apart for the brain.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Side views of an inflated left and right hemisphere with electrodes as dots, dark near Heschl's gyrus and brighter along the temporal lobe and in inferior frontal cortex."}}
electrodes = data.channels[data.channels["hemisphere"] != ""]
figure = plotting.electrodes(
    electrodes,
    {"electrodes": electrodes["distance_pmc"]},
    label="geodesic distance (mm)",
    title="Distance from posteromedial Heschl's gyrus, virtual cohort",
)
plt.show()

# %% tags=["remove-cell"]
glue("n_electrodes", len(electrodes), display=False)
longer = electrodes["distance_pmc"] / electrodes["distance_pmc_euclidean"]
glue(
    "geodesic_ratio",
    f"{longer[electrodes['distance_pmc_euclidean'] > 10].median():.2f}",
    display=False,
)

# %% [markdown]
# *What to see:* the {glue:text}`n_electrodes` electrodes of the virtual cohort on the inflated surface of fsaverage5
# {cite:p}`fischl1999`, a standard brain whose folds (dark) were blown up so that nothing hides in them. Along the surface the
# way from Heschl's gyrus is, for the median electrode, {glue:text}`geodesic_ratio` times as long as straight through.
#
# ## From voltage to high gamma
#
# An intracranial electrode records voltage. Its amplitude between 70 and 150 Hz, called {term}`high gamma`, follows the firing of the
# nerve cells around the electrode {cite:p}`ray2011`, so it is what most studies analyse. Voltage falls steeply with frequency;
# `signals.high_gamma` therefore splits the band into eight sub-bands, takes the {term}`envelope` of each (its momentary amplitude,
# by the Hilbert transform), divides each by its mean, averages, brings the result to 100 samples a second and z-scores it
# (mean 0, standard deviation 1).
#
# To see that it works, we need a voltage whose true envelope we know. We make one: noise between 70 and 150 Hz, three times
# stronger in some moments than in others, buried under slow waves and 60 Hz mains hum that are ten times larger.

# %%
rng = np.random.default_rng(seed)
rate, seconds = 1000, 8
time = np.arange(rate * seconds) / rate
planted = 1 + 2 * np.exp(
    -0.5 * ((time[:, None] - [1.5, 3.0, 3.6, 5.5, 6.8]) / 0.15) ** 2
).sum(1)
frequency = np.fft.rfftfreq(len(time), 1 / rate)
carrier = np.fft.irfft(
    np.fft.rfft(rng.standard_normal(len(time))) * ((frequency > 70) & (frequency < 150))
)
voltage = (
    planted * carrier / carrier.std()
    + 12 * np.sin(2 * np.pi * 3 * time)
    + 10 * np.sin(2 * np.pi * 60 * time)
)
recovered = signals.high_gamma(voltage[None], rate)[0]
envelope_r = np.corrcoef(recovered, planted[::10])[0, 1]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Top: a made-up voltage trace dominated by slow waves. Bottom: the planted envelope and the recovered high gamma, which rise and fall together."}}

figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(9, 3.6))
top.plot(time, voltage, color=plotting.COLORS["gray"], lw=0.4)
top.set(ylabel="voltage (a.u.)")
top.set_title("A made-up voltage with a known envelope")
bottom.plot(
    time,
    (planted - planted.mean()) / planted.std(),
    color=plotting.COLORS["black"],
    label="planted envelope",
)
bottom.plot(
    np.arange(len(recovered)) / 100,
    recovered,
    color=plotting.COLORS["orange"],
    lw=1,
    label="high gamma",
)
bottom.set(xlabel="time (s)", ylabel="s.d.")
bottom.set_ylim(top=6.5)
bottom.legend(ncol=2, loc="upper left")
plt.show()

# %% tags=["remove-cell"]
glue("envelope_r", f"{envelope_r:.2f}", display=False)

# %% [markdown]
# *What to see:* the bursts are hard to see in the voltage; the high gamma has them all (r = {glue:text}`envelope_r` with the
# planted envelope). Its jitter between bursts is not
# a fault: noise in a band has an amplitude that fluctuates by itself.
#
# The cohort's signals are taken as high gamma from here on, 100 samples a second.
#
# ## From a continuous signal to word responses
#
# The study reduces the recording to **one number for each word and electrode**: the mean high gamma in a window of 100 ms
# around the *centre* of the word, as do we by default. Here are three electrodes during one sentence, near, halfway and far from Heschl's gyrus,
# with these windows shaded.

# %%
near_to_far = (
    electrodes.loc[
        data.truth.loc[electrodes.index, "kind"] == "language", "distance_pmc"
    ]
    .sort_values()
    .index
)
chosen = near_to_far[[0, len(near_to_far) // 2, -1]]

# %% tags=["hide-input"] mystnb={"image": {"alt": "High gamma of three electrodes over four seconds with shaded 100 ms windows at the centre of each word."}}
excerpt = data.signal.mean("repeat").sel(time=slice(start, stop))
figure, axes = plt.subplots(3, sharex=True, sharey=True, figsize=(9, 4.2))
for axis, name in zip(axes, chosen, strict=True):
    axis.plot(
        excerpt["time"], excerpt.sel(channel=name), color=plotting.COLORS["blue"], lw=1
    )
    for centre in shown[["onset", "offset"]].mean(axis=1):
        axis.axvspan(
            centre - window / 2,
            centre + window / 2,
            color=plotting.COLORS["orange"],
            alpha=0.3,
            lw=0,
        )
    axis.set_title(
        f"{name}, {electrodes.loc[name, 'distance_pmc']:.0f} mm", fontsize=10
    )
axes[-1].set(xlabel="time (s)")
figure.supylabel("high gamma (s.d.)", fontsize=10)
figure.suptitle(
    "Three electrodes of the virtual cohort, mean of two repeats",
    fontweight="bold",
    x=0.02,
    ha="left",
)
plt.show()

# %% [markdown]
# `signals.word_responses` computes the table. Window, anchor (word centre or onset) and lag are parameters; the result has a
# row for every word.

# %%
responses = signals.word_responses(data.signal, data.words, window=window)
responses

# %% [markdown]
# ## Which electrodes answer to speech?
#
# Many electrodes of a patient sit where nothing happens during speech. Choosing electrodes by how well a language model fits
# them, and then reporting the fit, would be circular. The choice must rest on something else: **does the signal change when
# speech sets in?** `signals.speech_responsive` pairs every pause of at least a second with an equally long stretch of speech
# beside it and makes one paired t-test for each electrode. With hundreds of electrodes some will pass by luck, so the p-values
# are corrected to a {term}`false discovery rate`: of the electrodes called responsive, at most {glue:text}`q_percent` % are expected
# to be false {cite:p}`benjamini1995`.

# %%
test = signals.speech_responsive(data.signal, data.words, q=q)
table = pd.crosstab(data.truth["kind"], test["responsive"])
table

# %% tags=["remove-cell"]
false_alarms = int(test["responsive"][data.truth["kind"] == "empty"].sum())
missed = int((~test["responsive"][data.truth["kind"] == "language"]).sum())
glue("missed", missed, display=False)
glue("n_responsive", int(test["responsive"].sum()), display=False)
glue("n_channels", len(test), display=False)
glue("q_percent", f"{100 * q:g}", display=False)
glue("empty_responsive", false_alarms, display=False)
glue("n_empty", int((data.truth["kind"] == "empty").sum()), display=False)

# %% [markdown]
# Because this is a virtual cohort we can check the choice against the truth, as the table does: {glue:text}`n_responsive` of
# {glue:text}`n_channels` channels pass, {glue:text}`empty_responsive` of which hold nothing but noise; {glue:text}`missed` of the
# language electrodes were missed, because the sample has few pauses. *Control* channels are ten simulated channels that came with the speech sample and that
# only follow the sound; they will serve as a check in the next chapter.
#
# ## How good can a model get? The noise ceiling
#
# Each virtual electrode has two repeats: the same planted response with new noise, as if the speech had been played twice. The
# part of a response that is the same both times is what a model of the *stimulus* could
# predict; the rest is noise. The {term}`noise ceiling` of an electrode is the highest correlation that a perfect model could reach
# with the average of the repeats. It is estimated from how well the repeats agree: with reliability $\rho$ of the average
# (by the Spearman-Brown formula), the ceiling is $\sqrt{\rho}$.

# %%
ceiling = stats.noise_ceiling(responses.sel(channel=electrodes.index))[
    "ceiling"
].to_series()
kind = data.truth.loc[electrodes.index, "kind"]
planted_ceiling = data.truth.loc[electrodes.index, "ceiling"][kind == "language"].iloc[
    0
]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Histogram of estimated noise ceilings of language electrodes around the planted value, and of empty electrodes near zero."}}
figure, axis = plt.subplots(figsize=(6, 3))
bins = np.linspace(0, 1, 41)
axis.hist(
    ceiling[kind == "language"],
    bins,
    color=plotting.COLORS["blue"],
    label="language electrodes",
)
axis.hist(
    ceiling[kind == "empty"].fillna(0),
    bins,
    color=plotting.COLORS["gray"],
    label="empty electrodes",
)
axis.axvline(planted_ceiling, color="k", ls="--", label="planted")
axis.set(xlabel="noise ceiling (Pearson r)", ylabel="electrodes")
axis.set_title("Estimated and planted noise ceiling, virtual cohort")
axis.legend()
plt.show()

# %% tags=["remove-cell"]
glue("ceiling_median", f"{ceiling[kind == 'language'].median():.2f}", display=False)
glue("ceiling_planted", f"{planted_ceiling:.2f}", display=False)

# %% [markdown]
# *What to see:* the median estimate is {glue:text}`ceiling_median`, the planted value {glue:text}`ceiling_planted`. Empty
# electrodes pile up near zero: where two repeats agree only by chance there is nothing to predict. A model's score on real
# electrodes should always be read against this ceiling.
#
# ## Real people: fMRI of *Alice in Wonderland*
#
# Now to people. {cite:t}`brennan2016` recorded functional MRI while participants listened to the first chapter of *Alice's
# Adventures in Wonderland*, twelve minutes, and shared the time courses of six language regions. The loader returns the same
# type of object, with two differences: fMRI has no value for each word but one for each **volume**, every 2 s, and its signal
# is the sluggish response of blood flow (BOLD), not of nerve cells.

# %%
try:
    alice = datasets.load_listening("alice") if real_data else None
except AssetError as error:
    alice = None
    print("This section has no results: the data could not be had.")
    print(error)
alice

# %% [markdown]
# Twenty-seven of the 28 people have data (one file is empty). From each time course the loader has removed slow drift and six
# head-motion parameters, and z-scored the rest. The annotation times *n't*, *'ll* and their like as words of their own; they
# were joined to the word before.
#
# To compare words with volumes, words have to be brought to the volumes' time. Blood flow peaks some 5 s after the event and
# dips below its baseline until about 20 s: the {term}`haemodynamic response`. `signals.word_to_volume` builds the linear map that
# spreads each word over the volumes that come after it. Applied to a column of ones it gives *word rate*, the simplest
# prediction one can make: more blood where more words were heard. What was removed from the responses, slow drift, is
# removed from it as well.

# %%
if alice is not None:
    to_volume = signals.word_to_volume(alice.words, alice.signal["time"])
    word_rate = signals.remove_drift(to_volume.sum("word"), 1 / alice.sampling_rate)
    word_rate = word_rate / word_rate.std()
    regions = alice.channels["region"]
    group = (
        alice.signal.groupby(regions.to_xarray()).mean().sel(region=regions.unique())
    )
    group = group / group.std("time")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Word rate through the haemodynamic response and the group-average BOLD signal of left posterior temporal lobe over twelve minutes; the two rise and fall together."}}
if alice is not None:
    figure, axis = plt.subplots(figsize=(9, 2.8))
    axis.plot(
        alice.signal["time"],
        word_rate,
        color=plotting.COLORS["gray"],
        label="word rate through the haemodynamic response",
    )
    axis.plot(
        alice.signal["time"],
        group.sel(region="LPTL"),
        color=plotting.COLORS["blue"],
        label="left posterior temporal lobe",
    )
    axis.set(xlabel="time (s)", ylabel="s.d.", ylim=(-7, 4.5))
    axis.set_title("Real fMRI (alice): mean of 27 people")
    axis.legend(ncol=2, loc="upper left")
    plt.show()

# %% [markdown]
# *What to see:* dips in word rate are pauses in the reading. The blood tends to follow (r = {glue:text}`group_r` without the
# start). Both rise steeply at the start, when the story
# sets in after silence: one large event, which we leave out from here on. How closely do the curves agree, and in how many
# people?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Correlation of word rate with BOLD in each of 27 people as dots for six regions, with means and intervals; nearly all above zero."}}
if alice is not None:
    each = (
        alice.signal[bold_skip:]
        .to_pandas()
        .corrwith(word_rate[bold_skip:].to_pandas())
        .groupby([alice.channels["subject"], regions])
        .mean()
        .unstack()
    )
    each = each[regions.unique()]
    intervals = {
        region: stats.bootstrap_ci(each[region].to_numpy(), seed=seed)
        for region in each
    }
    figure, axis = plt.subplots(figsize=(7, 3))
    for position, region in enumerate(each):
        jitter = np.linspace(-0.18, 0.18, len(each))
        axis.plot(
            position + jitter, each[region], "o", ms=3.5, color=plotting.COLORS["gray"]
        )
        _, low, high = intervals[region]
        axis.plot([position] * 2, [low, high], color=plotting.COLORS["blue"], lw=3)
        axis.plot(
            position, each[region].mean(), "o", color=plotting.COLORS["blue"], ms=8
        )
    axis.axhline(0, color="k", lw=0.8, ls="--")
    axis.set_xticks(range(each.shape[1]), each.columns)
    axis.set(ylabel="correlation with word rate (r)", xlabel="region")
    axis.set_title("Real fMRI (alice): word rate in each of 27 people")
    glue("rate_low", f"{each.mean().min():.2f}", display=False)
    glue("rate_high", f"{each.mean().max():.2f}", display=False)
    start_out = (
        word_rate[bold_skip:].to_numpy(),
        group.sel(region="LPTL")[bold_skip:].to_numpy(),
    )
    glue("group_r", f"{np.corrcoef(*start_out)[0, 1]:.2f}", display=False)
else:
    for name in ("rate_low", "rate_high", "group_r"):
        glue(name, "(no data in this build)", display=False)
    plt.show()

# %% [markdown]
# *What to see:* gray dots are people, blue dots their mean with its 95 % bootstrap interval over people; the dashed line is no
# relation. Regions: left and right anterior temporal lobe (LATL, RATL), left posterior temporal (LPTL), inferior parietal
# (LIPL), premotor (LPreM) and inferior frontal (LIFG). The mean correlation runs from {glue:text}`rate_low` to
# {glue:text}`rate_high`. A single person's fMRI is noisy, so these numbers are
# small. Where an interval excludes zero, other people hearing this story would show the same sign; whether
# it is word rate, or anything else with a similar course in this one story, they do not tell. Any language model has to do better than *counting words*; whether it
# does is a question for the next chapter.
#
# ## Exercises
#
# 1. The study also tried windows of 50 and 150 ms. How similar are the word responses to those of 100 ms?
# 2. Anchor the window at word *onset* and move it from -0.1 to 0.4 s. Before you run it: should the noise ceiling be lower when
#    the window lies before the word?
#
# :::{admonition} Solution 1
# :class: dropdown
# The code below correlates, for every language electrode, responses from each window with those from 100 ms.
# :::

# %% tags=["hide-cell"]
language = kind[kind == "language"].index
signal = data.signal.mean("repeat").sel(channel=language)
reference = signals.word_responses(signal, data.words)
for width in (0.05, 0.15):
    other = signals.word_responses(signal, data.words, window=width)
    similar = [
        np.corrcoef(other.sel(channel=name), reference.sel(channel=name))[0, 1]
        for name in language
    ]
    print(f"{1000 * width:.0f} ms against 100 ms: median r = {np.median(similar):.3f}")

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# It is not lower before the word (numbers below). The ceiling asks how much of a response is driven by the *stimulus*, and before this word there was sound,
# and the word before it. A high ceiling is no sign that an electrode answers to the word in the window.
# :::

# %% tags=["hide-cell"]
lags = np.arange(-0.1, 0.41, 0.05)
lagged = signals.word_responses(
    data.signal.sel(channel=language), data.words, anchor="onset", lag=lags
)
by_lag = pd.DataFrame(
    {
        lag: stats.noise_ceiling(part)["ceiling"].to_series()
        for lag, part in zip(lags, lagged, strict=True)
    }
)
far = (
    electrodes.loc[language, "distance_pmc"]
    > electrodes.loc[language, "distance_pmc"].median()
)
print(
    pd.DataFrame({"near": by_lag[~far].mean(), "far": by_lag[far].mean()})
    .rename_axis("lag from onset (s)")
    .round(2)
)

# %% [markdown]
# ## Run it on your own data
#
# Change parameters without touching the notebook; this one makes a smaller, noisier cohort:
#
# ```bash
# papermill notebooks/01_listening_data.ipynb my_data.ipynb \
#   -p n_subjects 4 -p snr 0.3
# ```
#
# To bring a recording of yours, build a `datasets.Listening` from your word table, signal and channel table; it checks each
# field and says what is wrong. The chapters after this one use nothing else.
#
# ## What the papers found
#
# {cite:t}`mischler2024` used the mean high gamma in 100 ms around the word's centre, from eight patients, and report that 50 and
# 150 ms look similar. How their electrodes were selected could not be confirmed from the sources open to us, so the
# silence-against-speech test is our choice. {cite:t}`brennan2016` modelled the six regions with word rate, sound power and
# measures of sentence structure; word rate was among their control predictors, as it is in the next chapter.
