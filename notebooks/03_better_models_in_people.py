# %% [markdown]
# # Do better models predict people better?
#
# People hear one story. A family of language models, one intact and the others damaged, is held against their responses. Does a model that predicts words worse
# also predict people worse? And does the relation stand out from what the same models give when their descriptions belong to other words?
#
# :::{admonition} In this chapter
# **You will learn** how to test a slope over models where all people heard one story; what the input embedding alone, which damage spares, reaches; and where
# models stand that predict no next word at all.
#
# **You need** [the graded family](03_what_is_better), [the method](03_better_models), and [rolled content](02_layer_alignment_in_people). **It takes** about 12
# minutes to read, and some five to run, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "alice"  # a story heard by people: "alice", "podcast" or a folder of your own
dataset_options: dict = {}  # passed to datasets.load_listening
base: str = "smollm2-135m"  # the intact model, an asset, a folder or a hub name
family: list = []  # models of graded performance; empty: the base and its damages
outsiders: list = ["all-minilm-l6-v2", "all-mpnet-base-v2"]  # bidirectional models
outsider_context: int = 16  # words that a bidirectional model sees, the word included
n_pairs: int = 10  # minimal pairs of each phenomenon
n_blocks: int = 4  # blocks of the cross-validation, each cleaned by itself
gap: int = 10  # volumes (2 s each) or words left out between training and test
skip: int = 10  # volumes or words left out at the start: the onset of the story
confounds: str = "rate"  # "rate" or "strong" (sound, pauses and all else that is known), see story.story
n_rolls: int = 100  # rolls of the story's contents along its words, for chance
seed: int = 0  # of the pairs, the rolls and the intervals
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/03_better_models_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import pearsonr

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.features import lesions
from brainalign.features.language import layer_features, n_layers
from brainalign.models import minimal_pair_accuracy, minimal_pairs, next_word, performance_correlation
from brainalign.ridge import content_null, cross_validate, word_sweep
from brainalign.simulated.speech import naplib_speech
from brainalign.story import PEOPLE, story

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Performance, people, and chance
#
# Performance is that of the page [What is a better model?](03_what_is_better): minus the bits per word on a text that nobody here heard, with minimal pairs as
# a second opinion. By default the people are those of the chapters before (*Alice*, {cite:t}`brennan2016`; one story of twelve minutes, six language regions),
# and the confounds word rate and length (of responses to single words, as electrodes give, the word's length, its duration and the pause before it).
#
# A score is the {term}`partial correlation` beyond the confounds, of each channel's better one of two layers, a third and two thirds of the way, which were
# fixed in advance. All people heard one story, so that no interval over people tells whether a score belongs to its text {cite:p}`feghhi2024,hadidi2025`.
# Chance comes from rolling the *contents* along the words ({term}`content null`), {glue:text}`n_rolls` times, all models alike, and fitting again.
#
# {term}`Bidirectional models <bidirectional model>` come along. They predict no next word and have no performance on our scale; they see the
# {glue:text}`context` words up to each word. The input embedding comes, too: layer 0 of the whole family, which damage spares. There are two levels: the
# average brain (mean over regions), where all people have the same regions, and the mean over {glue:text}`n_people` people of each one's mean.

# %%
told = story(datasets.load_listening(dataset, **dataset_options), n_blocks, gap=gap, skip=skip, confounds=confounds)
family, measure = list(family) or lesions.graded_family(base), "next word (minus bits)"
words, pairs, performance = naplib_speech().words, minimal_pairs(n_pairs, seed=seed), pd.DataFrame(index=family)
performance[measure] = [-next_word(words, spec, device=device).bits for spec in family]
performance["minimal pairs"] = [minimal_pair_accuracy(pairs, spec, device=device).mean() for spec in family]
report.add(n_people=len(told.subjects), n_members=len(family), n_rolls=n_rolls, context=outsider_context)
options, found = {**told.options, "alphas": np.logspace(0, 6, 7), "device": device}, {}
for name in [*family, *outsiders, "input embedding"]:
    spec = family[0] if name == "input embedding" else name
    layers = [0] if name == "input embedding" else np.linspace(0, n_layers(spec), 4).round().astype(int)[1:3]
    context = outsider_context if name in outsiders else None
    states = layer_features(told.words, spec, layers=layers, context=context, start_token=True, device=device)
    fit = cross_validate(word_sweep(states, told.design), told.responses, standardize=False, **options)["partial"]
    rolled = content_null(states, told.design, told.heads, n_rolls=n_rolls, seed=seed, **options)
    found[name] = fit.max("layer"), rolled.max("layer")  # of each channel's better layer
