"""Calibrated thresholds: of windows like the reference, the asked share is significant."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from mlops_magics.errors import InvalidArgument
from mlops_magics.profiles import Calibration, Profile, calibrate
from mlops_magics.profiles.significance import Tally, check, corrected

WINDOWS = 1000
POPULATION = 100_000

QUICK = [(5, 200, 2000), (20, 1600, 4000), (100, 200, 1000)]
FULL = [
    (features, rows, 20_000) for features in (5, 20, 100) for rows in (200, 500, 2000, 6000, 20_000)
]


def population(features: int, random: np.random.Generator, rows: int = POPULATION) -> pd.DataFrame:
    """Correlated columns: normal, skewed and rounded, categories, counts, and a few with nulls."""
    common = random.normal(size=(rows, 3))
    values = 0.6 * common @ np.random.default_rng(1).normal(size=(3, features))
    values += random.normal(size=(rows, features))
    frame = pd.DataFrame(values, columns=[f"x{place}" for place in range(features)])
    for place, name in enumerate(frame):
        column = frame[name].to_numpy()
        if place % 5 == 1:
            frame[name] = np.exp(1.5 * column).round(1)
        elif place % 5 == 2:
            places = np.searchsorted([-2, -1, 0, 0.2, 0.5, 1.5, 4], column)
            frame[name] = pd.Categorical.from_codes(places, list("abcdefgh"))
        elif place % 5 == 3:
            frame[name] = np.floor(np.abs(column))
        if place % 5 == 4:
            frame.loc[common[:, 0] > 2, name] = None
    return frame


def draw(profile, codes, rows: int, windows: int, random) -> list[Tally]:
    """Count the codes of windows that are drawn from a population, column by column."""
    chosen = random.integers(0, len(codes), (windows, rows)).ravel()
    window = np.repeat(np.arange(windows), rows)
    tallies = []
    for name, column in profile.columns.items():
        width = len(column.bins) + 2
        flat = window * width + codes[name].to_numpy()[chosen]
        counts = np.bincount(flat, minlength=width * windows).reshape(windows, width)
        tallies.append(Tally.of_counts(counts))
    return tallies


def smallest(profile, before: list[Tally], after: list[Tally]) -> np.ndarray:
    """Return the smallest corrected p-value of each window."""
    columns = profile.columns.values()
    found = [
        outcome.p_value
        for column, was, now in zip(columns, before, after, strict=True)
        for outcome in check(column, was, now).values()
    ]
    return np.nanmin(corrected(np.column_stack(found)), axis=1)


def draw_references(profile, codes, size: int, random) -> list[Tally]:
    """As `draw`, for a tenth of the windows, in parts that memory takes."""
    parts = [draw(profile, codes, size, 10, random) for _ in range(WINDOWS // 100)]
    return [
        Tally(*map(np.concatenate, zip(*part, strict=True))) for part in zip(*parts, strict=True)
    ]


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        chosen = FULL if metafunc.config.getoption("--soak") else QUICK
        metafunc.parametrize("case", chosen, ids=str)


def test_of_null_windows_the_asked_share_is_significant(case):
    features, rows, size = case
    random = np.random.default_rng(features + rows)
    everything = population(features, random)
    sample = everything.iloc[:size]
    profile = Profile.of(sample)
    found = calibrate(sample, profile)
    codes = profile.codes(everything)
    values = []
    for _ in range(10):
        # the reference is a sample itself: each window gets another
        before = draw_references(profile, codes, size, random)
        values.append(smallest(profile, before, draw(profile, codes, rows, WINDOWS // 10, random)))
    values = np.concatenate(values)
    alarms = int((values <= found.threshold(rows, 0.01)).sum())
    low, high = binom.ppf([0.001, 0.999], WINDOWS, 0.01)
    assert low <= alarms <= high
    for rate in (0.05, 0.1):
        alarms = int((values <= found.threshold(rows, rate)).sum())
        # the threshold has a chance error of its own, of 2,000 windows that have lots in common
        spread = np.sqrt(WINDOWS * rate * (1 - rate) * (1 + 3 * WINDOWS / 2000))
        assert abs(alarms - WINDOWS * rate) <= 3.1 * spread, f"at {rate:.0%}"


@pytest.fixture(scope="module")
def known():
    sample = population(5, np.random.default_rng(3), 3000)
    profile = Profile.of(sample)
    return sample, profile, calibrate(sample, profile)


def test_windows_of_the_references_own_rows_alarm_no_more_often(known):
    sample, profile, found = known
    windows = draw(profile, profile.codes(sample), 1500, WINDOWS, np.random.default_rng(4))
    before = [Tally.of(column) for column in profile.columns.values()]
    values = smallest(profile, before, windows)
    assert (values <= found.threshold(1500, 0.05)).sum() <= binom.ppf(0.999, WINDOWS, 0.05)


def test_the_rate_that_was_measured_is_near_the_asked_one(known):
    _, _, found = known
    for place, rate in enumerate(found.rates):
        alarms = sum(row[place] for row in found.significant) * found.windows
        number = found.windows * len(found.sizes)
        low, high = binom.ppf([0.0005, 0.9995], number, rate)
        assert low * 0.7 <= alarms <= high * 1.3
        assert all(
            a >= b for a, b in zip(found.significant[place], found.drifted[place], strict=True)
        )


def test_a_column_that_is_there_twenty_times_is_no_twenty_chances():
    column = np.random.default_rng(5).normal(size=2000)
    frame = pd.DataFrame({f"x{place}": column for place in range(20)})
    alone, many = (calibrate(part, Profile.of(part)) for part in (frame[["x0"]], frame))
    # corrected for twenty columns that are one, the p-value stays what it is
    assert many.threshold(800, 0.05) == pytest.approx(alone.threshold(800, 0.05), rel=0.2)


def test_thresholds_come_back_from_json(known):
    _, _, found = known
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert len(json.dumps(found.to_dict())) < 4096
    with pytest.raises(InvalidArgument, match="format 9"):
        Calibration.from_dict({**found.to_dict(), "format": 9})


def test_a_smaller_rate_has_a_smaller_threshold_at_any_size(known):
    _, _, found = known
    for rows in (1, 100, 777, 30_000, 10**7):
        thresholds = [found.threshold(rows, rate) for rate in (1e-5, 0.001, 0.01, 0.07, 0.1, 0.5)]
        assert thresholds == sorted(thresholds)
        assert 0 < thresholds[0] < thresholds[-1] <= 1
    with pytest.raises(InvalidArgument, match="not between 0 and 1"):
        found.threshold(500, 0.0)


def test_asked_sizes_are_the_ones_that_are_drawn(known):
    sample, profile, _ = known
    assert calibrate(sample, profile, sizes=[430, 700, 20]).sizes == (100, 400, 700)


def test_too_few_rows_to_draw_from_give_no_thresholds(known):
    sample, profile, _ = known
    assert calibrate(sample.iloc[:50], profile) is None
    empty = pd.DataFrame(index=range(500))
    assert calibrate(empty, Profile.of(empty)) is None


def test_what_cannot_be_tested_gives_no_thresholds():
    frame = pd.DataFrame({"t": pd.date_range("2013-01-01", periods=500, freq="h")})
    assert calibrate(frame, Profile.of(frame)) is None


def test_columns_of_the_same_drawing_are_the_same_thresholds(known):
    sample, profile, found = known
    assert calibrate(sample, profile) == found
