"""Profiles: bins, counts, merging, JSON."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_magics.errors import InvalidArgument
from mlops_magics.profiles import Categorical, Numeric, Profile
from mlops_magics.profiles.edges import choose


def flights(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "distance": random.lognormal(6, 0.8, rows),
            "month": random.integers(1, 7, rows),
            "origin": random.choice(["JFK", "LGA", "EWR"], rows),
            "international": random.random(rows) < 0.1,
            "time": pd.Timestamp("2013-01-01")
            + pd.to_timedelta(random.integers(0, 4000, rows), unit="h"),
            "tail": "N" + pd.Series(random.integers(0, 4000, rows)).astype(str),
            "note": [f"note number {i} of flight" for i in range(rows)],
        }
    )
    frame.loc[random.random(rows) < 0.05, ["distance", "origin"]] = None
    return frame


def test_each_kind_of_column_is_recognised():
    profile = Profile.of(flights(2000))
    assert {name: column.type for name, column in profile.columns.items()} == {
        "distance": "numeric",
        "month": "numeric",
        "origin": "categorical",
        "international": "boolean",
        "time": "datetime",
        "tail": "text",
        "note": "text",
    }


def test_object_columns_are_typed_by_their_values():
    frame = pd.DataFrame(
        {"n": [1, 2.5, None], "b": [True, None, False], "l": [[1], [2], [1]]}, dtype=object
    )
    profile = Profile.of(frame)
    assert [c.type for c in profile.columns.values()] == ["numeric", "boolean", "categorical"]
    assert profile.columns["l"].counts == (2, 1)


def test_moments_nulls_and_ranges_are_those_of_pandas():
    frame = flights(3000)
    column = Profile.of(frame).columns["distance"]
    assert isinstance(column, Numeric)
    expected = frame["distance"]
    assert column.nulls == expected.isna().sum()
    assert column.count == expected.notna().sum()
    assert (column.min, column.max) == (expected.min(), expected.max())
    assert column.mean == pytest.approx(expected.mean(), rel=1e-12)
    assert column.variance == pytest.approx(expected.var(), rel=1e-12)


def test_bins_count_values_from_an_edge_up_to_the_next():
    reference = Profile.of(pd.DataFrame({"x": np.linspace(0, 100, 1001)}))
    column = reference.columns["x"]
    frame = pd.DataFrame({"x": [-1.0, 0.0, 4.9, 5.0, 100.0, 1e9]})
    window = Profile.of(frame, reference).columns["x"]
    edges = np.asarray(column.edges)
    expected = np.bincount(np.searchsorted(edges, frame["x"], "right"), minlength=len(edges) + 1)
    assert window.counts == tuple(expected)
    assert window.counts[0] == 1
    assert window.counts[-1] >= 1


def test_a_value_never_seen_in_a_discrete_column_has_a_bin_of_its_own():
    reference = Profile.of(pd.DataFrame({"month": [1, 2, 3, 4, 5, 6]}))
    window = Profile.of(pd.DataFrame({"month": [7, 12, 6]}), reference)
    assert window.columns["month"].counts == (0, 0, 0, 0, 0, 0, 1, 2)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=5000),
        np.random.default_rng(0).lognormal(sigma=3, size=5000),
        np.where(np.random.default_rng(0).random(5000) < 0.95, 0, np.linspace(0, 9, 5000)),
        np.random.default_rng(0).normal(1e12, 1, 5000),
        np.random.default_rng(0).normal(0, 1e-12, 5000),
        np.array([3.0]),
        np.array([]),
    ],
    ids=["normal", "skewed", "spiked", "far", "tiny", "constant", "empty"],
)
def test_edges_ascend_and_spread_the_values(values):
    edges = choose(np.sort(values))
    assert list(edges) == sorted(set(edges))
    assert len(edges) <= 30
    counts = Profile.of(pd.DataFrame({"x": values})).columns["x"].bins
    assert counts.sum() == len(values)
    if len(set(values)) > 1000:
        assert np.count_nonzero(counts) > 8


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_merged_windows_equal_the_profile_of_the_concatenation(parts):
    reference = Profile.of(flights(2000))
    frame = flights(1500, seed=1)
    frame.loc[3, "origin"] = "SFO"
    frame["added"] = 1
    cuts = np.array_split(np.arange(len(frame)), parts)
    merged = Profile.merge_all([Profile.of(frame.iloc[cut], reference) for cut in cuts])
    whole = Profile.of(frame, reference)
    assert merged.rows == whole.rows
    assert merged.extra == whole.extra == {"added": 1500}
    for name, column in whole.columns.items():
        other = merged.columns[name]
        assert list(other.bins) == list(column.bins)
        assert (other.nulls, other.invalid) == (column.nulls, column.invalid)
        if isinstance(column, Numeric):
            assert (other.min, other.max) == (column.min, column.max)
            assert other.mean == pytest.approx(column.mean, rel=1e-12)
            assert other.m2 == pytest.approx(column.m2, rel=1e-9)
        else:
            assert isinstance(other, Categorical)
            assert other.unseen == column.unseen


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, allow_nan=False) | st.none(), max_size=8),
        min_size=1,
        max_size=5,
    )
)
def test_merging_any_parts_keeps_every_count(parts):
    frames = [pd.DataFrame({"x": pd.Series(part, dtype=float)}) for part in parts]
    whole = pd.concat(frames)
    reference = Profile.of(whole)
    merged = Profile.merge_all([Profile.of(frame, reference) for frame in frames])
    column, expected = merged.columns["x"], reference.columns["x"]
    assert column.counts == expected.counts
    assert column.nulls == expected.nulls
    assert column.mean == (
        None if expected.mean is None else pytest.approx(expected.mean, rel=1e-9, abs=1e-6)
    )
    assert column.m2 == pytest.approx(expected.m2, rel=1e-6, abs=1e-3)


def test_profiles_on_different_bins_refuse_to_merge():
    first = Profile.of(pd.DataFrame({"x": [1.0, 2.0]}))
    second = Profile.of(pd.DataFrame({"x": [1.0, 3.0]}))
    with pytest.raises(InvalidArgument, match="column 'x'"):
        first.merge(second)
    with pytest.raises(InvalidArgument, match="different columns"):
        first.merge(Profile.of(pd.DataFrame({"y": [1.0]})))


def test_unseen_categories_are_named_and_bounded():
    reference = Profile.of(pd.DataFrame({"c": ["a", "b"]}))
    frame = pd.DataFrame({"c": ["a"] + [f"new{i:03}" for i in range(100)] + ["new007"]})
    column = Profile.of(frame, reference).columns["c"]
    assert isinstance(column, Categorical)
    assert column.unseen["new007"] == 2
    assert len(column.unseen) == 20
    assert sum(column.unseen.values()) + column.unseen_rest == 101


def test_a_rare_category_of_a_long_tail_is_not_called_unseen():
    values = pd.Series(np.random.default_rng(0).zipf(1.5, 20_000)).clip(upper=3000)
    reference = Profile.of(pd.DataFrame({"c": values.astype(str)}))
    column = reference.columns["c"]
    assert isinstance(column, Categorical)
    assert not column.complete
    assert column.count == 20_000
    window = Profile.of(pd.DataFrame({"c": ["1", "99999"]}), reference).columns["c"]
    assert isinstance(window, Categorical)
    assert (window.rest, dict(window.unseen)) == (1, {})


def test_an_absent_column_is_all_null_and_wrong_types_are_invalid():
    reference = Profile.of(pd.DataFrame({"x": [1.0, 2.0], "y": [1, 2]}))
    window = Profile.of(pd.DataFrame({"x": ["three", 1.0, None, float("inf")]}), reference)
    assert window.columns["x"].invalid == 2
    assert window.columns["x"].nulls == 1
    assert window.columns["y"].nulls == 4


def test_numbers_that_json_turned_into_floats_stay_the_same_category():
    reference = Profile.of(pd.DataFrame({"c": pd.Categorical([1, 2, 1])}))
    window = Profile.of(pd.DataFrame({"c": [1.0, 2.0, None]}), reference)
    assert window.columns["c"].counts == (1, 1)


def test_json_gives_the_same_profile_back():
    reference = Profile.of(flights(500))
    text = json.dumps(reference.to_dict())
    assert Profile.from_dict(json.loads(text)) == reference
    window = Profile.of(flights(40, seed=3), reference)
    short = json.dumps(window.to_dict(edges=False))
    assert Profile.from_dict(json.loads(short), reference) == window
    assert len(short) < len(text)


def test_a_profile_of_thirty_columns_takes_a_few_kilobytes():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"feature_{i}": random.normal(size=5000) for i in range(30)})
    assert len(json.dumps(Profile.of(frame).to_dict())) < 12_000


def test_windows_without_edges_need_the_reference_that_fits():
    window = Profile.of(pd.DataFrame({"x": [1.0, 2.0]})).to_dict(edges=False)
    with pytest.raises(InvalidArgument, match="does not fit"):
        Profile.from_dict(window)
    with pytest.raises(InvalidArgument, match="format 9"):
        Profile.from_dict({"format": 9})


def test_an_empty_table_has_an_empty_profile():
    profile = Profile.of(
        pd.DataFrame({"x": pd.Series([], dtype=float), "c": pd.Series([], dtype=str)})
    )
    assert profile.rows == 0
    assert profile.columns["x"].mean is None
    assert Profile.of(pd.DataFrame({"x": [1.0], "c": ["a"]}), profile).columns["x"].count == 1
