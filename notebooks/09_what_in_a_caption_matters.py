# %% [markdown]
# # What in a caption matters?
#
# {cite:t}`doerig2025` found that a language model's description of a scene's captions matches how visual cortex responds to the scene. But a caption holds
# many things: objects, their categories, what they do, and how all this hangs together. Would a list of words do as well? The study answered with
# *controls*, descriptions that keep one part of the caption and drop the rest. We build them, and put them to viewers whose brains we know.
#
# :::{admonition} In this chapter
# **You will learn** what each control keeps and loses; why one that loses says less than it seems; and why a test for independent samples is the wrong one.
#
# **You need** RDMs and the noise ceiling of [chapter 7](07_captions_and_visual_cortex). **It takes** 20 minutes to read, two to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset_options: dict = {}  # passed to datasets.load_viewing("virtual")
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name; the viewers are planted from it
light: str = "all-minilm-l6-v2"  # a lighter sentence model, to compare
batch_size: int = 100  # images whose pairs are compared at once
n_null: int = 20  # shuffles of the images of each person, for chance
n_simulated: int = 4000  # simulated studies of two tests
n_people: int = 8  # people in a simulated study
q: float = 0.05  # false discovery rate
seed: int = 0  # of word orders, batches and shuffles
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/09_what_in_a_caption_matters"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import ttest_ind, ttest_rel

from brainalign import datasets, plotting, rsa, stats
from brainalign.book import Report
from brainalign.features.captions import control_features
from brainalign.rsa import feature_rdm

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Many ways to say what is in a picture
#
# Take one caption, "A brown dog is sleeping quietly on a red sofa." This is what each control makes of it:
#
# | Control | What the model reads | Keeps | Loses |
# | --- | --- | --- | --- |
# | whole captions | A brown dog is sleeping quietly on a red sofa. | all of it | |
# | shuffled captions | red a sofa sleeping dog on is quietly A brown. | the words, together | their order |
# | light model | as whole captions, by a smaller model | all of it | what the larger model knows more |
# | all words | A, brown, dog, is, sleeping, ... each alone | the words | that they stand together |
# | nouns, verbs, adjectives, adverbs, prepositions | dog, sofa / is, sleeping / brown, red / quietly / on | the things / the action / ... | the rest |
# | static words | all words, each a fixed vector | the words | what a network makes of a word |
# | category words | "animal dog furniture" as one text | labels, as language | all else |
# | categories, 0 or 1 | dog: 1, furniture: 1, person: 0, ... | labels | how labels are related |
# | caption length | 10 | how much there is to say | the rest |
#
# A sentence model embeds whole captions, or single words; vectors are averaged over an image. The {term}`static word vector` of a word is what the model
# looks up before it computes anything (the study used GloVe and fastText, large downloads); labels as 0 and 1 are a {term}`multi-hot vector`. An image
# whose captions hold no word of the kind gets a stand-in, "something", or "is" for a verb, as in the study.
#
# ## Viewers whose brains we know
#
# The virtual viewers of chapter 7 look at rendered scenes. **By construction**, ventral, lateral and parietal vertices respond to the embeddings of *whole
# captions* of the model we test, early ones to the pixels, and zones in all three in part to people, places or food. That these win there is no finding. The
# viewers can show whether the *method* puts the controls in order, and how sure it is; people come on [the next page](09_what_in_a_caption_matters_in_people).
# As in the study, images are compared in batches of {glue:text}`batch_size`, the same for all models and regions, and RDMs by Pearson's r.

# %% tags=["remove-stderr"]
data = datasets.load_viewing("virtual", embeddings=embeddings, roi="streams", **dataset_options)
seen = {person: data.image_names.get_indexer(data.images_of(person)) for person in data.subjects}
batches = {person: rsa.image_batches(len(rows), min(batch_size, len(rows)), seed=seed) for person, rows in seen.items()}
made = control_features(data.captions, embeddings, light=light, categories=data.categories, seed=seed, device=device)
models, kept, empty = {}, {}, {}
for name, x in made:
    rdms = np.stack([feature_rdm(x.values[rows][batches[person]]) for person, rows in seen.items()])
    if np.ptp(rdms, axis=-1).min() > 1e-9:  # else all images of a batch are one
        models[name] = rdms  # (subject, batch, pair)
    kept[name], empty[name] = x.values[:1000], x.attrs.get("empty", 0)
