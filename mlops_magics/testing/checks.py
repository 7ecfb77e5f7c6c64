"""Test a model on held-out rows, keep the report, and stop what does not pass."""

# ruff: noqa: PT028 - the verb is called test; it is no test of pytest

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlops_magics.errors import GateFailed, InvalidArgument, ModelNotFound, UnknownName
from mlops_magics.measures import importance
from mlops_magics.measures.baseline import Baseline
from mlops_magics.store import datasets, evidence, predictors
from mlops_magics.store.workspace import Workspace, resolve
from mlops_magics.testing import archive, gates
from mlops_magics.testing.bootstrap import Estimate, Resampling
from mlops_magics.testing.metrics import ALIASES, METRICS, Metric, Outcome, primary_of
from mlops_magics.testing.report import Calibration, Measured, TestReport
from mlops_magics.testing.slices import Slice, Slicing
from mlops_magics.testing.subject import (
    Subject,
    latency,
    latency_estimate,
    outcome_of,
    subject_of,
    task_of,
)

if TYPE_CHECKING:
    from mlops_magics.testing.metrics import Floats

__all__ = ["test"]

_WITNESS = 40
_BINS = 10
_PATIENCE = 5.0  # seconds for the features' importance


def test(
    model: Any,
    data: pd.DataFrame | str,
    target: str,
    *,
    task: str | None = None,
    min: Mapping[str, float | str] | None = None,  # noqa: A002 - the gate's word in all faces
    max: Mapping[str, float | str] | None = None,  # noqa: A002 - likewise
    no_worse_than: Any = None,
    slices: Sequence[str] = (),
    groups: Sequence[str] = (),
    max_gap: float | Mapping[str, float] | None = None,
    name: str | None = None,
    run: str | None = None,
    seed: int = 0,
    workspace: Workspace | None = None,
) -> TestReport:
    """Measure a model on held-out rows; raise when a gate does not hold.

    All gates are checked, and the report is kept in its run, before anything is raised. The
    interval decides, not the point: see `mlops_magics.testing.gates`. A report without gates
    measures, and neither passes nor fails. A gate that failed earlier for the same model counts
    against it until it is asked again, by its kind and metric, and holds.

    Parameters
    ----------
    model : object
        With ``predict``, a function of a DataFrame, a `Package`, or a reference: also to what
        a script has logged with MLflow itself, ``runs:/RUN/model``, or a ``.skops`` file.
    data : DataFrame of shape (n_rows, n_columns) or str
        Held-out rows, or a dataset's reference.
    target : str
        The column with the truth.
    task : str, optional
        ``binary``, ``multiclass``, ``classification`` or ``regression``; default: by model and
        target.
    min, max : mapping of str to float, optional
        Floors and ceilings by metric; ``latency_p95`` is in milliseconds for single rows.
    no_worse_than : object or str, optional
        Another model, compared on the same rows; ``champion`` alone is the alias of ``name``.
        Before the first promotion there is none: a registered model that has no such alias yet,
        or the model ``name`` before its first version, is no bar, and a note says so. Anything
        else that does not exist is an error.
    slices : sequence of str
        Columns to measure by.
    groups : sequence of str
        Columns that say who belongs to which group of people: measured by as ``slices`` are, and
        watched for fairness once the model is served.
    max_gap : float or mapping of str to float, optional
        Largest difference between two slices: of the first metric, or by ``metric:column``.
    name : str, optional
        The registered model's name; default: the model's own.
    run : str, optional
        MLflow's run that keeps the report; default: the package's, the active one, or a new one.
    seed : int
        Of the bootstrap.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    GateFailed
        A gate did not hold; ``report`` has all of it.
    UnknownName
        A metric or column that does not exist.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> data = load_breast_cancer(as_frame=True).frame
    >>> train, holdout = data[::2], data[1::2]
    >>> model = LogisticRegression(max_iter=5000)
    >>> model = model.fit(train.drop(columns="target"), train["target"])
    >>> report = test(model, holdout, "target", min={"roc_auc": 0.9}, workspace=workspace)
    >>> report.passed, report.task, report.rows
    (True, 'binary', 284)
    """
    workspace = resolve(workspace)
    subject = subject_of(workspace, model)
    frame, data_name, notes = _held_out(workspace, data, target)
    truth = frame[target]
    kind, classes = task_of(subject, truth, task)
    features = subject.features(frame, target)
    outcome = outcome_of(subject, features, truth, kind, classes)
    if outcome.scores is not None and kind == "binary":
        # ranking metrics are much faster on rows in the order of their scores
        order = np.argsort(-outcome.scores[:, 1], kind="stable")
        outcome, frame = outcome.take(order), frame.iloc[order]
        features, truth = features.iloc[order], truth.iloc[order]
    metrics = [one for one in METRICS[kind] if outcome.scores is not None or not one.needs_scores]
    exam = _Exam(subject, features, truth, frame, outcome, metrics, Resampling(len(outcome), seed))
    known = [metric.name for metric in metrics]
    floors = gates.thresholds("min", min, known)
    ceilings = gates.thresholds("max", max, known)
    slices = list(dict.fromkeys([*slices, *groups]))
    gaps = _gaps(max_gap, slices, metrics, outcome)
    found = exam.estimates([*floors, *ceilings])
    checked = [gates.minimum(each, found[each.metric]) for each in floors]
    checked += [gates.maximum(each, found[each.metric]) for each in ceilings]
    parts, gap_gates = exam.by_slice(slices, gaps)
    checked += gap_gates
    if no_worse_than is not None:
        gate, note = exam.compared(workspace, no_worse_than, name, classes)
        checked += [gate] if gate else []
        notes += [note] if note else []
    with archive.run_of(workspace, run, subject, name or subject.name) as run_id:
        earlier = archive.unsettled(workspace, subject, run_id, checked)
        report = TestReport(
            name=name or subject.name,
            model=subject.name,
            digest=subject.digest,
            data=data_name,
            target=target,
            task=kind,
            classes=classes,
            rows=len(outcome),
            metrics=[
                Measured(each, found[each].value, found[each].low, found[each].high)
                for each in found
            ],
            gates=checked,
            slices=parts,
            calibration=_calibration(outcome),
            passed=_verdict(checked, earlier),
            run_id=run_id,
            created=time.time(),
            seed=seed,
            resamples=exam.resampling.count,
            notes=notes,
            witness=_witness(subject, features, seed),
            unsettled=earlier,
            groups=list(groups),
            baseline=exam.baseline(slices, classes).to_dict(),
        )
        archive.keep(workspace, report, subject)
    if report.failed:
        raise _failure(report)
    return report


