# %% [markdown]
# # Trained networks and virtual viewers
#
# [The page before](11_a_network_that_sees_in_sentences) trained networks on captions, and twins on categories. Does a network that learned captions match a
# brain better than its twin? How would one tell? Here the brain is planted: a {term}`virtual cohort`, whose high-level regions respond to the embeddings of
# captions.
#
# :::{admonition} In this chapter
# **You will learn**
# how to hold a network against brains, by dissimilarities and by prediction; why an untrained network and seeds have to stand beside it; and what a better
# match shows, and what not.
#
# **You need** [the page before](11_a_network_that_sees_in_sentences), {term}`representational similarity analysis` and {term}`noise ceiling` of
# [chapter 7](07_captions_and_visual_cortex), and encoding models of [chapter 8](08_encoding_and_selectivity).
#
# **It takes** about 10 minutes to read, and two minutes to run once the networks are trained (the page before does that, or this one).
# :::

# %% [markdown]
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
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# ## The networks, and what they see
#
# The networks are those of the page before: of each kind {glue:text}`n_seeds`, which differ in their first weights (each has its *seed*), and the same ones
# before training. What was trained once is read from a folder.

# %% tags=["remove-stderr"]
config = rcnn.preset(preset, seed=seed, **changes)
pictures, captions, categories = images.learning_set(render_scenes(n_scenes, seed=1), config.image_size)
targets = {"captions": embed(captions, embeddings, device=device).values}
targets["categories"] = categories.to_numpy("float32")
options = {"n_seeds": n_seeds, "n_held_out": n_held_out, "folder": checkpoints, "n_jobs": n_jobs, "device": device}
twins = rcnn.train_twins(pictures, targets, config, **options)

# %% [markdown]
# They look at all images of the viewers of chapter 7, {glue:text}`n_test` of which everybody saw: the test images. We take what is in the last layer at the
# last time step, as the study does. Beside the networks stand the caption embeddings themselves, which need somebody who writes the captions.

# %%
viewers = {"roi": "streams", "n_subjects": n_people, "embeddings": embeddings, "seed": seed}
data = datasets.load_viewing("virtual", **viewers, device=device)
test, at = list(data.test_images), data.image_names.get_indexer(data.test_images)
shown = images.resize(np.asarray(data.images), config.image_size)
kinds = ["trained on captions", "trained on categories", "untrained"]
keys = [f"{kind}, {s}" for kind in kinds for s in range(seed, seed + n_seeds)]
inside = {key: activations(network, shown).values for key, network in zip(keys, twins.networks.values(), strict=True)}
inside["caption embeddings"] = embed(data.captions, embeddings, device=device).values
report.add(n_seeds=n_seeds, n_test=len(test), n_people=n_people, n_permutations=n_permutations)
data

# %% [markdown]
# ## By dissimilarities
#
# As in chapter 7: {term}`correlation distance`, Pearson correlation of RDMs, divided by the noise ceiling of the person. For chance, images exchange their
# names, {glue:text}`n_permutations` times ({term}`Mantel test`). We average *scores* over the networks of a kind, never RDMs: an average of RDMs is a model of
# its own, and less noisy.

# %%
brains = rsa.brain_rdms(data)  # (region, subject, pair)
regions = pd.Index(brains["region"].values, name="region")
models = {name: rdm(values[at]) for name, values in inside.items()}
top = [rsa.noise_ceiling(part, pooling="plain")["lower"] for part in brains]
top = xr.concat(top, regions)
each = compare_rdms(brains, rsa.batch_rdms(models, len(test))[:, 0], "pearson") / top  # (region, subject, model)
null = [rsa.mantel_null(models, part, n_permutations=n_permutations, seed=seed) for part in brains]
null = xr.concat(null, regions) / top


def of_kind(values):
    """Means over the networks of each kind."""
    named = values.assign_coords(model=[name.split(", ")[0] for name in values["model"].values])
    return named.groupby("model").mean().sel(model=[*kinds, "caption embeddings"])


scores, chance = of_kind(each), of_kind(null).mean("subject")
p = stats.p_values(scores.mean("subject"), chance)

# %% mystnb={"image": {"alt": "Four panels, one a region: scores of networks trained on captions, on categories, untrained ones and of the caption embeddings, a dot a viewer, the mean, and a line for chance."}}
levels = chance.quantile(0.95, "draw")
text = {"label": "score / noise ceiling", "title": f"Dissimilarities, {data.name}"}
report.figure("dissimilarities", plotting.places(scores, p <= 0.05, chance=levels, **text))

