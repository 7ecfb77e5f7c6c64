"""How one column looks in a picture: verdict, null rates, both distributions side by side."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from typing import Any

from mlops_magics.monitoring.comparison import Drift
from mlops_magics.profiles import Categorical, Numeric
from mlops_magics.profiles.columns import Column

__all__ = ["feature"]

LABELS = 12  # categories shown by name; further ones are one bar


def feature(drift: Drift, reference: Column, current: Column) -> dict[str, Any]:
    """Return a column of a picture as JSON values.

    Distances are unknown (None) where a side has no values, and so is a verdict on few rows.
    """
    categorical = isinstance(reference, Categorical)
    return {
        "name": drift.name,
        "type": "categorical" if categorical else "numeric",
        "psi": drift.psi,
        "js": drift.js,
        "wasserstein": drift.wasserstein,
        "p_value": drift.p_value,
        "q_value": drift.q_value,
        "threshold": drift.threshold,
        "significant": drift.significant,
        "drifted": drift.drifted,
        "false_alarms": drift.false_alarms,
        "reasons": list(drift.reasons),
        "nulls": dict(drift.nulls),
        "invalid": drift.invalid,
        "unseen": list(drift.unseen),
        "histogram": _histogram(reference, current),
    }


def _histogram(reference: Column, current: Column) -> dict[str, Any] | None:
    if isinstance(reference, Categorical) and isinstance(current, Categorical):
        return _categories(reference, current)
    if not isinstance(reference, Numeric) or not reference.edges:
        return None
    before, after = reference.bins.tolist(), current.bins.tolist()
    edges: list[float | None] = [None, *reference.edges, None]
    # the outermost bins are open; one that nothing fell into is not shown
    first = 0 if before[0] or after[0] else 1
    last = len(before) if before[-1] or after[-1] else len(before) - 1
    shown = edges[first : last + 1]
    labels = _labels(reference, shown)
    return {
        "edges": None if labels else shown,
        "labels": labels,
        "reference": _shares(before[first:last], sum(before)),
        "current": _shares(after[first:last], sum(after)),
    }


def _labels(reference: Numeric, edges: Sequence[float | None]) -> list[str] | None:
    """Name bins where values are better than edges: whole numbers one by one, and dates."""
    if reference.type == "datetime":
        dates = [None if edge is None else _date(edge) for edge in edges]
        pairs = itertools.pairwise(dates)
        return [f"before {high}" if low is None else f"from {low}" for low, high in pairs]
    inner = reference.edges
    steps = {high - low for low, high in itertools.pairwise(inner)}
    if steps != {1.0} or inner[0] % 1 != 0.5:
        return None
    names = []
    for low, high in itertools.pairwise(edges):
        if low is None:
            names.append(f"<{(high or 0) + 0.5:g}")
        else:
            names.append(f">{low - 0.5:g}" if high is None else f"{low + 0.5:g}")
    return names


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def _categories(reference: Categorical, current: Categorical) -> dict[str, Any]:
    before, after = list(reference.counts), list(current.counts)
    unseen = sum(current.unseen.values()) + current.unseen_rest
    labels = list(reference.categories[:LABELS])
    first, second = before[:LABELS], after[:LABELS]
    others = (sum(before[LABELS:]) + reference.rest, sum(after[LABELS:]) + current.rest)
    if any(others):
        labels.append("other")
        first.append(others[0])
        second.append(others[1])
    if unseen:
        labels.append("unseen")
        first.append(0)
        second.append(unseen)
    return {
        "edges": None,
        "labels": labels,
        "reference": _shares(first, reference.count),
        "current": _shares(second, current.count),
    }


def _shares(counts: Sequence[int], total: int) -> list[float]:
    return [count / total if total else 0.0 for count in counts]
