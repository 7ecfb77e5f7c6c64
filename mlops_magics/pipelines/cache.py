"""The cache of steps: one that depends on nothing that has changed is not run again.

A step's key is a digest of all that its outcome depends on: its notebook's code, its parameters,
the content of what those and the code name, the project's modules, the environment, and for steps
that it only waits for, which outcome of theirs it had. The database keeps what the key was made of,
so that it can be told why a step ran. When in doubt, a step runs.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from mlops_magics.pipelines import environments
from mlops_magics.pipelines.dependencies import Notebook, modules, read_notebook
from mlops_magics.pipelines.inputs import Inputs
from mlops_magics.pipelines.nursery import preloadable
from mlops_magics.pipelines.references import references
from mlops_magics.pipelines.specification import Pipeline, Step
from mlops_magics.store.tables import pipeline_runs, pipeline_steps
from mlops_magics.store.workspace import Workspace

__all__ = ["Cache", "Kept", "Plan", "copy_notebook"]

_FORMAT = 1  # other than before when keys are made otherwise
_LONGEST = 60  # characters of a value that a reason shows


@dataclass(frozen=True)
class Kept:
    """An outcome that can be taken.

    Attributes
    ----------
    run : str
        The run in which the step was executed.
    notebook : Path
        The executed notebook.
    outputs : mapping
    """

    run: str
    notebook: Path
    outputs: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to become of a step.

    Attributes
    ----------
    reason : str
        Why it runs, or why it does not.
    key : str or None
        None: it is not to be compared with anything.
    dependencies : mapping
        What the key is made of.
    kept : Kept or None
        The outcome to take; None: it runs.
    """

    reason: str
    key: str | None = None
    dependencies: Mapping[str, Any] = field(default_factory=dict)
    kept: Kept | None = None


