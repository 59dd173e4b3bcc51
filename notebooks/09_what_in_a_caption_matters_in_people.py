# %% [markdown]
# # What in a caption matters, to people?
#
# Is it the sentence that a brain's response to a picture is like, or would its words do, or the names of what is in it? The controls of [the page
# before](09_what_in_a_caption_matters) are put to people. By default these are the people of objects92 {cite:p}`kriegeskorte2008`, who looked at isolated
# objects on grey; of their inferior temporal cortex the dissimilarities of responses are published.
#
# :::{admonition} In this chapter
# **You will learn** how to compare models on the same people and images; how to read a result in which a simple one wins; what such data can say.
#
# **You need** the controls of [the page before](09_what_in_a_caption_matters). **It takes** about 12 minutes to read, and a minute to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "objects92"  # or "nsd" for your copy of that data set, or a folder of yours
dataset_options: dict = {}  # passed to datasets.load_viewing
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
light: str = "all-minilm-l6-v2"  # a lighter sentence model, to compare
divide: str = "animate"  # the label that parts the images most plainly
themeless: list = ["rand24", "rand48", "other48"]  # labels that say nothing, left out
n_boot: int = 300  # bootstrap draws of images
n_permutations: int = 1000  # permutations of images, for chance
q: float = 0.05  # false discovery rate
seed: int = 0  # of word orders, draws and permutations
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/09_what_in_a_caption_matters_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, rsa, stats
from brainalign.book import Report
from brainalign.features.captions import control_features
from brainalign.rsa import compare_rdms, feature_rdm

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## People, pictures, captions
#
# We spell out the labels that come with the data, and leave out sets without a theme. The captions of objects92 were written for this project from the images
# alone, by a multimodal language model, before any score was computed. As in [chapter 7](07_captions_and_visual_cortex_in_people), everything is a
# {term}`representational dissimilarity matrix` (RDM) over the images that all saw; a score is the Spearman correlation of a model's with a brain's.

# %% tags=["remove-stderr"]
data = datasets.load_viewing(dataset, **dataset_options)
test = list(data.test_images)
captions = data.captions[data.captions["image"].isin(test)]
spelled = {"inanim": "inanimate", "nonhumani": "nonhuman", "natObj": "natural object", "artiObj": "artificial object"}
spelled["monkeyape"] = "monkey or ape"
labels = data.categories.loc[test].drop(columns=themeless, errors="ignore").rename(columns=spelled)
options = {"light": light, "categories": labels, "images": test, "seed": seed, "device": device}
features = dict(control_features(captions, embeddings, **options))
models = {name: feature_rdm(x.values) for name, x in features.items()}
apart = labels[[divide]].to_numpy() != labels[divide].to_numpy()
models[f"{divide} or not"] = apart[np.triu_indices(len(test), 1)].astype(float)
models = {name: np.asarray(model) for name, model in models.items() if np.ptp(model) > 1e-9}
brains = rsa.brain_rdms(data)  # (region, subject, pair)
data

# %%
whole, rows = features["whole captions"].values, {}
for name, x in features.items():
    same = x.shape == whole.shape and name != "light model"
    r = stats.pearson(x.values, whole, axis=1) if same else np.array([np.nan])
    alike = compare_rdms(models[name], models["whole captions"], "spearman")
    rows[name] = [r.mean(), r.std(), float(alike), x.attrs.get("empty", 0)]
columns = ["embeddings with whole (r)", "s.d.", "RDMs (Spearman)", "images with a stand-in"]
alike = pd.DataFrame.from_dict(rows, "index", columns=columns)
shuffled, words = alike.loc["shuffled captions"], alike.loc["all words"]
report.add(n_images=len(test), divide=divide, n_boot=n_boot, shuffled_r=shuffled.iloc[0], words_r=words.iloc[0])
report.add(n_subjects=brains.sizes["subject"], shuffled_rdm=shuffled.iloc[2], no_verb=alike.iloc[:, 3]["verbs"])
report.add(other_r=1 - models["whole captions"].mean(), words_rdm=words.iloc[2], no_adverb=alike.iloc[:, 3]["adverbs"])
report.claim("a shuffled caption is still clearly about the same picture", shuffled.iloc[0] > report["other_r"] + 0.3)
report.claim("shuffled captions keep more of the RDM than words alone do", shuffled.iloc[2] > words.iloc[2])
alike.iloc[1:].style.format("{:.2f}", na_rep="").format("{:.0f}", subset=columns[3])

# %% [markdown]
# (Blank in the table: not in the same space.) Shuffling the words leaves an image's embedding at r = {glue:text}`shuffled_r:.2f` with the intact one (the
# study: .91, for its own captions). The whole captions of two *different* images correlate by {glue:text}`other_r:.2f` on average. So a shuffled caption is
# still clearly about the same picture, and its RDM correlates with the intact one by {glue:text}`shuffled_rdm:.2f`: **the more alike two models are, the less
# any brain can tell them apart.** Words embedded alone are further away (r = {glue:text}`words_r:.2f`; RDMs {glue:text}`words_rdm:.2f`). And
# {glue:text}`no_verb:.0f` of {glue:text}`n_images` images have no verb in any caption, {glue:text}`no_adverb:.0f` no adverb, and look alike to it.
#
# ## Scores
#
# Each control is scored in each person, and the scores are averaged. Three yardsticks go with it: the {term}`noise ceiling`, from how well each person's
# RDM matches that of the others {cite:p}`nili2014`; an interval over images, which are drawn again with replacement ({term}`bootstrap`), never pairs,
# because pairs share images; and chance, where the images of the model exchange their names.

