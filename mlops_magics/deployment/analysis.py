"""Analysis: whether a candidate is worse than the champion, or good enough to go on.

Four rules, each with one of three verdicts. **broken**: shown to be worse than allowed, by an
interval that holds at every look together (`intervals.sequence`), so that looking each second does
not raise the chance of a false alarm: at most one per cent a rule and step. **held**: not shown to
be good enough. **kept**: good enough. What was measured, the limit and the verdict go into the
ledger with each decision.

Requests are taken as independent of each other. Latencies come in bursts, so that their interval
is somewhat too narrow; therefore the slack of some milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.deployment import intervals
from mlops_magics.monitoring import latency, statistics
from mlops_magics.records import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_magics.deployment.rules import Rules

__all__ = ["ALPHA", "Finding", "Side", "judge"]

ALPHA = 0.01
"""Chance that a rule is ever called broken in a step although it holds."""

SLACK = 5.0
"""Milliseconds that a slower candidate may take, whatever the ratio."""

_ROWS = 100  # predictions a side, below which their distributions are not compared
_LABELS = 50  # labels a side, below which quality is not compared
_BINS = 10


@dataclass(frozen=True)
class Side:
    """What one of the two has answered.

    Attributes
    ----------
    requests, errors : int
        Requests, and those answered with a status of 400 or more.
    latency : int array
        Requests by `latency.EDGES`.
    predictions : array
        Of numbers, or of objects for classes; newest first, as many as are compared.
    losses : float array
        Of predictions whose label is known: 0 or 1 for a right or wrong class, else the absolute
        error.
    """

    requests: int = 0
    errors: int = 0
    latency: NDArray[np.int64] = field(default_factory=lambda: latency.count([]))
    predictions: NDArray[Any] = field(default_factory=lambda: np.array([]))
    losses: NDArray[np.float64] = field(default_factory=lambda: np.array([]))

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "p50_ms": latency.quantile(self.latency, 0.5),
            "p95_ms": latency.quantile(self.latency, 0.95),
            "labels": len(self.losses),
        }


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    Attributes
    ----------
    rule : str
        ``errors``, ``latency``, ``quality`` or ``shift``.
    verdict : str
        ``kept``, ``held`` or ``broken``.
    value, low, high : float or None
        The measure with its interval.
    limit : float
        What is allowed.
    sentence : str
        All of it in words.
    """

    rule: str
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    limit: float
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return dict(plain(asdict(self)))


def judge(rules: Rules, candidate: Side, baseline: Side, *, classes: bool) -> list[Finding]:
    """Hold a candidate to the rules; one without data to judge by is left out.

    Parameters
    ----------
    rules : Rules
        With the limits.
    candidate, baseline : Side
        In the same span of time.
    classes : bool
        Whether losses are wrong answers, not distances.

    Examples
    --------
    >>> from mlops_magics.deployment.rules import Rules
    >>> bad, good = Side(requests=20, errors=20), Side(requests=180, errors=0)
    >>> found = judge(Rules(), bad, good, classes=True)[0]
    >>> found.verdict, found.sentence
    ('broken', 'errors: 20 of 20 requests against 0 of 180: 100 points more [60.2, 100]; allowed 1')
    """
    asked: dict[str, Callable[[float], Finding | None]] = {
        "errors": lambda limit: _errors(candidate, baseline, limit),
        "latency": lambda limit: _latency(candidate, baseline, limit),
        "quality": lambda limit: _quality(candidate, baseline, limit, classes),
        "shift": lambda limit: _shift(candidate, baseline, limit),
    }
    found = []
    for name, ask in asked.items():
        limit = rules.limits.get(name)
        finding = None if limit is None else ask(limit)
        if finding is not None:
            found.append(finding)
    return found


def _errors(candidate: Side, baseline: Side, limit: float) -> Finding:
    mine = intervals.sequence(candidate.errors, candidate.requests, ALPHA / 2)
    theirs = intervals.sequence(baseline.errors, baseline.requests, ALPHA / 2)
    worse = intervals.Range(mine.low - theirs.high, mine.high - theirs.low)
    shown = intervals.newcombe(
        candidate.errors, candidate.requests, baseline.errors, baseline.requests
    )
    broken = worse.low > limit
    verdict = "broken" if broken else "kept" if shown.high <= limit else "held"
    bounds = worse if broken else shown
    value = _share(candidate) - _share(baseline)
    sentence = (
        f"errors: {candidate.errors} of {candidate.requests} requests against "
        f"{baseline.errors} of {baseline.requests}: {_points(value)} points more "
        f"[{_points(bounds.low)}, {_points(bounds.high)}]; allowed {_points(limit)}"
    )
    return Finding("errors", verdict, value, *bounds, limit, sentence)


