"""The tour runs headless, tells its stages, and passes nbval."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
SMALL = {"rows": 8000, "replayed": 300}


def _environment(folder):
    return {**os.environ, "MLOPS_WORKSPACE": str(folder / ".mlops"), "CI": "true"}


def test_sources_carry_no_outputs():
    for path in NOTEBOOKS.rglob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), f"{path}: outputs are stripped in sources"
            assert not cell.get("execution_count"), path


@pytest.mark.xdist_group("tour")
def test_make_tour_tells_every_stage_and_leaves_no_process(tmp_path):
    command = [sys.executable, str(NOTEBOOKS / "tour.py"), str(tmp_path)]
    for name, value in SMALL.items():
        command += ["-p", name, str(value)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    source = nbformat.read(NOTEBOOKS / "tour.ipynb", as_version=4)
    headings = [cell.source for cell in source.cells if cell.source.startswith("## ")]
    assert len(headings) == 10
    for heading in headings:
        assert heading.splitlines()[0].removeprefix("## ") in done.stdout, done.stdout
    assert "ROC AUC" in done.stdout
    assert str(tmp_path / "tour.ipynb") in done.stdout
    executed = nbformat.read(tmp_path / "tour.ipynb", as_version=4)
    assert not [o for c in executed.cells for o in c.get("outputs", []) if o.output_type == "error"]
    left = [
        process.info
        for process in psutil.process_iter(["pid", "cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or [])
    ]
    assert left == []


@pytest.mark.xdist_group("tour")
def test_the_tour_passes_nbval(tmp_path):
    import papermill

    shutil.copytree(NOTEBOOKS / "flight_delay", tmp_path / "flight_delay")
    papermill.execute_notebook(
        NOTEBOOKS / "tour.ipynb", tmp_path / "tour.ipynb", SMALL, prepare_only=True
    )
    environment = _environment(tmp_path)
    options = ["-p", "no:cacheprovider", "-c", os.devnull, "-q"]
    options += ["--nbval-lax", "--nbval-cell-timeout=120"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, "tour.ipynb"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
    finally:
        subprocess.run([sys.executable, "-m", "mlops_magics", "stop"], env=environment, timeout=60)
    assert done.returncode == 0, done.stdout[-5000:]
