"""Real clients answer: Triton's, curl, and whatever reads the OpenAPI document."""

import shlex
import subprocess

import jsonschema
import numpy as np
import pytest
import tritonclient.http as triton

import mlops_magics as mlops

pytestmark = pytest.mark.xdist_group("served")


def test_tritons_client_works_with_its_defaults(served):
    token = {"Authorization": f"Bearer {served.workspace.token}"}
    rows = served.rows.head(8)
    client = triton.InferenceServerClient(served.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready(headers=token)
    assert "binary_tensor_data" in client.get_server_metadata(headers=token)["extensions"]
    assert client.is_model_ready("mixed", headers=token)
    inputs = []
    for one in client.get_model_metadata("mixed", headers=token)["inputs"]:
        given = triton.InferInput(one["name"], [len(rows)], one["datatype"])
        kinds = {"BYTES": object, "INT64": "int64", "INT32": "int32", "FP64": "float64"}
        values = rows[one["name"]].to_numpy(kinds.get(one["datatype"], "bool"))
        given.set_data_from_numpy(values)
        inputs.append(given)
    expected = served.model.predict_proba(rows)
    # the client writes its own headers into the mapping that it is given
    asked = [
        {},
        {"outputs": [triton.InferRequestedOutput("prediction")]},
        {"outputs": [triton.InferRequestedOutput("prediction", binary_data=False)]},
        {"request_compression_algorithm": "gzip"},
    ]
    for more in asked:
        result = client.infer("mixed", inputs, headers=dict(token), request_id="mine", **more)
        np.testing.assert_array_equal(result.as_numpy("prediction"), expected)
        assert result.get_response()["id"] == "mine"
    with pytest.raises(triton.InferenceServerException, match="missing column"):
        client.infer("mixed", inputs[1:], headers=dict(token))
    client.close()


def test_the_line_of_the_endpoints_card_works_in_a_shell(served):
    (endpoint,) = mlops.endpoints("mixed", workspace=served.workspace)
    line = f"{endpoint.curl} --silent --fail-with-body --noproxy {shlex.quote('*')}"
    answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith('{"predictions":[[')


def test_the_openapi_document_has_each_endpoints_own_request(served):
    with served.client() as client:
        found = client.get("/openapi.json").json()
        operation = found["paths"]["/endpoints/mixed/invocations"]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        jsonschema.Draft202012Validator.check_schema(content["schema"])
        jsonschema.validate(content["example"], content["schema"])
        assert client.post("/endpoints/mixed/invocations", json=content["example"]).is_success
        wrong = {"dataframe_records": [served.values() | {"hour": 1.5}]}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, content["schema"])
        infer = found["paths"]["/v2/models/mixed/infer"]["post"]
        body = infer["requestBody"]["content"]["application/json"]["example"]
        assert client.post("/v2/models/mixed/infer", json=body).is_success
        for path, methods in found["paths"].items():
            for method, one in methods.items():
                assert one["summary"], path
                answered = client.request(method, path.format(id=0, version=99))
                assert str(answered.status_code) in one["responses"], (method, path)


def test_the_pages_take_nothing_from_elsewhere(served):
    with served.client() as client:
        page = client.get("/docs")
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert page.headers["Cache-Control"] == "no-store"
        script = client.get("/docs/page.js").text
        for text in (page.text, script, client.get("/docs/page.css").text):
            assert "http://" not in text
            assert "https://" not in text
            assert served.workspace.token not in text
        assert "innerHTML" not in script
