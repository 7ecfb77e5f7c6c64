"""Outcomes: values as scikit-learn has them, intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from mlops_magics.measures import Outcomes


def classification(truth, predicted, scores):
    return Outcomes("binary", truth, predicted, scores).measure()


def regression(truth, predicted):
    return Outcomes("regression", truth, predicted).measure()


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
            "f1": sk.f1_score(truth, predicted),
            "fpr": np.mean(predicted[~truth]),
            "selection_rate": np.mean(predicted),
            "brier": sk.brier_score_loss(truth, scores),
            "log_loss": sk.log_loss(truth, bounded),
            "calibration_error": found["calibration_error"],  # tested below
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
            "bias": np.mean(predicted - truth),
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
    # these scores are calibrated: an error of zero is the interval's end, and hardly missed
    assert covered.pop("calibration_error") >= 285
    # 95 % of 300 is 285; four standard errors of it are 15
    assert all(270 <= hits <= 299 for hits in covered.values()), covered


def test_the_calibration_error_is_what_it_is_whatever_the_number_of_rows():
    random = np.random.default_rng(2)
    covered, means = 0, {200: [], 20_000: []}
    for place in range(300):
        for rows, found in means.items():
            if rows == 200 or place < 30:
                scores = random.random(rows)
                truth = random.random(rows) < 0.25 + scores / 2  # off by 0.145 in mean square
                error = classification(truth, scores >= 0.5, scores)[-1]
                found.append(error.value)
                covered += rows == 200 and error.low <= 0.1443 <= error.high
    # without taking off what chance adds, 200 rows would show 0.17 on average
    assert np.mean(means[200]) == pytest.approx(0.144, abs=0.01)
    assert np.mean(means[20_000]) == pytest.approx(0.144, abs=0.004)
    assert 270 <= covered <= 299


def test_parts_are_measured_as_each_alone_would_be():
    truth, scores = draw(3000, RANDOM)
    parts = RANDOM.integers(-1, 4, 3000)
    whole = Outcomes("binary", truth, scores >= 0.5, scores)
    for place, found in enumerate(whole.by_part(parts, 4)):
        alone = {metric.name: metric for metric in whole.take(parts == place).measure()}
        for metric in found:
            values = (metric.value, metric.low, metric.high)
            other = alone[metric.name]
            assert values == pytest.approx((other.value, other.low, other.high), abs=1e-12)


def test_several_classes_are_measured_as_scikit_learn_does():
    truth = RANDOM.integers(0, 3, 500)
    scores = RANDOM.dirichlet([1, 1, 1], 500)
    scores[np.arange(500), truth] += 0.5
    scores /= scores.sum(axis=1, keepdims=True)
    predicted = scores.argmax(axis=1)
    found = {m.name: m for m in Outcomes("multiclass", truth, predicted, scores).measure()}
    assert {name: metric.value for name, metric in found.items()} == pytest.approx(
        {
            "accuracy": sk.accuracy_score(truth, predicted),
            "f1_macro": sk.f1_score(truth, predicted, average="macro"),
            "log_loss": sk.log_loss(truth, scores),
        }
    )
    assert all(metric.low < metric.value < metric.high for metric in found.values())


def test_what_is_not_defined_is_unknown():
    truth = np.array([True, True, True])
    found = {m.name: m for m in classification(truth, ~truth, np.array([0.1, 0.2, 0.3]))}
    assert found["roc_auc"].value is None
    assert found["precision"].value is None
    assert found["recall"].value == 0.0
    one = {m.name: m for m in regression(np.array([1.0]), np.array([2.0]))}
    assert one["r2"].value is None
    assert (one["mae"].value, one["mae"].low) == (1.0, None)