scores, null = (xr.concat(parts, pd.Index(list(found), name="model")) for parts in zip(*found.values(), strict=True))
level, rolls = told.summary(scores), told.summary(null).transpose("level", "draw", "model")
p = stats.p_values(level, rolls)  # of each score against its own rolls
table = xr.Dataset({"score": level, "p": p}).to_dataframe()[["score", "p"]].unstack("level")
label = {spec: "intact" if spec == base else spec.removeprefix(f"{base}@") for spec in family}
table.reindex(list(found)).rename(label).style.format("{:.3f}")

# %% mystnb={"image": {"alt": "Partial correlation beyond the confounds against minus bits per word, one panel a level, a line through the members of the family with a band of intervals, and a gray band of rolled contents from their mean to their 95th percentile."}}
ranked, frames, bands = performance[measure].sort_values(), [], []
each = told.interval(scores.sel(model=ranked.index))
for k, name in enumerate(told.levels):
    lucky, place = rolls.sel(level=name, model=ranked.index), {"performance": ranked, "level": name}
    frames.append(pd.DataFrame({**place, "score": each.value[k], "low": each.low[k], "high": each.high[k]}))
    bands.append(pd.DataFrame({**place, "low": lucky.mean("draw"), "high": lucky.quantile(0.95, "draw")}))
text = {"xlabel": "performance (minus bits per word)", "ylabel": "beyond confounds (partial r)"}
text |= {"col": "level", "sharey": False, "chance": pd.concat(bands), "title": f"Real people ({told.name}): one family"}
report.figure("family", plotting.lines(pd.concat(frames), "performance", "score", **text))

# %% [markdown]
# *What to see:* score over performance, a panel for each level. Gray is what rolled contents give, from mean to 95th percentile; the band around the line is an
# interval over people *for this story*, precision and no evidence. Do better members predict better? `p` is the share of rolls, all members rolled alike, with
# a slope at least as steep; the least possible is {glue:text}`least_p:.3f`.

# %%
slopes = {}
for name in told.levels:
    group, unit = ("people", "subject") if name == PEOPLE else ("average", "region")
    value, chance = (part[..., part["group"].to_numpy() == group].sel(model=family) for part in (scores, null))
    ask = {"null": chance.transpose("draw", "model", "channel"), "seed": seed}
    for by in performance:
        slopes[name, by] = performance_correlation(performance[by], value, value[unit], **ask)
pd.DataFrame(slopes.values(), slopes.keys()).set_axis(["r", "p", "r without one member, from", "to"], axis=1).round(3)

# %% mystnb={"image": {"alt": "Histogram of the slopes over performance that rolled contents give, one panel a level, and a line at the observed slope."}}
weights = xr.DataArray(performance[measure] - performance[measure].mean(), dims="model")
steepness, draws = (((part.sel(model=family) * weights).sum("model") / (weights**2).sum()) for part in (level, rolls))
text = {"xlabel": "slope (partial r per bit)", "title": f"Real people ({told.name}): slope over the family"}
draws = draws.transpose("draw", "level").to_pandas()
report.figure("slopes", plotting.null(draws, steepness.to_series().to_dict(), counted="rolls", **text))

# %%
first, first_p, own_p = level.isel(level=0), p.isel(level=0), float(p.sel(model=family[0]).max())
top, people, worst = slopes[told.levels[0], measure], slopes[PEOPLE, measure], ranked.index[0]
for name, model in {"base": family[0], "worst": worst, "input": "input embedding"}.items():
    report.add(**{f"bold_{name}": first.sel(model=model), f"bold_{name}_p": first_p.sel(model=model)})
