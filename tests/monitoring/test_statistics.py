"""Statistics agree with scipy, and know when they cannot say."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import jensenshannon

from mlops_magics.monitoring import statistics

RANDOM = np.random.default_rng(7)
PAIRS = [
    (RANDOM.integers(1, 400, size), RANDOM.integers(0, 90, size) + 1) for size in (2, 3, 10, 25)
]


@pytest.mark.parametrize(("reference", "current"), PAIRS)
def test_jensen_shannon_is_scipys(reference, current):
    expected = jensenshannon(reference, current, base=2)
    assert statistics.jensen_shannon(reference, current) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("reference", "current"), PAIRS)
def test_chi_squared_is_scipys(reference, current):
    expected = scipy.stats.chi2_contingency([reference, current], correction=False)
    found = statistics.chi_squared(reference, current)
    assert found.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)


@pytest.mark.parametrize(("reference", "current"), PAIRS)
def test_kolmogorov_smirnov_on_counts_is_scipys_on_the_samples(reference, current):
    values = np.arange(len(reference))
    expected = scipy.stats.ks_2samp(
        np.repeat(values, reference), np.repeat(values, current), method="asymp"
    )
    found = statistics.kolmogorov_smirnov(reference, current)
    assert found.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)


@pytest.mark.parametrize(("reference", "current"), PAIRS)
def test_wasserstein_on_counts_is_scipys_on_the_samples(reference, current):
    values = np.sort(RANDOM.normal(size=len(reference)))
    expected = scipy.stats.wasserstein_distance(
        np.repeat(values, reference), np.repeat(values, current)
    )
    found = statistics.wasserstein(reference, current, values)
    assert found == pytest.approx(expected, abs=1e-9)


def test_population_stability_is_the_sum_over_bins():
    p, q = np.array([0.2, 0.5, 0.3]), np.array([0.3, 0.3, 0.4])
    expected = float(np.sum((p - q) * np.log(p / q)))
    assert statistics.population_stability(p, q) == pytest.approx(expected, abs=1e-12)
    assert statistics.population_stability(q, p) == pytest.approx(expected, abs=1e-12)


def test_an_empty_bin_is_finite():
    value = statistics.population_stability([100, 0], [50, 50])
    assert value is not None
    assert 0 < value < 10


@pytest.mark.parametrize(
    "statistic",
    [
        statistics.population_stability,
        statistics.jensen_shannon,
        statistics.kolmogorov_smirnov,
        statistics.chi_squared,
        lambda p, q: statistics.wasserstein(p, q, [0, 1]),
    ],
)
def test_an_empty_side_is_unknown_not_zero(statistic):
    assert statistic([0, 0], [1, 2]) is None
    assert statistic([1, 2], [0, 0]) is None


@pytest.mark.parametrize("ordered", [True, False])
def test_pooling_keeps_all_counts_and_leaves_no_sparse_bin(ordered):
    reference, current = RANDOM.integers(0, 30, 40), RANDOM.integers(0, 6, 40)
    first, second = statistics.pool(reference, current, ordered=ordered)
    assert (first.sum(), second.sum()) == (reference.sum(), current.sum())
    share = second.sum() / (first.sum() + second.sum())
    assert ((first + second) * share >= 5).all()
