"""Validation: types compiled from a model's signature, strict, without coercion.

A request is decoded and validated in one pass by msgspec against a type made from MLflow's
signature. Text is not a number, 1.5, 1.0 and true are no integers, and integers keep to their
column's range. Decoders are compiled once for each order of columns and kept in a bounded cache.
"""

from __future__ import annotations

import datetime
import json
import operator
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mlops_magics.errors import SignatureMissing, UnsupportedModel

__all__ = ["Column", "Invalid", "Schema"]

Row = tuple[Any, ...]

_INT32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
_INT64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: dict[str, Any] = {
    "boolean": bool,
    "integer": _INT32,
    "long": _INT64,
    "float": float,
    "double": float,
    "string": str,
    "binary": bytes,
    "datetime": datetime.datetime,
}
_SPOKEN = {
    "boolean": "true or false",
    "integer": "a 32-bit integer",
    "long": "a 64-bit integer",
    "float": "a number",
    "double": "a number",
    "string": "text",
    "binary": "base64 text",
    "datetime": "a date and time (RFC 3339)",
}
_JSON_WORDS = {
    "int": "an integer",
    "float": "a number with a fraction",
    "bool": "a truth value",
    "str": "text",
    "null": "null",
    "array": "an array",
    "object": "an object",
}
_CACHED_ORDERS = 64


class Invalid(ValueError):
    """A request that does not fit the signature; the message is for the client."""


@dataclass(frozen=True)
class Column:
    """One input column of a signature."""

    name: str
    kind: str
    required: bool = True

    @property
    def type(self) -> Any:
        """The msgspec type."""
        kind = _TYPES[self.kind]
        return kind if self.required else kind | None