class Cache:
    """Tells of each step of one run whether an earlier outcome holds.

    Parameters
    ----------
    workspace : Workspace
        Whose runs.
    pipeline : Pipeline
        The steps.
    on : bool
        Whether outcomes are taken at all; without, keys are still made for later runs.
    places : sequence of Path
        From where a release's modules are imported.
    """

    def __init__(
        self,
        workspace: Workspace,
        pipeline: Pipeline,
        on: bool = True,
        places: Sequence[Path] = (),
    ) -> None:
        self.workspace, self.pipeline, self.on = workspace, pipeline, on
        self.places = tuple(places)
        self._inputs = Inputs(workspace)
        self._notebooks: dict[Path, Notebook] = {}

    @cached_property
    def environment(self) -> dict[str, str]:
        """What is installed."""
        return environments.installed()

    def plan(self, step: Step, parameters: Mapping[str, Any], origins: Mapping[str, str]) -> Plan:
        """Decide what is to become of a step whose needs are done.

        Parameters
        ----------
        step : Step
            All whose needs are done.
        parameters : mapping
            Its values, references filled.
        origins : mapping of str
            For each finished step the run in which it was executed.
        """
        self._inputs.refresh()
        dependencies, unknown = self._dependencies(step, parameters, origins)
        key = _key(dependencies)
        if unknown:
            return Plan(f"cannot be cached: {unknown[0]}", None, dependencies)
        former = self._former(step.name)
        if self.on and step.cache:
            lost = None
            for row in former:
                if row.key != key or row.status != "FINISHED":
                    continue
                kept = Kept(row.run, Path(row.notebook), row.outputs)
                lost = self._lost(step, kept, row.dependencies or {})
                if lost is None:
                    return Plan(f"unchanged since run {row.run}", key, dependencies, kept)
            if lost is not None:
                return Plan(lost, key, dependencies)
        reason = self._reason(step, dependencies, former)
        if not self.on or not step.cache:
            reason = "the run's cache is off" if not self.on else "the step's cache is off"
        return Plan(reason, key, dependencies)

    def settle(self, step: Step, plan: Plan, outputs: Mapping[str, Any]) -> Plan:
        """Return the plan as it holds once the step has run: with what it made itself.

        What it names and was not there before, or what its outputs name, is its own work: the next
        run will find that. Anything else that changed meanwhile did so under its hands, and it
        must run again.
        """
        if plan.key is None:
            return plan
        self._inputs.refresh()
        folder = step.notebook.parent
        products = self._inputs.of_outputs(outputs, folder)
        before = dict(plan.dependencies["inputs"])
        now, _ = self._named(step, plan.dependencies["parameters"])
        made = {name.partition("@")[0].partition("/")[0] for name in products}
        for name, digest in now.items():
            own = name in products or name in made  # a dataset's version is of the dataset
            if name not in before or own:
                before[name] = digest
        content = {**plan.dependencies, "inputs": before}
        settled = Plan(plan.reason, _key(content), {**content, "products": products})
        self._inputs.keep()
        return settled

    def changed(self, step: Step, dependencies: Mapping[str, Any], parameters: Any) -> str | None:
        """Say what of a finished step's own definition is not as it was; None: nothing."""
        notebook = self._notebook(step)
        if dependencies.get("notebook", notebook.to_dict()) != notebook.to_dict():
            return _changed_cells(dependencies["notebook"], notebook)
        former = dependencies.get("parameters", parameters)
        return _changed_values(former, parameters) if former != parameters else None

    def loads(self, step: Step) -> tuple[list[str], bool]:
        """Return what a step's kernel can have loaded ahead, and whether it must have nothing."""
        code = self._notebook(step).code
        _, inner = modules(code, step.notebook.parent)
        return preloadable(code.imports | inner.imports), code.fresh or inner.fresh

    def _notebook(self, step: Step) -> Notebook:
        if step.notebook not in self._notebooks:
            self._notebooks[step.notebook] = read_notebook(step.notebook)
        return self._notebooks[step.notebook]

    def _dependencies(
        self, step: Step, parameters: Mapping[str, Any], origins: Mapping[str, str]
    ) -> tuple[dict[str, Any], list[str]]:
        notebook = self._notebook(step)
        found, _ = modules(notebook.code, step.notebook.parent, self.places)
        inputs, unknown = self._named(step, parameters)
        interpreter = environments.interpreter(notebook.kernel)
        if notebook.language not in {"python", ""}:
            unknown = [f"its notebook is in {notebook.language}", *unknown]
        elif interpreter != "this":
            unknown = [f"its kernel {notebook.kernel!r} runs another Python", *unknown]
        # what a step takes counts by its content; what it only waits for, by being the same outcome
        taken = {one.step for one in references(dict(step.parameters)) if one.step}
        before = {need: origins[need] for need in step.needs if need not in taken}
        return {
            "notebook": notebook.to_dict(),
            "parameters": dict(parameters),
            "inputs": inputs,
            "modules": found,
            "environment": _digest(self.environment),
            "before": before,
        }, unknown

    def _named(self, step: Step, parameters: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
        folder = step.notebook.parent
        code = self._notebook(step).code
        _, inner = modules(code, folder, self.places)
        inner.add(code)
        found = self._inputs.of_values(parameters, folder, step.inputs)
        found.add(
            self._inputs.of_code(inner.texts, inner.files - set(step.inputs), inner.folders, folder)
        )
        found.add(self._inputs.of_declared(step.inputs, self.pipeline.path.parent))
        return dict(sorted(found.digests.items())), found.unknown

    def _former(self, step: str) -> list[Any]:
        """Return this step's earlier rows, the newest first."""
        s, r = pipeline_steps.c, pipeline_runs.c
        query = (
            sa.select(
                s.run, s.status, s.key, s.notebook, s.outputs, s.dependencies, s.ended, r.folder
            )
            .join_from(pipeline_steps, pipeline_runs, s.run == r.id)
            .where(r.pipeline == self.pipeline.name, s.step == step, s.key.is_not(None))
            .where(s.status.in_(["FINISHED", "CACHED"]))
            .order_by(s.ended.desc())
            .limit(200)
        )
        with self.workspace.database.read() as connection:
            return list(connection.execute(query).all())

    def _lost(self, step: Step, kept: Kept, dependencies: Mapping[str, Any]) -> str | None:
        """Say what of an outcome is not there any more; None: all of it is."""
        if not kept.notebook.is_file():
            return f"the executed notebook of run {kept.run} is gone"
        now = self._inputs.of_outputs(kept.outputs, step.notebook.parent)
        for name, digest in dependencies.get("products", {}).items():
            if now.get(name) != digest:
                return f"its output {name} {'changed' if name in now else 'is gone'}"
        return None

    def _reason(self, step: Step, now: Mapping[str, Any], former: list[Any]) -> str:
        """Say why a step runs, by comparing with the last time that it finished."""
        if not former or not former[0].dependencies:
            return "first run"
        then = former[0].dependencies
        notebook = self._notebook(step)
        if then["notebook"] != now["notebook"]:
            return _changed_cells(then["notebook"], notebook)
        if then["parameters"] != now["parameters"]:
            given = _changed_values(then["parameters"], now["parameters"])
            name = given.split()[1].rstrip(":")
            from_step = [one.step for one in references(step.parameters.get(name)) if one.step]
            return f"step {from_step[0]} before it gave another {name}" if from_step else given
        if then["modules"] != now["modules"]:
            return f"module {_changed_name(then['modules'], now['modules'])}"
        if then["inputs"] != now["inputs"]:
            return f"input {_changed_name(then['inputs'], now['inputs'])}"
        if then["environment"] != now["environment"]:
            return environments.changes(Path(former[0].folder), self.environment)
        if then["before"] != now["before"]:
            return f"step {_changed_name(then['before'], now['before']).split()[0]} ran again"
        return "the way in which steps are compared changed"


def copy_notebook(source: Path, target: Path) -> None:
    """Copy an executed notebook so that a reader, or a crash, never finds half of it."""
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.chmod(0o600)
    part.replace(target)


def _key(dependencies: Mapping[str, Any]) -> str:
    content = {name: value for name, value in dependencies.items() if name != "products"}
    return _digest([_FORMAT, content])


def _digest(value: Any) -> str:
    text = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(text).hexdigest()


def _changed_cells(then: Mapping[str, Any], now: Notebook) -> str:
    if then["kernel"] != now.kernel:
        return f"notebook changed: kernel {then['kernel']} → {now.kernel}"
    former = list(then["cells"])
    if len(former) == len(now.cells):
        pairs = zip(former, now.cells, strict=True)
        numbers = [str(number) for old, (number, digest) in pairs if old != digest]
        return f"notebook changed: cell{'s'[: len(numbers) > 1]} {', '.join(numbers)}"
    count = len(now.cells) - len(former)
    pairs = zip(former, now.cells, strict=False)
    first = next((number for old, (number, digest) in pairs if old != digest), None)
    place = "at the end" if first is None else f"at cell {first}"
    many = f"{abs(count)} cells" if abs(count) > 1 else "a cell"
    return f"notebook changed: {many} {'more' if count > 0 else 'fewer'}, {place}"


def _changed_values(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for name in _differing(then, now):
        shown = [_shown(values[name]) if name in values else "nothing" for values in (then, now)]
        return f"parameter {name}: {shown[0]} → {shown[1]}"
    return "parameters changed"


def _changed_name(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    name = next(_differing(then, now))
    word = "is new" if name not in then else "is gone" if name not in now else "changed"
    return f"{name.removeprefix('file ')} {word}"


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    missing = object()
    for name in dict.fromkeys([*now, *then]):
        if then.get(name, missing) != now.get(name, missing):
            yield name


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
