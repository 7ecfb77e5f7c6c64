"""The server's folder ``.mlops/server``: sockets, states, logs and spool of its processes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.store.processes import Identity
from mlops_magics.store.workspace import write_atomic

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["ServerFolder"]


class ServerFolder:
    """Names of everything in ``.mlops/server`` (mode 0700).

    Sockets are named relative to the folder, which is the working directory of the server's
    processes: a socket's path may have about 100 bytes only.

    Parameters
    ----------
    path : Path
        The folder.

    Examples
    --------
    >>> ServerFolder(Path("/p/.mlops/server")).socket(7, 0)
    'sockets/r7-0.sock'
    """

    listener_socket = "sockets/listener.sock"
    """Where the gateway hands its listening socket to a new supervisor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan = path / "plan.json"
        self.server = path / "server.json"
        self.port = path / "port"
        self.spool = path / "spool"
        self.logs = path / "logs"
        self.workers = path / "workers"
        self.environments = path.parent / "environments"

    @classmethod
    def of(cls, workspace: Workspace) -> ServerFolder:
        """Return a workspace's folder, made with all its parts if it is missing."""
        for part in ("sockets", "spool", "logs", "workers"):
            workspace.directory("server", part)
        return cls(workspace.path / "server")

    @staticmethod
    def socket(revision: int, index: int) -> str:
        """Name a worker's socket, relative to the folder."""
        return f"sockets/r{revision}-{index}.sock"

    def state_file(self, revision: int, index: int) -> Path:
        """Name a worker's state file."""
        return self.workers / f"r{revision}-{index}.json"

    def state(self, revision: int, index: int) -> dict[str, Any] | None:
        """Read a worker's state: ``starting``, ``ready`` or ``failed``; None before it began."""
        return read_json(self.state_file(revision, index))

    def is_up(self, revision: int, index: int) -> bool:
        """Whether a worker has loaded its model, and lives."""
        state = self.state(revision, index) or {}
        identity = state.get("identity")
        if state.get("state") != "ready" or identity is None:
            return False
        return Identity.from_dict(identity).alive()

    def up_seconds(self, revision: int, index: int) -> float | None:
        """Return for how long a worker has been ready; None if it is not."""
        state = self.state(revision, index) or {}
        if state.get("state") != "ready":
            return None
        return time.time() - self.state_file(revision, index).stat().st_mtime

    def write_state(self, revision: int, index: int, **state: Any) -> None:
        """Replace a worker's state."""
        write_atomic(self.state_file(revision, index), json.dumps(state).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is no such file."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return dict(value)
