"""Batch: every row of a source through a model, to an output; resumable, rejects kept."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlops_magics.errors import (
    DatabaseUnavailable,
    GateFailed,
    InvalidArgument,
    MlopsError,
    SchemaMismatch,
)
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.offline import conveyor, scorings
from mlops_magics.serving.offline.answering import Answerer, Model, Processes
from mlops_magics.serving.offline.assembly import REJECTS, Assembled, Assembly, check_columns
from mlops_magics.serving.offline.chosen import Chosen, choose
from mlops_magics.serving.offline.outputs import Output
from mlops_magics.serving.offline.scorings import Scoring
from mlops_magics.serving.offline.screening import Screen
from mlops_magics.serving.offline.sinks import Memory, Sink
from mlops_magics.serving.offline.sources import Source, open_source
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    import pandas as pd

    from mlops_magics.store.workspace import Workspace

__all__ = ["score"]

Progress = Callable[[float, float | None, str], None]

_REASONS = 50  # different reasons that are counted one by one
_OTHER = "other reasons"


def score(
    model: Any = None,
    data: pd.DataFrame | str | Path | None = None,
    to: Path | str | None = None,
    *,
    endpoint: str | None = None,
    keep: Sequence[str] | str | None = None,
    max_rejects: str | float | None = None,
    workers: int = 1,
    chunk: int = 65536,
    restart: bool = False,
    progress: Progress | None = None,
    workspace: Workspace | None = None,
) -> Scoring:
    """Score every row of a source.

    Each row is held to the same rules as a request to an endpoint; those that break one are kept
    as rejects, with the reason. Killed at any moment, the same call goes on where it was.

    Parameters
    ----------
    model : str, ModelVersion or Package
        As ``deploy`` takes it.
    data : DataFrame or str
        Rows with the model's columns, in any order: a DataFrame, a Parquet, CSV or JSON-lines
        file, a folder of such files, a glob, an fsspec URL, or a dataset.
    to : path, optional
        ``.parquet``, ``.csv``, ``.tsv`` or ``.jsonl``; a name without ending is a folder of
        Parquet files. It appears, or is replaced, at the end. Default: the record's ``df``.
    endpoint : str, optional
        Instead of a model: the version that this endpoint serves.
    keep : sequence of str, optional
        Columns of the source that the output has beside the predictions; default: all.
    max_rejects : str or float, optional
        Fail when more are rejected: a number of rows, or a share such as ``"1%"``.
    workers : int
        Processes; 1 predicts in this one.
    chunk : int
        Rows that are predicted at once.
    restart : bool
        Begin anew, though an earlier call was broken off.
    progress : callable, optional
        Called with what is done, of how much, and what comes now.
    workspace : Workspace, optional
        Default: found from the working directory.

    Returns
    -------
    Scoring

    Raises
    ------
    GateFailed
        More rejects than ``max_rejects``; the rejects are kept, the output isn't touched.
    SchemaMismatch
        The source lacks a column that the model requires, or was changed since the call that
        was broken off.
    ModelError
        The model raises on every row, or its process has ended.
    SourceUnreadable, DatasetNotFound, ModelNotFound, EndpointNotFound

    Examples
    --------
    >>> from mlops_magics import package
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> flowers = load_iris(as_frame=True)
    >>> iris = LogisticRegression(max_iter=500).fit(flowers.data, flowers.target)
    >>> packed = package(iris, name="iris", data=flowers.data, workspace=workspace)
    >>> scored = score(packed, flowers.data, workspace=workspace)
    >>> scored.rows, scored.rejects, scored.columns[-1]
    (150, 0, 'prediction')
    """
    workspace = resolve(workspace)
    if data is None:
        raise InvalidArgument("there are no rows to score", hint="name them with --data")
    for name, value in (("workers", workers), ("chunk", chunk)):
        if value < 1:
            raise InvalidArgument(f"{name} = {value} is no positive number")
    limit = _limit(max_rejects)
    report = progress or (lambda done, total, note: None)
    report(0, None, "fetching the package")
    chosen = choose(workspace, model, endpoint)
    report(0, None, "opening the source")
    source = open_source(data, workspace)
    kept = [name.strip() for name in keep.split(",")] if isinstance(keep, str) else keep
    run = _Run(workspace, chosen, source, kept, limit, report)
    if to is None:
        with closing(_answerer(workspace, chosen, workers)) as answerer:
            return run.in_memory(answerer, chunk)
    output = Output(to)
    with output.held(workspace):
        run.open(output, restart)
        if run.state["sealed"] is None:
            report(0, source.rows, "loading the model")
            with closing(_answerer(workspace, chosen, workers)) as answerer:
                run.to_output(output, answerer, chunk)
        return run.publish(output)


def _answerer(workspace: Workspace, chosen: Chosen, workers: int) -> Answerer:
    if workers > 1 or chosen.python is not None:
        folder = ServerFolder.of(workspace).environments
        return Processes(chosen.package, workers, chosen.runtime, chosen.python, folder)
    return Model(chosen.package, chosen.runtime)


def _limit(value: str | float | None) -> Callable[[int, int], bool] | None:
    """Return what tells whether there are too many rejects among so many rows.

    Examples
    --------
    >>> _limit("1%")(2, 100), _limit(3)(3, 100)
    (True, False)
    """
    if value is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", str(value))
    if match is None:
        raise InvalidArgument(
            f"max_rejects = {value!r} is neither a number of rows nor a share",
            hint="for example 100, or 1%",
        )
    number = float(match[1])
    if match[2]:
        return lambda rejects, rows: rejects * 100 > number * rows
    return lambda rejects, rows: rejects > number


@dataclass
class _Run:
    workspace: Workspace
    chosen: Chosen
    source: Source
    keep: Sequence[str] | None
    limit: Callable[[int, int], bool] | None
    report: Progress
    state: dict[str, Any] = field(default_factory=dict)
    resumed: int = 0
    notes: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    # -- what a state says

    def _fresh(self, source: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": secrets.token_hex(8),
            "model": self.chosen.name,
            "version": self.chosen.version,
            "digest": self.chosen.digest,
            "source": source,
            "keep": None if self.keep is None else list(self.keep),
            "rows": 0,
            "rejects": 0,
            "reasons": {},
            "columns": [],
            "sinks": [None, None],
            "sealed": None,
        }

    def open(self, output: Output, restart: bool) -> None:
        """Begin, or go on where an earlier call was broken off."""
        found = None if restart else output.state()
        if found is not None and scorings.finished(self.workspace, found["id"]):
            found = None  # killed at the very end: only the tidying up was missing
        fresh = self._fresh(self.source.identity())
        if found is None:
            output.discard()
            output.work.mkdir(mode=0o700)
            self.state = fresh
            output.save(fresh)
        else:
            self._check_same(found, fresh, output)
            self.state = found
            self.resumed = int(found["rows"])
        scorings.begin(
            self.workspace, self.state["id"], "batch", self.chosen, self.source.label, str(output)
        )

    def _check_same(
        self, found: Mapping[str, Any], fresh: Mapping[str, Any], output: Output
    ) -> None:
        begun = f"{output} was begun with"
        hint = "begin anew with --restart"
        if found["digest"] != fresh["digest"]:
            raise InvalidArgument(
                f"{begun} {found['model']}/{found['version']}, and {self.chosen} is asked for now",
                hint=f"go on with: mlops score {found['model']}/{found['version']}; or {hint}",
            )
        if found["keep"] != fresh["keep"]:
            shown = "all columns" if found["keep"] is None else f"--keep {','.join(found['keep'])}"
            raise InvalidArgument(f"{begun} {shown}", hint=f"go on with that, or {hint}")
        if found["source"] == fresh["source"]:
            return
        before = {str(one.get("file")): one for one in found["source"]}
        now = {str(one.get("file")): one for one in fresh["source"]}
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        name = changed[0] if changed and changed[0] != "None" else self.source.label
        raise SchemaMismatch(
            f"{name} was changed since the scoring into {output} began "
            f"({found['rows']:,} rows were done)",
            hint=hint,
        )

    # -- the work

    def in_memory(self, answerer: Answerer, chunk: int) -> Scoring:
        self.state = self._fresh([])
        scorings.begin(
            self.workspace, self.state["id"], "batch", self.chosen, self.source.label, ""
        )
        rows, rejects = Memory(), Memory()
        try:
            assembly = self._assembly(answerer)
            self._flow(answerer, assembly, chunk, rows, rejects, lambda: None)
            self._hold_to_limit(None)
        except BaseException as exc:
            self._failed(exc)
            raise
        self._finished()
        tables = (
            pa.concat_tables([assembly.schema.empty_table(), *rows.tables]),
            pa.concat_tables([REJECTS.empty_table(), *rejects.tables]),
        )
        return self._record("", None, tables)

    def to_output(self, output: Output, answerer: Answerer, chunk: int) -> None:
        try:
            assembly = self._assembly(answerer)
            rows, rejects = output.sinks(assembly.schema)
            with closing(rows), closing(rejects):
                for sink, at in zip((rows, rejects), self.state["sinks"], strict=True):
                    sink.restore(at)
                checkpoint = _Checkpoint(self, output, rows, rejects)
                self._flow(answerer, assembly, chunk, rows, rejects, checkpoint)
                sealed = rows.seal()
                rejected = rejects.seal() if self.state["rejects"] else None
            self._hold_to_limit(output, rejected)
            self.state["sealed"] = [sealed, rejected]
            output.save(self.state)
        except BaseException as exc:
            self._failed(exc)
            if isinstance(exc, KeyboardInterrupt):
                raise KeyboardInterrupt(
                    f"{self.state['rows']:,} rows are done, and the same command goes on from there"
                ) from exc
            raise

    def _assembly(self, answerer: Answerer) -> Assembly:
        check_columns(answerer.schema, list(self.source.types), self.source.label)
        assembly = Assembly(
            answerer.schema, self.source.types, answerer.outputs, self.keep, self.source.untyped
        )
        if assembly.replaced:
            names = ", ".join(map(repr, assembly.replaced))
            self.notes.append(f"the source's own {names} gave way to the model's answers")
        self.state["columns"] = assembly.schema.names
        return assembly

    def _flow(
        self,
        answerer: Answerer,
        assembly: Assembly,
        chunk: int,
        rows: Sink,
        rejects: Sink,
        checkpoint: Callable[[], None],
    ) -> None:
        """Read, screen, predict and write, all at once, from where the state is."""
        screen = Screen(answerer.schema)
        start = int(self.state["rows"])
        reasons = Counter(self.state["reasons"])

        def write(done: Assembled) -> None:
            if done.table.num_rows:
                rows.append(done.table)
            if done.rejects.num_rows:
                rejects.append(done.rejects)
                for reason in done.rejects.column("reason").to_pylist():
                    known = reason in reasons or len(reasons) < _REASONS
                    reasons[reason if known else _OTHER] += 1
                self.state["rejects"] += done.rejects.num_rows
            self.state["rows"] = done.end
            self.state["reasons"] = dict(reasons)
            checkpoint()

        def settle() -> None:
            if isinstance(checkpoint, _Checkpoint):
                checkpoint.now()

        blocks = self.source.blocks(start, chunk, assembly.wanted)
        screened = ((block, screen(block)) for block in blocks)
        writer = conveyor.Writer(write, settle)
        try:
            with conveyor.ahead(screened) as waiting:
                answered = conveyor.in_order(
                    lambda pair: answerer.answer(pair[1].batch), waiting, answerer.concurrency
                )
                for (block, good), answers in answered:
                    writer.give(assembly(block, good, answers))
                    self._tell(block.first + block.rows, start)
        finally:
            writer.end()

    def _tell(self, done: int, start: int) -> None:
        seconds = time.perf_counter() - self.began
        rejects = self.state["rejects"]
        note = f"{done:,} rows, {(done - start) / seconds:,.0f}/s"
        self.report(done, self.source.rows, note + (f", {rejects:,} rejects" if rejects else ""))

    def _hold_to_limit(self, output: Output | None, rejected: str | None = None) -> None:
        rows, rejects = self.state["rows"], self.state["rejects"]
        if self.limit is None or not self.limit(rejects, rows):
            return
        reason, count = Counter(self.state["reasons"]).most_common(1)[0]
        hint = f"{count:,} times: {reason}"
        if output is not None and rejected is not None:
            (output.work / "rejects" / rejected).replace(output.rejects)
            output.discard()
            hint += f"\n    they are in {output.rejects}; {output.place.name} was not written"
        raise GateFailed(
            f"{rejects:,} of {rows:,} rows were rejected ({100 * rejects / rows:.3g} %), more "
            "than --max-rejects allows",
            hint=hint,
        )

    # -- the end

    def publish(self, output: Output) -> Scoring:
        sealed, rejected = self.state["sealed"]
        output.publish(sealed, rejected)
        self._finished(str(output))
        output.discard()
        return self._record(str(output), str(output.rejects) if rejected else None)

    def _failed(self, exc: BaseException) -> None:
        stopped = isinstance(exc, KeyboardInterrupt)
        reason = exc.message if isinstance(exc, MlopsError) else f"{type(exc).__name__}: {exc}"
        with contextlib.suppress(DatabaseUnavailable):  # what is being raised says more
            scorings.end(
                self.workspace,
                self.state["id"],
                "STOPPED" if stopped else "FAILED",
                reason="interrupted" if stopped else reason[:2000],
                rows=self.state["rows"],
                rejects=self.state["rejects"],
            )

    def _finished(self, output: str = "") -> None:
        state = self.state
        details = {
            "scoring": state["id"],
            "source": self.source.label,
            "source_state": state["source"][:20],
            "output": output,
            "rows": state["rows"],
            "rejects": state["rejects"],
            "digest": state["digest"],
        }
        scorings.end(
            self.workspace,
            state["id"],
            "FINISHED",
            entry=(str(self.chosen), details),
            rows=state["rows"],
            rejects=state["rejects"],
        )

    def _record(
        self, output: str, rejected: str | None, tables: tuple[Any, Any] | None = None
    ) -> Scoring:
        state = self.state
        return Scoring(
            id=state["id"],
            kind="batch",
            model=self.chosen.name,
            version=self.chosen.version,
            digest=self.chosen.digest,
            source=self.source.label,
            output=output,
            rows=state["rows"],
            scored=state["rows"] - state["rejects"],
            rejects=state["rejects"],
            reasons=dict(state["reasons"]),
            rejected=rejected,
            columns=list(state["columns"]),
            seconds=time.perf_counter() - self.began,
            resumed=self.resumed,
            notes=self.notes,
            tables=tables,
        )


class _Checkpoint:
    """Settles now and then: a kill costs a tenth of the time spent, and ten seconds at most."""

    def __init__(self, run: _Run, output: Output, rows: Sink, rejects: Sink) -> None:
        self.run, self.output, self.sinks = run, output, (rows, rejects)
        self.began = self.last = time.monotonic()

    def __call__(self) -> None:
        """Settle if it is time."""
        now = time.monotonic()
        if now - self.last >= min(max((now - self.began) / 10, 0.2), 10):
            self.now()

    def now(self) -> None:
        """Settle, then say so; in this order a kill between the two costs work, and no row."""
        state = self.run.state
        state["sinks"] = [sink.settle() for sink in self.sinks]
        self.output.save(state)
        # the state beside the parts is what counts; the end is entered, or raised
        with contextlib.suppress(DatabaseUnavailable):
            scorings.note(
                self.run.workspace,
                state["id"],
                state["rows"],
                state["rejects"],
                {"rows": state["rows"], "folder": str(self.output.work)},
            )
        self.last = time.monotonic()
