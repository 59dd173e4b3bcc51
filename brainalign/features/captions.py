"""Captions as numbers: sentence embeddings, and the controls that say what in a caption matters.

The features of an image are the plain mean over its captions, each embedded alone (Doerig et al. 2025, "High-level
visual representations in the human brain are aligned with large language models", Methods). The kinds:

sentence
    Whole captions.
shuffled
    Whole captions whose words are in a random order, never the one as written if there is another. Each caption's order
    depends on its text and the seed alone; punctuation that ends the caption stays where it is.
words, nouns, verbs, adjectives, adverbs, prepositions
    Each word embedded alone, then the mean over all such words of all captions of the image, as often as they occur.
    Parts of speech are spaCy's Penn Treebank tags: NN and NNS, VB*, JJ*, RB*, IN, as in the study, which found them
    with NLTK; names (NNP) are no nouns there either. Punctuation is no word. The study joined adjectives, adverbs
    and prepositions into one string a caption; here all words are treated alike.
category, multihot
    The names of an image's categories, joined by spaces and embedded once; or the categories themselves, 0 or 1.
length
    Number of words of a caption.

An image without a noun or category gets the embedding of "something", one without a verb that of "is", as in the study;
other parts of speech "something" too. How many images that concerns is in ``attrs["empty"]``.

Static word vectors, which know no context, stand where the study has fastText and GloVe: ``model="NAME@static"`` takes
the input embeddings of a model (the mean over the tokens of a word). They serve the kinds of words, and at the kind
"category" their mean is taken.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import sparse

from brainalign import assets
from brainalign._checks import finite, listed, one_of, torch_device
from brainalign.features import lesions
from brainalign.features.language import Store, model_folder
from brainalign.features.store import FeatureStore, digest_files, kept, open_store

__all__ = ["TextEncoder", "control_features", "embed"]

TAGS = {
    "nouns": ("NN", "NNS"),
    "verbs": ("VB", "VBD", "VBG", "VBN", "VBP", "VBZ"),
    "adjectives": ("JJ", "JJR", "JJS"),
    "adverbs": ("RB", "RBR", "RBS"),
    "prepositions": ("IN",),
}
KINDS = ("sentence", "shuffled", "words", *TAGS, "category", "multihot", "length")
SOMETHING = "something"  # stands for an image that has nothing at a kind
EMPTY = {"verbs": "is"}  # except at these
STATIC = "@static"
LOCAL = {"local_files_only": True, "trust_remote_code": False, "model_kwargs": {"use_safetensors": True}}
BATCH = 64  # texts that are run at once
SHARD_TEXTS = 512  # texts whose embeddings are stored together: what an interruption can cost
SHARD_TAGGED = 4096  # the same for tagged captions, which are faster
FORMAT = 1  # raise when the meaning of stored numbers changes


def embed(
    captions: Sequence[str] | pd.DataFrame,
    model: str | os.PathLike[str] = "all-mpnet-base-v2",
    *,
    kind: str = "sentence",
    images: Sequence[Hashable] | None = None,
    categories: pd.DataFrame | None = None,
    seed: int = 0,
    device: str = "auto",
    store: Store = None,
) -> xr.DataArray:
    """Features of images from their captions, or of sentences.

    Parameters
    ----------
    captions : DataFrame [image, caption] or sequence of str
        One row a caption, one or more an image; or sentences, each an item of its own.
    model : str or path
        A sentence-transformers model: the name of an asset ("all-mpnet-base-v2", the study's, or the light
        "all-minilm-l6-v2"), a folder, or a name on the Hugging Face hub. Weights are read from safetensors only, and no
        remote code is run. Followed by "@static", its input embeddings as static word vectors.
    kind : str
        One of `KINDS`, explained above.
    images : sequence, optional
        Names of the images wanted, in that order. Default: all, in the order in which `captions` names them. All
        captions are embedded nonetheless, so that whatever part is wanted next is in the store.
    categories : DataFrame of shape (image, category), bool, optional
        What is in each image, for the kinds "category" and "multihot"; indexed by the names of the images.
    seed : int
        Of the shuffled word order.
    device, store
        As in `features.language.LanguageModel`.

    Returns
    -------
    DataArray of shape (item, feature)
        float32; ``item`` has the names of the images, or 0, 1, ... for sentences. Embeddings are as the model gives
        them (of length 1 for the two assets); their means are not normalised again.

    Raises
    ------
    ValueError
        For captions that are missing or empty (the row is named), images without captions or categories, a model that
        cannot be had, texts that are longer than it takes.
    """
    one_of("kind", kind, KINDS)
    groups = _group(captions)
    labels = pd.Index(list(groups) if images is None else images)
    bare = [name for name in labels if name not in groups]
    if bare or labels.empty or labels.has_duplicates:
        raise ValueError(f"images: expected images of the captions, each once; {len(bare)} have none: {listed(bare)}.")
    if kind == "length":
        lengths = [[np.mean([len(text.split()) for text in groups[name]])] for name in labels]
        return _array(lengths, labels, {"feature": ["n_words"]}, kind=kind)
    if kind in ("category", "multihot"):
        if not isinstance(categories, pd.DataFrame) or set(categories.dtypes) != {np.dtype(bool)}:
            raise ValueError("categories: expected a DataFrame of shape (image, category) with bool columns; pass one.")
        bare = list(labels.difference(categories.index))
        if bare or categories.index.has_duplicates:
            raise ValueError(f"categories: expected one row for each image; {len(bare)} have none: {listed(bare)}.")
        categories = categories.loc[labels]
        if kind == "multihot":
            return _array(categories, labels, {"feature": list(categories.columns)}, kind=kind)
    encoder = TextEncoder(model, device=device, store=store)
    if encoder.static:  # they know no sentences
        one_of("kind of static word vectors", kind, KINDS[2:])
    also: set[str] = set()  # texts that are embedded besides
    if kind == "sentence":
        bags = groups
    elif kind == "shuffled":
        bags = {name: [_shuffle(text, seed) for text in group] for name, group in groups.items()}
    elif kind == "category":
        names = categories.columns.astype(str)  # type: ignore[union-attr]
        named = [" ".join(names[row]) for row in categories.to_numpy()]  # type: ignore[union-attr]
        named = [text.split() if encoder.static else [text] if text else [] for text in named]
        bags, also = dict(zip(labels, named, strict=True)), {SOMETHING}
    else:
        words = _words(groups, encoder.store)
        bags = {name: [word for word, tag in some if kind in ("words", tag)] for name, some in words.items()}
        # the words of all kinds together, so that one entry of the store serves them all
        also = {word for some in words.values() for word, _ in some} | {SOMETHING, *EMPTY.values()}
    wanted = [bags[name] or [EMPTY.get(kind, SOMETHING)] for name in labels]
    hollow = sum(not bags[name] for name in labels)
    values = _mean(wanted, also.union(*bags.values()), encoder)
    return _array(values, labels, model=str(model), kind=kind, empty=hollow)


def control_features(
    captions: pd.DataFrame,
    model: str | os.PathLike[str] = "all-mpnet-base-v2",
    *,
    light: str | os.PathLike[str] = "all-minilm-l6-v2",
    categories: pd.DataFrame | None = None,
    images: Sequence[Hashable] | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Iterator[tuple[str, xr.DataArray]]:
    """Whole captions and their controls, which keep one part of a caption and drop the rest.

    Yields names ("whole captions" comes first) and what `embed` gives, one after the other. `light` is a lighter
    sentence model to hold beside `model`; without `categories` the two controls of labels are left out. After Doerig et
    al. (2025), Nat. Mach. Intell. 7; static words are the model's own, in place of GloVe and fastText.
    """
    controls: dict[str, dict[str, Any]] = {
        "whole captions": {},
        "shuffled captions": {"kind": "shuffled", "seed": seed},
        "light model": {"model": light},
        "all words": {"kind": "words"},
        **{name: {"kind": name} for name in TAGS},
        "static words": {"kind": "words", "model": f"{model}@static"},
    }
    if categories is not None:
        controls |= {"category words": {"kind": "category"}, "categories, 0 or 1": {"kind": "multihot"}}
    controls["caption length"] = {"kind": "length"}
    for name, options in controls.items():
        options = {"model": model} | options
        yield name, embed(captions, categories=categories, images=images, device=device, **options)


class TextEncoder:
    """`embed` for many calls: from a list of texts to their embeddings, an array of shape (text, feature).

    The model is loaded once, when the first text comes that is not in the store; parameters are as in `embed`.
    """

    def __init__(
        self, model: str | os.PathLike[str] = "all-mpnet-base-v2", *, device: str = "auto", store: Store = None
    ) -> None:
        name = os.fspath(model)
        self.name, self.static = name.removesuffix(STATIC), name.endswith(STATIC)
        self.folder, self.device, self.store = _model_folder(self.name), str(torch_device(device)), open_store(store)
        self.model: Any = None

    def __call__(self, texts: list[str]) -> np.ndarray:
        ordered = _ordered(set(texts))
        place = {text: row for row, text in enumerate(ordered)}
        return np.concatenate(list(self.pieces(ordered)))[[place[text] for text in texts]]

    def pieces(self, texts: list[str]) -> Iterator[np.ndarray]:
        """Yield vectors (text, feature) of texts, each once and sorted by length, in pieces."""
        if self.static:  # no attention, no positions
            model = self.load()
            table = model[0].auto_model.get_input_embeddings().weight.detach().float().cpu().numpy()
            tokens = model.tokenizer(texts, add_special_tokens=False)["input_ids"]
            yield np.array([table[numbers].mean(0) for numbers in tokens])
            return
        key = {"kind": "sentence embedding", "model": fingerprint(self.folder)}
        yield from _through(self.store, key, self.name, texts, SHARD_TEXTS, self._compute)

    def tokens(self, texts: list[str]) -> list[np.ndarray]:
        """Embeddings of each text's tokens in their context (token, feature), less those that are no part of a word."""
        model = self.load()
        special, found = set(model.tokenizer.all_special_ids), []
        for told in model.encode(texts, batch_size=BATCH, output_value=None, show_progress_bar=False):
            ids = told["input_ids"].tolist()
            words = zip(ids, model.tokenizer.convert_ids_to_tokens(ids), strict=True)
            kept = [number not in special and any(map(str.isalnum, word)) for number, word in words]
            found.append(told["token_embeddings"].float().cpu().numpy()[kept])
        return found

    def load(self) -> Any:
        """The model, which then stays in memory."""
        from sentence_transformers import SentenceTransformer  # takes seconds to import

        if self.model is None:
            with lesions.no_progress_bar():
                self.model = SentenceTransformer(str(self.folder), device=self.device, **LOCAL)
        return self.model

    def forget(self) -> None:
        """Free the model's memory."""
        if self.model is not None:
            self.model = None
            gc.collect()  # its parts refer to each other, and would stay in memory beside whatever comes next

    def _compute(self, texts: list[str]) -> np.ndarray:
        model = self.load()
        limit = model.max_seq_length
        for text in texts:
            # no token is shorter than a character, so most texts need not be tokenised to know
            if len(text) > limit - 2 and len(model.tokenizer(text)["input_ids"]) > limit:
                raise ValueError(f"captions: expected at most {limit} tokens, got more in {text[:60]!r}...; split it.")
        return model.encode(texts, batch_size=BATCH, show_progress_bar=False).astype("float32")


