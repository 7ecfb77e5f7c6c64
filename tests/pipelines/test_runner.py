"""A pipeline runs in real kernels and leaves notebooks, runs and rows behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.errors import (
    InvalidArgument,
    ParameterInvalid,
    RunNotFound,
    SpecInvalid,
    StepFailed,
    TrackingUnavailable,
)
from mlops_magics.pipelines import history, tracked
from mlops_magics.pipelines.runner import run_pipeline
from mlops_magics.store.tables import pipeline_runs

OUTPUT = "from mlops_magics.pipelines.outputs import output\n"


def folders(workspace):
    path = workspace.path / "pipelines"
    return sorted(path.iterdir()) if path.is_dir() else []


def mlflow_runs(workspace, **tags):
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    tracking = workspace.tracking
    return tracking.client.search_runs([tracking.experiment_id], query)


@pytest.fixture
def chain(notebook, pipeline):
    """Double, add one, and two that fit beside each other."""
    notebook("double", OUTPUT + "output('value', number * 2)", parameters="number: int = 1")
    notebook(
        "add",
        OUTPUT + "import os\noutput('value', number + 1)",
        "output('here', os.getcwd())",
        parameters="number: int",
    )
    return pipeline(
        """
name: sums
parameters: {number: 3}
steps:
  add: {notebook: add.ipynb, parameters: {number: "${steps.double.outputs.value}"}}
  double: {notebook: double.ipynb, parameters: {number: "${parameters.number}"}}
