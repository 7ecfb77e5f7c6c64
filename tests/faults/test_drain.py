"""The end of a server under load, clients that are slow, and pids that are another's by now."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import mlops_magics as mlops
from mlops_magics.serving import server
from mlops_magics.store.processes import Identity

pytestmark = pytest.mark.xdist_group("faults")


@pytest.mark.parametrize("how", ["mlops stop", "SIGTERM"])
def test_a_server_that_ends_under_load_answers_what_it_has_accepted(pair, how):
    with pair.load("pair") as load:
        load.wait_for(50)
        begun = time.monotonic()
        if how == "SIGTERM":
            supervisor = server.processes(pair.workspace)["supervisor"]
            os.kill(supervisor.pid, signal.SIGTERM)
            while pair.left():
                time.sleep(0.05)
        else:
            mlops.stop(workspace=pair.workspace)
        load.wait_for(3, "refused")
    assert pair.left() == []
    assert any(one.kind == "ok" and one.sent > begun for one in load.outcomes)
    assert set(load.counts()) == {"ok", "refused"}
    # what the agent had no time for, it loads when it is back
    pair.ensure("pair", 2)
    pair.assert_logged_once(load)


@pytest.mark.parametrize(
    "killed",
    [["supervisor"], ["gateway", "supervisor"], ["supervisor", "agent", "gateway"], ["workers"]],
    ids=" ".join,
)
def test_nothing_is_left_after_a_stop_whatever_was_killed_before(pair, killed):
    running = server.processes(pair.workspace)
    for name, identity in running.items():
        if name in killed or ("workers" in killed and name.startswith("r")):
            os.kill(identity.pid, signal.SIGKILL)
    mlops.stop(workspace=pair.workspace)
    assert pair.left() == []
    assert not any(identity.alive() for identity in running.values())
    assert not list((pair.workspace.path / "server" / "workers").glob("*.json"))


def test_a_process_that_has_a_recorded_pid_by_now_is_never_signalled(workspace):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        real = Identity.of(foreign.pid)
        stale = [
            Identity(real.pid, real.started - 3600, real.boot),
            Identity(real.pid, real.started, "another-boot"),
        ]
        folder = workspace.directory("server")
        workers = workspace.directory("server", "workers")
        for recorded in stale:
            assert not recorded.signal(signal.SIGKILL)
            value = recorded.to_dict()
            state = {"host": "127.0.0.1", "port": 1, "started": 1.0, "supervisor": value}
            (folder / "server.json").write_text(
                json.dumps(state | {"gateway": value, "agent": value})
            )
            (workers / "r1-0.json").write_text(json.dumps({"state": "ready", "identity": value}))
            assert server.processes(workspace) == {}
            assert mlops.stop(workspace=workspace).processes == 0
        assert foreign.poll() is None
        foreign.communicate(b"\n")


def test_slow_clients_are_closed_and_others_are_answered_meanwhile(pair, figure):
    host, port = server.require(pair.workspace).url.removeprefix("http://").split(":")
    head = b"POST /endpoints/pair/invocations HTTP/1.1\r\nHost: x\r\nX-Slow: "

    with pair.load("pair") as alone:
        alone.wait_for(1000 if pair.soak else 50)
    slow = [socket.create_connection((host, int(port)), timeout=60) for _ in range(200)]
    ending = threading.Event()

    def drip():
        while not ending.wait(0.5):
            for one in slow:
                try:
                    one.sendall(b"x")
                except OSError:
                    continue

    for one in slow:
        one.sendall(head)
    thread = threading.Thread(target=drip)
    begun = time.monotonic()
    thread.start()
    try:
        with pair.load("pair") as load:
            for one in slow:
                answer = b""
                while part := receive(one):
                    answer += part
                # nothing, where the answer was overtaken by the reset of what was sent after it
                assert not answer or answer.startswith(b"HTTP/1.1 408")
            seconds = time.monotonic() - begun
            load.wait_for(50)
    finally:
        ending.set()
        thread.join()
        for one in slow:
            one.close()
    figure(
        f"closed after {seconds:.1f} s; p99 {load.seconds(99) * 1000:.1f} ms "
        f"beside {alone.seconds(99) * 1000:.1f} ms alone"
    )
    assert load.failures() == []
    if pair.soak:  # on a machine with nothing else to do
        assert seconds < 12
        assert load.seconds(99) < 2 * alone.seconds(99)


def receive(one):
    """Receive, or tell of a reset: the byte that came after the close."""
    try:
        return one.recv(4096)
    except ConnectionResetError:
        return b""
