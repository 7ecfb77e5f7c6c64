"""The process that steps' processes are forked from, with what their notebooks import loaded.

Importing pandas, scikit-learn and MLflow takes each notebook seconds. On Linux one process imports
them once, while the first steps are being looked at; each step's process, and its kernel, is a fork
of it and has them at once. To a notebook nothing is different: only modules are loaded ahead that
say nothing and start nothing when they are imported, never the project's own, and none for a
notebook that changes its environment, ``sys.path`` or what is installed (`dependencies.Code`).

``python -m mlops_magics.pipelines.nursery SOCKET``, started by `Nursery`. It ends when the other
end of the socket is closed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from mlops_magics.pipelines.validating import jsonschema

__all__ = ["Child", "Nursery", "can_fork", "preloadable"]

# loaded in a process that forks they start no threads of their own and say nothing
_PRELOADED = {
    "mlflow",
    "mlops_magics",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "skops",
    "sqlalchemy",
}
# what decides by IPython's presence how it looks, when it is imported
_BY_PLACE = ("tqdm.auto", "tqdm.autonotebook")

_TURN = 0.05  # seconds that one thread waits before another may look

Task = Callable[[], int]


def can_fork() -> bool:
    """Tell whether processes are forked here; elsewhere system libraries do not bear it."""
    return sys.platform == "linux"


def preloadable(imports: Iterable[str]) -> list[str]:
    """Return what of some imports is loaded ahead, sorted.

    Examples
    --------
    >>> preloadable(["sklearn.ensemble", "flights", "pandas", ".rules"])
    ['pandas', 'sklearn.ensemble']
    """
    return sorted({name for name in imports if name.partition(".")[0] in _PRELOADED})


class Child:
    """A step's process that was forked in the nursery; looks like a ``subprocess.Popen``.

    Attributes
    ----------
    stdin, stdout, stderr : files
        The other ends of its pipes.
    """

    def __init__(self, stdin: int, stdout: int, stderr: int, status: int) -> None:
        self.stdin: IO[str] | None = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout: IO[str] | None = os.fdopen(stdout, encoding="utf-8", errors="replace")
        self.stderr: IO[str] | None = os.fdopen(stderr, encoding="utf-8", errors="replace")
        self._status = status
        self._reading = threading.Lock()
        self._told = b""
        self._ended = False

    @property
    def pid(self) -> int | None:
        """Its process id; None when it was never born, because the nursery has ended before."""
        while b"\n" not in self._told and not self._ended:
            self._read(None)
        line = self._told.partition(b"\n")[0]
        return int(line) if b"\n" in self._told else None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end; return its status, None if nobody knows it any more.

        Raises
        ------
        subprocess.TimeoutExpired
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not self._read(left):
                raise subprocess.TimeoutExpired("step", timeout or 0.0)
        lines = self._told.decode().split()
        if len(lines) > 1:
            return int(lines[1])
        # the nursery has ended before it, and will not tell
        while lines and not _gone(int(lines[0])):
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("step", timeout or 0.0)
            time.sleep(0.05)
        return None

    def _read(self, timeout: float | None) -> bool:
        """Read what the nursery tells; say whether it has told something, or has ended."""
        # who listens to the process and who ends it wait for it both
        with self._reading:
            if self._ended:
                return True
            longest = _TURN if timeout is None else min(_TURN, timeout)
            if not select.select([self._status], [], [], longest)[0]:
                return timeout is None or timeout > _TURN
            data = os.read(self._status, 64)
            self._told += data
            if not data:
                self._ended = True
                os.close(self._status)
            return True


def _gone(pid: int) -> bool:
    """Tell whether a process that is no child of this one has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in {"Z", "X"}


