# %% [markdown]
# # Do better models converge?
#
# Two language models may come from different teams, texts and architectures. If there is one good way to describe language, their descriptions should become more
# alike the better they get. {cite:t}`mischler2024` report just that for twelve models, and that the better ones share their hierarchy with the brain.
#
# :::{admonition} In this chapter
# **You will learn** how centred kernel alignment (CKA) and Procrustes analysis compare two sets of features; why both see similarity in pure noise when words are
# few; how one large feature, or a few odd words, can rule a comparison; and how to test convergence with *models*, not pairs of models, as the samples.
#
# **You need** the layers of [chapter 2](02_layer_alignment) and the damaged models of [chapter 3](03_what_is_better). **It takes** about 20 minutes to read, two to run.
# :::
#
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
from math import comb

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
# Two layers of SmolLM2, half and three quarters of the way up, describe each word by a list of numbers, but feature 17 of one has nothing to do with feature 17 of
# the other. What can be compared is the *geometry*: which words are close, and which far apart. Rotating all features leaves it as it is {cite:p}`kornblith2019`.
#
# **CKA** ({term}`centred kernel alignment`) compares inner products. For $n$ words, let $K_{ij}$ be the inner product of words $i$ and $j$ in one layer (its
# {term}`Gram matrix`) and $L_{ij}$ that in the other, each from features whose mean over words was subtracted. With HSIC, the
# {term}`Hilbert-Schmidt independence criterion`, a measure of dependence,
#
# $$\mathrm{CKA} = \frac{\mathrm{HSIC}(K, L)}{\sqrt{\mathrm{HSIC}(K, K)\,\mathrm{HSIC}(L, L)}}, \qquad \mathrm{HSIC}(K, L) = \frac{1}{(n-1)^2} \sum_{ij} K_{ij} L_{ij},$$
#
# a kind of correlation between the two matrices, 1 for rotated and scaled copies. **Procrustes** rotates one layer onto the other as well as it goes and asks what
# is left ({term}`Procrustes similarity`). With both layers centred and scaled to a Frobenius norm (the root of the sum of all squares) of 1, and $d$ the remaining
# distance, we use $1 - d^2/2$ {cite:p}`ding2021`, whose arccosine is the angular distance of {cite:t}`williams2021`.
#
# **Both see similarity in noise.** Here are the same words in both layers, and words *shuffled*, so that nothing is shared; few and many, three draws each:

