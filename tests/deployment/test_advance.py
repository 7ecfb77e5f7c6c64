"""What the rules decide, on an inference table that is filled by hand; no server is needed."""

import json

import numpy as np
import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.deployment import intervals, rollout, shares
from mlops_magics.deployment.advance import advance
from mlops_magics.deployment.rules import candidacy
from mlops_magics.monitoring import log, windows
from mlops_magics.monitoring.references import References
from mlops_magics.store import tables

NOW = 1_800_000_000.0


class Stage:
    """An endpoint with a champion and a candidate beside it, and what they have answered."""

    def __init__(self, workspace, **given):
        self.workspace = workspace
        self.ids = {}
        with workspace.database.begin() as connection:
            connection.execute(
                sa.insert(tables.endpoints).values(
                    name="e", created=0, updated=0, settings={}, workspace=workspace.id
                )
            )
            for number, variant in enumerate(("champion", "candidate"), 1):
                self.ids[variant] = connection.execute(
                    sa.insert(tables.revisions).values(
                        endpoint="e",
                        number=number,
                        model="m",
                        version=str(number),
                        package=str(workspace.path / "none"),
                        digest="0" * 64,
                        status="STARTING",
                        created=0,
                        updated=0,
                    )
                ).inserted_primary_key[0]
            shares.flip(connection, "e", self.ids["champion"], 0, now=NOW)
            beside = candidacy(**given)
            one = self.ids["candidate"]
            shares.add(connection, "e", one, beside.variant, beside.steps[0], 1, now=NOW)
            rollout.begin(connection, "e", one, self.ids["champion"], beside, "ann", NOW)

    def answer(self, who, count, *, errors=0, ms=5.0, output=lambda n: n % 7, label=None, at=1.0):
        requests, labels = [], []
        for n in range(count):
            failed = n < errors
            key = f"{who}-{at}-{n}"
            requests.append(
                log.Request(
                    id=key,
                    t=NOW + at + n * 0.01,
                    endpoint="e",
                    status=500 if failed else 200,
                    ms=ms,
                    revision=self.ids[who],
                    variant=who,
                    columns=["x"],
                    rows=[[n]],
                    outputs=None if failed else [output(n)],
                )
            )
            if label is not None:
                labels.append(
                    {"prediction_id": key, "endpoint": "e", "label": label(n), "received": NOW}
                )
        with self.workspace.database.begin() as connection:
            log.insert(connection, requests)
            windows.fold(connection, requests, References())
            if labels:
                connection.execute(sa.insert(tables.labels), labels)

    def advance(self, seconds):
        return advance(self.workspace, NOW + seconds)

    @property
    def told(self):
        return mlops.traffic("e", workspace=self.workspace).rollout

    def verdict(self, rule):
        return next(one for one in self.told["findings"] if one["rule"] == rule)["verdict"]


@pytest.fixture
def stage(workspace):
    def make(**given):
        return Stage(workspace, **({"canary": 10, "every": "60s"} | given))

    return make


def test_a_step_waits_for_its_time_and_its_requests(stage):
    e = stage(min_requests=500)
    e.answer("champion", 2000)
    e.answer("candidate", 450)
    assert e.advance(30) == []
    assert e.advance(61) == []
    assert (e.told["verdict"], e.told["candidate"]["requests"]) == ("waiting", 450)
    e.answer("candidate", 100, at=40.0)
    (said,) = e.advance(62)
    assert said.startswith("canary at 50 %: errors: 0 of 550 requests against 0 of 2000")
    assert [one["percent"] for one in mlops.traffic("e", workspace=e.workspace).shares] == [50, 50]
    # the next step counts from its own beginning
    assert e.advance(70) == []
    assert e.told["candidate"]["requests"] == 0


def test_what_is_shown_to_be_worse_ends_before_the_step_does(stage):
    e = stage()
    e.answer("champion", 400, errors=2)
    e.answer("candidate", 40, errors=12)
    (said,) = e.advance(2)
    assert said.startswith("rolled back: errors: 12 of 40 requests against 2 of 400")
    assert e.told["status"] == "ROLLED_BACK"


def test_errors_that_both_have_are_nobody_s_fault(stage):
    e = stage()
    e.answer("champion", 4000, errors=400)
    e.answer("candidate", 400, errors=40)
    assert e.advance(2) == []
    assert e.told["status"] == "RUNNING"


