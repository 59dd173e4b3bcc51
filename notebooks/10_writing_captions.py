# %% [markdown]
# # From an embedding to a sentence
#
# [The first page of this chapter](10_reading_captions) ended with embeddings: lists of numbers, close to those of good descriptions. An embedding cannot be
# turned back into a sentence, as the sentence model works one way only. {cite:t}`doerig2025` look it up: of millions of sentences, which has the most
# similar embedding? We do the same, ask what such a look-up cannot do, and then let a language model try to write a better sentence.
#
# :::{admonition} In this chapter
# **You will learn** how to look sentences up; how to tell reading from remembering; how models can propose sentences and choose; and what can judge them.
#
# **You need** [the first page](10_reading_captions); what a {term}`causal language model` is helps. **It takes** 15 minutes to read, two to run.
# :::
#
# ## Parameters

# %% tags=["parameters"]
embeddings: str = "all-mpnet-base-v2"  # sentence model: asset, folder or hub name
second_model: str = "all-minilm-l6-v2"  # another one, which judges written sentences
language_model: str = "smollm2-135m"  # writes: asset, folder or hub name
n_train: int = 400  # scenes that each of two virtual viewers sees alone
n_test: int = 200  # scenes that both see: the test images
snr: float = 0.03  # planted variance over that of one presentation's noise, median over vertices
n_scenes: int = 1000  # other rendered scenes, whose captions are the dictionary
n_orders: int = 20  # orders of test images, for chance
n_resamples: int = 2000  # bootstrap draws of pictures
n_written: int = 12  # pictures for which a sentence is written, two or more
seed: int = 0  # of the viewers, orders and draws
device: str = "auto"  # where models run: "auto", "cpu" or "cuda"
results: str = "results/10_writing_captions"  # folder for numbers, claims and figures

# %% tags=["remove-cell"]
import numpy as np
import pandas as pd

from brainalign import datasets, decoding, plotting, stats
from brainalign.book import Report
from brainalign.decoding.matching import token_match
from brainalign.decoding.writing import consensus, write_captions
from brainalign.features.captions import TextEncoder, embed
from brainalign.simulated.scenes import render_scenes

plotting.use_style()
report = Report(results)

# %% [markdown]
# ## Look it up
#
# One of the virtual viewers of that page, decoded in the same way: embeddings of {glue:text}`n_test` test images, from {glue:text}`n_train` training images.
# What was planted is linear in the embeddings, and captions come from the same generator as those of the dictionary, which suits them as no real one would. So
# this page is about what looking up and writing can add *if* decoding works, not about people.
#
# The study used the three million captions of Conceptual Captions {cite:p}`sharma2018` as its *dictionary*. `CaptionIndex` is one: it keeps embeddings in
# half precision and compares every one, so that none is missed. Ours holds the captions of {glue:text}`n_scenes` scenes that nobody saw. Does it pay
# to look them up without what all captions share (`centre`, the mean of the training images)? How do the sentences found correlate with the target?

# %%
viewers = {"n_subjects": 2, "n_train": n_train, "n_test": n_test, "roi": "streams", "seed": seed}
data = datasets.load_viewing("virtual", **viewers, snr=snr, embeddings=embeddings, device=device)
person, test = data.subjects[0], list(data.test_images)
train, responses = list(data.train_images(person)), data.mean_responses(person).astype("float32")
targets = embed(data.captions, embeddings, device=device)
goals, truth = targets.sel(item=train), targets.sel(item=test)
decoder = decoding.CaptionDecoder(device=device).fit(responses.sel(image=train), goals)
decoded = decoder.predict(responses.sel(image=test))
middle, scores = decoder.mean_, decoding.correlations(decoded, truth)
entries = render_scenes(n_scenes, seed=seed + 1).captions["caption"].unique().tolist()
index = decoding.CaptionIndex(entries, embed(entries, embeddings, device=device))
found = {"as it is": index.search(decoded, 5), "centred": index.search(decoded, 10, centre=middle)}
best = {name: index.embeddings[match.indices[:, 0]].astype(float) for name, match in found.items()}
raw, centred = (decoding.correlations(some, truth) for some in best.values())
interval = {"n_resamples": n_resamples, "seed": seed}  # over images
report.add(n_train=n_train, n_test=n_test, decoder_r=scores.mean(), n_entries=len(index), n_scenes=n_scenes)
report.add(found_raw=raw.mean(), found_centred=centred.mean(), found_gain=stats.bootstrap_ci(centred - raw, **interval))
report.claim("sentences that were looked up centred are closer to the target", report["found_gain"].low > 0)
report

