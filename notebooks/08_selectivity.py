# %% [markdown]
# # Selectivity from sentences alone
#
# [The last page](08_encoding_and_selectivity) fitted a model of how every place of the cortex responds to captions. A fitted model takes *any* sentence. So we
# can ask a place something that no scanner was ever asked: how would it respond to "A bowl of hot soup"?
#
# :::{admonition} In this chapter
# **You will learn** how to find out from sentences what a place prefers, how to tell that from what any sentences give, and whether a model works for others.
#
# **You need** [the page before](08_encoding_and_selectivity). **It takes** about 15 minutes to read, and a minute or two to run on two cores.
# :::
#
# ## Parameters

# %% tags=["parameters"]
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
n_people: int = 4  # virtual people
n_folds: int = 5  # parts of the training images that choose the penalties
hemisphere: str = "right"  # which one the maps show: "left" or "right"
q: float = 0.05  # false discovery rate
seed: int = 0  # of the exercise
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/08_selectivity"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.metrics import roc_auc_score

from brainalign import datasets, plotting, rsa, stats
from brainalign.book import Report
from brainalign.features.captions import embed
from brainalign.ridge import RidgeSweepCV
from brainalign.ridge.vertexwise import encode, members, region_ceilings, region_means, responses_of
from brainalign.rsa import searchlight

plotting.use_style()
report = Report(results)

# %% [markdown]
# The people and their models are those of the page before. Besides captions, something else was planted: {term}`vertices <vertex>` in *zones* for people,
# places and food follow what that category adds to a caption, at centres where the literature describes such areas.

# %%
data = datasets.load_viewing("virtual", embeddings=embeddings, n_subjects=n_people, device=device)
fitted = encode(data, embed(data.captions, embeddings, device=device).values, cv=n_folds, device=device)
vertices = fitted.predicted["vertex"].values
drive, zone = (data.truth.loc[vertices, column].to_numpy() for column in ("drive", "zone"))
noise, told = drive == "none", drive == "caption"
regions = members(data.rois, vertices)
high = [roi for roi in regions if roi != "early"]
report.add(n_people=n_people, n_vertices=len(vertices), q_percent=100 * q)
pd.Series(zone[zone != ""]).value_counts().rename("vertices in zones").to_frame().T

# %% [markdown]
# ## Sentences that nobody saw
#
# That is the use that {cite:t}`doerig2025` make of such models: put sentences about people, places and food through them, and compare. Where the predicted
# response to people is larger than that to places, the vertex prefers people ({term}`contrast`). The sentences below are ours, five of each kind as in the
# study, written before any map was drawn. Ten more say nothing in particular; one of these was replaced after a first look, because it named somebody.

# %%
asked = {
    "people": """A woman smiles at the camera. Two men are shaking hands. A crowd of children is playing together. The
        face of an old man. A girl and her brother are dancing.""",
    "places": """An empty street between tall buildings. A quiet beach under a wide sky. A living room with large
        windows. A valley with a river and mountains behind it. The inside of an old railway station.""",
    "food": """A plate of fresh fruit. A slice of pizza with melted cheese. A bowl of hot soup and some bread. Chocolate
        cake with strawberries. A table full of vegetables and meat.""",
    "neutral": """This is one of many pictures. Here you can see something. The picture was taken some time ago. There
        is not much to say about this. It looks the way one would expect. This is the next one of them. Something can be
        seen here. The picture was made with a camera. Nothing about this is special. One could describe it in other
        words.""",
}
sentences = {name: [f"{' '.join(part.split())}." for part in text.split(".")[:-1]] for name, text in asked.items()}
embedded = {name: embed(lines, embeddings, device=device).values for name, lines in sentences.items()}
predicted = {name: fitted.respond(values) for name, values in embedded.items()}  # (subject, item, vertex)