def test_a_slower_candidate_is_rolled_back_and_a_slightly_slower_one_is_not(stage):
    e = stage()
    e.answer("champion", 1000, ms=20.0)
    e.answer("candidate", 600, ms=24.0)
    assert len(e.advance(61)) == 1
    assert e.told["step"] == 1
    e.answer("champion", 1000, ms=20.0, at=70.0)
    e.answer("candidate", 600, ms=90.0, at=70.0)
    (said,) = e.advance(80)
    assert "latency: 95 % within" in said
    assert e.told["status"] == "ROLLED_BACK"


def test_labels_that_show_a_loss_of_quality_roll_back(stage):
    e = stage(rules={"shift": "off"})
    e.answer("champion", 1000, output=lambda n: float(n), label=lambda n: n + 0.5)
    e.answer("candidate", 600, output=lambda n: float(n), label=lambda n: n + 1 + n % 2)
    assert e.advance(30) == []  # labels are looked at when a step is over
    (said,) = e.advance(61)
    assert "quality: mean absolute error 1.5 against 0.5 on 600 and 1,000 labels" in said
    assert e.told["status"] == "ROLLED_BACK"


def test_other_predictions_hold_a_promotion_and_a_person_may_go_on(stage):
    e = stage()
    e.answer("champion", 1000, output=lambda n: n % 100 / 100)
    e.answer("candidate", 600, output=lambda n: (n % 100 / 100) ** 3)
    assert e.advance(61) == []
    assert (e.told["verdict"], e.verdict("shift"), e.verdict("errors")) == ("held", "held", "kept")
    assert "a person decides" in str(mlops.traffic("e", workspace=e.workspace))
    mlops.traffic("e", canary=50, reason="as intended", workspace=e.workspace)
    assert e.told["step"] == 1


def test_a_shadow_and_a_watched_canary_are_promoted_by_nobody_but_a_person(stage):
    e = stage(canary=None, shadow=True)
    e.answer("champion", 1000)
    e.answer("candidate", 1000)
    assert e.advance(61) == []
    assert (e.told["verdict"], e.told["status"]) == ("kept", "RUNNING")
    assert "a person promotes" in str(mlops.traffic("e", workspace=e.workspace))
    e.answer("candidate", 300, errors=300, at=62.0)
    assert e.advance(70)[0].startswith("rolled back: errors: ")


def test_without_analysis_nothing_is_decided(stage):
    e = stage(analysis="off")
    e.answer("champion", 100)
    e.answer("candidate", 100, errors=100)
    assert e.advance(100) == []
    assert e.told["status"] == "RUNNING"


def test_another_workspace_s_rollouts_are_left_alone(stage):
    e = stage()
    e.answer("champion", 100)
    e.answer("candidate", 100, errors=100)
    with e.workspace.database.begin() as connection:
        connection.execute(sa.update(tables.endpoints).values(workspace="other"))
    assert e.advance(2) == []


def test_a_decision_is_in_the_ledger_with_before_after_and_the_numbers(stage):
    e = stage()
    e.answer("champion", 400)
    e.answer("candidate", 40, errors=40)
    e.advance(2)
    with e.workspace.database.read() as connection:
        entry = connection.execute(sa.select(tables.ledger)).one()
    details = json.loads(entry.details)
    assert (entry.action, entry.actor, entry.subject) == ("rollback", "mlops", "endpoint e")
    assert [one["percent"] for one in details["before"]] == [90, 10]
    assert [one["percent"] for one in details["after"]] == [100]
    assert details["evidence"]["candidate"]["errors"] == 40


def test_looking_each_second_raises_no_false_alarm():
    """One in a hundred at the most over all looks; a fixed interval would be wrong much oftener."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(200):
        mine = np.cumsum(rng.random(2000) < 0.05)
        theirs = np.cumsum(rng.random(18000) < 0.05)
        for size in range(20, 2000, 20):
            one = intervals.sequence(int(mine[size - 1]), size, 0.005)
            other = intervals.sequence(int(theirs[9 * size - 1]), 9 * size, 0.005)
            if one.low > other.high:
                alarms += 1
                break
    assert alarms <= 4


def test_whole_windows_and_the_seconds_before_them_are_counted_once(stage):
    e = stage(every="1h")
    for minute in range(20):
        e.answer("candidate", 3, at=minute * 60.0 + 3.0)
    e.answer("candidate", 5, at=-30.0)  # before it was a candidate
    e.advance(1300)
    assert e.told["candidate"]["requests"] == 60
