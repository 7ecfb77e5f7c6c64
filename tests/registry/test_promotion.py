"""Versions need evidence; aliases move only on it, and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import urlparse

import pytest
import sqlalchemy as sa
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlops_magics import errors
from mlops_magics.packaging import package
from mlops_magics.registry import model_versions, promote, register, rollback_alias
from mlops_magics.store.tables import ledger
from mlops_magics.testing import test as run_tests


@pytest.fixture(scope="module")
def rows():
    return load_breast_cancer(as_frame=True).frame


@pytest.fixture
def packed(workspace, rows):
    """Makes packages of new models, tested with or without success."""

    def make(passing: bool | None = True):
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(rows.drop(columns="target"), rows["target"])
        made = package(model, name="tumour", data=rows, target="target", workspace=workspace)
        if passing is True:
            run_tests(made, rows, "target", min={"roc_auc": 0.9}, workspace=workspace)
        elif passing is False:
            with pytest.raises(errors.GateFailed):
                run_tests(made, rows, "target", max={"roc_auc": 0.1}, workspace=workspace)
        return made

    return make


def entries(workspace):
    with workspace.database.read() as connection:
        return [
            (row.action, row.subject, json.loads(row.details))
            for row in connection.execute(sa.select(ledger).order_by(ledger.c.seq))
        ]


def test_a_package_without_a_report_is_not_registered_and_the_next_command_is_named(
    workspace, packed
):
    with pytest.raises(errors.EvidenceMissing, match=r"mlops test models:/m-.* --target target"):
        register(packed(None), "tumour", workspace=workspace)
    with pytest.raises(errors.ModelNotFound):
        model_versions("tumour", workspace=workspace)


def test_a_version_carries_its_evidence_into_mlflows_registry(workspace, packed):
    made = packed()
    version = register(made, "tumour", description="first", workspace=workspace)
    assert (version.version, version.passed, version.digest) == ("1", True, made.digest)
    tags = workspace.tracking.client.get_model_version("tumour", "1").tags
    assert tags["mlops.digest"] == made.digest
    assert tags["mlops.report.passed"] == "true"
    assert entries(workspace)[0][:2] == ("register", "tumour/1")


def test_the_same_package_registered_twice_is_one_version(workspace, packed):
    made = packed()
    first = register(made, "tumour", workspace=workspace)
    again = register(made.uri, "tumour", workspace=workspace)
    assert first.version == again.version
    assert len(entries(workspace)) == 1


def test_a_registration_that_was_killed_halfway_is_entered_when_it_is_done_again(
    workspace, packed, monkeypatch
):
    made = packed()
    with monkeypatch.context() as patch:
        patch.setattr("mlops_magics.store.ledger.append", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            register(made, "tumour", workspace=workspace)
    assert register(made, "tumour", workspace=workspace).version == "1"
    assert register(made, "tumour", workspace=workspace).version == "1"
    assert [subject for action, subject, _ in entries(workspace) if action == "register"] == [
        "tumour/1"
    ]


def test_a_version_whose_tests_failed_is_not_promoted(workspace, packed):
    register(packed(False), "tumour", workspace=workspace)
    with pytest.raises(errors.EvidenceMissing, match=r"roc_auc = .* exceeds the maximum 0\.1"):
        promote("tumour/1", workspace=workspace)
    with pytest.raises(errors.EvidenceMissing):
        register(packed(False), "tumour", alias="champion", workspace=workspace)
    assert workspace.tracking.client.get_registered_model("tumour").aliases == {}


def test_a_tag_edited_in_mlflow_does_not_stand_for_evidence(workspace, packed):
    register(packed(False), "tumour", workspace=workspace)
    workspace.tracking.client.set_model_version_tag("tumour", "1", "mlops.report.passed", "true")
    with pytest.raises(errors.EvidenceMissing):
        promote("tumour/1", workspace=workspace)


def test_an_alias_moves_forward_and_back_and_each_move_is_in_the_ledger(workspace, packed):
    for _ in range(3):
        version = register(packed(), "tumour", workspace=workspace)
        promote(version, reason=f"number {version.version}", workspace=workspace)
    back = rollback_alias("tumour", workspace=workspace)
    assert (back.version, back.previous, back.action) == ("2", "3", "rollback")
    assert rollback_alias("tumour", workspace=workspace).version == "1"
    with pytest.raises(errors.ModelNotFound, match="no version before 1"):
        rollback_alias("tumour", workspace=workspace)
    moves = [(action, subject) for action, subject, _ in entries(workspace) if action != "register"]
    assert moves == [
        ("promote", "tumour/1"),
        ("promote", "tumour/2"),
        ("promote", "tumour/3"),
        ("rollback", "tumour/2"),
        ("rollback", "tumour/1"),
    ]
    assert entries(workspace)[-1][2]["previous"] == "2"


def test_promoting_what_is_there_already_changes_nothing(workspace, packed):
    register(packed(), "tumour", alias="champion", workspace=workspace)
    before = entries(workspace)
    assert promote("tumour/1", workspace=workspace).entry is None
    assert entries(workspace) == before


def test_a_model_that_is_not_registered_cannot_be_promoted(workspace, packed):
    with pytest.raises(errors.InvalidArgument, match="not registered"):
        promote(packed().uri, workspace=workspace)


def test_a_tampered_package_is_neither_registered_nor_promoted(workspace, packed):
    made = packed()
    register(made, "tumour", workspace=workspace)
    location = workspace.tracking.client.get_logged_model(made.model_id).artifact_location
    (Path(urlparse(location).path) / "model.skops").write_bytes(b"changed")
    shutil.rmtree(made.path)
    with pytest.raises(errors.PackageCorrupt, match=r"model\.skops"):
        promote("tumour/1", workspace=workspace)


@pytest.mark.parametrize("name", ["", "a/b", "<b>", "a'b", "-x", "a b"])
def test_a_name_that_no_address_could_hold_is_refused(workspace, packed, name):
    with pytest.raises(errors.InvalidArgument):
        register("models:/m-" + "0" * 32, name, workspace=workspace)


def test_versions_are_listed_newest_first_with_aliases(workspace, packed):
    register(packed(), "tumour", alias="champion", workspace=workspace)
    register(packed(), "tumour", workspace=workspace)
    found = model_versions("tumour", workspace=workspace)
    assert [(row.version, row.aliases) for row in found] == [("2", []), ("1", ["champion"])]
    assert "roc_auc" in str(found)


def test_a_report_without_gates_registers_but_promotes_nothing(workspace, packed, rows):
    made = packed(None)
    run_tests(made, rows, "target", workspace=workspace)
    version = register(made, "tumour", workspace=workspace)
    assert (version.passed, version.tested, version.badge.text) == (None, True, "no gates")
    tags = workspace.tracking.client.get_model_version("tumour", "1").tags
    assert tags["mlops.report.passed"] == "none"
    for act in (lambda: promote(version, workspace=workspace), lambda: alias_to(made, workspace)):
        with pytest.raises(errors.EvidenceMissing, match="without gates") as caught:
            act()
        assert "--target target --min roc_auc=VALUE" in caught.value.hint
    run_tests("tumour/1", rows, "target", min={"roc_auc": 0.9}, workspace=workspace)
    assert promote("tumour/1", workspace=workspace).version == "1"
    assert model_versions("tumour", workspace=workspace)[0].badge.text == "tests passed"


def alias_to(made, workspace):
    return register(made, "tumour", alias="challenger", workspace=workspace)


@pytest.mark.parametrize("gates", [{}, {"min": {"roc_auc": 0.5}}])
def test_a_failure_lasts_until_its_gates_are_asked_again_and_hold(workspace, packed, rows, gates):
    made = packed(False)  # max roc_auc = 0.1
    register(made, "tumour", workspace=workspace)
    report = run_tests("tumour/1", rows, "target", **gates, workspace=workspace)
    assert report.passed is False
    assert "earlier failure stands" in report.card().text()
    assert model_versions("tumour", workspace=workspace)[0].badge.text == "tests failed"
    with pytest.raises(errors.EvidenceMissing, match="failed earlier") as caught:
        promote("tumour/1", workspace=workspace)
    assert "--max roc_auc=VALUE" in caught.value.hint
    # under the logged model's own name as well, and in a run of its own
    run_tests(made, rows, "target", run=None, **gates, workspace=workspace)
    with pytest.raises(errors.EvidenceMissing, match="failed earlier"):
        promote("tumour/1", workspace=workspace)
    run_tests(made, rows, "target", max={"roc_auc": 1.0}, workspace=workspace)
    assert promote("tumour/1", workspace=workspace).version == "1"
    assert model_versions("tumour", workspace=workspace)[0].passed is True


def test_the_report_of_one_model_does_not_replace_anothers_in_the_same_run(workspace, rows):
    features, truth = rows.drop(columns="target"), rows["target"]
    run = workspace.tracking.client.create_run(workspace.tracking.experiment_id).info.run_id
    made = [
        package(
            make_pipeline(StandardScaler(), LogisticRegression(C=c)).fit(features, truth),
            data=rows,
            target="target",
            run=run[:12],
            workspace=workspace,
        )
        for c in (1.0, 0.01)
    ]
    with pytest.raises(errors.GateFailed):
        run_tests(made[0], rows, "target", max={"roc_auc": 0.1}, workspace=workspace)
    run_tests(made[1], rows, "target", min={"roc_auc": 0.5}, workspace=workspace)
    run_tests(made[0], rows, "target", workspace=workspace)
    first, second = (
        register(each, name, workspace=workspace)
        for each, name in zip(made, ("a", "b"), strict=True)
    )
    assert (first.passed, second.passed) == (False, True)
