"""Alarms: an alert that opens, or a model that has become worse than it was in its test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import shares
from mlops_magics.errors import EndpointNotFound, InvalidArgument, UnknownName
from mlops_magics.monitoring import quality, spans
from mlops_magics.monitoring.alerts.policy import SEVERITIES
from mlops_magics.monitoring.references import Reference, References
from mlops_magics.pipelines.triggers.condition import Seen, Watched
from mlops_magics.store import tables

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["METRICS", "Alerts", "Decay"]

METRICS = {
    **dict.fromkeys(("roc_auc", "accuracy", "precision", "recall", "f1", "f1_macro", "r2"), 1),
    **dict.fromkeys(("brier", "log_loss", "rmse", "mae", "fpr"), -1),
}
"""What is measured from labels: 1 where more is better, -1 where less is."""


class Alerts:
    """``when``: ``endpoint`` (None: any), ``severity``, the least, and ``kinds`` (none: any)."""

    every = 2.0

    def words(self, when: Mapping[str, Any]) -> str:
        """Say which alerts are waited for."""
        where = f" of endpoint {when['endpoint']}" if when["endpoint"] else ""
        about = f" about {' or '.join(when['kinds'])}" if when.get("kinds") else ""
        return f"an alert{where}{about}, {when['severity']} or worse"

    def begin(self, workspace: Workspace, when: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin with alerts that open from now on."""
        t = tables.alerts.c
        with workspace.database.read() as connection:
            last = connection.execute(sa.select(sa.func.max(t.id))).scalar()
        return {"until": now, "last": last or 0}

    def look(self, workspace: Workspace, trigger: Watched, now: float) -> Seen:
        """Fire once for the alerts that have opened and are open still."""
        t = tables.alerts.c
        until = float(trigger.seen["until"])
        worse = SEVERITIES[SEVERITIES.index(trigger.when["severity"]) :]
        query = sa.select(t.id, t.endpoint, t.severity, t.title, t.opened).where(
            t.status != "RESOLVED",
            t.silenced == 0,
            # several may have opened at one moment
            (t.opened > until) | ((t.opened == until) & (t.id > trigger.seen.get("last", 0))),
            t.severity.in_(worse),
        )
        if trigger.when.get("kinds"):
            query = query.where(t.kind.in_(trigger.when["kinds"]))
        if trigger.when["endpoint"]:
            query = query.where(t.endpoint == trigger.when["endpoint"])
        with workspace.database.read() as connection:
            rows = connection.execute(query.order_by(t.opened, t.id)).all()
        if not rows:
            return Seen(trigger.seen)
        reason = "; ".join(f"{row.severity} of {row.endpoint}: {row.title}" for row in rows[-3:])
        more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
        return Seen(
            {"until": rows[-1].opened, "last": rows[-1].id},
            f"alert opened: {reason}{more}",
            alerts=tuple(row.id for row in rows),
        )


class Decay:
    """``when``: ``metric``, ``by``, ``endpoint``, ``window`` in seconds, ``labels``, the least.

    What counts is what the champion has predicted, in the window and since the trigger last fired.
    It has decayed when the metric is worse than in the model's test report by
    more than ``by``, and its 95 % interval does not reach the report's value: chance makes no run.
    """

    every = 30.0

    def __init__(self) -> None:
        self._references = References()

    def words(self, when: Mapping[str, Any]) -> str:
        """Say what is compared."""
        return (
            f"{when['metric']} of endpoint {when['endpoint']} worse than in its test by more than "
            f"{when['by']:g}; over {spans.words(when['window'])}, with {when['labels']:,} "
            "labels or more"
        )

    def begin(self, workspace: Workspace, when: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Check that there is something to compare with.

        Raises
        ------
        EndpointNotFound
            There is no such endpoint, or it serves nothing.
        InvalidArgument
            The served model's test report does not have the metric.
        """
        _, reference = self._champion(workspace, when["endpoint"])
        known = quality.reported(reference.report)
        if when["metric"] not in known:
            measured = sorted(name for name in known if name in METRICS)
            raise InvalidArgument(
                f"the test report of the model at {when['endpoint']!r} has no {when['metric']!r}",
                hint=UnknownName("metric", when["metric"], measured).hint,
            )
        return {"until": 0.0}

    def look(self, workspace: Workspace, trigger: Watched, now: float) -> Seen:
        """Measure, and fire if it has decayed."""
        when = trigger.when
        revision, reference = self._champion(workspace, when["endpoint"])
        begin = max(now - when["window"], float(trigger.seen["until"]))
        with workspace.database.read() as connection:
            found = quality.measure(
                connection, when["endpoint"], begin, now, reference, revision=revision
            )
        metric = next((one for one in found.metrics if one.name == when["metric"]), None)
        if found.labels < when["labels"] or metric is None or metric.value is None:
            return Seen(trigger.seen)
        if metric.reference is None:
            return Seen(trigger.seen)
        sign = METRICS[when["metric"]]
        best = metric.high if sign > 0 else metric.low
        lost = sign * (metric.reference - metric.value)
        sure = best is not None and sign * (metric.reference - best) > 0
        if lost <= when["by"] or not sure:
            return Seen(trigger.seen)
        interval = f"[{metric.low:.4g}, {metric.high:.4g}]"
        reason = (
            f"{metric.name} of {when['endpoint']} is {metric.value:.4g} {interval} by "
            f"{found.labels:,} labels; in its test it was {metric.reference:.4g}"
        )
        return Seen({"until": now}, reason)

    def _champion(self, workspace: Workspace, endpoint: str) -> tuple[int, Reference]:
        """Return the revision that serves, and what its package says."""
        with workspace.database.read() as connection:
            rows = connection.execute(sa.select(tables.endpoints)).all()
            row = next((one for one in rows if one.name == endpoint), None)
            if row is None:
                near = UnknownName("endpoint", endpoint, [one.name for one in rows])
                raise EndpointNotFound(near.message, hint=near.hint)
            revision = shares.champion_of(row)
            if revision is None:
                raise EndpointNotFound(f"endpoint {endpoint!r} serves nothing")
            return revision, self._references.of(connection, revision)
