"""Word-aligned features from language models: the hidden states of every layer, and how well words are predicted.

How a word gets its features:

1. A *window* of words is joined by single spaces and tokenised once, with the tokenizer's own conventions. Tokens
   belong to words by their character offsets; a space belongs to the word after it. A word is represented by the
   hidden state of its last token, or by the mean over its tokens.
2. Passages are boundaries: a window never holds words of two passages. With ``context=None`` a window is a whole
   passage, as far as it fits the model; longer passages take several windows that overlap by `min_context` words.
   With ``context=c`` a window holds exactly the c words up to and including the word, fewer at a passage's start.
3. In a causal model nothing that follows a token changes its state. A window run for C words therefore holds, at its
   k-th word, the features of that word with exactly k words of context, and one run serves all context lengths up to
   C. This needs the tokens of the first k words to be the same whatever follows; that is checked for each window, and
   where it does not hold those words get a window of their own.
4. In a bidirectional model (BERT, MPNet) every state depends on the whole window. Each word and context length gets a
   window of its own, which ends at the word, so that no later word is seen; ``context=None`` is refused.

The first token of a text becomes an *attention sink* in most language models: its hidden states are outliers, in the
middle layers often a hundred times the norm of all others, and carry little about the word (Xiao et al. 2024,
"Efficient streaming language models with attention sinks"; Sun et al. 2024, "Massive activations in large language
models"). With a short context this concerns many words, with ``context=1`` all of them. ``start_token=True`` puts the
token that separates documents in pretraining in front of every window, which then takes that role.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
import xarray as xr
from huggingface_hub import snapshot_download
from tqdm import tqdm
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from brainalign import assets
from brainalign._checks import torch_device
from brainalign.features import lesions
from brainalign.features.store import Entry, FeatureStore, digest_files, locked

__all__ = ["LanguageModel", "context_features", "layer_features", "n_layers", "surprisal"]

Model = str | os.PathLike[str] | tuple[Any, Any]
Store = FeatureStore | str | os.PathLike[str] | bool | None

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
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
    model : str, path or (model, tokenizer), default="smollm2-135m"
        Name of an asset, a folder in the layout of transformers, a name on the Hugging Face hub, or a model and its
        tokenizer already loaded. Weights are read from safetensors only, and no remote code is run. A name or folder
        may be followed by damages, as in "smollm2-135m@noise=0.3" (see `brainalign.features.lesions`).
    device : str, default="auto"
        Where the model runs: "cpu", "cuda", "cuda:1", ...; "auto" takes CUDA where there is one. A loaded model is
        copied if it has another device or precision.
    dtype : {"float32", "bfloat16", "float16"}
        Precision of the model's run; what is returned is float32.
    pooling : {"last", "mean"}
        A word of several tokens is represented by the state of its last token or by the mean over its tokens.
    start_token : {"tokenizer", True, False} or str
        "tokenizer": special tokens as the tokenizer adds them by itself. True: the token that separates documents,
        put in front of every window (``"<|endoftext|>"`` where the vocabulary has it, else the model's beginning- or
        end-of-text token). False: none. Any other str is itself the token to put in front. See the notes on attention
        sinks above. A bidirectional model takes True as "tokenizer": its own special tokens do that.
    min_context : int, default=256
        For passages longer than the model's window, with ``context=None``: the least number of words before a word,
        or all of them since the passage's start.
    max_tokens : int, optional
        Length of a window in tokens. Default: what the model was made for.
    batch_tokens : int, default=2048
        Tokens, padding included, that are run at once (for predictions at most 1,024); bounds the memory. A single
        window may be longer.
    store : FeatureStore, path, False or None
        Where features are kept and looked up; None is the default store, False keeps nothing.
    progress : bool, default=False
        Show a progress bar.

    Raises
    ------
    ValueError
        For an unknown model, a damage the architecture does not allow, or settings that do not fit.

    Examples
    --------
    >>> model = LanguageModel("smollm2-135m", start_token=True)
    >>> model.states(words, context=[1, 8, None], layers=[15]).dims  # doctest: +SKIP
    ('context', 'layer', 'word', 'feature')
    """

    def __init__(
        self,
        model: Model = "smollm2-135m",
        *,
        device: str = "auto",
        dtype: str = "float32",
        pooling: str = "last",
        start_token: bool | str = "tokenizer",
        min_context: int = 256,
        max_tokens: int | None = None,
        batch_tokens: int = 2048,
        store: Store = None,
        progress: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
        if pooling not in ("last", "mean"):
            raise ValueError(f"pooling: expected 'last' or 'mean', got {pooling!r}")
        if not isinstance(start_token, bool | str):
            raise ValueError(f"start_token: expected True, False, 'tokenizer' or a token, got {start_token!r}")
        if not _is_int(min_context) or min_context < 0:
            raise ValueError(f"min_context: expected a number of words, 0 or more, got {min_context!r}")
        for name, value in (("max_tokens", max_tokens), ("batch_tokens", batch_tokens)):
            if not (name == "max_tokens" and value is None) and (not _is_int(value) or value < 1):  # type: ignore[operator]
                raise ValueError(f"{name}: expected a number of tokens, 1 or more, got {value!r}")
        if store is True or not isinstance(store, FeatureStore | str | os.PathLike | bool | None):
            raise ValueError(
                f"store: expected a FeatureStore, a path, None for the default or False for none, got {store!r}"
            )
        self.device, self.dtype, self.pooling = str(torch_device(device)), dtype, pooling
        self.start_token, self.min_context = start_token, min_context
        self.batch_tokens, self.progress = batch_tokens, progress
        self.store = None if store is False else store if isinstance(store, FeatureStore) else FeatureStore(store)  # type: ignore[arg-type]
        self._opened = open_model(model)
        longest = self._opened.max_tokens
        if max_tokens is not None and max_tokens > longest:
            raise ValueError(f"max_tokens: {self.name} was made for {longest} tokens, got {max_tokens}")
        self.max_tokens = max_tokens or longest
        if not self._opened.causal and start_token is True:
            self.start_token = "tokenizer"

    @property
    def name(self) -> str:
        """The model's name, folder or spec."""
        return self._opened.name

    @property
    def n_layers(self) -> int:
        """Number of blocks: `states` has the layers 0 (input embedding) to this number."""
        return self._opened.n_layers

    def states(
        self,
        words: pd.DataFrame,
        *,
        context: int | None | Sequence[int | None] = None,
        layers: Sequence[int] | None = None,
    ) -> xr.DataArray:
        """Hidden states at every word.

        Parameters
        ----------
        words : DataFrame
            One row a word, in order, with the column ``word`` and, where the text has boundaries, ``passage``: the
            words of a passage follow each other, and nothing is seen across passages. Without it all words are one
            passage.
        context : int, None or sequence of them
            The model sees exactly this many words, the word itself included; fewer where the passage has fewer. None:
            all words of the passage so far, for causal models only. In a causal model several lengths cost one
            pass; None takes another.
        layers : sequence of int, optional
            Layers to return; negative ones count from the last. Layer 0 is the input embedding, layer l the output of
            block l as ``hidden_states`` of transformers gives it: the last one comes after the model's final
            normalisation in most architectures. Default: all.

        Returns
        -------
        DataArray of shape (layer, word, feature), or (context, layer, word, feature) for a sequence of contexts
            float32, with the layer numbers as coordinate, and contexts in words, infinite for None.

        Raises
        ------
        ValueError
            For missing columns, missing or empty words, a passage in several pieces, layers the model does not have, a
            context that does not fit the model, contexts that are empty or name one length twice, a start token that
            the tokenizer does not know, a `min_context` that does not fit, a bidirectional model without a context, a
            model that claims to be causal and is not, non-finite states.
        """
        chosen = _check_layers(layers, self.n_layers)
        return _extract(self, "states", words, context, chosen)

    def predictions(self, words: pd.DataFrame, *, context: int | None | Sequence[int | None] = None) -> xr.Dataset:
        """How well every word is predicted from the words before it, by a causal model.

        A space counts as part of the word after it, as in the tokens of most models. With ``context=c`` the word is
        predicted from the c - 1 words before it.

        Parameters
        ----------
        words, context
            As in `states`.

        Returns
        -------
        Dataset with two variables of shape (word,), or (context, word) for a sequence of contexts
            ``bits``: surprisal, -log2 of the word's probability, summed over its tokens. ``rank``: place of the token
            in the vocabulary ordered by probability, 1 for the most probable one; the worst over the word's tokens,
            each given all that stands before it. Of equally probable tokens it takes the last place, so a model that
            tells nothing apart gets no credit. Both are NaN at the first word of a passage unless a token stands before
            it (`start_token`).

        Raises
        ------
        ValueError
            As in `states`, for a model that is not causal, and if no word has anything before it (``context=1`` without
            a start token).
        """
        found = _extract(self, "surprisal", words, context, [BITS, RANK]).isel(feature=0, drop=True)
        if found.isnull().all(("layer", "word")).any():
            raise ValueError(
                f"context: no word has anything before it to be predicted from (context={context}); "
                "ask for a longer context or pass start_token=True"
            )
        bits, rank = (found.sel(layer=number, drop=True) for number in (BITS, RANK))
        return xr.Dataset({"bits": bits.assign_attrs(units="bit"), "rank": rank}, attrs=found.attrs)

    def surprisal(self, words: pd.DataFrame, *, context: int | None | Sequence[int | None] = None) -> xr.DataArray:
        """Surprisal of every word, the part ``bits`` of `predictions`.

        Parameters
        ----------
        words, context
            As in `states`.

        Returns
        -------
        DataArray of shape (word,), or (context, word) for a sequence of contexts
            Bits. NaN at the first word of a passage unless a token stands before it (`start_token`).

        Raises
        ------
        ValueError
            As in `predictions`.
        """
        return self.predictions(words, context=context)["bits"].rename("surprisal")


def layer_features(
    words: pd.DataFrame,
    model: Model = "smollm2-135m",
    *,
    context: int | None = None,
    layers: Sequence[int] | None = None,
    **settings: Any,
) -> xr.DataArray:
    """Hidden states of a language model at every word: `LanguageModel.states` in one line.

    Parameters
    ----------
    words, context, layers
        As in `LanguageModel.states`.
    model, **settings
        As in `LanguageModel`.

    Returns
    -------
    DataArray of shape (layer, word, feature)

    Raises
    ------
    ValueError
        As in `LanguageModel` and `LanguageModel.states`.
    """
    return LanguageModel(model, **settings).states(words, context=context, layers=layers)


def context_features(
    words: pd.DataFrame,
    model: Model,
    contexts: Sequence[int | None],
    *,
    layers: Sequence[int] | None = None,
    **settings: Any,
) -> xr.DataArray:
    """Hidden states at every word for several context lengths, in one pass of the model over each window.

    The numbers are those of `layer_features` for each context, and both share the store.

    Parameters
    ----------
    words, layers
        As in `LanguageModel.states`.
    contexts : sequence of int or None
        Context lengths in words, the word itself included; None is the whole passage so far.
    model, **settings
        As in `LanguageModel`.

    Returns
    -------
    DataArray of shape (context, layer, word, feature)

    Raises
    ------
    ValueError
        As in `LanguageModel` and `LanguageModel.states`.
    """
    return LanguageModel(model, **settings).states(words, context=_check_contexts(contexts), layers=layers)


def surprisal(
    words: pd.DataFrame,
    model: Model = "smollm2-135m",
    *,
    context: int | None | Sequence[int | None] = None,
    **settings: Any,
) -> xr.DataArray:
    """Surprisal of every word given the words before it: `LanguageModel.surprisal` in one line.

    Parameters
    ----------
    words, context
        As in `LanguageModel.states`.
    model, **settings
        As in `LanguageModel`.

    Returns
    -------
    DataArray of shape (word,), or (context, word) for a sequence of contexts
        Bits.

    Raises
    ------
    ValueError
        As in `LanguageModel` and `LanguageModel.predictions`.
    """
    return LanguageModel(model, **settings).surprisal(words, context=context)


def n_layers(model: Model) -> int:
    """Return the number of a model's blocks: `layer_features` has the layers 0 (input embedding) to this number.

    Parameters
    ----------
    model
        As in `layer_features`.

    Returns
    -------
    int
    """
    return open_model(model).n_layers


def fingerprint(model: Model) -> str:
    """Return a digest of all that the numbers of a model depend on: its weights, tokenizer and damage.

    Parameters
    ----------
    model
        As in `layer_features`.

    Returns
    -------
    str
    """
    return open_model(model).fingerprint


def _is_int(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _passages(words: pd.DataFrame) -> tuple[list[str], list[tuple[int, int]]]:
    """Check the words and return them with the (start, stop) of each passage."""
    if not isinstance(words, pd.DataFrame) or "word" not in words:
        columns = list(words.columns) if isinstance(words, pd.DataFrame) else type(words).__name__
        raise ValueError(f"words: expected a DataFrame with a column 'word' (and 'passage'), got {columns}")
    if not len(words):
        raise ValueError("words: expected at least one word, got none")
    texts = words["word"].tolist()
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text or text != text.strip():
            raise ValueError(
                f"words: row {row} of 'word' must be text without spaces around it, got {text!r}; drop or fix it"
            )
    if "passage" not in words:
        return texts, [(0, len(texts))]
    passage = words["passage"]
    if passage.isna().any():
        raise ValueError(
            f"words: row {int(passage.isna().to_numpy().argmax())} has no 'passage'; name one for every word"
        )
    labels = passage.tolist()
    starts = [0] + [row for row in range(1, len(labels)) if labels[row] != labels[row - 1]]
    seen = set()
    for row in starts:
        if labels[row] in seen:
            raise ValueError(
                f"words: passage {labels[row]!r} comes again at row {row} after another passage; "
                "the words of a passage must follow each other: sort them, or name the pieces differently"
            )
        seen.add(labels[row])
    return texts, list(zip(starts, [*starts[1:], len(texts)], strict=True))


def _check_contexts(contexts: Sequence[int | None]) -> list[int | None]:
    try:
        contexts = list(contexts)
    except TypeError:
        raise ValueError(f"contexts: expected a list of context lengths in words, got {contexts!r}") from None
    if not contexts:
        raise ValueError("contexts: expected at least one context length, got none")
    for context in contexts:
        if context is not None and (not _is_int(context) or context < 1):
            raise ValueError(
                f"context: expected a number of words, 1 or more, or None for the whole passage, got {context!r}"
            )
    if len(set(contexts)) < len(contexts):
        raise ValueError(f"contexts: expected different context lengths, got {contexts}")
    return [None if context is None else int(context) for context in contexts]


def _check_layers(layers: Sequence[int] | None, n_layers: int) -> list[int]:
    """Return the layers counted from 0, of the n_layers + 1 there are."""
    if layers is None:
        return list(range(n_layers + 1))
    if (
        isinstance(layers, str)
        or not np.iterable(layers)
        or not all(_is_int(layer) for layer in layers)
        or not len(layers)
    ):
        raise ValueError(f"layers: expected a list of layer numbers or None for all, got {layers!r}")
    chosen = []
    for layer in layers:
        if not -n_layers - 1 <= layer <= n_layers:
            raise ValueError(f"layers: {layer} does not exist; the model has layers 0 (input embedding) to {n_layers}")
        chosen.append(int(layer) % (n_layers + 1))
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"layers: expected different layers, got {list(layers)}")
    return chosen


@dataclass
class _Opened:
    """A model that is described at once and loaded only when something has to be computed."""

    name: str
    tokenizer: Any
    config: Any
    causal: bool
    fingerprint: str
    load: Callable[[str, str], torch.nn.Module]  # (device, dtype) -> model in evaluation mode

    @property
    def n_layers(self) -> int:
        return self.config.num_hidden_layers

    @property
    def max_tokens(self) -> int:
        longest = getattr(self.config, "max_position_embeddings", None)
        if longest is None:
            return min(self.tokenizer.model_max_length, 2048)
        # MPNet and RoBERTa count positions that no token can have; their tokenizers know
        return longest if self.causal else min(longest, self.tokenizer.model_max_length)

    def start_id(self, start_token: bool | str) -> int | None:
        """Return the id of the token to put in front of every window, None for none."""
        if start_token is False or start_token == "tokenizer":
            return None
        token_to_id = self.tokenizer.backend_tokenizer.token_to_id  # a dict of the whole vocabulary would take its time
        if start_token is True:
            candidates = ["<|endoftext|>", self.tokenizer.bos_token, self.tokenizer.eos_token]
        else:
            candidates = [start_token]
        for token in candidates:
            if token is not None and token_to_id(token) is not None:
                return token_to_id(token)
        raise ValueError(f"start_token: the tokenizer of {self.name} knows no {' or '.join(map(repr, candidates))}")


def open_model(model: Model) -> _Opened:
    """A language model by name, folder, spec or as a pair of model and tokenizer; its weights are read by ``load``."""
    if isinstance(model, tuple):
        return _open_pair(model)
    base, damage = (model, {}) if Path(model).is_dir() else lesions.parse(str(model))
    folder = _model_folder(base)
    for pattern, what in (
        ("config.json", "config.json"),
        ("*.safetensors", "weights in safetensors"),
        ("tokenizer*", "tokenizer"),
    ):
        if not any(folder.glob(pattern)):
            raise ValueError(
                f"model: the folder of {str(base)!r} ({folder}) holds no {what}; save it with save_pretrained"
            )
    files = [
        path
        for pattern in ("*.safetensors", "config.json", "*token*", "vocab*", "merges.txt")
        for path in folder.glob(pattern)
    ]
    fingerprint = digest_files(set(files))
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    tokenizer = _tokenizer(folder, fingerprint)
    if damage:
        fingerprint += f"@{lesions.VERSION}:{json.dumps(damage)}"
    _check_kind(str(model), tokenizer, config)
    causal = _is_causal(config)
    load = functools.partial(_load, str(folder), causal, damage, str(model))
    config = lesions.lesioned_config(config.get_text_config(), damage, str(model))
    return _Opened(str(model), tokenizer, config, causal, fingerprint, load)


@functools.lru_cache(maxsize=8)
def _tokenizer(folder: Path, fingerprint: str) -> Any:
    """Load a tokenizer, which takes longer than reading features from the store; until its files change, once."""
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _open_pair(pair: tuple[Any, Any]) -> _Opened:
    if len(pair) != 2 or not isinstance(pair[0], transformers.PreTrainedModel):
        raise ValueError(
            f"model: expected a pair (model, tokenizer) of transformers, got {tuple(type(p).__name__ for p in pair)}"
        )
    model, tokenizer = pair
    _check_kind(type(model).__name__, tokenizer, model.config)
    digest = hashlib.sha256(model.config.to_json_string().encode())
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state.update(padding=None, truncation=None)  # left over from earlier calls, and set anew in ours
    digest.update(json.dumps(state, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)

    def load(device: str, dtype: str) -> torch.nn.Module:
        device = torch.device(device)
        ready = model.dtype == DTYPES[dtype] and model.device.type == device.type and not model.training
        return model if ready else copy.deepcopy(model).to(device=device, dtype=DTYPES[dtype]).eval()

    name, config = type(model).__name__, model.config.get_text_config()
    return _Opened(name, tokenizer, config, _is_causal(model.config), digest.hexdigest(), load)


def _is_causal(config: Any) -> bool:
    """Whether a model is made to predict the next token, and not, as BERT and MPNet are, masked ones."""
    return getattr(config, "is_decoder", False) or type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING


def _check_kind(name: str, tokenizer: Any, config: Any) -> None:
    if config.is_encoder_decoder:
        raise ValueError(f"model: {name} has an encoder and a decoder; a model that is only one of them is needed")
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"model: the tokenizer of {name} is not a fast one, which knows the characters of each token; "
            "load it with use_fast=True, or use a model that has a tokenizer.json"
        )


def _model_folder(model: str | os.PathLike[str]) -> Path:
    if Path(model).is_dir():
        return Path(model).resolve()
    known = list(assets.table()["name"])
    if model in known:
        return assets.fetch(str(model))
    # top-level safetensors, configuration and tokenizer only: no pickles, no code
    patterns = ["*.safetensors", "*.json", "merges.txt", "vocab.txt"]
    try:
        return Path(snapshot_download(str(model), allow_patterns=patterns, ignore_patterns=["*/*"]))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model: {str(model)!r} is no folder, none of the assets ({', '.join(known)}), and cannot be had from "
            f"the Hugging Face hub ({type(error).__name__}: {str(error).splitlines()[0]}). Check the name, or pass "
            "a folder"
        ) from error


