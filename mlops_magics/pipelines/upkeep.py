"""Upkeep: what the agent does every few seconds beside loading the log.

It notes what workers use of cores and memory in the windows of their revisions, and deletes rows
that are older than their endpoint keeps them.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring import retention, spans, windows
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.plan import Plan
from mlops_magics.serving.resources import Usages
from mlops_magics.store import tables

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Upkeep"]

_SAMPLE_SECONDS = 5.0
_FORGET_SECONDS = 30.0
_TRANSACTIONS = 20  # of deletions in a turn: the log must be loaded too
_ROWS = 500
_WORTH = 0.5  # seconds of cores that are noted also while no request comes

_log = logging.getLogger(__name__)


class Upkeep:
    """Keeps a workspace's records.

    Parameters
    ----------
    workspace : Workspace
        Whose.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._folder = ServerFolder.of(workspace)
        self._usages = Usages(self._folder)
        self._counted: dict[int, float] = {}
        self._sample_at = self._forget_at = 0.0

    def tick(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if now >= self._sample_at:
            self._sample_at = now + _SAMPLE_SECONDS
            self.sample()
        if now >= self._forget_at:
            # not all at once: it goes on in the next turn
            more = self.forget() == _TRANSACTIONS * _ROWS
            self._forget_at = now + (0.0 if more else _FORGET_SECONDS)

    def sample(self) -> None:
        """Note what the workers have used since the last time, and what they hold."""
        plan = Plan.read(self._folder.plan)
        planned = {revision.id: revision for revision in plan.revisions.values()}
        usages = self._usages.read({one.id: one.workers for one in planned.values()})
        start = math.floor(time.time() / windows.SECONDS) * windows.SECONDS
        self._counted = {key: value for key, value in self._counted.items() if key in planned}
        fresh = {key: one for key, one in usages.items() if key not in self._counted}
        # how a worker came up before anybody looked is no part of this window
        self._counted |= {key: one.cpu for key, one in fresh.items()}
        used = {key: one.cpu - self._counted[key] for key, one in usages.items() if one.memory}
        if not used:
            return
        with self.workspace.database.begin() as connection:
            for key, cpu in used.items():
                noted = any(
                    windows.use(
                        connection,
                        planned[key].endpoint,
                        key,
                        at,
                        cpu=cpu,
                        memory=usages[key].memory,
                        insist=at == start and cpu >= _WORTH,
                    )
                    # requests may have come in the window that has just ended
                    for at in (start, start - windows.SECONDS)
                )
                if noted:
                    self._counted[key] = usages[key].cpu

    def forget(self) -> int:
        """Delete rows that are too old, some at a time; return how many."""
        t = tables.endpoints.c
        with self.workspace.database.read() as connection:
            found = connection.execute(
                sa.select(t.name, t.settings).where(t.workspace == self.workspace.id)
            ).all()
        count = turns = 0
        for row in found:
            kept = self._kept(row.settings)
            while kept is not None and turns < _TRANSACTIONS:
                turns += 1
                with self.workspace.database.begin() as connection:
                    gone = retention.forget(connection, row.name, time.time() - kept, _ROWS)
                count += gone
                if gone < _ROWS:
                    break
        return count

    def _kept(self, settings: dict[str, object] | None) -> float | None:
        """For how many seconds an endpoint's rows are kept; its own word, else the setting."""
        policy = (settings or {}).get("log") or {}
        if isinstance(policy, dict) and "retention" in policy:
            return None if policy["retention"] is None else float(policy["retention"])
        general = self.workspace.settings.retention
        if not general:
            return None
        try:
            return spans.seconds(general)
        except InvalidArgument as exc:
            _log.error("the setting retention: %s; nothing is deleted", exc.message)
            return None
