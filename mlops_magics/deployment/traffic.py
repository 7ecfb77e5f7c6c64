"""Traffic: how an endpoint's requests are shared, and how its candidate does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_magics.cards import Badge, Card, Grid, Interval, Time
from mlops_magics.deployment import checks, plan, rollout, shares
from mlops_magics.deployment.endpoints import refuse_foreign, revision, row_of
from mlops_magics.deployment.rules import Rules, percentage
from mlops_magics.errors import DeployError, InvalidArgument
from mlops_magics.records import Record
from mlops_magics.serving import server
from mlops_magics.serving.plan import SHADOW
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Traffic", "traffic", "withdraw"]

_VERDICTS: Mapping[str, Any] = {
    "kept": ("kept", "good"),
    "held": ("not shown", "warn"),
    "broken": ("broken", "bad"),
}
_STATUSES: Mapping[str, Any] = {
    "RUNNING": ("running", "neutral"),
    "PROMOTED": ("promoted", "good"),
    "ROLLED_BACK": ("rolled back", "bad"),
    "ENDED": ("ended", "neutral"),
}


@dataclass(frozen=True)
class Traffic(Record):
    """How an endpoint's requests are shared.

    Attributes
    ----------
    endpoint : str
        Its name.
    shares : list of dict
        ``variant``, ``percent``, ``number``, ``model``, ``version``, ``revision``; champion first.
    rollout : dict or None
        The newest one, also when it has ended: ``status`` (``RUNNING``, ``PROMOTED``,
        ``ROLLED_BACK``, ``ENDED``), ``variant``, ``number``, ``version``, ``steps``, ``step``,
        ``rules``, ``verdict``, ``candidate`` and ``baseline`` (requests, errors, latencies since
        the step began), ``findings`` (rule, verdict, value with interval, limit, sentence),
        ``reason``, ``actor``, ``started``, ``stepped``, ``ended``.
    follows : dict or None
        ``model``, ``alias``, ``version``, and the ``problem`` that keeps it from following.
    """

    endpoint: str
    shares: list[dict[str, Any]]
    rollout: dict[str, Any] | None = field(repr=False)
    follows: dict[str, Any] | None

    def card(self) -> Card:
        """Show the split, and what the rules have found."""
        grids = [
            Grid(
                ["variant", "share", "model", "revision"],
                [
                    [
                        one["variant"],
                        f"{one['percent']:g} %" + (" mirrored" if _is_shadow(one) else ""),
                        f"{one['model']}/{one['version']}",
                        f"r{one['number']}",
                    ]
                    for one in self.shares
                ],
            )
        ]
        facts: list[tuple[str, Any]] = []
        if self.follows:
            facts.append(("follows", f"{self.follows['model']}@{self.follows['alias']}"))
            if self.follows.get("problem"):
                facts.append(("does not follow", self.follows["problem"]))
        badge = None
        if self.rollout:
            text, tone = _STATUSES[self.rollout["status"]]
            badge = Badge(f"{self.rollout['variant']} {text}", tone)
            facts += _facts(self.rollout)
            grids += _grids(self.rollout)
        return Card(
            title=self.endpoint,
            subtitle="traffic",
            badge=badge,
            facts=facts,
            grids=grids if self.shares else [],
            notes=[] if self.shares else ["this endpoint has no traffic"],
            next=self._next(),
        )

    def _next(self) -> list[str]:
        if not (self.rollout and self.rollout["status"] == "RUNNING"):
            return [f"mlops deploy MODEL --endpoint {self.endpoint} --canary 10%"]
        base = f"mlops traffic {self.endpoint}"
        return [f"{base} --promote", f"{base} --rollback"]


def traffic(
    endpoint: str,
    *,
    canary: str | float | None = None,
    shadow: str | float | None = None,
    promote: bool = False,
    rollback: bool = False,
    reason: str | None = None,
    workspace: Workspace | None = None,
) -> Traffic:
    """Show how an endpoint's requests are shared; or change it.

    A candidate comes by `deploy` with ``canary`` or ``shadow``. Here its share is changed, a shadow
    made a canary, and its rollout ended: it becomes the champion, or is taken out. No request is
    lost by it. Steps of the rollout above the new share are still to come.

    Parameters
    ----------
    endpoint : str
        Its name.
    canary : float or str, optional
        The canary's share from now on, in per cent.
    shadow : float or str, optional
        How many of the requests are mirrored from now on, in per cent.
    promote : bool
        Make the candidate the champion.
    rollback : bool
        Take the candidate out.
    reason : str, optional
        For the ledger.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound
        There is none of that name.
    DeployError
        There is no candidate whose share could be changed.
    DeployConflict
        The endpoint was changed by someone else meanwhile, or another workspace runs it.
    """
    workspace = resolve(workspace)
    asked = [canary is not None, shadow is not None, promote, rollback]
    if sum(asked) > 1:
        raise InvalidArgument(
            "canary, shadow, promote and rollback exclude each other", hint="choose one"
        )
    if any(asked):
        row = _held(workspace, endpoint)
        candidate = shares.candidate_of(row)
        if candidate is None:
            raise DeployError(
                f"endpoint {endpoint!r} has no candidate beside its champion",
                hint=f"bring one: mlops deploy MODEL --endpoint {endpoint} --canary 10%",
            )
        if rollback:
            withdraw(workspace, row, reason)
        elif promote:
            _promote(workspace, row, candidate, reason)
        else:
            variant = shares.CANARY if canary is not None else SHADOW
            percent = percentage(canary if canary is not None else shadow, whole=shadow is not None)
            _resize(workspace, row, candidate, variant, percent, reason)
    return _record(workspace, endpoint)


def withdraw(workspace: Workspace, row: Any, reason: str | None) -> None:
    """Take the candidate of an endpoint out, as a person wishes.

    Raises
    ------
    DeployConflict
        The endpoint's row is not what it was.
    """
    with workspace.database.begin() as connection:
        rollout.roll_back(
            connection,
            row.name,
            row.generation,
            actor=workspace.actor,
            reason=reason or f"by {workspace.actor}",
            now=time.time(),
        )
    _apply(workspace)


def _promote(
    workspace: Workspace, row: Any, candidate: Mapping[str, Any], reason: str | None
) -> None:
    generation = plan.project(workspace)
    server.start(workspace)
    with workspace.database.read() as connection:
        workers = revision(connection, candidate["revision"]).workers
    # up already, unless the server was stopped in between
    checks.await_workers(workspace, candidate["revision"], workers, generation, _silent)
    with workspace.database.begin() as connection:
        rollout.promote(
            connection,
            row.name,
            row.generation,
            actor=workspace.actor,
            reason=reason or "",
            now=time.time(),
        )
    _apply(workspace)


def _resize(
    workspace: Workspace,
    row: Any,
    candidate: Mapping[str, Any],
    variant: str,
    percent: float,
    reason: str | None,
) -> None:
    if variant == SHADOW and candidate["variant"] != SHADOW:
        raise DeployError(
            f"the candidate of {row.name!r} answers already; it is no shadow any more",
            hint=f"take it out: mlops traffic {row.name} --rollback",
        )
    with workspace.database.begin() as connection:
        rollout.move(
            connection,
            row.name,
            row.generation,
            variant=variant,
            percent=percent,
            actor=workspace.actor,
            reason=reason or "",
            now=time.time(),
        )
    _apply(workspace)


def _apply(workspace: Workspace) -> None:
    generation = plan.project(workspace)
    if server.find(workspace) is not None:
        plan.await_applied(workspace, generation)


def _held(workspace: Workspace, name: str) -> Any:
    """Return an endpoint's row as it is now: what is decided on it holds only while it stays so."""
    row = row_of(workspace, name)
    refuse_foreign(workspace, row)
    return row


