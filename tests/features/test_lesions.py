"""The registry of models and the lesioned family, against what the lesions say they do."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from test_language import STORY, assert_close, byte_level_tokenizer, gpt2, saved
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from brainalign import assets
from brainalign.features import language, lesions
from brainalign.features.language import context_features, layer_features, surprisal

N_LAYERS = 6


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models this small run slower on more threads, much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def deep(model_class, config_class, **options):
    torch.manual_seed(1)
    config = config_class(
        vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=N_LAYERS, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.3, **options,
    )  # fmt: skip
    return model_class(config).eval()


def save(model) -> str:
    return saved((model, byte_level_tokenizer()))


@pytest.fixture(scope="module")
def folder() -> str:
    return save(deep(LlamaForCausalLM, LlamaConfig))


@pytest.fixture(scope="module")
def words() -> pd.DataFrame:
    return pd.DataFrame({"word": STORY.split(), "passage": 0})


def weights(spec: str) -> dict[str, torch.Tensor]:
    model = language.LanguageModel(spec).load()
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def is_matrix(name: str) -> bool:
    return "layers." in name and "norm" not in name


# specs


@pytest.mark.parametrize(
    ("spec", "base", "lesioned"),
    [
        ("smollm2-135m", "smollm2-135m", {}),
        ("a/b@noise=0.30", "a/b", {"noise": 0.3}),
        ("x@span=4@bits=3", "x", {"bits": 3, "span": 4}),
        ("/data/me@host/x@skip=.5", "/data/me@host/x", {"skip": 0.5}),
        ("/data/me@host/x", "/data/me@host/x", {}),
    ],
)
def test_parse(spec, base, lesioned):
    assert lesions.parse(spec) == (base, lesioned)
    assert list(lesions.parse(spec)[1]) == list(lesioned)  # in the order in which they are applied


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("@blur=2", "expected a name, then any of @untrained=k, .* each once, got .* with '@blur=2'"),
        ("@untrained=a", "untrained in .*: expected a whole number, 0 or more, got 'a'"),
        ("@noise", "noise in .*: expected a number above 0, .* got ''"),
        ("@", "each once, got .* with '@'"),
        ("@bits=3@bits=4", "each once, got .* with '@bits=4'"),
        ("@noise=0", "noise in .*: expected a number above 0"),
        ("@noise=nan", "noise in .* got 'nan'"),
        ("@noise=inf", "noise in .* got 'inf'"),
        ("@bits=1", "bits in .*: expected a whole number from 2 to 16, got '1'"),
        ("@bits=3.5", "bits in .* got '3.5'"),
        ("@skip=1", "skip in .*: expected a share of the blocks between 0 and 1, got '1'"),
        ("@skip=0.05", "skip in .*: expected from 1 to 4 blocks to leave out, got 0, 0.05 of 6"),
        ("@skip=0.9", "skip in .* got 5, 0.9 of 6"),
        ("@span=0", "span in .*: expected a whole number of tokens, 1 or more, got '0'"),
    ],
)
def test_bad_specs_are_refused(folder, words, tail, message):
    for features in (layer_features, surprisal, lambda w, m, **o: context_features(w, m, [2], **o)):
        with pytest.raises(ValueError, match=f"(?s)^model: .*{message}"):
            features(words, folder + tail, store=False)


def test_architectures_that_do_not_allow_a_lesion_are_refused(words):
    pythia_like = save(gpt2())
    with pytest.raises(
        ValueError, match="span in .*: expected the Llama or Mistral architecture without biases, got 'gpt2'"
    ):
        layer_features(words, f"{pythia_like}@span=3", store=False)
    biased = save(deep(LlamaForCausalLM, LlamaConfig, attention_bias=True))
    with pytest.raises(ValueError, match="without biases"):
        layer_features(words, f"{biased}@span=3", store=False)
    for lesion in ("noise=0.2", "bits=4"):
        found = layer_features(words, f"{pythia_like}@{lesion}", context=3, store=False)
        whole = layer_features(words, pythia_like, context=3, store=False)
        np.testing.assert_array_equal(found[0], whole[0])
        assert not np.allclose(found[-1], whole[-1], atol=1e-2)


# what the lesions do


def test_noise_has_the_size_asked_for(folder):
    intact, noisy, again = weights(folder), weights(f"{folder}@noise=0.5"), weights(f"{folder}@noise=0.5")
    stronger = weights(f"{folder}@noise=1.0")
    draws = []
    for name, weight in intact.items():
        noise = noisy[name] - weight
        np.testing.assert_array_equal(noisy[name], again[name])
        if not is_matrix(name):
            assert not noise.any(), name
            continue
        torch.testing.assert_close(stronger[name] - weight, 2 * noise, rtol=1e-3, atol=1e-5)
        draws.append((noise / (0.5 * weight.std())).flatten())
    assert len(draws) == 7 * N_LAYERS
    pooled = torch.cat(draws).double()
    error = 1 / np.sqrt(len(pooled))
    assert abs(pooled.mean()) < 4 * error and abs(pooled.std() - 1) < 3 * error
    first, second = (torch.stack([d[:512] for d in half]).flatten() for half in (draws[:-7], draws[7:]))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(len(first))  # each matrix has noise of its own


def test_untrained_twins_have_learned_nothing_and_differ(folder, words):
    trained, twin, other = (weights(folder + tail) for tail in ("", "@untrained=0", "@untrained=1"))
    assert trained.keys() == twin.keys()
    for name, weight in twin.items():
        if weight.ndim > 1:  # embeddings, too
            assert abs(float(weight.std()) / 0.3 - 1) < 0.1  # the configuration's own width
            for rival in (trained[name], other[name]):
                assert abs(float(torch.corrcoef(torch.stack([weight.ravel(), rival.ravel()]))[0, 1])) < 0.1
        elif "norm" in name:
            assert (weight == 1).all()
    again = weights(folder + "@untrained=0")
    assert all(torch.equal(weight, again[name]) for name, weight in twin.items())
    assert surprisal(words, folder + "@untrained=0", start_token=True, store=False).notnull().all()


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_bits_round_each_output_row(folder, bits):
    intact, coarse = weights(folder), weights(f"{folder}@bits={bits}")
    for name, weight in intact.items():
        if not is_matrix(name):
            assert torch.equal(coarse[name], weight)
            continue
        for row, rounded in zip(weight.numpy().astype(float), coarse[name].numpy(), strict=True):
            levels = np.abs(row).max() * np.arange(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1)) / (2 ** (bits - 1) - 1)
            nearest = levels[np.abs(row[:, None] - levels).argmin(1)]
            np.testing.assert_allclose(rounded, nearest, rtol=1e-5, atol=1e-6)


def test_bits_know_which_way_the_weights_of_gpt2_lie():
    spec = save(gpt2()) + "@bits=2"
    coarse = weights(spec)["transformer.h.0.mlp.c_fc.weight"]  # (input, output)
    assert all(len(column.abs().unique()) <= 2 for column in coarse.T)
    assert any(len(row.abs().unique()) > 2 for row in coarse)


@pytest.mark.parametrize(("share", "kept"), [(0.2, [0, 1, 3, 4, 5]), (0.34, [0, 1, 4, 5]), (0.7, [0, 5])])
def test_skip_leaves_out_blocks_of_the_middle(folder, words, share, kept):
    """The lesioned model is the intact one with its list of blocks cut short by hand."""
    spec = f"{folder}@skip={share}"
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.layers = torch.nn.ModuleList([model.model.layers[place] for place in kept])
    model.config.num_hidden_layers = len(kept)
    for place, block in enumerate(model.model.layers):
        block.self_attn.layer_idx = place
    assert language.n_layers(spec) == len(kept)
    found = layer_features(words, spec, context=4, store=False)
    by_hand = save(model)
    assert_close(found, layer_features(words, by_hand, context=4, store=False))
    bits = surprisal(words, by_hand, store=False)
    np.testing.assert_allclose(surprisal(words, spec, store=False), bits, rtol=1e-4)


@pytest.mark.parametrize("architecture", [(LlamaForCausalLM, LlamaConfig), (MistralForCausalLM, MistralConfig)])
def test_span_limits_how_far_information_travels(architecture):
    """Over L blocks a token sees L (k - 1) tokens back, and not one more."""
    spec = save(deep(*architecture))
    ids = torch.arange(60)[None]
    for span in (1, 2, 3):
        model = language.LanguageModel(f"{spec}@span={span}").load()
        reach = N_LAYERS * (span - 1)
        with torch.no_grad():
            before = model.base_model(ids).last_hidden_state[0, -1]
            for back, seen in ((reach, True), (reach + 1, False), (span * N_LAYERS + 5, False)):
                changed = ids.clone()
                changed[0, -1 - back] = 399
                after = model.base_model(changed).last_hidden_state[0, -1]
                assert torch.equal(before, after) != seen, (span, back)


def test_a_long_span_changes_nothing(folder, words):
    whole = layer_features(words, folder, store=False)
    assert_close(layer_features(words, f"{folder}@span=500", store=False), whole)
    short = layer_features(words, f"{folder}@span=8", store=False)
    assert_close(short[:, :2], whole[:, :2])  # as long as all there is lies within reach
    assert not np.allclose(short[:, 12:], whole[:, 12:], atol=1e-2)


@pytest.mark.parametrize("span", [1, 2, 5, 9, 500])
def test_span_holds_in_the_key_value_cache(folder, words, monkeypatch, span):
    whole = surprisal(words, f"{folder}@span={span}", store=False)
    monkeypatch.setattr(language, "LOGIT_TOKENS", 7)
    np.testing.assert_allclose(surprisal(words, f"{folder}@span={span}", store=False), whole, rtol=1e-4)


def test_kinds_combine_in_one_order(folder, words):
    one, other = (weights(f"{folder}@{tail}") for tail in ("noise=0.2@bits=3@span=4", "span=4@bits=3@noise=0.2"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    noisy = weights(f"{folder}@noise=0.2")["model.layers.2.mlp.up_proj.weight"]
    step = noisy.abs().amax(1, keepdim=True) / 3
    torch.testing.assert_close(one["model.layers.2.mlp.up_proj.weight"], (noisy / step).round() * step)
    found = layer_features(words, f"{folder}@skip=0.2@noise=0.1@span=4", store=False)
    assert found.sizes["layer"] == N_LAYERS  # five blocks are left


def test_low_precision_lesions_are_close(folder, words):
    spec = f"{folder}@noise=0.1@skip=0.2@span=6"
    exact, found = (layer_features(words, spec, context=4, dtype=d, store=False) for d in ("float32", "bfloat16"))
    assert_close(found, exact, 0.2)


def test_each_spec_has_its_own_place_in_the_store(folder, words, tmp_path):
    specs = [folder, *(f"{folder}@{tail}" for tail in ("noise=0.1", "noise=0.2", "bits=3", "skip=0.2", "span=3"))]
    first = [layer_features(words, spec, context=3, layers=[-1], store=tmp_path).values for spec in specs]
    for index, features in enumerate(first):
        assert not any(np.allclose(features, other) for other in first[:index])
    again = [layer_features(words, spec, context=3, layers=[-1], store=tmp_path).values for spec in specs]
    np.testing.assert_array_equal(first, again)
    same = layer_features(words, f"{folder}@noise=0.10", context=3, layers=[-1], store=tmp_path)
    np.testing.assert_array_equal(same, first[1])
    assert len(list(tmp_path.rglob("key.json"))) == len(specs)


def test_the_input_layer_is_that_of_the_base(folder, words):
    for tail in ("noise=1", "bits=2", "skip=0.5", "span=1"):
        found = layer_features(words, f"{folder}@{tail}", context=2, layers=[0], store=False)
        np.testing.assert_array_equal(found, layer_features(words, folder, context=2, layers=[0], store=False))


# the registry and the family


def test_registry():
    table = lesions.registry()
    assert table.index.is_unique and table.index.name == "model"
    assert list(table) == ["hugging_face", "kind", "layers", "width", "parameters", "study", "offline", "source"]
    assert set(table["kind"]) == {"causal", "bidirectional"}
    assert table["study"].value_counts().to_dict() == {"": len(table) - 12, "confirmed": 7, "unconfirmed": 5}
    study = table[table["study"] != ""]
    assert study["layers"].eq(32).all() and study["parameters"].between(6500, 7500).all()
    assert table["hugging_face"].str.count("/").eq(1).all() and table["hugging_face"].is_unique
    assert table["source"].str.len().gt(0).all()  # no fact without one
    assert table.loc[~table["offline"], "hugging_face"].eq(table.index[~table["offline"]]).all()


def test_registry_is_true_of_the_models_at_hand():
    table = lesions.registry()
    table = table[table["offline"]]
    assert sorted(table.index) == ["all-minilm-l6-v2", "all-mpnet-base-v2", "smollm2-135m"]
    for name, facts in table.iterrows():
        opened = language.LanguageModel(name)
        assert facts["layers"] == language.n_layers(name) and facts["width"] == opened.config.hidden_size
        assert (facts["kind"] == "causal") == opened.causal
        with safe_open(assets.fetch(name) / "model.safetensors", "pt") as file:
            keys = [key for key in sorted(file.keys()) if not key.endswith("position_ids")]
            shapes = [file.get_slice(key).get_shape() for key in keys]
        assert facts["parameters"] == round(sum(map(math.prod, shapes)) / 1e6)


def test_graded_family():
    family = lesions.graded_family()
    assert family[0] == "smollm2-135m" and len(set(family)) == len(family) == 7
    parsed = [lesions.parse(spec) for spec in family[1:]]
    assert all(base == "smollm2-135m" for base, _ in parsed)
    assert {kind for _, found in parsed for kind in found} == set(lesions.KINDS) - {"untrained"}
    with pytest.raises(ValueError, match="base: expected one of 'smollm2-135m', got 'gpt2'"):
        lesions.graded_family("gpt2")


def test_graded_family_falls_from_good_to_near_chance():
    """On a text it was not calibrated on: each third of the family is worse at predicting words than the one before."""
    text = "The children went down to the river to look for the old boat that their father had left there in the summer"
    words = pd.DataFrame({"word": text.split()})
    bits = [
        float(surprisal(words, spec, start_token=True, store=False).mean()) for spec in lesions.graded_family()[::2]
    ]
    assert (np.diff(bits) > 0.5).all() and bits[0] < 7 and bits[-1] > 12
