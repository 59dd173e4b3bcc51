# %% [markdown]
# # How much of the story?
#
# Does a language model that has heard the whole story so far describe the brain of a listener better than one that hears one word at a time?
# {cite:t}`mischler2024` report that context makes models and cortex alike. We ask people who heard one story, by default *Alice* {cite:p}`brennan2016`.
#
# :::{admonition} In this chapter
# **You will learn** what limited context adds to what is known of words without a language model, and how to tell a gain by more context from chance.
#
# **You need** [exact windows](05_context) and [a baseline and rolls](02_layer_alignment_in_people). **It takes** about 12 minutes to read, and two to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "alice"  # "alice", "podcast", or a folder of your own: one text that all people heard
dataset_options: dict = {}  # passed to datasets.load_listening
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
contexts: list = [1, 2, 4, 8, 16, None]  # words, the word included; None: all so far
n_depths: int = 4  # layers: the middles of so many equal parts of the model
n_blocks: int = 6  # blocks of the recording, each predicted from the others
gap: int = 10  # samples (volumes or words) left out between training and test
skip: int = 10  # samples left out at the start: the onset of the story
confounds: str = "strong"  # what layers have to add to: "strong", or "rate" for word rate and length alone
n_rolls: int = 100  # rolls of the words' content, for chance
seed: int = 0  # of the rolls
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/05_context_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.features.language import context_features, n_layers
from brainalign.ridge import content_null, cross_validate, word_sweep
from brainalign.story import story

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## What a layer adds, with limited context
#
# `story` cleans each block of the recording by itself and brings along the strong {term}`baseline` of [chapter 2](02_layer_alignment_in_people), all that is
# known of the words without a language model. In each person and region we ask what a layer predicts beyond it, a {term}`partial correlation` of held-out
# predictions. Every word is described {glue:text}`n_contexts` times over, by windows of one word, two, and so on up to all so far, at {glue:text}`n_depths`
# layers: the middles of equal parts of the model. A context has the score of its best layer, picked in each person and region. *Average brain*: responses
# averaged over people, then scored. *Mean of people*: each person scored, then averaged.

# %%
data = datasets.load_listening(dataset, **dataset_options)
told = story(data, n_blocks, gap=gap, skip=skip, confounds=confounds)
contexts = sorted(contexts, key=lambda c: np.inf if c is None else c)
layers = np.unique(np.round((np.arange(n_depths) + 0.5) / n_depths * n_layers(model)).astype(int))
states = context_features(told.words, model, contexts, layers=layers, start_token=True, device=device)
options = told.options | {"alphas": np.logspace(0, 6, 7)}
sweep = word_sweep(states, told.design).stack(sweep=("context", "layer"))
fit = cross_validate(sweep, told.responses, standardize=False, **options)
best = fit["partial"].unstack("sweep").max("layer").transpose("context", "channel")
around = told.interval(best)  # over people, at each level and context
report.add(n_people=around.n, n_contexts=len(contexts), n_depths=len(layers), n_rolls=n_rolls)
report.add(people_one=around[-1, 0], people_all=around[-1, -1])
report

# %% mystnb={"image": {"alt": "Partial correlation of the best layer by context length, in one panel for each level at which the data are summed up, each line with the band of its interval over people."}}
named = {"context": ["all" if c is None else str(c) for c in contexts]}
scores = pd.concat([pd.DataFrame(named | {"level": level} | vars(around[k])) for k, level in enumerate(told.levels)])
title = f"Real responses ({told.name}): what the best layer adds, by context"
text = {"xlabel": "context (words)", "ylabel": "partial correlation (r)", "title": title}
report.figure("by_context", plotting.lines(scores, "context", "value", col="level", **text))

# %% [markdown]
# *What to see:* the score with each context, and its 95 % interval over people for this story. In the mean of {glue:text}`n_people` people it goes from
# {glue:text}`people_one` with one word to {glue:text}`people_all` with all. Zero is no reference: the best of several layers was picked, and luck lifts it.
#
# ## The difference, and what chance makes of it
#
# The question is all context less one word. Chance is what rolled content gives ({term}`content null`): the descriptions with one word and with all context
# are rolled along the words by the same amount, {glue:text}`n_rolls` times, all is fitted again, and the best layer is **picked again on both sides**.

# %%
rolled = content_null(states[[0, -1]], told.design, told.heads, n_rolls=n_rolls, seed=seed, **options)
chance = rolled.max("layer").transpose("draw", "context", "channel")
more, more_chance = (part.isel(context=-1) - part.isel(context=0) for part in (best, chance))


def against_chance(found, draws, names):
    """A row for each name: what was found, and what chance gives."""
    found, draws = np.asarray(found), draws.transpose("draw", ...).to_numpy()
    columns = {"all less one word": found, "chance, mean": draws.mean(0), "chance, 95 %": np.quantile(draws, 0.95, 0)}
    return pd.DataFrame(columns | {"p": stats.p_values(found, draws)}, index=names)


