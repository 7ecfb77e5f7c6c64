"""Each way in which a step can fail has a name, and leaves the notebook as far as it got."""

import errno
import json
import signal

import nbformat
import pytest

import mlops_magics as mlops
from mlops_magics.errors import KernelDied, MlopsError, StepFailed
from mlops_magics.pipelines import failures
from mlops_magics.pipelines.runner import run_pipeline
from mlops_magics.pipelines.specification import Step

SLEEP = "import time\ntime.sleep(60)"


def executed(step):
    return nbformat.read(step.notebook, as_version=4).cells


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """A kernel that ends before it answers."""
    folder = tmp_path / "jupyter" / "kernels" / "broken"
    folder.mkdir(parents=True)
    spec = {"argv": ["python", "-c", "raise SystemExit(3)", "{connection_file}"]}
    spec |= {"display_name": "broken", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))


def with_kernel(path, name):
    content = nbformat.read(path, as_version=4)
    content.metadata.kernelspec["name"] = name
    nbformat.write(content, path)


def test_every_failure_has_its_name_and_what_runs_beside_it_goes_on_to_its_end(
    workspace, notebook, pipeline, kernels
):
    notebook("killed", "x = 1", "import os\nos.kill(os.getpid(), 9)", "'after'")
    notebook("slow", "x = 1", SLEEP, "'after'")
    notebook("exits", "x = 1", "import sys\nsys.exit()", "'after'")
    notebook(
        "full",
        "import os, resource\nlimit = (20_000, 20_000)\n"
        "_ = resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE, limit)",
        "print('x' * 100_000)",
        "'after'",
    )
    with_kernel(notebook("unknown", "1"), "nowhere")
    with_kernel(notebook("broken", "1"), "broken")
    notebook("never", "1")
    names = ["killed", "exits", "full", "unknown", "broken"]
    path = pipeline(
        "name: p\nsteps:\n  slow: {notebook: slow.ipynb, cell_timeout: 1}\n"
        + "".join(f"  {name}: {{notebook: {name}.ipynb}}\n" for name in names)
        + "  never: {notebook: never.ipynb}\n"
    )
    with pytest.raises(StepFailed) as raised:
        run_pipeline(path, workspace=workspace, parallel=6)
    steps = {item.step: item for item in raised.value.run.steps}
    assert {name: (item.error or {}).get("ename") for name, item in steps.items()} == {
        "killed": "KernelDied",
        "slow": "CellTimeout",
        "exits": "NotebookExited",
        "full": "DiskFull",
        "unknown": "KernelNotStarted",
        "broken": "KernelNotStarted",
        "never": None,
    }
    # the first one is raised by its name, and what had begun was not cut off by it
    assert type(raised.value).__name__ == steps[raised.value.step].error["ename"]
    assert steps["never"].status == "SKIPPED"
    assert steps["never"].reason.startswith("the run ended before it: step ")
    for name in ("killed", "slow", "exits", "full"):
        assert steps[name].error["cell"] == 2, name
        assert executed(steps[name])[0].execution_count == 1, name
        assert steps[name].error["hint"]
    assert "SIGKILL; it had used 0." in steps["killed"].error["evalue"]
    assert "cells after it did not run" in steps["exits"].error["evalue"]
    assert not any(cell.get("execution_count") for cell in executed(steps["exits"])[2:])
    assert "no kernel 'nowhere'" in steps["unknown"].error["evalue"]
    assert "ipykernel install --user --name nowhere" in steps["unknown"].error["hint"]


def test_a_step_may_end_the_run_early_as_skipped_with_its_reason(workspace, notebook, pipeline):
    notebook("look", "import mlops_magics as mlops", "mlops.skip('no new rows')", "'after'")
    notebook("train", "1")
    path = pipeline(
        "name: p\nsteps:\n  look: {notebook: look.ipynb}\n"
        "  train: {notebook: train.ipynb, needs: [look]}\n"
    )
    record = run_pipeline(path, workspace=workspace)  # no error: exit status 0
    assert (record.status, record.reason) == ("SKIPPED", "step 'look': no new rows")
    assert [(item.status, item.reason) for item in record.steps] == [
        ("SKIPPED", "no new rows"),
        ("SKIPPED", "the run ended before it: step 'look': no new rows"),
    ]
    assert executed(record.steps[0])[2].execution_count is None
    assert workspace.tracking.client.get_run(record.run_id).info.status == "FINISHED"
    # there is nothing to take the next time
    assert record.steps[0].key is None


def test_a_skip_needs_a_reason_and_ends_a_script_without_fault():
    with pytest.raises(mlops.InvalidArgument, match="needs a reason"):
        mlops.skip(" ")
    with pytest.raises(SystemExit) as raised:
        mlops.skip("nothing to do")
    assert raised.value.code == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named_whatever_kind_of_full_it_is(number):
    assert failures.named(OSError(number, "full"), began=True)["ename"] == "DiskFull"
    assert failures.named(OSError(errno.EACCES, "no"), began=True)["ename"] == "PermissionError"


def test_the_end_of_a_kernel_tells_what_is_known_of_it():
    memory = failures.kernel_died(-signal.SIGKILL, 3_000_000_000, out_of_memory=True)
    assert memory["evalue"] == "the kernel was killed for want of memory; it had used 3.0 GB"
    assert "SIGSEGV" in failures.kernel_died(-signal.SIGSEGV, None, False)["evalue"]
    assert "by itself with status 7" in failures.kernel_died(7, None, False)["evalue"]


def test_an_error_of_the_notebooks_own_keeps_to_itself_whatever_its_name(tmp_path):
    step = Step("a", tmp_path / "a.ipynb")
    error = {"ename": "KernelDied", "evalue": "mine", "cell": 1, "prompt": 1, "source": "x"}
    mine = failures.failure("r", step, error, tmp_path / "none.ipynb")
    assert type(mine) is StepFailed
    ours = failures.failure("r", step, {**error, "hint": "less"}, tmp_path / "none.ipynb")
    assert isinstance(ours, KernelDied)
    assert isinstance(ours, MlopsError)
