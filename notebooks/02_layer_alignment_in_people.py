# %% [markdown]
# # Do layers say more than word rate?
#
# By default the people of [chapter 1](01_listening_data_in_people) return, in whom functional MRI followed one story, twelve minutes, in six language regions
# {cite:p}`brennan2016`; their blood goes with the mere rate of words. Does a language model add to that, and to all else that is known of words without one?
#
# :::{admonition} In this chapter
# **You will learn** what strong confounds hold; how to find chance where all heard one story; whether trained weights and context matter; what intervals miss.
#
# **You need** [scores](02_layer_alignment) and [people](01_listening_data_in_people). **It takes** about 20 minutes to read and, with features, four to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "alice"  # a story heard by people: "alice", "podcast" or a folder of your own
dataset_options: dict = {}  # passed to datasets.load_listening
confounds: str = "strong"  # what the model has to add to: "strong", or "rate" for word rate and length alone
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
n_blocks: int = 6  # blocks that are predicted in turn
gap: int = 10  # volumes (or words) left out beside a test block
skip: int = 10  # volumes (or words) left out at the start: the onset of the story
step: int = 10  # every how many layers one is tested against rolled content
n_rolls: int = 100  # rolls of the words' content, for chance
n_twins: int = 3  # untrained twins of the model
q: float = 0.05  # false discovery rate over regions
seed: int = 0  # of the rolls
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/02_layer_alignment_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.features.language import layer_features
from brainalign.layers import peak_layer, place_order
from brainalign.ridge import content_null, cross_validate, word_sweep
from brainalign.story import story

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# ## Responses, words, confounds
#
# `story` brings data and words together: each of {glue:text}`n_blocks` blocks is cleaned by itself ([the next page](02_what_else_would_do_in_people) shows
# why), the {term}`haemodynamic response` takes words to the volumes' time, and the first {glue:text}`skip` volumes (or words), the onset of the story, are left
# out, as are {glue:text}`gap` beside each test block. No people, regions or layers are selected by their results. (In *Alice*, the study left out some pairs of
# person and region, not named; we take all.) Channels are people, their average, and averages without one person each, for its interval ({term}`jackknife`).
#
# A layer is interesting only if it adds to what simpler descriptions know, the confounds ({term}`baseline`), {glue:text}`n_confounds` columns. By default they
# are strong: word rate at six delays, so that no shape of the blood's response is presumed; letters; the place of a word in its phrase (since the last pause);
# the power of the sound; and what the study's authors supply: each word's frequency in a corpus, pauses, and four kinds of {term}`surprisal` from two- and
# three-word sequences. They enter every model without a penalty. The score is then `partial` ({term}`partial correlation`), of what the confounds' held-out
# predictions leave with what the layer adds to them.
#
# ## The model and its twins
#
# `word_sweep` makes regressors of a layer's {glue:text}`n_features` features, in {glue:text}`n_columns` columns: blood is slow and lets few directions of
# the story through, in which the fit is all but the same. Two controls tell what a good score is worth. The **input layer** (layer 0) knows the word and no
# context. The **untrained twin** has the same architecture and reads the same tokens, with random weights; there are {glue:text}`n_twins`.

# %%
data = datasets.load_listening(dataset, **dataset_options)
told = story(data, n_blocks, gap=gap, skip=skip, confounds=confounds)
people, regions, options = told.subjects, told.regions, told.options | {"alphas": np.logspace(0, 6, 7)}


def adds(values: xr.DataArray) -> xr.DataArray:
    """What descriptions of the words (layer, word, feature) add to the confounds, (layer, channel)."""
    return cross_validate(word_sweep(values, told.design), told.responses, standardize=False, **options)["partial"]


states = layer_features(data.words, model, start_token=True, device=device)
tested = states["layer"].values[::step]
some = {"layers": tested, "start_token": True, "device": device}
twins = [layer_features(data.words, f"{model}@untrained={k}", **some) for k in range(n_twins)]
trained, untrained = adds(states), [adds(twin) for twin in twins]
report.add(n_people=len(people), n_regions=len(regions), gap=gap, skip=skip, n_blocks=n_blocks)
report.add(n_confounds=told.confounds.shape[1])
report.add(n_columns=word_sweep(states[:1], told.design).sizes["feature"], n_features=states.sizes["feature"])

# %% [markdown]
# ## Chance for people who heard one story
#
# A description that fits this story by luck fits everyone who heard it, and an interval over people does not know it. Chance is therefore found by changing
# nothing but the *content* ({term}`content null`): the descriptions are rolled along the words, by 50 words or more, the regressors are built again and all
# is fitted again. When words came, the blood, what people share, the confounds and the cleaning stay real; only which word was said goes. `content_null`
# does this {glue:text}`n_rolls` times, for every {glue:text}`step`th layer of the model and of its first twin. Any statistic that we report, with its choice
# of the best layer, is computed for the scores and for each roll alike, in the average brain and as the mean of people (means over regions):

