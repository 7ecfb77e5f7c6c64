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
from mlops_magics.errors import GateFailed, MlopsError
from mlops_magics.records import Record, plain

__all__ = ["Caller", "current", "failure"]


class Caller:
    """What a command asks of the face that called it; this one is a shell.

    Attributes
    ----------
    namespace : mapping
        Where a bare name is looked up when an object is expected.
    as_json : bool
        Whether JSON was asked for.
    exit_status : int
        What the process is to leave with when no error was raised.
    """

    namespace: Mapping[str, Any] = {}
    as_json = False
    exit_status = 0

    def run_of(self, thing: Any) -> str | None:
        """Return the id of the tracked run that made an object, if this face knows it."""
        return None

    def answer(self, command: click.Command, result: Any, *, as_json: bool) -> Any:
        """Show a verb's result: to standard output, as text or as JSON."""
        if as_json:
            click.echo(json.dumps(plain(result), indent=2, ensure_ascii=False))
        elif isinstance(result, Record):
            click.echo(str(result))
        # a diagnosis that found something wrong is a result, and no success
        self.exit_status = getattr(result, "exit_status", 0)
        return result

    def progress(self, label: str) -> AbstractContextManager[Callable[..., None]]:
        """Show that work goes on, once it takes longer than a second."""
        return Progress(label, show=_looked_at())

    def watch(self, *, verbose: bool = False) -> AbstractContextManager[Callable[[Any], None]]:
        """Show a pipeline's run as it goes on: in place in a terminal, line by line in a log."""
        from mlops_magics.cli.watching import LogWatch, TerminalWatch

        return (TerminalWatch if _looked_at() else LogWatch)(verbose=verbose)


def _looked_at() -> bool:
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def failure(error: MlopsError) -> dict[str, Any]:
    """Return an error as JSON values.

    Examples
    --------
    >>> failure(MlopsError("port 80 is taken", hint="choose another"))["error"]
    {'type': 'MlopsError', 'message': 'port 80 is taken', 'hint': 'choose another'}
    """
    told = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, GateFailed):
        return {"error": told, "report": plain(error.report)}
    return {"error": told}


def current(ctx: click.Context | None = None) -> Caller:
    """Return the caller of the command that is being parsed or run."""
    ctx = ctx or click.get_current_context(silent=True)
    found = ctx.find_object(Caller) if ctx is not None else None
    return found or Caller()
