"""Origin: from an alert to the notebook, and its cell, that made the model which served."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.cards import Block, Card, Code
from mlops_magics.errors import RunNotFound
from mlops_magics.records import Record
from mlops_magics.store import runs, tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.monitoring.alerts.records import Alert
    from mlops_magics.store.workspace import Workspace

__all__ = ["Origin", "of"]


@dataclass(frozen=True)
class Origin(Record):
    """Where a model was made; what is not known is None, and ``note`` says why.

    Attributes
    ----------
    model, version : str or None
        The registered version that served.
    run_id, run : str or None
        The tracked run that made it, by id and name.
    notebook : str or None
        The notebook's file; of a pipeline's step the one of the project, not its executed copy.
    cell : int or None
        The cell's number in it, from 1, text cells counted.
    source : str or None
        The cell's code as it ran.
    commit : str or None
        Of the project, at that time.
    pipeline_run, step : str or None
        If a pipeline ran it.
    note : str or None
    """

    model: str | None = None
    version: str | None = None
    run_id: str | None = None
    run: str | None = None
    notebook: str | None = None
    cell: int | None = None
    source: str | None = None
    commit: str | None = None
    pipeline_run: str | None = None
    step: str | None = None
    note: str | None = None

    def card(self) -> Card:
        """Show the file, the cell and its code."""
        facts: list[tuple[str, Any]] = []
        facts += [("model", f"{self.model}/{self.version}")] if self.model else []
        facts += [("notebook", Code(self.notebook))] if self.notebook else []
        facts += [("cell", self.cell)] if self.cell is not None else []
        facts += [("run", Code(self.run_id))] if self.run_id else []
        facts += [("commit", Code(self.commit[:12]))] if self.commit else []
        if self.pipeline_run:
            facts.append(("pipeline run", Code(f"{self.pipeline_run}, step {self.step}")))
        facts += [("source", Block(self.source))] if self.source else []
        return Card(
            self.run or "origin",
            subtitle="where the model was made",
            facts=facts,
            notes=[self.note] if self.note else [],
        )


def of(alert: Alert) -> Origin:
    """Find where the model was made that served when an alert was opened.

    Raises
    ------
    TrackingUnavailable
        MLflow cannot be asked.
    """
    workspace = resolve(alert.workspace)
    served = alert.evidence.get("revision") or {}
    if not served:
        return Origin(note="it is about the endpoint, not about a model")
    t = tables.revisions
    query = sa.select(t.c.model, t.c.version, t.c.run_id).where(t.c.id == served["revision"])
    with workspace.database.read() as connection:
        row = connection.execute(query).one_or_none()
    known: dict[str, Any] = {"model": served["model"], "version": served["version"]}
    if row is None or not row.run_id:
        return Origin(**known, note="the registry does not know the run that made it")
    known["run_id"] = row.run_id
    try:
        run = runs.find(workspace, row.run_id)
    except RunNotFound:
        return Origin(**known, note="MLflow does not have the run any more")
    tags = run.data.tags
    known |= {"run": run.info.run_name, "commit": tags.get("mlflow.source.git.commit")}
    known |= _step(workspace, tags.get("mlflow.parentRunId"))
    named = tags.get("mlops.source")
    known["notebook"] = known.get("notebook") or named
    with tempfile.TemporaryDirectory() as folder:
        kept = _artifacts(workspace, row.run_id, Path(folder))
        source = kept["cell.py"].read_text("utf-8") if "cell.py" in kept else None
        # as it was when the cell ran: the project's own may have been edited since
        cell = None if source is None else _number(kept.get("notebook.ipynb"), source)
    known |= {"source": source, "cell": cell}
    note = None
    if known["notebook"] is None:
        note = "it was made outside a tracked cell: %%mlops_run NAME keeps notebook and cell"
    elif cell is None:
        note = "which cell it was is not known" if source is None else None
        note = note or "the notebook that is kept does not have the cell: it was not saved before"
    return Origin(**known, note=note)


def _step(workspace: Workspace, parent: str | None) -> Mapping[str, Any]:
    """Return the pipeline run, the step and its notebook, if the run was made in a step."""
    if parent is None:
        return {}
    t = tables.pipeline_steps
    query = sa.select(t.c.run, t.c.step, t.c.notebook).where(t.c.run_id == parent)
    with workspace.database.read() as connection:
        row = connection.execute(query.limit(1)).one_or_none()
    if row is None:
        return {}
    return {"pipeline_run": row.run, "step": row.step, "notebook": row.notebook}


def _artifacts(workspace: Workspace, run_id: str, folder: Path) -> dict[str, Path]:
    """Fetch the cell and the notebook that a run keeps."""
    tracking = workspace.tracking
    found: dict[str, Path] = {}
    with tracking.mapped():
        kept = {Path(one.path).name for one in tracking.client.list_artifacts(run_id, "mlops")}
        for name in ("cell.py", "notebook.ipynb"):
            if name in kept:
                path = f"mlops/{name}"
                found[name] = Path(tracking.client.download_artifacts(run_id, path, str(folder)))
    return found


def _number(notebook: Path | None, source: str) -> int | None:
    """Return the number of the cell with that code, with or without a cell magic above it."""
    if notebook is None:
        return None
    try:
        cells: Sequence[Mapping[str, Any]] = json.loads(notebook.read_text("utf-8"))["cells"]
        texts = ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError):
        return None
    wanted = source.strip()
    injected = 0
    for number, (cell, text) in enumerate(zip(cells, texts, strict=True), start=1):
        tags = (cell.get("metadata") or {}).get("tags") or []
        if "injected-parameters" in tags:
            injected += 1  # papermill's; the project's notebook does not have it
        first, _, rest = text.partition("\n")
        body = rest if first.startswith("%%") else text
        if cell.get("cell_type") == "code" and body.strip() == wanted:
            return number - injected
    return None
