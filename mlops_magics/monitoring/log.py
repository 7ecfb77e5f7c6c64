"""The inference log: spool lines, and the rows of the inference table they become.

A request with one row has its own id as ``prediction_id``; of several rows each has
``<request id>:<row>``. A request that failed leaves one row, with its error and no output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mlops_magics.monitoring.references import PREDICTION, Reference
from mlops_magics.store import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["Request", "decode", "frame", "insert", "sample", "select"]


class Request(msgspec.Struct):
    """One logged request: a line of the spool.

    Attributes
    ----------
    id, client_id : str
        The server's id, and the caller's if it sent one.
    t : float
        Arrival, seconds since 1970.
    columns : list of str
    rows : list of list, or None
        None when the request was refused or failed before it was understood.
    outputs : list or None
        One for each row.
    ms : float
        Latency in milliseconds.
    mirror_of : str or None
        Of a shadow's answer: the id of the request that was mirrored.
    trace_id : str or None
        The trace that the caller's ``traceparent`` names: 32 hexadecimal digits.
    """

    id: str
    t: float
    endpoint: str
    status: int
    ms: float
    client_id: str | None = None
    revision: int | None = None
    version: str | None = None
    variant: str | None = None
    columns: list[str] | None = None
    rows: list[list[Any]] | None = None
    outputs: list[Any] | None = None
    error: str | None = None
    mirror_of: str | None = None
    trace_id: str | None = None

    @property
    def answered(self) -> bool:
        """Whether there are predictions."""
        return self.status < 400 and self.outputs is not None


_decoder = msgspec.json.Decoder(Request)


def decode(line: bytes) -> Request:
    """Read a spool line.

    Raises
    ------
    msgspec.MsgspecError
        It is damaged.

    Examples
    --------
    >>> decode(b'{"id":"a","t":1.0,"endpoint":"e","status":400,"ms":0.3}').answered
    False
    """
    return _decoder.decode(line)


def insert(connection: Connection, requests: Sequence[Request]) -> None:
    """Write requests to the inference table; rows that are there already stay as they are."""
    rows = [row for request in requests for row in _explode(request)]
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        # SQLAlchemy's own binding of so many values would take longer than SQLite does
        texts = [(*row[:_JSON], *map(_text, row[_JSON:_PLAIN]), *row[_PLAIN:]) for row in rows]
        connection.exec_driver_sql(_SQLITE, texts)
    else:
        named = [dict(zip(_NAMES, row, strict=True)) for row in rows]
        connection.execute(postgresql.insert(tables.predictions).on_conflict_do_nothing(), named)


_NAMES = tuple(column.name for column in tables.predictions.columns)
_JSON, _PLAIN = _NAMES.index("inputs"), _NAMES.index("status")  # inputs and output
_SQLITE = str(
    sqlite.insert(tables.predictions).on_conflict_do_nothing().compile(dialect=sqlite.dialect())
)
_encode = msgspec.json.Encoder().encode


def _text(value: Any) -> str:
    """Return what a JSON column holds; also of nothing it is a JSON null."""
    return _encode(value).decode()


def _explode(request: Request) -> Iterator[tuple[Any, ...]]:
    """Give each row's values in the order of the table's columns."""
    rows = request.rows or []
    size = max(len(rows), len(request.outputs or [])) if request.answered else min(1, len(rows))
    columns = request.columns or []
    for place in range(max(1, size)):
        yield (
            request.id if size <= 1 else f"{request.id}:{place}",
            request.id,
            request.client_id,
            place,
            request.t,
            request.endpoint,
            request.revision,
            request.version,
            request.variant,
            dict(zip(columns, rows[place], strict=False)) if place < len(rows) else None,
            request.outputs[place] if request.answered and request.outputs else None,
            request.status,
            request.ms,
            request.error,
            request.mirror_of,
            request.trace_id,
        )


def select(
    connection: Connection, endpoint: str, since: float, until: float
) -> dict[int, list[Request]]:
    """Read the requests of a time range back, by revision.

    The range is from ``since`` (inclusive) to ``until`` (exclusive), in seconds since 1970.
    """
    t = tables.predictions.c
    query = (
        sa.select(t.request_id, t.time, t.revision, t.status, t.latency, t.inputs, t.output)
        .where(t.endpoint == endpoint, t.time >= since, t.time < until)
        .order_by(t.time, t.request_id, t.row)
    )
    found: dict[str, Request] = {}
    for row in connection.execute(query):
        request = found.get(row.request_id)
        if request is None:
            request = Request(
                id=row.request_id,
                t=row.time,
                endpoint=endpoint,
                status=row.status,
                ms=row.latency,
                revision=row.revision,
                columns=list(row.inputs or {}),
                rows=[],
                outputs=[] if row.status < 400 else None,
            )
            found[row.request_id] = request
        if row.inputs is not None and request.rows is not None:
            request.rows.append(list(row.inputs.values()))
        if request.outputs is not None:
            request.outputs.append(row.output)
    grouped: dict[int, list[Request]] = {}
    for request in found.values():
        grouped.setdefault(request.revision or 0, []).append(request)
    return grouped


def sample(
    connection: Connection,
    endpoint: str,
    since: float,
    until: float,
    limit: int,
    *,
    revision: int | None = None,
) -> tuple[pd.DataFrame, int]:
    """Read inputs and predictions of a time range; of more than ``limit`` rows every few.

    Returns
    -------
    frame : DataFrame
        As `frame` makes it.
    total : int
        Answered rows of the range.
    """
    t = tables.predictions.c
    chosen = sa.and_(t.endpoint == endpoint, t.time >= since, t.time < until, t.status < 400)
    if revision is not None:
        chosen = sa.and_(chosen, t.revision == revision)
    total = int(connection.execute(sa.select(sa.func.count()).where(chosen)).scalar() or 0)
    query = sa.select(t.inputs, t.output).where(chosen).order_by(t.time, t.prediction_id)
    if total > limit:
        place = sa.func.row_number().over(order_by=(t.time, t.prediction_id)).label("place")
        numbered = sa.select(t.inputs, t.output, place).where(chosen).subquery()
        step = -(-total // limit)
        query = sa.select(numbered.c.inputs, numbered.c.output).where(numbered.c.place % step == 0)
    rows = [(row.inputs, row.output) for row in connection.execute(query) if row.inputs]
    found = pd.DataFrame.from_records([inputs for inputs, _ in rows])
    if rows:
        found[PREDICTION] = [Reference.prediction(output) for _, output in rows]
    return found, total


def frame(requests: Iterable[Request]) -> pd.DataFrame:
    """Return inputs and predictions of the answered requests, as the reference was made.

    Examples
    --------
    >>> request = Request("a", 1.0, "e", 200, 0.3, columns=["x"], rows=[[1], [2]], outputs=[5, 6])
    >>> frame([request]).to_dict("list")
    {'x': [1, 2], 'prediction': [5, 6]}
    """
    by_columns: dict[tuple[str, ...], tuple[list[list[Any]], list[Any]]] = {}
    for request in requests:
        if request.answered and request.rows and request.outputs is not None:
            rows, outputs = by_columns.setdefault(tuple(request.columns or ()), ([], []))
            rows += request.rows
            outputs += [Reference.prediction(output) for output in request.outputs]
    parts = []
    for columns, (rows, outputs) in by_columns.items():
        part = pd.DataFrame(rows, columns=list(columns))
        part[PREDICTION] = outputs
        parts.append(part)
    if not parts:
        return pd.DataFrame()
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
