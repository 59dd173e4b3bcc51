# %% [markdown]
# # One noun in a sentence, many readers
#
# Blood flow mixes the words of many seconds. Voltage at the scalp does not: some 400 ms after an unexpected word it dips, the {term}`N400` {cite:p}`kutas1980`.
# By default these are the data of {cite:t}`nieuwland2018`, whose people read sentences word by word, at one noun in each. The share of others who completed the
# sentence with it is its {term}`cloze probability`. How many words before the noun does a model need for its {term}`surprisal` to follow the N400?
#
# :::{admonition} In this chapter
# **You will learn** how to relate a response to a word, with uncertainty over people and sentences; and what surprisal says beyond what people expect.
#
# **You need** [surprisal and exact windows](05_context). **It takes** about 15 minutes to read, and a minute to run on two cores.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "n400"  # or a folder of your own: ERP at one noun in each sentence, with its item and cloze
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
contexts: list = [1, 2, 4, 8, 16, None]  # words, the noun included; None: all of the sentence so far
n_boot: int = 1000  # bootstrap draws of people, and of items
n_exchanges: int = 2000  # exchanges of items, for chance
q: float = 0.05  # level of the tests
seed: int = 0  # of draws and exchanges
device: str = "auto"  # where the model runs: "auto", "cpu" or "cuda"
results: str = "results/05_context_in_readers"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, stats
from brainalign.book import Report
from brainalign.datasets.n400 import before_noun, n400_trials
from brainalign.features.language import surprisal
from brainalign.mixed import mixed_model

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## The data

# %%
data = datasets.load_listening(dataset)
trials = n400_trials(data)
dropped = sum(n for name, n in data.responses.attrs.items() if name.startswith("dropped"))
report.add(n_trials=len(trials), n_people=trials["subject"].nunique(), n_dropped=dropped)
trials.head(4)

# %% [markdown]
# One row a trial: a person, a laboratory (`lab`), a sentence (`passage`), its noun's row (`word`), the voltage there in microvolts; {glue:text}`n_trials:,`
# trials of {glue:text}`n_people` people ({glue:text}`n_dropped:,` defective rows were left out). Sentences that differ in the noun are one {term}`item`: by
# default two, with an expected and a less expected noun; each person read one. The N400 is *negative*: surprisal should correlate *negatively*.
#
# ## Surprisal, by context
#
# Each sentence is cut to the last words up to its noun: two words are, as a rule, the article and the noun. The more context, the closer surprisal comes to
# what people expect: over sentences, its correlation with cloze goes from {glue:text}`cloze_one:.2f` to {glue:text}`cloze_all:.2f`.

# %%
contexts = sorted(contexts, key=lambda c: np.inf if c is None else c)
nouns, at_noun = data.words[data.words["is_noun"]], {}
for context in contexts:
    part = before_noun(data.words, context)
    bits = surprisal(part, model, start_token=True, device=device).values
    at_noun["all" if context is None else str(context)] = bits[part["is_noun"]]
predictors = pd.DataFrame(at_noun).set_index(nouns["passage"])
predictors["cloze"] = nouns["cloze"].to_numpy()
with_cloze = predictors.corr()["cloze"].iloc[:-1]
report.add(cloze_one=with_cloze.iloc[0], cloze_all=with_cloze.iloc[-1])
report.claim("the more context, the closer surprisal comes to cloze", (np.diff(with_cloze) < 0).all())
predictors.corr().round(2)

# %% [markdown]
# ## Sentence means
#
# Voltages are centred within each person and averaged over the people who read the sentence, and each predictor is correlated with these means. It has two
# kinds of uncertainty, which people happened to read, and which sentences were written; we {term}`bootstrap` both, people and items. For chance, items change
# places with each other, {glue:text}`n_exchanges:,` times: the predictors of one item go to the voltages of another, its sentences together. How well random
# halves of the people agree gives the {term}`noise ceiling` {cite:p}`spearman1910,brown1910`.

# %%
centred = trials["n400"] - trials.groupby("subject")["n400"].transform("mean")
table = trials.assign(voltage=centred).pivot(index="passage", columns="subject", values="voltage").loc[predictors.index]
read, voltage = table.notna().to_numpy(float), table.fillna(0).to_numpy()