def _load(folder: str, causal: bool, damage: lesions.Damage, name: str, device: str, dtype: str) -> torch.nn.Module:
    """Load a model from a folder. It is not kept: it would stay in memory beside whatever is done with its features."""
    with lesions.no_progress_bar():
        model, report = (AutoModelForCausalLM if causal else AutoModel).from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    missing = [key for key in report["missing_keys"] if causal or not key.startswith("pooler.")]  # poolers are not run
    if missing:  # transformers would fill them with random numbers
        raise ValueError(f"model: {folder} lacks weights of the model: {', '.join(sorted(missing)[:5])}, ...")
    if damage:
        model = lesions.damaged(model, damage, name)
    return model.to(device).eval()


@dataclass
class _Window:
    """Words [start, stop) that are run together, and what to take from the run: (number of the context, word)."""

    start: int
    stop: int
    wanted: list[tuple[int, int]]
    ids: list[int] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)  # token positions [first, last + 1) of each word


def _sliding_windows(bounds: list[tuple[int, int]], contexts: list[int], starts: range) -> list[_Window]:
    """Windows that begin at the given words: the k-th word of a window has a context of k words."""
    windows = []
    for first, end in bounds:
        for start in range(max(first, starts.start), min(end, starts.stop)):
            wanted = []
            for number, context in enumerate(contexts):
                if start == first:  # words that have fewer than `context` words see all there are
                    wanted += [(number, word) for word in range(first, min(first + context, end))]
                elif start + context <= end:
                    wanted.append((number, start + context - 1))
            if wanted:
                windows.append(_Window(start, max(word for _, word in wanted) + 1, wanted))
    return windows


