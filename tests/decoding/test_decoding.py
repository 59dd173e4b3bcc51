"""Decoding: ridge with leave-one-out penalties, the dictionary of captions, and measures of identification."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import check_estimator

from brainalign.datasets import Viewing
from brainalign.decoding import (
    CaptionDecoder,
    CaptionIndex,
    caption_ceiling,
    caption_ranks,
    chance_by_distances,
    chance_for_subjects,
    correlations,
    decode_subjects,
    dictionary,
    identify_by_distances,
    identify_by_embeddings,
    image_ranks,
)
from brainalign.rsa.rdms import rdm

# decoder -------------------------------------------------------------------------------------------------------------


def planted(rng, n=80, n_vertices=120, n_dimensions=9, noise=0.5):
    """Embeddings, and responses that mix them and add noise."""
    y = rng.standard_normal((n, n_dimensions)) * np.linspace(0.5, 2, n_dimensions) + 3
    x = y @ rng.standard_normal((n_dimensions, n_vertices)) + noise * rng.standard_normal((n, n_vertices))
    return x, y


@pytest.mark.parametrize("shape", [(60, 200), (120, 40), (50, 50), (50, 49)])
def test_agrees_with_scikit_learn(rng, shape):
    x, y = planted(rng, *shape, noise=10)
    x[:, 5] = 2.0  # a constant vertex
    found = CaptionDecoder().fit(x, y)
    unit = ((x - x.mean(0)) ** 2).sum(1).mean()
    expected = RidgeCV(np.logspace(-4, 3, 15) * unit, alpha_per_target=True).fit(x, y)
    np.testing.assert_allclose(found.alpha_ * unit, expected.alpha_)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-8)
    np.testing.assert_allclose(found.predict(x), expected.predict(x), atol=1e-8)


@pytest.mark.parametrize("shape", [(20, 35), (30, 6)])
def test_leave_one_out_errors_are_those_of_refits(rng, shape):
    x, y = planted(rng, *shape, n_dimensions=3, noise=3)
    alphas = [1e-3, 0.1, 10]
    found = CaptionDecoder(alphas).fit(x, y)
    unit = ((x - x.mean(0)) ** 2).sum(1).mean()
    for alpha, errors in zip(alphas, found.loo_mse_, strict=True):
        left_out = []
        for i in range(len(x)):
            rest = np.arange(len(x)) != i
            left_out.append(Ridge(alpha * unit).fit(x[rest], y[rest]).predict(x[[i]])[0] - y[i])
        np.testing.assert_allclose(errors, np.square(left_out).mean(0), rtol=1e-7)


def test_finds_what_is_planted_and_nothing_in_noise(rng):
    x, y = planted(rng, 300, 500, 20)
    train, test = slice(200), slice(200, 300)
    decoder = CaptionDecoder().fit(x[train], y[train])
    assert decoder.score(x[test], y[test]) > 0.99
    assert correlations(decoder.predict(x[test]), y[test], decoder.mean_).mean() > 0.95
    assert (image_ranks(decoder.predict(x[test]), y[test]) == 0).mean() > 0.95
    top, centred = [], []
    for _ in range(20):
        decoder.fit(x[train], rng.permutation(y[train]))
        decoded = decoder.predict(x[test])
        top.append((image_ranks(decoded, y[test], decoder.mean_) < 10).mean())
        centred.append(correlations(decoded, y[test], decoder.mean_).mean())
    assert np.mean(top) == pytest.approx(0.1, abs=0.03)  # 10 of 100
    assert np.mean(centred) == pytest.approx(0, abs=0.05)
    assert decoder.alpha_.mean() > 10  # large penalties where nothing can be predicted


def test_each_dimension_has_its_own_penalty(rng):
    x, y = planted(rng, 150, 100, 2, noise=1)
    y[:, 1] = rng.standard_normal(150)
    decoder = CaptionDecoder().fit(x, y)
    assert decoder.alpha_[0] < 1 < 100 < decoder.alpha_[1]


def test_labelled_arrays_keep_their_labels(rng):
    x, y = planted(rng, 40, 30)
    names = [f"scene{i}" for i in range(40)]
    responses = xr.DataArray(x.astype("float32"), {"image": names, "vertex": np.arange(30) + 7}, ("image", "vertex"))
    targets = xr.DataArray(y, {"item": names}, ("item", "feature"), attrs={"model": "some"})
    decoder = CaptionDecoder().fit(responses[:30], targets[:30])
    decoded = decoder.predict(responses[30:])
    assert decoded.dims == ("item", "feature") and decoded.attrs["model"] == "some"
    assert decoded["item"].values.tolist() == names[30:]
    plain = CaptionDecoder().fit(x[:30].astype("float32"), y[:30]).predict(x[30:].astype("float32"))
    assert isinstance(plain, np.ndarray)
    np.testing.assert_allclose(decoded, plain)
    with pytest.raises(ValueError, match="vertices of the training"):
        decoder.predict(responses[30:, ::-1])
    with pytest.raises(ValueError, match="not the same ones"):
        CaptionDecoder().fit(responses, targets[::-1])
    with pytest.raises(ValueError, match="not the same ones"):
        decoder.score(responses, targets[::-1])


def test_half_precision_responses_are_read_as_they_are(rng):
    x, y = planted(rng, 40, 30)
    half = x.astype("float16")
    np.testing.assert_allclose(
        CaptionDecoder().fit(half, y).predict(half), CaptionDecoder().fit(half.astype(float), y).predict(half)
    )


def test_decoder_refuses_bad_input(rng):
    x, y = planted(rng, 20, 10)
    broken = x.copy()
    broken[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"X \(responses\): 1 of 200 values are not finite .*, the first at .4, 2."):
        CaptionDecoder().fit(broken, y)
    with pytest.raises(ValueError, match=r"y \(embeddings\): 1 of .* not finite"):
        CaptionDecoder().fit(x, np.where(y > y.min(), y, np.inf))
    with pytest.raises(ValueError, match="20 and 19"):
        CaptionDecoder().fit(x, y[:19])
    with pytest.raises(ValueError, match="minimum of 3"):
        CaptionDecoder().fit(x[:2], y[:2])
    with pytest.raises(ValueError, match="constant over the 20 images"):
        CaptionDecoder().fit(np.ones((20, 10)), y)
    with pytest.raises(ValueError, match="alphas: expected"):
        CaptionDecoder([0.1, -1]).fit(x, y)
    with pytest.raises(ValueError, match="features"):
        CaptionDecoder().fit(x, y).predict(x[:, :9])


def test_follows_scikit_learns_conventions():
    check_estimator(CaptionDecoder(alphas=[0.001, 0.1, 10]))
    copy = clone(CaptionDecoder([1.0], device="cpu"))
    assert copy.get_params() == {"alphas": [1.0], "device": "cpu"}


# dictionary ----------------------------------------------------------------------------------------------------------


def brute_force(embeddings, queries, metric, centre=None):
    """Similarities (query, caption), computed the obvious way from the stored numbers."""
    rows, scores = embeddings.astype(float), []
    if centre is not None:
        rows, queries = rows - centre, queries - centre
    for query in queries:
        if metric == "correlation":
            scores.append([np.corrcoef(query, row)[0, 1] for row in rows])
        else:
            scores.append([query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in rows])
    return np.array(scores)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("centred", [False, True])
def test_search_equals_brute_force_with_ties(metric, seed, centred, monkeypatch):
    monkeypatch.setattr(dictionary, "_ROWS", 37)  # many blocks, the last one shorter than k
    monkeypatch.setattr(dictionary, "_QUERIES", 5)
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((300, 12)) + 0.5
    embeddings[rng.integers(300, size=120)] = embeddings[rng.integers(300, size=120)]  # ties within and across blocks
    centre = embeddings.mean(0) if centred else None
    index = CaptionIndex([f"caption {i}" for i in range(300)], embeddings)
    queries = np.concatenate([rng.standard_normal((7, 12)), embeddings[:5]])
    found = index.search(queries, 9, metric=metric, centre=centre)
    scores = brute_force(index.embeddings, queries, metric, centre)
    best = -np.sort(-scores, axis=1)[:, :9]
    np.testing.assert_allclose(found.scores, best, atol=1e-6)
    # Of equally similar ones any will do, each once.
    np.testing.assert_allclose(np.take_along_axis(scores, found.indices, 1), best, atol=1e-6)
    assert all(len(set(row)) == 9 for row in found.indices.tolist())
    assert found.captions[2][0] == f"caption {found.indices[2, 0]}"
    assert (np.diff(best) > -1e-9).any()


def test_all_captions_alike(rng):
    index = CaptionIndex(["same"] * 50, np.tile(rng.standard_normal(8), (50, 1)))
    assert [len(set(row)) for row in index.search(rng.standard_normal((2, 8)), 4).indices.tolist()] == [4, 4]
    assert sorted(index.search(rng.standard_normal((1, 8)), 50).indices[0]) == list(range(50))


def named(values, model):
    return xr.DataArray(values, dims=("item", "feature"), attrs={"model": model})


def test_index_refuses_bad_input(rng):
    values, texts, row = rng.standard_normal((4, 6)), list("abcd"), np.arange(4)[:, None]
    for captions, embeddings, message in [
        ([], values[:0], "captions: expected texts"),
        (["a", np.nan, "c", "d"], values, r"captions: expected texts, got 1 others of 4: \[nan\]"),
        (texts[:3], values, "captions, embeddings: expected the same length, got 3, 4"),
        (texts, np.where(row == 2, np.nan, values), "expected finite numbers.*1 rows are not so: 2"),
        (texts, values * 1e6, "within float16"),
        (texts, np.where(row == 1, 0.5, values), "not all equal.*1 rows are not so: 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            CaptionIndex(captions, embeddings)
    index = CaptionIndex(texts, named(values, "one"))
    for queries, options, message in [
        (values[:, :5], {}, r"queries: expected shape \(query, 6\), got \(4, 5\)"),
        (named(values, "two"), {}, "model of queries: expected one of 'one', got 'two'"),
        (values, {"k": 5}, "k: expected a whole number from 1 to 4, got 5"),
        (values, {"metric": "euclidean"}, "metric: expected one of 'correlation', 'cosine'"),
        (np.where(values == values.max(), np.nan, values), {}, "queries: 1 of 24 values are not finite"),
        (np.ones((1, 6)), {}, "queries: row 0 has no direction"),
        (values[:2], {"centre": index.embeddings[3]}, "embeddings: row 3 has no direction"),
        (values, {"centre": np.zeros(5)}, r"centre: expected shape \(6,\), got \(5,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            index.search(queries, **{"k": 1, **options})


def toy(texts):
    """An embedding that is quick: counts of letters."""
    return np.array([[text.count(chr(97 + i)) + 0.01 * i for i in range(8)] for text in texts], dtype="float32")


def conceptual(path, n=25):
    """A file as Conceptual Captions' are."""
    path.write_text("".join(f"{chr(97 + i % 8)} cab number {i}\thttps://example.org/{i}.jpg\n" for i in range(n)))
    return path


