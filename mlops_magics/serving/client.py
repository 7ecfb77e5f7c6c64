"""The client: rows to an endpoint, predictions back, in chunks."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlops_magics.cards import Badge, Card, Grid
from mlops_magics.errors import EndpointNotFound, InvalidArgument, PredictionRefused
from mlops_magics.records import Record, plain
from mlops_magics.serving import server
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.plan import Plan
from mlops_magics.store import packages
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from mlops_magics.store.workspace import Workspace

__all__ = ["Predicted", "json_value", "json_values", "predict"]

_SHOWN = 10


@dataclass(frozen=True)
class Predicted(Record):
    """An endpoint's answers.

    Attributes
    ----------
    endpoint, version, variant : str
        Who answered; of several chunks, the last.
    values : list
        One prediction for each row.
    ids : list of str or None
        The prediction ids, by which labels come back; None for what the inference table does not
        keep.
    latency : float
        Milliseconds of all requests together.
    df : DataFrame
        ``prediction_id``, and ``prediction`` or the model's output columns.
    """

    endpoint: str
    version: str
    variant: str
    values: list[Any]
    ids: list[str | None] = field(repr=False)
    latency: float

    @property
    def df(self) -> pd.DataFrame:
        """One row for each prediction."""
        import pandas as pd

        if self.values and isinstance(self.values[0], dict):
            outputs = pd.DataFrame(self.values)
        elif self.values and isinstance(self.values[0], list):
            width = len(self.values[0])
            outputs = pd.DataFrame(self.values, columns=[f"prediction_{i}" for i in range(width)])
        else:
            outputs = pd.DataFrame({"prediction": self.values})
        outputs.insert(0, "prediction_id", self.ids)
        return outputs

    def card(self) -> Card:
        """Show who answered, and the first answers."""
        shown = list(zip(self.ids, self.values, strict=True))[:_SHOWN]
        notes = []
        if len(self.values) > _SHOWN:
            notes = [f"the first {_SHOWN} of {len(self.values):,}; all are in .df"]
        return Card(
            title=self.endpoint,
            subtitle=f"version {self.version} · {self.variant}",
            badge=Badge(f"{len(self.values):,} answered", "good"),
            facts=[("time", f"{self.latency:,.1f} ms")],
            grids=[Grid(["prediction id", "prediction"], shown)],
            notes=notes,
        )


def predict(
    endpoint: str,
    data: pd.DataFrame | Sequence[Mapping[str, Any]] | Mapping[str, Any],
    *,
    request_id: str | None = None,
    chunk: int = 1000,
    workspace: Workspace | None = None,
) -> Predicted:
    """Ask an endpoint for predictions.

    Parameters
    ----------
    endpoint : str
        Its name.
    data : DataFrame, list of mappings, or one mapping
        Rows with the model's columns, in any order. The column that the model was trained to
        predict is left out, so that labelled rows can be given as they are.
    request_id : str, optional
        The caller's own id, kept beside ours.
    chunk : int
        Rows in one request.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    PredictionRefused
        The endpoint answered with an error; ``status`` has its kind.
    EndpointNotFound, ServerNotRunning
    """
    workspace = resolve(workspace)
    if chunk < 1:
        raise InvalidArgument(f"chunk = {chunk} is no positive number")
    columns, rows = _rows(data)
    values: list[Any] = []
    ids: list[str | None] = []
    version = variant = ""
    begun = time.perf_counter()
    with server.connect(workspace, timeout=120) as client:
        columns, rows = _without(_target(workspace, endpoint), columns, rows)
        for start in range(0, max(len(rows), 1), chunk):
            part = rows[start : start + chunk]
            headers = {"X-Request-Id": request_id} if request_id else {}
            response = client.post(
                f"/endpoints/{quote(endpoint, safe='')}/invocations",
                json={"dataframe_split": {"columns": columns, "data": part}},
                headers=headers,
            )
            if response.status_code != 200:
                raise _refusal(endpoint, response, start)
            got = response.json()["predictions"]
            values += got
            own = response.headers.get("X-Prediction-Id")
            if own is None:  # not in the inference table, so no label could join
                ids += [None] * len(got)
            else:
                ids += [own] if len(got) == 1 else [f"{own}:{row}" for row in range(len(got))]
            version, variant = response.headers["X-Model-Version"], response.headers["X-Variant"]
    latency = (time.perf_counter() - begun) * 1000
    return Predicted(endpoint, version, variant, values, ids, latency)


def _target(workspace: Workspace, endpoint: str) -> str | None:
    """Return the column that the endpoint's model was trained to predict, where that is known."""
    plan = Plan.read(ServerFolder.of(workspace).plan)
    planned = plan.endpoints.get(endpoint)
    if planned is None or not planned.traffic:
        return None
    revision = plan.revisions.get(str(planned.traffic[0].revision))
    if revision is None:
        return None
    target = packages.read_manifest(Path(revision.package)).get("target")
    return str(target) if target is not None else None


def _without(
    name: str | None, columns: list[str], rows: list[list[Any]]
) -> tuple[list[str], list[list[Any]]]:
    if name not in columns:
        return columns, rows
    place = columns.index(name)
    kept = [row[:place] + row[place + 1 :] for row in rows]
    return columns[:place] + columns[place + 1 :], kept


def _rows(data: Any) -> tuple[list[str], list[list[Any]]]:
    if isinstance(data, Mapping):
        data = [data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        if not all(isinstance(row, Mapping) for row in data):
            raise InvalidArgument("rows must be mappings of column to value")
        columns = list(dict.fromkeys(name for row in data for name in row))
        for index, row in enumerate(data):
            for name, value in row.items():
                if isinstance(value, float) and math.isinf(value):
                    raise _infinite(name, index)
        return columns, [[json_value(row.get(name)) for name in columns] for row in data]
    if hasattr(data, "columns") and hasattr(data, "itertuples"):
        for name, series in data.items():
            if series.dtype.kind == "f" and (infinite := series.abs() == math.inf).any():
                raise _infinite(name, int(infinite.to_numpy().argmax()))
        values = [json_values(data.iloc[:, index]) for index in range(len(data.columns))]
        return [str(name) for name in data.columns], [
            list(row) for row in zip(*values, strict=True)
        ]
    raise InvalidArgument(
        f"{type(data).__name__} has no rows to predict", hint="give a DataFrame or mappings"
    )


def _infinite(column: Any, row: int) -> InvalidArgument:
    return InvalidArgument(
        f"row {row}, column {str(column)!r}: an infinite number cannot be sent as JSON",
        hint="leave the row out, or replace the value by what the model was trained with",
    )


def json_values(series: Any) -> list[Any]:
    """Return a column as JSON values; integers and floats come out exactly."""
    listed = series.astype(object).where(series.notna(), None).tolist()
    return [json_value(value) for value in listed]


def json_value(value: Any) -> Any:
    """Return a value as JSON has it; dates are written out."""
    return value.isoformat() if hasattr(value, "isoformat") else plain(value)


def _refusal(endpoint: str, response: httpx.Response, start: int) -> Exception:
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError):
        message = f"status {response.status_code}"
    if response.status_code == 404:
        return EndpointNotFound(message, hint="see them: mlops endpoints")
    where = f" (rows from {start})" if start else ""
    return PredictionRefused(
        f"{endpoint} answered {response.status_code}: {message}{where}",
        status=response.status_code,
    )