def _ending_windows(windows: list[_Window]) -> list[_Window]:
    """Windows that end at the word they are for: a bidirectional model's states depend on the whole window."""
    return [
        _Window(window.start, stop, [(number, word) for number, word in window.wanted if word + 1 == stop])
        for window in windows
        for stop in sorted({word + 1 for _, word in window.wanted})
    ]


def _passage_windows(
    texts: list[str], bounds: list[tuple[int, int]], encode: Callable, max_tokens: int, min_context: int
) -> list[_Window]:
    """One window a passage, or as many as needed, each but the first with `min_context` words that are only context."""
    windows = []
    whole = encode([texts[first:end] for first, end in bounds])  # all at once: texts may be thousands of sentences
    for (first, end), (ids, _) in zip(bounds, whole, strict=True):
        start, done = first, first
        while done < end:
            stop = end if len(ids) <= max_tokens else _longest(texts, start, end, encode, max_tokens)
            if stop <= done:
                raise ValueError(
                    f"min_context: {min_context} words before word {done} ({texts[done]!r}) and the word itself do "
                    f"not fit into max_tokens={max_tokens} tokens; ask for less min_context or more max_tokens"
                )
            windows.append(_Window(start, stop, [(0, word) for word in range(done, stop)]))
            start, done = max(first, stop - min_context), stop
    return windows


