# %% [markdown]
# # Is it more than sound and word rate?
#
# The best layer of a language model predicts even channels that hold nothing but sound: so ended the first half of chapter 2. Words that are rare are also
# long; stretches that are fast are also loud; a model that knows which word was said knows much of its sound. *What* about the word is it, then, that predicts
# the brain? This chapter describes words in several ways, from sound to meaning in context, and asks what each description explains that the others do not.
#
# :::{admonition} In this chapter
# **You will learn**
# how to fit several descriptions at once without the largest swamping the others; how to split what they explain into unique and shared parts, and how not to
# read too much into either; how finite data bias such shares; and which level a share has to leave before it means anything.
#
# **You need** scores, noise ceilings and peak layers of [chapter 2](02_layer_alignment).
#
# **It takes** about 18 minutes to read, and three minutes to run on two cores once the features are computed.
# :::

# %% [markdown]
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
from brainalign.ridge import rolled_sweeps, variance_partition
from brainalign.signals import word_drive

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Two cohorts
#
# The {term}`virtual cohort` of this chapter is cleaner than real recordings are. Its electrodes follow sound, the less the farther they lie from Heschl's
# gyrus, and language for the rest. A second cohort has the same electrodes following **sound alone**: whatever contextual layers explain uniquely there is not
# language. Electrodes are selected without any model: those that respond to speech more, or less, than to silence (chapter 1).

# %%
data = datasets.load_listening("virtual", snr=snr)
words = data.words
responsive = signals.speech_responsive(data.signal, words, q=q)["responsive"] & data.channels["distance_pmc"].notna()
silent = datasets.load_listening("virtual", snr=snr, language=False, controls=False)
cohorts = {"sound and language": data.select(responsive.to_numpy())}
cohorts["sound alone"] = silent.select((silent.truth["kind"] == "sound").to_numpy())
channels = pd.concat({name: cohort.channels for name, cohort in cohorts.items()}, names=["cohort"])
channels.groupby("cohort").agg(electrodes=("subject", "size"), people=("subject", "nunique"))

# %% [markdown]
# ## Five descriptions of a word
#
# We call a set of features that belong together a {term}`feature space`. From the ear upwards:
#
# - **acoustics**: the spectrogram in six steps of 50 ms up to the word's centre, and with it the sound's {term}`envelope` and its *onsets*, the steepness with
#   which the envelope rises;
# - **rate**: how long the word took, how many letters it has, how long ago the previous word began, and its *position*: the words since the last pause and
#   since the passage began;
# - **frequency**: how rare the word is, and how unexpected in its place: {term}`surprisal` given one word of context and given all words so far. The former is
#   a rough stand-in, as it reflects how texts begin (chapter 5); with counts from a corpus the share might be larger;
# - **static**: layer 0 of the language model, the input embedding. It knows *which* word was said and, however often the word comes back, says the same;
# - **context**: layers at a quarter, half and three quarters of the model's depth, which have seen the words before.
#
# And a sixth as a control: **random**, {glue:text}`n_components` random numbers for each word. It explains nothing; we shall see whether our method says so.

# %%
depth = n_layers(model)
middle = np.unique(np.round(depth * np.array([0.25, 0.5, 0.75])).astype(int))
states = layer_features(words, model, layers=[0, *middle], start_token=True, device=device)
bits = [surprisal(words, model, context=c, start_token=True, device=device) for c in (1, None)]
spaces = word_spaces(words, data.audio, np.column_stack(bits))
spaces["static"] = states.sel(layer=0).to_numpy()
spaces["context"] = np.concatenate([*states.sel(layer=middle)], axis=-1)
spaces["random"] = np.random.default_rng(seed).standard_normal((len(words), n_components))
pd.Series({name: space.shape[1] for name, space in spaces.items()}, name="features").to_frame()

