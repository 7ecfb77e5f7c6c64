"""MLflow's own client and commands deploy to us: the target ``mlops``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mlops_magics as mlops

ROWS = [{"x": 1.5, "n": 1}, {"x": 2.0, "n": 2}]


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """Our entry points as pip would install them."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["mlflow.deployments"]
    place = tmp_path / "site" / "plugin-1.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    lines = ["[mlflow.deployments]", *(f"{name} = {value}" for name, value in points.items())]
    (place / "entry_points.txt").write_text("\n".join(lines) + "\n")
    found = [str(place.parent), str(Path(mlops.__file__).parents[1])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found))
    monkeypatch.syspath_prepend(str(place.parent))
    return place.parent


def mlflow(*arguments: str) -> str:
    command = [sys.executable, "-m", "mlflow", "deployments", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_mlflow_s_commands_and_client_manage_endpoints(workspace, packaged, installed):
    from mlflow.deployments import get_deploy_client
    from mlflow.deployments.interface import plugin_store
    from mlflow.exceptions import MlflowException

    model = packaged("double").uri
    # as processes, in the project's folder
    made = mlflow("create", "-t", "mlops", "--name", "e", "-m", model, "-C", "workers=1")
    assert "python_function deployment e is created" in made or "deployment e is created" in made
    Path("rows.json").write_text(json.dumps(ROWS))
    told = json.loads(mlflow("predict", "-t", "mlops", "--name", "e", "-I", "rows.json"))
    assert told["predictions"] == [3.0, 4.0]

    plugin_store.register_entrypoints()
    client = get_deploy_client("mlops")
    assert client.predict("e", ROWS).get_predictions()[0].tolist() == [3.0, 4.0]
    split = {"dataframe_split": {"columns": ["x", "n"], "data": [[1.5, 1]]}}
    assert client.predict(endpoint="e", inputs=split)["predictions"] == [3.0]
    assert [one["name"] for one in client.list_deployments()] == ["e"]
    assert client.get_endpoint("e")["state"] == "serving"

    client = get_deploy_client(f"mlops:{workspace.root}")
    updated = client.update_deployment("e", packaged("triple").uri, config={"retention": "7d"})
    assert (updated["revision"], updated["policy"]["retention"]) == (2, 7 * 86400)
    assert client.predict("e", ROWS)["predictions"] == [4.5, 6.0]
    refused = {
        "RESOURCE_ALREADY_EXISTS": lambda: client.create_deployment("e", model),
        "RESOURCE_DOES_NOT_EXIST": lambda: client.get_deployment("f"),
        "INVALID_PARAMETER_VALUE": lambda: client.predict("e", [{"x": "text", "n": 1}]),
    }
    for code, call in refused.items():
        with pytest.raises(MlflowException) as info:
            call()
        assert info.value.error_code == code
    with pytest.raises(MlflowException, match=r"no config 'worker'.*\n.*did you mean 'workers'"):
        client.update_deployment("e", config={"worker": "2"})
    client.delete_deployment("e")
    client.delete_deployment("e")
    assert client.list_endpoints() == []
    with pytest.raises(MlflowException, match="was deleted"):
        client.get_deployment("e")