def test_read_from_conceptual_captions(tmp_path, monkeypatch):
    calls = []

    def embed(texts, model, **options):
        calls.append((len(texts), model, options))
        return xr.DataArray(toy(texts), dims=("item", "feature"))

    monkeypatch.setattr(dictionary, "embed", embed)
    monkeypatch.setattr(dictionary, "_PART", 10)
    source = conceptual(tmp_path / "train.tsv")
    with source.open("a") as file:
        file.write("\na  cab number 0\thttps://example.org/again.jpg\n \t\nwithout address\n")
    index = CaptionIndex.read(source, "toy", device="cpu")
    expected = [f"{chr(97 + i % 8)} cab number {i}" for i in range(25)] + ["without address"]
    assert list(index.captions) == expected and index.model == "toy"  # each once, no address, no empty line
    assert calls == [(n, "toy", {"device": "cpu"}) for n in (10, 10, 6)]
    np.testing.assert_array_equal(index.embeddings, toy(expected).astype("float16"))


def test_reading_refuses_bad_input(tmp_path):
    empty, foreign = tmp_path / "empty.txt", tmp_path / "latin.txt"
    empty.write_text("\n \n\thttps://example.org\n")
    foreign.write_bytes("ein Gl\u00fcck\n".encode("latin-1"))
    for source, message in ((empty, "holds no caption"), (tmp_path / "no.txt", "No such file"), (foreign, "UTF-8")):
        with pytest.raises(ValueError, match=message):
            CaptionIndex.read(source, "toy")


