"""Outputs of a step: typed values that a notebook hands to the steps after it.

They are kept in the executed notebook itself, as a display with a media type of its own, so that
the notebook by hand, under papermill and in a pipeline is the same; the runner reads them there.
"""

from __future__ import annotations

import ast
import keyword
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlops_magics.cards import Card, Code
from mlops_magics.errors import InvalidArgument, ParameterInvalid
from mlops_magics.pipelines.kinds import type_of
from mlops_magics.pipelines.parameters import Parameter, checked_value

__all__ = ["MEDIA_TYPE", "announced", "collect", "output", "recorded"]

MEDIA_TYPE = "application/vnd.mlops.output+json"
_RECORDED = "application/papermill.record+json"  # papermill before 1.0
_SCRAP = "application/scrapbook.scrap."  # nteract's scrapbook, which took that over


def output(name: str, value: Any) -> None:
    """Give a value to the steps that follow; in a notebook it is shown as a small card.

    In ``pipeline.yaml`` a later step takes it as ``${steps.STEP.outputs.NAME}``. Of two values
    with the same name the last one counts.

    Parameters
    ----------
    name : str
        A Python identifier.
    value : JSON value
        Text, number, bool, None, list or dict; NumPy scalars are taken as numbers.

    Raises
    ------
    InvalidArgument
        Not an identifier, or not a JSON value.

    Examples
    --------
    >>> output("auc", 0.81)
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise InvalidArgument(f"output name {name!r} is not an identifier")
    value = _plain(value)
    try:
        checked_value(Parameter(name), value, "the step")
    except ParameterInvalid as exc:
        raise InvalidArgument(
            f"output {name!r}: {exc.message.partition(': ')[2]}", hint=exc.hint
        ) from exc
    # asked without importing it: in a plain script there is nobody to show it to
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return
    from IPython.display import display

    card = Card("output", subtitle=name, facts=[("value", _shown(value))])
    bundle = {
        MEDIA_TYPE: {"name": name, "type": type_of(value), "value": value},
        "text/plain": f"output {name} = {value!r}",
        "text/html": card.html(),
    }
    display(bundle, raw=True)


def collect(cells: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Read the outputs that an executed notebook's cells hold.

    Parameters
    ----------
    cells : iterable of mapping
        As nbformat gives them.

    Returns
    -------
    dict
        Value by name.

    Examples
    --------
    >>> shown = {"output_type": "display_data",
    ...          "data": {MEDIA_TYPE: {"name": "auc", "type": "float", "value": 0.81}}}
    >>> collect([{"outputs": [shown]}])
    {'auc': 0.81}
    """
    found: dict[str, Any] = {}
    for cell in cells:
        for item in cell.get("outputs", []):
            data = item.get("data", {}).get(MEDIA_TYPE)
            if isinstance(data, Mapping) and str(data.get("name", "")).isidentifier():
                found[str(data["name"])] = data.get("value")
    return found


def recorded(data: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Give the values that a display holds: ours, papermill's records, scrapbook's scraps.

    Parameters
    ----------
    data : mapping
        By media type.

    Returns
    -------
    iterator of tuple
        Name, value, type.

    Examples
    --------
    >>> list(recorded({"application/papermill.record+json": {"auc": 0.81}}))
    [('auc', 0.81, 'float')]
    """
    for media, content in data.items():
        if not isinstance(content, Mapping):
            continue
        if media == MEDIA_TYPE and "name" in content:
            value = content.get("value")
            yield str(content["name"]), value, str(content.get("type") or type_of(value))
        elif media == _RECORDED:
            for name, value in content.items():
                yield str(name), value, type_of(value)
        elif media.startswith(_SCRAP) and "name" in content:
            value = content.get("data")
            encoder = content.get("encoder")
            # other encoders' data are for scrapbook to read
            plain = encoder in {"json", "text"}
            yield str(content["name"]), value, type_of(value) if plain else str(encoder)


def announced(source: str, names: set[str]) -> Iterator[tuple[str, str]]:
    """Find the calls of `output` in a cell that name what they give.

    Parameters
    ----------
    source : str
        Of a cell.
    names : set of str
        Names that `mlops_magics` goes by; what the cell imports is added.

    Returns
    -------
    iterator of tuple
        Name and type; the type is ``Any`` unless the value is written out.

    Examples
    --------
    >>> list(announced("m.output('auc', score)", {"m"}))
    [('auc', 'Any')]
    """
    plain = "\n".join(
        "" if line.lstrip()[:1] in {"%", "!", "?"} else line for line in source.splitlines()
    )
    try:
        nodes = list(ast.walk(ast.parse(plain)))
    except SyntaxError:
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {a.asname for a in node.names if a.name == "mlops_magics" and a.asname}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mlops_magics"):
            names |= {f"{a.asname or a.name}()" for a in node.names if a.name == "output"}
    for node in nodes:
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called, first = node.func, node.args[0]
        by_module = (
            isinstance(called, ast.Attribute)
            and called.attr == "output"
            and isinstance(called.value, ast.Name)
            and called.value.id in names
        )
        by_name = isinstance(called, ast.Name) and f"{called.id}()" in names
        if (by_module or by_name) and isinstance(first, ast.Constant):
            value = node.args[1] if len(node.args) > 1 else None
            kind = type_of(value.value) if isinstance(value, ast.Constant) else "Any"
            yield str(first.value), kind


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


def _shown(value: Any) -> Any:
    return Code(value) if isinstance(value, str) else value
