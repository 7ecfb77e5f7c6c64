"""Forests answer faster, and not one bit differently."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlops_magics as mlops
from mlops_magics.store import predictors
from mlops_magics.store.forests import quicken


@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
def test_classes_and_probabilities_are_equal_to_the_last_bit(kind):
    rows, target = load_wine(return_X_y=True)
    rows[::5, 3] = np.nan
    names = np.array(["barolo", "grignolino", "barbera"])[target]
    model = make_pipeline(StandardScaler(), kind(20, random_state=0)).fit(rows, names)
    before = model.predict(rows), model.predict_proba(rows), model[-1].predict_log_proba(rows)
    assert "predict_proba" in vars(quicken(model)[-1])
    after = model.predict(rows), model.predict_proba(rows), model[-1].predict_log_proba(rows)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", [RandomForestRegressor, ExtraTreesRegressor])
def test_means_are_equal_to_the_last_bit(kind):
    rows, target = load_diabetes(return_X_y=True)
    model = kind(20, random_state=0).fit(rows, target)
    before = model.predict(rows)
    assert "predict" in vars(quicken(model))
    np.testing.assert_array_equal(model.predict(rows), before)


def test_rows_that_the_forest_refuses_are_refused_as_before():
    rows, target = load_wine(return_X_y=True)
    model = RandomForestClassifier(5, random_state=0).fit(rows, target)
    said = []
    for one in (model, quicken(model)):
        with pytest.raises(ValueError, match="features") as caught:
            one.predict(rows[:, :5])
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_what_is_not_a_plain_forest_stays_as_it_is():
    class Own(RandomForestClassifier):
        pass

    rows, target = load_wine(return_X_y=True)
    both = np.column_stack([target, target])
    for model, wanted in [
        (Own(3), target),
        (RandomForestClassifier(3), both),
        (RandomForestClassifier(3, n_jobs=2), target),
    ]:
        assert "predict_proba" not in vars(quicken(model.fit(rows, wanted)))
    assert quicken(RandomForestClassifier(3)).get_params()["n_estimators"] == 3


def test_a_loaded_package_is_quick_and_answers_as_the_model_did(workspace):
    frame, target = load_wine(return_X_y=True, as_frame=True)
    model = RandomForestClassifier(20, random_state=0).fit(frame, target)
    packed = mlops.package(model, name="wine", data=frame, workspace=workspace)
    loaded = predictors.load(packed.path)
    assert "predict_proba" in vars(loaded.model)
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
