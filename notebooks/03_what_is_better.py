# %% [markdown]
# # What is a better model?
#
# {cite:t}`mischler2024` report that over twelve language models the better ones predict the brain better. Before we ask that of brains, this page asks what
# "better" means: how performance is measured, and what two measures have in common.
#
# :::{admonition} In this chapter
# **You will learn** what published benchmark scores can and cannot say; how to measure a model's performance without anyone's benchmark; and what a *graded
# family* of damaged models is, over which the next three pages ask whether performance goes with brain score.
#
# **You need** to know that a language model gives each next word a probability. **It takes** about 15 minutes to read, and a few to run, once.
# :::
#
# ## Parameters

# %% tags=["parameters"]
base: str = "smollm2-135m"  # the intact model, an asset, a folder or a hub name
family: list = []  # models of graded performance; empty: the base and its damages
n_pairs: int = 10  # minimal pairs of each phenomenon
seed: int = 0  # of the pairs
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/03_what_is_better"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
from scipy.stats import binom, spearmanr

from brainalign import plotting
from brainalign.book import Report
from brainalign.features import lesions
from brainalign.features.language import n_layers
from brainalign.models import average, minimal_pair_accuracy, minimal_pairs, next_word, published
from brainalign.simulated.speech import naplib_speech

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## What the benchmarks say
#
# A {term}`benchmark` is a set of questions with known answers. For models of the study's size, about seven billion parameters, the *Open LLM Leaderboard*
# {cite:p}`beeching2023` ran six of them in one and the same way:
#
# | benchmark | what is asked | guessing (%) | examples given |
# | --- | --- | --- | --- |
# | ARC, challenge set {cite:p}`clark2018` | school science, several answers to choose from | about 25 | 25 |
# | HellaSwag {cite:p}`zellers2019` | which of four sentences continues the story | 25 | 10 |
# | WinoGrande {cite:p}`sakaguchi2019` | which of two names fills the blank | 50 | 5 |
# | MMLU {cite:p}`hendrycks2021` | exam questions of 57 subjects, four answers | 25 | 5 |
# | GSM8K {cite:p}`cobbe2021` | school arithmetic in words; the answer is a number | 0 | 5 |
# | TruthfulQA {cite:p}`lin2022` | truth, or a common misconception? | not fixed | none |
#
# `published` holds these scores with the source of every row: mostly an [archive of the
# leaderboard](https://github.com/felipemaiapolo/sloth/blob/6dc6bb3efeefc7c1db01d60cba1f4b73e5d260d1/data/open-llm-leaderboard_old.csv), else the column `url`.
# Below are the twelve models taken for the study's: {glue:text}`n_confirmed` are `named` in public accounts of it (a news summary, a reading note),
# {glue:text}`n_unconfirmed` are guesses. `average` is the mean of {term}`z-scores <z-score>` of the first three benchmarks (models without all three: on top).

# %%
table = published("leaderboard")
study, status, performance = table[table["in_study"]], lesions.registry()["study"], average(table)
guessing = {"arc_challenge": 25, "hellaswag": 25, "winogrande": 50, "mmlu": 25, "gsm8k": 0, "truthfulqa": np.nan}
shown = pd.DataFrame({"average": performance[study.index], "named": status[study.index].eq("confirmed")}, study.index)
shown["kin"], short = study["kin"].str.split("/").str[-1], ["ARC", "Hella", "Wino", "MMLU", "GSM", "Truth"]
shown = shown.join(study[list(guessing)].set_axis(short, axis=1)).rename(lambda name: name.split("/")[-1])
shown.sort_values("average", na_position="first").style.format("{:.1f}", na_rep="", subset=["average", *short])

# %% mystnb={"image": {"alt": "Published scores of the study's models, one column a benchmark, one point a model, in one colour for the three benchmarks of the average and another for those left out; a third colour marks guessing."}}
scores = study[list(guessing)].melt(var_name="benchmark", value_name="score").dropna()
scores["kind"] = np.where(scores["benchmark"].isin(list(guessing)[:3]), "in the average", "left out")
levels = pd.DataFrame({"benchmark": guessing.keys(), "score": guessing.values(), "kind": "guessing"}).dropna()
text = {"xlabel": "benchmark", "ylabel": "correct (%)", "title": "Published scores, Open LLM Leaderboard v1"}
report.figure("published", plotting.points(pd.concat([scores, levels]), "benchmark", "score", hue="kind", **text))

