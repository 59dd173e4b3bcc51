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

from brainalign._checks import alike, shaped, whole

TokenEncoder = Callable[[list[str]], Sequence[ArrayLike]]


def token_match(
    candidates: Sequence[str], references: Sequence[Sequence[str]], encode_tokens: TokenEncoder
) -> pd.DataFrame:
    """Match each candidate with the most alike of its references, which people wrote; one row a candidate.

    ``precision`` is the mean over the candidate's tokens of the cosine with the most similar token of the reference,
    ``recall`` the mean over the reference's tokens likewise, and ``f1`` their harmonic mean, all of the reference where
    it is highest. `encode_tokens` makes sentences into arrays of shape (token, dimension), as
    `features.captions.TextEncoder.tokens` does.
    """
    alike(candidates=candidates, references=references)
    for row, some in enumerate(references):
        whole(f"references of candidate {row}", 0 if isinstance(some, str) else len(some))
    texts = sorted({*candidates, *(text for some in references for text in some)})
    vectors = {}
    for text, tokens in zip(texts, encode_tokens(texts), strict=True):
        tokens = shaped(f"tokens of {text!r}", np.asarray(tokens, dtype=float), "token", "dimension")
        vectors[text] = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)

    def match(candidate: str, reference: str) -> tuple[float, float, float]:
        cosines = vectors[candidate] @ vectors[reference].T
        precision, recall = float(cosines.max(1).mean()), float(cosines.max(0).mean())
        total = precision + recall
        return precision, recall, 2 * precision * recall / total if total > 0 else 0.0

    pairs = zip(candidates, references, strict=True)
    best = [max((match(candidate, text) for text in some), key=lambda row: row[2]) for candidate, some in pairs]
    return pd.DataFrame(best, columns=["precision", "recall", "f1"])
