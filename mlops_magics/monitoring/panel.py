"""How quality looks in a picture: its values as JSON, and its tables in the card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlops_magics.cards import Badge, Grid, Interval
from mlops_magics.monitoring.quality import Quality
from mlops_magics.records import plain

__all__ = ["grids", "panel"]

SLICES = 12
SHOWN = 6


def panel(measured: Quality, over: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return quality as JSON values; None where there is neither a label nor an estimate."""
    estimated = measured.estimate is not None and bool(measured.estimate.metrics)
    if not measured.labels and not estimated:
        return None
    return {
        "labels": measured.labels,
        "coverage": measured.coverage,
        "metrics": [vars(metric) for metric in measured.metrics],
        "measured": measured.measured,
        "delay": plain(measured.delay),
        "slices": [plain(replace(one, metrics=one.shown)) for one in measured.slices[:SLICES]],
        "groups": plain(measured.groups),
        "concept": plain(measured.concept),
        "estimate": plain(measured.estimate),
        "series": over,
    }


def grids(shown: Mapping[str, Any]) -> list[Grid]:
    """Return the tables of what `panel` gave: metrics, or what to expect of them, and slices."""
    found = []
    if shown["metrics"]:
        rows = [
            [one["name"], Interval(one["value"], one["low"], one["high"]), one["reference"]]
            for one in shown["metrics"]
        ]
        label = f"from {shown['labels']:,} labels ({shown['coverage']:.1%})"
        found.append(Grid(["metric", "value", "in testing"], rows, label))
    elif shown["estimate"]:
        rows = [
            [one["name"], Interval(one["value"], one["low"], one["high"])]
            for one in shown["estimate"]["metrics"]
        ]
        found.append(Grid(["metric", "value"], rows, "estimated from scores, before labels come"))
    rows = [[_part(one), one["rows"], Badge("worse", "bad")] for one in shown["slices"]
            if one["worse"]]  # fmt: skip
    rows += [
        [_part(one), one["rows"], Badge("; ".join(one["reasons"]), "bad")]
        for one in shown["groups"]
        if one["worse"]
    ]
    if rows:
        found.append(Grid(["where", "labels", ""], rows, "worse than in testing", SHOWN))
    return found


def _part(one: Mapping[str, Any]) -> str:
    return f"{one['column']}: {one['value']}"
