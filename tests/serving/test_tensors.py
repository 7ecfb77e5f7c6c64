"""Models of arrays and functions with parameters, from packaging to both protocols."""

import json
import struct

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest

import mlops_magics as mlops
from mlops_magics.serving import openinference, protocol, wire
from mlops_magics.serving.layout import Layout
from mlops_magics.serving.validation import Column, Invalid, Schema

RNG = np.random.default_rng(7)
PIXELS = RNG.normal(size=(60, 4))
PIXELS[3, 1] = np.nan
TWO = Schema(
    [Column("pixels", "uint8", shape=(2, 2)), Column("weight", "float32", shape=())],
)


def scored(data, threshold=0.5, labels=["early", "late"]):  # noqa: B006 - only read
    return np.where(data["hour"] / 24 > threshold, labels[1], labels[0])


def combined(data):
    return data["pixels"].sum(axis=(1, 2)) + data["weight"]


@pytest.fixture
def client(workspace):
    def open_client(endpoint):
        base, _, _ = endpoint.url.partition("/endpoints/")
        headers = {"Authorization": f"Bearer {workspace.token}"}
        return httpx.Client(base_url=base, headers=headers, timeout=30, trust_env=False)

    return open_client


def test_a_model_trained_on_an_array_is_served_arrays_by_every_protocol(workspace, client):
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=5).fit(PIXELS, (PIXELS[:, 0] > 0).astype(int))
    packed = mlops.package(
        model, name="array", data=PIXELS, predict_fn="predict_proba", workspace=workspace
    )
    assert "float64 [-1, 4]" in packed.card().text()
    expected = model.predict_proba(PIXELS[:5])
    # any MLflow tool loads it and gives it arrays, too
    loaded = mlflow.pyfunc.load_model(str(packed.path))
    np.testing.assert_array_equal(
        loaded.predict(PIXELS[:5]),
        model.predict(PIXELS[:5]) if loaded.predict(PIXELS[:5]).ndim == 1 else expected,
    )
    endpoint = mlops.deploy(packed, "array", workspace=workspace)
    rows = json.loads(pd.DataFrame(PIXELS[:5]).to_json(orient="values", double_precision=15))
    with client(endpoint) as http:
        for body in ({"inputs": rows}, {"instances": rows}, {"inputs": {"input": rows}}):
            answer = http.post("/endpoints/array/invocations", json=body).json()
            np.testing.assert_allclose(answer["predictions"], expected)
        flat = {"name": "input", "shape": [5, 4], "datatype": "FP64"}
        for data in (rows, [value for row in rows for value in row]):
            answer = http.post("/v2/models/array/infer", json={"inputs": [flat | {"data": data}]})
            (output,) = answer.json()["outputs"]
            assert (output["datatype"], output["shape"]) == ("FP64", [5, 2])
            np.testing.assert_allclose(np.reshape(output["data"], (5, 2)), expected)
        assert http.get("/v2/models/array").json()["inputs"] == [
            {"name": "input", "datatype": "FP64", "shape": [-1, 4]}
        ]
        for rows in ([[1, 2, 3]], [[1, 2, 3, "x"]], [[[1, 2, 3, 4]]], [1, 2, 3, 4], [[1, 2], 3]):
            assert http.post("/endpoints/array/invocations", json={"inputs": rows}).is_client_error


def test_arrays_by_name_reach_the_function_as_they_were(workspace, client):
    data = {"pixels": RNG.integers(0, 255, (9, 2, 2), "uint8"), "weight": np.ones(9, "float32")}
    packed = mlops.package(combined, name="named", data=data, workspace=workspace)
    loaded = mlflow.pyfunc.load_model(str(packed.path))
    np.testing.assert_array_equal(loaded.predict(data), combined(data))
    endpoint = mlops.deploy(packed, "named", workspace=workspace)
    with client(endpoint) as http:
        columns = {"pixels": data["pixels"][:2].tolist(), "weight": [1.5, 2.5]}
        records = [{name: values[i] for name, values in columns.items()} for i in range(2)]
        wanted = [float(p.sum()) + w for p, w in zip(data["pixels"], (1.5, 2.5), strict=False)]
        for body in ({"inputs": columns}, {"instances": records}):
            answer = http.post("/endpoints/named/invocations", json=body)
            assert answer.json()["predictions"] == wanted
        columns["pixels"][1][0][1] = 256
        refused = http.post("/endpoints/named/invocations", json={"inputs": columns})
        assert refused.json()["error"] == (
            "row 1, column 'pixels' at [0][1]: out of the range of an unsigned 8-bit integer"
        )


def test_a_functions_keyword_arguments_are_parameters_of_its_endpoint(workspace, client):
    rows = pd.DataFrame({"hour": [3, 12, 21]})
    packed = mlops.package(scored, name="scored", data=rows, workspace=workspace)
    loaded = mlflow.pyfunc.load_model(str(packed.path))
    assert list(loaded.predict(rows, params={"threshold": 0.1})) == ["late"] * 3
    endpoint = mlops.deploy(packed, "scored", workspace=workspace)
    path, records = "/endpoints/scored/invocations", [{"hour": 3}, {"hour": 12}, {"hour": 21}]
    with client(endpoint) as http:

        def ask(**params):
            return http.post(path, json={"dataframe_records": records, "params": params})

        assert ask().json()["predictions"] == ["early", "early", "late"]
        assert ask(threshold=0.1).json()["predictions"] == ["late"] * 3
        assert ask(labels=["a", "b"]).json()["predictions"] == ["a", "a", "b"]
        asked = {"inputs": [{"name": "hour", "shape": [1], "datatype": "INT64", "data": [3]}]}
        answer = http.post("/v2/models/scored/infer", json=asked | {"parameters": {"threshold": 0}})
        assert answer.json()["outputs"][0]["data"] == ["late"]
        for params, message in [
            ({"treshold": 1}, "no parameter 'treshold'; did you mean 'threshold'?"),
            ({"threshold": "0.5"}, "parameter 'threshold': expected a number"),
            ({"threshold": None}, "parameter 'threshold': expected a number"),
            ({"labels": "late"}, "parameter 'labels': expected a list, each text"),
        ]:
            refused = ask(**params)
            assert refused.status_code == 400
            assert message in refused.json()["error"]
        twice = b'{"dataframe_records": [], "params": {"threshold": 1, "threshold": 2}}'
        kind = {"Content-Type": "application/json"}
        assert http.post(path, content=twice, headers=kind).json()["error"] == (
            "duplicate key 'threshold'"
        )


