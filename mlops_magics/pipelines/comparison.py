"""What a run measured, against the champion's evidence: for the page that reviewers read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlops_magics.cards import Badge, Card, Code, Grid, Interval, text
from mlops_magics.errors import ModelNotFound
from mlops_magics.pipelines import history
from mlops_magics.pipelines.observation import pipeline_run
from mlops_magics.pipelines.result import PipelineRun
from mlops_magics.records import Record
from mlops_magics.store import evidence, models
from mlops_magics.store.workspace import Workspace, resolve
from mlops_magics.testing.metrics import METRICS

__all__ = ["Measurement", "PipelineComparison", "Tested", "compare_pipeline"]

Verdict = Literal["better", "worse", "no clear difference", ""]


@dataclass(frozen=True)
class Measurement:
    """A metric of a run and of the champion, with 95 % intervals; None where it was not measured.

    Attributes
    ----------
    name : str
    value, low, high : float or None
        Of the run.
    champion, champion_low, champion_high : float or None
    verdict : str
        ``better`` or ``worse`` when the intervals lie apart, ``no clear difference`` when they do
        not; empty without a champion.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    champion: float | None = None
    champion_low: float | None = None
    champion_high: float | None = None
    verdict: Verdict = ""


@dataclass(frozen=True)
class Tested:
    """A model that was tested in a run.

    Attributes
    ----------
    model : str
        The test's name.
    version : str or None
        As what the run registered it, ``flight-delay/3``.
    data : str
    rows : int
        What it was tested on.
    passed : bool or None
        Whether all gates held; None when none was asked for.
    failed : tuple of str
        What the gates say that did not hold.
    champion : str or None
        The version it is compared with.
    champion_rows : int or None
        Rows that the champion was tested on.
    note : str
        Why it is compared with none.
    metrics : tuple of Measurement
    """

    __test__ = False  # pytest takes classes named Test… for tests

    model: str
    version: str | None
    data: str
    rows: int
    passed: bool | None
    failed: tuple[str, ...] = ()
    champion: str | None = None
    champion_rows: int | None = None
    note: str = ""
    metrics: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class PipelineComparison(Record):
    """A run's tests beside the champion's.

    Attributes
    ----------
    run : PipelineRun
    tested : tuple of Tested
        The models that it tested.
    """

    run: PipelineRun
    tested: tuple[Tested, ...]

    def card(self) -> Card:
        """Show each model's metrics beside its champion's."""
        return Card(
            self.run.pipeline,
            subtitle="against the champion",
            badge=self.run.badge,
            facts=[("run", Code(self.run.id))],
            parts=[_part(item) for item in self.tested],
            notes=self._notes(),
        )

    def markdown(self) -> str:
        """Return it as Markdown, for a summary of CI or a merge request's comment."""
        lines = [f"### {_escaped(self.run.pipeline)}: {text(self.run.badge)}", ""]
        given = ", ".join(f"{name}={value}" for name, value in self.run.parameters.items())
        lines += [f"run {_code(self.run.id)}" + (f" with {_code(given)}" if given else ""), ""]
        lines += _table(
            ["step", "", "seconds"],
            [
                [_escaped(item.step), text(item.badge), text(_rounded(item.seconds))]
                for item in self.run.steps
            ],
        )
        for step in self.run.steps:
            if step.error is not None:
                message = f"{step.error['ename']}: {step.error['evalue']}"
                lines += [f"**{_escaped(step.step)}** failed:", "", *_fenced(message), ""]
        for item in self.tested:
            lines += _section(item)
        lines += [f"{_escaped(note)}\n" for note in self._notes()]
        return "\n".join(lines)

    def openmetrics(self) -> str:
        """Return the run's metrics as OpenMetrics, which GitLab compares with the target branch's.

        Examples
        --------
        >>> run = PipelineRun("1", "flights", "FINISHED", None, "", {}, "", None, 0.0, 1.0)
        >>> measured = Measurement("roc_auc", 0.71, 0.69, 0.73)
        >>> tested = Tested("flight-delay", None, "holdout", 2000, True, metrics=(measured,))
        >>> print(PipelineComparison(run, (tested,)).openmetrics(), end="")
        mlops_metric{model="flight-delay",metric="roc_auc"} 0.71
        # EOF
        """
        lines = [
            f'mlops_metric{{model="{_label(item.model)}",metric="{_label(one.name)}"}} '
            f"{one.value!r}"
            for item in self.tested
            for one in item.metrics
            if one.value is not None
        ]
        return "\n".join([*lines, "# EOF", ""])

    def _notes(self) -> list[str]:
        if self.tested:
            return ["Values are with 95 % intervals; where two lie apart, the difference is clear."]
        return ["No step of this run tested a model: nothing is compared."]


