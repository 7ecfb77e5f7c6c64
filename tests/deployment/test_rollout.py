"""Candidates beside a champion, on a real server under load."""

import json
import math
import re
import shutil
import threading
import time
from collections import Counter, defaultdict

import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.monitoring import backlog
from mlops_magics.serving import server
from mlops_magics.settings import Settings
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace

from .conftest import ROWS, Load, double, triple

pytestmark = pytest.mark.xdist_group("rollout")


def shares(workspace, name):
    return [(one["variant"], one["percent"], one["number"]) for one in traffic(workspace, name)]


def traffic(workspace, name):
    return mlops.traffic(name, workspace=workspace).shares


def statuses(workspace, name):
    return [one["status"] for one in mlops.endpoints(name, workspace=workspace)[0].revisions]


def entries(workspace, name):
    t = tables.ledger.c
    query = sa.select(t.action, t.actor, t.details).where(t.subject == f"endpoint {name}")
    with workspace.database.read() as connection:
        rows = connection.execute(query.order_by(t.seq)).all()
    return [(row.action, row.actor, json.loads(row.details)) for row in rows]


def eventually(found, seconds=120):
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)
    return value


def ended(workspace, name):
    told = mlops.traffic(name, workspace=workspace).rollout
    return told if told["status"] != "RUNNING" else None


def test_a_candidate_comes_beside_a_champion_and_one_at_a_time(live, made):
    with pytest.raises(mlops.DeployError, match="no champion yet"):
        mlops.deploy(made("double"), "one", canary=10, workspace=live)
    mlops.deploy(made("double"), "one", workspace=live)
    with pytest.raises(mlops.DeployError, match="no candidate beside"):
        mlops.traffic("one", canary=20, workspace=live)
    mlops.deploy(made("triple"), "one", shadow=True, analysis="off", workspace=live)
    assert shares(live, "one") == [("champion", 100, 1), ("shadow", 100, 2)]
    with pytest.raises(mlops.DeployConflict, match="a shadow is beside the champion"):
        mlops.deploy(made("triple"), "one", canary=10, workspace=live)
    assert statuses(live, "one") == ["SHADOW", "SERVING"]
    # what was a shadow begins to answer, and more
    mlops.traffic("one", canary="10%", reason="looks well", workspace=live)
    assert shares(live, "one") == [("champion", 90, 1), ("canary", 10, 2)]
    assert mlops.traffic("one", canary=25, workspace=live).rollout["steps"] == [25, 50]
    with pytest.raises(mlops.DeployError, match="no shadow any more"):
        mlops.traffic("one", shadow=50, workspace=live)
    back = mlops.rollback("one", reason="not yet", workspace=live)
    assert [one["status"] for one in back.revisions] == ["DRAINING", "SERVING"]
    assert shares(live, "one") == [("champion", 100, 1)]
    assert eventually(lambda: statuses(live, "one") == ["RETIRED", "SERVING"])
    told = mlops.traffic("one", workspace=live)
    assert (told.rollout["status"], told.rollout["reason"]) == ("ROLLED_BACK", "not yet")
    assert "canary rolled back" in str(told)
    found = entries(live, "one")
    assert [action for action, _, _ in found] == ["deploy", "deploy", *["traffic"] * 2, "rollback"]
    moved = found[2][2]
    assert (moved["reason"], moved["variant"]) == ("looks well", "shadow")
    assert [one["percent"] for one in moved["before"]] == [100, 100]
    assert [one["percent"] for one in moved["after"]] == [90, 10]


def test_whoever_deploys_for_all_the_traffic_ends_a_rollout(live, made):
    mlops.deploy(made("double"), "over", workspace=live)
    mlops.deploy(made("triple"), "over", canary=10, analysis="off", workspace=live)
    mlops.deploy(made("double"), "over", log="off", workspace=live)
    assert shares(live, "over") == [("champion", 100, 3)]
    assert statuses(live, "over") == ["SERVING", "DRAINING", "WARM"]
    assert ended(live, "over")["status"] == "ENDED"
    with pytest.raises(mlops.InvalidArgument, match="keeps no inference log"):
        mlops.deploy(made("triple"), "over", canary=10, workspace=live)
    assert mlops.undeploy("over", workspace=live).state == "undeployed"
    assert shares(live, "over") == []


