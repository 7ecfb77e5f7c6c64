"""Direct answers: predictions without an ASGI task.

Most requests are small, come whole and ask for a prediction. These are read from the parser and
answered with one write on their connection; what is larger, chunked or asks for anything else
goes through uvicorn's ASGI cycle. Access, protocols, log and metrics are the same for both.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from mlops_magics.serving.connection import LimitedProtocol
from mlops_magics.serving.exchange import Exchange, Refused, error_body
from mlops_magics.serving.invocation import choose, invoke
from mlops_magics.serving.scoring import Answer

if TYPE_CHECKING:
    from mlops_magics.serving.routing import Arm, Endpoint
    from mlops_magics.serving.scoring import Read

__all__ = ["DirectProtocol", "close_idle"]

IDLE_SECONDS = 75.0
_LARGEST = 64 * 1024
_log = logging.getLogger(__name__)


class _Unwaited:
    """Stands where uvicorn's cycles have an event: nobody waits here."""

    def set(self) -> None:
        """Wake nobody."""


class _Cycle:
    """A request that is answered directly; has of uvicorn's cycle what the connection asks for."""

    __slots__ = (
        "arm",
        "body",
        "connection",
        "disconnected",
        "endpoint",
        "exchange",
        "keep_alive",
        "more_body",
        "read",
        "response_complete",
    )
    message_event = _Unwaited()

    def __init__(
        self,
        connection: DirectProtocol,
        endpoint: Endpoint,
        read: Read,
        headers: list[tuple[bytes, bytes]],
        keep_alive: bool,
    ) -> None:
        self.connection = connection
        self.endpoint = endpoint
        self.read = read
        self.exchange = Exchange(headers)
        self.keep_alive = keep_alive
        self.body = b""
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self.arm: Arm | None = None

    def begin(self) -> None:
        """Answer: the body is whole."""
        gateway, exchange = self.connection.app, self.exchange
        try:
            refusal = gateway.access.refuse(self.connection.url.decode(), exchange.headers)
            if refusal is not None:
                raise Refused(*refusal)
            self.arm = choose(self.endpoint, exchange)
            try:
                body = exchange.inflated(self.body, gateway.max_body)
            except Refused as refusal:
                gateway.scorer.refuse(exchange, self.endpoint, self.arm, refusal, self.reply)
                return
            invoke(gateway.scorer, exchange, self.endpoint, self.arm, self.read, body, self.reply)
        except Refused as refused:
            self._refuse(refused)
        except Exception:
            _log.exception("request %s failed", exchange.id)
            self._refuse(Refused(500, f"internal error (request {exchange.id})"))

    def _refuse(self, refused: Refused) -> None:
        if not self.response_complete:
            headers = refused.all_headers()
            self.reply(Answer(refused.status, error_body(refused.message), headers))

    def reply(self, answer: Answer) -> None:
        """Write the answer, head and body at once."""
        exchange, arm = self.exchange, self.arm
        given = (exchange.client_id or exchange.id).encode()
        parts = [
            STATUS_LINE[answer.status],
            b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
            % (answer.content_type, len(answer.body), given),
        ]
        if arm is not None:
            parts.append(arm.head)
        if answer.logged:
            parts.append(b"x-prediction-id: %b\r\n" % exchange.id.encode())
        # uvicorn keeps the date there, made anew each second
        for header in (*self.connection.server_state.default_headers, *answer.headers):
            parts.append(b"%b: %b\r\n" % header)
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", answer.body)
        self.response_complete = True
        connection = self.connection
        if self.disconnected or connection.transport.is_closing():
            return
        connection.transport.write(b"".join(parts))
        if not self.keep_alive:
            connection.transport.close()
        connection.answered()


class DirectProtocol(LimitedProtocol):
    """Answers predictions directly, everything else by ASGI."""

    app: Any
    cycle: Any  # uvicorn's, or ours

    def on_message_begin(self) -> None:
        if self.waiting_since is None:
            self.waiting_since = self.loop.time()
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._in_head = False
        found = self.app.direct.get(self.url)
        if found is not None and self._is_direct():
            endpoint, read = found
            keep_alive = not self.draining and self.parser.should_keep_alive()
            self.cycle = _Cycle(self, endpoint, read, self.headers, keep_alive)
            return
        # uvicorn's own beginning of a request, which a direct one does not need
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def _is_direct(self) -> bool:
        """Whether a request is small, whole, and the only one on its connection."""
        if self.expect_100_continue or (self.cycle and not self.cycle.response_complete):
            return False
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return False
        length = 0
        for name, value in self.headers:
            if name == b"content-length":
                length = int(value) if value.isdigit() else _LARGEST
            elif name in (b"transfer-encoding", b"upgrade"):
                return False
        return length < _LARGEST

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cycle = self.cycle
        if type(cycle) is _Cycle and not cycle.response_complete:
            cycle.begin()

    def answered(self) -> None:
        """Go on to the next request of the connection, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        # no timer for each answer that waits for the next: `close_idle` looks at all each second
        if self.pipeline:
            self.flow.resume_reading()
            self._start_asgi_task(*self.pipeline.pop())


def close_idle(connections: set[Any], now: float) -> None:
    """Close connections whose last request was answered long ago."""
    for connection in list(connections):
        cycle = connection.cycle
        answered = cycle is not None and cycle.response_complete
        if answered and now - connection.since > IDLE_SECONDS:
            connection.transport.close()
