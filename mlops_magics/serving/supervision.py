"""The supervisor: owns the listening socket, keeps the gateway, the agent and the workers running.

``python -m mlops_magics.serving.supervision WORKSPACE FD [heir]``. It does nothing else and imports
little, so that little can go wrong in it. If it is killed, its children serve on; a new one, which
they start, gets the listening socket from them and adopts them (``serving/succession.py``).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from mlops_magics.errors import LockTimeout
from mlops_magics.serving.census import census
from mlops_magics.serving.child import CRASHES, Child
from mlops_magics.serving.folder import ServerFolder, read_json
from mlops_magics.serving.logs import LogFiles
from mlops_magics.serving.plan import Plan, PlanFile, PlannedRevision
from mlops_magics.serving.succession import LOCK
from mlops_magics.store.processes import Identity
from mlops_magics.store.workspace import Workspace, write_atomic

__all__ = ["Supervisor", "main"]

_log = logging.getLogger("mlops_magics.supervision")

_TICK = 0.05
_LOAD_FAILED = 3
_GRACE, _KILL_AFTER = 1.0, 20.0
_LOOK_AT_MEMORY = 0.5
_SUCCEED_SECONDS = 1.0
_TRIM_SECONDS = 10.0
_GATEWAY, _AGENT = "gateway", "agent"


@dataclass
class _Leaving:
    """A process on its way out, and how far it has been asked to go."""

    child: Child
    since: float
    told: bool = False


class Supervisor:
    """Makes the running processes what the plan says.

    Parameters
    ----------
    workspace : Workspace
        Whose server this is.
    listener : socket.socket
        Bound and listening.
    heir : bool
        It follows one that was killed: workers that were given up stay so.
    """

    def __init__(
        self, workspace: Workspace, listener: socket.socket, *, heir: bool = False
    ) -> None:
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
        agent = ["mlops_magics.serving.succession", str(descriptor), path]
        self.agent = Child(_AGENT, [*agent, "mlops_magics.pipelines.agent"], [descriptor])
        self.workers: dict[tuple[int, int], Child] = {}
        self._leaving: list[_Leaving] = []
        self._heir = heir
        self._memory_at = 0.0
        self._logs, self._trim_at = LogFiles(self.folder.logs), 0.0
        # a batch may take as long as a worker may be silent
        self._leave_within = _KILL_AFTER + workspace.settings.worker_timeout
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
        """Take over what runs, also what no file names: its parent was killed before it could."""
        recorded = read_json(self.folder.server) or {}
        self._write(recorded)  # ours from now on; what else it says holds until we have looked
        self._follow_plan()
        wanted = {child.name: child for child in (self.gateway, self.agent)}
        wanted |= {child.name: child for child in self.workers.values()}
        named = {name: (recorded.get(name) or {}).get("pid") for name in (_GATEWAY, _AGENT)}
        states = {path.stem: read_json(path) or {} for path in self.folder.workers.glob("*.json")}
        named |= {name: (one.get("identity") or {}).get("pid") for name, one in states.items()}
        # of two, the one that a file names
        living = sorted(
            census(self.workspace.path), key=lambda one: one.identity.pid != named.get(one.name)
        )
        for one in living:
            child = wanted.get(one.name)
            if child is None or child.identity is not None:
                child = Child(one.name, [])
                self._leaving.append(_Leaving(child, time.monotonic()))
            child.adopt(one.identity)
        for name, state in states.items():
            kept = wanted.get(name)
            if kept is None:
                self._forget(name)
            elif kept.identity is None and state.get("state") == "failed":
                kept.given_up = self._heir

    def _tick(self) -> None:
        now = time.monotonic()
        self._follow_plan()
        for child in (self.gateway, self.agent):
            self._keep(child, now)
        for (revision, index), child in self.workers.items():
            if not child.given_up:
                self._keep_worker(child, revision, index, now)
        memory = self.workspace.settings.worker_memory
        if memory and now >= self._memory_at:
            self._memory_at = now + _LOOK_AT_MEMORY
            for child in self.workers.values():
                child.hold_to(memory, now)
        if now >= self._trim_at:
            self._trim_at = now + _TRIM_SECONDS
            self._logs.trim({child.name for child in self.workers.values()})
        for one in list(self._leaving):
            if not one.child.running():
                self._leaving.remove(one)
                self._forget(one.child.name)
            elif now - one.since > self._leave_within:
                one.child.signal(signal.SIGKILL)
            elif now - one.since > _GRACE and not one.told:
                one.told = True
                one.child.signal(signal.SIGTERM)
        self._write()

    def _forget(self, name: str) -> None:
        """Remove the state of a worker that is gone for good."""
        if name not in {child.name for child in self.workers.values()}:
            (self.folder.workers / f"{name}.json").unlink(missing_ok=True)

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
            child.crashed(now, self.folder.up_seconds(revision, index))
            if child.crashes_too_often(now):
                child.given_up = True
                self.folder.write_state(
                    revision,
                    index,
                    state="failed",
                    reason=f"the worker {child.ended()}, {CRASHES} times in a row",
                )
                return
            self.folder.write_state(revision, index, state="starting", reason=child.ended())
        if child.python and not Path(child.python).exists():
            child.given_up = True
            reason = "its environment is gone; deploy it again"
            self.folder.write_state(revision, index, state="failed", reason=reason)
        elif now >= child.start_at:
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
            self._leaving.append(_Leaving(child, time.monotonic()))
        for key, revision in wanted.items():
            if key not in self.workers:
                self.workers[key] = _worker(self.workspace, revision, key[1])

    def _write(self, known: Mapping[str, Any] | None = None) -> None:
        """Write ``server.json`` when a process in it has changed."""
        known = known or {}
        value: dict[str, Any] = {
            "supervisor": self._identity.to_dict(),
            "host": self.host,
            "port": self.port,
            "started": self.started,
            "ending": self._ending,
        }
        for child in (self.gateway, self.agent):
            value[child.name] = (
                child.identity.to_dict() if child.identity else known.get(child.name)
            )
        data = json.dumps(value).encode()
        if data != self._written:
            write_atomic(self.folder.server, data)
            self._written = data

    def _drain(self) -> None:
        _log.info("draining")
        self._ending = True
        with contextlib.suppress(OSError):  # no space, or no folder: it ends all the same
            self._write()
        # the gateway first: it answers what it has taken, for which it needs the workers;
        # the agent last: it loads what the gateway has logged
        self._finish([self.gateway])
        with contextlib.suppress(OSError):  # the gateway has done it, unless it was killed
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._finish([*self.workers.values(), *(one.child for one in self._leaving)])
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
    command += [str(revision.id), str(index), revision.package, revision.runtime or "native"]
    return Child(f"r{revision.id}-{index}", command, python=revision.python)


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
    path, descriptor, heir = Path(arguments[0]), arguments[1], "heir" in arguments[2:]
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    workspace = Workspace(path.parent, path)
    folder = ServerFolder.of(workspace)
    os.chdir(folder.path)  # sockets are named relative to it
    try:
        with workspace.lock(LOCK, timeout=_SUCCEED_SECONDS):
            if heir and (read_json(folder.server) or {"ending": True}).get("ending"):
                _log.info("the server was stopped; there is nothing to succeed to")
                return 0
            inherited = descriptor != "-"
            listener = socket.socket(fileno=int(descriptor)) if inherited else take_back(folder)
            with listener:
                Supervisor(workspace, listener, heir=heir or not inherited).run()
    except LockTimeout:
        _log.info("another supervisor runs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
