"""Evidence: test reports and replays, kept as artifacts of MLflow's runs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.store import models
from mlops_magics.store.workspace import write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from mlops_magics.store.models import ModelRef
    from mlops_magics.store.workspace import Workspace

__all__ = [
    "PASSED_TAG",
    "REPLAY_TAG",
    "REPORT",
    "REPORT_RUN_TAG",
    "attach",
    "beside",
    "is_of",
    "read_report",
    "report_of",
    "settle",
    "tag",
    "tags_of",
    "unsettled",
    "verdict",
    "witness",
    "write_replay",
    "write_report",
]

REPORT = "mlops/test_report.json"
PASSED_TAG = "mlops.report.passed"
REPORT_RUN_TAG = "mlops.report.run"
REPLAY_TAG = "mlops.replay"
"""Of the newest replay: whose requests, how many rows, and the share of equal answers."""


def verdict(report: Mapping[str, Any]) -> bool | None:
    """Tell whether a report lets a model pass; None when no gate was asked for.

    A gate that failed in an earlier report of the model counts until it is asked again and holds.

    Examples
    --------
    >>> print(verdict({"gates": []}), verdict({"gates": [{"passed": True}]}))
    None True
    >>> verdict({"gates": [], "unsettled": [{"passed": False}]})
    False
    """
    gates = [*report["gates"], *report.get("unsettled", ())]
    return all(gate["passed"] for gate in gates) if gates else None


def tags_of(report: Mapping[str, Any]) -> dict[str, str]:
    """Return what MLflow's models and versions say of a report."""
    said = {True: "true", False: "false", None: "none"}[verdict(report)]
    return {PASSED_TAG: said, REPORT_RUN_TAG: str(report["run_id"])}


def unsettled(
    former: Mapping[str, Any] | None, gates: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the gates that failed in a former report and that the new ones do not ask again.

    Asked again is a gate of the same kind on the same metric; with which number is the tester's
    decision, and on record.

    Examples
    --------
    >>> floor = {"kind": "min", "metric": "roc_auc", "passed": False}
    >>> [gate["metric"] for gate in unsettled({"gates": [floor]}, [])]
    ['roc_auc']
    >>> unsettled({"gates": [floor]}, [{**floor, "passed": True}])
    []
    """
    if former is None:
        return []
    asked = {(gate["kind"], gate["metric"]) for gate in gates}
    failed = [gate for gate in former["gates"] if not gate["passed"]]
    return [
        dict(gate)
        for gate in [*failed, *former.get("unsettled", ())]
        if (gate["kind"], gate["metric"]) not in asked
    ]


def write_report(
    workspace: Workspace, run_id: str, report: Mapping[str, Any], key: str = ""
) -> None:
    """Keep a test report as an artifact of a run; a later one of the same model replaces it.

    Parameters
    ----------
    workspace : Workspace
        Whose MLflow keeps it.
    run_id : str
        The run.
    report : mapping
        As `TestReport.to_dict` gives.
    key : str
        A package's digest or a logged model's id: a run may hold several models.
    """
    text = json.dumps(report, indent=1)
    with workspace.tracking.mapped():
        for path in (REPORT, *([_place(key)] if key else [])):
            workspace.tracking.client.log_text(run_id, text, path)


def write_replay(workspace: Workspace, ref: ModelRef, replay: Mapping[str, Any]) -> None:
    """Keep a replay on the version that answered, and whole as an artifact of its run."""
    from mlops_magics.records import plain

    client, digest = workspace.tracking.client, ref.tags.get(models.DIGEST_TAG, "")
    said = json.dumps(
        {
            "endpoint": replay["endpoint"],
            "rows": replay["rows"],
            "equal": replay["equality"]["share"],
            "refused": sum(replay["refused"].values()),
            "quality": replay["quality"] and replay["quality"]["difference"],
        }
    )
    with workspace.tracking.mapped():
        if ref.run_id:
            path = f"mlops/replays/{digest[:16]}-{replay['endpoint']}.json"
            client.log_text(ref.run_id, json.dumps(plain(replay), indent=1), path)
        if ref.model_id:
            client.set_logged_model_tags(ref.model_id, {REPLAY_TAG: said})
        if ref.version:
            client.set_model_version_tag(ref.name, ref.version, REPLAY_TAG, said)


def read_report(workspace: Workspace, run_id: str, key: str = "") -> dict[str, Any] | None:
    """Return a run's test report, of the model of a key if one is given; None without one."""
    tracking = workspace.tracking
    place = _place(key) if key else REPORT
    folder, _, _ = place.rpartition("/")
    with tracking.mapped():
        paths = {info.path for info in tracking.client.list_artifacts(run_id, folder)}
        if place not in paths:
            return None
        report: dict[str, Any] = tracking.mlflow.artifacts.load_dict(f"runs:/{run_id}/{place}")
    return report


def _place(key: str) -> str:
    return f"mlops/test_reports/{key}.json"


def report_of(workspace: Workspace, ref: ModelRef, path: Path) -> dict[str, Any] | None:
    """Return a package's newest test report: its own, or one made of it later."""
    found: list[dict[str, Any]] = []
    inside = path / "mlops" / "report.json"
    if inside.is_file():
        found.append(json.loads(inside.read_text("utf-8")))
    # a package may have been tested as a version, and as the logged model that it is
    runs = {ref.tags.get(REPORT_RUN_TAG)}
    if ref.model_id and ref.version:
        runs.add(models.resolve(workspace, f"models:/{ref.model_id}").tags.get(REPORT_RUN_TAG))
    digest = ref.tags[models.DIGEST_TAG]
    for run_id in sorted(run for run in runs if run):
        later = read_report(workspace, run_id, digest)
        if later is not None and later.get("digest") == digest:
            found.append(later)
    return max(found, key=lambda report: float(report["created"]), default=None)


def beside(package: Path) -> Path:
    """Return where the newest report of a package is kept that is not in it.

    A package's files never change; who monitors it reads this one too.

    Examples
    --------
    >>> beside(Path("/project/.mlops/packages/0a1b")).as_posix()
    '/project/.mlops/reports/0a1b.json'
    """
    return package.parent.parent / "reports" / f"{package.name}.json"


def settle(workspace: Workspace, report: Mapping[str, Any], digest: str) -> None:
    """Keep a report of a package for those who monitor it; a newer one replaces it."""
    workspace.directory("reports")
    path = beside(workspace.path / "packages" / digest)
    write_atomic(path, json.dumps(report).encode())


def attach(
    workspace: Workspace, ref: ModelRef, former: Mapping[str, Any] | None, report: Mapping[str, Any]
) -> dict[str, Any]:
    """Make a report of the live model the report of its package; return it as kept."""
    digest = ref.tags[models.DIGEST_TAG]
    still = unsettled(former, report["gates"])
    kept = {**report, "digest": digest, "unsettled": [*report.get("unsettled", ()), *still]}
    kept["passed"] = verdict(kept)
    write_report(workspace, str(report["run_id"]), kept, digest)
    settle(workspace, kept, digest)
    tag(workspace, ref, kept)
    return kept


def tag(workspace: Workspace, ref: ModelRef, report: Mapping[str, Any]) -> None:
    """Say on a package, and on the version that it is named by, what its report says."""
    client = workspace.tracking.client
    facts = tags_of(report)
    with workspace.tracking.mapped():
        if ref.model_id:
            client.set_logged_model_tags(ref.model_id, facts)
        if ref.version:
            for key, value in facts.items():
                client.set_model_version_tag(ref.name, ref.version, key, value)


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
