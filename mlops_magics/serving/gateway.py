"""The gateway: ASGI on the inherited socket. Access, protocol, validation, batching, log.

``python -m mlops_magics.serving.gateway FD PORT WORKSPACE``, in the server's folder. It never
loads a model: workers do, and a revision's manifest tells the gateway what to expect.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn
import uvloop

from mlops_magics.serving.access import Access
from mlops_magics.serving.connection import close_slow
from mlops_magics.serving.direct import DirectProtocol, close_idle
from mlops_magics.serving.drain import DrainingServer
from mlops_magics.serving.exchange import AsgiExchange, Receive, Refused, Scope, Send
from mlops_magics.serving.folder import ServerFolder, read_json
from mlops_magics.serving.invocation import READS
from mlops_magics.serving.plan import PlanFile
from mlops_magics.serving.routes import ROUTES
from mlops_magics.serving.routing import Endpoint, Router
from mlops_magics.serving.scoring import Read, Scorer
from mlops_magics.serving.spool import Spool
from mlops_magics.serving.succession import Watch
from mlops_magics.store.workspace import Workspace

__all__ = ["Gateway", "main"]

_LINK_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Gateway:
    """The ASGI application.

    Parameters
    ----------
    workspace : Workspace
        Whose token is asked for, and whose plan is served.
    host, port : str, int
        Where the socket listens.
    """

    def __init__(self, workspace: Workspace, host: str, port: int) -> None:
        self.folder = ServerFolder.of(workspace)
        self.access = Access(workspace.token, host, port)
        self.max_body = workspace.settings.max_body
        self.scorer = Scorer(Spool(self.folder.spool, limit=workspace.settings.spool_limit))
        self.router = Router(self.folder, workspace.settings, self.scorer.deliver)
        self.direct: dict[bytes, tuple[Endpoint, Read]] = {}
        """Paths of predictions, as they stand in a request's first line."""
        self._plan = PlanFile(self.folder.plan)
        self._routes = [(route.pattern(), route) for route in ROUTES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: first the check of access, then the route."""
        exchange = AsgiExchange(scope, receive, send)
        path: str = scope["path"]
        try:
            refusal = self.access.refuse(path, exchange.headers, scope["method"])
            if refusal is not None:
                raise Refused(*refusal)
            await self._route(exchange, path, scope["method"])
        except Refused as refused:
            await exchange.refuse(refused)
        except Exception:
            _log.exception("request %s failed", exchange.id)
            await exchange.refuse(Refused(500, f"internal error (request {exchange.id})"))

    async def _route(self, exchange: AsgiExchange, path: str, method: str) -> None:
        allowed = []
        for pattern, route in self._routes:
            found = pattern.fullmatch(path)
            if found and route.method == method:
                await route.handler(self, exchange, found.groupdict())
                return
            if found:
                allowed.append(route.method)
        if allowed:
            raise Refused(
                405, f"use {' or '.join(allowed)}", [(b"allow", ", ".join(allowed).encode())]
            )
        raise Refused(404, "there is nothing at this path")

    async def follow_plan(self) -> None:
        """Apply the plan whenever its file changes."""
        while True:
            self.apply_plan()
            await asyncio.sleep(0.05)

    def apply_plan(self) -> None:
        """Apply the plan if it is new; one that cannot be used leaves the last in force."""
        try:
            plan = self._plan.changed()
            if plan is not None:
                self.router.apply(plan)
                self.direct = {
                    path.format(name=name).encode(): (endpoint, read)
                    for name, endpoint in self.router.endpoints.items()
                    for path, read in READS.items()
                }
                _log.info("plan %d is in force", plan.generation)
        except (OSError, ValueError, KeyError) as exc:
            _log.error("the plan cannot be applied: %s", exc)


async def serve(gateway: Gateway, listener: socket.socket) -> None:
    """Serve on the listener until SIGTERM, then finish what has begun."""
    config = uvicorn.Config(
        gateway,
        http=DirectProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=15,
        backlog=2048,
    )
    folder = gateway.folder
    server = DrainingServer(
        config,
        listener,
        lambda: (read_json(folder.server) or {"ending": True}).get("ending", False),
    )
    watch = Watch(folder, listener.fileno())
    watch.start()
    gateway.apply_plan()
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(gateway.follow_plan()), loop.create_task(_close_slow(server))]
    hand_over = await asyncio.start_unix_server(
        lambda _, writer: _hand_over(writer, listener), ServerFolder.listener_socket
    )
    await gateway.router.linked(_LINK_SECONDS)
    # uvicorn raises the signal that has ended it once more, when all is done
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    await server.serve(sockets=[listener.dup()])
    watch.stop()
    hand_over.close()
    for task in tasks:
        task.cancel()
    gateway.scorer.spool.close()


async def _close_slow(server: uvicorn.Server) -> None:
    while True:
        await asyncio.sleep(1)
        now = asyncio.get_running_loop().time()
        close_slow(server.server_state.connections, now)
        close_idle(server.server_state.connections, now)


async def _hand_over(writer: asyncio.StreamWriter, listener: socket.socket) -> None:
    """Give the listening socket to a new supervisor: the old one was killed."""
    channel = writer.get_extra_info("socket")
    with socket.socket(fileno=os.dup(channel.fileno())) as plain:
        plain.setblocking(True)
        socket.send_fds(plain, [b"listener"], [listener.fileno()])
    writer.close()


def main(arguments: list[str]) -> int:
    """Serve the workspace on an inherited socket."""
    descriptor, port, path = int(arguments[0]), int(arguments[1]), Path(arguments[2])
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    workspace = Workspace(path.parent, path)
    listener = socket.socket(fileno=descriptor)
    gateway = Gateway(workspace, workspace.settings.host, port)
    Path(ServerFolder.listener_socket).unlink(missing_ok=True)
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(gateway, listener))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
