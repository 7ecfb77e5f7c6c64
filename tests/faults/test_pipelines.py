"""kill -9 of runner, nursery, step, kernel and agent at random moments of a pipeline's runs.

No step that had finished runs again, none is left out, every executed notebook can be read at any
moment, and a run whose process was killed is marked within ten seconds by the agent.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mlops_magics.errors import StepFailed
from mlops_magics.pipelines import history
from mlops_magics.pipelines.resume import resume_pipeline
from mlops_magics.pipelines.runner import run_pipeline

pytestmark = pytest.mark.xdist_group("faults")

MARKED_WITHIN = 10.0
KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
SOURCE = """
import os, pathlib, time
import mlops_magics as mlops
log = pathlib.Path(folder) / os.environ["MLOPS_PIPELINE_RUN"]
with log.open("a") as file:
    print(os.environ["MLOPS_PIPELINE_STEP"], file=file)
"""
STEP = (
    "  {name}: {{notebook: step.ipynb, cache: false, "
    "parameters: {{folder: '{folder}', value: {value}}}}}\n"
)
RUNNER = (
    "import sys\nfrom mlops_magics.pipelines import resume_pipeline, run_pipeline\n"
    "resume_pipeline(sys.argv[2]) if len(sys.argv) > 2 else run_pipeline(sys.argv[1])"
)


class Chain:
    """A pipeline of a chain and a branch, whose steps log that they begin."""

    def __init__(self, faulty, folder: Path) -> None:
        self.faulty, self.workspace, self.folder = faulty, faulty.workspace, folder
        folder.mkdir()
        content = new_notebook(metadata=KERNEL)
        parameters = {"tags": ["parameters"]}
        content.cells = [new_code_cell("folder: str\nvalue: int", metadata=parameters)]
        content.cells += [new_code_cell(SOURCE), new_code_cell("time.sleep(0.2)")]
        content.cells += [new_code_cell("mlops.output('value', value + 1)")]
        nbformat.write(content, folder / "step.ipynb")
        values = {"a": "0"} | dict.fromkeys("bc", '"${steps.a.outputs.value}"')
        values |= {"d": '"${steps.c.outputs.value}"', "e": '"${steps.d.outputs.value}"'}
        steps = "".join(
            STEP.format(name=name, folder=folder, value=value) for name, value in values.items()
        )
        self.path = folder / "pipeline.yaml"
        self.path.write_text(f"name: chain\nsteps:\n{steps}")
        self.finished: dict[str, int] = {}  # how often a step had begun when it was seen finished

    def record(self):
        found = history.recent(self.workspace, "chain")
        return found[0] if found else None

    def begun(self, run: str) -> list[str]:
        log = self.folder / run
        return log.read_text().split() if log.exists() else []

    def check(self) -> None:
        """Hold the run to what is promised, as it stands now."""
        record = self.record()
        if record is None:
            return
        for notebook in Path(record.folder).glob("*.ipynb"):
            nbformat.read(notebook, as_version=4)
        begun = self.begun(record.id)
        for step in record.steps:
            if step.status == "FINISHED":
                count = self.finished.setdefault(step.step, begun.count(step.step))
                assert begun.count(step.step) == count, f"{step.step} ran again"
                assert step.outputs.keys() == {"value"}

    def check_whole(self) -> None:
        """Hold a finished run to all of it."""
        self.check()
        record = self.record()
        assert record.status == "FINISHED"
        outputs = {name: values["value"] for name, values in record.outputs.items()}
        assert outputs == {"a": 1, "b": 2, "c": 2, "d": 3, "e": 4}
        for step in record.steps:
            assert self.begun(record.id).count(step.step) == self.finished[step.step] >= 1
        client = self.workspace.tracking.client
        query = f"tags.`mlops.pipeline_run` = '{record.id}'"
        runs = client.search_runs([self.workspace.tracking.experiment_id], query)
        assert "RUNNING" not in {run.info.status for run in runs}
        self.finished = {}

    def unfinished(self) -> str | None:
        record = self.record()
        return record.id if record is not None and record.status != "FINISHED" else None

    def with_runner_killed(self, delay: float) -> float | None:
        """Kill a runner in a process of its own; return after how many seconds it was marked."""
        run = self.unfinished()
        command = [sys.executable, "-c", RUNNER, str(self.path), *([run] if run else [])]
        environment = {**os.environ, "MLOPS_WORKSPACE": str(self.workspace.path)}
        quiet = subprocess.DEVNULL
        runner = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
        try:
            # what is asked is what becomes of a run, not of Python while it starts
            end = time.monotonic() + 60
            while (found := self.record()) is None or found.status != "RUNNING":
                assert time.monotonic() < end
                if runner.poll() is not None:
                    break
                time.sleep(0.02)
            time.sleep(delay)
        finally:
            runner.kill()
            runner.wait()
        began = time.monotonic()
        while self.record().status == "RUNNING":  # the agent marks it: nobody here calls a verb
            assert time.monotonic() - began < MARKED_WITHIN + 5
            time.sleep(0.1)
        self.check()
        return time.monotonic() - began if self.record().status == "CRASHED" else None

    def with_killed(self, role: str, delay: float) -> None:
        """Kill a process below a runner, which is this one; or the server's agent."""
        killed = threading.Thread(target=self._kill, args=(role, delay))
        killed.start()
        run, failure = self.unfinished(), ""
        try:
            if run is None:
                run_pipeline(self.path, workspace=self.workspace)
            else:
                resume_pipeline(run, workspace=self.workspace)
        except StepFailed as exc:
            failure = type(exc).__name__
        finally:
            killed.join()
        self.check()
        status = self.record().status
        assert (failure, status) == ("", "FINISHED") or status == "FAILED"
        assert failure in {"", "KernelDied", "StepDied", "KernelNotStarted"}

    def _kill(self, role: str, delay: float) -> None:
        time.sleep(delay)
        if role == "agent":
            psutil.Process(self.faulty.pid("agent")).kill()
            return
        end = time.monotonic() + 15
        while time.monotonic() < end:
            for process in below(os.getpid()).get(role, []):
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
                return
            time.sleep(0.01)


