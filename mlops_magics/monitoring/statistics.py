"""Distances and tests between two histograms on the same bins.

All take counts (or proportions where no sample size is needed) of a reference and of the current
data, bin by bin. The formulas are scipy's where it has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlops_magics.profiles import significance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Outcome",
    "Samples",
    "chi_squared",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "of_samples",
    "pool",
    "population_stability",
    "wasserstein",
]


class Outcome(NamedTuple):
    """A test's statistic and its p-value."""

    statistic: float
    p_value: float


def population_stability(
    reference: ArrayLike, current: ArrayLike, *, floor: float = 1e-4
) -> float | None:
    """Return the population stability index: the sum of ``(q - p) ln(q / p)`` over the bins.

    Symmetric Kullback-Leibler divergence (Jeffreys 1946); rule of thumb: below 0.1 stable, above
    0.25 shifted (Siddiqi, "Credit Risk Scorecards", 2006). It is biased upward in small samples:
    without any shift its mean is about ``(bins - 1) (1 / n + 1 / m)`` (Yurdakul, "Statistical
    properties of population stability index", 2018).

    Parameters
    ----------
    reference : array of counts or proportions
        What was expected.
    current : array of counts or proportions
        What came, on the same bins.
    floor : float
        Proportion that stands in for an empty bin's.

    Returns
    -------
    float or None
        None where a side is empty.

    Examples
    --------
    >>> round(population_stability([50, 50], [60, 40]), 4)
    0.0405
    """
    p, q = _proportions(reference), _proportions(current)
    if p is None or q is None:
        return None
    p, q = np.where(p > 0, p, floor), np.where(q > 0, q, floor)
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float | None:
    """Jensen-Shannon distance with logarithms to base 2: 0 equal, 1 disjoint.

    The square root of the divergence (Endres and Schindelin, "A new metric for probability
    distributions", 2003), as ``scipy.spatial.distance.jensenshannon``. None where a side is empty.

    Examples
    --------
    >>> round(jensen_shannon([1, 0], [0, 1]), 12)
    1.0
    """
    from scipy.spatial.distance import jensenshannon

    p, q = _proportions(reference), _proportions(current)
    if p is None or q is None:
        return None
    # rounding can make the divergence of equal histograms a little negative
    return float(np.nan_to_num(jensenshannon(p, q, base=2)))


def kolmogorov_smirnov(reference: ArrayLike, current: ArrayLike) -> Outcome | None:
    """Two-sample Kolmogorov-Smirnov test at the bins' edges.

    The largest difference of the cumulated proportions; equal to ``scipy.stats.ks_2samp`` with
    ``method="asymp"`` on data that are constant within bins, else a lower bound of it. Ties make
    the p-value conservative (Noether 1963). None where a side is empty.

    Examples
    --------
    >>> kolmogorov_smirnov([50, 50, 0], [0, 50, 50]).statistic
    0.5
    """
    from scipy.stats import kstwo

    p, q = _proportions(reference), _proportions(current)
    if p is None or q is None:
        return None
    size, other = float(np.sum(reference)), float(np.sum(current))
    statistic = float(np.abs(np.cumsum(p) - np.cumsum(q)).max())
    effective = max(1, round(size * other / (size + other)))
    return Outcome(statistic, float(np.clip(kstwo.sf(statistic, effective), 0, 1)))


class Samples(NamedTuple):
    """What two samples of numbers say: a test's statistic and p-value, and a distance."""

    statistic: float
    p_value: float
    wasserstein: float


def of_samples(reference: ArrayLike, current: ArrayLike) -> Samples | None:
    """Compare two samples of numbers themselves, not their histograms.

    Kolmogorov and Smirnov's statistic and p-value as ``scipy.stats.ks_2samp`` with
    ``method="asymp"``, the distance as ``scipy.stats.wasserstein_distance``; both in one pass over
    the sorted values. NaN and infinities are left out; None where a side is empty then.

    Examples
    --------
    >>> found = of_samples([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    >>> round(found.statistic, 4), found.wasserstein
    (0.3333, 1.0)
    """
    from scipy.stats import kstwo

    first, second = (_sorted(side) for side in (reference, current))
    if not len(first) or not len(second):
        return None
    # two sorted runs are merged in one pass
    merged = np.sort(np.concatenate((first, second)), kind="stable")
    steps = np.searchsorted(first, merged, "right") / len(first)
    steps -= np.searchsorted(second, merged, "right") / len(second)
    np.abs(steps, out=steps)
    statistic = float(steps.max())
    effective = max(1, round(len(first) * len(second) / (len(first) + len(second))))
    p_value = float(np.clip(kstwo.sf(statistic, effective), 0, 1))
    return Samples(statistic, p_value, float(steps[:-1] @ np.diff(merged)))


def _sorted(values: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=float)
    return np.sort(found[np.isfinite(found)])


def chi_squared(reference: ArrayLike, current: ArrayLike) -> Outcome | None:
    """Pearson's chi-squared test that both histograms have the same proportions.

    As ``scipy.stats.chi2_contingency`` without continuity correction on the two rows. Bins that
    are empty on both sides say nothing and are left out; None with fewer than two bins or where a
    side is empty. Use `pool` first: the approximation wants about five expected counts a bin
    (Cochran 1954).

    Examples
    --------
    >>> round(chi_squared([10, 20], [20, 10]).statistic, 4)
    6.6667
    """
    from scipy.stats import chi2_contingency

    table = np.array([reference, current], dtype=float)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return None
    found = chi2_contingency(table, correction=False)
    return Outcome(float(found.statistic), float(found.pvalue))


def wasserstein(
    reference: ArrayLike, current: ArrayLike, positions: Sequence[float] | ArrayLike
) -> float | None:
    """First Wasserstein (earth mover's) distance of two histograms, in the column's units.

    As ``scipy.stats.wasserstein_distance`` with the bins' positions as values and the counts as
    weights; for raw samples use that function itself. None where a side is empty.

    Examples
    --------
    >>> wasserstein([1, 0, 0], [0, 0, 1], [0.0, 1.0, 2.0])
    2.0
    """
    from scipy.stats import wasserstein_distance

    p, q = _proportions(reference), _proportions(current)
    if p is None or q is None:
        return None
    return float(wasserstein_distance(positions, positions, p, q))


def pool(
    reference: ArrayLike, current: ArrayLike, *, ordered: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Join sparse bins until each is expected to have five counts on the smaller side.

    See `profiles.significance.pool`, which does it for many windows.

    Examples
    --------
    >>> pool([40, 1, 1, 50], [40, 2, 1, 50], ordered=True)
    (array([40., 52.]), array([40., 53.]))
    """
    first, second = (
        side[0]
        for side in significance.pool(
            np.atleast_2d(np.asarray(reference, dtype=float)),
            np.atleast_2d(np.asarray(current, dtype=float)),
            ordered=ordered,
        )
    )
    filled = first + second > 0
    return first[filled], second[filled]


def _proportions(counts: ArrayLike) -> NDArray[np.float64] | None:
    values = np.asarray(counts, dtype=float)
    total = values.sum()
    return values / total if total > 0 else None
