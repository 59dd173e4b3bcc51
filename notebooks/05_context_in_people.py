# %% [markdown]
# # How much of the story?
#
# Does a language model that has heard the whole story so far describe the brain of a listener better than one that hears one word at a time?
# {cite:t}`mischler2024` report that context is part of what makes models and cortex alike. Here are people to ask: the 27 listeners of *Alice*
# {cite:p}`brennan2016`, whose blood flow follows the story slowly. The page runs unchanged on electrodes.
#
# :::{admonition} In this chapter
# **You will learn** what a layer with limited context adds to everything that is known of the words without a language model; why more context can gain by
# chance; and how to find out whether it gained by more than that.
#
# **You need** [exact windows](05_context), and from [chapter 2](02_layer_alignment) the baseline, the partial correlation and the content null.
#
# **It takes** about 12 minutes to read, and about two minutes to run on two cores once the features are computed.
# :::

# %% [markdown]
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
n_rolls: int = 100  # rolls of the words' content, for chance
seed: int = 0  # of the rolls
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/05_context_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.features.language import context_features, n_layers
from brainalign.ridge import content_null, cross_validate, word_sweep
from brainalign.story import story

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# ## What a layer adds, with limited context
#
# `story` cleans each block of the recording by itself and brings the strong {term}`baseline` along: word rate, the length and the place of words, the power of
# the sound, and, for *Alice*, the words' frequency and their surprisal under short word sequences. For volumes its design spreads the words by the
# {term}`haemodynamic response`. In each person and region the question is what a layer predicts beyond that baseline, a {term}`partial correlation` of held-out
# predictions.

# %%
data = datasets.load_listening(dataset, **dataset_options)
told = story(data, n_blocks, gap=gap, skip=skip)
told.responses

# %% [markdown]
# Every word of the story is described {glue:text}`n_contexts` times over, by windows of one word, of two, and so on up to all words so far, at
# {glue:text}`n_depths` layers: the middles of as many equal parts of the model. The score of a context is that of its best layer, picked in each person and
# region.

# %%
contexts = sorted(contexts, key=lambda c: np.inf if c is None else c)
labels = ["all" if c is None else str(c) for c in contexts]
layers = np.unique(np.round((np.arange(n_depths) + 0.5) / n_depths * n_layers(model)).astype(int))
states = context_features(told.words, model, contexts, layers=layers, start_token=True, device=device)
options = told.options | {"alphas": np.logspace(0, 6, 7)}
sweep = word_sweep(states, told.design).stack(sweep=("context", "layer"))
fit = cross_validate(sweep, told.responses, standardize=False, **options)
best = fit["partial"].unstack("sweep").max("layer").transpose("context", "channel")

# %%
around = told.interval(best)  # over people, at each level and context
report.add(n_people=around.n, n_contexts=len(contexts), n_depths=len(layers), n_rolls=n_rolls)
report.add(people_one=around[-1, 0], people_all=around[-1, -1])
report

# %% mystnb={"image": {"alt": "Partial correlation of the best layer by context length, in one panel for each level at which the data are summed up, each line with the band of its interval over people."}}
ends = {"r": around.value, "low": around.low, "high": around.high}
scores = pd.concat(
    [
        pd.DataFrame({"context": labels, "level": level, **{name: part[k] for name, part in ends.items()}})
        for k, level in enumerate(told.levels)
    ]
)
title = f"Real responses ({told.name}): what the best layer adds, by context"
text = {"xlabel": "context (words)", "ylabel": "partial correlation (r)", "title": title}
report.figure("by_context", plotting.lines(scores, "context", "r", col="level", **text))

# %% [markdown]
# *What to see:* the score with each context, and its 95 % interval over people for this story. In the mean of {glue:text}`n_people` people it goes from
# {glue:text}`people_one` with one word to {glue:text}`people_all` with all. Where responses have been averaged over people first, as those of a blood-flow
# study can be, there is less noise and all scores are higher. Zero is no reference for any of these scores: the best of several layers was picked, and luck in
# the picking lifts them.
#
# ## The difference, and what chance makes of it
#
# The question is a difference: all context less one word. Chance for it is what rolled content gives ({term}`content null`): the descriptions with one word and
# those with all context are rolled along the words by the same amount, {glue:text}`n_rolls` times, everything is fitted again, and the best layer is **picked
# again on both sides**.

# %%
rolled = content_null(states[[0, -1]], told.design, told.heads, n_rolls=n_rolls, seed=seed, **options)
chance = rolled.max("layer").transpose("roll", "context", "channel")
more, more_chance = (part.isel(context=-1) - part.isel(context=0) for part in (best, chance))


# %%
def against_chance(observed, draws, names):
    """A row for each name: what was found, and what chance gives."""
    observed, draws = np.asarray(observed), draws.transpose("roll", ...).to_numpy()
    p = stats.p_values(observed, draws)
    columns = {
        "all less one word": observed,
        "chance, mean": draws.mean(0),
        "chance, 95 %": np.quantile(draws, 0.95, 0),
    }
    return pd.DataFrame({**columns, "p": p}, index=names)


