"""Live names for Tab: read quickly, read only, and never an error.

MLflow takes seconds to import, which is too long for a key press: of the workspace's own SQLite
file the names are read directly. A team's server is asked only when MLflow is loaded already.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["live"]

LIMIT = 100

_OWN = {
    "datasets": "SELECT name FROM datasets GROUP BY name ORDER BY max(created) DESC",
    "endpoints": "SELECT name FROM endpoints ORDER BY name",
}
_MLFLOW = {
    "registered": "SELECT name FROM registered_models ORDER BY name",
    "aliases": "SELECT DISTINCT alias FROM registered_model_aliases ORDER BY alias",
    "runs": "SELECT substr(run_uuid, 1, 12) FROM runs WHERE lifecycle_stage = 'active' "
    "ORDER BY start_time DESC",
    "models": "SELECT name || '@' || alias FROM registered_model_aliases "
    "UNION SELECT name || '/' || version FROM model_versions ORDER BY 1",
}


def live(source: str, ctx: click.Context, incomplete: str) -> list[str]:
    """Return the names of a kind that begin with what is typed.

    Parameters
    ----------
    source : str
        ``datasets``, ``endpoints``, ``registered``, ``aliases``, ``runs`` or ``models``.
    ctx : click.Context
        The command being completed; its ``--workspace`` counts.
    incomplete : str
        What is typed so far.
    """
    try:
        names = _names(source, _workspace(ctx))
        return [name for name in dict.fromkeys(names) if name.startswith(incomplete)][:LIMIT]
    except Exception:  # at a key press nobody can act on an error; no names is the answer
        return []


def _workspace(ctx: click.Context) -> Workspace:
    from mlops_magics.store.workspace import Workspace

    given = ctx.params.get("workspace")
    return given if isinstance(given, Workspace) else Workspace.find(given)


def _names(source: str, workspace: Workspace) -> list[str]:
    if source in _OWN:
        if not workspace.settings.database_url:
            return _query(workspace.path / "mlops.db", _OWN[source])
        import sqlalchemy

        with workspace.database.read() as connection:
            return [str(row[0]) for row in connection.execute(sqlalchemy.text(_OWN[source]))]
    if source not in _MLFLOW:
        return []
    tracking = workspace.tracking
    if tracking.registry_uri == tracking.uri and tracking.embedded:
        return _query(workspace.path / "mlflow.db", _MLFLOW[source])
    if "mlflow" not in sys.modules:
        return []
    return list(_remote(source, tracking.client))


def _query(path: Path, statement: str) -> list[str]:
    uri = f"{path.as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=0.3)) as connection:
        return [str(row[0]) for row in connection.execute(f"{statement} LIMIT 1000")]


def _remote(source: str, client: object) -> Iterator[str]:
    models = client.search_registered_models(max_results=LIMIT)  # type: ignore[attr-defined]  # MLflow ships no types
    for model in models:
        if source == "registered":
            yield model.name
        for alias, version in dict(model.aliases).items():
            if source == "aliases":
                yield alias
            if source == "models":
                yield f"{model.name}@{alias}"
                yield f"{model.name}/{version}"
