"""Ridge regression: responses from layers (`encoding`) or several spaces (`banded`), chance by rolled words
(`content`), embeddings from responses (`decoder`), every vertex (`vertexwise`), one fraction for all (`fractional`),
lags after a drive (`receptive`)."""

from brainalign.ridge.banded import variance_partition
from brainalign.ridge.content import RolledSweeps, content_null, word_sweep
from brainalign.ridge.encoding import DEFAULT_ALPHAS, RidgeSweepCV, cross_validate
from brainalign.ridge.folds import ContiguousKFold
from brainalign.ridge.fractional import FractionalRidgeCV
from brainalign.ridge.receptive import response_lag

__all__ = [
    "DEFAULT_ALPHAS",
    "ContiguousKFold",
    "FractionalRidgeCV",
    "RidgeSweepCV",
    "RolledSweeps",
    "content_null",
    "cross_validate",
    "response_lag",
    "variance_partition",
    "word_sweep",
]
