"""Batches travel with their columns grouped by type, and arrive as they were."""

import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_magics.serving.layout import Layout

VALUES = {
    pa.float64(): st.none() | st.floats(allow_nan=False),
    pa.int64(): st.none() | st.integers(-(2**63), 2**63 - 1),
    pa.string(): st.none() | st.text(),
    pa.bool_(): st.none() | st.booleans(),
    pa.list_(pa.int32(), 2): st.lists(st.integers(0, 9), min_size=2, max_size=2),
}


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=8))
    row = st.tuples(*(VALUES[kind] for kind in kinds))
    schema = pa.schema([(f"c{index}", kind) for index, kind in enumerate(kinds)])
    return schema, draw(st.lists(row, max_size=5))


@settings(deadline=None)
@given(tables())
def test_rows_arrive_as_they_were_sent(table):
    schema, rows = table
    layout = Layout(schema)
    arrived = layout.unpack(layout.pack(rows).to_pybytes())
    assert arrived.count == len(rows)
    assert arrived.batch.schema == schema
    assert [tuple(row.values()) for row in arrived.batch.to_pylist()] == rows


def test_numbers_become_one_block_that_equals_pandas_own_reading():
    schema = pa.schema([("x", pa.float64()), ("y", pa.float64())])
    layout = Layout(schema)
    frame = layout.unpack(layout.pack([(1.0, None), (-0.0, 2.0)]).to_pybytes()).frame()
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"x": [1.0, -0.0], "y": [None, 2.0]}))
