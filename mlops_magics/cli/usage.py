"""Wrong usage: click's errors become ours, with the nearest name and the way to the help."""

from __future__ import annotations

import click

from mlops_magics.errors import InvalidArgument, MlopsError, UnknownName

__all__ = ["translate"]


def translate(error: click.ClickException) -> MlopsError:
    """Turn one of click's usage errors into one of ours."""
    ctx = getattr(error, "ctx", None)
    hint = f"see: {ctx.command_path} --help" if ctx is not None else None
    if isinstance(error, click.NoSuchOption):
        known = (
            [flag for param in ctx.command.get_params(ctx) for flag in param.opts] if ctx else []
        )
        flags = [flag for flag in known if flag.startswith("-")]
        return UnknownName("option", error.option_name, flags, hint=hint)
    if isinstance(error, click.MissingParameter) and error.param is not None:
        name = _name(error.param)
        return InvalidArgument(f"{name} is missing", hint=hint)
    return InvalidArgument(error.format_message().rstrip("."), hint=hint)


def _name(param: click.Parameter) -> str:
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return param.make_metavar(click.get_current_context(silent=True) or _blank())


def _blank() -> click.Context:
    return click.Context(click.Command("mlops"))
