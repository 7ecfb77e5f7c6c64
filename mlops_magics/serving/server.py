"""The workspace's server as others see it: is it up, start it, stop it, ask it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from mlops_magics.errors import LockTimeout, PortTaken, ServerError, ServerNotRunning
from mlops_magics.serving.census import census
from mlops_magics.serving.folder import ServerFolder, read_json
from mlops_magics.serving.plan import Plan
from mlops_magics.serving.succession import LOCK, launch
from mlops_magics.settings import Settings
from mlops_magics.store.processes import Identity
from mlops_magics.store.workspace import write_atomic

if TYPE_CHECKING:
    import httpx

    from mlops_magics.store.workspace import Workspace

__all__ = ["Server", "find", "processes", "start", "stop", "work_environment"]

_START_SECONDS = 30.0
_HEIR_SECONDS = 10.0
_BACKLOG = 2048
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SINGLE = "_MLOPS_SINGLE_THREADED"
_NAMED = ("supervisor", "gateway", "agent")


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes
    ----------
    supervisor, gateway, agent : Identity or None
        Its processes; None is one that does not run.
    host, port : str, int
        Where it listens.
    started : float
        Seconds since 1970.
    """

    supervisor: Identity | None
    gateway: Identity | None
    agent: Identity | None
    host: str
    port: int
    started: float

    @property
    def url(self) -> str:
        """Base URL."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def find(workspace: Workspace) -> Server | None:
    """Return the workspace's server if its gateway or supervisor runs."""
    found = read_json(workspace.path / "server" / "server.json")
    if found is None:
        return None
    identities = {name: _living(found.get(name)) for name in _NAMED}
    if identities["supervisor"] is None and identities["gateway"] is None:
        return None
    return Server(
        host=str(found["host"]),
        port=int(found["port"]),
        started=float(found["started"]),
        **identities,
    )


def _living(value: dict[str, Any] | None) -> Identity | None:
    identity = Identity.from_dict(value) if value else None
    return identity if identity is not None and identity.alive() else None


def require(workspace: Workspace) -> Server:
    """Return the workspace's server.

    Raises
    ------
    ServerNotRunning
        With the command that starts it.
    """
    server = find(workspace)
    if server is None:
        raise ServerNotRunning(
            "the server is not running", hint=f"start it with: {_start_command(workspace)}"
        )
    return server


def _start_command(workspace: Workspace) -> str:
    """Return the command that brings what was served back; without any there is nothing to ask."""
    plan = Plan.read(workspace.path / "server" / "plan.json")
    return "mlops start" if plan.endpoints else "mlops deploy MODEL"


def start(workspace: Workspace) -> Server:
    """Start the server unless it runs; it is detached and outlives this process.

    A supervisor that was killed is replaced by one that adopts the running processes.

    Raises
    ------
    PortTaken
        Another process listens on the configured port.
    ServerError
        It did not come up; the message has the end of its log.
    """
    with workspace.lock("server", timeout=_START_SECONDS):
        found = find(workspace)
        if found is not None and found.supervisor is not None:
            return found
        folder = ServerFolder.of(workspace)
        workspace.token  # noqa: B018 - made here, before two processes might make it
        if found is not None:
            process = launch(folder, None, environment=_environment(workspace))
            return _await_start(workspace, folder, process)
        if "agent" in processes(workspace):
            # it holds the socket still, and has begun to start a supervisor
            with contextlib.suppress(ServerError):
                return _await_start(workspace, folder, None, _HEIR_SECONDS)
        _end_left(workspace, ("gateway", "supervisor", "agent"))  # they have another socket
        with _listener(workspace, folder) as listener:
            process = launch(folder, listener.fileno(), environment=_environment(workspace))
        return _await_start(workspace, folder, process)


def stop(workspace: Workspace, timeout: float = 60.0) -> int:
    """Drain and end all of the server's processes; return how many there were."""
    with workspace.lock("server", timeout=timeout):
        ended = {one.identity.pid for one in census(workspace.path)}
        end = time.monotonic() + timeout
        while True:
            running = processes(workspace)
            ended |= {identity.pid for identity in running.values()}
            supervisor = running.get("supervisor")
            if supervisor is not None and time.monotonic() < end:
                supervisor.signal(signal.SIGTERM)
                _wait_gone(running.values(), end - time.monotonic())
                continue
            if supervisor is not None:
                supervisor.signal(signal.SIGKILL)
                _wait_gone([supervisor], 5.0)
            # none may come up while its children are ended, or after
            try:
                with workspace.lock(LOCK, timeout=0.1):
                    _end_left(workspace)
                    folder = ServerFolder.of(workspace)
                    folder.server.unlink(missing_ok=True)
                    for path in folder.workers.glob("*.json"):
                        path.unlink(missing_ok=True)
                return len(ended)
            except LockTimeout:
                continue  # one has just begun; it will be in its file in a moment


def _end_left(workspace: Workspace, names: Sequence[str] = ()) -> None:
    """End what a killed supervisor has left: the gateway first, the agent last."""
    # again, for what one of them has started meanwhile
    while left := [one for one in census(workspace.path) if not names or one.name in names]:
        for one in sorted(left, key=lambda one: (one.name != "gateway", one.name == "agent")):
            if one.identity.signal(signal.SIGTERM):
                _wait_gone([one.identity], 15.0)
            one.identity.signal(signal.SIGKILL)
        _wait_gone([one.identity for one in left], 5.0)


