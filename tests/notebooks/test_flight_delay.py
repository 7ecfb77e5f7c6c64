"""The flight-delay pipeline: from the shell, notebook by notebook, by papermill, under nbval."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

import mlops_magics as mlops
from mlops_magics.store import models
from mlops_magics.store.onnx import RECORD
from mlops_magics.store.workspace import Workspace

ROOT = Path(__file__).parents[2]
STEPS = ["ingest", "train", "test", "package", "register"]
SMALL = ["--param", "rows=2000", "--param", "min_roc_auc=0.55"]

# they follow each other in one workspace, as a person would go on
pytestmark = pytest.mark.xdist_group("flight_delay")


@pytest.fixture(scope="module")
def project(tmp_path_factory, workspace_template):
    """A project's folder with the notebooks and a workspace."""
    root = tmp_path_factory.mktemp("flights") / "project"
    shutil.copytree(workspace_template, root)
    shutil.copytree(ROOT / "notebooks" / "flight_delay", root / "notebooks" / "flight_delay")
    return root


@pytest.fixture(scope="module")
def workspace(project):
    workspace = Workspace.find(project)
    yield workspace
    workspace.database.close()


def execute(project, *command, folder="."):
    environment = {**os.environ, "CI": "true"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project / folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )


def run_pipeline(project, *arguments, path="pipeline.yaml"):
    return execute(
        project, "mlops_magics", "pipeline", "run", f"notebooks/flight_delay/{path}", *arguments
    )


