"""The supervisor: owns the listening socket, keeps the gateway, the agent and the workers running.

``python -m mlops_magics.serving.supervision WORKSPACE [FD]``. It does nothing else and imports
little, so that little can go wrong in it. If it is killed, its children serve on; a new one takes
the listening socket back from the gateway and adopts them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from mlops_magics.serving.folder import ServerFolder, read_json
from mlops_magics.serving.plan import Plan, PlanFile, PlannedRevision
from mlops_magics.store.processes import Identity
from mlops_magics.store.workspace import Workspace, write_atomic

__all__ = ["Child", "Supervisor", "main"]

_log = logging.getLogger("mlops_magics.supervision")

_TICK = 0.05
_CRASHES, _WITHIN = 5, 60.0  # so many crashes in so many seconds end a worker for good
_LOAD_FAILED = 3
_GRACE, _KILL_AFTER = 1.0, 20.0
_GATEWAY, _AGENT = "gateway", "agent"


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
    niceness : int
        How far it steps back behind others when the cores are busy.
    """

    def __init__(
        self, name: str, command: Sequence[str], pass_fds: Sequence[int] = (), niceness: int = 0
    ) -> None:
        self.name = name
        self.niceness = niceness
        self.command = list(command)
        self.pass_fds = tuple(pass_fds)
        self.identity: Identity | None = None
        self.status: int | None = None
        self.crashes: deque[float] = deque(maxlen=_CRASHES)
        self.start_at = 0.0
        self.given_up = False
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self, folder: ServerFolder) -> None:
        """Start the process; its output goes to its log."""
        with (folder.logs / f"{self.name}.log").open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *self.command],
                cwd=folder.path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.pass_fds,
            )
        if self.niceness:
            os.setpriority(os.PRIO_PROCESS, self._popen.pid, self.niceness)
        self.identity = Identity.of(self._popen.pid)
        self.status = None
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

    def crashed(self, now: float) -> None:
        """Note a crash: the next start waits longer with each crash of the last minute."""
        self.crashes.append(now)
        recent = [moment for moment in self.crashes if now - moment < _WITHIN]
        self.start_at = now + (0.0 if len(recent) == 1 else min(0.1 * 2 ** len(recent), 5.0))

    def crashes_too_often(self, now: float) -> bool:
        """Whether starting it again is pointless."""
        return len(self.crashes) == _CRASHES and now - self.crashes[0] < _WITHIN


