"""From a training script to a version, in the shell's words: what a script logged, by reference."""

from __future__ import annotations

import runpy
import warnings

import pytest
import skops.io
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import mlops_magics as mlops
from mlops_magics import errors
from mlops_magics.cli.group import mlops as group

SCRIPT = """
import mlflow
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

train = load_breast_cancer(as_frame=True).frame[::2]
model = make_pipeline(StandardScaler(), LogisticRegression())
model.fit(train.drop(columns="target"), train["target"])
{ending}
"""
SKLEARN = 'mlflow.sklearn.log_model(model, name="model")'
PICKLED = 'mlflow.sklearn.log_model(model, name="model", serialization_format="cloudpickle")'
XGBOOST = """
import xgboost
model = xgboost.XGBClassifier(n_estimators=5, max_depth=2)
model.fit(train.drop(columns="target"), train["target"])
mlflow.xgboost.log_model(model, name="model")
"""
OURS = """
import mlops_magics as mlops
mlops.package(model, name="model", data=train, target="target")
"""


@pytest.fixture(scope="module")
def rows():
    return load_breast_cancer(as_frame=True).frame


@pytest.fixture
def data(workspace, rows):
    """The datasets that the commands name."""
    mlops.ingest(rows[::2], "bc-train", workspace=workspace)
    mlops.ingest(rows[1::2], "bc-holdout", workspace=workspace)


@pytest.fixture
def script(workspace, project):
    """Runs a script with an ending in a tracked run; returns the run's record."""

    def execute(ending: str) -> mlops.Run:
        path = project / "train.py"
        path.write_text(SCRIPT.format(ending=ending))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mlops.run("logit", workspace=workspace) as active:
                runpy.run_path(str(path), run_name="__main__")
        return active.record

    return execute


def shell(line: str):
    """Run a command as the shell does, but let its error through; return its record."""
    return group.main(line.split()[1:], standalone_mode=False)


@pytest.mark.parametrize("ending", [SKLEARN, XGBOOST])
def test_what_a_script_logged_with_mlflow_is_tested_packaged_registered_and_promoted(
    workspace, data, script, rows, ending
):
    run = script(ending)
    uri = f"runs:/{run.run_id[:8]}/model"
    gate = {"roc_auc": 0.9}
    report = mlops.test(uri, "bc-holdout", "target", min=gate, workspace=workspace)
    assert (report.run_id, report.passed) == (run.run_id, True)
    package = mlops.package(uri, data="bc-train", target="target", workspace=workspace)
    assert (package.run_id, package.name, package.passed) == (run.run_id, "model", True)
    again = mlops.package(uri, data="bc-train", target="target", workspace=workspace)
    assert (again.model_id, again.found) == (package.model_id, True)
    assert "packaged already" in again.card().text()
    assert f"mlops register {package.uri}" in again.card().text()
    version = mlops.register(uri, "tumour", alias="challenger", workspace=workspace)
    assert (version.digest, version.passed) == (package.digest, True)
    assert mlops.promote("tumour/1", workspace=workspace).version == "1"


def test_one_command_registers_what_a_script_logged(workspace, data, script):
    run = script(SKLEARN)
    version = mlops.register(
        "runs:/logit/model",
        "tumour",
        data="bc-train",
        target="target",
        holdout="bc-holdout",
        min={"roc_auc": 0.9},
        alias="champion",
        workspace=workspace,
    )
    assert (version.run_id, version.aliases) == (run.run_id, ["champion"])


def test_a_pickled_model_is_refused_by_name_with_the_way_out(workspace, data, script):
    script(PICKLED)
    for verb in (mlops.package, mlops.test):
        with pytest.raises(errors.UnsupportedModel, match=r"cloudpickle.*code") as caught:
            verb("runs:/logit/model", data="bc-train", target="target", workspace=workspace)
        assert 'serialization_format="skops"' in caught.value.hint
        assert "mlops.package(model, data=train" in caught.value.hint


def test_a_package_that_a_script_made_is_given_as_it_is_and_takes_its_later_report(
    workspace, data, script
):
    run = script(OURS)
    assert run.models[0]["packaged"]
    uri = f"runs:/{run.run_id[:12]}/model"
    first = mlops.package(uri, workspace=workspace)
    assert (first.found, first.tested) == (True, False)
    assert f"mlops test {first.uri}" in first.card().text()
    mlops.test(uri, "bc-holdout", "target", min={"roc_auc": 0.9}, workspace=workspace)
    assert mlops.package(uri, workspace=workspace).passed is True
    assert mlops.register(uri, "tumour", workspace=workspace).passed is True