def correlations(weights, rows=slice(None)):
    """Of each predictor with the sentence means over people with these weights."""
    means = (voltage[rows] @ weights) / (read[rows] @ weights)
    return np.corrcoef(np.column_stack([means, predictors.to_numpy()[rows]]).T)[0, 1:]


# %%
everyone, items = np.ones(table.shape[1]), nouns["item"].to_numpy()
rng, r, n = np.random.default_rng(seed), correlations(everyone), len(everyone)
people_draws = [np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(n_boot)]
over_people = 1.96 * np.std([correlations(weights) for weights in people_draws], axis=0)
sentences = [np.flatnonzero(items == item) for item in np.unique(items)]  # rows of each item
item_draws = (rng.integers(len(sentences), size=len(sentences)) for _ in range(n_boot))
rows_drawn = (np.concatenate([sentences[k] for k in draw]) for draw in item_draws)
over_items = 1.96 * np.std([correlations(everyone, some) for some in rows_drawn], axis=0)

# %%
orders = stats.PermuteGroups(n_exchanges, seed=seed).orders(len(items), items)
means, values = voltage.sum(1) / read.sum(1), predictors.to_numpy()
exchanged = np.stack([np.corrcoef(np.column_stack([means, values[order]]).T)[0, 1:] for order in orders])
p = stats.p_values(r, exchanged, alternative="two-sided")
halves = [rng.permutation(n) % 2 for _ in range(50)]
halves = np.array([[voltage @ part / (read @ part) for part in (half, 1 - half)] for half in halves])
ceiling = stats.noise_ceiling(xr.DataArray(halves.transpose(1, 2, 0), dims=("repeat", "word", "split")))
names = [f"surprisal, {name} word{'' if name == '1' else 's'}" for name in predictors.columns[:-1]] + ["cloze"]
found = pd.DataFrame({"value": r, "low": r - over_items, "high": r + over_items}, index=names)
found["chance_low"], found["chance_high"] = np.quantile(exchanged, [0.025, 0.975], axis=0)
margins = {"95 % over items": over_items, "95 % over people": over_people}
spans = {name: list(map("({:.2f} to {:.2f})".format, r - half, r + half)) for name, half in margins.items()}
pd.DataFrame({"r": r, **spans, "p": p}, names).round(3)

# %% mystnb={"image": {"alt": "Correlation of surprisal at each context length, and of cloze, with the sentence means: a dot a row with its interval over items, and the range of exchanged items behind it."}}
title = f"Real EEG ({data.name}): {n} people, {len(table)} sentences"
report.figure("sentence_means", plotting.forest(found, xlabel="correlation over sentence means (r)", title=title))

# %%
last = len(contexts) - 1
grows, grows_null = r[last] - r[0], exchanged[:, last] - exchanged[:, 0]
following = [name for name, own_r, own_p in zip(predictors, r, p, strict=True) if own_r < 0 and own_p <= q]
report.add(n_sentences=len(table), n_exchanges=n_exchanges, ceiling=ceiling["ceiling"].mean())
report.add(first=following[0] if following else "no number of", one_r=r[0], one_p=p[0], q=q)
report.add(grows=grows, grows_p=stats.p_values(grows, grows_null, alternative="two-sided"))
follows = r[last] < 0 < r[-1] and p[[last, -1]].max() <= q
report.claim("surprisal with all context follows the N400, and cloze does", follows)
report.claim("context turns the correlation towards the N400", grows < 0 and report["grows_p"] <= q)
report.claim("cloze follows the N400 more closely than surprisal does", r[-1] > np.abs(r[:-1]).max())
report.claim("surprisal of the noun alone goes with a higher voltage", r[0] > 0 and p[0] <= q)
report.claim("intervals over items are wider than those over people", (over_items > over_people).all())
report

