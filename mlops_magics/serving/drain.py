"""Drain: how the gateway ends without failing anybody.

A request that is being answered is answered. A connection that waits is told with its next answer
to close, and only then left; one that has sent nothing for a second is closed. Connections that
the kernel has accepted for us are taken before the listening socket is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import cast

import uvicorn

from mlops_magics.serving.connection import LimitedProtocol

__all__ = ["DrainingServer"]

_QUIET_SECONDS = 1.0


class DrainingServer(uvicorn.Server):
    """uvicorn's server with a drain.

    Parameters
    ----------
    config : uvicorn.Config
        Its HTTP protocol is a :class:`LimitedProtocol`.
    listener : socket.socket
        The listening socket, which others hold too.
    for_good : callable
        Tells whether the whole server ends: then nobody else will accept from the socket.
    """

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, for_good: Callable[[], bool]
    ) -> None:
        super().__init__(config)
        self.listener = listener
        self.for_good = for_good

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what has connected, answer it, close."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(0)
        if self.for_good():
            await self._take_waiting()
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.config.timeout_graceful_shutdown or 0)
        quiet_from = loop.time()
        connections = cast("set[LimitedProtocol]", self.server_state.connections)
        for connection in connections:
            connection.drain()
        while connections and loop.time() < end:
            for connection in list(connections):
                if loop.time() - max(quiet_from, connection.since) > _QUIET_SECONDS:
                    connection.shutdown()  # closes it if no request is being answered
            await asyncio.sleep(0.02)
        for task in list(self.server_state.tasks):
            task.cancel(msg="the drain took too long")

    async def _take_waiting(self) -> None:
        """Accept what is in the kernel's queue."""
        loop = asyncio.get_running_loop()
        self.listener.setblocking(False)
        with contextlib.suppress(OSError):  # the queue is empty
            while True:
                connection, _ = self.listener.accept()
                connection.setblocking(False)
                await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol = cast("type[LimitedProtocol]", self.config.http_protocol_class)
        return protocol(self.config, self.server_state, self.lifespan.state)
