"""Gates stop what does not pass, after the report was kept."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from mlops_magics import errors
from mlops_magics.packaging import package
from mlops_magics.store import evidence
from mlops_magics.testing import test as run_tests


@pytest.fixture(scope="module")
def rows():
    random, n = np.random.default_rng(0), 2000
    data = pd.DataFrame(
        {
            "hour": random.integers(0, 24, n),
            "noise": random.normal(size=n),
            "carrier": random.choice(["AA", "UA"], n),
        }
    )
    flipped = random.random(n) < np.where(data["carrier"] == "AA", 0.05, 0.35)
    data["late"] = ((data["hour"] > 15) ^ flipped).astype(int)
    return data


@pytest.fixture(scope="module")
def good(rows):
    return LogisticRegression().fit(rows[["hour"]], rows["late"])


@pytest.fixture(scope="module")
def bad(rows):
    return LogisticRegression().fit(rows[["noise"]], rows["late"])


def test_a_passing_report_is_kept_with_its_metrics_in_its_run(workspace, rows, good):
    report = run_tests(
        good, rows, "late", min={"roc_auc": 0.6}, max={"log_loss": 0.9}, workspace=workspace
    )
    assert report.passed
    kept = evidence.read_report(workspace, report.run_id)
    assert kept == report.to_dict()
    run = workspace.tracking.client.get_run(report.run_id)
    assert run.data.metrics["test.roc_auc"] == pytest.approx(report.metric("roc_auc").value)
    assert run.info.status == "FINISHED"


def test_a_failing_gate_names_metric_value_interval_and_threshold_in_four_lines(
    workspace, rows, good
):
    with pytest.raises(errors.GateFailed) as caught:
        run_tests(good, rows, "late", min={"roc_auc": 0.999, "accuracy": 0.1}, workspace=workspace)
    report = caught.value.report
    auc = report.metric("roc_auc")
    first, *_ = str(caught.value).splitlines()
    assert first == (
        f"roc_auc = {auc.value:.4g} [{auc.low:.4g}, {auc.high:.4g}] "
        "does not reach the minimum 0.999"
    )
    assert len(caught.value._render_traceback_()) == 4
    assert [gate.passed for gate in report.gates] == [False, True]
    assert evidence.read_report(workspace, report.run_id)["passed"] is False


def test_a_gate_uses_the_interval_and_not_the_point(workspace, rows, good):
    accuracy = run_tests(good, rows, "late", workspace=workspace).metric("accuracy")
    between = (accuracy.low + accuracy.value) / 2
    assert accuracy.value > between
    with pytest.raises(errors.GateFailed):
        run_tests(good, rows, "late", min={"accuracy": between}, workspace=workspace)


def test_a_worse_model_is_stopped_and_a_better_one_is_not(workspace, rows, good, bad):
    champion = package(good, name="late", data=rows, workspace=workspace)
    with pytest.raises(errors.GateFailed, match="is worse than"):
        run_tests(bad, rows, "late", no_worse_than=champion, workspace=workspace)
    report = run_tests(good, rows, "late", no_worse_than=bad, workspace=workspace)
    assert report.gates[0].value > 0


def test_models_are_compared_class_by_class_whatever_order_they_answer_in(workspace, rows, good):
    class Turned:
        classes_ = good.classes_[::-1]

        def predict(self, data):
            return good.predict(data[["hour"]])

        def predict_proba(self, data):
            return good.predict_proba(data[["hour"]])[:, ::-1]

    report = run_tests(good, rows, "late", no_worse_than=Turned(), workspace=workspace)
    assert report.gates[0].value == 0.0


def test_models_of_other_classes_are_not_compared(workspace):
    data = load_iris(as_frame=True).frame
    wide = LogisticRegression(max_iter=500).fit(data.drop(columns="target"), data["target"])
    two = data[data["target"] < 2]
    narrow = LogisticRegression().fit(two.drop(columns="target"), two["target"])
    with pytest.raises(errors.InvalidArgument, match="knows the classes 0, 1, 2, which are not"):
        run_tests(narrow, two, "target", no_worse_than=wide, workspace=workspace)


def test_a_champion_that_does_not_exist_yet_is_no_bar_and_is_said(workspace, rows, good):
    report = run_tests(
        good, rows, "late", no_worse_than="champion", name="late", workspace=workspace
    )
    assert report.passed is None
    assert any("nothing to compare with yet" in note for note in report.notes)


def test_a_gap_between_slices_is_found(workspace, rows, good):
    with pytest.raises(errors.GateFailed, match="gap of recall:carrier") as caught:
        run_tests(good, rows, "late", max_gap={"tpr:carrier": 0.05}, workspace=workspace)
    sizes = {each.value: each.rows for each in caught.value.report.slices}
    assert sizes == rows["carrier"].value_counts().to_dict()
    report = run_tests(good, rows, "late", max_gap={"tpr:carrier": 0.9}, workspace=workspace)
    assert report.passed


def test_a_gap_that_cannot_be_measured_does_not_hold(workspace, rows, good):
    few = rows.groupby("carrier").head(40)
    with pytest.raises(errors.GateFailed, match="gap of recall:carrier cannot be measured"):
        run_tests(good, few, "late", max_gap={"tpr:carrier": 0.9}, workspace=workspace)


def test_latency_is_measured_in_milliseconds_when_asked_for(workspace, rows, good):
    report = run_tests(good, rows, "late", max={"latency_p95": "60s"}, workspace=workspace)
    assert report.metric("latency_p95").value > 0
    with pytest.raises(errors.GateFailed, match=r"latency_p95 = .* ms exceeds the maximum 1e-06"):
        run_tests(good, rows, "late", max={"latency_p95": 1e-6}, workspace=workspace)


def test_a_metric_or_column_that_does_not_exist_gets_the_nearest(workspace, rows, good):
    with pytest.raises(errors.UnknownName, match="did you mean 'roc_auc'"):
        run_tests(good, rows, "late", min={"roc_acu": 0.5}, workspace=workspace)
    with pytest.raises(errors.UnknownName, match="did you mean 'late'"):
        run_tests(good, rows, "lat", workspace=workspace)


def test_what_cannot_predict_is_refused(workspace, rows):
    with pytest.raises(errors.UnsupportedModel, match="what works"):
        run_tests({"a": 1}, rows, "late", workspace=workspace)


def test_tasks_are_told_by_model_and_target(workspace):
    iris = load_iris(as_frame=True).frame
    model = LogisticRegression(max_iter=500).fit(iris.drop(columns="target"), iris["target"])
    assert run_tests(model, iris, "target", workspace=workspace).task == "multiclass"
    sugar = load_diabetes(as_frame=True).frame
    line = LinearRegression().fit(sugar.drop(columns="target"), sugar["target"])
    report = run_tests(line, sugar, "target", min={"r2": 0.3}, workspace=workspace)
    assert report.task == "regression"


def test_text_labels_and_unlabelled_rows_are_handled(workspace, rows):
    data = rows.assign(late=rows["late"].map({0: "no", 1: "yes"}))
    data.loc[:9, "late"] = None
    known = data.dropna()
    model = LogisticRegression().fit(known[["hour"]], known["late"])
    report = run_tests(model, data, "late", workspace=workspace)
    assert report.rows == len(rows) - 10
    assert report.classes == ["no", "yes"]
    assert "10 rows without a late were left out" in report.notes


def test_junit_has_a_case_for_each_gate_and_its_failure(workspace, rows, good):
    with pytest.raises(errors.GateFailed) as caught:
        run_tests(good, rows, "late", min={"roc_auc": 0.999, "f1": 0.1}, workspace=workspace)
    suite = ET.fromstring(caught.value.report.junit())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "0.999" in suite.find("testcase/failure").get("message")


def test_a_card_escapes_what_comes_from_data(workspace, rows, good):
    data = rows.assign(carrier="<script>alert(1)</script>")
    html = run_tests(good, data, "late", slices=["carrier"], workspace=workspace)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_failure_of_a_live_model_outlasts_a_test_without_gates(workspace, rows, good):
    with pytest.raises(errors.GateFailed) as caught:
        run_tests(good, rows, "late", min={"roc_auc": 0.9999}, workspace=workspace)
    run = caught.value.report.run_id
    report = run_tests(good, rows, "late", run=run[:8], workspace=workspace)
    assert (report.run_id, report.passed, len(report.unsettled)) == (run, False, 1)
    other = LogisticRegression(C=1e-9).fit(rows[["hour"]], rows["late"])
    assert run_tests(other, rows, "late", run=run, workspace=workspace).passed is None


def test_nulls_that_a_model_cannot_take_are_named(workspace, rows):
    model = LogisticRegression().fit(rows[["hour"]], rows["late"])
    holed = rows.assign(hour=rows["hour"].where(rows["hour"] > 3))
    with pytest.raises(errors.ModelError, match="contains NaN") as caught:
        run_tests(model, holed, "late", workspace=workspace)
    assert caught.value.hint.startswith("NaN in: hour;")


def test_a_model_that_is_not_fitted_is_told_to_be_fitted(workspace, rows):
    with pytest.raises(errors.ModelError) as caught:
        run_tests(LogisticRegression(), rows[["hour", "late"]], "late", workspace=workspace)
    assert "fit it first" in caught.value.hint


def test_a_text_pipeline_on_a_frame_is_told_to_choose_its_column(workspace):
    data = pd.DataFrame({"text": ["good", "bad"] * 20, "label": [1, 0] * 20})
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(data["text"], data["label"])
    with pytest.raises(
        errors.ModelError, match=r"1 answers for 40 rows.*1 columns: text"
    ) as caught:
        run_tests(model, data, "label", workspace=workspace)
    assert "TfidfVectorizer(), 'text'" in caught.value.hint


def test_a_rival_that_exists_nowhere_is_an_error_unless_it_is_this_model_to_be(
    workspace, rows, good
):
    for rival in ("typo@champion", "typo", "late/3", "models:/m-" + "0" * 32):
        with pytest.raises(errors.ModelNotFound):
            run_tests(good, rows, "late", no_worse_than=rival, workspace=workspace)
    with pytest.raises(errors.ModelNotFound, match="typo") as caught:
        run_tests(good, rows, "late", no_worse_than="typo@champion", workspace=workspace)
    assert "--name typo" in caught.value.hint
    report = run_tests(
        good, rows, "late", no_worse_than="late@champion", name="late", workspace=workspace
    )
    assert any("nothing to compare with yet" in note for note in report.notes)
