"""Evidence: test reports, kept as artifacts of MLflow's runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
