# %% [markdown]
# # Do better models predict the brain better?
#
# {cite:t}`mischler2024` report that over twelve models the better ones also predict the brain better, and reach their best prediction in earlier layers. One
# point per model, a dozen points: what does such a correlation show, and when does it mislead? Here we hold performance against brain scores that we planted
# ourselves, and count how often each test is fooled by responses that hold nothing of the models.
#
# :::{admonition} In this chapter
# **You will learn**
# how to relate performance to brain score over models that are alike; why electrodes without language can have a brain score; and how to tell whether worse
# models follow the cortical hierarchy less, or only more noisily.
#
# **You need** brain scores and peak layers from [chapter 2](02_layer_alignment), and the graded family of [the page before](03_what_is_better).
#
# **It takes** about 20 minutes to read, and some five minutes to run on two cores once the features are computed.
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
n_subjects: int = 8  # virtual people
snr: float = 1.0  # planted variance over that of one repeat's noise, at words
base: str = "smollm2-135m"  # the intact model, from which the responses are planted
family: list = []  # models of graded performance; empty: the base and its damages
n_depths: int = 9  # layers of each model, evenly spaced
n_components: int = 100  # principal components kept of each layer
n_acoustic: int = 100  # components of the sound among the confounds
n_pairs: int = 10  # minimal pairs of each phenomenon
n_splits: int = 3  # contiguous folds of the outer cross-validation
inner_splits: int = 2  # folds inside each training set that choose the penalty
gap: int = 5  # words left out between training and test words
n_shifts: int = 39  # shifted copies of every electrode, for chance
n_noise: int = 100  # cohorts of pure noise, to count false alarms
q: float = 0.05  # false discovery rate of responsive electrodes
seed: int = 0  # of the pairs, of chance, of noise and of the intervals
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/03_better_models"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import binom, pearsonr, zscore

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.features import lesions
from brainalign.features.acoustics import sound_components
from brainalign.features.language import layer_features, n_layers
from brainalign.features.words import leading_components
from brainalign.models import (
    alignment_under_noise,
    brain_score,
    minimal_pair_accuracy,
    minimal_pairs,
    next_word,
    performance_correlation,
)

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# ## Two cohorts, one with language
#
# Electrodes are selected as in the first chapter, by silence against speech, without looking at any model. With the {term}`virtual cohort` comes a second
# one, **without language**: the same people and places, every electrode driven by sound alone. It tells whether our claims can be trusted.

# %%
data = datasets.load_listening("virtual", n_subjects=n_subjects, snr=snr, device=device)
words, passages = data.words, data.words["passage"].to_numpy()
chosen = signals.speech_responsive(data.signal, words, q=q)["responsive"].to_numpy()
chosen = chosen & (data.channels["subject"] != "").to_numpy()  # the simulated acoustic channels belong to nobody
plain = {"language": False, "controls": False}
silent = datasets.load_listening("virtual", n_subjects=n_subjects, snr=snr, device=device, **plain)
sound = (silent.truth["kind"] == "sound").to_numpy()
values = np.concatenate([data.responses[:, chosen], silent.responses[:, sound]], axis=1)
subject = np.concatenate([data.channels["subject"][chosen], silent.channels["subject"][sound]])
responses = xr.DataArray(values, {"subject": ("channel", subject)}, ("word", "channel"))
mine = np.arange(len(subject)) < chosen.sum()
del silent  # its signal is large

# %% [markdown]
# ## Brain scores over the family
#
# Each member's layers predict each electrode as in chapter 2, with changes that are the same for all members:
#
# - {glue:text}`n_depths` layers of each model, evenly spaced from the input embedding to the last, and of each layer the {glue:text}`n_components` leading
#   {term}`principal components`, so that models do not differ in their number of features. They are learned from the features of all words, as in the study;
#   no response has a part in them (exercise 1 asks what that changes);
# - a baseline that enters every model without a penalty: the {glue:text}`n_acoustic` leading components of the spectrogram around the word, on two scales,
#   level and energy; the word's duration; and its number of letters. A brain score here is the {term}`partial correlation` *beyond sound*: of what the
#   baseline leaves of the responses with what the layer adds to its predictions.

