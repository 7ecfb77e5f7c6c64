"""How a benchmark reports: a Markdown table on the terminal and in ``results``, JSON beside it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

RESULTS = Path(__file__).parent / "results"

T = TypeVar("T")


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """What a figure depends on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def interleaved(measures: Mapping[str, Callable[[], T]], *, rounds: int = 5) -> dict[str, list[T]]:
    """Take one warm-up of each, then A B C A B C …, so that a drifting machine hits all alike."""
    for measure in measures.values():
        measure()
    taken: dict[str, list[T]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
    return taken


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median with least and most: ``123 (120–130)``."""
    middle = statistics.median(values)
    return f"{middle:{form}} ({min(values):{form}}–{max(values):{form}})"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def write(
    name: str,
    text: str,
    figures: Mapping[str, Any],
    packages: Sequence[str],
    peers: Mapping[str, str] | None = None,
) -> None:
    """Print and keep; versions of what is not in this environment are given as ``peers``."""
    on = machine(packages)
    on["versions"] |= peers or {}
    versions = ", ".join(f"{key} {value}" for key, value in on["versions"].items())
    foot = f"{on['date']}, {on['cores']} cores, Python {on['python']}, {versions}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(f"{text}\n\n{foot}\n")
    (RESULTS / f"{name}.json").write_text(json.dumps({**on, "figures": figures}, indent=1) + "\n")
    print(f"{text}\n\n{foot}\n", flush=True)
