"""Concept drift: whether labels go with the predictions as they did in testing.

The test does not look at the inputs' distribution: predictions are put into the bins of the
package's `Relation` (the calibration map), and in each bin the labels are compared with what
testing leads to expect there. So P(y | x) that changed is found with P(x) unchanged, and P(x) that
changed is none. The statistic is the sum of the bins' squared standardised residuals, chi-squared
under no change (Hosmer and Lemeshow, "Goodness of fit tests for the multiple logistic regression
model", 1980, here with the map's own uncertainty in the variance); the effect is the root mean
square of the bins' residuals, less what chance alone adds. Slices are tested by the mean residual
and by the mean squared residual (Spiegelhalter, "Probabilistic prediction in patient management and
clinical trials", 1986), each against the same slice in testing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlops_magics.measures.intervals import Z
from mlops_magics.measures.metric import ALPHA
from mlops_magics.measures.relation import Relation, arguments
from mlops_magics.monitoring.slices import RESIDUALS, Slice

if TYPE_CHECKING:
    from mlops_magics.measures.outcomes import Outcomes

__all__ = ["CRITERIA", "Concept", "Moved", "examine"]

LEAST_ROWS = 100
LEAST_SHIFT = 0.03  # of a probability
LEAST_SURPRISE = 0.02  # of a squared residual
LEAST_SHARE = 0.1  # of an error's standard deviation
LEAST_SLICE = 50
EXPECTED = 10.0  # positives, and negatives, that a bin is expected to have

CRITERIA = (
    f"concept drift: at least {LEAST_ROWS} labels, a false-alarm rate of {ALPHA:g}, and labels off "
    f"what the scores say by {LEAST_SHIFT:g} or more (of numbers: {LEAST_SHARE:g} standard "
    "deviations)"
)
"""The rule in a sentence."""


@dataclass(frozen=True)
class Moved:
    """A slice whose labels have left the predictions.

    Attributes
    ----------
    column, value, rows : str, str, int
        Which, and how many labels.
    measure : str
        ``residual``: the mean of truth less what is expected; ``surprise``: of its square, less
        the variance that is expected.
    now, reference : float
        Its value, and in testing.
    q_value : float
        Corrected for all slices and both measures.
    """

    column: str
    value: str
    rows: int
    measure: str
    now: float
    reference: float
    q_value: float


@dataclass(frozen=True)
class Concept:
    """Whether labels go with the predictions as in testing.

    Attributes
    ----------
    rows : int
        Labels that it was judged on.
    drifted : bool or None
        None: unknown, with a ``reason``.
    statistic, p_value : float or None
        Chi-squared over bins of the prediction.
    shift : float or None
        Root mean square of the bins' residuals beyond chance, in the target's units.
    bias : float or None
        Mean residual: positive where the truth is more than predictions say.
    slices : tuple of Moved
        Parts in which they do not, false discoveries controlled; the surest first.
    reason : str
        The verdict in words.
    """

    rows: int
    drifted: bool | None
    statistic: float | None = None
    p_value: float | None = None
    shift: float | None = None
    bias: float | None = None
    slices: tuple[Moved, ...] = ()
    reason: str = ""


def examine(outcomes: Outcomes, relation: Relation | None, slices: Sequence[Slice] = ()) -> Concept:
    """Test labels against what the package expects of its predictions.

    Parameters
    ----------
    outcomes : Outcomes
        Labelled predictions.
    relation : Relation, optional
        The package's; without it nothing can be said.
    slices : sequence of Slice
        As `slices.measure` gives: their residuals are tested too.

    Examples
    --------
    >>> from mlops_magics.measures.outcomes import Outcomes
    >>> scores = np.tile(np.linspace(0.05, 0.95, 100), 20)
    >>> truth = np.random.default_rng(0).random(2000) < scores
    >>> relation = Relation.of(scores, truth, probability=True)
    >>> flipped = Outcomes("binary", ~truth, scores >= 0.5, scores)
    >>> examine(flipped, relation).drifted
    True
    """
    from scipy.stats import chi2

    given = arguments(outcomes)
    if relation is None or given is None:
        why = "the package knows no relation of scores and truth: test it with probabilities"
        return Concept(len(outcomes), None, reason=why)
    if len(outcomes) < LEAST_ROWS:
        why = f"{len(outcomes)} labels are too few: {LEAST_ROWS} are needed"
        return Concept(len(outcomes), None, reason=why)
    number = outcomes.task == "regression"
    predictions, truth = given
    bins = relation.bins(predictions)
    size = len(relation.means)
    means, variances, known = relation.table
    rows = np.bincount(bins, minlength=size).astype(float)
    errors = truth - means[bins]
    off = np.bincount(bins, weights=errors, minlength=size)
    if number:
        squares = np.bincount(bins, weights=np.square(errors), minlength=size)
        now = squares - np.square(off) / np.maximum(rows, 1)
        pooled = (known * variances + now) / np.maximum(known + rows - 1, 1)
        held = rows
    else:
        # as in a test of two proportions, of both samples together
        shares = means + off / np.maximum(known + rows, 1)
        pooled = shares * (1 - shares)
        held = rows * np.minimum(shares, 1 - shares)
    # of the labels, and of the mean that they are compared with
    spread = pooled * (rows + np.square(rows) / np.maximum(known, 1))
    groups = _grouped(held)
    rows, off, spread = (np.bincount(groups, weights=one) for one in (rows, off, spread))
    tested = (spread > 0) & (rows > 0)
    if not tested.any():
        return Concept(len(outcomes), None, reason="the truth did not vary in testing")
    rows, off, spread = rows[tested], off[tested], spread[tested]
    statistic = float(np.sum(np.square(off) / spread))
    p_value = float(chi2.sf(statistic, len(rows)))
    weights = rows / rows.sum()
    squared = float(weights @ (np.square(off / rows) - spread / np.square(rows)))
    shift, bias = math.sqrt(max(0.0, squared)), float(off.sum() / rows.sum())
    unit = float(np.sqrt(np.average(variances, weights=np.maximum(known, 1)))) if number else 1.0
    least = {"residual": LEAST_SHIFT, "surprise": LEAST_SURPRISE}
    if number:
        least = {"residual": LEAST_SHARE * unit, "surprise": LEAST_SHARE * unit**2}
    moved = _moved(slices, least)
    # the other half of the rate is the slices'
    drifted = p_value <= ALPHA / 2 and shift >= least["residual"]
    return Concept(
        len(outcomes),
        drifted or bool(moved),
        statistic,
        p_value,
        shift,
        bias,
        moved,
        _words(drifted, moved, shift, bias),
    )


def _words(drifted: bool, moved: Sequence[Moved], shift: float, bias: float) -> str:
    if drifted:
        side = "above" if bias > 0 else "below"
        return (
            f"labels are off what the predictions say by {shift:.3g}, on average {abs(bias):.3g} "
            f"{side}"
        )
    if moved:
        return f"labels have left the predictions where {moved[0].column} is {moved[0].value}"
    return "labels go with the predictions as in testing"


def _grouped(least: np.ndarray) -> np.ndarray:
    """Join neighbouring bins until each has enough expected counts on both sides."""
    groups, group, held = np.empty(len(least), dtype=np.int64), 0, 0.0
    for place, value in enumerate(least):
        groups[place] = group
        held += value
        if held >= EXPECTED:
            group, held = group + 1, 0.0
    if 0 < held < EXPECTED and group:
        groups[groups == group] = group - 1
    return groups


def _moved(slices: Sequence[Slice], least: Mapping[str, float]) -> tuple[Moved, ...]:
    from scipy.stats import false_discovery_control, norm

    tested = []
    for one in slices:
        for metric in filter(None, map(one.metric, RESIDUALS)):
            if metric.value is None or metric.reference is None:
                continue
            if metric.low is None or metric.high is None or one.rows < LEAST_SLICE:
                continue
            half = math.hypot((metric.high - metric.low) / 2, metric.reference_half)
            if not half:
                continue
            difference = metric.value - metric.reference
            # truth that is less surprising than in testing is no drift
            z = (difference if metric.name == "surprise" else abs(difference)) * Z / half
            matters = z > 0 and abs(difference) >= least[metric.name]
            moved = Moved(
                one.column, one.value, one.rows, metric.name, metric.value, metric.reference, 1.0
            )
            p_value = float(norm.sf(z)) * (1 if metric.name == "surprise" else 2)
            tested.append((z, p_value, matters, moved))
    if not tested:
        return ()
    corrected = false_discovery_control([p_value for _, p_value, _, _ in tested])
    found = [
        (z, replace(moved, q_value=float(q_value)))
        for (z, _, matters, moved), q_value in zip(tested, corrected, strict=True)
        if matters and q_value <= ALPHA / 2
    ]
    return tuple(moved for _, moved in sorted(found, key=lambda pair: -pair[0]))