# %%
high = [region for region in regions if region != "early"]
means = scores.mean("subject").sel(region=high)
share = means.sel(model=kinds[0]) / means.sel(model="caption embeddings")
report.add(untrained_low=means.sel(model="untrained").min(), untrained_high=means.sel(model="untrained").max())
report.add(untrained_p=p.sel(model="untrained", region=high).max())
report.add(captions_low=means.sel(model=kinds[0]).min(), captions_high=means.sel(model=kinds[0]).max())
report.add(share_low=share.min(), share_high=share.max())
report.claim("untrained networks match every high-level region beyond chance", report["untrained_p"] <= 0.05)
report.claim(
    "networks trained on captions do not reach the caption embeddings in any high-level region",
    report["share_high"] < 1,
)
report

# %% [markdown]
# *What to see:* an *untrained* network scores {glue:text}`untrained_low:.2f` to {glue:text}`untrained_high:.2f` in the high-level regions, and that is beyond
# chance in each (p at most {glue:text}`untrained_p:.3f`). Pictures with similar captions look alike, and a random mixture of pixels knows what looks alike. **A
# match above chance needs no learning.** So what counts is the difference to the untrained network, and to the twin. Networks trained on captions score
# {glue:text}`captions_low:.2f` to {glue:text}`captions_high:.2f`, {glue:text}`share_low:.0%` to {glue:text}`share_high:.0%` of what the caption embeddings
# reach. (In the study the network matches brains *better* than its own targets do.)
#
# ## By prediction
#
# RSA gives every number of the last layer the same weight. An {term}`encoding model` asks for less: is what a vertex does a *weighted sum* of them? One is
# fitted for every vertex, on the images that a person alone saw, and scored on the test images. Its scores are not divided by a ceiling, so compare within a
# region.

# %%
places = {name: encode(data, values, cv=n_folds, device=device).scores for name, values in inside.items()}
encoded = xr.concat([region_means(own, data.rois) for own in places.values()], pd.Index(list(places), name="model"))

# %% mystnb={"image": {"alt": "Four panels, one a region: correlations of predicted and observed responses for networks trained on captions, on categories, untrained ones and caption embeddings, a dot a viewer and the mean."}}
text = {"label": "score (Pearson r)", "title": f"Encoding models, {data.name}"}
by_kind = of_kind(encoded)
report.figure("encoding", plotting.places(by_kind, xr.ones_like(by_kind.mean("subject"), dtype=bool), **text))

# %% [markdown]
# *What to see:* one dot a viewer, the large one their mean; no chance is drawn. What counts are differences.
#
# ## Against the twin, seed by seed
#
# Is the network trained on captions better than its twin of the same seed, and than itself before training? For each region: the mean difference, the smallest
# of any seed, and for RSA an interval over images. We give no interval over viewers: they are simulated, and it would measure the precision of the simulation.

# %%
draws = [rsa.image_bootstrap(part, models, n_resamples=n_resamples, seed=seed)["draws"] for part in brains]
draws = of_kind(xr.concat(draws, regions) / top.mean("subject"))
less = (draws.sel(model=kinds[0]) - draws.sel(model=kinds[1:])).assign_coords(model=["twin", "untrained"])
ends = less.quantile([0.025, 0.975], "resample")
rows = {}
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
    report.add(**{f"{rival}_gap": stats.Estimate(mean[rival, "RSA"], *overall.sel(model=rival).values, len(test))})
    report.add(**{f"{rival}_encoding": mean[rival, "encoding"]})
    report.claim(f"in the mean over high-level regions, captions lead over the {rival}", mean[rival].min() > 0)
small = (mean["twin"] < mean["untrained"] / 3).all()
ahead = beyond.loc["untrained", "least seed"].min() > 0
report.claim("by both measures, every seed is ahead of the untrained network in each high-level region", ahead)
report.claim("the lead over the untrained network holds over other images, too", report["untrained_gap"].low > 0)
report.claim("the lead over the twin is small beside it", small)
early = leads.loc["twin"].xs("early", level="region")["lead"]
report.add(early_rsa=early["RSA"], early_encoding=early["encoding"])
report.claim("captions lead over the twin in the early region, too", early.min() > 0)
report