data

# %% [markdown]
# How different are the controls? If two are nearly the same, no brain can tell them apart. So before any brain comes in, we correlate each RDM with that of
# whole captions, and the embedding of each image's shuffled captions with that of its whole ones.

# %%
to_whole = {name: stats.pearson(rdms, models["whole captions"], axis=-1).mean() for name, rdms in models.items()}
alike = pd.DataFrame({"RDM with that of whole captions (r)": to_whole, "scenes with a stand-in": empty})
same = stats.pearson(kept["shuffled captions"], kept["whole captions"], axis=1)
report.add(batch_size=batch_size, n_controls=len(models) - 1, n_scenes=len(data.image_names))
report.add(shuffled_r=np.mean(same), shuffled_sd=np.std(same), shuffled_rdm=to_whole["shuffled captions"])
report.add(no_adjective=empty["adjectives"], no_adverb=empty["adverbs"])
report.claim("shuffled captions are almost whole ones", to_whole["shuffled captions"] > 0.8)
alike.loc[list(models)].round(2)

# %% [markdown]
# Shuffling the words leaves an image's embedding at r = {glue:text}`shuffled_r:.2f` (s.d. {glue:text}`shuffled_sd:.2f`) with the intact one (the study: .91),
# and the RDM at {glue:text}`shuffled_rdm:.2f`: with such a model order cannot matter much, whatever the brain does. Of {glue:text}`n_scenes:,` scenes
# {glue:text}`no_adjective` have no adjective and {glue:text}`no_adverb` no adverb, and look alike to that control: its score is partly a fact about captions.
#
# ## Scores
#
# For each person and region we score each control, and divide by the person's {term}`noise ceiling`: how well the RDM of the shared test images matches the
# mean of the others', as the study did. For chance we shuffle the images of each person {glue:text}`n_null` times.

# %% mystnb={"image": {"alt": "Four panels, one a region: score of each control as a share of the noise ceiling, a small dot for each person, a large one for the mean, and a red line for chance."}}
streams = ["early", "ventral", "lateral", "parietal"]
rng, found = np.random.default_rng(seed), []
for k, person in enumerate(data.subjects):
    mean, own = data.mean_responses(person), {name: rdms[k] for name, rdms in models.items()}
    inside = data.rois.loc[mean["vertex"].to_numpy()]
    for region in streams:
        part = mean.values[:, inside[region].to_numpy()]
        orders = [np.arange(len(part)), *(rng.permutation(len(part)) for _ in range(n_null))]
        found.append([rsa.score(part[order], own, batches=batches[person]).values for order in orders])
found = np.reshape(found, (len(data.subjects), len(streams), n_null + 1, len(models)))
coords = {"subject": data.subjects, "region": streams, "model": list(models)}
ceiling = [rsa.noise_ceiling(part, pooling="plain")["lower"] for part in rsa.brain_rdms(data).sel(region=streams)]
scores = xr.DataArray(found, coords, ("subject", "region", "draw", "model"))
scores = scores / xr.concat(ceiling, pd.Index(streams, name="region"))
share, chance = scores[:, :, 0], scores[:, :, 1:].mean("subject").quantile(0.95, "draw")
text = {"label": "score (share of the noise ceiling)", "title": f"Controls, {data.name}, {len(data.subjects)} people"}
report.figure("scores", plotting.places(share, share.mean("subject") > chance, chance=chance, **text))

# %%
higher, tests = streams[1:], {region: rsa.subject_tests(share.sel(region=region)) for region in streams}
versus = pd.concat({region: test.pairs.loc["whole captions"] for region, test in tests.items()}, names=["region"])
wins = (versus["mean"].gt(0) & versus["p_fdr"].le(q)).groupby("region").sum()
first = {region: test.models["mean"].idxmax() for region, test in tests.items()}
shuffled = share.sel(region=higher, model="whole captions") - share.sel(region=higher, model="shuffled captions")
early, early_pairs = tests["early"].models["mean"], tests["early"].pairs["p_fdr"]
report.add(n_null=n_null, n_pairs=len(early_pairs), least_wins=wins[higher].min(), q_percent=100 * q)
report.add(shuffled_gap=shuffled.mean(), early_top=early.max(), early_pairs=(early_pairs <= q).sum())
report.claim("whole captions come first wherever they were planted", all(first[r] == "whole captions" for r in higher))
report.claim("models differ in early cortex, where none of them was planted", report["early_pairs"] > 0)
table = versus["mean"].map("{:+.2f}".format) + versus["p_fdr"].le(q).map({True: " *", False: ""})
table.unstack("region")[streams].loc[list(models)[1:]]

