"""Writing a caption that no dictionary holds: a language model proposes, a sentence encoder chooses.

1. *Beam.* The best retrieved captions are the beginning of a list, which a language model is to go on with, token by
   token. Of every text so far its likeliest continuations are kept, and of these, those whose score is best.
2. *Edits.* The best sentence so far, written or retrieved, is changed in one place: a word is left out, replaced or put
   in, as the language model would have it there, or its end is exchanged for that of another retrieved caption from a
   word on that both hold. The best of the changed sentences takes its place if its score is higher, and so on.

The score of a text is the correlation of its embedding with the decoded one, plus a weight times its mean
log-probability a token (nats): of a beginning, as the next line of the list; of a whole sentence, without the list,
after which a copy of one of its lines would be the most probable of all. Nothing is drawn at random, so the same input
gives the same sentences. All images advance together, so that the encoder is called with many texts at once.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import transformers
from numpy.typing import ArrayLike
from torch.nn.utils.rnn import pad_sequence

from brainalign._checks import alike, shaped, whole, within
from brainalign.decoding.dictionary import CaptionIndex
from brainalign.decoding.identification import _directions
from brainalign.features import language

HEADING = "Sentences that describe the same picture:\n"

_ROWS = 16  # texts that the language model reads at once
_LISTED = 5  # retrieved captions that the language model is shown
_BRANCHES = 3  # continuations of a text, and words for a place, that are looked at
_MAX_TOKENS = 20  # length of a written sentence
_READ = 6  # changed sentences of an image, the best by embedding, whose fluency is looked at
_NEAR = 20  # closest captions whose directions make a consensus
_WIDTH = 0.05  # a caption whose similarity is lower by so much counts less by a factor of e


@dataclass(eq=False)
class _Image:
    """What is known of an image: its direction in the space of embeddings, captions retrieved, the best sentence."""

    target: np.ndarray
    retrieved: list[str]
    best: Any = None


@dataclass
class _Draft:
    """A sentence, or its beginning."""

    image: _Image
    caption: str
    origin: str
    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0  # of all its tokens (nats)
    match: float = np.nan
    fluency: float = 0.0  # mean log-probability of a token
    score: float = np.nan
    row: int = 0  # of the beginning that it continues, among those read last
    ended: bool = True


def write_captions(
    targets: ArrayLike,
    retrieved: Sequence[Sequence[str]],
    encode: Callable[[list[str]], ArrayLike],
    language_model: str | os.PathLike[str] = "smollm2-135m",
    *,
    beam: int = 3,
    rounds: int = 3,
    fluency: float = 0.02,
    centre: ArrayLike | None = None,
    device: str = "auto",
) -> pd.DataFrame:
    """Write a sentence whose embedding is close to a decoded one.

    What guides cannot judge: the correlation with the decoded embedding rises by construction. Compare sentences with
    people's captions, and by another encoder too.

    Parameters
    ----------
    targets : array of shape (image, dimension)
        Decoded embeddings.
    retrieved : sequence of sequences of str
        Captions found for each image, the best first. The first five begin the list, all are the material of edits.
    encode : callable
        From a list of texts to their embeddings (text, dimension), by the model of the targets. Texts may be beginnings
        of sentences.
    language_model
        A causal one, as in `features.language.layer_features`.
    beam : int
        Texts of an image that are kept while writing. ``beam=0`` writes none.
    rounds : int
        Edits, at most.
    fluency : float
        Weight of the mean log-probability a token in the score.
    centre : array of shape (dimension,), optional
        Taken off targets and embeddings first, see `identification`.
    device : {"auto", "cpu", "cuda"}

    Returns
    -------
    DataFrame [caption, origin, match, fluency, score], one row an image
        The best sentence, whether it was retrieved, written or edited, the correlation of its embedding with the
        decoded one, and its mean log-probability.
    """
    directions = _directions("targets", targets, centre)
    captions = [[text for text in some if any(map(str.isalnum, text))] for some in retrieved]
    alike(targets=directions, retrieved=captions)
    for row, some in enumerate(captions):
        whole(f"captions retrieved for image {row}", len(some))
    beam, rounds = whole("beam", beam, 0), whole("rounds", rounds, 0)
    fluency = within("fluency", fluency, high=np.inf) if fluency else 0.0
    images = [_Image(*pair) for pair in zip(directions, captions, strict=True)]
    lists = [HEADING + "".join(f"{caption}\n" for caption in some[:_LISTED][::-1]) for some in captions]
    reader = _Reader(language_model, [*lists, HEADING], device)

    def rate(drafts: list[_Draft]) -> None:
        if not drafts:
            return
        texts = sorted({draft.caption for draft in drafts})
        vectors = _directions("encode", shaped("encode", encode(texts), len(texts), directions.shape[1]), centre)
        place = dict(zip(texts, vectors, strict=True))
        for draft in drafts:
            draft.match = float(place[draft.caption] @ draft.image.target)
            draft.fluency = draft.log_probability / max(len(draft.tokens), 1)
            draft.score = draft.match + fluency * draft.fluency

    def finish(drafts: list[_Draft]) -> bool:
        """Rate sentences by themselves, and keep those that are better than what an image has; False if none is."""
        reader.read(drafts)
        rate(drafts)
        better = [draft for draft in drafts if not draft.image.best or draft.score > draft.image.best.score + 1e-9]
        for draft in sorted(better, key=lambda draft: (draft.score, draft.caption)):
            draft.image.best = draft
        return bool(better)

    finish([_Draft(image, image.retrieved[0], "retrieved") for image in images])
    if beam:
        finish(_write(images, reader, rate, beam))
    for _ in range(rounds):
        proposals = reader.alternatives([image.best.caption for image in images])
        edited = [
            _Draft(image, text, "edited")
            for image, alternatives in zip(images, proposals, strict=True)
            for text in _changed(image.best.caption, image.retrieved, alternatives)
        ]
        rate(edited)
        if not finish([draft for own in _ranked(edited, images) for draft in own[:_READ]]):
            break
    return pd.DataFrame([vars(image.best) for image in images])[["caption", "origin", "match", "fluency", "score"]]


def consensus(decoded: ArrayLike, index: CaptionIndex, *, centre: ArrayLike | None = None) -> np.ndarray:
    """Embeddings halfway between what was decoded and what the 20 closest captions of a dictionary have in common.

    Of shape (image, dimension), as `decoded` is; whatever in that is like no caption is noise. `centre` is taken off
    first, and added to the result.
    """
    found = index.search(decoded, min(_NEAR, len(index)), centre=centre)
    weights = np.exp((found.scores - found.scores[:, :1]) / _WIDTH)
    near = _directions("index", index.embeddings[found.indices.ravel()], centre).reshape(*found.indices.shape, -1)
    mean = (weights[..., None] * near).sum(1) / weights.sum(1)[:, None]
    halfway = _directions("decoded", decoded, centre) + _directions("index", mean)
    return halfway if centre is None else halfway + np.asarray(centre, dtype=float)


def _ranked(drafts: list[_Draft], images: list[_Image]) -> list[list[_Draft]]:
    """Each image's drafts, the best first."""
    drafts = sorted(drafts, key=lambda draft: (-draft.score, draft.caption))
    return [[draft for draft in drafts if draft.image is image] for image in images]


