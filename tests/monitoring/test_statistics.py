"""Statistics agree with scipy, and know when they cannot say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from scipy.spatial.distance import jensenshannon

from mlops_magics.monitoring import statistics
from mlops_magics.monitoring.comparison import compare
from mlops_magics.profiles import Profile

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


SAMPLES = [
    (RANDOM.normal(size=500), RANDOM.normal(0.2, 1, 300)),
    (RANDOM.lognormal(size=2000).round(1), RANDOM.lognormal(0.1, 1, 900).round(1)),
    (RANDOM.integers(0, 5, 400), RANDOM.integers(1, 9, 80)),
    (np.array([3.0]), np.array([3.0, 4.0])),
]


@pytest.mark.parametrize(("reference", "current"), SAMPLES)
def test_samples_themselves_are_compared_as_scipy_does(reference, current):
    found = statistics.of_samples(reference, current)
    expected = scipy.stats.ks_2samp(reference, current, method="asymp")
    distance = scipy.stats.wasserstein_distance(reference, current)
    assert found.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.wasserstein == pytest.approx(distance, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_bins_say_what_the_values_do_within_the_stated_bound(seed):
    random = np.random.default_rng(seed)
    train, window = random.gamma(2, 3, 4000), random.gamma(2.2, 3, 1500)
    profile = Profile.of(pd.DataFrame({"x": train}))
    column = profile.columns["x"]
    (binned,) = compare(profile, Profile.of(pd.DataFrame({"x": window}), profile))
    exact = statistics.of_samples(train, window)
    counts = [Profile.of(pd.DataFrame({"x": s}), profile).columns["x"] for s in (train, window)]
    fullest = max(side.bins.max() / side.count for side in counts)
    assert exact.statistic - fullest <= binned.statistic <= exact.statistic + 1e-12
    # each value moves by half of its bin at the most; the outer bins reach to the extremes
    bounds = [min(train.min(), window.min()), *column.edges, max(train.max(), window.max())]
    half = np.diff(bounds) / 2
    bound = sum(float(half @ (side.bins / side.count)) for side in counts)
    assert abs(binned.wasserstein - exact.wasserstein) <= bound


def test_samples_without_a_finite_value_say_nothing():
    assert statistics.of_samples([np.nan, np.inf], [1.0]) is None
    assert statistics.of_samples([1.0], []) is None


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
