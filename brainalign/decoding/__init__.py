"""From responses back to sentences.

`CaptionDecoder` turns responses into sentence embeddings, `CaptionIndex` finds the sentences whose embeddings are
closest, `identification` measures how well that works and what chance gives, `writing` makes up sentences that no
dictionary holds, and `matching` compares them with people's, token by token.
"""

from brainalign.decoding.dictionary import CaptionIndex, Matches
from brainalign.decoding.identification import (
    caption_ceiling,
    caption_ranks,
    chance_by_distances,
    correlations,
    identify_by_distances,
    identify_by_embeddings,
    image_ranks,
)
from brainalign.decoding.subjects import chance_for_subjects, decode_subjects
from brainalign.ridge.decoder import CaptionDecoder

__all__ = [
    "CaptionDecoder",
    "CaptionIndex",
    "Matches",
    "caption_ceiling",
    "caption_ranks",
    "chance_by_distances",
    "chance_for_subjects",
    "correlations",
    "decode_subjects",
    "identify_by_distances",
    "identify_by_embeddings",
    "image_ranks",
]
