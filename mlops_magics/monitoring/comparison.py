"""Drift: which columns of the traffic differ from the reference, and how sure that is.

A column counts as drifted only if the difference is **significant** (p-values of all columns and
checks together corrected after Benjamini and Hochberg, against a threshold that is calibrated on
windows drawn from the reference), **large enough to matter**, and seen on **enough rows**. The
checks of a column (`profiles.significance`):

- distribution: chi-squared on pooled bins, for numbers also Kolmogorov-Smirnov; effect: the
  population stability index less its mean under no shift, at least 0.1;
- missing values, and values of the wrong type: their share of the rows; effect: two percentage
  points, and one;
- unseen categories: against the room that the reference leaves for new ones; effect: one per cent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.monitoring import statistics
from mlops_magics.profiles import Calibration, Categorical, Numeric, Profile, significance
from mlops_magics.profiles.significance import LEAST, Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CRITERIA", "RATE", "UNCALIBRATED", "Drift", "compare", "persists"]

RATE = 0.01
LEAST_ROWS = 100

CRITERIA = (
    f"drifted: at least {LEAST_ROWS} rows, significant over all columns together at the asked "
    "false-alarm rate (Benjamini-Hochberg), and PSI beyond chance of "
    f"{LEAST['distribution']:g}, {LEAST['nulls']:.0%} more or fewer nulls, or "
    f"{LEAST['unseen']:.0%} unseen categories or values of the wrong type"
)
"""The rule in a sentence, shown beside every verdict."""

UNCALIBRATED = (
    "the package has no calibrated thresholds: how often windows like the training data alarm is "
    "known for independent columns only; packaged again, the model gets them"
)


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


def compare(
    reference: Profile,
    current: Profile,
    *,
    calibration: Calibration | None = None,
    masked: Collection[str] = (),
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
    masked : collection of str
        Columns whose values were not kept: nothing is said of them.
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
    threshold, measured = rate, None
    if calibration is not None:
        threshold = calibration.threshold(current.rows, rate)
        measured = calibration.measured(current.rows, rate)
    enough = current.rows >= least_rows
    tests = {
        name: significance.check(column, Tally.of(column), Tally.of(current.columns[name]))
        for name, column in reference.columns.items()
        if name not in masked
    }
    outcomes = [(name, kind, one) for name, kinds in tests.items() for kind, one in kinds.items()]
    p_values = np.array([[one.p_value.item() for _, _, one in outcomes]])
    corrected = significance.corrected(p_values)[0] if outcomes else []
    smallest: dict[str, float] = {}
    reasons: dict[str, list[str]] = {name: [] for name in reference.columns}
    for (name, kind, outcome), value in zip(outcomes, corrected, strict=True):
        if enough and not np.isnan(value):
            smallest[name] = min(smallest.get(name, 1.0), float(value))
            if value <= threshold and outcome.effect.item() >= LEAST[kind]:
                reasons[name].append(_reason(kind, name, reference, current))
    return [
        Drift(
            name=name,
            rows=current.rows,
            nulls={
                "reference": _rate(column.nulls, reference.rows),
                "current": _rate(current.columns[name].nulls, current.rows),
            },
            p_value=_number(tests.get(name, {}).get("distribution")),
            q_value=smallest.get(name),
            significant=smallest[name] <= threshold if name in smallest else None,
            drifted=bool(reasons[name]) if name in smallest else None,
            threshold=threshold,
            false_alarms=None if measured is None else measured[1],
            reasons=tuple(reasons[name]),
            **_distances(column, current.columns[name]),
        )
        for name, column in reference.columns.items()
    ]


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
    """Distances and a test's statistic of one column, whatever the number of rows."""
    before, after = reference.bins, current.bins
    values: dict[str, Any] = {
        "type": reference.type,
        "psi": statistics.population_stability(before, after),
        "js": statistics.jensen_shannon(before, after),
        "invalid": current.invalid,
        "unseen": _unseen(reference, current),
    }
    if isinstance(reference, Numeric):
        values["wasserstein"] = statistics.wasserstein(before, after, _positions(reference))
        values["statistic"] = statistics.largest_step(before, after)
    else:
        test = statistics.chi_squared(*statistics.pool(before, after, ordered=False))
        values["statistic"] = None if test is None else test.statistic
    return values


def _unseen(reference: Numeric | Categorical, current: Numeric | Categorical) -> tuple[str, ...]:
    """Name the categories that a reference does not have, where it names all that it has."""
    if not isinstance(reference, Categorical) or not isinstance(current, Categorical):
        return ()
    if not reference.complete:
        return ()
    counts = zip(reference.categories, reference.counts, current.counts, strict=True)
    return (*(name for name, was, now in counts if now and not was), *current.unseen)


def _reason(kind: str, name: str, reference: Profile, current: Profile) -> str:
    """Say a finding in words."""
    before, after = reference.columns[name], current.columns[name]
    if kind == "distribution":
        return f"distribution: PSI {statistics.population_stability(before.bins, after.bins):.2f}"
    if kind == "nulls":
        was, now = before.nulls / reference.rows, after.nulls / current.rows
        return f"missing values: {was:.1%} became {now:.1%}"
    if kind == "invalid":
        return f"{after.invalid} values are not {before.type}"
    names = _unseen(before, after)
    share = after.bins[before.bins == 0].sum() / after.count
    named = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return f"unseen categories: {named} ({share:.1%})"


def _number(outcome: significance.Finding | None) -> float | None:
    """Return a p-value; None where the test says nothing."""
    if outcome is None or np.isnan(outcome.p_value.item()):
        return None
    return float(outcome.p_value.item())


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
