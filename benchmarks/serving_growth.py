"""How does serving bear growth: of columns, endpoints, versions, requests and the inference table?

m1 under 32 clients (4 for the large requests), native runtime, log on unless said. Where two of our
own endpoints are compared they are on one server, asked in turn, and the log is loaded to its end
before each measurement. ``MLOPS_BENCH_LOGGED`` (1,000,000) is how many predictions a long-used
table has; rounds and seconds as in ``serving``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import processes, subjects
from benchmarks.contest import Contest, Figure, Server, deployed, medians, served, stop
from benchmarks.load import generator
from benchmarks.peers import PEERS
from benchmarks.report import spread, table, write
from benchmarks.serving import enter, peers_versions, told_as
from benchmarks.subjects import Subject

CLIENTS = 32
LARGE_CLIENTS = 4
ROWS = 1000
LOGGED = int(os.environ.get("MLOPS_BENCH_LOGGED", "1000000"))
LOG_BAR = 0.9

Taken = dict[str, list[Figure]]


def main() -> None:
    generator()
    taken: dict[str, Taken] = {}
    failures: dict[str, int] = {}
    absent: dict[str, str] = {}
    subject = subjects.m1()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, contest in within(subject, folder):
            taken[title] = contest.measure(CLIENTS)
            print(f"  {title}: {told_as(medians(taken[title], 'rate'))}", flush=True)
            failures |= {f"{title}, {key}": n for key, n in contest.failures.items() if n}
        for title, other, rows, clients in (
            ("300 columns", subjects.m1(times=10), 1, CLIENTS),
            (f"{ROWS} rows a request", replace_rows(subject), ROWS, LARGE_CLIENTS),
        ):
            place = folder / title.replace(" ", "-")
            place.mkdir()
            with Contest(place) as contest:
                enter(contest, other, place, kinds=PEERS, rows=rows)
                contest.agree()
                taken[title] = contest.measure(clients)
                print(f"  {title}: {told_as(medians(taken[title], 'rate'))}", flush=True)
                failures |= {f"{title}, {key}": n for key, n in contest.failures.items() if n}
                absent |= {f"{title}, {key}": why for key, why in contest.absent.items()}
    report(taken, failures, absent)


def report(taken: dict[str, Taken], failures: dict[str, int], absent: dict[str, str]) -> None:
    """Print and keep what was measured."""
    own, field = [], []
    for title, found in taken.items():
        if len(found) == 2:
            before, after = found.values()
            ratio = [b.rate / a.rate for a, b in zip(before, after, strict=True)]
            rates = (spread([f.rate for f in figures]) for figures in (before, after))
            own.append([title, *rates, spread(ratio, ".2f")])
            continue
        base = found.get(PEERS[0].name)
        for name, figures in found.items():
            pairs = zip(figures, base, strict=True) if base else ()
            times = [a.rate / b.rate for a, b in pairs]
            p99 = sorted(f.p99 for f in figures)[len(figures) // 2]
            rate = spread([f.rate for f in figures], ",.1f")
            field.append([title, name, rate, f"{p99:,.1f}", spread(times, ".1f") if times else ""])
    log = taken.get("log off, log on")
    notes = [f"Failed requests: {failures or 0}."]
    if log:
        off, on = log.values()
        ratios = sorted(b.rate / a.rate for a, b in zip(off, on, strict=True))
        met = "met" if ratios[len(ratios) // 2] >= LOG_BAR else "**not met**"
        notes.append(f"Bar: with the log on at least {LOG_BAR:g} of the throughput: {met}.")
    notes += [f"{key}: not measured, {why}." for key, why in absent.items()]
    texts = [
        table(["m1, 32 clients: from, to", "requests/s", "requests/s", "ratio"], own),
        table(["m1", "server", "requests/s", "p99 ms", "times `mlflow models serve`"], field),
    ]
    figures = {
        title: {name: [asdict(f) for f in found] for name, found in group.items()}
        for title, group in taken.items()
    }
    packages = ("mlflow", "scikit-learn", "uvicorn", "msgspec")
    write("serving_growth", "\n\n".join([*texts, *notes]), figures, packages, peers_versions())
    mine = [key for key in failures if "mlops" in key or "," not in key]
    if mine:
        sys.exit(f"requests to our servers failed: {mine}")


def within(subject: Subject, folder: Path) -> Iterator[tuple[str, Contest]]:
    """Make the pairs of our own servers and endpoints; each is measured while it is given."""
    from mlops_magics.store.workspace import Workspace

    with ExitStack() as stack:
        (folder / "young").mkdir()
        young = Workspace.create(str(folder / "young"))
        stack.callback(stop, young)
        names = [f"m1-{index}" for index in range(10)]
        version = deployed(subject, young, names[0], log="durable")
        import mlops_magics as mlops

        for name in names[1:]:
            mlops.deploy(version, name, log="durable", workspace=young)
        mlops.deploy(version, "unlogged", log="off", workspace=young)
        for _ in range(5):
            mlops.deploy(version, "split", log="durable", workspace=young)
        split(young, "split")
        print("  endpoints are up", flush=True)
        one = endpoint(subject, young, "1 endpoint", names[:1])
        yield from pair(
            folder, "log off, log on", endpoint(subject, young, "off", ["unlogged"]), one
        )
        ten = endpoint(subject, young, "10 endpoints", names)
        yield from pair(folder, "1 endpoint, 10 endpoints", one, ten)
        five = endpoint(subject, young, "5 versions", ["split"])
        yield from pair(folder, "1 version, 5 versions", one, five)
        (folder / "old").mkdir()
        old = Workspace.create(str(folder / "old"))
        stack.callback(stop, old)
        deployed(subject, old, names[0], log="durable")
        fill(old, subject, names[0])
        long_used = endpoint(subject, old, f"{LOGGED:,} logged", names[:1])
        yield from pair(folder, f"new table, {LOGGED:,} predictions logged before", one, long_used)


def pair(folder: Path, title: str, *servers: Server) -> Iterator[tuple[str, Contest]]:
    """Give a contest of servers that run already."""
    with Contest(folder) as contest:
        for server in servers:
            contest.servers[server.name] = server
            processes.hold(server.tree())
        contest.agree()
        yield title, contest


def endpoint(subject: Subject, workspace: Any, name: str, endpoints: list[str]) -> Server:
    """Return our server as a contestant whose log is loaded before it is put to rest."""
    from mlops_magics.monitoring import backlog

    server = served(name, subject, workspace, endpoints)
    return replace(server, settle=lambda: backlog.settle(workspace, 120) and None)


def split(workspace: Any, name: str) -> None:
    """Give all revisions of an endpoint the same share of its traffic."""
    import sqlalchemy as sa

    from mlops_magics.deployment import plan
    from mlops_magics.store import tables

    t = tables.revisions
    with workspace.database.begin() as connection:
        ids = connection.execute(sa.select(t.c.id).where(t.c.endpoint == name)).scalars().all()
        connection.execute(sa.update(t).where(t.c.endpoint == name).values(status="SERVING"))
        shares = [
            {
                "revision": revision,
                "variant": "canary" if index else "champion",
                "percent": 100 / len(ids),
            }
            for index, revision in enumerate(ids)
        ]
        connection.execute(
            sa.update(tables.endpoints)
            .where(tables.endpoints.c.name == name)
            .values(traffic=shares, generation=tables.endpoints.c.generation + 1)
        )
    plan.await_applied(workspace, plan.project(workspace))
    from mlops_magics.serving import server

    end = time.monotonic() + 120
    while time.monotonic() < end:
        states = [server.processes(workspace).get(f"r{revision}-0") for revision in ids]
        if all(states):
            time.sleep(3)  # models are loaded
            return
        time.sleep(0.2)
    raise RuntimeError(f"the revisions of {name} do not run")


def fill(workspace: Any, subject: Subject, name: str) -> None:
    """Put predictions into the inference table as if the endpoint had answered all day."""
    from mlops_magics.store import tables

    rows = subject.rows(500)
    inputs = rows.to_dict(orient="records")
    outputs = [int(value) for value in subject.pipeline.predict(rows)]
    now, chunk = time.time(), 20_000
    for start in range(0, LOGGED, chunk):
        values = [
            {
                "prediction_id": f"filled-{number}",
                "request_id": f"filled-{number}",
                "row": 0,
                "time": now - 86_400 * (1 - number / LOGGED),
                "endpoint": name,
                "revision": 1,
                "version": "1",
                "variant": "champion",
                "inputs": inputs[number % len(inputs)],
                "output": outputs[number % len(outputs)],
                "status": 200,
                "latency": 1.0,
            }
            for number in range(start, min(start + chunk, LOGGED))
        ]
        with workspace.database.begin() as connection:
            connection.execute(tables.predictions.insert(), values)
    print(f"  {LOGGED:,} predictions are in the table", flush=True)


def replace_rows(subject: Subject) -> Subject:
    """Return a subject with rows enough for the largest request."""
    import pandas as pd

    features = pd.concat([subject.features] * 2, ignore_index=True)
    target = pd.concat([subject.target] * 2, ignore_index=True)
    return replace(subject, features=features, target=target)