# %% [markdown]
# *What to see:* small dots are viewers, large ones their mean, filled where it exceeds chance (red). The table holds whole captions less each control, starred
# where they differ at a false discovery rate of {glue:text}`q_percent:g` % over all {glue:text}`n_pairs` pairs of models in the region, by a paired t test over
# people. Whole captions come first wherever they were planted. In the one of these regions with the fewest, {glue:text}`least_wins` of the
# {glue:text}`n_controls` controls are significantly behind them. Shuffled captions are behind by {glue:text}`shuffled_gap:.2f` of the ceiling on average.
# Only pixels are planted in the early region, and no control exceeds {glue:text}`early_top:.2f` of the ceiling (pictures described alike often look alike).
# Yet {glue:text}`early_pairs` pairs differ significantly. **That one model beats another does not make it right.** The ceiling says what remains.
#
# ## Is the order the one that was planted?
#
# If a region follows whole captions and nothing else, a control should score in proportion to how much its RDM shares with theirs, known from above.

# %%
expected = pd.Series(to_whole)
report.add(least_agreement=min(expected.corr(tests[region].models["mean"], "spearman") for region in higher))
report.claim("the method finds the order of the controls that was planted", report["least_agreement"] > 0.8)
recovered = pd.DataFrame({region: tests[region].models["mean"] for region in higher}).loc[expected.index]
above = recovered.apply(lambda own: own - np.polyval(np.polyfit(expected, own, 1), expected))  # a line in each region
off = (above.idxmax() == "categories, 0 or 1").all() and (above.loc["category words"] > 0).all()
report.claim("both controls by category lie above the line, labels as 0 or 1 the farthest", off)
report

# %% mystnb={"image": {"alt": "One panel a region: score of each control, with its interval over people, against the correlation of its RDM with that of whole captions."}}
rows = [test.models.assign(region=region, expected=expected) for region, test in tests.items()]
text = {"xlabel": "RDM of control with that of whole captions (Pearson r)", "ylabel": "score (share of ceiling)"}
text |= {"title": f"Controls and what was planted, {data.name}", "columns": 4}
report.figure("planted", plotting.points(pd.concat(rows), "expected", "mean", col="region", **text))

# %% [markdown]
# *What to see:* one point a control, bars are 95 % intervals over people. Beyond the early region the points rise almost in a line: the rank correlation of
# expected and recovered order is at least {glue:text}`least_agreement:.2f`. Both controls by category lie above it, labels as 0 or 1 the farthest: zones for
# people, places and food were planted, too. Proportion is a rule of thumb: two controls can share as much with whole captions and not the same part. For real
# data: **a control that loses tells us no more than that its RDM is less like the brain's.** How far behind it is depends on how different the two are anyway.
#
# ## Which test?
#
# The study compared models by t tests for *independent* samples, although all were scored on the same eight people. People differ in how clean their data
# are, which lifts or lowers all models together. A {term}`paired test` takes differences within people first, so that this drops out; a test for
# independent samples counts it as noise. The same pairs of models by both, and how much scores go up and down together over people:

# %%
rows = {}
for region, test in tests.items():
    part = share.sel(region=region)
    apart = [ttest_ind(*(part.sel(model=name) for name in pair)).pvalue for pair in test.pairs.index]
    paired, independent = (test.pairs["p_fdr"] <= q).to_numpy(), stats.fdr(apart, q)[0]
    rows[region] = {"pairs": len(apart), "paired": paired.sum(), "independent": independent.sum()}
    rows[region] |= {"only paired": (paired & ~independent).sum(), "only independent": (independent & ~paired).sum()}
    common = np.corrcoef(part, rowvar=False)[np.triu_indices(len(models), 1)]
    rows[region]["median r over people"] = round(np.median(common), 2)
counts = pd.DataFrame.from_dict(rows, "index")
counts

