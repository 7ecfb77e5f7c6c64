"""The gateway, asked over HTTP; behind it the real processes."""

import gzip
import json
import os
import signal
import time

import httpx
import numpy as np
import pytest

import mlops_magics as mlops
from mlops_magics.serving import server
from mlops_magics.serving.access import OPEN_PATHS
from mlops_magics.serving.routes import ROUTES

pytestmark = pytest.mark.xdist_group("served")

INVOCATIONS = "/endpoints/mixed/invocations"
INFER = "/v2/models/mixed/infer"
TYPES = {"hour": "INT64", "seats": "INT32", "wind": "FP64", "carrier": "BYTES", "weekend": "BOOL"}


def records(*rows):
    return {"dataframe_records": list(rows)}


def tensors(row):
    return {
        "inputs": [
            {"name": name, "shape": [1], "datatype": TYPES[name], "data": [value]}
            for name, value in row.items()
        ]
    }


def test_the_same_row_gives_the_same_answer_by_every_protocol_and_in_python(served):
    row = served.values()
    expected = served.model.predict_proba(served.rows.head(1))[0]
    text = ",".join(row) + "\n" + ",".join("" if v is None else str(v) for v in row.values())
    bodies = [
        {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}},
        {"dataframe_split": {"columns": list(row)[::-1], "data": [list(row.values())[::-1]]}},
        records(row),
        {"instances": [row]},
        {"instances": [list(row.values())]},
        {"inputs": {name: [value] for name, value in row.items()}},
    ]
    with served.client() as client:
        answers = [client.post(INVOCATIONS, json=body).json() for body in bodies]
        answers.append(
            client.post(INVOCATIONS, content=text, headers={"Content-Type": "text/csv"}).json()
        )
        infer = client.post(INFER, json=tensors(row)).json()
    for answer in answers:
        np.testing.assert_array_equal(answer["predictions"][0], expected)
    np.testing.assert_array_equal(infer["outputs"][0]["data"], expected)
    assert infer["outputs"][0]["shape"] == [1, 2]
    predicted = mlops.predict("mixed", served.rows.head(5), workspace=served.workspace)
    np.testing.assert_array_equal(predicted.values, served.model.predict_proba(served.rows.head(5)))


def test_answers_name_request_version_variant_and_revision(served):
    with served.client() as client:
        response = client.post(
            INVOCATIONS, json=records(served.values()), headers={"X-Request-Id": "mine-1"}
        )
    assert response.headers["X-Request-Id"] == "mine-1"
    assert response.headers["X-Variant"] == "champion"
    assert response.headers["X-Revision"] == "1"
    assert response.headers["X-Model-Version"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hour": "7"}, "row 0, column 'hour': expected a 64-bit integer, got text"),
        ({"hour": 1.5}, "column 'hour': expected a 64-bit integer, got a number with a fraction"),
        ({"hour": True}, "column 'hour': expected a 64-bit integer, got a truth value"),
        ({"hour": None}, "column 'hour': expected a 64-bit integer, got null"),
        ({"hour": 2**63}, "column 'hour': out of the range of a 64-bit integer"),
        ({"seats": 2**31}, "column 'seats': out of the range of a 32-bit integer"),
        ({"wind": "calm"}, "column 'wind': expected a number, got text"),
        ({"carrier": 5}, "column 'carrier': expected text, got an integer"),
        ({"weekend": 1}, "column 'weekend': expected true or false, got an integer"),
        ({"gate": 5}, "row 0: unknown column 'gate'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_row_and_column(served, change, message):
    with served.client() as client:
        refused = client.post(INVOCATIONS, json=records(served.values() | change))
        assert refused.status_code == 400
        assert message in refused.json()["error"]
        assert client.post(INVOCATIONS, json=records(served.values())).status_code == 200


def test_a_missing_column_is_named_and_an_optional_one_may_be_absent(served):
    row = served.values()
    with served.client() as client:
        split = {"columns": ["hour", "seats", "wind", "carrier"], "data": [[1, 50, 3.5, "UA"]]}
        missing = client.post(INVOCATIONS, json={"dataframe_split": split})
        assert missing.status_code == 400
        assert missing.json()["error"] == "missing column 'weekend'"
        without = {name: value for name, value in row.items() if name != "hour"}
        refused = client.post(INVOCATIONS, json=records(without))
        assert refused.json()["error"] == "row 0: missing column 'hour'"
        absent = {name: value for name, value in row.items() if name != "wind"}
        answers = [
            client.post(INVOCATIONS, json=records(r)) for r in (absent, row | {"wind": None})
        ]
        assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b'{"dataframe_records": 5}', 400),
        (b'{"dataframe_records": [], "instances": []}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"dataframe_split": {"columns": ["hour", "hour"], "data": []}}', 400),
        (b'{"dataframe_records": [], "dataframe_records": []}', 400),
        (b'{"inputs": ' + b"9" * 5000 + b"}", 400),
        (b'{"dataframe_records": [{"hour": NaN}]}', 400),
        (b'{"dataframe_records": []}', 200),
    ],
)
def test_a_malformed_body_is_refused_without_a_traceback(served, body, status):
    with served.client(**{"Content-Type": "application/json"}) as client:
        response = client.post(INVOCATIONS, content=body)
        assert response.status_code == status
        if status == 400:
            assert set(response.json()) == {"error"}
            assert "Traceback" not in response.text
            assert str(served.workspace.root) not in response.text
        assert client.post(INVOCATIONS, json=records(served.values())).status_code == 200


