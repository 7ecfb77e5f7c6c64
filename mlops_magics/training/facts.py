"""The facts of a run's start, as MLflow keeps them: tags and artifacts."""

from __future__ import annotations

import contextlib
import json
import platform
from pathlib import Path

from mlops_magics.store.processes import Identity
from mlops_magics.store.workspace import Workspace
from mlops_magics.training import drivers

__all__ = ["FOLDER", "Facts", "process_tag"]

FOLDER = "mlops"
"""Folder of our files in a run's artifacts."""


class Facts:
    """What stands at the start of a run: code, environment, middleware, infrastructure."""

    def __init__(
        self,
        workspace: Workspace,
        source: str | None,
        notebook: Path | str | None,
        state: object,
    ) -> None:
        self.workspace, self.source, self.state = workspace, source, state
        self.notebook = Path(notebook) if notebook is not None else None
        self.code = drivers.code(self.notebook.parent if self.notebook else Path.cwd())
        self.environment = drivers.environment()
        self.infrastructure = drivers.infrastructure()

    def tags(self) -> dict[str, str]:
        """Return the facts that are searched and listed."""
        tracking = self.workspace.tracking
        code = self.code.to_dict()
        code["untracked"] = code["untracked"][:20]  # a tag holds 8,000 characters
        machine, packages = self.infrastructure, self.environment["packages"]
        store = "SQLite" if tracking.embedded else tracking.uri.split("://")[0]
        tags = {
            "mlops.code": json.dumps(code),
            "mlops.environment": (f"Python {self.environment['python']}, {len(packages)} packages"),
            "mlops.middleware": f"MLflow {packages.get('mlflow', '?')} ({store})",
            "mlops.infrastructure": (
                f"{machine['host']}, {machine['machine']}, {machine['cores']} cores, "
                f"{machine['memory_gb']:g} GB"
            ),
            **process_tag(),
        }
        if self.code.commit:
            tags["mlflow.source.git.commit"] = self.code.commit
            tags["mlflow.source.git.branch"] = self.code.branch or ""
        if self.source is not None:
            tags["mlops.cell"] = "mlops/cell.py"
        if self.notebook is not None:
            tags["mlops.source"] = tags["mlflow.source.name"] = str(self.notebook)
            tags["mlflow.source.type"] = "NOTEBOOK"
        if self.state is not None:
            tags["mlops.state"] = str(self.state)[:4000]
        return tags

    def files(self) -> dict[str, bytes]:
        """Return the facts that are kept whole."""
        packages = self.environment["packages"]
        texts = {
            "environment.json": json.dumps(self.environment, indent=1),
            "requirements.txt": "".join(f"{k}=={v}\n" for k, v in packages.items()),
            "infrastructure.json": json.dumps(self.infrastructure, indent=1),
            "code.json": json.dumps(self.code.to_dict(), indent=1),
        }
        if self.code.diff:
            texts["uncommitted.diff"] = self.code.diff
        if self.source is not None:
            texts["cell.py"] = self.source
        files = {
            f"{FOLDER}/{name}": text.encode("utf-8", "backslashreplace")
            for name, text in texts.items()
        }
        if self.notebook is not None:
            # a notebook that has just been renamed is not worth losing the run
            with contextlib.suppress(OSError):
                files[f"{FOLDER}/notebook.ipynb"] = self.notebook.read_bytes()
        return files


def process_tag() -> dict[str, str]:
    """Return the tag that names this process and its machine: without them a run is abandoned."""
    return {"mlops.process": json.dumps({**Identity.of().to_dict(), "host": platform.node()})}