# %% [markdown]
# ## One model, many penalties
#
# Put side by side, these are more than two thousand features, two of them about frequency. {term}`ridge regression` with one penalty for all would treat every
# feature alike: a penalty that keeps hundreds of embedding features in check all but silences the two. {term}`banded ridge regression` {cite:p}`nunez2019`
# gives every space $k$ a penalty of its own:
#
# $$\hat{w} = \arg\min_w \; \lVert y - \textstyle\sum_k X_k w_k \rVert^2 + \sum_k \alpha_k \lVert w_k \rVert^2 .$$
#
# The penalties, one for each space and electrode, are chosen by inner folds as in chapter 2. With six spaces a full grid would be astronomical, so we try
# {glue:text}`n_draws` random ratios of the penalties, each with eight overall strengths {cite:p}`dupre2022`. Spaces with more than {glue:text}`n_components`
# features enter by as many {term}`principal components`, computed within each training fold; the context space by {glue:text}`n_context`.
#
# ## Unique and shared
#
# How much a model explains is measured by $R^2$ ({term}`R²`): one minus its squared errors on held-out words over those of predicting the mean. We fit the
# model with all spaces, then once without each of them:
#
# $$\mathrm{unique}_k = R^2(\text{all}) - R^2(\text{all but } k), \qquad
# \mathrm{shared} = R^2(\text{all}) - \textstyle\sum_k \mathrm{unique}_k .$$
#
# The *unique* share ({term}`unique variance`) is what no other space can stand in for. The *shared* variance is what at least two spaces explain equally well;
# no regression can say to which of them it belongs. Every model chooses its own penalties, and nothing is clipped: the share of a space that explains nothing
# scatters around zero and is often a little below, because a useless space costs some accuracy.
#
# A model with hundreds of weights learns only part of what its features hold from {glue:text}`n_words` words, so that the shares of large spaces come out too
# small. `variance_partition` therefore gives two estimates. *Cross-validated* is what is predicted from so many words; it tells whether a share is more than it
# would be by chance. *Adjusted* is what unlimited data would give: the part of the held-out error that comes from uncertain weights, $x^\top (X^\top X + \alpha
# I)^{-1} x$ times the noise for a word $x$ {cite:p}`rasmussen2006`, is taken out. It tells how large a share is. Where both differ much, data are short.

# %%
fitted = np.hstack([cohort.responses for cohort in cohorts.values()])
options = {"n_splits": n_splits, "inner_splits": inner_splits, "gap": gap, "seed": seed, "device": device}
options["groups"] = words["passage"].to_numpy()
sizes = dict.fromkeys(spaces, n_components) | {"context": n_context}
shares = variance_partition(spaces, fitted, n_components=sizes, n_draws=n_draws, **options)
report.add(n_draws=n_draws, n_components=n_components, n_context=n_context, n_words=len(words))
report

# %% [markdown]
# Half of an electrode's variance may be noise. We divide all shares by the {term}`explainable variance`, the square of the {term}`noise ceiling`, which comes
# from the agreement of two repeats; 1 then means everything that is not noise. Shares are averaged over a person's electrodes in a band of distance, then over
# people.

# %%
repeats = [signals.word_responses(cohort.signal, words) for cohort in cohorts.values()]
explainable = np.concatenate([stats.noise_ceiling(part)["reliability_of_mean"] for part in repeats])
relative = stats.normalize(shares[["r2", "unique", "alone", "shared"]], xr.DataArray(explainable, dims="channel"))
kept, people = relative["r2"].notnull().all("estimate").to_numpy(), channels["subject"].to_numpy()
bands = pd.qcut(channels.loc["sound and language", "distance_pmc"], n_bands, precision=0)
alike = pd.cut(channels.loc["sound alone", "distance_pmc"], bands.cat.categories)
labels = [f"{max(band.left, 0):.0f} to {band.right:.0f}" for band in bands.cat.categories]
channels["band"] = pd.Categorical.from_codes([*bands.cat.codes, *alike.cat.codes], labels, ordered=True)


# %%
def by_band(estimate):
    """Mean over people and its interval, by cohort, band of distance and space."""
    unique, rows = relative["unique"].sel(estimate=estimate).to_numpy().T, []
    for (cohort, band), index in channels.groupby(["cohort", "band"], observed=True).indices.items():
        here = index[kept[index]]
        mean = stats.mean_over_subjects(unique[here], people[here])
        rows.append(pd.DataFrame({"value": mean.value, "low": mean.low, "high": mean.high, "space": list(spaces)}))
        rows[-1] = rows[-1].assign(
            cohort=cohort, band=band, estimate=estimate, share=[str(mean[k]) for k in range(len(spaces))]
        )
    return pd.concat(rows, ignore_index=True)


