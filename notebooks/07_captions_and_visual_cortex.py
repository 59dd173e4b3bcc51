# %% [markdown]
# # Captions and visual cortex
#
# Show a person a photograph, and ask five others to describe it in a sentence. {cite:t}`doerig2025`, *the study* from here on, report that what a language
# model makes of the sentences resembles what the visual cortex makes of the photograph: pictures with similar captions evoke similar responses. How can a list
# of numbers that comes from a sentence be compared with the responses of thousands of places in the brain? By comparing only how far apart the pictures are.
#
# :::{admonition} In this chapter
# **You will learn** what the data of a viewer look like; how to make a table of distances from responses and from captions, and how to compare two of them; and
# how to tell which of two descriptions drives a region, when each leaks into what follows the other.
#
# **You need** correlation and {term}`permutation <permutation test>` as in the chapters before. **It takes** about 15 minutes to read, half a minute to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
n_people: int = 4  # virtual viewers
snr: float = 0.35  # planted variance over that of the noise, median
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
batch_size: int = 100  # images that are compared with each other at once
n_batches: int = 3  # batches of a person's images, at most
n_permutations: int = 499  # orders of images, for chance
seed: int = 0  # of the viewers, batches and orders
device: str = "auto"  # where the sentence model runs: "auto", "cpu" or "cuda"
results: str = "results/07_captions_and_visual_cortex"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr
from scipy.spatial.distance import squareform
from scipy.stats import zscore

from brainalign import datasets, plotting, rsa, stats
from brainalign.book import Report
from brainalign.features.captions import embed
from brainalign.features.images import gabor_energies
from brainalign.rsa import compare_rdms, rdm

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## What a viewer's data look like
#
# The viewers of this page are virtual ({term}`virtual cohort`): their responses are planted, to tell if a method finds what is there. They see scenes drawn
# from small figures, some the same for everybody (the *test images*), others each person's own, each several times ({term}`repeat`), with several captions.

# %%
data = datasets.load_viewing("virtual", n_subjects=n_people, snr=snr, embeddings=embeddings, seed=seed)
data

# %% mystnb={"image": {"alt": "Three drawn scenes, each with its captions beside it."}}
test, first = list(data.test_images), data.subjects[0]
place, shown = data.image_names.get_indexer, test[:3]
told = data.captions.groupby("image")["caption"].agg("\n".join)[shown]
told = [f"image {image}:\n{text}" for image, text in told.items()]
report.figure("scenes", plotting.pictures(data.images[place(shown)], told, title="Three scenes and their captions"))

# %% [markdown]
# The responses come from places on a standard cortical surface, {term}`fsaverage5`. Each place is a {term}`vertex`. Some of them form regions of interest
# ({term}`region of interest`): early visual cortex, where vision enters the cortex, and a ventral, a lateral and a parietal region further on. In our viewers,
# early cortex follows the *pixels*, the others the *captions*; *zones* within them prefer people, places or food, as some areas of real brains do; all else,
# and a few small *patches* inside the regions, is mere noise. Of each region we look at the vertex whose repeats agree best, and at one of noise.

# %% mystnb={"image": {"alt": "Three panels, one for each scene: responses of the best vertex of every region and of a noise vertex, one dot a repeat, scattered around their means."}}
seen = data.responses[first].sel(image=test)
agreement = stats.noise_ceiling(seen)["reliability"].to_series()
examples = {roi: agreement[data.rois.index[data.rois[roi]]].idxmax() for roi in data.rois}
examples["noise"] = data.truth.index[data.truth["drive"] == "none"][0]
single = seen.sel(image=shown, vertex=list(examples.values())).assign_coords(vertex=list(examples))
frames = {"one presentation": single, "mean": single.mean("repeat").expand_dims("repeat")}
dots = pd.concat([part.rename("y").to_dataframe().reset_index().assign(what=name) for name, part in frames.items()])
dots["image"] = [f"image {image}" for image in dots["image"]]
text = {"xlabel": "vertex of region", "ylabel": "response (s.d.)", "title": f"Responses of virtual viewer {first}"}
levels = {"mean over images": 0}
report.figure("responses", plotting.points(dots, "vertex", "y", hue="what", col="image", levels=levels, **text))

