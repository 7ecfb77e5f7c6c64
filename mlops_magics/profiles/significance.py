"""What can be tested about a column: p-values and effects, for one window or thousands at once.

The same code judges a window and simulates the windows that its threshold is calibrated on. Arrays
have a row for each window; where a test says nothing its p-value is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlops_magics.profiles.columns import Categorical, Numeric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

__all__ = ["LEAST", "Finding", "Tally", "check", "corrected", "pool", "proportion"]

LEAST = {"distribution": 0.1, "nulls": 0.02, "invalid": 0.01, "unseen": 0.01}
"""The effect that matters: PSI beyond chance, and differences of shares of rows."""

EXPECTED = 5.0  # counts that a cell must be expected to have for chi-squared (Cochran 1954)
FLOOR = 1e-4  # stands in for an empty bin's share


class Tally(NamedTuple):
    """A column's counts in windows: bins of shape (windows, bins), the others (windows,)."""

    bins: Numbers
    nulls: Numbers
    invalid: Numbers

    @classmethod
    def of(cls, column: Numeric | Categorical) -> Tally:
        """Return the counts of one profile."""
        return cls.of_counts(np.array([[*column.bins.tolist(), column.nulls, column.invalid]]))

    @classmethod
    def of_counts(cls, counts: NDArray[np.integer[Any]]) -> Tally:
        """Split counts by code, as `columns.codes` gives them, of shape (windows, bins + 2)."""
        values = counts.astype(float)
        return cls(values[:, :-2], values[:, -2], values[:, -1])


class Finding(NamedTuple):
    """Of each window: a p-value and the effect."""

    p_value: Numbers
    effect: Numbers


def check(column: Numeric | Categorical, before: Tally, after: Tally) -> dict[str, Finding]:
    """Test all that can be said of a column.

    Parameters
    ----------
    column : Numeric or Categorical
        The reference's; says what kind of bins they are.
    before, after : Tally
        Of the references and of the windows, of as many rows, or one reference for all.

    Returns
    -------
    dict of str to Finding
        ``distribution``: chi-squared on pooled bins and, where bins are ordered, Kolmogorov and
        Smirnov (the smaller p-value, doubled), with the population stability index less its mean
        under no shift. ``nulls``, ``invalid``: whether their share of the rows is the same, with
        the difference. ``unseen``: whether categories that the reference does not have come more
        often than it leaves room for, with their share.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlops_magics.profiles import Profile
    >>> reference = Profile.of(pd.DataFrame({"hour": [6, 7, 8, 9] * 500}))
    >>> window = Profile.of(pd.DataFrame({"hour": [8, 9, 9, 9] * 50}), reference)
    >>> column = reference.columns["hour"]
    >>> found = check(column, Tally.of(column), Tally.of(window.columns["hour"]))
    >>> found["distribution"].p_value.item() < 1e-20, round(found["distribution"].effect.item(), 1)
    (True, 4.4)
    """
    found = {}
    rows = [side.bins.sum(axis=1) + side.nulls + side.invalid for side in (before, after)]
    for name in ("nulls", "invalid"):
        was, now = getattr(before, name), getattr(after, name)
        with np.errstate(invalid="ignore", divide="ignore"):
            effect = np.abs(now / rows[1] - was / rows[0])
        found[name] = Finding(proportion(was, rows[0], now, rows[1]), effect)
    bins = after.bins
    if isinstance(column, Categorical) and column.complete:
        new = before.bins == 0
        unseen = np.where(new, bins, 0).sum(axis=1)
        found["unseen"] = _unseen(before.bins, unseen, bins.sum(axis=1))
        bins = np.where(new, 0, bins)
        bins[:, -1] += unseen
    if column.type != "datetime":  # time always moves on; that is no finding
        found["distribution"] = _distribution(before.bins, bins, isinstance(column, Numeric))
    return found


def _distribution(before: Numbers, after: Numbers, ordered: bool) -> Finding:
    from scipy.special import chdtrc, kolmogorov

    first, second = pool(before, after, ordered=ordered)
    total, other = first.sum(axis=1), second.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Pearson's statistic of a table of two rows
        cells = np.square(first * other[:, None] - second * total[:, None]) / (first + second)
        statistic = np.nansum(cells, axis=1) / (total * other)
        freedom = (first + second > 0).sum(axis=1) - 1
        p_value = np.where(freedom > 0, chdtrc(np.maximum(freedom, 1), statistic), np.nan)
        p = np.where(first > 0, first / total[:, None], FLOOR)
        q = np.where(second > 0, second / other[:, None], FLOOR)
        parts = np.where(first + second > 0, (q - p) * np.log(q / p), 0.0)
        # without a shift its mean is about this (Yurdakul 2018)
        effect = parts.sum(axis=1) - freedom * (1 / total + 1 / other)
        if ordered:
            steps = before.cumsum(axis=1) / total[:, None] - after.cumsum(axis=1) / other[:, None]
            root = np.sqrt(total * other / (total + other))
            # Stephens, "Use of the Kolmogorov-Smirnov statistics" (1970)
            scaled = np.abs(steps).max(axis=1) * (root + 0.12 + 0.11 / root)
            p_value = np.minimum(1.0, 2 * np.minimum(p_value, kolmogorov(scaled)))
    return Finding(np.where((total > 0) & (other > 0), p_value, np.nan), effect)


