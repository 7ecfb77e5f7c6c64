"""Packages: the same answers everywhere, nothing executed, everything named."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlops_magics import errors
from mlops_magics.packaging import package
from mlops_magics.profiles import Calibration, Profile
from mlops_magics.store import models
from mlops_magics.testing import test as run_tests

CUT = 15


def late_by_hour(data: pd.DataFrame) -> np.ndarray:
    return np.where(data["hour"] > CUT, "late", "in time")


class Rule:
    def __init__(self, hour: int) -> None:
        self.hour = hour

    def predict(self, data: pd.DataFrame) -> np.ndarray:
        return (data["hour"] > self.hour).to_numpy()


TABLE = pd.DataFrame({"hour": [1]})


def joined(data):
    return data.merge(TABLE)["hour"]


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def features_of(flights):
    return flights.drop(columns="late")


def assert_same_everywhere(packed, features, expected, workspace):
    ours = models.load(models.fetch(workspace, packed.uri)).predict(features)
    theirs = mlflow.pyfunc.load_model(packed.uri).predict(features)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(theirs, expected)


@pytest.mark.parametrize("predict_fn", ["predict", "predict_proba"])
def test_a_pipeline_answers_the_same_through_us_and_through_mlflow(
    workspace, flights, pipeline, predict_fn
):
    packed = package(
        pipeline, name="flight-delay", data=flights, predict_fn=predict_fn, workspace=workspace
    )
    features = features_of(flights)
    expected = getattr(pipeline, predict_fn)(features)
    assert_same_everywhere(packed, features, expected, workspace)
    assert packed.task == "binary"
    assert packed.trusted == ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


def test_a_column_is_optional_when_training_had_nulls_in_it_and_integers_stay(
    workspace, flights, pipeline
):
    packed = package(pipeline, data=flights, workspace=workspace)
    found = {one["name"]: (one["type"], one["required"]) for one in packed.inputs}
    assert found == {
        "hour": ("long", True),
        "distance": ("double", True),
        "origin": ("string", False),
        "wind": ("double", False),
    }


@pytest.mark.parametrize("predict_fn", ["predict", "predict_proba"])
def test_an_xgboost_estimator_answers_the_same_everywhere(workspace, flights, predict_fn):
    features = flights[["hour", "distance", "wind"]]
    model = xgboost.XGBClassifier(n_estimators=5).fit(features, flights["late"])
    packed = package(model, data=flights, predict_fn=predict_fn, workspace=workspace)
    assert packed.flavor == "xgboost"
    assert_same_everywhere(packed, features, getattr(model, predict_fn)(features), workspace)


def test_an_xgboost_booster_answers_the_same_everywhere(workspace, flights):
    features = flights[["hour", "distance", "wind"]]
    model = xgboost.XGBClassifier(n_estimators=5).fit(features, flights["late"]).get_booster()
    packed = package(model, data=flights, workspace=workspace)
    assert_same_everywhere(packed, features, model.predict(xgboost.DMatrix(features)), workspace)


def test_a_function_is_packaged_as_source_with_its_constants_and_imports(workspace, flights):
    features = features_of(flights)
    packed = package(late_by_hour, data=flights, target="late", workspace=workspace)
    assert_same_everywhere(packed, features, late_by_hour(features), workspace)
    text = (packed.path / "function.py").read_text()
    assert "CUT = 15" in text
    assert "import numpy as np" in text
    assert not list(packed.path.rglob("*.pkl"))


def test_an_object_of_an_own_class_is_packaged_as_source_with_its_attributes(workspace, flights):
    features = features_of(flights)
    packed = package(Rule(12), data=flights, target="late", workspace=workspace)
    assert_same_everywhere(packed, features, features["hour"] > 12, workspace)


def test_a_function_with_live_state_is_refused_and_the_state_is_named(workspace, flights):
    with pytest.raises(errors.UnsupportedModel, match="'TABLE', a live DataFrame"):
        package(joined, data=flights, workspace=workspace)


@pytest.mark.parametrize("thing", [object(), {"a": 1}, TABLE, Rule], ids=lambda t: type(t).__name__)
def test_an_object_that_is_no_model_gets_told_what_would_work(workspace, flights, thing):
    with pytest.raises(errors.UnsupportedModel, match=r"no model that can be packaged") as caught:
        package(thing, data=flights, workspace=workspace)
    assert "scikit-learn" in caught.value.hint


def test_types_that_nobody_trusted_are_listed_once_and_then_recorded(workspace, flights):
    model = make_pipeline(FunctionTransformer(np.nan_to_num), xgboost.XGBClassifier(n_estimators=2))
    model.fit(flights[["hour", "wind"]], flights["late"])
    with pytest.raises(errors.UntrustedTypes, match=r"xgboost\.sklearn\.XGBClassifier") as caught:
        package(model, data=flights[["hour", "wind"]], workspace=workspace)
    trust = caught.value.hint.partition("--trust ")[2].split(" --trust ")
    packed = package(model, data=flights[["hour", "wind"]], trust=trust, workspace=workspace)
    assert set(trust) <= set(packed.trusted)
    assert_same_everywhere(
        packed, flights[["hour", "wind"]], model.predict(flights[["hour", "wind"]]), workspace
    )


def test_an_estimator_that_holds_a_pickle_trap_neither_runs_nor_packages_it(
    workspace, flights, pipeline, tmp_path
):
    canary = tmp_path / "canary"
    model = make_pipeline(FunctionTransformer(kw_args={"x": Canary(canary)}), pipeline)
    with pytest.raises((errors.UnsupportedModel, errors.UntrustedTypes, errors.ModelError)):
        package(model, data=features_of(flights), workspace=workspace)
    assert not canary.exists()


def test_without_training_rows_the_error_says_how_to_name_them(workspace, pipeline):
    with pytest.raises(errors.SignatureMissing, match="--data train"):
        package(pipeline, workspace=workspace)


def test_a_package_names_its_five_drivers_and_locks_its_environment(workspace, flights, pipeline):
    packed = package(pipeline, data=flights, target="late", workspace=workspace)
    manifest = json.loads((packed.path / "mlops" / "manifest.json").read_text())
    assert set(manifest["drivers"]) == {
        "data",
        "code",
        "artifacts",
        "middleware",
        "infrastructure",
    }
    lock = (packed.path / "mlops" / "requirements.lock").read_text().split()
    assert all("==" in line for line in lock)
    names = {line.partition("==")[0] for line in lock}
    assert {"scikit-learn", "joblib", "threadpoolctl", "mlflow"} <= names
    golden = json.loads((packed.path / "mlops" / "golden.json").read_text())
    assert len(golden["outputs"]) == len(golden["inputs"]["data"]) == 20
    assert any(None in row for row in golden["inputs"]["data"])
    reference = json.loads((packed.path / "mlops" / "reference.json").read_text())
    assert "prediction" in reference["columns"]


def test_a_package_keeps_drifts_thresholds_and_the_bins_of_some_rows(workspace, flights, pipeline):
    packed = package(pipeline, data=flights, target="late", workspace=workspace)
    profile = Profile.from_dict(json.loads((packed.path / "mlops" / "reference.json").read_text()))
    kept = json.loads((packed.path / "mlops" / "calibration.json").read_text())
    found = Calibration.from_dict(kept)
    assert 0.001 < found.threshold(1000, 0.01) < 0.1
    rows = pd.read_parquet(packed.path / "mlops" / "rows.parquet")
    assert list(rows) == list(profile.columns)
    assert len(rows) == min(2000, len(flights))
    for name, column in profile.columns.items():
        # bins, not values: nothing of a row can be read but in which bin it is
        assert rows[name].between(0, len(column.bins) + 1).all()


def test_mlflow_shows_the_package_as_a_ready_model_of_its_run(workspace, flights, pipeline):
    packed = package(pipeline, name="flight-delay", data=flights, workspace=workspace)
    client = workspace.tracking.client
    logged = client.get_logged_model(packed.model_id)
    assert str(logged.status) == "READY"
    assert logged.tags["mlops.digest"] == packed.digest
    outputs = client.get_run(packed.run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [packed.model_id]


def test_a_failed_package_leaves_nothing_behind(workspace, flights):
    class Fickle(Rule):
        def predict(self, data):
            return np.random.default_rng().random(len(data))

    with pytest.raises(errors.ModelError):
        package(Fickle(1), name="fickle", data=flights, target="late", workspace=workspace)
    found = workspace.tracking.client.search_logged_models([workspace.tracking.experiment_id])
    assert list(found) == []
    assert list((workspace.path / "packages").iterdir()) == []


def test_the_runs_report_is_taken_only_when_it_is_of_this_model(workspace, flights, pipeline):
    report = run_tests(pipeline, flights, "late", workspace=workspace)
    same = package(pipeline, data=flights, run=report.run_id, workspace=workspace)
    other = package(
        late_by_hour, data=flights, target="late", run=report.run_id, workspace=workspace
    )
    assert (same.passed, same.tested) == (None, True)
    assert (other.passed, other.tested) == (None, False)
    with pytest.raises(errors.EvidenceMissing, match="of another model"):
        package(late_by_hour, data=flights, target="late", report=report, workspace=workspace)


def test_loading_a_scikit_learn_package_imports_no_mlflow(workspace, flights, pipeline):
    packed = package(pipeline, data=flights, workspace=workspace)
    code = (
        "import sys\nfrom mlops_magics.store import models\n"
        f"models.load({str(packed.path)!r})\nassert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pickle_in_place_of_the_model_is_refused_and_not_executed(
    workspace, flights, pipeline, tmp_path
):
    packed = package(pipeline, data=flights, workspace=workspace)
    canary = tmp_path / "canary"
    (packed.path / "model.skops").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(errors.PackageCorrupt, match=r"model\.skops does not match"):
        models.load(packed.path)
    assert not canary.exists()


def test_loading_the_user_s_own_classes_leaves_the_package_as_it_was_verified(
    workspace, flights, tmp_path, monkeypatch
):
    (tmp_path / "own_steps.py").write_text(
        "from sklearn.base import BaseEstimator, TransformerMixin\n"
        "class Twice(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, X, y=None):\n"
        "        self.factor_ = 2\n"
        "        return self\n"
        "    def transform(self, X):\n"
        "        return X * self.factor_\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from own_steps import Twice

    model = make_pipeline(Twice(), LinearRegression()).fit(flights[["hour"]], flights["late"])
    packed = package(model, data=flights[["hour"]], trust=["own_steps.Twice"], workspace=workspace)
    code = f"from mlops_magics.store import models; models.load({str(packed.path)!r})"
    # as a user's shell has it: Python keeps what it compiled beside the source
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(packed.path.rglob("__pycache__"))
