"""A worker answers by the shortest way that its model goes, and exactly as the model does."""

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import mlops_magics as mlops
from mlops_magics.serving import wire, worker
from mlops_magics.serving.layout import Layout
from mlops_magics.serving.validation import Schema
from mlops_magics.store import predictors


def packed(workspace, model):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(300, 6)), columns=list("abcdef"))
    rows.loc[::5, "c"] = np.nan
    model.fit(rows, rows["a"] + rows["b"] > 0)
    package = mlops.package(
        model, name="m", data=rows, predict_fn="predict_proba", workspace=workspace
    )
    return predictors.load(package.path), package.path, rows


@pytest.mark.parametrize(("extra", "arrays"), [((), True), ((FunctionTransformer(),), False)])
def test_scikit_learns_own_steps_are_given_numbers_and_answer_bit_for_bit(
    workspace, extra, arrays, monkeypatch
):
    steps = (SimpleImputer(), StandardScaler(), *extra, LogisticRegression())
    predictor, path, rows = packed(workspace, make_pipeline(*steps))
    asked = []
    given = predictors.Predictor.predict_array
    monkeypatch.setattr(
        predictors.Predictor,
        "predict_array",
        lambda self, block: asked.append(1) or given(self, block),
    )
    predict = worker._warm(predictor, path)
    layout = Layout(wire.arrow_schema(Schema.from_signature(predictor.manifest["signature"])))
    asked.clear()
    values = rows.astype(object).where(rows.notna(), None).to_numpy().tolist()
    answers = predict(layout.unpack(layout.pack([tuple(row) for row in values]).to_pybytes()))
    np.testing.assert_array_equal(answers, predictor.predict(rows))
    assert bool(asked) is arrays
