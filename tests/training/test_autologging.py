"""Autologging is on inside the block only, also for a library that the block itself imports."""

import subprocess
import sys

CODE = """
import sys
import mlops_magics as mlops
with mlops.run("first") as active:
    assert "sklearn" not in sys.modules
    from sklearn.linear_model import LogisticRegression
    LogisticRegression(C=0.25).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
print("params", active.record.params.get("C"))
LogisticRegression(C=9.0).fit([[0.0], [1.0]], [0, 1])
print("runs", len(mlops.runs()))
"""


def test_a_library_imported_inside_the_run_is_logged_and_nothing_after_it(project):
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=project, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["params", "0.25", "runs", "1"]


def test_a_library_imported_after_the_run_is_left_alone(project):
    code = (
        "import mlops_magics as mlops\n"
        "with mlops.run('first'):\n"
        "    pass\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "LogisticRegression().fit([[0.0], [1.0]], [0, 1])\n"
        "print(len(mlops.runs()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "1", done.stderr
