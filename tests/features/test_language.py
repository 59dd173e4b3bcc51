"""Features of language models, against plain runs of the model on exactly the words it may see."""

from __future__ import annotations

import copy
import functools
import math
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, WordPiece
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from brainalign import assets
from brainalign.features import language

STORY = (
    "It was a quiet night on the ranch until the unbelievable barking started again . Don't blame the dog , "
    "said Zoë , he cannot be everywhere at once 🙂 . The naïve coyote howled antidisestablishmentarianism"
)
MAX_TOKENS = 128
FOLDERS = tempfile.TemporaryDirectory()


@functools.cache
def saved(pair) -> str:
    """The folder of a model and its tokenizer."""
    folder = tempfile.mkdtemp(dir=FOLDERS.name)
    for part in pair:
        part.save_pretrained(folder)
    return folder


def folder_of(model):
    return saved(model) if isinstance(model, tuple) else model


def layer_features(words, model, **options):
    return language.layer_features(words, folder_of(model), **options)


def context_features(words, model, contexts, **options):
    return language.context_features(words, folder_of(model), contexts, **options)


def surprisal(words, model, **options):
    return language.surprisal(words, folder_of(model), **options)


def word_predictions(words, model, *, context=None, **settings):
    return language.LanguageModel(folder_of(model), **settings).predictions(words, context=context)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models this small run slower on more threads, much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def byte_level_tokenizer(start: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2 and SmolLM2 have it; so small that many words take several tokens."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(
        ["It was a quiet night on the ranch . The dog said he was the coyote at night"] * 9, trainer
    )
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=MAX_TOKENS, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=MAX_TOKENS, initializer_range=0.3)
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module", params=[llama, gpt2])
def pair(request):
    return request.param(), byte_level_tokenizer()


@pytest.fixture(scope="module")
def llama_pair():
    return llama(), byte_level_tokenizer()


@pytest.fixture(scope="module")
def words() -> pd.DataFrame:
    texts = STORY.split()
    return pd.DataFrame({"word": texts, "passage": ["a"] * 15 + ["b"] * (len(texts) - 15)})


@pytest.fixture(scope="module")
def long_words() -> pd.DataFrame:
    """A passage of many times the model's window, after a short one."""
    texts = np.random.default_rng(0).choice(STORY.split()[:-1], 90).tolist()
    return pd.DataFrame({"word": texts, "passage": [0] * 5 + [1] * 85})


def plain(pair, texts: list[str], pooling: str = "last", start: int | None = None, copies: int = 1) -> np.ndarray:
    """States (layer, feature) of the last of these words, the obvious way; copies side by side round otherwise."""
    model, tokenizer = pair
    front = [] if start is None else [start]
    ids = front + tokenizer(" ".join(texts))["input_ids"]
    before = len(front) + len(tokenizer(" ".join(texts[:-1]))["input_ids"]) if len(texts) > 1 else len(front)
    with torch.no_grad():
        hidden = model.base_model(torch.tensor([ids] * copies), output_hidden_states=True).hidden_states
    states = torch.stack(hidden)[:, 0]
    return (states[:, -1] if pooling == "last" else states[:, before:].mean(1)).numpy()


def plain_bits(pair, texts: list[str], start: int | None = None) -> float:
    """Surprisal of the last of these words, token by token."""
    model, tokenizer = pair
    front = [] if start is None else [start]
    ids = front + tokenizer(" ".join(texts))["input_ids"]
    before = len(front) + len(tokenizer(" ".join(texts[:-1]))["input_ids"]) if len(texts) > 1 else len(front)
    if before == 0:
        return math.nan
    bits = 0.0
    for position in range(before, len(ids)):
        with torch.no_grad():
            probability = model(torch.tensor([ids[:position]])).logits[0, -1].double().softmax(0)[ids[position]]
        bits -= math.log2(probability)
    return bits


def seen(words: pd.DataFrame, row: int, context: int | None) -> list[str]:
    """The words the model may see at a row."""
    passage = words[words["passage"] == words["passage"].iloc[row]]
    first = passage.index[0]
    return words["word"].tolist()[max(first, row + 1 - context if context else first) : row + 1]


