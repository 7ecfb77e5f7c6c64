"""Parameters of a model: what its function takes beside the rows, in MLflow's JSON form.

A keyword argument with a plain default is a parameter: ``def predict(data, threshold=0.5)``. One
whose default is anything else keeps that default and cannot be set by a request.
"""

from __future__ import annotations

import datetime
import inspect
from types import FunctionType
from typing import Any

__all__ = ["parameters_of"]

_TYPES = {bool: "boolean", int: "long", float: "double", str: "string"}


def parameters_of(model: Any, predict_fn: str = "predict") -> list[dict[str, Any]]:
    """Describe the parameters of a function, or of the method of an object given as code.

    Examples
    --------
    >>> def predict(data, threshold=0.5, *, labels=["late"]):
    ...     ...
    >>> [(one["name"], one["type"], one["shape"]) for one in parameters_of(predict)]
    [('threshold', 'double', None), ('labels', 'string', [-1])]
    """
    function = model if isinstance(model, FunctionType) else getattr(model, predict_fn)
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        spec = _spec(parameter.default)
        if spec is not None and parameter.kind is not parameter.POSITIONAL_ONLY:
            found.append({"name": parameter.name, **spec})
    return found


def _spec(default: Any) -> dict[str, Any] | None:
    if isinstance(default, (list, tuple)):
        kinds = {_kind(value) for value in default}
        if len(kinds) != 1 or None in kinds:
            return None
        return {"type": kinds.pop(), "default": [_json(value) for value in default], "shape": [-1]}
    kind = _kind(default)
    return None if kind is None else {"type": kind, "default": _json(default), "shape": None}


def _kind(value: Any) -> str | None:
    return "datetime" if isinstance(value, datetime.datetime) else _TYPES.get(type(value))


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.datetime) else value
