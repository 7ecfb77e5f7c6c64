"""Pairing: two models' answers to the same rows, compared row by row.

What both have in common, the rows, cancels out: a paired comparison sees differences that two
samples of the same size would hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.deployment import intervals
from mlops_magics.deployment.checks import same
from mlops_magics.monitoring.references import Reference
from mlops_magics.testing.bootstrap import Resampling, quantiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["differences", "equality", "quality"]


def equality(logged: Sequence[Any], found: Sequence[Any]) -> dict[str, Any]:
    """Return how many answers are the same, to nine digits, with Wilson's interval.

    Examples
    --------
    >>> equality([1.0, 2.0], [1.0, 3.0])["equal"]
    1
    """
    equal = sum(map(same, found, logged))
    low, high = intervals.wilson(equal, len(logged))
    share = equal / len(logged) if logged else None
    return {"equal": equal, "share": share, "low": low, "high": high}


def differences(logged: Sequence[Any], found: Sequence[Any]) -> dict[str, Any] | None:
    """Return the distribution of challenger less logged; None where answers are no numbers.

    The mean has a paired bootstrap's 95 % percentile interval: rows are drawn, and with each row
    both answers (Efron and Tibshirani, "An introduction to the bootstrap", 1993).

    Examples
    --------
    >>> differences([1.0, 2.0, 3.0], [1.5, 2.5, 3.5])["mean"]
    0.5
    """
    before = [Reference.prediction(value) for value in logged]
    after = [Reference.prediction(value) for value in found]
    numbers = [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if _is_number(one) and _is_number(other)
    ]
    if not numbers:
        return None
    pairs = np.array(numbers, dtype=float)
    values = pairs[:, 1] - pairs[:, 0]
    low, high = _interval(values)
    points = np.quantile(values, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    names = ("min", "p5", "p25", "p50", "p75", "p95", "max")
    counts, _ = np.histogram(values, bins=20)
    return {
        "mean": float(values.mean()),
        "low": low,
        "high": high,
        "mean_absolute": float(np.abs(values).mean()),
        "histogram": counts.tolist(),
        **{name: float(point) for name, point in zip(names, points, strict=True)},
    }


def quality(
    labels: Sequence[Any], logged: Sequence[Any], found: Sequence[Any], *, classes: bool
) -> dict[str, Any]:
    """Compare how good both are on rows whose label is known.

    Parameters
    ----------
    labels, logged, found : sequences of equal length
        Ground truth; of classifiers the classes that the answers stand for.
    classes : bool
        Accuracy with McNemar's exact test ("Note on the sampling error of the difference between
        correlated proportions", 1947) if so, else the mean absolute error; the difference with a
        paired bootstrap's 95 % interval.

    Examples
    --------
    >>> found = quality([1, 1, 0, 0], [1, 0, 1, 1], [1, 1, 0, 1], classes=True)
    >>> found["logged"], found["challenger"], found["p_value"]
    (0.25, 0.75, 0.5)
    """
    if classes:
        before = np.array([float(one == label) for one, label in zip(logged, labels, strict=True)])
        after = np.array([float(one == label) for one, label in zip(found, labels, strict=True)])
    else:
        before = _errors(labels, logged)
        after = _errors(labels, found)
    gained = int(np.count_nonzero(after > before))
    lost = int(np.count_nonzero(after < before))
    low, high = _interval(after - before)
    return {
        "metric": "accuracy" if classes else "mae",
        "rows": len(labels),
        "logged": float(before.mean()),
        "challenger": float(after.mean()),
        "difference": float((after - before).mean()),
        "low": low,
        "high": high,
        "p_value": _mcnemar(gained, lost) if classes else None,
    }


def _mcnemar(gained: int, lost: int) -> float:
    from scipy.stats import binomtest

    if not gained + lost:
        return 1.0
    return float(binomtest(gained, gained + lost, 0.5).pvalue)


def _errors(labels: Sequence[Any], answers: Sequence[Any]) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = np.array(answers, dtype=float) - np.array(labels, dtype=float)
    return np.abs(errors)


def _interval(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    size = len(values)
    if size < 2:
        return None, None
    means = [block @ values / size for block in Resampling(size).weights()]
    return quantiles(np.concatenate(means))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
