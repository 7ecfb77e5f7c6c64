"""Evidently, in its own environment: ``python evidently_drift.py TASK IN OUT``.

``speed`` times DataDriftPreset on two tables and weighs the process; ``values`` gives single
statistics; ``power`` gives each window's largest ratio of a column's score to its threshold.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
from evidently.presets import DataDriftPreset


def dataset(frame: pd.DataFrame) -> Dataset:
    numbers = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
    words = [name for name in frame if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=words)
    return Dataset.from_pandas(frame, data_definition=definition)


def sides(folder: Path) -> list[pd.DataFrame]:
    return [pd.read_parquet(folder / f"{name}.parquet") for name in ("first", "second")]


def speed(folder: Path) -> dict[str, float]:
    reference, current = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("first", "second")
    )
    small = [dataset(frame.head(2000)) for frame in (current, reference)]
    Report([DataDriftPreset()]).run(*small)  # what it imports only then is not measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    Report([DataDriftPreset()]).run(dataset(current), dataset(reference))
    spent = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": spent, "peak": after * 1024, "more": (after - before) * 1024}


def values(folder: Path) -> dict[str, float]:
    reference, current = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("first", "second")
    )
    wanted = json.loads((folder / "wanted.json").read_text())
    found = {}
    for name, method in wanted:
        pair = [frame[[name]].dropna() for frame in (current, reference)]
        report = Report([ValueDrift(column=name, method=method)])
        result = report.run(*(dataset(one) for one in pair)).dict()["metrics"][0]["value"]
        found[f"{name} {method}"] = float(result)
    return found


def power(folder: Path) -> dict[str, list[float]]:
    reference = dataset(pd.read_parquet(folder / "reference.parquet"))
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("windows-*.parquet")):
        scores = []
        for _, window in pd.read_parquet(path).groupby("window"):
            report = Report([DataDriftPreset()])
            run = report.run(dataset(window.drop(columns="window")), reference)
            scores.append(max(map(ratio, run.dict()["metrics"][1:])))
        found[path.stem.removeprefix("windows-")] = scores
    return found


def ratio(metric: dict) -> float:
    value, threshold = float(metric["value"]), float(metric["config"]["threshold"])
    # of a p-value the small ones are drift
    return (
        threshold / max(value, 1e-300) if "p_value" in metric["metric_name"] else value / threshold
    )


if __name__ == "__main__":
    task, folder, out = sys.argv[1:]
    Path(out).write_text(json.dumps(globals()[task](Path(folder))))
