"""Scorings: the record of a batch or a stream that was scored, and its row in the database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.cards import Badge, Card, Code, Grid
from mlops_magics.records import Record
from mlops_magics.serving.offline.chosen import Chosen
from mlops_magics.store import ledger, tables

if TYPE_CHECKING:
    import pandas as pd

    from mlops_magics.store.workspace import Workspace

__all__ = ["Scoring", "begin", "end", "finished", "note"]

_SHOWN = 8


@dataclass(frozen=True)
class Scoring(Record):
    """Rows that a model has scored.

    Attributes
    ----------
    id : str
    kind : str
        ``batch`` or ``stream``.
    model, version, digest : str
        Who scored: the version, and the package's digest.
    source, output : str
        Where the rows came from and went to; the output of rows that were kept in memory is empty.
    rows : int
        Read: those that were scored and the rejects together.
    scored, rejects : int
    reasons : dict
        Reason to number of rejects.
    rejected : str or None
        Where the rejects are.
    columns : list of str
        Of the output.
    seconds : float
        Of this run of the command.
    resumed : int
        Rows that an earlier run, which was broken off, had done.
    notes : list of str
    """

    id: str
    kind: str
    model: str
    version: str
    digest: str
    source: str
    output: str
    rows: int
    scored: int
    rejects: int
    reasons: dict[str, int]
    rejected: str | None
    columns: list[str]
    seconds: float
    resumed: int = 0
    notes: list[str] = field(default_factory=list)
    tables: tuple[Any, Any] | None = field(
        default=None, repr=False, compare=False, metadata={"hidden": True}
    )

    @property
    def df(self) -> pd.DataFrame:
        """The scored rows: kept columns, then predictions. They are read from the output."""
        import pandas as pd

        if self.tables is not None:
            return self.tables[0].to_pandas()
        if "::" in self.output:
            from mlops_magics.serving.offline.feeds import engine_of

            engine, name, _ = engine_of(self.output)
            try:
                return pd.read_sql_table(name, engine)
            finally:
                engine.dispose()
        if self.output.endswith((".csv", ".tsv")):
            return pd.read_csv(self.output, sep="\t" if self.output.endswith(".tsv") else ",")
        if Path(self.output).is_dir() or self.output.endswith((".parquet", ".pq")):
            import pyarrow.parquet as pq

            return pq.read_table(self.output).to_pandas()
        return pd.read_json(self.output, lines=True, precise_float=True, dtype=False)

    @property
    def rejected_df(self) -> pd.DataFrame:
        """The rejects: row number in the source (from 0), file, reason, values as JSON."""
        import pandas as pd

        if self.tables is not None:
            return self.tables[1].to_pandas()
        if self.rejected is None:
            return pd.DataFrame(columns=["row", "file", "reason", "values"])
        if self.rejected.endswith(".jsonl"):
            return pd.read_json(self.rejected, lines=True, dtype=False)
        return pd.read_parquet(self.rejected)

    def card(self) -> Card:
        """Show how many rows, where they are, and why some were rejected."""
        new = self.rows - self.resumed
        rate = f"{new / self.seconds:,.0f} rows/s" if new and self.seconds else None
        facts: list[tuple[str, Any]] = [
            ("model", f"{self.model}/{self.version}"),
            ("rows", self.rows),
            ("scored", self.scored),
            ("rejects", self.rejects),
            ("rate", rate),
            ("output", Code(self.output) if self.output else "in .df"),
        ]
        if self.rejects:
            facts.append(("rejects in", Code(self.rejected) if self.rejected else ".rejected_df"))
        notes = list(self.notes)
        if self.resumed:
            notes.insert(0, f"went on behind row {self.resumed:,}, where it had ended")
        listed = sorted(self.reasons.items(), key=lambda item: -item[1])
        grids = [Grid(["rejects", "reason"], [[n, why] for why, n in listed], shown=_SHOWN)]
        percent = f" ({100 * self.rejects / self.rows:.2g} %)" if self.rejects else ""
        return Card(
            title=self.source,
            subtitle="batch scoring" if self.kind == "batch" else "stream scoring",
            badge=Badge(
                f"{self.rejects:,} rejected{percent}" if self.rejects else "all scored",
                "warn" if self.rejects else "good",
            ),
            facts=facts,
            grids=grids if listed else [],
            notes=notes,
            next=[] if self.output else [f"mlops score {self.model} --data SOURCE --to FILE"],
        )


def begin(
    workspace: Workspace, identifier: str, kind: str, chosen: Chosen, source: str, output: str
) -> None:
    """Enter a scoring as RUNNING; one that goes on keeps its row."""
    now = time.time()
    table = tables.scorings
    values = {"status": "RUNNING", "reason": None, "updated": now, "ended": None}
    with workspace.database.begin() as connection:
        found = connection.execute(
            sa.update(table).where(table.c.id == identifier).values(**values)
        )
        if not found.rowcount:
            connection.execute(
                sa.insert(table).values(
                    id=identifier,
                    kind=kind,
                    model=chosen.name,
                    version=chosen.version,
                    digest=chosen.digest,
                    source=source,
                    output=output,
                    position={},
                    actor=workspace.actor,
                    started=now,
                    **values,
                )
            )


def finished(workspace: Workspace, identifier: str) -> bool:
    """Tell whether a scoring was entered as FINISHED."""
    table = tables.scorings
    with workspace.database.read() as connection:
        status = connection.execute(
            sa.select(table.c.status).where(table.c.id == identifier)
        ).scalar()
    return bool(status == "FINISHED")


def note(
    workspace: Workspace, identifier: str, rows: int, rejects: int, position: Mapping[str, Any]
) -> None:
    """Enter how far a scoring is."""
    with workspace.database.begin() as connection:
        connection.execute(
            sa.update(tables.scorings)
            .where(tables.scorings.c.id == identifier)
            .values(rows=rows, rejects=rejects, position=dict(position), updated=time.time())
        )


def end(
    workspace: Workspace,
    identifier: str,
    status: str,
    *,
    reason: str | None = None,
    entry: tuple[str, Mapping[str, Any]] | None = None,
    rows: int | None = None,
    rejects: int | None = None,
) -> None:
    """Enter a scoring's end, with the ledger's entry (subject, details) if it is one of it.

    A scoring that was FINISHED already is left as it is: the entry is made once.
    """
    now = time.time()
    table = tables.scorings
    values: dict[str, Any] = {"status": status, "reason": reason, "updated": now, "ended": now}
    if rows is not None:
        values |= {"rows": rows, "rejects": rejects}
    with workspace.database.begin() as connection:
        changed = connection.execute(
            sa.update(table)
            .where(table.c.id == identifier, table.c.status != "FINISHED")
            .values(**values)
        )
        if entry is not None and changed.rowcount:
            subject, details = entry
            ledger.append(
                connection, actor=workspace.actor, action="score", subject=subject, details=details
            )
