# %% [markdown]
# # What in a caption matters?
#
# {cite:t}`doerig2025` found that a language model's description of a scene's captions matches how visual cortex responds to the scene. But a caption holds
# many things: the objects that it names, their categories, what they do, and how all this hangs together. Would a list of words do as well? The study
# answered with *controls*: descriptions that keep one part of the caption and drop the rest. On this page we build these controls and put them to viewers
# whose brains we know, because we made them.
#
# :::{admonition} In this chapter
# **You will learn**
# what each control keeps and what it loses; how to compare models on the same people and images; why a control that loses says less than it seems; and
# why a test for independent samples is the wrong one when all models were scored on the same people.
#
# **You need** dissimilarity matrices and the noise ceiling of [chapter 7](07_captions_and_visual_cortex).
#
# **It takes** about 20 minutes to read, and two minutes to run on two cores once the captions are embedded (some minutes more before).
# :::

# %% [markdown]
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
from brainalign.rsa import compare_rdms, feature_rdm

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# ## Thirteen ways to say what is in a picture
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
# Whole captions are embedded by a sentence model ({term}`sentence embedding`) and averaged over the captions of an image. Single words are embedded one at a
# time by the same model, and the vectors are averaged. The {term}`static word vector` of a word is what the model looks up before it computes anything; the
# study used GloVe and fastText instead, which are large downloads. Labels as 0 and 1 are a {term}`multi-hot vector`. An image whose captions hold no word of
# the kind gets a stand-in ("something", or "is" for a verb), as in the study. `control_features` makes them all, one after the other.
#
# ## Viewers whose brains we know
#
# The virtual viewers of chapter 7 look at rendered scenes, each with five captions. **By construction**, ventral, lateral and parietal vertices respond to the
# embeddings of *whole captions* of the very model we test, early ones to the pixels, and zones in all three in part to people, places or food. That whole
# captions win there is therefore no finding. The viewers can show whether the *method* puts the controls in the right order, and how sure it is; what holds
# of people is asked on [the next page](09_what_in_a_caption_matters_in_people).

# %%
data = datasets.load_viewing("virtual", embeddings=embeddings, roi="streams", **dataset_options)
streams = ["early", "ventral", "lateral", "parietal"]
higher = streams[1:]
data

# %% [markdown]
# Everything is a {term}`representational dissimilarity matrix` (RDM), of a brain or of a model: for each pair of images, how unlike their patterns are. As in
# the study, images are compared in batches of {glue:text}`batch_size`, RDMs by Pearson's r, and batches are drawn once for all models and regions.

# %% tags=["remove-stderr"]
seen = {person: data.image_names.get_indexer(data.images_of(person)) for person in data.subjects}
batches = {person: rsa.image_batches(len(rows), min(batch_size, len(rows)), seed=seed) for person, rows in seen.items()}
models = {person: {} for person in data.subjects}
kept, empty = {}, {}
made = control_features(data.captions, embeddings, light=light, categories=data.categories, seed=seed, device=device)
for name, x in made:
    rdms = {person: feature_rdm(x.values[rows][batches[person]]) for person, rows in seen.items()}
    if min(np.ptp(values, axis=1).min() for values in rdms.values()) > 1e-9:  # else all images of a batch are one
        for person, values in rdms.items():
            models[person][name] = values
    kept[name], empty[name] = x.values[:1000], x.attrs.get("empty", 0)
names = list(models[data.subjects[0]])
", ".join(names)

# %% [markdown]
# ### How different are the controls?
#
# Before any brain comes in: how far is each control from the whole caption? If two descriptions are nearly the same, no brain can tell them apart. We correlate
# each RDM with that of whole captions, and the embedding of each image's shuffled captions with that of its whole ones.


# %%
def with_whole(name):
    """Mean Pearson r of a control's RDMs with those of whole captions, over batches and people."""
    pairs = [(models[p][name], models[p]["whole captions"]) for p in data.subjects]
    return np.mean([compare_rdms(one, other, "pearson") for a, b in pairs for one, other in zip(a, b, strict=True)])


