# %% [markdown]
# # Reading captions from people
#
# By default, these are the people of objects92 {cite:p}`kriegeskorte2008`, who looked at photographs of objects in the scanner. What was published of their
# inferior temporal cortex are *distances*: how unlike the responses to each two images are. Is that enough to find the sentence that describes what somebody
# saw? We try twice: with distances alone, and by decoding embeddings as on [the page before](10_reading_captions).
#
# :::{admonition} In this chapter
# **You will learn** how to find a caption from distances alone, what chance is there, and how to tell a caption that was found from a kind that was recognised.
#
# **You need** [the page before](10_reading_captions) and RDMs ([chapter 7](07_captions_and_visual_cortex)). **It takes** 12 minutes to read, one to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
dataset: str = "objects92"  # "nsd" for your copy of the Natural Scenes Dataset, or a folder of your own
dataset_options: dict = {}  # passed to datasets.load_viewing
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
broad: list = ["animate"]  # labels of images: rivals agree in these
fine: list = ["artiObj", "natObj", "nonhumani", "face"]  # the same, more of them
dictionary: str = ""  # text file of captions to look sentences up in; "" takes the captions of the test images
n_orders: int = 999  # orders of images, for chance
n_refits: int = 49  # decoders fitted to exchanged captions, for chance
n_resamples: int = 2000  # bootstrap draws of images
seed: int = 0  # of orders, exchanges and draws
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/10_reading_captions_in_people"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd

from brainalign import datasets, decoding, plotting, stats
from brainalign.book import Report
from brainalign.features.captions import embed
from brainalign.rsa import brain_rdms, rdm

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## By distances alone
#
# The captions of objects92 are by one writer, a multimodal language model. An image has a row of distances to all others in the brain, and so has every caption
# to the other captions. If brain and captions see things alike, the row of the right caption should look most like the brain's. We compare the right caption
# with each other one, without both images, and count how often it wins: half is chance.
# Much may be won by less than a caption, though: somebody who knew only the `broad` labels (by default, whether an image shows something animate) would beat
# every caption whose image has different labels, and by guessing half of the others. So we ask again among rivals that are *alike* in these labels, and *of the
# same kind* in all `fine` ones, by default: bodies and faces of people and of animals, natural and artificial objects. For chance, the images of the brain
# exchange their places, {glue:text}`n_orders` times, within the same groups. Rows share distances, so an interval over images only describes; p holds.

# %%
data = datasets.load_viewing(dataset, **dataset_options)
test, people = list(data.test_images), data.subjects
targets = embed(data.captions, embeddings, device=device)
aims = targets.sel(item=test).values - targets.values.mean(0)  # what sets each test image apart
report.add(n_people=len(people), n_others=len(test) - 1, n_orders=n_orders, n_refits=n_refits)
data


# %% mystnb={"image": {"alt": "Share of rival captions beaten by the right one: for all rivals, rivals alike in the broad labels and rivals of the same kind, a dot with an interval over images and a gray bar of chance."}}
def summary(wins, nulls):
    """Mean share over people with its interval over images, chance and p, for each kind of rivals."""
    rows = {}
    for name, null in nulls.items():
        own = wins[name].mean(0)[np.isfinite(wins[name][0])]  # an image that is alone in its group has no rivals
        found, chance = stats.bootstrap_ci(own, n_resamples=n_resamples, seed=seed), np.quantile(null, [0.025, 0.975])
        row = [found.value, found.low, found.high, *chance, float(stats.p_values(own.mean(), null))]
        rows[f"rivals: {name}"] = [*row, *np.nanmean(wins[name], axis=1)]
    columns = ["value", "low", "high", "chance_low", "chance_high", "p", *people]
    return pd.DataFrame.from_dict(rows, "index", columns=columns)


labels = {"all": pd.Series(0, data.image_names), "alike": data.categories.groupby(broad).ngroup()}
labels["of the same kind"] = data.categories.groupby(fine).ngroup()
brains, captions = brain_rdms(data).mean("region").values, rdm(targets.sel(item=test).values)
groups, wins, nulls = {name: label[test].to_numpy() for name, label in labels.items()}, {}, {}
for name, group in groups.items():
    wins[name] = np.array([decoding.identify_by_distances(brain, captions, group) for brain in brains])
    nulls[name] = decoding.chance_by_distances(brains, captions, group, n_permutations=n_orders, seed=seed)
by_distances = summary(wins, nulls)
text = {"level": 0.5, "xlabel": "rival captions beaten by the right one (share)"}
report.figure("by_distances", plotting.forest(by_distances, title=f"Distances alone, {data.name}", **text))

