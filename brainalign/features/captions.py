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
category
    The names of an image's categories, joined by spaces and embedded once.
multihot
    The categories themselves, 0 or 1; needs no model.
length
    Number of words of a caption, a control of its own; needs no model.

An image without a noun or category gets the embedding of "something", one without a verb that of "is", as in the study;
other parts of speech "something" too. How many images that concerns is in ``attrs["empty"]``.

Static word vectors, which know no context, stand where the study has fastText and GloVe: ``model="NAME@static"`` takes
the input embeddings of a model (the mean over the tokens of a word), and a text file of vectors, such as
``glove.840B.300d.txt`` or ``crawl-300d-2M.vec``, is read for the words that are needed. Words that a file lacks are
left out, as in the study, and counted in ``attrs["unknown"]``. Static vectors have no sentences: they serve the kinds
of words, and at the kind "category" their mean is taken.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from huggingface_hub import snapshot_download
from scipy import sparse
from tqdm import tqdm

from brainalign import assets
from brainalign._checks import torch_device
from brainalign.features import lesions
from brainalign.features.store import FeatureStore, digest_files

__all__ = ["control_features", "embed", "text_encoder"]

TAGS = {
    "nouns": ("NN", "NNS"),
    "verbs": ("VB", "VBD", "VBG", "VBN", "VBP", "VBZ"),
    "adjectives": ("JJ", "JJR", "JJS"),
    "adverbs": ("RB", "RBR", "RBS"),
    "prepositions": ("IN",),
}
WORD_KINDS = ("words", *TAGS)
KINDS = ("sentence", "shuffled", *WORD_KINDS, "category", "multihot", "length")
SOMETHING = "something"
EMPTY = {"verbs": "is"}
"""What stands for an image that has nothing at a kind; "something" unless named here."""

STATIC = "@static"
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
    batch_size: int = 64,
    store: FeatureStore | str | os.PathLike[str] | bool | None = None,
    progress: bool = False,
) -> xr.DataArray:
    """Features of images from their captions, or of sentences.

    Parameters
    ----------
    captions : DataFrame [image, caption] or sequence of str
        One row a caption, one or more an image; or sentences, each an item of its own.
    model : str or path
        A sentence-transformers model: the name of an asset ("all-mpnet-base-v2", the study's, or the light
        "all-minilm-l6-v2"), a folder, or a name on the Hugging Face hub. Weights are read from safetensors only, and no
        remote code is run. Followed by "@static", its input embeddings as static word vectors; or a text file of word
        vectors (see above).
    kind : str
        One of `KINDS`, explained above.
    images : sequence, optional
        Names of the images wanted, in that order. Default: all, in the order in which `captions` names them. All
        captions are embedded nonetheless, so that whatever part is wanted next is in the store.
    categories : DataFrame of shape (image, category), bool, optional
        What is in each image, for the kinds "category" and "multihot"; indexed by the names of the images.
    seed : int
        Of the shuffled word order.
    device : str
        "cpu", "cuda", ...; "auto" takes CUDA where there is one.
    batch_size : int
        Texts that are run at once; they are sorted by length.
    store : FeatureStore, path, False or None
        Where embeddings are kept and looked up; None is the default store, False keeps nothing.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataArray of shape (item, feature)
        float32; ``item`` has the names of the images, or 0, 1, ... for sentences. Embeddings are as the model gives
        them (of length 1 for the two assets); their means are not normalised again.

    Raises
    ------
    ValueError
        For captions that are missing or empty (the row is named), images without captions or categories, a kind or
        model that is unknown, static vectors of sentences, texts longer than the model takes, non-finite embeddings.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    groups = _group(captions)
    labels = _check_images(images, groups, captions)
    if kind == "length":
        lengths = [[np.mean([len(text.split()) for text in groups[name]])] for name in labels]
        return _array(np.array(lengths), labels, ["n_words"], kind=kind)
    if kind in ("category", "multihot"):
        categories = _check_categories(categories, labels)
        if kind == "multihot":
            return _array(categories.to_numpy(), labels, categories.columns, kind=kind)
    keep = _open_store(store)
    encoder = open_encoder(model, device, batch_size, keep, progress)
    if encoder.static and kind in ("sentence", "shuffled"):
        raise ValueError(f"kind: static word vectors know no sentences, so not {kind!r}; take 'words' or another kind")
    bags: dict[Hashable, list[str]]
    if kind == "sentence":
        bags = groups
    elif kind == "shuffled":
        bags = {name: [_shuffle(text, seed) for text in group] for name, group in groups.items()}
    elif kind == "category":
        rows = zip(labels, categories.to_numpy(), strict=True)  # type: ignore[union-attr]
        named = {name: " ".join(map(str, categories.columns[row])) for name, row in rows}  # type: ignore[union-attr]
        bags = {name: (text.split() if encoder.static else [text]) if text else [] for name, text in named.items()}
    else:
        words = _words(groups, keep, progress)
        bags = {name: [word for word, tag in some if kind in ("words", tag)] for name, some in words.items()}
    if kind in WORD_KINDS:  # the words of all kinds together, so that one entry of the store serves them all
        texts = {word for some in words.values() for word, _ in some} | {SOMETHING, *EMPTY.values()}
    else:
        texts = set().union(*bags.values(), [SOMETHING] if kind == "category" else [])
    values, counts = _mean([bags[name] for name in labels], texts, encoder, EMPTY.get(kind, SOMETHING))
    return _array(values, labels, None, model=str(model), kind=kind, **counts)


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

    Parameters
    ----------
    captions : DataFrame [image, caption]
    model, light : str or path
        The sentence model, and a lighter one to hold beside it.
    categories : DataFrame of shape (image, category), bool, optional
        Without it the two controls of labels are left out.
    images, seed, device
        As in `embed`.

    Yields
    ------
    str
        The control's name; "whole captions" comes first.
    DataArray of shape (item, feature)
        As from `embed`, one control at a time.

    References
    ----------
    After Doerig et al. (2025), Nat. Mach. Intell. 7; static words are the model's own, in place of GloVe and fastText.
    """
    controls: dict[str, dict[str, Any]] = {
        "whole captions": {},
        "shuffled captions": {"kind": "shuffled", "seed": seed},
        "light model": {"model": light},
        "all words": {"kind": "words"},
        **{name: {"kind": name} for name in ("nouns", "verbs", "adjectives", "adverbs", "prepositions")},
        "static words": {"kind": "words", "model": f"{model}@static"},
    }
    if categories is not None:
        controls |= {"category words": {"kind": "category"}, "categories, 0 or 1": {"kind": "multihot"}}
    controls["caption length"] = {"kind": "length"}
    for name, options in controls.items():
        options = {"model": model} | options
        yield name, embed(captions, categories=categories, images=images, device=device, **options)