to_whole = pd.Series({name: with_whole(name) for name in names})
same = [np.corrcoef(a, b)[0, 1] for a, b in zip(kept["shuffled captions"], kept["whole captions"], strict=True)]
report.add(batch_size=batch_size, n_controls=len(names) - 1, n_scenes=len(data.image_names))
report.add(shuffled_r=np.mean(same), shuffled_sd=np.std(same), shuffled_rdm=to_whole["shuffled captions"])
report.add(no_adjective=empty["adjectives"], no_adverb=empty["adverbs"])
report.claim("shuffled captions are almost whole ones", to_whole["shuffled captions"] > 0.8)
report

# %%
without = pd.Series(empty)[names]
pd.DataFrame({"RDM with that of whole captions (r)": to_whole.round(2), "scenes with a stand-in": without})

# %% [markdown]
# Shuffling the words leaves an image's embedding at r = {glue:text}`shuffled_r:.2f` (s.d. {glue:text}`shuffled_sd:.2f`) with the intact one, where the study
# reports .91 (s.d. .03) for its own captions, and the RDM at {glue:text}`shuffled_rdm:.2f`: with such a model word order cannot matter much, whatever the brain
# does. Of {glue:text}`n_scenes:,` scenes {glue:text}`no_adjective` have no adjective in any caption and {glue:text}`no_adverb` no adverb. All of these look
# identical to the control, which lowers what it can reach: a low score of adverbs is partly a fact about captions.
#
# ## Scores
#
# For each person and region we score each control, and divide by the person's {term}`noise ceiling`: how well the RDM of the shared test images matches the
# mean of the others', as the study did. For chance we shuffle the images of each person {glue:text}`n_null` times.

# %%
score = xr.DataArray(
    np.empty((len(streams), len(names), len(data.subjects))),
    {"region": streams, "model": names, "subject": data.subjects},
    ("region", "model", "subject"),
)
null = np.empty((n_null, *score.shape))
rng = np.random.default_rng(seed)
for k, person in enumerate(data.subjects):
    mean = data.mean_responses(person)
    own = data.rois.loc[mean["vertex"].to_numpy()]
    for i, region in enumerate(streams):
        part = mean[:, own[region].to_numpy()].to_numpy()
        score[i, :, k] = rsa.score(part, models[person], batches=batches[person])
        for draw in null:
            shuffled = part[rng.permutation(len(part))]
            draw[i, :, k] = rsa.score(shuffled, models[person], batches=batches[person])

# %%
brains = rsa.brain_rdms(data).sel(region=streams)
ceiling = xr.concat([rsa.noise_ceiling(part, pooling="plain")["lower"] for part in brains], "region")
share = score / ceiling.values[:, None]
by_chance = xr.DataArray(
    null / ceiling.values[:, None], coords={"model": names, "region": streams}, dims=("draw", *share.dims)
)
chance = by_chance.mean("subject").quantile(0.95, "draw")
tests = {region: rsa.subject_tests(share.sel(region=region)) for region in streams}
versus = pd.concat({region: test.pairs.loc["whole captions"] for region, test in tests.items()}, names=["region"])
better = versus[(versus["mean"] > 0) & (versus["p_fdr"] <= q)]
wins = better.groupby("region").size().reindex(streams, fill_value=0)

# %% mystnb={"image": {"alt": "Four panels, one a region: score of each control as a share of the noise ceiling, a small dot for each person, a large one for the mean, and a red line for chance."}}
text = {"label": "score (share of the noise ceiling)", "title": f"Controls, {data.name}, {len(data.subjects)} people"}
report.figure("scores", plotting.places(share, share.mean("subject") > chance, chance=chance, **text))

# %%
table = versus["mean"].map("{:+.2f}".format) + versus["p_fdr"].le(q).map({True: " *", False: ""})
table.unstack("region")[streams].loc[names[1:]]

# %%
first = {region: test.models["mean"].idxmax() for region, test in tests.items()}
shuffled = share.sel(region=higher, model="whole captions") - share.sel(region=higher, model="shuffled captions")
early = tests["early"]
report.add(n_null=n_null, n_pairs=len(early.pairs), least_wins=wins[higher].min(), q_percent=100 * q)
report.add(
    shuffled_gap=shuffled.mean(), early_top=early.models["mean"].max(), early_pairs=(early.pairs["p_fdr"] <= q).sum()
)
report.claim("whole captions come first wherever they were planted", all(first[r] == "whole captions" for r in higher))
report.claim("models differ in early cortex, where none of them was planted", report["early_pairs"] > 0)
report

