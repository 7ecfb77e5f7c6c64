"""Tab in a magic's line: verbs, flags, choices, live names, the notebook's objects."""

from __future__ import annotations

import re
import shlex
from typing import Any

from click.shell_completion import ShellComplete
from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from mlops_magics.magics.lines import mlops
from mlops_magics.magics.notebook import Notebook

__all__ = ["matcher"]

_LINE = re.compile(
    r"^\s*(?:[\w.,\[\]'\" ]+=\s*)?%{1,2}mlops(?:_(?P<verb>\w+))?\s(?P<rest>.*)$", re.S
)


def matcher(notebook: Notebook) -> Any:
    """Return a matcher for IPython's completer, bound to a notebook."""

    def match(context: CompletionContext) -> SimpleMatcherResult:
        try:
            return _match(context.text_until_cursor, notebook)
        except Exception:  # at a key press nobody can act on an error
            return SimpleMatcherResult(completions=[], suppress=False)

    return context_matcher(identifier="mlops_magics", priority=1000)(match)


def _match(text: str, notebook: Notebook) -> SimpleMatcherResult:
    found = _LINE.match(text)
    if found is None:
        return SimpleMatcherResult(completions=[], suppress=False)
    arguments, fragment = _typed(found["rest"])
    if found["verb"]:
        arguments = [found["verb"], *arguments]
    items = ShellComplete(mlops, {"obj": notebook}, "mlops", "_MLOPS_COMPLETE").get_completions(
        arguments, fragment
    )
    if any(item.type in {"file", "dir"} for item in items):
        # IPython knows files; it is left to it
        return SimpleMatcherResult(completions=[], suppress=False)
    completions = [
        SimpleCompletion(text=shlex.quote(str(item.value)), type=_kind(str(item.value)))
        for item in items
    ]
    return SimpleMatcherResult(
        completions=completions, suppress=bool(completions), matched_fragment=fragment, ordered=True
    )


def _typed(rest: str) -> tuple[list[str], str]:
    """Split into whole arguments and the fragment that the cursor is in."""
    fragment = re.search(r"\S*$", rest)
    assert fragment is not None
    whole = rest[: fragment.start()]
    try:
        return shlex.split(whole), fragment[0]
    except ValueError:  # inside a quote that is still open
        return whole.split(), fragment[0]


def _kind(text: str) -> str:
    return "param" if text.startswith("-") else "text"
