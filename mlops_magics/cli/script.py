"""A Python script inside a tracked run."""

from __future__ import annotations

import io
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import click

from mlops_magics.cli.verb import Verb
from mlops_magics.errors import MlopsError

__all__ = ["ScriptVerb", "Tee", "execute", "kept"]


class ScriptVerb(Verb):
    """A verb that runs a script: its own options end where the script is named."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {"allow_interspersed_args": False}
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse ``[OPTIONS] NAME [OPTIONS] SCRIPT``; click takes no option behind NAME."""
        takes = {
            flag: 0 if param.is_flag else param.nargs
            for param in self.params
            if isinstance(param, click.Option)
            for flag in (*param.opts, *param.secondary_opts)
        }
        at, name = 0, None
        while at < len(args):
            if args[at] == "--":
                break
            if args[at].startswith("-") and len(args[at]) > 1:
                at += takes.get(args[at], 0)
            elif name is None:
                name = at
            else:
                break
            at += 1
        if name is not None:
            rest = args[at + 1 :] if args[at : at + 1] == ["--"] else args[at:]
            args = [*args[:name], *args[name + 1 : at], args[name], *rest]
        return super().parse_args(ctx, args)


class Tee(io.TextIOBase):
    """A stream that shows what is written, and keeps it.

    Parameters
    ----------
    shown : file
        Where it is shown.
    kept : io.StringIO
        Where it is kept; several streams may share one, in the order of writing.
    """

    def __init__(self, shown: TextIO, kept: io.StringIO) -> None:
        self._shown, self._kept = shown, kept

    def write(self, text: str) -> int:
        """Show and keep a text."""
        self._kept.write(text)
        return self._shown.write(text)

    def flush(self) -> None:
        """Flush what is shown."""
        self._shown.flush()

    def __getattr__(self, name: str) -> Any:
        # a kernel's streams have methods that files lack; libraries look for them
        return getattr(self._shown, name)

    def isatty(self) -> bool:
        """Tell whether a person reads along."""
        return self._shown.isatty()

    def fileno(self) -> int:
        """Give the shown stream's descriptor."""
        return self._shown.fileno()


@contextmanager
def kept() -> Iterator[io.StringIO]:
    """Keep what is printed inside, while it is shown as usual."""
    text = io.StringIO()
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Tee(out, text), Tee(err, text)
    try:
        yield text
    finally:
        sys.stdout, sys.stderr = out, err


def execute(
    script: str, arguments: Sequence[str], name: str, tracked: AbstractContextManager[Any]
) -> Any:
    """Run a script as ``python SCRIPT ARGUMENTS`` would, inside a tracked run; return its record.

    Raises
    ------
    MlopsError
        The script raised, and its traceback is on standard error, or it left with an exit
        status other than 0; its run is FAILED. An error of this package is raised as it is.
    """
    saved_arguments, saved_path = sys.argv, sys.path
    folder = str(Path(script).resolve().parent)
    active = None
    try:
        with tracked as active:
            sys.argv, sys.path = [script, *arguments], [folder, *sys.path]
            try:
                with kept() as printed:
                    _run(script)
            finally:
                sys.argv, sys.path = saved_arguments, saved_path
                if printed.getvalue():
                    active.keep_text("mlops/output.txt", printed.getvalue())
    except MlopsError as exc:
        if active is not None:
            exc.hint = "\n    ".join(filter(None, [exc.hint, _failed(name, active.run_id)]))
        raise
    except Exception as exc:
        if active is None:
            raise
        reason = f"{type(exc).__name__}: {exc}".strip().removesuffix(":")
        raise MlopsError(f"{script} raised {reason}", hint=_failed(name, active.run_id)) from exc
    return active.record


def _failed(name: str, run_id: str) -> str:
    return f"its run {name!r} ({run_id[:12]}) is FAILED; see it with: mlops runs"


def _run(script: str) -> None:
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as exc:
        if exc.code not in (None, 0):
            raise MlopsError(f"{script} left with exit status {exc.code}") from exc
    except MlopsError:
        raise  # says what happened without a traceback
    except Exception as exc:
        exc.__traceback__ = _own(exc.__traceback__, script)
        traceback.print_exception(exc)
        raise


def _own(trace: TracebackType | None, script: str) -> TracebackType | None:
    """Return a traceback from the script's frame on; what called the script is not its matter."""
    at = trace
    while at is not None and at.tb_frame.f_code.co_filename != script:
        at = at.tb_next
    return at