# %% [markdown]
# *What to see:* small dots are people, the large one their mean. The table holds whole captions less each control; a star marks differences that hold at a
# false discovery rate of {glue:text}`q_percent:g` % over all {glue:text}`n_pairs` pairs of models in the region, by a paired t test over people. Whole captions
# come first in the three regions where they were planted, significantly above at least {glue:text}`least_wins` of the {glue:text}`n_controls` controls in each.
# Shuffled captions come so close that the mean difference is {glue:text}`shuffled_gap:.2f` of the ceiling; real data may be too noisy to show it.
#
# Look at the early region, too. Only pixels are planted there, and no control gets above {glue:text}`early_top:.2f` of the ceiling: pictures that are described
# alike also look alike to some degree. Yet {glue:text}`early_pairs` pairs of models differ there significantly. **That one model beats another does not make it
# the right one.** The ceiling says how much is left to explain.
#
# ## Is the order the one that was planted?
#
# If a region follows whole captions and nothing else, a control should score in proportion to how much its RDM has in common with that of whole captions. That
# we computed above from the captions alone, without a brain.

# %%
rows = [test.models.loc[names].assign(region=region, expected=to_whole) for region, test in tests.items()]
frame = pd.concat(rows).rename_axis("control").reset_index()
agreement = {region: to_whole.corr(tests[region].models.loc[names, "mean"], "spearman") for region in higher}
report.add(least_agreement=min(agreement.values()))
report.claim("the method finds the order of the controls that was planted", min(agreement.values()) > 0.8)
report

# %% mystnb={"image": {"alt": "One panel a region: score of each control, with its interval over people, against the correlation of its RDM with that of whole captions."}}
text = {"xlabel": "RDM of control with that of whole captions (Pearson r)", "ylabel": "score (share of ceiling)"}
figure = plotting.points(
    frame, "expected", "mean", col="region", columns=4, title=f"Controls and what was planted, {data.name}", **text
)
report.figure("planted", figure)

# %% [markdown]
# *What to see:* one point a control, bars are 95 % intervals over people. Beyond the early region the points rise almost in a line: the rank correlation of
# expected and recovered order is at least {glue:text}`least_agreement:.2f`. Category words lie somewhat off it, because zones for people, places and food were
# planted besides the captions. Proportion is a rule of thumb, as two controls can share the same amount with whole captions and not the same part.
#
# The lesson for real data is sobering: **a control that loses tells us no more than that its RDM is less like the brain's.** Its distance from the winner is set
# by how different the two models are to begin with. Shuffled captions are close to whole ones in any brain, and adverbs lose whatever the brain does.
#
# ## Which test?
#
# The study compared models by t tests for *independent* samples, although all models were scored on the same eight people. Does that matter? People differ in
# how clean their data are, and this lifts or lowers all models together. A {term}`paired test` takes the differences within people first, so that it drops out;
# a test for independent samples counts it as noise. The same pairs of models on these viewers, by both, and how much scores go up and down together over people:

# %%
counts = {}
for region, test in tests.items():
    part = share.sel(region=region)
    apart = [ttest_ind(*(part.sel(model=name) for name in pair)).pvalue for pair in test.pairs.index]
    paired, independent = (test.pairs["p_fdr"] <= q).to_numpy(), stats.fdr(apart, q)[0]
    common = np.median(np.corrcoef(part)[np.triu_indices(len(names), 1)])
    row = [len(apart), paired.sum(), independent.sum(), (paired & ~independent).sum(), (independent & ~paired).sum()]
    counts[region] = [*row, round(common, 2)]
columns = ["pairs", "paired", "independent", "only paired", "only independent", "median r over people"]
counts = pd.DataFrame(counts, index=columns).T.astype(dict.fromkeys(columns[:-1], int))
counts

# %% [markdown]
# A simulation shows what follows: {glue:text}`n_simulated:,` studies of {glue:text}`n_people` people with two models each, whose scores over people correlate.
# Either the models are equally good, or one is better by one standard deviation over people.

