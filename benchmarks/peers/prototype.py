"""A bare server: uvicorn, orjson, batching while the model is busy; no validation, log or metrics.

What the same libraries can do when they do nothing else: ``prototype.py MODEL PORT``. With
``constant`` instead of a model it gives every request the same answer unread, which is as many
requests as this server can pass through Python at all.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import uvicorn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_BATCH = 256
CONSTANT = b'{"predictions":[1]}'


class Prototype:
    """One model in one thread; what arrives while it computes is the next batch."""

    def __init__(self, path: str) -> None:
        import joblib

        self.model = joblib.load(path)
        self.waiting: list[tuple[dict[str, Any], asyncio.Future[Any]]] = []
        self.thread = ThreadPoolExecutor(1)
        self.busy = False

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await read(receive)
        split = orjson.loads(body)["dataframe_split"] if body else {"columns": [], "data": []}
        if not split["data"]:
            await answer(send, b'{"predictions":[]}')
            return
        done = asyncio.get_running_loop().create_future()
        self.waiting.append((split, done))
        if not self.busy:
            self.busy = True
            asyncio.get_running_loop().call_soon(self.next)
        await answer(send, orjson.dumps({"predictions": await done}))

    def next(self) -> None:
        """Give the thread what waits."""
        batch, self.waiting = self.waiting[:MAX_BATCH], self.waiting[MAX_BATCH:]
        self.busy = bool(batch)
        if batch:
            loop = asyncio.get_running_loop()
            computed = loop.run_in_executor(
                self.thread, self.predict, [split for split, _ in batch]
            )
            computed.add_done_callback(lambda found: self.deliver(batch, found))

    def predict(self, splits: list[dict[str, Any]]) -> list[Any]:
        """Predict the rows of several requests at once."""
        import pandas as pd

        rows = [row for split in splits for row in split["data"]]
        found: list[Any] = self.model.predict(pd.DataFrame(rows, columns=splits[0]["columns"]))
        return list(found.tolist()) if hasattr(found, "tolist") else found

    def deliver(
        self,
        batch: list[tuple[dict[str, Any], asyncio.Future[Any]]],
        found: asyncio.Future[list[Any]],
    ) -> None:
        """Give each request its own."""
        self.next()
        outputs, start = found.result(), 0
        for split, done in batch:
            end = start + len(split["data"])
            if not done.done():
                done.set_result(outputs[start:end])
            start = end


async def constant(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await read(receive)
    await answer(send, CONSTANT)


async def read(receive: Receive) -> bytes:
    event = await receive()
    body: bytes = event.get("body", b"")
    while event.get("more_body"):
        event = await receive()
        body += event.get("body", b"")
    return body


async def answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(model: str, port: str) -> None:
    uvicorn.run(
        constant if model == "constant" else Prototype(model),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
