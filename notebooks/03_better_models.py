# %% [markdown]
# # Do better models predict the brain better?
#
# {cite:t}`mischler2024` report that over twelve models the better ones also predict the brain better, and reach their best prediction in earlier layers. What
# does such a correlation show? We hold performance against planted brain scores, and count how often tests are fooled by responses that hold nothing of models.
#
# :::{admonition} In this chapter
# **You will learn** how to relate performance to brain score over models that are alike; why electrodes without language can have a brain score; and how to
# tell whether worse models follow the cortical hierarchy less, or only more noisily.
#
# **You need** [brain scores](02_layer_alignment), [peak layers](02_layer_order), and the graded family of [the page before](03_what_is_better). **It takes**
# about 20 minutes to read, and some five to run, features computed.
# :::
#
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
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import binom, pearsonr, zscore

from brainalign import datasets, models, plotting, signals, stats
from brainalign.book import Report
from brainalign.features import lesions
from brainalign.features.acoustics import sound_components
from brainalign.features.language import layer_features, n_layers
from brainalign.features.words import leading_components
from brainalign.ridge import ContiguousKFold, cross_validate

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Two cohorts, one with language, and one family
#
# Electrodes are selected as in [the first chapter](01_listening_data), by silence against speech. With the {term}`virtual cohort` comes a second one, **without
# language**: the same people and places, every electrode driven by sound alone. It tells whether our claims can be trusted.
#
# Layers predict each electrode as in chapter 2: {glue:text}`n_depths` of each member, evenly spaced, and of each the {glue:text}`n_components` leading
# {term}`principal components`, so that models have equally many features (learned from all words, but no response: see exercise 1). A baseline enters every
# model without a penalty: {glue:text}`n_acoustic` components of the spectrogram around the word, on two scales, level and energy; its duration; its number of
# letters. A brain score is the {term}`partial correlation` *beyond sound*: of what the baseline leaves of the responses with what the layer adds.

# %%
some = {"n_subjects": n_subjects, "snr": snr, "device": device}
data = datasets.load_listening("virtual", **some)
words, passages = data.words, data.words["passage"].to_numpy()
chosen = signals.speech_responsive(data.signal, words, q=q)["responsive"].to_numpy()
chosen = chosen & (data.channels["subject"] != "").to_numpy()  # the simulated acoustic channels belong to nobody
other = datasets.load_listening("virtual", **some, language=False, controls=False)
sound = (other.truth["kind"] == "sound").to_numpy()
values = np.concatenate([data.responses[:, chosen], other.responses[:, sound]], axis=1)
subject = np.concatenate([data.channels["subject"][chosen], other.channels["subject"][sound]])
responses = xr.DataArray(values, {"subject": ("channel", subject)}, ("word", "channel"))
mine = np.arange(len(subject)) < chosen.sum()
del other  # its signal is large

# %%
confounds = np.column_stack([words["offset"] - words["onset"], words["word"].str.len()]).astype(float)
confounds = np.column_stack([confounds, sound_components(data.audio, words, n_acoustic)])
folds = {"groups": passages, "cv": ContiguousKFold(n_splits, gap=gap), "inner_cv": inner_splits}
folds |= {"alphas": np.logspace(1, 5, 5), "device": device, "standardize": False}
orders = stats.Shifts(n_shifts, min_shift=10, seed=seed).orders(len(words), passages)
family = list(family) or lesions.graded_family(base)
depths, components, scores = np.linspace(0, 1, n_depths), {}, []
for spec in family:
    layers = np.rint(depths * n_layers(spec)).astype(int)
    states = layer_features(words, spec, layers=layers, start_token=True, device=device)
    components[spec] = leading_components(states, n_components)
    fit = cross_validate(components[spec], responses, null=orders[:1], confounds=confounds, **folds)
    scores.append(fit[["partial", "null"]].assign_coords(layer=depths))
label = {spec: "intact" if spec == base else spec.removeprefix(f"{base}@") for spec in family}
scores, pairs = xr.concat(scores, pd.Index(family, name="model")), models.minimal_pairs(n_pairs, seed=seed)
bits = np.array([models.next_word(words, spec, device=device).bits for spec in family])
grammar = np.array([models.minimal_pair_accuracy(pairs, spec, device=device).mean() for spec in family])

