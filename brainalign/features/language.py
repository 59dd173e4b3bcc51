"""Word-aligned features from language models: the hidden states of every layer, and how well words are predicted.

1. A *window* of words is joined by single spaces and tokenised once, with the tokenizer's own conventions. Tokens
   belong to words by their character offsets; a space belongs to the word after it.
2. A window never holds words of two passages. With ``context=None`` it is a whole passage, as far as it fits the model;
   longer passages take several windows that overlap by `MIN_CONTEXT` words. With ``context=c`` it holds exactly the c
   words up to and including the word, fewer at a passage's start.
3. In a causal model nothing that follows a token changes its state. A window run for C words therefore holds, at its
   k-th word, the features of that word with exactly k words of context, and one run serves all lengths up to C. That
   the tokens of the first k words are the same whatever follows is checked for each window; where they are not, those
   words get a window of their own.
4. In a bidirectional model (BERT, MPNet) every state depends on the whole window. Each word and context length gets a
   window of its own, which ends at the word; ``context=None`` is refused.

The first token of a text becomes an *attention sink* in most language models: its hidden states are outliers, in the
middle layers often a hundred times the norm of all others, and carry little about the word (Xiao et al. 2024,
"Efficient streaming language models with attention sinks"; Sun et al. 2024, "Massive activations in large language
models"). With ``context=1`` this concerns all words. ``start_token=True`` puts the token that separates documents in
pretraining in front of every window, which then takes that role.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import os
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
import xarray as xr
from huggingface_hub import snapshot_download
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from brainalign import assets
from brainalign._checks import listed, one_of, torch_device, whole
from brainalign.datasets.types import text_problems
from brainalign.features import lesions
from brainalign.features.store import Entry, FeatureStore, digest_files, kept, open_store

__all__ = ["LanguageModel", "context_features", "layer_features", "n_layers", "surprisal"]

Model = str | os.PathLike[str]
Context = int | None | Sequence[int | None]
Layers = Sequence[int] | None
Store = FeatureStore | str | os.PathLike[str] | bool | None

LOCAL = {"trust_remote_code": False, "local_files_only": True}
DTYPES = ("float32", "bfloat16", "float16")
MIN_CONTEXT = 256  # words before each word in a passage that is longer than a window
BATCH_TOKENS = 2048  # tokens that are run at once; a window may be longer
SHARD_WORDS = 256  # words whose features are stored together: what an interruption can cost
LOGIT_TOKENS = 1024  # tokens whose logits are held at once: 200 MB at a vocabulary of 49,152
BITS, RANK = 0, 1  # where the two numbers about predicted words are stored
POOLING = {BITS: "sum", RANK: "max"}  # over the tokens of a word
FORMAT = 1  # raise when the meaning of stored numbers changes


class LanguageModel:
    """A language model and how it reads: settings that are given once, and not with every text.

    Weights are read when something has to be computed that is not in the store, and let go after each call.

    Parameters
    ----------
    model : str or path, default="smollm2-135m"
        An asset, a folder in the layout of transformers, or a name on the Hugging Face hub; safetensors only, and no
        remote code is run. Lesions may follow, as in "smollm2-135m@noise=0.3" (`features.lesions`).
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one.
    dtype : {"float32", "bfloat16", "float16"}
        Precision of the model's run; what is returned is float32.
    pooling : {"last", "mean"}
        A word of several tokens is represented by the state of its last token or by the mean over its tokens.
    start_token : {"tokenizer", True, False}
        "tokenizer": special tokens as the tokenizer adds them by itself. True: the token that separates documents, in
        front of every window (``"<|endoftext|>"`` where the vocabulary has it, else the model's beginning- or
        end-of-text token); as "tokenizer" in a bidirectional model, which has special tokens of its own. False: none.
    max_tokens : int, optional
        Length of a window in tokens, which bounds the memory. Default: what the model was made for. In longer passages
        words have `MIN_CONTEXT` words before them at least, or all since the passage's start.
    store : FeatureStore, path, False or None
        Where features are kept and looked up; None is the default store, False keeps nothing.
    progress : bool, default=True
        Show a bar on stderr while something is computed.
    """

    def __init__(
        self,
        model: Model = "smollm2-135m",
        *,
        device: str = "auto",
        dtype: str = "float32",
        pooling: str = "last",
        start_token: bool | str = "tokenizer",
        max_tokens: int | None = None,
        store: Store = None,
        progress: bool = True,
    ) -> None:
        self.name, self.store, self.progress = str(model), open_store(store), progress
        self.device, self.dtype = str(torch_device(device)), one_of("dtype", dtype, DTYPES)
        self.pooling = one_of("pooling", pooling, ["last", "mean"])
        base, self.lesions = (model, {}) if Path(model).is_dir() else lesions.parse(self.name)
        self.folder = model_folder(base, ["*.safetensors", "*.json", "merges.txt", "vocab.txt"], ["*/*"])
        patterns = ("*.safetensors", "config.json", "*token*", "vocab*", "merges.txt")
        self.fingerprint = digest_files({path for pattern in patterns for path in self.folder.glob(pattern)})
        config = AutoConfig.from_pretrained(self.folder, **LOCAL)
        if config.is_encoder_decoder:
            raise ValueError(f"model: expected an encoder or a decoder alone, got {self.name}, which has both.")
        # made to predict the next token, and not, as BERT and MPNet are, masked ones
        is_masked = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
        self.causal = getattr(config, "is_decoder", False) or not is_masked
        self.tokenizer = _tokenizer(self.folder, self.fingerprint)
        if not getattr(self.tokenizer, "is_fast", False):
            raise ValueError(
                f"model: expected a fast tokenizer, which knows the characters of each token, got that of {self.name}; "
                "use a model that has a tokenizer.json."
            )
        if self.lesions:
            self.fingerprint += f"@{lesions.VERSION}:{json.dumps(self.lesions)}"
        self.config = lesions.lesioned_config(config.get_text_config(), self.lesions, self.name)
        # MPNet and RoBERTa count positions that no token can have; their tokenizers know
        places, known = getattr(self.config, "max_position_embeddings", None), self.tokenizer.model_max_length
        longest = places if places and self.causal else min(places or 2048, known)
        self.max_tokens = longest if max_tokens is None else whole("max_tokens", max_tokens, most=longest)
        one_of("start_token", start_token, ["tokenizer", True, False])
        self.start_token = start_token if self.causal or not start_token else "tokenizer"
        self.start_id = None
        if self.start_token is True:
            tokens = ["<|endoftext|>", self.tokenizer.bos_token, self.tokenizer.eos_token]
            to_id = self.tokenizer.backend_tokenizer.token_to_id  # a dict of the whole vocabulary would take its time
            found = [to_id(token) for token in tokens if token is not None and to_id(token) is not None]
            if not found:
                raise ValueError(f"start_token: expected one of {tokens} in the vocabulary, got none for {self.name}.")
            self.start_id = found[0]

    @property
    def n_layers(self) -> int:
        """Number of blocks: `states` has the layers 0 (input embedding) to this number."""
        return self.config.num_hidden_layers

    def load(self) -> torch.nn.Module:
        """The model with its weights, ready to run; refused if some lack, or if later tokens change earlier states."""
        with lesions.no_progress_bar():
            model, report = (AutoModelForCausalLM if self.causal else AutoModel).from_pretrained(
                self.folder, dtype=self.dtype, use_safetensors=True, output_loading_info=True, **LOCAL
            )
        # poolers are not run
        lacking = sorted(key for key in report["missing_keys"] if self.causal or not key.startswith("pooler."))
        if lacking:  # transformers would fill them with random numbers
            raise ValueError(f"model: expected all weights in {self.folder}, got none for {listed(lacking, 5)}.")
        model = (lesions.lesioned(model, self.lesions, self.name) if self.lesions else model).to(self.device).eval()
        if self.causal:
            ids = torch.arange(8, device=model.device)[None] % self.config.vocab_size
            with torch.inference_mode():
                states = [_run_states(model, some, torch.ones_like(some))[-1].float() for some in (ids, ids[:, :4])]
            difference, tolerance = states[0][:, :4] - states[1], 1e-3 if self.dtype == "float32" else 0.05
            if difference.norm() > tolerance * states[1].norm():
                raise ValueError(f"model: expected a causal one, got {self.name}: later words change earlier states.")
        return model

    def states(self, words: pd.DataFrame, *, context: Context = None, layers: Layers = None) -> xr.DataArray:
        """Hidden states at every word.

        Parameters
        ----------
        words : DataFrame
            One row a word, in order, with the column ``word`` and, where the text has boundaries, ``passage``: the
            words of a passage follow each other, and nothing is seen across passages.
        context : int, None or sequence of them
            The model sees exactly this many words, the word itself included; fewer where the passage has fewer. None:
            all words of the passage so far. In a causal model several lengths cost one pass; None takes another.
        layers : sequence of int, optional
            Layer 0 is the input embedding, layer l the output of block l as ``hidden_states`` of transformers gives it:
            the last one (-1) comes after the model's final normalisation in most architectures. Default: all.

        Returns
        -------
        DataArray of shape (layer, word, feature), or (context, layer, word, feature) for a sequence of contexts
            float32, with the layer numbers as coordinate, and contexts in words, infinite for None.

        Raises
        ------
        ValueError
            For words, layers or contexts that are wrong or do not fit the model, and for states that are not finite.
        """
        numbers = range(self.n_layers + 1)
        asked = numbers if layers is None else layers
        chosen = [numbers[whole("layers", layer, -len(numbers), self.n_layers)] for layer in asked]
        if len(set(chosen)) < max(1, len(chosen)):
            raise ValueError(f"layers: expected different layers, at least one, got {chosen}.")
        return self._extract("states", words, context, chosen)

    def predictions(self, words: pd.DataFrame, *, context: Context = None) -> xr.Dataset:
        """How well every word is predicted from the words before it, the c - 1 before it with ``context=c``.

        Parameters
        ----------
        words, context
            As in `states`, errors too.

        Returns
        -------
        Dataset with two variables of shape (word,), or (context, word) for a sequence of contexts
            ``bits``: surprisal, -log2 of the word's probability, summed over its tokens. ``rank``: place of the token
            in the vocabulary ordered by probability, 1 for the most probable one; the worst over the word's tokens,
            each given all that stands before it. Equally probable tokens take the last place, so that a model that
            tells nothing apart gets no credit. Both are NaN at the first word of a passage without a `start_token`.

        Raises
        ------
        ValueError
            For a model that is not causal, and if no word has anything before it.
        """
        found = self._extract("surprisal", words, context, [BITS, RANK]).isel(feature=0, drop=True)
        if found.isnull().all(("layer", "word")).any():
            raise ValueError(f"context: expected words to predict from, got none in {context}; pass start_token=True.")
        bits, rank = (found.sel(layer=number, drop=True) for number in (BITS, RANK))
        return xr.Dataset({"bits": bits.assign_attrs(units="bit"), "rank": rank}, attrs=found.attrs)

    def surprisal(self, words: pd.DataFrame, *, context: Context = None) -> xr.DataArray:
        """Surprisal (bits) of every word: the part ``bits`` of `predictions`, with its parameters and errors."""
        return self.predictions(words, context=context)["bits"].rename("surprisal")

    def _extract(self, kind: str, words: pd.DataFrame, context: Context, layers: list[int]) -> xr.DataArray:
        """Features (context, layer, word, feature) of one text, shard by shard; one context has no such dimension."""
        texts, bounds = _passages(words)
        asked = list(context) if np.ndim(context) else [context]  # type: ignore[arg-type]
        contexts = [None if length is None else whole("context", length) for length in asked]
        if len(set(contexts)) < max(1, len(contexts)):
            raise ValueError(f"context: expected different lengths, at least one, got {contexts}.")
        if not self.causal and (kind == "surprisal" or None in contexts):
            raise ValueError(
                f"context: expected a causal model for None and for surprisal, got {self.name}, which is "
                "bidirectional: its states depend on the words that follow; ask for states in a context such as 16."
            )
        pooling = self.pooling if kind == "states" else "sum"
        key = {
            "format": FORMAT,
            "kind": kind,
            "weights": self.fingerprint,
            "text": hashlib.sha256(json.dumps([texts, bounds]).encode()).hexdigest(),
            "precision": self.dtype,
            "pooling": pooling,
            "start_token": "tokenizer" if self.start_token == "tokenizer" else self.start_id,
        }
        cuts = {"max_tokens": self.max_tokens, "min_context": MIN_CONTEXT}
        entries: dict[int | None, Entry | None] = {}
        for length in contexts:
            own = key | {"context": length} | ({} if length else cuts)
            entries[length] = self.store.entry(own, model=self.name, words=len(texts)) if self.store else None
        lengths = [length for length in contexts if length is not None]
        windows = _context_windows(bounds, lengths, self.causal)
        if None in contexts:
            windows += _passage_windows(texts, bounds, self)
        load, result = functools.cache(self.load), None
        with tqdm(
            desc=f"{Path(self.name).name}: {'layers' if kind == 'states' else kind}",
            total=len(contexts) * len(texts),
            unit="word",
            disable=not self.progress,
            delay=math.inf,  # until something is computed
            mininterval=5,
            file=sys.__stderr__,  # and so not in the outputs of a notebook that is executed
        ) as bar:

            def compute(shard: list[_Window], missing: list[int | None]) -> dict[int | None, np.ndarray]:
                bar.delay = 0
                wanted = [(window.start, [item for item in window.wanted if item[0] in missing]) for window in shard]
                needed = _encode_windows([_Window(start, some) for start, some in wanted if some], texts, self)
                return _compute(load(), needed, layers, kind, self)

            for _, group in itertools.groupby(windows, key=lambda window: (window.wanted[0][0] is None, window.shard)):
                shard = list(group)
                rows = defaultdict(set)
                for length, word in (item for window in shard for item in window.wanted):
                    rows[length].add(word)
                here = {length: entries[length] for length in rows}
                for length, block in kept(here, shard[0].shard, layers, functools.partial(compute, shard)).items():
                    if result is None:
                        result = np.empty((len(contexts), len(layers), len(texts), block.shape[-1]), dtype=np.float32)
                    result[contexts.index(length)][:, sorted(rows[length])] = block
                    bar.update(len(rows[length]))
        coords = {"context": [length or np.inf for length in contexts], "layer": layers}
        attrs = {"model": self.name, "precision": self.dtype, "pooling": pooling, "start_token": str(self.start_token)}
        name = "features" if kind == "states" else kind
        found = xr.DataArray(result, coords, ("context", "layer", "word", "feature"), name, attrs)
        return found if np.ndim(context) else found.isel(context=0, drop=True).assign_attrs(context=context or "all")  # type: ignore[arg-type]


def layer_features(
    words: pd.DataFrame,
    model: Model = "smollm2-135m",
    *,
    context: Context = None,
    layers: Layers = None,
    **settings: Any,
) -> xr.DataArray:
    """Hidden states of a language model at every word, of shape (layer, word, feature), in one line.

    `model` and `settings` are as in `LanguageModel`, the others and errors as in `LanguageModel.states`.
    """
    return LanguageModel(model, **settings).states(words, context=context, layers=layers)


def context_features(
    words: pd.DataFrame, model: Model, contexts: Sequence[int | None], *, layers: Layers = None, **settings: Any
) -> xr.DataArray:
    """Hidden states at every word for several context lengths, of shape (context, layer, word, feature), in one pass.

    `model` and `settings` are as in `LanguageModel`, the others and errors as in `LanguageModel.states`.
    """
    return LanguageModel(model, **settings).states(words, context=list(contexts), layers=layers)


def surprisal(
    words: pd.DataFrame, model: Model = "smollm2-135m", *, context: Context = None, **settings: Any
) -> xr.DataArray:
    """Surprisal (bits) of every word given the words before it, in one line.

    `model` and `settings` are as in `LanguageModel`, the others, shapes and errors as in `LanguageModel.predictions`.
    """
    return LanguageModel(model, **settings).surprisal(words, context=context)


def n_layers(model: Model) -> int:
    """Number of a model's blocks: `layer_features` has the layers 0 (input embedding) to this number."""
    return LanguageModel(model).n_layers


