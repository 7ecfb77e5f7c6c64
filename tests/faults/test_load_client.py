"""The load client itself: no failure escapes it."""

import socket
import threading
from collections import Counter

import pytest
from load_client import Load, predicts

GOOD = b'{"predictions":[1.0]}'


def answer(status=b"200 OK", body=GOOD, version=b"1"):
    head = b"HTTP/1.1 %s\r\nX-Model-Version: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (status, version, len(body)) + body


@pytest.fixture
def server():
    """A server that gives prepared answers in turn; None: it resets the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    answers = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while connection.recv(65536):
                    prepared = answers.pop(0) if answers else answer()
                    if prepared is None:
                        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        break
                    connection.sendall(prepared)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener, answers
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def load(port, **options):
    options = {"rate": None, "connections": 1} | options
    check = predicts({"1": 1.0, "2": 2.0})
    return Load(f"http://127.0.0.1:{port}", "t", "/", b"{}", check, **options)


def test_every_kind_of_failure_is_counted_as_what_it_is(server):
    listener, answers = server
    answers += [
        answer(),
        answer(b"503 Service Unavailable"),
        answer(version=b"2"),
        answer(version=b"3"),
        answer(body=b'{"predictions":[2.0]}'),
        None,
        answer()[:-5],
        answer(version=b"2", body=b'{"predictions":[2.0]}'),
    ]
    with load(listener.getsockname()[1], timeout=0.3) as asked:
        asked.wait_for(3)
    counts = asked.counts()
    assert counts.pop("ok") >= 3
    assert counts == Counter({"wrong": 3, "status 503": 1, "reset": 1, "timeout": 1})


def test_refused_connections_are_counted():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with load(port) as asked:
        asked.wait_for(3, "refused")
    assert set(asked.counts()) == {"refused"}


def test_a_rate_is_kept_to(server):
    listener, _ = server
    with load(listener.getsockname()[1], rate=50.0) as asked:
        asked.wait_for(20)
    first, last = asked.outcomes[0].sent, asked.outcomes[-1].sent
    assert len(asked.outcomes) <= 50.0 * (last - first) + 10
    assert not asked.failures()
