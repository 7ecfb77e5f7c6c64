"""Exchanges: one request and its answer, read and written within limits."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

__all__ = ["AsgiExchange", "Exchange", "Headers", "Refused", "error_body"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

_CLIENT_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header-field-values
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-.*")
_JSON = (b"content-type", b"application/json")
_RETRY = (b"retry-after", b"1")
_counter = itertools.count()
_process = os.urandom(4).hex()


class Refused(Exception):
    """A request that is answered with an error; the message is for the client."""

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """Return its headers, with those that its status asks for."""
        headers = list(self.headers)
        if self.status in (429, 503):
            headers.append(_RETRY)
        elif self.status == 401 and not any(name == b"www-authenticate" for name, _ in headers):
            headers.append((b"www-authenticate", b"Bearer"))
        return headers


def error_body(message: str) -> bytes:
    """Return an error as both protocols have it.

    Examples
    --------
    >>> error_body("no such endpoint")
    b'{"error": "no such endpoint"}'
    """
    return json.dumps({"error": message}, ensure_ascii=False).encode("utf-8", "replace")


class Exchange:
    """A request's head, and since when it is here.

    Parameters
    ----------
    headers : iterable of pairs of bytes
        Names in lower case.

    Attributes
    ----------
    id : str
        Ours: unique, and sortable by time.
    client_id : str or None
        The caller's ``X-Request-Id``.
    trace_id : str or None
        Of the caller's ``traceparent``.
    """

    __slots__ = ("began", "client_id", "headers", "id", "time", "trace_id")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.began = time.perf_counter()
        self.time = time.time()
        self.headers: dict[bytes, bytes] = dict(headers)
        self.id = new_id(self.time)
        given = self.headers.get(b"x-request-id")
        self.client_id = given.decode() if given and _CLIENT_ID.fullmatch(given) else None
        parent = self.headers.get(b"traceparent")
        found = _TRACEPARENT.fullmatch(parent) if parent else None
        self.trace_id = found[1].decode() if found else None

    @property
    def milliseconds(self) -> float:
        """Since the request's head arrived."""
        return round((time.perf_counter() - self.began) * 1000, 3)

    def take_id(self, given: str) -> None:
        """Take the caller's own id from the body, if it can be a header's value."""
        if _CLIENT_ID.fullmatch(given.encode()):
            self.client_id = given

    def content_type(self, *accepted: bytes) -> bytes:
        """Return the body's media type, which must be one of those accepted."""
        given = self.headers.get(b"content-type", b"")
        if given not in accepted:
            given = given.split(b";")[0].strip().lower()
            if given not in accepted:
                names = " or ".join(kind.decode() for kind in accepted)
                raise Refused(415, f"Content-Type must be {names}")
        return given

    def inflated(self, body: bytes, limit: int) -> bytes:
        """Return the body as it was before it was compressed."""
        encoding = self.headers.get(b"content-encoding")
        return body if encoding is None else _inflate(body, encoding.strip().lower(), limit)


class AsgiExchange(Exchange):
    """A request and its answer as ASGI has them."""

    __slots__ = ("receive", "scope", "send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope["headers"])
        self.scope = scope
        self.receive = receive
        self.send = send

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
        return self.inflated(body, limit)

    async def answer(
        self,
        body: bytes,
        status: int = 200,
        headers: Headers = (),
        content_type: tuple[bytes, bytes] = _JSON,
    ) -> None:
        """Send the answer."""
        all_headers = [
            content_type,
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", (self.client_id or self.id).encode()),
            *headers,
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": all_headers})
        await self.send({"type": "http.response.body", "body": body})

    async def answer_json(self, value: Mapping[str, Any], status: int = 200) -> None:
        """Send a JSON object."""
        await self.answer(json.dumps(value).encode(), status)

    async def refuse(self, refused: Refused) -> None:
        """Send an error."""
        await self.answer(error_body(refused.message), refused.status, refused.all_headers())


def new_id(moment: float) -> str:
    """Return an id that no other request has: time, count, process."""
    return f"{int(moment * 1000):012x}{next(_counter) & 0xFFFFFF:06x}{_process}"


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
