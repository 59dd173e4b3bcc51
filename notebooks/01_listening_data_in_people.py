# %% [markdown]
# # Words and blood: 27 people hear *Alice*
#
# {cite:t}`brennan2016` recorded functional MRI while participants listened to the first chapter of *Alice's
# Adventures in Wonderland*, twelve minutes, and shared the time courses of six language regions. They are the people of this book's first half.
# This page gets their data ready, and asks of them the simplest question there is: does blood follow the number of words?
#
# :::{admonition} In this chapter
# **You will learn**
# how drift and head motion leave a recording without tying its parts together; how words come to the time of blood flow; what chance is where
# everybody hears one story; and what an interval over people says there, and what not.
#
# **You need** [the page before](01_listening_data).
#
# **It takes** about 10 minutes to read, and some seconds to run.
# :::

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
dataset: str = "alice"  # or a folder of your own: BOLD with the same regions in every person
n_blocks: int = 6  # blocks of the recording, each cleaned of drift by itself
skip: int = 10  # volumes left out at the start: the onset of the story
shown: str = "LPTL"  # the region whose course is drawn
n_shifts: int = 999  # circular shifts of word rate, for chance
seed: int = 0  # of the shifts
results: str = "results/01_listening_data_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.datasets.alice import motion
from brainalign.story import by_subject

plotting.use_style()
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# The loader returns the same type of object as for the virtual cohort, with two differences: fMRI has no value for each word but one for each **volume**, every 2 s, and its signal
# is the sluggish response of blood flow (BOLD), not of nerve cells.

# %%
data = datasets.load_listening(dataset)
data

# %% [markdown]
# Twenty-seven of the 28 people of *Alice* have data (one file is empty), in scanner units. The annotation times *n't*, *'ll* and their like as words of their own; they
# were joined to the word before.
#
# ## Cleaning each block by itself
#
# Such a signal drifts, and moves with the head. Later chapters predict one block of two minutes from the others, so everything that is taken out must leave each block by itself: what is removed over the whole run ties its parts together, and a model could predict one from the other
# without a word of text. `by_subject` takes mean, slope, curvature and six motion parameters out of each of {glue:text}`n_blocks` blocks, person by person. The first {glue:text}`skip` volumes are left out: there the story sets in after silence, one large event.

# %%
bold = by_subject(data, n_blocks, skip=skip, confounds=motion(data))
average = bold.mean("subject")
regions = list(bold["region"].values)
report.add(n_people=bold.sizes["subject"], n_blocks=n_blocks, skip=skip)
bold

# %% [markdown]
# ## From words to blood
#
# To compare words with volumes, words have to be brought to the volumes' time. Blood flow peaks some 5 s after the event and
# dips below its baseline until about 20 s: the {term}`haemodynamic response`. `signals.word_regressors` spreads each word over the volumes that come after it, and takes the drift out of the same blocks. Applied to a column of ones it gives *word rate*, the simplest
# prediction one can make: more blood where more words were heard.

# %%
times = bold["time"].to_numpy()
ones = np.ones((len(data.words), 1))
word_rate = signals.word_regressors(ones, data.words, times, n_blocks=n_blocks).to_numpy()[:, 0]
word_rate = word_rate / word_rate.std()
course = average.sel(region=shown) / average.sel(region=shown).std()
report.add(group_r=np.corrcoef(word_rate, course)[0, 1])
report

# %% mystnb={"image": {"alt": "Word rate through the haemodynamic response and the average brain's BOLD signal in one region over twelve minutes, with dotted lines between the six blocks."}}
courses = pd.DataFrame({"word rate through the haemodynamic response": word_rate, shown: course}, index=times)
title = f"Real fMRI ({data.name}): mean of {report['n_people']} people"
begins = [block[0] for block in np.array_split(times, n_blocks)[1:]]
report.figure("word_rate", plotting.traces(courses, marks=begins, ylabel="s.d.", title=title, together=True))