def assert_close(found, expected, tolerance: float = 1e-4) -> None:
    """Relative to the norm of each state (the last dimension)."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    error = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert error.max() < tolerance, f"relative error {error.max():.2e}"


def expected_states(pair, words, context, **options) -> np.ndarray:
    rows = [plain(pair, seen(words, row, context), **options) for row in range(len(words))]
    return np.stack(rows, axis=1)


@pytest.fixture
def computed(monkeypatch) -> list[tuple[int, int]]:
    """The (start, stop) of every window that a model is run on."""
    windows = []
    compute = language._compute

    def recorded(model, batch, *arguments):
        windows.extend((window.start, window.stop) for window in batch)
        return compute(model, batch, *arguments)

    monkeypatch.setattr(language, "_compute", recorded)
    return windows


# exact context


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("context", [1, 2, 5, None])
def test_states_equal_a_plain_run_on_the_words_in_context(pair, words, context, pooling):
    n_tokens = [len(pair[1](" " + word)["input_ids"]) for word in words["word"]]
    assert min(n_tokens) == 1 and max(n_tokens) > 5
    found = layer_features(words, pair, context=context, pooling=pooling, store=False)
    assert found.dims == ("layer", "word", "feature") and found.dtype == np.float32
    assert found.layer.values.tolist() == list(range(pair[0].config.num_hidden_layers + 1))
    assert_close(found, expected_states(pair, words, context, pooling=pooling))


def test_context_matters(pair, words):
    """The comparisons above would notice a wrong context: even one word more or less changes the states."""
    four, five = (layer_features(words, pair, context=c, layers=[-1], store=False).values[0] for c in (4, 5))
    difference = np.linalg.norm(four - five, axis=1) / np.linalg.norm(five, axis=1)
    inside = [row for row in range(len(words)) if len(seen(words, row, 5)) == 5]
    assert difference[inside].min() > 1e-2


@pytest.mark.parametrize("batch_tokens", [1, 40, 100_000])
def test_padding_and_batches_change_nothing(pair, words, batch_tokens, monkeypatch):
    monkeypatch.setattr(language, "BATCH_TOKENS", batch_tokens)
    found = layer_features(words, pair, context=6, store=False)
    assert_close(found, expected_states(pair, words, 6))


def test_several_contexts_in_one_pass(pair, words, computed):
    contexts = [4, 1, None, 9]
    found = context_features(words, pair, contexts, store=False)
    assert found.dims == ("context", "layer", "word", "feature")
    assert found.context.values.tolist() == [4, 1, np.inf, 9]
    assert len(computed) == len(words) + 2  # one window a word for all lengths, and the two passages
    for context, states in zip(contexts, found, strict=True):
        assert_close(states, expected_states(pair, words, context))


def test_prefixes_with_other_tokens_are_run_by_themselves(llama_pair, monkeypatch, words):
    """Where a text's end changes its tokens, a word still gets what a run on just its context gives."""
    model, tokenizer = llama_pair
    encode = language._encode

    def odd(reader, texts):  # two words get another first token, longer texts do not
        encoded = encode(reader, texts)
        return [
            ([7, *ids[1:]] if len(text) == 2 else ids, spans) for text, (ids, spans) in zip(texts, encoded, strict=True)
        ]

    monkeypatch.setattr(language, "_encode", odd)
    found = layer_features(words, llama_pair, context=3, store=False)
    ids = [7, *tokenizer("It was")["input_ids"][1:]]
    expected = torch.stack(model.base_model(torch.tensor([ids]), output_hidden_states=True).hidden_states)[:, 0, -1]
    assert_close(found[:, 1], expected.detach())
    others = [row for row in range(len(words)) if row not in (1, 16)]
    assert_close(found[:, others], expected_states(llama_pair, words, 3)[:, others])


def test_passages_do_not_leak(pair, words):
    changed = words.copy()
    changed.loc[changed["passage"] == "a", "word"] = "coyote"
    changed.loc[len(words) - 1, "word"] = "dog"
    for context in (4, None):
        before, after = (layer_features(w, pair, context=context, store=False).values for w in (words, changed))
        np.testing.assert_allclose(before[:, 15:-1], after[:, 15:-1], rtol=1e-5, atol=1e-5)  # nor do later words matter
        assert not np.allclose(before[:, 1:15], after[:, 1:15], atol=1e-2)
        assert not np.allclose(before[:, -1], after[:, -1], atol=1e-2)


def test_without_passages_all_is_one(pair, words):
    found = layer_features(words[["word"]], pair, context=4, store=False)
    assert_close(found, expected_states(pair, words.assign(passage=0), 4))


def test_layers_are_chosen_and_ordered(pair, words):
    everything = layer_features(words, pair, store=False)
    some = layer_features(words, pair, layers=[-1, 0], store=False)
    assert some.layer.values.tolist() == [pair[0].config.num_hidden_layers, 0]
    np.testing.assert_array_equal(some.values, everything.values[[-1, 0]])
    embedding = plain(pair, ["It"])[0]
    assert_close(everything[0, 0], embedding)


