"""The whole build: a live model becomes a tested, packaged, registered version."""

from __future__ import annotations

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier

from mlops_magics import errors
from mlops_magics.deployment.build import register
from mlops_magics.deployment.deploy import deploy
from mlops_magics.testing import test as run_tests


@pytest.fixture(scope="module")
def rows():
    return load_breast_cancer(as_frame=True).frame.sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def model(rows):
    model = HistGradientBoostingClassifier(max_iter=10, random_state=0)
    return model.fit(rows[:300].drop(columns="target"), rows[:300]["target"])


def test_one_call_tests_packages_and_registers_under_one_run(workspace, rows, model):
    version = register(
        model,
        "tumour",
        data=rows[:300],
        target="target",
        holdout=rows[300:],
        min={"roc_auc": 0.9},
        alias="champion",
        workspace=workspace,
    )
    assert (version.version, version.aliases, version.passed) == ("1", ["champion"], True)
    loaded = workspace.tracking.mlflow.pyfunc.load_model("models:/tumour@champion")
    features = rows.drop(columns="target")
    assert (loaded.predict(features) == model.predict(features)).all()
    run = workspace.tracking.client.get_run(version.run_id)
    assert run.data.metrics["test.roc_auc"] > 0.9


def test_the_runs_own_report_is_the_evidence(workspace, rows, model):
    report = run_tests(model, rows[300:], "target", min={"roc_auc": 0.8}, workspace=workspace)
    version = register(
        model, "tumour", run=report.run_id, data=rows[:300], target="target", workspace=workspace
    )
    assert version.run_id == report.run_id
    assert version.passed is True


def test_without_a_report_nothing_is_registered(workspace, rows, model):
    with pytest.raises(errors.EvidenceMissing, match="mlops test"):
        register(model, "tumour", data=rows, target="target", workspace=workspace)


def test_what_cannot_be_packaged_is_refused_before_it_is_tested(workspace, rows):
    with pytest.raises(errors.UnsupportedModel):
        register(object(), "tumour", data=rows, target="target", holdout=rows, workspace=workspace)
    with pytest.raises(errors.InvalidArgument, match="without a target"):
        register(object(), "tumour", holdout=rows, workspace=workspace)
    found = workspace.tracking.client.search_runs([workspace.tracking.experiment_id])
    assert list(found) == []


@pytest.mark.parametrize("bad", [{"name": "my model"}, {"name": "m", "alias": "v1"}])
def test_a_bad_name_is_refused_before_anything_is_tested(workspace, rows, model, bad):
    with pytest.raises(errors.InvalidArgument):
        register(model, **bad, data=rows, target="target", holdout=rows, workspace=workspace)
    found = workspace.tracking.client.search_runs([workspace.tracking.experiment_id])
    assert list(found) == []


def test_an_alias_needs_gates_and_that_is_said_before_anything_is_tested(workspace, rows, model):
    with pytest.raises(errors.EvidenceMissing, match="tested with gates"):
        register(
            model,
            "tumour",
            data=rows,
            target="target",
            holdout=rows,
            alias="challenger",
            workspace=workspace,
        )
    with pytest.raises(errors.InvalidArgument, match="without held-out rows"):
        register(model, "tumour", data=rows, min={"accuracy": 0.5}, workspace=workspace)
    found = workspace.tracking.client.search_runs([workspace.tracking.experiment_id])
    assert list(found) == []


def test_an_endpoint_that_is_a_number_is_refused_by_name(workspace):
    with pytest.raises(errors.InvalidArgument, match="endpoint = 2 is a int"):
        deploy("city/1", 2, workspace=workspace)
