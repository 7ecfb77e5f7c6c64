"""The tour runs headless and tells its stages."""

import subprocess
import sys
from pathlib import Path

import nbformat
import psutil

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
SMALL = {"rows": 8000, "replayed": 300}


def test_sources_carry_no_outputs():
    for path in NOTEBOOKS.rglob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), f"{path}: outputs are stripped in sources"
            assert not cell.get("execution_count"), path


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
