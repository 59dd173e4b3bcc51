# %% [markdown]
# # Selectivity from sentences alone
#
# [The last page](08_encoding_and_selectivity) fitted a model of how every place of the cortex responds to captions. A fitted model takes *any*
# sentence. So we can ask a place something that no scanner was ever asked: how would it respond to "A bowl of hot soup"?
#
# :::{admonition} In this chapter
# **You will learn**
# how to find out what a place prefers from sentences alone; how to tell a preference from the difference that any two sets of sentences make; and whether one
# person's model works for another person.
#
# **You need** [the page before](08_encoding_and_selectivity).
#
# **It takes** about 15 minutes to read, and a minute or two to run on two cores.
# :::

# %% [markdown]
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
xr.set_options(display_expand_data=False, display_expand_attrs=False)
report = Report(results)

# %% [markdown]
# The people and their models are those of the page before. Besides captions, something else was planted: {term}`vertices <vertex>` in *zones* for
# people, places and food follow what that category adds to a caption, at centres where the literature describes such areas (FFA, PPA and others).

# %%
data = datasets.load_viewing("virtual", embeddings=embeddings, n_people=n_people, device=device)
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
# That is the use that {cite:t}`doerig2025` make of such models: write sentences about people, places and food, put them through the model, and
# compare. Where the predicted response to people is larger than that to places, the vertex prefers people ({term}`contrast`). The sentences below are
# ours, five of each kind as in the study, written before any map was drawn. Ten more say nothing in particular; one of these was replaced after a
# first look, because it named somebody.

# %%
asked = {
    "people": """A woman smiles at the camera. Two men are shaking hands. A crowd of children is playing together.
        The face of an old man. A girl and her brother are dancing.""",
    "places": """An empty street between tall buildings. A quiet beach under a wide sky. A living room with large
        windows. A valley with a river and mountains behind it. The inside of an old railway station.""",
    "food": """A plate of fresh fruit. A slice of pizza with melted cheese. A bowl of hot soup and some bread.
        Chocolate cake with strawberries. A table full of vegetables and meat.""",
    "neutral": """This is one of many pictures. Here you can see something. The picture was taken some time ago.
        There is not much to say about this. It looks the way one would expect. This is the next one of them.
        Something can be seen here. The picture was made with a camera. Nothing about this is special.
        One could describe it in other words.""",
}
sentences = {name: [f"{' '.join(part.split())}." for part in text.split(".")[:-1]] for name, text in asked.items()}
predicted = {  # (subject, item, vertex)
    name: fitted.respond(embed(lines, embeddings, device=device).values) for name, lines in sentences.items()
}

# %%
answer = {name: values.mean("item") for name, values in predicted.items()}
neutral = predicted["neutral"]
contrasts = {
    "people - places": answer["people"] - answer["places"],
    "food - people": answer["food"] - answer["people"],
    "neutral - neutral": neutral[:, :5].mean("item") - neutral[:, 5:].mean("item"),
}
tested = {name: searchlight.group_map(values.rename(vertex="centre"), q) for name, values in contrasts.items()}
series = {name: pd.Series(group["mean"].values, vertices) for name, group in tested.items()}

# %% [markdown]
# The study drew these maps where a t-test over its eight people gave p < 0.05, *without* correction for the number of places. We draw them so, and
# count what is left at a {term}`false discovery rate` of {glue:text}`q_percent:g` %. The second figure can be turned; its menu holds maps without
# threshold and the planted zones too.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Inflated hemisphere from the side, the middle and below; rows for people minus places, food minus people and neutral sentences, where p is below 0.05 without correction, in red for positive and blue for negative differences."}}
limit = max(np.quantile(np.abs(one), 0.995) for one in series.values())
passed = {name: one.where(tested[name]["p"].values < 0.05) for name, one in series.items()}
text = {"label": "predicted difference (s.d.)", "limits": (-limit, limit), "cmap": "RdBu_r", "hemisphere": hemisphere}
title = f"Contrasts, p < 0.05 uncorrected, {hemisphere} hemisphere, {data.name}"
report.figure("contrasts", plotting.surface_maps(passed, title=title, **text))

# %%
views = {f"{name}, no threshold": one for name, one in series.items()}
views |= {f"{name}, p < 0.05 uncorrected": one for name, one in passed.items()}
views |= {f"planted: {kind}": pd.Series(limit, vertices).where(zone == kind) for kind in ("person", "place", "food")}
alt = "Inflated cortex to turn by hand, with maps of the contrasts and of planted zones to choose from."
plotting.surface_view(views, alt=alt, title=f"Contrasts, {data.name}: drag to turn, choose a map", **text)

