"""Layouts: how a batch's columns travel, those of one type side by side as one.

An Arrow array costs microseconds to make, however short it is, and most batches are short: thirty
numeric columns as thirty arrays take five times as long as one array of all their values. So a
batch travels as one record with a list for each type, column after column; the reader cuts the
lists into the columns again, without copying.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import pyarrow as pa

from mlops_magics.serving import wire

__all__ = ["Layout", "Rows"]

_OFFSETS = struct.Struct("=ii")


class Layout:
    """Which columns of a schema travel together.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the columns as the model takes them.

    Examples
    --------
    >>> schema = pa.schema([("x", pa.float64()), ("name", pa.string()), ("y", pa.float64())])
    >>> layout = Layout(schema)
    >>> layout.unpack(layout.pack([(1.0, "a", 2.0), (3.0, None, 4.0)])).batch.to_pylist()
    [{'x': 1.0, 'name': 'a', 'y': 2.0}, {'x': 3.0, 'name': None, 'y': 4.0}]
    """

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        places: dict[Any, list[int]] = {}
        for index, field in enumerate(schema):
            places.setdefault(field.type, []).append(index)
        self.groups = list(places.items())
        self.travelling = pa.schema(
            [pa.field(str(number), pa.list_(kind)) for number, (kind, _) in enumerate(self.groups)]
        )
        self.width = len(self.groups[0][1]) if self.groups else 0
        """Columns in the first group."""
        self.uniform = (
            self.width == len(schema) > 0
            and pa.types.is_float64(schema.field(0).type)
            and not schema.metadata  # tensors are given as arrays
        )
        """Whether the rows are a table of numbers of double precision."""

    @cached_property
    def names(self) -> Any:
        """The columns' names as a pandas Index, which costs more to make than a small frame."""
        import pandas as pd

        return pd.Index(self.schema.names)

    def pack(self, rows: Sequence[tuple[Any, ...]]) -> Any:
        """Encode rows, tuples in the schema's order; returns an Arrow buffer."""
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self.schema)
        lists = []
        for kind, places in self.groups:
            values = pa.array(list(chain.from_iterable([columns[i] for i in places])), kind)
            offsets = pa.py_buffer(_OFFSETS.pack(0, len(values)))
            lists.append(
                pa.Array.from_buffers(pa.list_(kind), 1, [None, offsets], children=[values])
            )
        return pa.RecordBatch.from_arrays(lists, schema=self.travelling).serialize()

    def unpack(self, body: bytes | bytearray) -> Rows:
        """Read what `pack` wrote."""
        record = pa.ipc.read_record_batch(pa.py_buffer(body), self.travelling)
        return Rows(self, [column.values for column in record.columns])


class Rows:
    """Rows that have arrived.

    Parameters
    ----------
    layout : Layout
    values : list of pyarrow.Array
        Of each group of columns, column after column.
    """

    def __init__(self, layout: Layout, values: Sequence[Any]) -> None:
        self.layout = layout
        self.values = values
        self.count = len(values[0]) // layout.width if values else 0

    @cached_property
    def batch(self) -> Any:
        """A record batch with the schema's columns; nothing is copied."""
        count = self.count
        arrays: list[Any] = [None] * len(self.layout.schema)
        for (_, places), values in zip(self.layout.groups, self.values, strict=True):
            for position, place in enumerate(places):
                arrays[place] = values.slice(position * count, count)
        return pa.RecordBatch.from_arrays(arrays, schema=self.layout.schema)

    def groups(self) -> list[tuple[list[int], Any]]:
        """Return the columns' places in the schema, and their values, of each group."""
        groups = self.layout.groups
        return [(places, values) for (_, places), values in zip(groups, self.values, strict=True)]

    def frame(self) -> Any:
        """Return the rows as the model takes them: a DataFrame, or of tensors arrays."""
        layout = self.layout
        if not layout.uniform:
            return wire.frame(self.batch)
        import pandas as pd

        return pd.DataFrame(self.block(), columns=layout.names, copy=False)

    def block(self) -> Any:
        """Return a table of numbers as an array of shape (n_rows, n_columns); a null is NaN.

        It lies in memory as pandas has it, column by column, so that sums come out the same.
        """
        values = self.values[0].to_numpy(zero_copy_only=False)
        return values.reshape(self.layout.width, self.count).T
