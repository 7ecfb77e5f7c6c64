"""A package's files: what is written around the model file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from mlops_magics.packaging import environment, examples
from mlops_magics.packaging.flavors import Written
from mlops_magics.profiles import Profile, calibrate
from mlops_magics.records import plain
from mlops_magics.store import packages

__all__ = [
    "write_environment",
    "write_examples",
    "write_json",
    "write_manifest",
    "write_mlmodel",
    "write_reference",
]

ROWS = 2000  # of the reference whose bins are kept

_ALWAYS = ("mlflow", "numpy", "pandas", "scipy")


def write_environment(folder: Path, distributions: tuple[str, ...]) -> int:
    """Write requirements, exact lock and MLflow's Python environment; return the lock's length."""
    needed = tuple(sorted({*_ALWAYS, *distributions}))
    lines = environment.lock(needed)
    _write_text(folder / "requirements.txt", [environment.pinned(name) for name in needed])
    _write_text(folder / "mlops" / "requirements.lock", lines)
    text = yaml.safe_dump(environment.python_environment(), sort_keys=False)
    (folder / "python_env.yaml").write_text(text, "utf-8")
    return len(lines)


def write_examples(folder: Path, golden: Any, outputs: list[Any]) -> None:
    """Write MLflow's input example, its serving form, and the golden predictions."""
    first = examples.take(golden, range(min(5, examples.count(golden))))
    if isinstance(golden, pd.DataFrame):
        example: Any = examples.split(first)
        serving = {"dataframe_split": example}
    else:
        listed = {name: plain(array.tolist()) for name, array in _named(first).items()}
        example = serving = {"inputs": listed if isinstance(golden, dict) else listed[_ONLY]}
    write_json(folder / "input_example.json", example)
    write_json(folder / "serving_input_example.json", serving)
    write_json(
        folder / "mlops" / "golden.json", {"inputs": examples.split(golden), "outputs": outputs}
    )


def write_reference(folder: Path, frame: pd.DataFrame) -> None:
    """Write what traffic is compared with: profile, thresholds of drift, and some rows.

    Of the rows only the bins are kept, no value: they show which values come together.
    """
    profile = Profile.of(frame)
    write_json(folder / "mlops" / "reference.json", profile.to_dict())
    thresholds = calibrate(frame, profile)
    if thresholds is not None:
        write_json(folder / "mlops" / "calibration.json", thresholds.to_dict())
    chosen = np.random.default_rng(0).permutation(len(frame))[:ROWS]
    codes = pa.Table.from_pandas(profile.codes(frame.iloc[chosen]), preserve_index=False)
    if codes.num_columns:
        pq.write_table(codes, folder / "mlops" / "rows.parquet")


_ONLY = examples.UNNAMED


def _named(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {_ONLY: data}


def write_mlmodel(
    folder: Path,
    written: Written,
    signature: Mapping[str, Any],
    *,
    model_id: str,
    run_id: str,
    location: str,
) -> None:
    """Write ``MLmodel``: what any MLflow tool reads to load the model."""
    flavors = {
        name: {key: value for key, value in section.items() if value is not None}
        for name, section in written.flavors.items()
    }
    shared = {
        "python_version": environment.python_environment()["python"],
        "env": {"virtualenv": "python_env.yaml"},
    }
    flavors["python_function"] = {**flavors["python_function"], **shared}
    tensors = signature["inputs"][0]["type"] == "tensor"
    params = signature.get("params")
    size = sum((folder / name).stat().st_size for name in packages.files_of(folder))
    content = {
        "artifact_path": location,
        "flavors": flavors,
        "is_signature_from_type_hint": False,
        "mlflow_version": metadata.version("mlflow"),
        "model_id": model_id,
        "model_size_bytes": size,
        "model_uuid": model_id,
        "run_id": run_id,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            **({"type": "ndarray"} if tensors else {"pandas_orient": "split", "type": "dataframe"}),
        },
        "signature": {
            "inputs": json.dumps(signature["inputs"]),
            "outputs": json.dumps(signature["outputs"]),
            "params": json.dumps(params) if params else None,
        },
        "type_hint_from_example": False,
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(content), "utf-8")


def write_manifest(folder: Path, content: Mapping[str, Any]) -> str:
    """Write the manifest with every file's hash; return the package's digest."""
    manifest = {
        "format": 1,
        "created": time.time(),
        **content,
        "files": packages.hashes_of(folder),
    }
    write_json(folder / packages.MANIFEST, manifest)
    return packages.digest_of(json.loads(json.dumps(manifest)))


def _write_text(path: Path, lines: Any) -> None:
    path.write_text("\n".join(lines) + "\n", "utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that any reader understands: NaN is refused."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False), "utf-8")
