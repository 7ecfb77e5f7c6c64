"""Intervals of 95 % for shares, and for the difference and the ratio of two shares."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Range", "Z", "katz", "newcombe", "wilson"]

Z = 1.959963984540054
"""Of the normal distribution, 97.5 %."""


class Range(NamedTuple):
    """Bounds of an interval."""

    low: float
    high: float


def wilson(hits: float, total: float) -> Range:
    """Return Wilson's 95 % interval for a proportion ("Probable inference", 1927).

    Examples
    --------
    >>> [round(bound, 4) for bound in wilson(0, 200)]
    [0.0, 0.0188]
    """
    if not total:
        return Range(0.0, 1.0)
    share, weight = hits / total, Z * Z / total
    middle = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return Range(max(0.0, middle - half), min(1.0, middle + half))


def newcombe(hits: float, total: float, base_hits: float, base_total: float) -> Range:
    """Return the 95 % interval of a difference of proportions, the first less the base.

    Newcombe's hybrid score interval, his method 10 ("Interval estimation for the difference
    between independent proportions", 1998): it keeps its level where nothing, or all, failed.

    Examples
    --------
    >>> [round(bound, 4) for bound in newcombe(56, 70, 48, 80)]
    [0.0524, 0.3339]
    """
    if not total or not base_total:
        return Range(-1.0, 1.0)
    one, other = hits / total, base_hits / base_total
    mine, theirs = wilson(hits, total), wilson(base_hits, base_total)
    difference = one - other
    return Range(
        difference - math.hypot(one - mine.low, theirs.high - other),
        difference + math.hypot(mine.high - one, other - theirs.low),
    )


def katz(hits: float, total: float, base_hits: float, base_total: float) -> Range | None:
    """Return the 95 % interval of a ratio of proportions; None where one of them has no hit.

    On the logarithm (Katz, Baptista, Azen and Pike, "Obtaining confidence intervals for the risk
    ratio in cohort studies", 1978).

    Examples
    --------
    >>> [round(bound, 2) for bound in katz(30, 100, 40, 100)]
    [0.51, 1.1]
    """
    if not hits or not base_hits:
        return None
    ratio = (hits / total) / (base_hits / base_total)
    spread = math.sqrt(max(0.0, 1 / hits - 1 / total + 1 / base_hits - 1 / base_total))
    return Range(ratio * math.exp(-Z * spread), ratio * math.exp(Z * spread))
