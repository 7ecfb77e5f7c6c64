"""Screening: the rules of online validation, held against whole columns.

What Arrow's type vouches for is taken as it is, at the speed of Arrow. Every other value goes
through the decoders that an endpoint's requests go through, so that the verdict and its wording
are the endpoint's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlops_magics.serving import protocol, wire
from mlops_magics.serving.client import json_value
from mlops_magics.serving.offline.sources import Block, Cells
from mlops_magics.serving.validation import Column, Invalid, Schema

__all__ = ["Screen", "Screened"]

_WHOLE = r"^-?[0-9]{1,18}$"
_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
# microseconds from 1970 to the first and the last moment that a date and time can have
_EARLIEST, _LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
_encoder = msgspec.json.Encoder(decimal_format="number")
_SINGLY = 8  # values that are tried one by one, when together they do not pass


@dataclass(frozen=True)
class Screened:
    """A block's good rows, and what is wrong with the others.

    Attributes
    ----------
    batch : pyarrow.RecordBatch
        The good rows as the model takes them, in its order of columns.
    places : ndarray of shape (n_good,)
        Where each of them stands in the block.
    converted : dict
        By name, the model's columns of the whole block, as the model takes them.
    faults : dict
        Place in the block and reason.
    """

    batch: pa.RecordBatch
    places: np.ndarray
    converted: dict[str, pa.Array]
    faults: dict[int, str]

    def without_nulls(self, block: Block, key: str) -> Screened:
        """Return the same without rows whose key is null: nothing names them for good."""
        values = block.columns.get(key)
        if isinstance(values, Cells):
            nulls = [p for p in range(block.rows) if values.values[p] in (None, b"null", "")]
        elif values is None:
            nulls = []
        else:
            nulls = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)).tolist()
        if not nulls:
            return self
        told = dict.fromkeys(nulls, f"column {key!r}: the key is null")
        left = ~np.isin(self.places, nulls)
        batch = self.batch.filter(pa.array(left))
        return Screened(batch, self.places[left], self.converted, told | self.faults)


class Screen:
    """Holds rows against a model's signature.

    Parameters
    ----------
    schema : Schema
        The model's.

    Examples
    --------
    >>> screen = Screen(Schema([Column("hour", "integer")]))
    >>> columns = {"hour": pa.array([7, None, 2**40])}
    >>> for place, reason in screen(Block(0, 3, columns)).faults.items():
    ...     print(place, reason)
    1 column 'hour': expected a 32-bit integer, got null
    2 column 'hour': out of the range of a 32-bit integer
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.arrow = wire.arrow_schema(schema)
        self._single = {column.name: Schema([column]) for column in schema.columns}

    def __call__(self, block: Block) -> Screened:
        """Screen a block; of several faults in a row the first is told."""
        faults: dict[int, str] = {}
        converted: dict[str, pa.Array] = {}
        for name in block.columns:  # in the source's order, as a request's columns are decoded
            column = self.schema.by_name.get(name)
            if column is None:
                continue
            converted[name], wrong = self._column(column, block.columns[name])
            for place, reason in wrong.items():
                faults.setdefault(place, reason)
        for column in self.schema.columns:
            if column.name not in converted:
                # a source with fixed columns was checked before
                converted[column.name] = pa.nulls(block.rows, self.arrow.field(column.name).type)
                if column.required:
                    for place in range(block.rows):
                        faults.setdefault(place, f"missing column {column.name!r}")
        faults.update(block.faults)
        arrays = [converted[name] for name in self.schema.names]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.arrow)
        places = np.arange(block.rows)
        if faults:
            places = np.delete(places, sorted(faults))
            batch = batch.take(pa.array(places))
        return Screened(batch, places, converted, faults)

    def _column(self, column: Column, values: Any) -> tuple[pa.Array, dict[int, str]]:
        if isinstance(values, Cells):
            return self._cells(column, values)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        kind = self.arrow.field(column.name).type
        vouched = _TAKEN[column.kind](values, kind)
        if vouched is None:  # of another type: each value is looked at
            converted = pa.nulls(len(values), kind)
            doubtful = np.ones(len(values), bool)
        else:
            converted, doubtful = vouched
            if column.required and converted.null_count:
                doubtful = doubtful | converted.is_null().to_numpy(zero_copy_only=False)
        if not doubtful.any():
            return converted, {}
        places = np.flatnonzero(doubtful)
        encoded = [_encode(value) for value in values.take(pa.array(places)).to_pylist()]
        found, faults = self._decoded(column, places, encoded, self._json)
        replaced = pa.array(found, kind)
        return pc.replace_with_mask(converted, pa.array(doubtful), replaced), faults

    def _cells(self, column: Column, cells: Cells) -> tuple[pa.Array, dict[int, str]]:
        kind = self.arrow.field(column.name).type
        if cells.kind == "json":
            return self._json_cells(column, cells.values, kind)
        texts = pa.array(cells.values, pa.string())
        pattern = {"integer": _WHOLE, "long": _WHOLE, "double": _NUMBER}.get(column.kind)
        if pattern is not None:
            plain = pc.match_substring_regex(texts, pattern)
            easy = pc.if_else(plain, texts, pa.scalar(None, pa.string()))
            wide = easy.cast(pa.float64() if column.kind == "double" else pa.int64())
            taken = _TAKEN[column.kind](wide, kind)
            assert taken is not None
            converted, doubtful = taken
            doubtful = doubtful | ~plain.to_numpy(zero_copy_only=False)
        elif column.kind == "string":
            if column.required:
                return texts, {}
            return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts), {}
        else:
            converted, doubtful = pa.nulls(len(texts), kind), np.ones(len(texts), bool)
        places = np.flatnonzero(doubtful)
        if not len(places):
            return converted, {}
        found, faults = self._decoded(
            column, places, [cells.values[place] for place in places.tolist()], self._text
        )
        replaced = pa.array(found, kind)
        return pc.replace_with_mask(converted, pa.array(doubtful), replaced), faults

    def _json_cells(
        self, column: Column, values: Sequence[bytes | None], kind: Any
    ) -> tuple[pa.Array, dict[int, str]]:
        absent = [place for place, value in enumerate(values) if value is None]
        places = np.arange(len(values))
        given = values
        if absent:
            places = np.delete(places, absent)
            given = [value for value in values if value is not None]
        found, faults = self._decoded(column, places, given, self._json)
        if column.required:
            faults |= dict.fromkeys(absent, f"missing column {column.name!r}")
        if absent:
            spread: list[Any] = [None] * len(values)
            for place, value in zip(places.tolist(), found, strict=True):
                spread[place] = value
            found = spread
        return pa.array(found, kind), faults

    def _decoded(
        self,
        column: Column,
        places: np.ndarray,
        given: Sequence[Any],
        decode: Callable[[Column, Sequence[Any]], list[Any]],
    ) -> tuple[list[Any], dict[int, str]]:
        """Decode values as a request's are; those that do not pass are None, and have a reason."""
        found: list[Any] = []
        faults: dict[int, str] = {}

        def attempt(start: int, end: int) -> None:
            try:
                found.extend(decode(column, given[start:end]))
            except Invalid as exc:
                if end - start == 1:
                    found.append(None)
                    faults[int(places[start])] = _reason(str(exc))
                    return
                middle = start + 1 if end - start <= _SINGLY else (start + end) // 2
                attempt(start, middle)
                attempt(middle, end)

        if len(given):
            attempt(0, len(given))
        return found, faults

    def _json(self, column: Column, values: Sequence[bytes]) -> list[Any]:
        return self._single[column.name].column(column.name, b"[" + b",".join(values) + b"]")

    def _text(self, column: Column, values: Sequence[str]) -> list[Any]:
        # quoted, an empty cell is a cell and no empty line
        cells = [column.name, *values]
        lines = "\n".join('"' + cell.replace('"', '""') + '"' for cell in cells)
        rows = protocol.decode_csv(lines.encode(), self._single[column.name])
        return [row[0] for row in rows]