# measures ------------------------------------------------------------------------------------------------------------


def test_correlations_are_those_of_numpy(rng):
    decoded, targets, centre = rng.standard_normal((5, 20)), rng.standard_normal((5, 20)), rng.standard_normal(20)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(decoded, targets, strict=True)]
    np.testing.assert_allclose(correlations(decoded, targets), expected)
    expected = [np.corrcoef(a - centre, b - centre)[0, 1] for a, b in zip(decoded, targets, strict=True)]
    np.testing.assert_allclose(correlations(decoded, targets, centre), expected)


def test_ceiling_uses_every_caption(rng):
    values, images = rng.standard_normal((7, 30)), ["b", "a", "b", "b", "a", "b", "b"]
    found = caption_ceiling(values, images)
    assert found["image"].values.tolist() == ["b", "a"]
    of_b = values[[i == "b" for i in images]]
    expected = [np.corrcoef(of_b[i], np.delete(of_b, i, 0).mean(0))[0, 1] for i in range(5)]
    assert float(found.sel(image="b")) == pytest.approx(np.mean(expected))
    assert float(found.sel(image="a")) == pytest.approx(np.corrcoef(values[1], values[4])[0, 1])
    with pytest.raises(ValueError, match="captions of image 'a': expected a whole number of at least 2, got 1"):
        caption_ceiling(values[:3], images[:3])
    with pytest.raises(ValueError, match="embeddings, images: expected the same length, got 7, 3"):
        caption_ceiling(values, images[:3])


