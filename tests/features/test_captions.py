"""Caption embeddings: equal to the models' own, means as written out by hand, and controls that hold what they say."""

from __future__ import annotations

import logging
import shutil
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer

from brainalign import assets
from brainalign.features import captions as module
from brainalign.features import language
from brainalign.features.captions import KINDS, TextEncoder, embed
from brainalign.features.store import FeatureStore

LIGHT = "all-minilm-l6-v2"
TABLE = pd.DataFrame(
    [
        ("horse", "Two men slowly ride a brown horse."),
        ("food", "A plate of food on a table"),
        ("horse", "a man on a horse"),
        ("red", "very red!"),
    ],
    columns=["image", "caption"],
)
WORDS = {  # by image, tagged by hand
    "words": ["Two men slowly ride a brown horse a man on a horse", "A plate of food on a table", "very red"],
    "nouns": ["men horse man horse", "plate food table", "something"],
    "verbs": ["ride", "is", "is"],
    "adjectives": ["brown", "something", "red"],
    "adverbs": ["slowly", "something", "very"],
    "prepositions": ["on", "of on", "something"],
}
EMPTY = {"words": 0, "nouns": 1, "verbs": 2, "adjectives": 1, "adverbs": 1, "prepositions": 1}


@pytest.fixture(scope="module")
def light() -> SentenceTransformer:
    return SentenceTransformer(str(assets.fetch(LIGHT)), device="cpu", local_files_only=True)


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return FeatureStore(tmp_path / "store")


@pytest.mark.parametrize("model", [LIGHT, "all-mpnet-base-v2"])
def test_sentences_equal_the_models_own_embeddings(model, rng):
    words = ["a", "man", "rides", "the", "tall", "horse", "past", "two", "dogs", "in", "light", "rain"]
    sentences = [" ".join(rng.choice(words, size)) for size in rng.integers(1, 30, 12)]
    own = SentenceTransformer(str(assets.fetch(model)), device="cpu", local_files_only=True).encode(sentences)
    found = embed(sentences, model, store=False)
    assert found.dims == ("item", "feature") and found.dtype == np.float32
    np.testing.assert_allclose(found, own, atol=1e-5)
    np.testing.assert_array_equal(found["item"], range(12))


def test_an_image_is_the_mean_of_its_captions(light, store):
    found = embed(TABLE, LIGHT, store=store)
    assert found["item"].to_numpy().tolist() == ["horse", "food", "red"]
    for image, rows in TABLE.groupby("image"):
        expected = np.mean([light.encode(text) for text in rows["caption"]], axis=0)
        np.testing.assert_allclose(found.sel(item=image), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["sentence", "shuffled", "words", "length"])
def test_the_order_of_rows_changes_nothing(kind, store):
    found = embed(TABLE, LIGHT, kind=kind, store=store)
    again = embed(TABLE.iloc[::-1], LIGHT, kind=kind, store=store, images=["food", "horse"])
    np.testing.assert_allclose(again, found.sel(item=["food", "horse"]), atol=1e-6)


