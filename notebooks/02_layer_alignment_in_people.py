# %% [markdown]
# # Do layers say more than word rate? 27 people and *Alice*
#
# The people of [chapter 1](01_listening_data_in_people) return: functional MRI of 27 people who heard one story of twelve minutes, six language regions each
# {cite:p}`brennan2016`. Their blood follows the mere rate of words. Does a language model add to that, and to everything else that is known of the words
# without one?
#
# :::{admonition} In this chapter
# **You will learn** what a strong set of confounds holds; how to find chance where all people heard one story; whether trained weights and context matter;
# and why an interval over people of one story is no test.
#
# **You need** the score of [chapter 2](02_layer_alignment), and the cleaned blocks of [chapter 1](01_listening_data_in_people).
#
# **It takes** about 20 minutes to read, and some four minutes to run on two cores once the features are computed.
# :::

# %% [markdown]
# ## Parameters
#
# Nothing below was chosen by its result: no people, regions or layers are selected.

# %% tags=["parameters"]
dataset: str = "alice"  # a story heard by people: "alice", "podcast" or a folder of your own
dataset_options: dict = {}  # passed to datasets.load_listening
confounds: str = "strong"  # what the model has to add to: "strong", or "rate" for word rate and length alone
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
n_blocks: int = 6  # blocks that are predicted in turn
gap: int = 10  # volumes (or words) left out beside a test block
skip: int = 10  # volumes (or words) left out at the start: the onset of the story
step: int = 10  # every so manieth layer is tested against rolled content
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
# `story` brings data and words together. Every block of about two minutes is cleaned as if it were a recording of its own: mean, slope and curvature in time
# leave responses and regressors, head motion the responses (why not over the whole run, as is usual, is shown on [the next
# page](02_what_else_would_do_in_people)). The {term}`haemodynamic response` takes words to the volumes' time. The first {glue:text}`skip` volumes are left
# out, because the large response to the onset of the story says nothing about its words; {glue:text}`gap` beside each test block go unused, in which most of
# the blood's response to a word is over.

# %%
data = datasets.load_listening(dataset, **dataset_options)
told = story(data, n_blocks, gap=gap, skip=skip, confounds=confounds)
people, regions = told.subjects, told.regions
report.add(n_people=len(people), n_regions=len(regions), n_blocks=n_blocks, gap=gap, skip=skip)
report.add(n_volumes=told.responses.sizes["time"], n_confounds=told.confounds.shape[1])
report

# %% [markdown]
# Six regions were measured, under two protocols (one echo for some people and several for others), and the files still hold pairs of person and region that
# the study left out without naming them; we take all. The people, and their average, in which much of the noise of each is gone, are channels of the same
# fits. So are averages without one person each, from which the interval of the average follows ({term}`jackknife`).
#
# A layer is interesting only if it adds to what simpler descriptions know. The confounds ({term}`baseline`) are strong ones, {glue:text}`n_confounds`
# columns: word rate at six delays, so that no shape of the blood's response is presumed; letters; the place of a word in its phrase (since the last pause);
# the power of the sound; and what the study's authors supply with the data: each word's frequency in a corpus, pauses, and four kinds of surprisal from two-
# and three-word sequences. They enter every model without a penalty. The score is then `partial`: the correlation of what the confounds' own held-out
# predictions leave with what the layer adds to them. (The difference of two correlations would count it as a gain when a layer merely dilutes a bad
# baseline.)
#
# ## The model and its twins
#
# `word_sweep` makes regressors of a layer's features in fewer columns: blood is slow and lets few directions of the story through with more than a trace, in
# which the fit is all but the same.

# %%
options = told.options | {"alphas": np.logspace(0, 6, 7)}


def adds(values: xr.DataArray) -> xr.DataArray:
    """What descriptions of the words (layer, word, feature) add to the confounds, (layer, channel)."""
    return cross_validate(word_sweep(values, told.design), told.responses, standardize=False, **options)["partial"]


states = layer_features(data.words, model, start_token=True, device=device)
trained = adds(states)
report.add(n_columns=word_sweep(states[:1], told.design).sizes["feature"], n_features=states.sizes["feature"])

