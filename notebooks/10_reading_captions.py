# %% [markdown]
# # Reading captions from the brain
#
# Up to here we asked how well sentences describe what a brain does. Now we turn the question round: from nothing but the responses of somebody's visual
# cortex we are to say in a sentence what they see. {cite:t}`doerig2025` do it in two steps: from responses to the numbers that a language model would give
# to a description, and from these to the closest of millions of sentences. How close does one come, and is it more than luck?
#
# :::{admonition} In this chapter
# **You will learn** how to decode a sentence embedding from responses, measure success against chance and one human sentence, and tell which picture was seen.
#
# **You need** chapters [7](07_captions_and_visual_cortex) (embeddings) and [2](02_layer_alignment) (ridge regression). **It takes** 15 minutes, one to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
n_people: int = 2  # virtual viewers
n_train: int = 400  # scenes that each sees alone
n_test: int = 200  # scenes that all see: the test images
snr: float = 0.03  # planted variance over that of one presentation's noise, median over vertices
n_refits: int = 20  # decoders fitted to exchanged pictures, for chance
n_resamples: int = 2000  # bootstrap draws of pictures
seed: int = 0  # of the viewers, of exchanges and draws
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/10_reading_captions"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd

from brainalign import datasets, decoding, plotting, stats
from brainalign.book import Report
from brainalign.features.captions import embed
from brainalign.ridge import decoder

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Viewers whose responses are planted
#
# The {glue:text}`n_people` viewers are virtual ({term}`virtual cohort`). Each saw {glue:text}`n_train` drawn scenes of their own and the {glue:text}`n_test`
# *test images* that everybody saw. Their high-level regions respond to the embeddings of the scenes' captions, linearly, with noise. A linear decoder has to
# succeed, as well as we set it. Such viewers show that the method finds what is there, that chance is where it should be, and what the measures mean; for
# people there is [the next page](10_reading_captions_in_people). With the signal of chapter 7, decoding would be too easy: noise is independent between
# vertices, unlike in brains, and averages away. So the signal of a vertex is weak: {glue:text}`snr` of the noise's variance.

# %%
viewers = {"n_subjects": n_people, "n_train": n_train, "n_test": n_test, "roi": "streams", "seed": seed}
data = datasets.load_viewing("virtual", **viewers, snr=snr, embeddings=embeddings, device=device)
people, test, first = data.subjects, list(data.test_images), data.subjects[0]
report.add(n_people=n_people, n_train=n_train, n_test=n_test, snr=snr, n_refits=n_refits, by_guessing=100 / len(test))
data

# %% [markdown]
# ## From responses to an embedding
#
# A sentence model turns each caption of a scene into an {term}`embedding <sentence embedding>`, and the *target* of an image is their mean.
# {term}`Ridge regression <ridge regression>` predicts every dimension of the target from all vertices together. There are more vertices
# ({glue:text}`n_vertices:,`) than training images, so without a penalty it would fit the training images perfectly, noise included. We let each dimension
# choose its penalty by {term}`leave-one-out`: how well is each training image predicted from all others? That takes one fit: a single
# {term}`eigendecomposition` of the table of images by images gives the error of every image left out, for every penalty {cite:p}`golub1979`.

# %% mystnb={"image": {"alt": "Mean leave-one-out error of all dimensions by the logarithm of the penalty: flat and below the dashed line at small penalties, rising to it at large ones."}}
targets = embed(data.captions, embeddings, device=device)
truth = targets.sel(item=test)
decoders, decoded, responses = {}, {}, {}
for person in people:
    seen, train = data.mean_responses(person).astype("float32"), list(data.train_images(person))
    responses[person] = seen.sel(image=train).values, seen.sel(image=test).values, targets.sel(item=train).values
    decoders[person] = decoding.CaptionDecoder(device=device).fit(seen.sel(image=train), targets.sel(item=train))
    decoded[person] = decoders[person].predict(seen.sel(image=test))
shown, answers, goals = responses[first]
errors = decoders[first].loo_mse_.mean(1) / goals.var(0).mean()
errors = pd.DataFrame({"penalty": np.log10(decoder.DEFAULT_ALPHAS), "error": errors})
report.claim("the smallest penalty does nearly as well", errors["error"].iloc[0] < errors["error"].min() + 0.05)
text = {"xlabel": "penalty (log10, of the mean squared length of a pattern)", "ylabel": "left-out error / variance"}
text |= {"levels": {"the mean, always": 1}, "title": "Choosing the penalty, one virtual viewer"}
report.figure("penalty", plotting.lines(errors, "penalty", "error", **text))