# %%
beyond = regions[high].any(axis=1).to_numpy()
rows = {}
for name, group in tested.items():
    marked = group["p"].values < 0.05
    rows[name] = {"size (s.d. over vertices)": series[name].std(), "p < 0.05 uncorrected (%)": 100 * marked.mean()}
    rows[name] |= {"in the regions beyond early (%)": 100 * marked[beyond].mean()}
    rows[name] |= {"after correction (%)": 100 * float(group["rejected"].mean())}
counts = pd.DataFrame(rows).T
counts.round(2)

# %%
early_too = passed["people - places"].notna().to_numpy()
report.add(strip=100 * (drive[early_too] == "pixels").mean())
report.add(fdr_left=sum(int(group["rejected"].sum()) for group in tested.values()))
report.add(neutral_marked=counts.loc["neutral - neutral", "in the regions beyond early (%)"])
report.claim("hardly anything is left after correction over vertices", report["fdr_left"] < 0.01 * len(vertices))
report.claim("without it, sentences that say nothing mark more than 5 %", report["neutral_marked"] > 5)
report

# %% [markdown]
# *What to see:* compact dark patches, red where people (or food) are expected to give the larger response, blue where places (or people) are; white
# is hardly different from 0. Not all of it was planted. The pale strip along the calcarine sulcus, in the views from the middle and from below, is
# early cortex, which pixels drive: {glue:text}`strip:.0f` % of what people - places marks lies there. Captions stand in for pixels, and sentences do too.
#
# After correction {glue:text}`fdr_left` vertices of all three maps together are left: {glue:text}`n_people` people are few for so many tests. There are two ways
# out: to do without the correction, or to ask fewer questions. The first is the worse one. Beyond early cortex, where captions drive, it marks
# {glue:text}`neutral_marked:.0f` % of the vertices for sentences that say nothing. These are consistent, but small differences (see below),
# and with more people they would survive correction as well: a threshold on p does not replace a look at size. So we ask fewer questions.
#
# ## Are the planted zones the ones with the largest contrasts?
#
# The mean contrast in each zone, with a t-test over people corrected over the seven rows; and the {term}`area under the curve` for zones against
# vertices of noise and against the *other* vertices driven by captions, turned so that 1 is the expected sign.

# %%
wanted = [("people - places", "person", 1), ("people - places", "place", -1), ("food - people", "food", 1)]
wanted += [("food - people", "person", -1), *(("neutral - neutral", kind, 1) for kind in ("person", "place", "food"))]
rows = []
for name, kind, sign in wanted:
    here, values = zone == kind, contrasts[name].values
    each = values[:, here].mean(1)
    rows.append({"contrast": name, "zones": kind, "mean (s.d.)": each.mean(), "p": stats.one_sample_t(each)[1]})
    for against, others in {"noise": noise, "other driven": told & ~here}.items():
        kept = here | others
        aucs = [roc_auc_score(here[kept], sign * one[kept]) for one in (values.mean(0), *values)]
        rows[-1] |= {f"AUC against {against}": aucs[0], f"least in one person, {against}": min(aucs[1:])}
zones = pd.DataFrame(rows).set_index(["contrast", "zones"])
zones.insert(1, "p (FDR)", stats.fdr(zones.pop("p").to_numpy())[1])
zones.drop(columns="least in one person, other driven").round(3).assign(
    **{"p (FDR)": zones["p (FDR)"].map("{:.1g}".format)}
)

# %%
meant, idle = zones.loc[["people - places", "food - people"]], zones.loc["neutral - neutral"]
report.add(auc_least=meant["AUC against noise"].min(), auc_least_all=meant["AUC against other driven"].min())
report.add(auc_single=meant["least in one person, noise"].min(), neutral_p=idle["p (FDR)"].min())
report.add(neutral_size=idle["mean (s.d.)"].abs().max(), topic_size=meant["mean (s.d.)"].abs().min())
report.add(neutral_auc=np.maximum(idle["AUC against noise"], 1 - idle["AUC against noise"]).max())
report.claim("the zones have the largest contrasts", report["auc_least"] > 0.9 and report["auc_least_all"] > 0.75)
report.claim("a small p over people is no sign that a contrast is about its topic", report["neutral_p"] <= 0.05)
report.claim("neutral differences are small in size", report["neutral_size"] < 0.5 * report["topic_size"])
report

