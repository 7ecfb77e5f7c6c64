"""The engine that executes a notebook for papermill: ``papermill --engine mlops``, and each step.

Papermill loads this module while it is being imported itself, so nothing of papermill is imported
before a notebook is there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops_magics.errors import ParameterInvalid
from mlops_magics.pipelines import parameters as declarations
from mlops_magics.pipelines.kinds import accepts, type_of
from mlops_magics.pipelines.screen import Screen, screen_pipe
from mlops_magics.store.secrets import ENGINE, look_up, named, redactor, references
from mlops_magics.store.workspace import write_atomic

__all__ = ["Engine", "engine"]

Emit = Callable[[dict[str, Any]], None]

_PATHS = {"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"}  # papermill --inject-paths
_PRINTED_LIMIT = 10_000  # characters of one message that watchers hear; the notebook has them all
_SOCKET_LIMIT = 90  # characters of a Unix socket's path, with room for what jupyter_client adds


class Engine:
    """Executes one notebook after another; papermill knows it as ``mlops``.

    Names and types of the parameters are checked before the kernel starts. Secrets are looked up
    in the kernel, and redacted in whatever comes from it. The output notebook is whole at any
    moment, and the kernel is spoken to through sockets in a private folder.

    Parameters
    ----------
    emit : callable, optional
        Is told of each cell that begins or ends, and of what it prints.
    adopt : callable, optional
        Takes a kernel's manager before it starts the kernel.

    Attributes
    ----------
    cell : int or None
        Index of the cell that began last.
    kernels : list
        Managers of the kernels that were started.
    """

    def __init__(
        self, emit: Emit | None = None, adopt: Callable[[Any], None] | None = None
    ) -> None:
        self.emit = emit or (lambda _: None)
        self.adopt = adopt or (lambda _: None)
        self.cell: int | None = None
        self.kernels: list[Any] = []

    def nb_kernel_name(self, nb: Any, name: str | None = None) -> str:
        """Return the kernel that a notebook asks for."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    def nb_language(self, nb: Any, language: str | None = None) -> str:
        """Return the language that a notebook is in."""
        from papermill.utils import nb_language

        return str(nb_language(nb, language))

    def execute_notebook(
        self,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: Any = True,
        log_output: bool = False,
        autosave_cell_every: int = 30,
        **options: Any,
    ) -> Any:
        """Execute a notebook that papermill has put the parameters into; return it.

        Raises
        ------
        ParameterInvalid, SecretNotFound
            Before the kernel has started, and before anything is written.
        """
        from papermill.engines import NotebookExecutionManager

        _check_parameters(nb)
        # papermill writes it once more at the end, also when not asked to write after each cell
        _write_whole(output_path or nb.metadata.papermill.get("output_path"))
        manager = NotebookExecutionManager(
            nb,
            output_path=output_path,
            progress_bar=progress_bar,
            log_output=log_output,
            autosave_cell_every=autosave_cell_every,
        )
        self._announce(manager)
        manager.notebook_start()
        try:
            self._execute(manager, kernel_name, log_output=log_output, **options)
        finally:
            manager.cleanup_pbar()
            manager.notebook_complete()
        return manager.nb

    def _announce(self, manager: Any) -> None:
        """Tell of each cell, numbered as the input notebook does: papermill adds one."""
        added = [
            "injected-parameters" in cell.metadata.get("tags", ()) for cell in manager.nb.cells
        ]
        total = added.count(False)
        begin, complete = manager.cell_start, manager.cell_complete

        def tell(state: str, index: int) -> None:
            if not added[index]:
                number = index - sum(added[:index])
                self.emit({"event": "cell", "state": state, "index": number, "total": total})

        def start(cell: Any, cell_index: int, **rest: Any) -> None:
            self.cell = cell_index
            tell("start", cell_index)
            begin(cell, cell_index, **rest)

        def end(cell: Any, cell_index: int, **rest: Any) -> None:
            complete(cell, cell_index, **rest)
            tell("end", cell_index)

        manager.cell_start, manager.cell_complete = start, end

    def _execute(
        self,
        manager: Any,
        kernel_name: str,
        *,
        start_timeout: float = 60,
        execution_timeout: float | None = None,
        input_path: str | None = None,  # papermill's own; the notebook is read already
        **options: Any,
    ) -> None:
        from papermill.clientwrap import PapermillNotebookClient
        from papermill.log import logger

        emit, kernels, screen, adopt = self.emit, self.kernels, Screen(redactor), self.adopt

        class Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill is untyped
            def create_kernel_manager(self) -> Any:
                found = super().create_kernel_manager()
                adopt(found)
                kernels.append(found)
                return found

            def process_message(self, msg: dict[str, Any], *args: Any) -> Any:
                output = None
                for message in screen.messages(msg):
                    output = super().process_message(message, *args)
                    # the message, not the output: nbclient adds to that what was printed before
                    if text := _printed(message):
                        name = message["content"].get("name", "result")
                        emit({"event": "output", "text": text[-_PRINTED_LIMIT:], "name": name})
                return output

        # what bypasses the kernel's messages would reach the terminal, or CI's log, as it is
        with _private_transport() as config, screen_pipe(redactor, 2) as log:
            options.setdefault("config", config)
            Client(
                manager,
                kernel_name=kernel_name,
                startup_timeout=start_timeout,
                timeout=execution_timeout,
                log=logger,
                **options,
            ).execute(env={**os.environ, ENGINE: str(os.getpid())}, stdout=log, stderr=log)


