"""Parameters of a notebook: declared in the cell tagged ``parameters``, checked before a run.

A declaration is a plain Python assignment at the top level of the cell::

    month: int = 3               # train on January to this month
    rows: int | None = None      # a sample of that many flights
    alias = "challenger"         # the type of the default: str

Values are JSON values and names are identifiers, so nothing that is injected can be code.
"""

from __future__ import annotations

import ast
import io
import json
import keyword
import math
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_magics.errors import ParameterInvalid, UnknownName

__all__ = ["Parameter", "check", "checked_value", "declared", "known_name", "parse"]

_MISSING: Any = object()
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "None": (type(None),),
}


@dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    Attributes
    ----------
    name : str
        A Python identifier.
    type : str
        Its type as Python writes it, ``int | None``; ``Any`` where none is declared.
    default : JSON value
        Value when none is given; None also where `required`.
    required : bool
        There is no default.
    help : str
        The comment beside it.
    """

    name: str
    type: str = "Any"
    default: Any = None
    required: bool = False
    help: str = ""


def declared(notebook: Path | str) -> dict[str, Parameter]:
    """Read the parameters that a notebook declares.

    Parameters
    ----------
    notebook : path
        The notebook's file.

    Returns
    -------
    dict of str to Parameter
        In the order of the cell; empty when no cell is tagged ``parameters``.

    Raises
    ------
    ParameterInvalid
        The file is no notebook, is in another language, or the cell is not plain Python.

    Examples
    --------
    >>> import json, tempfile
    >>> cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]},
    ...         "source": "month: int = 3  # how far", "outputs": [], "execution_count": None}
    >>> path = Path(tempfile.mkdtemp()) / "train.ipynb"
    >>> _ = path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4,
    ...                                 "nbformat_minor": 5}))
    >>> declared(path)["month"]
    Parameter(name='month', type='int', default=3, required=False, help='how far')
    """
    path = Path(notebook)
    try:
        content = json.loads(path.read_text("utf-8"))
        cells = [dict(cell) for cell in content["cells"]]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ParameterInvalid(f"{path} is not a notebook that can be read: {exc}") from exc
    language = content.get("metadata", {}).get("kernelspec", {}).get("language", "python")
    for cell in cells:
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            if language != "python":
                raise ParameterInvalid(
                    f"{path.name} is in {language}: its parameters cannot be checked",
                    hint="parameters are read from Python notebooks",
                )
            source = cell.get("source", "")
            return _read(source if isinstance(source, str) else "".join(source), path)
    return {}


def parse(assignments: Iterable[str], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Read ``name=value`` as a shell gives them; the declared type says how.

    Text stays text where a str is declared; else it is read as JSON, with Python's ``True``,
    ``False`` and ``None`` as well. What cannot be read stays text, and the type check names it.

    Raises
    ------
    ParameterInvalid
        An assignment without ``=``, or given twice.

    Examples
    --------
    >>> known = {"month": Parameter("month", "int"), "name": Parameter("name", "str")}
    >>> parse(["month=3", "name=007"], known)
    {'month': 3, 'name': '007'}
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        name = name.strip()
        if not sign:
            raise ParameterInvalid(
                f"parameter {assignment!r} has no value", hint=f"write {name}=VALUE"
            )
        if name in values:
            raise ParameterInvalid(f"parameter {name!r} is given twice")
        kind = known[name].type if name in known else "Any"
        values[name] = _from_text(text, kind)
    return values


def check(
    known: Mapping[str, Parameter], given: Mapping[str, Any], owner: str, *, partial: bool = False
) -> dict[str, Any]:
    """Check values against the declared parameters.

    Parameters
    ----------
    known : mapping
        The declared parameters.
    given : mapping
        Values by name.
    owner : str
        Whose parameters they are, for messages: ``pipeline 'flight-delay'``.
    partial : bool
        Do not ask for required ones yet.

    Returns
    -------
    dict
        The given values.

    Raises
    ------
    ParameterInvalid
        An unknown name (with the nearest), a wrong type, no JSON value, a required one missing.
    """
    for name, value in given.items():
        checked_value(known_name(known, name, owner), value, owner)
    missing = [name for name, item in known.items() if item.required and name not in given]
    if missing and not partial:
        raise ParameterInvalid(
            f"{owner} needs a value for {', '.join(map(repr, missing))}",
            hint=f"give it with --param {missing[0]}=VALUE",
        )
    return dict(given)


def known_name(known: Mapping[str, Parameter], name: str, owner: str) -> Parameter:
    """Return the declared parameter of a name.

    Raises
    ------
    ParameterInvalid
        There is none; the nearest is named. Or it is not an identifier.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise ParameterInvalid(
            f"parameter name {str(name)!r} is not an identifier", hint=_listed(known, owner)
        )
    if name not in known:
        near = UnknownName("parameter", name, known)
        raise ParameterInvalid(
            f"{owner} has no parameter {name!r}", hint=near.hint if known else _listed(known, owner)
        )
    return known[name]