# %% mystnb={"image": {"alt": "A panel for each region: score of each control, small dots for people, a large one for the mean with a bar for its interval over images, red lines for chance and a gray band for the noise ceiling."}}
region = pd.Index(brains["region"].values, name="region")
method = {"method": "spearman", "seed": seed}
scores = compare_rdms(brains, rsa.batch_rdms(models, len(test))[:, 0], "spearman")  # (region, subject, model)
nulls = [rsa.mantel_null(models, part, n_permutations=n_permutations, **method) for part in brains]
null = xr.concat(nulls, region).mean("subject")
beyond = stats.fdr(stats.p_values(scores.mean("subject"), null), q)[0]
drawn = xr.concat([rsa.image_bootstrap(part, models, n_resamples=n_boot, **method) for part in brains], region)
ceiling = xr.concat([rsa.noise_ceiling(part, "spearman").mean("subject") for part in brains], region)
ranked = scores.mean(["region", "subject"]).to_series().sort_values().index
extra = {"chance": null.quantile(0.95, "draw"), "interval": xr.concat([drawn["low"], drawn["high"]], "end")}
extra["ceiling"] = xr.concat([ceiling["lower"], ceiling["upper"]], "end")
text = {"label": "score (Spearman correlation of RDMs)", "title": f"Controls, {data.name}, {len(data.subjects)} people"}
report.figure("scores", plotting.places(scores.sel(model=ranked), beyond, **extra, **text))

# %% [markdown]
# The question is a *difference*: does the whole caption do better than the control? All models were scored on the same images and people, so we take
# differences first and then look at how they vary ({term}`paired test`), over draws of images and over people.

# %% mystnb={"image": {"alt": "One row a control: whole captions less the control, with the interval over images, around a dashed line at zero."}}
gap = drawn["draws"].sel(model="whole captions") - drawn["draws"]
ahead = scores.sel(model="whole captions") - scores
low, high = gap[0].quantile([0.025, 0.975], "resample")
columns = {"value": ahead.mean("subject")[0], "low": low, "high": high, "score": scores[0].mean("subject")}
versus = pd.DataFrame(columns, index=list(models)).drop("whole captions").sort_values("score", ascending=False)
text = {"xlabel": "difference of scores (95 % over images)", "title": f"Whole captions less each control, {data.name}"}
report.figure("differences", plotting.forest(versus, **text))

# %%
own, animacy, names = drawn.sel(model="whole captions").isel(region=0), f"{divide} or not", "category words"
report.add(whole=stats.Estimate(*(float(own[part]) for part in ("score", "low", "high")), len(test)))
report.add(ceiling_low=ceiling["lower"][0], ceiling_high=ceiling["upper"][0], n_null=(~beyond[0]).sum())
report.add(n_beaten=(versus["low"] > 0).sum(), n_ahead=(versus["high"] < 0).sum(), n_controls=len(versus))
rivals = {"shuffled": "shuffled captions", "category": names, "animacy": animacy, "nouns": "nouns", "all": "all words"}
for key, name in rivals.items():
    report.add(**{f"{key}_gap": stats.Estimate(*versus.loc[name, ["value", "low", "high"]], len(test))})
report.add(category_score=versus.loc[names, "score"], animacy_score=versus.loc[animacy, "score"])
report.add(animacy_people=(ahead.sel(model=animacy)[0] < 0).sum(), least_sign_p=2.0 ** (1 - brains.sizes["subject"]))
report.claim("whole captions are behind category words", versus.loc[names, "high"] < 0)
report.claim("whole captions are not clearly ahead of shuffled ones", versus.loc["shuffled captions", "low"] <= 0)
report.claim("one label alone is ahead of whole captions", versus.loc[animacy, "high"] < 0)
report

