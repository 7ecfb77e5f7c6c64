"""Captured requests, answered again by a challenger."""

import json

import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.deployment import pairing
from mlops_magics.monitoring import backlog
from mlops_magics.store import tables

pytestmark = pytest.mark.xdist_group("rollout")


def test_a_challenger_answers_captured_requests_and_the_comparison_is_kept(live, made, registered):
    mlops.deploy(made("double"), "captured", workspace=live)
    with pytest.raises(mlops.NotFound, match="has answered nothing"):
        mlops.replay("captured", made("triple"), workspace=live)
    rows = [{"x": float(x), "n": 1} for x in range(60)]
    answered = mlops.predict("captured", rows, workspace=live)
    backlog.settle(live)
    labels = {key: 2.0 * row["x"] for key, row in zip(answered.ids, rows, strict=True)}
    mlops.feedback("captured", labels, workspace=live)
    challenger = registered("triple", "challenger")
    found = mlops.replay("captured", f"challenger/{challenger.version}", workspace=live)
    assert (found.rows, found.refused) == (60, {})
    assert (found.equality["equal"], found.equality["share"]) == (1, 1 / 60)  # zero, of both
    assert found.differences["mean"] == pytest.approx(29.5)
    assert found.differences["low"] < 29.5 < found.differences["high"]
    assert found.differences["max"] == 59.0
    assert found.greatest[0]["inputs"]["x"] == 59.0
    assert found.latency["p95"] >= found.latency["p50"] > 0
    quality = found.quality
    assert (quality["logged"], quality["challenger"]) == (0.0, pytest.approx(29.5))
    assert "worse on labels" in str(found)
    kept = live.tracking.client.get_model_version("challenger", challenger.version)
    assert json.loads(kept.tags["mlops.replay"])["rows"] == 60
    run = live.tracking.client.list_artifacts(challenger.run_id, "mlops/replays")
    digest = challenger.tags["mlops.digest"]
    assert [info.path for info in run] == [f"mlops/replays/{digest[:16]}-captured.json"]
    t = tables.ledger.c
    with live.database.read() as connection:
        entry = connection.execute(sa.select(tables.ledger).where(t.seq == found.entry)).one()
    assert (entry.action, entry.subject) == ("replay", f"challenger/{challenger.version}")
    same = mlops.replay("captured", made("double"), last="1h", limit=10, workspace=live)
    assert (same.rows, same.equality["equal"], same.greatest) == (10, 10, [])


def test_rows_that_a_challenger_does_not_answer_are_counted_with_the_reason(live, made):
    mlops.deploy(made("double"), "hard", workspace=live)
    rows = [{"x": x, "n": 1} for x in (1.0, 2.0, 500.0)]
    mlops.predict("hard", rows, workspace=live)
    found = mlops.replay("hard", made("fails_on_large"), workspace=live)
    assert (found.rows, found.refused) == (2, {"the model raised ValueError": 1})
    assert found.equality["share"] == 1.0
    assert "1 rows not answered" in str(found)


def test_a_paired_comparison_sees_what_two_samples_would_hide():
    import numpy as np

    rng = np.random.default_rng(0)
    logged = rng.normal(0, 100, 400)
    found = pairing.differences(logged.tolist(), (logged + rng.normal(0.5, 1, 400)).tolist())
    assert 0.3 < found["low"] < 0.5 < found["high"] < 0.7
    labels = [1] * 400
    before, after = [1] * 380 + [0] * 20, [1] * 395 + [0] * 5
    quality = pairing.quality(labels, before, after, classes=True)
    assert quality["difference"] == pytest.approx(15 / 400)
    assert quality["p_value"] == pytest.approx(2 * 0.5**15)
    assert quality["low"] > 0
