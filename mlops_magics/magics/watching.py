"""Watching a pipeline that runs, below a notebook's cell."""

from __future__ import annotations

import contextvars
import threading
from types import TracebackType
from typing import Any

from mlops_magics.cli.watching import LogWatch
from mlops_magics.pipelines.executor import Event

__all__ = ["NotebookWatch"]


class NotebookWatch(LogWatch):
    """Shows a card that is drawn anew as the run goes on, and emptied when it ends.

    What stays in the notebook is the run's record; with `verbose`, what the cells printed, too.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        from IPython.display import DisplayHandle

        super().__init__(verbose=verbose)
        self._handle: Any = DisplayHandle()
        self._shown = False
        self._end = threading.Event()
        # a kernel tells from the context to which cell a thread's output belongs
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._tick,), name="mlops-watch", daemon=True
        )

    def __enter__(self) -> NotebookWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Empty the output."""
        self._end.set()
        self._thread.join()
        if self._shown:
            self._update("", "")

    def __call__(self, event: Event) -> None:
        """Take what happened."""
        self._view(event)
        if event.kind == "output":
            for line in self._lines(event):
                print(line)  # noqa: T201  # a cell's output, as it was the step's

    def _tick(self) -> None:
        while not self._end.wait(0.5):
            if self._view.steps:
                card = self._view.card()
                self._update(card.text(), card.html())

    def _update(self, text: str, markup: str) -> None:
        data = {"text/plain": text, "text/html": markup}
        if self._shown:
            self._handle.update(data, raw=True)
        else:
            self._handle.display(data, raw=True)
            self._shown = True
