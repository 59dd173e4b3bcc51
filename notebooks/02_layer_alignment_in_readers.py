# %% [markdown]
# # Do layers follow the brain of a reader?
#
# A story is one stretch of words, and blood is slow. Here people read *sentences*, one word at a time on a screen, and every word has a response of its own:
# its {term}`N400`, the voltage at the scalp 0.3 to 0.5 s after it, by default in 24 people and 205 sentences {cite:p}`frank2015`. Do the layers of a language
# model predict it, beyond what is known of words without one?
#
# :::{admonition} In this chapter
# **You will learn** what changes where the units are sentences: what stays whole in folds, what is exchanged for chance, and what becomes of rejected trials.
#
# **You need** [the page on listeners](02_layer_alignment_in_people). **It takes** about 8 minutes to read, and two to run on two cores, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "frank2015"  # or a folder of your own: responses to words of sentences
confounds: str = "strong"  # length and position of words and, if "strong", their frequency; or "rate" without it
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
n_folds: int = 6  # parts of the sentences that are predicted in turn
step: int = 5  # every how many layers one is looked at
n_exchanges: int = 100  # exchanges of sentences, for chance
seed: int = 0  # of the exchanges
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/02_layer_alignment_in_readers"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.features.language import layer_features, n_layers, surprisal
from brainalign.ridge import content_null, cross_validate, word_sweep
from brainalign.story import story

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Sentences, words and trials

# %%
data = datasets.load_listening(dataset)
told = story(data, n_folds, confounds=confounds)
levels, sentences = told.levels, data.words.groupby("passage", sort=False)
heard = told.design.argmax("word").to_numpy()  # the words that have a response
missing = 100 * np.isnan(data.responses[heard]).mean()
report.add(n_people=len(told.subjects), n_sentences=sentences.ngroups, n_words=len(data.words))
report.add(n_samples=len(heard), missing=missing, n_confounds=told.confounds.shape[1], n_folds=n_folds)
report.add(shortest=sentences.size().min(), longest=sentences.size().max())
data

# %% [markdown]
# Of {glue:text}`n_words` words in {glue:text}`n_sentences` sentences ({glue:text}`shortest` to {glue:text}`longest` words), {glue:text}`n_samples` have a response.
# The model reads the others, too: they are *context*, and no samples. (The authors leave out first and last words, clitics and words with punctuation.) Of the
# trials at the words that are left, {glue:text}`missing:.0f` % were rejected for artefacts; there, the person is given her own mean, so that both her scores and
# what is possible for them shrink a little. The *average brain* is over those who have a trial.
#
# **What is independent?** Words of one sentence are not; sentences are. So a sentence is learned from or predicted as a whole, in {glue:text}`n_folds` folds of
# sentences, and no gaps are needed. For chance, sentences *exchange their responses* as wholes, with others that have as many: which words a response belongs
# to goes, and where in a sentence it stood, how words follow each other and what people share stay ({term}`content null`). What the {glue:text}`n_confounds`
# confounds tell stays in place, too: length and position of a word (as a number and as its logarithm) and, by default, its frequency in a corpus.
#
# ## A known effect first
#
# Words that come unexpected have a larger, that is more *negative*, N400. Does the model's {term}`surprisal` see it, with nothing fitted?

# %%
bits = surprisal(data.words, model, start_token=True, device=device).to_numpy()[heard]
with_bits = told.responses[0].copy(data=stats.pearson(bits[:, None], told.responses))
report.add(surprisal_average=told.summary(with_bits)[0], n_negative=(told.of_subjects(with_bits) < 0).sum())
report.add(surprisal_people=stats.t_interval(told.of_subjects(with_bits).to_numpy()))
report.claim("the more surprising a word, the more negative its N400", report["surprisal_people"].high < 0)
report

# %% [markdown]
# It does: in the average brain surprisal and N400 correlate with {glue:text}`surprisal_average:.2f`, and in {glue:text}`n_negative` of {glue:text}`n_people` people
# the correlation is negative (mean {glue:text}`surprisal_people`, 95 % interval over people): single trials are noisy.
#
# ## What layers add
#
# As on [the page on listeners](02_layer_alignment_in_people), `partial` is what a layer adds to the confounds, with the untrained twin and the input layer to
# compare. The null costs little here: one decomposition of the descriptions serves every exchange of the responses.

# %%
depths, options = np.arange(0, n_layers(model) + 1, step), told.options | {"alphas": np.logspace(0, 6, 7)}
ask = {"layers": depths, "start_token": True, "device": device}
both = [layer_features(data.words, name, **ask) for name in (model, f"{model}@untrained=0")]
both = xr.concat(both, pd.Index(["trained", "twin"], name="model"))
sweeps = [word_sweep(values, told.design) for values in both]
fits = [cross_validate(sweep, told.responses, standardize=False, **options) for sweep in sweeps]
adds = xr.concat([fit["partial"] for fit in fits], both["model"])
rolled = content_null(both, told.design, told.heads, n_rolls=n_exchanges, seed=seed, **options)


def questions(partial: xr.DataArray) -> xr.DataArray:
    """Statistics of scores (..., model, layer, channel), as (question, level, ...)."""
    mean = told.summary(partial)
    first = mean.sel(model="trained", drop=True).isel(layer=0, drop=True)
    best, twin = (mean.sel(model=name, drop=True).max("layer") for name in ("trained", "twin"))
    asked = {"best layer": best, "input layer": first, "best less input": best - first, "best less twin": best - twin}
    return xr.concat(asked.values(), pd.Index(asked, name="question"))