overall = against_chance(told.summary(more), told.summary(more_chance), told.levels)
overall.round(3)

# %%
of_people, others = overall.loc["mean of people"], overall["p"].drop("mean of people")
report.add(gain=of_people["all less one word"], gain_chance=of_people["chance, mean"], gain_p=of_people["p"])
report.add(n_gain=(told.of_subjects(more) > 0).sum(), least_p=1 / (1 + rolled.sizes["draw"]))
report.claim("in the mean of people, all context adds more to one word than chance does", of_people["p"] <= 0.05)
report.claim("in the average brain, no gain beyond chance was found", len(others) > 0 and (others > 0.05).all())
report.claim("rolled content gains by context, too", of_people["chance, mean"] > 0)
report

# %% mystnb={"image": {"alt": "Histograms of the difference between all context and one word over rolls of the words' content, one for each level, with a line at the observed difference."}}
draws = pd.DataFrame(told.summary(more_chance).transpose("draw", "level").values, columns=told.levels)
title = f"Real responses ({told.name}): what context adds, and chance"
text = {"xlabel": "all context less one word (partial r)", "title": title}
report.figure("chance", plotting.null(draws, dict(overall["all less one word"]), **text))

# %% [markdown]
# *What to see:* gray, the differences that rolled content gives; blue, what was found. In the mean of people all context adds more to one word than rolled
# content does: {glue:text}`gain:.3f` (p = {glue:text}`gain_p:.3f`; {glue:text}`least_p:.3f` is the least that so many rolls can give). Averaging people takes
# their noise away, but not the luck of the one story: in the average brain no gain beyond what rolled content gives was found. Note where chance lies in the
# mean of people: above zero, at {glue:text}`gain_chance:.3f` on average. Features with more context gain even if they describe *other words*. An interval over
# people, or a test that flips their signs, compares with zero and does not know it ([how often it errs](../how_tested.md)).
#
# Region by region ([names in *Alice*](01_listening_data_in_people)), in the average brain if there is one, uncorrected for their number:

# %%
against_chance(told.by_region(more)[0], told.by_region(more_chance)[0], told.regions).round(3)

# %% mystnb={"image": {"alt": "Each person's score with all context against that with one word, around a dashed diagonal where both are equal."}}
persons = pd.DataFrame(told.of_subjects(best)[[0, -1]].T.values, columns=["one", "all"])
title = f"Real responses ({told.name}): each person"
text = {"xlabel": "score with one word (r)", "ylabel": "score with all context (r)", "title": title}
report.figure("each_person", plotting.points(persons, "one", "all", diagonal=True, **text))

# %% [markdown]
# *What to see:* a dot a person, above the dashed line where all context scores higher: {glue:text}`n_gain` of {glue:text}`n_people`. Rolled content gains, too.
#
# ## What the difference means, and what not
#
# Blood answers slowly ({term}`haemodynamic response`) and mixes the words of many seconds, so that a word's neighbours are in each volume whether or not the
# model saw them. What context adds in fMRI is what it adds to *that* mixture, and a small gain does not show that the brain keeps little context. What we have
# shown: on average over these people, a model with all of the story so far predicts their responses better than one with single words, by more than chance.
# What we have not: where, with how many words, or for another story. [Next](05_context_in_readers) comes a fast response to one word.
#
# ## Exercise
#
# Pick the best layer on one side only: for chance, take the *mean* over layers in place of the maximum. What happens to chance, and why is it wrong?
#
# :::{admonition} Solution
# :class: dropdown
# Chance falls (the table below beside that of *The difference, and what chance makes of it*), so that less is needed to pass for a finding: a maximum over
# layers is higher than their mean even where there is nothing to be found. Whatever is picked in the data has to be picked in every roll.
# :::

# %% tags=["hide-cell"]
careless = rolled.mean("layer").transpose("draw", "context", "channel")
careless = careless.isel(context=-1) - careless.isel(context=0)
one_sided = against_chance(told.summary(more), told.summary(careless), told.levels)
report.claim("chance falls if it picks no layer", (one_sided["chance, 95 %"] < overall["chance, 95 %"]).all())
one_sided.round(3)

# %% [markdown]
# ## Run it on your own data
#
# A folder of word times and either BOLD, with the same regions in every person, or responses to words, such as those of electrodes:
# ```bash
# papermill notebooks/05_context_in_people.ipynb mine.ipynb -p dataset my_folder -p confounds rate -p results my_results
# ```
#
# ## What the paper found
#
# {cite:t}`mischler2024` report that context matters for both the benchmark performance of models and their alignment with the brain. As far as open sources
# tell, the order of layers along the cortex was clearest with relatively long windows, and regions further from auditory cortex needed context for their
# likeness to the models. Their lengths and tests were not in the sources open to us. Here people, not electrodes, are the samples.
