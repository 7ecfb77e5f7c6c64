"""What the verbs of alerts return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_magics.cards import Badge, Card, Code, Grid, Interval, Time
from mlops_magics.monitoring import spans
from mlops_magics.monitoring.alerts import webhook
from mlops_magics.monitoring.alerts.policy import Policy
from mlops_magics.monitoring.references import PREDICTION
from mlops_magics.records import Record, Table

if TYPE_CHECKING:
    import pandas as pd

    from mlops_magics.cards import Tone
    from mlops_magics.monitoring.alerts.origin import Origin
    from mlops_magics.store.workspace import Workspace

__all__ = ["Alert", "AlertSettings", "Alerts", "shown_target"]

_SEVERITIES: dict[str, Tone] = {"critical": "bad", "warning": "warn"}
_STATUSES: dict[str, Tone] = {"OPEN": "bad", "ACKNOWLEDGED": "warn", "RESOLVED": "good"}
_DELIVERED: dict[str, Tone] = {"DELIVERED": "good", "FAILED": "bad", "SKIPPED": "neutral"}


@dataclass(frozen=True)
class Alert(Record):
    """Something that is wrong at an endpoint, and has been for several windows.

    Attributes
    ----------
    id : int
    endpoint : str
    kind : str
        errors, latency, data, drift, quality, server or profile; an endpoint has at most one alert
        of a kind that is not resolved.
    severity : str
        info, warning or critical.
    title : str
    status : str
        OPEN, ACKNOWLEDGED or RESOLVED.
    opened, updated : float
        When it was opened, and the end of the last window in which it held; seconds since 1970.
    count : int
        Windows in which it held.
    evidence : mapping
        ``window``, ``revision``, ``persistence``, ``false_alarms`` (asked, and measured on the
        reference) and ``items``: what is wrong, with the numbers and their thresholds.
    silenced : bool
        Whether it was opened in silence: nothing was delivered.
    acknowledged, resolved : float or None
    actor, reason : str or None
        Who acknowledged or resolved it, and why.
    deliveries : list
        ``kind``, ``target``, ``status``, ``tries``, ``time`` and ``outcome`` of each.
    runs : list
        Pipeline runs that it caused: ``run``, ``pipeline``, ``status``, ``trigger``, ``firing``.
    """

    id: int
    endpoint: str
    kind: str
    severity: str
    title: str
    status: str
    opened: float
    updated: float
    count: int = 1
    evidence: Mapping[str, Any] = field(default_factory=dict)
    silenced: bool = False
    acknowledged: float | None = None
    resolved: float | None = None
    actor: str | None = None
    reason: str | None = None
    deliveries: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[Mapping[str, Any]] = ()
    workspace: Workspace | None = field(
        default=None, repr=False, compare=False, metadata={"hidden": True}
    )

    @property
    def requests(self) -> pd.DataFrame:
        """The rows of the inference table that it is about, with the reason as column ``why``.

        Of a column that drifted those in the bins that grew, with a missing, invalid or new value;
        failed or slow requests; labelled rows that were predicted wrongly.
        """
        from mlops_magics.monitoring.alerts import evidence

        return evidence.requests(self)

    @property
    def notebook(self) -> Origin:
        """The notebook, and its cell, that made the model which served."""
        from mlops_magics.monitoring.alerts import origin

        return origin.of(self)

    def card(self) -> Card:
        """Show what is wrong, how sure that is, and what was done about it."""
        window = self.evidence.get("window") or {}
        facts: list[tuple[str, Any]] = [
            ("what", self.title),
            ("status", Badge(self.status, _STATUSES.get(self.status, "neutral"))),
            ("opened", Time(self.opened)),
            ("last held", Time(self.updated)),
            ("windows", self.count),
        ]
        if window:
            names = ("requests", "rows")
            size = [f"{window[name]:,} {name}" for name in names if window.get(name) is not None]
            facts += [("from", Time(window["since"])), ("to", Time(window["until"]))]
            facts += [("in it", ", ".join(size))] if size else []
        served = self.evidence.get("revision")
        if served:
            text = f"r{served['number']}, {served['model']}/{served['version']}"
            facts.append(("served by", text))
        facts += [("sure", sure)] if (sure := self._sure()) else []
        for name, moment in (("acknowledged", self.acknowledged), ("resolved", self.resolved)):
            facts += [(name, Time(moment))] if moment is not None else []
        facts += [("by", self.actor)] if self.actor else []
        facts += [("because", self.reason)] if self.reason else []
        following = []
        if self.status == "OPEN":
            following.append(f"mlops alerts acknowledge {self.id}")
        if self.status != "RESOLVED":
            following.append(f"mlops alerts resolve {self.id}")
        return Card(
            f"{self.endpoint}, alert {self.id}",
            subtitle=self.kind,
            badge=Badge(self.severity, _SEVERITIES.get(self.severity, "neutral")),
            facts=facts,
            grids=self._grids(),
            notes=[
                *(["It was opened in silence: nothing is delivered."] if self.silenced else []),
                f"Its requests, and where its model was made: mlops.alert({self.id}).requests, "
                ".notebook",
            ],
            next=following,
        )

    def _sure(self) -> str:
        """Say how often chance does this."""
        rates, windows = self.evidence.get("false_alarms"), self.evidence.get("persistence")
        if not rates:
            return ""
        text = f"of windows with nothing wrong at most {rates['asked']:.2%} look so"
        if rates.get("measured") is not None:
            text += f" ({rates['measured']:.2%} measured on the reference)"
        return text + (f"; {windows} in a row did" if windows and windows > 1 else "")

    def _grids(self) -> list[Grid]:
        grids = []
        items = [one for one in self.evidence.get("items", ()) if one.get("item")]
        if self.kind == "quality":
            rows = [
                [one["item"], Interval(one["value"], one["low"], one["high"]), one["reference"]]
                for one in items
            ]
            grids += [Grid(["metric", "value", "in testing"], rows)] if rows else []
        elif items:
            rows = [
                [
                    "the prediction" if one["item"] == PREDICTION else one["item"],
                    one["words"],
                    one.get("psi"),
                    one.get("q_value"),
                    one.get("threshold"),
                ]
                for one in items
            ]
            grids.append(Grid(["column", "", "PSI", "q", "threshold"], rows, shown=8))
        failed = self.evidence.get("failed")
        if failed:
            grids.append(Grid(["status", "requests"], [list(pair) for pair in failed.items()]))
        if self.deliveries:
            rows = [
                [
                    one["kind"],
                    one["target"],
                    Badge(one["status"], _DELIVERED.get(one["status"], "warn")),
                    Time(one["time"]),
                    one["outcome"],
                ]
                for one in self.deliveries
            ]
            grids.append(Grid(["delivery", "to", "", "time", "outcome"], rows))
        if self.runs:
            rows = [
                [Code(one["run"] or "–"), one["pipeline"], one["status"], one["trigger"]]
                for one in self.runs
            ]
            grids.append(Grid(["run", "pipeline", "status", "trigger"], rows))
        return grids


@dataclass(frozen=True)
class Alerts(Table):
    """Alerts, the newest first.

    Attributes
    ----------
    endpoint : str or None
        Whose; None: all.
    status : str
        What was asked for.
    """

    rows: Sequence[Alert] = ()
    endpoint: str | None = None
    status: str = "active"

    def title(self) -> str:
        """Say whose they are."""
        return f"Alerts of {self.endpoint}" if self.endpoint else "Alerts"

    def empty(self) -> str:
        """Say that nothing is wrong, as far as is known."""
        if self.status == "active":
            return "nothing is wrong that is known; former ones: mlops alerts list --status all"
        return f"no alert is {self.status}" if self.status != "all" else "no alert yet"

    def cells(self, row: Alert) -> Mapping[str, Any]:
        """Show what is wrong, and since when."""
        return {
            "alert": row.id,
            **({} if self.endpoint else {"endpoint": row.endpoint}),
            "": Badge(row.severity, _SEVERITIES.get(row.severity, "neutral")),
            "what": row.title,
            "status": Badge(row.status, _STATUSES.get(row.status, "neutral")),
            "opened": Time(row.opened),
            "windows": row.count,
        }


@dataclass(frozen=True)
class AlertSettings(Record):
    """What an endpoint's alerts ask for.

    Attributes
    ----------
    on : bool
    window, cooldown : float
        Seconds.
    rows, labels : int
        That a verdict on data, and on quality, needs.
    persistence : int
        Windows in a row.
    false_alarms : float
    errors : float or None
        Share of failed requests that is allowed.
    latency : float or None
        Milliseconds for 95 % of the requests.
    severity : str
        The least that is delivered.
    webhooks, commands, actions : list of str
        As they may be shown: of a URL only the host.
    silenced : float or None
        Until when; seconds since 1970.
    until : float or None
        The end of the last window that was judged.
    notes : list of str
        What stands in the way.
    """

    endpoint: str
    on: bool
    window: float
    rows: int
    labels: int
    persistence: int
    cooldown: float
    false_alarms: float
    errors: float | None
    latency: float | None
    severity: str
    webhooks: Sequence[str] = ()
    commands: Sequence[str] = ()
    actions: Sequence[str] = ()
    silenced: float | None = None
    until: float | None = None
    notes: Sequence[str] = ()

    @classmethod
    def of(
        cls, endpoint: str, policy: Policy, until: float | None, notes: Sequence[str] = ()
    ) -> AlertSettings:
        """Show a policy."""
        same = ["on", "window", "rows", "labels", "persistence", "cooldown", "false_alarms"]
        same += ["errors", "latency", "severity", "silenced"]
        return cls(
            endpoint=endpoint,
            webhooks=[webhook.shown(url) for url in policy.webhooks],
            commands=[" ".join(arguments) for arguments in policy.commands],
            actions=[
                f"pipeline:{one['path']}" if one["kind"] == "pipeline" else one["kind"]
                for one in policy.actions
            ],
            until=until,
            notes=notes,
            **{name: getattr(policy, name) for name in same},
        )

    def card(self) -> Card:
        """Show what is watched, and what is done."""
        spare = "any" if self.errors is None else f"{self.errors:.2%} of the requests may fail"
        budget = "no budget" if self.latency is None else f"95 % within {self.latency:g} ms"
        facts: list[tuple[str, Any]] = [
            ("window", spans.words(self.window)),
            ("false alarms", f"{self.false_alarms:.2%} of windows with nothing wrong"),
            (
                "persistence",
                f"{self.persistence} windows in a row" if self.persistence > 1 else "one window",
            ),
            ("cooldown", spans.words(self.cooldown) if self.cooldown else "none"),
            ("errors", spare),
            ("latency", budget),
            ("data", f"judged by {self.rows:,} rows or more"),
            ("quality", f"judged by {self.labels:,} labels or more"),
            ("delivered", f"{self.severity} or worse"),
        ]
        named = (("webhook", self.webhooks), ("command", self.commands), ("action", self.actions))
        facts += [(name, Code(one)) for name, ones in named for one in ones]
        facts += [("silent until", Time(self.silenced))] if self.silenced is not None else []
        facts += [("judged until", Time(self.until))] if self.until is not None else []
        return Card(
            self.endpoint,
            subtitle="alerts",
            badge=Badge("watched", "good") if self.on else Badge("off", "warn"),
            facts=facts,
            notes=self.notes,
            next=[f"mlops alerts list {self.endpoint}"],
        )


def shown_target(kind: str, target: Mapping[str, Any]) -> str:
    """Return what may be shown of where a delivery goes."""
    if kind == "webhook":
        return webhook.shown(target["url"])
    return " ".join(target.get("arguments", ()))
