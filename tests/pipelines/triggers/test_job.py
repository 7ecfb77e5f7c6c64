"""A run's end is its firing's end; and with the notebook closed the server runs real pipelines."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import mlops_magics as mlops
from mlops_magics.errors import ParameterInvalid, StepFailed
from mlops_magics.pipelines import history
from mlops_magics.pipelines.triggers import firings
from mlops_magics.pipelines.triggers.job import execute
from mlops_magics.serving import server
from mlops_magics.store import tables


@pytest.fixture
def job(workspace, add):
    """A claimed firing whose runs may be repeated once."""
    add(cron="0 0 1 1 *", retries=1)
    mlops.fire_trigger("retrain-cron", start=False, workspace=workspace)
    [(found, hold)] = firings.claim(workspace, time.time())
    yield found
    hold.release()


def only(workspace):
    [firing] = mlops.firings(workspace=workspace)
    return firing


def test_a_failed_step_is_told_and_tried_again(workspace, job):
    def run(space, claimed):
        raise StepFailed("step 'train' failed at cell 2: ValueError: no rows")

    execute(workspace, job, run)
    assert only(workspace).status == "WAITING"
    assert only(workspace).outcome == "try 1: step 'train' failed at cell 2: ValueError: no rows"


def test_what_would_fail_the_same_again_is_not_tried_again(workspace, job):
    def run(space, claimed):
        raise ParameterInvalid("pipeline 'retrain' has no parameter 'rows'")

    execute(workspace, job, run)
    assert only(workspace).status == "FAILED"


def test_an_error_of_ours_is_no_silence(workspace, job):
    def run(space, claimed):
        raise KeyError("oops")

    execute(workspace, job, run)
    assert only(workspace).outcome == "try 1: KeyError: 'oops'"


def test_a_run_that_is_tried_again_goes_on_where_it_failed(
    workspace, notebook, add, pipeline, clock
):
    count, ready = workspace.root / "count", workspace.root / "ready"
    notebook("first", f"open({str(count)!r}, 'a').write('x')")
    notebook("second", f"assert open({str(ready)!r}).read() == 'yes', 'not yet'")
    path = pipeline(
        "name: retrain\nsteps:\n"
        "  first: {notebook: first.ipynb}\n"
        "  second: {notebook: second.ipynb, needs: [first]}\n"
    )
    add(path, cron="0 0 1 1 *", retries=1)
    mlops.fire_trigger("retrain-cron", start=False, workspace=workspace)

    def attempt(now):
        [(found, hold)] = firings.claim(workspace, now)
        execute(workspace, found)
        hold.release()
        return only(workspace)

    failed = attempt(time.time())
    assert failed.status == "WAITING"
    assert failed.outcome.startswith("try 1: step 'second' failed")
    ready.write_text("yes")
    done = attempt(time.time() + 60)
    assert (done.status, done.tries, done.run) == ("FINISHED", 2, failed.run)
    assert count.read_text() == "x"


def wait(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
    return found


def test_with_the_notebook_closed_new_rows_run_a_real_pipeline_once_whoever_is_killed(
    workspace, notebook, monkeypatch
):
    rows = workspace.root / "rows.jsonl"
    rows.write_text('{"x": 1}\n' * 100)
    begun, go_on = workspace.root / "begun", workspace.root / "go-on"
    path = notebook(
        "retrain",
        "import os, time, threading\nfrom pathlib import Path",
        f"Path({str(begun)!r}).write_text(os.environ.get('OMP_NUM_THREADS', 'all'))",
        f"while not Path({str(go_on)!r}).exists():\n    time.sleep(0.05)",
        parameters="factor: int = 1",
        folder=workspace.root,
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    mlops.trigger(path, data=str(rows), rows=10, params={"factor": 7}, workspace=workspace)

    def append(count):
        with rows.open("a") as file:
            file.write('{"x": 2}\n' * count)

    append(9)
    time.sleep(6)  # longer than between two looks
    assert len(mlops.firings(workspace=workspace)) == 0
    append(1)
    wait(begun.exists)
    assert begun.read_text() == "all"  # the server's own processes compute with one thread each
    # the agent is killed, and comes back; the run goes on, once
    os.kill(server.find(workspace).agent.pid, signal.SIGKILL)
    stopped = mlops.stop(workspace=workspace)
    assert stopped.runs == 1
    assert "1 pipeline runs go on to their end" in str(stopped)
    assert only(workspace).status == "RUNNING"
    mlops.start(workspace=workspace)
    time.sleep(2)
    go_on.touch()
    done = wait(lambda: only(workspace) if only(workspace).status != "RUNNING" else None)
    assert (done.status, done.tries, done.outcome) == ("FINISHED", 1, None)
    assert done.reason == f"10 new rows in {rows}; 10 were waited for"
    run = history.read(workspace, done.run)
    assert (run.status, run.parameters) == ("FINISHED", {"factor": 7})
    assert run.why["firing"] == done.id
    assert "FINISHED" in Path(done.log).read_text()
    with workspace.database.read() as connection:
        assert len(connection.execute(tables.pipeline_runs.select()).all()) == 1
