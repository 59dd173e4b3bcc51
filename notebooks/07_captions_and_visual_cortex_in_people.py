# %% [markdown]
# # Captions and visual cortex, in people
#
# About people, virtual viewers say nothing. By default this page runs on *objects92* {cite:p}`kriegeskorte2008`, which says a little: a few people saw
# photographs of isolated objects in fMRI. Not responses, but RDMs ({term}`representational dissimilarity matrix`) were published, of *hIT*: human inferior
# temporal cortex, thought to recognise objects. How much do captions share with them, and is it more than the plainest category would?
#
# :::{admonition} In this chapter
# **You will learn** what captions share with a region of people's brains, beside noise, chance, other images and rivals, and beyond the kind of thing shown.
#
# **You need** RDMs, ceilings and the Mantel test of [the page before](07_captions_and_visual_cortex). **It takes** about 15 minutes to read, a minute to run.
# :::
#
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
report = Report(results)

# %% [markdown]
# ## People, pictures, captions
#
# Everybody saw the same pictures. Captions of *objects92* were written for this book, before any score was computed, by one writer, a multimodal language model
# that saw the pictures; those of {cite:t}`doerig2025`, *the study*, have several people each. Single objects leave little to tell but their names and looks.

# %%
data = datasets.load_viewing(dataset, **dataset_options)
test = list(data.test_images)
captions = data.captions[data.captions["image"].isin(test)]
print(data)
some = captions.loc[captions["image"].isin(test[5 :: len(test) // 3]), ["image", "caption"]]
some.style.hide().set_table_styles([{"selector": "th, td", "props": "text-align: left !important"}])

# %% [markdown]
# RDMs of each region and person (means over sessions) and of captions, averaged over pairs of kinds of images. Distances are ranked: 0 closest, 100 farthest.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Heat maps of mean dissimilarity between kinds of images, for captions and for the mean RDM of the people in each region."}}
brains = rsa.brain_rdms(data)  # (region, subject, pair)
regions = list(brains["region"].values)
spoken = rdm(embed(captions, embeddings, images=test, device=device).values)
labels = data.categories.loc[test]
of_kind = {"coarse": labels[coarse], "fine": labels[fine]}
kinds = {name: own.apply(lambda row: " ".join(row.index[row]) or "none", axis=1) for name, own in of_kind.items()}
finest = kinds["fine"].to_numpy()
means = {f"mean of people, {region}": brains.sel(region=region).mean("subject").values for region in regions}
ranks, squares = 100 * pd.DataFrame({"captions": spoken} | means).rank(pct=True), {}  # one row a pair
for name, ranked in ranks.items():
    square = pd.DataFrame(squareform(ranked.values), finest, finest).where(~np.eye(len(test), dtype=bool))
    squares[name] = square.groupby(level=0, sort=False).mean().T.groupby(level=0, sort=False).mean()
within = squareform(finest[:, None] == finest, checks=False)
for name, ranked in (("captions", ranks["captions"]), ("brain", ranks[f"mean of people, {regions[0]}"])):
    report.add(**{f"{name}_within": ranked[within].mean(), f"{name}_between": ranked[~within].mean()})
report.add(region=regions[0], rival=rival)
report.claim("images of one kind lie closer in the brain", report["brain_within"] < report["brain_between"])
report.claim("images of one kind lie closer in captions", report["captions_within"] < report["captions_between"])
text = {"label": "dissimilarity (percentile)", "xlabel": "", "ylabel": "", "title": f"Kinds of images, {data.name}"}
report.figure("kinds", plotting.heatmaps(squares, columns=2, **text))

# %% [markdown]
# *What to see:* a cell is a pair of kinds, dark where close. Images of one fine kind lie closer than those of two, in the region {glue:text}`region`
# (percentile {glue:text}`brain_within:.0f` against {glue:text}`brain_between:.0f`) and in captions ({glue:text}`captions_within:.0f` against
# {glue:text}`captions_between:.0f`). In *objects92* (*nonhumani*: animals; *natObj*, *artiObj*: natural, artificial objects), see what animal faces are near.
#
# ## Beside what?
#
# A correlation by itself says little. We put it beside five things; the rival to beat is, by default, **animacy**: one bit an image, no language model needed.
#
# - **Noise.** The {term}`noise ceiling` {cite:p}`nili2014` reaches from each person's match with the mean RDM of the *others* to that with the mean of *all*.
# - **Chance**, by a one-sided Mantel test with {glue:text}`n_permutations` permutations.
# - **Other images** of the kind, by a {term}`bootstrap` that draws images with replacement, {glue:text}`n_resamples` times.
# - **Other people.** A paired test over people asks whether captions do better than a rival in *people*. With {glue:text}`n_subjects` of them, no p-value below
#   {glue:text}`least_sign_p:.3f` is possible by flipping signs, and a t-test leans on the assumption that differences follow a bell curve.
# - **Rivals.** *Category words* are the labels of each image (without sets that have no theme), embedded alone. The RDMs published with *objects92* are of the
#   images (HMAX, a model of recognition {cite:p}`riesenhuber1999`; a V1 model; the silhouette; RADON, sums along lines), of categories (animate or not; faces,
#   bodies, man-made and natural objects), or *data*: neurons of monkey IT, and early visual areas of humans, which may share scanner noise with IT.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "A panel for each region: scores of captions and rivals, small dots for people, a large one for the mean with a bar for its interval over images, lines for chance and a gray band for the noise ceiling."}}
themed = labels.drop(columns=themeless, errors="ignore")
words = embed(captions, embeddings, kind="category", categories=themed, images=test, device=device)
rivals = {"category words": rdm(words.values), **rsa.rival_rdms(data)}
models = rsa.batch_rdms({"captions": spoken, **rivals}, len(test))[:, 0]  # (model, pair)
scores = compare_rdms(brains, models, method)  # (region, subject, model)
by_region, parts = pd.Index(regions, name="region"), [brains.sel(region=region) for region in regions]
chances = {"n_permutations": n_permutations, "method": method, "seed": seed}
null = xr.concat([rsa.mantel_null(models, part, **chances) for part in parts], by_region).mean("subject")
p = stats.p_values(scores.mean("subject"), null)
beyond = stats.fdr(p, q)[0]
ceiling = xr.concat([rsa.noise_ceiling(part, method).mean("subject") for part in parts], by_region)
resample = {"method": method, "n_resamples": n_resamples, "seed": seed}
drawn = xr.concat([rsa.image_bootstrap(part, models, **resample) for part in parts], by_region)
shown = scores.sortby(scores.mean(["region", "subject"]))
extra = {"interval": drawn[["low", "high"]].to_array("end"), "ceiling": ceiling[["lower", "upper"]].to_array("end")}
text = {"label": f"score ({method.capitalize()} correlation of RDMs)", "title": f"Match with the brain, {data.name}"}
report.figure("scores", plotting.places(shown, beyond, chance=null.quantile(0.95, "draw"), **extra, **text))

# %%
own, own_p = (found.sel(region=regions[0], model="captions") for found in (drawn, p))
once, again = (rsa.brain_rdms(data, part=k).sel(region=regions[0]).values for k in (0, 1))
agree = [compare_rdms(*two, method) for two in zip(once, again, strict=True)]
means = scores.mean("subject").sel(region=regions[0])
report.add(captions_score=stats.Estimate(float(own["score"]), float(own["low"]), float(own["high"]), len(test)))
report.add(captions_p=own_p, rival_score=means.sel(model=rival), words_score=means.sel(model="category words"))
report.add(ceiling_low=ceiling["lower"][0], ceiling_high=ceiling["upper"][0])
report.add(session_low=min(agree), session_high=max(agree), n_beyond=beyond.sum(), n_scores=beyond.size)
report.add(n_higher=(means > means.sel(model="captions")).sum(), n_permutations=n_permutations, n_resamples=n_resamples)
report.add(n_subjects=scores.sizes["subject"], least_sign_p=2.0 ** (1 - scores.sizes["subject"]), q_percent=100 * q)
report.claim("captions match the brain beyond chance", report["captions_p"] <= 0.05)
report.claim("captions lie below the noise ceiling", float(own["score"]) < report["ceiling_low"])
report.claim("category words do no worse than captions", report["words_score"] >= float(own["score"]))
report

# %% [markdown]
# *What to see:* small dots are people, large ones their mean (hollow: not beyond chance), bars 95 % over images; left of the red tick are 95 % of permutations,
# gray is the ceiling. Captions reach {glue:text}`captions_score` (p = {glue:text}`captions_p:.3f` against chance), below the {term}`noise ceiling`, which goes
# from {glue:text}`ceiling_low:.2f` to {glue:text}`ceiling_high:.2f`; two sessions of one person correlate at {glue:text}`session_low:.2f` to
# {glue:text}`session_high:.2f` (each session alone is noisier than the means over sessions and people that make the ceiling). Of the {glue:text}`n_scores`
# RDMs, {glue:text}`n_beyond` are beyond chance at a {term}`false discovery rate` of {glue:text}`q_percent:g` %; {glue:text}`n_higher` rivals score higher. The
# rival to beat ({glue:text}`rival`) has {glue:text}`rival_score:.2f`, category words {glue:text}`words_score:.2f`. So on these pictures the names of categories
# do no worse than whole captions; [chapter 9](09_what_in_a_caption_matters_in_people) takes captions apart in this way and tests it.
#
# ## Are the differences more than luck?
#
# How much better captions do than each rival: on average, with a 95 % interval over images, in how many people, and by a paired t-test over people.

# %%
less = drawn["draws"].sel(model="captions") - drawn["draws"].sel(model=list(rivals))
low, high = (end.values.ravel() for end in less.quantile([0.025, 0.975], "resample"))
more = (scores.sel(model="captions") > scores.sel(model=list(rivals))).sum("subject").values.ravel()
tests = [rsa.subject_tests(scores.sel(region=region)).pairs.loc["captions"] for region in regions]
versus = pd.concat(tests, keys=regions, names=["region", "rival"])
versus = versus.assign(low=low, high=high, people=more)[["mean", "low", "high", "people", "p"]]
gap = versus.loc[(regions[0], rival)]
report.add(gap=stats.Estimate(gap["mean"], gap["low"], gap["high"], len(test)), gap_people=int(gap["people"]))
report.add(n_better=(versus["low"] > 0).sum(), n_worse=(versus["high"] < 0).sum(), n_versus=len(versus))
report.add(percent_of_ceiling=100 * means.sel(model="captions") / ceiling["lower"][0])
report.claim("captions do worse than the rival to beat", gap["high"] < 0)
versus.round(3)

# %% [markdown]
# *What to see:* by intervals ({glue:text}`n_versus`, not corrected for their number), captions do better than {glue:text}`n_better` rivals and worse than
# {glue:text}`n_worse`. Against the rival to beat the difference is {glue:text}`gap`, in favour of the captions in {glue:text}`gap_people` of
# {glue:text}`n_subjects` people: on these pictures captions do worse. Intervals hold for these people, p-values for these pictures, neither for both.
#
# ## Do captions say more than the kind of thing?
#
# A lower score does not mean that captions hold nothing that the rival lacks: they could have the right finer distinctions and wrong weights. So we exchange
# captions only among images of one *coarse* kind, by default animate or inanimate ones: all that they say about the kind stays, and no more. If the real
# captions do better, they match something finer. So with *fine* kinds, by default bodies and faces, human or not, natural and artificial things.

# %%
rows = {}
for region, part in zip(regions, parts, strict=True):
    score = scores.sel(region=region, model="captions").values.mean()
    for name, groups in kinds.items():
        mixed = rsa.mantel_null(models[:1], part, groups=groups, **chances).values.mean((1, 2))
        rows[region, name] = [mixed.mean(), np.quantile(mixed, 0.95), score, stats.p_values(score, mixed)]
columns = ["mean of permutations", "95 % of them below", "captions", "p"]
finer = pd.DataFrame(rows, index=columns, dtype=float).T.rename_axis(["region", "kinds that permutations keep"])
first = finer.loc[regions[0]]
report.add(**first["mean of permutations"], **first["p"].add_suffix("_p"), least_p=1 / (1 + n_permutations))
report.claim("captions hold something of the brain beyond coarse kinds", report["coarse_p"] <= q)
report.claim("captions hold something of the brain beyond fine kinds", report["fine_p"] <= q)
finer.round(3)

# %% [markdown]
# *What to see:* captions exchanged within coarse kinds still score {glue:text}`coarse:.2f` on average, less than the real ones (p = {glue:text}`coarse_p:.3f`,
# where {glue:text}`least_p:.3f` is the smallest possible). Within fine kinds it is {glue:text}`fine:.2f` (p = {glue:text}`fine_p:.3f`). So captions hold
# something of the region beyond coarse kinds, and beyond fine ones, whatever their score as a whole.
#
# ## Everywhere that there are data
#
# `place_map` scores captions and the rival at each *place*: a disc where responses lie on a cortex ([the next page](07_searchlight)), else a region (objects92
# has one). A t-test over people asks whether captions, and their difference from the rival, are other than zero, at a false discovery rate over places.

# %%
maps = searchlight.place_map(data, models.sel(model=["captions", rival]), radius=radius, method=method, seed=seed)
gap = maps.sel(model=["captions"]) - maps.sel(model=rival, drop=True)
maps = xr.concat([maps.sel(model=["captions"]), gap.assign_coords(model=[f"captions less '{rival}'"])], "model")
tested = searchlight.group_map(maps, q)
share = 100 * tested["rejected"].mean("centre")
report.add(n_places=maps.sizes["centre"], percent_captions=share[0], percent_less=share[1])
report

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Scores of captions, and of captions less the rival, at each place: dots for people and their mean in regions, or maps of a cortex."}}
text = {"label": f"score ({method.capitalize()} correlation)", "title": f"Captions at each place, {data.name}"}
text |= {"hemisphere": hemisphere, "unsure": "mean, not other than zero"}
report.figure("places", plotting.places(maps, tested["rejected"], **text))

# %% [markdown]
# *What to see:* filled is other than zero. So are captions in {glue:text}`percent_captions:.0f` % of places ({glue:text}`n_places` in all), and their
# difference from the rival in {glue:text}`percent_less:.0f` %: with few people, a difference has to be large beside its scatter to be told from zero.
#
# ## What we have shown, and what not
#
# A model that knows nothing but captions matches a person's region {glue:text}`percent_of_ceiling:.0f` % as well as the mean of the other people does, beyond
# chance, and holds something beyond the kind of thing that is shown; but as a whole captions do worse than the rival to beat, by the interval over images. All
# this holds for these people and one set of pictures; what is so in people at large is a question for more of them.
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
report.claim("captions add to the rival to beat in everybody", bool((partial > 0).all()))
partial.to_series().unstack().round(2)

# %% [markdown]
# ## Run it on your own data
#
# On a copy of the study's data {cite:p}`allen2022`, under its access agreement, this page runs with the parameters of `book/profiles/nsd.yml` and draws a map
# of the cortex. A folder of yours takes its place, with category labels that tell your pictures apart (`brainalign check my_folder` tells what is missing):
# ```bash
# papermill notebooks/07_captions_and_visual_cortex_in_people.ipynb mine.ipynb \
#   -y "{dataset: my_folder, method: pearson, rival: category words, coarse: [indoors], fine: [kitchen, street], results: my_results}"
# ```
#
# ## What the papers found
#
# {cite:t}`doerig2025` compared eight people's responses to thousands of photographs with captions, by RSA. They report matches across ventral, lateral and
# parietal higher visual areas, in ROIs and in searchlight maps, and that whole captions do better than category words. {cite:t}`kriegeskorte2008` found that
# human and monkey IT share their main division, animate against inanimate. Isolated objects leave captions little room to beat it; relations need scenes.
