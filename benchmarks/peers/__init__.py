"""The peers: how each is installed, started and asked.

Each runs in an environment of its own, with our versions of what the model needs, so that all load
the very same pickled pipeline. Each gets the natural request of its own protocol, batching on,
access log off, one process with the model. `VARIANTS` are further settings of the same servers, for
finding out which is the best: ``MLOPS_BENCH_VARIANTS=1`` measures them too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.subjects import Subject

__all__ = ["CONSTANT", "MLFLOW", "PEERS", "PROTOTYPE", "VARIANTS", "Peer", "Site"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Site:
    """Where a server is started: interpreter, pickled model, MLflow's model, port, own folder."""

    python: str
    model: Path
    package: Path
    port: int
    folder: Path

    def tool(self, name: str) -> str:
        """Return a command of the same environment."""
        return str(Path(self.python).with_name(name))


@dataclass(frozen=True)
class Peer:
    """A server beside ours.

    Attributes
    ----------
    name : str
        In tables.
    environment : str
        Of ``peers/NAME.txt``; empty: our own.
    command : callable
        Makes the command line.
    path : str
        That is asked.
    body : callable
        Makes a request about some rows.
    answer : callable
        Takes the predictions out of an answer.
    variables : callable
        Makes further environment variables.
    packages : tuple of str
        Whose versions are reported.
    """

    name: str
    environment: str
    command: Callable[[Site], list[str]]
    path: str
    body: Callable[[Subject, int], dict[str, Any]]
    answer: Callable[[Any], list[Any]]
    variables: Callable[[Site], dict[str, str]] = field(default=lambda site: {})
    packages: tuple[str, ...] = ()


def _split(subject: Subject, count: int) -> dict[str, Any]:
    return subject.split(count)


def _dataframe_split(subject: Subject, count: int) -> dict[str, Any]:
    return {"dataframe_split": subject.split(count)}


def _records(subject: Subject, count: int) -> dict[str, Any]:
    return {"rows": json.loads(subject.rows(count).to_json(orient="records"))}


def _tensors(subject: Subject, count: int) -> dict[str, Any]:
    """Open Inference Protocol, a column an input, as MLServer's pandas codec takes it."""
    inputs = []
    for name, values in subject.rows(count).items():
        kind = {"f": "FP64", "i": "INT64"}.get(getattr(values.dtype, "kind", "O"), "BYTES")
        tensor = {"name": name, "shape": [count, 1], "datatype": kind, "data": values.tolist()}
        if kind == "BYTES":
            tensor["parameters"] = {"content_type": "str"}
        inputs.append(tensor)
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}


def _predictions(answer: Any) -> list[Any]:
    return list(answer["predictions"])


def _mlserver(site: Site, workers: int = 0, wait: float = 0.005) -> list[str]:
    settings = {
        "debug": False,
        "parallel_workers": workers,
        "host": "127.0.0.1",
        "http_port": site.port,
        "grpc_port": site.port + 1,
        "metrics_port": site.port + 2,
        "use_structured_logging": False,
    }
    model = {
        "name": "model",
        "implementation": "mlserver_runtime.Pipeline",
        "max_batch_size": 64,
        "max_batch_time": wait,
        "parameters": {"uri": str(site.model)},
    }
    (site.folder / "settings.json").write_text(json.dumps(settings))
    (site.folder / "model-settings.json").write_text(json.dumps(model))
    runtime = _HERE / "mlserver_runtime.py"
    (site.folder / runtime.name).write_bytes(runtime.read_bytes())
    return [site.tool("mlserver"), "start", str(site.folder)]


def _bentoml(site: Site) -> list[str]:
    service = _HERE / "bentoml_service.py"
    (site.folder / service.name).write_bytes(service.read_bytes())
    command = [site.tool("bentoml"), "serve", "bentoml_service:Model"]
    return [
        *command,
        "--working-dir",
        str(site.folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(site.port),
    ]


def _script(name: str) -> Callable[[Site], list[str]]:
    return lambda site: [site.python, str(_HERE / name), str(site.model), str(site.port)]


def _mlflow(site: Site) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(site.package)]
    return [*command, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(site.port)]


MLFLOW = Peer(
    "mlflow models serve",
    "",
    _mlflow,
    "/invocations",
    _dataframe_split,
    _predictions,
    packages=("mlflow",),
)

PEERS = (
    MLFLOW,
    Peer(
        "MLServer",
        "mlserver",
        _mlserver,
        "/v2/models/model/infer",
        _tensors,
        lambda answer: list(answer["outputs"][0]["data"]),
        packages=("mlserver",),
    ),
    Peer(
        "BentoML",
        "bentoml",
        _bentoml,
        "/predict",
        _records,
        list,
        variables=lambda site: {
            "MODEL": str(site.model),
            "BENTOML_HOME": str(site.folder),
            "BENTOML_DO_NOT_TRACK": "True",
        },
        packages=("bentoml",),
    ),
    Peer(
        "LitServe",
        "litserve",
        _script("litserve_server.py"),
        "/predict",
        _split,
        _predictions,
        packages=("litserve",),
    ),
    Peer(
        "Ray Serve",
        "ray",
        _script("ray_deployment.py"),
        "/predict",
        _split,
        _predictions,
        variables=lambda site: {"RAY_USAGE_STATS_ENABLED": "0"},
        packages=("ray",),
    ),
)

_BY_NAME = {kind.name: kind for kind in PEERS}

VARIANTS = (
    replace(
        _BY_NAME["MLServer"],
        name="MLServer, a worker",
        command=lambda site: _mlserver(site, workers=1),
    ),
    replace(
        _BY_NAME["MLServer"],
        name="MLServer, 1 ms",
        command=lambda site: _mlserver(site, wait=0.001),
    ),
    replace(
        _BY_NAME["LitServe"],
        name="LitServe, 2 ms",
        command=lambda site: [*_script("litserve_server.py")(site), "0.002"],
    ),
    replace(
        _BY_NAME["Ray Serve"],
        name="Ray Serve, for throughput",
        variables=lambda site: {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        },
    ),
)

PROTOTYPE = Peer(
    "bare prototype",
    "prototype",
    _script("prototype.py"),
    "/",
    _dataframe_split,
    _predictions,
)

CONSTANT = Peer(
    "constant answer",
    "prototype",
    lambda site: [site.python, str(_HERE / "prototype.py"), "constant", str(site.port)],
    "/",
    _dataframe_split,
    _predictions,
)
