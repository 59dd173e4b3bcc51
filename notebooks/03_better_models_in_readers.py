# %% [markdown]
# # Do better models predict readers better?
#
# The last test of this chapter needs no scanner: people (by default of nine laboratories) read sentences word by word, and their EEG tells how unexpected one
# noun was. Which models does this signal follow, and does it follow better models better?
#
# :::{admonition} In this chapter
# **You will learn** what the N400 is, how to find chance where the stimuli are sentences, and two ways to hold a model against one word's brain response.
#
# **You need** [the graded family](03_what_is_better) and [the method](03_better_models). **It takes** about 10 minutes to read, some to run, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "n400"  # or a folder of your own: words with item, is_noun and cloze, channels with lab
base: str = "smollm2-135m"  # the intact model, an asset, a folder or a hub name
family: list = []  # models of graded performance; empty: the base and its damages
outsiders: list = ["all-minilm-l6-v2", "all-mpnet-base-v2"]  # bidirectional models
n_depths: int = 5  # layers of each model, evenly spaced
n_pairs: int = 10  # minimal pairs of each phenomenon
n_splits: int = 5  # contiguous folds, over items
n_exchanges: int = 100  # exchanges of items, for chance
seed: int = 0  # of the pairs, the exchanges and the intervals
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/03_better_models_in_readers"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import pearsonr, zscore

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.datasets.n400 import before_noun
from brainalign.features import lesions
from brainalign.features.language import layer_features, n_layers, surprisal
from brainalign.models import minimal_pair_accuracy, minimal_pairs, next_word, performance_correlation
from brainalign.ridge import ContiguousKFold, cross_validate
from brainalign.simulated.speech import naplib_speech

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Sentences, laboratories, surprise
#
# The {term}`N400` is a deflection of the EEG some 400 ms after a word, larger (more negative) for unexpected words {cite:p}`kutas1980`. By default the data are
# those of {cite:t}`nieuwland2018`: each {term}`item` is a sentence that goes on with a more or less expected noun; everybody read one of the two. We average
# people within laboratories and keep sentences that each of them has, both versions: {glue:text}`sentences` sentences ({glue:text}`dropped` are left out),
# {glue:text}`people` people, {glue:text}`laboratories` laboratories. All showed the same sentences, so no interval over laboratories says whether a relation
# would hold for others. For chance, an *item's* two descriptions go together to another item, {glue:text}`n_exchanges` times, alike for all models.
#
# How strongly does the noun's {term}`surprisal` go with a larger N400, over sentences? (Positive numbers mean the expected direction; [chapter
# 5](05_context_in_readers) keeps the sign of the voltage.) Only the {term}`causal <causal language model>` family predicts next words. The yardstick is
# {term}`cloze probability`: the share of other people who completed the sentence with this noun.

# %%
data = datasets.load_listening(dataset)
nouns = data.words["is_noun"].to_numpy(bool)
trials = pd.DataFrame(data.responses.to_numpy()[nouns].T).groupby(data.channels["lab"].to_numpy()).mean().T
items = data.words["item"].to_numpy()[nouns]
read = trials.notna().all(axis=1).groupby(items).transform("all").to_numpy()
labs, by_lab, items = trials.columns.to_numpy(), trials.to_numpy()[read], items[read]
responses = xr.DataArray(np.column_stack([by_lab, by_lab.mean(1)]), dims=("word", "channel"))
beginnings = before_noun(data.words)  # a model reads the sentence up to its noun and no further
at_noun = beginnings["is_noun"].to_numpy(bool)
orders = stats.PermuteGroups(n_exchanges, seed=seed).orders(len(items), items)
family = list(family) or lesions.graded_family(base)
bits_of = [surprisal(beginnings, spec, start_token=True, device=device).to_numpy() for spec in family]
surprising, observed = zscore(np.stack(bits_of)[:, at_noun][:, read], axis=1), zscore(responses.to_numpy())
relation = -surprising @ observed / len(items)  # (model, channel)
relation_null = np.stack([-surprising @ observed[order] / len(items) for order in orders])
cloze = pearsonr(beginnings["cloze"].to_numpy()[at_noun][read], responses[:, -1]).statistic

