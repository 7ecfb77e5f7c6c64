"""Routing: the plan as the gateway lives it, revisions with their queues and endpoints' shares."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_magics.errors import MlopsError
from mlops_magics.serving import wire
from mlops_magics.serving.batching import Batcher, Item, WorkerLink
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.metrics import Tally, Timings
from mlops_magics.serving.plan import Plan, PlannedEndpoint, PlannedRevision
from mlops_magics.serving.resources import Usages
from mlops_magics.serving.validation import Schema
from mlops_magics.settings import Settings

__all__ = ["Arm", "Endpoint", "Revision", "Router"]

_log = logging.getLogger(__name__)


class Revision:
    """A revision that runs: its schema, its queue, its links to workers."""

    def __init__(self, planned: PlannedRevision) -> None:
        self.planned = planned
        self.schema: Schema | None = None
        self.batcher: Batcher | None = None
        self.manifest: dict[str, Any] = {}
        self.problem: str | None = None
        self.columns = b"[]"
        self.timings = Timings()
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether a worker is up."""
        return self.batcher is not None and self.batcher.ready > 0


class Arm:
    """A revision under a variant's name, as part of an endpoint's traffic."""

    def __init__(self, revision: Revision, variant: str, percent: float, tally: Tally) -> None:
        planned = revision.planned
        self.revision = revision
        self.variant = variant
        self.percent = percent
        self.tally = tally
        self.headers = [
            (b"x-model-version", planned.version.encode()),
            (b"x-variant", variant.encode()),
            (b"x-revision", str(planned.id).encode()),
        ]


class Endpoint:
    """An endpoint's arms."""

    def __init__(self, name: str, arms: list[Arm], log: bool) -> None:
        self.name = name
        self.arms = arms
        self.log = log
        self._weights = [arm.percent for arm in arms]

    def choose(self, version: str | None = None) -> Arm | None:
        """Choose an arm by its share, or the one that serves a version."""
        if version is not None:
            return next((a for a in self.arms if a.revision.planned.version == version), None)
        if len(self.arms) == 1:
            return self.arms[0]
        # no secret is drawn here: shares of traffic
        return random.choices(self.arms, self._weights)[0]  # noqa: S311 - as said above


class Router:
    """All revisions and endpoints of the plan that was applied last.

    Parameters
    ----------
    folder : ServerFolder
        Of the workspace.
    settings : Settings
        Limits of batches and queues.
    deliver : callable
        Gets the items that are done.
    """

    def __init__(
        self, folder: ServerFolder, settings: Settings, deliver: Callable[[list[Item]], None]
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.generation = 0
        self.revisions: dict[str, Revision] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.by_path: dict[str, Endpoint] = {}
        self.tallies: dict[tuple[str, str, str, str], Tally] = {}
        self.usages = Usages(folder)
        self._deliver = deliver
        self._leaving: set[asyncio.Task[None]] = set()

    def apply(self, plan: Plan) -> None:
        """Bring up what is new, let go of what is gone, then switch all traffic at once."""
        revisions: dict[str, Revision] = {}
        for key, planned in plan.revisions.items():
            known = self.revisions.get(key)
            same = known is not None and known.planned == planned
            revisions[key] = known if known and same else self._bring_up(planned)
        endpoints = {
            name: self._endpoint(name, planned, revisions)
            for name, planned in plan.endpoints.items()
        }
        gone = [
            revision
            for key, revision in self.revisions.items()
            if revisions.get(key) is not revision
        ]
        self.revisions, self.endpoints = revisions, endpoints
        self.by_path = {f"/endpoints/{name}/invocations": e for name, e in endpoints.items()}
        self.generation = plan.generation
        for revision in gone:
            task = asyncio.get_running_loop().create_task(self._let_go(revision))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def state(self) -> dict[str, Any]:
        """Return what the control API tells."""
        return {
            "generation": self.generation,
            "revisions": {
                key: {
                    "workers": revision.planned.workers,
                    "ready": revision.batcher.ready if revision.batcher else 0,
                    "queued": len(revision.batcher.queue) if revision.batcher else 0,
                    "problem": revision.problem,
                }
                for key, revision in self.revisions.items()
            },
            "endpoints": {
                name: [
                    {"revision": a.revision.planned.id, "variant": a.variant, "percent": a.percent}
                    for a in endpoint.arms
                ]
                for name, endpoint in self.endpoints.items()
            },
        }

    def _endpoint(
        self, name: str, planned: PlannedEndpoint, revisions: dict[str, Revision]
    ) -> Endpoint:
        arms = []
        for share in planned.traffic:
            revision = revisions[str(share.revision)]
            labels = (name, str(share.revision), revision.planned.version, share.variant)
            tally = self.tallies.setdefault(labels, Tally(labels))
            arms.append(Arm(revision, share.variant, share.percent, tally))
        return Endpoint(name, arms, planned.log.mode != "off")

    def _bring_up(self, planned: PlannedRevision) -> Revision:
        revision = Revision(planned)
        try:
            text = (Path(planned.package) / "mlops" / "manifest.json").read_text("utf-8")
            revision.manifest = json.loads(text)
            schema = Schema.from_signature(revision.manifest.get("signature"))
        except (OSError, ValueError, MlopsError) as exc:
            _log.error("revision %s cannot be routed to: %s", planned.id, exc)
            revision.problem = getattr(exc, "message", None) or "its manifest cannot be read"
            return revision
        revision.schema = schema
        revision.columns = json.dumps(schema.names).encode()
        revision.batcher = Batcher(
            wire.arrow_schema(schema),
            self._deliver,
            max_rows=self.settings.max_batch,
            max_queue=self.settings.max_queue,
        )
        loop = asyncio.get_running_loop()
        revision.tasks = [
            loop.create_task(self._keep_linked(revision, revision.batcher, index))
            for index in range(planned.workers)
        ]
        return revision

    async def _keep_linked(self, revision: Revision, batcher: Batcher, index: int) -> None:
        """Hold a connection to a worker, and make a new one whenever it is lost."""
        loop = asyncio.get_running_loop()
        path = self.folder.socket(revision.planned.id, index)
        link: WorkerLink | None = None
        try:
            while True:
                try:
                    _, link = await loop.create_unix_connection(lambda: WorkerLink(batcher), path)
                except OSError:
                    await asyncio.sleep(0.05)  # not up yet, or no descriptor is free just now
                    continue
                await asyncio.shield(link.lost)
                revision.timings.restarts += 1
        finally:
            if link is not None:
                link.close()

    async def _let_go(self, revision: Revision) -> None:
        batcher = revision.batcher
        while batcher is not None and batcher.busy:
            await asyncio.sleep(0.05)
        for task in revision.tasks:
            task.cancel()
