"""Attendance: what goes on with deployments while nobody calls a verb.

Two threads of the server's agent, beside the loading of its log: rollouts are advanced, and aliases
are followed. Each has a thread of its own, as a model that takes minutes to load must not keep a
failing canary in service.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from mlops_magics.deployment.advance import advance
from mlops_magics.deployment.following import follow
from mlops_magics.errors import MlopsError

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Attendance"]

_EVERY = 1.0  # seconds between looks
_LONGEST = 15.0  # between tries while the database or the registry is away
_log = logging.getLogger(__name__)


class Attendance:
    """Looks after a workspace's deployments until it is told to stop.

    Parameters
    ----------
    workspace : Workspace
        Whose.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin; the threads end with the process at the latest."""
        for act in (advance, follow):
            thread = threading.Thread(
                target=self._attend, args=(act,), name=f"mlops-{act.__name__}", daemon=True
            )
            thread.start()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stop.set()

    def _attend(self, act: Callable[[Workspace], Any]) -> None:
        wait, failing = _EVERY, ""
        while not self._stop.wait(wait):
            try:
                act(self.workspace)
            except (MlopsError, SQLAlchemyError, OSError) as exc:
                wait = min(_LONGEST, wait * 2)
                reason = str(exc).splitlines()[0]
                if reason != failing:
                    _log.error("cannot %s, next try in %.0f s: %s", act.__name__, wait, reason)
                failing = reason
            except Exception:  # an error of ours must not end all later looks
                wait = _LONGEST
                _log.exception("cannot %s", act.__name__)
            else:
                wait, failing = _EVERY, ""
