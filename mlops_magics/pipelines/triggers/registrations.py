"""Registrations: a model has a new version, or an alias of it was moved."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import ModelNotFound, RunNotFound
from mlops_magics.pipelines.triggers.condition import Seen, Watched
from mlops_magics.store import models, tables
from mlops_magics.store.models import ModelRef

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Registrations"]


class Registrations:
    """``when``: ``model`` and ``alias`` (None: any new version).

    A version that a run of the trigger's own pipeline has made is passed over: the pipeline would
    run for ever.
    """

    every = 5.0

    def words(self, when: Mapping[str, Any]) -> str:
        """Say what is waited for."""
        if when["alias"]:
            return f"{when['model']}@{when['alias']} names another version"
        return f"a new version of {when['model']}"

    def begin(self, workspace: Workspace, when: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin with the version that is there; a model may come later."""
        found = self._version(workspace, when)
        return {"version": found.version if found else None}

    def look(self, workspace: Workspace, trigger: Watched, now: float) -> Seen:
        """Fire if the version is another one."""
        found = self._version(workspace, trigger.when)
        if found is None or found.version == trigger.seen["version"]:
            return Seen(trigger.seen)
        state, model = {"version": found.version}, trigger.when["model"]
        before = trigger.seen["version"]
        older = not trigger.when["alias"] and before and int(found.version) < int(before)
        if older or self._own(workspace, found.run_id, trigger.pipeline):
            return Seen(state)
        if trigger.when["alias"]:
            since = f"it was version {before}" if before else "it was not there"
            named = f"{model}@{trigger.when['alias']}"
            return Seen(state, f"{named} names version {found.version} now; {since}")
        return Seen(state, f"version {found.version} of {model} was registered")

    def _version(self, workspace: Workspace, when: Mapping[str, Any]) -> ModelRef | None:
        name = f"{when['model']}@{when['alias']}" if when["alias"] else f"{when['model']}/latest"
        with contextlib.suppress(ModelNotFound):
            return models.resolve(workspace, name)
        return None

    def _own(self, workspace: Workspace, run_id: str, pipeline: str) -> bool:
        """Whether a run was made by the pipeline: by one of its steps, or a run inside of one."""
        tracking = workspace.tracking
        tags: Mapping[str, str] = {"mlflow.parentRunId": run_id}
        while "mlops.pipeline_run" not in tags:
            if not tags.get("mlflow.parentRunId"):
                return False
            try:
                with tracking.mapped():
                    tags = tracking.client.get_run(tags["mlflow.parentRunId"]).data.tags
            except RunNotFound:
                return False
        t = tables.pipeline_runs.c
        query = sa.select(t.pipeline).where(t.id == tags["mlops.pipeline_run"])
        with workspace.database.read() as connection:
            return bool(connection.execute(query).scalar() == pipeline)
