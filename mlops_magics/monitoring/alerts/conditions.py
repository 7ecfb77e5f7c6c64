"""Conditions: what is wrong in a window, by numbers that chance seldom gives.

A share of requests is above its limit when the binomial test says so at the asked false-alarm rate:
so few requests that their errors could be chance are no finding. Columns have the verdict of
`monitoring.comparison`; metrics, slices and groups that of `monitoring.quality`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops_magics.measures.metric import Metric
from mlops_magics.monitoring import latency
from mlops_magics.monitoring.alerts.policy import SEVERITIES, Policy
from mlops_magics.monitoring.comparison import Drift
from mlops_magics.monitoring.quality import Quality
from mlops_magics.monitoring.references import PREDICTION
from mlops_magics.monitoring.windows import Window
from mlops_magics.profiles.significance import LEAST
from mlops_magics.records import plain

__all__ = ["CONCEPT", "KINDS", "Finding", "of_columns", "of_quality", "of_requests", "summary"]

KINDS = ("errors", "latency", "data", "drift", "quality", "server", "profile")
"""What alerts are about; an endpoint has at most one open alert of each."""

CONCEPT = "concept"
"""The item of a finding that labels have left the predictions."""

SLOW = 0.05  # share of the requests that may take longer than the budget: its 95 % quantile


@dataclass(frozen=True)
class Finding:
    """Something that is wrong in a window.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    item : str
        What it is wrong with: a column, a metric; empty where there is one thing only.
    severity : str
    words : str
        A reason for a reader.
    evidence : mapping
        The numbers, as JSON values.
    """

    kind: str
    item: str
    severity: str
    words: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def of_requests(window: Window, policy: Policy) -> list[Finding]:
    """Judge failed and slow requests.

    Examples
    --------
    >>> counts = latency.count([3.0] * 90 + [200.0] * 10)
    >>> window = Window(0.0, 100, 90, 20, counts)
    >>> [found.words for found in of_requests(window, Policy(latency=50.0))]
    ['20.0% of requests failed (20)']
    >>> [found.kind for found in of_requests(window, Policy(latency=50.0, false_alarms=0.1))]
    ['errors', 'latency']
    """
    found = []
    total = window.requests
    chance = _beyond(window.errors, total, policy.errors)
    if policy.errors is not None and chance is not None and chance <= policy.false_alarms:
        rate = window.errors / total
        evidence = {"errors": window.errors, "rate": rate, "threshold": policy.errors}
        words = f"{rate:.1%} of requests failed ({window.errors:,})"
        found.append(Finding("errors", "", "critical", words, evidence | {"p_value": chance}))
    if policy.latency is not None:
        # bins that lie beyond the budget as a whole: what lies in its own bin may be within
        first = int((policy.latency > latency.EDGES).sum()) + 1
        slow = int(window.latency[first:].sum())
        chance = _beyond(slow, total, SLOW)
        if chance is not None and chance <= policy.false_alarms:
            p95 = latency.quantile(window.latency, 0.95)
            evidence = {"slow": slow, "rate": slow / total, "threshold": SLOW, "p_value": chance}
            evidence |= {"budget_ms": policy.latency, "p95_ms": p95 or 0.0}
            words = f"p95 is {p95:.4g} ms, the budget is {policy.latency:g} ms"
            found.append(Finding("latency", "", "warning", words, evidence))
    return found


def of_columns(drifts: Iterable[Drift]) -> list[Finding]:
    """Judge columns by their comparison with the reference: bad values, or drift; the worst first.

    Examples
    --------
    >>> drift = Drift("hour", "numeric", 500, drifted=True, reasons=("distribution: PSI 0.40",))
    >>> [(found.kind, found.item) for found in of_columns([drift])]
    [('drift', 'hour')]
    """
    found = []
    for drift in sorted(drifts, key=lambda one: -(one.psi or 0.0)):
        if drift.drifted:
            kind = "data" if _is_bad(drift) else "drift"
            severity = "critical" if _is_missing(drift) else "warning"
            evidence = plain(
                {
                    name: getattr(drift, name, None)
                    for name in ("psi", "q_value", "threshold", "nulls", "invalid", "reasons")
                }
            )
            evidence["unseen"] = list(drift.unseen)
            words = "; ".join(drift.reasons)
            found.append(Finding(kind, drift.name, severity, words, evidence))
    return found


def of_quality(measured: Quality) -> list[Finding]:
    """Judge what labels say: metrics worse than in testing, slices, groups, concept drift."""
    found = []
    for metric in measured.metrics:
        if metric.worse:
            words = f"{metric.name} is {metric.value:.3f}, in testing it was {metric.reference:.3f}"
            found.append(Finding("quality", metric.name, "critical", words, _numbers(metric)))
    concept = measured.concept
    if concept is not None and concept.drifted:
        evidence = {"p_value": concept.p_value, "shift": concept.shift, "rows": concept.rows}
        found.append(Finding("quality", CONCEPT, "warning", concept.reason, evidence))
    for one in measured.slices:
        judged = one.metric(one.judged)
        if one.worse and judged is not None:
            item = f"{one.column} = {one.value}"
            words = (
                f"{one.judged} where {item} is {judged.value:.3f}, in testing it was "
                f"{judged.reference:.3f}"
            )
            evidence = {**_numbers(judged), "rows": one.rows, "q_value": one.q_value}
            found.append(Finding("quality", item, "warning", words, evidence))
    for group in measured.groups:
        if group.worse:
            item = f"group {group.column} = {group.value}"
            words = f"{item}: {'; '.join(group.reasons)}"
            found.append(Finding("quality", item, "warning", words, {"rows": group.rows}))
    return found


def _numbers(metric: Metric) -> dict[str, Any]:
    names = ("value", "low", "high", "reference", "q_value")
    return {name: getattr(metric, name) for name in names}


def summary(found: Sequence[Finding]) -> tuple[str, str]:
    """Return severity and title of what was found of one kind.

    Examples
    --------
    >>> reasons = ("distribution: PSI 0.40",)
    >>> drifts = [Drift(name, "numeric", 500, drifted=True, reasons=reasons) for name in "abcd"]
    >>> summary(of_columns(drifts[:1]))
    ('warning', 'a drifted: distribution: PSI 0.40')
    >>> summary(of_columns(drifts))
    ('warning', 'a, b, c and 1 more drifted: a: distribution: PSI 0.40; b: distribution: PSI 0.40')
    """
    severity = max((one.severity for one in found), key=SEVERITIES.index)
    kind = found[0].kind
    if kind not in ("data", "drift"):
        return severity, "; ".join(one.words for one in found[:3])
    names = ["the prediction" if one.item == PREDICTION else one.item for one in found]
    who = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    reasons = "; ".join(
        one.words if len(found) == 1 else f"{name}: {one.words}"
        for name, one in list(zip(names, found, strict=True))[:2]
    )
    verb = "drifted" if kind == "drift" else "has bad data" if len(names) == 1 else "have bad data"
    return severity, f"{who} {verb}: {reasons}"


def _beyond(hits: int, total: int, limit: float | None) -> float | None:
    """Chance of so many hits if their share were the limit; None where it is not above it.

    The binomial test (Clopper and Pearson, "The use of confidence or fiducial limits", 1934).
    """
    if limit is None or not total or hits / total <= limit:
        return None
    from scipy.stats import binom

    return float(binom.sf(hits - 1, total, limit))


def _is_bad(drift: Drift) -> bool:
    """Whether it is about values that are missing, of the wrong type or new."""
    before, now = drift.nulls.get("reference"), drift.nulls.get("current")
    missing = None not in (before, now) and (now or 0.0) - (before or 0.0) >= LEAST["nulls"]
    share = drift.invalid / drift.rows if drift.rows else 0.0
    unseen = any(reason.startswith("unseen") for reason in drift.reasons)
    return missing or share >= LEAST["invalid"] or unseen


def _is_missing(drift: Drift) -> bool:
    """Whether nothing of a column can be used that had values in training."""
    now = drift.nulls.get("current") or 0.0
    share = drift.invalid / drift.rows if drift.rows else 0.0
    return (drift.nulls.get("reference") or 0.0) < 1.0 <= now + share
