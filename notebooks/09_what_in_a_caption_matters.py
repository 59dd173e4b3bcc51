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
# # What in a caption matters?
#
# {cite:t}`doerig2025` found that a language model's description of a scene's captions matches how visual cortex responds to the scene. But a caption holds
# many things: the objects that it names, their categories, what they do, and how all this hangs together. Would a list of words do as well? The
# study answered with *controls*: descriptions that keep one part of the caption and drop the rest. In this chapter we build these controls and put them to
# real and to virtual brains.
#
# :::{admonition} In this chapter
# **You will learn**
# what each control keeps and what it loses; how to compare two models on the same people and images, with a paired interval; how to
# read a result in which a simple model wins; and why a test for independent samples is the wrong one when all models were scored on the same
# people.
#
# **You need** dissimilarity matrices and the noise ceiling of chapter 7.
#
# **It takes** about 40 minutes to read, and two minutes to run on two cores once the captions are embedded (five more before).
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = "virtual"  # "virtual", "nsd" for your copy of that data set, or a folder of yours
dataset_options: dict = {}  # passed to datasets.load_viewing
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
light: str = "all-minilm-l6-v2"  # a lighter sentence model, to compare
batch_size: int = 100  # images whose pairs are compared at once
n_null: int = 20  # shuffles of the images of each person, for chance
n_boot: int = 300  # bootstrap draws of images (real data)
n_permutations: int = 1000  # permutations of images, for chance (real data)
n_simulated: int = 4000  # simulated studies of two tests
n_people: int = 8  # people in a simulated study
q: float = 0.05  # false discovery rate
seed: int = 0  # of word orders, batches, draws and shuffles
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
real_data: bool = True  # begin with the fMRI of four real people

# %% tags=["hide-input", "remove-stderr"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from myst_nb import glue
from scipy.spatial.distance import squareform
from scipy.stats import rankdata, ttest_ind, ttest_rel

from brainalign import datasets, plotting, rsa, stats
from brainalign.assets import AssetError
from brainalign.datasets.objects92 import model_rdms
from brainalign.features.captions import embed
from brainalign.similarity import compare_rdms, rdm

plotting.use_style()
_ = xr.set_options(display_expand_data=False, display_expand_attrs=False)
BLUE, ORANGE, GREEN, GRAY = (
    plotting.COLORS[name] for name in ("blue", "orange", "green", "gray")
)
NO_DATA = "(no data in this build)"
WHOLE = "whole captions"

# %% [markdown]
# ## Fourteen ways to say what is in a picture
#
# Take one caption, "A brown dog is sleeping quietly on a red sofa." This is what each control makes of it:
#
# | Control | What the model reads | Keeps | Loses |
# | --- | --- | --- | --- |
# | whole captions | A brown dog is sleeping quietly on a red sofa. | all of it | |
# | shuffled captions | red a sofa sleeping dog on is quietly A brown. | the words, together | their order |
# | light model | as whole captions, by a smaller model | all of it | what the larger model knows more |
# | all words | A, brown, dog, is, sleeping, ... each alone | the words | that they stand together |
# | nouns | dog, sofa | the things | what they do, how they are |
# | verbs | is, sleeping | the action | the things |
# | adjectives | brown, red | attributes | the things |
# | adverbs | quietly | manner | the rest |
# | prepositions | on | place relations, barely | the rest |
# | static words | all words, each a fixed vector | the words | what a network makes of a word |
# | category words | "animal dog furniture" as one text | labels, as language | all else |
# | categories, 0 or 1 | dog: 1, furniture: 1, person: 0, ... | labels | how labels are related |
# | caption length | 10 | how much there is to say | the rest |
#
# Whole captions are embedded by a sentence model ({term}`sentence embedding`) and averaged over the captions of an image. Single words are embedded one at a time by
# the same model, and the vectors are averaged. The {term}`static word vector` of a word is what the model looks up before it computes anything; the study
# used GloVe and fastText instead, which are large downloads. Labels as 0 and 1 are a {term}`multi-hot vector`. An image whose captions hold no word of the kind gets a
# stand-in ("something", or "is" for a verb), as in the study.
#
# `embed` builds them all. The fourteenth, on the real data only, needs no text: *animacy*, a 1 for each pair of which one is alive and the other is not.

# %%
words = ["nouns", "verbs", "adjectives", "adverbs", "prepositions"]
controls = {
    WHOLE: {"level": "sentence"},
    "shuffled captions": {"level": "shuffled", "seed": seed},
    "light model": {"level": "sentence", "model": light},
    "all words": {"level": "words"},
    **{kind: {"level": kind} for kind in words},
    "static words": {"level": "words", "model": f"{embeddings}@static"},
    "category words": {"level": "category"},
    "categories, 0 or 1": {"level": "multihot"},
    "caption length": {"level": "length"},
}
if light == embeddings:
    del controls["light model"]  # it would be whole captions again
color_of = dict.fromkeys(controls, ORANGE) | {"caption length": GRAY}
color_of |= dict.fromkeys([WHOLE, "shuffled captions", "light model"], BLUE)
color_of |= dict.fromkeys(["category words", "categories, 0 or 1", "animacy"], GREEN)


def describe(captions, categories, names):
    """Yield the name and the features of each control."""
    for name in names:
        options = {"model": embeddings, "device": device} | controls[name]
        yield name, embed(captions, categories=categories, **options)


def model_rdm(values, batches=slice(None)):
    """1 - r; if some image has a pattern without spread (one number, no label), distance."""
    has_spread = (np.ptp(values, axis=-1) > 0).all()
    return rdm(values[batches], "correlation" if has_spread else "euclidean")


def embedding_r(a, b):
    """Pearson r of the two embeddings of each image."""
    a, b = (x - x.mean(-1, keepdims=True) for x in (a, b))
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(-1) / lengths