@pytest.fixture(scope="module")
def record(project):
    """The pipeline's run, as the shell tells it to a machine."""
    done = run_pipeline(project, "--param", "month=3", *SMALL, "--param", "runtime=onnx", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def versions(workspace):
    found = workspace.tracking.client.search_model_versions("name='flight-delay'")
    return sorted(int(version.version) for version in found)


def test_the_shell_leaves_notebooks_a_run_for_each_step_and_a_version(record, workspace):
    client, experiment = workspace.tracking.client, workspace.tracking.experiment_id
    assert [(item["step"], item["status"]) for item in record["steps"]] == [
        (name, "FINISHED") for name in STEPS
    ]
    for item in record["steps"]:
        executed = nbformat.read(item["notebook"], as_version=4)
        assert executed.metadata.papermill.exception is None
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{record['run_id']}'")
    assert {child.info.run_name: child.info.status for child in children} == dict.fromkeys(
        STEPS, "FINISHED"
    )
    outputs = {item["step"]: item["outputs"] for item in record["steps"]}
    train = next(child for child in children if child.info.run_name == "train")
    trained = client.get_run(outputs["train"]["run"])
    assert trained.data.tags["mlflow.parentRunId"] == train.info.run_id
    assert outputs["ingest"]["rows"] == 2000
    assert 0.55 < outputs["test"]["roc_auc"] < 1
    found = client.get_model_version_by_alias("flight-delay", "challenger")
    assert str(found.version) == outputs["register"]["version"] == "1"
    assert found.run_id == outputs["train"]["run"]


def test_the_model_of_the_pipeline_is_proven_equal_in_onnx_runtime(record, workspace):
    outputs = {item["step"]: item["outputs"] for item in record["steps"]}
    kept = json.loads((models.fetch(workspace, outputs["package"]["package"]) / RECORD).read_text())
    assert kept["verdict"] == "equal"
    assert kept["rows"] == 2000
    assert [one["kind"] for one in kept["inputs"]].count("str") == 3


def test_a_season_of_flights_is_equal_on_all_reference_rows(project, workspace, monkeypatch):
    monkeypatch.syspath_prepend(project / "notebooks" / "flight_delay")
    import flights

    train = flights.load([1, 2, 3])
    features = train[flights.FEATURES]
    assert features["seats"].isna().any()
    assert features["temp"].isna().any()
    model = flights.boosting(max_iter=30).fit(features, train[flights.TARGET])
    packed = mlops.package(
        model,
        name="season",
        data=train,
        target=flights.TARGET,
        predict_fn="predict_proba",
        runtime="onnx",
        workspace=workspace,
    )
    assert packed.onnx["verdict"] == "equal"
    assert packed.onnx["rows"] > 50_000
    assert packed.onnx["label_disagreements"] == 0
    assert packed.onnx["greatest_difference"] < 1e-12


def test_an_unknown_parameter_is_refused_before_any_kernel(record, project, workspace):
    before = sorted((workspace.path / "pipelines").iterdir())
    done = run_pipeline(project, "--param", "mont=3")
    assert done.returncode == 2
    assert "has no parameter 'mont'" in done.stderr
    assert "did you mean 'month'?" in done.stderr
    assert sorted((workspace.path / "pipelines").iterdir()) == before


def test_a_gate_that_fails_names_step_cell_and_error_and_exits_1(record, project, workspace):
    # by hand the run's name is enough: the newest of that name
    done = run_pipeline(project, "--param", "min_roc_auc=0.999", path="test.ipynb")
    assert done.returncode == 1
    assert "step 'test' failed at cell 5 of test.ipynb, In [5]: GateFailed: " in done.stderr
    assert "roc_auc" in done.stderr
    assert "0.999" in done.stderr
    assert "01-test.ipynb" in done.stderr


def test_plain_papermill_runs_a_step(record, project, workspace):
    command = ["papermill", "register.ipynb", str(project / "out.ipynb"), "--no-progress-bar"]
    done = execute(project, *command, "-p", "alias", "by-hand", folder="notebooks/flight_delay")
    assert done.returncode == 0, done.stderr
    found = workspace.tracking.client.get_model_version_by_alias("flight-delay", "by-hand")
    assert int(found.version) == max(versions(workspace))


@pytest.mark.parametrize("engine", [None, "mlops"])
def test_papermill_one_notebook_after_another_gives_the_same_results(
    record, project, monkeypatch, engine
):
    monkeypatch.setenv("CI", "true")

    def run(step, **parameters):
        folder = project / "notebooks" / "flight_delay"
        out = project / f"{engine}-{step}.ipynb"
        papermill.execute_notebook(
            folder / f"{step}.ipynb",
            out,
            parameters,
            engine_name=engine,
            progress_bar=False,
            cwd=folder,
        )
        return {item.name: item.value for item in mlops.inspect_notebook(out).outputs}

    outputs = {item["step"]: item["outputs"] for item in record["steps"]}
    assert run("ingest", rows=2000) == outputs["ingest"]
    trained = run("train", data=outputs["ingest"]["train"])
    assert trained.keys() == outputs["train"].keys()
    assert run("test", run=trained["run"], min_roc_auc=0.55) == outputs["test"]
    with pytest.raises(papermill.PapermillExecutionError) as raised:
        run("test", run=trained["run"], min_roc_auc=0.999)
    assert raised.value.ename == "GateFailed"
    assert "roc_auc" in raised.value.evalue
    assert "0.999" in raised.value.evalue


def test_all_of_them_pass_nbval_in_their_order_with_the_same_result(record, project, workspace):
    folder = project / "notebooks" / "flight_delay"
    small = {"ingest": {"rows": 2000}, "test": {"min_roc_auc": 0.55}}
    for name, parameters in small.items():
        path = folder / f"{name}.ipynb"
        papermill.execute_notebook(path, path, parameters, prepare_only=True, progress_bar=False)
    done = execute(
        project,
        *["pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--nbval-lax", "-q"],
        *[f"{name}.ipynb" for name in STEPS],
        folder="notebooks/flight_delay",
    )
    assert done.returncode == 0, done.stdout[-5000:]
    (newest,) = workspace.tracking.client.search_runs(
        [workspace.tracking.experiment_id], "attributes.run_name = 'boosting'", max_results=1
    )
    outputs = {item["step"]: item["outputs"] for item in record["steps"]}
    assert newest.data.tags.get("mlflow.parentRunId") is None
    assert newest.data.metrics["test.roc_auc"] == outputs["test"]["roc_auc"]
