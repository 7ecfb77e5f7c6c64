"""Load: a raw HTTP client that sends requests while something breaks, and sees every failure.

Each request has one outcome. Nothing is tried again, and no library stands between the socket and
the count: a connection that is refused, reset or silent, a status, an answer that another version
must have computed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

OK = "ok"


@dataclass
class Outcome:
    """What became of one request; times in seconds of the monotonic clock."""

    kind: str
    sent: float
    ended: float
    opened: float = 0.0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""

    @property
    def prediction(self) -> str | None:
        """The id by which the inference table must know it."""
        return self.headers.get("x-prediction-id") if self.status == 200 else None


Check = Callable[[Mapping[str, str], Any], str | None]
"""Says what is wrong with a good answer's headers and body; None: nothing."""


def predicts(values: Mapping[str, Any]) -> Check:
    """Hold an answer to what the version that it names would compute."""

    def check(headers: Mapping[str, str], body: Any) -> str | None:
        version = headers.get("x-model-version", "")
        if version not in values:
            return f"unknown version {version!r}"
        wanted = {"predictions": [values[version]]}
        return None if body == wanted else f"version {version} would say {wanted}, not {body}"

    return check


class Load:
    """Requests from several keep-alive connections, in a thread of their own.

    Parameters
    ----------
    url, token : str
        The server's.
    path : str
        Where to POST.
    body : bytes
        JSON.
    check : callable
        Judges good answers.
    rate : float or None
        Requests a second over all connections; None: as fast as they are answered.
    connections : int
        How many there are at the most.
    timeout : float
        Seconds to wait for a connection or an answer.
    """

    def __init__(
        self,
        url: str,
        token: str,
        path: str,
        body: bytes,
        check: Check,
        *,
        rate: float | None = 200.0,
        connections: int = 16,
        timeout: float = 30.0,
    ) -> None:
        parts = urlsplit(url)
        self.host, self.port = str(parts.hostname), int(parts.port or 80)
        head = f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body
        self.check = check
        self.rate = rate
        self.connections = connections
        self.timeout = timeout
        self.outcomes: list[Outcome] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait for what was sent."""
        self._ending.set()
        self._thread.join()

    def wait_for(self, count: int, kind: str = OK, timeout: float = 60.0) -> None:
        """Wait until so many more requests have had such an outcome."""
        seen = end = None
        while True:
            now = sum(one.kind == kind for one in list(self.outcomes))
            seen = now if seen is None else seen
            end = time.monotonic() + timeout if end is None else end
            if now - seen >= count:
                return
            assert time.monotonic() < end, f"{now - seen} of {count} {kind}: {self.counts()}"
            time.sleep(0.02)

    def counts(self) -> Counter[str]:
        """Count outcomes by kind."""
        return Counter(one.kind for one in list(self.outcomes))

    def failures(self) -> list[Outcome]:
        """Return everything that was not answered well."""
        return [one for one in list(self.outcomes) if one.kind != OK]

    def acknowledged(self) -> list[str]:
        """Return the ids of all good answers that have one."""
        return [one.prediction for one in list(self.outcomes) if one.prediction]

    def seconds(self, percentile: float) -> float:
        """Return a percentile of the good answers' times."""
        times = sorted(one.ended - one.sent for one in list(self.outcomes) if one.kind == OK)
        return times[min(len(times) - 1, int(len(times) * percentile / 100))]

    async def _run(self) -> None:
        due: asyncio.Queue[None] = asyncio.Queue()
        clients = [asyncio.create_task(self._client(due)) for _ in range(self.connections)]
        begun, given = time.monotonic(), 0
        while not self._ending.is_set():
            if self.rate is not None:
                wanted = int((time.monotonic() - begun) * self.rate)
                for _ in range(wanted - given):
                    due.put_nowait(None)
                given = max(given, wanted)
            await asyncio.sleep(0.005)
        if self.rate is not None:
            await due.join()
            for client in clients:
                client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self, due: asyncio.Queue[None]) -> None:
        connection = _Connection()
        while not (self.rate is None and self._ending.is_set()):
            if self.rate is not None:
                await due.get()
            outcome = await self._ask(connection)
            self.outcomes.append(outcome)
            if outcome.kind == "refused":
                await asyncio.sleep(0.02)
            if self.rate is not None:
                due.task_done()
        connection.close()

    async def _ask(self, connection: _Connection) -> Outcome:
        sent = time.monotonic()
        kind, detail, status = "refused", "", 0
        headers: dict[str, str] = {}
        try:
            async with asyncio.timeout(self.timeout):
                if connection.over:
                    await connection.open(self.host, self.port)
                kind = "reset"  # what it is if the connection ends from here on
                sent = time.monotonic()
                connection.writer.write(self.request)
                status, headers, body = await connection.answer()
            if status != 200:
                kind, detail = f"status {status}", body[:200].decode("utf-8", "replace")
            else:
                wrong = self.check(headers, json.loads(body))
                kind, detail = (OK, "") if wrong is None else ("wrong", wrong)
        except TimeoutError as exc:
            kind, detail = "timeout", str(exc)
        except (OSError, EOFError) as exc:
            detail = repr(exc)
        if kind in ("reset", "timeout", "refused") or headers.get("connection") == "close":
            connection.close()
        return Outcome(kind, sent, time.monotonic(), connection.opened, status, headers, detail)


class _Connection:
    def __init__(self) -> None:
        self.reader: Any = None
        self.writer: Any = None
        self.opened = 0.0

    @property
    def over(self) -> bool:
        """Whether there is none, or the other side has closed it between two requests."""
        return self.writer is None or self.reader.at_eof() or self.writer.is_closing()

    async def open(self, host: str, port: int) -> None:
        self.close()
        self.opened = time.monotonic()
        self.reader, self.writer = await asyncio.open_connection(host, port)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    def close(self) -> None:
        if self.writer is not None:
            with contextlib.suppress(OSError):
                self.writer.close()
        self.reader = self.writer = None
