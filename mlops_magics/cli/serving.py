"""Serving: predict, predictions, score, stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import DURATION, ENDPOINT, MODEL, ROWS, SCORED, rows_of
from mlops_magics.cli.verb import PROGRESS, verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["predict", "predictions", "score", "stream"]


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


@verb(
    "score",
    calls=["score"],
    in_shell="mlops score flight-delay@champion --data flights.parquet --to scores.parquet",
    in_notebook="%mlops_score flight-delay@champion --data df",
)
@click.argument("model", type=MODEL, required=False)
@click.option(
    "--data",
    type=SCORED,
    required=True,
    help="Rows: a Parquet, CSV or JSON-lines file, a folder, a glob, a URL, a dataset; in a "
    "notebook a DataFrame.",
)
@click.option(
    "--to",
    type=click.Path(),
    help="File to write (.parquet, .csv, .jsonl), or a folder. Default: the record's .df.",
)
@click.option("--endpoint", type=ENDPOINT, help="Instead of MODEL: the version that it serves.")
@click.option("--keep", metavar="COLUMNS", help="Columns to keep, as a,b. Default: all.")
@click.option(
    "--max-rejects", metavar="N|N%", help="Fail when more rows are rejected, such as 100 or 1%."
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--chunk", type=click.IntRange(min=1), default=65536, show_default=True)
@click.option("--restart", is_flag=True, help="Begin anew, though an earlier call was broken off.")
def score(
    model: Any,
    data: Any,
    to: str | None,
    endpoint: str | None,
    keep: str | None,
    max_rejects: str | None,
    workers: int,
    chunk: int,
    restart: bool,
    workspace: Workspace | None,
) -> Any:
    """Score all rows of a source with MODEL; rows that cannot be scored are kept with a reason.

    Broken off at any moment, the same command goes on where it was.
    """
    return mlops.score(
        model,
        data,
        to,
        endpoint=endpoint,
        keep=keep,
        max_rejects=max_rejects,
        workers=workers,
        chunk=chunk,
        restart=restart,
        progress=click.get_current_context().meta[PROGRESS],
        workspace=workspace,
    )


@verb(
    "stream",
    calls=["stream"],
    in_shell="mlops stream flight-delay@champion --source arrivals/ --to scored/ --until-idle 10s",
    in_notebook="%mlops_stream flight-delay@champion --source arrivals.jsonl --to scored.jsonl "
    "--once",
)
@click.argument("model", type=MODEL, required=False)
@click.option(
    "--source",
    required=True,
    help="Folder into which files are moved, a growing .jsonl file, or URL::TABLE.",
)
@click.option("--to", required=True, help="Folder (Parquet), .jsonl file, or URL::TABLE.")
@click.option("--endpoint", type=ENDPOINT, help="Instead of MODEL: the version that it serves.")
@click.option("--key", help="Column that names a row for good; a table's must increase.")
@click.option("--keep", metavar="COLUMNS", help="Columns to keep, as a,b. Default: all.")
@click.option("--poll", type=DURATION, default="1s", show_default=True)
@click.option("--once", is_flag=True, help="End when all that is there now is scored.")
@click.option("--until-idle", type=DURATION, help="End when nothing has come for so long.")
@click.option("--chunk", type=click.IntRange(min=1), default=8192, show_default=True)
def stream(
    model: Any,
    source: str,
    to: str,
    endpoint: str | None,
    key: str | None,
    keep: str | None,
    poll: str,
    once: bool,
    until_idle: str | None,
    chunk: int,
    workspace: Workspace | None,
) -> Any:
    """Score with MODEL what is appended to a source, until Ctrl-C or SIGTERM.

    Every row is delivered once, whatever was killed in between: the same command goes on.
    """
    return mlops.stream(
        model,
        source,
        to,
        endpoint=endpoint,
        key=key,
        keep=keep,
        poll=poll,
        once=once,
        until_idle=until_idle,
        chunk=chunk,
        progress=click.get_current_context().meta[PROGRESS],
        workspace=workspace,
    )
