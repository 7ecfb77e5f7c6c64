"""ONNX Runtime: a package's ``model.onnx`` answers batches, without pandas and scikit-learn.

ONNX's text has no missing value: `MISSING` stands for it, a character that no text has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import MissingExtra, PackageCorrupt
from mlops_magics.store.predictors import Predictor

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["MISSING", "MODEL", "RECORD", "Input", "OnnxPredictor", "load", "read_record", "session"]

MISSING = "\uffff"
"""Stands for a missing text: a noncharacter, which Unicode keeps out of texts."""
MODEL = "model.onnx"
RECORD = "mlops/onnx.json"


@dataclass(frozen=True)
class Input:
    """An input of the model's graph.

    Attributes
    ----------
    name : str
        In the graph.
    columns : tuple of str
        The columns that it holds, side by side.
    kind : str
        NumPy's name of its type; ``str`` for text.
    """

    name: str
    columns: tuple[str, ...]
    kind: str


class OnnxPredictor(Predictor):
    """A model that ONNX Runtime computes.

    Parameters
    ----------
    run : callable
        An inference session's ``run``.
    manifest : mapping
        The package's.
    inputs : sequence of Input
        What the graph takes.
    output : str
        Name of the graph's output that is the answer.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        manifest: Mapping[str, Any],
        inputs: Sequence[Input],
        output: str,
    ) -> None:
        super().__init__(run, manifest, self._answer_frame)
        self._run = run
        self._outputs = [output]
        (described,) = self.signature["outputs"]
        spec = described["tensor-spec"]
        self._shape = tuple(spec["shape"])
        self._dtype = None if spec["dtype"] == "object" else spec["dtype"]
        kinds = {str(column["name"]): column["type"] for column in self.signature["inputs"]}
        places = {name: index for index, name in enumerate(self.columns)}
        # numbers go as one block, which costs as much as a single column
        (whole,) = inputs if len(inputs) == 1 and len(kinds) > 1 else (None,)
        self._matrix = whole.name if whole and "boolean" not in kinds.values() else None
        self._block = [
            each.name
            for each in inputs
            if not self._matrix and each.kind == "float64" and kinds.get(each.name) != "boolean"
        ]
        if whole or len(self._block) < 2:
            self._block = []
        self._block_places = [places[name] for name in self._block]
        self._rest = [
            (each.name, [places[name] for name in each.columns], each.kind)
            for each in inputs
            if each.name not in (self._matrix, *self._block)
        ]

    def predict_batch(self, batch: Any) -> np.ndarray[Any, Any]:
        """Predict for each row of an Arrow record batch with the signature's columns in order.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_outputs)
            As the native model gives it.
        """
        import numpy as np

        feeds = {
            name: _tensor([batch.column(place) for place in places], kind, batch.num_rows)
            for name, places, kind in self._rest
        }
        if self._matrix:
            feeds[self._matrix] = np.asarray(
                batch.to_tensor(null_to_nan=True).to_numpy(), dtype="float64"
            )
        if self._block:
            chosen = batch.select(self._block_places)
            block = chosen.to_tensor(null_to_nan=True, row_major=False).to_numpy()
            block = block.astype("float64", copy=False)
            for place, name in enumerate(self._block):
                feeds[name] = block[:, place : place + 1]
        return self._shaped(self._run(self._outputs, feeds)[0])

    def _answer_frame(self, data: pd.DataFrame) -> np.ndarray[Any, Any]:
        import pyarrow as pa

        arrays = []
        for name in self.columns:
            array = pa.array(data[name], from_pandas=True)
            if pa.types.is_null(array.type):
                array = array.cast(pa.float64())
            arrays.append(array.dictionary_decode() if hasattr(array, "dictionary") else array)
        return self.predict_batch(pa.RecordBatch.from_arrays(arrays, names=self.columns))

    def _shaped(self, found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if found.ndim != len(self._shape):
            found = found.reshape(self._shape)
        if self._dtype is not None and found.dtype != self._dtype:
            found = found.astype(self._dtype)
        return found


def _tensor(columns: Sequence[Any], kind: str, rows: int) -> np.ndarray[Any, Any]:
    """Return Arrow columns as one tensor of shape (n_rows, n_columns)."""
    import numpy as np

    if kind == "str":
        found = np.empty((rows, len(columns)), dtype=object)
        for index, column in enumerate(columns):
            values = column.to_pylist()
            if column.null_count:
                values = [MISSING if each is None else each for each in values]
            found[:, index] = values
        return found
    if len(columns) == 1:
        block = columns[0].to_numpy(zero_copy_only=False)
        return np.asarray(block, dtype=kind).reshape(-1, 1)
    block = np.empty((len(columns), rows), dtype=kind)
    for index, column in enumerate(columns):
        block[index] = column.to_numpy(zero_copy_only=False)
    return block.T.copy()


def load(folder: Path, manifest: Mapping[str, Any]) -> OnnxPredictor:
    """Load a verified package's ONNX model.

    Raises
    ------
    PackageCorrupt
        It has none.
    MissingExtra
        ONNX Runtime is not installed.
    """
    record = read_record(folder)
    if record is None or not (folder / MODEL).is_file():
        raise PackageCorrupt(
            f"package {folder.name[:12]} has no ONNX model",
            hint="package it with one: mlops package MODEL --data DATA --runtime onnx",
        )
    inputs = [Input(one["name"], tuple(one["columns"]), one["kind"]) for one in record["inputs"]]
    return OnnxPredictor(
        session((folder / MODEL).read_bytes()).run, manifest, inputs, record["output"]
    )


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return what a package says of its ONNX model; None when none was asked for."""
    path = folder / RECORD
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else None


def session(content: bytes) -> Any:
    """Return an ``onnxruntime.InferenceSession`` of one thread that never spins.

    Raises
    ------
    MissingExtra
        ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingExtra("onnx", "ONNX models") from exc
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    # several workers share the cores; a spinning thread takes them from the gateway
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
