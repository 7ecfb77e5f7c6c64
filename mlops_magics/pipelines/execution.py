"""One run of a pipeline: its steps in order of their needs, parallel where allowed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_magics.errors import InvalidArgument, MlopsError, ParameterInvalid, StepFailed
from mlops_magics.pipelines import environments, failures, history, tracked
from mlops_magics.pipelines import parameters as declarations
from mlops_magics.pipelines.cache import Cache, Plan, copy_notebook
from mlops_magics.pipelines.executor import Event, Executor
from mlops_magics.pipelines.graph import sorter
from mlops_magics.pipelines.references import filled
from mlops_magics.pipelines.releases import shelf
from mlops_magics.pipelines.result import PipelineRun
from mlops_magics.pipelines.specification import Pipeline, Step
from mlops_magics.pipelines.termination import Terminated, ended_in_order
from mlops_magics.store.workspace import Workspace, write_atomic

if TYPE_CHECKING:
    Watch = Callable[[Event], object]

__all__ = ["Execution"]

_POLL = 0.25  # seconds between looks at the clock for timeouts


class Execution:
    """One run of a pipeline, from its first record to its last.

    Parameters
    ----------
    workspace : Workspace
    pipeline : Pipeline
    values : mapping
        The pipeline's parameters, checked.
    output : path, optional
        Folder for the executed notebooks.
    watch : callable, optional
        Is told what happens.
    parallel : int
        Steps that may run at once.
    cache : bool
        Whether earlier outcomes may be taken.
    why, release
        As the database keeps them.
    resumed : PipelineRun, optional
        The record of the run that goes on; this process has claimed it.
    """

    def __init__(
        self,
        workspace: Workspace,
        pipeline: Pipeline,
        values: Mapping[str, Any],
        *,
        output: Path | str | None = None,
        watch: Watch | None = None,
        parallel: int = 1,
        cache: bool = True,
        why: Mapping[str, Any] | None = None,
        release: str | None = None,
        resumed: PipelineRun | None = None,
    ) -> None:
        self.workspace, self.pipeline, self.values = workspace, pipeline, values
        self.watch, self.parallel = watch, parallel
        self.why, self.release, self.resumed = why, release, resumed
        # checked before each run of it: what is run is what was tested
        self.frozen = shelf.prepared(workspace, release) if release is not None else None
        self.cache = Cache(workspace, pipeline, cache, self.frozen.places if self.frozen else ())
        self.graph = sorter({name: step.needs for name, step in pipeline.steps.items()})
        self.outputs: dict[str, dict[str, Any]] = {}
        self.origins: dict[str, str] = {}  # the run in which each finished step was executed
        self.plans: dict[str, Plan] = {}
        self.waiting: list[str] = []
        self.children: dict[str, str] = {}
        self.tries: dict[str, int] = {}
        self.deadlines: dict[str, float] = {}
        self.timed_out: set[str] = set()
        self.cells: dict[str, tuple[int, int]] = {}  # done and total, by step
        self.begun: set[str] = set()
        self.failure: StepFailed | None = None
        self.skipped: str | None = None  # what the step that ended the run early has said
        self.parent = ""
        if resumed is not None:
            self.id, self.folder = resumed.id, Path(resumed.folder)
            self.notebooks = {step.step: Path(step.notebook) for step in resumed.steps}
            self._take_up(resumed)
            return
        self.id = history.new_id()
        self.folder = _folder(output) if output else workspace.directory("pipelines", self.id)
        width = max(2, len(str(len(pipeline.steps))))
        self.notebooks = {
            name: self.folder / f"{number:0{width}}-{name}.ipynb"
            for number, name in enumerate(pipeline.steps, 1)
        }

    def go(self) -> PipelineRun:
        """Run all steps that must, then tell how it went."""
        taken = {} if self.resumed else self._take_kept()
        environment = msgspec.json.encode(self.cache.environment)
        write_atomic(self.folder / environments.FILE, environment)
        if len(taken) == len(self.pipeline.steps):
            self._record(taken)
            later = "mlflow" not in sys.modules
            (tracked.complete_later if later else tracked.complete)(self.workspace, self.id)
        else:
            self._execute_all(taken)
        record = history.read(self.workspace, self.id)
        if self.failure is not None:
            self.failure.run = record
            raise self.failure
        return record

    def _take_up(self, record: PipelineRun) -> None:
        """Count as done what had finished before the run was resumed."""
        for step in record.steps:
            if step.status in {"FINISHED", "CACHED"}:
                self.outputs[step.step] = dict(step.outputs)
                self.origins[step.step] = step.cached_from or self.id
                self.begun.add(step.step)
        while self.graph.is_active():
            ready = self.graph.get_ready()
            self.graph.done(*(name for name in ready if name in self.begun))
            self.waiting += [name for name in ready if name not in self.begun]
            if not ready:
                return

    def _take_kept(self) -> dict[str, dict[str, Any]]:
        """Take what can be taken before anything is started; return those steps' columns."""
        taken: dict[str, dict[str, Any]] = {}
        while self.graph.is_active():
            ready = self.graph.get_ready()
            for name in ready:
                step = self.pipeline.steps[name]
                try:
                    parameters = self._parameters(step)
                except ParameterInvalid:  # told when it is its turn
                    self.waiting.append(name)
                    continue
                plan = self.cache.plan(step, parameters, self.origins)
                if plan.kept is None:
                    self.waiting.append(name)
                else:
                    taken[name] = self._take(step, plan, parameters)
            if not ready:
                break
        return taken

    def _take(self, step: Step, plan: Plan, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Take an earlier outcome; return the step's columns."""
        assert plan.kept is not None
        copy_notebook(plan.kept.notebook, self.notebooks[step.name])
        self.begun.add(step.name)
        self.outputs[step.name] = dict(plan.kept.outputs)
        self.origins[step.name] = plan.kept.run
        self.graph.done(step.name)
        now = time.time()
        return {
            "status": "CACHED",
            "parameters": dict(parameters),
            "outputs": dict(plan.kept.outputs),
            "key": plan.key,
            "dependencies": dict(plan.dependencies),
            "cached_from": plan.kept.run,
            "reason": plan.reason,
            "started": now,
            "ended": now,
        }

    def _record(self, taken: Mapping[str, Mapping[str, Any]]) -> None:
        """Record that the run begins, with the steps whose outcome is there."""
        history.begin(
            self.workspace,
            self.id,
            self.pipeline,
            self.values,
            self.folder,
            self.notebooks,
            why=self.why,
            release=self.release,
            taken=taken,
        )
        self._say(
            "",
            "run",
            run=self.id,
            pipeline=self.pipeline.name,
            steps=list(self.pipeline.steps),
        )
        for name, row in taken.items():
            self._say(name, "status", status="CACHED", error=None, reason=row["reason"])

    def _execute_all(self, taken: Mapping[str, Mapping[str, Any]]) -> None:
        space = self.workspace
        environment = {**tracked.environment(space), "MLOPS_PIPELINE_RUN": self.id}
        environment |= self.frozen.environment if self.frozen else {}
        with ended_in_order(), Executor(environment) as executor:
            # its first process starts while MLflow loads
            executor.prepare(self._coming())
            if self.resumed is None:
                self._record(taken)
            status, reason = "CRASHED", "the runner met an error of its own"
            try:
                with history.heartbeat(space, self.id):
                    going_on = self.resumed is not None
                    self.parent = tracked.complete(space, self.id, going_on=going_on)
                    self._steps(executor)
                status, reason = "FINISHED", ""
                if self.failure is not None:
                    status, reason = "FAILED", self.failure.message
                elif self.skipped is not None:
                    status, reason = "SKIPPED", self.skipped
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

    def _steps(self, executor: Executor) -> None:
        while self.graph.is_active() or self.children:
            # after a failure nothing more begins; what runs already may end
            while not self._ending and (self.waiting or self.graph.is_active()):
                self.waiting += self.graph.get_ready()
                if not self.waiting or len(self.children) >= self.parallel:
                    break
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

    @property
    def _ending(self) -> bool:
        return self.failure is not None or self.skipped is not None

    def _start(self, executor: Executor, name: str) -> None:
        step = self.pipeline.steps[name]
        try:
            parameters = self._parameters(step)
        except ParameterInvalid as exc:
            # a step before it gave something else than promised: this one fails before its kernel
            self.begun.add(name)
            self._record_failure(step, {"ename": "ParameterInvalid", "evalue": str(exc)})
            error = failures.of_error(exc)
            now = time.time()
            history.change_step(
                self.workspace, self.id, name, status="FAILED", error=error, started=now, ended=now
            )
            self._say(name, "status", status="FAILED", error=error)
            return
        plan = self.cache.plan(step, parameters, self.origins)
        if plan.kept is not None:
            row = self._take(step, plan, parameters)
            child = tracked.begin_step(
                self.workspace, self.parent, name, self.id, parameters, plan.kept.run
            )
            history.change_step(self.workspace, self.id, name, **row, run_id=child)
            tracked.end_step(self.workspace, child, "FINISHED", [], plan.kept.outputs)
            self._say(name, "status", status="CACHED", error=None, reason=plan.reason)
            return
        self.begun.add(name)
        self.plans[name] = plan
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
            reason=plan.reason,
            dependencies=dict(plan.dependencies),
        )
        self._say(name, "begin", reason=plan.reason)
        self._execute(executor, step, parameters)

    def _execute(self, executor: Executor, step: Step, parameters: Mapping[str, Any]) -> None:
        self.timed_out.discard(step.name)
        self.tries[step.name] += 1
        history.count_try(self.workspace, self.id, step.name)
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
            cell_timeout=step.cell_timeout,
            loads=self.cache.loads(step),
            spare=len(self.begun) < len(self.pipeline.steps),
        )

    def _coming(self) -> list[str]:
        """Return what the notebooks that are to come import, in their order."""
        steps = [step for name, step in self.pipeline.steps.items() if name not in self.begun]
        loads = [self.cache.loads(step) for step in steps]
        return list(dict.fromkeys(name for names, fresh in loads if not fresh for name in names))

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
        error = self._error(step, event)
        if error is not None and self.tries[step.name] <= step.retries and not self._ending:
            self._retry(executor, step, error)
            return
        child = self.children.pop(step.name)
        outputs = dict(event.details.get("outputs", {}))
        skipped = event.details.get("skipped") if error is None else None
        status = "FAILED" if error is not None else "FINISHED" if skipped is None else "SKIPPED"
        plan = self.plans[step.name]
        known: dict[str, Any] = {"reason": skipped} if skipped is not None else {}
        if status == "FINISHED":
            plan = self.cache.settle(step, plan, outputs)
            known = {"key": plan.key, "dependencies": dict(plan.dependencies)}
        # the step's end, all of it in one transaction; MLflow is told after, and again if need be
        history.change_step(
            self.workspace,
            self.id,
            step.name,
            status=status,
            outputs=outputs,
            error=error,
            ended=time.time(),
            **known,
        )
        tracked.end_step(self.workspace, child, status, self._written(step), outputs)
        self._say(step.name, "status", status=status, error=error)
        if error is not None:
            self._record_failure(step, error)
        elif skipped is not None:
            self.skipped = f"step {step.name!r}: {skipped}"
        else:
            self.outputs[step.name] = outputs
            self.origins[step.name] = self.id
            self.graph.done(step.name)

    def _error(self, step: Step, event: Event) -> Mapping[str, Any] | None:
        if step.name in self.timed_out:
            return {**self._last_cell(step), **failures.step_timeout(step.timeout or 0)}
        if event.kind == "died":
            status = event.details["status"]
            return {**self._last_cell(step), **failures.step_died(status)}
        error: Mapping[str, Any] | None = event.details.get("error")
        return error

    def _retry(self, executor: Executor, step: Step, error: Mapping[str, Any]) -> None:
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
        why = f"the run ended before it: {reason.splitlines()[0]}" if reason else ""
        # the database before MLflow: what ends the run may be that MLflow cannot be reached
        history.close(self.workspace, self.id, status, reason or None, "KILLED", why)
        for name, child in self.children.items():
            step = self.pipeline.steps[name]
            tracked.end_step(self.workspace, child, "KILLED", self._written(step), {})
        if self.parent:
            tracked.end(self.workspace, self.parent, status)


def _folder(path: Path | str) -> Path:
    folder = Path(path).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidArgument(f"{folder} cannot be a folder: {exc.strerror}") from exc
    return folder