def _write(images: list[_Image], reader: _Reader, rate: Callable, beam: int) -> list[_Draft]:
    """Sentences for all images, written a token at a time."""
    drafts, ended = [_Draft(image, "", "written") for image in images], []
    reading, after = reader.prompts.rows(range(len(images))), reader.first[: len(images)].clone()
    after[:, reader.end] = -torch.inf
    for _ in range(_MAX_TOKENS):
        after[:, reader.special] = -torch.inf
        values, tokens = (some.tolist() for some in after.topk(_BRANCHES))
        pairs = [zip(*pair, strict=True) for pair in zip(tokens, values, strict=True)]
        longer = [reader.longer(draft, row, *pair) for row, draft in enumerate(drafts) for pair in pairs[row]]
        longer = [draft for draft in longer if draft.caption]
        if not longer:
            break
        rate(longer)
        ended += [draft for draft in longer if draft.ended]
        going_on = _ranked([draft for draft in longer if not draft.ended], images)
        drafts = []
        for done, some in zip(_ranked(ended, images), going_on, strict=True):
            if len(done) < beam or (some and some[0].score >= done[0].score):
                drafts += some[:beam]  # else longer texts were worse for long enough
        if not drafts:
            break
        reading, after = reader.step(reading, [draft.row for draft in drafts], [draft.tokens[-1] for draft in drafts])
    return [draft for own in _ranked(ended, images) for draft in own[:_READ]]


def _changed(text: str, others: Sequence[str], alternatives: list[list[str]]) -> list[str]:
    """Sentences that differ from one in one place; `alternatives` are words for each place, the end included."""
    ending = text[len(text.rstrip(".!?")) :]
    words = text[: len(text) - len(ending)].split()
    found = []
    for place, following in enumerate(alternatives[: len(words) + 1]):
        before, rest = words[:place], words[place + 1 :]
        found += [[*before, word, *after] for word in following for after in (rest, words[place:])]
        found.append([*before, *rest])
    for other in others:
        theirs = other.rstrip(".!?").split()
        for place, word in enumerate(words[1:], start=1):
            found += [[*words[:place], *theirs[at:]] for at in range(1, len(theirs)) if theirs[at] == word]
    texts = [" ".join(some) for some in found if len(some) > 2]
    texts = [some[0].upper() + some[1:] + ending for some in texts]
    return [some for some in dict.fromkeys(texts) if some != text]


