# %% [markdown]
# # Do better models converge?
#
# Two language models may come from different teams, texts and architectures. If there is one good way to describe language, then the better they get, the more
# alike their descriptions should become. {cite:t}`mischler2024` report just that for twelve models, and that the better ones share their hierarchy with the
# brain. To ask it we have to compare descriptions that have different axes, different widths, and no parts in common.
#
# :::{admonition} In this chapter
# **You will learn**
# how centred kernel alignment (CKA) and Procrustes analysis compare two sets of features; why both see similarity in pure noise when words are few; how one
# large feature, or a few odd words, can rule a comparison; and how to test whether high performers are more alike than low ones with *models*, not pairs of
# models, as the samples.
#
# **You need** the layers of [chapter 2](02_layer_alignment), and the damaged models of [chapter 3](03_better_models). Brains follow on the next two pages.
#
# **It takes** about 20 minutes to read, and two minutes to run on two cores once the features are computed.
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = "virtual-clean"  # whose words are described: a data set or a folder
base: str = "smollm2-135m"  # the intact model: an asset, a folder or a hub name
family: list = []  # models of graded performance, the base among them; empty: the base and its damages
outsiders: list = ["all-minilm-l6-v2", "all-mpnet-base-v2"]  # bidirectional models
outsider_context: int = 16  # words that a bidirectional model sees, the word included
n_depths: int = 9  # layers of each model, evenly spaced
n_stretches: int = 10  # stretches of text: minibatches of CKA, and intervals
n_permutations: int = 9999  # of the models' performances
seed: int = 0  # of draws of words and permutations
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/04_converging_models"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
from scipy.stats import PermutationMethod, pearsonr, rankdata, ttest_ind

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.features.language import layer_features, n_layers, surprisal
from brainalign.features.lesions import graded_family
from brainalign.rsa import cka_matrix, cka_models, convergence, linear_cka, procrustes, standardize

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## When are two descriptions alike?
#
# Take two layers of SmolLM2, half and three quarters of the way up. Each describes every word of the speech by a list of numbers, but feature 17 of one layer
# has nothing to do with feature 17 of the other. What can be compared is the *geometry*: which words are close to each other, and which are far apart. A
# rotation of all features leaves it as it is, so a measure of similarity should not care about rotations either {cite:p}`kornblith2019`.
#
# **CKA** ({term}`centred kernel alignment`) compares inner products. For $n$ words, let $K_{ij}$ be the inner product of words $i$ and $j$ in one layer (its
# {term}`Gram matrix`) and $L_{ij}$ that in the other, each from features whose mean over words was subtracted. With HSIC, the {term}`Hilbert-Schmidt
# independence criterion`, a measure of dependence,
#
# $$\mathrm{CKA} = \frac{\mathrm{HSIC}(K, L)}{\sqrt{\mathrm{HSIC}(K, K)\,\mathrm{HSIC}(L, L)}}, \qquad
# \mathrm{HSIC}(K, L) = \frac{1}{(n-1)^2} \sum_{ij} K_{ij} L_{ij},$$
#
# a kind of correlation between the two matrices. It is 1 if one layer is a rotated and scaled copy of the other.
#
# **Procrustes** rotates one layer onto the other as well as it goes and asks what is left ({term}`Procrustes similarity`). With both layers centred and scaled
# to a Frobenius norm (the root of the sum of all squares) of 1, and $d$ the remaining distance, we use $1 - d^2/2$ {cite:p}`ding2021`, whose arccosine is the
# angular distance of {cite:t}`williams2021`; it is 1 for rotated copies as well.
#
# ### Both see similarity in noise
#
# What do they say of two layers whose words are *shuffled* against each other, so that nothing is shared? We try with few and many words, three draws each:


