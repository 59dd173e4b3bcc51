# %% [markdown]
# # A network that sees in sentences
#
# In [chapter 7](07_captions_and_visual_cortex) we compared visual cortex with sentences that somebody had written about a picture. But the eye gets no
# sentence. Can a network learn to get from pixels to what a language model makes of the captions? And does it then resemble the brain more than one that learns
# only which things are in it? {cite:t}`doerig2025` report that it does, and from far fewer pictures than its rivals. Here we build such a network, small, and a
# twin for categories, and ask what they learn; then come [virtual viewers](11_networks_and_viewers) and
# [people](11_a_network_that_sees_in_sentences_in_people).
#
# :::{admonition} In this chapter
# **You will learn** what a recurrent convolutional network is; how to train one on sentences; how to tell that it has learned, and what else it knows.
#
# **You need** sentence embeddings of [chapter 7](07_captions_and_visual_cortex). **It takes** 15 minutes to read, ten for the first run, then two.
# :::
#
# ## Parameters

# %% tags=["parameters"]
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
preset: str = "small"  # the networks: "small", or "paper" for a GPU
changes: dict = {}  # fields of that configuration that differ, such as epochs
training_folder: str = ""  # pictures, captions and categories of your own; "" renders scenes
n_scenes: int = 2000  # rendered scenes to train on and to hold out
n_held_out: int = 300  # of these pictures, learned from by no network
n_seeds: int = 3  # networks of each kind
n_jobs: int = 2  # networks trained at once; 1 on a GPU
checkpoints: str = ""  # folder of trained networks; "" is in the cache folder
n_permutations: int = 199  # orders of pictures, for chance
n_resamples: int = 2000  # bootstrap draws of pictures
seed: int = 0  # of the first network, of orders and draws
device: str = "auto"  # where networks run: "auto", "cpu" or "cuda"
results: str = "results/11_a_network_that_sees_in_sentences"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from brainalign import plotting, stats
from brainalign.book import Report
from brainalign.features import images, rcnn
from brainalign.features.captions import embed
from brainalign.features.images import activations, cosine
from brainalign.simulated.scenes import render_scenes

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## What there is to learn from
#
# The study trained its networks on {glue:text}`n_published:,` photographs of COCO {cite:p}`lin2014`, none of which its viewers saw. Ours have
# {glue:text}`n_pictures:,` drawn scenes, all but {glue:text}`n_held_out` of them to learn from, like those of the virtual viewers ({term}`virtual cohort`), but
# not the same ones. Each has several captions and a list of what is in the picture. A network needs numbers to aim at, its *targets*:
#
# - **Captions.** The study's sentence model, MPNet {cite:p}`reimers2019,song2020`, turns each caption into an {term}`embedding <sentence embedding>`; a
#   picture's target is the mean over its captions, {glue:text}`n_embedding` numbers. They also tell how many things there are, how they look, what they do.
# - **Categories.** A list of zeros with a one for each of {glue:text}`n_categories` categories that is in the picture: a {term}`multi-hot vector`.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Four scenes, coarse as the networks see them, each with its first caption and the list of its categories beside it."}}
config = rcnn.preset(preset, seed=seed, **changes)
source, origin = training_folder or render_scenes(n_scenes, seed=1), training_folder or "rendered scenes"
pictures, captions, categories = images.learning_set(source, config.image_size)
targets = {"captions": embed(captions, embeddings, device=device).values, "categories": categories.to_numpy("float32")}
report.add(n_published=images.published_networks()["training_images"].iloc[0], n_pictures=len(pictures))
report.add(n_held_out=n_held_out, n_permutations=n_permutations, n_seeds=n_seeds, n_epochs=config.epochs)
report.add(n_embedding=targets["captions"].shape[1], n_categories=targets["categories"].shape[1])
names, first_caption = categories.index, captions.drop_duplicates("image").set_index("image")["caption"]
listed = categories.iloc[:4].apply(lambda row: ", ".join(row.index[row]), axis=1)
texts = [f"{first_caption[name]}\n[{listed[name]}]" for name in names[:4]]
report.figure("pictures", plotting.pictures(pictures[:4], texts, title=f"As the networks see them, {origin}"))

