"""What a watcher sees of a run that goes on: made of its events, shown as lines or as a card."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from mlops_magics.cards import Badge, Card, Grid, Meter, text
from mlops_magics.errors import printable
from mlops_magics.pipelines.executor import Event
from mlops_magics.pipelines.result import status_badge

__all__ = ["View"]

_TAIL = 500  # characters of what a step printed, enough for a line
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class _Step:
    """How far a step is."""

    status: str = "PENDING"
    cell: int = 0
    cells: int | None = None
    started: float | None = None
    ended: float | None = None
    printed: str = ""  # the end of it
    note: str = ""  # why it ran, what it printed last, or what it failed of

    def seconds(self, now: float) -> float | None:
        return None if self.started is None else max(0.0, (self.ended or now) - self.started)


class View:
    r"""The state of a run, as its events tell.

    Parameters
    ----------
    clock : callable
        Gives seconds since 1970.

    Examples
    --------
    >>> view = View(clock=lambda: 12.0)
    >>> view(Event("", "run", {"run": "1", "pipeline": "flights", "steps": ["train"]}))
    >>> view(Event("train", "begin", {"started": 2.0}))
    >>> view(Event("train", "cell", {"state": "start", "index": 2, "total": 8}))
    >>> view(Event("train", "output", {"text": "loss 0.31\n", "name": "stdout"}))
    >>> view.running()
    ['train  cell 3 of 8  10 s  loss 0.31']
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.pipeline, self.run = "", ""
        self.steps: dict[str, _Step] = {}

    def __call__(self, event: Event) -> None:
        """Take what happened."""
        if event.kind == "run":
            self.pipeline, self.run = event.details["pipeline"], event.details["run"]
            self.steps = {name: _Step() for name in event.details["steps"]}
            return
        step, told = self.steps.setdefault(event.step, _Step()), event.details
        if event.kind == "begin":
            step.status, step.started = "RUNNING", told.get("started") or self._clock()
            step.note = told.get("reason") or ""
        elif event.kind == "retry":
            step.cell, step.cells, step.note = (
                0,
                None,
                f"tried again after {_message(told['error'])}",
            )
        elif event.kind == "cell":
            step.cell, step.cells = told["index"] + 1, told["total"]
        elif event.kind == "output":
            # a line may come in pieces
            step.printed = (step.printed + told["text"])[-_TAIL:]
            step.note = _last_line(step.printed) or step.note
        elif event.kind == "status":
            step.status = told["status"]
            step.ended = told.get("ended") or self._clock()
            # why a step ran was told when it began
            reason = "" if step.status == "FINISHED" else told.get("reason") or ""
            step.note = _message(told["error"]) if told.get("error") else reason

    @property
    def width(self) -> int:
        """Columns that the longest step's name takes."""
        return max(map(len, self.steps), default=0)

    def running(self) -> list[str]:
        """Return a line for each step that runs."""
        now = self._clock()
        return [
            self._line(name, self._cell(step), step.seconds(now), step.note)
            for name, step in self.steps.items()
            if step.status == "RUNNING"
        ]

    def line(self, name: str) -> str:
        """Return the line of one step, as it stands."""
        step = self.steps[name]
        state = text(status_badge(step.status))
        seconds = step.seconds(self._clock()) if step.ended is not None else None
        return self._line(name, state, seconds, step.note)

    def card(self) -> Card:
        """Return all steps, for a notebook."""
        now = self._clock()
        rows = []
        for name, step in self.steps.items():
            seconds = step.seconds(now)
            at = Meter(step.cell - (step.status == "RUNNING"), step.cells) if step.cells else None
            taken = None if seconds is None else round(seconds, 1)
            rows.append([name, status_badge(step.status), at, taken, step.note or None])
        states = [step.status for step in self.steps.values()]
        waiting = sum(state == "PENDING" for state in states)
        badge = Badge(f"{len(states) - waiting} of {len(states)} steps", "neutral")
        grid = Grid(["step", "status", "cells", "seconds", ""], rows)
        return Card(self.pipeline, subtitle=f"pipeline · {self.run}", badge=badge, grids=[grid])

    def _cell(self, step: _Step) -> str:
        return f"cell {step.cell} of {step.cells}" if step.cells else "its kernel starts"

    def _line(self, name: str, state: str, seconds: float | None, note: str) -> str:
        took = "" if seconds is None else f"{seconds:.0f} s"
        parts = (name.ljust(self.width), state, took, printable(note.replace("\n", " ")))
        return "  ".join(part for part in parts if part)


def _message(error: object) -> str:
    if not isinstance(error, dict):
        return ""
    at = f"cell {error['cell']}: " if error.get("cell") is not None else ""
    return f"{at}{error['ename']}: {error['evalue']}"


def _last_line(printed: str) -> str:
    """Return the last line that says something; progress bars overwrite theirs."""
    lines = [line.strip() for line in re.split(r"[\r\n]", _ANSI.sub("", printed))]
    return next((line for line in reversed(lines) if line), "")
