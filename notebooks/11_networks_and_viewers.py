# %% [markdown]
# # Trained networks and virtual viewers
#
# [The page before](11_a_network_that_sees_in_sentences) trained networks on captions, and twins on categories. Does a network that learned captions match a
# brain better than its twin, and how would one tell? Here the brain is planted: high-level regions of a {term}`virtual cohort` respond to captions.
#
# :::{admonition} In this chapter
# **You will learn** how to hold a network against brains, by RSA and prediction; why an untrained network and seeds stand beside it; what a match shows.
#
# **You need** [the page before](11_a_network_that_sees_in_sentences), chapters [7](07_captions_and_visual_cortex), [8](08_encoding_and_selectivity). **It
# takes** 10 minutes, two to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
preset: str = "small"  # the networks: "small", or "paper" for a GPU
changes: dict = {}  # fields of that configuration that differ, such as epochs
n_scenes: int = 2000  # rendered scenes to train on and to hold out
n_held_out: int = 300  # of these pictures, learned from by no network
n_seeds: int = 3  # networks of each kind
n_jobs: int = 2  # networks trained at once; 1 on a GPU
checkpoints: str = ""  # folder of trained networks; "" is in the cache folder
n_people: int = 4  # virtual viewers
n_folds: int = 5  # parts of the training images that choose the penalties of encoding models
n_permutations: int = 199  # orders of images, for chance
n_resamples: int = 300  # bootstrap draws of images
seed: int = 0  # of the first network, of viewers, orders and draws
device: str = "auto"  # where networks run: "auto", "cpu" or "cuda"
results: str = "results/11_networks_and_viewers"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, rsa, stats
from brainalign.book import Report
from brainalign.features import images, rcnn
from brainalign.features.captions import embed
from brainalign.features.images import activations
from brainalign.ridge.vertexwise import encode, region_means
from brainalign.rsa import compare_rdms, rdm
from brainalign.simulated.scenes import render_scenes

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## The networks, and what they see
#
# The networks are those of the page before: of each kind {glue:text}`n_seeds`, which differ in their first weights (each has its *seed*), and the same ones
# before training. They look at all images of the viewers of chapter 7, {glue:text}`n_test` of which everybody saw: the test images. We take what is in the
# last layer at the last time step, as the study does. Beside the networks stand the caption embeddings, which need somebody who writes captions.

# %% tags=["remove-stderr"]
config = rcnn.preset(preset, seed=seed, **changes)
pictures, captions, categories = images.learning_set(render_scenes(n_scenes, seed=1), config.image_size)
targets = {"captions": embed(captions, embeddings, device=device).values, "categories": categories.to_numpy("float32")}
options = {"n_seeds": n_seeds, "n_held_out": n_held_out, "folder": checkpoints, "n_jobs": n_jobs, "device": device}
twins = rcnn.train_twins(pictures, targets, config, **options)
viewers = {"roi": "streams", "n_subjects": n_people, "embeddings": embeddings, "seed": seed}
data = datasets.load_viewing("virtual", **viewers, device=device)
test, at = list(data.test_images), data.image_names.get_indexer(data.test_images)
shown = images.resize(np.asarray(data.images), config.image_size)
kinds = ["trained on captions", "trained on categories", "untrained"]
keys = [f"{kind}, {s}" for kind in kinds for s in range(seed, seed + n_seeds)]
inside = {key: activations(network, shown).values for key, network in zip(keys, twins.networks.values(), strict=True)}
inside["caption embeddings"] = embed(data.captions, embeddings, device=device).values
report.add(n_seeds=n_seeds, n_test=len(test), n_permutations=n_permutations)
data

# %% [markdown]
# ## By dissimilarities
#
# As in chapter 7: {term}`correlation distance`, Pearson correlation of RDMs, divided by the noise ceiling of the person. For chance, images exchange names,
# {glue:text}`n_permutations` times ({term}`Mantel test`). We average *scores* over the networks of a kind, never RDMs: their average is another model.

# %% mystnb={"image": {"alt": "Four panels, one a region: scores of networks trained on captions, on categories, untrained ones and of the caption embeddings, a dot a viewer, the mean, and a line for chance."}}
brains = rsa.brain_rdms(data)  # (region, subject, pair)
regions = pd.Index(brains["region"].values, name="region")
models = {name: rdm(values[at]) for name, values in inside.items()}
kind_of = {"model": [name.split(", ")[0] for name in models]}
order = {"model": [*kinds, "caption embeddings"]}
top = xr.concat([rsa.noise_ceiling(part, pooling="plain")["lower"] for part in brains], regions)
each = compare_rdms(brains, rsa.batch_rdms(models, len(test))[:, 0], "pearson") / top  # (region, subject, model)
null = [rsa.mantel_null(models, part, n_permutations=n_permutations, seed=seed) for part in brains]
null = (xr.concat(null, regions) / top).mean("subject")
scores, chance = (some.assign_coords(kind_of).groupby("model").mean().sel(order) for some in (each, null))
p = stats.p_values(scores.mean("subject"), chance)
text = {"label": "score / noise ceiling", "title": f"Dissimilarities, {data.name}"}
report.figure("dissimilarities", plotting.places(scores, p <= 0.05, chance=chance.quantile(0.95, "draw"), **text))

