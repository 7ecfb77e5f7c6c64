"""Endpoints: what is served where, by which revision; and the end of an endpoint."""

from __future__ import annotations

import contextlib
import re
import shlex
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa

from mlops_magics.cards import Badge, Card, Code, Grid, Time
from mlops_magics.deployment import environments, plan, shares
from mlops_magics.errors import (
    DeployConflict,
    EndpointNotFound,
    InvalidArgument,
    ServerNotRunning,
    UnknownName,
)
from mlops_magics.records import Record, Table
from mlops_magics.serving import server
from mlops_magics.store import ledger, tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

__all__ = ["Endpoint", "Endpoints", "endpoints", "undeploy"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SERVED = ("SERVING", "CANARY", "SHADOW", "WARM", "DRAINING")
_TONES: Mapping[str, Any] = {
    "serving": "good",
    "degraded": "warn",
    "down": "bad",
    "failed": "bad",
    "starting": "neutral",
    "undeployed": "neutral",
    "SERVING": "good",
    "CANARY": "good",
    "SHADOW": "good",
    "FAILED": "bad",
}


@dataclass(frozen=True)
class Endpoint(Record):
    """An endpoint.

    Attributes
    ----------
    name, url : str
        Its name, and where to POST rows; the URL is None while the server does not run.
    state : str
        ``serving``, ``degraded`` (fewer workers than planned), ``down``, ``starting``,
        ``failed`` (its first deployment), ``undeployed``; ``elsewhere`` when another workspace
        with the same database runs it.
    model, version, revision : str, str, int
        What it serves; None without traffic.
    traffic : list of dict
        ``revision``, ``number``, ``variant``, ``percent``, ``model``, ``version``.
    revisions : list of dict
        Newest first: ``id``, ``number``, ``model``, ``version``, ``status``, ``reason``,
        ``workers``, ``runtime``, ``ready``, ``environment`` (the digest of its own; None: the
        server's), ``notes`` (on differences of the server's), ``updated``.
    curl : str or None
        A request that can be pasted into a shell: the package's own example, with the token.
    log : str
        ``durable``, ``strict`` or ``off``.
    policy : dict
        Of the inference log: ``fraction``, ``mask``, ``retention`` in seconds (None: for ever).
    updated : float
        Seconds since 1970.
    rollout : str or None
        What goes on with a candidate; None when none is beside the champion.
    follows : dict or None
        ``model``, ``alias``, ``version`` and, where it could not follow, the ``problem``.
    """

    name: str
    url: str | None
    state: str
    model: str | None
    version: str | None
    revision: int | None
    traffic: list[dict[str, Any]]
    revisions: list[dict[str, Any]] = field(repr=False)
    curl: str | None = field(repr=False)
    log: str
    policy: dict[str, Any] = field(repr=False)
    updated: float
    rollout: str | None = None
    follows: dict[str, Any] | None = None

    def card(self) -> Card:
        """Show address, traffic, revisions and what to do next."""
        shares = [
            f"{s['variant']} {s['percent']:g} % → {s['model']}/{s['version']} (r{s['number']})"
            for s in self.traffic
        ]
        facts: list[tuple[str, Any]] = [("url", Code(self.url) if self.url else None)]
        facts += [("traffic", ", ".join(shares) or None), ("inference log", self._log())]
        serving = {share["revision"] for share in self.traffic}
        shown = [one for one in self.revisions if one["id"] in serving]
        if own := [f"r{one['number']}" for one in shown if one["environment"]]:
            facts.append(("own environment", ", ".join(own)))
        if self.rollout:
            facts.append(("rollout", self.rollout))
        if self.follows:
            facts.append(("follows", f"{self.follows['model']}@{self.follows['alias']}"))
            if self.follows.get("problem"):
                facts.append(("does not follow", self.follows["problem"]))
        rows = [
            [
                f"r{one['number']}",
                f"{one['model']}/{one['version']}",
                one["runtime"],
                Badge(one["status"].lower(), _TONES.get(one["status"], "neutral")),
                None if one["ready"] is None else f"{one['ready']} of {one['workers']}",
                Time(one["updated"]),
                one["reason"] and textwrap.shorten(one["reason"], 100, placeholder=" …"),
            ]
            for one in self.revisions[:5]
        ]
        titles = ["revision", "model", "runtime", "status", "workers up", "since", "reason"]
        if not any(row[-1] for row in rows):
            titles, rows = titles[:-1], [row[:-1] for row in rows]
        notes = [f"r{one['number']}: {note}" for one in shown for note in one["notes"]]
        if self.curl:
            facts.append(("from a shell", Code(self.curl)))
            notes.append(
                "labels come back by the answer's header X-Prediction-Id (ID:0, ID:1 … for rows)"
            )
        return Card(
            title=self.name,
            subtitle="endpoint",
            badge=Badge(self.state, _TONES.get(self.state, "neutral")),
            facts=facts,
            grids=[Grid(titles, rows)] if rows else [],
            notes=notes,
            next=self._next(),
        )

    def _log(self) -> str:
        parts = [self.log]
        if self.policy["fraction"] < 1:
            parts.append(f"{self.policy['fraction'] * 100:g} % of the requests")
        if self.policy["mask"]:
            parts.append(f"without {', '.join(self.policy['mask'])}")
        if self.policy["retention"]:
            parts.append(f"kept for {self.policy['retention'] / 86400:.3g} days")
        return ", ".join(parts)

    def _next(self) -> list[str]:
        if self.rollout:
            return [f"mlops traffic {self.name}", f"mlops monitor {self.name}"]
        if self.state in ("serving", "degraded"):
            return [f"mlops predict {self.name} --data ROWS", f"mlops monitor {self.name}"]
        if self.state == "down" and self.model:
            return [f"mlops deploy {self.model}/{self.version} --endpoint {self.name}"]
        return []


@dataclass(frozen=True)
class Endpoints(Table):
    """All endpoints of a workspace's database."""

    def empty(self) -> str:
        """Say how to make the first."""
        return "no endpoint yet; make one with: mlops deploy MODEL"

    def card(self) -> Card:
        """Show a table of several; one alone shows itself."""
        return self.rows[0].card() if len(self.rows) == 1 else super().card()

    def cells(self, row: Endpoint) -> dict[str, Any]:
        """Show the essentials of one endpoint."""
        return {
            "endpoint": row.name,
            "state": Badge(row.state, _TONES.get(row.state, "neutral")),
            "model": f"{row.model}/{row.version}" if row.model else None,
            "revision": f"r{row.revision}" if row.revision else None,
            "url": Code(row.url) if row.url else None,
            "since": Time(row.updated),
        }


def endpoints(name: str | None = None, *, workspace: Workspace | None = None) -> Endpoints:
    """List the endpoints with their traffic, revisions and health.

    Parameters
    ----------
    name : str, optional
        Only this one, also when it was undeployed.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound
        There is none of that name.

    Examples
    --------
    >>> print(endpoints(workspace=workspace))
    Endpoints
      no endpoint yet; make one with: mlops deploy MODEL
    """
    workspace = resolve(workspace)
    with workspace.database.read() as connection:
        named = connection.execute(sa.select(tables.endpoints).order_by("name")).all()
        found = connection.execute(
            sa.select(tables.revisions).order_by(tables.revisions.c.number.desc())
        ).all()
        under_way = {
            row.endpoint: row
            for row in connection.execute(
                sa.select(tables.rollouts).where(tables.rollouts.c.status == "RUNNING")
            )
        }
    if name is not None and name not in {row.name for row in named}:
        raise not_found(name, [row.name for row in named])
    running = server.find(workspace)
    live: dict[str, Any] = {}
    if running is not None:
        with contextlib.suppress(ServerNotRunning):  # then all of them are shown as down
            live = server.state(workspace)["revisions"]
    records = [
        _record(
            workspace,
            row,
            [one for one in found if one.endpoint == row.name],
            running,
            live,
            under_way.get(row.name),
        )
        for row in named
        if name is None or row.name == name
    ]
    if name is None:
        records = [record for record in records if record.state != "undeployed"]
    return Endpoints(rows=records)


def endpoint(workspace: Workspace, name: str) -> Endpoint:
    """Return one endpoint."""
    record: Endpoint = endpoints(name, workspace=workspace)[0]
    return record


def undeploy(endpoint: str, *, workspace: Workspace | None = None) -> Endpoint:
    """Take an endpoint out of service; its inference table stays.

    Parameters
    ----------
    endpoint : str
        Its name.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound
        There is none of that name.
    DeployConflict
        Another workspace runs it.
    """
    workspace = resolve(workspace)
    now = time.time()
    with workspace.database.begin() as connection:
        row = connection.execute(
            sa.select(tables.endpoints).where(tables.endpoints.c.name == endpoint).with_for_update()
        ).first()
        if row is None:
            known = connection.execute(sa.select(tables.endpoints.c.name)).scalars().all()
            raise not_found(endpoint, known)
        refuse_foreign(workspace, row)
        connection.execute(
            sa.update(tables.revisions)
            .where(tables.revisions.c.endpoint == endpoint)
            .where(tables.revisions.c.status.in_(_SERVED))
            .values(status="RETIRED", updated=now)
        )
        shares.finish(connection, endpoint, "ENDED", "the endpoint was undeployed", now=now)
        connection.execute(
            sa.update(tables.endpoints)
            .where(tables.endpoints.c.name == endpoint)
            .values(traffic=[], generation=row.generation + 1, updated=now)
        )
        ledger.append(
            connection,
            actor=workspace.actor,
            action="undeploy",
            subject=f"endpoint {endpoint}",
            details={"traffic": row.traffic},
        )
    generation = plan.project(workspace)
    if server.find(workspace) is not None:
        plan.await_applied(workspace, generation)
    environments.prune(workspace)
    record: Endpoint = endpoints(endpoint, workspace=workspace)[0]
    return record


def check_name(name: str) -> str:
    """Return an endpoint's name if it can be part of a URL as it is.

    Raises
    ------
    InvalidArgument
        It cannot.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name[:100]!r} is no name for an endpoint",
            hint="letters, digits, '.', '_' and '-'; give one with --endpoint NAME",
        )
    return name


def refuse_foreign(workspace: Workspace, row: Any) -> None:
    """Refuse to change an endpoint that another workspace's server runs.

    Raises
    ------
    DeployConflict
        With the place of that workspace.
    """
    if is_foreign(workspace, row):
        raise DeployConflict(
            f"endpoint {row.name!r} is run by another workspace: {row.place}",
            hint="change it there, or deploy under another name: --endpoint NAME",
        )


def row_of(workspace: Workspace, name: str) -> Any:
    """Return an endpoint's row.

    Raises
    ------
    EndpointNotFound
        There is none of that name.
    """
    with workspace.database.read() as connection:
        named = connection.execute(sa.select(tables.endpoints)).all()
    for row in named:
        if row.name == name:
            return row
    raise not_found(name, [row.name for row in named])


def revision(connection: Connection, key: int) -> Any:
    """Return a revision's row."""
    return connection.execute(sa.select(tables.revisions).where(tables.revisions.c.id == key)).one()


def is_foreign(workspace: Workspace, row: Any) -> bool:
    """Tell whether an endpoint of the database is another workspace's."""
    return row.workspace is not None and row.workspace != workspace.id


def not_found(name: str, known: Any) -> EndpointNotFound:
    """Return the error for an unknown name, with the nearest known one."""
    unknown = UnknownName("endpoint", name, known, hint="see them: mlops endpoints")
    return EndpointNotFound(unknown.message, hint=unknown.hint)


def _record(
    workspace: Workspace,
    row: Any,
    found: list[Any],
    running: server.Server | None,
    live: Mapping[str, Any],
    rollout: Any,
) -> Endpoint:
    elsewhere = is_foreign(workspace, row)
    running = None if elsewhere else running
    revisions = [
        {
            "id": one.id,
            "number": one.number,
            "model": one.model,
            "version": one.version,
            "status": one.status,
            "reason": one.reason,
            "workers": one.workers,
            "runtime": one.runtime or "native",
            "ready": live.get(str(one.id), {}).get("ready") if one.status in plan.LIVE else None,
            "environment": (one.environment or {}).get("digest"),
            "notes": (one.environment or {}).get("notes") or [],
            "updated": one.updated,
        }
        for one in found
    ]
    by_id = {one["id"]: one for one in revisions}
    traffic = [
        {**share, **{key: by_id[share["revision"]][key] for key in ("number", "model", "version")}}
        for share in row.traffic
    ]
    main = traffic[0] if traffic else {}
    policy = plan.log_policy(row.settings)
    url = f"{running.url}/endpoints/{quote(row.name)}/invocations" if running and traffic else None
    return Endpoint(
        name=row.name,
        url=url,
        state="elsewhere" if elsewhere and traffic else _state(traffic, by_id, revisions),
        model=main.get("model"),
        version=main.get("version"),
        revision=main.get("number"),
        traffic=traffic,
        revisions=revisions,
        curl=_curl(workspace, url, found, main) if url else None,
        log=policy.mode,
        policy={
            "fraction": policy.fraction,
            "mask": list(policy.mask),
            "retention": plan.retention(row.settings),
        },
        updated=row.updated,
        rollout=_rollout(rollout, by_id) if rollout is not None else None,
        follows=(row.settings or {}).get("follow"),
    )


def _rollout(row: Any, by_id: Mapping[int, Any]) -> str:
    """Say in a line what goes on with a candidate."""
    one = by_id[row.revision]
    evidence = row.evidence or {}
    found = f"{row.variant} r{one['number']} since {_ago(row.started)}"
    if (row.rules or {}).get("analysis") == "off":
        return f"{found}, a person decides"
    candidate = evidence.get("candidate")
    if candidate:
        found += f", {candidate['requests']} requests, {candidate['errors']} errors in this step"
    return f"{found}, rules: {evidence.get('verdict', 'waiting')}"


def _ago(moment: float) -> str:
    return time.strftime("%H:%M", time.localtime(moment))


def _curl(workspace: Workspace, url: str, found: list[Any], main: Mapping[str, Any]) -> str | None:
    """Return a request of the package's example, as one would paste it; None without one."""
    package = next((one.package for one in found if one.id == main["revision"]), None)
    example = Path(package, "serving_input_example.json") if package else None
    if example is None or not example.is_file():
        return None
    token = f"$(cat {shlex.quote(str(workspace.path / 'token'))})"
    return (
        f'curl -H "Authorization: Bearer {token}" -H "Content-Type: application/json" '
        f"-d @{shlex.quote(str(example))} {shlex.quote(url)}"
    )


def _state(
    traffic: list[dict[str, Any]], by_id: Mapping[int, Any], revisions: list[dict[str, Any]]
) -> str:
    if not traffic:
        latest = revisions[0]["status"] if revisions else ""
        return {"STARTING": "starting", "FAILED": "failed"}.get(latest, "undeployed")
    serving = [by_id[share["revision"]] for share in traffic]
    if any(not one["ready"] for one in serving):
        return "down"
    return "degraded" if any(one["ready"] < one["workers"] for one in serving) else "serving"
