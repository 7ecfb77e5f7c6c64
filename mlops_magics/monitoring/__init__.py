"""Continuous monitoring: the inference table, windows, drift, labels, quality, pictures."""

from mlops_magics.monitoring.labels import Feedback, feedback
from mlops_magics.monitoring.picture import MonitorPicture, monitor
from mlops_magics.monitoring.table import Prediction, Predictions, predictions

__all__ = [
    "Feedback",
    "MonitorPicture",
    "Prediction",
    "Predictions",
    "feedback",
    "monitor",
    "predictions",
]