# %% [markdown]
# *What to see:* at the dashed line a decoder is no better than one that always answers with the mean. Here the smallest penalty that we tried does almost as
# well as the best: with noise that is independent from vertex to vertex, even a nearly unpenalised fit generalises. Do not expect that of real responses.

# %% mystnb={"image": {"alt": "Decoded against true numbers of one test image, one dot a dimension: a cloud along a line that is flatter than the dashed diagonal."}}
middle = decoders[first].mean_  # the mean embedding of the training images
aims, guesses = truth.values - middle, decoded[first].values - middle
text = {"xlabel": "true number, less the mean", "ylabel": "decoded number, less the mean", "diagonal": True}
text["title"] = "The dimensions of one test image, one virtual viewer"
numbers = pd.DataFrame({"true": aims[0], "decoded": guesses[0]})
report.figure("dimensions", plotting.points(numbers, "true", "decoded", **text))

# %%
scores = pd.DataFrame({p: decoding.correlations(decoded[p], truth) for p in people})
report.add(slope=np.polyfit(aims.ravel(), guesses.ravel(), 1)[0], one_image=scores[first][0], n_vertices=shown.shape[1])
report

# %% [markdown]
# *What to see:* the cloud rises, but less steeply than the diagonal (over all images, {glue:text}`slope:.2f` instead of 1): with noisy responses and few
# training images, what is predicted *shrinks* towards the mean of the training images, and a penalty adds to that. So we ask how the numbers *correlate*
# over dimensions, which does not see the shrinking. For this image r is {glue:text}`one_image:.2f`.
#
# ## How close is close?
#
# A correlation of one image says little. We need three things to hold it against:
#
# - **Knowing nothing.** All captions are sentences about pictures, at least. So the *mean* embedding of the training images correlates with every target.
# - **One sentence.** How well does *one* caption of an image correlate with the mean of the others, averaged over its captions? This is the *human ceiling*
#   of the study: what a further person who writes one sentence would reach (here a generator stands in the place of people). It is no upper bound: a single
#   sentence leaves things out, and what is decoded may lie closer to the mean of several, of which it is held against all, not all but one.
# - **Taking out what all share.** With the mean of the training images subtracted from everything first (*centred*), only what sets an image apart counts.

# %% mystnb={"image": {"alt": "Histograms over test images of the correlation with the target, for the mean embedding, embeddings decoded from one viewer, and single captions."}}
vectors = embed(data.captions["caption"].tolist(), embeddings, device=device).values
few = data.captions["image"].isin(test).to_numpy()
owners, single = data.captions["image"][few].tolist(), vectors[few]
human, human_centred = (decoding.caption_ceiling(single, owners, mean).sel(image=test) for mean in (None, middle))
ignorant = decoding.correlations(np.tile(middle, (len(test), 1)), truth)
kinds = pd.DataFrame({"decoded": scores[first], "mean embedding": ignorant, "one caption": human.values})
text = {"label": "correlation with the mean of the image's captions (r)", "counted": "test images"}
text["title"] = "How close, one virtual viewer"
report.figure("closeness", plotting.histogram(kinds.melt(var_name="kind"), **text))

# %%
centred = pd.DataFrame({p: decoding.correlations(decoded[p], truth, decoders[p].mean_) for p in people})
interval = {"n_resamples": n_resamples, "seed": seed}  # over images
rows = {name: [stats.bootstrap_ci(scores[name], **interval), centred[name].mean()] for name in people}
rows |= {"one caption": [float(human.mean()), float(human_centred.mean())], "mean embedding": [ignorant.mean(), 0.0]}
share, share_centred = 100 * scores.mean() / float(human.mean()), 100 * centred.mean() / float(human_centred.mean())
report.add(human=human.mean(), ignorant=ignorant.mean(), ignorant_percent=100 * ignorant.mean() / float(human.mean()))
report.add(least_percent=share.min(), most_percent=share.max())
report.add(least_percent_centred=share_centred.min(), most_percent_centred=share_centred.max())
report.claim("knowing nothing reaches a third of the ceiling", report["ignorant_percent"] > 100 / 3)
report.claim("what is decoded is closer than the mean embedding", scores.mean().min() > ignorant.mean())
pd.DataFrame.from_dict(rows, "index", columns=["r", "r, centred"]).style.format("{:.3f}")

