"""Types of the verbs' arguments: references to objects, key=value pairs, times."""

from __future__ import annotations

import difflib
import io
import json
import re
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

import mlops_magics as mlops
from mlops_magics.cli import completion
from mlops_magics.cli.caller import current
from mlops_magics.errors import InvalidArgument, MlopsError, UnknownName

__all__ = [
    "ALERT",
    "ALIAS",
    "ASSIGNMENT",
    "COLUMN",
    "COMPARED",
    "DATA",
    "DATASET",
    "DURATION",
    "ENDPOINT",
    "LATENCY",
    "MODEL",
    "PARAMETERS_FILE",
    "PARAMETERS_YAML",
    "PERCENT",
    "PIPELINE",
    "REGISTERED",
    "RELEASE",
    "REPORT",
    "ROWS",
    "RUN",
    "SCORED",
    "SOURCE",
    "TRIGGER",
    "VALUE",
    "Bound",
    "Choice",
    "Pairs",
    "Type",
    "Typed",
    "Unless",
    "explain",
    "gather",
    "rows_of",
]

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

    Type = click.ParamType[Any]
else:  # older versions of click have no generic types
    Type = click.ParamType

_ADVICE = "mlops_magics.advice"
_TABLE_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".json", ".jsonl", ".feather")


class Bound(str):
    """An argument's text that stands for an object of the notebook."""

    __slots__ = ("value",)
    value: Any

    def __new__(cls, text: str, value: Any) -> Bound:
        """Bind a text to an object."""
        self = super().__new__(cls, text)
        self.value = value
        return self


class Typed(str):
    """An argument's text whose quotes are resolved; ``typed`` has it with them."""

    __slots__ = ("typed",)
    typed: str

    def __new__(cls, text: str, typed: str) -> Typed:
        """Keep how a text was typed."""
        self = super().__new__(cls, text)
        self.typed = typed
        return self


class Name(Type):
    """A name that is known to the workspace; completed from its records."""

    def __init__(self, kind: str, source: str) -> None:
        self.name, self.source = kind, source

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the names that the workspace's records hold."""
        return [CompletionItem(name) for name in completion.live(self.source, ctx, incomplete)]


class Reference(Name):
    """An object of the notebook by its bare name or ``{expr}``; else a name in the records."""

    def __init__(self, kind: str, source: str, methods: tuple[str, ...] = ()) -> None:
        super().__init__(kind, source)
        self.kind = {"models": "registered model", "datasets": "dataset"}.get(source, kind)
        self.methods = methods

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the object, or what the text says."""
        if isinstance(value, Bound):
            return value.value
        if not isinstance(value, str) or ctx is None or ctx.resilient_parsing:
            return value
        namespace = current(ctx).namespace
        found = namespace.get(value)
        if found is not None and not isinstance(found, ModuleType):
            return found
        near = difflib.get_close_matches(value, self.objects(namespace), n=1, cutoff=0.6)
        start = re.match(r"([A-Za-z_]\w*)[.\[(]", value)
        if found is None and value in namespace:
            _advise(ctx, value, f"the variable {value!r} is None")
        elif start and start[1] in namespace:
            typed = getattr(value, "typed", value)
            _advise(ctx, value, f"an expression stands in braces: {{{typed}}}")
        elif namespace and value.isidentifier():
            _advise(ctx, value, f"did you mean {near[0]!r}?" if near else "", kind=self.kind)
        return self.read(value)

    def read(self, text: str) -> Any:
        """Return what a text that is no variable stands for."""
        return text

    def objects(self, namespace: Mapping[str, Any]) -> list[str]:
        """Return the notebook's variables that would do, told by their methods."""
        return [
            name
            for name, value in list(namespace.items())
            if not name.startswith("_")
            and not isinstance(value, (type, ModuleType))
            and all(hasattr(type(value), method) for method in self.methods)
        ]

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the notebook's fitting variables, then the workspace's names."""
        fitting = [
            name for name in self.objects(current(ctx).namespace) if name.startswith(incomplete)
        ]
        return [CompletionItem(name, type="plain") for name in fitting] + super().shell_complete(
            ctx, param, incomplete
        )


class Data(Reference):
    """A DataFrame, a dataset of the workspace, or a file with a table."""

    def read(self, text: str) -> Any:
        """Read a file's table; any other text names a dataset."""
        if text.lower().endswith(_TABLE_SUFFIXES):
            from mlops_magics.data import sources

            data = sources.read(text).data
            # a database gives an Arrow table
            return data.to_pandas() if type(data).__module__.startswith("pyarrow") else data
        return text

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer variables and datasets; where neither fits, files."""
        return super().shell_complete(ctx, param, incomplete) or [
            CompletionItem(incomplete, type="file")
        ]


class Source(Data):
    """What can be ingested: a DataFrame, a path, a glob, a URL; the verb reads it."""

    def read(self, text: str) -> Any:
        """Leave the text as it is."""
        return text


class Compared(Data):
    """What ``drift`` looks at: an endpoint; with ``--reference``, data."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take a name as the endpoint's, also where a variable is called so."""
        source = None if ctx is None else ctx.get_parameter_source("reference")
        alone = source in (None, click.core.ParameterSource.DEFAULT)
        if alone and not isinstance(value, Bound):
            return value
        return super().convert(value, param, ctx)


