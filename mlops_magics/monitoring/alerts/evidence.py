"""Evidence: the rows of the inference table that an alert is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from mlops_magics.monitoring.references import PREDICTION, Reference, References
from mlops_magics.monitoring.table import Prediction, Predictions
from mlops_magics.profiles import Categorical
from mlops_magics.profiles.columns import Column, codes
from mlops_magics.profiles.significance import LEAST
from mlops_magics.store import tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

    from mlops_magics.monitoring.alerts.records import Alert

__all__ = ["MOST", "requests"]

MOST = 50_000
"""Rows of a window that are looked at, the newest."""

LEAST_GROWTH = 0.01  # of all rows, by which a bin has grown
SIGMAS = 2.0  # beyond which a bin's growth is more than chance

_OF_MODEL = ("data", "drift", "quality")


def requests(alert: Alert) -> pd.DataFrame:
    """Return the rows that an alert is about, newest first, with the reason as column ``why``.

    Of none that are older than the endpoint keeps its rows. Rows in a bin that grew are those among
    which the surplus is: which of them would have come anyway cannot be told.
    """
    workspace = resolve(alert.workspace)
    window = alert.evidence["window"]
    references = References()
    with workspace.database.read() as connection:
        revision = (alert.evidence.get("revision") or {}).get("revision")
        rows = _rows(connection, alert, window, revision) if alert.kind in _REASONS else []
        reference = Reference() if revision is None else references.of(connection, revision)
    why = _REASONS[alert.kind](rows, alert, reference) if rows else []
    kept = [place for place, reason in enumerate(why) if reason]
    chosen = Predictions(rows=[rows[place] for place in kept], endpoint=alert.endpoint)
    frame = chosen.df
    frame.insert(1, "why", [why[place] for place in kept])
    return frame


def _rows(
    connection: Connection, alert: Alert, window: Mapping[str, Any], revision: int | None
) -> list[Prediction]:
    t = tables.predictions
    query = (
        sa.select(t, tables.labels.c.label)
        .join_from(
            t, tables.labels, t.c.prediction_id == tables.labels.c.prediction_id, isouter=True
        )
        .where(t.c.endpoint == alert.endpoint)
        .where(t.c.time >= window["since"], t.c.time < window["until"])
        .order_by(t.c.time.desc(), t.c.request_id.desc(), t.c.row)
        .limit(MOST)
    )
    if alert.kind in _OF_MODEL:
        query = query.where(t.c.revision == revision, t.c.status < 400)
    elif alert.kind in ("errors", "server"):
        query = query.where(t.c.status >= 400, t.c.mirror_of.is_(None))
    elif alert.kind == "latency":
        budget = min((one["budget_ms"] for one in alert.evidence["items"]), default=0.0)
        query = query.where(t.c.latency > budget, t.c.mirror_of.is_(None))
    if alert.kind == "quality":
        query = query.where(tables.labels.c.prediction_id.is_not(None))
    rows = connection.execute(query).mappings().all()
    return [
        Prediction(**{key: value for key, value in row.items() if key != "endpoint"})
        for row in rows
    ]


def _failed(rows: Sequence[Prediction], alert: Alert, reference: Reference) -> list[str]:
    return [f"{row.status}: {row.error}" if row.error else str(row.status) for row in rows]


def _slow(rows: Sequence[Prediction], alert: Alert, reference: Reference) -> list[str]:
    return [f"{row.latency:.4g} ms" for row in rows]


def _wrong(rows: Sequence[Prediction], alert: Alert, reference: Reference) -> list[str]:
    """Say which labelled rows were predicted otherwise; of numbers, which were far off."""
    if reference.task != "regression":
        decided = [reference.decide(row.output) for row in rows]
        return [
            f"predicted {value}, it was {row.label}" if value != row.label else ""
            for value, row in zip(decided, rows, strict=True)
        ]
    errors = [_error(reference.prediction(row.output), row.label) for row in rows]
    known = [abs(error) for error in errors if error is not None]
    limit = float(np.mean(known)) if known else 0.0
    return [
        "" if error is None or abs(error) <= limit else f"off by {error:.4g}" for error in errors
    ]


def _columns(rows: Sequence[Prediction], alert: Alert, reference: Reference) -> list[str]:
    """Say in which columns rows are unlike the reference."""
    reasons: list[list[str]] = [[] for _ in rows]
    if reference.profile is None or not rows:
        return [""] * len(rows)
    frame = pd.DataFrame([dict(row.inputs or {}) for row in rows])
    frame[PREDICTION] = [reference.prediction(row.output) for row in rows]
    for item in alert.evidence["items"]:
        name = item["item"]
        column = reference.profile.columns.get(name)
        if column is None:
            continue
        series = frame[name] if name in frame else pd.Series([None] * len(rows))
        called = "the prediction" if name == PREDICTION else name
        found = codes(series, column)
        for code, words in _grown(found, column, reference.profile.rows).items():
            for place in np.flatnonzero(found == code):
                reasons[place].append(f"{called}: {words}")
    return ["; ".join(one) for one in reasons]


def _grown(found: NDArray[np.int16], column: Column, rows: int) -> dict[int, str]:
    """Name the bins that have more of the rows than in the reference, by more than chance."""
    size = len(column.bins)
    before = np.array([*column.bins, column.nulls, column.invalid], dtype=float) / max(1, rows)
    counts = np.bincount(found, minlength=size + 2).astype(float)
    total = len(found)
    surplus = counts / total - before
    spread = np.sqrt(np.maximum(before * (1 - before), 1 / total) / total)
    least = np.full(size + 2, LEAST_GROWTH)
    least[size], least[size + 1] = LEAST["nulls"], LEAST["invalid"]
    grown = np.flatnonzero((surplus >= least) & (surplus > SIGMAS * spread))
    other = "a new or rare value" if isinstance(column, Categorical) else "in a bin that grew"
    words = {size - 1: other, size: "missing", size + 1: f"not {column.type}"}
    return {int(code): words.get(int(code), "in a bin that grew") for code in grown}


def _error(value: Any, label: Any) -> float | None:
    try:
        return float(value) - float(label)
    except (TypeError, ValueError):
        return None


_REASONS = {
    "data": _columns,
    "drift": _columns,
    "errors": _failed,
    "latency": _slow,
    "quality": _wrong,
    "server": _failed,
}
