"""Prediction serving: the server's processes, and the client."""

from mlops_magics.serving.client import Predicted, predict

__all__ = ["Predicted", "predict"]
