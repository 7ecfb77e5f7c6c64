"""Windows: ten seconds of an endpoint's revision in numbers that add up.

The agent folds each request into its window in the transaction that loads it. A longer range is
the sum of its windows; where its ends cut a window, those few seconds are counted from the
inference table, so that any range is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring import latency, log
from mlops_magics.monitoring.references import Reference, References
from mlops_magics.profiles import Profile
from mlops_magics.store import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection, Row

__all__ = ["SECONDS", "Window", "fold", "read", "total", "use", "used"]

SECONDS = 10.0


@dataclass(frozen=True)
class Window:
    """What happened in a span of time.

    Attributes
    ----------
    start : float
        Seconds since 1970.
    requests, rows, errors : int
        Requests, predicted rows, and requests answered with a status of 400 or more.
    latency : array of int
        Requests by `latency.EDGES`.
    profile : Profile or None
        Of inputs and predictions; None without a reference, or without predictions.
    """

    start: float
    requests: int
    rows: int
    errors: int
    latency: NDArray[np.int64]
    profile: Profile | None = None

    @classmethod
    def of(cls, start: float, requests: Sequence[log.Request], reference: Reference) -> Window:
        """Measure requests."""
        rows = sum(len(request.outputs or ()) for request in requests if request.answered)
        profile = None
        if reference.profile is not None and rows:
            profile = Profile.of(log.frame(requests), reference.profile)
        return cls(
            start,
            len(requests),
            rows,
            sum(request.status >= 400 for request in requests),
            latency.count(request.ms for request in requests),
            profile,
        )


def total(windows: Iterable[Window]) -> Window | None:
    """Add windows; None if there is none."""
    parts = list(windows)
    if not parts:
        return None
    profiles = [part.profile for part in parts if part.profile is not None]
    return Window(
        min(part.start for part in parts),
        sum(part.requests for part in parts),
        sum(part.rows for part in parts),
        sum(part.errors for part in parts),
        np.sum([part.latency for part in parts], axis=0),
        Profile.merge_all(profiles) if profiles else None,
    )


def fold(connection: Connection, requests: Iterable[log.Request], references: References) -> None:
    """Add requests to their windows, in the caller's transaction."""
    groups: dict[tuple[str, int, float], list[log.Request]] = {}
    for request in requests:
        start = math.floor(request.t / SECONDS) * SECONDS
        groups.setdefault((request.endpoint, request.revision or 0, start), []).append(request)
    t = tables.windows.c
    for (endpoint, revision, start), group in groups.items():
        reference = references.of(connection, revision)
        window = Window.of(start, group, reference)
        query = (
            sa.select(tables.windows)
            .where(t.endpoint == endpoint, t.revision == revision, t.start == start)
            .with_for_update()
        )
        present = connection.execute(query).one_or_none()
        if present is not None:
            window = total([_from_row(present, reference), window]) or window
        values = {
            "requests": window.requests,
            "rows": window.rows,
            "errors": window.errors,
            "latency": latency.pack(window.latency),
            "profile": None if window.profile is None else window.profile.to_dict(edges=False),
        }
        if present is not None:
            connection.execute(tables.windows.update().where(t.id == present.id).values(values))
        else:
            key = {"endpoint": endpoint, "revision": revision, "start": start, "seconds": SECONDS}
            connection.execute(tables.windows.insert().values(key | values))


def use(
    connection: Connection,
    endpoint: str,
    revision: int,
    start: float,
    *,
    cpu: float,
    memory: int,
    insist: bool = False,
) -> bool:
    """Note what a revision's workers have used, in the caller's transaction.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    endpoint, revision : str, int
        Whose workers.
    start : float
        Of the window, in seconds since 1970.
    cpu : float
        Seconds of cores since it was noted last.
    memory : int
        Bytes that they hold; the window keeps the most.
    insist : bool
        Make a window in which no request has come. Otherwise nothing is noted then: idle workers
        would fill the table.

    Returns
    -------
    bool
        Whether it was noted.
    """
    t = tables.windows
    key = {"endpoint": endpoint, "revision": revision, "start": start}
    same = sa.and_(*(t.c[name] == value for name, value in key.items()))
    most = sa.case((sa.func.coalesce(t.c.memory, 0) < memory, memory), else_=t.c.memory)
    values = {"cpu": sa.func.coalesce(t.c.cpu, 0.0) + cpu, "memory": most}
    if connection.execute(t.update().where(same).values(values)).rowcount:
        return True
    if insist:
        nothing = {"requests": 0, "rows": 0, "errors": 0, "latency": {}, "seconds": SECONDS}
        connection.execute(t.insert().values(key | nothing | {"cpu": cpu, "memory": memory}))
    return insist


def used(
    connection: Connection, endpoint: str, since: float, until: float
) -> dict[int, tuple[float, int]]:
    """Return the seconds of cores and the most bytes of each revision in a time range."""
    t = tables.windows.c
    query = (
        sa.select(t.revision, sa.func.sum(t.cpu), sa.func.max(t.memory))
        .where(t.endpoint == endpoint, t.start >= since, t.start < until, t.cpu.is_not(None))
        .group_by(t.revision)
    )
    return {row[0]: (float(row[1]), int(row[2])) for row in connection.execute(query)}


def read(
    connection: Connection, endpoint: str, since: float, until: float, references: References
) -> dict[int, list[Window]]:
    """Read a time range's windows by revision, in order of time; 0 is "refused before routing".

    The range is from ``since`` (inclusive) to ``until`` (exclusive), in seconds since 1970.
    Partly covered windows are counted from the inference table.

    Raises
    ------
    InvalidArgument
        The range is empty.
    """
    if until <= since:
        raise InvalidArgument(f"the range from {since} to {until} is empty")
    first, last = math.ceil(since / SECONDS) * SECONDS, math.floor(until / SECONDS) * SECONDS
    found: dict[int, list[Window]] = {}
    cuts = [(since, until)] if last <= first else [(since, first), (last, until)]
    for begin, end in cuts:
        if begin < end:
            for revision, requests in log.select(connection, endpoint, begin, end).items():
                reference = references.of(connection, revision)
                start = math.floor(begin / SECONDS) * SECONDS
                found.setdefault(revision, []).append(Window.of(start, requests, reference))
    t = tables.windows.c
    query = (
        sa.select(tables.windows)
        .where(t.endpoint == endpoint, t.start >= first, t.start < last)
        .order_by(t.start)
    )
    known: dict[int, Reference] = {}
    for row in connection.execute(query).all():
        if row.revision not in known:
            known[row.revision] = references.of(connection, row.revision)
        found.setdefault(row.revision, []).append(_from_row(row, known[row.revision]))
    return {key: sorted(value, key=lambda window: window.start) for key, value in found.items()}


def _from_row(row: Row[Any], reference: Reference) -> Window:
    profile = None
    if row.profile is not None and reference.profile is not None:
        profile = Profile.from_dict(row.profile, reference.profile)
    return Window(
        row.start, row.requests, row.rows, row.errors, latency.unpack(row.latency), profile
    )
