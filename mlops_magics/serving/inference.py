"""The inference log's lines: what is kept of a request, by the endpoint's policy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_magics.serving.batching import Failure
from mlops_magics.serving.spool import Line

if TYPE_CHECKING:
    from mlops_magics.serving.exchange import Exchange, Refused
    from mlops_magics.serving.routing import Arm, Endpoint
    from mlops_magics.serving.scoring import Answer, Job

__all__ = ["line", "refusal", "shortened"]

_LARGE_LINE = 256 * 1024
_LARGE_TEXT = 1024
_encoder = msgspec.json.Encoder()


def line(job: Job, answer: Answer) -> bytes:
    """Return the line of a request that went to a model."""
    exchange, endpoint, arm = job.exchange, job.endpoint, job.arm
    assert endpoint is not None
    assert arm is not None
    planned = arm.revision.planned
    outputs = job.outputs
    failed = isinstance(outputs, Failure)
    rows: Any = job.rows
    masked, text = arm.masked, job.call.text
    if text and not masked and len(text) < _LARGE_LINE and b"\n" not in text:
        rows = msgspec.Raw(text)
    elif masked:
        rows = [
            tuple(None if place in masked else value for place, value in enumerate(row))
            for row in rows
        ]
    kept = Line(
        id=exchange.id,
        client_id=exchange.client_id,
        t=exchange.time,
        endpoint=endpoint.name,
        revision=planned.id,
        version=planned.version,
        variant=arm.variant,
        columns=msgspec.Raw(arm.revision.columns),
        rows=rows,
        outputs=None if failed else outputs,
        status=answer.status,
        ms=exchange.milliseconds,
        error=outputs.message if isinstance(outputs, Failure) else None,
        mirror_of=job.mirror_of,
        trace_id=exchange.trace_id,
    )
    encoded = _encoder.encode(kept)
    if len(encoded) > _LARGE_LINE:
        kept.rows = shortened(rows) if isinstance(rows, list) else rows
        kept.outputs = shortened(kept.outputs)
        encoded = _encoder.encode(kept)
    return encoded


def refusal(exchange: Exchange, endpoint: Endpoint, arm: Arm, refused: Refused) -> bytes:
    """Return the line of a request that was refused before it reached a model."""
    planned = arm.revision.planned
    return _encoder.encode(
        Line(
            id=exchange.id,
            client_id=exchange.client_id,
            t=exchange.time,
            endpoint=endpoint.name,
            revision=planned.id,
            version=planned.version,
            variant=arm.variant,
            columns=None,
            rows=None,
            outputs=None,
            status=refused.status,
            ms=exchange.milliseconds,
            error=refused.message,
            trace_id=exchange.trace_id,
        )
    )


def shortened(value: Any) -> Any:
    """Cut long texts, with length and digest in the place of what is cut.

    Examples
    --------
    >>> cut = shortened([("a" * 3000, 7)])[0]
    >>> len(cut[0]), cut[0][1024:1047], cut[1]
    (1112, '… (3000 in all, sha256:', 7)
    """
    if isinstance(value, str):
        if len(value) <= _LARGE_TEXT:
            return value
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{value[:_LARGE_TEXT]}… ({len(value)} in all, sha256:{digest})"
    if isinstance(value, (bytes, bytearray)):
        if len(value) <= _LARGE_TEXT:
            return value
        return f"{len(value)} bytes, sha256:{hashlib.sha256(value).hexdigest()}"
    if isinstance(value, tuple):
        return tuple(map(shortened, value))
    if isinstance(value, Sequence):
        return list(map(shortened, value))
    if isinstance(value, dict):
        return {key: shortened(one) for key, one in value.items()}
    return value
