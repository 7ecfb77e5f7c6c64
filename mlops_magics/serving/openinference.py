"""The Open Inference Protocol, version 2, over REST; tensors as JSON or as bytes.

Sources: https://github.com/kserve/open-inference-protocol (REST, version 2);
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
(tensors as bytes behind the JSON).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mlops_magics.serving import tensors
from mlops_magics.serving.columns import RANGES, Column, Invalid
from mlops_magics.serving.protocol import refuse_duplicates, spoken
from mlops_magics.serving.tensors import Output
from mlops_magics.serving.validation import Schema

__all__ = ["EXTENSIONS", "HEADER_LENGTH", "Inference", "decode_infer", "metadata"]

Rows = list[tuple[Any, ...]]

EXTENSIONS = ["binary_tensor_data"]
"""What the server's metadata lists; each works."""

HEADER_LENGTH = b"inference-header-content-length"
_OCTETS = b"application/octet-stream"
_LARGEST = 2**31


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: dict[str, msgspec.Raw] | None = None


class _Requested(msgspec.Struct):
    name: str
    parameters: dict[str, msgspec.Raw] | None = None


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Requested] | None = None
    parameters: dict[str, msgspec.Raw] | None = None


_request = msgspec.json.Decoder(_Request)
_size = msgspec.json.Decoder(int)
_flag = msgspec.json.Decoder(bool)


@dataclass(frozen=True)
class Inference:
    """A request that has been read.

    Attributes
    ----------
    rows : list of tuple
        In the signature's order.
    params : bytes
        The model's parameters as JSON.
    id : str
        The caller's; empty if it gave none.
    outputs : list of Output
        Which outputs are wanted, in which order.
    binary : list of bool
        Which of them as bytes.
    """

    rows: Rows
    params: bytes
    id: str
    outputs: list[Output]
    binary: list[bool]

    def answer(
        self, name: str, version: str, outputs: Sequence[Any], request_id: str
    ) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
        """Return the answer's body, content type and further headers.

        Parameters
        ----------
        name, version : str
            Of the model that answered.
        outputs : sequence
            One value, list or mapping a row.
        request_id : str
            The answer's id where the caller gave none.
        """
        entries, parts = [], []
        for output, binary in zip(self.outputs, self.binary, strict=True):
            values = list(outputs)
            if values and isinstance(values[0], dict):
                values = [row[output.name] for row in values]
            datatype, shape, flat = output.flat(values)
            entry: dict[str, Any] = {"name": output.name, "shape": shape, "datatype": datatype}
            part = tensors.pack(datatype, flat) if binary else None
            if part is None:
                entry["data"] = flat
            else:
                entry["parameters"] = {"binary_data_size": len(part)}
                parts.append(part)
            entries.append(entry)
        body = msgspec.json.encode(
            {
                "model_name": name,
                "model_version": version,
                "id": self.id or request_id,
                "outputs": entries,
            }
        )
        if not any(self.binary):
            return body, b"application/json", []
        length = (HEADER_LENGTH, str(len(body)).encode())
        return b"".join([body, *parts]), _OCTETS, [length]


def decode_infer(body: bytes, schema: Schema, header: bytes | None = None) -> Inference:
    """Decode and validate an inference request whose inputs are the model's columns.

    Parameters
    ----------
    body : bytes
        JSON, and behind it the tensors that are given as bytes.
    schema : Schema
        Of the model's inputs and outputs.
    header : bytes, optional
        ``Inference-Header-Content-Length``: how much of the body is JSON.

    Raises
    ------
    Invalid
        With a message for the client that names the input.

    Examples
    --------
    >>> from mlops_magics.serving.validation import Column
    >>> body = b'{"inputs": [{"name": "x", "shape": [2], "datatype": "INT64", "data": [7, 8]}]}'
    >>> decode_infer(body, Schema([Column("x", "long")])).rows
    [(7,), (8,)]
    """
    text, rest = _cut(body, header)
    try:
        request = _request.decode(text)
        if not request.inputs:
            raise Invalid("inputs is empty")
        schema.check_names([entry.name for entry in request.inputs])
        take = _taker(rest)
        columns = {entry.name: _column(entry, schema, take) for entry in request.inputs}
        if surplus := take(None):
            raise Invalid(f"{len(surplus)} bytes behind the JSON belong to no input")
        rows = schema.rows(columns)
        given = dict(request.parameters or {})
        all_binary = _boolean(given.pop("binary_data_output", None), "binary_data_output")
        wanted, binary = _wanted(request.outputs, schema.outputs, all_binary)
        params = schema.params.encode(given) if given else schema.params.default
    except RecursionError as exc:
        raise Invalid("the body is nested too deeply") from exc
    except UnicodeDecodeError as exc:
        raise Invalid("the body is no UTF-8") from exc
    except msgspec.DecodeError as exc:
        raise Invalid(spoken(exc)) from exc
    if text.count(b":") != 1 + (request.id is not None) + 4 * len(request.inputs):
        refuse_duplicates(text)
    return Inference(rows, params, request.id or "", wanted, binary)


