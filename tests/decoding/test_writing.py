"""Sentences written for decoded embeddings, and how they are judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_language import byte_level_tokenizer, llama

from brainalign.decoding import CaptionIndex, correlations, writing
from brainalign.decoding.matching import token_match
from brainalign.decoding.writing import consensus, write_captions

WORDS = ["the", "dog", "said", "it", "was", "a", "quiet", "night", "on", "ranch", "coyote", "at", "he"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pair():
    return llama(), byte_level_tokenizer()


@pytest.fixture(scope="module")
def folder(pair, tmp_path_factory):
    """The pair as files, which is how models come."""
    folder = tmp_path_factory.mktemp("model")
    for part in pair:
        part.save_pretrained(folder)
    return folder


def encode(texts: list[str]) -> np.ndarray:
    """Which words a text holds, and a little of which letters, so that no two texts are quite alike."""
    rows = []
    for text in texts:
        words = text.lower().rstrip(".").split()
        letters = [text.count(chr(97 + i)) for i in range(26)]
        rows.append([*(3.0 * (word in words) for word in WORDS), *(0.1 * n for n in letters), 0.5])
    return np.array(rows)


RETRIEVED = [
    ["The dog said it was quiet.", "A coyote was on the ranch.", "It was night at the ranch."],
    ["He was on a ranch.", "The coyote was quiet at night."],
]
TARGETS = encode(["The dog was quiet at the ranch.", "He was on a ranch at night."])


def test_the_same_input_gives_the_same_sentences(folder, monkeypatch):
    monkeypatch.setattr(writing, "_MAX_TOKENS", 6)
    options = {"beam": 3, "rounds": 2}
    one = write_captions(TARGETS, RETRIEVED, encode, folder, **options)
    other = write_captions(TARGETS, RETRIEVED, encode, folder, **options)
    assert one.equals(other)
    alone = write_captions(TARGETS[1:], RETRIEVED[1:], encode, folder, **options)  # other images have no say
    assert alone["caption"].tolist() == one["caption"].tolist()[1:]
    np.testing.assert_allclose(alone["score"], one["score"][1:], atol=1e-5)


def test_scores_are_what_they_say(pair, folder):
    found = write_captions(TARGETS, RETRIEVED, encode, folder, rounds=3, fluency=0.1)
    np.testing.assert_allclose(found["match"], correlations(encode(found["caption"].tolist()), TARGETS))
    np.testing.assert_allclose(found["score"], found["match"] + 0.1 * found["fluency"])
    model, tokenizer = pair
    for caption, fluency in zip(found["caption"], found["fluency"], strict=True):
        prompt, tokens = (tokenizer(text)["input_ids"] for text in (writing.HEADING, caption))
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[0].log_softmax(-1)
        expected = [float(logits[len(prompt) + i - 1, token]) for i, token in enumerate(tokens)]
        assert fluency == pytest.approx(np.mean(expected), abs=1e-4)


def test_edits_find_the_planted_sentence(folder):
    """From the best retrieved caption it takes the end of another one and a word less; no fluency asked for."""
    target = encode(["The dog said it was night at the ranch."])
    found = write_captions(target, RETRIEVED[:1], encode, folder, beam=0, rounds=4, fluency=0)
    before = correlations(encode(RETRIEVED[0][:1]), target)[0]
    assert found["origin"].tolist() == ["edited"]
    assert found["match"][0] > max(before + 0.1, 0.99)
    kept = write_captions(target, RETRIEVED[:1], encode, folder, beam=0, rounds=0)
    assert kept["caption"].tolist() == [RETRIEVED[0][0]] and kept["origin"].tolist() == ["retrieved"]


def test_never_worse_by_its_own_score(folder):
    kept = write_captions(TARGETS, RETRIEVED, encode, folder, beam=0, rounds=0, fluency=0.05)
    found = write_captions(TARGETS, RETRIEVED, encode, folder, rounds=2, fluency=0.05)
    assert (found["score"] >= kept["score"] - 1e-6).all()


def slow_beam(pair, retrieved, target, beam, branches, fluency, n_tokens):
    """The beam of one image without cache and batches: the open texts after so many tokens."""
    model, tokenizer = pair
    prompt = tokenizer(writing.HEADING + "".join(f"{text}\n" for text in retrieved[::-1]))["input_ids"]
    drafts = [([], 0.0)]
    for step in range(n_tokens):
        candidates = []
        for tokens, total in drafts:
            with torch.no_grad():
                last = model(torch.tensor([prompt + tokens])).logits[0, -1].log_softmax(-1)
            if not step:
                last[0] = -torch.inf  # the end
            for value, token in zip(*last.topk(branches), strict=True):
                text = tokenizer.decode([*tokens, int(token)], skip_special_tokens=True)
                if int(token) and "\n" not in text and not text.endswith(".") and text.strip():
                    match = correlations(encode([text.strip()]), target[None])[0]
                    score = match + fluency * (total + float(value)) / (len(tokens) + 1)
                    candidates.append((-score, text.strip(), [*tokens, int(token)], total + float(value)))
        drafts = [candidate[2:] for candidate in sorted(candidates)[:beam]]
    return [tokens for tokens, _ in drafts]


def test_the_beam_is_the_slow_one(pair, folder, monkeypatch):
    seen = []
    step = writing._Reader.step

    def recorded(self, reading, rows, tokens):
        seen.append(tokens)
        return step(self, reading, rows, tokens)

    monkeypatch.setattr(writing._Reader, "step", recorded)
    found = []
    write = writing._Reader.longer

    def longer(self, draft, *of):
        draft = write(self, draft, *of)
        found.append(draft)
        return draft

    monkeypatch.setattr(writing._Reader, "longer", longer)
    monkeypatch.setattr(writing, "_MAX_TOKENS", 4)
    write_captions(TARGETS[:1], RETRIEVED[:1], encode, folder, beam=2, rounds=0, fluency=0.05)
    expected = slow_beam(pair, RETRIEVED[0], TARGETS[0], 2, 3, 0.05, 3)
    assert seen[2] == [tokens[-1] for tokens in expected]
    parents = {tuple(draft.tokens[:-1]) for draft in found if len(draft.tokens) == 4}
    assert parents == {tuple(tokens) for tokens in expected}


def test_changed_sentences_differ_in_one_place():
    found = writing._changed("A dog runs at night.", ["Two cats sit at noon."], [[], ["brown"], [], [], [], ["long"]])
    assert "A brown runs at night." in found and "A brown dog runs at night." in found
    assert "A runs at night." in found and "A dog runs at noon." in found and "A dog runs at night long." in found
    assert len(found) == len(set(found)) and "A dog runs at night." not in found


def test_consensus_takes_out_what_is_like_no_caption(rng):
    plane = rng.standard_normal((3, 40))
    captions = rng.standard_normal((200, 3)) @ plane  # all captions lie in three dimensions
    truth = captions[:5]
    decoded = truth + 1.5 * rng.standard_normal((5, 40))
    index = CaptionIndex(list(map(str, range(200))), captions)
    better = consensus(decoded, index)
    assert (correlations(better, truth) > correlations(decoded, truth)).all()
    centre = rng.standard_normal(40)
    moved = CaptionIndex(list(map(str, range(200))), captions + centre)
    again = consensus(decoded + centre, moved, centre=centre)
    np.testing.assert_allclose(again - centre, better, atol=0.02)  # half precision


def test_writing_refuses_bad_input(folder):
    broken = np.where(np.arange(TARGETS.size).reshape(TARGETS.shape) == 5, np.nan, TARGETS)
    for targets, retrieved, options, message in [
        (TARGETS, RETRIEVED[:1], {}, "targets, retrieved: expected the same length, got 2, 1"),
        (
            TARGETS,
            [RETRIEVED[0], []],
            {},
            "captions retrieved for image 1: expected a whole number of at least 1, got 0",
        ),
        (broken, RETRIEVED, {}, "targets: 1 of 80 values are not finite"),
        (TARGETS, RETRIEVED, {"beam": -1}, "beam: expected a whole number of at least 0"),
        (TARGETS, RETRIEVED, {"fluency": -1}, "fluency: expected a number above 0, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_captions(targets, retrieved, encode, folder, **options)
    with pytest.raises(ValueError, match=r"encode: expected shape \(2, 40\), got \(2, 39\)"):
        write_captions(TARGETS, RETRIEVED, lambda texts: encode(texts)[:, :-1], folder)


# token matching ------------------------------------------------------------------------------------------------------


def encode_tokens(texts):
    """A fixed vector for each word."""
    return [
        [np.random.default_rng([ord(c) for c in word]).standard_normal(16) for word in text.rstrip(".").split()]
        for text in texts
    ]


def test_token_match_against_a_loop():
    candidates, references = ["A dog runs.", "Two cats."], [["A cat runs fast.", "Two dogs."], ["Two cats."]]
    found = token_match(candidates, references, encode_tokens)
    rows = []
    for reference in references[0]:
        a, b = (np.array(encode_tokens([text])[0]) for text in (candidates[0], reference))
        cosine = [[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a]
        precision = np.mean([max(row) for row in cosine])
        recall = np.mean([max(row[j] for row in cosine) for j in range(len(b))])
        rows.append([precision, recall, 2 * precision * recall / (precision + recall)])
    np.testing.assert_allclose(found.iloc[0], max(rows, key=lambda row: row[2]))
    np.testing.assert_allclose(found.iloc[1], 1)


def test_token_match_refuses_bad_input():
    with pytest.raises(ValueError, match="candidates, references: expected the same length, got 1, 0"):
        token_match(["A dog."], [], encode_tokens)
    for references in ([[]], ["A dog."]):
        with pytest.raises(ValueError, match="references of candidate 0: expected a whole number of at least 1"):
            token_match(["A dog."], references, encode_tokens)
    with pytest.raises(ValueError, match="tokens of '.'"):
        token_match(["."], [["A dog."]], encode_tokens)
