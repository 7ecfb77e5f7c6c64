"""Deploy: a new revision starts, passes its pre-checks, then takes the traffic."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import checks, plan
from mlops_magics.deployment.checks import Progress
from mlops_magics.deployment.endpoints import Endpoint, check_name, endpoint, refuse_foreign
from mlops_magics.errors import DeployConflict, DeployFailed, InvalidArgument, MlopsError
from mlops_magics.serving import server
from mlops_magics.serving.validation import Schema
from mlops_magics.store import ledger, models, tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.models import ModelRef
    from mlops_magics.store.workspace import Workspace

__all__ = ["deploy"]


def deploy(
    model: Any,
    endpoint: str | None = None,
    *,
    workers: int | None = None,
    latency_budget: float | None = None,
    log: str = "durable",
    progress: Progress | None = None,
    workspace: Workspace | None = None,
) -> Endpoint:
    """Serve a model at an endpoint; traffic moves when its pre-checks have passed.

    The server is started if it does not run. The revision that served before stays warm for a
    rollback; when the new one fails, it serves on as if nothing had been.

    Parameters
    ----------
    model : str, ModelVersion or Package
        ``name``, ``name@alias``, ``name/3``, a ``models:/`` URI, or a record that has one.
    endpoint : str, optional
        Default: the model's name.
    workers : int, optional
        Processes; default: the setting ``workers``.
    latency_budget : float, optional
        Milliseconds that 95 % of single-row requests must keep to.
    log : {"durable", "off"}
        Whether requests are kept in the inference table.
    progress : callable, optional
        Called with what is done, of how much, and what comes now.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    DeployFailed
        The model cannot be loaded, or a pre-check did not hold.
    DeployConflict
        Another deployment to this endpoint is under way, or came first.
    ModelNotFound, PackageCorrupt, SignatureMissing, PortTaken
        Before anything is changed.
    """
    workspace = resolve(workspace)
    report = progress or (lambda done, total, note: None)
    if log not in ("durable", "off"):
        raise InvalidArgument(f"log = {log!r} is neither 'durable' nor 'off'")
    count = workspace.settings.workers if workers is None else workers
    if count < 1:
        raise InvalidArgument(f"workers = {count} is no positive number")
    if not (endpoint is None or isinstance(endpoint, str)):
        raise InvalidArgument(
            f"endpoint = {endpoint!r} is a {type(endpoint).__name__}, not a name",
            hint="how many processes serve it is said with --workers; in Python workers=2",
        )
    uri = model if isinstance(model, str) else getattr(model, "uri", None)
    if not isinstance(uri, str):
        raise InvalidArgument(
            f"{type(model).__name__} is nothing that can be deployed",
            hint="register it first: mlops register MODEL --name NAME",
        )
    report(0, None, "fetching the package")
    ref = models.resolve(workspace, uri)
    name = check_name(endpoint or ref.name)
    package = models.fetch(workspace, ref)
    manifest = json.loads((package / "mlops" / "manifest.json").read_bytes())
    Schema.from_signature(manifest.get("signature"))  # refused here, not by a server
    with plan.deploying(workspace, name):
        _deploy(workspace, ref, package, name, count, latency_budget, log, report)
    plan.await_applied(workspace, plan.project(workspace))
    return _endpoint(workspace, name)


_endpoint = endpoint  # the verb's parameter has the same name


def _deploy(
    workspace: Workspace,
    ref: ModelRef,
    package: Path,
    name: str,
    count: int,
    latency_budget: float | None,
    log: str,
    report: Progress,
) -> None:
    """Bring a revision up, hold it to the checks, and give it the traffic."""
    report(0, None, "starting the server")
    plan.project(workspace)
    server.start(workspace)
    revision, generation = _claim(workspace, name, ref, package, count)
    try:
        planned = plan.project(workspace)
        checks.await_workers(workspace, revision, count, planned, report)
        report(count, count, "checking golden predictions")
        golden = checks.check_golden(workspace, revision, package)
        latency = None
        if latency_budget is not None:
            report(count, count, "checking the latency")
            latency = checks.check_latency(workspace, revision, package, latency_budget)
        evidence = {"golden": golden, "latency_p95_ms": latency, "budget_ms": latency_budget}
        with workspace.database.begin() as connection:
            _take_traffic(connection, workspace, name, revision, generation, log, evidence)
    except BaseException as exc:
        _fail(workspace, revision, exc)
        if isinstance(exc, DeployFailed):
            raise DeployFailed(
                f"{ref} was not deployed to {name!r}: {exc.message}", hint=exc.hint
            ) from exc
        raise


def _claim(
    workspace: Workspace, name: str, ref: ModelRef, package: Path, workers: int
) -> tuple[int, int]:
    """Enter a revision as STARTING; return its id and the endpoint's generation."""
    now = time.time()
    revisions, named = tables.revisions, tables.endpoints
    with workspace.database.begin() as connection:
        connection.execute(
            workspace.database.insert_or_ignore(named).values(
                name=name, generation=0, traffic=[], settings={}, created=now, updated=now
            )
        )
        row = connection.execute(
            sa.select(named).where(named.c.name == name).with_for_update()
        ).one()
        starting = sa.select(revisions.c.id).where(
            revisions.c.endpoint == name, revisions.c.status == "STARTING"
        )
        if row.traffic or connection.execute(starting).first():
            refuse_foreign(workspace, row)  # one that is out of service is anybody's to take
        connection.execute(
            sa.update(named)
            .where(named.c.name == name)
            .values(workspace=workspace.id, place=workspace.place)
        )
        plan.bury(connection, name)
        last = connection.execute(
            sa.select(sa.func.max(revisions.c.number)).where(revisions.c.endpoint == name)
        ).scalar()
        inserted = connection.execute(
            sa.insert(revisions).values(
                endpoint=name,
                number=(last or 0) + 1,
                model=ref.name,
                version=ref.version or ref.model_id,
                run_id=ref.run_id or None,
                package=str(package),
                digest=package.name,
                workers=workers,
                status="STARTING",
                created=now,
                updated=now,
            )
        )
        assert inserted.inserted_primary_key is not None
        return int(inserted.inserted_primary_key[0]), int(row.generation)