# %% [markdown]
# The study drew these maps where a t-test over its eight people gave p < 0.05, *without* correction for the number of places. We draw them so, and count what
# is left at a {term}`false discovery rate` of {glue:text}`q_percent:g` %. The last row is planted: zones for people red, for places blue, for food white.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Inflated hemisphere from the side, the middle and below; rows for people minus places, food minus people and neutral sentences, where p is below 0.05 without correction, in red for positive and blue for negative differences, and for the planted zones."}}
people, places, food = (predicted[name].mean("item") for name in ("people", "places", "food"))
contrasts, neutral = {"people - places": people - places, "food - people": food - people}, predicted["neutral"]
contrasts["neutral - neutral"] = neutral[:, :5].mean("item") - neutral[:, 5:].mean("item")
contrasts = xr.Dataset(contrasts).to_array("contrast").rename(vertex="centre")  # (contrast, subject, centre)
tested = searchlight.group_map(contrasts, q)
means = tested["mean"].to_pandas().T
passed, limit = means.where((tested["p"] < 0.05).to_pandas().T), means.abs().quantile(0.995).max()
text = {"label": "predicted difference (s.d.)", "limits": (-limit, limit), "cmap": "RdBu_r", "hemisphere": hemisphere}
panels = passed.assign(planted=pd.Series(zone, vertices).map({"person": limit, "place": -limit, "food": 0.0}))
report.figure("contrasts", plotting.surface_maps(dict(panels.items()), title=f"p < 0.05, {data.name}", **text))

# %%
beyond, marked = regions[high].any(axis=1).to_numpy(), passed.notna()
counts = means.std().to_frame("size (s.d. over vertices)")
counts["p < 0.05 uncorrected (%)"] = 100 * marked.mean()
counts["in the regions beyond early (%)"] = 100 * marked[beyond].mean()
counts["after correction (%)"] = 100 * tested["rejected"].mean("centre").to_series()
report.add(marked_early=100 * (drive[marked["people - places"]] == "pixels").mean(), fdr_left=tested["rejected"].sum())
report.add(neutral_marked=counts.loc["neutral - neutral", "in the regions beyond early (%)"])
report.claim("hardly anything is left after correction over vertices", report["fdr_left"] < 0.01 * len(vertices))
report.claim("without it, sentences that say nothing mark more than 5 %", report["neutral_marked"] > 5)
counts.round(2)

# %% [markdown]
# *What to see:* red is where people (or food) are expected to give the larger response, blue where places (or people) are. Not all of it was planted:
# {glue:text}`marked_early:.0f` % of what people - places marks lies in early cortex, which pixels drive and captions stand in for.
# After correction {glue:text}`fdr_left` vertices of all three maps together are left: {glue:text}`n_people` people are few for so many tests. Without it,
# {glue:text}`neutral_marked:.0f` % of the vertices beyond early cortex are marked for sentences that say nothing: p does not replace a look at size.
#
# ## Are the planted zones the ones with the largest contrasts?
#
# The mean contrast in each zone, with a t-test over people corrected over all rows; and the {term}`area under the curve` for zones against vertices of noise
# and against the *other* vertices driven by captions, turned so that 1 is the expected sign.

# %%
wanted = [("people - places", "person", 1), ("people - places", "place", -1), ("food - people", "food", 1)]
wanted += [("food - people", "person", -1), *(("neutral - neutral", kind, 1) for kind in ("person", "place", "food"))]
rows = []
for name, kind, sign in wanted:
    here, values = zone == kind, contrasts.sel(contrast=name).values
    each = values[:, here].mean(1)
    rows.append({"contrast": name, "zones": kind, "mean (s.d.)": each.mean(), "p": stats.one_sample_t(each)[1]})
    for against, kept in {"noise": here | noise, "other driven": here | told}.items():
        aucs = [roc_auc_score(here[kept], sign * one[kept]) for one in (values.mean(0), *values)]
        rows[-1] |= {f"AUC against {against}": aucs[0], f"least in one person, {against}": min(aucs[1:])}
zones = pd.DataFrame(rows).set_index(["contrast", "zones"])
zones.insert(1, "p (FDR)", stats.fdr(zones.pop("p").to_numpy())[1])
meant, idle = zones.loc[["people - places", "food - people"]], zones.loc["neutral - neutral"]
report.add(auc_least=meant["AUC against noise"].min(), auc_least_all=meant["AUC against other driven"].min())
report.add(auc_single=meant["least in one person, noise"].min(), neutral_p=idle["p (FDR)"].min())
report.add(neutral_size=idle["mean (s.d.)"].abs().max(), topic_size=meant["mean (s.d.)"].abs().min())
report.add(neutral_auc=np.maximum(idle["AUC against noise"], 1 - idle["AUC against noise"]).max())
report.claim("the zones have the largest contrasts", report["auc_least"] > 0.9 and report["auc_least_all"] > 0.75)
report.claim("even a contrast without a topic has a small p over people in some zone", report["neutral_p"] <= 0.05)
report.claim("neutral differences are small in size", report["neutral_size"] < 0.5 * report["topic_size"])
small = {"p (FDR)": lambda value: "below 0.0001" if value < 1e-4 else f"{value:.1g}"}
zones.drop(columns="least in one person, other driven").style.format("{:.3f}").format(small, subset=list(small))

