"""The domain classifier: sees what no column shows alone, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, mannwhitneyu
from sklearn.metrics import roc_auc_score

from mlops_magics.monitoring import classifier
from mlops_magics.monitoring.classifier import classify
from mlops_magics.monitoring.comparison import compare
from mlops_magics.profiles import Profile, calibrate


def rows(count: int, seed: int, *, broken: bool = False) -> pd.DataFrame:
    """Draw distance and duration, which belong together, unless that is broken."""
    random = np.random.default_rng(seed)
    distance = random.normal(800, 200, count)
    duration = distance / 8 + random.normal(0, 8, count)
    return pd.DataFrame(
        {
            "distance": distance,
            "duration": random.permutation(duration) if broken else duration,
            "origin": random.choice(["JFK", "LGA", "EWR"], count),
            "hour": random.integers(5, 23, count),
        }
    )


def separation(train: pd.DataFrame, window: pd.DataFrame, **given):
    profile = Profile.of(train)
    return classify(profile, profile.codes(train), profile.codes(window), **given)


def test_a_broken_correlation_is_seen_by_it_and_by_no_column():
    train, window = rows(2000, 1), rows(1000, 2, broken=True)
    profile = Profile.of(train)
    verdicts = compare(profile, Profile.of(window, profile), calibration=calibrate(train, profile))
    assert not any(one.drifted or one.significant for one in verdicts)
    found = separation(train, window)
    assert found.drifted
    assert found.p_value < 1e-6
    assert 0.5 < found.low < found.auc < found.high <= 1
    assert {name for name, _ in found.features} == {"distance", "duration"}


def test_rows_like_the_reference_are_told_apart_as_seldom_as_asked():
    p_values = []
    for seed in range(40):
        found = separation(rows(300, seed), rows(200, 1000 + seed), rate=0.05)
        assert found.drifted == (found.p_value <= 0.05 and found.auc >= classifier.LEAST_AUC)
        p_values.append(found.p_value)
    low, high = binom.ppf([0.0005, 0.9995], 40, 0.25)
    assert low <= sum(value <= 0.25 for value in p_values) <= high
    assert sum(value <= 0.01 for value in p_values) <= binom.ppf(0.9995, 40, 0.01)


def test_a_shifted_column_is_named():
    window = rows(800, 3)
    window["hour"] = (window["hour"] + 6).clip(upper=22)
    assert separation(rows(1500, 4), window).features[0][0] == "hour"


def test_what_is_left_out_does_not_count():
    window = rows(800, 3).assign(hour=22)
    assert separation(rows(1500, 4), window).auc > 0.9
    assert separation(rows(1500, 4), window, without={"hour"}).auc < 0.6


def test_time_moving_on_is_no_difference():
    train = rows(600, 5).assign(at=pd.date_range("2013-01-01", periods=600, freq="h"))
    window = rows(600, 6).assign(at=pd.date_range("2014-01-01", periods=600, freq="h"))
    assert not separation(train, window).drifted


def test_few_rows_or_no_columns_say_nothing():
    assert separation(rows(1000, 1), rows(99, 2)) is None
    assert separation(rows(1000, 1)[[]], rows(1000, 2)) is None


def test_area_and_chance_are_sklearns_and_scipys():
    random = np.random.default_rng(7)
    labels = random.integers(0, 2, 300)
    scores = (random.normal(size=300) + labels * 0.4).round(1)
    auc, chance, spread = classifier._area(scores, labels)
    assert auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    test = mannwhitneyu(
        scores[labels == 1], scores[labels == 0], method="asymptotic", use_continuity=False
    )
    from scipy.special import ndtr

    assert 2 * ndtr(-(auc - 0.5) / chance) == pytest.approx(test.pvalue, rel=1e-9)
    assert spread == pytest.approx(chance, rel=0.2)