# %% [markdown]
# Of {glue:text}`n_entries:,` sentences, the one found correlates with the target at {glue:text}`found_raw:.2f`; looked up centred, at
# {glue:text}`found_centred:.2f`. The gain is {glue:text}`found_gain`, over images. All the same, we go on with the look-up as it is, as in the study, and only
# write from the centred one. In which place is a *right* caption, one that was written for the very image, among all these wrong ones? Each of an image's
# captions is ranked by itself. For chance, the test images change places. And the sentences? We choose images by the mean rank of their captions.

# %% mystnb={"image": {"alt": "Six scenes in three rows, two good, two middling and two bad by rank, each beside the caption that was looked up for a virtual viewer, one that describes it, and the mean rank."}}
of_test = data.captions[data.captions["image"].isin(test)]
vectors = embed(data.captions["caption"].tolist(), embeddings, device=device).values
right = vectors[data.captions["image"].isin(test).to_numpy()]
owner, wrong = pd.Index(test).get_indexer(of_test["image"]), index.embeddings.astype(float)
place = decoding.caption_ranks(decoded, right, owner, wrong)
rng = np.random.default_rng(seed)
orders = [rng.permutation(len(test)) for _ in range(n_orders)]
swapped = np.stack([decoding.caption_ranks(decoded.values[order], right, owner, wrong) for order in orders])
report.add(caption_median=np.median(place), swapped_median=np.median(swapped))
report.add(caption_top_percent=100 * (place < 10).mean(), swapped_top_percent=100 * (swapped < 10).mean())
report.claim("right captions rank before those of exchanged images", np.median(place) < np.median(swapped, 1).min())
by_image = pd.Series(place).groupby(owner).mean().sort_values(kind="stable")
half, hits, wrote = len(by_image) // 2, found["as it is"].captions, of_test.groupby("image")["caption"].first()
chosen = by_image.index[[0, 1, half - 1, half, -2, -1]]
text = [f"looked up: {hits[k][0]}\n\nwritten for it: {wrote[test[k]]}\n\nmean rank: {by_image[k]:.1f}" for k in chosen]
pictures = np.asarray(data.images)[data.image_names.get_indexer([test[k] for k in chosen])]
report.figure("sentences", plotting.pictures(pictures, text, title="Best, middle and worst, one virtual viewer"))

# %% [markdown]
# Half of the right captions have at most {glue:text}`caption_median:g` wrong ones ahead of them, and {glue:text}`caption_top_percent:.0f` % fewer than ten;
# with exchanged images half have up to {glue:text}`swapped_median:,.0f`, and {glue:text}`swapped_top_percent:.1f` % fewer than ten.
# *What to see:* even in the best row the caption looked up was written about another scene: it may catch one thing and miss another, or name things that
# are not there. Six pictures show what can happen, not how often. What none of {glue:text}`n_entries:,` sentences describes cannot be found.
#
# ### Or is it just memory?
#
# A decoder could cheat and seem to read: find the *training* image with the most similar responses, and answer with its captions. How far does that get,
# and the best look-up among them, one that knows the target? And when training captions join the dictionary, how often is one of that image found?

# %%
learned = data.captions["image"].isin(train).to_numpy()
n, patterns = len(test), responses.sel(image=train).values
neighbour = np.corrcoef(responses.sel(image=test).values, patterns)[:n, n:].argmax(1)
ideal = np.corrcoef(truth, goals)[:n, n:].argmax(1)
own = decoding.CaptionIndex(data.captions["caption"][learned].tolist(), vectors[learned]).search(decoded, 1)
from_training = own.scores[:, 0] > found["as it is"].scores[:, 0]
remembered = data.captions["image"].to_numpy()[learned][own.indices[:, 0]] == np.asarray(train)[neighbour]
guesses = {"decoded": decoded.values, "nearest by responses": goals.values[neighbour]}
guesses["nearest by the target itself"] = goals.values[ideal]
table = pd.DataFrame({"r": {name: decoding.correlations(guess, truth).mean() for name, guess in guesses.items()}})
table["r, centred"] = [decoding.correlations(guess, truth, middle).mean() for guess in guesses.values()]
table["top-1"] = [(decoding.image_ranks(guess, truth) < 1).mean() for guess in guesses.values()]
gain = scores - decoding.correlations(goals[neighbour], truth)
report.add(gain_over_nearest=stats.bootstrap_ci(gain, **interval), ideal_r=table.iloc[2, 0])
report.add(ideal_hits=100 * table.iloc[2, 2], nearest_found=100 * (from_training & remembered).mean())
report.add(training_found=100 * from_training.mean(), training_part=100 * learned.sum() / (learned.sum() + len(index)))
report.claim("decoding does better than the nearest training image", report["gain_over_nearest"].low > 0)
report.claim("what is decoded leans towards training images", report["training_found"] > report["training_part"])
table.round(3)

