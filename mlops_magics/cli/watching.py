"""Watching a pipeline that runs: lines in a log, a few that move in a terminal."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from types import TracebackType
from typing import TextIO

from mlops_magics.errors import printable
from mlops_magics.pipelines.executor import Event
from mlops_magics.pipelines.view import View

__all__ = ["LogWatch", "TerminalWatch"]

_TOLD = {"begin", "retry", "status"}


class LogWatch:
    """Writes a line as each step begins and ends; nothing that would have to be overwritten.

    Parameters
    ----------
    stream : file, optional
        Default: standard error.
    verbose : bool
        Write what the cells print, too.
    """

    def __init__(self, stream: TextIO | None = None, *, verbose: bool = False) -> None:
        self._stream, self._verbose = stream or sys.stderr, verbose
        self._view = View()
        self._part: dict[str, str] = {}  # the line that a step has not ended yet

    def __enter__(self) -> LogWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave what is written."""

    def __call__(self, event: Event) -> None:
        """Take what happened."""
        self._view(event)
        for line in self._lines(event):
            # a log that nobody takes any more must not end the run
            with contextlib.suppress(OSError, ValueError):
                print(line, file=self._stream, flush=True)

    def _lines(self, event: Event) -> list[str]:
        """Return the lines that stay of an event."""
        if event.kind in _TOLD:
            return [self._view.line(event.step)]
        if event.kind == "output" and self._verbose:
            *whole, rest = (self._part.get(event.step, "") + event.details["text"]).split("\n")
            self._part[event.step] = rest
            name = event.step.ljust(self._view.width)
            return [f"{name} │ {printable(line.rpartition(chr(13))[2])}" for line in whole]
        return []


class TerminalWatch(LogWatch):
    """Writes steps as they end; below, a line for each that runs shows where it is.

    Parameters
    ----------
    stream : file, optional
        The terminal; default: standard error.
    verbose : bool
        Write what the cells print, too.
    """

    def __init__(self, stream: TextIO | None = None, *, verbose: bool = False) -> None:
        super().__init__(stream, verbose=verbose)
        self._shown = 0  # lines that the next drawing overwrites
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="mlops-watch", daemon=True)

    def __enter__(self) -> TerminalWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the moving lines away."""
        self._end.set()
        self._thread.join()
        with self._lock:
            self._draw([], running=[])

    def __call__(self, event: Event) -> None:
        """Take what happened."""
        with self._lock:
            self._view(event)
            # that a step begins is seen in the moving lines
            lines = [] if event.kind == "begin" else self._lines(event)
            if lines or event.kind in _TOLD:
                self._draw(lines, running=self._view.running())

    def _tick(self) -> None:
        while not self._end.wait(0.25):
            with self._lock:
                self._draw([], running=self._view.running())

    def _draw(self, lines: list[str], *, running: list[str]) -> None:
        width = shutil.get_terminal_size().columns - 1
        back = f"\x1b[{self._shown}A\r\x1b[J" if self._shown else ""
        # a line that wraps would not be overwritten whole
        moving = [f"\x1b[2m{line[:width]}\x1b[0m" for line in (f"… {line}" for line in running)]
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(back + "".join(f"{line}\n" for line in [*lines, *moving]))
            self._stream.flush()
        self._shown = len(moving)
