"""Drift verdicts: silent on null data, certain about planted shifts, quiet about few rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_magics.monitoring.comparison import compare, persists
from mlops_magics.profiles import Calibration, Profile, calibrate


def draw(rows: int, random: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "normal": random.normal(size=rows),
            "skewed": random.lognormal(sigma=1.5, size=rows),
            "hour": random.integers(0, 24, rows),
            "rare": np.where(random.random(rows) < 0.97, 0.0, random.exponential(size=rows)),
            "origin": random.choice(["JFK", "LGA", "EWR"], rows, p=[0.5, 0.3, 0.2]),
            "dest": random.choice([f"D{i}" for i in range(80)], rows),
            "flag": random.random(rows) < 0.02,
            "gaps": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
        }
    )


@pytest.fixture(scope="module")
def reference() -> Profile:
    return Profile.of(draw(20_000, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def calibration(reference) -> Calibration:
    return calibrate(draw(20_000, np.random.default_rng(0)), reference)


@pytest.mark.parametrize("rows", [120, 1500])
def test_windows_like_the_reference_rarely_drift(reference, calibration, rows):
    random = np.random.default_rng(rows)
    found = [
        compare(reference, Profile.of(draw(rows, random), reference), calibration=calibration)
        for _ in range(40)
    ]
    # the asked rate is 1 % of windows with any finding; 4 of 40 has a chance below 1e-3 at it
    assert sum(any(one.significant for one in window) for window in found) < 4
    assert sum(any(one.drifted for one in window) for window in found) < 4


def test_a_verdict_says_its_threshold_and_how_often_null_windows_alarm(reference, calibration):
    window = Profile.of(draw(800, np.random.default_rng(8)), reference)
    for drift in compare(reference, window, calibration=calibration, rate=0.05):
        assert drift.threshold == calibration.threshold(800, 0.05)
        assert drift.significant == (drift.q_value <= drift.threshold)
        assert drift.false_alarms == calibration.measured(800, 0.05)[1]
    plain = compare(reference, window)
    assert {(drift.threshold, drift.false_alarms) for drift in plain} == {(0.01, None)}


def test_a_column_that_is_not_kept_has_no_verdict(reference):
    frame = draw(500, np.random.default_rng(3)).assign(hour=None)
    window = Profile.of(frame, reference)
    found = {d.name: d for d in compare(reference, window, masked={"hour"})}
    assert found["hour"].drifted is None
    assert found["hour"].reasons == ()
    assert found["normal"].drifted is False


def test_values_of_the_wrong_type_that_the_reference_has_too_are_no_finding():
    train = pd.DataFrame({"x": np.random.default_rng(1).normal(size=3000)})
    train.loc[::20, "x"] = np.inf
    reference = Profile.of(train)
    (same,) = compare(reference, Profile.of(train.iloc[:600], reference))
    assert (same.invalid, same.drifted) == (30, False)
    (more,) = compare(reference, Profile.of(train.assign(x=np.inf).iloc[:600], reference))
    assert more.reasons == ("600 values are not numeric",)


@pytest.mark.parametrize(
    ("verdicts", "lasts"),
    [
        ([True, True, True], True),
        ([False, True, True, True], True),
        ([True, True, None, True], True),
        ([True, True], False),
        ([True, False, True, True], False),
        ([True, True, True, False], False),
        ([None, None, None], False),
        ([], False),
    ],
)
def test_a_finding_lasts_when_the_last_windows_with_a_verdict_all_have_it(verdicts, lasts):
    assert persists(verdicts, 3) is lasts


SHIFTS = {
    "normal": lambda frame: frame["normal"] + 0.6,
    "skewed": lambda frame: frame["skewed"] * 2,
    "hour": lambda frame: np.where(frame["hour"] < 6, 12, frame["hour"]),
    "rare": lambda frame: np.where(np.arange(len(frame)) % 5 == 0, 1.0, frame["rare"]),
    "origin": lambda frame: np.where(np.arange(len(frame)) % 4 == 0, "EWR", frame["origin"]),
    "dest": lambda frame: np.where(np.arange(len(frame)) % 4 == 0, "D7", frame["dest"]),
    "flag": lambda frame: np.arange(len(frame)) % 5 == 0,
    "gaps": lambda frame: frame["gaps"].where(np.arange(len(frame)) % 4 > 0),
}


@pytest.mark.parametrize("name", SHIFTS)
def test_a_planted_shift_is_found_and_only_it(reference, name):
    frame = draw(1500, np.random.default_rng(5))
    frame[name] = SHIFTS[name](frame)
    found = {d.name: d for d in compare(reference, Profile.of(frame, reference))}
    assert [n for n, drift in found.items() if drift.drifted] == [name]
    assert found[name].reasons
    assert found[name].q_value is not None
    assert found[name].q_value < 0.01


def test_a_significant_but_tiny_shift_is_not_called_drift():
    random = np.random.default_rng(1)
    reference = Profile.of(pd.DataFrame({"x": random.normal(size=300_000)}))
    window = Profile.of(pd.DataFrame({"x": random.normal(0.03, 1, 300_000)}), reference)
    (drift,) = compare(reference, window)
    assert drift.p_value is not None
    assert drift.p_value < 1e-6
    assert drift.drifted is False


def test_too_few_rows_give_no_verdict(reference):
    window = Profile.of(draw(30, np.random.default_rng(1)) * 1, reference)
    assert {drift.drifted for drift in compare(reference, window)} == {None}


def test_an_unseen_category_is_named(reference):
    frame = draw(500, np.random.default_rng(2))
    frame.loc[:24, "origin"] = "SFO"
    drift = next(d for d in compare(reference, Profile.of(frame, reference)) if d.name == "origin")
    assert drift.unseen == ("SFO",)
    assert drift.drifted
    assert any("SFO" in reason for reason in drift.reasons)


def test_a_missing_column_and_a_wrong_type_are_findings(reference):
    frame = draw(500, np.random.default_rng(3)).drop(columns="hour")
    frame["normal"] = "seven"
    found = {d.name: d for d in compare(reference, Profile.of(frame, reference))}
    assert found["hour"].drifted
    assert found["hour"].nulls["current"] == 1.0
    assert found["hour"].psi is None
    assert found["normal"].drifted
    assert "not numeric" in found["normal"].reasons[-1]


def test_time_moving_on_is_no_drift():
    frame = pd.DataFrame({"t": pd.date_range("2013-01-01", periods=1000, freq="h")})
    reference = Profile.of(frame)
    later = Profile.of(frame + pd.Timedelta(days=365), reference)
    (drift,) = compare(reference, later)
    assert drift.drifted is not True


def test_an_empty_window_is_unknown_not_zero(reference):
    window = Profile.of(draw(0, np.random.default_rng(3)), reference)
    for drift in compare(reference, window):
        assert (drift.psi, drift.js, drift.nulls["current"], drift.drifted) == (None,) * 4
