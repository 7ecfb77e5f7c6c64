"""The process of one firing: runs the pipeline and tells the database how it went.

``python -m mlops_magics.pipelines.triggers.job FIRING DESCRIPTOR``, started by the agent, with the
workspace in ``MLOPS_WORKSPACE``. The descriptor keeps the firing's lock for as long as the process
lives. It needs nobody: an agent that is restarted, or a server that is stopped, lets it go on to
its end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_magics.errors import (
    MlopsError,
    NothingToResume,
    ParameterInvalid,
    ReleaseCorrupt,
    RunNotFound,
    SpecInvalid,
    StepFailed,
)
from mlops_magics.pipelines.releases import shelf
from mlops_magics.pipelines.triggers import firings
from mlops_magics.pipelines.triggers.firings import Job
from mlops_magics.store.workspace import Workspace

if TYPE_CHECKING:
    from mlops_magics.pipelines.result import PipelineRun

__all__ = ["execute", "main"]

_log = logging.getLogger(__name__)

# the same again would not be another
_FINAL = (SpecInvalid, ParameterInvalid, ReleaseCorrupt)


def execute(
    workspace: Workspace, job: Job, run: Callable[[Workspace, Job], PipelineRun] | None = None
) -> None:
    """Run a firing's pipeline, and record how it ended.

    Parameters
    ----------
    workspace : Workspace
        Whose.
    job : Job
        Claimed, its lock held.
    run : callable, optional
        Runs the pipeline; default: the one of the trigger.
    """
    try:
        done = (run or _run)(workspace, job)
    except MlopsError as exc:
        failed = getattr(exc, "run", None) if isinstance(exc, StepFailed) else None
        _log.error("%s", exc)
        again = firings.fail(
            workspace,
            job,
            failed.id if failed is not None else None,
            exc.message,
            time.time(),
            final=isinstance(exc, _FINAL),
        )
        _log.info("it is tried again" if again else "it is not tried again")
    except Exception as exc:
        _log.exception("the run met an error of its own")
        outcome = f"{type(exc).__name__}: {exc}"
        firings.fail(workspace, job, None, outcome, time.time(), crashed=True)
    else:
        _log.info("run %s: %s", done.id, done.status)
        notes = [done.reason, _drift(workspace, done.release)]
        firings.end(workspace, job, done.id, "; ".join(filter(None, notes)) or None)


def _run(workspace: Workspace, job: Job) -> PipelineRun:
    from mlops_magics.pipelines.resume import resume_pipeline
    from mlops_magics.pipelines.runner import run_pipeline

    if job.run is not None:
        # what had finished in the try before is not run again
        with contextlib.suppress(NothingToResume, RunNotFound):
            return resume_pipeline(job.run, workspace=workspace)
    path, release = _what(workspace, job)
    return run_pipeline(
        path,
        params=job.trigger.params,
        # something has changed, which a notebook's text need not tell
        cache=job.trigger.kind in ("cron", "code"),
        workspace=workspace,
        why=job.why,
        release=release,
    )


def _drift(workspace: Workspace, release: str | None) -> str | None:
    """Say what is installed otherwise than when the release was tested."""
    row = next((one for one in shelf.rows(workspace) if one.id == release), None)
    changed = shelf.frozen_of(workspace, row).drift() if row is not None else []
    if not changed:
        return None
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"other packages than in its smoke run: {', '.join(changed[:3])}{more}"


def _what(workspace: Workspace, job: Job) -> tuple[Path, str | None]:
    """Return the specification to run: of the current release if there is one."""
    row = shelf.current(workspace, job.trigger.pipeline)
    if row is None:
        return job.trigger.path, None
    if job.trigger.kind == "code":
        # what was committed is what is to run, if it passes; if not, nothing has changed
        from mlops_magics.pipelines.releases.catalogue import release_pipeline

        made = release_pipeline(job.trigger.path, workspace=workspace)
        _log.info("release %s is current", made.id)
        return Path(made.path), made.id
    return shelf.frozen_of(workspace, row).path, row.id


def main(arguments: Sequence[str]) -> int:
    """Work on one firing."""
    firing, descriptor = int(arguments[0]), int(arguments[1])
    os.set_inheritable(descriptor, False)  # what a notebook starts may live longer than the run
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stdout
    )
    workspace = Workspace.find()
    os.chdir(workspace.root)
    job = Job.read(workspace, firing)
    if job is None:
        _log.info("firing %d has ended", firing)
        return 0
    _log.info("firing %d of trigger %s: %s", firing, job.trigger.name, job.reason)
    execute(workspace, job)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
