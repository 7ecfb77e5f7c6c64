"""Quality: what has become worse is found and named, where it has, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.measures import Outcomes
from mlops_magics.measures.baseline import Baseline
from mlops_magics.monitoring import concept, feedback, groups, monitor, slices
from mlops_magics.monitoring.appraisal import quality
from mlops_magics.monitoring.estimate import NO_NUMBERS, estimate
from mlops_magics.monitoring.labelled import Labelled
from mlops_magics.monitoring.quality import overall
from mlops_magics.monitoring.references import Reference, References
from mlops_magics.store import evidence, tables

from .conftest import START, features, record, requests, revision, scores

RANGE = {"since": START, "until": START + 60}


def drawn(frame: pd.DataFrame, seed: int, flipped: np.ndarray | None = None) -> np.ndarray:
    """Draw the truth as the scores say; where ``flipped``, the other way."""
    truth = np.random.default_rng(seed).random(len(frame)) < scores(frame)
    return truth if flipped is None else truth ^ flipped


def outcomes(frame: pd.DataFrame, truth: np.ndarray) -> Outcomes:
    return Outcomes("binary", truth, scores(frame) > 0.5, scores(frame))


def labelled(frame: pd.DataFrame, truth: np.ndarray) -> Labelled:
    moments = np.arange(len(frame), dtype=float)
    return Labelled(moments, np.ones(len(frame)), outcomes(frame, truth), frame)


def baseline_of(rows: int = 6000, seed: int = 5) -> Baseline:
    frame = features(rows, seed=seed)
    return Baseline.of(outcomes(frame, drawn(frame, seed)), frame, list(frame.columns))


@pytest.fixture
def served(place, package):
    """An endpoint whose package was tested, and 2,000 answers in a minute."""
    report = json.loads((package / "mlops" / "report.json").read_text())
    report |= {"metrics": [], "groups": ["origin"], "baseline": baseline_of().to_dict()}
    (package / "mlops" / "report.json").write_text(json.dumps(report))
    made = requests(2000, revision(place, package), seed=1)
    record(place, made)
    return place, made, pd.DataFrame([one.rows[0] for one in made], columns=made[0].columns)


def give(place, made, truth) -> None:
    labels = {one.id: int(true) for one, true in zip(made, truth, strict=True)}
    feedback("flight-delay", labels, workspace=place)


def test_a_changed_concept_is_a_quality_verdict_and_no_data_drift(served):
    place, made, frame = served
    give(place, made, ~drawn(frame, 2))
    picture = monitor("flight-delay", **RANGE, workspace=place)
    found = picture.quality
    assert {one["name"]: one["worse"] for one in found["metrics"]}["roc_auc"] is True
    assert found["concept"]["drifted"] is True
    assert [one["agrees"] for one in found["estimate"]["metrics"]].count(False) >= 4
    assert [one["drifted"] for one in picture.features] == [False] * 3
    assert {alert["severity"] for alert in picture.alerts} == {"critical"}


def test_labels_as_the_scores_say_are_no_verdict_and_the_estimate_was_right(served):
    place, made, frame = served
    before = monitor("flight-delay", **RANGE, workspace=place).quality
    assert (before["labels"], before["metrics"], before["concept"]) == (0, [], None)
    expected = {one["name"]: one for one in before["estimate"]["metrics"]}
    assert expected["accuracy"]["measured"] is None
    early = monitor("flight-delay", **RANGE, workspace=place)
    assert "estimated from scores" in str(early)
    assert "estimated from scores" in early.svg()
    give(place, made, drawn(frame, 2))
    picture = monitor("flight-delay", **RANGE, workspace=place)
    after = picture.quality
    for metric in after["metrics"]:
        assert metric["worse"] is not True
        if metric["name"] in expected:
            one = expected[metric["name"]]
            half = (one["high"] - one["low"]) / 2
            assert abs(metric["value"] - one["value"]) <= 1.5 * half, metric["name"]
    assert after["concept"]["drifted"] is False
    assert not any(one["worse"] for one in [*after["slices"], *after["groups"]])
    assert all(one["agrees"] for one in after["estimate"]["metrics"])
    assert picture.alerts == []
    assert sum(after["series"]["labels"]) == 2000
    assert after["series"]["coverage"] == [1.0] * 24
    assert len(after["series"]["metrics"]["accuracy"]["low"]) == 24
    json.dumps(picture.to_dict(), allow_nan=False)


def test_a_shift_in_one_slice_is_named_by_the_verb(served):
    place, made, frame = served
    give(place, made, drawn(frame, 2, (frame["origin"] == "LGA").to_numpy()))
    report = quality("flight-delay", **RANGE, workspace=place)
    assert report.worse is True
    assert [(one.column, one.value) for one in report.slices if one.worse] == [("origin", "LGA")]
    # hours and distances are worse too, but only through their share of it
    assert {one.through for one in report.slices} == {None, "origin: LGA"}
    assert sum(one.through is not None for one in report.slices) >= 4
    assert [one.value for one in report.groups if one.worse] == ["LGA"]
    assert (report.concept.slices[0].column, report.concept.slices[0].value) == ("origin", "LGA")
    table = report.df
    lga = table[(table["column"] == "origin") & (table["part"] == "LGA")].set_index("metric")
    assert lga.loc["accuracy", "value"] < 0.5 < lga.loc["accuracy", "reference"]
    assert lga.loc["brier", "worse"] is True
    assert set(table[table["column"].isna()]["metric"]) >= {"roc_auc", "f1", "calibration_error"}
    text = str(report)
    assert "LGA" in text
    assert "False" not in report._repr_html_()
    json.dumps(report.to_dict(), allow_nan=False)


def test_several_worse_slices_are_all_named():
    baseline, frame = baseline_of(), features(6000, seed=21)
    lga, far = (frame["origin"] == "LGA").to_numpy(), (frame["distance"] > 950).to_numpy()
    rows = labelled(frame, drawn(frame, 22, lga | far))
    found = slices.measure(rows, baseline, list(frame.columns), areas=False)
    named = {(one.column, one.value.split(" ")[-1]) for one in found if one.worse}
    assert {("origin", "LGA"), ("distance", "more")} <= named
    assert not any(column == "hour" for column, _ in named)
    everywhere = labelled(frame, drawn(frame, 22, np.random.default_rng(1).random(6000) < 0.3))
    found = slices.measure(everywhere, baseline, list(frame.columns), areas=False)
    # what is worse everywhere is not laid on one part
    assert sum(one.worse is True for one in found) >= len(found) - 4


def test_a_column_is_chosen_and_one_that_is_not_there_is_refused(served):
    place, made, frame = served
    give(place, made, drawn(frame, 2))
    report = quality("flight-delay", **RANGE, by=["hour"], groups=["hour"], workspace=place)
    assert (
        {one.column for one in report.slices} == {one.column for one in report.groups} == {"hour"}
    )
    assert report.slices[0].metric("roc_auc") is not None
    with pytest.raises(UnknownName, match="'destination'"):
        quality("flight-delay", **RANGE, by=["destination"], workspace=place)


def test_a_test_made_after_the_package_counts_at_once(place, package):
    made = requests(300, revision(place, package))
    record(place, made)
    give(place, made, [True] * 300)
    references = References()
    with place.database.read() as connection:
        assert references.of(connection, 1).report["metrics"][0]["value"] == 0.9
        later = {"created": 2.0, "metrics": [{"name": "accuracy", "value": 0.8}]}
        evidence.beside(package).parent.mkdir()
        evidence.beside(package).write_text(json.dumps(later))
        assert references.of(connection, 1).report == later
    report = quality("flight-delay", **RANGE, workspace=place)
    assert {one.name: one.reference for one in report.metrics}["accuracy"] == 0.8


def test_a_masked_column_is_no_slice(served):
    place, made, frame = served
    give(place, made, drawn(frame, 2))
    with place.database.begin() as connection:
        settings = {"log": {"mask": ["origin"]}}
        connection.execute(tables.endpoints.update().values(settings=settings))
    report = quality("flight-delay", **RANGE, workspace=place)
    assert {one.column for one in report.slices} == {"distance", "hour"}
    assert report.groups == ()
    with pytest.raises(InvalidArgument, match="'origin' are masked"):
        quality("flight-delay", **RANGE, by=["origin"], workspace=place)


def test_without_a_test_report_values_are_shown_and_nothing_is_judged(place, package):
    (package / "mlops" / "report.json").unlink()
    made = requests(300, revision(place, package))
    record(place, made)
    give(place, made, [True] * 300)
    report = quality("flight-delay", **RANGE, workspace=place)
    assert report.worse is None
    assert report.metrics[1].value == pytest.approx(report.df["value"][1])
    assert "no test report" in str(report)
    assert report.estimate.reason.startswith("the package has no calibration map")
    assert report.concept.drifted is None
    assert quality("flight-delay", last="1h", workspace=place).labels == 0


def test_slices_of_null_windows_are_called_worse_at_the_stated_rate():
    """No slice should be: at most one window in a hundred, of each size."""
    baseline = baseline_of(20_000)
    alarms = moved = 0
    for seed in range(200):
        frame = features(600, seed=1000 + seed)
        rows = labelled(frame, drawn(frame, 2000 + seed))
        found = slices.measure(rows, baseline, ["distance", "hour", "origin"], areas=False)
        alarms += any(one.worse for one in found)
        verdict = concept.examine(rows.outcomes, baseline.relation, found)
        moved += bool(verdict.drifted)
    # binomial: with a rate of 0.01 in 200 windows, eight or more have a chance below 0.001
    assert alarms <= 7
    assert moved <= 7


def test_metrics_of_null_windows_are_called_worse_at_the_stated_rate():
    alarms = {200: 0, 2000: 0}
    for rows in alarms:
        for seed in range(150):
            # testing is a sample too: it is drawn anew
            held = features(3000, seed=seed)
            metrics = [vars(one) for one in outcomes(held, drawn(held, seed)).measure()]
            baseline = Reference(report={"metrics": metrics})
            frame = features(rows, seed=5000 + seed)
            found = overall(labelled(frame, drawn(frame, 6000 + seed)), baseline)
            assert len(found) == 10
            alarms[rows] += any(metric.worse for metric in found)
    # binomial: with a rate of 0.01 in 150 windows, seven or more have a chance below 0.001
    assert all(count <= 6 for count in alarms.values()), alarms


def test_a_loss_that_matters_is_found_in_most_windows():
    baseline = Reference(report={"baseline": baseline_of(6000).to_dict()})
    found = 0
    for seed in range(40):
        frame = features(2000, seed=7000 + seed)
        some = np.random.default_rng(seed).random(2000) < 0.08  # so many labels turned over
        metrics = overall(labelled(frame, drawn(frame, 8000 + seed, some)), baseline)
        found += {one.name: one.worse for one in metrics}["accuracy"] is True
    assert found >= 32


def test_what_is_read_in_parts_is_what_is_read_at_once(served, monkeypatch):
    place, made, frame = served
    give(place, made, drawn(frame, 2))
    whole = quality("flight-delay", **RANGE, workspace=place)
    monkeypatch.setattr("mlops_magics.monitoring.labelled.PART", 300)
    parts = quality("flight-delay", **RANGE, workspace=place)
    assert parts.metrics == whole.metrics
    assert parts.slices == whole.slices
    assert parts.series == whole.series


def test_few_rows_of_a_slice_are_shown_and_not_judged():
    baseline, frame = baseline_of(), features(60, seed=7)
    rows = labelled(frame, ~drawn(frame, 8))
    found = slices.measure(rows, baseline, ["origin"], areas=False)
    assert sum(one.rows for one in found) == 60
    assert {one.worse for one in found} == {None}
    assert all(one.metric("accuracy").value is not None for one in found)


def test_a_group_that_is_served_worse_or_selected_less_is_flagged():
    baseline, frame = baseline_of(), features(4000, seed=9)
    jfk = (frame["origin"] == "JFK").to_numpy()
    truth = drawn(frame, 10)
    fair = groups.measure(labelled(frame, truth), baseline, ["origin"])
    assert [one.worse for one in fair] == [False] * 3
    # a model that hardly selects one group any more, right or wrong
    unfair = Outcomes("binary", truth, (scores(frame) > 0.5) & ~(jfk & (frame["hour"] < 20)), None)
    rows = Labelled(np.arange(4000.0), np.ones(4000), unfair, frame)
    found = {one.value: one for one in groups.measure(rows, baseline, ["origin"])}
    assert found["JFK"].worse is True
    rate = next(metric for metric in found["JFK"].metrics if metric.name == "selection_rate")
    assert rate.value == pytest.approx(unfair.predicted[jfk].mean())
    assert rate.low < rate.value < rate.high
    if found["JFK"].against != "JFK":
        gap = next(gap for gap in found["JFK"].gaps if gap.name == "selection_rate")
        base = (frame["origin"] == found["JFK"].against).to_numpy()
        assert gap.difference == pytest.approx(rate.value - unfair.predicted[base].mean())
        assert gap.ratio == pytest.approx(rate.value / unfair.predicted[base].mean())
        assert gap.ratio_low < gap.ratio < gap.ratio_high
        assert gap.worse
    # the same without a test to compare with: the four-fifths rule
    alone = {one.value: one for one in groups.measure(rows, Baseline(), ["origin"])}
    flagged = {value for value, one in alone.items() if one.worse}
    assert flagged == ({"JFK"} if alone["JFK"].against != "JFK" else {"LGA", "EWR"})


def test_the_estimates_interval_covers_what_is_measured_later():
    baseline = baseline_of(20_000)
    covered: dict[str, int] = {}
    for seed in range(150):
        frame = features(500, seed=3000 + seed, shift=1.0)
        frame = frame[frame["hour"] > 9]  # other scores than in testing, of the same meaning
        later = {m.name: m for m in outcomes(frame, drawn(frame, 4000 + seed)).measure()}
        for one in estimate(scores(frame), baseline.relation, task="binary").metrics:
            covered.setdefault(one.name, 0)
            covered[one.name] += one.low <= later[one.name].value <= one.high
    # 95 % of 150 is 142.5, four standard errors are 11
    assert all(131 <= hits <= 150 for hits in covered.values()), covered
    assert set(covered) == {
        "roc_auc", "accuracy", "precision", "recall", "f1", "fpr", "brier", "log_loss"
    }  # fmt: skip


def test_what_cannot_be_estimated_says_why():
    baseline = baseline_of()
    assert estimate(None, None, task="regression").reason == NO_NUMBERS
    assert "classes" in estimate(None, baseline.relation, task="binary").reason
    assert "no calibration map" in estimate(np.ones(99), None, task="binary").reason
    assert "too few" in estimate(np.ones(9), baseline.relation, task="binary").reason


def test_several_classes_and_numbers_have_their_concept_too():
    random = np.random.default_rng(4)
    table = random.dirichlet([1, 1, 1], 8000)
    truth = np.array([random.choice(3, p=row) for row in table])
    frame = pd.DataFrame({"side": random.choice(["a", "b"], 8000)})
    many = Outcomes("multiclass", truth, table.argmax(axis=1), table)
    old, new = np.arange(8000) < 5000, np.arange(8000) >= 5000
    baseline = Baseline.of(many.take(old), frame[old], ["side"])
    assert concept.examine(many.take(new), baseline.relation).drifted is False
    accuracy = estimate(table[new], baseline.relation, task="multiclass").metrics[0]
    assert accuracy.low <= many.take(new).measure()[0].value <= accuracy.high
    turned = Outcomes("multiclass", (truth + 1) % 3, many.predicted, table)
    assert concept.examine(turned.take(new), baseline.relation).drifted is True

    x = random.normal(size=8000)
    numbers = Outcomes("regression", 2 * x + random.normal(size=8000), 2 * x)
    baseline = Baseline.of(numbers.take(old), frame[old], ["side"])
    rows = Labelled(x[new], x[new], numbers.take(new), frame[new].reset_index(drop=True))
    assert concept.examine(rows.outcomes, baseline.relation).drifted is False
    half = (rows.inputs["side"] == "b").to_numpy()
    moved = Outcomes("regression", rows.outcomes.truth + 0.8 * half, rows.outcomes.predicted)
    rows = Labelled(rows.times, rows.delays, moved, rows.inputs)
    found = slices.measure(rows, baseline, ["side"])
    assert (found[0].value, found[0].worse, found[0].judged) == ("b", True, "mae")
    verdict = concept.examine(moved, baseline.relation, found)
    assert verdict.drifted
    assert {one.value for one in verdict.slices} == {"b"}
    (bias,) = [one for one in verdict.slices if one.measure == "residual"]
    assert bias.now - bias.reference == pytest.approx(0.8, abs=0.15)


def test_outputs_are_read_in_each_of_their_forms():
    from mlops_magics.monitoring.labelled import outcomes_of

    pair = Reference(manifest={"predict_fn": "predict_proba", "classes": ["no", "yes"]})
    for given in ([[0.4, 0.6], [0.9, 0.1]], [{"no": 0.4, "yes": 0.6}, {"no": 0.9, "yes": 0.1}]):
        found = outcomes_of([*given, None], ["yes", "no", "no"], pair)
        assert found.scores.tolist() == [0.6, 0.1]
        assert found.predicted.tolist() == found.truth.tolist() == [True, False]
    single = outcomes_of([0.5, 0.1], ["yes", "yes"], pair)
    assert single.predicted.tolist() == [True, False]
    plain = Reference(manifest={"predict_fn": "predict", "classes": [1, 2, 3]})
    three = outcomes_of([1, 3, [2], "?"], [1, 1, 2, 3], plain)
    assert three.task == "multiclass"
    assert (three.truth.tolist(), three.predicted.tolist()) == ([0, 0, 1], [0, 2, 1])
    number = Reference(manifest={"task": "regression"})
    assert len(outcomes_of([1.5, None, {"y": 2}], [1, 2, 3], number)) == 2


def test_a_picture_of_many_labels_is_of_the_newest_and_counts_all(served, monkeypatch):
    place, made, frame = served
    give(place, made, drawn(frame, 2))
    monkeypatch.setattr("mlops_magics.monitoring.picture.MEASURED", 500)
    found = monitor("flight-delay", **RANGE, workspace=place).quality
    assert (found["labels"], found["coverage"], found["measured"]) == (2000, 1.0, 500)
    # three quarters of the minute were not read: unknown, not zero
    assert found["series"]["labels"][:19] == [None] * 19
    assert found["series"]["coverage"][:19] == [None] * 19
    assert found["series"]["coverage"][19:] == [1.0] * 5
