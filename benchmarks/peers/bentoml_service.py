"""BentoML: a service with a batchable endpoint; one worker, access log off.

``bentoml serve bentoml_service:Model``, the model's path in ``MODEL``.
"""

from __future__ import annotations

import os

import bentoml
import joblib
import numpy as np
import pandas as pd


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Model:
    """A scikit-learn pipeline; adaptive batching concatenates the requests' frames."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=256, max_latency_ms=60_000)
    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        return self.model.predict(rows)
