"""MLflow's autologging, for the time of a run and for the libraries that are in use."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
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
    """Turn autologging on for the libraries that the block uses; off again at the end.

    One that the user has configured stays as configured.

    Parameters
    ----------
    mlflow : module
        The module, pointed at the store.

    Yields
    ------
    list of str
        The flavours turned on from the start, as ``mlflow.sklearn``; one whose library the block
        itself imports follows with that import.
    """
    settings = mlflow.utils.autologging_utils.AUTOLOGGING_INTEGRATIONS
    turned: dict[str, Any] = {}
    over = False

    def turn_on(name: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that MLflow has not been tested with
            autolog = importlib.import_module(name).autolog
            configured = settings.get(autolog.integration_name) or {"disable": True}
            if over or name in turned or not configured.get("disable", False):
                return
            known = inspect.signature(autolog).parameters
            autolog(**{key: value for key, value in _OPTIONS.items() if key in known})
            turned[name] = autolog

    # MLflow's own call of log_loss, not the user's; scikit-learn 1.9 warns of it at each fit
    renamed = ("ignore", re.compile("`y_pred` was renamed to `y_proba`"), FutureWarning, None, 0)
    warnings.filters.insert(0, renamed)  # type: ignore[attr-defined]  # a list, said to be a sequence
    try:
        for library, name in _FLAVOURS.items():
            if library in sys.modules:
                turn_on(name)
            elif importlib.util.find_spec(library) is not None:
                # a cell may import it as it goes; MLflow's own autolog() waits for that likewise
                mlflow.utils.import_hooks.register_post_import_hook(
                    lambda module, name=name: None if over else turn_on(name), library
                )
        yield list(turned)
    finally:
        over = True
        for autolog in turned.values():
            autolog(disable=True, silent=True)
        with contextlib.suppress(ValueError):  # the block has reset all filters
            warnings.filters.remove(renamed)  # type: ignore[attr-defined]  # as above
