"""How good an endpoint's predictions are, and where they are not: the verb ``quality``."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.cards import Badge, Card, Grid, Interval, Spark, Time
from mlops_magics.errors import InvalidArgument
from mlops_magics.measures.metric import CRITERIA, NO_QUALITY
from mlops_magics.monitoring import attribution as importances
from mlops_magics.monitoring import backlog, concept, labelled, spans, strange, traffic
from mlops_magics.monitoring import groups as fairness
from mlops_magics.monitoring import quality as measurement
from mlops_magics.monitoring.attribution import Attribution
from mlops_magics.monitoring.concept import Concept
from mlops_magics.monitoring.estimate import Estimate
from mlops_magics.monitoring.groups import Group
from mlops_magics.monitoring.quality import Delay, Metric
from mlops_magics.monitoring.references import References
from mlops_magics.monitoring.slices import Slice
from mlops_magics.records import Record
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["QualityReport", "quality"]

SHOWN = 8  # slices in a card
SAMPLE = 2_000  # newest inputs that are looked at for values that training did not have
_VERDICTS = {
    True: Badge("worse", "bad"),
    False: Badge("as in testing", "good"),
    None: Badge("unknown", "neutral"),
}


@dataclass(frozen=True)
class QualityReport(Record):
    """The quality of an endpoint's predictions in a time range; what is unknown is None.

    Attributes
    ----------
    since, until : float
        The range of the predictions, whenever their labels came; seconds since 1970.
    model, version : str or None
        Whose test report it is compared with: that of the revision with the most traffic.
    labels : int
        Predictions whose label is known.
    coverage : float or None
        Their share.
    delay : Delay or None
        How late labels came.
    metrics : sequence of Metric
        With intervals, in testing, and the verdict ``worse``.
    slices : sequence of Slice
        Parts of the traffic, the surest verdict first.
    groups : sequence of Group
        Declared groups, those that are flagged first.
    concept : Concept or None
        Whether labels go with the predictions as in testing.
    estimate : Estimate or None
        What the scores alone lead to expect, beside what labels say.
    attribution : Attribution or None
        The columns' importances, when they were asked for.
    series : mapping
        Quality, coverage and delay over time, as `monitoring.quality.over_time` gives.
    """

    endpoint: str
    since: float
    until: float
    model: str | None
    version: str | None
    labels: int
    coverage: float | None
    delay: Delay | None
    metrics: Sequence[Metric]
    slices: Sequence[Slice]
    groups: Sequence[Group]
    concept: Concept | None
    estimate: Estimate | None
    attribution: Attribution | None
    series: Mapping[str, Any]
    notes: Sequence[str] = field(default=())

    @property
    def worse(self) -> bool | None:
        """Whether anything is worse than in testing; None: nothing is known."""
        found = [one.worse for one in self.metrics]
        found += [one.worse for one in self.slices] + [one.worse for one in self.groups]
        found += [self.concept.drifted] if self.concept is not None else []
        known = [one for one in found if one is not None]
        return any(known) if known else None

    @property
    def df(self) -> pd.DataFrame:
        """One row for each metric: of all, and of each slice (``column``, ``part``)."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        parts: list[tuple[Any, Any, int, Sequence[Metric]]] = [
            (None, None, self.labels, self.metrics)
        ]
        parts += [(one.column, one.value, one.rows, one.shown) for one in self.slices]
        for column, part, rows, metrics in parts:
            for metric in metrics:
                yield {
                    "column": column,
                    "part": part,
                    "rows": rows,
                    "metric": metric.name,
                    "value": metric.value,
                    "low": metric.low,
                    "high": metric.high,
                    "reference": metric.reference,
                    "worse": metric.worse,
                }

    def card(self) -> Card:
        facts: list[tuple[str, Any]] = [("from", Time(self.since)), ("to", Time(self.until))]
        if self.model is not None:
            facts.append(("compared with", f"the test of {self.model}/{self.version}"))
        coverage = "–" if self.coverage is None else f"{self.coverage:.1%}"
        facts.append(("labels", f"{self.labels:,}, {coverage} of the predictions"))
        if self.delay is not None:
            late = [round(value) for value in (self.delay.p50, self.delay.p90)]
            facts.append(("seconds until a label, p50 p90", late))
        if self.series and self.labels:
            facts.append(
                ("labels | predictions", Spark(self.series["labels"], self.series["predictions"]))
            )
        if self.concept is not None:
            facts.append(("concept", self.concept.reason))
        if self.worse:
            badge = Badge("worse than in testing", "bad")
        elif not self.labels:
            badge = Badge("no labels yet", "neutral")
        else:
            badge = Badge("as in testing", "good") if self.worse is False else _VERDICTS[None]
        grids = [self._metrics(), self._estimate(), self._slices(), self._groups()]
        grids.append(self._attribution())
        return Card(
            title=self.endpoint,
            subtitle="quality",
            badge=badge,
            facts=facts,
            grids=[grid for grid in grids if grid.rows],
            notes=list(self.notes),
            next=[] if self.labels else [f"mlops feedback {self.endpoint} --labels LABELS"],
        )

    def _metrics(self) -> Grid:
        rows = [
            [
                one.name,
                Interval(one.value, one.low, one.high),
                one.reference,
                None if one.name in NO_QUALITY else _VERDICTS[one.worse],
            ]
            for one in self.metrics
        ]
        return Grid(["metric", "value", "in testing", ""], rows)

    def _estimate(self) -> Grid:
        found = () if self.estimate is None else self.estimate.metrics
        signs = {True: "yes", False: Badge("no", "warn"), None: None}
        rows = [
            [one.name, Interval(one.value, one.low, one.high), one.measured, signs[one.agrees]]
            for one in found
        ]
        columns = ["metric", "of all predictions", "by labels", "as expected"]
        return Grid(columns, rows, "estimated from scores")

    def _slices(self) -> Grid:
        rows = []
        for one in self.slices:
            metric = one.metric(one.judged)
            if metric is not None:
                value = Interval(metric.value, metric.low, metric.high)
                rows.append(
                    [one.column, one.value, one.rows, metric.name, value, metric.reference,
                     Badge(f"through {one.through}", "warn") if one.through
                     else _VERDICTS[one.worse]]
                )  # fmt: skip
        columns = ["column", "part", "labels", "metric", "value", "in testing", ""]
        return Grid(columns, rows, "by slice", SHOWN)

    def _groups(self) -> Grid:
        rows = []
        for one in self.groups:
            rates = {metric.name: metric.value for metric in one.metrics}
            gaps = {gap.name: gap.ratio for gap in one.gaps}
            rows.append(
                [one.column, one.value, one.rows, rates.get("selection_rate"),
                 gaps.get("selection_rate"), rates.get("recall"), rates.get("fpr"),
                 Badge("; ".join(one.reasons), "bad") if one.worse else _VERDICTS[one.worse]]
            )  # fmt: skip
        columns = ["column", "group", "labels", "selected", "ratio", "TPR", "FPR", ""]
        return Grid(columns, rows, "by group")

    def _attribution(self) -> Grid:
        found = () if self.attribution is None else self.attribution.columns
        rows = [
            [one.rank, one.column, Interval(one.value, one.low, one.high), one.reference,
             one.reference_rank, Badge("changed", "warn") if one.changed else None]
            for one in found
        ]  # fmt: skip
        columns = ["rank", "column", "importance", "in testing", "rank then", ""]
        return Grid(columns, rows, "importance", SHOWN)