# %%
words = datasets.load_listening(dataset).words
middle = [n_layers(base) // 2, 3 * n_layers(base) // 4]
first, second = layer_features(words, base, layers=middle, start_token=True, device=device).values
rng, rows = np.random.default_rng(seed), []
for n in np.repeat([25, 50, 100, 200, 400, 800, 1600], 3):
    chosen = rng.permutation(len(words))[:n]
    for kind, order in {"same words": chosen, "shuffled": rng.permutation(chosen)}.items():
        x, y = first[chosen], second[order]
        values = {
            "CKA": linear_cka(x, y, debiased=False),
            "Procrustes": procrustes(x, y),
            "debiased CKA": linear_cka(x, y),
        }
        rows += [(n, kind, measure, value) for measure, value in values.items()]
draws = pd.DataFrame(rows, columns=["n", "words", "measure", "similarity"])
by_size = draws.groupby(["measure", "words", "n"])["similarity"].agg(["mean", "min", "max"])

few, many = (by_size.xs(("shuffled", n), level=("words", "n"))["mean"] for n in (25, 1600))
report.add(plain_few=few["CKA"], procrustes_few=few["Procrustes"], debiased_few=few["debiased CKA"])
report.add(plain_many=many["CKA"], procrustes_many=many["Procrustes"], debiased_many=many["debiased CKA"])
report.claim("plain CKA and Procrustes are high for few shuffled words", min(few["CKA"], few["Procrustes"]) > 0.5)
report.claim("debiased CKA is near zero for shuffled words", max(abs(x["debiased CKA"]) for x in (few, many)) < 0.05)
report

# %% mystnb={"image": {"alt": "Similarity of two layers against the number of words, from 25 to 1600, in three panels: plain CKA, Procrustes and debiased CKA, each with a line for the same words and one for shuffled words."}}
drawn = by_size.reset_index().rename(columns={"min": "low", "max": "high"}).astype({"n": str})
text = {"xlabel": "words", "ylabel": "similarity", "title": f"Layers {middle[0]} and {middle[1]} of {base}, {dataset}"}
report.figure("noise", plotting.lines(drawn, "n", "mean", hue="words", col="measure", levels={"zero": 0}, **text))

# %% [markdown]
# *What to see:* mean and range of the draws; a layer has {glue:text}`n_features` features. With 25 *shuffled* words the plain CKA of {cite:t}`kornblith2019` is
# {glue:text}`plain_few:.2f` and Procrustes {glue:text}`procrustes_few:.2f`: with fewer words than features, almost anything can be rotated almost onto anything.
# Even with 1600 words Procrustes says {glue:text}`procrustes_many:.2f` where nothing is shared.
#
# The remedy for CKA is an unbiased estimate of HSIC {cite:p}`song2012`. The plain sum contains each word's product with itself, which is large in both layers
# whatever they hold; the unbiased one leaves it out and corrects the means accordingly. Shuffled words then give {glue:text}`debiased_few:.3f` with 25 words and
# {glue:text}`debiased_many:.3f` with 1600: **on average debiased CKA is zero for unrelated descriptions, whatever the number of words** (and may fall below zero
# by chance). Procrustes similarity knows no such remedy; we show it beside its value for shuffled words.
#
# Since each HSIC is unbiased for any number of words, it can be computed in {term}`minibatches <minibatch>` and averaged {cite:p}`nguyen2021`. From here on, "CKA"
# means debiased CKA, and a minibatch is a *stretch*: one of {glue:text}`n_stretches`, some {glue:text}`batch_size` words in a row each. How much would the result
# vary with other text? Leave out one stretch at a time ({term}`jackknife`); words are no independent samples, long stretches nearly are.
#
# ### One feature can rule
#
# CKA and Procrustes forgive rotations, but not everything: multiply one feature by a hundred, and it alone decides which words are close. In language models a few
# features vary far more than all others {cite:p}`timkey2021`. Here is the largest one's share of each layer's variance:


# %%
depths, batch_size = np.linspace(0, 1, n_depths), -(-len(words) // n_stretches)
layers = np.round(depths * n_layers(base)).astype(int)
own = layer_features(words, base, layers=np.unique(layers), start_token=True, device=device)
variance = own.var("word")
largest = (variance.max("feature") / variance.sum("feature")).to_series()
largest.rename("largest feature's share").round(3).to_frame().T

# %%
stacks = {"raw": own, "standardized": standardize(own)}
alike = {name: cka_matrix(list(stack.values), batch_size=batch_size).values for name, stack in stacks.items()}
off = ~np.eye(len(own), dtype=bool)
ruled = int(largest.iloc[1:].idxmax())
report.add(n_features=own.sizes["feature"], n_stretches=n_stretches, batch_size=batch_size)
report.add(ruled_layer=ruled, ruled_share=100 * largest[ruled], even_share=100 / own.sizes["feature"])
report.add(raw_low=alike["raw"][off].min(), raw_high=alike["raw"][off].max())
report.add(scaled_near=np.diag(alike["standardized"], 1).mean(), scaled_far=alike["standardized"][0, -1])
report.claim("in one layer a single feature has most of the variance", largest[ruled] > 0.5)
report

# %% mystnb={"image": {"alt": "Two heat maps of CKA between nine layers of one model: from raw features, and from features that were standardised."}}
shown = {name: pd.DataFrame(matrix, largest.index, largest.index) for name, matrix in alike.items()}
text = {"label": "CKA (chance: 0)", "xlabel": "layer", "ylabel": "layer", "title": f"Layers of {base}, {dataset}"}
report.figure("one_feature", plotting.heatmaps(shown, **text))

# %% [markdown]
# *What to see:* an even share would be {glue:text}`even_share:.1f` %; in layer {glue:text}`ruled_layer` a single feature has {glue:text}`ruled_share:.0f` %. Left,
# raw features: layers that share such a feature look the same, and unlike all others, which says how *that feature* behaves and nothing about the rest. Off the
# diagonal, CKA runs from {glue:text}`raw_low:.2f` to {glue:text}`raw_high:.2f`. Right, after each feature is brought to a standard deviation of 1: a smooth
# picture in which neighbouring depths are alike ({glue:text}`scaled_near:.2f` on average) and the first and the last layer little
# ({glue:text}`scaled_far:.2f`). From here on we standardize all features. This is a choice, not a truth: another rotation would give other features.
#
# ## A family of seven, and two outsiders
#
# To ask whether *better* models are more alike we need models of different quality. As in the previous chapter, we take one model and damage it in several ways
# and degrees: coarse weights, blocks left out, a short attention span, noise on its weights ({term}`graded family`). Performance is {term}`surprisal`: the mean
# number of bits by which each word surprises the model; the fewer the better. Beside them stand two {term}`outsiders <outsider>`, trained independently of
# SmolLM2 and not to predict next words: MiniLM {cite:p}`wang2020` and MPNet {cite:p}`song2020`, made to embed sentences {cite:p}`reimers2019`. They are
# *bidirectional* ({term}`bidirectional model`): they see the words after a word, too. To keep those out, they get {glue:text}`outsider_context` words up to and
# including each word.


# %%
specs = list(family or graded_family(base))
bits = {spec: float(surprisal(words, spec, start_token=True, device=device).mean()) for spec in specs}
specs.sort(key=bits.get)
models, features = [*specs, *outsiders], {}
for spec in models:
    layers = np.round(depths * n_layers(spec)).astype(int)
    context = outsider_context if spec in outsiders else None
    own = layer_features(words, spec, context=context, layers=np.unique(layers), start_token=True, device=device)
    features[spec] = standardize(own).sel(layer=layers).values

# %% [markdown]
# `cka_models` takes all layers of all models at once and makes one number for each pair of models: the mean CKA of layers at matched depths. A first use: how like
# the intact model is each model still, at three depths? Procrustes says the same in its own way, beside its value for shuffled words.

# %%
thirds = np.linspace(0, n_depths - 1, 4).round().astype(int)[1:]
third = cka_models({m: features[m][thirds] for m in models}, batch_size=batch_size).estimate.sel(model=base)
order, intact = np.random.default_rng(seed).permutation(len(words)), features[base]
table = pd.DataFrame({"bits per word": bits, "CKA": third}, models)
table["Procrustes"] = [np.mean([procrustes(intact[k], features[m][k]) for k in thirds]) for m in models]
table["Procrustes, shuffled"] = [procrustes(intact[-1], features[m][-1][order]) for m in models]
squares = [np.sort((features[m][n_depths // 2] ** 2).sum(1))[::-1] for m in models]
table["% of squares in 1 % of words"] = [float(100 * one[: len(one) // 100].sum() / one.sum()) for one in squares]
label = {spec: "intact" if spec == base else spec.removeprefix(f"{base}@").removeprefix("all-") for spec in models}
table.rename(label).round(2)

# %%
rank, floor = table.loc[specs].drop(base).corr("spearman").loc["CKA", "Procrustes"], table["Procrustes, shuffled"]
report.add(outsider_context=outsider_context, best_bits=bits[specs[0]], worst_bits=bits[specs[-1]])
report.add(measures_agree=rank, floor_low=floor.min(), floor_high=floor.max())
sinks = table.iloc[:, -1]
report.add(sink_share=sinks.max(), sink_intact=sinks[base])
report.claim("CKA and Procrustes order the damaged models alike", rank >= 0.8)
report.claim("with a span of 24 tokens a few words rule", sinks.idxmax() == f"{base}@span=24" and sinks.max() > 20)
report

# %% [markdown]
# The family spans {glue:text}`best_bits:.1f` to {glue:text}`worst_bits:.1f` bits per word. Both measures put the damaged models in much the same order (rank
# correlation {glue:text}`measures_agree:.2f`), but on other scales: chance for Procrustes lies between {glue:text}`floor_low:.2f` and {glue:text}`floor_high:.2f`
# and differs from model to model, so that a value without its chance level says little.
#
# The last column shows another way to mislead. Standardising features does not help against single *words*: once the text's first token is out of reach of a short
# attention span, the model finds new places to rest its attention, and a few words become sinks ({term}`attention sink`), which rule the comparison as single
# features did before. One word in a hundred has {glue:text}`sink_share:.0f` % of the squares of a middle layer where the span is 24 tokens,
# {glue:text}`sink_intact:.0f` % in the intact model.
#
# ## Are high performers more alike?
#
# Convergence is a statement about *pairs* of models: the better two models are, the more alike. **By construction the answer must be yes here:** all these are
# *one* model under damage, and the less damaged two of them are, the closer both are to their common origin. Nobody converged on anything. We use the family to
# see how the test behaves.
#
# For one number per pair we average CKA over matched depths, without the input embedding, which the family shares. Two statistics then say whether similarity
# grows with performance: the mean similarity among the better half of the models less that among the worse half (of seven, the middle one is in neither), and the
# rank correlation ({term}`Spearman <Spearman correlation>`) of a pair's similarity with its mean performance (a {term}`Mantel test`, {cite:t}`mantel1967`).
#
# Their p-values must not take pairs for independent samples: each model is in many pairs, and one odd model bends them all. `convergence` exchanges the performances
# of whole *models* instead: if performance had nothing to do with similarity, it would not matter who is called good. The p-values are one-sided. We also ask with
# each layer's best match in the other model, averaged both ways, and without the intact model.

# %%
inner = {spec: layers[1:] for spec, layers in features.items()}
(alike, without), best = (cka_models(inner, match=match, batch_size=batch_size) for match in ("depth", "best"))
closest, performance = best.estimate.sel(model=specs, other=specs).values, -np.array([bits[spec] for spec in specs])
alike, without = (part.sel(model=specs, other=specs).values for part in (alike, without))
size, others = len(specs), [k for k, spec in enumerate(specs) if spec != base]
ask = {"n_permutations": n_permutations, "seed": seed}
tests = {"matched depth": convergence(alike, performance, **ask)}
tests["best match"] = convergence((closest + closest.T) / 2, performance, **ask)
tests["without the intact model"] = convergence(alike[np.ix_(others, others)], performance[others], **ask)
pd.DataFrame(tests, tests["matched depth"]._fields).round(3)

# %%
tested, pairs = tests["matched depth"], np.triu_indices(size, 1)
moved = [convergence(part, performance, n_permutations=1).difference for part in without]
report.add(difference=stats.Estimate(*stats.jackknife_interval(tested.difference, moved)), n_pairs=len(pairs[0]))
p_values = {"p_difference": tested.difference_pvalue, "p_correlation": tested.correlation_pvalue}
report.add(correlation=tested.correlation, n_models=size, p_best=tests["best match"].difference_pvalue, **p_values)
with_short = np.array(["span" in specs[i] + specs[j] for i, j in zip(*pairs, strict=True)])
report.add(span_cka=alike[pairs][with_short].mean(), other_cka=alike[pairs][~with_short].mean())
report.claim("better models are more alike", tested.difference > 0 and tested.correlation > 0)
report.claim("with seven models even a built-in effect is not beyond chance", min(p_values.values()) > 0.05)
report

# %% mystnb={"image": {"alt": "CKA of each pair of models against the mean surprisal of the pair; pairs with a model of short attention span in another colour."}}
kind = np.where(with_short, "one of a short attention span", "other pairs")
drawn = pd.DataFrame({"bits": -(performance[pairs[0]] + performance[pairs[1]]) / 2, "cka": alike[pairs], "pair": kind})
text = {"xlabel": "mean bits per word", "ylabel": "CKA, matched depth", "title": f"Pairs of models, {dataset}"}
report.figure("pairs", plotting.points(drawn, "bits", "cka", hue="pair", levels={"chance": 0}, **text))

# %% [markdown]
# *What to see:* better models are more alike, by {glue:text}`difference` between the halves (the interval is over stretches of text), and the rank correlation is
# {glue:text}`correlation:.2f`. But with {glue:text}`n_models` models as the samples not even this effect, which we built in, is beyond chance
# (p = {glue:text}`p_difference:.2f` and {glue:text}`p_correlation:.2f`). Three and three can be exchanged in only 20 ways (best matches give the smallest p there is,
# {glue:text}`p_best:.2f`), and similarity depends on the kind of damage as well: pairs with a short attention span reach {glue:text}`span_cka:.2f` on average, others
# {glue:text}`other_cka:.2f`, and weight noise is the same noise at every strength. A t-test on the {glue:text}`n_pairs` pairs rejects far too often (see the
# exercise). The claim of the study needs more models, *trained independently*, and even those share much of their text.
#
# ## What the outsiders say
#
# MiniLM and MPNet are the only models here that were trained apart from SmolLM2 (not from each other: both were trained further on the same pairs of sentences).
# If damage took a model away from something that any model of language must find, the outsiders should be closer to the intact model than to its damaged
# relatives; that is not so by construction. Depths of such different models do not correspond, so we take best matches, for each layer of the outsider.


# %%
near, near_without = (part.sel(model=outsiders, other=specs) for part in best)
gap, gap_without = (part.sel(other=base) - part.drop_sel(other=base).mean("other") for part in (near, near_without))
gaps = stats.Estimate(*stats.jackknife_interval(gap, gap_without))
exact = PermutationMethod(n_resamples=n_permutations, rng=np.random.default_rng(seed))
order = [pearsonr(rankdata(performance), rankdata(row), alternative="greater", method=exact) for row in near.values]
home = near.sel(other=base).values
report.add(home_first=home[0], home_second=home[1], gap_first=gaps[0], gap_second=gaps[1])
report.claim("both outsiders are nearer to the intact model than, on average, to damaged ones", gaps.low.min() > 0)
columns = {"damaged models nearer than the intact one": (near > near.sel(other=base)).sum("other")}
columns |= {"rank correlation with performance": [t.statistic for t in order], "p": [t.pvalue for t in order]}
pd.DataFrame(columns, outsiders).rename(label).round(4)

# %% mystnb={"image": {"alt": "CKA of each of the two outsiders with every member of the family, with intervals over stretches of text, against the member's surprisal."}}
drawn = near.to_dataframe("cka").reset_index()
_, drawn["low"], drawn["high"] = (part.ravel() for part in stats.jackknife_interval(near, near_without))
drawn = drawn.assign(bits=drawn["other"].map(bits), model=drawn["model"].map(label))
text = {
    "xlabel": "surprisal of the member (bits per word)",
    "ylabel": "CKA, best match",
    "title": f"Two outsiders, {dataset}",
}
report.figure("outsiders", plotting.points(drawn, "bits", "cka", hue="model", **text))

# %% [markdown]
# *What to see:* each point compares one outsider with one member of the family (95 % intervals over stretches of text). With the intact model the two are alike by
# {glue:text}`home_first:.2f` and {glue:text}`home_second:.2f`; of that, damage takes away {glue:text}`gap_first` and {glue:text}`gap_second`. That a *broken* model
# resembles others less is a far weaker statement than that *better* models converge: it would follow if damage did no more than add noise. Two outsiders, alike in
# training, are a sample of one or two. That models of growing quality approach a common description has been argued from many independent ones {cite:p}`huh2024`.
#
# ## Exercise
#
# Take the pairs of models for independent samples: compare those among the better half with those among the worse half by a t-test. How often does it reject when
# performances are shuffled over models, at a nominal 5 %?
#
# :::{admonition} Solution
# :class: dropdown
# One model that is unlike all others pulls down all pairs that it is in, and the t-test counts each as new evidence. The permutation of models keeps its rate.
# :::

# %% tags=["hide-cell"]
rng, alarms, half = np.random.default_rng(seed), [], np.triu_indices(size // 2, 1)
for _ in range(200):
    shuffled = rng.permutation(size)
    low, high = (alike[np.ix_(some, some)][half] for some in (shuffled[: size // 2], shuffled[-(size // 2) :]))
    proper = convergence(alike, np.argsort(shuffled), n_permutations=199)
    alarms.append((ttest_ind(high, low, alternative="greater").pvalue <= 0.05, proper.difference_pvalue <= 0.05))
pd.Series(100 * np.mean(alarms, axis=0), ["t-test on pairs", "permutation of models"], name="rejects (%)").to_frame()

# %% [markdown]
# ## Run it on your own models
#
# The test becomes a claim when the models were trained independently. Name your own, best ten or more of them (eight can be halved in 70 ways, four in six):
#
# ```bash
# papermill notebooks/04_converging_models.ipynb mine.ipynb -p base EleutherAI/pythia-410m -p results my_results \
#   -y "family: [EleutherAI/pythia-410m, EleutherAI/pythia-160m, facebook/opt-350m, facebook/opt-125m, gpt2, gpt2-medium]"
# ```
#
# ## What the paper found
#
# {cite:t}`mischler2024` report that high-performing models share their processing hierarchy, with each other and with the brain, and converge on similar strategies.
# How their models were compared, on which matrices, and with which numbers, is not said in the sources that are open. Three lessons of this chapter bear on any
# such claim. A similarity needs its chance level, because the popular measures are high for unrelated descriptions. Models, not pairs, are the samples: twelve are
# a small number. And models that share their text, their architecture or an ancestor may be alike for that reason; the family of this chapter shares all three.