def _check_parameters(nb: Any) -> None:
    """Check what papermill has put into a notebook; let the kernel look up the secrets."""
    path = nb.metadata.papermill.get("input_path")
    name = Path(path).name if isinstance(path, str) else "given"  # not read from a file
    known = declarations.declared_in(nb, name)
    given = {
        key: value
        for key, value in nb.metadata.papermill.get("parameters", {}).items()
        if key in known or key not in _PATHS
    }
    for key, value in given.items():
        kind = known[key].type if key in known else "Any"
        number = isinstance(value, (bool, int, float))
        if number and accepts(kind, str(value)) and not accepts(kind, value):
            raise ParameterInvalid(
                f"parameter {key!r} of notebook {name!r} is {kind}, "
                f"but papermill's -p reads {value} as {type_of(value)}",
                hint=f"text stays text with -r {key}",
            )
    declarations.check(known, given, f"notebook {name!r}")
    names = set(references(given))
    for secret in names:
        look_up(secret)
    if names:
        for cell in nb.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.source = _injected(nb.metadata.papermill["parameters"])


def _injected(parameters: Mapping[str, Any]) -> str:
    """Write the cell of injected parameters so that the kernel looks up its secrets."""
    from papermill.translators import PythonTranslator

    class Translator(PythonTranslator):  # type: ignore[misc]  # papermill is untyped
        @classmethod
        def translate_str(cls, val: str) -> str:
            name = named(val)
            if name is None:
                return str(super().translate_str(val))
            return f'mlops_magics.secret("{name}")'

    comment, _, assignments = Translator.codify(parameters).partition("\n")
    return f"{comment}\nimport mlops_magics\n\n{assignments}"


engine = Engine()  # the one that papermill finds by its entry point


@contextmanager
def _private_transport() -> Iterator[Any]:
    """Let the kernel listen on sockets in a private folder: no one else on the machine can."""
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
        prefix = f"{folder}/kernel"
        if len(prefix) > _SOCKET_LIMIT:
            yield Config()
        else:
            yield Config({"KernelManager": {"transport": "ipc", "ip": prefix}})


def _printed(message: Mapping[str, Any]) -> str:
    """Return what a kernel's message shows, as text."""
    content = message["content"]
    if message["msg_type"] == "stream":
        return str(content.get("text", ""))
    if message["msg_type"] in {"execute_result", "display_data"}:
        text = content.get("data", {}).get("text/plain", "")
        return f"{text}\n" if text else ""
    return ""


def _write_whole(path: str | None) -> None:
    """Have papermill write a local file atomically: a reader, or a crash, never finds half."""
    from papermill.iorw import LocalHandler, papermill_io

    if path is None:
        return
    handler = papermill_io.get_handler(path)
    if isinstance(handler, LocalHandler):
        papermill_io.register(path, _WholeFiles(handler))


class _WholeFiles:
    """A papermill I/O handler whose files are whole at any moment."""

    def __init__(self, local: Any) -> None:
        self.local = local

    def read(self, path: str) -> str:
        return str(self.local.read(path))

    def listdir(self, path: str) -> list[str]:
        return list(self.local.listdir(path))

    def pretty_path(self, path: str) -> str:
        return path

    def write(self, text: str, path: str) -> None:
        # a relative path counts from where papermill was called, not from the notebook's folder;
        # asking for the folder is setting it
        folder = self.local.cwd(None)
        self.local.cwd(folder)
        write_atomic(Path(folder or "", path), text.encode())
