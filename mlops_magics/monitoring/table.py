"""The inference table as a reader sees it: the verb ``predictions``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.cards import Badge, Code, Time
from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring import backlog, spans, traffic
from mlops_magics.records import Record, Table
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Prediction", "Predictions", "predictions"]

_RARE = ("mirror_of", "trace_id")  # columns of .df where a row has such a value


@dataclass(frozen=True)
class Prediction(Record):
    """One row of the inference table.

    Attributes
    ----------
    prediction_id : str
        Under which a label is given later.
    time : float
        Arrival, seconds since 1970.
    inputs : mapping or None
        By column; None when the request was refused before it was understood.
    output : object
        What the model returned for this row.
    label : object
        The ground truth, if it is known.
    status : int
        HTTP status.
    latency : float
        Milliseconds, of the whole request.
    mirror_of : str or None
        Of a shadow's answer: the id of the request that was mirrored.
    trace_id : str or None
        The trace that the caller's ``traceparent`` named.
    """

    prediction_id: str
    request_id: str
    client_id: str | None
    row: int
    time: float
    revision: int | None
    version: str | None
    variant: str | None
    inputs: Mapping[str, Any] | None
    output: Any
    label: Any
    status: int
    latency: float
    error: str | None
    mirror_of: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True)
class Predictions(Table):
    """Rows of an endpoint's inference table, newest first.

    Attributes
    ----------
    total : int
        Rows in the asked time; ``rows`` has at most ``limit`` of them.
    """

    endpoint: str = ""
    total: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def df(self) -> pd.DataFrame:
        """One row for each prediction, its inputs as columns after the id."""
        import pandas as pd

        names = ["prediction_id", "time", "version", "variant", "output", "label", "status"]
        names += ["latency", "error"]
        names += [name for name in _RARE if any(getattr(row, name) for row in self.rows)]
        about = pd.DataFrame([{name: getattr(row, name) for name in names} for row in self.rows])
        if about.empty:
            return pd.DataFrame(columns=names)
        about["time"] = pd.to_datetime(about["time"], unit="s", utc=True)
        inputs = pd.DataFrame([dict(row.inputs or {}) for row in self.rows])
        # an input may be called as one of ours
        inputs = inputs.rename(columns={name: f"input.{name}" for name in names})
        parts = [about[["prediction_id"]], inputs, about[names[1:]]]
        return pd.concat(parts, axis=1)

    def title(self) -> str:
        return f"predictions of {self.endpoint}"

    def empty(self) -> str:
        return f"no prediction yet: mlops predict {self.endpoint} --data ROWS"

    def cells(self, row: Prediction) -> Mapping[str, Any]:
        good = row.status < 400
        return {
            "id": Code(row.prediction_id),
            "time": Time(row.time),
            "version": row.version,
            "variant": row.variant,
            **dict(list((row.inputs or {}).items())[:4]),
            "output": _short(row.output) if good else row.error,
            "label": row.label,
            "ms": round(row.latency, 2),
            "status": Badge(str(row.status), "good" if good else "bad"),
            **({"trace": row.trace_id} if any(one.trace_id for one in self.rows) else {}),
        }


def predictions(
    endpoint: str,
    *,
    last: str | float | None = None,
    limit: int | None = 100,
    workspace: Workspace | None = None,
) -> Predictions:
    """Read an endpoint's inference table.

    Parameters
    ----------
    endpoint : str
        Its name.
    last : str or float, optional
        Only this span until now: ``"1h"``, ``"30m"``, or seconds.
    limit : int, optional
        Rows to return, the newest; None for all.
    workspace : Workspace, optional
        Default: found from the working directory.

    Returns
    -------
    Predictions
        Newest first; ``.df`` has the inputs as columns.

    Raises
    ------
    EndpointNotFound
        There is no endpoint of that name.
    InvalidArgument
        ``last`` is no span, or ``limit`` is below 1.

    Examples
    --------
    >>> table = predictions("flight-delay", last="1h", workspace=workspace).df
    >>> table[["prediction_id", "hour", "output"]].values.tolist()
    [['0199c8f1', 17, 0.42]]
    """
    if limit is not None and limit < 1:
        raise InvalidArgument(f"limit = {limit} is below 1")
    span = None if last is None else spans.seconds(last)
    workspace = resolve(workspace)
    loaded = backlog.settle(workspace)
    t = tables.predictions
    chosen = t.c.endpoint == endpoint
    if span is not None:
        chosen = sa.and_(chosen, t.c.time >= time.time() - span)
    query = (
        sa.select(t, tables.labels.c.label)
        .join_from(
            t, tables.labels, t.c.prediction_id == tables.labels.c.prediction_id, isouter=True
        )
        .where(chosen)
        .order_by(t.c.time.desc(), t.c.request_id.desc(), t.c.row)
        .limit(limit)
    )
    with workspace.database.read() as connection:
        traffic.require(connection, endpoint)
        total = connection.execute(sa.select(sa.func.count()).select_from(t).where(chosen)).scalar()
        rows = connection.execute(query).mappings().all()
    kept = tuple(
        Prediction(**{key: value for key, value in row.items() if key != "endpoint"})
        for row in rows
    )
    notes = [] if loaded else ["the newest answers are still on their way into the table"]
    return Predictions(rows=kept, endpoint=endpoint, total=int(total or 0), notes=notes)


def _short(output: Any) -> Any:
    if isinstance(output, list) and all(isinstance(value, float) for value in output):
        return [round(value, 4) for value in output]
    return output
