"""Two sets of rows compared in every way: the verb ``drift``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring import backlog, classifier, log, outliers, spans, statistics, traffic
from mlops_magics.monitoring import windows as ranges
from mlops_magics.monitoring.classifier import Separation
from mlops_magics.monitoring.comparison import (
    CRITERIA,
    LEAST_ROWS,
    RATE,
    UNCALIBRATED,
    Drift,
    compare,
)
from mlops_magics.monitoring.difference import DriftReport
from mlops_magics.monitoring.outliers import Outliers
from mlops_magics.monitoring.references import PREDICTION, References
from mlops_magics.profiles import Calibration, Profile, calibrate
from mlops_magics.profiles import values as read
from mlops_magics.store import datasets
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["drift"]

ROWS = 50_000  # of either window, read from the inference table


def drift(
    subject: str | pd.DataFrame,
    *,
    reference: str | pd.DataFrame | None = None,
    last: str | float = "1h",
    since: float | str | datetime | None = None,
    until: float | str | datetime | None = None,
    against: str = "training",
    rate: float = RATE,
    workspace: Workspace | None = None,
) -> DriftReport:
    """Compare an endpoint's traffic with its training data or an earlier window, or two tables.

    Every column by distances and tests, with a threshold that is calibrated for the asked
    false-alarm rate; the rows as a whole by a classifier, which also sees what no column shows
    alone; and the share of unusual rows.

    Parameters
    ----------
    subject : str or DataFrame
        An endpoint's name; with ``reference``, a table or a dataset.
    reference : str or DataFrame, optional
        The table or dataset to compare with.
    last : str or float
        Span until now (or until ``until``): ``"1h"``, ``"30m"``, or seconds.
    since, until : float, str or datetime, optional
        The window's range itself.
    against : str
        ``"training"``: the data that the package was made with (skew). A span such as ``"1d"``:
        the window that long before (drift). ``"SINCE/UNTIL"``: any other window.
    rate : float
        Asked false-alarm rate: the share of windows like the reference with a significant column.
        The classifier has the same rate once more.
    workspace : Workspace, optional
        Default: found from the working directory.

    Returns
    -------
    DriftReport
        ``.df`` has a row for each column.

    Raises
    ------
    EndpointNotFound, DatasetNotFound
        There is none of that name.
    InvalidArgument
        A range cannot be understood or is empty, or there is nothing to compare with.

    Examples
    --------
    >>> import pandas as pd
    >>> may = pd.DataFrame({"hour": [6, 7, 8, 9] * 250, "origin": ["JFK", "LGA"] * 500})
    >>> june = may.assign(hour=may["hour"] + (may["origin"] == "JFK"))
    >>> found = drift(june, reference=may)
    >>> found.drifted, [one.name for one in found if one.drifted]
    (True, ['hour'])
    """
    if not 0 < rate < 1:
        raise InvalidArgument(f"a false-alarm rate of {rate:g} is not between 0 and 1")
    if reference is not None:
        before, now = (_table(one, workspace) for one in (reference, subject))
        names = [one if isinstance(one, str) else "the reference" for one in (reference, subject)]
        return _of_rows(
            now,
            before,
            rate,
            subject=names[1] if isinstance(subject, str) else "data",
            against=names[0],
        )
    if not isinstance(subject, str):
        raise InvalidArgument(
            f"a {type(subject).__name__} is compared with another table",
            hint="name it: --reference TRAIN   (in Python: reference=train)",
        )
    begin, end = _range(last, since, until)
    return _of_endpoint(resolve(workspace), subject, begin, end, against, rate)


def _table(data: str | pd.DataFrame, workspace: Workspace | None) -> pd.DataFrame:
    if isinstance(data, str):
        return datasets.read(resolve(workspace), data)
    if not hasattr(data, "columns") or not hasattr(data, "iloc"):
        raise InvalidArgument(f"a {type(data).__name__} is no table and no dataset")
    return data


def _range(last: Any, since: Any, until: Any) -> tuple[float, float]:
    end = time.time() if until is None else spans.moment(until)
    begin = end - spans.seconds(last) if since is None else spans.moment(since)
    if end <= begin:
        raise InvalidArgument(f"the range from {begin:.0f} to {end:.0f} is empty")
    return begin, end


def _earlier(against: str, begin: float, end: float) -> tuple[float, float]:
    """Return the range that ``against`` names."""
    first, separator, second = against.partition("/")
    if separator:
        return _range(None, first, second)
    try:
        span = spans.seconds(against)
    except InvalidArgument as exc:
        raise InvalidArgument(
            f"{against!r} is nothing to compare with",
            hint="write training, a span such as 1d, or SINCE/UNTIL",
        ) from exc
    return begin - span, end - span


def _of_endpoint(
    workspace: Workspace, endpoint: str, begin: float, end: float, against: str, rate: float
) -> DriftReport:
    backlog.settle(workspace)
    references = References()
    with workspace.database.read() as connection:
        traffic.require(connection, endpoint)
        variants = traffic.variants(connection, endpoint)
        found = ranges.read(connection, endpoint, begin, end, references)
        key = variants[0].revision if variants else max(found, default=0)
        reference = references.of(connection, key)
        revision = key if against == "training" else None
        frame, total = log.sample(connection, endpoint, begin, end, ROWS, revision=revision)
        if against != "training":
            first, second = _earlier(against, begin, end)
            before, earlier = log.sample(connection, endpoint, first, second, ROWS)
    facts: dict[str, Any] = {"subject": endpoint, "since": begin, "until": end}
    hidden = reference.masked
    if against != "training":
        words = f"its traffic from {_moment(first)} to {_moment(second)}"
        facts |= {"against": words, "count": total, "reference_count": earlier}
        return _of_rows(
            frame.drop(columns=[name for name in hidden if name in frame]),
            before.drop(columns=[name for name in hidden if name in before]),
            rate,
            apart={PREDICTION},
            **facts,
        )
    facts["against"] = "the training data"
    if reference.profile is None:
        why = "the package has no reference profile: package the model again"
        return DriftReport(rate=rate, notes=[why], **facts)
    window = ranges.total(found.get(key, []))
    profile = None if window is None else window.profile
    if profile is None:
        facts["reference_count"] = reference.profile.rows
        return DriftReport(rate=rate, notes=["no predictions in this time"], **facts)
    notes = [] if reference.calibration is not None else [UNCALIBRATED]
    notes += [f"the values of {name} are not kept" for name in sorted(hidden)]
    rows = reference.rows()
    if rows is None:
        notes.append("the package keeps no rows, so the rows as a whole were not compared")
    return _report(
        compare(
            reference.profile,
            profile,
            calibration=reference.calibration,
            masked=hidden,
            rate=rate,
        ),
        reference.calibration,
        rate,
        _separate(reference.profile, rows, frame, rate, hidden | {PREDICTION}),
        _count(reference.profile, rows, frame, rate, hidden | {PREDICTION}),
        notes,
        count=profile.rows,
        reference_count=reference.profile.rows,
        **facts,
    )


def _of_rows(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    rate: float,
    *,
    apart: Collection[str] = (),
    count: int | None = None,
    reference_count: int | None = None,
    **facts: Any,
) -> DriftReport:
    """Compare rows with rows: thresholds are calibrated for just this comparison.

    Columns that are ``apart`` are not shown to the classifier.
    """
    notes = []
    total, other = count or len(current), reference_count or len(reference)
    if total > len(current) or other > len(reference):
        notes.append(f"of many rows {len(current):,} and {len(reference):,} were compared")
    profile = Profile.of(reference)
    now = Profile.of(current, profile)
    if now.extra:
        notes.append("columns that the reference does not have: " + ", ".join(now.extra))
    thresholds = None
    if min(len(current), len(reference)) >= LEAST_ROWS:
        drawn = reference
        if len(reference) > ROWS:
            drawn = reference.iloc[np.random.default_rng(0).integers(0, len(reference), ROWS)]
        thresholds = calibrate(drawn, profile, sizes=[len(current)], reference_rows=len(reference))
    found = [
        _exact(one, current, reference)
        for one in compare(profile, now, calibration=thresholds, rate=rate)
    ]
    chosen = np.random.default_rng(1).permutation(len(reference))[: classifier.ROWS]
    rows = profile.codes(reference.iloc[np.sort(chosen)])
    return _report(
        found,
        thresholds,
        rate,
        _separate(profile, rows, current, rate, apart),
        _count(profile, rows, current, rate, apart),
        notes,
        count=total,
        reference_count=other,
        **facts,
    )


def _exact(one: Drift, current: pd.DataFrame, reference: pd.DataFrame) -> Drift:
    """Replace what bins say of a number's distances by what the values themselves do."""
    if one.type != "numeric" or one.name not in current or one.name not in reference:
        return one
    sides = [read.numbers(frame[one.name], one.type)[0] for frame in (reference, current)]
    found = statistics.of_samples(*sides)
    if found is None:
        return one
    return dataclasses.replace(one, statistic=found.statistic, wasserstein=found.wasserstein)


