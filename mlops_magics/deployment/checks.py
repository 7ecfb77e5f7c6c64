"""Pre-checks: what a revision must show before any traffic moves to it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import DeployFailed, ServerNotRunning
from mlops_magics.serving import server
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.store import onnx

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Progress", "await_workers", "check_golden", "check_latency"]

Progress = Callable[[float, float | None, str], None]
"""Told what is done, of how much (None: unknown), and what comes now."""

_LOAD_SECONDS = 180.0
_LATENCY_REQUESTS = 50


def await_workers(
    workspace: Workspace, revision: int, workers: int, generation: int, report: Progress
) -> None:
    """Wait until all workers of a revision are up.

    Raises
    ------
    DeployFailed
        One has failed, with its own reason; or they are not up in time.
    """
    folder = ServerFolder.of(workspace)
    end = time.monotonic() + _LOAD_SECONDS
    ready = 0
    while time.monotonic() < end:
        for index in range(workers):
            state = folder.state(revision, index) or {}
            if state.get("state") == "failed":
                raise DeployFailed(
                    f"a worker cannot serve the model: {state.get('reason')}",
                    hint=f"its log: {folder.logs / f'r{revision}-{index}.log'}",
                )
        try:
            picture = server.state(workspace)
        except ServerNotRunning:
            picture = {"generation": -1, "revisions": {}}  # the gateway is being started again
        found = picture["revisions"].get(str(revision), {})
        if found.get("problem"):
            raise DeployFailed(f"the package cannot be served: {found['problem']}")
        ready = found.get("ready", 0)
        report(ready, workers, "loading the model")
        if picture["generation"] >= generation and ready >= workers:
            return
        time.sleep(0.05)
    raise DeployFailed(
        f"{ready} of {workers} workers came up within {_LOAD_SECONDS:g} s",
        hint=f"their logs: {folder.logs}",
    )


def check_golden(
    workspace: Workspace, revision: int, package: Path, runtime: str = "native"
) -> int:
    """Hold a revision to the package's golden predictions; return how many there are.

    Computed by ONNX Runtime, they may differ by the tolerance that the package was compared with.

    Raises
    ------
    DeployFailed
        An answer differs, or there is none.
    """
    path = package / "mlops" / "golden.json"
    if not path.is_file():
        return 0
    golden = json.loads(path.read_bytes())
    tolerance = (1e-9, 1e-12)
    if runtime == "onnx":
        stated = (onnx.read_record(package) or {})["tolerance"]
        tolerance = (stated["relative"], stated["absolute"])
    answers = _infer(workspace, revision, golden["inputs"])
    expected = golden["outputs"]
    if len(answers) != len(expected):
        raise DeployFailed(f"{len(answers)} answers for {len(expected)} golden rows")
    for row, (answer, wanted) in enumerate(zip(answers, expected, strict=True)):
        if not same(answer, wanted, *tolerance):
            raise DeployFailed(
                f"golden row {row}: the model answers {answer!r} here, it was {wanted!r} "
                "when it was packaged",
                hint="compare the environments: mlops doctor",
            )
    return len(expected)


def check_latency(workspace: Workspace, revision: int, package: Path, budget: float) -> float:
    """Hold single-row requests to a latency budget; return their 95th percentile in ms.

    Raises
    ------
    DeployFailed
        They are slower.
    """
    path = package / "mlops" / "golden.json"
    if not path.is_file():
        raise DeployFailed("the package has no golden rows to measure the latency with")
    inputs = json.loads(path.read_bytes())["inputs"]
    one = {"columns": inputs["columns"], "data": inputs["data"][:1]}
    times = []
    with server.connect(workspace) as client:
        for _ in range(_LATENCY_REQUESTS):
            begun = time.perf_counter()
            response = client.post(_path(revision), json={"dataframe_split": one})
            times.append((time.perf_counter() - begun) * 1000)
            if response.status_code != 200:
                raise DeployFailed(f"a golden row was refused: {_error(response)}")
    # nearest-rank percentile
    found = sorted(times)[math.ceil(0.95 * len(times)) - 1]
    if found > budget:
        raise DeployFailed(
            f"95 % of single-row requests took up to {found:.1f} ms; the budget is {budget:g} ms",
            hint="a faster model, or a larger --latency-budget",
        )
    return found


def same(answer: Any, wanted: Any, relative: float = 1e-9, absolute: float = 1e-12) -> bool:
    """Whether two JSON values agree, by default numbers to nine digits.

    Examples
    --------
    >>> same([0.1, {"a": 1}], [0.1 + 1e-12, {"a": 1}]), same("a", "b")
    (True, False)
    """
    if isinstance(answer, list) and isinstance(wanted, list):
        return len(answer) == len(wanted) and all(
            same(one, other, relative, absolute) for one, other in zip(answer, wanted, strict=True)
        )
    if isinstance(answer, dict) and isinstance(wanted, dict):
        return answer.keys() == wanted.keys() and all(
            same(answer[k], wanted[k], relative, absolute) for k in wanted
        )
    if isinstance(answer, bool) or isinstance(wanted, bool):
        return answer is wanted
    if isinstance(answer, (int, float)) and isinstance(wanted, (int, float)):
        return math.isclose(answer, wanted, rel_tol=relative, abs_tol=absolute)
    return bool(answer == wanted)


def _infer(workspace: Workspace, revision: int, inputs: dict[str, Any]) -> list[Any]:
    with server.connect(workspace, timeout=60) as client:
        response = client.post(_path(revision), json={"dataframe_split": inputs})
    if response.status_code != 200:
        raise DeployFailed(f"the golden rows were refused: {_error(response)}")
    return list(response.json()["predictions"])


def _path(revision: int) -> str:
    return f"/control/revisions/{revision}/infer"


def _error(response: Any) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError):
        return f"status {response.status_code}"