# %%
inside = data.rois.any(axis=1).reindex(agreement.index)
report.add(n_people=len(data.subjects), n_test=len(test), n_vertices=len(inside), percent_regions=100 * inside.mean())
report.add(agreement=agreement.median(), agreement_regions=agreement[inside].median())
report

# %% [markdown]
# *What to see:* a panel a scene, a column a vertex, a dot a presentation or their mean. One presentation says little: in the regions
# ({glue:text}`percent_regions:.0f` % of {glue:text}`n_vertices:,` vertices), two repeats correlate at {glue:text}`agreement_regions:.2f` in the median vertex;
# over all vertices at {glue:text}`agreement:.2f`. Nor do dots that happen to lie together prove anything. From here on we use the mean over repeats.
#
# ## Distances instead of responses
#
# The responses of all vertices of a region to one image are a *pattern*. Two images that the region treats alike have similar patterns. The usual measure is
# the {term}`correlation distance`: one minus Pearson's correlation of the two patterns over vertices. It is 0 for patterns of the same shape, 1 for unrelated
# ones, 2 for opposites. A table of all pairs is a {term}`representational dissimilarity matrix`, short RDM. It is symmetric with zeros on the diagonal, so the
# pairs above the diagonal are all of it; `rdm` returns just these. For the first eight test images (the first four are shown), by hand and by `rdm`:

# %%
few, ventral = test[:8], data.select(vertices=data.rois["ventral"])
patterns = ventral.mean_responses(first, few)
by_hand = 1 - np.corrcoef(patterns.values.astype(float))
brain_few = rdm(patterns.values)
print(len(brain_few), "pairs; equal:", np.allclose(squareform(brain_few), by_hand))
pd.DataFrame(by_hand, few, few).iloc[:4, :4].round(2)

# %% [markdown]
# Now the trick of {term}`representational similarity analysis` (RSA) {cite:p}`kriegeskorte2008rsa`. An RDM no longer knows what it was made of. Anything that
# gives a list of numbers for each image gives an RDM of the same pairs, and two RDMs can be compared pair by pair:
#
# - **Captions.** A *sentence model* turns a sentence into one list of numbers, its {term}`sentence embedding`, such that sentences of similar meaning lie close
#   together {cite:p}`reimers2019`. We use the study's model, based on MPNet {cite:p}`song2020`, for each caption, and give an image the mean over its captions.
# - **Pixels.** For early visual cortex we need a description that knows no meaning. *Gabor energies* ({term}`Gabor energy`) say how much of each orientation
#   and coarseness of stripes there is in each part of the picture. Each is z-scored over images, so that all count alike.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Heat maps of dissimilarities between eight images: of the ventral region's responses, of captions, and of pixels."}}
features = {"captions": embed(data.captions, embeddings, device=device).values}
features["pixels"] = zscore(gabor_energies(data.images), axis=0)
models_few = {name: rdm(values[place(few)]) for name, values in features.items()}
tables = {f"ventral region of {first}": brain_few, **models_few}
squares = {name: pd.DataFrame(squareform(table), few, few) for name, table in tables.items()}
text = {"label": "correlation distance", "xlabel": "image", "ylabel": "image"}
report.figure("rdms", plotting.heatmaps(squares, title="Distances of eight images, virtual viewers", **text))

# %%
brains = rsa.brain_rdms(data)  # (region, subject, pair), all test images
ventral_test = brains.sel(region="ventral", subject=first).values
models = {name: rdm(values[place(test)]) for name, values in features.items()}
report.add(n_pairs_few=len(brain_few), n_pairs_test=len(ventral_test))
for name in features:
    report.add(**{f"few_{name}": compare_rdms(brain_few, models_few[name], "pearson")})
    report.add(**{f"test_{name}": compare_rdms(ventral_test, models[name], "pearson")})
ahead = report["test_captions"] > report["test_pixels"]
report.claim("captions score higher than pixels over all test images", ahead)
report