# %% [markdown]
# *What to see:* one caption (orange) correlates with the others of its image at {glue:text}`human:.2f` on average. Decoded embeddings (blue) reach
# {glue:text}`least_percent:.0f` to {glue:text}`most_percent:.0f` % of that. But one that knows *nothing* about the image (gray) reaches
# {glue:text}`ignorant_percent:.0f` % ({glue:text}`ignorant:.2f`)! Scores of this kind, which the study reports too, do not start at zero. Centred they do, and
# the share is {glue:text}`least_percent_centred:.0f` to {glue:text}`most_percent_centred:.0f` %.
#
# ## Which picture was it?
#
# A stricter question: of all test images, is the target of the right one the most similar to what was decoded? The number of others that are more similar
# is the *rank* of the right image; the share of images with rank 0 is called top-1 {term}`identification`. Who guesses is right in one of
# {glue:text}`n_test`. Is that so with everything else as it is? We exchange the *training* targets at random, fit the
# decoder anew, penalties included, and identify, {glue:text}`n_refits` times.

# %% mystnb={"image": {"alt": "Share of test images whose right image is among the k most similar, for k from 1 to 20: two lines for each of two viewers, as decoded and centred, near the top, and a gray band of chance near the bottom."}}
ranks = pd.DataFrame({p: decoding.image_ranks(decoded[p], truth) for p in people})
ranks_centred = pd.DataFrame({p: decoding.image_ranks(decoded[p], truth, decoders[p].mean_) for p in people})
rng, k, null_ranks, null_scores = np.random.default_rng(seed), np.arange(1, 21), [], []
for _ in range(n_refits):
    guess = decoding.CaptionDecoder(device=device).fit(shown, rng.permutation(goals)).predict(answers)
    null_ranks.append(decoding.image_ranks(guess, truth))
    null_scores.append(decoding.correlations(guess, truth).mean())
chance = np.array([(np.stack(null_ranks) < n).mean(1) for n in k])
band = pd.DataFrame({"k": k, "low": np.quantile(chance, 0.025, axis=1), "high": np.quantile(chance, 0.975, axis=1)})
curves = {**ranks, **ranks_centred.add_suffix(", centred")}.items()
found = [pd.DataFrame({"k": k, "share": [(own < n).mean() for n in k], "viewer": name}) for name, own in curves]
text = {"xlabel": "k", "ylabel": "right image in the best k (share)"}
text |= {"hue": "viewer", "chance": band, "title": f"Identification among {len(test)} images, virtual viewers"}
figure = plotting.lines(pd.concat(found), "k", "share", **text)
figure.axes[0].set_xticks([1, 5, 10, 15, 20])
report.figure("identification", figure)

# %%
top_one, low, high = 100 * (ranks < 1).mean(), *(100 * band.loc[0, ["low", "high"]])
report.add(least_hits=top_one.min(), most_hits=top_one.max(), times_chance=top_one.min() / report["by_guessing"])
report.add(null_hits=100 * chance[0].mean(), null_low=low, null_high=high, null_score=np.mean(null_scores))
report.claim("exchanged pictures identify as often as guessing does", low <= report["by_guessing"] <= high)
report.claim("decoding identifies more often than exchanged pictures", top_one.min() > 100 * chance[0].max())
report.claim("centring helps to identify", (100 * (ranks_centred < 1).mean() > top_one).all())
report

# %% [markdown]
# *What to see:* at k = 1, the right image is the most similar one in {glue:text}`least_hits:.0f` to {glue:text}`most_hits:.0f` % of the cases, at least
# {glue:text}`times_chance:.0f` times as often as by guessing. With exchanged pictures it is {glue:text}`null_hits:.1f` % (95 % of the refits between
# {glue:text}`null_low:.1f` and {glue:text}`null_high:.1f` %; guessing gives {glue:text}`by_guessing:.1f` %). Fitted to exchanged pictures, decoders still reach
# a *correlation* of {glue:text}`null_score:.2f`: that score's starting point again. And centring helps to identify: a decoded embedding that is shrunk towards
# the mean resembles images close to the mean, whichever was seen. Does it matter where, and at how many pictures, we look?

