"""A real server with a real pipeline on mixed columns, for all tests of the gateway."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import httpx
import numpy as np
import pandas as pd
import pytest

import mlops_magics as mlops
from mlops_magics.store.workspace import Workspace


def mixed_rows(count: int = 400) -> pd.DataFrame:
    """Rows of every plain kind: integers of both sizes, numbers with nulls, text, truth values."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "hour": rng.integers(0, 24, count),
            "seats": rng.integers(20, 300, count).astype("int32"),
            "wind": rng.normal(10, 4, count),
            "carrier": rng.choice(["UA", "DL", "AA"], count),
            "weekend": rng.random(count) < 0.3,
        }
    )
    rows.loc[rng.random(count) < 0.2, "wind"] = np.nan
    return rows


@dataclass
class Served:
    """A deployed endpoint and what is behind it."""

    workspace: Workspace
    model: object
    rows: pd.DataFrame
    url: str

    def client(self, **headers: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.workspace.token}"} | headers
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def values(self, index: int = 0) -> dict[str, object]:
        """One row as JSON values."""
        row = self.rows.astype(object).where(self.rows.notna(), None).iloc[index]
        return {name: getattr(v, "item", lambda v=v: v)() for name, v in row.items()}


@pytest.fixture(scope="package")
def served(tmp_path_factory, workspace_template):
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    root = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(workspace_template, root)
    (root / ".mlops" / "token").unlink(missing_ok=True)
    workspace = Workspace.find(root)
    rows = mixed_rows()
    late = (rows["hour"] + (rows["carrier"] == "UA") * 8 > 14).astype(int)
    model = make_pipeline(
        make_column_transformer(
            (SimpleImputer(), ["hour", "seats", "wind"]),
            (OneHotEncoder(handle_unknown="ignore"), ["carrier", "weekend"]),
        ),
        LogisticRegression(max_iter=500),
    ).fit(rows, late)
    packaged = mlops.package(
        model, name="mixed", data=rows, predict_fn="predict_proba", workspace=workspace
    )
    endpoint = mlops.deploy(packaged, "mixed", workspace=workspace)
    yield Served(workspace, model, rows, endpoint.url.split("/endpoints/")[0])
    mlops.stop(workspace=workspace)
    workspace.database.close()
