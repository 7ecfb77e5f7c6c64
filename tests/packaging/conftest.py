"""Real models on mixed columns with nulls."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder


@pytest.fixture(scope="session")
def flights() -> pd.DataFrame:
    """Features of mixed types with nulls, and a target that depends on them."""
    random, rows = np.random.default_rng(0), 600
    data = pd.DataFrame(
        {
            "hour": random.integers(0, 24, rows),
            "distance": random.normal(900, 300, rows),
            "origin": random.choice(["EWR", "JFK", "LGA"], rows),
            "wind": random.normal(10, 4, rows),
        }
    )
    data.loc[::7, "wind"] = np.nan
    data.loc[::11, "origin"] = None
    data["late"] = ((data["hour"] > 15) ^ (random.random(rows) < 0.15)).astype(int)
    return data


@pytest.fixture(scope="session")
def pipeline(flights) -> Pipeline:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(
        make_column_transformer((encoder, ["origin"]), remainder="passthrough"),
        HistGradientBoostingClassifier(max_iter=20, random_state=0),
    )
    return model.fit(flights.drop(columns="late"), flights["late"])