# %%
n_others, (low, high) = len(test) - 1, by_distances.loc["rivals: all", ["low", "high"]]
rank = n_others * (1 - wins["all"])
n_alike = (groups["alike"][:, None] == groups["alike"]).sum(1) - 1
report.add(distances_all=stats.Estimate(wins["all"].mean(), low, high, len(test)), distances_rank=rank.mean())
report.add(best_of_all=100 * (rank < 1).mean(), broad_labels_alone=(1 - 0.5 * n_alike / n_others).mean())
report.add(distances_alike=by_distances["value"].iloc[1], alike_p=by_distances["p"].iloc[1], least_p=1 / (n_orders + 1))
report.add(distances_kind=by_distances["value"].iloc[2], kind_p=by_distances["p"].iloc[2])
report.claim("the right caption beats rivals alike in the broad labels, beyond chance", report["alike_p"] <= 0.05)
report.claim("the right caption beats rivals of the same kind, beyond chance", report["kind_p"] <= 0.05)
clear = {"value": "share", "low": "from", "high": "to", "chance_low": "chance from", "chance_high": "chance to"}
by_distances.round(3).rename(columns=clear).T

# %% [markdown]
# *What to see:* bars are intervals over images, gray is chance. The right caption beats {glue:text}`distances_all` of all its rivals; on average
# {glue:text}`distances_rank:.0f` of {glue:text}`n_others` do better, none in {glue:text}`best_of_all:.1f` % (guessing: {glue:text}`image_guess:.1f` %). But the
# broad labels alone would give {glue:text}`broad_labels_alone:.2f`, so that this says little. Among rivals alike in them the share is
# {glue:text}`distances_alike:.2f`, and among those of the same kind {glue:text}`distances_kind:.2f`, both beyond chance (least p: {glue:text}`least_p:g`).
#
# ## From distances back to an embedding
#
# Can an embedding be decoded where nobody published responses? {term}`Ridge regression <ridge regression>` needs of two response patterns only their product,
# and a correlation is a product: that of the patterns, each brought to mean 0 and length 1. The distances are 1 - r, so `decode_subjects` makes patterns that
# have just these correlations, and fits the decoder of the page before to them. Each fifth of the images is decoded from the other four (with responses and
# images outside of the test set, the test set from those). Again we count rivals beaten. For chance, captions are exchanged *before* decoders are fitted,
# {glue:text}`n_refits` times: images learned from lack what the one left out is like, so that chance may lie below a half.

# %%
decoded = decoding.decode_subjects(data, targets, device=device)
right, exchanged = {}, {}
options = {"n_refits": n_refits, "seed": seed, "device": device}
for name, group in groups.items():
    right[name] = np.array([decoding.identify_by_embeddings(own, aims, group) for own in decoded.values])
    exchanged[name] = decoding.chance_for_subjects(data, targets, labels[name].loc[targets["item"].values], **options)
by_decoding = summary(right, exchanged)
r = np.array([decoding.correlations(own, aims) for own in decoded.values])
of_test, centre = data.captions[data.captions["image"].isin(test)], targets.values.mean(0)
texts, owners = of_test["caption"].tolist(), of_test["image"].tolist()
single = embed(texts, embeddings, device=device).values
human = decoding.caption_ceiling(single, owners, centre)

# %% mystnb={"image": {"alt": "Share of rival targets that are less similar to what was decoded than the right one, for all rivals, rivals alike in the broad labels and rivals of the same kind, a dot with an interval over images and a gray bar of chance."}}
report.add(decoded_all=by_decoding["value"].iloc[0], decoded_kind_p=by_decoding["p"].iloc[2], least_r=r.mean(1).min())
report.add(decoded_p=by_decoding["p"].iloc[0], most_r=r.mean(1).max(), least_refit_p=1 / (n_refits + 1))
report.add(decoded_kind=by_decoding["value"].iloc[2], decoded_alike=by_decoding["value"].iloc[1], human=human.mean())
report.add(decoded_alike_chance=np.mean(exchanged["alike"]), decoded_kind_chance=np.mean(exchanged["of the same kind"]))
report.claim("decoded embeddings find the right image beyond chance", report["decoded_p"] <= 0.05)
report.claim("decoded embeddings do so among images of the same kind", report["decoded_kind_p"] <= 0.05)
kind_lead = report["decoded_kind"] - report["decoded_kind_chance"]
smaller = 2 * kind_lead < report["decoded_all"] - np.mean(exchanged["all"])
smaller &= 2 * (report["distances_kind"] - 0.5) < report["distances_all"].value - 0.5
report.claim("by both ways, the lead over chance is less than half as large within a kind", smaller)
text = {"level": 0.5, "xlabel": "rival images beaten by the right one (share)"}
report.figure("by_decoding", plotting.forest(by_decoding, title=f"Decoded embeddings, {data.name}", **text))

