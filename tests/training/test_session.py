"""A run records what it stands on, and ends as its block ended."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import nbformat
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from mlops_magics.data import ingest
from mlops_magics.errors import DatasetNotFound, InvalidArgument, TrackingUnavailable
from mlops_magics.settings import Settings
from mlops_magics.store.workspace import Workspace
from mlops_magics.training import run, runs


def kept(workspace, run_id, name):
    path = workspace.tracking.client.download_artifacts(run_id, f"mlops/{name}")
    return Path(path).read_text()


def test_a_block_that_ends_is_a_finished_run(workspace):
    with run("plain", params={"depth": 6}, tags={"team": "a"}, workspace=workspace) as active:
        active.log_metrics({"roc_auc": 0.7})
        assert active.record.status == "RUNNING"
    record = active.record
    assert (record.name, record.status) == ("plain", "FINISHED")
    assert (record.params, record.metrics, record.tags) == (
        {"depth": "6"},
        {"roc_auc": 0.7},
        {"team": "a"},
    )
    assert record.duration > 0
    assert mlflow.active_run() is None


def test_a_block_that_raises_is_a_failed_run_with_its_error(workspace):
    with pytest.raises(ValueError, match="no convergence"), run("bad", workspace=workspace) as a:
        raise ValueError("no convergence")
    assert (a.record.status, a.record.error) == ("FAILED", "ValueError: no convergence")
    assert "in test_a_block_that_raises" in kept(workspace, a.run_id, "error.txt")
    assert mlflow.active_run() is None


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_block_that_is_stopped_is_a_killed_run(workspace, ending):
    with pytest.raises(ending), run("stopped", workspace=workspace) as active:
        raise ending
    assert active.record.status == "KILLED"


def test_the_users_own_mlflow_calls_arrive(workspace):
    with run("own", workspace=workspace) as active:
        mlflow.log_metric("loss", 0.5)
        mlflow.set_tag("note", "mine")
    assert active.record.metrics == {"loss": 0.5}
    assert active.record.tags == {"note": "mine"}


def test_a_run_inside_a_run_is_its_child(workspace):
    with run("outer", workspace=workspace) as outer:
        with run("inner", workspace=workspace) as inner:
            pass
        assert mlflow.active_run().info.run_id == outer.run_id
    assert inner.record.parent == outer.run_id
    assert [inner.record.status, outer.record.status] == ["FINISHED", "FINISHED"]


def test_runs_that_the_block_left_open_or_ended_itself_are_ended(workspace):
    with run("left", workspace=workspace) as active:
        left = mlflow.start_run(nested=True).info.run_id
    assert active.record.status == "FINISHED"
    assert mlflow.get_run(left).info.status == "FINISHED"
    with pytest.raises(ZeroDivisionError), run("ended", workspace=workspace) as active:  # noqa: PT012 - the block is what is tested
        mlflow.end_run()
        raise ZeroDivisionError
    assert active.record.status == "FAILED"
    assert mlflow.active_run() is None


def test_autologging_is_on_inside_for_what_is_imported_and_off_outside(workspace):
    features, target = load_breast_cancer(return_X_y=True, as_frame=True)
    with run("auto", workspace=workspace) as active:
        LogisticRegression(max_iter=200, C=0.5, solver="liblinear").fit(features, target)
    record = active.record
    assert record.params["C"] == "0.5"
    assert record.metrics["training_score"] > 0.9
    assert record.data == []
    assert workspace.tracking.client.search_logged_models([record.experiment]) == []
    LogisticRegression(max_iter=200, solver="liblinear").fit(features, target)
    assert len(runs(workspace=workspace)) == 1


def test_autologging_can_be_left_off(workspace):
    features, target = load_breast_cancer(return_X_y=True)
    with run("manual", autolog=False, workspace=workspace) as active:
        LogisticRegression(max_iter=200, solver="liblinear").fit(features, target)
    assert active.record.params == {}


def test_a_run_names_commit_branch_changes_and_unknown_files(workspace, repository, project):
    with run("clean", workspace=workspace) as clean:
        pass
    (project / "train.py").write_text("depth = 6\n")
    (project / "új.py").write_text("x = 1\n")
    with run("dirty", workspace=workspace) as dirty:
        pass
    assert clean.record.code["commit"] == repository("rev-parse", "HEAD")
    assert (clean.record.code["branch"], clean.record.code["dirty"]) == ("main", False)
    assert dirty.record.code["dirty"]
    assert dirty.record.code["untracked"] == ["új.py"]
    diff = kept(workspace, dirty.run_id, "uncommitted.diff")
    repository("checkout", "-q", "train.py")
    Path("changes.diff").write_text(diff)
    repository("apply", "changes.diff")
    assert (project / "train.py").read_text() == "depth = 6\n"
    tags = workspace.tracking.client.get_run(clean.run_id).data.tags
    assert tags["mlflow.source.git.commit"] == clean.record.code["commit"]


def test_a_run_outside_of_git_says_so(workspace):
    with run("nogit", workspace=workspace) as active:
        pass
    assert active.record.code["commit"] is None
    assert "is in no git repository" in str(active.record)


def test_a_repository_without_a_commit_is_no_obstacle(workspace, project):
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=project, check=True)
    with run("young", workspace=workspace) as active:
        pass
    assert active.record.code["note"] == "the repository has no commit yet"


def test_cell_notebook_and_environment_are_kept(workspace, project):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")])
    nbformat.write(notebook, project / "a.ipynb")
    with run(
        "cell", source="model.fit(X)  # é", notebook="a.ipynb", state="clean", workspace=workspace
    ) as active:
        pass
    assert kept(workspace, active.run_id, "cell.py") == "model.fit(X)  # é"
    assert json.loads(kept(workspace, active.run_id, "notebook.ipynb"))["cells"]
    environment = json.loads(kept(workspace, active.run_id, "environment.json"))
    assert environment["packages"]["pandas"] == pd.__version__
    assert f"mlflow=={mlflow.__version__}" in kept(workspace, active.run_id, "requirements.txt")
    code = active.record.code
    assert (code["source"], code["cell"], code["state"]) == ("a.ipynb", True, "clean")
    assert "cores" in active.record.drivers["infrastructure"]


def test_datasets_are_recorded_by_version_and_digest(workspace):
    frame = pd.DataFrame({"x": [1, 2], "y": [0.5, None]})
    version = ingest(frame, "numbers", workspace=workspace)
    rest = ingest(frame + 1, "rest", workspace=workspace)
    with run("data", dataset=["numbers", frame.assign(z=1)], workspace=workspace) as active:
        active.use_dataset(rest, context="holdout")
    with run("frame", dataset=frame[::-1], workspace=workspace) as known:
        pass
    used = {(each["ref"], each["context"]): each["digest"] for each in active.record.data}
    assert used["numbers/1", "training"] == version.digest
    assert used["rest/1", "holdout"] == rest.digest
    assert ("DataFrame", "training") in used
    assert known.record.data[0]["ref"] == "numbers/1"


def test_wrong_arguments_are_refused_before_a_run_starts(workspace):
    with pytest.raises(DatasetNotFound), run("x", dataset="nope", workspace=workspace):
        pass
    with (
        pytest.raises(InvalidArgument, match="list is no dataset"),
        run("x", dataset=[[1]], workspace=workspace),
    ):
        pass
    with pytest.raises(InvalidArgument, match="cannot be a run's name"), run(" "):
        pass
    assert len(runs(workspace=workspace)) == 0


def test_a_server_that_cannot_be_reached_is_told_before_the_block_runs(project, monkeypatch):
    workspace = Workspace(project, settings=Settings(tracking_uri="http://127.0.0.1:9"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(TrackingUnavailable, match=r"127\.0\.0\.1:9"),
        run("lost", workspace=workspace),
    ):
        raise AssertionError("the block must not run")


def test_a_run_that_cannot_be_ended_does_not_hide_the_blocks_own_error(workspace):
    def block():
        with run("lost", workspace=workspace) as active:
            workspace.tracking.client.delete_run(active.run_id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        block()
    assert "MLflow does not hold all of run" in caught.value.__notes__[0]
    assert mlflow.active_run() is None


def test_a_run_whose_process_was_killed_is_told_as_killed(workspace):
    code = (
        "import time; from mlops_magics.training import run\n"
        "with run('victim', autolog=False):\n"
        "    print('on', flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"on\n"
    assert runs(workspace=workspace)[0].status == "RUNNING"
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    found = runs(workspace=workspace)[0]
    assert (found.name, found.status) == ("victim", "KILLED")
    assert found.ended <= time.time()


@pytest.mark.xdist_group("mlflow_server")
def test_a_real_tracking_server_holds_the_same(project, mlflow_server):
    settings = Settings(tracking_uri=mlflow_server, experiment="remote")
    workspace = Workspace(project, settings=settings)
    ingest(pd.DataFrame({"x": [1, 2]}), "numbers", workspace=workspace)
    with run("far", params={"a": 1}, source="x", dataset="numbers", workspace=workspace) as active:
        mlflow.log_metric("loss", 0.5)
    assert active.record.status == "FINISHED"
    assert active.record.metrics == {"loss": 0.5}
    assert active.record.data[0]["ref"] == "numbers/1"
    assert kept(workspace, active.run_id, "cell.py") == "x"
    found = runs("metrics.loss < 1 and params.a = '1'", workspace=workspace)
    assert [each.run_id for each in found] == [active.run_id]
