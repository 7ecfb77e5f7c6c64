"""YAML text with the line of each value, for errors that point at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlops_magics.errors import SpecInvalid, UnknownName
from mlops_magics.pipelines.validating import jsonschema

__all__ = ["Place", "Source"]

Place = tuple[str | int, ...]
"""Keys and indices that lead to a value."""


class _NoDates(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012  (yaml's own class attribute)
        first: [(tag, form) for tag, form in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Source:
    r"""JSON values that a person wrote; knows at which line each of them stands.

    Parameters
    ----------
    file : Path
        Where the text is from, for errors.
    text : str
        YAML, of which JSON is a part.
    dates : bool
        Take a date for one, which is refused; else it is text.

    Raises
    ------
    SpecInvalid
        No YAML, a key that is there twice, a value that is none of JSON's.

    Examples
    --------
    >>> source = Source(Path("pipeline.yaml"), "name: flights\nsteps:\n  train: {}")
    >>> source.content
    {'name': 'flights', 'steps': {'train': {}}}
    >>> raise source.error("it has no notebook", ("steps", "train"))
    Traceback (most recent call last):
    mlops_magics.errors.SpecInvalid: pipeline.yaml, line 3: it has no notebook
    """

    def __init__(self, file: Path, text: str, *, dates: bool = True) -> None:
        self.file = file
        self.lines: dict[Place, int] = {}
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader if dates else _NoDates)
            if root is None:
                raise SpecInvalid(f"{file}: the file is empty", hint="it needs a name and steps")
            self.loader = (yaml.SafeLoader if dates else _NoDates)("")
            self.content = self._value(root, ())
        except yaml.MarkedYAMLError as exc:
            line = exc.problem_mark.line + 1 if exc.problem_mark else 1
            raise SpecInvalid(f"{file}, line {line}: {exc.problem or 'no YAML'}") from exc
        except yaml.YAMLError as exc:
            raise SpecInvalid(f"{file}: no YAML: {exc}") from exc

    def error(self, message: str, at: Place, hint: str | None = None) -> SpecInvalid:
        """Return an error that names file and line of the value at a path."""
        path = at
        while path not in self.lines:
            path = path[:-1]
        return SpecInvalid(f"{self.file}, line {self.lines[path]}: {message}", hint=hint)

    def checked(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content if a JSON schema accepts it.

        Raises
        ------
        SpecInvalid
            With file, line and the nearest name.
        """
        errors = list(jsonschema().Draft202012Validator(schema).iter_errors(self.content))
        if not errors:
            return dict(self.content)
        first = min(errors, key=lambda error: len(error.absolute_path))
        if first.context:  # the nearest branch of an anyOf
            first = max(
                first.context,
                key=lambda error: (len(error.absolute_path), error.validator != "type"),
            )
        at: Place = tuple(first.absolute_path)
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

    def _value(self, node: yaml.Node, at: Place) -> Any:
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

    def _mapping(self, pairs: Sequence[tuple[yaml.Node, yaml.Node]], at: Place) -> dict[str, Any]:
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