def processes(workspace: Workspace) -> dict[str, Identity]:
    """Return all living processes of the server by name: ``supervisor``, ``r7-0`` and so on."""
    folder = workspace.path / "server"
    # read as it stands: of a server whose supervisor and gateway were killed the rest may live
    recorded = read_json(folder / "server.json") or {}
    identities = {name: _living(recorded.get(name)) for name in _NAMED}
    for path in sorted((folder / "workers").glob("*.json")):
        identities[path.stem] = _living((read_json(path) or {}).get("identity"))
    return {name: identity for name, identity in identities.items() if identity is not None}


@contextlib.contextmanager
def connect(workspace: Workspace, timeout: float = 30.0) -> Iterator[httpx.Client]:
    """Open an HTTP client with the workspace's token.

    Raises
    ------
    ServerNotRunning
        The server does not run, or does not answer.
    """
    import httpx

    server = require(workspace)
    headers = {"Authorization": f"Bearer {workspace.token}"}
    try:
        # proxies and such from the environment are not for loopback; it is plain HTTP, and to load
        # certificates would take longer than the request
        with httpx.Client(
            base_url=server.url,
            headers=headers,
            timeout=timeout,
            trust_env=False,
            verify=False,  # noqa: S501 - no TLS, as said above
        ) as client:
            yield client
    except httpx.TransportError as exc:
        raise ServerNotRunning(
            f"the server at {server.url} does not answer: {exc}", hint="see why: mlops doctor"
        ) from exc


def state(workspace: Workspace) -> dict[str, Any]:
    """Ask the gateway what it serves.

    Raises
    ------
    ServerNotRunning, ServerError
        It does not answer, or not with its state.
    """
    with connect(workspace, timeout=5.0) as client:
        response = client.get("/control/state")
    if response.status_code != 200:
        raise ServerError(
            f"the server answered {response.status_code} when asked for its state",
            hint="see why: mlops doctor",
        )
    return dict(response.json())


@contextlib.contextmanager
def _listener(workspace: Workspace, folder: ServerFolder) -> Iterator[socket.socket]:
    """Bind the port before anything is started, so that a taken one is told at once."""
    settings = workspace.settings
    kept = int(folder.port.read_text("ascii")) if folder.port.is_file() else 0
    port = settings.port or kept
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, port))
        except OSError as exc:
            if settings.port or not kept:
                raise PortTaken(
                    f"{settings.host}:{port} is taken by {port_owner(port)}",
                    hint="end that process, or choose another port: MLOPS_PORT=…",
                ) from exc
            listener.bind((settings.host, 0))  # the kept port was only a preference
        listener.listen(_BACKLOG)
        write_atomic(folder.port, f"{listener.getsockname()[1]}\n".encode())
        yield listener


def port_owner(port: int) -> str:
    """Say which process listens on a port."""
    try:
        for connection in psutil.net_connections("tcp"):
            address: Any = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address.port == port:
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return "another process, of another user"
    return "another process"


def _environment(workspace: Workspace) -> dict[str, str]:
    """Return the server's environment: the workspace's settings, nothing of the notebook's."""
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    environment["MLOPS_WORKSPACE"] = str(workspace.path)
    default = Settings()
    for field in dataclasses.fields(Settings):
        value = getattr(workspace.settings, field.name)
        if value != getattr(default, field.name):
            environment[f"MLOPS_{field.name.upper()}"] = str(value)
    # one core for each worker: threads of BLAS and OpenMP spin against the gateway's
    unset = [name for name in _THREADS if name not in environment]
    environment |= dict.fromkeys(unset, "1") | {_SINGLE: ",".join(unset)}
    environment.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return environment


def work_environment() -> dict[str, str]:
    """Return this server process's environment for work that is not serving: with all cores."""
    environment = dict(os.environ)
    for name in environment.pop(_SINGLE, "").split(","):
        environment.pop(name, None)
    return environment


def _await_start(
    workspace: Workspace,
    folder: ServerFolder,
    process: subprocess.Popen[bytes] | None,
    timeout: float = _START_SECONDS,
) -> Server:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = find(workspace)
        if found is not None and found.supervisor is not None:
            with contextlib.suppress(ServerNotRunning):  # not yet; asked again below
                state(workspace)
                if process is not None:
                    _disown(process)
                return found
        status = process.poll() if process is not None else None
        if status:  # 0: another one was first, and is waited for
            raise ServerError(
                f"the server ended at once with status {status}:\n{_tail(folder)}",
                hint=f"its log: {folder.logs / 'supervisor.log'}",
            )
        time.sleep(0.05)
    if process is not None:
        process.terminate()
    raise ServerError(
        f"the server did not come up within {timeout:g} s",
        hint=f"its logs: {folder.logs}",
    )


def _disown(process: subprocess.Popen[bytes]) -> None:
    """Let the process be: it outlives us, and is no zombie of ours when it ends before us."""
    import threading

    threading.Thread(target=process.wait, name="mlops-server-wait", daemon=True).start()


def _tail(folder: ServerFolder) -> str:
    lines = (folder.logs / "supervisor.log").read_text("utf-8", "replace").splitlines()
    return "\n".join(lines[-5:])


def _wait_gone(identities: Any, timeout: float) -> None:
    end = time.monotonic() + timeout
    waiting = list(identities)
    while waiting and time.monotonic() < end:
        waiting = [identity for identity in waiting if identity.alive()]
        if waiting:
            time.sleep(0.02)