# %% [markdown]
# *What to see:* the decoder does better than the nearest training image, by {glue:text}`gain_over_nearest` in r, because it can mix what it learned from many.
# Who knew the target and took the best of all training images would reach {glue:text}`ideal_r:.2f`, where the decoder has {glue:text}`decoder_r:.2f`, but would
# identify only {glue:text}`ideal_hits:.0f` %, as several test images share their best training image. Training captions make up
# {glue:text}`training_part:.0f` % of the joint dictionary and {glue:text}`training_found:.0f` % of what is found; in {glue:text}`nearest_found:.0f` % of the
# cases it is one of the nearest training image. So memory does not explain the scores, though what is decoded leans towards training images.
#
# ## Write it
#
# Can a language model write a sentence for *this* embedding? It cannot see it. But it can propose, and the sentence model can choose:
#
# 1. **Beam.** We show a {term}`causal language model` the five best retrieved captions as lines of a list, and let it begin a sixth. Of each beginning, its
#    likeliest continuations are tried, a {term}`token` at a time. They are embedded as they are, and the best few are kept: a {term}`beam search`.
# 2. **Edits.** The best sentence so far, retrieved or written, is changed in one place. A word is dropped, replaced or put in as the language model would
#    have it there, or its end is exchanged with that of another retrieved caption. If the best of the changed sentences is better, it takes over.
#
# The *score* of a sentence is the correlation of its embedding with the goal, plus a small weight times its mean log-probability, so that it stays a sentence.
# Who follows a noisy decoded embedding closely may write noise, so the goal is halfway between it and a weighted mean of its twenty closest captions.

# %%
retrieved = found["centred"].captions[:n_written]
goal = consensus(decoded.values[:n_written], index, centre=middle)
encode = TextEncoder(embeddings, device=device)
written = write_captions(goal, retrieved, encode, language_model, rounds=2, centre=middle, device=device)
origins = written["origin"].value_counts().reindex(["written", "edited", "retrieved"], fill_value=0)
report.add(n_written=len(written), **{f"n_{name}_origin": count for name, count in origins.items()})
report

# %% [markdown]
# Of {glue:text}`n_written` sentences, {glue:text}`n_written_origin` come unchanged from the beam, {glue:text}`n_edited_origin` are edited, and
# {glue:text}`n_retrieved_origin` times the retrieved caption was kept. *Written* below means all of them. The score that guided the writing cannot judge
# it: sentences were chosen to raise it. So we judge in three ways, each against the image's own captions: by the same encoder; by another one; and by
# {term}`token matching` with the second encoder {cite:p}`zhang2020`. The rival is the best retrieved caption, image by image.

# %%
told = [of_test.loc[of_test["image"] == name, "caption"].tolist() for name in test[:n_written]]
versions = {"retrieved": [some[0] for some in retrieved], "written": written["caption"].tolist()}
judged, tokens = {}, TextEncoder(second_model, device=device).tokens
for judge, model in {"same encoder": embeddings, "second encoder": second_model}.items():
    aims = embed(of_test, model, images=test[:n_written], device=device)
    for version, texts in versions.items():
        judged[judge, version] = decoding.correlations(embed(texts, model, device=device), aims)
for version, texts in versions.items():
    for column, values in token_match(texts, told, tokens).items():
        judged[f"token {column}", version] = values.to_numpy()
    report.add(**{f"words_{version}": np.mean([len(text.split()) for text in texts])})
judged = pd.DataFrame(judged)
for judge in judged.columns.unique(0):
    gap = stats.bootstrap_ci(judged[judge, "written"] - judged[judge, "retrieved"], **interval)
    report.add(**{judge.replace(" encoder", "").replace(" ", "_") + "_gap": gap})
report.claim("written sentences do better by the encoder that guided", report["same_gap"].low > 0)
report.claim("written sentences cover more of what captions mention", report["token_recall_gap"].low > 0)
report.add(token_recall_gain=f"{report['token_recall_gap']:.3f}")  # three decimals tell its interval from 0
report.claim("written sentences are longer", report["words_written"] > report["words_retrieved"])
report

