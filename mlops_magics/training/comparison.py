"""Two runs side by side: what differs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.cards import Card, Code, Grid, Time
from mlops_magics.records import Record
from mlops_magics.store.workspace import Workspace, resolve
from mlops_magics.training import catalogue
from mlops_magics.training.catalogue import Run
from mlops_magics.training.facts import FOLDER

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare_runs"]

_LINES = 60  # of a code diff on the card


@dataclass(frozen=True)
class Comparison(Record):
    """Two runs, and for each of their parts what differs.

    Attributes
    ----------
    first, second : Run
        The runs.
    params, metrics, data : list of dict
        ``name``, ``first``, ``second``, ``differs``; metrics also ``change``.
    environment : list of dict
        Only what differs: Python and packages.
    code : dict
        ``commit`` (a pair), ``cell`` (a unified diff of the cells' sources) and ``uncommitted``
        (a unified diff of the uncommitted changes).
    """

    first: Run
    second: Run
    params: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    data: list[dict[str, Any]]
    environment: list[dict[str, Any]]
    code: dict[str, Any]

    @property
    def df(self) -> pd.DataFrame:
        """All lines as a table, with their part in the column ``part``."""
        import pandas as pd

        parts = ("params", "metrics", "data", "environment")
        return pd.DataFrame(
            [{"part": part, **line} for part in parts for line in getattr(self, part)]
        )

    def card(self) -> Card:
        """Show the differing lines marked, and the code's diff."""
        one, two = self.first, self.second
        names = (one.name, two.name)
        if one.name == two.name:
            names = (f"{one.name} {one.run_id[:6]}", f"{two.name} {two.run_id[:6]}")
        grids = [
            Grid(
                ["", "run", *names],
                [
                    ["", "id", Code(one.run_id[:12]), Code(two.run_id[:12])],
                    ["", "status", one.status, two.status],
                    ["", "started", Time(one.started), Time(two.started)],
                    ["", "took", *(catalogue.seconds(run.duration) for run in (one, two))],
                    [
                        _mark(one.code.get("commit") != two.code.get("commit")),
                        "code",
                        *(catalogue.describe_code(run.code) for run in (one, two)),
                    ],
                ],
            )
        ]
        for title, lines in (
            ("metrics", self.metrics),
            ("params", self.params),
            ("data", self.data),
            ("environment", self.environment),
        ):
            # what differs, and can be read at a glance, comes first
            lines = sorted(lines, key=lambda line: (not line["differs"], catalogue.long(line)))
            if lines:
                extra = ["change"] if title == "metrics" else []
                grids.append(
                    Grid(
                        ["", title, *names, *extra],
                        [
                            [_mark(line["differs"]), line["name"], line["first"], line["second"]]
                            + [line[name] for name in extra]
                            for line in lines
                        ],
                        shown=12,
                    )
                )
        notes = []
        for title, key in (("cell", "cell"), ("uncommitted changes", "uncommitted")):
            lines = self.code[key].splitlines()[2:]
            if lines:
                grids.append(Grid([title], [[Code(line)] for line in lines[:_LINES]]))
            if len(lines) > _LINES:
                notes.append(f"{len(lines) - _LINES} more lines are in .code[{key!r}].")
        return Card(
            title=f"{names[0]} and {names[1]}",
            subtitle="≠ marks what differs",
            grids=grids,
            notes=notes,
        )


def _mark(differs: bool) -> str:
    return "≠" if differs else ""


def compare_runs(first: str, second: str, *, workspace: Workspace | None = None) -> Comparison:
    """Compare two runs: params, metrics, data, environment and code.

    Parameters
    ----------
    first, second : str
        Run ids, their beginnings, or run names.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    RunNotFound
        One of them does not exist.

    Examples
    --------
    >>> import tempfile
    >>> from mlops_magics.training import run
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> for depth in (3, 6):
    ...     with run(f"depth-{depth}", params={"depth": depth}, workspace=workspace):
    ...         pass
    >>> compare_runs("depth-3", "depth-6", workspace=workspace).params
    [{'name': 'depth', 'first': '3', 'second': '6', 'differs': True}]
    """
    workspace = resolve(workspace)
    one, two = (catalogue.find(workspace, ref) for ref in (first, second))
    metrics = _lines(one.metrics, two.metrics)
    for line in metrics:
        known = line["first"] is not None and line["second"] is not None
        line["change"] = line["second"] - line["first"] if known else None
    kept = [_kept(workspace, run) for run in (one, two)]
    packages = [_requirements(files.get("requirements.txt", "")) for files in kept]
    return Comparison(
        first=one,
        second=two,
        params=_lines(one.params, two.params),
        metrics=metrics,
        data=_lines(*({_role(each): _content(each) for each in run.data} for run in (one, two))),
        environment=[line for line in _lines(*packages) if line["differs"]],
        code={
            "commit": [run.code.get("commit") for run in (one, two)],
            "cell": _diff(kept, "cell.py"),
            "uncommitted": _diff(kept, "uncommitted.diff"),
        },
    )


def _lines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "first": first.get(name),
            "second": second.get(name),
            "differs": first.get(name) != second.get(name),
        }
        for name in sorted({*first, *second})
    ]


def _role(used: Mapping[str, str]) -> str:
    return f"{used['name']} ({used['context']})" if used["context"] else used["name"]


def _content(used: Mapping[str, str]) -> str:
    return f"{used['ref']} @ {used['digest'][:12]}"


def _kept(workspace: Workspace, run: Run) -> dict[str, str]:
    """Return the texts of our artifacts; a run that MLflow alone has made has none."""
    import tempfile

    tracking = workspace.tracking
    found = {}
    with tracking.mapped():
        there = {each.path for each in tracking.client.list_artifacts(run.run_id, FOLDER)}
        with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
            for name in ("cell.py", "uncommitted.diff", "requirements.txt"):
                path = f"{FOLDER}/{name}"
                if path in there:
                    file = Path(tracking.client.download_artifacts(run.run_id, path, folder))
                    found[name] = file.read_text("utf-8", "replace")
    return found


def _requirements(text: str) -> dict[str, str]:
    pairs = (line.partition("==") for line in text.splitlines())
    return {name: version for name, _, version in pairs}


def _diff(kept: list[dict[str, str]], name: str) -> str:
    first, second = (files.get(name, "").splitlines() for files in kept)
    return "\n".join(difflib.unified_diff(first, second, "first", "second", lineterm="", n=2))