def test_a_key_that_is_there_twice_is_refused(served):
    text = json.dumps(records(served.values())).replace('"hour":', '"hour": 1, "hour":')
    with served.client(**{"Content-Type": "application/json"}) as client:
        response = client.post(INVOCATIONS, content=text)
    assert (response.status_code, response.json()) == (400, {"error": "duplicate key 'hour'"})


def test_other_faults_get_their_own_status(served):
    body = json.dumps(records(served.values())).encode()
    limit = served.workspace.settings.max_body
    kind = {"Content-Type": "application/json"}
    packed = kind | {"Content-Encoding": "gzip"}
    with served.client() as client:
        assert client.get(INVOCATIONS).status_code == 405
        assert client.post("/endpoints/none/invocations", content=body).status_code == 404
        assert client.post(INVOCATIONS, content=body).status_code == 415
        assert client.post(INVOCATIONS, content=b" " * (limit + 1), headers=kind).status_code == 413
        bomb = gzip.compress(b" " * (limit + 1))
        assert client.post(INVOCATIONS, content=bomb, headers=packed).status_code == 413
        assert client.post(INVOCATIONS, content=body, headers=packed).status_code == 400
        good = client.post(INVOCATIONS, content=gzip.compress(body), headers=packed)
        assert good.status_code == 200
        head = kind | {"X-Long": "x" * 70_000}
        assert client.post(INVOCATIONS, content=body, headers=head).status_code == 431


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_asks_for_the_token_but_liveness(served, route):
    path = route.path.format(name="mixed", version="1", id="1")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        response = httpx.request(route.method, served.url + path, headers=headers)
        assert response.status_code == (200 if path in OPEN_PATHS else 401), path


def test_a_foreign_host_or_origin_is_refused_even_with_the_token(served):
    with served.client() as client:
        assert client.get("/health", headers={"Host": "attacker.example"}).status_code == 403
        foreign = {"Origin": "http://attacker.example"}
        assert client.get("/health", headers=foreign).status_code == 403
        assert client.get("/health", headers={"Origin": served.url}).status_code == 200


