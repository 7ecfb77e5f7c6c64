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
    "largest_step",
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
    statistic = largest_step(reference, current)
    if statistic is None:
        return None
    sizes = (round(float(np.sum(side))) for side in (reference, current))
    return Outcome(statistic, _smirnov(statistic, *sizes))


class Samples(NamedTuple):
    """What two samples of numbers say.

    Attributes
    ----------
    statistic : float
        Kolmogorov and Smirnov's: the largest difference of the two distribution functions.
    wasserstein : float
        The area between them, in the numbers' units.
    sizes : tuple of int
        Finite numbers in each sample.
    """

    statistic: float
    wasserstein: float
    sizes: tuple[int, int]

    @property
    def p_value(self) -> float:
        """Of the statistic, as ``scipy.stats.ks_2samp`` with ``method="asymp"`` gives it."""
        return _smirnov(self.statistic, *self.sizes)


def of_samples(reference: ArrayLike, current: ArrayLike) -> Samples | None:
    """Compare two samples of numbers themselves, not their histograms.

    The statistic as ``scipy.stats.ks_2samp``, the distance as
    ``scipy.stats.wasserstein_distance``; both in one pass over the distinct values. NaN and
    infinities are left out; None where a side is empty then.

    Examples
    --------
    >>> found = of_samples([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    >>> round(found.statistic, 4), found.wasserstein
    (0.3333, 1.0)
    """
    (first, rising), (second, other) = (_distribution(side) for side in (reference, current))
    if not len(first) or not len(second):
        return None
    values = np.sort(np.concatenate((first, second)), kind="stable")  # two runs: a merge
    steps = (rising / rising[-1])[np.searchsorted(first, values, "right")]
    steps -= (other / other[-1])[np.searchsorted(second, values, "right")]
    np.abs(steps, out=steps)
    area = float(steps[:-1] @ np.diff(values))
    return Samples(float(steps.max()), area, (int(rising[-1]), int(other[-1])))


def _distribution(values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return distinct finite values, ascending, and how many are below and up to each."""
    found = np.asarray(values, dtype=float)
    found = np.sort(found[np.isfinite(found)])
    last = np.flatnonzero(np.append(np.diff(found) > 0, len(found) > 0))
    return found[last], np.append(0, last + 1)


def _smirnov(statistic: float, size: int, other: int) -> float:
    from scipy.stats import kstwo

    effective = max(1, round(size * other / (size + other)))
    return float(np.clip(kstwo.sf(statistic, effective), 0, 1))


def largest_step(reference: ArrayLike, current: ArrayLike) -> float | None:
    """Return Kolmogorov and Smirnov's statistic of two histograms; see `kolmogorov_smirnov`.

    Examples
    --------
    >>> largest_step([50, 50, 0], [0, 50, 50])
    0.5
    """
    p, q = _proportions(reference), _proportions(current)
    if p is None or q is None:
        return None
    return float(np.abs(np.cumsum(p) - np.cumsum(q)).max())


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
