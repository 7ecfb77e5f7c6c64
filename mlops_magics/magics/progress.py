"""A bar below a notebook's cell, while a verb works."""

from __future__ import annotations

import html
from typing import Any

__all__ = ["NotebookBar"]


class NotebookBar:
    """A bar in an output that is emptied afterwards: a saved notebook keeps no trace of it."""

    def __init__(self) -> None:
        from IPython.display import DisplayHandle

        self._handle: Any = DisplayHandle()
        self._shown = False

    def draw(self, label: str, done: float, total: float | None, seconds: float) -> None:
        """Draw the bar; without a total it only moves."""
        state = f'value="{done:g}" max="{total:g}"' if total else ""
        text = f"{label} … {seconds:.0f} s"
        self._update(text, f"<progress {state}></progress> <small>{html.escape(text)}</small>")

    def close(self) -> None:
        """Empty the output."""
        self._update("", "")

    def _update(self, text: str, markup: str) -> None:
        data = {"text/plain": text, "text/html": markup}
        if self._shown:
            self._handle.update(data, raw=True)
        else:
            self._handle.display(data, raw=True)
            self._shown = True
