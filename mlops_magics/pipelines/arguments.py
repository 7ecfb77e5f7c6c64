"""Arguments of a run: what a caller gives for the pipeline's parameters, as papermill takes it.

Several sources add up, the later ones win: files (``-f``), YAML text (``-y``), ``name=value``
(``--param``), a name and a value (``-p``), a name and a raw text (``-r``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlops_magics.errors import InvalidArgument, ParameterInvalid, SourceUnreadable, SpecInvalid
from mlops_magics.pipelines import parameters as declarations
from mlops_magics.pipelines.kinds import from_text
from mlops_magics.pipelines.parameters import Parameter
from mlops_magics.pipelines.references import filled, references
from mlops_magics.pipelines.source import Source
from mlops_magics.pipelines.specification import Pipeline
from mlops_magics.store import files, secrets

__all__ = ["Entry", "Given", "gather", "read_file", "read_yaml", "settle"]

Entry = str | tuple[str, str] | Mapping[str, Any]
"""``"name=value"``, ``(name, value)``, both read by the declared type; or JSON values by name."""

Given = Mapping[str, Any] | Iterable[Entry]


def settle(pipeline: Pipeline, given: Given | None, *, smoke: bool = False) -> dict[str, Any]:
    """Return a value for each parameter of a pipeline, checked for it and each step it reaches.

    Parameters
    ----------
    pipeline : Pipeline
        A checked specification.
    given : mapping, or iterable
        See `run_pipeline`.
    smoke : bool
        Take the specification's ``smoke`` parameters where nothing else is given.

    Raises
    ------
    ParameterInvalid
        An unknown name (with the nearest), a wrong type, no JSON value, a required one missing.
    SecretNotFound
        A secret that is referred to cannot be looked up here.
    """
    owner = f"pipeline {pipeline.name!r}"
    found = {**(pipeline.smoke if smoke else {}), **gather(given, pipeline.parameters)}
    declarations.check(pipeline.parameters, found, owner)
    values = {
        name: found.get(name, item.default)
        for name, item in pipeline.parameters.items()
        # what only the kernel can compute is left to it
        if name in found or item.default is not None or pipeline.path.suffix != ".ipynb"
    }
    used: list[Any] = [values]
    for step in pipeline.steps.values():
        for name, value in step.parameters.items():
            sources = list(references(value))
            if not sources:
                used.append(value)
            elif all(not source.step and source.name in values for source in sources):
                full = filled(value, values, {})
                declarations.checked_value(step.declared[name], full, f"step {step.name!r}")
                used.append(full)
    for name in secrets.references(used):
        secrets.look_up(name)
    return values


def gather(given: Given | None, known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Add up what was given; of the same name the last one counts.

    Text stays text where a str is declared; else it is read as JSON, with Python's ``True``,
    ``False`` and ``None`` as well. What cannot be read stays text, and the type check names it.

    Raises
    ------
    ParameterInvalid
        A text without ``=``.

    Examples
    --------
    >>> known = {"month": Parameter("month", "int"), "name": Parameter("name", "str")}
    >>> gather([{"month": 1}, "name=007", ("month", "3")], known)
    {'month': 3, 'name': '007'}
    """
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    values: dict[str, Any] = {}
    for entry in [given] if isinstance(given, str) else given:
        if isinstance(entry, Mapping):
            values |= entry
            continue
        if isinstance(entry, str):
            name, sign, text = entry.partition("=")
            name = name.strip()
            if not sign:
                raise ParameterInvalid(
                    f"parameter {entry!r} has no value", hint=f"write {name}=VALUE"
                )
        else:
            name, text = entry
        # a notebook's object comes as it is
        kind = known[name].type if name in known else "Any"
        values[name] = from_text(text, kind) if isinstance(text, str) else text
    return values


def read_yaml(text: str, name: str = "the YAML") -> dict[str, Any]:
    """Read parameters from YAML or JSON text; a date stays text, as papermill has it.

    Parameters
    ----------
    text : str
        A mapping of names to values.
    name : str
        What errors call it.

    Raises
    ------
    ParameterInvalid
        No YAML, or no names with values; with the line.

    Examples
    --------
    >>> read_yaml("{month: 3, since: 2013-01-01}")
    {'month': 3, 'since': '2013-01-01'}
    """
    if not text.strip():
        return {}
    try:
        content = Source(Path(name), text, dates=False).content
    except SpecInvalid as exc:
        raise ParameterInvalid(exc.message, hint=exc.hint) from exc
    if not isinstance(content, dict):
        raise ParameterInvalid(
            f"{name} has no parameters, but a {type(content).__name__}",
            hint="write NAME: VALUE, one a line",
        )
    return content


def read_file(path: str) -> dict[str, Any]:
    """Read parameters from a YAML or JSON file, given as a path or an fsspec URL.

    Raises
    ------
    InvalidArgument
        There is no such file, or it is not text.
    ParameterInvalid
        Its content; with the line.
    """
    try:
        (found,) = files.find(path)
        with found.open() as file:
            text = file.read().decode("utf-8")
    except SourceUnreadable as exc:
        raise InvalidArgument(exc.message, hint=exc.hint) from exc
    except (OSError, ValueError) as exc:
        raise InvalidArgument(f"{files.public(path)} cannot be read: {exc}") from exc
    return read_yaml(text, files.public(path))
