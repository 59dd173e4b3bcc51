# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Encoding and selectivity
#
# Chapter 7 took the numbers that a language model makes of a caption as they come, and asked whether the whole geometry agrees with a region's. A single place in
# the brain need not care for all of these numbers. Perhaps it responds to a *mixture* of a few of them. This chapter fits such a mixture for every place, lets it
# predict responses to pictures that it has not seen, and then asks it something that no scanner was ever asked: how would this place respond to the sentence "A bowl of hot soup"?
#
# :::{admonition} In this chapter
# **You will learn**
# how to fit an encoding model of thousands of places at once, each with its own penalty; what its score can be held against; how to find out what a place
# prefers from sentences alone; whether one person's model works for another person; and what weights add on four real people.
#
# **You need** ridge regression and cross-validation of chapter 2, and chapter 7.
#
# **It takes** about 40 minutes to read, and less than two minutes to run on two cores once the captions are embedded (chapter 7 does that).
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = "virtual"  # "virtual", "nsd" for your copy of that data set, or a folder of yours
dataset_options: dict = {}  # passed to datasets.load_viewing
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
n_folds: int = 5  # parts of the training images that choose the penalties
n_permutations: int = 200  # orders of images, for chance
n_resamples: int = 300  # bootstrap draws of images (real data)
n_components: int = 10  # dimensions of captions that get weights (real data)
n_partitions: int = 5  # ways to part the images into folds (real data)
hemisphere: str = "right"  # which one the maps show: "left" or "right"
q: float = 0.05  # false discovery rate
seed: int = 0  # of permutations, draws and folds
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
real_data: bool = True  # include the responses of four real people to 92 images

# %% tags=["hide-input", "remove-stderr"]
from functools import reduce
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from myst_nb import glue
from scipy.spatial.distance import squareform
from scipy.stats import zscore
from sklearn.metrics import roc_auc_score

from brainalign import datasets, plotting, rsa, searchlight, stats
from brainalign.assets import AssetError
from brainalign.datasets.objects92 import model_rdms
from brainalign.datasets.viewers import gabor_energies
from brainalign.encoding import DEFAULT_ALPHAS, RidgeSweepCV
from brainalign.features.captions import embed
from brainalign.fractional import FractionalRidgeCV
from brainalign.similarity import compare_rdms, rdm

plotting.use_style()
_ = xr.set_options(display_expand_data=False, display_expand_attrs=False)
BLUE, ORANGE, GREEN, GRAY = (
    plotting.COLORS[name] for name in ("blue", "orange", "green", "gray")
)
NOT_PLANTED = "(unknown: nothing was planted here)"
NO_PIXELS = "(no pictures in this data set)"
NO_DATA = "(no data in this build)"

# %% tags=["hide-output", "remove-stderr"]
options = dict(dataset_options)
if dataset == "virtual":  # planted from the model that is tested
    options.setdefault("embeddings", embeddings)
data = datasets.load_viewing(dataset, **options)
data.require(people=2, repeats=2, training=20)
vertices = reduce(np.intersect1d, [a["vertex"].values for a in data.responses.values()])
if not len(vertices):
    raise ValueError("dataset_options: people share no vertex; take a surface space.")
people, test, title = data.people, list(data.test_images), data.name.capitalize()
planted_here = data.truth is not None
data

# %% [markdown]
# ## One place
#
# The people are those of chapter 7: by default a {term}`virtual cohort` of {glue:text}`n_people`, who each saw {glue:text}`n_train` scenes of their own and {glue:text}`n_test`
# that all of them saw. The own scenes are for training, the common ones for testing ({term}`test set`). A model of one {term}`vertex` is a weighted sum of the
# {glue:text}`n_features` numbers of the {term}`sentence embedding`:
#
# $$\hat y = b + \sum_k w_k x_k .$$
#
# There are more weights than images to learn them from, so that without a restraint the sum would fit everything, noise included. {term}`Ridge regression <ridge regression>`
# {cite:p}`hoerl1970` is the restraint: it charges large weights a penalty. How large should the penalty be? Here is the vertex of the ventral region whose repeats agree best, under all penalties.

# %% tags=["remove-stderr"]
features = {"captions": embed(data.captions, embeddings, device=device).values}
if data.images is not None:
    energies = gabor_energies(np.asarray(data.images))
    features["pixels"] = zscore(energies, axis=0)
place = data.image_names.get_indexer


def responses_of(person, images):
    """Mean over repeats (image, vertex), of the vertices that all people have."""
    found = data.mean_responses(person, images).sel(vertex=vertices)
    return found.values.astype("float32")


def ceiling_of(person):
    """Noise ceiling of each vertex on the test images."""
    repeats = data.responses[person].sel(image=test).sel(vertex=vertices)
    return stats.noise_ceiling(repeats.astype("float32"))["ceiling"].values


def correlations(predicted, observed):
    """Pearson r of each column with the same column."""
    a, b = (zscore(np.asarray(values, dtype=float)) for values in (predicted, observed))
    return (a * b).mean(0)


# %%
first = people[0]
region = "ventral" if "ventral" in data.rois else data.rois.columns[0]
train = data.train_images(first)
x_train, x_test = (features["captions"][place(images)] for images in (train, test))
y_train, y_test = (responses_of(first, images) for images in (train, test))
ceiling = ceiling_of(first)
inside = data.rois.loc[vertices, region].to_numpy()
one = int(np.argmax(np.where(inside, ceiling, -1)))
swept = RidgeSweepCV(cv=n_folds).fit(x_train, y_train[:, one])
chosen = int(swept.cv_mse_.argmin())
curve = []
for alpha in DEFAULT_ALPHAS:
    model = RidgeSweepCV([alpha], cv=2).fit(x_train, y_train[:, one])
    pairs = [(x_train, y_train), (x_test, y_test)]
    curve.append([np.corrcoef(model.predict(x), y[:, one])[0, 1] for x, y in pairs])