@dataclass(frozen=True)
class _Exam:
    """One subject on the held-out rows, and the resamples that all comparisons share."""

    subject: Subject
    features: pd.DataFrame
    truth: pd.Series
    frame: pd.DataFrame
    outcome: Outcome
    metrics: list[Metric]
    resampling: Resampling

    def estimates(self, asked: list[gates.Threshold]) -> dict[str, Estimate]:
        """Return every metric of the task, and the latencies that were asked for."""
        found = self.resampling.estimate(self.metrics, self.outcome)
        wanted = [each.metric for each in asked if each.metric in gates.LATENCY]
        if wanted:
            taken = latency(self.subject, self.features, self.resampling.seed)
            found |= {each: latency_estimate(taken, each) for each in wanted}
        return found

    def baseline(self, columns: Sequence[str], classes: list[Any]) -> Baseline:
        """Return what monitoring compares with: by the columns asked for, then by each feature."""
        rows = importance.sample(self.features, self.resampling.seed)
        features, truth = self.features.iloc[rows], self.truth.iloc[rows]

        def losses(frame: pd.DataFrame) -> Floats:
            found = outcome_of(self.subject, frame, truth, self.outcome.task, classes)
            return found.measurable.losses()

        gained = importance.permuted(features, losses, seed=self.resampling.seed, seconds=_PATIENCE)
        wanted = [*columns, *map(str, self.features.columns)]
        return Baseline.of(self.outcome.measurable, self.frame, wanted, gained)

    def by_slice(
        self, columns: Sequence[str], asked: Mapping[str, list[gates.Threshold]]
    ) -> tuple[list[Slice], list[gates.Gate]]:
        """Measure each column's parts, and check the gaps between them."""
        parts: list[Slice] = []
        checked: list[gates.Gate] = []
        primary = primary_of(self.outcome)
        for column in dict.fromkeys([*columns, *asked]):
            slicing = Slicing(self.frame, column)
            wanted = {each.metric for each in asked.get(column, [])} | {primary.name}
            metrics = [metric for metric in self.metrics if metric.name in wanted]
            measured, drawn = slicing.measure(metrics, self.outcome, self.resampling)
            parts += measured
            for each in asked.get(column, []):
                threshold = gates.Threshold(f"{each.metric}:{column}", each.value)
                checked.append(gates.gap(threshold, slicing.largest_gap(drawn[each.metric])))
        return parts, checked

    def compared(
        self, workspace: Workspace, other: Any, name: str | None, classes: list[Any]
    ) -> tuple[gates.Gate | None, str | None]:
        """Compare with another model on the same rows; a model that does not exist is no bar."""
        rival = _rival(workspace, other, name or self.subject.registered)
        if isinstance(rival, str):
            return None, f"nothing to compare with yet: {rival}"
        features = rival.features(self.frame, str(self.truth.name))
        theirs = outcome_of(rival, features, self.truth, self.outcome.task, classes)
        metric = primary_of(theirs if theirs.scores is None else self.outcome)
        drawn: list[dict[str, Floats]] = self.resampling.resample([metric], [self.outcome, theirs])
        once = np.ones((1, len(theirs)))
        values = [float(metric.compute(each, once)[0]) for each in (self.outcome, theirs)]
        difference = drawn[0][metric.name] - drawn[1][metric.name]
        paired = Estimate.of(values[0] - values[1], difference)
        return gates.no_worse(metric, rival.name, values[0], values[1], paired), None


