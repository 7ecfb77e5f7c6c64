"""The archive of test reports: the run that keeps one, what it says of the model, what came before.

A gate that failed stays failed for its model until it is asked again: a report takes over, as
unsettled, what failed in the one before it and what it does not ask itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlops_magics.store import evidence, predictors, runs
from mlops_magics.testing.gates import Gate

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace
    from mlops_magics.testing.report import TestReport
    from mlops_magics.testing.subject import Subject

__all__ = ["keep", "run_of", "unsettled"]


@contextlib.contextmanager
def run_of(workspace: Workspace, run: str | None, subject: Subject, name: str) -> Iterator[str]:
    """Give the id of the run that keeps a report: named, the model's, active, or a new one."""
    tracking = workspace.tracking
    if run is not None:
        run = runs.find(workspace, run).info.run_id
    elif subject.ref is not None:
        run = subject.ref.run_id or None
    if run is None:
        active = tracking.mlflow.active_run()
        run = active.info.run_id if active else None
    if run is not None:
        yield run
        return
    with tracking.mapped():
        # in a pipeline's step, MLflow's context has the step's run as parent
        tags = tracking.mlflow.tracking.context.registry.resolve_tags()
        created = tracking.client.create_run(
            tracking.experiment_id, tags=tags, run_name=f"test {name}"
        )
    status = "FAILED"
    try:
        yield created.info.run_id
        status = "FINISHED"
    finally:
        with tracking.mapped():
            tracking.client.set_terminated(created.info.run_id, status)


def unsettled(workspace: Workspace, subject: Subject, run_id: str, gates: list[Gate]) -> list[Gate]:
    """Return the gates that failed in the report before this one, and are not asked again."""
    former: dict[str, Any] | None
    if subject.ref is not None and subject.path is not None:
        former = evidence.report_of(workspace, subject.ref, subject.path)
    else:
        former = evidence.read_report(workspace, run_id, _key(subject))
        if former is None and _key(subject):
            former = evidence.read_report(workspace, run_id)
        if former and not evidence.is_of(former, predictors.distinctive(subject.model)):
            former = None
    asked = [vars(gate) for gate in gates]
    return [Gate(**gate) for gate in evidence.unsettled(former, asked)]


def keep(workspace: Workspace, report: TestReport, subject: Subject) -> None:
    """Store the report, its metrics, and on a packaged model where to find them."""
    tracking = workspace.tracking
    kept = report.to_dict()
    evidence.write_report(workspace, report.run_id, kept, _key(subject))
    entities, now = tracking.mlflow.entities, int(report.created * 1000)
    values = [
        entities.Metric(f"test.{one.name}", one.value, now, 0)
        for one in report.metrics
        if one.value is not None
    ]
    said = evidence.tags_of(kept)[evidence.PASSED_TAG]
    with tracking.mapped():
        tags = [entities.RunTag(evidence.PASSED_TAG, said)]
        tracking.client.log_batch(report.run_id, metrics=values, tags=tags)
    if subject.ref is not None and subject.digest:
        evidence.tag(workspace, subject.ref, kept)
        evidence.settle(workspace, kept, subject.digest)


def _key(subject: Subject) -> str:
    return subject.digest or (subject.ref.model_id if subject.ref is not None else "")
