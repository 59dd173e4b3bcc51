# %% [markdown]
# # Weighted captions in people
#
# On the two pages before everything was planted. By default, the people of this page are those of *objects92* {cite:p}`kriegeskorte2008`, as in [chapter
# 7](07_captions_and_visual_cortex_in_people): of their inferior temporal cortex (*human IT*) dissimilarities (RDMs) are open and no responses, so that no
# encoding model of a single place is possible. But the question behind it can be asked of them: do captions do better when their dimensions are **weighted**?
#
# :::{admonition} In this chapter
# **You will learn** how the dimensions of a caption get weights where only dissimilarities are known, what these add in people, and what they found.
#
# **You need** [the pages before](08_encoding_and_selectivity), and chapter 7. **It takes** about 12 minutes to read, and a minute or two to run on two cores.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "objects92"  # or "nsd" for your copy of that data set, or a folder of yours
dataset_options: dict = {}  # passed to datasets.load_viewing
region: str = "hIT"  # whose dissimilarities are predicted
animate: list = ["animate"]  # labels of living things: they part the images in two
no_theme: list = ["rand24", "rand48", "other48"]  # labels to leave out
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
n_components: int = 10  # dimensions of captions that get weights
n_partitions: int = 5  # ways to part the images into folds
n_resamples: int = 300  # bootstrap draws of images
n_permutations: int = 200  # orders of images, for chance
hemisphere: str = "right"  # which one maps show, where there is a surface: "left" or "right"
q: float = 0.05  # false discovery rate of maps
seed: int = 0  # of folds, draws and permutations
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/08_encoding_and_selectivity_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, rsa, stats
from brainalign.book import Report
from brainalign.features.captions import embed
from brainalign.ridge.vertexwise import held_out_scores, region_means
from brainalign.rsa import compare_rdms, rdm, searchlight

plotting.use_style()
report = Report(results)

# %% tags=["remove-stderr"]
data = datasets.load_viewing(dataset, **dataset_options)
brains = rsa.brain_rdms(data).sel(region=region, drop=True)  # (subject, pair) of test images
target = brains.mean("subject").values
people, test = list(brains["subject"].values), list(data.test_images)
embedded = embed(data.captions, embeddings, device=device).values
labelled = data.categories.drop(columns=no_theme, errors="ignore")
alive = data.categories.loc[test, animate].any(axis=1).to_numpy()
spoken, labels = (x[data.image_names.get_indexer(test)] for x in (embedded, labelled.to_numpy(float)))
report.add(n_people=len(people), n_test=len(test), n_components=n_components, n_partitions=n_partitions)
data

# %% [markdown]
# ## Weights without responses
#
# The squared distance of two {term}`embeddings <sentence embedding>` is a sum over dimensions. Instead of adding all with equal weight we give each of the
# first {glue:text}`n_components` {term}`principal components` of the captions a weight of its own, none negative, such that the sum comes close to the mean RDM
# of the people. This is {term}`feature-reweighted RSA <reweighted representational similarity analysis>` {cite:p}`khalighrazavi2014,kaniuth2022`. Components,
# weights and the penalty that draws weights towards equal ones come from training images only: each pair is predicted from images that are in neither of the
# two folds which its own images are in, averaged over {glue:text}`n_partitions` ways to form the folds.
# "Few dimensions" are the {glue:text}`n_components` components with equal weights, to tell what leaving out the others does from what weights do. "Labels" are
# the category labels of the images, 0 or 1 each (without sets that have no theme), as a rival with dimensions of its own. "Animate or not" has one dimension,
# and nothing to weigh. For chance we exchange the images of the brains and do everything again, the fit included.

# %%
options = {"n_components": n_components, "n_partitions": n_partitions, "seed": seed}
models = {
    "captions": rdm(spoken, "sqeuclidean"),
    "few dimensions": rsa.reweighted_rdms(target, spoken, alphas=[1e9], **options),
    "weighted captions": rsa.reweighted_rdms(target, spoken, **options),
    "labels": rdm(labels, "sqeuclidean"),
    "weighted labels": rsa.reweighted_rdms(target, labels, **options),
    "animate or not": rdm(alive[:, None].astype(float), "sqeuclidean"),
}
names = list(models)
scores = compare_rdms(rsa.batch_rdms(models, len(test))[:, 0], brains, "spearman")  # (model, subject)
draws = rsa.image_bootstrap(brains, models, method="spearman", n_resamples=n_resamples, seed=seed)
ceiling = rsa.noise_ceiling(brains, "spearman").mean()
null = rsa.reweighted_null(brains, spoken, n_permutations=n_permutations, method="spearman", **options)
p = float(stats.p_values(scores.sel(model="weighted captions").mean().values, null))
means = scores.mean("subject").to_series()
report.add(plain=means["captions"], weighted=means["weighted captions"], animacy=means["animate or not"])
report.add(ceiling_low=ceiling["lower"], ceiling_high=ceiling["upper"], weighted_p=p, null_high=np.quantile(null, 0.95))
report.claim("weighted captions predict dissimilarities of new images, beyond refitted chance", p <= 0.05)
report

