"""A step runs again when something that it depends on has changed, and says what."""

import json
import os
import shutil
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import mlops_magics as mlops
from mlops_magics.pipelines import environments, specification
from mlops_magics.pipelines.cache import Cache
from mlops_magics.pipelines.inputs import Inputs
from mlops_magics.pipelines.runner import run_pipeline
from mlops_magics.store.workspace import Workspace

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
MLOPS = "import mlops_magics as mlops\n"
SPECIFICATION = """
name: p
parameters: {number: 3}
steps:
  double: {notebook: double.ipynb, parameters: {number: "${parameters.number}"}}
  count: {notebook: count.ipynb, parameters: {start: "${steps.double.outputs.value}"}}
  last: {notebook: last.ipynb, needs: [count], inputs: ["rules/*.txt"]}
"""


class Project:
    """A pipeline of three steps that has run once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace.find(root)
        self.write("helper.py", "import inner\nTWO = inner.TWO\n")
        self.write("inner.py", "TWO = 2\n")
        self.write("data.csv", "a\n1\n")
        self.write("rules/one.txt", "first")
        value = "import helper\nmlops.output('value', number * helper.TWO)"
        self.notebook("double", MLOPS + value, parameters="number: int = 1")
        rows = "rows = open('data.csv').read().splitlines()"
        self.notebook(
            "count",
            MLOPS + rows,
            "import pathlib\n_ = pathlib.Path('made.txt').write_text(str(start))",
            "mlops.output('rows', start + len(rows))\nmlops.output('made', 'made.txt')",
            parameters="start: int",
        )
        self.notebook("last", "1 + 1")
        self.write("pipeline.yaml", SPECIFICATION)
        self.path = root / "pipeline.yaml"
        self.first = run_pipeline(self.path, workspace=self.workspace)
        self.reset()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def notebook(self, name: str, *cells: str, parameters: str | None = None) -> None:
        content = new_notebook(metadata=KERNEL)
        if parameters:
            content.cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        content.cells += [new_code_cell(cell) for cell in cells]
        nbformat.write(content, self.root / f"{name}.ipynb")

    def reset(self) -> None:
        self._kept = {
            path: path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and ".mlops" not in path.parts
        }

    def restore(self) -> None:
        for path in self.root.rglob("*"):
            if path.is_file() and ".mlops" not in path.parts and path not in self._kept:
                path.unlink()
        for path, content in self._kept.items():
            path.write_bytes(content)

    def reason(self, step: str, **parameters: object) -> str | None:
        """Say why a step would run now; None: it would not."""
        pipeline = specification.read(self.path)
        cache = Cache(self.workspace, pipeline)
        former = next(one for one in self.first.steps if one.step == step)
        origins = {one.step: self.first.id for one in self.first.steps}
        given = {**former.parameters, **parameters}
        plan = cache.plan(pipeline.steps[step], given, origins)
        return None if plan.kept else plan.reason


@pytest.fixture(scope="module")
def shared(tmp_path_factory, workspace_template):
    root = tmp_path_factory.mktemp("cache") / "project"
    shutil.copytree(workspace_template, root)
    (root / ".mlops" / "token").unlink(missing_ok=True)
    project = Project(root)
    yield project
    project.workspace.database.close()


@pytest.fixture
def ran(shared):
    yield shared
    shared.restore()


def test_the_first_run_says_so_and_nothing_changed_is_all_cached(ran):
    assert {one.reason for one in ran.first.steps} == {"first run"}
    events = []
    record = run_pipeline(ran.path, workspace=ran.workspace, watch=events.append)
    assert record.status == "FINISHED"
    assert {one.status for one in record.steps} == {"CACHED"}
    assert {one.cached_from for one in record.steps} == {ran.first.id}
    assert record.outputs == ran.first.outputs
    # the executed notebooks are this run's own
    for step, former in zip(record.steps, ran.first.steps, strict=True):
        assert Path(step.notebook).parent == Path(record.folder)
        assert Path(step.notebook).read_bytes() == Path(former.notebook).read_bytes()
        assert Path(step.notebook).stat().st_mode & 0o777 == 0o600
    assert [one.kind for one in events] == ["run", "status", "status", "status"]
    # MLflow has a child of each, which says where its outcome is from
    client = ran.workspace.tracking.client
    children = [client.get_run(one.run_id) for one in record.steps]
    assert {one.data.tags["mlops.cached_from"] for one in children} == {ran.first.id}
    assert {one.info.status for one in children} == {"FINISHED"}
    assert children[1].data.metrics["rows"] == 8
    assert client.get_run(record.run_id).info.status == "FINISHED"


def test_each_change_is_told_by_what_changed(ran):
    assert ran.reason("double") is None
    assert ran.reason("double", number=4) == "parameter number: 3 → 4"
    ran.notebook("last", "1 + 1", "2 + 2")
    assert ran.reason("last") == "notebook changed: a cell more, at the end"
    ran.notebook("last", "1 + 3")
    assert ran.reason("last") == "notebook changed: cell 1"
    ran.write("inner.py", "TWO = 3\n")
    assert ran.reason("double") == "module inner.py changed"
    assert ran.reason("count") is None
    ran.write("data.csv", "a\n2\n")
    assert ran.reason("count") == "input data.csv changed"
    ran.restore()
    ran.write("rules/two.txt", "second")
    assert ran.reason("last") == "input rules/*.txt changed"
    ran.restore()
    (ran.root / "made.txt").unlink()
    assert ran.reason("count") == "its output file made.txt is gone"
    ran.write("made.txt", "other")
    assert ran.reason("count") == "its output file made.txt changed"
    assert ran.reason("count", start=7) == "step double before it gave another start"


def test_a_new_version_in_the_environment_is_named(ran, monkeypatch):
    now = environments.installed()
    changed = {**now, "pandas": "9.9.9"}
    monkeypatch.setattr(environments, "installed", lambda: changed)
    assert ran.reason("last") == f"environment changed: pandas {now['pandas']} → 9.9.9"


def test_a_run_without_its_notebook_is_not_taken(ran):
    notebook = Path(ran.first.steps[2].notebook)
    kept = notebook.read_bytes()
    notebook.unlink()
    try:
        assert "is gone" in ran.reason("last")
    finally:
        notebook.write_bytes(kept)


def test_what_cannot_be_compared_runs(ran):
    ran.notebook("last", "import pandas as pd\npd.read_csv('https://example.org/a.csv')")
    why = "cannot be cached: its code reads https://example.org/a.csv"
    assert ran.reason("last") == why
    ran.notebook("last", "1 + 1", parameters="source: str = ''")
    told = ran.reason("last", source="postgresql://ann:pw@db/flights")
    assert told == "cannot be cached: parameter source names postgresql://db/flights"


def test_one_change_runs_again_exactly_what_depends_on_it(ran):
    ran.write("data.csv", "a\n1\n2\n")
    record = run_pipeline(ran.path, workspace=ran.workspace)
    assert [(one.step, one.status, one.reason) for one in record.steps] == [
        ("double", "CACHED", f"unchanged since run {ran.first.id}"),
        ("count", "FINISHED", "input data.csv changed"),
        ("last", "FINISHED", "step count ran again"),
    ]
    again = run_pipeline(ran.path, workspace=ran.workspace)
    assert [one.cached_from for one in again.steps] == [ran.first.id, record.id, record.id]


def test_without_the_cache_every_step_runs_and_its_outcome_can_be_taken_later(ran):
    path = ran.root / "last.ipynb"
    record = run_pipeline(path, workspace=ran.workspace)
    off = run_pipeline(path, workspace=ran.workspace, cache=False)
    assert off.steps[0].status == "FINISHED"
    assert off.steps[0].reason == "the run's cache is off"
    assert off.steps[0].key == record.steps[0].key
    ran.write("pipeline.yaml", "name: last\nsteps: {last: {notebook: last.ipynb, cache: false}}\n")
    assert ran.reason("last") == "the step's cache is off"


def test_a_dataset_counts_by_its_content_whether_by_name_or_version(workspace):
    import pandas as pd

    one = mlops.ingest(pd.DataFrame({"a": [1]}), "flights", workspace=workspace)
    inputs = Inputs(workspace)

    def digests(*values):
        inputs.refresh()
        return inputs.of_values({"data": list(values)}, workspace.root, ()).digests

    assert digests("flights") == {"dataset flights": one.digest}
    two = mlops.ingest(pd.DataFrame({"a": [2]}), "flights", workspace=workspace)
    assert digests("flights", "flights/1", "flights/9") == {
        "dataset flights": two.digest,
        "dataset flights/1": one.digest,
    }
    Path(two.path).unlink()
    assert digests("flights") == {}  # there is nothing to read


def test_an_alias_counts_by_the_version_that_it_stands_for_and_a_name_by_its_newest_run(workspace):
    client, experiment = workspace.tracking.client, workspace.tracking.experiment_id
    run = client.create_run(experiment, run_name="boosting").info.run_id
    client.create_registered_model("flights")
    for number in ("1", "2"):
        made = client.create_model_version("flights", f"file:///{number}", run)
        client.set_registered_model_alias("flights", "champion", made.version)
    values = {"model": "models:/flights@champion", "run": "boosting", "other": "models:/no/1"}
    found = Inputs(workspace).of_values(values, workspace.root, ())
    assert found.digests == {
        "model models:/flights@champion": "flights/2",
        "run boosting": run,
    }
    assert found.unknown == []
    # outputs that name what was deleted since are gone
    assert Inputs(workspace).of_outputs({"run": run}, workspace.root) == {f"run {run}": run}
    client.delete_run(run)
    assert Inputs(workspace).of_outputs({"run": run}, workspace.root) == {}


def test_a_large_file_is_read_once_as_long_as_it_is_not_written(workspace, monkeypatch):
    path = workspace.root / "large.bin"
    path.write_bytes(b"x" * 2_000_000)
    os.utime(path, (time.time() - 60,) * 2)
    first = Inputs(workspace)
    digest = first.of_declared(["large.bin"], workspace.root).digests["file large.bin"]
    first.keep()
    assert json.loads((workspace.path / "pipelines" / "digests.json").read_text())
    state = path.stat()
    path.write_bytes(b"y" * 2_000_000)
    assert Inputs(workspace).of_declared(["large.bin"], workspace.root).digests != {
        "file large.bin": digest
    }
    # what the file system cannot tell apart is taken for the same
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert Inputs(workspace).of_declared(["large.bin"], workspace.root).digests == {
        "file large.bin": digest
    }
