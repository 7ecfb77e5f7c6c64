"""Groups: whether declared groups of people are treated, and served, alike.

Three rates by group, for a model of two classes: how many are selected (demographic parity), how
many of those who should be (true positive rate: equal opportunity) and of those who should not be
(false positive rate; together equalized odds; Hardt, Price and Srebro, "Equality of Opportunity in
Supervised Learning", 2016). Each is compared with the largest group's, as a difference (Newcombe's
interval) and a ratio (Katz's), and the difference with what it was in testing. A group that was
never measured in testing is held to the four-fifths rule (US Uniform Guidelines on Employee
Selection Procedures, 1978).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlops_magics.errors import UnknownName
from mlops_magics.measures.baseline import Baseline
from mlops_magics.measures.intervals import Z, katz, newcombe
from mlops_magics.measures.metric import ALPHA, LEAST_ROWS, Metric, judge
from mlops_magics.monitoring.slices import codes_of, cut_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_magics.measures.baseline import Part
    from mlops_magics.measures.outcomes import Outcomes
    from mlops_magics.monitoring.labelled import Labelled

__all__ = ["CRITERIA", "Gap", "Group", "measure"]

RATES = ("selection_rate", "recall", "fpr")
LEAST_GAP = 0.05
FOUR_FIFTHS = 0.8

CRITERIA = (
    f"a group is flagged with at least {LEAST_ROWS} labels, at a false discovery rate of "
    f"{ALPHA:g}: served worse than in testing, or a rate's difference from the largest group "
    f"grown by {LEAST_GAP:g}; without a test, a rate below {FOUR_FIFTHS:g} of the other"
)
"""The rule in a sentence."""


@dataclass(frozen=True)
class Gap:
    """A rate of one group compared with the largest group's.

    Attributes
    ----------
    name : str
        ``selection_rate``, ``recall`` (the true positive rate) or ``fpr``.
    difference, low, high : float or None
        The group's less the largest group's, with its interval.
    ratio, ratio_low, ratio_high : float or None
        The same, divided.
    reference : float or None
        The difference in testing.
    worse : bool or None
        Whether the two have moved apart; None: unknown.
    """

    name: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    reference: float | None = None
    reference_half: float = 0.0
    q_value: float | None = None
    worse: bool | None = None

    @property
    def _half(self) -> float:
        if self.low is None or self.high is None:
            return 0.0
        return math.hypot((self.high - self.low) / 2, self.reference_half)

    @property
    def z(self) -> float | None:
        """How far the groups have moved apart, in standard errors; negative: closer."""
        if self.difference is None or not self._half:
            return None
        before = self.reference or 0.0
        size = abs(self.difference - before) * Z / self._half
        return math.copysign(size, abs(self.difference) - abs(before))

    @property
    def matters(self) -> bool:
        """Whether the difference is large enough to be told."""
        if self.difference is None:
            return False
        if self.reference is not None:
            return abs(self.difference) - abs(self.reference) >= LEAST_GAP
        ratio = self.ratio if self.ratio is not None else 0.0
        unequal = min(ratio, 1 / ratio if ratio else 0.0) < FOUR_FIFTHS
        return unequal and abs(self.difference) >= LEAST_GAP


@dataclass(frozen=True)
class Group:
    """One group among the labelled predictions.

    Attributes
    ----------
    column, value : str
        Which.
    rows : int
        Labelled predictions of it.
    against : str
        The largest group, with which it is compared.
    metrics : tuple of Metric
        Its rates and how well it is served, beside what they were in testing.
    gaps : tuple of Gap
        Of a model of two classes; none of the largest group itself.
    worse : bool or None
        Whether it is flagged; ``reasons`` say why.
    """

    column: str
    value: str
    rows: int
    against: str
    metrics: tuple[Metric, ...] = ()
    gaps: tuple[Gap, ...] = ()
    worse: bool | None = None
    reasons: tuple[str, ...] = ()


def measure(labelled: Labelled, baseline: Baseline, columns: Sequence[str]) -> tuple[Group, ...]:
    """Measure the groups of declared columns; flagged ones first.

    Parameters
    ----------
    labelled : Labelled
        With inputs.
    baseline : Baseline
        What testing found.
    columns : sequence of str
        That say who belongs to which group.

    Raises
    ------
    UnknownName
        The inputs have no such column.
    """
    frame, outcomes = labelled.inputs, labelled.outcomes
    assert frame is not None
    found: list[Group] = []
    served = frozenset({outcomes.main, "recall", "fpr"} if outcomes.task == "binary" else
                       {outcomes.main})  # fmt: skip
    for column in columns:
        if column not in frame.columns:
            raise UnknownName("column", column, map(str, frame.columns))
        cut = cut_of(labelled, baseline, column)
        codes, size = codes_of(labelled, cut), len(cut.names)
        rows = np.bincount(codes[codes >= 0], minlength=size)
        known = baseline.parts.get(column)
        metrics = outcomes.by_part(codes, size)
        base = int(np.argmax(rows if known is None else known.rows))
        gaps = _gaps(outcomes, codes, size, base, known)
        for part, name in enumerate(cut.names):
            if not rows[part]:
                continue
            references = {} if known is None else known.metrics[part]
            own = tuple(metric.against(references) for metric in metrics[part])
            own_gaps = () if part == base else tuple(gaps[part])
            found.append(Group(column, name, int(rows[part]), cut.names[base], own, own_gaps))
    judged = judge([one.metrics for one in found], [one.rows for one in found], names=served)
    gapped = _judged([one.gaps for one in found], [one.rows for one in found])
    groups = [
        _verdict(replace(one, metrics=tuple(metrics), gaps=gaps))
        for one, metrics, gaps in zip(found, judged, gapped, strict=True)
    ]
    return tuple(sorted(groups, key=lambda one: one.worse is not True))


def _gaps(
    outcomes: Outcomes, codes: NDArray[np.int64], size: int, base: int, known: Part | None
) -> list[list[Gap]]:
    """Compare each part's rates with the base's."""
    found: list[list[Gap]] = [[] for _ in range(size)]
    if outcomes.task != "binary":
        return found
    inside = codes >= 0
    truth, said, places = outcomes.truth[inside], outcomes.predicted[inside], codes[inside]
    bases = {"selection_rate": np.ones(len(said), bool), "recall": truth, "fpr": ~truth}
    for name in RATES:
        hits = np.bincount(places, weights=said & bases[name], minlength=size)
        total = np.bincount(places, weights=bases[name], minlength=size)
        for part in range(size):
            if part == base or not total[part] or not total[base]:
                continue
            counts = hits[part], total[part], hits[base], total[base]
            difference = float(counts[0] / counts[1] - counts[2] / counts[3])
            ratio, bounds = None, katz(*counts)
            if counts[2]:
                ratio = float(counts[0] / counts[1] / (counts[2] / counts[3]))
            low, high = bounds if bounds is not None else (None, None)
            gap = Gap(name, difference, *newcombe(*counts), ratio, low, high)
            if known is not None and name in known.metrics[part] and name in known.metrics[base]:
                (mine, half), (theirs, other) = known.metrics[part][name], known.metrics[base][name]
                gap = replace(gap, reference=mine - theirs, reference_half=math.hypot(half, other))
            found[part].append(gap)
    return found


def _judged(groups: Sequence[tuple[Gap, ...]], rows: Sequence[int]) -> list[tuple[Gap, ...]]:
    """Return gaps with their verdicts, corrected together."""
    from scipy.stats import false_discovery_control, norm

    places, values = [], []
    for group, size in enumerate(rows):
        for place, gap in enumerate(groups[group]):
            if size >= LEAST_ROWS and gap.z is not None:
                places.append((group, place))
                values.append(float(norm.sf(gap.z)))
    corrected = false_discovery_control(values) if values else []
    found = [list(group) for group in groups]
    for (group, place), q_value in zip(places, corrected, strict=True):
        gap = found[group][place]
        worse = bool(q_value <= ALPHA) and gap.matters
        found[group][place] = replace(gap, q_value=float(q_value), worse=worse)
    return [tuple(group) for group in found]


def _verdict(group: Group) -> Group:
    reasons = [
        f"{metric.name} is {metric.value:.3g}, in testing it was {metric.reference:.3g}"
        for metric in group.metrics
        if metric.worse
    ]
    for gap in group.gaps:
        if gap.worse:
            text = f"{gap.name} is {gap.difference:+.3g} from {group.against}"
            before = "" if gap.reference is None else f", in testing {gap.reference:+.3g}"
            reasons.append(text + before)
    verdicts = [one.worse for one in group.metrics] + [one.worse for one in group.gaps]
    known = [worse for worse in verdicts if worse is not None]
    return replace(group, worse=any(known) if known else None, reasons=tuple(reasons))