def _longest(texts: list[str], start: int, end: int, encode: Callable, max_tokens: int) -> int:
    """Return the largest stop for which the words [start, stop) fit into max_tokens."""
    stop = min(end, start + max_tokens)  # a word has at least one token
    while stop > start:
        ids, spans = encode([texts[start:stop]])[0]
        if len(ids) <= max_tokens:
            break
        room = max_tokens - (len(ids) - spans[-1][1])  # what follows the last word is counted too
        stop = start + sum(last <= room for _, last in spans[:-1])
    return stop


def _encode(tokenizer: Any, texts: list[list[str]], special: bool, start_id: int | None) -> list[tuple[list, list]]:
    """Tokenise each list of words as one text; return its token ids and each word's positions [first, last + 1)."""
    encoded = tokenizer(
        [" ".join(words) for words in texts],
        add_special_tokens=special,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        truncation=False,
        padding=False,
        verbose=False,
    )
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
                f"words: the tokenizer gives the word {word!r} no tokens of its own in {' '.join(words)[:80]!r}; "
                "drop the word, or use a model whose tokens do not cross spaces"
            )
        spans = np.column_stack([positions[first], positions[last - 1] + 1])
        if start_id is not None:
            ids, spans = [start_id, *ids], spans + 1
        result.append((list(ids), [(int(a), int(b)) for a, b in spans]))
    return result


