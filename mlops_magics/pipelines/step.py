"""The process of one step: takes a job from standard input, executes its notebook by papermill.

``python -m mlops_magics.pipelines.step`` may be started before its job is known; it loads papermill
meanwhile. It answers with one JSON object a line: ``ready``, ``cell`` as cells begin and end,
``output`` as they print, then ``end``. When standard input closes, the runner is gone or wants an
end: the kernel is killed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import MlopsError
from mlops_magics.pipelines import circumstances, failures
from mlops_magics.pipelines.engine import Emit, Engine
from mlops_magics.pipelines.outputs import collect
from mlops_magics.pipelines.screen import screened
from mlops_magics.pipelines.skipping import reason_in
from mlops_magics.pipelines.validating import jsonschema
from mlops_magics.store.secrets import redactor

if TYPE_CHECKING:
    from mlops_magics.pipelines.kernels import Prepared

__all__ = ["execute", "main"]

_SOURCE_LIMIT = 2000  # characters of a failed cell that are kept with the error


def main(prepared: Prepared | None = None) -> int:
    """Serve one job, then end.

    Parameters
    ----------
    prepared : Prepared, optional
        A kernel that waits to become the notebook's.
    """
    # whatever else writes to standard output must not mix with the events
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event) + "\n")

    jsonschema()
    import papermill  # noqa: F401  (loaded while the job is not there yet)

    # parameters were checked; papermill itself knows no `int | None` and none without a default
    logging.getLogger("papermill").addFilter(lambda told: "unknown parameter" not in told.msg)

    emit({"event": "ready"})
    line = sys.stdin.readline()
    if not line:
        return 0
    job = json.loads(line)
    os.environ.update(job["environment"])
    kernels: list[Any] = []
    threading.Thread(target=_watch, args=(kernels,), daemon=True).start()
    with screened(redactor):
        try:
            ended = execute(job, emit, kernels, prepared)
        except Exception:
            traceback.print_exc()  # here, not when Python ends: it may hold a secret
            return 1
    # once more: an error of ours may quote what it was given
    emit({"event": "end", **redactor.value(ended)})
    return 0


def execute(
    job: Mapping[str, Any], emit: Emit, kernels: list[Any], prepared: Prepared | None = None
) -> dict[str, Any]:
    """Execute a notebook; tell how it ended.

    Parameters
    ----------
    job : mapping
        ``notebook``, ``output`` (paths), ``parameters``, ``cwd``, ``cell_timeout``.
    emit : callable
        Takes the events.
    kernels : list
        The kernel's manager is put here once it exists.
    prepared : Prepared, optional
        A kernel that waits to become the notebook's.

    Returns
    -------
    dict
        ``outputs`` of the step, ``error`` or None, and ``skipped``: the reason with which it has
        ended the run, or None.
    """
    import nbformat
    from nbformat.v4 import new_notebook
    from papermill import execute_notebook
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillException, PapermillExecutionError

    from mlops_magics.pipelines.kernels import adopt

    output = Path(job["output"])
    engine = Engine(emit, partial(adopt, prepared=prepared))
    engine.kernels = kernels
    papermill_engines.register("mlops", engine)
    error: dict[str, Any] | None = None
    kills = failures.out_of_memory_kills()
    try:
        execute_notebook(
            _literal(job["notebook"]),
            _literal(job["output"]),
            parameters=dict(job["parameters"]),
            engine_name="mlops",
            progress_bar=False,
            cwd=job["cwd"],
            execution_timeout=job.get("cell_timeout"),
        )
    except PapermillExecutionError as exc:
        error = {"ename": exc.ename, "evalue": exc.evalue, "source": exc.source}
        error |= {"index": exc.cell_index, "prompt": exc.exec_count}
    except (
        PapermillException,
        MlopsError,
        RuntimeError,
        OSError,
        LookupError,
        ValueError,
    ) as exc:
        # the kernel died, or never started; the cell is the last one that began
        if type(exc).__name__ == "DeadKernelError":
            oom = failures.out_of_memory_kills() > kills
            peak = (circumstances.memory() or {}).get("peak")
            error = failures.kernel_died(_status_of(kernels), peak, oom)
        else:
            error = failures.named(exc, engine.cell is not None)
        error |= {"index": engine.cell, "prompt": None, "source": ""}
    written = nbformat.read(output, as_version=4) if output.is_file() else new_notebook()
    cells = written.cells
    skipped = reason_in(cells)
    exit_ = _exit_in(cells)
    if exit_ is not None and (error is None or error["ename"] == "SystemExit"):
        error = None if skipped is not None else {**exit_, **failures.exited(exit_["evalue"])}
    if error is not None:
        error = {
            **_placed(error, cells),
            "memory": circumstances.memory(),
            "environment": circumstances.environment(written),
        }
    return {"outputs": collect(cells), "error": error, "skipped": skipped}


def _exit_in(cells: list[Any]) -> dict[str, Any] | None:
    """Find the cell that has called ``sys.exit``."""
    for index, cell in enumerate(cells):
        for item in cell.get("outputs", []):
            if item.get("output_type") == "error" and item.get("ename") == "SystemExit":
                place = {"index": index, "prompt": cell.get("execution_count")}
                return {**place, "source": cell.source, "evalue": item.get("evalue", "")}
    return None


def _status_of(kernels: list[Any]) -> int | None:
    """Return the status with which a kernel's process has ended, if it is known."""
    status: int | None = getattr(kernels[-1].provisioner, "status", None)
    return status


def _placed(error: dict[str, Any], cells: list[Any]) -> dict[str, Any]:
    """Tell a cell's number as the input notebook counts, without the cells that papermill adds."""
    index = error.pop("index")
    own = [cell for cell in cells if not _added(cell, "papermill-error-cell-tag")]
    if index is None or index >= len(own):
        return {**error, "cell": None}
    injected = sum(_added(cell, "injected-parameters") for cell in own[: index + 1])
    source = (error["source"] or own[index].source)[:_SOURCE_LIMIT]
    return {**error, "cell": index + 1 - injected, "source": source}


def _added(cell: Any, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def _literal(path: str) -> str:
    """Keep papermill from reading braces in a path as places for parameters."""
    return path.replace("{", "{{").replace("}", "}}")


def _watch(kernels: list[Any]) -> None:
    """Wait for the end of standard input, then end the kernel and this process."""
    while sys.stdin.readline():
        pass
    for manager in kernels:
        pid = getattr(getattr(manager, "provisioner", None), "pid", None)
        if pid:
            try:
                os.killpg(pid, signal.SIGKILL)  # jupyter_client gives each kernel its own group
            except ProcessLookupError:
                continue  # it has ended by itself
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