def test_a_report_of_another_model_is_not_attached_to_a_package(workspace, data, script, rows):
    run = script(OURS)
    uri = f"runs:/{run.run_id}/model"
    other = LogisticRegression(C=1e-4).fit(rows.drop(columns="target"), rows["target"])
    gate = {"roc_auc": 0.5}
    report = mlops.test(other, rows, "target", min=gate, run=run.run_id, workspace=workspace)
    assert mlops.package(uri, workspace=workspace).tested is False
    with pytest.raises(errors.EvidenceMissing, match="of another model"):
        mlops.package(uri, report=report, workspace=workspace)


def test_a_skops_file_is_packaged(workspace, rows, project):
    features = rows.drop(columns="target")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, rows["target"])
    skops.io.dump(model, project / "model.skops")
    made = mlops.package("model.skops", data=rows, target="target", workspace=workspace)
    assert (made.flavor, made.found) == ("sklearn", False)
    with pytest.raises(errors.UnsupportedModel, match="pickle"):
        mlops.package("model.pkl", data=rows, target="target", workspace=workspace)
    (project / "bad.skops").write_bytes(b"no archive")
    with pytest.raises(errors.ModelError, match="cannot be read"):
        mlops.package("bad.skops", data=rows, target="target", workspace=workspace)


def test_a_foreign_file_may_hold_only_types_that_are_trusted(workspace, rows, project, monkeypatch):
    (project / "cleaning.py").write_text("def clip(data):\n    return data.clip(0, 1000)\n")
    monkeypatch.syspath_prepend(str(project))
    import cleaning

    model = make_pipeline(FunctionTransformer(cleaning.clip), LogisticRegression(max_iter=9000))
    model.fit(rows.drop(columns="target"), rows["target"])
    skops.io.dump(model, project / "model.skops")
    with pytest.raises(errors.UntrustedTypes, match=r"cleaning\.clip") as caught:
        mlops.package("model.skops", data=rows, target="target", workspace=workspace)
    assert "--trust cleaning.clip" in caught.value.hint
    trust = ["cleaning.clip"]
    made = mlops.package(
        "model.skops", data=rows, target="target", trust=trust, workspace=workspace
    )
    assert "cleaning.clip" in made.trusted


def test_a_lambda_in_a_pipeline_must_move_to_a_module_and_no_trust_is_offered(workspace, rows):
    model = make_pipeline(FunctionTransformer(lambda data: data), LogisticRegression(max_iter=9))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few iterations do not converge
        model.fit(rows.drop(columns="target"), rows["target"])
    with pytest.raises(errors.UnsupportedModel) as caught:
        mlops.package(model, data=rows, target="target", workspace=workspace)
    assert "--trust" not in str(caught.value)
    assert ".py file" in str(caught.value)


def test_the_runs_card_names_its_models_and_the_next_command(workspace, data, script):
    run = script(SKLEARN)
    short = f"runs:/{run.run_id[:12]}/model"
    assert f"mlops test {short} --data HOLDOUT" in run.card().text()
    gate = {"roc_auc": 0.9}
    mlops.test(short, "bc-holdout", "target", min=gate, workspace=workspace)
    from mlops_magics.training import catalogue

    text = catalogue.find(workspace, "logit").card().text()
    assert f"mlops package {short} --data TRAIN" in text
    mlops.package(short, data="bc-train", target="target", workspace=workspace)
    text = catalogue.find(workspace, "logit").card().text()
    assert f"mlops register {short} --name NAME" in text


def test_the_card_of_a_run_without_a_model_says_what_the_script_should_call(script):
    assert "mlops.package(model, data=train, target=TARGET)" in script("").card().text()


def test_the_examples_of_the_help_work_as_printed_for_a_script(workspace, script, rows):
    run = script(SKLEARN)
    late = rows.rename(columns={"target": "late"})
    mlops.ingest(late[::2], "train", workspace=workspace)
    mlops.ingest(late[1::2], "holdout", workspace=workspace)
    example = "runs:/4f1c2a9b/model"
    uri = f"runs:/{run.run_id[:8]}/model"
    shell(f"mlops test {uri} --data holdout --target late --min roc_auc=0.7")
    lines = [group.commands[name].in_shell for name in ("package", "register")]
    assert all(example in line for line in lines)
    for line in lines:
        shell(line.replace(example, uri))
    test = group.commands["test"].in_shell
    assert "flight-delay@challenger" in test
    shell(test)
    assert mlops.model_versions("flight-delay", workspace=workspace)[0].passed is True


def test_a_failure_before_packaging_goes_with_the_package_into_another_run(workspace, data, script):
    script(SKLEARN)
    with pytest.raises(errors.GateFailed):
        mlops.test(
            "runs:/logit/model", "bc-holdout", "target", max={"roc_auc": 0.1}, workspace=workspace
        )
    other = workspace.tracking.client.create_run(workspace.tracking.experiment_id).info.run_id
    package = mlops.package(
        "runs:/logit/model", data="bc-train", target="target", run=other, workspace=workspace
    )
    assert (package.run_id, package.passed) == (other, False)