report.add(bold_average=top.r, bold_p=top.p, bold_person=people.r, bold_person_p=people.p, least_p=1 / (1 + n_rolls))
report.claim("the intact model's score is beyond its own rolls, at every level", own_p <= 0.05)
unsure = all(one.r.low <= 0 <= one.r.high for one in (top, people))
report.claim("both intervals of the correlation, over members and regions or people, include 0", unsure)
of = {by: [slopes[name, by].p for name in told.levels] for by in performance}
report.claim("the slope over next-word performance is beyond chance, at every level", max(of[measure]) <= 0.05)
report.claim("with minimal pairs as performance no slope is beyond chance", min(of["minimal pairs"]) > 0.05)
lowest = family[first.sel(model=family).to_numpy().argmin()]
report.add(lowest=label[lowest].replace("intact", "the intact model"), n_worse=(ranked < ranked[lowest]).sum())
report.claim("the lowest score is not that of the member that predicts words worst", lowest != worst)
report.add(n_below_input=(first.sel(model=family) < first.sel(model="input embedding")).sum())
report.add(n_below_outsider=(first.sel(model=family) < first.sel(model=outsiders).min()).sum())
report.claim("each bidirectional model lies above some member", report["n_below_outsider"] > 0)
report

# %% [markdown]
# *What to see:* slopes of rolls, counted, and a line at the observed one. In the average brain (the first level) the intact model reaches
# {glue:text}`bold_base:.2f`, beyond its own rolls (p = {glue:text}`bold_base_p:.3f`), the member that predicts words worst {glue:text}`bold_worst:.2f` (p =
# {glue:text}`bold_worst_p:.3f`). The slope over performance is steeper than rolled contents give (p = {glue:text}`bold_p:.3f`), as in the mean of people (p =
# {glue:text}`bold_person_p:.3f`). But the correlation of score and performance is {glue:text}`bold_average` over regions and members, {glue:text}`bold_person`
# over other people and members, for this story: both intervals include 0. That family shows a relation; others need not.
#
# **How far does that go?** With minimal pairs as performance no slope is beyond chance. Nor is the order that of performance: the lowest score in the average
# brain is that of {glue:text}`lowest`, though {glue:text}`n_worse` others predict words worse. And the input embedding alone, which every member has, reaches
# {glue:text}`bold_input:.2f` (p = {glue:text}`bold_input_p:.3f`), a higher score than {glue:text}`n_below_input` of the {glue:text}`n_members` members.
#
# The bidirectional models, trained to embed sentences, each lie above {glue:text}`n_below_outsider` of the members or more in the average brain: predicting
# words well is not needed for such a score. Nor does a slope say that prediction is what brains do: features that are learned to predict words serve much else
# {cite:p}`antonello2024`. And all of this rests on one story.
#
# ## Exercise
#
# What would a textbook p-value say? Take the scores of rolled contents, which belong to other words, as if they were data, and count how often their
# correlation with performance over the members is "significant" (p < .05).
#
# :::{admonition} Solution
# :class: dropdown
# In the mean of people {glue:text}`textbook:.0f` % of the rolls, where 5 % are promised: members are alike and share the luck of each roll.
# :::

# %% tags=["hide-cell"]
found = [[pearsonr(performance[measure], one).pvalue < 0.05 for one in part] for part in rolls.sel(model=family).values]
called = pd.Series(100 * np.mean(found, axis=1), told.levels, name="significant (% of rolls)")
report.add(textbook=called[PEOPLE])
report.claim("a textbook p-value calls too many rolled contents significant in the mean of people", called[PEOPLE] > 8)
called.round(1).to_frame()

# %% [markdown]
# ## What we have shown, and what not
#
# Along one family of damaged copies real people follow a model's loss of next-word skill beyond chance, if not in the order of that skill: what was damaged
# seems to matter, too. Whether better-*trained* models are more brain-like takes models that were trained separately.
#
# ## Run it on your own data
#
# A folder with a story that people heard (`brainalign check my_folder` tells what is missing), and models from the hub. With independent models, use the
# published averages, too (`average(published())`), and see whether width or size (`lesions.registry()`) would explain the order as well.
#
# ```bash
# papermill notebooks/03_better_models_in_people.ipynb mine.ipynb -p dataset my_folder -p device cuda -p results my_results \
#   -y 'family: [mistralai/Mistral-7B-v0.1, EleutherAI/pythia-6.9b, facebook/opt-6.7b, tiiuae/falcon-7b, mosaicml/mpt-7b]'
# ```
#
# ## What the paper found
#
# {cite:t}`mischler2024` report that over twelve models of about seven billion parameters performance on language benchmarks correlates with brain score (r =
# .92, as given in a signed public review of an earlier version), and that better models reach their best prediction in earlier layers and follow the cortical
# hierarchy more closely. (The article is behind a paywall; open sources do not say which benchmarks, or how averaged.) Their electrodes were intracranial,
# their models separate: this chapter neither repeats nor contradicts their finding.
