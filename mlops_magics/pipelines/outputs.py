"""Outputs of a step: typed values that a notebook hands to the steps after it.

They are kept in the executed notebook itself, as a display with a media type of its own, so that
the notebook by hand, under papermill and in a pipeline is the same; the runner reads them there.
"""

from __future__ import annotations

import keyword
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from mlops_magics.cards import Card, Code
from mlops_magics.errors import InvalidArgument, ParameterInvalid
from mlops_magics.pipelines.parameters import Parameter, checked_value

__all__ = ["MEDIA_TYPE", "collect", "output"]

MEDIA_TYPE = "application/vnd.mlops.output+json"


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
        MEDIA_TYPE: {"name": name, "type": _kind(value), "value": value},
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


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
