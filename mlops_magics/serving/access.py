"""Access: who may ask what. One check before every route, without exemptions but liveness.

Host and Origin are checked against an allow-list on all methods, so that neither a rebound name
nor a foreign page reaches the server; every route but two asks for the workspace's bearer token.
Because nobody can type a header into a browser, the pages that describe the server also take the
token as a password (HTTP Basic, any user name), when they are read.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

__all__ = ["OPEN_PATHS", "PAGES", "Access"]

OPEN_PATHS = frozenset({"/ping", "/v2/health/live"})
"""What may be asked without a token: whether the server lives."""

PAGES = frozenset({"/docs", "/docs/page.js", "/docs/page.css", "/openapi.json"})
"""What a person reads in a browser."""

Header = tuple[bytes, bytes]


class Access:
    """The allow-list and the token.

    Parameters
    ----------
    token : str
        The workspace's.
    host, port : str, int
        Where the server listens.

    Examples
    --------
    >>> access = Access("secret", "127.0.0.1", 8700)
    >>> access.refuse("/metrics", {b"host": b"127.0.0.1:8700"})
    (401, 'a bearer token is needed')
    >>> access.refuse("/metrics", {b"host": b"localhost:8700", b"authorization": b"Bearer secret"})
    >>> access.refuse("/ping", {b"host": b"attacker.example"})
    (403, 'this Host is not served here')
    """

    def __init__(self, token: str, host: str, port: int) -> None:
        self._token = token.encode()
        self._expected = b"Bearer " + self._token
        names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
        self._hosts = {f"{name}:{port}".encode() for name in names}
        if port == 80:
            self._hosts |= {name.encode() for name in names}
        self._origins = {b"http://" + host for host in self._hosts}

    def refuse(
        self, path: str, headers: Mapping[bytes, bytes], method: str = "POST"
    ) -> tuple[int, str] | tuple[int, str, list[Header]] | None:
        """Return status, message and headers of a refusal; None lets the request pass."""
        if headers.get(b"host", b"").lower() not in self._hosts:
            return 403, "this Host is not served here"
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in self._origins:
            return 403, "this Origin is not allowed"
        if path in OPEN_PATHS:
            return None
        given = headers.get(b"authorization")
        if given is not None and hmac.compare_digest(given, self._expected):
            return None
        if method == "GET" and path in PAGES:
            if given is not None and hmac.compare_digest(_password(given), self._token):
                return None
            asked = b'Basic realm="mlops: any name, and the token as password", charset="UTF-8"'
            return 401, "the token is needed, as password", [(b"www-authenticate", asked)]
        if given is None:
            return 401, "a bearer token is needed"
        return 401, "the bearer token is not this workspace's"


def _password(given: bytes) -> bytes:
    """Return the password of HTTP Basic; empty if there is none."""
    scheme, _, coded = given.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(coded, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