def test_start_token(pair, words):
    for context in (1, 3, None):
        found = layer_features(words, pair, context=context, start_token=True, store=False)
        assert_close(found, expected_states(pair, words, context, start=0))
    with_template = (pair[0], byte_level_tokenizer(start=True))
    own = layer_features(words, with_template, context=3, store=False)
    assert_close(own, expected_states(pair, words, 3, start=0))
    without = layer_features(words, with_template, context=3, start_token=False, store=False)
    assert_close(without, expected_states(pair, words, 3))


# passages longer than the model's window


@pytest.mark.parametrize("min_context", [0, 3, 8])
def test_long_passages_keep_the_least_context(pair, long_words, computed, min_context, monkeypatch):
    monkeypatch.setattr(language, "MIN_CONTEXT", min_context)
    found = layer_features(long_words, pair, store=False)
    windows = sorted(computed)
    assert windows[0] == (0, 5) and windows[1][0] == 5 and windows[-1][1] == 90
    assert len(windows) > 3
    done = 0
    for start, stop in windows:
        texts = long_words["word"].tolist()[start:stop]
        assert len(pair[1](" ".join(texts))["input_ids"]) <= MAX_TOKENS
        assert start == max(0 if done < 5 else 5, done - min_context if done != 5 else 5)
        for row in range(done, stop):
            assert_close(found[:, row], plain(pair, long_words["word"].tolist()[start : row + 1]))
        done = stop


def test_max_tokens_narrows_the_window(llama_pair, words, computed, monkeypatch):
    monkeypatch.setattr(language, "MIN_CONTEXT", 2)
    layer_features(words, llama_pair, max_tokens=40, store=False)
    assert len(computed) > 3


def test_short_context_is_exact_in_long_passages(pair, long_words):
    found = layer_features(long_words, pair, context=3, store=False)
    assert_close(found, expected_states(pair, long_words, 3))


# precision and devices


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_low_precision_is_close(llama_pair, words, dtype, tolerance):
    exact = layer_features(words, llama_pair, context=4, store=False)
    found = layer_features(words, llama_pair, context=4, dtype=dtype, store=False)
    assert found.dtype == np.float32
    assert_close(found, exact, tolerance)
    assert not np.array_equal(found, exact)


