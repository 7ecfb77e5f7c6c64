"""A workflow is what its host's schema allows, and its commands do in a clean checkout."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from check_jsonschema import main as check_schema
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook

import mlops_magics as mlops
from mlops_magics.cli import main
from mlops_magics.errors import InvalidArgument, SpecInvalid, UnknownName
from mlops_magics.store.workspace import Workspace

pytestmark = pytest.mark.xdist_group("continuous")

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
PREPARE = """\
import mlops_magics as mlops
hours = [number % 24 for number in range(rows)]
late = [hour > 12 for hour in hours]
assert any(late) and not all(late), "only one class is left"
mlops.output("rows", rows)"""
DESCEND = """\
import math
slope, loss = 1.0, 1.0
for step in range(20):  # a descent that a large rate lets explode
    slope -= rate * 2 * slope
    loss = slope * slope - (slope * slope - loss) / 2
if not math.isfinite(loss):
    raise FloatingPointError(f"the loss is {loss}")"""
TRAIN = """\
import pandas as pd
from sklearn.linear_model import LogisticRegression
import mlops_magics as mlops
frame = pd.DataFrame({"hour": [number % 24 for number in range(rows)]})
frame["late"] = (frame["hour"] + [number % 7 for number in range(rows)] > 14).astype(int)
model = LogisticRegression().fit(frame[["hour"]], frame["late"])
mlops.test(model, frame, "late", min={"roc_auc": floor}, name="tiny")"""
SPECIFICATION = """\
name: tiny
parameters: {rows: 5000, floor: 0.8}
smoke: {rows: 200}
steps:
  prepare: {notebook: prepare.ipynb, parameters: {rows: "${parameters.rows}"}}
  train:
    notebook: train.ipynb
    parameters:
      rows: ${steps.prepare.outputs.rows}
      floor: ${parameters.floor}
"""


def git(folder, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A project as somebody keeps it in git."""
    root = tmp_path_factory.mktemp("repository")
    folder = root / "flights"
    folder.mkdir()
    for name, parameters, *cells in [
        ("prepare", "rows: int = 100\nrate: float = 0.1", PREPARE, DESCEND),
        ("train", "rows: int\nfloor: float = 0.8", TRAIN),
    ]:
        first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        book = new_notebook(metadata=KERNEL, cells=[first, *map(new_code_cell, cells)])
        nbformat.write(book, folder / f"{name}.ipynb")
    (folder / "pipeline.yaml").write_text(SPECIFICATION)
    (root / "requirements.txt").write_text("mlops-magics\nscikit-learn\n")
    (root / ".gitignore").write_text(".mlops/\n")
    git(root, "init")
    return root


@pytest.fixture(scope="module")
def checkout(repository, tmp_path_factory):
    """A clean checkout with the workflow that was written: its folder and its steps' commands."""
    written = mlops.ci("github", repository / "flights", champion="tiny")
    git(repository, "add", "-A")
    git(repository, "commit", "-m", "All of it")
    clone = tmp_path_factory.mktemp("checkout") / "clone"
    git(repository, "clone", str(repository), str(clone))
    workflow = yaml.safe_load((clone / ".github" / "workflows" / "mlops.yml").read_text())
    steps = {step["name"]: step for step in workflow["jobs"]["pipeline"]["steps"] if "name" in step}
    assert steps.pop("Install")["run"] == (
        "python -m pip install -r requirements.txt\npython -m pip install nbval"
    )
    assert [step["run"].partition(" >>")[0] for step in steps.values()] == written.commands
    return clone, steps