def text_encoder(
    model: str | os.PathLike[str] = "all-mpnet-base-v2",
    *,
    device: str = "auto",
    batch_size: int = 64,
    store: FeatureStore | str | os.PathLike[str] | bool | None = None,
) -> Callable[[list[str]], np.ndarray]:
    """`embed` for many calls: the model is loaded once, when the first text comes that is not in the store.

    Parameters
    ----------
    model, device, batch_size, store
        As in `embed`.

    Returns
    -------
    callable
        From a list of texts to their embeddings, an array of shape (text, feature).
    """
    encoder = open_encoder(model, device, batch_size, _open_store(store), False)
    encoder.stays = True

    def encode(texts: list[str]) -> np.ndarray:
        ordered = sorted(set(texts), key=lambda text: (len(text), text))
        place = {text: row for row, text in enumerate(ordered)}
        return np.concatenate(list(encoder.encode(ordered)))[[place[text] for text in texts]]

    return encode


def read_vectors(path: str | os.PathLike[str], words: Iterable[str]) -> dict[str, np.ndarray]:
    """Vectors of some words from a text file, of which nothing else is kept in memory.

    Parameters
    ----------
    path : path
        One line a word, its numbers after it, separated by spaces (GloVe); or the same after a line with the number of
        words and of dimensions (fastText, word2vec). UTF-8.
    words : iterable of str
        Where the file has no word as it is written here, the one in lower case is taken.

    Returns
    -------
    dict of str to array of shape (feature,)
        float32; words that the file lacks are not in it.

    Raises
    ------
    ValueError
        If the file cannot be read, or the line of a wanted word does not hold as many finite numbers as the first.
    """
    path = Path(path)
    wanted = set(words)
    wanted |= {word.lower() for word in wanted}
    found: dict[str, np.ndarray] = {}
    size = 0
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                fields = line.split(" ", 1)
                if number == 1 and len(line.split()) == 2:  # the header: words and dimensions
                    continue
                size = size or len(line.split()) - 1
                if fields[0] not in wanted or fields[0] in found:
                    continue
                word, *numbers = line.rstrip().rsplit(" ", size)  # a few "words" of GloVe have spaces in them
                if word != fields[0] and len(numbers) == size:
                    continue
                vector = np.array(numbers, dtype="float32")
                if len(vector) != size or not np.isfinite(vector).all():
                    raise ValueError(f"line {number} ({fields[0]!r}) does not hold {size} finite numbers")
                found[word] = vector
    except (OSError, ValueError) as error:
        raise ValueError(f"model: {path} cannot be read as a text file of word vectors: {error}") from error
    if not size:
        raise ValueError(f"model: {path} holds no word vectors")
    found.update({word: found[word.lower()] for word in wanted - found.keys() if word.lower() in found})
    return found


