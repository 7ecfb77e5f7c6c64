"""What an endpoint's log keeps is checked where it is asked for, and stays until it is changed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import mlops_magics as mlops
from mlops_magics.deployment import plan
from mlops_magics.deployment.order import Order
from mlops_magics.deployment.policy import log_settings


@pytest.fixture
def package(tmp_path) -> Path:
    (tmp_path / "mlops").mkdir()
    inputs = [{"name": "ssn", "type": "string"}, {"name": "age", "type": "long"}]
    manifest = {"signature": {"inputs": inputs}}
    (tmp_path / "mlops" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_what_is_not_asked_for_is_not_set(package):
    assert log_settings(package) == {}
    assert log_settings(package, mode="strict", mask="ssn, age", retention="30d") == {
        "mode": "strict",
        "mask": ["ssn", "age"],
        "retention": 30 * 86400,
    }
    assert log_settings(package, mask="", retention="forever") == {"mask": [], "retention": None}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"mode": "sometimes"}, "'sometimes' is none of 'durable', 'strict', 'off'"),
        ({"fraction": 0}, "log_fraction = 0 is not between 0 and 1"),
        ({"fraction": 10}, "log_fraction = 10 is not between 0 and 1"),
        ({"mask": "sn"}, "no input column 'sn'\n  → did you mean 'ssn'?"),
        ({"retention": "a while"}, "'a while' is no span of time"),
    ],
)
def test_what_cannot_be_is_refused_with_the_value(package, asked, told):
    with pytest.raises(mlops.InvalidArgument) as info:
        log_settings(package, **asked)
    assert told in str(info.value)


def test_what_is_not_asked_for_stays_as_the_endpoint_has_it(package):
    before = {"log": {"mode": "durable", "mask": ["ssn"]}}
    order = Order(
        ref=SimpleNamespace(),
        package=package,
        endpoint="e",
        workers=1,
        runtime="native",
        latency_budget=None,
        log={"fraction": 0.1, "retention": 60.0},
        candidacy=None,
        follow=None,
        actor="a",
        why={},
        report=lambda *_: None,
    )
    settings = order.settings(before)
    policy = plan.log_policy(settings)
    assert (policy.mode, policy.fraction, policy.mask) == ("durable", 0.1, ["ssn"])
    assert plan.retention(settings) == 60.0
    assert plan.log_policy(order.settings({"log": "off"})).mode == "off"
