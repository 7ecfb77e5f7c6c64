"""Serving: predict, predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import DURATION, ENDPOINT, ROWS, rows_of
from mlops_magics.cli.verb import verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["predict", "predictions"]


@verb(
    "predict",
    calls=["predict"],
    in_shell="""mlops predict flight-delay --data '{"month": 3, "carrier": "UA"}'""",
    in_notebook="%mlops_predict flight-delay --data df",
)
@click.argument("endpoint", type=ENDPOINT)
@click.option(
    "--data",
    type=ROWS,
    required=True,
    help="Rows: dataset, file, JSON, or - for JSON or CSV from standard input; in a notebook a "
    "DataFrame.",
)
@click.option("--request-id", help="Default: a new one.")
@click.option("--chunk", type=click.IntRange(min=1), default=1000, show_default=True)
def predict(
    endpoint: str, data: Any, request_id: str | None, chunk: int, workspace: Workspace | None
) -> Any:
    """Ask ENDPOINT for predictions, CHUNK rows with each request."""
    rows = rows_of(data, workspace)
    return mlops.predict(endpoint, rows, request_id=request_id, chunk=chunk, workspace=workspace)


@verb(
    "predictions",
    calls=["predictions"],
    in_shell="mlops predictions flight-delay --last 1h --json",
    in_notebook="%mlops_predictions flight-delay --limit 10",
)
@click.argument("endpoint", type=ENDPOINT)
@click.option("--last", type=DURATION, help="Only the newest, such as 15m or 1h.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
def predictions(endpoint: str, last: str | None, limit: int, workspace: Workspace | None) -> Any:
    """Show the inference table of ENDPOINT: inputs, output, version, latency, status."""
    return mlops.predictions(endpoint, last=last, limit=limit, workspace=workspace)
