"""Continuous monitoring: the inference table, windows, drift, labels, quality, pictures."""

from mlops_magics.monitoring.difference import DriftReport
from mlops_magics.monitoring.labels import Feedback, feedback
from mlops_magics.monitoring.picture import MonitorPicture, monitor
from mlops_magics.monitoring.table import Prediction, Predictions, predictions

__all__ = [
    "DriftReport",
    "Feedback",
    "MonitorPicture",
    "Prediction",
    "Predictions",
    "feedback",
    "monitor",
    "predictions",
]
