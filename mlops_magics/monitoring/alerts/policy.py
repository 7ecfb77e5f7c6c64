"""The policy: what an endpoint's alerts ask for, strictly checked."""

from __future__ import annotations

import dataclasses
import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.monitoring import spans, windows
from mlops_magics.monitoring.alerts import webhook
from mlops_magics.monitoring.comparison import LEAST_ROWS
from mlops_magics.store import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["NONE", "SEVERITIES", "Policy", "actions_given", "change", "read"]

SEVERITIES = ("info", "warning", "critical")
"""From the least to the most."""

NONE = "none"
"""What takes a limit or the sinks away."""

LONGEST = 7 * 86400.0


@dataclass(frozen=True)
class Policy:
    """What an endpoint's alerts ask for.

    Attributes
    ----------
    on : bool
        Whether windows are judged at all.
    window : float
        Seconds; a multiple of the ten seconds that are counted together.
    rows : int
        Predictions that a verdict on data needs; a window with fewer is joined with the next.
    labels : int
        Labels that a verdict on quality needs.
    persistence : int
        Windows in a row in which a condition must hold before it is an alert, and must not hold
        before the alert is resolved.
    cooldown : float
        Seconds after an alert's end in which the same is opened again without being delivered
        again.
    false_alarms : float
        Of windows in which nothing is wrong, the share in which a condition may hold by chance.
    errors : float or None
        Share of failed requests that is allowed; None: any.
    latency : float or None
        Milliseconds within which 95 % of the requests are to be answered; None: any.
    severity : str
        The least that is delivered.
    webhooks : tuple of str
        URLs, or ``secret:NAME`` for one that the agent looks up.
    commands : tuple of tuple of str
        Argument lists.
    actions : tuple of mapping
        ``{"kind": "rollback"}``, or ``{"kind": "pipeline", "path": …, "trigger": …}``.
    silenced : float or None
        Until when nothing is delivered and no action is taken; seconds since 1970.
    """

    on: bool = True
    window: float = 300.0
    rows: int = 200
    labels: int = 200
    persistence: int = 2
    cooldown: float = 3600.0
    false_alarms: float = 0.01
    errors: float | None = 0.05
    latency: float | None = None
    severity: str = "warning"
    webhooks: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    actions: tuple[Mapping[str, Any], ...] = ()
    silenced: float | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Policy:
        """Read what `settings` wrote; what is not there has its default."""
        known = {field.name for field in dataclasses.fields(cls)}
        found = {name: value for name, value in settings.items() if name in known}
        for name in ("webhooks", "actions"):
            found[name] = tuple(found.get(name, ()))
        found["commands"] = tuple(tuple(command) for command in found.get("commands", ()))
        return cls(**found)

    def settings(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON values."""
        plain = Policy()
        return {
            field.name: _listed(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(plain, field.name)
        }

    def delivers(self, severity: str) -> bool:
        """Whether an alert of that severity is delivered."""
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.severity)

    def silent(self, now: float) -> bool:
        """Whether nothing is delivered at that moment."""
        return self.silenced is not None and now < self.silenced


def change(policy: Policy, now: float | None = None, **given: Any) -> Policy:
    """Return a policy with what is given, checked; None leaves as it is.

    Parameters
    ----------
    policy : Policy
        As it is.
    now : float, optional
        Seconds since 1970; default: the clock's.
    **given
        As `configure_alerts` takes them, actions apart.

    Raises
    ------
    InvalidArgument, UnknownName
        A value that cannot be.

    Examples
    --------
    >>> change(Policy(), window="15m", errors=0.01, command="notify --all").settings()
    {'window': 900.0, 'errors': 0.01, 'commands': [['notify', '--all']]}
    """
    checked: dict[str, Any] = {
        name: _CHECKS[name](name, value) for name, value in given.items() if value is not None
    }
    named = {"webhook": "webhooks", "command": "commands", "silence": "silenced"}
    values = {named.get(name, name): value for name, value in checked.items()}
    if values.get("silenced") is not None:
        values["silenced"] += time.time() if now is None else now
    return dataclasses.replace(policy, **values)


def read(connection: Connection, endpoint: str) -> Policy:
    """Return an endpoint's policy."""
    t = tables.watches.c
    settings = connection.execute(sa.select(t.settings).where(t.endpoint == endpoint)).scalar()
    return Policy.of(settings or {})


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _on(name: str, value: Any) -> bool:
    return bool(value)


def _window(name: str, value: Any) -> float:
    span = spans.seconds(value)
    if span % windows.SECONDS or span > LONGEST:
        raise InvalidArgument(
            f"{name} = {value!r} is no multiple of {windows.SECONDS:g} s up to 7d",
            hint="such as 5m or 1h",
        )
    return span


def _cooldown(name: str, value: Any) -> float:
    return 0.0 if _nothing(value) else spans.seconds(value)


def _silence(name: str, value: Any) -> float | None:
    return None if _nothing(value) else spans.seconds(value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument(f"{name} = {value!r} is no number from 1 on")
    return value


def _rows(name: str, value: Any) -> int:
    if _count(name, value) < LEAST_ROWS:
        raise InvalidArgument(f"{name} = {value!r} is below {LEAST_ROWS}: too few for a verdict")
    return int(value)


def _persistence(name: str, value: Any) -> int:
    if _count(name, value) > 100:
        raise InvalidArgument(f"{name} = {value!r} is above 100 windows")
    return int(value)


def _false_alarms(name: str, value: Any) -> float:
    share = _number(name, value)
    if not 0.0001 <= share <= 0.2:
        raise InvalidArgument(
            f"{name} = {value!r} is not from 0.0001 to 0.2",
            hint="0.01 is one window in a hundred in which nothing is wrong",
        )
    return share


def _errors(name: str, value: Any) -> float | None:
    if value == NONE:
        return None
    share = _number(name, value)
    if not 0 < share < 1:
        raise InvalidArgument(
            f"{name} = {value!r} is not between 0 and 1", hint="0.05 allows one request in twenty"
        )
    return share


def _latency(name: str, value: Any) -> float | None:
    if value == NONE:
        return None
    budget = _number(name, value)
    if not budget > 0:
        raise InvalidArgument(f"{name} = {value!r} is not above 0 ms")
    return budget


def _severity(name: str, value: Any) -> str:
    if value not in SEVERITIES:
        raise UnknownName("severity", str(value), SEVERITIES)
    return str(value)


def _webhooks(name: str, value: Any) -> tuple[str, ...]:
    urls = [value] if isinstance(value, str) else list(value)
    if urls == [NONE]:
        return ()
    return tuple(dict.fromkeys(webhook.checked(url) for url in urls))


def _commands(name: str, value: Any) -> tuple[tuple[str, ...], ...]:
    """One command as a text, or several: each a text, or a list of arguments."""
    given = [value] if isinstance(value, str) else list(value)
    if given == [NONE]:
        return ()
    found = []
    for one in given:
        try:
            arguments = shlex.split(one) if isinstance(one, str) else [str(part) for part in one]
        except ValueError as exc:
            raise InvalidArgument(f"{name} = {one!r} cannot be split: {exc}") from exc
        if not arguments:
            raise InvalidArgument(f"{name} = {one!r} is empty", hint=f"--{name} none takes it away")
        found.append(tuple(arguments))
    return tuple(dict.fromkeys(found))


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise InvalidArgument(f"{name} = {value!r} is no number")
    return number


def _nothing(value: Any) -> bool:
    text = str(value).strip()
    return text == NONE or text.rstrip("smhdw").strip() in ("0", "0.0")


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "on": _on,
    "window": _window,
    "rows": _rows,
    "labels": _count,
    "persistence": _persistence,
    "cooldown": _cooldown,
    "false_alarms": _false_alarms,
    "errors": _errors,
    "latency": _latency,
    "severity": _severity,
    "webhook": _webhooks,
    "command": _commands,
    "silence": _silence,
}


def actions_given(value: str | Sequence[str]) -> list[tuple[str, str]]:
    """Read actions: kind and operand of each.

    Raises
    ------
    InvalidArgument
        It is none.

    Examples
    --------
    >>> actions_given(["rollback", "pipeline:notebooks/flight_delay"])
    [('rollback', ''), ('pipeline', 'notebooks/flight_delay')]
    """
    given = [value] if isinstance(value, str) else list(value)
    if given == [NONE]:
        return []
    found = []
    for one in given:
        kind, _, operand = str(one).partition(":")
        if (kind == "rollback" and not operand) or (kind == "pipeline" and operand):
            found.append((kind, operand))
        else:
            raise InvalidArgument(
                f"{one!r} is no action", hint="pipeline:PATH, rollback, or none to take all away"
            )
    return list(dict.fromkeys(found))