# %%
common_r, rng, rows = [0, 0.3, 0.6, 0.8, 0.9, 0.95], np.random.default_rng(seed), []
for truth, gain in (("models are equal", 0), ("one model is better", 1)):
    for r in common_r:
        shared, own = rng.standard_normal((2, n_people, n_simulated, 2))
        scores = np.sqrt(r) * shared[..., :1] + np.sqrt(1 - r) * own
        for test, function in (("paired", ttest_rel), ("independent", ttest_ind)):
            called = 100 * (function(scores[..., 0] + gain, scores[..., 1]).pvalue < 0.05).mean()
            rows.append((truth, test, r, called, 196 * np.sqrt(called / 100 * (1 - called / 100) / n_simulated)))
rates = pd.DataFrame(rows, columns=["truth", "test", "r", "called", "reach"])
rates = rates.assign(low=rates["called"] - rates["reach"], high=rates["called"] + rates["reach"])

# %% mystnb={"image": {"alt": "Two panels over the correlation of scores over people: share of simulated studies in which each test calls a difference, for equal models and for different ones, with a dashed line at five percent."}}
text = {"xlabel": "correlation of scores over people", "ylabel": "p < 0.05 (% of studies)"}
text["title"] = f"Simulation, {n_people} people a study"
report.figure("tests", plotting.lines(rates, "r", "called", hue="test", col="truth", levels={"nominal": 5}, **text))

# %%
at = rates[rates["r"] == 0.9].set_index(["truth", "test"])["called"]
report.add(n_simulated=n_simulated, n_people=n_people, n_only_independent=counts["only independent"].sum())
report.add(false_independent=at["models are equal", "independent"], false_paired=at["models are equal", "paired"])
report.add(power_independent=at["one model is better", "independent"], power_paired=at["one model is better", "paired"])
report.add(n_paired=counts["paired"].sum(), n_independent=counts["independent"].sum())
report.claim("the independent test is too cautious where scores go together", report["false_independent"] < 2.5)
report.claim("the paired test keeps its rate", abs(report["false_paired"] - 5) < 1.5)
report.claim(
    "the paired test finds more where scores go together", report["power_paired"] > report["power_independent"]
)
report

# %% [markdown]
# *What to see:* bands are 95 % intervals of the simulation. At a correlation of 0.9, the independent test calls {glue:text}`false_independent:.1f` % of equal
# models different where 5 % are allowed, and finds {glue:text}`power_independent:.0f` % of real differences; the paired test {glue:text}`false_paired:.1f` % and
# {glue:text}`power_paired:.0f` %.
#
# Where two models' scores go up and down together, the independent test is thus too cautious for a single comparison: **a difference that it misses may be
# real.** That matters where a conclusion rests on *no* difference, such as that sentence models do not differ from each other. It is no mere subset of the
# paired test, which pays with half the degrees of freedom: on the viewers above, the paired test finds {glue:text}`n_paired` pairs over all regions and the
# independent one {glue:text}`n_independent`, of which {glue:text}`n_only_independent` are not among the former. How the scores of the study's people go together
# is not known.
#
# ## Exercise
#
# Does one caption do as well as five? Score the first caption of each scene instead of the mean, in the ventral region of the first viewer.
#
# :::{admonition} Solution
# :class: dropdown
# Each caption leaves something out and words the rest in its own way. The mean keeps what the captions agree on, and it is the mean that was planted.
# :::

# %% tags=["hide-cell", "remove-stderr"]
one = data.captions.groupby("image", sort=False).head(1)
person = data.subjects[0]
part = data.mean_responses(person)[
    :, data.rois.loc[data.mean_responses(person)["vertex"].to_numpy(), "ventral"].to_numpy()
]
x = next(control_features(one, embeddings, device=device))[1]
alone = {"one caption": feature_rdm(x.values[seen[person]][batches[person]]), "five": models[person]["whole captions"]}
rsa.score(part.to_numpy(), alone, batches=batches[person]).to_series().round(3)

# %% [markdown]
# ## What we have shown, and what not
#
# The method recovers an order of controls that is there, says how sure it is, and keeps its error rate. It says nothing about people: what wins in the virtual
# cortex was put there.
