# %% [markdown]
# # When does an electrode respond?
#
# Distance from Heschl's gyrus is one measure of an electrode's place in the hierarchy. Another is time: what is farther up should respond later
# ({term}`response lag`). {cite:t}`mischler2024` used both. This page measures the lag where it was planted, and says how strongly peak layers follow either.
#
# :::{admonition} In this chapter
# **You will learn** how a temporal receptive field gives an electrode's lag, what drives it, and how to put an interval on a correlation of few people.
#
# **You need** [peak layers and their jackknife](02_layer_order). **It takes** about 10 minutes to read, and a minute to run, features computed.
# :::
#
# ## Parameters

# %% tags=["parameters"]
model: str = "smollm2-135m"  # language model: an asset, a folder or a hub name
snr: float = 1.0  # planted variance over that of one repeat's noise, at words
n_depths: int = 9  # layers, evenly spaced, among which peak layers are looked for
n_splits: int = 5  # contiguous folds of the outer cross-validation
gap: int = 5  # words left out between training and test words
q: float = 0.05  # false discovery rate of the selection of electrodes
seed: int = 0  # of the bootstrap
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/06_response_lag"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd

from brainalign import datasets, plotting, signals, stats
from brainalign.book import Report
from brainalign.features.acoustics import envelope
from brainalign.features.language import layer_features, n_layers
from brainalign.layers import alignment, alignment_difference, peak_layer
from brainalign.mixed import mixed_model
from brainalign.ridge import ContiguousKFold, cross_validate, response_lag
from brainalign.signals import word_drive

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## What drives an electrode?
#
# The electrodes are those of [the chapter's first page](06_beyond_acoustics): virtual, with little noise, selected because they respond to speech. A ridge
# regression from each layer gives each its [peak layer](02_layer_order) and, from that layer, held-out predictions of its word responses.
#
# A {term}`temporal receptive field` is a regression of the signal on a drive at every lag; its highest weight marks the lag. For sound the drive is the
# {term}`envelope`. For words it cannot be the mere fact that a word occurred: an electrode that follows their *content* rises for one and falls for another,
# and its average response is flat. So we put at the centre of each word an impulse as high as the response that the electrode's best layer predicts, held
# out as ever, and ask when the signal follows. Intervals come from leaving out tenths of the recording; we keep lags known to within 50 ms.

# %%
data = datasets.load_listening("virtual", snr=snr)
words = data.words
responsive = signals.speech_responsive(data.signal, words, q=q)["responsive"] & data.channels["distance_pmc"].notna()
chosen = data.select(responsive.to_numpy())
electrodes, truth, people = chosen.channels, chosen.truth, chosen.channels["subject"].to_numpy()
layers = np.unique(np.linspace(0, n_layers(model), n_depths).round().astype(int))
states = layer_features(words, model, layers=layers, start_token=True, device=device)
folds = {"cv": ContiguousKFold(n_splits, gap=gap), "inner_cv": 2, "groups": words["passage"].to_numpy()}
search = {"alphas": np.logspace(0, 7, 8), "return_predictions": True, "device": device}
fit = cross_validate(states, chosen.responses, **folds, **search)
peak = peak_layer(fit["score"])

# %% mystnb={"image": {"alt": "Response lag of each electrode with its interval against distance from Heschl's gyrus, and the planted lags."}}
signal = chosen.signal.mean("repeat")
lag = response_lag(signal, word_drive(fit["prediction"].sel(layer=peak), words, signal["time"]))
reliable = ((lag["high"] - lag["low"] < 0.1) & (lag["score"] > 0)).to_numpy()
loudness = envelope(*data.audio)[:, 0].interp(time=signal["time"], kwargs={"fill_value": 0.0})
to_sound = response_lag(signal, loudness)
ms, distance, who = 1000 * lag[reliable], electrodes["distance_pmc"].to_numpy()[reliable], people[reliable]
known = electrodes[reliable].assign(lag=1000 * truth["lag"][reliable], kind="planted")
error = ms["lag"] - known["lag"]
beyond = error.notna() & (distance > np.median(distance))
by_lag = alignment(ms["lag"], distance, subjects=who)
by_sound = alignment(to_sound["lag"], electrodes["distance_pmc"], subjects=people)
report.add(n_electrodes=len(lag), n_reliable=reliable.sum(), lag_step=1000 * float(signal["time"].diff("time")[0]))
report.add(lag_error=error.abs().mean(), lag_bias=error.mean(), lag_longest=1000 * truth["lag"].max(), lag_r=by_lag)
report.add(lag_halfway=np.median(distance), lag_below=100 * np.mean(error[beyond] < 0), sound_lag_r=by_sound)
report.claim("lags grow with distance", by_lag.low > 0)
report.claim("lags behind the envelope do not grow with distance", by_sound.low <= 0)
depth = electrodes[reliable].assign(lag=ms["lag"], low=ms["low"], high=ms["high"], kind="estimated, with 95 % interval")
text = {"xlabel": "geodesic distance from Heschl's gyrus (mm)", "ylabel": "response lag (ms)"}
text["title"] = "When electrodes respond, virtual cohort"
report.figure("lags", plotting.points(pd.concat([depth, known]), "distance_pmc", "lag", hue="kind", **text))

