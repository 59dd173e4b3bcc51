# %% [markdown]
# # More than sound and word rate, in people?
#
# What do contextual layers of a language model explain in people's brains that sound, word rate, word frequency and the mere identity of words do not? [The
# page before](06_beyond_acoustics) took the variance of virtual electrodes apart. Here the same is done with people who heard one story, by default *Alice*
# {cite:p}`brennan2016`, and so one question comes first: what would a description that has nothing to do with the words get in *this* story?
#
# :::{admonition} In this chapter
# **You will learn** what chance is for a unique share where all heard one story, and what each chapter of this book may claim about context in such a story.
#
# **You need** [unique shares](06_beyond_acoustics) and [rolled contents](02_layer_alignment_in_people). **It takes** about 12 minutes to read, two to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "alice"  # "alice", "podcast" or a folder: a story with the same text for everybody
dataset_options: dict = {}  # passed to datasets.load_listening
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
n_components: int = 50  # principal components of every larger feature space
n_draws: int = 12  # directions of the penalties that are tried, for every roll
n_rolls: int = 100  # rolls of the contextual description along the words
n_blocks: int = 6  # blocks of the recording: folds, each cleaned of drift by itself
gap: int = 10  # volumes or words left out between training and test
skip: int = 10  # volumes or words left out at the start: the onset of the story
q: float = 0.05  # false discovery rate over regions
seed: int = 0  # of penalties and rolls
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/06_beyond_acoustics_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.features.language import layer_features, n_layers, surprisal
from brainalign.ridge import RolledSweeps, variance_partition, word_sweep
from brainalign.story import PEOPLE, story, story_spaces

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Responses and descriptions
#
# `story` gets the responses ready as [chapter 1](01_listening_data_in_people) did: drift, mean and head motion leave each of {glue:text}`n_blocks` blocks by
# itself, so that nothing passes from one block to another. It holds each person's regions, and where everybody has the same ones the *average brain*: the
# mean of all people's responses. The descriptions are those of the page before, for *Alice* with what that study supplies:
#
# - **acoustics**: the power of the sound over time (the sound itself does not come with *Alice*);
# - **rate**: word rate, letters, and the *position* of a word: the words since the last pause and since the story began;
# - **frequency**: the words' frequency in a corpus, pauses, and {term}`surprisal` from two- and three-word sequences of words and of word classes, all
#   published with *Alice*, together with the surprisal of the language model given all words so far;
# - **static**: layer 0 of the language model, which knows *which* word was said and nothing of the words before it;
# - **context**: layers at a quarter, half and three quarters of the model's depth, side by side.
#
# Words become regressors by the {term}`haemodynamic response`, and drift leaves the regressors' blocks as it left the responses'. `story_spaces` makes the
# first three; `word_sweep` makes the two large ones, in as few columns as the haemodynamic response lets through.

# %%
data = datasets.load_listening(dataset, **dataset_options)
told = story(data, n_blocks, gap=gap, skip=skip, confounds="rate")
words, depth = data.words, n_layers(model)
middle = np.unique(np.round(depth * np.array([0.25, 0.5, 0.75])).astype(int))
states = layer_features(words, model, layers=[0, *middle], start_token=True, device=device)
bits = [surprisal(words, model, context=c, start_token=True, device=device) for c in (1, None)]
contextual = xr.DataArray(np.concatenate([*states.sel(layer=middle)], axis=-1), dims=("word", "feature"))
spaces = story_spaces(data, told, np.column_stack(bits))
spaces["static"] = word_sweep(states.sel(layer=0, drop=True), told.design)
spaces["context"] = word_sweep(contextual, told.design)
report.add(n_people=len(told.subjects), n_blocks=n_blocks, n_words=len(told.words), n_samples=len(told.responses))
pd.Series({name: space.shape[1] for name, space in spaces.items()}, name="columns").to_frame()

# %% [markdown]
# ## Unique shares, and the same with the context of other words
#
# We fit {term}`banded ridge regression` with all spaces, and without each, to the average brain, averages without one person each (for its interval), and
# every person; with {glue:text}`n_components` {term}`principal components` of larger spaces, and {glue:text}`n_draws` directions of penalties.
#
# **Chance.** What fits this story by luck fits everyone who heard it, and no interval over people can tell. We keep everything as it is but the *contents*
# of context: its description is rolled along the words, by 50 or more, so that each word has that of another ({term}`content null`), and regressors,
# penalties and unique share are computed anew with all other spaces in place. {glue:text}`n_rolls` rolls say what a description with the same rhythm and as
# many features would get in this story {cite:p}`feghhi2024,hadidi2025`. The {term}`p-value` is the share of rolls, the observed one among them, that reach
# what was observed. `summary` tells results at two levels: the average brain's mean over regions, and the mean over people of each one's mean.

