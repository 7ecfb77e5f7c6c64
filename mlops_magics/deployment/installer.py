"""The installer: uv, as it is to be called here.

It takes its index and certificates from its own configuration; where it has none, from pip's, so
that what ``pip install`` finds is found. It never downloads a Python.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from mlops_magics.errors import DeployFailed, MissingExtra
from mlops_magics.serving import interpreters

__all__ = ["find", "make"]

# our own code comes first; a model's library that does not import is told when it is loaded
_TRIAL = """
import contextlib, importlib, sys
import mlops_magics.serving.worker
for name in sys.argv[1:]:
    with contextlib.suppress(Exception):
        importlib.import_module(name)
"""
_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")


def find() -> str:
    """Return uv's path.

    Raises
    ------
    MissingExtra
        It is not installed.
    """
    try:
        import uv
    except ImportError:
        found = shutil.which("uv")
        if found is None:
            raise MissingExtra("environments", "environments of their own") from None
        return found
    return str(uv.find_uv_bin())


def make(
    uv: str, root: Path, folder: Path, python: str, wanted: Sequence[str], lock: Sequence[str]
) -> Path:
    """Make a virtual environment in a folder, and return it; it can be moved.

    Parameters
    ----------
    uv : str
        Its path.
    root : Path
        The project, which may have a ``[tool.uv]`` of its own.
    folder : Path
        Empty.
    python : str
        The release that is needed: ``3.11``.
    wanted : sequence of str
        Requirements.
    lock : sequence of str
        Exact versions of whatever comes in with them.

    Raises
    ------
    DeployFailed
        With uv's reason.
    """
    for name, lines in {"wanted": wanted, "lock": lock}.items():
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    environment = folder / "environment"
    interpreter = str(environment / "bin" / "python")
    # of the same release it is our own; uv looks for others on this machine
    same = platform.python_version().startswith(f"{python}.")
    variables, options = _index(root)
    steps = [
        ["venv", "--relocatable", "--no-project", "--python", sys.executable if same else python],
        ["pip", "install", *options, "--python", interpreter],
    ]
    steps[0].append(str(environment))
    steps[1] += ["-r", str(folder / "wanted"), "-c", str(folder / "lock")]
    for step in steps:
        _run([uv, *step, "--color", "never"], root, variables)
    # a worker writes no bytecode: what it imports is compiled here
    variables = interpreters.environ(folder.parent)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    _run([interpreter, "-c", _TRIAL, *_modules(wanted)], folder, variables)
    return environment


def _run(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise DeployFailed(
            f"its own environment cannot be made: {_reason(done.stderr)}",
            hint="without --env own it runs in the server's environment",
        )


def _reason(stderr: str) -> str:
    r"""Return what uv says is wrong, in one line without its drawing.

    Examples
    --------
    >>> _reason("Using Python 3.11\n  × No solution found:\n  ╰─▶ there is no numpy==9\n")
    'No solution found: there is no numpy==9'
    """
    text = re.sub(r"\s+", " ", re.sub("[×╰─▶│├]", " ", stderr)).strip()
    found = re.search(r"(No solution|No interpreter|error:|[A-Z]\w*Error:).*", text)
    reason = found[0].removeprefix("error:").strip() if found else text
    return reason[:1000] or "uv gave no reason"


def _modules(wanted: Iterable[str]) -> list[str]:
    """Return the modules of distributions, as far as they are known here."""
    names = {line.partition("==")[0] for line in wanted}
    return [
        module
        for module, owners in metadata.packages_distributions().items()
        if module.isidentifier() and names & {name.lower().replace("_", "-") for name in owners}
    ]


def _index(root: Path) -> tuple[dict[str, str], list[str]]:
    """Return uv's variables and options: with pip's index where uv has none of its own."""
    variables = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    variables |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    if _configured(root, variables):
        return variables, []
    pip = _pip_configuration()
    # in variables, not in options: everybody can read a process's options
    if index := pip.get("index-url"):
        variables["UV_DEFAULT_INDEX"] = index
    if extra := pip.get("extra-index-url"):
        variables["UV_INDEX"] = " ".join(extra.split())
        # as pip does: the version counts, whichever index has it
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if links := pip.get("find-links"):
        variables["UV_FIND_LINKS"] = ",".join(links.split())
    if hosts := pip.get("trusted-host"):
        variables["UV_INSECURE_HOST"] = " ".join(hosts.split())
    if certificates := pip.get("cert"):
        variables.setdefault("SSL_CERT_FILE", certificates)
    alone = pip.get("no-index", "").lower() in ("1", "true", "yes", "on")
    return variables, ["--no-index"] if alone else []


def _configured(root: Path, variables: Mapping[str, str]) -> bool:
    """Whether uv has an index of its own, from its variables or one of its files."""
    if {*_INDEX, "UV_CONFIG_FILE"} & variables.keys():
        return True
    home = Path(variables.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = [folder / "uv.toml" for folder in (root, *root.parents)]
    if any(path.is_file() for path in (*places, home / "uv" / "uv.toml", Path("/etc/uv/uv.toml"))):
        return True
    for folder in (root, *root.parents):
        try:
            tool = tomllib.loads((folder / "pyproject.toml").read_text("utf-8")).get("tool", {})
        except (OSError, ValueError):
            continue
        found = {"index", "index-url", "extra-index-url", "find-links"} & tool.get("uv", {}).keys()
        return bool(found)
    return False


def _pip_configuration() -> dict[str, str]:
    """Return pip's settings for this interpreter, the most particular of each."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, str] = {}
    for line in sorted(done.stdout.splitlines(), key=_particularity):
        name, separator, value = line.partition("=")
        if separator:
            found[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    return found


def _particularity(line: str) -> int:
    scopes = ("global.", "install.", ":env:.")
    return next((rank for rank, scope in enumerate(scopes) if line.startswith(scope)), -1)
