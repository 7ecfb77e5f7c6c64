"""The runs of pipelines, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_magics.cards import Code, Time
from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.pipelines import history
from mlops_magics.pipelines.result import PipelineRun, status_badge
from mlops_magics.records import Table
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PipelineRuns", "pipeline_runs"]


@dataclass(frozen=True)
class PipelineRuns(Table):
    """Runs of pipelines, the newest first."""

    @property
    def df(self) -> pd.DataFrame:
        """A row for each run; ``why`` in words, ``executed`` and ``cached`` count steps."""
        import pandas as pd

        rows = [
            {
                "run": run.id,
                "pipeline": run.pipeline,
                "status": run.status,
                "why": _why(run),
                "started": pd.Timestamp(run.started, unit="s", tz="UTC"),
                "seconds": run.seconds,
                "executed": _count(run, cached=False),
                "cached": _count(run, cached=True),
                "steps": len(run.steps),
                "reason": run.reason,
                "release": run.release,
                "run_id": run.run_id,
            }
            for run in self.rows
        ]
        return pd.DataFrame(rows)

    def title(self) -> str:
        """Return the card's title."""
        return "pipeline runs"

    def empty(self) -> str:
        """Return how a first run is made."""
        return "no pipeline has run yet: mlops pipeline run PATH"

    def cells(self, row: PipelineRun) -> Mapping[str, Any]:
        """Return what to show of one run."""
        reason = (row.reason or "").splitlines()
        return {
            "run": Code(row.id),
            "pipeline": row.pipeline,
            "status": status_badge(row.status),
            "why": _why(row),
            "started": Time(row.started),
            "seconds": None if row.seconds is None else round(row.seconds, 1),
            "steps": f"{_count(row, False)} executed, {_count(row, True)} cached",
            "reason": reason[0] if reason else None,
        }


def pipeline_runs(
    pipeline: str | None = None, *, limit: int = 20, workspace: Workspace | None = None
) -> PipelineRuns:
    """List the runs of pipelines, the newest first: how they ended, and why they ran.

    Parameters
    ----------
    pipeline : str, optional
        Only those of the pipeline of this name.
    limit : int
        At most so many.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Returns
    -------
    PipelineRuns
        Also as ``.df``.

    Raises
    ------
    UnknownName
        No pipeline of that name has run.

    Examples
    --------
    >>> print(pipeline_runs(workspace=workspace))
    pipeline runs
      no pipeline has run yet: mlops pipeline run PATH
    """
    if limit < 1:
        raise InvalidArgument(f"limit = {limit} shows nothing")
    space = resolve(workspace)
    history.mark_crashed(space)
    found = history.recent(space, pipeline, limit=limit)
    if pipeline is not None and not found:
        raise UnknownName("pipeline", pipeline, history.pipelines(space))
    return PipelineRuns(tuple(found))


def _why(run: PipelineRun) -> str:
    why = run.why or {}
    return str(why.get("reason") or why.get("kind") or "by hand")


def _count(run: PipelineRun, cached: bool) -> int:
    return sum(
        step.status == "CACHED" if cached else step.status not in {"CACHED", "SKIPPED", "PENDING"}
        for step in run.steps
    )
