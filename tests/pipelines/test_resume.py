"""A run that ended early goes on: what had finished is not run again, and nothing is left out."""

import os
import time
from pathlib import Path

import pytest

import mlops_magics as mlops
from mlops_magics.errors import NothingToResume, PipelineError, RunNotFound, StepFailed
from mlops_magics.pipelines import history, specification, tracked
from mlops_magics.pipelines.resume import resume_pipeline
from mlops_magics.pipelines.runner import run_pipeline
from mlops_magics.store.processes import Identity

LOG = (
    "import pathlib, mlops_magics as mlops\n"
    "with pathlib.Path('log').open('a') as log:\n    print({name!r}, file=log)"
)
SPECIFICATION = """
name: p
parameters: {number: 3}
steps:
  first: {notebook: first.ipynb, parameters: {number: "${parameters.number}"}}
  second: {notebook: second.ipynb, parameters: {value: "${steps.first.outputs.value}"}}
  third: {notebook: third.ipynb, parameters: {value: "${steps.second.outputs.value}"}}
"""


@pytest.fixture
def written(notebook, pipeline):
    """The pipeline; its second step waits for a file that is not there yet."""

    def write(name, *cells, parameter="value: int"):
        return notebook(name, LOG.format(name=name), *cells, parameters=parameter)

    write("first", "mlops.output('value', number)", parameter="number: int")
    write("second", "pathlib.Path('sign').read_text()", "mlops.output('value', value + 1)")
    write("third", "mlops.output('value', value + 1)")
    return pipeline(SPECIFICATION)


@pytest.fixture
def ended(workspace, written, tmp_path):
    """What is left of a run of it whose second step failed."""
    pipeline = specification.read(written)
    notebooks = {name: tmp_path / f"{name}.ipynb" for name in pipeline.steps}
    run = "20260101-000000-abcdef"
    now = time.time()
    history.begin(workspace, run, pipeline, {"number": 5}, tmp_path, notebooks)
    tracked.complete(workspace, run)
    for name, status in (("first", "FINISHED"), ("second", "FAILED")):
        child = tracked.begin_step(
            workspace, history.read(workspace, run).run_id, name, run, {"number": 5}
        )
        columns = {"status": status, "started": now, "ended": now, "run_id": child}
        history.change_step(workspace, run, name, outputs={"value": 5}, **columns)
    history.close(workspace, run, "FAILED", "step 'second' failed", "KILLED", "it ended")
    return history.read(workspace, run)


def statuses(record):
    return [item.status for item in record.steps]


