"""Types as Python writes them, ``int | None``, and the JSON values that they take."""

from __future__ import annotations

import ast
import json
import math
from typing import Any

__all__ = ["accepts", "from_text", "not_json", "type_of"]

_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "None": (type(None),),
}


def accepts(kind: str, value: Any) -> bool:
    """Tell whether a value is of a type; one that only the kernel knows takes everything.

    Examples
    --------
    >>> accepts("list[int] | None", [1, 2]), accepts("int", True)
    (True, False)
    """
    try:
        return _fits(ast.parse(kind, mode="eval").body, value)
    except SyntaxError:
        return True


def _fits(node: ast.expr, value: Any) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _fits(node.left, value) or _fits(node.right, value)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return accepts(node.value, value)
    if isinstance(node, (ast.Name, ast.Attribute, ast.Constant)):
        name = _last_name(node)
        if name not in _TYPES:
            return True  # Any, and types that only the kernel knows
        return isinstance(value, _TYPES[name]) and (name == "bool" or not isinstance(value, bool))
    if not isinstance(node, ast.Subscript):
        return True
    outer = _last_name(node.value)
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Optional":
        return value is None or _fits(inner[0], value)
    if outer == "Union":
        return any(_fits(item, value) for item in inner)
    if outer == "Literal":
        allowed = [item.value for item in inner if isinstance(item, ast.Constant)]
        return any(type(item) is type(value) and item == value for item in allowed)
    if outer.lower() in {"list", "sequence"}:
        return isinstance(value, list) and all(_fits(inner[0], item) for item in value)
    if outer.lower() in {"dict", "mapping"}:
        return isinstance(value, dict) and all(_fits(inner[-1], item) for item in value.values())
    return True


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def from_text(text: str, kind: str) -> Any:
    """Read a value as a shell gives it; what cannot be read stays text.

    Examples
    --------
    >>> from_text("007", "str"), from_text("[1, 2]", "list[int]"), from_text("None", "Any")
    ('007', [1, 2], None)
    """
    if kind == "str" or kind.startswith(("Literal[", "typing.Literal[")):
        return text
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    try:
        value = json.loads(text)
    except ValueError:
        return text
    # "7" for `str | None` is text
    return value if accepts(kind, value) or not accepts(kind, text) else text


def not_json(value: Any, depth: int = 0) -> str:
    """Say why a value is no JSON value; nothing if it is one."""
    if depth > 32:
        return "nested too deep"
    if value is None or isinstance(value, (bool, str)):
        return ""
    if isinstance(value, int):
        return "" if value.bit_length() <= 1024 else "a whole number of more than 1024 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value} is no JSON value"
    if isinstance(value, list):
        return next(filter(None, (not_json(item, depth + 1) for item in value)), "")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return "an object's keys are text"
        return next(filter(None, (not_json(item, depth + 1) for item in value.values())), "")
    return f"a value of type {type(value).__name__} is no JSON value"


def type_of(value: Any) -> str:
    """Return the type of a value as Python writes it."""
    return "None" if value is None else type(value).__name__
