"""Routing: the plan as the gateway lives it, revisions with their queues and endpoints' shares."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlops_magics.errors import MlopsError
from mlops_magics.serving import wire
from mlops_magics.serving.batching import Batcher, Item, WorkerLink
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.metrics import Tally, Timings
from mlops_magics.serving.plan import (
    SHADOW,
    LogPolicy,
    Plan,
    PlannedEndpoint,
    PlannedRevision,
    Share,
)
from mlops_magics.serving.resources import Usages
from mlops_magics.serving.turns import Turns
from mlops_magics.serving.validation import Schema
from mlops_magics.settings import Settings

__all__ = ["Arm", "Endpoint", "Revision", "Router", "share_of"]

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

    def __init__(
        self, revision: Revision, share: Share, tally: Tally, mask: Sequence[str] = ()
    ) -> None:
        planned = revision.planned
        self.revision = revision
        self.variant = share.variant
        self.percent = share.percent
        self.tally = tally
        self.headers = [
            (b"x-model-version", planned.version.encode()),
            (b"x-variant", share.variant.encode()),
            (b"x-revision", str(planned.id).encode()),
        ]
        self.head = b"".join(b"%b: %b\r\n" % header for header in self.headers)
        """The same as they stand in an answer's head."""
        names = revision.schema.names if revision.schema else ()
        self.masked = frozenset(names.index(name) for name in mask if name in names)


class Endpoint:
    """An endpoint's arms, its shadows, and what is kept of its requests.

    Examples
    --------
    >>> endpoint = Endpoint("flight-delay", [], LogPolicy(mode="off"))
    >>> endpoint.choose() is None, endpoint.logs("0199c8f1")
    (True, False)
    """

    def __init__(self, name: str, arms: Sequence[Arm], log: LogPolicy) -> None:
        self.name = name
        # the champion last: whose keys went to a canary of 5 % go to it at 20 %, too
        self.arms = sorted(
            (arm for arm in arms if arm.variant != SHADOW),
            key=lambda arm: (arm.variant == "champion", arm.revision.planned.id),
        )
        self.shadows = [arm for arm in arms if arm.variant == SHADOW]
        self.log = log
        self._salt = hashlib.sha256(name.encode()).digest()[:16]
        self._all = log.mode != "off" and log.fraction >= 1
        self._none = log.mode == "off" or log.fraction <= 0

    def choose(self, key: bytes | None = None) -> Arm | None:
        """Choose an arm by its share: always the same for a key, else by chance."""
        arms = self.arms
        if len(arms) == 1:
            return arms[0]
        if not arms:
            return None
        # no secret is drawn here: shares of traffic
        chance = random.random() if key is None else share_of(key, self._salt)  # noqa: S311 - so
        point = chance * 100
        for arm in arms:
            point -= arm.percent
            if point < 0:
                return arm
        return arms[-1]

    def serving(self, version: str) -> Arm | None:
        """Return the arm that serves a version."""
        return next((a for a in self.arms if a.revision.planned.version == version), None)

    def logs(self, request_id: str) -> bool:
        """Tell whether a request is kept in the inference table."""
        if self._all:
            return True
        if self._none:
            return False
        return share_of(request_id.encode(), b"log") < self.log.fraction


def share_of(key: bytes, salt: bytes) -> float:
    """Return a number in [0, 1) that is always the same for a key, and evenly spread over keys.

    Examples
    --------
    >>> 0 <= share_of(b"customer-7", b"flight-delay") < 1
    True
    """
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=salt[:16]).digest()) / 2**64


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
        self.tallies: dict[tuple[str, str, str, str], Tally] = {}
        self.usages = Usages(folder)
        self._deliver = deliver
        self._turns = Turns()
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
                    for a in [*endpoint.arms, *endpoint.shadows]
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
            arms.append(Arm(revision, share, tally, planned.log.mask))
        return Endpoint(name, arms, planned.log)

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
            timings=revision.timings,
            max_rows=self.settings.max_batch,
            max_queue=self.settings.max_queue,
            turns=self._turns,
        )
        loop = asyncio.get_running_loop()
        revision.tasks = [
            loop.create_task(self._keep_linked(revision, revision.batcher, index))
            for index in range(planned.workers)
        ]
        return revision

    async def linked(self, timeout: float) -> None:
        """Wait until workers that are up have welcomed us: before that we could only refuse."""
        up = [
            revision.batcher
            for revision in self.revisions.values()
            for index in range(revision.planned.workers)
            if revision.batcher and self.folder.is_up(revision.planned.id, index)
        ]
        end = time.monotonic() + timeout
        while not all(batcher.ready for batcher in up) and time.monotonic() < end:
            await asyncio.sleep(0.005)

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
