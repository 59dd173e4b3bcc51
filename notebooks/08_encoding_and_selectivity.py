# %% [markdown]
# # Encoding models of what people see
#
# Chapter 7 took the numbers that a language model makes of a caption as they come, and asked whether the whole geometry agrees with a region's.
# A single place in the brain need not care for all of these numbers. Perhaps it responds to a *mixture* of a few of them. This chapter fits such a
# mixture for every place and lets it predict responses to pictures that it has not seen.
#
# :::{admonition} In this chapter
# **You will learn**
# how to fit an encoding model of thousands of places at once, each with its own penalty; what its score can be held against; and what a significant
# score does not say.
#
# **You need** ridge regression and cross-validation of chapter 2, and chapter 7.
#
# **It takes** about 15 minutes to read, and a minute or two to run on two cores once the captions are embedded (chapter 7 does that).
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
n_people: int = 4  # virtual people
n_folds: int = 5  # parts of the training images that choose the penalties
n_permutations: int = 200  # orders of images, for chance
hemisphere: str = "right"  # which one the maps show: "left" or "right"
q: float = 0.05  # false discovery rate
seed: int = 0  # of permutations
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/08_encoding_and_selectivity"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import zscore
from sklearn.metrics import roc_auc_score

from brainalign import datasets, plotting, rsa, stats
from brainalign.book import Report
from brainalign.features.captions import embed
from brainalign.features.images import gabor_energies
from brainalign.ridge import DEFAULT_ALPHAS, FractionalRidgeCV, RidgeSweepCV
from brainalign.ridge.vertexwise import encode, members, region_ceilings, region_means, responses_of, shared_vertices
from brainalign.rsa import searchlight

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# The people are those of chapter 7: a {term}`virtual cohort`, who look at rendered scenes. Each saw scenes of their own, for training, and all saw the same
# others, for testing ({term}`test set`). The responses of high-level vertices were planted from {term}`sentence embeddings <sentence embedding>` of
# the scenes' captions, those of early cortex from {term}`Gabor energies <Gabor energy>` of the pictures, and noise was added. What is proved here
# is the method; what people's brains do is asked [two pages on](08_encoding_and_selectivity_in_people).

# %%
data = datasets.load_viewing("virtual", embeddings=embeddings, n_people=n_people, seed=seed, device=device)
data

# %% tags=["remove-stderr"]
features = {"captions": embed(data.captions, embeddings, device=device).values}
features["pixels"] = zscore(gabor_energies(np.asarray(data.images)), axis=0)
vertices = shared_vertices(data)
place, test, first = data.image_names.get_indexer, list(data.test_images), data.subjects[0]
drive = data.truth.loc[vertices, "drive"].to_numpy()
regions = members(data.rois, vertices)
report.add(n_train=len(data.train_images(first)), n_test=len(test), n_vertices=len(vertices))
report.add(n_features=features["captions"].shape[1], n_folds=n_folds, q_percent=100 * q, first_name=first)
report.add(n_people=n_people, n_permutations=n_permutations)
report

# %% [markdown]
# ## One place
#
# A model of one {term}`vertex` is a weighted sum of the {glue:text}`n_features` numbers of the embedding:
#
# $$\hat y = b + \sum_k w_k x_k .$$
#
# There are more weights than the {glue:text}`n_train` images to learn them from, so that without a restraint the sum would fit everything, noise
# included. {term}`Ridge regression <ridge regression>` {cite:p}`hoerl1970` is the restraint: it charges large weights a penalty. How large should
# the penalty be? Here is the vertex of the ventral region whose repeats agree best, under all penalties.

# %%
captions = encode(data, features["captions"], cv=n_folds, device=device)
ceiling = captions.ceiling.sel(subject=first).values
train = data.train_images(first)
x_train, x_test = (features["captions"][place(images)] for images in (train, test))
y_train, y_test = (responses_of(data, first, images) for images in (train, test))
one = int(np.argmax(np.where(regions["ventral"], ceiling, -1)))
swept = RidgeSweepCV(cv=n_folds).fit(x_train, y_train[:, one])
curve = []
for alpha in DEFAULT_ALPHAS:
    model = RidgeSweepCV([alpha], cv=2).fit(x_train, y_train[:, one])
    for images, x, y in (("training images", x_train, y_train), ("test images", x_test, y_test)):
        r = np.corrcoef(model.predict(x), y[:, one])[0, 1]
        curve.append({"penalty": np.log10(alpha), "images": images, "r": r})