# %%
confounds = np.column_stack([words["offset"] - words["onset"], words["word"].str.len()]).astype(float)
confounds = np.column_stack([confounds, sound_components(data.audio, words, n_acoustic)])
folds = {"groups": passages, "n_splits": n_splits, "inner_splits": inner_splits, "gap": gap}
folds |= {"alphas": np.logspace(1, 5, 5), "device": device, "standardize": False}
orders = stats.circular_shifts(len(words), n_shifts, groups=passages, min_shift=10, seed=seed)

family = list(family) or lesions.graded_family(base)
depths, components, scores = np.linspace(0, 1, n_depths), {}, []
for spec in family:
    layers = np.rint(depths * n_layers(spec)).astype(int)
    states = layer_features(words, spec, layers=layers, start_token=True, device=device)
    components[spec] = leading_components(states, n_components)
    fit = brain_score(components[spec], responses, orders=orders[:1], confounds=confounds, **folds)
    scores.append(fit.assign_coords(layer=depths))
scores = xr.concat(scores, pd.Index(family, name="model"))

# %%
pairs, performing = minimal_pairs(n_pairs, seed=seed), "performance (minus bits per word)"
bits = np.array([next_word(words, spec, device=device).bits for spec in family])
grammar = np.array([minimal_pair_accuracy(pairs, spec, device=device).mean() for spec in family])
heard, best, worst = scores.sel(channel=mine).mean("channel"), bits.argmin(), bits.argmax()
report.add(n_depths=n_depths, n_components=n_components, n_acoustic=n_acoustic)
for name, line in {"best": heard["score"][best], "worst": heard["score"][worst]}.items():
    report.add(**{f"{name}_depth": depths[line.to_numpy().argmax()], f"{name}_end": line[-1]})
report

# %% mystnb={"image": {"alt": "Partial correlation beyond the baseline by relative depth of the layer, one line a member of the family, and a gray band of what one shifted copy of the responses gives."}}
frame = heard["score"].rename("score").to_dataframe().reset_index()
lucky = heard["null"][:, 0]
chance = pd.DataFrame({"layer": depths, "low": lucky.min("model"), "high": lucky.max("model")})
text = {"xlabel": "relative depth of the layer", "ylabel": "beyond sound (partial r)", "title": "Virtual cohort"}
report.figure("profile", plotting.lines(frame, "layer", "score", hue="model", chance=chance, **text))

# %% [markdown]
# *What to see:* the mean over electrodes, one line a member. At depth 0 all lines meet, because damage spares the input embedding. The line of the best
# member is highest at depth {glue:text}`best_depth:.2f` and ends at {glue:text}`best_end:.2f` in the last layer; that of the worst is highest at
# {glue:text}`worst_depth:.2f` and ends at {glue:text}`worst_end:.2f`.
#
# From these we take three numbers for each electrode: the score of its *best layer*, less that of a shifted copy; the score at a depth that is *fixed in
# advance*, the one nearest to two thirds, which leaves nothing to choose and allows {glue:text}`n_shifts` shifted copies; and the depth of its *peak*.

# %%
at = round(2 / 3 * (n_depths - 1))
deep = xr.DataArray(np.stack([components[spec][at] for spec in family]), dims=("model", "word", "feature"))
ask = {"orders": orders, "confounds": confounds, **folds}
fixed = xr.concat([brain_score(deep, responses[:, here], **ask) for here in (mine, ~mine)], "channel")
measures = {
    "fixed depth": (fixed["score"], fixed["null"]),
    "best layer": (scores["score"].max("layer"), scores["null"].max("layer").transpose("copy", ...)),
    "peak depth": (scores["score"].idxmax("layer"), None),
}

