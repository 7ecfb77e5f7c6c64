"""A run is found by what people see of it: its id, the beginning of that, its name."""

from __future__ import annotations

import pytest

from mlops_magics import errors
from mlops_magics.store import models, runs


@pytest.fixture
def run_id(workspace) -> str:
    client = workspace.tracking.client
    return client.create_run(workspace.tracking.experiment_id, run_name="logit").info.run_id


@pytest.mark.parametrize("digits", [4, 8, 12, 32])
def test_as_many_digits_as_a_card_shows_are_enough(workspace, run_id, digits):
    assert runs.find(workspace, run_id[:digits]).info.run_id == run_id
    with pytest.raises(errors.ModelNotFound, match="has no model 'model'"):
        models.resolve(workspace, f"runs:/{run_id[:digits]}/model")


def test_a_name_is_the_newest_run_of_that_name(workspace, run_id):
    newer = workspace.tracking.client.create_run(
        workspace.tracking.experiment_id, run_name="logit", start_time=2**42
    )
    assert runs.find(workspace, "logit").info.run_id == newer.info.run_id


def test_what_is_no_run_gets_the_nearest_name(workspace, run_id):
    with pytest.raises(errors.RunNotFound, match="did you mean 'logit'"):
        runs.find(workspace, "logitt")
    with pytest.raises(errors.RunNotFound):
        runs.find(workspace, "0" * 32)
    with pytest.raises(errors.InvalidArgument):
        runs.find(workspace, " ")
