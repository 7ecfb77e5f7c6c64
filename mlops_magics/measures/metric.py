"""A metric with its interval, beside what it was in testing, and whether it has become worse.

Worse is a verdict of three conditions: it is worse than in testing by more than chance (one-sided
z-test of the two estimates, p-values corrected after Benjamini and Hochberg over all that is
judged together), by enough to matter, and on enough rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlops_magics.measures.intervals import Z

__all__ = ["ALPHA", "CRITERIA", "HIGHER", "LEAST_ROWS", "NO_QUALITY", "Metric", "judge", "reported"]

ALPHA = 0.01
LEAST_ROWS = 50
LEAST_FALL = 0.01
LEAST_LOSS = 0.05

HIGHER = frozenset(
    {"accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "r2", "recall", "roc_auc"}
)
"""Metrics of which more is better; of all others less is."""

_LOSSES = frozenset({"brier", "log_loss", "mae", "rmse"})
NO_QUALITY = frozenset({"selection_rate"})
"""Neither more nor less of them is better."""

CRITERIA = (
    f"worse: at least {LEAST_ROWS} labels, worse than in testing at a false discovery rate of "
    f"{ALPHA:g} (Benjamini-Hochberg), and by {LEAST_FALL:g} or more, or {LEAST_LOSS:.0%} of a loss"
)
"""The rule in a sentence, shown beside the verdicts."""


@dataclass(frozen=True)
class Metric:
    """A measured metric.

    Attributes
    ----------
    value, low, high : float or None
        Estimate and 95 % interval; None where it is not defined.
    reference : float or None
        Its value in the model's test report.
    reference_half : float
        Half the width of its interval there; 0 if the report has none.
    q_value : float or None
        The p-value of "worse than in testing", corrected for all that was judged together.
    worse : bool or None
        The verdict; None: unknown.

    Examples
    --------
    >>> judge([[Metric("accuracy", 0.6, 0.55, 0.65, reference=0.8)]], [400])[0][0].worse
    True
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    reference_half: float = 0.0
    q_value: float | None = None
    worse: bool | None = None

    def against(self, references: Mapping[str, tuple[float, float]]) -> Metric:
        """Return it with its value and half interval in testing, where they are known."""
        value, half = references.get(self.name, (None, 0.0))
        return replace(self, reference=value, reference_half=half)

    @property
    def loss(self) -> float | None:
        """How much worse than in testing it is, in its own units; negative: better."""
        if self.value is None or self.reference is None or self.name in NO_QUALITY:
            return None
        if self.name == "bias":
            return abs(self.value) - abs(self.reference)
        difference = self.value - self.reference
        return -difference if self.name in HIGHER else difference

    @property
    def z(self) -> float | None:
        """The loss in standard errors of the difference; None where one is unknown."""
        if self.loss is None or self.low is None or self.high is None:
            return None
        assert self.value is not None
        assert self.reference is not None
        # both were measured on a sample: the half widths add in squares
        half = math.hypot((self.high - self.low) / 2, self.reference_half)
        if not half:
            return None
        if self.name == "bias":  # its sign may have changed: the difference counts
            return math.copysign(abs(self.value - self.reference) * Z / half, self.loss)
        return self.loss * Z / half


def judge(
    groups: Sequence[Sequence[Metric]],
    rows: Sequence[int],
    *,
    alpha: float = ALPHA,
    names: frozenset[str] | None = None,
) -> list[list[Metric]]:
    """Return metrics with their verdicts, all of them corrected together.

    Parameters
    ----------
    groups : sequence of sequences of Metric
        Of all rows, or of each slice.
    rows : sequence of int
        On how many rows each group was measured.
    alpha : float
        False discovery rate.
    names : frozenset of str, optional
        Only metrics of these names get a verdict: the fewer are asked, the more is seen.
    """
    from scipy.stats import false_discovery_control, norm

    places, values = [], []
    for group, size in enumerate(rows):
        for place, metric in enumerate(groups[group]):
            z = metric.z if size >= LEAST_ROWS else None
            if z is not None and (names is None or metric.name in names):
                places.append((group, place))
                values.append(float(norm.sf(z)))
    corrected = false_discovery_control(values) if values else []
    found = [list(group) for group in groups]
    for (group, place), q_value in zip(places, corrected, strict=True):
        metric = found[group][place]
        worse = bool(q_value <= alpha) and _matters(metric, found[group])
        found[group][place] = replace(metric, q_value=float(q_value), worse=worse)
    return found


def _matters(metric: Metric, others: Sequence[Metric]) -> bool:
    assert metric.loss is not None
    assert metric.reference is not None
    if metric.name in _LOSSES:
        return metric.loss >= LEAST_LOSS * metric.reference
    if metric.name == "bias":
        known = {one.name: one.reference for one in others}
        scale = known.get("mae") or known.get("rmse") or 0.0
        return metric.loss >= LEAST_LOSS * scale
    return metric.loss >= LEAST_FALL


def reported(report: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return values and half intervals of a test report by name; it lists metrics or maps them.

    Examples
    --------
    >>> reported({"metrics": [{"name": "rmse", "value": 2.0, "low": 1.5, "high": 2.5}]})
    {'rmse': (2.0, 0.5)}
    """
    metrics = report.get("metrics") or {}
    entries = (
        [(name, entry) for name, entry in metrics.items()]
        if isinstance(metrics, Mapping)
        else [(entry.get("name"), entry) for entry in metrics]
    )
    found = {}
    for name, entry in entries:
        value = entry.get("value") if isinstance(entry, Mapping) else entry
        if isinstance(value, (int, float)):
            bounds: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {}
            low, high = bounds.get("low"), bounds.get("high")
            half = 0.0 if low is None or high is None else (high - low) / 2
            found[str(name)] = (float(value), half)
    return found
