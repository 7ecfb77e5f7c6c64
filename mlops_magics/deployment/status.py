"""The workspace by its five drivers: data, code, artifacts, middleware, infrastructure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mlops_magics import registry
from mlops_magics.cards import Badge, Card, Code, Grid
from mlops_magics.deployment.endpoints import is_foreign
from mlops_magics.errors import MlopsError
from mlops_magics.records import Record
from mlops_magics.serving import server
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace, resolve
from mlops_magics.training import drivers

__all__ = ["Part", "Status", "init", "status"]

DRIVERS = ("data", "code", "artifacts", "middleware", "infrastructure")


@dataclass(frozen=True)
class Part:
    """One thing that the workspace stands on.

    Attributes
    ----------
    driver : str
        One of the five drivers.
    name, value : str
        What it is, and how it stands.
    healthy : bool or None
        None where health has no meaning, or nothing is there yet.
    fix : str or None
        The command that mends it.
    """

    driver: str
    name: str
    value: str
    healthy: bool | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Status(Record):
    """The workspace at a glance.

    Attributes
    ----------
    root, path : Path
        The project's folder, and the workspace in it.
    parts : tuple of Part
        In the order of the five drivers.
    next : tuple of str
        What one would do next.
    """

    root: Path
    path: Path
    parts: tuple[Part, ...]
    next: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether no part is unwell."""
        return all(part.healthy is not False for part in self.parts)

    def card(self) -> Card:
        """Show a line for each part."""
        rows = []
        last = ""
        for part in self.parts:
            badge: Any = ""
            if part.healthy is not None:
                badge = Badge("ok", "good") if part.healthy else Badge("stopped", "bad")
            rows.append([part.driver if part.driver != last else "", part.name, part.value, badge])
            last = part.driver
        fixes = [part for part in self.parts if part.fix]
        if fixes:
            grids = [
                Grid(["driver", "", "", ""], rows),
                Grid(["to mend", "run"], [[part.name, Code(str(part.fix))] for part in fixes]),
            ]
        else:
            grids = [Grid(["driver", "", "", ""], rows)]
        return Card(
            title=self.root.name,
            subtitle=str(self.path),
            badge=Badge("healthy", "good") if self.healthy else Badge("needs attention", "warn"),
            grids=grids,
            next=self.next,
        )


def init(path: str | Path | None = None) -> Status:
    """Make a workspace in a project's folder; one that is there already is opened.

    Parameters
    ----------
    path : path, optional
        The project's folder; default: what ``MLOPS_WORKSPACE`` names, else the working directory.

    Raises
    ------
    InvalidArgument
        The folder does not exist or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> init(tempfile.mkdtemp()).path.name
    '.mlops'
    """
    return status(workspace=Workspace.create(path))


def status(*, workspace: Workspace | None = None) -> Status:
    """Look at all parts of the workspace.

    A part that cannot be reached is reported, with the command that mends it; it does not raise.

    Raises
    ------
    WorkspaceNotFound
        There is no workspace here or above.
    """
    workspace = resolve(workspace)
    parts: list[Part] = []
    state: dict[str, Any] = {"datasets": 0, "versions": [], "endpoints": 0}
    for look in (_data, _code, _artifacts, _middleware, _infrastructure):
        parts += look(workspace, state)
    return Status(workspace.root, workspace.path, tuple(parts), tuple(_next(state)))


def _data(workspace: Workspace, state: dict[str, Any]) -> Iterator[Part]:
    table = tables.datasets
    try:
        with workspace.database.read() as connection:
            count = sa.func.count
            names, versions, rows = connection.execute(
                sa.select(count(table.c.name.distinct()), count(), sa.func.sum(table.c.rows))
            ).one()
    except MlopsError as exc:
        yield Part("data", "datasets", f"unknown: {exc.message}", False, "mlops doctor")
        return
    state["datasets"] = names
    if names:
        yield Part("data", "datasets", f"{names} in {versions} versions, {int(rows):,} rows")
    else:
        yield Part("data", "datasets", "none yet")