curve = np.array(curve)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: over ten penalties on a logarithmic axis, the fit to training images falls from nearly 1, the score on test images rises, has a flat top and falls; a dashed line marks the penalty chosen. Right: predicted against observed responses to test images, one dot an image, along a rising line."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.4))
left.plot(DEFAULT_ALPHAS, curve[:, 0], "o-", color=ORANGE, label="training images")
left.plot(DEFAULT_ALPHAS, curve[:, 1], "s-", color=BLUE, label="test images")
left.axhline(ceiling[one], color=GRAY, ls=":", label="noise ceiling")
left.axvline(DEFAULT_ALPHAS[chosen], color="k", ls="--", lw=0.8)
left.text(DEFAULT_ALPHAS[chosen], 0.02, " chosen", fontsize=8)
left.axhline(0, color="k", lw=0.8)
left.set_xscale("log")
left.set(xlabel="penalty", ylabel="score (Pearson r)", ylim=(-0.15, 1.05))
left.legend(fontsize=8, loc="center right", bbox_to_anchor=(1, 0.35))
right.plot(swept.predict(x_test), y_test[:, one], "o", color=BLUE, ms=4, alpha=0.7)
right.set(xlabel="predicted (s.d.)", ylabel="observed (s.d.)")
right.set_title("test images", fontsize=10)
figure.suptitle(
    f"One vertex of the {region} region of {first}, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["remove-cell"]
glue("n_people", len(people), display=False)
glue("n_train", f"{len(train):,}", display=False)
glue("n_test", len(test), display=False)
glue("n_features", x_train.shape[1], display=False)
glue("n_vertices", f"{len(vertices):,}", display=False)
glue("one_train", f"{curve[chosen, 0]:.2f}", display=False)
glue("one_test", f"{curve[chosen, 1]:.2f}", display=False)
glue("one_ceiling", f"{ceiling[one]:.2f}", display=False)
glue("one_unrestrained", f"{curve[0, 0]:.2f}", display=False)
glue("one_unrestrained_test", f"{curve[0, 1]:.2f}", display=False)
glue("n_folds", n_folds, display=False)
glue("q_percent", f"{100 * q:g}", display=False)

# %% [markdown]
# *What to see:* left, with the smallest penalty the model reproduces the training images (r = {glue:text}`one_unrestrained`) and predicts the test images at
# {glue:text}`one_unrestrained_test`. The dashed line is the penalty that {term}`cross-validation` *within the training images* chooses; with it, the fit is {glue:text}`one_train` and
# the test score {glue:text}`one_test`, where the {term}`noise ceiling` is {glue:text}`one_ceiling`. Test images have no part in the choice. The largest penalty still predicts something: its weights are nearly zero but point in a useful direction, and r does not see size. Right, each dot is a test image.
#
# ## Every place its own penalty
#
# Now all {glue:text}`n_vertices` vertices. How strong the penalty should be depends on how much signal a vertex has: a clean one can afford large weights, and one of mere noise should
# have none. So each vertex gets its own. `RidgeSweepCV` does this for all at once: the costly step, a decomposition of the images' features, is the same for all of them.
#
# The study used *fractional ridge regression* {cite:p}`rokem2020`, in which the penalty is set by how far it shrinks the weights, and its code chose **one** fraction for all vertices of a person. That may be too little shrinkage for
# vertices without signal, and too much for those with a lot. How much does it matter?

# %%
every = slice(None, None, max(1, len(vertices) // 4000))  # enough vertices to compare
kinds = {
    "a penalty each": RidgeSweepCV(cv=n_folds),
    "one penalty for all": None,
    "one fraction for all": FractionalRidgeCV(cv=n_folds),
}
choices = {}
for name, model in kinds.items():
    if model is None:  # the penalty with the least error over all vertices
        errors = kinds["a penalty each"].cv_mse_.mean(1)
        model = RidgeSweepCV([DEFAULT_ALPHAS[errors.argmin()]], cv=2)
    kinds[name] = model.fit(x_train, y_train[:, every])
    choices[name] = correlations(model.predict(x_test), y_test[:, every])
few_ceilings = ceiling[every]
strong = few_ceilings > np.quantile(few_ceilings, 0.75)
lowest = np.quantile(few_ceilings, 0.25)
weak = few_ceilings <= lowest
weak_name = "lowest quarter" if lowest > 0 else "0: repeats do not agree"
rows = {}
for name, r in choices.items():
    row = {roi: r[data.rois.loc[vertices[every], roi]].mean() for roi in data.rois}
    row["highest ceilings"] = r[strong].mean()
    size = kinds[name].predict(x_test)[:, weak].std(0).mean()
    rows[name] = row | {"s.d. predicted, lowest ceilings": size}
rows = pd.DataFrame(rows).T
rows.round(3)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Histogram of the penalties chosen: vertices with a high noise ceiling take smaller penalties, those without signal mostly the largest one."}}
alphas = kinds["a penalty each"].alpha_
steps = np.searchsorted(DEFAULT_ALPHAS, alphas * 0.999)
groups = {"highest quarter": strong, weak_name: weak}
figure, axis = plt.subplots(figsize=(7, 2.8))
for k, (name, members) in enumerate(groups.items()):
    share = np.bincount(steps[members], minlength=len(DEFAULT_ALPHAS)) / members.sum()
    axis.bar(
        np.arange(len(share)) + 0.4 * k - 0.2,
        100 * share,
        0.4,
        color=[BLUE, ORANGE][k],
        label=name,
    )
axis.set_xticks(range(0, len(DEFAULT_ALPHAS), 2), [f"$10^{{{k}}}$" for k in range(8)])
axis.set(xlabel="penalty chosen", ylabel="vertices (%)")
axis.legend(title="noise ceiling", fontsize=8)
axis.set_title(f"Penalties of {first}, {data.name}")
plt.show()

# %% tags=["remove-cell"]
cost = rows.loc["a penalty each", "highest ceilings"] - rows["highest ceilings"]
glue("one_alpha_cost", f"{cost['one penalty for all']:.3f}", display=False)
glue("one_fraction_cost", f"{cost['one fraction for all']:.3f}", display=False)
size = rows["s.d. predicted, lowest ceilings"]
glue("size_each", f"{size['a penalty each']:.2f}", display=False)
glue("size_fraction", f"{size['one fraction for all']:.2f}", display=False)
weak_text = "the quarter of vertices with the lowest ceilings"
if not lowest > 0:
    weak_text = "the vertices whose repeats do not agree at all (a ceiling of 0; most are mere noise)"
glue("weak_text", weak_text, display=False)
largest = (alphas[weak] == DEFAULT_ALPHAS[-1]).mean()
glue("weak_largest", f"{100 * largest:.0f}", display=False)
glue("fraction", f"{kinds['one fraction for all'].fraction_:.2f}", display=False)

# %% [markdown]
# *What to see:* the table holds mean scores of {glue:text}`first_name` on the test images, by {term}`region of interest`, and for the quarter of vertices with the highest noise ceilings. There, one penalty for all
# costs {glue:text}`one_alpha_cost`, and one fraction for all (the one chosen is {glue:text}`fraction`) {glue:text}`one_fraction_cost`: for the *score* that matters little, since Pearson's r does not see how large a prediction is. (All vertices have a say in the one value, and most of them have no signal.) For the *size* of predictions it matters a lot. In
# {glue:text}`weak_text`, the predictions of the study's rule vary by {glue:text}`size_fraction` s.d., those with a penalty each by {glue:text}`size_each`. Nearly all of that is noise, which would come back when we subtract predictions below.
# The figure shows why: vertices with signal ask for smaller penalties than those without, of which {glue:text}`weak_largest` % choose the largest there is.
#
# ## What can a score be held against?
#
# From here on every person has a model of every vertex. The score of a vertex is Pearson's r of predicted and observed responses over the test images. We put three things beside it.
#
# - **A rival.** The same regression from Gabor energies ({term}`Gabor energy`) of the pixels, for what captions and pictures have in common.
# - **The noise ceiling.** A prediction without any error would still not match the noise. Where each image was shown several times, the agreement of these repeats says how far it could come.
# - **Other people.** How well do the responses of the *other* people, averaged, match those of a person, vertex by vertex ({term}`inter-subject agreement`)? It is no ceiling: it misses all that is a person's
#   own, and a model that is trained on the person may go beyond it.

# %%
observed, models, scores, top, agreement = {}, {}, {}, {}, {}
for person in people:
    observed[person] = responses_of(person, test)
    top[person] = ceiling_of(person)
    shown = data.train_images(person)
    answers = responses_of(person, shown)
    for name, values in features.items():
        model = RidgeSweepCV(cv=n_folds, device=device).fit(
            values[place(shown)], answers
        )
        predicted = model.predict(values[place(test)])
        scores[name, person] = correlations(predicted, observed[person])
        if name == "captions":
            model.coef_ = model.coef_.astype("float32")  # half the memory
            models[person] = model
for person in people:
    others = np.mean([observed[other] for other in people if other != person], axis=0)
    agreement[person] = correlations(others, observed[person])
regions = list(data.rois)
members = {roi: data.rois.loc[vertices, roi].to_numpy() for roi in regions}
members = {roi: mask for roi, mask in members.items() if mask.any()}
regions = list(members)
table = {name: [scores[name, p] for p in people] for name in features}
table |= {"other people": list(agreement.values()), "noise ceiling": list(top.values())}
by_region = xr.DataArray(
    [
        [[r[mask].mean() for r in rs] for rs in table.values()]
        for mask in members.values()
    ],
    {"region": regions, "model": list(table), "subject": people},
    ("region", "model", "subject"),
)

# %% [markdown]
# What would chance give? The model was fitted on other images, so it is fixed when the test images come. If a vertex had nothing to do with captions, every assignment of predictions to test images would be
# as good as the true one. We permute the test images {glue:text}`n_permutations` times, in the same way for all vertices and people, who saw the same images, and score again ({term}`permutation test`); nothing needs to be fitted again. So few permutations alone cannot give p-values small enough to correct for thousands of
# vertices, so we express each score, true or permuted, in units of the mean and spread of its vertex's permuted scores, and compare each vertex with the permuted scores of all together.

# %%
rng = np.random.default_rng(seed)
n_test = len(test)
orders = [rng.permutation(n_test) for _ in range(n_permutations)]
p_person, found, region_null = {}, {}, []
for person in people:
    predicted = zscore(models[person].predict(features["captions"][place(test)]))
    answers = zscore(observed[person])
    null = np.stack(
        [np.einsum("iv,iv->v", predicted[order], answers) / n_test for order in orders]
    )
    p_person[person] = stats.p_values(scores["captions", person], null, pool=True)
    found[person] = stats.fdr(p_person[person], q)[0]
    region_null.append([null[:, mask].mean(1) for mask in members.values()])
chance = np.quantile(np.mean(region_null, axis=0), 0.95, axis=1)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Mean scores in four regions with intervals and dots for people: captions above pixels in ventral, lateral and parietal regions and below them in the early one; inter-subject agreement between; noise ceiling above all."}}
colors = {
    "captions": ORANGE,
    "pixels": BLUE,
    "other people": GREEN,
    "noise ceiling": GRAY,
}
figure, axis = plt.subplots(figsize=(8, 3.8))
for k, name in enumerate(table):
    x = np.arange(len(regions)) + 0.18 * (k - (len(table) - 1) / 2)
    tests = [
        rsa.subject_tests(by_region.sel(region=r)).models.loc[name] for r in regions
    ]
    mean, low, high = (
        np.array([row[c] for row in tests]) for c in ("mean", "low", "high")
    )
    axis.errorbar(
        x,
        mean,
        [mean - low, high - mean],
        fmt="o",
        color=colors[name],
        capsize=3,
        label=name,
    )
    axis.plot(x - 0.05, by_region.sel(model=name), ".", color="k", ms=3)
for k, bound in enumerate(chance):
    label = "chance (95 %)" if k == 0 else None
    axis.plot([k - 0.35, k + 0.35], [bound, bound], color="k", lw=1, label=label)
axis.axhline(0, color="k", ls="--", lw=0.8)
axis.set_xticks(range(len(regions)), regions)
axis.set(ylabel="score (Pearson r)", ylim=(-0.05, 0.85))
axis.set_title(f"Mean over vertices, {data.name}; 95 % over {len(people)} people")
figure.legend(fontsize=8, ncol=5, loc="outside lower center")
plt.show()

# %% tags=["hide-input"]
rows = {}
for roi in regions:
    here = by_region.sel(region=roi)
    share = here / here.sel(model="noise ceiling")
    row = {
        f"{name} / ceiling": f"{float(share.sel(model=name).mean()):.0%}"
        for name in features
    }
    row["other people / ceiling"] = (
        f"{float(share.sel(model='other people').mean()):.0%}"
    )
    if "pixels" in features:
        pair = rsa.subject_tests(here.sel(model=["captions", "pixels"])).pairs.iloc[0]
        row["captions - pixels"] = (
            f"{pair['mean']:+.2f} ({pair['low']:+.2f} to {pair['high']:+.2f})"
        )
        row["p (t, people)"] = f"{pair['p']:.1g}"
    rows[roi] = row
pd.DataFrame(rows).T

# %% tags=["remove-cell"]
glue("first_name", first, display=False)
glue("n_permutations", n_permutations, display=False)
glue("n_test_images", len(test), display=False)
high_ones = [roi for roi in regions if roi != "early"]
lead = by_region.sel(model="captions") - by_region.sel(model="other people")
glue(
    "beyond_people",
    int((lead.sel(region=high_ones) > 0).all("region").sum()),
    display=False,
)
shares = by_region.sel(model="captions") / by_region.sel(model="noise ceiling")
shares = shares.sel(region=high_ones).mean("subject")
glue("share_low", f"{100 * float(shares.min()):.0f}", display=False)
glue("share_high", f"{100 * float(shares.max()):.0f}", display=False)
text = NO_PIXELS
early_text = NO_PIXELS
if "pixels" in features:
    gap = by_region.sel(model="captions") - by_region.sel(model="pixels")
    text = int((gap.sel(region=high_ones) > 0).all("region").sum())
    if "early" in regions:
        early_text = int((gap.sel(region="early") < 0).sum())
glue("captions_lead", text, display=False)
glue("pixels_lead", early_text, display=False)
rates = [float(flags.mean()) for flags in found.values()]
glue("found_low", f"{100 * min(rates):.1f}", display=False)
glue("found_high", f"{100 * max(rates):.1f}", display=False)
names = ["noise_nominal", "noise_found", "false_share", "early_found"]
names += ["planted_captions", "planted_pixels"]
values = [NOT_PLANTED] * len(names)
if planted_here:
    drive = data.truth.loc[vertices, "drive"].to_numpy()
    noise, told = drive == "none", drive == "caption"
    nominal = np.mean([(p[noise] < 0.05).mean() for p in p_person.values()])
    values = [f"{100 * nominal:.1f}"]
    values += [
        f"{100 * np.mean([flags[noise].mean() for flags in found.values()]):.1f}"
    ]
    wrong = np.mean([flags[noise].sum() / flags.sum() for flags in found.values()])
    values += [f"{100 * wrong:.1f}"]
    values += [
        f"{100 * np.mean([f[drive == 'pixels'].mean() for f in found.values()]):.0f}"
    ]
    values += [f"{100 * (drive == kind).mean():.0f}" for kind in ("caption", "pixels")]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* means over all vertices of a region, those of mere noise included. Intervals and p-values are over people, for these {glue:text}`n_test_images` images; others might give other scores. Captions are ahead of pixels in all regions but the early one in {glue:text}`captions_lead` of {glue:text}`n_people` people, and behind
# them in the early region in {glue:text}`pixels_lead`. Beyond the early region the captions' score is {glue:text}`share_low` to {glue:text}`share_high` % of the ceiling (the table divides means of regions, so that
# no vertex with a ceiling near zero spoils the ratio). There they also go beyond what the other people's responses tell, in {glue:text}`beyond_people` of {glue:text}`n_people` people: tuning that is one's own can be learnt from one's own responses only.
#
# At a {term}`false discovery rate` of {glue:text}`q_percent` %, captions predict {glue:text}`found_low` to {glue:text}`found_high` % of a person's vertices (planted: captions in {glue:text}`planted_captions` %, pixels in {glue:text}`planted_pixels` %). Is that count honest? Of the vertices in which nothing was planted,
# {glue:text}`noise_nominal` % have p < 0.05 without correction, about as many as should; after it {glue:text}`noise_found` % are left, which make {glue:text}`false_share` % of all findings. But captions also "predict" {glue:text}`early_found` % of the vertices that are
# driven by pixels, and by nothing else. As in chapter 7: **a significant score does not say what drives a vertex.** Pictures with similar captions look alike, and the regression finds it. The rival tells them apart.
#
# ## Where
#
# Whole maps: the mean score over people, where a t-test over people with the false discovery rate controlled over vertices is passed.


# %%
def over_people(maps):
    """Maps of every person as (subject, ..., centre)."""
    dims = ("subject", "centre") if maps.ndim == 2 else ("subject", "model", "centre")
    return xr.DataArray(maps, {"subject": people, "centre": vertices}, dims)


score_maps = np.stack([[scores[name, p] for name in features] for p in people])
group = searchlight.group_map(over_people(score_maps), q)
panels = {
    name: pd.Series(np.where(group["rejected"][k], group["mean"][k], np.nan), vertices)
    for k, name in enumerate(features)
}

# %% tags=["hide-input", "remove-stderr"] mystnb={"image": {"alt": "Inflated right hemisphere from the side, the middle and below: captions predict ventral, lateral and parietal cortex with noise patches left out, pixels predict best around the calcarine sulcus."}}
on_surface = data.space == "fsaverage5"
if on_surface:
    plotting.surface_maps(
        panels,
        label="score (Pearson r)",
        hemisphere=hemisphere,
        limits=(0, float(group["mean"].max())),
        title=f"Encoding, {hemisphere} hemisphere, mean of {len(people)} people, {data.name}",
    )
    plt.show()
else:
    print(f"Maps are drawn on fsaverage5; these data are in {data.space!r}.")

# %% tags=["remove-cell"]
names = ["auc_encoding", "winner_captions", "winner_pixels", "noise_passed"]
values = [NOT_PLANTED] * len(names)
if planted_here:
    caption_map = group["mean"][0].values
    values[0] = f"{roc_auc_score(told[told | noise], caption_map[told | noise]):.3f}"
    values[3] = f"{100 * float(group['rejected'][0].values[noise].mean()):.1f}"
    if "pixels" in features:
        ahead = group["mean"][0].values > group["mean"][1].values
        values[1] = f"{100 * ahead[told].mean():.0f}"
        values[2] = f"{100 * (~ahead)[drive == 'pixels'].mean():.0f}"
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* captions and pixels each predict best what they were planted in. Unlike the searchlight, an encoding model takes each vertex by itself and does not blur: the {term}`area under the curve` of captions' scores, for vertices driven by captions against *all* noise
# vertices, is {glue:text}`auc_encoding`. Among the vertices that are driven by something, the higher mean score names the right description for {glue:text}`winner_captions` % (captions)
# and {glue:text}`winner_pixels` % (pixels), though pixels pass the test in some places that captions drive. That nothing drives a vertex, only the test can say: {glue:text}`noise_passed` % of the noise vertices pass it for captions. The price is that a vertex must have enough signal of its own.
#
# ## Sentences that nobody saw
#
# A fitted model takes *any* sentence. That is the use that {cite:t}`doerig2025` make of it: write sentences about people, places and food, put them through the model, and compare. Where the predicted response to people is larger than
# that to places, the vertex prefers people ({term}`contrast`). The sentences below are ours, five of each kind as in the study, written before any map was drawn. Ten more say nothing in
# particular; one of these was replaced after a first look, because it named somebody.

# %%
sentences = {
    "people": [
        "A woman smiles at the camera.",
        "Two men are shaking hands.",
        "A crowd of children is playing together.",
        "The face of an old man.",
        "A girl and her brother are dancing.",
    ],
    "places": [
        "An empty street between tall buildings.",
        "A quiet beach under a wide sky.",
        "A living room with large windows.",
        "A valley with a river and mountains behind it.",
        "The inside of an old railway station.",
    ],
    "food": [
        "A plate of fresh fruit.",
        "A slice of pizza with melted cheese.",
        "A bowl of hot soup and some bread.",
        "Chocolate cake with strawberries.",
        "A table full of vegetables and meat.",
    ],
    "neutral": [
        "This is one of many pictures.",
        "Here you can see something.",
        "The picture was taken some time ago.",
        "There is not much to say about this.",
        "It looks the way one would expect.",
        "This is the next one of them.",
        "Something can be seen here.",
        "The picture was made with a camera.",
        "Nothing about this is special.",
        "One could describe it in other words.",
    ],
}
asked = {
    name: embed(lines, embeddings, device=device).values
    for name, lines in sentences.items()
}
predictions = {  # (subject, sentence, vertex)
    name: np.stack([models[p].predict(values) for p in people])
    for name, values in asked.items()
}
answer = {name: values.mean(1) for name, values in predictions.items()}
neutral = predictions["neutral"]
contrasts = {
    "people - places": answer["people"] - answer["places"],
    "food - people": answer["food"] - answer["people"],
    "neutral - neutral": neutral[:, :5].mean(1) - neutral[:, 5:].mean(1),
}
contrast_maps = {
    name: searchlight.group_map(over_people(values), q)
    for name, values in contrasts.items()
}

# %% [markdown]
# The study drew these maps where a t-test over its eight people gave p < 0.05, *without* correction for the number of places. We draw them so, put them beside maps without any threshold, and count what is left at a false discovery rate of {glue:text}`q_percent` %. The second figure can be turned; its menu holds all of these maps and the planted zones.

# %% tags=["hide-input", "remove-stderr"] mystnb={"image": {"alt": "Inflated right hemisphere, rows for people minus places, food minus people and neutral sentences, thresholded without correction: red patches in lateral and fusiform cortex for people, blue ones medially for places; scattered pale patches for neutral sentences."}}
shown = ["people - places", "food - people", "neutral - neutral"]
series = {
    name: pd.Series(contrast_maps[name]["mean"].values, vertices) for name in shown
}
limit = max(np.quantile(np.abs(series[name]), 0.995) for name in shown)
if on_surface:
    passed = {
        name: series[name].where(contrast_maps[name]["p"].values < 0.05)
        for name in shown
    }
    plotting.surface_maps(
        passed,
        label="predicted difference (s.d.)",
        hemisphere=hemisphere,
        limits=(-limit, limit),
        cmap="RdBu_r",
        title=f"Contrasts, p < 0.05 uncorrected, {hemisphere} hemisphere, {data.name}",
    )
    plt.show()

# %% tags=["hide-input"]
view = None
if on_surface:
    views = {f"{name}, no threshold": values for name, values in series.items()}
    views |= {
        f"{name}, p < 0.05 uncorrected": values for name, values in passed.items()
    }
    views |= {
        f"{name}, corrected (q = {q:g})": values.where(
            contrast_maps[name]["rejected"].values
        )
        for name, values in series.items()
        if contrast_maps[name]["rejected"].any()
    }
    if planted_here:
        zones = data.truth.loc[vertices, "zone"]
        for category in ("person", "place", "food"):
            views[f"planted: {category}"] = (zones == category).where(
                zones == category
            ) * limit
    view = plotting.surface_view(
        views,
        label="predicted difference (s.d.)",
        alt="Inflated cortex to turn by hand, with maps of the contrasts and of planted zones to choose from.",
        hemisphere=hemisphere,
        limits=(-limit, limit),
        cmap="RdBu_r",
        title=f"Contrasts, {data.name}: drag to turn, choose a map",
    )
view

# %% tags=["hide-input"]
beyond = data.rois.loc[vertices, high_ones or regions].any(axis=1).to_numpy()
rows = {}
for name in shown:
    result, one_map = contrast_maps[name], series[name]
    row = {"size (s.d. over vertices)": f"{one_map.std():.2f}"}
    row["p < 0.05 uncorrected (%)"] = f"{100 * float((result['p'] < 0.05).mean()):.1f}"
    row["in the regions beyond early (%)"] = (
        f"{100 * float((result['p'].values < 0.05)[beyond].mean()):.1f}"
    )
    row[f"after correction, q = {q:g} (%)"] = (
        f"{100 * float(result['rejected'].mean()):.1f}"
    )
    rows[name] = row
pd.DataFrame(rows).T

# %% [markdown]
# *What to see:* compact dark patches, red where people (or food) are expected to give the larger response, blue where places (or people) are; white is hardly different from 0. Not all of it was planted. The pale strip along the calcarine sulcus, in the views from the middle and from below, is early cortex, which pixels drive: {glue:text}`strip` % of what people - places marks lies there. Captions stand in for pixels, and sentences do too.
#
# After correction {glue:text}`fdr_left` vertices of all three maps together are left: {glue:text}`n_people` people are few for so many tests. There are two ways out: to do without the correction, or to ask fewer questions. The first is the worse one. Beyond early cortex, where captions drive, it
# marks {glue:text}`neutral_marked` % of the vertices of the regions for sentences that say nothing (in the whole cortex fewer, as most of it predicts next to nothing). These are consistent, but small differences (see below), and with more people they would survive correction as well: a threshold on p does not replace a look at size. So we ask fewer questions. Are the places where
# people, places and food were planted the ones with the largest contrasts?

# %% tags=["hide-input"]
WANTED = [
    ("people - places", "person", 1),
    ("people - places", "place", -1),
    ("food - people", "food", 1),
    ("food - people", "person", -1),
    ("neutral - neutral", "person", 1),
    ("neutral - neutral", "place", 1),
    ("neutral - neutral", "food", 1),
]
zone_table = None
if planted_here:
    zone = data.truth.loc[vertices, "zone"].to_numpy()
    rows = []
    for name, category, sign in WANTED:
        here, values = zone == category, contrasts[name]
        means = values[:, here].mean(1)
        p = rsa.one_sample_t(means)[1]
        aucs = [
            roc_auc_score(here[here | others], sign * one_map[here | others])
            for others in (noise, told & ~here)
            for one_map in (values.mean(0), *values)
        ]
        aucs = np.reshape(aucs, (2, -1))
        rows.append(
            {
                "contrast": name,
                "zones": category,
                "mean (s.d.)": means.mean(),
                "p": p,
                "AUC against noise": aucs[0, 0],
                "single people": f"{aucs[0, 1:].min():.3f} to {aucs[0, 1:].max():.3f}",
                "AUC against other driven": aucs[1, 0],
            }
        )
    zone_table = pd.DataFrame(rows).set_index(["contrast", "zones"])
    zone_table.insert(1, "p (FDR)", stats.fdr(zone_table.pop("p").to_numpy())[1])
    idle_p = zone_table.loc["neutral - neutral", "p (FDR)"].min()
    zone_table["p (FDR)"] = [
        "< 0.001" if p < 0.001 else f"{p:.3f}" for p in zone_table["p (FDR)"]
    ]
    zone_table = zone_table.round(3)
zone_table

# %% [markdown]
# *What to see:* the mean contrast in the zones with a t-test over people, corrected over the rows; and the area under the curve, turned so that 1 is the expected sign (neutral sentences have none, and values below 0.5 count as much as those above), of the mean map and in single people. Against vertices of noise, the
# mean maps of the two contrasts find the zones with {glue:text}`auc_least` or more, single people with {glue:text}`auc_single` or more. Noise predicts next to nothing, so that this is easy. Against the *other vertices driven by captions*, which may well prefer people to places by chance, it is {glue:text}`auc_least_all` or more in the mean maps.
#
# Now look at the neutral sentences. Nothing should come out, and yet the least of their corrected p-values is {glue:text}`neutral_p`. The test is not wrong. No two sets of sentences are equal to the model, so that their difference points *somewhere*, and since people share tuning it has the same sign in all of them. A small p
# over people says that a difference is consistent, not that it is about people or places. The area under the curve against noise does not tell them apart either: the neutral contrast reaches {glue:text}`neutral_auc` in one direction or the other, because vertices of noise are predicted to do nothing at all. Its size does: at most {glue:text}`neutral_size` s.d. in a zone, where the contrasts that are meant have {glue:text}`topic_size` or more.
#
# ### Is it the sentences?
#
# Five sentences are few, and they differ in more than their topic. Would any five do? Take the ten sentences about people and about places, split them into two halves in all {glue:text}`n_splits` ways, and draw a map of each split. If the topic is what
# counts, the true split gives the strongest map. The ten neutral sentences, split in all ways, show how strong a map is when there is no topic at all.

# %%
halves = [half for half in combinations(range(10), 5) if 0 in half]
sign = np.full((len(halves), 10), -0.2)
for row, half in zip(sign, halves, strict=True):
    row[list(half)] = 0.2
ten = np.concatenate([predictions["people"], predictions["places"]], axis=1).mean(0)
strength = {
    "people and places": (sign @ ten).std(1),
    "neutral": (sign @ neutral.mean(0)).std(1),
}
true_split = float(strength["people and places"][halves.index((0, 1, 2, 3, 4))])
p_split = (strength["people and places"] >= true_split - 1e-12).mean()

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two histograms of map strength: splits of neutral sentences are weakest, splits of the ten topic sentences stronger, and the true split of people and places lies far to the right of all."}}
figure, axis = plt.subplots(figsize=(7, 2.8))
bins = np.linspace(0, 1.1 * true_split, 45)
for (name, values), color in zip(strength.items(), (ORANGE, GRAY), strict=True):
    axis.hist(values, bins, color=color, alpha=0.8, label=f"splits of {name}")
axis.axvline(true_split, color="k", ls="--", label="people - places")
axis.set(xlabel="strength of the map (s.d. over vertices)", ylabel="splits")
axis.legend(fontsize=8)
axis.set_title(f"Ten sentences in two halves, {data.name}")
plt.show()

# %% tags=["remove-cell"]
glue("n_splits", len(halves), display=False)
glue("p_split", f"{p_split:.3f}", display=False)
glue("true_split", f"{true_split:.2f}", display=False)
glue("neutral_top", f"{strength['neutral'].max():.2f}", display=False)
marked = (contrast_maps["neutral - neutral"]["p"].values < 0.05)[beyond]
glue("neutral_marked", f"{100 * marked.mean():.0f}", display=False)
strip = NOT_PLANTED
if planted_here:
    passing = contrast_maps["people - places"]["p"].values < 0.05
    strip = f"{100 * (drive[passing] == 'pixels').mean():.0f}"
glue("strip", strip, display=False)
glue(
    "fdr_left",
    int(sum(int(m["rejected"].sum()) for m in contrast_maps.values())),
    display=False,
)
names = [
    "auc_least",
    "auc_least_all",
    "auc_single",
    "neutral_p",
    "neutral_size",
    "topic_size",
    "neutral_auc",
]
values = [NOT_PLANTED] * len(names)
if planted_here:
    meant = zone_table.loc[["people - places", "food - people"]]
    idle = zone_table.loc["neutral - neutral"]
    values = [
        f"{meant[f'AUC against {c}'].min():.3f}" for c in ("noise", "other driven")
    ]
    values.append(meant["single people"].min().split()[0])
    values.append("less than 0.001" if idle_p < 0.001 else f"{idle_p:.3f}")
    values.append(f"{idle['mean (s.d.)'].abs().max():.3f}")
    values.append(f"{meant['mean (s.d.)'].abs().min():.3f}")
    idle_auc = idle["AUC against noise"]
    values.append(f"{np.maximum(idle_auc, 1 - idle_auc).max():.2f}")
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* the true split has a strength of {glue:text}`true_split`, the strongest of neutral splits {glue:text}`neutral_top`. Of the {glue:text}`n_splits` splits of the ten sentences, a share of {glue:text}`p_split` is as strong as the true one, the true one included.
# Splits that mix the two topics are weaker, and most neutral ones weaker still. This is a test over *sentences*, and about these ten only: where the true split (the one bar at the dashed line) is alone, the share is the smallest that so many splits can give. Other sentences could be tried the same way.
#
# **Prediction is not observation.** These maps say what the fitted models expect. A model knows only the directions in which the training captions differ; of a sentence from another world it will say
# something, and nothing warns us. Predicted selectivity asks to be confirmed by pictures.
#
# ## One person's model, another person's brain
#
# If people's vertices are tuned alike, a model trained on one person should predict another. It has seen neither the person nor the images.

# %%
across = np.empty((len(regions), len(people), len(people)))
for a, teacher in enumerate(people):
    predicted = models[teacher].predict(features["captions"][place(test)])
    for b, other in enumerate(people):
        r = correlations(predicted, observed[other])
        across[:, a, b] = [r[mask].mean() for mask in members.values()]
pooled = []
for person in people:
    others = [models[p] for p in people if p != person]
    predicted = np.mean(
        [m.predict(features["captions"][place(test)]) for m in others], axis=0
    )
    r = correlations(predicted, observed[person])
    pooled.append([r[mask].mean() for mask in members.values()])
pooled = np.array(pooled).T

# %% tags=["hide-input"] mystnb={"image": {"alt": "One matrix of people by people for each region: the diagonal, each person's own model, is brighter than the rest beyond the early region, and the rest is even."}}
figure, axes = plt.subplots(
    1, len(regions), figsize=(9, 2.9), sharey=True, squeeze=False
)
for axis, roi, matrix in zip(axes[0], regions, across, strict=True):
    drawn = axis.imshow(matrix, vmin=0, vmax=across.max(), cmap=plotting.SEQUENTIAL)
    axis.set_xticks(range(len(people)), people, rotation=90)
    axis.set_yticks(range(len(people)), people)
    axis.set(xlabel="tested on")
    axis.set_title(roi)
axes[0, 0].set_ylabel("trained on")
figure.colorbar(drawn, ax=axes, label="score (Pearson r)", shrink=0.8)
figure.suptitle(f"Across people, {data.name}", fontweight="bold", x=0.01, ha="left")
plt.show()

# %% tags=["hide-input"]
own = np.stack([np.diag(matrix) for matrix in across])
foreign = (across.sum(1) - own) / (len(people) - 1)
columns = {
    "own model": own,
    "another's model": foreign,
    "mean of others' models": pooled,
    "others' responses": by_region.sel(model="other people").values,
    "noise ceiling": by_region.sel(model="noise ceiling").values,
}
cross_table = pd.DataFrame(
    {name: v.mean(1) for name, v in columns.items()}, regions
).round(2)
loss = xr.DataArray(
    own - foreign, {"model": regions, "subject": people}, ("model", "subject")
)
lost = rsa.subject_tests(loss).models
cross_table["own - another's"] = [
    f"{row['mean']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
    for _, row in lost.iterrows()
]
cross_table

# %% tags=["remove-cell"]
ratio = (foreign / own).mean(1)
high_rows = [regions.index(roi) for roi in high_ones]
glue("kept_low", f"{100 * ratio[high_rows].min():.0f}", display=False)
glue("kept_high", f"{100 * ratio[high_rows].max():.0f}", display=False)
early_kept = (
    f"{100 * ratio[regions.index('early')]:.0f} %"
    if "early" in regions
    else "(no such region)"
)
glue("early_kept", early_kept, display=False)
glue("lost_p", f"{lost['p_fdr'].loc[high_ones].max():.1g}", display=False)
versus = xr.DataArray(
    pooled - columns["others' responses"],
    {"model": regions, "subject": people},
    ("model", "subject"),
)
versus = rsa.subject_tests(versus).models.loc[high_ones]
texts = [
    f"{r['mean']:+.3f} ({r['low']:+.3f} to {r['high']:+.3f})"
    for _, r in versus.iterrows()
]
glue(
    "versus",
    ", ".join(f"{roi} {text}" for roi, text in zip(high_ones, texts, strict=True)),
    display=False,
)

# %% [markdown]
# *What to see:* each row of a matrix is a model, each column the person it was tested on; the diagonal is one's own, and 0 would be chance. Beyond the early region another person's model keeps {glue:text}`kept_low` to {glue:text}`kept_high` % of the score of one's own; the loss, in the last column with its 95 % interval over the people tested, is what people do not share
# (p at most {glue:text}`lost_p`, corrected for the number of regions). In the early region, where captions stand in for pixels, it keeps {glue:text}`early_kept`: what a stand-in predicts there is common to all.
# The mean of the others' models predicts about as well as the others' *measured responses to the very images*. Beyond the early region the difference is {glue:text}`versus` (95 % intervals over people): a model is free of the noise of single responses, but also of all that captions do not tell. In the early region, where captions tell little, the measured responses are ahead.
#
# ## Four real people
#
# So far everything was planted. The open real data of chapter 7, *objects92* {cite:p}`kriegeskorte2008`, hold dissimilarities and no responses, so no encoding model of a vertex is possible. But the question of this chapter can be asked of them: do captions do better when their dimensions are
# *weighted*?
#
# The squared distance of two embeddings is a sum over dimensions. Instead of adding all dimensions with equal weight we let each of the first {glue:text}`n_components` {term}`principal components` of the captions have a weight of its own, none negative, and choose
# weights that bring the sum close to the mean RDM of the four people. This is {term}`feature-reweighted RSA <reweighted representational similarity analysis>` {cite:p}`khalighrazavi2014,kaniuth2022`. As weights are fitted, images must be held out: components, weights and the penalty that draws weights towards equal ones come
# from training images only, and each pair is predicted from images that are in neither of the two folds which its own images are in. We average over {glue:text}`n_partitions` ways to form the folds.

# %% tags=["remove-stderr"]
objects = None
if real_data:
    try:
        objects = datasets.load_viewing("objects92")
        published = model_rdms()
    except AssetError as error:
        print("These data cannot be had here; this part stays empty.", error)

# %%
if objects is not None:
    brains = objects.rdms.mean("session")
    target = brains.mean("subject").values
    spoken = embed(objects.captions, embeddings, device=device).values
    labels = objects.categories.drop(columns=["rand24", "rand48", "other48"])

    def weighted(rdms, values, **options):
        """Predictions of RDMs from weighted dimensions, mean over partitions."""
        seeds = range(seed, seed + n_partitions)
        some = {"n_components": n_components} | options
        return np.mean(
            [rsa.reweighted_rdms(rdms, values, seed=s, **some) for s in seeds], 0
        )

    real_models = {
        "captions": rdm(spoken, "sqeuclidean"),
        "captions, few dimensions": weighted(target, spoken, alphas=[1e9]),
        "captions, weighted": weighted(target, spoken),
        "labels": rdm(labels.to_numpy(float), "sqeuclidean"),
        "labels, weighted": weighted(target, labels.to_numpy(float)),
        "animate or not": published.sel(model="animacy").values,
    }
    real_scores = xr.DataArray(
        compare_rdms(np.stack(list(real_models.values())), brains.values, "spearman"),
        {"model": list(real_models), "subject": brains["subject"].values},
        ("model", "subject"),
    )
    draws = rsa.image_bootstrap(
        brains, real_models, method="spearman", n_resamples=n_resamples, seed=seed
    )
    real_ceiling = rsa.noise_ceiling(brains, "spearman").mean()

# %% [markdown]
# "Few dimensions" are the {glue:text}`n_components` components with equal weights, to tell what leaving out the others does from what weights do. "Labels" are the published category labels of the images, 0 or 1 each (without three sets that have no theme), as a rival with dimensions of its own. "Animate or not" has one dimension, and nothing to weigh. For chance we exchange the images of the brains and do everything again, the fit
# included.

# %%
if objects is not None:
    n_objects = len(objects.image_names)
    first_of, second_of = np.triu_indices(n_objects, 1)
    square = np.stack([squareform(own_rdm) for own_rdm in brains.values])
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(n_objects) for _ in range(n_permutations)]
    exchanged = np.stack([square[:, o[first_of], o[second_of]] for o in orders])
    refitted = weighted(exchanged.mean(1), spoken)
    weighted_null = np.array(
        [
            compare_rdms(model, own_rdms, "spearman").mean()
            for model, own_rdms in zip(refitted, exchanged, strict=True)
        ]
    )
    p_weighted = stats.p_values(
        real_scores.sel(model="captions, weighted").mean().values, weighted_null
    )

# %% tags=["hide-input"] mystnb={"image": {"alt": "Scores against human IT of captions, weighted captions, labels, weighted labels and animacy, with intervals over images and dots for four people, beside the noise ceiling and the chance level of refitted weights."}}
if objects is not None:
    figure, axis = plt.subplots(figsize=(7.6, 3.2))
    axis.axvspan(
        float(real_ceiling["lower"]),
        float(real_ceiling["upper"]),
        color=GRAY,
        alpha=0.25,
        lw=0,
        label="noise ceiling",
    )
    tints = [ORANGE, ORANGE, ORANGE, GREEN, GREEN, BLUE]
    for row, (name, tint) in enumerate(zip(real_models, tints, strict=True)):
        at = draws.sel(model=name)
        axis.plot([at["low"], at["high"]], [row, row], color=tint, lw=2)
        axis.plot(at["score"], row, "o", color=tint, ms=8)
        axis.plot(
            real_scores.sel(model=name), np.full(len(brains), row + 0.25), ".k", ms=4
        )
    axis.plot(
        np.quantile(weighted_null, 0.95),
        2,
        "k|",
        ms=13,
        label="chance, refitted (95 %)",
    )
    axis.plot([], [], color=GRAY, lw=2, marker="o", label="mean, 95 % over images")
    axis.plot([], [], ".k", ms=4, label="each person")
    axis.axvline(0, color="k", ls="--", lw=0.8)
    axis.set_yticks(range(len(real_models)), list(real_models))
    axis.invert_yaxis()
    axis.set_xlabel("score (Spearman correlation of RDMs)")
    axis.set_title("Weighted dimensions and human IT, real people (objects92)")
    figure.legend(fontsize=8, ncol=4, loc="outside lower center")
    plt.show()

# %% tags=["hide-input"]
if objects is not None:
    pairs_of = [
        ("captions, weighted", "captions"),
        ("captions, weighted", "captions, few dimensions"),
        ("captions, weighted", "animate or not"),
        ("captions, weighted", "labels"),
        ("captions, weighted", "labels, weighted"),
        ("labels, weighted", "labels"),
    ]
    signs = rsa.subject_tests(real_scores, test="permutation").pairs
    rows, edges = {}, {}
    for a, b in pairs_of:
        change = draws["draws"].sel(model=a) - draws["draws"].sel(model=b)
        edges[a, b] = change.quantile([0.025, 0.975]).values
        gap = real_scores.sel(model=a) - real_scores.sel(model=b)
        pair = (a, b) if (a, b) in signs.index else (b, a)
        rows[f"{a} less {b}"] = {
            "difference": f"{float(gap.mean()):+.3f}",
            "95 % over images": "{:+.3f} to {:+.3f}".format(*edges[a, b]),
            "people above 0": f"{int((gap > 0).sum())} of {len(gap)}",
            "p (signs, people)": f"{signs.loc[pair, 'p']:.3f}",
        }
real_table = pd.DataFrame(rows).T if objects is not None else None
real_table

# %% tags=["remove-cell"]
names = ["plain_real", "weighted_real", "weighted_p", "animacy_real", "weighted_gain"]
names += ["weighted_interval", "weighted_people", "weighted_verdict", "animacy_gap"]
names += [
    "animacy_interval",
    "animacy_verdict",
    "labels_gain",
    "labels_interval",
    "null_high",
]
names += ["ceiling_real"]
values = [NO_DATA] * len(names)


def verdict(low_high):
    """What an interval says, in words."""
    if low_high[0] > 0:
        return "better than"
    return "worse than" if low_high[1] < 0 else "not clearly different from"


if objects is not None:
    of = {name: float(real_scores.sel(model=name).mean()) for name in real_models}
    gain, to_animacy, of_labels = (
        (of[a] - of[b], edges[a, b]) for a, b in (pairs_of[0], pairs_of[2], pairs_of[5])
    )
    values = [f"{of[n]:.2f}" for n in ("captions", "captions, weighted")]
    values += [
        f"{float(p_weighted):.3f}",
        f"{of['animate or not']:.2f}",
        f"{gain[0]:+.3f}",
    ]
    values += ["{:+.3f} to {:+.3f}".format(*gain[1])]
    gap = real_scores.sel(model="captions, weighted") - real_scores.sel(
        model="captions"
    )
    values += [int((gap > 0).sum()), verdict(gain[1]), f"{to_animacy[0]:+.3f}"]
    values += ["{:+.3f} to {:+.3f}".format(*to_animacy[1]), verdict(to_animacy[1])]
    values += [f"{of_labels[0]:+.3f}", "{:+.3f} to {:+.3f}".format(*of_labels[1])]
    values += [f"{np.quantile(weighted_null, 0.95):.2f}"]
    values += [
        "{:.2f} to {:.2f}".format(*(float(real_ceiling[e]) for e in ("lower", "upper")))
    ]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)
glue("n_components", n_components, display=False)
glue("n_partitions", n_partitions, display=False)
glue("n_resamples", n_resamples, display=False)

# %% [markdown]
# *What to see:* with equal weights captions reach {glue:text}`plain_real` (squared distances, where chapter 7 has correlation distances), with fitted weights {glue:text}`weighted_real`, on images that had no part in the fit (p = {glue:text}`weighted_p` against refitted chance, 95 % of which lies below {glue:text}`null_high`; noise ceiling {glue:text}`ceiling_real`). The gain is {glue:text}`weighted_gain` (95 % over {glue:text}`n_resamples` draws of images {glue:text}`weighted_interval`), above zero in {glue:text}`weighted_people` of four people: weighted captions are
# {glue:text}`weighted_verdict` captions as they come. Against animacy ({glue:text}`animacy_real`) the difference is {glue:text}`animacy_gap` ({glue:text}`animacy_interval`): even weighted, and on these pictures of single objects, captions are {glue:text}`animacy_verdict` one bit an image. Weights add
# {glue:text}`labels_gain` ({glue:text}`labels_interval`) to the labels.
#
# Intervals draw images again but keep the predictions, so that they leave out how much the weights themselves would change; and p-values over four people cannot fall below {glue:text}`least_sign_p`.
#
# ### What did the weights find?
#
# A suspicion lies near: that the weights do no more than pull out what tells living from lifeless. It can be tested. *Within* the animate images, and within the inanimate ones, that one bit explains nothing.

# %% tags=["hide-input"]
within_gain = {}
if objects is not None:
    alive = objects.categories["animate"].to_numpy()
    asked_for = ["captions", "captions, few dimensions", "captions, weighted"]
    rows = {}
    for name, kept in {"animate": alive, "inanimate": ~alive}.items():
        pairs = kept[first_of] & kept[second_of]
        inside = {n: np.asarray(real_models[n])[pairs] for n in asked_for}
        boot = rsa.image_bootstrap(
            brains[:, pairs],
            inside,
            method="spearman",
            n_resamples=n_resamples,
            seed=seed,
        )
        row = {n: f"{float(boot['score'].sel(model=n)):.2f}" for n in asked_for}
        for other in asked_for[:2]:
            change = boot.sel(model=asked_for[2]) - boot.sel(model=other)
            edge = change["draws"].quantile([0.025, 0.975]).values
            text = "{:+.3f} ({:+.3f} to {:+.3f})".format(float(change["score"]), *edge)
            row[f"weighted less {other.split(', ')[-1]}"] = text
            within_gain[name, other] = text
        rows[f"within {name}"] = row
    within_table = pd.DataFrame(rows).T
within_table if objects is not None else None

# %% tags=["remove-cell"]
for name in ("animate", "inanimate"):
    for key, other in (("within", "captions"), ("few", "captions, few dimensions")):
        text = within_gain.get((name, other), NO_DATA)
        glue(f"{key}_{name}", text, display=False)
least = f"{2.0 ** (1 - len(brains)):.3f}" if objects is not None else NO_DATA
glue("least_sign_p", least, display=False)

# %% [markdown]
# *What to see:* mean scores over people on the pairs of one kind, and the change that weights bring, with its interval over images: {glue:text}`within_animate` within the animate and {glue:text}`within_inanimate` within the inanimate images. Where these are at or below zero, all that the weights gained lies *between* the two kinds: they found the great
# divide of human IT in the captions, and no finer distinction that these 92 images could show. Beside the same few dimensions with equal weights, which tells weights from leaving out dimensions, the change is {glue:text}`few_animate` and {glue:text}`few_inanimate`. The claim that these data carry is about four people and pictures of single objects: captions as they come give animacy less weight than human IT does. The weights do not bring out a sentence's finer content, of which chapter 7's permutations found some.
#
# ## True by construction
#
# The virtual viewers' high-level vertices *are* weighted sums of caption embeddings plus noise, from the very model we fit, and their early vertices are weighted sums of the very Gabor energies. So a linear model is the right one there, captions must win where they do, and how far another's model carries
# follows from the share of tuning that was made common. Zones were planted along what categories add to captions, so that sentences about these categories must find them. The rest of the cortex responds to nothing, where in real people much of it responds to pictures in some way; what is held against noise here is held against an easy rival. All of this shows that the method recovers what is there, how large its scores can get under given noise, and where it misleads (captions
# that "predict" early cortex). It says nothing about people. Only the section on four real people does.
#
# ## Exercises
#
# 1. How many images does an encoding model need? Train on the first 25, 50, 100, ... images of one person.
# 2. Make a contrast from one sentence of each kind instead of five. How alike are the maps of different sentences?
# 3. What do contrasts find where there is nothing? Exchange the images of each person before fitting, and draw people - places from these models.
#
# :::{admonition} Solution 1
# :class: dropdown
# Scores rise quickly at first and then ever more slowly. How many images are enough depends on the noise: with fewer repeats of each, more of them are needed.
# :::

# %% tags=["hide-cell"]
rows = {}
sizes = [n for n in (25, 50, 100, 200, 400, 800, 1600) if n < len(train)] + [len(train)]
for n in sizes:
    model = RidgeSweepCV(cv=n_folds).fit(x_train[:n], y_train[:n, every])
    r = correlations(model.predict(x_test), y_test[:, every])
    rows[n] = {roi: r[mask[every]].mean() for roi, mask in members.items()}
pd.DataFrame(rows).T.rename_axis("training images").round(2)

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# Each single sentence gives a map of its own, which correlates with those of the others of its kind but is not the same: a sentence says more than its topic. The mean over five keeps what they have in common.
# :::

# %% tags=["hide-cell"]
singles = (predictions["people"] - predictions["places"]).mean(0)
alike = np.corrcoef(singles)[np.triu_indices(len(singles), 1)]
whole = [np.corrcoef(row, series["people - places"])[0, 1] for row in singles]
print(f"maps of single pairs of sentences with each other: r = {alike.mean():.2f}")
print(f"with the map of all five: r = {min(whole):.2f} to {max(whole):.2f}")
if planted_here:
    here = zone == "person"
    aucs = [roc_auc_score(here[here | noise], row[here | noise]) for row in singles]
    print(f"AUC of person zones against noise: {min(aucs):.3f} to {max(aucs):.3f}")

# %% [markdown]
# :::{admonition} Solution 3
# :class: dropdown
# The contrasts are small, since most vertices choose a large penalty, and nothing is left after correction. Without it fewer places pass than the one in twenty that one might expect: where one person's vertex chose a smaller penalty than the others', that person makes up the
# mean and the spread alike, and t stays small. A t-test over few people of very different spread is cautious.
# :::

# %% tags=["hide-cell"]
rng, empty = np.random.default_rng(seed), []
for person in people:
    shown = data.train_images(person)
    wrong = features["captions"][place(rng.permutation(shown))]
    model = RidgeSweepCV(cv=n_folds).fit(wrong, responses_of(person, shown))
    empty.append(
        model.predict(asked["people"]).mean(0) - model.predict(asked["places"]).mean(0)
    )
empty = np.stack(empty)
nothing = searchlight.group_map(over_people(empty), q)
print(
    f"size: {empty.mean(0).std():.3f} (real model: {series['people - places'].std():.3f})"
)
print(f"p < 0.05 without correction: {float((nothing['p'] < 0.05).mean()):.1%}")
print(f"after correction: {int(nothing['rejected'].sum())} of {len(vertices):,}")
if planted_here:
    aucs = [roc_auc_score(here[here | noise], row[here | noise]) for row in empty]
    print(f"AUC of person zones in single people: {min(aucs):.2f} to {max(aucs):.2f}")

# %% [markdown]
# ## Run it on your own data
#
# The study's own data are the Natural Scenes Dataset {cite:p}`allen2022`. With a copy of it (it needs an access agreement; nothing is downloaded here):
#
# ```bash
# papermill notebooks/08_encoding_and_selectivity.ipynb nsd.ipynb \
#   -y "{dataset: nsd, dataset_options: {root: /path/to/nsd, subjects: [1, 2, 3], space: fsaverage5, repeats: all}}"
# ```
#
# The profile `book/profiles/nsd.yml` does so for chapters 7 to 11. Write your own sentences in the cell above; nothing else has to change.
#
# ## What the papers found
#
# {cite:t}`doerig2025` fitted fractional ridge regression from caption embeddings to eight people's responses to thousands of photographs (9,485 for the first person), and tested on 515 that all had seen. They report scores close to inter-subject agreement in all regions, and that models trained on one person predict others. Their
# contrasts from new sentences, people less places and food less people, bring out known areas for people, places and food; the maps are thresholded at p < 0.05 without correction.
#
# {cite:t}`khalighrazavi2014` found that mixing and weighting the features of a deep network brings its RDM closer to human IT, on pictures of the same kind. {cite:t}`kaniuth2022` describe the weighting of single dimensions, and report better fits to brains and to behaviour.
