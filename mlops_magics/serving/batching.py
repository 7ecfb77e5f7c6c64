"""Batching: an idle worker gets work at once; while all are busy the next batch forms.

Where models have more workers than the machine has cores, their batches take turns (`turns`).

Only where clients of a slow model come back as soon as they are answered, a worker that has become
free waits for them a moment (`returns`): batches of all of them instead of half.

One request never fails its neighbours: when a batch fails, its members are tried again one by
one. When a worker dies with a batch, the members go to another worker, again one by one, so that
a request that kills its worker takes no other down with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import pyarrow as pa

from mlops_magics.serving import wire
from mlops_magics.serving.layout import Layout
from mlops_magics.serving.metrics import Timings
from mlops_magics.serving.returns import Returns
from mlops_magics.serving.turns import Turns

__all__ = ["Batcher", "Failure", "Item", "WorkerLink"]

_ATTEMPTS = 2
_log = logging.getLogger(__name__)


class Failure(Exception):
    """Why a request got no answer, with the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Item:
    """A request's rows on their way through a batch.

    Attributes
    ----------
    params : bytes
        The request's parameters as JSON; only requests with the same share a batch.
    """

    __slots__ = ("alone", "attempts", "outputs", "params", "rows", "since")

    def __init__(self, rows: Sequence[tuple[Any, ...]], params: bytes = b"") -> None:
        self.rows = rows
        self.params = params
        self.since = 0.0
        self.outputs: list[Any] | Failure | None = None
        self.attempts = 0
        self.alone = False


class WorkerLink(asyncio.Protocol):
    """The gateway's connection to one worker: one batch at a time.

    Parameters
    ----------
    batcher : Batcher
        Told when the link is made, lost, or answers.
    """

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.items: list[Item] = []
        self.sent = 0.0
        self.queued = 0.0
        self.lost = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports derive from none of asyncio's classes
        self._transport = cast("asyncio.Transport", transport)
        head = self.batcher.schema.serialize().to_pybytes()
        self._transport.write(wire.FRAME.pack(len(head), 0) + head)

    def send(self, items: list[Item]) -> None:
        """Give the worker a batch."""
        assert self._transport is not None
        self.items = items
        self.sent = time.perf_counter()
        self.queued = self.sent - items[0].since
        rows = items[0].rows if len(items) == 1 else [row for item in items for row in item.rows]
        body, params = self.batcher.layout.pack(rows), items[0].params
        self._transport.write(b"".join((wire.FRAME.pack(body.size, len(params)), body, params)))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) < wire.REPLY.size:
            return
        status, length = wire.REPLY.unpack_from(self._buffer)
        if len(self._buffer) < wire.REPLY.size + length:
            return
        body = bytes(self._buffer[wire.REPLY.size :])
        self._buffer.clear()
        if status == wire.WELCOME:
            self.batcher.joined(self)
            return
        items, self.items = self.items, []
        self.batcher.answered(self, items, status, body)

    def connection_lost(self, exc: Exception | None) -> None:
        items, self.items = self.items, []
        if not self.lost.done():
            self.lost.set_result(None)
        self.batcher.left(self, items)

    def close(self) -> None:
        """Close the connection; the worker waits for the next one."""
        if self._transport is not None:
            self._transport.close()


