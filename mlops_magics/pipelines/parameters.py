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
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_magics.errors import InvalidArgument, ParameterInvalid, UnknownName
from mlops_magics.pipelines.kinds import accepts, not_json, type_of
from mlops_magics.store.secrets import PREFIX, references

__all__ = ["Parameter", "check", "checked_value", "declared", "declared_in", "known_name"]

_MISSING: Any = object()


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
        content["cells"] = [dict(cell) for cell in content["cells"]]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ParameterInvalid(f"{path} is not a notebook that can be read: {exc}") from exc
    return declared_in(content, path.name)


def declared_in(notebook: Mapping[str, Any], name: str) -> dict[str, Parameter]:
    """Read the parameters that a notebook's content declares.

    Parameters
    ----------
    notebook : mapping
        As JSON or nbformat give it.
    name : str
        What errors call it.

    Raises
    ------
    ParameterInvalid
        It is in another language, or the cell is not plain Python.
    """
    language = notebook.get("metadata", {}).get("kernelspec", {}).get("language", "python")
    for cell in notebook["cells"]:
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            if language != "python":
                raise ParameterInvalid(
                    f"{name} is in {language}: its parameters cannot be checked",
                    hint="parameters are read from Python notebooks",
                )
            source = cell.get("source", "")
            return _read(source if isinstance(source, str) else "".join(source), name)
    return {}


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
    problem = not_json(value)
    if problem:
        raise ParameterInvalid(
            f"parameter {parameter.name!r} of {owner}: {problem}",
            hint="give text, numbers, true, false, null, lists or objects of them",
        )
    try:
        list(references(value))
    except InvalidArgument as exc:
        raise ParameterInvalid(
            f"parameter {parameter.name!r} of {owner}: {exc.message}", hint=exc.hint
        ) from exc
    if not accepts(parameter.type, value):
        raise ParameterInvalid(
            f"parameter {parameter.name!r} of {owner} is {parameter.type}, "
            f"not {json.dumps(value, ensure_ascii=False)[:80]} ({type_of(value)})",
            hint=parameter.help or None,
        )
    return value


def _read(source: str, notebook: str) -> dict[str, Parameter]:
    where = f"the parameters cell of {notebook}"
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
            if isinstance(default, str) and default.startswith(PREFIX):
                raise ParameterInvalid(
                    f"{where}: the kernel would take {name} = {default!r} for the secret itself",
                    hint=f'write {name}: str = mlops.secret("{default.removeprefix(PREFIX)}")',
                )
            if not kind:
                shown = type_of(default) if default is not _MISSING else "Any"
                kind = "Any" if shown == "None" else shown
            elif value is not None and default is not _MISSING and not accepts(kind, default):
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
    return _MISSING if value is not _MISSING and not_json(value) else value


def _listed(known: Mapping[str, Parameter], owner: str) -> str:
    names = ", ".join(known)
    return f"{owner} knows: {names}" if names else f"{owner} declares no parameters"