def proportion(part: Numbers, whole: Numbers, other: Numbers, rows: Numbers) -> Numbers:
    """Return two-sided p-values that two shares are the same; NaN where nobody has any.

    Pearson's chi-squared; where a cell is expected to have few counts the conditional binomial
    test of the rarer outcome (Przyborowski and Wilenski 1940).

    Examples
    --------
    >>> one = np.ones(1)
    >>> proportion(0 * one, 5000 * one, 3 * one, 200 * one).round(5)
    array([0.00011])
    """
    from scipy.special import bdtr, bdtrc, chdtrc

    part, whole, other, rows = np.broadcast_arrays(part, whole, other, rows)
    total, everything = part + other, whole + rows
    flip = 2 * total > everything
    rare, rarer = np.where(flip, rows - other, other), np.where(flip, everything - total, total)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = rows / everything
        crossed = np.square(part * (rows - other) - other * (whole - part)) * everything
        statistic = crossed / (whole * rows * total * (everything - total))
        exact = 2 * np.minimum(
            bdtr(rare, rarer.astype(int), share),
            np.where(rare > 0, bdtrc(np.maximum(rare - 1, 0), rarer.astype(int), share), 1.0),
        )
        many = rarer * np.minimum(share, 1 - share) >= EXPECTED
        p_value = np.where(many, chdtrc(1, statistic), np.minimum(1.0, exact))
    nothing = (rarer == 0) & ~flip
    return np.where(nothing | (whole == 0) | (rows == 0), np.nan, p_value)


def _unseen(before: Numbers, unseen: Numbers, size: Numbers) -> Finding:
    """Compare unseen values with the categories that the reference has seen only once.

    Both are about as likely (Good, "The population frequencies of species", 1953), so of them
    together each is in the window with the chance ``size / (size + reference)``.
    """
    from scipy.special import bdtrc

    reference = before.sum(axis=1)
    once = (before == 1).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        both = (unseen + once).astype(int)
        p_value = bdtrc(np.maximum(unseen - 1, 0), both, size / (size + reference))
        some = (unseen > 0) & (reference > 0)
        return Finding(np.where(some, p_value, np.nan), np.where(size > 0, unseen / size, 0.0))


def pool(before: Numbers, after: Numbers, *, ordered: bool) -> tuple[Numbers, Numbers]:
    """Join sparse bins until each is expected to have enough counts on the smaller side.

    Parameters
    ----------
    before, after : array of shape (windows, bins)
        Counts; one row of either stands for all windows.
    ordered : bool
        Whether neighbours are joined (a histogram), or all sparse bins into one (categories).

    Returns
    -------
    two arrays of shape (windows, bins)
        Joined counts; places that are not needed have none.

    Examples
    --------
    >>> pool(np.array([[40.0, 1, 1, 50]]), np.array([[40.0, 2, 1, 50]]), ordered=True)
    (array([[40., 52.,  0.,  0.]]), array([[40., 53.,  0.,  0.]]))
    """
    before, after = np.broadcast_arrays(before, after)
    windows, size = before.shape
    both = before + after
    smaller = np.minimum(before.sum(axis=1), after.sum(axis=1))
    expected = both * (smaller / np.maximum(1.0, both.sum(axis=1)))[:, None]
    if ordered:
        groups = np.empty((windows, size), dtype=np.int64)
        group, held = np.zeros(windows, dtype=np.int64), np.zeros(windows)
        for place in range(size):
            groups[:, place] = group
            held += expected[:, place]
            full = held >= EXPECTED
            group += full
            held[full] = 0.0
        # the last, if it is not full, joins the one before it
        groups = np.minimum(groups, np.maximum(group - 1, 0)[:, None])
    else:
        sparse = expected < EXPECTED
        groups = np.where(sparse, (~sparse).sum(axis=1)[:, None], np.cumsum(~sparse, axis=1) - 1)
        left = np.where(sparse, expected, 0.0).sum(axis=1)
        short = (left < EXPECTED) & sparse.any(axis=1) & ~sparse.all(axis=1)
        least = np.argmin(np.where(sparse, np.inf, expected), axis=1)
        into = np.take_along_axis(groups, least[:, None], axis=1)
        groups = np.where(sparse & short[:, None], into, groups)
    flat = (np.arange(windows)[:, None] * size + np.minimum(groups, size - 1)).ravel()
    first, second = (
        np.bincount(flat, side.ravel(), windows * size).reshape(windows, size).astype(float)
        for side in (before, after)
    )
    return first, second


def corrected(p_values: Numbers) -> Numbers:
    """Correct each window's p-values after Benjamini and Hochberg.

    "Controlling the false discovery rate" (1995); as ``scipy.stats.false_discovery_control``, but
    for many windows at once, and NaN counts for nothing.

    Examples
    --------
    >>> corrected(np.array([[0.01, 0.02, np.nan, 0.3]])).round(3)
    array([[0.03, 0.03,  nan, 0.3 ]])
    """
    order = np.argsort(p_values, axis=1)  # NaN comes last
    ranked = np.take_along_axis(p_values, order, axis=1)
    known = (~np.isnan(p_values)).sum(axis=1)[:, None]
    scaled = ranked * known / np.arange(1, p_values.shape[1] + 1)
    scaled = np.where(np.isnan(ranked), np.inf, scaled)
    lowest = np.minimum.accumulate(scaled[:, ::-1], axis=1)[:, ::-1]
    result = np.empty_like(p_values)
    np.put_along_axis(result, order, np.minimum(lowest, 1.0), axis=1)
    return np.where(np.isnan(p_values), np.nan, result)