# %% [markdown]
# {glue:text}`n_features` features become {glue:text}`n_columns` columns. Two controls tell what a good score is worth. The **input layer** (layer 0) knows
# the word and no context. The **untrained twin** has the same architecture and reads the same tokens, with random weights; there are {glue:text}`n_twins` of
# them.

# %%
tested = states["layer"].values[::step]
some = {"layers": tested, "start_token": True, "device": device}
twins = [layer_features(data.words, f"{model}@untrained={k}", **some) for k in range(n_twins)]
untrained = [adds(twin) for twin in twins]
report.add(n_twins=n_twins, step=step)

# %% [markdown]
# ## Chance for people who heard one story
#
# All people heard the same story, and so did their average. A description that fits this story by luck fits in everyone, and an
# interval over people does not know it. What chance gives is therefore found by changing nothing but the *content*
# ({term}`content null`): the descriptions are rolled along the words, by 50 words or more, the regressors are built again and all is fitted again.
# When words came, the blood, what people share, the confounds and the cleaning stay real; only which word was said goes.
# `content_null` does this {glue:text}`n_rolls` times, for every {glue:text}`step`th layer of the model and of its first twin.

# %%
names = pd.Index(["trained", "twin"], name="model")
both = xr.concat([states.sel(layer=tested), twins[0]], names)
rolled = content_null(both, told.design, told.heads, n_rolls=n_rolls, seed=seed, **options)
observed = xr.concat([trained.sel(layer=tested), untrained[0]], names)
report.add(n_rolls=n_rolls, least_p=1 / (1 + rolled.sizes["roll"]))

# %% [markdown]
# Any statistic that we report, with its choice of the best layer, is computed for the scores and for each roll alike, in the average brain (mean over regions)
# and as the mean of people (each one's mean over regions):


# %%
def questions(partial: xr.DataArray) -> xr.DataArray:
    """Statistics of scores (..., model, layer, channel), as (question, level, ...)."""
    mean = told.summary(partial)
    best, first = mean.max("layer"), mean.sel(model="trained", drop=True).isel(layer=0, drop=True)
    asked = {"best layer": best.sel(model="trained", drop=True), "input layer": first}
    asked["best layer less input layer"] = asked["best layer"] - first
    asked["best layer less untrained twin"] = asked["best layer"] - best.sel(model="twin", drop=True)
    return xr.concat(asked.values(), pd.Index(asked, name="question"))


found, draws = questions(observed), questions(rolled)
p = stats.p_values(found, draws, dim="roll")
chance = draws.quantile(0.95, "roll").drop_vars("quantile")
columns = {"observed": found, "chance, mean": draws.mean("roll"), "chance, 95 %": chance, "p": p}
table = xr.Dataset(columns).to_dataframe(dim_order=["level", "question"])
table.round(3)

# %% [markdown]
# *What to see:* partial correlations, and differences of them in the lower rows of each part. Chance is the mean, and what 95 % of
# rolls stay below; a p of {glue:text}`least_p:.3f` is the least that so many rolls can give. A chance level below zero is the usual price of
# held-out prediction: where nothing can be predicted, fitted weights do harm.
#
# How much is possible? What the confounds leave of people's responses is alike between people to some degree, and nothing that depends on the story alone can
# predict more ({term}`noise ceiling`).

# %%
average, single = told.levels[0], told.levels[-1]
ceilings = told.ceilings()
report.add(ceiling_average=ceilings.sel(level=average), ceiling_person=ceilings.sel(level=single))
for level, place in ((average, "average"), (single, "people")):
    rows = table.loc[level]
    report.add(**{f"best_{place}": rows["observed"]["best layer"], f"best_{place}_p": rows["p"]["best layer"]})
    report.add(**{f"input_{place}": rows["observed"]["input layer"]})
    report.add(**{f"context_{place}_p": rows["p"]["best layer less input layer"]})
    report.add(**{f"trained_{place}_p": rows["p"]["best layer less untrained twin"]})
report.add(twin_best=max(told.summary(twin).sel(level=average).max() for twin in untrained))
largest_p = table["p"].groupby("question").max()
report.claim("the best layer adds to the confounds", largest_p["best layer"] <= 0.05)
report.claim("trained weights matter", largest_p["best layer less untrained twin"] <= 0.05)
report

