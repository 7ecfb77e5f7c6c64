"""Intervals by which a candidate and a baseline are compared.

Two kinds, for two questions. *Is it worse?* is asked every second, so its interval must hold at
all looks together: a confidence sequence. *Is it good enough?* is asked at the end of a step, so an
ordinary interval does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mlops_magics.measures.intervals import Range, newcombe, wilson
from mlops_magics.monitoring import latency

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Range", "mean", "newcombe", "quantile", "sequence", "wilson"]


def sequence(hits: int, total: int, alpha: float) -> Range:
    """Return a confidence sequence for a proportion: it holds at all sample sizes together.

    The proportions at which the posterior density under a uniform prior is at least alpha: the
    ratio of prior to posterior is a martingale at the true proportion, so by Ville's inequality
    it ever exceeds ``1 / alpha`` with a probability of at most alpha (Robbins, "Statistical methods
    related to the law of the iterated logarithm", 1970; Waudby-Smith and Ramdas, "Confidence
    sequences for sampling without replacement", 2020).

    Parameters
    ----------
    hits, total : int
        Of so many trials, so many successes.
    alpha : float
        Chance that it ever misses.

    Examples
    --------
    >>> [round(bound, 3) for bound in sequence(5, 5, 0.01)]
    [0.278, 1.0]
    """
    if not total:
        return Range(0.0, 1.0)
    misses = total - hits
    level = math.log(alpha) - (
        math.lgamma(total + 2) - math.lgamma(hits + 1) - math.lgamma(misses + 1)
    )

    def inside(p: float) -> bool:
        found = (hits * math.log(p) if hits else 0.0) + (misses * math.log1p(-p) if misses else 0.0)
        return found >= level

    mode = hits / total
    low = _edge(inside, mode, 0.0) if hits else 0.0
    high = _edge(inside, mode, 1.0) if misses else 1.0
    return Range(low, high)


def _edge(inside: Callable[[float], bool], within: float, without: float) -> float:
    """Bisect between a point inside and the end outside."""
    for _ in range(60):
        middle = (within + without) / 2
        if inside(middle):
            within = middle
        else:
            without = middle
    return without


def quantile(counts: NDArray[np.int64], share: float, alpha: float) -> Range:
    """Return a confidence sequence for a quantile of latencies, in milliseconds.

    The order statistics whose ranks `sequence` does not exclude (Howard and Ramdas, "Sequential
    estimation of quantiles with applications to A/B testing and best-arm identification", 2022),
    widened to the edges of their bins.

    Parameters
    ----------
    counts : int array of shape (n_bins,)
        As `latency.count` gives.
    share : float
        Which quantile: 0.95.
    alpha : float
        Chance that it ever misses.

    Examples
    --------
    >>> bounds = quantile(latency.count([10.0] * 1000), 0.95, 0.01)
    >>> bool(bounds.low <= 10.0 <= bounds.high)
    True
    """
    total = int(counts.sum())
    if not total:
        return Range(0.0, math.inf)
    # the number below the quantile is binomial; ranks whose sequence has its share
    low, high = _rank(total, share, alpha, -1), _rank(total, share, alpha, +1) + 1
    cumulated = np.cumsum(counts)
    edges = np.concatenate(([0.0], latency.EDGES, [math.inf]))
    least = edges[int(np.searchsorted(cumulated, max(low, 1), "left"))] if low else 0.0
    most = edges[int(np.searchsorted(cumulated, high, "left")) + 1] if high <= total else math.inf
    return Range(float(least), float(most))


def _rank(total: int, share: float, alpha: float, side: int) -> int:
    """Return the farthest number of hits, on one side, whose sequence has the share in it."""
    within = round(total * share)
    without = -1 if side < 0 else total + 1
    while abs(without - within) > 1:
        middle = (within + without) // 2
        density = (
            math.lgamma(total + 2)
            - math.lgamma(middle + 1)
            - math.lgamma(total - middle + 1)
            + middle * math.log(share)
            + (total - middle) * math.log1p(-share)
        )
        if density >= math.log(alpha):
            within = middle
        else:
            without = middle
    return within


def mean(values: NDArray[np.float64], alpha: float) -> Range:
    """Return an asymptotic confidence sequence for a mean.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas ("Time-uniform central limit theory and
    asymptotic confidence sequences", 2024), their equation 7, tightest at about 200 values.

    Examples
    --------
    >>> bounds = mean(np.arange(1000.0), 0.01)
    >>> bool(bounds.low < 499.5 < bounds.high)
    True
    """
    size = len(values)
    if size < 2:
        return Range(-math.inf, math.inf)
    rho = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / 200
    spread = size * rho + 1
    half = float(np.std(values)) * math.sqrt(
        2 * spread / (size * size * rho) * math.log(math.sqrt(spread) / alpha)
    )
    middle = float(np.mean(values))
    return Range(middle - half, middle + half)
