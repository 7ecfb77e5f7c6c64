"""Validation: types compiled from a model's signature, strict, without coercion.

A request is decoded and validated in one pass by msgspec against a type made from MLflow's
signature. Text is not a number, 1.5, 1.0 and true are no integers, and integers keep to their
column's range. Decoders are compiled once for each order of columns and kept in a bounded cache.
"""

from __future__ import annotations

import json
import operator
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mlops_magics.errors import SignatureMissing, UnsupportedModel
from mlops_magics.serving.columns import SPOKEN, Column, Invalid, check_wide
from mlops_magics.serving.params import Params
from mlops_magics.serving.tensors import Output, outputs_of

__all__ = ["Column", "Invalid", "Schema"]

Row = tuple[Any, ...]

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


class Schema:
    """The input columns of a model, and the decoders made from them.

    Parameters
    ----------
    columns : sequence of Column
        In the model's order; decoded rows are tuples in this order. Of tensors a row's entry is
        a nested list.
    params : Params, optional
        What requests may say beside their rows.
    outputs : sequence of Output, optional
        What the model gives for a row.
    unnamed : bool
        Whether the only input is a tensor without a name.

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

    def __init__(
        self,
        columns: Sequence[Column],
        params: Params | None = None,
        outputs: Sequence[Output] = (Output("prediction", "FP64"),),
        *,
        unnamed: bool = False,
    ) -> None:
        self.columns = tuple(columns)
        self.params = params or Params()
        self.outputs = tuple(outputs)
        self.unnamed = unnamed
        self.tensors = any(column.shape is not None for column in columns)
        self._wide = [place for place, one in enumerate(columns) if one.kind == "uint64"]
        self.names = tuple(column.name for column in columns)
        self.by_name = {column.name: column for column in columns}
        self._orders: OrderedDict[tuple[str, ...], Callable[[Any], list[Row]]] = OrderedDict()
        self._lists = {column.name: _decoder(column.type) for column in self.columns}
        self._flat: dict[tuple[str, bool], Any] = {}
        self._records = _decoder(self._record_type())
        self._optional = any(column.may_be_absent for column in self.columns)

    @classmethod
    def from_signature(cls, signature: Mapping[str, Any] | None) -> Schema:
        """Compile MLflow's signature, as ``ModelSignature.to_dict`` or the manifest has it.

        Raises
        ------
        SignatureMissing
            There is none.
        UnsupportedModel
            An input or a parameter is of a nested type, or tensors and columns are mixed.
        """
        inputs = (signature or {}).get("inputs")
        if isinstance(inputs, str):
            inputs = json.loads(inputs)
        if not inputs:
            raise SignatureMissing("the package has no signature, so requests cannot be checked")
        columns = [Column.from_spec(spec, len(inputs) == 1) for spec in inputs]
        if len({column.shape is None for column in columns}) > 1:
            raise UnsupportedModel("a signature of both columns and tensors cannot be served")
        unnamed = columns[0].shape is not None and inputs[0].get("name") is None
        params, outputs = Params.from_signature(signature), outputs_of(signature)
        return cls(columns, params, outputs, unnamed=unnamed)

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
        if self._wide:
            self._check_wide(rows)
        return rows, keys

    def column(self, name: str, data: bytes | msgspec.Raw) -> list[Any]:
        """Decode an array of one column's values."""
        try:
            values: list[Any] = self._lists[name].decode(data)
        except msgspec.DecodeError as exc:
            raise Invalid(self._explain(exc, None, name)) from exc
        check_wide(self.by_name[name].kind, values)
        return values

    def _check_wide(self, rows: Sequence[Row]) -> None:
        for place in self._wide:
            check_wide(self.columns[place].kind, [row[place] for row in rows])

    def values(self, name: str, data: bytes) -> list[Any]:
        """Decode one column's values that stand one after the other, or row by row."""
        column = self.by_name[name]
        by_row = data[1:].lstrip().startswith(b"[")
        decoder = self._flat.get((name, by_row))
        if decoder is None:
            shape = (column.shape or (1,)) if by_row else None
            decoder = _decoder(column.shaped(shape))
            self._flat[name, by_row] = decoder
        try:
            values: list[Any] = decoder.decode(data)
        except msgspec.DecodeError as exc:
            raise Invalid(self._explain(exc, None, name)) from exc
        for _ in (column.shape or (1,)) if by_row else ():
            values = [value for row in values for value in row]
        check_wide(column.kind, values)
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
        missing = [c.name for c in self.columns if c.name not in seen and not c.may_be_absent]
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
            if arrange is not None:
                rows = [arrange(row) for row in rows]
            if self._wide:
                self._check_wide(rows)
            return rows

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
            if not column.may_be_absent:
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
                place, _, rest = rest[1:].partition("]")
                name = order[int(place)]
            elif rest.startswith("."):
                # a name may have any character, so it is looked for, not parsed
                name = max((n for n in order if rest.startswith(f".{n}")), key=len, default=None)
                rest = rest[1 + len(name or "") :]
        if name is None:
            return f"row {row[1]}: {self._explain_row(message)}"
        where = f"row {row[1]}, column {name!r}"
        return f"{where}{f' at {rest}' if rest else ''}: {self._explain_value(message, name)}"

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
        spoken = SPOKEN[column.kind]
        if found := re.match(r"Expected `array` of length [<>]= (\d+)", message):
            shape = list(column.shape or ())
            return f"expected {found[1]} entries here; a row has the shape {shape}"
        if found := re.match(r"Expected `(.*)`, got `(\w+)`", message):
            spoken = "an array" if found[1] == "array" else spoken
            return f"expected {spoken}, got {_JSON_WORDS.get(found[2], found[2])}"
        if "out of range" in message or re.match(r"Expected `\w+( \| null)?` [<>]=", message):
            return f"out of the range of {spoken}"
        return f"expected {spoken}"


def _decoder(item: Any) -> Any:
    """Return a decoder of arrays of a type that is made at run time."""
    return msgspec.json.Decoder(list.__class_getitem__(item))