def test_tensors_cross_the_wire_with_their_types_and_shapes():
    layout = Layout(wire.arrow_schema(TWO))
    arrays = layout.unpack(layout.pack([([[1, 2], [3, 255]], 0.5)]).to_pybytes()).frame()
    assert arrays["pixels"].dtype == np.uint8
    assert arrays["pixels"].tolist() == [[[1, 2], [3, 255]]]
    assert (arrays["weight"].dtype, arrays["weight"].shape) == (np.float32, (1,))


@pytest.mark.parametrize(
    "column",
    [
        Column("x", "long"),
        Column("x", "double"),
        Column("x", "string"),
        Column("x", "boolean"),
        Column("x", "integer"),
        Column("x", "float"),
    ],
    ids=lambda column: column.kind,
)
def test_a_column_given_as_bytes_is_the_same_as_given_as_json(column):
    from tritonclient.http import InferInput
    from tritonclient.utils import triton_to_np_dtype

    from mlops_magics.serving import tensors

    values = {
        "long": [2**53 + 1, -(2**63)],
        "double": [0.1, 2.0],
        "string": ["é", ""],
        "boolean": [True, False],
        "integer": [5, -6],
        "float": [0.5, -2.0],
    }[column.kind]
    kind = tensors.datatype(column)
    given = InferInput("x", [2], kind)
    array = np.array(values, dtype=object if kind == "BYTES" else triton_to_np_dtype(kind))
    given.set_data_from_numpy(array)
    head = json.dumps({"inputs": [given._get_tensor()]}).encode()
    body = head + given._get_binary_data()
    schema = Schema([column])
    found = openinference.decode_infer(body, schema, str(len(head)).encode())
    plain = {"inputs": [{"name": "x", "shape": [2], "datatype": kind, "data": values}]}
    assert found.rows == openinference.decode_infer(json.dumps(plain).encode(), schema).rows
    assert found.rows == [(value,) for value in values]


def infer(data, size, kind="INT64", shape=(2,), header=None, values=None):
    entry = {"name": "x", "shape": list(shape), "datatype": kind}
    if values is not None:
        entry["data"] = values
    entry["parameters"] = {"binary_data_size": size}
    head = json.dumps({"inputs": [entry]}).encode()
    length = str(len(head)).encode() if header is None else header
    schema = Schema([Column("x", "long" if kind == "INT64" else "string")])
    return openinference.decode_infer(head + data, schema, length)


EIGHT = struct.pack("<qq", 1, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: infer(EIGHT, 15), "15 bytes for 2 values"),
        (lambda: infer(EIGHT, 17), "17 is not within the 16 bytes"),
        (lambda: infer(EIGHT, -1), "binary_data_size -1"),
        (lambda: infer(EIGHT, 2**70), "binary_data_size"),
        (lambda: infer(EIGHT, "16"), "is no number of bytes"),
        (lambda: infer(EIGHT, True), "is no number of bytes"),
        (lambda: infer(EIGHT + b"!", 16), "1 bytes behind the JSON belong to no input"),
        (lambda: infer(EIGHT, 16, header=b"99999"), "no length of this body"),
        (lambda: infer(EIGHT, 16, header=b"-1"), "no length of this body"),
        (lambda: infer(EIGHT, 16, header=b"0"), "no length of this body"),
        (lambda: infer(EIGHT, 16, header=b"1" * 5000), "no length of this body"),
        (lambda: infer(EIGHT, 16, shape=(-2,)), "shape [-2]"),
        (lambda: infer(EIGHT, 16, shape=(2**62, 2**62)), "shape"),
        (lambda: infer(EIGHT, 16, values=[1, 2]), "both data and binary_data_size"),
        (lambda: infer(b"\xff\xff\xff\xff", 4, "BYTES", (1,)), "cut off"),
        (lambda: infer(b"\1", 1, "BYTES", (1,)), "cut off"),
        (lambda: infer(b"\1\0\0\0\xff", 5, "BYTES", (1,)), "no UTF-8"),
    ],
)
def test_malformed_bytes_are_refused(call, message):
    with pytest.raises(Invalid) as refused:
        call()
    assert message in str(refused.value)


def test_a_flattened_tensor_and_a_nested_one_are_the_same():
    for data in ([1, 2, 3, 4], [[[1, 2], [3, 4]]]):
        body = {
            "inputs": [
                {"name": "weight", "shape": [1], "datatype": "FP32", "data": [0.5]},
                {"name": "pixels", "shape": [1, 2, 2], "datatype": "UINT8", "data": data},
            ]
        }
        found = openinference.decode_infer(json.dumps(body).encode(), TWO)
        assert found.rows == [([[1, 2], [3, 4]], 0.5)]
    assert protocol.decode_invocation(b'{"inputs": {"pixels": [], "weight": []}}', TWO).rows == []
