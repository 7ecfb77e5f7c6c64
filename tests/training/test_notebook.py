"""The notebook's file is found where the host tells it, and never guessed."""

import subprocess
import sys

import nbformat
import pytest

from mlops_magics.training import locate


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    return path


def test_vs_code_jupyter_and_papermill_tell_the_path(notebook):
    for host, namespace, environ in (
        ("VS Code", {"__vsc_ipynb_file__": str(notebook)}, {}),
        ("JupyterLab", {"__session__": str(notebook)}, {}),
        ("JupyterLab", {}, {"JPY_SESSION_NAME": str(notebook)}),
        ("papermill", {"PAPERMILL_OUTPUT_PATH": str(notebook)}, {}),
        ("papermill", {"PAPERMILL_INPUT_PATH": str(notebook)}, {"JPY_SESSION_NAME": "b"}),
    ):
        found = locate(namespace, environ)
        assert (found.path, found.host, found.reason) == (notebook, host, "")


def test_a_renamed_notebook_and_a_console_are_told(notebook):
    gone = locate({}, {"JPY_SESSION_NAME": str(notebook.with_name("old.ipynb"))})
    assert gone.path is None
    assert "is no file" in gone.reason
    console = locate({}, {"JPY_SESSION_NAME": "console-1-abc"})
    assert console.path is None
    assert "not a notebook" in console.reason


def test_without_a_word_from_the_host_the_path_is_unknown(notebook, monkeypatch):
    monkeypatch.chdir(notebook.parent)  # a lone notebook in the folder is no proof
    found = locate({"__file__": str(notebook)}, {})
    assert (found.path, found.host) == (None, "unknown")
    assert found.reason


def test_a_kernel_that_jupyter_started_knows_its_notebook(notebook):
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(env={"JPY_SESSION_NAME": str(notebook), "PATH": ""})
    try:
        code = "from mlops_magics.training import locate; print(locate(globals(), {}).path)"
        printed = []
        client.execute_interactive(
            code, output_hook=lambda m: printed.append(m["content"].get("text", "")), timeout=60
        )
        assert "".join(printed).strip() == str(notebook)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_papermill_with_injected_paths_is_found(tmp_path):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "from mlops_magics.training import locate; print(locate(globals()).path)"
            )
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
    )
    nbformat.write(notebook, tmp_path / "in.ipynb")
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "--inject-paths"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    done = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert done.cells[-1].outputs[0]["text"].strip().endswith(".ipynb")
