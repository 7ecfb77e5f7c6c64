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


def test_rolling_back_answers_with_what_serves_now_or_with_the_error(looks):
    answers = []
    view = MonitorWidget(looks, roll_back=lambda: None, fixed=True)
    view.send = answers.append
    view._receive(view, {"kind": "roll_back", "id": "1"}, [])
    _until(lambda: answers)
    assert answers[0] == {
        "kind": "outcome",
        "id": "1",
        "ok": True,
        "message": "Traffic goes to revision 2 (m/3).",
        "hint": None,
    }

    def refuse():
        raise mlops.DeployFailed("no earlier revision", hint="mlops endpoints e")

    view._roll_back = refuse
    view._receive(view, {"kind": "roll_back", "id": "2"}, [])
    _until(lambda: len(answers) == 2)
    assert answers[1]["ok"] is False
    assert answers[1]["message"] == "no earlier revision"
    view.close()


def test_without_a_way_back_there_is_no_button(view):
    assert view.can_roll_back is False
    view._receive(view, {"kind": "roll_back", "id": "1"}, [])  # nothing to perform


def test_the_bundle_of_a_view_carries_its_twin(view):
    bundle, *_ = view._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "<p>table</p>" in bundle["text/html"]
    assert bundle["text/plain"].endswith("requests")
