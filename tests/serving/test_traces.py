"""A caller's trace reaches the inference table."""

from __future__ import annotations

import pytest

import mlops_magics as mlops

pytestmark = pytest.mark.xdist_group("served")

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_the_trace_of_a_request_is_kept_and_shown(served):
    with served.client(traceparent=f"00-{TRACE}-b7ad6b7169203331-01") as client:
        body = {"dataframe_records": [served.values()]}
        answer = client.post("/endpoints/mixed/invocations", json=body)
    found = mlops.predictions("mixed", limit=20, workspace=served.workspace)
    (row,) = (one for one in found if one.prediction_id == answer.headers["X-Prediction-Id"])
    assert row.trace_id == TRACE
    assert TRACE in str(found)
    assert TRACE in found.df["trace_id"].tolist()