# %% [markdown]
# ## A correlation over models that are alike
#
# Now the correlation over members of performance with the mean score. Four things would give too narrow an interval, or a correlation out of nothing:
#
# - **Shared luck of models.** Members are alike, so the noise of an electrode favours or harms them together. A textbook p-value takes the points for
#   independent. `performance_correlation` therefore draws *people*, each with all members.
# - **Another dozen models.** Members are drawn as well, somewhat fewer than there are each time: with so few, a plain {term}`bootstrap` gives intervals that
#   are too narrow {cite:p}`hesterberg2015`.
# - **Features that score by themselves.** The best of several layers is above zero by luck, more so when layers differ more. The score that each model gets
#   on {term}`circular shifts <circular shift>` of the responses, the same for all people and models, is subtracted.
# - **Shared luck of people.** They heard the same words. A description that fits these by luck fits everyone. An interval over people is their precision *for
#   these words*; whether the relation is one with the text is asked by `p`, the share of shifted copies with a slope at least as steep.


# %%
def over_family(name, here, performance=-bits):
    value, chance = (part if part is None else part[..., here] for part in measures[name])
    found = performance_correlation(performance, value, subject[here], null=chance, seed=seed)
    return pd.Series(found._asdict()).drop(["n_models", "n_people"])


table = pd.DataFrame({name: over_family(name, mine) for name in measures}).T
table.loc["fixed depth, minimal pairs"] = over_family("fixed depth", mine, grammar)
table.loc["best layer", "p"] = np.nan  # one shifted copy is too few for it
table.loc["fixed depth, no language"] = nothing = over_family("fixed depth", ~mine)
table.style.format("{:+.2f}").format("{:.3f}", subset="p", na_rep="-")

# %%
above = fixed["score"] - fixed["null"].mean("copy")
frames = {}
for name, here in {"language and sound": mine, "sound only": ~mine}.items():
    people = above[:, here].groupby("subject").mean().transpose("subject", "model")
    each = stats.t_interval(people.to_numpy())
    frames[name] = pd.DataFrame({"performance": -bits, "score": each.estimate, "low": each.low, "high": each.high})
frame = pd.concat(frames, names=["cohort"]).reset_index("cohort")

# %% mystnb={"image": {"alt": "Score beyond sound at the fixed depth against minus bits per word, one point a member of the family with its interval over people, in two colours for the cohorts with and without language."}}
text = {"xlabel": performing, "ylabel": "beyond sound (partial r)", "title": "One family, virtual cohorts, fixed depth"}
report.figure("scores", plotting.points(frame, "performance", "score", hue="cohort", levels={"no gain": 0}, **text))

# %%
main = table.loc["fixed depth"]
report.add(main=stats.Estimate(main["r"], main["low"], main["high"]), main_p=main["p"], n_shifts=n_shifts)
report.add(least_p=1 / (1 + n_shifts), n_used_electrodes=mine.sum(), n_used_people=len(np.unique(subject[mine])))
report.add(fixed_base=fixed["score"][0, mine].mean(), fixed_worst=fixed["score"][worst, mine].mean())
report.claim("with language planted, the slope over performance is beyond shifted copies", main["p"] <= 0.05)
report.claim("with language planted, the interval of r excludes 0", main["low"] > 0)
report.claim("better members peak later", table.loc["peak depth", "low"] > 0)
report

# %% [markdown]
# *What to see:* {glue:text}`n_used_electrodes` responsive electrodes of {glue:text}`n_used_people` people; bars are 95 % intervals over people. With language
# (upper points), the score at the fixed depth falls from {glue:text}`fixed_base:.2f` for the intact model to {glue:text}`fixed_worst:.2f` for the worst; its
# correlation with performance is {glue:text}`main` (p = {glue:text}`main_p:.3f`; the least that so many shifts can give is {glue:text}`least_p:.3f`). The
# table has the other measures, and the range of r when one member is left out. Peaks of better members lie *later* (`peak depth`), the opposite of what the
# study reports for separate models: where damage leaves little, the best layer is the input that it spared.
#
# **What is true by construction.** The cohort was planted from layers of the intact model. A copy with less of that model in it must predict it less well:
# this correlation was put in. That it comes out shows that the method can see such a relation through noise. It shows nothing about brains, nor that
# *performance* is what counts: had we planted from a damaged member, that one would win (exercise 2). Nor is a family of damaged copies a test of whether
# better training makes models more brain-like.
#
# ## The same people without language
#
# If our method is sound, the second cohort must show nothing. First the score a careless analyst would take, **without** the acoustic baseline; then the
# slope beyond sound.

