"""A worker: one process, one model, batches over a Unix socket.

``python -m mlops_magics.serving.worker WORKSPACE REVISION INDEX PACKAGE [RUNTIME]``, in the
server's folder.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlops_magics.errors import MlopsError
from mlops_magics.serving import wire
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.layout import Layout, Rows
from mlops_magics.settings import Settings
from mlops_magics.store.processes import Identity

if TYPE_CHECKING:
    from mlops_magics.store.predictors import Predictor

__all__ = ["Worker", "main"]

LOAD_FAILED = 3
"""Exit status of a worker whose model cannot be loaded: starting it again would not help."""

_IDLE_MILLISECONDS = 500
_WARM_SECONDS = 30  # at the least: the first batch pays for lazy imports
_log = logging.getLogger("mlops_magics.worker")


class Worker:
    """Answers batches, one connection at a time (the gateway's).

    Parameters
    ----------
    predictor : Predictor
        The loaded model.
    predict : callable
        Answers a batch without parameters.
    listener : socket.socket
        Bound and listening.
    timeout : int
        Seconds that a batch may take.
    """

    def __init__(
        self,
        predictor: Predictor,
        predict: Callable[[Rows], Any],
        listener: socket.socket,
        timeout: int = 120,
    ) -> None:
        self.predictor = predictor
        self.listener = listener
        self.timeout = timeout
        self._predict = predict
        self._connected = False
        self._asked = 0

    def serve(self) -> None:
        """Serve until SIGTERM: then until no batch comes any more, or the gateway hangs up.

        A second SIGTERM ends it after the batch that is being computed.
        """
        signal.signal(signal.SIGTERM, self._end)
        while not self._asked:
            connection, _ = self.listener.accept()
            self._connected = True
            # the gateway may go away; the next one will connect
            with connection, contextlib.suppress(ConnectionError, EOFError):
                self._converse(connection)
            self._connected = False

    def _converse(self, connection: socket.socket) -> None:
        layout = Layout(pa.ipc.read_schema(pa.py_buffer(_frame(connection)[0])))
        connection.sendall(wire.REPLY.pack(wire.WELCOME, 0))
        arrivals = select.poll()
        arrivals.register(connection, select.POLLIN)
        while self._asked < 2:
            if not arrivals.poll(_IDLE_MILLISECONDS):
                if self._asked:
                    return
                continue
            body, params = _frame(connection)
            # a model that hangs is ended by the kernel, whatever it does, and started again
            signal.alarm(self.timeout)
            status, answer = self._answer(layout, body, params)
            signal.alarm(0)
            connection.sendall(wire.REPLY.pack(status, len(answer)) + answer)

    def _answer(self, layout: Layout, body: bytearray, params: bytearray) -> tuple[int, bytes]:
        try:
            rows = layout.unpack(body)
            if params:
                result = self.predictor.predict(rows.frame(), json.loads(params))
            else:
                result = self._predict(rows)
        except Exception as exc:  # whatever a model raises is an answer, not our end
            _log.exception("the model raised")
            return wire.FAILURE, f"the model raised {type(exc).__name__}".encode()
        try:
            return wire.ANSWER, wire.pack_outputs(result, rows.count)
        except (ValueError, TypeError, pa.ArrowException) as exc:
            _log.exception("the model's outputs cannot be sent")
            reason = str(exc) if isinstance(exc, ValueError) and "returned" in str(exc) else ""
            return wire.FAILURE, (reason or "the model's outputs cannot be serialised").encode()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        if not self._connected:
            raise SystemExit(0)


def _frame(connection: socket.socket) -> tuple[bytearray, bytearray]:
    batch, params = wire.FRAME.unpack(_exactly(connection, wire.FRAME.size))
    return _exactly(connection, batch), _exactly(connection, params)


def _exactly(connection: socket.socket, count: int) -> bytearray:
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return buffer


def _prediction(predictor: Predictor, golden: Rows | None = None) -> Callable[[Rows], Any]:
    """Return what answers a batch, by the shortest way that the model goes.

    A compiled model takes Arrow's columns. scikit-learn spends most of a single row's time on
    looking at a DataFrame; its own estimators are given the numbers, if that makes no difference
    on the golden rows.
    """
    directly: Callable[..., Any] | None = getattr(predictor, "predict_columns", None)
    if directly is not None:
        return lambda rows: directly(rows.groups(), rows.count)
    if golden is not None and golden.layout.uniform and _takes_arrays(predictor, golden):
        return lambda rows: predictor.predict_array(rows.block())
    return lambda rows: predictor.predict(rows.frame())


def _takes_arrays(predictor: Predictor, golden: Rows) -> bool:
    from mlops_magics.store.predictors import plain_arrays

    if predictor.manifest.get("loader") != "skops" or not plain_arrays(predictor.model):
        return False
    import numpy as np

    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    try:
        given = predictor.predict_array(golden.block())
    except Exception:  # whatever it raises: it wants a DataFrame
        return False
    wanted = predictor.predict(golden.frame())
    same_type = type(given) is type(wanted) is np.ndarray and given.dtype == wanted.dtype
    return same_type and bool(np.array_equal(given, wanted))


def _warm(predictor: Predictor, package: Path) -> Callable[[Rows], Any]:
    """Predict once, so that the first request does not pay for lazy imports and caches.

    Returns
    -------
    callable
        What answers batches.
    """
    path = package / "mlops" / "golden.json"
    if not path.is_file():
        return _prediction(predictor)
    from mlops_magics.serving.validation import Schema

    inputs = json.loads(path.read_bytes())["inputs"]
    schema = Schema.from_signature(predictor.manifest.get("signature"))
    rows = schema.split(inputs["columns"], json.dumps(inputs["data"]).encode())
    layout = Layout(wire.arrow_schema(schema))
    golden = layout.unpack(layout.pack(rows).to_pybytes())
    predict = _prediction(predictor, golden)
    wire.pack_outputs(predict(golden), len(rows))
    return predict


class _WithoutPandas(MetaPathFinder):
    """Keeps pandas out: pyarrow would load it to see whether a list is a Series."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("this process works without pandas", name=name)


def main(arguments: list[str]) -> int:
    """Load the model, tell the state, serve."""
    folder = ServerFolder(Path(arguments[0]) / "server")
    revision, index, package = int(arguments[1]), int(arguments[2]), Path(arguments[3])
    runtime = arguments[4] if len(arguments) > 4 else "native"
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    faulthandler.enable()
    sys.dont_write_bytecode = True  # a model's own modules lie in its package, which is verified
    identity = Identity.of().to_dict()
    settings = Settings.load(Path(arguments[0]).parent)

    def tell(state: str, reason: str | None = None) -> None:
        try:
            folder.write_state(revision, index, state=state, reason=reason, identity=identity)
        except OSError as exc:  # a full disk keeps no model from answering
            _log.error("the state %r cannot be written: %s", state, exc)

    tell("starting")
    if runtime == "onnx":
        sys.meta_path.insert(0, _WithoutPandas())
    try:
        from mlops_magics.store import predictors

        predictor = predictors.load(package, runtime=runtime)
        signal.alarm(max(settings.worker_timeout, _WARM_SECONDS))
        predict = _warm(predictor, package)
        signal.alarm(0)
    except Exception as exc:  # a model's code can raise anything; the reason goes to the deployer
        _log.exception("the model cannot be loaded")
        reason = exc.message if isinstance(exc, MlopsError) else f"{type(exc).__name__}: {exc}"
        tell("failed", reason)
        return LOAD_FAILED
    name = folder.socket(revision, index)
    Path(name).unlink(missing_ok=True)  # left by a predecessor that was killed
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(name)
        listener.listen(8)
        gc.collect()
        gc.freeze()  # what was loaded stays; collections need not walk it again
        tell("ready")
        Worker(predictor, predict, listener, settings.worker_timeout).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
