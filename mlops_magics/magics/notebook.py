"""The notebook as a caller of verbs: its namespace, and which run made which object."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import click

from mlops_magics.cli.caller import Caller
from mlops_magics.cli.monitoring import monitor
from mlops_magics.cli.progress import Progress, TerminalBar
from mlops_magics.errors import MlopsError
from mlops_magics.magics.frontend import headless
from mlops_magics.magics.lines import OUT
from mlops_magics.magics.progress import NotebookBar
from mlops_magics.records import Record, plain

__all__ = ["Notebook"]

# one object serves for all equal values of these, so identity says nothing
_SHARED = (str, bytes, int, float, bool, complex, tuple, frozenset, type(None), type, ModuleType)


class Notebook(Caller):
    """A running notebook; verbs that a magic calls return their records to it.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
        The notebook's shell.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.given = [name for name in self.namespace if name not in self.variables]
        self._runs: dict[int, tuple[str, Callable[[], Any]]] = {}

    @property
    def namespace(self) -> Mapping[str, Any]:  # type: ignore[override]  # a live view, not a constant
        """The notebook's variables."""
        variables: Mapping[str, Any] = self.shell.user_ns
        return variables

    @property
    def variables(self) -> list[str]:
        """Names that the person has bound, without IPython's own."""
        hidden = self.shell.user_ns_hidden
        return [
            name
            for name, value in list(self.namespace.items())
            if not name.startswith("_") and hidden.get(name, self) is not value
        ]

    @property
    def history(self) -> list[str]:
        """Source of each cell that was run, at its number."""
        cells: list[str] = self.shell.history_manager.input_hist_raw
        return cells

    def remember(self, run_id: str, names: Iterable[str]) -> None:
        """Note that a run's cell bound these names' objects."""
        for name in names:
            thing = self.namespace.get(name)
            if not isinstance(thing, _SHARED):
                self._keep(run_id, thing)

    def _keep(self, run_id: str, thing: Any) -> None:
        key = id(thing)
        reference: Callable[[], Any]
        try:
            # forgotten with the object, since its identity may then be another's
            reference = weakref.ref(thing, lambda _: self._runs.pop(key, None))
        except TypeError:
            if not hasattr(thing, "predict"):
                return  # a list or dict is no model, and must not be kept alive
            reference = _always(thing)
        self._runs[key] = (run_id, reference)

    def run_of(self, thing: Any) -> str | None:
        """Return the id of the run whose cell bound this very object."""
        run_id, reference = self._runs.get(id(thing), (None, None))
        return run_id if reference is not None and reference() is thing else None

    def answer(self, command: click.Command, result: Any, *, as_json: bool) -> Any:
        """Return the record, so that the notebook shows it or binds it."""
        context = click.get_current_context()
        given = plain(result) if as_json else result
        if out := context.meta.get(OUT):
            self.shell.user_ns[out] = given
        if command.callback is monitor.callback and isinstance(given, Record):
            return self._live(given, context.params.get("workspace"))
        return given

    def _live(self, picture: Any, workspace: Any) -> Any:
        if headless(self.shell):
            return picture
        try:
            from mlops_magics import widgets
        except (ImportError, MlopsError):
            return picture  # no anywidget, or no built front end: the picture's card shows the same
        return widgets.monitor(picture, workspace=workspace)

    def progress(self, label: str) -> AbstractContextManager[Callable[..., None]]:
        """Show a bar after a second, unless nobody looks."""
        bar = NotebookBar if hasattr(self.shell, "kernel") else TerminalBar
        return Progress(label, show=not headless(self.shell), bar=bar)

    def watch(self, *, verbose: bool = False) -> AbstractContextManager[Callable[[Any], None]]:
        """Show a pipeline's run as it goes on; nothing of it when nobody looks."""
        if not hasattr(self.shell, "kernel"):
            return super().watch(verbose=verbose)
        if headless(self.shell):
            return nullcontext(lambda event: None)
        from mlops_magics.magics.watching import NotebookWatch

        return NotebookWatch(verbose=verbose)


def _always(thing: Any) -> Callable[[], Any]:
    return lambda: thing
