"""Training operationalization: pipelines of parameterized notebooks, executed by papermill."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_magics.pipelines.catalogue import PipelineRuns as PipelineRuns
    from mlops_magics.pipelines.catalogue import pipeline_runs as pipeline_runs
    from mlops_magics.pipelines.comparison import PipelineComparison as PipelineComparison
    from mlops_magics.pipelines.comparison import compare_pipeline as compare_pipeline
    from mlops_magics.pipelines.continuous import Workflow as Workflow
    from mlops_magics.pipelines.continuous import ci as ci
    from mlops_magics.pipelines.inspection import InspectedNotebook as InspectedNotebook
    from mlops_magics.pipelines.inspection import inspect_notebook as inspect_notebook
    from mlops_magics.pipelines.observation import pipeline_run as pipeline_run
    from mlops_magics.pipelines.outputs import output as output
    from mlops_magics.pipelines.publication import PipelineSchema as PipelineSchema
    from mlops_magics.pipelines.publication import pipeline_schema as pipeline_schema
    from mlops_magics.pipelines.report import PipelineReport as PipelineReport
    from mlops_magics.pipelines.report import pipeline_report as pipeline_report
    from mlops_magics.pipelines.result import PipelineRun as PipelineRun
    from mlops_magics.pipelines.resume import resume_pipeline as resume_pipeline
    from mlops_magics.pipelines.runner import run_pipeline as run_pipeline
    from mlops_magics.pipelines.skipping import skip as skip

__all__ = [
    "InspectedNotebook",
    "PipelineComparison",
    "PipelineReport",
    "PipelineRun",
    "PipelineRuns",
    "PipelineSchema",
    "Workflow",
    "ci",
    "compare_pipeline",
    "inspect_notebook",
    "output",
    "pipeline_report",
    "pipeline_run",
    "pipeline_runs",
    "pipeline_schema",
    "resume_pipeline",
    "run_pipeline",
    "skip",
]

# a step's kernel that gives an output must not load what only the runner needs
_HOMES = {
    "InspectedNotebook": "inspection",
    "PipelineComparison": "comparison",
    "PipelineReport": "report",
    "PipelineRun": "result",
    "PipelineRuns": "catalogue",
    "PipelineSchema": "publication",
    "Workflow": "continuous",
    "ci": "continuous",
    "compare_pipeline": "comparison",
    "inspect_notebook": "inspection",
    "output": "outputs",
    "pipeline_report": "report",
    "pipeline_run": "observation",
    "pipeline_runs": "catalogue",
    "pipeline_schema": "publication",
    "resume_pipeline": "resume",
    "run_pipeline": "runner",
    "skip": "skipping",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