@functools.lru_cache(maxsize=8)
def _tokenizer(folder: Path, fingerprint: str) -> Any:
    """Load a tokenizer, which takes longer than reading features from the store; until its files change, once."""
    return AutoTokenizer.from_pretrained(folder, **LOCAL)


def model_folder(model: str | os.PathLike[str], allowed: list[str], ignored: list[str]) -> Path:
    """A folder as it is, that of an asset, or files of these patterns from the hub: no pickles, and no code."""
    known = list(assets.table()["name"])
    if Path(model).is_dir():
        return Path(model).resolve()
    if model in known:
        return assets.fetch(str(model))
    try:
        return Path(snapshot_download(str(model), allow_patterns=allowed, ignore_patterns=ignored))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model: expected a folder, an asset ({', '.join(known)}) or a name on the Hugging Face hub, got "
            f"{str(model)!r} ({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from error


def _passages(words: pd.DataFrame) -> tuple[list[str], list[tuple[int, int]]]:
    """Check the words and return them with the (start, stop) of each passage."""
    if "word" not in words or not len(words):
        raise ValueError(f"words: expected rows with a column 'word' (and 'passage'), got {words!r:.200}.")
    words = words[["word"]].assign(passage=words.get("passage", 0))
    for problem in text_problems(words):
        raise ValueError(problem)
    starts = np.flatnonzero(np.diff(pd.factorize(words["passage"])[0], prepend=-2)).tolist()
    return words["word"].tolist(), list(zip(starts, [*starts[1:], len(words)], strict=True))


