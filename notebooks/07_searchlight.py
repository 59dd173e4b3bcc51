# %% [markdown]
# # Captions around every place of the cortex
#
# Regions are drawn before the question is asked. A {term}`searchlight` {cite:p}`kriegeskorte2006` asks it everywhere: take a small disc of cortex around each
# place, make the RDM of the responses inside it, and compare that with the RDM of the captions. The result is a map, as in {cite:t}`doerig2025`. How far can
# one trust the borders of such a map, and how many of its spots are false?
#
# :::{admonition} In this chapter
# **You will learn** how a searchlight map is made and tested, how far it blurs, what its area under the curve depends on, what a false discovery rate promises.
#
# **You need** RDMs from [two pages before](07_captions_and_visual_cortex) and the {term}`false discovery rate`. **It takes** 12 minutes to read, two to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
n_people: int = 4  # virtual viewers
snr: float = 0.35  # planted variance over that of the noise, median
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
batch_size: int = 100  # images that are compared with each other at once
n_batches: int = 3  # batches of each person's images, at most
radius: float = 10.0  # of the discs on the cortical surface (mm)
hemisphere: str = "right"  # which one the maps show: "left" or "right"
q: float = 0.05  # false discovery rate
seed: int = 0  # of the viewers and batches
device: str = "auto"  # where the sentence model runs: "auto", "cpu" or "cuda"
results: str = "results/07_searchlight"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import zscore
from sklearn.metrics import roc_auc_score

from brainalign import cortex, datasets, plotting, rsa
from brainalign.book import Report
from brainalign.features.captions import embed
from brainalign.features.images import gabor_energies
from brainalign.rsa import rdm, searchlight
from brainalign.simulated.viewing import PATCH_RADIUS

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## From discs to a map
#
# The viewers are those of [that page](07_captions_and_visual_cortex): early visual cortex follows the pixels, a ventral, a lateral and a parietal region follow
# the captions, all other cortex follows nothing. The disc around a {term}`vertex` holds what is closer to it than {glue:text}`radius:g` mm along the surface
# ({term}`geodesic distance`); the study uses spheres of voxels in the same way. None is at the edge of the data, where less than half of it would be filled.

# %% tags=["remove-stderr"]
data = datasets.load_viewing("virtual", n_subjects=n_people, snr=snr, embeddings=embeddings, seed=seed)
features = {"captions": embed(data.captions, embeddings, device=device).values}
features["pixels"] = zscore(gabor_energies(data.images), axis=0)
vertices = data.responses[data.subjects[0]]["vertex"].values  # everybody's are the same
surfaces = [cortex.mesh(side) for side in cortex.HEMISPHERES]
discs = searchlight.geodesic_discs(surfaces, radius, vertices=vertices)
people, place = pd.Index(data.subjects, name="subject"), data.image_names.get_indexer
report.add(radius=radius, n_discs=len(discs.centres), disc_size=int(np.median(np.diff(discs.members.indptr))))
data

# %% [markdown]
# Images are cut at random into batches, for which `rsa_map` compares all discs of a person, {glue:text}`n_discs:,` RDMs a batch, with both descriptions. As in
# the study, `group_map` tests their mean scores with a t-test over people, at a {term}`false discovery rate` over places {cite:p}`benjamini1995`.


# %%
def person_map(person, some_discs, exchange=lambda names: names):
    """Scores (model, centre) of a person's discs; `exchange` may give the models other images than the person saw."""
    shown = data.images_of(person)
    names = shown[rsa.image_batches(len(shown), batch_size, seed)[:n_batches].ravel()]
    batches = np.arange(len(names)).reshape(-1, batch_size)
    model_rdms = {name: rdm(values[place(exchange(names))][batches]) for name, values in features.items()}
    return searchlight.rsa_map(data.mean_responses(person, names), model_rdms, some_discs, batches=batches)


maps = xr.concat([person_map(person, discs) for person in people], people)
group = searchlight.group_map(maps, q)
truth, share = data.truth.loc[maps["centre"].values], 100 * group["rejected"].mean("centre").values
there = [100 * (truth["drive"] == kind).mean() for kind in ("caption", "pixels")]
report.add(share_captions=share[0], share_pixels=share[1], planted_captions=there[0], planted_pixels=there[1])
report.add(share_both=100 * group["rejected"].all("model").mean())
report.claim("more places are significant than were planted", (share > there).all())
report

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Inflated hemisphere from the side, the middle and below, a row of captions and one of pixels: mean scores as colours, gray where nothing is significant."}}
text = {"label": "score (Pearson r)", "title": f"Mean of {len(people)} virtual viewers, {hemisphere} hemisphere"}
report.figure("maps", plotting.places(maps, group["rejected"], hemisphere=hemisphere, **text))