# %%
high = [region for region in regions if region != "early"]
means = scores.mean("subject").sel(region=high)
trained, untrained = means.sel(model=kinds[0]), means.sel(model="untrained")
share = 100 * trained / means.sel(model="caption embeddings")
report.add(untrained_low=untrained.min(), untrained_high=untrained.max())
report.add(untrained_p=p.sel(model="untrained", region=high).max())
report.add(captions_low=trained.min(), captions_high=trained.max(), percent_low=share.min(), percent_high=share.max())
report.claim("untrained networks match every high-level region beyond chance", report["untrained_p"] <= 0.05)
behind = "networks trained on captions do not reach the caption embeddings in any high-level region"
report.claim(behind, report["percent_high"] < 100)
report

# %% [markdown]
# *What to see:* dots are viewers and their mean, red is chance. An *untrained* network scores {glue:text}`untrained_low:.2f` to {glue:text}`untrained_high:.2f`
# in the high-level regions, beyond chance in each (p at most {glue:text}`untrained_p:.3f`). Pictures with similar captions look alike, and a random mixture of
# pixels knows what looks alike. **A match above chance needs no learning.** So what counts is the difference to the untrained network, and to the twin.
# Networks trained on captions score {glue:text}`captions_low:.2f` to {glue:text}`captions_high:.2f`, {glue:text}`percent_low:.0f` to
# {glue:text}`percent_high:.0f` % of what the caption embeddings reach. (In the study the network matches brains *better* than its own targets do.)
#
# ## By prediction, and against the twin
#
# RSA gives every number of the last layer the same weight. An {term}`encoding model` asks for less: is what a vertex does a *weighted sum* of them? One is
# fitted for every vertex, on the images that a person alone saw, and scored on the test images. There is no ceiling: compare within a region.
# Is the network trained on captions better than its twin of the same seed, and than itself before training? The table has, for each region, the mean
# difference, the smallest of any seed, and for RSA an interval over images. We give no interval over viewers: it would measure the simulation.

# %% mystnb={"image": {"alt": "Four panels, one a region: correlations of predicted and observed responses for networks trained on captions, on categories, untrained ones and caption embeddings, a dot a viewer and the mean."}}
places = {name: encode(data, values, cv=n_folds, device=device).scores for name, values in inside.items()}
encoded = xr.concat([region_means(own, data.rois) for own in places.values()], pd.Index(list(places), name="model"))
text = {"label": "score (Pearson r)", "title": f"Encoding models, {data.name}"}
by_kind = encoded.assign_coords(kind_of).groupby("model").mean().sel(order)
report.figure("encoding", plotting.places(by_kind, xr.ones_like(by_kind.mean("subject"), dtype=bool), **text))

# %%
draws = [rsa.image_bootstrap(part, models, n_resamples=n_resamples, seed=seed)["draws"] for part in brains]
draws = (xr.concat(draws, regions) / top.mean("subject")).assign_coords(kind_of).groupby("model").mean().sel(order)
less = (draws.sel(model=kinds[0]) - draws.sel(model=kinds[1:])).assign_coords(model=["twin", "untrained"])
rows, ends = {}, less.quantile([0.025, 0.975], "resample")
for k, rival in enumerate(less["model"].values, start=1):
    for measure, values in (("RSA", each), ("encoding", encoded)):
        theirs = values.sel(model=keys[k * n_seeds : (k + 1) * n_seeds])
        lead = (values.sel(model=keys[:n_seeds]) - theirs.values).mean("subject")
        rows[rival, measure] = pd.DataFrame({"lead": lead.mean("model"), "least seed": lead.min("model")}, regions)
    rows[rival, "RSA"][["from", "to (95 %, images)"]] = ends.sel(model=rival).values.T
leads = pd.concat(rows, names=["against", "measure"])
leads.style.format("{:+.3f}", na_rep="")

# %%
beyond = leads.drop("early", level="region")
overall = less.sel(region=high).mean("region").quantile([0.025, 0.975], "resample")
mean = beyond["lead"].groupby(level=["against", "measure"]).mean()
for rival in ("twin", "untrained"):
    gap = stats.Estimate(mean[rival, "RSA"], *overall.sel(model=rival).values, len(test))
    report.add(**{f"{rival}_gap": gap, f"{rival}_encoding": mean[rival, "encoding"]})
    report.claim(f"in the mean over high-level regions, captions lead over the {rival}", mean[rival].min() > 0)
ahead = beyond.loc["untrained", "least seed"].min() > 0
report.claim("by both measures, every seed is ahead of the untrained network in each high-level region", ahead)
report.claim("the lead over the untrained network holds over other images, too", report["untrained_gap"].low > 0)
report.claim("leads over twins are under a third of those over untrained", (3 * mean["twin"] < mean["untrained"]).all())
unsure = report["twin_gap"].low < 0 or beyond.loc["twin", "least seed"].min() < 0
report.claim("the lead over the twin is not certain, over other images or over seeds", unsure)
early = leads.loc["twin"].xs("early", level="region")["lead"]
report.add(early_rsa=early["RSA"], early_encoding=early["encoding"])
report.claim("on the mean captions lead over the twin in the early region, too", early.min() > 0)
report

