"""A real IPython shell with the magics loaded."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


class Shell:
    """Runs cells as a notebook does; gives back the value, what was shown, or the error."""

    def __init__(self) -> None:
        config = Config()
        config.HistoryManager.hist_file = ":memory:"
        self.ip = InteractiveShell.instance(config=config)
        self.shown = ""

    def run(self, cell: str):
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            result = self.ip.run_cell(cell, store_history=True)
        self.shown = out.getvalue()
        error = result.error_in_exec or result.error_before_exec
        if error is not None:
            raise error
        return result.result

    def __getitem__(self, name: str):
        return self.ip.user_ns[name]

    def __setitem__(self, name: str, value) -> None:
        self.ip.user_ns[name] = value

    def completions(self, text: str) -> list[str]:
        from IPython.core.completer import provisionalcompleter

        with provisionalcompleter():
            return [item.text for item in self.ip.Completer.completions(text, len(text))]


@pytest.fixture
def shell(project):
    found = Shell()
    found.run("%load_ext mlops_magics")
    yield found
    found.run("%unload_ext mlops_magics")
    InteractiveShell.clear_instance()
