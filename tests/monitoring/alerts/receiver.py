"""A receiver of webhooks: real HTTP on loopback, which answers as it is told."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator


class Receiver:
    """Keeps what was posted, as (path, headers, JSON)."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, str], dict]] = []
        self.answers: list[int] = []  # statuses of the next answers; then 200
        self.drips = 0.0  # seconds between the bytes of an answer

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for _, headers, _ in self.posted]


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Answer until the block ends."""
    found = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.posted.append((self.path, dict(self.headers), body))
            if found.drips:
                with contextlib.suppress(OSError):
                    for letter in b"HTTP/1.1 200 OK\r\n":
                        self.wfile.write(bytes([letter]))
                        time.sleep(found.drips)
                return
            status = found.answers.pop(0) if found.answers else 200
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"http://127.0.0.1:{found.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    found.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.server.daemon_threads = True
    thread = threading.Thread(target=found.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()
