# %% [markdown]
# # Do better models predict readers better?
#
# The last test of this chapter needs no scanner: people read sentences word by word, and their EEG tells how unexpected one noun was. Nine laboratories did
# the same experiment. Which models does this signal follow, and does it follow better models better?
#
# :::{admonition} In this chapter
# **You will learn**
# what the N400 is; how to find chance where the stimuli are sentences, not a story; and two ways to hold a model against one word's brain response, by its
# surprise and by its layers.
#
# **You need** [the graded family](03_what_is_better) and [the method](03_better_models).
#
# **It takes** about 10 minutes to read, and some minutes to run on two cores once the features are computed.
# :::

# %% [markdown]
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
from brainalign.models import brain_score, minimal_pair_accuracy, minimal_pairs, next_word, performance_correlation
from brainalign.simulated.speech import naplib_speech

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# ## Sentences, people, laboratories
#
# The {term}`N400` is a deflection of the EEG some 400 ms after a word, larger (more negative) for unexpected words {cite:p}`kutas1980`. In the data of
# {cite:t}`nieuwland2018`, each {term}`item` is a sentence that goes on with a noun that is more or less expected; everybody read one of the two. We average
# people within each laboratory, and keep sentences that every laboratory has, both versions.

# %%
data = datasets.load_listening(dataset)
nouns = data.words["is_noun"].to_numpy(bool)
trials = pd.DataFrame(data.responses.to_numpy()[nouns].T).groupby(data.channels["lab"].to_numpy()).mean().T
items = data.words["item"].to_numpy()[nouns]
read = trials.notna().all(axis=1).groupby(items).transform("all").to_numpy()
labs, items = trials.columns.to_numpy(), items[read]
by_lab = trials.to_numpy()[read]
responses = xr.DataArray(np.column_stack([by_lab, by_lab.mean(1)]), dims=("word", "channel"))
report.add(sentences=read.sum(), dropped=(~read).sum(), people=len(data.channels), laboratories=len(labs))
report

# %% [markdown]
# {glue:text}`sentences` sentences, {glue:text}`people` people in {glue:text}`laboratories` laboratories ({glue:text}`dropped` sentences are left out). All
# laboratories showed the same sentences, so no interval over them says whether a relation would hold for others. Chance comes from exchanging *items*: the
# descriptions of an item's two sentences go together to another item's, the same for all models, {glue:text}`n_exchanges` times.
#
# ## Surprise
#
# How strongly does the noun's {term}`surprisal` go with a larger N400, over sentences? The sign is turned, so that a positive number means the expected
# direction; chapter 5 keeps the sign of the voltage. This needs next-word predictions, so only the {term}`causal <causal language model>` family has it. The
# yardstick is {term}`cloze probability`: the share of other people who completed the sentence with this noun.

# %%
orders = stats.group_permutations(items, n_exchanges, seed=seed)
beginnings = before_noun(data.words)  # a model reads the sentence up to its noun and no further
at_noun = beginnings["is_noun"].to_numpy(bool)
family = list(family) or lesions.graded_family(base)
bits_of = [surprisal(beginnings, spec, start_token=True, device=device).to_numpy() for spec in family]
surprising, observed = zscore(np.stack(bits_of)[:, at_noun][:, read], axis=1), zscore(responses.to_numpy())
relation = -surprising @ observed / len(items)  # (model, channel)
relation_null = np.stack([-surprising @ observed[order] / len(items) for order in orders])
cloze = pearsonr(beginnings["cloze"].to_numpy()[at_noun][read], responses[:, -1]).statistic

# %%
words, pairs = naplib_speech().words, minimal_pairs(n_pairs, seed=seed)
performance = np.array([-next_word(words, spec, device=device).bits for spec in family])
grammar = np.array([minimal_pair_accuracy(pairs, spec, device=device).mean() for spec in family])
worst = performance.argmin()
each = stats.t_interval(relation[:, :-1].T)
mean = {"relation": each.estimate, "low": each.low, "high": each.high, "who": "mean of laboratories"}
frame = pd.concat([pd.DataFrame(mean), pd.DataFrame({"relation": relation[:, -1], "who": "all people together"})])
frame["performance"] = np.tile(performance, 2)

# %% mystnb={"image": {"alt": "Strength of the relation of surprisal with the N400 against minus bits per word, one point a member of the family for the mean of laboratories with an interval and one for all people together; a dashed line for cloze probability."}}
text = {"xlabel": "performance (minus bits per word)", "ylabel": "relation with the N400 (r)"}
text |= {"levels": {"cloze, all people": cloze, "none": 0}, "title": f"Real EEG ({data.name}): surprisal"}
report.figure("surprisal", plotting.points(frame, "performance", "relation", hue="who", **text))


# %%
def over_family(score, null, measure=performance):
    """Correlation of performance with a measure of laboratories: (model, laboratory), (exchange, model, laboratory)."""
    return performance_correlation(measure, score, labs, null=null, seed=seed)


by_bits = over_family(relation[:, :-1], relation_null[..., :-1])
base_p = stats.p_values(relation[0, -1], relation_null[:, 0, -1])
report.add(base_r=relation[0, -1], worst_r=relation[worst, -1], cloze_r=cloze, base_p=base_p, n_exchanges=n_exchanges)
report.add(slope=stats.Estimate(by_bits.r, by_bits.low, by_bits.high), slope_p=by_bits.p)
report.claim("surprisal of the intact model goes with the N400 beyond exchanged items", base_p <= 0.05)
report.claim(
    "better members' surprisal goes with the N400 better, beyond exchanged items", by_bits.r > 0 and by_bits.p <= 0.05
)
report