class Nursery:
    """The process, as its user sees it.

    Parameters
    ----------
    environment : mapping
        Of all that is forked from it.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlops_magics.pipelines.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(environment),
                start_new_session=True,
            )

    def preload(self, modules: Iterable[str]) -> None:
        """Have modules loaded while nothing else is to be done."""
        self._send({"preload": list(modules)}, [])

    def fork(self, folder: Path, modules: Iterable[str], fresh: bool) -> Child | None:
        """Fork a step's process; None if there is no nursery any more.

        Parameters
        ----------
        folder : Path
            The notebook's: what it has modules of is not loaded ahead.
        modules : iterable of str
            What the notebook imports.
        fresh : bool
            Its kernel is to be started without anything loaded.
        """
        ends = [os.pipe() for _ in range(4)]
        theirs = [ends[0][0], *(writer for _, writer in ends[1:])]
        ours = [ends[0][1], *(reader for reader, _ in ends[1:])]
        request = {"folder": str(folder), "modules": list(modules), "fresh": fresh}
        sent = self._send(request, theirs)
        for descriptor in theirs if sent else [*theirs, *ours]:
            os.close(descriptor)
        return Child(*ours) if sent else None

    def close(self) -> None:
        """End it; what it has forked goes on."""
        self._socket.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:  # it is importing something
            self._process.kill()
            self._process.wait()

    def _send(self, request: Mapping[str, Any], descriptors: list[int]) -> bool:
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
        except OSError:
            return False
        return True


class _Nursery:
    """The process, as it sees itself."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.queue: list[str] = []
        self.loaded: set[str] = set()
        self.speaks = False  # something that was loaded has said something
        self.children: dict[int, int] = {}  # descriptor for the status by pid
        self.wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.own = [self.control.fileno(), self.wake, wake_writer]

    def serve(self) -> Task | None:
        """Fork when asked; in a fork, return what that is to do."""
        while True:
            busy = 0.0 if self.queue else None
            control = self.control.fileno()
            ready, _, _ = select.select([control, self.wake], [], [], busy)
            if self.wake in ready:
                os.read(self.wake, 4096)
                self._reap()
            if control in ready:
                text, descriptors, _, _ = socket.recv_fds(self.control, 1 << 20, 4)
                if not text:
                    return None
                request = json.loads(text)
                if "preload" in request:
                    self.queue += request["preload"]
                elif task := self._fork(request, descriptors):
                    return task
            elif not ready and self.queue:
                self._load(self.queue.pop(0))

    def _fork(self, request: Mapping[str, Any], descriptors: list[int]) -> Task | None:
        if not request["fresh"]:
            for name in request["modules"]:
                self._load(name)
        bare = request["fresh"] or self.speaks or _shadows(Path(request["folder"]))
        *pipes, status = descriptors
        pid = os.fork()
        if pid:
            self.children[pid] = status
            for descriptor in pipes:
                os.close(descriptor)
            with contextlib.suppress(OSError):
                os.write(status, f"{pid}\n".encode())
            return None
        _make_own(pipes, [*self.own, status, *self.children.values()])
        from mlops_magics.pipelines import kernels, step

        # before this process has threads, and before its kernel could inherit anything of a step
        prepared = None if bare else kernels.fork(_BY_PLACE)
        if isinstance(prepared, kernels.Waiting):
            return prepared.run
        return lambda: _finish(step.main(prepared))

    def _reap(self) -> None:
        for pid in list(self.children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                descriptor = self.children.pop(pid)
                with contextlib.suppress(OSError):  # its user may be gone
                    os.write(descriptor, f"{os.waitstatus_to_exitcode(status)}\n".encode())
                os.close(descriptor)

    def _load(self, name: str) -> None:
        """Import a module; note whether it says anything, which a notebook would have to show."""
        if name in self.loaded or self.speaks:
            return
        self.loaded.add(name)
        with tempfile.TemporaryFile() as said:
            kept = [os.dup(1), os.dup(2)]
            for descriptor in (1, 2):
                os.dup2(said.fileno(), descriptor)
            try:
                importlib.import_module(name)
            except ImportError:
                pass  # a function or class, or what is not there: the notebook will tell
            except BaseException:
                self.speaks = True
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                for descriptor, former in zip((1, 2), kept, strict=True):
                    os.dup2(former, descriptor)
                    os.close(former)
            self.speaks |= said.tell() > 0


def _finish(status: int) -> int:
    """End a step's process at once: its runner waits for that."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _shadows(folder: Path) -> bool:
    """Tell whether a folder has modules of the name of what is loaded already."""
    try:
        found = list(os.scandir(folder))
    except OSError:
        return True
    names = {
        entry.name.partition(".")[0]
        for entry in found
        if entry.name.endswith((".py", ".so")) or Path(entry, "__init__.py").is_file()
    }
    return not names.isdisjoint(name.partition(".")[0] for name in sys.modules)


def _make_own(pipes: list[int], foreign: list[int]) -> None:
    """Make a fork a process of its own: session, standard streams, signals."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(pipes):
        os.dup2(descriptor, number)
    for descriptor in {*pipes, *foreign}:
        if descriptor > 2:
            os.close(descriptor)


def main() -> int:
    """Serve until the other end is closed."""
    if sys.path and Path(sys.path[0]) == Path.cwd():
        del sys.path[0]  # put there by -m; a kernel looks into its own working directory
    # as ipykernel sets it, which what is loaded ahead must find
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    nursery = _Nursery(socket.socket(fileno=int(sys.argv[1])))
    jsonschema()
    for name in (
        "mlops_magics.pipelines.kernels",
        "mlops_magics.pipelines.step",
        "ipykernel.ipkernel",
        "ipykernel.kernelapp",
        "papermill",
        "nbclient",
    ):
        importlib.import_module(name)
    import gc

    gc.freeze()  # what is there now stays shared with the forks
    task = nursery.serve()
    if task is None:
        os._exit(0)  # there is nothing to put in order, and much that was loaded
    return task()


if __name__ == "__main__":
    sys.exit(main())
