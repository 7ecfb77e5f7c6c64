"""MLflow is pointed at the workspace or at a team's server; its errors become ours."""

import os
import subprocess
import sys

import pytest

from mlops_magics.errors import InvalidArgument, RunNotFound, TrackingUnavailable
from mlops_magics.settings import Settings
from mlops_magics.store.workspace import Workspace


def test_the_embedded_store_keeps_artifacts_in_the_workspace(workspace):
    tracking = workspace.tracking
    experiment = tracking.client.get_experiment(tracking.experiment_id)
    assert experiment.name == workspace.root.name
    assert experiment.artifact_location == (workspace.path / "artifacts").as_uri()


@pytest.mark.xdist_group("mlflow_server")
def test_a_teams_server_is_used_when_it_is_named(tmp_path, mlflow_server):
    Workspace.create(tmp_path)
    settings = Settings.load(tmp_path, tracking_uri=mlflow_server, experiment="team")
    tracking = Workspace(tmp_path, settings=settings).tracking
    assert not tracking.embedded
    run = tracking.client.create_run(tracking.experiment_id)
    assert tracking.client.get_run(run.info.run_id).info.experiment_id == tracking.experiment_id
    assert not (tmp_path / ".mlops" / "mlflow.db").exists()


def test_two_processes_that_make_the_experiment_at_once_agree(workspace):
    code = (
        "from mlops_magics.store.workspace import Workspace\n"
        "print(Workspace.find().tracking.experiment_id)\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = {child.communicate(timeout=60)[0].strip() for child in children}
    assert len(answers) == 1
    assert answers.pop().isdigit()


def test_a_missing_run_and_a_bad_filter_are_errors_of_our_tree(workspace):
    tracking = workspace.tracking
    with pytest.raises(RunNotFound, match="nothing-like-it"), tracking.mapped():
        tracking.client.get_run("nothing-like-it")
    with pytest.raises(InvalidArgument), tracking.mapped():
        tracking.client.search_runs([tracking.experiment_id], "metrics.auc >")


def test_a_server_that_is_away_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    Workspace.create(tmp_path)
    settings = Settings.load(tmp_path, tracking_uri="http://127.0.0.1:9")
    tracking = Workspace(tmp_path, settings=settings).tracking
    with pytest.raises(TrackingUnavailable, match=r"http://127\.0\.0\.1:9"):
        _ = tracking.experiment_id


def test_usage_reports_are_off_unless_the_user_chose(workspace, monkeypatch):
    from mlops_magics.store.tracking import quiet_environment

    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    assert quiet_environment()["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    _ = workspace.tracking.mlflow
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"
