"""Batches of many models take turns on the cores, and nobody waits for long."""

import asyncio
import time

import pytest

from mlops_magics.serving import turns
from mlops_magics.serving.turns import Turns


class Model:
    """Computes batches one at a time when it is its turn; notes when each began."""

    def __init__(self, shared, name, began, *, insist=False):
        self.turns, self.name, self.began, self.insist = shared, name, began, insist
        self.queue = 0

    def ask(self, count=1):
        self.queue += count
        self.dispatch()

    def dispatch(self):
        if self.queue and self.turns.begin(self, self.dispatch, insist=self.insist):
            self.queue -= 1
            self.began.append(self.name)
            return
        if not self.queue:
            self.turns.leave(self.dispatch)

    def done(self):
        self.turns.end(self)
        self.dispatch()


@pytest.fixture
def patient(monkeypatch):
    """Nobody's patience ends during the test."""
    monkeypatch.setattr(turns, "PATIENCE", 60.0)
    monkeypatch.setattr(turns, "HELD", 60.0)


def models(cores, names, **options):
    shared, began = Turns(cores), []
    return {name: Model(shared, name, began, **options) for name in names}, began


def test_no_more_compute_at_once_than_there_are_cores_and_the_longest_waiting_is_next(patient):
    async def walk():
        each, began = models(2, "abcd")
        for model in each.values():
            model.ask(2)
        assert began == ["a", "b"]
        each["b"].done()  # has more to do, but others have waited for longer
        await asyncio.sleep(0)
        each["a"].done()
        await asyncio.sleep(0)
        each["c"].done()
        await asyncio.sleep(0)
        return began

    assert asyncio.run(walk()) == ["a", "b", "c", "d", "b"]


def test_a_turn_that_one_no_longer_wants_goes_to_the_next(patient):
    async def walk():
        each, began = models(1, "abc")
        for model in each.values():
            model.ask()
        each["b"].queue = 0  # its requests were taken back
        each["a"].done()
        await asyncio.sleep(0)
        return began

    assert asyncio.run(walk()) == ["a", "c"]


def test_who_insists_does_not_wait(patient):
    async def walk():
        each, began = models(1, "ab", insist=True)
        each["a"].ask()
        each["b"].ask()
        return began

    assert asyncio.run(walk()) == ["a", "b"]


def test_a_model_that_hangs_keeps_the_others_for_a_moment_only():
    async def walk():
        each, began = models(1, ["hangs", "others", "too"])
        started = time.monotonic()
        for model in each.values():
            model.ask()
        while len(began) < 3:
            await asyncio.sleep(0.001)
            assert time.monotonic() - started < 5
        each["others"].done()
        each["too"].done()
        await asyncio.sleep(2 * turns.HELD)
        each["others"].ask()  # the one that hangs holds no turn any more
        return began

    assert asyncio.run(walk()) == ["hangs", "others", "too", "others"]
