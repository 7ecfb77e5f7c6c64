"""Advance: what the server's agent does about rollouts, once a second.

It compares, and then steps up, promotes or rolls back by the rules that the rollout began with.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import analysis, measurement, plan, rollout
from mlops_magics.deployment.rules import Rules
from mlops_magics.errors import DeployConflict, ServerError
from mlops_magics.serving import server
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.plan import SHADOW
from mlops_magics.store import tables

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["ACTOR", "advance"]

ACTOR = "mlops"
"""Who acts when no person does."""

_log = logging.getLogger(__name__)


def advance(workspace: Workspace, now: float | None = None) -> list[str]:
    """Bring each rollout of a workspace on by what is known now; return what was decided.

    Parameters
    ----------
    workspace : Workspace
        Whose endpoints.
    now : float, optional
        Seconds since 1970; default: the clock's.
    """
    moment = time.time() if now is None else now
    t = tables.endpoints
    with workspace.database.read() as connection:
        found = rollout.running(connection)
        query = sa.select(t).where(t.c.workspace == workspace.id)
        ours = {row.name: row for row in connection.execute(query)} if found else {}
    decided = []
    for row in found:
        endpoint = ours.get(row.endpoint)
        rules = Rules.of(row.rules)
        if endpoint is None or rules.analysis == "off":
            continue
        try:
            said = _advance(workspace, endpoint, row, rules, moment)
        except DeployConflict:
            continue  # a person was faster; looked at again in a second
        if said is not None:
            _log.warning("%s: %s", row.endpoint, said)
            decided.append(said)
    if decided:
        plan.project(workspace)
    return decided


def _advance(workspace: Workspace, endpoint: Any, row: Any, rules: Rules, now: float) -> str | None:
    name, generation = str(endpoint.name), int(endpoint.generation)
    over = now - row.stepped >= rules.every
    with workspace.database.read() as connection:
        candidate, baseline, classes = measurement.measure(
            connection,
            name,
            (row.revision, row.baseline),
            stepped=row.stepped,
            started=row.started,
            closely=over,
        )
    findings = analysis.judge(rules, candidate, baseline, classes=classes)
    broken = [finding.sentence for finding in findings if finding.verdict == "broken"]
    dead = _dead(workspace, row.revision)
    if dead is not None:
        broken.insert(0, dead)
    enough = candidate.requests >= rules.min_requests
    held = [finding.sentence for finding in findings if finding.verdict == "held"]
    evidence = {
        "time": now,
        "candidate": candidate.to_dict(),
        "baseline": baseline.to_dict(),
        "findings": [finding.to_dict() for finding in findings],
        "verdict": _verdict(broken, held, over, enough),
        "seconds": round(now - row.stepped, 1),
    }
    done: dict[str, Any] = {"actor": ACTOR, "now": now, "evidence": evidence}
    if broken:
        with workspace.database.begin() as connection:
            rollout.roll_back(connection, name, generation, reason="; ".join(broken), **done)
        return f"rolled back: {'; '.join(broken)}"
    if over and enough and not held and row.variant != SHADOW:
        reason = "; ".join(finding.sentence for finding in findings) or "no rule was asked for"
        above = list(row.steps[row.step + 1 :])
        if above:
            with workspace.database.begin() as connection:
                rollout.move(
                    connection,
                    name,
                    generation,
                    variant=row.variant,
                    percent=above[0],
                    reason=reason,
                    **done,
                )
            return f"{row.variant} at {above[0]:g} %: {reason}"
        if rules.analysis == "auto" and _up(workspace, row.revision):
            with workspace.database.begin() as connection:
                rollout.promote(connection, name, generation, reason=reason, **done)
            return f"promoted: {reason}"
    if _news(row.evidence, evidence):
        with workspace.database.begin() as connection:
            rollout.note(connection, row.id, evidence)
    return None


def _verdict(broken: Sequence[str], held: Sequence[str], over: bool, enough: bool) -> str:
    if broken:
        return "broken"
    if not over or not enough:
        return "waiting"
    return "held" if held else "kept"


def _news(before: Any, after: Any) -> bool:
    """Tell whether a second of waiting has shown anything: a database is not written for none."""
    keys = ("candidate", "baseline", "verdict", "findings")
    return any((before or {}).get(key) != after[key] for key in keys)


def _dead(workspace: Workspace, revision: int) -> str | None:
    """Return why none of a revision's workers can serve; None while one can, or may."""
    folder = ServerFolder.of(workspace)
    with workspace.database.read() as connection:
        workers = connection.execute(
            sa.select(tables.revisions.c.workers).where(tables.revisions.c.id == revision)
        ).scalar()
    states = [folder.state(revision, index) or {} for index in range(int(workers or 1))]
    if all(state.get("state") == "failed" for state in states):
        return f"workers: none of {len(states)} can serve: {states[0].get('reason')}"
    return None


def _up(workspace: Workspace, revision: int) -> bool:
    """Tell whether a revision's workers answer, before all requests go to it."""
    try:
        found = server.state(workspace)["revisions"].get(str(revision), {})
    except ServerError:
        return False
    return bool(found.get("ready"))