# %%
careless = []
for k in (best, np.argsort(bits)[len(family) // 2], worst):
    fit = brain_score(components[family[k]][::4], responses[:, ~mine], **folds)
    careless.append(float(fit["score"].max("layer").mean()))
report.add(careless_low=min(careless), careless_high=max(careless))
report.add(nothing_r=nothing["r"], nothing_p=nothing["p"], nothing_gain=abs(above[:, ~mine].mean("channel")).max())
report.claim("without language there is a score of 0.05 or more if sound is not accounted for", min(careless) > 0.05)
report.claim("without language no slope beyond chance was found", nothing["p"] > 0.05)
report

# %% [markdown]
# *What to see:* electrodes without any language have a "brain score" of {glue:text}`careless_low:.2f` or more if sound is not accounted for, with the best,
# the middle and the worst member alike: who knows the word knows much of its sound. Beyond sound (lower points of the figure) the mean, chance subtracted, is
# at most {glue:text}`nothing_gain:.3f`, and its correlation with performance is {glue:text}`nothing_r:+.2f`, p = {glue:text}`nothing_p:.3f`: no slope beyond
# chance.
#
# ## How often is each test fooled?
#
# One cohort is a single draw. Cohorts that hold nothing of the models tell how often a test errs: here {glue:text}`n_noise` of five people each, noise of
# which half is shared by the people, for this very family.

# %%
rng = np.random.default_rng(seed)
noise = rng.standard_normal((len(words), n_noise, 5)) + rng.standard_normal((len(words), n_noise, 1))
noise = xr.DataArray(noise.reshape(len(words), -1), dims=("word", "channel"))
middle = xr.DataArray(deep.to_numpy(), dims=("layer", "word", "feature"))
lucky = brain_score(middle, noise, **folds)["score"].to_numpy().reshape(len(family), n_noise, 5)
textbook = [pearsonr(-bits, lucky[:, k].mean(1)).pvalue < 0.05 for k in range(n_noise)]
ours = [performance_correlation(-bits, lucky[:, k], seed=seed) for k in range(n_noise)]
low, high = binom.interval(0.95, n_noise, 0.05)
report.add(n_noise=n_noise, rate_low=int(low), rate_high=int(high), rate_textbook=sum(textbook))
report.add(rate_ours=sum(not one.low <= 0 <= one.high for one in ours))
report.claim("a textbook p-value errs too often, the interval does not", sum(textbook) > high >= report["rate_ours"])
report

# %% [markdown]
# Each test promises 5 in 100; by luck {glue:text}`rate_low` to {glue:text}`rate_high` of {glue:text}`n_noise` are to be expected. A textbook p-value finds
# {glue:text}`rate_textbook`, too many, the interval over people and models {glue:text}`rate_ours`. Kept with the book are {glue:text}`sim_n` cohorts of eight
# people for each share of variance that people have in common.

# %%
folder = Path("book" if Path("book").is_dir() else "../book")
simulated = pd.read_csv(folder / "simulations" / "performance_correlation.csv")
simulated[["test", "shared by people"]] = simulated["simulation"].str.split(", shared ", expand=True)
report.add(sim_n=simulated["n"].iloc[0])
simulated.pivot(index="test", columns="shared by people", values="rate").style.format("{:.1%}")

# %% [markdown]
# Student's t over people is fooled where people share what they heard; the interval over people *and* models and p of the slope keep about their 5 %. What
# these cohorts test is autocorrelated noise and features that lose dimensions with damage; not every way to go wrong.
#
# ## Do better models follow the hierarchy better?
#
# {cite:t}`mischler2024` also report that the peak layers of better models follow the distance from primary auditory cortex more closely. We take the
# {term}`rank correlation <Spearman correlation>` of peak depth with distance over electrodes, member by member. But a model that predicts worse has noisier
# peaks, and noise alone breaks their order. The control: noise is added to the responses, the same for all members, until each predicts no better than the
# worst (mean score of the best layer), and everything is fitted again.

# %%
distance = data.channels["distance_pmc"].to_numpy()[chosen]
near = np.isfinite(distance)
ask = {"confounds": confounds, "seed": seed, **folds}
control = alignment_under_noise(components, responses[:, mine][:, near], distance[near], **ask)
kinds = {"as they are": control["rho"][:, 0].to_numpy(), "all predict equally": control["equal"].to_numpy()}
slopes = [np.polyfit(-bits, rho, 1)[0] for rho in kinds.values()]
for name, rho in zip(("rho", "rho_equal"), kinds.values(), strict=True):
    report.add(**{f"{name}_best": rho[best], f"{name}_worst": rho[worst], f"{name}_r": pearsonr(-bits, rho).statistic})
report.add(rho_target=control["score"][:, 0].min(), rho_left=100 * slopes[1] / slopes[0])
report.claim("better members follow the distance better as they are", slopes[0] > 0)
falls = (control["rho"][best, [0, -1]].diff("noise") < 0).item()
report.claim("noise alone lowers the best member's alignment", falls)
control[["score", "rho"]].isel(model=best, drop=True).to_dataframe().T.round(2)

# %% mystnb={"image": {"alt": "Rank correlation of peak depth with distance against minus bits per word, one point a member, in two colours: as they are, and with noise that makes all members predict equally well."}}
frame = pd.DataFrame(kinds).assign(performance=-bits).melt("performance", var_name="kind", value_name="rho")
text = {"xlabel": performing, "ylabel": "alignment (rho)", "title": "Peak layers along the cortex, virtual cohort"}
report.figure("hierarchy", plotting.points(frame, "performance", "rho", hue="kind", **text))

# %% [markdown]
# *What to see:* the peaks of the best member follow the distance with {glue:text}`rho_best:+.2f`, those of the worst with {glue:text}`rho_worst:+.2f`, and
# over members this alignment goes with performance (r = {glue:text}`rho_r:+.2f`). With noise, when all predict with {glue:text}`rho_target:.2f`, the best
# member has {glue:text}`rho_equal_best:+.2f` left and the worst {glue:text}`rho_equal_worst:+.2f`: {glue:text}`rho_left:.0f` % of the slope remain (r =
# {glue:text}`rho_equal_r:+.2f`). So the hierarchy of members is not one of noise; damage itself disorders the layers, as was planted. But the table shows the
# best member alone: where scores are low, noise by itself can make a hierarchy of models. What carries over to other data is the control.
#
# ## Exercises
#
# 1. Components were learned from all words. How much does that change? Learn them inside each training fold instead, for the intact model.
# 2. Plant responses from a *damaged* member and see which member predicts them best. What does that say about the correlation above?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The features of the test words have a say in which directions are kept, the responses have none; scores differ little.
# 2. The member that the responses were planted from predicts them best, though others perform better: a correlation tells what was planted.
# :::

# %% tags=["hide-cell"]
outside = components[family[0]][[n_depths // 2]]
features = layer_features(words, family[0], layers=outside["layer"].to_numpy(), start_token=True, device=device)
own = {**folds, "standardize": True, "n_components": n_components}
for name, x, ask in (("all words", outside, folds), ("training words", features, own)):
    fit = brain_score(x, responses[:, mine], confounds=confounds, **ask)["score"]
    print(f"components from {name}: score {float(fit.mean()):.3f}")

rng, source = np.random.default_rng(seed), 2 * len(family) // 3
planted = zscore(components[family[source]][-3, :, :50].to_numpy()) @ rng.standard_normal((50, 40))
planted = xr.DataArray(zscore(planted) + rng.standard_normal(planted.shape), dims=("word", "channel"))
for k in sorted({0, len(family) // 3, source, len(family) - 1}):
    fit = brain_score(components[family[k]][[-3]], planted, **folds)["score"]
    print(f"{family[k]}: {float(fit.mean()):.3f}", "<- planted from this one" if k == source else "")

# %% [markdown]
# ## What we have shown, and what not
#
# A correlation over models that are alike can be tested so that it keeps its promise, and has to be held against sound and against noise. Nothing here is about
# brains: [the next page](03_better_models_in_people) asks people.