def run(checkout, name):
    """Run a step as GitHub does."""
    folder, steps = checkout
    keep = {key: value for key, value in os.environ.items() if not key.startswith("GITHUB")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{keep['PATH']}"
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", steps[name]["run"]],
        cwd=folder,
        # a secret that is not set is an empty variable
        env={
            **keep,
            **dict.fromkeys(steps[name].get("env", ()), ""),
            "PATH": path,
            "CI": "true",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_commands_do_in_a_clean_checkout_and_post_the_metrics(checkout):
    for name in checkout[1]:
        done = run(checkout, name)
        assert done.returncode == 0, (name, done.stdout + done.stderr)
        if name == "Notebooks":
            assert re.search(r"\d passed", done.stdout)
        if name.startswith("Pipeline"):  # a log has a line as each step begins and ends
            assert re.search(r"^train +✓ FINISHED", done.stderr, re.M)
    summary = (checkout[0] / "summary.md").read_text()
    assert summary.startswith("### tiny: ✓ FINISHED")
    assert "rows=200" in summary
    assert re.search(r"\| roc\\_auc \| 0\.\d+ \\\[0\.\d+, 0\.\d+\\\] \|", summary)
    assert "There is no tiny\\@champion yet to compare with." in summary
    assert "tiny" in (checkout[0] / "report.html").read_text()


@pytest.fixture
def broken(checkout):
    """Change files of the checkout for one test."""
    before = {}

    def change(file, old, new):
        path = checkout[0] / "flights" / file
        good = path.read_text()
        assert good.count(old) == 1
        before.setdefault(path, good)
        path.write_text(good.replace(old, new))

    yield change
    for path, good in before.items():
        path.write_text(good)


def test_a_broken_transform_and_a_loss_that_is_no_number_fail_by_name(checkout, broken):
    broken("prepare.ipynb", "hour > 12", "hour > 24")
    broken("prepare.ipynb", "rate: float = 0.1", "rate: float = 1e200")
    done = run(checkout, "Notebooks")
    assert done.returncode == 1, done.stdout + done.stderr
    told = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert "AssertionError: only one class is left" in told
    assert "FloatingPointError: the loss is nan" in told


def test_a_gate_that_fails_fails_the_job_and_is_posted(checkout, broken):
    broken("pipeline.yaml", "floor: 0.8", "floor: 0.9999")
    done = run(checkout, "Pipeline on a part of the data")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"step 'train' failed at cell 2 .*GateFailed: .*roc_auc", done.stderr)
    summary = mlops.compare_pipeline(workspace=Workspace.find(checkout[0])).markdown()
    assert summary.startswith("### tiny: ✗ FAILED")
    assert re.search(r"```\nGateFailed: .*roc_auc", summary)
    assert "gates failed" in summary


def test_a_parameter_that_no_notebook_declares_fails_by_name(checkout, broken, capsys, monkeypatch):
    broken("pipeline.yaml", "      floor: $", "      flor: $")
    monkeypatch.chdir(checkout[0])
    with pytest.raises(SystemExit) as left:
        main(checkout[1]["Pipeline on a part of the data"]["run"].split()[1:])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert re.search(r"pipeline.yaml, line 10: .*no parameter 'flor'\s+→ did you mean 'flo", error)


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_a_workflow_is_what_its_hosts_schema_allows_and_always_the_same(repository, host, tmp_path):
    path = tmp_path / "workflow.yml"
    written = mlops.ci(host, repository / "flights", champion="tiny@champion", output=path)
    assert path.read_text() == written.text
    schema = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}[host]
    checked = CliRunner().invoke(check_schema, ["--builtin-schema", schema, str(path)])
    assert checked.exit_code == 0, checked.output
    again = mlops.ci(host, repository / "flights", champion="tiny@champion", output="-")
    assert (again.text, again.path) == (written.text, None)
    # only the notebook that can run by itself is a test; the other one is told of
    assert "prepare.ipynb" in written.commands[1]
    assert "train.ipynb" not in written.commands[1]
    assert any("flights/train.ipynb" in note for note in written.notes)
    assert any("CHAMPION_REGISTRY" in note for note in written.notes)


def test_a_file_of_somebody_else_or_changed_by_hand_is_kept(repository, tmp_path):
    path = tmp_path / "ci.yml"
    path.write_text("name: mine\n")
    with pytest.raises(InvalidArgument, match="was not written by mlops ci"):
        mlops.ci("gitlab", repository / "flights", output=path)
    assert path.read_text() == "name: mine\n"
    mlops.ci("gitlab", repository / "flights", output=path, force=True)
    mlops.ci("gitlab", repository / "flights", champion="tiny", output=path)  # nobody changed it
    path.write_text(path.read_text().replace("1h", "2h"))
    with pytest.raises(InvalidArgument, match="was changed since"):
        mlops.ci("gitlab", repository / "flights", output=path)


def test_nothing_of_a_project_is_read_as_a_command(repository, tmp_path):
    folder = tmp_path / "$(touch pwned)"
    folder.mkdir()
    cell = new_code_cell("1")
    nbformat.write(new_notebook(metadata=KERNEL, cells=[cell]), folder / "a.ipynb")
    git(tmp_path, "init")
    with pytest.raises(InvalidArgument, match="cannot be written into a workflow"):
        mlops.ci("github", folder / "a.ipynb", output="-")
    for champion in ("tiny; rm -rf ~", "tiny`id`", "${{ secrets.TOKEN }}", "a\nb", "../tiny", "-x"):
        with pytest.raises(InvalidArgument, match="cannot be written into a workflow"):
            mlops.ci("github", repository / "flights", champion=champion, output="-")
    with pytest.raises(UnknownName, match=r"(?s)'github-actions'.*did you mean 'github'"):
        mlops.ci("github-actions", repository / "flights")
    with pytest.raises(SpecInvalid, match="there is no pipeline"):
        mlops.ci("github", repository / "none.yaml")


def test_the_record_is_json(repository):
    written = mlops.ci("gitlab", repository / "flights", output="-")
    assert json.loads(json.dumps(written.to_dict()))["host"] == "gitlab"
    assert "mlops pipeline run flights/pipeline.yaml --smoke" in str(written)
