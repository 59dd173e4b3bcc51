# %% [markdown]
# # Encoding models of what people see
#
# Chapter 7 took the numbers that a language model makes of a caption as they come, and asked whether the whole geometry agrees with a region's. A single place
# in the brain may respond to a *mixture* of a few of them. This chapter fits such a mixture for every place and lets it predict responses to new pictures.
#
# :::{admonition} In this chapter
# **You will learn** how to fit an encoding model of thousands of places at once, what its score can be held against, and what a significant score does not say.
#
# **You need** chapters [7](07_captions_and_visual_cortex) and [2](02_layer_alignment) (ridge regression). **It takes** 15 minutes, two to run.
# :::
#
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
report = Report(results)

# %% [markdown]
# The people are the {term}`virtual cohort` of chapter 7. Each saw scenes of their own, for training, and all saw the same others, for testing
# ({term}`test set`). Responses of high-level vertices were planted from {term}`sentence embeddings <sentence embedding>` of the captions, those of early cortex
# from {term}`Gabor energies <Gabor energy>` of the pictures, with noise. Real people come [two pages on](08_encoding_and_selectivity_in_people).

# %% tags=["remove-stderr"]
data = datasets.load_viewing("virtual", embeddings=embeddings, n_subjects=n_people, seed=seed, device=device)
features = {"captions": embed(data.captions, embeddings, device=device).values}
features["pixels"] = zscore(gabor_energies(np.asarray(data.images)), axis=0)
vertices = shared_vertices(data)
place, test, first = data.image_names.get_indexer, list(data.test_images), data.subjects[0]
train, regions = data.train_images(first), members(data.rois, vertices)
report.add(n_train=len(train), n_test=len(test), n_vertices=len(vertices), n_people=n_people, first_name=first)
report.add(n_features=features["captions"].shape[1], q_percent=100 * q, n_permutations=n_permutations)
data

# %% [markdown]
# ## One place
#
# A model of one {term}`vertex` is a sum of the {glue:text}`n_features` numbers of the embedding, each times a weight. There are more weights than the
# {glue:text}`n_train` images to learn from, and without a restraint the sum would fit everything, noise included. {term}`Ridge regression <ridge regression>`
# {cite:p}`hoerl1970` charges large weights a penalty. How large should it be? Here is the ventral vertex whose repeats agree best, under all of them.

# %% mystnb={"image": {"alt": "Score of one vertex over penalties on a logarithmic axis: one line for training images and one for test images, and dashed lines at the noise ceiling and at the test score of the penalty that was chosen."}}
captions = encode(data, features["captions"], cv=n_folds, device=device)
ceiling = captions.ceiling.sel(subject=first).values
x_train, x_test = (features["captions"][place(images)] for images in (train, test))
y_train, y_test = (responses_of(data, first, images) for images in (train, test))
one = int(np.argmax(np.where(regions["ventral"], ceiling, -1)))
swept = RidgeSweepCV(cv=n_folds).fit(x_train, y_train[:, one])
fits = [RidgeSweepCV([alpha], cv=2).fit(x_train, y_train[:, one]) for alpha in DEFAULT_ALPHAS]
sets = {"training images": (x_train, y_train[:, one]), "test images": (x_test, y_test[:, one])}
r = {name: [np.corrcoef(fit.predict(x), y)[0, 1] for fit in fits] for name, (x, y) in sets.items()}
by_penalty = pd.DataFrame(r, pd.Index(np.log10(DEFAULT_ALPHAS), name="penalty"))
chosen, loosest, tightest = (by_penalty.iloc[k] for k in (swept.cv_mse_.argmin(), 0, -1))
curve = by_penalty.melt(var_name="images", value_name="r", ignore_index=False).reset_index()
report.add(chosen=chosen.name, one_train=chosen.iloc[0], one_test=chosen.iloc[1], one_tightest=tightest.iloc[1])
report.add(one_unrestrained=loosest.iloc[0], one_unrestrained_test=loosest.iloc[1], one_ceiling=ceiling[one])
report.claim("the chosen penalty predicts new images better than the smallest", chosen.iloc[1] > loosest.iloc[1])
levels = {"noise ceiling": ceiling[one], "test images, penalty chosen": chosen.iloc[1]}
text = {"xlabel": "penalty (power of ten)", "ylabel": "score (Pearson r)", "title": f"Ventral vertex, {data.name}"}
report.figure("penalties", plotting.lines(curve, "penalty", "r", hue="images", levels=levels, **text))

