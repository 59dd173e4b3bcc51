# %% [markdown]
# # Trained networks before people
#
# By default, these are the people of objects92 {cite:p}`kriegeskorte2008`, who looked at photographs of objects in the scanner; what was published of their
# inferior temporal cortex are dissimilarities, as in [chapter 7](07_captions_and_visual_cortex_in_people). By default, too, our networks have seen nothing but
# small drawings in flat colours, and here they meet photographs. That they should make anything of them is a long shot; we report what comes out.
#
# :::{admonition} In this chapter
# **You will learn** whether networks trained on captions match people better than their twins; what an interval over images can decide; how the study's do.
#
# **You need** [the two](11_a_network_that_sees_in_sentences) [pages before](11_networks_and_viewers). **It takes** 10 minutes to read, two to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "objects92"  # or "nsd" for your copy of that data set, or a folder of yours, with pictures
dataset_options: dict = {}  # passed to datasets.load_viewing
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
preset: str = "small"  # the networks: "small", or "paper" for a GPU
changes: dict = {}  # fields of that configuration that differ, such as epochs
training_folder: str = ""  # pictures, captions and categories of your own; "" renders scenes
n_scenes: int = 2000  # rendered scenes to train on and to hold out
n_held_out: int = 300  # of these pictures, learned from by no network
n_seeds: int = 3  # networks of each kind
n_jobs: int = 2  # networks trained at once; 1 on a GPU
checkpoints: str = ""  # folder of trained networks; "" is in the cache folder
method: str = "spearman"  # of comparing RDMs: "spearman" or "pearson"
n_resamples: int = 300  # bootstrap draws of images
n_permutations: int = 199  # orders of images, for chance
q: float = 0.05  # false discovery rate of maps
hemisphere: str = "right"  # which one maps show, where there is a surface: "left" or "right"
seed: int = 0  # of the first network, of orders and draws
device: str = "auto"  # where networks run: "auto", "cpu" or "cuda"
results: str = "results/11_a_network_that_sees_in_sentences_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, rsa, stats
from brainalign.book import Report
from brainalign.features import images, rcnn
from brainalign.features.captions import embed
from brainalign.features.images import activations
from brainalign.ridge.vertexwise import held_out_scores, region_means
from brainalign.rsa import compare_rdms, rdm, searchlight
from brainalign.simulated.scenes import render_scenes

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Beside noise, chance and rivals
#
# The networks are those of the pages before, {glue:text}`n_seeds` of each kind, and the same before training. We take mean scores, beside noise ceiling,
# chance, intervals over images, and the rivals that come with the data ([chapter 7](07_captions_and_visual_cortex_in_people) explains them).

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Four photographs, coarse as the networks see them, each with a caption beside it."}}
config = rcnn.preset(preset, seed=seed, **changes)
source = training_folder or render_scenes(n_scenes, seed=1)
pictures, captions, categories = images.learning_set(source, config.image_size)
targets = {"captions": embed(captions, embeddings, device=device).values, "categories": categories.to_numpy("float32")}
options = {"n_seeds": n_seeds, "n_held_out": n_held_out, "folder": checkpoints, "n_jobs": n_jobs, "device": device}
twins = rcnn.train_twins(pictures, targets, config, **options)
data = datasets.load_viewing(dataset, **dataset_options)
data.require("images")
test, people = list(data.test_images), data.subjects
shown, at = images.resize(np.asarray(data.images), config.image_size), data.image_names.get_indexer(test)
kinds = ["trained on captions", "trained on categories", "untrained"]
keys = [f"{kind}, {s}" for kind in kinds for s in range(seed, seed + n_seeds)]
inside = {key: activations(network, shown).values for key, network in zip(keys, twins.networks.values(), strict=True)}
inside["caption embeddings"] = embed(data.captions, embeddings, device=device).values
report.add(n_seeds=n_seeds, n_people=len(people))
few = at[2 :: len(at) // 4][:4]
told = data.captions.drop_duplicates("image")["caption"].iloc[few].tolist()
report.figure("pictures", plotting.pictures(shown[few], told, title=f"As the networks see them, {data.name}"))

# %% mystnb={"image": {"alt": "A panel for each region: scores of the three kinds of networks, caption embeddings and rivals, small dots for people, a large one for the mean with a bar for its interval over images, lines for chance and a gray band for the noise ceiling."}}
brains = rsa.brain_rdms(data)  # (region, subject, pair)
regions = pd.Index(brains["region"].values, name="region")
models = {name: rdm(values[at]) for name, values in inside.items()} | rsa.rival_rdms(data)
kinds += list(models)[len(keys) :]
named = {"model": [name.split(", ")[0] for name in models]}
each = compare_rdms(brains, rsa.batch_rdms(models, len(test))[:, 0], method)  # (region, subject, model)
chance = {"n_permutations": n_permutations, "method": method, "seed": seed}
null = xr.concat([rsa.mantel_null(models, part, **chance) for part in brains], regions).mean("subject")
resample = {"n_resamples": n_resamples, "method": method, "seed": seed}
draws = xr.concat([rsa.image_bootstrap(part, models, **resample)["draws"] for part in brains], regions)
ceiling = xr.concat([rsa.noise_ceiling(part, method).mean("subject") for part in brains], regions)
scores, draws, null = (x.assign_coords(named).groupby("model").mean().sel(model=kinds) for x in (each, draws, null))
p = stats.p_values(scores.mean("subject"), null)
order = scores.mean(["region", "subject"]).to_series().sort_values().index
interval = draws.quantile([0.025, 0.975], "resample").rename(quantile="end")
text = {"label": f"score ({method.capitalize()} correlation of RDMs)", "title": f"Match with the brain, {data.name}"}
extra = {"chance": null.quantile(0.95, "draw"), "interval": interval, "ceiling": ceiling.to_array("end")}
report.figure("scores", plotting.places(scores.sel(model=order), p <= 0.05, **extra, **text))

# %% [markdown]
# ## Are sentences the better teacher?
#
# How much better networks trained on captions do than each other model: with an interval over images, in how many people, and by a paired t-test.

# %%
others = [name for name in kinds if name != kinds[0]]
low, high = (draws.sel(model=kinds[0]) - draws.sel(model=others)).quantile([0.025, 0.975], "resample")
ahead = (scores.sel(model=kinds[0]) > scores.sel(model=others)).sum("subject")
tests = [rsa.subject_tests(scores.sel(region=region)).pairs.loc[kinds[0]] for region in regions]
versus = pd.concat(tests, keys=regions, names=["region", "against"])[["mean", "p"]]
versus = versus.assign(low=low.values.ravel(), high=high.values.ravel(), people=ahead.values.ravel())
here, of = scores.mean("subject").sel(region=regions[0]), versus.loc[regions[0]]
twin, untrained, spoken = (stats.Estimate(*of.loc[name, ["mean", "low", "high"]], len(test)) for name in others[:3])
report.add(twin_gap=twin, untrained_gap=untrained, twin_people=of["people"].iloc[0], embeddings_gap=spoken)
report.add(captions=here[0], categories=here[1], untrained=here[2], embeddings=here[3], n_higher=(here > here[0]).sum())
report.add(untrained_p=p.sel(model=kinds[2])[0], ceiling_low=ceiling["lower"][0], n_others=len(others))
report.claim("untrained networks match the brain beyond chance", report["untrained_p"] <= 0.05)
report.claim("networks trained on captions cannot be told from their twins", twin.low <= 0 <= twin.high)
report.claim("trained networks cannot be told from untrained ones", untrained.low <= 0 <= untrained.high)
report.claim("caption embeddings match the brain better than the networks that learned to guess them", spoken.high < 0)
versus.round(3)

# %% [markdown]
# *What to see:* dots are people and their means. Networks trained on captions score {glue:text}`captions:.2f`, their twins {glue:text}`categories:.2f`, the
# untrained {glue:text}`untrained:.2f`; caption embeddings of the pictures reach {glue:text}`embeddings:.2f`, the noise ceiling begins at
# {glue:text}`ceiling_low:.2f`. {glue:text}`n_higher` of {glue:text}`n_others` others score higher. The untrained are beyond chance: a match needs no learning.
# The lead over the twin is {glue:text}`twin_gap` over images, and above zero in {glue:text}`twin_people` of {glue:text}`n_people` people; that over the
# untrained is {glue:text}`untrained_gap`. **These data decide nothing for sentences**, nor for learning at all. That over caption embeddings is
# {glue:text}`embeddings_gap`: there was something to match ([chapter 7](07_captions_and_visual_cortex_in_people) says how much of it is the kind of thing).
#
# ## Other layers, other weights
#
# The last layer is the study's choice. Do others do better, beside the same layer before training?

# %%
rows = {}
for k in range(len(config.channels)):
    tables = [rdm(activations(network, shown[at], k).values) for network in twins.networks.values()]
    drawn = rsa.image_bootstrap(brains[0], tables, **resample)[["score", "draws"]]
    drawn = drawn.assign_coords(model=[key.split(", ")[0] for key in keys]).groupby("model").mean()
    more = drawn.sel(model=kinds[0], drop=True) - drawn.sel(model=kinds[2], drop=True)
    low, high = more["draws"].quantile([0.025, 0.975]).values
    rows[k] = drawn["score"].sel(model=kinds[:3]).to_series().to_dict()
    rows[k]["captions - untrained"] = stats.Estimate(float(more["score"]), low, high, len(test))
by_layer = pd.DataFrame(rows).T.rename_axis("layer")
report.claim("no layer is ahead of itself before training", max(one.low for one in by_layer.iloc[:, -1]) <= 0)
by_layer.style.format("{:.3f}")

# %% [markdown]
# No layer is clearly ahead of itself before training. But RSA gives all numbers of a layer the same weight: what if each may have its own? As in [chapter
# 8](08_encoding_and_selectivity_in_people), weights are fitted in each person, for one network of each kind (the first seed's), and scored on other images:
# weighted dissimilarities or, on a cortical surface, an encoding model of every {term}`vertex`.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Held-out scores of weighted layers of the three kinds of networks: one dot for each person in each region, or, for data on a cortical surface, maps of the mean over people."}}
weighted = {kind: inside[f"{kind}, {seed}"] for kind in kinds[:3]}
everywhere = held_out_scores(data, weighted, seed=seed, device=device)  # (subject, model, centre)
measure = "Pearson r" if everywhere["centre"].dtype.kind in "iu" else "Spearman correlation of RDMs"
text = {"label": f"score of held-out images ({measure})", "title": f"Weights fitted in each person ({data.name})"}
found = searchlight.group_map(everywhere, q)["rejected"]
report.figure("weighted", plotting.places(everywhere, found, hemisphere=hemisphere, **text))

# %%
by_region = region_means(everywhere, data.rois).sel(region=regions[0])
gap = rsa.subject_tests(by_region.sel(model=kinds[0]) - by_region.sel(model=kinds[1:3])).models
twin, untrained = (stats.Estimate(*row, len(people)) for row in gap[["mean", "low", "high"]].values)
report.add(weighted_twin=twin, weighted_untrained=untrained)
report.claim("with weights, too, captions are not ahead of both", min(twin.low, untrained.low) <= 0)
report

# %% [markdown]
# *What to see:* with weights, too, the network trained on captions is not clearly ahead (interval over people above zero) of both its rivals: it leads over the
# twin by {glue:text}`weighted_twin` and over the untrained by {glue:text}`weighted_untrained`.
#
# ## The published comparison
#
# The study's own test had what ours lacks: photographs of scenes, eight people, and rivals of full size. Its authors compare their network with 13 others,
# among them CORnet-S, which is recurrent {cite:p}`kubilius2019`, CLIP, which learned pictures with their captions {cite:p}`radford2021`, and one of their own
# build that learned the categories of ecoset {cite:p}`mehrer2021`. We copy the scores, means alone, from their code. **Nothing here reproduces them.**

# %%
reference, streams = images.published_networks(), ["ventral", "lateral", "parietal"]
ours, rivals = reference.iloc[0], reference.iloc[1:]
for name in streams:
    report.add(**{f"gap_{name}": ours[name] - rivals[name].max(), f"second_{name}": rivals[name].idxmax()})
more = rivals["training_images"] / ours["training_images"]
report.add(n_published=ours["training_images"], fewest=more.min(), most=more.max())
first = min(report[f"gap_{name}"] for name in streams) > 0
report.claim("of the published scores, that of the network trained on captions is the highest in each region", first)
published = reference.rename(columns={"training_images": "training images"}).sort_values("ventral", ascending=False)
published.style.format(precision=3, thousands=",")

# %% mystnb={"image": {"alt": "Three panels, ventral, lateral and parietal: published match with the brain against the number of training images as a power of ten. The network trained on sentence embeddings is at the upper left in each, the others to its right and below."}}
dots = reference.assign(size=np.log10(reference["training_images"])).melt(["group", "size"], streams, "region", "score")
text = {"xlabel": "training images (power of ten)", "ylabel": "score / noise ceiling"}
text["title"] = "Published values, eight people (Natural Scenes Dataset)"
report.figure("published", plotting.points(dots, "size", "score", hue="group", col="region", **text))

# %% [markdown]
# *What to see:* the network trained on captions (*LLM-trained RCNN*, for recurrent convolutional network) has the highest score in each region, although
# the others had from {glue:text}`fewest:.0f` to {glue:text}`most:,.0f` times as many training images. It leads the second best by
# {glue:text}`gap_ventral:.3f` in ventral ({glue:text}`second_ventral`), {glue:text}`gap_lateral:.3f` in lateral ({glue:text}`second_lateral`) and
# {glue:text}`gap_parietal:.3f` in parietal cortex ({glue:text}`second_parietal`). The claim is that it is significantly better than all others but for one
# case, CORnet-S: in the lateral region by the article's text, in the parietal one by a caption, which the values favour. But rivals were trained on other
# pictures for other ends; the twin is fairer, and there the study finds the same. And its test is for independent samples though the people are the same.
#
# ## What we have shown
#
# On these people and pictures, our networks say nothing about sentences: the data tell neither twin from twin nor trained from untrained, and are no evidence
# against the study either. Only real scenes, real brains and networks of full size can decide.
#
# ## Run it on your own data
#
# A folder of yours with people's responses or dissimilarities, captions and pictures is `-p dataset my_folder`; `brainalign check my_folder` tells what is
# missing. Pictures to train on go into a folder of the same layout without responses. This trains networks of the study's size, on such a folder with
# COCO's pictures less those of the Natural Scenes Dataset, and compares them with that data set's people {cite:p}`allen2022`:
#
# ```bash
# papermill notebooks/11_a_network_that_sees_in_sentences_in_people.ipynb paper.ipynb -p results my_results \
#   -y "{preset: paper, training_folder: /path/to/coco, n_held_out: 2051, n_seeds: 10, n_jobs: 1, device: cuda, method: pearson,
#        dataset: nsd, dataset_options: {root: /path/to/nsd, space: fsaverage5, images: 128}}"
# ```
#
# It needs a GPU and days, and goes on where it stopped. With small networks, `make book PROFILE=nsd` makes the same comparison. Ready-made networks give
# activations of the same form, if you have their weights: `images.ready_made("microsoft/resnet-50")`, or ConvNeXt, ViT, DINOv2, CLIP.
#
# ## What the paper found
#
# {cite:t}`doerig2025` trained ten networks of each kind on {glue:text}`n_published:,` pictures. Those trained on captions matched eight people's higher visual
# cortex better than their twins, than 13 others (CORnet-S: see above), and even than the caption embeddings. They compare both targets in a ResNet50, too.