def test_overflow_is_refused(words):
    model = llama()
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(1e5)
    with pytest.raises(ValueError, match="dtype: expected finite states, got others in 'float16'"):
        layer_features(words, (model, byte_level_tokenizer()), dtype="float16", store=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_numbers(pair, words):
    for context in (3, None):
        cpu, cuda = (layer_features(words, pair, context=context, device=d, store=False) for d in ("cpu", "cuda"))
        assert_close(cuda, cpu)
        cpu, cuda = (surprisal(words, pair, context=context, device=d, store=False) for d in ("cpu", "cuda"))
        np.testing.assert_allclose(cuda, cpu, rtol=1e-4)


# surprisal


@pytest.mark.parametrize("context", [2, 5, None])
def test_surprisal_equals_the_slow_sum_over_tokens(pair, words, context):
    found = surprisal(words, pair, context=context, store=False)
    assert found.dims == ("word",) and found.attrs["units"] == "bit"
    expected = [plain_bits(pair, seen(words, row, context)) for row in range(len(words))]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.isnan(found.values).nonzero()[0].tolist() == [0, 15]  # nothing stands before the first words


def test_surprisal_after_a_start_token(pair, words):
    found = surprisal(words, pair, context=1, start_token=True, store=False)
    expected = [plain_bits(pair, [word], start=0) for word in words["word"]]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_surprisal_piece_by_piece(pair, words, monkeypatch):
    """Logits are computed in pieces through the key-value cache; the pieces do not show."""
    whole = surprisal(words, pair, store=False)
    monkeypatch.setattr(language, "LOGIT_TOKENS", 7)
    np.testing.assert_allclose(surprisal(words, pair, store=False), whole, rtol=1e-4)


def test_surprisal_of_a_uniform_model(words):
    model = gpt2()
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.zero_()
    tokenizer = byte_level_tokenizer()
    found = surprisal(words[1:].reset_index(drop=True), (model, tokenizer), start_token=True, store=False)
    n_tokens = [len(tokenizer(" " + word)["input_ids"]) for word in words["word"][1:]]
    np.testing.assert_allclose(found[1:14], np.array(n_tokens[1:14]) * math.log2(400), rtol=1e-5)


# word predictions


def plain_rank(pair, texts: list[str], start: int | None = None) -> float:
    """Worst rank over the tokens of the last of these words, from all probabilities in order."""
    model, tokenizer = pair
    front = [] if start is None else [start]
    ids = front + tokenizer(" ".join(texts))["input_ids"]
    before = len(front) + len(tokenizer(" ".join(texts[:-1]))["input_ids"]) if len(texts) > 1 else len(front)
    ranks = [math.nan] if before == 0 else []
    for position in range(max(1, before), len(ids)):
        with torch.no_grad():
            order = model(torch.tensor([ids[:position]])).logits[0, -1].argsort(descending=True).tolist()
        ranks.append(1 + order.index(ids[position]))
    return max(ranks, key=lambda rank: math.inf if math.isnan(rank) else rank)


@pytest.mark.parametrize(("context", "start"), [(2, None), (5, None), (None, None), (1, 0), (4, 0)])
def test_word_predictions_equal_slow_ones(pair, words, context, start):
    found = word_predictions(words, pair, context=context, start_token=start is not None, store=False)
    assert found["bits"].dims == found["rank"].dims == ("word",) and found["bits"].attrs["units"] == "bit"
    texts = [seen(words, row, context) for row in range(len(words))]
    np.testing.assert_allclose(found["bits"], [plain_bits(pair, t, start) for t in texts], rtol=1e-4)
    np.testing.assert_array_equal(found["rank"], [plain_rank(pair, t, start) for t in texts])
    assert len(np.unique(found["rank"])) > 10


def test_word_predictions_are_one_run_and_shared_with_surprisal(llama_pair, words, tmp_path, computed):
    first = surprisal(words, llama_pair, context=4, store=tmp_path)
    assert computed
    computed.clear()
    found = word_predictions(words, llama_pair, context=4, store=tmp_path)
    assert not computed
    np.testing.assert_array_equal(found["bits"], first)
    assert found.attrs["context"] == first.attrs["context"] == 4


def test_predictions_for_several_contexts_in_one_pass(llama_pair, words, computed):
    contexts = [4, 1, None, 9]
    found = word_predictions(words, llama_pair, context=contexts, start_token=True, store=False)
    assert found["bits"].dims == ("context", "word") and found["context"].values.tolist() == [4, 1, np.inf, 9]
    assert len(computed) == len(words) + 2  # one window a word for all lengths, and the two passages
    for number, context in enumerate(contexts):
        alone = word_predictions(words, llama_pair, context=context, start_token=True, store=False)
        np.testing.assert_allclose(found["bits"][number], alone["bits"], rtol=1e-4)
        np.testing.assert_array_equal(found["rank"][number], alone["rank"])
    with pytest.raises(ValueError, match="context: expected words to predict from, got none"):
        word_predictions(words, llama_pair, context=[4, 1], store=False)


def test_rank_gives_no_credit_for_ties(words):
    model = gpt2()
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.zero_()
    found = word_predictions(words, (model, byte_level_tokenizer()), start_token=True, store=False)
    assert (found["rank"] == 400).all()


# bidirectional models


def bert(**options) -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=MAX_TOKENS, initializer_range=0.3, **options,
    )  # fmt: skip
    return BertModel(config).eval()


def word_piece_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece with [CLS] and [SEP] around the text, as BERT has it."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator([STORY], trainers.WordPieceTrainer(vocab_size=90, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=MAX_TOKENS
    )


@pytest.fixture(scope="module")
def bert_pair():
    return bert(), word_piece_tokenizer()