def _encode_windows(windows: list[_Window], texts: list[str], encode: Callable, max_tokens: int) -> list[_Window]:
    """Tokenise windows, and split off what would have other tokens if the text ended where the context ends."""
    for window, (ids, spans) in zip(windows, encode([texts[w.start : w.stop] for w in windows]), strict=True):
        window.ids, window.spans = ids, spans
        if len(ids) > max_tokens:
            raise ValueError(
                f"context: the {window.stop - window.start} words from word {window.start} on take {len(ids)} tokens, "
                f"more than the {max_tokens} that fit; ask for a shorter context"
            )
    prefixes = [(w, stop) for w in windows for stop in sorted({word + 1 for _, word in w.wanted} - {w.stop})]
    if not prefixes:
        return windows
    split = []
    for (window, stop), (ids, spans) in zip(prefixes, encode([texts[w.start : s] for w, s in prefixes]), strict=True):
        length = spans[-1][1]
        if ids[:length] != window.ids[:length] or spans != window.spans[: len(spans)]:
            own = [(number, word) for number, word in window.wanted if word + 1 == stop]
            window.wanted = [item for item in window.wanted if item not in own]
            split.append(_Window(window.start, stop, own, ids, spans))
    return [window for window in [*windows, *split] if window.wanted]


def _batches(windows: list[_Window], batch_tokens: int) -> Iterator[list[_Window]]:
    """Group windows of similar length so that a padded batch holds at most batch_tokens (or one window)."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda window: len(window.ids)):
        if batch and len(window.ids) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _padded(batch: list[_Window], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and attention mask; padding comes last, where a causal model cannot see it."""
    lengths = torch.tensor([len(window.ids) for window in batch])
    ids = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long)
    for row, window in enumerate(batch):
        ids[row, : len(window.ids)] = torch.tensor(window.ids)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return ids.to(device), mask.to(device)


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
    return model.base_model(
        input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
    ).hidden_states


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
            raise ValueError(
                f"model: surprisal of more than {step} tokens at once needs a model with a key-value cache"
            )
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
def _check_causal(model: Any, name: str) -> None:
    """Refuse a model in which later tokens change the states of earlier ones."""
    ids = torch.arange(8, device=model.device)[None] % model.config.get_text_config().vocab_size
    whole = _run_states(model, ids, torch.ones_like(ids))[-1][:, :4].float()
    part = _run_states(model, ids[:, :4], torch.ones_like(ids[:, :4]))[-1].float()
    if (whole - part).norm() > (1e-3 if model.dtype == torch.float32 else 0.05) * part.norm():
        raise ValueError(f"model: {name} is not causal: words that come later change the states of earlier words")


