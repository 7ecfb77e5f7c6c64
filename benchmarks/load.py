"""Load from outside Python: wrk, or hey where wrk is not to be had."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Measured", "Request", "generator", "load"]

TIMEOUT = 60

_SCRIPT = """\
local file = io.open({body})
local body = file:read("*a")
file:close()
local requests = {{}}
local turn = 0
function init(arguments)
  for _, path in ipairs({{{paths}}}) do
    table.insert(requests, wrk.format("POST", path, {{{headers}}}, body))
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format("figures %d %d %d %f %f\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Request:
    """What is sent over and over.

    Attributes
    ----------
    url : str
        Scheme, host and port.
    paths : tuple of str
        Asked in turn.
    """

    url: str
    paths: tuple[str, ...]
    body: str
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers."""
        given = {"Content-Type": "application/json"}
        return given | ({"Authorization": f"Bearer {self.token}"} if self.token else {})


@dataclass(frozen=True)
class Measured:
    """Answers a second, latencies in milliseconds, and how many requests failed."""

    rate: float
    p50: float
    p99: float
    failures: int = 0


def generator() -> str:
    """Return the load generator that is used.

    Raises
    ------
    SystemExit
        There is none.
    """
    for name in ("wrk", "hey"):
        if shutil.which(name):
            return name
    sys.exit("this benchmark needs a load generator, wrk (or hey); on Debian: apt-get install wrk")


def load(request: Request, clients: int, seconds: float, folder: Path) -> Measured:
    """Keep so many clients asking for a time; each asks again when it has its answer."""
    body = folder / "body.json"
    body.write_text(request.body)
    measure = {"wrk": _wrk, "hey": _hey}[generator()]
    return measure(request, clients, seconds, body)


def _wrk(request: Request, clients: int, seconds: float, body: Path) -> Measured:
    script = body.with_name("post.lua")
    paths = ", ".join(json.dumps(path) for path in request.paths)
    headers = (f"[{json.dumps(key)}] = {json.dumps(v)}" for key, v in request.headers.items())
    script.write_text(
        _SCRIPT.format(body=json.dumps(str(body)), paths=paths, headers=", ".join(headers))
    )
    command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s"]
    out = _run([*command, "--timeout", f"{TIMEOUT}s", "-s", str(script), request.url])
    figures = next(line for line in out.splitlines() if line.startswith("figures"))
    count, microseconds, failures, p50, p99 = (float(text) for text in figures.split()[1:])
    return Measured(count / microseconds * 1e6, p50 / 1000, p99 / 1000, int(failures))


def _hey(request: Request, clients: int, seconds: float, body: Path) -> Measured:
    if len(request.paths) > 1:
        sys.exit("hey asks one path only; this benchmark needs wrk")
    command = ["hey", "-z", f"{max(1, round(seconds))}s", "-c", str(clients), "-t", str(TIMEOUT)]
    command += ["-m", "POST", "-D", str(body), "-o", "csv", "-T", "application/json"]
    if request.token:
        command += ["-H", f"Authorization: Bearer {request.token}"]
    rows = list(csv.DictReader(_run([*command, request.url + request.paths[0]]).splitlines()))
    took = sorted(float(row["response-time"]) for row in rows)
    ended = max(float(row["offset"]) + float(row["response-time"]) for row in rows)
    return Measured(
        len(rows) / ended,
        statistics.median(took) * 1000,
        took[int(len(took) * 0.99)] * 1000,
        sum(row["status-code"] != "200" for row in rows),
    )


def _run(command: list[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{command[0]} ended with {ended.returncode}: {ended.stderr}")
    return ended.stdout
