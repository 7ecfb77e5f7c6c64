"""Returns: whether clients that were answered ask again at once.

A model that takes as long for sixteen rows as for thirty-two should get thirty-two. But clients
that wait for their answers fall into two halves: while one half is computed the other waits, and
is sent off the moment the first is answered. Where those who were answered have come back at once
so far, a free worker waits for them, for a small part of what a batch takes.
"""

from __future__ import annotations

__all__ = ["Returns"]

PART = 0.25
"""Of a batch's time: how long to wait at the most."""
_SLOW = 0.004
_MOST = 0.5
_WEIGHT = 0.3


class Returns:
    """The share of answered requests that are followed by another within a part of a batch's time.

    Examples
    --------
    >>> returns = Returns()
    >>> for second in range(5):
    ...     returns.answered(2, 0.02, now=float(second))
    ...     returns.came(second + 0.001)
    ...     returns.came(second + 0.002)
    >>> returns.answered(2, 0.02, now=9.0)
    >>> round(returns.share, 2), returns.wait
    (0.83, 0.005)
    """

    def __init__(self) -> None:
        self.share = 0.0
        self.wait = 0.0
        """Seconds to wait for them; 0 when they would not come, or the model is fast anyway."""
        self._asked = 0
        self._came = 0
        self._until = 0.0

    def answered(self, count: int, computed: float, now: float) -> None:
        """Note that ``count`` requests have their answer, after ``computed`` seconds."""
        if self._asked:
            share = min(self._came / self._asked, 1.0)
            self.share += _WEIGHT * (share - self.share)
        patience = computed * PART
        self._asked, self._came, self._until = count, 0, now + patience
        self.wait = patience if computed >= _SLOW and self.share >= _MOST else 0.0

    def came(self, now: float) -> None:
        """Note a request."""
        if now < self._until:
            self._came += 1
