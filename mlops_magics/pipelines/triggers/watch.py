"""The watch: the agent looks whether triggers fire, and starts what they ask for."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mlops_magics.errors import DatabaseUnavailable, MlopsError
from mlops_magics.pipelines.attendance import Act
from mlops_magics.pipelines.triggers import firings
from mlops_magics.pipelines.triggers.condition import Watched
from mlops_magics.pipelines.triggers.firings import Hold, Job
from mlops_magics.pipelines.triggers.kinds import conditions
from mlops_magics.serving.server import work_environment
from mlops_magics.store.tables import triggers

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Launcher", "Watch"]

_log = logging.getLogger(__name__)

_REST = 20.0  # times as long as a look has taken is not looked again

Launcher = Callable[["Workspace", Job, Hold], None]
"""Sees to it that a claimed job is worked on by a process that holds its lock."""


class Watch:
    """Looks after a workspace's triggers.

    Parameters
    ----------
    workspace : Workspace
    now : callable
        The clock: seconds since 1970.
    launch : callable, optional
        Starts a job; default: a process of its own.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        now: Callable[[], float] = time.time,
        launch: Launcher | None = None,
    ) -> None:
        self.workspace = workspace
        self._now = now
        self._launch = launch or self._process
        self._conditions = conditions()
        self._looked: dict[int, tuple[float, float]] = {}  # when, and how long not again
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def acts(self) -> tuple[Act, ...]:
        """What the agent does again and again; a slow source holds up no schedule."""
        return (
            Act("keep schedules", self.keep_schedules),
            Act("look for what triggers wait for", self.look),
            Act("start what triggers ask for", self.start_due),
        )

    def keep_schedules(self) -> list[int]:
        """Write down the firings of schedules whose time has come; return them."""
        return self._look_at([one for one in self._triggers() if one.kind == "cron"])

    def look(self) -> list[int]:
        """Write down the firings of all other triggers whose condition holds; return them."""
        now = self._now()
        due = [
            one
            for one in self._triggers()
            # what has happened meanwhile is seen when the cooldown is over
            if one.kind != "cron" and not one.rests(now) and self._is_due(one, now)
        ]
        return self._look_at(due)

    def start_due(self) -> int:
        """Start the firings that are due; return how many."""
        self._processes = [one for one in self._processes if one.poll() is None]
        for firing in firings.take_over(self.workspace, self._now()):
            _log.warning("the process of firing %d is gone; it is tried again", firing)
        claimed = firings.claim(self.workspace, self._now())
        for job, hold in claimed:
            _log.info("firing %d of %s: %s", job.firing, job.trigger.name, job.reason)
            try:
                self._launch(self.workspace, job, hold)
            except OSError as exc:
                _log.error("firing %d cannot be started: %s", job.firing, exc)
                outcome = f"its process could not be started: {exc}"
                firings.fail(self.workspace, job, None, outcome, self._now(), crashed=True)
            finally:
                hold.release()
        return len(claimed)

    def _triggers(self) -> list[Watched]:
        query = (
            sa.select(triggers)
            .where(triggers.c.workspace == self.workspace.id, triggers.c.enabled == 1)
            .order_by(triggers.c.id)
        )
        with self.workspace.database.read() as connection:
            rows = connection.execute(query).all()
        return [Watched.of(self.workspace, row) for row in rows]

    def _is_due(self, trigger: Watched, now: float) -> bool:
        last, pause = self._looked.get(trigger.id, (now, 0.0))
        # a clock that was put back must not stop the looks
        return not 0 <= now - last < pause

    def _look_at(self, watched: list[Watched]) -> list[int]:
        fired = []
        for trigger in watched:
            begun = time.monotonic()
            fired.append(self._fired(trigger))
            spent = time.monotonic() - begun
            # what takes long, such as a folder of a million files, is looked at less often
            pause = max(self._conditions[trigger.kind].every, spent * _REST)
            self._looked[trigger.id] = self._now(), pause
        return [firing for firing in fired if firing is not None]

    def _fired(self, trigger: Watched) -> int | None:
        now = self._now()
        try:
            seen = self._conditions[trigger.kind].look(self.workspace, trigger, now)
        except DatabaseUnavailable:
            raise  # it concerns all of them
        except (MlopsError, OSError) as exc:
            self._tell(trigger, str(exc).splitlines()[0])
            return None
        except Exception as exc:  # one trigger's must not stop the others
            _log.exception("trigger %s cannot look", trigger.name)
            self._tell(trigger, f"{type(exc).__name__}: {exc}")
            return None
        if seen.reason is None:
            firings.remember(self.workspace, trigger, seen=seen.seen)
            return None
        firing = firings.record(self.workspace, trigger, seen, now)
        if firing is not None:
            _log.info("trigger %s fires: %s", trigger.name, seen.reason)
        return firing

    def _tell(self, trigger: Watched, problem: str) -> None:
        if problem != trigger.problem:
            _log.error("trigger %s cannot look: %s", trigger.name, problem)
            firings.remember(self.workspace, trigger, problem=problem)

    def _process(self, workspace: Workspace, job: Job, hold: Hold) -> None:
        environment = work_environment()
        environment["MLOPS_WORKSPACE"] = str(workspace.path)
        log = os.open(hold.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        command = [sys.executable, "-m", "mlops_magics.pipelines.triggers.job"]
        try:
            process = subprocess.Popen(
                [*command, str(job.firing), str(hold.descriptor)],
                cwd=workspace.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(hold.descriptor,),
                start_new_session=True,  # what ends the server does not end the run
            )
        finally:
            os.close(log)
        self._processes.append(process)