# %% [markdown]
# *What to see:* percent correct, one point a model, in a colour for the three benchmarks that are averaged by default, one for those left out, one for
# guessing. At MMLU {glue:text}`n_mmlu_chance` of {glue:text}`n_mmlu` models are below 30 %, where guessing gives 25 %: noise rather than rank. Of GSM8K
# {glue:text}`n_gsm_floor` of {glue:text}`n_gsm` models solve fewer than 10 %: a floor. And TruthfulQA, in the Pythia family, where only size differs, falls
# with size ({term}`rank correlation <Spearman correlation>` {glue:text}`truthful_size:.2f`, {glue:text}`n_pythia` models): an average would pull two ways.
#
# ## Size, protocol, kinship
#
# The study is said to report a correlation of .92 between performance and brain score (in a signed public review of an earlier version). Were its twelve
# models independent, the 95 % interval would run from {glue:text}`reported_low:.2f` to {glue:text}`reported_high:.2f`. But {glue:text}`n_kin` of them are
# another of the twelve, trained further (`kin`). What models share, be it weights, text, recipe or size, may be what a brain score is sensitive to.

# %%
pythia = table[table.index.str.contains("pythia.*deduped") & table["truthfulqa"].notna()]
sizes = table[table["parameters_millions"] < 15000].assign(average=performance).dropna(subset="average")
sized = sizes[sizes["kin"] == ""]
both = pd.concat([performance, average(published("zero-shot"))], axis=1, keys=["few", "zero"]).dropna()
reported = np.tanh(np.arctanh(0.92) + np.array([-1, 1]) * 1.96 / np.sqrt(12 - 3))  # Fisher's transform
report.add(n_confirmed=status.eq("confirmed").sum(), n_unconfirmed=status.eq("unconfirmed").sum())
report.add(n_mmlu_chance=(study["mmlu"] < 30).sum(), n_mmlu=study["mmlu"].notna().sum())
report.add(n_gsm_floor=(study["gsm8k"] < 10).sum(), n_gsm=study["gsm8k"].notna().sum())
report.add(truthful_size=spearmanr(pythia["parameters_millions"], pythia["truthfulqa"]).statistic, n_pythia=len(pythia))
report.add(size_r=spearmanr(sized["parameters_millions"], sized["average"]).statistic, n_sized=len(sized))
report.add(protocol_r=spearmanr(both["few"], both["zero"]).statistic, n_both=len(both))
report.add(reported_low=reported[0], reported_high=reported[1], n_kin=study["kin"].ne("").sum())
report.claim("most of the scored models fail at GSM8K", report["n_gsm_floor"] > report["n_gsm"] / 2)
report.claim("TruthfulQA falls with size", report["truthful_size"] < 0)
report.claim("the average grows with size", report["size_r"] > 0.5)
report.claim("protocols rank models much alike, not the same", 0.8 < report["protocol_r"] < 0.999)
report

# %% mystnb={"image": {"alt": "Average leaderboard score against the logarithm of the number of parameters, one point a model, the study's models in another colour and all at nearly the same size."}}
kind = np.where(sizes["in_study"], "the study's models", "other models")
sizes = sizes.assign(size=np.log10(sizes["parameters_millions"]), kind=kind)
text = {"xlabel": "parameters (millions, log10)", "ylabel": "benchmark average (z)", "title": "Published scores: size"}
report.figure("size", plotting.points(sizes.sort_values("kind"), "size", "average", hue="kind", **text))