@torch.inference_mode()
def _compute(
    model: Any, windows: list[_Window], layers: list[int], n_contexts: int, kind: str, reader: LanguageModel
) -> list[np.ndarray]:
    """Run windows; return, for each context, an array of shape (layer, word, feature), words in ascending order."""
    run = _run_states if kind == "states" else _run_predictions
    pooling = dict.fromkeys(layers, reader.pooling) if kind == "states" else POOLING
    budget = reader.batch_tokens if kind == "states" else min(reader.batch_tokens, LOGIT_TOKENS)
    pieces: list[list[np.ndarray]] = [[] for _ in layers]
    items = []
    for batch in _batches(windows, budget):
        values = run(model, *_padded(batch, model.device))
        wanted = [(number, word, row) for row, window in enumerate(batch) for number, word in window.wanted]
        spans = np.array([(row, *batch[row].spans[word - batch[row].start]) for _, word, row in wanted])
        for layer, piece in zip(layers, pieces, strict=True):
            piece.append(_take(values[layer], spans, pooling[layer]).cpu().numpy())
        items += wanted
    number, word = np.array([item[:2] for item in items]).T
    order = np.lexsort([word, number])
    counts = np.bincount(number, minlength=n_contexts)
    states = np.stack([np.concatenate(piece)[order] for piece in pieces])
    if kind == "states" and not np.isfinite(states).all():
        raise ValueError(f"dtype: the model's states in {reader.dtype} are not finite; use 'float32' or 'bfloat16'")
    return np.split(states, np.cumsum(counts)[:-1], axis=1)


