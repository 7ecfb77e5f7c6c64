"""Which bins a histogram gets, chosen once from the reference data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["choose"]

BINS = 20  # inner bins of a continuous column
DISCRETE = 24  # a numeric column of so few values gets a bin for each


def choose(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Choose bin edges for sorted finite values.

    A bin for each value where there are few; else about twenty equal steps of a round width over
    the middle 99 %; where one such bin would hold more than 30 % (skewed data), quantiles.

    Examples
    --------
    >>> import numpy as np
    >>> choose(np.array([1.0, 1.0, 2.0, 4.0]))
    (0.5, 1.5, 3.0, 5.0)
    >>> choose(np.linspace(0, 10, 1001))[:3]
    (0.0, 0.5, 1.0)
    """
    size = len(values)
    if not size:
        return ()
    distinct = values[np.flatnonzero(np.diff(values, prepend=-np.inf))]
    if len(distinct) <= DISCRETE:
        return _between(distinct)
    low, high = (float(values[round((size - 1) * q)]) for q in (0.005, 0.995))
    if high > low:
        step = _round_step((high - low) / BINS)
        digits = max(0, 2 - math.floor(math.log10(step)))
        start, stop = math.floor(low / step), math.ceil(high / step)
        edges = np.unique(np.round(np.arange(start, stop + 1) * step, digits))
        counts = np.diff(np.searchsorted(values, edges, "left"), prepend=0, append=size)
        if counts.max() <= 0.3 * size:
            return tuple(edges.tolist())
    shares = np.concatenate(([0.005], np.arange(1, BINS) / BINS, [0.995]))
    quantiles = values[np.round((size - 1) * shares).astype(int)]
    # so few distinct quantiles leave the tail in one bin: most of the values are one and the same
    tail = distinct[np.round((len(distinct) - 1) * np.array([0.5, 0.9])).astype(int)]
    merged = np.unique(np.concatenate((quantiles, tail if len(set(quantiles)) < 5 else [])))
    return tuple(dict.fromkeys(float(f"{edge:.6g}") for edge in merged))


def _between(distinct: NDArray[np.float64]) -> tuple[float, ...]:
    """Edges that put each of a few values in a bin of its own."""
    if len(distinct) == 1:
        half = max(0.5, abs(float(distinct[0])) * 1e-9)
        return (float(distinct[0]) - half, float(distinct[0]) + half)
    middles = distinct[:-1] + np.diff(distinct) / 2
    first, last = 2 * distinct[0] - middles[0], 2 * distinct[-1] - middles[-1]
    return tuple(np.unique([first, *middles, last]).tolist())


def _round_step(width: float) -> float:
    """Round a width up to 1, 2, 2.5, 5 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if power * factor >= width)