# %% [markdown]
# ## A recurrent network
#
# A {term}`convolutional network` has layers of weighted sums over a small window of what is below, the same at every place, each with a bend (negative
# values become zero). In an ordinary one, activity runs once from the picture to the last layer. Visual cortex does not work like that: areas have
# connections within themselves and back from later areas, and models with such connections describe it better {cite:p}`spoerer2017,kietzmann2019`. A
# {term}`recurrent network` has these as well. Activity runs through it for several {term}`time steps <time step>`, and at each, a layer adds up what comes
# *bottom-up* from the layer below, and, of one step ago, *lateral* from itself and *top-down* from the layer above. What is in the last layer, averaged
# over places, goes through one more weighted sum, the *read-out*, which has to come close to the target. The layers of ours (*channels*: different sums at
# each place; *window* and *lateral and top-down*: sides of the windows; *places*: where sums are taken):

# %%
network = rcnn.RecurrentNetwork(replace(config, n_targets=targets["captions"].shape[1]))
states = network.states(next(images.batches(network, pictures[:1])))
layers = {"channels": config.channels, "window": config.kernels, "lateral and top-down": config.recurrent_kernels}
layers["places"] = [f"{state.shape[2]} x {state.shape[3]}" for state in states[0]]
paper = rcnn.preset("paper")
report.add(n_steps=config.time_steps, n_weights=sum(part.numel() for part in network.parameters()))
report.add(paper_layers=len(paper.channels), paper_steps=paper.time_steps, paper_size=paper.image_size)
pd.DataFrame(layers).rename_axis("layer")

# %% [markdown]
# That makes {glue:text}`n_weights:,` weights, and {glue:text}`n_steps` time steps. The study's network has {glue:text}`paper_layers` layers,
# {glue:text}`paper_steps` steps and pictures of {glue:text}`paper_size` px. It is the preset `paper`, and needs a GPU.
#
# ## Twins, and a control
#
# The *loss*, what training makes small, is the {term}`cosine distance` of read-out and target at every time step: only the direction counts. The *twin* has
# the same layers, the same first weights, the same pictures in the same order and the same loss; it learns categories, and its read-out goes through a
# sigmoid, which brings every number between 0 and 1. We train {glue:text}`n_seeds` networks of each kind, which differ in their first weights, for
# {glue:text}`n_epochs` passes over the pictures ({term}`epoch`). The last {glue:text}`n_held_out` pictures are *held out*: no network learns from them. A
# *control* gets the captions of *other pictures* as targets, for half as long: nothing that holds for new pictures. All targets have much in common, so
# that even the *mean target*, the same guess for every picture, comes close to those that were held out.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Two panels of learning curves over epochs, trained on captions and on categories: held-out and training pictures rise and level off above the flat line of the mean target; the line of wrong captions stays at it."}}
options = {"n_seeds": n_seeds, "n_held_out": n_held_out, "folder": checkpoints, "n_jobs": n_jobs, "device": device}
twins = rcnn.train_twins(pictures, targets, config, control=True, **options)
seen, new, means = twins.learned, twins.held_out, twins.means
base = {kind: cosine(np.tile(means[kind], (len(new), 1)), aims[new]).mean() for kind, aims in targets.items()}
tall = twins.history.assign(training=1 - twins.history["loss"]).melt(["trained on", "epoch"], ["held_out", "training"])
tall = tall[(tall["trained on"] != "control") | (tall["variable"] == "held_out")]
curves = tall.groupby(["trained on", "variable", "epoch"], sort=False)["value"].agg(["mean", "min", "max"])
curves = curves.reset_index().rename(columns={"mean": "cosine", "min": "low", "max": "high"})
curves["line"] = curves["variable"].map({"held_out": "held-out pictures", "training": "training pictures"})
curves.loc[curves["trained on"] == "control", ["trained on", "line"]] = ["captions", "held-out, wrong captions"]
flat = [(kind, "mean target", epoch, value) for kind, value in base.items() for epoch in (1, config.epochs)]
curves = pd.concat([curves, pd.DataFrame(flat, columns=["trained on", "line", "epoch", "cosine"])])
text = {"xlabel": "epoch", "ylabel": "cosine of read-out and target", "title": f"Learning, {origin}"}
report.figure("learning", plotting.lines(curves, "epoch", "cosine", hue="line", col="trained on", **text))

# %%
rows, last = {}, twins.history[twins.history["epoch"] == config.epochs].groupby("trained on")["held_out"]
for (kind, s), network in twins.networks.items():
    aim = kind if kind in targets else "captions"
    right = cosine(rcnn.predict(network, pictures[new]).values, targets[aim][new], means[aim])
    rows[kind, s] = stats.bootstrap_ci(right, n_resamples=n_resamples, seed=seed)