# %%
vertices, rows = data.responses[first]["vertex"].values, {}
everywhere, n = data.rois.any(axis=1).rename("all regions"), len(shown)
looks = [(everywhere, n // 4), (everywhere, n // 2), (everywhere, n), *((data.rois[name], n) for name in data.rois)]
for region, size in looks:
    inside = np.isin(vertices, region.index[region])
    some = decoding.CaptionDecoder(device=device).fit(shown[:size, inside], goals[:size])
    guess = some.predict(answers[:, inside])
    rank, r = decoding.image_ranks(guess, truth, some.mean_), decoding.correlations(guess, truth, some.mean_)
    rows[region.name, size] = [inside.sum(), r.mean(), (rank < 1).mean(), np.median(rank)]
where = pd.DataFrame.from_dict(rows, "index", columns=["vertices", "r, centred", "top-1, centred", "median rank"])
where.index = pd.MultiIndex.from_tuples(where.index, names=["region", "images"])
where.round(2)

# %%
top = 100 * where["top-1, centred"]
alone = top.xs(n, level="images").drop("all regions")
report.add(worst_region=alone.idxmin(), worst_hits=alone.min(), best_region=alone.idxmax(), best_hits=alone.max())
report.add(quarter=n // 4, quarter_hits=top["all regions", n // 4], full_hits=top["all regions", n])
report.claim("fewer pictures to learn from decode less", report["quarter_hits"] < report["full_hits"])
report

# %% [markdown]
# *What to see:* the {glue:text}`worst_region` region alone identifies {glue:text}`worst_hits:.0f` %, the {glue:text}`best_region` region
# {glue:text}`best_hits:.0f` %. In virtual viewers early cortex responds to pixels, and what a picture looks like says a little about what it shows. From
# {glue:text}`quarter` images of training instead of all, the share falls from {glue:text}`full_hits:.0f` to {glue:text}`quarter_hits:.0f` %. Regions differ
# in size, though, and with noise independent between vertices more of them decode better: this is no map of meaning.
#
# ## What we have shown
#
# Where responses follow sentence embeddings, ridge regression reads them back; chance is where guessing puts it; scores start far above zero until what all
# captions share is taken out; and a single sentence is no upper bound. All of it is true by construction of these viewers. No sentence was read yet: [the
# next page](10_reading_captions_in_people) looks sentences up for real people, [the one after](10_writing_captions) asks what looking up can do.
#
# ## What the paper found
#
# {cite:t}`doerig2025` decoded MPNet embeddings from all of visual cortex of people who each saw thousands of photographs, by fractional ridge regression
# (their text: a penalty for each dimension; their code: one for all). They report that decoding comes close to the agreement between human captions. Their
# human ceiling is defined as ours; the published code, as we read it, keeps the last caption of each image alone. Ridge and centring differ.
#
# ## Exercises
#
# 1. Repeat the decoding with the signal of chapter 7 (`snr` 0.35). Where are the scores now, beside the human ceiling?
# 2. What is decoded here are means over all presentations of an image. How well does the same decoder do with a single one?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. Decoded embeddings come closer than a single caption does, and identification is nearly perfect. The "ceiling" is none: it is the score of one sentence.
# 2. Worse, as one presentation has more noise than a mean over several.
# :::

# %% tags=["hide-cell"]
strong = datasets.load_viewing("virtual", **viewers, snr=0.35, embeddings=embeddings, device=device)
strong = strong.mean_responses(first).astype("float32")
fitted = decoding.CaptionDecoder().fit(strong.sel(image=list(data.train_images(first))).values, goals)
once = data.responses[first].isel(repeat=0).sel(image=test)
guesses = {"as above": decoded[first], "strong": fitted.predict(strong.sel(image=test).values)}
guesses["once"] = decoders[first].predict(once)
rows = {"r": {name: decoding.correlations(guess, truth).mean() for name, guess in guesses.items()}}
rows["top-1"] = {name: (decoding.image_ranks(guess, truth) < 1).mean() for name, guess in guesses.items()}
report.claim("with a strong signal a decoder passes the human ceiling", rows["r"]["strong"] > report["human"])
report.claim("with a strong signal identification is nearly perfect", rows["top-1"]["strong"] > 0.95)
report.claim("single presentations decode worse", rows["r"]["once"] < rows["r"]["as above"])
pd.DataFrame(rows).assign(ceiling=report["human"]).round(2)