# %% mystnb={"image": {"alt": "Scores of six descriptions: a dot for each person, the mean with its interval over images, the noise ceiling as a band, and a line for the chance of refitted weights."}}
levels = xr.DataArray([[np.quantile(null, 0.95)]], {"model": names[2:3], "region": [region]}).reindex(model=names)
drawn, band = (part.expand_dims(region=[region]) for part in (draws[["low", "high"]], ceiling))
ends = {"chance": levels, "interval": drawn.to_array("end"), "ceiling": band.to_array("end")}
text = {"label": "score (Spearman correlation of RDMs)", "title": f"{len(people)} people ({data.name})"}
report.figure("weighted", plotting.places(scores.expand_dims(region=[region]), drawn["low"] > 0, **ends, **text))

# %%
pairs = [(names[2], name) for name in names if name != names[2]] + [("weighted labels", "labels")]
signs = rsa.subject_tests(scores, test="permutation").pairs["p"]
rows, gains = {}, {}
for a, b in pairs:
    low, high = (draws["draws"].sel(model=a) - draws["draws"].sel(model=b)).quantile([0.025, 0.975]).values
    gap = scores.sel(model=a) - scores.sel(model=b)
    gains[a, b] = stats.Estimate(float(gap.mean()), low, high)
    signed = signs.get((a, b), signs.get((b, a)))
    rows[f"{a} less {b}"] = [f"{gains[a, b]:+.3f}", int((gap > 0).sum()), f"{signed:.3f}"]
table = pd.DataFrame(rows, ["difference (95 % over images)", "people above 0", "p (signs, people)"]).T
report.add(weighted_gain=gains[pairs[0]], animacy_gap=gains[pairs[4]], labels_gain=gains[pairs[5]])
report.add(weighted_people=table.iloc[0, 1], least_sign_p=2.0 ** (1 - len(people)))
report.claim("weighted captions are better than captions as they come", report["weighted_gain"].low > 0)
report.claim("weighted captions are not better than a single bit for each image", report["animacy_gap"].low <= 0)
table

# %% [markdown]
# *What to see:* small dots are people, large ones their means. With equal weights captions reach {glue:text}`plain:.2f` (of squared distances), with fitted
# weights {glue:text}`weighted:.2f`, on images that had no part in the fit (p = {glue:text}`weighted_p:.3f` against refitted chance, 95 % of which lies below
# {glue:text}`null_high:.2f`; {term}`noise ceiling` {glue:text}`ceiling_low:.2f` to {glue:text}`ceiling_high:.2f`).
# The gain is {glue:text}`weighted_gain`, above zero in {glue:text}`weighted_people` of {glue:text}`n_people` people: weighted captions are better than captions
# as they come. Against a single bit for each image (animate or not: {glue:text}`animacy:.2f`) the difference is {glue:text}`animacy_gap`: even weighted,
# captions are not better. Weights add {glue:text}`labels_gain` to the labels. Intervals draw images again but keep the predictions, so that they leave out how
# much the weights would change; and p-values by signs over these people cannot fall below {glue:text}`least_sign_p:.3f`.
#
# ## What did the weights find?
#
# Perhaps no more than what tells living from lifeless. *Within* the animate images, and within the inanimate ones, that one bit explains nothing:

# %%
first, second = np.triu_indices(len(test), 1)
rows, within = {}, {}
for name, kept in {"animate": alive, "inanimate": ~alive}.items():
    inside = kept[first] & kept[second]
    part = {model: np.asarray(models[model])[inside] for model in names[:3]}
    boot = rsa.image_bootstrap(brains[:, inside], part, method="spearman", n_resamples=n_resamples, seed=seed)
    rows[f"within {name}"] = boot["score"].to_series()
    for short, other in (("all", names[0]), ("few", names[1])):
        change = boot.sel(model=names[2]) - boot.sel(model=other)
        low, high = change["draws"].quantile([0.025, 0.975]).values
        within[f"{short}_{name}"] = stats.Estimate(float(change["score"]), low, high)
report.add(**within)
beyond = any(change.low > 0 for change in within.values())
report.claim("within animate and within inanimate images weights add nothing that shows", not beyond)
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# Weights change the mean score over people by {glue:text}`all_animate` within the animate and by {glue:text}`all_inanimate` within the inanimate images, and
# beside the same few dimensions with equal weights, by {glue:text}`few_animate` and {glue:text}`few_inanimate`. Within either kind they add nothing that shows.
#
# ## One person's weights, another person's brain
#
# Are weights a person's own? We fit them to each person's RDM alone, and compare what they predict of other images with everybody's.

