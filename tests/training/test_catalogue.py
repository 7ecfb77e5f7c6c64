"""Runs are found by filter, name and id; two are laid side by side."""

import json

import mlflow
import pandas as pd
import pytest

from mlops_magics.data import ingest
from mlops_magics.errors import InvalidArgument, RunNotFound
from mlops_magics.training import compare_runs, run, runs
from mlops_magics.training.catalogue import find


@pytest.fixture
def three(workspace):
    found = []
    for depth in (3, 6, 9):
        with run(
            f"depth-{depth}",
            params={"depth": depth, "seed": 0},
            source=f"depth = {depth}\nfit(depth)\n",
            workspace=workspace,
        ) as active:
            active.log_metrics({"roc_auc": 0.6 + depth / 100, "rows": 100})
        found.append(active.record)
    return found


def test_a_filter_finds_runs_newest_first(workspace, three):
    found = runs("metrics.roc_auc > 0.65 and params.seed = '0'", workspace=workspace)
    assert [each.name for each in found] == ["depth-9", "depth-6"]
    assert [each.name for each in runs(limit=1, workspace=workspace)] == ["depth-9"]


@pytest.mark.parametrize("bad", ["metrics.a >> 1", "depth is large", "metrics.a > 'x'", "a = "])
def test_a_bad_filter_is_told_with_an_example(workspace, bad):
    with pytest.raises(InvalidArgument, match=r"the filter .* cannot be used[\s\S]*for example"):
        runs(bad, workspace=workspace)


@pytest.mark.parametrize("limit", [0, -1, 5000, "ten", True])
def test_a_bad_limit_is_told(workspace, limit):
    with pytest.raises(InvalidArgument, match="limit = "):
        runs(limit=limit, workspace=workspace)


def test_runs_are_a_table(workspace, three):
    frame = runs(workspace=workspace).df
    assert frame["params.depth"].tolist() == ["9", "6", "3"]
    assert frame["metrics.roc_auc"].max() == pytest.approx(0.69)
    assert frame["started"].dt.tz is not None
    text = str(runs(workspace=workspace))
    assert "depth-6" in text
    assert "0.66" in text
    json.dumps(runs(workspace=workspace).to_dict(), allow_nan=False)


def test_no_runs_say_how_to_begin_and_have_an_empty_table(workspace):
    assert "%%mlops_run" in str(runs(workspace=workspace))
    assert runs(workspace=workspace).df.empty


def test_a_run_that_mlflow_alone_made_is_shown_too(workspace):
    tracking = workspace.tracking
    with tracking.fluent().start_run(experiment_id=tracking.experiment_id, run_name="foreign"):
        mlflow.log_param("a", 1)
    assert find(workspace, "foreign").params == {"a": "1"}
    assert compare_runs("foreign", "foreign", workspace=workspace).code["cell"] == ""


def test_a_name_is_its_newest_run(workspace, three):
    with run("depth-3", workspace=workspace) as active:
        pass
    assert find(workspace, "depth-3").run_id == active.run_id


@pytest.mark.parametrize("ref", ["o'neil", 'say "hi"', "50%"])
def test_names_with_signs_are_found(workspace, ref):
    with run(ref, workspace=workspace) as active:
        pass
    assert find(workspace, ref).run_id == active.run_id


def test_an_unknown_run_offers_the_nearest(workspace, three):
    with pytest.raises(RunNotFound, match=r"no run 'depth-5'\n.*did you mean 'depth-"):
        find(workspace, "depth-5")
    with pytest.raises(RunNotFound):
        find(workspace, "0" * 32)


def test_two_runs_side_by_side_mark_what_differs(workspace, three):
    ingest(pd.DataFrame({"x": [1]}), "numbers", workspace=workspace)
    with run("with-data", dataset="numbers", params={"seed": 0}, workspace=workspace):
        pass
    found = compare_runs("depth-3", "depth-9", workspace=workspace)
    assert {line["name"]: line["differs"] for line in found.params} == {
        "depth": True,
        "seed": False,
    }
    changes = {line["name"]: line["change"] for line in found.metrics}
    assert changes == pytest.approx({"roc_auc": 0.06, "rows": 0})
    assert "-depth = 3\n+depth = 9" in found.code["cell"]
    assert found.environment == []
    text = str(found)
    assert "≠  depth" in text
    assert "+depth = 9" in text
    data = compare_runs("depth-3", "with-data", workspace=workspace).data
    assert data[0]["first"] is None
    assert data[0]["second"].startswith("numbers/1 @ ")
    assert set(found.df["part"]) == {"params", "metrics"}


def test_uncommitted_changes_are_compared(workspace, repository, project):
    for depth in (6, 9):
        (project / "train.py").write_text(f"depth = {depth}\n")
        with run(f"d{depth}", workspace=workspace):
            pass
    diff = compare_runs("d6", "d9", workspace=workspace).code["uncommitted"]
    assert "-+depth = 6" in diff
    assert "++depth = 9" in diff