# %%
names = pd.Index(["trained", "twin"], name="model")
both = xr.concat([states.sel(layer=tested), twins[0]], names)
rolled = content_null(both, told.design, told.heads, n_rolls=n_rolls, seed=seed, **options)
observed = xr.concat([trained.sel(layer=tested), untrained[0]], names)
report.add(n_twins=n_twins, step=step, n_rolls=n_rolls, least_p=1 / (1 + rolled.sizes["draw"]))


def questions(partial: xr.DataArray) -> xr.DataArray:
    """Statistics of scores (..., model, layer, channel), as (question, level, ...)."""
    mean = told.summary(partial)
    first = mean.sel(model="trained", drop=True).isel(layer=0, drop=True)
    best, twin = (mean.sel(model=name, drop=True).max("layer") for name in names)
    asked = {"best layer": best, "input layer": first, "best less input": best - first, "best less twin": best - twin}
    return xr.concat(asked.values(), pd.Index(asked, name="question"))


found, draws = questions(observed), questions(rolled)
p, chance = stats.p_values(found, draws), draws.quantile(0.95, "draw").drop_vars("quantile")
columns = {"observed": found, "chance, mean": draws.mean("draw"), "chance, 95 %": chance, "p": p}
table = xr.Dataset(columns).to_dataframe(dim_order=["level", "question"])
table.round(3)

# %% [markdown]
# *What to see:* partial correlations, and their differences. Chance is the mean, and what 95 % of rolls stay below; a p of {glue:text}`least_p:.3f` is the
# least that so many rolls can give. Where nothing can be predicted fitted weights do harm: chance may lie below zero. How much is possible? What the
# confounds leave of responses is alike between people to some degree; nothing that depends on the story alone can predict more ({term}`noise ceiling`).

# %%
average, single, last = told.levels[0], told.levels[-1], tested[-1]
for level, place in ((average, "average"), (single, "people")):
    seen, least = table["observed"][level], table["p"][level]
    report.add(**{f"best_{place}": seen["best layer"], f"best_{place}_p": least["best layer"]})
    report.add(**{f"context_{place}_p": least["best less input"], f"trained_{place}_p": least["best less twin"]})
report.add(ceiling_average=told.ceilings()[0], ceiling_person=told.ceilings()[-1])
report.add(twin_best=max(told.summary(twin).sel(level=average).max() for twin in untrained))
report.add(input_average=table["observed"][average, "input layer"])
error = told.of_subjects(trained.sel(layer=last)).std(ddof=1) / len(people) ** 0.5
spread = told.summary(rolled).sel(level=single, model="trained", layer=last).std("draw")
report.add(interval_error=error, roll_spread=spread, spread_ratio=spread / error)
report.claim("the best layer adds to the confounds", (table["p"][:, "best layer"] <= 0.05).all())
report.claim("trained weights matter", (table["p"][:, "best less twin"] <= 0.05).all())
report.claim("context adds beyond chance at one level only", (table["p"][:, "best less input"] <= 0.05).sum() == 1)
report

# %% mystnb={"image": {"alt": "A panel each for the average brain and the mean of people: partial correlation by layer, of the trained model with the interval over people, of untrained twins, and a gray band where the best layer of rolled content lies."}}
around, layers = told.interval(trained), states["layer"].values
trunk = {"layer": layers, "model": "trained"}
rows = [pd.DataFrame(trunk | {"level": level} | vars(around[k])) for k, level in enumerate(told.levels)]
for number, twin in enumerate(untrained, 1):
    rows.append(told.summary(twin).to_series().rename("value").reset_index().assign(model=f"untrained twin {number}"))
band = draws.sel(question="best layer").quantile([0.025, 0.95], "draw").to_pandas().T.set_axis(["low", "high"], axis=1)
band = band.rename_axis("level").reset_index().merge(pd.DataFrame({"layer": layers[[0, -1]]}), how="cross")
title = f"Real people ({told.name}), {len(people)} of them"
text = {"xlabel": "layer", "ylabel": "partial correlation (r)", "title": title, "chance": band, "sharey": False}
report.figure("layers", plotting.lines(pd.concat(rows), "layer", "value", hue="model", col="level", **text))

# %% [markdown]
# *What to see:* partial correlation over layers; blue band: interval over people, for this story; gray: 2.5 to 95 % of the rolls' best tested layers. In the
# average brain the best tested layer reaches {glue:text}`best_average:+.2f` (p = {glue:text}`best_average_p:.3f`), the input layer
# {glue:text}`input_average:+.2f`, the untrained twins {glue:text}`twin_best:+.2f` at most; {glue:text}`ceiling_average:.2f` is possible. In single, noisy
# people it reaches {glue:text}`best_people:+.3f` on average (p = {glue:text}`best_people_p:.3f`), where {glue:text}`ceiling_person:.2f` is possible. Layers add
# to the confounds at every level.
#
# **Trained weights matter**: the best layer lies above the best of the untrained twin with p = {glue:text}`trained_average_p:.3f` (average brain) and
# {glue:text}`trained_people_p:.3f` (mean of people). **Is it context?** It lies above the input layer, which knows none, with p =
# {glue:text}`context_average_p:.3f` and {glue:text}`context_people_p:.3f`, beyond chance at one level only; see [chapter 5](05_context_in_people). What layers
# hold beyond our confounds need not be what the brain computes: some statistics of language go with brain responses for other reasons {cite:p}`antonello2024`.
#
# :::{admonition} An interval over people of one story is not a test
# :class: warning
# The mean over {glue:text}`n_people` people has a standard error of {glue:text}`interval_error:.3f` (last tested layer): so much would it change with *other
# people who hear this story*. With rolled content it changes by {glue:text}`roll_spread:.3f` from roll to roll (standard deviation,
# {glue:text}`spread_ratio:.1f` times as much). This luck of one story, which all people share, the interval does not know. (How often such intervals, and tests
# that flip people's signs, call rolled contents [is counted](../how_tested.md).) In this book such intervals tell precision; rolls are the evidence.
# :::
#
# ## Where?
#
# The same by region, in the average brain (the mean of people where there is none), at a {term}`false discovery rate` over regions:

# %%
best, rolls = (told.by_region(part.sel(model="trained"))[0].max("layer") for part in (observed, rolled))
p = stats.p_values(best, rolls)
columns = {"best layer": best, "chance, 95 %": rolls.quantile(0.95, "draw"), "p": p, "significant": stats.fdr(p, q)[0]}
by_region = pd.DataFrame(columns, index=regions)
report.add(n_significant=by_region["significant"].sum())
report.claim("layers add in most regions", by_region["significant"].mean() > 0.5)
by_region.round(3)

# %% mystnb={"image": {"alt": "Heat map of partial correlation, one row a region, one column a layer."}}
place = data.channels.groupby("region")["distance_pmc"].mean().reindex(regions)  # NaN keeps its order
matrix = told.by_region(trained)[0].to_pandas().T.loc[place.sort_values(kind="stable").index]
text = {"label": "partial correlation (r)", "xlabel": "layer", "title": f"By region, real people ({told.name})"}
report.figure("regions", plotting.heatmaps({average: matrix}, ylabel="", **text))

# %% [markdown]
# *What to see:* the model adds to the confounds in {glue:text}`n_significant` of {glue:text}`n_regions` regions. (Where distances from auditory cortex are
# known, the nearest is at the bottom.) Do places differ in their peak layers? `place_order` correlates peak layers (of those tested) with that distance;
# where none is known, as in *Alice*, it is the share of their variance that lies between regions. Chance is the same of rolled content.

# %%
parts = [part.sel(model="trained")[..., part["group"].to_numpy() == "people"] for part in (observed, rolled)]
order, rolls = (place_order(peak_layer(part), data.channels) for part in parts)
report.add(order=order, order_chance=rolls.quantile(0.95), order_p=stats.p_values(order, rolls))
report.claim("no difference of peak layers between places was found beyond chance", report["order_p"] > 0.05)
report

# %% [markdown]
# It is {glue:text}`order:.3f` (95 % of rolls: below {glue:text}`order_chance:.3f`, p = {glue:text}`order_p:.2f`): no difference of peak layers between places
# was found beyond chance. Without the distance of regions from auditory cortex no data can show a cortical *hierarchy* of layers.
#
# ## What we have shown, and what not
#
# Trained layers carry something beyond the confounds (by default word rate, sound, frequency and short-range surprisal) that the responses of these people
# follow, in this story. Whether one layer carries more than another was not tested, so the curves name no best layer.
#
# ## Exercise
#
# Replace the strong confounds by word rate and word length alone. What changes, and which score would you report?
#
# :::{admonition} Solution
# :class: dropdown
# With word rate and length the confounds alone predict held-out blocks with {glue:text}`few_alone:.2f`, no worse than all of them ({glue:text}`all_alone:.2f`):
# free weights cost accuracy. The best layer adds {glue:text}`few_adds:.2f` to the few and {glue:text}`all_adds:.2f` to all of them. The latter is the score to
# report: what a layer shares with word frequency or loudness should not be credited to it.
# :::

# %% tags=["hide-cell"]
for name, key in ((confounds, "all"), ("rate", "few")):
    ask = options | {"confounds": story(data, n_blocks, gap=gap, skip=skip, confounds=name).confounds}
    fit = cross_validate(word_sweep(states[::step], told.design), told.heads, standardize=False, **ask)
    alone, more = (told.summary(fit[part])[0] for part in ("confounds_score", "partial"))
    report.add(**{f"{key}_alone": alone, f"{key}_adds": more.max()})
report.claim("rate and length alone predict no worse than all", report["few_alone"] >= report["all_alone"])
report

# %% [markdown]
# ## Run it on your own data
#
# A folder with words and BOLD or responses to words (`brainalign check my_folder` tells what is missing), with confounds that any recording has:
#
# ```bash
# papermill notebooks/02_layer_alignment_in_people.ipynb mine.ipynb -p dataset my_folder -p confounds rate -p results my_results
# ```
#
# The intracranial recordings of {cite:t}`zada2025` are a name away (`-p dataset podcast`); there, each sample is a word and regions come with distances.
# So are people who read 205 sentences {cite:p}`frank2015` (`-p dataset frank2015`): sentences stay whole in folds, and are exchanged for chance.
