"""Alerting: what an endpoint's alerts ask for, and what the agent does about them.

An action that runs a pipeline is a trigger of the kind ``alert``: it fires once, has its cooldown
and its history. An action that rolls back is a delivery that the agent carries out.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import shares
from mlops_magics.deployment.endpoints import refuse_foreign, row_of
from mlops_magics.deployment.rollback import rollback
from mlops_magics.errors import DeployConflict, DeployError, MlopsError, ServerError
from mlops_magics.monitoring.alerts import policy, states
from mlops_magics.monitoring.alerts.deliveries import Deliveries, Outcome
from mlops_magics.monitoring.alerts.policy import Policy
from mlops_magics.monitoring.alerts.records import AlertSettings
from mlops_magics.monitoring.alerts.watch import AlertWatch
from mlops_magics.pipelines import specification
from mlops_magics.pipelines.attendance import Act
from mlops_magics.pipelines.triggers import catalogue
from mlops_magics.pipelines.triggers.records import Trigger, Triggers
from mlops_magics.store import ledger, tables
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["acts", "configure_alerts", "roll_back"]

MENDED_BY_TRAINING = ("data", "drift", "quality")
"""Kinds of alerts that run a pipeline: a new model mends no server."""

_EVERY = 2.0  # seconds between looks for windows that have closed


def configure_alerts(
    endpoint: str,
    *,
    on: bool | None = None,
    window: str | float | None = None,
    false_alarms: float | None = None,
    persistence: int | None = None,
    cooldown: str | float | None = None,
    errors: float | str | None = None,
    latency: float | str | None = None,
    rows: int | None = None,
    labels: int | None = None,
    severity: str | None = None,
    webhook: str | Sequence[str] | None = None,
    command: str | Sequence[Any] | None = None,
    action: str | Sequence[str] | None = None,
    silence: str | float | None = None,
    workspace: Workspace | None = None,
) -> AlertSettings:
    """Say what an endpoint's alerts ask for; what is not given stays as it is.

    Parameters
    ----------
    endpoint : str
        Its name.
    on : bool, optional
        False: nothing is judged, and what is open is resolved.
    window : str or float, optional
        The span that is judged: ``"5m"`` at first.
    false_alarms : float, optional
        Of windows in which nothing is wrong, the share that may look otherwise: 0.01 at first.
    persistence : int, optional
        Windows in a row in which something must hold, or must not hold any more: 2 at first.
    cooldown : str or float, optional
        After an alert's end, the time in which the same is opened again and not delivered again:
        ``"1h"`` at first.
    errors : float or str, optional
        Share of requests that may fail: 0.05 at first; ``"none"``: all.
    latency : float or str, optional
        Milliseconds within which 95 % of the requests are to be answered; ``"none"``, as at first:
        any.
    rows, labels : int, optional
        That a verdict on data, and on quality, needs: 200 each at first.
    severity : str, optional
        The least that is delivered: ``info``, ``warning`` (at first) or ``critical``.
    webhook : str or sequence of str, optional
        Where alerts are posted to, instead of where they were: ``https://…``, or ``secret:NAME``
        for a URL that the server finds in its environment or keyring; ``"none"``: nowhere.
    command : str or sequence, optional
        Commands that are given each alert as JSON, instead of those that were: each a text, or a
        list of arguments; ``"none"``: none. There is no shell.
    action : str or sequence of str, optional
        What is done, instead of what was: ``pipeline:PATH`` on alerts about data, drift and
        quality, ``rollback`` on those about errors, latency and quality; ``"none"``: nothing.
    silence : str or float, optional
        For how long nothing is delivered and nothing done; ``"none"`` ends it.
    workspace : Workspace, optional
        Default: found from the working directory.

    Returns
    -------
    AlertSettings
        As they are now.

    Raises
    ------
    EndpointNotFound
        There is no endpoint of that name.
    DeployConflict
        Another workspace runs it.
    InvalidArgument, UnknownName
        A value that cannot be.
    SpecInvalid
        The pipeline of an action cannot be run.

    Examples
    --------
    >>> configure_alerts("late", window="15m", workspace=workspace)
    Traceback (most recent call last):
    mlops_magics.errors.EndpointNotFound: no endpoint 'late'
      → see them: mlops endpoints
    """
    workspace = resolve(workspace)
    now = time.time()
    place = row_of(workspace, endpoint)
    given = {
        "on": on,
        "window": window,
        "false_alarms": false_alarms,
        "persistence": persistence,
        "cooldown": cooldown,
        "errors": errors,
        "latency": latency,
        "rows": rows,
        "labels": labels,
        "severity": severity,
        "webhook": webhook,
        "command": command,
        "silence": silence,
    }
    asked = None if action is None else policy.actions_given(action)
    with workspace.database.read() as connection:
        before = policy.read(connection, endpoint)
        t = tables.watches.c
        until = connection.execute(sa.select(t.until).where(t.endpoint == endpoint)).scalar()
    if asked is None and all(value is None for value in given.values()):
        return _shown(workspace, endpoint, before, until)
    refuse_foreign(workspace, place)
    policy.change(before, now, **given)  # all is checked before anything is made
    actions = None if asked is None else _actions(workspace, endpoint, before, asked)
    with workspace.database.begin() as connection:
        row = _held(workspace, connection, endpoint, now)
        was = Policy.of(row.settings)
        found = policy.change(was, now, **given)
        if actions is not None:
            found = dataclasses.replace(found, actions=tuple(actions))
        until = row.until
        if found != was:
            until = _keep(workspace, connection, row, was, found, now)
    if actions is not None:
        kept = {one.get("trigger") for one in actions}
        for one in was.actions:
            if one.get("trigger") and one["trigger"] not in kept:
                _remove(workspace, one["trigger"])
    return _shown(workspace, endpoint, found, until)


def acts(workspace: Workspace) -> list[Act]:
    """Return what the agent does about alerts."""
    sinks = Deliveries(workspace)
    mending = Deliveries(workspace, doers={"rollback": roll_back})
    return [
        Act("judge what was predicted", AlertWatch(workspace).look, every=_EVERY),
        Act("deliver alerts", sinks.deliver),
        # it waits for no webhook that does not answer
        Act("act on alerts", mending.deliver),
    ]


def roll_back(workspace: Workspace, alert: Any, target: Mapping[str, Any], key: str) -> Outcome:
    """Give an endpoint's traffic back to the revision before, if the alert is about this one."""
    row = row_of(workspace, alert.endpoint)
    if alert.revision is None or shares.champion_of(row) != alert.revision:
        return Outcome("SKIPPED", "the revision that it is about serves no more")
    if alert.kind == "errors" and not _broken(alert.evidence):
        return Outcome("SKIPPED", "the requests were refused: another revision would refuse them")
    acting = Workspace(
        workspace.root,
        workspace.path,
        dataclasses.replace(workspace.settings, owner=states.ACTOR),
    )
    try:
        rollback(alert.endpoint, reason=f"alert {alert.id}: {alert.title}", workspace=acting)
    except (DeployConflict, ServerError) as exc:
        return Outcome("WAITING", exc.message)
    except DeployError as exc:
        return Outcome("FAILED", exc.message)
    except MlopsError as exc:
        return Outcome("WAITING", exc.message)
    finally:
        acting.database.close()
    now = row_of(workspace, alert.endpoint)
    if shares.champion_of(now) == alert.revision:
        return Outcome("DELIVERED", "the candidate beside it was taken out")
    return Outcome("DELIVERED", "the revision before serves again")