learned = pd.Series(rows).rename_axis(["trained on", "seed"])[[*targets, "control"]]
lowest = {kind: min(one.low for one in learned[kind]) for kind in targets}
for kind, low in lowest.items():
    report.add(**{f"{kind}_low": last.min()[kind], f"{kind}_high": last.max()[kind], f"{kind}_base": base[kind]})
    report.claim(f"every network trained on {kind} has learned what holds for new pictures", low > 0)
report.add(control_end=twins.history["held_out"].iloc[-1], control_learned=learned["control"].iloc[0])
report.claim("wrong captions teach next to nothing", report["control_learned"].high < lowest["captions"] / 5)
learned.to_frame("cosine, mean removed (95 % over pictures)")

# %% [markdown]
# *What to see:* lines are means over networks, bands their range. Trained on captions they reach {glue:text}`captions_low:.2f` to
# {glue:text}`captions_high:.2f` on new pictures, where the mean target has {glue:text}`captions_base:.2f`; trained on categories,
# {glue:text}`categories_low:.2f` to {glue:text}`categories_high:.2f` against {glue:text}`categories_base:.2f`. (The two cosines are not comparable: their
# targets differ.) The control ends at {glue:text}`control_end:.2f`. Training pictures are moved and mirrored. In the table the mean target is subtracted, so
# that it scores 0. All networks but the control have learned what holds for new pictures; wrong captions teach next to nothing: {glue:text}`control_learned`.
#
# ## What does such a network see?
#
# We look up, for pictures it never saw, the nearest among the caption embeddings of all held-out pictures. The *rank* of the right one is 1 where it is the
# nearest. For chance, read-outs are given to other pictures, {glue:text}`n_permutations` times.

# %% mystnb={"image": {"alt": "Six drawn scenes that no network learned from, from the best to the worst rank, each beside the caption that the network finds nearest."}}
out = rcnn.predict(twins.networks["captions", seed], pictures[new]).values
parts = [normalize(values - means["captions"]) for values in (out, targets["captions"][new])]
near = parts[0] @ parts[1].T  # the cosine of each read-out and each target
rank, labels = 1 + (near > np.diag(near)[:, None]).sum(1), targets["categories"][new]
shared = labels @ labels.T / labels.sum(1, keepdims=True)  # of a picture's categories, which share another has
rng, each = np.random.default_rng(seed), np.arange(len(new))
orders = [rng.permutation(len(new)) for _ in range(n_permutations)]
null_rank = np.array([1 + np.median((near[order] > near[order, each][:, None]).sum(1)) for order in orders])
null_shared = np.array([shared[each, near[order].argmax(1)].mean() for order in orders])
near_shared = shared[each, near.argmax(1)].mean()
report.add(median_rank=np.median(rank), chance_rank=null_rank.mean(), first_percent=100 * (rank == 1).mean())
report.add(guessing_percent=100 / len(new), shared_percent=100 * near_shared, chance_percent=100 * null_shared.mean())
report.claim("the right picture is nearer than by chance", stats.p_values(-np.median(rank), -null_rank) <= 0.05)
report.claim("what is found shares more categories than chance", stats.p_values(near_shared, null_shared) <= 0.05)
some = np.argsort(rank, kind="stable")[np.linspace(0, len(rank) - 1, 6).astype(int)]
texts = [f"{first_caption[names[new[near[k].argmax()]]]}\n(right picture: rank {rank[k]} of {len(rank)})" for k in some]
report.figure("nearest", plotting.pictures(pictures[new[some]], texts, title=f"Nearest captions, {origin}"))

# %% [markdown]
# *What to see:* pictures at even steps from the best rank to the worst; beside each, the nearest caption. The right one's median rank is
# {glue:text}`median_rank:g` (chance: {glue:text}`chance_rank:.0f`) and is first in {glue:text}`first_percent:.0f` % (guessing:
# {glue:text}`guessing_percent:.1f` %). What is found shares {glue:text}`shared_percent:.0f` % of categories (chance: {glue:text}`chance_percent:.0f` %).
#
# ## Reading one kind of knowledge out of the other
#
# Does a network that learned captions know the categories, and the reverse? We forget the read-outs, and learn new ones by {term}`ridge regression` from
# what is in the last layer to *each* target: the study's test, there with read-outs that were trained like the networks.

