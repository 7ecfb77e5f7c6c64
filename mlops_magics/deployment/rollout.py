"""Rollouts: a candidate beside a champion, from its first share to its promotion or its end.

What is done here is one transaction each: the traffic, the revisions' states, the rollout's row and
the ledger's entry change together, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import shares
from mlops_magics.deployment.rules import climb
from mlops_magics.errors import DeployConflict, DeployError, InvalidArgument
from mlops_magics.serving.plan import SHADOW
from mlops_magics.store import ledger, tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.deployment.rules import Candidacy

__all__ = ["begin", "check_place", "latest", "move", "note", "promote", "roll_back", "running"]


def check_place(row: Any, candidacy: Candidacy) -> None:
    """Demand that an endpoint has a champion, and room for a candidate beside it.

    Raises
    ------
    DeployError
        Nothing serves there yet.
    DeployConflict
        There is a candidate.
    InvalidArgument
        The rules would have nothing to judge by: the endpoint keeps no log.
    """
    if shares.champion_of(row) is None:
        raise DeployError(
            f"endpoint {row.name!r} has no champion yet, beside which a {candidacy.variant} "
            "could be",
            hint=f"deploy the first version without --{candidacy.variant}",
        )
    there = shares.candidate_of(row)
    if there is not None:
        raise DeployConflict(
            f"a {there['variant']} is beside the champion of {row.name!r} already",
            hint=f"end it first: mlops traffic {row.name} --promote, or --rollback",
        )
    log = (row.settings or {}).get("log") or {}
    if log.get("mode") == "off" and candidacy.rules.analysis != "off":
        raise InvalidArgument(
            f"endpoint {row.name!r} keeps no inference log, by which a candidate is judged",
            hint="decide yourself, with --analysis off; or deploy with --log durable",
        )


def begin(
    connection: Connection,
    name: str,
    revision: int,
    baseline: int,
    candidacy: Candidacy,
    actor: str,
    now: float,
) -> None:
    """Enter a rollout as RUNNING."""
    connection.execute(
        sa.insert(tables.rollouts).values(
            endpoint=name,
            revision=revision,
            baseline=baseline,
            variant=candidacy.variant,
            status="RUNNING",
            steps=list(candidacy.steps),
            step=0,
            rules=candidacy.rules.to_dict(),
            evidence={},
            actor=actor,
            started=now,
            stepped=now,
        )
    )


def running(connection: Connection, name: str | None = None) -> Sequence[Any]:
    """Return the rollouts that run; of one endpoint, or of all."""
    t = tables.rollouts
    query = sa.select(t).where(t.c.status == "RUNNING").order_by(t.c.id)
    return connection.execute(query if name is None else query.where(t.c.endpoint == name)).all()


def latest(connection: Connection, name: str) -> Any:
    """Return an endpoint's newest rollout, also one that has ended; None without one."""
    t = tables.rollouts
    query = sa.select(t).where(t.c.endpoint == name).order_by(t.c.id.desc()).limit(1)
    return connection.execute(query).first()


def note(connection: Connection, rollout: int, evidence: Mapping[str, Any]) -> None:
    """Keep what was found last."""
    t = tables.rollouts
    connection.execute(
        sa.update(t).where(t.c.id == rollout, t.c.status == "RUNNING").values(evidence=evidence)
    )


def move(
    connection: Connection,
    name: str,
    generation: int,
    *,
    variant: str,
    percent: float,
    actor: str,
    reason: str,
    now: float,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """Change the candidate's share; what was counted until now is counted anew.

    Raises
    ------
    DeployConflict
        The endpoint is not at that generation any more.
    """
    before = shares.resize(connection, name, variant, percent, generation, now=now)
    for row in running(connection, name):
        done: list[float] = []
        if variant == SHADOW:
            steps = [percent]
        elif row.variant == SHADOW:  # as if it had been deployed as a canary
            steps = list(climb(percent))
        else:
            done = list(row.steps[: row.step + (percent in row.steps[row.step + 1 :])])
            steps = [*done, percent, *(step for step in row.steps if step > percent)]
        connection.execute(
            sa.update(tables.rollouts)
            .where(tables.rollouts.c.id == row.id)
            .values(
                variant=variant,
                steps=steps,
                step=len(done),
                stepped=now,
                evidence={},
            )
        )
    _enter(connection, name, "traffic", before, actor, reason, evidence)


def promote(
    connection: Connection,
    name: str,
    generation: int,
    *,
    actor: str,
    reason: str,
    now: float,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """Make the candidate the champion; the champion before stays warm.

    Raises
    ------
    DeployConflict
        The endpoint is not at that generation any more, or has no candidate.
    """
    candidate = shares.candidate_of(shares.read(connection, name))
    if candidate is None:
        raise shares.conflict(name)
    before = shares.flip(connection, name, candidate["revision"], generation, now=now)
    _keep(connection, name, evidence)
    shares.finish(connection, name, "PROMOTED", reason, now=now)
    _enter(connection, name, "promote", before, actor, reason, evidence)


def roll_back(
    connection: Connection,
    name: str,
    generation: int,
    *,
    actor: str,
    reason: str,
    now: float,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """Take the candidate out; the champion has all the traffic again.

    Raises
    ------
    DeployConflict
        The endpoint is not at that generation any more, or has no candidate.
    """
    why = f"rolled back: {reason}" if reason else "rolled back"
    before = shares.withdraw(connection, name, generation, reason=why[:2000], now=now)
    _keep(connection, name, evidence)
    shares.finish(connection, name, "ROLLED_BACK", reason, now=now)
    _enter(connection, name, "rollback", before, actor, reason, evidence)


def _keep(connection: Connection, name: str, evidence: Mapping[str, Any] | None) -> None:
    """Keep what the decision was made on."""
    if evidence is not None:
        for row in running(connection, name):
            note(connection, row.id, evidence)


def _enter(
    connection: Connection,
    name: str,
    action: str,
    before: shares.Traffic,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any] | None,
) -> None:
    """Enter what was done: before, after and why."""
    candidate = next(share for share in before if share["variant"] != shares.CHAMPION)
    revision = connection.execute(
        sa.select(tables.revisions).where(tables.revisions.c.id == candidate["revision"])
    ).one()
    ledger.append(
        connection,
        actor=actor,
        action=action,
        subject=f"endpoint {name}",
        details={
            "reason": reason,
            "variant": candidate["variant"],
            "model": f"{revision.model}/{revision.version}",
            "revision": revision.number,
            "before": before,
            "after": shares.read(connection, name).traffic,
            **({"evidence": dict(evidence)} if evidence else {}),
        },
    )
