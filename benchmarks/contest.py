"""A contest: servers that are up at once, of which only the one that is measured is awake."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import benchmarks.processes as processes
from benchmarks.load import Measured, Request, load
from benchmarks.peers import Peer, Site
from benchmarks.peers.environments import Unavailable, interpreter
from benchmarks.report import interleaved
from benchmarks.subjects import Subject

__all__ = [
    "ROUNDS",
    "SECONDS",
    "Contest",
    "Figure",
    "Server",
    "deployed",
    "medians",
    "ours",
    "peer",
    "served",
    "stop",
]

ROUNDS = int(os.environ.get("MLOPS_BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("MLOPS_BENCH_SECONDS", "2"))
LONGEST = 15.0
START_SECONDS = 180.0


@dataclass(frozen=True)
class Figure(Measured):
    """What one measurement of one server gave; memory in bytes."""

    memory: int = 0


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes
    ----------
    request : Request
        What it is asked.
    answer : callable
        Takes the predictions out of an answer.
    roots : callable
        The pids from which its processes descend.
    settle : callable
        Waits until what it does after its answers is done.
    """

    name: str
    request: Request
    answer: Callable[[Any], list[Any]]
    roots: Callable[[], list[int]]
    settle: Callable[[], None] = lambda: None

    def tree(self) -> list[Any]:
        """Return its processes."""
        return processes.tree(self.roots())

    def ask(self, timeout: float = 60) -> list[Any]:
        """Return one answer's predictions, whole numbers as int."""
        request = Request(
            self.request.url, self.request.paths, self.request.body, self.request.token
        )
        sent = urllib.request.Request(
            request.url + request.paths[0], request.body.encode(), request.headers
        )
        with urllib.request.urlopen(sent, timeout=timeout) as answer:
            return [int(v) if v == int(v) else v for v in self.answer(json.load(answer))]


class Contest:
    """Servers that are measured side by side.

    Parameters
    ----------
    folder : Path
        For what the load generator reads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, Server] = {}
        self.failures: dict[str, int] = {}
        self.absent: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def enter(self, name: str, start: Any) -> None:
        """Start a server and hold it still; one that cannot be had is noted, with the reason."""
        began = time.monotonic()
        try:
            server = self._stack.enter_context(start)
        except Unavailable as exc:
            self.absent[name] = str(exc)
            print(f"  {name} is left out: {exc}", flush=True)
            return
        self.servers[name] = server
        processes.hold(server.tree())
        print(f"  {name} is up after {time.monotonic() - began:.0f} s", flush=True)

    def agree(self) -> list[Any]:
        """Compare the servers' answers to the same rows, before their speed is."""
        answers: dict[str, list[Any]] = {}
        for name, server in self.servers.items():
            with processes.awake(server.tree()):
                answers[name] = server.ask()
        assert len({json.dumps(answer) for answer in answers.values()}) == 1, answers
        return next(iter(answers.values()))

    def measure(
        self, clients: int, *, rounds: int = ROUNDS, seconds: float = SECONDS
    ) -> dict[str, list[Figure]]:
        """Measure all in turn, round after round, after a warm-up of each."""
        expected: dict[str, float] = {}

        def take(server: Server) -> Figure:
            rate = expected.get(server.name)
            # the slow ones need time for every client to be answered twice and more
            span = 1.0 if rate is None else min(LONGEST, max(seconds, 2.5 * clients / max(rate, 1)))
            with processes.awake(server.tree()):
                found = load(server.request, clients, math.ceil(span), self.folder)
                memory = processes.resident(server.tree())
                server.ask()  # what the last clients left behind is worked off by then
                server.settle()
            if rate is not None:
                self.failures[server.name] = self.failures.get(server.name, 0) + found.failures
            expected[server.name] = found.rate
            return Figure(**asdict(found), memory=memory)

        return interleaved(
            {name: (lambda s=server: take(s)) for name, server in self.servers.items()},
            rounds=rounds,
        )


