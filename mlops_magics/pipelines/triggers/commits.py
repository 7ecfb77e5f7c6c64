"""Commits: the project's code has changed in git."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import InvalidArgument
from mlops_magics.pipelines.triggers.condition import Seen, Watched
from mlops_magics.training import drivers

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Commits"]


class Commits:
    """``when``: ``branch`` (``HEAD``: whatever is checked out), ``paths`` in the project."""

    every = 5.0

    def words(self, when: Mapping[str, Any]) -> str:
        """Say which commits are waited for."""
        where = "what is checked out" if when["branch"] == "HEAD" else f"branch {when['branch']}"
        touching = f", touching {', '.join(when['paths'])}" if when["paths"] else ""
        return f"a commit to {where}{touching}"

    def begin(self, workspace: Workspace, when: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin with the newest commit.

        Raises
        ------
        InvalidArgument
            There is no repository, or no such branch.
        """
        return {"commit": self._commit(workspace, when)}

    def look(self, workspace: Workspace, trigger: Watched, now: float) -> Seen:
        """Fire if a commit has changed one of the paths."""
        before, commit = str(trigger.seen["commit"]), self._commit(workspace, trigger.when)
        if commit == before:
            return Seen(trigger.seen)
        paths = list(trigger.when["paths"]) or ["."]
        # None: the commit before is gone, as after a rebase; what changed cannot be told
        changed = _git(workspace, "diff", "--name-only", "-z", before, commit, "--", *paths)
        if changed is not None and not changed:
            return Seen({"commit": commit})
        reason = f"new commit {commit[:10]}"
        if changed is not None:
            names = changed.rstrip("\0").split("\0")
            more = f" and {len(names) - 2} more files" if len(names) > 2 else ""
            reason += f" changed {', '.join(names[:2])}{more}"
        return Seen({"commit": commit}, reason)

    def _commit(self, workspace: Workspace, when: Mapping[str, Any]) -> str:
        name = f"{when['branch']}^{{commit}}"
        found = _git(workspace, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
        if not found:
            raise InvalidArgument(
                f"git has no commit {when['branch']!r} in {workspace.root}",
                hint="is the project a git repository, and that a branch of it?",
            )
        return found.strip()


def _git(workspace: Workspace, *arguments: str) -> str | None:
    try:
        return drivers.git(workspace.root, *arguments)
    except FileNotFoundError as exc:
        raise InvalidArgument("git is not installed") from exc
    except subprocess.TimeoutExpired as exc:
        raise InvalidArgument(f"git did not answer in {exc.timeout:g} s") from exc
