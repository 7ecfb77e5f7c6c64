"""MLflow's autologging, for the time of a run and for the libraries that are in use."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__all__ = ["autologging"]

_FLAVOURS = {
    "sklearn": "mlflow.sklearn",
    "xgboost": "mlflow.xgboost",
    "lightgbm": "mlflow.lightgbm",
    "statsmodels": "mlflow.statsmodels",
    "keras": "mlflow.keras",
    "lightning": "mlflow.pytorch",
    "pytorch_lightning": "mlflow.pytorch",
}
# a model is packaged by its own verb, and data are recorded by our digests
_OPTIONS: dict[str, Any] = {
    "log_models": False,
    "log_datasets": False,
    "log_input_examples": False,
    "log_model_signatures": False,
    "silent": True,
}


@contextlib.contextmanager
def autologging(mlflow: ModuleType) -> Iterator[list[str]]:
    """Turn autologging on for the libraries that are imported already; off again at the end.

    One that the user has configured stays as configured.

    Parameters
    ----------
    mlflow : module
        The module, pointed at the store.

    Yields
    ------
    list of str
        The flavours turned on, as ``mlflow.sklearn``.
    """
    settings = mlflow.utils.autologging_utils.AUTOLOGGING_INTEGRATIONS
    turned: dict[str, Any] = {}
    # MLflow's own call of log_loss, not the user's; scikit-learn 1.9 warns of it at each fit
    renamed = ("ignore", re.compile("`y_pred` was renamed to `y_proba`"), FutureWarning, None, 0)
    warnings.filters.insert(0, renamed)  # type: ignore[attr-defined]  # a list, said to be a sequence
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that MLflow has not been tested with
            for library, name in _FLAVOURS.items():
                if library not in sys.modules:
                    continue
                autolog = importlib.import_module(name).autolog
                configured = settings.get(autolog.integration_name) or {"disable": True}
                if name in turned or not configured.get("disable", False):
                    continue
                known = inspect.signature(autolog).parameters
                autolog(**{key: value for key, value in _OPTIONS.items() if key in known})
                turned[name] = autolog
        yield list(turned)
    finally:
        for autolog in turned.values():
            autolog(disable=True, silent=True)
        with contextlib.suppress(ValueError):  # the block has reset all filters
            warnings.filters.remove(renamed)  # type: ignore[attr-defined]  # as above
