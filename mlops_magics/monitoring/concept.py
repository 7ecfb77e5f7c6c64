"""Concept drift: whether labels go with the predictions as they did in testing.

The test does not look at the inputs' distribution: predictions are put into the bins of the
package's `Relation` (the calibration map), and in each bin the labels are compared with what
testing leads to expect there. So P(y | x) that changed is found with P(x) unchanged, and P(x) that
changed is none. The statistic is the sum of the bins' squared standardised residuals, chi-squared
under no change (Hosmer and Lemeshow, "Goodness of fit tests for the multiple logistic regression
model", 1980, here with the map's own uncertainty in the variance); the effect is the root mean
square of the bins' residuals, less what chance alone adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlops_magics.measures.intervals import Z
from mlops_magics.measures.metric import ALPHA
from mlops_magics.measures.relation import Relation, arguments
from mlops_magics.monitoring.slices import RESIDUAL, Slice

if TYPE_CHECKING:
    from mlops_magics.measures.outcomes import Outcomes

__all__ = ["CRITERIA", "Concept", "Moved", "examine"]

LEAST_ROWS = 100
LEAST_SHIFT = 0.03  # of a probability
LEAST_SHARE = 0.1  # of an error's standard deviation
LEAST_SLICE = 50
EXPECTED = 5.0  # positives, and negatives, that a bin is expected to have

CRITERIA = (
    f"concept drift: at least {LEAST_ROWS} labels, p <= {ALPHA:g}, and labels off what the scores "
    f"say by {LEAST_SHIFT:g} or more (of numbers: {LEAST_SHARE:g} standard deviations)"
)
"""The rule in a sentence."""


@dataclass(frozen=True)
class Moved:
    """A slice whose labels have left the predictions: mean of truth less what was expected."""

    column: str
    value: str
    rows: int
    residual: float
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
    off = np.bincount(bins, weights=truth - means[bins], minlength=size)
    # of the labels, and of the mean that they are compared with
    spread = rows * variances + np.square(rows) * variances / np.maximum(known, 1)
    least = rows if number else rows * np.minimum(means, 1 - means)
    groups = _grouped(least)
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
    moved = _moved(slices, LEAST_SHARE * unit if number else LEAST_SHIFT)
    drifted = p_value <= ALPHA and shift >= (LEAST_SHARE * unit if number else LEAST_SHIFT)
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


def _moved(slices: Sequence[Slice], least: float) -> tuple[Moved, ...]:
    from scipy.stats import false_discovery_control, norm

    tested = []
    for one in slices:
        metric = one.metric(RESIDUAL)
        if metric is None or metric.value is None or metric.reference is None:
            continue
        if metric.low is None or metric.high is None or one.rows < LEAST_SLICE:
            continue
        half = math.hypot((metric.high - metric.low) / 2, metric.reference_half)
        if half > 0:
            z = abs(metric.value - metric.reference) * Z / half
            tested.append((one, metric, 2 * float(norm.sf(z))))
    if not tested:
        return ()
    corrected = false_discovery_control([p_value for _, _, p_value in tested])
    found = [
        (p_value, Moved(one.column, one.value, one.rows, metric.value, metric.reference, float(q)))
        for (one, metric, p_value), q in zip(tested, corrected, strict=True)
        if q <= ALPHA
        and metric.value is not None
        and metric.reference is not None
        and abs(metric.value - metric.reference) >= least
    ]
    return tuple(moved for _, moved in sorted(found, key=lambda pair: pair[0]))