def test_of_two_who_change_the_traffic_at_once_one_gets_a_conflict(live, made, monkeypatch):
    from mlops_magics.deployment import checks

    mlops.deploy(made("double"), "race", workspace=live)
    mlops.deploy(made("triple"), "race", canary=10, analysis="off", workspace=live)
    barrier = threading.Barrier(2)
    # both have decided, on the same state, before either acts
    monkeypatch.setattr(checks, "await_workers", lambda *_: barrier.wait())
    outcomes = []

    def promote():
        try:
            outcomes.append(mlops.traffic("race", promote=True, workspace=live))
        except mlops.DeployConflict as exc:
            outcomes.append(exc)

    threads = [threading.Thread(target=promote) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(one).__name__ for one in outcomes) == ["DeployConflict", "Traffic"]
    assert shares(live, "race") == [("champion", 100, 2)]
    assert [action for action, _, _ in entries(live, "race")] == ["deploy", "deploy", "promote"]


def test_a_canary_that_errors_is_rolled_back_by_itself_and_the_ledger_says_why(live, made, load):
    mlops.deploy(made("double"), "errs", workspace=live)
    with load("errs", x=200.0, rate=100) as traffic:
        mlops.deploy(made("fails_on_large"), "errs", canary=20, every="1h", workspace=live)
        told = eventually(lambda: ended(live, "errs"))
    assert told["status"] == "ROLLED_BACK"
    assert shares(live, "errs") == [("champion", 100, 1)]
    action, actor, details = entries(live, "errs")[-1]
    assert (action, actor, details["variant"]) == ("rollback", "mlops", "canary")
    assert details["reason"].startswith("errors: ")
    assert "100 points more" in details["reason"]
    evidence = details["evidence"]
    assert evidence["candidate"]["errors"] == evidence["candidate"]["requests"] > 0
    assert evidence["baseline"]["errors"] == 0
    rule = evidence["findings"][0]
    assert (rule["rule"], rule["verdict"], rule["limit"]) == ("errors", "broken", 0.01)
    assert rule["low"] > rule["limit"]
    reason = mlops.endpoints("errs", workspace=live)[0].revisions[0]["reason"]
    assert reason.startswith("rolled back: errors: ")
    # only the canary's own answers were errors
    assert {one["status"] for one in traffic.answers if one["variant"] == "champion"} == {200}
    assert {one["status"] for one in traffic.answers if one["variant"] == "canary"} == {500}


def test_a_canary_whose_process_dies_is_rolled_back_without_a_request(live, made, monkeypatch):
    from mlops_magics.deployment import checks

    mlops.deploy(made("double"), "dies", workspace=live)
    # it passes its checks, and falls after them
    monkeypatch.setattr(checks, "await_workers", lambda *_: None)
    monkeypatch.setattr(checks, "check_golden", lambda *_: 0)
    mlops.deploy(made("broken_at_load"), "dies", canary=20, every="1h", workspace=live)
    told = eventually(lambda: ended(live, "dies"))
    assert told["status"] == "ROLLED_BACK"
    # said by whoever saw it first: the rules, or who looks after processes
    assert "RuntimeError: the weights are gone" in told["reason"]


def test_a_good_canary_climbs_its_steps_and_becomes_the_champion(live, made, load):
    mlops.deploy(made("double"), "good", workspace=live)
    rules = {"errors": "20%", "latency": "off", "shift": "off"}
    with load("good", rate=100) as traffic:
        mlops.deploy(
            made("triple"),
            "good",
            steps="20%,60%",
            every="1s",
            min_requests=20,
            rules=rules,
            workspace=live,
        )
        told = eventually(lambda: ended(live, "good"))
    assert told["status"] == "PROMOTED"
    assert shares(live, "good") == [("champion", 100, 2)]
    assert statuses(live, "good") == ["SERVING", "WARM"]
    assert traffic.answers.failed == []
    assert [action for action, _, _ in entries(live, "good")] == [
        "deploy",
        "deploy",
        "traffic",
        "promote",
    ]
    assert "errors: 0 of " in entries(live, "good")[-1][2]["reason"]


def test_a_canary_s_share_is_as_asked_sticky_by_key_and_told_in_each_answer(live, made, load):
    mlops.deploy(made("double"), "split", workspace=live)
    mlops.deploy(made("triple"), "split", canary=10, analysis="off", workspace=live)
    versions = {one["variant"]: one["version"] for one in traffic(live, "split")}
    answers = load("split").send(16_000)
    keyed = load("split", keys=2_000).send(4_000)
    for one in (*answers, *keyed):
        assert one["status"] == 200
        assert one["version"] == versions[one["variant"]]
        assert one["value"] == (4.5 if one["variant"] == "canary" else 3.0)
    # four standard deviations; a key's two requests go together, and so count double
    found = answers.count(variant="canary") + keyed.count(variant="canary")
    assert abs(found - 2_000) < 4 * math.sqrt((16_000 + 4 * 2_000) * 0.1 * 0.9)
    by_key = defaultdict(list)
    for one in keyed:
        by_key[one["key"]].append(one["variant"])
    assert {len(variants) for variants in by_key.values()} == {2}
    assert {len(set(variants)) for variants in by_key.values()} == {1}
    # at a larger share nobody goes back from the canary
    mlops.traffic("split", canary=40, workspace=live)
    wider = load("split", keys=2_000).send(2_000)
    before = {key for key, variants in by_key.items() if variants[0] == "canary"}
    after = {one["key"] for one in wider if one["variant"] == "canary"}
    assert before < after


