"""Parameters: what a request may say beside its rows, held to MLflow's parameter schema.

A parameter has a type and a default; a request's own value must be of that type, without
coercion. The values travel as one JSON text, the defaults filled in and in the signature's order,
so that two requests with the same text may share a batch.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mlops_magics.errors import UnsupportedModel
from mlops_magics.serving.columns import SPOKEN, TYPES, Invalid

__all__ = ["Param", "Params"]

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class Param:
    """One parameter of MLflow's ``ParamSchema``.

    Attributes
    ----------
    listed : bool
        Whether it is a list of values: shape ``(-1,)``.
    default : object
        A JSON value; dates as text.
    """

    name: str
    kind: str
    default: Any = None
    listed: bool = False

    @property
    def type(self) -> Any:
        """The msgspec type; null is taken where it is the default."""
        kind = TYPES[self.kind]
        if self.listed:
            kind = list.__class_getitem__(kind)
        return kind | None if self.default is None else kind

    @property
    def spoken(self) -> str:
        """What a value must be."""
        return f"a list, each {SPOKEN[self.kind]}" if self.listed else SPOKEN[self.kind]


class Params:
    """The parameters of a model, and the decoders made from them.

    Parameters
    ----------
    params : sequence of Param
        In the signature's order.

    Examples
    --------
    >>> params = Params([Param("threshold", "double", 0.5), Param("label", "string", "late")])
    >>> params.encode({"threshold": b"0.7"})
    b'{"threshold":0.7,"label":"late"}'
    >>> try:
    ...     params.encode({"treshold": b"0.7"})
    ... except Invalid as refused:
    ...     print(refused)
    the model takes no parameter 'treshold'; did you mean 'threshold'?
    """

    def __init__(self, params: Sequence[Param] = ()) -> None:
        self.params = tuple(params)
        self._by_name = {param.name: param for param in self.params}
        self._decoders = {param.name: msgspec.json.Decoder(param.type) for param in self.params}
        self._defaults = {param.name: param.default for param in self.params}
        self.default = _encoder.encode(self._defaults) if self.params else b""

    @classmethod
    def from_signature(cls, signature: Mapping[str, Any] | None) -> Params:
        """Compile the ``params`` of MLflow's signature.

        Raises
        ------
        UnsupportedModel
            One is of a nested type.
        """
        specs = (signature or {}).get("params") or []
        if isinstance(specs, str):
            specs = json.loads(specs)
        params = []
        for spec in specs or ():
            kind = spec.get("type") or spec.get("dtype")
            if kind not in TYPES or spec.get("shape") not in (None, [-1], (-1,)):
                raise UnsupportedModel(
                    f"parameter {spec.get('name')!r} is of type {kind!r}; only plain values and "
                    "lists of them are served"
                )
            listed = spec.get("shape") is not None
            params.append(Param(str(spec["name"]), str(kind), spec.get("default"), listed))
        return cls(params)

    def encode(self, given: Mapping[str, bytes | msgspec.Raw]) -> bytes:
        """Decode and validate the values given; return them all, defaults too, as one JSON text.

        Raises
        ------
        Invalid
            One is unknown, or not of its type.
        """
        values: dict[str, Any] = {}
        for name, value in given.items():
            decoder = self._decoders.get(name)
            if decoder is None:
                raise Invalid(f"the model takes no parameter {name!r}{self._nearest(name)}")
            try:
                values[name] = decoder.decode(value)
            except msgspec.DecodeError as exc:
                raise Invalid(f"parameter {name!r}: expected {self._by_name[name].spoken}") from exc
        return _encoder.encode(self._defaults | values) if self.params else b""

    def _nearest(self, name: str) -> str:
        if not self.params:
            return "; it takes none"
        near = difflib.get_close_matches(name[:100], self._by_name, n=1, cutoff=0.6)
        if near:
            return f"; did you mean {near[0]!r}?"
        return f"; it takes {', '.join(map(repr, self._by_name))}"

    def schema(self) -> dict[str, Any]:
        """Describe them as a JSON schema."""
        properties = {}
        for param in self.params:
            one: dict[str, Any] = {"type": _JSON_TYPES[param.kind]}
            if param.kind == "datetime":
                one["format"] = "date-time"
            if param.listed:
                one = {"type": "array", "items": one}
            properties[param.name] = one | {"default": param.default}
        return {"type": "object", "properties": properties, "additionalProperties": False}


_JSON_TYPES = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "string",
    "binary": "string",
    "datetime": "string",
}