# %% mystnb={"image": {"alt": "Partial correlation beyond the baseline by relative depth of the layer, one line a member of the family, and a gray band of what one shifted copy of the responses gives."}}
heard, best, worst = scores.sel(channel=mine).mean("channel"), bits.argmin(), bits.argmax()
report.add(n_depths=n_depths, n_components=n_components, n_acoustic=n_acoustic, n_shifts=n_shifts)
for name, line in {"best": heard["partial"][best], "worst": heard["partial"][worst]}.items():
    report.add(**{f"{name}_depth": depths[line.to_numpy().argmax()], f"{name}_end": line[-1]})
report.claim("at the input embedding all members score alike", float(heard["partial"][:, 0].std()) < 0.001)
frame, lucky = heard["partial"].to_dataframe("score").rename(label).reset_index(), heard["null"][:, 0]
chance = pd.DataFrame({"layer": depths, "low": lucky.min("model"), "high": lucky.max("model")})
text = {"xlabel": "relative depth of the layer", "ylabel": "beyond sound (partial r)", "title": "Virtual cohort"}
report.figure("profile", plotting.lines(frame, "layer", "score", hue="model", chance=chance, **text))

# %% [markdown]
# *What to see:* score over depth, a colour for each member; gray: chance. All meet at depth 0 (damage spares the input embedding). The best peaks at depth
# {glue:text}`best_depth:.2f` and ends with a score of {glue:text}`best_end:.2f`; the worst peaks at {glue:text}`worst_depth:.2f` and ends with one of
# {glue:text}`worst_end:.2f`.
#
# ## A correlation over models that are alike
#
# Each electrode gives the score of its *best layer*, less that of a shifted copy; the score at a depth that is *fixed in advance*, the one nearest to two thirds,
# which leaves nothing to choose and allows {glue:text}`n_shifts` shifted copies; and the depth of its *peak*. Their means are correlated over members with
# performance, minus the bits per word. Four things would give too narrow an interval, or a correlation out of nothing:
#
# - **Shared luck of models.** An electrode's noise favours or harms members together: *people* are drawn, each with all members. No textbook p-value does so.
# - **Another dozen models.** Members are drawn, too, and fewer than there are: a plain {term}`bootstrap` of so few is too narrow {cite:p}`hesterberg2015`.
# - **Features that score by themselves.** The best of several layers is above zero by luck, more so when layers differ more. Each model's score on
#   {term}`circular shifts <circular shift>` of the responses, the same for all people and models, is subtracted.
# - **Shared luck of people.** They heard the same words, and a description that fits these by luck fits everyone. An interval over people is their precision
#   *for these words*; `p` asks whether the relation is with the text: the share of shifted copies with a slope at least as steep (-: one copy, or none).

# %%
at, table = round(2 / 3 * (n_depths - 1)), {}
deep = xr.DataArray(np.stack([components[spec][at] for spec in family]), dims=("model", "word", "feature"))
ask = {"null": orders, "confounds": confounds, **folds}
fixed = xr.concat([cross_validate(deep, responses[:, here], **ask) for here in (mine, ~mine)], "channel")
asked = {
    "fixed depth": (-bits, fixed["partial"], fixed["null"], mine),
    "best layer": (-bits, scores["partial"].max("layer"), scores["null"].max("layer").transpose("draw", ...), mine),
    "peak depth": (-bits, scores["partial"].idxmax("layer"), None, mine),
    "fixed depth, minimal pairs": (grammar, fixed["partial"], fixed["null"], mine),
    "fixed depth, no language": (-bits, fixed["partial"], fixed["null"], ~mine),
}
for name, (performance, value, chance, here) in asked.items():
    options = {"null": None if chance is None else chance[..., here], "seed": seed}
    table[name] = models.performance_correlation(performance, value[:, here], subject[here], **options)
table = pd.DataFrame(table.values(), table.keys()).set_axis(["r", "p", "r without one member, from", "to"], axis=1)
table.loc["best layer", "p"] = np.nan  # one shifted copy is too few for it
table.style.format("{:+.2f}").format("{:.3f}", subset="p", na_rep="-")

# %% mystnb={"image": {"alt": "Score beyond sound at the fixed depth against minus bits per word, one point a member of the family with its interval over people, in two colours for the cohorts with and without language."}}
above, frames = fixed["partial"] - fixed["null"].mean("draw"), {}
for name, here in {"language and sound": mine, "sound only": ~mine}.items():
    each = stats.mean_over_subjects(above[:, here].T, subject[here])
    frames[name] = pd.DataFrame({"performance": -bits, "score": each.value, "low": each.low, "high": each.high})
frame = pd.concat(frames, names=["cohort"]).reset_index("cohort")
text |= {"xlabel": "performance (minus bits per word)", "title": "One family, virtual cohorts, fixed depth"}
report.figure("scores", plotting.points(frame, "performance", "score", hue="cohort", levels={"no gain": 0}, **text))

