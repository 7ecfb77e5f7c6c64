"""Commands: a program that an alert is given to, as JSON on its standard input; no shell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["SECONDS", "Overdue", "run"]

SECONDS = 30.0
"""That a command may take."""

TOLD = 500  # characters of what it writes that are kept


class Overdue(Exception):
    """A command that was ended because it took too long."""


def run(
    arguments: Sequence[str],
    text: str,
    folder: Path,
    environment: Mapping[str, str],
    *,
    seconds: float = SECONDS,
) -> tuple[int, str]:
    """Run a program with its arguments; whatever it has started is ended with it.

    Parameters
    ----------
    arguments : sequence of str
        The program and its arguments.
    text : str
        For its standard input.
    folder : Path
        Its working directory.
    environment : mapping
        Its variables.
    seconds : float
        That it may take.

    Returns
    -------
    tuple of int and str
        Its exit status, and the end of what it wrote.

    Raises
    ------
    Overdue
        It took longer.
    OSError
        It cannot be started.

    Examples
    --------
    >>> run(["cat"], "hello", Path("/"), {"PATH": "/usr/bin:/bin"})
    (0, 'hello')
    """
    # files, not pipes: what it leaves behind running keeps no pipe of ours open
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as written:
        given.write(text.encode())
        given.seek(0)
        process = subprocess.Popen(
            list(arguments),
            cwd=folder,
            env=dict(environment),
            stdin=given,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Overdue(f"took longer than {seconds:g} s and was ended") from None
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing of it is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        size = written.seek(0, os.SEEK_END)
        written.seek(max(0, size - 4 * TOLD))
        return status, written.read().decode("utf-8", "replace").strip()[-TOLD:]