def _code(workspace: Workspace, state: dict[str, Any]) -> Iterator[Part]:
    code = drivers.code(workspace.root)
    if code.commit is None:
        yield Part("code", "git", code.note or "no commit yet")
        return
    changes = "with uncommitted changes" if code.dirty else "clean"
    yield Part("code", "git", f"{code.branch} at {code.commit[:10]}, {changes}")


def _artifacts(workspace: Workspace, state: dict[str, Any]) -> Iterator[Part]:
    try:
        versions = list(registry.model_versions(workspace=workspace))
    except MlopsError as exc:
        yield Part("artifacts", "models", f"unknown: {exc.message}", False, "mlops doctor")
        return
    state["versions"] = versions
    if not versions:
        yield Part("artifacts", "models", "none registered yet")
        return
    names = sorted({version.name for version in versions})
    yield Part("artifacts", "models", f"{len(names)} registered, {len(versions)} versions")
    for version in versions:
        if "champion" in version.aliases:
            yield Part("artifacts", f"{version.name}@champion", f"version {version.version}")


def _middleware(workspace: Workspace, state: dict[str, Any]) -> Iterator[Part]:
    yield _tracking(workspace)
    yield _database(workspace)
    endpoints = _endpoints(workspace)
    state["endpoints"] = len(endpoints)
    triggers = _triggers(workspace)
    running = server.find(workspace)
    if running is None:
        idle = [f"{len(endpoints)} endpoints do not answer"] if endpoints else []
        idle += [f"{len(triggers)} triggers do not fire"] if triggers else []
        if idle:
            value = f"stopped; {', '.join(idle)}"
            yield Part("middleware", "server", value, False, "mlops start")
        else:
            yield Part("middleware", "server", "not started; the first deployment starts it")
        return
    dead = [name for name in ("supervisor", "gateway", "agent") if not getattr(running, name)]
    value = running.url if not dead else f"{running.url}, without its {' and '.join(dead)}"
    fix = "mlops stop, then mlops start" if dead else None
    yield Part("middleware", "server", value, not dead, fix)
    yield from _log(workspace)
    for name, model in endpoints.items():
        yield Part("middleware", f"endpoint {name}", model)
    yield from _alerts(workspace, list(endpoints))
    if triggers:
        blind = sorted(name for name, problem in triggers.items() if problem)
        value = f"{len(triggers)} are watched for"
        if blind:
            value += f"; {blind[0]} cannot look: {triggers[blind[0]]}"
        fix = f"mlops trigger show {blind[0]}" if blind else None
        yield Part("middleware", "triggers", value, not blind, fix)


def _log(workspace: Workspace) -> Iterator[Part]:
    """Tell how much of the inference log waits for the database, and what could not be written."""
    try:
        spool = server.state(workspace)["spool"]
    except MlopsError:
        return  # the server is reported as a part of its own
    failures = {reason: count for reason, count in spool["failures"].items() if count}
    mega = 1024**2
    value = f"{spool['bytes'] / mega:.1f} of {spool['limit'] / mega:,.0f} MiB wait to be loaded"
    if failures:
        value += "; writes failed since its start: "
        value += ", ".join(f"{count} ({reason})" for reason, count in failures.items())
    failing = bool(spool["failing"])
    room = "make room on the disk; answers have no X-Prediction-Id until then"
    fix = (room if failures.get("disk") else "mlops doctor") if failing else None
    yield Part("middleware", "inference log", value, not failing, fix)


def _tracking(workspace: Workspace) -> Part:
    tracking = workspace.tracking
    where = "SQLite in the workspace" if tracking.embedded else tracking.uri
    try:
        count = len(_runs(workspace))
    except MlopsError as exc:
        fix = "start that server, or unset MLFLOW_TRACKING_URI"
        return Part("middleware", "MLflow", f"{where}: {exc.message}", False, fix)
    some = f"{count} runs" if count < _MANY else f"{_MANY} runs or more"
    return Part("middleware", "MLflow", f"{where}, {some}", True)


_MANY = 1000


