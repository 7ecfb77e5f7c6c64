"""Rules of a rollout: how a candidate gets its traffic, and what it must not do worse."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mlops_magics.deployment.shares import CANARY
from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.monitoring import spans
from mlops_magics.serving.plan import SHADOW

__all__ = ["ANALYSES", "LIMITS", "Candidacy", "Rules", "candidacy", "climb", "percentage"]

ANALYSES = ("auto", "watch", "off")
"""``auto`` steps up, promotes and rolls back; ``watch`` only rolls back; ``off`` does nothing."""

LIMITS: Mapping[str, float | None] = {
    "errors": 0.01,
    "latency": 1.5,
    "quality": 0.02,
    "shift": 0.25,
}
"""What is allowed unless it is said otherwise; None switches a rule off."""

_STEPS = (10.0, 50.0)
_EVERY = 60.0
_LEAST = 200


@dataclass(frozen=True)
class Rules:
    """What decides about a candidate.

    Attributes
    ----------
    analysis : str
        ``auto``, ``watch`` or ``off``.
    every : float
        Seconds that a step lasts at least.
    min_requests : int
        Requests that the candidate must have answered in a step.
    limits : mapping
        ``errors``: points (0.01 is one per cent) by which the share of failed requests may be
        higher. ``latency``: the 95th percentile at most so many times as long. ``quality``: loss
        of accuracy in points, or of the mean absolute error as a share. ``shift``: the
        predictions' population stability index beyond chance. None switches a rule off.
    """

    analysis: str = "auto"
    every: float = _EVERY
    min_requests: int = _LEAST
    limits: Mapping[str, float | None] = field(default_factory=lambda: dict(LIMITS))

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Rules:
        """Read what `to_dict` gave; what is missing there has its default."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return cls(**known | {"limits": {**LIMITS, **(value.get("limits") or {})}})

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"limits": dict(self.limits)}

    def sentence(self) -> str:
        """Say the rules.

        Examples
        --------
        >>> Rules(limits={"errors": 0.01, "latency": None}).sentence()
        'at least 60 s and 200 requests a step; errors at most 1 % above'
        """
        if self.analysis == "off":
            return "a person decides"
        said = {
            "errors": "errors at most {:.3g} % above",
            "latency": "p95 latency at most {:g} times",
            "quality": "quality at most {:.3g} % worse",
            "shift": "predictions shifted by a PSI of at most {:g}",
        }
        parts = [f"at least {self.every:g} s and {self.min_requests} requests a step"]
        for name, text in said.items():
            limit = self.limits.get(name)
            if limit is not None:
                parts.append(text.format(limit * 100 if "%" in text else limit))
        if self.analysis == "watch":
            parts.append("a person promotes")
        return "; ".join(parts)


@dataclass(frozen=True)
class Candidacy:
    """As what a revision is deployed beside the champion.

    Attributes
    ----------
    variant : str
        ``canary`` or ``shadow``.
    steps : sequence of float
        Per cent of the requests, one step after another; of a shadow one.
    rules : Rules
        What decides.
    """

    variant: str
    steps: Sequence[float]
    rules: Rules


def candidacy(
    *,
    canary: Any = None,
    shadow: Any = None,
    steps: Any = None,
    every: str | float | None = None,
    min_requests: int | None = None,
    rules: Mapping[str, Any] | None = None,
    analysis: str | None = None,
) -> Candidacy | None:
    """Read a deployment's arguments; None when the revision shall get all the traffic at once.

    Raises
    ------
    InvalidArgument
        They contradict each other, or one is out of its range.

    Examples
    --------
    >>> candidacy(canary="10%").steps
    (10.0, 50.0)
    >>> candidacy(steps="5%,25%").variant
    'canary'
    """
    others = {
        "every": every,
        "min_requests": min_requests,
        "rules": rules or None,
        "analysis": analysis,
    }
    if canary is None and shadow in (None, False) and steps is None:
        given = [name for name, value in others.items() if value is not None]
        if given:
            raise InvalidArgument(
                f"{given[0]} is for a canary or a shadow, and neither was asked for",
                hint="with --canary 10% or --shadow",
            )
        return None
    if shadow not in (None, False):
        if canary is not None or steps is not None:
            raise InvalidArgument("a revision is either a canary or a shadow", hint="leave one out")
        variant = SHADOW
        ladder: tuple[float, ...] = (percentage(100 if shadow is True else shadow, whole=True),)
    else:
        variant, ladder = CANARY, _ladder(canary, steps)
    return Candidacy(variant, ladder, _rules(every, min_requests, rules, analysis))


def percentage(value: Any, *, whole: bool = False) -> float:
    """Return per cent: ``10``, ``"10%"``, ``"2.5 %"``; of all only where that makes sense.

    Raises
    ------
    InvalidArgument
        It is none, or not between 0 and 100.

    Examples
    --------
    >>> percentage("2.5%"), percentage(10)
    (2.5, 10.0)
    """
    text = str(value).strip()
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%?", text)
    if found is None or isinstance(value, bool):
        raise InvalidArgument(f"{value!r} is no percentage", hint="such as 10%")
    percent = float(found[1])
    if not 0 < percent < 100 and not (whole and percent == 100):
        raise InvalidArgument(
            f"{text} is no share beside a champion",
            hint="more than 0 and less than 100 %; the champion's place is given with: "
            "mlops traffic ENDPOINT --promote",
        )
    return percent


def climb(first: float) -> tuple[float, ...]:
    """Return the steps of a canary that begins with a share.

    Examples
    --------
    >>> climb(10.0), climb(60.0)
    ((10.0, 50.0), (60.0,))
    """
    return (first, *(step for step in _STEPS if step > first))


def _ladder(canary: Any, steps: Any) -> tuple[float, ...]:
    if steps is None:
        return climb(percentage(canary))
    given = steps.split(",") if isinstance(steps, str) else steps
    ladder = tuple(percentage(step) for step in given)
    if not ladder or list(ladder) != sorted(set(ladder)):
        raise InvalidArgument(f"steps {steps} do not rise", hint="such as --steps 10%,25%,50%")
    if canary is not None and percentage(canary) != ladder[0]:
        raise InvalidArgument(
            f"a canary of {percentage(canary):g} % does not begin with the step {ladder[0]:g} %",
            hint="--steps alone is enough",
        )
    return ladder


def _rules(every: Any, min_requests: Any, limits: Any, analysis: str | None) -> Rules:
    analysis = analysis or ANALYSES[0]
    if analysis not in ANALYSES:
        raise UnknownName("analysis", analysis, ANALYSES)
    least = _LEAST if min_requests is None else min_requests
    if not isinstance(least, int) or least < 1:
        raise InvalidArgument(f"min_requests = {min_requests!r} is no positive number")
    chosen = dict(LIMITS)
    for name, value in (limits or {}).items():
        if name not in LIMITS:
            raise UnknownName("rule", str(name), LIMITS)
        chosen[name] = _limit(str(name), value)
    return Rules(analysis, _EVERY if every is None else spans.seconds(every), least, chosen)


def _limit(name: str, value: Any) -> float | None:
    if value is None or value is False or value == "off":
        return None
    text = str(value).strip()
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text)
    if found is None:
        raise InvalidArgument(
            f"rule {name} = {value!r} is no limit", hint=f"such as {name}={LIMITS[name]}, or off"
        )
    return float(found[1]) / (100 if found[2] else 1)
