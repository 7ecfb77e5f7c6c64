"""Widgets: live views for notebooks; their front end is built from ``extension/``."""

from __future__ import annotations

from mlops_magics.widgets.monitor import MonitorWidget
from mlops_magics.widgets.monitor import live as monitor

__all__ = ["MonitorWidget", "monitor"]
