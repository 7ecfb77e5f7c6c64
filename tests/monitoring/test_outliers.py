"""Outliers: outside of the ranges by name, and far by a forest with a known chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from mlops_magics.monitoring.outliers import count
from mlops_magics.profiles import Profile


def rows(size: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(size=size)
    return pd.DataFrame(
        {"x": x, "y": x + random.normal(0, 0.2, size), "c": random.choice(list("abc"), size)}
    )


@pytest.fixture(scope="module")
def reference():
    train = rows(3000, 0)
    profile = Profile.of(train)
    return profile, profile.codes(train.head(2000))


def test_rows_outside_of_the_ranges_are_counted_once_and_named_by_column(reference):
    window = rows(500, 1)
    window[["x", "y"]] = window[["x", "y"]].clip(-2.0, 2.0)
    window.loc[:9, "x"] = 99.0
    window.loc[5:14, "y"] = -99.0
    window.loc[0, "c"] = "new"
    found = count(*reference, window)
    assert found.outside == 15
    assert found.columns == (("x", 10), ("y", 10), ("c", 1))


def test_missing_values_are_not_outside(reference):
    assert count(*reference, rows(300, 2).assign(x=None, c=None)).outside <= 1


def test_rows_that_are_far_are_more_than_expected(reference):
    window = rows(600, 3)
    window.loc[:59, ["x", "y"]] = [[3.0, 3.0]] * 60  # within the ranges, but few were so far out
    found = count(*reference, window)
    assert found.more
    assert found.far >= 50
    assert found.p_value < 1e-6
    assert found.outside < 10


def test_windows_like_the_reference_have_about_as_many_as_expected():
    values = []
    for seed in range(25):
        train = rows(600, 100 + seed)
        profile = Profile.of(train)
        found = count(profile, profile.codes(train), rows(300, 200 + seed))
        assert found.expected == pytest.approx(3, abs=0.1)
        values.append(found.p_value)
    assert sum(value <= 0.1 for value in values) <= binom.ppf(0.9995, 25, 0.1)


def test_without_rows_of_the_reference_only_ranges_are_known(reference):
    found = count(reference[0], None, rows(100, 4).assign(x=50.0))
    assert (found.outside, found.far, found.p_value, found.more) == (100, None, None, None)


def test_no_rows_are_no_outliers(reference):
    found = count(*reference, rows(0, 5))
    assert (found.rows, found.outside, found.far) == (0, 0, None)