def fingerprint(folder: Path) -> str:
    """A hash of a model's folder: weights, configuration and vocabulary."""
    kinds = (".safetensors", ".json", ".txt", ".model")
    return digest_files(path for path in folder.rglob("[!.]*") if path.is_file() and path.suffix in kinds)


def _group(captions: Sequence[str] | pd.DataFrame) -> dict[Hashable, list[str]]:
    """The captions of each image."""
    if isinstance(captions, str):
        raise ValueError("captions: expected a list of sentences or a DataFrame, got one string; put it in a list.")
    if not isinstance(captions, pd.DataFrame):
        captions = pd.DataFrame({"image": range(len(captions)), "caption": pd.Series(list(captions), dtype=object)})
    if len(captions) == 0 or not {"image", "caption"} <= set(captions):
        raise ValueError(f"captions: expected rows of image and caption, got {len(captions)} of {listed(captions)}.")
    groups: dict[Hashable, list[str]] = {}
    for row, name, text in zip(captions.index, captions["image"].tolist(), captions["caption"].tolist(), strict=True):
        if not isinstance(text, str) or not text.strip() or pd.isna(name):
            raise ValueError(f"captions: expected texts of images, got {text!r} of {name!r} in row {row}; drop it.")
        groups.setdefault(name, []).append(text)
    return groups