@dataclass
class _Window:
    """Words [start, stop) that are run together, what to take from the run (context, word), and the shard it is for."""

    start: int
    wanted: list[tuple[int | None, int]]
    shard: int = 0
    ids: list[int] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)  # token positions [first, last + 1) of each word

    @property
    def stop(self) -> int:
        return max(word for _, word in self.wanted) + 1


def _context_windows(bounds: list[tuple[int, int]], contexts: list[int], causal: bool) -> list[_Window]:
    """Windows of words in context: one for all that begin at a word, or in a bidirectional model, which end at one."""
    wanted: dict[tuple[int, int], list[tuple[int | None, int]]] = defaultdict(list)
    for first, end in bounds:
        for context, word in itertools.product(contexts, range(first, end)):
            start = max(first, word + 1 - context)  # words that have fewer than `context` words see all there are
            wanted[start, 0 if causal else word].append((context, word))
    return [_Window(start, wanted[start, last], start // SHARD_WORDS) for start, last in sorted(wanted)]


def _passage_windows(texts: list[str], bounds: list[tuple[int, int]], reader: LanguageModel) -> list[_Window]:
    """One window a passage, or as many as needed, each but the first with `MIN_CONTEXT` words that are only context."""
    windows: list[_Window] = []
    shard, n_words = 0, 0
    encoded = _encode(reader, [texts[first:end] for first, end in bounds])  # all at once: there may be thousands
    for (first, end), (ids, _) in zip(bounds, encoded, strict=True):
        start, done = first, first
        while done < end:
            stop = end if len(ids) <= reader.max_tokens else _longest(texts, start, end, reader)
            if stop <= done:
                raise ValueError(
                    f"max_tokens: expected room for word {done} and the {MIN_CONTEXT} words before it, got "
                    f"{reader.max_tokens}; ask for more, or for a context such as 16."
                )
            n_words += stop - done
            if windows and n_words > SHARD_WORDS:
                shard, n_words = shard + 1, stop - done
            windows.append(_Window(start, [(None, word) for word in range(done, stop)], shard))
            start, done = max(first, stop - MIN_CONTEXT), stop
    return windows


def _longest(texts: list[str], start: int, end: int, reader: LanguageModel) -> int:
    """The largest stop for which the words [start, stop) fit into max_tokens."""
    stops = range(start + 1, min(end, start + reader.max_tokens) + 1)  # a word has at least one token

    def length(stop: int) -> int:
        return len(_encode(reader, [texts[start:stop]])[0][0])

    return start + bisect_right(stops, reader.max_tokens, key=length)


def _encode(reader: LanguageModel, texts: list[list[str]]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Tokenise each list of words as one text; return its token ids and each word's positions [first, last + 1)."""
    joined = [" ".join(words) for words in texts]
    special = reader.start_token == "tokenizer"
    encoded = reader.tokenizer(
        joined, add_special_tokens=special, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False
    )
    front = [] if reader.start_id is None else [reader.start_id]
    result = []
    columns = (encoded[name] for name in ("input_ids", "offset_mapping", "special_tokens_mask"))
    for words, ids, offsets, is_special in zip(texts, *columns, strict=True):
        ends = np.cumsum([len(word) + 1 for word in words]) - 1  # where each word ends in the text
        positions = np.flatnonzero(~np.asarray(is_special, dtype=bool))
        begin, end = np.asarray(offsets).reshape(-1, 2)[positions].T
        # the word that holds a token's last character; a space belongs to the word after it
        owner = np.searchsorted(ends, np.maximum(begin, end - 1), side="right")
        numbers = np.arange(len(words))
        first, last = np.searchsorted(owner, numbers, "left"), np.searchsorted(owner, numbers, "right")
        across = (owner > 0) & (begin < ends[owner - 1])
        if (first == last).any() or across.any() or (np.diff(owner) < 0).any():
            word = words[int((first == last).argmax() if (first == last).any() else owner[across.argmax()])]
            raise ValueError(
                f"words: expected tokens of its own for each word, got none for {word!r} in {' '.join(words)[:80]!r}; "
                "drop the word, or use a model whose tokens do not cross spaces."
            )
        spans = np.column_stack([positions[first], positions[last - 1] + 1]) + len(front)
        result.append(([*front, *ids], [(a, b) for a, b in spans.tolist()]))
    return result


def _encode_windows(windows: list[_Window], texts: list[str], reader: LanguageModel) -> list[_Window]:
    """Tokenise windows, and split off what would have other tokens if the text ended where the context ends."""
    encoded = _encode(reader, [texts[window.start : window.stop] for window in windows])
    for window, (ids, spans) in zip(windows, encoded, strict=True):
        window.ids, window.spans = ids, spans
        if len(ids) > reader.max_tokens:
            raise ValueError(
                f"context: expected windows of at most {reader.max_tokens} tokens, got {len(ids)} in the "
                f"{window.stop - window.start} words from word {window.start} on; ask for a shorter context."
            )
    prefixes = [(w, stop) for w in windows for stop in sorted({word + 1 for _, word in w.wanted} - {w.stop})]
    if not prefixes:
        return windows
    split = []
    encoded = _encode(reader, [texts[window.start : stop] for window, stop in prefixes])
    for (window, stop), (ids, spans) in zip(prefixes, encoded, strict=True):
        length = spans[-1][1]
        if ids[:length] != window.ids[:length] or spans != window.spans[: len(spans)]:
            own = [(context, word) for context, word in window.wanted if word + 1 == stop]
            window.wanted = [item for item in window.wanted if item not in own]
            split.append(_Window(window.start, own, window.shard, ids, spans))
    return windows + split


def _batches(windows: list[_Window], batch_tokens: int) -> Iterator[list[_Window]]:
    """Group windows of similar length so that a padded batch holds at most batch_tokens (or one window)."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda window: len(window.ids)):
        if batch and len(window.ids) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(window)
    yield batch


def _take(values: torch.Tensor, spans: np.ndarray, pooling: str) -> torch.Tensor:
    """Pool values of shape (row, token, ...) over spans of (row, first, stop) in float32; one result a span."""
    row, first, stop = torch.as_tensor(spans, device=values.device).T
    if pooling == "last":
        return values[row, stop - 1].float()
    length = stop - first
    total = values[row, first].float()
    for step in range(1, int(length.max())):
        inside = (step < length).nonzero().squeeze(1)
        more = values[row[inside], first[inside] + step].float()
        total[inside] = torch.maximum(total[inside], more) if pooling == "max" else total[inside] + more
    return total / length[:, None] if pooling == "mean" else total


def _run_states(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> Sequence[torch.Tensor]:
    # the base model: features need no logits
    return model.base_model(ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states


def _run_predictions(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> Sequence[torch.Tensor]:
    """Surprisal in bits and rank of every token, each of shape (row, token, 1); NaN at the first token."""
    rows, length = ids.shape
    bits, rank = (torch.full((rows, length, 1), torch.nan, device=ids.device) for _ in range(2))
    step = max(1, LOGIT_TOKENS // rows)
    # a cache that keeps everything: the sliding one of transformers is wrong for an attention span of one token
    past = transformers.DynamicCache() if length > step else None
    for begin in range(0, length, step):  # a long window is run piece by piece so that its logits never exist at once
        end = min(begin + step, length)
        if begin and past is None:
            raise ValueError(f"model: expected one with a key-value cache for more than {step} tokens at once.")
        output = model(
            input_ids=ids[:, begin:end], attention_mask=mask[:, :end], past_key_values=past, use_cache=length > step
        )
        past = getattr(output, "past_key_values", None)
        following = ids[:, begin + 1 : end + 1]
        logits = output.logits[:, : following.shape[1]].float()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none")
        bits[:, begin + 1 : end + 1, 0] = loss.view(following.shape) / math.log(2)
        rank[:, begin + 1 : end + 1, 0] = (logits >= logits.gather(2, following[..., None])).sum(2).float()
    return [bits, rank]


@torch.inference_mode()
def _compute(
    model: Any, windows: list[_Window], layers: list[int], kind: str, reader: LanguageModel
) -> dict[int | None, np.ndarray]:
    """Run windows; for each context an array of shape (layer, word, feature), words in ascending order."""
    run, budget, poolings = _run_states, BATCH_TOKENS, dict.fromkeys(layers, reader.pooling)
    if kind != "states":
        run, budget, poolings = _run_predictions, min(budget, LOGIT_TOKENS), POOLING
    pieces: list[Any] = [[] for _ in layers]
    items: list[tuple[int | None, int]] = []
    for batch in _batches(windows, budget):
        lengths = torch.tensor([len(window.ids) for window in batch])  # padding comes last, where nothing sees it
        ids = pad_sequence([torch.tensor(window.ids) for window in batch], batch_first=True)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        values = run(model, ids.to(model.device), mask.to(model.device))
        spans = [(row, *w.spans[word - w.start]) for row, w in enumerate(batch) for _, word in w.wanted]
        for layer, piece in zip(layers, pieces, strict=True):
            piece.append(_take(values[layer], np.array(spans), poolings[layer]).cpu().numpy())
        items += [item for window in batch for item in window.wanted]
    pieces = [np.concatenate(piece) for piece in pieces]
    if kind == "states" and not all(np.isfinite(piece).all() for piece in pieces):
        raise ValueError(f"dtype: expected finite states, got others in {reader.dtype!r}; use 'float32' or 'bfloat16'.")
    order = sorted(range(len(items)), key=lambda place: items[place][1])
    places = {context: [place for place in order if items[place][0] == context] for context, _ in items}
    return {context: np.stack([piece[some] for piece in pieces]) for context, some in places.items()}
