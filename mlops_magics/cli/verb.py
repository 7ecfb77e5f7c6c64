"""A verb as a click command: the one definition of its arguments for shell and notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from mlops_magics.cli.caller import current
from mlops_magics.cli.parameters import Bound, Type, Typed, explain
from mlops_magics.errors import InvalidArgument, NotFound, SourceUnreadable, UnknownName

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["PROGRESS", "Verb", "Verbs", "verb"]

PROGRESS = "mlops_magics.progress"
"""Under this name, the context's ``meta`` has the callable that a function reports progress to."""


class _WorkspacePath(Type):
    name = "path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Workspace | Any:
        if not isinstance(value, str) or (ctx is not None and ctx.resilient_parsing):
            return value
        from mlops_magics.store.workspace import Workspace

        return Workspace.find(value)


def _note_json(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    current(ctx).as_json = value
    return value


def _as_text(value: Any) -> Any:
    if type(value) is tuple:
        return tuple(map(_as_text, value))
    return str(value) if isinstance(value, Typed) else value


class Verb(click.Command):
    """A command that parses, calls one function of the Python API, and returns its record.

    Attributes
    ----------
    calls : sequence of str
        Names of the public functions it calls.
    in_shell, in_notebook : str
        An example for each face; the help shows both.
    watched : bool
        Its function shows how it goes on by itself; no bar is drawn.
    """

    def __init__(
        self,
        *args: Any,
        calls: Sequence[str] = (),
        in_shell: str = "",
        in_notebook: str = "",
        finds_workspace: bool = True,
        watched: bool = False,
        **kwargs: Any,
    ) -> None:
        settings: dict[str, Any] = kwargs.setdefault("context_settings", {})
        settings |= {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        super().__init__(*args, **kwargs)
        self.calls = tuple(calls)
        self.in_shell, self.in_notebook = in_shell, in_notebook
        self.watched = watched
        if finds_workspace:
            text = "Folder of the workspace; default: found upward from the working directory."
            self.params.append(
                click.Option(["--workspace"], type=_WorkspacePath(), metavar="PATH", help=text)
            )
        self.params.append(
            click.Option(
                ["--json", "as_json"],
                is_flag=True,
                is_eager=True,  # an error in another option is told as JSON too
                callback=_note_json,
                help="Give JSON, for machines; errors too.",
            )
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and refuse an object where text is expected."""
        objects = {str(item): item for item in args if isinstance(item, Bound)}
        rest = super().parse_args(ctx, args)
        for param in self.get_params(ctx) if objects else ():
            value = ctx.params.get(param.name or "")
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, str) and item in objects:
                    kind = type(objects[item].value).__name__
                    raise click.BadParameter(f"{item} is a {kind}; text is expected", ctx, param)
        # how a text was typed matters to errors about its form only
        ctx.params = {name: _as_text(value) for name, value in ctx.params.items()}
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Call the function; the caller shows or returns its record."""
        caller = current(ctx)
        params = dict(ctx.params)
        as_json = params.pop("as_json", False)
        try:
            label = self.name or "working"
            with nullcontext() if self.watched else caller.progress(label) as report:
                ctx.meta[PROGRESS] = report
                result = ctx.invoke(self.callback, **params) if self.callback else None
        except (NotFound, InvalidArgument, SourceUnreadable) as exc:
            explain(exc, ctx)
            raise
        return caller.answer(self, result, as_json=as_json)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write an example for each face."""
        faces = [("shell", self.in_shell), ("notebook", self.in_notebook)]
        rows = [(face, text) for face, text in faces if text]
        rows += [("Python", f"mlops_magics.{name}") for name in self.calls]
        with formatter.section("Examples"):
            for face, text in rows:
                # a definition list would wrap long commands, which could then not be copied
                formatter.write(f"{'':{formatter.current_indent}}{face:<10}{text}\n")


def verb(
    name: str, *, calls: Sequence[str], in_shell: str, in_notebook: str, **attributes: Any
) -> Callable[[Callable[..., Any]], Verb]:
    """Make a :class:`Verb` of a function; its docstring is the help."""
    return click.command(
        name, cls=Verb, calls=calls, in_shell=in_shell, in_notebook=in_notebook, **attributes
    )


class Verbs(click.Group):
    """A group of verbs that offers the nearest for one that does not exist."""

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, context_settings={"help_option_names": ["-h", "--help"]}, **kwargs)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that is called."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            if ctx.resilient_parsing:
                return None, None, args
            raise UnknownName("verb", args[0], self.commands)
        return super().resolve_command(ctx, args)