def _group(captions: Sequence[str] | pd.DataFrame) -> dict[Hashable, list[str]]:
    """The captions of each image."""
    if isinstance(captions, pd.DataFrame):
        missing = [column for column in ("image", "caption") if column not in captions]
        if missing:
            raise ValueError(f"captions: missing the column(s) {missing}; it has {list(captions.columns)}")
        names, texts, rows = captions["image"].tolist(), captions["caption"].tolist(), captions.index
    else:
        if isinstance(captions, str):
            raise ValueError("captions: expected a list of sentences or a DataFrame, got one string; put it in a list")
        texts = list(captions)
        names = rows = range(len(texts))
    if not texts:
        raise ValueError("captions: expected at least one caption, got none")
    groups: dict[Hashable, list[str]] = {}
    for row, name, text in zip(rows, names, texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"captions: row {row} (image {name!r}) has no text but {text!r}; drop or fix it")
        if pd.isna(name):
            raise ValueError(f"captions: row {row} ({text!r}) names no image")
        groups.setdefault(name, []).append(text)
    return groups


def _check_images(
    images: Sequence[Hashable] | None, groups: dict[Hashable, list[str]], captions: Sequence[str] | pd.DataFrame
) -> pd.Index:
    if images is None:
        return pd.Index(list(groups))
    if not isinstance(captions, pd.DataFrame):
        raise ValueError("images: only a DataFrame of captions names images; select the sentences instead")
    labels = pd.Index(images)
    if labels.has_duplicates or not len(labels):
        raise ValueError("images: expected at least one image, each once")
    bare = [name for name in labels if name not in groups]
    if bare:
        raise ValueError(f"images: {len(bare)} have no caption, first {bare[:5]}; caption them or leave them out")
    return labels


def _check_categories(categories: pd.DataFrame | None, labels: pd.Index) -> pd.DataFrame:
    if not isinstance(categories, pd.DataFrame) or set(categories.dtypes) != {np.dtype(bool)}:
        raise ValueError("categories: this kind needs a DataFrame of shape (image, category) with bool columns")
    bare = labels.difference(categories.index)
    if len(bare) or categories.index.has_duplicates:
        raise ValueError(
            f"categories: expected one row for each image; {len(bare)} have none, first {list(bare[:5])}"
            + ("; some have several" if categories.index.has_duplicates else "")
        )
    return categories.loc[labels]


def _array(values: np.ndarray, labels: pd.Index, features: Any, **attrs: Any) -> xr.DataArray:
    coords = {"item": labels.to_numpy()} | ({} if features is None else {"feature": np.asarray(features)})
    return xr.DataArray(values.astype("float32"), dims=("item", "feature"), coords=coords, attrs=attrs)


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


