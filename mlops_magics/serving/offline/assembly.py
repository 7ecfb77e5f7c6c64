"""Assembly: screened rows and their answers become rows to write, and rejects with reasons."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from mlops_magics.errors import SchemaMismatch, UnknownName
from mlops_magics.serving import wire
from mlops_magics.serving.client import json_value
from mlops_magics.serving.offline.answering import Answers
from mlops_magics.serving.offline.screening import Screened
from mlops_magics.serving.offline.sources import Block, Cells
from mlops_magics.serving.validation import Invalid, Schema

__all__ = ["REJECTS", "Assembled", "Assembly", "check_columns"]

REJECTS = pa.schema(
    [
        ("row", pa.int64()),
        ("file", pa.string()),
        ("reason", pa.string()),
        ("values", pa.string()),
    ]
)
"""Columns of rejects: the row's number in the source, from 0, and its values as JSON."""


@dataclass(frozen=True)
class Assembled:
    """What a block became: its rows are these, and no others.

    Attributes
    ----------
    end : int
        Number of the first row after the block.
    table : pyarrow.Table
        The rows that were answered.
    rejects : pyarrow.Table
        The others; see `REJECTS`.
    """

    end: int
    table: pa.Table
    rejects: pa.Table


def check_columns(schema: Schema, names: Sequence[str], label: str) -> None:
    """Refuse a source that lacks a column which the model requires.

    Raises
    ------
    SchemaMismatch
        The message names the column.
    """
    try:
        schema.check_names([name for name in names if name in schema.by_name])
    except Invalid as exc:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise SchemaMismatch(f"{label}: {exc}", hint=f"it has: {shown or 'no column'}") from exc


class Assembly:
    """Puts kept columns and answers together.

    Parameters
    ----------
    schema : Schema
        The model's.
    types : mapping
        The source's columns and their types.
    outputs : pyarrow.Schema
        Columns of the answers.
    keep : sequence of str, optional
        Columns of the source to keep; default: all.
    untyped : collection of str
        Columns of the source that come as cells.

    Attributes
    ----------
    kept : dict
        Name to type.
    replaced : list of str
        Columns that would be kept, if the answers did not bear the same names.
    wanted : list of str
        Columns of the source that have to be read.
    schema : pyarrow.Schema
        Of what is assembled.

    Raises
    ------
    UnknownName
        A column to keep is none of the source.
    """

    def __init__(
        self,
        schema: Schema,
        types: Mapping[str, Any],
        outputs: pa.Schema,
        keep: Sequence[str] | None,
        untyped: Collection[str] = (),
    ) -> None:
        for name in keep or ():
            if name not in types:
                raise UnknownName("column", name, types)
        names = [name for name in types if keep is None or name in keep]
        self.replaced = [name for name in names if name in outputs.names]
        taken = {field.name: field.type for field in wire.arrow_schema(schema)}
        self.kept = {
            # what had no type in the source has the model's, once it was screened
            name: taken.get(name, types[name]) if name in untyped else types[name]
            for name in names
            if name not in outputs.names
        }
        self.wanted = [name for name in types if name in self.kept or name in schema.by_name]
        self.schema = pa.schema([*self.kept.items(), *outputs])

    def __call__(self, block: Block, screened: Screened, answers: Answers) -> Assembled:
        """Assemble a block."""
        places = screened.places
        faults = screened.faults
        if answers.faults:
            raised = sorted(answers.faults)
            faults = faults | {int(places[at]): answers.faults[at] for at in raised}
            places = np.delete(places, raised)
        every = len(places) == block.rows
        indices = None if every else pa.array(places)
        arrays = []
        for name, kind in self.kept.items():
            array = self._column(block, screened, name, kind)
            arrays.append(array if indices is None else array.take(indices))
        table = pa.Table.from_arrays([*arrays, *answers.batch.columns], schema=self.schema)
        return Assembled(block.first + block.rows, table, _rejects(block, faults))

    def _column(self, block: Block, screened: Screened, name: str, kind: Any) -> pa.Array:
        values = block.columns.get(name)
        if values is None:
            return pa.nulls(block.rows, kind)
        if isinstance(values, Cells):
            if name in screened.converted:
                return screened.converted[name]
            return _plain(values, kind)
        if values.type == kind:
            return values
        try:
            return values.cast(kind)
        except pa.ArrowException as exc:
            raise SchemaMismatch(
                f"{block.where}: column {name!r} is {values.type}, and {kind} in the files before",
                hint="leave it out with --keep, or make the files' types equal",
            ) from exc


def _plain(cells: Cells, kind: Any) -> pa.Array:
    """Return cells that no model takes: text as it is, JSON as its scan has told."""
    if cells.kind == "text":
        return pa.array(cells.values, pa.string())
    values = [None if cell is None else msgspec.json.decode(cell) for cell in cells.values]
    if kind == pa.string():
        values = [
            value if value is None or isinstance(value, str) else json.dumps(value)
            for value in values
        ]
    return pa.array(values, kind)


def _rejects(block: Block, faults: Mapping[int, str]) -> pa.Table:
    places = sorted(faults)
    return pa.table(
        {
            "row": [block.first + place for place in places],
            "file": [block.where or None] * len(places),
            "reason": [faults[place] for place in places],
            "values": [block.broken.get(place) or _shown(block, place) for place in places],
        },
        REJECTS,
    )


def _shown(block: Block, place: int) -> str:
    parts = []
    for name, column in block.columns.items():
        if isinstance(column, Cells):
            cell = column.values[place]
            if cell is None:
                continue
            text = cell.decode() if column.kind == "json" else json.dumps(cell, ensure_ascii=False)
        else:
            text = json.dumps(json_value(column[place].as_py()), ensure_ascii=False)
        parts.append(f"{json.dumps(name, ensure_ascii=False)}: {text}")
    return "{" + ", ".join(parts) + "}"
