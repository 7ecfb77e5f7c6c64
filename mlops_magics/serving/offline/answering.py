"""Answering: a loaded model gives columns of predictions for batches of screened rows.

In this process, or in processes of its own, ``python -m mlops_magics.serving.offline.answering
PACKAGE RUNTIME FD``, which answers batches over a socket that it inherits.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from mlops_magics.errors import ModelError
from mlops_magics.serving import interpreters, wire
from mlops_magics.serving.layout import Layout
from mlops_magics.serving.validation import Schema
from mlops_magics.store import packages

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Answerer", "Answers", "Model", "Processes"]

_HOPELESS = 64
"""After so many rows that raised one by one, and none that was answered, the model is given up."""


@dataclass(frozen=True)
class Answers:
    """A model's answers to one batch.

    Attributes
    ----------
    batch : pyarrow.RecordBatch
        One row for each row that was answered.
    faults : dict
        Place in the batch and reason, of rows on which the model raised.
    """

    batch: pa.RecordBatch
    faults: dict[int, str] = field(default_factory=dict)


class Answerer(Protocol):
    """What answers batches; several threads may ask at once."""

    schema: Schema
    outputs: pa.Schema
    """Columns of the answers."""
    concurrency: int

    def answer(self, batch: pa.RecordBatch) -> Answers:
        """Answer a batch of rows as the model takes them."""

    def close(self) -> None:
        """Release what it holds."""


class Model:
    """A package, loaded into this process.

    The golden rows are answered first: that tells the types of the answers before any row is
    read, and the first batch doesn't pay for lazy imports.

    Parameters
    ----------
    package : Path
        A verified private copy.
    runtime : {"native", "onnx"}
        What computes it.

    Raises
    ------
    ModelError
        The model raises on its own golden rows.
    """

    concurrency = 1

    def __init__(self, package: Path, runtime: str = "native") -> None:
        from mlops_magics.store import predictors

        predictor = predictors.load(package, runtime=runtime)
        self.schema = Schema.from_signature(predictor.manifest.get("signature"))
        self._classes: list[Any] = predictor.manifest.get("classes") or []
        # a runtime that takes Arrow is spared the way through a DataFrame
        whole = getattr(predictor, "predict_batch", None)
        self._call = whole or (lambda batch: predictor.predict(wire.frame(batch)))
        self._answered = 0
        self._raised = 0
        try:
            self.outputs: pa.Schema = self._columns(_golden(package, self.schema)).schema
        except Exception as exc:  # whatever a model raises
            raise ModelError(
                f"the model raised {type(exc).__name__} on its own golden rows: {exc}",
                hint="package it again: mlops package MODEL --data TRAIN",
            ) from exc

    def answer(self, batch: pa.RecordBatch) -> Answers:
        """Answer a batch; a row on which the model raises is left out, the others are answered.

        Raises
        ------
        ModelError
            It raises on every row.
        """
        faults: dict[int, str] = {}
        parts = self._attempt(batch, 0, faults)
        table = pa.Table.from_batches(parts, self.outputs).combine_chunks()
        answered = table.to_batches()
        empty = pa.RecordBatch.from_pylist([], schema=self.outputs)
        return Answers(answered[0] if answered else empty, faults)

    def close(self) -> None:
        """Nothing is held."""

    def _attempt(
        self, batch: pa.RecordBatch, start: int, faults: dict[int, str]
    ) -> list[pa.RecordBatch]:
        rows = batch.num_rows
        if not rows:
            return []
        try:
            answered = self._columns(batch)
        except ModelError:
            raise
        except Exception as exc:  # whatever a model raises is a verdict on these rows
            if rows == 1:
                self._raised += 1
                if self._raised >= _HOPELESS and not self._answered:
                    raise ModelError(
                        f"the model raised {type(exc).__name__} on each of {self._raised} rows: "
                        f"{exc}"
                    ) from exc
                faults[start] = f"the model raised {type(exc).__name__}"
                return []
            half = rows // 2
            first = self._attempt(batch.slice(0, half), start, faults)
            return first + self._attempt(batch.slice(half), start + half, faults)
        self._answered += rows
        return [answered]

    def _columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Predict, and give each output a column of its own, of the same type in every batch."""
        found = wire.outputs_batch(self._call(batch), batch.num_rows)
        columns: dict[str, pa.Array] = {}
        for name, values in zip(found.schema.names, found.columns, strict=True):
            if pa.types.is_fixed_size_list(values.type):
                width = values.type.list_size
                classes = self._classes if len(self._classes) == width else range(width)
                flat = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
                for index, each in enumerate(classes):
                    columns[f"{name}_{each}"] = pa.array(flat[:, index])
            else:
                columns[name] = values
        answered = pa.RecordBatch.from_pydict(columns)
        known = getattr(self, "outputs", None)
        if known is None or answered.schema.equals(known):
            return answered
        try:
            return answered.cast(known)
        except (pa.ArrowException, ValueError) as exc:
            raise ModelError(
                f"the model's answers are of another type than for its golden rows: {exc}",
                hint="make it give one type, and package it again",
            ) from exc