def _mean(bags: list[list[str]], texts: set[str], encoder: _Encoder, empty: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Mean embedding of each bag (item, feature) of some of the texts, and what was left out or stood in."""
    known = encoder.known(texts)
    kept = [[text for text in bag if text in known] for bag in bags]
    hollow = sum(not bag for bag in kept)
    if hollow and empty not in known:
        raise ValueError(
            f"model: {encoder.name} has no vector of {empty!r}, which stands for {hollow} images without word"
        )
    filled = [bag or [empty] for bag in kept]
    # by length, so that texts that are run together need little padding
    ordered = sorted(known, key=lambda text: (len(text), text))
    place = {text: number for number, text in enumerate(ordered)}
    weights = sparse.csr_matrix(
        (
            np.concatenate([np.full(len(bag), 1 / len(bag)) for bag in filled]),
            [place[text] for bag in filled for text in bag],
            np.cumsum([0, *map(len, filled)]),
        ),
        shape=(len(filled), len(ordered)),
    ).tocsc()
    start = 0
    total: Any = 0.0
    for vectors in encoder.encode(ordered):
        if not np.isfinite(vectors).all():
            raise ValueError(f"model: {encoder.name} gives embeddings that are not finite; are its weights sound?")
        total = total + weights[:, start : start + len(vectors)] @ vectors.astype(float)
        start += len(vectors)
    unknown = sum(map(len, bags)) - sum(map(len, kept))
    return total, {"empty": hollow, "empty_word": empty, "unknown": unknown}


class _Encoder(ABC):
    """Turns texts, each once and sorted by length, into vectors."""

    name: str
    static = False
    stays = False  # in memory, once it was needed

    def known(self, texts: set[str]) -> set[str]:
        """Those of the texts that have a vector."""
        return texts

    @abstractmethod
    def encode(self, texts: list[str]) -> Iterator[np.ndarray]:
        """Yield vectors (text, feature) of the texts, in order, in pieces."""


@dataclass
class _SentenceModel(_Encoder):
    name: str
    folder: Path
    device: str
    batch_size: int
    store: FeatureStore | None
    progress: bool
    loaded: Any = None

    def encode(self, texts: list[str]) -> Iterator[np.ndarray]:
        key = {
            "format": FORMAT,
            "kind": "sentence embedding",
            "model": fingerprint(self.folder),
            "texts": _digest(texts),
        }
        model = self.loaded

        def compute(some: list[str]) -> np.ndarray:
            nonlocal model
            model = model or self.load()  # not before something is to be computed
            for text in some:
                limit = model.max_seq_length
                # no token is shorter than a character, so most texts need not be tokenised to know
                if len(text) > limit - 2 and len(model.tokenizer(text)["input_ids"]) > limit:
                    raise ValueError(
                        f"captions: {text[:60]!r}... is longer than the {limit} tokens that {self.name} takes; split it"
                    )
            return model.encode(some, batch_size=self.batch_size, show_progress_bar=False).astype("float32")

        try:
            yield from _through(self.store, key, self.name, texts, SHARD_TEXTS, compute, self.progress)
        finally:
            if self.stays:
                self.loaded = model
            elif model is not None:
                model = None
                gc.collect()  # its parts refer to each other, and would stay in memory beside whatever comes next

    def load(self) -> Any:
        from sentence_transformers import SentenceTransformer  # takes seconds to import

        with lesions.no_progress_bar():
            return SentenceTransformer(
                str(self.folder),
                device=self.device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )


class _StaticModel(_Encoder):
    """The input embeddings of a model: no attention, no positions."""

    static = True

    def __init__(self, model: _SentenceModel) -> None:
        self.name, self.model = model.name + STATIC, model

    def encode(self, texts: list[str]) -> Iterator[np.ndarray]:
        model = self.model.load()
        table = model[0].auto_model.get_input_embeddings().weight.detach().float().cpu().numpy()
        tokens = model.tokenizer(texts, add_special_tokens=False)["input_ids"]
        yield np.array([table[numbers].mean(0) for numbers in tokens])


class _VectorFile(_Encoder):
    static = True

    def __init__(self, path: Path) -> None:
        self.name, self.path = path.name, path

    def known(self, texts: set[str]) -> set[str]:
        self.vectors = read_vectors(self.path, texts)
        return set(self.vectors)

    def encode(self, texts: list[str]) -> Iterator[np.ndarray]:
        yield np.array([self.vectors[text] for text in texts])


def open_encoder(
    model: str | os.PathLike[str], device: str, batch_size: int, store: FeatureStore | None, progress: bool
) -> _Encoder:
    """A sentence model or static word vectors, as in `embed`; weights are read when the first text is encoded."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size: expected a number of texts, 1 or more, got {batch_size!r}")
    device = str(torch_device(device))
    name = os.fspath(model)
    if Path(name).is_file():
        return _VectorFile(Path(name))
    base = name.removesuffix(STATIC)
    encoder = _SentenceModel(base, _model_folder(base), device, batch_size, store, progress)
    return _StaticModel(encoder) if base != name else encoder


