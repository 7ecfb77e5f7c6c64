"""What is served in the benchmarks: fitted pipelines, and rows to ask them about.

m1, scaler and logistic regression on 30 numeric columns; m2, a random forest of 100 trees behind
imputing, scaling and one-hot encoding of 18 mixed columns; flights, the gradient boosting of the
story in ``notebooks/flight_delay``, trained on three real months.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Subject", "flights", "m1", "m2"]


@dataclass(frozen=True)
class Subject:
    """A model.

    Attributes
    ----------
    pipeline : Pipeline
        Fitted.
    features : DataFrame
        What it was trained on.
    target : Series
        Of the same rows.
    """

    name: str
    pipeline: Any
    features: pd.DataFrame
    target: Any

    def rows(self, count: int = 1) -> pd.DataFrame:
        """Return the first rows in which nothing is missing."""
        return self.features.dropna().head(count)

    def split(self, count: int = 1) -> dict[str, Any]:
        """Return rows as ``columns`` and ``data``."""
        found: dict[str, Any] = json.loads(self.rows(count).to_json(orient="split", index=False))
        return {"columns": found["columns"], "data": found["data"]}


def m1(times: int = 1) -> Subject:
    """Return m1, with its 30 columns as many times; the copies differ by a little noise."""
    import numpy as np
    import pandas as pd
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame, target = load_breast_cancer(return_X_y=True, as_frame=True)
    frame.columns = [name.replace(" ", "_") for name in frame.columns]
    rng = np.random.default_rng(0)
    parts = [frame]
    for copy in range(1, times):
        noise = rng.normal(1, 0.01, frame.shape)
        parts.append((frame * noise).add_suffix(f"_{copy}"))
    wide = pd.concat(parts, axis=1)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return Subject("m1", pipeline.fit(wide, target), wide, target)


def m2() -> Subject:
    """Return m2."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rng = np.random.default_rng(0)
    mixed = pd.DataFrame(rng.normal(size=(4000, 12)), columns=[f"n{i}" for i in range(12)])
    for i in range(6):
        mixed[f"c{i}"] = rng.choice([f"v{j}" for j in range(6)], 4000)
    mixed.iloc[::7, 0] = np.nan
    target = (mixed["n1"] + (mixed["c0"] == "v1") + rng.normal(size=4000) > 0.3).astype(int)
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), [f"n{i}" for i in range(12)]),
        (OneHotEncoder(handle_unknown="ignore"), [f"c{i}" for i in range(6)]),
    )
    pipeline = make_pipeline(encode, RandomForestClassifier(100, random_state=0, n_jobs=1))
    return Subject("m2", pipeline.fit(mixed, target), mixed, target)


def flights() -> Subject:
    """Return the flights' gradient boosting, trained on January to March."""
    folder = str(Path(__file__).parent.parent / "notebooks" / "flight_delay")
    if folder not in sys.path:
        sys.path.append(folder)
    import flights as story

    data = story.load([1, 2, 3])
    features, target = data[story.FEATURES], data[story.TARGET]
    return Subject("flights", story.boosting().fit(features, target), features, target)
