"""What a pipeline's run left behind, as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_magics.cards import Badge, Card, Code, Grid, Time, Tone
from mlops_magics.records import Record

__all__ = ["PipelineRun", "PipelineStep"]

_TONES: dict[str, Tone] = {
    "FINISHED": "good",
    "FAILED": "bad",
    "CRASHED": "bad",
    "KILLED": "warn",
    "CACHED": "good",
}


@dataclass(frozen=True)
class PipelineStep(Record):
    """One step of a run.

    Attributes
    ----------
    step : str
    status : str
        PENDING, RUNNING, FINISHED, CACHED (its outcome was taken from an earlier run), FAILED,
        SKIPPED (it never began, or ended the run early), KILLED or CRASHED.
    notebook : str
        Path of the executed notebook.
    parameters, outputs : mapping
    error : mapping or None
        ``cell`` (its number in the input notebook, from 1), ``prompt`` (its ``In [n]``),
        ``source``, ``ename``, ``evalue``.
    run_id : str or None
        MLflow's child run.
    started, ended : float or None
        Seconds since 1970.
    key : str or None
        Digest of all that its outcome depends on.
    dependencies : mapping or None
        What the key was made of, digests by kind and name.
    cached_from : str or None
        The run whose outcome was taken.
    reason : str or None
        Why it ran, or why it did not.
    tries : int
        How often it was started.
    """

    step: str
    status: str
    notebook: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    run_id: str | None = None
    started: float | None = None
    ended: float | None = None
    key: str | None = None
    dependencies: Mapping[str, Any] | None = None
    cached_from: str | None = None
    reason: str | None = None
    tries: int = 0

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started


@dataclass(frozen=True)
class PipelineRun(Record):
    """A run of a pipeline.

    Attributes
    ----------
    id : str
        Sorts by time.
    pipeline : str
    status : str
        RUNNING, FINISHED, FAILED, SKIPPED, KILLED (interrupted) or CRASHED.
    reason : str or None
        Why it did not finish.
    path : str
        The specification's file.
    parameters : mapping
    folder : str
        Where the executed notebooks are.
    run_id : str or None
        MLflow's parent run.
    started, ended : float
        Seconds since 1970.
    steps : tuple of PipelineStep
    why : mapping or None
        What asked for it: ``kind``, ``reason``, ``trigger``, ``firing``; None: a person.
    release : str or None
        The release that it ran; None: the files of the working tree.
    """

    id: str
    pipeline: str
    status: str
    reason: str | None
    path: str
    parameters: Mapping[str, Any]
    folder: str
    run_id: str | None
    started: float
    ended: float | None
    steps: tuple[PipelineStep, ...] = ()
    why: Mapping[str, Any] | None = None
    release: str | None = None

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """Outputs by step and name."""
        return {item.step: dict(item.outputs) for item in self.steps}

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return None if self.ended is None else self.ended - self.started

    def card(self) -> Card:
        """Return the steps with their times, outputs and executed notebooks."""
        grid = Grid(
            ["step", "status", "seconds", "outputs", "executed notebook"],
            [
                [
                    item.step,
                    Badge(item.status, _TONES.get(item.status, "neutral")),
                    None if item.seconds is None else round(item.seconds, 1),
                    {name: _short(value) for name, value in item.outputs.items()} or None,
                    Code(item.notebook.rpartition("/")[2]) if item.started else None,
                ]
                for item in self.steps
            ],
        )
        facts: list[tuple[str, Any]] = [
            ("run", Code(self.id)),
            ("parameters", dict(self.parameters) or None),
            ("started", Time(self.started)),
            ("seconds", None if self.seconds is None else round(self.seconds, 1)),
            ("notebooks", Code(self.folder)),
        ]
        if self.run_id:
            facts.append(("MLflow run", Code(self.run_id)))
        return Card(
            self.pipeline,
            subtitle="pipeline",
            badge=Badge(self.status, _TONES.get(self.status, "neutral")),
            facts=facts,
            grids=[grid],
            notes=[self.reason] if self.reason else [],
        )


def _short(value: Any) -> Any:
    """Cut a long text, such as a digest: the whole is in the record."""
    return f"{value[:22]}…" if isinstance(value, str) and len(value) > 24 else value
