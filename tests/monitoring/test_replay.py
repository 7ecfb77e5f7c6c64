"""The year 2013 replayed: a model of the first months, and what monitoring says of the later ones.

Real flights with real seasons: what has drifted when is computed here a second time, from the raw
rows and by other means.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

import mlops_magics as mlops
from mlops_magics.monitoring import attribution, feedback, labelled, log, monitor
from mlops_magics.monitoring.appraisal import quality
from mlops_magics.monitoring.references import References
from mlops_magics.store import predictors

from .conftest import START, record, revision

MONTH, ROWS, BATCH = 30 * 86400.0, 2000, 50


@pytest.fixture(scope="module")
def flights():
    sys.path.insert(0, str(Path(__file__).parents[2] / "notebooks" / "flight_delay"))
    try:
        import flights as story
    finally:
        sys.path.pop(0)
    whole = story.load(range(1, 13), keys=True)
    first = whole[whole["month"] <= 3].sample(16_000, random_state=0)
    months = {
        month: whole[whole["month"] == month].sample(ROWS, random_state=1).sort_index()
        for month in range(4, 13)
    }
    columns = [*story.FEATURES, story.TARGET]
    return story, first[columns][:10_000], first[columns][10_000:], months


def answer(month: pd.DataFrame, number: int, key: int, predictor, features) -> list[log.Request]:
    """A month's requests, of fifty rows each, with the packaged model's answers."""
    inputs = month[features]
    answers = predictor.predict(inputs).tolist()
    rows = inputs.astype(object).where(inputs.notna(), None).to_numpy().tolist()
    return [
        log.Request(
            id=f"{number:02d}-{place:05d}",
            t=START + number * MONTH + place / BATCH,
            endpoint="flight-delay",
            status=200,
            ms=5.0,
            revision=key,
            columns=list(features),
            rows=rows[place : place + BATCH],
            outputs=answers[place : place + BATCH],
        )
        for place in range(0, len(rows), BATCH)
    ]


def stability(before: pd.Series, after: pd.Series) -> tuple[float, float]:
    """PSI and the smallest p-value of scipy's tests, of the raw rows.

    Numbers by the deciles of the rows and of the distinct values: most hours have no rain at all.
    """
    p_values = []
    if pd.api.types.is_numeric_dtype(before):
        known = [before.dropna(), pd.Series(before.dropna().unique())]
        edges = np.unique([one.quantile(np.linspace(0, 1, 11)[1:-1]) for one in known])
        counts = [
            np.bincount(np.searchsorted(edges, one.dropna(), "right"), minlength=len(edges) + 1)
            for one in (before, after)
        ]
        p_values.append(stats.ks_2samp(before.dropna(), after.dropna(), method="asymp").pvalue)
    else:
        names = before.value_counts().index[:50]
        counts = [
            one.value_counts().reindex(names, fill_value=0).to_numpy() for one in (before, after)
        ]
    table = np.array(counts)
    p_values.append(stats.chi2_contingency(table[:, table.sum(axis=0) > 10]).pvalue)
    p, q = (np.maximum(one / one.sum(), 1e-4) for one in counts)
    return float(np.sum((q - p) * np.log(q / p))), float(min(p_values))


def test_a_year_of_flights_drifts_when_the_rows_say_so_and_gets_worse_once_labels_come(
    workspace, flights
):
    story, train, holdout, months = flights
    model = story.logistic().fit(train[story.FEATURES], train[story.TARGET])
    packed = mlops.package(
        model,
        name="flight-delay",
        data=train,
        target=story.TARGET,
        predict_fn="predict_proba",
        workspace=workspace,
    )
    # after it was packaged: monitoring finds the report all the same
    mlops.test(packed, holdout, story.TARGET, groups=["origin"], workspace=workspace)
    key = revision(workspace, packed.path)
    predictor = predictors.load(packed.path)
    said: dict[int, set[str]] = {}
    agreed = {True: 0, False: 0}
    for number, month in months.items():
        made = answer(month, number, key, predictor, story.FEATURES)
        record(workspace, made)
        span = {"since": START + number * MONTH, "until": START + (number + 1) * MONTH}
        picture = monitor("flight-delay", **span, workspace=workspace)
        verdicts = {one["name"]: one for one in picture.features}
        said[number] = {name for name, one in verdicts.items() if one["drifted"]}
        for name, one in verdicts.items():
            psi, p_value = stability(train[name], month[name])
            nulls = abs(train[name].isna().mean() - month[name].isna().mean())
            if psi > 0.25 and p_value < 1e-9:
                assert one["drifted"] is True, (number, name, psi)
                agreed[True] += 1
            if psi < 0.05 and p_value > 1e-4 and nulls < 0.01 and not one["unseen"]:
                assert one["drifted"] is False, (number, name, psi, one["reasons"])
                agreed[False] += 1
        # before labels: what scores say, and no word of quality lost
        assert picture.quality["labels"] == 0
        assert {one["name"] for one in picture.quality["estimate"]["metrics"]} >= {"roc_auc"}
        assert not [alert for alert in picture.alerts if alert["severity"] == "critical"]
    # the comparison was of much, on both sides: the seasons' temperature, and what never changes
    assert agreed[True] >= 15
    assert agreed[False] >= 35
    assert all("temp" in said[number] for number in range(5, 11))
    assert not any({"weekday", "minute", "origin"} & names for names in said.values())

    scores = {}
    worse: dict[int, set[str]] = {}
    for number, month in months.items():
        labels = {
            f"{number:02d}-{place - place % BATCH:05d}:{place % BATCH}": late
            for place, late in enumerate(month[story.TARGET].tolist())
        }
        assert feedback("flight-delay", labels, workspace=workspace).stored == ROWS
        span = {"since": START + number * MONTH, "until": START + (number + 1) * MONTH}
        found = monitor("flight-delay", **span, workspace=workspace).quality
        assert found["coverage"] == 1.0
        metrics = {one["name"]: one for one in found["metrics"]}
        worse[number] = {name for name, one in metrics.items() if one["worse"]}
        scores[number] = predictor.predict(month[story.FEATURES])[:, 1]
        truth = month[story.TARGET].to_numpy()
        independent = {
            "brier": sk.brier_score_loss(truth, scores[number]),
            "roc_auc": sk.roc_auc_score(truth, scores[number]),
            "accuracy": sk.accuracy_score(truth, scores[number] > 0.5),
        }
        measured = {name: metrics[name]["value"] for name in independent}
        assert measured == pytest.approx(independent, abs=1e-9)
    held = model.predict_proba(holdout[story.FEATURES])[:, 1]
    lost = {
        number: _bootstrapped(
            holdout[story.TARGET].to_numpy(), held, months[number][story.TARGET].to_numpy(), given
        )
        for number, given in scores.items()
    }
    # more loss than in testing in 999 of 1,000 resamples, or in none near it
    for number, (low, high) in lost.items():
        if low > 0.01:
            assert "brier" in worse[number], (number, low)
        if high < 0.003:
            assert "brier" not in worse[number], (number, high)
    assert {number for number in worse if "brier" in worse[number]} >= {6, 7, 12}
    assert "roc_auc" in worse[10]
    assert not worse[5] & {"brier", "roc_auc", "accuracy"}

    july = {"since": START + 7 * MONTH, "until": START + 8 * MONTH}
    told = quality("flight-delay", **july, attribution=True, workspace=workspace)
    assert told.worse is True
    assert told.concept.drifted is True
    assert told.concept.bias > 0.05  # more were late than the winter's model says
    assert {one.column for one in told.groups} == {"origin"}
    assert [one.agrees for one in told.estimate.metrics if one.name == "brier"] == [False]
    assert told.attribution.columns[0].column == "airport_delay"
    assert told.attribution.ndcg > 0.9
    assert told.attribution.drifted is False
    assert any("training data did not have in temp" in note for note in told.notes)
    assert "worse than in testing" in str(told)

    # a board that shows anything: the model's answers hang on other columns than in testing
    with workspace.database.read() as connection:
        reference = References().of(connection, key)
        span = (july["since"], july["until"])
        rows = labelled.read(connection, "flight-delay", *span, reference, inputs=True)
    board = np.random.default_rng(0).permutation(rows.inputs["airport_delay"])
    inputs = rows.inputs.assign(airport_delay=board)
    broken = attribution.measure(dataclasses.replace(rows, inputs=inputs), reference, packed.path)
    assert broken.drifted is True
    assert broken.ndcg < 0.9
    (lost,) = [one for one in broken.columns if one.column == "airport_delay"]
    assert (lost.reference_rank, lost.changed) == (1, True)
    assert lost.rank > 1


def _bootstrapped(truth, held, later, scores) -> tuple[float, float]:
    random = np.random.default_rng(0)
    before, after = np.square(held - truth), np.square(scores - later)
    drawn = [
        random.choice(after, len(after)).mean() - random.choice(before, len(before)).mean()
        for _ in range(400)
    ]
    low, high = np.quantile(drawn, [0.001, 0.999])
    return float(low), float(high)
