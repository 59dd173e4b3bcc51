"""States for many context lengths beside the naive way: a run of its own for every word and context length.

The naive way is not made slow: the same model, texts without repetitions, sorted by length and padded in batches of as
many tokens. Both ways run in turn on the same machine, and both results are compared.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from brainalign import assets
from brainalign.features.language import BATCH_TOKENS, context_features
from brainalign.simulated.speech import naplib_speech

MODEL, N_WORDS = "smollm2-135m", 200
LAYERS = [0, 4, 8, 11, 15, 19, 22, 26, 30]


@pytest.fixture(scope="module")
def words():
    """The first words of a passage of read speech that is longer than any context."""
    speech = naplib_speech().words
    passage = speech["passage"].value_counts().index[0]
    return speech.loc[speech["passage"] == passage, ["word"]][:N_WORDS].reset_index(drop=True)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def in_one_pass(words, contexts):
    return context_features(words, MODEL, contexts, layers=LAYERS, store=False).values


@torch.inference_mode()
def naive(words, contexts, rows):
    """States of shape (context, layer, row, feature) from a run on exactly the words in context."""
    folder = assets.fetch(MODEL)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    spans = {(max(0, row + 1 - context), row + 1) for context in contexts for row in rows}
    texts = [(span, tokenizer(" ".join(words["word"][slice(*span)]))["input_ids"]) for span in spans]
    batches = [[]]
    for span, ids in sorted(texts, key=lambda text: (len(text[1]), text[0])):
        if batches[-1] and len(ids) * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append((span, ids))
    states = {}
    for batch in batches:
        lengths = [len(ids) for _, ids in batch]
        padded = [ids + [0] * (max(lengths) - len(ids)) for _, ids in batch]
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        hidden = model.base_model(
            torch.tensor(padded), attention_mask=mask.long(), output_hidden_states=True, use_cache=False
        ).hidden_states
        last = torch.arange(len(batch)), torch.tensor(lengths) - 1
        found = np.stack([hidden[layer][last].numpy() for layer in LAYERS], axis=1)
        states.update(zip((span for span, _ in batch), found, strict=True))
    found = [[states[max(0, row + 1 - context), row + 1] for row in rows] for context in contexts]
    return np.moveaxis(np.array(found), 1, 2)


def seconds(function, *arguments):
    """Processor time on one thread, so that waiting for other processes does not count."""
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


@pytest.mark.parametrize(
    ("contexts", "every", "rounds", "at_most"),
    [
        pytest.param([1, 2, 4, 8, 16, 32, 64], 1, 2, 0.6, id="doubling"),
        # Of the naive way's words every tenth is run, and its time is multiplied by ten.
        pytest.param(list(range(1, 65)), 10, 1, 1 / 15, id="all-to-64"),
    ],
)
def test_contexts_in_one_pass_beside_a_run_each(words, one_thread, benchmark, capsys, contexts, every, rounds, at_most):
    rows = range(every // 2, N_WORDS, every)
    ours, theirs = [], []
    for _ in range(rounds):  # in turn, so that a busy machine slows both
        duration, expected = seconds(naive, words, contexts, rows)
        theirs.append(duration * every)
        duration, found = seconds(in_one_pass, words, contexts)
        ours.append(duration)
    difference = np.linalg.norm(found[:, :, rows] - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    ratios = np.array(ours) / np.array(theirs)
    figures = {
        "one_pass_s": np.median(ours),
        "naive_s": np.median(theirs),
        "ratio_median": np.median(ratios),
        "ratio_of_best": min(ours) / min(theirs),
        "ratio_of_tokens_on_long_texts": max(contexts) / sum(contexts),
        "largest_relative_difference": difference.max(),
    }
    benchmark.extra_info.update({name: float(value) for name, value in figures.items()})
    with capsys.disabled():
        print(f"\n{N_WORDS} words, {len(contexts)} contexts up to {max(contexts)}, {MODEL}, {len(LAYERS)} layers")
        for name, value in figures.items():
            print(f"  {name:45s}{value:10.4g}")
    benchmark.pedantic(in_one_pass, args=(words[:20], contexts[:2]), rounds=1)
    assert difference.max() < 1e-4
    assert np.median(ratios) <= at_most