def _array(values: Any, labels: pd.Index, coords: dict[str, Any] | None = None, **attrs: Any) -> xr.DataArray:
    coords = {"item": labels.to_numpy(), **(coords or {})}
    return xr.DataArray(np.asarray(values, dtype="float32"), coords, ("item", "feature"), attrs=attrs)


def _ordered(texts: set[str]) -> list[str]:
    """By length, so that texts that are run together need little padding."""
    return sorted(texts, key=lambda text: (len(text), text))


def _shuffle(text: str, seed: int) -> str:
    """The words of a caption in a random order that depends on nothing but the text and the seed."""
    body = text.rstrip(" .!?")
    words = body.split()
    if len(set(words)) < 2:
        return text
    rng = np.random.default_rng([seed, zlib.crc32(text.encode())])
    order = words
    while order == words:
        order = [words[place] for place in rng.permutation(len(words))]
    return " ".join(order) + text[len(body) :].strip()


def _mean(bags: list[list[str]], texts: set[str], encoder: TextEncoder) -> np.ndarray:
    """Mean embedding of each bag (item, feature) of some of the texts, which pass by one after the other."""
    ordered = _ordered(texts)
    place = {text: number for number, text in enumerate(ordered)}
    shares = np.concatenate([np.full(len(bag), 1 / len(bag)) for bag in bags])
    columns, ends = [place[text] for bag in bags for text in bag], np.cumsum([0, *map(len, bags)])
    weights = sparse.csr_matrix((shares, columns, ends), shape=(len(bags), len(ordered))).tocsc()
    start, total = 0, np.zeros(())
    try:
        for vectors in encoder.pieces(ordered):
            vectors = finite(f"model: embeddings of {encoder.name}", vectors)
            total = total + weights[:, start : start + len(vectors)] @ vectors
            start += len(vectors)
    finally:
        encoder.forget()
    return total


