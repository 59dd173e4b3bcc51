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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import transformers
from numpy.typing import ArrayLike

from brainalign._checks import torch_device
from brainalign.decoding.dictionary import CaptionIndex
from brainalign.decoding.identification import _directions, _matrix
from brainalign.features import language

HEADING = "Sentences that describe the same picture:\n"

_ROWS = 16  # texts that the language model reads at once
_LISTED = 5  # retrieved captions that the language model is shown
_READ = 6  # changed sentences of an image, the best by embedding, whose fluency is looked at


@dataclass
class _Draft:
    """A sentence, or its beginning."""

    text: str
    tokens: list[int]
    log_probability: float  # of all its tokens (nats)
    origin: str
    match: float = np.nan
    score: float = np.nan
    ended: bool = True

    @property
    def fluency(self) -> float:
        return self.log_probability / len(self.tokens)


@dataclass
class _Image:
    """What is known of an image: its direction in the space of embeddings, captions retrieved, drafts."""

    target: np.ndarray
    retrieved: list[str]
    done: list[_Draft] = field(default_factory=list)

    @property
    def best(self) -> _Draft:
        return max(self.done, key=lambda draft: (draft.score, draft.text))


def write_captions(
    targets: ArrayLike,
    retrieved: Sequence[Sequence[str]],
    encode: Callable[[list[str]], ArrayLike],
    language_model: language.Model = "smollm2-135m",
    *,
    beam: int = 3,
    branches: int = 3,
    rounds: int = 3,
    fluency: float = 0.02,
    max_tokens: int = 20,
    centre: ArrayLike | None = None,
    device: str = "auto",
) -> pd.DataFrame:
    """Write a sentence whose embedding is close to a decoded one.

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
    beam, branches : int
        Texts of an image that are kept, and continuations of each that are looked at. ``beam=0`` writes none.
    rounds : int
        Edits, at most.
    fluency : float
        Weight of the mean log-probability a token in the score.
    max_tokens : int
        Length of a written sentence.
    centre : array of shape (dimension,), optional
        Taken off targets and embeddings first, see `identification`.
    device : {"auto", "cpu", "cuda"}

    Returns
    -------
    DataFrame [caption, origin, match, fluency, score], one row an image
        The best sentence, whether it was retrieved, written or edited, the correlation of its embedding with the
        decoded one, and its mean log-probability.

    Raises
    ------
    ValueError
        Targets that are not finite, images without retrieved captions, weights and numbers that make no sense, a model
        that is not causal, embeddings of another dimension.

    Notes
    -----
    What guides cannot judge: the correlation with the decoded embedding rises by construction. Compare sentences with
    people's captions, and by another encoder too.
    """
    directions = _directions(_matrix(targets, "targets"), centre, "targets")
    captions = [[text for text in some if any(map(str.isalnum, text))] for some in retrieved]
    if len(captions) != len(directions) or not all(captions):
        raise ValueError(
            f"retrieved: expected captions for each of the {len(directions)} images, got {len(captions)} lists, "
            f"{sum(not some for some in captions)} of them empty."
        )
    for name, number, least in (("beam", beam, 0), ("branches", branches, 1), ("rounds", rounds, 0)):
        if int(number) != number or number < least:
            raise ValueError(f"{name}: expected a whole number of at least {least}, got {number!r}.")
    if not (np.isfinite(fluency) and fluency >= 0) or max_tokens < 1:
        raise ValueError(f"fluency, max_tokens: expected at least 0 and 1, got {fluency!r} and {max_tokens!r}.")
    images = [_Image(*pair) for pair in zip(directions, captions, strict=True)]
    lists = [HEADING + "".join(f"{caption}\n" for caption in some[:_LISTED][::-1]) for some in captions]
    reader = _Reader(language_model, [*lists, HEADING], device)

    def rate(owners: list[_Image], drafts: list[_Draft]) -> None:
        """Fill in match and score."""
        texts = sorted({draft.text for draft in drafts})
        vectors = _directions(_matrix(encode(texts), "encode"), centre, "encode")
        if vectors.shape != (len(texts), directions.shape[1]):
            raise ValueError(f"encode: expected {len(texts)} x {directions.shape[1]} numbers, got {vectors.shape}.")
        place = dict(zip(texts, vectors, strict=True))
        for image, draft in zip(owners, drafts, strict=True):
            draft.match = float(place[draft.text] @ image.target)
            draft.score = draft.match + fluency * draft.fluency if draft.tokens else draft.match

    firsts = [_Draft(some[0], reader.tokens(some[0]), 0.0, "retrieved") for some in captions]
    reader.read(firsts)
    rate(images, firsts)
    for image, first in zip(images, firsts, strict=True):
        image.done.append(first)
    if beam:
        _write(images, reader, rate, beam, branches, max_tokens)
    for _ in range(rounds):
        if not _edit(images, reader, rate, branches):
            break
    rows = [(best.text, best.origin, best.match, best.fluency, best.score) for best in (i.best for i in images)]
    return pd.DataFrame(rows, columns=["caption", "origin", "match", "fluency", "score"])