def _latency(candidate: Side, baseline: Side, limit: float) -> Finding | None:
    mine = intervals.quantile(candidate.latency, 0.95, ALPHA / 2)
    theirs = intervals.quantile(baseline.latency, 0.95, ALPHA / 2)
    one, other = (latency.quantile(side.latency, 0.95) for side in (candidate, baseline))
    if one is None or other is None:
        return None
    low = mine.low / theirs.high if theirs.high else 0.0
    high = mine.high / theirs.low if theirs.low else math.inf
    broken = low > limit and mine.low - theirs.high > SLACK
    kept = one <= limit * other or one - other <= SLACK
    verdict = "broken" if broken else "kept" if kept else "held"
    sentence = (
        f"latency: 95 % within {one:.3g} ms against {other:.3g} ms: {one / other:.2f} times "
        f"[{low:.2f}, {high:.2f}]; allowed {limit:g} times, or {SLACK:g} ms more"
    )
    return Finding("latency", verdict, one / other, low, high, limit, sentence)


def _quality(candidate: Side, baseline: Side, limit: float, classes: bool) -> Finding | None:
    size, other_size = len(candidate.losses), len(baseline.losses)
    if min(size, other_size) < _LABELS:
        return None
    one, other = float(candidate.losses.mean()), float(baseline.losses.mean())
    if classes:
        mine = intervals.sequence(int(candidate.losses.sum()), size, ALPHA / 2)
        theirs = intervals.sequence(int(baseline.losses.sum()), other_size, ALPHA / 2)
        value, low, high = one - other, mine.low - theirs.high, mine.high - theirs.low
        said = f"accuracy {1 - one:.4g} against {1 - other:.4g}"
        loss = f"{_points(value)} points lost [{_points(low)}, {_points(high)}]"
        allowed = f"{_points(limit)}"
    else:
        mine = intervals.mean(candidate.losses, ALPHA / 2)
        theirs = intervals.mean(baseline.losses, ALPHA / 2)
        value = one / other - 1 if other else math.inf if one else 0.0
        low = max(mine.low, 0.0) / theirs.high - 1 if theirs.high > 0 else -1.0
        high = mine.high / theirs.low - 1 if theirs.low > 0 else math.inf
        said = f"mean absolute error {one:.4g} against {other:.4g}"
        loss = f"{value:+.1%} [{low:+.1%}, {high:+.1%}]"
        allowed = f"{limit:+.1%}"
    verdict = "broken" if low > limit else "kept" if value <= limit else "held"
    sentence = f"quality: {said} on {size:,} and {other_size:,} labels: {loss}; allowed {allowed}"
    return Finding("quality", verdict, value, low, high, limit, sentence)


def _shift(candidate: Side, baseline: Side, limit: float) -> Finding | None:
    """Compare what is predicted; a shift is a reason to look, and no fault: it only holds."""
    if min(len(candidate.predictions), len(baseline.predictions)) < _ROWS:
        return None
    before, after, ordered = _histograms(baseline.predictions, candidate.predictions)
    before, after = statistics.pool(before, after, ordered=ordered)
    psi = statistics.population_stability(before, after) or 0.0
    chance = (len(before) - 1) * float(1 / before.sum() + 1 / after.sum())
    test = statistics.chi_squared(before, after)
    p_value = 1.0 if test is None else test.p_value
    value = max(0.0, psi - chance)
    verdict = "held" if value > limit and p_value <= ALPHA else "kept"
    sentence = (
        f"shift: the predictions' PSI beyond chance is {value:.3f} (p {p_value:.2g}); "
        f"allowed {limit:g}"
    )
    return Finding("shift", verdict, value, None, None, limit, sentence)


def _histograms(
    baseline: NDArray[Any], candidate: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Count both on the baseline's bins: its deciles, or each value where they are few."""
    values = np.unique(np.concatenate((baseline, candidate)))
    if len(values) <= 2 * _BINS or values.dtype == object:
        counts = [
            np.array([np.count_nonzero(side == value) for value in values], dtype=float)
            for side in (baseline, candidate)
        ]
        return counts[0], counts[1], False
    edges = np.unique(np.quantile(baseline, np.linspace(0, 1, _BINS + 1)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, side, "right"), minlength=len(edges) + 1).astype(float)
        for side in (baseline, candidate)
    ]
    return counts[0], counts[1], True


def _share(side: Side) -> float:
    return side.errors / side.requests if side.requests else 0.0


def _points(share: float) -> str:
    return f"{share * 100:.3g}"
