"""LitServe: ``litserve_server.py MODEL PORT [SECONDS]``.

Batching on, with the ZeroMQ queue that its documentation advises for more than 100 requests a
second. A batch waits for so many seconds to fill; 0 takes what waits already, so that a single
client waits for nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import joblib
import litserve
import pandas as pd

Rows = list[list[Any]]


class Model(litserve.LitAPI):
    """A scikit-learn pipeline on the rows of several requests at once."""

    def setup(self, device: str) -> None:
        self.model = joblib.load(sys.argv[1])

    # not annotated: from an annotation LitServe would make a check of the request, which takes time
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return request["columns"], request["data"]

    def batch(self, inputs: list[tuple[list[str], Rows]]) -> tuple[pd.DataFrame, list[int]]:
        rows = [row for _, data in inputs for row in data]
        return pd.DataFrame(rows, columns=inputs[0][0]), [len(data) for _, data in inputs]

    def predict(self, batch: tuple[pd.DataFrame, list[int]]) -> tuple[list[Any], list[int]]:
        return self.model.predict(batch[0]).tolist(), batch[1]

    def unbatch(self, output: tuple[list[Any], list[int]]) -> list[list[Any]]:
        outputs, counts = output
        split, start = [], 0
        for count in counts:
            split.append(outputs[start : start + count])
            start += count
        return split

    def encode_response(self, output: list[Any]) -> dict[str, Any]:
        return {"predictions": output}


if __name__ == "__main__":
    wait = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    server = litserve.LitServer(
        Model(max_batch_size=256, batch_timeout=wait), accelerator="cpu", fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