def consensus(
    decoded: ArrayLike, index: CaptionIndex, k: int = 20, *, width: float = 0.05, centre: ArrayLike | None = None
) -> np.ndarray:
    """Embeddings halfway between what was decoded and what the closest captions of a dictionary have in common.

    Whatever in a decoded embedding is like no caption is noise.

    Parameters
    ----------
    decoded : array of shape (image, dimension)
    index : CaptionIndex
    k : int
        Closest captions, whose directions are averaged.
    width : float
        A caption whose similarity is lower by so much has a weight that is lower by a factor of e.
    centre : array of shape (dimension,), optional
        Taken off first, and added to the result.

    Returns
    -------
    array of shape (image, dimension)

    Raises
    ------
    ValueError
        As `CaptionIndex.search`.
    """
    if not (np.isfinite(width) and width > 0):
        raise ValueError(f"width: expected a positive number, got {width!r}.")
    found = index.search(decoded, k, centre=centre)
    weights = np.exp((found.scores - found.scores[:, :1]) / width)
    near = index.embeddings[found.indices].astype(float)
    near = _directions(near.reshape(-1, near.shape[-1]), centre, "index").reshape(near.shape)
    mean = (weights[..., None] * near).sum(1) / weights.sum(1)[:, None]
    halfway = _directions(_matrix(decoded, "decoded"), centre, "decoded") + _directions(mean, None, "index")
    return halfway if centre is None else halfway + np.asarray(centre, dtype=float)


def _write(images: list[_Image], reader: _Reader, rate: Callable, beam: int, branches: int, max_tokens: int) -> None:
    """Write sentences for all images, a token at a time."""
    owners, drafts = list(range(len(images))), [_Draft("", [], 0.0, "written") for _ in images]
    reading, after = reader.begin(owners), reader.first[: len(images)]
    for _ in range(max_tokens):
        candidates = []
        proposals = reader.proposals(after, branches, may_end=bool(drafts[0].tokens))
        for row, (number, draft, following) in enumerate(zip(owners, drafts, proposals, strict=True)):
            candidates += [(number, row, reader.longer(draft, token, p)) for token, p in following]
        candidates = [candidate for candidate in candidates if candidate[2].text]
        if not candidates:
            break
        rate([images[number] for number, _, _ in candidates], [draft for _, _, draft in candidates])
        kept = []
        for number, image in enumerate(images):
            own = [candidate for candidate in candidates if candidate[0] == number]
            own.sort(key=lambda candidate: (-candidate[2].score, candidate[2].text))
            image.done += [draft for _, _, draft in own if draft.ended]
            going_on = [candidate for candidate in own if not candidate[2].ended][:beam]
            written = [draft.score for draft in image.done if draft.origin == "written"]
            if len(written) < beam or (going_on and going_on[0][2].score >= max(written)):
                kept += going_on  # else longer texts were worse for long enough
        if not kept:
            break
        owners, drafts = [number for number, _, _ in kept], [draft for _, _, draft in kept]
        reading, after = reader.step(reading, [row for _, row, _ in kept], [draft.tokens[-1] for draft in drafts])
    for image in images:  # from now on, fluency is that of a sentence by itself
        written = [draft for draft in image.done if draft.origin == "written"]
        written.sort(key=lambda draft: (-draft.score, draft.text))
        image.done = [draft for draft in image.done if draft.origin != "written"] + written[:_READ]
    owners, drafts = zip(*((image, draft) for image in images for draft in image.done), strict=True)
    for draft in drafts:
        draft.tokens = reader.tokens(draft.text)
    reader.read(drafts)
    rate(owners, drafts)