def _rival(workspace: Workspace, other: Any, name: str | None) -> Subject | str:
    """Return the other model; the reason, where it will only come to be."""
    alias = isinstance(other, str) and re.fullmatch(r"(?:models:/)?(?:([^@/:]+)@)?([^@/:]+)", other)
    try:
        return subject_of(workspace, other)
    except ModelNotFound as exc:
        if not alias:
            raise
        registered = alias[1]
        if registered is None:  # a bare word: no model of that name, so an alias
            if name is None:
                raise ModelNotFound(
                    exc.message,
                    hint=f"an alias alone needs the model's name: --name NAME, or NAME@{other}",
                ) from exc
            registered = name
        try:
            return subject_of(workspace, f"{registered}@{alias[2]}")
        except ModelNotFound as missing:
            if registered == name or "has no alias" in missing.message:
                return missing.message
            raise ModelNotFound(
                exc.message,
                hint=f"{exc.hint}; before the first version of {registered!r} itself give its "
                f"name: --name {registered}",
            ) from exc


def _held_out(
    workspace: Workspace, data: pd.DataFrame | str, target: str
) -> tuple[pd.DataFrame, str, list[str]]:
    if isinstance(data, str):
        version = datasets.resolve(workspace, data)
        frame, data_name = version.read(), version.ref
    elif isinstance(data, pd.DataFrame):
        frame, data_name = data, f"DataFrame of {data.shape[1]} columns"
    else:
        raise InvalidArgument(f"data is a {type(data).__name__}, not a DataFrame or a dataset")
    if target not in frame.columns:
        raise UnknownName("column", target, map(str, frame.columns))
    labelled = frame[target].notna()
    notes = []
    if not labelled.all():
        notes.append(f"{int((~labelled).sum()):,} rows without a {target} were left out")
        frame = frame[labelled]
    if len(frame) < 2:
        raise InvalidArgument(f"there are {len(frame)} held-out rows with a {target}: too few")
    return frame, data_name, notes


def _gaps(
    asked: float | Mapping[str, float] | None,
    slices: Sequence[str],
    metrics: list[Metric],
    outcome: Outcome,
) -> dict[str, list[gates.Threshold]]:
    """Return the gaps to check by column."""
    if asked is None:
        return {}
    if not isinstance(asked, Mapping):
        if not slices:
            raise InvalidArgument(
                f"max_gap = {asked} says not between what", hint="name the columns: --slice COLUMN"
            )
        asked = dict.fromkeys(slices, asked)
    found: dict[str, list[gates.Threshold]] = {}
    for key, value in asked.items():
        metric, separator, column = key.partition(":")
        if not separator:
            metric, column = primary_of(outcome).name, key
        metric = ALIASES.get(metric, metric)
        if metric not in {one.name for one in metrics}:
            raise UnknownName("metric", metric, [one.name for one in metrics])
        threshold = gates.Threshold(metric, gates.number(f"max_gap {key}", value))
        found.setdefault(column, []).append(threshold)
    return found


def _calibration(outcome: Outcome) -> Calibration | None:
    """Compare probabilities with frequencies in ten bins of equal size."""
    if outcome.task != "binary" or outcome.scores is None or len(outcome) < _BINS:
        return None
    scores = outcome.scores[:, 1]
    bins = np.array_split(np.argsort(scores, kind="stable"), _BINS)
    predicted = [float(scores[rows].mean()) for rows in bins]
    observed = [float(outcome.truth[rows].mean()) for rows in bins]
    sizes = [len(rows) for rows in bins]
    off = np.abs(np.subtract(predicted, observed))
    return Calibration(float(np.average(off, weights=sizes)), predicted, observed, sizes)


def _witness(subject: Subject, features: pd.DataFrame, seed: int) -> dict[str, Any] | None:
    places = np.random.default_rng(seed).permutation(len(features))[:_WITNESS]
    rows = features.iloc[places].reset_index(drop=True)
    return evidence.witness(rows, predictors.distinctive(subject.model)(rows))


def _verdict(checked: list[gates.Gate], earlier: list[gates.Gate]) -> bool | None:
    report = {"gates": [vars(gate) for gate in checked], "unsettled": [vars(g) for g in earlier]}
    return evidence.verdict(report)


def _failure(report: TestReport) -> GateFailed:
    first, *others = report.failed
    count = f"{len(report.failed)} of {len(report.gates)} gates failed"
    also = f"; also: {', '.join(f'{gate.kind} {gate.metric}' for gate in others)}" if others else ""
    lines = [
        first.message,
        f"  {count} on {report.rows:,} rows of {report.data}{also}",
        f"  the report is kept in run {report.run_id}",
    ]
    return GateFailed(
        "\n".join(lines),
        hint="improve the model, or change the gate if it asks for too much",
        report=report,
    )