class Schema:
    """The input columns of a model, and the decoders made from them.

    Parameters
    ----------
    columns : sequence of Column
        In the model's order; decoded rows are tuples in this order.

    Examples
    --------
    >>> schema = Schema([Column("hour", "integer"), Column("carrier", "string", required=False)])
    >>> schema.split(["carrier", "hour"], b'[["UA", 7], [null, 8]]')
    [(7, 'UA'), (8, None)]
    >>> try:
    ...     schema.split(["hour"], b'[["7"]]')
    ... except Invalid as refused:
    ...     print(refused)
    row 0, column 'hour': expected a 32-bit integer, got text
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in columns)
        self.by_name = {column.name: column for column in columns}
        self._orders: OrderedDict[tuple[str, ...], Callable[[Any], list[Row]]] = OrderedDict()
        self._lists = {column.name: _decoder(column.type) for column in self.columns}
        self._records = _decoder(self._record_type())
        self._optional = not all(column.required for column in self.columns)

    @classmethod
    def from_signature(cls, signature: Mapping[str, Any] | None) -> Schema:
        """Compile MLflow's signature, as ``ModelSignature.to_dict`` or the manifest has it.

        Raises
        ------
        SignatureMissing
            There is none.
        UnsupportedModel
            It has tensors or nested types, which cannot be served as rows.
        """
        inputs = (signature or {}).get("inputs")
        if isinstance(inputs, str):
            inputs = json.loads(inputs)
        if not inputs:
            raise SignatureMissing("the package has no signature, so requests cannot be checked")
        columns = []
        for spec in inputs:
            kind, name = spec.get("type"), spec.get("name")
            if name is None or kind not in _TYPES:
                raise UnsupportedModel(
                    f"input {name!r} is of type {kind!r}; "
                    "only named columns of plain types are served",
                    hint="train and package the model on a DataFrame",
                )
            columns.append(Column(str(name), str(kind), bool(spec.get("required", True))))
        return cls(columns)

    def split(self, names: Sequence[str], data: bytes | msgspec.Raw) -> list[Row]:
        """Decode an array of rows whose columns stand in the order of ``names``."""
        order = tuple(names)
        decode = self._orders.get(order)
        if decode is None:
            decode = self._orders[order] = self._compile(order)
            if len(self._orders) > _CACHED_ORDERS:
                self._orders.popitem(last=False)
        return decode(data)

    def records(self, data: bytes | msgspec.Raw) -> tuple[list[Row], int]:
        """Decode an array of objects; tell also how many keys they had."""
        try:
            found = self._records.decode(data)
        except msgspec.DecodeError as exc:
            raise Invalid(self._explain(exc, self.names)) from exc
        rows: list[Row] = [msgspec.structs.astuple(item) for item in found]
        keys = len(rows) * len(self.names)
        if self._optional:
            for index, row in enumerate(rows):
                absent = sum(value is UNSET for value in row)
                if absent:
                    keys -= absent
                    rows[index] = tuple(None if value is UNSET else value for value in row)
        return rows, keys

    def column(self, name: str, data: bytes | msgspec.Raw) -> list[Any]:
        """Decode an array of one column's values."""
        try:
            values: list[Any] = self._lists[name].decode(data)
        except msgspec.DecodeError as exc:
            raise Invalid(self._explain(exc, None, name)) from exc
        return values

    def rows(self, columns: Mapping[str, Sequence[Any]]) -> list[Row]:
        """Put decoded columns together to rows."""
        self.check_names(list(columns))
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name!r} {count}" for name, count in lengths.items())
            raise Invalid(f"columns differ in length: {told}")
        count = next(iter(lengths.values()), 0)
        absent: Sequence[Any] = [None] * count
        return list(zip(*(columns.get(name, absent) for name in self.names), strict=True))

    def check_names(self, names: Iterable[str]) -> None:
        """Raise Invalid, naming them, for duplicate, unknown or missing columns."""
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise Invalid(f"duplicate column {name!r}")
            if name not in self.by_name:
                raise Invalid(f"unknown column {name!r}; the model takes {self._known()}")
            seen.add(name)
        missing = [c.name for c in self.columns if c.required and c.name not in seen]
        if missing:
            noun = "column" if len(missing) == 1 else "columns"
            raise Invalid(f"missing {noun} {', '.join(map(repr, missing))}")

    def _known(self) -> str:
        shown = ", ".join(map(repr, self.names[:20]))
        return shown + (", …" if len(self.names) > 20 else "")

    def _compile(self, order: tuple[str, ...]) -> Callable[[Any], list[Row]]:
        self.check_names(order)
        decoder = _decoder(tuple.__class_getitem__(tuple(self.by_name[n].type for n in order)))
        arrange = self._arrange(order)

        def decode(data: bytes | msgspec.Raw) -> list[Row]:
            try:
                rows: list[Row] = decoder.decode(data)
            except msgspec.DecodeError as exc:
                raise Invalid(self._explain(exc, order)) from exc
            return rows if arrange is None else [arrange(row) for row in rows]

        return decode

    def _arrange(self, order: tuple[str, ...]) -> Callable[[Row], Row] | None:
        if order == self.names:
            return None
        place = {name: index for index, name in enumerate(order)}
        if len(order) == len(self.names) and len(order) > 1:
            return operator.itemgetter(*(place[name] for name in self.names))
        places = [place.get(name) for name in self.names]
        return lambda row: tuple(None if i is None else row[i] for i in places)

    def _record_type(self) -> Any:
        fields: list[tuple[str, Any, Any]] = []
        for index, column in enumerate(self.columns):
            if column.required:
                fields.append((f"f{index}", column.type, msgspec.NODEFAULT))
            else:
                fields.append((f"f{index}", column.type | UnsetType, UNSET))
        return msgspec.defstruct(
            "Record",
            fields,
            kw_only=True,
            forbid_unknown_fields=True,
            rename={f"f{index}": name for index, name in enumerate(self.names)},
            gc=False,
        )

    def _explain(
        self, exc: msgspec.DecodeError, order: Sequence[str] | None, name: str | None = None
    ) -> str:
        """Turn msgspec's message and path into one that names row and column."""
        message, _, path = str(exc).partition(" - at `")
        path = path.rstrip("`")
        row = re.match(r"\$\[(\d+)\]", path)
        if row is None:
            if message.startswith("Expected `array`"):
                return "the rows are no array"
            return message[:1].lower() + message[1:]
        rest = path[row.end() :]
        if name is None and order is not None:
            if rest.startswith("["):
                name = order[int(rest[1:].split("]")[0])]
            elif rest.startswith("."):
                name = rest[1:]
        if name is None:
            return f"row {row[1]}: {self._explain_row(message)}"
        return f"row {row[1]}, column {name!r}: {self._explain_value(message, name)}"

    def _explain_row(self, message: str) -> str:
        if found := re.match(r"Object missing required field `(.*)`$", message, re.S):
            return f"missing column {found[1]!r}"
        if found := re.match(r"Object contains unknown field `(.*)`$", message, re.S):
            return f"unknown column {found[1]!r}; the model takes {self._known()}"
        if found := re.match(r"Expected `array` of length (\d+)(?:, got (\d+))?", message):
            return f"has not as many values as there are columns ({found[1]})"
        return message[:1].lower() + message[1:]

    def _explain_value(self, message: str, name: str) -> str:
        column = self.by_name.get(name)
        if column is None:
            return message
        spoken = _SPOKEN[column.kind]
        if found := re.match(r"Expected `.*`, got `(\w+)`", message):
            return f"expected {spoken}, got {_JSON_WORDS.get(found[1], found[1])}"
        if "out of range" in message or re.match(r"Expected `int` [<>]=", message):
            return f"out of the range of {spoken}"
        return f"expected {spoken}"


def _decoder(item: Any) -> Any:
    """Return a decoder of arrays of a type that is made at run time."""
    return msgspec.json.Decoder(list.__class_getitem__(item))