# %% [markdown]
# *What to see:* the average over size (logarithmic), a point for each model, the study's in a second colour. Performance goes with size (rank correlation
# {glue:text}`size_r:.2f`, {glue:text}`n_sized` models): over models of all sizes, unlike the study's, its correlation with brain score may be one of size. The
# {term}`protocol` matters too: without examples benchmarks give other numbers, and the {glue:text}`n_both` models that have both are ranked much alike
# ({glue:text}`protocol_r:.2f`), not the same. `average` refuses a table of mixed protocols.
#
# ## Performance that we can measure ourselves
#
# The twelve are large for a laptop, and this book has to run without the network. Two measures need only the model:
#
# - **Next word.** How well does it predict each word of speech from the words before it? In bits per word ({term}`surprisal`, lower is better), and as the
#   share of words that were its first guess (top 1) or among its first ten (top 10).
# - **Minimal pairs** ({term}`minimal pair`). Of two sentences that differ in one point of grammar, does it find the grammatical one more probable, as in BLiMP
#   {cite:p}`warstadt2020`? Our sentences are generated from templates (six of them below).
#
# Which models? We take one that is small enough, SmolLM2, and **damage** it in graded ways ({term}`graded family`). This is **one model and damaged copies of
# it, not independent models**, with one text, architecture and input embedding. Along such a family we can learn whether losing the ability to predict words
# costs brain score, not whether training better models buys it. Strengths were chosen beforehand, by surprisal on the speech that the {term}`virtual cohort`
# hears, so that performance falls in steps and no single kind of damage carries the range.
#
# | name | damage |
# | --- | --- |
# | `noise=0.2` | random numbers are added to every weight matrix of the blocks, with 0.2 of that matrix's standard deviation |
# | `bits=4` | every weight is rounded to one of 15 evenly spaced values, on one scale for a whole row (the intact model has four bits, too, but a scale for each small block of weights, which is far finer) |
# | `skip=0.2` | a fifth of the blocks is left out |
# | `span=24` | the attention of each block reaches back 24 tokens |

# %%
pairs = minimal_pairs(n_pairs, seed=seed)
pairs.groupby("phenomenon", sort=False).head(1)[["phenomenon", "good", "bad"]].head(6).style.hide(axis="index")

# %%
words, family = naplib_speech().words, list(family) or lesions.graded_family(base)
measured = {spec: next_word(words, spec, device=device)._asdict() for spec in family}
by_phenomenon = pd.DataFrame({spec: minimal_pair_accuracy(pairs, spec, device=device) for spec in family})
skill = pd.DataFrame(measured).T.assign(pairs=by_phenomenon.mean(), blocks=[n_layers(spec) for spec in family])
skill.index = by_phenomenon.columns = [spec.replace(base, "").lstrip("@") or "intact" for spec in family]
skill.style.format("{:.1%}").format("{:.1f}", subset="bits").format("{:.0f}", subset="blocks")

# %%
intact, span = skill.iloc[0], skill[skill.index.str.startswith("span")]
report.add(n_members=len(family), base_bits=intact["bits"], worst_bits=skill["bits"].max(), n_all_pairs=len(pairs))
report.add(base_top1=100 * intact["top1"], base_top10=100 * intact["top10"], base_pairs=100 * intact["pairs"])
report.add(worst_pairs=100 * skill["pairs"].min(), measure_r=spearmanr(-skill["bits"], skill["pairs"]).statistic)
report.add(span_pairs=100 * span["pairs"].min(), span_bits=span["bits"].max())
lucky_low, lucky_high = 100 * np.array(binom.interval(0.95, n_pairs, 0.5)) / n_pairs
report.add(n_phenomena=len(by_phenomenon), n_cell_pairs=n_pairs, cell_low=lucky_low, cell_high=lucky_high)
report.claim("every damage costs bits", skill["bits"].iloc[1:].min() > intact["bits"])
report.claim("the two measures agree in part", 0.3 < report["measure_r"] < 0.95)
spared = (span["pairs"] >= intact["pairs"]) & (span["bits"] > intact["bits"])
report.claim("some shorter reach of attention costs bits and no minimal pairs", spared.any())
report

