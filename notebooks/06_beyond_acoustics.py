# %% [markdown]
# # Is it more than sound and word rate?
#
# The best layer of a language model predicts even channels that hold nothing but sound ([chapter 2](02_layer_alignment)): words that are rare are also long,
# stretches that are fast are also loud, and a model that knows which word was said knows much of its sound. *What* about the word is it, then, that predicts
# the brain? We describe words in several ways, from sound to meaning in context, and ask what each description explains that the others do not.
#
# :::{admonition} In this chapter
# **You will learn** how to fit several descriptions at once, to split what they explain into unique and shared parts, and which level a share has to leave.
#
# **You need** scores and noise ceilings of [chapter 2](02_layer_alignment). **It takes** about 18 minutes to read, and three to run, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
snr: float = 1.0  # planted variance over that of one repeat's noise, at words
n_components: int = 50  # principal components of every larger feature space
n_context: int = 150  # and of the contextual one
n_draws: int = 48  # directions of the penalties that are tried
n_splits: int = 5  # contiguous folds of the outer cross-validation
n_rolls: int = 19  # rolls of the contextual description along the words
inner_splits: int = 3  # folds inside each training set that choose the penalties
gap: int = 5  # words left out between training and test words
n_bands: int = 4  # bands of distance, with as many electrodes each
q: float = 0.05  # false discovery rate of the selection of electrodes
seed: int = 0  # of penalties and random features
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/06_beyond_acoustics"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.features.acoustics import envelope, word_acoustics
from brainalign.features.language import layer_features, n_layers, surprisal
from brainalign.features.words import word_spaces
from brainalign.layers import alignment
from brainalign.ridge import ContiguousKFold, RolledSweeps, variance_partition
from brainalign.signals import word_drive

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Two cohorts, six descriptions of a word
#
# The {term}`virtual cohort` is cleaner here than real recordings are. Its electrodes follow sound, the less the farther they lie from {term}`Heschl's gyrus`,
# and language for the rest. A second cohort has the same electrodes following **sound alone**: whatever contextual layers explain uniquely there is not
# language. Electrodes are selected by their answer to speech ([chapter 1](01_listening_data)), which looks at no model.
#
# We call a set of features that belong together a {term}`feature space`. From the ear upwards, and with a control:
#
# - **acoustics**: the spectrogram in six steps of 50 ms up to the word's centre, the sound's {term}`envelope` and its *onsets*, how steeply it rises;
# - **rate**: how long the word took, its letters, how long ago the previous word began, and its *position*: words since the last pause and the beginning;
# - **frequency**: {term}`surprisal` given one word of context, a rough stand-in for how rare a word is ([chapter 5](05_context)), and given all words so far;
# - **static**: layer 0 of the language model, the input embedding: *which* word was said, the same however often it comes back;
# - **context**: layers at a quarter, half and three quarters of the model's depth, which have seen the words before;
# - **random**: {glue:text}`n_components` random numbers for each word. They explain nothing; we shall see whether our method says so.

# %%
data = datasets.load_listening("virtual", snr=snr)
words, depth = data.words, n_layers(model)
responsive = signals.speech_responsive(data.signal, words, q=q)["responsive"] & data.channels["distance_pmc"].notna()
silent = datasets.load_listening("virtual", snr=snr, language=False, controls=False)
cohorts = {"sound and language": data.select(responsive.to_numpy())}
cohorts["sound alone"] = silent.select((silent.truth["kind"] == "sound").to_numpy())
channels = pd.concat({name: cohort.channels for name, cohort in cohorts.items()}, names=["cohort"])
middle = np.unique(np.round(depth * np.array([0.25, 0.5, 0.75])).astype(int))
states = layer_features(words, model, layers=[0, *middle], start_token=True, device=device)
bits = [surprisal(words, model, context=c, start_token=True, device=device) for c in (1, None)]
spaces = word_spaces(words, data.audio, np.column_stack(bits))
spaces["static"] = states.sel(layer=0).to_numpy()
spaces["context"] = np.concatenate([*states.sel(layer=middle)], axis=-1)
spaces["random"] = np.random.default_rng(seed).standard_normal((len(words), n_components))
sizes = pd.Series({name: space.shape[1] for name, space in spaces.items()}, name="features").to_frame()
report.add(n_features=sizes["features"].sum())
sizes

