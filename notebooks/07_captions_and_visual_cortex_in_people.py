# %% [markdown]
# # Captions and visual cortex: four people, 92 objects
#
# Virtual viewers can prove a method, but say nothing about people. The data set *objects92* {cite:p}`kriegeskorte2008` can say a little. Four people saw 92
# photographs of isolated objects in two fMRI sessions each: bodies, faces, animals, fruit, household things, a few buildings and landscapes. Published are the
# RDMs of *human IT*, inferior temporal cortex, where the brain is thought to recognise objects. How much do captions share with them, and is it more than the
# plainest category would?
#
# :::{admonition} In this chapter
# **You will learn**
# what captions share with a region of four real people's brains, beside noise, chance, other images and rivals; whether they say more than the kind of thing
# that is shown; and what four people who saw the same pictures can be evidence for.
#
# **You need** RDMs, ceilings and the Mantel test of [the page before](07_captions_and_visual_cortex).
#
# **It takes** about 15 minutes to read, and a minute to run.
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = "objects92"  # or "nsd" for your copy of that data set, or a folder of yours
dataset_options: dict = {}  # passed to datasets.load_viewing
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
method: str = "spearman"  # of comparing RDMs: "spearman" or "pearson"
rival: str = "animate or not"  # the one to beat: "category words" or a name that rivals have below
coarse: list = ["animate", "inanim"]  # labels of categories; images that have the same of them are of one kind
fine: list = ["human", "nonhumani", "body", "face", "natObj", "artiObj"]  # labels that make finer kinds
themeless: list = ["rand24", "rand48", "other48"]  # labels that say nothing, left out of the category words
radius: float = 10.0  # of searchlight discs, where there is a cortex (mm)
hemisphere: str = "right"  # which one a map shows
n_permutations: int = 499  # orders of images, for chance
n_resamples: int = 300  # bootstrap draws of images
q: float = 0.05  # false discovery rate
seed: int = 0  # of permutations and draws
device: str = "auto"  # where the sentence model runs: "auto", "cpu" or "cuda"
results: str = "results/07_captions_and_visual_cortex_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr
from scipy.spatial.distance import squareform

from brainalign import datasets, plotting, rsa, stats
from brainalign.book import Report
from brainalign.features.captions import embed
from brainalign.rsa import compare_rdms, rdm, searchlight

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# ## People, pictures, captions
#
# The responses were not published, so here we can do RSA and nothing else. Everybody saw the same pictures: the *test set* on which this page rests.

# %%
data = datasets.load_viewing(dataset, **dataset_options)
test = list(data.test_images)
data

