"""Live names for Tab: read quickly, read only, and never an error.

MLflow takes seconds to import, which is too long for a key press: of the workspace's own SQLite
file the names are read directly. A team's server is asked only when MLflow is loaded already, and
one that does not answer is not waited for.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["live"]

LIMIT = 100
PATIENCE = 0.8  # seconds that a key press may wait for a server

_OWN = {
    "alerts": "SELECT id FROM alerts WHERE status <> 'RESOLVED' ORDER BY id DESC",
    "datasets": "SELECT name FROM datasets GROUP BY name ORDER BY max(created) DESC",
    "endpoints": "SELECT name FROM endpoints ORDER BY name",
    "pipeline_runs": "SELECT id FROM pipeline_runs ORDER BY started DESC",
    "released": "SELECT DISTINCT pipeline FROM releases ORDER BY pipeline",
    "releases": "SELECT id FROM releases ORDER BY created DESC",
    "triggers": "SELECT name FROM triggers ORDER BY name",
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
        ``alerts``, ``datasets``, ``endpoints``, ``pipeline_runs``, ``released`` (pipelines),
        ``releases``, ``triggers``, ``registered``, ``aliases``, ``runs`` or ``models``.
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
        return _soon(repr(workspace.database), lambda: _of_database(workspace, _OWN[source]))
    if source not in _MLFLOW:
        return []
    tracking = workspace.tracking
    if tracking.registry_uri == tracking.uri and tracking.embedded:
        return _query(workspace.path / "mlflow.db", _MLFLOW[source])
    if "mlflow" not in sys.modules:
        return []
    return _soon(repr(tracking), lambda: list(_remote(source, tracking.client)))


def _soon(server: str, ask: Callable[[], list[str]]) -> list[str]:
    """Ask a server in a thread; no names if it has not answered in time."""
    asking = f"mlops-completion of {server}"
    if any(thread.name == asking for thread in threading.enumerate()):
        return []  # it still has not answered an earlier key press
    answer: list[str] = []

    def run() -> None:
        with contextlib.suppress(Exception):  # as in `live`
            answer.extend(ask())

    thread = threading.Thread(target=run, name=asking, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return [] if thread.is_alive() else answer


def _of_database(workspace: Workspace, statement: str) -> list[str]:
    import sqlalchemy

    with workspace.database.read() as connection:
        return [str(row[0]) for row in connection.execute(sqlalchemy.text(statement))]


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
