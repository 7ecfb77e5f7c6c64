"""The shell's face: the command ``mlops``, whose commands are the definition of every verb."""

from __future__ import annotations

from mlops_magics.cli.group import main

__all__ = ["main"]
