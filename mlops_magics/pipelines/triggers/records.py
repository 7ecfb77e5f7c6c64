"""What the triggers' verbs return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops_magics.cards import Badge, Card, Code, Time, Tone
from mlops_magics.monitoring import spans
from mlops_magics.records import Record, Table

__all__ = ["Firing", "Firings", "Trigger", "Triggers"]

_TONES: dict[str, Tone] = {
    "FINISHED": "good",
    "FAILED": "bad",
    "RUNNING": "neutral",
    "WAITING": "neutral",
    "SKIPPED": "neutral",
}


@dataclass(frozen=True)
class Trigger(Record):
    """What makes a pipeline run while nobody is there.

    Attributes
    ----------
    name, pipeline : str
    kind : str
        cron, data, predictions, alert, decay, code or registry.
    when : str
        What it waits for, in words.
    path : str
        The pipeline's file; a release of the pipeline is run instead, where there is one.
    params : mapping
        For the pipeline.
    cooldown : float
        Seconds after a firing in which it does not fire again.
    retries : int
        How often a failed run is tried again.
    overlap : bool
        Whether it may run beside other runs of the pipeline.
    enabled : bool
        False while it is paused.
    next : float or None
        When a schedule fires next, seconds since 1970.
    fired : float or None
        When it fired last.
    problem : str or None
        Why it cannot look.
    actor : str
        Who made it.
    created : float
    removed : bool
        Whether it was removed just now.
    """

    name: str
    pipeline: str
    kind: str
    when: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    cooldown: float = 0.0
    retries: int = 0
    overlap: bool = False
    enabled: bool = True
    next: float | None = None
    fired: float | None = None
    problem: str | None = None
    actor: str = ""
    created: float = 0.0
    removed: bool = False

    @property
    def badge(self) -> Badge:
        """Its state."""
        if self.removed:
            return Badge("removed")
        if not self.enabled:
            return Badge("paused", "warn")
        return Badge("cannot look", "bad") if self.problem else Badge("watching", "good")

    def card(self) -> Card:
        """Show what it waits for, and what it then runs."""
        facts: list[tuple[str, Any]] = [
            ("when", self.when),
            ("pipeline", self.pipeline),
            ("path", Code(self.path)),
            ("parameters", dict(self.params) or None),
        ]
        facts += [("cooldown", spans.words(self.cooldown))] if self.cooldown else []
        facts += [("retries", self.retries)] if self.retries else []
        facts += [("overlap", True)] if self.overlap else []
        facts += [("next", Time(self.next))] if self.next is not None and self.enabled else []
        facts += [("last fired", Time(self.fired)), ("by", self.actor)]
        following = [f"mlops trigger history {self.name}", f"mlops trigger fire {self.name}"]
        return Card(
            self.name,
            subtitle=f"{self.kind} trigger",
            badge=self.badge,
            facts=facts,
            notes=[self.problem] if self.problem else [],
            next=[] if self.removed else following,
        )


@dataclass(frozen=True)
class Triggers(Table):
    """All triggers of a workspace."""

    rows: Sequence[Trigger] = ()
    idle: bool = False

    def title(self) -> str:
        """Return the card's title."""
        return "Triggers"

    def empty(self) -> str:
        """Say how to make the first."""
        return "no trigger yet: mlops trigger add PIPELINE --cron '0 3 * * sun'"

    def cells(self, row: Trigger) -> Mapping[str, Any]:
        """Show what each waits for, and when it fired."""
        return {
            "name": row.name,
            "pipeline": row.pipeline,
            "when": row.when,
            "": row.badge,
            "next": Time(row.next) if row.next is not None and row.enabled else None,
            "last fired": Time(row.fired),
        }

    def card(self) -> Card:
        """Tell also when nobody watches."""
        card = super().card()
        if not self.idle:
            return card
        note = "the server is not running: none of them fires until: mlops start"
        return Card(card.title, card.subtitle, Badge("idle", "bad"), grids=card.grids, notes=[note])


@dataclass(frozen=True)
class Firing(Record):
    """Something that happened, and what came of it.

    Attributes
    ----------
    id : int
    trigger, pipeline, kind : str
    time : float
        Seconds since 1970.
    reason : str
        Why it fired.
    status : str
        WAITING, RUNNING, FINISHED, FAILED or SKIPPED.
    tries : int
        How often its run was begun.
    run : str or None
        The pipeline run; of several tries the last.
    release : str or None
        The release that it ran; None: the files of the working tree.
    seconds : float or None
        How long the run took.
    outcome : str or None
        What there is to say of its end.
    log : str
        The file with what its process wrote.
    alerts : tuple of int
        The alerts that it was fired by.
    """

    id: int
    trigger: str
    pipeline: str
    kind: str
    time: float
    reason: str
    status: str
    tries: int = 0
    run: str | None = None
    release: str | None = None
    seconds: float | None = None
    outcome: str | None = None
    log: str = ""
    alerts: Sequence[int] = ()

    @property
    def badge(self) -> Badge:
        """Its state."""
        return Badge(self.status, _TONES.get(self.status, "neutral"))

    def card(self) -> Card:
        """Show why, and what came of it."""
        facts: list[tuple[str, Any]] = [
            ("time", Time(self.time)),
            ("why", self.reason),
            ("pipeline", self.pipeline),
        ]
        facts += [("alerts", list(self.alerts))] if self.alerts else []
        facts += [("run", Code(self.run))] if self.run else []
        facts += [("release", Code(self.release))] if self.release else []
        facts += [("seconds", round(self.seconds, 1))] if self.seconds is not None else []
        facts += [("tries", self.tries)] if self.tries > 1 else []
        facts += [("log", Code(self.log))] if self.tries else []
        return Card(
            f"{self.trigger}, firing {self.id}",
            badge=self.badge,
            facts=facts,
            notes=[self.outcome] if self.outcome else [],
            next=[f"mlops trigger history {self.trigger}"],
        )


@dataclass(frozen=True)
class Firings(Table):
    """Firings, the newest first."""

    rows: Sequence[Firing] = ()
    name: str | None = None

    def title(self) -> str:
        """Name the trigger whose firings these are."""
        return f"Firings of {self.name}" if self.name else "Firings"

    def empty(self) -> str:
        """Say that nothing has happened."""
        return "nothing has fired yet; what is waited for: mlops trigger list"

    def cells(self, row: Firing) -> Mapping[str, Any]:
        """Show why each ran, and what came of it."""
        cells: dict[str, Any] = {"firing": row.id, "time": Time(row.time)}
        if self.name is None:
            cells["trigger"] = row.trigger
        cells |= {
            "why": row.reason,
            "": row.badge,
            "run": Code(row.run) if row.run else None,
            "seconds": None if row.seconds is None else round(row.seconds, 1),
            "outcome": row.outcome,
        }
        if any(one.release for one in self.rows):
            cells["release"] = row.release
        return cells