# %% [markdown]
# *What to see:* against noise, which is easy, the mean maps of the two contrasts find the zones with {glue:text}`auc_least:.3f` or more, single people with
# {glue:text}`auc_single:.3f` or more; against *other vertices driven by captions*, mean maps do with {glue:text}`auc_least_all:.3f` or more.
# Of the neutral sentences nothing should come out, and yet the least of their corrected p-values is {glue:text}`neutral_p:.2g`: no two sets of sentences are
# equal to the model, so that their difference points *somewhere*, and people share tuning. A small p over people says that a difference is consistent, not what
# it is about. Nor does the area under the curve against noise, up to {glue:text}`neutral_auc:.2f` in one direction or the other. Size does: at most
# {glue:text}`neutral_size:.3f` s.d. in a zone, where contrasts that are meant have {glue:text}`topic_size:.3f` or more.
#
# ### Is it the sentences?
#
# Five sentences are few, and they differ in more than their topic. We split the ten about people and places into two halves in all ways. If the topic is what
# counts, the true split gives the strongest map. The ten neutral sentences, split in all ways, show how strong a map is without a topic.

# %%
halves = [half for half in combinations(range(10), 5) if 0 in half]
sign = np.array([[0.2 if sentence in half else -0.2 for sentence in range(10)] for half in halves])
ten = xr.concat([predicted["people"], predicted["places"]], "item").mean("subject").values
strength = pd.DataFrame({"splits of people and places": (sign @ ten).std(1)})
strength["splits of neutral"] = (sign @ neutral.mean("subject").values).std(1)
true = strength.iloc[0, 0]  # in the first split, the first half holds the five about people
p_split = (strength["splits of people and places"] >= true - 1e-12).mean()
report.add(n_splits=len(halves), true_split=true, neutral_top=strength["splits of neutral"].max(), p_split=p_split)
report.claim("the true split gives the strongest map of all", p_split <= 1 / len(halves))
report.claim("no split of neutral sentences is nearly as strong", report["neutral_top"] < 0.75 * true)
report

# %% mystnb={"image": {"alt": "Histograms of the strength of maps: splits of ten sentences about people and places, splits of ten neutral sentences, and a line at the true split."}}
text = {"xlabel": "strength of the map (s.d. over vertices)", "title": f"{data.name}; blue: people - places"}
report.figure("splits", plotting.null(strength, dict.fromkeys(strength, true), counted="splits", **text))

# %% [markdown]
# *What to see:* in gray all splits, in blue the true one. It has a strength of {glue:text}`true_split:.2f`, the strongest of neutral splits
# {glue:text}`neutral_top:.2f`. Of all {glue:text}`n_splits`, a share of {glue:text}`p_split:.3f` is as strong, itself included. This is a test over
# *sentences*, and about these ten only. **Prediction is not observation.** A model knows only the directions in which the training captions differ; of a
# sentence from another world it will say something, and nothing warns us. Predicted selectivity asks to be confirmed by pictures.
#
# ## One person's model, another person's brain
#
# If people's vertices are tuned alike, a model trained on one person should predict another. It has seen neither the person nor the images.

# %% mystnb={"image": {"alt": "One matrix of people by people for each region: rows the person that the model was trained on, columns the one it was tested on, coloured by the score."}}
across = region_means(fitted.across(), regions)  # (region, trained, subject)
matrices = {roi: across.sel(region=roi).to_pandas() for roi in regions}
text = {"label": "score (Pearson r)", "xlabel": "tested on", "ylabel": "trained on", "title": data.name}
report.figure("across", plotting.heatmaps(matrices, **text))

