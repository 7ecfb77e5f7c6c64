"""Gates: conditions that a model must meet. The interval decides, not the point.

The burden of proof is the model's: a minimum holds when the interval's lower bound reaches it, a
maximum and a largest gap when the upper bound stays within. ``no_worse_than`` compares two models
on the same rows and resamples, and holds unless the whole interval of the difference says worse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.testing.bootstrap import Estimate
from mlops_magics.testing.metrics import ALIASES, Metric

__all__ = ["Gate", "Threshold", "gap", "maximum", "minimum", "no_worse", "thresholds"]

LATENCY = ("latency_p50", "latency_p95", "latency_p99")

_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)\s*(ms|s|%)?")


@dataclass(frozen=True)
class Gate:
    """One condition and whether it held.

    Attributes
    ----------
    kind : str
        ``min``, ``max``, ``no_worse_than`` or ``max_gap``.
    metric : str
        What was measured; of a gap ``metric:column``.
    value, low, high : float or None
        The estimate and its 95 % interval; of ``no_worse_than`` that of the difference.
    threshold : float or None
        What was asked for.
    passed : bool
        Whether it held.
    message : str
        All of it in a sentence.
    against : str
        The other model, of ``no_worse_than``.
    """

    kind: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    passed: bool
    message: str
    against: str = ""


@dataclass(frozen=True)
class Threshold:
    """A metric's name with the value asked for; milliseconds for latencies."""

    metric: str
    value: float


def thresholds(kind: str, given: Mapping[str, Any] | None, known: list[str]) -> list[Threshold]:
    """Read what was asked for.

    Raises
    ------
    UnknownName
        No metric of that name for this task and model.
    InvalidArgument
        The value is no number.

    Examples
    --------
    >>> thresholds("max", {"latency_p95": "5ms"}, ["accuracy"])
    [Threshold(metric='latency_p95', value=5.0)]
    """
    found = []
    for name, value in (given or {}).items():
        metric = ALIASES.get(name, name)
        if metric not in known and metric not in LATENCY:
            raise UnknownName("metric", name, [*known, *LATENCY])
        found.append(Threshold(metric, number(f"{kind} {name}", value, metric in LATENCY)))
    return found


def number(where: str, value: Any, milliseconds: bool = False) -> float:
    """Read a threshold: a number, or text with ``ms``, ``s`` or ``%``."""
    match = _NUMBER.fullmatch(str(value).strip())
    unit = match.group(2) if match else None
    if match is None or isinstance(value, bool) or (unit in {"ms", "s"} and not milliseconds):
        raise InvalidArgument(f"{where} = {value!r} is no number")
    return float(match.group(1)) * {"s": 1000.0, "%": 0.01}.get(unit or "", 1.0)


def minimum(threshold: Threshold, estimate: Estimate) -> Gate:
    """Check a floor: the interval's lower bound must reach it.

    Examples
    --------
    >>> print(minimum(Threshold("roc_auc", 0.999), Estimate(0.741, 0.733, 0.749)).message)
    roc_auc = 0.741 [0.733, 0.749] does not reach the minimum 0.999
    """
    passed = estimate.low is not None and estimate.low >= threshold.value
    return _gate("min", threshold, estimate, passed, "reaches", "does not reach", "minimum")


def maximum(threshold: Threshold, estimate: Estimate) -> Gate:
    """Check a ceiling: the interval's upper bound must stay within."""
    passed = estimate.high is not None and estimate.high <= threshold.value
    return _gate("max", threshold, estimate, passed, "stays within", "exceeds", "maximum")


def gap(threshold: Threshold, largest: tuple[tuple[str, str], Estimate] | None) -> Gate:
    """Check the largest difference of a metric between two slices.

    One that cannot be measured does not hold: nothing shows that it is small.

    Examples
    --------
    >>> gap(Threshold("recall:origin", 0.1), None).passed
    False
    """
    if largest is None:
        estimate, passed = Estimate(None, None, None), False
        message = (
            f"gap of {threshold.metric} cannot be measured: no two parts of the data are large "
            f"enough to show that it stays within {threshold.value:g}"
        )
    else:
        worst, estimate = largest
        passed = estimate.high is not None and estimate.high <= threshold.value
        said = "stays within" if passed else "exceeds"
        message = (
            f"gap of {threshold.metric} = {estimate} between {worst[0]} and {worst[1]} {said} "
            f"the largest gap {threshold.value:g}"
        )
    return Gate(
        "max_gap",
        threshold.metric,
        estimate.value,
        estimate.low,
        estimate.high,
        threshold.value,
        passed,
        message,
    )


def no_worse(metric: Metric, against: str, ours: float, theirs: float, paired: Estimate) -> Gate:
    """Check that a model is not shown to be worse than another on the same rows.

    Parameters
    ----------
    metric : Metric
        The metric compared.
    against : str
        The other model.
    ours, theirs : float
        The two values.
    paired : Estimate
        Of ours minus theirs, resampled together.
    """
    bound = paired.high if metric.higher_is_better else paired.low
    worse = bound is None or (bound < 0 if metric.higher_is_better else bound > 0)
    said = "is worse than" if worse else "is no worse than"
    message = (
        f"{metric.name} = {ours:.4g} {said} {against} with {theirs:.4g} on the same rows; "
        f"difference {paired}"
    )
    return Gate(
        "no_worse_than",
        metric.name,
        paired.value,
        paired.low,
        paired.high,
        0.0,
        not worse,
        message,
        against,
    )


def _gate(
    kind: str,
    threshold: Threshold,
    estimate: Estimate,
    passed: bool,
    holds: str,
    fails: str,
    noun: str,
) -> Gate:
    unit = " ms" if threshold.metric in LATENCY else ""
    said = holds if passed else fails
    return Gate(
        kind,
        threshold.metric,
        estimate.value,
        estimate.low,
        estimate.high,
        threshold.value,
        passed,
        f"{threshold.metric} = {estimate}{unit} {said} the {noun} {threshold.value:g}{unit}",
    )