def plain_window(pair, texts: list[str], pooling: str = "last", special: bool = True) -> np.ndarray:
    """States (layer, feature) of the last of these words in a bidirectional model that sees just them."""
    model, tokenizer = pair
    ids = tokenizer(" ".join(texts), add_special_tokens=special)["input_ids"]
    n_last = len(tokenizer(texts[-1], add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        states = torch.stack(model(torch.tensor([ids]), output_hidden_states=True).hidden_states)[:, 0]
    states = states[:, 1:-1] if special else states
    return (states[:, -1] if pooling == "last" else states[:, -n_last:].mean(1)).numpy()


def expected_windows(pair, words, context, **options) -> np.ndarray:
    return np.stack([plain_window(pair, seen(words, row, context), **options) for row in range(len(words))], axis=1)


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("context", [1, 4, 40])
def test_bidirectional_states_equal_a_plain_run_on_the_words_in_context(bert_pair, words, context, pooling):
    found = layer_features(words, bert_pair, context=context, pooling=pooling, store=False)
    assert_close(found, expected_windows(bert_pair, words, context, pooling=pooling))


def test_bidirectional_contexts_share_nothing_but_the_store(bert_pair, words, tmp_path, computed):
    contexts = [5, 1, 3]
    found = context_features(words, bert_pair, contexts, store=tmp_path)
    for context, states in zip(contexts, found, strict=True):
        assert_close(states, expected_windows(bert_pair, words, context))
    windows = {tuple(seen(words, row, context)) for row in range(len(words)) for context in contexts}
    assert len(computed) >= len(windows) and len(set(computed)) == len(computed)  # each window once
    computed.clear()
    alone = layer_features(words, bert_pair, context=3, store=tmp_path)
    assert not computed
    np.testing.assert_array_equal(alone, found[2])


def test_bidirectional_models_are_bidirectional(bert_pair, words):
    """The windows matter: in a window of all words the states of a word are others."""
    whole = layer_features(words, bert_pair, context=40, store=False).values[-1]
    with torch.no_grad():
        ids = torch.tensor([bert_pair[1](" ".join(words["word"][:15]))["input_ids"]])
        first = bert_pair[0](ids).last_hidden_state[0, 1].numpy()
    assert np.linalg.norm(first - whole[0]) > 0.1 * np.linalg.norm(first)


def test_bidirectional_special_tokens(bert_pair, words, tmp_path, computed):
    own = layer_features(words, bert_pair, context=3, store=tmp_path)
    computed.clear()
    asked = layer_features(words, bert_pair, context=3, start_token=True, store=tmp_path)
    assert not computed and own.attrs == asked.attrs  # [CLS] is there already
    np.testing.assert_array_equal(own, asked)
    without = layer_features(words, bert_pair, context=3, start_token=False, store=tmp_path)
    assert_close(without, expected_windows(bert_pair, words, 3, special=False))


def test_what_bidirectional_models_cannot_do_is_refused(bert_pair, words):
    for features in (layer_features, partial(context_features, contexts=[2, None]), partial(surprisal, context=2)):
        with pytest.raises(ValueError, match="context: expected a causal model .* in a context such as 16"):
            features(words, bert_pair, store=False)


def test_a_decoder_of_berts_kind_is_causal(words):
    pair = BertLMHeadModel(bert(is_decoder=True).config).eval(), byte_level_tokenizer()
    assert_close(layer_features(words, pair, store=False), expected_states(pair, words, None))
    bits = [plain_bits(pair, seen(words, row, 3)) for row in range(len(words))]
    np.testing.assert_allclose(surprisal(words, pair, context=3, store=False), bits, rtol=1e-4)


def test_bidirectional_folder_without_a_pooler(bert_pair, words, tmp_path):
    BertModel(bert_pair[0].config, add_pooling_layer=False).save_pretrained(tmp_path)
    bert_pair[1].save_pretrained(tmp_path)
    found = layer_features(words, tmp_path, context=3, store=False)
    pair = BertModel.from_pretrained(tmp_path).eval(), bert_pair[1]
    assert_close(found, expected_windows(pair, words, 3))


@pytest.mark.parametrize("name", ["all-minilm-l6-v2", "all-mpnet-base-v2"])
def test_sentence_encoders_equal_plain_runs(name, words):
    some = words[10:20].reset_index(drop=True)
    folder = assets.fetch(name)
    pair = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = context_features(some, name, [1, 3], store=False)
    for context, states in zip([1, 3], found, strict=True):
        assert states.shape == (pair[0].config.num_hidden_layers + 1, len(some), pair[0].config.hidden_size)
        assert_close(states, expected_windows(pair, some, context))


# the store


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(language, "SHARD_WORDS", 8)


@pytest.mark.parametrize(
    "features",
    [
        layer_features,
        partial(layer_features, context=3),
        surprisal,
        partial(word_predictions, context=3),
        partial(context_features, contexts=[1, 3, None]),
    ],
)
def test_second_call_computes_nothing(llama_pair, words, tmp_path, computed, features, capfd):
    first = features(words, llama_pair, store=tmp_path)
    assert computed and ": " in capfd.readouterr().err  # the bar
    computed.clear()
    second = features(words, llama_pair, store=tmp_path)
    assert not computed and not capfd.readouterr().err
    assert first.identical(second)
    assert first.equals(features(words, llama_pair, store=False, progress=False))
    assert not capfd.readouterr().err


def test_default_store(llama_pair, words, tmp_path, computed, monkeypatch):
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path))
    layer_features(words, llama_pair)
    computed.clear()
    layer_features(words, llama_pair)
    assert not computed and (tmp_path / "features").is_dir()


