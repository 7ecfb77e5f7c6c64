"""How many single-row requests a second, beside the field?

Same models, same row, same client (wrk), one process with the model each; ours with validation,
inference log and metrics on. All servers of a model are up at once, but those that are not being
measured are stopped (SIGSTOP), so that none takes another's time. ``MLOPS_BENCH_ROUNDS`` (5) and
``MLOPS_BENCH_SECONDS`` (2) make it shorter or longer, ``MLOPS_BENCH_MODELS`` (m1,m2,flights)
narrower.
"""

from __future__ import annotations

import importlib.metadata
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib

from benchmarks import stages, subjects
from benchmarks.contest import Contest, Figure, medians, ours, peer
from benchmarks.load import generator
from benchmarks.peers import CONSTANT, MLFLOW, PEERS, PROTOTYPE, VARIANTS, Peer
from benchmarks.report import spread, table, write
from benchmarks.subjects import Subject

CLIENTS = (1, 32, 128)
SUBJECTS: dict[str, Callable[[], Subject]] = {
    "m1": subjects.m1,
    "m2": subjects.m2,
    "flights": subjects.flights,
}
NATIVE, ONNX = "mlops, native", "mlops, onnx"
PACKAGES = ("mlflow", "scikit-learn", "uvicorn", "msgspec", "onnxruntime")
FIELD = tuple(kind.name for kind in PEERS)

Cells = dict[tuple[str, int], dict[str, list[Figure]]]


@dataclass(frozen=True)
class Bar:
    """What has been set as a goal: ``ratio`` of one cell is at least ``least``, in the median."""

    subject: str
    clients: int
    ours: str
    what: str
    least: float


BARS = (
    Bar("m1", 32, NATIVE, "mlflow", 30),
    Bar("m1", 32, NATIVE, "best peer", 6),
    Bar("m2", 32, NATIVE, "mlflow", 25),
    Bar("m2", 32, NATIVE, "best peer", 1.8),
    Bar("m1", 1, NATIVE, "prototype", 1 / 1.3),
    Bar("m2", 1, NATIVE, "prototype", 1 / 1.3),
    Bar("m1", 32, NATIVE, "p99", 1),
    Bar("m2", 32, NATIVE, "p99", 1),
    Bar("m2", 1, ONNX, "mlflow", 10),
    Bar("m2", 32, ONNX, "mlflow", 100),
)
SPOKEN = {
    "mlflow": "requests/s, times `mlflow models serve`",
    "best peer": "requests/s, times the best peer",
    "prototype": "requests/s, times the bare prototype",
    "p99": "p99 of the best peer, times ours",
}


def main() -> None:
    generator()
    cells: Cells = {}
    notes: list[str] = []
    profiles: list[stages.Profile] = []
    texts: list[str] = []
    failures: dict[str, int] = {}
    chosen = os.environ.get("MLOPS_BENCH_MODELS", "m1,m2,flights").split(",")
    for name in chosen:
        subject = SUBJECTS[name]()
        print(f"{name}:", flush=True)
        with tempfile.TemporaryDirectory() as folder, Contest(Path(folder)) as contest:
            enter(contest, subject, Path(folder))
            answers = contest.agree()
            if name == chosen[0]:  # it is the same for all
                pickled = Path(folder) / "model.joblib"
                fixed = peer(CONSTANT, subject, pickled, pickled, Path(folder))
                contest.enter(CONSTANT.name, fixed)
            for clients in CLIENTS:
                cells[name, clients] = contest.measure(clients)
                told = medians(cells[name, clients], "rate")
                print(f"  {clients} clients: " + told_as(told), flush=True)
            for mine in (NATIVE, ONNX):
                for clients in (1, 32):
                    if mine in contest.servers:
                        server = contest.servers[mine]
                        profiles += stages.profile(server, name, clients, Path(folder))
            for other, reason in contest.absent.items():
                notes.append(f"{name}, {other}: not measured, {reason}.")
            for other, count in contest.failures.items():
                failures[f"{name}, {other}"] = count
        texts.append(f"### {name} (every server answers {answers})\n\n{ranking(cells, name)}")
    texts.append(f"### Bars\n\n{bars(cells)}")
    if profiles:
        texts.append(f"### Where our time goes\n\n{stages.text(profiles)}")
    failed = {key: count for key, count in failures.items() if count}
    notes.append(f"Failed requests: {failed or 0}.")
    notes.append(
        "Median of the rounds, requests/s with least and most; memory is the resident set of all "
        "processes of a server, what they share counted in each."
    )
    figures = {
        "cells": {
            f"{name}, {clients}": {key: [asdict(f) for f in found] for key, found in taken.items()}
            for (name, clients), taken in cells.items()
        },
        "bars": [asdict(bar) | {"ratios": ratios(cells, bar)} for bar in BARS],
        "profiles": [asdict(profile) for profile in profiles],
        "failures": failures,
    }
    write("serving", "\n\n".join([*texts, *notes]), figures, PACKAGES, peers_versions())
    mine = {key: count for key, count in failed.items() if "mlops" in key}
    if mine:
        sys.exit(f"requests to our servers failed: {mine}")


