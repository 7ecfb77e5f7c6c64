"""Columns: what one input may hold, as a type that msgspec checks in the pass that decodes.

A column is either plain (one value a row, of MLflow's column types) or a tensor (an array a row,
of NumPy's types, whose shape behind the batch's dimension is fixed).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from mlops_magics.errors import UnsupportedModel

__all__ = ["RANGES", "SPOKEN", "TYPES", "UNNAMED", "Column", "Invalid"]

UNNAMED = "input"
"""What a signature's only tensor is called where it has no name."""


class Invalid(ValueError):
    """A request that does not fit the signature; the message is for the client."""


RANGES: dict[str, tuple[int, int]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
"""Bounds of integers by NumPy's name."""

_LARGEST = {"float16": 65504.0, "float32": 3.4028234663852886e38}


def _integer(name: str) -> Any:
    low, high = RANGES[name]
    # msgspec's bounds are 64-bit integers themselves; Schema looks at what is larger
    return Annotated[int, Meta(ge=low, le=None if name == "uint64" else high)]


def _floating(name: str) -> Any:
    return Annotated[float, Meta(ge=-_LARGEST[name], le=_LARGEST[name])]


TYPES: dict[str, Any] = {
    "boolean": bool,
    "integer": _integer("int32"),
    "long": _integer("int64"),
    "float": _floating("float32"),
    "double": float,
    "string": str,
    "binary": bytes,
    "datetime": datetime.datetime,
}
"""msgspec's types of MLflow's plain columns and parameters."""

_TENSOR_TYPES: dict[str, Any] = {
    "bool": bool,
    **{name: _integer(name) for name in RANGES},
    "float16": _floating("float16"),
    "float32": _floating("float32"),
    "float64": float,
    "object": str,
}

SPOKEN = {
    "boolean": "true or false",
    "integer": "a 32-bit integer",
    "long": "a 64-bit integer",
    "float": "a number",
    "double": "a number",
    "string": "text",
    "binary": "base64 text",
    "datetime": "a date and time (RFC 3339)",
    "bool": "true or false",
    "int8": "an 8-bit integer",
    "uint8": "an unsigned 8-bit integer",
    "uint16": "an unsigned 16-bit integer",
    "uint32": "an unsigned 32-bit integer",
    "uint64": "an unsigned 64-bit integer",
    **{f"int{bits}": f"a {bits}-bit integer" for bits in (16, 32, 64)},
    "float16": "a number",
    "float32": "a number",
    "float64": "a number",
    "object": "text",
}
"""How a type is named to a person."""


@dataclass(frozen=True)
class Column:
    """One input of a signature.

    Attributes
    ----------
    kind : str
        MLflow's name of a plain type; of a tensor, NumPy's.
    required : bool
        Whether null is refused; of a tensor of numbers: whether each of its values must be there.
    shape : tuple of int, optional
        Of one row of a tensor; None: a plain column.

    Examples
    --------
    >>> import msgspec
    >>> msgspec.json.decode(b"[[1, 2]]", type=list[Column("x", "uint8", shape=(2,)).type])
    [[1, 2]]
    """

    name: str
    kind: str
    required: bool = True
    shape: tuple[int, ...] | None = None

    @property
    def may_be_absent(self) -> bool:
        """Whether a request may leave it out."""
        return self.shape is None and not self.required

    @property
    def value_type(self) -> Any:
        """The msgspec type of one value."""
        kind = TYPES[self.kind] if self.shape is None else _TENSOR_TYPES[self.kind]
        return kind if self.required else kind | None

    @property
    def type(self) -> Any:
        """The msgspec type of one row's entry."""
        return self.shaped(self.shape)

    def shaped(self, shape: tuple[int, ...] | None) -> Any:
        """Return the msgspec type of so many values."""
        kind = self.value_type
        for length in reversed(shape or ()):
            kind = Annotated[
                list.__class_getitem__(kind), Meta(min_length=length, max_length=length)
            ]
        return kind

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], alone: bool) -> Column:
        """Read one input of MLflow's signature; ``alone`` tells that it has no others.

        Raises
        ------
        UnsupportedModel
            It is of a nested type, or of a shape that differs from row to row.
        """
        kind, name = spec.get("type"), spec.get("name")
        required = bool(spec.get("required", True))
        if kind == "tensor":
            tensor = spec.get("tensor-spec") or {}
            dtype, shape = str(tensor.get("dtype")), list(tensor.get("shape") or ())
            dtype = "object" if dtype in ("str", "string") or dtype.startswith("<U") else dtype
            if name is None and alone:
                name = UNNAMED
            if (
                name is not None
                and dtype in _TENSOR_TYPES
                and shape[:1] == [-1]
                and all(length > 0 for length in shape[1:])
            ):
                return cls(str(name), dtype, required, tuple(map(int, shape[1:])))
            raise UnsupportedModel(
                f"tensor {name or ''!r} of {dtype} and shape {shape} cannot be served; only the "
                "first dimension may vary, and of several tensors each needs a name"
            )
        if name is None or kind not in TYPES:
            raise UnsupportedModel(
                f"input {name!r} is of type {kind!r}; only named columns of plain types and "
                "tensors are served",
                hint="train and package the model on a DataFrame or an array",
            )
        return cls(str(name), str(kind), required)


def check_wide(kind: str, values: Any) -> None:
    """Raise Invalid for an integer beyond ``uint64``, which msgspec lets pass as a large one."""
    if kind != "uint64":
        return
    stack = [values]
    while stack:
        for value in stack.pop():
            if isinstance(value, list):
                stack.append(value)
            elif value is not None and value > RANGES["uint64"][1]:
                raise Invalid(f"{value} is out of the range of {SPOKEN['uint64']}")
