"""Every bad input gets its status, a sentence, a line in the log; the next good one an answer."""

import gzip
import itertools
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.xdist_group("served")

INVOCATIONS = "/endpoints/mixed/invocations"
INFER = "/v2/models/mixed/infer"
TYPES = {"hour": "INT64", "seats": "INT32", "wind": "FP64", "carrier": "BYTES", "weekend": "BOOL"}
GOOD = {"hour": 7, "seats": 50, "wind": 3.5, "carrier": "UA", "weekend": False}
JSON = {"Content-Type": "application/json"}
PACKED = JSON | {"Content-Encoding": "gzip"}


def row(**change):
    values = {name: value for name, value in (GOOD | change).items() if value is not ...}
    return json.dumps({"dataframe_records": [values]}).encode()


def raw(**texts):
    """A row whose values are spelled out, as no JSON writer would."""
    values = {name: json.dumps(value) for name, value in GOOD.items()} | texts
    return (
        b'{"dataframe_records": [{%s}]}'
        % ", ".join(f'"{name}": {text}' for name, text in values.items()).encode()
    )


def split(columns, data):
    return json.dumps({"dataframe_split": {"columns": columns, "data": data}}).encode()


def tensors(name=None, outputs=None, drop=None, **change):
    inputs = [
        {"name": key, "shape": [1], "datatype": TYPES[key], "data": [value]}
        | (change if key == name else {})
        for key, value in GOOD.items()
        if key != drop
    ]
    return json.dumps({"inputs": inputs, **({"outputs": outputs} if outputs else {})}).encode()


LIMIT = 16 * 1024 * 1024
NAMES = list(GOOD)
VALUES = list(GOOD.values())

