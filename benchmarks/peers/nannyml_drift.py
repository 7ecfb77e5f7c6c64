"""NannyML, in its own environment: ``python nannyml_drift.py power IN OUT``.

Its default method with its default thresholds, each window a chunk: the largest ratio of a
column's Jensen-Shannon distance to its upper threshold.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pandas as pd

warnings.filterwarnings("ignore")

import nannyml as nml  # noqa: E402 - it warns when it is imported


def power(folder: Path) -> dict[str, list[float]]:
    reference = pd.read_parquet(folder / "reference.parquet")
    words = [name for name in reference if not pd.api.types.is_numeric_dtype(reference[name])]
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("windows-*.parquet")):
        windows = pd.read_parquet(path)
        size = int((windows["window"] == windows["window"].iloc[0]).sum())
        calculator = nml.UnivariateDriftCalculator(
            column_names=list(reference), treat_as_categorical=words, chunk_size=size
        )
        calculator.fit(reference)
        result = calculator.calculate(windows.drop(columns="window"))
        table = result.filter(period="analysis").to_df()
        ratios = [
            table[(name, "jensen_shannon", "value")]
            / table[(name, "jensen_shannon", "upper_threshold")]
            for name in reference
        ]
        found[path.stem.removeprefix("windows-")] = pd.concat(ratios, axis=1).max(axis=1).tolist()
    return found


if __name__ == "__main__":
    task, folder, out = sys.argv[1:]
    Path(out).write_text(json.dumps(globals()[task](Path(folder))))
