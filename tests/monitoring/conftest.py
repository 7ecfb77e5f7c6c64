"""An endpoint with a package and a log, without a server."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_magics.monitoring import log, windows
from mlops_magics.monitoring.references import References
from mlops_magics.packaging.folder import write_reference
from mlops_magics.settings import Settings
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace

START = 1_700_000_000.0


def features(rows: int, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "distance": random.normal(800 + shift * 200, 200, rows).round(1),
            "hour": random.integers(5, 23, rows),
            "origin": random.choice(["JFK", "LGA", "EWR"], rows),
        }
    )


def scores(frame: pd.DataFrame) -> np.ndarray:
    return 1 / (1 + np.exp(-(frame["hour"].to_numpy() - 14) / 3))


@pytest.fixture
def place(project, database_url, monkeypatch) -> Workspace:
    """A workspace whose database is each of the kinds."""
    monkeypatch.setenv("MLOPS_DATABASE_URL", database_url)
    workspace = Workspace(project, settings=Settings.load(project))
    yield workspace
    workspace.database.close()


@pytest.fixture(scope="session")
def reference_files(tmp_path_factory) -> Path:
    """What packaging writes for monitoring: profile, thresholds, bins of some rows."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "mlops").mkdir()
    train = features(4000, seed=99)
    write_reference(folder, train.assign(prediction=scores(train)))
    return folder


@pytest.fixture
def package(tmp_path, reference_files) -> Path:
    """The monitoring side of a classifier's package."""
    folder = shutil.copytree(reference_files, tmp_path / "packages" / "package") / "mlops"
    manifest = {
        "format": 1,
        "task": "classification",
        "predict_fn": "predict_proba",
        "classes": [0, 1],
        "target": "late",
    }
    report = {"metrics": [{"name": "roc_auc", "value": 0.9, "low": 0.89, "high": 0.91}]}
    for name, value in [("manifest", manifest), ("report", report)]:
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder.parent


def revision(workspace: Workspace, package: Path, endpoint: str = "flight-delay") -> int:
    """Write an endpoint with one revision that has all the traffic."""
    now = time.time()
    with workspace.database.begin() as connection:
        connection.execute(
            tables.endpoints.insert().values(
                name=endpoint,
                generation=1,
                traffic=[],
                settings={},
                workspace=workspace.id,
                created=now,
                updated=now,
            )
        )
        row = connection.execute(
            tables.revisions.insert().values(
                endpoint=endpoint,
                number=1,
                model=endpoint,
                version="1",
                package=str(package),
                digest="0" * 64,
                workers=1,
                status="SERVING",
                created=now,
                updated=now,
            )
        )
        key = int(row.inserted_primary_key[0])
        traffic = [{"revision": key, "variant": "champion", "percent": 100}]
        connection.execute(tables.endpoints.update().values(traffic=traffic))
    return key


def requests(
    count: int,
    revision: int,
    *,
    rows: int = 1,
    start: float = START,
    seconds: float = 60.0,
    seed: int = 0,
    shift: float = 0.0,
    failing: int = 0,
) -> list[log.Request]:
    """Make requests spread evenly over a time; every ``failing``-th is refused."""
    frame = features(count * rows, seed, shift)
    values = frame.to_numpy(dtype=object).tolist()
    outputs = [[1 - score, score] for score in scores(frame).tolist()]
    made = []
    for place in range(count):
        refused = failing and place % failing == failing - 1
        part = slice(place * rows, (place + 1) * rows)
        made.append(
            log.Request(
                id=f"{seed}-{start:.0f}-{place:06d}",
                t=start + seconds * place / count,
                endpoint="flight-delay",
                status=400 if refused else 200,
                ms=2.0 + place % 7,
                revision=revision,
                version="1",
                variant="champion",
                columns=list(frame.columns),
                rows=None if refused else values[part],
                outputs=None if refused else outputs[part],
                error="column 'hour' is missing" if refused else None,
            )
        )
    return made


def record(workspace: Workspace, made: list[log.Request]) -> None:
    """Load requests as the agent does."""
    with workspace.database.begin() as connection:
        log.insert(connection, made)
        windows.fold(connection, made, References())