# %% [markdown]
# ## Real people: 92 objects
#
# We begin with real brains: the fMRI of four people who looked at 92 pictures of isolated objects on grey {cite:p}`kriegeskorte2008`. Published are
# dissimilarities in inferior temporal cortex. As in chapter 7, everything is a {term}`representational dissimilarity matrix` (RDM): for each pair of images, how unlike the patterns are that they
# evoke, be it in a brain or in a model. Comparing the RDM of a model with that of a brain is {term}`representational similarity analysis` (RSA); a score here is
# their Spearman correlation.
#
# The labels of the images come with the data. We spell them out ("natObj" becomes "natural object"), so that a language model can read them, and leave out three sets without
# a theme. The captions, three an image, were written for this project from the images alone, by one writer, a multimodal language
# model, before any score was computed. COCO's captions are by five people each.

# %% tags=["remove-stderr"]
try:
    real = datasets.load_viewing("objects92") if real_data else None
except AssetError as error:
    real = None
    print("This section has no results: the data could not be had.")
    print(error)
if real is not None:
    spelled = {
        "inanim": "inanimate",
        "nonhumani": "nonhuman",
        "natObj": "natural object",
        "artiObj": "artificial object",
        "monkeyape": "monkey or ape",
    }
    labels = real.categories.drop(columns=["rand24", "rand48", "other48"])
    labels = labels.rename(columns=spelled)
    real_features = dict(describe(real.captions, labels, controls))
    real_models = {name: model_rdm(x.to_numpy()) for name, x in real_features.items()}
    real_models["animacy"] = model_rdms().sel(model="animacy").to_numpy()
    raw = embed(
        real.captions,
        embeddings,
        level="category",
        categories=real.categories,
        device=device,
    )
    people = real.rdms.mean("session")  # (subject, pair)

# %% [markdown]
# ### How different are the controls?
#
# Before any brain comes in: how far is each control from the whole caption? If two descriptions are nearly the same, no brain can tell them apart. We
# correlate each image's embedding with that of its whole captions, where both have the same dimensions, and each RDM with that of whole captions.

# %% tags=["hide-input"]
if real is not None:
    whole = real_features[WHOLE].to_numpy()
    rows = {}
    for name, x in real_features.items():
        row = dict.fromkeys(["embeddings (r)", "RDMs (Spearman)"], "")
        row["images without"] = x.attrs.get("empty", 0) or ""
        if x.shape == whole.shape and controls[name].get("model") is None:
            r = embedding_r(x.to_numpy(), whole)
            row["embeddings (r)"] = f"{r.mean():.2f} (s.d. {r.std():.2f})"
        alike = compare_rdms(real_models[name], real_models[WHOLE])
        row["RDMs (Spearman)"] = f"{alike:.2f}"
        rows[name] = row
    del rows[WHOLE]
pd.DataFrame(rows).T if real is not None else None

# %% tags=["remove-cell"]
names = [
    "shuffled_r",
    "shuffled_sd",
    "other_r",
    "shuffled_rdm",
    "static_rdm",
    "words_r",
]
names += ["words_rdm", "no_verb", "no_adverb", "n_images", "n_captions"]
values = [NO_DATA] * len(names)
if real is not None:
    r = embedding_r(real_features["shuffled captions"].to_numpy(), whole)
    values = [f"{r.mean():.2f}", f"{r.std():.2f}"]
    values.append(f"{1 - real_models[WHOLE].mean():.2f}")
    values.append(rows["shuffled captions"]["RDMs (Spearman)"])
    values.append(rows["static words"]["RDMs (Spearman)"])
    values.append(
        f"{embedding_r(real_features['all words'].to_numpy(), whole).mean():.2f}"
    )
    values.append(rows["all words"]["RDMs (Spearman)"])
    values += [real_features[kind].attrs["empty"] for kind in ("verbs", "adverbs")]
    values += [len(whole), len(real.captions)]
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# Shuffling the words leaves an image's embedding at r = {glue:text}`shuffled_r` (s.d. {glue:text}`shuffled_sd`) with the intact one; the study reports .91 (s.d. .03) for its own
# captions. For comparison, the whole captions of two *different* images correlate by {glue:text}`other_r` on average. So a shuffled caption is still clearly about the same
# picture, and its RDM correlates with the intact one by {glue:text}`shuffled_rdm`: **with this model word order cannot matter much, whatever the brain does.**
#
# Words embedded alone are further away (r = {glue:text}`words_r`; RDMs {glue:text}`words_rdm`). "Images without" counts those with a stand-in: {glue:text}`no_verb` of
# {glue:text}`n_images` images have no verb in any caption, {glue:text}`no_adverb` no adverb. All of these images look identical to that control, which lowers what it can
# reach. A low score of adverbs is partly a fact about captions, which hold few.
#
# ### Scores
#
# Each control is scored in each of the four people, and the scores are averaged. Three yardsticks go with it:
#
# - **The noise ceiling** ({term}`noise ceiling`): what the best model could reach, from how well each person's RDM matches that of the others {cite:p}`nili2014`.
# - **An interval over images**: images are drawn again with replacement ({term}`bootstrap`). The pairs of an RDM share images and are not independent, so that pairs must never be drawn.
# - **Chance**: the images of the brain's RDM are permuted, which keeps the RDM but breaks its match with the model.

# %%
if real is not None:
    scores = compare_rdms(np.stack(list(real_models.values())), people.to_numpy())
    scores = xr.DataArray(
        scores,
        {"model": list(real_models), "subject": people["subject"].values},
        ("model", "subject"),
    )
    ceiling = rsa.noise_ceiling(people, "spearman").mean("subject")
    boot = rsa.image_bootstrap(
        people, real_models, method="spearman", n_resamples=n_boot, seed=seed
    )