def _cut(body: bytes, header: bytes | None) -> tuple[bytes, bytes | None]:
    """Part the JSON from the bytes behind it."""
    if header is None:
        return body, None
    if not header.isdigit() or len(header) > 18 or not 0 < int(header) <= len(body):
        raise Invalid(
            f"Inference-Header-Content-Length is no length of this body's JSON ({len(body)} bytes "
            "in all)"
        )
    return body[: int(header)], body[int(header) :]


def _taker(rest: bytes | None) -> Callable[[int | None], bytes]:
    """Return what takes the next so many bytes, or shows (None) those that are left."""
    place = 0

    def take(size: int | None) -> bytes:
        nonlocal place
        left = (rest or b"")[place:]
        if size is None:
            return left
        if rest is None:
            raise Invalid("binary_data_size needs the header Inference-Header-Content-Length")
        if not 0 <= size <= len(left):
            raise Invalid(
                f"binary_data_size {size} is not within the {len(left)} bytes that follow"
            )
        place += size
        return left[:size]

    return take


def _column(entry: _Input, schema: Schema, take: Callable[[int | None], bytes]) -> list[Any]:
    """Decode one input, and hold it to the shape and datatype that the request declares."""
    name, datatype = entry.name, entry.datatype
    column = schema.by_name[name]
    if datatype not in tensors.accepted(column):
        raise Invalid(
            f"input {name!r}: datatype {datatype[:20]!r} does not fit, "
            f"the model takes {tensors.datatype(column)}"
        )
    count = _count(entry, column)
    given = dict(entry.parameters or {})
    size = given.pop("binary_data_size", None)
    if given:
        raise Invalid(f"input {name!r}: parameter {next(iter(given))!r} is not supported")
    if size is not None:
        if bytes(entry.data):
            raise Invalid(f"input {name!r} has both data and binary_data_size")
        try:
            length = _size.decode(size)
        except msgspec.DecodeError as exc:
            raise Invalid(f"input {name!r}: binary_data_size is no number of bytes") from exc
        flat = tensors.unpack(datatype, take(length), column, count)
    elif not bytes(entry.data):
        raise Invalid(f"input {name!r} has no data")
    else:
        flat = schema.values(name, bytes(entry.data))
    if len(flat) != count:
        raise Invalid(f"input {name!r}: shape {entry.shape} for {len(flat)} values")
    low, high = RANGES.get(datatype.lower(), (None, None))
    if low is not None and high is not None:
        for index, value in enumerate(flat):
            if value is not None and (value != int(value) or not low <= value <= high):
                raise Invalid(f"input {name!r}: {value} at {index} is no {datatype}")
    return flat if not column.shape else tensors.nested(flat, column.shape)


def _count(entry: _Input, column: Column) -> int:
    """Return how many values the declared shape has, which must be one of this input."""
    shape = entry.shape
    if any(length < 0 for length in shape) or math.prod(shape) > _LARGEST:
        raise Invalid(f"input {entry.name!r}: shape {shape[:8]} is none")
    if column.shape is None:
        if not 1 <= len(shape) <= 2 or (len(shape) == 2 and shape[1] != 1):
            raise Invalid(f"input {entry.name!r}: shape {shape[:4]} is neither [n] nor [n, 1]")
    elif not shape or tuple(shape[1:]) != column.shape:
        fitting = ", ".join(["n", *map(str, column.shape)])
        raise Invalid(f"input {entry.name!r}: shape {shape[:8]} is not [{fitting}]")
    return math.prod(shape)


def metadata(schema: Schema) -> dict[str, Any]:
    """Describe a model's inputs and outputs as the protocol does."""
    return {
        "inputs": [
            {
                "name": column.name,
                "datatype": tensors.datatype(column),
                "shape": [-1, *(column.shape or ())],
            }
            for column in schema.columns
        ],
        "outputs": [
            {"name": one.name, "datatype": one.datatype, "shape": [-1, *one.shape]}
            for one in schema.outputs
        ],
    }


def _wanted(
    requested: Sequence[_Requested] | None, known: Sequence[Output], binary: bool
) -> tuple[list[Output], list[bool]]:
    """Return the outputs that are asked for, in the order asked, and which of them as bytes."""
    if not requested:
        return list(known), [binary] * len(known)
    by_name = {output.name: output for output in known}
    wanted: dict[str, Output] = {}
    flags = []
    for one in requested:
        output = by_name.get(one.name)
        if output is None:
            names = ", ".join(map(repr, by_name))
            raise Invalid(f"unknown output {one.name!r}; the model has {names}")
        if one.name in wanted:
            raise Invalid(f"output {one.name!r} is asked for twice")
        wanted[one.name] = output
        given = dict(one.parameters or {})
        own = given.pop("binary_data", None)
        if given:
            raise Invalid(f"output {one.name!r}: parameter {next(iter(given))!r} is not supported")
        flags.append(binary if own is None else _boolean(own, "binary_data"))
    return list(wanted.values()), flags


def _boolean(raw: msgspec.Raw | None, name: str) -> bool:
    try:
        return False if raw is None else bool(_flag.decode(raw))
    except msgspec.DecodeError as exc:
        raise Invalid(f"{name} is neither true nor false") from exc
