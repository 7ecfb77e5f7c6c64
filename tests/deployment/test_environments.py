"""A version in an environment of its own beside one in the server's; what does not fit is told."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import six

import mlops_magics as mlops
from mlops_magics.deployment import environments, installer
from mlops_magics.packaging import environment, folder
from mlops_magics.serving import server
from mlops_magics.serving.folder import ServerFolder

ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] * 10})
OLD = "1.16.0"


def told(data):
    """Answer with the version of a library: only where it is installed is the answer right."""
    return [six.__version__] * len(data)


@pytest.fixture
def packaged(workspace, monkeypatch):
    """Package the model as of a version of that library."""

    def make(version: str, answers: str | None = None):
        exact, whole = environment.pinned, environment.lock

        def pinned(name):
            return f"six=={version}" if name == "six" else exact(name)

        def lock(names):
            return tuple(f"six=={version}" if ln.startswith("six==") else ln for ln in whole(names))

        with monkeypatch.context() as patch:
            patch.setattr(six, "__version__", answers or version)
            patch.setattr(folder.environment, "pinned", pinned)
            patch.setattr(folder.environment, "lock", lock)
            return mlops.package(told, name="told", data=ROWS, workspace=workspace)

    return make


def answer(workspace, name):
    return mlops.predict(name, {"x": 1.5}, workspace=workspace).values[0]


def made(workspace) -> list[str]:
    place = workspace.path / "environments"
    return [path.name for path in place.iterdir() if path.name != "code"] if place.is_dir() else []


def test_two_versions_of_a_library_serve_side_by_side(workspace, packaged):
    new, old = packaged(six.__version__), packaged(OLD)
    mlops.deploy(new, "new", workspace=workspace)
    with pytest.raises(mlops.DeployFailed, match=f"six {six.__version__} here, {OLD} when") as info:
        mlops.deploy(old, "old", workspace=workspace)
    assert "--env own" in info.value.hint
    assert list(server.processes(workspace)) == ["supervisor", "gateway", "agent", "r1-0"]
    endpoint = mlops.deploy(old, "old", env="own", workspace=workspace)
    assert (answer(workspace, "new"), answer(workspace, "old")) == (six.__version__, OLD)
    digest = endpoint.revisions[0]["environment"]
    assert made(workspace) == [digest]
    # many rows at once are answered from there as well
    scored = mlops.score(endpoint="old", data=ROWS, workspace=workspace)
    assert set(scored.df["prediction"]) == {OLD}
    worker = server.processes(workspace)["r2-0"]
    python = psutil.Process(worker.pid).cmdline()[0]
    assert python == str(workspace.path / "environments" / digest / "bin" / "python")
    # what a worker does not need is not there
    (packages,) = Path(python).parents[1].glob("lib/python3*/site-packages")
    assert not (packages / "mlflow").exists()
    found = mlops.doctor(workspace=workspace)
    assert "1 of their own" in next(c.found for c in found.checks if c.name == "environments")

    again = mlops.deploy(old, "old", env="own", workspace=workspace)
    assert (again.revision, again.revisions[0]["environment"]) == (2, digest)
    # one that somebody removes costs its revision, and nothing else
    place = workspace.path / "environments"
    (place / digest).rename(place / "away")
    os.kill(server.processes(workspace)["r3-0"].pid, signal.SIGKILL)
    states = ServerFolder.of(workspace)
    while (states.state(3, 0) or {}).get("state") != "failed":
        time.sleep(0.02)
    assert states.state(3, 0)["reason"] == "its environment is gone; deploy it again"
    assert answer(workspace, "new") == six.__version__
    (place / "away").rename(place / digest)

    for name in ("old", "new"):
        mlops.undeploy(name, workspace=workspace)
    assert made(workspace) == [digest]  # young
    then = time.time() - 7200
    os.utime(workspace.path / "environments" / digest, (then, then))
    assert environments.prune(workspace) == [digest]
    assert made(workspace) == []


@pytest.fixture
def package(tmp_path):
    """What an environment is made from, without a model."""

    def make(lock: str, python: str = f"3.{sys.version_info[1]}.0") -> Path:
        place = tmp_path / "package"
        (place / "mlops").mkdir(parents=True)
        (place / "requirements.txt").write_text(lock)
        (place / "mlops" / "requirements.lock").write_text(lock)
        (place / "python_env.yaml").write_text(f"python: {python}\n")
        return place

    return make


@pytest.mark.parametrize(
    ("lock", "python", "reason"),
    [
        ("six==99.0", f"3.{sys.version_info[1]}.1", "No solution found .*six==99.0"),
        ("six==1.17.0", "3.99.1", "No interpreter found for Python 3.99"),
    ],
)
def test_what_cannot_be_made_is_refused_with_uv_s_reason_and_leaves_nothing(
    workspace, package, lock, python, reason
):
    with pytest.raises(mlops.DeployFailed, match=reason):
        environments.own(workspace, package(lock, python), "", lambda *_: None)
    assert made(workspace) == []


def test_without_uv_the_line_that_installs_it_is_told(workspace, package, monkeypatch):
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(mlops.MissingExtra) as info:
        environments.own(workspace, package("six==1.17.0"), "", lambda *_: None)
    assert info.value.hint == 'pip install "mlops-magics[environments]"'


def test_patch_releases_may_differ_and_are_noted_on_the_endpoint(workspace, packaged):
    major, minor, _ = six.__version__.split(".")
    patched = f"{major}.{minor}.99"
    package = packaged(patched, answers=six.__version__)
    endpoint = mlops.deploy(
        package, "new", log_fraction=0.5, log_mask="x", retention="30d", workspace=workspace
    )
    note = f"six {six.__version__} here, {patched} when it was packaged"
    assert endpoint.revisions[0]["notes"] == [note]
    assert f"r1: {note}" in str(endpoint)
    assert "durable, 50 % of the requests, without x, kept for 30 days" in str(endpoint)


def test_uv_gets_pip_s_index_unless_it_has_its_own(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://one.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.example/simple\nhttps://x.example/s")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    variables, _ = installer._index(tmp_path)
    assert variables["UV_DEFAULT_INDEX"] == "https://one.example/simple"
    assert variables["UV_INDEX"] == "https://two.example/simple https://x.example/s"
    assert variables["UV_FIND_LINKS"] == "/wheels"
    assert variables["UV_PYTHON_DOWNLOADS"] == "never"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example/simple")
    variables, _ = installer._index(tmp_path)
    assert variables["UV_DEFAULT_INDEX"] == "https://own.example/simple"
    assert "UV_INDEX" not in variables
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    (tmp_path / "pyproject.toml").write_text('[[tool.uv.index]]\nurl = "https://p.example/s"\n')
    assert "UV_INDEX" not in installer._index(tmp_path)[0]
