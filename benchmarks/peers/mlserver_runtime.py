"""MLServer: a runtime that loads the pipeline with our own release of scikit-learn.

Its scikit-learn runtime takes NumPy arrays, which these models' columns of text are not. ``mlserver
start FOLDER``; the folder holds ``settings.json`` and ``model-settings.json``, which the benchmark
writes, and this file.
"""

from __future__ import annotations

import joblib
import pandas as pd
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Pipeline(MLModel):
    """A scikit-learn pipeline on a DataFrame."""

    async def load(self) -> bool:
        self.model = joblib.load(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        frame: pd.DataFrame = self.decode_request(payload, default_codec=PandasCodec)
        output = NumpyCodec.encode_output("predict", self.model.predict(frame))
        return InferenceResponse(model_name=self.name, outputs=[output])
