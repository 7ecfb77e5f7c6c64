"""Whether runs and model versions exist, and which ones a name or alias stands for now.

Asked by who must not wait seconds for MLflow's import: the workspace's own store is a SQLite file,
in which this is a row. Any other store is asked through MLflow.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import MlopsError

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["model_version", "run_id"]

_WHOLE = re.compile(r"[0-9a-f]{32}")


def model_version(
    workspace: Workspace, name: str, version: str | None = None, alias: str | None = None
) -> str | None:
    """Return ``NAME/VERSION`` of the registered version that is asked for; None if there is none.

    Parameters
    ----------
    workspace : Workspace
        Whose registry.
    name : str
        The registered model.
    version : str, optional
        A number, or ``latest``.
    alias : str, optional
        Instead of a version.

    Examples
    --------
    >>> model_version(workspace, "flight-delay", alias="champion") is None
    True
    """
    tracking = workspace.tracking
    if tracking.registry_uri == tracking.embedded_uri:
        if alias is not None:
            query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
            found = _row(workspace, query, name, alias)
            if found is None:
                return None
            version = str(found[0])
        query = "SELECT max(version) FROM model_versions WHERE name = ? AND current_stage <> ?"
        given = (name, "Deleted_Internal")
        if version != "latest":
            if not str(version).isdigit():
                return None
            query, given = f"{query} AND version = ?", (*given, version)  # type: ignore[assignment]  # one more
        found = _row(workspace, query, *given)
        return f"{name}/{found[0]}" if found and found[0] is not None else None
    try:
        with tracking.mapped():
            if alias is not None:
                one = tracking.client.get_model_version_by_alias(name, alias)
            elif version == "latest":
                one = max(
                    tracking.client.search_model_versions(f"name = '{name}'"),
                    key=lambda each: int(each.version),
                )
            else:
                one = tracking.client.get_model_version(name, version)
    except (MlopsError, ValueError):
        return None
    return f"{name}/{one.version}"


def run_id(workspace: Workspace, ref: str) -> str | None:
    """Return the id of a run that exists: by its whole id, or the newest of a name.

    Examples
    --------
    >>> run_id(workspace, "0" * 32) is None
    True
    """
    tracking = workspace.tracking
    if not tracking.embedded:
        from mlops_magics.store import runs

        try:
            return str(runs.find(workspace, ref).info.run_id)
        except MlopsError:
            return None
    if _WHOLE.fullmatch(ref):
        query = "SELECT run_uuid FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
        found = _row(workspace, query, ref)
    else:
        query = (
            "SELECT run_uuid FROM runs JOIN experiments USING (experiment_id) WHERE runs.name = ?"
            " AND experiments.name = ? AND runs.lifecycle_stage = 'active'"
            " ORDER BY start_time DESC LIMIT 1"
        )
        found = _row(workspace, query, ref, tracking.experiment)
    return None if found is None else str(found[0])


def _row(workspace: Workspace, query: str, *values: Any) -> tuple[Any, ...] | None:
    with _connection(workspace) as connection:
        if connection is None:
            return None
        try:
            found: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
        except sqlite3.OperationalError:
            return None  # MLflow has not made its tables yet
    return found


@contextlib.contextmanager
def _connection(workspace: Workspace) -> Iterator[sqlite3.Connection | None]:
    path = workspace.path / "mlflow.db"
    if not path.is_file():
        yield None
        return
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)
    try:
        yield connection
    finally:
        connection.close()