# %% [markdown]
# *What to see:* against vertices of noise, the mean maps of the two contrasts find the zones with {glue:text}`auc_least:.3f` or more, single people with
# {glue:text}`auc_single:.3f` or more. Noise predicts next to nothing, so that this is easy. Against the *other vertices driven by captions*, which may
# well prefer people to places by chance, it is {glue:text}`auc_least_all:.3f` or more in the mean maps.
#
# Now look at the neutral sentences. Nothing should come out, and yet the least of their corrected p-values is {glue:text}`neutral_p:.2g`. The test is not
# wrong. No two sets of sentences are equal to the model, so that their difference points *somewhere*, and since people share tuning it has the same
# sign in all of them. A small p over people says that a difference is consistent, not that it is about people or places. The area under the curve
# against noise does not tell them apart either: the neutral contrast reaches {glue:text}`neutral_auc:.2f` in one direction or the other. Its size
# does: at most {glue:text}`neutral_size:.3f` s.d. in a zone, where the contrasts that are meant have {glue:text}`topic_size:.3f` or more.
#
# ### Is it the sentences?
#
# Five sentences are few, and they differ in more than their topic. Would any five do? Take the ten sentences about people and about places, split them
# into two halves in all possible ways, and draw a map of each split. If the topic is what counts, the true split gives the strongest map. The ten
# neutral sentences, split in all ways, show how strong a map is when there is no topic at all.

# %%
halves = [half for half in combinations(range(10), 5) if 0 in half]
sign = np.full((len(halves), 10), -0.2)
for row, half in zip(sign, halves, strict=True):
    row[list(half)] = 0.2
ten = xr.concat([predicted["people"], predicted["places"]], "item").mean("subject").values
strength = pd.DataFrame(
    {
        "splits of people and places": (sign @ ten).std(1),
        "splits of neutral": (sign @ neutral.mean("subject").values).std(1),
    }
)
true = strength.loc[halves.index((0, 1, 2, 3, 4)), "splits of people and places"]
p_split = (strength["splits of people and places"] >= true - 1e-12).mean()
report.add(n_splits=len(halves), true_split=true, neutral_top=strength["splits of neutral"].max(), p_split=p_split)
report.claim("the true split gives the strongest map of all", p_split <= 1 / len(halves))
report.claim("no split of neutral sentences is nearly as strong", report["neutral_top"] < 0.75 * true)
report

# %% mystnb={"image": {"alt": "Histograms of the strength of maps: splits of ten sentences about people and places, splits of ten neutral sentences, and a line at the true split."}}
text = {
    "xlabel": "strength of the map (s.d. over vertices)",
    "title": f"Ten sentences in two halves, {data.name}; blue: people - places",
}
report.figure("splits", plotting.null(strength, dict.fromkeys(strength, true), columns=2, **text))

# %% [markdown]
# *What to see:* the true split has a strength of {glue:text}`true_split:.2f`, the strongest of neutral splits {glue:text}`neutral_top:.2f`. Of the
# {glue:text}`n_splits` splits of the ten sentences, a share of {glue:text}`p_split:.3f` is as strong as the true one, the true one included: the
# smallest that so many splits can give. Splits that mix the two topics are weaker, and most neutral ones weaker still. This is a test
# over *sentences*, and about these ten only. Other sentences could be tried the same way.
#
# **Prediction is not observation.** These maps say what the fitted models expect. A model knows only the directions in which the training captions differ;
# of a sentence from another world it will say something, and nothing warns us. Predicted selectivity asks to be confirmed by pictures.
#
# ## One person's model, another person's brain
#
# If people's vertices are tuned alike, a model trained on one person should predict another. It has seen neither the person nor the images.

# %% mystnb={"image": {"alt": "One matrix of people by people for each region: rows the person that the model was trained on, columns the one it was tested on, coloured by the score."}}
across = region_means(fitted.across(), regions)  # (region, trained, subject)
matrices = {roi: across.sel(region=roi).to_pandas() for roi in regions}
text = {"xlabel": "tested on", "ylabel": "trained on", "title": f"Across people, {data.name}"}
report.figure("across", plotting.heatmaps(matrices, label="score (Pearson r)", **text))

