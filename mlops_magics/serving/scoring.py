"""Scoring: a validated request through the batch to an answer, which is logged before it leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from mlops_magics.serving import inference
from mlops_magics.serving.batching import Failure, Item
from mlops_magics.serving.exchange import Exchange, Headers, Refused, error_body
from mlops_magics.serving.routing import Arm, Endpoint, Revision
from mlops_magics.serving.spool import Spool
from mlops_magics.serving.validation import Schema

__all__ = ["Answer", "Call", "Job", "Reply", "Scorer"]

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What a client gets.

    Attributes
    ----------
    headers : sequence of pairs of bytes
        Beside those of every answer: the arm's, the ids, the length.
    content_type : bytes
    logged : bool
        Whether the inference table has, or will have, this request.
    """

    status: int
    body: bytes
    headers: Headers = ()
    content_type: bytes = b"application/json"
    logged: bool = False


class Call(NamedTuple):
    """A request as a protocol has read it.

    Attributes
    ----------
    rows : sequence of tuples
        In the signature's order.
    encode : callable
        From outputs, one a row, to the answer's body; a protocol whose answers are no JSON gives
        the content type and further headers too.
    params : bytes
        The model's parameters as JSON.
    text : bytes
        The rows as JSON, where they came like that: they need not be encoded again for the log.
    """

    rows: Sequence[tuple[Any, ...]]
    encode: Callable[[list[Any]], bytes | tuple[bytes, bytes, Headers]]
    params: bytes = b""
    text: bytes = b""


Reply = Callable[[Answer], None]


class Read(Protocol):
    """Reads a body by a schema; raises `Refused`."""

    def __call__(
        self, body: bytes, schema: Schema, arm: Arm | None, exchange: Exchange
    ) -> Call: ...


class Job(Item):
    """A request on its way to an answer."""

    __slots__ = ("arm", "call", "endpoint", "exchange", "mirror", "mirror_of", "reply")

    def __init__(
        self,
        exchange: Exchange,
        call: Call,
        reply: Reply,
        endpoint: Endpoint | None = None,
        arm: Arm | None = None,
    ) -> None:
        super().__init__(call.rows, call.params)
        self.exchange = exchange
        self.call = call
        self.reply = reply
        self.endpoint = endpoint
        self.arm = arm
        self.mirror: Callable[[Job], None] | None = None
        self.mirror_of: str | None = None


class Scorer:
    """Runs requests through batches, and logs them.

    Parameters
    ----------
    spool : Spool
        The inference log.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.unlogged = 0

    def submit(self, job: Job, revision: Revision) -> None:
        """Take a request; it is replied to when it is done, be it well or not."""
        if not job.rows:
            job.outputs = []
        elif revision.batcher is None:
            job.outputs = Failure(503, "this revision cannot be used: its manifest is unreadable")
        else:
            try:
                revision.batcher.submit(job)
            except Failure as failure:
                job.outputs = failure
            else:
                return
        self.deliver([job])

    def deliver(self, items: list[Item]) -> None:
        """Encode and log a batch's answers with one write, then let them go."""
        lines: list[bytes] = []
        done: list[tuple[Job, Answer]] = []
        for job in items:
            assert isinstance(job, Job)
            answer = _answer(job)
            if job.endpoint is not None and job.endpoint.logs(job.exchange.id):
                lines.append(inference.line(job, answer))
                answer = answer._replace(logged=True)
            done.append((job, answer))
        if lines and not self._append(lines):
            done = [(job, _unlogged(job, answer)) for job, answer in done]
            self.unlogged += len(lines)
        for job, answer in done:
            if job.arm is not None:
                rows = len(job.rows) if answer.status == 200 else 0
                job.arm.tally.count(answer.status, job.exchange.milliseconds / 1000, rows)
            job.reply(answer)
        for job, _ in done:
            if job.mirror is not None:
                job.mirror(job)

    def refuse(
        self, exchange: Exchange, endpoint: Endpoint, arm: Arm, refusal: Refused, reply: Reply
    ) -> None:
        """Count, log and answer a request that never reached a model."""
        answer = Answer(refusal.status, error_body(refusal.message), refusal.all_headers())
        arm.tally.count(refusal.status, exchange.milliseconds / 1000)
        if endpoint.logs(exchange.id):
            line = inference.refusal(exchange, endpoint, arm, refusal)
            # the refusal stands, whether or not it could be logged; failures are counted
            logged = self._append([line])
            self.unlogged += not logged
            answer = answer._replace(logged=logged)
        reply(answer)

    def _append(self, lines: list[bytes]) -> bool:
        try:
            self.spool.append(lines)
        except OSError as exc:
            _log.error("the inference log cannot be written: %s", exc.strerror)
            return False
        return True


def mirrored(job: Job, call: Call, arm: Arm) -> Job:
    """Return a request of its own for a shadow; nobody gets its answer."""
    exchange = Exchange(())
    exchange.client_id = job.exchange.client_id
    exchange.trace_id = job.exchange.trace_id
    shadow = Job(exchange, call, _nobody, job.endpoint, arm)
    shadow.mirror_of = job.exchange.id
    return shadow


def _nobody(answer: Answer) -> None:
    """Take an answer to nobody."""


def _answer(job: Job) -> Answer:
    outputs = job.outputs
    if isinstance(outputs, list):
        try:
            encoded = job.call.encode(outputs)
        except (TypeError, ValueError, msgspec.MsgspecError):
            _log.exception("outputs of request %s cannot be encoded", job.exchange.id)
            outputs = Failure(500, "the model's outputs cannot be serialised")
        else:
            if isinstance(encoded, bytes):
                return Answer(200, encoded)
            body, content_type, headers = encoded
            return Answer(200, body, headers, content_type)
    assert outputs is not None
    message = outputs.message
    if outputs.status == 500:
        message = f"{message} (request {job.exchange.id})"
    job.outputs = Failure(outputs.status, message)
    refused = Refused(outputs.status, message)
    return Answer(outputs.status, error_body(message), refused.all_headers())


def _unlogged(job: Job, answer: Answer) -> Answer:
    if not answer.logged:
        return answer
    if job.endpoint is not None and job.endpoint.log.mode == "strict":
        refused = Refused(503, "the inference log cannot be written")
        return Answer(503, error_body(refused.message), refused.all_headers())
    return answer._replace(logged=False)
