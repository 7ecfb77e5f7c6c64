"""What a revision's package says about itself: how to read its outputs, and what is normal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mlops_magics.measures.baseline import Baseline
from mlops_magics.profiles import Calibration, Profile
from mlops_magics.store import evidence, tables

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PREDICTION", "Reference", "References"]

PREDICTION = "prediction"
"""The model's output among the columns of a reference profile."""


@dataclass(frozen=True)
class Reference:
    """The monitoring side of a package.

    Attributes
    ----------
    profile : Profile or None
        Of the training features and the prediction on them; None if the package has none.
    manifest : mapping
        ``task``, ``predict_fn``, ``classes``, ``target`` and more.
    report : mapping
        The JSON of the newest test report, the package's own or one made of it since; empty if
        there is none.
    calibration : Calibration or None
        Of drift's threshold; None if the package has none.
    masked : frozenset of str
        Columns whose values the endpoint does not keep, so that nothing can be said of them.
    folder : Path or None
        Where it was read.
    """

    profile: Profile | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    masked: frozenset[str] = frozenset()
    folder: Path | None = None

    @classmethod
    def load(cls, package: Path) -> Reference:
        """Read a package folder; what is missing there is missing here.

        Examples
        --------
        >>> Reference.load(Path("/nowhere")).profile is None
        True
        """
        folder = package / "mlops"
        names = ("reference", "manifest", "report", "calibration")
        found = {name: _json(folder / f"{name}.json") for name in names}
        later = _json(evidence.beside(package))
        if later and later.get("created", 0.0) > found["report"].get("created", 0.0):
            found["report"] = later
        profile = Profile.from_dict(found["reference"]) if found["reference"] else None
        drawn = Calibration.from_dict(found["calibration"]) if found["calibration"] else None
        return cls(profile, found["manifest"], found["report"], drawn, folder=folder)

    def rows(self) -> pd.DataFrame | None:
        """Return the bins of some training rows (`Profile.codes`); None if the package has none."""
        import pyarrow.parquet as pq

        path = None if self.folder is None else self.folder / "rows.parquet"
        if path is None or not path.is_file():
            return None
        frame: pd.DataFrame = pq.ParquetFile(path).read().to_pandas()
        return frame

    @property
    def task(self) -> str | None:
        """``classification``, ``regression`` or whatever the manifest says; None if unknown."""
        return self.manifest.get("task")

    @property
    def classes(self) -> Sequence[Any]:
        """The class labels in the order of the model's probability columns."""
        return self.manifest.get("classes") or []

    @property
    def scores(self) -> bool:
        """Whether outputs are probabilities."""
        return "proba" in str(self.manifest.get("predict_fn", ""))

    @cached_property
    def baseline(self) -> Baseline:
        """Read what testing found on held-out rows; an empty one if it was not tested."""
        return Baseline.from_dict(self.report.get("baseline") or {})

    @property
    def groups(self) -> Sequence[str]:
        """Columns that declare groups, as the test was told."""
        return self.report.get("groups") or []

    @staticmethod
    def prediction(output: Any) -> Any:
        """Return the one value of an output that is profiled: of several, the last.

        With two class probabilities that is the score of the positive class.

        Examples
        --------
        >>> [Reference.prediction(output) for output in ([0.3, 0.7], {"y": 2}, 5)]
        [0.7, 2, 5]
        """
        if isinstance(output, Mapping):
            output = list(output.values())
        if isinstance(output, (list, tuple)):
            return Reference.prediction(output[-1]) if output else None
        return output

    def decide(self, output: Any) -> Any:
        """Return the class or number that an output stands for."""
        if not self.scores:
            return self.prediction(output)
        if isinstance(output, Mapping):
            output = list(output.values())
        classes = self.classes or [0, 1]
        if isinstance(output, (list, tuple)) and len(output) == len(classes) > 1:
            return classes[max(range(len(output)), key=lambda place: output[place])]
        score = self.prediction(output)
        return None if score is None else classes[-1] if score >= 0.5 else classes[0]


class References:
    """The references of all revisions, each read once and again after a test of its package.

    Examples
    --------
    >>> from mlops_magics.store.database import Database
    >>> with Database("sqlite://").read() as connection:
    ...     References().of(connection, 7).profile is None
    True
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Reference] = {}

    def of(self, connection: Connection, revision: int) -> Reference:
        """Return a revision's reference; an empty one if it or its package is unknown."""
        query = (
            sa.select(tables.revisions.c.package, tables.endpoints.c.settings)
            .join_from(tables.revisions, tables.endpoints)
            .where(tables.revisions.c.id == revision)
        )
        row = connection.execute(query).one_or_none()
        if row is None:
            return Reference()
        package = Path(row.package)
        key = row.package, _stamp(evidence.beside(package))
        found = self._known.get(key) or Reference.load(package)
        if found.manifest:
            self._known[key] = found
        return dataclasses.replace(found, masked=_masked(row.settings))


def _masked(settings: Mapping[str, Any] | None) -> frozenset[str]:
    found = (settings or {}).get("log") or {}
    # endpoints of version 0.1 have a word there
    return frozenset(found.get("mask") or () if isinstance(found, Mapping) else ())


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