@pytest.mark.parametrize("kind", WORDS)
def test_levels_of_words_embed_each_word_alone(kind, light, store):
    found = embed(TABLE, LIGHT, kind=kind, store=store)
    expected = [light.encode(text.split()).mean(0) for text in WORDS[kind]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.attrs["empty"] == EMPTY[kind]


def test_an_encoder_loads_its_model_once_and_only_for_texts_that_are_new(store, monkeypatch):
    loads, load = [], SentenceTransformer
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", lambda *a, **b: loads.append(a) or load(*a, **b))
    texts = ["a dog", "very red!", "a dog"]
    encode = TextEncoder(LIGHT, store=store)
    np.testing.assert_allclose(encode(texts), embed(texts, LIGHT, store=False), atol=1e-5)
    encode(["two cats"])
    assert len(loads) == 2  # one of them by `embed`
    TextEncoder(LIGHT, store=store)(texts)
    assert len(loads) == 2


def test_tokens_are_those_of_words_each_as_its_sentence_makes_it(store, light):
    text = "a dog, very red!"
    (tokens,) = TextEncoder(LIGHT, store=store).tokens([text])
    ids = light.tokenizer(text)["input_ids"]
    kept = [place for place, token in enumerate(light.tokenizer.convert_ids_to_tokens(ids)) if token.isalnum()]
    with torch.inference_mode():
        states = light[0].auto_model(torch.tensor([ids])).last_hidden_state[0]
    assert len(tokens) == 4
    np.testing.assert_allclose(tokens, states[kept].numpy(), atol=1e-5)


def test_captions_without_any_word_are_not_lost(store, light):
    found = embed(["!!!", "a dog"], LIGHT, kind="nouns", store=store)
    np.testing.assert_allclose(found, light.encode(["something", "dog"]), atol=1e-5)
    np.testing.assert_array_equal(found, embed(["!!!", "a dog"], LIGHT, kind="nouns", store=store))
    assert embed(["!!!", "?"], LIGHT, kind="words", store=store).attrs["empty"] == 2


def test_shuffling_changes_the_order_and_nothing_else():
    text = "Two men slowly ride a brown horse."
    shuffled = module._shuffle(text, 0)
    assert sorted(shuffled.rstrip(".").split()) == sorted(text.rstrip(".").split())
    assert shuffled != text and shuffled.endswith(".") and shuffled.count(".") == 1
    assert module._shuffle(text, 0) == shuffled and len({module._shuffle(text, seed) for seed in range(10)}) > 5
    assert all(module._shuffle("red car", seed) == "car red" for seed in range(5))
    assert module._shuffle("go go go!", 0) == "go go go!"


def test_shuffling_is_uniform(rng):
    # the first word lands anywhere but does not stay more often than chance: 3 words have 5 other orders
    firsts = [module._shuffle("a b c", seed).split()[0] for seed in range(2000)]
    assert abs(firsts.count("a") - 2000 / 5) < 4 * np.sqrt(2000 * 0.2 * 0.8)


def test_shuffled_captions_are_embedded(light, store):
    found = embed(["a man on a horse"], LIGHT, kind="shuffled", seed=3, store=store)
    np.testing.assert_allclose(found, light.encode([module._shuffle("a man on a horse", 3)]), atol=1e-5)


def test_categories(light, store):
    categories = pd.DataFrame(
        [[False, False], [True, True], [True, False]],
        index=["red", "horse", "food"],
        columns=["person", "fire hydrant"],
    )
    found = embed(TABLE, LIGHT, kind="category", categories=categories, store=store)
    np.testing.assert_allclose(found, light.encode(["person fire hydrant", "person", "something"]), atol=1e-5)
    assert found.attrs["empty"] == 1
    hot = embed(TABLE, kind="multihot", categories=categories)
    assert hot.to_numpy().tolist() == [[1, 1], [1, 0], [0, 0]] and list(hot["feature"]) == ["person", "fire hydrant"]
    static = embed(TABLE, LIGHT + "@static", kind="category", categories=categories)
    words = embed(["person fire hydrant"], LIGHT + "@static", kind="words", store=store)
    np.testing.assert_allclose(static[0], words[0], atol=1e-6)


def test_length_is_the_mean_number_of_words():
    assert embed(TABLE, kind="length").to_numpy().ravel().tolist() == [6.0, 7.0, 2.0]


def test_static_vectors_know_no_context(light, store):
    table = light[0].auto_model.get_input_embeddings().weight.detach().numpy()
    tokens = light.tokenizer(["slowly", "hydrants"], add_special_tokens=False)["input_ids"]
    found = embed(["slowly hydrants"], LIGHT + "@static", kind="words", store=store)
    np.testing.assert_allclose(found[0], np.mean([table[ids].mean(0) for ids in tokens], axis=0), atol=1e-6)
    swapped = embed(["hydrants slowly"], LIGHT + "@static", kind="words", store=store)
    np.testing.assert_allclose(found, swapped, atol=1e-7)


# the store


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """All texts that the model is asked for."""
    asked: list[str] = []
    encode = SentenceTransformer.encode

    def count(self, texts, **options):
        asked.extend(texts)
        if "stop" in asked:
            raise KeyboardInterrupt
        return encode(self, texts, **options)

    monkeypatch.setattr(SentenceTransformer, "encode", count)
    return asked


@pytest.mark.parametrize("kind", ["sentence", "nouns"])
def test_nothing_is_computed_twice(kind, store, monkeypatch):
    first = embed(TABLE, LIGHT, kind=kind, store=store)

    def refuse(*args, **options):
        raise AssertionError("loaded though everything is stored")

    monkeypatch.setattr("sentence_transformers.SentenceTransformer", refuse)
    monkeypatch.setattr("spacy.load", refuse)
    if kind == "nouns":  # nor for another part of speech
        embed(TABLE, LIGHT, kind="verbs", store=store)
    part = embed(TABLE, LIGHT, kind=kind, store=store, images=["food"])
    np.testing.assert_allclose(part, first.sel(item=["food"]), atol=1e-6)
    again = embed(TABLE.sample(frac=1, random_state=0), LIGHT, kind=kind, store=store, images=first["item"].to_numpy())
    np.testing.assert_array_equal(first, again)


def test_a_model_leaves_memory_when_its_texts_are_done(monkeypatch):
    loaded, load = [], SentenceTransformer

    def noted(*args, **options):
        model = load(*args, **options)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr("sentence_transformers.SentenceTransformer", noted)
    embed(TABLE, LIGHT, store=False)
    assert len(loaded) == 1 and loaded[0]() is None


def test_each_text_is_computed_once(counted):
    embed(["a dog", "a cat", "a dog"], LIGHT, store=False)
    assert sorted(counted) == ["a cat", "a dog"]


def test_an_interrupted_run_goes_on(counted, store, monkeypatch):
    monkeypatch.setattr(module, "SHARD_TEXTS", 2)
    sentences = ["one", "two", "stop", "three", "seven", "thirty"]
    with pytest.raises(KeyboardInterrupt):
        embed(sentences, LIGHT, store=store)
    assert counted == ["one", "two", "stop", "seven"]
    counted.clear()
    monkeypatch.setattr(SentenceTransformer, "encode", lambda self, texts, **_: (counted.extend(texts), ones(texts))[1])
    found = embed(sentences, LIGHT, store=store)
    assert counted == ["stop", "seven", "three", "thirty"]
    assert not np.allclose(found[:2], 1) and np.allclose(found[2:], 1)


def ones(texts: list[str]) -> np.ndarray:
    return np.ones((len(texts), 384), dtype=np.float32)


def test_damaged_shards_are_computed_again(store, caplog):
    first = embed(TABLE, LIGHT, store=store)
    (path,) = store.root.rglob("*.zip")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        again = embed(TABLE, LIGHT, store=store)
    assert "damaged" in caplog.text
    np.testing.assert_allclose(first, again, atol=1e-6)


def test_without_a_store_nothing_is_kept(store, monkeypatch):
    kept = embed(TABLE, LIGHT, kind="nouns", store=store)
    monkeypatch.setattr(module.FeatureStore, "entry", lambda *_, **__: pytest.fail("used a store"))
    np.testing.assert_allclose(embed(TABLE, LIGHT, kind="nouns", store=False), kept, atol=1e-6)


# bad input


@pytest.mark.parametrize("bad", [np.nan, None, "", "   ", 3])
def test_captions_without_text_are_named(bad):
    table = TABLE.assign(caption=[*TABLE["caption"][:2], bad, "x"]).set_axis([10, 11, 12, 13])
    with pytest.raises(ValueError, match="captions: expected texts of images, got .* of 'horse' in row 12"):
        embed(table, LIGHT)
    with pytest.raises(ValueError, match="in row 1;"):
        embed(["x", bad], LIGHT)


BOOLS = pd.DataFrame(True, index=["horse", "food"], columns=["person"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"kind": "sentences"}, "kind: expected one of 'sentence', 'shuffled'"),
        ({"captions": []}, "captions: expected rows of image and caption, got 0"),
        ({"captions": "a dog"}, "put it in a list"),
        ({"captions": TABLE.drop(columns="image")}, "captions: expected rows of image and caption, got 4 of caption"),
        ({"captions": TABLE.assign(image=[np.nan, 1, 2, 3])}, "got 'Two men .*' of nan in row 0"),
        ({"images": ["horse", "cat"]}, "each once; 1 have none: cat"),
        ({"images": ["horse", "horse"]}, "each once"),
        ({"images": []}, "images: expected images of the captions"),
        ({"kind": "category"}, "categories: expected a DataFrame"),
        ({"kind": "multihot", "categories": BOOLS.astype(float)}, "bool columns"),
        ({"kind": "multihot", "categories": BOOLS}, "1 have none: red"),
        ({"model": LIGHT + "@static"}, "kind of static word vectors: expected one of"),
        ({"model": LIGHT + "@static", "kind": "shuffled"}, "kind of static word vectors: expected one of"),
        ({"device": "sometimes"}, "device: expected"),
        ({"captions": ["dog " * 400]}, "captions: expected at most 256 tokens, got more in 'dog dog"),
        ({"model": "no such model"}, "model: expected a folder, an asset .*, got 'no such model'"),
    ],
)
def test_bad_input(options, problem, monkeypatch):
    monkeypatch.setattr(language, "snapshot_download", offline)
    with pytest.raises(ValueError, match=problem):
        embed(**{"captions": TABLE, "model": LIGHT, "store": False, **options})


