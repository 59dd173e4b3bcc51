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
# # Reading captions from the brain
#
# Up to here we asked how well sentences describe what a brain does. Now we turn the question round. Somebody looks at a picture, we see
# nothing but the responses of their visual cortex, and are to say in a sentence what the picture shows. {cite:t}`doerig2025` do it in two steps: from
# responses to the list of numbers that a language model would give to a description, and from these numbers to the closest of millions of
# sentences. How close do we come, and how would we know that it is not luck?
#
# :::{admonition} In this chapter
# **You will learn**
# how to decode a sentence embedding from responses; how to measure success against chance, and against what people's own descriptions
# reach; how to look sentences up in a large dictionary, and what that cannot do; whether a language model can write a better one; and how
# far distances alone go in four real people.
#
# **You need** sentence embeddings and distances of [chapter 7](07_captions_and_visual_cortex), and ridge regression of [chapter 2](02_layer_alignment).
#
# **It takes** about 35 minutes to read, and two minutes to run on two cores once the captions are embedded (some six more before).
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = "virtual"  # "virtual", "nsd" for your copy of that data set, or a folder of yours
dataset_options: dict = {}  # passed to datasets.load_viewing
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
second_model: str = "all-minilm-l6-v2"  # another one, which judges written sentences
language_model: str = "smollm2-135m"  # writes: asset, folder or hub name
dictionary: str = ""  # folder of a CaptionIndex; "" takes other captions of the data set
n_scenes: int = 3000  # rendered scenes whose captions are the virtual viewers' dictionary
rois: list = []  # regions that are decoded together; [] takes all
n_distractors: int = 10000  # wrong captions among which the right one is to be found
n_refits: int = 20  # decoders fitted to exchanged pictures, for chance (a minute each on thousands)
n_orders: int = 999  # orders of pictures, for chance in real people
n_resamples: int = 2000  # bootstrap draws of pictures
n_written: int = 16  # pictures for which a sentence is written, two or more
seed: int = 0  # of orders, draws and the choice of pictures
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
real_data: bool = True  # include the responses of four real people to 92 images

# %% tags=["hide-input", "remove-stderr"]
import gc
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from myst_nb import glue

from brainalign import datasets, decoding, plotting, stats
from brainalign.assets import AssetError
from brainalign.datasets.scenes import render_scenes
from brainalign.decoding.matching import token_encoder, token_match
from brainalign.decoding.writing import consensus, write_captions
from brainalign.features.captions import embed
from brainalign.similarity import rdm

plotting.use_style()
BLUE, ORANGE, GREEN, GRAY = (
    plotting.COLORS[name] for name in ("blue", "orange", "green", "gray")
)
NO_DATA = "(no data in this build)"
NOT_PLANTED = "(unknown: nothing was planted here)"



def span(values):
    """ "3 to 5", or "3" if they round to the same."""
    ends = (f"{value:.0f}" for value in (min(values), max(values)))
    return " to ".join(dict.fromkeys(ends))


# %% tags=["hide-output", "remove-stderr"]
options = dict(dataset_options)
if dataset == "virtual":
    weak = {"n_people": 2, "n_train": 400, "n_test": 200, "snr": 0.03}
    options = {"embeddings": embeddings, "roi": "streams", **weak, **options}
data = datasets.load_viewing(dataset, **options)
data.require(training=20)
people, title = data.people, data.name.capitalize()
test = list(data.test_images)
regions = rois or list(data.rois)
seen = data.select(vertices=data.rois[regions].any(axis=1))
data

# %% [markdown]
# The viewers are virtual ({term}`virtual cohort`), {glue:text}`n_people` of them. Each saw {glue:text}`n_train` drawn scenes of their own and
# the {glue:text}`n_test` *test images* that everybody saw. Their high-level regions respond to the embeddings of the scenes' captions: what we decode was planted, and
# [we come back to what that means](construction). With the signal of chapter 7, decoding would be trivially easy, for a reason that real brains do not
# have: noise is independent between vertices, and thousands of them average it away. So here the signal of a single vertex is made very weak: the
# median over vertices of the variance of signal over that of noise is {glue:text}`snr` in one presentation. Exercise 1 shows the other setting.
#
# ## From responses to an embedding
#
# Each scene has several captions. A sentence model turns each into an {term}`embedding <sentence embedding>`, and the *target* of an image is the mean over its captions.

# %% tags=["remove-stderr"]
targets = embed(data.captions, embeddings, device=device)
train = {p: list(data.train_images(p)) for p in people}
first = people[0]
responses = seen.mean_responses(first).astype("float32")
targets.sizes, responses.sizes

# %% [markdown]
# {term}`Ridge regression <ridge regression>` predicts every dimension of the embedding from all vertices together, as a weighted sum. There are far more vertices than training images, so without a penalty
# on large weights the sum fits the training images perfectly, noise included. Whether it then says anything about new images has to be tried. How large should the penalty be? We let each dimension choose
# by {term}`leave-one-out`: how well is each training image predicted from all others? That sounds like as many fits as images. It is one: a single
# {term}`eigendecomposition` of the table of images by images gives the error of every image, as if it had been left out, for every penalty {cite:p}`golub1979`.

# %%
decoders, decoded = {}, {}
for person in people:
    own = responses if person == first else seen.mean_responses(person)
    decoder = decoding.CaptionDecoder(device=device)
    decoder.fit(own.sel(image=train[person]), targets.sel(item=train[person]))
    decoded[person] = decoder.predict(own.sel(image=test))
    decoders[person] = decoder