def quality(
    endpoint: str,
    *,
    last: str | float = "7d",
    since: float | str | datetime | None = None,
    until: float | str | datetime | None = None,
    by: Sequence[str] = (),
    groups: Sequence[str] = (),
    attribution: bool = False,
    workspace: Workspace | None = None,
) -> QualityReport:
    """Measure an endpoint's predictions against the labels that have come.

    Parameters
    ----------
    endpoint : str
        Its name.
    last : str or float
        Span until now (or until ``until``) in which the predictions were made: ``"7d"``.
    since, until : float, str or datetime, optional
        The range itself.
    by : sequence of str
        Columns of slices; default: all that the test report has measured by.
    groups : sequence of str
        Columns of groups; default: those that the test declared.
    attribution : bool
        Also compute the columns' importances with the model: many predictions.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound
        There is no endpoint of that name.
    UnknownName
        A column that the predictions' inputs do not have.
    InvalidArgument
        The range cannot be understood, or is empty.

    Examples
    --------
    >>> report = quality("flight-delay", last="1h", workspace=workspace)
    >>> report.labels, report.coverage, report.worse
    (0, 0.0, None)
    """
    now = time.time()
    end = now if until is None else spans.moment(until)
    begin = end - spans.seconds(last) if since is None else spans.moment(since)
    if end <= begin:
        raise InvalidArgument(f"the range from {begin:.0f} to {end:.0f} is empty")
    workspace = resolve(workspace)
    loaded = backlog.settle(workspace)
    covered = end if end < now else math.nextafter(end, math.inf)
    with workspace.database.read() as connection:
        variants = traffic.variants(connection, endpoint)
        served = variants[0] if variants else None
        key = 0 if served is None else served.revision
        reference = References().of(connection, key)
        found = measurement.measure(
            connection,
            endpoint,
            begin,
            covered,
            reference,
            closely=True,
            by=list(by) or None,
            groups_by=list(groups) or None,
        )
        assert found.rows is not None
        sample = labelled.inputs(connection, endpoint, begin, covered, most=SAMPLE)
        query = sa.select(tables.revisions.c.package).where(tables.revisions.c.id == key)
        package = connection.execute(query).scalar()
    attributed = None
    if attribution and package is not None:
        attributed = importances.measure(found.rows, reference, Path(package))
    notes = _notes(found, reference, sample)
    if attributed is not None:
        notes.append(attributed.reason or importances.CRITERIA)
    if not loaded:
        notes.append("the newest answers are still on their way into the table")
    return QualityReport(
        endpoint=endpoint,
        since=begin,
        until=end,
        model=None if served is None else served.model,
        version=None if served is None else served.version,
        labels=found.labels,
        coverage=found.coverage,
        delay=found.delay,
        metrics=found.metrics,
        slices=found.slices,
        groups=found.groups,
        concept=found.concept,
        estimate=found.estimate,
        attribution=attributed,
        series=measurement.over_time(begin, covered, found),
        notes=tuple(notes),
    )


def _notes(found: measurement.Quality, reference: Any, sample: pd.DataFrame) -> list[str]:
    """Return what a reader should know: the rules of the verdicts, and where they do not reach."""
    notes = []
    if any(metric.worse is not None for metric in found.metrics):
        notes.append(CRITERIA)
    elif found.labels and not reference.report:
        notes.append("the package has no test report: nothing to compare with")
    if found.groups:
        notes.append(fairness.CRITERIA)
    if found.concept is not None and found.concept.drifted is not None:
        notes.append(concept.CRITERIA)
    if found.estimate is not None:
        notes.append(found.estimate.reason or found.estimate.assumes)
        if found.estimate.metrics and reference.profile is not None:
            notes += strange.words(strange.shares(sample, reference.profile))
    return notes