def _record(workspace: Workspace, name: str) -> Traffic:
    row = row_of(workspace, name)
    with workspace.database.read() as connection:
        shown = []
        for share in row.traffic:
            one = revision(connection, share["revision"])
            known = {"number": one.number, "model": one.model, "version": one.version}
            shown.append({**share, **known})
        found = rollout.latest(connection, name)
        told = None
        if found is not None:
            one = revision(connection, found.revision)
            told = {
                "status": found.status,
                "variant": found.variant,
                "number": one.number,
                "model": one.model,
                "version": one.version,
                "steps": found.steps,
                "step": found.step,
                "rules": found.rules,
                "verdict": (found.evidence or {}).get("verdict", "waiting"),
                **{key: (found.evidence or {}).get(key) for key in ("candidate", "baseline")},
                "findings": (found.evidence or {}).get("findings", []),
                "reason": found.reason,
                "actor": found.actor,
                "started": found.started,
                "stepped": found.stepped,
                "ended": found.ended,
            }
    return Traffic(name, shown, told, (row.settings or {}).get("follow"))


def _facts(told: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rules = Rules.of(told["rules"])
    facts: list[tuple[str, Any]] = [
        ("candidate", f"{told['model']}/{told['version']} (r{told['number']})")
    ]
    if told["status"] == "RUNNING":
        steps = [f"{step:g} %" for step in told["steps"]]
        steps[told["step"]] = f"[{steps[told['step']]}]"
        if told["variant"] != SHADOW:
            facts.append(("steps", " → ".join([*steps, "champion"])))
        facts += [("step began", Time(told["stepped"])), ("rules", rules.sentence())]
        if rules.analysis != "off":
            facts.append(("so far", _so_far(told, rules)))
    else:
        facts += [("ended", Time(told["ended"])), ("because", told["reason"] or None)]
    return facts


def _so_far(told: Mapping[str, Any], rules: Rules) -> str:
    answered = (told["candidate"] or {}).get("requests", 0)
    if answered < rules.min_requests:
        return f"{answered} of {rules.min_requests} requests"
    if told["verdict"] == "held":
        return "a rule is not shown to be kept; more requests may show it, or a person decides"
    if told["verdict"] == "kept" and (rules.analysis == "watch" or told["variant"] == SHADOW):
        return "all rules are kept; a person promotes"
    return {"kept": "all rules are kept", "broken": "a rule is broken"}.get(
        told["verdict"], "the step is not over yet"
    )


def _grids(told: Mapping[str, Any]) -> list[Grid]:
    sides = [
        [name, side["requests"], side["errors"], _ms(side["p50_ms"]), _ms(side["p95_ms"])]
        for name, side in ((told["variant"], told["candidate"]), ("champion", told["baseline"]))
        if side
    ]
    grids = []
    if sides:
        titles = ["in this step", "requests", "errors", "p50 ms", "p95 ms"]
        grids.append(Grid(titles, sides))
    if told["findings"]:
        rows = [
            [
                one["rule"],
                Badge(*_VERDICTS[one["verdict"]]),
                Interval(one["value"], one["low"], one["high"]),
                one["limit"],
            ]
            for one in told["findings"]
        ]
        grids.append(Grid(["rule", "verdict", "found", "allowed"], rows))
    return grids


def _ms(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _is_shadow(share: Mapping[str, Any]) -> bool:
    return bool(share["variant"] == SHADOW)


def _silent(done: float, total: float | None, note: str) -> None:
    """Tell nobody."""