# %% [markdown]
# *What to see:* dark cells are close pairs. A model's score is the correlation of its cells with those of the brain. Over these {glue:text}`n_pairs_few` pairs
# captions reach {glue:text}`few_captions:.2f` and pixels {glue:text}`few_pixels:.2f`; eight others would change that. Over {glue:text}`n_pairs_test:,` pairs of
# {glue:text}`n_test` test images it is {glue:text}`test_captions:.2f` and {glue:text}`test_pixels:.2f`: captions score higher.
#
# Nothing was fitted: there are no weights, hence no training and no test set. That is the strength of RSA, and its limit. It asks whether the *whole* geometry
# agrees with every number of a description as it comes; what a weighted mixture could do is the question of [chapter 8](08_encoding_and_selectivity).
#
# **Pearson or Spearman?** Pearson's correlation takes distances as they are, as the study does. {term}`Spearman correlation` takes their ranks, and is right
# when scales differ: we use it beside published RDMs of other kinds, such as those of categories (0 or 1) and of neurons.
#
# **Why batches of 100?** A hundred images have 4,950 pairs, ten thousand have fifty million; and a map needs an RDM for every place. The study therefore cuts
# each person's images at random into batches of 100, compares RDMs within each batch, and takes the mean of the scores. The price is small:

# %%
images = data.images_of(first)[: n_batches * batch_size]
responses = ventral.mean_responses(first, images).values
rows = {}
for size in sorted({25, 50, min(batch_size, len(images)), len(images)}):
    batches = rsa.image_batches(len(images), size, seed)
    model = {"captions": rdm(features["captions"][place(images)][batches])}
    score = float(rsa.score(responses, model, batches=batches)[0])
    rows[size] = [len(batches), size * (size - 1) // 2, round(score, 3)]
by_size = pd.DataFrame.from_dict(rows, "index", columns=["batches", "pairs in a batch", "score of captions, ventral"])
report.claim("the mean over batches is about the same whatever their size", np.ptp(by_size.iloc[:, 2]) < 0.03)
by_size.rename_axis("images in a batch")

# %% [markdown]
# The mean over batches is about the same whatever their size. All models and regions see the *same* batches, so that their scores differ by nothing else.
#
# ## Which description drives which region?
#
# We score each region of each person on the test images, and divide by the person's {term}`noise ceiling`, as the study does: the match with the mean RDM of
# the *other* people {cite:p}`nili2014`. For chance, the model's images get other names, at random, {glue:text}`n_permutations` times: a {term}`Mantel test`
# {cite:p}`mantel1967`. We exchange images, not pairs: pairs share images and are no independent observations, and a textbook p-value would be far too small.

# %% mystnb={"image": {"alt": "Four panels, one for each region: ceiling-normalised scores of captions and pixels, a small dot for each person, a large one for the mean, and a line for chance."}}
regions = pd.Index(list(data.rois), name="region")
raw = compare_rdms(brains, rsa.batch_rdms(models, len(test))[:, 0], "pearson")  # (region, subject, model)
parts = [brains.sel(region=region) for region in regions]
top = xr.concat([rsa.noise_ceiling(part, pooling="plain")["lower"] for part in parts], regions)
scores = raw / top
null = [rsa.mantel_null(models, part, n_permutations=n_permutations, seed=seed) for part in parts]
null = (xr.concat(null, regions) / top).mean("subject")
p = stats.p_values(scores.mean("subject"), null)
text = {"label": "score / noise ceiling", "title": "Which description fits which region, virtual viewers"}
report.figure("regions", plotting.places(scores, p <= 0.05, chance=null.quantile(0.95, "draw"), **text))

# %%
lead = scores.sel(model="captions") - scores.sel(model="pixels")
early, high = lead.sel(region="early"), lead.drop_sel(region="early")
in_all, link = (high > 0).all("region"), compare_rdms(models["captions"], models["pixels"], "pearson")
report.add(n_permutations=n_permutations, ceiling_low=top.min(), ceiling_high=top.max(), captions_pixels_r=link)
report.add(early_gap=-early.mean(), early_all=(early < 0).sum(), n_high_all=in_all.sum())
report.add(high_gap=high.mean("subject").min(), captions_early_p=p.sel(model="captions", region="early"))
everybody = bool((in_all & (early < 0)).all())
report.claim("pixels lead in the early region, captions in all others, in everybody", everybody)
report.claim("captions are above chance in early cortex, which they do not drive", report["captions_early_p"] <= 0.05)
report

# %% [markdown]
# *What to see:* score over ceiling, small dots for people, large ones for their mean; left of the red tick are 95 % of permutations. In the early region pixels
# lead by {glue:text}`early_gap:.2f`, in {glue:text}`early_all` of {glue:text}`n_people` people; in each of the others captions lead by
# {glue:text}`high_gap:.2f` or more, and in every one in {glue:text}`n_high_all` of {glue:text}`n_people`. That was planted. We give no interval over people:
# they are simulated, so alike (ceilings {glue:text}`ceiling_low:.2f` to {glue:text}`ceiling_high:.2f`) that it would tell of the simulation only.
#
# Look at the *lower* points, too. In early cortex, where nothing was driven by them, captions are above chance (p = {glue:text}`captions_early_p:.3f`). The
# reason is in the scenes: pictures with similar captions also look alike, as the two descriptions' RDMs correlate at {glue:text}`captions_pixels_r:.2f`. **A
# score above chance does not say what drives a region.** A {term}`partial correlation` removes from one description what the other explains:

# %%
other = raw.roll(model=1)  # of two models, the other one's score
alone = (raw - other * link) / np.sqrt((1 - other**2) * (1 - link**2))
both = xr.concat([raw, alone], pd.Index(["score", "beyond the other"], name="measure")).mean("subject")
undriven = [both[1].sel(model="captions", region="early"), *both[1].sel(model="pixels").drop_sel(region="early")]
report.add(most_left=max(undriven))
report.claim("little is left of a description that does not drive a region", report["most_left"] < 0.1)
both.stack(column=["model", "measure"]).to_pandas().round(2)

# %% [markdown]
# *What to see:* means over people, not divided by the ceiling. At most {glue:text}`most_left:.2f` is left of a description that does not drive a region.
#
# ## What we have shown, and what not
#
# RSA finds which of two descriptions drives a region, in everybody, and needs no fitting. But it was planted: the virtual viewers' high-level regions respond
# to the embeddings of the very captions that we score, and early cortex to the very Gabor energies. So nothing here is a finding about people. [The next
# page](07_captions_and_visual_cortex_in_people) asks it of people, [the one after](07_searchlight) around every place of the cortex.
#
# ## Exercises
#
# 1. Real regions share fluctuations: add a random number to each image's responses, the same in all vertices. Compare correlation and Euclidean distance.
# 2. How much of the score is there in a single presentation? Score the ventral region from the first repeat alone.
#
# :::{admonition} Solutions
# :class: dropdown
# 1. Correlation distance ignores what all vertices of a pattern share, so its scores stay as they are. Euclidean distance takes the shared fluctuation for a
#    difference between images, and loses. But correlation distance is blind to a real difference in overall strength: a distance says what is signal.
# 2. More than half: the noise of single responses averages out over the vertices of a region. In real brains neighbours share noise, and less of it goes.
# :::

# %% tags=["hide-cell"]
clean = ventral.mean_responses(first, test).values.astype(float)
shared = np.random.default_rng(seed).standard_normal((len(clean), 1))
rows, metrics = {"as is": clean, "with fluctuation": clean + shared}, ["correlation", "euclidean"]
rows = {name: [compare_rdms(rdm(x, how), models["captions"], "pearson") for how in metrics] for name, x in rows.items()}
both_parts = [part.sel(region="ventral").values for part in (brains, rsa.brain_rdms(data, part=0))]
of_mean, of_first = (compare_rdms(part, models["captions"], "pearson").mean() for part in both_parts)
report.claim("one presentation has more than half of the score", bool(of_first > of_mean / 2))
print(f"mean of the repeats: {of_mean:.2f}; first repeat: {of_first:.2f}")
by_metric = pd.DataFrame(rows, metrics).T
loss = by_metric.loc["as is"] - by_metric.loc["with fluctuation"]
report.claim("shared fluctuation costs Euclidean, not correlation distance", loss.iloc[1] > 0.01 > abs(loss.iloc[0]))
by_metric.round(2)

# %% [markdown]
# `papermill notebooks/07_captions_and_visual_cortex.ipynb mine.ipynb -p embeddings all-minilm-l6-v2 -p snr 0.1 -p results mine` takes another sentence model.
