"""Cron: fires at the moments of a schedule; what was missed becomes one firing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops_magics.pipelines.triggers.condition import Seen, Watched
from mlops_magics.pipelines.triggers.schedule import Schedule

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Cron"]


class Cron:
    """``when``: the expression ``cron`` and the time zone ``tz``."""

    every = 0.0

    def words(self, when: Mapping[str, Any]) -> str:
        """Say when it fires."""
        return Schedule(when["cron"], when["tz"]).words

    def begin(self, workspace: Workspace, when: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin with the next moment: those before are nobody's."""
        return {"until": now}

    def look(self, workspace: Workspace, trigger: Watched, now: float) -> Seen:
        """Fire once if a moment has come, however many they are."""
        schedule = Schedule(trigger.when["cron"], trigger.when["tz"])
        count, last = schedule.due(float(trigger.seen["until"]), now)
        if last is None:
            return Seen(trigger.seen)
        moment = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        reason = f"its time came: {trigger.when['cron']} {trigger.when['tz']}"
        if count > 1:
            reason += f"; {count - 1} earlier times were missed, this run is for all of them"
        return Seen({"until": last}, reason, key=moment)
