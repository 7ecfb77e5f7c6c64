"""Baselines: what testing found, in the parts and relations that production is held to."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mlops_magics.measures import Outcomes
from mlops_magics.measures.baseline import Baseline
from mlops_magics.measures.cut import Cut
from mlops_magics.measures.importance import ndcg, permuted
from mlops_magics.measures.relation import Relation

RANDOM = np.random.default_rng(5)


def held_out(rows: int = 6000) -> tuple[pd.DataFrame, Outcomes]:
    frame = pd.DataFrame(
        {
            "distance": RANDOM.normal(800, 200, rows),
            "origin": RANDOM.choice(["JFK", "LGA", "EWR"], rows, p=[0.5, 0.3, 0.2]),
            "plane_age": np.where(RANDOM.random(rows) < 0.1, np.nan, RANDOM.integers(0, 8, rows)),
        }
    )
    scores = RANDOM.random(rows)
    truth = RANDOM.random(rows) < scores
    return frame, Outcomes("binary", truth, scores >= 0.5, scores)


def test_a_baseline_has_each_parts_metrics_as_measured_on_that_part():
    frame, outcomes = held_out()
    baseline = Baseline.of(outcomes, frame, frame.columns)
    part = baseline.parts["origin"]
    assert part.cut.names == ("JFK", "LGA", "EWR", "missing")
    assert part.rows == (*frame["origin"].value_counts().tolist(), 0)
    alone = outcomes.take((frame["origin"] == "LGA").to_numpy())
    known = {metric.name: metric for metric in alone.measure()}
    for name, (value, half) in part.metrics[1].items():
        if name not in ("residual", "surprise"):
            assert value == known[name].value
            assert half == pytest.approx((known[name].high - known[name].low) / 2)
    assert part.metrics[3] == {}
    assert [len(one.rows) for one in baseline.parts.values()] == [5, 4, 9]


def test_a_baseline_survives_json_and_is_small():
    frame, outcomes = held_out()
    wide = pd.concat([frame.add_prefix(f"{n}_") for n in range(6)], axis=1)
    baseline = Baseline.of(outcomes, wide, wide.columns, {"0_origin": (0.1, 0.01)})
    text = json.dumps(baseline.to_dict())
    again = Baseline.from_dict(json.loads(text))
    assert len(text) < 48 * 1024
    assert again.parts.keys() == baseline.parts.keys()
    assert again.parts["0_distance"].cut == baseline.parts["0_distance"].cut
    assert again.parts["0_origin"].metrics[0]["brier"] == pytest.approx(
        baseline.parts["0_origin"].metrics[0]["brier"], rel=1e-3
    )
    assert again.relation.expected(np.array([0.3])) == pytest.approx(
        baseline.relation.expected(np.array([0.3])), rel=1e-4
    )
    assert again.importance == {"0_origin": (0.1, 0.01)}


def test_values_keep_their_part_however_they_are_written():
    ages = pd.Series([1.0, 2.0, 2.0, None], name="age")
    cut = Cut.of(ages)
    assert cut.names == ("2", "1", "missing")
    # as JSON and DataFrames bring them
    for given in ([2, 1, None], [2.0, 1.0, np.nan], ["2", "1", None]):
        assert cut.parts(pd.Series(given, dtype=object)).tolist() == [0, 1, 2]
    quartiles = Cut.of(pd.Series(np.arange(101.0), name="distance"))
    assert quartiles.names == ("below 25", "25 to 50", "50 to 75", "75 or more", "missing")
    given = pd.Series([-5.0, 25, 74.9, 1e9, None, "far"], dtype=object)
    assert quartiles.parts(given).tolist() == [0, 1, 2, 3, 4, -1]


def test_columns_that_cannot_be_cut_are_left_out():
    frame = pd.DataFrame({"tags": [[1], [2]] * 100, 0: np.arange(200)})
    truth = np.arange(200) % 2 == 0
    baseline = Baseline.of(Outcomes("binary", truth, truth), frame, ["tags", "0"])
    assert list(baseline.parts) == ["0"]
    assert baseline.relation is None  # classes without probabilities


def test_a_relation_is_the_share_of_positives_by_score_and_never_certain():
    scores = RANDOM.random(20_000)
    truth = RANDOM.random(20_000) < scores**2  # over-confident
    relation = Relation.of(scores, truth, probability=True)
    assert len(relation.rows) == 40
    given = np.array([0.2, 0.5, 0.9])
    assert relation.expected(given) == pytest.approx(given**2, abs=0.06)
    decided = scores > 0.5
    both = set(relation.bins(scores[decided])) & set(relation.bins(scores[~decided]))
    assert not both  # rows of both decisions are in no bin together
    sure = Relation.of(np.linspace(0, 0.1, 500), np.zeros(500, bool), probability=True)
    assert 0 < min(sure.means) < 0.01
    assert Relation.of(scores[:50], truth[:50], probability=True) is None


def test_importance_finds_what_a_model_uses_and_orders_are_compared():
    frame = pd.DataFrame(RANDOM.normal(size=(800, 3)), columns=["much", "some", "none"])
    truth = 3 * frame["much"] + frame["some"]

    def losses(given):
        return np.abs(3 * given["much"] + given["some"] - truth).to_numpy()

    found = permuted(frame, losses)
    assert found["much"][0] > found["some"][0] > found["none"][0] == 0.0
    assert found["much"][1] < found["much"][0] / 5
    values = {name: value for name, (value, _) in found.items()}
    assert ndcg(values, values) == 1.0
    assert ndcg(values, {"much": 0.0, "some": 0.0, "none": 5.0}) < 0.8
    assert permuted(frame, losses, seconds=-1.0) == {}
