"""kill -9 of each process under load: what clients see, and that everything comes back.

In-flight requests of a killed gateway get no answer: the kernel resets its connections. Only
requests on connections that were opened before the kill may be lost so; they are counted apart,
and none of them was acknowledged.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

import mlops_magics as mlops
from mlops_magics.serving import server

from .conftest import make

pytestmark = pytest.mark.xdist_group("faults")


def kill(faulty, name):
    """Kill a process of the server; return when."""
    pid = faulty.pid(name)
    moment = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return moment


def back_after(load, moment):
    """Seconds from a moment to the first good answer of a request that was sent after it."""
    return (
        min(one.ended for one in load.outcomes if one.kind == "ok" and one.sent > moment) - moment
    )


def lost_with(load, moments, names=("gateway",)):
    """Tell requests that were lost with a killed gateway from failures."""
    killed = [moment for name, moment in moments if name in names]
    failures = load.failures()
    lost = [
        one
        for one in failures
        if one.kind == "reset" and any(one.opened <= moment < one.ended for moment in killed)
    ]
    return lost, [one for one in failures if one not in lost]


def test_of_two_workers_one_may_be_killed_and_no_request_fails(pair, figure):
    with pair.load("pair") as load:
        load.wait_for(50)
        # five times within a minute, and a worker would be given up, as it should be
        for round_ in range(8 if pair.soak else 2):
            kill(pair, f"r{revision(pair, 'pair')}-{round_ % 2}")
            load.wait_for(100)
            pair.settle()
    figure(dict(load.counts()))
    assert load.failures() == []
    pair.assert_logged_once(load)


def test_without_its_only_worker_the_answer_is_503_with_retry_after_and_never_a_reset(
    single, figure
):
    name = f"r{revision(single, 'single')}-0"
    with single.load("single") as load:
        load.wait_for(50)
        begun = server.processes(single.workspace)[name].started
        moment = kill(single, name)
        load.wait_for(1, "status 503")
        load.wait_for(50)
        single.settle()
    figure(f"{dict(load.counts())}, back after {back_after(load, moment):.1f} s")
    assert server.processes(single.workspace)[name].started > begun
    assert set(load.counts()) == {"ok", "status 503"}
    assert all(one.headers["retry-after"] == "1" for one in load.failures())
    single.assert_logged_once(load)


def test_a_killed_gateway_refuses_nobody_and_loses_nothing_that_it_has_acknowledged(pair, figure):
    moments, seconds = [], []
    with pair.load("pair") as load:
        load.wait_for(50)
        for _ in range(10 if pair.soak else 2):
            moments.append(("gateway", kill(pair, "gateway")))
            load.wait_for(100)
            seconds.append(back_after(load, moments[-1][1]))
            pair.settle()
    lost, failures = lost_with(load, moments)
    figure(f"{len(load.outcomes)} requests, {len(lost)} in flight, back after {max(seconds):.2f} s")
    assert failures == []
    assert len(lost) <= load.connections * len(moments)
    pair.assert_logged_once(load)
    if pair.soak:  # on a machine with nothing else to do
        assert max(seconds) < 2.0


def test_after_a_killed_supervisor_the_next_one_comes_by_itself_and_adopts_all(pair, figure):
    with pair.load("pair") as load:
        load.wait_for(50)
        before = server.processes(pair.workspace)
        for _ in range(5 if pair.soak else 1):
            kill(pair, "supervisor")
            load.wait_for(20)
            pair.settle()
        after = server.processes(pair.workspace)
        assert after.pop("supervisor") != before.pop("supervisor")
        assert after == before
        # it does its work: nobody has called a verb
        kill(pair, f"r{revision(pair, 'pair')}-0")
        load.wait_for(100)
        pair.settle()
    assert load.failures() == []
    assert pair.left().count("supervisor") == 1
    pair.assert_logged_once(load)


def test_supervisor_and_gateway_killed_together_come_back_on_the_socket_that_the_agent_holds(pair):
    with pair.load("pair") as load:
        load.wait_for(50)
        moments = [("gateway", kill(pair, "supervisor")), ("gateway", kill(pair, "gateway"))]
        load.wait_for(100)
        pair.settle()
    _, failures = lost_with(load, moments)
    assert failures == []
    assert sorted(set(pair.left())) == sorted(pair.left())
    pair.assert_logged_once(load)


def test_random_kills_lose_and_double_nothing_that_was_acknowledged(pair, figure):
    rng = random.Random(3)
    workers = [f"r{revision(pair, 'pair')}-{index}" for index in range(2)]
    names = ["gateway", "supervisor", "agent", *workers]
    moments, last = [], {name: [] for name in workers}
    with pair.load("pair", rate=200.0 if pair.soak else 100.0) as load:
        load.wait_for(20)
        for _ in range(50 if pair.soak else 8):
            # a worker that dies five times within a minute is given up, as it should be
            recent = [n for n in workers if sum(time.monotonic() - m < 60 for m in last[n]) > 2]
            name = rng.choice([n for n in names if n not in recent])
            moment = kill(pair, name)
            moments.append((name, moment))
            if name in last:
                last[name].append(moment)
            load.wait_for(20)
            pair.settle()
    lost, failures = lost_with(load, moments)
    figure(f"{len(moments)} kills, {dict(load.counts())}, {len(lost)} in flight")
    assert failures == []
    assert pair.left().count("supervisor") == pair.left().count("gateway") == 1
    pair.assert_logged_once(load)


def revision(faulty, endpoint):
    """The id of the revision that serves."""
    return mlops.endpoints(endpoint, workspace=faulty.workspace)[0].traffic[0]["revision"]


def test_the_jupyter_server_and_the_kernel_that_deployed_are_killed_and_serving_goes_on(fresh):
    faulty = fresh()
    package = faulty.package("one")
    cell = f"""
