"""A million rows from Parquet to Parquet, beside ``model.predict`` on the whole frame in memory?

Each measurement is a process of its own, so that its peak of memory is its own too. The frame's
time is the prediction alone, with the frame read before; ours is the whole call: fetching and
loading the package, reading, validating, predicting, writing, syncing. Models: m1, scaler and
logistic regression on 30 numeric columns; m2, a random forest of 100 trees behind imputing,
scaling and one-hot encoding of 18 mixed columns, with nulls. ``MLOPS_BENCH_ROWS`` sets the rows.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import interleaved, spread, table, write

ROWS = int(os.environ.get("MLOPS_BENCH_ROWS", 1_000_000))
ROUNDS = int(os.environ.get("MLOPS_BENCH_ROUNDS", 5))

_WHOLE = """
import json, resource, sys, time
import pyarrow.parquet as pq
from mlops_magics.store import predictors
predictor = predictors.load(sys.argv[1])
frame = pq.read_table(sys.argv[2], columns=predictor.columns).to_pandas()
predictor.predict(frame.head(1000))
began, used = time.perf_counter(), time.process_time()
predictor.predict(frame)
seconds, cpu = time.perf_counter() - began, time.process_time() - used
"""
_OURS = """
import json, resource, sys, time
import mlops_magics as mlops, pandas, sklearn.ensemble, pyarrow.parquet, mlflow, skops.io
from mlops_magics.store.workspace import Workspace
workspace = Workspace.find(sys.argv[1])
began, used = time.perf_counter(), time.process_time()
done = mlops.score(sys.argv[2], sys.argv[3], sys.argv[4], workspace=workspace)
seconds, cpu = time.perf_counter() - began, time.process_time() - used
assert done.rejects == 0 and done.resumed == 0
"""
_TELL = """
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak / 1024}))
"""


def models() -> dict[str, tuple[Any, Any]]:
    """Name to fitted pipeline and its frame."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numeric, y1 = load_breast_cancer(return_X_y=True, as_frame=True)
    numeric.columns = [name.replace(" ", "_") for name in numeric.columns]
    m1 = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(numeric, y1)
    rng = np.random.default_rng(0)
    mixed = pd.DataFrame(rng.normal(size=(4000, 12)), columns=[f"n{i}" for i in range(12)])
    for i in range(6):
        mixed[f"c{i}"] = rng.choice([f"v{j}" for j in range(6)], 4000)
    mixed.iloc[::7, 0] = np.nan
    y2 = (mixed["n1"] + (mixed["c0"] == "v1") + rng.normal(size=4000) > 0.3).astype(int)
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), [f"n{i}" for i in range(12)]),
        (OneHotEncoder(handle_unknown="ignore"), [f"c{i}" for i in range(6)]),
    )
    forest = RandomForestClassifier(100, random_state=0, n_jobs=1)
    return {"m1": (m1, numeric), "m2": (make_pipeline(encode, forest).fit(mixed, y2), mixed)}


def main() -> None:
    import numpy as np
    import pandas as pd

    import mlops_magics as mlops
    from mlops_magics.store.workspace import Workspace

    figures: dict[str, Any] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(folder)
        for name, (model, frame) in models().items():
            packed = mlops.package(model, name=name, data=frame, workspace=workspace)
            source = Path(folder) / f"{name}.parquet"
            many = frame.sample(ROWS, replace=True, random_state=0, ignore_index=True)
            many.to_parquet(source)
            few = source.with_name(f"{name}-few.parquet")
            many.head(ROWS // 4).to_parquet(few)
            scored = Path(folder) / "scored"
            taken: dict[str, list[dict[str, float]]] = {"whole": [], "ours": [], "few": []}
            calls = {
                "whole": [_WHOLE, str(packed.path), str(source)],
                "ours": [_OURS, folder, packed.uri, str(source), f"{scored}.parquet"],
            }

            def measure(which: str, calls: Any = calls, taken: Any = taken) -> float:
                taken[which].append(run(*calls[which]))
                return taken[which][-1]["seconds"]

            measure("ours")
            answers = pd.read_parquet(f"{scored}.parquet", columns=["prediction"])
            same = np.array_equal(answers["prediction"], model.predict(many))
            assert same, f"{name}: the answers differ"
            del many, answers
            seconds = interleaved(
                {"whole": lambda: measure("whole"), "ours": lambda: measure("ours")},
                rounds=ROUNDS,
            )
            taken["few"].append(run(_OURS, folder, packed.uri, str(few), f"{scored}.parquet"))
            ratio = [a / b for a, b in zip(*seconds.values(), strict=True)]
            figures[name] = {"taken": taken, "speed": ratio, "rows": ROWS}

            def peak(which: str, taken: Any = taken) -> str:
                return f"{statistics.median(each['peak'] for each in taken[which]):,.0f}"

            rows.append(
                [
                    name,
                    spread(seconds["whole"], ".2f"),
                    spread(seconds["ours"], ".2f"),
                    spread(ratio, ".2f"),
                    peak("whole"),
                    peak("ours"),
                    peak("few"),
                ]
            )
            print("  " + "  ".join(rows[-1]), flush=True)
        workspace.database.close()
    text = table(
        [
            f"{ROWS:,} rows",
            "predict, s",
            "mlops score, s",
            "speed",
            "predict, MB",
            "mlops score, MB",
            "a quarter of the rows, MB",
        ],
        rows,
    )
    write("scoring", text, figures, ["scikit-learn", "pandas", "pyarrow"])


def run(code: str, *arguments: str) -> dict[str, float]:
    """Measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code + _TELL, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
