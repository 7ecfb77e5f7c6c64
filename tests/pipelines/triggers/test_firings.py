"""A firing whose process was killed is taken over, and its run is not made twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

import mlops_magics as mlops
from mlops_magics.pipelines import history
from mlops_magics.pipelines.triggers import firings
from mlops_magics.pipelines.triggers.condition import Seen
from mlops_magics.pipelines.triggers.firings import Hold, Job
from mlops_magics.pipelines.triggers.watch import Watch
from mlops_magics.store import tables

HOUR = 3600.0

KILLED = """
import os, signal
from mlops_magics.pipelines.triggers.watch import Watch
from mlops_magics.store.workspace import Workspace

def launch(workspace, job, hold):
    os.kill(os.getpid(), signal.SIGKILL)

Watch(Workspace.find(), launch=launch).start_due()
"""


def fired(workspace, add):
    add(cron="0 0 1 1 *")
    return mlops.fire_trigger("retrain-cron", start=False, workspace=workspace).id


def only(workspace):
    [firing] = mlops.firings(workspace=workspace)
    return firing


def test_an_agent_that_is_killed_between_claim_and_start_leaves_a_firing_that_runs_once(
    workspace, add, watch, runs
):
    fired(workspace, add)
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=workspace.root, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert only(workspace).status == "RUNNING"
    assert watch.start_due() == 1
    assert watch.start_due() == 0
    assert len(runs.jobs) == 1
    assert only(workspace).status == "FINISHED"


def test_while_somebody_works_on_a_firing_nobody_takes_it_over(workspace, add, watch, runs):
    firing = fired(workspace, add)
    [(job, hold)] = firings.claim(workspace, time.time())
    assert watch.start_due() == 0
    assert Hold.take(workspace, firing) is None
    # who inherits the descriptor holds the lock, also when the agent has let go of it
    child = subprocess.Popen(["sleep", "60"], pass_fds=(hold.descriptor,))
    hold.release()
    assert watch.start_due() == 0
    child.kill()
    child.wait()
    assert watch.start_due() == 1
    assert [one.tries for one in runs.jobs] == [job.tries + 1]


@pytest.mark.parametrize(
    ("status", "reason", "expected", "starts"),
    [
        ("FINISHED", None, "FINISHED", 0),
        ("SKIPPED", "no new rows", "FINISHED", 0),
        ("FAILED", "step 'train' failed", "FAILED", 0),
        ("KILLED", "terminated", "FAILED", 0),
        ("CRASHED", "the process that ran it is gone", "WAITING", 1),
        ("RUNNING", None, "RUNNING", 0),
    ],
)
def test_a_run_whose_process_is_gone_gives_its_firing_its_own_end(
    workspace, add, runs, clock, status, reason, expected, starts
):
    firing = fired(workspace, add)
    runs.outcome = "RUNNING"
    Watch(workspace, now=clock, launch=runs).start_due()
    [run] = all_runs(workspace)
    history.change(workspace, run, status=status, reason=reason)
    assert len(firings.take_over(workspace, clock())) == starts
    found = only(workspace)
    assert found.status == expected
    assert found.run == (None if status == "RUNNING" else run)
    assert (reason or "") in (found.outcome or "")
    assert Hold.take(workspace, firing) is not None


def all_runs(workspace):
    with workspace.database.read() as connection:
        return list(connection.execute(tables.pipeline_runs.select()).scalars())


def test_its_run_is_found_on_either_database(place, add, runs, clock):
    add(space=place, cron="0 0 1 1 *")
    mlops.fire_trigger("retrain-cron", start=False, workspace=place)
    runs.outcome = "RUNNING"
    Watch(place, now=clock, launch=runs).start_due()
    [run] = all_runs(place)
    history.change(place, run, status="FINISHED")
    assert firings.take_over(place, clock()) == []
    assert (only(place).status, only(place).run) == ("FINISHED", run)


def test_a_firing_is_not_taken_for_a_removed_one_of_the_same_number(workspace, add, runs, watch):
    first = fired(workspace, add)
    watch.start_due()
    mlops.remove_trigger("retrain-cron", workspace=workspace)
    assert fired(workspace, add) == first  # as SQLite counts
    runs.outcome = "left"
    watch.start_due()
    runs.outcome = "FINISHED"
    watch.start_due()
    assert [job.tries for job in runs.jobs] == [1, 1, 2]
    assert (only(workspace).status, len(all_runs(workspace))) == ("FINISHED", 2)


def test_a_run_that_is_killed_again_and_again_is_given_up(workspace, add, watch, runs, clock):
    fired(workspace, add)
    runs.outcome = "left"
    for _ in range(10):
        watch.start_due()
        clock.advance(HOUR)
    found = only(workspace)
    assert (len(runs.jobs), found.status) == (3, "FAILED")
    assert found.outcome == "its process was killed"


def test_a_condition_that_two_agents_see_at_once_fires_once(place, add, clock):
    add(space=place, cron="0 0 1 1 *")
    one, other = (Watch(place, now=clock)._triggers() for _ in range(2))
    seen = [Seen({"until": clock() + number}, "new rows") for number in range(2)]
    results: list[int | None] = []
    barrier = threading.Barrier(2)

    def write(trigger, what):
        barrier.wait()
        results.append(firings.record(place, trigger, what, clock()))

    threads = [
        threading.Thread(target=write, args=args)
        for args in zip([one[0], other[0]], seen, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result is not None for result in results) == 1
    assert len(mlops.firings(workspace=place)) == 1
    # and what is seen later, on the state that was read before, does not count either
    assert firings.record(place, one[0], seen[0], clock()) is None


def test_two_firings_of_a_pipeline_that_are_claimed_at_once_do_not_run_beside_each_other(
    place, add, clock
):
    for number in range(2):
        add(space=place, cron="0 0 1 1 *", name=f"t{number}")
        mlops.fire_trigger(f"t{number}", start=False, workspace=place)
    barrier = threading.Barrier(2)
    claimed: list[tuple[Job, Hold]] = []

    def claim():
        barrier.wait()
        claimed.extend(firings.claim(place, time.time()))

    threads = [threading.Thread(target=claim) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 1
    claimed[0][1].release()


def test_a_firing_that_ended_meanwhile_is_not_changed(workspace, add, clock):
    fired(workspace, add)
    [(job, hold)] = firings.claim(workspace, time.time())
    firings.end(workspace, job, None, "done")
    firings.fail(workspace, job, None, "too late", clock())
    assert only(workspace).outcome == "done"
    assert Job.read(workspace, job.firing) is None
    hold.release()
    assert (workspace.path / "firings" / f"{job.firing}.log").stat().st_mode & 0o777 == 0o600