# %%
captions = data.captions[data.captions["image"].isin(test)]
some = captions[captions["image"].isin(test[5 :: len(test) // 3])]
some[["image", "caption"]].style.hide().set_properties(**{"text-align": "left"})

# %% [markdown]
# Those pictures came without captions. We wrote three for each, from the pictures alone and before any score was computed, and never changed them afterwards.
# Read what follows with this in mind: the captions have one writer, a multimodal language model that saw the pictures, where those of {cite:t}`doerig2025`, *the
# study*, have five people each; and pictures of single objects leave little to tell but the object's name and looks.
#
# ## Two tables of distances
#
# An RDM of the brain for each region and person (the mean over both sessions), and one of the captions. To look at them we average over pairs of kinds of
# images. Distances are ranked: 0 is the closest pair, 100 the farthest.

# %% tags=["remove-stderr"]
brains = rsa.brain_rdms(data)  # (region, subject, pair)
regions = list(brains["region"].values)
spoken = embed(captions, embeddings, images=test, device=device)
labels = data.categories.loc[test]
of_kind = {"coarse kinds": labels[coarse], "fine kinds": labels[fine]}
kinds = {name: own.apply(lambda row: " ".join(row.index[row]) or "none", axis=1) for name, own in of_kind.items()}
finest = kinds["fine kinds"].to_numpy()
tables = {
    "captions": rdm(spoken.values),
    **{f"mean of people, {region}": brains.sel(region=region).mean("subject") for region in regions},
}


def by_kind(table):
    """Mean percentile of the distances between images of each two kinds."""
    ranks = squareform(100 * pd.Series(np.asarray(table)).rank(pct=True).to_numpy())
    np.fill_diagonal(ranks, np.nan)
    return pd.DataFrame(ranks, finest, finest).groupby(level=0, sort=False).mean().T.groupby(level=0, sort=False).mean()


squares = {name: by_kind(table) for name, table in tables.items()}
pd.concat(squares).style.format("{:.0f}")

# %% mystnb={"image": {"alt": "Heat maps of mean dissimilarity between kinds of images, for captions and for the mean RDM of the people in each region."}}
text = {
    "label": "dissimilarity (percentile)",
    "xlabel": "",
    "ylabel": "",
    "title": f"Distances between kinds, {data.name}",
}
report.figure("kinds", plotting.heatmaps(squares, columns=2, **text))

# %%
within = squareform(finest[:, None] == finest, checks=False)
for name, table in (("captions", tables["captions"]), ("brain", tables[f"mean of people, {regions[0]}"])):
    ranks = 100 * pd.Series(np.asarray(table)).rank(pct=True).to_numpy()
    report.add(**{f"{name}_within": ranks[within].mean(), f"{name}_between": ranks[~within].mean()})
report.claim("images of one kind lie closer in the brain", report["brain_within"] < report["brain_between"])
report.claim("images of one kind lie closer in captions", report["captions_within"] < report["captions_between"])
report

# %% [markdown]
# *What to see:* images of one of the six kinds lie closer than those of two kinds, in human IT (mean percentile {glue:text}`brain_within:.0f` against
# {glue:text}`brain_between:.0f`) and in captions ({glue:text}`captions_within:.0f` against {glue:text}`captions_between:.0f`). But look at the faces: in human IT
# those of people and of animals (*nonhumani*, nonhuman animate) lie close together, closer than animals' bodies lie to animals' faces. For captions it is the
# other way round: what is told of counts for more than that a face is shown.
#
# ## Beside what?
#
# A correlation by itself says little. We put it beside five things.
#
# - **Noise.** The {term}`noise ceiling` of RSA has two ends {cite:p}`nili2014`. The lower one is how well the mean RDM of the *other* people matches each person,
#   the upper one the mean of *all*, the person's own noise included. The best possible model lies between.
# - **Chance.** We give the model's images other names, {glue:text}`n_permutations` times at random, and compare again: a {term}`Mantel test` {cite:p}`mantel1967`,
#   one-sided.
# - **Other images.** A {term}`bootstrap` draws images with replacement, {glue:text}`n_resamples` times, and says how much a score would change with other images
#   of the kind.
# - **Other people.** A paired test over people asks whether captions do better than a rival in *people*. {glue:text}`n_subjects` people are hardly enough: by
#   flipping signs no p-value below {glue:text}`least_sign_p:.3f` is possible, and a t-test leans on the assumption that differences follow a bell curve.
# - **Rivals.** *Category words* are the labels that were published for each image (abbreviated as they are, without three sets that have no theme), embedded
#   without any sentence. Eight RDMs were published with the data. Four are computed from the images: HMAX, a model of the steps of recognition
#   {cite:p}`riesenhuber1999`; a V1 model; the silhouette; and RADON, sums of the picture along lines. Two are categories: animate or not, and faces, bodies,
#   man-made and natural objects. And two are no models at all but *data*: neurons of monkey IT, and early visual areas of humans, which may even share scanner
#   noise with human IT.
#
# The rival to beat is **animacy**: one bit an image, no language model needed.

# %% tags=["remove-stderr"]
themed = labels.drop(columns=themeless, errors="ignore")
words = embed(captions, embeddings, kind="category", categories=themed, images=test, device=device)
rivals = {"category words": rdm(words.values), **rsa.rival_rdms(data)}
models = rsa.batch_rdms({"captions": tables["captions"], **rivals}, len(test))[:, 0]  # (model, pair)
scores = compare_rdms(brains, models, method)  # (region, subject, model)

# %%
by_region = pd.Index(regions, name="region")
parts = [brains.sel(region=region) for region in regions]
chances = {"n_permutations": n_permutations, "method": method, "seed": seed}
null = xr.concat([rsa.mantel_null(models, part, **chances) for part in parts], by_region).mean("subject")
p = stats.p_values(scores.mean("subject"), null, dim="permutation")
beyond = stats.fdr(p, q)[0]
ceiling = xr.concat([rsa.noise_ceiling(part, method).mean("subject") for part in parts], by_region)
resample = {"method": method, "n_resamples": n_resamples, "seed": seed}
drawn = xr.concat([rsa.image_bootstrap(part, models, **resample) for part in parts], by_region)
once, again = (rsa.brain_rdms(data, part=k).sel(region=regions[0]).values for k in (0, 1))
agree = [compare_rdms(*two, method) for two in zip(once, again, strict=True)]

# %% mystnb={"image": {"alt": "A panel for each region: scores of captions and rivals, small dots for people, a large one for the mean with a bar for its interval over images, lines for chance and a gray band for the noise ceiling."}}
order = scores.mean(["region", "subject"])
shown = scores.sel(model=order.sortby(order)["model"].values)
extra = {
    "chance": null.quantile(0.95, "permutation"),
    "interval": xr.concat([drawn["low"], drawn["high"]], "end"),
    "ceiling": xr.concat([ceiling["lower"], ceiling["upper"]], "end"),
}
text = {"label": f"score ({method.capitalize()} correlation of RDMs)", "title": f"Match with the brain, {data.name}"}
report.figure("scores", plotting.places(shown, beyond, **extra, **text))

# %%
at = {"region": regions[0], "model": "captions"}
own = drawn.sel(at)
means = scores.mean("subject").sel(region=regions[0])
report.add(captions_score=stats.Estimate(float(own["score"]), float(own["low"]), float(own["high"]), len(test)))
report.add(captions_p=p.sel(at), rival_score=means.sel(model=rival), words_score=means.sel(model="category words"))
report.add(ceiling_low=ceiling["lower"][0], ceiling_high=ceiling["upper"][0])
report.add(session_low=min(agree), session_high=max(agree), n_beyond=beyond.sum(), n_scores=beyond.size)
report.add(n_higher=(means > means.sel(model="captions")).sum(), n_permutations=n_permutations, n_resamples=n_resamples)
report.add(n_subjects=scores.sizes["subject"], least_sign_p=2.0 ** (1 - scores.sizes["subject"]), q_percent=100 * q)
report.claim("captions match the brain beyond chance", report["captions_p"] <= 0.05)
report.claim("captions lie below the noise ceiling", float(own["score"]) < report["ceiling_low"])
report.claim("category words do no worse than captions", report["words_score"] >= float(own["score"]))
report

# %% [markdown]
# *What to see:* small dots are people, blue ones their mean with the interval over images, red lines what 95 % of permutations stay below, the gray band the
# noise ceiling. Captions reach {glue:text}`captions_score` (p = {glue:text}`captions_p:.3f` against chance), below the noise ceiling, which goes from
# {glue:text}`ceiling_low:.2f` to {glue:text}`ceiling_high:.2f`. Its lower end is low: these data are noisy, and two sessions of one person correlate at only
# {glue:text}`session_low:.2f` to {glue:text}`session_high:.2f`. Of the {glue:text}`n_scores` RDMs, {glue:text}`n_beyond` are beyond chance at a false discovery
# rate of {glue:text}`q_percent:g` %, and {glue:text}`n_higher` of the rivals score higher than captions.
#
# Animacy has {glue:text}`rival_score:.2f`, category words {glue:text}`words_score:.2f`. So on these pictures the names of categories do no worse than whole
# captions; [chapter 9](09_what_in_a_caption_matters) takes captions apart in this way and tests it.
#
# ## Are the differences more than luck?
#
# How much better captions do than each rival: with its interval over images, in how many people, and by a paired t-test over people.

# %%
less = drawn["draws"].sel(model="captions") - drawn["draws"].sel(model=list(rivals))
low, high = less.quantile([0.025, 0.975], "resample")
more = (scores.sel(model="captions") > scores.sel(model=list(rivals))).sum("subject")
tests = [rsa.subject_tests(scores.sel(region=region)).pairs.loc["captions"] for region in regions]
versus = pd.concat(tests, keys=regions, names=["region", "rival"])[["mean", "p"]]
versus = versus.assign(low=low.values.ravel(), high=high.values.ravel(), people=more.values.ravel())
versus = versus[["mean", "low", "high", "people", "p"]]
names = {"mean": "captions better by", "low": "from", "high": "to (95 %, images)", "p": "p (t, people)"}
versus.rename(columns=names).round(3)

# %%
of_rival = versus.loc[(regions[0], rival)]
clear = {"better": (versus["low"] > 0).sum(), "worse": (versus["high"] < 0).sum()}
gap = stats.Estimate(of_rival["mean"], of_rival["low"], of_rival["high"], len(test))
report.add(gap=gap, gap_people=int(of_rival["people"]))
report.add(n_better=clear["better"], n_worse=clear["worse"], n_versus=len(versus))
report.add(percent_of_ceiling=100 * means.sel(model="captions") / ceiling["lower"][0])
report.claim("captions do worse than the plainest category", of_rival["high"] < 0)
report

# %% [markdown]
# *What to see:* over other images of the kind ({glue:text}`n_versus` intervals, not corrected for their number), captions do clearly better (an interval above
# zero) than {glue:text}`n_better` rivals and clearly worse than {glue:text}`n_worse`. Against animacy the difference is {glue:text}`gap`, in favour of the
# captions in {glue:text}`gap_people` of {glue:text}`n_subjects` people: on these pictures captions do worse than one bit an image. Intervals over images hold
# for these {glue:text}`n_subjects` people, p-values over people for these pictures; neither holds for both.
#
# ## Do captions say more than animacy?
#
# A lower score does not mean that captions hold nothing that animacy lacks. Captions could have the right finer distinctions and wrong weights. We can ask
# directly: exchange the captions only *among animate* and *among inanimate* images. That keeps everything captions say about animacy and destroys the rest. If
# the real captions do better than that, they match something finer. The same can be done within the six finer kinds: human and animal bodies and faces, natural and
# artificial things.

# %%
rows = {}
for region, part in zip(regions, parts, strict=True):
    score = scores.sel(region=region, model="captions").values.mean()
    for name, groups in kinds.items():
        mixed = rsa.mantel_null(models[:1], part, groups=groups, **chances).values.mean((1, 2))
        rows[region, name] = [mixed.mean(), np.quantile(mixed, 0.95), score, stats.p_values(score, mixed)]
columns = ["mean of permutations", "95 % of them below", "captions", "p"]
finer = pd.DataFrame(rows, index=columns, dtype=float).T.rename_axis(["region", "what permutations keep"])
finer.round(3)

# %%
rough, close = finer.loc[regions[0]].loc["coarse kinds"], finer.loc[regions[0]].loc["fine kinds"]
report.add(coarse=rough["mean of permutations"], coarse_p=rough["p"], least_p=1 / (1 + n_permutations))
report.add(fine=close["mean of permutations"], fine_p=close["p"])
report.claim("captions hold something of the brain beyond coarse kinds, such as animacy", rough["p"] <= q)
report.claim("captions hold something of the brain beyond fine kinds", close["p"] <= q)
report

# %% [markdown]
# *What to see:* captions exchanged within animate and inanimate images still score {glue:text}`coarse:.2f` on average, less than the real ones (p =
# {glue:text}`coarse_p:.3f`, where {glue:text}`least_p:.3f` is the smallest possible). Within the six kinds it is {glue:text}`fine:.2f` (p =
# {glue:text}`fine_p:.3f`). So captions hold something of human IT beyond animacy, and beyond the six kinds, whatever their score as a whole.
#
# ## Everywhere that there are data
#
# The last question is asked at each *place*: in discs of the cortex ([the next page](07_searchlight)) where responses lie on one, else region by region.
# objects92 has one place, human IT. `place_map` scores captions and the rival there in every person, and a t-test over people asks whether the mean of captions,
# and of their difference from the rival, is other than zero, at a false discovery rate over places.

# %%
maps = searchlight.place_map(data, models.sel(model=["captions", rival]), radius=radius, method=method, seed=seed)
gap = maps.sel(model=["captions"]) - maps.sel(model=rival, drop=True)
maps = xr.concat([maps.sel(model=["captions"]), gap.assign_coords(model=[f"captions less {rival}"])], "model")
tested = searchlight.group_map(maps, q)
share = 100 * tested["rejected"].mean("centre")
report.add(n_places=maps.sizes["centre"], percent_captions=share[0], percent_less=share[1])
report

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Scores of captions, and of captions less the rival, at each place: dots for people and their mean in regions, or maps of a cortex."}}
text = {"label": f"score ({method.capitalize()} correlation)", "title": f"Captions at each place, {data.name}"}
report.figure("places", plotting.places(maps, tested["rejected"], hemisphere=hemisphere, **text))

# %% [markdown]
# *What to see:* filled where the mean over people is other than zero. Captions are so in {glue:text}`percent_captions:.0f` % of {glue:text}`n_places` place(s),
# their difference from the rival in {glue:text}`percent_less:.0f` %. With four people, a difference has to be large beside its scatter to be told from zero,
# and what is so in people at large is a question for more of them.
#
# ## What we have shown, and what not
#
# This is the claim that these people support, and the size of it. A model that knows nothing but captions matches a person's human IT
# {glue:text}`percent_of_ceiling:.0f` % as well as the mean of the other people does, beyond chance, and holds something beyond the kind of thing that is shown;
# but much of it *is* the kind of thing, and as a whole captions do worse than the plainest category. All this holds for four people and one set of pictures.
#
# ## Exercise
#
# Do captions add to the rival? Compute the {term}`partial correlation` of captions and the brain given the rival, in each person.
#
# :::{admonition} Solution
# :class: dropdown
# It is above zero in all of them, as the permutations within kinds lead one to expect: captions and the rival overlap, and neither holds all of the other.
# :::

# %% tags=["hide-cell"]
link = float(compare_rdms(*models.sel(model=["captions", rival]).values, method))
one, other = (scores.sel(model=name, drop=True) for name in ("captions", rival))
partial = (one - other * link) / np.sqrt((1 - other**2) * (1 - link**2))
partial.to_series().unstack().round(2)

# %% [markdown]
# ## Run it on your own data
#
# The photographs of the study are those of the Natural Scenes Dataset {cite:p}`allen2022`. If you have a copy (it needs an access agreement; nothing is
# downloaded here), this page runs on it, with a map of the cortex; `book/profiles/nsd.yml` holds the parameters. A folder of yours is named in its place, with
# the sets of category labels that tell your pictures apart (`brainalign check my_folder` tells what is missing):
#
# ```bash
# papermill notebooks/07_captions_and_visual_cortex_in_people.ipynb mine.ipynb \
#   -y "{dataset: my_folder, method: pearson, rival: category words, coarse: [indoors], fine: [kitchen, street], results: my_results}"
# ```
#
# ## What the papers found
#
# {cite:t}`doerig2025` compared eight people's 7 tesla responses to thousands of photographs with MPNet embeddings of their captions, by RSA with correlation
# distances and Pearson correlations in batches of 100 images. They report matches across ventral, lateral and parietal higher visual areas, in ROIs and in
# searchlight maps, and that whole captions do better than category words. Their comparisons of models within a region use, as far as the published code tells, a
# test for independent samples although the people are the same; ours are paired.
#
# {cite:t}`kriegeskorte2008`, whose data we used, found that human and monkey IT share their main division, animate against inanimate. On 92 isolated objects
# captions have little room to beat it: the study's point, that a sentence holds relations and a scene, needs pictures of scenes. So these data are no test of it.