# %% [markdown]
# *What to see:* lag against distance, of {glue:text}`n_reliable` of {glue:text}`n_electrodes` electrodes; both rise together (rank correlation
# {glue:text}`lag_r`). Up to {glue:text}`lag_longest:.0f` ms were planted; estimates are off by {glue:text}`lag_error:.0f` ms on average, bias
# {glue:text}`lag_bias:+.0f` ms (samples: {glue:text}`lag_step:.0f` ms). Beyond {glue:text}`lag_halfway:.0f` mm, the lags of {glue:text}`lag_below:.0f` % of
# electrodes are too low; we do not know why. The lag behind the *envelope*, which needs no language model, does not grow with distance (rank correlation
# {glue:text}`sound_lag_r`): the delay of the sound's share was drawn at random, and far electrodes hold hardly any sound, so there is nothing to find.
#
# ## Three intervals
#
# How strongly do peak layers follow each measure of depth? Every interval counts people. We compare the rank correlation with the {term}`jackknife` of
# chapter 2, the same with a {term}`bootstrap` over people (its standard error held against Student's t, as plain quantiles would be too narrow), and a
# {term}`mixed model`, a linear regression in which each person has an intercept and a slope.

# %%
top, euclidean = peak.to_numpy()[reliable], electrodes["distance_pmc_euclidean"].to_numpy()[reliable]
measures = {"geodesic distance (mm)": distance, "Euclidean distance (mm)": euclidean}
measures["response lag (ms)"] = ms["lag"].to_numpy()
rows = {}
for name, measure in measures.items():
    ways = {way: alignment(top, measure, subjects=who, method=way, seed=seed) for way in ("jackknife", "bootstrap")}
    rows[name] = {f"rank correlation, {way}": f"{found:.2f}" for way, found in ways.items()}
    trials = pd.DataFrame({"layer": top, "depth": measure / 10, "person": who})
    slope = mixed_model(trials, "layer", ["depth"], random_effects={"person": ["depth"]}).coefficients.loc["depth"]
    rows[name]["layers per 10 mm or ms"] = f"{stats.Estimate(*slope[['estimate', 'low', 'high']], len(set(who))):.2f}"
    report.claim(f"peak layers follow {name.split(' (')[0]}", ways["jackknife"].low > 0)
pd.DataFrame(rows).T

# %%
gain = alignment_difference(top, distance, euclidean, subjects=who)
report.add(metric_gain=gain)
report.claim("geodesic distance orders peak layers better than Euclidean does", gain.low > 0)
report

# %% [markdown]
# Peak layers follow distance and the response lag; geodesic distance, along the surface, orders them better than Euclidean, by {glue:text}`metric_gain`. All
# this is by construction: layer and lag were planted to grow with geodesic distance. The lag also rests on the peak layer: the two are not independent.
#
# ## Exercise
#
# Drive the field by mere word onsets, the same impulse for every word. Are lags known better or worse?
#
# :::{admonition} Solution
# :class: dropdown
# Worse: fewer lags are known to within 50 ms. What all words have in common is the rise during speech, which is broad.
# :::

# %% tags=["hide-cell"]
centres = words[["onset", "offset"]].mean(axis=1).to_numpy()
alike = signal.isel(channel=0).copy(data=np.histogram(centres, np.append(signal["time"], np.inf))[0].astype(float))
plain = response_lag(signal, alike)
known_well = (plain["high"] - plain["low"] < 0.1) & (plain["score"] > 0)
report.claim("with mere onsets fewer lags are known", int(known_well.sum()) < reliable.sum())
print(f"{known_well.sum()} of {len(plain)} lags are known to within 50 ms; with content {reliable.sum()}")

# %% [markdown]
# `papermill notebooks/06_response_lag.ipynb noisy.ipynb -p snr 0.1 -p results noisy` makes a cohort as noisy as real recordings are.
#
# {cite:t}`mischler2024` report that models align with the cortical hierarchy, with depth measured by distance from Heschl's gyrus and, as a check, by
# response lag, which gives the same picture. As far as open sources tell, electrodes were independent samples there; here people are.