def test_ranks_are_counts(rng):
    targets = rng.standard_normal((30, 10))
    decoded = targets + 2 * rng.standard_normal((30, 10))
    scores = np.array([[np.corrcoef(d, t)[0, 1] for t in targets] for d in decoded])
    expected = [(scores[i] > scores[i, i]).sum() for i in range(30)]
    np.testing.assert_array_equal(image_ranks(decoded, targets), expected)
    targets[7] = targets[3]  # the same embedding twice: half a place each
    assert image_ranks(targets, targets)[[3, 7, 8]].tolist() == [0.5, 0.5, 0]


def test_caption_ranks_are_counts(rng):
    decoded, captions = rng.standard_normal((4, 10)), rng.standard_normal((8, 10))
    images, distractors = np.repeat(np.arange(4), 2), rng.standard_normal((50, 10))
    captions[::2] += decoded
    expected = []
    for caption, image in zip(captions, images, strict=True):
        own = np.corrcoef(decoded[image], caption)[0, 1]
        expected.append(sum(np.corrcoef(decoded[image], other)[0, 1] > own for other in distractors))
    np.testing.assert_array_equal(caption_ranks(decoded, captions, images, distractors), expected)
    distractors[5] = captions[0]
    assert caption_ranks(decoded, captions[:1], [0], distractors[5:6])[0] == 0.5
    with pytest.raises(ValueError, match="images: expected a whole number from 0 to 3, got 4"):
        caption_ranks(decoded, captions[:2], [0, 4], distractors)
    with pytest.raises(ValueError, match=r"distractors: expected shape \(distractor, 10\), got \(50, 9\)"):
        caption_ranks(decoded, captions, images, distractors[:, :9])
    with pytest.raises(ValueError, match="rows of distractors: expected a whole number of at least 1, got 0"):
        caption_ranks(decoded, captions, images, distractors[:0])