def _check_bidirectional(name: str, contexts: list[int | None], kind: str) -> None:
    if kind != "states":
        raise ValueError(f"model: {name} is bidirectional and predicts no next word; use a causal language model")
    if None in contexts:
        raise ValueError(
            f"context: {name} is bidirectional, its states depend on the words that follow; give the number of words "
            "that it sees up to and including each word, such as context=16"
        )


@dataclass
class _Job:
    """What is the same for all shards of one call."""

    texts: list[str]
    bounds: list[tuple[int, int]]
    reader: LanguageModel
    kind: str  # "states" or "surprisal" (with the rank)
    layers: list[int]

    @functools.cached_property
    def start_id(self) -> int | None:
        return self.reader._opened.start_id(self.reader.start_token)

    @functools.cached_property
    def model(self) -> torch.nn.Module:
        """The loaded model; asked for only if something is not in the store."""
        opened = self.reader._opened
        model = opened.load(self.reader.device, self.reader.dtype)
        if opened.causal:
            _check_causal(model, opened.name)
        return model

    def encode(self, texts: list[list[str]]) -> list[tuple[list, list]]:
        return _encode(self.reader._opened.tokenizer, texts, self.reader.start_token == "tokenizer", self.start_id)

    def entry(self, context: int | None) -> Entry:
        reader = self.reader
        key = {
            "format": FORMAT,
            "kind": self.kind,
            "weights": reader._opened.fingerprint,
            "text": hashlib.sha256(json.dumps([self.texts, self.bounds]).encode()).hexdigest(),
            "context": context,
            "precision": reader.dtype,
            "pooling": reader.pooling if self.kind == "states" else "sum",
            "start_token": "tokenizer" if reader.start_token == "tokenizer" else self.start_id,
        }
        if context is None:
            key.update(max_tokens=reader.max_tokens, min_context=reader.min_context)
        assert reader.store is not None
        return reader.store.entry(key, model=reader.name, words=len(self.texts))

    def shards(self, contexts: list[Any]) -> Iterator[list[_Window]]:
        """Cut the work into shards of about SHARD_WORDS words; the cut does not depend on the contexts' number."""
        if contexts != [None]:
            for start in range(0, len(self.texts), SHARD_WORDS):
                windows = _sliding_windows(self.bounds, contexts, range(start, start + SHARD_WORDS))
                yield windows if self.reader._opened.causal else _ending_windows(windows)
            return
        shard: list[_Window] = []
        for window in _passage_windows(
            self.texts, self.bounds, self.encode, self.reader.max_tokens, self.reader.min_context
        ):
            if shard and sum(len(w.wanted) for w in shard) + len(window.wanted) > SHARD_WORDS:
                yield shard
                shard = []
            shard.append(window)
        yield shard

    def compute(self, windows: list[_Window], numbers: list[int]) -> list[np.ndarray]:
        """Return an array of shape (layer, word, feature) for each of the contexts with these numbers."""
        needed = []
        for window in windows:
            wanted = [(numbers.index(number), word) for number, word in window.wanted if number in numbers]
            if wanted:
                needed.append(_Window(window.start, max(word for _, word in wanted) + 1, wanted))
        needed = _encode_windows(needed, self.texts, self.encode, self.reader.max_tokens)
        return _compute(self.model, needed, self.layers, len(numbers), self.kind, self.reader)

    def run(self, shard: int, windows: list[_Window], numbers: list[int], contexts: list) -> dict[int, np.ndarray]:
        """Return the features of one shard for each of the contexts with these numbers; keep those that are new."""
        if self.reader.store is None:
            return dict(zip(numbers, self.compute(windows, numbers), strict=True))
        entries = {number: self.entry(contexts[number]) for number in numbers}
        stored = {number: entries[number].read(shard, self.layers) for number in numbers}
        if missing := self._missing(stored):
            with locked(entries[number] for number in missing):
                # another process may have stored them while this one waited
                stored.update({number: entries[number].read(shard, self.layers) for number in missing})
                if missing := self._missing(stored):
                    for number, states in zip(missing, self.compute(windows, missing), strict=True):
                        entries[number].write(shard, self.layers, states)
                        stored[number] = dict(zip(self.layers, states, strict=True))
        return {number: np.stack([found[layer] for layer in self.layers]) for number, found in stored.items()}

    def _missing(self, stored: dict[int, dict[int, np.ndarray]]) -> list[int]:
        return [number for number, found in stored.items() if not found.keys() >= set(self.layers)]