def test_layers_and_contexts_are_shared(llama_pair, words, tmp_path, computed):
    context_features(words, llama_pair, [2, 4], layers=[0, 2], store=tmp_path)
    computed.clear()
    layer_features(words, llama_pair, context=4, layers=[2], store=tmp_path)
    assert not computed
    found = layer_features(words, llama_pair, context=4, store=tmp_path)
    assert len(computed) == len(words) - 2 * 3  # a window a word, but one for the first four of each passage
    assert_close(found, expected_states(llama_pair, words, 4))
    computed.clear()
    context_features(words, llama_pair, [4, 2, 3], layers=[2], store=tmp_path)
    assert {stop - start for start, stop in computed} <= {2, 3}  # only the new length is run


def test_everything_that_matters_is_in_the_key(llama_pair, words, tmp_path, computed, monkeypatch):
    monkeypatch.setattr(language, "MIN_CONTEXT", 9)
    base = {"context": 3, "store": tmp_path}
    other_text = words.copy()
    other_text.loc[3, "word"] = "loud"
    other_passages = words.assign(passage=["a"] * 14 + ["b"] * (len(words) - 14))
    other_model = llama()
    with torch.no_grad():
        other_model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    tokenizer = llama_pair[1]
    calls = [
        (words, llama_pair, {}),
        (other_text, llama_pair, {}),
        (other_passages, llama_pair, {}),
        (words, (other_model, tokenizer), {}),
        (words, (llama_pair[0], byte_level_tokenizer(start=True)), {}),
        (words, llama_pair, {"context": 2}),
        (words, llama_pair, {"dtype": "bfloat16"}),
        (words, llama_pair, {"pooling": "mean"}),
        (words, llama_pair, {"start_token": True}),
        (words, llama_pair, {"context": None}),
        (words, llama_pair, {"context": None, "max_tokens": 120}),
    ]
    results = []
    for text, pair, options in calls:
        computed.clear()
        results.append(layer_features(text, pair, **{**base, **options}).values)
        assert computed, options
    for (text, pair, options), result in zip(calls, results, strict=True):
        computed.clear()
        np.testing.assert_array_equal(layer_features(text, pair, **{**base, **options}), result)
        assert not computed, options


