"""Quality: values as scikit-learn has them, intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from mlops_magics.monitoring.quality import classification, regression

RANDOM = np.random.default_rng(3)


def draw(rows: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    logit = random.normal(size=rows)
    scores = 1 / (1 + np.exp(-logit))
    return random.random(rows) < scores, scores.round(2)


def test_classification_values_are_scikit_learns():
    truth, scores = draw(800, RANDOM)
    predicted = scores >= 0.5
    found = {metric.name: metric.value for metric in classification(truth, predicted, scores)}
    bounded = np.clip(scores, 1e-15, 1 - 1e-15)
    assert found == pytest.approx(
        {
            "roc_auc": sk.roc_auc_score(truth, scores),
            "accuracy": sk.accuracy_score(truth, predicted),
            "precision": sk.precision_score(truth, predicted),
            "recall": sk.recall_score(truth, predicted),
            "brier": sk.brier_score_loss(truth, scores),
            "log_loss": sk.log_loss(truth, bounded),
        },
        abs=1e-12,
    )


def test_regression_values_are_scikit_learns():
    truth = RANDOM.normal(size=500)
    predicted = truth * 0.7 + RANDOM.normal(size=500)
    found = {metric.name: metric.value for metric in regression(truth, predicted)}
    assert found == pytest.approx(
        {
            "rmse": sk.root_mean_squared_error(truth, predicted),
            "mae": sk.mean_absolute_error(truth, predicted),
            "r2": sk.r2_score(truth, predicted),
        },
        abs=1e-12,
    )


def test_intervals_cover_the_true_value_about_as_often_as_they_say():
    random = np.random.default_rng(1)
    truth, scores = draw(400_000, random)
    true = {m.name: m.value for m in classification(truth, scores >= 0.5, scores)}
    noise = random.normal(size=400_000)
    true |= {m.name: m.value for m in regression(scores + noise, scores)}
    covered = dict.fromkeys(true, 0)
    rounds = 300
    for _ in range(rounds):
        truth, scores = draw(300, random)
        found = classification(truth, scores >= 0.5, scores)
        found += regression(scores + random.normal(size=300), scores)
        for metric in found:
            covered[metric.name] += metric.low <= true[metric.name] <= metric.high
    # 95 % of 300 is 285; four standard errors of it are 15
    assert all(270 <= hits <= 299 for hits in covered.values()), covered


def test_what_is_not_defined_is_unknown():
    truth = np.array([True, True, True])
    found = {m.name: m for m in classification(truth, ~truth, np.array([0.1, 0.2, 0.3]))}
    assert found["roc_auc"].value is None
    assert found["precision"].value is None
    assert found["recall"].value == 0.0
    one = {m.name: m for m in regression(np.array([1.0]), np.array([2.0]))}
    assert one["r2"].value is None
    assert (one["mae"].value, one["mae"].low) == (1.0, None)