curve = pd.DataFrame(curve)

# %% mystnb={"image": {"alt": "Score of one vertex over penalties on a logarithmic axis: one line for training images and one for test images, and dashed lines at the noise ceiling and at the test score of the penalty that was chosen."}}
by_penalty = curve.pivot(index="penalty", columns="images", values="r")
chosen, loosest = by_penalty.iloc[swept.cv_mse_.argmin()], by_penalty.iloc[0]
levels = {"noise ceiling": ceiling[one], "test images, penalty chosen": chosen["test images"]}
text = {"xlabel": "penalty (power of ten)", "ylabel": "score (Pearson r)"}
title = f"One vertex of the ventral region of {first}, {data.name}"
report.figure("penalties", plotting.lines(curve, "penalty", "r", hue="images", levels=levels, title=title, **text))

# %%
report.add(chosen=chosen.name, one_train=chosen["training images"], one_test=chosen["test images"])
report.add(one_unrestrained=loosest["training images"], one_unrestrained_test=loosest["test images"])
report.add(one_ceiling=ceiling[one])
better = chosen["test images"] > loosest["test images"]
report.claim("the penalty that is chosen predicts new images better than the smallest", better)
report

# %% [markdown]
# *What to see:* with the smallest penalty the model reproduces the training images (r = {glue:text}`one_unrestrained:.2f`) and predicts the test images
# at {glue:text}`one_unrestrained_test:.2f`. {term}`Cross-validation <cross-validation>` *within the training images* chooses 10 to the power of
# {glue:text}`chosen:g`; with it, the fit is {glue:text}`one_train:.2f` and the test score {glue:text}`one_test:.2f`, where the {term}`noise ceiling`
# is {glue:text}`one_ceiling:.2f`. Test images have no part in the choice. The largest penalty still predicts something: its weights are nearly
# zero but point in a useful direction, and r does not see size.
#
# ## Every place its own penalty
#
# Now all {glue:text}`n_vertices:,` vertices. A clean one can afford large weights, and one of mere noise should have none, so each gets its own penalty.
# `RidgeSweepCV` does this for all at once: the costly step, a decomposition of the images' features, is the same for all of them.
#
# The study used *fractional ridge regression* {cite:p}`rokem2020`, in which the penalty is set by how far it shrinks the weights, and its code chose
# **one** fraction for all vertices of a person. That may be too little shrinkage for vertices without signal, and too much for those with a lot. How
# much does it matter?