# %% [markdown]
# ## One model, many penalties, unique and shared parts
#
# Put side by side, these are {glue:text}`n_features:,` features, two of them about frequency. {term}`Ridge regression <ridge regression>`
# with one penalty for all would all but silence these; {term}`banded ridge regression` {cite:p}`nunez2019` gives every space $k$ a penalty of its own:
#
# $$\hat{w} = \arg\min_w \; \lVert y - \textstyle\sum_k X_k w_k \rVert^2 + \sum_k \alpha_k \lVert w_k \rVert^2 .$$
#
# Inner folds choose the penalties for each electrode, among {glue:text}`n_draws` random ratios with eight overall strengths each {cite:p}`dupre2022`. Larger
# spaces enter by {glue:text}`n_components` {term}`principal components` of each training fold, the context space by {glue:text}`n_context`.
#
# How much a model explains is its $R^2$ ({term}`R²`) on held-out words. We fit the model with all spaces, then once without each of them:
#
# $$\mathrm{unique}_k = R^2(\text{all}) - R^2(\text{all but } k), \qquad \mathrm{shared} = R^2(\text{all}) - \textstyle\sum_k \mathrm{unique}_k .$$
#
# The *unique* share ({term}`unique variance`) is what no other space can stand in for. The *shared* variance is what at least two explain equally well; no
# regression can say to which of them it belongs. Nothing is clipped: a useless space costs accuracy, and its share is often a little below zero. From
# {glue:text}`n_words` words a model learns only part of what features hold, least of large spaces; so `variance_partition` gives two estimates.
# *Cross-validated*, what is predicted from so many words, tells whether a share is more than chance. *Adjusted*, what unlimited data would give, tells how
# large it is: the held-out error from uncertain weights is taken out, $x^\top (X^\top X + \alpha I)^{-1} x$ times the noise for a word $x$
# {cite:p}`rasmussen2006`. Shares are divided by the {term}`explainable variance`, the squared {term}`noise ceiling`.

# %%
fitted = np.hstack([cohort.responses for cohort in cohorts.values()])
options = {"cv": ContiguousKFold(n_splits, gap=gap), "inner_cv": inner_splits, "seed": seed, "device": device}
options["groups"] = words["passage"].to_numpy()
kept_components = dict.fromkeys(spaces, n_components) | {"context": n_context}
shares = variance_partition(spaces, fitted, n_components=kept_components, n_draws=n_draws, **options)

# %%
repeats = [signals.word_responses(cohort.signal, words) for cohort in cohorts.values()]
explainable = np.concatenate([stats.noise_ceiling(part)["reliability_of_mean"] for part in repeats])
explainable = xr.DataArray(np.where(explainable >= 0.1, explainable, np.nan), dims="channel")
relative = (shares[["r2", "unique", "alone", "shared"]] / explainable).transpose("channel", ...)
kept = relative["r2"].notnull().all("estimate").to_numpy()

# %%
bands = pd.qcut(channels.loc["sound and language", "distance_pmc"], n_bands, precision=0)
alike = pd.cut(channels.loc["sound alone", "distance_pmc"], bands.cat.categories)
labels = [f"{max(band.left, 0):.0f}-{band.right:.0f}" for band in bands.cat.categories]
channels["band"] = pd.Categorical.from_codes([*bands.cat.codes, *alike.cat.codes], labels, ordered=True)
relative, clear, people = relative.isel(channel=kept), channels[kept], channels["subject"].to_numpy()[kept]

# %% mystnb={"image": {"alt": "Six panels, one a feature space: its unique share in four bands of distance from Heschl's gyrus with intervals over people, for the cohort with sound and language and for the one with sound alone."}}
rows = []
for (cohort, band), index in clear.groupby(["cohort", "band"], observed=True).indices.items():
    mean = stats.mean_over_subjects(relative["unique"][index], people[index])[0]
    rows.append(pd.DataFrame({"cohort": cohort, "band": band, "space": list(spaces)} | vars(mean)))
frame = pd.concat(rows, ignore_index=True)
by_space = frame.pivot(index=["cohort", "band"], columns="space", values="value")
change = by_space.loc[("sound and language", labels[-1])] - by_space.loc[("sound and language", labels[0])]
report.claim("acoustics explain more near, context more far away", change["acoustics"] < 0 < change["context"])
highest = by_space.loc["sound alone"].idxmax(axis=1)
report.claim("where sound alone was planted, acoustics explain most in every band", (highest == "acoustics").all())
text = {"xlabel": "geodesic distance from Heschl's gyrus (mm)", "ylabel": "unique share of explainable variance"}
text |= {"title": "What each description explains, virtual cohorts (cross-validated)", "hue": "cohort", "col": "space"}
report.figure("unique", plotting.points(frame, "band", "value", **text))

# %% [markdown]
# *What to see:* a panel a space; means over {glue:text}`n_people` people, 95 % intervals; blue: sound alone, orange: sound and language. With language,
# acoustics explain more near Heschl's gyrus than far away, context the other way round. With sound alone, acoustics explain most in every band.