# %%
if real is not None:
    rng, n = np.random.default_rng(seed), len(real.image_names)
    ranks = rankdata(people, axis=1)  # Pearson's r of ranks is Spearman's
    model_ranks = rankdata(np.stack(list(real_models.values())), axis=1)
    place = squareform(np.arange(n * (n - 1) // 2))
    real_null = []
    for _ in range(n_permutations):
        order = rng.permutation(n)
        pairs = squareform(place[np.ix_(order, order)], checks=False)
        permuted = compare_rdms(model_ranks, ranks[:, pairs], "pearson")
        real_null.append(permuted.mean(1))
    real_p = stats.p_values(scores.mean("subject").values, np.array(real_null))
    beyond = pd.Series(stats.fdr(real_p, q)[0], index=list(real_models))

# %% [markdown]
# The question of this chapter is a *difference*: does the whole caption do better than the control? All models were scored on the same images and people, so we take
# differences first and then look at how they vary ({term}`paired test`): over draws of images, which are the same for all models, and over the four people.

# %%
if real is not None:
    gap = scores.sel(model=WHOLE) - scores
    gap_draws = boot["draws"].sel(model=WHOLE) - boot["draws"]
    gap_low, gap_high = (gap_draws.quantile(end, "resample") for end in (0.025, 0.975))
    signs = rsa.subject_tests(scores, test="permutation").pairs

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: mean score of each control with its interval over images, the four people as dots, the noise ceiling as a band and chance as marks. Right: whole captions less each control, with interval over images and the four people, around zero."}}
if real is not None:
    order = scores.mean("subject").sortby(scores.mean("subject"))["model"].values
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 4.8), sharey=True)
    left.axvspan(
        *ceiling.to_array().values, color=GRAY, alpha=0.25, lw=0, label="noise ceiling"
    )
    bound = pd.Series(np.quantile(real_null, 0.95, axis=0), index=list(real_models))
    for row, name in enumerate(order):
        at = boot.sel(model=name)
        style = {"color": color_of[name], "lw": 2}
        left.plot([at["low"], at["high"]], [row, row], **style)
        left.plot(at["score"], row, "o", color=color_of[name])
        left.plot(scores.sel(model=name), [row] * 4, "|", color="k", ms=5)
        left.plot(bound[name], row, "x", color="k", ms=4)
        if name != WHOLE:
            span = [gap_low.sel(model=name), gap_high.sel(model=name)]
            right.plot(span, [row, row], **style)
            right.plot(gap.sel(model=name).mean(), row, "o", color=color_of[name])
            right.plot(gap.sel(model=name), [row] * 4, "|", color="k", ms=5)
    left.plot([], [], "|k", label="each person")
    left.plot([], [], "xk", ms=4, label="chance (95 %)")
    left.axvline(0, color="k", ls="--", lw=0.8)
    left.set(xlabel="score (Spearman)", xlim=(None, 0.9))
    left.set_yticks(range(len(order)), order)
    left.legend(fontsize=8, loc="lower right")
    left.set_title("Score")
    right.axvline(0, color="k", ls="--", lw=0.8)
    right.set(xlabel="difference of scores")
    right.set_title("Whole captions less control")
    figure.suptitle(
        "Real fMRI (objects92), 4 people: mean and 95 % interval over images",
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    plt.show()

# %% tags=["hide-input"]
if real is not None:
    table = {}
    for name in order[::-1]:
        if name == WHOLE:
            continue
        over = gap.sel(model=name)
        pair = (WHOLE, name)
        low, high = float(gap_low.sel(model=name)), float(gap_high.sel(model=name))
        row = [f"{float(scores.sel(model=name).mean()):.2f}"]
        row += [f"{float(over.mean()):+.2f}", f"{low:+.2f} to {high:+.2f}"]
        row += [int((over > 0).sum()), f"{signs.loc[pair, 'p']:.3f}"]
        table[name] = row
    table = pd.DataFrame(table).T
    table.columns = [
        "score",
        "whole captions less this",
        "95 % over images",
        "people above 0",
        "p over people",
    ]
table if real is not None else None

# %% tags=["remove-cell"]
names = [
    "whole_score",
    "whole_interval",
    "whole_mean_rdm",
    "ceiling_low",
    "ceiling_high",
]
names += ["beaten", "undecided", "winners", "shuffled_gap", "shuffled_gap_interval"]
names += ["animacy_score", "category_score", "category_gap", "category_gap_interval"]
names += ["verdict_category", "verdict_nouns", "verdict_words", "verdict_shuffled"]
names += ["not_beyond", "raw_score", "least_sign_p", "animacy_gap", "animacy_people"]
values = [NO_DATA] * len(names)
if real is not None:
    others = [name for name in order[::-1] if name != WHOLE]
    better = [name for name in others if gap_low.sel(model=name) > 0]
    worse = [name for name in others if gap_high.sel(model=name) < 0]
    unclear = [name for name in others if name not in better + worse]
    at = boot.sel(model=WHOLE)
    values = [f"{float(at['score']):.2f}"]
    values.append(f"{float(at['low']):.2f} to {float(at['high']):.2f}")
    with_mean = compare_rdms(real_models[WHOLE], people.mean("subject").to_numpy())
    values.append(f"{with_mean:.2f}")
    values += [f"{float(ceiling[end]):.2f}" for end in ("lower", "upper")]
    values += ["; ".join(some) or "none" for some in (better, unclear, worse)]
    column = "whole captions less this"
    values += [table.loc["shuffled captions", c] for c in (column, "95 % over images")]
    values += [table.loc[name, "score"] for name in ("animacy", "category words")]
    values += [table.loc["category words", c] for c in (column, "95 % over images")]
    for name in ("category words", "nouns", "all words", "shuffled captions"):
        clear = "ahead of" if name in better else "behind" if name in worse else None
        values.append(clear or "not clearly different from")
    values.append("; ".join(beyond.index[~beyond]) or "none")
    values.append(
        f"{compare_rdms(model_rdm(raw.to_numpy()), people.to_numpy()).mean():.2f}"
    )
    values.append(f"{2 ** (1 - people.sizes['subject']):.3f}")
    values.append(table.loc["animacy", column])
    values.append(int((gap.sel(model="animacy") < 0).sum()))
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)

