"""Strange values: those that the training data did not have, which no test can have measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from mlops_magics.measures.cut import Cut
from mlops_magics.profiles import Categorical, Profile

if TYPE_CHECKING:
    from mlops_magics.profiles.columns import Column

__all__ = ["shares", "words"]

LEAST = 0.05


def shares(frame: pd.DataFrame, profile: Profile) -> dict[str, float]:
    """Return by column the share of values outside of the reference's range or categories.

    Examples
    --------
    >>> train = Profile.of(pd.DataFrame({"hour": [6, 22], "origin": ["JFK", "LGA"]}))
    >>> shares(pd.DataFrame({"hour": [5, 7], "origin": ["JFK", "JFK"]}), train)
    {'hour': 0.5, 'origin': 0.0}
    """
    found = {}
    for name, column in profile.columns.items():
        if name not in frame.columns or not frame[name].notna().any():
            continue
        share = _share(frame[name], column)
        if share is not None:
            found[name] = share
    return found


def words(found: Mapping[str, float]) -> list[str]:
    """Say which columns are outside too often for an estimate to be trusted."""
    far = sorted(((share, name) for name, share in found.items() if share >= LEAST), reverse=True)
    if not far:
        return []
    named = ", ".join(f"{name} ({share:.0%})" for share, name in far[:3])
    return [f"the estimate is unsure here: values that the training data did not have in {named}"]


def _share(values: pd.Series, column: Column) -> float | None:
    present = values.dropna()
    if isinstance(column, Categorical):
        if not column.complete:
            return None
        cut = Cut(str(values.name), values=column.categories)
        return float((cut.parts(present) < 0).mean())
    low, high = getattr(column, "min", None), getattr(column, "max", None)
    if column.type != "numeric" or low is None or high is None:
        return None
    numbers = pd.to_numeric(present, errors="coerce")
    return float(((numbers < low) | (numbers > high)).mean())
