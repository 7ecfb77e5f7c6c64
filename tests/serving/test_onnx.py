"""ONNX Runtime behind an endpoint: the same answers, without pandas in the worker."""

from __future__ import annotations

import numpy as np
import psutil
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import mlops_magics as mlops
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.plan import Plan

# beside the endpoint of the other tests, on the same server
pytestmark = pytest.mark.xdist_group("served")


@pytest.fixture(scope="module")
def forest(served):
    """A forest on mixed columns with missing text, packaged with its ONNX model and deployed."""
    rows = served.rows.copy()
    rows.loc[::9, "carrier"] = None
    late = (rows["hour"] + (rows["carrier"] == "UA") * 8 > 14).astype(int)
    model = make_pipeline(
        make_column_transformer(
            (SimpleImputer(), ["hour", "seats", "wind"]),
            (OneHotEncoder(handle_unknown="ignore"), ["carrier", "weekend"]),
        ),
        RandomForestClassifier(25, random_state=0),
    ).fit(rows, late)
    packed = mlops.package(
        model,
        name="forest",
        data=rows,
        predict_fn="predict_proba",
        runtime="onnx",
        workspace=served.workspace,
    )
    mlops.deploy(packed, "forest", workspace=served.workspace)
    return rows, model, packed


def predictions(served, rows):
    values = rows.astype(object).where(rows.notna(), None)
    body = {"columns": list(rows.columns), "data": values.to_numpy().tolist()}
    with served.client() as client:
        answer = client.post("/endpoints/forest/invocations", json={"dataframe_split": body})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def serving(served):
    """The endpoint's record of what serves, and the process that computes it."""
    record = mlops.endpoints("forest", workspace=served.workspace)[0]
    (one,) = [one for one in record.revisions if one["status"] == "SERVING"]
    state = ServerFolder.of(served.workspace).state(one["id"], 0)
    return record, one, psutil.Process(state["identity"]["pid"])


def test_answers_are_the_native_models(served, forest):
    rows, model, _ = forest
    np.testing.assert_allclose(predictions(served, rows), model.predict_proba(rows), atol=1e-12)
    for place in (0, 9, 10):
        one = rows.iloc[[place]]
        np.testing.assert_allclose(predictions(served, one), model.predict_proba(one), atol=1e-12)


def test_the_runtime_is_seen_and_its_process_has_neither_pandas_nor_scikit_learn(served, forest):
    record, one, process = serving(served)
    assert one["runtime"] == "onnx"
    assert "onnx" in record.card().text()
    assert Plan.read(ServerFolder.of(served.workspace).plan).revisions[str(one["id"])].runtime
    mapped = {each.path for each in process.memory_maps()}
    assert any("onnxruntime" in path for path in mapped)
    assert not any("/pandas/" in path or "/sklearn/" in path for path in mapped)


def test_a_bad_row_is_refused_and_the_next_one_answered(served, forest):
    rows, _, _ = forest
    body = {"columns": list(rows.columns), "data": [["7", 100, 1.0, "UA", True]]}
    with served.client() as client:
        answer = client.post("/endpoints/forest/invocations", json={"dataframe_split": body})
    assert answer.status_code == 400
    assert len(predictions(served, rows.head(2))) == 2


def test_an_endpoint_goes_back_to_the_native_model_and_forth(served, forest):
    rows, model, packed = forest
    mlops.deploy(packed, "forest", runtime="native", workspace=served.workspace)
    _, one, process = serving(served)
    assert one["runtime"] == "native"
    assert any("/sklearn/" in each.path for each in process.memory_maps())
    np.testing.assert_allclose(predictions(served, rows), model.predict_proba(rows), atol=1e-12)
    mlops.rollback("forest", workspace=served.workspace)
    assert serving(served)[1]["runtime"] == "onnx"
    np.testing.assert_allclose(predictions(served, rows), model.predict_proba(rows), atol=1e-12)