# %% [markdown]
# In {glue:text}`n_simulated:,` simulated studies of {glue:text}`n_people` people, two models are equally good, or one is better by one s.d. over people:

# %% mystnb={"image": {"alt": "Two panels over the correlation of scores over people: share of simulated studies in which each test calls a difference, for equal models and for different ones, with a dashed line at five percent."}}
rng, rows = np.random.default_rng(seed), []
for truth, gain in (("models are equal", 0), ("one model is better", 1)):
    for r in (0, 0.3, 0.6, 0.8, 0.9, 0.95):
        shared, own = rng.standard_normal((2, n_people, n_simulated, 2))
        scores = np.sqrt(r) * shared[..., :1] + np.sqrt(1 - r) * own
        for test, function in (("paired", ttest_rel), ("independent", ttest_ind)):
            called = 100 * (function(scores[..., 0] + gain, scores[..., 1]).pvalue < 0.05).mean()
            rows.append((truth, test, r, called, 196 * np.sqrt(called / 100 * (1 - called / 100) / n_simulated)))
rates = pd.DataFrame(rows, columns=["truth", "test", "r", "called", "reach"])
rates = rates.assign(low=rates["called"] - rates["reach"], high=rates["called"] + rates["reach"])
text = {"xlabel": "correlation of scores over people", "ylabel": "p < 0.05 (% of studies)"}
text |= {"title": f"Simulation, {n_people} people a study, 95 % bands", "levels": {"nominal": 5}, "sharey": False}
report.figure("tests", plotting.lines(rates, "r", "called", hue="test", col="truth", **text))

# %%
at = rates[rates["r"] == 0.9].set_index(["truth", "test"])["called"]
report.add(n_simulated=n_simulated, n_people=n_people, n_only_independent=counts["only independent"].sum())
for key, truth in (("false", "models are equal"), ("power", "one model is better")):
    report.add(**{f"{key}_{test}": called for test, called in at[truth].items()})
report.add(n_paired=counts["paired"].sum(), n_independent=counts["independent"].sum())
report.claim("the independent test is too cautious where scores go together", report["false_independent"] < 2.5)
report.claim("the paired test keeps its rate", abs(report["false_paired"] - 5) < 1.5)
report.claim("paired tests find more where scores go together", report["power_paired"] > report["power_independent"])
report

# %% [markdown]
# *What to see:* blue is the paired test, orange the independent one (each panel has its own scale). At a correlation of 0.9, the independent test calls
# {glue:text}`false_independent:.1f` % of equal models different where 5 % are allowed, and finds {glue:text}`power_independent:.0f` % of real differences; the
# paired test {glue:text}`false_paired:.1f` % and {glue:text}`power_paired:.0f` %. Where two models' scores go together, the independent test is thus too
# cautious: **a difference that it misses may be real.** That matters where a conclusion rests on *no* difference, such as that sentence models do not differ.
# What it finds need not be a subset of what the paired test finds, which pays with half the degrees of freedom: on the viewers above, the latter finds
# {glue:text}`n_paired` pairs over all regions and the independent one {glue:text}`n_independent`, of which {glue:text}`n_only_independent` are not among them.
#
# ## What we have shown, and what not
#
# The method recovers an order of controls that is there, says how sure it is, and keeps its error rate. About people it says nothing.
#
# ## Exercise
#
# Does one caption do as well as all of a scene? Score the first caption of each scene instead of the mean, in the ventral region of the first viewer.
#
# :::{admonition} Solution
# :class: dropdown
# No: each caption leaves something out and words the rest in its own way. The mean keeps what the captions agree on, and it is the mean that was planted.
# :::

# %% tags=["hide-cell", "remove-stderr"]
person = data.subjects[0]
mean = data.mean_responses(person)
part = mean.values[:, data.rois.loc[mean["vertex"].to_numpy(), "ventral"].to_numpy()]
x = next(control_features(data.captions.groupby("image", sort=False).head(1), embeddings, device=device))[1]
alone = {"one caption": feature_rdm(x.values[seen[person]][batches[person]]), "all": models["whole captions"][0]}
compared = rsa.score(part, alone, batches=batches[person]).to_series()
report.claim("one caption of a scene does worse than all of them", compared["one caption"] < compared["all"])
compared.round(3)
