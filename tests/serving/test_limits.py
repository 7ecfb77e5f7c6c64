"""Slow and oversized requests are ended; a drain finishes what has begun."""

import socket
import threading
import time

import pytest

import mlops_magics as mlops
from mlops_magics.serving import connection, server

pytestmark = pytest.mark.xdist_group("served")


class Told:
    """A connection that waits since a moment, and notes what it was refused with."""

    def __init__(self, since):
        self.waiting_since = since
        self.status = None

    def refuse(self, status, message):
        self.status = status


def test_only_connections_that_wait_too_long_are_closed():
    slow, fresh, idle = Told(0.0), Told(8.0), Told(None)
    assert connection.close_slow({slow, fresh, idle}, now=10.5) == 1
    assert (slow.status, fresh.status, idle.status) == (408, None, None)


def test_what_is_no_http_gets_400_as_json(served):
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as stray:
        stray.sendall(b"\x16\x03\x01 no http\r\n\r\n")
        answer = b""
        while part := stray.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'{"error":' in answer


def test_a_version_swap_under_load_fails_no_request(served):
    failures, answered = [], []
    ending = threading.Event()

    def ask():
        with served.client() as client:
            while not ending.is_set():
                body = {"dataframe_records": [served.values()]}
                response = client.post("/endpoints/mixed/invocations", json=body)
                answered.append(response.headers["X-Revision"])
                if response.status_code != 200:
                    failures.append(response.text)
                time.sleep(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        version = mlops.endpoints("mixed", workspace=served.workspace)[0].version
        swapped = mlops.deploy(f"models:/{version}", "mixed", workspace=served.workspace)
    finally:
        time.sleep(0.2)
        ending.set()
        thread.join()
    assert failures == []
    assert answered[0] != answered[-1] == str(swapped.revisions[0]["id"])
    assert f"r{answered[0]}-0" in server.processes(served.workspace)  # warm, for a rollback
    back = mlops.rollback("mixed", workspace=served.workspace)
    assert back.traffic[0]["revision"] == int(answered[0])
