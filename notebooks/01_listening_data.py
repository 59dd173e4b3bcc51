# %% [markdown]
# # Sound, words and electrodes
#
# This chapter follows the data from the sound wave to one number for each word and each electrode. Every later chapter starts from that table.
#
# :::{admonition} In this chapter
# **You will learn** how speech gets word times by forced alignment; how raw voltage becomes *high gamma*; how a continuous recording becomes *word
# responses*; how to find electrodes that answer to speech, without looking at any model; and what a *noise ceiling* is.
#
# **You need** basic Python and the idea of a correlation; no knowledge of language models, one of which only makes the responses of the virtual cohort. **It
# takes** about 20 minutes to read, and a minute to run on two cores once the assets are in the cache.
# :::
#
# ## Parameters
#
# Any notebook of this book runs on other data without an edit: this cell holds all that may change; `papermill --help-notebook` prints it as documentation.

# %% tags=["parameters"]
model: str = "smollm2-135m"  # language model that drives the virtual cohort
n_subjects: int = 8  # virtual people
snr: float = 1.0  # planted variance over that of one repeat's noise, at words
window: float = 0.1  # s, width of the window around the centre of each word
q: float = 0.05  # false discovery rate of the test for responsive electrodes
seed: int = 0  # of the virtual cohort
device: str = "auto"  # where the model runs: "auto", "cpu" or "cuda"
results: str = "results/01_listening_data"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.features.acoustics import mel_spectrogram

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# ## What was played and what was recorded
#
# The study that this part of the book follows {cite:p}`mischler2024` recorded from electrodes inside the brains of neurosurgical patients while they
# listened to stories and conversations. Those recordings cannot be handed out with a book. We begin with a {term}`virtual cohort`: the speech is real
# (passages of an audiobook, from the toolbox naplib {cite:p}`mischler2023`), the brains are not. Each electrode's response was *planted*, written into the
# signal by a rule that we know (its numbers: see the docstring of `simulated.listening.virtual_listening`):
#
# - a *language electrode* follows one {term}`layer` of a language model, a later one the farther it lies from primary auditory cortex, and a longer stretch of
#   context: from the word alone to the whole passage so far; near electrodes also follow the sound. They also respond later;
# - an *empty electrode* is noise alone, which is added to the others, too. All but the empty ones rise during speech.
#
# Recovering the rule shows that a method works, and nothing about people: they follow on [the next page](01_listening_data_in_people). One call loads all:

# %%
data = datasets.load_listening("virtual", n_subjects=n_subjects, snr=snr, model=model, seed=seed, device=device)
data

# %% [markdown]
# `words` (one row a word) and `signal` (one row a time sample, one column a channel) share one clock in seconds; `channels` has a row for each channel, with
# its place in the brain. `truth` holds what was planted; only a virtual cohort has it.
#
# ## From sound to word times
#
# The transcript says *what* was said, not *when*. Forced alignment ({term}`alignment, forced`) finds the times: a speech recogniser (here pocketsphinx
# {cite:p}`huggins2006`) is told the words and only has to decide which stretch of sound belongs to which. Some words, such as *yapping*, are
# missing from its dictionary and were given a pronunciation by hand. The first words:

# %%
data.words.head(8)

# %%
duration, steps = data.words["offset"] - data.words["onset"], data.words["onset"].diff()
report.add(n_words=len(data.words), n_passages=data.words["passage"].nunique(), words_per_second=1 / steps.median())
report.add(minutes=len(data.audio.samples) / data.audio.rate / 60, median_duration=1000 * duration.median())
report

# %% [markdown]
# {glue:text}`n_words` words fill {glue:text}`minutes:.1f` minutes in {glue:text}`n_passages` passages. Half of them last less than
# {glue:text}`median_duration:.0f` ms, and {glue:text}`words_per_second:.1f` pass each second in mid-sentence: brain responses to neighbouring words overlap.

