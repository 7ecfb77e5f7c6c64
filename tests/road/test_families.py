"""Models of other families go the same road; what is no model is refused with what would work."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, make_classification

import mlops_magics as mlops
from mlops_magics.errors import UnsupportedModel

pytestmark = pytest.mark.xdist_group("families")


def _walk(workspace, model, frame, target, name, **gate):
    """Test, package, register, promote, deploy, predict; return the endpoint's answers."""
    report = mlops.test(model, frame, target, **gate, workspace=workspace)
    package = mlops.package(
        model, data=frame, target=target, run=report.run_id, workspace=workspace
    )
    mlops.register(package, name, alias="challenger", workspace=workspace)
    mlops.promote(f"{name}@challenger", workspace=workspace)
    mlops.deploy(f"{name}@champion", workspace=workspace)
    inputs = frame.drop(columns=target).head(50)
    return mlops.predict(name, inputs, workspace=workspace).df["prediction"].to_numpy(), inputs


def test_an_xgboost_classifier_serves_what_it_predicts_in_python(workspace):
    from xgboost import XGBClassifier

    x, y = make_classification(400, 8, random_state=0)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(8)])
    frame.iloc[::9, 0] = np.nan
    model = XGBClassifier(n_estimators=10, max_depth=3).fit(frame, y)
    served, inputs = _walk(
        workspace, model, frame.assign(y=y), "y", "boosted-elsewhere", min={"roc_auc": 0.8}
    )
    np.testing.assert_array_equal(served, model.predict(inputs))


def test_a_plain_function_serves_what_it_returns_in_python(workspace, tmp_path, monkeypatch):
    # in a file of its own, as a person has it: the source is what is packaged
    (tmp_path / "rules.py").write_text(
        "import numpy as np\n\n"
        "BASE = 150.0\n\n"
        "def risk(frame):\n"
        "    return BASE + np.clip(frame['bmi'] * 900, -80, 80)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import rules

    frame = load_diabetes(as_frame=True).frame
    served, inputs = _walk(workspace, rules.risk, frame, "target", "rule", max={"rmse": 90})
    np.testing.assert_allclose(served, rules.risk(inputs), rtol=0, atol=0)


@pytest.mark.parametrize("thing", [{"a": 1}, "model.pkl", pd.DataFrame({"a": [1]}), object()])
def test_an_object_that_is_no_model_gets_an_error_that_says_what_would_work(workspace, thing):
    frame = load_diabetes(as_frame=True).frame
    with pytest.raises((UnsupportedModel, mlops.ModelNotFound)) as caught:
        mlops.package(thing, data=frame, target="target", workspace=workspace)
    assert caught.value.hint