truth = targets.sel(item=test)
decoded[first].shape

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: mean leave-one-out error of all dimensions by penalty, with a minimum below 1. Right: decoded against true numbers of one test image, a cloud along a line flatter than the diagonal."}}
figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.4))
errors = decoders[first].loo_mse_.mean(1)
spread = float(targets.sel(item=train[first]).var("item").mean())
axes[0].semilogx(decoding.decoder.DEFAULT_ALPHAS, errors / spread, "o-", color=BLUE)
axes[0].axhline(1, color="k", ls="--", lw=0.8)
axes[0].set(
    xlabel="penalty / mean squared length of a training pattern",
    ylabel="left-out error / variance of targets",
)
middle = decoders[first].mean_
axes[1].plot(truth[0] - middle, decoded[first][0] - middle, ".", color=BLUE, ms=4)
limit = 1.1 * float(np.abs(truth[0] - middle).max())
axes[1].plot([-limit, limit], [-limit, limit], "k--", lw=0.8)
axes[1].set(
    xlabel="true number, less the mean", ylabel="decoded number, less the mean"
)
axes[1].set_title(f"image {test[0]}", fontsize=10)
figure.suptitle(
    f"Decoding the embedding, person {first}, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["remove-cell"]
scores = pd.DataFrame(
    {p: decoding.correlations(decoded[p], truth) for p in people}, index=test
)
centred = pd.DataFrame(
    {p: decoding.correlations(decoded[p], truth, decoders[p].mean_) for p in people},
    index=test,
)
slope = np.polyfit(
    (truth.values - middle).ravel(), (decoded[first].values - middle).ravel(), 1
)[0]
glue("n_people", len(people), display=False)
glue("n_train", len(train[first]), display=False)
glue("n_test", len(test), display=False)
glue("snr", f"{options['snr']:g}" if dataset == "virtual" else NOT_PLANTED, display=False)
glue("slope", f"{slope:.2f}", display=False)
glue("one_image", f"{scores[first].iloc[0]:.2f}", display=False)
glue("one_centred", f"{centred[first].iloc[0]:.2f}", display=False)

# %% [markdown]
# *What to see:* on the left, the error in units of the variance of the targets; at the dashed line a decoder is no better than one that always answers with the mean. Where the curve is flat, the penalty does not matter, and here it is flat down to the smallest that we tried: with noise that is independent from vertex to vertex, even a nearly unpenalised fit generalises. Do not expect
# that of real responses. On the right each dot is one
# of the dimensions of the first test image. The cloud rises, but less steeply than the diagonal (over all images, {glue:text}`slope` instead of 1): with noisy responses and few training images, what is predicted *shrinks* towards the mean
# of the training images, and a penalty adds to that. So we do not ask how far apart the numbers are but how they *correlate* over dimensions, which does not see the shrinking. For this image r is {glue:text}`one_image`.
#
# ## How close is close?
#
# A correlation of one image says little. We need three things to hold it against.
#
# - **Knowing nothing.** All captions have something in common, if only that they are sentences about pictures. So the *mean* embedding of the training images correlates with every target.
# - **People.** How well does *one* caption of an image correlate with the mean of the others? We take each caption in turn, and average. This is the *human ceiling* of the study: what a further person who writes one sentence would reach. (The drawn scenes are described by a generator in the place of people, in different words and details each time.) It is no upper bound. Nor is it quite the same yardstick: a caption is held against the mean of the others, what is decoded against the mean of all, which is a little less noisy.
#   A single sentence leaves things out, and what is decoded may lie closer to the mean of several sentences than any one of them.
# - **Taking out what all share.** If we subtract the mean of the training images from everything first (*centred*), only what sets an image apart counts, and knowing nothing gives 0.

# %% tags=["remove-stderr"]
few = data.captions[data.captions["image"].isin(test)]
listed = data.captions
if len(listed) > 20_000:  # those of the test images, and of some of one person's others
    listed = listed[listed["image"].isin([*test, *train[first][:2000]])]
listed_vectors = embed(listed["caption"].tolist(), embeddings, device=device).values
single = listed_vectors[listed["image"].isin(test).to_numpy()]
human = decoding.caption_ceiling(single, few["image"].tolist()).sel(image=test)
human_centred = decoding.caption_ceiling(single, few["image"].tolist(), middle)
human_centred = human_centred.sel(image=test)
ignorant = decoding.correlations(np.tile(middle, (len(test), 1)), truth)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Distributions over test images of the correlation with the target: the mean embedding lowest, decoded embeddings of each person close below single human captions; on the right the same without what all captions share."}}
figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.4), sharey=True)
bins = np.linspace(-0.3, 1, 40)
style = {"histtype": "step", "lw": 1.6, "bins": bins}
for axis, own, people_say, label in zip(
    axes, (scores, centred), (human, human_centred), ("as it is", "centred"), strict=True
):
    axis.hist(people_say, color=ORANGE, label="one caption", **style)
    for number, person in enumerate(people[:4]):
        axis.hist(
            own[person],
            color=BLUE,
            label="decoded, each person" if not number else None,
            **style,
        )
    axis.set(xlabel=f"correlation with the captions' mean, {label}")
axes[0].hist(ignorant, color=GRAY, label="mean embedding", **style)
axes[1].axvline(0, color="k", ls="--", lw=0.8)
axes[0].set_ylabel("test images")
axes[0].legend(fontsize=8, loc="upper left")
figure.suptitle(
    f"Decoded embeddings of {len(test)} test images, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["hide-input"]
rows = {}
for person in people:
    ratios = [scores[person].mean() / human.mean(), centred[person].mean() / human_centred.mean()]
    interval = stats.bootstrap_ci(scores[person], n_resamples=n_resamples, seed=seed)
    rows[person] = [
        f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]",
        f"{100 * float(ratios[0]):.0f} %",
        f"{centred[person].mean():.2f}",
        f"{100 * float(ratios[1]):.0f} %",
    ]
rows["one caption"] = [f"{float(human.mean()):.2f}", "", f"{float(human_centred.mean()):.2f}", ""]
rows["mean embedding"] = [f"{ignorant.mean():.2f}", f"{100 * float(ignorant.mean() / human.mean()):.0f} %", "0", "0 %"]
columns = ["r [95 %]", "of the ceiling", "r, centred", "of the ceiling, centred"]
pd.DataFrame.from_dict(rows, "index", columns=columns)

# %% tags=["remove-cell"]
shares = 100 * scores.mean() / float(human.mean())
shares_centred = 100 * centred.mean() / float(human_centred.mean())
glue("share", span(shares), display=False)
glue("share_centred", span(shares_centred), display=False)
glue("human", f"{float(human.mean()):.2f}", display=False)
glue("ignorant", f"{ignorant.mean():.2f}", display=False)
glue("ignorant_share", f"{100 * ignorant.mean() / float(human.mean()):.0f}", display=False)

