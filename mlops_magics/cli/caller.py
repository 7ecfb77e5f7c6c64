"""Who calls a verb: a shell here; the magics derive a notebook from it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import click

from mlops_magics.cli.progress import Progress
from mlops_magics.records import Record, plain

__all__ = ["Caller", "current"]


class Caller:
    """What a command asks of the face that called it; this one is a shell.

    Attributes
    ----------
    namespace : mapping
        Where a bare name is looked up when an object is expected.
    """

    namespace: Mapping[str, Any] = {}

    def run_of(self, thing: Any) -> str | None:
        """Return the id of the tracked run that made an object, if this face knows it."""
        return None

    def answer(self, command: click.Command, result: Any, *, as_json: bool) -> Any:
        """Show a verb's result: to standard output, as text or as JSON."""
        if as_json:
            click.echo(json.dumps(plain(result), indent=2, ensure_ascii=False))
        elif isinstance(result, Record):
            click.echo(str(result))
        return result

    def progress(self, label: str) -> AbstractContextManager[Callable[..., None]]:
        """Show that work goes on, once it takes longer than a second."""
        return Progress(label, show=sys.stderr.isatty() and not os.environ.get("CI"))


def current(ctx: click.Context | None = None) -> Caller:
    """Return the caller of the command that is being parsed or run."""
    ctx = ctx or click.get_current_context(silent=True)
    found = ctx.find_object(Caller) if ctx is not None else None
    return found or Caller()
