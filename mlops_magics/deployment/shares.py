"""Shares: who gets an endpoint's traffic, changed in one transaction or not at all.

Each change names the generation of the endpoint that it was decided on. Two notebooks that change
an endpoint at once decide on the same one: the first wins, the other gets a DeployConflict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import DeployConflict
from mlops_magics.serving.plan import SHADOW
from mlops_magics.store import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = [
    "CANARY",
    "CHAMPION",
    "STATUS",
    "Traffic",
    "add",
    "candidate_of",
    "champion_of",
    "conflict",
    "finish",
    "flip",
    "read",
    "resize",
    "withdraw",
]

CHAMPION, CANARY = "champion", "canary"
STATUS = {CHAMPION: "SERVING", CANARY: "CANARY", SHADOW: "SHADOW"}
"""A revision's status while it is a variant."""

Traffic = list[dict[str, Any]]


def read(connection: Connection, name: str) -> Any:
    """Return an endpoint's row, held until the transaction ends; None if there is none."""
    named = tables.endpoints
    return connection.execute(
        sa.select(named).where(named.c.name == name).with_for_update()
    ).first()


def flip(
    connection: Connection,
    name: str,
    revision: int,
    generation: int,
    *,
    now: float,
    settings: dict[str, Any] | None = None,
) -> Traffic:
    """Give a revision all the traffic; return what the traffic was.

    The champion before stays warm, a candidate beside it drains.

    Raises
    ------
    DeployConflict
        The endpoint is not at that generation any more.
    """
    before = _write(connection, name, generation, _whole(revision), now, settings)
    others = (
        sa.update(tables.revisions)
        .where(tables.revisions.c.endpoint == name)
        .where(tables.revisions.c.id != revision)
        .values(updated=now)
    )
    status = tables.revisions.c.status
    # only the last one stays warm
    connection.execute(others.where(status == "WARM").values(status="RETIRED"))
    connection.execute(others.where(status == "SERVING").values(status="WARM"))
    connection.execute(others.where(status.in_(("CANARY", "SHADOW"))).values(status="DRAINING"))
    _set(connection, revision, "SERVING", None, now)
    return before


def add(
    connection: Connection,
    name: str,
    revision: int,
    variant: str,
    percent: float,
    generation: int,
    *,
    now: float,
    settings: dict[str, Any] | None = None,
) -> Traffic:
    """Give a revision a share beside the champion; return what the traffic was.

    Raises
    ------
    DeployConflict
        The endpoint is not at that generation any more, or has a candidate already.
    """
    row = read(connection, name)
    champion = champion_of(row)
    if champion is None or len(row.traffic) > 1:
        raise conflict(name)
    traffic = _shares(champion, revision, variant, percent)
    before = _write(connection, name, generation, traffic, now, settings)
    _set(connection, revision, STATUS[variant], None, now)
    return before


def resize(
    connection: Connection, name: str, variant: str, percent: float, generation: int, *, now: float
) -> Traffic:
    """Change the candidate's share, or make a shadow a canary; return what the traffic was.

    Raises
    ------
    DeployConflict
        The endpoint is not at that generation any more, or has no candidate.
    """
    row = read(connection, name)
    champion, candidate = champion_of(row), candidate_of(row)
    if champion is None or candidate is None:
        raise conflict(name)
    traffic = _shares(champion, candidate["revision"], variant, percent)
    before = _write(connection, name, generation, traffic, now, None)
    if candidate["variant"] != variant:
        _set(connection, candidate["revision"], STATUS[variant], None, now)
    return before


def withdraw(
    connection: Connection, name: str, generation: int, *, reason: str, now: float
) -> Traffic:
    """Take the candidate out; return what the traffic was. What it has begun, it answers.

    Raises
    ------
    DeployConflict
        The endpoint is not at that generation any more, or has no candidate.
    """
    row = read(connection, name)
    champion, candidate = champion_of(row), candidate_of(row)
    if champion is None or candidate is None:
        raise conflict(name)
    before = _write(connection, name, generation, _whole(champion), now, None)
    _set(connection, candidate["revision"], "DRAINING", reason, now)
    return before


def finish(connection: Connection, name: str, status: str, reason: str, *, now: float) -> bool:
    """End an endpoint's rollout, if one runs; tell whether one did."""
    t = tables.rollouts
    ended = connection.execute(
        sa.update(t)
        .where(t.c.endpoint == name, t.c.status == "RUNNING")
        .values(status=status, reason=reason, ended=now)
    )
    return bool(ended.rowcount)


def champion_of(row: Any) -> int | None:
    """Return the revision that serves an endpoint; None if none does."""
    found = [share for share in (row.traffic if row else []) if share["variant"] == CHAMPION]
    return int(found[0]["revision"]) if found else None


def candidate_of(row: Any) -> dict[str, Any] | None:
    """Return the share of an endpoint's canary or shadow; None if it has neither."""
    found = [share for share in (row.traffic if row else []) if share["variant"] != CHAMPION]
    return dict(found[0]) if found else None


def conflict(name: str) -> DeployConflict:
    """Return the error of whoever was overtaken."""
    return DeployConflict(
        f"{name!r} was changed by someone else meanwhile", hint=f"see: mlops endpoints {name}"
    )


def _whole(revision: int) -> Traffic:
    return [{"revision": revision, "variant": CHAMPION, "percent": 100}]


def _shares(champion: int, revision: int, variant: str, percent: float) -> Traffic:
    """Put the champion first; a shadow takes nothing from it."""
    rest = 100 if variant == SHADOW else 100 - percent
    return [
        {"revision": champion, "variant": CHAMPION, "percent": rest},
        {"revision": revision, "variant": variant, "percent": percent},
    ]


def _write(
    connection: Connection,
    name: str,
    generation: int,
    traffic: Traffic,
    now: float,
    settings: dict[str, Any] | None,
) -> Traffic:
    named = tables.endpoints
    before = connection.execute(sa.select(named.c.traffic).where(named.c.name == name)).scalar()
    values: dict[str, Any] = {"traffic": traffic, "generation": generation + 1, "updated": now}
    if settings is not None:
        values["settings"] = settings
    moved = connection.execute(
        sa.update(named)
        .where(named.c.name == name, named.c.generation == generation)
        .values(**values)
    )
    if moved.rowcount != 1:
        raise conflict(name)
    return list(before or [])


def _set(
    connection: Connection, revision: int, status: str, reason: str | None, now: float
) -> None:
    connection.execute(
        sa.update(tables.revisions)
        .where(tables.revisions.c.id == revision)
        .values(status=status, reason=reason, updated=now)
    )
