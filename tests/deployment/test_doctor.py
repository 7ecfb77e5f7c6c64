"""Status and doctor tell how the workspace stands, and the command that mends it."""

import os
import socket

import pytest

import mlops_magics as mlops
from mlops_magics.errors import ServerNotRunning, WorkspaceNotFound
from mlops_magics.settings import Settings
from mlops_magics.store.workspace import Workspace


def _by_name(parts):
    return {part.name: part for part in parts}


def test_a_new_workspace_is_healthy_and_says_what_to_do_first(workspace):
    status = mlops.status(workspace=workspace)
    assert {part.driver for part in status.parts} == {
        "data",
        "code",
        "artifacts",
        "middleware",
        "infrastructure",
    }
    assert status.healthy
    assert "ingest" in str(status)


def test_init_opens_a_workspace_that_is_there_and_honours_the_environment(tmp_path, monkeypatch):
    first = mlops.init(tmp_path)
    assert mlops.init(tmp_path).path == first.path
    monkeypatch.setenv("MLOPS_WORKSPACE", str(tmp_path / "elsewhere"))
    assert mlops.init().path == tmp_path / "elsewhere"


def test_without_a_workspace_status_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkspaceNotFound, match="mlops init"):
        mlops.status()


def test_a_tracking_server_that_is_away_is_named_with_what_mends_it(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = Settings.load(project, tracking_uri="http://127.0.0.1:9")
    status = mlops.status(workspace=Workspace(project, settings=settings))
    part = _by_name(status.parts)["MLflow"]
    assert part.healthy is False
    assert "http://127.0.0.1:9" in part.value
    assert part.fix
    assert part.fix in str(status)


def test_the_doctor_finds_a_file_that_others_can_read(workspace):
    assert mlops.doctor(workspace=workspace).healthy
    (workspace.path / "mlops.db").chmod(0o644)
    diagnosis = mlops.doctor(workspace=workspace)
    failed = [check for check in diagnosis.checks if not check.passed]
    assert [check.name for check in failed] == ["file modes"]
    assert "mlops.db" in failed[0].found
    assert f"chmod -R go-rwx {workspace.path}" in str(diagnosis)


def test_the_doctor_names_who_holds_the_port(project):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        workspace = Workspace(project, settings=Settings.load(project, port=port))
        failed = [c for c in mlops.doctor(workspace=workspace).checks if not c.passed]
    assert [check.name for check in failed] == ["port"]
    assert f"(pid {os.getpid()})" in failed[0].found


def test_asking_a_stopped_server_names_the_command_that_brings_its_endpoints_back(workspace):
    from mlops_magics.serving.folder import ServerFolder
    from mlops_magics.serving.plan import Plan, PlannedEndpoint, PlannedRevision, Share

    with pytest.raises(ServerNotRunning, match="mlops deploy MODEL"):
        mlops.predict("late", {"a": 1}, workspace=workspace)
    revision = PlannedRevision(7, "late", 1, "flight-delay", "3", str(workspace.path / "none"))
    plan = Plan(1, {"7": revision}, {"late": PlannedEndpoint([Share(7)])})
    plan.write(ServerFolder.of(workspace).plan)
    with pytest.raises(ServerNotRunning, match="mlops start"):
        mlops.predict("late", {"a": 1}, workspace=workspace)