# %% [markdown]
# *What to see:* one caption correlates with the others of its image at {glue:text}`human` on average (for virtual viewers these are the generator's captions, so that this is no measure of people). Decoded embeddings reach {glue:text}`share` % of that. But one that knows *nothing* about the image reaches
# {glue:text}`ignorant_share` % ({glue:text}`ignorant`)! Scores of this kind, which the study reports too, do not start at zero. Centred they do, and the share is {glue:text}`share_centred` %.
#
# ## Which picture was it?
#
# A stricter question: of all test images, is the target of the right one the most similar to what was decoded? We count how many others are more similar. This is the *rank* of the right image, 0 if none is.
# The share of images with rank 0 is called top-1 {term}`identification`, that with a rank below 5 top-5. Who guesses is right in one of {glue:text}`n_test`.
#
# Is that really what guessing gives, with everything else as it is? We exchange the *training* targets at random, so that no response belongs to its image any more, fit the decoder anew, penalties included, and identify. We do so {glue:text}`n_refits` times.

# %%
ranks = pd.DataFrame(
    {p: decoding.image_ranks(decoded[p], truth) for p in people}, index=test
)
ranks_centred = pd.DataFrame(
    {p: decoding.image_ranks(decoded[p], truth, decoders[p].mean_) for p in people},
    index=test,
)
shown = responses.sel(image=train[first]).values
answers = responses.sel(image=test).values
goals = targets.sel(item=train[first]).values
rng = np.random.default_rng(seed)
null_ranks, null_scores = [], []
for _ in range(n_refits):
    wrong = decoding.CaptionDecoder(device=device).fit(shown, rng.permutation(goals))
    guess = wrong.predict(answers)
    null_ranks.append(decoding.image_ranks(guess, truth))
    null_scores.append(decoding.correlations(guess, truth).mean())
null_ranks = np.stack(null_ranks)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: share of test images whose right image is among the k most similar, near one for the decoders and along the chance line for exchanged pictures. Right: bars of the ranks."}}
figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.4))
k = np.arange(1, len(test) + 1)
for person in people:
    share = [(ranks[person] < n).mean() for n in k]
    axes[0].semilogx(k, share, color=BLUE, label="decoded, each person" if person == first else None)
