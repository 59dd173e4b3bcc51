# %% [markdown]
# # How much context?
#
# A word means little by itself. Language models describe it in the light of up to thousands of words before it, and {cite:t}`mischler2024` report that with
# little context their performance and their match with the cortex suffer. What does a model lose when we take its context away, word by word?
#
# :::{admonition} In this chapter
# **You will learn** how to give a model exactly so many words of context, and what context does for its predictions, features and fit to responses.
#
# **You need** scores and chance levels of [chapter 2](02_layer_alignment). **It takes** about 15 minutes to read, and one or two to run, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
model: str = "smollm2-135m"  # language model, which also drives the virtual cohort: an asset, a folder or a hub name
contexts: list = [1, 2, 4, 8, 16, None]  # words, the word included; None: all so far
n_depths: int = 4  # layers: the middles of so many equal parts of the model
n_splits: int = 5  # contiguous folds of the outer cross-validation
inner_splits: int = 2  # folds inside each training set that choose the penalty
gap: int = 5  # words left out between training and test words
n_shifts: int = 2  # refitted circular shifts of every electrode, for chance
n_stretches: int = 20  # contiguous stretches of words, for intervals
q: float = 0.05  # false discovery rate of the test for responsive electrodes
seed: int = 0  # of shifts and draws
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/05_context"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.features.language import LanguageModel
from brainalign.ridge import ContiguousKFold, cross_validate
from brainalign.rsa import cka_matrix

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Exactly so many words
#
# We use the {term}`virtual cohort` of [chapter 1](01_listening_data), as noisy as real recordings; real people follow [two pages on](05_context_in_people).
#
# *Context* ({term}`context`) is counted in words here, not in tokens ({term}`token`), and includes the word itself: with a context of 1 the model sees the
# word and nothing else, with 4 the word and three before it, with "all" everything since the passage began. One run serves many lengths: a
# {term}`causal language model` never looks ahead, so in a window of 16 words the first has a context of 1, the second of 2, and so on; one such window from
# each word on gives *all* lengths up to 16. Every window begins with the "new text" token ({term}`attention sink`), which matters most in short ones.
#
# The same windows tell how well the model predicts each word: its {term}`surprisal`, here for a few of them, by context. The first number,
# {glue:text}`first_word_bits:.1f` bits, means that the model gave the word one chance in 2 to the power of {glue:text}`first_word_bits:.1f`.

# %%
data = datasets.load_listening("virtual", model=model, device=device)
contexts = sorted(contexts, key=lambda c: np.inf if c is None else c)  # in results, None is infinite
words, labels = data.words, ["all" if c is None else str(c) for c in contexts]
reader = LanguageModel(model, start_token=True, device=device)
predicted = reader.predictions(words, context=contexts)
bits = predicted["bits"]
shown = pd.DataFrame(bits[:, 20:32].T.values.astype(float), index=words["word"][20:32].to_numpy(), columns=labels)
report.add(first_word_bits=shown.iloc[0, 0], n_words=len(words), n_stretches=n_stretches)
shown.round(1)

# %% [markdown]
# ## What context does for the model
#
# Averaged over all words, surprisal measures a model's performance: the fewer bits it needs to write down the text, the better. A second measure is how
# often the word was among the guesses: each of its tokens among the ten that the model held most likely, given all before it. To see how far other words
# would have changed the means, we {term}`bootstrap` {glue:text}`n_stretches` stretches of the text.

# %%
stretch = np.arange(len(words)) * n_stretches // len(words)
among_ten = 100 * (predicted["rank"] <= 10)
draws = {"n_resamples": 500, "clusters": stretch, "seed": seed}
surprise, hits = (stats.bootstrap_ci(part.T.values, **draws) for part in (bits, among_ten))
saved = surprise.value[0] - surprise.value
report.add(bits_one=surprise[0], bits_all=surprise[-1], half_context=labels[np.argmax(saved >= saved[-1] / 2)])
report.add(hits_one=hits[0], hits_all=hits[-1], n_hits_one=(predicted["rank"][0] <= 10).sum())
report.claim("the longer the context, the better the words are predicted", (np.diff(surprise.value) < 0).all())
report.claim("with a context of one word, no word is among the guesses", report["n_hits_one"] == 0)
report

