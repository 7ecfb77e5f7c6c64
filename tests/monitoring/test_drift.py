"""Drift verdicts: silent on null data, certain about planted shifts, quiet about few rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_magics.monitoring.drift import compare
from mlops_magics.profiles import Profile


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


@pytest.mark.parametrize("rows", [100, 400, 3000])
def test_windows_of_the_reference_itself_rarely_drift(reference, rows):
    random = np.random.default_rng(rows)
    windows = 150
    flagged = sum(
        any(
            drift.drifted for drift in compare(reference, Profile.of(draw(rows, random), reference))
        )
        for _ in range(windows)
    )
    # the asked rate is 1 % of windows with any finding; 6 of 150 has a chance below 1e-3 at it
    assert flagged <= 6


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
