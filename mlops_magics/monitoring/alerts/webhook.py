"""Webhooks: an alert is posted as JSON, to hosts that a stranger could not choose for us.

A server that posts to any URL it is given can be made to speak to what only it can reach: the
machine's own services, a private network, a cloud's metadata. So a host's name is resolved once,
all its addresses are checked, and the connection goes to one of the addresses that were checked: a
name that means something else a moment later (DNS rebinding) changes nothing. Redirects are not
followed, proxies of the environment are not used. TLS certificates are checked against the name.
What the setting ``webhook_hosts`` names may be private, and spoken to without TLS.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from mlops_magics.errors import InvalidArgument
from mlops_magics.store import secrets

__all__ = ["Answer", "Refused", "checked", "post", "shown"]

CONNECT_SECONDS = 5.0
ALL_SECONDS = 15.0  # a receiver that drips its answer holds nobody up
AGENT = "mlops-alerts"

_BUSY = {408, 425, 429}  # of the answers below 500, those that a later try may change

Resolve = Callable[[str, int], Iterable[str]]


class Refused(Exception):
    """A host that may not be spoken to; trying again would not help."""


@dataclass(frozen=True)
class Answer:
    """What a receiver said.

    Attributes
    ----------
    status : int
        Of HTTP.
    """

    status: int

    @property
    def accepted(self) -> bool:
        """Whether the alert has arrived."""
        return 200 <= self.status < 300

    @property
    def final(self) -> bool:
        """Whether trying again would not help."""
        return self.status < 500 and self.status not in _BUSY

    def __str__(self) -> str:
        if 300 <= self.status < 400:
            return f"answered {self.status}: redirects are not followed"
        return f"answered {self.status}"


def checked(url: str) -> str:
    """Return a webhook as it can be kept: a URL, or a reference to a secret that is one.

    Raises
    ------
    InvalidArgument
        It is neither.

    Examples
    --------
    >>> checked("secret:CHAT_URL")
    'secret:CHAT_URL'
    """
    if isinstance(url, str) and secrets.named(url) is not None:
        return url
    _parts(url)
    return url


def shown(url: str) -> str:
    """Return what may be shown of a webhook: its path and query are often the key to it.

    Examples
    --------
    >>> shown("https://chat.example.com/services/T00/B00/XXXX"), shown("secret:CHAT_URL")
    ('https://chat.example.com/…', 'secret:CHAT_URL')
    """
    if secrets.named(url) is not None:
        return url
    parts = urlsplit(url)
    rest = "/…" if parts.path not in ("", "/") or parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{rest}"


def post(
    url: str,
    body: Mapping[str, Any],
    *,
    key: str,
    allowed: str = "",
    resolve: Resolve | None = None,
) -> Answer:
    """Post a JSON object once.

    Parameters
    ----------
    url : str
        Where to; ``secret:NAME`` is looked up.
    body : mapping
        JSON values.
    key : str
        The same for each try of one delivery: by it a receiver knows what it has seen.
    allowed : str
        Hosts, or ``host:port``, that may be private; separated by commas.
    resolve : callable, optional
        Gives the addresses of a name; default: the system's.

    Raises
    ------
    Refused
        The host, or one of its addresses, may not be spoken to.
    SecretNotFound
        The reference leads nowhere.
    OSError
        It cannot be reached.
    """
    name = secrets.named(url)
    parts = _parts(secrets.look_up(name) if name is not None else url)
    host, port = str(parts.hostname), _port(parts)
    trusted = _allowed(host, port, allowed)
    if parts.scheme != "https" and not trusted:
        raise Refused(f"{host} is not spoken to without TLS: the URL must begin with https://")
    addresses = list((resolve or _resolve)(host, port))
    if not trusted:
        for address in addresses:
            if not _public(address):
                raise Refused(
                    f"{host} is {address}, which is not public; "
                    f'if it is meant: webhook_hosts = "{host}" in [tool.mlops]'
                )
    data = json.dumps(body).encode()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        "User-Agent": AGENT,
        "Idempotency-Key": key,
        "Connection": "close",
    }
    connection = http.client.HTTPConnection(host, port)
    connection.sock = _connect(addresses, port)
    timer = threading.Timer(ALL_SECONDS, lambda: _shut(connection.sock))
    timer.daemon = True
    timer.start()
    try:
        if parts.scheme == "https":
            secured = ssl.create_default_context().wrap_socket(
                connection.sock, server_hostname=host, do_handshake_on_connect=False
            )
            connection.sock = secured
            secured.do_handshake()
        connection.request("POST", target, data, headers)
        return Answer(connection.getresponse().status)
    except http.client.HTTPException as exc:
        raise OSError(f"its answer is no HTTP: {type(exc).__name__}") from exc
    finally:
        timer.cancel()
        connection.close()


def _parts(url: Any) -> SplitResult:
    """Take a URL apart; what is wrong is said without what may be secret in it."""
    hint = "such as https://chat.example.com/hooks/KEY, or secret:NAME for one in the environment"
    try:
        parts: SplitResult = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        _port(parts)
    except (ValueError, AttributeError, TypeError) as exc:
        raise InvalidArgument("the webhook is no URL", hint=hint) from exc
    if not good or any(letter.isspace() or ord(letter) < 33 for letter in url):
        raise InvalidArgument("the webhook is no URL of http or https", hint=hint)
    if parts.username is not None or parts.password is not None:
        raise InvalidArgument(
            f"the webhook's URL has a password in it, before {parts.hostname}", hint=hint
        )
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _allowed(host: str, port: int, allowed: str) -> bool:
    names = {name.strip().lower() for name in allowed.split(",")} - {""}
    return bool(names & {host.lower(), f"{host.lower()}:{port}"})


def _public(address: str) -> bool:
    """Whether an address is one of the internet's, also the one inside an address of IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if any(one is not None and not one.is_global for one in inner):
            return False
    return found.is_global and not found.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _connect(addresses: Iterable[str], port: int) -> socket.socket:
    """Connect to the first of the checked addresses that answers."""
    failed: OSError = OSError("its name has no address")
    for address in addresses:
        try:
            made = socket.create_connection((address, port), CONNECT_SECONDS)
        except OSError as exc:
            failed = exc
        else:
            made.settimeout(ALL_SECONDS)
            return made
    raise failed


def _shut(sock: socket.socket | None) -> None:
    if sock is not None:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            sock.shutdown(socket.SHUT_RDWR)
