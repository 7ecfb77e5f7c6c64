"""One run of a pipeline: its steps in order of their needs, parallel where allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import InvalidArgument, MlopsError, ParameterInvalid, StepFailed
from mlops_magics.pipelines import failures, history, tracked
from mlops_magics.pipelines import parameters as declarations
from mlops_magics.pipelines.executor import Event, Executor
from mlops_magics.pipelines.graph import sorter
from mlops_magics.pipelines.references import filled
from mlops_magics.pipelines.result import PipelineRun
from mlops_magics.pipelines.specification import Pipeline, Step
from mlops_magics.pipelines.termination import Terminated, ended_in_order
from mlops_magics.store.tracking import quiet_environment
from mlops_magics.store.workspace import Workspace

if TYPE_CHECKING:
    Watch = Callable[[Event], object]

__all__ = ["Execution"]

_POLL = 0.25  # seconds between looks at the clock for timeouts


class Execution:
    """One run of a pipeline, from its first record to its last."""

    def __init__(
        self,
        workspace: Workspace,
        pipeline: Pipeline,
        values: Mapping[str, Any],
        output: Path | str | None,
        watch: Watch | None,
        parallel: int,
    ) -> None:
        self.workspace, self.pipeline, self.values = workspace, pipeline, values
        self.watch, self.parallel = watch, parallel
        self.id = history.new_id()
        self.why: Mapping[str, Any] | None = None
        self.release: str | None = None
        self.folder = _folder(output) if output else workspace.directory("pipelines", self.id)
        width = max(2, len(str(len(pipeline.steps))))
        self.notebooks = {
            name: self.folder / f"{number:0{width}}-{name}.ipynb"
            for number, name in enumerate(pipeline.steps, 1)
        }
        self.graph = sorter({name: step.needs for name, step in pipeline.steps.items()})
        self.outputs: dict[str, dict[str, Any]] = {}
        self.waiting: list[str] = []
        self.children: dict[str, str] = {}
        self.tries: dict[str, int] = {}
        self.deadlines: dict[str, float] = {}
        self.timed_out: set[str] = set()
        self.cells: dict[str, tuple[int, int]] = {}  # done and total, by step
        self.begun: set[str] = set()
        self.failure: StepFailed | None = None

    def go(self) -> PipelineRun:
        """Run all steps, then tell how it went."""
        space = self.workspace
        environment = {
            **quiet_environment(),
            "MLOPS_WORKSPACE": str(space.path),
            "MLOPS_PIPELINE_RUN": self.id,
            "MLFLOW_TRACKING_URI": space.tracking.uri,
            "MLFLOW_REGISTRY_URI": space.tracking.registry_uri,
            "MLFLOW_EXPERIMENT_NAME": space.tracking.experiment,
        }
        # the executor's first process starts while MLflow loads
        with ended_in_order(), Executor(environment) as executor:
            parent = tracked.begin(
                space, self.pipeline.name, self.id, self.pipeline.path, self.values
            )
            self.parent = parent
            try:
                history.begin(
                    space,
                    self.id,
                    self.pipeline,
                    self.values,
                    self.folder,
                    self.notebooks,
                    parent,
                    why=self.why,
                    release=self.release,
                )
            except BaseException:
                tracked.end(space, parent, "FAILED")
                raise
            status, reason = "CRASHED", "the runner met an error of its own"
            self._say(
                "",
                "run",
                run=self.id,
                pipeline=self.pipeline.name,
                steps=list(self.pipeline.steps),
            )
            try:
                with history.heartbeat(space, self.id):
                    self._steps(executor)
                status, reason = "FINISHED", ""
                if self.failure is not None:
                    status, reason = "FAILED", self.failure.message
            except KeyboardInterrupt:
                status, reason = "KILLED", "interrupted"
                raise
            except Terminated:
                status, reason = "KILLED", "terminated"
                raise
            except MlopsError as exc:
                reason = str(exc)
                raise
            finally:
                self._close(executor, status, reason)
        record = history.read(space, self.id)
        if self.failure is not None:
            self.failure.run = record
            raise self.failure
        return record

    def _steps(self, executor: Executor) -> None:
        while self.graph.is_active() or self.children:
            if self.failure is None:
                self.waiting += self.graph.get_ready()
            # after a failure nothing more begins; what runs already may end
            while self.failure is None and self.waiting and len(self.children) < self.parallel:
                self._start(executor, self.waiting.pop(0))
            if not self.children:
                return
            event = executor.next(_POLL)
            for step, deadline in list(self.deadlines.items()):
                if time.monotonic() > deadline and step not in self.timed_out:
                    self.timed_out.add(step)
                    executor.stop(step)
            if event is None:
                continue
            if event.kind in {"cell", "output"}:
                self._note(event)
            else:
                self._finish(executor, event)

    def _start(self, executor: Executor, name: str) -> None:
        step = self.pipeline.steps[name]
        self.begun.add(name)
        try:
            parameters = self._parameters(step)
        except ParameterInvalid as exc:
            # a step before it gave something else than promised: this one fails before its kernel
            self._record_failure(step, {"ename": "ParameterInvalid", "evalue": str(exc)})
            error = failures.of_error(exc)
            history.change_step(self.workspace, self.id, name, status="FAILED", error=error)
            self._say(name, "status", status="FAILED", error=error)
            return
        child = tracked.begin_step(self.workspace, self.parent, name, self.id, parameters)
        self.children[name] = child
        self.tries[name] = 0
        history.change_step(
            self.workspace,
            self.id,
            name,
            status="RUNNING",
            parameters=parameters,
            run_id=child,
            started=time.time(),
        )
        self._say(name, "begin")
        self._execute(executor, step, parameters)

    def _execute(self, executor: Executor, step: Step, parameters: Mapping[str, Any]) -> None:
        self.timed_out.discard(step.name)
        if step.timeout is not None:
            self.deadlines[step.name] = time.monotonic() + step.timeout
        executor.start(
            step.name,
            notebook=step.notebook,
            output=self.notebooks[step.name],
            parameters=parameters,
            environment={
                **tracked.nesting(self.children[step.name]),
                "MLOPS_PIPELINE_STEP": step.name,
                # by these a tracked run in the step finds the notebook that it runs in
                "PAPERMILL_INPUT_PATH": str(step.notebook),
                "PAPERMILL_OUTPUT_PATH": str(self.notebooks[step.name]),
            },
            spare=len(self.begun) < len(self.pipeline.steps),
        )

    def _parameters(self, step: Step) -> dict[str, Any]:
        alone = self.pipeline.path.suffix == ".ipynb"
        given = {
            name: filled(value, self.values, self.outputs)
            for name, value in step.parameters.items()
            if not alone or name in self.values
        }
        return declarations.check(step.declared, given, f"step {step.name!r}")

    def _finish(self, executor: Executor, event: Event) -> None:
        step = self.pipeline.steps[event.step]
        self.deadlines.pop(step.name, None)
        error = event.details.get("error")
        if step.name in self.timed_out:
            error = {
                **self._last_cell(step),
                "ename": "Timeout",
                "evalue": f"not done after {step.timeout:g} s",
            }
        elif event.kind == "died":
            status = event.details["status"]
            error = {
                **self._last_cell(step),
                "ename": "StepDied",
                "evalue": f"the step's process ended with status {status}",
            }
        if error is not None and self.tries[step.name] < step.retries and self.failure is None:
            self._retry(executor, step, error)
            return
        child = self.children.pop(step.name)
        outputs = dict(event.details.get("outputs", {}))
        status = "FINISHED" if error is None else "FAILED"
        history.change_step(
            self.workspace,
            self.id,
            step.name,
            status=status,
            outputs=outputs,
            error=error,
            ended=time.time(),
        )
        tracked.end_step(self.workspace, child, status, self._written(step), outputs)
        self._say(step.name, "status", status=status, error=error)
        if error is None:
            self.outputs[step.name] = outputs
            self.graph.done(step.name)
        else:
            self._record_failure(step, error)

    def _retry(self, executor: Executor, step: Step, error: Mapping[str, Any]) -> None:
        self.tries[step.name] += 1
        number = self.tries[step.name]
        notebook = self.notebooks[step.name]
        if notebook.is_file():  # the failed try stays to be looked at
            notebook.rename(notebook.with_suffix(f".try{number}.ipynb"))
        self._say(step.name, "retry", number=number, error=error)
        self._execute(executor, step, self._parameters(step))

    def _written(self, step: Step) -> list[Path]:
        notebook = self.notebooks[step.name]
        return [*sorted(self.folder.glob(f"{notebook.stem}.try*.ipynb")), notebook]

    def _last_cell(self, step: Step) -> dict[str, Any]:
        done, _ = self.cells.get(step.name, (0, 0))
        return {"cell": done + 1, "prompt": None, "source": ""}

    def _record_failure(self, step: Step, error: Mapping[str, Any]) -> None:
        if self.failure is None:
            self.failure = failures.failure(self.id, step, error, self.notebooks[step.name])

    def _note(self, event: Event) -> None:
        if event.kind == "cell":
            ended = event.details["state"] == "end"
            self.cells[event.step] = (event.details["index"] + ended, event.details["total"])
        if self.watch is not None:
            self.watch(event)

    def _say(self, step: str, kind: str, **details: Any) -> None:
        if self.watch is not None:
            self.watch(Event(step, kind, details))

    def _close(self, executor: Executor, status: str, reason: str) -> None:
        """Leave no step, no row and no run in MLflow that looks as if it were still going on."""
        for name in self.children:
            executor.stop(name)
        # the database before MLflow: what ends the run may be that MLflow cannot be reached
        for name in self.children:
            history.change_step(self.workspace, self.id, name, status="KILLED", ended=time.time())
        for name in self.pipeline.steps:
            if name not in self.begun:
                history.change_step(self.workspace, self.id, name, status="SKIPPED")
        history.change(
            self.workspace, self.id, status=status, reason=reason or None, ended=time.time()
        )
        for name, child in self.children.items():
            step = self.pipeline.steps[name]
            tracked.end_step(self.workspace, child, "KILLED", self._written(step), {})
        tracked.end(self.workspace, self.parent, "FAILED" if status == "CRASHED" else status)


def _folder(path: Path | str) -> Path:
    folder = Path(path).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidArgument(f"{folder} cannot be a folder: {exc.strerror}") from exc
    return folder
