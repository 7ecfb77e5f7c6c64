"""Small packages to deploy: good ones, and ones that go wrong in their own ways."""

import asyncio
import functools
import json
import shutil
import threading
import time
from urllib.parse import urlsplit

import pandas as pd
import pytest

import mlops_magics as mlops
from mlops_magics.serving import server
from mlops_magics.store.workspace import Workspace

ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] * 10, "n": [1, 2, 3, 4] * 10})


def double(data):
    return (data["x"] * 2).to_numpy()


def triple(data):
    return (data["x"] * 3).to_numpy()


def broken_at_load(data):
    from pathlib import Path

    # the packager is no worker: it goes wrong where it is served
    if Path("plan.json").exists():
        raise RuntimeError("the weights are gone")
    return (data["x"] * 2).to_numpy()


def different_here(data):
    from pathlib import Path

    return (data["x"] * (5 if Path("plan.json").exists() else 2)).to_numpy()


def deadly(data):
    import os
    from pathlib import Path

    if Path("plan.json").exists():
        os.abort()
    return (data["x"] * 2).to_numpy()


def fails_on_large(data):
    if (data["x"] > 100).any():
        raise ValueError("too large")
    return (data["x"] * 2).to_numpy()


FUNCTIONS = [double, triple, broken_at_load, different_here, deadly, fails_on_large]


@pytest.fixture
def packaged(workspace):
    """Package one of the functions above, by its name."""
    functions = {function.__name__: function for function in FUNCTIONS}

    def make(name):
        return mlops.package(functions[name], name=name, data=ROWS, workspace=workspace)

    return make


class Answers(list):
    """What a load of requests was answered: status and headers, in order of arrival."""

    def count(self, **wanted):
        return sum(all(one.get(key) == value for key, value in wanted.items()) for one in self)

    @property
    def failed(self):
        return [one for one in self if one["status"] != 200]


def _request(host, name, token, key=None, x=1.5):
    body = json.dumps({"dataframe_split": {"columns": ["x", "n"], "data": [[x, 1]]}}).encode()
    lines = [
        f"POST /endpoints/{name}/invocations HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"X-Routing-Key: {key}"] if key is not None else []
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _answer(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers["content-length"]))
    return {
        "status": int(head[0].split()[1]),
        "variant": headers.get("x-variant"),
        "version": headers.get("x-model-version"),
        "id": headers.get("x-prediction-id"),
        "key": None,
        "value": json.loads(body).get("predictions", [None])[0],
    }


class Load:
    """Requests over keep-alive connections, in a thread, until enough were sent or it is stopped.

    A connection that is reset or closed is an answer with status 0: nothing is passed over.
    """

    def __init__(self, workspace, name, *, connections=8, rate=None, keys=None, x=1.5):
        url = urlsplit(server.require(workspace).url)
        self.address = url.hostname, url.port
        self.request = lambda key: _request(url.netloc, name, workspace.token, key, x)
        self.connections, self.rate, self.keys = connections, rate, keys
        self.answers = Answers()
        self.sent = 0
        self.left = None
        self._stop = threading.Event()

    def send(self, count):
        """Send so many requests and return the answers."""
        self.left = count
        asyncio.run(self._run())
        return self.answers

    def __enter__(self):
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    async def _run(self):
        await asyncio.gather(*(self._connection() for _ in range(self.connections)))

    async def _connection(self):
        reader = writer = None
        while not self._stop.is_set() and self.left != 0:
            if self.left is not None:
                self.left -= 1
            key = None if self.keys is None else f"customer-{self.sent % self.keys}"
            self.sent += 1
            began = time.perf_counter()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(*self.address)
                writer.write(self.request(key))
                answer = await _answer(reader)
            except (OSError, asyncio.IncompleteReadError) as exc:
                answer, writer = {"status": 0, "error": repr(exc)}, None
            self.answers.append(answer | {"key": key})
            if self.rate:
                rest = self.connections / self.rate - (time.perf_counter() - began)
                await asyncio.sleep(max(0.0, rest))
        if writer is not None:
            writer.close()


@pytest.fixture(scope="package")
def live(tmp_path_factory, workspace_template):
    """A workspace with a server for all tests of rollouts; each has endpoints of its own."""
    root = tmp_path_factory.mktemp("live") / "project"
    shutil.copytree(workspace_template, root)
    (root / ".mlops" / "token").unlink(missing_ok=True)
    workspace = Workspace.find(root)
    yield workspace
    mlops.stop(workspace=workspace)
    workspace.database.close()


@pytest.fixture
def load(live):
    return functools.partial(Load, live)


@pytest.fixture
def made(live):
    """Package a function for the live workspace."""
    functions = {function.__name__: function for function in FUNCTIONS}

    def make(name, model=None):
        return mlops.package(functions[name], name=model or name, data=ROWS, workspace=live)

    return make


@pytest.fixture
def registered(live, made):
    """Register a function's package under a name with MLflow's own client, as any tool may."""
    client = live.tracking.client

    def make(name, model):
        package = made(name)
        live.tracking.fluent()  # MLflow resolves the source where the process points
        if not client.search_registered_models(f"name='{model}'"):
            client.create_registered_model(model)
        return client.create_model_version(
            model,
            source=f"models:/{package.model_id}",
            run_id=package.run_id,
            model_id=package.model_id,
            tags={"mlops.digest": package.digest},
        )

    return make
