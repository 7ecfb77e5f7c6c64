"""The smoke run: a release's pipeline, once, on little data, where it can do no harm.

``python -m mlops_magics.pipelines.releases.smoke`` runs in a process of its own, whose environment
leads to a scratch workspace and nowhere else. Its job is a JSON object on standard input; what
happens and how it ends are JSON objects on standard output, one a line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from mlops_magics.errors import MlopsError, ReleaseFailed
from mlops_magics.pipelines.executor import Event
from mlops_magics.pipelines.releases import scratch
from mlops_magics.pipelines.releases.freezing import Frozen
from mlops_magics.store.workspace import Workspace

__all__ = ["main", "smoke"]

_PATIENCE = 15.0  # seconds for a run that was interrupted to end in order
_LINES = 5  # of a process that left no word

Watch = Callable[[Event], object]


def smoke(
    workspace: Workspace,
    frozen: Frozen,
    release: str,
    params: Mapping[str, Any],
    watch: Watch | None = None,
) -> str:
    """Run a frozen pipeline in a scratch workspace; return the id that the run had there.

    Parameters
    ----------
    workspace : Workspace
        Which is left as it is; it keeps the executed notebooks.
    frozen : Frozen
        The pipeline's copy.
    release : str
        The release's id.
    params : mapping
        On top of the specification's ``smoke``.
    watch : callable, optional
        Takes what happens.

    Raises
    ------
    ReleaseFailed
        The run did not finish; the hint names the executed notebook.
    """
    folder = workspace.directory("pipelines", f"smoke-{release}")
    job = {"path": str(frozen.path), "params": dict(params), "output": str(folder)}
    job["release"] = release
    with scratch.scratch(workspace) as made:
        environment = scratch.environment(workspace, made) | frozen.environment
        log = folder / "smoke.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlops_magics.pipelines.releases.smoke"],
                cwd=made.root,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for us, who then end it in order
            )
        try:
            told = _listen(process, job, watch)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            raise
        finally:
            _end(process)
    if told is None:
        lines = log.read_text("utf-8", "replace").strip().splitlines()[-_LINES:]
        raise ReleaseFailed(
            "\n".join([f"the smoke run's process ended with status {process.returncode}", *lines]),
            hint=f"its log: {log}",
        )
    if told.get("error"):
        raise ReleaseFailed(f"the smoke run failed: {told['error']}", hint=told.get("hint"))
    if told["status"] not in ("FINISHED", "SKIPPED"):
        raise ReleaseFailed(f"the smoke run is {told['status']}: {told['reason']}")
    return str(told["run"])


def _listen(
    process: subprocess.Popen[str], job: Mapping[str, Any], watch: Watch | None
) -> dict[str, Any] | None:
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin as channel:
        channel.write(json.dumps(job) + "\n")
    end = None
    for line in process.stdout:
        try:
            told = json.loads(line)
        except ValueError:
            continue  # cut off by a kill
        if "end" in told:
            end = dict(told["end"])
        elif watch is not None:
            watch(Event(**told))
    return end


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> int:
    """Run the job of standard input."""
    # what notebooks' processes print must not mix with what is told
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    lock = threading.Lock()

    def tell(value: Mapping[str, Any]) -> None:
        with lock:
            channel.write(json.dumps(value) + "\n")

    tell({"end": _run(job, lambda event: tell(asdict(event)))})
    _close(channel)
    return 0


def _run(job: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    from mlops_magics.pipelines.runner import run_pipeline

    try:
        run = run_pipeline(
            job["path"],
            params=job["params"],
            smoke=True,
            output=Path(job["output"]),
            workspace=Workspace.find(),
            watch=watch,
            why={"kind": "smoke", "reason": f"smoke run of release {job['release']}"},
        )
    except MlopsError as exc:
        # what was recorded of the run goes with its workspace; the notebook stays
        lines = [line for line in (exc.hint or "").splitlines() if "mlops pipeline" not in line]
        return {"error": exc.message, "hint": "\n".join(lines) or None}
    return {"run": run.id, "status": run.status, "reason": run.reason}


def _close(channel: IO[str]) -> None:
    channel.flush()
    channel.close()


if __name__ == "__main__":
    sys.exit(main())
