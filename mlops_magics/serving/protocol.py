"""Protocols: MLflow's scoring protocol, CSV, and the Open Inference Protocol v2.

Sources: https://mlflow.org/docs/latest/ml/deployment/ (request and response of ``/invocations``);
https://github.com/kserve/open-inference-protocol (REST, version 2).
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from mlops_magics.serving.validation import Column, Invalid, Schema

__all__ = ["InferRequest", "decode_csv", "decode_infer", "decode_invocation", "infer_answer"]

Rows = list[tuple[Any, ...]]


class _Invocation(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: msgspec.Raw = msgspec.Raw()
    dataframe_records: msgspec.Raw = msgspec.Raw()
    instances: msgspec.Raw = msgspec.Raw()
    inputs: msgspec.Raw = msgspec.Raw()
    params: dict[str, Any] | None = None


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str]
    data: msgspec.Raw
    index: msgspec.Raw = msgspec.Raw()


class InferInput(msgspec.Struct):
    """One input tensor: here, a column."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw
    parameters: dict[str, Any] | None = None


class InferOutput(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct):
    """The body of ``/v2/models/NAME/infer``."""

    inputs: list[InferInput]
    id: str | None = None
    outputs: list[InferOutput] | None = None
    parameters: dict[str, Any] | None = None


_invocation = msgspec.json.Decoder(_Invocation)
_split = msgspec.json.Decoder(_Split)
_columns = msgspec.json.Decoder(dict[str, msgspec.Raw])
_infer = msgspec.json.Decoder(InferRequest)


def decode_invocation(body: bytes, schema: Schema) -> Rows:
    """Decode and validate the body of ``/invocations``.

    Raises
    ------
    Invalid
        With a message for the client that names row and column.

    Examples
    --------
    >>> from mlops_magics.serving.validation import Column, Schema
    >>> schema = Schema([Column("x", "long")])
    >>> decode_invocation(b'{"dataframe_records": [{"x": 9007199254740993}]}', schema)
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
        if request.params:
            raise Invalid(f"the model takes no parameter {next(iter(request.params))!r}")
        name, raw = given[0]
        if name == "dataframe_split":
            split = _split.decode(raw)
            rows = schema.split(split.columns, split.data)
            keys = 3
        elif name == "dataframe_records":
            rows, keys = schema.records(raw)
            keys += 1
        else:
            rows, keys = _free_form(bytes(raw), schema)
    except RecursionError as exc:
        raise Invalid("the body is nested too deeply") from exc
    except msgspec.DecodeError as exc:
        raise Invalid(_spoken(exc)) from exc
    # as many colons as keys: no key can be there twice, and the slow look is not needed
    if body.count(b":") != keys:
        refuse_duplicates(body)
    return rows


def _free_form(raw: bytes, schema: Schema) -> tuple[Rows, int]:
    """Decode ``inputs`` or ``instances``: records, rows in the signature's order, or columns."""
    text = raw.lstrip()
    if text.startswith(b"{"):
        columns = _columns.decode(text)
        schema.check_names(columns)
        decoded = {name: schema.column(name, data) for name, data in columns.items()}
        return schema.rows(decoded), len(columns) + 1
    if text[1:].lstrip().startswith(b"{"):
        rows, keys = schema.records(text)
        return rows, keys + 1
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


_RANGES: dict[str, tuple[int, int]] = {
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
_FLOATS = {"FP16", "FP32", "FP64"}
_ACCEPTED: dict[str, set[str]] = {
    "boolean": {"BOOL"},
    "integer": set(_RANGES),
    "long": set(_RANGES),
    "float": _FLOATS | set(_RANGES),
    "double": _FLOATS | set(_RANGES),
    "string": {"BYTES"},
    "binary": {"BYTES"},
    "datetime": {"BYTES"},
}
DATATYPES = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
}
"""The Open Inference Protocol's names of MLflow's column types."""