def offline(*args, **options):
    raise OSError("the test has no network")


def test_every_level_is_a_finite_array(store):
    categories = pd.DataFrame(True, index=TABLE["image"].unique(), columns=["person"])
    for kind in KINDS:
        found = embed(TABLE, LIGHT, kind=kind, categories=categories, store=store)
        assert found.sizes["item"] == 3 and np.isfinite(found).all() and found.attrs["kind"] == kind


def test_embeddings_that_are_not_finite_are_refused(monkeypatch):
    monkeypatch.setattr(SentenceTransformer, "encode", lambda self, texts, **_: ones(texts) * np.nan)
    with pytest.raises(ValueError, match="model: embeddings of all-minilm-l6-v2: .* not finite"):
        embed(TABLE, LIGHT, store=False)


def test_pickles_and_models_of_unknown_pooling_are_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no modules\.json"):
        embed(TABLE, tmp_path)
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="pickle"):
        embed(TABLE, tmp_path)


def test_other_weights_in_the_same_folder_are_not_mistaken(tmp_path, store):
    light = SentenceTransformer(str(assets.fetch(LIGHT)), device="cpu", local_files_only=True)
    light.save(str(tmp_path / "model"), create_model_card=False)
    first = embed(["a dog"], tmp_path / "model", store=store)
    np.testing.assert_allclose(first, light.encode(["a dog"]), atol=1e-5)
    light[0].auto_model.get_input_embeddings().weight.data.mul_(1.5)
    light.save(str(tmp_path / "other"), create_model_card=False)
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "model")
    assert not np.allclose(embed(["a dog"], tmp_path / "model", store=store), first, atol=1e-3)
