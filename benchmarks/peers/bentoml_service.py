"""BentoML: a service with a batchable endpoint; one worker, access log off.

``bentoml serve bentoml_service:Model``, the model's path in ``MODEL``.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Model:
    """A scikit-learn pipeline; adaptive batching puts the requests' lists one behind the other.

    With a DataFrame as the parameter's type the release that is pinned cannot form batches.
    """

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=2048, max_latency_ms=60_000)
    def predict(self, rows: list[dict[str, Any]]) -> list[Any]:
        return self.model.predict(pd.DataFrame(rows)).tolist()
