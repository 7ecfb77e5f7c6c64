"""Drift: which columns of the traffic differ from the reference, and how sure that is.

A column counts as drifted only if the difference is **significant** (p-values of all columns and
checks together corrected after Benjamini and Hochberg, "Controlling the false discovery rate",
1995), **large enough to matter**, and seen on **enough rows**. Three checks a column:

- distribution: chi-squared on pooled bins, for numbers also Kolmogorov-Smirnov (the smaller
  p-value, doubled); effect: the population stability index less its mean under no shift, at
  least 0.1;
- missing values: chi-squared of the null rate; effect: two percentage points;
- unseen categories: binomial against the chance that the reference itself leaves for a new
  category (Good, "The population frequencies of species", 1953); effect: one per cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.monitoring import statistics
from mlops_magics.profiles import Calibration, Categorical, Numeric, Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CRITERIA", "RATE", "Drift", "compare", "persists"]

RATE = 0.01
LEAST_ROWS = 100
LEAST_PSI = 0.1
LEAST_NULLS = 0.02
LEAST_UNSEEN = 0.01

CRITERIA = (
    f"drifted: at least {LEAST_ROWS} rows, significant over all columns together (of windows like "
    f"the reference {RATE:.0%} are; Benjamini-Hochberg), and PSI beyond chance of {LEAST_PSI:g}, "
    f"{LEAST_NULLS:.0%} more or fewer nulls, or {LEAST_UNSEEN:.0%} unseen categories"
)
"""The rule in a sentence, shown beside every verdict."""


@dataclass(frozen=True)
class Drift:
    """One column of two profiles compared.

    Attributes
    ----------
    name, type : str
        The type is the reference's, as in `profiles.Column`.
    psi, js, wasserstein : float or None
        Distances; None where a side has no value.
    statistic, p_value : float or None
        Kolmogorov-Smirnov's statistic for numbers, chi-squared's for categories; the p-value of
        the whole distribution check.
    q_value : float or None
        The smallest p-value of the column's checks, corrected for all columns and checks.
    significant : bool or None
        Whether the q-value is at most the threshold: the column differs by more than chance.
        Of windows that are like the reference, the asked share has a significant column.
    drifted : bool or None
        Significant, and by enough to matter. None: not enough rows to say.
    threshold : float or None
        For the q-value, at this number of rows and the asked false-alarm rate.
    false_alarms : float or None
        The measured share of windows drawn from the reference that had a drifted column; None
        where it was not measured.
    reasons : tuple of str
        What made the verdict, in words.
    nulls : mapping
        Rate of missing values, ``reference`` and ``current``.
    unseen : tuple of str
        Categories that the reference does not have.
    invalid : int
        Values of the wrong type.
    """

    name: str
    type: str
    rows: int
    psi: float | None = None
    js: float | None = None
    wasserstein: float | None = None
    statistic: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    significant: bool | None = None
    drifted: bool | None = None
    threshold: float | None = None
    false_alarms: float | None = None
    reasons: tuple[str, ...] = ()
    nulls: Mapping[str, float | None] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()
    invalid: int = 0


@dataclass
class _Check:
    """A hypothesis: its p-value, whether the effect is large enough, and the words for it."""

    column: str
    p_value: float
    matters: bool
    reason: str


def compare(
    reference: Profile,
    current: Profile,
    *,
    calibration: Calibration | None = None,
    rate: float = RATE,
    least_rows: int = LEAST_ROWS,
) -> list[Drift]:
    """Compare traffic with its reference, column by column.

    Parameters
    ----------
    reference : Profile
        Of the training data, or of an earlier window.
    current : Profile
        Made on that reference.
    calibration : Calibration, optional
        Of the reference. Without it the threshold is the rate itself, which is right for
        continuous columns that are independent of each other.
    rate : float
        Asked false-alarm rate: the share of windows like the reference that have any significant
        column.
    least_rows : int
        Rows below which no verdict is given.

    Returns
    -------
    list of Drift
        In the reference's order.

    Examples
    --------
    >>> import pandas as pd
    >>> train = pd.DataFrame({"hour": [6, 7, 8, 9] * 500, "month": [1, 2] * 1000})
    >>> late = pd.DataFrame({"hour": [8, 9, 9, 9] * 50, "month": [1, 2] * 100})
    >>> reference = Profile.of(train)
    >>> {d.name: d.drifted for d in compare(reference, Profile.of(late, reference))}
    {'hour': True, 'month': False}
    """
    from scipy.stats import false_discovery_control

    found: dict[str, dict[str, Any]] = {}
    checks: list[_Check] = []
    for name, column in reference.columns.items():
        seen = current.columns[name]
        found[name] = _distances(column, seen) | {"rows": current.rows}
        found[name]["nulls"] = {
            "reference": _rate(column.nulls, reference.rows),
            "current": _rate(seen.nulls, current.rows),
        }
        if current.rows >= least_rows:
            checks += _checks(name, column, seen, reference.rows, current.rows, found[name])
    corrected = false_discovery_control([check.p_value for check in checks]) if checks else []
    smallest: dict[str, float] = {}
    reasons: dict[str, list[str]] = {}
    threshold, measured = rate, None
    if calibration is not None:
        threshold = calibration.threshold(current.rows, rate)
        measured = calibration.measured(current.rows, rate)
    for check, value in zip(checks, corrected, strict=True):
        smallest[check.column] = min(smallest.get(check.column, 1.0), float(value))
        if check.matters and value <= threshold:
            reasons.setdefault(check.column, []).append(check.reason)
    result = []
    for name, values in found.items():
        why = reasons.get(name, [])
        if current.rows >= least_rows and values["invalid"] >= LEAST_UNSEEN * current.rows:
            why = [*why, f"{values['invalid']} values are not {values['type']}"]
        # time always moves on; that is no finding
        known = current.rows >= least_rows and (name in smallest or bool(why))
        result.append(
            Drift(
                name=name,
                q_value=smallest.get(name),
                significant=smallest[name] <= threshold if name in smallest else None,
                drifted=bool(why) if known else None,
                threshold=threshold,
                false_alarms=None if measured is None else measured[1],
                reasons=tuple(why),
                **values,
            )
        )
    return result


def persists(verdicts: Sequence[bool | None], windows: int) -> bool:
    """Tell whether a finding has lasted: in the last ``windows`` windows that had a verdict.

    A window without a verdict (too few rows) neither counts nor breaks the series.

    Parameters
    ----------
    verdicts : sequence of bool or None
        Of one column, or of the window as a whole, in order of time.
    windows : int
        How many in a row it takes.

    Examples
    --------
    >>> persists([False, True, None, True], 2), persists([True, False, True], 2)
    (True, False)
    """
    known = [verdict for verdict in verdicts if verdict is not None]
    return len(known) >= windows > 0 and all(known[-windows:])


def _distances(reference: Numeric | Categorical, current: Numeric | Categorical) -> dict[str, Any]:
    """Distances and tests of one column, whatever the number of rows."""
    before, after = reference.bins, current.bins
    values: dict[str, Any] = {
        "type": reference.type,
        "psi": statistics.population_stability(before, after),
        "js": statistics.jensen_shannon(before, after),
        "invalid": current.invalid,
    }
    ordered = isinstance(reference, Numeric)
    test = statistics.chi_squared(*statistics.pool(before, after, ordered=ordered))
    p_value = None if test is None else test.p_value
    if isinstance(reference, Numeric):
        values["wasserstein"] = statistics.wasserstein(before, after, _positions(reference))
        other = statistics.kolmogorov_smirnov(before, after)
        if other is not None and p_value is not None:
            p_value = min(1.0, 2 * min(p_value, other.p_value))
        test = other
    elif isinstance(current, Categorical):
        values["unseen"] = tuple(current.unseen)
    values["statistic"] = None if test is None else test.statistic
    values["p_value"] = p_value
    return values


def _checks(
    name: str,
    reference: Numeric | Categorical,
    current: Numeric | Categorical,
    reference_rows: int,
    rows: int,
    values: Mapping[str, Any],
) -> list[_Check]:
    checks = []
    if values["p_value"] is not None and reference.type != "datetime":
        before, after = statistics.pool(
            reference.bins, current.bins, ordered=isinstance(reference, Numeric)
        )
        psi = statistics.population_stability(before, after) or 0.0
        chance = (len(before) - 1) * (1 / before.sum() + 1 / after.sum())
        checks.append(
            _Check(
                name,
                values["p_value"],
                psi - chance >= LEAST_PSI,
                f"distribution: PSI {values['psi']:.2f}",
            )
        )
    table = (
        [reference.nulls, reference_rows - reference.nulls],
        [current.nulls, rows - current.nulls],
    )
    test = statistics.chi_squared(*table)
    if test is not None:
        was, now = reference.nulls / reference_rows, current.nulls / rows
        checks.append(
            _Check(
                name,
                test.p_value,
                abs(now - was) >= LEAST_NULLS,
                f"missing values: {was:.1%} became {now:.1%}",
            )
        )
    if isinstance(reference, Categorical) and isinstance(current, Categorical):
        checks += _unseen(name, reference, current)
    return checks


def _unseen(name: str, reference: Categorical, current: Categorical) -> list[_Check]:
    from scipy.stats import binom

    unseen = sum(current.unseen.values()) + current.unseen_rest
    if not unseen or not reference.count:
        return []
    # Good and Turing: the chance of a new category is about the share of those seen once
    once = sum(1 for count in reference.counts if count == 1)
    chance = (once + 1) / (reference.count + 1)
    named = ", ".join(list(current.unseen)[:3]) + (" …" if len(current.unseen) > 3 else "")
    p_value = float(binom.sf(unseen - 1, current.count, min(1.0, chance)))
    share = unseen / current.count
    return [
        _Check(name, p_value, share >= LEAST_UNSEEN, f"unseen categories: {named} ({share:.1%})")
    ]


def _positions(column: Numeric) -> NDArray[np.float64]:
    """Middle of each bin; the outer bins reach to the reference's extremes."""
    edges = np.asarray(column.edges, dtype=float)
    if not len(edges):
        return np.zeros(1)
    low = min(edges[0], column.min if column.min is not None else edges[0])
    high = max(edges[-1], column.max if column.max is not None else edges[-1])
    bounds = np.concatenate(([low], edges, [high]))
    return np.asarray((bounds[:-1] + bounds[1:]) / 2)


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
