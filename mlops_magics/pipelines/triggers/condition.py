"""Conditions: what a trigger watches for, whatever it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Condition", "Seen", "Watched"]


@dataclass(frozen=True)
class Watched:
    """A trigger as the agent has read it.

    Attributes
    ----------
    id : int
    name, pipeline, kind : str
    path : Path
        Of the pipeline, absolute.
    when : mapping
        What its condition was given.
    seen : mapping
        What was there when its condition last looked, or last held.
    number : int
        How often it has fired, skipped firings too.
    fired : float or None
        When it last fired, skipped firings apart.
    problem : str or None
        Why its condition cannot be looked at.
    params : mapping
        For the pipeline.
    cooldown : float
        Seconds after a firing in which it does not fire.
    retries : int
        How often a failed run is tried again.
    overlap : bool
        Whether it may run beside other runs of the pipeline.
    """

    id: int
    name: str
    pipeline: str
    kind: str
    path: Path
    when: Mapping[str, Any] = field(default_factory=dict)
    seen: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    fired: float | None = None
    problem: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    cooldown: float = 0.0
    retries: int = 0
    overlap: bool = False

    @classmethod
    def of(cls, workspace: Workspace, row: Any) -> Watched:
        """Read a row of the table ``triggers``."""
        return cls(
            id=row.id,
            name=row.name,
            pipeline=row.pipeline,
            kind=row.kind,
            path=workspace.root / row.path,
            **row.settings,
            **row.state,
        )

    def rests(self, now: float) -> bool:
        """Whether it has fired so short a time ago that it does not fire again."""
        return self.fired is not None and 0 <= now - self.fired < self.cooldown


@dataclass(frozen=True)
class Seen:
    """What a look at a condition gave.

    Attributes
    ----------
    seen : mapping
        JSON values to compare with the next time.
    reason : str or None
        What happened; None: nothing that fires.
    key : str or None
        What happened, said the same by whoever sees it; None: the next firing of its trigger.
    alerts : tuple of int
        The alerts that it is about.
    """

    seen: Mapping[str, Any]
    reason: str | None = None
    key: str | None = None
    alerts: tuple[int, ...] = ()


class Condition(Protocol):
    """Something that happens from time to time."""

    every: float
    """Seconds between two looks."""

    def words(self, when: Mapping[str, Any]) -> str:
        """Say what is watched for."""

    def begin(self, workspace: Workspace, when: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return what is there now: what is seen from now on is compared with it."""

    def look(self, workspace: Workspace, trigger: Watched, now: float) -> Seen:
        """Compare what is there with what was seen."""