# %% [markdown]
# *What to see:* dips in word rate are pauses in the reading; dotted lines part the blocks. The blood of left posterior temporal lobe (LPTL) tends to follow (r = {glue:text}`group_r:.2f`).
#
# ## In how many people, and by what chance?
#
# The correlation in each person and region, and for chance: word rate is shifted in a circle against the blood, {glue:text}`n_shifts` times, and the mean over people taken of each shift.

# %%
each = xr.DataArray(np.einsum("t,str->sr", word_rate, bold) / len(times), dims=("subject", "region"))
order = stats.circular_shifts(len(times), n_shifts, min_shift=10, seed=seed)
by_chance = np.einsum("kt,tr->kr", word_rate[order], average) / len(times)
p = stats.p_values(each.mean("subject").values, by_chance)
means = stats.mean_over_subjects(each.values, bold["subject"].values)

# %%
report.add(
    n_shifts=n_shifts, least_r=means[means.value.argmin()], most_r=means[means.value.argmax()], largest_p=p.max()
)
report.claim("word rate goes with blood flow in every region, beyond chance", p.max() <= 0.05)
report

# %% mystnb={"image": {"alt": "Correlation of word rate with BOLD: a dot for each person in each region, the mean with its interval, and a black line below which 95 percent of shifts lie."}}
people = pd.DataFrame(each.values, columns=regions)
chance = np.quantile(by_chance, 0.95, axis=0)
text = {"ylabel": "correlation with word rate (r)", "title": f"Real fMRI ({data.name}): word rate in each person"}
report.figure("word_rate_by_person", plotting.by_region(people, means, chance, **text))

# %% [markdown]
# *What to see:* gray dots are the {glue:text}`n_people` people, blue dots their mean with its 95 % interval (Student's t), black lines the level below which 95 % of the shifts lie. Regions: left and right anterior temporal lobe (LATL, RATL), left posterior temporal (LPTL), inferior parietal
# (LIPL), premotor (LPreM) and inferior frontal (LIFG). The mean correlation runs from {glue:text}`least_r` to
# {glue:text}`most_r`; word rate goes with blood flow in every region, beyond chance (p = {glue:text}`largest_p:.3f` at most). A single person's fMRI is noisy, so these numbers are
# small. The intervals say how precise a mean is for *this* story; they are no evidence that word rate it is, as anything with a similar course in this one story fits all people alike. Any language model has to do better than *counting words*; whether it
# does is a question for the next chapter.
#
# ## Exercise
#
# The first volumes were left out. Set `skip` to 0: what happens to the correlations, and is that good news?
#
# :::{admonition} Solution
# :class: dropdown
# Some of them rise. Silence before the story and speech after it is the largest contrast of the recording, and everything that sets in with the story goes with it, word rate and a bare "sound on" alike. It says that people heard something, not that their blood follows words.
# :::

# %% tags=["hide-cell"]
for left_out in (0, skip):
    some = by_subject(data, n_blocks, skip=left_out, confounds=motion(data)).mean("subject")
    rate = signals.word_regressors(ones, data.words, some["time"].to_numpy(), n_blocks=n_blocks).to_numpy()[:, 0]
    r = [np.corrcoef(rate, some.sel(region=region))[0, 1] for region in regions]
    print(
        f"{left_out:2d} volumes left out:",
        " ".join(f"{name} {value:.2f}" for name, value in zip(regions, r, strict=True)),
    )

# %% [markdown]
# ## Run it on your own data
#
# A folder with a BOLD signal, word times, and channels that name person and region (`brainalign check my_folder` tells what is missing):
#
# ```bash
# papermill notebooks/01_listening_data_in_people.ipynb mine.ipynb \
#   -p dataset my_folder -p shown STG -p results my_results
# ```
#
# ## What the paper found
#
# {cite:t}`brennan2016` modelled the six regions with word rate, sound power and
# measures of sentence structure; word rate was among their control predictors, as it is in the next chapter.
