"""After the kernel that made everything was killed, everything is there and serves."""

import json
import subprocess
import sys

import httpx
import numpy as np
import pytest

import mlops_magics as mlops

# one server for all of these: they stay in one process of the test run
pytestmark = pytest.mark.xdist_group("road")


@pytest.fixture
def flights(road, monkeypatch):
    monkeypatch.syspath_prepend(str(road.workspace.root / "flight_delay"))
    import flights

    return flights


@pytest.fixture
def row(flights):
    """One flight with a value in every column."""
    frame = flights.load(3, rows=2000)[flights.FEATURES].dropna()
    return frame.head(1).reset_index(drop=True)


@pytest.fixture
def http(road):
    endpoint = mlops.endpoints("flight-delay", workspace=road.workspace)[0]
    base = endpoint.url.split("/endpoints/")[0]
    headers = {"Authorization": f"Bearer {road.workspace.token}"}
    with httpx.Client(base_url=base, headers=headers, timeout=30) as client:
        yield client


def shell(road, *arguments):
    """Run the command as a person would, in the project's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "mlops_magics", *arguments],
        cwd=road.workspace.root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_endpoint_answers_after_its_kernel_was_killed(road, row):
    answer = mlops.predict("flight-delay", row, workspace=road.workspace)
    assert len(answer.df) == 1


@pytest.mark.parametrize(
    ("arguments", "function"),
    [
        (["runs"], "runs"),
        (["registry"], "model_versions"),
        (["endpoints"], "endpoints"),
    ],
)
def test_shell_kernel_and_python_see_the_same(road, kernel, arguments, function):
    seen_by_shell = json.loads(shell(road, *arguments, "--json"))
    python = json.loads(json.dumps(getattr(mlops, function)(workspace=road.workspace).to_dict()))
    kernel.run("%load_ext mlops_magics")
    kernel.run(f"found = %mlops {' '.join(arguments)}")
    seen_by_kernel = json.loads(kernel.run("import json; print(json.dumps(found.to_dict()))"))
    assert seen_by_shell == python == seen_by_kernel
    assert python["rows"]


def test_the_inference_table_holds_every_flight_that_was_asked(road):
    table = json.loads(shell(road, "predictions", "flight-delay", "--limit", "5000", "--json"))
    ids = [entry["prediction_id"] for entry in table["rows"]]
    assert len(ids) == len(set(ids)) >= 2000
    assert {entry["version"] for entry in table["rows"] if entry["status"] == 200} == {"1"}


def test_both_protocols_and_python_give_the_same_answer(road, row, http):
    mlflow_answer = http.post(
        "/endpoints/flight-delay/invocations",
        json={"dataframe_split": json.loads(row.to_json(orient="split", index=False))},
    )
    kinds = {"int64": "INT64", "float64": "FP64", "str": "BYTES"}
    infer = http.post(
        "/v2/models/flight-delay/infer",
        json={
            "inputs": [
                {
                    "name": name,
                    "shape": [1],
                    "datatype": kinds[str(row[name].dtype)],
                    "data": row[name].tolist(),
                }
                for name in row
            ]
        },
    )
    assert mlflow_answer.status_code == infer.status_code == 200, infer.text
    from mlops_magics.store import models

    ref = models.resolve(road.workspace, "flight-delay@champion")
    expected = np.asarray(models.load(models.fetch(road.workspace, ref)).predict(row))[0]
    np.testing.assert_allclose(mlflow_answer.json()["predictions"][0], expected, rtol=0, atol=0)
    np.testing.assert_allclose(infer.json()["outputs"][0]["data"], expected, rtol=0, atol=0)
    assert infer.json()["outputs"][0]["shape"] == [1, 2]
    assert mlflow_answer.headers["x-model-version"] == "1"


def _ask(http, record, **options):
    return http.post(
        "/endpoints/flight-delay/invocations",
        json={"dataframe_records": [record]},
        **options,
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"distance": None}, "distance"),
        ({"hour": "7"}, "hour"),
        ({"hour": 1.5}, "hour"),
        ({"hour": True}, "hour"),
        ({"hour": 2**63}, "hour"),
        ({"gate": 1}, "gate"),
    ],
)
def test_a_bad_value_is_refused_by_name_and_the_next_request_is_unharmed(row, http, change, named):
    record = json.loads(row.to_json(orient="records"))[0]
    bad = {**record, **change}
    if change == {"distance": None}:
        del bad["distance"]
    refused = _ask(http, bad)
    assert refused.status_code == 400
    assert named in refused.json()["error"]
    assert _ask(http, record).status_code == 200


def test_the_line_that_the_card_gives_for_a_shell_answers(road):
    endpoint = mlops.endpoints("flight-delay", workspace=road.workspace)[0]
    assert endpoint.curl in str(endpoint)
    done = subprocess.run(["bash", "-c", endpoint.curl], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["predictions"], done.stderr


def test_labelled_rows_can_be_given_as_they_are(road, flights):
    labelled = flights.load(3, rows=5)
    answer = mlops.predict("flight-delay", labelled, workspace=road.workspace)
    alone = mlops.predict("flight-delay", labelled[flights.FEATURES], workspace=road.workspace)
    assert answer.values == alone.values


def test_without_or_with_a_wrong_token_the_answer_is_401(row, http):
    record = json.loads(row.to_json(orient="records"))[0]
    for header in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        assert _ask(http, record, headers=header).status_code == 401
    assert _ask(http, record).status_code == 200
