"""Processes that execute steps: one for each step, the next one started before it is needed."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlops_magics.pipelines.nursery import Child, Nursery, can_fork

if TYPE_CHECKING:
    _Process = subprocess.Popen[str] | Child

__all__ = ["Event", "Executor"]


@dataclass(frozen=True)
class Event:
    """What happens in a run, as its watchers hear of it.

    Attributes
    ----------
    step : str
        Empty for what concerns the whole run.
    kind : str
        A step's process tells ``cell``, ``output`` and ``end``; ``died`` is told when it ended
        without a word. The runner tells ``run``, and of each step ``begin``, ``retry`` and
        ``status``.
    details : mapping
        ``cell``: state (``start``, ``end``), index from 0 as the input
        notebook counts, total. ``output``: text, name
        (``stdout``, ``stderr``, ``result``). ``end``: outputs, error. ``died``: status.
        ``run``: run, pipeline, steps (names in order). ``begin``: reason, if it is known.
        ``retry``: number, error. ``status``: status, error; the step is recorded by then.
    """

    step: str
    kind: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Executor:
    """Starts steps in processes of their own and gathers what they tell.

    Where processes can be forked they come from a `Nursery`; elsewhere one that has no job yet is
    always ready, because it needs a second to load papermill. Ends with all its processes when the
    ``with`` block is left.

    Parameters
    ----------
    environment : mapping
        Of all the steps, on top of this process's own.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        # a notebook's plain `mlflow.start_run()` would go on with the caller's run
        self._environment.pop("MLFLOW_RUN_ID", None)
        self._events: queue.Queue[Event] = queue.Queue()
        self._nursery: Nursery | None = None
        self._spare: _Process | None = None
        self._running: dict[str, _Process] = {}

    def __enter__(self) -> Executor:
        return self

    def prepare(self, modules: Iterable[str]) -> None:
        """Get ready for steps whose notebooks import these modules."""
        if can_fork():
            self._nursery = Nursery(self._environment)
            self._nursery.preload(modules)
        else:
            self._spare = self._process()

    def __exit__(self, *_: object) -> None:
        processes = [*self._running.values(), *([self._spare] if self._spare else [])]
        for process in processes:
            _close(process)
        for process in processes:
            _end(process)
        if self._nursery is not None:
            self._nursery.close()

    def start(
        self,
        step: str,
        *,
        notebook: Path,
        output: Path,
        parameters: Mapping[str, Any],
        environment: Mapping[str, str],
        spare: bool,
        cell_timeout: float | None = None,
        loads: tuple[Iterable[str], bool] = ((), False),
    ) -> None:
        """Start a step.

        Parameters
        ----------
        step : str
            Its name.
        notebook, output : Path
            The input notebook and where the executed one goes; the working directory is the
            input's folder, as in JupyterLab.
        parameters : mapping
            JSON values.
        environment : mapping
            Of this step.
        spare : bool
            Get another process ready, because more steps will come.
        cell_timeout : float, optional
            Seconds that one cell may take.
        loads : tuple of iterable of str and bool
            Modules that its kernel may have loaded when it starts, and whether it must have none.
        """
        job = {
            "notebook": str(notebook),
            "output": str(output),
            "parameters": dict(parameters),
            "cwd": str(notebook.parent),
            "environment": dict(environment),
            "cell_timeout": cell_timeout,
        }
        text = json.dumps(job) + "\n"
        log = output.with_suffix(".log")
        born = self._nursery.fork(notebook.parent, *loads) if self._nursery else None
        if born is not None:
            self._employ(step, born, text, log)
            return
        process, self._spare = self._spare or self._process(), None
        self._employ(step, process, text, log)
        if spare and not can_fork():
            self._spare = self._process()

    def next(self, timeout: float) -> Event | None:
        """Wait for what happens next; None when nothing did for that many seconds."""
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if event.kind in {"end", "died"}:
            process = self._running.pop(event.step, None)
            if process is not None:
                _close(process)
                _end(process)
        return event

    def stop(self, step: str) -> None:
        """End a step's process and its kernel; the notebook stays as far as it got."""
        process = self._running.get(step)
        if process is not None:
            _close(process)
            _end(process)

    def _process(self) -> _Process:
        return subprocess.Popen(
            [sys.executable, "-m", "mlops_magics.pipelines.step"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for the runner, which then ends its steps in order
        )

    def _employ(self, step: str, process: _Process, job: str, log: Path) -> None:
        """Give a process its job, and listen to it."""
        self._running[step] = process
        listen = threading.Thread(target=self._listen, args=(step, process, job, log), daemon=True)
        listen.start()
        threading.Thread(target=_copy, args=(process.stderr, log), daemon=True).start()
        assert process.stdin is not None
        # a process that died at its start is told of by its listener
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(job)
            process.stdin.flush()

    def _listen(self, step: str, process: _Process, job: str, log: Path) -> None:
        assert process.stdout is not None
        ended = False
        for line in process.stdout:
            try:
                details = json.loads(line)
                kind = details.pop("event")
            except (ValueError, AttributeError, TypeError, KeyError):
                continue  # printed while Python started, or cut off by a kill
            if kind != "ready":
                self._events.put(Event(step, kind, details))
            ended = ended or kind == "end"
        if ended:
            return
        if process.pid is None:  # the nursery was ended before it could fork it
            self._employ(step, self._process(), job, log)
            return
        self._events.put(Event(step, "died", {"status": process.wait()}))


def _copy(stream: IO[str] | None, path: Path) -> None:
    """Keep what a process writes to its standard error, in a file that exists only if it did."""
    assert stream is not None
    file: IO[str] | None = None
    full = False
    for line in stream:
        if full:
            continue  # read all the same: the process must not wait for a pipe that nobody empties
        try:
            if file is None:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")
            file.write(line)
        except OSError:
            full = True
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()


def _close(process: _Process) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _end(process: _Process, patience: float = 5.0) -> None:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