def test_measures_refuse_bad_input(rng):
    values = rng.standard_normal((4, 6))
    with pytest.raises(ValueError, match=r"targets: expected shape \(4, 6\), got \(3, 6\)"):
        correlations(values, values[:3])
    with pytest.raises(ValueError, match="targets: 1 of 24 values are not finite"):
        correlations(values, np.where(values == values.max(), np.nan, values))
    with pytest.raises(ValueError, match="decoded: row 2 has no direction"):
        correlations(np.where(np.arange(4)[:, None] == 2, 1.0, values), values)
    with pytest.raises(ValueError, match=r"centre: expected shape \(6,\), got \(3,\)"):
        correlations(values, values, values[0, :3])


def slow_identification(brain, captions, groups=None):
    """As `identify_by_distances` is described, image by image, from ranks."""
    n = len(brain)
    shares = []
    for i in range(n):
        wins = []
        for j in range(n):
            if j == i or (groups is not None and groups[i] != groups[j]):
                continue
            rest = [k for k in range(n) if k not in (i, j)]
            own, rival = (np.corrcoef(brain[i, rest], captions[c, rest])[0, 1] for c in (i, j))
            wins.append((own > rival) + 0.5 * (abs(own - rival) < 1e-12))
        shares.append(np.mean(wins) if wins else np.nan)
    return shares


def matrices(*pairs, n):
    upper = np.triu_indices(n, 1)
    for some in pairs:
        matrix = np.zeros((n, n))
        matrix[upper] = some
        yield matrix + matrix.T


@pytest.mark.parametrize("groups", [None, list("aaabbbbbbbc")])
def test_identification_by_distances_against_the_slow_one(rng, groups):
    brain, captions = rdm(rng.standard_normal((11, 5))), rdm(rng.standard_normal((11, 7)))
    ranked = []  # Spearman: ranks within each row
    for matrix in matrices(brain, captions, n=11):
        off = ~np.eye(11, dtype=bool)
        ranked.append(np.zeros((11, 11)))
        for i in range(11):
            ranked[-1][i, off[i]] = np.argsort(np.argsort(matrix[i, off[i]]))
    found = identify_by_distances(brain, captions, groups)
    np.testing.assert_allclose(found, slow_identification(*ranked, groups))
    assert spearmanr(brain, captions)[0] < 0.9  # no copies of each other


def test_identification_by_distances_finds_what_is_planted(rng):
    captions = rng.standard_normal((40, 12))
    brain = rdm(captions + 0.3 * rng.standard_normal((40, 12)))
    assert identify_by_distances(brain, rdm(captions)).mean() > 0.95
    groups = np.repeat([0, 1], 20)
    grouped = rdm(np.column_stack([5.0 * groups, rng.standard_normal((40, 11))]), "euclidean")
    other = rdm(np.column_stack([5.0 * groups, rng.standard_normal((40, 11))]), "euclidean")
    assert identify_by_distances(grouped, other).mean() > 0.65  # groups alone help
    null = chance_by_distances(grouped, other, groups, n_permutations=99)
    assert np.quantile(null, 0.005) < identify_by_distances(grouped, other, groups).mean() < np.quantile(null, 0.995)


def test_chance_by_distances_is_nominal(rng):
    p_values, shares = [], []
    for seed in range(120):
        brain, captions = rdm(rng.standard_normal((2, 14, 6))), rdm(rng.standard_normal((14, 6)))
        observed = np.mean([identify_by_distances(one, captions).mean() for one in brain])
        null = chance_by_distances(brain, captions, n_permutations=39, seed=seed)
        p_values.append((1 + (null >= observed).sum()) / 40)
        shares.append(observed)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    rejected = np.mean(np.array(p_values) <= 0.1)
    assert 0.03 <= rejected <= 0.19  # 0.1 of 120, three standard errors
    assert (chance_by_distances(brain, captions, n_permutations=5, seed=1)).tolist() == chance_by_distances(
        brain, captions, n_permutations=5, seed=1
    ).tolist()