def _take_traffic(
    connection: Connection,
    workspace: Workspace,
    name: str,
    revision: int,
    generation: int,
    log: str,
    evidence: dict[str, Any],
) -> None:
    """Give a revision all the traffic, if nothing else has changed the endpoint meanwhile."""
    now = time.time()
    before = flip(connection, name, revision, generation, settings={"log": {"mode": log}}, now=now)
    row = connection.execute(
        sa.select(tables.revisions).where(tables.revisions.c.id == revision)
    ).one()
    ledger.append(
        connection,
        actor=workspace.actor,
        action="deploy",
        subject=f"endpoint {name}",
        details={
            "model": f"{row.model}/{row.version}",
            "revision": row.number,
            "digest": row.digest,
            "before": before,
            "checks": evidence,
        },
    )


def flip(
    connection: Connection,
    name: str,
    revision: int,
    generation: int,
    *,
    now: float,
    settings: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Move all traffic to a revision inside the caller's transaction; return the old traffic.

    Raises
    ------
    DeployConflict
        The endpoint is not at that generation any more.
    """
    named, revisions = tables.endpoints, tables.revisions
    before = connection.execute(sa.select(named.c.traffic).where(named.c.name == name)).scalar()
    values: dict[str, Any] = {
        "traffic": [{"revision": revision, "variant": "champion", "percent": 100}],
        "generation": generation + 1,
        "updated": now,
    }
    if settings is not None:
        values["settings"] = settings
    moved = connection.execute(
        sa.update(named)
        .where(named.c.name == name)
        .where(named.c.generation == generation)
        .values(**values)
    )
    if moved.rowcount != 1:
        raise DeployConflict(
            f"{name!r} was changed by someone else meanwhile", hint=f"see: mlops endpoints {name}"
        )
    others = (
        sa.update(revisions)
        .where(revisions.c.endpoint == name)
        .where(revisions.c.id != revision)
        .values(updated=now)
    )
    # only the last one stays warm
    connection.execute(others.where(revisions.c.status == "WARM").values(status="RETIRED"))
    connection.execute(others.where(revisions.c.status == "SERVING").values(status="WARM"))
    connection.execute(
        sa.update(revisions)
        .where(revisions.c.id == revision)
        .values(status="SERVING", reason=None, updated=now)
    )
    return list(before or [])


def _fail(workspace: Workspace, revision: int, exc: BaseException) -> None:
    """Leave the revision FAILED with its reason; its workers end, the previous one serves on."""
    if isinstance(exc, MlopsError):
        reason = exc.message
    elif isinstance(exc, KeyboardInterrupt):
        reason = "interrupted"
    else:
        reason = f"{type(exc).__name__}: {exc}"
    with workspace.database.begin() as connection:
        connection.execute(
            sa.update(tables.revisions)
            .where(tables.revisions.c.id == revision)
            .where(tables.revisions.c.status == "STARTING")
            .values(status="FAILED", reason=reason[:2000], updated=time.time())
        )
    plan.project(workspace)
