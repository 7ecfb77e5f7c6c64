"""What is frozen is what is run: by content, complete, and checked each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_magics.errors import ReleaseCorrupt
from mlops_magics.pipelines.releases.freezing import Frozen
from mlops_magics.training import drivers


def test_a_pipeline_is_frozen_with_the_modules_it_imports_and_nothing_else(frozen, made):
    found = frozen()
    assert sorted(found.manifest["files"]) == [
        "notebooks/features.py",
        "notebooks/pipeline.yaml",
        "notebooks/train.ipynb",
        "requirements.txt",
        "src/shapes/__init__.py",
        "src/shapes/square.py",
    ]
    assert found.tree / "src" in found.places
    packages = {line.partition("==")[0] for line in found.manifest["packages"]}
    assert {"mlflow", "pandas"} <= packages
    # data are read where they are; code that was not frozen is not there
    assert (found.tree / "data").readlink() == made / "data"
    assert not (found.tree / "src" / "shapes" / "unused.py").exists()
    assert not (found.tree / ".git").exists()
    assert found.path.read_text() == (made / "notebooks" / "pipeline.yaml").read_text()
    assert (found.tree / "notebooks" / "train.ipynb").stat().st_mode & 0o777 == 0o400
    assert found.tree.stat().st_mode & 0o777 == 0o700


def test_the_same_content_has_the_same_digest_whatever_was_printed(frozen, made, executed):
    before = frozen()
    executed(made / "notebooks" / "train.ipynb")
    (made / "data" / "rows.csv").write_text("other data")
    (made / "src" / "shapes" / "unused.py").write_text("# not imported")
    assert frozen().digest == before.digest
    assert "4711" not in (before.tree / "notebooks" / "train.ipynb").read_text()
    (made / "src" / "shapes" / "square.py").write_text("def area(side):\n    return side\n")
    assert frozen().digest != before.digest


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("changed", r"src/shapes/square\.py was changed"),
        ("missing", r"src/shapes/square\.py cannot be read"),
        ("link", r"src/shapes/square\.py cannot be read"),
        ("folder", r"src/shapes/__init__\.py is reached by a link"),
    ],
)
def test_a_file_that_is_not_as_it_was_is_named_and_nothing_is_run(frozen, tmp_path, how, message):
    found = frozen()
    file = found.tree / "src" / "shapes" / "square.py"
    same = file.read_bytes()
    if how == "changed":
        file.chmod(0o600)
        file.write_text("import os\n")
    elif how == "missing":
        file.unlink()
    elif how == "link":
        (tmp_path / "square.py").write_bytes(same)
        file.unlink()
        file.symlink_to(tmp_path / "square.py")
    else:
        file.parent.rename(tmp_path / "shapes")
        (found.tree / "src" / "shapes").symlink_to(tmp_path / "shapes")
    with pytest.raises(ReleaseCorrupt, match=message):
        found.prepare()
    # released again it is made from the sources
    assert frozen().digest == found.digest
    assert file.read_bytes() == same


def test_code_that_was_put_into_the_copy_is_removed_and_data_stay(frozen, made):
    found = frozen()
    folder = found.tree / "notebooks"
    (folder / "pandas.py").write_text("raise SystemExit")
    (folder / "numpy").mkdir()
    (folder / "numpy" / "__init__.py").write_text("raise SystemExit")
    (folder / "__pycache__").mkdir()
    (folder / "left-over.txt").write_text("written by a notebook")
    (made / "more").mkdir()
    found.prepare()
    names = {path.name for path in folder.iterdir()}
    assert names == {"features.py", "pipeline.yaml", "train.ipynb", "left-over.txt"}
    assert (found.tree / "more").is_symlink()
    # a link that leads elsewhere is put right
    (found.tree / "data").unlink()
    (found.tree / "data").symlink_to("/etc")
    found.prepare()
    assert (found.tree / "data").readlink() == made / "data"


def test_packages_that_are_others_now_are_told(frozen):
    found = frozen()
    assert found.drift() == []
    former = [*found.manifest["packages"], "no-such-distribution==1.0"]
    former[0] = former[0].partition("==")[0] + "==0.0.1"
    [first, gone] = Frozen(found.folder, {"packages": former}, {}, found.base).drift()
    assert first.startswith(former[0].replace("==", " ") + " → ")
    assert gone == "no-such-distribution 1.0 → missing"


def test_where_the_code_stood_in_git_is_told_by_the_copy(frozen, made, monkeypatch, git):
    commit = git("rev-parse", "HEAD")
    found = frozen()
    (made / "requirements.txt").write_text("pandas>=3\n")
    git("commit", "-am", "second")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    code = drivers.code(found.tree / "notebooks")
    assert (code.commit, code.branch, code.dirty) == (commit, "main", False)
    assert code.note.startswith("frozen by content: ")
    assert drivers.code(made).commit != commit  # the project itself has gone on
    assert json.loads(found.environment["MLOPS_CODE"])["folder"] == str(found.tree)
    assert Path(found.environment["PYTHONPATH"].partition(":")[0]) == found.tree / "src"
