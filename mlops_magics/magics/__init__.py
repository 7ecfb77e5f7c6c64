"""The notebook's face: ``%load_ext mlops_magics``."""

from __future__ import annotations

from typing import Any

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: Any) -> None:
    """Give a shell the magics; a second time changes nothing."""
    from mlops_magics.magics.extension import MLOps

    if MLOps.__name__ not in shell.magics_manager.registry:
        MLOps(shell).attach()


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics from a shell."""
    magics = shell.magics_manager.registry.get("MLOps")
    if magics is not None:
        magics.detach()
