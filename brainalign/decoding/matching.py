"""How far two sentences say the same, token by token, each token as its sentence's context makes it.

The idea is BERTScore's (Zhang et al. 2020, "BERTScore: evaluating text generation with BERT", ICLR): every token of one
sentence is matched with the most similar token of the other, by the cosine of their contextual embeddings. The encoder
is another one than BERTScore's, and tokens are not weighted, so the numbers are not comparable with published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from brainalign.features import captions as sentence

TokenEncoder = Callable[[list[str]], Sequence[ArrayLike]]


def token_match(
    candidates: Sequence[str], references: Sequence[Sequence[str]], encode_tokens: TokenEncoder
) -> pd.DataFrame:
    """Match each candidate with the most alike of its references.

    Parameters
    ----------
    candidates : sequence of str
    references : sequence of sequences of str
        For each candidate, what people wrote.
    encode_tokens : callable
        From a list of sentences to arrays of shape (token, dimension), see `token_encoder`.

    Returns
    -------
    DataFrame [precision, recall, f1], one row a candidate
        Mean over the candidate's tokens of the cosine with the most similar token of the reference; mean over the
        reference's tokens likewise; and their harmonic mean. Of the reference with the highest f1.

    Raises
    ------
    ValueError
        Lists of different length, a candidate without references, sentences without tokens.
    """
    if len(candidates) != len(references) or not len(candidates):
        raise ValueError(
            f"candidates, references: expected one list of references for each candidate, got {len(candidates)} and "
            f"{len(references)}."
        )
    bare = [row for row, some in enumerate(references) if isinstance(some, str) or not len(some)]
    if bare:
        raise ValueError(f"references: {len(bare)} candidates have no list of sentences, first {bare[:5]}.")
    texts = sorted({*candidates, *(text for some in references for text in some)})
    vectors = {}
    for text, tokens in zip(texts, encode_tokens(texts), strict=True):
        tokens = np.asarray(tokens, dtype=float)
        if tokens.ndim != 2 or not len(tokens):
            raise ValueError(f"candidates, references: {text!r} has no tokens; leave it out.")
        vectors[text] = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    rows = []
    for candidate, some in zip(candidates, references, strict=True):
        rows.append(max((_greedy(vectors[candidate], vectors[text]) for text in some), key=lambda row: row[2]))
    return pd.DataFrame(rows, columns=["precision", "recall", "f1"])


def token_encoder(model: str = "all-minilm-l6-v2", *, device: str = "auto", batch_size: int = 64) -> TokenEncoder:
    """Contextual embeddings of the tokens of sentences, without those that are no part of a word.

    Parameters
    ----------
    model, device, batch_size
        As in `features.captions.embed`.

    Returns
    -------
    callable
        From a list of sentences to arrays of shape (token, dimension).
    """
    loaded = sentence.open_encoder(model, device, batch_size, None, False).load()  # type: ignore[attr-defined]

    def encode(texts: list[str]) -> list[np.ndarray]:
        found = loaded.encode(texts, batch_size=batch_size, output_value="token_embeddings", show_progress_bar=False)
        special, tokenizer = set(loaded.tokenizer.all_special_ids), loaded.tokenizer
        rows = []
        for text, vectors in zip(texts, found, strict=True):
            ids = tokenizer(text, truncation=True, max_length=loaded.max_seq_length)["input_ids"]
            kept = [
                place
                for place, (number, token) in enumerate(zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True))
                if number not in special and any(character.isalnum() for character in token)
            ]
            rows.append(vectors.float().cpu().numpy()[kept])
        return rows

    return encode


def _greedy(candidate: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    cosines = candidate @ reference.T
    precision, recall = float(cosines.max(1).mean()), float(cosines.max(0).mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total > 0 else 0.0