def _edit(images: list[_Image], reader: _Reader, rate: Callable, branches: int) -> bool:
    """One change of each image's best sentence; False if none is for the better."""
    owners, drafts = [], []
    proposals = reader.alternatives([image.best.text for image in images], branches)
    for image, alternatives in zip(images, proposals, strict=True):
        for text in _changed(image.best.text, image.retrieved, alternatives):
            owners.append(image)
            drafts.append(_Draft(text, [], 0.0, "edited"))
    if not drafts:
        return False
    rate(owners, drafts)
    kept = []
    for number, image in enumerate(images):
        own = sorted(
            (draft for owner, draft in zip(owners, drafts, strict=True) if owner is image),
            key=lambda draft: (-draft.match, draft.text),
        )
        kept += [(number, draft) for draft in own[:_READ]]
    for _, draft in kept:
        draft.tokens = reader.tokens(draft.text)
    reader.read([draft for _, draft in kept])
    rate([images[number] for number, _ in kept], [draft for _, draft in kept])
    better = False
    for number, draft in kept:
        if draft.score > images[number].best.score + 1e-9:
            better = True
            images[number].done.append(draft)
    return better


def _changed(text: str, others: Sequence[str], alternatives: list[list[str]]) -> list[str]:
    """Sentences that differ from one in one place; `alternatives` are words for each place, the end included."""
    ending = text[len(text.rstrip(".!?")) :]
    words = text[: len(text) - len(ending)].split()
    found = []
    for place, following in enumerate(alternatives[: len(words) + 1]):
        for word in following:
            found.append([*words[:place], word, *words[place + 1 :]])
            found.append([*words[:place], word, *words[place:]])
        found.append([*words[:place], *words[place + 1 :]])
    for other in others:
        theirs = other.rstrip(".!?").split()
        for place, word in enumerate(words[1:], start=1):
            found += [[*words[:place], *theirs[at:]] for at in range(1, len(theirs)) if theirs[at] == word]
    texts = [" ".join(some) for some in found if len(some) > 2]
    texts = [some[0].upper() + some[1:] + ending for some in texts]
    return [some for some in dict.fromkeys(texts) if some != text]


