"""Model testing: metrics with intervals, slices, calibration and gates."""

from mlops_magics.testing.checks import test
from mlops_magics.testing.report import TestReport

__all__ = ["TestReport", "test"]