def compare_pipeline(
    run: str | None = None,
    *,
    champion: str | None = None,
    registry: str | None = None,
    workspace: Workspace | None = None,
) -> PipelineComparison:
    """Set what a run's tests measured beside the champion's evidence.

    Parameters
    ----------
    run : str, optional
        Id of the run, or how it begins; default: the newest.
    champion : str, optional
        The model to compare with, such as ``flight-delay@champion``; a name alone means its
        champion. Default: the champion of the model that the run registered.
    registry : str, optional
        URI of the MLflow that has the champion; default or empty: the workspace's own.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    RunNotFound
        There is no such run.
    TrackingUnavailable
        The registry does not answer.

    Examples
    --------
    >>> compare_pipeline("20260101", workspace=workspace)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mlops_magics.errors.RunNotFound: no pipeline run '20260101'...
    """
    space = resolve(workspace)
    record = pipeline_run(run, workspace=space)
    where = _elsewhere(space, registry) if registry else space
    tested = [
        _tested(report, space, where, champion)
        for report in _reports(space, _children(space, record))
    ]
    return PipelineComparison(record, tuple(tested))


def _elsewhere(workspace: Workspace, registry: str) -> Workspace:
    settings = dataclasses.replace(workspace.settings, tracking_uri=registry, registry_uri=registry)
    return Workspace(workspace.root, workspace.path, settings)


def _children(workspace: Workspace, run: PipelineRun) -> Iterator[str]:
    """Give MLflow's run of each step; of a cached one that of the step whose outcome it took."""
    for item in run.steps:
        origin = item
        while origin.cached_from:
            earlier = history.read(workspace, origin.cached_from)
            origin = next(each for each in earlier.steps if each.step == item.step)
        if origin.run_id:
            yield origin.run_id