null_share = np.array([(null_ranks < n).mean(1) for n in k])
plotting.with_band(
    axes[0],
    k,
    null_share.mean(1),
    *np.quantile(null_share, [0.025, 0.975], axis=1),
    color=ORANGE,
    label="pictures exchanged (95 %)",
)
axes[0].semilogx(k, k / len(test), "k--", lw=0.8, label="guessing")
axes[0].set(xlabel="k", ylabel="right image among the k best (share)")
axes[0].legend(fontsize=8)
edges = np.linspace(0, len(test), 21)
axes[1].hist(
    [ranks[first], null_ranks[0]],
    bins=edges,
    color=[BLUE, ORANGE],
    label=[f"{first}, decoded", "one exchange"],
)
axes[1].set(xlabel="rank of the right image (0 is best)", ylabel="test images")
axes[1].set_yscale("symlog", linthresh=10)
axes[1].legend(fontsize=8)
figure.suptitle(
    f"Identification among {len(test)} images, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["hide-input"]
rows = {}
tops = (1, 5, 10)
for person in people:
    for label, own in (("", ranks[person]), (", centred", ranks_centred[person])):
        found = [stats.bootstrap_ci(own < n, method="percentile", n_resamples=n_resamples, seed=seed) for n in tops]
        cells = [f"{100 * f.estimate:.0f} [{100 * f.low:.0f}, {100 * f.high:.0f}]" for f in found]
        rows[person + label] = [*cells, f"{own.median():g}"]
cells = []
for n in tops:
    low, high = np.quantile((null_ranks < n).mean(1), [0.025, 0.975])
    cells.append(f"{100 * (null_ranks < n).mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]")
rows["pictures exchanged"] = [*cells, f"{np.median(null_ranks):g}"]
rows["guessing"] = [*(f"{100 * n / len(test):.1f}" for n in tops), f"{(len(test) - 1) / 2:g}"]
pd.DataFrame.from_dict(rows, "index", columns=[*(f"top-{n} (%)" for n in tops), "median rank"])

# %% tags=["remove-cell"]
top_one = (ranks < 1).mean()
null_top = (null_ranks < 1).mean(1)
glue("n_refits", n_refits, display=False)
glue("top_one", span(100 * top_one), display=False)
glue("times_chance", f"{top_one.min() * len(test):.0f}", display=False)
glue("null_top", f"{100 * null_top.mean():.1f}", display=False)
glue("null_low", f"{100 * np.quantile(null_top, 0.025):.1f}", display=False)
glue("null_high", f"{100 * np.quantile(null_top, 0.975):.1f}", display=False)
glue("guessing", f"{100 / len(test):.1f}", display=False)
glue("null_score", f"{np.mean(null_scores):.2f}", display=False)

# %% [markdown]
# *What to see:* the right image is the most similar one in {glue:text}`top_one` % of the cases, at least {glue:text}`times_chance` times as often as by guessing. With exchanged pictures it is {glue:text}`null_top` % (95 % of the refits between
# {glue:text}`null_low` and {glue:text}`null_high`; guessing gives {glue:text}`guessing`). The same decoders fitted to exchanged pictures still reach a *correlation* of {glue:text}`null_score`: here the starting point of that score shows again.
# And centring helps to identify: a decoded embedding that is shrunk towards the mean resembles images that are themselves close to the mean, whichever was seen.
#
# ### Where, and from how much?
#
# Does it matter where we look, and how many pictures a person saw?

# %%
rows = {}
for name in ["all regions", *data.rois.columns]:
    mask = data.rois[regions if name == "all regions" else [name]].any(axis=1)
    inside = np.isin(responses["vertex"], data.rois.index[mask])
    if not inside.any():
        continue
    sizes = [len(shown) // 4, len(shown) // 2, len(shown)]
    for size in sizes if name == "all regions" else sizes[-1:]:
        some = decoding.CaptionDecoder(device=device)
        guess = some.fit(shown[:size, inside], goals[:size]).predict(answers[:, inside])
        rank = decoding.image_ranks(guess, truth, some.mean_)
        rows[name, size] = [
            inside.sum(),
            decoding.correlations(guess, truth).mean(),
            decoding.correlations(guess, truth, some.mean_).mean(),
            100 * (rank < 1).mean(),
            np.median(rank),
        ]
columns = ["vertices", "r", "r, centred", "top-1, centred (%)", "median rank"]
where = pd.DataFrame.from_dict(rows, "index", columns=columns)
where.index = pd.MultiIndex.from_tuples(where.index, names=["region", "images"])
where.round(2)

# %% tags=["remove-cell"]
most = len(shown)
low = where.xs(most, level="images").drop("all regions")["top-1, centred (%)"]
glue("worst_region", low.idxmin(), display=False)
glue("worst_top", f"{low.min():.0f}", display=False)
glue("best_region", low.idxmax(), display=False)
glue("best_top", f"{low.max():.0f}", display=False)
everywhere = where.xs("all regions", level="region")["top-1, centred (%)"]
glue("quarter_top", f"{everywhere.iloc[0]:.0f}", display=False)
glue("full_top", f"{everywhere.iloc[-1]:.0f}", display=False)
glue("quarter", int(everywhere.index[0]), display=False)

# %% [markdown]
# *What to see:* the {glue:text}`worst_region` region alone identifies {glue:text}`worst_top` %, the {glue:text}`best_region` region {glue:text}`best_top` %. In the virtual viewers early cortex responds to pixels, and what a picture looks like says a little about what it shows. From
# {glue:text}`quarter` images of training instead of all, the share falls from {glue:text}`full_top` to {glue:text}`quarter_top` %: with fewer examples there is less to learn from. Regions differ in size, though: with noise independent between vertices, a region with more of them (first column) decodes better for that reason alone, so this is no map of where meaning is.
#
# ## From an embedding to a sentence
#
# An embedding cannot be turned back into a sentence: the sentence model works one way only. The study's answer is a *dictionary*: embed as many sentences as you can get, and take the one whose embedding is most similar to
# what was decoded. It used the three million captions of Conceptual Captions {cite:p}`sharma2018`. `CaptionIndex` is such a dictionary. It keeps the embeddings on disk, in half precision, and looks at every one of them for every query, so that the answer is exact.
# Our dictionary is smaller:

# %% tags=["remove-stderr"]
if dictionary:
    index = decoding.CaptionIndex.load(dictionary)
else:
    if dataset == "virtual":  # of scenes that nobody saw
        entries = render_scenes(n_scenes, seed=1).captions["caption"].unique().tolist()
    else:
        entries = data.captions[~data.captions["image"].isin(test)]
        entries = entries["caption"].drop_duplicates().iloc[:20_000].tolist()
    vectors = embed(entries, embeddings, device=device)
    index = decoding.CaptionIndex(entries, vectors)
index

# %%
matches = {p: index.search(decoded[p], 5) for p in people}
limit = min(n_distractors, len(index))
places = np.random.default_rng(seed).choice(len(index), limit, replace=False)
others = np.asarray(index.embeddings[np.sort(places)], dtype=float)
owner = pd.Index(test).get_indexer(few["image"])
caption_rank = {
    p: decoding.caption_ranks(decoded[p], single, owner, others) for p in people
}

# %% [markdown]
# First the numbers: in which place is a *right* caption, one that was written for the very image, among {glue:text}`n_distractors` wrong ones from the dictionary? There are several right captions for each image; each is ranked by itself.

# %% tags=["hide-input"]
rows = {}
for person in people:
    own = caption_rank[person]
    cells = []
    for n in tops:
        found = stats.bootstrap_ci((own < n).astype(float), clusters=owner, method="percentile", n_resamples=n_resamples, seed=seed)
        cells.append(f"{100 * found.estimate:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]")
    rows[person] = [*cells, f"{np.median(own):g}"]
rng = np.random.default_rng(seed)
swapped = []
for _ in range(n_refits):
    order = rng.permutation(len(test))
    swapped.append(decoding.caption_ranks(decoded[first].values[order], single, owner, others))
swapped = np.stack(swapped)
cells = []
for n in tops:
    low, high = np.quantile((swapped < n).mean(1), [0.025, 0.975])
    cells.append(f"{100 * (swapped < n).mean():.2f} [{100 * low:.2f}, {100 * high:.2f}]")
rows["test images exchanged"] = [*cells, f"{np.median(swapped):g}"]
columns = [*(f"top-{n} of {limit:,} (%)" for n in tops), "median rank"]
pd.DataFrame.from_dict(rows, "index", columns=columns)

# %% tags=["remove-cell"]
glue("n_distractors", f"{limit:,}", display=False)
glue("n_entries", f"{len(index):,}", display=False)
glue("caption_median", f"{np.median(caption_rank[first]):g}", display=False)
glue("caption_top", f"{100 * (caption_rank[first] < 10).mean():.0f}", display=False)
glue("swapped_median", f"{np.median(swapped):,.0f}", display=False)

# %% [markdown]
# Half of the right captions of the first person have at most {glue:text}`caption_median` wrong ones ahead of them, and {glue:text}`caption_top` % fewer than ten; with exchanged images half have up to {glue:text}`swapped_median`.
#
# Now the sentences. We choose images by rank, not by hand: those whose captions have the best, the middle and the worst mean rank among the distractors.

# %%
by_image = pd.Series(caption_rank[first]).groupby(owner).mean()
ordered = by_image.sort_values(kind="stable").index.to_numpy()
half = len(ordered) // 2
chosen = [*ordered[:2], *ordered[half - 1 : half + 1], *ordered[-2:]]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six scenes, two good, two middling and two bad by rank, each beside the caption that was decoded from a virtual viewer and one that describes it."}}
figure, axes = plt.subplots(3, 4, figsize=(8.8, 6.4), width_ratios=[1, 1.3, 1, 1.3])
texts = few.groupby("image")["caption"].first()
for number, row in enumerate(chosen):
    pictured, beside = axes[number // 2, 2 * (number % 2) : 2 * (number % 2) + 2]
    if data.images is not None:
        place = data.image_names.get_loc(test[row])
        pictured.imshow(np.asarray(data.images[place]))
    lines = {
        "decoded": matches[first].captions[row][0],
        "written for it": texts[test[row]],
        "mean rank": f"{by_image[row]:.1f} of {limit:,}",
    }
    written = "\n\n".join(
        f"{name}: " + textwrap.fill(text, 26, initial_indent="\n" if name != "mean rank" else "")
        for name, text in lines.items()
    )
    beside.text(0, 0.98, written, va="top", fontsize=8.5, transform=beside.transAxes)
    pictured.axis("off")
    beside.axis("off")
for row, label in enumerate(("best", "middle", "worst")):
    axes[row, 0].set_title(label, fontsize=10)
figure.suptitle(
    f"Captions looked up for what was decoded, person {first}, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% [markdown]
# *What to see:* the order is by how well the images' own captions do, not by how well the caption that was looked up fits. Even in the best row that caption was written about another scene: it may catch one thing and miss the one beside it, or name things that are not there. Six pictures show what can happen, not how often. And none is better than the best of {glue:text}`n_entries` sentences that happen
# to be in the dictionary. A combination that nobody described cannot be found.
#
# ### Or is it just memory?
#
# A decoder could cheat in a way that looks like reading. If it did nothing but find the *training* image with the most similar responses, and answered with that image's captions, it would often be nearly right. We check three things.
#
# - What does that rival, *nearest training image*, reach? It is the training image whose pattern of responses correlates most with the test image's.
# - What would the best possible look-up among training images reach, one that knows the target?
# - We add the person's training captions to the dictionary. How often is the retrieved caption one of the nearest training image?

# %% tags=["remove-stderr"]
def nearest(one, other):
    """The row of the other array that correlates most with each row of the one."""
    n = len(one)
    return np.corrcoef(np.concatenate([one, other]))[:n, n:].argmax(1)


neighbour = nearest(answers, shown)
ideal = nearest(truth.values, goals)
is_own = listed["image"].isin(train[first]).to_numpy()
own_images = listed["image"].to_numpy()[is_own]
own_index = decoding.CaptionIndex(
    listed["caption"].to_numpy()[is_own].tolist(), listed_vectors[is_own], model=embeddings
)
recalled = own_index.search(decoded[first], 1)
from_training = recalled.scores[:, 0] > matches[first].scores[:, 0]
remembered = own_images[recalled.indices[:, 0]]
same = from_training & (remembered == np.asarray(train[first])[neighbour])

# %% tags=["hide-input"]
rows = {}
for name, guess in {
    "decoded": decoded[first].values,
    "nearest training image, by responses": goals[neighbour],
    "nearest training image, by the target itself": goals[ideal],
}.items():
    r = stats.bootstrap_ci(decoding.correlations(guess, truth), n_resamples=n_resamples, seed=seed)
    rank = decoding.image_ranks(guess, truth)
    rows[name] = [
        f"{r.estimate:.2f} [{r.low:.2f}, {r.high:.2f}]",
        f"{decoding.correlations(guess, truth, middle).mean():.2f}",
        f"{100 * (rank < 1).mean():.0f}",
        f"{np.median(rank):g}",
    ]
pd.DataFrame.from_dict(rows, "index", columns=["r [95 %]", "r, centred", "top-1 (%)", "median rank"])

# %% tags=["remove-cell"]
glue("ideal_r", f"{decoding.correlations(goals[ideal], truth).mean():.2f}", display=False)
glue("decoder_r", f"{decoding.correlations(decoded[first].values, truth).mean():.2f}", display=False)
ideal_top = (decoding.image_ranks(goals[ideal], truth) < 1).mean()
glue("ideal_top", f"{100 * ideal_top:.0f}", display=False)
glue("from_training", f"{100 * from_training.mean():.0f}", display=False)
glue("same", f"{100 * same.mean():.0f}", display=False)
expected = is_own.sum() / (is_own.sum() + len(index))
glue("own_share", f"{100 * expected:.0f}", display=False)
gain = decoding.correlations(decoded[first], truth) - decoding.correlations(goals[neighbour], truth)
gain = stats.bootstrap_ci(gain, n_resamples=n_resamples, seed=seed)
glue("gain", f"{gain.estimate:.3f} [{gain.low:.3f}, {gain.high:.3f}]", display=False)

# %% [markdown]
# *What to see:* the decoder does better than the nearest training image, by {glue:text}`gain` in r, because it can mix what it learned from many. Look at the last row too: who knew the target and took the best of all training images would reach
# {glue:text}`ideal_r`, where the decoder has {glue:text}`decoder_r`, but would identify only {glue:text}`ideal_top` %, because several test images share their best training image. When training captions are added to the dictionary, they make up {glue:text}`own_share` % of it, and {glue:text}`from_training` % of what is retrieved; in {glue:text}`same` %
# of the cases it is a caption of the nearest training image. So looking up the nearest training image does not explain the scores, though what is decoded leans towards training images.
#
# ### Look up centred
#
# Does it pay to look captions up without what all of them share? `search` takes the mean embedding as `centre`. We compare how well the retrieved captions, embedded, correlate with the target:

# %%
looked_up = {
    "as it is": matches[first],
    "centred": index.search(decoded[first], 20, centre=middle),
}
vectors_of = {n: index.embeddings[m.indices[:, 0]].astype(float) for n, m in looked_up.items()}
found = pd.DataFrame({n: decoding.correlations(v, truth) for n, v in vectors_of.items()})
difference = found["centred"] - found["as it is"]
difference = stats.bootstrap_ci(difference, n_resamples=n_resamples, seed=seed)
found.mean().round(3)

# %% tags=["remove-cell"]
glue("found_raw", f"{found['as it is'].mean():.2f}", display=False)
glue("found_centred", f"{found['centred'].mean():.2f}", display=False)
glue("found_gain", f"{difference.estimate:.3f} [{difference.low:.3f}, {difference.high:.3f}]", display=False)

# %% [markdown]
# A difference of {glue:text}`found_gain`, over images. From here on we look up centred.
#
# ## Writing the sentence
#
# A dictionary returns what somebody wrote about something else. Can a language model write a sentence for *this* embedding? It cannot see the embedding. But it can propose, and the sentence model can choose:
#
# 1. **Beam.** We show a {term}`causal language model` the five best retrieved captions as lines of a list, and let it begin a sixth. Of each beginning, its likeliest continuations are tried, a {term}`token` at a time. They are embedded, beginnings as they are, and the best few are kept: a {term}`beam search`.
# 2. **Edits.** The best sentence so far, retrieved or written, is changed in one place. A word is dropped, replaced or put in as the language model would have it there, or its end is exchanged with that of another retrieved caption. If the best of the changed sentences is better, it takes over, and so on.
#
# The *score* of a sentence is the correlation of its embedding with the goal, plus a small weight times its mean log-probability, so that it stays a sentence. The goal is not simply what was decoded. That is noisy, and a writer who follows
# it closely writes noise: on other images than those below, sentences then came closer to what was decoded, and no closer to what people wrote. So the goal is halfway between the decoded embedding and a weighted mean of its twenty closest captions (`consensus`). Nothing is drawn at random: the same input
# gives the same sentences.

# %% tags=["remove-stderr"]
written_for = np.arange(min(n_written, len(test)))
goal = consensus(decoded[first].values[written_for], index, centre=middle)
retrieved = [looked_up["centred"].captions[row] for row in written_for]


def encode(texts):
    vectors = embed(texts, embeddings, device=device).values
    gc.collect()  # a model that was loaded for some texts, or it would stay for a while
    return vectors


written = write_captions(
    goal,
    retrieved,
    encode,
    language_model,
    rounds=2,
    centre=middle,
    device=device,
)
written["origin"].value_counts()

# %% tags=["remove-cell"]
for origin in ("written", "edited", "retrieved"):
    glue(f"n_{origin}_origin", int((written["origin"] == origin).sum()), display=False)

# %% [markdown]
# Only {glue:text}`n_written_origin` of {glue:text}`n_written` come unchanged from the language model's beam, {glue:text}`n_edited_origin` are edited, and for {glue:text}`n_retrieved_origin` the retrieved caption was kept. *Written* below means all of them.
#
# Now the fair comparison. The score that guided the writing cannot judge it: sentences were chosen to raise it. And even the correlation with the images' captions uses the encoder that guided. So we judge in three ways, each
# against the image's own captions: by the same encoder; by another one, {glue:text}`second_model`; and by {term}`token matching`, in which each token is matched with the most similar one of the other sentence, by the second encoder {cite:p}`zhang2020`. The rival is the best retrieved caption. We compare image by image.

# %% tags=["remove-stderr"]
names = [test[row] for row in written_for]
told = [few.loc[few["image"] == name, "caption"].tolist() for name in names]
versions = {"retrieved": [some[0] for some in retrieved], "written": written["caption"].tolist()}
spoken = sorted({*sum(versions.values(), []), *sum(told, [])})
judged = {}
for name, model in {"same encoder": embeddings, "second encoder": second_model}.items():
    place = dict(zip(spoken, embed(spoken, model, device=device).values, strict=True))
    aims = np.array([np.mean([place[text] for text in some], axis=0) for some in told])
    for version, texts in versions.items():
        own_vectors = np.array([place[text] for text in texts])
        judged[name, version] = decoding.correlations(own_vectors, aims)
tokens = token_encoder(second_model, device=device)
for version, texts in versions.items():
    matched = token_match(texts, told, tokens)
    for column in ("precision", "recall", "f1"):
        judged[f"token {column}", version] = matched[column].to_numpy()
judged = pd.DataFrame(judged, index=names)

# %% tags=["hide-input"]
rows = {}
for measure in judged.columns.levels[0]:
    one, other = judged[measure, "written"], judged[measure, "retrieved"]
    gap = stats.bootstrap_ci(one - other, n_resamples=n_resamples, seed=seed)
    rows[measure] = [
        f"{other.mean():.3f}",
        f"{one.mean():.3f}",
        f"{gap.estimate:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]",
        f"{(one > other).sum()} : {(one < other).sum()}",
    ]
order = ["same encoder", "second encoder", "token precision", "token recall", "token f1"]
columns = ["retrieved", "written", "difference [95 % over images]", "better : worse"]
verdict = pd.DataFrame.from_dict(rows, "index", columns=columns).loc[order]
verdict

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two scatter plots, one dot an image: correlation of written against retrieved caption with people's captions, by the encoder that guided and by another one."}}
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.7))
for axis, measure in zip(axes, order[:2], strict=True):
    axis.plot(judged[measure, "retrieved"], judged[measure, "written"], "o", color=BLUE)
    ends = [judged[measure].min().min() - 0.03, judged[measure].max().max() + 0.03]
    axis.plot(ends, ends, "k--", lw=0.8)
    axis.set(xlabel="retrieved caption (r)", ylabel="written sentence (r)")
    axis.set_title(measure, fontsize=10)
figure.suptitle(
    f"Likeness to the images' captions, {len(names)} images, {data.name}",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["remove-cell"]
glue("second_model", second_model, display=False)
glue("n_written", len(names), display=False)
for measure, name in {"same encoder": "same_gap", "second encoder": "second_gap", "token f1": "token_gap"}.items():
    glue(name, rows[measure][2], display=False)


def in_words(measure):
    gap = stats.bootstrap_ci(
        judged[measure, "written"] - judged[measure, "retrieved"], n_resamples=n_resamples, seed=seed
    )
    return "better" if gap.low > 0 else "worse" if gap.high < 0 else "neither better nor worse"


for version, texts in versions.items():
    n_words = np.mean([len(text.split()) for text in texts])
    glue(f"words_{version}", f"{n_words:.1f}", display=False)
glue("recall_gap", rows["token recall"][2], display=False)
glue("precision_gap", rows["token precision"][2], display=False)
glue("same_verdict", in_words("same encoder"), display=False)
glue("second_verdict", in_words("second encoder"), display=False)
glue("token_verdict", in_words("token f1"), display=False)

# %% [markdown]
# *What to see:* dots above the line are images for which the written sentence is closer to the image's own captions. By the encoder that guided, written sentences are {glue:text}`same_verdict` than retrieved ones ({glue:text}`same_gap`), by the second one {glue:text}`second_verdict` ({glue:text}`second_gap`), by token matching {glue:text}`token_verdict` ({glue:text}`token_gap`).
# Whether that is worth having, the sentences themselves must say: sorted by what the second encoder says of the change, the largest gains first, the largest losses last.

# %% tags=["hide-input"]
table = pd.DataFrame(
    {
        "retrieved": versions["retrieved"],
        "written": versions["written"],
        "one of its captions": [some[0] for some in told],
        "change": (judged["second encoder", "written"] - judged["second encoder", "retrieved"]).to_numpy().round(2),
    }
)
table = table.sort_values("change", ascending=False, kind="stable")
ends = pd.concat([table.head(4), table.tail(4)]).drop_duplicates()
ends.style.hide().format({"change": "{:+.2f}"}).set_properties(**{"text-align": "left"})

# %% [markdown]
# Read the sentences, not only the numbers. Retrieved captions have {glue:text}`words_retrieved` words on average, written ones {glue:text}`words_written`. Edits string together what several captions say. That fits the numbers: recall changes by {glue:text}`recall_gap`, precision by
# {glue:text}`precision_gap`, as a longer sentence covers more of what captions mention and adds things that none of them does. We did not control for length. The price is grammar. Sentence encoders hardly mind it, and the language model's say, with its small weight, does not prevent a sentence with two verbs too many. So this is a *longer list*, with some right things more and some wrong, rather than a better sentence, and encoders are judges who can be flattered.
#
# ## Four real people
#
# Nothing above says anything about people. The real data that we have, *objects92* {cite:p}`kriegeskorte2008`, consist of distances: how far apart the responses of inferior temporal cortex to 92 photographs of objects are, in four people. Without responses there is nothing to regress on, so no embedding can be decoded.
# But a caption can be *identified*. For an image we have a row of distances in the brain, to all other images. Every caption, too, has a row of distances to the other captions. If brain and captions see things alike, the row of the right caption should look most like the brain's.
# We compare the right caption with each other one, leaving out both images, and count how often the right one wins: 50 % is chance.
#
# The captions are those of chapter 7: three for each image, all by one writer, a multimodal language model.

# %% tags=["remove-stderr"]
objects = None
if real_data:
    try:
        objects = datasets.load_viewing("objects92")
    except AssetError as error:
        print("These data cannot be had here; this part stays empty.", error)

# %%
if objects is not None:
    model = rdm(embed(objects.captions, embeddings, device=device).values)
    brains = objects.rdms.mean("session")
    alive = np.arange(len(objects.image_names)) < 48
    kinds = np.repeat(np.arange(6), [12, 12, 12, 12, 23, 21])
    rivals = {"all": None, "alike in animacy": alive, "of the same kind": kinds}
    wins, nulls = {}, {}
    for name, groups in rivals.items():
        wins[name] = np.array(
            [decoding.identify_by_distances(b, model, groups) for b in brains.values]
        )
        nulls[name] = decoding.chance_by_distances(
            brains.values, model, groups, n_permutations=n_orders, seed=seed
        )

# %% tags=["hide-input"] mystnb={"image": {"alt": "Share of rival captions beaten by the right one, mean of four people with interval over images and a dot for each person, beside the chance level and its 95 percent range, for all rivals, rivals alike in animacy and rivals of the same kind."}}
if objects is not None:
    figure, axis = plt.subplots(figsize=(7, 3))
    for row, name in enumerate(rivals):
        share = stats.bootstrap_ci(wins[name].mean(0), n_resamples=n_resamples, seed=seed)
        low, high = np.quantile(nulls[name], [0.025, 0.975])
        axis.plot([low, high], [row + 0.2] * 2, color=GRAY, lw=5, alpha=0.5, label=None if row else "chance (95 %)")
        axis.plot([share.low, share.high], [row, row], color=ORANGE, lw=2)
        axis.plot(share.estimate, row, "o", color=ORANGE, ms=8, label=None if row else "mean, 95 % over images")
        axis.plot(wins[name].mean(1), [row - 0.2] * len(wins[name]), ".", color="k", label=None if row else "each person")
    axis.axvline(0.5, color="k", ls="--", lw=0.8)
    axis.set_yticks(range(len(rivals)), [f"rivals: {name}" for name in rivals])
    axis.set(xlabel="rival captions beaten by the right one (share)", ylim=(len(rivals) - 0.5, -0.5))
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axis.set_title("Real people (objects92), 92 images")
    plt.show()

# %% tags=["hide-input"]
people_table = None
if objects is not None:
    rows = {}
    for name, groups in rivals.items():
        share = stats.bootstrap_ci(wins[name].mean(0), n_resamples=n_resamples, seed=seed)
        p = float(stats.p_values(share.estimate, nulls[name]))
        n_rivals = len(alive) - 1 if groups is None else np.mean([(groups == g).sum() - 1 for g in groups])
        cells = [f"{100 * own:.0f}" for own in wins[name].mean(1)]
        rows[name] = [f"{n_rivals:.0f}", *cells, f"{100 * share.estimate:.0f} [{100 * share.low:.0f}, {100 * share.high:.0f}]", f"{p:.3f}"]
    columns = ["rivals", *(f"{name} (%)" for name in brains["subject"].values), "mean [95 %]", "p"]
    people_table = pd.DataFrame.from_dict(rows, "index", columns=columns)
people_table

# %% tags=["remove-cell"]
names = ["animacy_alone", "kind_people", "real_all", "real_all_rank", "real_alive", "real_kind", "real_top", "p_alive", "p_kind", "real_all_ci", "least_p"]
values = [NO_DATA] * len(names)
if objects is not None:
    n_others = len(alive) - 1
    mean_rank = n_others * (1 - wins["all"].mean(0))
    beaten = [f"{100 * wins[name].mean():.0f}" for name in rivals]
    person_ranks = n_others * (1 - wins["all"])
    p_values = [float(stats.p_values(wins[name].mean(), nulls[name])) for name in rivals]
    same_half = (alive[:, None] == alive).sum(1) - 1
    animacy_alone = f"{100 * (1 - 0.5 * same_half / n_others).mean():.0f}"
    values = [animacy_alone, span(100 * wins["of the same kind"].mean(1)), beaten[0], f"{mean_rank.mean():.0f}", beaten[1], beaten[2]]
    values += [f"{100 * (person_ranks < 1).mean():.1f}", f"{p_values[1]:.3f}", f"{p_values[2]:.3f}"]
    over_images = stats.bootstrap_ci(100 * wins["all"].mean(0), n_resamples=n_resamples, seed=seed)
    values += [f"{over_images.low:.0f} to {over_images.high:.0f}", f"{1 / (n_orders + 1):g}"]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* the right caption beats {glue:text}`real_all` % of its rivals ({glue:text}`real_all_ci` over images); on average {glue:text}`real_all_rank` of the 91 others do better. It is the very best in {glue:text}`real_top` % of the cases (guessing: 1.1 %). But much of that may be *animacy*, the main division of this cortex: who knows of an image only whether it shows something animate
# beats all captions of the other half, and half of the rest, {glue:text}`animacy_alone` % together, so that this share alone says little. Among rivals alike in animacy, it is {glue:text}`real_alive` % (p = {glue:text}`p_alive`, one-sided, images exchanged within the same groups; {glue:text}`least_p` is the smallest that these orders can give), and among those of the same of six kinds (bodies and faces of people, bodies and faces of animals, natural, artificial) {glue:text}`real_kind` % (p = {glue:text}`p_kind`; {glue:text}`kind_people` % in single people).
#
# The interval over images is descriptive: rows share distances, so images are not independent. The p-value, for which whole images exchange their places, does not suffer from that. And the claim is small: four people, 92 isolated objects, one writer, and no sentence was read from a brain.
#
# (construction)=
# ## True by construction
#
# The virtual viewers respond to the embeddings that we decode, in a linear way, with noise that is independent from vertex to vertex. So a linear decoder has to succeed, and how well it does was set by us, with the signal. Likewise their captions come from the same generator as those of the dictionary, which therefore holds a good
# sentence for nearly every scene. What the sections on virtual viewers do show is that the method finds what is there, that chance is where it should be, how far scores start above zero, that centring helps and why, and what looking up and writing can add to each other *if* decoding works. They say nothing about people.
#
# ## Exercises
#
# 1. Repeat the decoding with the signal of chapter 7 (`snr` 0.35). Where are the scores now, beside the human ceiling?
# 2. Look captions up by cosine instead of correlation. How often is the first one another, and why so seldom?
# 3. How much does the dictionary matter? Take a random tenth and a random hundredth of it, and look at the correlation of the retrieved captions with the targets.
#
# :::{admonition} Solution 1
# :class: dropdown
# Decoded embeddings are then closer to the mean of the captions than a single caption of a person is, and identification is perfect. The "ceiling" is none: it is the score of one sentence, and a decoder of a mean over five can pass it. A number above 100 % of it is no miracle and no mistake.
# :::

# %% tags=["hide-cell", "remove-stderr"]
if dataset == "virtual":
    strong = datasets.load_viewing("virtual", **{**options, "snr": 0.35})
    own_train, own_test = list(strong.train_images(strong.people[0])), list(strong.test_images)
    clear = strong.select(vertices=strong.rois[regions].any(axis=1)).mean_responses(strong.people[0])
    fitted = decoding.CaptionDecoder().fit(clear.sel(image=own_train), targets.sel(item=own_train))
    guess = fitted.predict(clear.sel(image=own_test))
    print(f"of the ceiling: {decoding.correlations(guess, truth).mean() / float(human.mean()):.0%}")
    print(f"top-1: {(decoding.image_ranks(guess, truth) < 1).mean():.0%}")

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# Correlation over dimensions is the cosine after each embedding's own mean over dimensions is taken off. With hundreds of dimensions whose mean is close to 0, that changes next to nothing.
# :::

# %% tags=["hide-cell"]
by_cosine = index.search(decoded[first], 1, metric="cosine")
other = by_cosine.indices[:, 0] != matches[first].indices[:, 0]
print(f"another caption in {other.mean():.1%} of the images")
print(f"mean over dimensions of the decoded embeddings: {np.abs(decoded[first].values.mean(1)).max():.4f}")

# %% [markdown]
# :::{admonition} Solution 3
# :class: dropdown
# With a random tenth of the dictionary the mean correlation falls from {glue:text}`dictionary_1.0` to {glue:text}`dictionary_0.1`, about as much as looking up centred gained; with a hundredth it falls to {glue:text}`dictionary_0.01`. This is one draw; repeat it with other seeds. Our captions come from one generator with few words. How much size matters for photographs this cannot say; the study took millions.
# :::

# %% tags=["hide-cell"]
rng = np.random.default_rng(seed)
rows = {}
for share in (0.01, 0.1, 1.0):
    kept = np.sort(rng.choice(len(index), max(20, int(share * len(index))), replace=False))
    part = decoding.CaptionIndex([index.captions[i] for i in kept], index.embeddings[kept])
    best = part.search(decoded[first], 1, centre=middle).indices[:, 0]
    rows[f"{share:.0%}"] = [len(part), decoding.correlations(part.embeddings[best], truth).mean()]
    glue(f"dictionary_{share}", f"{rows[f'{share:.0%}'][1]:.3f}", display=False)
pd.DataFrame.from_dict(rows, "index", columns=["captions", "r with the target"]).round(3)

# %% [markdown]
# ## Run it on your own data
#
# For the photographs of the Natural Scenes Dataset {cite:p}`allen2022`, first build a dictionary, for example from the public list of Conceptual Captions (one caption and one address a line). It takes hours on two cores, minutes on a GPU; if it is interrupted, call it again to go on:
#
# ```python
# from brainalign.decoding import CaptionIndex
#
# CaptionIndex.build("Train_GCC-training.tsv", "dictionary", progress=True)
# ```
#
# ```bash
# papermill notebooks/10_reading_captions.ipynb nsd.ipynb -p dictionary /path/to/dictionary \
#   -y "{dataset: nsd, dataset_options: {root: /path/to/nsd, subjects: [1, 2, 3], space: fsaverage5, repeats: all}}"
# ```
#
# Without a dictionary, the captions of the images outside of the test set are used.
#
# ## What the papers found
#
# {cite:t}`doerig2025` decoded MPNet embeddings from all vertices of visual cortex of people who each saw thousands of photographs, by fractional ridge regression (their text chooses a penalty for each dimension, their code, as we read it, one for all), and looked the results up among 3.1 million captions by correlation. They report that decoded captions describe what was seen, that decoding comes close to
# the agreement between human captions, and that captions are not just those of the nearest training image. The four examples that they show, one for each of four people, are not all of the best: if the 515 test images are ordered by how well they were decoded (a different rank from ours), they stand at places 102, 0, 459 and 255, 0 being the best. Their text defines the human ceiling as ours does; their published code, as we read it, keeps only the last caption of each image.
# We differ in the kind of ridge regression, in centring, and in writing sentences, which they did not do.
