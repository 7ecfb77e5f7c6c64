"""Stop: the end of the workspace's server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_magics.cards import Badge, Card
from mlops_magics.records import Record
from mlops_magics.serving import server
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
    """

    processes: int

    def card(self) -> Card:
        """Say what was done."""
        if not self.processes:
            return Card("server", badge=Badge("was not running"))
        return Card(
            "server",
            badge=Badge("stopped"),
            notes=[
                f"requests were finished, {self.processes} processes ended",
                "endpoints come back with the next deployment",
            ],
        )


def stop(*, workspace: Workspace | None = None) -> Stopped:
    """Stop the workspace's server: requests are finished, then all its processes end.

    Parameters
    ----------
    workspace : Workspace, optional
        Default: found from the working directory.

    Examples
    --------
    >>> stop(workspace=workspace).processes
    0
    """
    return Stopped(server.stop(resolve(workspace)))
