"""Measurement: what a candidate and its baseline have answered, from windows and inference table.

Whole windows are added up; the seconds before the first one are counted from the table. So a look
costs the same after a minute and after a week.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from mlops_magics.deployment.analysis import Side
from mlops_magics.monitoring import latency, windows
from mlops_magics.monitoring.references import Reference
from mlops_magics.store import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

__all__ = ["classifies", "measure"]

_PREDICTIONS = 5_000  # newest predictions a side whose distribution is compared
_LABELS = 20_000


def measure(
    connection: Connection,
    endpoint: str,
    revisions: tuple[int, int],
    *,
    stepped: float,
    started: float,
    closely: bool,
) -> tuple[Side, Side, bool]:
    """Return what two revisions have answered, and whether they predict classes.

    Parameters
    ----------
    connection : Connection
        Of a transaction, so that windows and table tell of the same requests.
    endpoint : str
        Its name.
    revisions : tuple of int
        Candidate and baseline.
    stepped, started : float
        Since when requests are counted, and since when predictions and labels: those may come
        late, and do not depend on the share.
    closely : bool
        Whether predictions and labels are read at all.
    """
    counts = {key: _Counts() for key in revisions}
    first = math.ceil(stepped / windows.SECONDS) * windows.SECONDS
    t = tables.predictions.c
    query = sa.select(t.revision, t.status, t.latency).where(
        t.endpoint == endpoint, t.time >= stepped, t.time < first, t.row == 0
    )
    for row in connection.execute(query):
        if row.revision in counts:
            counts[row.revision].add(1, row.status >= 400, latency.count([row.latency]))
    w = tables.windows.c
    whole = sa.select(w.revision, w.requests, w.errors, w.latency).where(
        w.endpoint == endpoint, w.revision.in_(revisions), w.start >= first
    )
    for window in connection.execute(whole):
        packed = latency.unpack(window.latency)
        counts[window.revision].add(window.requests, window.errors, packed)
    references = {key: _reference(connection, key) for key in revisions}
    classes = any(map(classifies, references.values()))
    sides = []
    for key in revisions:
        found, reference = counts[key], references[key]
        predictions = losses = np.array([])
        if closely:
            predictions = _predictions(connection, endpoint, key, started)
            losses = _losses(connection, endpoint, key, started, reference, classes)
        sides.append(Side(found.requests, found.errors, found.latency, predictions, losses))
    numeric = all(side.predictions.dtype != object for side in sides)
    if not numeric:
        sides = [_worded(side) for side in sides]
    return sides[0], sides[1], classes


def classifies(reference: Reference) -> bool:
    """Tell whether a model's answers are classes, as far as its package says so."""
    return reference.task in ("binary", "multiclass") or bool(reference.classes)


class _Counts:
    def __init__(self) -> None:
        self.requests = self.errors = 0
        self.latency: NDArray[np.int64] = latency.count([])

    def add(self, requests: int, errors: int, counts: NDArray[np.int64]) -> None:
        self.requests += int(requests)
        self.errors += int(errors)
        self.latency = self.latency + counts


def _reference(connection: Connection, revision: int) -> Reference:
    query = sa.select(tables.revisions.c.package).where(tables.revisions.c.id == revision)
    package = connection.execute(query).scalar()
    return Reference.load(Path(package)) if package else Reference()


def _predictions(
    connection: Connection, endpoint: str, revision: int, since: float
) -> NDArray[Any]:
    t = tables.predictions.c
    query = (
        sa.select(t.output)
        .where(t.endpoint == endpoint, t.time >= since, t.revision == revision, t.status < 400)
        .order_by(t.time.desc())
        .limit(_PREDICTIONS)
    )
    values = [Reference.prediction(row.output) for row in connection.execute(query)]
    values = [value for value in values if value is not None]
    if all(isinstance(value, (bool, int, float)) for value in values):
        return np.array(values, dtype=float)
    return np.array(values, dtype=object)


def _losses(
    connection: Connection,
    endpoint: str,
    revision: int,
    since: float,
    reference: Reference,
    classes: bool,
) -> NDArray[np.float64]:
    t, known = tables.predictions.c, tables.labels.c
    query = (
        sa.select(t.output, known.label)
        .join_from(tables.labels, tables.predictions, t.prediction_id == known.prediction_id)
        .where(known.endpoint == endpoint, t.revision == revision, t.status < 400)
        .where(t.time >= since)
        .order_by(t.time.desc())
        .limit(_LABELS)
    )
    found = []
    for row in connection.execute(query):
        if classes:
            found.append(float(reference.decide(row.output) != row.label))
            continue
        value = Reference.prediction(row.output)
        if isinstance(value, (int, float)) and isinstance(row.label, (int, float)):
            found.append(abs(float(value) - float(row.label)))
    return np.array(found)


def _worded(side: Side) -> Side:
    words = np.array([str(value) for value in side.predictions], dtype=object)
    return Side(side.requests, side.errors, side.latency, words, side.losses)
