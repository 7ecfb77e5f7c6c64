"""Succession: the gateway and the agent see a killed supervisor, and start the next one.

Both hold the listening socket, so no connection is refused while one of the three lives. Exactly
one supervisor runs: it holds a lock of the kernel's, which ends with it.

``python -m mlops_magics.serving.succession FD WORKSPACE MODULE`` runs a module (the agent) with a
watch beside it, one step back behind the processes that answer requests.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path

from mlops_magics.serving.folder import ServerFolder, read_json
from mlops_magics.store.processes import Identity

__all__ = ["LOCK", "Watch", "launch"]

LOCK = "supervisor"
"""The workspace's lock that a supervisor holds for its life."""

_LOOK_SECONDS = 0.25
_NICENESS = 10


class Watch:
    """A thread that starts a new supervisor when there is none.

    Parameters
    ----------
    folder : ServerFolder
        Of the server.
    descriptor : int
        The listening socket.
    patience : float
        Seconds for which there must have been none: the agent waits for the gateway to act.
    """

    def __init__(self, folder: ServerFolder, descriptor: int, patience: float = 0.0) -> None:
        self.folder = folder
        self.descriptor = descriptor
        self.patience = patience
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="succession", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch; a supervisor that it has started lives on."""
        self._stopped.set()

    def _run(self) -> None:
        missing_since: float | None = None
        heir: subprocess.Popen[bytes] | None = None
        while not self._stopped.wait(_LOOK_SECONDS):
            now = time.monotonic()
            if heir is not None and heir.poll() is None:
                continue  # it is starting, or it is the supervisor
            if heir is not None:
                heir, missing_since = None, now  # it has ended: another one was first, or killed
            if not orphaned(self.folder):
                missing_since = None
            elif missing_since is None:
                missing_since = now
            if missing_since is not None and now - missing_since >= self.patience:
                try:
                    heir = launch(self.folder, self.descriptor, heir=True)
                except OSError:  # no process to be had just now; tried again
                    missing_since = now


def orphaned(folder: ServerFolder) -> bool:
    """Whether a server is meant to run, but its supervisor does not."""
    try:
        recorded = read_json(folder.server)
    except (OSError, ValueError):
        return False
    if recorded is None or recorded.get("ending"):
        return False
    return not Identity.from_dict(recorded["supervisor"]).alive()


def launch(
    folder: ServerFolder,
    descriptor: int | None,
    *,
    heir: bool = False,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a supervisor, detached from this process.

    Parameters
    ----------
    folder : ServerFolder
        Of the server.
    descriptor : int or None
        The listening socket; None: it is to be had from the gateway.
    heir : bool
        It ends at once if the server was stopped meanwhile.
    environment : dict, optional
        Default: this process's.
    """
    command = [sys.executable, "-m", "mlops_magics.serving.supervision", str(folder.path.parent)]
    command += ["-" if descriptor is None else str(descriptor)]
    command += ["heir"] if heir else []
    log = os.open(folder.logs / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            command,
            cwd=folder.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=() if descriptor is None else (descriptor,),
            start_new_session=True,
        )
    finally:
        os.close(log)


def main(arguments: list[str]) -> None:
    """Watch, and run a module as the main program of this process."""
    descriptor, path, module = int(arguments[0]), Path(arguments[1]), arguments[2]
    os.umask(0o077)
    Watch(ServerFolder(path / "server"), descriptor, patience=2.0).start()
    # Linux counts niceness by thread: what the watch starts is none of the agent's pace
    os.nice(_NICENESS)
    sys.argv = [module, str(path)]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
