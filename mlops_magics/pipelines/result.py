"""What a pipeline's run left behind, as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_magics.cards import Badge, Block, Card, Code, Grid, Time, Tone
from mlops_magics.records import Record

__all__ = ["PipelineRun", "PipelineStep", "status_badge"]

_TONES: dict[str, Tone] = {
    "FINISHED": "good",
    "FAILED": "bad",
    "CRASHED": "bad",
    "KILLED": "warn",
}
_ANCHOR = "papermill-error-cell"  # papermill puts it before the cell that failed


def status_badge(status: str, more: str = "") -> Badge:
    """Return how a run's or step's status looks.

    Examples
    --------
    >>> status_badge("FINISHED")
    Badge(text='FINISHED', tone='good')
    """
    return Badge(status + more, _TONES.get(status, "neutral"))


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
        ``source``, ``ename``, ``evalue``; as far as they are known ``memory`` (``peak`` of the
        kernel and ``total`` of the machine, bytes) and ``environment`` (``python``, ``platform``,
        ``packages``).
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
    cells : tuple of int or None
        While it runs: the cell that is being executed, from 1, and how many there are.
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
    cells: tuple[int, int] | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started

    @property
    def spent(self) -> float | None:
        """Seconds that this run spent on it; None where it took an earlier outcome."""
        return None if self.cached_from else self.seconds

    @property
    def badge(self) -> Badge:
        """Its state, and where it is while it runs."""
        at = f" · cell {self.cells[0]} of {self.cells[1]}" if self.cells else ""
        return status_badge(self.status, at)

    def failure(self) -> Card | None:
        """Return all that is known of what made it fail; None if nothing did.

        Examples
        --------
        >>> error = {"cell": 2, "prompt": 2, "source": "1 / 0", "ename": "ZeroDivisionError",
        ...          "evalue": "division by zero", "memory": {"peak": 2e9, "total": 8e9}}
        >>> step = PipelineStep("train", "FAILED", "/runs/1/02-train.ipynb", error=error)
        >>> print(step.failure().text())
        train  ✗ FAILED
          error     ZeroDivisionError: division by zero
          at        cell 2, In [2]
          source    1 / 0
          memory    2.0 GB at most, of 8.0 GB
          notebook  /runs/1/02-train.ipynb#papermill-error-cell
        """
        if self.error is None:
            return None
        error = self.error
        facts: list[tuple[str, Any]] = [("error", Block(f"{error['ename']}: {error['evalue']}"))]
        if error.get("cell") is not None:
            prompt = f", In [{error['prompt']}]" if error.get("prompt") is not None else ""
            facts.append(("at", f"cell {error['cell']}{prompt}"))
        if error.get("source"):
            facts.append(("source", Block(str(error["source"]))))
        if self.parameters:
            given = "\n".join(f"{name} = {value!r}" for name, value in self.parameters.items())
            facts.append(("parameters", Block(given)))
        if error.get("memory"):
            peak, total = (_bytes(error["memory"][name]) for name in ("peak", "total"))
            facts.append(("memory", f"{peak} at most, of {total}"))
        if self.seconds is not None:
            tries = f", tried {self.tries} times" if self.tries > 1 else ""
            facts.append(("took", f"{self.seconds:.1f} s{tries}"))
        if found := error.get("environment"):
            packages = [f"{name} {version}" for name, version in found["packages"].items()]
            facts.append(("python", f"{found['python']} on {found['platform']}"))
            facts.append(("packages", ", ".join(packages) or None))
        if self.started is not None or error.get("cell") is not None:
            anchor = f"#{_ANCHOR}" if error.get("prompt") is not None else ""
            facts.append(("notebook", Code(f"{self.notebook}{anchor}")))
        return Card(self.step, badge=self.badge, facts=facts)


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

    @property
    def badge(self) -> Badge:
        """Its state."""
        return status_badge(self.status)

    def failure(self) -> Card | None:
        """Return all that is known of the first failure; None when no step failed."""
        cards = (item.failure() for item in self.steps if item.status == "FAILED")
        return next((card for card in cards if card is not None), None)

    def card(self) -> Card:
        """Return the steps with their times, why they ran, their outputs, and what failed."""
        columns: dict[str, list[Any]] = {
            "step": [item.step for item in self.steps],
            "status": [item.badge for item in self.steps],
            "seconds": [_tenths(item.spent) for item in self.steps],
            "why": [item.reason for item in self.steps],
            "outputs": [_outputs(item.outputs) for item in self.steps],
        }
        if not any(columns["why"]):
            del columns["why"]
        facts: list[tuple[str, Any]] = [
            ("run", Code(self.id)),
            ("parameters", dict(self.parameters) or None),
            ("started", Time(self.started)),
            ("seconds", _tenths(self.seconds)),
            ("notebooks", Code(self.folder)),
        ]
        if self.why:
            facts.insert(1, ("asked for by", _asked(self.why)))
        if self.release:
            facts.insert(1, ("release", Code(self.release)))
        if self.run_id:
            facts.append(("MLflow run", Code(self.run_id)))
        failures = [item.failure() for item in self.steps if item.status == "FAILED"]
        # a failed step's card tells the same
        told = self.status == "FAILED" and any(failures)
        return Card(
            self.pipeline,
            subtitle="pipeline",
            badge=self.badge,
            facts=facts,
            grids=[Grid(list(columns), list(zip(*columns.values(), strict=True)))],
            parts=[card for card in failures if card is not None],
            notes=[self.reason] if self.reason and not told else [],
            next=self._next(),
        )

    def _next(self) -> list[str]:
        if self.status == "RUNNING":
            return [f"mlops pipeline show {self.id} --follow"]
        if self.status == "FINISHED":
            return []
        return [f"mlops pipeline report {self.id}", f"mlops pipeline resume {self.id}"]


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _bytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _asked(why: Mapping[str, Any]) -> str:
    who = " ".join(str(why[name]) for name in ("kind", "trigger") if why.get(name))
    return ": ".join(part for part in (who, str(why.get("reason") or "")) if part)


def _outputs(outputs: Mapping[str, Any]) -> dict[str, Any] | None:
    return {name: _short(value) for name, value in outputs.items()} or None


def _short(value: Any) -> Any:
    """Cut a long text, such as a digest: the whole is in the record."""
    return f"{value[:22]}…" if isinstance(value, str) and len(value) > 24 else value
