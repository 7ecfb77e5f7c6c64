"""Logs: logs."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.caller import current
from mlops_magics.cli.parameters import DURATION, ENDPOINT
from mlops_magics.cli.verb import verb
from mlops_magics.records import plain

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["logs"]


@verb(
    "logs",
    calls=["logs"],
    in_shell="mlops logs flight-delay --follow",
    in_notebook="%mlops_logs flight-delay --lines 20",
)
@click.argument("name", type=ENDPOINT, required=False)
@click.option("--lines", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--since", type=DURATION, help="Only this span until now, such as 15m.")
@click.option("--follow", is_flag=True, help="Go on with what is written, until interrupted.")
def logs(
    name: str | None, lines: int, since: str | None, follow: bool, workspace: Workspace | None
) -> Any:
    """Show what the server's processes wrote; of an endpoint NAME, its workers.

    NAME can also be a process: supervisor, gateway, agent, or a worker such as r7-0.
    """
    found = mlops.logs(name, lines=lines, since=since, workspace=workspace)
    if not follow:
        return found
    from mlops_magics.deployment.logs import follow as written
    from mlops_magics.store.workspace import resolve

    as_json = current().as_json
    with contextlib.suppress(KeyboardInterrupt):
        for row in itertools.chain(found, written(name, resolve(workspace))):
            click.echo(json.dumps(plain(row), ensure_ascii=False) if as_json else row.line())
    return None
