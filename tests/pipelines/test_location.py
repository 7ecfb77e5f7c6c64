"""A pipeline is run from a URL, and leaves its notebooks at one."""

import fsspec
import nbformat
import pytest

from mlops_magics.errors import InvalidArgument, SpecInvalid, StepFailed
from mlops_magics.pipelines.location import copied, fetch, is_url
from mlops_magics.pipelines.runner import run_pipeline


@pytest.fixture
def memory():
    """A filesystem that is no folder."""
    system = fsspec.filesystem("memory")
    yield system
    for path in system.ls("/", detail=False):
        system.rm(path, recursive=True)


@pytest.fixture
def remote(memory, notebook):
    """Put a pipeline behind a URL; its notebook uses a module beside it."""
    path = notebook(
        "a",
        "import aside, mlops_magics as mlops\n"
        "mlops.output('given', [month, data, names, rows, aside.HERE])\n"
        "assert month != 13, 'no such month'",
        parameters="month: int\ndata: str = ''\nnames: list[str] = []\nrows: int | None = 5",
    )
    memory.pipe_file("/flights/steps/a.ipynb", path.read_bytes())
    memory.pipe_file("/flights/steps/aside.py", b"HERE = 'beside'")
    memory.pipe_file("/flights/secrets.txt", b"not asked for")
    references = {name: f"${{parameters.{name}}}" for name in ("month", "data", "names", "rows")}
    memory.pipe_file(
        "/flights/pipeline.yaml",
        "name: p\nparameters: {month: 1, data: x, names: [], rows: {type: int | None}}\n"
        f"steps:\n  a: {{notebook: steps/a.ipynb, parameters: {references}}}\n".encode(),
    )
    return "memory://flights"


def test_a_run_from_a_url_to_a_url_with_parameters_from_everywhere(remote, memory, workspace):
    given = [{"month": 1, "rows": None}, "month=2", ("month", "13"), {"data": "007"}, 'names=["a"]']
    with pytest.raises(StepFailed, match="no such month") as raised:
        run_pipeline(remote, params=given, output="memory://out/failed", workspace=workspace)
    # the copy is made of a failed run too
    executed = nbformat.reads(memory.cat_file("/out/failed/01-a.ipynb").decode(), as_version=4)
    assert "AssertionError" in str(executed)
    assert raised.value.run.steps[0].outputs == {"given": [13, "007", ["a"], None, "beside"]}
    assert raised.value.run.path.startswith(str(workspace.path / "fetched"))


def test_what_is_fetched_is_what_belongs_to_the_pipeline_and_named_by_its_content(
    remote, memory, workspace
):
    path = fetch(remote, workspace)
    files = sorted(str(f.relative_to(path.parent)) for f in path.parent.rglob("*") if f.is_file())
    assert files == ["pipeline.yaml", "steps/a.ipynb", "steps/aside.py"]
    assert {f.stat().st_mode & 0o077 for f in path.parent.rglob("*")} == {0}
    assert fetch(f"{remote}/pipeline.yaml", workspace) == path
    memory.pipe_file("/flights/steps/aside.py", b"HERE = 'changed'")
    assert fetch(remote, workspace) != path
    alone = fetch(f"{remote}/steps/a.ipynb", workspace)
    assert [file.name for file in alone.parent.iterdir()] == ["a.ipynb"]


@pytest.mark.parametrize("notebook", ["../a.ipynb", "/etc/a.ipynb", "steps/../../a.ipynb"])
def test_a_notebook_outside_of_the_folder_is_not_fetched(memory, workspace, notebook):
    text = f"name: p\nsteps:\n  a:\n    notebook: {notebook}\n"
    memory.pipe_file("/flights/pipeline.yaml", text.encode())
    with pytest.raises(SpecInvalid, match=r"line 4: .*is outside of memory://flights"):
        fetch("memory://flights", workspace)


def test_a_url_that_cannot_be_used_is_named_without_what_is_secret(workspace, memory):
    with pytest.raises(SpecInvalid, match=r"pipeline.yaml at memory://none cannot be read"):
        fetch("memory://none", workspace)
    with pytest.raises(
        SpecInvalid, match=r"nosuch://host/p.yaml cannot be used: Protocol"
    ) as raised:
        fetch("nosuch://ann:pw@host/p.yaml?signature=7", workspace)
    assert "pw" not in str(raised.value)
    assert "signature" not in str(raised.value)


def test_what_cannot_be_copied_is_said_and_hides_no_failure(tmp_path, memory):
    (tmp_path / "01-a.ipynb").write_text("{}")
    memory.pipe_file("/taken", b"a file")
    with (
        pytest.raises(InvalidArgument, match="memory://taken") as lost,
        copied(tmp_path, "memory://taken"),
    ):
        pass
    assert str(tmp_path) in lost.value.hint
    with pytest.raises(KeyError) as raised, copied(tmp_path, "memory://taken"):
        raise KeyError("the run failed")
    assert "cannot be written" in raised.value.__notes__[0]
    with pytest.raises(InvalidArgument, match="nosuch"), copied(tmp_path, "nosuch://x"):
        pytest.fail("nothing may run")
    with copied(tmp_path, None):
        pass
    assert not is_url(tmp_path)
