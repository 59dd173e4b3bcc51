# %% [markdown]
# # How well does a layer predict an electrode?
#
# A language model turns words into numbers in steps, its layers. The brain turns sound into meaning in steps, along the temporal lobe and beyond. Do the
# steps match? {cite:t}`mischler2024` asked this by predicting every electrode from every layer. That takes a *score* first: how well does a layer predict an
# electrode, and how do we know? This page proves the method on virtual people, whose responses we planted; it cannot say anything about brains.
#
# :::{admonition} In this chapter
# **You will learn** what the layers of a language model hold; how ridge regression with nested cross-validation turns a layer into a score for an electrode;
# how to tell a score from chance; how to check that a language model's fit is more than acoustics; and how close to the best possible score it comes.
#
# **You need** [word responses](01_listening_data). **It takes** about 20 minutes to read, and some five to run on two cores, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
n_subjects: int = 8  # virtual people
snr: float = 0.1  # planted variance over that of one repeat's noise, at words
n_splits: int = 5  # contiguous folds of the outer cross-validation
inner_splits: int = 3  # folds inside each training set that choose the penalty
gap: int = 5  # words left out between training and test words
n_shifts: int = 10  # refitted circular shifts of every electrode, for chance
q: float = 0.05  # false discovery rate
seed: int = 0  # of the shifts and the bootstrap
device: str = "auto"  # where the model runs: "auto", "cpu" or "cuda"
results: str = "results/02_layer_alignment"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import binomtest

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.features.acoustics import mel_spectrogram, word_acoustics
from brainalign.features.language import layer_features
from brainalign.ridge import ContiguousKFold, cross_validate

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# ## What a layer holds
#
# By default the model is SmolLM2 with 135 million parameters {cite:p}`allal2025`, further trained to follow instructions, its weights stored in four bits
# each: small enough for a laptop. It reads text in *tokens*, words or pieces of longer words ({term}`token`), and is a stack of layers ({term}`layer`). A
# word enters as a list of numbers that depends on nothing but the word (layer 0, the *input embedding*). Every layer reads the current lists of this word
# and of all words before it, and adds to them; after the last layer, the list serves to guess the next word. So each layer has its own description of each
# word, and later layers have had more chances to take the context in. `layer_features` returns these descriptions, aligned to our words:

# %%
data = datasets.load_listening("virtual", n_subjects=n_subjects, snr=snr, model=model, device=device)
features = layer_features(data.words, model, start_token=True, device=device)
features

# %% [markdown]
# Of several tokens the last describes the word: it has seen them all. `start_token` puts the model's "new text" token before each passage; without it:

# %%
bare = layer_features(data.words, model, start_token=False, device=device)
first, norm = ~data.words["passage"].duplicated().to_numpy(), np.sqrt((bare**2).sum("feature"))
ratio = norm.sel(word=first).mean("word") / norm.sel(word=~first).median("word")
report.add(n_features=features.sizes["feature"], sink_ratio=ratio.max(), sink_layer=ratio.idxmax())
report.claim("without a start token, first words dwarf all others", report["sink_ratio"] > 10)
report

# %% [markdown]
# The first token of a text becomes an {term}`attention sink` {cite:p}`xiao2024`. First words of passages would have features {glue:text}`sink_ratio:.0f`
# times as long as those of other words (layer {glue:text}`sink_layer:.0f`), and would dominate any regression. With a start token, that one is the sink.
#
# ## From features to a score
#
# Can the {glue:text}`n_features` numbers of a layer predict an electrode's response to each word? A linear model gives each feature a weight. With
# {glue:text}`n_features` features and {glue:text}`n_words` words, plain least squares would fit noise. {term}`Ridge regression <ridge regression>`
# {cite:p}`hoerl1970` takes the weights $w$ that minimise $\lVert y - Xw \rVert^2 + \alpha \lVert w \rVert^2$: the penalty $\alpha$ punishes large ones. How
# well they predict must be measured on words that had no part in choosing them:
#
# - **Cross-validation** ({term}`cross-validation`). The words are cut into contiguous blocks; each is predicted from weights fitted on the others.
#   Neighbouring words share context and their responses overlap: with shuffled words the neighbours of each test word would be in the training set and
#   inflate the score. For the same reason a `gap` of words beside a test block goes unused.
# - **Nested.** A second cross-validation inside the training words chooses each electrode's penalty; they also set the features' scale. The study appears to
#   have computed 500 principal components from *all* words; here nothing is learned from test words.
# - **Score.** The Pearson correlation between the responses and the predictions of all blocks together.
#
# `cross_validate` does all of this for every layer and electrode at once; its `null` is what chance gives, the question of the next section.

