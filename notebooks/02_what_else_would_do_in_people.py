# %% [markdown]
# # What else would do as well?
#
# A score that beats chance says that a description fits. It does not say that nothing else would. This page compares descriptions that hold no meaning, shows
# how a common way of cleaning data lets them predict, and how a common way of cutting folds raises all scores.
#
# :::{admonition} In this chapter
# **You will learn** how far word identity and mere slowness go, how to test an analysis by a question without an answer, and how to clean blocks and cut folds.
#
# **You need** [the page before](02_layer_alignment_in_people). **It takes** about 10 minutes to read, and a minute or two to run, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "alice"  # a story heard by people: "alice", "podcast" or a folder of your own
dataset_options: dict = {}  # passed to datasets.load_listening
confounds: str = "strong"  # what descriptions have to add to: "strong", or "rate" for word rate and length alone
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
n_blocks: int = 6  # blocks that are predicted in turn
gap: int = 10  # volumes (or words) left out beside a test block
skip: int = 10  # volumes (or words) left out at the start: the onset of the story
step: int = 10  # every how many layers one is compared
n_random: int = 20  # random descriptions of each kind
n_reversed: int = 8  # smooth random descriptions that predict responses running backwards
seed: int = 0  # of the random descriptions
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/02_what_else_would_do_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.features.language import layer_features
from brainalign.features.words import random_features
from brainalign.ridge import cross_validate, word_sweep
from brainalign.story import story

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Two competitors without meaning
#
# Beside the model we run descriptions that a language model should beat, each with as many numbers a word, and score all by what they add to the confounds
# (as [the page before](02_layer_alignment_in_people) did with two more, the untrained twin and the input layer):
#
# - **random by word**: random numbers, the same whenever a word comes back. They know which word was said, and nothing of what it means;
# - **smooth random**: random numbers that change slowly along the story, without any text. {cite:t}`feghhi2024` and {cite:t}`hadidi2025` show that slowness
#   alone can give the scores that are read as likeness to a brain.

# %%
data = datasets.load_listening(dataset, **dataset_options)
told = story(data, n_blocks, gap=gap, skip=skip, confounds=confounds)
options = told.options | {"alphas": np.logspace(0, 6, 7)}
states = layer_features(data.words, model, start_token=True, device=device)
rivals = {"layers": states[::step]}
for name, kind in {"random by word": "type", "smooth random": "smooth"}.items():
    rivals[name] = random_features(data.words, states.sizes["feature"], n_random, kind=kind, seed=seed)
sweeps = {name: word_sweep(values, told.design) for name, values in rivals.items()}
fits = {name: cross_validate(x, told.heads, standardize=False, **options)["partial"] for name, x in sweeps.items()}
rows = [told.summary(fit).to_series().rename("r").reset_index().assign(description=name) for name, fit in fits.items()]
scores = pd.concat(rows)
most = scores.groupby(["level", "description"], sort=False)["r"].max().unstack(sort=False)
report.add(n_random=n_random, layers_most=most["layers"].iloc[0])
report.add(type_most=most["random by word"].iloc[0], smooth_most=most["smooth random"].iloc[0])
best_random = most.drop(columns="layers").max(axis=1)
report.claim("no random description adds as much as the best layer", (most["layers"] > best_random).all())
report.claim("by luck some of either kind add to the confounds", most.drop(columns="layers").iloc[0].min() > 0)
report

# %% mystnb={"image": {"alt": "A panel each for the average brain and the mean of people: partial correlation of every tested layer and of each random description, one dot each, in three columns, and a dashed line at zero."}}
title = f"Real people ({told.name}), {len(told.subjects)} of them"
text = {"xlabel": "", "ylabel": "partial correlation (r)", "title": title, "levels": {"zero": 0}, "sharey": False}
report.figure("rivals", plotting.points(scores, "description", "r", col="level", **text))

# %% [markdown]
# *What to see:* every dot is a layer of the model, or one random description. At the first level (the average brain, where there is one) the best of the tested
# layers reaches {glue:text}`layers_most:+.2f`, the best of {glue:text}`n_random` random descriptions by word {glue:text}`type_most:+.2f` and of as many smooth
# ones {glue:text}`smooth_most:+.2f`. None comes up to the best layer. But some descriptions add to the confounds though they hold no meaning: one story is
# short, and what drifts along by luck seems to explain it. Without chance, as on [the page before](02_layer_alignment_in_people), a score is no finding.
#
# ## Why blocks are cleaned apart
#
# Slow drift is usually removed over the whole run, from responses and regressors alike, with the same slow cosines. This ties the parts of the run together:
# what the training samples lose depends on the test samples. The control is one that nothing can pass honestly: smooth random descriptions, which hold no
# text, predict the responses *running backwards*. Drift is removed over the whole run (by polynomials as slow as those of the blocks), or block by block:

# %%
run, slow = story(data, 1, skip=skip, confounds="rate"), {"n_blocks": 1, "degree": 2 * n_blocks - 1}
whole = signals.detrend_blocks(run.design, **slow), signals.detrend_blocks(run.responses, **slow)
ways = {"over the whole run": whole, "block by block": (told.design, told.responses)}
textless = random_features(data.words, states.sizes["feature"], n_reversed, kind="smooth", seed=seed)
plain = {name: value for name, value in options.items() if name != "confounds"}
people, backwards = (told.responses["group"] == "people").to_numpy(), {}
for name, (design, responses) in ways.items():
    reverse = responses.to_numpy()[::-1, people]
    fit = cross_validate(word_sweep(textless, design), reverse, standardize=False, **plain)
    backwards[name] = fit["score"].mean("channel").to_numpy()
tied, apart = (stats.t_interval(draws) for draws in backwards.values())
report.add(tied=tied, apart=apart)
report.claim("drift removed over the whole run predicts blood that runs backwards", tied.low > 0)
report.claim("blocks cleaned apart predict nothing of it", apart.high < 0)
report

# %% mystnb={"image": {"alt": "Score of smooth random descriptions on reversed responses, one dot each, for drift removed over the whole run and block by block, with a dashed line at zero."}}
frame = pd.DataFrame(backwards).melt(var_name="drift removed", value_name="r")
title = f"Random descriptions against time ({told.name})"
text = {"xlabel": "drift removed", "ylabel": "mean score of people (r)", "title": title, "levels": {"zero": 0}}
report.figure("backwards", plotting.points(frame, "drift removed", "r", **text))

# %% [markdown]
# *What to see:* mean score of people in two columns; each dot is one random description. With drift removed over the whole run they "predict" by
# {glue:text}`tied` on average (95 % interval over descriptions), with every block cleaned by itself by {glue:text}`apart`: below zero, as held-out prediction
# of nothing is. Circular shifts of the responses, the usual {term}`surrogates <surrogate>`, would not show this: they break the tie that they should measure.
#
# ## What we have shown, and what not
#
# By luck, descriptions of word identity or of mere slowness can add to the confounds, less than trained layers. An analysis whose parts are tied finds what is
# not there. Other descriptions may do as well as a language model.
#
# ## Exercises
#
# 1. Repeat the analysis with *shuffled* folds, so that each test sample has its neighbours in the training set. What happens to the scores?
# 2. How high do smooth random descriptions score with shuffled folds?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The best layer's score alone goes from {glue:text}`layers_contiguous:.2f` to {glue:text}`layers_shuffled:.2f`, with the same brains and model: neighbouring
#    samples share most of their response and of their words, so that little of what is tested is new.
# 2. They reach {glue:text}`smooth_shuffled:.2f` at most, instead of {glue:text}`smooth_contiguous:.2f`. Scores compare only where folds are the same.
# :::

# %% tags=["hide-cell"]
shuffled = {"cv": KFold(n_blocks, shuffle=True, random_state=seed), "alphas": plain["alphas"]}
for name in ("layers", "smooth random"):
    for folds, ask in {"contiguous": plain, "shuffled": shuffled}.items():
        score = cross_validate(sweeps[name], told.heads, standardize=False, **ask)["score"]
        report.add(**{f"{name.split()[0]}_{folds}": told.summary(score)[0].max()})
report.claim("shuffled folds raise the layers' score", report["layers_shuffled"] > report["layers_contiguous"])
report.claim("shuffled folds raise random ones, too", report["smooth_shuffled"] > report["smooth_contiguous"])
report

# %% [markdown]
# ## Run it on your own data
#
# ```bash
# papermill notebooks/02_what_else_would_do_in_people.ipynb mine.ipynb -p dataset my_folder -p confounds rate -p results my_results
# ```
#
# ## What the papers found
#
# {cite:t}`feghhi2024` find that with shuffled folds a feature of nothing but temporal autocorrelation outdoes language models, and that with contiguous folds
# sentence length and position and static word embeddings tell most of what models do. {cite:t}`hadidi2025` follow such confounds through more recordings.
