"""How long does it take to log and register a model, beside ``mlflow.sklearn.log_model``?

Both write to a fresh SQLite store and the same registry API; the same fitted pipeline, the same
input example; each loaded again afterwards with ``mlflow.pyfunc`` and its answers compared.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import interleaved, spread, table, write

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks" / "flight_delay"))


def main() -> None:
    import flights
    import mlflow
    import numpy as np

    import mlops_magics as mlops
    from mlops_magics.store.workspace import Workspace

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    train, holdout = flights.load(1, rows=5000), flights.load(2, rows=1000)
    model = flights.boosting(max_iter=50).fit(train[flights.FEATURES], train[flights.TARGET])
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(folder)
        tracking = workspace.tracking
        report = mlops.test(model, holdout, flights.TARGET, workspace=workspace)

        def ours() -> float:
            began = time.perf_counter()
            package = mlops.package(
                model,
                data=train,
                target=flights.TARGET,
                predict_fn="predict_proba",
                report=report,
                workspace=workspace,
            )
            mlops.register(package, "ours", workspace=workspace)
            return time.perf_counter() - began

        def peer() -> float:
            began = time.perf_counter()
            with mlflow.start_run(experiment_id=tracking.experiment_id):
                mlflow.sklearn.log_model(
                    model,
                    name="model",
                    input_example=train[flights.FEATURES].head(5),
                    registered_model_name="peer",
                    pyfunc_predict_fn="predict_proba",
                    serialization_format="skops",
                    skops_trusted_types=trusted,
                )
            return time.perf_counter() - began

        first = mlops.package(
            model, data=train, target=flights.TARGET, report=report, workspace=workspace
        )
        trusted = first.trusted
        _ = tracking.mlflow
        mlflow.set_tracking_uri(tracking.uri)
        taken = interleaved({"mlflow.sklearn.log_model": peer, "mlops": ours})
        rows = holdout[flights.FEATURES]
        answers = [
            np.asarray(mlflow.pyfunc.load_model(f"models:/{name}/1").predict(rows))
            for name in ("peer", "ours")
        ]
        np.testing.assert_array_equal(*answers)
        ratio = [
            a / b for a, b in zip(taken["mlflow.sklearn.log_model"], taken["mlops"], strict=True)
        ]
    text = table(
        ["log and register a flight-delay pipeline", "seconds", "times as fast"],
        [
            [
                "`mlflow.sklearn.log_model(..., registered_model_name=...)`",
                spread(taken["mlflow.sklearn.log_model"], ".2f"),
                "1",
            ],
            [
                "`mlops.package` and `mlops.register`",
                spread(taken["mlops"], ".2f"),
                spread(ratio, ".1f"),
            ],
        ],
    )
    write("registering", text, {**taken, "ratio": ratio}, ["mlflow", "scikit-learn", "skops"])