# %% [markdown]
# *What to see:* blue are training, orange test images. With the smallest penalty the model reproduces the former (r = {glue:text}`one_unrestrained:.2f`) and
# predicts the latter at {glue:text}`one_unrestrained_test:.2f`. {term}`Cross-validation <cross-validation>` *within the training images* chooses 10 to the
# power of {glue:text}`chosen:g`; with it, the fit is {glue:text}`one_train:.2f` and the test score {glue:text}`one_test:.2f` ({term}`noise ceiling`
# {glue:text}`one_ceiling:.2f`). With the largest it is still {glue:text}`one_tightest:.2f`: r does not see that weights are near zero.
#
# ## Every place its own penalty
#
# Now all {glue:text}`n_vertices:,` vertices. A clean one can afford large weights, and one of mere noise should have none, so each gets its own penalty. The
# study used *fractional ridge regression* {cite:p}`rokem2020`, in which the penalty is set by how far it shrinks the weights, and its code chose **one**
# fraction for all vertices of a person: too little for those without signal, perhaps, and too much for those with a lot. How much does it matter?

# %%
every = slice(None, None, max(1, len(vertices) // 4000))  # enough vertices to compare
few, y_few = ceiling[every], y_train[:, every]
strong, weak = few > np.quantile(few, 0.75), few <= np.quantile(few, 0.25)
each = RidgeSweepCV(cv=n_folds).fit(x_train, y_few)
best = DEFAULT_ALPHAS[each.cv_mse_.mean(1).argmin()]
kinds = {"a penalty each": each, "one penalty for all": RidgeSweepCV([best], cv=2).fit(x_train, y_few)}
kinds["one fraction for all"] = FractionalRidgeCV(cv=n_folds).fit(x_train, y_few)
rows = {}
for name, model in kinds.items():
    predicted = model.predict(x_test)
    r = (zscore(predicted.astype(float)) * zscore(y_test[:, every].astype(float))).mean(0)
    rows[name] = {roi: r[inside[every]].mean() for roi, inside in regions.items()}
    rows[name] |= {"highest ceilings": r[strong].mean(), "s.d. predicted, no signal": predicted[:, weak].std(0).mean()}
rows = pd.DataFrame(rows).T
rows.round(3)

# %% mystnb={"image": {"alt": "Share of vertices that choose each penalty, on a logarithmic axis: one line for the quarter with the highest noise ceilings, one for vertices with a ceiling of 0."}}
cost = rows.loc["a penalty each", "highest ceilings"] - rows["highest ceilings"]
size = rows["s.d. predicted, no signal"]
report.add(one_alpha_cost=cost.iloc[1], one_fraction_cost=cost.iloc[2], size_each=size.iloc[0])
report.add(fraction=kinds["one fraction for all"].fraction_, size_fraction=size.iloc[2])
report.add(weak_largest=100 * (each.alpha_[weak] == DEFAULT_ALPHAS[-1]).mean())
report.claim("one penalty or one fraction for all costs little score where there is signal", cost.max() < 0.02)
report.claim("with one fraction for all, predictions without signal vary more", size.iloc[2] > 1.5 * size.iloc[0])
report.claim("noise asks for larger penalties", np.median(each.alpha_[weak]) > np.median(each.alpha_[strong]))
some = {"highest quarter of ceilings": strong, "ceiling of 0": weak}
shares = {name: [100 * np.isclose(each.alpha_[kept], a).mean() for a in DEFAULT_ALPHAS] for name, kept in some.items()}
shares = pd.DataFrame(shares, by_penalty.index).melt(var_name="vertices", value_name="percent", ignore_index=False)
text = {"xlabel": "penalty chosen (power of ten)", "ylabel": "vertices (%)", "title": f"{first} of {data.name}"}
report.figure("chosen", plotting.lines(shares.reset_index(), "penalty", "percent", hue="vertices", **text))

# %% [markdown]
# *What to see:* in the quarter of {glue:text}`first_name`'s vertices with the highest noise ceilings, one penalty for all costs
# {glue:text}`one_alpha_cost:.3f`, and one fraction for all ({glue:text}`fraction:.2f`) {glue:text}`one_fraction_cost:.3f`: little, as r does not see how large
# predictions are. Where repeats do not agree at all (a ceiling of 0; mostly mere noise) they vary by {glue:text}`size_fraction:.2f` s.d. by the study's rule
# and by {glue:text}`size_each:.2f` with a penalty each: noise that would come back on the next page, where predictions are subtracted. Vertices with signal
# (blue) ask for smaller penalties than those without (orange), of which {glue:text}`weak_largest:.0f` % choose the largest there is.
#
# ## What can a score be held against?
#
# The score of a vertex is Pearson's r of predicted and observed responses over the test images, of the models that `encode` fitted above. Beside it go:
#
# - **A rival.** The same regression from Gabor energies of the pixels, for what captions and pictures have in common.
# - **The noise ceiling**; of a region, from the mean {term}`reliability <noise ceiling>` of its vertices, whose own ceilings are too uncertain.
# - **Other people.** How well do the responses of the *others*, averaged, match a person's, vertex by vertex ({term}`inter-subject agreement`)? It is no
#   ceiling: it misses all that is a person's own, and a model that is trained on the person may go beyond it.
# - **Chance.** The models are fixed when the test images come, so we exchange these, {glue:text}`n_permutations` times and in the same way for all vertices and
#   people ({term}`permutation test`). So few permutations give no p-values small enough to correct for thousands of vertices. So each score, true or permuted,
#   is brought to units of the mean and spread of its vertex's permuted scores, and compared with those of all vertices together.

# %% mystnb={"image": {"alt": "Four panels, one a region: scores of captions, pixels, other people and the noise ceiling, with a dot for each person, the mean and its interval, and a line for the chance of captions."}}
pixels = encode(data, features["pixels"], cv=n_folds, device=device)
maps = {"captions": captions.scores, "pixels": pixels.scores, "other people": captions.agreement()}
by_region = {name: region_means(values, regions) for name, values in maps.items()}
by_region = xr.Dataset(by_region | {"noise ceiling": region_ceilings(data)}).to_array("model")
null = captions.null(n_permutations, seed=seed)
p = xr.concat([stats.p_values(captions.scores[k], null[:, k], pool=True) for k in range(n_people)], "subject").values
found = np.stack([stats.fdr(own, q)[0] for own in p])
chance = region_means(null.mean("subject"), regions).quantile(0.95, "draw")
names, title = by_region["model"].values, f"Mean over vertices, {data.name}; 95 % over {n_people} people"
tests = [rsa.subject_tests(by_region.sel(region=roi)).models[["low", "high"]] for roi in regions]
interval = xr.DataArray(tests, {"region": list(regions), "model": names}, ("region", "model", "end"))
levels = chance.expand_dims(model=["captions"]).reindex(model=names)
text = {"label": "score (Pearson r)", "chance": levels, "interval": interval, "title": title}
report.figure("regions", plotting.places(by_region, interval[..., 0] > 0, **text))

# %%
share = (by_region / by_region.sel(model="noise ceiling")).mean("subject").to_pandas().T.drop(columns="noise ceiling")
share = (100 * share).round(0).add_suffix(" / ceiling (%)")
gap = by_region.sel(model="captions") - by_region.sel(model="pixels")
tested = rsa.subject_tests(gap.rename(region="model")).models
share["captions - pixels"] = [f"{stats.Estimate(*row):+.2f}" for row in tested[["mean", "low", "high"]].values]
share["p (t, people)"] = ["below 0.0001" if value < 1e-4 else f"{value:.1g}" for value in tested["p"]]
lead = by_region.sel(model="captions") - by_region.sel(model=["pixels", "other people"])
ahead = (lead.drop_sel(region="early") > 0).all("region").sum("subject")
report.add(captions_lead=ahead.sel(model="pixels"), beyond_people=ahead.sel(model="other people"))
of_ceiling = share.drop("early")["captions / ceiling (%)"]
report.add(share_low=of_ceiling.min(), share_high=of_ceiling.max(), pixels_lead=(gap.sel(region="early") < 0).sum())
beats = report["captions_lead"] == report["pixels_lead"] == n_people
report.claim("captions are ahead of pixels beyond early cortex, and behind there, in everybody", beats)
report.claim("beyond early cortex a person's own model goes beyond other people", report["beyond_people"] == n_people)
share

# %%
noise, told, early = (data.truth.loc[vertices, "drive"].to_numpy() == kind for kind in ("none", "caption", "pixels"))
rates, wrong = 100 * found.mean(1), 100 * found[:, noise].sum(1) / found.sum(1)
report.add(found_low=rates.min(), found_high=rates.max(), early_found=100 * found[:, early].mean())
report.add(noise_nominal=100 * (p[:, noise] < 0.05).mean(), noise_found=100 * found[:, noise].mean())
report.add(planted_captions=100 * told.mean(), planted_pixels=100 * early.mean(), false_share=wrong.mean())
report.claim("the test is honest in noise", 4 < report["noise_nominal"] < 6)
report.claim("false findings are no more than was allowed", wrong.mean() <= 100 * q)
report.claim("captions predict many vertices that pixels drive", report["early_found"] > 20)
report

# %% [markdown]
# *What to see:* small dots are people, large ones means over all vertices of a region, with intervals over people, for these {glue:text}`n_test` images.
# Captions are ahead of pixels in all regions but the early one in {glue:text}`captions_lead` of {glue:text}`n_people` people, and behind them there in
# {glue:text}`pixels_lead`. Beyond it their score is {glue:text}`share_low:.0f` to {glue:text}`share_high:.0f` % of the ceiling (a lower bound: mere noise in
# some vertices makes that ceiling too high). They go beyond other people's responses in {glue:text}`beyond_people` people: only own responses teach own tuning.
# At a {term}`false discovery rate` of {glue:text}`q_percent:g` %, captions predict {glue:text}`found_low:.1f` to {glue:text}`found_high:.1f` % of a person's
# vertices (planted: captions in {glue:text}`planted_captions:.0f` %, pixels in {glue:text}`planted_pixels:.0f` %). Of mere noise,
# {glue:text}`noise_nominal:.1f` % have p < 0.05 without correction, and {glue:text}`noise_found:.1f` % after it, {glue:text}`false_share:.1f` % of all
# findings. Captions "predict" {glue:text}`early_found:.0f` % of the vertices that pixels alone drive: **significance does not say what drives a vertex.**
#
# ## Where
#
# Whole maps: the mean score over people, where a t-test over people with the false discovery rate controlled over vertices is passed.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Inflated hemisphere from the side, the middle and below, two rows: scores of captions and of pixels, where they pass the test."}}
both = xr.concat([captions.scores, pixels.scores], pd.Index(list(features), name="model")).rename(vertex="centre")
group = searchlight.group_map(both, q)
text = {"label": "score (Pearson r)", "hemisphere": hemisphere, "title": f"Mean of {n_people} people, {data.name}"}
report.figure("maps", plotting.places(both, group["rejected"], **text))

# %%
caption_map, ahead = group["mean"].values[0], np.greater(*group["mean"].values)
report.add(auc_encoding=roc_auc_score(told[told | noise], caption_map[told | noise]))
right, passed = [100 * ahead[told].mean(), 100 * (~ahead)[early].mean()], group["rejected"].values[0]
report.add(winner_captions=right[0], winner_pixels=right[1], noise_passed=100 * passed[noise].mean())
report.claim("scores tell driven vertices from noise", report["auc_encoding"] > 0.9)
report.claim("the higher score names the right description", min(right) > 90)
report

# %% [markdown]
# *What to see:* the brighter, the higher the score. Unlike the [searchlight](07_searchlight), an encoding model takes each vertex by itself and does not blur:
# the {term}`area under the curve` of captions' scores, for vertices driven by captions against *all* noise vertices, is {glue:text}`auc_encoding:.3f`. Among
# driven vertices, the higher mean score names the right description for {glue:text}`winner_captions:.0f` % (captions) and {glue:text}`winner_pixels:.0f` %
# (pixels). That *nothing* drives a vertex, only the test can say: {glue:text}`noise_passed:.1f` % of the noise vertices pass it for captions.
#
# ## True by construction
#
# The virtual viewers' high-level vertices *are* weighted sums of caption embeddings plus noise, from the very model we fit, and their early vertices of the
# very Gabor energies: captions must win where they do. All of this shows that the method recovers what is there, how large its scores can get under given
# noise, and where it misleads. It says nothing about people. The [next page](08_selectivity) asks the same models about sentences that nobody saw.
#
# ## Exercise
#
# How many images does an encoding model need? Train on the first 25, 50, 100, ... images of one person.
#
# :::{admonition} Solution
# :class: dropdown
# Scores rise with the number of images. How many are enough depends on the noise: with fewer repeats of each, more are needed.
# :::

# %% tags=["hide-cell"]
rows = {}
for n in [size for size in (25, 50, 100, 200) if size < len(train)] + [len(train)]:
    predicted = RidgeSweepCV(cv=n_folds).fit(x_train[:n], y_train[:n, every]).predict(x_test)
    r = (zscore(predicted.astype(float)) * zscore(y_test[:, every].astype(float))).mean(0)
    rows[n] = {roi: r[inside[every]].mean() for roi, inside in regions.items()}
learning = pd.DataFrame(rows).T.rename_axis("training images")
report.claim("scores rise with the number of images", learning.mean(axis=1).is_monotonic_increasing)
learning.round(2)

# %% [markdown]
# ## What the paper found
#
# {cite:t}`doerig2025` fitted fractional ridge regression from caption embeddings to eight people's responses to thousands of photographs (9,485 for the first
# person), and tested on 515 that all had seen. They report scores close to inter-subject agreement in all regions.
