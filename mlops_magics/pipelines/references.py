"""References in a specification: ``${parameters.month}``, ``${steps.train.outputs.run_id}``.

A text that is nothing but a reference takes the value with its type; inside a longer text the
value is written into it. ``$${`` is a plain ``${``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_magics.errors import ParameterInvalid, SpecInvalid, UnknownName
from mlops_magics.store.secrets import PREFIX

__all__ = ["Reference", "filled", "references"]

_PATTERN = re.compile(r"\$(\$)?\{([^{}]*)\}")
_FORMS = "${parameters.NAME} or ${steps.STEP.outputs.NAME}"


@dataclass(frozen=True)
class Reference:
    """A place that a value comes from.

    Attributes
    ----------
    step : str
        The step whose output it is; empty for a parameter of the pipeline.
    name : str
        Name of the output or parameter.
    """

    step: str
    name: str

    def __str__(self) -> str:
        place = f"steps.{self.step}.outputs" if self.step else "parameters"
        return f"${{{place}.{self.name}}}"


def references(value: Any) -> Iterator[Reference]:
    """Find the references in a value, however deep.

    Raises
    ------
    SpecInvalid
        ``${...}`` of another form.

    Examples
    --------
    >>> [str(item) for item in references({"data": "${steps.ingest.outputs.train}"})]
    ['${steps.ingest.outputs.train}']
    """
    if isinstance(value, str):
        for match in _PATTERN.finditer(value):
            if not match[1]:
                yield _read(match[2])
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def filled(
    value: Any, parameters: Mapping[str, Any], outputs: Mapping[str, Mapping[str, Any]]
) -> Any:
    """Put values in the place of references.

    Parameters
    ----------
    value : JSON value
        As the specification has it.
    parameters : mapping
        Of the pipeline.
    outputs : mapping
        Of the finished steps, by step and name.

    Raises
    ------
    ParameterInvalid
        The step gave no output of that name; or a secret would be written into a longer text, or
        asked for by a step's output.

    Examples
    --------
    >>> filled(["${parameters.month}", "m${parameters.month}"], {"month": 3}, {})
    [3, 'm3']
    """
    if isinstance(value, Mapping):
        return {key: filled(item, parameters, outputs) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, parameters, outputs) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PATTERN.fullmatch(value)
    if whole and not whole[1]:
        return _look_up(_read(whole[2]), parameters, outputs)

    def written(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        found = str(_look_up(_read(match[2]), parameters, outputs))
        if found.startswith(PREFIX):
            raise ParameterInvalid(
                f"{match[0]} is a reference to a secret, which {value!r} would write into a text",
                hint="give the secret to a parameter of its own, and join them in the notebook",
            )
        return found

    text = _PATTERN.sub(written, value)
    if text.startswith(PREFIX) and any(reference.step for reference in references(value)):
        raise ParameterInvalid(f"{value!r} would have a step's output choose the secret")
    return text


def _read(text: str) -> Reference:
    match text.strip().split("."):
        case ["parameters", name] if name.isidentifier():
            return Reference("", name)
        case ["steps", step, "outputs", name] if step and name.isidentifier():
            return Reference(step, name)
    raise SpecInvalid(f"${{{text}}} is no reference", hint=f"write {_FORMS}")


def _look_up(
    reference: Reference, parameters: Mapping[str, Any], outputs: Mapping[str, Mapping[str, Any]]
) -> Any:
    if not reference.step:
        return parameters[reference.name]
    given = outputs.get(reference.step, {})
    if reference.name not in given:
        near = UnknownName("output", reference.name, given)
        raise ParameterInvalid(
            f"step {reference.step!r} gave no output {reference.name!r}",
            hint=near.hint if given else f"in its notebook: mlops.output({reference.name!r}, ...)",
        )
    found = given[reference.name]
    if _asks_for_secret(found):
        # what a notebook has read somewhere must not get at the environment
        raise ParameterInvalid(
            f"output {reference.name!r} of step {reference.step!r} refers to a secret",
            hint="give the secret to the step that needs it, as its parameter",
        )
    return found


def _asks_for_secret(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_asks_for_secret, value.values()))
    if isinstance(value, list):
        return any(map(_asks_for_secret, value))
    return isinstance(value, str) and value.startswith(PREFIX)
