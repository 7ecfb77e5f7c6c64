"""Measures: how good predictions are, with intervals; in testing and in production the same.

What the testing stage found on held-out rows travels in the package as a `Baseline`; monitoring
measures the labelled predictions of a window in the same way and compares the two.
"""

from mlops_magics.measures.metric import Metric
from mlops_magics.measures.outcomes import Outcomes

__all__ = ["Metric", "Outcomes"]