# %% [markdown]
# *What to see:* in the high-level regions, networks trained on captions lead over the untrained, by both measures and in every seed: by
# {glue:text}`untrained_gap` in RSA (interval over images) and {glue:text}`untrained_encoding:.2f` in encoding, in the mean over these regions. On the mean they
# lead over their twins, too, but by less than a third of that and not for certain (see the interval, and the least seeds in the table): by
# {glue:text}`twin_gap` and by {glue:text}`twin_encoding:.3f`. **A twin comes close even where captions are what is planted**: categories decide much
# of what captions say here. So a small difference between twins on real people says little. And on the mean captions lead over twins in the *early* region,
# too, which follows pixels and no captions, by {glue:text}`early_rsa:.2f` and {glue:text}`early_encoding:.2f`: a lead **does not say what drives a region**.
# **What of this is true by construction?** The viewers' high-level regions respond to caption embeddings because we made them so: a network that has
# learned to guess these should match. All that we show is that networks learned, and that both measures notice; not what real brains follow.
#
# ## Which layer, which time step?
#
# The same comparison for all layers and time steps, counted from 0, mean over networks and viewers, not divided by the ceiling.

# %% mystnb={"image": {"alt": "Four heat maps of scores by layer and time step: networks trained on captions and on categories, in the early and in the ventral region."}}
grids, layers = {}, [(layer, step) for layer in range(len(config.channels)) for step in range(config.time_steps)]
for (kind, _), network in list(twins.networks.items())[: 2 * n_seeds]:  # trained ones
    tables = np.stack([rdm(activations(network, shown[at], *where).values) for where in layers])
    for region in ("early", "ventral"):
        score = compare_rdms(tables, brains.sel(region=region).values, "pearson").mean(1)
        grids.setdefault((kind, region), []).append(score.reshape(-1, config.time_steps))
means = {", ".join(key): pd.DataFrame(np.mean(grid, axis=0)) for key, grid in grids.items()}
text = {"label": "score (Pearson r)", "xlabel": "time step", "ylabel": "layer"}
report.figure("layers", plotting.heatmaps(means, title=f"Layers and time steps, {data.name}", **text))

# %%
last = {key: [grid.max(1).argmax() == len(grid) - 1 for grid in own] for key, own in grids.items()}
ventral, of_early = means["captions, ventral"].iloc[-1], [*last["captions", "early"], *last["categories", "early"]]
report.add(first_step=ventral.iloc[0], last_step=ventral.iloc[-1], last_best=100 * np.mean(list(last.values())))
report.claim("in most trained networks and regions the last layer matches best", report["last_best"] > 50)
report.claim("for the early region, too, it is mostly the last", np.mean(of_early) > 0.5)
report

# %% [markdown]
# *What to see:* the last layer matches best in {glue:text}`last_best:.0f` % of the cases (trained networks; ventral and early region). So nothing here shows
# that early layers go with early cortex. (Layers are averaged over places: what is left of early ones is which stripes there are, not where.) With captions,
# the last layer matches ventral cortex at {glue:text}`first_step:.2f` in the first time step and at {glue:text}`last_step:.2f` in the last.
#
# ## What we have shown
#
# Networks that learned captions match viewers who follow captions better than untrained networks do, by both measures, and, by far less and within the scatter
# over images, than twins. An untrained network is beyond chance, so that chance is the wrong thing to beat; a twin is the harder rival.
#
# ## Exercise
#
# What do fewer pictures, or no recurrence, do to the match? And as all embeddings have much in common: does training on targets without their mean help?
#
# :::{admonition} Solution
# :class: dropdown
# A quarter of the pictures (and so of the steps) costs much of the match; no recurrence hardly any. With a quarter, removing the mean helps: otherwise much of
# the loss is won by the mean, which the read-out's constant learns at once. These are single networks: small differences need more.
# :::

# %% tags=["hide-cell"]
first, few, goals = twins.networks["captions", seed], twins.learned[::4], targets["captions"]
runs = [(twins.learned, goals, replace(first.config, time_steps=1)), (few, goals, first.config)]
runs += [(few, goals - twins.means["captions"], first.config)]
trained = [rcnn.train(pictures[k], aims[k], own, folder=twins.folder, device=device).network for k, aims, own in runs]
names = ["as above", "one time step", "a quarter of the pictures", "a quarter, mean removed"]
own_models = [rdm(activations(network, shown[at]).values) for network in (first, *trained)]
match = pd.Series([compare_rdms(brains.sel(region=high), own, "pearson").mean() for own in own_models], names)
report.claim("a quarter of the pictures costs a third of the match or more", match.iloc[2] < match.iloc[0] * 2 / 3)
report.claim("no recurrence costs a fifth of the match at most", match.iloc[1] > 0.8 * match.iloc[0])
report.claim("with a quarter of the pictures, removing the mean helps", match.iloc[3] > match.iloc[2])
match.round(2)