def _runs(workspace: Workspace) -> list[Any]:
    tracking = workspace.tracking
    with tracking.mapped():
        found = tracking.client.search_runs([tracking.experiment_id], max_results=_MANY)
    return list(found)


def _database(workspace: Workspace) -> Part:
    database = workspace.database
    if workspace.settings.database_url:
        where = database.url.render_as_string(hide_password=True)
    else:
        where = "SQLite in the workspace"
    try:
        with database.read() as connection:
            entries = connection.execute(sa.select(sa.func.count(tables.ledger.c.seq))).scalar()
    except MlopsError as exc:
        return Part("middleware", "database", f"{where}: {exc.message}", False, "mlops doctor")
    return Part("middleware", "database", f"{where}, {entries} entries in the ledger", True)


def _endpoints(workspace: Workspace) -> dict[str, str]:
    """Endpoint to the model version that most of its requests go to."""
    try:
        with workspace.database.read() as connection:
            revisions = {
                row.id: f"{row.model}/{row.version}"
                for row in connection.execute(sa.select(tables.revisions))
            }
            named = connection.execute(sa.select(tables.endpoints)).all()
            endpoints = [row for row in named if not is_foreign(workspace, row)]
    except MlopsError:
        return {}  # the database itself is reported as a part of its own
    serving = {}
    for endpoint in endpoints:
        shares = sorted(endpoint.traffic, key=lambda share: -float(share["percent"]))
        if shares:
            serving[str(endpoint.name)] = revisions.get(shares[0]["revision"], "unknown")
    return serving


def _alerts(workspace: Workspace, endpoints: Sequence[str]) -> Iterator[Part]:
    """Tell what is wrong at the endpoints; nothing if nothing is."""
    t = tables.alerts.c
    query = sa.select(t.endpoint, t.severity, t.title).where(
        t.endpoint.in_(endpoints), t.status == "OPEN", t.severity != "info"
    )
    try:
        with workspace.database.read() as connection:
            rows = connection.execute(query.order_by(t.id.desc())).all()
    except MlopsError:
        return  # the database itself is reported as a part of its own
    if rows:
        worst = next((row for row in rows if row.severity == "critical"), rows[0])
        more = f"; and {len(rows) - 1} more" if len(rows) > 1 else ""
        value = f"{worst.endpoint}: {worst.title}{more}"
        # the workspace is well; what it serves is not
        yield Part("middleware", "alerts", value, fix="mlops alerts list")


def _triggers(workspace: Workspace) -> dict[str, str | None]:
    """Return the triggers that the server's agent is to watch, and why one cannot look."""
    t = tables.triggers.c
    query = sa.select(t.name, t.state).where(t.workspace == workspace.id, t.enabled == 1)
    try:
        with workspace.database.read() as connection:
            return {row.name: row.state.get("problem") for row in connection.execute(query)}
    except MlopsError:
        return {}  # the database itself is reported as a part of its own


def _infrastructure(workspace: Workspace, state: dict[str, Any]) -> Iterator[Part]:
    import psutil

    found = drivers.infrastructure()
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(str(workspace.path))
    giga = 1024**3
    yield Part("infrastructure", "machine", f"{found['machine']}, {found['cores']} cores")
    free = f"{memory.available / giga:.1f} of {memory.total / giga:.1f} GiB free"
    yield Part("infrastructure", "memory", free)
    full = disk.free < giga
    value = f"{disk.free / giga:.1f} of {disk.total / giga:.1f} GiB free"
    fix = "make room: the inference log needs it" if full else None
    yield Part("infrastructure", "disk", value, not full, fix)


def _next(state: dict[str, Any]) -> Iterator[str]:
    if not state["datasets"]:
        yield "mlops ingest SOURCE NAME"
    elif not state["versions"]:
        yield "mlops register MODEL --name NAME --data TRAIN --target TARGET --holdout HOLDOUT"
    elif not state["endpoints"]:
        newest = state["versions"][0]
        yield f"mlops deploy {newest.name}/{newest.version}"
    else:
        yield "mlops endpoints"
