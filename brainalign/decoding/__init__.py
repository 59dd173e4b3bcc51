"""From responses back to sentences.

`CaptionDecoder` turns responses into sentence embeddings, `CaptionIndex` finds the sentences whose embeddings are
closest, and `identification` measures how well that works and what chance gives.
"""

from brainalign.decoding.decoder import CaptionDecoder
from brainalign.decoding.dictionary import CaptionIndex, Matches
from brainalign.decoding.identification import (
    caption_ceiling,
    caption_ranks,
    chance_by_distances,
    correlations,
    identify_by_distances,
    image_ranks,
)

__all__ = [
    "CaptionDecoder",
    "CaptionIndex",
    "Matches",
    "caption_ceiling",
    "caption_ranks",
    "chance_by_distances",
    "correlations",
    "identify_by_distances",
    "image_ranks",
]
