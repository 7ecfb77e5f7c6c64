"""Endpoints that follow an alias, wherever and by whomever it is moved."""

import json
import time

import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.store import tables

pytestmark = pytest.mark.xdist_group("rollout")


def eventually(found, seconds=120):
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)
    return value


@pytest.fixture
def versions(registered):
    """Versions of one registered model: 1 doubles, 2 triples, 3 cannot be served."""
    names = ["double", "triple", "broken_at_load"]
    return [str(registered(name, "followed").version) for name in names]


def test_an_endpoint_goes_where_its_alias_goes_and_loses_no_request(
    live, load, versions, figure, soak
):
    one, two, broken = versions
    client = live.tracking.client
    client.set_registered_model_alias("followed", "champion", one)
    with pytest.raises(mlops.InvalidArgument, match="names no alias"):
        mlops.deploy(f"followed/{one}", follow=True, workspace=live)
    deployed = mlops.deploy("followed@champion", follow=True, workspace=live)
    assert deployed.follows["alias"] == "champion"
    assert "follows        followed@champion" in str(deployed)

    def serves(version):
        record = mlops.endpoints("followed", workspace=live)[0]
        return record if record.version == version else None

    with load("followed", rate=100) as traffic:
        # as MLflow's own page or anybody's script would
        moved = time.monotonic()
        client.set_registered_model_alias("followed", "champion", two)
        eventually(lambda: serves(two))
        seconds = time.monotonic() - moved
        client.set_registered_model_alias("followed", "champion", broken)
        told = eventually(
            lambda: mlops.endpoints("followed", workspace=live)[0].follows.get("problem")
        )
        still = serves(two)
        client.set_registered_model_alias("followed", "champion", one)
        eventually(lambda: serves(one))
    assert traffic.answers.failed == []
    assert {(one["version"], one["value"]) for one in traffic.answers} == {(one, 3.0), (two, 4.5)}
    figure(f"followed after {seconds:.1f} s")
    if soak:  # on a machine with nothing else to do
        assert seconds < 5
    # what could not follow is told, was tried once, and the old one served on
    assert "the weights are gone" in told
    assert "does not follow" in str(still)
    assert [each["status"] for each in still.revisions] == ["FAILED", "SERVING", "WARM"]
    assert mlops.endpoints("followed", workspace=live)[0].follows["problem"] is None
    t = tables.ledger.c
    query = sa.select(t.action, t.actor, t.details).where(t.subject == "endpoint followed")
    with live.database.read() as connection:
        rows = connection.execute(query.order_by(t.seq)).all()
    assert [row.action for row in rows] == ["deploy", "deploy", "follow", "deploy"]
    assert {row.actor for row in rows[1:]} == {"mlops"}
    assert json.loads(rows[0].details)["follows"] == "followed@champion"
    assert (
        json.loads(rows[1].details)["reason"] == f"followed@champion was moved from version {one}"
    )
    assert "the weights are gone" in json.loads(rows[2].details)["failed"]
    # whoever deploys without --follow decides anew
    mlops.deploy(f"followed/{two}", "followed", workspace=live)
    assert mlops.endpoints("followed", workspace=live)[0].follows is None
