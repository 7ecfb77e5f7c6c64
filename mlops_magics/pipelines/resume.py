"""Going on with a pipeline's run where it ended: what had finished is not run again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlops_magics.errors import (
    NothingToResume,
    ParameterInvalid,
    PipelineError,
    RunNotFound,
    SpecInvalid,
)
from mlops_magics.pipelines import history, specification
from mlops_magics.pipelines import parameters as declarations
from mlops_magics.pipelines.cache import Cache
from mlops_magics.pipelines.execution import Execution
from mlops_magics.pipelines.executor import Event
from mlops_magics.pipelines.observation import pipeline_run
from mlops_magics.pipelines.references import filled
from mlops_magics.pipelines.result import PipelineRun
from mlops_magics.pipelines.specification import Pipeline
from mlops_magics.store.processes import Identity
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    Watch = Callable[[Event], object]

__all__ = ["resume_pipeline"]

_OPEN = ("FAILED", "KILLED", "CRASHED")


def resume_pipeline(
    run: str | None = None,
    *,
    workspace: Workspace | None = None,
    watch: Watch | None = None,
    parallel: int | None = None,
) -> PipelineRun:
    """Go on with a run that failed, was interrupted, or whose process was killed.

    It stays the same run, with the same id, parameters and folder. Steps that had finished are not
    run again; the others are, from their notebooks as they are now.

    Parameters
    ----------
    run : str, optional
        The run's id, or its beginning; default: the newest that did not finish.
    workspace : Workspace, optional
        Default: the one found from the working directory.
    watch : callable, optional
        Takes what happens as it happens, each an `Event`.
    parallel : int, optional
        Steps that may run at once; default: one for each processor.

    Returns
    -------
    PipelineRun
        Steps with times, outputs and executed notebooks.

    Raises
    ------
    RunNotFound
        There is no such run, or none that did not finish.
    NothingToResume
        It goes on already, has finished, or a step that had finished is no longer the same.
    StepFailed
        A step failed, again or for the first time.

    Examples
    --------
    >>> import nbformat, tempfile
    >>> cells = [
    ...     nbformat.v4.new_code_cell("import mlops_magics as mlops"),
    ...     nbformat.v4.new_code_cell("mlops.output('rows', int(open('rows').read()))"),
    ... ]
    >>> python = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> notebook = workspace.root / "count.ipynb"
    >>> nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=python), notebook)
    >>> from mlops_magics.pipelines import run_pipeline
    >>> run_pipeline(notebook, workspace=workspace)
    Traceback (most recent call last):
    ...
    mlops_magics.errors.StepFailed: step 'count' failed at cell 2 of count.ipynb, In [2]: ...
    >>> _ = (workspace.root / "rows").write_text("7")
    >>> resume_pipeline(workspace=workspace).outputs
    {'count': {'rows': 7}}
    """
    space = resolve(workspace)
    record = _find(space, run)
    pipeline = _checked(space, record)
    if not history.claim(space, record.id):
        raise NothingToResume(f"run {record.id} goes on already, in another process")
    record = history.read(space, record.id)
    return Execution(
        space,
        pipeline,
        record.parameters,
        watch=watch,
        parallel=parallel or os.cpu_count() or 1,
        why=record.why,
        release=record.release,
        resumed=record,
    ).go()


def _find(workspace: Workspace, run: str | None) -> PipelineRun:
    """Find the run, and see that nothing works on it."""
    history.mark_crashed(workspace)
    if run is None:
        found = history.recent(workspace, statuses=[*_OPEN, "RUNNING"])
        if not found:
            raise RunNotFound("no run was left unfinished", hint="see them: mlops pipeline runs")
        record = found[0]
    else:
        record = pipeline_run(run, workspace=workspace)
    if record.status == "RUNNING":
        record = _silent(workspace, record)
    if record.status not in _OPEN:
        raise NothingToResume(
            f"run {record.id} is {record.status}: there is nothing left to do",
            hint=f"run it anew: mlops pipeline run {record.path}",
        )
    return record


def _silent(workspace: Workspace, record: PipelineRun) -> PipelineRun:
    """Wait, some seconds at the most, until it is sure that a run's process is gone."""
    end = time.monotonic() + history.CRASHED_AFTER + history.BEAT
    while time.monotonic() < end:
        history.mark_crashed(workspace)
        found = history.read(workspace, record.id)
        runner = history.runner(workspace, record.id)
        if found.status != "RUNNING" or (runner and Identity.from_dict(runner).alive()):
            break
        time.sleep(0.2)
    if found.status == "RUNNING":
        where = f"process {runner['pid']}" if runner else "another process"
        raise NothingToResume(
            f"run {record.id} is still going on, in {where}",
            hint="wait for its end, or interrupt it",
        )
    return found


def _checked(workspace: Workspace, record: PipelineRun) -> Pipeline:
    """Read the pipeline's specification; see that what had finished is still the same."""
    anew = f"run it anew, what has not changed is not run again: mlops pipeline run {record.path}"
    try:
        pipeline = specification.read(record.path)
    except SpecInvalid as exc:
        raise NothingToResume(
            f"run {record.id} cannot go on: {exc.message}", hint=exc.hint
        ) from exc
    former = {step.step: step for step in record.steps}
    for name in [*former, *pipeline.steps]:
        if name not in former or name not in pipeline.steps:
            word = "new" if name not in former else "gone"
            raise NothingToResume(
                f"run {record.id} cannot go on: step {name!r} is {word} in {record.path}",
                hint=anew,
            )
    cache = Cache(workspace, pipeline)
    outputs = {name: step.outputs for name, step in former.items()}
    for name, step in pipeline.steps.items():
        if former[name].status not in {"FINISHED", "CACHED"}:
            continue
        try:
            given = {
                key: filled(value, record.parameters, outputs)
                for key, value in step.parameters.items()
                if not (pipeline.path.suffix == ".ipynb" and key not in record.parameters)
            }
            parameters = declarations.check(step.declared, given, f"step {name!r}")
            changed = cache.changed(step, former[name].dependencies or {}, parameters)
        except (ParameterInvalid, KeyError, PipelineError) as exc:
            changed = str(exc)
        if changed is not None:
            raise NothingToResume(
                f"run {record.id} cannot go on: step {name!r} has finished, and its {changed}",
                hint=anew,
            )
    return pipeline