class Rows(Data):
    """Rows to predict: as data, or written out as JSON; ``-`` takes standard input."""

    def read(self, text: str) -> Any:
        """Parse JSON that is written out, else read a table; standard input is either."""
        if text == "-":
            text = sys.stdin.read()
            if text.lstrip()[:1] not in {"{", "["}:
                return _rows_of_csv(text)
        if text.lstrip()[:1] in {"{", "["}:
            try:
                return json.loads(text)
            except ValueError as exc:
                raise InvalidArgument(
                    f"the rows are not JSON: {exc}", hint="""such as: '{"month": 3}'"""
                ) from exc
        return super().read(text)


def _rows_of_csv(text: str) -> Any:
    from mlops_magics.data import sources

    try:
        frame = sources.FORMATS[".csv"](io.BytesIO(text.encode()), None)
    except ValueError as exc:  # what pandas raises for text that is no table
        raise InvalidArgument(f"standard input is neither JSON nor CSV: {exc}") from exc
    if frame.empty:
        raise InvalidArgument(
            "standard input has no rows", hint="give JSON, or CSV with the columns' names first"
        )
    return frame


class Column(Type):
    """A column of the command's ``--data``."""

    name = "column"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the columns of the notebook's DataFrame."""
        frame = current(ctx).namespace.get(str(ctx.params.get("data")).strip("{}"))
        names = map(str, getattr(frame, "columns", ()))
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class Pairs(Type):
    """``KEY=VALUE``; values are numbers, true, false, null where they look so, else text.

    Parameters
    ----------
    numbers : bool
        Only numbers are taken.
    text : bool
        Values stay text.
    """

    name = "key=value"

    def __init__(self, *, numbers: bool = False, text: bool = False) -> None:
        self.numbers, self.text = numbers, text

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mapping[str, Any]:
        """Return a mapping with one pair, or the notebook's mapping as it is."""
        if isinstance(value, Bound):
            return _mapping(value, param, ctx)
        if isinstance(value, Mapping):
            return value
        key, sign, text = str(value).partition("=")
        key = key.strip()
        if not sign or not key:
            shape = "metric=number" if self.numbers else "key=value"
            raise click.BadParameter(f"{value!r} is not {shape}", ctx, param)
        if self.text:
            return {key: text}
        if self.numbers:
            try:
                return {key: float(text)}
            except ValueError:
                raise click.BadParameter(f"{text!r} of {key} is not a number", ctx, param) from None
        return {key: _scalar(text)}


class Value(Type):
    """A parameter's value: text that a declared type reads later, or an object of the notebook."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the object, or the text."""
        return value.value if isinstance(value, Bound) else value


class Parameters(Type):
    """Several parameters as papermill takes them: YAML text, a file, or the notebook's mapping."""

    def __init__(self, *, file: bool = False) -> None:
        self.name, self.file = "file" if file else "yaml", file

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mapping[str, Any]:
        """Read them."""
        if isinstance(value, Bound):
            return _mapping(value, param, ctx)
        if isinstance(value, Mapping) or (ctx is not None and ctx.resilient_parsing):
            return value if isinstance(value, Mapping) else {}
        from mlops_magics.pipelines import arguments

        return arguments.read_file(value) if self.file else arguments.read_yaml(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer files."""
        return [CompletionItem(incomplete, type="file")] if self.file else []


class Assignment(Type):
    """``KEY=VALUE`` whose value is read later, by a declared type; or a mapping."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Mapping[str, Any]:
        """Check the form."""
        if isinstance(value, Bound):
            return _mapping(value, param, ctx)
        if isinstance(value, Mapping):
            return value
        if not str(value).partition("=")[1]:
            raise click.BadParameter(f"{value!r} is not key=value", ctx, param)
        return str(value)


def _scalar(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)
    # NaN and Infinity are words to a person; JSON itself does not know them
    return text if isinstance(found, float) and text.strip().lstrip("-")[:1].isalpha() else found


def _mapping(
    bound: Bound, param: click.Parameter | None, ctx: click.Context | None
) -> Mapping[str, Any]:
    if isinstance(bound.value, Mapping):
        return bound.value
    kind = type(bound.value).__name__
    raise click.BadParameter(f"{bound} is a {kind}; key=value or a mapping is expected", ctx, param)


def gather(pairs: tuple[Mapping[str, Any], ...]) -> dict[str, Any] | None:
    """Merge the pairs of a repeated option; None when there is none."""
    merged = {key: value for pair in pairs for key, value in pair.items()}
    return merged or None


class Duration(Type):
    """A span of time such as ``90s``, ``15m``, ``1h``, ``2d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the form; the verbs take the text."""
        text = str(value).strip()
        if not re.fullmatch(r"\d+(\.\d+)?\s*[smhdw]", text):
            raise click.BadParameter(
                f"{text!r} is not a duration such as 90s, 15m, 1h or 2d", ctx, param
            )
        return text


class Latency(Type):
    """Milliseconds: ``5ms``, ``0.2s``, or a plain number."""

    name = "latency"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return milliseconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)?", str(value).strip())
        if match is None:
            raise click.BadParameter(f"{value!r} is not a latency such as 20ms", ctx, param)
        return float(match[1]) * (1000 if match[2] == "s" else 1)


