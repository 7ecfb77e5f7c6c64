"""Stop: the end of the workspace's server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mlops_magics.cards import Badge, Card
from mlops_magics.errors import StoreError
from mlops_magics.records import Record
from mlops_magics.serving import server
from mlops_magics.store import tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Stopped", "stop"]


@dataclass(frozen=True)
class Stopped(Record):
    """What was stopped.

    Attributes
    ----------
    processes : int
        How many there were; 0 when the server did not run.
    runs : int
        Runs that triggers have started and that go on to their end.
    """

    processes: int
    runs: int = 0

    def card(self) -> Card:
        """Say what was done."""
        left = [f"{self.runs} pipeline runs go on to their end: mlops trigger history"]
        if not self.processes:
            notes = left if self.runs else []
            return Card("server", badge=Badge("was not running"), notes=notes)
        return Card(
            "server",
            badge=Badge("stopped"),
            notes=[
                f"requests were finished, {self.processes} processes ended",
                "endpoints come back with: mlops start",
                *(left if self.runs else []),
            ],
        )


def stop(*, workspace: Workspace | None = None) -> Stopped:
    """Stop the workspace's server: requests are finished, then all its processes end.

    Pipelines that triggers have started are no part of it: they go on to their end.

    Parameters
    ----------
    workspace : Workspace, optional
        Default: found from the working directory.

    Examples
    --------
    >>> stop(workspace=workspace).processes
    0
    """
    workspace = resolve(workspace)
    processes = server.stop(workspace)
    return Stopped(processes, _runs(workspace))


def _runs(workspace: Workspace) -> int:
    f, t = tables.firings.c, tables.triggers.c
    query = (
        sa.select(sa.func.count())
        .join_from(tables.firings, tables.triggers, f.trigger == t.id)
        .where(t.workspace == workspace.id, f.status == "RUNNING")
    )
    try:
        with workspace.database.read() as connection:
            return int(connection.execute(query).scalar_one())
    except StoreError:
        return 0  # it was stopped all the same