# %% mystnb={"image": {"alt": "A panel each for the average brain and the mean of people: partial correlation by layer, of the trained model with the interval over people, of three untrained twins, and a gray band where the best layer of rolled content lies."}}
around, layers = told.interval(trained), states["layer"].values
rows = []
for k, level in enumerate(told.levels):
    values = {"layer": layers, "r": around.value[k], "low": around.low[k], "high": around.high[k]}
    rows.append(pd.DataFrame(values | {"model": "trained", "level": level}))
    for number, twin in enumerate(untrained, 1):
        values = {"layer": tested, "r": told.summary(twin)[k], "model": f"untrained twin {number}", "level": level}
        rows.append(pd.DataFrame(values))
band = draws.sel(question="best layer").quantile([0.025, 0.95], "roll").to_pandas()
edges = [
    {"layer": x, "low": low, "high": high, "level": level}
    for level, low, high in band.T.itertuples()
    for x in layers[[0, -1]]
]
title = f"Real people ({told.name}), {len(people)} of them"
text = {"xlabel": "layer", "ylabel": "partial correlation (r)", "title": title}
frame = pd.concat(rows)
lines = plotting.lines(frame, "layer", "r", hue="model", col="level", chance=pd.DataFrame(edges), sharey=False, **text)
report.figure("layers", lines)

# %% [markdown]
# *What to see:* the gray band is what the best layer of rolled content reaches. In the average brain the best of the tested layers reaches
# {glue:text}`best_average:+.2f` (p = {glue:text}`best_average_p:.3f`), the input layer {glue:text}`input_average:+.2f`, the untrained twins
# {glue:text}`twin_best:+.2f` at most; {glue:text}`ceiling_average:.2f` is possible. One person's twelve minutes are noisy: there the best layer reaches
# {glue:text}`best_people:+.3f` on average (p = {glue:text}`best_people_p:.3f`), where {glue:text}`ceiling_person:.2f` is possible. Layers add to the
# confounds, at both levels.
#
# **Trained weights matter**: the best layer lies above the best of the untrained twin with p = {glue:text}`trained_average_p:.3f` (average brain) and
# {glue:text}`trained_people_p:.3f` (mean of people). **Is it context?** The best layer lies above the input layer, which knows no context, with p =
# {glue:text}`context_average_p:.3f` and {glue:text}`context_people_p:.3f`. That difference is the subject of [chapter 5](05_context). What trained layers
# hold beyond our confounds need not be what the brain computes: a model trained to predict words picks up any statistic of language, and some of these go
# with brain responses for other reasons {cite:p}`antonello2024`.

# %%
n, last = len(people), tested[-1]
error = told.of_subjects(trained.sel(layer=last)).std(ddof=1) / n**0.5
spread = told.summary(rolled).sel(level=single, model="trained", layer=last).std("roll")
report.add(interval_error=error, roll_spread=spread, spread_ratio=spread / error)
report

# %% [markdown]
# :::{admonition} An interval over people of one story is not a test
# :class: warning
# The mean over {glue:text}`n_people` people has a standard error of {glue:text}`interval_error:.3f` (last tested layer): so much would it change with *other
# people who hear this story*. With the same people and rolled content it changes by {glue:text}`roll_spread:.3f` from roll to roll (standard deviation,
# {glue:text}`spread_ratio:.1f` times as much). That is the luck of one story, which all people share, and the interval knows nothing of it. How often such
# intervals, and tests that flip the signs of people, call contents that were rolled is counted in [How these statistics were tested](../how_tested.md). In
# this book intervals over people say how precise a number is for this story. Evidence comes from the rolls.
# :::
#
# ## Where?
#
# The same by region, with the best layer inside, in the average brain (the mean of people where there is none); p-values are corrected to a
# {term}`false discovery rate` over regions.

# %%
scores, by_chance = (told.by_region(part.sel(model="trained"))[0] for part in (observed, rolled))
by_region = pd.DataFrame({"best layer": scores.max("layer")}, index=regions)
by_region["chance, 95 %"] = by_chance.max("layer").quantile(0.95, "roll")
by_region["p"] = stats.p_values(scores.max("layer"), by_chance.max("layer"), dim="roll")
by_region["significant"] = stats.fdr(by_region["p"].to_numpy(), q)[0]
report.add(n_significant=by_region["significant"].sum(), q_percent=100 * q)
report.claim("layers add in most regions", by_region["significant"].mean() > 0.5)
by_region.round(3)