# %% tags=["remove-stderr"]
shown = {"significant": group["mean"].where(group["rejected"]), "everywhere": group["mean"]}
panels = {f"{name}, {what}": part.sel(model=name).to_series() for what, part in shown.items() for name in features}
alt = "Inflated cortex to turn by hand, with the searchlight maps of captions and pixels to choose from."
text = {"label": "score (Pearson r)", "title": "Searchlight, virtual viewers: drag to turn, choose a map"}
plotting.surface_view(panels, alt=alt, hemisphere=hemisphere, limits=(0, float(group["mean"].max())), **text)

# %% [markdown]
# *What to see:* colours are mean scores, gray: not significant or no data. Of {glue:text}`n_discs:,` discs, of {glue:text}`disc_size` vertices in the median,
# captions are significant in {glue:text}`share_captions:.0f` % and pixels in {glue:text}`share_pixels:.0f` %, {glue:text}`share_both:.0f` % in *both*; planted
# are {glue:text}`planted_captions:.0f` and {glue:text}`planted_pixels:.0f` %. Discs reach beyond what was planted, and descriptions leak into others' places.
#
# ## What drives each place?
#
# We give each place to the description with the higher mean score, if it is significant, and put the truth below it.

# %% tags=["remove-stderr"] mystnb={"image": {"alt": "Inflated hemisphere, two rows, in two colours for captions and pixels: the description with the higher score, and what was planted."}}
winner = group["mean"].idxmax("model")
sure = group["rejected"].sel(model=winner) & (group["mean"].max("model") > 0)
estimate = winner.where(sure, "neither").to_series()
planted = truth["drive"].replace({"none": "neither", "caption": "captions"}).rename("planted in the middle")
shades = {"pixels": 0.0, "captions": 1.0}  # the cortex shows through elsewhere
coded = {"higher score": estimate.map(shades), "planted": planted.map(shades)}
text = {"label": "0: pixels, 1: captions", "title": f"What drives each place, {hemisphere} hemisphere, virtual viewers"}
report.figure("winner", plotting.surface_maps(coded, hemisphere=hemisphere, limits=(0, 1), cmap="cividis", **text))

# %%
kinds = ["neither", "pixels", "captions"]
confusion = pd.crosstab(planted, estimate.to_numpy(), colnames=["higher score"]).reindex(index=kinds, columns=kinds)
right = {f"right_{kind}": 100 * confusion.loc[kind, kind] / confusion.loc[kind].sum() for kind in kinds[1:]}
report.add(**right, beyond_truth=100 - 100 * confusion.loc["neither", "neither"] / confusion.loc["neither"].sum())
report.claim("the areas are where they were planted", min(right.values()) >= 80)
confusion

# %% [markdown]
# *What to see:* yellow: captions, dark blue: pixels, gray: neither; the truth is below. The areas are where they were planted.
# {glue:text}`right_captions:.0f` % of the vertices driven by captions and {glue:text}`right_pixels:.0f` % of those driven by pixels are coloured so (table
# rows: planted in a disc's middle). But the estimate reaches further: of the vertices that nothing drives, {glue:text}`beyond_truth:.0f` % are coloured.
#
# ## Blur, and false discoveries
#
# Noise vertices come in three kinds: *bare* ones, whose disc holds nothing planted; *near* ones next to a region, whose disc reaches into it; and those of the
# noise *patches* within the regions, {glue:text}`patch_radius:g` mm in radius. Against each we take the {term}`area under the curve` (AUC): the chance that a
# vertex driven by captions scores higher than one of noise; 0.5 is guessing.

# %%
noise, told = (truth["drive"] == "none").to_numpy(), (truth["drive"] == "caption").to_numpy()
bare = noise & (discs.members @ (data.truth.loc[vertices, "drive"] != "none").to_numpy(int) == 0)
patch = noise & data.rois.loc[truth.index].any(axis=1).to_numpy()
near = noise & ~bare & ~patch
score, found = (group[what].sel(model="captions").values for what in ("mean", "rejected"))


def auc(wanted, others, values=score):
    return roc_auc_score(wanted[wanted | others], values[wanted | others])


rows = {}
for name, some in {"all": noise, "bare": bare, "near": near, "patch": patch}.items():
    rows[name] = [int(some.sum()), auc(told, some), 100 * found[some].mean()]
against = pd.DataFrame.from_dict(rows, "index", columns=["noise vertices", "AUC of captions", "significant (%)"])
against.round(2)

