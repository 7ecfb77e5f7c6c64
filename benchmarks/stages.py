"""Where our server's time goes: py-spy's samples of gateway and worker, by stage of a request.

A stage is told by the innermost frame that is in one of our modules; what is in none of them is
uvicorn's, asyncio's and the kernel's part of the HTTP exchange.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.contest import Server
from benchmarks.load import load
from benchmarks.report import table

__all__ = ["Profile", "profile", "text"]

SECONDS = 3
HERTZ = 250

# the first that matches the innermost frame of ours: (stage, pattern of "function (file:line)")
GATEWAY = (
    ("log", r"spool\.py|^_?(log_)?lines? .*(scoring|direct)\.py"),
    ("decode and validate", r"(validation|protocol|invocation|inference)\.py"),
    ("queue, batch, wire", r"(batching|wire|routing)\.py"),
    ("encode, count", r"(scoring|metrics)\.py"),
    ("HTTP", r"(exchange|connection|access|direct|gateway|routes|drain)\.py"),
)
WORKER = (
    ("wire", r"wire\.py|_frame |_exactly "),
    ("model", r"predictors\.py|onnx"),
    ("wire", r"worker\.py"),
)


@dataclass(frozen=True)
class Profile:
    """Microseconds of a core for one request, by stage, and how it waited.

    Attributes
    ----------
    queued, computed : float
        Microseconds that a batch has waited for the worker, and has been there.
    rows : float
        In a batch, on average.
    """

    subject: str
    server: str
    clients: int
    rate: float
    gateway: dict[str, float]
    worker: dict[str, float]
    queued: float
    computed: float
    rows: float


def profile(server: Server, subject: str, clients: int, folder: Path) -> list[Profile]:
    """Profile a server under load; nothing without py-spy."""
    beside = Path(sys.executable).with_name("py-spy")
    spy = str(beside) if beside.exists() else shutil.which("py-spy")
    if spy is None:
        print("  no profile: py-spy is missing (pip install py-spy)", flush=True)
        return []
    with processes.awake(server.tree()):
        spied = []
        for role, module in (("gateway", "serving.gateway"), ("worker", "serving.worker")):
            pid = next(p.pid for p in server.tree() if any(module in a for a in p.cmdline()))
            out = folder / f"{role}.txt"
            command = [spy, "record", "--nonblocking", "-f", "raw", "-r", str(HERTZ)]
            command += ["-d", str(SECONDS), "-o", str(out), "--pid", str(pid)]
            quiet = subprocess.DEVNULL
            spied.append((subprocess.Popen(command, stdout=quiet, stderr=quiet), out))
        time.sleep(0.3)
        before = _metrics(server)
        measured = load(server.request, clients, SECONDS, folder)
        after = _metrics(server)
        for process, _ in spied:
            process.wait(60)
    gained = {key: after.get(key, 0) - before.get(key, 0) for key in after}
    batches = max(gained.get("mlops_compute_duration_seconds_count", 0), 1)
    each = 1e6 / measured.rate / (HERTZ * SECONDS)  # microseconds a request, of one sample
    gateway, worker = (
        {stage: count * each for stage, count in _stages(out, known).items()}
        for (_, out), known in zip(spied, (GATEWAY, WORKER), strict=True)
    )
    return [
        Profile(
            subject,
            server.name,
            clients,
            measured.rate,
            gateway,
            worker,
            gained.get("mlops_queue_duration_seconds_sum", 0) / batches * 1e6,
            gained.get("mlops_compute_duration_seconds_sum", 0) / batches * 1e6,
            gained.get("mlops_batch_rows_sum", 0) / batches,
        )
    ]


def text(profiles: Sequence[Profile]) -> str:
    """Return the table of stages."""
    titles = ["µs a request"]
    titles += [f"{p.subject}, {p.server.split(', ')[-1]}, {p.clients}" for p in profiles]
    rows = [["whole (1/throughput)", *(f"{1e6 / p.rate:,.0f}" for p in profiles)]]
    for role, known in (("gateway", GATEWAY), ("worker", WORKER)):
        for stage in dict.fromkeys([*(name for name, _ in known), "HTTP", "other"]):
            if any(stage in getattr(p, role) for p in profiles):
                found = (f"{getattr(p, role).get(stage, 0):,.0f}" for p in profiles)
                rows.append([f"{role}: {stage}", *found])
    rows.append(["a batch: waits for the worker", *(f"{p.queued:,.0f}" for p in profiles)])
    rows.append(["a batch: wire, model, wire", *(f"{p.computed:,.0f}" for p in profiles)])
    rows.append(["a batch: rows", *(f"{p.rows:,.1f}" for p in profiles)])
    return table(titles, rows)


def _stages(out: Path, known: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Count samples by stage."""
    counts: dict[str, int] = {}
    for line in out.read_text().splitlines() if out.exists() else []:
        stack, _, count = line.rpartition(" ")
        frames = [frame.strip() for frame in stack.split(";")]
        if any("_sync (" in frame for frame in frames):
            continue  # the spool's thread: it waits for the disk
        stage = "HTTP" if known is GATEWAY else "other"
        for frame in reversed(frames):
            found = next((name for name, pattern in known if re.search(pattern, frame)), None)
            if found:
                stage = found
                break
        counts[stage] = counts.get(stage, 0) + int(count)
    return counts


def _metrics(server: Server) -> dict[str, float]:
    """Return the sums of Prometheus's samples by name."""
    request = urllib.request.Request(
        f"{server.request.url}/metrics", headers=server.request.headers
    )
    found: dict[str, Any] = {}
    with urllib.request.urlopen(request, timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            if not line.startswith("#"):
                name, value = re.split(r"[{ ]", line)[0], line.rpartition(" ")[2]
                found[name] = found.get(name, 0.0) + float(value)
    return found
