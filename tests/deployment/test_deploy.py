"""Deployments on real processes: what passes serves, what fails changes nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import psutil
import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.deployment import plan
from mlops_magics.serving import server
from mlops_magics.settings import Settings
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace


def answer(workspace, name="e"):
    return mlops.predict(name, {"x": 1.5, "n": 1}, workspace=workspace).values[0]


def test_an_endpoint_s_life(workspace, packaged):
    first = mlops.deploy(packaged("double"), "e", workspace=workspace, latency_budget=5000)
    assert (first.state, first.revision) == ("serving", 1)
    assert answer(workspace) == 3.0
    second = mlops.deploy(packaged("triple"), "e", workspace=workspace)
    assert answer(workspace) == 4.5
    assert [one["status"] for one in second.revisions] == ["SERVING", "WARM"]
    back = mlops.rollback("e", workspace=workspace)
    assert (back.revision, answer(workspace)) == (1, 3.0)
    with pytest.raises(mlops.DeployError, match="no previous revision"):
        mlops.rollback("e", workspace=workspace)  # twice back is not forward again
    mlops.deploy(packaged("triple"), "e", workspace=workspace)
    listed = mlops.endpoints("e", workspace=workspace)[0]
    assert [one["status"] for one in listed.revisions] == ["SERVING", "RETIRED", "WARM"]
    assert mlops.undeploy("e", workspace=workspace).state == "undeployed"
    with pytest.raises(mlops.EndpointNotFound):
        answer(workspace)
    with workspace.database.read() as connection:
        entries = sa.select(tables.ledger.c.action).order_by(tables.ledger.c.seq)
        actions = connection.execute(entries).scalars().all()
    assert [a for a in actions if a != "package"] == [
        "deploy",
        "deploy",
        "rollback",
        "deploy",
        "undeploy",
    ]


def test_a_revision_that_fails_its_checks_leaves_the_previous_one_serving(workspace, packaged):
    mlops.deploy(packaged("double"), "e", workspace=workspace)
    failures = {
        "broken_at_load": "cannot serve the model: RuntimeError: the weights are gone",
        "different_here": "golden row 0: the model answers",
        "deadly": "5 times in a row",
    }
    for name, reason in failures.items():
        with pytest.raises(mlops.DeployFailed, match=reason):
            mlops.deploy(packaged(name), "e", workspace=workspace)
        assert answer(workspace) == 3.0
    with pytest.raises(mlops.DeployFailed, match=r"the budget is 0\.001 ms"):
        mlops.deploy(packaged("triple"), "e", latency_budget=0.001, workspace=workspace)
    assert answer(workspace) == 3.0
    listed = mlops.endpoints("e", workspace=workspace)[0]
    assert [one["status"] for one in listed.revisions] == ["FAILED"] * 4 + ["SERVING"]
    assert "budget" in listed.revisions[0]["reason"]


def test_of_two_deployments_at_once_one_gets_a_conflict(workspace, packaged):
    packages = [packaged("double"), packaged("triple")]
    server.start(workspace)
    barrier = threading.Barrier(2)
    outcomes = []

    def deploy(package):
        barrier.wait()
        try:
            outcomes.append(mlops.deploy(package, "e", workspace=workspace).revision)
        except mlops.DeployConflict as exc:
            outcomes.append(exc)

    threads = [threading.Thread(target=deploy, args=[package]) for package in packages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    conflicts = [one for one in outcomes if isinstance(one, mlops.DeployConflict)]
    assert len(conflicts) == 1, outcomes
    assert f"by process {os.getpid()}" in str(conflicts[0])


def test_a_deployer_that_died_is_cleaned_up_after(workspace, packaged):
    package = packaged("double")
    with workspace.database.begin() as connection:
        connection.execute(
            sa.insert(tables.endpoints).values(name="e", created=0, updated=0, settings={})
        )
        connection.execute(
            sa.insert(tables.revisions).values(
                endpoint="e",
                number=1,
                model="m",
                version="1",
                package=str(package.path),
                digest=package.digest,
                status="STARTING",
                created=0,
                updated=0,
            )
        )
    assert mlops.deploy(package, "e", workspace=workspace).revision == 2
    reasons = [one["reason"] for one in mlops.endpoints("e", workspace=workspace)[0].revisions]
    assert reasons == [None, "the deploying process ended"]


@pytest.mark.parametrize("moment", ["await_workers", "await_applied"])
def test_a_deployer_that_is_killed_leaves_the_old_state_or_the_new_one(workspace, packaged, moment):
    """Killed before the traffic moves the old one serves, killed after it the new one."""
    mlops.deploy(packaged("double"), "e", workspace=workspace)
    script = (
        "import sys, os, mlops_magics as mlops\n"
        "from mlops_magics.deployment import checks, plan\n"
        "kill = lambda *_: os.kill(os.getpid(), 9)\n"
        "if sys.argv[2] == 'await_workers':\n"
        "    checks.await_workers = kill\n"
        "else:\n"
        "    calls, real = [], plan.project\n"
        "    plan.project = lambda w: (calls.append(w), len(calls) == 3 and kill(), real(w))[2]\n"
        "mlops.deploy(sys.argv[1], 'e')\n"
    )
    command = [sys.executable, "-c", script, packaged("triple").uri, moment]
    assert subprocess.run(command, cwd=workspace.root).returncode == -signal.SIGKILL
    wanted = {
        "await_workers": (3.0, {"SERVING": 1, "FAILED": 1}, {"r1-0"}),
        "await_applied": (4.5, {"SERVING": 1, "WARM": 1}, {"r1-0", "r2-0"}),
    }[moment]

    def found():
        revisions = mlops.endpoints("e", workspace=workspace)[0].revisions
        workers = {name for name in server.processes(workspace) if name.startswith("r")}
        return answer(workspace), Counter(one["status"] for one in revisions), workers

    end = time.monotonic() + 30
    while found() != wanted and time.monotonic() < end:
        time.sleep(0.2)
    assert found() == wanted


def test_serving_outlives_the_process_that_deployed(workspace, packaged):
    package = packaged("double")
    script = (
        "import sys, os, mlops_magics as mlops\n"
        "mlops.deploy(sys.argv[1], 'e')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, package.uri], cwd=workspace.root)
    assert done.returncode == -signal.SIGKILL
    assert answer(workspace) == 3.0


def test_stop_leaves_no_process_and_the_next_deployment_brings_all_back(workspace, packaged):
    mlops.deploy(packaged("double"), "e", workspace=workspace)
    pids = [identity.pid for identity in server.processes(workspace).values()]
    assert len(pids) == 4  # supervisor, gateway, agent, one worker
    assert mlops.stop(workspace=workspace).processes == 4
    for pid in pids:
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert mlops.endpoints("e", workspace=workspace)[0].state == "down"
    with pytest.raises(mlops.ServerNotRunning, match="mlops start"):
        answer(workspace)
    mlops.deploy(packaged("triple"), "f", workspace=workspace)
    assert answer(workspace, "f") == 4.5
    assert mlops.endpoints("e", workspace=workspace)[0].revisions[0]["status"] == "SERVING"


def test_what_a_killed_server_has_left_is_adopted_and_stopped(workspace, packaged):
    mlops.deploy(packaged("double"), "e", workspace=workspace)
    left = server.processes(workspace)
    for name in ("supervisor", "gateway"):
        os.kill(left[name].pid, signal.SIGKILL)
    while left["supervisor"].alive() or left["gateway"].alive():
        time.sleep(0.02)
    assert set(server.processes(workspace)) == {"agent", "r1-0"}
    server.start(workspace)
    assert server.processes(workspace)["agent"] == left["agent"]
    assert server.processes(workspace)["r1-0"] == left["r1-0"]
    for name in ("supervisor", "gateway"):
        os.kill(server.processes(workspace)[name].pid, signal.SIGKILL)
    assert mlops.stop(workspace=workspace).processes >= 2
    assert not left["agent"].alive()
    assert not left["r1-0"].alive()


def test_a_taken_port_is_told_with_its_owner_and_nothing_is_half_registered(workspace, packaged):
    package = packaged("double")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        mine = Workspace(workspace.root, settings=Settings.load(port=port))
        with pytest.raises(mlops.PortTaken, match=rf":{port} is taken by .*pid {os.getpid()}"):
            mlops.deploy(package, "e", workspace=mine)
    assert len(mlops.endpoints(workspace=workspace)) == 0
    assert server.processes(workspace) == {}


def test_what_cannot_be_deployed_is_refused_before_anything_starts(workspace):
    with pytest.raises(mlops.InvalidArgument, match="mlops register"):
        mlops.deploy(object(), "e", workspace=workspace)
    with pytest.raises(mlops.ModelNotFound):
        mlops.deploy("none", workspace=workspace)
    with pytest.raises(mlops.EndpointNotFound):
        mlops.undeploy("none", workspace=workspace)
    with pytest.raises(mlops.EndpointNotFound):
        mlops.rollback("none", workspace=workspace)
    assert server.find(workspace) is None


def test_two_workspaces_share_a_database_and_each_runs_its_own_endpoints(
    workspace, packaged, postgresql, tmp_path
):
    ours = Workspace(workspace.root, settings=Settings.load(database_url=postgresql))
    (tmp_path / "theirs").mkdir()
    created = Workspace.create(tmp_path / "theirs")
    theirs = Workspace(created.root, settings=Settings.load(database_url=postgresql))
    mlops.deploy(packaged("double"), "ours", workspace=ours)
    try:
        assert plan.project(theirs) == 0
        listed = {one.name: one for one in mlops.endpoints(workspace=theirs)}
        assert (listed["ours"].state, listed["ours"].url) == ("elsewhere", None)
        for act in (mlops.undeploy, mlops.rollback):
            with pytest.raises(mlops.DeployConflict, match=re.escape(str(workspace.path))):
                act("ours", workspace=theirs)
        assert answer(ours, "ours") == 3.0
        mlops.undeploy("ours", workspace=ours)
        with ours.database.begin() as connection:
            connection.execute(
                sa.update(tables.endpoints)
                .where(tables.endpoints.c.name == "ours")
                .values(workspace=theirs.id, traffic=[{"revision": 1}])
            )
        with pytest.raises(mlops.DeployConflict, match="run by another workspace"):
            mlops.deploy(packaged("triple"), "ours", workspace=ours)
    finally:
        mlops.stop(workspace=ours)
        with ours.database.begin() as connection:
            connection.execute(sa.delete(tables.endpoints).where(tables.endpoints.c.name == "ours"))
        ours.database.close()
        theirs.database.close()


def test_deployments_are_kept_in_a_team_s_postgresql(workspace, packaged, postgresql):
    team = Workspace(workspace.root, settings=Settings.load(database_url=postgresql))
    mlops.deploy(packaged("double"), "team", workspace=team)
    mlops.deploy(packaged("triple"), "team", workspace=team)
    assert mlops.rollback("team", workspace=team).revision == 1
    assert answer(team, "team") == 3.0
    with pytest.raises(mlops.DeployFailed):
        mlops.deploy(packaged("broken_at_load"), "team", workspace=team)
    assert answer(team, "team") == 3.0
    mlops.undeploy("team", workspace=team)
    mlops.stop(workspace=team)
    team.database.close()
    assert len(mlops.endpoints(workspace=workspace)) == 0
