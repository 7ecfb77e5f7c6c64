"""The watch fires each trigger once for what happens, and starts one run for each firing."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

import mlops_magics as mlops
from mlops_magics.pipelines import history
from mlops_magics.pipelines.triggers.watch import Watch
from mlops_magics.settings import Settings
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace

HOUR = 3600.0


def statuses(workspace):
    """By firing, the oldest first."""
    return [row.status for row in reversed(list(mlops.firings(workspace=workspace)))]


def test_a_schedule_fires_over_a_changed_clock_once_a_day(workspace, add, watch, clock, runs):
    start = clock.set("2026-10-23T12:00:00")
    add(cron="30 2 * * *", tz="Europe/Berlin")
    # 2:30 comes twice on 2026-10-25
    while clock() < start + 4 * 24 * HOUR:
        clock.advance(600)
        watch.keep_schedules()
        watch.start_due()
    keys = [
        datetime.fromtimestamp(row.time, UTC).strftime("%m-%d %H:%M")
        for row in reversed(list(mlops.firings(workspace=workspace)))
    ]
    assert keys == ["10-24 00:30", "10-25 00:30", "10-26 01:30", "10-27 01:30"]
    assert len(runs.jobs) == 4


def test_a_day_of_downtime_becomes_one_run_that_says_what_was_missed(
    workspace, add, watch, clock, runs
):
    add(cron="0 * * * *", params={"rows": 5})
    clock.advance(24 * HOUR)
    watch.keep_schedules()
    watch.keep_schedules()
    assert watch.start_due() == 1
    assert watch.start_due() == 0
    [firing] = mlops.firings(workspace=workspace)
    assert "23 earlier times were missed, this run is for all of them" in firing.reason
    assert (firing.status, firing.tries) == ("FINISHED", 1)
    # the run itself says why it ran
    run = history.read(workspace, firing.run)
    assert run.why == {
        "kind": "cron",
        "reason": firing.reason,
        "trigger": "retrain-cron",
        "firing": firing.id,
        "time": firing.time,
    }
    assert run.parameters == {"rows": 5}
    # the next one comes as ever
    clock.advance(HOUR)
    watch.keep_schedules()
    assert "missed" not in mlops.firings(workspace=workspace)[0].reason
    table = mlops.firings(workspace=workspace).df
    assert list(table["status"]) == ["WAITING", "FINISHED"]


def test_two_agents_make_a_thousand_firings_a_thousand_runs(place, add, clock, runs, notebook):
    pipelines = [notebook(f"p{number}") for number in range(20)]
    for number in range(100):
        path = pipelines[number % 20]
        add(path, place, name=f"t{number}", cron="0 * * * *", overlap=number >= 20)
    agents = [
        # each as in a process of its own, with its own connections
        Watch(Workspace(place.root, settings=Settings.load(place.root)), now=clock, launch=runs)
        for _ in range(2)
    ]
    errors: list[Exception] = []
    done = threading.Event()

    def attend(agent: Watch) -> None:
        while not done.is_set():
            try:
                agent.keep_schedules()
                agent.start_due()
            except Exception as exc:
                errors.append(exc)
                raise

    threads = [threading.Thread(target=attend, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    try:
        for round_ in range(1, 11):
            clock.advance(HOUR)
            end = time.monotonic() + 120
            while len(runs.jobs) < 100 * round_ and not errors and time.monotonic() < end:
                time.sleep(0.02)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        for agent in agents:
            agent.workspace.database.close()
    assert not errors
    assert len(runs.jobs) == 1000
    assert len({job.firing for job in runs.jobs}) == 1000
    with place.database.read() as connection:
        rows = connection.execute(tables.firings.select()).all()
        made = connection.execute(tables.pipeline_runs.select()).all()
    assert len(rows) == len(made) == 1000
    assert {row.status for row in rows} == {"FINISHED"}
    assert {run.why["firing"] for run in made} == {row.id for row in rows}


def test_within_the_cooldown_nothing_runs_and_what_was_skipped_is_told(
    workspace, add, watch, clock, runs
):
    add(cron="0 * * * *", cooldown="150m")
    for _ in range(6):
        clock.advance(HOUR)
        watch.keep_schedules()
        watch.start_due()
    assert len(runs.jobs) == 2
    assert statuses(workspace) == ["FINISHED", "SKIPPED", "SKIPPED"] * 2
    skipped = mlops.firings(workspace=workspace)[0]
    assert skipped.outcome == "within the cooldown after another run"


def test_a_pipeline_runs_once_at_a_time_and_what_waits_becomes_one_run(
    workspace, add, watch, clock, runs
):
    add(cron="0 * * * *")
    runs.outcome = "RUNNING"
    for _ in range(4):
        clock.advance(HOUR)
        watch.keep_schedules()
        # its process lives: it has its lock
        watch.start_due() if not runs.jobs else None
    assert len(runs.jobs) == 1
    assert statuses(workspace) == ["RUNNING", "SKIPPED", "SKIPPED", "WAITING"]
    assert mlops.firings(workspace=workspace)[1].outcome == "gave way to firing 4"


@pytest.mark.parametrize("by", ["a trigger", "a person"])
def test_a_run_of_the_same_pipeline_is_waited_for_unless_overlap_was_asked_for(
    workspace, add, watch, clock, runs, by
):
    add(cron="0 * * * *", name="patient")
    add(cron="0 * * * *", name="impatient", overlap=True)
    add(cron="0 * * * *", name="other", cooldown="1d")
    t = tables.pipeline_runs
    now = time.time()
    if by == "a person":
        values = {"id": "by-hand", "pipeline": "retrain", "path": "/elsewhere", "parameters": {}}
        values |= {"status": "RUNNING", "folder": str(workspace.path / "pipelines" / "by-hand")}
        with workspace.database.begin() as connection:
            connection.execute(t.insert().values(**values, started=now, heartbeat=now))
    clock.advance(HOUR)
    watch.keep_schedules()
    watch.start_due()
    if by == "a person":
        assert [job.trigger.name for job in runs.jobs] == ["impatient"]
        with workspace.database.begin() as connection:
            connection.execute(t.update().values(status="FINISHED"))
        watch.start_due()
    assert {job.trigger.name for job in runs.jobs} == {"patient", "impatient"}
    watch.start_due()
    assert runs.jobs[-1].trigger.name == "other"
    assert len(runs.jobs) == 3


def test_a_failed_run_is_tried_again_later_and_later_and_then_given_up(
    workspace, add, watch, clock, runs
):
    add(cron="0 0 1 * *", retries=2)
    runs.outcome = "step 'train' failed"
    clock.advance(31 * 24 * HOUR)
    watch.keep_schedules()
    waits = []
    for _ in range(3):
        began = clock()
        while not watch.start_due():
            clock.advance(10)
        waits.append(clock() - began)
    assert waits == [0, 60, 120]
    [firing] = mlops.firings(workspace=workspace)
    assert (firing.status, firing.tries) == ("FAILED", 3)
    assert firing.outcome == "step 'train' failed"
    assert firing.reason.startswith("its time came")
    clock.advance(HOUR)
    assert watch.start_due() == 0


def test_a_retry_that_succeeds_ends_well(workspace, add, watch, clock, runs):
    add(cron="0 0 1 * *", retries=1)
    runs.outcome = "no network"
    clock.advance(31 * 24 * HOUR)
    watch.keep_schedules()
    watch.start_due()
    [firing] = mlops.firings(workspace=workspace)
    assert (firing.status, firing.outcome) == ("WAITING", "try 1: no network")
    runs.outcome = "FINISHED"
    clock.advance(60)
    watch.start_due()
    [firing] = mlops.firings(workspace=workspace)
    assert (firing.status, firing.tries, firing.outcome) == ("FINISHED", 2, None)


def test_what_cannot_look_is_told_and_stops_no_other(workspace, add, watch, clock, tmp_path, runs):
    folder = tmp_path / "inbox"
    folder.mkdir()
    add(data=str(folder), files=1, name="inbox")
    add(cron="0 * * * *", name="hourly")
    folder.rmdir()
    clock.advance(HOUR)
    assert watch.look() == []
    watch.keep_schedules()
    watch.start_due()
    assert [job.trigger.name for job in runs.jobs] == ["hourly"]
    broken = mlops.triggers("inbox", workspace=workspace)
    assert str(folder) in broken.problem
    assert "cannot look" in str(broken)
    checks = {check.name: check for check in mlops.doctor(workspace=workspace).checks}
    assert "2 triggers do not fire" in checks["server"].found
    # once it can look again that is forgotten, and what has come meanwhile counts
    folder.mkdir()
    (folder / "a.csv").write_text("x\n1\n")
    clock.advance(10)
    assert len(watch.look()) == 1
    assert mlops.triggers("inbox", workspace=workspace).problem is None


def test_a_paused_trigger_fires_only_by_hand_and_on_resuming_begins_anew(
    workspace, add, watch, clock, runs, monkeypatch
):
    add(cron="0 * * * *")
    mlops.pause_trigger("retrain-cron", workspace=workspace)
    clock.advance(5 * HOUR)
    assert watch.keep_schedules() == []
    mlops.fire_trigger("retrain-cron", start=False, workspace=workspace)
    watch.start_due()
    assert [job.reason for job in runs.jobs] == [f"fired by {workspace.actor}"]
    monkeypatch.setattr(time, "time", clock)
    mlops.resume_trigger("retrain-cron", start=False, workspace=workspace)
    assert watch.keep_schedules() == []
    clock.advance(HOUR)
    assert len(watch.keep_schedules()) == 1


def test_a_run_that_cannot_be_started_is_tried_again(workspace, add, clock):
    add(cron="0 * * * *")
    refused = []

    def launch(space, job, hold):
        refused.append(job)
        raise OSError(11, "Resource temporarily unavailable")

    watch = Watch(workspace, now=clock, launch=launch)
    clock.advance(HOUR)
    watch.keep_schedules()
    for _ in range(5):
        watch.start_due()
        clock.advance(HOUR / 2)
    [firing] = mlops.firings(workspace=workspace)
    assert (len(refused), firing.status) == (3, "FAILED")
    assert "Resource temporarily unavailable" in firing.outcome


def test_what_a_person_fires_is_never_given_up_for_what_comes_by_itself(
    workspace, add, watch, clock, runs
):
    add(cron="0 * * * *", cooldown="6h")
    mlops.fire_trigger("retrain-cron", start=False, workspace=workspace)
    mlops.fire_trigger("retrain-cron", start=False, workspace=workspace)
    clock.advance(HOUR)
    watch.keep_schedules()
    watch.start_due()
    watch.start_due()
    assert [job.reason for job in runs.jobs] == [f"fired by {workspace.actor}"] * 2
    # it counts for the cooldown, though nothing held it up
    assert statuses(workspace) == ["FINISHED", "FINISHED", "SKIPPED"]