# %% [markdown]
# *What to see:* what was decoded is more similar to the right target than to {glue:text}`decoded_all:.2f` of the others (p = {glue:text}`decoded_p:.2f`;
# {glue:text}`least_refit_p:g` is the least possible), to {glue:text}`decoded_alike:.2f` of those alike in the broad labels, where exchanged captions give
# {glue:text}`decoded_alike_chance:.2f`, and to {glue:text}`decoded_kind:.2f` of those of the same kind, where they give {glue:text}`decoded_kind_chance:.2f`
# (p = {glue:text}`decoded_kind_p:.2f`). Centred, it correlates with the target at {glue:text}`least_r:.2f` to {glue:text}`most_r:.2f` in single people, one
# caption with its others at {glue:text}`human:.2f`. By both ways, the lead is beyond luck within a kind, but less than half as large: most of it is the kind.
#
# ## The sentences
#
# The study's way from an embedding to a sentence is a *dictionary*: of many sentences that were embedded, take the one whose embedding is the most similar
# (more on [the next page](10_writing_captions)). Here what the {glue:text}`n_people` people's responses tell is averaged, and the dictionary (by default) holds
# all captions of the test images, those of the very image among them. How often is one of these found? Below: the best, middle and worst images.

# %%
mean, index = decoded.mean("subject").values, decoding.CaptionIndex(texts, single)
if dictionary:
    index = decoding.CaptionIndex.read(dictionary, embeddings, device=device)
said = [match[0] for match in index.search(mean + centre, 1, centre=centre).captions]
of = pd.Index(test).get_indexer([dict(zip(texts, owners, strict=True)).get(text) for text in said])
found = {"image": np.arange(len(test)), "kind": groups["of the same kind"], "alike": groups["alike"]}
for name, own in found.items():
    hits, guesses = (of >= 0) & (own[of] == own), own[:, None] == own
    report.add(**{f"{name}_found": 100 * hits.mean(), f"{name}_guess": 100 * guesses.mean()})
report.claim("the right kind is found more often than by guessing", report["kind_found"] > report["kind_guess"])
report.claim("the kind is found over twice as often as the image", report["kind_found"] > 2 * report["image_found"])
report

# %%
fit = decoding.correlations(mean, aims)
order, half = np.argsort(-fit, kind="stable"), len(fit) // 2
chosen = [*order[:3], *order[half - 1 : half + 2], *order[-3:]]
first = of_test.drop_duplicates("image").set_index("image")["caption"]
rows = [[said[row], first[test[row]], fit[row]] for row in chosen]
table = pd.DataFrame(rows, columns=["found in the brain's neighbourhood", "written for the image", "r, centred"])
table.style.hide().format(precision=2).set_table_styles([{"selector": "th, td", "props": "text-align: left"}])

# %% [markdown]
# *What to see:* {glue:text}`image_found:.1f` % of the sentences were written for the very image (guessing: {glue:text}`image_guess:.1f` %),
# {glue:text}`kind_found:.0f` % for one of the same kind ({glue:text}`kind_guess:.0f` %), {glue:text}`alike_found:.0f` % for one alike in the broad labels
# ({glue:text}`alike_guess:.0f` %). The right kind of thing is found far more often than the thing itself, and a sentence about something else sounds as firm.
#
# ## What we have shown
#
# Captions and these people's brains see images alike enough that the right caption beats more rivals than by chance, by distances or by decoding, and not by
# the broad labels alone. On objects92 it is a small claim: few people, isolated objects, one writer of captions, few images to learn from.
#
# ## Exercise
#
# Are more people better than one? Average the decoded embeddings of the first person and more and more others, and ask for the share of rivals beaten.
#
# :::{admonition} Solution
# :class: dropdown
# The first person alone beats {glue:text}`one_person:.2f` of the rivals, all together {glue:text}`all_people:.2f`: what each has of noise is averaged away.
# :::

# %% tags=["hide-cell"]
sizes = range(1, len(people) + 1)
shares = [decoding.identify_by_embeddings(decoded[:n].mean("subject"), aims).mean() for n in sizes]
report.add(one_person=shares[0], all_people=shares[-1])
pd.Series(shares, sizes, name="rivals beaten").rename_axis("people").round(2)

# %% [markdown]
# ## Run it on your own data
#
# A folder with captions and responses or distances, and `categories.csv` with the labels that `broad` and `fine` name:
#
# ```bash
# papermill notebooks/10_reading_captions_in_people.ipynb mine.ipynb \
#   -p dataset my_folder -y "{broad: [person], fine: [person, animal, food]}"
# ```
#
# For the Natural Scenes Dataset {cite:p}`allen2022`, `make book PROFILE=nsd` sets everything. For a large dictionary, such as the public list of Conceptual
# Captions {cite:p}`sharma2018`, name its file: `-p dictionary Train_GCC-training.tsv`. Embedding it takes hours on two cores, minutes on a GPU, once.
#
# ## What the papers found
#
# {cite:t}`kriegeskorte2008` showed that inferior temporal cortex of people and monkeys parts the same images by animacy first. {cite:t}`doerig2025` decoded
# embeddings of people who each saw thousands of photographs, and report that decoded captions describe what was seen, close to the agreement between human
# captions. Distances of responses to some objects can neither support nor contradict that.