# %%
words, middle = datasets.load_listening(dataset).words, [n_layers(base) // 2, 3 * n_layers(base) // 4]
first, second = layer_features(words, base, layers=middle, start_token=True, device=device).values
rng, rows = np.random.default_rng(seed), []
for n in np.repeat([25, 50, 100, 200, 400, 800, 1600], 3):
    chosen = rng.permutation(len(words))[:n]
    for kind, order in {"same words": chosen, "shuffled": rng.permutation(chosen)}.items():
        x, y = first[chosen], second[order]
        rows.append((n, kind, linear_cka(x, y, debiased=False), procrustes(x, y), linear_cka(x, y)))
draws = pd.DataFrame(rows, columns=["n", "words", "CKA", "Procrustes", "debiased CKA"])
draws = draws.melt(["n", "words"], var_name="measure", value_name="similarity")
by_size = draws.groupby(["measure", "words", "n"])["similarity"].agg(["mean", "min", "max"])
few, many = (by_size.xs(("shuffled", n), level=("words", "n"))["mean"] for n in (25, 1600))
report.claim("plain CKA and Procrustes are high for few shuffled words", min(few["CKA"], few["Procrustes"]) > 0.5)
report.claim("debiased CKA is near zero for shuffled words", max(abs(x["debiased CKA"]) for x in (few, many)) < 0.05)
report.add(plain_few=few["CKA"], procrustes_few=few["Procrustes"], debiased_few=few["debiased CKA"])
report.add(procrustes_many=many["Procrustes"], debiased_many=many["debiased CKA"])

# %% mystnb={"image": {"alt": "Similarity of two layers against the number of words, from 25 to 1600, in three panels: plain CKA, Procrustes and debiased CKA, each with a line for the same words and one for shuffled words."}}
drawn = by_size.reset_index().rename(columns={"min": "low", "max": "high"}).astype({"n": str})
text = {"xlabel": "words", "ylabel": "similarity", "title": f"Layers {middle[0]} and {middle[1]} of {base}, {dataset}"}
report.figure("noise", plotting.lines(drawn, "n", "mean", hue="words", col="measure", levels={"zero": 0}, **text))

# %% [markdown]
# *What to see:* similarity by number of words, mean and range of the draws; a layer has {glue:text}`n_features` features. With 25 *shuffled* words plain CKA is
# {glue:text}`plain_few:.2f` and Procrustes {glue:text}`procrustes_few:.2f`: with fewer words than features, almost anything can be rotated almost onto anything.
# Even with 1600 words Procrustes says {glue:text}`procrustes_many:.2f` where nothing is shared; we will show it beside its value for shuffled words. For CKA there is
# a remedy: an unbiased estimate of HSIC, which leaves out each word's product with itself {cite:p}`song2012`. Shuffled words then give {glue:text}`debiased_few:.3f`
# with 25 words and {glue:text}`debiased_many:.3f` with 1600: **on average debiased CKA is zero for unrelated descriptions, whatever the number of words**.
#
# From here on, "CKA" means debiased CKA, its HSIC averaged over {term}`minibatches <minibatch>` {cite:p}`nguyen2021`: {glue:text}`n_stretches` stretches of some
# {glue:text}`batch_size` words in a row. Leaving out one at a time tells how much it varies with the text ({term}`jackknife`), for stretches are nearly independent.
#
# **One feature can rule.** CKA and Procrustes forgive rotations, not everything: multiply one feature by a hundred, and it alone decides which words are close. In
# language models a few features vary far more than others {cite:p}`timkey2021`. Here are one model's layers, raw and with each feature's standard deviation set to 1:

# %% mystnb={"image": {"alt": "Two heat maps of CKA between nine layers of one model: from raw features, and from features that were standardised."}}
depths, batch_size = np.linspace(0, 1, n_depths), -(-len(words) // n_stretches)
layers = np.round(depths * n_layers(base)).astype(int)
own = layer_features(words, base, layers=np.unique(layers), start_token=True, device=device)
variance, off = own.var("word"), ~np.eye(len(own), dtype=bool)
largest = (variance.max("feature") / variance.sum("feature")).to_series()  # feature's share of the variance
raw, unit = (cka_matrix(list(x.values), batch_size=batch_size).values for x in (own, standardize(own)))
ruled = int(largest.iloc[1:].idxmax())
report.add(n_features=own.sizes["feature"], n_stretches=n_stretches, batch_size=batch_size)
report.add(ruled_layer=ruled, ruled_share=100 * largest[ruled], even_share=100 / own.sizes["feature"])
report.add(raw_low=raw[off].min(), raw_high=raw[off].max(), scaled_near=np.diag(unit, 1).mean(), scaled_far=unit[0, -1])
report.claim("in one layer a single feature has most of the variance", largest[ruled] > 0.5)
rise = (unit - raw)[largest.index.get_loc(ruled)].sum()  # of this layer's CKA with all others
report.claim("standardised, that layer is more like the others than raw", rise > 0)
drawn = [pd.DataFrame(matrix, largest.index, largest.index) for matrix in (raw, unit)]
text = {"label": "CKA (chance: 0)", "xlabel": "layer", "ylabel": "layer", "title": f"Layers of {base}, {dataset}"}
report.figure("one_feature", plotting.heatmaps({"raw": drawn[0], "standardized": drawn[1]}, **text))

# %% [markdown]
# *What to see:* CKA of each pair of layers. In layer {glue:text}`ruled_layer` a single feature has {glue:text}`ruled_share:.0f` % of the variance (an even share:
# {glue:text}`even_share:.1f` %). Raw, such layers stand apart (CKA from {glue:text}`raw_low:.2f` to {glue:text}`raw_high:.2f`). Standardised, this one is more like the
# others; CKA is {glue:text}`scaled_near:.2f` on average for neighbours, {glue:text}`scaled_far:.2f` for the first and last layer. From here on we standardise.
#
# ## A family, and two outsiders
#
# Now the {term}`graded family` of [the previous chapter](03_what_is_better), with {term}`surprisal` in bits per word as performance (the fewer the better), and two
# {term}`outsiders <outsider>`, trained independently of SmolLM2 and not to predict next words: MiniLM {cite:p}`wang2020` and MPNet {cite:p}`song2020`, made to embed
# sentences {cite:p}`reimers2019`. These {term}`bidirectional models <bidirectional model>` get {glue:text}`outsider_context` words up to and including each word, for
# they would see later ones, too. How like the intact model is each model still, by the mean CKA of three matched depths (`cka_models`), and by Procrustes?

# %%
bits = {x: surprisal(words, x, start_token=True, device=device).mean().item() for x in family or graded_family(base)}
specs = sorted(bits, key=bits.get)
models, features = [*specs, *outsiders], {}
for spec in models:
    layers = np.round(depths * n_layers(spec)).astype(int)
    context = outsider_context if spec in outsiders else None
    own = layer_features(words, spec, context=context, layers=np.unique(layers), start_token=True, device=device)
    features[spec] = standardize(own).sel(layer=layers).values

# %%
thirds = np.linspace(0, n_depths - 1, 4).round().astype(int)[1:]
third = cka_models({m: features[m][thirds] for m in models}, batch_size=batch_size).estimate.sel(model=base)
order, intact = np.random.default_rng(seed).permutation(len(words)), features[base]
table = pd.DataFrame({"bits per word": bits, "CKA": third}, models)
table["Procrustes"] = [np.mean([procrustes(intact[k], features[m][k]) for k in thirds]) for m in models]
table["Procrustes, shuffled"] = [procrustes(intact[-1], features[m][-1][order]) for m in models]
squares = [np.sort((features[m][n_depths // 2] ** 2).sum(1))[::-1] for m in models]
table["% of squares in 1 % of words"] = [float(100 * one[: len(one) // 100].sum() / one.sum()) for one in squares]
rank, floor = table.loc[specs].drop(base).corr("spearman").loc["CKA", "Procrustes"], table["Procrustes, shuffled"]
sinks = table.iloc[:, -1]
report.add(outsider_context=outsider_context, best_bits=bits[specs[0]], worst_bits=bits[specs[-1]], measures_agree=rank)
report.add(floor_low=floor.min(), floor_high=floor.max(), sink_share=sinks.max(), sink_intact=sinks[base])
report.claim("CKA and Procrustes order the damaged models alike", rank >= 0.8)
report.claim("with a short attention span a few words rule", "span" in sinks.idxmax() and sinks.max() > 20)
label = {spec: "intact" if spec == base else spec.removeprefix(f"{base}@").removeprefix("all-") for spec in models}
report.add(sink_model=label[sinks.idxmax()])
table.rename(label).style.format("{:.2f}", na_rep="-")

# %% [markdown]
# The family spans {glue:text}`best_bits:.1f` to {glue:text}`worst_bits:.1f` bits per word. Both measures put the damaged models in much the same order (rank
# correlation {glue:text}`measures_agree:.2f`), but chance for Procrustes lies between {glue:text}`floor_low:.2f` and {glue:text}`floor_high:.2f`. The last column shows
# another way to mislead: with the text's first token out of reach, a few words become sinks ({term}`attention sink`) and rule in spite of standardising. One word in
# a hundred has up to {glue:text}`sink_share:.0f` % of a middle layer's squares ({glue:text}`sink_model`), in the intact model {glue:text}`sink_intact:.0f` %.
#
# ## Are high performers more alike?
#
# The better two models are, the more alike? **By construction the answer must be yes here:** the less damaged two copies of *one* model are, the closer both are to
# their common origin. For one number per pair we average CKA over matched depths, without the input embedding, which the family shares. Two statistics say whether it
# grows with performance: its mean among the better half of the models less that among the worse half (the middle one is in neither), and its rank correlation
# ({term}`Spearman <Spearman correlation>`) with the pair's mean performance (a {term}`Mantel test`, {cite:t}`mantel1967`). Each model is in many pairs, so for p-values
# (one-sided) `convergence` exchanges the performances of whole *models*. We also ask with each layer's best match in the other model, and without the intact model.

# %%
inner, ask = {spec: layers[1:] for spec, layers in features.items()}, {"n_permutations": n_permutations, "seed": seed}
(alike, without), best = (cka_models(inner, match=match, batch_size=batch_size) for match in ("depth", "best"))
closest, performance = best.estimate.sel(model=specs, other=specs).values, -np.array([bits[spec] for spec in specs])
alike, without = (part.sel(model=specs, other=specs).values for part in (alike, without))
size, others = len(specs), [k for k, spec in enumerate(specs) if spec != base]
tests = {"matched depth": convergence(alike, performance, **ask)}
tests["best match"] = convergence((closest + closest.T) / 2, performance, **ask)
tests["without the intact model"] = convergence(alike[np.ix_(others, others)], performance[others], **ask)
names = ["mean CKA, better half", "mean CKA, worse half", "difference", "its p", "correlation", "p, correlation"]
pd.DataFrame(tests, names).round(3)

# %%
tested, pairs = tests["matched depth"], np.triu_indices(size, 1)
moved = [convergence(part, performance, n_permutations=1).difference for part in without]
report.add(difference=stats.jackknife_interval(tested.difference, moved), n_pairs=len(pairs[0]))
p_values = {"p_difference": tested.difference_pvalue, "p_correlation": tested.correlation_pvalue}
report.add(correlation=tested.correlation, n_models=size, p_best=tests["best match"].difference_pvalue, **p_values)
n_ways = comb(2 * (size // 2), size // 2)  # ways to exchange the models of both halves
with_short = np.array(["span" in specs[i] + specs[j] for i, j in zip(*pairs, strict=True)])
report.add(span_cka=alike[pairs][with_short].mean(), other_cka=alike[pairs][~with_short].mean())
report.claim("better models are more alike", tested.difference > 0 and tested.correlation > 0)
report.add(n_halvings=n_ways, least_p=1 / n_ways)
report.claim("with matched depth even a built-in effect is not beyond chance", min(p_values.values()) > 0.05)
report.claim("best matches reach the least p that so many halvings can give", np.isclose(report["p_best"], 1 / n_ways))
report

# %% mystnb={"image": {"alt": "CKA of each pair of models against the mean surprisal of the pair; pairs with a model of short attention span in another colour."}}
kind = np.where(with_short, "one of a short attention span", "other pairs")
drawn = pd.DataFrame({"bits": -(performance[pairs[0]] + performance[pairs[1]]) / 2, "cka": alike[pairs], "pair": kind})
text = {"xlabel": "mean bits per word", "ylabel": "CKA, matched depth", "title": f"Pairs of models, {dataset}"}
report.figure("pairs", plotting.points(drawn, "bits", "cka", hue="pair", levels={"chance": 0}, **text))

# %% [markdown]
# *What to see:* a dot a pair; more bits are worse. Better models are more alike, by {glue:text}`difference` between the halves (interval over stretches of
# text), with a rank correlation of {glue:text}`correlation:.2f`. But with {glue:text}`n_models` models as the samples and matched depth not even this built-in
# effect is beyond chance (p = {glue:text}`p_difference:.2f` and {glue:text}`p_correlation:.2f`). The halves can be exchanged in only {glue:text}`n_halvings`
# ways: best matches just reach the least p that this allows ({glue:text}`least_p:.2f`). The kind of damage counts, too: pairs with a short attention span reach
# {glue:text}`span_cka:.2f`, others {glue:text}`other_cka:.2f`. The claim needs more models, *trained independently*; even they share much of their text.
#
# ## What the outsiders say
#
# MiniLM and MPNet were trained apart from SmolLM2 (though both on the same pairs of sentences). If damage took a model away from what any model of language
# must find, they should be closer to the intact model than to damaged ones, which is not so by construction. Each outsider's layer counts with its best match.
# The table has, over members, the rank correlation of that CKA with performance (p: performances exchanged):

# %%
near, near_without = (part.sel(model=outsiders, other=specs) for part in best)
gap, gap_without = (part.sel(other=base) - part.drop_sel(other=base).mean("other") for part in (near, near_without))
gaps = stats.jackknife_interval(gap, gap_without)
home, exact = near.sel(other=base), PermutationMethod(n_resamples=n_permutations, rng=np.random.default_rng(seed))
order = [pearsonr(rankdata(performance), rankdata(row), alternative="greater", method=exact) for row in near.values]
report.add(home_first=home[0], home_second=home[1], gap_first=gaps[0], gap_second=gaps[1])
report.claim("both outsiders are nearer to the intact model than, on average, to damaged ones", gaps.low.min() > 0)
found = pd.DataFrame(order, outsiders, ["rank correlation with performance", "p"]).rename(label).round(4)
found.assign(**{"damaged models nearer than the intact one": (near > home).sum("other").values})

# %% mystnb={"image": {"alt": "CKA of each of the two outsiders with every member of the family, with intervals over stretches of text, against the member's surprisal."}}
ends, drawn = stats.jackknife_interval(near, near_without), near.to_dataframe("cka").reset_index()
drawn = drawn.assign(low=ends.low.ravel(), high=ends.high.ravel(), bits=drawn["other"].map(bits))
text = {"xlabel": "surprisal (bits per word)", "ylabel": "CKA, best match", "title": f"Two outsiders, {dataset}"}
report.figure("outsiders", plotting.points(drawn, "bits", "cka", hue="model", **text))

# %% [markdown]
# *What to see:* with the intact model the two outsiders are alike by {glue:text}`home_first:.2f` and {glue:text}`home_second:.2f`; of that, damage takes away
# {glue:text}`gap_first` and {glue:text}`gap_second` (95 % intervals over stretches of text). That a *broken* model resembles others less is a far weaker statement
# than that *better* ones converge: noise alone would give it. And two outsiders, trained alike, are few; {cite:t}`huh2024` argue from many independent models.
#
# ## Exercise
#
# Take the {glue:text}`n_pairs` pairs of models for independent samples, and compare those among the better half with those among the worse half by a t-test. How
# often does it reject when performances are shuffled over models, at a nominal 5 %?
#
# :::{admonition} Solution
# :class: dropdown
# Too often, in {glue:text}`rejects_pairs:.1f` % of 200 shuffles: a model that is unlike all others pulls down all of its pairs, and the t-test counts each as
# new evidence. The permutation of models does not (it rejects in {glue:text}`rejects_models:.1f` %).
# :::

# %% tags=["hide-cell"]
rng, alarms, half = np.random.default_rng(seed), [], np.triu_indices(size // 2, 1)
for _ in range(200):
    shuffled = rng.permutation(size)
    low, high = (alike[np.ix_(some, some)][half] for some in (shuffled[: size // 2], shuffled[-(size // 2) :]))
    proper = convergence(alike, np.argsort(shuffled), n_permutations=199)
    alarms.append((ttest_ind(high, low, alternative="greater").pvalue <= 0.05, proper.difference_pvalue <= 0.05))
rejects = pd.Series(100 * np.mean(alarms, axis=0), ["t-test on pairs", "permutation of models"], name="rejects (%)")
report.add(rejects_pairs=rejects.iloc[0], rejects_models=rejects.iloc[1])
on_pairs, on_models = rejects > 8  # what one set of 200 draws in forty exceeds at a true rate of 5 %
report.claim("a t-test on pairs rejects too often, the permutation does not", bool(on_pairs and not on_models))
rejects.to_frame()

# %% [markdown]
# ## Run it on your own models
#
# The test becomes a claim when the models were trained independently. Name your own, best ten or more of them (eight can be halved in 70 ways, four in six):
# ```bash
# papermill notebooks/04_converging_models.ipynb mine.ipynb -p base EleutherAI/pythia-410m -p results my_results \
#   -y "family: [EleutherAI/pythia-410m, EleutherAI/pythia-160m, facebook/opt-350m, facebook/opt-125m, gpt2, gpt2-medium]"
# ```
#
# How the models of {cite:t}`mischler2024` were compared is not said in the sources that are open. Any such claim needs a chance level, and models, not pairs, as samples.
