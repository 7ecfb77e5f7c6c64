"""What installs a project is read from the files that it has."""

import sys

import pytest

from mlops_magics import __version__
from mlops_magics.errors import InvalidArgument
from mlops_magics.pipelines.requirements import installation

OWN = f"python -m pip install nbval mlops-magics=={__version__}"
NBVAL = "python -m pip install nbval"


@pytest.mark.parametrize(
    ("files", "source", "first", "last"),
    [
        ({}, "", OWN, OWN),
        (
            {"requirements.txt": "Mlops_Magics[onnx]==0.1"},
            "requirements.txt",
            "python -m pip install -r requirements.txt",
            NBVAL,
        ),
        (
            {"requirements.txt": "pandas\nmlops-magics-extra"},
            "requirements.txt",
            "python -m pip install -r requirements.txt",
            OWN,
        ),
        (
            {
                "pyproject.toml": '[project]\nname = "a"\ndependencies = ["mlops-magics>=0.1"]',
                "constraints.txt": "",
            },
            "pyproject.toml",
            "python -m pip install -c constraints.txt .",
            NBVAL,
        ),
        # a file that only configures tools installs nothing
        ({"pyproject.toml": "[tool.ruff]\nline-length = 100"}, "", OWN, OWN),
        (
            {"pyproject.toml": '[project]\nname = "mlops_magics"'},
            "pyproject.toml",
            "python -m pip install .",
            NBVAL,
        ),
        (
            {"uv.lock": 'name = "mlops-magics"\n', "requirements.txt": "pandas"},
            "uv.lock",
            "python -m pip install uv",
            NBVAL,
        ),
        ({"poetry.lock": ""}, "poetry.lock", "python -m pip install poetry", OWN),
    ],
)
def test_a_lock_goes_before_requirements_before_the_project(tmp_path, files, source, first, last):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = installation(tmp_path)
    assert (found.source, found.commands[0], found.commands[-1]) == (source, first, last)
    assert found.python == "{}.{}".format(*sys.version_info)


def test_the_pinned_python_is_taken_if_it_is_one(tmp_path):
    (tmp_path / ".python-version").write_text("3.12\n")
    assert installation(tmp_path).python == "3.12"
    (tmp_path / ".python-version").write_text("3.12; curl evil")
    with pytest.raises(InvalidArgument, match="names no version of Python"):
        installation(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(InvalidArgument, match="cannot be read"):
        installation(tmp_path)