# %%
own = [across.sel(trained=person, subject=person, drop=True) for person in data.subjects]
own = xr.concat(own, pd.Index(data.subjects, name="subject"))
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
table.round(2)

# %%
kept = 100 * (columns["another's model"] / own).mean("subject").to_pandas()
report.add(kept_low=kept[high].min(), kept_high=kept[high].max(), early_kept=kept["early"])
report.add(lost_p=lost["p_fdr"][high].max())
report.claim(
    "another person's model keeps over half of the score, not all", 50 < kept[high].min() < kept[high].max() < 100
)
report.claim("in early cortex the measured responses of others are ahead of their models", versus["high"]["early"] < 0)
report

# %% [markdown]
# *What to see:* each row of a matrix is a model, each column the person it was tested on; the diagonal is one's own; by chance all would be 0. Beyond the
# early region another person's model keeps {glue:text}`kept_low:.0f` to {glue:text}`kept_high:.0f` % of the score of one's own; the loss, in the table
# with its 95 % interval over the people tested, is what people do not share (p at most {glue:text}`lost_p:.1g`, corrected over regions). In
# the early region, where captions stand in for pixels, it keeps {glue:text}`early_kept:.0f` %: what a stand-in predicts there is common to all. The mean of the others' models
# predicts about as well as the others' *measured responses to the very images* (last column): a model is free of the noise of single responses, but also of
# all that captions do not tell. In the early region, where captions tell little, the measured responses are ahead.
#
# All of this is true by construction: zones were planted along what categories add to captions, so sentences about these categories must find them, and
# how far another's model carries follows from the share of tuning that was made common. It shows what the method recovers, and
# says nothing about people. [The next page](08_encoding_and_selectivity_in_people) turns to them.
#
# ## Exercises
#
# 1. Make a contrast from one sentence of each kind instead of five. How alike are the maps of different sentences?
# 2. What do contrasts find where there is nothing? Exchange the images of each person before fitting, and draw people - places from these models.
#
# :::{admonition} Solution 1
# :class: dropdown
# Each single sentence gives a map of its own, which correlates with those of the others of its kind but is not the same: a sentence says more than its
# topic. The mean over five keeps what they have in common.
# :::

# %% tags=["hide-cell"]
singles = (predicted["people"] - predicted["places"]).mean("subject").values
alike = np.corrcoef(singles)[np.triu_indices(len(singles), 1)]
whole = [np.corrcoef(row, series["people - places"])[0, 1] for row in singles]
here = zone == "person"
aucs = [roc_auc_score(here[here | noise], row[here | noise]) for row in singles]
print(f"maps of single pairs of sentences with each other: r = {alike.mean():.2f}")
print(f"with the map of all five: r = {min(whole):.2f} to {max(whole):.2f}")
print(f"AUC of person zones against noise: {min(aucs):.3f} to {max(aucs):.3f}")

# %% [markdown]
# :::{admonition} Solution 2
# :class: dropdown
# The contrasts are small, since most vertices choose a large penalty, and nothing is left after correction. Without it fewer places pass than the one in
# twenty that one might expect: where one person's vertex chose a smaller penalty than the others', that person makes up the mean and the spread
# alike, and t stays small. A t-test over few people of very different spread is cautious.
# :::

# %% tags=["hide-cell"]
rng, empty = np.random.default_rng(seed), []
features, place = embed(data.captions, embeddings, device=device).values, data.image_names.get_indexer
for person in data.subjects:
    shown = data.train_images(person)
    model = RidgeSweepCV(cv=n_folds).fit(features[place(rng.permutation(shown))], responses_of(data, person, shown))
    one_of, other = (embed(sentences[name], embeddings, device=device).values for name in ("people", "places"))
    empty.append(model.predict(one_of).mean(0) - model.predict(other).mean(0))
found = searchlight.group_map(xr.DataArray(empty, dims=("subject", "centre")), q)
print(f"size: {np.mean(empty, 0).std():.3f} (real model: {series['people - places'].std():.3f})")
print(
    f"p < 0.05 without correction: {float((found['p'] < 0.05).mean()):.1%}; corrected: {int(found['rejected'].sum())}"
)

# %% [markdown]
# ## What the paper found
#
# In {cite:t}`doerig2025`, models trained on one person predict others, and contrasts from new sentences, people less places and food less people, bring
# out known areas for people, places and food; the maps are thresholded at p < 0.05 without correction.
