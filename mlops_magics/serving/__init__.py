"""Prediction serving: the server's processes, and the client."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_magics.serving.client import Predicted as Predicted
    from mlops_magics.serving.client import predict as predict

__all__ = ["Predicted", "predict"]


def __getattr__(name: str) -> Any:
    # the server's own processes need no client
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.client"), name)
