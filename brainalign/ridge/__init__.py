"""Ridge regression: responses from layers (`encoding`) and from several spaces at once (`banded`), embeddings from
responses (`decoder`), every vertex of a cortex (`vertexwise`), one fraction for all targets (`fractional`), `folds`."""

from brainalign.ridge.banded import variance_partition
from brainalign.ridge.encoding import (
    DEFAULT_ALPHAS,
    RidgeSweepCV,
    content_null,
    cross_validate,
    rolled_sweeps,
    shift_null,
    shifted_responses,
    word_sweep,
)
from brainalign.ridge.folds import contiguous_folds
from brainalign.ridge.fractional import FractionalRidgeCV

__all__ = [
    "DEFAULT_ALPHAS",
    "FractionalRidgeCV",
    "RidgeSweepCV",
    "content_null",
    "contiguous_folds",
    "cross_validate",
    "rolled_sweeps",
    "shift_null",
    "shifted_responses",
    "variance_partition",
    "word_sweep",
]