@contextmanager
def peer(
    kind: Peer, subject: Subject, model: Path, package: Path, folder: Path, rows: int = 1
) -> Iterator[Server]:
    """Start a peer with a pickled pipeline (MLflow's own with its package)."""
    python = interpreter(kind.environment)
    folder = folder / kind.name.replace(" ", "-")
    folder.mkdir()
    site = Site(python, model, package, _free_port(), folder)
    one = "1"  # one core for the model: threads of BLAS and OpenMP spin against the server's
    environment = {
        **os.environ,
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": one,
        "OPENBLAS_NUM_THREADS": one,
        "MKL_NUM_THREADS": one,
        **kind.variables(site),
    }
    environment.pop("PYTHONPATH", None)
    if not kind.environment:
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            kind.command(site),
            cwd=folder,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    request = Request(
        f"http://127.0.0.1:{site.port}", (kind.path,), json.dumps(kind.body(subject, rows))
    )
    server = Server(kind.name, request, kind.answer, lambda: [process.pid])
    try:
        _await(server, process, folder / "log")
        yield server
    finally:
        processes.end(server.tree(), group=process.pid)


@contextmanager
def ours(
    subject: Subject, folder: Path, *, runtime: str = "native", rows: int = 1, name: str = ""
) -> Iterator[Server]:
    """Deploy a pipeline into a workspace of its own."""
    from mlops_magics.store.workspace import Workspace

    folder.mkdir()
    workspace = Workspace.create(str(folder))
    try:
        deployed(subject, workspace, runtime=runtime)
        yield served(name or f"mlops, {runtime}", subject, workspace, [subject.name], rows)
    finally:
        stop(workspace)


def stop(workspace: Any) -> None:
    """Stop our server, which may be held."""
    import mlops_magics as mlops

    processes.release(_all(workspace))
    mlops.stop(workspace=workspace)


def deployed(
    subject: Subject,
    workspace: Any,
    endpoint: str | None = None,
    *,
    runtime: str = "native",
    **options: Any,
) -> Any:
    """Package, register and deploy a pipeline; return the registered version."""
    import mlops_magics as mlops

    data = subject.features.assign(target=subject.target)
    chosen: dict[str, Any] = {} if runtime == "native" else {"runtime": runtime}
    report = mlops.test(subject.pipeline, data, "target", workspace=workspace)
    package = mlops.package(
        subject.pipeline,
        data=data,
        target="target",
        report=report,
        workspace=workspace,
        **chosen,
    )
    manifest = json.loads((Path(package.path) / "mlops" / "manifest.json").read_bytes())
    if manifest.get("runtime", "native") != runtime:
        raise Unavailable(f"{subject.name} is not served by {runtime}: it was not converted")
    version = mlops.register(package, subject.name, workspace=workspace)
    mlops.deploy(version, endpoint, workspace=workspace, **options)
    return version


def served(
    name: str, subject: Subject, workspace: Any, endpoints: list[str], rows: int = 1
) -> Server:
    """Return our server, as it is asked about an endpoint, or several in turn."""
    from mlops_magics.serving import server

    found = server.require(workspace)
    paths = tuple(f"/endpoints/{endpoint}/invocations" for endpoint in endpoints)
    body = json.dumps({"dataframe_split": subject.split(rows)})
    return Server(
        name,
        Request(found.url, paths, body, workspace.token),
        lambda answer: list(answer["predictions"]),
        lambda: [process.pid for process in _all(workspace)],
    )


def _all(workspace: Any) -> list[Any]:
    from mlops_magics.serving import server

    return processes.tree(identity.pid for identity in server.processes(workspace).values())


def _await(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            server.ask(timeout=10)
        except (OSError, urllib.error.URLError, ValueError, KeyError) as exc:
            if process.poll() is not None or time.monotonic() > end:
                tail = " ".join(log.read_text("utf-8", "replace").split("\n")[-4:])
                raise Unavailable(f"it did not start: {exc}; {tail}"[:400]) from exc
            time.sleep(0.3)
        else:
            return


def _free_port() -> int:
    """Return a port that is free, with two free ones after it."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                for further in (1, 2):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + further))
            except (OSError, OverflowError):
                continue
            return port


def medians(taken: Mapping[str, list[Figure]], what: str) -> dict[str, float]:
    """Return each server's median of a figure."""
    import statistics

    return {
        name: statistics.median(getattr(figure, what) for figure in figures)
        for name, figures in taken.items()
    }
