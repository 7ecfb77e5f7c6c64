"""A step's kernel: forked ahead and waiting, or started by the command of its specification.

The kernel that waits becomes the notebook's when that asks for the Python that it is: it takes on
the command's arguments, environment, working directory and streams before any of IPython is set up,
so that it is what the command would have started.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

__all__ = ["Prepared", "Waiting", "adopt", "fork"]

_LAUNCHER = ["-m", "ipykernel_launcher"]
_PR_SET_PDEATHSIG = 1


class Prepared:
    """A kernel that waits, as its step's process sees it; looks like a ``subprocess.Popen``."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._control = control

    def launch(
        self, command: list[str], environment: Mapping[str, str], folder: str, streams: list[int]
    ) -> None:
        """Have it become what a command would start."""
        request = {"argv": command, "environment": dict(environment), "folder": folder}
        data = json.dumps(request).encode()
        socket.send_fds(self._control, [len(data).to_bytes(8, "big")], streams)
        self._control.sendall(data)
        self._control.close()

    def dismiss(self) -> None:
        """Let it end unused."""
        self._control.close()
        self.wait()

    def poll(self) -> int | None:
        """Return its status if it has ended."""
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its status.

        Raises
        ------
        subprocess.TimeoutExpired
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Waiting:
    """The kernel that waits, as it sees itself."""

    def __init__(self, control: socket.socket, by_place: Iterable[str]) -> None:
        self._control, self._by_place = control, by_place

    def run(self) -> int:
        """Wait for the launch, then be the kernel until its end."""
        size, streams, _, _ = socket.recv_fds(self._control, 8, 2)
        if len(size) < 8:
            return 0  # not needed
        data = b""
        while len(data) < int.from_bytes(size, "big"):
            part = self._control.recv(1 << 16)
            if not part:
                return 0
            data += part
        self._control.close()
        request = json.loads(data)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate([nothing, *streams]):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        for name in self._by_place:
            sys.modules.pop(name, None)
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()  # every kernel has chances of its own
        import ipykernel_launcher  # type: ignore[import-untyped]  # ships no types
        from ipykernel import kernelapp

        sys.argv = [str(ipykernel_launcher.__file__), *request["argv"][3:]]
        # read from the environment when the module was loaded, in the nursery
        kernelapp.launch_new_instance(parent_handle=int(os.environ["JPY_PARENT_PID"]))
        return 0


def fork(by_place: Iterable[str]) -> Prepared | Waiting:
    """Fork a kernel that waits; return it, or in the fork itself what it is.

    Parameters
    ----------
    by_place : iterable of str
        Modules that must be imported again where they are used.
    """
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Prepared(pid, ours)
    ours.close()
    os.setsid()  # as jupyter_client has it: signals go to the kernel and what it has started
    with contextlib.suppress(OSError, AttributeError):
        # whatever becomes of the step's process, its kernel is not left behind
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    return Waiting(theirs, by_place)


def adopt(manager: Any, prepared: Prepared | None) -> None:
    """Let a kernel's manager start it our way, unless its specification has a way of its own."""
    if "kernel_provisioner" in manager.kernel_spec.metadata:
        return
    manager.kernel_id = str(uuid.uuid4())
    manager.provisioner = _Provisioner(
        kernel_id=manager.kernel_id,
        kernel_spec=manager.kernel_spec,
        parent=manager,
    )
    manager.provisioner.prepared = prepared


class _Provisioner(LocalProvisioner):  # type: ignore[misc]  # traitlets are untyped
    """Starts a kernel; takes the one that waits if it is what is asked for."""

    prepared: Prepared | None = None
    status: int | None = None

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        prepared, self.prepared = self.prepared, None
        plain = [part for part in cmd if not part.startswith("-X")]
        if prepared is None or plain[0] != sys.executable or plain[1:3] != _LAUNCHER:
            if prepared is not None:
                prepared.dismiss()
            return await super().launch_kernel(cmd, **kwargs)
        environment = {**(kwargs.get("env") or os.environ), "JPY_PARENT_PID": str(os.getpid())}
        streams = [kwargs.get("stdout") or 1, kwargs.get("stderr") or 2]
        prepared.launch(plain, environment, str(kwargs.get("cwd") or Path.cwd()), streams)
        self.process = prepared
        self.pid = self.pgid = prepared.pid
        self.cwd = kwargs.get("cwd")
        return self.connection_info

    async def poll(self) -> int | None:
        status: int | None = await super().poll()
        if status is not None and self.process is not None:
            self.status = status
        return status

    async def wait(self) -> int | None:
        """Wait for its end, without the tenth of a second that is the default's step."""
        while await self.poll() is None:
            await asyncio.sleep(0.01)
        found: int | None = await super().wait()
        return found
