"""Logging says which value it cannot take, and reaches ended runs too."""

from pathlib import Path

import numpy as np
import pytest

from mlops_magics.errors import InvalidArgument, RunNotFound
from mlops_magics.training import log, run


def test_logging_without_a_run_says_what_to_do(workspace):
    with pytest.raises(RunNotFound, match=r"no run is active\n.*--run"):
        log(metrics={"a": 1}, workspace=workspace)


def test_the_active_run_is_logged_to_by_default(workspace):
    with run("a", workspace=workspace) as active:
        record = log(params={"p": 1}, metrics={"m": np.float32(0.5)}, workspace=workspace)
    assert record.run_id == active.run_id
    assert (record.params, record.metrics) == ({"p": "1"}, {"m": 0.5})


def test_an_ended_run_is_logged_to_by_name_id_or_its_beginning(workspace):
    with run("a", workspace=workspace) as active:
        pass
    log(tags={"one": "1"}, run="a", workspace=workspace)
    log(tags={"two": "2"}, run=active.run_id, workspace=workspace)
    record = log(tags={"three": "3"}, run=active.run_id[:8], workspace=workspace)
    assert record.tags == {"one": "1", "two": "2", "three": "3"}
    assert record.status == "FINISHED"


@pytest.mark.parametrize("value", ["0.7", None, [1, 2], "high"])
def test_a_metric_that_is_no_number_is_named(workspace, value):
    with run("a", workspace=workspace) as active, pytest.raises(InvalidArgument, match="'auc' is"):
        active.log_metrics({"auc": value})


def test_a_parameter_cannot_be_changed_and_a_name_must_be_text(workspace):
    with run("a", params={"depth": 3}, workspace=workspace) as active:
        with pytest.raises(InvalidArgument, match="depth"):
            active.log_params({"depth": 4})
        with pytest.raises(InvalidArgument, match="3 cannot be a parameter's name"):
            active.log_params({3: 4})


def test_hundreds_of_parameters_and_steps_of_a_metric_are_taken(workspace):
    with run("many", params={f"p{i}": i for i in range(250)}, workspace=workspace) as active:
        for step in range(3):
            active.log_metrics({"loss": 1 / (step + 1)}, step=step)
    assert len(active.record.params) == 250
    history = workspace.tracking.client.get_metric_history(active.run_id, "loss")
    assert [each.step for each in history] == [0, 1, 2]


def test_texts_figures_files_and_folders_are_kept(workspace):
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("a")
    Path("b.txt").write_text("b")
    with run("kept", workspace=workspace) as active:
        active.keep_text("mlops/output.txt", "printed é")
        active.keep_figure("figures/roc.png", b"\x89PNG")
        log(artifacts=["notes", "b.txt"], workspace=workspace)
    download = workspace.tracking.client.download_artifacts
    for name, content in {
        "mlops/output.txt": "printed é".encode(),
        "figures/roc.png": b"\x89PNG",
        "notes/a.txt": b"a",
        "b.txt": b"b",
    }.items():
        assert Path(download(active.run_id, name)).read_bytes() == content


@pytest.mark.parametrize("name", ["../up.txt", "/etc/x", "a/../../b", ""])
def test_an_artifact_stays_inside_the_run(workspace, name):
    with (
        run("a", workspace=workspace) as active,
        pytest.raises(InvalidArgument, match="no path inside"),
    ):
        active.keep_text(name, "x")


def test_nothing_to_log_and_a_missing_file_are_told(workspace):
    with pytest.raises(InvalidArgument, match="nothing to log"):
        log(workspace=workspace)
    with run("a", workspace=workspace), pytest.raises(InvalidArgument, match="no file gone"):
        log(artifacts=["gone"], workspace=workspace)
