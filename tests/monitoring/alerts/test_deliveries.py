"""An alert reaches each of its sinks once, whoever delivers it, and what came of it is kept."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading

import pytest

import mlops_magics as mlops
from mlops_magics.monitoring.alerts.deliveries import LEASE, Deliveries
from mlops_magics.store import tables


class Post:
    """Deliveries by the endpoint's clock, to hosts that are allowed."""

    def __init__(self, endpoint, hosts="127.0.0.1") -> None:
        self.endpoint = endpoint
        workspace = endpoint.workspace
        workspace.settings = dataclasses.replace(workspace.settings, webhook_hosts=hosts)

    def another(self) -> Deliveries:
        return Deliveries(self.endpoint.workspace, now=self.endpoint.clock)

    def __call__(self) -> int:
        return self.another().deliver()

    def only(self):
        (found,) = self.endpoint.rows(tables.deliveries)
        return found


@pytest.fixture
def post(served) -> Post:
    return Post(served)


def drifted(endpoint, **given) -> int:
    endpoint.configure(persistence=1, **given)
    (alert,) = endpoint.minute(shift=1.5)
    return alert


def test_a_drift_is_delivered_once_to_a_real_receiver(endpoint, receiver):
    post = Post(endpoint)
    alert = drifted(endpoint, webhook=receiver.url)
    assert post() == 1
    assert post() == 0
    endpoint.minute(shift=1.5)
    assert post() == 0
    [(_, headers, body)] = receiver.posted
    assert body["text"].startswith("warning: flight-delay: distance drifted")
    assert body["alert"]["id"] == alert
    assert body["alert"]["evidence"]["items"][0]["item"] == "distance"
    assert len(headers["Idempotency-Key"]) == 32
    shown = mlops.alert(alert, workspace=endpoint.workspace).deliveries
    assert [(one["kind"], one["status"], one["outcome"]) for one in shown] == [
        ("webhook", "DELIVERED", "answered 200")
    ]
    assert shown[0]["target"] == f"http://127.0.0.1:{receiver.port}/…"


def test_two_agents_deliver_an_alert_once(endpoint, receiver):
    post = Post(endpoint)
    drifted(endpoint, webhook=receiver.url)
    agents = [post.another() for _ in range(2)]
    threads = [threading.Thread(target=agent.deliver) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiver.posted) == 1


def test_what_fails_is_tried_again_later_and_later_with_the_same_key(served, post, receiver):
    drifted(served, webhook=receiver.url)
    receiver.answers = [503, 500]
    assert post() == 1
    assert (post.only().status, post.only().outcome) == ("WAITING", "answered 503")
    assert post() == 0
    served.now += 15
    assert post() == 1
    served.now += 15
    assert post() == 0
    served.now += 15
    assert post() == 1
    assert (post.only().status, post.only().tries) == ("DELIVERED", 3)
    assert len(set(receiver.keys)) == 1


def test_a_receiver_that_is_away_is_given_up_in_the_end(served, post, receiver):
    drifted(served, webhook=receiver.url)
    receiver.answers = [503] * 20
    for _ in range(20):
        post()
        served.now += 3600
    assert len(receiver.posted) == 8
    assert post.only().status == "FAILED"
    assert post.only().outcome == "answered 503; given up after 8 tries"


def test_what_the_receiver_refuses_or_may_not_be_reached_is_not_tried_again(served, receiver):
    post = Post(served, hosts="")
    drifted(served, webhook=receiver.url.replace("http:", "https:"))
    post()
    assert post.only().status == "FAILED"
    assert "127.0.0.1, which is not public" in post.only().outcome
    assert receiver.posted == []


def test_a_delivery_whose_agent_was_killed_is_taken_over(served, post, receiver):
    drifted(served, webhook=receiver.url)
    row = post.only()
    assert post.another()._claim(row)
    assert post() == 0
    served.now += LEASE
    assert post() == 1
    assert (post.only().status, post.only().tries) == ("DELIVERED", 2)


def test_a_command_gets_the_alert_on_its_standard_input_and_no_shell(served, post, tmp_path):
    kept = tmp_path / "kept.json"
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    alert = drifted(served, command=[[sys.executable, "-c", code, str(kept), "$(touch /tmp/x)"]])
    assert post() == 1
    assert post.only().outcome == "ended with status 0"
    assert json.loads(kept.read_text())["alert"]["id"] == alert


def test_a_command_that_fails_or_takes_too_long_says_so(served, post, monkeypatch):
    from mlops_magics.monitoring.alerts import command

    monkeypatch.setattr(command.run, "__kwdefaults__", {"seconds": 0.3})
    code = "import sys; sys.exit('no such channel')"
    served.configure(command=[[sys.executable, "-c", code], ["sleep", "30"], ["no-such-program"]])
    drifted(served)
    post()
    failed, slow, absent = served.rows(tables.deliveries)
    assert (failed.status, failed.outcome) == ("WAITING", "ended with status 1: no such channel")
    assert (slow.status, slow.outcome) == ("WAITING", "took longer than 0.3 s and was ended")
    assert absent.status == "FAILED"
    assert absent.outcome.startswith("cannot be started")


def test_less_than_what_was_asked_for_is_not_delivered(served, post, receiver):
    drifted(served, webhook=receiver.url, severity="critical")
    assert post() == 0
    served.minute(failing=3)
    assert post() == 1
    assert receiver.posted[0][2]["alert"]["kind"] == "errors"


def test_in_silence_nothing_is_delivered_and_after_it_what_holds_still_is(served, post, receiver):
    drifted(served, webhook=receiver.url, silence="90s")
    assert post() == 0
    (alert,) = served.alerts()
    assert alert.silenced
    (opened,) = served.minute(shift=1.5)
    assert post() == 1
    before, now = served.alerts()
    assert (before.status, before.reason) == ("RESOLVED", "the silence is over")
    assert (now.id, now.silenced) == (opened, 0)


def test_another_workspaces_alerts_are_not_delivered_here(served, post, receiver):
    drifted(served, webhook=receiver.url)
    with served.workspace.database.begin() as connection:
        connection.execute(tables.endpoints.update().values(workspace="another"))
    assert post() == 0
