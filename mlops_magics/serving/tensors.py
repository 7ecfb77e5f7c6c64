"""Tensors of the Open Inference Protocol: datatypes, flat values, and bytes.

Bytes are row-major and little-endian; a text is its length in four bytes and its UTF-8.
"""

from __future__ import annotations

import datetime
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from mlops_magics.serving.columns import Column, Invalid

__all__ = ["Output", "accepted", "datatype", "nested", "outputs_of", "pack", "unpack"]

PREDICTION = "prediction"
"""What an output is called that the model gives without a name."""

_NUMBERS = {
    "BOOL": "?",
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
_INTEGERS = frozenset(name for name in _NUMBERS if "INT" in name)
_FLOATS = frozenset({"FP16", "FP32", "FP64"})
_NAMES = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "bool": "BOOL",
    **{f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
}
_LENGTH = struct.Struct("<I")


def datatype(column: Column) -> str:
    """Return the protocol's name of a column's type.

    Examples
    --------
    >>> datatype(Column("x", "long")), datatype(Column("x", "string"))
    ('INT64', 'BYTES')
    """
    return _NAMES.get(column.kind, "BYTES")


def accepted(column: Column) -> frozenset[str]:
    """Return the datatypes that a column takes: each value is then held to both."""
    own = datatype(column)
    if own in _INTEGERS:
        return _INTEGERS
    return _FLOATS | _INTEGERS if own in _FLOATS else frozenset({own})


def nested(flat: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """Group flat values to rows of a shape.

    Examples
    --------
    >>> nested([1, 2, 3, 4], [2])
    [[1, 2], [3, 4]]
    """
    values = list(flat)
    for length in reversed(shape):
        values = [values[start : start + length] for start in range(0, len(values), length)]
    return values


def unpack(kind: str, data: bytes, column: Column, count: int) -> list[Any]:
    """Decode a tensor given as bytes to flat values.

    Raises
    ------
    Invalid
        It has not as many bytes as its shape and datatype ask for, or a value is not allowed.
    """
    name = column.name
    if kind == "BYTES" and column.kind == "binary":
        return _slices(data, name)
    if kind == "BYTES":
        return [_checked(value, column) for value in _texts(data, name)]
    dtype = np.dtype(_NUMBERS[kind])
    if len(data) != count * dtype.itemsize:
        raise Invalid(
            f"input {name!r}: {len(data)} bytes for {count} values of {kind} "
            f"({count * dtype.itemsize} bytes)"
        )
    if kind == "BOOL" and data.translate(None, b"\x00\x01"):
        raise Invalid(f"input {name!r}: a byte is neither 0 nor 1")
    values: list[Any] = np.frombuffer(data, dtype).tolist()
    if kind in _FLOATS:
        for index, value in enumerate(values):
            if math.isnan(value) and not column.required:
                values[index] = None
            elif not math.isfinite(value):
                raise Invalid(f"input {name!r}: the value at {index} is not finite")
        # through the column's own type, which has its range
        return [_checked(value, column) for value in values] if kind != "FP16" else values
    if datatype(column) in _FLOATS:
        return [float(value) for value in values]
    return [_checked(value, column) for value in values]


def _texts(data: bytes, name: str) -> list[str]:
    try:
        return [text.decode() for text in _slices(data, name)]
    except UnicodeDecodeError as exc:
        raise Invalid(f"input {name!r}: a text is no UTF-8") from exc


def _slices(data: bytes, name: str) -> list[bytes]:
    slices: list[bytes] = []
    place = 0
    while place < len(data):
        end = place + _LENGTH.size
        if end > len(data):
            raise Invalid(f"input {name!r}: a text's length is cut off")
        (length,) = _LENGTH.unpack_from(data, place)
        place = end + length
        if place > len(data):
            raise Invalid(f"input {name!r}: a text of {length} bytes is cut off")
        slices.append(data[end:place])
    return slices


def _checked(value: Any, column: Column) -> Any:
    """Hold a value to its column's own type, as if it had come as JSON."""
    try:
        return msgspec.convert(value, column.value_type)
    except msgspec.ValidationError as exc:
        shown = repr(value)[:40]
        raise Invalid(f"input {column.name!r}: {shown} does not fit {datatype(column)}") from exc


def pack(kind: str, flat: Sequence[Any]) -> bytes | None:
    """Encode flat values as bytes; None where they cannot be: an integer or a text is missing."""
    if kind == "BYTES":
        if any(value is None for value in flat):
            return None
        texts = [value.encode() for value in flat]
        return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    if kind in _FLOATS:
        flat = [math.nan if value is None else value for value in flat]
    elif any(value is None for value in flat):
        return None
    return np.asarray(flat, dtype=_NUMBERS[kind]).tobytes()


@dataclass(frozen=True)
class Output:
    """One output of a model.

    Attributes
    ----------
    name, datatype : str
    shape : tuple of int
        Of one row.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = ()

    def flat(self, values: list[Any]) -> tuple[str, list[int], list[Any]]:
        """Return datatype, shape and flat values of an answer.

        The datatype is the declared one where the values fit it.

        Examples
        --------
        >>> Output("p", "FP64", (2,)).flat([[0.25, 0.75]])
        ('FP64', [1, 2], [0.25, 0.75])
        """
        shape = [len(values)]
        if not values:
            return self.datatype, [0, *self.shape], []
        while values and isinstance(values[0], (list, tuple)):
            if any(len(row) != len(values[0]) for row in values):
                return "BYTES", shape, [_text(value) for value in values]
            shape.append(len(values[0]))
            values = [value for row in values for value in row]
        kind = self.datatype if _fits(self.datatype, values) else _kind(values)
        if kind == "BYTES":
            values = [None if value is None else _text(value) for value in values]
        return kind, shape, values


def _fits(kind: str, values: list[Any]) -> bool:
    known = [value for value in values if value is not None]
    if kind == "BYTES":
        return any(not isinstance(value, (bool, int, float)) for value in known)
    if kind == "BOOL":
        return all(isinstance(value, bool) for value in known)
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in known):
        return False
    if kind in _FLOATS:
        return True
    bounds = np.iinfo(_NUMBERS[kind])
    return all(isinstance(value, int) and bounds.min <= value <= bounds.max for value in known)


def _kind(values: list[Any]) -> str:
    return next((kind for kind in ("BOOL", "INT64", "FP64") if _fits(kind, values)), "BYTES")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return msgspec.json.encode(value).decode()


def outputs_of(signature: Mapping[str, Any] | None) -> list[Output]:
    """Read the outputs of MLflow's signature.

    Examples
    --------
    >>> outputs_of({"outputs": [{"name": "late", "type": "long"}]})
    [Output(name='late', datatype='INT64', shape=())]
    """
    specs = (signature or {}).get("outputs") or []
    if isinstance(specs, str):
        specs = json.loads(specs)
    found = []
    for spec in specs:
        kind, shape = str(spec.get("type")), []
        if kind == "tensor":
            tensor = spec.get("tensor-spec") or {}
            kind, shape = str(tensor.get("dtype")), list(tensor.get("shape") or ())[1:]
        name = str(spec.get("name") or PREDICTION)
        found.append(Output(name, _NAMES.get(kind, "BYTES"), tuple(map(int, shape))))
    return found or [Output(PREDICTION, "FP64")]
