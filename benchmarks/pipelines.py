"""How long does a chain of six notebooks take, beside plain papermill one after another?

Each notebook imports pandas, scikit-learn and MLflow, as training notebooks do, and adds one to
what the one before it gave. Papermill's command is called six times; ours once, from a shell as
well, with its process's start, the database and MLflow's runs. Then ours again with nothing
changed: from a shell, and in a process that is there already, as a notebook or the agent has it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import interleaved, spread, table, write

NOTEBOOKS = 6
IMPORTS = "import mlflow\nimport pandas as pd\nfrom sklearn.ensemble import RandomForestClassifier"
OUTPUT = "import mlops_magics as mlops\nmlops.output('value', value + 1)"


def main() -> None:
    import mlops_magics as mlops

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    rounds = int(os.environ.get("MLOPS_BENCH_ROUNDS", "5"))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        root = Path(place)
        names = write_notebooks(root)
        workspace = mlops.Workspace.create(root)
        path = root / "pipeline.yaml"
        command = [sys.executable, "-m", "mlops_magics", "pipeline", "run", str(path)]
        environment = {**os.environ, "MLOPS_WORKSPACE": str(workspace.path)}

        def papermill() -> float:
            began = time.perf_counter()
            for value, name in enumerate(names):
                given = [f"{name}.ipynb", f"out-{name}.ipynb", "-p", "value", str(value)]
                call([sys.executable, "-m", "papermill", *given], root, environment)
            taken = time.perf_counter() - began
            assert output(root / f"out-{names[-1]}.ipynb") == NOTEBOOKS
            return taken

        def ours() -> float:
            taken = timed(lambda: call([*command, "--no-cache"], root, environment))
            newest = mlops.pipeline_run(workspace=workspace)
            assert {step.status for step in newest.steps} == {"FINISHED"}
            assert output(Path(newest.steps[-1].notebook)) == NOTEBOOKS
            return taken

        def cached() -> float:
            taken = timed(lambda: call(command, root, environment))
            newest = mlops.pipeline_run(workspace=workspace)
            assert {step.status for step in newest.steps} == {"CACHED"}
            assert output(Path(newest.steps[-1].notebook)) == NOTEBOOKS
            return taken

        def cached_here() -> float:
            return timed(lambda: mlops.run_pipeline(path, workspace=workspace))

        measures = {
            "papermill, one after another": papermill,
            "`mlops pipeline run`": ours,
            "`mlops pipeline run`, nothing changed": cached,
            "`run_pipeline`, nothing changed": cached_here,
        }
        taken = interleaved(measures, rounds=rounds)
        workspace.database.close()
    first = next(iter(taken.values()))
    rows = []
    for name, seconds in taken.items():
        shares = [mine / theirs for mine, theirs in zip(seconds, first, strict=True)]
        rows.append([name, spread(seconds, ".2f"), spread(shares, ".1%")])
    text = table(["six notebooks", "seconds", "of papermill's time"], rows)
    packages = ["mlops-magics", "papermill", "ipykernel", "mlflow", "pandas", "scikit-learn"]
    write("pipelines", text, taken, packages)


def write_notebooks(root: Path) -> list[str]:
    """Write the notebooks, and a pipeline of them; return their names."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    names = [f"step{number}" for number in range(NOTEBOOKS)]
    steps = []
    for before, name in zip(["", *names], names, strict=False):
        content = new_notebook(metadata=kernel)
        content.cells.append(new_code_cell("value: int = 0", metadata={"tags": ["parameters"]}))
        content.cells += [new_code_cell(IMPORTS), new_code_cell(OUTPUT)]
        nbformat.write(content, root / f"{name}.ipynb")
        value = f'"${{steps.{before}.outputs.value}}"' if before else "0"
        steps.append(f"  {name}: {{notebook: {name}.ipynb, parameters: {{value: {value}}}}}\n")
    (root / "pipeline.yaml").write_text("name: six\nsteps:\n" + "".join(steps))
    return names


def output(notebook: Path) -> int:
    """Return what an executed notebook gave."""
    import nbformat

    from mlops_magics.pipelines.outputs import collect

    return int(collect(nbformat.read(notebook, as_version=4).cells)["value"])


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def call(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    quiet = subprocess.DEVNULL
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=quiet, stderr=quiet)


if __name__ == "__main__":
    main()
