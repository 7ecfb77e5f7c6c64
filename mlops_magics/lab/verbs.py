"""What the browser may ask for: a verb by name, its arguments as JSON, its record as JSON.

No logic is here. A verb is called in a thread, so that Jupyter goes on meanwhile; of several pages
that ask for the same at the same time, one does the work.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlops_magics as mlops
from mlops_magics.errors import InvalidArgument, WorkspaceNotFound
from mlops_magics.store.workspace import Workspace

__all__ = ["Verb", "Verbs"]

FRESH_SECONDS = 0.5
"""For so long an answer that was read is given to others who ask for the same."""


@dataclass(frozen=True)
class Verb:
    """A verb that the browser may call.

    Attributes
    ----------
    arguments : frozenset of str
        Names of the arguments that it may give; the workspace is an argument of all.
    reads : bool
        It changes nothing: who asks at the same time may share the answer.
    """

    arguments: frozenset[str]
    reads: bool = False


OFFERED: Mapping[str, Verb] = {
    "monitor": Verb(frozenset({"endpoint", "last", "since", "until"}), reads=True),
    "rollback": Verb(frozenset({"name"})),
    "acknowledge_alert": Verb(frozenset({"number", "reason"})),
    "traffic": Verb(frozenset({"endpoint", "canary", "promote"})),
}


class Verbs:
    """Calls verbs in the workspaces of the folder that a Jupyter server shows.

    Parameters
    ----------
    root : str or Path
        The server's folder. A workspace in it, or the one above it, may be named; no other.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self._workspaces: dict[Path, Workspace] = {}
        self._reading: dict[str, tuple[float, asyncio.Task[dict[str, Any]]]] = {}

    def workspace(self, named: str | None) -> Workspace:
        """Return the workspace of that path (``…/.mlops``); None: the folder's own.

        Raises
        ------
        WorkspaceNotFound
            There is none, or it is not one of this folder.
        """
        if named is None:
            found = Workspace.find(self.root)
        else:
            path = Path(named).resolve()
            if not self._shown(path) or not (path / "workspace").is_file():
                raise WorkspaceNotFound(
                    f"{named} is no workspace of the folder that this Jupyter server shows",
                    hint=f"start Jupyter in the project's folder; this one shows {self.root}",
                )
            found = Workspace(path.parent, path)
        return self._workspaces.setdefault(found.path, found)

    def _shown(self, path: Path) -> bool:
        if path.is_relative_to(self.root):
            return True
        try:
            return Workspace.find(self.root).path == path
        except WorkspaceNotFound:
            return False

    async def call(
        self, name: str, arguments: Mapping[str, Any], workspace: str | None
    ) -> dict[str, Any]:
        """Call a verb; return its record's values.

        Raises
        ------
        InvalidArgument
            There is no such verb here, or it has no such argument.
        MlopsError
            Whatever the verb raises.
        """
        verb = OFFERED.get(name)
        if verb is None:
            raise InvalidArgument(f"the browser may not call {name!r}")
        unknown = sorted(set(arguments) - verb.arguments)
        if unknown:
            raise InvalidArgument(f"{name} takes no {', '.join(map(repr, unknown))} from a browser")
        place = self.workspace(workspace)
        if not verb.reads:
            try:
                return await asyncio.to_thread(_call, name, arguments, place)
            finally:
                self._reading.clear()  # what was read before is not what came of it
        self._forget()
        key = json.dumps([name, arguments, str(place.path)], sort_keys=True)
        if key not in self._reading:
            task = asyncio.create_task(asyncio.to_thread(_call, name, arguments, place))
            self._reading[key] = (time.monotonic(), task)
        # who leaves must not take the answer from the others
        return await asyncio.shield(self._reading[key][1])

    def _forget(self) -> None:
        now = time.monotonic()
        for key, (began, task) in list(self._reading.items()):
            if task.done() and now - began > FRESH_SECONDS:
                del self._reading[key]


def _call(name: str, arguments: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    record = getattr(mlops, name)(**arguments, workspace=workspace)
    found: dict[str, Any] = record.to_dict()
    return found