# %%
options = {name: option for name, option in told.options.items() if name != "confounds"}
options |= {"n_components": n_components, "n_draws": n_draws, "standardize": False, "seed": seed, "device": device}
shares = variance_partition(spaces, told.responses, **options)
rolls = RolledSweeps(contextual, told.design, n_rolls=n_rolls, seed=seed)
rolled = variance_partition(spaces, told.heads, rivals={"context": rolls}, **options)["rivals"]
plain = shares.sel(estimate="cross-validated")
context, rolled = plain["unique"].sel(part="context"), rolled.sel(estimate="cross-validated")
observed, by_chance = told.summary(context), told.summary(rolled)
p = stats.p_values(observed, by_chance)
report.add(n_components=n_components, n_draws=n_draws, n_rolls=rolled.sizes["draw"])

# %% mystnb={"image": {"alt": "Unique share of each feature space as a dot with its interval over people, one row a space, first for the average brain and then for the mean of people; behind the rows of context, in gray, the range of 95 percent of rolled descriptions."}}
unique, at, rows = told.interval(plain["unique"]), list(spaces).index("context"), {}
spread = by_chance.quantile([0.025, 0.975], "draw").to_numpy()  # (end, level)
for k, level in enumerate(told.levels):
    rows |= {f"{level}: {name}": vars(unique[k, part]) for part, name in enumerate(spaces)}
    rows[f"{level}: context"] |= {"chance_low": spread[0, k], "chance_high": spread[1, k]}
title = f"What each description explains, {data.name}, {report['n_people']} people"
report.figure("unique", plotting.forest(pd.DataFrame(rows).T, xlabel="unique variance (R²)", title=title))

# %% [markdown]
# *What to see:* the cross-validated unique shares, averaged over regions, with 95 % intervals over people (of the average brain by the {term}`jackknife`).
# They say how precise a number is *for this story*, and no more. Gray is what 95 % of the rolls of context get, all else the same. In numbers:

# %%
total, shared = (told.interval(plain[name]) for name in ("r2", "shared"))
adjusted, table = told.interval(shares["unique"].sel(estimate="adjusted", part="context")), {}
for k, level in enumerate(told.levels):
    table[level] = [str(one) for one in (total[k], shared[k], unique[k, at], adjusted[k])]
    table[level] += [f"{by_chance[k].mean():+.4f}", "{:+.4f} to {:+.4f}".format(*spread[:, k]), f"{p[k]:.3f}"]
names = ["R² of all spaces", "R² shared by at least two", "R² unique to context", "the same, adjusted"]
pd.DataFrame(table, [*names, "context of other words, mean", "context of other words, 95 %", "p of context"])

# %%
each = told.of_subjects(context).to_numpy()
luck = stats.t_interval(told.of_subjects(rolled).transpose("subject", "draw").to_numpy())
report.add(p_people=p.sel(level=PEOPLE), share_people=unique[-1, at], null_people=by_chance.sel(level=PEOPLE).mean())
report.add(r2_people=total[-1], n_positive=(each > 0).sum())
report.add(rolled_misses=100 * np.mean((luck.low > 0) | (luck.high < 0)))
report.claim("with contents rolled, intervals over people miss zero in over 10 %", report["rolled_misses"] > 10)
for level in told.levels:
    report.claim(f"context explains what nothing else does, beyond chance: {level}", float(p.sel(level=level)) <= 0.05)
report

# %% [markdown]
# **Context explains what no other description does, beyond what that of other words gets in this story**, at each level of the table. **Person by person.** All
# spaces together explain {glue:text}`r2_people`: one person's responses to one story are little for such a question, and a model of many spaces can predict
# worse than the mean. The unique share of context is {glue:text}`share_people` on average, above zero in {glue:text}`n_positive` of {glue:text}`n_people`
# people, where rolled descriptions get {glue:text}`null_people:+.4f`: **p = {glue:text}`p_people:.3f`**.
#
# **An interval over people is no evidence.** With contents rolled, so that nothing can be found, the interval over people of the unique share misses zero in
# {glue:text}`rolled_misses:.0f` % of the rolls, where 5 % would be right. Everybody heard the same words, and whatever fits them by luck fits everybody.
#
# ## Region by region

# %%
by_region, chance = told.by_region(context), told.by_region(rolled)
p_region = stats.p_values(by_region, chance).to_series()
corrected = p_region.groupby("level", sort=False).transform(lambda own: stats.fdr(own.to_numpy(), q)[1])
low, high = (end.to_series() for end in chance.quantile([0.025, 0.975], "draw"))
regions = pd.DataFrame({"share": by_region.to_series(), "p": p_region, "chance_low": low, "chance_high": high})
for level in told.levels:
    some = corrected.xs(level).min() <= q
    report.claim(f"context stands out in some regions, corrected for their number: {level}", some)
