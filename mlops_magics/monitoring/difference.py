"""What a comparison of two sets of rows found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_magics.cards import Badge, Card, Grid, Interval, Time
from mlops_magics.monitoring.classifier import Separation
from mlops_magics.monitoring.comparison import RATE, Drift
from mlops_magics.monitoring.outliers import Outliers
from mlops_magics.records import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DriftReport"]


@dataclass(frozen=True)
class DriftReport(Table):
    """How one set of rows differs from another; its rows are the columns, as `Drift`.

    Attributes
    ----------
    subject, against : str
        What was compared with what.
    since, until : float or None
        The window's range, in seconds since 1970; None of data.
    count, reference_count : int
        Rows of both sides.
    drifted : bool or None
        A column drifted, or the classifier tells the rows apart; None: too few rows to say.
    rate : float
        Asked false-alarm rate.
    threshold : float or None
        For the columns' q-values.
    null_windows : int
        How many windows like the reference were drawn to measure how often they alarm; 0: none,
        and the threshold is not calibrated.
    null_significant, null_drifted : float or None
        The share of them with a significant column, and with one that is called drifted.
    separation : Separation or None
        The domain classifier's result; None with too few rows.
    outliers : Outliers or None
        Unusual rows; None where the rows themselves are not known.
    notes : list of str
        The rule, and what could not be done.
    """

    subject: str = ""
    against: str = ""
    since: float | None = None
    until: float | None = None
    count: int = 0
    reference_count: int = 0
    drifted: bool | None = None
    rate: float = RATE
    threshold: float | None = None
    null_windows: int = 0
    null_significant: float | None = None
    null_drifted: float | None = None
    separation: Separation | None = None
    outliers: Outliers | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def df(self) -> pd.DataFrame:
        """One row for each column, the most different first."""
        import pandas as pd

        rows = []
        for one in self.rows:
            values = {key: value for key, value in vars(one).items() if key != "nulls"}
            values["nulls_reference"] = one.nulls.get("reference")
            values["nulls_current"] = one.nulls.get("current")
            values["unseen"], values["reasons"] = list(one.unseen), "; ".join(one.reasons)
            rows.append(values)
        return pd.DataFrame(rows)

    def card(self) -> Card:
        badge = {
            True: Badge("drifted", "warn"),
            False: Badge("stable", "good"),
            None: Badge("unknown", "neutral"),
        }
        facts: list[tuple[str, Any]] = [("against", self.against)]
        if self.since is not None:
            facts += [("from", Time(self.since)), ("to", Time(self.until))]
        facts += [("rows", f"{self.count:,} against {self.reference_count:,}")]
        if self.null_windows:
            significant, drifted = self.null_significant or 0.0, self.null_drifted or 0.0
            facts.append(
                (
                    "false alarms",
                    f"{drifted:.1%} of {self.null_windows:,} windows like the reference drifted, "
                    f"{significant:.1%} were significant; asked {self.rate:.1%}",
                )
            )
        grids = [Grid(_TITLES, [_cells(one) for one in self.rows], shown=20)] if self.rows else []
        if self.separation is not None:
            grids.append(_separated(self.separation))
        if self.outliers is not None:
            grids.append(_unusual(self.outliers))
        return Card(
            title=self.subject,
            subtitle="drift",
            badge=badge[self.drifted],
            facts=facts,
            grids=grids,
            notes=self.notes,
        )


_TITLES = ["column", "", "PSI", "JS", "Wasserstein", "q", "nulls", "was", "why"]


def _cells(one: Drift) -> list[Any]:
    verdicts = {
        True: Badge("drifted", "warn"),
        False: Badge("stable", "good"),
        None: Badge("unknown", "neutral"),
    }
    now, before = one.nulls.get("current"), one.nulls.get("reference")
    return [
        one.name,
        verdicts[one.drifted],
        one.psi,
        one.js,
        one.wasserstein,
        None if one.q_value is None else f"{one.q_value:.2g}",
        None if now is None else f"{now:.1%}",
        None if before is None else f"{before:.1%}",
        "; ".join(one.reasons),
    ]


def _separated(found: Separation) -> Grid:
    names = ", ".join(name for name, _ in found.features)
    row = [Interval(found.auc, found.low, found.high), f"{found.p_value:.2g}", names or None]
    title = (
        "a classifier tells the rows apart" if found.drifted else "no classifier tells them apart"
    )
    return Grid(["AUC", "p", "by"], [row], title)


def _unusual(found: Outliers) -> Grid:
    names = ", ".join(f"{name} ({number:,})" for name, number in found.columns[:5])
    far = None if found.far is None else f"{found.far:,} ({found.expected:.1f} expected)"
    p_value = None if found.p_value is None else f"{found.p_value:.2g}"
    titles = ["rows", "outside the ranges", "in", "far from the reference", "p"]
    return Grid(titles, [[found.rows, found.outside, names, far, p_value]], "unusual rows")
