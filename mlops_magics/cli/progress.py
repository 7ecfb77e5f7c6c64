"""Progress: nothing for the first second, then a bar; nothing at all when nobody looks."""

from __future__ import annotations

import contextvars
import threading
from types import TracebackType
from typing import Any

__all__ = ["Progress"]


class Progress:
    """A bar around work that may take long; call it to say how far the work is.

    Parameters
    ----------
    label : str
        What is being done.
    show : bool
        False when headless: then it does nothing.
    delay : float
        Seconds before the bar appears.

    Examples
    --------
    >>> with Progress("counting", show=False) as report:
    ...     report(1, 3)
    """

    def __init__(self, label: str, *, show: bool, delay: float = 1.0) -> None:
        self.label, self.show, self.delay = label, show, delay
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
        if self._end.wait(self.delay):
            return
        bar = _bar(self.label)
        try:
            while True:
                done, total, note = self._state
                bar.total, bar.n = total, done
                bar.bar_format = None if total else "{desc} … {elapsed}"
                bar.set_description_str(f"{self.label}: {note}" if note else self.label)
                if self._end.wait(0.5):
                    return
        finally:
            bar.close()


def _bar(label: str) -> Any:
    from tqdm.auto import tqdm

    return tqdm(desc=label, leave=False, bar_format="{desc} … {elapsed}")
