"""The reference page of all verbs, written from their ``--help``.

``python -m mlops_magics.cli.reference docs/verbs.md``; a test holds the committed page to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mlops_magics.cli.group import STAGES, mlops

__all__ = ["page"]

_HEAD = """\
# Verbs

Written from the commands' own help (`make docs`); do not edit. Each verb is `mlops VERB` in a
shell, `%mlops_VERB` or `%mlops VERB` in a notebook, and a function in Python.
"""


def page() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    for stage, commands in STAGES.items():
        parts.append(f"## {stage}\n")
        for command in commands:
            for path, leaf in _leaves([str(command.name)], command):
                # a fixed width: the page must not depend on the terminal it was written in
                name = " ".join([str(mlops.name), *path])
                settings: dict[str, Any] = {
                    **leaf.context_settings,
                    "terminal_width": 88,
                    "max_content_width": 88,
                }
                context = click.Context(leaf, info_name=name, **settings)
                parts.append(f"### {' '.join(path)}\n\n```text\n{leaf.get_help(context)}\n```\n")
    return "\n".join(parts)


def _leaves(path: list[str], command: click.Command) -> Iterator[tuple[list[str], click.Command]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _leaves([*path, name], inner)
    else:
        yield path, command


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(exist_ok=True)
    target.write_text(page())
