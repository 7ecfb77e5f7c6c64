"""What a dataset is, apart from how it came: its typed values, and their digest.

The same rows as a DataFrame, a CSV file and a Parquet file have the same digest, because all are
first brought to one form. Its types are those that every format can give back:

=====================================  ===========================================
given                                  kept as
=====================================  ===========================================
integers of any width                  int64 (uint64 where needed)
integers with missing values           float64, as pandas reads them
floats, decimals                       float64, NaN is a missing value
text, categories                       text
text of ISO 8601 dates in every row    timestamps
dates, timestamps                      timestamps, in UTC where they have a zone
times of day                           text
a column without any value             float64
=====================================  ===========================================

The digest is SHA-256 over the column names, types and values, columns sorted by name, rows sorted
by a hash of their values: their order does not count, nor do chunks, files, or the index.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlops_magics.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Content"]

_FORMAT = "mlops-dataset/1"
_EXACT = 2**53  # integers up to here are exact in float64
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?")


@dataclass(frozen=True)
class Content:
    """A table in its one form, and the digest of its values.

    Attributes
    ----------
    table : pyarrow.Table
        Columns in the order given, types as in the module's table.
    digest : str
        64 hexadecimal digits.

    Examples
    --------
    >>> first = Content.of(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    >>> second = Content.of(pd.DataFrame({"b": ["y", "x"], "a": [2, 1]}, index=[7, 9]))
    >>> first.digest == second.digest
    True
    """

    table: Any
    digest: str

    @classmethod
    def of(cls, data: pd.DataFrame | pa.Table) -> Content:
        """Bring a DataFrame or an Arrow table to the one form.

        Raises
        ------
        DataError
            No rows or columns, a column name that is empty, no text or twice there, or values of
            a type that a table cannot hold; names the column and an example.
        """
        names = list(data.columns) if isinstance(data, pd.DataFrame) else list(data.column_names)
        _check_names(names)
        if not len(data):
            raise DataError(
                f"there are no rows, only the columns {', '.join(names[:8])}",
                hint="check the source, or the query's conditions",
            )
        if isinstance(data, pd.DataFrame):
            columns = [_from_series(name, data[name]) for name in names]
        else:
            columns = [data[name] for name in names]
        fields = [_canonical(name, column) for name, column in zip(names, columns, strict=True)]
        table = pa.table(dict(zip(names, fields, strict=True)))
        return cls(table, _digest(table))

    def frame(self) -> pd.DataFrame:
        """Return the rows as a DataFrame."""
        return self.table.to_pandas()


def _check_names(names: list[Any]) -> None:
    if not names:
        raise DataError("there are no columns", hint="check the source")
    for name in names:
        if not isinstance(name, str):
            raise DataError(
                f"the column name {name!r} is {_a(type(name).__name__)}, not text",
                hint="rename: df.columns = df.columns.map(str)",
            )
        if not name.strip():
            raise DataError(f"a column has the empty name {name!r}", hint="give it a name")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"the column name {twice[0]!r} is there {names.count(twice[0])} times",
            hint="rename or drop one of them",
        )


def _from_series(name: str, series: pd.Series) -> Any:
    dtype = series.dtype
    if isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype)) or dtype.kind == "c":
        raise _unsupported(name, str(dtype), series.iloc[0])
    if isinstance(dtype, pd.SparseDtype):
        series = series.sparse.to_dense()
    if isinstance(dtype, pd.CategoricalDtype) and dtype.categories.dtype == object:
        series = series.astype(object)
    if series.dtype == object:
        _check_objects(name, series)
    if isinstance(dtype, pd.DatetimeTZDtype):  # pyarrow would use what pandas deprecates
        instants = pa.array(series.dt.tz_convert(None), from_pandas=True)
        return instants.cast(pa.timestamp(instants.type.unit, "UTC"))
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as exc:
        value = next(iter(series.dropna()), None)
        raise _unsupported(name, type(value).__name__, value) from exc


def _check_objects(name: str, series: pd.Series) -> None:
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind in {"string", "boolean", "integer", "floating", "mixed-integer-float", "decimal"} | {
        "datetime",
        "datetime64",
        "date",
        "time",
        "timedelta",
        "timedelta64",
        "empty",
    }:
        return
    values = series.dropna()
    examples = {type(value): value for value in values}
    if len(examples) > 1:
        (one, first), (other, second) = list(examples.items())[:2]
        raise DataError(
            f"column {name!r} mixes {one.__name__} ({_shown(first)}) "
            f"and {other.__name__} ({_shown(second)})",
            hint=f"make it one type, for example df[{name!r}] = df[{name!r}].astype(str)",
        )
    value = values.iloc[0]
    raise _unsupported(name, type(value).__name__, value)


def _canonical(name: str, column: Any) -> Any:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # too large for one chunk of 32-bit offsets
            column = column.cast(pa.large_string()).combine_chunks()
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _canonical(name, column.dictionary_decode())
    if pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_nan(column), None, column)
    if column.null_count == len(column):
        return pa.nulls(len(column), pa.float64())
    if pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column
    if pa.types.is_integer(kind):
        return _integers(column)
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return _texts(column)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return _times(column)
    if pa.types.is_time(kind):
        return column.cast(pa.string())
    value = column.drop_null()[0].as_py()
    raise _unsupported(name, str(kind), value)


def _integers(column: Any) -> Any:
    bounds = pc.min_max(column).as_py()
    if column.null_count and max(abs(bounds["min"]), abs(bounds["max"])) <= _EXACT:
        return column.cast(pa.float64())
    return column.cast(pa.int64() if bounds["max"] < 2**63 else pa.uint64())


def _texts(column: Any) -> Any:
    first = next(value for value in column if value.is_valid).as_py()
    if _ISO.fullmatch(first.strip()):
        for zone in (None, "UTC"):
            try:
                return _times(column.cast(pa.timestamp("ns", zone)))
            except pa.ArrowInvalid:
                continue  # not every value is one, or years beyond nanoseconds: it stays text
    return column.cast(pa.large_string() if column.nbytes > 2**31 - 1 else pa.string())


def _times(column: Any) -> Any:
    """Microseconds, or nanoseconds where a value needs them."""
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us"))
    if pa.types.is_duration(kind):
        coarse, fine = pa.duration("us"), pa.duration("ns")
    else:
        zone = "UTC" if kind.tz else None
        coarse, fine = pa.timestamp("us", zone), pa.timestamp("ns", zone)
    try:
        return column.cast(coarse)
    except pa.ArrowInvalid:
        return column.cast(fine)


def _unsupported(name: str, kind: str, value: Any) -> DataError:
    ways = {
        "dict": "flatten it with pandas.json_normalize",
        "list": "give each element its own column, or a row: df.explode()",
        "bytes": "decode it, or keep a path to the file instead",
    }
    hint = ways.get(type(value).__name__, f"turn it into numbers or text: df[{name!r}].astype(str)")
    return DataError(
        f"column {name!r} holds {kind} values, which a table cannot hold: {_shown(value)}",
        hint=hint,
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _a(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def _digest(table: Any) -> str:
    names = sorted(table.column_names)

    def numbers(place: int) -> tuple[bytes, NDArray[Any] | None, NDArray[Any], NDArray[np.uint64]]:
        name = names[place]
        head, valid, values = _values(name, table[name].combine_chunks())
        bits = values.astype(np.uint64) if values.itemsize < 8 else values.view(np.uint64)
        seed = np.uint64((place + 1) * 0x9E3779B97F4A7C15 & (2**64 - 1))
        mixed = _mix(bits + seed)
        if valid is not None:
            mixed[~valid] = seed
        return head, valid, values, mixed

    # NumPy, Arrow and hashlib leave Python's lock while they compute
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        order_key = np.zeros(table.num_rows, dtype=np.uint64)
        columns = []
        for head, valid, values, mixed in pool.map(numbers, range(len(names))):
            order_key = _mix(order_key ^ mixed)
            columns.append((head, valid, values))
        order = np.argsort(order_key, kind="stable")

        def ordered(column: tuple[bytes, NDArray[Any] | None, NDArray[Any]]) -> bytes:
            head, valid, values = column
            part = hashlib.sha256(head)
            if valid is not None:
                part.update(np.packbits(valid[order]).data)
            part.update(np.ascontiguousarray(values[order]).data)
            return part.digest()

        total = hashlib.sha256(json.dumps([_FORMAT, table.num_rows, len(names)]).encode())
        for part in pool.map(ordered, columns):
            total.update(part)
    return total.hexdigest()


def _values(name: str, column: Any) -> tuple[bytes, NDArray[Any] | None, NDArray[Any]]:
    """Return what identifies the column, which rows have a value, and the values as numbers."""
    kind = column.type
    valid = None if not column.null_count else column.is_valid().to_numpy(zero_copy_only=False)
    extra = b""
    values: NDArray[Any]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        kind = pa.string()
        encoded = column.dictionary_encode()
        texts = encoded.dictionary.cast(pa.large_string())
        ascending = pc.sort_indices(texts)
        texts = texts.take(ascending)
        ranks = np.empty(len(texts), dtype="<u4")
        ranks[ascending.to_numpy()] = np.arange(len(texts), dtype="<u4")
        indices = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
        values = ranks[indices]
        lengths = pc.binary_length(texts).to_numpy().astype("<u8")
        extra = lengths.tobytes() + "".join(texts.to_pylist()).encode()
    elif pa.types.is_boolean(kind):
        values = column.fill_null(False).to_numpy(zero_copy_only=False).astype("u1")
    elif pa.types.is_floating(kind):
        # adding zero makes -0.0 and 0.0 one value
        values = column.fill_null(0.0).to_numpy(zero_copy_only=False).astype("<f8") + 0.0
    else:
        whole = pa.uint64() if kind == pa.uint64() else pa.int64()
        values = column.cast(whole).fill_null(0).to_numpy(zero_copy_only=False)
        values = values.astype("<u8" if whole == pa.uint64() else "<i8", copy=False)
    if valid is not None:
        values = np.where(valid, values, values.dtype.type(0))
    head = json.dumps([name, str(kind), len(extra), valid is not None]).encode()
    return head + b"\n" + extra, valid, values


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64 bits over 64 bits (the finaliser of SplitMix64, Steele et al., 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
