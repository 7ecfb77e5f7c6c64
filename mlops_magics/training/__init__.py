"""ML development: tracked runs, logging to them, finding and comparing them."""

from mlops_magics.training.active import ActiveRun, log
from mlops_magics.training.catalogue import Run, Runs, runs
from mlops_magics.training.comparison import Comparison, compare_runs
from mlops_magics.training.history import Verdict, judge
from mlops_magics.training.notebook import Located, locate
from mlops_magics.training.session import run

__all__ = [
    "ActiveRun",
    "Comparison",
    "Located",
    "Run",
    "Runs",
    "Verdict",
    "compare_runs",
    "judge",
    "locate",
    "log",
    "run",
    "runs",
]