def _separate(
    profile: Profile,
    rows: pd.DataFrame | None,
    frame: pd.DataFrame,
    rate: float,
    without: Collection[str],
) -> Separation | None:
    if rows is None or frame.empty:
        return None
    return classifier.classify(profile, rows, profile.codes(frame), rate=rate, without=without)


def _count(
    profile: Profile,
    rows: pd.DataFrame | None,
    frame: pd.DataFrame,
    rate: float,
    without: Collection[str],
) -> Outliers | None:
    if frame.empty:
        return None
    return outliers.count(profile, rows, frame, rate=rate, without=without)


def _report(
    found: list[Drift],
    calibration: Calibration | None,
    rate: float,
    separation: Separation | None,
    unusual: Outliers | None,
    notes: list[str],
    *,
    count: int,
    **facts: Any,
) -> DriftReport:
    verdicts = [one.drifted for one in found] + [separation.drifted if separation else None]
    measured = None if calibration is None else calibration.measured(count, rate)
    few = f"{count} rows are too few to call drift; {LEAST_ROWS} are needed"
    rule = CRITERIA if count >= LEAST_ROWS else few
    return DriftReport(
        rows=tuple(sorted(found, key=lambda one: (not one.drifted, -(one.psi or 0.0)))),
        count=count,
        drifted=True if True in verdicts else False if False in verdicts else None,
        rate=rate,
        threshold=found[0].threshold if found else None,
        null_windows=calibration.windows if calibration is not None else 0,
        null_significant=None if measured is None else measured[0],
        null_drifted=None if measured is None else measured[1],
        separation=separation,
        outliers=unusual,
        notes=[
            rule,
            *notes,
            *([UNCALIBRATED] if calibration is None and count >= LEAST_ROWS else []),
        ],
        **facts,
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
