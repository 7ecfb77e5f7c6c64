"""The picture of an endpoint over a time range: the verb ``monitor``."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.cards import Badge, Card, Grid, Spark, Time, image
from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring import backlog, latency, panel, quality, spans, traffic, windows
from mlops_magics.monitoring.alerts import conditions, states
from mlops_magics.monitoring.alerts import policy as alert_policy
from mlops_magics.monitoring.alerts.conditions import Finding
from mlops_magics.monitoring.comparison import CRITERIA, LEAST_ROWS, UNCALIBRATED, Drift, compare
from mlops_magics.monitoring.features import feature
from mlops_magics.monitoring.references import PREDICTION, Reference, References
from mlops_magics.records import Record
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["MonitorPicture", "monitor"]

IDLE_SECONDS = 60.0
POINTS = 120  # of a series, at the most
SHOWN = 8  # features in a card
MEASURED = 10_000  # newest labelled predictions of a picture, which is taken every second


@dataclass(frozen=True)
class MonitorPicture(Record):
    """An endpoint in a time range; what is unknown is None, never zero.

    Attributes
    ----------
    schema : int
        Version of this record's fields.
    state : str
        ``live``, ``idle`` (no request for a minute) or ``down``, with its ``reason``.
    as_of, since, until : float
        When it was taken and which range it covers, exactly; seconds since 1970.
    variants : list
        Revisions that have traffic now.
    efficiency, series : mapping
        Totals, and the same over time.
    features : list
        Columns against the training data, the most different first.
    prediction : mapping or None
        The model's output, likewise.
    quality : mapping or None
        ``metrics`` from ``labels`` that have arrived, with ``coverage`` and ``delay``, by
        ``slices`` and ``groups``, over time (``series``); whether labels go with scores
        (``concept``), and what scores lead to expect (``estimate``). None without labels and
        estimate.
    alerts, notes : list
        What calls for action, and what a reader should know.
    resources : list
        What each revision's workers used: ``revision``, ``number``, ``model``, ``version``,
        ``cpu_seconds`` of cores in the range, ``memory_bytes`` at the most.
    """

    schema: int
    endpoint: str
    state: str
    reason: str | None
    as_of: float
    since: float
    until: float
    variants: Sequence[Mapping[str, Any]]
    efficiency: Mapping[str, Any]
    series: Mapping[str, Sequence[Any]]
    features: Sequence[Mapping[str, Any]]
    prediction: Mapping[str, Any] | None
    quality: Mapping[str, Any] | None
    alerts: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    resources: Sequence[Mapping[str, Any]] = ()

    def svg(self) -> str:
        """Return a drawing that stands alone: no script, no reference, readable on any theme."""
        from mlops_magics.monitoring.drawing import draw

        return draw(self.to_dict())

    def _repr_html_(self) -> str:
        alt = f"{self.endpoint}: the values of this picture are in the tables below it"
        return image(self.svg(), alt) + super()._repr_html_()

    def card(self) -> Card:
        badges = {
            "live": Badge("live", "good"),
            "idle": Badge("idle", "neutral"),
            "down": Badge("down", "bad"),
        }
        figures, spent = self.efficiency, self.efficiency["latency_ms"]
        facts: list[tuple[str, Any]] = [("from", Time(self.since)), ("to", Time(self.until))]
        facts += [("why", self.reason)] if self.reason else []
        facts += [(name, figures[name]) for name in ("requests", "rows", "errors")]
        facts += [("p50, p95, p99 ms", [spent[name] for name in ("p50", "p95", "p99")])]
        facts += [
            (f"{one['variant']}", f"{one['model']}/{one['version']}, {one['percent']:g} %")
            for one in self.variants
        ]
        facts += [
            (
                f"r{one['number']} used",
                f"{one['cpu_seconds']:.1f} s of cores, {one['memory_bytes'] / 1e6:,.0f} MB",
            )
            for one in self.resources
        ]
        shown = ([self.prediction] if self.prediction else []) + list(self.features)[:SHOWN]
        grids = []
        if self.alerts:
            rows = [
                [Badge(one["severity"], "bad" if one["severity"] == "critical" else "warn"),
                 one["title"]]
                for one in self.alerts
            ]  # fmt: skip
            grids.append(Grid(["alert", ""], rows))
        if shown:
            titles = ["column", "verdict", "PSI", "JS", "nulls", "was", "now", "training"]
            grids.append(Grid(titles, [_cells(one) for one in shown], "against the training data"))
        if self.quality:
            grids += panel.grids(self.quality)
        return Card(
            title=self.endpoint,
            subtitle="monitor",
            badge=badges[self.state],
            facts=facts,
            grids=grids,
            notes=list(self.notes),
        )


def monitor(
    endpoint: str,
    *,
    last: str | float = "1h",
    since: float | str | datetime | None = None,
    until: float | str | datetime | None = None,
    workspace: Workspace | None = None,
) -> MonitorPicture:
    """Take the picture of an endpoint over a time range.

    Parameters
    ----------
    endpoint : str
        Its name.
    last : str or float
        Span until now (or until ``until``): ``"1h"``, ``"30m"``, or seconds. Without ``since``
        the range begins at a full ten seconds.
    since, until : float, str or datetime, optional
        The range itself: from ``since``, up to but without ``until``; default until now.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound
        There is no endpoint of that name.
    InvalidArgument
        The range cannot be understood, or is empty.

    Examples
    --------
    >>> picture = monitor("flight-delay", last="15m", workspace=workspace)
    >>> picture.state  # no server runs in this example
    'down'
    """
    now = time.time()
    end = now if until is None else spans.moment(until)
    if since is None:
        begin = math.floor((end - spans.seconds(last)) / windows.SECONDS) * windows.SECONDS
    else:
        begin = spans.moment(since)
    if end <= begin:
        raise InvalidArgument(f"the range from {begin:.0f} to {end:.0f} is empty")
    workspace = resolve(workspace)
    health = traffic.health(workspace)
    # nothing is later than now: the window that is being filled is covered to its end
    covered = end if end < now else math.ceil(now / windows.SECONDS) * windows.SECONDS
    references = References()
    with workspace.database.read() as connection:
        variants = traffic.variants(connection, endpoint)
        found = windows.read(connection, endpoint, begin, covered, references)
        key = variants[0].revision if variants else max(found, default=0)
        reference = references.of(connection, key)
        measured = quality.measure(
            connection, endpoint, begin, covered, reference, closely=True, most=MEASURED
        )
        newest = _newest(connection, endpoint)
        opened = states.opened(connection, endpoint)
        policy = alert_policy.read(connection, endpoint)
        resources = _resources(connection, endpoint, begin, covered)
    whole = windows.total(window for part in found.values() for window in part)
    drifts, features, prediction, notes = _compared(
        reference, windows.total(found.get(key, [])), policy.false_alarms
    )
    if len([revision for revision in found if revision]) > 1:
        notes.append(f"columns are those of revision {key}; totals are of all revisions")
    if not health.agent and (waiting := backlog.unloaded(workspace)):
        notes.append(f"{waiting:,} bytes of the log are not loaded: the agent is not running")
    state, reason = _state(health, variants, newest, now)
    efficiency = _efficiency(whole, end - begin)
    shown = conditions.of_requests(whole, policy) if whole is not None else []
    shown += conditions.of_columns(drifts)
    shown += conditions.of_quality(measured)
    return MonitorPicture(
        schema=1,
        endpoint=endpoint,
        state=state,
        reason=reason,
        as_of=now,
        since=begin,
        until=end,
        variants=[vars(variant) for variant in variants],
        efficiency=efficiency,
        series=_series([w for part in found.values() for w in part], begin, end),
        features=features,
        prediction=prediction,
        quality=panel.panel(measured, quality.over_time(begin, covered, measured)),
        alerts=_alerts(opened, shown, begin),
        notes=notes,
        resources=resources,
    )


def _resources(
    connection: Connection, endpoint: str, since: float, until: float
) -> list[dict[str, Any]]:
    found = windows.used(connection, endpoint, since, until)
    t = tables.revisions.c
    query = sa.select(t.id, t.number, t.model, t.version).where(t.id.in_(found)).order_by(t.id)
    return [
        {
            "revision": row.id,
            "number": row.number,
            "model": row.model,
            "version": row.version,
            "cpu_seconds": found[row.id][0],
            "memory_bytes": found[row.id][1],
        }
        for row in connection.execute(query)
    ]


def _state(
    health: traffic.Health, variants: Sequence[traffic.Variant], newest: float | None, now: float
) -> tuple[str, str | None]:
    if not health.up:
        return "down", health.reason
    if not variants:
        return "down", "no revision is deployed"
    if newest is None:
        return "idle", "no request yet"
    quiet = now - newest
    if quiet > IDLE_SECONDS:
        return "idle", f"no request for {quiet // 60:.0f} min"
    return "live", None


def _newest(connection: Connection, endpoint: str) -> float | None:
    t = tables.predictions.c
    query = sa.select(sa.func.max(t.time)).where(t.endpoint == endpoint)
    return connection.execute(query).scalar()


def _efficiency(whole: windows.Window | None, span: float) -> dict[str, Any]:
    if whole is None:
        nothing = {"requests": 0, "rows": 0, "errors": 0, "error_rate": None, "throughput": 0.0}
        return nothing | {"latency_ms": {"p50": None, "p95": None, "p99": None}}
    return {
        "requests": whole.requests,
        "rows": whole.rows,
        "errors": whole.errors,
        "error_rate": whole.errors / whole.requests if whole.requests else None,
        "throughput": whole.requests / span,
        "latency_ms": _quantiles(whole),
    }


def _quantiles(window: windows.Window | None) -> dict[str, float | None]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    if window is None:
        return dict.fromkeys(shares)
    return {name: latency.quantile(window.latency, share) for name, share in shares.items()}


def _series(parts: Sequence[windows.Window], begin: float, end: float) -> dict[str, list[Any]]:
    """Totals over time in at most `POINTS` equal steps, from the first request on."""
    series: dict[str, list[Any]] = {
        name: [] for name in ("t", "requests", "errors", "p50", "p95", "p99")
    }
    if not parts:
        return series
    step = math.ceil((end - begin) / POINTS / windows.SECONDS) * windows.SECONDS
    groups: dict[int, list[windows.Window]] = {}
    for window in parts:
        # a time without offset: steps begin where the range does
        groups.setdefault(int(max(0.0, window.start - begin) // step), []).append(window)
    for place in range(min(groups), math.ceil((end - begin) / step)):
        window_ = windows.total(
            windows.Window(w.start, w.requests, w.rows, w.errors, w.latency)
            for w in groups.get(place, [])
        )
        series["t"].append(begin + place * step)
        series["requests"].append(window_.requests if window_ else 0)
        series["errors"].append(window_.errors if window_ else 0)
        for name, value in _quantiles(window_).items():
            series[name].append(value)
    return series


def _compared(
    reference: Reference, window: windows.Window | None, rate: float
) -> tuple[list[Drift], list[dict[str, Any]], dict[str, Any] | None, list[str]]:
    """Columns and prediction against the reference, and what to say about it."""
    if reference.profile is None:
        return (
            [],
            [],
            None,
            ["the package has no reference profile: nothing to compare the data with"],
        )
    if window is None or window.profile is None:
        return [], [], None, ["no predictions in this time to compare with the training data"]
    notes = [CRITERIA]
    if window.profile.rows < LEAST_ROWS:
        notes = [f"{window.profile.rows} rows are too few to call drift; {LEAST_ROWS} are needed"]
    if reference.calibration is None:
        notes.append(UNCALIBRATED)
    if window.profile.extra:
        notes.append("columns the model does not know: " + ", ".join(window.profile.extra))
    before, after = reference.profile.columns, window.profile.columns
    drifts = compare(
        reference.profile,
        window.profile,
        calibration=reference.calibration,
        masked=reference.masked,
        rate=rate,
    )
    found = [feature(drift, before[drift.name], after[drift.name]) for drift in drifts]
    features = [one for one in found if one["name"] != PREDICTION]
    features.sort(key=lambda one: -math.inf if one["psi"] is None else one["psi"], reverse=True)
    prediction = next((one for one in found if one["name"] == PREDICTION), None)
    return drifts, features, prediction, notes


def _alerts(
    opened: Mapping[str, Any], found: Sequence[Finding], since: float
) -> list[dict[str, Any]]:
    """Return the alerts that are open, and what else the range shows, dated by its begin.

    What somebody has acknowledged calls for no attention.
    """
    alerts = [
        {
            "id": row.id,
            "kind": row.kind,
            "severity": row.severity,
            "title": row.title,
            "since": row.opened,
        }
        for row in sorted(opened.values(), key=lambda row: -row.opened)
        if row.status == "OPEN" and row.severity != "info"
    ]
    for kind in conditions.KINDS:
        group = [one for one in found if one.kind == kind]
        if group and kind not in opened:
            severity, title = conditions.summary(group)
            alerts.append(
                {"id": None, "kind": kind, "severity": severity, "title": title, "since": since}
            )
    return alerts


def _cells(one: Mapping[str, Any]) -> list[Any]:
    verdicts = {
        True: Badge("drifted", "warn"),
        False: Badge("stable", "good"),
        None: Badge("unknown", "neutral"),
    }
    histogram = one["histogram"] or {"reference": [], "current": []}
    now, before = one["nulls"]["current"], one["nulls"]["reference"]
    return [
        one["name"],
        verdicts[one["drifted"]],
        one["psi"],
        one["js"],
        None if now is None else f"{now:.1%}",
        None if before is None else f"{before:.1%}",
        Spark(histogram["current"], histogram["reference"]),
        Spark(histogram["reference"]),
    ]
