"""Candidates beside a champion: how they come, change, are promoted and go."""

import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.store import tables


def shares(workspace, name="e"):
    traffic = mlops.endpoints(name, workspace=workspace)[0].traffic
    return [(one["variant"], one["percent"], one["number"]) for one in traffic]


def statuses(workspace, name="e"):
    return [one["status"] for one in mlops.endpoints(name, workspace=workspace)[0].revisions]


def test_a_candidate_comes_beside_a_champion_and_one_at_a_time(workspace, packaged):
    with pytest.raises(mlops.DeployError, match="no champion yet"):
        mlops.deploy(packaged("double"), "e", canary=10, workspace=workspace)
    mlops.deploy(packaged("double"), "e", workspace=workspace)
    mlops.deploy(packaged("triple"), "e", canary=10, analysis="off", workspace=workspace)
    assert shares(workspace) == [("champion", 90, 1), ("canary", 10, 2)]
    assert statuses(workspace) == ["CANARY", "SERVING"]
    with pytest.raises(mlops.DeployConflict, match="a canary is beside the champion"):
        mlops.deploy(packaged("triple"), "e", shadow=True, workspace=workspace)
    assert statuses(workspace) == ["CANARY", "SERVING"]
    # whoever deploys for all the traffic ends it
    mlops.deploy(packaged("double"), "e", workspace=workspace)
    assert shares(workspace) == [("champion", 100, 3)]
    assert statuses(workspace)[0] == "SERVING"
    with workspace.database.read() as connection:
        rollouts = connection.execute(sa.select(tables.rollouts)).all()
    assert [row.status for row in rollouts] == ["ENDED"]
    mlops.deploy(packaged("double"), "e", log="off", workspace=workspace)
    with pytest.raises(mlops.InvalidArgument, match="keeps no inference log"):
        mlops.deploy(packaged("triple"), "e", canary=10, workspace=workspace)
