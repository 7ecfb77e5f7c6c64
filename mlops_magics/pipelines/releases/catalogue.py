"""The catalogue of releases: make one, list them, go back to one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import (
    DeployConflict,
    InvalidArgument,
    LockTimeout,
    ReleaseFailed,
    ReleaseNotFound,
    UnknownName,
)
from mlops_magics.pipelines import arguments, specification
from mlops_magics.pipelines.arguments import Given
from mlops_magics.pipelines.executor import Event
from mlops_magics.pipelines.releases import shelf
from mlops_magics.pipelines.releases.freezing import Frozen, freeze
from mlops_magics.pipelines.releases.records import Release, Releases
from mlops_magics.pipelines.releases.smoke import smoke as run_smoke
from mlops_magics.store import ledger, tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

    Watch = Callable[[Event], object]

__all__ = ["release_pipeline", "releases", "rollback_pipeline"]


def release_pipeline(
    path: Path | str,
    *,
    smoke: Given | None = None,
    workspace: Workspace | None = None,
    watch: Watch | None = None,
) -> Release:
    """Freeze a pipeline, try it on little data, and only then have triggers run it.

    Specification, notebooks, the project's modules that they import and its lock files are copied,
    by content. The copy is run in a scratch workspace, where nothing that it registers or deploys
    reaches anybody. If that fails the release before it stays current, and every endpoint is as it
    was.

    Parameters
    ----------
    path : path
        A ``pipeline.yaml``, a folder with one, or a notebook.
    smoke : mapping, or iterable
        Parameters of the smoke run, as `run_pipeline` takes them; they win over the
        specification's ``smoke``.
    workspace : Workspace, optional
        Default: the one found from the working directory.
    watch : callable, optional
        Takes what happens in the smoke run, each an `Event`.

    Returns
    -------
    Release
        Current now; `unchanged` when it was so already.

    Raises
    ------
    SpecInvalid, ParameterInvalid
        Before anything has run.
    ReleaseFailed
        The smoke run did not finish.
    DeployConflict
        Another release of the pipeline is under way.

    Examples
    --------
    >>> import nbformat
    >>> cell = nbformat.v4.new_code_cell("1 + 1")
    >>> python = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    >>> path = workspace.root / "retrain.ipynb"
    >>> nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=python), path)
    >>> made = release_pipeline(path, workspace=workspace)
    >>> made.id, made.status
    ('retrain-1', 'CURRENT')
    """
    workspace = resolve(workspace)
    pipeline = specification.read(path)
    given = arguments.gather(smoke, pipeline.parameters)
    arguments.settle(pipeline, given, smoke=True)
    try:
        with workspace.lock(f"release-{pipeline.name}", timeout=0.2):
            return _release(workspace, pipeline, given, watch)
    except LockTimeout as exc:
        holder = workspace.holder(f"release-{pipeline.name}")
        raise DeployConflict(
            f"another release of {pipeline.name!r} is under way, by {holder}",
            hint=f"wait for it, then see: mlops pipeline releases {pipeline.name}",
        ) from exc


def releases(pipeline: str | None = None, *, workspace: Workspace | None = None) -> Releases:
    """List releases, the newest first.

    Parameters
    ----------
    pipeline : str, optional
        Of that pipeline only.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    ReleaseNotFound
        There is none of that pipeline.

    Examples
    --------
    >>> print(releases(workspace=workspace))
    Releases
      no release yet: triggers run the files as they are; mlops pipeline release PATH
    """
    workspace = resolve(workspace)
    rows = shelf.rows(workspace, pipeline)
    if pipeline is not None and not rows:
        known = {row.pipeline for row in shelf.rows(workspace, None)}
        raise ReleaseNotFound(
            f"no release of pipeline {pipeline!r}", hint=UnknownName("", pipeline, known).hint
        )
    return Releases(rows=[_record(workspace, row) for row in rows], name=pipeline)


def rollback_pipeline(
    pipeline: str,
    release: str | None = None,
    *,
    reason: str | None = None,
    workspace: Workspace | None = None,
) -> Release:
    """Go back to an earlier release of a pipeline.

    Parameters
    ----------
    pipeline : str
        Its name.
    release : str, optional
        The release's id; default: the one before the current.
    reason : str, optional
        Why; kept in the ledger.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    ReleaseNotFound
        There is none to go back to.
    ReleaseCorrupt
        Its files were changed.
    InvalidArgument
        It is current, or failed its smoke run.

    Examples
    --------
    >>> rollback_pipeline("retrain", workspace=workspace)
    Traceback (most recent call last):
    mlops_magics.errors.ReleaseNotFound: no release of pipeline 'retrain'
      → there is no release yet: mlops pipeline release PATH
    """
    workspace = resolve(workspace)
    rows = shelf.rows(workspace, pipeline)
    if not rows:
        raise ReleaseNotFound(
            f"no release of pipeline {pipeline!r}",
            hint="there is no release yet: mlops pipeline release PATH",
        )
    by_id = {row.id: row for row in rows}
    if release is None:
        serving = next((row.number for row in rows if row.status == "CURRENT"), None)
        former = [
            row
            for row in rows
            if row.status == "FORMER" and (serving is None or row.number < serving)
        ]
        if not former:
            raise ReleaseNotFound(f"no release of {pipeline!r} before the current one")
        row = former[0]
    elif release not in by_id:
        near = UnknownName("release", release, by_id)
        raise ReleaseNotFound(near.message, hint=near.hint)
    else:
        row = by_id[release]
    if row.status != "FORMER":
        said = {"CURRENT": "is current", "FAILED": "failed its smoke run"}
        raise InvalidArgument(f"release {row.id} {said.get(row.status, 'is being tested')}")
    shelf.frozen_of(workspace, row).prepare()
    with workspace.database.begin() as connection:
        before = _switch(connection, workspace, row.id, "FORMER")
        ledger.append(
            connection,
            actor=workspace.actor,
            action="release rollback",
            subject=f"pipeline {pipeline}",
            details={"release": row.id, "before": before, "reason": reason or ""},
        )
    return _read(workspace, row.id, before=before)


def _release(
    workspace: Workspace,
    pipeline: specification.Pipeline,
    given: Mapping[str, Any],
    watch: Watch | None,
) -> Release:
    _bury(workspace, pipeline.name)
    frozen = freeze(workspace, pipeline)
    serving = shelf.current(workspace, pipeline.name)
    if serving is not None and serving.digest == frozen.digest:
        return _read(workspace, serving.id, unchanged=True)
    made = _begin(workspace, pipeline.name, frozen, given)
    try:
        run = run_smoke(workspace, frozen, made, given, watch)
    except BaseException as exc:
        reason = exc.message if isinstance(exc, ReleaseFailed) else "interrupted"
        if not isinstance(exc, (ReleaseFailed, KeyboardInterrupt)):
            reason = f"{type(exc).__name__}: {exc}"
        _fail(workspace, made, reason)
        if isinstance(exc, ReleaseFailed):
            stays = f"release {serving.id} stays current" if serving else "there is no release yet"
            exc.message = f"{exc.message}\n{stays}"
        raise
    t = tables.releases
    with workspace.database.begin() as connection:
        before = _switch(connection, workspace, made, "TESTING")
        connection.execute(t.update().where(t.c.id == made).values(smoke=run))
        ledger.append(
            connection,
            actor=workspace.actor,
            action="release",
            subject=f"pipeline {pipeline.name}",
            details={"release": made, "digest": frozen.digest, "before": before, "smoke": run},
        )
    return _read(workspace, made, before=before)


def _begin(workspace: Workspace, pipeline: str, frozen: Frozen, given: Mapping[str, Any]) -> str:
    t, now = tables.releases, time.time()
    while True:
        with workspace.database.begin() as connection:
            # ids are one space for all workspaces that share the database
            last = connection.execute(
                sa.select(sa.func.max(t.c.number)).where(t.c.pipeline == pipeline)
            ).scalar()
            number = int(last or 0) + 1
            insert = workspace.database.insert_or_ignore(t).values(
                id=f"{pipeline}-{number}",
                workspace=workspace.id,
                pipeline=pipeline,
                number=number,
                digest=frozen.digest,
                # kept relative, so that a project's folder can be moved
                folder=str(frozen.folder.relative_to(workspace.path)),
                path=frozen.manifest["path"],
                manifest={
                    "manifest": frozen.manifest,
                    "facts": frozen.facts,
                    "base": str(frozen.base),
                    "smoke": dict(given),
                },
                status="TESTING",
                actor=workspace.actor,
                created=now,
                updated=now,
            )
            found = connection.execute(insert.returning(t.c.id)).scalar()
            if found is not None:
                return str(found)


def _switch(connection: Connection, workspace: Workspace, release: str, was: str) -> str | None:
    """Make a release the current one; return the one that was."""
    t, now = tables.releases, time.time()
    row = connection.execute(
        sa.select(t.c.pipeline).where(t.c.id == release, t.c.status == was).with_for_update()
    ).one_or_none()
    if row is None:
        raise DeployConflict(f"release {release} was changed by another process meanwhile")
    same = (t.c.workspace == workspace.id) & (t.c.pipeline == row.pipeline)
    before = connection.execute(
        sa.select(t.c.id).where(same, t.c.status == "CURRENT").with_for_update()
    ).scalar()
    connection.execute(
        t.update().where(same, t.c.status == "CURRENT").values(status="FORMER", updated=now)
    )
    connection.execute(t.update().where(t.c.id == release).values(status="CURRENT", updated=now))
    return None if before is None else str(before)


def _fail(workspace: Workspace, release: str, reason: str) -> None:
    t = tables.releases
    with workspace.database.begin() as connection:
        failed = t.update().where(t.c.id == release, t.c.status == "TESTING")
        values = {"status": "FAILED", "reason": reason, "updated": time.time()}
        row = connection.execute(failed.values(values).returning(t.c.pipeline)).one_or_none()
        if row is not None:
            ledger.append(
                connection,
                actor=workspace.actor,
                action="release",
                subject=f"pipeline {row.pipeline}",
                details={"release": release, "failed": reason},
            )


def _bury(workspace: Workspace, pipeline: str) -> None:
    """Mark releases FAILED whose process was killed: whoever tests one holds the lock."""
    for row in shelf.rows(workspace, pipeline):
        if row.status == "TESTING":
            _fail(workspace, row.id, "the process that tested it is gone")


def _read(workspace: Workspace, release: str, **values: Any) -> Release:
    t = tables.releases
    with workspace.database.read() as connection:
        row = connection.execute(sa.select(t).where(t.c.id == release)).one()
    return _record(workspace, row, **values)


def _record(workspace: Workspace, row: Any, **values: Any) -> Release:
    kept = row.manifest
    facts, manifest = kept["facts"], kept["manifest"]
    notebooks = workspace.path / "pipelines" / f"smoke-{row.id}"
    return Release(
        id=row.id,
        pipeline=row.pipeline,
        number=row.number,
        digest=row.digest,
        status=row.status,
        reason=row.reason,
        path=str(workspace.path / row.folder / "tree" / row.path),
        files=len(manifest["files"]),
        packages=len(manifest["packages"]),
        commit=facts.get("commit"),
        branch=facts.get("branch"),
        dirty=facts.get("dirty"),
        params=kept["smoke"],
        smoke=row.smoke,
        notebooks=str(notebooks) if notebooks.is_dir() else "",
        actor=row.actor,
        created=row.created,
        **values,
    )
