"""Scoring: a validated request through the batch to an answer, which is logged before it leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mlops_magics.serving.batching import Failure, Item
from mlops_magics.serving.exchange import Exchange, Refused
from mlops_magics.serving.routing import Arm, Revision
from mlops_magics.serving.spool import Line, Spool

__all__ = ["Scorer", "predictions_answer"]

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()

Encode = Callable[[list[Any]], bytes]


def predictions_answer(outputs: list[Any]) -> bytes:
    """Encode MLflow's answer; NaN and infinities leave as null.

    Examples
    --------
    >>> predictions_answer([0.5, float("nan")])
    b'{"predictions":[0.5,null]}'
    """
    return b'{"predictions":' + _encoder.encode(outputs) + b"}"


class _Job(Item):
    __slots__ = ("arm", "encode", "exchange", "future", "logged", "name")

    def __init__(
        self,
        rows: Sequence[tuple[Any, ...]],
        exchange: Exchange,
        arm: Arm | None,
        name: str,
        logged: bool,
        encode: Encode,
    ) -> None:
        super().__init__(rows)
        self.exchange = exchange
        self.arm = arm
        self.name = name
        self.logged = logged
        self.encode = encode
        self.future: asyncio.Future[bytes | Failure] = asyncio.get_running_loop().create_future()


class Scorer:
    """Runs requests through batches, and logs them.

    Parameters
    ----------
    spool : Spool
        The inference log.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool

    async def score(
        self,
        exchange: Exchange,
        revision: Revision,
        rows: Sequence[tuple[Any, ...]],
        encode: Encode,
        *,
        arm: Arm | None = None,
        name: str = "",
        logged: bool = False,
    ) -> bytes:
        """Return the answer's body; without an arm nothing is counted or logged.

        Raises
        ------
        Refused
            The model failed, no worker is up, or too many wait.
        """
        job = _Job(rows, exchange, arm, name, logged, encode)
        if not rows:
            job.outputs = []
            self.deliver([job])
        elif revision.batcher is None:
            job.outputs = Failure(503, "this revision cannot be used: its manifest is unreadable")
            self.deliver([job])
        else:
            try:
                revision.batcher.submit(job)
            except Failure as failure:
                job.outputs = failure
                self.deliver([job])
        answer = await job.future
        if isinstance(answer, Failure):
            raise Refused(answer.status, answer.message)
        return answer

    def deliver(self, items: list[Item]) -> None:
        """Encode and log a batch's answers with one write, then let them go."""
        lines: list[bytes] = []
        answers: list[tuple[_Job, bytes | Failure]] = []
        for job in items:
            assert isinstance(job, _Job)
            answer: bytes | Failure
            if isinstance(job.outputs, list):
                try:
                    answer = job.encode(job.outputs)
                except (TypeError, ValueError, msgspec.MsgspecError):
                    _log.exception("outputs of request %s cannot be encoded", job.exchange.id)
                    answer = Failure(500, "the model's outputs cannot be serialised")
            else:
                assert job.outputs is not None
                answer = job.outputs
            if isinstance(answer, Failure) and answer.status == 500:
                answer = Failure(500, f"{answer.message} (request {job.exchange.id})")
            answers.append((job, answer))
            if job.logged and job.arm is not None:
                lines.append(_line(job, job.arm, answer))
        if lines and not self._append(lines):
            answers = [
                (job, Failure(503, "the inference log cannot be written") if job.logged else answer)
                for job, answer in answers
            ]
        for job, answer in answers:
            if job.arm is not None:
                status = answer.status if isinstance(answer, Failure) else 200
                seconds = job.exchange.milliseconds / 1000
                job.arm.tally.count(status, seconds, len(job.rows) if status == 200 else 0)
            if not job.future.done():
                job.future.set_result(answer)

    def refused(
        self, exchange: Exchange, name: str, arm: Arm | None, logged: bool, refusal: Refused
    ) -> None:
        """Count and log a request that never reached a model."""
        milliseconds = exchange.milliseconds
        if arm is not None:
            arm.tally.count(refusal.status, milliseconds / 1000)
        if logged:
            planned = arm.revision.planned if arm else None
            line = Line(
                id=exchange.id,
                client_id=exchange.client_id,
                t=exchange.time,
                endpoint=name,
                revision=planned.id if planned else None,
                version=planned.version if planned else None,
                variant=arm.variant if arm else None,
                columns=None,
                rows=None,
                outputs=None,
                status=refusal.status,
                ms=milliseconds,
                error=refusal.message,
            )
            # the refusal stands, whether or not it could be logged; failures are counted
            self._append([_encoder.encode(line)])

    def _append(self, lines: list[bytes]) -> bool:
        try:
            self.spool.append(lines)
        except OSError as exc:
            _log.error("the inference log cannot be written: %s", exc.strerror)
            return False
        return True


def _line(job: _Job, arm: Arm, answer: bytes | Failure) -> bytes:
    exchange, planned = job.exchange, arm.revision.planned
    failed = isinstance(answer, Failure)
    return _encoder.encode(
        Line(
            id=exchange.id,
            client_id=exchange.client_id,
            t=exchange.time,
            endpoint=job.name,
            revision=planned.id,
            version=planned.version,
            variant=arm.variant,
            columns=msgspec.Raw(arm.revision.columns),
            rows=job.rows,
            outputs=None if failed else job.outputs,
            status=answer.status if isinstance(answer, Failure) else 200,
            ms=exchange.milliseconds,
            error=answer.message if isinstance(answer, Failure) else None,
        )
    )