def _model_folder(name: str) -> Path:
    known = list(assets.table()["name"])
    if Path(name).is_dir():
        folder = Path(name).resolve()
    elif name in known:
        folder = assets.fetch(name)
    else:
        # weights as safetensors, configuration and tokenizer only: no pickles, no code
        patterns = ["*.safetensors", "*.json", "*.txt", "sentencepiece*.model", "spiece.model"]
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["onnx/*", "openvino/*"]))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"model: {name!r} is no folder, no file of word vectors, none of the assets ({', '.join(known)}), and "
                f"cannot be had from the Hugging Face hub ({type(error).__name__}: {str(error).splitlines()[0]}). "
                "Check the name, or pass a folder"
            ) from error
    if not (folder / "modules.json").is_file():
        raise ValueError(
            f"model: {folder} has no modules.json, so it is no sentence-transformers model, whose pooling is known"
        )
    foreign = [m["type"] for m in json.loads((folder / "modules.json").read_text(encoding="utf-8"))]
    foreign = [kind for kind in foreign if not kind.startswith("sentence_transformers.")]
    if foreign:
        raise ValueError(f"model: {folder} asks for code of its own ({foreign[0]}); no such code is run")
    pickled = [path for path in folder.rglob("*.bin") if not path.with_name("model.safetensors").exists()]
    if pickled:
        raise ValueError(
            f"model: {pickled[0]} is a pickle, which could run code; weights are read from safetensors only"
        )
    return folder


def fingerprint(folder: Path) -> str:
    """A hash of a model's folder: weights, configuration and vocabulary."""
    kinds = (".safetensors", ".json", ".txt", ".model")
    return digest_files(path for path in folder.rglob("[!.]*") if path.is_file() and path.suffix in kinds)


def _words(
    groups: dict[Hashable, list[str]], store: FeatureStore | None, progress: bool
) -> dict[Hashable, list[tuple[str, str]]]:
    """The words in the captions of each image, as often as they occur, and the kind of each besides "words"."""
    texts = sorted({text for group in groups.values() for text in group})
    folder = assets.fetch("spacy-english")
    key = {"format": FORMAT, "kind": "parts of speech", "model": fingerprint(folder), "texts": _digest(texts)}
    kinds = ["", *TAGS]
    number_of = {tag: number for number, kind in enumerate(kinds[1:], start=1) for tag in TAGS[kind]}
    tagger = None

    def compute(some: list[str]) -> np.ndarray:
        nonlocal tagger
        tagger = tagger or _load_tagger(folder)
        rows = [
            (number, token.idx, token.idx + len(token), number_of.get(token.tag_, 0))
            for number, parsed in enumerate(tagger.pipe(some, batch_size=256))
            for token in parsed
            if not (token.is_punct or token.is_space)
        ]
        return np.array(rows, dtype="int32").reshape(-1, 4)

    found: dict[str, list[tuple[str, str]]] = {text: [] for text in texts}
    shards = _through(store, key, "spacy-english", texts, SHARD_TAGGED, compute, progress)
    for first, shard in zip(range(0, len(texts), SHARD_TAGGED), shards, strict=True):
        for number, start, stop, kind in shard.tolist():
            text = texts[first + number]
            found[text].append((text[start:stop], kinds[kind]))
    return {name: [word for text in group for word in found[text]] for name, group in groups.items()}


def _load_tagger(folder: Path) -> Any:
    import spacy  # takes seconds to import, and only the kinds of words need it

    return spacy.load(folder, exclude=["parser", "ner", "lemmatizer", "senter"])


def _through(
    store: FeatureStore | None,
    key: dict[str, Any],
    name: str,
    texts: list[str],
    size: int,
    compute: Callable[[list[str]], np.ndarray],
    progress: bool,
) -> Iterator[np.ndarray]:
    """Yield what `compute` makes of each `size` texts, from the store where it is there, else kept in it."""
    entry = None if store is None else store.entry({**key, "shard": size}, name=name)
    for shard, start in enumerate(tqdm(range(0, len(texts), size), disable=not progress, desc=name)):
        some = texts[start : start + size]
        found = {} if entry is None else entry.read(shard, [0])
        if not found and entry is not None:
            with entry.lock():  # another process may have been at it
                found = entry.read(shard, [0])
                if not found:
                    found = {0: compute(some)}
                    entry.write(shard, [0], found[0][None])
        yield found[0] if found else compute(some)


def _digest(texts: list[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _open_store(store: FeatureStore | str | os.PathLike[str] | bool | None) -> FeatureStore | None:
    if store is False:
        return None
    return store if isinstance(store, FeatureStore) else FeatureStore(None if store in (None, True) else store)  # type: ignore[arg-type]
