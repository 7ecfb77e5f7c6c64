"""Predictions that are answered without a task: the same answers, in order, on one connection."""

import json
import socket

import numpy as np
import pytest

pytestmark = pytest.mark.xdist_group("served")


def raw(served, *requests, read_until_closed=True):
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"".join(requests))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def request(served, body, *headers, path="/endpoints/mixed/invocations", version="1.1"):
    head = [
        f"POST {path} HTTP/{version}",
        f"Host: {served.url.removeprefix('http://')}",
        f"Authorization: Bearer {served.workspace.token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def row(served, count=1):
    return json.dumps({"dataframe_records": [served.values()] * count}).encode()


def test_pipelined_requests_are_answered_in_order(served):
    requests = [request(served, row(served), f"X-Request-Id: p{number}") for number in range(5)]
    last = request(served, row(served), "X-Request-Id: p5", "Connection: close")
    answer = raw(served, *requests, last)
    ids = [
        line.split(b": ")[1] for line in answer.split(b"\r\n") if line.startswith(b"x-request-id")
    ]
    assert ids == [b"p0", b"p1", b"p2", b"p3", b"p4", b"p5"]
    assert answer.count(b"HTTP/1.1 200 OK") == 6


def test_a_large_body_gets_what_a_small_one_gets(served):
    small = raw(served, request(served, row(served), "Connection: close"))
    large = raw(served, request(served, row(served, 2000), "Connection: close"))
    (one,) = json.loads(small.split(b"\r\n\r\n")[1])["predictions"]
    many = json.loads(large.split(b"\r\n\r\n")[1])["predictions"]
    np.testing.assert_allclose(many, [one] * 2000, rtol=1e-12)
    names = [
        {line.split(b":")[0] for line in answer.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
        for answer in (small, large)
    ]
    assert names[0] == names[1] >= {b"x-model-version", b"x-variant", b"x-prediction-id"}


def test_an_answer_to_http_1_0_closes_the_connection(served):
    answer = raw(served, request(served, row(served), version="1.0"))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer


def test_a_client_that_expects_100_continue_gets_it(served):
    headers = ("Expect: 100-continue", "Connection: close")
    answer = raw(served, request(served, row(served), *headers))
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
