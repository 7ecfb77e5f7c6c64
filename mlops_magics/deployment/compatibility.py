"""Compatibility: a package's libraries against the ones of the server's environment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from mlops_magics.errors import DeployFailed
from mlops_magics.serving import server

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["compare", "installed", "pins", "requirements", "shared"]

_UNNEEDED = {"mlflow", "mlflow-skinny"}  # a worker loads packages without it

_ASK = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def compare(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Compare the versions of libraries; return the differences that do no harm.

    Parameters
    ----------
    wanted : mapping of str to str
        Versions when the model was packaged, by distribution.
    found : mapping of str to str
        Versions here, of those that are installed.

    Raises
    ------
    DeployFailed
        A library is missing here, or of another major or minor release.

    Examples
    --------
    >>> compare({"numpy": "2.4.1", "scipy": "1.17.0"}, {"numpy": "2.4.6", "scipy": "1.17.0"})
    ['numpy 2.4.6 here, 2.4.1 when it was packaged']
    >>> compare({"scikit-learn": "1.7.2"}, {"scikit-learn": "1.9.0"})
    Traceback (most recent call last):
    mlops_magics.errors.DeployFailed: the server's environment has other libraries than the model \
was packaged with: scikit-learn 1.9.0 here, 1.7.2 when it was packaged
      → give it its own: --env own; or bring the server's environment to these versions
    """
    refused, noted = [], []
    for name, version in sorted(wanted.items()):
        here = found.get(name)
        if here == version:
            continue
        told = f"{name} {here} here" if here else f"{name} is missing here"
        told += f", {version} when it was packaged"
        if here is not None and here.split(".")[:2] == version.split(".")[:2]:
            noted.append(told)
        else:
            refused.append(told)
    if refused:
        raise DeployFailed(
            "the server's environment has other libraries than the model was packaged with: "
            + "; ".join(refused),
            hint="give it its own: --env own; or bring the server's environment to these versions",
        )
    return noted


def shared(workspace: Workspace, package: Path) -> list[str]:
    """Compare a package with the server's environment; return the differences that do no harm.

    Raises
    ------
    DeployFailed
        As `compare`.
    """
    wanted = requirements(package)
    return compare(wanted, installed(workspace, wanted))


def requirements(package: Path) -> dict[str, str]:
    r"""Return the versions of a package's own libraries, by normal name, as they were packaged.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "requirements.txt").write_text("mlflow==3.17.0\nscikit_learn==1.7.2\n")
    >>> requirements(folder)
    {'scikit-learn': '1.7.2'}
    """
    found = dict(pins((package / "requirements.txt").read_text("utf-8").splitlines()))
    return {name: version for name, version in found.items() if name not in _UNNEEDED}


def pins(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Read lines as ``name==version``, with the name in its normal form."""
    for line in lines:
        name, separator, version = line.partition("==")
        if separator:
            yield re.sub(r"[-_.]+", "-", name.partition("[")[0].strip()).lower(), version.strip()


def installed(workspace: Workspace, names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that the server's environment has."""
    python = _python(workspace)
    if python == sys.executable:
        found = {}
        for name in names:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return found
    done = subprocess.run(
        [python, "-c", _ASK, *names], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    return dict(json.loads(done.stdout))


def _python(workspace: Workspace) -> str:
    """Return the server's interpreter: ours, unless another one has started it."""
    running = server.find(workspace)
    process = running and (running.supervisor or running.gateway)
    if process:
        try:
            return psutil.Process(process.pid).cmdline()[0]
        except (psutil.NoSuchProcess, psutil.AccessDenied, IndexError):
            pass  # it ended just now; the next one is started by us
    return sys.executable