found, draws = questions(adds), questions(rolled)
p, chance = stats.p_values(found, draws), draws.quantile(0.95, "draw").drop_vars("quantile")
columns = {"observed": found, "chance, mean": draws.mean("draw"), "chance, 95 %": chance, "p": p}
table = xr.Dataset(columns).to_dataframe(dim_order=["level", "question"])
table.round(3)

# %%
for level, place in ((levels[0], "average"), (levels[-1], "people")):
    seen, least = table["observed"][level], table["p"][level]
    report.add(**{f"best_{place}": seen["best layer"], f"best_{place}_p": least["best layer"]})
    report.add(**{f"input_{place}": seen["input layer"], f"input_{place}_p": least["input layer"]})
    report.add(**{f"context_{place}_p": least["best less input"], f"twin_{place}_p": least["best less twin"]})
known = told.summary(fits[0]["confounds_score"])[0]
deep = told.summary(adds.sel(model="twin"))[0, 1:].max()
report.add(ceiling_average=told.ceilings()[0], ceiling_person=told.ceilings()[-1], alone=known, twin_deep=deep)
least = table["p"].unstack()
both_add = (least[["best layer", "input layer"]] <= 0.05).all(axis=None)
report.add(n_exchanges=n_exchanges)
report.claim("the best layer and the input layer add to the confounds", both_add)
report.claim("context was not found to add", (least["best less input"] > 0.05).all())
report.claim("in the mean of people trained weights matter", report["twin_people_p"] <= 0.05)
report.claim("deep layers of a twin hold next to nothing", report["twin_deep"] < 0.25 * report["input_average"])
report

# %% mystnb={"image": {"alt": "A panel each for the average brain and the mean of people: partial correlation by layer, of the trained model with the interval over people, of an untrained twin, and a gray band where the best layer of exchanged sentences lies."}}
around, rows = told.interval(adds), []
for k, j in np.ndindex(2, len(levels)):
    labels = {"layer": depths, "model": adds["model"].values[k], "level": levels[j]}
    rows.append(pd.DataFrame(labels | vars(around[j, k])))
band = draws.sel(question="best layer").quantile([0.025, 0.95], "draw").to_pandas().T.set_axis(["low", "high"], axis=1)
band = band.rename_axis("level").reset_index().merge(pd.DataFrame({"layer": depths[[0, -1]]}), how="cross")
text = {"xlabel": "layer", "ylabel": "partial correlation (r)", "chance": band, "sharey": False}
text["title"] = f"Real readers ({told.name}), {len(told.subjects)} of them"
report.figure("layers", plotting.lines(pd.concat(rows), "layer", "value", hue="model", col="level", **text))

# %% [markdown]
# *What to see:* partial correlation over layers, with 95 % intervals over people; gray: 2.5 to 95 % of what the best layer gets from exchanged sentences. In the
# average brain the confounds alone predict with {glue:text}`alone:.2f`. The best layer adds {glue:text}`best_average:.2f` (p = {glue:text}`best_average_p:.2f`),
# where {glue:text}`ceiling_average:.2f` is possible; in single people {glue:text}`best_people:.3f` (p = {glue:text}`best_people_p:.2f`), where
# {glue:text}`ceiling_person:.2f` is. {glue:text}`n_exchanges` exchanges give no smaller p.
#
# **Which word it is** tells most of it: the input layer, which knows no context, adds {glue:text}`input_average:.2f`, and the twin's, random numbers that are the
# same whenever a word comes back, nearly as much. Deeper, a twin mixes the words of a sentence at random and holds next to nothing
# ({glue:text}`twin_deep:.2f` at most). The best trained layer lies above the twin's best with p = {glue:text}`twin_average_p:.2f` (average brain) and
# {glue:text}`twin_people_p:.2f` (mean of people), and above its own input layer with p = {glue:text}`context_average_p:.2f` and
# {glue:text}`context_people_p:.2f`: that the *context* of these short sentences adds was not found. A choice among layers gains by luck as well, which the
# exchanges repeat: the differences look larger than they are.
#
# ## What we have shown, and what not
#
# In real readers, word by word, a model's surprisal goes with the N400, and its layers predict it beyond length, position and frequency. Which word was read
# does most of that. One number a word, from few electrodes, cannot tell places in the brain apart, and people who are shown single words do not read as we do.
#
# ## Exercise
#
# Leave frequency out of the confounds (`-p confounds rate`). What happens to the score of the input layer, and why?
#
# :::{admonition} Solution
# :class: dropdown
# In the average brain it adds {glue:text}`few_input:.2f` instead of {glue:text}`input_average:.2f`: an input embedding knows how frequent its word is.
# :::

# %% tags=["hide-cell"]
few = story(data, n_folds, confounds="rate")
less = cross_validate(word_sweep(both[0][:1], few.design), few.heads, standardize=False, **options | few.options)[
    "partial"
]
report.add(few_input=told.summary(less)[0, 0])
report.claim("without frequency the input layer adds more", report["few_input"] > report["input_average"])
report

# %% [markdown]
# ## Run it on your own data
#
# A folder with words of sentences and responses to them, NaN where there is none; one value a sentence stands at its last word. `brainalign check my_folder`
# says what it lacks, and what else can be done with it.
#
# ```bash
# papermill notebooks/02_layer_alignment_in_readers.ipynb mine.ipynb -p dataset my_folder -p results my_results
# ```
#
# ## What the paper found
#
# {cite:t}`frank2015` related the surprisal of simpler language models to several components of the response to each of these words, and found an effect on the
# N400 that was the stronger the better a model knew the language. {cite:t}`mischler2024` had intracranial recordings of people who listened.