import os
import mlops_magics as mlops
mlops.deploy({package.uri!r}, "deployed")
print("kernel", os.getpid(), flush=True)
"""
    # as jupyter_server does: a process that owns the kernel
    host = f"""
import sys
from jupyter_client.manager import start_new_kernel
_, client = start_new_kernel(kernel_name="python3", cwd={str(faulty.workspace.root)!r})
client.execute_interactive({cell!r}, timeout=120, output_hook=lambda message: print(
    message["content"].get("text", ""), end="", flush=True))
sys.stdin.read()
"""
    try:
        with subprocess.Popen(
            [sys.executable, "-c", host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as jupyter:
            pids = [jupyter.pid]
            for line in jupyter.stdout:
                if line.startswith("kernel "):
                    pids.append(int(line.split()[1]))
                    break
            assert len(pids) == 2
            with faulty.load("deployed") as load:
                load.wait_for(50)
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                    load.wait_for(50)
        assert load.failures() == []
        faulty.assert_logged_once(load)
    finally:
        faulty.end()


def test_whoever_wants_the_port_of_a_server_under_load_is_told_its_owner_and_disturbs_nobody(
    pair, tmp_path_factory, workspace_template
):
    port = int(server.require(pair.workspace).url.rpartition(":")[2])
    owners = {identity.pid for identity in server.processes(pair.workspace).values()}
    other = make(tmp_path_factory.mktemp("other") / "project", workspace_template, False, port=port)
    with pair.load("pair") as load:
        load.wait_for(20)
        with pytest.raises(mlops.PortTaken, match=f":{port} is taken by") as caught:
            other.deploy("one", "late")
        load.wait_for(20)
    assert int(re.search(r"pid (\d+)", str(caught.value))[1]) in owners
    assert load.failures() == []
    # nothing is half registered
    assert not mlops.endpoints(workspace=other.workspace)
    assert other.left() == []
    assert server.processes(other.workspace) == {}
    other.workspace.database.close()
