"""What a run measured stands beside the champion's evidence; a clear difference is called one."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import mlops_magics as mlops
from mlops_magics.pipelines import history, specification, tracked
from mlops_magics.pipelines.comparison import compare_pipeline


def frame(rows, noise):
    """Rows whose truth follows ``x`` but for some noise."""
    random = np.random.default_rng(0)
    x = random.normal(size=rows)
    late = (x + random.normal(size=rows) * noise > 0).astype(int)
    return pd.DataFrame({"x": x, "late": late})


@pytest.fixture
def run(workspace, notebook, monkeypatch):
    """Record a run of one step in which something is done; give its record."""

    def record(work, parameters=None):
        pipeline = specification.read(notebook("train", "1"))
        name = history.new_id()
        given = parameters or {}
        notebooks = {"train": workspace.path / "train.ipynb"}
        history.begin(workspace, name, pipeline, given, workspace.path, notebooks)
        parent = tracked.begin(workspace, history.read(workspace, name))
        child = tracked.begin_step(workspace, parent, "train", name, {})
        with monkeypatch.context() as patch:
            for key, value in tracked.nesting(child).items():
                patch.setenv(key, value)
            work()
        now = time.time()
        history.change_step(
            workspace, name, "train", status="FINISHED", run_id=child, started=now, ended=now
        )
        history.change(workspace, name, status="FINISHED", ended=now)
        return mlops.pipeline_run(name, workspace=workspace)

    return record


def test_a_run_is_compared_with_the_champion_of_what_it_registered(workspace, run):
    data = frame(600, 0.2)
    model = LogisticRegression().fit(data[["x"]], data["late"])

    def register(alias):
        def work():
            mlops.register(
                model,
                "tiny",
                alias=alias,
                data=data,
                target="late",
                holdout=data,
                min={"roc_auc": 0.5},
                workspace=workspace,
            )

        return work

    # before there is a champion, that is said
    first = compare_pipeline(run(register("challenger")).id, workspace=workspace)
    (tested,) = first.tested
    assert (tested.version, tested.rows, tested.passed) == ("tiny/1", 600, True)
    assert tested.note == "There is no tiny@champion yet to compare with."
    mlops.promote("tiny@challenger", workspace=workspace)
    itself = compare_pipeline(first.run.id, workspace=workspace)
    assert itself.tested[0].note == "It is tiny@champion itself."

    # a model that answers nearly by chance is worse, and clearly
    blurred = frame(400, 8.0)

    def test():
        poor = LogisticRegression().fit(blurred[["x"]], blurred["late"])
        mlops.test(poor, blurred, "late", name="tiny", workspace=workspace)

    second = run(test, {"rows": 400})
    unknown = compare_pipeline(second.id, workspace=workspace)
    assert "name a champion: --champion NAME" in unknown.tested[0].note
    found = compare_pipeline(champion="tiny", registry=workspace.tracking.uri, workspace=workspace)
    (tested,) = found.tested
    assert (tested.champion, tested.rows, tested.champion_rows) == ("tiny/1", 400, 600)
    verdicts = {one.name: one.verdict for one in tested.metrics}
    assert verdicts["roc_auc"] == "worse"
    assert verdicts["log_loss"] == "worse"  # where lower is better
    text, words = str(found), found.markdown()
    assert "✗ worse" in text
    assert "champion tiny/1" in text
    assert words.startswith("### train: ✓ FINISHED\n\nrun `")
    assert "with `rows=400`" in words
    assert "| metric | this run | champion tiny/1 |" in words
    metrics = found.openmetrics().splitlines()
    assert metrics[-1] == "# EOF"
    assert any(
        line.startswith('mlops_metric{model="tiny",metric="roc_auc"} 0.') for line in metrics
    )

    # the same model again is no clear difference
    def again():
        mlops.test(model, data, "late", name="tiny", workspace=workspace)

    same = compare_pipeline(run(again).id, champion="tiny@champion", workspace=workspace)
    assert {one.verdict for one in same.tested[0].metrics} == {"no clear difference"}


def test_a_run_without_a_test_says_so_and_its_texts_are_no_markdown(workspace, run):
    record = run(lambda: None, {"note": "`</code>`\n# title"})
    error = {"cell": 1, "prompt": 1, "source": "", "ename": "E", "evalue": "```\n# no\n<b>"}
    history.change_step(workspace, record.id, "train", status="FAILED", error=error)
    found = compare_pipeline(record.id, workspace=workspace)
    words = found.markdown()
    assert "No step of this run tested a model" in words
    assert "with `` note=`</code>` # title ``" in words
    assert "````\nE: ```\n# no\n<b>\n````" in words
