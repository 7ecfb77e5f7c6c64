"""A release is current once its smoke run has passed, and a smoke run changes nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.errors import (
    DeployConflict,
    InvalidArgument,
    ParameterInvalid,
    ReleaseCorrupt,
    ReleaseFailed,
    ReleaseNotFound,
)
from mlops_magics.pipelines import history
from mlops_magics.pipelines.releases import shelf
from mlops_magics.pipelines.triggers import firings
from mlops_magics.pipelines.triggers.job import execute
from mlops_magics.store import tables


def entries(workspace):
    t = tables.ledger.c
    query = sa.select(t.action, t.details).where(t.subject == "pipeline train").order_by(t.seq)
    with workspace.database.read() as connection:
        return [(row.action, json.loads(row.details)) for row in connection.execute(query)]


def everything(workspace):
    """What users get, and what the records hold: a smoke run must leave it as it is."""
    client = workspace.tracking.client
    models = {
        model.name: (dict(model.aliases), [str(one.version) for one in model.latest_versions])
        for model in client.search_registered_models()
    }
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    kept = ("datasets", "endpoints", "revisions", "predictions", "pipeline_runs")
    with workspace.database.read() as connection:
        rows = {name: connection.execute(sa.select(getattr(tables, name))).all() for name in kept}
    artifacts = sorted((workspace.path / "artifacts").rglob("*"))
    return models, len(runs), rows, artifacts


@pytest.fixture
def served(workspace):
    """An endpoint, a registered model and a dataset that a pipeline may look for."""
    mlops.ingest(pd.DataFrame({"x": [1, 2, 3]}), "known", workspace=workspace)
    client = workspace.tracking.client
    client.create_registered_model("known")
    for _ in range(2):
        client.create_model_version("known", source="file:///nowhere")
    client.set_registered_model_alias("known", "champion", "2")
    now = time.time()
    share = [{"revision": 7, "variant": "champion", "percent": 100.0}]
    with workspace.database.begin() as connection:
        values = {"name": "late", "traffic": share, "settings": {}, "generation": 4}
        connection.execute(tables.endpoints.insert().values(**values, created=now, updated=now))
        connection.execute(
            tables.predictions.insert().values(
                prediction_id="p1",
                request_id="p1",
                row=0,
                time=now,
                endpoint="late",
                status=200,
                latency=1.0,
            )
        )
    return workspace


def test_a_release_passes_its_smoke_run_is_run_by_triggers_and_survives_a_broken_one(
    served, made, write, git
):
    workspace = served
    commit = git("rev-parse", "HEAD")
    before = everything(workspace)
    heard = []
    first = mlops.release_pipeline(made / "notebooks", workspace=workspace, watch=heard.append)
    assert (first.id, first.status, first.before) == ("train-1", "CURRENT", None)
    assert (first.commit, first.dirty) == (commit, False)
    assert [event.kind for event in heard][:2] == ["run", "begin"]
    # the run did what the pipeline does, on little data, and none of it is here
    assert everything(workspace) == before
    assert list((workspace.path / "smoke").iterdir()) == []
    [notebook] = Path(first.notebooks).glob("*.ipynb")
    assert "rows = 5" in notebook.read_text()

    again = mlops.release_pipeline(made / "notebooks", workspace=workspace)
    assert (again.id, again.unchanged) == ("train-1", True)
    assert len(mlops.releases(workspace=workspace)) == 1

    # a release that fails leaves the one before current, and says where it failed
    write(made / "notebooks" / "train.ipynb", "1 / 0")
    with pytest.raises(ReleaseFailed) as raised:
        mlops.release_pipeline(made / "notebooks", workspace=workspace)
    assert "ZeroDivisionError" in raised.value.message
    assert "release train-1 stays current" in raised.value.message
    assert everything(workspace) == before
    rows = {row.id: row for row in mlops.releases("train", workspace=workspace)}
    assert {name: row.status for name, row in rows.items()} == {
        "train-1": "CURRENT",
        "train-2": "FAILED",
    }
    assert "ZeroDivisionError" in rows["train-2"].reason
    assert [(action, *details) for action, details in entries(workspace)] == [
        ("release", "before", "digest", "release", "smoke"),
        ("release", "failed", "release"),
    ]
    with pytest.raises(InvalidArgument, match="train-2 failed its smoke run"):
        mlops.rollback_pipeline("train", "train-2", workspace=workspace)

    # a trigger runs the release, not the files as they are now, and they know where they come from
    (made / "notebooks" / "features.py").write_text("broken")
    (made / "src" / "shapes" / "square.py").write_text("broken")
    (made / "data" / "rows.csv").write_text("fresh")
    git("commit", "-am", "broken")
    mlops.trigger(made / "notebooks", cron="0 0 1 1 *", start=False, workspace=workspace)
    mlops.fire_trigger("train-cron", start=False, workspace=workspace)
    [(job, hold)] = firings.claim(workspace, time.time())
    execute(workspace, job)
    hold.release()
    [firing] = mlops.firings(workspace=workspace)
    assert (firing.status, firing.outcome, firing.release) == ("FINISHED", None, "train-1")
    run = history.read(workspace, firing.run)
    assert run.release == "train-1"
    assert run.outputs["train"] == {
        "rows": 200,
        "area": 9,
        "text": "fresh",
        "commit": commit,
    }
    # here it counts
    assert workspace.tracking.client.get_registered_model("known").aliases == {"champion": 1}

    # a file of it that was changed is named, and nothing runs
    file = (
        shelf.frozen_of(workspace, shelf.current(workspace, "train")).tree / "src/shapes/square.py"
    )
    file.chmod(0o600)
    file.write_text("def area(side):\n    return 0\n")
    mlops.fire_trigger("train-cron", start=False, workspace=workspace)
    [(job, hold)] = firings.claim(workspace, time.time())
    execute(workspace, job)
    hold.release()
    firing = mlops.firings(workspace=workspace)[0]
    assert (firing.status, firing.run) == ("FAILED", None)
    assert "src/shapes/square.py was changed" in firing.outcome


@pytest.fixture
def kept(workspace, frozen):
    """Put releases on the shelf as if their smoke runs had ended so."""

    def make(*states):
        found = frozen()
        with workspace.database.begin() as connection:
            for number, status in enumerate(states, 1):
                connection.execute(
                    tables.releases.insert().values(
                        id=f"train-{number}",
                        workspace=workspace.id,
                        pipeline="train",
                        number=number,
                        digest=found.digest,
                        folder=str(found.folder.relative_to(workspace.path)),
                        path=found.manifest["path"],
                        manifest={
                            "manifest": found.manifest,
                            "facts": found.facts,
                            "base": str(found.base),
                            "smoke": {},
                        },
                        status=status,
                        actor="ana",
                        created=float(number),
                        updated=float(number),
                    )
                )
        return found

    return make


def states(workspace):
    return [row.status for row in reversed(list(mlops.releases("train", workspace=workspace)))]


def test_one_goes_back_to_the_release_before_or_to_any_that_has_passed(workspace, kept):
    kept("FORMER", "FORMER", "FAILED", "CURRENT")
    back = mlops.rollback_pipeline("train", reason="too slow", workspace=workspace)
    assert (back.id, back.before) == ("train-2", "train-4")
    assert states(workspace) == ["FORMER", "CURRENT", "FAILED", "FORMER"]
    assert mlops.rollback_pipeline("train", workspace=workspace).id == "train-1"
    with pytest.raises(ReleaseNotFound, match="before the current one"):
        mlops.rollback_pipeline("train", workspace=workspace)
    assert mlops.rollback_pipeline("train", "train-4", workspace=workspace).id == "train-4"
    with pytest.raises(InvalidArgument, match="train-4 is current"):
        mlops.rollback_pipeline("train", "train-4", workspace=workspace)
    with pytest.raises(ReleaseNotFound, match="did you mean 'train-4'"):
        mlops.rollback_pipeline("train", "tain-4", workspace=workspace)
    action, details = entries(workspace)[0]
    assert action == "release rollback"
    assert details == {"release": "train-2", "before": "train-4", "reason": "too slow"}
    assert "✓ CURRENT" in str(mlops.releases(workspace=workspace))


def test_nobody_goes_back_to_files_that_were_changed(workspace, kept):
    found = kept("FORMER", "CURRENT")
    file = found.tree / "notebooks" / "features.py"
    file.chmod(0o600)
    file.write_text("")
    with pytest.raises(ReleaseCorrupt, match=r"notebooks/features\.py was changed"):
        mlops.rollback_pipeline("train", workspace=workspace)
    assert states(workspace) == ["FORMER", "CURRENT"]


def test_parameters_are_refused_and_a_second_release_waits_before_anything_is_frozen(
    workspace, made
):
    with pytest.raises(ParameterInvalid, match="did you mean 'rows'"):
        mlops.release_pipeline(made / "notebooks", smoke=["row=1"], workspace=workspace)
    with (
        workspace.lock("release-train"),
        pytest.raises(DeployConflict, match="another release of 'train' is under way"),
    ):
        mlops.release_pipeline(made / "notebooks", workspace=workspace)
    assert not (workspace.path / "releases").exists()
    with pytest.raises(ReleaseNotFound, match="no release of pipeline 'train'"):
        mlops.releases("train", workspace=workspace)