def test_distances_refuse_bad_input(rng):
    brain = rdm(rng.standard_normal((6, 5)))
    with pytest.raises(ValueError, match="brain: expected the distances of all pairs"):
        identify_by_distances(brain[:-1], brain)
    with pytest.raises(ValueError, match="brain, captions: expected the same length, got 6, 7"):
        identify_by_distances(brain, rdm(rng.standard_normal((7, 5))))
    with pytest.raises(ValueError, match="captions: 1 of 15 values are not finite"):
        identify_by_distances(brain, np.where(brain == brain.max(), np.nan, brain))
    with pytest.raises(ValueError, match=r"groups: expected shape \(6,\), got \(2,\)"):
        identify_by_distances(brain, brain, [1, 2])
    assert np.isnan(identify_by_distances(brain, brain, [0, 1, 1, 1, 1, 1])[0])


def test_captions_of_a_series_are_taken_by_place(rng):
    embeddings = rng.standard_normal((6, 8))
    captions = pd.Series([f"c{number}" for number in range(6)], index=rng.permutation(6))
    index = CaptionIndex(captions, embeddings)
    assert [found[0] for found in index.search(embeddings, 1).captions] == captions.tolist()


def test_captions_that_are_the_same_are_ties(rng):
    points = rng.standard_normal((12, 5))
    captions = np.repeat(rng.standard_normal((6, 5)), 2, axis=0)
    np.testing.assert_array_equal(identify_by_distances(rdm(points), rdm(captions), np.arange(12) // 2), 0.5)


# people --------------------------------------------------------------------------------------------------------------


def viewing(x, n_test, **fields) -> Viewing:
    """One person's responses (image, vertex), or distances between these."""
    names = [f"i{number}" for number in range(len(x))]
    captions = pd.DataFrame({"image": names, "caption": "A thing.", "caption_id": range(len(x))})
    return Viewing(name="made up", captions=captions, test_images=names[:n_test], **fields)


def test_people_are_decoded_from_responses_or_from_distances_alike(rng):
    x, y = planted(rng, n=40, noise=5)
    z = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)  # what a correlation sees
    places = {"image": [f"i{number}" for number in range(40)], "vertex": range(x.shape[1])}
    embeddings = xr.DataArray(y, {"item": places["image"]}, ("item", "feature"))
    told = viewing(z, 10, responses={"p": xr.DataArray(z[None], places, ("repeat", "image", "vertex"))})
    expected = CaptionDecoder().fit(z[10:].astype("float32"), y[10:])
    found = decode_subjects(told, embeddings)
    assert found.dims == ("subject", "image", "feature") and found["image"].values.tolist() == told.test_images
    np.testing.assert_allclose(found[0], expected.predict(z[:10]) - expected.mean_, atol=1e-4)

    known = xr.DataArray(rdm(z)[None, None], {"subject": ["p"]}, ("subject", "session", "pair"))
    apart = decode_subjects(viewing(z, 40, rdms=known), embeddings)[0].values
    assert (np.abs(apart).sum(1) > 0).all()
    (train, test), *_ = KFold(5, shuffle=True, random_state=0).split(z)
    decoder = CaptionDecoder().fit(z[train], y[train])
    np.testing.assert_allclose(apart[test], decoder.predict(z[test]) - decoder.mean_, atol=1e-4)


def test_exchanged_embeddings_beat_half_of_the_rivals(rng):
    x, y = planted(rng, n=40, noise=5)
    groups = np.arange(40) % 4
    data = viewing(x, 40, rdms=xr.DataArray(rdm(x)[None, None], {"subject": ["p"]}, ("subject", "session", "pair")))
    embeddings = xr.DataArray(y, {"item": data.test_images}, ("item", "feature"))
    aims = y - y.mean(0)
    found = identify_by_embeddings(decode_subjects(data, embeddings)[0], aims, groups)
    null = chance_for_subjects(data, embeddings, groups, n_refits=9)
    assert len(null) == 9 and abs(null.mean() - 0.5) < 0.1 and found.mean() > max(0.8, null.max())
    assert (identify_by_embeddings(aims, aims, groups) == 1).all()
    alone = identify_by_embeddings(aims, -aims, [0] * 39 + [1])
    assert np.isnan(alone[-1]) and np.nanmax(alone) < 0.5
