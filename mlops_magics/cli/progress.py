"""Progress: nothing for the first second, then a bar; nothing at all when nobody looks."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

__all__ = ["Bar", "Progress", "TerminalBar"]


class Bar(Protocol):
    """What draws progress."""

    def draw(self, label: str, done: float, total: float | None, seconds: float) -> None:
        """Draw how far the work is; without a total only that it goes on."""

    def close(self) -> None:
        """Take the bar away."""


class TerminalBar:
    """A bar in the last line of a terminal."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar: Any = tqdm(leave=False, bar_format="{desc}")

    def draw(self, label: str, done: float, total: float | None, seconds: float) -> None:
        """Draw the bar, or the time that has passed."""
        self._bar.total, self._bar.n = total, done
        self._bar.bar_format = "{desc}" + (" {percentage:3.0f}% |{bar}|" if total else "")
        self._bar.set_description_str(f"{label} … {seconds:.0f} s")

    def close(self) -> None:
        """Clear the line."""
        self._bar.close()


class Progress:
    """A bar around work that may take long; call it to say how far the work is.

    Parameters
    ----------
    label : str
        What is being done.
    show : bool
        False when headless: then it does nothing.
    bar : callable
        Makes what draws it.
    delay : float
        Seconds before it appears.

    Examples
    --------
    >>> with Progress("counting", show=False) as report:
    ...     report(1, 3)
    """

    def __init__(
        self,
        label: str,
        *,
        show: bool,
        bar: Callable[[], Bar] = TerminalBar,
        delay: float = 1.0,
    ) -> None:
        self.label, self.show, self.bar, self.delay = label, show, bar, delay
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: tuple[float, float | None, str] = (0, None, "")

    def __call__(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how much is done, of how much if that is known, and what comes now."""
        self._state = (done, total, note)

    def __enter__(self) -> Progress:
        if self.show:
            # a kernel tells from the context to which cell a thread's output belongs
            context = contextvars.copy_context()
            self._thread = threading.Thread(
                target=context.run, args=(self._draw,), name="mlops-progress", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _draw(self) -> None:
        began = time.monotonic()
        if self._end.wait(self.delay):
            return
        bar = self.bar()
        try:
            while True:
                done, total, note = self._state
                label = f"{self.label}: {note}" if note else self.label
                bar.draw(label, done, total, time.monotonic() - began)
                if self._end.wait(0.5):
                    return
        finally:
            bar.close()