# %%
folds = {"cv": ContiguousKFold(n_splits, gap=gap), "inner_cv": inner_splits, "groups": data.words["passage"].to_numpy()}
folds |= {"alphas": np.logspace(0, 7, 8), "device": device}
fit = cross_validate(features, data.responses, null=stats.Shifts(n_shifts, min_shift=10, seed=seed), **folds)
fit

# %% [markdown]
# ## Is a score more than chance?
#
# For each electrode we will report its *best* layer. The best of many is high even when there is nothing to find, and neighbouring words are not
# independent: textbook p-values would be wrong twice. We need scores that the same procedure gives without a relation between text and response: within each
# passage the responses are moved along the words by a random amount ({term}`circular shift`), which keeps their rhythm and destroys their match with the
# text. `null=Shifts(...)` put {glue:text}`n_shifts` such copies of every electrode through the *whole* procedure, from fitting to picking the best layer. A
# common shortcut, to shift the responses against predictions that are already there, is not valid: predictions of one fold were made from the responses of
# the others, so that their scores scatter more than such shifts show, and too much pure noise passes.
#
# The p-value is the share of shifts that do at least as well {cite:p}`phipson2010`. Few shifts give no small p-values, so all are pooled, after each
# electrode's score and shifts were standardised by its shifts' mean and standard deviation. The {term}`false discovery rate` is {glue:text}`q_percent:g` %.

# %%
best, null = fit["score"].max("layer"), fit["null"].max("layer")
p = stats.p_values(best, null, pool=True)
significant = stats.fdr(p, q)[0].to_series().rename("significant")
chance, kind = float(null.quantile(0.95)), data.truth["kind"]
language = (kind == "language") & significant
found = pd.crosstab(kind, significant)
n_false, n_empty, n_found = found.loc["empty", True], found.loc["empty"].sum(), int(significant.sum())
bounds = binomtest(int(n_false), int(n_empty)).proportion_ci(method="wilson")
report.add(empty_share=stats.Estimate(100 * n_false / n_empty, 100 * bounds.low, 100 * bounds.high, int(n_empty)))
report.add(n_empty_significant=n_false, n_empty=n_empty, n_significant=n_found, false_share=100 * n_false / n_found)
report.add(n_language=found.loc["language", True], n_language_all=found.loc["language"].sum(), q_percent=100 * q)
report.add(n_shifts=n_shifts, n_words=len(data.words), chance=chance, median_best=best[language.to_numpy()].median())
report.claim("almost all language electrodes are found", report["n_language"] >= 0.95 * report["n_language_all"])
report.claim("no more of what is found is empty than the rate allows", report["false_share"] <= 100 * q)
report

# %% [markdown]
# {glue:text}`n_language` of {glue:text}`n_language_all` language electrodes are found. Of all {glue:text}`n_significant` significant channels
# {glue:text}`n_empty_significant` are empty: {glue:text}`false_share:.1f` %, as the rate allows; of empty ones {glue:text}`empty_share` in 100 (95 % interval).
#
# From here on we keep the significant language electrodes; a typical best score is {glue:text}`median_best:.2f`, where chance is below {glue:text}`chance:.2f`
# in 95 % of shifts. (In real recordings, where the truth is not known, electrodes are selected by `speech_responsive` of [chapter 1](01_listening_data):
# selection by the model's own score inflates *how high* scores are, and may bear on *which* layer is best, as layers differ in the dimensions that their
# features spread over, and so in what they reach by chance.) Three of them:

# %% mystnb={"image": {"alt": "Score by layer for three electrodes, near, halfway and far from Heschl's gyrus, whose names give distance and planted layer, and a dashed line at the level of chance."}}
electrodes = data.channels[language]
score, order = fit["score"].sel(channel=electrodes.index), electrodes["distance_pmc"].sort_values()
examples = order.iloc[[len(order) // 10, len(order) // 2, -len(order) // 10]]
planted = {name: f"{mm:.0f} mm, layer {data.truth['layer'][name]:.0f}" for name, mm in examples.items()}
profiles = score.sel(channel=examples.index).to_dataframe().reset_index().replace({"channel": planted})
text = {"xlabel": "layer", "ylabel": "score (Pearson r)", "title": "Three electrodes of the virtual cohort"}
levels = {"chance (95 %)": chance}
report.add(step_change=abs(score.diff("layer")).median())
report.figure("profiles", plotting.lines(profiles, "layer", "score", hue="channel", levels=levels, **text))

# %% [markdown]
# *What to see:* score over layers, a colour for each electrode, named by its distance and its planted layer; dashed: chance. Neighbouring layers score nearly
# alike (the median difference is {glue:text}`step_change:.3f`), as each only adds a little to the one before; noise can make any of them the best.
#
# ## Is it language, or just sound?
#
# Words and sounds go together, so a language model can predict an electrode that cares for sound alone, as [chapter 1](01_listening_data)'s control channels
# do. We compare the best layer with acoustic features: the spectrogram in six steps of 50 ms up to each word's centre.

# %%
sound = mel_spectrogram(data.audio.samples, data.audio.rate)
by_sound = cross_validate(word_acoustics(sound, data.words), data.responses, **folds)["score"].isel(layer=0)
compared = pd.DataFrame({"sound": by_sound.to_series(), "model": best.to_series(), "kind": kind})
compared = compared[(kind != "language") | significant]
control, far = compared[compared["kind"] == "control"], compared.loc[order.index[order > 60]]
report.add(control_sound=control["sound"].mean(), control_language=control["model"].mean())
report.add(n_control_sound=(control["sound"] > control["model"]).sum(), n_control=len(control))
report.add(far_sound=far["sound"].mean(), far_language=far["model"].mean())
report.claim("sound predicts every control channel better", (control["sound"] > control["model"]).all())
report.claim("the best layer is above chance in channels without language", control["model"].mean() > chance)
report.claim("far electrodes: language, not sound", far["model"].mean() > chance > far["sound"].mean())
report

# %% mystnb={"image": {"alt": "Best layer score against acoustic score, a dot for each channel, in colours for language electrodes, empty electrodes and acoustic control channels; a dashed line of equal scores."}}
text = {"xlabel": "score of acoustic features (r)", "ylabel": "score of the best layer (r)"}
title = "Language model against sound, virtual cohort"
report.figure("sound", plotting.points(compared, "sound", "model", hue="kind", diagonal=True, title=title, **text))

# %% [markdown]
# *What to see:* score of the best layer over that of sound, a dot for each channel, a colour for each kind. Above the dashed line the language model wins,
# below it the sound. {glue:text}`n_control_sound` of the {glue:text}`n_control` control channels show what they are: sound predicts them with
# {glue:text}`control_sound:.2f`. But the best layer still reaches {glue:text}`control_language:.2f` on average (chance: {glue:text}`chance:.2f`), with no
# language in them: probably because some words are louder and longer, and the model knows the words. **A significant score alone is no evidence of language
# processing.** Language electrodes beyond 60 mm are another matter: {glue:text}`far_language:.2f` from language, {glue:text}`far_sound:.2f` from sound.
#
# ## How close to the noise ceiling?
#
# A score divided by the {term}`noise ceiling` of [chapter 1](01_listening_data) is 1 at best; its square is the share of the explainable variance that is
# explained. We average it in three bands of distance, with an interval over people ({term}`bootstrap`), as electrodes of one person are not independent.

# %%
ceiling = stats.noise_ceiling(signals.word_responses(data.signal.sel(channel=electrodes.index), data.words))["ceiling"]
share = score / ceiling.where(ceiling >= 0.1)  # with less signal a ratio means nothing
bands = pd.cut(electrodes["distance_pmc"], [-1, 35, 70, np.inf], labels=["0 to 35 mm", "35 to 70 mm", "beyond 70 mm"])
rows = []
for name, own in electrodes.groupby(bands, observed=True):
    values, person = share.sel(channel=own.index).T.to_numpy(), own["subject"].to_numpy()
    interval = stats.bootstrap_ci(values, n_resamples=1000, clusters=person, seed=seed)
    columns = {"layer": share["layer"], "share": interval.value, "low": interval.low, "high": interval.high}
    rows.append(pd.DataFrame(columns | {"distance": f"{name} ({len(own)})"}))
near, beyond = (part.set_index("layer")["share"] for part in (rows[0], rows[-1]))
report.add(near_share=near.max(), near_layer=near.idxmax(), far_share=beyond.max(), far_layer=beyond.idxmax())
report.claim("near electrodes are best predicted by earlier layers", report["near_layer"] < report["far_layer"])
report.claim("no band of electrodes reaches its ceiling on average", max(part["share"].max() for part in rows) < 1)
report

# %% mystnb={"image": {"alt": "Score divided by noise ceiling by layer, a line with its interval for each of three bands of distance, and a dashed line at the level of chance."}}
levels = {"chance (95 %)": chance / float(ceiling.median())}
text = {"xlabel": "layer", "ylabel": "score / noise ceiling", "title": "Explained share by distance, virtual cohort"}
report.figure("ceiling", plotting.lines(pd.concat(rows), "layer", "share", hue="distance", levels=levels, **text))

# %% [markdown]
# *What to see:* score over ceiling by layer, a colour for each band: mean over electrodes and 95 % interval over people; dashed: chance. Near Heschl's gyrus
# early layers are best ({glue:text}`near_share:.2f` at layer {glue:text}`near_layer`), beyond 70 mm later ones ({glue:text}`far_share:.2f` at layer
# {glue:text}`far_layer`). No curve reaches 1: near electrodes follow sound as well, and the words are too few to estimate so many weights perfectly.
#
# ## What we have shown, and what not
#
# The procedure finds what was planted, passes no more noise than it should, and tells language from sound when it is asked to. It was given a brain that is a
# linear function of a layer of the very model with which we then looked. Real brains owe us no such thing.
#
# ## Exercises
#
# 1. How many empty electrodes would be called significant if their p-values were not corrected?
# 2. Give the test words' neighbours to the training set: set `gap` to 0. Do scores rise, and whose?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. {glue:text}`n_uncorrected` of {glue:text}`n_empty`, where {glue:text}`q_percent:g` % are to be expected; after correction {glue:text}`n_empty_significant`.
#    The correction is mild where most channels hold a signal: here it lowers the limit of p from {glue:text}`limit:.3f` to {glue:text}`corrected_limit:.3f`.
# 2. They rise by {glue:text}`most_rise:+.3f` at most (mean of a kind of channel), which is hardly anything. A gap matters more where responses to neighbouring
#    words share noise, as in fMRI; what happens there with neighbours in the training set shows [a later page](02_what_else_would_do_in_people).
# :::

# %% tags=["hide-cell"]
empty = (kind == "empty").to_numpy()
report.add(n_uncorrected=(p < q)[empty].sum(), limit=q, corrected_limit=q * n_found / p.size)
close = cross_validate(features[::10], data.responses, **folds | {"cv": ContiguousKFold(n_splits)})["score"]  # no gap
change = (close - fit["score"][::10]).mean("layer").to_series().groupby(kind).mean()
report.add(most_rise=change.max())
report.claim("without a gap the mean score of no kind of channel rises by 0.01", change.max() < 0.01)
change.round(3).to_frame("change without a gap")