def _extract(reader: LanguageModel, kind: str, words: pd.DataFrame, context: Any, chosen: list[int]) -> xr.DataArray:
    """Features of shape (context, layer, word, feature), without the first axis for one context; stored or computed."""
    texts, bounds = _passages(words)
    several = np.ndim(context) > 0
    contexts = _check_contexts(context if several else [context])
    if not reader._opened.causal:
        _check_bidirectional(reader.name, contexts, kind)
    job = _Job(texts, bounds, reader, kind, chosen)

    result = None
    with tqdm(total=len(contexts) * len(texts), unit="word", disable=not reader.progress) as bar:
        for group in ([c for c in contexts if c is not None], [None] if None in contexts else []):
            for shard, windows in enumerate(job.shards(group) if group else ()):
                places = [sorted({word for w in windows for n, word in w.wanted if n == k}) for k in range(len(group))]
                numbers = [number for number, place in enumerate(places) if place]
                for number, block in job.run(shard, windows, numbers, group).items() if numbers else ():
                    if result is None:
                        result = np.empty((len(contexts), len(chosen), len(texts), block.shape[-1]), dtype=np.float32)
                    result[contexts.index(group[number])][:, places[number]] = block
                    bar.update(len(places[number]))
    found = xr.DataArray(
        result,
        dims=("context", "layer", "word", "feature"),
        coords={"context": [np.inf if c is None else c for c in contexts], "layer": chosen},
        name="features" if kind == "states" else "surprisal",
        attrs={
            "model": reader.name,
            "precision": reader.dtype,
            "pooling": reader.pooling if kind == "states" else "sum",
            "start_token": str(reader.start_token),
        },
    )
    if several:
        return found
    return found.isel(context=0, drop=True).assign_attrs(context="all" if context is None else context)