# %% [markdown]
# *What to see:* correlations over {glue:text}`n_sentences` sentence means, with 95 % intervals over items; gray is what 95 % of exchanges give. Surprisal with
# all context follows the N400: the more surprising the noun, the lower the voltage. Cloze follows it as well, with the other sign, and more closely. The
# shortest context whose correlation is negative, with a p of at most {glue:text}`q:g`, is {glue:text}`first` words; the ceiling is {glue:text}`ceiling:.2f`.
# From one word to all context the correlation changes by {glue:text}`grows:+.2f` (p = {glue:text}`grows_p:.3f`, items exchanged): context turns it towards the
# N400. Given the noun alone it is {glue:text}`one_r:+.2f` (p = {glue:text}`one_p:.3f`): such surprisal says little else than how rare and how long the noun is,
# and rare nouns should have a larger N400, a lower voltage; we have no explanation for the reverse. Intervals over items are the wider ones.
#
# ## Single trials
#
# A mean hides that people differ. A {term}`mixed model` predicts every trial from the surprisal, with a slope for each person, and with offsets for each
# person, item and sentence {cite:p}`baayen2008`. Surprisal belongs to the sentence: without those offsets, trials would pretend to be independent. The table
# has slopes in microvolts by standard deviation of the predictor, with 95 % intervals that take people, items and sentences into account.

# %%
rows = trials.drop(columns="cloze").join(predictors / predictors.std(), on="passage")
fits = {}
for name in predictors:
    groups = {"subject": [name], "item": [], "passage": []}
    fits[name] = mixed_model(rows, "n400", [name], random_effects=groups).coefficients.loc[name]
pd.DataFrame(fits).T.set_axis(names)[["estimate", "low", "high"]].astype(float).round(2)

# %% [markdown]
# ## Beyond cloze
#
# Does surprisal know something of the N400 that people's own completions do not? Both go into one model.

# %%
full = predictors.columns[last]
groups = {"subject": ["cloze", full], "item": [], "passage": []}
both = mixed_model(rows, "n400", ["cloze", full], random_effects=groups).coefficients.loc[[full, "cloze"]]
for name, row in zip(("beyond_bits", "beyond_cloze"), both.itertuples(), strict=True):
    report.add(**{name: stats.Estimate(row.estimate, row.low, row.high), f"{name}_p": row.p})
report.claim("beyond cloze, nothing is found in this surprisal", both.loc[full, "p"] > q)
report.claim("beyond this surprisal, cloze follows the N400 (p < 0.001)", both.loc["cloze", "p"] < 0.001)
report

# %% [markdown]
# With both in one model, surprisal with all context has a slope of {glue:text}`beyond_bits` microvolts (p = {glue:text}`beyond_bits_p:.2g`), cloze of
# {glue:text}`beyond_cloze` (p < 0.001). Mind that cloze is itself an estimate, from few people: surprisal can stand in for what it misses of a noun's
# predictability {cite:p}`westfall2016`. Simulations of the default data say that [such standing in adds little](../how_tested.md). A small model sets no bound:
# for larger ones {cite:t}`michaelov2023` report a closer match with the N400 than that of people's own predictions. What we have shown: given all of the
# sentence, the surprisal of a small model follows the N400, cloze follows it more closely, and beyond cloze nothing was found in this surprisal. What we have
# not: anything on longer contexts, or beyond one noun of sentences read word by word.
#
# ## Exercise
#
# Fit the N400 with surprisal at full context, with people as the only random effect. What happens to the slope's interval, and which one is right?
#
# :::{admonition} Solution
# :class: dropdown
# The interval gets narrower without new data: the model takes these sentences for all there are. For a statement about *language*, they have to be random, too.
# :::

# %% tags=["hide-cell"]
careless = mixed_model(rows, "n400", [full], random_effects={"subject": [full]}).coefficients.loc[full]
widths = [row["high"] - row["low"] for row in (careless, fits[full])]
report.claim("without sentences as random effects the interval is narrower", bool(widths[0] < widths[1]))
slopes = pd.DataFrame({"people, items, sentences": fits[full], "people only": careless}).T
slopes[["estimate", "low", "high"]].astype(float).round(2)

# %% [markdown]
# ## Run it on your own data
#
# A folder with ERP amplitudes at one noun of each sentence, and `is_noun`, `item` and `cloze` of words (`brainalign check my_folder` tells what it lacks):
# ```bash
# papermill notebooks/05_context_in_readers.ipynb mine.ipynb -p dataset my_folder -p results my_results
# ```
#
# ## What the paper found
#
# At the noun, {cite:t}`nieuwland2018` found the effect of cloze on the N400 that we find in their data; they asked whether people predict the *article* before.
