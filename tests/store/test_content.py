"""A table's content has one form and one digest, however it comes."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_magics.errors import DataError
from mlops_magics.store.content import Content


def digest(frame):
    return Content.of(frame).digest


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "hour": [6, 7, 7, 9],
            "delay": [1.5, np.nan, -0.0, 3.0],
            "carrier": ["UA", None, "AA", "UA"],
            "late": [True, False, False, True],
            "at": pd.to_datetime(["2013-01-01T05", None, "2013-01-02T00", "2013-01-03T00"]),
        }
    )


def test_order_of_rows_and_columns_and_the_index_do_not_count(frame):
    other = frame.iloc[[2, 0, 3, 1], ::-1].set_axis(list("wxyz"), axis=0)
    assert digest(other) == digest(frame)


def test_chunks_and_dictionaries_do_not_count(frame):
    table = pa.Table.from_pandas(frame)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert digest(chunked) == digest(frame)
    assert digest(frame.astype({"carrier": "category"})) == digest(frame)


@pytest.mark.parametrize(
    ("column", "value"),
    [("hour", 8), ("delay", 1.5000000001), ("carrier", "ua"), ("late", False), ("carrier", None)],
)
def test_one_changed_value_changes_the_digest(frame, column, value):
    changed = frame.copy()
    changed.loc[0, column] = value
    assert digest(changed) != digest(frame)


def test_values_swapped_between_rows_change_the_digest(frame):
    swapped = frame.assign(hour=frame["hour"].to_numpy()[::-1])
    assert digest(swapped) != digest(frame)


def test_values_swapped_between_columns_change_the_digest():
    assert digest(pd.DataFrame({"a": [1], "b": [2]})) != digest(pd.DataFrame({"a": [2], "b": [1]}))


def test_a_row_that_is_there_twice_counts_twice(frame):
    assert digest(pd.concat([frame, frame.iloc[:1]])) != digest(frame)


def test_widths_of_numbers_do_not_count():
    wide = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    assert digest(wide.astype({"a": "int8", "b": "float32"})) == digest(wide)


def test_integers_with_a_missing_value_are_what_pandas_reads_from_a_file():
    nullable = pd.DataFrame({"a": pd.array([1, None], dtype="Int64")})
    assert digest(nullable) == digest(pd.DataFrame({"a": [1.0, np.nan]}))


def test_integers_beyond_the_exact_floats_stay_exact():
    one = pd.DataFrame({"a": pd.array([2**60, None], dtype="Int64")})
    other = pd.DataFrame({"a": pd.array([2**60 + 1, None], dtype="Int64")})
    assert digest(one) != digest(other)
    assert Content.of(pd.DataFrame({"a": [2**63]})).table["a"][0].as_py() == 2**63


def test_zero_and_negative_zero_are_one_value():
    assert digest(pd.DataFrame({"a": [0.0, 1.0]})) == digest(pd.DataFrame({"a": [-0.0, 1.0]}))


def test_text_of_iso_times_becomes_times():
    text = pd.DataFrame({"at": ["2013-01-01T10:00:00Z", None]})
    times = pd.DataFrame({"at": pd.to_datetime(["2013-01-01 05:00-05:00", None], utc=False)})
    assert digest(text) == digest(times)
    assert str(Content.of(text).table["at"].type) == "timestamp[us, tz=UTC]"


def test_text_that_is_not_all_times_stays_text():
    kept = Content.of(pd.DataFrame({"at": ["2013-01-01", "later"], "no": ["12", "13"]})).table
    assert str(kept["at"].type) == str(kept["no"].type) == "string"


def test_nanoseconds_are_kept_where_there_are_any():
    frame = pd.DataFrame({"at": [pd.Timestamp("2013-01-01 00:00:00.000000001")]})
    assert Content.of(frame).frame()["at"][0].nanosecond == 1


def test_dates_decimals_and_times_of_day_have_a_form():
    frame = pd.DataFrame(
        {
            "day": [datetime.date(2013, 1, 1), None],
            "price": [decimal.Decimal("1.50"), decimal.Decimal("2.25")],
            "clock": [datetime.time(5, 15), datetime.time(23, 0)],
            "gap": pd.to_timedelta(["1h", None]),
            "nothing": [None, None],
            "flag": [True, None],
        }
    )
    kinds = [str(field.type) for field in Content.of(frame).table.schema]
    assert kinds == ["timestamp[us]", "double", "string", "duration[us]", "double", "bool"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([{"a": 1}, {"a": 2}], r"column 'x' holds dict values.*\{'a': 1\}"),
        ([[1], [2]], r"column 'x' holds list values.*\[1\]"),
        ([b"raw", b"er"], r"column 'x' holds bytes values.*b'raw'"),
        ([1, "one"], r"column 'x' mixes int \(1\) and str \('one'\)"),
        ([1 + 2j, 3j], r"column 'x' holds complex128 values"),
        ([object(), object()], r"column 'x' holds object values"),
    ],
)
def test_values_that_no_table_holds_are_named_with_an_example(values, told):
    with pytest.raises(DataError, match=told):
        Content.of(pd.DataFrame({"x": pd.Series(values)}))


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' is there 2 times"),
        (pd.DataFrame([[1, 2]]), "0 is an int, not text"),
        (pd.DataFrame({" ": [1]}), "empty name"),
        (pd.DataFrame({"a": []}), "no rows, only the columns a"),
        (pd.DataFrame(index=[1]), "no columns"),
    ],
)
def test_a_table_that_cannot_be_kept_is_refused(frame, told):
    with pytest.raises(DataError, match=told):
        Content.of(frame)


values = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=5, max_size=5),
    st.lists(st.floats(allow_infinity=False) | st.none(), min_size=5, max_size=5),
    st.lists(st.text() | st.none(), min_size=5, max_size=5),
    st.lists(st.booleans() | st.none(), min_size=5, max_size=5),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=1, max_size=4), st.permutations(range(5)))
def test_any_table_survives_its_own_form_in_any_order(columns, order):
    frame = pd.DataFrame({f"c{i}": column for i, column in enumerate(columns)})
    content = Content.of(frame)
    assert Content.of(content.frame().iloc[list(order)]).digest == content.digest