report.add(clear_by_level=" and ".join(f"{(corrected.xs(level) <= q).sum()} in the {level}" for level in told.levels))
report.add(n_regions=len(told.regions), n_clear=(corrected.xs(PEOPLE) <= q).sum(), q_percent=100 * q)
regions.assign(**{"p, corrected": corrected}).round(4)

# %% mystnb={"image": {"alt": "Unique share of context in each region as a dot, for the average brain and the mean of people, with the range of 95 percent of rolled descriptions in gray behind it."}}
rows = regions.assign(value=regions["share"], low=regions["share"], high=regions["share"])
rows.index = [f"{level}: {region}" for level, region in regions.index]
title = f"Context in each region, {data.name}"
report.figure("regions", plotting.forest(rows, xlabel="unique variance of context (R²)", title=title))

# %% [markdown]
# *What to see:* a row a region ([names in *Alice*](01_listening_data_in_people)) and level; blue, the unique share of context, gray, 95 % of rolls. p-values
# are one-sided, so a dot can lie in the gray with p below 0.05, and a share can beat its rolls and still be below zero. Of {glue:text}`n_regions` regions,
# {glue:text}`clear_by_level` stand out ({term}`false discovery rate` {glue:text}`q_percent:g` %).
#
# ## What this says, and what not
#
# The p-values are about *this* story: whether the contents of context, at the words they belong to, explain more than the same contents elsewhere. They say
# nothing about other stories, and a p-value that is not small says that this one does not show it, not that nothing is there. Two more cautions. A
# {term}`unique variance` is a property of *descriptions*: give the sound or the words a better one and less is left for context. Our description of sound in
# *Alice* is a single number, and rolling undoes what context shares with the other spaces as well: a small p-value does not exclude that contextual layers just
# describe a word's identity or rarity better. And what is unique to them need not be meaning: they also hold syntax and position.
#
# | chapter | asks | chance | does not say |
# | --- | --- | --- | --- |
# | 2 | does a layer add to word rate, sound, frequency and short-range surprisal? | the layer's contents at other words | that it is context: the input embedding, which knows none, is one of the layers |
# | 4 | are a layer and a region alike, with nothing fitted? | the layers' contents at other words | that nothing is there: what the responses do not share with the layer counts against it |
# | 5 | does all context predict better than one word? | the same difference with contents at other words | what it is in the context: the words before, and their sound, come with it |
# | 6 | does context predict what no other description does? | the contents of context at other words, all else in place | that the rest is not context: what is shared is given to nobody |
#
# These are different questions, and their answers need not agree. From chapter [2](02_layer_alignment_in_people) to [5](05_context_in_people) to 6 each takes
# away what the one before let pass, so that less is left to find. A claim about the brain's use of context needs the last of these questions answered by a
# small p-value, and a second story: good prediction may have other reasons {cite:p}`antonello2024`.
#
# ## Exercise
#
# Split the variance among three groups: sound and rate, words (frequency and static), and context. Which groups share most?
#
# :::{admonition} Solution
# :class: dropdown
# Words and context, {glue:text}`most_shared:.3f` of variance in the {glue:text}`first_level`. `variance_partition` returns all seven parts of three groups as
# `common` ({term}`commonality analysis`). Shared parts are differences of many noisy numbers, and can be negative: nothing shares less than nothing.
# :::

# %% tags=["hide-cell"]
groups = {"sound": [name for name in spaces if name in ("acoustics", "rate")], "words": ["frequency", "static"]}
groups["context"] = ["context"]
common = variance_partition(spaces, told.heads, parts=groups, **options)["common"].sel(estimate="cross-validated")
pairs = told.summary(common)[0].to_series().iloc[3:6]  # what two groups share, at the first level
report.add(first_level=told.levels[0], most_shared=pairs.max())
report.claim("of pairs of groups, words and context share most", pairs.idxmax() == "words & context")
told.summary(common).to_pandas().T.rename_axis(index=None, columns=None).round(3)

# %% [markdown]
# ## Run it on your own data
#
# A folder in the documented layout takes the place of *Alice*: a BOLD signal, or responses of electrodes to words, better with their sound (for intracranial
# recordings of people who heard a podcast: `brainalign book --profile podcast`):
# ```bash
# papermill notebooks/06_beyond_acoustics_in_people.ipynb my_partition.ipynb -p dataset my_folder -p results my_results
# ```
#
# ## What the papers found
#
# {cite:t}`mischler2024` report that context matters for the match of model and brain; how much of it is owed to sound, word rate or word frequency we could not
# find out from open sources. {cite:t}`brennan2016` held word rate, frequency and sound against measures of sentence structure, as we hold them against context.