# %% mystnb={"image": {"alt": "Mean surprisal in bits per word by context length, from one word to all, with a band of its interval."}}
frame, title = pd.DataFrame({"context": labels, **vars(surprise)}), f"How well {model} predicts the words"
text = {"xlabel": "context (words)", "ylabel": "surprisal (bits per word)", "title": title}
report.figure("surprisal", plotting.lines(frame, "context", "value", **text))

# %% [markdown]
# *What to see:* mean surprisal, and its 95 % interval over stretches. The longer the context, the better the words are predicted: from one word to all,
# surprisal goes from {glue:text}`bits_one` to {glue:text}`bits_all` bits, words among the guesses from none ({glue:text}`n_hits_one` of {glue:text}`n_words:,`)
# to {glue:text}`hits_all` %. Half of the saving takes a context of {glue:text}`half_context`. With one word, the model can only guess how texts begin.
#
# ## What context does for the features
#
# If late layers describe the context of a word, taking it away should change them more. We compare the features of each layer with limited and full context
# by debiased {term}`centred kernel alignment` ([chapter 4](04_converging_models)): 1 where the geometry of the words is the same, 0 where nothing is shared.
# Each stretch is compared by itself, with {term}`z-scored <z-score>` features, so that a few large ones do not rule. Layers are the middles of equal parts.

# %%
layers = np.unique(np.round((np.arange(n_depths) + 0.5) / n_depths * reader.n_layers).astype(int))
states = reader.states(words, context=contexts, layers=layers)
same = np.empty((n_stretches, len(layers), len(contexts)))
for k in range(len(layers)):
    scaled = ((states[:, k] - states[:, k].mean("word")) / states[:, k].std("word")).values
    for part in range(n_stretches):
        within = scaled[:, stretch == part]
        same[part, k] = cka_matrix(within, within[-1:]).values[:, 0]
likeness = stats.bootstrap_ci(same, n_resamples=500, method="percentile", seed=seed)
alone = likeness.value[:, 0]
report.add(first_layer=layers[0], last_layer=layers[-1], least_layer=layers[alone.argmin()])
report.add(cka_first=alone[0], cka_last=alone[-1], cka_least=alone.min())
report.claim("with one word, later layers lose more than the first", len(alone) > 1 and alone[1:].max() < alone[0])
report.claim("how much a layer loses is not simply in the order of the layers", (np.diff(alone) > 0).any())
report

# %% mystnb={"image": {"alt": "Centred kernel alignment of features with limited and with full context, by context length: a line a layer, each with a band of its interval, and a dashed line at zero."}}
lines = [pd.DataFrame({"context": labels, "layer": f"layer {n}"} | vars(likeness[k])) for k, n in enumerate(layers)]
title = "Features with limited and with full context"
text = {"levels": {"nothing shared": 0}, "xlabel": "context (words)", "ylabel": "CKA with full context", "title": title}
report.figure("features", plotting.lines(pd.concat(lines), "context", "value", hue="layer", **text))

# %% [markdown]
# *What to see:* a line a layer. With a context of one word, CKA with full context is {glue:text}`cka_first:.2f` in the first ({glue:text}`first_layer`),
# {glue:text}`cka_last:.2f` in the last ({glue:text}`last_layer`), and least in layer {glue:text}`least_layer`, {glue:text}`cka_least:.2f`. Later ones lose more
# than the first, but not simply in the order of the layers. That an electrode "needs context" is therefore tied to the layers we look at.
#
# ## What context does for the score
#
# Each of these layers, with every context length, predicts every electrode as in [chapter 2](02_layer_alignment); a context has the score of its best layer.
# For chance, {glue:text}`n_shifts` {term}`circular shifts <circular shift>` of each electrode go through the same fits with full context.
# {glue:text}`n_electrodes` electrodes are selected by their answer to speech ([chapter 1](01_listening_data)).