def test_open_inference_metadata_and_readiness(served):
    with served.client() as client:
        model = client.get("/v2/models/mixed").json()
        version = model["versions"][0]
        assert {entry["name"]: entry["datatype"] for entry in model["inputs"]} == TYPES
        assert client.get("/v2").json()["name"] == "mlops_magics"
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/health/ready").json() == {"ready": True}
        assert client.get(f"/v2/models/mixed/versions/{version}/ready").json()["ready"] is True
        row = served.values()
        assert client.post(
            f"/v2/models/mixed/versions/{version}/infer", json=tensors(row)
        ).is_success
        assert (
            client.post("/v2/models/mixed/versions/99/infer", json=tensors(row)).status_code == 404
        )
        wrong = tensors(row)
        wrong["inputs"][0]["shape"] = [2]
        assert "shape [2] for 1 values" in client.post(INFER, json=wrong).json()["error"]
        wrong = tensors(row)
        wrong["inputs"][1] |= {"datatype": "INT8", "data": [300]}
        assert "300 at 0 is no INT8" in client.post(INFER, json=wrong).json()["error"]


def test_an_infinite_number_is_named_before_anything_is_sent(served):
    rows = served.rows.head(3).assign(wind=[1.0, -np.inf, np.nan])
    for data in (rows, rows.to_dict("records")):
        with pytest.raises(mlops.InvalidArgument, match="row 1, column 'wind': an infinite number"):
            mlops.predict("mixed", data, workspace=served.workspace)


def test_each_request_leaves_a_line_in_the_spool_the_refused_too(served):
    row = served.values()
    with served.client() as client:
        good = client.post(INVOCATIONS, json=records(row), headers={"X-Request-Id": "good-1"})
        client.post(INVOCATIONS, json=records({"hour": 1}), headers={"X-Request-Id": "bad-1"})
    # the agent may have taken older segments away; what was just written is in the newest
    newest = sorted((served.workspace.path / "server" / "spool").glob("*.jsonl"))[-1]
    lines = {line["client_id"]: line for line in map(json.loads, newest.read_text().splitlines())}
    line = lines["good-1"]
    assert line["id"] == good.headers["X-Prediction-Id"]
    assert dict(zip(line["columns"], line["rows"][0], strict=True)) == row
    assert line["outputs"] == good.json()["predictions"]
    assert (line["status"], line["endpoint"], line["variant"]) == (200, "mixed", "champion")
    assert lines["bad-1"]["status"] == 400
    assert "missing column" in lines["bad-1"]["error"]


def test_metrics_count_answers_by_status(served):
    with served.client() as client:
        client.post(INVOCATIONS, json=records(served.values()))
        text = client.get("/metrics").text
    assert 'mlops_requests_total{endpoint="mixed"' in text
    assert 'status="200"' in text
    assert 'mlops_workers_ready{endpoint="mixed",revision="1",' in text


def test_a_killed_worker_is_answered_for_and_started_again(served):
    body = records(served.values())
    worker = server.processes(served.workspace)["r1-0"]
    os.kill(worker.pid, signal.SIGKILL)
    with served.client() as client:
        statuses = []
        end = time.monotonic() + 60
        while time.monotonic() < end:
            response = client.post(INVOCATIONS, json=body)
            statuses.append(response.status_code)
            if response.status_code == 503:
                assert response.headers["Retry-After"] == "1"
            if response.status_code == 200 and server.processes(served.workspace)["r1-0"] != worker:
                break
            time.sleep(0.05)
    assert set(statuses) <= {200, 503}
    assert statuses[-1] == 200


def test_a_killed_gateway_comes_back_on_the_same_socket(served):
    gateway = server.find(served.workspace).gateway
    os.kill(gateway.pid, signal.SIGKILL)
    # the supervisor holds the listener: a new connection waits, none is refused
    with served.client() as client:
        end = time.monotonic() + 60
        while client.post(INVOCATIONS, json=records(served.values())).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert server.find(served.workspace).gateway != gateway


def test_a_new_supervisor_adopts_what_a_killed_one_has_left(served):
    before = server.processes(served.workspace)
    os.kill(before["supervisor"].pid, signal.SIGKILL)
    with served.client() as client:
        assert client.post(INVOCATIONS, json=records(served.values())).status_code == 200
        server.start(served.workspace)
        after = server.processes(served.workspace)
        assert client.post(INVOCATIONS, json=records(served.values())).status_code == 200
    assert after["supervisor"] != before["supervisor"]
    assert {name: after[name] for name in ("gateway", "r1-0")} == {
        name: before[name] for name in ("gateway", "r1-0")
    }