class _Reader:
    """A language model that has read one prompt an image and goes on from there."""

    def __init__(self, model: str | os.PathLike[str], prompts: list[str], device: str) -> None:
        opened = language.LanguageModel(model, device=device)
        if not opened.causal:
            raise ValueError(f"language_model: {opened.name} is not causal; it cannot write. Take one that is.")
        self.tokenizer, self.device, self.model = opened.tokenizer, opened.device, opened.load()
        self.end = self.tokenizer.eos_token_id
        self.special = sorted(set(self.tokenizer.all_special_ids) - {self.end})
        rows = [torch.tensor(self.tokens(prompt)[::-1], device=self.device) for prompt in prompts]  # padded on the left
        ids, mask = (pad_sequence(some, True).flip(1) for some in (rows, list(map(torch.ones_like, rows))))
        reading = _Reading(transformers.DynamicCache(), mask[:, :0])
        self.prompts, logits = self._go_on(reading, ids, mask, logits_to_keep=1)
        self.first = logits[:, -1].log_softmax(-1)  # of the first token

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def longer(self, draft: _Draft, row: int, token: int, log_probability: float) -> _Draft:
        """A draft with a token more; it ends with its line, or with a full stop."""
        tokens = [*draft.tokens, token]
        text, newline, _ = self.tokenizer.decode(tokens, skip_special_tokens=True).partition("\n")
        ended = bool(newline) or token == self.end or text.endswith(".")
        total = draft.log_probability + log_probability
        return replace(draft, caption=text.strip(), tokens=tokens, log_probability=total, row=row, ended=ended)

    @torch.inference_mode()
    def _go_on(
        self, reading: _Reading, ids: torch.Tensor, mask: torch.Tensor, **options: Any
    ) -> tuple[_Reading, torch.Tensor]:
        """Read some tokens more (row, token); the cache of `reading` is used up."""
        mask = torch.cat([reading.mask, mask], 1)
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]  # padding on the left does not count
        options |= {"attention_mask": mask, "position_ids": places, "past_key_values": reading.cache}
        output = self.model(input_ids=ids, use_cache=True, **options)
        return _Reading(output.past_key_values, mask), output.logits.float()

    def step(self, reading: _Reading, rows: list[int], tokens: list[int]) -> tuple[_Reading, torch.Tensor]:
        """Keep some rows, add a token to each; log-probabilities of the next one (row, vocabulary)."""
        ids = torch.tensor(tokens, device=self.device)[:, None]
        reading, logits = self._go_on(reading.rows(rows), ids, torch.ones_like(ids))
        return reading, logits[:, -1].log_softmax(-1)

    def after(self, numbers: Sequence[int], texts: Sequence[list[int]]) -> Iterator[torch.Tensor]:
        """Yield, for each text, log-probabilities of what follows each of its tokens (token + 1, vocabulary)."""
        for start in range(0, len(texts), _ROWS):
            some, own = texts[start : start + _ROWS], numbers[start : start + _ROWS]
            # padding on the right needs no mask: nothing looks ahead
            ids = pad_sequence([torch.tensor(text, device=self.device) for text in some], True)
            _, logits = self._go_on(self.prompts.rows(own), ids, torch.ones_like(ids))
            for number, text, row in zip(own, some, logits, strict=True):
                yield torch.cat([self.first[number][None], row[: len(text)].log_softmax(-1)])

    def read(self, drafts: Sequence[_Draft]) -> None:
        """Fill in tokens and log-probabilities after the last prompt, which holds no captions."""
        texts, last = [self.tokens(draft.caption) for draft in drafts], [len(self.first) - 1] * len(drafts)
        for draft, tokens, after in zip(drafts, texts, self.after(last, texts), strict=True):
            places = torch.tensor(tokens, device=self.device)[:, None]
            draft.tokens, draft.log_probability = tokens, float(after[:-1].gather(1, places).sum())

    def alternatives(self, texts: list[str]) -> Iterator[list[list[str]]]:
        """Yield, for each place between the words of each image's text, words that the model would put there."""
        split = [text.rstrip(".!?").split() for text in texts]
        tokens = [self.tokens(" ".join(words)) for words in split]
        for words, after in zip(split, self.after(range(len(texts)), tokens), strict=True):
            found = []
            for place in range(len(words) + 1):
                start = len(self.tokens(" ".join(words[:place]))) if place else 0
                likely = after[min(start, len(after) - 1)].topk(4 * _BRANCHES).indices.tolist()
                likely = self.tokenizer.batch_decode([[token] for token in likely], skip_special_tokens=True)
                likely = [word.strip() for word in likely if word.strip().isalpha() and (word[0] == " " or not place)]
                found.append(likely[:_BRANCHES])
            yield found


class _Reading(NamedTuple):
    """What a model remembers of the texts read so far, and which of their tokens (row, token) are no padding."""

    cache: transformers.DynamicCache
    mask: torch.Tensor

    def rows(self, numbers: Sequence[int]) -> _Reading:
        """A copy of some rows."""
        cache, rows = copy.deepcopy(self.cache), torch.tensor(list(numbers), device=self.mask.device)
        cache.batch_select_indices(rows)
        return _Reading(cache, self.mask[rows])
