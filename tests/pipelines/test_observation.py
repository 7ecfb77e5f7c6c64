"""A run is seen from outside: whichever process runs it, while it runs and afterwards."""

import pytest

import mlops_magics as mlops
from mlops_magics.errors import RunNotFound
from mlops_magics.pipelines.view import View

pytestmark = pytest.mark.xdist_group("failed")


def test_who_follows_a_run_hears_what_its_own_process_tells(failed):
    _, error, events = failed
    assert events[0].details == {
        "run": error.run.id,
        "pipeline": "flights",
        "steps": ["ingest", "gate", "register"],
    }
    told = [(event.step, event.kind, event.details.get("status")) for event in events]
    assert [item for item in told if item[1] in {"begin", "status"}] == [
        ("ingest", "begin", None),
        ("ingest", "status", "FINISHED"),
        ("gate", "begin", None),
        ("gate", "status", "FAILED"),
        ("register", "status", "SKIPPED"),
    ]
    printed = "".join(e.details["text"] for e in events if (e.step, e.kind) == ("ingest", "output"))
    assert "2 rows\n" in printed
    assert "output rows = 2" in printed
    assert any(event.kind == "cell" and event.details["total"] == 3 for event in events)
    view = View()
    for event in events:
        view(event)
    assert "✗ FAILED" in view.line("gate")
    assert "auc 0.61 is too low" in view.line("gate")


def test_a_run_is_found_as_the_newest_by_its_id_or_by_how_that_begins(failed):
    workspace, error, _ = failed
    assert mlops.pipeline_run(workspace=workspace) == error.run
    assert mlops.pipeline_run(error.run.id, workspace=workspace) == error.run
    assert mlops.pipeline_run(error.run.id[:-2], workspace=workspace) == error.run
    with pytest.raises(RunNotFound, match="no pipeline run '%'"):
        mlops.pipeline_run("%", workspace=workspace)


def test_a_failure_is_told_with_its_circumstances(failed):
    workspace, error, _ = failed
    step = mlops.pipeline_run(workspace=workspace).steps[1]
    assert step.error["memory"]["total"] > step.error["memory"]["peak"] > 300_000_000
    assert {"papermill", "ipykernel"} <= set(step.error["environment"]["packages"])
    # in the record, and where a notebook would have shown a traceback
    shown = "\n".join(error._render_traceback_())
    for text in (str(error.run), shown):
        for part in (
            "ValueError: auc 0.61 is too low",
            "cell 3, In [4]",
            'raise ValueError(f"auc {auc} is too low")',
            "n = 2",
            " MB at most, of ",
            "ipykernel ",
            "02-gate.ipynb#papermill-error-cell",
        ):
            assert part in text
    assert "mlops pipeline show" in error.hint
