"""Quality: how good the predictions of a time range were, from the labels that have arrived.

Intervals are 95 %. Metrics, and slices of them, are compared with what the package's test report
says (`mlops_magics.measures`); before labels come, quality is estimated from calibrated scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument
from mlops_magics.measures.metric import Metric, judge, reported
from mlops_magics.monitoring import concept, estimate, groups, labelled, slices
from mlops_magics.monitoring.concept import Concept
from mlops_magics.monitoring.estimate import Estimate
from mlops_magics.monitoring.groups import Group
from mlops_magics.monitoring.labelled import Labelled
from mlops_magics.monitoring.references import Reference
from mlops_magics.monitoring.slices import Slice
from mlops_magics.store import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql import ColumnElement

__all__ = ["Delay", "Metric", "Quality", "measure", "over_time", "reported"]

POINTS = 24  # steps of a series over time

SHOWN = {
    "binary": ("accuracy", "brier"),
    "multiclass": ("accuracy",),
    "regression": ("rmse", "mae", "bias"),
}
"""Metrics of a series over time."""


@dataclass(frozen=True)
class Delay:
    """Seconds from a prediction to its first label: quantiles over the labels of a range."""

    p50: float
    p90: float
    p99: float
    longest: float

    @classmethod
    def of(cls, delays: NDArray[np.float64]) -> Delay | None:
        """Take the quantiles; None without a label."""
        if not len(delays):
            return None
        found = np.quantile(delays, [0.5, 0.9, 0.99, 1.0])
        return cls(*(float(value) for value in found))


@dataclass(frozen=True)
class Quality:
    """Quality in a time range.

    Attributes
    ----------
    labels : int
        Predictions of the range whose label is known.
    coverage : float or None
        Their share of all predictions of the range.
    metrics : tuple of Metric
        Empty without labels; each has a verdict, ``worse``.
    measured : int
        Labelled predictions that the metrics are of: all, or the newest where a limit was given.
    delay : Delay or None
        How late the labels came.
    slices : tuple of Slice
        Parts of the traffic, those that have become worse first; each has ``worse``.
    groups : tuple of Group
        Declared groups, flagged ones first; each has ``worse`` and ``reasons``.
    concept : Concept or None
        Whether labels go with the predictions as in testing; None when it was not asked for.
    estimate : Estimate or None
        Of all predictions, before labels; None when it was not asked for.
    """

    labels: int
    coverage: float | None
    metrics: tuple[Metric, ...] = ()
    measured: int = 0
    delay: Delay | None = None
    slices: tuple[Slice, ...] = ()
    groups: tuple[Group, ...] = ()
    concept: Concept | None = None
    estimate: Estimate | None = None
    rows: Labelled | None = field(default=None, repr=False, compare=False)
    counts: tuple[int, ...] = field(default=(), repr=False, compare=False)


def measure(
    connection: Connection,
    endpoint: str,
    since: float,
    until: float,
    reference: Reference,
    *,
    revision: int | None = None,
    closely: bool = False,
    by: Sequence[str] | None = None,
    groups_by: Sequence[str] | None = None,
    most: int | None = None,
    points: int = POINTS,
) -> Quality:
    """Measure the predictions made from ``since`` up to ``until`` against their labels.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    endpoint, since, until : str, float, float
        Which predictions.
    reference : Reference
        The package's side: how to read outputs, and what testing found.
    revision : int, optional
        Only one revision's; default: of all that the endpoint had, shadows excepted.
    closely : bool
        Also slices, groups, concept drift, and the estimate before labels.
    by, groups_by : sequence of str, optional
        Columns of the slices and of the groups; default: those of the test report.
    most : int, optional
        Only the newest so many predictions are measured; counts are of all.
    points : int
        Steps of time that `over_time` will show.

    Raises
    ------
    UnknownName
        A column that the predictions' inputs do not have.
    InvalidArgument
        One whose values the endpoint does not keep.
    """
    chosen = labelled.chosen(endpoint, since, until, revision)
    t, known = tables.predictions.c, tables.labels.c
    counts = _counted(connection, chosen, since, until, points if closely else 1)
    total = sum(counts)
    rows = labelled.read(
        connection, endpoint, since, until, reference, revision=revision, inputs=closely, most=most
    )
    labels = len(rows)
    if most is not None and labels >= most:
        joined = sa.select(sa.func.count()).select_from(tables.predictions)
        joined = joined.join(tables.labels, t.prediction_id == known.prediction_id)
        labels = connection.execute(joined.where(*chosen)).scalar() or 0
    coverage = labels / total if total else None
    metrics = overall(rows, reference)
    found = Quality(
        labels, coverage, metrics, len(rows), Delay.of(rows.delays), rows=rows, counts=counts
    )
    if not closely:
        return found
    given: Sequence[Any] = ()
    if reference.baseline.relation is not None and reference.scores:
        given = labelled.outputs(connection, endpoint, since, until, revision=revision, most=most)
    found = replace(found, estimate=_estimated(given, total, rows, reference, metrics))
    if not len(rows):
        return found
    assert rows.inputs is not None
    baseline = reference.baseline
    for name in (*(by or ()), *(groups_by or ())):
        if name in reference.masked:
            raise InvalidArgument(
                f"the values of {name!r} are masked: the endpoint does not keep them",
                hint="deploy again with another --log-mask; it holds for later requests",
            )
    kept = [name for name in rows.inputs.columns if name not in reference.masked]
    inside = [name for name in baseline.parts if name in kept]
    parts = slices.measure(rows, baseline, inside if by is None else by, areas=by is not None)
    declared = [name for name in reference.groups if name in kept]
    return replace(
        found,
        slices=parts,
        groups=groups.measure(rows, baseline, declared if groups_by is None else groups_by),
        concept=concept.examine(rows.outcomes, baseline.relation, parts),
    )


def overall(rows: Labelled, reference: Reference) -> tuple[Metric, ...]:
    """Measure all rows, beside the test report and with verdicts."""
    # intervals of the report are the bootstrap's; what it does not list testing measured so
    before = {**reference.baseline.metrics, **reported(reference.report)}
    found = [metric.against(before) for metric in rows.outcomes.measure()]
    return tuple(judge([found], [len(rows)])[0])


def over_time(since: float, until: float, measured: Quality) -> dict[str, Any]:
    """Return quality in equal steps of time.

    Parameters
    ----------
    since, until : float
        As in `measure`.
    measured : Quality
        What `measure` returned, closely. Of the newest predictions only, if it had a limit: what
        lies before them is unknown.

    Returns
    -------
    dict
        Lists of one length: ``t`` (begin of each step), ``predictions``, ``labels``,
        ``coverage``, ``delay`` (median seconds), and of ``metrics`` by name ``value``, ``low``,
        ``high``. What is unknown is None.
    """
    rows, counts = measured.rows, measured.counts
    assert rows is not None
    points = len(counts)
    step = (until - since) / points
    places = np.clip(((rows.times - since) / step).astype(np.int64), 0, points - 1)
    labels: list[int | None] = np.bincount(places, minlength=points).tolist()
    if measured.measured < measured.labels:  # those before the oldest that was read are unknown
        labels[: int(places[0]) + 1] = [None] * (int(places[0]) + 1)
    bounds = np.searchsorted(places, np.arange(points + 1))
    parts = rows.outcomes.by_part(places, points, SHOWN[rows.outcomes.task])
    found: dict[str, Any] = {
        "t": [since + place * step for place in range(points)],
        "predictions": list(counts),
        "labels": labels,
        "coverage": [
            None if label is None or not count else min(1.0, label / count)
            for label, count in zip(labels, counts, strict=True)
        ],
        "delay": [
            float(np.median(rows.delays[low:high])) if high > low else None
            for low, high in itertools.pairwise(bounds)
        ],
        "metrics": {},
    }
    for name in SHOWN[rows.outcomes.task]:
        values: list[Metric | None] = [
            next((one for one in part if one.name == name), None) for part in parts
        ]
        if any(one is not None and one.value is not None for one in values):
            found["metrics"][name] = {
                key: [None if one is None else getattr(one, key) for one in values]
                for key in ("value", "low", "high")
            }
    return found


def _counted(
    connection: Connection,
    chosen: Sequence[ColumnElement[bool]],
    since: float,
    until: float,
    points: int,
) -> tuple[int, ...]:
    """Count predictions by step of time, in one look at the table."""
    place: Any = (tables.predictions.c.time - since) / ((until - since) / points)
    if connection.dialect.name == "postgresql":  # whose cast rounds; SQLite's cuts off
        place = sa.func.floor(place)
    query = sa.select(sa.cast(place, sa.Integer).label("place"), sa.func.count()).where(*chosen)
    found = [0] * points
    for key, count in connection.execute(query.group_by(sa.literal_column("place"))):
        found[min(int(key), points - 1)] += int(count)
    return tuple(found)


def _estimated(
    answers: Sequence[Any],
    total: int,
    rows: Labelled,
    reference: Reference,
    metrics: Sequence[Metric],
) -> Estimate:
    """Estimate all predictions, and beside it what the labels that came say."""
    relation, outcomes = reference.baseline.relation, rows.outcomes
    task = outcomes.task
    if not total:
        return Estimate(0, reason="no predictions in this time")
    if task == "regression" or not answers:
        # says why it cannot be
        scores = np.zeros(0) if reference.scores else None
        return estimate.estimate(scores, relation, task=task)
    scores, predicted = labelled.decisions(answers, reference)
    found = estimate.estimate(scores, relation, task=task, predicted=predicted)
    if not found.metrics or not len(rows):
        return found
    decided = outcomes.predicted if task == "binary" else None
    mine = estimate.estimate(outcomes.scores, relation, task=task, predicted=decided)
    return found.reconciled(mine, {metric.name: metric for metric in metrics})
