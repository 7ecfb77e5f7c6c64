"""How steps fail: each way has its name, and leaves the notebook as far as it got."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_magics.errors import MlopsError, StepFailed
from mlops_magics.pipelines.specification import Step

__all__ = ["failure", "of_error"]


def of_error(exc: MlopsError) -> dict[str, Any]:
    return {
        "cell": None,
        "prompt": None,
        "source": "",
        "ename": type(exc).__name__,
        "evalue": str(exc),
    }


def failure(run: str, step: Step, error: Mapping[str, Any], notebook: Path) -> StepFailed:
    """Return what a failed step makes its run raise."""
    place = f"step {step.name!r} failed"
    if error.get("cell") is not None:
        prompt = f", In [{error['prompt']}]" if error.get("prompt") is not None else ""
        place += f" at cell {error['cell']} of {step.notebook.name}{prompt}"
    lines = [f"{place}: {error['ename']}: {error['evalue']}"]
    source = [line for line in str(error.get("source", "")).splitlines() if line.strip()]
    lines += [f"    {line}" for line in source[:6]] + (["    …"] if len(source) > 6 else [])
    hint = f"see its circumstances: mlops pipeline show {run}"
    if notebook.is_file():
        hint += f"\n  → see the notebook as far as it got: {notebook}"
    return StepFailed("\n".join(lines), hint=hint, step=step.name, cell=error.get("cell"))
