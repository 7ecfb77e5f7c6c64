"""A new version fires, a moved alias fires, and what the pipeline itself registers does not."""

from __future__ import annotations

import pytest

from mlops_magics.pipelines import history, tracked
from mlops_magics.pipelines.triggers import firings


@pytest.fixture
def register(workspace):
    """Register a version with MLflow's own client."""
    client = workspace.tracking.client

    def make(name="flights", run_id=None):
        if not client.search_registered_models(f"name='{name}'"):
            client.create_registered_model(name)
        return client.create_model_version(name, source="file:///nowhere", run_id=run_id).version

    return make


def test_a_new_version_fires_also_the_first_one(add, register, fires):
    add(registry="flights")
    assert fires() == []
    register()
    assert fires() == ["version 1 of flights was registered"]
    register()
    register()
    assert fires() == ["version 3 of flights was registered"]
    register("others")
    assert fires() == []


def test_a_version_that_is_deleted_fires_nothing(workspace, add, register, fires):
    register()
    newest = register()
    add(registry="flights")
    workspace.tracking.client.delete_model_version("flights", newest)
    assert fires() == []


def test_an_alias_fires_when_it_is_moved_forth_and_back(workspace, add, register, fires):
    register()
    register()
    client = workspace.tracking.client
    client.set_registered_model_alias("flights", "champion", "1")
    add(registry="flights@champion")
    client.set_registered_model_alias("flights", "challenger", "2")
    assert fires() == []
    client.set_registered_model_alias("flights", "champion", "2")
    assert fires() == ["flights@champion names version 2 now; it was version 1"]
    client.set_registered_model_alias("flights", "champion", "1")
    assert fires() == ["flights@champion names version 1 now; it was version 2"]


def test_what_the_pipelines_own_run_registers_starts_no_endless_loop(
    workspace, add, register, fires, runs, watch
):
    add(registry="flights")
    register()
    assert len(fires()) == 1
    made = runs.jobs[0]
    run = firing_run(workspace, made)
    parent = tracked.begin(workspace, history.read(workspace, run))
    child = tracked.begin_step(workspace, parent, "train", run, {})
    client = workspace.tracking.client
    inner = client.create_run(
        workspace.tracking.experiment_id, tags={"mlflow.parentRunId": child}
    ).info.run_id
    register(run_id=inner)
    assert fires() == []
    # another pipeline's version, or a person's, fires as ever
    other = client.create_run(workspace.tracking.experiment_id).info.run_id
    register(run_id=other)
    assert fires() == ["version 3 of flights was registered"]


def firing_run(workspace, job: firings.Job) -> str:
    import mlops_magics as mlops

    found = {row.id: row.run for row in mlops.firings(workspace=workspace)}
    return found[job.firing]
