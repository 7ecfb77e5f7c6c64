"""Exchanges: one request and its answer, read and written within limits."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

__all__ = ["Exchange", "Refused"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_CLIENT_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_JSON = (b"content-type", b"application/json")
_RETRY = (b"retry-after", b"1")
_counter = itertools.count()
_process = os.urandom(4).hex()


class Refused(Exception):
    """A request that is answered with an error; the message is for the client."""

    def __init__(
        self, status: int, message: str, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class Exchange:
    """One request and its answer.

    Attributes
    ----------
    id : str
        Ours: unique, and sortable by time.
    client_id : str or None
        The caller's ``X-Request-Id``.
    """

    __slots__ = ("began", "client_id", "headers", "id", "receive", "scope", "send", "time")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.began = time.perf_counter()
        self.time = time.time()
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = f"{int(self.time * 1000):012x}{next(_counter) & 0xFFFFFF:06x}{_process}"
        given = self.headers.get(b"x-request-id")
        self.client_id = given.decode() if given and _CLIENT_ID.fullmatch(given) else None

    @property
    def milliseconds(self) -> float:
        """Since the request's head arrived."""
        return round((time.perf_counter() - self.began) * 1000, 3)

    def content_type(self, *accepted: bytes) -> bytes:
        """Return the body's media type, which must be one of those accepted."""
        given = self.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if given not in accepted:
            names = " or ".join(kind.decode() for kind in accepted)
            raise Refused(415, f"Content-Type must be {names}")
        return given

    async def body(self, limit: int) -> bytes:
        """Read the body, inflated if it is gzip; refuse it as soon as it is too large."""
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise Refused(413, f"the body is over {limit} bytes", [(b"connection", b"close")])
        event = await self.receive()
        if event["type"] == "http.disconnect":
            raise Refused(400, "the client went away in the middle of the body")
        body: bytes = event.get("body", b"")
        if event.get("more_body"):
            parts = [body]
            size = len(body)
            while event.get("more_body"):
                event = await self.receive()
                if event["type"] == "http.disconnect":
                    raise Refused(400, "the client went away in the middle of the body")
                parts.append(event.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise Refused(
                        413, f"the body is over {limit} bytes", [(b"connection", b"close")]
                    )
            body = b"".join(parts)
        encoding = self.headers.get(b"content-encoding")
        return body if encoding is None else _inflate(body, encoding.strip().lower(), limit)

    async def answer(
        self,
        body: bytes,
        status: int = 200,
        headers: Sequence[tuple[bytes, bytes]] = (),
        content_type: tuple[bytes, bytes] = _JSON,
    ) -> None:
        """Send the answer."""
        request_id = self.client_id or self.id
        all_headers = [
            content_type,
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            (b"x-prediction-id", self.id.encode()),
            *headers,
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": all_headers})
        await self.send({"type": "http.response.body", "body": body})

    async def answer_json(self, value: Mapping[str, Any], status: int = 200) -> None:
        """Send a JSON object."""
        await self.answer(json.dumps(value).encode(), status)

    async def refuse(
        self, status: int, message: str, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send an error."""
        extra = list(headers)
        if status in (429, 503):
            extra.append(_RETRY)
        elif status == 401:
            extra.append((b"www-authenticate", b"Bearer"))
        body = json.dumps({"error": message}, ensure_ascii=False).encode("utf-8", "replace")
        await self.answer(body, status, extra)


def _inflate(body: bytes, encoding: bytes, limit: int) -> bytes:
    if encoding == b"identity":
        return body
    if encoding != b"gzip":
        raise Refused(415, "Content-Encoding must be gzip")
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as exc:
        raise Refused(400, "the body is no gzip") from exc
    if len(inflated) > limit:
        raise Refused(413, f"the inflated body is over {limit} bytes")
    if not inflater.eof:
        raise Refused(400, "the gzip body is cut off")
    return inflated
