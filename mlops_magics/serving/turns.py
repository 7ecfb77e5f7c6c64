"""Turns: batches of many models share the machine's cores one after another, not all at once.

Ten models' workers that compute at the same time on two cores take the processor from each other
in the middle of a batch, and each batch is small, as it was sent as soon as there was a request.
One after another they are done sooner, and while a batch waits for its turn it grows. A batch
waits for a short while at most, and one that computes for long holds no turn: a slow or hanging
model keeps nobody.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Hashable
from itertools import islice

__all__ = ["Turns"]

PATIENCE = 0.010
"""Seconds after which a batch goes whether it is its turn or not."""

HELD = 0.020
"""Seconds for which a batch that computes holds its turn."""


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


class Turns:
    """Who computes, and who waits for that.

    Parameters
    ----------
    cores : int, optional
        So many compute at once; default: the cores that this process may use.

    Examples
    --------
    >>> turns, called = Turns(cores=1), []
    >>> loop = asyncio.new_event_loop()
    >>> async def walk():
    ...     first = turns.begin("a", lambda: None)
    ...     second = turns.begin("b", lambda: called.append("b"))
    ...     turns.end("a")
    ...     await asyncio.sleep(0)
    ...     return first, second, called
    >>> loop.run_until_complete(walk())
    (True, False, ['b'])
    >>> loop.close()
    """

    def __init__(self, cores: int | None = None) -> None:
        self.cores = cores or _cores()
        self._began: dict[Hashable, float] = {}
        self._waiting: dict[Callable[[], None], float] = {}
        self._giving = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, who: Hashable, again: Callable[[], None], *, insist: bool = False) -> bool:
        """Ask for a turn.

        Parameters
        ----------
        who : hashable
            The worker's link; until `end` it holds the turn.
        again : callable
            Called when a turn is free, or the patience is at an end: it asks anew, or leaves.
        insist : bool
            Take a turn in any case.

        Returns
        -------
        bool
            Whether it may begin now.
        """
        now = time.monotonic()
        if not insist and not self._free(again, now) and self._wait(again, now) < PATIENCE:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._wake)
            return False
        self._waiting.pop(again, None)
        self._began[who] = now
        return True

    def end(self, who: Hashable) -> None:
        """Give a turn back; those who have waited longest are called."""
        self._began.pop(who, None)
        if self._waiting and not self._giving:
            # soon, not now: whoever has just been answered goes to the end of the queue
            self._giving = True
            asyncio.get_running_loop().call_soon(self._give)

    def leave(self, again: Callable[[], None]) -> None:
        """Wait no longer."""
        self._waiting.pop(again, None)

    def _give(self) -> None:
        self._giving = False
        for again in list(self._waiting):
            if len(self._began) >= self.cores:
                return
            again()

    def _free(self, again: Callable[[], None], now: float) -> bool:
        """Tell whether a turn is free that nobody else has waited for longer."""
        if len(self._began) >= self.cores:
            for who, began in list(self._began.items()):
                if now - began > HELD:
                    del self._began[who]
        free = self.cores - len(self._began)
        return free > len(self._waiting) or again in islice(self._waiting, max(0, free))

    def _wait(self, again: Callable[[], None], now: float) -> float:
        """Stand in the queue; tell for how long already."""
        return now - self._waiting.setdefault(again, now)

    def _wake(self) -> None:
        """Call those whose patience is at an end, and come again for the others."""
        self._timer = None
        now = time.monotonic()
        for again, since in list(self._waiting.items()):
            if now - since >= PATIENCE:
                again()
        if self._waiting and self._timer is None:
            left = min(self._waiting.values()) + PATIENCE - now
            self._timer = asyncio.get_running_loop().call_later(max(0.001, left), self._wake)
