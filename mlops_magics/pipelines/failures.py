"""How steps fail: each way has its name, and leaves the notebook as far as it got.

A failure that is not the notebook's own has a ``hint``, and its name is that of an error class.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics import errors
from mlops_magics.errors import MlopsError, StepFailed

if TYPE_CHECKING:
    from mlops_magics.pipelines.specification import Step

__all__ = [
    "exited",
    "failure",
    "kernel_died",
    "named",
    "of_error",
    "out_of_memory_kills",
    "step_died",
    "step_timeout",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def failure(run: str, step: Step, error: Mapping[str, Any], notebook: Path) -> StepFailed:
    """Return what a failed step makes its run raise.

    Parameters
    ----------
    run : str
        Its id.
    step : Step
        The one that failed.
    error : mapping
        ``ename``, ``evalue``, ``source``, ``cell``, ``prompt``, ``hint`` if it is one of ours.
    notebook : Path
        The executed notebook.
    """
    place = f"step {step.name!r} failed"
    if error.get("cell") is not None:
        prompt = f", In [{error['prompt']}]" if error.get("prompt") is not None else ""
        place += f" at cell {error['cell']} of {step.notebook.name}{prompt}"
    lines = [f"{place}: {error['ename']}: {error['evalue']}"]
    source = [line for line in str(error.get("source", "")).splitlines() if line.strip()]
    lines += [f"    {line}" for line in source[:6]] + (["    …"] if len(source) > 6 else [])
    hints = [str(error["hint"])] if error.get("hint") else []
    hints.append(f"see its circumstances: mlops pipeline show {run}")
    hints += [f"see the notebook as far as it got: {notebook}"] if notebook.is_file() else []
    kind = getattr(errors, error["ename"], StepFailed) if error.get("hint") else StepFailed
    kind = kind if issubclass(kind, StepFailed) else StepFailed
    hint = "\n  → ".join(hints)
    found: StepFailed = kind("\n".join(lines), hint=hint, step=step.name, cell=error.get("cell"))
    return found


def of_error(exc: MlopsError) -> dict[str, Any]:
    """Return what is recorded of a step that an error of ours has kept from beginning."""
    return {
        "cell": None,
        "prompt": None,
        "source": "",
        "ename": type(exc).__name__,
        "evalue": str(exc),
    }


def named(exc: BaseException, began: bool) -> dict[str, Any]:
    """Name what has kept a notebook from being executed to its end, other than its own errors.

    Parameters
    ----------
    exc : exception
        Of papermill, nbclient, jupyter_client or the operating system.
    began : bool
        Whether a cell had begun.

    Examples
    --------
    >>> named(OSError(errno.ENOSPC, "No space left on device"), True)["ename"]
    'DiskFull'
    """
    kind, text = type(exc).__name__, str(exc).strip("'\"")
    if kind == "NoSuchKernel":
        name = getattr(exc, "name", text)
        return _ours(
            "KernelNotStarted",
            f"there is no kernel {name!r} here",
            "choose another kernel and save the notebook, or install it: "
            f"python -m ipykernel install --user --name {name}",
        )
    if kind == "CellTimeoutError":
        return _ours("CellTimeout", text.splitlines()[0], "give the step another cell_timeout")
    if isinstance(exc, OSError) and exc.errno in _FULL:
        return _ours(
            "DiskFull",
            f"the executed notebook cannot be written: {exc.strerror}",
            "make room, then go on: mlops pipeline resume",
        )
    if not began and isinstance(exc, (RuntimeError, OSError)):
        hint = "see what it wrote in the .log file beside the executed notebook"
        return _ours("KernelNotStarted", text or kind, hint)
    return {"ename": kind, "evalue": text}


def kernel_died(status: int | None, memory: int | None, out_of_memory: bool) -> dict[str, Any]:
    """Name the end of a kernel's process while a cell ran.

    Parameters
    ----------
    status : int or None
        As ``subprocess`` has it: negative for a signal; None: not known.
    memory : int or None
        The most bytes that it has held.
    out_of_memory : bool
        The machine has killed a process for want of memory meanwhile.

    Examples
    --------
    >>> kernel_died(-9, 3_100_000_000, True)["evalue"]
    'the kernel was killed for want of memory; it had used 3.1 GB'
    """
    used = f"; it had used {memory / 1e9:.1f} GB" if memory else ""
    if status == -signal.SIGKILL and out_of_memory:
        evalue = f"the kernel was killed for want of memory{used}"
        hint = "take fewer rows, or a machine with more memory"
    elif status == -signal.SIGKILL:
        evalue = f"the kernel was killed by SIGKILL{used}"
        hint = "most often the memory was used up: take fewer rows, or a machine with more memory"
    elif status is not None and status < 0:
        evalue = f"the kernel was ended by {_signal(-status)}{used}"
        hint = "a library that is not written in Python may have crashed: see the .log file"
    else:
        word = "ended" if status is None else f"ended by itself with status {status}"
        evalue = f"the kernel {word}{used}"
        hint = "code in the cell has ended the process, as os._exit does"
    return _ours("KernelDied", evalue, hint)


def exited(status: str) -> dict[str, Any]:
    """Name a cell's call of ``sys.exit``, which papermill may take for success."""
    return _ours(
        "NotebookExited",
        f"the cell called sys.exit({status}), and the cells after it did not run",
        "raise an error to fail the run, or end it early as skipped: mlops.skip(reason)",
    )


def step_timeout(seconds: float) -> dict[str, Any]:
    """Name a try that has taken too long."""
    return _ours("StepTimeout", f"not done after {seconds:g} s", "give the step another timeout")


def step_died(status: int | None) -> dict[str, Any]:
    """Name the end of a step's process that has told of no end."""
    word = "was ended" if status is None else f"ended with status {status}"
    if status is not None and status < 0:
        word = f"was ended by {_signal(-status)}"
    return _ours(
        "StepDied", f"the step's process {word}", "go on from there: mlops pipeline resume"
    )


def out_of_memory_kills() -> int:
    """Return how many processes Linux has killed for want of memory since it was started."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
        return next((int(one.split()[1]) for one in lines if one.startswith("oom_kill ")), 0)
    except (OSError, ValueError):
        return 0


def _ours(name: str, evalue: str, hint: str) -> dict[str, Any]:
    return {"ename": name, "evalue": evalue, "hint": hint}


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
