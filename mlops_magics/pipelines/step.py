"""The process of one step: takes a job from standard input, executes its notebook by papermill.

``python -m mlops_magics.pipelines.step`` may be started before its job is known; it loads papermill
meanwhile. It answers with one JSON object a line: ``ready``, ``cell`` as cells begin and end,
``output`` as they print, then ``end``. When standard input closes, the runner is gone or wants an
end: the kernel is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlops_magics.pipelines.outputs import collect
from mlops_magics.store.workspace import write_atomic

__all__ = ["execute", "main"]

_SOURCE_LIMIT = 2000  # characters of a failed cell that are kept with the error
_PRINTED_LIMIT = 10_000  # characters of one message that watchers hear; the notebook has them all

Emit = Callable[[dict[str, Any]], None]


def main() -> int:
    """Serve one job, then end."""
    # whatever else writes to standard output must not mix with the events
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event) + "\n")

    import papermill  # noqa: F401  (loaded while the job is not there yet)

    emit({"event": "ready"})
    line = sys.stdin.readline()
    if not line:
        return 0
    job = json.loads(line)
    os.environ.update(job["environment"])
    kernels: list[Any] = []
    threading.Thread(target=_watch, args=(kernels,), daemon=True).start()
    emit({"event": "end", **execute(job, emit, kernels)})
    return 0


def execute(job: Mapping[str, Any], emit: Emit, kernels: list[Any]) -> dict[str, Any]:
    """Execute a notebook; tell how it ended.

    Parameters
    ----------
    job : mapping
        ``notebook``, ``output`` (paths), ``parameters``, ``cwd``.
    emit : callable
        Takes the events.
    kernels : list
        The kernel's manager is put here once it exists.

    Returns
    -------
    dict
        ``outputs`` of the step, and ``error`` or None.
    """
    import nbformat
    from papermill import execute_notebook
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillException, PapermillExecutionError
    from papermill.iorw import papermill_io
    from traitlets.config import Config

    output = Path(job["output"])
    # papermill itself writes in place: a reader, or a crash, could find half a notebook
    papermill_io.register(f"{output.parent}{os.sep}", _AtomicFiles())
    engine = _engine(emit, kernels)
    papermill_engines.register("mlops", engine)
    error: dict[str, Any] | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="mlops-") as private:
            execute_notebook(
                _literal(job["notebook"]),
                _literal(job["output"]),
                parameters=dict(job["parameters"]),
                engine_name="mlops",
                progress_bar=False,
                cwd=job["cwd"],
                # sockets in a private folder, not TCP: nobody else on the machine can listen in
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{private}/kernel"}}),
            )
    except PapermillExecutionError as exc:
        error = {"ename": exc.ename, "evalue": exc.evalue, "source": exc.source}
        error |= {"index": exc.cell_index, "prompt": exc.exec_count}
    except (PapermillException, RuntimeError, OSError) as exc:
        # the kernel died, or never started; the cell is the last one that began
        error = {"ename": type(exc).__name__, "evalue": str(exc), "source": ""}
        error |= {"index": engine.cell, "prompt": None}
    cells = nbformat.read(output, as_version=4).cells if output.is_file() else []
    if error is not None:
        error = _placed(error, cells)
    return {"outputs": collect(cells), "error": error}


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


def _engine(emit: Emit, kernels: list[Any]) -> Any:
    """Make a papermill engine that tells of each cell."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine

    class Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill is untyped
        def create_kernel_manager(self) -> Any:
            manager = super().create_kernel_manager()
            kernels.append(manager)
            return manager

        def process_message(self, msg: dict[str, Any], *args: Any) -> Any:
            output = super().process_message(msg, *args)
            # the message, not the output: to that nbclient adds what the cell printed before
            if text := _printed(msg):
                name = msg["content"].get("name", "result")
                emit({"event": "output", "text": text[-_PRINTED_LIMIT:], "name": name})
            return output

    class Engine(NBClientEngine):  # type: ignore[misc]  # papermill is untyped
        cell: int | None = None

        @classmethod
        def execute_managed_notebook(
            cls, nb_man: Any, kernel_name: str, start_timeout: float = 60, **options: Any
        ) -> Any:
            total = len(nb_man.nb.cells)
            begin, complete = nb_man.cell_start, nb_man.cell_complete

            def start(cell: Any, cell_index: int, **rest: Any) -> None:
                cls.cell = cell_index
                emit({"event": "cell", "state": "start", "index": cell_index, "total": total})
                begin(cell, cell_index, **rest)

            def end(cell: Any, cell_index: int, **rest: Any) -> None:
                complete(cell, cell_index, **rest)
                emit({"event": "cell", "state": "end", "index": cell_index, "total": total})

            nb_man.cell_start, nb_man.cell_complete = start, end
            client = Client(nb_man, kernel_name=kernel_name, startup_timeout=start_timeout)
            return client.execute()

    return Engine


def _printed(message: Mapping[str, Any]) -> str:
    """Return what a kernel's message shows, as text."""
    content = message["content"]
    if message["msg_type"] == "stream":
        return str(content.get("text", ""))
    if message["msg_type"] in {"execute_result", "display_data"}:
        text = content.get("data", {}).get("text/plain", "")
        return f"{text}\n" if text else ""
    return ""


class _AtomicFiles:
    """A papermill I/O handler whose files are whole at any moment."""

    def read(self, path: str) -> str:
        return Path(path).read_text("utf-8")

    def listdir(self, path: str) -> list[str]:
        return [str(item) for item in Path(path).iterdir()]

    def write(self, text: str, path: str) -> None:
        write_atomic(Path(path), text.encode())

    def pretty_path(self, path: str) -> str:
        return path


if __name__ == "__main__":
    sys.exit(main())