# %% mystnb={"image": {"alt": "Two panels, captions and categories read out: one dot a network, for networks trained on captions, trained on categories, untrained, and the control; a dashed line at zero."}}
rows = []
for (kind, _), network in twins.networks.items():
    inside = activations(network, pictures).values
    for aim, target in targets.items():
        varied = np.ptp(target[seen], axis=0) > 0
        probe = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
        probe.fit(inside[seen], target[seen][:, varied])
        score = cosine(probe.predict(inside[new]), target[new][:, varied], means[aim][varied])
        rows.append({"trained on": kind, "read out": aim, "cosine": score.mean(), "pictures": score})
probes = pd.DataFrame(rows)
text = {"xlabel": "trained on", "ylabel": "cosine, mean removed", "title": f"Read-outs of new pictures, {origin}"}
text |= {"col": "read out", "levels": {"mean target": 0}}
report.figure("probes", plotting.points(probes, "trained on", "cosine", **text))

# %%
by_picture = probes.groupby(["read out", "trained on"])["pictures"].apply(lambda own: np.mean(list(own), axis=0))
gains = {
    key: stats.bootstrap_ci(own - by_picture[key[0], "untrained"], n_resamples=n_resamples, seed=seed)
    for key, own in by_picture.drop("untrained", level="trained on").items()
}
for aim, kind in (("captions", "categories"), ("categories", "captions")):
    report.add(**{f"untrained_{aim}": by_picture[aim, "untrained"].mean(), f"{aim}_from_{kind}": gains[aim, kind]})
    report.add(**{f"{aim}_part": 100 * gains[aim, kind].value / gains[aim, aim].value, f"{aim}_gain": gains[aim, aim]})
    report.claim(f"training on {aim} raises the read-out of {aim}", gains[aim, aim].low > 0)
    report.claim(f"training on {kind} raises the read-out of {aim}, too", gains[aim, kind].low > 0)
report.add(control_gain=gains["captions", "control"])
report

# %% [markdown]
# *What to see:* dots are networks. Even an *untrained* network, with random weights, gives read-outs of {glue:text}`untrained_captions:.2f` and
# {glue:text}`untrained_categories:.2f`: a random mixture of pixels with a good regression behind it is the baseline to beat. The control, which could learn
# what pictures look like, differs from it by {glue:text}`control_gain` for captions. Each kind of training raises the read-out of its own target, and of the
# other's, too (intervals over pictures, of means over networks). Training on categories brings {glue:text}`captions_part:.0f` % of the rise that training
# on captions brings to captions; training on captions brings {glue:text}`categories_part:.0f` % of the rise of categories. In the study, categories can be read
# from networks trained on captions, and the reverse fails. Here neither fails, which says little: our captions are made from these categories.
#
# ## What we have shown
#
# Small networks learn to come nearer the caption embeddings of new drawings of the same kind than the mean target does; wrong captions teach next to nothing;
# and each kind of training also teaches something of the other. None of it says what is like a brain: [the next page](11_networks_and_viewers) asks.
#
# ## Exercises
#
# 1. How good is the read-out at earlier time steps, and what would the network be without recurrence?
# 2. The study's network needs few pictures. What does ours do with a quarter of them?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The loss asks for a good read-out at every step, so later ones add little; a network of one step, with fewer weights, comes about as far.
# 2. Much less. But it also takes a quarter of the steps; to tell these apart, train four times as long (`epochs`).
# :::

# %% tags=["hide-cell"]
first, few, goals = twins.networks["captions", seed], seen[::4], targets["captions"]
same = {"folder": twins.folder, "device": device}
once = rcnn.train(pictures[seen], goals[seen], replace(first.config, time_steps=1), **same).network
quarter = rcnn.train(pictures[few], goals[few], first.config, **same).network
with torch.no_grad():
    steps = torch.cat([first(pixels) for pixels in images.batches(first, pictures[new])], 1).cpu().numpy()
outs = {f"time step {k}": step for k, step in enumerate(steps)}
outs["one time step only"] = rcnn.predict(once, pictures[new]).values
outs["a quarter of the pictures"] = rcnn.predict(quarter, pictures[new]).values
table = pd.Series({name: cosine(out, goals[new], means["captions"]).mean() for name, out in outs.items()})
final = table[f"time step {len(steps) - 1}"]
report.claim("time steps add little", min(table["time step 0"], table["one time step only"]) > 0.8 * final)
report.claim("a quarter of the pictures teaches much less", table["a quarter of the pictures"] < 0.5 * final)
table.round(3)
