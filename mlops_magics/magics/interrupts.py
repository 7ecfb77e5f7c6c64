"""Ctrl-C in a verb."""

from __future__ import annotations

__all__ = ["Interrupted"]


class Interrupted(KeyboardInterrupt):
    """A person interrupted a verb; what it had finished is kept, the rest did not happen."""

    def __init__(self, verb: str, told: str = "") -> None:
        super().__init__(f"{verb} was interrupted; {told or 'what it had finished is kept'}")
        self.verb = verb

    def __str__(self) -> str:
        return f"{self.args[0]}\n  → see the state with: %mlops_status"

    def _render_traceback_(self) -> list[str]:
        return [
            f"Interrupted: {line}" if at == 0 else line
            for at, line in enumerate(str(self).splitlines())
        ]