# %% [markdown]
# *What to see:* for all people together the intact model's surprisal goes with the N400 by {glue:text}`base_r:+.2f` (p = {glue:text}`base_p:.3f`), that of
# the worst member by {glue:text}`worst_r:+.2f`, cloze probability by {glue:text}`cloze_r:.2f`. Over members the relation correlates with performance at
# {glue:text}`slope` (interval over laboratories and members, for these sentences); the slope is beyond exchanged items (p = {glue:text}`slope_p:.3f`).
#
# Here performance and measure are close relatives: a model that cannot predict words has surprisals that mean nothing, and so cannot go with anything that
# follows predictability. That people's N400 does follow it is the finding; that damage weakens the relation is what one would expect.
#
# ## Layers
#
# How well do the features of the sentence up to the noun predict the N400 of sentences held out? The two versions of a sentence are not split between
# training and test (contiguous folds, a gap of one sentence). The {term}`bidirectional models <bidirectional model>` can take part: they read the sentence up
# to its noun. Each model's best of {glue:text}`n_depths` layers counts, for exchanged items, too.

# %%
texts = beginnings.groupby("passage", sort=False)["word"].agg(" ".join).reset_index()
options = {"n_splits": n_splits, "inner_splits": 2, "gap": 1, "alphas": np.logspace(0, 5, 6), "device": device}
best = []
for spec in [*family, *outsiders]:
    layers = np.linspace(0, n_layers(spec), n_depths).round().astype(int)
    context = 1 if spec in outsiders else None  # one text is one "word" here
    states = layer_features(texts, spec, context=context, layers=layers, start_token=True, device=device)
    best.append(brain_score(states[:, read], responses, orders=orders, **options).max("layer"))
best = xr.concat(best, pd.Index([*family, *outsiders], name="model"))
score, null = best["score"].to_numpy(), best["null"].transpose("copy", "model", "channel").to_numpy()
p = stats.p_values(score[:, -1], null[..., -1])
pd.DataFrame({"all people (r)": score[:, -1], "p": p}, best["model"]).style.format("{:.2f}").format(
    "{:.3f}", subset="p"
)

# %%
ranked, n = np.argsort(performance), len(family)
each = stats.t_interval(score[:n, :-1].T)
lines = {"mean of laboratories": each, "all people together": stats.Interval(score[:n, -1], *np.full((2, n), np.nan))}
chance = {"mean of laboratories": null[:, :n, :-1].mean(2), "all people together": null[:, :n, -1]}
frames, bands = [], []
for name, (middle, low, high) in lines.items():
    part = {"performance": performance, "score": middle, "low": low, "high": high, "who": name}
    band = {"performance": performance, "low": chance[name].mean(0), "high": np.quantile(chance[name], 0.95, axis=0)}
    frames.append(pd.DataFrame(part).iloc[ranked])
    bands.append(pd.DataFrame(band).assign(who=name).iloc[ranked])

# %% mystnb={"image": {"alt": "Cross-validated prediction of the N400 from the best layer against minus bits per word, one panel for the mean of laboratories with a band of intervals and one for all people together, each with a gray band of exchanged items from their mean to their 95th percentile."}}
text = {"xlabel": "performance (minus bits per word)", "ylabel": "cross-validated prediction (r)", "col": "who"}
text |= {"chance": pd.concat(bands), "title": f"Real EEG ({data.name}): best layer"}
report.figure("layers", plotting.lines(pd.concat(frames), "performance", "score", **text))

# %%
by_layer = over_family(score[:n, :-1], null[:, :n, :-1])
by_pairs = over_family(score[:n, :-1], null[:, :n, :-1], grammar)
report.add(layer_base=score[0, -1], layer_base_p=p[0], n_depths=n_depths, layer_slope_p=by_layer.p)
report.add(layer_slope=stats.Estimate(by_layer.r, by_layer.low, by_layer.high), pairs_p=by_pairs.p, pairs_r=by_pairs.r)
report.claim("the intact model's layers predict held-out sentences beyond exchanged items", p[0] <= 0.05)
beyond = [found.r > 0 and found.p <= 0.05 for found in (by_layer, by_pairs)]
report.claim("better members' layers predict better, by either measure, beyond exchanged items", all(beyond))
report

# %% [markdown]
# *What to see:* gray is what exchanged items give, from their mean to the level below which 95 % lie; the band around the line is an interval over
# laboratories, for these sentences. For all people the best layer of the intact model predicts held-out sentences with {glue:text}`layer_base:.2f` (p =
# {glue:text}`layer_base_p:.3f`). Over members, score and performance correlate with {glue:text}`layer_slope` (the slope is beyond exchanged items, p =
# {glue:text}`layer_slope_p:.3f`); with minimal pairs as performance, with {glue:text}`pairs_r:+.2f` (p = {glue:text}`pairs_p:.3f`). The bidirectional models,
# last in the table, read no further and predict no next word.
#
# ## Exercise
#
# Surprisal is a number, and layers are hundreds. Does the intact model's surprisal still go with the N400 where cloze probability is held constant?
#
# :::{admonition} Solution
# :class: dropdown
# Take cloze out of both and correlate what is left. What remains is what the model knows of the noun beyond the share of people who would have said it.
# :::

# %% tags=["hide-cell"]
free = np.column_stack([np.ones(len(items)), beginnings["cloze"].to_numpy()[at_noun][read]])
both = np.column_stack([-surprising[0], responses[:, -1]])
left = both - free @ np.linalg.lstsq(free, both, rcond=None)[0]
print(f"r = {pearsonr(*both.T).statistic:+.2f}; cloze held constant: r = {pearsonr(*left.T).statistic:+.2f}")

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