def test_it_goes_on_as_the_same_run_unless_what_had_finished_has_changed(
    workspace, written, notebook
):
    with pytest.raises(StepFailed) as raised:
        run_pipeline(written, params={"number": 5}, workspace=workspace)
    failed = raised.value.run
    assert statuses(failed) == ["FINISHED", "FAILED", "SKIPPED"]
    # not when what had finished is no longer the same
    kept = Path(written.parent, "first.ipynb").read_bytes()
    cells = [LOG.format(name="first"), "mlops.output('value', number + 0)"]
    notebook("first", *cells, parameters="number: int")
    with pytest.raises(NothingToResume) as refused:
        resume_pipeline(workspace=workspace)
    assert str(refused.value).startswith(
        f"run {failed.id} cannot go on: step 'first' has finished, "
        "and its notebook changed: cell 3\n  → run it anew"
    )
    assert history.read(workspace, failed.id) == failed
    Path(written.parent, "first.ipynb").write_bytes(kept)
    folder = Path(failed.path).parent
    (folder / "sign").touch()
    events = []
    record = resume_pipeline(failed.id[:-2], workspace=workspace, watch=events.append)
    assert (record.id, record.status, record.reason) == (failed.id, "FINISHED", None)
    assert record.folder == failed.folder
    assert record.parameters == {"number": 5}
    assert record.outputs["third"] == {"value": 7}
    assert statuses(record) == ["FINISHED"] * 3
    # what had finished was not run again, and each is counted as often as it was started
    assert (folder / "log").read_text().split() == ["first", "second", "second", "third"]
    assert [item.tries for item in record.steps] == [1, 2, 1]
    assert record.steps[0] == failed.steps[0]
    assert [one.step for one in events if one.kind == "begin"] == ["second", "third"]
    # MLflow has one parent, and a child of each try
    client = workspace.tracking.client
    assert record.run_id == failed.run_id
    assert client.get_run(record.run_id).info.status == "FINISHED"
    children = client.search_runs(
        [workspace.tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{record.run_id}'"
    )
    found = sorted((one.info.run_name, one.info.status) for one in children)
    assert found == [
        ("first", "FINISHED"),
        ("second", "FAILED"),
        ("second", "FINISHED"),
        ("third", "FINISHED"),
    ]
    # the next run finds all of it
    again = run_pipeline(failed.path, params={"number": 5}, workspace=workspace)
    assert set(statuses(again)) == {"CACHED"}
    with pytest.raises(NothingToResume, match=r"is FINISHED: there is nothing left to do"):
        resume_pipeline(record.id, workspace=workspace)


def test_it_is_refused_when_the_specification_has_other_steps(workspace, ended, pipeline):
    pipeline(SPECIFICATION.replace("third:", "fourth:"))
    with pytest.raises(NothingToResume, match="step 'third' is gone in"):
        resume_pipeline(workspace=workspace)
    pipeline(SPECIFICATION.replace("parameters: {number: 3}", "parameters: {n: 3}"))
    with pytest.raises(NothingToResume, match="cannot go on"):
        resume_pipeline(workspace=workspace)
    assert history.read(workspace, ended.id) == ended


def test_of_several_who_take_it_up_one_does(workspace, ended):
    assert history.claim(workspace, ended.id)
    assert not history.claim(workspace, ended.id)
    assert statuses(history.read(workspace, ended.id)) == ["FINISHED", "PENDING", "PENDING"]
    # it is alive now: this very process works on it
    began = time.monotonic()
    with pytest.raises(NothingToResume, match=f"still going on, in process {os.getpid()}"):
        resume_pipeline(workspace=workspace)
    assert time.monotonic() - began < 5


def test_who_was_taken_over_writes_nothing_more(workspace, ended):
    assert history.claim(workspace, ended.id)
    other = Identity.of(os.getppid()).to_dict()
    history.change(workspace, ended.id, runner=other)
    before = history.read(workspace, ended.id)
    with pytest.raises(PipelineError, match="taken over by another process"):
        history.change_step(workspace, ended.id, "second", status="FINISHED")
    with pytest.raises(PipelineError, match="taken over by another process"):
        history.close(workspace, ended.id, "FINISHED", None, "KILLED", "")
    assert history.read(workspace, ended.id) == before


def test_who_was_taken_for_dead_says_that_it_is_not(workspace, ended, monkeypatch):
    monkeypatch.setattr(history, "BEAT", 0.05)
    assert history.claim(workspace, ended.id)
    history.change_step(workspace, ended.id, "second", status="RUNNING", started=time.time())
    assert history._mark(workspace, ended.id, time.time())
    assert statuses(history.read(workspace, ended.id)) == ["FINISHED", "CRASHED", "SKIPPED"]
    with history.heartbeat(workspace, ended.id):
        end = time.monotonic() + 20
        while history.read(workspace, ended.id).status != "RUNNING":
            assert time.monotonic() < end
            time.sleep(0.02)
    assert history.read(workspace, ended.id).steps[1].status == "RUNNING"


def test_mlflow_is_told_what_a_killed_process_could_not_tell_it(workspace, ended):
    client = workspace.tracking.client
    first = ended.steps[0]
    client.update_run(first.run_id, status="RUNNING")
    lost = tracked.begin_step(workspace, ended.run_id, "second", ended.id, {})
    tracked.complete(workspace, ended.id)
    assert client.get_run(first.run_id).info.status == "FINISHED"
    assert client.get_run(first.run_id).data.metrics["value"] == 5
    assert client.get_run(lost).info.status == "KILLED"
    assert client.get_run(ended.run_id).info.status == "FAILED"


def test_there_must_be_something_to_resume(workspace):
    with pytest.raises(RunNotFound, match="no run was left unfinished"):
        resume_pipeline(workspace=workspace)
    with pytest.raises(RunNotFound, match="no pipeline run '2026'"):
        resume_pipeline("2026", workspace=workspace)


def test_runs_are_listed_with_how_they_ended_and_why_they_ran(workspace, ended):
    pipeline = specification.read(ended.path)
    why = {"kind": "cron", "reason": "cron: every night"}
    notebooks = {name: Path(ended.folder) / name for name in pipeline.steps}
    history.begin(workspace, "x", pipeline, {}, Path(ended.folder), notebooks, why=why)
    table = mlops.pipeline_runs("p", workspace=workspace)
    assert [run.id for run in table] == ["x", ended.id]
    assert list(table.df["why"]) == ["cron: every night", "by hand"]
    assert list(table.df["status"]) == ["RUNNING", "FAILED"]
    assert list(table.df["executed"]) == [0, 2]
    assert "step 'second' failed" in str(table)
    assert len(mlops.pipeline_runs(limit=1, workspace=workspace)) == 1
    with pytest.raises(mlops.UnknownName, match="no pipeline 'q'"):
        mlops.pipeline_runs("q", workspace=workspace)