def _broken(evidence: Mapping[str, Any]) -> bool:
    """Whether most of the requests that failed did so by the server's fault."""
    failed = {int(status): count for status, count in (evidence.get("failed") or {}).items()}
    own = sum(count for status, count in failed.items() if status >= 500)
    return bool(own > sum(failed.values()) / 2)


def _held(workspace: Workspace, connection: Connection, endpoint: str, now: float) -> Any:
    """Return an endpoint's row of ``watches``, made if it is missing, held."""
    t = tables.watches
    insert = workspace.database.insert_or_ignore(t)
    connection.execute(insert.values(endpoint=endpoint, settings={}, state={}, updated=now))
    query = sa.select(t).where(t.c.endpoint == endpoint).with_for_update()
    return connection.execute(query).one()


def _keep(
    workspace: Workspace,
    connection: Connection,
    row: Any,
    was: Policy,
    found: Policy,
    now: float,
) -> float | None:
    """Write a changed policy, with its entry of the ledger; return until when was judged."""
    values: dict[str, Any] = {}
    if found.on != was.on:
        values = {"until": None, "state": {}}  # what comes from now on is judged
    if not found.on:
        for one in states.opened(connection, row.endpoint, held=True).values():
            reason = "alerts were turned off"
            states.resolve(connection, one, actor=workspace.actor, reason=reason, now=now)
    t = tables.watches
    connection.execute(
        t.update()
        .where(t.c.endpoint == row.endpoint)
        .values(settings=found.settings(), actor=workspace.actor, updated=now, **values)
    )
    shown, before = (AlertSettings.of(row.endpoint, one, None).to_dict() for one in (found, was))
    ledger.append(
        connection,
        actor=workspace.actor,
        action="alert configure",
        subject=f"endpoint {row.endpoint}",
        details={name: value for name, value in shown.items() if value != before[name]},
    )
    return None if values else row.until


def _actions(
    workspace: Workspace, endpoint: str, before: Policy, asked: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return the actions to keep, their triggers made."""
    known = _triggers(workspace)
    found: list[dict[str, Any]] = []
    for kind, path in asked:
        if kind == "rollback":
            found.append({"kind": kind})
            continue
        spec = specification.read(path)
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{spec.name}-{endpoint}-alert")[:128]
        present = known.get(name)
        if present is not None and Path(present.path) != spec.path:
            catalogue.remove_trigger(name, workspace=workspace)
            present = None
        if present is None:
            catalogue.trigger(
                path,
                name=name,
                alert=endpoint,
                kinds=MENDED_BY_TRAINING,
                cooldown=before.cooldown or "0s",
                start=False,
                workspace=workspace,
            )
        found.append({"kind": kind, "path": path, "trigger": name})
    return found


def _shown(
    workspace: Workspace, endpoint: str, found: Policy, until: float | None
) -> AlertSettings:
    named = [one["trigger"] for one in found.actions if "trigger" in one]
    known = _triggers(workspace) if named else {}
    notes = [
        f"the trigger {name} is gone, so that its pipeline does not run: give --action again"
        for name in named
        if name not in known
    ]
    return AlertSettings.of(endpoint, found, until, notes)


def _remove(workspace: Workspace, name: str) -> None:
    if name in _triggers(workspace):
        catalogue.remove_trigger(name, workspace=workspace)


def _triggers(workspace: Workspace) -> dict[str, Trigger]:
    found = catalogue.triggers(workspace=workspace)
    return {one.name: one for one in found} if isinstance(found, Triggers) else {}
