"""Our resampled metrics are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from mlops_magics.testing.bootstrap import Resampling
from mlops_magics.testing.metrics import METRICS, Outcome


@pytest.fixture
def scores():
    random = np.random.default_rng(1)
    truth = (random.random(800) < 0.3).astype(int)
    # rounded, so that equal scores occur
    score = np.round(np.clip(truth * 0.3 + random.random(800) * 0.7, 0, 1), 2)
    return truth, np.column_stack([1 - score, score])


def values(outcome, weights):
    return {
        metric.name: metric.compute(outcome, weights[None, :])[0]
        for metric in METRICS[outcome.task]
    }


@pytest.mark.parametrize("ordered", [False, True])
def test_binary_metrics_agree_with_scikit_learn_on_weighted_rows(scores, ordered):
    truth, table = scores
    outcome = Outcome("binary", truth, (table[:, 1] > 0.5).astype(int), table)
    if ordered:
        outcome = outcome.ordered()
    truth, said, score = outcome.truth, outcome.predicted, outcome.scores[:, 1]
    weights = np.random.default_rng(0).integers(0, 4, len(truth)).astype(float)
    found = values(outcome, weights)
    for name, expected in {
        "roc_auc": sk.roc_auc_score(truth, score, sample_weight=weights),
        "average_precision": sk.average_precision_score(truth, score, sample_weight=weights),
        "accuracy": sk.accuracy_score(truth, said, sample_weight=weights),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, said, sample_weight=weights),
        "f1": sk.f1_score(truth, said, sample_weight=weights),
        "precision": sk.precision_score(truth, said, sample_weight=weights),
        "recall": sk.recall_score(truth, said, sample_weight=weights),
        "log_loss": sk.log_loss(truth, score, sample_weight=weights),
        "brier": sk.brier_score_loss(truth, score, sample_weight=weights),
    }.items():
        assert found[name] == pytest.approx(expected, rel=1e-6), name


def test_multiclass_metrics_agree_with_scikit_learn():
    random = np.random.default_rng(2)
    truth = random.integers(0, 3, 500)
    table = random.dirichlet([1, 1, 1], 500)
    said = table.argmax(axis=1)
    weights = random.integers(0, 3, 500).astype(float)
    found = values(Outcome("multiclass", truth, said, table), weights)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, said, sample_weight=weights))
    assert found["f1_macro"] == pytest.approx(
        sk.f1_score(truth, said, average="macro", sample_weight=weights)
    )
    assert found["roc_auc"] == pytest.approx(
        sk.roc_auc_score(truth, table, multi_class="ovr", sample_weight=weights)
    )
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, table, sample_weight=weights))


def test_regression_metrics_agree_with_scikit_learn():
    random = np.random.default_rng(3)
    truth = 1e6 + random.normal(size=400)
    said = truth + random.normal(size=400) * 0.5
    weights = random.integers(0, 3, 400).astype(float)
    found = values(Outcome("regression", truth, said), weights)
    assert found["r2"] == pytest.approx(sk.r2_score(truth, said, sample_weight=weights), rel=1e-6)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, said, sample_weight=weights))
    assert found["rmse"] ** 2 == pytest.approx(
        sk.mean_squared_error(truth, said, sample_weight=weights)
    )


def test_an_interval_covers_the_truth_at_about_its_nominal_rate():
    accuracy = [metric for metric in METRICS["binary"] if metric.name == "accuracy"]
    random = np.random.default_rng(4)
    covered = 0
    for trial in range(200):
        said = np.zeros(300, dtype=int)
        truth = (random.random(300) < 0.2).astype(int)
        found = Resampling(300, trial).estimate(accuracy, Outcome("binary", truth, said))
        covered += found["accuracy"].low <= 0.8 <= found["accuracy"].high
    # binomial bounds of 200 trials at 95 %, four standard deviations wide
    assert 176 <= covered <= 200


def test_the_same_seed_gives_the_same_interval(scores):
    truth, table = scores
    outcome = Outcome("binary", truth, truth, table)
    auc = list(METRICS["binary"][:1])
    first, again = (Resampling(len(truth), 7).estimate(auc, outcome) for _ in range(2))
    assert first == again
    assert first != Resampling(len(truth), 8).estimate(auc, outcome)