class Supervisor:
    """Makes the running processes what the plan says.

    Parameters
    ----------
    workspace : Workspace
        Whose server this is.
    listener : socket.socket
        Bound and listening.
    """

    def __init__(self, workspace: Workspace, listener: socket.socket) -> None:
        self.workspace = workspace
        self.folder = ServerFolder.of(workspace)
        self.listener = listener
        self.host, self.port = listener.getsockname()[:2]
        self.started = time.time()
        self.plan = Plan()
        self._plan_file = PlanFile(self.folder.plan)
        descriptor = listener.fileno()
        path = str(workspace.path)
        gateway = ["mlops_magics.serving.gateway", str(descriptor), str(self.port), path]
        self.gateway = Child(_GATEWAY, gateway, [descriptor])
        # what it does can wait; requests cannot
        self.agent = Child(_AGENT, ["mlops_magics.pipelines.agent", path], niceness=10)
        self.workers: dict[tuple[int, int], Child] = {}
        self._leaving: list[tuple[Child, float]] = []
        self._ending = False
        self._written = b""
        self._identity = Identity.of()

    def run(self) -> None:
        """Supervise until SIGTERM, or until the workspace is removed; then drain."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._adopt()
        # without its folder nobody could find this server any more, to use or to stop it
        while not self._ending and self.folder.path.is_dir():
            try:
                self._tick()
            except OSError as exc:
                # no space for a state file, no process to be had: tried again
                _log.error("cannot supervise just now: %s", exc)
                time.sleep(_GRACE)
            time.sleep(_TICK)
        self._drain()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _adopt(self) -> None:
        before = read_json(self.folder.server) or {}
        for child in (self.gateway, self.agent):
            _adopt(child, before.get(child.name))
        self._follow_plan()
        wanted = {child.name: child for child in self.workers.values()}
        for path in self.folder.workers.glob("*.json"):
            child = wanted.get(path.stem) or Child(path.stem, [])
            _adopt(child, (read_json(path) or {}).get("identity"))
            if path.stem not in wanted:
                # it was on its way out
                self._leaving.append((child, time.monotonic()))

    def _tick(self) -> None:
        now = time.monotonic()
        self._follow_plan()
        for child in (self.gateway, self.agent):
            self._keep(child, now)
        for (revision, index), child in self.workers.items():
            if not child.given_up:
                self._keep_worker(child, revision, index, now)
        for entry in list(self._leaving):
            child, since = entry
            if not child.running():
                self._leaving.remove(entry)
                (self.folder.workers / f"{child.name}.json").unlink(missing_ok=True)
            elif now - since > _KILL_AFTER:
                child.signal(signal.SIGKILL)
            elif now - since > _GRACE:
                child.signal(signal.SIGTERM)
        self._write()

    def _keep(self, child: Child, now: float) -> None:
        had = child.identity is not None
        if child.running():
            return
        if had:
            _log.error("%s %s", child.name, child.ended())
            child.crashed(now)
        if now >= child.start_at:
            child.start(self.folder)

    def _keep_worker(self, child: Child, revision: int, index: int, now: float) -> None:
        had = child.identity is not None
        if child.running():
            return
        if had:
            _log.error("%s %s", child.name, child.ended())
            if child.status == _LOAD_FAILED:
                child.given_up = True  # its own state file has the reason
                return
            child.crashed(now)
            if child.crashes_too_often(now):
                child.given_up = True
                self.folder.write_state(
                    revision,
                    index,
                    state="failed",
                    reason=f"the worker {child.ended()}, {_CRASHES} times within a minute",
                )
                return
            self.folder.write_state(revision, index, state="starting", reason=child.ended())
        if now >= child.start_at:
            child.start(self.folder)

    def _follow_plan(self) -> None:
        try:
            plan = self._plan_file.changed()
        except (OSError, ValueError) as exc:
            _log.error("the plan cannot be read: %s", exc)
            return
        if plan is None:
            return
        self.plan = plan
        wanted = {
            (revision.id, index): revision
            for revision in plan.revisions.values()
            for index in range(revision.workers)
        }
        for key in [key for key in self.workers if key not in wanted]:
            child = self.workers.pop(key)
            # the gateway lets go of it first
            self._leaving.append((child, time.monotonic()))
        for key, revision in wanted.items():
            if key not in self.workers:
                self.workers[key] = _worker(self.workspace, revision, key[1])

    def _write(self) -> None:
        """Write ``server.json`` when a process in it has changed."""
        value: dict[str, Any] = {
            "supervisor": self._identity.to_dict(),
            "host": self.host,
            "port": self.port,
            "started": self.started,
        }
        for child in (self.gateway, self.agent):
            value[child.name] = child.identity.to_dict() if child.identity else None
        data = json.dumps(value).encode()
        if data != self._written:
            write_atomic(self.folder.server, data)
            self._written = data

    def _drain(self) -> None:
        _log.info("draining")
        # the gateway first: it answers what it has taken, for which it needs the workers;
        # the agent last: it loads what the gateway has logged
        self.listener.close()
        self._finish([self.gateway])
        self._finish([*self.workers.values(), *(child for child, _ in self._leaving)])
        self._finish([self.agent])
        for path in self.folder.workers.glob("*.json"):
            path.unlink(missing_ok=True)
        self.folder.server.unlink(missing_ok=True)
        _log.info("ended")

    def _finish(self, children: list[Child]) -> None:
        for child in children:
            child.signal(signal.SIGTERM)
        end = time.monotonic() + _KILL_AFTER
        while any(child.running() for child in children):
            if time.monotonic() > end:
                for child in children:
                    child.signal(signal.SIGKILL)
            time.sleep(0.02)


def _worker(workspace: Workspace, revision: PlannedRevision, index: int) -> Child:
    command = ["mlops_magics.serving.worker", str(workspace.path)]
    command += [str(revision.id), str(index), revision.package]
    return Child(f"r{revision.id}-{index}", command)


def _adopt(child: Child, recorded: dict[str, Any] | None) -> None:
    if recorded is not None:
        identity = Identity.from_dict(recorded)
        if identity.alive():
            child.adopt(identity)


def take_back(folder: ServerFolder) -> socket.socket:
    """Get the listening socket from the gateway of a supervisor that was killed.

    Raises
    ------
    OSError
        There is no gateway that answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(5)
        channel.connect(ServerFolder.listener_socket)
        _, descriptors, _, _ = socket.recv_fds(channel, 16, 1)
    if not descriptors:
        raise ConnectionError("the gateway gave no socket")
    return socket.socket(fileno=descriptors[0])


def main(arguments: list[str]) -> int:
    """Supervise a workspace's server on an inherited socket, or on the one the gateway holds."""
    path = Path(arguments[0])
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    workspace = Workspace(path.parent, path)
    folder = ServerFolder.of(workspace)
    os.chdir(folder.path)  # sockets are named relative to it
    given = len(arguments) > 1
    listener = socket.socket(fileno=int(arguments[1])) if given else take_back(folder)
    with listener:
        Supervisor(workspace, listener).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
