"""The kernel's side of the live monitor, and its static twin."""

import threading
import time

import pytest

import mlops_magics as mlops
from mlops_magics.widgets import MonitorWidget


class Taken:
    def __init__(self, number=1, state="live"):
        self.number, self.state = number, state

    def to_dict(self):
        served = {"number": 2, "model": "m", "version": 3, "percent": 100}
        return {
            "endpoint": "e",
            "state": self.state,
            "as_of": time.time(),
            "efficiency": {"requests": self.number},
            "variants": [served],
        }

    def _repr_html_(self):
        return "<p>table</p>"

    def __str__(self):
        return f"{self.number} requests"


class Looks:
    def __init__(self):
        self.taken, self.failure = 0, None
        self.threads = set()

    def __call__(self):
        self.threads.add(threading.current_thread())
        if self.failure is not None:
            raise self.failure
        self.taken += 1
        return Taken(self.taken)


@pytest.fixture
def looks():
    return Looks()


@pytest.fixture
def view(looks):
    view = MonitorWidget(looks, interval=0.01)
    yield view
    view.close()


def _until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def _thread(looks):
    _until(lambda: len(looks.threads) == 2)
    return next(thread for thread in looks.threads if thread is not threading.main_thread())


def test_pictures_come_from_a_thread_while_the_main_thread_is_elsewhere(view, looks):
    _until(lambda: view.picture["efficiency"]["requests"] >= 5)
    assert _thread(looks).daemon


def test_closing_ends_the_thread(view, looks):
    thread = _thread(looks)
    view.close()
    thread.join(10)
    assert not thread.is_alive()


def test_it_rests_while_nobody_looks_and_goes_on_when_somebody_does(view, looks):
    _thread(looks)
    view._receive(view, {"kind": "watching", "watching": False}, [])
    _until(lambda: not view._looked_at.is_set())
    time.sleep(0.1)  # a picture that was being taken is finished
    resting = looks.taken
    time.sleep(0.2)
    assert looks.taken == resting
    view._receive(view, {"kind": "watching", "watching": True}, [])
    _until(lambda: looks.taken > resting)


def test_a_failure_is_shown_with_its_way_out_and_goes_when_it_is_over(view, looks):
    looks.failure = mlops.DatabaseUnavailable("database is locked", hint="mlops doctor")
    _until(lambda: view.trouble)
    first = dict(view.trouble)
    assert (first["message"], first["hint"]) == ("database is locked", "mlops doctor")
    time.sleep(0.1)
    assert view.trouble["since"] == first["since"], "it began when it began"
    looks.failure = None
    _until(lambda: view.trouble is None)


def test_an_endpoint_that_does_not_exist_is_an_error_and_no_widget(looks):
    looks.failure = mlops.EndpointNotFound("no endpoint 'fligt-delay'")
    with pytest.raises(mlops.EndpointNotFound):
        MonitorWidget(looks)


def test_a_window_of_the_past_is_shown_once(looks):
    view = MonitorWidget(looks, fixed=True, interval=0.01)
    time.sleep(0.1)
    assert looks.taken == 1
    view.close()


def test_an_action_is_called_as_asked_and_answers_that_it_is_done_or_with_the_error(looks):
    answers, called = [], []
    view = MonitorWidget(looks, actions={"rollback": lambda **given: called.append(given)})
    view.send = answers.append
    asked = {"kind": "act", "id": "1", "verb": "rollback", "given": {"endpoint": "e"}}
    taken = looks.taken
    view._receive(view, asked, [])
    _until(lambda: answers)
    assert called == [{"endpoint": "e"}]
    assert answers[0] == {"kind": "outcome", "id": "1", "ok": True, "message": "", "hint": None}
    assert looks.taken > taken  # the page has a picture of what came of it

    def refuse(endpoint):
        raise mlops.DeployFailed("no earlier revision", hint=f"mlops endpoints {endpoint}")

    view._actions["rollback"] = refuse
    view._receive(view, asked | {"id": "2"}, [])
    _until(lambda: len(answers) == 2)
    assert answers[1]["ok"] is False
    assert answers[1]["message"] == "no earlier revision"
    assert answers[1]["hint"] == "mlops endpoints e"
    view.close()


def test_what_is_not_offered_is_not_done(view):
    assert view.actions == []
    view.send = pytest.fail
    view._receive(view, {"kind": "act", "id": "1", "verb": "rollback"}, [])


def test_while_a_server_shows_the_pictures_the_thread_rests_and_goes_on_when_it_is_lost(looks):
    view = MonitorWidget(looks, interval=0.01)
    _until(lambda: looks.taken > 3)
    view._receive(view, {"kind": "watching", "watching": True, "elsewhere": True}, [])
    time.sleep(0.1)
    taken = looks.taken
    time.sleep(0.2)
    assert looks.taken == taken
    view._receive(view, {"kind": "watching", "watching": True, "elsewhere": False}, [])
    _until(lambda: looks.taken > taken + 3)
    view.close()


def test_the_bundle_of_a_view_carries_its_twin(view):
    bundle, *_ = view._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "<p>table</p>" in bundle["text/html"]
    assert bundle["text/plain"].endswith("requests")
