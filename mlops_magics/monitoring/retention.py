"""Retention: rows of the inference table that are older than an endpoint keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from mlops_magics.store import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["forget"]


def forget(connection: Connection, endpoint: str, before: float, limit: int = 500) -> int:
    """Delete an endpoint's oldest rows, and their labels, in the caller's transaction.

    Windows stay: what was counted and how the data were spread is no person's data.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    endpoint : str
        Its name.
    before : float
        Rows older than this moment, in seconds since 1970.
    limit : int
        Rows to delete at most; less than so many means that no older row is left.

    Returns
    -------
    int
        How many were deleted.
    """
    t, labels = tables.predictions, tables.labels
    query = (
        sa.select(t.c.prediction_id)
        .where(t.c.endpoint == endpoint, t.c.time < before)
        .order_by(t.c.time)
        .limit(limit)
    )
    ids = connection.execute(query).scalars().all()
    if ids:
        connection.execute(sa.delete(labels).where(labels.c.prediction_id.in_(ids)))
        connection.execute(sa.delete(t).where(t.c.prediction_id.in_(ids)))
    return len(ids)
