"""Connections: uvicorn's HTTP protocol, with limits on a request's head and on its duration."""

from __future__ import annotations

import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

__all__ = ["LimitedProtocol", "close_slow"]

_HEADER_BYTES = 64 * 1024
RECEIVE_SECONDS = 8.5  # looked at once a second: nobody stays for ten


class LimitedProtocol(HttpToolsProtocol):
    """Refuses heads over 64 KiB, and knows since when it waits for a request to be complete."""

    draining = False
    """Whether each answer is the last one on its connection: set once, for all of them."""

    def connection_made(self, transport: Any) -> None:
        self.waiting_since: float | None = self.loop.time()
        self.since = self.waiting_since
        self._head = 0
        self._tail = b""
        self._in_head = True
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.since = self.loop.time()
        if self._in_head:
            # counted before the parser keeps it; what follows the head is the app's to limit
            part = self._tail + data[: _HEADER_BYTES + 4] if self._tail else data
            end = part.find(b"\r\n\r\n", 0, _HEADER_BYTES + 4)
            self._head += len(data) if end < 0 else end - len(self._tail)
            self._tail = data[-3:]  # the end of a head may come in two parts
            if self._head > _HEADER_BYTES:
                self.refuse(431, "the request's head is over 64 KiB")
                return
        if not self.transport.is_closing():
            super().data_received(data)

    def on_message_begin(self) -> None:
        if self.waiting_since is None:
            self.waiting_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        if self.draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self.waiting_since = None
        self._in_head = True
        self._head = 0
        self._tail = b""
        super().on_message_complete()

    def drain(self) -> None:
        """Tell the client with the next answer that it is the last."""
        LimitedProtocol.draining = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, "this is no valid HTTP request")

    def refuse(self, status: int, message: str) -> None:
        """Answer without the app, and close."""
        body = json.dumps({"error": message}).encode()
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self.transport.close()


def close_slow(connections: set[Any], now: float) -> int:
    """Close connections whose request is not complete in time; return how many."""
    closed = 0
    for connection in list(connections):
        since = getattr(connection, "waiting_since", None)
        if since is not None and now - since > RECEIVE_SECONDS:
            connection.refuse(408, "the request took too long to arrive")
            closed += 1
    return closed