def _reason(message: str) -> str:
    """Drop the row's number from a message: of a rejected row it is known."""
    head, comma, rest = message.partition(", column ")
    if comma and head.startswith("row "):
        return f"column {rest}"
    head, colon, rest = message.partition(": ")
    return rest if colon and head.startswith("row ") else message


def _encode(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return _encoder.encode(value)  # base64, as a request has it
    if isinstance(value, float) and np.isinf(value):
        return b'"Infinity"'  # JSON has no such number; written as text it is told as such
    return _encoder.encode(value if isinstance(value, Decimal) else json_value(value))


_Taken = tuple[pa.Array, np.ndarray] | None


def _integers(values: pa.Array, kind: Any) -> _Taken:
    if not pa.types.is_integer(values.type):
        return None
    limits = np.iinfo(np.int32 if pa.types.is_int32(kind) else np.int64)
    own = np.iinfo(values.type.to_pandas_dtype())
    if own.min >= limits.min and own.max <= limits.max:
        return values.cast(kind), np.zeros(len(values), bool)
    outside = pc.greater(values, pa.scalar(int(limits.max), values.type))
    if own.min < limits.min:
        outside = pc.or_(outside, pc.less(values, pa.scalar(int(limits.min), values.type)))
    inside = pc.if_else(outside, pa.scalar(None, values.type), values)
    return inside.cast(kind), _mask(outside)


def _numbers(values: pa.Array, kind: Any) -> _Taken:
    if pa.types.is_integer(values.type) or pa.types.is_decimal(values.type):
        return values.cast(kind, safe=False), np.zeros(len(values), bool)
    if not pa.types.is_floating(values.type):
        return None
    finite = values
    endless = np.zeros(len(values), bool)
    numbers = values.to_numpy(zero_copy_only=False)
    # a missing number may be null or NaN, in Arrow as in pandas: for a model both are a null
    if not np.isfinite(numbers).all():
        endless = np.isinf(numbers)
        finite = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
    return finite.cast(kind, safe=False), endless


def _truths(values: pa.Array, kind: Any) -> _Taken:
    if not pa.types.is_boolean(values.type):
        return None
    return values, np.zeros(len(values), bool)


def _texts(values: pa.Array, kind: Any) -> _Taken:
    if not (
        pa.types.is_string(values.type)
        or pa.types.is_large_string(values.type)
        or pa.types.is_string_view(values.type)
    ):
        return None
    return values.cast(kind), np.zeros(len(values), bool)


def _bytes(values: pa.Array, kind: Any) -> _Taken:
    if not (
        pa.types.is_binary(values.type)
        or pa.types.is_large_binary(values.type)
        or pa.types.is_fixed_size_binary(values.type)
    ):
        return None
    return values.cast(kind), np.zeros(len(values), bool)


def _moments(values: pa.Array, kind: Any) -> _Taken:
    if not pa.types.is_timestamp(values.type):
        return None
    whole = values.cast(pa.int64())
    scale = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[values.type.unit]
    if values.type.unit == "ns":  # rounded as a request's nine digits are
        numbers = np.floor_divide(whole.fill_null(0).to_numpy() + 500, 1000)
        whole = pc.if_else(whole.is_null(), pa.scalar(None, pa.int64()), pa.array(numbers))
    low, high = pa.scalar(_EARLIEST // scale), pa.scalar(_LATEST // scale)
    outside = pc.or_(pc.less(whole, low), pc.greater(whole, high))
    whole = pc.if_else(outside, pa.scalar(None, pa.int64()), whole)
    return pc.multiply(whole, scale).cast(kind), _mask(outside)


def _mask(flags: pa.Array) -> np.ndarray:
    found: np.ndarray = flags.fill_null(False).to_numpy(zero_copy_only=False)
    return found


_TAKEN: dict[str, Callable[[pa.Array, Any], _Taken]] = {
    "boolean": _truths,
    "integer": _integers,
    "long": _integers,
    "float": _numbers,
    "double": _numbers,
    "string": _texts,
    "binary": _bytes,
    "datetime": _moments,
}
"""By MLflow's kind: takes an array whose type vouches for its values, and says which do not fit."""