def test_a_shadow_s_answers_reach_nobody_and_are_kept(live, made, load):
    mlops.deploy(made("double"), "dark", workspace=live)
    mlops.deploy(made("triple"), "dark", shadow=True, analysis="off", workspace=live)
    answers = load("dark").send(500)
    assert Counter(one["variant"] for one in answers) == {"champion": 500}
    assert {one["value"] for one in answers} == {3.0}
    t = tables.predictions.c
    query = sa.select(t.request_id, t.variant, t.output, t.mirror_of).where(t.endpoint == "dark")

    def shed():
        with server.connect(live) as client:
            text = client.get("/metrics").text
        of = r'mlops_shadow_requests_shed_total{endpoint="dark".*variant="shadow".*} (\S+)'
        return int(float(re.search(of, text)[1]))

    def mirrored():
        backlog.settle(live)
        with live.database.read() as connection:
            rows = connection.execute(query).all()
        found = [row for row in rows if row.variant == "shadow"]
        # each was mirrored, or is counted as shed under load
        return (rows, found) if len(found) + shed() == 500 else None

    rows, found = eventually(mirrored)
    assert found
    assert {row.output for row in found} == {4.5}
    primaries = {row.request_id for row in rows if row.variant == "champion"}
    assert {row.mirror_of for row in found} <= primaries == {one["id"] for one in answers}


def test_promotion_and_rollback_lose_no_request(live, made, load, figure, soak):
    mlops.deploy(made("double"), "lossless", workspace=live)
    with load("lossless", rate=200) as traffic:
        begun = time.monotonic()
        mlops.deploy(made("triple"), "lossless", canary=30, analysis="off", workspace=live)
        mlops.traffic("lossless", promote=True, workspace=live)
        mlops.rollback("lossless", workspace=live)
        mlops.deploy(made("triple"), "lossless", canary=50, analysis="off", workspace=live)
        mlops.traffic("lossless", rollback=True, workspace=live)
        eventually(lambda: "RETIRED" in statuses(live, "lossless"))
        seconds = time.monotonic() - begun
    figure(f"{len(traffic.answers) / seconds:.0f} requests/s for {seconds:.0f} s")
    assert traffic.answers.failed == []
    assert {one["variant"] for one in traffic.answers} == {"champion", "canary"}
    if soak:  # on a machine with nothing else to do
        assert len(traffic.answers) / seconds > 180
    told = {"double": 3.0, "triple": 4.5}
    names = {
        one["version"]: told[one["model"]]
        for one in mlops.endpoints("lossless", workspace=live)[0].revisions
    }
    assert all(one["value"] == names[one["version"]] for one in traffic.answers)


def test_a_team_s_postgresql_keeps_a_rollout_as_well(tmp_path, workspace_template, postgresql_url):
    root = tmp_path / "project"
    shutil.copytree(workspace_template, root)
    settings = Settings.load(root, database_url=postgresql_url)
    workspace = Workspace(root, settings=settings)

    def made(function):
        return mlops.package(function, name=function.__name__, data=ROWS, workspace=workspace)

    try:
        mlops.deploy(made(double), "team", workspace=workspace)
        rules = {"errors": "20%", "latency": "off", "shift": "off"}
        with Load(workspace, "team", rate=50) as load:
            mlops.deploy(
                made(triple),
                "team",
                steps="40%",
                every="1s",
                min_requests=10,
                rules=rules,
                workspace=workspace,
            )
            told = eventually(lambda: ended(workspace, "team"))
            mlops.rollback("team", reason="for the proof", workspace=workspace)
        assert told["status"] == "PROMOTED"
        assert load.answers.failed == []
        assert shares(workspace, "team") == [("champion", 100, 1)]
        assert [action for action, _, _ in entries(workspace, "team")] == [
            "deploy",
            "deploy",
            "promote",
            "rollback",
        ]
    finally:
        mlops.stop(workspace=workspace)
        workspace.database.close()
