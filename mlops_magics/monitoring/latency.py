"""Latencies as counts on fixed logarithmic edges, so that windows add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EDGES", "count", "pack", "quantile", "unpack"]

EDGES = np.logspace(-1, 5, 6 * 24 + 1)
"""Milliseconds, 0.1 to 100,000; a bin is 10 % wide, which bounds a quantile's relative error."""


def count(milliseconds: Iterable[float]) -> NDArray[np.int64]:
    """Count latencies by bin; the first and last bins are open.

    Examples
    --------
    >>> int(count([3.0, 4.0, 1e9]).sum())
    3
    """
    values = np.fromiter(milliseconds, dtype=float)
    return np.bincount(np.searchsorted(EDGES, values, "right"), minlength=len(EDGES) + 1)


def quantile(counts: NDArray[np.int64], share: float) -> float | None:
    """Estimate a quantile in milliseconds; None when nothing was counted.

    Interpolates logarithmically inside the bin in which the quantile falls.

    Examples
    --------
    >>> round(quantile(count([10.0] * 100), 0.5))
    10
    """
    total = int(counts.sum())
    if not total:
        return None
    cumulated = np.cumsum(counts)
    wanted = max(share * total, 1.0)
    place = int(np.searchsorted(cumulated, wanted, "left"))
    if place in (0, len(EDGES)):
        return float(EDGES[0] if place == 0 else EDGES[-1])
    before = cumulated[place] - counts[place]
    inside = (wanted - before) / counts[place]
    low, high = EDGES[place - 1], EDGES[place]
    return float(low * (high / low) ** inside)


def pack(counts: NDArray[np.int64]) -> dict[str, int]:
    """Return the bins that are not empty, for JSON."""
    return {str(place): int(counts[place]) for place in np.flatnonzero(counts)}


def unpack(packed: Mapping[str, int]) -> NDArray[np.int64]:
    """Read what `pack` wrote."""
    counts = np.zeros(len(EDGES) + 1, dtype=np.int64)
    for place, number in packed.items():
        counts[int(place)] = number
    return counts
