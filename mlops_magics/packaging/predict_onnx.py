"""Predict with a package's ONNX model; NumPy and ONNX Runtime are all that this needs.

``python predict_onnx.py`` beside ``onnx.json``, in a package's folder ``mlops``, answers the golden
rows and compares. Take `predict` into a program of your own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


def predict(session: Any, record: dict[str, Any], rows: dict[str, Sequence[Any]]) -> Any:
    """Answer for rows given as columns: name to values, None where one is missing."""
    feeds = {}
    for one in record["inputs"]:
        columns = [rows[name] for name in one["columns"]]
        missing = record["missing"] if one["kind"] == "str" else np.nan
        values = [[missing if each is None else each for each in column] for column in columns]
        kind = object if one["kind"] == "str" else one["kind"]
        feeds[one["name"]] = np.array(values, dtype=kind).T
    return session.run([record["output"]], feeds)[0]


def main() -> None:
    """Answer the golden rows."""
    folder = Path(__file__).resolve().parent
    record = json.loads((folder / "onnx.json").read_text("utf-8"))
    golden = json.loads((folder / "golden.json").read_text("utf-8"))
    columns = zip(*golden["inputs"]["data"], strict=True)
    rows = dict(zip(golden["inputs"]["columns"], columns, strict=True))
    session = onnxruntime.InferenceSession(folder.parent / "model.onnx")
    answers = predict(session, record, rows)
    native = np.array(golden["outputs"], dtype=answers.dtype).reshape(answers.shape)
    if answers.dtype == object:
        same = bool((answers == native).all())
    else:
        allowed = record["tolerance"]
        same = np.allclose(answers, native, rtol=allowed["relative"], atol=allowed["absolute"])
    print(json.dumps({"same": same, "answers": answers.tolist()}))  # noqa: T201 - a program


if __name__ == "__main__":
    main()
