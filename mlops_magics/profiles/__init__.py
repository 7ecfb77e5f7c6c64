"""Profiles: what a table looks like, in numbers that add up.

One concept serves three uses: the profile of a dataset version, the reference profile inside a
package, and a monitoring window. A profile of training data chooses its own bins; a window uses
the bins of its reference, so windows, workers and machines merge by adding counts. The cost per
row is constant and the size does not grow with traffic.
"""

from mlops_magics.profiles.calibration import Calibration, calibrate
from mlops_magics.profiles.columns import Categorical, Column, Numeric
from mlops_magics.profiles.profile import Profile

__all__ = ["Calibration", "Categorical", "Column", "Numeric", "Profile", "calibrate"]