def _golden(package: Path, schema: Schema) -> pa.RecordBatch:
    inputs = json.loads((package / "mlops" / "golden.json").read_bytes())["inputs"]
    rows = schema.split(inputs["columns"], json.dumps(inputs["data"]).encode())
    layout = Layout(wire.arrow_schema(schema))
    return layout.unpack(layout.pack(rows).to_pybytes()).batch


class Processes:
    """The same package in several processes, each of which answers one batch at a time.

    Parameters
    ----------
    package : Path
        A verified private copy.
    count : int
        Processes.
    runtime : {"native", "onnx"}
        What computes it.
    python : str, optional
        The interpreter of an environment of the model's own.
    folder : Path, optional
        Where that interpreter shall find this code.

    Raises
    ------
    ModelError
        The model cannot be loaded.
    """

    def __init__(
        self,
        package: Path,
        count: int,
        runtime: str = "native",
        python: str | None = None,
        folder: Path | None = None,
    ) -> None:
        manifest = packages.read_manifest(package)
        self.schema = Schema.from_signature(manifest.get("signature"))
        self.concurrency = count
        variables = interpreters.environ(folder) if python and folder is not None else None
        command = [python or sys.executable, "-m", "mlops_magics.serving.offline.answering"]
        command += [str(package), runtime]
        self._children = [_Child(command, variables) for _ in range(count)]
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        try:
            for child in self._children:
                self.outputs: pa.Schema = child.ready()
                self._idle.put(child)
        except BaseException:
            self.close()
            raise

    def answer(self, batch: pa.RecordBatch) -> Answers:
        """Answer a batch in the next process that is idle.

        Raises
        ------
        ModelError
            It raises on every row, or its process has ended.
        """
        child = self._idle.get()
        try:
            return child.answer(batch)
        finally:
            self._idle.put(child)

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            child.close()


class _Child:
    def __init__(self, command: Sequence[str], variables: Mapping[str, str] | None) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            # a session of its own: Ctrl-C is for the one who asked, who then closes the socket
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                env=variables,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def ready(self) -> pa.Schema:
        return pa.ipc.read_schema(pa.py_buffer(self._reply()))

    def answer(self, batch: pa.RecordBatch) -> Answers:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        body = sink.getvalue()
        try:
            self.socket.sendall(wire.FRAME.pack(body.size, 0) + bytes(body))
        except OSError as exc:
            raise self._gone() from exc
        with pa.ipc.open_stream(pa.py_buffer(self._reply())) as reader:
            found = reader.read_next_batch()
        faults: Mapping[str, str] = json.loads(found.schema.metadata[b"faults"])
        return Answers(found.replace_schema_metadata(None), {int(k): v for k, v in faults.items()})

    def close(self) -> None:
        self.socket.close()
        self.process.kill()  # it holds nothing that could be lost
        self.process.wait()

    def _reply(self) -> bytes:
        try:
            status, length = wire.REPLY.unpack(_exactly(self.socket, wire.REPLY.size))
            body = _exactly(self.socket, length)
        except (OSError, EOFError) as exc:
            raise self._gone() from exc
        if status == wire.FAILURE:
            raise ModelError(body.decode())
        return body

    def _gone(self) -> ModelError:
        code = self.process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"left with {code}"
        return ModelError(
            f"the model's process {how}",
            hint="if the machine ran out of memory: fewer --workers, or a smaller --chunk",
        )


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        got = connection.recv(min(count - len(parts), 1 << 20))
        if not got:
            raise EOFError
        parts += got
    return bytes(parts)


def main(arguments: Sequence[str]) -> int:
    """Load the package, tell the columns of its answers, answer until the socket closes."""
    os.umask(0o077)
    sys.dont_write_bytecode = True  # a model's own modules lie in its package, which is verified
    with socket.socket(fileno=int(arguments[2])) as connection:

        def send(status: int, body: Any) -> None:
            connection.sendall(wire.REPLY.pack(status, len(body)) + bytes(body))

        try:
            model = Model(Path(arguments[0]), arguments[1])
        except Exception as exc:  # a model's code can raise anything; the reason goes to the asker
            send(wire.FAILURE, f"the model cannot be loaded: {exc}".encode())
            return 1
        send(wire.ANSWER, model.outputs.serialize())
        while True:
            try:
                length, _ = wire.FRAME.unpack(_exactly(connection, wire.FRAME.size))
                body = _exactly(connection, length)
            except (EOFError, OSError):
                return 0
            with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
                batch = reader.read_next_batch()
            try:
                answers = model.answer(batch)
            except ModelError as exc:
                send(wire.FAILURE, str(exc).encode())
                continue
            told = {b"faults": json.dumps(answers.faults).encode()}
            found = answers.batch.replace_schema_metadata(told)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, found.schema) as writer:
                writer.write_batch(found)
            send(wire.ANSWER, sink.getvalue())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
