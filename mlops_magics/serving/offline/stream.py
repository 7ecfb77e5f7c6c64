"""Stream: what is appended to a source is scored as it comes, and delivered once."""

from __future__ import annotations

import hashlib
import re
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument, LockTimeout, MlopsError, UnknownName
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.offline import scorings
from mlops_magics.serving.offline.answering import Answerer, Model, Processes
from mlops_magics.serving.offline.assembly import Assembled, Assembly
from mlops_magics.serving.offline.chosen import Chosen, choose
from mlops_magics.serving.offline.deliveries import POSITION, Delivery, open_delivery
from mlops_magics.serving.offline.feeds import Feed, Taken, open_feed
from mlops_magics.serving.offline.scorings import Scoring
from mlops_magics.serving.offline.screening import Screen
from mlops_magics.store import tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["stream"]

Progress = Callable[[float, float | None, str], None]

VERSION = "model_version"
"""Column of the output: which version scored the row."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def stream(
    model: Any = None,
    source: Path | str = "",
    to: Path | str = "",
    *,
    endpoint: str | None = None,
    key: str | None = None,
    keep: Sequence[str] | str | None = None,
    poll: str = "1s",
    once: bool = False,
    until_idle: str | None = None,
    chunk: int = 8192,
    progress: Progress | None = None,
    workspace: Workspace | None = None,
) -> Scoring:
    """Score what is appended to a source, until told to end.

    Every row is taken at least once and delivered once: killed at any moment, the same call goes
    on from the last position that it saved, and what it delivers again takes the place of what
    it had delivered before. Ctrl-C and SIGTERM end it behind the batch at hand.

    Parameters
    ----------
    model : str, ModelVersion or Package
        As ``deploy`` takes it; an alias is looked up at the start.
    source : path or str
        A folder into which CSV, JSON-lines or Parquet files are moved; a ``.jsonl`` file that
        grows, of which complete lines are taken; or ``URL::TABLE``, a table whose ``key``
        increases.
    to : path or str
        A folder (Parquet files), a ``.jsonl`` file, or ``URL::TABLE``.
    endpoint : str, optional
        Instead of a model: the version that this endpoint serves.
    key : str, optional
        Column that names a row for good: the primary key of a table. In a table a key that comes
        again takes the place of the former row. Default: file and row number, ``source_row``.
    keep : sequence of str, optional
        Columns of the source that the output has beside the predictions; default: all.
    poll : str
        How often to look for new rows.
    once : bool
        End when all that is there now is scored.
    until_idle : str, optional
        End when nothing has come for so long, such as ``"10s"``.
    chunk : int
        Rows of a batch, at most.
    progress : callable, optional
        Called with the rows that are done.
    workspace : Workspace, optional
        Default: found from the working directory.

    Returns
    -------
    Scoring
        Of all rows since the stream first began; ``resumed`` of them were done before.

    Raises
    ------
    SourceUnreadable
        There is no such source, or a file was cut short.
    ModelError
        The model raises on every row, or its process has ended.
    InvalidArgument
        The output belongs to another stream.
    """
    workspace = resolve(workspace)
    if not str(source) or not str(to):
        raise InvalidArgument("a stream needs a source and an output", hint="--source, --to")
    if chunk < 1:
        raise InvalidArgument(f"chunk = {chunk} is no positive number")
    pause = _seconds(poll)
    patience = None if until_idle is None else _seconds(until_idle)
    kept = [name.strip() for name in keep.split(",")] if isinstance(keep, str) else keep
    report = progress or (lambda done, total, note: None)
    report(0, None, "fetching the package")
    chosen = choose(workspace, model, endpoint)
    with (
        closing(open_feed(source, key)) as feed,
        closing(open_delivery(to, key)) as delivery,
        _held(workspace, delivery),
        _stopping() as stopped,
    ):
        run = _Stream(workspace, chosen, feed, delivery, key, kept)
        run.begin()
        try:
            report(0, None, "loading the model")
            with closing(_answerer(workspace, chosen)) as answerer:
                run.follow(answerer, chunk, pause, once, patience, stopped, report)
        except BaseException as exc:
            reason = exc.message if isinstance(exc, MlopsError) else repr(exc)
            run.end("FAILED", reason[:2000])
            raise
        run.end("STOPPED", "ended by a signal" if stopped.is_set() else None)
        return run.record()


def _answerer(workspace: Workspace, chosen: Chosen) -> Answerer:
    if chosen.python is not None:
        folder = ServerFolder.of(workspace).environments
        return Processes(chosen.package, 1, chosen.runtime, chosen.python, folder)
    return Model(chosen.package, chosen.runtime)


def _seconds(text: str) -> float:
    """Return a span in seconds.

    Examples
    --------
    >>> _seconds("0.5s"), _seconds("2m")
    (0.5, 120.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", str(text))
    if match is None:
        raise InvalidArgument(f"{text!r} is not a duration such as 10s or 5m")
    return float(match[1]) * _UNITS[match[2]]


@contextmanager
def _held(workspace: Workspace, delivery: Delivery) -> Iterator[None]:
    name = f"stream-{hashlib.sha256(delivery.label.encode()).hexdigest()[:16]}"
    try:
        with workspace.lock(name, timeout=0):
            yield
    except LockTimeout as exc:
        raise InvalidArgument(
            f"{workspace.holder(name)} streams to {delivery.label} now",
            hint="end it first, or name another output",
        ) from exc


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Take the first Ctrl-C or SIGTERM as the wish to end behind the batch at hand."""
    stopped = threading.Event()
    before: dict[int, Any] = {}

    def stop(number: int, frame: Any) -> None:
        stopped.set()
        signal.signal(number, before[number])  # a second one is not asked to wait

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for taken, handler in before.items():
            signal.signal(taken, handler)


class _Stream:
    def __init__(
        self,
        workspace: Workspace,
        chosen: Chosen,
        feed: Feed,
        delivery: Delivery,
        key: str | None,
        keep: Sequence[str] | None,
    ) -> None:
        self.workspace, self.chosen, self.feed, self.delivery = workspace, chosen, feed, delivery
        self.key = key
        # the key is what makes a row one and the same
        self.keep = keep if keep is None or key is None or key in keep else [key, *keep]
        self.id = secrets.token_hex(8)
        self.position: dict[str, Any] = {"number": 0, "source": {}, "delivery": {}}
        self.rows = self.rejects = self.resumed = 0
        self.reasons: Counter[str] = Counter()
        self.columns: list[str] = []
        self.began = time.perf_counter()

    def begin(self) -> None:
        """Find the position that was saved for this output, or begin at the source's start."""
        table = tables.scorings
        with self.workspace.database.read() as connection:
            found = connection.execute(
                sa.select(table)
                .where(table.c.kind == "stream", table.c.output == self.delivery.label)
                .order_by(table.c.started.desc())
            ).first()
        if found is not None:
            if found.source != self.feed.label:
                raise InvalidArgument(
                    f"{self.delivery.label} belongs to the stream from {found.source}",
                    hint="name another output",
                )
            self.id, self.rows, self.rejects = found.id, found.rows, found.rejects
            self.resumed = self.rows
            self.position |= found.position
        elif self.delivery.occupied():
            raise InvalidArgument(
                f"{self.delivery.label} has content that no stream of this workspace wrote",
                hint="name a new output",
            )
        scorings.begin(
            self.workspace,
            self.id,
            "stream",
            self.chosen,
            self.feed.label,
            self.delivery.label,
        )
        self.delivery.restore(self.position["delivery"])

    def follow(
        self,
        answerer: Answerer,
        chunk: int,
        pause: float,
        once: bool,
        patience: float | None,
        stopped: threading.Event,
        report: Progress,
    ) -> None:
        """Take, score, deliver, save the position; again and again."""
        screen = Screen(answerer.schema)
        last = time.monotonic()
        while not stopped.is_set():
            taken = self.feed.take(self.position["source"], chunk)
            if taken is None:
                idle = time.monotonic() - last
                if once or (patience is not None and idle >= patience):
                    return
                note = f"{self.rows:,} rows, waiting for more"
                report(self.rows, None, note)
                stopped.wait(pause)
                continue
            done = self._score(taken, screen, answerer)
            self._deliver(taken, done)
            rejects = f", {self.rejects:,} rejects" if self.rejects else ""
            report(self.rows, None, f"{self.rows:,} rows{rejects}")
            last = time.monotonic()

    def _score(self, taken: Taken, screen: Screen, answerer: Answerer) -> Assembled:
        block = taken.block
        if self.key is not None and block.columns and self.key not in block.columns:
            raise UnknownName("column", self.key, block.columns)
        # later files may lack a column that earlier ones had
        keep = None if self.keep is None else [name for name in self.keep if name in taken.types]
        assembly = Assembly(answerer.schema, taken.types, answerer.outputs, keep, taken.untyped)
        screened = screen(block)
        if self.key is not None:
            screened = screened.without_nulls(block, self.key)
        return assembly(block, screened, answerer.answer(screened.batch))

    def _deliver(self, taken: Taken, done: Assembled) -> None:
        block = taken.block
        rejected = set(done.rejects.column("row").to_pylist())
        name = Path(block.where).name
        where = [
            f"{name}:{row}"
            for row in range(block.first, block.first + block.rows)
            if row not in rejected
        ]
        version = pa.array([str(self.chosen)] * len(where), pa.string())
        rows = done.table.append_column(VERSION, version)
        if self.key is None:
            rows = rows.append_column(POSITION, pa.array(where, pa.string()))
        names = [f"{name}:{row}" for row in done.rejects.column("row").to_pylist()]
        rejects = done.rejects.append_column(POSITION, pa.array(names, pa.string()))
        number = int(self.position["number"])
        state = self.delivery.deliver(number, rows, rejects)
        self.columns = rows.column_names
        self.rows += block.rows
        self.rejects += rejects.num_rows
        self.reasons.update(rejects.column("reason").to_pylist())
        self.position = {"number": number + 1, "source": taken.position, "delivery": state}
        # a kill before this line makes the batch come again, in the place of what was delivered
        scorings.note(self.workspace, self.id, self.rows, self.rejects, self.position)

    def end(self, status: str, reason: str | None) -> None:
        """Enter the end, and what was done since the beginning of this call."""
        details = {
            "scoring": self.id,
            "source": self.feed.label,
            "output": self.delivery.label,
            "rows": self.rows - self.resumed,
            "digest": self.chosen.digest,
        }
        entry = (str(self.chosen), details) if self.rows > self.resumed else None
        scorings.end(self.workspace, self.id, status, reason=reason, entry=entry)

    def record(self) -> Scoring:
        """Return what was done."""
        return Scoring(
            id=self.id,
            kind="stream",
            model=self.chosen.name,
            version=self.chosen.version,
            digest=self.chosen.digest,
            source=self.feed.label,
            output=self.delivery.label,
            rows=self.rows,
            scored=self.rows - self.rejects,
            rejects=self.rejects,
            reasons=dict(self.reasons),
            rejected=self.delivery.rejected if self.rejects else None,
            columns=self.columns,
            seconds=time.perf_counter() - self.began,
            resumed=self.resumed,
        )