# %%
responsive = signals.speech_responsive(data.signal, words, q=q)["responsive"]
electrodes = data.channels[responsive & data.channels["distance_pmc"].notna()]
responses = data.responses.sel(channel=electrodes.index)
folds = {"groups": words["passage"].to_numpy(), "cv": ContiguousKFold(n_splits, gap=gap), "inner_cv": inner_splits}
folds |= {"alphas": np.logspace(0, 7, 8), "device": device}
fits = [cross_validate(one, responses, **folds)["score"] for one in states[:-1]]
last = cross_validate(states[-1], responses, null=stats.Shifts(n_shifts, min_shift=10, seed=seed), **folds)
chance = float(last["null"].max("layer").quantile(0.95))
by_context = xr.concat([*fits, last["score"]], states["context"]).max("layer").transpose("channel", "context")

# %%
bands = pd.cut(electrodes["distance_pmc"], [-1, 35, 70, np.inf], labels=["0 to 35 mm", "35 to 70 mm", "beyond 70 mm"])
scores = []
for band, inside in electrodes.groupby(bands, observed=True):
    found = stats.mean_over_subjects(by_context.sel(channel=inside.index), inside["subject"])
    scores.append(pd.DataFrame({"context": labels, "band": band} | vars(found)))
near, far = scores[0]["value"], scores[-1]["value"]
report.add(n_shifts=n_shifts, n_electrodes=len(electrodes), chance=chance)
report.add(near_one=near[0], near_all=near.iloc[-1], near_best=labels[near.argmax()])
report.add(far_one=far[0], far_all=far.iloc[-1], far_best=labels[far.argmax()], far_highest=far.max())
report.claim("near electrodes are predicted best with a shorter context than far ones", near.argmax() < far.argmax())
report.claim("near electrodes are predicted worse with all context than with their best", near.iloc[-1] < near.max())
report.claim("from its highest on, the score of far electrodes is level", np.ptp(far.iloc[far.argmax() :]) < 0.01)
report

# %% mystnb={"image": {"alt": "Score by context length, a line for each of three bands of distance with its interval over people, and a dashed line at the level of chance."}}
text = {"xlabel": "context (words)", "ylabel": "score of the best layer (r)", "levels": {"chance (95 %)": chance}}
title = "Virtual cohort: score and context by distance from Heschl's gyrus"
report.figure("scores", plotting.lines(pd.concat(scores), "context", "value", hue="band", title=title, **text))

# %% [markdown]
# *What to see:* a line for each band of distance, the mean over its electrodes, with intervals over people. Within 35 mm of {term}`Heschl's gyrus` the score
# goes from {glue:text}`near_one:.2f` with one word to {glue:text}`near_all:.2f` with all, and is highest at a context of {glue:text}`near_best`; beyond 70 mm
# it goes from {glue:text}`far_one:.2f` to {glue:text}`far_all:.3f`, is highest at {glue:text}`far_best` ({glue:text}`far_highest:.3f`) and level from there on.
# Below the dashed line ({glue:text}`chance:.2f`) are 95 of 100 shifts of single electrodes (best layer, full context).
#
# By construction, near electrodes were {term}`planted` with the features of one word, the farthest with those of all so far, in fifths of the hierarchy (1, 2,
# 4, 8, all; beyond 70 mm are 8 and all). Near ones are predicted *worse* by all context than by little; in a real brain more might just stop helping. We have
# shown what context does for a model, its features and fit, not how many words a *single* electrode needs: see [the next page](05_context_horizon).
#
# ## Exercise
#
# Compare the surprisal of one word with the number of letters of the word. What does a model without context know?
#
# :::{admonition} Solution
# :class: dropdown
# Longer words surprise it more: it has some idea of which words are common, and so short. But it was asked how documents begin, not how often words occur.
# :::

# %% tags=["hide-cell"]
of_words = pd.DataFrame(bits.values.T.astype(float), index=words.index, columns=labels)
with_length = of_words.corrwith(words["word"].str.len(), method="spearman").rename("Spearman of surprisal and length")
report.claim("a model without context finds long words more surprising", with_length.iloc[0] > 0)
with_length.rename_axis("context").to_frame().round(2)

# %% [markdown]
# `papermill notebooks/05_context.ipynb my_context.ipynb -y "contexts: [1, 4, 16, 64, null]" -p results my_results` takes longer windows (`null`: all words).
