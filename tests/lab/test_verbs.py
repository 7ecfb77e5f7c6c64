"""What the browser may ask for."""

import asyncio
import threading
import time

import pytest

import mlops_magics as mlops
from mlops_magics.lab import verbs
from mlops_magics.records import Record


@pytest.fixture
def counted(monkeypatch):
    """A reading verb that takes a while and is counted."""
    calls = []

    def monitor(endpoint, workspace):
        calls.append(threading.get_ident())
        time.sleep(0.05)
        return Record()

    monkeypatch.setitem(mlops.__dict__, "monitor", monitor)
    return calls


def test_who_asks_for_the_same_at_the_same_time_shares_the_work(workspace, counted):
    asked = verbs.Verbs(workspace.root)

    async def ask():
        question = ("monitor", {"endpoint": "e"}, None)
        await asyncio.gather(*[asked.call(*question) for _ in range(20)])
        await asked.call("monitor", {"endpoint": "other"}, None)

    asyncio.run(ask())
    assert len(counted) == 2
    assert threading.get_ident() not in counted  # Jupyter goes on meanwhile


def test_what_was_read_is_soon_read_anew(workspace, counted, monkeypatch):
    monkeypatch.setattr(verbs, "FRESH_SECONDS", 0.0)
    asked = verbs.Verbs(workspace.root)

    async def ask():
        for _ in range(3):
            await asked.call("monitor", {"endpoint": "e"}, None)

    asyncio.run(ask())
    assert len(counted) == 3


def test_after_a_change_nobody_gets_what_was_read_before_it(workspace, counted, monkeypatch):
    monkeypatch.setitem(mlops.__dict__, "rollback", lambda name, workspace: Record())
    asked = verbs.Verbs(workspace.root)

    async def ask():
        reading = asyncio.create_task(asked.call("monitor", {"endpoint": "e"}, None))
        await asyncio.sleep(0.01)
        await asked.call("rollback", {"name": "e"}, None)
        await asked.call("monitor", {"endpoint": "e"}, None)
        await reading

    asyncio.run(ask())
    assert len(counted) == 2


def test_one_who_leaves_does_not_take_the_answer_from_the_others(workspace, counted):
    asked = verbs.Verbs(workspace.root)

    async def ask():
        leaving = asyncio.create_task(asked.call("monitor", {"endpoint": "e"}, None))
        staying = asyncio.create_task(asked.call("monitor", {"endpoint": "e"}, None))
        await asyncio.sleep(0.01)
        leaving.cancel()
        return await staying

    assert asyncio.run(ask()) == {}


def test_each_verb_that_is_offered_exists_and_takes_what_it_may_be_given():
    import inspect

    for name, verb in verbs.OFFERED.items():
        taken = inspect.signature(getattr(mlops, name)).parameters
        assert verb.arguments | {"workspace"} <= set(taken)
