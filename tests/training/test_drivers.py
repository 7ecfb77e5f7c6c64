"""What a run stands on is told as it is."""

import importlib.metadata
import os
import re

from mlops_magics.training import drivers


def test_every_installed_distribution_is_listed():
    found = drivers.packages()
    for name in ("pandas", "mlflow", "scikit-learn"):
        assert found[name] == importlib.metadata.version(name)
    names = [each.metadata["Name"] for each in importlib.metadata.distributions()]
    named = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    assert {name.replace(".", "-") for name in found} >= named


def test_infrastructure_is_what_this_process_may_use():
    found = drivers.infrastructure()
    assert found["cores"] == (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    assert found["memory_gb"] > 0


def test_a_machine_without_git_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert drivers.code(tmp_path).note == "git is not installed"


def test_a_repositorys_own_settings_start_no_program(project, repository):
    repository("config", "core.fsmonitor", "touch started #")
    repository("config", "diff.external", "touch started #")
    (project / "train.py").write_text("depth = 4\n")
    found = drivers.code(project)
    assert found.dirty
    assert "+depth = 4" in found.diff
    assert not (project / "started").exists()


def test_a_detached_head_and_a_deleted_file_are_told(project, repository):
    repository("checkout", "-q", "--detach")
    (project / "train.py").unlink()
    found = drivers.code(project)
    assert found.branch == "(detached)"
    assert "deleted file mode" in found.diff
