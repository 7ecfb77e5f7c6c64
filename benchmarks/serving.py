"""How many single-row requests a second, beside ``mlflow models serve``?

Same model, same row, same client (wrk), one model process each; ours with validation, inference
log and metrics on. Models as in the field's usual comparisons: m1, scaler and logistic regression
on 30 numeric columns; m2, a random forest of 100 trees behind imputing, scaling and one-hot
encoding of 18 mixed columns.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import interleaved, spread, table, write

SECONDS = 4


def models() -> dict[str, tuple[Any, Any, Any]]:
    """Name to fitted pipeline, training frame without and with target."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numeric, y1 = load_breast_cancer(return_X_y=True, as_frame=True)
    numeric.columns = [name.replace(" ", "_") for name in numeric.columns]
    m1 = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(numeric, y1)
    rng = np.random.default_rng(0)
    mixed = pd.DataFrame(rng.normal(size=(4000, 12)), columns=[f"n{i}" for i in range(12)])
    for i in range(6):
        mixed[f"c{i}"] = rng.choice([f"v{j}" for j in range(6)], 4000)
    mixed.iloc[::7, 0] = np.nan
    y2 = (mixed["n1"] + (mixed["c0"] == "v1") + rng.normal(size=4000) > 0.3).astype(int)
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), [f"n{i}" for i in range(12)]),
        (OneHotEncoder(handle_unknown="ignore"), [f"c{i}" for i in range(6)]),
    )
    m2 = make_pipeline(encode, RandomForestClassifier(100, random_state=0, n_jobs=1))
    return {"m1": (m1, numeric, y1), "m2": (m2.fit(mixed, y2), mixed, y2)}


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("this benchmark needs the load generator wrk; on Debian: apt-get install wrk")
    import mlops_magics as mlops
    from mlops_magics.store.workspace import Workspace

    figures: dict[str, Any] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(folder)
        try:
            for name, (model, frame, y) in models().items():
                data = frame.assign(y=y)
                report = mlops.test(model, data, "y", workspace=workspace)
                package = mlops.package(
                    model, data=data, target="y", report=report, workspace=workspace
                )
                mlops.register(package, name, workspace=workspace)
                endpoint = mlops.deploy(f"{name}/1", workspace=workspace)
                row = json.loads(frame.dropna().head(1).to_json(orient="split", index=False))
                body = json.dumps({"dataframe_split": row})
                with peer(Path(package.path), Path(folder)) as url:
                    targets = {
                        "mlflow models serve": (url, ""),
                        "mlops": (endpoint.url, workspace.token),
                    }
                    answers = {ask(*target, body) for target in targets.values()}
                    assert len(answers) == 1, answers
                    for clients in (1, 32):
                        taken = interleaved(
                            {
                                key: partial(load, *target, body, clients, Path(folder))
                                for key, target in targets.items()
                            },
                            rounds=5,
                        )
                        figures[f"{name}, {clients}"] = taken
                        middle = {key: statistics.median(v) for key, v in taken.items()}
                        ratio = [b / a for a, b in zip(*taken.values(), strict=True)]
                        rows.append(
                            [
                                f"{name}, {clients} client{'s' * (clients > 1)}",
                                *(f"{middle[key]:,.0f}" for key in targets),
                                spread(ratio, ".1f"),
                            ]
                        )
                        print("  " + "  ".join(rows[-1]), flush=True)
        finally:
            mlops.stop(workspace=workspace)
    text = table(["requests/s", "mlflow models serve", "mlops", "times"], rows)
    write("serving", text, figures, ["mlflow", "scikit-learn", "uvicorn", "msgspec"])


@contextmanager
def peer(package: Path, folder: Path) -> Iterator[str]:
    """Serve the package with MLflow's own server, one worker."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(package)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (folder / "peer.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise RuntimeError((folder / "peer.log").read_text())
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def ask(url: str, token: str, body: str) -> str:
    """One answer, to be compared before speed is."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, body.encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.dumps(json.load(answer)["predictions"])


def load(url: str, token: str, body: str, clients: int, folder: Path) -> float:
    """Requests a second under wrk; any answer but 200 is an error."""
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = {json.dumps(body)}\n"
        'wrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {token}"\n'
    )
    command = ["wrk", "-t1", f"-c{clients}", f"-d{SECONDS}s", "-s", str(script), url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(out)
    found = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert found, out
    return float(found[1])
