"""Invocations: a whole request, in either protocol, from its body to the batch and back.

Nothing here waits: a request's answer is given to ``reply`` when it is there, at once if it is
refused. So a request needs no task of its own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_magics.serving import protocol
from mlops_magics.serving.exchange import Exchange, Headers, Refused
from mlops_magics.serving.openinference import HEADER_LENGTH, decode_infer
from mlops_magics.serving.routing import Arm, Endpoint, Revision, share_of
from mlops_magics.serving.scoring import Call, Job, Read, Reply, Scorer, mirrored
from mlops_magics.serving.validation import Invalid, Schema

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "READS",
    "check",
    "check_type",
    "choose",
    "invoke",
    "read_invocation",
    "read_open_inference",
]

JSON, CSV = b"application/json", b"text/csv"
_SHED = 64
_encoder = msgspec.json.Encoder()


def choose(endpoint: Endpoint, exchange: Exchange, version: str | None = None) -> Arm:
    """Choose who answers: the arm of a version, of the caller's routing key, or by chance.

    Raises
    ------
    Refused
        404 for a version that is not served, 503 when nothing is.
    """
    if version is not None:
        arm = endpoint.serving(version)
        if arm is None:
            raise Refused(404, f"endpoint {endpoint.name!r} serves no version {version[:40]!r}")
        return arm
    arm = endpoint.choose(exchange.headers.get(b"x-routing-key"))
    if arm is None:
        raise Refused(503, "this endpoint has no traffic")
    return arm


def invoke(
    scorer: Scorer,
    exchange: Exchange,
    endpoint: Endpoint,
    arm: Arm,
    read: Read,
    body: bytes,
    reply: Reply,
) -> None:
    """Read a request, give it to its batch, and reply when there is an answer."""
    revision = arm.revision
    try:
        call = _read(read, body, revision, arm, exchange)
    except Refused as refusal:
        scorer.refuse(exchange, endpoint, arm, refusal, reply)
        return
    job = Job(exchange, call, reply, endpoint, arm)
    if endpoint.shadows:
        job.mirror = partial(_mirror, scorer, endpoint, read, body)
    scorer.submit(job, revision)


def check(
    scorer: Scorer, exchange: Exchange, revision: Revision, body: bytes, reply: Reply
) -> None:
    """Ask a revision that may have no traffic; neither counted nor logged.

    Raises
    ------
    Refused
        The request cannot be read.
    """
    call = _read(read_invocation, body, revision, None, exchange)
    scorer.submit(Job(exchange, call, reply), revision)


def _read(read: Read, body: bytes, revision: Revision, arm: Arm | None, exchange: Exchange) -> Call:
    if revision.schema is None:
        raise Refused(503, "this revision cannot be used: its manifest is unreadable")
    try:
        return read(body, revision.schema, arm, exchange)
    except Invalid as exc:
        raise Refused(400, str(exc)) from exc


def _mirror(scorer: Scorer, endpoint: Endpoint, read: Read, body: bytes, job: Job) -> None:
    """Ask the shadows what was answered just now, unless they or the others have much to do."""
    for arm in endpoint.shadows:
        batcher = arm.revision.batcher
        if arm.percent < 100 and share_of(job.exchange.id.encode(), b"shadow") * 100 >= arm.percent:
            continue
        primary = job.arm.revision.batcher if job.arm else None
        busy = any(one is not None and len(one.queue) >= _SHED for one in (batcher, primary))
        if busy or batcher is None or not batcher.ready:
            arm.tally.shed += 1
            continue
        try:
            call = _read(read, body, arm.revision, arm, job.exchange)
        except Refused as refusal:
            shadow = mirrored(job, job.call, arm)
            scorer.refuse(shadow.exchange, endpoint, arm, refusal, shadow.reply)
            continue
        scorer.submit(mirrored(job, call, arm), arm.revision)


def _predictions(outputs: list[Any]) -> bytes:
    """Encode MLflow's answer; NaN and infinities leave as null."""
    return b'{"predictions":' + _encoder.encode(outputs) + b"}"


def read_invocation(body: bytes, schema: Schema, arm: Arm | None, exchange: Exchange) -> Call:
    """Read MLflow's scoring protocol, JSON or CSV."""
    if exchange.content_type(JSON, CSV) == CSV:
        return Call(protocol.decode_csv(body, schema), _predictions, schema.params.default)
    request = protocol.decode_invocation(body, schema)
    return Call(request.rows, _predictions, request.params, request.text)


def read_open_inference(body: bytes, schema: Schema, arm: Arm | None, exchange: Exchange) -> Call:
    """Read the Open Inference Protocol's request."""
    check_type(read_open_inference, exchange)
    header = exchange.headers.get(HEADER_LENGTH)
    request = decode_infer(body, schema, header)
    if request.id and exchange.client_id is None:
        exchange.take_id(request.id)
    planned = arm.revision.planned if arm else None
    name, version = (planned.endpoint, planned.version) if planned else ("", "")

    def encode(outputs: Sequence[Any]) -> tuple[bytes, bytes, Headers]:
        return request.answer(name, version, outputs, exchange.id)

    return Call(request.rows, encode, request.params)


def check_type(read: Read, exchange: Exchange) -> None:
    """Refuse a body by its declared type, before it is waited for.

    The Open Inference Protocol names none and Triton's own client sends none, so there it may be
    absent; with tensors behind the JSON it may be anything.

    Raises
    ------
    Refused
        415.
    """
    if read is read_invocation:
        exchange.content_type(JSON, CSV)
    elif HEADER_LENGTH not in exchange.headers and b"content-type" in exchange.headers:
        exchange.content_type(JSON)


READS: dict[str, Read] = {
    "/endpoints/{name}/invocations": read_invocation,
    "/v2/models/{name}/infer": read_open_inference,
}
"""Where each protocol's requests come in."""