# %% [markdown]
# *What to see:* left, scores. Whole captions reach {glue:text}`whole_score` (95 % interval over images {glue:text}`whole_interval`), where the noise ceiling runs from {glue:text}`ceiling_low`
# to {glue:text}`ceiling_high`. (Against the mean RDM of all four people, which is less noisy, the same model has {glue:text}`whole_mean_rdm`; that number must not be held
# against this ceiling.) Not beyond chance, at a false discovery rate ({term}`false discovery rate`) of {glue:text}`q_percent` %: {glue:text}`not_beyond`.
#
# Right, the differences. By their intervals over images, which are not corrected for the number of controls,
#
# - whole captions beat: {glue:text}`beaten`;
# - the difference is unclear for: {glue:text}`undecided`;
# - whole captions are beaten by: {glue:text}`winners`.
#
# Between whole and shuffled captions the difference is {glue:text}`shuffled_gap` ({glue:text}`shuffled_gap_interval`), as small as one would think of two nearly equal
# RDMs (exercise 1 draws other orders). Category words score {glue:text}`category_score`; whole captions less that is {glue:text}`category_gap` ({glue:text}`category_gap_interval`). With the labels exactly as published they score {glue:text}`raw_score`. Animacy alone, a
# single yes or no, has {glue:text}`animacy_score`: whole captions less animacy is {glue:text}`animacy_gap`, and animacy is ahead in {glue:text}`animacy_people` of four people.
#
# **Four people are no population.** The last column flips the signs of the four differences in all possible ways; the smallest p that this can give is {glue:text}`least_sign_p`, so that it can
# never reach 0.05. What can be generalised here is over images, for these four people.
#
# ### Why categories can do so well here
#
# The study found captions far better than category words in all regions. What we see here is not that, but need not contradict it:
#
# - **The images.** These objects were picked *by category*: faces, bodies, animals, things. On grey, alone, doing nothing, they have little else for a caption to add. A photograph of a scene
#   holds several things, actions and relations, and two scenes with the same labels can differ in all of them.
# - **The labels.** They were drawn up by the authors of the data with inferior temporal cortex in mind, where alive or not is the best-known divide. COCO's 80 labels were not.
# - **The captions.** Sentences about an isolated object are close to its name. They also tell colour, posture and view, to which this cortex may not answer, and each
#   such detail moves the RDM.
#
# Can captions tell more than animacy does? *Within* the animate images, and within the inanimate ones, animacy is the same for all pairs and explains nothing.

# %%
if real is not None:
    alive = real.categories["animate"].to_numpy()
    first, second = np.triu_indices(n, 1)
    within = {}
    for group, members in {"animate": alive, "inanimate": ~alive}.items():
        pairs = members[first] & members[second]
        inside = {
            name: model[pairs]
            for name, model in real_models.items()
            if np.ptp(model[pairs]) > 1e-9  # animacy is not
        }
        within[group] = rsa.image_bootstrap(
            people[:, pairs], inside, method="spearman", n_resamples=n_boot, seed=seed
        )
        top = rsa.noise_ceiling(people[:, pairs], "spearman").mean("subject")
        within[group] = within[group].assign_attrs(
            ceiling=f"{float(top['lower']):.2f} to {float(top['upper']):.2f}"
        )

# %% tags=["hide-input"]
if real is not None:
    shown = [WHOLE, "shuffled captions", "all words", "nouns", "category words"]
    shown.append("categories, 0 or 1")
    table_within = {}
    for found in within.values():
        for name in shown:
            parts = found[["score", "low", "high"]].sel(model=name)
            at = {part: float(x) for part, x in parts.items()}
            table_within.setdefault(name, []).append(
                f"{at['score']:+.2f} ({at['low']:+.2f} to {at['high']:+.2f})"
            )
        table_within.setdefault("noise ceiling", []).append(found.attrs["ceiling"])
    table_within = pd.DataFrame(table_within, index=list(within)).T
table_within if real is not None else None

# %% tags=["remove-cell"]
names = ["within_gap_animate", "within_gap_inanimate"]
names += ["within_verdict_animate", "within_verdict_inanimate"]
names += ["within_people_animate", "within_people_inanimate"]
names += ["within_nouns_animate", "within_nouns_inanimate"]
values = [NO_DATA] * len(names)
if real is not None:
    texts, verdicts, ahead, nouns = [], [], [], []
    for members, found in zip((alive, ~alive), within.values(), strict=True):
        change = found.sel(model=WHOLE) - found.sel(model="category words")
        low, high = change["draws"].quantile([0.025, 0.975]).values
        texts.append(f"{float(change['score']):+.2f} ({low:+.2f} to {high:+.2f})")
        clear = "ahead of" if low > 0 else "behind" if high < 0 else None
        verdicts.append(clear or "not clearly different from")
        pairs = members[first] & members[second]
        two = [real_models[name][pairs] for name in (WHOLE, "category words")]
        own = compare_rdms(np.stack(two), people[:, pairs].to_numpy())
        ahead.append(int((own[0] > own[1]).sum()))
        change = found.sel(model=WHOLE) - found.sel(model="nouns")
        low, high = change["draws"].quantile([0.025, 0.975]).values
        nouns.append(f"{float(change['score']):+.2f} ({low:+.2f} to {high:+.2f})")
    values = texts + verdicts + ahead + nouns
for name, value in zip(names, values, strict=True):
    glue(name, value, display=False)
glue("q_percent", f"{100 * q:g}", display=False)
glue("n_boot", n_boot, display=False)