# %%
at, n_silent, own = list(spaces).index("context"), len(channels.loc["sound alone"]), clear.groupby("cohort").indices
language, silence = (stats.mean_over_subjects(relative["unique"][own[c]], people[own[c]])[0] for c in cohorts)
loud = own["sound and language"]
total, shared = (stats.mean_over_subjects(relative[name][loud], people[loud]) for name in ("r2", "shared"))
for k, short in enumerate(("cv", "adj")):
    report.add(**{f"total_{short}": total[k], f"shared_{short}": shared.value[k]})
    report.add(**{f"shared_part_{short}": 100 * shared.value[k] / total.value[k]})
small = frame[frame["space"].isin(["rate", "frequency", "random"]) & (frame["cohort"] == "sound and language")]
raw = shares["unique"].sel(estimate="cross-validated", part="context").to_numpy()[-n_silent:]
report.add(n_draws=n_draws, n_components=n_components, n_context=n_context, n_words=len(words), n_sound_alone=n_silent)
report.add(small_bound=small["value"].abs().max(), n_people=channels["subject"].nunique())
report.add(sound_alone_positive=100 * (raw > 0).mean(), language_context=language[at])
report.add(sound_alone_context=silence[at], sound_alone_random=silence[-1], sound_alone_r2=raw.mean())
report.claim("where sound alone was planted, context's interval is above zero", report["sound_alone_context"].low > 0)
report.claim("context has more with language planted than with sound alone", language[at].low > silence[at].high)
report

# %% [markdown]
# All spaces together explain {glue:text}`total_cv` of what is explainable (adjusted: {glue:text}`total_adj`), of which {glue:text}`shared_cv:.2f`, or
# {glue:text}`shared_part_cv:.0f` %, is shared by at least two (adjusted: {glue:text}`shared_adj:.2f`, or {glue:text}`shared_part_adj:.0f` %). Rate, frequency
# and random stay within {glue:text}`small_bound:.3f` of zero in every band.
#
# ## Which level does a share have to leave?
#
# Not zero. No description of the sound is perfect, and a language model, which knows the words, may know what ours misses; and an empty space, too, gives the
# search more choice. Where sound alone was planted, context has a mean share of {glue:text}`sound_alone_context` ($R^2$ {glue:text}`sound_alone_r2:+.4f`, above
# zero in {glue:text}`sound_alone_positive:.0f` % of {glue:text}`n_sound_alone` electrodes), random numbers {glue:text}`sound_alone_random`: an interval above
# zero is a *false positive*. This share is the level to leave; with language planted, context has {glue:text}`language_context`.
#
# ## A rival: context at other words
#
# A real recording has no second cohort, but its own words: what unique share does context get when rolled along the words ({term}`content null`)? By chance,
# context beats all {glue:text}`n_rolls` such *rivals* in one of {glue:text}`n_rolls_and_one` electrodes. In those with sound alone:

# %%
# To be quick: a single contextual layer, no random numbers, fewer directions of the penalties.
few = {name: spaces[name] for name in list(spaces)[:-1]} | {"context": states.sel(layer=middle[1]).to_numpy()}
at_words = xr.DataArray(np.eye(len(words), dtype="float32"), dims=("time", "word"))
rolls = RolledSweeps(xr.DataArray(few["context"], dims=("word", "feature")), at_words, n_rolls=n_rolls, seed=seed)
rival = {"n_draws": n_draws // 4, "n_components": n_components, "rivals": {"context": rolls}} | options
found = variance_partition(few, fitted[:, -n_silent:], **rival).sel(estimate="cross-validated")
own, chance = found["unique"].sel(part="context").to_numpy(), found["rivals"].to_numpy()
report.add(n_rolls=n_rolls, n_rolls_and_one=n_rolls + 1, rival_r2=chance.mean())
report.add(rival_beaten=100 * (own > chance).all(0).mean(), rival_p=stats.p_values(own.mean(), chance.mean(1)))
report.claim("with sound alone, context beats its rivals in under a fifth of electrodes", report["rival_beaten"] < 20)
report.claim("with sound alone, context beats its rivals in the mean over electrodes", report["rival_p"] <= 0.05)
report

# %% [markdown]
# Rolled contents have a mean $R^2$ of {glue:text}`rival_r2:.5f`. Context beats all of them in {glue:text}`rival_beaten:.0f` % of the electrodes, and in the mean
# over electrodes (p = {glue:text}`rival_p:.2f`, the least that so many rolls give), where language was not planted: rolling moves what context knows of a
# word's *sound*, too. A small p-value against rivals says that the contents matter at their own words. That they are language, it does not say.
#
# ## The truth beside the estimate
#
# Sound and words go together in all speech: the {term}`planted` share of sound is *not* its unique share, even with unlimited data. If our spaces held all that
# was planted, the truth would lie between what acoustics explain uniquely and what they explain alone; for words, bounds are what all spaces explain less
# either of these. Shares were planted in the whole signal and are estimated at words, in means over 100 ms: there sound has {glue:text}`sound_variance:.2f`
# times its variance on the whole, responses to words {glue:text}`words_variance:.2f` times theirs (folded cell); planted shares below allow for it.

# %% tags=["hide-input"]
sound_left = float(data.responses[:, (data.truth["kind"] == "control").to_numpy()].var("word").mean())
impulses = word_drive(xr.DataArray(spaces["random"][:, 0], dims="word"), words, data.signal["time"])
steps, left_over = np.linspace(0, 1, 6), []
for step in steps:
    bump = gaussian_filter1d(impulses, 100 * (0.05 + 0.05 * step))
    bump = impulses.copy(data=bump / bump.std()).expand_dims(channel=1, axis=1)
    left_over.append(float(signals.word_responses(bump, words, lag=-0.08 * step).var()))

# %%
truth = cohorts["sound and language"].truth[kept[:-n_silent]]
words_left = np.interp(truth["lag"] / 0.08, steps, left_over)
weight = truth["acoustic"] * sound_left
planted = (weight / (weight + truth["language"] * words_left)).to_numpy()
now = relative.isel(channel=slice(len(truth))).sel(estimate="adjusted")
unique, alone = (now[kind].sel(part="acoustics").to_numpy() for kind in ("unique", "alone"))
bounds = pd.DataFrame({"planted": planted, "unique": unique, "alone": alone, "all": now["r2"].to_numpy()}, truth.index)
bounds = bounds.assign(words_left=words_left)[truth["kind"] == "language"]
mean, who = bounds.mean(), channels.loc["sound and language"].loc[bounds.index, "subject"]
ranks = alignment(bounds["unique"], bounds["planted"], subjects=who)
report.add(sound_variance=sound_left, words_variance=mean["words_left"], sound_ranks=ranks)
report.add(sound_planted=mean["planted"], sound_low=mean["unique"], sound_high=mean["alone"])
low, high = (mean["all"] - mean[name] for name in ("alone", "unique"))
report.add(words_planted=1 - mean["planted"], words_low=low, words_high=high)
report.claim("both bounds of words fall short of what was planted", high < report["words_planted"])
report.claim("the bounds of sound hold the planted share", mean["unique"] <= mean["planted"] <= mean["alone"])
report.claim("the unique share follows the planted one", ranks.low > 0.5)
report

# %% mystnb={"image": {"alt": "For each electrode the adjusted share of sound alone and its unique share against the planted share, with the diagonal of perfect recovery."}}
long = bounds.melt("planted", ["alone", "unique"], var_name="estimate", value_name="share")
text = {"xlabel": "planted share of sound, at words", "ylabel": "adjusted share of explainable variance"}
text["title"] = "Planted and estimated share of sound, virtual cohort"
report.figure("truth", plotting.points(long, "planted", "share", hue="estimate", diagonal=True, **text))

# %% [markdown]
# *What to see:* the unique share and the share alone of every electrode; the dashed line is perfect recovery. Averaged over electrodes that hold language,
# the planted share of sound is {glue:text}`sound_planted:.2f`, between the adjusted bounds {glue:text}`sound_low:.2f` and {glue:text}`sound_high:.2f`; the
# unique share follows the planted one with a rank correlation of {glue:text}`sound_ranks`. For words {glue:text}`words_planted:.2f` was planted, and both
# bounds, {glue:text}`words_low:.2f` and {glue:text}`words_high:.2f`, fall short: electrodes follow other layers and contexts than ours.
#
# ## Exercise
#
# Describe the sound by its envelope alone. What happens to the unique shares of the other spaces near Heschl's gyrus?
#
# :::{admonition} Solution
# :class: dropdown
# In sum they rise: what the envelope leaves unexplained is open to whatever goes with the sound (table: adjusted $R^2$, one contextual layer).
# :::

# %% tags=["hide-cell"]
near = fitted[:, np.flatnonzero(channels.loc["sound and language", "band"] == labels[0])]
loudness = word_acoustics(envelope(*data.audio)[:, :1], words, lags=[0.0]).to_numpy()
rows = {}
for name, described in (("spectrogram", few["acoustics"]), ("envelope", loudness)):
    found = variance_partition(few | {"acoustics": described}, near, n_components=40, n_draws=12, **options)["unique"]
    rows[name] = found.sel(estimate="adjusted").mean("channel").to_series()
described = pd.DataFrame(rows).rename_axis(None)
gained = (described["envelope"] - described["spectrogram"]).drop("acoustics").sum()
report.claim("if sound is described by its envelope alone, the other spaces' unique shares rise in sum", gained > 0)
described.round(3)

# %% [markdown]
# `papermill notebooks/06_beyond_acoustics.ipynb noisy.ipynb -p snr 0.1 -p results noisy` makes a cohort as noisy as real recordings are. [The next
# page](06_beyond_acoustics_in_people) asks the same of people, and [a third](06_response_lag) when electrodes respond.