def below(pid: int) -> dict[str, list[psutil.Process]]:
    """Find the processes of a runner, by what they are."""
    found: dict[str, list[psutil.Process]] = {}
    try:
        for child in psutil.Process(pid).children():
            command = " ".join(child.cmdline())
            if "pipelines.nursery" in command:
                found.setdefault("nursery", []).append(child)
                steps = child.children()
            elif "pipelines.step" in command:
                steps = [child]
            else:
                continue
            found.setdefault("step", []).extend(steps)
            for step in steps:
                found.setdefault("kernel", []).extend(step.children())
    except psutil.NoSuchProcess:
        pass
    return found


def test_random_kills_run_no_finished_step_again_and_leave_none_out(shared, tmp_path, figure):
    shared.ensure("single", 1)
    chain = Chain(shared, tmp_path / "chain")
    rng = random.Random(4)
    below_runner = ["kernel", "step", "nursery", "agent"]
    roles = [rng.choice(["runner", *below_runner]) for _ in range(100)] if shared.soak else []
    marked: list[float] = []
    done = 0
    for role in roles or ["kernel", "runner", "step", "nursery"]:
        delay = rng.uniform(0.0, 2.5)
        if role == "runner":
            seconds = chain.with_runner_killed(delay)
            marked += [] if seconds is None else [seconds]
        else:
            chain.with_killed(role, delay)
        if chain.unfinished() is None:
            chain.check_whole()
            done += 1
    run = chain.unfinished()
    if run is not None:
        resume_pipeline(run, workspace=shared.workspace)
        chain.check_whole()
    shared.settle()
    figure(f"{len(roles) or 4} kills, {done} runs to their end, marked within {max(marked):.1f} s")
    assert max(marked) < MARKED_WITHIN
    assert [one for one in psutil.process_iter() if step_of(one, shared.workspace)] == []


def step_of(process: psutil.Process, workspace) -> bool:
    """Tell whether a process belongs to a step, or a kernel, of the workspace's pipelines."""
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    here = environment.get("MLOPS_WORKSPACE") == str(workspace.path)
    return here and "MLOPS_PIPELINE_RUN" in environment
