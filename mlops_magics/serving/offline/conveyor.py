"""A conveyor: reading, predicting and writing overlap, with a bounded number of blocks between."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

__all__ = ["Writer", "ahead", "in_order"]

In = TypeVar("In")
Out = TypeVar("Out")
_END = object()
_DEPTH = 2  # blocks that wait between two threads


@contextlib.contextmanager
def ahead(items: Iterator[Out]) -> Iterator[Iterator[Out]]:
    """Take items in a thread of their own, a few ahead of the one who asks.

    Examples
    --------
    >>> with ahead(iter("abc")) as letters:
    ...     "".join(letters)
    'abc'
    """
    waiting: queue.Queue[Any] = queue.Queue(_DEPTH)
    ended = threading.Event()
    failure: list[BaseException] = []

    def put(item: Any) -> bool:
        while not ended.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as exc:  # raised where the items are asked for
            failure.append(exc)
        finally:
            put(_END)

    def taken() -> Iterator[Out]:
        while (item := waiting.get()) is not _END:
            yield item
        if failure:
            raise failure[0]

    thread = threading.Thread(target=read, name="mlops-reader", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        ended.set()
        thread.join()


def in_order(
    work: Callable[[In], Out], items: Iterable[In], concurrency: int
) -> Iterator[tuple[In, Out]]:
    """Do work on items, several at once when that is asked for; results keep the items' order.

    Examples
    --------
    >>> [square for _, square in in_order(lambda x: x * x, [1, 2, 3], 2)]
    [1, 4, 9]
    """
    if concurrency == 1:
        for item in items:
            yield item, work(item)
        return
    pending: deque[tuple[In, Future[Out]]] = deque()
    with ThreadPoolExecutor(concurrency, thread_name_prefix="mlops-asker") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(work, item)))
                if len(pending) > concurrency:
                    before, future = pending.popleft()
                    yield before, future.result()
            while pending:
                before, future = pending.popleft()
                yield before, future.result()
        finally:
            for _, future in pending:
                future.cancel()


class Writer(Generic[In]):
    """Writes items in a thread of its own; an error is raised where the next item is given.

    Parameters
    ----------
    write : callable
        Takes an item.
    idle : callable
        Called at the end, after the last item that was given, also when the work was broken off.
    """

    def __init__(self, write: Callable[[In], None], idle: Callable[[], None]) -> None:
        self._write, self._idle = write, idle
        self._waiting: queue.Queue[Any] = queue.Queue(_DEPTH)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mlops-writer", daemon=True)
        self._thread.start()

    def give(self, item: In) -> None:
        """Hand over an item; waits while too many are waiting."""
        if self._failure is not None:
            raise self._failure
        self._waiting.put(item)

    def end(self) -> None:
        """Write what was given, and wait for it."""
        if self._thread.is_alive():
            self._waiting.put(_END)
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while (item := self._waiting.get()) is not _END:
            if self._failure is None:
                try:
                    self._write(item)
                except BaseException as exc:  # raised where the next item is given
                    self._failure = exc
        if self._failure is None:
            try:
                self._idle()
            except BaseException as exc:  # as above
                self._failure = exc
