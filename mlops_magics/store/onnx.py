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
        import numpy as np

        super().__init__(run, manifest, self._answer_frame)
        self._run = run
        self._outputs = [output]
        (described,) = self.signature["outputs"]
        spec = described["tensor-spec"]
        self._shape = tuple(spec["shape"])
        self._dtype = None if spec["dtype"] == "object" else np.dtype(spec["dtype"])
        places = {name: index for index, name in enumerate(self.columns)}
        self._plan = [
            (each.name, [places[name] for name in each.columns], each.kind) for each in inputs
        ]

    def predict_columns(
        self, groups: Sequence[tuple[Sequence[int], Any]], rows: int
    ) -> np.ndarray[Any, Any]:
        """Predict for each row of Arrow columns.

        Parameters
        ----------
        groups : sequence of (places, pyarrow.Array)
            Columns of one type, one after another in the array, and their places in the signature.
        rows : int
            How many.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_outputs)
            As the native model gives it.
        """
        import numpy as np

        columns: list[Any] = [None] * len(self.columns)
        feeds = {}
        for places, values in groups:
            block = _values(values).reshape(len(places), rows)
            for place, column in zip(places, block, strict=True):
                columns[place] = column
        for name, chosen, kind in self._plan:
            if len(chosen) == 1:
                tensor = columns[chosen[0]].reshape(-1, 1)
            elif len(groups) == 1:  # the matrix as it came, and the signature's order is its own
                tensor = np.ascontiguousarray(block.T)
            else:
                tensor = np.stack([columns[place] for place in chosen], axis=1)
            feeds[name] = tensor if kind in ("str", tensor.dtype.name) else tensor.astype(kind)
        return self._shaped(self._run(self._outputs, feeds)[0])

    def predict_batch(self, batch: Any) -> np.ndarray[Any, Any]:
        """Predict for each row of a record batch that has the signature's columns, in its order."""
        groups = [((place,), column) for place, column in enumerate(batch.columns)]
        return self.predict_columns(groups, batch.num_rows)

    def _answer_frame(self, data: pd.DataFrame) -> np.ndarray[Any, Any]:
        import pyarrow as pa

        groups = []
        for place, name in enumerate(self.columns):
            array = pa.array(data[name], from_pandas=True)
            if hasattr(array, "dictionary"):
                array = array.dictionary_decode()
            groups.append(((place,), array))
        return self.predict_columns(groups, len(data))

    def _shaped(self, found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if found.ndim != len(self._shape):
            found = found.reshape(self._shape)
        if self._dtype is not None and found.dtype != self._dtype:
            found = found.astype(self._dtype)
        return found


def _values(array: Any) -> np.ndarray[Any, Any]:
    """Return an Arrow array's values; a missing number is NaN, a missing text `MISSING`."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_string(array.type) and not pa.types.is_large_string(array.type):
        found: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=False)
        # truth values with missing ones are objects; so is a column without any value
        return found.astype("float64") if found.dtype == object else found
    listed = array.to_pylist()
    if array.null_count:
        listed = [MISSING if each is None else each for each in listed]
    text = np.empty(len(listed), dtype=object)
    text[:] = listed
    return text


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