# %% mystnb={"image": {"alt": "Share of minimal pairs right against bits per word, one point a member of the family, coloured by kind of damage, with a dashed line where guessing lies and two lines that hold 95 percent of guesses."}}
low, high = np.array(binom.interval(0.95, len(pairs), 0.5)) / len(pairs)
text = {"xlabel": "bits per word (lower is better)", "ylabel": "minimal pairs right (share)"}
text["levels"] = {"guessing": 0.5, "guessing, 2.5 %": low, "guessing, 97.5 %": high}
frame, title = skill.assign(kind=skill.index.str.split("=").str[0]), f"{base} and its damaged copies"
report.figure("family", plotting.points(frame, "bits", "pairs", hue="kind", title=title, **text))

# %% mystnb={"image": {"alt": "Colours: share of minimal pairs right, above or below one half, one row a phenomenon and one column a member of the family."}}
text = {"label": "share right, less guessing (0.5)", "xlabel": "", "ylabel": "", "diverging": True}
of_cells = (by_phenomenon - 0.5).set_axis(by_phenomenon.index.str.replace("_", " "))[::-1]
report.figure("phenomena", plotting.heatmaps({base: of_cells}, title="Minimal pairs by phenomenon", **text))

# %% [markdown]
# *What to see:* in the first figure, minimal pairs right over bits per word, one point a member, a colour for each kind of damage; dashed: guessing; other
# lines hold 95 % of guesses. The {glue:text}`n_members` members range from {glue:text}`base_bits:.1f` to {glue:text}`worst_bits:.1f` bits. The intact model has
# {glue:text}`base_top1:.0f` % of the words as its first guess, {glue:text}`base_top10:.0f` % among its first ten, and {glue:text}`base_pairs:.0f` % of the
# {glue:text}`n_all_pairs` pairs right; the worst has {glue:text}`worst_pairs:.0f` %.
#
# The two measures agree in part (rank correlation {glue:text}`measure_r:.2f`): a reach of attention (`span`) that covers these short sentences costs no pair,
# while running speech becomes harder to predict; with the shortest reach, {glue:text}`span_bits:.1f` bits, {glue:text}`span_pairs:.0f` % are still right.
# **"Better" depends on the test.** The second figure has a row for each of {glue:text}`n_phenomena` phenomena, a column a member: red is better than guessing,
# blue worse. A cell holds {glue:text}`n_cell_pairs` pairs; guessing gives anything from {glue:text}`cell_low:.0f` to {glue:text}`cell_high:.0f` %.
#
# ## Exercises
#
# 1. `average` has three rules: the mean of z-scores over models that have all benchmarks, of those that are there, or of the percentages; and one may take
#    all six benchmarks. How much does the order of the study's models change?
# 2. Which members' accuracy on minimal pairs can be told from the intact model's, with so many pairs?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. Little here: z-scores and percentages have a rank correlation of {glue:text}`rule_r:.2f`, three benchmarks and six {glue:text}`all_six_r:.2f`. With so few
#    models that may still decide whether a correlation passes a threshold; choose before you look.
# 2. The {glue:text}`n_told` below {glue:text}`lower_end:.1f` %: of as many pairs, a model as good as the intact one gets fewer right in 2.5 of 100 cases.
#    (Pairs share templates and are not quite independent, so the true end lies somewhat lower.)
# :::

# %% tags=["hide-cell"]
ranks = pd.DataFrame({rule: average(study, rule=rule) for rule in ("z", "z-available", "mean")})
ranks = ranks.assign(all_six=average(study, list(guessing))).corr("spearman")
report.add(rule_r=ranks.loc["z", "mean"], all_six_r=ranks.loc["z", "all_six"])
report.claim("the order of the study's models changes little with the rule", ranks.min(axis=None) > 0.9)
lower_end = binom.ppf(0.025, len(pairs), intact["pairs"]) / len(pairs)
report.add(lower_end=100 * lower_end, n_told=(skill["pairs"] < lower_end).sum())
ranks.round(2)

# %% [markdown]
# ## What we have, and what not
#
# We have two measures of performance for a family of one model's copies, and know that they are not the same measure. From here on performance is minus the
# bits per word on this speech, also where people heard or read other text; the pairs come as a second opinion. [The next page](03_better_models) asks, on
# planted truth, how performance can be held against brain scores. Other models are a list, `family`; a correlation over independent ones says more.