def _model_folder(name: str) -> Path:
    patterns = ["*.safetensors", "*.json", "*.txt", "sentencepiece*.model", "spiece.model"]
    folder = model_folder(name, patterns, ["onnx/*", "openvino/*"])
    if not (folder / "modules.json").is_file():
        raise ValueError(f"model: {folder} has no modules.json, so it is no sentence-transformers model.")
    kinds = [module["type"] for module in json.loads((folder / "modules.json").read_text(encoding="utf-8"))]
    foreign = [kind for kind in kinds if not kind.startswith("sentence_transformers.")]
    pickled = [path for path in folder.rglob("*.bin") if not path.with_name("model.safetensors").exists()]
    if foreign or pickled:
        raise ValueError(
            f"model: {folder} asks for code of its own or a pickle, which could run code ({(foreign + pickled)[0]}); "
            "take one with weights as safetensors."
        )
    return folder


def _words(groups: dict[Hashable, list[str]], store: FeatureStore | None) -> dict[Hashable, list[tuple[str, str]]]:
    """The words in the captions of each image, as often as they occur, and the kind of each besides "words"."""
    texts, folder = sorted(set().union(*groups.values())), assets.fetch("spacy-english")
    kinds = ["", *TAGS]
    number_of = {tag: kinds.index(kind) for kind, tags in TAGS.items() for tag in tags}

    def compute(some: list[str]) -> np.ndarray:
        rows = [
            (number, token.idx, token.idx + len(token), number_of.get(token.tag_, 0))
            for number, parsed in enumerate(load().pipe(some, batch_size=256))
            for token in parsed
            if not (token.is_punct or token.is_space)
        ]
        return np.array(rows, dtype="int32").reshape(-1, 4)

    @functools.cache
    def load() -> Any:
        import spacy  # takes seconds to import, and only the kinds of words need it

        return spacy.load(folder, exclude=["parser", "ner", "lemmatizer", "senter"])

    found: dict[str, list[tuple[str, str]]] = {text: [] for text in texts}
    key = {"kind": "parts of speech", "model": fingerprint(folder)}
    shards = _through(store, key, "spacy-english", texts, SHARD_TAGGED, compute)
    for first, shard in zip(range(0, len(texts), SHARD_TAGGED), shards, strict=True):
        for number, start, stop, kind in shard.tolist():
            text = texts[first + number]
            found[text].append((text[start:stop], kinds[kind]))
    return {name: [word for text in group for word in found[text]] for name, group in groups.items()}


def _through(
    store: FeatureStore | None, key: dict, name: str, texts: list[str], size: int, compute: Callable
) -> Iterator[np.ndarray]:
    """Yield what `compute` makes of each `size` texts, from the store where it is there, else kept in it."""
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    entry = store.entry({**key, "format": FORMAT, "texts": digest, "shard": size}, name=name) if store else None

    def part(start: int, names: list[str]) -> dict[str, np.ndarray]:
        return {name: compute(texts[start : start + size])[None] for name in names}

    for shard, start in enumerate(range(0, len(texts), size)):
        yield kept({name: entry}, shard, [0], functools.partial(part, start))[name][0]