# %% mystnb={"image": {"alt": "Strength of the relation of surprisal with the N400 against minus bits per word, one point a member of the family for the mean of laboratories with an interval and one for all people together; a dashed line for cloze probability."}}
words, pairs = naplib_speech().words, minimal_pairs(n_pairs, seed=seed)
performance = np.array([-next_word(words, spec, device=device).bits for spec in family])
grammar = np.array([minimal_pair_accuracy(pairs, spec, device=device).mean() for spec in family])
each = stats.t_interval(relation[:, :-1].T)
mean = {"relation": each.value, "low": each.low, "high": each.high, "who": "mean of laboratories"}
frame = pd.concat([pd.DataFrame(mean), pd.DataFrame({"relation": relation[:, -1], "who": "all people together"})])
frame["performance"] = np.tile(performance, 2)
text = {"xlabel": "performance (minus bits per word)", "ylabel": "relation with the N400 (r)"}
text |= {"levels": {"cloze, all people": cloze, "none": 0}, "title": f"Real EEG ({data.name}): surprisal"}
report.figure("surprisal", plotting.points(frame, "performance", "relation", hue="who", **text))

# %%
by_bits = performance_correlation(performance, relation[:, :-1], labs, null=relation_null[..., :-1], seed=seed)
base_p, worst_r = stats.p_values(relation[0, -1], relation_null[:, 0, -1]), relation[performance.argmin(), -1]
better = by_bits.r.value > 0 and by_bits.p <= 0.05
report.add(sentences=read.sum(), dropped=(~read).sum(), people=len(data.channels), laboratories=len(labs))
report.add(
    base_r=relation[0, -1], worst_r=worst_r, cloze_r=cloze, base_p=base_p, over_members=by_bits.r, slope_p=by_bits.p
)
report.claim("surprisal of the intact model goes with the N400 beyond exchanged items", base_p <= 0.05)
report.claim("better members' surprisal goes with the N400 better, beyond exchanged items", better)
report

# %% [markdown]
# *What to see:* strength of the relation over performance, a point for each member, in one colour for the mean of laboratories, in another for all people
# together; dashed: cloze probability. For all people the intact model's surprisal goes with the N400 by {glue:text}`base_r:+.2f` (p = {glue:text}`base_p:.3f`),
# that of the worst member by {glue:text}`worst_r:+.2f`, cloze probability by {glue:text}`cloze_r:.2f`. Over members the relation correlates with performance at
# {glue:text}`over_members` (interval over laboratories and members, for these sentences), beyond exchanged items (slope: p = {glue:text}`slope_p:.3f`).
#
# ## Layers
#
# How well do features of the sentence up to the noun predict the N400 of held-out sentences, versions of one sentence never split (contiguous folds, a gap of
# one)? {term}`Bidirectional models <bidirectional model>` can take part. Each model's best of {glue:text}`n_depths` layers counts, for exchanged items, too.

# %%
texts, best = beginnings.groupby("passage", sort=False)["word"].agg(" ".join).reset_index(), []
options = {"cv": ContiguousKFold(n_splits, gap=1), "inner_cv": 2, "alphas": np.logspace(0, 5, 6), "device": device}
for spec in [*family, *outsiders]:
    layers = np.linspace(0, n_layers(spec), n_depths).round().astype(int)
    context = 1 if spec in outsiders else None  # one text is one "word" here
    states = layer_features(texts, spec, context=context, layers=layers, start_token=True, device=device)
    best.append(cross_validate(states[:, read], responses, null=orders, **options)[["score", "null"]].max("layer"))
best = xr.concat(best, pd.Index([*family, *outsiders], name="model"))
score, null = best["score"].to_numpy(), best["null"].transpose("draw", "model", "channel").to_numpy()
table = pd.DataFrame({"all people (r)": score[:, -1], "p": stats.p_values(score[:, -1], null[..., -1])}, best["model"])
table.rename(lambda spec: "intact" if spec == base else spec.removeprefix(f"{base}@")).round(3)

# %% mystnb={"image": {"alt": "Cross-validated prediction of the N400 from the best layer against minus bits per word, one panel for the mean of laboratories with a band of intervals and one for all people together, each with a gray band of exchanged items from their mean to their 95th percentile."}}
n, frames, bands = len(family), [], []
of_labs = stats.t_interval(score[:n, :-1].T), null[:, :n, :-1].mean(2)
together = stats.Estimate(score[:n, -1], *np.full((2, n), np.nan)), null[:, :n, -1]
for name, (line, lucky) in {"mean of laboratories": of_labs, "all people together": together}.items():
    place = {"performance": performance, "who": name}
    frames.append(pd.DataFrame({**place, "score": line.value, "low": line.low, "high": line.high}))
    bands.append(pd.DataFrame({**place, "low": lucky.mean(0), "high": np.quantile(lucky, 0.95, axis=0)}))
