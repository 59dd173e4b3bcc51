# %% [markdown]
# # Words and blood: people hear a story
#
# By default these are the people of {cite:t}`brennan2016`: they heard the first chapter of *Alice's Adventures in Wonderland*, twelve minutes, in a scanner,
# and the study shared the time courses of six language regions. We get them ready, and ask the simplest question: does blood follow the number of words? (The
# study modelled the regions with word rate as a control, sound power and sentence structure.)
#
# :::{admonition} In this chapter
# **You will learn** how drift and head motion leave a recording without tying its parts together; how words come to the time of blood flow; what chance is
# where everybody hears one story; and what an interval over people says there, and what not.
#
# **You need** [the page before](01_listening_data). **It takes** about 10 minutes to read, and some seconds to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "alice"  # or a folder of your own: BOLD with the same regions in every person
n_blocks: int = 6  # blocks of the recording, each cleaned of drift by itself
skip: int = 10  # volumes left out at the start: the onset of the story
shown: str = "LPTL"  # the region whose course is drawn
n_shifts: int = 999  # circular shifts of word rate, for chance, or all there are
seed: int = 0  # of the shifts
results: str = "results/01_listening_data_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.story import by_subject

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# The loader returns the same type of object as for the virtual cohort. But fMRI has one value for each {term}`volume`, here every {glue:text}`volume_seconds:g`
# s, not for each word, and its signal is the sluggish response of blood flow ({term}`BOLD`), not of nerve cells. (In the files of *Alice* that of one person is
# empty and left out, and the annotation times *n't*, *'ll* and their like as words of their own; they were joined to the word before.)
#
# ## Cleaning each block by itself
#
# The signal drifts, and moves with the head. Later chapters predict one block of the recording from the others. What is removed over the whole run ties the
# blocks together: a model could predict one from the other without a word of text. `by_subject` therefore takes mean, slope, curvature and (where known) head
# motion out of each of {glue:text}`n_blocks` blocks, person by person. The first {glue:text}`skip` volumes, the onset of the story, are left out.

# %%
data = datasets.load_listening(dataset)
bold = by_subject(data, n_blocks, skip=skip)
average, regions = bold.mean("subject"), bold["region"].values
report.add(n_people=bold.sizes["subject"], n_blocks=n_blocks, skip=skip, volume_seconds=np.diff(bold["time"]).mean())
bold

# %% [markdown]
# ## From words to blood
#
# Blood flow peaks some 5 s after an event and dips below its baseline until about 20 s: the {term}`haemodynamic response`. `signals.word_regressors` spreads
# each word over the volumes after it, and takes the drift out of the same blocks. From a column of ones it makes *word rate*.

# %% mystnb={"image": {"alt": "Word rate through the haemodynamic response and the average brain's BOLD signal in one region over the story, with dotted lines between the blocks."}}
times, ones = bold["time"].to_numpy(), np.ones((len(data.words), 1))
word_rate = signals.word_regressors(ones, data.words, times, n_blocks=n_blocks).to_numpy()[:, 0]
word_rate = word_rate / word_rate.std()
courses = pd.DataFrame({"word rate through the haemodynamic response": word_rate, shown: average.loc[:, shown]}, times)
courses /= courses.std(ddof=0)
report.add(group_r=courses.corr().iloc[0, 1])
text = {"ylabel": "s.d.", "title": f"Real fMRI ({data.name}): mean of {report['n_people']} people", "together": True}
marks = [block[0] for block in np.array_split(times, n_blocks)[1:]]
report.figure("word_rate", plotting.traces(courses, marks=marks, **text))

# %% [markdown]
# *What to see:* two courses over time: word rate, which dips where the reader pauses, and the mean of all people in one region (by default left posterior
# temporal lobe, LPTL); dotted: between blocks. Their correlation is {glue:text}`group_r:.2f`, above single people's (below), as averaging removes noise.
#
# ## In each person, and by what chance?
#
# Each person and region has its correlation. For chance, word rate is shifted ({term}`circular shift`) in {glue:text}`n_shifts` ways, by default all there are.

# %%
each = np.einsum("t,str->sr", word_rate, bold) / len(times)
order = stats.Shifts(n_shifts, min_shift=10, seed=seed).orders(len(times))
by_chance = np.einsum("kt,tr->kr", word_rate[order], average) / len(times)
report.add(n_shifts=len(order))
p, means = stats.p_values(each.mean(0), by_chance), stats.mean_over_subjects(each, bold["subject"].values)
report.add(least_r=means[means.value.argmin()], most_r=means[means.value.argmax()], largest_p=p.max())
report.claim("word rate goes with blood flow in every region, beyond chance", p.max() <= 0.05)
report

# %% mystnb={"image": {"alt": "Correlation of word rate with BOLD: a dot for each person in each region, the mean with its interval, and a black line below which 95 percent of shifts lie."}}
text = {"ylabel": "correlation with word rate (r)", "title": f"Real fMRI ({data.name}): word rate in each person"}
people, chance = pd.DataFrame(each, columns=regions), np.quantile(by_chance, 0.95, axis=0)
report.figure("word_rate_by_person", plotting.by_region(people, means, chance, **text))

# %% [markdown]
# *What to see:* gray dots are the {glue:text}`n_people` people, blue dots their mean with its 95 % interval (Student's t), black lines the level below which
# 95 % of the shifts lie. (By default left and right anterior temporal lobe, LATL and RATL; left posterior temporal, inferior parietal, premotor and inferior
# frontal, LPTL, LIPL, LPreM and LIFG.) The mean runs from {glue:text}`least_r` to {glue:text}`most_r`; word rate goes with blood flow in every region, beyond
# chance (p = {glue:text}`largest_p:.3f` at most). The intervals say how precise a mean is for *this* story. They are no evidence that word rate it is: anything
# with a similar course in this story fits all people alike. Can a language model do better? [The next chapter](02_layer_alignment_in_people) asks.
#
# ## Exercise
#
# The first volumes were left out. Set `skip` to 0: what happens to the correlations, and is that good news?
#
# :::{admonition} Solution
# :class: dropdown
# All of them rise. The onset is a large contrast, and all that sets in with the story goes with it, word rate and a bare "sound on" alike: people heard
# something, which does not say that their blood follows words.
# :::

# %% tags=["hide-cell"]
by_skip = {}
for left_out in (0, skip):
    some = by_subject(data, n_blocks, skip=left_out).mean("subject").to_pandas()
    rate = signals.word_regressors(ones, data.words, some.index.to_numpy(), n_blocks=n_blocks).to_numpy()[:, 0]
    by_skip[left_out] = some.corrwith(pd.Series(rate, some.index))
report.claim("with the onset of the story all correlations are higher", (by_skip[0] > by_skip[skip]).all())
pd.DataFrame(by_skip).rename_axis(columns="volumes left out").round(2)

# %% [markdown]
# ## Run it on your own data
#
# A folder with a BOLD signal, word times, and channels that name person and region (`brainalign check my_folder` tells what is missing):
#
# ```bash
# papermill notebooks/01_listening_data_in_people.ipynb mine.ipynb -p dataset my_folder -p shown STG -p results my_results
# ```