# %%
every = slice(None, None, max(1, len(vertices) // 4000))  # enough vertices to compare
few, y_few = ceiling[every], y_train[:, every]
strong, weak = few > np.quantile(few, 0.75), few <= np.quantile(few, 0.25)
each = RidgeSweepCV(cv=n_folds).fit(x_train, y_few)
kinds = {
    "a penalty each": each,
    "one penalty for all": RidgeSweepCV([DEFAULT_ALPHAS[each.cv_mse_.mean(1).argmin()]], cv=2).fit(x_train, y_few),
    "one fraction for all": FractionalRidgeCV(cv=n_folds).fit(x_train, y_few),
}
rows = {}
for name, model in kinds.items():
    predicted = model.predict(x_test)
    r = (zscore(predicted.astype(float)) * zscore(y_test[:, every].astype(float))).mean(0)
    rows[name] = {roi: r[inside[every]].mean() for roi, inside in regions.items()}
    rows[name] |= {"highest ceilings": r[strong].mean(), "s.d. predicted, no signal": predicted[:, weak].std(0).mean()}
rows = pd.DataFrame(rows).T
rows.round(3)

# %%
cost = rows.loc["a penalty each", "highest ceilings"] - rows["highest ceilings"]
size = rows["s.d. predicted, no signal"]
report.add(one_alpha_cost=cost["one penalty for all"], one_fraction_cost=cost["one fraction for all"])
report.add(size_each=size["a penalty each"], size_fraction=size["one fraction for all"])
report.add(fraction=kinds["one fraction for all"].fraction_)
report.add(weak_largest=100 * (each.alpha_[weak] == DEFAULT_ALPHAS[-1]).mean())
report.claim("one penalty or one fraction for all costs little score where there is signal", cost.max() < 0.02)
report.claim("with one fraction for all, predictions without signal vary more", size.iloc[2] > 1.5 * size.iloc[0])
report

# %% mystnb={"image": {"alt": "Share of vertices that choose each penalty, on a logarithmic axis: one line for the quarter with the highest noise ceilings, one for vertices with a ceiling of 0."}}
shares = []
for name, kept in {"highest quarter of ceilings": strong, "ceiling of 0": weak}.items():
    percent = [100 * np.isclose(each.alpha_[kept], alpha).mean() for alpha in DEFAULT_ALPHAS]
    shares.append(pd.DataFrame({"penalty": np.log10(DEFAULT_ALPHAS), "percent": percent, "vertices": name}))
text = {
    "xlabel": "penalty chosen (power of ten)",
    "ylabel": "vertices (%)",
    "title": f"Penalties, {first} of {data.name}",
}
report.figure("chosen", plotting.lines(pd.concat(shares), "penalty", "percent", hue="vertices", **text))

# %% [markdown]
# *What to see:* the table above holds mean scores of {glue:text}`first_name` on the test images, by {term}`region of interest`, and for the quarter of
# vertices with the highest noise ceilings. There, one penalty for all costs {glue:text}`one_alpha_cost:.3f`, and one fraction for all (the one
# chosen is {glue:text}`fraction:.2f`) {glue:text}`one_fraction_cost:.3f`: for the *score* that matters little, since Pearson's r does not see how
# large a prediction is. For its *size* it matters a lot. In vertices whose repeats do not agree at all (a ceiling of 0; most are mere noise) the
# predictions of the study's rule vary by {glue:text}`size_fraction:.2f` s.d., those with a penalty each by {glue:text}`size_each:.2f`. Nearly all of that is
# noise, and would come back on the next page, where predictions are subtracted. The figure shows why: vertices with signal ask for smaller
# penalties than those without, of which {glue:text}`weak_largest:.0f` % choose the largest there is.
#
# ## What can a score be held against?
#
# From here on every person has a model of every vertex, which `encode` fitted above. The score of a vertex is Pearson's r of predicted and observed
# responses over the test images. Three things go beside it.
#
# - **A rival.** The same regression from Gabor energies of the pixels, for what captions and pictures have in common.
# - **The noise ceiling.** A prediction without any error would still not match the noise. How well repeats agree says how far it could come. (Over
#   a region, {term}`reliability <noise ceiling>` is averaged over vertices before the root is taken: single vertices' ceilings are too uncertain.)
# - **Other people.** How well do the responses of the *others*, averaged, match a person's, vertex by vertex ({term}`inter-subject agreement`)? It
#   is no ceiling: it misses all that is a person's own, and a model that is trained on the person may go beyond it.

# %%
pixels = encode(data, features["pixels"], cv=n_folds, device=device)
maps = {"captions": captions.scores, "pixels": pixels.scores, "other people": captions.agreement()}
by_region = xr.Dataset({name: region_means(values, regions) for name, values in maps.items()})
by_region = by_region.assign({"noise ceiling": region_ceilings(data)}).to_array("model")

# %% [markdown]
# What would chance give? The model was fitted on other images, so it is fixed when the test images come. If a vertex had nothing to do with captions,
# every assignment of predictions to test images would be as good as the true one. We exchange the test images {glue:text}`n_permutations` times, in
# the same way for all vertices and people, and score again ({term}`permutation test`). So few permutations alone cannot give p-values small enough to
# correct for thousands of vertices, so each score, true or permuted, is brought to units of the mean and spread of its vertex's permuted scores, and compared
# with the permuted scores of all vertices together.

# %%
null = captions.null(n_permutations, seed=seed)
p = xr.concat([stats.p_values(captions.scores[k], null[:, k], pool=True) for k in range(n_people)], "subject").values
found = np.stack([stats.fdr(own, q)[0] for own in p])
chance = region_means(null.mean("subject"), regions).quantile(0.95, "shift")

# %% mystnb={"image": {"alt": "Four panels, one a region: scores of captions, pixels, other people and the noise ceiling, with a dot for each person, the mean and its interval, and a line for the chance of captions."}}
tests = [rsa.subject_tests(by_region.sel(region=roi)).models[["low", "high"]] for roi in regions]
interval = xr.DataArray(
    tests, {"region": list(regions), "model": by_region["model"].values}, ("region", "model", "end")
)
levels = chance.expand_dims(model=["captions"]).reindex(model=by_region["model"])
title = f"Mean over vertices, {data.name}; 95 % over {n_people} people"
text = {"label": "score (Pearson r)", "chance": levels, "interval": interval, "title": title}
report.figure("regions", plotting.places(by_region, interval[..., 0] > 0, **text))

# %%
share = (by_region / by_region.sel(model="noise ceiling")).mean("subject").to_pandas().T.drop(columns="noise ceiling")
share = (100 * share).round(0).add_suffix(" / ceiling (%)")
gap = by_region.sel(model="captions") - by_region.sel(model="pixels")
tested = rsa.subject_tests(gap.rename(region="model")).models
share["captions - pixels"] = [f"{stats.Estimate(*row):+.2f}" for row in tested[["mean", "low", "high"]].values]
share["p (t, people)"] = [f"{value:.1g}" for value in tested["p"]]
share

# %%
high = [roi for roi in regions if roi != "early"]
lead = by_region.sel(model="captions", region=high) - by_region.sel(model=["pixels", "other people"], region=high)
ahead = (lead > 0).all("region").sum("subject")
report.add(captions_lead=ahead.sel(model="pixels"), beyond_people=ahead.sel(model="other people"))
report.add(pixels_lead=(gap.sel(region="early") < 0).sum())
of_ceiling = share.loc[high, "captions / ceiling (%)"]
report.add(share_low=of_ceiling.min(), share_high=of_ceiling.max())
beats = report["captions_lead"] == report["pixels_lead"] == n_people
report.claim("captions are ahead of pixels beyond early cortex, and behind there, in everybody", beats)
report.claim("beyond early cortex a person's own model goes beyond other people", report["beyond_people"] == n_people)
report

# %%
noise, told, early = (drive == kind for kind in ("none", "caption", "pixels"))
rates, wrong = 100 * found.mean(1), 100 * found[:, noise].sum(1) / found.sum(1)
report.add(found_low=rates.min(), found_high=rates.max(), false_share=wrong.mean())
report.add(noise_nominal=100 * (p[:, noise] < 0.05).mean(), noise_found=100 * found[:, noise].mean())
report.add(planted_captions=100 * told.mean(), planted_pixels=100 * early.mean())
report.add(early_found=100 * found[:, early].mean())
report.claim("the test is honest in noise", 4 < report["noise_nominal"] < 6)
report.claim("false findings are no more than was allowed", wrong.mean() <= 100 * q)
report.claim("captions predict many vertices that pixels drive", report["early_found"] > 20)
report

# %% [markdown]
# *What to see:* means over all vertices of a region, those of mere noise included; intervals are over people, for these {glue:text}`n_test` images.
# Captions are ahead of pixels in all regions but the early one in {glue:text}`captions_lead` of {glue:text}`n_people` people, and behind them in the
# early region in {glue:text}`pixels_lead`. Beyond it the captions' score is {glue:text}`share_low:.0f` to {glue:text}`share_high:.0f` % of the ceiling (where
# some vertices hold mere noise that ceiling is too high, so that shares are lower bounds). There they also go beyond what the other people's
# responses tell, in {glue:text}`beyond_people` people: tuning that is one's own can be learnt from one's own responses only.
#
# At a {term}`false discovery rate` of {glue:text}`q_percent:g` %, captions predict {glue:text}`found_low:.1f` to {glue:text}`found_high:.1f` % of a person's vertices
# (planted: captions in {glue:text}`planted_captions:.0f` %, pixels in {glue:text}`planted_pixels:.0f` %). Is that count honest? Of the vertices in which nothing
# was planted, {glue:text}`noise_nominal:.1f` % have p < 0.05 without correction, about as many as should; after it {glue:text}`noise_found:.1f` % are left, which
# make {glue:text}`false_share:.1f` % of all findings.
#
# But captions also "predict" {glue:text}`early_found:.0f` % of the vertices that are driven by pixels, and by nothing else. As in chapter 7: **a
# significant score does not say what drives a vertex.** Pictures with similar captions look alike, and the regression finds it. The rival tells
# them apart.
#
# ## Where
#
# Whole maps: the mean score over people, where a t-test over people with the false discovery rate controlled over vertices is passed.

# %%
both = xr.concat([captions.scores, pixels.scores], pd.Index(["captions", "pixels"], name="model"))
group = searchlight.group_map(both.rename(vertex="centre"), q)

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Inflated hemisphere from the side, the middle and below, two rows: scores of captions and of pixels, where they pass the test."}}
title = f"Encoding, {hemisphere} hemisphere, mean of {n_people} people, {data.name}"
text = {"label": "score (Pearson r)", "hemisphere": hemisphere, "title": title}
report.figure("maps", plotting.places(both.rename(vertex="centre"), group["rejected"], **text))

# %%
caption_map, pixel_map = group["mean"].values
ahead = caption_map > pixel_map
report.add(auc_encoding=roc_auc_score(told[told | noise], caption_map[told | noise]))
report.add(winner_captions=100 * ahead[told].mean(), winner_pixels=100 * (~ahead)[early].mean())
report.add(noise_passed=100 * group["rejected"].values[0, noise].mean())
report.claim("scores tell driven vertices from noise", report["auc_encoding"] > 0.9)
names_it = min(report["winner_captions"], report["winner_pixels"]) > 90
report.claim("the higher score names the right description", names_it)
report

# %% [markdown]
# *What to see:* captions and pixels each predict best what they were planted in. Unlike the searchlight, an encoding model takes each vertex by itself
# and does not blur: the {term}`area under the curve` of captions' scores, for vertices driven by captions against *all* noise vertices, is
# {glue:text}`auc_encoding:.3f`. Among the vertices that are driven by something, the higher mean score names the right description for
# {glue:text}`winner_captions:.0f` % (captions) and {glue:text}`winner_pixels:.0f` % (pixels), though pixels pass the test in some places that captions drive. That
# *nothing* drives a vertex, only the test can say: {glue:text}`noise_passed:.1f` % of the noise vertices pass it for captions. The price is that a vertex must have
# enough signal of its own.
#
# ## True by construction
#
# The virtual viewers' high-level vertices *are* weighted sums of caption embeddings plus noise, from the very model we fit, and their early vertices
# are weighted sums of the very Gabor energies. So a linear model is the right one there, and captions must win where they do. All of
# this shows that the method recovers what is there, how large its scores can get under given noise, and where it misleads (captions that "predict"
# early cortex). It says nothing about people. The [next page](08_selectivity) asks the same models about sentences that nobody saw.
#
# ## Exercise
#
# How many images does an encoding model need? Train on the first 25, 50, 100, ... images of one person.
#
# :::{admonition} Solution
# :class: dropdown
# Scores rise quickly at first and then ever more slowly. How many images are enough depends on the noise: with fewer repeats of each, more are needed.
# :::

# %% tags=["hide-cell"]
rows = {}
for n in [size for size in (25, 50, 100, 200) if size < len(train)] + [len(train)]:
    predicted = RidgeSweepCV(cv=n_folds).fit(x_train[:n], y_train[:n, every]).predict(x_test)
    r = (zscore(predicted.astype(float)) * zscore(y_test[:, every].astype(float))).mean(0)
    rows[n] = {roi: r[inside[every]].mean() for roi, inside in regions.items()}
pd.DataFrame(rows).T.rename_axis("training images").round(2)

# %% [markdown]
# ## What the paper found
#
# {cite:t}`doerig2025` fitted fractional ridge regression from caption embeddings to eight people's responses to thousands of photographs (9,485 for the
# first person), and tested on 515 that all had seen. They report scores close to inter-subject agreement in all regions.