# %% mystnb={"image": {"alt": "Six panels, one a feature space: its unique share in four bands of distance from Heschl's gyrus with intervals over people, for the cohort with sound and language and for the one with sound alone."}}
frame = by_band("cross-validated")
text = {"xlabel": "geodesic distance from Heschl's gyrus (mm)", "ylabel": "unique share of explainable variance"}
text |= {"title": "What each description explains, virtual cohorts (cross-validated)", "hue": "cohort", "col": "space"}
report.figure("unique", plotting.points(frame, "band", "value", **text))

# %% [markdown]
# *What to see:* one panel a space; each dot is a mean over {glue:text}`n_people` people in a band of distance, with its 95 % interval over people. Acoustics
# matter near Heschl's gyrus and context far from it; where sound alone was planted, only acoustics stand out. At both ends of the hierarchy:

# %%
both = pd.concat([by_band(estimate) for estimate in shares["estimate"].values])
both = both[both["band"].isin([labels[0], labels[-1]]) & both["space"].isin(["acoustics", "static", "context"])]
both.pivot(index=["cohort", "space"], columns=["band", "estimate"], values="share")


# %%
def over_all(values, cohort, estimate="cross-validated"):
    """Mean over people and its interval, over all electrodes of a cohort."""
    here = kept & (channels.index.get_level_values("cohort") == cohort)
    return stats.mean_over_subjects(values.sel(estimate=estimate).to_numpy().T[here], people[here])


means = {cohort: over_all(relative["unique"], cohort) for cohort in cohorts}
table = {cohort: [f"{mean[k]:+.4f}" for k in range(len(spaces))] for cohort, mean in means.items()}
pd.DataFrame(table, index=list(spaces))

# %%
at, n_silent = list(spaces).index("context"), len(cohorts["sound alone"].channels)
raw = shares["unique"].sel(estimate="cross-validated", part="context").to_numpy()[-n_silent:]
small = frame[frame["space"].isin(["rate", "frequency", "random"]) & (frame["cohort"] == "sound and language")]
for short, estimate in (("cv", "cross-validated"), ("adj", "adjusted")):
    total, shared = (over_all(relative[name], "sound and language", estimate) for name in ("r2", "shared"))
    report.add(**{f"total_{short}": total, f"shared_{short}": shared.value})
    report.add(**{f"shared_part_{short}": 100 * shared.value / total.value})
report.add(small_bound=small["value"].abs().max(), n_people=len(set(people)), quiet_n=n_silent)
report.add(context_over=means["sound and language"][at], quiet_mean=means["sound alone"][at])
report.add(quiet_random=means["sound alone"][-1], quiet_r2=raw.mean(), quiet_positive=100 * (raw > 0).mean())
report.claim("where sound alone was planted, context's interval is above zero", report["quiet_mean"].low > 0)
report.claim("planted context leaves that level", report["context_over"].low > report["quiet_mean"].high)
report

# %% [markdown]
# All spaces together explain {glue:text}`total_cv` of what is explainable ({glue:text}`total_adj` adjusted). {glue:text}`shared_cv:.2f`, or
# {glue:text}`shared_part_cv:.0f` % of what is explained, is shared by at least two spaces ({glue:text}`shared_adj:.2f`, or {glue:text}`shared_part_adj:.0f` %,
# adjusted): which of them it belongs to cannot be said. The means of rate, frequency and random lie within {glue:text}`small_bound:.2f` of zero in every band.
#
# ## Which level does a share have to leave?
#
# Not zero. No description of the sound is perfect, and a language model, which knows the words, may know some of what ours misses; and even an empty space
# gives the search more penalties to choose from. Where nothing but sound was planted, context has a mean share of {glue:text}`quiet_mean` ($R^2$
# {glue:text}`quiet_r2:+.4f`, above zero in {glue:text}`quiet_positive:.0f` % of {glue:text}`quiet_n` electrodes), and random numbers {glue:text}`quiet_random`:
# an interval over people above zero is a *false positive* here. More electrodes and people make such a share no smaller, only more certain. It is the level
# that a share of context has to leave. With language planted the share is {glue:text}`context_over`; with more noise it shrinks, the level does not.
#
# ## A rival: context at other words
#
# A real recording has no second cohort. What it has are its own words: roll the contextual description along them, so that each word has that of another, put
# it in place of context, all other spaces as they are, and see what unique share it gets ({term}`content null`). `variance_partition` calls such stand-ins
# *rivals*. Where there is nothing to find, context should beat all {glue:text}`n_rolls` of them in one electrode out of {glue:text}`n_rolls_and_one`. In those
# that follow sound alone:

# %%
# To be quick: a single contextual layer, no random numbers, fewer directions of the penalties.
few = {name: spaces[name] for name in list(spaces)[:-1]} | {"context": states.sel(layer=middle[1]).to_numpy()}
at_words = xr.DataArray(np.eye(len(words), dtype="float32"), dims=("time", "word"))
rolls = rolled_sweeps(xr.DataArray(few["context"], dims=("word", "feature")), at_words, n_rolls=n_rolls, seed=seed)
rival = {"n_draws": n_draws // 4, "n_components": n_components, "rivals": {"context": rolls}} | options
found = variance_partition(few, fitted[:, -n_silent:], **rival).sel(estimate="cross-validated")
own, chance = found["unique"].sel(part="context").to_numpy(), found["rivals"].to_numpy()
report.add(n_rolls=n_rolls, n_rolls_and_one=n_rolls + 1, rival_r2=chance.mean())
report.add(rival_beaten=100 * (own > chance).all(0).mean(), rival_p=stats.p_values(own.mean(), chance.mean(1)))
report.claim("rivals call context in less than a fifth of electrodes with sound alone", report["rival_beaten"] < 20)
report.claim("in the mean over electrodes rivals do call it", report["rival_p"] <= 0.05)
report

# %% [markdown]
# Rolled contents have a mean $R^2$ of {glue:text}`rival_r2:+.4f`. Context beats all of them in {glue:text}`rival_beaten:.0f` % of the electrodes, and in the
# mean over electrodes (p = {glue:text}`rival_p:.2f`), where language was not planted: rolling moves what context knows of a word's *sound*, too. A small
# p-value against rivals says that the contents matter at their own words. That they are language, it does not say.
#
# ## The truth beside the estimate
#
# We know what drives an electrode: a share of sound that fades with distance, and language for the rest. But sound and words go together, in all speech: the
# {term}`planted` share is *not* the unique share, even with unlimited data. If our spaces held all that was planted, the truth would lie between what acoustics
# explain uniquely and what they explain alone. For words the bounds would be all that is explained, less the one or the other.
#
# Shares were planted in the continuous signal, and we look at words, where sound keeps {glue:text}`sound_left:.2f` of its variance (its quick ups and downs are
# averaged over 100 ms) and responses to words have {glue:text}`words_left:.2f` times theirs (every sample is taken at a peak). The folded cell measures this
# with random values at words, as wide and as late as planted.

# %% tags=["hide-input"]
control = (data.truth["kind"] == "control").to_numpy()  # channels that are nothing but sound
sound_left = float(data.responses[:, control].var("word").mean())
impulses = word_drive(xr.DataArray(spaces["random"][:, 0], dims="word"), words, data.signal["time"])
steps, left_over = np.linspace(0, 1, 6), []
for step in steps:
    bump = gaussian_filter1d(impulses, 100 * (0.05 + 0.05 * step))
    bump = impulses.copy(data=bump / bump.std()).expand_dims(channel=1, axis=1)
    left_over.append(float(signals.word_responses(bump, words, lag=-0.08 * step).var()))

# %%
truth = cohorts["sound and language"].truth
words_left = np.interp(truth["lag"] / 0.08, steps, left_over)
weight = truth["acoustic"] * sound_left
planted = (weight / (weight + truth["language"] * words_left)).to_numpy()
now = relative.isel(channel=slice(len(truth))).sel(estimate="adjusted")
unique, alone = (now[kind].sel(part="acoustics").to_numpy() for kind in ("unique", "alone"))
bounds = pd.DataFrame({"planted": planted, "unique": unique, "alone": alone, "all": now["r2"].to_numpy()}, truth.index)
bounds = bounds.assign(words_left=words_left)[kept[: len(truth)] & (truth["kind"] == "language").to_numpy()]

# %% mystnb={"image": {"alt": "For each electrode the adjusted share of sound alone and its unique share against the planted share, with the diagonal of perfect recovery."}}
long = bounds.melt("planted", ["alone", "unique"], var_name="estimate", value_name="share")
text = {"xlabel": "planted share of sound, at words", "ylabel": "adjusted share of explainable variance"}
text["title"] = "Planted and estimated share of sound, virtual cohort"
report.figure("truth", plotting.points(long, "planted", "share", hue="estimate", diagonal=True, **text))

# %%
mean, who = bounds.mean(), channels.loc["sound and language"].loc[bounds.index, "subject"]
ranks = alignment(bounds["unique"], bounds["planted"], subjects=who)
report.add(sound_left=sound_left, words_left=mean["words_left"], sound_ranks=stats.Estimate(*ranks[:3]))
report.add(sound_planted=mean["planted"], sound_low=mean["unique"], sound_high=mean["alone"])
low, high = (mean["all"] - mean[name] for name in ("alone", "unique"))
report.add(words_planted=1 - mean["planted"], words_low=low, words_high=high)
report.claim("both bounds of words fall short of what was planted", high < report["words_planted"])
report.claim("the bounds of sound hold the planted share", mean["unique"] <= mean["planted"] <= mean["alone"])
report.claim("the unique share follows the planted one", ranks.low > 0.5)
report

# %% [markdown]
# *What to see:* for every electrode the unique share and the share alone, against the planted share; the dashed line is perfect recovery. Averaged over
# electrodes that hold language, the planted share of sound is {glue:text}`sound_planted:.2f` and the adjusted bounds are {glue:text}`sound_low:.2f` to
# {glue:text}`sound_high:.2f`, with the truth between them. The unique share follows the planted one with a rank correlation of {glue:text}`sound_ranks`.
#
# For words the planted share is {glue:text}`words_planted:.2f` and the bounds are {glue:text}`words_low:.2f` to {glue:text}`words_high:.2f`, both less than the
# truth: no space of ours holds exactly what was planted there: each electrode follows one layer out of all, with a context of its own, and ours are others.
#
# ## Exercise
#
# Describe the sound by its envelope alone. What happens to the unique shares of the other spaces near Heschl's gyrus?
#
# :::{admonition} Solution
# :class: dropdown
# What the poorer description of the sound leaves unexplained is open to whatever goes along with it: compare the columns of the table ($R^2$ with one
# contextual layer and few penalties, to be quick). Every unique share is relative to the rivals that were let in.
# :::

# %% tags=["hide-cell"]
near = fitted[:, np.flatnonzero(channels.loc["sound and language", "band"] == labels[0])]
loudness = word_acoustics(envelope(*data.audio)[:, :1], words, lags=[0.0]).to_numpy()
rows = {}
for name, described in (("spectrogram", few["acoustics"]), ("envelope", loudness)):
    found = variance_partition(few | {"acoustics": described}, near, n_components=40, n_draws=12, **options)["unique"]
    rows[name] = found.sel(estimate="adjusted").mean("channel").to_series()
pd.DataFrame(rows).rename_axis(None).round(3)

# %% [markdown]
# ## Run it again
#
# `papermill notebooks/06_beyond_acoustics.ipynb noisy.ipynb -p snr 0.1 -p results noisy` makes a cohort as noisy as real recordings are. [The next
# page](06_beyond_acoustics_in_people) asks the same of people, and [a third](06_response_lag) when electrodes respond.
#
# ## What the paper found
#
# {cite:t}`mischler2024` report that context matters for the match of model and brain. As far as open sources tell, electrodes were treated as independent
# there, and how much of the match is owed to sound, word rate or word frequency we could not find out. Here every interval counts people. The cohort shows what
# the method finds where it was planted, and where nothing was; it shows nothing about people.
