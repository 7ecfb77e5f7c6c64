"""Test reports: what was measured, what was asked for, and whether it held."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Any

from mlops_magics.cards import Badge, Card, Code, Grid, Interval, Spark
from mlops_magics.records import Record
from mlops_magics.testing.gates import LATENCY, Gate
from mlops_magics.testing.slices import Slice

__all__ = ["Calibration", "Measured", "TestReport"]


@dataclass(frozen=True)
class Measured:
    """A metric's value with its 95 % bootstrap interval; None where it is not defined."""

    name: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be taken at their word.

    Attributes
    ----------
    ece : float
        Expected calibration error over bins of equal size (Guo et al., 2017).
    predicted, observed : list of float
        Mean probability and share of positives in each bin.
    rows : list of int
        The bins' sizes.
    """

    ece: float
    predicted: list[float]
    observed: list[float]
    rows: list[int]


@dataclass(frozen=True)
class TestReport(Record):
    """The result of testing a model on held-out rows.

    Attributes
    ----------
    name, model : str
        The test's and the model's name.
    digest : str
        Of the package tested; empty for a live object, which the witness identifies.
    data : str
        The held-out dataset, or the frame's shape.
    target, task : str
        The column with the truth; ``binary``, ``multiclass`` or ``regression``.
    rows : int
        Rows tested.
    metrics : list of Measured
        All metrics of the task.
    gates : list of Gate
        Conditions, those that held too.
    slices : list of Slice
        Parts of the data.
    calibration : Calibration or None
        For probabilities of two classes.
    passed : bool or None
        Whether every gate held; None when none was asked for and none is unsettled.
    run_id : str
        The run that keeps the report.
    witness : dict or None
        A few rows with the model's answers, by which it is known again.
    unsettled : list of Gate
        Gates that failed in an earlier test of this model and were not asked again since.
    groups : list of str
        Columns that declare groups of people, for monitoring.
    baseline : dict or None
        What monitoring compares with: metrics by slice of each feature, how truth goes with the
        scores, the features' importance; see `mlops_magics.measures.baseline`.
    """

    __test__ = False  # pytest takes classes named Test… for tests

    name: str
    model: str
    digest: str
    data: str
    target: str
    task: str
    classes: list[Any]
    rows: int
    metrics: list[Measured]
    gates: list[Gate]
    slices: list[Slice]
    calibration: Calibration | None
    passed: bool | None
    run_id: str
    created: float
    seed: int
    resamples: int
    notes: list[str] = field(default_factory=list)
    witness: dict[str, Any] | None = field(default=None, repr=False)
    unsettled: list[Gate] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    baseline: dict[str, Any] | None = field(default=None, repr=False)

    def metric(self, name: str) -> Measured:
        """Return one metric by name."""
        return next(each for each in self.metrics if each.name == name)

    @property
    def failed(self) -> list[Gate]:
        """The gates that did not hold."""
        return [gate for gate in self.gates if not gate.passed]

    def card(self) -> Card:
        """Show the verdict, gates, metrics with intervals, and slices."""
        held = len(self.gates) - len(self.failed)
        if self.unsettled and not self.failed:
            badge = Badge("an earlier failure stands", "bad")
        elif not self.gates:
            badge = Badge("no gates", "neutral")
        elif self.passed:
            badge = Badge(f"{held} of {len(self.gates)} gates passed", "good")
        else:
            badge = Badge(f"{len(self.failed)} of {len(self.gates)} gates failed", "bad")
        facts: list[tuple[str, Any]] = [
            ("data", f"{self.data} · {self.rows:,} rows"),
            ("target", f"{self.target} · {self.task}"),
        ]
        if self.calibration is not None:
            facts.append(("calibration error", self.calibration.ece))
            facts.append(
                (
                    "observed | predicted",
                    Spark(self.calibration.observed, self.calibration.predicted),
                )
            )
        facts.append(("run", Code(self.run_id[:12])))
        return Card(
            title=self.model,
            subtitle="test report",
            badge=badge,
            facts=facts,
            grids=[grid for grid in (self._gates(), self._metrics(), *self._slices()) if grid.rows],
            notes=[
                *self.notes,
                *(f"failed earlier, not asked again: {gate.message}" for gate in self.unsettled),
                f"ranges are 95 % intervals of {self.resamples} bootstrap resamples",
            ],
        )

    def junit(self) -> str:
        """Return the report as JUnit XML: a test case for each gate, for CI systems."""
        suite = ET.Element(
            "testsuite",
            name=f"mlops test {self.model}",
            tests=str(max(len(self.gates), 1)),
            failures=str(len(self.failed)),
        )
        for gate in self.gates:
            against = f" {gate.against}" if gate.against else ""
            case = ET.SubElement(
                suite, "testcase", classname=self.model, name=f"{gate.kind} {gate.metric}{against}"
            )
            if not gate.passed:
                ET.SubElement(case, "failure", message=gate.message, type="GateFailed")
        if not self.gates:
            ET.SubElement(suite, "testcase", classname=self.model, name="measured without gates")
        return ET.tostring(suite, encoding="unicode", xml_declaration=True)

    def _gates(self) -> Grid:
        rows = []
        for gate in self.gates:
            sign = {"min": "≥", "max": "≤", "max_gap": "gap ≤", "no_worse_than": "no worse than"}
            unit = " ms" if gate.metric in LATENCY else ""
            asked = gate.against or f"{gate.threshold:g}{unit}"
            rows.append(
                [
                    Badge("passed", "good") if gate.passed else Badge("failed", "bad"),
                    gate.metric,
                    f"{sign[gate.kind]} {asked}",
                    Interval(gate.value, gate.low, gate.high),
                ]
            )
        return Grid(["gate", "metric", "asked", "found"], rows)

    def _metrics(self) -> Grid:
        return Grid(
            ["metric", "value"],
            [[one.name, Interval(one.value, one.low, one.high)] for one in self.metrics],
        )

    def _slices(self) -> list[Grid]:
        grids = []
        for column in dict.fromkeys(each.column for each in self.slices):
            own = [each for each in self.slices if each.column == column]
            metrics = list(dict.fromkeys(each.metric for each in own))
            rows = []
            for value in dict.fromkeys(each.value for each in own):
                found = {each.metric: each for each in own if each.value == value}
                cells = [
                    Interval(found[name].estimate, found[name].low, found[name].high)
                    for name in metrics
                ]
                rows.append([value, next(iter(found.values())).rows, *cells])
            grids.append(Grid([column, "rows", *metrics], rows, title=f"by {column}"))
        return grids
