# %% [markdown]
# # Layers and people, without fitting
#
# [The page before](04_models_and_electrodes) found a planted order of layers in virtual electrodes without a single fitted weight. What does the same measure find in
# people? We compare layers of a language model with all responses to a story in each region, by default those of people who heard *Alice* {cite:p}`brennan2016`.
#
# :::{admonition} In this chapter
# **You will learn** how to keep the rhythm of the words out of a comparison, what chance is where everybody heard one story, and why not to fit is the blunter tool.
#
# **You need** [the page before](04_models_and_electrodes) and rolled contents from [chapter 2](02_layer_alignment_in_people). **It takes** 8 minutes to read, two to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "alice"  # "alice", "podcast" or a folder: a story with the same text for everybody
dataset_options: dict = {}  # passed to datasets.load_listening
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
n_depths: int = 9  # layers of the model, evenly spaced
n_blocks: int = 6  # blocks of the recording, each cleaned by itself
skip: int = 10  # volumes or words left out at the start: the onset of the story
batch_size: int = 1000  # volumes or words compared at a time; Alice has 352 volumes
n_rolls: int = 100  # rolls of the layers' contents along the words
q: float = 0.05  # false discovery rate over regions
seed: int = 0  # of the rolls
device: str = "auto"  # where the model runs: "auto", "cpu" or "cuda"
results: str = "results/04_converging_models_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.features.language import layer_features, n_layers
from brainalign.ridge import RolledSweeps, word_sweep
from brainalign.rsa import cka_matrix
from brainalign.story import story

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## What leaves both sides
#
# A region's responses, one or more from each person, describe the story at every volume (or, with electrodes, at every word). Layers come to volumes by the
# {term}`haemodynamic response`. Word rate and length are in every layer and region and would make all of them alike; nothing is fitted that could hold them as a
# baseline, so they have to go. With `remove=True`, `story` takes them out of each of {glue:text}`n_blocks` blocks, with slow drift and, where it is known, head motion:
# out of the responses and of the design that brings words to volumes (where each sample is one word, out of the responses alone: what is gone from one side has no
# product with the other). Each region, and copies without one person at a time ({term}`jackknife`), are compared with {glue:text}`n_layers` layers.

# %%
data = datasets.load_listening(dataset, **dataset_options)
told = story(data, n_blocks, skip=skip, confounds="rate", remove=True)
people = told.responses[:, told.responses["group"].to_numpy() == "people"]
subject, region = people["subject"].to_numpy(), people["region"].to_numpy()
whose = {name: np.unique(subject[region == name]) for name in told.regions}
regions = [name for name, some in whose.items() if name and len(some) >= 3]
whole = {name: people[:, region == name].to_numpy() for name in regions}
layers = np.unique(np.round(np.linspace(0, 1, n_depths) * n_layers(model)).astype(int))
states = layer_features(data.words, model, layers=layers, start_token=True, device=device)
swept = word_sweep(states, told.design)
precision = []
for name in regions:
    reduced = [people[:, (region == name) & (subject != one)].to_numpy() for one in whose[name]]
    found = cka_matrix(list(swept.values), [whole[name], *reduced], batch_size=batch_size).values.T
    precision.append(stats.jackknife_interval(found[0], found[1:]))
profile = np.stack([one.value for one in precision], axis=1)  # (layer, region)

# %% [markdown]
# ## Chance
#
# Shifting the responses in time, as the page before did, would not do: it breaks the tie between the *timing* of words and the responses as well, and any description
# that knows when words come would look better than chance. We roll the *contents* along the words instead ({term}`content null`), {glue:text}`n_rolls` times.
# The p-value of a region compares its best layer with that of each roll; the {term}`false discovery rate` over regions is {glue:text}`q_percent:g` %.

# %%
rolls = RolledSweeps(states, told.design, n_rolls=n_rolls, seed=seed)
null = np.stack([cka_matrix(list(rolled.values), whole, batch_size=batch_size).values for rolled in rolls])
p = stats.p_values(profile.max(0), null.max(1))
beyond = stats.fdr(p, q)[0]
report.add(n_blocks=n_blocks, n_layers=len(layers), n_rolls=len(rolls), q_percent=100 * q, n_regions=len(regions))
report.add(n_found=beyond.sum(), smallest_p=p.min(), chance=null.mean())
report.claim("in every region the best layer is beyond chance", beyond.all())
report.claim("chance is above zero for a debiased measure", null.mean() > 0)
report