# %% mystnb={"image": {"alt": "Heat map of partial correlation, one row a region, one column a layer."}}
place = data.channels.groupby("region")["distance_pmc"].mean().reindex(regions)  # NaN keeps its order
matrix = told.by_region(trained)[0].to_pandas().T.loc[place.sort_values(kind="stable").index]
text = {"label": "partial correlation (r)", "xlabel": "layer", "ylabel": ""}
title = f"By region, real people ({told.name})"
report.figure("regions", plotting.heatmaps({average: matrix}, title=title, **text))

# %% [markdown]
# *What to see:* the model adds to the confounds in {glue:text}`n_significant` of {glue:text}`n_regions` regions. Rows with a known distance from auditory
# cortex begin at the bottom with the nearest. Do places differ in their peak layers? `place_order` correlates the peak layer of each channel, over tested
# layers, with its distance from auditory cortex; where no distance is known, as here, it gives the share of the peaks' variance that lies between regions.
# Chance is again the same of rolled content.

# %%
one, by_roll = (part.sel(model="trained") for part in (observed, rolled))
one, by_roll = (part[..., part["group"].to_numpy() == "people"] for part in (one, by_roll))
order, order_by_chance = (place_order(peak_layer(part), data.channels) for part in (one, by_roll))
report.add(order=order, order_chance=order_by_chance.quantile(0.95))
report.add(order_p=stats.p_values(order, order_by_chance, dim="roll"))
report.claim("no difference of peak layers between places was found beyond chance", report["order_p"] > 0.05)
report

# %% [markdown]
# The share is {glue:text}`order:.3f` (95 % of rolls: below {glue:text}`order_chance:.3f`, p = {glue:text}`order_p:.2f`): no difference of peak layers between
# regions was found beyond chance. With six regions, no coordinates and noisy channels, these data cannot show a cortical *hierarchy* of layers.
#
# ## What we have shown, and what not
#
# Trained layers carry something beyond word rate, sound, frequency and short-range surprisal that the blood of these people follows, in this story. Whether
# one layer carries more than another was not tested, so the curves name no best layer.
#
# ## Exercise
#
# Replace the strong confounds by word rate and word length alone. What changes, and which score would you report?
#
# :::{admonition} Solution
# :class: dropdown
# In *Alice* the confounds alone predict held-out blocks no worse with two columns than with fifteen, because free weights cost accuracy. The layers' partial
# correlation changes little. The strong confounds are the ones to report: what a layer shares with word frequency or loudness should not
# be credited to it.
# :::

# %% tags=["hide-cell"]
few = word_sweep(states.sel(layer=tested), told.design)
for name in (confounds, "rate"):
    ask = options | {"confounds": story(data, n_blocks, gap=gap, skip=skip, confounds=name).confounds}
    fit = cross_validate(few, told.heads, standardize=False, **ask)
    alone, more = (told.summary(fit[part])[0] for part in ("confounds_score", "partial"))
    print(f"{name}: confounds alone {float(alone):.2f}, best layer adds {float(more.max()):.2f}")

# %% [markdown]
# ## Run it on your own data
#
# A folder with words and a BOLD signal or responses to words (`brainalign check my_folder` tells what is missing); without the files of *Alice*, the
# confounds are those that any BOLD recording has:
#
# ```bash
# papermill notebooks/02_layer_alignment_in_people.ipynb mine.ipynb \
#   -p dataset my_folder -p confounds rate -p results my_results
# ```
#
# The intracranial recordings of {cite:t}`zada2025` are a name away (`-p dataset podcast`); there, each sample is a word and regions come with distances.
#
# ## What the papers found
#
# {cite:t}`mischler2024` report, for twelve models of about seven billion parameters, that prediction is best in middle layers,
# that better models predict better and peak in earlier layers. Whether better models are more brain-like needs
# more than one model, and is the subject of [the next chapter](03_better_models). What is shown here is evidence about people, of a coarser kind than theirs.
