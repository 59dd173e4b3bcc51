"""Peak layers and their alignment with distance."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binomtest, spearmanr

from brainalign.hierarchy import alignment, peak_layer


def test_peak_layer_reads_the_coordinate():
    score = xr.DataArray([[0.1, 0.5], [0.3, 0.2], [0.3, 0.1]], dims=("layer", "channel"), coords={"layer": [4, 8, 12]})
    np.testing.assert_array_equal(peak_layer(score), [8, 4])
    with pytest.raises(ValueError, match="non-finite"):
        peak_layer(score.where(score > 0.2))
    with pytest.raises(ValueError, match="'layer' dimension"):
        peak_layer(score.rename(layer="depth"))


def people(n_people: int, n_each: int, slope: float, rng, shared: float = 1.0):
    """Peaks with an offset of their own in each person, on top of a common slope."""
    distance = rng.uniform(0, 100, (n_people, n_each)) + shared * 30 * rng.standard_normal((n_people, 1))
    peak = (
        slope * distance
        + 10 * shared * rng.standard_normal((n_people, 1))
        + 5 * rng.standard_normal((n_people, n_each))
    )
    return peak.ravel(), distance.ravel(), np.repeat(np.arange(n_people), n_each)


def test_alignment_recovers_a_planted_order():
    peak, distance, clusters = people(8, 20, 0.25, np.random.default_rng(0), shared=0)
    found = alignment(peak, distance, clusters=clusters)
    assert found.r == pytest.approx(spearmanr(peak, distance).statistic)
    assert found.low > 0.6 and found.high > found.r > found.low and (found.n_channels, found.n_clusters) == (160, 8)


def test_interval_over_people_is_honest_where_one_over_electrodes_is_not():
    rng = np.random.default_rng(1)
    misses = {"people": 0, "electrodes": 0}
    for _ in range(400):
        peak, distance, clusters = people(10, 15, 0.0, rng)
        for name, labels in (("people", clusters), ("electrodes", None)):
            found = alignment(peak, distance, clusters=labels)
            misses[name] += not found.low <= 0 <= found.high
    assert binomtest(misses["people"], 400, 0.05).pvalue > 0.001
    assert misses["electrodes"] > 120


def test_errors():
    with pytest.raises(ValueError, match="lengths differ"):
        alignment([1, 2, 3, 4], [1, 2, 3])
    with pytest.raises(ValueError, match="non-finite"):
        alignment([1, 2, 3, np.nan], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="at least four channels of three people, got 4 of 2"):
        alignment([1, 2, 3, 4], [1, 2, 3, 4], clusters=[0, 0, 1, 1])
    with pytest.raises(ValueError, match="all the same"):
        alignment([2, 2, 2, 2], [1, 2, 3, 4])
