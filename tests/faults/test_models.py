"""Models that die, leak or hang: restarts end, the reason is kept, and the one before serves."""

import time

import pytest

import mlops_magics as mlops
from mlops_magics.store import tables

pytestmark = pytest.mark.xdist_group("faults")

REASONS = {
    "segfaults": "the worker ended by SIGSEGV, 5 times in a row",
    "exits": "the worker ended with status 7, 5 times in a row",
    "leaks": "more than the 762 MiB that the setting worker_memory allows, 5 times in a row",
    "hangs": "the worker did not answer a batch in time, 5 times in a row",
}


@pytest.fixture
def told(shared):
    """Tell a model to go wrong, and at the end to go well again."""
    files = []

    def tell(name):
        files.append(shared.workspace.path / "server" / name)
        files[-1].touch()

    yield tell
    for file in files:
        file.unlink()


def failed(faulty, endpoint, timeout=240.0):
    """Wait until an endpoint's newest revision is FAILED; return the endpoint."""
    end = time.monotonic() + timeout
    while True:
        found = mlops.endpoints(endpoint, workspace=faulty.workspace)[0]
        if found.revisions[0]["status"] == "FAILED":
            return found
        assert time.monotonic() < end, found.revisions
        time.sleep(0.1)


def test_models_that_go_wrong_are_given_up_with_their_reason_and_the_one_before_serves(
    shared, told, figure
):
    names = list(REASONS) if shared.soak else ["segfaults", "leaks"]
    for name in names:
        shared.deploy("one", name)
        shared.deploy(name, name)
    loads = [shared.load(name, rate=10.0, connections=2) for name in names]
    try:
        for load in loads:
            load.__enter__()
            load.wait_for(3)
        for name in names:
            told(name)
        for name, load in zip(names, loads, strict=True):
            endpoint = failed(shared, name)
            assert REASONS[name] in endpoint.revisions[0]["reason"]
            assert endpoint.state == "serving"
            assert endpoint.model == "one"
            load.wait_for(20)
    finally:
        for load in loads:
            load.stop()
    for name, load in zip(names, loads, strict=True):
        figure(f"{name}: {dict(load.counts())}")
        assert set(load.counts()) <= {"ok", "status 503"}
        last = load.outcomes[-1]
        assert last.headers["x-model-version"] != load.outcomes[0].headers["x-model-version"]
        entry = newest_entry(shared, f"endpoint {name}")
        assert (entry.actor, entry.action) == ("agent", "rollback")
        assert REASONS[name] in entry.details
        shared.assert_logged_once(load)
        mlops.undeploy(name, workspace=shared.workspace)


def test_without_one_before_the_answer_is_503_and_a_new_deployment_mends_it(shared, told):
    shared.deploy("exits", "alone")
    told("exits")
    with shared.load("alone", rate=10.0, connections=2) as load:
        endpoint = failed(shared, "alone")
        load.wait_for(5, "status 503")
    assert endpoint.state == "down"
    assert REASONS["exits"] in endpoint.revisions[0]["reason"]
    assert set(load.counts()) <= {"ok", "status 503"}
    assert newest_entry(shared, "endpoint alone").action == "fail"
    mended = shared.deploy("two", "alone")
    assert mended.state == "serving"
    mlops.undeploy("alone", workspace=shared.workspace)


def newest_entry(faulty, subject):
    """The newest entry of the ledger on a subject."""
    t = tables.ledger
    query = t.select().where(t.c.subject == subject).order_by(t.c.seq.desc()).limit(1)
    with faulty.workspace.database.read() as connection:
        return connection.execute(query).one()


def test_swaps_half_of_them_to_a_broken_version_fail_no_request(pair, figure):
    refused = 0
    with pair.load("pair") as load:
        load.wait_for(50)
        for index in range(20 if pair.soak else 4):
            if index % 2:
                with pytest.raises(mlops.DeployFailed, match="the weights are gone"):
                    pair.deploy("broken", "pair", workers=2)
                refused += 1
            else:
                pair.deploy("two" if index % 4 == 0 else "one", "pair", workers=2)
                load.wait_for(50)
    versions = {one.headers.get("x-model-version") for one in load.outcomes}
    figure(f"{dict(load.counts())}, {refused} broken versions, {len(versions)} versions answered")
    assert load.failures() == []
    assert len(versions) == 2
    pair.assert_logged_once(load)
