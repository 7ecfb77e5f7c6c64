"""Whatever follows the OpenAPI document, or nearly, is answered without a failure of ours."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from schemathesis import openapi

pytestmark = pytest.mark.xdist_group("served")


def test_no_generated_request_makes_the_server_fail(served):
    with served.client() as client:
        document = client.get("/openapi.json").json()
        schema = openapi.from_dict(document)
        token = {"Authorization": f"Bearer {served.workspace.token}"}
        counted = []

        def ask(case):
            body = case.body
            if body is not None and not isinstance(
                body, (bytes, str, dict, list, int, float, bool)
            ):
                body = None  # schemathesis's own mark of a body that is left out
            headers = {"Content-Type": case.media_type or "application/json"}
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            path = case.formatted_path
            if case.method.upper() == "GET":
                response = client.get(path, headers=token)
            else:
                response = client.request(case.method, path, content=content, headers=headers)
            counted.append(response.status_code)
            assert response.status_code < 500, response.text[:500]
            assert "Traceback" not in response.text
            if response.status_code >= 400:
                assert set(response.json()) == {"error"}

        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path.startswith("/docs") or operation.path == "/openapi.json":
                continue
            often = 60 if operation.method.upper() == "POST" else 3
            limits = settings(
                max_examples=often,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            limits(given(case=operation.as_strategy())(ask))()
        assert len(counted) > 100
        assert 200 in counted
