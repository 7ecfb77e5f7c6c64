"""Continuous integration: a workflow file that tests a pipeline on every push."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlops_magics.cards import Block, Card, Code
from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.pipelines import specification
from mlops_magics.pipelines.requirements import installation
from mlops_magics.pipelines.specification import Pipeline
from mlops_magics.pipelines.workflows import HOSTS, REGISTRY, Integration, word
from mlops_magics.records import Record
from mlops_magics.store.workspace import Workspace, write_atomic

__all__ = ["Workflow", "ci"]

_MARK = "# Written by mlops ci, which replaces this file as long as nobody else changes it. "


@dataclass(frozen=True)
class Workflow(Record):
    """A workflow of a CI host.

    Attributes
    ----------
    host : str
        ``github`` or ``gitlab``.
    pipeline : str
    path : str or None
        The file; None when it was not written.
    commands : list of str
        What the host runs, without the installation.
    notes : list of str
        What should be known.
    text : str
        The file's content.
    """

    host: str
    pipeline: str
    path: str | None
    commands: list[str]
    notes: list[str]
    text: str

    def card(self) -> Card:
        """Show the commands and where they are written."""
        return Card(
            self.pipeline,
            subtitle=f"workflow for {self.host}",
            facts=[
                ("file", Code(self.path) if self.path else "not written"),
                ("runs", Block("\n".join(self.commands))),
            ],
            notes=self.notes,
        )


def ci(
    host: str,
    path: Path | str = ".",
    *,
    champion: str | None = None,
    output: Path | str | None = None,
    force: bool = False,
    workspace: Workspace | None = None,
) -> Workflow:
    """Write a workflow that tests a pipeline on every push.

    In a clean checkout it installs what the project asks for, runs the notebooks that can run by
    themselves as tests (nbval), runs the pipeline with the specification's ``smoke`` parameters,
    and posts the metrics beside the champion's. The same project gives the same file.

    Parameters
    ----------
    host : str
        ``github`` or ``gitlab``.
    path : path
        The pipeline: its folder, ``pipeline.yaml``, or a notebook.
    champion : str, optional
        The model to compare with, such as ``flight-delay@champion``; default: the champion of the
        model that the run registers.
    output : path, optional
        The file; ``-`` writes none. Default: where the host looks for it, in the repository.
    force : bool
        Replace a file that was not written by this function, or was changed since.
    workspace : Workspace, optional
        Not used: a workflow makes a workspace of its own.

    Raises
    ------
    SpecInvalid
        The pipeline cannot be read.
    InvalidArgument
        A name that could mean something else in a shell; a file that was written by somebody else.

    Examples
    --------
    >>> import nbformat, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> nbformat.write(nbformat.v4.new_notebook(), folder / "train.ipynb")
    >>> ci("github", folder / "train.ipynb", output="-").commands[:2]
    ['mlops init', 'python -m pytest -p no:cacheprovider --nbval-lax train.ipynb']
    """
    if host not in HOSTS:
        raise UnknownName("host", host, HOSTS)
    pipeline = specification.read(path)
    root = _repository(pipeline.path.parent)
    plan, notes = _plan(pipeline, root, champion)
    make, place = HOSTS[host]
    content = make(plan)
    text = _text(content)
    target = None if str(output) == "-" else Path(output or root / place).expanduser().absolute()
    if target is not None:
        _write(target, text, force=force)
    comparison = [plan.comparison, "mlops pipeline report --output report.html"]
    return Workflow(
        host=host,
        pipeline=pipeline.name,
        path=None if target is None else str(target),
        commands=["mlops init", *([plan.tests] if plan.tests else []), plan.run, *comparison],
        notes=notes,
        text=text,
    )


def _repository(folder: Path) -> Path:
    """Return the folder of the git repository, else the pipeline's own."""
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--show-toplevel"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return folder
    return Path(found.stdout.strip())


def _plan(pipeline: Pipeline, root: Path, champion: str | None) -> tuple[Integration, list[str]]:
    found = installation(root)
    notes = []
    if not found.source:
        notes.append(
            "The project names no dependencies: write them into requirements.txt or pyproject.toml."
        )
    if not pipeline.smoke and pipeline.path.suffix != ".ipynb":
        notes.append(
            "The pipeline runs on all data: give it parameters for a short run under smoke: in "
            f"{pipeline.path.name}."
        )
    alone: list[str] = []
    others: list[str] = []
    for step in pipeline.steps.values():
        required = any(item.required for item in step.declared.values())
        (others if required else alone).append(_relative(step.notebook, root))
    if others:
        notes.append(
            "Only the pipeline runs these, since their parameters have no defaults: "
            f"{', '.join(dict.fromkeys(others))}."
        )
    notes.append(
        f"The champion is looked up in the MLflow that the secret {REGISTRY} names; without it "
        "there is none to compare with."
    )
    plan = Integration(
        pipeline=word(pipeline.name, "pipeline"),
        path=_relative(pipeline.path, root),
        notebooks=tuple(dict.fromkeys(alone)),
        champion=None if champion is None else word(champion, "model"),
        installation=found,
    )
    return plan, notes


def _relative(path: Path, root: Path) -> str:
    try:
        inside = path.relative_to(root.resolve())
    except ValueError as exc:
        raise InvalidArgument(f"{path} is not inside the repository {root}") from exc
    return word(inside.as_posix(), "path")


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _block)


def _text(content: dict[str, Any]) -> str:
    body = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    return f"{_MARK}{_digest(body)}\n{body}"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _write(path: Path, text: str, *, force: bool) -> None:
    if path.is_file() and not force:
        first, _, body = path.read_text("utf-8", "replace").partition("\n")
        hint = "--force replaces it; or choose another with --output"
        if not first.startswith(_MARK):
            raise InvalidArgument(f"{path} was not written by mlops ci", hint=hint)
        if first.removeprefix(_MARK) != _digest(body):
            raise InvalidArgument(f"{path} was changed since mlops ci wrote it", hint=hint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode(), mode=0o644)
    except OSError as exc:
        raise InvalidArgument(f"{path} cannot be written: {exc.strerror}") from exc
