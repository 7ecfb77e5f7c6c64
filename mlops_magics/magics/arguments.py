"""A magic's line, split as a shell splits it, with ``{expr}`` from the notebook."""

from __future__ import annotations

import ast
import io
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mlops_magics.cli.parameters import Bound, Typed
from mlops_magics.errors import InvalidArgument, UnknownName

__all__ = ["split", "strip_semicolon"]

# stands for an expression while quotes are resolved; from Unicode's private area
_MARK = re.compile("\ue000(\\d+)\ue001")
_PLAIN = (str, int, float, bool, Path)


def split(line: str, known: Iterable[str], evaluate: Callable[[str], Any]) -> list[str]:
    """Split a line into arguments; quotes are not kept, ``{expr}`` is evaluated.

    An expression that is a whole argument gives the object itself to a parameter that takes one;
    inside a longer argument, or where text is expected, its text. ``{{`` and ``}}`` are braces.

    Parameters
    ----------
    line : str
        What stands after the magic's name.
    known : iterable of str
        Names of the notebook's variables: the nearest is offered for one that is undefined.
    evaluate : callable
        The notebook's own evaluation of an expression.

    Raises
    ------
    UnknownName
        An expression uses a name that the notebook does not define.
    InvalidArgument
        A quote or brace is not closed, or an expression raised.

    Examples
    --------
    >>> split("model --name 'my model' --min auc={floor}", [], {"floor": 0.7}.__getitem__)
    ['model', '--name', 'my model', '--min', 'auc=0.7']
    """
    text, expressions = _extract(line)
    try:
        tokens = list(_tokens(text))
    except ValueError as exc:
        raise InvalidArgument(
            f"a quote is not closed in: {line.strip()}", hint="close it, or escape it with \\"
        ) from exc
    values = [_evaluate(source, known, evaluate) for source in expressions]
    arguments: list[str] = []
    for token, typed in tokens:
        flag, sign, rest = token.partition("=")
        if sign and flag.startswith("-") and _MARK.fullmatch(rest):
            arguments.append(flag)
            token = rest
        whole = _MARK.fullmatch(token)
        if whole is None and typed != token and not _MARK.search(typed):
            # an error about it can show what to write instead
            flags = [flag] if sign and flag.startswith("--") else []
            typed = typed.removeprefix(f"{flag}=") if flags else typed
            value = rest if flags else token
            # quotes around all of it are not part of an expression
            arguments += [*flags, value if typed[1:-1] == value else Typed(value, typed)]
            continue
        if whole is None:
            arguments.append(_MARK.sub(lambda mark: str(values[int(mark[1])]), token))
            continue
        value, source = values[int(whole[1])], expressions[int(whole[1])]
        if isinstance(value, _PLAIN):
            arguments.append(str(value))
        else:
            arguments.append(Bound(f"{{{source}}}", value))
    return arguments


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Split as :func:`shlex.split` does; give each token with and without its quotes resolved."""
    stream = io.StringIO(text)
    lexer = shlex.shlex(stream, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    begin = 0
    for token in lexer:
        yield token, text[begin : stream.tell()].strip()
        begin = stream.tell()


def _extract(line: str) -> tuple[str, list[str]]:
    """Replace each expression by a mark; a brace inside an expression is its own."""
    expressions: list[str] = []
    parts: list[str] = []
    at = 0
    while at < len(line):
        char = line[at]
        if line[at : at + 2] in ("{{", "}}"):
            parts.append(char)
            at += 2
        elif char == "{":
            end = _end(line, at)
            parts.append(f"\ue000{len(expressions)}\ue001")
            expressions.append(line[at + 1 : end].strip())
            at = end + 1
        else:
            parts.append(char)
            at += 1
    return "".join(parts), expressions


def _end(line: str, start: int) -> int:
    """Return where the expression that begins at a brace ends: the first place that parses."""
    end = line.find("}", start)
    while end != -1:
        source = line[start + 1 : end].strip()
        try:
            ast.parse(source, mode="eval")
        except (SyntaxError, ValueError):
            end = line.find("}", end + 1)
        else:
            return end
    raise InvalidArgument(
        f"no expression between braces in: {line[start:].strip()}",
        hint="{expr} is replaced by its value; write {{ and }} for braces",
    )


def _evaluate(source: str, known: Iterable[str], evaluate: Callable[[str], Any]) -> Any:
    try:
        return evaluate(source)
    except NameError as exc:
        name = exc.name or source
        hint = f"{{{source}}} is looked up in the notebook; define {name!r} first"
        raise UnknownName("variable", name, known, hint=hint) from exc
    except Exception as exc:
        raise InvalidArgument(f"{{{source}}} raised {type(exc).__name__}: {exc}") from exc


def strip_semicolon(line: str) -> tuple[str, bool]:
    """Take a trailing ``;`` off a line, and tell whether there was one.

    Examples
    --------
    >>> strip_semicolon("flight-delay ; ")
    ('flight-delay', True)
    """
    text = line.rstrip()
    if text.endswith(";") and not text.endswith("\\;"):
        return text[:-1].rstrip(), True
    return line, False