# %% mystnb={"image": {"alt": "Waveform of four seconds of speech with word labels above it, and below it the spectrogram on the same time axis."}}
start, stop, audio = 1.0, 5.0, data.audio
sound = mel_spectrogram(audio.samples, audio.rate)
report.figure("speech", plotting.speech(audio, sound, data.words, start, stop, title="Four seconds of real speech"))

# %% [markdown]
# *What to see:* above, air pressure over time (s), each word over the stretch that it takes. Below, the {term}`spectrogram`: frequency upwards in *mel* bands
# ({term}`mel band`), bright where there is energy. Vowels are bright stacks low in the picture, an *s* is a smear at the top, and a pause is dark.
#
# ## Where the electrodes are
#
# Sound reaches the cortex in {term}`Heschl's gyrus`, a ridge hidden in the fold above the temporal lobe, whose posteromedial end holds primary auditory cortex.
# From there, processing spreads along the superior and middle temporal gyri to the inferior frontal gyrus. An electrode's depth in that hierarchy is measured
# by its **distance from posteromedial Heschl's gyrus**. The study, as reviewed in the open, measured it in a straight line; we measure it *along the cortical
# surface* ({term}`geodesic distance`, {cite:t}`mitchell1987`), as two points that face each other across a fold can be far apart for the brain.

# %% mystnb={"image": {"alt": "Side views of an inflated left and right hemisphere with electrodes as dots, dark near Heschl's gyrus and brighter along the temporal lobe and in inferior frontal cortex."}}
electrodes = data.channels[data.channels["hemisphere"] != ""]
far = electrodes[electrodes["distance_pmc_euclidean"] > 10]
report.add(n_electrodes=len(electrodes), geodesic_ratio=(far["distance_pmc"] / far["distance_pmc_euclidean"]).median())
text = {"label": "geodesic distance (mm)", "title": "Distance from posteromedial Heschl's gyrus, virtual cohort"}
report.figure("electrodes", plotting.electrodes(electrodes, {"electrodes": electrodes["distance_pmc"]}, **text))

# %% [markdown]
# *What to see:* {glue:text}`n_electrodes` electrodes on the {term}`inflated surface` of a standard brain, {term}`fsaverage5` {cite:p}`fischl1999`, dark near
# Heschl's gyrus, yellow far from it. Beyond 10 mm, the way along the surface is {glue:text}`geodesic_ratio:.2f` times the straight one (median).
#
# ## From voltage to high gamma
#
# An intracranial electrode records voltage. Its amplitude between 70 and 150 Hz, called {term}`high gamma`, follows the firing of the nerve cells around the
# electrode {cite:p}`ray2011`, so it is what most studies analyse. Voltage falls steeply with frequency; `signals.high_gamma` therefore splits the band into
# eight sub-bands, takes the {term}`envelope` of each (its momentary amplitude, by the Hilbert transform), divides each by its mean, averages, brings the
# result to 100 samples a second and z-scores it (mean 0, standard deviation 1). We try it on a voltage whose true envelope we know: noise between 70 and 150
# Hz, three times stronger in some moments than in others, buried under slow waves and 60 Hz mains hum that are ten times larger.

# %%
rate, time = 1000, np.arange(8000) / 1000  # eight seconds
envelope = 1 + 2 * np.exp(-0.5 * ((time[:, None] - [1.5, 3.0, 3.6, 5.5, 6.8]) / 0.15) ** 2).sum(1)
noise = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(time)))
frequency = np.fft.rfftfreq(len(time), 1 / rate)
carrier = np.fft.irfft(noise * ((frequency > 70) & (frequency < 150)))
slow_and_hum = 12 * np.sin(2 * np.pi * 3 * time) + 10 * np.sin(2 * np.pi * 60 * time)
voltage = envelope * carrier / carrier.std() + slow_and_hum
recovered = signals.high_gamma(voltage[None], rate)[0]  # 100 samples a second
report.add(envelope_r=np.corrcoef(recovered, envelope[::10])[0, 1])
report.claim("high gamma follows the planted envelope (r above 0.8)", report["envelope_r"] > 0.8)
report

