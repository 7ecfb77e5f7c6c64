"""Runs as records: find, list, show."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_magics.cards import Badge, Card, Code, Grid, Time
from mlops_magics.errors import InvalidArgument
from mlops_magics.records import Record, Table
from mlops_magics.store import evidence, models
from mlops_magics.store import runs as store_runs
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    import pandas as pd

    from mlops_magics.cards import Tone

__all__ = ["Run", "Runs", "find", "from_mlflow", "runs"]

_TONES: dict[str, Tone] = {"FINISHED": "good", "FAILED": "bad", "KILLED": "warn"}
_GRAMMAR = "for example: metrics.roc_auc > 0.7 and params.depth = '6' and tags.owner = 'ann'"


@dataclass(frozen=True)
class Run(Record):
    """A tracked run.

    Attributes
    ----------
    status : str
        MLflow's: RUNNING, FINISHED, FAILED, KILLED, SCHEDULED.
    started, ended : float or None
        Seconds since 1970.
    params : dict of str
        As MLflow keeps them.
    metrics : dict of float
        The last value of each.
    tags : dict of str
        The user's own; MLflow's and this package's are left out.
    data : list of dict
        ``ref``, ``name``, ``digest`` and ``context`` of each dataset.
    code : dict
        ``commit``, ``branch``, ``dirty``, ``untracked``, ``source`` (file), ``cell`` (whether
        the cell's source is kept), ``state`` (the verdict on hidden state).
    drivers : dict
        ``environment``, ``middleware``, ``infrastructure`` in a few words.
    error : str or None
        What ended a failed run.
    models : list of dict or None
        ``name``, ``uri`` and ``packaged`` of each model that it holds; None where runs are listed.
    tested : bool
        Whether it keeps a test report.
    """

    run_id: str
    name: str
    status: str
    started: float
    ended: float | None
    experiment: str
    user: str
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    data: list[dict[str, str]] = field(default_factory=list)
    code: dict[str, Any] = field(default_factory=dict)
    drivers: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    parent: str | None = None
    models: list[dict[str, Any]] | None = None
    tested: bool = False

    @property
    def duration(self) -> float | None:
        """Seconds; None while it runs."""
        return None if self.ended is None else round(self.ended - self.started, 3)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the duration as JSON values."""
        return {**super().to_dict(), "duration": self.duration}

    def card(self) -> Card:
        """Show status, data, code, and grids of metrics and params."""
        facts: list[tuple[str, Any]] = [
            ("run", Code(self.run_id[:12])),
            ("started", Time(self.started)),
            ("duration", seconds(self.duration)),
        ]
        facts += [("data", [one["ref"] for one in self.data])] if self.data else []
        facts.append(("code", describe_code(self.code)))
        facts += [("source", self.code["source"])] if self.code.get("source") else []
        facts += [(name, value) for name, value in self.drivers.items()]
        facts += [("tags", self.tags)] if self.tags else []
        notes = [f"Failed with {self.error}"] if self.error else []
        state = str(self.code.get("state") or "")
        if state.startswith("hidden"):
            notes.append(f"The notebook has {state}.")
        following = self._following()
        names = dict.fromkeys(str(one["name"]) for one in self.models or ())
        if names:
            facts.append(("models", [self._uri(name) for name in names]))
        elif self.models is not None and not self.code.get("cell") and self.status == "FINISHED":
            notes.append(f"It holds no model: {models.LOG_IT}.")
        grids = []
        if self.metrics:
            grids.append(Grid(["metric", "value"], [list(m) for m in sorted(self.metrics.items())]))
        if self.params:
            # what says most comes first: autologging also keeps each default and each object's repr
            ranked = sorted(
                self.params.items(), key=lambda p: (p[1] in _EMPTY, len(p[1]) > _LONG, p[0])
            )
            grids.append(Grid(["param", "value"], [list(p) for p in ranked], shown=8))
        return Card(
            title=self.name,
            subtitle="run",
            badge=Badge(self.status, _TONES.get(self.status, "neutral")),
            facts=facts,
            grids=grids,
            notes=notes,
            next=[following] if following else [],
        )

    def _uri(self, name: str) -> str:
        return f"runs:/{self.run_id[:12]}/{name}"

    def _following(self) -> str | None:
        """Return the command that brings the last model on its way."""
        if not self.models:
            return None
        name = str(self.models[-1]["name"])
        packaged = any(one["packaged"] for one in self.models if one["name"] == name)
        uri = self._uri(name)
        if not self.tested:
            return f"mlops test {uri} --data HOLDOUT --target TARGET --min METRIC=VALUE"
        if not packaged:
            data = self.data[0]["ref"] if self.data else "TRAIN"
            return f"mlops package {uri} --data {data} --target TARGET"
        return f"mlops register {uri} --name NAME"


_EMPTY = {"None", "nan", "False", ""}
_LONG = 40  # characters


def long(line: Mapping[str, Any]) -> bool:
    """Whether a line of a comparison holds a value too long to be read at a glance."""
    return any(
        isinstance(line[side], str) and len(line[side]) > _LONG for side in ("first", "second")
    )


def describe_code(code: Mapping[str, Any]) -> str:
    """Return commit, branch and changes in a few words."""
    if not code.get("commit"):
        return str(code.get("note") or "not in git")
    text = f"{str(code['commit'])[:10]} on {code.get('branch') or 'no branch'}"
    if code.get("dirty"):
        text += ", with uncommitted changes (kept)"
    if code.get("untracked"):
        text += f", {len(code['untracked'])} untracked files"
    return text


def seconds(value: float | None) -> str | None:
    """Return a duration as people say it.

    Examples
    --------
    >>> seconds(0.0421), seconds(75)
    ('42 ms', '1 min 15 s')
    """
    if value is None:
        return None
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    return f"{value // 60:.0f} min {value % 60:.0f} s"


@dataclass(frozen=True)
class Runs(Table):
    """Runs, the newest first."""

    filter: str | None = None

    @property
    def df(self) -> pd.DataFrame:
        """One row for each run; params and metrics as ``params.x`` and ``metrics.x``."""
        import pandas as pd

        records = []
        for run in self.rows:
            record = {
                name: getattr(run, name)
                for name in ("run_id", "name", "status", "started", "duration", "user")
            }
            record["data"] = ", ".join(one["ref"] for one in run.data)
            record["commit"] = run.code.get("commit")
            record |= {f"params.{name}": value for name, value in run.params.items()}
            record |= {f"metrics.{name}": value for name, value in run.metrics.items()}
            records.append(record)
        frame = pd.DataFrame(records)
        if "started" in frame:
            frame["started"] = pd.to_datetime(
                (frame["started"] * 1000).round().astype("int64"), unit="ms", utc=True
            )
        return frame

    def title(self) -> str:
        """Return the card's title."""
        return f"Runs where {self.filter}" if self.filter else "Runs"

    def empty(self) -> str:
        """Return what to do when there is none."""
        if self.filter:
            return f"No run fits; {_GRAMMAR}"
        return "No run yet; in a notebook: %%mlops_run NAME"

    def cells(self, row: Run) -> Mapping[str, Any]:
        """Return what to show of one run: all of its own metrics, up to four."""
        cells: dict[str, Any] = {
            "name": row.name,
            "run": Code(row.run_id[:8]),
            "status": Badge(row.status, _TONES.get(row.status, "neutral")),
            "started": Time(row.started),
            "took": seconds(row.duration),
            "data": ", ".join(one["ref"] for one in row.data),
        }
        return cells | {name: row.metrics.get(name) for name in self._telling()}

    def _telling(self) -> list[str]:
        """Metrics worth a column: those on held-out rows first, then the most common."""
        counts: dict[str, int] = {}
        for run in self.rows:
            for name in run.metrics:
                counts[name] = counts.get(name, 0) + 1
        ranked = sorted(counts, key=lambda name: (name.startswith("training_"), -counts[name]))
        return ranked[:4]


def runs(
    filter: str | None = None,  # noqa: A002 - MLflow's own word
    *,
    limit: int = 20,
    workspace: Workspace | None = None,
) -> Runs:
    """List runs of the workspace's experiment, the newest first.

    Parameters
    ----------
    filter : str, optional
        MLflow's search syntax: ``metrics.roc_auc > 0.7 and params.depth = '6'``.
    limit : int
        At most so many, 1 to 1,000.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    InvalidArgument
        A filter that MLflow does not understand; its reason is told.

    Examples
    --------
    >>> import tempfile
    >>> from mlops_magics.training import run
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> with run("baseline", params={"depth": 6}, workspace=workspace):
    ...     pass
    >>> [found.name for found in runs("params.depth = '6'", workspace=workspace)]
    ['baseline']
    """
    workspace = resolve(workspace)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 1000:
        raise InvalidArgument(f"limit = {limit!r} is not a whole number from 1 to 1,000")
    tracking = workspace.tracking
    try:
        with tracking.mapped():
            found = tracking.client.search_runs(
                [tracking.experiment_id],
                filter_string=filter or "",
                max_results=limit,
                order_by=["attributes.start_time DESC"],
            )
    except InvalidArgument as exc:
        raise InvalidArgument(
            f"the filter {filter!r} cannot be used: {exc.message}", hint=_GRAMMAR
        ) from exc
    return Runs(rows=[from_mlflow(workspace, each) for each in found], filter=filter)


def find(workspace: Workspace, ref: str) -> Run:
    """Find one run.

    Parameters
    ----------
    workspace : Workspace
        Where to look.
    ref : str
        A run id, the beginning of one (four digits or more) if only one run begins so, or a
        run's name: the newest of that name.

    Raises
    ------
    RunNotFound
        There is none.
    InvalidArgument
        The beginning fits several runs.
    """
    return from_mlflow(workspace, store_runs.find(workspace, ref), whole=True)


def from_mlflow(workspace: Workspace, run: Any, *, whole: bool = False) -> Run:
    """Turn MLflow's run into the record; the whole of it names the models, each a question.

    A run whose process is gone from this machine without ending it is ended as KILLED.
    """
    tags = dict(run.data.tags)
    info = run.info
    status, ended = info.status, info.end_time
    if status == "RUNNING" and _abandoned(tags):
        ended = int(time.time() * 1000)
        with workspace.tracking.mapped():
            workspace.tracking.client.set_terminated(info.run_id, "KILLED", ended)
        status = "KILLED"
    code = _json(tags.get("mlops.code"))
    code |= {
        "source": tags.get("mlops.source", ""),
        "cell": "mlops.cell" in tags,
        "state": tags.get("mlops.state", ""),
    }
    drivers = {
        name: tags[f"mlops.{name}"]
        for name in ("environment", "middleware", "infrastructure")
        if f"mlops.{name}" in tags
    }
    return Run(
        run_id=info.run_id,
        name=info.run_name or "",
        status=status,
        started=info.start_time / 1000,
        ended=None if ended is None else ended / 1000,
        experiment=info.experiment_id,
        user=tags.get("mlflow.user", ""),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags={k: v for k, v in tags.items() if not k.startswith(("mlflow.", "mlops."))},
        data=[_dataset(each) for each in (run.inputs.dataset_inputs if run.inputs else ())],
        code=code,
        drivers=drivers,
        error=tags.get("mlops.error"),
        parent=tags.get("mlflow.parentRunId"),
        models=[_model(each) for each in models.models_of(workspace, run)] if whole else None,
        tested=evidence.PASSED_TAG in tags,
    )


def _model(ref: models.ModelRef) -> dict[str, Any]:
    return {"name": ref.name, "uri": ref.uri, "packaged": models.DIGEST_TAG in ref.tags}


def _abandoned(tags: Mapping[str, str]) -> bool:
    process = _json(tags.get("mlops.process"))
    if not process:
        return False
    import platform

    from mlops_magics.store.processes import Identity

    # another machine's processes cannot be seen from here
    return process.get("host") == platform.node() and not Identity.from_dict(process).alive()


def _json(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:  # a tag that somebody has edited in MLflow's UI
        return {}
    return value if isinstance(value, dict) else {}


def _dataset(used: Any) -> dict[str, str]:
    tags = {tag.key: tag.value for tag in used.tags}
    profile = _json(used.dataset.profile)
    return {
        "ref": tags.get("mlops.dataset") or used.dataset.name,
        "name": used.dataset.name,
        "digest": str(profile.get("digest") or used.dataset.digest),
        "context": tags.get("mlflow.data.context", ""),
    }
