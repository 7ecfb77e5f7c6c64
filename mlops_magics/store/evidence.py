"""Evidence: test reports, kept as artifacts of MLflow's runs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.store import models

if TYPE_CHECKING:
    import pandas as pd

    from mlops_magics.store.models import ModelRef
    from mlops_magics.store.workspace import Workspace

__all__ = ["PASSED_TAG", "REPORT", "REPORT_RUN_TAG", "read_report", "write_report"]

REPORT = "mlops/test_report.json"
PASSED_TAG = "mlops.report.passed"
REPORT_RUN_TAG = "mlops.report.run"


def write_report(workspace: Workspace, run_id: str, report: Mapping[str, Any]) -> None:
    """Keep a test report as an artifact of a run; a later one replaces it."""
    with workspace.tracking.mapped():
        workspace.tracking.client.log_text(run_id, json.dumps(report, indent=1), REPORT)


def read_report(workspace: Workspace, run_id: str) -> dict[str, Any] | None:
    """Return a run's test report; None when it has none."""
    tracking = workspace.tracking
    folder, _, _ = REPORT.rpartition("/")
    with tracking.mapped():
        paths = {info.path for info in tracking.client.list_artifacts(run_id, folder)}
        if REPORT not in paths:
            return None
        report: dict[str, Any] = tracking.mlflow.artifacts.load_dict(f"runs:/{run_id}/{REPORT}")
    return report


def report_of(workspace: Workspace, ref: ModelRef, path: Path) -> dict[str, Any] | None:
    """Return a package's newest test report: its own, or one made of it later."""
    found: list[dict[str, Any]] = []
    inside = path / "mlops" / "report.json"
    if inside.is_file():
        found.append(json.loads(inside.read_text("utf-8")))
    tags = dict(ref.tags)
    if ref.model_id and REPORT_RUN_TAG not in tags:
        tags |= models.resolve(workspace, f"models:/{ref.model_id}").tags
    run_id = tags.get(REPORT_RUN_TAG)
    later = read_report(workspace, run_id) if run_id else None
    if later is not None and later.get("digest") == ref.tags[models.DIGEST_TAG]:
        found.append(later)
    return max(found, key=lambda report: float(report["created"]), default=None)


def witness(data: pd.DataFrame, outputs: Any) -> dict[str, Any] | None:
    """Return rows and a model's predictions for them, by which the model is known again.

    Rows are Arrow IPC in base 64, which keeps every type. None when Arrow cannot hold them.
    """
    import numpy as np
    import pyarrow as pa

    from mlops_magics.records import plain

    sink = pa.BufferOutputStream()
    try:
        table = pa.Table.from_pandas(data, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    rows = base64.b64encode(sink.getvalue()).decode("ascii")
    return {"rows": rows, "outputs": plain(np.asarray(outputs))}


def is_of(report: Mapping[str, Any], predict: Callable[[Any], Any]) -> bool:
    """Tell whether a test report is of the model that predicts so, by the report's witness."""
    import numpy as np
    import pyarrow as pa

    from mlops_magics.records import plain

    kept = report.get("witness")
    if not kept:
        return False
    data = pa.ipc.open_stream(base64.b64decode(kept["rows"])).read_pandas()
    try:
        found = plain(np.asarray(predict(data)))
    except Exception:  # a model of other columns; whatever it raises, the report is not of it
        return False
    if found == kept["outputs"]:
        return True
    try:
        return bool(np.allclose(found, kept["outputs"], rtol=1e-9, atol=1e-12))
    except (TypeError, ValueError):
        return False