# %% [markdown]
# *What to see:* above, small dots are people, large ones their means; below, left of zero the control is ahead. Whole captions reach {glue:text}`whole` (95 %
# interval over images), where the noise ceiling runs from {glue:text}`ceiling_low:.2f` to {glue:text}`ceiling_high:.2f`; {glue:text}`n_null` of the models are
# not beyond chance (hollow). By intervals over images, uncorrected for their number, whole captions beat {glue:text}`n_beaten` of {glue:text}`n_controls`
# models and are beaten by {glue:text}`n_ahead`. Shuffled captions are not clearly worse: {glue:text}`shuffled_gap`, as one would expect of two similar RDMs.
# Category words score {glue:text}`category_score:.2f`, and whole captions are behind them: {glue:text}`category_gap`. The label "{glue:text}`divide`" alone has
# {glue:text}`animacy_score:.2f` and is ahead in {glue:text}`animacy_people` of {glue:text}`n_subjects` people; whole captions less this label:
# {glue:text}`animacy_gap`. Flips of the signs of {glue:text}`n_subjects` differences cannot give a p below {glue:text}`least_sign_p:.3f`.
#
# ## Why categories can do so well
#
# The study found captions far better than category words in all regions. Data such as objects92 may show otherwise without contradicting it:
#
# - **The images.** The objects of objects92 were picked *by category*: faces, bodies, animals, things. On grey, alone, doing nothing, they have little else for
#   a caption to add. A photograph of a scene holds several things, actions and relations, and two scenes with the same labels can differ in all of them.
# - **The labels.** The authors drew them up with inferior temporal cortex in mind, where alive or not is the best-known divide; COCO's were not.
# - **The captions.** Sentences about an object are close to its name; colour, posture and view move their RDM, and this cortex may not answer to these.
#
# Can captions tell more than that one label? *Within* the images that have it, or within the others, it is the same for all pairs.

# %%
side, (first, second) = labels[divide].to_numpy(), np.triu_indices(len(test), 1)
few = ["whole captions", "shuffled captions", "all words", "nouns", "category words", "categories, 0 or 1"]
sides, rows = {divide: side, f"not {divide}": ~side}, {}
for group, members in {name: side for name, side in sides.items() if side.sum() > 9}.items():  # of fewer, too noisy
    pairs = members[first] & members[second]
    some = {name: models[name][pairs] for name in few}
    inside = rsa.image_bootstrap(brains[0, :, pairs], some, n_resamples=n_boot, **method)
    less = inside.sel(model="whole captions", drop=True) - inside
    low, high = less["draws"].quantile([0.025, 0.975], "resample")
    columns = {part: inside[part] for part in ("score", "low", "high")}
    columns |= {"whole less this": less["score"], "from": low, "to": high}
    rows[group] = pd.DataFrame(columns, index=few)
within = pd.concat(rows).reindex(pd.MultiIndex.from_product([sides, few]))
for key, group in zip(("one", "other"), sides, strict=True):
    for name in ("category words", "nouns"):
        found = stats.Estimate(*within.loc[(group, name), ["whole less this", "from", "to"]], len(test))
        report.add(**{f"{key}_{name.split()[0]}": found})
equal = within.loc[(divide, names), "to"] > 0
report.claim("among images that share the label, captions are not clearly behind category words", equal)
parts = {"score": ["score", "low", "high"], "whole captions less this": ["whole less this", "from", "to"]}
shown = {part: [str(stats.Estimate(*row)) for row in within[ends].to_numpy()] for part, ends in parts.items()}
shown["whole captions less this"][:: len(few)] = [""] * len(sides)
pd.DataFrame(shown, within.index)

# %% [markdown]
# *What to see:* mean over people and, in brackets, 95 % interval over images, from {glue:text}`n_boot` draws; a score of 0 is chance. Whole captions less
# category words: {glue:text}`one_category` within the images that share the label, where captions are thus not clearly behind, {glue:text}`other_category`
# within the others. Less nouns: {glue:text}`one_nouns` and {glue:text}`other_nouns`. These are a few of many comparisons, and not corrected.
#
# ## Exercise
#
# Shuffle the captions with other seeds. Does the score of shuffled captions depend on the order that was drawn?
#
# :::{admonition} Solution
# :class: dropdown
# It goes from {glue:text}`shuffles_low:.3f` to {glue:text}`shuffles_high:.3f` over more seeds: a yardstick for what whole captions gain.
# :::

# %% tags=["hide-cell", "remove-stderr"]
shuffles = []
for other in range(seed + 1, seed + 4):
    made = control_features(captions, embeddings, **{**options, "seed": other})
    again = next(x for name, x in made if name == "shuffled captions")
    shuffles.append(compare_rdms(feature_rdm(again.values), brains[0].values, "spearman").mean())
report.add(shuffles_low=min(shuffles), shuffles_high=max(shuffles))
report

# %% [markdown]
# ## Run it on your own data
#
# The question belongs to scenes. With a copy of the Natural Scenes Dataset, free for those who accept its terms, and its folder filled in in the profile
# `book/profiles/nsd.yml`, the same notebook runs on people who saw photographs:
#
# ```bash
# papermill notebooks/09_what_in_a_caption_matters_in_people.ipynb my_controls.ipynb -p dataset nsd \
#   -p divide person -y "dataset_options: {root: nsd, space: fsaverage5, categories: true}"
# ```
#
# ## What the paper found
#
# {cite:t}`doerig2025` report, for eight people and thousands of scenes, that whole captions match visual cortex better than category vectors, category words,
# and averages of single words in all regions, and better than nouns or verbs except for nouns in early visual cortex; that adjectives, adverbs and prepositions
# match very little; that sentence models do not differ significantly; and that shuffled captions have embeddings so close to intact ones that word order
# matters little. Their tests were for independent samples. That sentences matter beyond words and labels is about scenes, which single objects cannot test.
