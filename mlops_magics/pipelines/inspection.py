"""Looking into a notebook without running it: what it takes, gives, and how it ran."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.cards import Badge, Block, Card, Code, Grid, Time, Tone
from mlops_magics.errors import InvalidArgument, ParameterInvalid, SourceUnreadable
from mlops_magics.pipelines.kinds import type_of
from mlops_magics.pipelines.outputs import announced, recorded
from mlops_magics.pipelines.parameters import declared_in
from mlops_magics.records import Record
from mlops_magics.store import files

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "GivenOutput",
    "InspectedCell",
    "InspectedNotebook",
    "TakenParameter",
    "inspect_notebook",
]

_TONES: dict[str, Tone] = {"FINISHED": "good", "FAILED": "bad", "RUNNING": "warn"}
_SOURCE_LIMIT = 2000


@dataclass(frozen=True)
class TakenParameter(Record):
    """A parameter that a notebook takes.

    Attributes
    ----------
    name, type, help : str
    default : JSON value
        None also where there is none, or only the kernel can compute it.
    required : bool
        It has no default.
    given : bool
        A run has injected a value.
    value : JSON value
        What was injected.
    """

    name: str
    type: str = "Any"
    default: Any = None
    required: bool = False
    help: str = ""
    given: bool = False
    value: Any = None


@dataclass(frozen=True)
class GivenOutput(Record):
    """An output that a notebook gives.

    Attributes
    ----------
    name, type : str
    value : JSON value
        None as long as it has not run.
    cell : int
        Number of the cell that gives it, from 1, injected parameters not counted.
    recorded : bool
        An executed notebook holds the value; else its source says that it will give one.
    """

    name: str
    type: str
    value: Any
    cell: int
    recorded: bool


@dataclass(frozen=True)
class InspectedCell(Record):
    """A code cell.

    Attributes
    ----------
    cell : int
        Its number in the input notebook, from 1; None for injected parameters.
    source : str
        Its first line.
    prompt : int or None
        Its ``In [n]``.
    status : str or None
        ``completed``, ``failed``, ``running`` or ``pending``, as papermill says.
    seconds : float or None
    """

    cell: int | None
    source: str
    prompt: int | None = None
    status: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class InspectedNotebook(Record):
    """What a notebook takes and gives; of an executed one also how it ran.

    Attributes
    ----------
    path : str
    kernel : str or None
    status : str
        INPUT: it has not run; FINISHED, FAILED, or RUNNING: its end was never written.
    parameters : tuple of TakenParameter
        Those declared, then those that were injected all the same.
    outputs : tuple of GivenOutput
    cells : tuple of InspectedCell
    error : mapping or None
        Of the first cell that failed: ``cell``, ``prompt``, ``source``, ``ename``, ``evalue``.
    started, ended : float or None
        Seconds since 1970.
    """

    path: str
    kernel: str | None
    status: str
    parameters: tuple[TakenParameter, ...] = ()
    outputs: tuple[GivenOutput, ...] = ()
    cells: tuple[InspectedCell, ...] = ()
    error: Mapping[str, Any] | None = None
    started: float | None = None
    ended: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return None if self.started is None or self.ended is None else self.ended - self.started

    @property
    def df(self) -> pd.DataFrame:
        """Parameters and outputs with their values, a row each, as papermill had it.

        Columns: ``name``, ``type`` (``parameter`` or ``record``), ``value``, ``filename``.
        """
        import pandas as pd

        rows = [
            (item.name, "parameter", item.value if item.given else item.default)
            for item in self.parameters
        ]
        rows += [(item.name, "record", item.value) for item in self.outputs if item.recorded]
        name = self.path.rpartition("/")[2]
        return pd.DataFrame(
            [(*row, name) for row in rows], columns=["name", "type", "value", "filename"]
        )

    def card(self) -> Card:
        """Return parameters, outputs, and how the cells ran."""
        ran = self.status != "INPUT"
        facts: list[tuple[str, Any]] = [("notebook", Code(self.path)), ("kernel", self.kernel)]
        if self.started is not None:
            facts.append(("started", Time(self.started)))
        if self.seconds is not None:
            facts.append(("seconds", round(self.seconds, 1)))
        if self.error is not None:
            where = f"cell {self.error['cell']}" if self.error["cell"] else "injected parameters"
            facts.append(("failed", f"{where}: {self.error['ename']}: {self.error['evalue']}"))
            facts.append(("source", Block(self.error["source"])))
        grids = []
        if self.parameters:
            grids.append(_parameters(self.parameters, ran))
        if self.outputs:
            rows = [
                [item.name, item.type, item.value if item.recorded else None, item.cell]
                for item in self.outputs
            ]
            grids.append(Grid(["output", "type", "value", "cell"], rows))
        if ran:
            rows = [[c.cell, Code(c.source), c.prompt, c.status, c.seconds] for c in self.cells]
            grids.append(Grid(["cell", "source", "In", "status", "seconds"], rows, shown=12))
        return Card(
            self.path.rpartition("/")[2],
            subtitle="notebook",
            badge=Badge(self.status, _TONES.get(self.status, "neutral")),
            facts=facts,
            grids=grids,
            notes=list(self.notes),
        )


def inspect_notebook(path: Path | str) -> InspectedNotebook:
    r"""Look into a notebook: its parameters and outputs; of an executed one how it ran.

    Reads what ``mlops.output`` has left, and what papermill's ``record`` and scrapbook's ``glue``
    have.

    Parameters
    ----------
    path : path or str
        A notebook; a URL is read by fsspec.

    Raises
    ------
    InvalidArgument
        It is no notebook that can be read.

    Examples
    --------
    >>> import nbformat, tempfile
    >>> cell, tagged = nbformat.v4.new_code_cell, {"tags": ["parameters"]}
    >>> cells = [
    ...     cell("month: int = 3  # how far", metadata=tagged),
    ...     cell("import mlops_magics as mlops\nmlops.output('next', month + 1)"),
    ... ]
    >>> path = Path(tempfile.mkdtemp()) / "plan.ipynb"
    >>> nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    >>> found = inspect_notebook(path)
    >>> [(item.name, item.type, item.default, item.help) for item in found.parameters]
    [('month', 'int', 3, 'how far')]
    >>> [(item.name, item.cell) for item in found.outputs]
    [('next', 2)]
    """
    name, content = _content(path)
    metadata = content.get("metadata", {})
    ran = metadata.get("papermill", {})
    cells = [cell for cell in content["cells"] if "papermill-error-cell-tag" not in _tags(cell)]
    numbers = _numbers(cells)
    code = [(n, cell) for n, cell in zip(numbers, cells, strict=True) if _is_code(cell)]
    executed = any(cell.get("outputs") or cell.get("execution_count") for _, cell in code)
    executed = executed or bool(ran.get("start_time"))
    error = next((found for n, cell in code if (found := _error(n, cell))), None)
    status = "INPUT"
    if executed:
        running = ran.get("start_time") and not ran.get("end_time")
        failed = error is not None or ran.get("exception")
        status = "FAILED" if failed else "RUNNING" if running else "FINISHED"
    parameters, notes = _taken(content, name, ran.get("parameters", {}))
    return InspectedNotebook(
        path=name,
        kernel=metadata.get("kernelspec", {}).get("name"),
        status=status,
        parameters=parameters,
        outputs=tuple(_outputs(code, executed)),
        cells=tuple(_cell(n, cell) for n, cell in code),
        error=error,
        started=_moment(ran.get("start_time")),
        ended=_moment(ran.get("end_time")),
        notes=notes,
    )


def _content(path: Path | str) -> tuple[str, dict[str, Any]]:
    text = str(path)
    name = files.public(text)
    try:
        found = files.find(text)
        if len(found) != 1:
            raise InvalidArgument(f"{name} names {len(found)} files", hint="give one notebook")
        with found[0].open() as file:
            content = json.loads(file.read())
        content["cells"] = [dict(cell) for cell in content["cells"]]
    except SourceUnreadable as exc:
        raise InvalidArgument(exc.message, hint=exc.hint) from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InvalidArgument(f"{name} is not a notebook that can be read: {exc}") from exc
    for cell in content["cells"]:
        source = cell.get("source", "")
        cell["source"] = source if isinstance(source, str) else "".join(source)
    return name, content


def _tags(cell: Mapping[str, Any]) -> list[str]:
    return list(cell.get("metadata", {}).get("tags", []))


def _is_code(cell: Mapping[str, Any]) -> bool:
    return cell.get("cell_type") == "code"


def _numbers(cells: list[dict[str, Any]]) -> list[int | None]:
    """Count as the input notebook does, which has no injected parameters."""
    numbers: list[int | None] = []
    count = 0
    for cell in cells:
        injected = "injected-parameters" in _tags(cell)
        count += not injected
        numbers.append(None if injected else count)
    return numbers


def _taken(
    content: Mapping[str, Any], name: str, injected: Mapping[str, Any]
) -> tuple[tuple[TakenParameter, ...], tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    try:
        known = declared_in(content, name.rpartition("/")[2])
    except ParameterInvalid as exc:
        known, notes = {}, (exc.message,)
    found = {
        key: TakenParameter(key, item.type, item.default, item.required, item.help)
        for key, item in known.items()
    }
    for key, value in injected.items():
        base = found.get(key) or TakenParameter(key, type_of(value))
        found[key] = TakenParameter(
            key, base.type, base.default, base.required, base.help, given=True, value=value
        )
    return tuple(found.values()), notes


def _parameters(parameters: tuple[TakenParameter, ...], ran: bool) -> Grid:
    rows = []
    for item in parameters:
        default = Badge("required", "warn") if item.required else item.default
        value = [item.value if item.given else None] if ran else []
        rows.append([item.name, item.type, default, *value, item.help or None])
    return Grid(["parameter", "type", "default", *(["value"] if ran else []), "help"], rows)


def _cell(number: int | None, cell: Mapping[str, Any]) -> InspectedCell:
    told = cell.get("metadata", {}).get("papermill", {})
    seconds = told.get("duration")
    lines = [line for line in cell["source"].splitlines() if line.strip()]
    return InspectedCell(
        number,
        lines[0][:80] if lines else "",
        cell.get("execution_count"),
        told.get("status"),
        round(seconds, 3) if isinstance(seconds, (int, float)) else None,
    )


def _error(number: int | None, cell: Mapping[str, Any]) -> dict[str, Any] | None:
    for item in cell.get("outputs", []):
        if item.get("output_type") == "error":
            return {
                "cell": number,
                "prompt": cell.get("execution_count"),
                "source": cell["source"][:_SOURCE_LIMIT],
                "ename": item.get("ename", ""),
                "evalue": item.get("evalue", ""),
            }
    return None


def _outputs(
    code: list[tuple[int | None, dict[str, Any]]], executed: bool
) -> Iterator[GivenOutput]:
    """Give the outputs that are recorded; of a notebook that has not run the announced ones."""
    found: dict[str, GivenOutput] = {}
    names = {"mlops", "mlops_magics"}
    for number, cell in code:
        if executed:
            for item in cell.get("outputs", []):
                for name, value, kind in recorded(item.get("data", {})):
                    found[name] = GivenOutput(name, kind, value, number or 0, recorded=True)
        else:
            for name, kind in announced(cell["source"], names):
                found[name] = GivenOutput(name, kind, None, number or 0, recorded=False)
    yield from found.values()


def _moment(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None