@pytest.mark.parametrize("context", [3, None])
def test_interrupted_extraction_resumes(llama_pair, long_words, tmp_path, small_shards, computed, monkeypatch, context):
    monkeypatch.setattr(language, "MIN_CONTEXT", 4)
    options = {"context": context}
    whole = layer_features(long_words, llama_pair, store=False, **options)
    n_windows = len(computed)
    computed.clear()
    recorded, calls = language._compute, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return recorded(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(language, "_compute", interrupted)
        layer_features(long_words, llama_pair, store=tmp_path, **options)
    done = len(computed)
    assert 0 < done < n_windows
    resumed = layer_features(long_words, llama_pair, store=tmp_path, **options)
    assert len(computed) == n_windows
    np.testing.assert_array_equal(resumed, whole)


def test_killed_process_resumes(tmp_path, long_words, small_shards, computed):
    """The process is killed while it writes its third shard; what it leaves is not taken for a result."""
    folder, store = tmp_path / "model", tmp_path / "store"
    llama().save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    long_words.to_json(tmp_path / "words.json")
    script = f"""
        import os, signal
        import pandas as pd
        import torch
        from brainalign.features import language, store

        torch.set_num_threads(1)
        language.SHARD_WORDS = 8
        write, calls = store._write_part, []

        def killed(path, *arguments):
            calls.append(path)
            write(path, *arguments)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        store._write_part = killed
        words = pd.read_json({str(tmp_path / "words.json")!r})
        language.layer_features(words, {str(folder)!r}, context=3, store={str(store)!r})
    """
    process = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert len(list(store.rglob(".*.zip"))) == 1
    whole = layer_features(long_words, folder, context=3, store=False)
    n_windows = len(computed)
    computed.clear()
    found = layer_features(long_words, folder, context=3, store=store)
    starts = {start for start, _ in computed}
    assert min(starts) == 16 and len(computed) < n_windows  # two shards of eight windows were kept
    assert not list(store.rglob(".*.zip"))
    np.testing.assert_array_equal(found, whole)


def test_damaged_shard_is_computed_again(llama_pair, words, tmp_path, small_shards, computed):
    whole = layer_features(words, llama_pair, context=3, store=tmp_path)
    computed.clear()
    damaged = sorted(tmp_path.rglob("*.zip"))[1]
    raw = bytearray(damaged.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    damaged.write_bytes(raw)
    np.testing.assert_array_equal(layer_features(words, llama_pair, context=3, store=tmp_path), whole)
    assert {start // 8 for start, _ in computed} == {1}


def test_two_at_once_share_the_work(llama_pair, long_words, tmp_path, small_shards, computed):
    alone = layer_features(long_words, llama_pair, context=3, store=False)
    n_windows = len(computed)
    computed.clear()
    results = [None, None]

    def work(number: int) -> None:
        results[number] = layer_features(long_words, llama_pair, context=3, store=tmp_path).values

    threads = [threading.Thread(target=work, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == n_windows
    for result in results:
        np.testing.assert_array_equal(result, alone)


# models


def test_incomplete_folders_are_refused(llama_pair, words, tmp_path):
    model, tokenizer = llama_pair
    with pytest.raises(ValueError, match="config.json"):
        layer_features(words, tmp_path, store=False)
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="no file named model.safetensors"):
        layer_features(words, tmp_path, store=False)
    model.base_model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model: expected all weights in .*, got none for lm_head.weight"):
        layer_features(words, tmp_path, store=False)


def test_unknown_model_names_what_was_tried(words, monkeypatch):
    monkeypatch.setattr(language, "snapshot_download", partial(_unreachable))
    with pytest.raises(ValueError, match=r"an asset \(.*smollm2-135m.*Hugging Face hub, got 'smollm3' .*no such"):
        layer_features(words, "smollm3", store=False)


def _unreachable(name, *, allow_patterns, ignore_patterns):
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in allow_patterns)
    raise OSError("no such repository")


def test_models_that_are_not_what_is_needed_are_refused(llama_pair, words, monkeypatch):
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=400, d_model=16, d_ff=16, num_layers=1, num_heads=2))
    with pytest.raises(ValueError, match="model: expected an encoder or a decoder alone"):
        layer_features(words, (t5, llama_pair[1]), store=False)
    leaky = llama()
    leaky.model.layers[0].register_forward_hook(lambda block, inputs, states: states + states.mean(1, keepdim=True))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: (leaky, {"missing_keys": []}))
    with pytest.raises(ValueError, match="model: expected a causal one"):
        layer_features(words, llama_pair, store=False)


def test_tokenizers_that_cannot_be_aligned_are_refused(llama_pair, words, monkeypatch):
    across = Tokenizer(BPE(vocab={"a": 0, " ": 1, "b": 2, " b": 3, "a b": 4}, merges=[(" ", "b"), ("a", " b")]))
    pair = llama_pair[0], PreTrainedTokenizerFast(tokenizer_object=across)
    with pytest.raises(ValueError, match="words: expected tokens of its own for each word, got none for 'a' in 'a b'"):
        layer_features(pd.DataFrame({"word": ["a", "b"]}), pair, store=False)
    monkeypatch.setattr(language, "_tokenizer", lambda *_: object())
    with pytest.raises(ValueError, match="model: expected a fast tokenizer"):
        layer_features(words, llama_pair, store=False)