def enter(
    contest: Contest,
    subject: Subject,
    folder: Path,
    *,
    kinds: Sequence[Peer] = (*PEERS, PROTOTYPE),
    rows: int = 1,
) -> None:
    """Start all servers of a model, to be asked about so many rows at once."""
    pickled = folder / "model.joblib"
    joblib.dump(subject.pipeline, pickled)
    contest.enter(NATIVE, ours(subject, folder / "native", rows=rows))
    contest.enter(ONNX, ours(subject, folder / "onnx", runtime="onnx", rows=rows))
    package = next((folder / "native").rglob("MLmodel")).parent
    variants = VARIANTS if os.environ.get("MLOPS_BENCH_VARIANTS") else ()
    for kind in (*kinds, *variants):
        started = peer(kind, subject, pickled, package, folder, rows)
        contest.enter(kind.name, started)


def ranking(cells: Cells, name: str) -> str:
    """Return a model's table."""
    titles = ["", "MB"]
    for clients in CLIENTS:
        titles += [f"{clients} client{'s' * (clients > 1)}: requests/s", "p50 ms", "p99 ms"]
    rows = []
    for server in cells[name, CLIENTS[0]]:
        of = [cells[name, clients][server] for clients in CLIENTS]
        row = [server, f"{max(f.memory for found in of for f in found) / 1e6:,.0f}"]
        for found in of:
            row.append(spread([f.rate for f in found]))
            row.append(f"{statistics.median(f.p50 for f in found):,.2f}")
            row.append(f"{statistics.median(f.p99 for f in found):,.2f}")
        rows.append(row)
    return table(titles, rows)


def bars(cells: Cells) -> str:
    """Return the table of the bars."""
    rows = []
    for bar in BARS:
        found = ratios(cells, bar)
        met = "not measured"
        if found:
            met = "yes" if statistics.median(found) >= bar.least else "**no**"
        rows.append(
            [
                f"{bar.subject}, {bar.clients} client{'s' * (bar.clients > 1)}, {bar.ours}",
                SPOKEN[bar.what],
                f"{bar.least:.3g}",
                spread(found, ".2f") if found else "",
                met,
            ]
        )
    return table(["", "what", "at least", "measured", "met"], rows)


def ratios(cells: Cells, bar: Bar) -> list[float]:
    """Return a bar's ratio in each round; none if a server is missing."""
    taken = cells.get((bar.subject, bar.clients), {})
    peers = {name: taken[name] for name in FIELD if name in taken}
    mine = taken.get(bar.ours)
    other: Sequence[Figure] | None
    if bar.what == "mlflow":
        other = taken.get(MLFLOW.name)
    elif bar.what == "prototype":
        other = taken.get(PROTOTYPE.name)
    elif bar.what == "p99":
        best = medians(peers, "p99")
        other = peers[min(best, key=best.__getitem__)] if best else None
    else:
        best = medians(peers, "rate")
        other = peers[max(best, key=best.__getitem__)] if best else None
    if mine is None or other is None:
        return []
    if bar.what == "p99":
        return [b.p99 / a.p99 for a, b in zip(mine, other, strict=True)]
    return [a.rate / b.rate for a, b in zip(mine, other, strict=True)]


def told_as(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())


def peers_versions() -> dict[str, str]:
    """Return the peers' versions, as they are pinned."""
    found = {}
    for kind in PEERS:
        for package in kind.packages:
            pins = Path(__file__).parent / "peers" / f"{kind.environment}.txt"
            if kind.environment:
                lines = pins.read_text().splitlines()
                found[package] = next(
                    line.split("==")[1] for line in lines if line.split("==")[0] == package
                )
            else:
                found[package] = importlib.metadata.version(package)
    return found