# %% [markdown]
# *What to see:* mean score over people and 95 % interval over images, from {glue:text}`n_boot` draws; a score of 0 is chance. With the great divide gone, labels have less to say: among the animate
# they still part faces from bodies and humans from animals, but among the inanimate only natural from artificial things.
#
# - Within the animate images whole captions are {glue:text}`within_verdict_animate` category words: the difference is {glue:text}`within_gap_animate`, with captions ahead in
#   {glue:text}`within_people_animate` of four people.
# - Within the inanimate images they are {glue:text}`within_verdict_inanimate` them: {glue:text}`within_gap_inanimate`, ahead in {glue:text}`within_people_inanimate` of four.
# - Whole captions less nouns is {glue:text}`within_nouns_animate` within the animate, and {glue:text}`within_nouns_inanimate` within the inanimate images.
#
# (These are four comparisons of many that one could make, and their intervals are not corrected.)
#
# In short, on these images whole captions are {glue:text}`verdict_category` category words, {glue:text}`verdict_nouns` nouns, {glue:text}`verdict_words` averages of all words,
# and {glue:text}`verdict_shuffled` the same words shuffled. The right images for the question are scenes.
#
# ## Virtual viewers: scenes
#
# The virtual viewers of chapter 7 look at rendered scenes, each with five captions, and we know what drives them. **By construction**, ventral, lateral and
# parietal vertices respond to the embeddings of *whole captions* of the very model we test, early ones to the pixels, and zones in all three
# in part to people, places or food. That whole captions win there is therefore no finding. The viewers can show whether the *method* puts the controls in the right order, and how sure it is.
#
# As in the study, images are compared in batches of {glue:text}`batch_size`, RDMs by Pearson's r, and batches are drawn once for all models and regions.

# %% tags=["hide-output"]
options = dict(dataset_options)
if dataset == "virtual":  # planted from the model that is tested
    options = {"embeddings": embeddings, "roi": "streams", **options}
data = datasets.load_viewing(dataset, **options)
data.require(people=2)
planted_here = data.truth is not None
data

# %% tags=["remove-stderr"]
names = list(controls)
if data.categories is None:
    names = [name for name in names if not name.startswith("categor")]
shown_to = {
    person: data.image_names.get_indexer(data.images_of(person))
    for person in data.people
}
batches = {
    person: rsa.image_batches(len(seen), min(batch_size, len(seen)), seed=seed)
    for person, seen in shown_to.items()
}
models = {person: {} for person in data.people}
intact, alike, empty = None, {}, {}
for name, x in describe(data.captions, data.categories, names):
    values = x.to_numpy()
    intact = values if intact is None else intact  # whole captions come first
    if values.shape == intact.shape and controls[name].get("model") is None:
        alike[name] = embedding_r(values, intact)
    empty[name] = x.attrs.get("empty", 0)
    of_people = {
        person: model_rdm(values[seen], batches[person])
        for person, seen in shown_to.items()
    }
    if all((np.ptp(rdms, axis=1) > 1e-9).all() for rdms in of_people.values()):
        for person, rdms in of_people.items():
            models[person][name] = rdms
    else:
        print(f"left out: {name}, the same for all images of some batch")
names = list(models[data.people[0]])
to_whole = {
    name: np.mean(
        [
            compare_rdms(one, other, "pearson")
            for person in data.people
            for one, other in zip(
                models[person][name], models[person][WHOLE], strict=True
            )
        ]
    )
    for name in names
}

# %% tags=["remove-cell"]
glue("batch_size", batch_size, display=False)
glue("scene_shuffled_r", f"{alike['shuffled captions'].mean():.2f}", display=False)
glue("scene_shuffled_sd", f"{alike['shuffled captions'].std():.2f}", display=False)
glue("scene_shuffled_rdm", f"{to_whole['shuffled captions']:.2f}", display=False)
glue("scene_no_adjective", empty["adjectives"], display=False)
glue("scene_no_adverb", empty["adverbs"], display=False)
glue("n_scenes", f"{len(data.image_names):,}", display=False)

# %% [markdown]
# Here the embeddings of shuffled captions have r = {glue:text}`scene_shuffled_r` (s.d. {glue:text}`scene_shuffled_sd`) with intact ones, and RDMs
# {glue:text}`scene_shuffled_rdm`. Of {glue:text}`n_scenes` scenes {glue:text}`scene_no_adjective` have no adjective in any caption, {glue:text}`scene_no_adverb` no adverb.
#
# For each person and region we now score each control, and divide by the person's noise ceiling: how well the RDM of the shared test images matches
# the mean of the others', as the study did. For chance we shuffle the images of each person {glue:text}`n_null` times.

# %%
streams = ("early", "ventral", "lateral", "parietal")
rois = [roi for roi in streams if roi in data.rois] or list(data.rois)[:4]
shape = (len(rois), len(names), len(data.people))
coords = {"roi": rois, "model": names, "subject": data.people}
score = xr.DataArray(np.empty(shape), coords, ("roi", "model", "subject"))
null = np.empty((n_null, *shape))
tested = {roi: [] for roi in rois}
rng = np.random.default_rng(seed)
for k, person in enumerate(data.people):
    mean = data.mean_responses(person)
    in_roi = data.rois.loc[mean["vertex"].to_numpy()]
    for i, roi in enumerate(rois):
        part = mean[:, in_roi[roi].to_numpy()]
        tested[roi].append(rdm(part.sel(image=list(data.test_images)).to_numpy()))
        part, given = part.to_numpy(), (models[person],)
        score[i, :, k] = rsa.score(part, *given, batches=batches[person])
        for draw in range(n_null):
            shuffled = part[rng.permutation(len(part))]
            null[draw, i, :, k] = rsa.score(shuffled, *given, batches=batches[person])