def test_tokenizers_without_spaces_in_tokens(llama_pair):
    tokenizer = Tokenizer(WordPiece({"[UNK]": 0, "un": 1, "##able": 2, "dog": 3, "##s": 4}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pair = (llama_pair[0], PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    words = pd.DataFrame({"word": ["unable", "dogs", "dog", "???"]}).assign(passage=0)
    for pooling in ("last", "mean"):
        found = layer_features(words, pair, context=2, pooling=pooling, store=False)
        assert_close(found, expected_states(pair, words, 2, pooling=pooling))


# bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w["word"], "words: expected rows with a column 'word'"),
        (lambda w: w.rename(columns={"word": "token"}), "words: expected rows with a column 'word'"),
        (lambda w: w[:0], "words: expected rows"),
        (lambda w: w.assign(word=["", *w["word"][1:]]), "words: .* no text.* row 0"),
        (lambda w: w.assign(word=[*w["word"][:-1], None]), "words: .* no text.* row 3."),
        (
            lambda w: w.assign(word=[" It", *w["word"][1:]]),
            "words: .* spaces around.* row 0",
        ),
        (lambda w: w.assign(passage=[np.nan, *w["passage"][1:]]), "words: .* no passage"),
        (lambda w: w.assign(passage=["b", *w["passage"][1:]]), "words: the rows of each passage must be contiguous"),
    ],
)
def test_bad_words_are_refused(llama_pair, words, change, message):
    with pytest.raises(ValueError, match=message):
        layer_features(change(words), llama_pair, store=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 0}, "context: expected a whole number of at least 1, got 0"),
        ({"context": 2.5}, "context: .* got 2.5"),
        ({"context": 15, "max_tokens": 40}, "context: expected windows of at most 40 tokens, got .* in the 15 words"),
        ({"layers": []}, r"layers: expected different layers, at least one, got \[\]"),
        ({"layers": [1.5]}, "layers: expected a whole number from -4 to 3, got 1.5"),
        ({"layers": [4]}, "layers: expected .* got 4"),
        ({"layers": [-5]}, "layers: expected .* got -5"),
        ({"layers": [3, -1]}, "layers: expected different layers"),
        ({"dtype": "float64"}, "dtype: expected one of 'float32', 'bfloat16', 'float16', got 'float64'"),
        ({"pooling": "first"}, "pooling: expected one of 'last', 'mean', got 'first'"),
        ({"device": "gpu"}, "device: expected 'auto' or a device that is there"),
        ({"start_token": "<s>"}, "start_token: expected one of 'tokenizer', True, False, got '<s>'"),
        ({"max_tokens": 40}, "max_tokens: expected room for word .* and the 256 words before it, got 40"),
        ({"max_tokens": 0}, "max_tokens: expected a whole number from 1 to 128, got 0"),
        ({"max_tokens": 129}, "max_tokens: .* got 129"),
    ],
)
def test_bad_options_are_refused(llama_pair, words, options, message):
    with pytest.raises(ValueError, match=message):
        layer_features(words, **{"model": llama_pair, "store": False, **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_cuda_is_named(llama_pair, words):
    with pytest.raises(ValueError, match="device: 'cuda' was asked for, but torch finds no CUDA device"):
        layer_features(words, llama_pair, device="cuda", store=False)


def test_bad_contexts_are_refused(llama_pair, words):
    for contexts in ([], [2, 2], [-1]):
        with pytest.raises(ValueError, match="context: expected"):
            context_features(words, llama_pair, contexts, store=False)
    with pytest.raises(ValueError, match="context: expected words to predict from, got none"):
        surprisal(words, llama_pair, context=1, store=False)


# the default model


@pytest.fixture(scope="module")
def smollm2():
    folder = assets.fetch("smollm2-135m")
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def test_smollm2_equals_plain_runs(smollm2, words):
    """To 1e-4, or as well as plain runs in single precision agree with one in double precision.

    That is less for the comma right after the start token: it becomes an attention sink, and rounding is amplified.
    """
    model, tokenizer = smollm2
    double = copy.deepcopy(model).double(), tokenizer
    some = words[14:20].reset_index(drop=True)
    some["word"] = some["word"].str.upper()
    contexts = [1, 3, None]
    for start_token, start in (("tokenizer", None), (True, tokenizer.get_vocab()["<|endoftext|>"])):
        found = context_features(some, "smollm2-135m", contexts, start_token=start_token, store=False)
        assert found.shape == (len(contexts), 31, len(some), 576)
        for context, states in zip(contexts, found.values, strict=True):
            exact = expected_states(double, some, context, start=start)
            runs = [expected_states(smollm2, some, context, start=start, copies=n) for n in (1, 2, 4, 8)]
            size = np.linalg.norm(exact, axis=-1)
            error, *of_single = (np.linalg.norm(x - exact, axis=-1) / size for x in (states, *runs))
            assert (error < np.maximum(1e-4, 3 * np.max(of_single, axis=0))).all()
            assert np.mean(error < 1e-4) > 0.9
    bits = surprisal(some, "smollm2-135m", context=3, store=False)
    np.testing.assert_allclose(bits, [plain_bits(smollm2, seen(some, row, 3)) for row in range(len(some))], rtol=1e-4)


def test_smollm2_first_token_is_an_attention_sink(smollm2, words):
    """What start_token is for: without it the first word's middle-layer states are outliers, with it they are not."""
    norms = {
        start: np.linalg.norm(
            layer_features(words[:15], "smollm2-135m", layers=[15], start_token=start, store=False)[0], axis=1
        )
        for start in (False, True)
    }
    assert norms[False][0] > 50 * np.median(norms[False])
    assert norms[True].max() < 3 * np.median(norms[True])