class Number(Name):
    """A whole number that names a record; completed from the records."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return int(value)
        except (TypeError, ValueError):
            raise click.BadParameter(f"{value!r} is no number", ctx, param) from None


class Unless(Type):
    """What another type reads, or the word ``none``."""

    def __init__(self, other: Type) -> None:
        self.other, self.name = other, other.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word, or what the other type makes of it."""
        return "none" if str(value).strip() == "none" else self.other.convert(value, param, ctx)


class Percent(Type):
    """A share of the requests: ``10%``, or a plain number."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the form; the verbs take the text."""
        text = str(value).strip()
        if not re.fullmatch(r"\d+(\.\d+)?\s*%?", text):
            raise click.BadParameter(f"{value!r} is not a percentage such as 10%", ctx, param)
        return text


class Choice(click.Choice[str]):
    """One of some words; a wrong one gets the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word."""
        if value not in self.choices:
            kind = f"choice of {max(param.opts, key=len)}" if param is not None else "choice"
            raise UnknownName(kind, str(value), list(self.choices))
        return str(value)


def rows_of(data: Any, workspace: Workspace | None) -> Any:
    """Return the rows of a dataset that is named, for a verb that takes rows only."""
    if isinstance(data, str):
        return mlops.dataset(data, workspace=workspace).df
    return data


def _advise(ctx: click.Context, name: str, hint: str, kind: str = "") -> None:
    ctx.meta.setdefault(_ADVICE, {})[name] = hint, kind


def explain(error: MlopsError, ctx: click.Context) -> None:
    """Add what the notebook's variables suggest to an error about a name that was not found."""
    for name, (hint, kind) in ctx.meta.get(_ADVICE, {}).items():
        if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", error.message):
            continue
        if kind and error.message == f"no {kind} {name!r}":
            error.message = f"there is neither a variable nor a {kind} {name!r}"
            near = re.findall(r"did you mean ('.*')\?", f"{hint}\n{error.hint}")
            if near:
                hint = f"did you mean {' or '.join(dict.fromkeys(near))}?"
        elif kind and hint:
            hint = f"no variable {name!r} either; {hint}"
        error.hint = hint or error.hint


MODEL = Reference("model", "models", ("predict",))
REPORT = Reference("report", "none", ("card", "to_dict"))
COMPARED = Compared("subject", "endpoints", ("columns", "iloc"))
DATA = Data("data", "datasets", ("columns", "iloc"))
ROWS = Rows("rows", "datasets", ("columns", "iloc"))
RUN = Name("run", "runs")
PIPELINE = Name("pipeline", "released")
RELEASE = Name("release", "releases")
PIPELINE_RUN = Name("run", "pipeline_runs")
MODEL_NAME = Name("model", "models")
SOURCE = Source("source", "none", ("columns", "iloc"))
SCORED = Source("source", "datasets", ("columns", "iloc"))
DATASET = Name("dataset", "datasets")
ENDPOINT = Name("endpoint", "endpoints")
REGISTERED = Name("name", "registered")
ALERT = Number("alert", "alerts")
ALIAS = Name("alias", "aliases")
TRIGGER = Name("trigger", "triggers")
ASSIGNMENT = Assignment()
COLUMN = Column()
DURATION = Duration()
LATENCY = Latency()
PARAMETERS_FILE = Parameters(file=True)
PARAMETERS_YAML = Parameters()
PERCENT = Percent()
VALUE = Value()
