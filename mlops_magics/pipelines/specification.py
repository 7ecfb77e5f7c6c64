"""A pipeline's specification: ``pipeline.yaml``, or one notebook alone.

::

    name: flight-delay
    parameters:
      month: 3                                       # a default; its type is the parameter's
      rows: {type: int | None, default: null}
    smoke: {rows: 2000}                              # for a short run: CI, releases
    steps:
      ingest:
        notebook: ingest.ipynb
        parameters: {month: "${parameters.month}"}
      train:
        notebook: train.ipynb
        needs: [ingest]
        parameters: {data: "${steps.ingest.outputs.train}"}
        retries: 1
        timeout: 600                                 # seconds
        inputs: [data/*.csv]                         # what else its outcome depends on

The form is published as a JSON schema: ``mlops pipeline schema``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlops_magics.errors import ParameterInvalid, SpecInvalid, UnknownName
from mlops_magics.pipelines import parameters as declarations
from mlops_magics.pipelines.graph import order
from mlops_magics.pipelines.parameters import Parameter
from mlops_magics.pipelines.references import Reference, references
from mlops_magics.pipelines.source import Place, Source

__all__ = ["Pipeline", "Step", "read", "schema"]


@dataclass(frozen=True)
class Step:
    """One notebook of a pipeline.

    Attributes
    ----------
    name : str
    notebook : Path
        Absolute path of the input notebook.
    needs : tuple of str
        Steps that must have finished before, those that its parameters refer to among them.
    parameters : mapping
        Values and references for the notebook's parameters.
    declared : mapping of str to Parameter
        What the notebook declares.
    retries : int
        How often it is tried again after a failure.
    timeout : float or None
        Seconds that one try may take.
    cell_timeout : float or None
        Seconds that one cell may take.
    cache : bool
        Whether an earlier outcome may be taken when nothing that it depends on has changed.
    inputs : tuple of str
        Paths, globs, fsspec URLs and datasets that its outcome depends on besides.
    """

    name: str
    notebook: Path
    needs: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    declared: Mapping[str, Parameter] = field(default_factory=dict)
    retries: int = 0
    timeout: float | None = None
    cell_timeout: float | None = None
    cache: bool = True
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """A checked specification.

    Attributes
    ----------
    name : str
    path : Path
        The file it was read from, absolute.
    steps : mapping of str to Step
        In an order that respects their needs.
    parameters : mapping of str to Parameter
        Of the whole pipeline.
    description : str
    smoke : mapping
        Values of parameters for a short run on little data.
    """

    name: str
    path: Path
    steps: Mapping[str, Step]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    description: str = ""
    smoke: Mapping[str, Any] = field(default_factory=dict)


def read(path: Path | str) -> Pipeline:
    """Read and check a pipeline: a ``pipeline.yaml``, a folder with one, or a notebook.

    Parameters
    ----------
    path : path
        A notebook alone is a pipeline of one step, with the notebook's parameters.

    Raises
    ------
    SpecInvalid
        With file, line and the nearest name.
    ParameterInvalid
        A notebook's parameters cell that cannot be read.
    """
    file = Path(path).expanduser().resolve()
    if file.is_dir():
        file = file / "pipeline.yaml"
    if not file.is_file():
        raise SpecInvalid(
            f"there is no pipeline at {file}", hint="give a pipeline.yaml or a notebook"
        )
    if file.suffix == ".ipynb":
        return _alone(file)
    try:
        source = Source(file, file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecInvalid(f"{file} cannot be read: {exc}") from exc
    content = source.checked(schema())
    own = {
        name: _parameter(source, name, value)
        for name, value in content.get("parameters", {}).items()
    }
    entries: dict[str, dict[str, Any]] = content["steps"]
    steps = {name: _step(source, name, entry, entries, own) for name, entry in entries.items()}
    try:
        ordered = order({name: step.needs for name, step in steps.items()})
    except SpecInvalid as exc:
        raise source.error(exc.message, ("steps",), exc.hint) from exc
    return Pipeline(
        name=content["name"],
        path=file,
        steps={name: steps[name] for name in ordered},
        parameters=own,
        description=content.get("description", ""),
        smoke=_smoke(source, content.get("smoke", {}), own),
    )


@cache
def schema() -> dict[str, Any]:
    """Return the JSON schema of ``pipeline.yaml``.

    Examples
    --------
    >>> sorted(schema()["required"])
    ['name', 'steps']
    """
    text = (files("mlops_magics.pipelines") / "pipeline.schema.json").read_text("utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def _alone(file: Path) -> Pipeline:
    known = declarations.declared(file)
    name = file.stem
    own = {key: f"${{parameters.{key}}}" for key in known}
    return Pipeline(name, file, {name: Step(name, file, (), own, known)}, known)


def _parameter(source: Source, name: str, value: Any) -> Parameter:
    if not isinstance(value, dict):
        kind = "Any" if value is None else type(value).__name__
        return Parameter(name, kind, value)
    found = Parameter(
        name, value["type"], value.get("default"), "default" not in value, value.get("help", "")
    )
    if not found.required:
        try:
            declarations.checked_value(found, found.default, "the pipeline")
        except ParameterInvalid as exc:
            raise source.error(exc.message, ("parameters", name)) from exc
    return found


def _smoke(
    source: Source, given: Mapping[str, Any], own: Mapping[str, Parameter]
) -> dict[str, Any]:
    for name, value in given.items():
        try:
            declaration = declarations.known_name(own, name, "the pipeline")
            declarations.checked_value(declaration, value, "the pipeline")
        except ParameterInvalid as exc:
            raise source.error(exc.message, ("smoke", name), exc.hint) from exc
    return dict(given)


def _step(
    source: Source,
    name: str,
    entry: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    own: Mapping[str, Parameter],
) -> Step:
    at: Place = ("steps", name)
    notebook = (source.file.parent / entry["notebook"]).resolve()
    if not notebook.is_file():
        beside = [p.relative_to(source.file.parent) for p in source.file.parent.rglob("*.ipynb")]
        near = UnknownName("notebook", entry["notebook"], [str(p) for p in beside])
        raise source.error(
            f"step {name!r}: no notebook {entry['notebook']!r}", (*at, "notebook"), near.hint
        )
    known = declarations.declared(notebook)
    given = entry.get("parameters", {})
    for key, value in given.items():
        where = (*at, "parameters", key)
        used = list(_references(source, value, where))
        for reference in used:
            _check_reference(source, reference, where, entries, own)
        try:
            declaration = declarations.known_name(known, key, f"step {name!r}")
            if not used:  # what is referred to is checked when it is there
                declarations.checked_value(declaration, value, f"step {name!r}")
        except ParameterInvalid as exc:
            raise source.error(exc.message, where, exc.hint) from exc
    missing = [key for key, item in known.items() if item.required and key not in given]
    if missing:
        raise source.error(f"step {name!r} needs a value for {missing[0]!r}", at)
    needs = dict.fromkeys(entry.get("needs", []))
    for number, need in enumerate(needs):
        if need not in entries:
            near = UnknownName("step", need, entries)
            raise source.error(f"step {name!r} needs {need!r}", (*at, "needs", number), near.hint)
    for reference in references(dict(given)):
        if reference.step:
            needs[reference.step] = None
    return Step(
        name,
        notebook,
        tuple(needs),
        dict(given),
        known,
        entry.get("retries", 0),
        entry.get("timeout"),
        entry.get("cell_timeout"),
        entry.get("cache", True),
        tuple(entry.get("inputs", [])),
    )


def _references(source: Source, value: Any, where: Place) -> Iterator[Reference]:
    try:
        yield from references(value)
    except SpecInvalid as exc:
        raise source.error(exc.message, where, exc.hint) from exc


def _check_reference(
    source: Source,
    reference: Reference,
    where: Place,
    entries: Mapping[str, Any],
    own: Mapping[str, Parameter],
) -> None:
    kind, name, known = (
        ("step", reference.step, list(entries))
        if reference.step
        else ("parameter", reference.name, list(own))
    )
    if name not in known:
        near = UnknownName(f"pipeline {kind}", name, known)
        raise source.error(f"{reference} names no {kind} of the pipeline", where, near.hint)
