"""The commands as line magics have them: each with ``-o/--out`` for a variable."""

from __future__ import annotations

import copy
import keyword
from typing import Any

import click

from mlops_magics.cli import group
from mlops_magics.cli.parameters import Type

__all__ = ["OUT", "Variable", "mlops"]

OUT = "mlops_magics.out"
"""Under this name, the context's ``meta`` has the variable that gets the record."""


class Variable(Type):
    """A name that Python can bind."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the form."""
        text = str(value)
        if not text.isidentifier() or keyword.iskeyword(text):
            raise click.BadParameter(f"{text!r} cannot be a variable's name", ctx, param)
        return text


def _keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.meta[OUT] = value


def _derive(command: click.Command) -> click.Command:
    derived = copy.copy(command)
    if isinstance(derived, click.Group):
        derived.commands = {name: _derive(inner) for name, inner in derived.commands.items()}
    else:
        out = click.Option(
            ["-o", "--out"],
            type=Variable(),
            metavar="NAME",
            expose_value=False,  # a matter of the notebook, not of the verb
            callback=_keep,
            help="Variable that gets the record.",
        )
        derived.params = [*derived.params, out]
    return derived


_derived = _derive(group.mlops)
assert isinstance(_derived, click.Group)
mlops: click.Group = _derived
"""The group of all verbs, as a notebook calls it."""
