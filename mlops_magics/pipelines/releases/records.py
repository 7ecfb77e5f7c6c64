"""What the releases' verbs return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops_magics.cards import Badge, Card, Code, Time, Tone
from mlops_magics.records import Record, Table

__all__ = ["Release", "Releases"]

_TONES: dict[str, Tone] = {
    "CURRENT": "good",
    "FAILED": "bad",
    "FORMER": "neutral",
    "TESTING": "warn",
}


@dataclass(frozen=True)
class Release(Record):
    """A pipeline as it was frozen.

    Attributes
    ----------
    id : str
        ``PIPELINE-NUMBER``.
    pipeline, number : str, int
    digest : str
        Of all that it is made of: specification, notebooks, modules, lock files, packages.
    status : str
        TESTING, CURRENT, FORMER or FAILED.
    reason : str or None
        Why it failed.
    path : str
        Its specification.
    files : int
        How many were frozen.
    packages : int
        Distributions that it needs, all that those need among them.
    commit, branch : str or None
        Where the code stood in git.
    dirty : bool or None
        Whether there were changes that no commit has.
    params : mapping
        Of the smoke run, on top of the specification's.
    smoke : str or None
        The run that tested it.
    notebooks : str
        Folder with that run's executed notebooks.
    actor : str
        Who made it.
    created : float
    unchanged : bool
        Whether it was current already.
    before : str or None
        The release that was current until now.
    """

    id: str
    pipeline: str
    number: int
    digest: str
    status: str
    reason: str | None
    path: str
    files: int
    packages: int
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    smoke: str | None = None
    notebooks: str = ""
    actor: str = ""
    created: float = 0.0
    unchanged: bool = False
    before: str | None = None

    @property
    def badge(self) -> Badge:
        """Its state."""
        return Badge(self.status, _TONES.get(self.status, "neutral"))

    @property
    def code(self) -> str | None:
        """Where the code stood in git, in short."""
        if self.commit is None:
            return None
        return self.commit[:10] + (" with uncommitted changes" if self.dirty else "")

    def card(self) -> Card:
        """Show what it is made of, and how it was tested."""
        facts: list[tuple[str, Any]] = [
            ("digest", Code(self.digest[:16])),
            ("files", self.files),
            ("packages", self.packages),
            ("code", self.code),
            ("released", Time(self.created)),
            ("by", self.actor),
        ]
        facts += [("before", Code(self.before))] if self.before else []
        facts += [("smoke run", Code(self.notebooks))] if self.notebooks else []
        notes = [self.reason] if self.reason else []
        if self.unchanged:
            notes = ["already current: nothing of it has changed"]
        return Card(
            self.id,
            subtitle=f"release of pipeline {self.pipeline}",
            badge=self.badge,
            facts=facts,
            notes=notes,
            next=[f"mlops pipeline releases {self.pipeline}"],
        )


@dataclass(frozen=True)
class Releases(Table):
    """Releases, the newest first."""

    rows: Sequence[Release] = ()
    name: str | None = None

    def title(self) -> str:
        """Name the pipeline whose releases these are."""
        return f"Releases of {self.name}" if self.name else "Releases"

    def empty(self) -> str:
        """Say how to make the first."""
        return "no release yet: triggers run the files as they are; mlops pipeline release PATH"

    def cells(self, row: Release) -> Mapping[str, Any]:
        """Show which is current, and why others are not."""
        cells: dict[str, Any] = {"release": row.id, "": row.badge, "released": Time(row.created)}
        cells |= {"by": row.actor, "code": row.code, "digest": Code(row.digest[:12])}
        if any(one.reason for one in self.rows):
            cells["reason"] = row.reason.splitlines()[0] if row.reason else None
        return cells