# %%
attainable = np.stack(
    [rsa.noise_ceiling(tested[roi], pooling="plain")["lower"] for roi in rois]
)
normal = score / attainable[:, None]
tests = {roi: rsa.subject_tests(normal.sel(roi=roi)) for roi in rois}
chance = np.quantile((null / attainable[:, None]).mean(-1), 0.95, axis=(0, 2))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four panels, one a region: score of each control as a share of the noise ceiling, mean over people with interval, each person as a mark, chance as a shaded band."}}
figure, axes = plt.subplots(1, len(rois), sharex=True, sharey=True, figsize=(9.2, 4.6))
rows = np.arange(len(names))[::-1]
for k, (axis, roi) in enumerate(zip(axes, rois, strict=True)):
    table = tests[roi].models.loc[names]
    axis.axvspan(0, chance[k], color=GRAY, alpha=0.3, lw=0, label="chance (95 %)")
    for row, name in zip(rows, names, strict=True):
        at, style = table.loc[name], {"color": color_of[name]}
        axis.plot([at["low"], at["high"]], [row, row], lw=2, **style)
        axis.plot(at["mean"], row, "o", ms=5, **style)
        own = normal.sel(roi=roi, model=name)
        axis.plot(own, [row] * len(own), "|", color="k", ms=5)
    axis.axvline(0, color="k", ls="--", lw=0.8)
    axis.set_title(roi)
axes[0].set_yticks(rows, names)
axes[0].plot([], [], "|k", label="each person")
figure.legend(
    *axes[0].get_legend_handles_labels(), ncol=2, loc="outside upper right", fontsize=8
)
figure.supxlabel("score (share of the noise ceiling)", fontsize=10)
figure.suptitle(
    f"{data.name.capitalize()}, {len(data.people)} people",
    fontweight="bold",
    x=0.01,
    ha="left",
)
plt.show()

# %% tags=["hide-input"]
versus = {}
for roi in rois:
    pairs = tests[roi].pairs.loc[WHOLE]
    starred = pairs["p_fdr"].le(q).map({True: " *", False: ""})
    versus[roi] = pairs["mean"].map("{:+.2f}".format) + starred
versus = pd.DataFrame(versus)
versus.rename_axis(index=None)

# %% tags=["remove-cell"]
higher = [roi for roi in rois if roi != "early"]
step = normal.sel(roi=higher, model=WHOLE) - normal.sel(
    roi=higher, model="shuffled captions"
)
glue("scene_shuffled_gap", f"{float(step.mean()):.2f}", display=False)
n_wins = {roi: int(versus[roi].str.match(r"\+.*\*").sum()) for roi in rois}
glue("n_null", n_null, display=False)
glue("chance_top", f"{chance.max():.3f}", display=False)
glue("n_controls", len(names) - 1, display=False)
glue("n_pairs", len(tests[rois[0]].pairs), display=False)
glue("wins", ", ".join(f"{roi} {n_wins[roi]}" for roi in rois), display=False)
first_place = [roi for roi in rois if tests[roi].models["mean"].idxmax() == WHOLE]
glue("first_in", ", ".join(first_place) or "no region", display=False)
early_top = "(no early region)"
if "early" in rois:
    early_top = float(normal.sel(roi="early").mean("subject").max())
    early_top = f"{early_top:.2f}"
glue("early_top", early_top, display=False)
not_starred = [
    f"{name} ({roi})"
    for roi in higher
    for name in versus.index
    if not versus.loc[name, roi].endswith("*")
]
glue("not_told", ", ".join(not_starred) or "none", display=False)

# %% [markdown]
# *What to see:* mean over people and 95 % interval (Student's t), as a share of the noise ceiling. Chance (95 % of shuffles) stays below {glue:text}`chance_top`, too little to be seen as a band. The table holds whole captions less each control; a star marks
# differences that hold at a false discovery rate of {glue:text}`q_percent` % over all {glue:text}`n_pairs` pairs of models in the region, by a paired t test over people.
#
# Whole captions come first in: {glue:text}`first_in`. They are significantly above so many of the {glue:text}`n_controls` controls: {glue:text}`wins`. Not told apart from them in
# regions beyond the early one: {glue:text}`not_told`. Shuffled captions come so close that the mean difference over these regions is {glue:text}`scene_shuffled_gap` of the ceiling; real data may be too noisy to show it.
#
# Look at the early region, too. Only pixels are planted there, and no control gets above {glue:text}`early_top` of the ceiling: pictures that are described alike also look
# alike to some degree. Yet {glue:text}`n_first_pairs` pairs of models differ there significantly. **That one model beats another does not make it the right one.** The ceiling says how much is left to explain.
#
# ### Is the order the one that was planted?
#
# If a region follows whole captions and nothing else, a control should score in proportion to how much its RDM has in common with that of whole captions. We can
# compute that from the captions alone, without a brain.

# %% tags=["hide-input"] mystnb={"image": {"alt": "One panel a region: score of each control against the correlation of its RDM with that of whole captions, with a line of proportion; points follow it beyond the early region."}}
expected = np.array([to_whole[name] for name in names])
figure, axes = plt.subplots(1, len(rois), sharex=True, sharey=True, figsize=(9.2, 3.0))
for axis, roi in zip(axes, rois, strict=True):
    table = tests[roi].models.loc[names]
    reach = (table["high"] - table["low"]) / 2
    for x, name in zip(expected, names, strict=True):
        at = table.loc[name]
        axis.errorbar(
            x, at["mean"], reach[name], fmt="o", ms=4, color=color_of[name], lw=1
        )
    axis.plot([0, 1], [0, table.loc[WHOLE, "mean"]], color="k", ls="--", lw=0.8)
    axis.axhline(0, color=GRAY, lw=0.8)
    axis.set_title(roi)
axes[0].set_ylabel("score (share of ceiling)")
figure.supxlabel("RDM of control with that of whole captions (Pearson r)", fontsize=10)
figure.suptitle(
    f"Controls and what was planted, {data.name}", fontweight="bold", x=0.01, ha="left"
)
plt.show()

# %% tags=["remove-cell"]
agreement, category_over = [], []
for roi in higher:
    means = tests[roi].models.loc[names, "mean"]
    agreement.append(f"{roi} {pd.Series(expected, names).corr(means, 'spearman'):.2f}")
    if "category words" in names:
        excess = means["category words"] - to_whole["category words"] * means[WHOLE]
        category_over.append(f"{roi} {excess:+.2f}")
