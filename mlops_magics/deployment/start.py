"""Start: the workspace's server comes up, with the endpoints that it served before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_magics.cards import Badge, Card, Code
from mlops_magics.deployment import plan
from mlops_magics.records import Record
from mlops_magics.serving import server
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.plan import Plan
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Started", "start"]


@dataclass(frozen=True)
class Started(Record):
    """A server that runs.

    Attributes
    ----------
    url : str
        Where it listens.
    running : bool
        Whether it ran already.
    endpoints : tuple of str
        What it serves.
    """

    url: str
    running: bool
    endpoints: tuple[str, ...] = ()

    def card(self) -> Card:
        """Say where it is and what it serves."""
        return Card(
            "server",
            badge=Badge("runs already") if self.running else Badge("started", "good"),
            facts=[("address", Code(self.url)), ("endpoints", list(self.endpoints) or None)],
            next=["mlops status"],
        )


def start(*, workspace: Workspace | None = None) -> Started:
    """Start the workspace's server: its endpoints answer, its triggers fire.

    A deployment and a trigger start it by themselves; this is for after a `stop`, or after the
    machine has come up again. It is detached: closing the notebook or the shell does not end it.

    Parameters
    ----------
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    PortTaken
        Another process listens on the configured port.
    ServerError
        It did not come up; the message has the end of its log.

    Examples
    --------
    >>> from mlops_magics.deployment.stop import stop
    >>> start(workspace=workspace).running, start(workspace=workspace).running
    (False, True)
    >>> stop(workspace=workspace).processes
    3
    """
    workspace = resolve(workspace)
    before = server.find(workspace)
    running = before is not None and before.supervisor is not None
    if not running:
        plan.project(workspace)  # what was deployed or taken away meanwhile
    found = server.start(workspace)
    endpoints = Plan.read(ServerFolder.of(workspace).plan).endpoints
    return Started(found.url, running, tuple(sorted(endpoints)))
