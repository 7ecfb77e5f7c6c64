"""Named checks of a cell, kept with its run."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mlops_magics.cards import Badge, Card, Code, Grid
from mlops_magics.errors import GateFailed
from mlops_magics.records import Record
from mlops_magics.store.workspace import Workspace, resolve

__all__ = ["Check", "CheckReport", "keep_checks"]

ARTIFACT = "mlops/checks.json"


@dataclass(frozen=True)
class Check(Record):
    """One check.

    Attributes
    ----------
    name : str
        Its source.
    passed : bool
        In a loop: every time.
    detail : str
        Of the first failure: the assertion's message, and the values that it compared.
    times : int
        How often it ran.
    """

    name: str
    passed: bool
    detail: str = ""
    times: int = 1


@dataclass(frozen=True)
class CheckReport(Record):
    """What the checks of a cell found.

    Attributes
    ----------
    name : str
    run_id : str
        The run that keeps them.
    checks : tuple of Check
    """

    name: str
    run_id: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether each check held."""
        return all(check.passed for check in self.checks)

    def card(self) -> Card:
        """Return a card with a line for each check."""
        failed = sum(not check.passed for check in self.checks)
        badge = Badge(f"{failed} failed", "bad") if failed else Badge("passed", "good")
        rows = [
            [
                Badge("passed" if check.passed else "failed", "good" if check.passed else "bad"),
                Code(check.name),
                check.detail,
            ]
            for check in self.checks
        ]
        return Card(
            title=self.name,
            badge=badge,
            subtitle=f"{len(self.checks)} checks",
            grids=[Grid(["", "check", "detail"], rows)] if rows else [],
        )


def keep_checks(report: CheckReport, *, workspace: Workspace | None = None) -> CheckReport:
    """Keep a report with its run, then let a check that failed fail.

    Parameters
    ----------
    report : CheckReport
        Of a run that exists.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    GateFailed
        A check did not hold; the message names each.
    """
    tracking = resolve(workspace).tracking
    failed = [check for check in report.checks if not check.passed]
    with tracking.mapped():
        text = json.dumps(report.to_dict(), indent=2)
        tracking.client.log_text(report.run_id, text, ARTIFACT)
        tracking.client.log_metric(report.run_id, "checks.passed", len(report.checks) - len(failed))
        tracking.client.log_metric(report.run_id, "checks.failed", len(failed))
    if failed:
        lines = [check.name + (f": {check.detail}" if check.detail else "") for check in failed]
        raise GateFailed(
            f"{len(failed)} of {len(report.checks)} checks of {report.name!r} failed\n  "
            + "\n  ".join(lines),
            hint=f"kept with run {report.run_id[:12]}",
            report=report,
        )
    return report