# %%
own = xr.concat([across.sel(trained=who, subject=who, drop=True) for who in data.subjects], across["subject"])
columns = {
    "own model": own,
    "another's model": (across.sum("trained") - own) / (n_people - 1),
    "mean of others' models": region_means(fitted.of_others(), regions),
    "others' responses": region_means(fitted.agreement(), regions),
    "noise ceiling": region_ceilings(data),
}
table = pd.DataFrame({name: values.mean("subject").to_pandas() for name, values in columns.items()})
lost = rsa.subject_tests((own - columns["another's model"]).rename(region="model")).models
versus = columns["mean of others' models"] - columns["others' responses"]
versus = rsa.subject_tests(versus.rename(region="model")).models
for name, test in {"own - another's": lost, "others' models - their responses": versus}.items():
    table[name] = [str(stats.Estimate(*row)) for row in test[["mean", "low", "high"]].values]
kept = table["another's / own (%)"] = 100 * (columns["another's model"] / own).mean("subject").to_pandas()
low, most = kept[high].min(), kept[high].max()
report.add(kept_low=low, kept_high=most, early_kept=kept["early"], lost_p=lost["p_fdr"][high].max())
report.claim("beyond early cortex another person's model loses more than by chance", report["lost_p"] < 0.001)
report.claim("another person's model keeps over half of the score, not all", 50 < low < most < 100)
report.claim("in early cortex the measured responses of others are ahead of their models", versus["high"]["early"] < 0)
table.round(2).T

# %% [markdown]
# *What to see:* beyond the early region another person's model keeps {glue:text}`kept_low:.0f` to {glue:text}`kept_high:.0f` % of the score of one's own (on
# the diagonal), {glue:text}`early_kept:.0f` % in it; the loss, in the table with its 95 % interval over people, is what they do not share (p < 0.001 in each of
# these regions, corrected over regions). The table also holds the mean of the others' models beside the others' *measured responses to the very images*: it is
# free of their noise, but also of all that captions do not tell. In the early region the measured responses are ahead.
#
# All of this is true by construction: zones were planted along what categories add to captions, and how far another's model carries follows from how much
# tuning was made common. It says nothing about people; [the next page](08_encoding_and_selectivity_in_people) does.
#
# ## Exercises
#
# 1. Make a contrast from one sentence of each kind instead of five. How alike are the maps of different sentences?
# 2. What do contrasts find where there is nothing? Exchange the images of each person before fitting, and draw people - places from these models.
#
# :::{admonition} Solutions
# :class: dropdown
# 1. Maps of single sentences are alike, but not the same: a sentence says more than its topic. The mean over five keeps what they have in common.
# 2. The contrasts are small and nothing is left after correction. Without it fewer than one in twenty vertices pass: where one person's vertex chose a smaller
#    penalty than the others', that person makes up the mean and the spread alike, and t stays small.
# :::

# %% tags=["hide-cell"]
singles = (predicted["people"] - predicted["places"]).mean("subject").values
alike = np.corrcoef(singles)[np.triu_indices(len(singles), 1)]
whole = [np.corrcoef(row, means["people - places"])[0, 1] for row in singles]
here = zone == "person"
aucs = [roc_auc_score(here[here | noise], row[here | noise]) for row in singles]
print(f"maps of single pairs: r = {alike.mean():.2f}; with that of all five: {min(whole):.2f} to {max(whole):.2f}")
print(f"AUC of person zones against noise: {min(aucs):.3f} to {max(aucs):.3f}")
rng, empty = np.random.default_rng(seed), []
features, place = embed(data.captions, embeddings, device=device).values, data.image_names.get_indexer
for person in data.subjects:
    shown = data.train_images(person)
    model = RidgeSweepCV(cv=n_folds).fit(features[place(rng.permutation(shown))], responses_of(data, person, shown))
    empty.append(model.predict(embedded["people"]).mean(0) - model.predict(embedded["places"]).mean(0))
found = searchlight.group_map(xr.DataArray(empty, dims=("subject", "centre")), q)
size, passed, left = np.mean(empty, 0).std(), float((found["p"] < 0.05).mean()), int(found["rejected"].sum())
report.claim("maps of single sentences are alike, but not the same", alike.mean() > 0 and alike.max() < 0.95)
small = size < 0.5 * means["people - places"].std() and passed < 0.05 and left == 0
report.claim("contrasts of nothing are small, few of their vertices pass, and none after correction", small)
print(f"size {size:.3f} (real: {means['people - places'].std():.3f}); p < 0.05: {100 * passed:.1f} %; left: {left}")

# %% [markdown]
# ## What the paper found
#
# In {cite:t}`doerig2025`, models trained on one person predict others, and contrasts from new sentences, people less places and food less people, bring out
# known areas for people, places and food; the maps are thresholded at p < 0.05 without correction.