# %% [markdown]
# *What to see:* in the high-level regions, networks trained on captions lead by far over the untrained, by both measures and in every seed. In the mean over
# the three regions, the RSA lead with its interval over images is {glue:text}`untrained_gap`. They lead over their twins, too, but by little:
# {glue:text}`twin_gap` in RSA and {glue:text}`twin_encoding:.3f` in encoding, where the lead over the untrained is {glue:text}`untrained_encoding:.2f`. The
# table has single seeds and regions.
#
# **A twin comes close even where captions are what is planted.** The categories of a drawn scene decide most of what its captions say, and with
# {glue:text}`n_test` images an interval hardly tells the two apart. A small difference between twins on real people therefore says little, in either direction.
#
# And captions lead over the twins in the *early* region, too, which follows pixels and no captions, by {glue:text}`early_rsa:.2f` (RSA) and
# {glue:text}`early_encoding:.2f` (encoding). So a lead is not confined to regions that were made to follow captions, and **does not say what drives a region**.
#
# :::{admonition} What of this is true by construction
# :class: important The high-level regions of the virtual viewers respond to the caption embeddings of what they see, because we made them so. The better a
# network has learned to guess these embeddings for new pictures, the better it should match them. That is all this page shows: that the networks learned, and
# that both measures notice. Whether brains follow captions or categories, virtual viewers cannot tell. Nor do they tell how far the learning reaches: their
# scenes are drawn by the same program as those that the networks learned from.
# :::
#
# ## Which layer, which time step?
#
# The same comparison for all layers and time steps, counted from 0, mean over networks and viewers, not divided by the ceiling.

# %%
grids, layers = {}, [(layer, step) for layer in range(len(config.channels)) for step in range(config.time_steps)]
for (kind, _), network in twins.networks.items():
    tables = [rdm(activations(network, shown[at], *where).values) for where in layers]
    for region in ("early", "ventral"):
        score = compare_rdms(np.stack(tables), brains.sel(region=region).values, "pearson").mean(1)
        grids.setdefault((kind, region), []).append(score.reshape(-1, config.time_steps))
means = {", ".join(key): pd.DataFrame(np.mean(grid, axis=0)) for key, grid in grids.items() if key[0] in targets}

# %% mystnb={"image": {"alt": "Four heat maps of scores by layer and time step: networks trained on captions and on categories, in the early and in the ventral region."}}
text = {"label": "score (Pearson r)", "xlabel": "time step", "ylabel": "layer"}
report.figure("layers", plotting.heatmaps(means, title=f"Layers and time steps, {data.name}", **text))

# %%
best = {key: [int(grid.max(1).argmax()) for grid in own] for key, own in grids.items() if key[0] in targets}
ventral = means["captions, ventral"].iloc[-1]
report.add(first_step=ventral.iloc[0], last_step=ventral.iloc[-1])
last_is_best = [layer == len(config.channels) - 1 for own in best.values() for layer in own]
report.add(last_is_best=np.mean(last_is_best))
report.claim("in most trained networks and regions the last layer matches best", np.mean(last_is_best) > 0.5)
of_early = [layer == len(config.channels) - 1 for key, own in best.items() if key[1] == "early" for layer in own]
report.claim("for the early region, too, it is mostly the last", np.mean(of_early) > 0.5)
report

# %% [markdown]
# *What to see:* the last layer matches best in {glue:text}`last_is_best:.0%` of the cases (trained networks, for the ventral and for the early region). So
# nothing here shows that early layers go with early cortex. (Layers are averaged over places: what is left of early ones is which colours and stripes there
# are, not where.) Over time steps little changes: the last layer of the networks trained on captions matches the ventral region at {glue:text}`first_step:.2f`
# in the first and {glue:text}`last_step:.2f` in the last.
#
# ## What we have shown
#
# Networks that learned captions match viewers who follow captions far better than untrained networks do, and a little better than twins: both measures find
# what is planted. An untrained network is beyond chance, so that chance is the wrong thing to beat; and a twin comes so close that few images cannot tell it
# apart. [The next page](11_a_network_that_sees_in_sentences_in_people) asks real people.
#
# ## Exercises
#
# 1. All embeddings have much in common. Train on targets whose mean is removed: does the network match the viewers better?
# 2. What do fewer pictures, or no recurrence, do to the match?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. With a quarter of the pictures, yes. Without the mean, the loss cares only about what sets pictures apart; with it, much of the loss is won by the mean alone, which the
#    read-out's constant learns at once. We keep the study's choice, targets as they are.
# 2. A quarter of the pictures (and so of the steps) halves the match; no recurrence hardly changes it. These are single networks: small differences need more.
# :::

# %% tags=["hide-cell"]
first, few, goals = twins.networks["captions", seed], twins.learned[::4], targets["captions"]
same = {"folder": twins.folder, "device": device}
once = replace(first.config, time_steps=1)
variants = {
    "one time step": (twins.learned, goals, once),
    "a quarter of the pictures": (few, goals, first.config),
    "a quarter, mean removed": (few, goals - twins.means["captions"], first.config),
}
found = {name: rcnn.train(pictures[k], aims[k], own, **same).network for name, (k, aims, own) in variants.items()}
for name, network in ({"as above": first} | found).items():
    model = rdm(activations(network, shown[at]).values)
    print(f"{name}: {compare_rdms(brains.sel(region=high), model, 'pearson').mean():.2f}")
