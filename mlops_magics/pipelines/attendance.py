"""Attendance: what the agent does again and again, beside loading its log.

Each act has a thread of its own, as a model that takes minutes to load must not keep a failing
canary in service, nor a slow data source a schedule.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from mlops_magics.errors import MlopsError

__all__ = ["Act", "Attendance"]

_LONGEST = 15.0  # between tries while the database or the registry is away
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Act:
    """Something that is done again and again.

    Attributes
    ----------
    name : str
        As a log says it: "cannot NAME".
    do : callable
        Does it once; what it returns is passed over.
    every : float
        Seconds between the end of one and the next.
    """

    name: str
    do: Callable[[], object]
    every: float = 1.0


class Attendance:
    """Does acts until it is told to stop; one that fails is tried again, less and less often.

    Parameters
    ----------
    acts : sequence of Act

    Examples
    --------
    >>> done = threading.Event()
    >>> attendance = Attendance([Act("look", done.set, every=0.01)])
    >>> attendance.start()
    >>> done.wait(10)
    True
    >>> attendance.stop()
    """

    def __init__(self, acts: Sequence[Act]) -> None:
        self.acts = tuple(acts)
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin; the threads end with the process at the latest."""
        for act in self.acts:
            thread = threading.Thread(
                target=self._attend, args=(act,), name=f"mlops-{act.name}", daemon=True
            )
            thread.start()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stop.set()

    def _attend(self, act: Act) -> None:
        wait, failing = act.every, ""
        while not self._stop.wait(wait):
            try:
                act.do()
            except (MlopsError, SQLAlchemyError, OSError) as exc:
                wait = max(act.every, min(_LONGEST, wait * 2))
                reason = str(exc).splitlines()[0]
                if reason != failing:
                    _log.error("cannot %s, next try in %.0f s: %s", act.name, wait, reason)
                failing = reason
            except Exception:  # an error of ours must not end all later looks
                wait = max(act.every, _LONGEST)
                _log.exception("cannot %s", act.name)
            else:
                if failing:
                    _log.warning("can %s again", act.name)
                wait, failing = act.every, ""