# %% mystnb={"image": {"alt": "A matrix of people by people: rows the person whose RDM weights were fitted to, columns the person whose RDM is predicted, coloured by the score."}}
each = rsa.reweighted_rdms(brains.values, spoken, **options)
across = pd.DataFrame(compare_rdms(each, brains.values, "spearman"), people, people)
text = {"xlabel": "tested on", "ylabel": "weights fitted to", "title": f"Weighted captions across people ({data.name})"}
report.figure("across", plotting.heatmaps({"": across}, label="score (Spearman correlation of RDMs)", **text))

# %%
own = np.diag(across)
others = (across.sum() - own) / (len(people) - 1)
report.add(own_weights=own.mean(), others_weights=others.mean(), own_ahead=(own > others).sum())
report.claim("other people's weights carry over", others.min() > 0)
report.claim("brains differ more than weights", np.ptp(across.mean()) > np.ptp(across.mean(axis=1)))
report

# %% [markdown]
# *What to see:* the brighter, the better. Columns differ more than rows: it matters more whose brain is predicted than whose weights are used. One's own reach
# {glue:text}`own_weights:.2f` on average, another's {glue:text}`others_weights:.2f`; own ones are ahead in {glue:text}`own_ahead` of {glue:text}`n_people`.
#
# ## Place by place
#
# Where responses of single places are known, weights can be fitted to each: an encoding model. By default there is one place, human IT, and its
# dissimilarities; on data with a cortical surface the same cells draw maps of scores, where a t-test over people passes.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Held-out scores of weighted captions and weighted labels: one dot for each person in each region, or, for data on a cortical surface, maps of the mean over people."}}
weighted = {"weighted captions": embedded, "weighted labels": labelled.to_numpy(float)}
everywhere = held_out_scores(data, weighted, device=device, **options)  # (subject, model, centre)
found = searchlight.group_map(everywhere, q)["rejected"]
measure = "Pearson r" if everywhere["centre"].dtype.kind in "iu" else "Spearman correlation of RDMs"
text = {"label": f"score of held-out images ({measure})", "title": f"Weights fitted in each person ({data.name})"}
report.figure("places", plotting.places(everywhere, found, hemisphere=hemisphere, **text))

# %%
by_region = region_means(everywhere, data.rois)  # (region, subject, model)
table = by_region.mean("subject").to_pandas()
gap = -by_region.diff("model").isel(model=0, drop=True).rename(region="model")
tested = rsa.subject_tests(gap).models[["mean", "low", "high"]]
table["captions - labels (95 % over people)"] = [f"{stats.Estimate(*row):+.2f}" for row in tested.values]
table["people above 0"] = (gap > 0).sum("subject").values
table.round(2)

# %% [markdown]
# *What to see:* each dot is a person, with weights of their own; the interval of the difference is over these {glue:text}`n_people` people, for these images.
# What the page shows is about them and their pictures alone: weights make captions better, and what shows of that is no finer than animate or not.
#
# ## Exercise
#
# How many dimensions should get a weight? Before you run it: what should happen to the score on held-out images when there are many?
#
# :::{admonition} Solution
# :class: dropdown
# Below is the score by number. The penalty draws weights without support towards equal ones: with many dimensions it does not fall far.
# :::

# %% tags=["hide-cell"]
few = {n: rsa.reweighted_rdms(target, spoken, **{**options, "n_components": n}) for n in (2, 5, 10, 20)}
held_out = {f"score_{n}": compare_rdms(own, brains.values, "spearman").mean() for n, own in few.items()}
report.add(**held_out)
report.claim("with many dimensions the score does not fall far", held_out["score_20"] > 0.8 * max(held_out.values()))
report

# %% [markdown]
# ## Run it on your own data
#
# With a copy of the study's data {cite:p}`allen2022`, under its access agreement, or, by `-p dataset my_folder`, with a folder of yours that has categories:
#
# ```bash
# papermill notebooks/08_encoding_and_selectivity_in_people.ipynb nsd.ipynb -p region ventral -p results my_results \
#   -y "{dataset: nsd, animate: [person, cat, dog], dataset_options: {root: /path/to/nsd, space: fsaverage5, categories: true}}"
# ```
#
# `book/profiles/nsd.yml` does so for chapters 7 to 11, with encoding models of every {term}`vertex`, as were those of [the page before](08_selectivity).
#
# ## What the papers found
#
# {cite:t}`khalighrazavi2014` found that mixing and weighting a deep network's features brings its RDM closer to human IT; {cite:t}`kaniuth2022` report better
# fits of weighted dimensions; {cite:t}`doerig2025`, that captions of photographs, in encoding models, predict responses in all of high-level visual cortex.
