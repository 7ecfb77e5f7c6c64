"""MLflow's scoring protocol: JSON in its four forms, parameters, and CSV.

Source: https://mlflow.org/docs/latest/ml/deployment/ (request and response of ``/invocations``).
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any, NamedTuple

import msgspec

from mlops_magics.serving.validation import Column, Invalid, Schema

__all__ = ["decode_csv", "decode_invocation", "refuse_duplicates", "spoken"]

Rows = list[tuple[Any, ...]]


class _Invocation(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: msgspec.Raw = msgspec.Raw()
    dataframe_records: msgspec.Raw = msgspec.Raw()
    instances: msgspec.Raw = msgspec.Raw()
    inputs: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str]
    data: msgspec.Raw
    index: msgspec.Raw = msgspec.Raw()


_invocation = msgspec.json.Decoder(_Invocation)
_split = msgspec.json.Decoder(_Split)
_columns = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Invocation(NamedTuple):
    """The body of ``/invocations``.

    Attributes
    ----------
    rows : list of tuples
    params : bytes
        As JSON.
    text : bytes
        The rows as they came, where that is an array of arrays in the signature's order.
    """

    rows: Rows
    params: bytes = b""
    text: bytes = b""


def decode_invocation(body: bytes, schema: Schema) -> Invocation:
    """Decode and validate the body of ``/invocations``.

    Raises
    ------
    Invalid
        With a message for the client that names row and column.

    Examples
    --------
    >>> from mlops_magics.serving.validation import Column, Schema
    >>> schema = Schema([Column("x", "long")])
    >>> decode_invocation(b'{"dataframe_records": [{"x": 9007199254740993}]}', schema).rows
    [(9007199254740993,)]
    """
    try:
        request = _invocation.decode(body)
        given = [
            (name, raw)
            for name in ("dataframe_split", "dataframe_records", "instances", "inputs")
            if bytes(raw := getattr(request, name))
        ]
        if len(given) != 1:
            raise Invalid(
                "give exactly one of dataframe_split, dataframe_records, instances, inputs"
            )
        params, extra = schema.params.default, 0
        if bytes(request.params):
            params, extra = _params(bytes(request.params), schema)
        name, raw = given[0]
        text = b""
        if name == "dataframe_split":
            split = _split.decode(raw)
            rows = schema.split(split.columns, split.data)
            keys = 3
            if tuple(split.columns) == schema.names:
                text = bytes(split.data)
        elif name == "dataframe_records":
            rows, keys = schema.records(raw)
            keys += 1
        else:
            rows, keys = _free_form(bytes(raw), schema)
    except RecursionError as exc:
        raise Invalid("the body is nested too deeply") from exc
    except UnicodeDecodeError as exc:
        raise Invalid("the body is no UTF-8") from exc
    except msgspec.DecodeError as exc:
        raise Invalid(spoken(exc)) from exc
    # as many colons as keys: no key can be there twice, and the slow look is not needed
    if body.count(b":") != keys + extra:
        refuse_duplicates(body)
    return Invocation(rows, params, text)


def _params(raw: bytes, schema: Schema) -> tuple[bytes, int]:
    """Validate ``params``; tell also how many keys there were."""
    if raw == b"null":
        return schema.params.default, 1
    try:
        given = _columns.decode(raw)
    except msgspec.DecodeError as exc:
        raise Invalid("params is no object of names and values") from exc
    return schema.params.encode(given), 1 + len(given)


def _free_form(raw: bytes, schema: Schema) -> tuple[Rows, int]:
    """Decode ``inputs`` or ``instances``: records, rows in the signature's order, or columns.

    Of a single tensor, the array itself may be given.
    """
    text = raw.lstrip()
    if text.startswith(b"{"):
        columns = _columns.decode(text)
        schema.check_names(columns)
        decoded = {name: schema.column(name, data) for name, data in columns.items()}
        return schema.rows(decoded), len(columns) + 1
    if text[1:].lstrip().startswith(b"{"):
        rows, keys = schema.records(text)
        return rows, keys + 1
    if schema.tensors and len(schema.columns) == 1:
        return [(entry,) for entry in schema.column(schema.names[0], text)], 1
    return schema.split(schema.names, text), 1


def refuse_duplicates(body: bytes) -> None:
    """Raise Invalid if any object has a key twice, which JSON parsers resolve differently."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise Invalid(f"duplicate key {twice!r}")
        return found

    try:
        json.loads(body, object_pairs_hook=check)
    except Invalid:
        raise
    except (ValueError, RecursionError) as exc:
        raise Invalid("the body is no JSON that can be read") from exc


def decode_csv(body: bytes, schema: Schema) -> Rows:
    r"""Decode a CSV with a header; an empty field is a null.

    Examples
    --------
    >>> from mlops_magics.serving.validation import Column, Schema
    >>> schema = Schema([Column("x", "long"), Column("name", "string")])
    >>> decode_csv(b"name,x\nUA,7\n", schema)
    [(7, 'UA')]
    """
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = next(reader, None)
        if header is None:
            raise Invalid("the body is empty; the first line names the columns")
        schema.check_names(header)
        columns = [schema.by_name[name] for name in header]
        lines: list[list[Any]] = []
        for index, line in enumerate(reader):
            if len(line) != len(header):
                raise Invalid(f"row {index}: {len(line)} values for {len(header)} columns")
            lines.append([_parse(t, c, index) for t, c in zip(line, columns, strict=True)])
    except UnicodeDecodeError as exc:
        raise Invalid("the body is no UTF-8") from exc
    except csv.Error as exc:
        raise Invalid(f"malformed CSV: {exc}") from exc
    # through the same decoders, so that bounds and nulls are treated the same
    return schema.split(header, msgspec.json.encode(lines))


_NUMBERS = {"integer", "long", "float", "double"}


def _parse(text: str, column: Column, row: int) -> Any:
    if text == "" and (column.kind != "string" or not column.required):
        return None
    if column.kind in _NUMBERS and ("_" in text or not text.isascii()):
        return text  # Python would read digits of any script, and underscores between them
    try:
        if column.kind in ("integer", "long"):
            return int(text)
        if column.kind in ("float", "double"):
            value = float(text)
            return value if math.isfinite(value) else text
    except ValueError:
        return text  # refused by the decoder, with row and column
    if column.kind == "boolean":
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    return text


def spoken(exc: msgspec.DecodeError) -> str:
    """Turn msgspec's message into one for the client."""
    if isinstance(exc, msgspec.ValidationError):
        message, _, path = str(exc).partition(" - at `$")
        where = path.rstrip("`").lstrip(".")
        return f"{where}: {message}" if where else message[:1].lower() + message[1:]
    return "the body is no valid JSON: " + str(exc).removeprefix("JSON is malformed: ")