class Batcher:
    """The queue of one revision, and its workers.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the inputs.
    deliver : callable
        Gets every item that is done, a batch at a time; ``item.outputs`` is set.
    timings : Timings, optional
        Told of each batch that was answered.
    max_rows : int
        Rows in a batch, unless a single request has more.
    max_queue : int
        Requests that may wait.
    turns : Turns, optional
        Of the machine's cores, shared with other revisions.
    """

    def __init__(
        self,
        schema: Any,
        deliver: Callable[[list[Item]], None],
        *,
        timings: Timings | None = None,
        max_rows: int = 256,
        max_queue: int = 1024,
        turns: Turns | None = None,
    ) -> None:
        self.schema = schema
        self.layout = Layout(schema)
        self.links: set[WorkerLink] = set()
        self.queue: deque[Item] = deque()
        self.timings = timings or Timings()
        self._deliver = deliver
        self._max_rows = max_rows
        self._max_queue = max_queue
        self._idle: deque[WorkerLink] = deque()
        self._scheduled = False
        self._returns = Returns()
        self._held: asyncio.TimerHandle | None = None
        self._expected = 0
        self._turns = Turns() if turns is None else turns

    @property
    def ready(self) -> int:
        """Workers that are connected."""
        return len(self.links)

    @property
    def busy(self) -> bool:
        """Whether requests wait or are being computed."""
        return bool(self.queue) or len(self._idle) < len(self.links)

    def submit(self, item: Item) -> None:
        """Take a request.

        Raises
        ------
        Failure
            No worker is up (503), or too many requests wait (429).
        """
        if not self.links:
            raise Failure(503, "no worker of this revision is up; it is being started again")
        if len(self.queue) >= self._max_queue:
            raise Failure(429, f"{len(self.queue)} requests wait already; try again")
        item.since = time.perf_counter()
        self._returns.came(item.since)
        self.queue.append(item)
        if self._held is not None:
            if len(self.queue) < self._expected:
                return
            self._held.cancel()
            self._held = None
        if self._idle and not self._scheduled:
            # at the end of this turn of the loop: requests that arrived together go together
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def joined(self, link: WorkerLink) -> None:
        """Count a worker in."""
        self.links.add(link)
        self._idle.append(link)
        self._dispatch()

    def left(self, link: WorkerLink, items: list[Item]) -> None:
        """Count a worker out; its batch goes elsewhere."""
        self.links.discard(link)
        if items:
            self._turns.end(link)
        if link in self._idle:
            self._idle.remove(link)
        done = []
        for item in reversed(items):
            item.attempts += 1
            item.alone = True
            if item.attempts >= _ATTEMPTS:
                item.outputs = Failure(503, "the model's process ended while it answered")
                done.append(item)
            else:
                self.queue.appendleft(item)
        if not self.links:
            for item in self.queue:
                item.outputs = Failure(503, "the model's process ended; it is being started again")
            done += self.queue
            self.queue.clear()
        if done:
            self._deliver(done)
        self._dispatch()

    def answered(self, link: WorkerLink, items: list[Item], status: int, body: bytes) -> None:
        """Take a worker's answer, and give it the next batch."""
        self._idle.append(link)
        self._turns.end(link)
        rows = sum([len(item.rows) for item in items])
        now = time.perf_counter()
        self.timings.batch(rows, link.queued, now - link.sent)
        self._returns.answered(len(items), now - link.sent, now)
        outputs: list[Any] = []
        if status == wire.ANSWER:
            try:
                outputs = wire.outputs(body)
            except (pa.ArrowException, ValueError, ArithmeticError):
                _log.exception("a worker's answer cannot be read")
                status, body = wire.FAILURE, b"the model's outputs cannot be serialised"
        if status == wire.ANSWER:
            if len(items) == 1:
                items[0].outputs = outputs
            else:
                start = 0
                for item in items:
                    end = start + len(item.rows)
                    item.outputs = outputs[start:end]
                    start = end
        elif len(items) == 1:
            items[0].outputs = Failure(500, body.decode())
        else:
            for item in reversed(items):
                item.alone = True
                self.queue.appendleft(item)
            items = []
        if items and self._returns.wait:
            self._hold(len(items))
            self._deliver(items)
            return
        # the next batch first: the worker computes while these answers are written
        self._dispatch()
        if items:
            self._deliver(items)

    def _hold(self, answered: int) -> None:
        """Let a free worker wait for those who are being answered."""
        if self._held is None:
            self._expected = len(self.queue)
            loop = asyncio.get_running_loop()
            self._held = loop.call_later(self._returns.wait, self._dispatch)
        self._expected += answered

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._held is not None:
            self._held.cancel()
            self._held = None
        while self.queue and self._idle:
            # who has more workers than there are cores wants them to run at once
            many = len(self.links) > self._turns.cores
            if not self._turns.begin(self._idle[0], self._dispatch, insist=many):
                return
            items = [self.queue.popleft()]
            rows = len(items[0].rows)
            while not items[0].alone and self.queue and not self.queue[0].alone:
                rows += len(self.queue[0].rows)
                if rows > self._max_rows or self.queue[0].params != items[0].params:
                    break
                items.append(self.queue.popleft())
            link = self._idle.popleft()
            link.send(items)
        self._turns.leave(self._dispatch)
