"""Identities: which predictions an id names, ours or the caller's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from mlops_magics.monitoring import backlog
from mlops_magics.store import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

__all__ = ["Identity", "find", "waiting"]

_CHUNK = 400  # ids in one query: databases limit the parameters of a statement


class Identity(NamedTuple):
    """One prediction: its id, the revision that made it, and when the request came."""

    key: str
    revision: int
    time: float


def find(connection: Connection, endpoint: str, names: Sequence[str]) -> dict[str, list[Identity]]:
    """Return the predictions that each name is of; names of none are left out.

    A name is a prediction's own id; else a request's id, ours or the caller's, alone or with
    ``:ROW`` behind it. A shadow's answers are found by their own ids only.
    """
    t = tables.predictions.c
    columns = (t.prediction_id, t.request_id, t.client_id, t.row, t.revision, t.time)
    query = sa.select(*columns).where(t.endpoint == endpoint)
    found: dict[str, list[Identity]] = {}
    for some in _chunks(names):
        for row in connection.execute(query.where(t.prediction_id.in_(some))):
            found[row.prediction_id] = [Identity(row.prediction_id, row.revision or 0, row.time)]
    rest = [name for name in names if name not in found]
    wanted = _requests(rest)
    answered = query.where(t.status < 400, t.mirror_of.is_(None)).order_by(t.time, t.row)
    for some in _chunks(list(wanted)):
        for column in (t.request_id, t.client_id):  # one after the other: each has its index
            for row in connection.execute(answered.where(column.in_(some))):
                identity = Identity(row.prediction_id, row.revision or 0, row.time)
                for request in {row.request_id, row.client_id} & wanted.keys():
                    _note(found, wanted[request], row.row, identity)
    return found


def waiting(
    connection: Connection, workspace: Workspace, endpoint: str, names: Sequence[str]
) -> dict[str, list[Identity]]:
    """Return, of names, those whose predictions are still in the server's log."""
    found: dict[str, list[Identity]] = {}
    if not names:
        return found
    wanted = _requests(names)
    for request in backlog.requests(connection, workspace):
        if request.endpoint != endpoint or not request.answered or request.mirror_of is not None:
            continue
        size = len(request.outputs or ())
        for row in range(size):
            key = request.id if size == 1 else f"{request.id}:{row}"
            identity = Identity(key, request.revision or 0, request.t)
            for one in {request.id, request.client_id} & wanted.keys():
                _note(found, wanted[one], row, identity)
    return found


def _requests(names: Iterable[str]) -> dict[str | None, list[tuple[str, int | None]]]:
    """Return requests' ids with the names that may mean them, and the row that a name says."""
    found: dict[str | None, list[tuple[str, int | None]]] = {}
    for name in names:
        found.setdefault(name, []).append((name, None))
        request, colon, row = name.rpartition(":")
        if colon and row.isdigit():
            found.setdefault(request, []).append((name, int(row)))
    return found


def _note(
    found: dict[str, list[Identity]],
    wanted: Sequence[tuple[str, int | None]],
    row: int,
    identity: Identity,
) -> None:
    for name, place in wanted:
        known = found.setdefault(name, []) if place in (None, row) else None
        if known is not None and identity not in known:
            known.append(identity)


def _chunks(names: Sequence[str | None]) -> Iterable[Sequence[str | None]]:
    return (names[begin : begin + _CHUNK] for begin in range(0, len(names), _CHUNK))
