"""A server under load, and models whose answer is their version or that go wrong when told to."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from load_client import Load, predicts

import mlops_magics as mlops
from mlops_magics.serving import server
from mlops_magics.serving.census import census
from mlops_magics.settings import Settings
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace

ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] * 10})
BODY = b'{"dataframe_split": {"columns": ["x"], "data": [[1.0]]}}'


def one(data):
    return (data["x"] * 0 + 1).to_numpy()


def two(data):
    return (data["x"] * 0 + 2).to_numpy()


def broken(data):
    from pathlib import Path

    if Path("plan.json").exists():  # where it is served, not where it is packaged
        raise RuntimeError("the weights are gone")
    return (data["x"] * 0 + 3).to_numpy()


def segfaults(data):
    from pathlib import Path

    if Path("segfaults").exists():
        import ctypes

        ctypes.string_at(0)
    return (data["x"] * 0 + 4).to_numpy()


def exits(data):
    import os
    from pathlib import Path

    if Path("exits").exists():
        os._exit(7)
    return (data["x"] * 0 + 5).to_numpy()


def leaks(data):
    import builtins
    from pathlib import Path

    if Path("leaks").exists():
        builtins.leaked = b"x" * 900_000_000
    return (data["x"] * 0 + 6).to_numpy()


def hangs(data):
    import time
    from pathlib import Path

    while Path("hangs").exists():
        time.sleep(0.1)
    return (data["x"] * 0 + 7).to_numpy()


MODELS = {
    function.__name__: (function, float(value))
    for value, function in enumerate([one, two, broken, segfaults, exits, leaks, hangs], start=1)
}


@dataclass
class Faulty:
    """A workspace whose server things are done to."""

    workspace: Workspace
    soak: bool
    values: dict[str, float] = field(default_factory=dict)
    _packages: dict[str, object] = field(default_factory=dict)

    def package(self, name: str) -> object:
        """Package a model once; what it answers is kept by its version."""
        if name not in self._packages:
            function, value = MODELS[name]
            made = mlops.package(function, name=name, data=ROWS, workspace=self.workspace)
            self._packages[name] = made
            self.values[made.uri.removeprefix("models:/")] = value
        return self._packages[name]

    def deploy(self, name: str, endpoint: str, workers: int = 1) -> object:
        return mlops.deploy(self.package(name), endpoint, workers=workers, workspace=self.workspace)

    def ensure(self, endpoint: str, workers: int) -> None:
        """Have ``one`` served, by so many workers."""
        known = {row.name: row for row in mlops.endpoints(workspace=self.workspace)}
        if endpoint not in known or known[endpoint].state == "down":
            self.deploy("one", endpoint, workers)
        self.settle()

    def load(self, endpoint: str, **options: object) -> Load:
        """Make a client; as a context manager it sends until its end."""
        url = server.require(self.workspace).url
        path = f"/endpoints/{endpoint}/invocations"
        check = predicts(self.values)
        return Load(url, self.workspace.token, path, BODY, check, **options)

    def pid(self, name: str) -> int:
        return server.processes(self.workspace)[name].pid

    def settle(self, timeout: float = 90.0) -> None:
        """Wait until all processes are there and all workers are up."""
        end = time.monotonic() + timeout
        while True:
            try:
                running = server.processes(self.workspace)
                revisions = server.state(self.workspace)["revisions"].values()
                all_up = all(one["ready"] >= one["workers"] for one in revisions)
                if all_up and {"supervisor", "gateway", "agent"} <= set(running):
                    return
            except mlops.MlopsError:
                pass
            assert time.monotonic() < end, server.processes(self.workspace)
            time.sleep(0.05)

    def logged(self, ids: list[str], timeout: float = 60.0) -> dict[str, int]:
        """Count these requests in the inference table, once all are there or the time is over."""
        end = time.monotonic() + timeout
        while True:
            found = self._count(set(ids))
            if len(found) == len(set(ids)) or time.monotonic() > end:
                return found
            time.sleep(0.2)

    def _count(self, ids: set[str]) -> dict[str, int]:
        table = tables.predictions
        query = sa.select(table.c.request_id, sa.func.count()).group_by(table.c.request_id)
        with self.workspace.database.read() as connection:
            rows = connection.execute(query).all()
        return {row[0]: row[1] for row in rows if row[0] in ids}

    def assert_logged_once(self, load: Load) -> None:
        """Hold every answer with an id to one row of the inference table."""
        ids = load.acknowledged()
        assert len(ids) == len(set(ids))
        found = self.logged(ids)
        missing = set(ids) - set(found)
        assert not missing, f"{len(missing)} of {len(ids)} acknowledged requests are not logged"
        assert set(found.values()) <= {1}

    def end(self) -> None:
        """Stop the server; nothing may be left of it."""
        mlops.stop(workspace=self.workspace)
        assert self.left() == []
        self.workspace.database.close()

    def left(self) -> list[str]:
        """Name all living processes of this workspace's server."""
        return [found.name for found in census(self.workspace.path)]


def make(root: Path, template: Path, soak: bool, **settings: object) -> Faulty:
    """Make a workspace in a folder, with settings of its server."""
    shutil.copytree(template, root)
    (root / ".mlops" / "token").unlink(missing_ok=True)
    workspace = Workspace(root, settings=Settings.load(root, **settings))
    return Faulty(workspace, soak)


@pytest.fixture(scope="package")
def shared(tmp_path_factory, workspace_template, soak):
    """One server for most tests; each leaves it whole."""
    faulty = make(
        tmp_path_factory.mktemp("faults") / "project",
        workspace_template,
        soak,
        worker_timeout=5,
        worker_memory=800_000_000,
    )
    yield faulty
    faulty.end()


@pytest.fixture
def fresh(tmp_path, workspace_template, soak):
    """Make a workspace of one's own, with settings; the caller ends it."""
    return lambda **settings: make(tmp_path / "project", workspace_template, soak, **settings)


@pytest.fixture
def pair(shared) -> Faulty:
    """The server with endpoint ``pair``, served by two workers."""
    shared.ensure("pair", 2)
    return shared


@pytest.fixture
def single(shared) -> Faulty:
    """The server with endpoint ``single``, served by one worker."""
    shared.ensure("single", 1)
    return shared