"""
    )


def test_steps_run_in_order_and_hand_on_typed_outputs(workspace, chain):
    told = []
    record = run_pipeline(chain, params={"number": 5}, workspace=workspace, watch=told.append)
    assert record.status == "FINISHED"
    assert [(item.step, item.status) for item in record.steps] == [
        ("double", "FINISHED"),
        ("add", "FINISHED"),
    ]
    assert record.outputs["add"]["value"] == 11
    assert record.outputs["add"]["here"] == str(chain.parent)
    assert record.steps[1].parameters == {"number": 10}
    # every step leaves its executed notebook, the injected parameters in it
    executed = [nbformat.read(item.notebook, as_version=4) for item in record.steps]
    assert [Path(item.notebook).name for item in record.steps] == [
        "01-double.ipynb",
        "02-add.ipynb",
    ]
    injected = [c for c in executed[1].cells if "injected-parameters" in c.metadata.tags]
    assert "number = 10" in injected[0].source
    assert Path(record.steps[0].notebook).stat().st_mode & 0o777 == 0o600
    # MLflow: a parent, and a child for each step with the notebook
    parent = workspace.tracking.client.get_run(record.run_id)
    children = mlflow_runs(workspace, **{"mlflow.parentRunId": record.run_id})
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"number": "5"}
    assert {child.info.run_name: child.info.status for child in children} == {
        "double": "FINISHED",
        "add": "FINISHED",
    }
    add = next(child for child in children if child.info.run_name == "add")
    assert add.data.metrics["value"] == 11
    kept = [file.path for file in workspace.tracking.client.list_artifacts(add.info.run_id)]
    assert kept == ["02-add.ipynb"]
    # the database, the record and its JSON agree
    assert history.read(workspace, record.id) == record
    assert json.loads(json.dumps(record.to_dict()))["steps"][1]["outputs"]["value"] == 11
    assert record.folder in str(record)
    # who watched heard of all of it, in order, with what the cells showed
    assert (told[0].kind, told[0].details["steps"]) == ("run", ["double", "add"])
    assert [(item.step, item.kind) for item in told if item.kind in {"begin", "status"}] == [
        ("double", "begin"),
        ("double", "status"),
        ("add", "begin"),
        ("add", "status"),
    ]
    cells = [item.details for item in told if (item.step, item.kind) == ("double", "cell")]
    assert [(cell["state"], cell["index"], cell["total"]) for cell in cells] == [
        (state, index, 2) for index in range(2) for state in ("start", "end")
    ]
    assert "output value = 11\n" in [e.details["text"] for e in told if e.kind == "output"]


def test_parameters_are_refused_before_any_kernel(workspace, chain):
    for params, message in [
        ({"numbr": 1}, "did you mean 'number'"),
        ({"number": "5"}, "is int"),
        (["number=five"], "is int"),
        ({"number=1;import os": 1}, "identifier"),
    ]:
        with pytest.raises(ParameterInvalid, match=message):
            run_pipeline(chain, params=params, workspace=workspace)
    assert folders(workspace) == []
    assert mlflow_runs(workspace, **{"mlops.kind": "pipeline"}) == []


def test_a_value_that_no_step_takes_is_refused_before_any_kernel(workspace, notebook, pipeline):
    notebook("a", parameters="n: int")
    path = pipeline(
        "name: p\nparameters: {n: {type: Any}}\n"
        "steps: {a: {notebook: a.ipynb, parameters: {n: '${parameters.n}'}}}\n"
    )
    with pytest.raises(ParameterInvalid, match="'n' of step 'a' is int"):
        run_pipeline(path, params={"n": "x"}, workspace=workspace)
    with pytest.raises(ParameterInvalid, match="needs a value for 'n'"):
        run_pipeline(path, workspace=workspace)
    assert folders(workspace) == []


def test_a_failing_step_names_cell_and_error_and_stops_what_needs_it(workspace, notebook, pipeline):
    notebook("good", "1 + 1")
    notebook(
        "bad", "before = 1", "def check():\n    raise ValueError('no rows')\n\ncheck()", "after"
    )
    path = pipeline(
        "name: p\nsteps:\n"
        "  good: {notebook: good.ipynb}\n"
        "  bad: {notebook: bad.ipynb, needs: [good]}\n"
        "  last: {notebook: good.ipynb, needs: [bad]}\n"
    )
    with pytest.raises(StepFailed) as raised:
        run_pipeline(path, workspace=workspace)
    error = raised.value
    assert str(error).startswith(
        "step 'bad' failed at cell 2 of bad.ipynb, In [2]: ValueError: no rows\n    def check():"
    )
    assert "02-bad.ipynb" in (error.hint or "")
    assert (error.step, error.cell, error.exit_status) == ("bad", 2, 1)
    assert [item.status for item in error.run.steps] == ["FINISHED", "FAILED", "SKIPPED"]
    assert (error.run.status, error.run.steps[1].error["ename"]) == ("FAILED", "ValueError")
    executed = nbformat.read(error.run.steps[1].notebook, as_version=4)
    assert any(o.output_type == "error" for c in executed.cells for o in c.get("outputs", []))
    assert workspace.tracking.client.get_run(error.run.run_id).info.status == "FAILED"
    child = workspace.tracking.client.get_run(error.run.steps[1].run_id)
    assert child.info.status == "FAILED"


def test_an_output_that_was_not_given_fails_the_step_that_wants_it(workspace, notebook, pipeline):
    notebook("a", OUTPUT + "output('train', 1)")
    notebook("b", parameters="data: int")
    path = pipeline(
        "name: p\nsteps:\n  a: {notebook: a.ipynb}\n"
        "  b: {notebook: b.ipynb, parameters: {data: '${steps.a.outputs.trian}'}}\n"
    )
    with pytest.raises(StepFailed, match="did you mean 'train'") as raised:
        run_pipeline(path, workspace=workspace)
    assert [item.status for item in raised.value.run.steps] == ["FINISHED", "FAILED"]


def test_independent_steps_run_side_by_side(workspace, notebook, pipeline, tmp_path):
    # each waits for the other's sign: alone, none would ever end
    meet = (
        "import pathlib, time\n(pathlib.Path(folder) / me).touch()\n"
        "while not (pathlib.Path(folder) / other).exists():\n    time.sleep(0.02)"
    )
    notebook("meet", meet, parameters="folder: str\nme: str\nother: str")
    step = "{notebook: meet.ipynb, timeout: 60, parameters: {folder: '%s', me: %s, other: %s}}"
    path = pipeline(
        f"name: p\nsteps:\n  x: {step % (tmp_path, 'x', 'z')}\n  z: {step % (tmp_path, 'z', 'x')}\n"
    )
    assert run_pipeline(path, workspace=workspace, parallel=2).status == "FINISHED"


def test_a_failed_step_is_tried_again_and_the_failed_try_is_kept(
    workspace, notebook, pipeline, tmp_path
):
    notebook(
        "moody",
        f"import pathlib\nsign = pathlib.Path({str(tmp_path / 'sign')!r})",
        "if not sign.exists():\n    sign.touch()\n    raise RuntimeError('first time')",
    )
    path = pipeline("name: p\nsteps: {moody: {notebook: moody.ipynb, retries: 1}}\n")
    record = run_pipeline(path, workspace=workspace)
    assert record.status == "FINISHED"
    assert sorted(p.name for p in folders(workspace)[0].glob("*.ipynb")) == [
        "01-moody.ipynb",
        "01-moody.try1.ipynb",
    ]


def test_a_step_over_its_time_is_ended_with_its_kernel(workspace, notebook, pipeline):
    notebook("slow", "import time\ntime.sleep(600)")
    path = pipeline("name: p\nsteps: {slow: {notebook: slow.ipynb, timeout: 3}}\n")
    with pytest.raises(StepFailed, match=r"'slow' failed .*StepTimeout: not done after 3 s") as e:
        run_pipeline(path, workspace=workspace)
    assert (e.value.run.status, e.value.run.steps[0].status) == ("FAILED", "FAILED")
    left = [process.pid for process in psutil.process_iter() if e.value.run.id in marked(process)]
    assert left == []


def marked(process):
    """The pipeline run that a process belongs to."""
    try:
        return process.environ().get("MLOPS_PIPELINE_RUN", "")
    except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def test_a_notebook_alone_runs_with_its_own_parameters(workspace, notebook, tmp_path):
    path = notebook("alone", OUTPUT + "output('n', n)", parameters="n: int = 2\nwhen = str(n)")
    record = run_pipeline(path, params=["n=7"], output=tmp_path / "out", workspace=workspace)
    assert record.outputs == {"alone": {"n": 7}}
    assert (tmp_path / "out" / "01-alone.ipynb").is_file()


def test_plain_mlflow_in_a_step_uses_the_workspace(workspace, notebook):
    path = notebook(
        "plain",
        OUTPUT + "import mlflow\nwith mlflow.start_run() as run:\n    mlflow.log_metric('m', 1)",
        "output('run', run.info.run_id)\noutput('uri', mlflow.get_tracking_uri())",
    )
    record = run_pipeline(path, workspace=workspace)
    assert record.outputs["plain"]["uri"] == workspace.tracking.uri
    found = workspace.tracking.client.get_run(record.outputs["plain"]["run"])
    assert found.info.experiment_id == workspace.tracking.experiment_id
    assert found.data.tags["mlflow.parentRunId"] == record.steps[0].run_id


def test_a_pipeline_needs_room_for_one_step_and_a_file(workspace, chain):
    with pytest.raises(InvalidArgument, match="lets no step run"):
        run_pipeline(chain, workspace=workspace, parallel=0)
    with pytest.raises(SpecInvalid, match="there is no pipeline"):
        run_pipeline(chain.parent / "other.yaml", workspace=workspace)


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.fixture
def sleeping(workspace, notebook, tmp_path):
    """A runner in a process of its own, whose step sleeps; gives runner and kernel."""
    sign = tmp_path / "pid"
    path = notebook(
        "sleeps",
        "import os, pathlib, time",
        f"part = pathlib.Path({str(sign) + '.part'!r})\npart.write_text(str(os.getpid()))\n"
        f"part.rename({str(sign)!r})\ntime.sleep(600)",
    )
    code = "import sys, mlops_magics as mlops; mlops.run_pipeline(sys.argv[1])"
    environment = {**os.environ, "MLOPS_WORKSPACE": str(workspace.path)}
    runner = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(sign.is_file)
        yield runner, int(sign.read_text())
    finally:
        runner.kill()
        runner.communicate()


def only_run(workspace):
    with workspace.database.read() as connection:
        return history.read(workspace, connection.scalar(sa.select(pipeline_runs.c.id)))


def test_ctrl_c_ends_kernels_and_leaves_the_run_marked(workspace, sleeping):
    runner, kernel = sleeping
    runner.send_signal(signal.SIGINT)
    _, stderr = runner.communicate(timeout=60)
    assert "KeyboardInterrupt" in stderr
    assert not alive(kernel)
    record = only_run(workspace)
    assert (record.status, record.reason) == ("KILLED", "interrupted")
    assert [item.status for item in record.steps] == ["KILLED"]
    assert workspace.tracking.client.get_run(record.run_id).info.status == "KILLED"
    assert workspace.tracking.client.get_run(record.steps[0].run_id).info.status == "KILLED"


def test_sigterm_ends_kernels_and_leaves_the_run_marked(workspace, sleeping):
    runner, kernel = sleeping
    runner.send_signal(signal.SIGTERM)
    runner.communicate(timeout=60)
    assert runner.returncode == -signal.SIGTERM
    assert not alive(kernel)
    record = only_run(workspace)
    assert (record.status, record.reason) == ("KILLED", "terminated")
    assert [item.status for item in record.steps] == ["KILLED"]
    assert workspace.tracking.client.get_run(record.run_id).info.status == "KILLED"
    assert workspace.tracking.client.get_run(record.steps[0].run_id).info.status == "KILLED"


def test_when_mlflow_is_lost_the_run_is_marked_all_the_same(workspace, notebook, monkeypatch):
    def lost(*_):
        raise TrackingUnavailable("MLflow does not answer")

    monkeypatch.setattr(tracked, "end_step", lost)
    monkeypatch.setattr(tracked, "end", lost)
    with pytest.raises(TrackingUnavailable):
        run_pipeline(notebook("a", "1"), workspace=workspace)
    record = only_run(workspace)
    assert record.status == "CRASHED"
    assert "MLflow does not answer" in record.reason
    assert "RUNNING" not in {item.status for item in record.steps}


def test_the_tracked_runs_of_a_killed_runner_are_not_listed_as_running(workspace, sleeping):
    runner, kernel = sleeping
    assert {run.status for run in mlops.runs(workspace=workspace)} == {"RUNNING"}
    runner.kill()
    runner.wait()
    wait_for(lambda: not alive(kernel))
    assert {run.status for run in mlops.runs(workspace=workspace)} == {"KILLED"}


def test_a_killed_runner_takes_its_kernel_along_and_its_run_is_found_crashed(workspace, sleeping):
    runner, kernel = sleeping
    executed = folders(workspace)[0] / "01-sleeps.ipynb"
    assert history.mark_crashed(workspace) == []
    runner.kill()
    runner.wait()
    wait_for(lambda: not alive(kernel))
    nbformat.read(executed, as_version=4)
    record = only_run(workspace)
    assert record.status == "RUNNING"
    history.change(workspace, record.id, heartbeat=time.time() - 11)
    assert history.mark_crashed(workspace) == [record.id]
    record = only_run(workspace)
    assert (record.status, record.steps[0].status) == ("CRASHED", "CRASHED")
    assert record.steps[0].seconds > 0


def test_a_run_that_does_not_exist_is_not_found(workspace):
    with pytest.raises(RunNotFound, match="no pipeline run 'x'"):
        history.read(workspace, "x")
