"""A Python script inside a tracked run."""

from __future__ import annotations

import io
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

from mlops_magics.errors import MlopsError

__all__ = ["Tee", "execute", "kept"]


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


def execute(script: str, arguments: Sequence[str], tracked: AbstractContextManager[Any]) -> Any:
    """Run a script as ``python SCRIPT ARGUMENTS`` would, inside a tracked run; return its record.

    Raises
    ------
    MlopsError
        The script left with an exit status other than 0; its run is FAILED.
    """
    saved_arguments, saved_path = sys.argv, sys.path
    folder = str(Path(script).resolve().parent)
    with tracked as active:
        sys.argv, sys.path = [script, *arguments], [folder, *sys.path]
        try:
            with kept() as printed:
                runpy.run_path(script, run_name="__main__")
        except SystemExit as exc:
            if exc.code not in (None, 0):
                raise MlopsError(
                    f"{script} left with exit status {exc.code}",
                    hint="its run is FAILED; see it with: mlops runs",
                ) from exc
        finally:
            sys.argv, sys.path = saved_arguments, saved_path
            if printed.getvalue():
                active.keep_text("mlops/output.txt", printed.getvalue())
    return active.record