# %% mystnb={"image": {"alt": "Three panels over eight seconds: a voltage trace of slow waves and hum, the envelope that was planted in it, with five bumps, and the high gamma computed from the voltage."}}
courses = {"voltage": voltage[::10], "planted envelope": envelope[::10], "high gamma": recovered}
scaled = pd.DataFrame(courses, index=time[::10]).apply(lambda course: (course - course.mean()) / course.std())
report.figure("envelope", plotting.traces(scaled, ylabel="s.d.", title="A made-up voltage with a known envelope"))

# %% [markdown]
# *What to see:* three courses over time, in standard deviations. The bursts are hard to see in the voltage; the high gamma follows their envelope (r =
# {glue:text}`envelope_r:.2f`), with jitter, as the amplitude of noise in a band fluctuates. The cohort's signals are taken as high gamma from here on.
#
# ## From a continuous signal to word responses
#
# The study reduces the recording to **one number for each word and electrode**, the {term}`word response`: the mean high gamma in a window of 100 ms around the
# *centre* of the word, as do we by default. Here are three electrodes during these four seconds, near, halfway and far from Heschl's gyrus:

# %% mystnb={"image": {"alt": "High gamma of three electrodes over four seconds with shaded windows of 100 ms at the centre of each word."}}
kind = data.truth.loc[electrodes.index, "kind"]
near_to_far = electrodes.loc[kind == "language", "distance_pmc"].sort_values()
chosen = near_to_far.iloc[[0, len(near_to_far) // 2, -1]]
excerpt = data.signal.mean("repeat").sel(time=slice(start, stop), channel=chosen.index).to_pandas()
excerpt.columns = [f"{name}, {distance:.0f} mm" for name, distance in chosen.items()]
centres = data.words.query("@start <= onset and offset <= @stop")[["onset", "offset"]].mean(axis=1)
windows = np.column_stack([centres - window / 2, centres + window / 2])
title = "Three electrodes of the virtual cohort, mean of repeats"
report.figure("windows", plotting.traces(excerpt, windows=windows, ylabel="high gamma (s.d.)", title=title))

# %% [markdown]
# *What to see:* a panel for each electrode, named with its distance: high gamma over time (s). Each shaded window, at the centre of a word, gives one number,
# its mean. `signals.word_responses` computes the table, a row for every word. Window, anchor (word centre or onset) and lag are parameters.

# %%
responses = signals.word_responses(data.signal, data.words, window=window)
responses

# %% [markdown]
# ## Which electrodes answer to speech?
#
# Many electrodes of a patient sit where nothing happens during speech. Choosing electrodes by how well a language model fits them, and then reporting the fit,
# would be circular. The choice must rest on something else: **does the signal change when speech sets in?** `signals.speech_responsive` pairs every pause of at
# least a second with an equally long stretch of speech beside it and makes one paired t-test for each electrode. Some pass by luck, so p-values are corrected
# to a {term}`false discovery rate` {cite:p}`benjamini1995`: of those called responsive, at most {glue:text}`q_percent:g` % are expected to be false.

# %%
test = signals.speech_responsive(data.signal, data.words, q=q)
pd.crosstab(data.truth["kind"], test["responsive"])

# %%
of_kind = test["responsive"].groupby(data.truth["kind"])
report.add(n_responsive=test["responsive"].sum(), n_channels=len(test), q_percent=100 * q)
missed = of_kind.size() - of_kind.sum()
report.add(false_alarms=of_kind.sum()["empty"], n_empty=of_kind.size()["empty"], missed=missed["language"])
report.add(n_control=of_kind.size()["control"])
report.claim("hardly an empty electrode is called responsive", of_kind.mean()["empty"] <= 2 * q)
report

# %% [markdown]
# Against the truth: {glue:text}`n_responsive` of {glue:text}`n_channels` channels pass, {glue:text}`false_alarms` of the {glue:text}`n_empty` empty electrodes
# among them; {glue:text}`missed` of the language electrodes were missed (the test has few long pauses to go by). The {glue:text}`n_control` *control* channels
# were simulated and came with the speech sample; they only follow the sound and will serve as a check in [the next chapter](02_layer_alignment).
#
# ## How good can a model get? The noise ceiling
#
# Each virtual electrode has {glue:text}`n_repeats` repeats: the same planted response with new noise. The part of a response that is the same each time is what
# a model of the *stimulus* could predict. The {term}`noise ceiling` of an electrode is the highest correlation that a perfect model could reach with the
# average of the repeats. It follows from how well they agree: with reliability $\rho$ of the average (by the Spearman-Brown formula), it is $\sqrt{\rho}$.

# %%
ceiling = stats.noise_ceiling(responses.sel(channel=electrodes.index))["ceiling"].to_series().fillna(0)
planted = data.truth.loc[electrodes.index, "ceiling"][kind == "language"].iloc[0]
median = ceiling.groupby(kind).median()
report.add(ceiling_median=median["language"], ceiling_planted=planted, ceiling_empty=median["empty"])
report.add(n_repeats=data.signal.sizes["repeat"])
report.claim("the median ceiling is within 0.05 of the planted one", abs(median["language"] - planted) < 0.05)
report

# %% mystnb={"image": {"alt": "Histogram of estimated noise ceilings: those of language electrodes and those of empty electrodes, and a dashed line at the planted value."}}
values = pd.DataFrame({"value": ceiling, "kind": kind + " electrodes"})
text = {"label": "noise ceiling (Pearson r)", "counted": "electrodes", "title": "Noise ceilings, virtual cohort"}
report.figure("ceilings", plotting.histogram(values, planted=planted, **text))

# %% [markdown]
# *What to see:* how many electrodes have which ceiling, a colour for each kind; the dashed line is the planted value, {glue:text}`ceiling_planted:.2f`. The
# median estimate of language electrodes is {glue:text}`ceiling_median:.2f`, that of empty ones {glue:text}`ceiling_empty:.2f`: in these there is nothing to
# predict. A model's score on real electrodes should always be read against this ceiling.
#
# ## Exercises
#
# 1. The study also tried windows of 50 and 150 ms. How similar are the word responses to those of 100 ms?
# 2. Anchor the window at word *onset* and move it from -0.1 to 0.4 s. Before you run it: should the ceiling be lower when it lies before the word?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. By {glue:text}`r_50:.3f` (50 ms) and {glue:text}`r_150:.3f` (150 ms): the correlation with the responses from 100 ms, median of language electrodes.
# 2. The ceiling is hardly lower before the word. It asks how much of a response is driven by the *stimulus*, and before this word there was sound, and the word
#    before it. A high ceiling is no sign that an electrode answers to the word in the window.
# :::

# %% tags=["hide-cell"]
language = near_to_far.index
signal = data.signal.mean("repeat").sel(channel=language)
reference = signals.word_responses(signal, data.words)
for width in (0.05, 0.15):
    other = signals.word_responses(signal, data.words, window=width)
    report.add(**{f"r_{1000 * width:.0f}": np.median(stats.pearson(other, reference))})
lags = np.arange(-0.1, 0.41, 0.05)
lagged = signals.word_responses(data.signal.sel(channel=language), data.words, anchor="onset", lag=lags)
by_lag = stats.noise_ceiling(lagged.transpose("repeat", "word", ...))["ceiling"].to_pandas()
place = np.where(near_to_far > near_to_far.median(), "far", "near")
before, after = by_lag.iloc[0].mean(), by_lag.iloc[3:].mean(axis=None)
report.claim("the ceiling is lower before the word than after its onset by less than 0.05", after - before < 0.05)
print(by_lag.T.groupby(place).mean().T.rename_axis("lag from onset (s)").round(2))

# %% [markdown]
# ## What the paper found
#
# {cite:t}`mischler2024` used the mean high gamma in 100 ms around the word's centre, from eight patients, and report that 50 and 150 ms look similar. How
# their electrodes were selected could not be confirmed from the sources open to us, so the silence-against-speech test is our choice.
