"""Every architecture of the study's models and of today's, small and with random weights, against plain runs."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from test_language import STORY, assert_close, byte_level_tokenizer, expected_states, plain_bits, saved, seen
from transformers import AutoConfig, AutoModelForCausalLM

from brainalign.features import language, lesions

PLAIN = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip
GROUPED = PLAIN | {"num_key_value_heads": 2}
# Words see more tokens than these windows hold.
SLIDING = GROUPED | {"head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8}
ARCHITECTURES = {  # in the study: LLaMA (1, 2, LeoLM, Xwin), Mistral, Falcon, MPT, Pythia, OPT (Galactica), ...
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": 16},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "multi_query": True},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": 128, "expansion_ratio": 2},
    "gpt_neox": PLAIN,
    "opt": PLAIN | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},  # Cerebras-GPT
    "xglm": {"d_model": 32, "num_layers": 3, "attention_heads": 4, "ffn_dim": 48},  # the dense models of fairseq
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "qwen2": GROUPED,
    "qwen3": GROUPED | {"head_dim": 8},
    "gemma2": SLIDING,
    "gemma3_text": SLIDING,
    "olmo2": GROUPED,
    "phi3": GROUPED | {"pad_token_id": 0},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 8},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 3, "attention_hidden_size": 32},
}
WITHOUT_ATTENTION = {"mamba", "rwkv"}


@pytest.fixture(scope="module")
def words() -> pd.DataFrame:
    texts = STORY.split()[:24]
    return pd.DataFrame({"word": texts, "passage": [0] * 6 + [1] * 18})


@functools.cache
def made(kind: str) -> tuple:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=400, initializer_range=0.3, **ARCHITECTURES[kind])
    return AutoModelForCausalLM.from_config(config).eval(), byte_level_tokenizer()


@pytest.fixture(params=ARCHITECTURES)
def reader(request) -> language.LanguageModel:
    return language.LanguageModel(saved(made(request.param)), store=False, progress=False)


@pytest.fixture
def kind(request) -> str:
    return request.node.callspec.params["reader"]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_states_and_surprisal_equal_plain_runs_on_the_words_in_context(reader, kind, words):
    assert reader.n_layers == 3
    states, bits = (compute(words, context=[3, None]) for compute in (reader.states, reader.surprisal))
    for place, context in enumerate([3, None]):
        assert_close(states[place], expected_states(made(kind), words, context))
        expected = [plain_bits(made(kind), seen(words, row, context)) for row in (2, 9, 23)]
        np.testing.assert_allclose(bits[place, [2, 9, 23]], expected, rtol=1e-4)


def test_long_windows_go_piece_by_piece_where_the_architecture_allows_it(reader, kind, words, monkeypatch):
    whole = reader.surprisal(words)
    monkeypatch.setattr(language, "LOGIT_TOKENS", 8)
    if kind in WITHOUT_ATTENTION:
        with pytest.raises(ValueError, match="model: expected one with a key-value cache for more than 8 tokens"):
            reader.surprisal(words)
    else:
        np.testing.assert_allclose(reader.surprisal(words), whole, rtol=1e-4)


@pytest.mark.parametrize(
    ("lesion", "n_states"), [("noise=0.3", 4), ("bits=4", 4), ("skip=0.34", 3), ("untrained=0", 4)]
)
def test_lesions_suit_every_architecture(reader, kind, lesion, n_states):
    model = AutoModelForCausalLM.from_pretrained(saved(made(kind)))
    _, asked = lesions.parse(f"tiny@{lesion}")
    assert lesions.lesioned_config(model.config, asked, "tiny").num_hidden_layers == n_states - 1
    model = lesions.lesioned(model, asked, "tiny").eval()
    with torch.inference_mode():
        states = model.base_model(torch.arange(8)[None], output_hidden_states=True, use_cache=False).hidden_states
    assert len(states) == n_states and all(state.isfinite().all() for state in states)