# %%
single = [auc(told, noise, own) for own in maps.sel(model="captions").values]
report.add(**against["AUC of captions"].add_prefix("auc_"), auc_least=min(single), auc_most=max(single))
report.add(auc_zones=auc((truth["zone"] != "").to_numpy(), noise))
report.add(**{f"auc_{zone}": auc((truth["zone"] == zone).to_numpy(), noise) for zone in ("person", "place", "food")})
report.claim("separation is worst in patches smaller than the disc", report["auc_patch"] < report["auc_near"])
report.add(patch_radius=PATCH_RADIUS, q_percent=100 * q, n_bare=bare.sum())
report.add(bare_rejected=100 * found[bare].mean(), blurred_share=100 * found[noise & ~bare].mean())
report.add(false_share=100 * bare[found].mean(), noise_found=100 * noise[found].mean())
report.claim("false findings among bare discs stay within the tolerated rate", report["false_share"] <= 100 * q)
report.claim("more of the vertices found are noise than the false discovery rate says", report["noise_found"] > 100 * q)
report

# %% [markdown]
# *What to see:* against all noise vertices the AUC is {glue:text}`auc_all:.3f` ({glue:text}`auc_least:.3f` to {glue:text}`auc_most:.3f` in the maps of single
# people), and {glue:text}`auc_zones:.2f` for the zones that prefer people ({glue:text}`auc_person:.2f`), places ({glue:text}`auc_place:.2f`) or food
# ({glue:text}`auc_food:.2f`). **Such a number depends on what the vertices are held against.** Most of this cortex lies far from anything planted, and that is
# easy ({glue:text}`auc_bare:.2f`). Next to the regions it is {glue:text}`auc_near:.2f`, and in the noise patches within them only {glue:text}`auc_patch:.2f`: a
# disc does not resolve what is smaller than itself. (Vertices are no independent samples, so there is no interval.)
#
# Of the noise vertices whose disc holds a planted vertex, {glue:text}`blurred_share:.0f` % are significant for captions: the map is right about the *disc* and
# wrong about the *vertex* in its middle, a price that encoding models ([chapter 8](08_encoding_and_selectivity)) do not pay. Of the {glue:text}`n_bare:,` bare
# noise discs, {glue:text}`bare_rejected:.1f` % are significant, {glue:text}`false_share:.1f` % of all that is found. The correction promises at most
# {glue:text}`q_percent:g` % false *findings* on average, as statements about discs: of the vertices in their middle, {glue:text}`noise_found:.0f` % are noise.
#
# ## What we have shown, and what not
#
# A searchlight finds where captions drive the cortex, blurs by its radius, and keeps the false discoveries it promises to keep. The demonstration is kind to
# it: noise is independent between vertices, which real noise is not, so that discs average it away too well; and the rest of this cortex responds to nothing,
# where in real people much of it responds to pictures. [The page before](07_captions_and_visual_cortex_in_people) can map real data on a cortex (with NSD).
#
# ## Exercises
#
# 1. Draw the map of one person with discs of half and of one and a half times the radius. What is gained, what is lost?
# 2. What does the map hold if nothing is there? Exchange each person's images before comparing, and count what survives the correction.
#
# :::{admonition} Solutions
# :class: dropdown
# 1. Larger discs average more vertices, so that scores rise; but they reach further. Noise in and next to regions is told apart best by the middle radius.
# 2. Hardly a place survives the correction; without it about one in twenty would by chance. Neighbouring discs share vertices: what is false comes in patches.
# :::

# %% tags=["hide-cell"]
rows, close = {}, truth.index[near | patch]
columns = ["vertices in a disc", "score that a tenth exceeds", "AUC, noise in and next to regions"]
for factor in (0.5, 1.0, 1.5):
    some = searchlight.geodesic_discs(surfaces, factor * radius, vertices=vertices)
    one = person_map(people[-1], some).sel(model="captions").to_series()
    separates = auc((data.truth.loc[one.index, "drive"] == "caption").to_numpy(), one.index.isin(close), one.to_numpy())
    rows[f"{factor * radius:g} mm"] = [np.median(np.diff(some.members.indptr)), one.quantile(0.9), separates]
rng = np.random.default_rng(seed)
empty = xr.concat([person_map(person, discs, rng.permutation) for person in people], people)
nothing = searchlight.group_map(empty.sel(model=["captions"]), q)
report.claim("where nothing is, fewer than one in a hundred places survive", bool(nothing["rejected"].mean() < 0.01))
print(f"p < 0.05: {float((nothing['p'] < 0.05).mean()):.1%}; corrected: {int(nothing['rejected'].sum())} places")
by_radius = pd.DataFrame.from_dict(rows, "index", columns=columns)
report.claim("scores rise with the radius of the disc", by_radius.iloc[:, 1].is_monotonic_increasing)
report.claim("the middle radius separates best", by_radius.iloc[:, 2].idxmax() == by_radius.index[1])
by_radius.round(2)

# %% [markdown]
# `papermill notebooks/07_searchlight.ipynb mine.ipynb -p radius 6 -p n_batches 1 -p results my_results` takes smaller discs and fewer batches.
