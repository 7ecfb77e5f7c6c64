"""What is wrong in a window is found by numbers that chance seldom gives."""

from __future__ import annotations

import numpy as np
import pytest

from mlops_magics.measures.metric import Metric
from mlops_magics.monitoring import latency
from mlops_magics.monitoring.alerts.conditions import (
    CONCEPT,
    of_columns,
    of_quality,
    of_requests,
    summary,
)
from mlops_magics.monitoring.alerts.policy import Policy
from mlops_magics.monitoring.concept import Concept
from mlops_magics.monitoring.drift import Drift
from mlops_magics.monitoring.groups import Group
from mlops_magics.monitoring.quality import Quality
from mlops_magics.monitoring.slices import Slice
from mlops_magics.monitoring.windows import Window

FAST = latency.count([1.0])


def window(requests, errors):
    return Window(0.0, requests, requests - errors, errors, FAST)


def test_windows_with_the_allowed_share_of_errors_alarm_as_often_as_was_asked_for():
    policy = Policy(errors=0.05, false_alarms=0.02)
    errors = np.random.default_rng(0).binomial(400, 0.05, 2000)
    alarms = sum(bool(of_requests(window(400, int(count)), policy)) for count in errors)
    # the binomial test is exact: at most the asked rate, less for the steps of counts
    assert 0.005 < alarms / 2000 < 0.03


@pytest.mark.parametrize(("requests", "errors", "found"), [(10, 2, 0), (10, 5, 1), (1000, 80, 1)])
def test_few_requests_need_a_larger_share(requests, errors, found):
    assert len(of_requests(window(requests, errors), Policy())) == found


def test_what_is_within_the_budget_s_own_bin_is_not_slow():
    counts = latency.count([50.2] * 100)
    assert of_requests(Window(0.0, 100, 100, 0, counts), Policy(latency=50.0)) == []
    counts = latency.count([60.0] * 100)
    (found,) = of_requests(Window(0.0, 100, 100, 0, counts), Policy(latency=50.0))
    assert found.evidence["slow"] == 100


def test_a_column_of_which_nothing_is_left_is_critical():
    drift = Drift("hour", "numeric", 200, drifted=True, reasons=("missing values: all",))
    parts = {"nulls": {"reference": 0.0, "current": 0.9}, "invalid": 20}
    (found,) = of_columns([Drift(**{**vars(drift), **parts})])
    assert (found.kind, found.severity) == ("data", "critical")


def test_metrics_parts_groups_and_concept_drift_are_one_kind_and_the_metric_comes_first():
    fallen = Metric("accuracy", 0.6, 0.55, 0.65, reference=0.8, worse=True)
    steady = Metric("roc_auc", 0.8, 0.75, 0.85, reference=0.8, worse=False)
    part = Slice("origin", "JFK", 90, (fallen,), "accuracy", worse=True, q_value=0.001)
    group = Group("origin", "LGA", 60, "JFK", worse=True, reasons=("recall fell",))
    concept = Concept(300, True, p_value=1e-6, shift=0.2, reason="labels left the scores")
    found = of_quality(
        Quality(300, 1.0, (fallen, steady), slices=(part,), groups=(group,), concept=concept)
    )
    assert [one.item for one in found] == [
        "accuracy",
        CONCEPT,
        "origin = JFK",
        "group origin = LGA",
    ]
    severity, title = summary(found)
    assert severity == "critical"
    assert title.startswith("accuracy is 0.600, in testing it was 0.800; labels left the scores")
    assert summary(found[2:3]) == (
        "warning",
        "accuracy where origin = JFK is 0.600, in testing it was 0.800",
    )


def test_what_is_not_worse_or_not_known_is_no_finding():
    unknown = Metric("accuracy", 0.6)
    part = Slice("origin", "JFK", 9, (unknown,), "accuracy")
    concept = Concept(9, None, reason="too few labels")
    assert of_quality(Quality(9, 1.0, (unknown,), slices=(part,), concept=concept)) == []
