"""What the registry's verbs return."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops_magics.cards import Badge, Card, Code, Interval, Time
from mlops_magics.records import Record, Table
from mlops_magics.store import evidence, models

__all__ = ["ModelVersion", "ModelVersions", "Promotion"]

FLAVOR_TAG = "mlops.flavor"
METRIC_TAG = "mlops.metric"


@dataclass(frozen=True)
class ModelVersion(Record):
    """A registered version of a model.

    Attributes
    ----------
    name, version, uri : str
        ``flight-delay``, ``3``, ``models:/flight-delay/3``.
    aliases : list of str
        ``champion``, ``challenger``.
    model_id, run_id, digest : str
        The logged model, the run that trained it, the package's digest.
    flavor : str
        How it was packaged; empty where another tool registered it.
    passed : bool or None
        Whether its test report passed; None when there is none, or one without gates.
    metric : dict or None
        The first metric of the report: name, value, low, high.
    created : float
        Seconds since 1970.
    tested : bool
        Whether there is a test report.
    """

    name: str
    version: str
    uri: str
    aliases: list[str]
    model_id: str
    run_id: str
    digest: str
    flavor: str
    passed: bool | None
    metric: dict[str, Any] | None
    description: str
    created: float
    tested: bool = False

    @classmethod
    def of(cls, version: Any) -> ModelVersion:
        """Read an ``mlflow.entities.ModelVersion`` and its tags."""
        tags = dict(version.tags or {})
        passed = {"true": True, "false": False}.get(tags.get(evidence.PASSED_TAG, ""))
        return cls(
            name=str(version.name),
            version=str(version.version),
            uri=f"models:/{version.name}/{version.version}",
            aliases=sorted(str(alias) for alias in version.aliases or ()),
            model_id=models.model_id_of(version),
            run_id=str(version.run_id or ""),
            digest=str(tags.get(models.DIGEST_TAG, "")),
            flavor=str(tags.get(FLAVOR_TAG, "")),
            passed=passed,
            metric=_metric(tags.get(METRIC_TAG)),
            description=str(version.description or ""),
            created=float(version.creation_timestamp or 0) / 1000,
            tested=evidence.PASSED_TAG in tags,
        )

    @property
    def badge(self) -> Badge:
        """The state of its evidence."""
        return _evidence_badge(self.passed, self.tested)

    def card(self) -> Card:
        """Show identity, evidence and aliases."""
        facts: list[tuple[str, Any]] = [
            ("uri", Code(self.uri)),
            ("aliases", ", ".join(f"@{alias}" for alias in self.aliases) or None),
        ]
        if self.metric:
            facts.append((str(self.metric["name"]), _interval(self.metric)))
        facts += [
            ("digest", Code(self.digest[:16])),
            ("run", Code(self.run_id)),
            ("registered", Time(self.created)),
        ]
        if "champion" in self.aliases:
            following = f"mlops deploy {self.name}@champion"
        elif self.passed:
            following = f"mlops promote {self.name}/{self.version}"
        else:
            following = f"mlops test {self.name}/{self.version} --data HOLDOUT --target TARGET "
            following += "--min METRIC=VALUE"
        return Card(
            title=f"{self.name} / {self.version}",
            subtitle=f"model version · {self.flavor}" if self.flavor else "model version",
            badge=self.badge,
            facts=facts,
            notes=[self.description] if self.description else [],
            next=[following],
        )


@dataclass(frozen=True)
class ModelVersions(Table):
    """Registered versions, newest first."""

    rows: Sequence[ModelVersion] = ()
    name: str | None = None

    def title(self) -> str:
        """Name the model whose versions these are."""
        return self.name or "model versions"

    def empty(self) -> str:
        """Say how to register the first."""
        return "no version is registered yet: mlops register MODEL --name NAME"

    def cells(self, row: ModelVersion) -> dict[str, Any]:
        """Show name, aliases, evidence and first metric."""
        metric = row.metric or {}
        return {
            "model": row.name,
            "version": row.version,
            "aliases": ", ".join(f"@{alias}" for alias in row.aliases) or None,
            "evidence": row.badge,
            "metric": metric.get("name"),
            "value": _interval(metric) if metric else None,
            "flavor": row.flavor or None,
            "registered": Time(row.created),
            "run": Code(row.run_id[:8]),
        }


@dataclass(frozen=True)
class Promotion(Record):
    """An alias that was moved.

    Attributes
    ----------
    name, alias, version : str
        Now ``models:/name@alias`` is this version.
    previous : str or None
        The version before.
    action : str
        ``promote`` or ``rollback``.
    actor, reason : str
        Who, and why.
    entry : int or None
        The ledger's sequence number; None when the alias was there already.
    """

    name: str
    alias: str
    version: str
    previous: str | None
    action: str
    actor: str
    reason: str
    entry: int | None
    uri: str = field(default="")

    def card(self) -> Card:
        """Show the move."""
        done = {"promote": "promoted", "rollback": "rolled back"}[self.action]
        changed = self.entry is not None
        before = f"version {self.previous}" if self.previous else "nothing"
        facts: list[tuple[str, Any]] = [("uri", Code(self.uri))]
        if changed:
            facts += [("before", before), ("by", self.actor), ("ledger entry", self.entry)]
        if self.reason:
            facts.append(("reason", self.reason))
        return Card(
            title=f"{self.name}@{self.alias} → version {self.version}",
            badge=Badge(done, "good") if changed else Badge("was there already"),
            facts=facts,
            next=[f"mlops deploy {self.name}@{self.alias}"],
        )


def _evidence_badge(passed: bool | None, tested: bool) -> Badge:
    if passed is None:
        return Badge("no gates", "neutral") if tested else Badge("not tested", "warn")
    return Badge("tests passed", "good") if passed else Badge("tests failed", "bad")


def _interval(metric: dict[str, Any]) -> Interval:
    return Interval(metric.get("value"), metric.get("low"), metric.get("high"))


def _metric(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None  # edited by hand in MLflow's UI
    return found if isinstance(found, dict) else None