def decode_infer(body: bytes, schema: Schema) -> tuple[Rows, InferRequest]:
    """Decode and validate an inference request whose inputs are the model's columns.

    Raises
    ------
    Invalid
        With a message for the client that names the input.
    """
    try:
        request = _infer.decode(body)
        for output in request.outputs or ():
            if output.name != OUTPUT:
                raise Invalid(f"unknown output {output.name!r}; the model has {OUTPUT!r}")
        if not request.inputs:
            raise Invalid("inputs is empty")
        schema.check_names([entry.name for entry in request.inputs])
        columns = {entry.name: _tensor(entry, schema) for entry in request.inputs}
        rows = schema.rows(columns)
    except RecursionError as exc:
        raise Invalid("the body is nested too deeply") from exc
    except msgspec.DecodeError as exc:
        raise Invalid(_spoken(exc)) from exc
    keys = 1 + (request.id is not None) + 4 * len(request.inputs)
    if body.count(b":") != keys:
        refuse_duplicates(body)
    return rows, request


OUTPUT = "prediction"


def _tensor(entry: InferInput, schema: Schema) -> list[Any]:
    """Decode one column, and hold it to the shape and datatype that the request declares."""
    name, kind = entry.name, schema.by_name[entry.name].kind
    if entry.datatype not in _ACCEPTED[kind]:
        raise Invalid(
            f"input {name!r}: datatype {entry.datatype[:20]!r} does not fit, "
            f"the model takes {DATATYPES[kind]}"
        )
    if not 1 <= len(entry.shape) <= 2 or (len(entry.shape) == 2 and entry.shape[1] != 1):
        raise Invalid(f"input {name!r}: shape {entry.shape[:4]} is neither [n] nor [n, 1]")
    data = bytes(entry.data)
    if len(entry.shape) == 2 and data[1:].lstrip().startswith(b"["):
        one = Schema([schema.by_name[name]])
        values = [row[0] for row in one.split([name], data)]
    else:
        values = schema.column(name, data)
    if entry.shape[0] != len(values):
        raise Invalid(f"input {name!r}: shape {entry.shape} for {len(values)} values")
    if entry.datatype in _RANGES:
        low, high = _RANGES[entry.datatype]
        for index, value in enumerate(values):
            if value is not None and (value != int(value) or not low <= value <= high):
                raise Invalid(f"input {name!r}: {value} at {index} is no {entry.datatype}")
    return values


def infer_answer(
    request: InferRequest, name: str, version: str, outputs: Sequence[Any], request_id: str
) -> bytes:
    """Encode predictions as an inference response: one tensor, or one for each named output."""
    if outputs and isinstance(outputs[0], dict):
        tensors = [_output(key, [row[key] for row in outputs]) for key in outputs[0]]
    else:
        tensors = [_output(OUTPUT, list(outputs))]
    return msgspec.json.encode(
        {
            "model_name": name,
            "model_version": version,
            "id": request.id or request_id,
            "outputs": tensors,
        }
    )


def _output(name: str, values: list[Any]) -> dict[str, Any]:
    shape = [len(values)]
    if values and isinstance(values[0], (list, tuple)):
        shape.append(len(values[0]))
        values = [value for row in values for value in row]
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        datatype = "BOOL"
    elif known and all(isinstance(value, int) for value in known):
        datatype = "INT64"
    elif all(isinstance(value, (int, float)) for value in known):
        datatype = "FP64"
    else:
        datatype = "BYTES"
        values = [
            value if value is None or isinstance(value, str) else _text(value) for value in values
        ]
    return {"name": name, "shape": shape, "datatype": datatype, "data": values}


def _text(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return msgspec.json.encode(value).decode()


def _spoken(exc: msgspec.DecodeError) -> str:
    if isinstance(exc, msgspec.ValidationError):
        message, _, path = str(exc).partition(" - at `$")
        where = path.rstrip("`").lstrip(".")
        return f"{where}: {message}" if where else message[:1].lower() + message[1:]
    return "the body is no valid JSON: " + str(exc).removeprefix("JSON is malformed: ")