# %% mystnb={"image": {"alt": "Two scatter plots, one dot an image: likeness of the written against that of the retrieved sentence to the image's own captions, by the encoder that guided and by another one, with dashed diagonals."}}
pairs = pd.concat([judged[name].assign(judge=name) for name in ("same encoder", "second encoder")])
text = {"xlabel": "retrieved sentence (r)", "ylabel": "written sentence (r)", "col": "judge", "diagonal": True}
text["title"] = f"Likeness to the images' captions, {n_written} images, one virtual viewer"
report.figure("judged", plotting.points(pairs, "retrieved", "written", **text))

# %% [markdown]
# *What to see:* dots above the line are images for which the written sentence is closer to the image's own captions. By the encoder that guided, written
# sentences differ from retrieved ones by {glue:text}`same_gap`, by the second one by {glue:text}`second_gap`, by token matching by {glue:text}`token_f1_gap`.
# Whether that is worth having, the sentences must say: the largest gains by the second encoder first, the largest losses last.

# %%
change = judged["second encoder", "written"] - judged["second encoder", "retrieved"]
table = pd.DataFrame({**versions, "one of its captions": [some[0] for some in told], "change": change.round(2)})
table = table.sort_values("change", ascending=False, kind="stable")
table = pd.concat([table.head(3), table.tail(3)]).drop_duplicates()
table.style.hide().format({"change": "{:+.2f}"}).set_table_styles([{"selector": "th, td", "props": "text-align: left"}])

# %% [markdown]
# Read the sentences, not only the numbers. Retrieved captions have {glue:text}`words_retrieved:.1f` words on average, written ones
# {glue:text}`words_written:.1f`. Edits string together what several captions say. That fits the numbers: recall changes by {glue:text}`token_recall_gain`,
# precision by {glue:text}`token_precision_gap`, as a longer sentence covers more of what captions mention and may add things that none of them does. We did not
# control for length. The price may be grammar: sentence encoders need not mind it, and the language model has a small weight. As we read them, these are
# *longer lists*, with some right things more and some wrong, rather than better sentences: encoders can be flattered.
#
# ## What we have shown
#
# A dictionary gives the nearest sentence it has, and centring helps to find it. A language model under the eye of a sentence model makes sentences whose
# embeddings are closer to those of the images' captions; they are also longer. Judges that did not guide are needed to say whether these are better, and
# reading them still is. All of this holds for sentences of one generator and viewers who respond to them by construction.
#
# ## What the paper found
#
# {cite:t}`doerig2025` looked decoded embeddings up among 3.1 million captions by correlation. They report that decoded captions describe what was seen, and
# that they are not just those of the nearest training image. The four examples that they show, one for each of four people, are not all of the best: of 515
# test images ordered by how well they were decoded (not our rank), they stand at places 102, 0 (the best), 459 and 255. Writing is our addition.
#
# ## Exercises
#
# 1. How much does the dictionary matter? Take a random tenth and hundredth of it: how do retrieved captions correlate with the targets?
# 2. Look captions up by cosine instead of correlation. How often is the first one another?
#
# :::{admonition} Solutions
# :class: dropdown
# 1. The smaller the dictionary, the farther its best sentence. But one generator with few words cannot say how much size matters for photographs.
# 2. Seldom. Correlation over dimensions is the cosine after each embedding's own mean over dimensions is taken off, and that mean is close to 0.
# :::

# %% tags=["hide-cell"]
by_size = []
for part in (0.01, 0.1, 1.0):
    kept = np.sort(rng.choice(len(index), max(20, int(part * len(index))), replace=False))
    some = decoding.CaptionIndex([entries[i] for i in kept], index.embeddings[kept])
    hit = some.search(decoded.values, 1, centre=middle).indices[:, 0]
    by_size.append(decoding.correlations(some.embeddings[hit], truth).mean())
    print(f"{len(some):5,} captions: r = {by_size[-1]:.3f}")
by_cosine = index.search(decoded, 1, metric="cosine").indices[:, 0]
another = (by_cosine != found["as it is"].indices[:, 0]).mean()
report.claim("the smaller the dictionary, the farther its best sentence", by_size == sorted(by_size))
report.claim("looked up by cosine, another caption is found in few images", another < 0.1)
print(f"another caption: {100 * another:.1f} %; mean over dimensions up to {np.abs(decoded.values.mean(1)).max():.4f}")
