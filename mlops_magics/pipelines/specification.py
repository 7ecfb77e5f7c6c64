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

The form is published as a JSON schema, ``pipeline.schema.json`` beside this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from mlops_magics.errors import ParameterInvalid, SpecInvalid, UnknownName
from mlops_magics.pipelines import parameters as declarations
from mlops_magics.pipelines.graph import order
from mlops_magics.pipelines.parameters import Parameter
from mlops_magics.pipelines.references import Reference, references

__all__ = ["Pipeline", "Step", "read", "schema"]

Path_ = tuple[str | int, ...]


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
    """

    name: str
    notebook: Path
    needs: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    declared: Mapping[str, Parameter] = field(default_factory=dict)
    retries: int = 0
    timeout: float | None = None


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
        source = _Source(file, file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecInvalid(f"{file} cannot be read: {exc}") from exc
    content = source.checked()
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


def _parameter(source: _Source, name: str, value: Any) -> Parameter:
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
    source: _Source, given: Mapping[str, Any], own: Mapping[str, Parameter]
) -> dict[str, Any]:
    for name, value in given.items():
        try:
            declaration = declarations.known_name(own, name, "the pipeline")
            declarations.checked_value(declaration, value, "the pipeline")
        except ParameterInvalid as exc:
            raise source.error(exc.message, ("smoke", name), exc.hint) from exc
    return dict(given)


def _step(
    source: _Source,
    name: str,
    entry: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    own: Mapping[str, Parameter],
) -> Step:
    at: Path_ = ("steps", name)
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
    )


def _references(source: _Source, value: Any, where: Path_) -> Iterator[Reference]:
    try:
        yield from references(value)
    except SpecInvalid as exc:
        raise source.error(exc.message, where, exc.hint) from exc


def _check_reference(
    source: _Source,
    reference: Reference,
    where: Path_,
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


class _Source:
    """The text of a specification; knows at which line each of its values stands."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.lines: dict[Path_, int] = {}
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if root is None:
                raise SpecInvalid(f"{file}: the file is empty", hint="it needs a name and steps")
            self.loader = yaml.SafeLoader("")
            self.content = self._value(root, ())
        except yaml.MarkedYAMLError as exc:
            line = exc.problem_mark.line + 1 if exc.problem_mark else 1
            raise SpecInvalid(f"{file}, line {line}: {exc.problem or 'no YAML'}") from exc
        except yaml.YAMLError as exc:
            raise SpecInvalid(f"{file}: no YAML: {exc}") from exc

    def error(self, message: str, at: Path_, hint: str | None = None) -> SpecInvalid:
        """Return an error that names file and line of the value at a path."""
        path = at
        while path not in self.lines:
            path = path[:-1]
        return SpecInvalid(f"{self.file}, line {self.lines[path]}: {message}", hint=hint)

    def checked(self) -> dict[str, Any]:
        """Return the content if the schema accepts it."""
        from jsonschema import Draft202012Validator

        errors = list(Draft202012Validator(schema()).iter_errors(self.content))
        if not errors:
            return dict(self.content)
        first = min(errors, key=lambda error: len(error.absolute_path))
        if first.context:  # the nearest branch of an anyOf
            first = max(
                first.context,
                key=lambda error: (len(error.absolute_path), error.validator != "type"),
            )
        at: Path_ = tuple(first.absolute_path)
        where = ".".join(map(str, at)) or "the pipeline"
        if first.validator == "additionalProperties" and isinstance(first.schema, dict):
            known = first.schema.get("properties", {})
            extra = next(key for key in first.instance if key not in known)
            near = UnknownName("key", str(extra), known)
            raise self.error(f"{where} has no key {extra!r}", (*at, extra), near.hint)
        if first.validator == "required":
            raise self.error(f"{where}: {first.message}", at)
        described = first.schema.get("description") if isinstance(first.schema, dict) else None
        raise self.error(f"{where}: {first.message}", at, described)

    def _value(self, node: yaml.Node, at: Path_) -> Any:
        self.lines[at] = node.start_mark.line + 1
        if len(at) > 16:
            raise SpecInvalid(f"{self.file}, line {self.lines[at]}: nested too deep")
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*at, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node.value, at)
        value = self.loader.construct_object(node)
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise self.error(f"{node.value!r} is no JSON value", at, "quote it")
        return value

    def _mapping(self, pairs: Sequence[tuple[yaml.Node, yaml.Node]], at: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in pairs:
            key = key_node.value
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise SpecInvalid(f"{self.file}, line {line}: a key is text")
            if key in result:
                raise SpecInvalid(f"{self.file}, line {line}: {key!r} is there twice")
            result[key] = self._value(value_node, (*at, key))
            self.lines[(*at, key)] = line
        return result