# %%
best = {"best layer": layers[profile.argmax(0)], "its CKA": profile.max(0)}
best["95 % of rolls"] = np.quantile(null.max(1), 0.95, axis=0)
counts = {"people": [len(whose[name]) for name in regions], "responses": [side.shape[1] for side in whole.values()]}
pd.DataFrame({**counts, **best, "p": p, "beyond chance": beyond}, regions).round(3)

# %% mystnb={"image": {"alt": "A panel for each region: CKA of its responses with each layer, the band of its interval over people, and a gray band that holds 95 percent of the rolls of each layer."}}
low, high = np.quantile(null, [0.025, 0.975], axis=0)
rows = pd.DataFrame({"layer": np.tile(layers, len(regions)), "region": np.repeat(regions, len(layers))})
ends = {end: np.ravel([getattr(one, end) for one in precision]) for end in ("low", "high")}
drawn, chance = rows.assign(cka=profile.T.ravel(), **ends), rows.assign(low=low.T.ravel(), high=high.T.ravel())
text = {"xlabel": "layer", "ylabel": "CKA", "title": f"Layers and regions, {data.name}: real people"}
report.figure("regions", plotting.lines(drawn, "layer", "cka", col="region", chance=chance, **text))

# %% [markdown]
# *What to see:* CKA by layer, a panel a region ([chapter 1](01_listening_data_in_people) spells out names in *Alice*). Blue is CKA with its 95 % interval over
# people (precision, no evidence), gray (*chance*) holds 95 % of each layer's rolls. The best layer is beyond chance in {glue:text}`n_found` of
# {glue:text}`n_regions` regions (smallest p = {glue:text}`smallest_p:.3f`). We claim only that the contents of words matter: which, from rarity to meaning, CKA
# does not say. Rolled layers average {glue:text}`chance:.3f`, although *debiased* CKA is zero on average for independent samples, as volumes are not.
#
# **What a comparison without weights cannot say.** [Chapter 2](02_layer_alignment_in_people), which fits weights, asks whether some combination of features predicts a
# region. CKA weighs everything that the responses hold, what people share and what is each one's own, and is the blunter tool: a region without a clear CKA may well be
# predicted. A few regions without coordinates cannot show an order along cortex, and no layer's lead over its neighbours was tested.
#
# ## Exercise
#
# Leave word rate and length in (`remove=False`) and roll the contents, 19 times instead of {glue:text}`n_rolls`: enough for a mean. What changes?
#
# :::{admonition} Solution
# :class: dropdown
# CKA rises in every region, the mean of the rolls in none: rolling moves word length, too, so that what counting letters gives is credited to layers. It has to go.
# :::

# %% tags=["hide-cell"]
kept = story(data, n_blocks, skip=skip, confounds="rate")
kept_people = kept.responses[:, kept.responses["group"].to_numpy() == "people"]
sides = [kept_people[:, region == name].to_numpy() for name in regions]
observed = cka_matrix(list(word_sweep(states, kept.design).values), sides, batch_size=batch_size).values.max(0)
some = RolledSweeps(states, kept.design, n_rolls=19, seed=seed)
rolled = np.stack([cka_matrix(list(one.values), sides, batch_size=batch_size).values.max(0) for one in some])
table = {"CKA, left in": observed, "mean of rolls, left in": rolled.mean(0), "CKA, taken out": profile.max(0)}
table = pd.DataFrame({**table, "mean of rolls, taken out": null.max(1).mean(0)}, regions)
higher, rolls_higher = table["CKA, left in"] > table["CKA, taken out"], rolled.mean(0) > null.max(1).mean(0)
report.claim("with word length left in, CKA rises in every region", higher.all())
report.claim("with word length left in, the mean of rolls rises in no region", not rolls_higher.any())
table.round(3)

# %% [markdown]
# ## Run it on your own data
#
# A folder with a BOLD signal of the same regions in every person, or with responses to words and a region for each electrode (three people or more in each):
# ```bash
# papermill notebooks/04_converging_models_in_people.ipynb mine.ipynb -p dataset my_folder -p results my_results
# ```
#
# Whether {cite:t}`mischler2024` compared layers and electrodes without weights, too, is not said in the sources that are open.