# %%
main, nothing, careless = table.loc["fixed depth"], table.loc["fixed depth, no language"], []
report.add(main=main["r"], main_p=main["p"], nothing_r=nothing["r"].value, nothing_p=nothing["p"])
report.add(least_p=1 / (1 + n_shifts), n_used_electrodes=mine.sum(), n_used_people=len(np.unique(subject[mine])))
report.add(fixed_base=fixed["partial"][0, mine].mean(), fixed_worst=fixed["partial"][worst, mine].mean())
report.claim("with language planted, the slope over performance is beyond shifted copies", main["p"] <= 0.05)
report.claim("with language planted, the interval of r excludes 0", main["r"].low > 0)
report.claim("better members peak later", table.loc["peak depth", "r"].low > 0)
for k in (best, np.argsort(bits)[len(family) // 2], worst):  # without language, and without the acoustic baseline
    fit = cross_validate(components[family[k]][::4], responses[:, ~mine], **folds)
    careless.append(float(fit["score"].max("layer").mean()))
report.add(careless_low=min(careless), nothing_gain=abs(above[:, ~mine].mean("channel")).max())
report.claim("without language there is a score of 0.05 or more if sound is not accounted for", min(careless) > 0.05)
report.claim("without language no slope beyond chance was found", nothing["p"] > 0.05)
report

# %% [markdown]
# *What to see:* score over performance, a point for each member, its interval over people ({glue:text}`n_used_electrodes` responsive electrodes of
# {glue:text}`n_used_people` people). With language (upper points), it falls from {glue:text}`fixed_base:.2f` for the intact model to
# {glue:text}`fixed_worst:.2f` for the worst; its correlation with performance is {glue:text}`main` (p = {glue:text}`main_p:.3f`; the least possible is
# {glue:text}`least_p:.3f`). Peaks of better members lie *later*, unlike in the study: where damage leaves little, the input is probably best.
#
# **What is true by construction.** The cohort was planted from layers of the intact model, which a copy with less of that model in it must predict less well.
# That the method sees this through noise shows nothing about brains, nor that *performance* counts: a damaged member would win, had we planted it (exercise 2).
#
# **The same people without language** must show nothing. If sound is not accounted for, they have a "brain score" of {glue:text}`careless_low:.2f` or more, with
# the best, the middle and the worst member alike: who knows the word knows much of its sound. Beyond sound and chance (lower points) it is at most
# {glue:text}`nothing_gain:.3f`; correlated with performance, {glue:text}`nothing_r:+.2f`, p = {glue:text}`nothing_p:.3f`: no slope beyond chance.
#
# ## How often is each test fooled?
#
# One cohort is a single draw. Here are {glue:text}`n_noise` that hold nothing of the models, of five people each: noise, half of it shared by the people.

# %%
rng = np.random.default_rng(seed)
noise = rng.standard_normal((len(words), n_noise, 5)) + rng.standard_normal((len(words), n_noise, 1))
noise = xr.DataArray(noise.reshape(len(words), -1), dims=("word", "channel"))
lucky = cross_validate(deep, noise, **folds)["score"].to_numpy().reshape(len(family), n_noise, 5)
textbook = [pearsonr(-bits, lucky[:, k].mean(1)).pvalue < 0.05 for k in range(n_noise)]
ours = [models.performance_correlation(-bits, lucky[:, k], seed=seed) for k in range(n_noise)]
low, high = binom.interval(0.95, n_noise, 0.05)
report.add(n_noise=n_noise, rate_low=int(low), rate_high=int(high), rate_textbook=sum(textbook))
report.add(rate_ours=sum(not one.r.low <= 0 <= one.r.high for one in ours))
report.claim("a textbook p-value errs too often, the interval does not", sum(textbook) > high >= report["rate_ours"])
report

# %% [markdown]
# Each test promises 5 in 100; by luck {glue:text}`rate_low` to {glue:text}`rate_high` of {glue:text}`n_noise` are to be expected. A textbook p-value finds
# {glue:text}`rate_textbook`, too many, the interval over people and models {glue:text}`rate_ours`. [More cohorts](../how_tested.md) show that Student's t over
# people is fooled where people share what they heard, while p of the slope and the interval over people *and* models keep about their 5 %. That is tested
# with autocorrelated noise and features that lose dimensions with damage; not every way to go wrong.
#
# ## Do better models follow the hierarchy better?
#
# {cite:t}`mischler2024` also report that the peak layers of better models follow the distance from primary auditory cortex more closely (here, by
# {term}`rank correlation <Spearman correlation>` over electrodes). But a model that predicts worse has noisier peaks, and noise alone breaks their order. So noise
# is added to the responses, the same for all members, until each predicts no better than the worst (mean score of the best layer), and all is fitted again.

# %%
distance = data.channels["distance_pmc"].to_numpy()[chosen]
near, ask = np.isfinite(distance), {"confounds": confounds, "seed": seed, **folds}
control = models.alignment_under_noise(components, responses[:, mine][:, near], distance[near], **ask)
kinds = {"as they are": control["rho"][:, 0].to_numpy(), "all predict equally": control["equal"].to_numpy()}
slopes = [np.polyfit(-bits, rho, 1)[0] for rho in kinds.values()]
for name, rho in zip(("rho", "rho_equal"), kinds.values(), strict=True):
    report.add(**{f"{name}_best": rho[best], f"{name}_worst": rho[worst], f"{name}_r": pearsonr(-bits, rho).statistic})
report.add(rho_target=control["score"][:, 0].min(), rho_left=100 * slopes[1] / slopes[0])
report.claim("better members follow the distance better as they are", slopes[0] > 0)
report.claim("better members follow it better where all predict equally well, too", slopes[1] > 0)
report.claim("noise alone lowers the best member's alignment", np.diff(control["rho"][best, [0, -1]])[0] < 0)
control[["score", "rho"]].isel(model=best, drop=True).to_dataframe().T.round(2)

# %% mystnb={"image": {"alt": "Rank correlation of peak depth with distance against minus bits per word, one point a member, in two colours: as they are, and with noise that makes all members predict equally well."}}
frame = pd.DataFrame(kinds).assign(performance=-bits).melt("performance", var_name="kind", value_name="rho")
text |= {"ylabel": "alignment (rho)", "title": "Peak layers along the cortex, virtual cohort"}
report.figure("hierarchy", plotting.points(frame, "performance", "rho", hue="kind", **text))

# %% [markdown]
# *What to see:* alignment over performance, members as they are and at equal scores (where one colour is seen, the other lies below). The peaks of the best
# member follow the distance with {glue:text}`rho_best:+.2f`, those of the worst with {glue:text}`rho_worst:+.2f` (r = {glue:text}`rho_r:+.2f` with
# performance). With noise, when all predict with {glue:text}`rho_target:.2f`, it is {glue:text}`rho_equal_best:+.2f` and {glue:text}`rho_equal_worst:+.2f`:
# {glue:text}`rho_left:.0f` % of the slope remain (r = {glue:text}`rho_equal_r:+.2f`). So noise alone does not make this hierarchy of members: damage itself
# disorders layers. But the table (the best member alone) shows that more and more noise lowers the alignment by itself, and so could make one.
#
# ## Exercises
#
# 1. Components were learned from all words. How much does that change? Learn them inside each training fold instead, for the intact model.
# 2. Plant responses from a *damaged* member and see which member predicts them best. What does that say about the correlation above?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The test words' features have a say in which directions are kept: {glue:text}`from_all:.3f`, and {glue:text}`from_training:.3f` with training words only.
# 2. The member that was planted predicts them best, though {glue:text}`n_better` others perform better: a correlation tells what was planted.
# :::

# %% tags=["hide-cell"]
outside = components[family[0]][[n_depths // 2]]
features = layer_features(words, family[0], layers=outside["layer"].to_numpy(), start_token=True, device=device)
own = {**folds, "standardize": True, "n_components": n_components}
for name, x, ask in (("all", outside, folds), ("training", features, own)):
    fit = cross_validate(x, responses[:, mine], confounds=confounds, **ask)["partial"]
    report.add(**{f"from_{name}": fit.mean()})
rng, source = np.random.default_rng(seed), family[2 * len(family) // 3]
planted = zscore(components[source][-3, :, :50].to_numpy()) @ rng.standard_normal((50, 40))
planted = xr.DataArray(zscore(planted) + rng.standard_normal(planted.shape), dims=("word", "channel"))
of_members = [float(cross_validate(components[spec][[-3]], planted, **folds)["score"].mean()) for spec in family]
report.add(n_better=(bits < bits[family.index(source)]).sum())
report.claim("the member that was planted predicts best", family[np.argmax(of_members)] == source)
pd.Series(of_members, label.values(), name=f"planted from {label[source]}").round(3).to_frame()

# %% [markdown]
# ## What we have shown, and what not
#
# A correlation over models that are alike can be tested so that it keeps its promise, and has to be held against sound and against noise. Nothing here is about
# brains: [the next page](03_better_models_in_people) asks people.