glue("agreement", ", ".join(agreement), display=False)
glue("category_over", ", ".join(category_over) or "(no categories)", display=False)

# %% tags=["remove-cell"]
without = "(no zones planted)"
if planted_here and "category words" in names:
    off, bare = [], {roi: [] for roi in higher}
    for person in data.people:
        mean = data.mean_responses(person)
        here = data.truth.loc[mean["vertex"].to_numpy()]
        for roi in higher:
            keep = data.rois.loc[here.index, roi] & (here["zone"] == "")
            part = mean[:, keep.to_numpy()]
            bare[roi].append(rdm(part.sel(image=list(data.test_images)).to_numpy()))
            part, given = part.to_numpy(), (models[person],)
            found = rsa.score(part, *given, batches=batches[person])
            line = to_whole["category words"] * found.sel(model=WHOLE)
            off.append(float(found.sel(model="category words") - line))
    scale = [rsa.noise_ceiling(bare[r], pooling="plain")["lower"] for r in higher]
    scale = np.stack(scale).T.ravel()
    off = (np.array(off) / scale).reshape(len(data.people), -1).mean(0)
    without = ", ".join(f"{roi} {x:+.2f}" for roi, x in zip(higher, off, strict=True))
glue("category_without", without, display=False)

# %% [markdown]
# *What to see:* captions in blue, single words in orange, categories in green; bars are 95 % intervals over people, the dashed line is proportion. The rank correlation of expected and recovered order is
# {glue:text}`agreement`. Category words lie off the line by {glue:text}`category_over`. Zones for people, places and food were planted besides the captions, which lifts a control that
# knows them; with the vertices of zones left out, it is {glue:text}`category_without`. What remains shows that proportion is a rule of thumb: two controls can share the same amount with whole captions, and not the
# same part.
#
# The lesson for real data is sobering: **a control that loses tells us no more than that its RDM is less like the brain's.** Its distance from the winner is set by how different the two models are to begin
# with. Shuffled captions are close to whole ones in any brain, and adverbs lose whatever the brain does.
#
# ## Which test?
#
# The study compared models by t tests for *independent* samples, corrected over all pairs in a region, although all models were scored on the same eight people. Does
# that matter? People differ in how clean their data are, and this lifts or lowers all models together. A paired test takes the differences within people first, so that it drops out; a test
# for independent samples counts it as noise. The same pairs of models on these viewers, by both:

# %%
counts = {}
for roi in rois:
    pairs = tests[roi].pairs
    independent = [
        ttest_ind(*(normal.sel(roi=roi, model=name) for name in pair)).pvalue
        for pair in pairs.index
    ]
    both = [pairs["p_fdr"].to_numpy() <= q, stats.fdr(independent, q)[0]]
    common = np.corrcoef(normal.sel(roi=roi))[np.triu_indices(len(names), 1)]
    counts[roi] = [len(pairs), *(int(found.sum()) for found in both)]
    counts[roi] += [int((both[0] & ~both[1]).sum()), int((both[1] & ~both[0]).sum())]
    counts[roi].append(f"{np.median(common):.2f}")
counts = pd.DataFrame(counts).T
counts.columns = [
    "pairs",
    "paired",
    "independent",
    "only paired",
    "only independent",
    "median r over people",
]
counts

# %% [markdown]
# The last column says how much the scores of two models go up and down together over people, which is what pairing takes away. A
# paired test also has a price, half the degrees of freedom, which hurts with so few people. In the four real people above, the median correlation of two
# models' scores over people, among those beyond chance, is {glue:text}`real_common`.
#
# A simulation shows what follows. {glue:text}`n_simulated` studies of {glue:text}`n_people` people with two models each; the correlation of the models' scores over people varies. Either the models
# are equally good, or one is better by one standard deviation over people.

# %%
common_r = np.array([0, 0.3, 0.6, 0.8, 0.9, 0.95])
rng, rates = np.random.default_rng(seed), {}
for truly in (0, 1):
    found = []
    for r in common_r:
        shared, own = rng.standard_normal((2, n_people, n_simulated, 2))
        made = np.sqrt(r) * shared[..., :1] + np.sqrt(1 - r) * own
        one, two = made[..., 0] + truly, made[..., 1]
        found.append(
            [(t(one, two).pvalue < 0.05).mean() for t in (ttest_rel, ttest_ind)]
        )
    rates[truly] = 100 * np.array(found)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels over the correlation of scores over people. Left, equal models: the paired test stays at five percent, the independent one falls to zero. Right, different models: the paired test finds the difference ever more often, the independent one does not."}}
figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.2))
for axis, (truly, found) in zip(axes, rates.items(), strict=True):
    for label, color, rate in zip(
        ("paired", "independent"), (BLUE, ORANGE), found.T, strict=True
    ):
        reach = 1.96 * np.sqrt(rate * (100 - rate) / n_simulated)
        plotting.with_band(
            axis, common_r, rate, rate - reach, rate + reach, color=color, label=label
        )
    axis.axhline(5, color="k", ls="--", lw=0.8)
    axis.set(
        xlabel="correlation of scores over people", ylabel="p < 0.05 (% of studies)"
    )
    axis.set_title("One model is better" if truly else "Models are equal")
axes[0].set_ylim(0, 10)
axes[0].text(0, 5.2, "nominal", fontsize=8)
axes[1].set_ylim(0, 102)
axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(0, 0.6))
figure.suptitle(
    f"Simulation, {n_people} people a study", fontweight="bold", x=0.01, ha="left"
)
plt.show()

# %% tags=["remove-cell"]
real_common = NO_DATA
if real is not None:
    kept = scores.sel(model=beyond.index[beyond].to_numpy())
    pairs = np.triu_indices(kept.sizes["model"], 1)
    real_common = f"{np.median(np.corrcoef(kept)[pairs]):.2f}"
