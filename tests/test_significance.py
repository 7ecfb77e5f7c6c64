"""Tests of columns: as scipy's where it has them, for many windows as for one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mlops_magics.profiles import Profile
from mlops_magics.profiles.significance import Tally, check, corrected, pool, proportion

RANDOM = np.random.default_rng(7)


def found_in(train: pd.Series, window: pd.Series):
    reference = Profile.of(train.to_frame("x"))
    column = reference.columns["x"]
    current = Profile.of(window.to_frame("x"), reference).columns["x"]
    return check(column, Tally.of(column), Tally.of(current))


@pytest.mark.parametrize("ordered", [True, False])
def test_pooling_keeps_all_counts_and_leaves_no_sparse_bin(ordered):
    before, after = RANDOM.integers(0, 30, (50, 40)), RANDOM.integers(0, 6, (50, 40))
    first, second = pool(before.astype(float), after.astype(float), ordered=ordered)
    assert (first.sum(axis=1) == before.sum(axis=1)).all()
    assert (second.sum(axis=1) == after.sum(axis=1)).all()
    share = second.sum(axis=1) / (first + second).sum(axis=1)
    filled = first + second > 0
    assert ((first + second) * share[:, None])[filled].min() >= 5
    assert filled.sum(axis=1).max() > 5


def test_categories_are_tested_as_scipy_tests_them():
    train = pd.Series(RANDOM.choice(list("abcd"), 3000, p=[0.5, 0.3, 0.15, 0.05]))
    window = pd.Series(RANDOM.choice(list("abcd"), 400, p=[0.4, 0.3, 0.2, 0.1]))
    counts = [side.value_counts().reindex(list("abcd")) for side in (train, window)]
    expected = scipy.stats.chi2_contingency(counts, correction=False)
    found = found_in(train, window)["distribution"]
    assert found.p_value.item() == pytest.approx(expected.pvalue, abs=1e-9)


def test_numbers_are_tested_by_the_better_of_two_tests_for_the_price_of_both():
    train, window = pd.Series(RANDOM.normal(size=5000)), pd.Series(RANDOM.normal(0.1, 1, 600))
    reference = Profile.of(train.to_frame("x"))
    counts = [Profile.of(s.to_frame("x"), reference).columns["x"].bins for s in (train, window)]
    places = np.arange(len(counts[0]))
    smirnov = scipy.stats.ks_2samp(*(np.repeat(places, c) for c in counts), method="asymp")
    pooled = [side[0] for side in pool(*(c[None].astype(float) for c in counts), ordered=True)]
    table = np.array(pooled)[:, np.add(*pooled) > 0]
    chi = scipy.stats.chi2_contingency(table, correction=False)
    found = found_in(train, window)["distribution"].p_value.item()
    # Stephens' formula is not scipy's, but near to it
    assert found == pytest.approx(2 * min(smirnov.pvalue, chi.pvalue), rel=0.05)


@pytest.mark.parametrize(
    ("part", "whole", "other", "rows"),
    [(500, 5000, 30, 200), (4700, 5000, 180, 200), (50, 5000, 1000, 10_000)],
)
def test_shares_of_many_are_compared_by_chi_squared(part, whole, other, rows):
    table = [[part, whole - part], [other, rows - other]]
    expected = scipy.stats.chi2_contingency(table, correction=False).pvalue
    found = proportion(*(np.array([float(value)]) for value in (part, whole, other, rows)))
    assert found.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("part", "other"), [(0, 1), (0, 3), (3, 2), (12, 0), (5000, 199), (4998, 195)]
)
def test_shares_of_few_are_compared_exactly(part, other):
    table = [[part, 5000 - part], [other, 200 - other]]
    found = proportion(*(np.array([float(value)]) for value in (part, 5000, other, 200))).item()
    expected = scipy.stats.fisher_exact(table).pvalue
    # the binomial's condition is not Fisher's, and both sides are taken for double the smaller
    assert 0.5 * expected <= found <= 2.5 * expected


def test_where_nobody_misses_a_value_nothing_is_tested():
    found = found_in(pd.Series(range(500)), pd.Series(range(500)))
    assert np.isnan(found["nulls"].p_value.item())
    assert np.isnan(found["invalid"].p_value.item())


def test_new_categories_are_expected_where_the_reference_has_many_of_one_row():
    counts = RANDOM.zipf(1.8, 4000)
    train = pd.Series(counts[:2000]).astype(str).where(lambda s: s.str.len() < 4, "long")
    window = pd.Series(counts[2000:]).astype(str).where(lambda s: s.str.len() < 4, "long")
    rare = found_in(train, window)["unseen"]
    assert rare.p_value.item() > 0.01
    assert rare.effect.item() > 0
    few = pd.Series(["a", "b"] * 1000)
    new = found_in(few, pd.Series(["a", "b"] * 98 + ["c"] * 4))["unseen"]
    assert new.p_value.item() < 1e-3
    assert new.effect.item() == pytest.approx(0.02)


def test_windows_are_tested_together_as_they_are_one_by_one():
    train = pd.DataFrame({"x": RANDOM.normal(size=3000), "c": RANDOM.choice(list("abc"), 3000)})
    reference = Profile.of(train)
    windows = [train.sample(300, random_state=seed) for seed in range(5)]
    for name, column in reference.columns.items():
        tallies = [Tally.of(Profile.of(one, reference).columns[name]) for one in windows]
        together = Tally(*map(np.concatenate, zip(*tallies, strict=True)))
        for kind, found in check(column, Tally.of(column), together).items():
            single = [check(column, Tally.of(column), one)[kind].p_value.item() for one in tallies]
            assert found.p_value == pytest.approx(single, nan_ok=True), (name, kind)


def test_the_correction_is_benjamini_and_hochbergs():
    p_values = RANDOM.random((20, 9)) ** 3
    found = corrected(p_values)
    for row, expected in zip(found, p_values, strict=True):
        assert row == pytest.approx(scipy.stats.false_discovery_control(expected))
    p_values[:, 4] = np.nan
    for row, expected in zip(corrected(p_values), p_values, strict=True):
        known = ~np.isnan(expected)
        assert row[known] == pytest.approx(scipy.stats.false_discovery_control(expected[known]))
        assert np.isnan(row[4])
