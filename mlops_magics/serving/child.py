"""A child of the supervisor: a process that is kept running."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

import psutil

from mlops_magics.serving import interpreters
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.store.processes import Identity

__all__ = ["CRASHES", "Child"]

_log = logging.getLogger("mlops_magics.supervision")

CRASHES, WITHIN = 5, 60.0
"""So many crashes in so many seconds end a worker for good; time to come up is not counted."""

_SETTLED_UP = 30.0
_SETTLED = 5.0  # a process that has lived so long is started again at once
_LONGEST_WAIT = 5.0
_KILLED_WAIT = 0.2
_MEMORY_GRACE = 5.0


class Child:
    """A process that is kept running: ours, or one that a dead supervisor has left.

    Parameters
    ----------
    name : str
        ``gateway``, ``agent`` or ``r7-0``.
    command : sequence of str
        Arguments of ``python -m``.
    pass_fds : sequence of int
        Descriptors that it inherits.
    python : str
        Interpreter of an environment of its own; empty: this one.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        pass_fds: Sequence[int] = (),
        python: str = "",
    ) -> None:
        self.name = name
        self.python = python
        self.command = list(command)
        self.pass_fds = tuple(pass_fds)
        self.identity: Identity | None = None
        self.status: int | None = None
        self.crashes: deque[tuple[float, float]] = deque(maxlen=CRASHES)
        self.start_at = 0.0
        self.given_up = False
        self._popen: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._streak = 0
        self._sentence: str | None = None
        self._sentenced = 0.0

    def start(self, folder: ServerFolder) -> None:
        """Start the process; its output goes to its log."""
        with (folder.logs / f"{self.name}.log").open("ab") as log:
            self._popen = subprocess.Popen(
                [self.python or sys.executable, "-m", *self.command],
                cwd=folder.path,
                env=interpreters.environ(folder.environments) if self.python else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.pass_fds,
            )
        self.identity = Identity.of(self._popen.pid)
        self.status = None
        self._sentence = None
        self._began = time.monotonic()
        _log.info("%s started, pid %d", self.name, self._popen.pid)

    def adopt(self, identity: Identity) -> None:
        """Take over a process that a dead supervisor has started."""
        self.identity = identity
        self._popen = None
        _log.info("%s adopted, pid %d", self.name, identity.pid)

    def running(self) -> bool:
        """Whether it runs; sets :attr:`status` when it has ended."""
        if self.identity is None:
            return False
        if self._popen is not None:
            self.status = self._popen.poll()
            alive = self.status is None
        else:
            alive = self.identity.alive()
        if not alive:
            self.identity = None
        return alive

    def ended(self) -> str:
        """Say how it ended."""
        if self._sentence is not None:
            return self._sentence
        if self.status is None:
            return "ended"
        if self.status == -signal.SIGALRM:
            return "did not answer a batch in time"
        if self.status < 0:
            return f"ended by {signal.Signals(-self.status).name}"
        return f"ended with status {self.status}"

    def signal(self, number: int) -> None:
        """Send a signal if it still is that process."""
        if self.identity is not None:
            self.identity.signal(number)

    def hold_to(self, memory: int, now: float) -> None:
        """End it if it holds more than so many bytes: after its batch, or by force 5 s later."""
        if self.identity is None:
            return
        if self._sentence is not None:
            if now - self._sentenced > _MEMORY_GRACE:
                self.signal(signal.SIGKILL)
            return
        try:
            held = int(psutil.Process(self.identity.pid).memory_info().rss)
        except psutil.Error:
            return
        if held > memory:
            mebi = 1024 * 1024
            self._sentence = (
                f"held {held // mebi} MiB of memory, more than the {memory // mebi} MiB "
                "that the setting worker_memory allows"
            )
            self._sentenced = now
            _log.error("%s %s", self.name, self._sentence)
            # the second one means: not when idle, but after this batch
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGTERM)

    def crashed(self, now: float, up: float | None = None) -> None:
        """Note a crash: one that follows soon on a start makes the next start wait longer.

        Parameters
        ----------
        now : float
            The monotonic clock.
        up : float, optional
            Seconds for which a worker was ready; None: it never was, or it is no worker.
        """
        lived = now - self._began
        # a model that takes long to come up and then goes wrong at once takes longer for as many
        soon = self.status not in (None, -signal.SIGKILL) and (up is None or up < _SETTLED_UP)
        self.crashes.append((now, lived if soon or self._sentence else 0.0))
        self._streak = 0 if lived > _SETTLED else self._streak + 1
        waits = self._streak > 1
        # who was killed by another has done nothing wrong
        killed = self.status == -signal.SIGKILL and self._sentence is None
        longest = _KILLED_WAIT if killed else _LONGEST_WAIT
        self.start_at = now + (min(0.1 * 2**self._streak, longest) if waits else 0.0)

    def crashes_too_often(self, now: float) -> bool:
        """Whether starting it again is pointless."""
        # the first one may have lived long before
        within = WITHIN + sum(longer for _, longer in list(self.crashes)[1:])
        return len(self.crashes) == CRASHES and now - self.crashes[0][0] < within