BODIES = {
    "empty": (b"", 400),
    "malformed": (b'{"dataframe_records": [', 400),
    "no object": (b"[]", 400),
    "null": (b"null", 400),
    "invalid UTF-8": (row().replace(b"UA", b"\xff\xfe"), 400),
    "duplicate key": (b'{"dataframe_records": [], "dataframe_records": []}', 400),
    "duplicate column in a record": (raw(hour='1, "hour": 2'), 400),
    "nesting of 120": (b'{"inputs": ' + b"[" * 120 + b"]" * 120 + b"}", 400),
    "nesting of 100,000": (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "objects nested 100,000 deep": (b'{"inputs": ' + b'{"a":' * 100_000, 400),
    "an integer of 5,000 digits": (raw(hour="9" * 5000), 400),
    "5,000 digits in a number": (raw(wind="9" * 5000), 400),
    "NaN": (raw(wind="NaN"), 400),
    "Infinity": (raw(wind="-Infinity"), 400),
    "1e400": (raw(wind="1e400"), 400),
    "missing column": (row(weekend=...), 400),
    "extra column": (row(gate=5), 400),
    "duplicate column": (split([*NAMES, "hour"], [[*VALUES, 7]]), 400),
    "text in a number": (row(wind="calm"), 400),
    '"7" in an integer': (row(hour="7"), 400),
    "1.5 in an integer": (row(hour=1.5), 400),
    "true in an integer": (row(hour=True), 400),
    "2^63 in an integer": (row(hour=2**63), 400),
    "2^31 in a 32-bit integer": (row(seats=2**31), 400),
    "null where not allowed": (row(hour=None), 400),
    "ragged rows": (split(NAMES, [VALUES, VALUES[:-1]]), 400),
    "name with a NUL": (row(**{"hour\0": 7}), 400),
    # é as one code point and as two are two names: columns are compared as they are written
    "name that is not normalised": (row(café=7), 400),
    "empty inputs": (b'{"inputs": {}}', 400),
    "unknown key": (b'{"rows": []}', 400),
    "two forms": (b'{"dataframe_records": [], "inputs": []}', 400),
    "unknown parameter": (b'{"dataframe_records": [], "params": {"threshold": 1}}', 400),
}
OPEN_INFERENCE = {
    "INT8 300": (tensors("seats", datatype="INT8", data=[300]), 400),
    "shape that disagrees": (tensors("hour", shape=[2]), 400),
    "negative shape": (tensors("hour", shape=[-1]), 400),
    "overflowing shape": (tensors("hour", shape=[2**62, 2**62]), 400),
    "shape beyond 64 bits": (tensors("hour", shape=[2**70]), 400),
    "unknown datatype": (tensors("hour", datatype="INT7"), 400),
    "unknown input": (tensors("hour", name_="x", drop="hour"), 400),
    "unknown output": (tensors(outputs=[{"name": "none"}]), 400),
    "the same output twice": (tensors(outputs=[{"name": "prediction"}] * 2), 400),
    "no inputs": (b'{"inputs": []}', 400),
    "no data": (json.dumps({"inputs": [{"name": "hour", "shape": [1], "datatype": "INT64"}]}), 400),
    "classification": (
        tensors(outputs=[{"name": "prediction", "parameters": {"classification": 2}}]),
        400,
    ),
    "shared memory": (tensors("hour", parameters={"shared_memory_region": "x"}), 400),
    "sequence": (tensors()[:-1] + b', "parameters": {"sequence_id": 5}}', 400),
}
HEADED = {
    "no content type": (row(), {}, 415),
    "wrong content type": (row(), {"Content-Type": "text/html"}, 415),
    "unknown encoding": (row(), JSON | {"Content-Encoding": "br"}, 415),
    "false gzip": (row(), PACKED, 400),
    "gzip that is cut off": (gzip.compress(row())[:-8], PACKED, 400),
    "gzip bomb": (gzip.compress(b" " * (64 * 1024 * 1024)), PACKED, 413),
    "body over the limit": (b" " * (64 * 1024 * 1024), JSON, 413),
}


def refusal(served, client, path, body, headers, status):
    """Post, and check what every refusal must be."""
    key = f"bad-{time.monotonic_ns()}"
    response = client.post(path, content=body, headers=headers | {"X-Request-Id": key})
    assert response.status_code == status, response.text[:300]
    assert set(response.json()) == {"error"}
    assert isinstance(response.json()["error"], str)
    for leak in ("Traceback", 'File "', str(served.workspace.root), "site-packages", ".py"):
        assert leak not in response.text
    assert client.post(INVOCATIONS, content=row(), headers=JSON).status_code == 200
    return key, response


def logged(served, key):
    """The lines of a client's id: in the spool, or already in the inference table."""
    from mlops_magics.store import tables

    found = []
    for segment in (served.workspace.path / "server" / "spool").glob("*.jsonl"):
        lines = [line for line in segment.read_bytes().splitlines() if key.encode() in line]
        found += [(line["id"], line["status"]) for line in map(json.loads, lines)]
    t = tables.predictions.c
    with served.workspace.database.read() as connection:
        query = tables.predictions.select().where(t.request_id == key)
        found += [(one.prediction_id, one.status) for one in connection.execute(query)]
    return set(found)


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused(served, name):
    body, status = BODIES[name]
    with served.client() as client:
        key, _ = refusal(served, client, INVOCATIONS, body, JSON, status)
    assert [status for _, status in logged(served, key)] == [400]


@pytest.mark.parametrize("name", OPEN_INFERENCE)
def test_a_bad_inference_request_is_refused(served, name):
    body, status = OPEN_INFERENCE[name]
    with served.client() as client:
        key, _ = refusal(served, client, INFER, body, JSON, status)
    assert [status for _, status in logged(served, key)] == [400]


@pytest.mark.parametrize("name", HEADED)
def test_a_bad_head_or_coding_is_refused(served, name):
    body, headers, status = HEADED[name]
    with served.client() as client:
        key, _ = refusal(served, client, INVOCATIONS, body, headers, status)
    assert [found for _, found in logged(served, key)] == [status]


def test_an_empty_batch_gets_an_empty_answer_and_shuffled_columns_their_own(served):
    with served.client() as client:
        empty = client.post(INVOCATIONS, content=b'{"dataframe_records": []}', headers=JSON)
        assert empty.json() == {"predictions": []}
        straight = client.post(INVOCATIONS, content=split(NAMES, [VALUES]), headers=JSON)
        shuffled = client.post(
            INVOCATIONS, content=split(NAMES[::-1], [VALUES[::-1]]), headers=JSON
        )
        assert straight.json() == shuffled.json()


def test_what_is_not_there_is_404_and_another_method_405(served):
    with served.client() as client:
        for path in (
            "/endpoints/none/invocations",
            "/v2/models/none/infer",
            "/v2/models/mixed/versions/99/infer",
            "/endpoints/mixed%00/invocations",
            "/nothing",
        ):
            response = client.post(path, content=row(), headers=JSON)
            assert response.status_code == 404, path
            assert set(response.json()) == {"error"}
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            response = client.request(method, INVOCATIONS)
            assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def exchange(served, *parts, end=True, pause=0.0):
    """Send bytes as they are; return all that comes back until the server closes."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        for part in parts:
            time.sleep(pause)
            try:
                connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break  # refused early
        answer = b""
        if end:
            try:
                while got := connection.recv(65536):
                    answer += got
            except ConnectionResetError:
                pass
    return answer


def head(served, *lines):
    host = served.url.removeprefix("http://")
    own = [f"POST {INVOCATIONS} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    own.append(f"Authorization: Bearer {served.workspace.token}")
    return ("\r\n".join([*own, *lines]) + "\r\n\r\n").encode()


def status_of(answer):
    top, _, body = answer.partition(b"\r\n\r\n")
    assert set(json.loads(body)) == {"error"}
    return int(top.split()[1])


@pytest.mark.parametrize("cuts", [(), (60_000,), (65_600,), (-2,)])
def test_a_head_over_64_kib_is_431_however_it_arrives(served, cuts):
    whole = head(served, "X-Long: " + "x" * 70_000)
    edges = [0, *(cut % len(whole) for cut in cuts), len(whole)]
    parts = [whole[a:b] for a, b in itertools.pairwise(edges)]
    assert status_of(exchange(served, *parts, pause=0.2)) == 431


def test_a_head_whose_end_comes_in_two_parts_may_have_a_large_body(served):
    body = row() + b" " * 100_000
    whole = head(served, f"Content-Length: {len(body)}", "Connection: close")
    answer = exchange(served, whole[:-2], whole[-2:] + body, pause=0.2)
    assert int(answer.split()[1]) == 200


def test_a_chunked_body_is_refused_as_soon_as_it_is_over_the_limit(served):
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    most = served.workspace.settings.max_body // 0x100000 + 80  # never ended: refused before
    answer = exchange(served, head(served, "Transfer-Encoding: chunked"), *[chunk] * most)
    # a client that is still sending may find its connection closed instead
    assert not answer or status_of(answer) == 413
    with served.client() as client:
        assert client.post(INVOCATIONS, content=row(), headers=JSON).status_code == 200


def test_a_declared_length_over_the_limit_is_refused_before_the_body_comes(served):
    assert status_of(exchange(served, head(served, "Content-Length: 99999999999"))) == 413


def test_a_request_whose_head_or_body_is_slow_is_408(served):
    parts = [
        head(served, "Content-Length: 5")[:-2],
        head(served, "Content-Length: 500") + b'{"dataframe',
    ]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda part: exchange(served, part), parts))
    assert [status_of(answer) for answer in answers] == [408, 408]


def test_a_client_that_goes_away_in_the_middle_harms_nobody(served):
    for _ in range(20):
        exchange(served, head(served, "Content-Length: 500") + b'{"data', end=False)
        exchange(served, head(served)[:40], end=False)
    with served.client() as client:
        assert client.post(INVOCATIONS, content=row(), headers=JSON).status_code == 200


def test_lengths_that_contradict_each_other_are_400(served):
    both = head(served, "Content-Length: 5", "Content-Length: 6")
    assert status_of(exchange(served, both + b"{}   ")) == 400


def troubled(data):
    """Answer NaN for 1, raise for 2, answer what cannot be serialised for 3."""
    import numpy as np

    if (data["what"] == 2).any():
        raise ValueError("/secret/path of the model")
    if (data["what"] == 3).any():
        return np.array([object()] * len(data))
    return np.where(data["what"] == 1, np.nan, np.where(data["what"] == 4, np.inf, 0.5))


def test_a_model_in_trouble_answers_null_or_500_with_an_id_and_numbers_survive(workspace):
    import httpx
    import pandas as pd

    import mlops_magics as mlops

    rows = pd.DataFrame({"what": [0, 1], "when": pd.to_datetime(["2013-01-01", "2014-01-01"])})
    packed = mlops.package(troubled, name="troubled", data=rows, workspace=workspace)
    endpoint = mlops.deploy(packed, "troubled", workspace=workspace)
    base = endpoint.url.partition("/endpoints/")[0]
    headers = {"Authorization": f"Bearer {workspace.token}"}
    with httpx.Client(base_url=base, headers=headers, timeout=30, trust_env=False) as client:

        def ask(what, when="2013-01-01T05:00:00"):
            body = {"dataframe_records": [{"what": what, "when": when}]}
            return client.post("/endpoints/troubled/invocations", json=body)

        assert [ask(what).json()["predictions"] for what in (0, 1, 4)] == [[0.5], [None], [None]]
        for what, message in [
            (2, "the model raised ValueError"),
            (3, "the model's outputs cannot be serialised"),
        ]:
            failed = ask(what)
            assert failed.status_code == 500
            assert failed.json()["error"].startswith(message)
            assert failed.headers["X-Prediction-Id"] in failed.json()["error"]
            assert "secret" not in failed.text
        assert ask(2**53 + 1).status_code == 200
        assert ask(0, "2013-01-01T05:00:00Z").status_code == 200
        for when in ("10000-01-01T00:00:00", "2013-02-30T00:00:00", "yesterday", 5, "2013-01-01"):
            refused = ask(0, when)
            assert refused.status_code == 400
            assert "row 0, column 'when': expected a date" in refused.json()["error"]
    spooled = b"".join(
        one.read_bytes() for one in (workspace.path / "server" / "spool").glob("*.jsonl")
    )
    assert b"9007199254740993" in spooled or _stored(workspace, 2**53 + 1)


def _stored(workspace, number):
    from mlops_magics.store import tables

    with workspace.database.read() as connection:
        found = connection.execute(tables.predictions.select()).all()
    return any((one.inputs or {}).get("what") == number for one in found)