glue("real_common", real_common, display=False)
glue("n_simulated", f"{n_simulated:,}", display=False)
glue("n_people", n_people, display=False)
at = int(np.argmin(np.abs(common_r - 0.9)))
for kind, k in (("paired", 0), ("independent", 1)):
    glue(f"false_{kind}", f"{rates[0][at, k]:.1f}", display=False)
    glue(f"power_{kind}", f"{rates[1][at, k]:.0f}", display=False)
glue("power_paired_none", f"{rates[1][0, 0]:.0f}", display=False)
glue("power_independent_none", f"{rates[1][0, 1]:.0f}", display=False)
glue("n_paired", int(counts["paired"].sum()), display=False)
glue("n_only_paired", int(counts["only paired"].sum()), display=False)
glue("n_only_independent", int(counts["only independent"].sum()), display=False)
glue("n_first_pairs", int(counts["paired"].iloc[0]), display=False)
glue("n_independent", int(counts["independent"].sum()), display=False)

# %% [markdown]
# *What to see:* bands are 95 % intervals of the simulation. At a correlation of 0.9, the independent test calls {glue:text}`false_independent` % of equal models different where 5 % are
# allowed, and finds {glue:text}`power_independent` % of real differences; the paired test {glue:text}`false_paired` % and {glue:text}`power_paired` %. Without any correlation they
# find {glue:text}`power_paired_none` % (paired) and {glue:text}`power_independent_none` % (independent).
#
# Where two models' scores go up and down together, the independent test is thus too cautious for a single comparison: **a difference that it misses may be real.** That
# matters where a conclusion rests on *no* difference, such as that sentence models do not differ from each other. It is no mere subset of the paired test, though: on the viewers above, the paired test finds {glue:text}`n_paired` pairs
# over all regions and the independent one {glue:text}`n_independent`, of which {glue:text}`n_only_independent` are not among the former; and {glue:text}`n_only_paired` are found by the paired test alone. How the scores of the study's people go together is not known.
#
# ## Exercises
#
# 1. Shuffle the captions of the 92 objects with other seeds. Does the score of shuffled captions depend on the order that was drawn?
# 2. Use one caption an image instead of the mean of all. What does averaging captions buy?
# 3. Longer captions may go with richer pictures. Does the score of whole captions survive when caption length is held constant (a partial correlation)?
#
# :::{admonition} Solution 1
# :class: dropdown
# The spread over seeds is the yardstick for the difference between whole and shuffled captions: one shuffle is one draw.
# :::

# %% tags=["hide-cell", "remove-stderr"]
if real is not None:
    print(f"whole captions        {float(scores.sel(model=WHOLE).mean()):.3f}")
    for other_seed in range(seed + 1, seed + 4):
        again = embed(
            real.captions, embeddings, level="shuffled", seed=other_seed, device=device
        )
        found = compare_rdms(model_rdm(again.to_numpy()), people.to_numpy()).mean()
        r = embedding_r(again.to_numpy(), whole).mean()
        print(f"shuffled, seed {other_seed}      {found:.3f}, embeddings r = {r:.2f}")

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# Each caption leaves something out and words the rest in its own way. The mean keeps what the captions agree on. With more writers there would be more to average out.
# :::

# %% tags=["hide-cell", "remove-stderr"]
if real is not None:
    single = embed(real.captions["caption"].tolist(), embeddings, device=device)
    number = real.captions.groupby("image").cumcount()
    for k in range(number.max() + 1):
        values = single.to_numpy()[(number == k).to_numpy()]
        found = compare_rdms(model_rdm(values), people.to_numpy()).mean()
        print(f"caption {k + 1} alone  {found:.3f}")
    print(f"mean of all      {float(scores.sel(model=WHOLE).mean()):.3f}")

# %% [markdown]
# :::{admonition} Solution 3
# :class: dropdown
# The partial correlation takes from the model's and the brain's ranks what the ranks of length explain, and correlates the rest. Length has little in common with whole
# captions' RDM, so that little changes.
# :::

# %% tags=["hide-cell"]
if real is not None:
    with_length = compare_rdms(real_models["caption length"], people.to_numpy())
    between = compare_rdms(real_models[WHOLE], real_models["caption length"])
    plain = scores.sel(model=WHOLE).to_numpy()
    partial = (plain - between * with_length) / np.sqrt(
        (1 - between**2) * (1 - with_length**2)
    )
    print(f"whole captions with length (RDMs) {between:.3f}")
    print(f"score {plain.mean():.3f}, with length held constant {partial.mean():.3f}")

# %% [markdown]
# ## Run it on your own data
#
# The question belongs to the Natural Scenes Dataset, which is free for those who accept its terms. With a copy of it, and its folder filled in in the profile
# `book/profiles/nsd.yml`, the same notebook runs on real people who saw photographs:
#
# ```bash
# papermill notebooks/09_what_in_a_caption_matters.ipynb my_controls.ipynb \
#   -p dataset nsd -y "dataset_options: {root: nsd, space: fsaverage5, categories: true}"
# ```
#
# ## What the papers found
#
# {cite:t}`doerig2025` report, for eight people and thousands of scenes, that whole captions match visual cortex better than category vectors, category words, and averages of single
# words in all regions, and better than nouns or verbs everywhere but for nouns in early visual cortex; that adjectives, adverbs and prepositions match very little; that sentence models do not differ
# significantly; and that shuffled captions have embeddings so close to intact ones that word order matters little. Their
# tests were for independent samples.
#
# Here, on four people and single objects, whole captions are {glue:text}`verdict_category` curated category words, {glue:text}`verdict_nouns` nouns, and
# {glue:text}`verdict_shuffled` shuffled captions. The viewers show that the method recovers an order that is there, and they say nothing about people. That sentences matter beyond their words and
# labels is a claim about scenes, which these open data cannot test.
