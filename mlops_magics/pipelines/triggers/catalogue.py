"""The catalogue of triggers: add, list, pause, resume, remove."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument, TriggerNotFound, UnknownName
from mlops_magics.pipelines import arguments, specification
from mlops_magics.pipelines.arguments import Given
from mlops_magics.pipelines.triggers import orders
from mlops_magics.pipelines.triggers.condition import Watched
from mlops_magics.pipelines.triggers.kinds import conditions
from mlops_magics.pipelines.triggers.records import Trigger, Triggers
from mlops_magics.pipelines.triggers.schedule import Schedule
from mlops_magics.serving import server
from mlops_magics.store import ledger, tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = [
    "find",
    "pause_trigger",
    "remove_trigger",
    "resume_trigger",
    "trigger",
    "triggers",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def trigger(
    pipeline: Path | str,
    *,
    name: str | None = None,
    cron: str | None = None,
    tz: str | None = None,
    data: str | None = None,
    predictions: str | None = None,
    rows: int | None = None,
    files: int | None = None,
    alert: str | bool | None = None,
    severity: str | None = None,
    kinds: Iterable[str] = (),
    decay: str | None = None,
    by: float | None = None,
    endpoint: str | None = None,
    window: str | float | None = None,
    min_labels: int | None = None,
    commit: str | bool | None = None,
    paths: Iterable[str] = (),
    registry: str | None = None,
    params: Given | None = None,
    cooldown: str | float | None = None,
    retries: int = 0,
    overlap: bool = False,
    start: bool = True,
    workspace: Workspace | None = None,
) -> Trigger:
    """Have a pipeline run by itself: at times, on new data, on an alert, on decay, on a change.

    The workspace's server watches, with no notebook open. Each time the condition holds there is
    exactly one run; what happens while a run waits becomes one run with it. A pipeline that has a
    current release runs that one, else the files as they are.

    Parameters
    ----------
    pipeline : path
        A ``pipeline.yaml``, a folder with one, or a notebook.
    name : str, optional
        Default: the pipeline's name and the kind of condition.
    cron, tz : str, optional
        Five fields, such as ``"0 3 * * sun"``, and a time zone, such as ``"Europe/Berlin"``;
        default UTC.
    data : str, optional
        New data of a dataset, or in a file, a folder, a glob or an fsspec URL: so many `rows`
        (Parquet, CSV, TSV, JSON lines), or so many new or changed `files` (of a dataset:
        versions).
    predictions : str, optional
        An endpoint that has made so many predictions: `rows`.
    rows, files : int, optional
        How many there must be since it last fired.
    alert : str or True, optional
        An alert of that endpoint, or of any, that opens.
    severity : str, optional
        Of the alert, at least: ``info``, ``warning`` (default) or ``critical``.
    kinds : iterable of str
        Of the alert: errors, latency, data, drift, quality, server; default: any.
    decay : str, optional
        A metric that has become worse at an endpoint than in the model's test report.
    by : float, optional
        The loss of the metric that is allowed.
    endpoint : str, optional
        Where the decay is measured.
    window : str or float, optional
        Over which it is measured; default ``"7d"``.
    min_labels : int, optional
        Labels that the window must have; default 200.
    commit : str or True, optional
        A commit to that branch, or to whatever is checked out.
    paths : iterable of str
        Files or folders of which a commit must change one.
    registry : str, optional
        ``"model"``: a new version; ``"model@alias"``: the alias names another one.
    params : mapping, or iterable
        For the pipeline, as `run_pipeline` takes them.
    cooldown : str or float, optional
        How long it does not fire after a firing: ``"6h"``. Default: 1h for alerts and decay, else
        none.
    retries : int
        How often a failed run is tried again, after a minute and then twice as long each time.
    overlap : bool
        Run also while the pipeline runs; otherwise its end is waited for.
    start : bool
        Start the workspace's server, unless it runs.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    InvalidArgument
        No condition, or two; a schedule, a span or a threshold that is none.
    SpecInvalid, ParameterInvalid
        The pipeline, or its parameters, cannot be run.
    DatasetNotFound, EndpointNotFound, SourceUnreadable
        What is to be watched does not exist.

    Examples
    --------
    >>> import nbformat
    >>> cell = nbformat.v4.new_code_cell("1 + 1")
    >>> python = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    >>> path = workspace.root / "retrain.ipynb"
    >>> nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=python), path)
    >>> made = trigger(
    ...     path, cron="0 3 * * sun", tz="Europe/Berlin", start=False, workspace=workspace
    ... )
    >>> made.name, made.when
    ('retrain-cron', 'at 03:00 on Sunday (Europe/Berlin)')
    """
    workspace = resolve(workspace)
    spec = specification.read(pipeline)
    kind, when = orders.condition(
        workspace,
        cron=cron,
        tz=tz,
        data=data,
        predictions=predictions,
        rows=rows,
        files=files,
        alert=alert,
        severity=severity,
        kinds=tuple(kinds),
        decay=decay,
        by=by,
        endpoint=endpoint,
        window=window,
        min_labels=min_labels,
        commit=commit,
        paths=tuple(paths),
        registry=registry,
    )
    name = name if name is not None else f"{spec.name}-{kind}"
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"{name!r} is no name", hint="letters, digits, - _ . do")
    given = arguments.gather(params, spec.parameters)
    arguments.settle(spec, given)
    if retries < 0:
        raise InvalidArgument(f"retries = {retries} is below 0")
    settings = {
        "when": when,
        "params": given,
        "cooldown": orders.cooldown(kind, cooldown),
        "retries": retries,
        "overlap": overlap,
    }
    now = time.time()
    seen = conditions()[kind].begin(workspace, when, now)
    if start:
        server.start(workspace)
    path = spec.path
    if path.is_relative_to(workspace.root):
        path = path.relative_to(workspace.root)  # so that a project's folder can be moved
    with workspace.database.begin() as connection:
        insert = workspace.database.insert_or_ignore(tables.triggers).values(
            workspace=workspace.id,
            name=name,
            pipeline=spec.name,
            path=str(path),
            kind=kind,
            settings=settings,
            state={"number": 0, "seen": seen, "fired": None, "problem": None},
            actor=workspace.actor,
            created=now,
            updated=now,
        )
        if connection.execute(insert.returning(tables.triggers.c.id)).scalar() is None:
            raise InvalidArgument(
                f"there is a trigger {name!r} already",
                hint=f"give another --name, or: mlops trigger remove {name}",
            )
        details = {"pipeline": spec.name, "kind": kind, **settings}
        _enter(connection, workspace, "trigger add", name, details)
    return _read(workspace, name)


def triggers(name: str | None = None, *, workspace: Workspace | None = None) -> Triggers | Trigger:
    """List the triggers, or show one.

    Parameters
    ----------
    name : str, optional
        The one to show.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    TriggerNotFound

    Examples
    --------
    >>> print(triggers(workspace=workspace))
    Triggers
      no trigger yet: mlops trigger add PIPELINE --cron '0 3 * * sun'
    """
    workspace = resolve(workspace)
    if name is not None:
        return _read(workspace, name)
    rows = [_record(workspace, row) for row in _rows(workspace)]
    running = server.find(workspace)
    idle = any(row.enabled for row in rows) and (running is None or running.agent is None)
    return Triggers(rows=rows, idle=idle)


def pause_trigger(name: str, *, workspace: Workspace | None = None) -> Trigger:
    """Let a trigger watch no more until `resume_trigger`; a run that goes on is not touched.

    Raises
    ------
    TriggerNotFound

    Examples
    --------
    >>> pause_trigger("nightly", workspace=workspace)
    Traceback (most recent call last):
    mlops_magics.errors.TriggerNotFound: no trigger 'nightly'
      → there is no trigger yet
    """
    workspace = resolve(workspace)
    find(workspace, name)
    _set(workspace, name, "trigger pause", enabled=0)
    return _read(workspace, name)


def resume_trigger(name: str, *, start: bool = True, workspace: Workspace | None = None) -> Trigger:
    """Let a paused trigger watch again, from now on: what happened meanwhile does not count.

    Parameters
    ----------
    name : str
        Which.
    start : bool
        Start the workspace's server, unless it runs.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    TriggerNotFound

    Examples
    --------
    >>> resume_trigger("nightly", workspace=workspace)
    Traceback (most recent call last):
    mlops_magics.errors.TriggerNotFound: no trigger 'nightly'
      → there is no trigger yet
    """
    workspace = resolve(workspace)
    row = find(workspace, name)
    watched = Watched.of(workspace, row)
    if not row.enabled or watched.problem:
        seen = conditions()[watched.kind].begin(workspace, watched.when, time.time())
        state = {**row.state, "seen": seen, "problem": None}
        _set(workspace, name, "trigger resume", enabled=1, state=state)
    if start:
        server.start(workspace)
    return _read(workspace, name)


def remove_trigger(name: str, *, workspace: Workspace | None = None) -> Trigger:
    """Remove a trigger with its firings; runs that it made keep why they ran.

    Raises
    ------
    TriggerNotFound

    Examples
    --------
    >>> remove_trigger("nightly", workspace=workspace)
    Traceback (most recent call last):
    mlops_magics.errors.TriggerNotFound: no trigger 'nightly'
      → there is no trigger yet
    """
    workspace = resolve(workspace)
    row = find(workspace, name)
    with workspace.database.begin() as connection:
        connection.execute(tables.triggers.delete().where(tables.triggers.c.id == row.id))
        _enter(connection, workspace, "trigger remove", name, {"pipeline": row.pipeline})
    return _record(workspace, row, removed=True)


def _rows(workspace: Workspace) -> list[Any]:
    t = tables.triggers
    query = sa.select(t).where(t.c.workspace == workspace.id).order_by(t.c.name)
    with workspace.database.read() as connection:
        return list(connection.execute(query).all())


def find(workspace: Workspace, name: str) -> Any:
    """Return a trigger's row.

    Raises
    ------
    TriggerNotFound
        The hint has the nearest name.
    """
    rows = {row.name: row for row in _rows(workspace)}
    if name not in rows:
        near = UnknownName("trigger", name, rows)
        raise TriggerNotFound(near.message, hint=near.hint)
    return rows[name]


def _read(workspace: Workspace, name: str) -> Trigger:
    return _record(workspace, find(workspace, name))


def _record(workspace: Workspace, row: Any, *, removed: bool = False) -> Trigger:
    watched = Watched.of(workspace, row)
    following = None
    if watched.kind == "cron":
        schedule = Schedule(watched.when["cron"], watched.when["tz"])
        following = schedule.next(time.time())
    return Trigger(
        name=row.name,
        pipeline=row.pipeline,
        kind=row.kind,
        when=conditions()[row.kind].words(watched.when),
        path=str(watched.path),
        params=watched.params,
        cooldown=watched.cooldown,
        retries=watched.retries,
        overlap=watched.overlap,
        enabled=bool(row.enabled),
        next=following,
        fired=watched.fired,
        problem=watched.problem,
        actor=row.actor,
        created=row.created,
        removed=removed,
    )


def _set(workspace: Workspace, name: str, action: str, **values: Any) -> None:
    t = tables.triggers
    with workspace.database.begin() as connection:
        connection.execute(
            t.update()
            .where(t.c.workspace == workspace.id, t.c.name == name)
            .values(updated=time.time(), **values)
        )
        _enter(connection, workspace, action, name, {})


def _enter(
    connection: sa.Connection,
    workspace: Workspace,
    action: str,
    name: str,
    details: Mapping[str, Any],
) -> None:
    ledger.append(
        connection,
        actor=workspace.actor,
        action=action,
        subject=f"trigger {name}",
        details=details,
    )