overall = against_chance(told.summary(more), told.summary(more_chance), told.levels)
overall.round(3)

# %%
of_people, each = overall.loc["mean of people"], told.of_subjects(more)
report.add(more=of_people.iloc[0], more_chance=of_people["chance, mean"], more_p=of_people["p"])
report.add(n_up=(each > 0).sum(), least_p=1 / (1 + rolled.sizes["roll"]))
report.claim("in the mean of people, all context adds more to one word than chance does", of_people["p"] <= 0.05)
report.claim(
    "in the average brain, no gain beyond chance was found", (overall["p"].drop("mean of people") > 0.05).all()
)
report.claim("rolled content gains by context, too", of_people["chance, mean"] > 0)
report

# %% mystnb={"image": {"alt": "Histograms of the difference between all context and one word over rolls of the words' content, one for each level, with a line at the observed difference."}}
draws = pd.DataFrame(told.summary(more_chance).transpose("roll", "level").values, columns=told.levels)
title = f"Real responses ({told.name}): what context adds, and chance"
text = {"xlabel": "all context less one word (partial r)", "title": title}
report.figure("chance", plotting.null(draws, dict(overall["all less one word"]), **text))

# %% [markdown]
# *What to see:* gray, the differences that rolled content gives; blue, what was found. In the mean of people all context adds more to one word than rolled
# content does: {glue:text}`more:.3f` (p = {glue:text}`more_p:.3f`; {glue:text}`least_p:.3f` is the least that so many rolls can give). Where people are
# averaged first, as blood-flow data allow, noise leaves the responses but the one story's luck does not: rolled content reaches far as well, and in the average
# brain no gain beyond chance was found.
#
# Note where chance lies in the mean of people: above zero, at {glue:text}`more_chance:.3f` on average. Features with more context gain even when they describe
# *other words*, because they change more slowly and offer more to pick from. An interval over people, or a test that flips the signs of their differences,
# takes that for a finding.
#
# Region by region, at the first of the levels above, uncorrected for the number of regions:

# %%
regions, regions_chance = told.by_region(more)[0], told.by_region(more_chance)[0]
by_region = against_chance(regions, regions_chance, told.regions)
by_region.round(3)

# %% mystnb={"image": {"alt": "Each person's score with all context against that with one word, around a dashed diagonal where both are equal."}}
persons = pd.DataFrame(told.of_subjects(best)[[0, -1]].T.values, columns=["one", "all"])
title = f"Real responses ({told.name}): each person"
text = {"xlabel": "score with one word (r)", "ylabel": "score with all context (r)", "title": title}
report.figure("each_person", plotting.points(persons, "one", "all", diagonal=True, **text))

# %% [markdown]
# *What to see:* each dot is a person, above the dashed line where all context scores higher than one word: {glue:text}`n_up` of {glue:text}`n_people` people.
# Counting them tests nothing, as chance, too, lies above the line.
#
# ## What the difference means, and what not
#
# Blood answers slowly ({term}`haemodynamic response`) and mixes the words of many seconds, so that a word's neighbours are in each volume whether or not the
# model saw them. What context adds in fMRI is what it adds to *that* mixture, and a small gain does not show that the brain keeps little context.
#
# What we have shown: on average over these people, a model with all of the story describes the blood of the six regions better than one with single words, by
# more than chance. What we have not: in which region, how many of those words are needed, and anything on another story. [The next page](05_context_in_readers)
# takes a response that is fast, and belongs to one word.
#
# ## Exercise
#
# Pick the best layer on one side only: take the maximum over layers for the people's scores, and for chance the layers' *mean*. What happens to chance, and why
# is it wrong?
#
# :::{admonition} Solution
# :class: dropdown
# Chance falls (below, against the first table), so that less is needed to pass for a finding. A maximum over layers is higher than a mean where there is
# nothing to be found at all, and gains more by context where layers differ more. Whatever is picked in the data has to be picked in every roll.
# :::

# %% tags=["hide-cell"]
careless = rolled.mean("layer").transpose("roll", "context", "channel")
careless = careless.isel(context=-1) - careless.isel(context=0)
against_chance(told.summary(more), told.summary(careless), told.levels).round(3)

# %% [markdown]
# ## Run it on your own data
#
# A folder of word times and either BOLD, with the same regions in every person, or responses to words; and the context lengths that you care for; `None` in
# Python is `null` here:
#
# ```bash
# papermill notebooks/05_context_in_people.ipynb mine.ipynb \
#   -p dataset my_folder -y "contexts: [1, 4, 16, 64, null]" -p results my_results
# ```
#
# ## What the paper found
#
# {cite:t}`mischler2024` report that context matters for both the benchmark performance of models and their alignment with the brain. As far as open sources
# tell, the order of layers along the cortex was clearest with relatively long windows, and regions further from auditory cortex needed context for their
# likeness to the models. The lengths they used, how context was limited, and their tests were not in the sources open to us, so that numbers cannot be
# compared. Here windows are counted in words and are exact, and people, not electrodes, are the samples. The evidence about people on this page is of another
# kind: the slow signal of six regions.