frame, chance = (pd.concat(parts).sort_values("performance", kind="stable") for parts in (frames, bands))
text = {"xlabel": "performance (minus bits per word)", "ylabel": "cross-validated prediction (r)", "col": "who"}
text |= {"chance": chance, "title": f"Real EEG ({data.name}): best layer"}
report.figure("layers", plotting.lines(frame, "performance", "score", **text))

# %%
ask = {"null": null[:, :n, :-1], "seed": seed}
by_layer, by_pairs = (performance_correlation(x, score[:n, :-1], labs, **ask) for x in (performance, grammar))
report.add(layer_base=score[0, -1], layer_base_p=table["p"].iloc[0], n_depths=n_depths, n_exchanges=n_exchanges)
unsure = by_layer.r.low <= 0 <= by_layer.r.high
report.claim("over laboratories and members the interval of the layers' correlation includes 0", unsure)
report.add(layers_over_members=by_layer.r, layer_slope_p=by_layer.p, pairs_r=by_pairs.r.value, pairs_p=by_pairs.p)
report.claim("the intact model's layers predict held-out sentences beyond exchanged items", table["p"].iloc[0] <= 0.05)
low, high = score[n:, -1].min(), score[n:, -1].max()
report.add(outsider_low=low, outsider_high=high)
report.claim("outsiders: one is low, one above the intact model", low < np.median(score[:n, -1]) < score[0, -1] < high)
beyond = [found.r.value > 0 and found.p <= 0.05 for found in (by_layer, by_pairs)]
report.claim("better members' layers predict better, by either measure, beyond exchanged items", all(beyond))
report

# %% [markdown]
# *What to see:* score over performance, a panel for the mean of laboratories and one for all people. Gray is what exchanged items give, from mean to 95th
# percentile; the band around the line is an interval over laboratories, for these sentences. For all people the best layer of the intact model predicts
# held-out sentences with {glue:text}`layer_base:.2f` (p = {glue:text}`layer_base_p:.3f`). Of the bidirectional models (last two rows) one is among the worse
# members ({glue:text}`outsider_low:.2f`), one above the intact model ({glue:text}`outsider_high:.2f`).
#
# Over members, score and performance correlate with {glue:text}`layers_over_members`. The slope is beyond exchanged items (p = {glue:text}`layer_slope_p:.3f`),
# but the interval includes 0. Both are true: p asks whether the luck of sentences would order these members so, the interval whether other members and
# laboratories would show the same, which so few cannot tell. With minimal pairs as performance r is {glue:text}`pairs_r:+.2f` (p = {glue:text}`pairs_p:.3f`).
#
# ## Exercise
#
# Surprisal is a number, and layers are hundreds. Does the intact model's surprisal still go with the N400 where cloze probability is held constant?
#
# :::{admonition} Solution
# :class: dropdown
# With cloze taken out of both, {glue:text}`beyond_cloze_r:+.2f` is left of {glue:text}`surprisal_r:+.2f`. [Chapter 5](05_context_in_readers) tests it.
# :::

# %% tags=["hide-cell"]
free = np.column_stack([np.ones(len(items)), beginnings["cloze"].to_numpy()[at_noun][read]])
both = np.column_stack([-surprising[0], responses[:, -1]])
left = both - free @ np.linalg.lstsq(free, both, rcond=None)[0]
report.add(surprisal_r=pearsonr(*both.T).statistic, beyond_cloze_r=pearsonr(*left.T).statistic)
report

# %% [markdown]
# ## What we have shown, and what not
#
# A single word's brain response can be held against a model in two ways, and chance for sentences comes from exchanging items. The sentences are few and the
# family is one model, so neither the size of a correlation nor the place of single members says much about other models.
#
# ## Run it on your own data
#
# A folder of sentences with one noun each (words with the columns `item`, `is_noun` and `cloze`; channels, one a person, with `lab`):
#
# ```bash
# papermill notebooks/03_better_models_in_readers.ipynb mine.ipynb -p dataset my_folder -p results my_results
# ```
#
# ## What the paper found
#
# {cite:t}`nieuwland2018` repeated an earlier study in nine laboratories: the N400 of the noun followed its cloze probability, as had been reported; that of
# the article before it ("a" or "an") did not. They did not look at language models.