class _Reader:
    """A language model that has read one prompt an image and goes on from there."""

    def __init__(self, model: language.Model, prompts: list[str], device: str) -> None:
        opened = language.open_model(model)
        if not opened.causal:
            raise ValueError(f"language_model: {opened.name} is not causal; it cannot write. Take one that is.")
        self.tokenizer, self.device = opened.tokenizer, torch_device(device)
        self.model = opened.load(str(self.device), "float32")
        self.end = self.tokenizer.eos_token_id
        self.special = sorted(set(self.tokenizer.all_special_ids) - {self.end})
        ids = [self.tokens(prompt) for prompt in prompts]
        length = max(map(len, ids))
        mask = torch.tensor([[0] * (length - len(some)) + [1] * len(some) for some in ids], device=self.device)
        ids = torch.tensor([[0] * (length - len(some)) + some for some in ids], device=self.device)
        self.prompts = _Reading(transformers.DynamicCache(), mask[:, :0])
        self.prompts, logits = self._go_on(self.prompts, ids, mask, logits_to_keep=1)
        self.first = logits[:, -1].log_softmax(-1)  # of the first token

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def longer(self, draft: _Draft, token: int, log_probability: float) -> _Draft:
        """A draft with a token more; it ends with its line, or with a full stop."""
        tokens = [*draft.tokens, token]
        text, newline, _ = self.text(tokens).partition("\n")
        ended = bool(newline) or token == self.end or text.endswith(".")
        return _Draft(text.strip(), tokens, draft.log_probability + log_probability, draft.origin, ended=ended)

    @torch.inference_mode()
    def _go_on(
        self, reading: _Reading, ids: torch.Tensor, mask: torch.Tensor, **options: int
    ) -> tuple[_Reading, torch.Tensor]:
        """Read some tokens more (row, token); the cache of `reading` is used up."""
        mask = torch.cat([reading.mask, mask], 1)
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]  # padding on the left does not count
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=reading.cache,
            use_cache=True,
            **options,
        )
        return _Reading(output.past_key_values, mask), output.logits.float()

    def begin(self, numbers: list[int]) -> _Reading:
        """The state after the prompts of some images."""
        return self.prompts.rows(numbers)

    def proposals(self, after: torch.Tensor, n: int, *, may_end: bool) -> list[list[tuple[int, float]]]:
        """The likeliest next tokens and their log-probabilities, from those of all (row, vocabulary)."""
        after = after.clone()
        after[:, self.special if may_end else [*self.special, self.end]] = -torch.inf
        best = after.topk(n)
        return [list(zip(*pair, strict=True)) for pair in zip(best.indices.tolist(), best.values.tolist(), strict=True)]

    def step(self, reading: _Reading, rows: list[int], tokens: list[int]) -> tuple[_Reading, torch.Tensor]:
        """Keep some rows, add a token to each; log-probabilities of the next one (row, vocabulary)."""
        ids = torch.tensor(tokens, device=self.device)[:, None]
        reading, logits = self._go_on(reading.rows(rows), ids, torch.ones_like(ids))
        return reading, logits[:, -1].log_softmax(-1)

    def after(self, numbers: Sequence[int], texts: Sequence[list[int]]) -> Iterator[torch.Tensor]:
        """Yield, for each text, log-probabilities of what follows each of its tokens (token + 1, vocabulary)."""
        for start in range(0, len(texts), _ROWS):
            some, own = texts[start : start + _ROWS], list(numbers[start : start + _ROWS])
            length = max(map(len, some))
            ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in some], device=self.device)
            # padding on the right needs no mask: nothing looks ahead
            _, logits = self._go_on(self.begin(own), ids, torch.ones_like(ids))
            for number, text, row in zip(own, some, logits, strict=True):
                yield torch.cat([self.first[number][None], row[: len(text)].log_softmax(-1)])

    def read(self, drafts: Sequence[_Draft]) -> None:
        """Fill in log-probabilities after the last prompt, which holds no captions."""
        last = [len(self.first) - 1] * len(drafts)
        for draft, after in zip(drafts, self.after(last, [draft.tokens for draft in drafts]), strict=True):
            tokens = torch.tensor(draft.tokens, device=self.device)
            draft.log_probability = float(after[:-1].gather(1, tokens[:, None]).sum())

    def alternatives(self, texts: list[str], n: int) -> Iterator[list[list[str]]]:
        """Yield, for each place between the words of each image's text, words that the model would put there."""
        split = [text.rstrip(".!?").split() for text in texts]
        tokens = [self.tokens(" ".join(words)) for words in split]
        for words, after in zip(split, self.after(range(len(texts)), tokens), strict=True):
            found = []
            for place in range(len(words) + 1):
                start = len(self.tokens(" ".join(words[:place]))) if place else 0
                likely = [
                    self.text([token]) for token in after[min(start, len(after) - 1)].topk(4 * n).indices.tolist()
                ]
                likely = [word.strip() for word in likely if word.strip().isalpha() and (word[0] == " " or not place)]
                found.append(likely[:n])
            yield found


class _Reading(NamedTuple):
    """What a model remembers of the texts read so far, and which of their tokens (row, token) are no padding."""

    cache: transformers.DynamicCache
    mask: torch.Tensor

    def rows(self, numbers: list[int]) -> _Reading:
        """A copy of some rows."""
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(torch.tensor(numbers, device=self.mask.device))
        return _Reading(cache, self.mask[numbers])