def _reports(workspace: Workspace, children: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Give the test reports that runs within the steps keep."""
    tracking = workspace.tracking
    for child in children:
        with tracking.mapped():
            inner = tracking.client.search_runs(
                [tracking.experiment_id],
                f"tags.`mlflow.parentRunId` = '{child}' and tags.`{evidence.PASSED_TAG}` != ''",
                order_by=["attributes.start_time ASC"],
            )
        for found in inner:
            report = evidence.read_report(workspace, str(found.info.run_id))
            if report is not None:
                yield report


def _tested(
    report: Mapping[str, Any], workspace: Workspace, where: Workspace, champion: str | None
) -> Tested:
    version = _version(workspace, str(report["run_id"]))
    found = Tested(
        model=str(report["name"]),
        version=version,
        data=str(report["data"]),
        rows=int(report["rows"]),
        passed=evidence.verdict(report),
        failed=tuple(str(gate["message"]) for gate in report["gates"] if not gate["passed"]),
        metrics=tuple(_measurement(one) for one in report["metrics"]),
    )
    name = champion or (version or "").rpartition("/")[0]
    if not name:
        return dataclasses.replace(
            found, note="The run registered no version of it; name a champion: --champion NAME."
        )
    reference = name if re.search("[@/]", name) else f"{name}@champion"
    try:
        best = models.resolve(where, reference)
    except ModelNotFound:
        return dataclasses.replace(found, note=f"There is no {reference} yet to compare with.")
    own = version is not None and best.run_id == report["run_id"]
    if own:
        return dataclasses.replace(found, note=f"It is {reference} itself.")
    theirs = _evidence(where, best)
    if theirs is None:
        note = f"{reference}, version {best.version}, has no test report to compare with."
        return dataclasses.replace(found, champion=str(best), note=note)
    known = {str(one["name"]): one for one in theirs["metrics"]}
    directions = {one.name: one.higher_is_better for one in METRICS.get(str(report["task"]), ())}
    return dataclasses.replace(
        found,
        champion=str(best),
        champion_rows=int(theirs["rows"]),
        metrics=tuple(
            _beside(one, known.get(one.name), directions.get(one.name)) for one in found.metrics
        ),
    )


def _version(workspace: Workspace, run_id: str) -> str | None:
    with workspace.tracking.mapped():
        found = workspace.tracking.client.search_model_versions(f"run_id = '{run_id}'")
    newest = max(found, key=lambda each: int(each.creation_timestamp or 0), default=None)
    return None if newest is None else f"{newest.name}/{newest.version}"


def _evidence(workspace: Workspace, ref: models.ModelRef) -> dict[str, Any] | None:
    run_id = ref.tags.get(evidence.REPORT_RUN_TAG)
    if not run_id:
        return None
    digest = ref.tags.get(models.DIGEST_TAG, "")
    return evidence.read_report(workspace, run_id, digest) or evidence.read_report(
        workspace, run_id
    )


def _measurement(one: Mapping[str, Any]) -> Measurement:
    return Measurement(str(one["name"]), one["value"], one["low"], one["high"])


def _beside(
    ours: Measurement, theirs: Mapping[str, Any] | None, higher: bool | None
) -> Measurement:
    if theirs is None:
        return ours
    bounds = (ours.low, ours.high, theirs["low"], theirs["high"])
    verdict: Verdict = ""
    if higher is not None and all(bound is not None for bound in bounds):
        above, below = ours.low > theirs["high"], ours.high < theirs["low"]
        verdict = "no clear difference"
        if above or below:
            verdict = "better" if above == higher else "worse"
    return dataclasses.replace(
        ours,
        champion=theirs["value"],
        champion_low=theirs["low"],
        champion_high=theirs["high"],
        verdict=verdict,
    )


def _badge(passed: bool | None) -> Badge:
    if passed is None:
        return Badge("no gates", "neutral")
    return Badge("gates passed", "good") if passed else Badge("gates failed", "bad")


_TONES: dict[str, Any] = {"better": "good", "worse": "bad"}


def _part(item: Tested) -> Card:
    compared = any(one.verdict or one.champion is not None for one in item.metrics)
    columns = ["metric", "this run", *([f"champion {item.champion}", ""] if compared else [])]
    rows = []
    for one in item.metrics:
        row: list[Any] = [one.name, Interval(one.value, one.low, one.high)]
        if compared:
            row.append(Interval(one.champion, one.champion_low, one.champion_high))
            row.append(
                Badge(one.verdict, _TONES.get(one.verdict, "neutral")) if one.verdict else None
            )
        rows.append(row)
    facts: list[tuple[str, Any]] = [("tested on", f"{item.data} · {item.rows:,} rows")]
    if item.champion_rows is not None:
        facts.append(("champion on", f"{item.champion_rows:,} rows"))
    return Card(
        item.version or item.model,
        badge=_badge(item.passed),
        facts=facts,
        grids=[Grid(columns, rows)],
        notes=[*item.failed, *([item.note] if item.note else [])],
    )


def _section(item: Tested) -> Iterator[str]:
    """Give a model's lines in Markdown, from what its card shows."""
    part = _part(item)
    yield f"#### {_escaped(part.title)}: {text(part.badge)}"
    yield ""
    yield "; ".join(f"{name} {_escaped(str(value))}" for name, value in part.facts)
    yield ""
    (grid,) = part.grids
    yield from _table(
        [_escaped(column) for column in grid.columns],
        [[_escaped(text(cell)) for cell in row] for row in grid.rows],
    )
    for note in part.notes:
        yield f"{_escaped(note)}\n"


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _escaped(words: str) -> str:
    """Keep text from data from being Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&@-])", r"\\\1", " ".join(words.split()))


def _code(words: str) -> str:
    ticks = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    return f"{ticks} {' '.join(words.split())} {ticks}" if "`" in words else f"`{words}`"


def _fenced(words: str) -> list[str]:
    fence = "`" * (max((2, *(len(run) for run in re.findall("`+", words)))) + 1)
    return [fence, *words.splitlines(), fence]


def _label(words: str) -> str:
    return words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