def checked_value(parameter: Parameter, value: Any, owner: str) -> Any:
    """Return a value if it is a JSON value of the parameter's type.

    Raises
    ------
    ParameterInvalid
        It is not.
    """
    problem = _not_json(value)
    if problem:
        raise ParameterInvalid(
            f"parameter {parameter.name!r} of {owner}: {problem}",
            hint="give text, numbers, true, false, null, lists or objects of them",
        )
    if not _accepts(parameter.type, value):
        raise ParameterInvalid(
            f"parameter {parameter.name!r} of {owner} is {parameter.type}, "
            f"not {json.dumps(value, ensure_ascii=False)[:80]} ({_type_of(value)})",
            hint=parameter.help or None,
        )
    return value


def _read(source: str, path: Path) -> dict[str, Parameter]:
    where = f"the parameters cell of {path.name}"
    lines = source.splitlines()
    # a magic in the cell is no declaration
    plain = "\n".join("" if line.lstrip()[:1] in {"%", "!", "?"} else line for line in lines)
    try:
        body = ast.parse(plain, type_comments=True).body
    except SyntaxError as exc:
        raise ParameterInvalid(
            f"{where} is not plain Python, line {exc.lineno}: {exc.msg}"
        ) from exc
    comments = _comments(plain)
    found: dict[str, Parameter] = {}
    targets: list[ast.expr]
    for node in body:
        if isinstance(node, ast.AnnAssign):
            targets, annotation, value = [node.target], node.annotation, node.value
            kind = _spelled(annotation)
        elif isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
            kind = _comment_type(node.type_comment)
        else:
            continue
        for target in targets:
            if not isinstance(target, ast.Name):
                continue
            default = _literal(value)
            name = target.id
            if not kind:
                shown = _type_of(default) if default is not _MISSING else "Any"
                kind = "Any" if shown == "None" else shown
            elif value is not None and default is not _MISSING and not _accepts(kind, default):
                raise ParameterInvalid(
                    f"{where}: {name} is declared {kind}, but its default is {default!r}"
                )
            found[name] = Parameter(
                name,
                kind,
                None if default is _MISSING else default,
                required=value is None,
                help=comments.get(node.end_lineno or node.lineno, ""),
            )
    return found


def _comments(source: str) -> dict[int, str]:
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ")
            if text.startswith("type:"):
                text = text.partition("#")[2].strip()
            comments[token.start[0]] = text
    return comments


def _comment_type(comment: str | None) -> str:
    if not comment:
        return ""
    try:
        return _spelled(ast.parse(comment.partition("#")[0].strip(), mode="eval").body)
    except SyntaxError:
        return ""


def _spelled(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value  # a quoted annotation
    return ast.unparse(node)


def _literal(node: ast.expr | None) -> Any:
    try:
        value = ast.literal_eval(node) if node is not None else _MISSING
    except (ValueError, TypeError):
        return _MISSING  # computed by the kernel
    if isinstance(value, tuple):
        value = list(value)
    return _MISSING if value is not _MISSING and _not_json(value) else value


def _accepts(kind: str, value: Any) -> bool:
    try:
        return _fits(ast.parse(kind, mode="eval").body, value)
    except SyntaxError:
        return True


def _fits(node: ast.expr, value: Any) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _fits(node.left, value) or _fits(node.right, value)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _accepts(node.value, value)
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


def _from_text(text: str, kind: str) -> Any:
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
    return value if _accepts(kind, value) or not _accepts(kind, text) else text


def _not_json(value: Any, depth: int = 0) -> str:
    if depth > 32:
        return "nested too deep"
    if value is None or isinstance(value, (bool, str)):
        return ""
    if isinstance(value, int):
        return "" if value.bit_length() <= 1024 else "a whole number of more than 1024 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value} is no JSON value"
    if isinstance(value, list):
        return next(filter(None, (_not_json(item, depth + 1) for item in value)), "")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return "an object's keys are text"
        return next(filter(None, (_not_json(item, depth + 1) for item in value.values())), "")
    return f"a value of type {type(value).__name__} is no JSON value"


def _type_of(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _listed(known: Mapping[str, Parameter], owner: str) -> str:
    names = ", ".join(known)
    return f"{owner} knows: {names}" if names else f"{owner} declares no parameters"
